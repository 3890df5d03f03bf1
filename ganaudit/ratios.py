"""One figure over another, of two generators at equal m and n: logarithms of ratios.

Two worst modes are compared flattered against unflattered: the lower end takes the after's figure
as nobody flattered it and the before's as the collapse flattered it, the upper end the reverse.
Their interval is wide on purpose.
"""

from dataclasses import dataclass

import numpy as np

from ganaudit.extremes import Extreme, Hits
from ganaudit.intervals import Estimate, Interval

WIDER = 1.12  # how much more than a binomial one a swapped count's logarithm varies
_Z = 1.96


@dataclass(frozen=True)
class Share:
    """`count` of `of` things have a property."""

    count: int
    of: int

    @property
    def rate(self) -> float:
        """In [0, 1]; 0 of nothing."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True)
class End:
    """Where one end of an interval starts, and the standard error that it goes outwards by."""

    start: float
    error: float


@dataclass(frozen=True)
class LogRatio:
    """ln(after / before).

    Attributes:
      estimate: None: there is no ratio; -inf: the after is 0.
      low: where the lower end starts; None: it cannot be said.
      high: likewise.
    """

    estimate: float | None
    low: End | None
    high: End | None

    def ends(self, z: float) -> tuple[float | None, float | None]:
        """The logarithm's ends, z standard errors outwards."""
        low = None if self.low is None else self.low.start - z * self.low.error
        return low, None if self.high is None else self.high.start + z * self.high.error

    def interval(self, z: float = _Z) -> Interval:
        """Of the ratio itself."""
        return Interval(
            *(None if one is None else float(np.exp(one)) for one in (self.estimate, *self.ends(z)))
        )


def ratio(after: Estimate, before: Estimate) -> LogRatio:
    """Of two estimates with variances; se^2 of the logarithm is the sum of Var / est^2."""
    if not before.value or not after.value:
        return LogRatio(-np.inf if before.value else None, None, None)
    found = float(np.log(after.value / before.value))
    if after.variance is None or before.variance is None or not (after.varies and before.varies):
        return LogRatio(found, None, None)
    error = (after.variance / after.value**2 + before.variance / before.value**2) ** 0.5
    return LogRatio(found, End(found, error), End(found, error))


def difference(after: Estimate, before: Estimate) -> LogRatio:
    """Of two estimates that are logarithms already (the Vendi score's)."""
    found = after.value - before.value
    if after.variance is None or before.variance is None:
        return LogRatio(found, None, None)
    error = (after.variance + before.variance) ** 0.5
    return LogRatio(found, End(found, error), End(found, error))


def ratio_of_extremes(after: Extreme, before: Extreme) -> LogRatio:
    """Of two worst modes. Half hits keep the logarithms finite."""
    n, old = after.samples, before.samples
    return LogRatio(
        _log(after.apart, n) - _log(before.apart, old),
        End(
            _log(after.apart, n) - _log(before.largest, old),
            (WIDER**2 * _noise(after.apart, n) + _noise(before.largest, old)) ** 0.5,
        ),
        End(
            _log(after.largest, n) - _log(before.apart, old),
            (_noise(after.largest, n) + WIDER**2 * _noise(before.apart, old)) ** 0.5,
        ),
    )


def ratio_of_shares(after: Share, before: Share) -> LogRatio:
    """Of two shares. Half counts keep the logarithms finite."""
    now, then = Hits(after.count, 1.0), Hits(before.count, 1.0)
    found = _log(now, after.of) - _log(then, before.of)
    error = (_noise(now, after.of) + _noise(then, before.of)) ** 0.5
    return LogRatio(found, End(found, error), End(found, error))


def _log(of: Hits, samples: int) -> float:
    return float(np.log((of.hits + 0.5) * of.unit / samples))


def _noise(of: Hits, samples: int) -> float:
    """Variance of `_log`."""
    return max(0.0, 1 / (of.hits + 0.5) - 1 / samples)
