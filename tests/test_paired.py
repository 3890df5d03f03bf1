"""Ratios of rates over the same slots: against the equation they solve, and by simulation."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.intervals import wilson
from ganaudit.paired import Pair, Seen, pairs
from ganaudit.ratios import Share, ratio_of_shares

N = 2000


def pair(both: int, lost: int, new: int, of: int = N) -> Pair:
    """`both` slots are within before and after, `lost` only before, `new` only after."""
    return Pair(Share(both + lost, of), Share(both + new, of), both, of)


def correlation(both: int, lost: int, new: int) -> float:
    """Pearson's, of two columns of zeros and ones."""
    rest = N - both - lost - new
    slots = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, lost, new, rest], axis=0)
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.corrcoef(slots.T)[0, 1]))


def solved(both: int, lost: int, new: int) -> tuple[float, float]:
    """Where after - R before leaves its interval (MOVER), by bisection away from the estimate."""
    now, then, rho = (both + new) / N, (both + lost) / N, correlation(both, lost, new)
    after, before = wilson(both + new, N), wilson(both + lost, N)
    assert after.low is not None and after.high is not None
    assert before.low is not None and before.high is not None
    lows = now - after.low, before.high - then
    highs = after.high - now, then - before.low

    def beyond(r: float, reach: tuple[float, float]) -> bool:
        a, b = reach[0], r * reach[1]
        return (now - r * then) ** 2 > a * a + b * b - 2 * rho * a * b

    def bisect(inside: float, outside: float, reach: tuple[float, float]) -> float:
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle, reach) else (middle, outside)
        return inside

    low = bisect(now / then, 0.0, lows) if now else 0.0
    return low, bisect(now / then, 1e4, highs)


@pytest.mark.parametrize(
    "cells", [(150, 30, 40), (0, 60, 12), (3, 2, 90), (1, 300, 0), (40, 0, 10), (0, 20, 0)]
)
def test_the_ends_solve_the_equation_of_their_method(cells: tuple[int, int, int]) -> None:
    found = pair(*cells).ratio
    both, lost, new = cells
    assert found.estimate == pytest.approx((both + new) / (both + lost))
    assert (found.low, found.high) == pytest.approx(solved(*cells), rel=1e-6)


def test_turned_round_a_ratio_is_its_inverse() -> None:
    one, other = pair(50, 30, 10).ratio, pair(50, 10, 30).ratio
    assert one.low is not None and one.high is not None
    assert (other.low, other.high) == pytest.approx((1 / one.high, 1 / one.low))


def test_the_estimate_is_always_between_the_ends() -> None:
    for both, lost, new in product((0, 1, 2, 7, 100), repeat=3):
        found = pair(both, lost, new).ratio
        if found.estimate is not None:
            assert found.low is not None and found.high is not None
            assert found.low <= found.estimate <= found.high


def test_shared_slots_make_the_ratio_narrower() -> None:
    """A mode left alone at an acceptance of .8: a quarter more samples, and the same ones."""
    found, apart = pair(400, 0, 100).ratio, ratio_of_shares(Share(500, N), Share(400, N)).interval()
    assert found.low is not None and found.high is not None
    assert apart.low is not None and apart.high is not None
    assert 1 < found.low < 1.25 < found.high
    assert (found.high - found.low) / (apart.high - apart.low) < 0.5


def test_the_same_samples_are_once_what_they_were() -> None:
    found = pair(300, 0, 0).ratio
    assert found.low is not None and found.high is not None
    assert 0.97 < found.low < 1 < found.high < 1.03


