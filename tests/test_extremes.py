import math
from dataclasses import replace

import literal
import numpy as np
import pytest
from scipy import stats
from test_intervals import EXTREMES, TALLIES, eights, pairs, tally_of

from ganaudit.extremes import Extreme, Hits, extremes
from ganaudit.intervals import Interval, wilson, worst_mode
from ganaudit.slots import GROUPS
from ganaudit.tally import Tally

MADE = TALLIES | {name: lambda s=s: tally_of(s) for name, s in EXTREMES.items()}


def both(tally: Tally) -> tuple[Extreme, Extreme]:
    found = extremes(tally)
    assert found is not None
    return found


def test_both_figures_by_hand() -> None:
    """Anchor 0 has 6 of 256 within, 1 has 7; chosen by 5 and 4, they score 1 and 3."""
    tally = eights({0: 3, 16: 1, 2: 2}, {15: 2, 31: 4, 3: 1}, {31: 2}, similarity=0.5)
    rate, similarity = both(tally)
    assert (rate.apart, rate.largest, rate.samples) == (Hits(4, 1), Hits(7, 1), 256)
    assert rate.interval == Interval(4 / 256, wilson(4, 256, z=2.0).low, wilson(4, 256, z=2.0).high)
    assert rate.upper == wilson(7, 256).high
    assert rate.bracket == Interval(7 / 256, rate.low, rate.upper)
    # Every pair that is alike at all is alike by .5: a hit is .5, and hits are the counts.
    assert (similarity.apart.hits, similarity.apart.unit) == pytest.approx((4, 0.5))
    assert (similarity.largest.hits, similarity.largest.unit) == pytest.approx((7, 0.5))
    assert similarity.interval.estimate == pytest.approx(2 / 256)
    assert similarity.bracket.estimate == pytest.approx(3.5 / 256)
    # Poisson limits of counts of 4 and 7: 1.0899, 10.2416 and 14.4227.
    assert similarity.low == pytest.approx(0.5 / 256 * 1.0899, rel=1e-4)
    assert similarity.high == pytest.approx(0.5 / 256 * 10.2416, rel=1e-4)
    assert similarity.upper == pytest.approx(0.5 / 256 * 14.4227, rel=1e-4)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_both_figures_are_their_formulas(make) -> None:
    tally = make()
    wanted = literal.worst_modes(tally.similarity, tally.within, tally.squares, tally.n)
    rate, similarity = both(tally)
    assert (rate.apart.hits, rate.largest.hits) == (
        wanted["rate"]["apart"],
        wanted["rate"]["largest"],
    )
    assert (rate.apart.unit, rate.largest.unit) == (1, 1)
    for end in ("low", "high", "upper"):
        assert getattr(rate, end) == pytest.approx(wanted["rate"][end], abs=1e-12), end
    assert similarity.apart.hits == pytest.approx(wanted["similarity"]["apart"], abs=1e-9)
    assert similarity.apart.unit == pytest.approx(wanted["similarity"]["unit"])
    for end in ("low", "high", "upper"):
        assert getattr(similarity, end) == pytest.approx(wanted["similarity"][end], rel=1e-6), end
    largest = similarity.largest.hits * similarity.largest.unit
    product = wanted["similarity"]["largest"] * wanted["similarity"]["largest_unit"]
    assert largest == pytest.approx(product, abs=1e-12)
    assert largest == pytest.approx(tally.similarity.sum(axis=1).max(), abs=1e-12)
    assert rate.samples == similarity.samples == tally.n.sum()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_both_figures_are_those_of_the_worst_mode(make) -> None:
    tally = make()
    worst, (rate, similarity) = worst_mode(tally), both(tally)
    assert worst is not None
    assert rate.interval == worst.rate
    assert rate.bracket == worst.largest_rate
    found, wanted = similarity.interval, worst.mean_similarity
    assert (found.low, found.high) == (wanted.low, wanted.high)
    assert found.estimate == pytest.approx(wanted.estimate, abs=1e-15)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_no_anchor_reaches_beyond_the_upper_end(make) -> None:
    tally = make()
    rate, similarity = both(tally)
    n = int(tally.n.sum())
    for anchor in range(len(tally.squares)):
        assert wilson(int(tally.within[anchor].sum()), n).high <= rate.upper
        assert tally.similarity[anchor].sum() / n <= similarity.upper + 1e-12


