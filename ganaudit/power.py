"""What a gate can see: the smallest change that it finds, and the samples that it takes.

z = 1.645 on either side: a change that is found in 95 of 100 releases by a test that errs in 5 of
100. Formulas: normal approximations to the tests in `ganaudit.gates`; those for two worst modes
count hits, k of a release's worst mode.
"""

import math

from scipy.optimize import brentq
from scipy.stats import t

from ganaudit.intervals import CONFIDENCE, Z_SWAPPED, Estimate, wilson

_TEST, _SURE, _LIKELY = 1.645, 1.645, 1.2816  # 5 % of a test; 95 % and 90 % of its successes
TWO_SIDED = 1.96  # of the intervals that absolute limits look at
_DOUBLE = 2.0


def rate_that_fails(limit: float, n: int, *, z: float = Z_SWAPPED) -> float | None:
    """The smallest true rate of which `n` samples show in 95 of 100 cases that it is above `limit`.

    Wilson's lower end is above g where the rate seen is above g + z sqrt(g (1 - g) / n). None: no
    rate up to 1 does.

    Args:
      limit: g, in (0, 1).
      n: samples.
      z: of the test; that of a worst mode if none is given.
    """
    seen = limit + z * math.sqrt(limit * (1 - limit) / n)
    return wilson(seen * n, n, z=_SURE).high if seen < 1 else None


def similarity_that_fails(limit: float, n: int, unit: float) -> float | None:
    """The same of a mean similarity whose hits are `unit` alike: Poisson counts in place of n."""
    allowed = limit * n / unit
    above = _square_up(allowed, TWO_SIDED)
    found = _square_up(above, _SURE) * unit / n
    return found if found < 1 else None


def _square_up(count: float, z: float) -> float:
    """The mean of a Poisson count that lies z standard deviations above `count`."""
    return (z / 2 + math.sqrt(z * z / 4 + count)) ** 2


def value_that_fails(limit: float, found: Estimate, *, logarithm: bool = False) -> float | None:
    """The same of an estimate with a variance; of a logarithm the largest value that fails."""
    if found.variance is None or found.degrees <= 0:
        return None
    z = float(t.ppf((1 + CONFIDENCE) / 2, found.degrees)) + _SURE
    reach = z * found.variance**0.5
    if logarithm:
        value = limit * math.exp(-reach)
        return value if value >= 1 else None
    reach = reach if found.varies else found.unseen
    return limit + reach if limit + reach < 1 else None


def share_that_shows(n: int) -> float:
    """The share of which `n` slots show at least one in 95 of 100 cases."""
    return float(-math.expm1(math.log(1 - CONFIDENCE) / n))


def increase_that_fails(tolerance: float, hits: float, *, wider: float) -> float | None:
    """The smallest true increase y of a count of `hits`: ln((1+y)/(1+x)) = 3.29 se.

    Args:
      tolerance: x, the increase allowed.
      hits: k, of the baseline.
      wider: how much more than a count's logarithm the release's varies: se^2 = 1/k +
        wider / ((1 + y) k).

    Returns:
      y; None without a hit, or where it is beyond a factor of e^50.
    """

    def short(log: float) -> float:
        error = math.sqrt(1 / hits + wider * math.exp(-log) / hits)
        return log - math.log1p(tolerance) - (_TEST + _SURE) * error

    if hits <= 0 or short(50) < 0:
        return None
    return float(math.expm1(brentq(short, math.log1p(tolerance), 50)))


def change_that_fails(tolerance: float, error: float, *, falls: bool) -> float | None:
    """The smallest true change where the logarithm's standard error stays `error`."""
    reach = (_TEST + _SURE) * error
    if falls:
        return -math.expm1(math.log1p(-tolerance) - reach)
    change = math.log1p(tolerance) + reach
    return math.expm1(change) if change < 50 else None


def samples_for_rate(limit: float) -> int:
    """Samples that pass half of a limit with 90 % and fail double of it with 95 %."""

    def spread(rate: float) -> float:
        return math.sqrt(max(0.0, rate * (1 - rate)))

    half, double = limit / 2, min(1.0, _DOUBLE * limit)
    passing = (TWO_SIDED * spread(limit) + _LIKELY * spread(half)) / (limit - half)
    failing = (Z_SWAPPED * spread(limit) + _SURE * spread(double)) / (double - limit)
    return math.ceil(max(passing, failing) ** 2)


def hits_for_increase(tolerance: float, *, wider: float) -> float:
    """Hits of each release that pass an unchanged one with 90 % and fail a doubled one with 95 %.

    k = (1 + w) ((1.645 + 1.2816) / ln(1 + x))^2 and (1 + w / 2) (3.29 / ln(2 / (1 + x)))^2; a
    tolerance of 100 % or more allows the doubled one, so the first alone counts.
    """
    passing = (1 + wider) * ((_TEST + _LIKELY) / math.log1p(tolerance)) ** 2
    if tolerance >= _DOUBLE - 1:
        return passing
    room = math.log(_DOUBLE / (1 + tolerance))
    return max(passing, (1 + wider / _DOUBLE) * ((_TEST + _SURE) / room) ** 2)


def times_for_change(tolerance: float, found: Estimate, *, falls: bool, logarithm: bool) -> float:
    """How many times the anchors and samples behind `found` pass an unchanged release with 90 %."""
    assert found.variance is not None
    spread = found.variance if logarithm else found.variance / found.value**2
    allowed = -math.log1p(-tolerance) if falls else math.log1p(tolerance)
    return 2 * spread * ((_TEST + _LIKELY) / allowed) ** 2
