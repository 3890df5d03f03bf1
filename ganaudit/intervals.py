"""Intervals for the figures of a tally, from its 32 groups and its counts; no bootstrap.

m anchors and n samples are drawn independently from one generator, and every anchor meets every
sample. So a figure varies with both draws: over anchors, which the spread between anchors shows,
and over samples, which the spread between groups shows. What both show is subtracted once.
`benchmarks/coverage.py` measures how often the intervals hold the truth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ganaudit.scores import mccs
from ganaudit.slots import permutation
from ganaudit.tally import Tally

CONFIDENCE = 0.95
MIN_GROUPS = 8  # with samples in them; fewer say nothing about their spread
_Z = 1.96
Z_SWAPPED = 2.0  # of a Wilson interval for two halves that chose for each other: 2.2 is too wide
_ROUNDING = 1e-6  # a spread below this share of the figure is that of float32 cosines
_SPLITS = 12  # of the groups, for the spread of a quantile


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its nominal 95 % interval.

    Attributes:
      estimate: the figure; None where it is infinite or cannot be said.
      low: lower end; None where it cannot be said.
      high: upper end; likewise.
    """

    estimate: float | None
    low: float | None
    high: float | None

    def figures(self) -> dict[str, float | None]:
        """As JSON values."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Estimate:
    """A figure with its variance.

    Attributes:
      value: the figure.
      variance: of the figure over draws of anchors and samples; None where it cannot be said.
      degrees: of freedom of that variance, for Student's t.
      unseen: how far the figure can be from the truth where nothing varies at all: 3 / min(m, n).
    """

    value: float
    variance: float | None
    degrees: float
    unseen: float

    @property
    def varies(self) -> bool:
        """Whether there is a variance, and more of it than rounding makes."""
        return self.variance is not None and self.variance > (_ROUNDING * self.value) ** 2

    def interval(self) -> Interval:
        """By Student's t, within [0, 1]."""
        if self.variance is None:
            return Interval(self.value, None, None)
        if self.varies:
            reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees)) * self.variance**0.5
        else:
            reach = self.unseen
        return Interval(self.value, max(0.0, self.value - reach), min(1.0, self.value + reach))


