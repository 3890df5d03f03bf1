"""What each calibrator does to a dense mode that was planted, with the region of latents known.

    python benchmarks/calibration_planted.py [--samples 12000] [--fresh 20000] [--dims 2 64 512]

Latents are N(0, I); a tenth of them, q, is mapped to one identity, the others to 400 further ones.
The dense region is linear, a half-space z1 > c, or curved, a ring of (z1, z2) that no half-space
holds. Calibrators are fitted on slots of one seed, for the one mode and the median anchor's rate as
the target, and judged on slots of another, before and after; both audits have the same anchors.

best: the rate that refusing dense latents alone leaves at the acceptance a that was measured,
(q - 1 + a) / a. excess: the share of (rate - target) that is gone. others: the largest growth of
another mode over what it may, 1 / a (a mixture, which takes all: 1 / the least acceptance), and how
many grow beyond that (binomial tests, Holm, .05).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ganaudit.calibration import gmm, importance, rejection
from ganaudit.calibration.cells import MixtureSampler
from ganaudit.calibration.crowds import Crowd, Fitted, Goal
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import Latents, Space, redraw
from ganaudit.errors import ConfigError
from ganaudit.slots import Stream, lots_of, noise_seeds_of

MASS = 0.1  # q
FLOOR = 0.8
RADIUS = 0.25
IDENTITIES, DIM = 400, 64
ANCHORS = 1000
LEAST = 60  # fresh samples of another mode before, whose growth is looked at
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Planted:
    """A generator and its descriptor in one: latents to unit rows, each by itself.

    Attributes:
      size: of a latent.
      curved: the dense region is a ring, else a half-space.
    """

    size: int
    curved: bool

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.size}-d, {'curved' if self.curved else 'linear'}"

    def dense(self, latents: Latents) -> NDArray[np.bool_]:
        """Which latents lie in the planted region, of mass q: [N]."""
        wide = latents[:, :2].astype(np.float64)
        if not self.curved:
            return np.asarray(wide[:, 0] > stats.norm.isf(MASS))
        low, high = stats.chi2(2).ppf([0.5 - MASS / 2, 0.5 + MASS / 2])
        square = (wide**2).sum(axis=1)
        return np.asarray((square > low) & (square < high))

    def rows(self, latents: Latents) -> Rows:
        """Embeddings: [N, size] to [N, 64]. Identity 0 is the dense one; shares are unequal."""
        rng = np.random.default_rng(7)
        centres = rng.standard_normal((IDENTITIES + 1, DIM)) / DIM**0.5
        direction = rng.standard_normal(self.size)
        spread, phase = rng.standard_normal((self.size, DIM)), rng.uniform(0, 2 * np.pi, DIM)
        wide = latents.astype(np.float64)
        band = (37 * ndtr(wide @ direction / np.linalg.norm(direction))) % 1  # all over the space
        shares = 1 / (np.arange(IDENTITIES) + 20)
        which = 1 + np.searchsorted(np.cumsum(shares / shares.sum())[:-1], band)
        which[self.dense(latents)] = 0
        noise = np.cos(wide @ spread / self.size**0.5 * 3 + phase) / DIM**0.5
        rows = centres[which] + 0.4 * noise
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class Audit:
    """Fresh samples around the anchors: how many, and of how many.

    Attributes:
      counts: [C] by candidate of the crowd.
      n: samples.
    """

    counts: NDArray[np.int64]
    n: int

    @classmethod
    def of(cls, crowd: Crowd, rows: Rows) -> "Audit":
        """Of unit rows [N, 64]."""
        cosine = crowd.anchors @ rows.T
        return cls((cosine >= np.cos(np.pi * crowd.radius)).sum(axis=1), len(rows))

    def interval(self, mode: int) -> tuple[float, float, float]:
        """The rate of a mode with the ends of its Wilson interval."""
        count = int(self.counts[mode])
        found = stats.binomtest(count, self.n).proportion_ci(method="wilson")
        return count / self.n, float(found.low), float(found.high)


@dataclass(frozen=True)
class Ground:
    """A planted generator, the run that calibrators are fitted on, and fresh slots."""

    planted: Planted
    space: Space
    crowd: Crowd
    latents: Latents
    fresh: NDArray[np.int64]
    before: Audit

    @classmethod
    def of(cls, planted: Planted, *, samples: int, fresh: int) -> "Ground":
        """Fitted on slots of seed 0, judged on those of seed 1."""
        space = Space((planted.size,), "normal")
        anchors, slots, later = (np.arange(n) for n in (ANCHORS, samples, fresh))
        latents = space.draw(slots, seed=0, stream=Stream.SAMPLES)
        crowd = Crowd.of(
            planted.rows(space.draw(anchors, seed=0, stream=Stream.ANCHORS)),
            anchors,
            planted.rows(latents),
            slots,
            radius=RADIUS,
        )
        ordinary = planted.rows(space.draw(later, seed=1, stream=Stream.SAMPLES))
        return cls(planted, space, crowd, latents, later, Audit.of(crowd, ordinary))


@dataclass(frozen=True)
class Judged:
    """A calibrator on fresh slots; `rate`s with their intervals."""

    case: str
    method: str
    fitted: Fitted
    target: float
    acceptance: float
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    growth: float
    beyond: int
    samples: int
    fresh: int
    seconds: float

    @property
    def removed(self) -> float:
        """Share of the excess over the target that is gone."""
        return (self.before[0] - self.after[0]) / (self.before[0] - self.target)

    @property
    def best(self) -> float | None:
        """The rate that refusing dense latents alone leaves at this acceptance."""
        if isinstance(self.fitted.calibrator, MixtureSampler):
            return None
        return max(0.0, (MASS - 1 + self.acceptance) / self.acceptance)

    @property
    def announced(self) -> float | None:
        """The rate that was announced; None: it was said that nobody can tell."""
        return self.fitted.forecast.chosen[0][1] if self.fitted.forecast else None

    @property
    def deviation(self) -> float:
        """How far the measured rate lies above what was announced, in standard errors."""
        if self.announced is None:
            return 0.0
        error: float = (max(self.announced, 1e-4) * (1 / self.samples + 1 / self.fresh)) ** 0.5
        return (self.after[0] - self.announced) / error


def filtered(ground: Ground, made: OutputFilter) -> tuple[Rows, float]:
    """What the slots deliver behind a filter, as `FilteredLatents` renders them."""
    space, slots = ground.space, ground.fresh
    seeds = noise_seeds_of(slots, seed=1, stream=Stream.SAMPLES)
    rows = ground.planted.rows(space.draw(slots, seed=1, stream=Stream.SAMPLES))
    first = made.acceptance(rows)
    left = np.flatnonzero(lots_of(seeds, 0)[:, 0] >= first)
    for attempt in range(1, made.attempts):
        if not len(left):
            break
        rows[left] = ground.planted.rows(space.again(seeds[left], attempt))
        left = left[lots_of(seeds[left], attempt)[:, 0] >= made.acceptance(rows[left])]
    return rows, float(first.mean())


def delivered(ground: Ground, made: Any) -> tuple[Rows, float]:
    """The fresh slots' rows behind a calibrator, and the share of proposals that is taken."""
    if isinstance(made, OutputFilter):
        return filtered(ground, made)
    ordinary = ground.space.draw(ground.fresh, seed=1, stream=Stream.SAMPLES)
    seeds = noise_seeds_of(ground.fresh, seed=1, stream=Stream.SAMPLES)
    drawn = redraw(made, ordinary, seeds)
    return ground.planted.rows(drawn.latents), len(seeds) / float(drawn.attempts.sum())


