"""How often sequential verdicts err at the limit, and after how many samples they come.

    python benchmarks/sequential.py [--releases 300] [--seed 0]

A release is looked at every 100 samples until `ganaudit.sequential.decide` has a verdict, at most
100 / limit samples long; then it counts as undecided, with the samples it took. Cells: the truth
at the limit, where every verdict errs; at twice the limit, where to fail is right; at half of it.

- one anchor: a sample is near it or not. Limit 1 %; 2,000 releases.
- 1,000 anchors of 400 identities, drawn in proportion to these, the worst among them. Anchors of an
  identity have the same neighbours. "one bad": the worst identity has the truth and 399 share the
  rest. "all bad": as many identities as fit, each with the truth: any could fail by chance, and all
  have to pass. Limit 1 %.
- similarity: as one bad; anchors and samples have a likeness, uniform on .3 to 1, and that of a
  pair of one identity is the product. The worst mean similarity has a limit of 1 %, from which the
  worst identity's share follows; for the mean similarity that is 1.5 %, and the limit follows from
  the truth over these anchors.

Samples are those that are compared. The 1,000 images that the anchors are come on top.

Aims: the lower end of the 95 % Clopper-Pearson interval of either error at the limit is at most
5 %; mean samples of one anchor at most 1.3 times 1,192 (twice the limit) and 2,292 (half), of 1,000
anchors 35 / limit and 57 / limit. The similarity gates' samples and "all bad" are shown without.
Two minutes on two cores.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ganaudit.sequential import ALPHA, decide
from ganaudit.tally import Tally

LIMIT = 0.01
EVERY = 100
LONGEST = 100  # times 1 / limit samples
ANCHORS, IDENTITIES = 1000, 400
ONE_ANCHOR = 2000  # releases: they are cheap
PROCESSES = 2
LEAST = 0.3  # likeness
MEAN = (1 + LEAST) / 2  # of it
RATIOS = (1.0, 2.0, 0.5)  # the truth over the limit
SAMPLES: dict[str, dict[float, float]] = {  # by population and ratio: the most that are aimed at
    "one anchor": {2.0: 1.3 * 1192, 0.5: 1.3 * 2292},
    "one bad": {2.0: 35 / LIMIT, 0.5: 57 / LIMIT},
}


@dataclass(frozen=True)
class Release:
    """What a generator makes, and the anchors it is compared with.

    Attributes:
      shares: [I] of the identities among samples.
      identity: [m] of each anchor.
      likeness: [m] of each anchor.
      limit: of the gate.
    """

    shares: NDArray[np.float64]
    identity: NDArray[np.int64]
    likeness: NDArray[np.float64]
    limit: float


def one_anchor(gate: str, ratio: float, rng: np.random.Generator) -> Release:
    """Samples are the anchor's identity or another."""
    truth = ratio * LIMIT
    return Release(np.array([truth, 1 - truth]), np.array([0]), np.ones(1), LIMIT)


def one_bad(gate: str, ratio: float, rng: np.random.Generator) -> Release:
    """The first of 400 identities is the worst, or decides nothing (mean similarity)."""
    worst = {
        "worst-rate": ratio * LIMIT,
        "worst-similarity": ratio * LIMIT / MEAN,
        "mean-similarity": 0.015,
    }[gate]
    shares = np.append(worst, np.full(IDENTITIES - 1, (1 - worst) / (IDENTITIES - 1)))
    identity, likeness = anchors(shares, rng)
    limit = LIMIT
    if gate == "mean-similarity":
        limit = float((shares[identity] * likeness).mean()) * MEAN / ratio
    return Release(shares, identity, likeness, limit)


def all_bad(gate: str, ratio: float, rng: np.random.Generator) -> Release:
    """Every identity has the truth."""
    many = round(1 / (ratio * LIMIT))
    shares = np.full(many, 1 / many)
    return Release(shares, *anchors(shares, rng), LIMIT)


