"""How often the gates of a release err, and how often they find what they should.

    python benchmarks/release_gates.py [--repetitions 300] [--seed 0] [--rows FACES] [--markdown]

A release is a run of m anchors against n samples, drawn with replacement from a finite population
whose every rate is known (`coverage.py`): 400 identities, one of which makes up the share of all
that names the population, and the others the rest alike. Where all 400 are alike it has .24 %.
Release and baseline are draws of their own, of other anchors and other samples. In the faces,
copies of members of the densest ball make up its growth. Shares are counts of independent slots,
whose verdicts are summed over all outcomes instead of drawn.

At the boundary a release stands exactly at its limit, and either verdict is an error. The truth
of a worst mode is the largest of the very anchors that were drawn, and of a relative limit the
ratio of two of these; that of other figures is their expectation. Vendi scores fall in a collapse,
all others rise. The largest truth moves with the anchors, by 5 to 10 % in the faces; the cells
"other anchors" show limits at the ratio of its means, which no test promises to keep.

Aims: an error in at most 5 % (SHORT where the 95 % Clopper-Pearson lower limit is above that), a
wanted verdict at least as often as is said.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from coverage import PROCESSES, THETA, Population, identities, mean_of_rows
from near_copies import APART, FACES, faces, unit
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from ganaudit.comparable import Comparable
from ganaudit.diagnosis import dense_modes
from ganaudit.diversity import Moments
from ganaudit.gates import FIGURES, Limit, judge, samples_needed
from ganaudit.intervals import Estimate
from ganaudit.power import samples_for_rate
from ganaudit.ratios import Share, ratio_of_shares
from ganaudit.same_place import compare
from ganaudit.slots import GROUPS, group_of
from ganaudit.tally import Tally

EVEN, LARGE, SMALL = 0.0024, 10_000, 2_000
POPULATIONS = (EVEN, 1.4 * EVEN, 2 * EVEN, 0.01, 0.011, 0.014, 0.02, 0.031, 0.0525)
ERROR = 0.05
NEVER = 1e-9  # outcomes of a count that are less likely are left out
WORST, MEANS = ("worst-rate", "worst-similarity"), ("mean-similarity", "mu", "vendi")


@dataclass(frozen=True)
class Aim:
    """How often a verdict may come, or has to."""

    verdict: str
    bound: Literal["at most", "at least"]
    share: float

    def met(self, share: float, of: int | None) -> bool:
        """Whether `share` of `of` repetitions does it; None: the share is exact."""
        if self.bound == "at least":
            return share >= self.share
        if of is None:
            return round(share, 2) <= self.share
        count = round(share * of)
        return count == 0 or bool(stats.beta.ppf(0.025, count, of - count + 1) <= self.share)


NO_ERROR = (Aim("fail", "at most", ERROR), Aim("pass", "at most", ERROR))


@dataclass(frozen=True)
class Cell:
    """How often each verdict came, of `of` repetitions; None: exactly so often."""

    what: str
    shares: dict[str, float]
    of: int | None
    aims: tuple[Aim, ...] = ()

    @property
    def said(self) -> str:
        """The aims, and whether they are met."""
        return "; ".join(
            f"{aim.verdict} {aim.bound} {aim.share:.0%}: "
            + ("PASS" if aim.met(self.shares.get(aim.verdict, 0), self.of) else "SHORT")
            for aim in self.aims
        )


@dataclass(frozen=True)
class Table:
    """Cells that are read together."""

    title: str
    cells: list[Cell] = field(default_factory=list)
    columns: tuple[str, ...] = ("fail", "pass")


@dataclass(frozen=True)
class Known:
    """A population with its embeddings: [P, D] unit rows."""

    rows: NDArray[np.float32]
    points: Population

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> "Known":
        """Of unit rows."""
        return cls(rows, Population.of(rows))


@dataclass(frozen=True)
class Run:
    """What a run found, and the truth of its figures by name; mu and Vendi have none but a mean."""

    figures: Comparable
    truth: dict[str, float]


@dataclass(frozen=True)
class Size:
    """Of a run: m anchors, n samples."""

    anchors: int
    samples: int


def worst_mode_of(share: float) -> NDArray[np.float32]:
    """Rows of a population in which one identity makes up `share`, a point not counting itself."""
    extra = (10_000 * share - 24) / (1 - share)
    return identities(extra / (10_000 + extra))


def known_with(share: float) -> Known:
    """The population that `share` names."""
    return Known.of(worst_mode_of(share))


def crowded(rows: NDArray[np.float32], points: Population, times: float) -> NDArray[np.float32]:
    """Rows whose densest ball has about `times` its share: near copies of its members on top."""
    rates = mean_of_rows(points.within)
    rate, worst = float(rates.max()), int(rates.argmax())
    more = round(len(rows) * (times - 1) * rate / (1 - times * rate))
    rng = np.random.default_rng(0)
    members = rows[rng.choice(points.within[[worst]].indices, more)]
    away = APART * unit(rng.standard_normal(members.shape))
    return np.concatenate([rows, unit(members.astype(np.float64) + away)])


def drawn(known: Known, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n] points of the population."""
    return rng.integers(len(known.rows), size=n)