def mean_over_pairs(
    sums: NDArray[np.float64], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> Estimate:
    """The mean of a similarity over all pairs of an anchor and a sample; unbiased at any n.

    Args:
      sums: [m, 32] over the samples of each group, of values in [0, 1].
      squares: [m] sums of squared values over all samples.
      n: [32] samples of each group.

    References:
      V = max(V_A + V_G - V_N, V_A, V_G): the spread of anchors over m, that of groups weighted by
      their size, less the noise of single pairs, which both contain. Degrees of freedom by
      Welch-Satterthwaite before the subtraction.
    """
    m, total = len(sums), int(n.sum())
    by_anchor = sums.sum(axis=1) / total  # [m]
    mean = float(by_anchor.mean())
    unseen = 3 / min(m, total)
    full = n > 0
    groups = int(full.sum())
    if groups < MIN_GROUPS or m < 2:
        return Estimate(mean, None, 0, unseen)
    by_group = sums[:, full].mean(axis=0) / n[full]  # [G]
    over_anchors = float(by_anchor.var(ddof=1)) / m
    shares = n[full] / total
    over_groups = groups / (groups - 1) * float((shares**2 * (by_group - mean) ** 2).sum())
    of_pairs = max(0.0, float((squares / total - by_anchor**2).mean())) / (total * m)
    variance = max(over_anchors + over_groups - of_pairs, over_anchors, over_groups)
    degrees = _satterthwaite((over_anchors, m - 1), (over_groups, groups - 1))
    return Estimate(mean, variance, degrees, unseen)


def mean_similarity(tally: Tally) -> Estimate:
    """Mean of s(d) over all pairs."""
    return mean_over_pairs(tally.similarity, tally.squares, tally.n)


def pair_rate(tally: Tally) -> Estimate:
    """Share of all pairs at distance <= radius; a count is its own square."""
    within = tally.within.astype(np.float64)
    return mean_over_pairs(within, within.sum(axis=1), tally.n)


def pooled_mccs(tally: Tally) -> Interval:
    """MCCS of the mean similarity: the ends are transformed."""
    pooled = mean_similarity(tally).interval()
    return Interval(*(None if end is None else _score(end) for end in _ends(pooled)))


def mu_at_n(tally: Tally, *, added: float = 0.0) -> Estimate:
    """Mean of MCCS over anchors; the target is its expectation at this number of samples.

    mu depends on n, because anchors without a hit decide it, and no estimator tried reaches the
    limit; so it is compared at equal n only (`limit_of_mu` brackets the limit).

    Args:
      tally: of m anchors.
      added: to every anchor's mean similarity, times the samples behind it.

    References:
      Eq. 8 of the paper. Variance over anchors, plus the jackknife over groups of the mean, less
      the jackknife noise of single anchors.
    """
    n = int(tally.n.sum())
    m = len(tally.squares)
    scores = mccs(tally.similarity.sum(axis=1) / n + added / n)  # [m]
    value, unseen = float(scores.mean()), _score(3 / min(m, n))
    full = tally.n > 0
    groups = int(full.sum())
    if groups < MIN_GROUPS or m < 2:
        return Estimate(value, None, 0, unseen)
    left_out = _left_out(tally, added / n)  # [m, G]
    over_anchors = float(scores.var(ddof=1)) / m
    over_groups = float(_jackknife(left_out.mean(axis=0)))
    of_anchors = float(_jackknife(left_out).mean()) / m
    over_samples = max(0.0, over_groups - of_anchors)
    degrees = _satterthwaite((over_anchors, m - 1), (over_samples, groups - 1))
    return Estimate(value, over_anchors + over_samples, degrees, unseen)


def sigma_at_n(tally: Tally) -> Interval | None:
    """Standard deviation of MCCS over anchors (ddof = 1) at n; conservative. None: one anchor."""
    scores = mccs(tally.similarity.sum(axis=1) / tally.n.sum())
    m = len(scores)
    if m < 2:
        return None
    sigma = float(scores.std(ddof=1))
    if (tally.n > 0).sum() < MIN_GROUPS or sigma <= _ROUNDING * scores.max():
        return Interval(sigma, None, None)
    fourth = float(((scores - scores.mean()) ** 4).mean())
    over_anchors = max(0.0, fourth / sigma**4 - 1) * sigma**2 / (4 * m)
    over_groups = _jackknife(_left_out(tally, 0.0).std(axis=0, ddof=1))
    reach = _Z * float(over_anchors + over_groups) ** 0.5
    return Interval(sigma, max(0.0, sigma - reach), min(1.0, sigma + reach))


def limit_of_mu(tally: Tally) -> tuple[float | None, float | None]:
    """A bracket for mu as n grows without end; nothing narrower can be had from n samples.

    Returns:
      The lower end for mu of x, and the upper end for mu of x + kappa / (2 n), where kappa, the
      sum of s^2 over that of s, is the mean similarity of a pair that has any.
    """
    upper = mu_at_n(tally, added=_kappa(tally) / 2)
    return mu_at_n(tally).interval().low, upper.interval().high


def quantile_at_n(tally: Tally, probability: float) -> Interval:
    """A quantile of MCCS over anchors, at n: order statistics, and half splits of the groups."""
    scores = np.sort(mccs(tally.similarity.sum(axis=1) / tally.n.sum()))
    value = float(np.quantile(scores, probability))
    full = np.flatnonzero(tally.n)
    if len(full) < MIN_GROUPS or len(scores) < 2:
        return Interval(value, None, None)
    tails = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    ranks = stats.binom.ppf(tails, len(scores), probability)
    low, high = scores[np.clip(ranks - (1, 0), 0, len(scores) - 1).astype(np.int64)]
    gaps = []
    for split in range(_SPLITS):
        mixed = full[permutation(len(full), seed=split)]
        halves = [
            np.quantile(
                mccs(tally.similarity[:, half].sum(axis=1) / tally.n[half].sum()), probability
            )
            for half in (mixed[: len(full) // 2], mixed[len(full) // 2 :])
        ]
        gaps.append(halves[0] - halves[1])
    reach = _Z * float(np.mean(np.square(gaps)) / 4) ** 0.5
    return Interval(
        value,
        max(0.0, value - float(np.hypot(value - low, reach))),
        min(1.0, value + float(np.hypot(high - value, reach))),
    )


@dataclass(frozen=True)
class WorstMode:
    """The densest anchor, chosen on each half of the samples and scored on the other.

    Attributes:
      anchors: number of the densest anchor in the first half, and in the second.
      count: neighbours of each in the other half, added.
      samples: n.
      rate: count / n; the truth is the anchors' rates, weighted by the halves they were scored on.
      mean_similarity: likewise.
      largest_rate: the largest count of any anchor over all samples, which flatters the collapse,
        between ends for the largest true rate of these anchors.
      samples_to_halve: n at which the interval of `rate` is half as wide, if the rate stays.
    """

    anchors: tuple[int, int]
    count: int
    samples: int
    rate: Interval
    mean_similarity: Interval
    largest_rate: Interval
    samples_to_halve: int


def worst_mode(tally: Tally) -> WorstMode | None:
    """The worst mode's rate and mean similarity, unflattered. None: fewer than 8 groups.

    An anchor that was chosen as the densest of thousands looks denser on the samples that chose it
    than it is. So groups 0-15 choose for groups 16-31, and these for those.
    """
    full = np.flatnonzero(tally.n)
    if len(full) < MIN_GROUPS:
        return None
    first, second = full[: len(full) // 2], full[len(full) // 2 :]
    chosen = densest(tally, first)[0], densest(tally, second)[0]
    n = int(tally.n.sum())
    count = int(tally.within[chosen[0], second].sum() + tally.within[chosen[1], first].sum())
    sums = float(
        tally.similarity[chosen[0], second].sum() + tally.similarity[chosen[1], first].sum()
    )
    rate = wilson(count, n, z=Z_SWAPPED)
    largest = int(tally.within.sum(axis=1).max())
    return WorstMode(
        anchors=(int(chosen[0]), int(chosen[1])),
        count=count,
        samples=n,
        rate=rate,
        mean_similarity=_similarity_of_chosen(tally, list(chosen), sums),
        largest_rate=Interval(largest / n, rate.low, wilson(largest, n, z=_Z).high),
        samples_to_halve=_samples_to_halve(count / n, n),
    )


def densest(tally: Tally, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """[m] anchors, most neighbours in `groups` first; ties: larger similarity, lower number."""
    counts = tally.within[:, groups].sum(axis=1)
    return np.lexsort((-tally.similarity[:, groups].sum(axis=1), -counts))


def wilson(count: float, n: int, *, z: float = _Z) -> Interval:
    """Wilson's score interval of `count` of n; z standard errors."""
    rate = count / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    low = 0.0 if count == 0 else max(0.0, middle - reach)
    return Interval(rate, low, 1.0 if count == n else min(1.0, middle + reach))


def clopper_pearson(count: int, n: int) -> Interval:
    """The exact 95 % interval of `count` of n >= 1: each end errs in at most 2.5 %, at any count.

    References:
      Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
      binomial", Biometrika 1934.
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(stats.beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - tail, count + 1, n - count)) if count < n else 1.0
    return Interval(count / n, low, high)


def _ends(interval: Interval) -> tuple[float | None, float | None, float | None]:
    return interval.estimate, interval.low, interval.high


def _score(mean: float) -> float:
    return float(mccs(np.array(min(1.0, mean))))


def _satterthwaite(*parts: tuple[float, int]) -> float:
    """Degrees of freedom of a sum of variances, each with its own."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / degrees for variance, degrees in parts)
    return total**2 / below if below else float(min(degrees for _, degrees in parts))


def _left_out(tally: Tally, added: float) -> NDArray[np.float64]:
    """[m, G] MCCS of x + `added` of every anchor without one group that has samples."""
    full = tally.n > 0
    left = tally.n.sum() - tally.n[full]  # [G]
    sums = tally.similarity.sum(axis=1, keepdims=True) - tally.similarity[:, full]  # [m, G]
    return mccs(sums / left + added)


def _jackknife(left_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance over the last axis, of values that each leave one group out."""
    groups = left_out.shape[-1]
    gaps = left_out - left_out.mean(axis=-1, keepdims=True)
    return np.asarray((groups - 1) / groups * np.square(gaps).sum(axis=-1))


def _kappa(tally: Tally) -> float:
    """Sum of s^2 over sum of s; 1, its upper bound, where the squares vanish."""
    squares = float(tally.squares.sum())
    return squares / float(tally.similarity.sum()) if squares else 1.0


def unit_of(tally: Tally, sums: ArrayLike, squares: ArrayLike) -> NDArray[np.float64]:
    """How alike a sample of the worst kind is: a sum of s over this is as spread as a count is.

    Args:
      tally: of which the sums are.
      sums: of s over the samples, any shape.
      squares: of s^2, likewise.

    Returns:
      squares over sums, drawn towards that of all pairs by one hit.
    """
    kappa = _kappa(tally)
    return np.asarray((np.asarray(squares) + kappa**2) / (np.asarray(sums) + kappa))


def _similarity_of_chosen(tally: Tally, chosen: list[int], sums: float) -> Interval:
    """Sums over n as a multiple of a Poisson count, the unit being the pairs' own s^2 over s."""
    n = int(tally.n.sum())
    unit = float(unit_of(tally, tally.similarity[chosen].sum(), tally.squares[chosen].sum()))
    hits = sums / unit
    low = float(stats.chi2.ppf((1 - CONFIDENCE) / 2, 2 * hits)) / 2 if hits else 0.0
    high = float(stats.chi2.ppf((1 + CONFIDENCE) / 2, 2 * hits + 2)) / 2
    return Interval(sums / n, unit / n * low, min(1.0, unit / n * high))


def _samples_to_halve(rate: float, n: int) -> int:
    """The smallest n whose Wilson interval at `rate` is at most half as wide as this one's."""

    def width(samples: int) -> float:
        z = Z_SWAPPED
        spread = rate * (1 - rate) / samples + z * z / (4 * samples * samples)
        return float(2 * z / (1 + z * z / samples) * spread**0.5)

    low, high = n, 8 * n + 8 * int(Z_SWAPPED**2 + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if width(middle) <= width(n) / 2 else (middle, high)
    return high