def test_slots_that_one_run_alone_has_scored_say_nothing_of_both() -> None:
    """Half and half of 1,000 and a quarter in both is chance, over however many shared slots."""
    half = Share(500, 1000)
    found = [Pair(half, half, scored // 4, scored).ratio for scored in (1000, 600, 0)]
    assert found[0] == found[1] == found[2]
    assert Pair(half, half, 200, 600).ratio != found[0]


def test_without_samples_before_there_is_a_lower_end_alone() -> None:
    found = pair(0, 0, 30).ratio
    assert found.estimate is None and found.high is None
    most = wilson(0, N).high
    assert found.low is not None and most is not None and 1 < found.low < (30 / N) / most


@pytest.mark.parametrize("empty", [pair(0, 0, 0), Pair(Share(3, 9), Share(0, 0), 0, 0)])
def test_of_nothing_nothing_is_known(empty: Pair) -> None:
    found = empty.ratio
    assert (found.estimate, found.low, found.high) == (None, None, None)
    assert empty.beyond(1.25) == 1


def test_a_mode_that_everything_is_in_has_a_ratio() -> None:
    assert pair(N, 0, 0).ratio.estimate == 1
    assert pair(N, 0, 0).beyond(1.0) == 1


@pytest.mark.parametrize(
    ("rate", "kept", "acceptance"),
    [(0.02, 1.0, 0.8), (0.02, 0.5, 0.8), (0.1, 0.05, 0.9), (0.05, 1.0, 0.5)],
)
def test_ratios_hold_the_truth(rate: float, kept: float, acceptance: float) -> None:
    """Slots keep a sample of the mode with probability `kept`, else draw until one is taken."""
    rng = np.random.default_rng(5)
    behind = rate * kept / acceptance
    hit, other = rate * (1 - kept), 1 - acceptance - rate * (1 - kept)  # rejected: of it, of others
    cells = [rate * kept + hit * behind, hit * (1 - behind), other * behind]
    held = 0
    for both, lost, new in rng.multinomial(N, [*cells, 1 - sum(cells)], size=4000)[:, :3].tolist():
        found = pair(both, lost, new).ratio
        assert found.low is not None and found.high is not None
        held += found.low <= kept / acceptance <= found.high
    assert 0.935 < held / 4000 < 0.97


@pytest.mark.parametrize(("lost", "most"), [(0.0, 0.05), (0.2, 0.055), (1.0, 0.06)])
def test_growth_up_to_what_is_allowed_is_seldom_called_more(lost: float, most: float) -> None:
    """A share of the samples before is not kept; new ones make up for it, and for the growth."""
    rng = np.random.default_rng(6)
    rate, growth = 0.02, 1.25
    both, gone = rate * (1 - lost), rate * lost
    cells = [both, gone, growth * rate - both]
    drawn = rng.multinomial(N, [*cells, 1 - sum(cells)], size=4000)[:, :3].tolist()
    alarms = sum(pair(*one).beyond(growth) <= 0.05 for one in drawn)
    assert 0.01 < alarms / 4000 < most


def test_growth_beyond_what_is_allowed_is_seen_through_shared_slots() -> None:
    """From 40 to 70 samples at an allowance of 1.25, 50."""
    assert pair(40, 0, 30).beyond(1.25) < 0.001 < pair(0, 40, 70).beyond(1.25)
    assert pair(40, 0, 10).beyond(1.25) > 0.5


def test_the_score_is_that_of_two_independent_counts_where_no_slot_is_shared() -> None:
    from scipy import stats

    wanted = stats.norm.sf((90 - 60 - 0.5) / (90 + 60) ** 0.5)
    assert pair(0, 60, 90).beyond(1.0) == pytest.approx(wanted)


def random_hits(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    valid = rng.random(50) < 0.8
    return valid, (rng.random((3, 50)) < 0.4) & valid


def test_pairs_are_counted_slot_by_slot() -> None:
    (valid, hits), (also, others) = random_hits(0), random_hits(1)
    slots = np.arange(50) % 3 > 0
    found = pairs(Seen(valid, hits), Seen(also, others), slots)
    for k in range(3):
        counts = [0] * 6
        for i in range(50):
            if i % 3 == 0:
                continue
            for place, yes in enumerate(
                (
                    hits[k, i],
                    valid[i],
                    others[k, i],
                    also[i],
                    hits[k, i] and others[k, i],
                    valid[i] and also[i],
                )
            ):
                counts[place] += bool(yes)
        before, after = Share(*counts[:2]), Share(*counts[2:4])
        assert found[k] == Pair(before, after, counts[4], counts[5])
    everywhere = pairs(Seen(valid, hits), Seen(also, others))
    assert [one.before.count for one in everywhere] == hits.sum(axis=1).tolist()