def tally_of(known: Known, anchors: NDArray[np.int64], samples: NDArray[np.int64]) -> Tally:
    """What the kernel would find of these points."""
    cells = samples * GROUPS + group_of(np.arange(len(samples)))
    size = len(known.rows) * GROUPS
    counts = np.bincount(cells, minlength=size).reshape(-1, GROUPS)
    similarity, within = known.points.similarity[anchors], known.points.within[anchors]
    wide = counts.astype(np.float64)
    return Tally(
        n=counts.sum(axis=0),
        similarity=similarity @ wide,
        within=(within @ wide).astype(np.int64),
        squares=similarity.power(2) @ wide.sum(axis=1),
        within_half=np.zeros(len(anchors), dtype=np.int64),
        coherence=np.zeros(GROUPS),
    )


def simulated(known: Known, size: Size, stream: int, vendi: bool, seeds: range) -> list[Run]:
    """Runs that share nothing but the population."""
    rates, means = mean_of_rows(known.points.within), mean_of_rows(known.points.similarity)
    found = []
    for seed in seeds:
        rng = np.random.default_rng((len(known.rows), size.anchors, size.samples, stream, seed))
        anchors, samples = drawn(known, size.anchors, rng), drawn(known, size.samples, rng)
        log_vendi = None
        if vendi:
            moments = Moments(known.rows.shape[1])
            moments.add(known.rows[samples], np.ones(len(samples), dtype=np.bool_), 0)
            log_vendi = moments.log_vendi()["order_1"]
        figures = Comparable.of(tally_of(known, anchors, samples), vendi=log_vendi)
        truth = {
            "worst-rate": float(rates[anchors].max()),
            "worst-similarity": float(means[anchors].max()),
            "mean-similarity": float(means.mean()),
        }
        found.append(Run(figures, truth))
    return found


def placed(before: Known, after: Known, tolerance: float, seeds: range) -> list[tuple[bool, bool]]:
    """Whether any mode of a baseline is said to have grown, and whether the densest is."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng((len(before.rows), len(after.rows), seed))
        anchors = drawn(before, LARGE, rng)
        tally = tally_of(before, anchors, drawn(before, LARGE, rng))
        modes = [m.anchor for m in dense_modes(tally, before.rows[anchors], radius=THETA)]
        half = int(tally.n[GROUPS // 2 :].sum())
        old = [Share(int(c), half) for c in tally.within[modes, GROUPS // 2 :].sum(axis=1)]
        samples = np.bincount(drawn(after, LARGE, rng), minlength=len(after.rows))
        new = [Share(int(c), LARGE) for c in near(before.rows[anchors[modes]], after) @ samples]
        places = compare(modes, old, new, tolerance=tolerance)
        found.append((any(place.grown for place in places), places[0].grown))
    return found


def near(modes: NDArray[np.float32], after: Known) -> NDArray[np.bool_]:
    """[k, P] which points lie within the radius; a point is not near itself."""
    cosine = modes.astype(np.float64) @ after.rows.T.astype(np.float64)
    distance = np.arccos(np.clip(cosine, -1, 1)) / np.pi
    return np.asarray((distance <= THETA) & (distance > 1e-3))


class Laboratory:
    """Makes populations and runs of them, each once."""

    def __init__(self, pool: ProcessPoolExecutor, seeds: range) -> None:
        self._pool = pool
        self.seeds = seeds
        self._made = dict(zip(POPULATIONS, pool.map(known_with, POPULATIONS), strict=True))
        self.runs = cache(self._runs)

    def parts(self) -> list[range]:
        """Of the seeds, one a process."""
        return [self.seeds[part::PROCESSES] for part in range(PROCESSES)]

    def of(self, known: Known, size: Size, stream: int = 0, vendi: bool = False) -> list[Run]:
        """Runs of a population, in order of seeds within each process's part."""
        made = (
            self._pool.submit(simulated, known, size, stream, vendi, part) for part in self.parts()
        )
        return list(chain.from_iterable(one.result() for one in list(made)))

    def _runs(self, share: float, size: Size, stream: int, vendi: bool) -> list[Run]:
        return self.of(self._made[share], size, stream, vendi)

    def places(self, before: float, after: float, tolerance: float) -> list[tuple[bool, bool]]:
        """What `placed` finds."""
        pair = self._made[before], self._made[after]
        made = [self._pool.submit(placed, *pair, tolerance, part) for part in self.parts()]
        return list(chain.from_iterable(one.result() for one in made))