def judged(ground: Ground, method: str, make: Callable[[Ground, Goal], Fitted]) -> Judged:
    """Fit a calibrator and audit the fresh slots behind it."""
    begin = time.perf_counter()
    goal = Goal(target=ground.crowd.median, modes=1, min_acceptance=FLOOR, attempts=100, seed=0)
    fitted = make(ground, goal)
    rows, acceptance = delivered(ground, fitted.calibrator)
    after = Audit.of(ground.crowd, rows)
    mixture = isinstance(fitted.calibrator, MixtureSampler)
    growth, beyond = grown(ground, after, 1 / (FLOOR if mixture else acceptance))
    return Judged(
        case=ground.planted.name,
        method=method,
        fitted=fitted,
        target=goal.target,
        acceptance=acceptance,
        before=ground.before.interval(0),
        after=after.interval(0),
        growth=growth,
        beyond=beyond,
        samples=len(ground.latents),
        fresh=len(ground.fresh),
        seconds=time.perf_counter() - begin,
    )


def grown(ground: Ground, after: Audit, factor: float) -> tuple[float, int]:
    """The largest growth of another mode over an allowed factor, and how many exceed that."""
    others: list[int] = []
    near = ground.crowd.anchors @ ground.crowd.anchors[0] >= np.cos(np.pi * RADIUS)
    for mode in np.flatnonzero(~near & (ground.before.counts >= LEAST)):
        if ground.crowd.near(int(mode), others) is None:
            others.append(int(mode))
    before, later = ground.before.counts[others], after.counts[others]
    allowed = factor * after.n / ground.before.n
    p = np.array(
        [
            stats.binomtest(int(b), int(a + b), allowed / (1 + allowed), "greater").pvalue
            for a, b in zip(before, later, strict=True)
        ]
    )
    order = np.sort(p)
    significant = order * np.arange(len(p), 0, -1) <= 0.05
    beyond = len(p) if significant.all() else int(np.argmin(significant))
    return float((later / before / allowed).max()), beyond


