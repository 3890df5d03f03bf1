import math

import literal
import numpy as np
import pytest
from test_intervals import eights, pairs, tally_of

from ganaudit.extremes import Extreme, Hits, extremes
from ganaudit.intervals import Estimate, Interval, wilson
from ganaudit.ratios import (
    WIDER,
    End,
    LogRatio,
    Share,
    difference,
    ratio,
    ratio_of_extremes,
    ratio_of_shares,
)

NOTHING = Interval(None, None, None)


def rate_of(apart: int, largest: int, samples: int) -> Extreme:
    found = wilson(apart, samples, z=2.0)
    top = wilson(largest, samples).high
    return Extreme(Hits(apart, 1), Hits(largest, 1), samples, found.low, found.high, top)


# -- of estimates ----------------------------------------------------------------------------


def test_a_ratio_has_the_interval_of_its_logarithm() -> None:
    after, before = Estimate(0.03, 4e-6, 40, 0.01), Estimate(0.02, 1e-6, 35, 0.01)
    found = ratio(after, before).interval()
    spread = math.sqrt(4e-6 / 0.03**2 + 1e-6 / 0.02**2)
    assert found.estimate == pytest.approx(1.5)
    assert math.log(found.low) == pytest.approx(math.log(1.5) - 1.96 * spread)
    assert math.log(found.high) == pytest.approx(math.log(1.5) + 1.96 * spread)
    back = ratio(before, after).interval()
    assert (back.low, back.high) == pytest.approx((1 / found.high, 1 / found.low))


def test_ends_go_outwards_by_as_many_standard_errors_as_asked() -> None:
    found = LogRatio(0.1, End(-0.2, 0.3), End(0.4, 0.5))
    assert found.ends(0) == (-0.2, 0.4)
    assert found.ends(1.645) == (-0.2 - 1.645 * 0.3, 0.4 + 1.645 * 0.5)
    wanted = (math.exp(0.1), math.exp(-0.8), math.exp(1.4))
    assert tuple(found.interval(2).figures().values()) == pytest.approx(wanted)
    assert found.interval() == found.interval(1.96)
    assert LogRatio(0.1, None, End(0.4, 0.5)).ends(1) == (None, 0.9)
    assert LogRatio(0.1, End(-0.2, 0.3), None).ends(1) == (-0.5, None)


def test_a_ratio_says_what_it_can() -> None:
    some, unsure = Estimate(0.02, 1e-6, 35, 0.01), Estimate(0.03, None, 0, 0.01)
    alike, none = Estimate(0.04, 0.0, 31, 0.01), Estimate(0.0, 0.0, 31, 0.01)
    for one, other in ((unsure, some), (some, unsure), (alike, some), (some, alike)):
        found = ratio(one, other).interval()
        assert found == Interval(pytest.approx(one.value / other.value), None, None)
    assert ratio(none, some) == LogRatio(-math.inf, None, None)
    assert ratio(none, some).interval() == Interval(0, None, None)
    assert ratio(some, none).interval() == ratio(none, none).interval() == NOTHING


def test_a_scale_common_to_both_cancels() -> None:
    after, before = Estimate(0.03, 4e-6, 40, 0.01), Estimate(0.02, 1e-6, 35, 0.01)
    scaled = [Estimate(e.value / 7, e.variance / 49, e.degrees, e.unseen) for e in (after, before)]
    found, wanted = ratio(*scaled).interval(), ratio(after, before).interval()
    assert tuple(vars(found).values()) == pytest.approx(tuple(vars(wanted).values()))


def test_logarithms_are_subtracted_and_their_variances_added() -> None:
    found = difference(Estimate(3.0, 0.04, 31, 0), Estimate(3.5, 0.09, 28, 0))
    assert found.estimate == -0.5
    error = math.sqrt(0.13)
    assert found.low == found.high == End(-0.5, pytest.approx(error))
    wanted = (math.exp(-0.5), math.exp(-0.5 - 1.96 * error), math.exp(-0.5 + 1.96 * error))
    assert tuple(vars(found.interval()).values()) == pytest.approx(wanted)
    one = Estimate(0.0, 0.0, 31, 0)  # all rows are one, and always were
    assert difference(one, one).interval() == Interval(1, 1, 1)
    unsure = Estimate(3.0, None, 0, 0)
    for pair in ((unsure, one), (one, unsure)):
        assert difference(*pair).low is difference(*pair).high is None
        assert abs(difference(*pair).estimate) == 3


# -- of worst modes --------------------------------------------------------------------------


WORST = [
    ((90, 101, 9_700), (40, 47, 10_000)),
    ((0, 3, 4_000), (5, 5, 4_100)),
    ((9, 9, 9), (2, 3, 9)),
    ((0, 0, 600), (0, 0, 600)),
    ((1, 1, 1), (0, 0, 1)),
]


