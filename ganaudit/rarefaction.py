"""What a run of fewer samples would have said: the same estimators on some of the groups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganaudit.intervals import Interval, mean_similarity, mu_at_n, worst_mode
from ganaudit.scores import mccs
from ganaudit.slots import permutation
from ganaudit.tally import Tally

_SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 28)  # groups; the last point is all of them
_SUBSETS = 8  # of each size, averaged
_BOX = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Point:
    """The figures of a run of n' samples, averaged over subsets of the groups.

    Attributes:
      samples: n', the mean over subsets.
      mean_similarity: with the mean ends of the subsets' intervals, as the next.
      mu: at n'.
      worst_rate: chosen and scored apart; None below 8 groups.
    """

    samples: int
    mean_similarity: Interval
    mu: Interval
    worst_rate: Interval | None


@dataclass(frozen=True)
class Box:
    """MCCS over anchors at n' samples: quantiles .05, .25, .5, .75, .95 and the largest."""

    at_samples: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float
    largest: float


def some_groups(tally: Tally, groups: NDArray[np.int64]) -> Tally:
    """The tally of the samples in `groups` alone.

    Squares are kept over all groups together, so an anchor's are taken in proportion to its
    similarity: none where there is none, and never more than it. Counts within half the radius
    likewise have no groups, and are left out (zero).
    """
    kept = np.zeros(len(tally.n), dtype=np.bool_)
    kept[groups] = True
    similarity = np.where(kept, tally.similarity, 0)
    total = tally.similarity.sum(axis=1)  # [m]
    share = np.divide(similarity.sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    return Tally(
        n=np.where(kept, tally.n, 0),
        similarity=similarity,
        within=np.where(kept, tally.within, 0),
        squares=tally.squares * share,
        within_half=np.zeros_like(tally.within_half),
        coherence=np.where(kept, tally.coherence, 0),
    )


def convergence(tally: Tally) -> list[Point]:
    """The main figures against the number of samples, the whole run last."""
    full = np.flatnonzero(tally.n)
    curve = []
    for size in (size for size in _SIZES if size < len(full)):
        parts = [
            _point(some_groups(tally, full[permutation(len(full), seed=subset)[:size]]))
            for subset in range(_SUBSETS)
        ]
        curve.append(_mean_point(parts))
    return [*curve, _point(tally)]


def box(tally: Tally, *, share: float = 1.0) -> Box:
    """The distribution of MCCS over anchors on a share of the groups, at least one."""
    full = np.flatnonzero(tally.n)
    kept = full[permutation(len(full), seed=0)[: max(1, round(share * len(full)))]]
    n = int(tally.n[kept].sum())
    scores = mccs(tally.similarity[:, kept].sum(axis=1) / n)
    low, quarter, median, three_quarters, high = (float(q) for q in np.quantile(scores, _BOX))
    return Box(n, low, quarter, median, three_quarters, high, largest=float(scores.max()))


def _point(tally: Tally) -> Point:
    worst = worst_mode(tally)
    return Point(
        samples=int(tally.n.sum()),
        mean_similarity=mean_similarity(tally).interval(),
        mu=mu_at_n(tally).interval(),
        worst_rate=None if worst is None else worst.rate,
    )


def _mean_point(points: list[Point]) -> Point:
    worst = [point.worst_rate for point in points if point.worst_rate is not None]
    return Point(
        samples=round(sum(point.samples for point in points) / len(points)),
        mean_similarity=_mean_interval([point.mean_similarity for point in points]),
        mu=_mean_interval([point.mu for point in points]),
        worst_rate=_mean_interval(worst) if worst else None,
    )


def _mean_interval(intervals: list[Interval]) -> Interval:
    ends = zip(*((one.estimate, one.low, one.high) for one in intervals), strict=True)
    return Interval(*(None if None in end else float(np.mean(end)) for end in ends))