def limit_on(name: str, value: float, *, relative: bool) -> Limit:
    """The one kind of limit that a figure takes, of two."""
    return Limit(FIGURES[name], FIGURES[name].kinds[relative], value)


def judged(
    what: str,
    limits: Iterable[Limit],
    releases: Sequence[Run],
    baselines: Sequence[Run] | None = None,
    aims: tuple[Aim, ...] = (),
) -> Cell:
    """The verdicts of a limit for each release."""
    before = [None] * len(releases) if baselines is None else [b.figures for b in baselines]
    found = Counter(
        judge(limit, release.figures, baseline).verdict
        for limit, release, baseline in zip(limits, releases, before, strict=True)
    )
    return Cell(what, {k: v / len(releases) for k, v in found.items()}, len(releases), aims)


def expected(name: str, runs: Sequence[Run]) -> float:
    """The truth of a figure over draws of anchors and, of mu and Vendi, over those of samples."""
    if name == "mu":
        return float(np.mean([run.figures.mu.value for run in runs]))
    if name == "vendi":
        logs = [run.figures.vendi.value for run in runs if run.figures.vendi is not None]
        return math.exp(float(np.mean(logs)))
    return float(np.mean([run.truth[name] for run in runs]))


def change(name: str, after: Sequence[Run], before: Sequence[Run]) -> float:
    """The truth of an increase, of Vendi of a decrease."""
    grown = expected(name, after) / expected(name, before) - 1
    return -grown if name == "vendi" else grown


def at_boundary(name: str, after: Sequence[Run], before: Sequence[Run]) -> list[Limit]:
    """For each release the relative limit at which it stands."""
    if name not in WORST:
        return repeat(limit_on(name, change(name, after, before), relative=True), after)
    return [
        limit_on(name, now.truth[name] / then.truth[name] - 1, relative=True)
        for now, then in zip(after, before, strict=True)
    ]


def detecting(name: str, wanted: float, seen: Run, baseline: Run | None) -> Limit:
    """The limit of which a run is told that `wanted` would fail it; else the tightest there is."""
    relative, before = baseline is not None, None if baseline is None else baseline.figures

    def told(value: float) -> float:
        limit = limit_on(name, value, relative=relative)
        found = judge(limit, seen.figures, before).detectable
        return (1e9 if found is None else found) - wanted

    falls = name == "vendi" and not relative
    tight, loose = (2 * wanted, wanted) if falls else (1e-4 * wanted, wanted)
    reached = told(tight) * told(loose) < 0
    return limit_on(name, brentq(told, tight, loose) if reached else tight, relative=relative)


def repeat(limit: Limit, runs: Sequence[Run]) -> list[Limit]:
    """One limit for all of them."""
    return [limit] * len(runs)


def counted(
    what: str, limit: Limit, of: int, now: float, then: float | None, aims: tuple[Aim, ...]
) -> Cell:
    """The verdicts on a share, summed over all counts of `of` slots that a release may have.

    Args:
      what: a name.
      limit: of any share.
      of: slots of a release, and of a baseline.
      now: the release's true share.
      then: the baseline's; None: the limit is absolute.
      aims: of the cell.
    """
    shares = dict.fromkeys(("fail", "pass", "inconclusive"), 0.0)
    olds = [(0, 1.0)] if then is None else outcomes(of, then)
    for (new, likely), (old, also) in product(outcomes(of, now), olds):
        baseline = None if then is None else of_share(limit, old, of)
        shares[judge(limit, of_share(limit, new, of), baseline).verdict] += likely * also
    return Cell(what, shares, None, aims)