def anchors(
    shares: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Identity and likeness of each; the first is the first identity's most alike, the worst."""
    identity = rng.choice(len(shares), size=ANCHORS, p=shares)
    likeness = rng.uniform(LEAST, 1, ANCHORS)
    identity[0], likeness[0] = 0, 1
    return identity, likeness


def looks(release: Release, rng: np.random.Generator) -> Iterator[Tally]:
    """The tally after every `EVERY` samples, all of them in one group: no gate reads groups."""
    of_identity = np.bincount(release.identity, release.likeness, len(release.shares))  # [I]
    number, edges = len(release.shares), np.cumsum(release.shares)
    hits, sums, squares = np.zeros((3, number))  # of samples: how many, likeness, its square
    for n in range(EVERY, round(LONGEST / release.limit) + 1, EVERY):
        drawn = np.searchsorted(edges, rng.random(EVERY) * edges[-1], side="right")
        likeness = rng.uniform(LEAST, 1, EVERY)
        hits += np.bincount(drawn, minlength=number)
        sums += np.bincount(drawn, likeness, number)
        squares += np.bincount(drawn, likeness**2, number)
        tally = Tally.empty(len(release.identity))
        tally.n[0] = n
        tally.within[:, 0] = hits[release.identity]
        tally.similarity[:, 0] = release.likeness * sums[release.identity]
        tally.squares[:] = release.likeness**2 * squares[release.identity]
        tally.coherence[0] = (of_identity / len(release.identity)) ** 2 @ squares
        yield tally


Made = Callable[[str, float, np.random.Generator], Release]
Found = tuple[str | None, int, float]  # verdict, samples, samples x limit


def verdicts(seeds: range, make: Made, gate: str, ratio: float) -> list[Found]:
    """Of a release each."""
    out: list[Found] = []
    for seed in seeds:
        rng = np.random.default_rng((seed, round(10 * ratio)))
        release = make(gate, ratio, rng)
        for tally in looks(release, rng):
            said, n = decide(gate, tally, release.limit), int(tally.n.sum())
            if said is not None:
                break
        out.append((said, n, n * release.limit))
    return out


def row(name: str, ratio: float, found: list[Found]) -> tuple[str, bool]:
    """Of the table, and whether its aim is met."""
    said, many = [verdict for verdict, _, _ in found], len(found)
    samples, scaled = (float(np.mean([one[i] for one in found])) for i in (1, 2))
    shares = "".join(f"{said.count(v) / many:10.3f}" for v in ("fail", "pass", None))
    text = f"{ratio:>11g}{many:>9,}{shares}{samples:>12,.0f}{scaled:>10.1f}"
    most = SAMPLES.get(name, {}).get(ratio)
    if ratio == 1:
        lows = [at_least(said.count(verdict), many) for verdict in ("fail", "pass")]
        aim = f"errors at least {lows[0]:.3f} and {lows[1]:.3f}, at most {ALPHA} wanted"
        met = max(lows) <= ALPHA
    elif most is not None:
        aim, met = f"at most {most:,.0f} samples wanted", samples <= most
    else:
        return text, True
    return f"{text}  {aim}: {'PASS' if met else 'SHORT'}", met


def at_least(errors: int, many: int) -> float:
    """Lower end of the 95 % Clopper-Pearson interval."""
    return float(stats.binomtest(errors, many).proportion_ci(0.95, "exact").low)


CELLS: tuple[tuple[str, str, Made], ...] = (
    ("one anchor", "worst-rate", one_anchor),
    ("one bad", "worst-rate", one_bad),
    ("all bad", "worst-rate", all_bad),
    ("similarity", "worst-similarity", one_bad),
    ("similarity", "mean-similarity", one_bad),
)


def main() -> None:
    """Print a table a gate and population."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first release")
    given = parser.parse_args()
    all_met = True
    columns = ("truth/limit", "releases", "fail", "pass", "undecided", "samples", "x limit")
    heads = "".join(
        f"{head:>{width}}" for head, width in zip(columns, (11, 9, 10, 10, 10, 12, 10), strict=True)
    )
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for name, gate, make in CELLS:
            print(f"{gate}, {name}\n{heads}")
            many = max(given.releases, ONE_ANCHOR) if make is one_anchor else given.releases
            seeds = range(given.seed, given.seed + many)
            for ratio in RATIOS:
                work = partial(verdicts, make=make, gate=gate, ratio=ratio)
                parts = pool.map(work, [seeds[part::PROCESSES] for part in range(PROCESSES)])
                text, met = row(name, ratio, [found for part in parts for found in part])
                all_met &= met
                print(text, flush=True)
            print()
    print(f"all aims: {'PASS' if all_met else 'SHORT'}")


if __name__ == "__main__":
    main()