def _gmm(draw: Any) -> Callable[[Ground, Goal], Fitted]:
    return lambda g, goal: gmm.fit(g.crowd, g.latents, g.space, goal, draw=draw)


def _importance(region: Any) -> Callable[[Ground, Goal], Fitted]:
    return lambda g, goal: importance.fit(g.crowd, g.latents, g.space, goal, region=region)


METHODS: dict[str, Callable[[Ground, Goal], Fitted]] = {
    "gmm, mixture": _gmm("mixture"),
    "gmm, cell": _gmm("cell"),
    "importance, linear": _importance("linear"),
    "importance, subspace-hull": _importance("subspace-hull"),
    "importance, hull": _importance("hull"),
    "rejection": lambda g, goal: rejection.fit(g.crowd, goal),
}


def claims(found: list[Judged]) -> list[tuple[str, bool]]:
    """What the table must show, and whether it does; of rows that are missing nothing holds."""

    def every(method: str, case: str, test: Callable[[Judged], bool]) -> bool:
        rows = [one for one in found if one.method.startswith(method) and case in f" {one.case}"]
        return bool(rows) and all(test(one) for one in rows)

    def half(one: Judged) -> bool:
        return one.removed >= 0.5

    def truthful(one: Judged) -> bool:
        return "next to no structure" in " ".join(one.fitted.sentences) and abs(one.deviation) <= 3

    return [
        (
            "rejection reaches the target within its interval in every case",
            every("rejection", "", lambda one: one.after[1] <= one.target),
        ),
        (
            "importance (linear) removes half of the excess in the linear cases",
            every("importance, linear", "linear", half),
        ),
        (
            "gmm, by cell and as a mixture, does so in 2 dimensions",
            every("gmm", " 2-d, linear", half),
        ),
        (
            "gmm says in 512 dimensions that K-means finds no structure, and what is left",
            every("gmm", " 512-d", truthful),
        ),
        (
            "a full-space hull never fires in 64 dimensions and more",
            all(
                every("importance, hull", size, lambda one: one.acceptance == 1)
                for size in (" 64-d", " 512-d")
            ),
        ),
        (
            "no calibrator falls short of what it announced by more than three standard errors",
            every("", "", lambda one: one.deviation <= 3),
        ),
        (
            "no other mode grows by more than it may",
            every("", "", lambda one: one.beyond == 0),
        ),
    ]


def share(value: float | None) -> str:
    """As a percentage; where there is none, a dash."""
    return "-" if value is None else f"{value:.2%}"


def line(one: Judged) -> str:
    """A row of the table."""
    rate, low, high = one.after
    return (
        f"{one.method:26} {one.before[0]:7.2%} {rate:7.2%} ({low:6.2%} to {high:6.2%}) "
        f"{share(one.announced):>9} {share(one.best):>7} {one.acceptance:10.3f} {one.removed:7.0%} "
        f"{one.growth:7.2f} ({one.beyond}) {one.seconds:6.1f} s"
    )


def main() -> None:
    """Print the table, and what it must show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--fresh", type=int, default=20_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 64, 512])
    parser.add_argument("--sentences", action="store_true", help="print what is announced")
    given = parser.parse_args()
    threadpool_limits(1)  # small products: threads of a busy machine wait for each other
    found: list[Judged] = []
    for size in given.dims:
        for curved in (False, True):
            ground = Ground.of(Planted(size, curved), samples=given.samples, fresh=given.fresh)
            print(
                f"\n{ground.planted.name}: q = {MASS:.0%}, target {ground.crowd.median:.2%}, "
                f"acceptance at least {FLOOR:.0%}; reachable there: "
                f"{max(0.0, (MASS - 1 + FLOOR) / FLOOR):.2%}\n"
                f"{'':26} {'before':>7} {'after':>7} {'95 % interval':>19} {'announced':>8} "
                f"{'best':>7} {'acceptance':>10} {'excess':>7} {'others':>11}"
            )
            for method, make in METHODS.items():
                try:
                    one = judged(ground, method, make)
                except ConfigError as error:
                    print(f"{method:26} refused: {error}")
                    continue
                found.append(one)
                print(line(one), flush=True)
                if given.sentences:
                    print(*(f"    {said}" for said in one.fitted.sentences), sep="\n")
    print()
    for claim, holds in claims(found):
        print(f"{'holds' if holds else 'DOES NOT HOLD':14} {claim}")


if __name__ == "__main__":
    main()