def outcomes(of: int, share: float) -> list[tuple[int, float]]:
    """Counts with their probabilities."""
    law = stats.binom(of, share)
    counts = np.arange(int(law.ppf(NEVER)), int(law.isf(NEVER)) + 1)
    return list(zip(counts.tolist(), law.pmf(counts).tolist(), strict=True))


def of_share(limit: Limit, count: int, of: int) -> Comparable:
    """A run of which nothing is known but a count."""
    nothing = Estimate(0.0, None, 0, 0.0)
    shares = {limit.figure.name: Share(count, of)}
    return Comparable(of, of, nothing, nothing, None, None, shares=shares)


def worst_against_worst(lab: Laboratory) -> Iterator[Table]:
    """The default gate: the worst mode of a release against that of its baseline."""
    size = Size(LARGE, LARGE)
    base, same, more, double = (
        lab.runs(share, size, stream, False)
        for share, stream in ((0.01, 0), (0.01, 1), (0.014, 1), (0.02, 1))
    )
    even, even_too, even_more, even_double = (
        lab.runs(share, size, stream, vendi)
        for share, stream, vendi in (
            (EVEN, 0, True),
            (EVEN, 1, True),
            (1.4 * EVEN, 1, False),
            (2 * EVEN, 1, False),
        )
    )
    edge = change("worst-rate", more, base)
    even_edge = change("worst-rate", even_more, even)
    unchanged, doubled = (Aim("fail", "at most", ERROR),), (Aim("fail", "at least", 0.93),)
    rows = (
        ("1 % -> 1 %, +20 %", 0.2, same, base, unchanged),
        ("1 % -> 2 %, +20 %", 0.2, double, base, doubled),
        ("1 % -> 1 %, +40 %", 0.4, same, base, unchanged),
        (f"1 % -> 1.4 %, +{edge:.1%}, the boundary", edge, more, base, NO_ERROR),
        ("1 % -> 2 %, +40 %", 0.4, double, base, ()),
        ("400 alike -> 400 alike, +20 %", 0.2, even_too, even, unchanged),
        ("400 alike -> 400 alike, +40 %", 0.4, even_too, even, unchanged),
        (f"400 alike -> one 1.4 times, +{even_edge:.1%}", even_edge, even_more, even, NO_ERROR),
        ("400 alike -> one double, +20 %", 0.2, even_double, even, ()),
        ("400 alike -> one double, +40 %", 0.4, even_double, even, ()),
    )
    cells = [
        judged(what, repeat(limit_on("worst-rate", x, relative=True), now), now, then, aims)
        for what, x, now, then, aims in rows
    ]
    yield Table("worst-rate against a baseline, 10,000 anchors x 10,000 samples", cells)
    yield naive([("1 %", base, same), ("400 alike", even, even_too)])


def naive(pairs: Iterable[tuple[str, Sequence[Run], Sequence[Run]]]) -> Table:
    """Why no increase at all cannot be asked for: largest rate against largest rate, 5 %."""
    cells = []
    for what, then, now in pairs:
        low = [
            ratio_of_shares(largest(one.figures), largest(other.figures)).ends(1.645)[0]
            for one, other in zip(now, then, strict=True)
        ]
        fails = float(np.mean([end is not None and end > 0 for end in low]))
        cells.append(Cell(what, {"fail": fails}, len(low)))
    return Table("Why an increase of 0 is refused: unchanged, largest against largest", cells)


def largest(figures: Comparable) -> Share:
    """Neighbours of the anchor that has most."""
    assert figures.worst_rate is not None
    return Share(int(figures.worst_rate.largest.hits), figures.samples)


def absolute_worst(title: str, runs: Sequence[Run]) -> Table:
    """Limits at half, once and twice the truth."""
    aims = {
        0.5: (Aim("fail", "at least", 0.92),),
        1.0: NO_ERROR,
        2.0: (Aim("pass", "at least", 0.99),),
    }
    cells = []
    for name, (times, wanted) in product(WORST, aims.items()):
        limits = [limit_on(name, times * run.truth[name], relative=False) for run in runs]
        aim = wanted if name == "worst-rate" or times == 1 else ()
        cells.append(judged(f"{name}, limit {times:g} x the truth", limits, runs, aims=aim))
    return Table(title, cells)


