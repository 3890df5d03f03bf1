import math

import literal
import numpy as np
import pytest
from scipy import special, stats

from ganaudit import power
from ganaudit.intervals import Estimate
from ganaudit.ratios import WIDER

WIDE = WIDER**2

# -- the smallest true value that fails an absolute limit ------------------------------------


@pytest.mark.parametrize("z", [1.96, 2.0])
@pytest.mark.parametrize(
    ("limit", "n"), [(0.01, 10_000), (0.02, 3_000), (0.0055, 10_000), (0.3, 150), (0.9, 400)]
)
def test_a_rate_that_fails_does_so_in_95_of_100_counts(limit: float, n: int, z: float) -> None:
    """Against the binomial distribution; a step of the count is worth a few percent."""
    found = power.rate_that_fails(limit, n, z=z)
    assert found is not None
    assert found > limit
    least = next(k for k in range(n + 1) if literal.breaks_rate(k, n, limit, z))
    assert float(stats.binom.sf(least - 1, n, found)) == pytest.approx(0.95, abs=0.03)


def test_the_rate_of_a_worst_mode_that_fails_is_that_by_hand() -> None:
    """g = 1 % of 10,000: more than 100 + 2 sqrt(99) are seen where p - 1.645 sqrt(pq/n) is."""
    found = power.rate_that_fails(0.01, 10_000)
    assert found is not None
    seen = found - 1.645 * math.sqrt(found * (1 - found) / 10_000)
    assert seen == pytest.approx((100 + 2 * math.sqrt(99)) / 10_000)


def test_a_limit_that_nothing_can_break_has_no_rate_that_fails() -> None:
    assert power.rate_that_fails(0.9, 10) is None
    found = power.rate_that_fails(0.9, 100)  # more than 96 of 100 are seen
    assert found - 1.645 * math.sqrt(found * (1 - found) / 100) == pytest.approx(0.96)
    assert power.rate_that_fails(0.3, 1) is None
    assert power.similarity_that_fails(0.9, 10, 1.0) is None
    assert power.similarity_that_fails(0.5, 10, 0.01) is not None


@pytest.mark.parametrize("unit", [1.0, 0.4, 0.02])
@pytest.mark.parametrize(("limit", "n"), [(0.01, 10_000), (0.003, 5_000), (0.2, 300)])
def test_a_similarity_that_fails_does_so_in_95_of_100(limit: float, n: int, unit: float) -> None:
    """Against the Poisson distribution of the hits, and Garwood's lower end."""
    found = power.similarity_that_fails(limit, n, unit)
    assert found is not None
    allowed = limit * n / unit
    least = next(k for k in range(1, 10**6) if special.gammainc(k, allowed) < 0.025)
    assert 0.93 <= stats.poisson.sf(least - 1, found * n / unit) <= 0.99


def test_a_finer_similarity_is_told_better() -> None:
    found = [power.similarity_that_fails(0.01, 10_000, unit) for unit in (1.0, 0.5, 0.1, 0.01)]
    assert found == sorted(found, reverse=True)
    assert found[-1] > 0.01


@pytest.mark.parametrize("degrees", [1.5, 7, 31, 1e9])
def test_a_value_that_fails_lies_two_errors_beyond_the_limit(degrees: float) -> None:
    """The end reaches past the limit in 95 of 100 normal estimates of known error."""
    x = special.betaincinv(degrees / 2, 0.5, 0.05)
    t = math.sqrt(degrees * (1 - x) / x) if degrees < 1e6 else special.ndtri(0.975)
    found = power.value_that_fails(0.02, Estimate(0.5, 1e-6, degrees, 0.1))
    assert found == pytest.approx(0.02 + (t + 1.645) * 1e-3, rel=1e-6)
    assert special.ndtr((found - 0.02) / 1e-3 - t) == pytest.approx(0.95, abs=1e-4)
    falls = power.value_that_fails(20.0, Estimate(3.0, 1e-4, degrees, 0.0), logarithm=True)
    assert math.log(20.0 / falls) == pytest.approx((t + 1.645) * 1e-2, rel=1e-6)


