"""How often the 95 % intervals hold the truth, and how wide they are.

    python benchmarks/coverage.py [--repetitions 400] [--seed 0] [--rows FACES.npy] [--markdown]

A repetition draws anchors and samples, with replacement, from a finite population whose every rate
is known: 400 equally likely identities, onto one of which a further 0, 1 or 5 % of all collapse
(id0, id1, id5), and 24,000 embeddings of real generated faces. A point never meets itself. The unit
of n is the hits of the median anchor: n times the median share of the population within the radius.

Width is the median over that of an oracle that knows the estimator's spread: 2 x 1.96 standard
deviations over the repetitions. Aims: coverage of every cell at least .91, mean of a figure at
least .935, width at most as in `FIGURES`. Of 400 repetitions a coverage of .95 has a standard error
of .011, a width one of 4 to 5 %. Without --rows the faces are made from ../shared/artefacts
(minutes), and left out where that folder is absent.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from near_copies import FACES, faces
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ganaudit import intervals
from ganaudit.diversity import effective_modes
from ganaudit.intervals import Interval
from ganaudit.scores import mccs
from ganaudit.slots import GROUPS, group_of
from ganaudit.tally import Tally, similarity

THETA = 0.25  # and the radius
ANCHORS = (500, 10_000)
HITS = (5, 20, 100)
COLLAPSED = {"id0": 0.0, "id1": 0.01, "id5": 0.05}
PROCESSES = 2
LEAST, LEAST_MEAN = 0.91, 0.935


FIGURES: dict[str, float | None] = {  # and the largest width; None: shown without an aim
    "mean similarity": 1.15,
    "mu at n": 1.75,
    "worst mode's rate": 1.2,
    "worst mode's mean similarity": 1.2,
    "largest rate of any anchor (bracket)": None,
    "pooled MCCS": None,
    "median MCCS at n": None,
    "sigma at n": None,
    "effective number of modes": None,
}


@dataclass(frozen=True)
class Population:
    """P equally likely points.

    Attributes:
      similarity: [P, P] float64 s(d), 0 between a point and itself.
      within: [P, P] float64, likewise 1 at distance <= radius.
    """

    similarity: csr_array
    within: csr_array

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> "Population":
        """From [P, D] unit rows."""
        parts = []
        for start in range(0, len(rows), 1000):
            part = rows[start : start + 1000].astype(np.float64)
            distance = np.arccos(np.clip(part @ rows.T.astype(np.float64), -1, 1)) / np.pi
            distance[np.arange(len(part)), start + np.arange(len(part))] = 1
            parts.append(csr_array(similarity(distance, theta=THETA)))
        found = csr_array(vstack(parts))
        return cls(found, csr_array((np.ones(found.nnz), found.indices, found.indptr), found.shape))

    def samples(self, hits: int) -> int:
        """The n at which the median anchor has so many hits."""
        return round(hits / float(np.median(mean_of_rows(self.within))))


def mean_of_rows(matrix: csr_array) -> NDArray[np.float64]:
    """[P] the expectation of a row's entry."""
    return np.asarray(matrix.sum(axis=1) / matrix.shape[1])


def identities(collapsed: float) -> NDArray[np.float32]:
    """About 10,000 unit rows: 400 identities of 25, one of them with a share `collapsed` more.

    Two rows of an identity are .05 to .2 apart, two of different ones about .5.
    """
    rng = np.random.default_rng(0)
    extra = round(10_000 * collapsed / (1 - collapsed))
    which = np.concatenate([np.repeat(np.arange(400), 25), np.zeros(extra, dtype=np.int64)])
    centres, noise = rng.standard_normal((400, 128)), rng.standard_normal((len(which), 128))
    length = np.sqrt(rng.uniform(0.012, 0.24, size=(len(which), 1)))  # of the noise, centres 1
    rows = centres[which] / np.linalg.norm(
        centres[which], axis=1, keepdims=True
    ) + length * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def repetitions(population: Population, hits: int, seeds: range) -> NDArray[np.float64]:
    """[len(seeds), len(ANCHORS), len(FIGURES), 4]: estimate, low end, high end, truth."""
    n, points = population.samples(hits), population.within.shape[0]
    squares = population.similarity.power(2)
    slots = np.arange(n)
    out = []
    for seed in seeds:
        rng = np.random.default_rng((points, hits, seed))
        cells = rng.integers(points, size=n) * GROUPS + group_of(slots)
        counts = np.bincount(cells, minlength=points * GROUPS).reshape(points, GROUPS)
        whole = Tally(
            n=counts.sum(axis=0),
            similarity=population.similarity @ counts.astype(np.float64),
            within=(population.within @ counts.astype(np.float64)).astype(np.int64),
            squares=squares @ counts.sum(axis=1),
            within_half=np.zeros(points, dtype=np.int64),
            coherence=np.zeros(GROUPS),
        )
        out.append([one(population, whole, rng.integers(points, size=m)) for m in ANCHORS])
    return np.array(out, dtype=np.float64)


