"""The worst mode as two estimates that err on opposite sides, which is what verdicts need.

The densest of thousands of anchors looks denser on the samples that chose it than it is. So its
rate, and its mean similarity, are known twice: chosen and scored on different halves, which
flatters nobody, and as the largest of any anchor, which flatters the collapse.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ganaudit.intervals import CONFIDENCE, Interval, unit_of, worst_mode
from ganaudit.tally import Tally


@dataclass(frozen=True)
class Hits:
    """A sum over samples as a multiple of a count.

    Attributes:
      hits: the count; of similarities not a whole number.
      unit: what one hit adds to the sum: 1 for a rate, a similarity in (0, 1] for similarities.
    """

    hits: float
    unit: float


@dataclass(frozen=True)
class Extreme:
    """The rate or the mean similarity of the worst mode.

    Attributes:
      apart: chosen and scored on different halves of the samples.
      largest: of any anchor over all samples.
      samples: n, behind both.
      low: lower end of the interval of `apart`.
      high: upper end of the interval of `apart`.
      upper: no anchor's own interval reaches beyond; in [0, 1].
    """

    apart: Hits
    largest: Hits
    samples: int
    low: float
    high: float
    upper: float

    @property
    def interval(self) -> Interval:
        """Of `apart`."""
        return Interval(self.apart.hits * self.apart.unit / self.samples, self.low, self.high)

    @property
    def bracket(self) -> Interval:
        """Of the largest true value of these anchors; the estimate is the largest one seen."""
        return Interval(self.largest.hits * self.largest.unit / self.samples, self.low, self.upper)


def extremes(tally: Tally) -> tuple[Extreme, Extreme] | None:
    """The worst mode's rate and its mean similarity. None: fewer than 8 groups.

    References:
      A sum T of similarities with T^2 / Q behind it (Q the sum of s^2) is spread as a Poisson count
      of T / kappa is, kappa = Q / T; the ends are Garwood's.
    """
    worst = worst_mode(tally)
    if worst is None:
        return None
    n = worst.samples
    counts = tally.within.sum(axis=1)
    rate = Extreme(
        apart=Hits(worst.count, 1.0),
        largest=Hits(int(counts.max()), 1.0),
        samples=n,
        low=_known(worst.rate.low),
        high=_known(worst.rate.high),
        upper=_known(worst.largest_rate.high),
    )
    sums = tally.similarity.sum(axis=1)  # [m]
    units = unit_of(tally, sums, tally.squares)  # [m]
    uppers = units / n * stats.chi2.ppf((1 + CONFIDENCE) / 2, 2 * sums / units + 2) / 2  # [m]
    largest, chosen = int(sums.argmax()), list(worst.anchors)
    apart = _known(worst.mean_similarity.estimate) * n
    unit = float(unit_of(tally, sums[chosen].sum(), tally.squares[chosen].sum()))
    similarity = Extreme(
        apart=Hits(apart / unit, unit),
        largest=Hits(float(sums[largest] / units[largest]), float(units[largest])),
        samples=n,
        low=_known(worst.mean_similarity.low),
        high=_known(worst.mean_similarity.high),
        upper=min(1.0, float(np.max(uppers))),
    )
    return rate, similarity


def _known(end: float | None) -> float:
    assert end is not None  # a worst mode has all ends
    return end