def boundaries(lab: Laboratory) -> Iterator[Table]:
    """Releases that stand exactly at their limit, and unchanged ones at 40 %."""
    for size in (Size(LARGE, LARGE), Size(SMALL, SMALL)):
        cells: list[Cell] = []
        for names, then, now in ((WORST, 0.01, 0.014), (MEANS, EVEN, 0.031)):
            vendi = names is MEANS
            base, same, more = (
                lab.runs(share, size, stream, vendi)
                for share, stream in ((then, 0), (then, 1), (now, 1))
            )
            for name in names:
                cells += boundary(name, base, same, more)
        yield Table(f"At the boundary, {size.anchors:,} anchors x {size.samples:,} samples", cells)


def boundary(
    name: str, base: Sequence[Run], same: Sequence[Run], more: Sequence[Run]
) -> Iterator[Cell]:
    """Absolute, relative, and unchanged."""
    for runs, which in ((same, "baseline"), (more, "collapsed")):
        truth = expected(name, runs)
        limits = [limit_on(name, run.truth.get(name, truth), relative=False) for run in runs]
        yield judged(f"{name}, absolute, {which}: {truth:.4g}", limits, runs, aims=NO_ERROR)
    edges, sign = at_boundary(name, more, base), "-" if name == "vendi" else "+"
    what = f"{name}, relative: {sign}{middle(edges):.1%}"
    yield judged(what, edges, more, base, NO_ERROR)
    forty = limit_on(name, 0.4, relative=True)
    never = (Aim("fail", "at most", ERROR),)
    yield judged(f"{name}, unchanged, {sign}40 %", repeat(forty, same), same, base, never)


def shares_table() -> Table:
    """Counts of slots, without drawing any."""
    cells = []
    for hits in (0.5, 1, 2, 5, 20, 100):
        limit = limit_on("failures", hits / LARGE, relative=False)
        what = f"absolute, {hits:g} of 10,000 allowed"
        cells.append(counted(what, limit, LARGE, limit.value, None, NO_ERROR))
    for hits, x in product((1, 2, 5, 20, 100), (0.4,)):
        limit = limit_on("failures", x, relative=True)
        what = f"relative, +{x:.0%}, the baseline {hits} of 10,000"
        then = hits / LARGE
        cells.append(counted(what, limit, LARGE, (1 + x) * then, then, NO_ERROR))
    return Table("Shares at the boundary (exact)", cells)


def same_place(lab: Laboratory) -> Table:
    """Which of 24 modes grew."""
    rows = (
        ("1 % -> 1 %, +40 %", 0.01, 0.01, 0.4, True),
        ("1 % -> 1 %, +0 %: all 24 at the boundary", 0.01, 0.01, 0.0, True),
        ("400 alike -> 400 alike, +0 %: likewise", EVEN, EVEN, 0.0, True),
        ("1 % -> 1.4 %, +40 %: one at the boundary", 0.01, 0.014, 0.4, True),
        ("1 % -> 2 %, +20 %", 0.01, 0.02, 0.2, False),
        ("1 % -> 2 %, +40 %", 0.01, 0.02, 0.4, False),
        ("1 % -> 3.1 %, +40 %", 0.01, 0.031, 0.4, False),
    )
    cells = []
    for what, before, after, tolerance, error in rows:
        any_one, densest = np.mean(lab.places(before, after, tolerance), axis=0)
        aims = (Aim("any", "at most", ERROR),) if error else ()
        cells.append(Cell(what, {"any": any_one, "densest": densest}, len(lab.seeds), aims))
    title = "Same place: modes of the baseline that are said to have grown"
    return Table(title, cells, columns=("any", "densest"))


def planning(lab: Laboratory) -> Iterator[Table]:
    """What a gate says that it can see, and how many samples it says that it takes."""
    size = Size(LARGE, LARGE)
    cells: list[Cell] = []
    for names, then, now in ((WORST, 0.01, 0.02), (MEANS, EVEN, 0.031)):
        vendi = names is MEANS
        base, same, more = (
            lab.runs(share, size, stream, vendi)
            for share, stream in ((then, 0), (then, 1), (now, 1))
        )
        cells += chain.from_iterable(
            at_detectable(name, base, same, more, island=True) for name in names
        )
    yield Table("Releases at what a gate calls detectable, 10,000 x 10,000", cells)
    yield Table("Releases of as many samples as a gate calls needed", [*needed(lab)])