def test_a_value_that_cannot_be_is_none() -> None:
    wide = Estimate(0.5, 0.09, 31, 0.1)
    assert power.value_that_fails(0.02, wide) is None  # beyond 1
    assert power.value_that_fails(1.5, Estimate(3.0, 0.09, 31, 0.0), logarithm=True) is None
    assert power.value_that_fails(0.02, Estimate(0.5, None, 0, 0.1)) is None
    assert power.value_that_fails(0.02, Estimate(0.5, 1e-6, 0, 0.1)) is None


def test_where_nothing_varies_the_rule_of_three_is_what_can_be_told() -> None:
    assert power.value_that_fails(0.02, Estimate(0.5, 0.0, 31, 0.01)) == pytest.approx(0.03)
    assert power.value_that_fails(0.995, Estimate(0.5, 0.0, 31, 0.01)) is None
    assert power.value_that_fails(20.0, Estimate(0.0, 0.0, 31, 0.0), logarithm=True) == 20


@pytest.mark.parametrize("n", [1, 2, 59, 10_000, 10**9])
def test_a_share_that_shows_is_missed_in_5_of_100_cases(n: int) -> None:
    found = power.share_that_shows(n)
    assert n * math.log1p(-found) == pytest.approx(math.log(0.05))
    if n > 1000:
        assert found == pytest.approx(3 / n, rel=2e-3)  # the rule of three


# -- the smallest true change that fails a relative one --------------------------------------


@pytest.mark.parametrize("tolerance", [0.001, 0.2, 0.4, 0.5, 1.0, 900.0])
@pytest.mark.parametrize("hits", [0.8, 5, 47, 581, 10**6])
def test_the_smallest_increase_solves_its_equation(tolerance: float, hits: float) -> None:
    found = power.increase_that_fails(tolerance, hits, wider=WIDE)
    assert found is not None
    assert found == pytest.approx(literal.smallest_increase(tolerance, hits), rel=1e-6)
    room = 3.29 * math.sqrt(1 / hits + 1.2544 / ((1 + found) * hits))
    assert math.log((1 + found) / (1 + tolerance)) == pytest.approx(room, rel=1e-6)


def test_without_a_hit_no_increase_is_the_smallest() -> None:
    assert power.increase_that_fails(0.4, 0, wider=WIDE) is None
    assert power.increase_that_fails(0.4, 1e-9, wider=WIDE) is None
    assert power.increase_that_fails(0.4, 5e-324, wider=WIDE) is None


def test_more_hits_and_less_tolerance_find_less() -> None:
    by_hits = [power.increase_that_fails(0.4, k, wider=WIDE) for k in (1, 10, 100, 10**4, 10**9)]
    assert by_hits == sorted(by_hits, reverse=True)
    assert by_hits[-1] == pytest.approx(0.4, abs=1e-3)
    by_tolerance = [power.increase_that_fails(x, 100, wider=WIDE) for x in (0.1, 0.2, 0.4, 3)]
    assert by_tolerance == sorted(by_tolerance)
    one, other = (power.increase_that_fails(0.4, 100, wider=w) for w in (1.0, WIDE))
    assert one < other


@pytest.mark.parametrize("error", [0.0, 0.03, 0.5])
def test_the_smallest_change_lies_two_errors_beyond_the_tolerance(error: float) -> None:
    rises = power.change_that_fails(0.4, error, falls=False)
    falls = power.change_that_fails(0.2, error, falls=True)
    assert math.log((1 + rises) / 1.4) == pytest.approx(3.29 * error)
    assert math.log((1 - falls) / 0.8) == pytest.approx(-3.29 * error)
    assert rises >= 0.4 - 1e-12 and 0.2 - 1e-12 <= falls < 1


def test_a_change_beyond_all_numbers_is_none() -> None:
    assert power.change_that_fails(0.4, 16, falls=False) is None
    assert power.change_that_fails(0.4, 1e9, falls=True) == 1