@pytest.mark.parametrize(("after", "before"), WORST)
@pytest.mark.parametrize("z", [1.645, 1.96])
def test_worst_rates_are_compared_flattered_against_unflattered(after, before, z: float) -> None:
    found = ratio_of_extremes(rate_of(*after), rate_of(*before))
    assert found.ends(z) == pytest.approx(literal.worst_rate_ends(after, before, z))
    (swap_b, _, n_b), (swap_a, _, n_a) = after, before
    middle = math.log((swap_b + 0.5) / n_b) - math.log((swap_a + 0.5) / n_a)
    assert found.estimate == pytest.approx(middle, abs=1e-12)
    low, high = found.ends(z)
    assert low <= found.estimate <= high


def test_two_total_collapses_are_alike() -> None:
    collapsed = rate_of(10_000, 10_000, 10_000)
    found = ratio_of_extremes(collapsed, collapsed).interval()
    assert found == Interval(*[pytest.approx(1)] * 3)


@pytest.mark.parametrize(("after", "before"), WORST)
def test_the_other_way_round_the_ends_change_places(after, before) -> None:
    there = ratio_of_extremes(rate_of(*after), rate_of(*before)).ends(1.645)
    back = ratio_of_extremes(rate_of(*before), rate_of(*after)).ends(1.645)
    assert back == pytest.approx((-there[1], -there[0]))


def test_similarities_are_counted_in_units_of_their_own() -> None:
    """256 samples: hits of .5 in the release, 4 apart and 7 at most; of .25 before, 2 and 3."""
    after = extremes(eights({0: 3, 16: 1, 2: 2}, {15: 2, 31: 4, 3: 1}, {31: 2}, similarity=0.5))
    before = extremes(eights({0: 2, 16: 1}, {31: 2, 1: 1}, similarity=0.25))
    assert after is not None and before is not None
    found = ratio_of_extremes(after[1], before[1])
    low = math.log(4.5 * 0.5 / (3.5 * 0.25))
    high = math.log(7.5 * 0.5 / (2.5 * 0.25))
    assert found.low.start == pytest.approx(low)
    assert found.high.start == pytest.approx(high)
    assert found.estimate == pytest.approx(math.log(4.5 * 0.5 / (2.5 * 0.25)))
    n = 1 / 256
    wide = 1.2544
    assert found.low.error == pytest.approx(math.sqrt(wide * (1 / 4.5 - n) + 1 / 3.5 - n))
    assert found.high.error == pytest.approx(math.sqrt(1 / 7.5 - n + wide * (1 / 2.5 - n)))
    assert WIDER**2 == pytest.approx(wide)


def test_halving_every_similarity_halves_the_ratio() -> None:
    s = pairs(9, 700, 3)
    whole, half = extremes(tally_of(s)), extremes(tally_of(s / 2))
    assert whole is not None and half is not None
    found = ratio_of_extremes(half[1], whole[1])
    unchanged = ratio_of_extremes(whole[1], whole[1])
    # half a hit of another size is added to each: 1 in some hundred
    assert found.estimate == pytest.approx(math.log(0.5), abs=0.02)
    for end in ("low", "high"):
        gap = getattr(unchanged, end).start - getattr(found, end).start
        assert gap == pytest.approx(math.log(2), abs=0.02)
        assert getattr(found, end).error == pytest.approx(getattr(unchanged, end).error, rel=0.02)


# -- of shares -------------------------------------------------------------------------------


def test_a_share_of_nothing_is_none() -> None:
    assert Share(3, 12).rate == 0.25
    assert Share(0, 0).rate == 0.0


@pytest.mark.parametrize(
    ("now", "then"), [((30, 9_000), (12, 10_000)), ((0, 50), (4, 60)), ((7, 7), (0, 9))]
)
def test_shares_are_compared_with_half_a_count_more(now, then) -> None:
    found = ratio_of_shares(Share(*now), Share(*then))
    middle = math.log((now[0] + 0.5) / now[1] * then[1] / (then[0] + 0.5))
    variance = max(0, 1 / (now[0] + 0.5) - 1 / now[1]) + 1 / (then[0] + 0.5) - 1 / then[1]
    assert found.estimate == pytest.approx(middle)
    assert found.low == found.high == End(pytest.approx(middle), pytest.approx(variance**0.5))
    back = ratio_of_shares(Share(*then), Share(*now))
    assert back.estimate == pytest.approx(-middle)


def test_the_standard_error_of_two_shares_is_that_of_simulated_ones() -> None:
    """Counts of 50 and 80: the logarithm of a binomial count varies by 1/k - 1/n."""
    rng = np.random.default_rng(0)
    now, then = rng.binomial(4_000, 0.02, 4_000), rng.binomial(5_000, 0.01, 4_000)
    found = [
        ratio_of_shares(Share(int(a), 4_000), Share(int(b), 5_000))
        for a, b in zip(now, then, strict=True)
    ]
    seen = np.std([one.estimate for one in found])
    assert np.mean([one.low.error for one in found]) == pytest.approx(seen, rel=0.05)
    assert np.mean([one.estimate for one in found]) == pytest.approx(math.log(2), abs=0.01)


def test_what_is_everywhere_on_both_sides_has_no_spread() -> None:
    all_of_them = ratio_of_shares(Share(40, 40), Share(70, 70))
    assert all_of_them.low.error == 0
    assert all_of_them.estimate == pytest.approx(math.log(40.5 / 40 * 70 / 70.5))