def at_detectable(
    name: str, base: Sequence[Run], same: Sequence[Run], more: Sequence[Run], *, island: bool
) -> Iterator[Cell]:
    """Collapsed releases at limits of which unchanged ones were told that these would fail."""
    # Of means and scores it is said under the condition that they vary as they do in an unchanged
    # release, which a collapse breaks: shown without an aim. So are crowds.
    aims = (Aim("fail", "at least", 0.90),) if island and name in WORST else ()
    mean, sign = expected(name, more), "-" if name == "vendi" else "+"
    limits = [
        detecting(name, now.truth.get(name, mean), seen, None)
        for now, seen in zip(more, same, strict=True)
    ]
    yield judged(f"{name}, limit {middle(limits):.4g}, truth {mean:.4g}", limits, more, aims=aims)
    edges = [limit.value for limit in at_boundary(name, more, base)]
    limits = [
        detecting(name, edge, seen, then)
        for edge, seen, then in zip(edges, same, base, strict=True)
    ]
    what = f"{name}, limit {sign}{middle(limits):.1%}, truth {sign}{np.median(edges):.1%}"
    yield judged(what, limits, more, base, aims)


def middle(limits: Sequence[Limit]) -> float:
    """The median of their values."""
    return float(np.median([limit.value for limit in limits]))


LIKELY, SURE = (Aim("pass", "at least", 0.85),), (Aim("fail", "at least", 0.90),)


def needed(lab: Laboratory) -> Iterator[Cell]:
    """Half of a limit, an unchanged release; double of either."""
    for share, times, aims in ((0.01, 2.0, LIKELY), (0.02, 0.5, SURE)):
        truth = expected("worst-rate", lab.runs(share, Size(LARGE, SMALL), 0, False))
        limit = limit_on("worst-rate", times * truth, relative=False)
        n = samples_for_rate(limit.value)
        runs = lab.runs(share, Size(LARGE, n), 0, False)
        what = f"worst-rate, at most {limit.value:.1%}: {n:,} samples, truth {truth:.1%}"
        yield judged(what, repeat(limit, runs), runs, aims=aims)
    for name, x in (*product(WORST[:1], (0.2, 0.4, 0.5)), *product(MEANS, (0.2, 0.4, 0.5))):
        yield from needed_against(lab, name, x)


def needed_against(lab: Laboratory, name: str, tolerance: float) -> Iterator[Cell]:
    """An unchanged release, and one of the double; of mu and Vendi there is no double."""
    limit, large = limit_on(name, tolerance, relative=True), Size(LARGE, LARGE)
    mean, vendi = name in MEANS, name == "vendi"
    then, now = (EVEN, 0.0525) if mean else (0.01, 0.02)
    told = [samples_needed(limit, run.figures) for run in lab.runs(then, large, 0, mean)]
    n = round(float(np.median([one for one in told if one is not None])))
    size = Size(n, n) if mean else Size(LARGE, n)
    base, same = (lab.runs(then, size, stream, vendi) for stream in (0, 1))
    what = f"{name}, {'-' if name == 'vendi' else '+'}{tolerance:.0%}: {n:,} samples"
    yield judged(f"{what}, unchanged", repeat(limit, same), same, base, LIKELY)
    if name in ("mu", "vendi"):
        return
    more = lab.runs(now, size, 1, vendi)
    times = 1 + change(name, more, base)
    aims = SURE if name in WORST else ()  # of a mean nothing is promised
    yield judged(f"{what}, {times:.2f} times", repeat(limit, more), more, base, aims)


def needed_shares() -> Table:
    """The same of shares."""
    cells = []
    for value in (0.001, 0.02):
        limit = limit_on("failures", value, relative=False)
        n = samples_for_rate(value)
        what = f"at most {value:.1%}: {n:,} slots"
        cells.append(counted(f"{what}, half of it", limit, n, value / 2, None, LIKELY))
        cells.append(counted(f"{what}, double", limit, n, value * 2, None, SURE))
    limit = limit_on("failures", 0.4, relative=True)
    n = samples_needed(limit, of_share(limit, 100, LARGE)) or 0
    what = f"+40% of 1 %: {n:,} slots"
    cells.append(counted(f"{what}, unchanged", limit, n, 0.01, 0.01, LIKELY))
    cells.append(counted(f"{what}, double", limit, n, 0.02, 0.01, SURE))
    return Table("Shares of as many slots as a gate calls needed (exact)", cells)