@pytest.mark.parametrize("s", EXTREMES.values(), ids=EXTREMES.keys())
def test_ends_are_ordered_numbers_in_the_unit_interval(s) -> None:
    for found in both(tally_of(s)):
        for interval in (found.interval, found.bracket):
            assert all(isinstance(end, float) for end in interval.figures().values())
            assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
        assert found.apart.hits >= 0 and found.largest.hits >= 0
        assert 0 < found.apart.unit <= 1 and 0 < found.largest.unit <= 1


def test_no_hit_at_all_is_a_count_of_none() -> None:
    rate, similarity = both(tally_of(np.zeros((40, 600))))
    assert rate.apart == rate.largest == Hits(0, 1)
    assert (rate.low, rate.high) == (0, pytest.approx(2.0**2 / 604))
    assert rate.upper == pytest.approx(1.96**2 / (600 + 1.96**2))
    assert similarity.apart == similarity.largest == Hits(0, 1)  # as if a copy had been seen
    for end in (similarity.high, similarity.upper):
        assert end == pytest.approx(-math.log(0.025) / 600)


def test_copies_throughout_are_all_hits() -> None:
    rate, similarity = both(tally_of(np.ones((9, 530))))
    assert rate.apart == rate.largest == Hits(530, 1)
    assert (rate.high, rate.upper) == (1, 1)
    assert similarity.apart == similarity.largest == Hits(530, 1)
    assert (similarity.high, similarity.upper) == (1, 1)
    assert similarity.low == pytest.approx(stats.chi2.ppf(0.025, 1060) / 2 / 530)


def test_the_largest_is_never_below_what_was_chosen_apart() -> None:
    for seed in range(30):
        rate, _ = both(tally_of(pairs(8, 300, seed, share=0.05)))
        assert rate.apart.hits <= rate.largest.hits


def test_the_largest_similarity_may_be_another_anchor_than_the_one_with_most_neighbours() -> None:
    tally = eights({0: 6, 20: 6}, {1: 4, 21: 4})
    tally.similarity[1] *= 3
    rate, similarity = both(replace(tally, squares=tally.squares * [1, 9]))
    assert rate.largest.hits == 12
    assert similarity.largest.hits * similarity.largest.unit == pytest.approx(24)
    assert similarity.apart.hits * similarity.apart.unit == pytest.approx(12)


def test_the_upper_end_of_a_similarity_is_that_of_the_anchor_that_reaches_farthest() -> None:
    """One pair that is a copy says less than a hundred pairs that are a hundredth alike."""
    s = np.zeros((2, 512))
    s[0, :100], s[1, 7] = 0.0101, 1.0
    _, similarity = both(tally_of(s))
    assert similarity.largest.hits * similarity.largest.unit == pytest.approx(1.01)
    alone = similarity.largest.unit / 512 * literal.poisson_ends(similarity.largest.hits)[1]
    assert similarity.upper > 2 * alone


def test_the_order_of_anchors_is_irrelevant() -> None:
    s = pairs(14, 900, 14)
    for found, wanted in zip(both(tally_of(s)), both(tally_of(s[::-1])), strict=True):
        for name in ("low", "high", "upper", "samples"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9)
        assert found.largest.hits == pytest.approx(wanted.largest.hits, rel=1e-9)


def test_fewer_than_eight_groups_have_none() -> None:
    s = pairs(6, 113, 8)
    assert extremes(tally_of(s[:, :112])) is None
    assert extremes(tally_of(s)) is not None
    assert extremes(Tally.empty(3)) is None


def test_one_anchor_is_the_worst() -> None:
    s = pairs(1, 16 * GROUPS + 5, 9, share=0.4)
    rate, similarity = both(tally_of(s))
    assert rate.apart == rate.largest == Hits((s >= 0.3).sum(), 1)
    for interval in (similarity.interval, similarity.bracket):
        assert interval.estimate == pytest.approx(s.mean(), rel=1e-12)
    assert similarity.upper == pytest.approx(similarity.high, rel=1e-12)  # one unit for all