def one(population: Population, whole: Tally, anchors: NDArray[np.int64]) -> list[list[float]]:
    """Every figure of some anchors, beside the truth; `whole` has every point as an anchor."""
    tally = replace(
        whole,
        similarity=whole.similarity[anchors],
        within=whole.within[anchors],
        squares=whole.squares[anchors],
        within_half=whole.within_half[anchors],
    )
    rates, means = mean_of_rows(population.within), mean_of_rows(population.similarity)
    scores = mccs(whole.similarity.sum(axis=1) / whole.n.sum())
    worst = intervals.worst_mode(tally)
    assert worst is not None
    chosen = anchors[list(worst.anchors)]
    halves = np.array([whole.n[16:].sum(), whole.n[:16].sum()]) / whole.n.sum()
    found = (
        (intervals.mean_similarity(tally).interval(), means.mean()),
        (intervals.mu_at_n(tally).interval(), scores.mean()),
        (worst.rate, halves @ rates[chosen]),
        (worst.mean_similarity, halves @ means[chosen]),
        (worst.largest_rate, rates[anchors].max()),
        (intervals.pooled_mccs(tally), mccs(means.mean())),
        (intervals.quantile_at_n(tally, 0.5), np.median(scores)),
        (intervals.sigma_at_n(tally) or Interval(None, None, None), scores.std()),
        (effective_modes(tally), 1 / rates.mean()),
    )
    return [[*interval.figures().values(), truth] for interval, truth in found]  # type: ignore[list-item]


def measured(population: Population, seeds: range) -> NDArray[np.float64]:
    """[len(HITS), len(ANCHORS), len(FIGURES), 2]: coverage, and width over the oracle's."""
    out = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for hits in HITS:
            shares = [seeds[part::PROCESSES] for part in range(PROCESSES)]
            parts = pool.map(repetitions, [population] * PROCESSES, [hits] * PROCESSES, shares)
            out.append(summary(np.concatenate(list(parts))))
    return np.array(out)


def summary(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coverage and width of what `repetitions` gave: [len(ANCHORS), len(FIGURES), 2]."""
    estimate, low, high, truth = np.moveaxis(found, -1, 0)
    at_n = [name.endswith("at n") for name in FIGURES]  # their truth is an expectation
    truth = np.where(at_n, truth.mean(axis=0), truth)
    coverage = ((low <= truth) & (truth <= high)).mean(axis=0)
    oracle = 2 * 1.96 * (estimate - truth).std(axis=0, ddof=1)
    return np.stack([coverage, np.median(high - low, axis=0) / oracle], axis=-1)


def verdict(widest: float | None, cells: NDArray[np.float64]) -> str:
    """A sentence on all cells of a figure: [..., 2]."""
    coverage, width = cells[..., 0], cells[..., 1]
    said = (
        f"Coverage {coverage.mean():.3f} on average, {coverage.min():.3f} at least; "
        f"width {width.min():.2f} to {width.max():.2f}, {np.median(width):.2f} in the median cell"
    )
    if widest is None:
        return f"{said}."
    met = coverage.min() >= LEAST and coverage.mean() >= LEAST_MEAN and width.max() <= widest
    return f"{said}; at most {widest} wanted: {'PASS' if met else 'SHORT'}."


def lines(cells: dict[str, NDArray[np.float64]], *, markdown: bool) -> Iterator[str]:
    """A table a figure: coverage / width by population, anchors and hits of the median anchor."""
    for number, (figure, widest) in enumerate(FIGURES.items()):
        table = [["population", "anchors", *(f"{hits} hits" for hits in HITS)]]
        for (name, found), (column, m) in product(cells.items(), enumerate(ANCHORS)):
            pairs = found[:, column, number]  # [len(HITS), 2]
            table.append([name, f"{m:,}", *(f"{c:.3f} / {w:.2f}" for c, w in pairs)])
        said = verdict(widest, np.stack([found[:, :, number] for found in cells.values()]))
        if markdown:
            rule = ["---"] * len(table[0])
            rows = (f"| {' | '.join(row)} |" for row in [table[0], rule, *table[1:]])
            yield "\n".join([f"### {figure[0].upper()}{figure[1:]}\n", *rows, "", said])
        else:
            rows = ("".join(f"{text:>15s}" for text in row) for row in table)
            yield "\n".join([figure, *rows, said])


def main() -> None:
    """Print a table a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition")
    parser.add_argument("--rows", type=Path, help="embeddings of the faces, [N, D] float32 .npy")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    populations = {name: identities(share) for name, share in COLLAPSED.items()}
    if given.rows is not None:
        populations["faces"] = np.load(given.rows)
    elif (FACES / "generator.pt").is_file():
        populations["faces"] = faces()
    else:
        print(f"without the faces: {FACES} is absent\n")
    cells = {
        name: measured(Population.of(rows), range(given.seed, given.seed + given.repetitions))
        for name, rows in populations.items()
    }
    for table in lines(cells, markdown=given.markdown):
        print(f"{table}\n")


if __name__ == "__main__":
    main()