def of_faces(lab: Laboratory, rows: NDArray[np.float32]) -> Iterator[Table]:
    """A population whose densest ball is no island."""
    size, said = Size(LARGE, SMALL), "10,000 anchors x 2,000 samples"
    known = Known.of(rows)
    base, same = (lab.of(known, size, stream, vendi=True) for stream in (0, 1))
    more, twice = (
        lab.of(Known.of(crowded(rows, known.points, times)), size, vendi=True) for times in (1.4, 2)
    )
    yield absolute_worst(f"Faces, absolute, {said}", same)
    edge, most = (change("worst-rate", runs, base) for runs in (more, twice))
    unchanged = (Aim("fail", "at most", ERROR),)
    releases = (
        ("unchanged, +20 %", 0.2, same, unchanged),
        ("unchanged, +40 %", 0.4, same, unchanged),
        (f"{1 + edge:.2f} times, +{edge:.1%}, other anchors", edge, more, ()),
        (f"{1 + most:.2f} times, +{most:.1%}, other anchors", most, twice, ()),
        (f"{1 + most:.2f} times, +20 %", 0.2, twice, ()),
        (f"{1 + most:.2f} times, +40 %", 0.4, twice, ()),
    )
    cells = [
        judged(what, repeat(limit_on("worst-rate", x, relative=True), now), now, base, aims)
        for what, x, now, aims in releases
    ]
    yield Table(f"Faces, worst-rate against a baseline, {said}", cells)
    cells = [cell for name in (*WORST, *MEANS) for cell in boundary(name, base, same, more)]
    yield Table(f"Faces, at the boundary, {said}", cells)
    cells = [
        cell
        for name in (*WORST, *MEANS)
        for cell in at_detectable(name, base, same, twice, island=False)
    ]
    yield Table(f"Faces, releases at what a gate calls detectable, {said}", cells)
    few, few_too = (lab.of(known, Size(1000, LARGE), stream) for stream in (0, 1))
    what = "faces, 1,000 anchors x 10,000 samples"
    yield naive([(f"faces, {said}", base, same), (what, few, few_too)])


def lines(table: Table, *, markdown: bool) -> Iterator[str]:
    """A line a cell."""
    width = max(len(cell.what) for cell in table.cells)
    if markdown:
        yield f"### {table.title}\n"
        yield f"| release | {' | '.join(table.columns)} | aim |"
        yield "| --- " * (len(table.columns) + 2) + "|"
    else:
        yield table.title
        yield "".join([" " * (width + 2), *(f"{name:>8s}" for name in table.columns)])
    for cell in table.cells:
        found = [f"{cell.shares.get(name, 0):.3f}" for name in table.columns]
        if markdown:
            yield f"| {cell.what} | {' | '.join(found)} | {cell.said} |"
        else:
            numbers = "".join(f"{text:>8s}" for text in found)
            yield f"  {cell.what:{width}s}{numbers}   {cell.said}".rstrip()
    yield ""


def main() -> None:
    """Print a table a question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition")
    parser.add_argument("--rows", type=Path, help="embeddings of the faces, [N, D] float32 .npy")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    rows = None
    if given.rows is not None:
        rows = np.load(given.rows)
    elif (FACES / "generator.pt").is_file():
        rows = faces()
    else:
        print(f"without the faces: {FACES} is absent\n")
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        lab = Laboratory(pool, range(given.seed, given.seed + given.repetitions))
        size = Size(LARGE, LARGE)
        for table in chain(
            worst_against_worst(lab),
            [absolute_worst("Absolute, 1.1 %, 10,000 x 10,000", lab.runs(0.011, size, 0, False))],
            boundaries(lab),
            [shares_table(), same_place(lab)],
            planning(lab),
            [needed_shares()],
            [] if rows is None else of_faces(lab, rows),
        ):
            print("\n".join(lines(table, markdown=given.markdown)), flush=True)


if __name__ == "__main__":
    main()