# -- the samples that it takes ---------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.003, 0.01, 0.02, 0.1, 0.4, 0.6, 0.9])
def test_samples_for_a_rate_pass_half_and_fail_double(limit: float) -> None:
    """Against the binomial distribution; with half of the samples one of the two does not hold."""
    n = power.samples_for_rate(limit)

    def powers(n: int) -> tuple[float, float]:
        counts = np.arange(n + 1)
        keeps = [literal.keeps_rate(int(k), n, limit) for k in counts]
        breaks = [literal.breaks_rate(int(k), n, limit, 2.0) for k in counts]
        half = stats.binom.pmf(counts, n, limit / 2) @ keeps
        return half, stats.binom.pmf(counts, n, min(1, 2 * limit)) @ breaks

    half, double = powers(n)
    assert half >= 0.86
    assert double >= 0.92
    half, double = powers(n // 2)
    assert half < 0.87 or double < 0.92


def test_samples_for_a_rate_by_hand() -> None:
    """1 %: (1.96 sqrt(.0099) + 1.2816 sqrt(.004975)) / .005, squared; doubled asks for less."""
    wanted = ((1.96 * math.sqrt(0.0099) + 1.2816 * math.sqrt(0.005 * 0.995)) / 0.005) ** 2
    assert power.samples_for_rate(0.01) == math.ceil(wanted)


@pytest.mark.parametrize(
    ("tolerance", "unchanged", "doubled"), [(0.2, 581, 67), (0.4, 171, 139), (0.5, 117, 213)]
)
def test_hits_for_an_increase_are_those_of_the_plan(
    tolerance: float, unchanged: int, doubled: int
) -> None:
    parts = literal.hits_wanted(tolerance)
    assert parts == pytest.approx((unchanged, doubled), abs=1)  # rounded somehow
    found = power.hits_for_increase(tolerance, wider=WIDE)
    assert found == pytest.approx(max(parts), rel=1e-3)


@pytest.mark.parametrize("tolerance", [0.001, 0.1, 0.45, 0.47, 0.9, 0.99])
def test_hits_for_an_increase_are_their_formula(tolerance: float) -> None:
    found = power.hits_for_increase(tolerance, wider=WIDE)
    assert found == pytest.approx(max(literal.hits_wanted(tolerance)), rel=1e-3)


def test_a_tolerance_of_100_percent_allows_what_doubled() -> None:
    for tolerance in (1.0, 1.5, 900.0):
        passing = (1 + WIDE) * (2.9266 / math.log(1 + tolerance)) ** 2
        assert power.hits_for_increase(tolerance, wider=WIDE) == pytest.approx(passing)


def test_with_the_hits_that_it_takes_a_doubled_count_is_found() -> None:
    """The two formulas fit: a doubled one is the smallest increase that so many hits find."""
    for tolerance in (0.5, 0.6, 0.8):
        hits = power.hits_for_increase(tolerance, wider=WIDE)
        assert power.increase_that_fails(tolerance, hits, wider=WIDE) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("falls", [False, True])
def test_as_many_times_the_samples_pass_an_unchanged_release(falls: bool) -> None:
    """With so many times less variance, 1.645 + 1.2816 errors fit into the tolerance."""
    tolerance = 0.2
    for found, relative in (
        (Estimate(0.02, 4e-6, 31, 0.01), 4e-6 / 0.02**2),
        (Estimate(3.5, 2e-4, 31, 0.0), 2e-4),
    ):
        logarithm = found.value > 1
        times = power.times_for_change(tolerance, found, falls=falls, logarithm=logarithm)
        error = math.sqrt(2 * relative / times)
        allowed = -math.log(0.8) if falls else math.log(1.2)
        assert (1.645 + 1.2816) * error == pytest.approx(allowed)
        assert special.ndtr(allowed / error - 1.645) == pytest.approx(0.9, abs=1e-4)
