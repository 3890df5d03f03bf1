import math
from collections.abc import Iterable
from dataclasses import replace

import literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from ganaudit import diversity
from ganaudit.diversity import (
    LEVEL,
    ORDERS,
    Moments,
    birthday_support,
    crowd,
    effective_modes,
    half_ball,
    near_copies,
    vendi_score,
)
from ganaudit.intervals import Estimate, Interval, pair_rate
from ganaudit.tally import Tally, tally

Rows = NDArray[np.float32]
NOTHING = Interval(None, None, None)


def unit(raw: NDArray[np.float64]) -> Rows:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def cloud(count: int, width: int, seed: int, *, lean: float = 1.0) -> Rows:
    """Rows around a common direction, with falling variances: no two eigenvalues are alike."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((count, width)) * np.arange(1, width + 1) ** -0.3
    raw[:, 0] += lean
    return unit(raw)


def counted(within_half: Iterable[int], n: int, within: Iterable[int] | None = None) -> Tally:
    """A tally with these counts; `within` is spread over all groups."""
    half = np.array(list(within_half), dtype=np.int64)
    whole = half if within is None else np.array(list(within), dtype=np.int64)
    share = np.repeat(whole[:, None] // 32, 32, axis=1)
    share[:, 7] += whole % 32
    groups = np.full(32, n // 32)
    groups[: n % 32] += 1
    return replace(Tally.empty(len(half)), n=groups, within=share, within_half=half)


# Effective number of modes


def test_equally_likely_identities_are_counted() -> None:
    centres = np.eye(5, dtype=np.float32)
    anchors, samples = np.tile(centres, (8, 1)), np.tile(centres, (200, 1))
    found = effective_modes(tally(anchors, samples, theta=0.25, radius=0.25))
    assert found.estimate == pytest.approx(5, rel=1e-12)


def test_two_identities_of_unequal_weight_are_fewer_than_two() -> None:
    centres = np.repeat(np.eye(2, dtype=np.float32), [3, 1], axis=0)  # 3/4 and 1/4
    anchors, samples = np.tile(centres, (30, 1)), np.tile(centres, (160, 1))
    found = effective_modes(tally(anchors, samples, theta=0.25, radius=0.25))
    assert found.estimate == pytest.approx(1 / (9 / 16 + 1 / 16), rel=1e-12)
    assert found.low < 1.6 < found.high


def test_the_ends_are_those_of_the_rate_inverted_and_swapped() -> None:
    rows = cloud(900, 9, 0)
    sums = tally(rows[:70], rows[70:], theta=0.3, radius=0.3)
    rate, found = pair_rate(sums).interval(), effective_modes(sums)
    assert 0 < rate.low < rate.estimate < rate.high < 1
    assert found == Interval(1 / rate.estimate, 1 / rate.high, 1 / rate.low)


@pytest.mark.parametrize("figure", [effective_modes, birthday_support])
def test_no_pair_within_is_no_finite_number_of_modes(figure) -> None:
    found = figure(counted([0] * 50, 800))
    assert found == Interval(None, pytest.approx(50 / 3), None)  # rule of three, of the fewer
    assert figure(counted([0] * 900, 80)).low == pytest.approx(80 / 3)


@pytest.mark.parametrize("figure", [effective_modes, birthday_support])
def test_a_single_pair_leaves_the_upper_end_open(figure) -> None:
    found = figure(counted([1] + [0] * 49, 800))
    assert found.estimate == pytest.approx(50 * 800)
    assert 1 < found.low < found.estimate
    assert found.high is None


@pytest.mark.parametrize("figure", [effective_modes, birthday_support])
def test_every_pair_within_is_one_mode(figure) -> None:
    found = figure(counted([640] * 50, 640))
    assert found == Interval(1, 1, pytest.approx(1 / (1 - 3 / 50)))


@pytest.mark.parametrize("figure", [effective_modes, birthday_support])
def test_one_anchor_has_no_ends_and_no_sample_has_nothing(figure) -> None:
    assert figure(counted([80], 640)) == Interval(8, None, None)
    assert figure(counted([0], 640)) == NOTHING
    assert figure(Tally.empty(5)) == NOTHING


def test_few_groups_leave_the_ends_of_effective_modes_open() -> None:
    n = np.zeros(32, dtype=np.int64)
    n[:7] = 16
    within = np.zeros((3, 32), dtype=np.int64)
    within[:, :7] = 4
    found = effective_modes(replace(Tally.empty(3), n=n, within=within))
    assert found == Interval(4, None, None)


# Birthday support


def test_birthday_support_by_hand() -> None:
    """x = .4 .6 .8: V_A = .04 / 3, V_N = .64 / 3 / 30, V = V_A + (V_A - V_N) 3 / 10 = .0152."""
    found = birthday_support(counted([4, 6, 8], 10))
    reach = 4.302652729911275 * 0.0152**0.5  # t(.975) of 2 degrees
    assert found.estimate == pytest.approx(1 / 0.6)
    assert found.low == 1  # a rate of more than 1 is none
    assert found.high == pytest.approx(1 / (0.6 - reach), rel=1e-9)


def test_anchors_that_differ_less_than_chance_count_once() -> None:
    """x = .5 .6 .7: V_A = .01 / 3 is below V_N = .7 / 3 / 30, so V = V_A."""
    found = birthday_support(counted([5, 6, 7], 10))
    assert found.high == pytest.approx(1 / (0.6 - 4.302652729911275 * (0.01 / 3) ** 0.5), rel=1e-9)


@pytest.mark.parametrize("copies", [7, 21, 49])
def test_anchors_that_are_all_alike_still_leave_doubt(copies: int) -> None:
    """.1, .3 and .7 are no float64, and their mean is not always itself: 3 / n is the doubt."""
    found = birthday_support(counted([copies] * 700, 70))
    rate = copies / 70
    assert found.estimate == pytest.approx(1 / rate)
    assert found.low == pytest.approx(1 / min(1, rate + 3 / 70))
    assert found.high == pytest.approx(1 / (rate - 3 / 70))


def test_birthday_support_looks_within_half_the_radius() -> None:
    pairs = np.float32([[1, 0], [math.cos(0.15 * math.pi), math.sin(0.15 * math.pi)]])  # d = .15
    sums = tally(np.tile(pairs, (20, 1)), np.tile(pairs, (80, 1)), theta=0.25, radius=0.25)
    assert birthday_support(sums).estimate == pytest.approx(2)
    assert effective_modes(sums).estimate == pytest.approx(1)


@pytest.mark.parametrize("collapsed", [0.0, 0.05])
def test_birthday_support_covers_the_truth_by_an_interval_that_is_not_wide(
    collapsed: float,
) -> None:
    """300 sets of 400 identities, n < m. Ends by V_A alone would hold .6 of collapsed sets.

    And without V_N they would be more than twice too wide where no identity is more likely.
    """
    weights = np.full(400, (1 - collapsed) / 399)
    weights[0] = collapsed or 1 / 400
    weights /= weights.sum()
    truth = float((weights**2).sum())
    rng = np.random.default_rng(0)
    rates, widths, held = [], [], 0
    for _ in range(300):
        anchors, samples = rng.multinomial(2000, weights), rng.multinomial(500, weights)
        found = birthday_support(counted(np.repeat(samples, anchors), 500))
        low, high = 1 / found.high, 1 / found.low
        held += low <= truth <= high
        rates.append(1 / found.estimate)
        widths.append(high - low)
    assert held >= 0.88 * 300
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(rates), rel=0.2)


# Near copies

FLAT = 1e-4  # a radius at which the sphere is flat: half a ball in three dimensions is 1/8


def test_p_is_the_exact_tail_by_hand() -> None:
    found = near_copies(counted([2, 1, 0], 640, within=[2, 3, 9]), radius=FLAT)
    assert found.adjusted == pytest.approx([3 / 64, 3 * (1 - (7 / 8) ** 3), 1])  # 2nd: .99
    assert found.p == pytest.approx(3 / 64)
    assert found.flagged.tolist() == [0]
    assert (found.level, found.anchors_tested) == (0.05, 3)


def test_p_is_the_literal_tail_times_the_anchors() -> None:
    rng = np.random.default_rng(1)
    within = rng.integers(0, 90, size=37)
    half = rng.binomial(within, rng.choice([0.02, 0.12, 0.5], size=37))
    found = near_copies(counted(half, 3200, within=within), radius=0.25)
    wanted = [
        min(1, 37 * literal.binomial_tail(int(k), int(K), half_ball(0.25)))
        for k, K in zip(half, within, strict=True)
    ]
    assert found.adjusted == pytest.approx(wanted, rel=1e-9)
    assert found.p == pytest.approx(min(wanted), rel=1e-9)
    assert set(found.flagged) == {a for a, p in enumerate(wanted) if p <= 0.05}
    assert 5 < len(found.flagged) < 32


def test_flagged_anchors_come_by_p_then_count_then_number() -> None:
    """900 of 900 and 950 of 950 are both too rare for float64."""
    within = [900, 40, 950, 20, 900, 40, 8]
    found = near_copies(counted([900, 40, 950, 20, 900, 40, 1], 3200, within=within), radius=FLAT)
    assert found.adjusted[0] == found.adjusted[2] == 0
    assert found.flagged.tolist() == [2, 0, 4, 1, 5, 3]
    assert found.flagged.dtype == np.int64


def test_anchors_without_neighbours_say_nothing() -> None:
    for sums in (counted([0, 0], 640), Tally.empty(2)):
        found = near_copies(sums, radius=0.25)
        assert found.p == 1
        assert found.adjusted.tolist() == [1, 1]
        assert found.flagged.tolist() == []


def test_neighbours_are_counted_over_all_groups() -> None:
    within = np.zeros((1, 32), dtype=np.int64)
    within[0, [3, 31]] = 1, 2
    sums = replace(Tally.empty(1), n=np.full(32, 16), within=within, within_half=np.array([2]))
    assert near_copies(sums, radius=FLAT).p == pytest.approx(
        3 * (1 / 8) ** 2 * 7 / 8 + (1 / 8) ** 3
    )


def test_planted_copies_are_flagged_and_nobody_else() -> None:
    rng = np.random.default_rng(2)
    anchors, samples = unit(rng.standard_normal((300, 16))), unit(rng.standard_normal((2000, 16)))
    samples[100:112] = anchors[7]
    anchors[250] = anchors[7]
    samples[1500:1530] = unit(anchors[3] + 0.01 * rng.standard_normal((30, 16)))
    found = near_copies(tally(anchors, samples, theta=0.25, radius=0.25), radius=0.25)
    assert found.flagged.tolist() == [3, 7, 250]
    assert found.p < 1e-10


@pytest.mark.parametrize(
    ("width", "radius"), [(16, 0.35), (4, 0.25), (5, 0.25), (5, 0.5), (4, 0.75), (9, 0.9), (4, 1)]
)
def test_an_even_sphere_has_no_near_copies(width: int, radius: float) -> None:
    rng = np.random.default_rng(3)
    rows = unit(rng.standard_normal((3000, width)))
    sums = tally(rows[:1000], rows[1000:], theta=0.3, radius=radius)
    assert np.median(sums.within.sum(axis=1)) > 20  # enough to be flagged, were they copies
    found = near_copies(sums, radius=radius)
    assert found.flagged.tolist() == []
    assert found.p > LEVEL


@pytest.mark.parametrize("radius", [0.05, 0.25, 0.5, 0.75, 1])
def test_half_a_ball_is_the_integral_in_three_dimensions_and_less_in_more(radius: float) -> None:
    """A shell at angle t of the d-dimensional sphere has a volume in proportion to sin^(d-1) t."""

    def share(dimensions: int) -> float:
        angles = (np.arange(200_000) + 0.5) / 200_000 * np.pi * radius
        shells = np.sin(angles) ** (dimensions - 1)
        return float(shells[:100_000].sum() / shells.sum())

    assert half_ball(radius) == pytest.approx(share(3), rel=1e-6)
    assert all(share(d) <= half_ball(radius) + 1e-9 for d in (4, 5, 8, 20, 100))


def test_half_a_small_ball_is_an_eighth() -> None:
    assert half_ball(1e-12) == pytest.approx(1 / 8, abs=1e-6)
    assert half_ball(FLAT) == pytest.approx(1 / 8, rel=1e-6)


# Vendi score


def added(rows: Rows, *, start: int = 0, valid: NDArray[np.bool_] | None = None) -> Moments:
    moments = Moments(rows.shape[1])
    keep = np.ones(len(rows), dtype=np.bool_) if valid is None else valid
    moments.add(rows, keep, start)
    return moments


def estimates(moments: Moments) -> list[float]:
    return [moments.vendi()[order].estimate for order in ORDERS]


def assert_same(found: Moments, wanted: Moments, *, rtol: float = 1e-11) -> None:
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=0, atol=rtol)
    one, other = found.vendi(), wanted.vendi()
    for order in ORDERS:
        ends = [list(v.figures().values()) for v in (one[order], other[order])]
        np.testing.assert_allclose(np.float64(ends[0]), np.float64(ends[1]), rtol=rtol)


@pytest.mark.parametrize(
    ("count", "width"), [(13, 40), (129, 300), (700, 24), (450, 130), (700, 2), (2, 7)]
)
def test_moments_have_the_vendi_score_of_the_kernel(count: int, width: int) -> None:
    rows = cloud(count, width, 4)
    moments = added(rows)
    assert estimates(moments) == pytest.approx(np.exp(literal.log_vendi(rows)), rel=1e-6)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0, dtype=np.float64), atol=1e-14)
    assert moments.n == count
    first, second, last = estimates(moments)
    assert 1 <= last <= second <= first <= min(count, width)  # orders fall


@pytest.mark.parametrize("kinds", [1, 3, 8])
def test_rows_at_right_angles_are_counted(kinds: int) -> None:
    rows = np.tile(np.eye(kinds, 8, dtype=np.float32), (240, 1))
    found = added(rows).vendi()
    for order in ORDERS:
        assert found[order].estimate == pytest.approx(kinds, rel=1e-12)
        assert 1 <= found[order].low <= found[order].estimate <= found[order].high


def test_one_row_over_and_over_is_one() -> None:
    row = cloud(1, 33, 5)
    found = added(np.repeat(row, 1000, axis=0)).vendi()
    for order in ORDERS:
        assert list(found[order].figures().values()) == pytest.approx([1, 1, 1], abs=1e-9)


def test_one_stranger_among_equals_leaves_the_lower_end_at_one() -> None:
    """Without the stranger's group the logarithm is 0: its distance to 0 is less than t times."""
    rows = np.zeros((512, 3), dtype=np.float32)
    rows[:, 0] = 1
    rows[100] = 0, 0, 1
    found = added(rows).vendi()
    squares = (511 / 512) ** 2 + (1 / 512) ** 2
    assert found["order_2"].estimate == pytest.approx(1 / squares, rel=1e-12)
    for order in ORDERS:
        assert found[order].low == 1
        assert found[order].high > found[order].estimate > 1


def test_unequal_weights_by_hand() -> None:
    """1/2, 1/4, 1/4: entropy 1.5 ln 2, sum of squares 3/8, largest 1/2."""
    rows = np.tile(np.eye(3, 5, dtype=np.float32)[[0, 1, 0, 2]], (30, 1))
    assert estimates(added(rows)) == pytest.approx([2**1.5, 8 / 3, 2], rel=1e-12)


def test_opposite_rows_are_one_direction_and_no_mean() -> None:
    rows = np.tile(np.float32([[0.6, 0.8], [-0.6, -0.8]]), (200, 1))
    moments = added(rows)
    assert estimates(moments) == pytest.approx([1, 1, 1], rel=1e-7)
    assert moments.mean.tolist() == [0, 0]


def literal_ends(rows: Rows, groups: NDArray[np.int64]) -> list[list[float]]:
    """[3 orders][low, high], leaving one group out at a time."""
    whole = literal.log_vendi(rows)
    present = sorted(set(groups.tolist()))
    left_out = [literal.log_vendi(rows[groups != group]) for group in present]
    factor = float(stats.t.ppf(0.975, len(present) - 1))
    ends = []
    for q in range(3):
        reach = factor * math.sqrt(literal.jackknife([scores[q] for scores in left_out]))
        ends.append([math.exp(max(0, whole[q] - reach)), math.exp(whole[q] + reach)])
    return ends


@pytest.mark.parametrize(
    ("count", "width", "start"), [(650, 11, 0), (140, 20, 0), (115, 6, 0), (530, 7, 37)]
)
def test_ends_are_the_literal_jackknife(count: int, width: int, start: int) -> None:
    rows = cloud(count, width, 6)
    groups = np.array([slot // 16 % 32 for slot in range(start, start + count)])
    found = added(rows, start=start).vendi()
    ends = [[found[order].low, found[order].high] for order in ORDERS]
    np.testing.assert_allclose(ends, literal_ends(rows, groups), rtol=1e-6)


@pytest.mark.parametrize(
    ("count", "width", "start"), [(650, 11, 0), (140, 20, 0), (115, 6, 0), (530, 7, 37)]
)
def test_logarithms_have_the_variance_of_the_literal_jackknife(
    count: int, width: int, start: int
) -> None:
    rows = cloud(count, width, 6)
    groups = np.array([slot // 16 % 32 for slot in range(start, start + count)])
    present = sorted(set(groups.tolist()))
    whole = literal.log_vendi(rows)
    left_out = [literal.log_vendi(rows[groups != group]) for group in present]
    found = added(rows, start=start).log_vendi()
    assert list(found) == list(ORDERS)
    for q, order in enumerate(ORDERS):
        assert found[order].value == pytest.approx(whole[q], rel=1e-6)
        wanted = literal.jackknife([scores[q] for scores in left_out])
        assert found[order].variance == pytest.approx(wanted, rel=1e-5)
        assert (found[order].degrees, found[order].unseen) == (len(present) - 1, 0)


def test_scores_are_those_of_the_logarithms() -> None:
    for count in (1, 112, 700):  # one row; groups too few for ends; all of them
        moments = added(cloud(count, 9, 12))
        logs = moments.log_vendi()
        assert moments.vendi() == {order: vendi_score(logs[order]) for order in ORDERS}
        assert (logs["order_1"].variance is None) == (count < 113)
    nothing = Moments(6).log_vendi()
    assert nothing == dict.fromkeys(ORDERS)


def test_a_score_by_hand() -> None:
    """2.0395 is the .975 quantile of Student's t with 31 degrees of freedom."""
    found = vendi_score(Estimate(math.log(20), 0.01, 31, 0.0))
    assert found.estimate == pytest.approx(20)
    assert found.low == pytest.approx(20 / math.exp(0.20395), rel=1e-4)
    assert found.high == pytest.approx(20 * math.exp(0.20395), rel=1e-4)


def test_a_score_at_its_limits() -> None:
    assert vendi_score(None) == NOTHING
    assert vendi_score(Estimate(0.0, 0.0, 31, 0.0)) == Interval(1, 1, 1)
    assert vendi_score(Estimate(math.log(4), None, 0, 0.0)) == Interval(
        pytest.approx(4), None, None
    )
    wide = vendi_score(Estimate(0.1, 4.0, 7, 0.0))
    assert wide.low == 1  # no population has fewer than one
    assert wide.high > 100
    assert all(isinstance(end, float) for end in vars(wide).values())


def test_fewer_than_eight_groups_have_no_ends() -> None:
    rows = cloud(113, 6, 7)
    seven, eight = added(rows[:112]).vendi(), added(rows).vendi()
    for order in ORDERS:
        assert (seven[order].low, seven[order].high) == (None, None)
        assert seven[order].estimate > 1
        assert 1 < eight[order].low < eight[order].estimate < eight[order].high


def test_groups_are_merged_to_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (1, 128, 512, 1024, 1025, 2048, 2049, 4096, 5792, 5793, 9000)
    kept = [Moments(width).groups for width in columns]
    assert kept == [32, 32, 32, 32, 16, 8, 4, 2, 1, 1, 1]
    rows = cloud(900, 12, 8)
    separate = added(rows)
    monkeypatch.setattr(diversity, "_LARGEST", 12 * 12 * 15)
    merged = added(rows)
    assert merged.groups == 8
    assert estimates(merged) == pytest.approx(estimates(separate), rel=1e-12)
    np.testing.assert_allclose(merged.mean, separate.mean, atol=1e-14)
    wanted = literal_ends(rows, np.arange(900) // 16 % 8)
    found = merged.vendi()
    ends = [[found[order].low, found[order].high] for order in ORDERS]
    np.testing.assert_allclose(ends, wanted, rtol=1e-6)
    monkeypatch.setattr(diversity, "_LARGEST", 12 * 12 * 7)
    assert added(rows).vendi()["order_1"].low is None  # 4 groups


@pytest.mark.parametrize("tile", [1, 16, 100, 512, 2048])
def test_tiles_are_irrelevant(tile: int) -> None:
    rows = cloud(20_000 if tile >= 512 else 1500, 9, 9)  # more rows a group than one product takes
    moments = Moments(9)
    for start in range(0, len(rows), tile):
        part = rows[start : start + tile]
        moments.add(part, np.ones(len(part), dtype=np.bool_), start)
    assert_same(moments, added(rows))


def test_tiles_come_in_any_order_and_may_be_asked_in_between() -> None:
    rows = cloud(1500, 9, 10)
    moments = Moments(9)
    for start in (900, 0, 300, 1200, 600):
        moments.add(rows[start : start + 300], np.ones(300, dtype=np.bool_), start)
        assert moments.vendi()["order_1"].estimate > 1
        assert moments.mean.shape == (9,)
    assert_same(moments, added(rows))


def test_a_buffer_may_be_reused_for_the_next_tile() -> None:
    rows = cloud(1500, 9, 11)
    moments, buffer = Moments(9), np.empty((300, 9), dtype=np.float32)
    for start in range(0, 1500, 300):
        buffer[:] = rows[start : start + 300]
        moments.add(buffer, np.ones(300, dtype=np.bool_), start)
        buffer[:] = np.nan
    assert_same(moments, added(rows))


@pytest.mark.parametrize("content", [0, np.nan, np.inf, 1e30])
def test_invalid_rows_are_ignored_whatever_they_hold(content: float) -> None:
    rows = cloud(700, 9, 12)
    valid = np.random.default_rng(13).random(700) < 0.6
    groups = np.arange(700) // 16 % 32
    wanted = literal_ends(rows[valid], groups[valid])
    estimate = np.exp(literal.log_vendi(rows[valid]))
    rows[~valid] = content
    before = rows.copy(), valid.copy()
    moments = added(rows, valid=valid)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(valid, before[1])
    assert moments.n == valid.sum()
    assert estimates(moments) == pytest.approx(estimate, rel=1e-6)
    ends = [[moments.vendi()[order].low, moments.vendi()[order].high] for order in ORDERS]
    np.testing.assert_allclose(ends, wanted, rtol=1e-6)


def test_a_rotation_and_a_second_copy_of_everything_change_nothing() -> None:
    rows = cloud(1024, 10, 14)
    turn = np.linalg.qr(np.random.default_rng(15).standard_normal((10, 10)))[0]
    turned = (rows.astype(np.float64) @ turn).astype(np.float32)
    assert estimates(added(turned)) == pytest.approx(estimates(added(rows)), rel=1e-6)
    twice = added(np.concatenate([rows, rows]))
    assert estimates(twice) == pytest.approx(estimates(added(rows)), rel=1e-11)


def test_a_collapse_lowers_every_order() -> None:
    rows = unit(np.random.default_rng(16).standard_normal((1600, 20)))
    collapsed = rows.copy()
    collapsed[::4] = rows[0]
    before, after = added(rows).vendi(), added(collapsed).vendi()
    for order in ORDERS:
        assert after[order].high < before[order].low


def test_nothing_added_says_nothing() -> None:
    for moments in (Moments(6), added(cloud(40, 6, 17), valid=np.zeros(40, dtype=np.bool_))):
        assert moments.n == 0
        assert moments.mean.tolist() == [0] * 6
        assert moments.vendi() == dict.fromkeys(ORDERS, NOTHING)


def test_a_single_row_is_one() -> None:
    found = added(np.float32([[0.6, 0.8]])).vendi()
    assert [found[order].estimate for order in ORDERS] == pytest.approx([1, 1, 1])
    assert found["order_1"].low is None


def test_a_process_that_wants_coarse_products_gets_exact_ones() -> None:
    rows, before = cloud(700, 40, 18), torch.get_float32_matmul_precision()
    wanted = added(rows).vendi()
    try:
        torch.set_float32_matmul_precision("medium")
        assert added(rows).vendi() == wanted
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 1.01])
def test_valid_rows_that_are_not_unit_are_refused(bad: float) -> None:
    rows = cloud(600, 5, 19)
    rows[: 600 if bad == 1.01 else 7] *= np.float32(bad)
    with pytest.raises(ValueError, match="rows must have length 1, got a mean squared length of"):
        added(rows).vendi()


def test_other_shapes_and_types_are_refused() -> None:
    moments, keep = Moments(5), np.ones(8, dtype=np.bool_)
    rows = cloud(8, 5, 20)
    for wrong, valid, got in (
        (rows.astype(np.float64), keep, r"float64 \[8, 5\] and bool"),
        (rows[:, :4], keep, r"float32 \[8, 4\] and bool"),
        (rows[:7], keep, r"float32 \[7, 5\] and bool"),
        (rows, keep.astype(np.int64), r"float32 \[8, 5\] and int64"),
    ):
        message = rf"rows must be float32 \[8, 5\] with valid as bool, got {got}"
        with pytest.raises(ValueError, match=message):
            moments.add(wrong, valid, 0)
    assert moments.n == 0


@pytest.mark.gpu
def test_a_gpu_has_the_figures_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    rows = cloud(5000, 130, 21)
    moments = Moments(130, device="cuda")
    for start in range(0, 5000, 2048):
        part = rows[start : start + 2048]
        moments.add(part, np.ones(len(part), dtype=np.bool_), start)
    assert_same(moments, added(rows), rtol=1e-9)


# Crowd


def test_a_crowd_by_hand() -> None:
    """Cosines .8 > .6 > 0; counts 5 = 5 > 1. Ranks 3 2 1 and 2.5 2.5 1: 1.5 / sqrt(2 * 1.5)."""
    anchors = np.float32([[0.6, 0.8], [0.8, 0.6], [-1, 0]])
    found = crowd(anchors, np.array([0.0, 0.5]), np.array([5, 5, 1]))
    assert found.norm_of_mean_embedding == 0.5
    assert found.rank_correlation == pytest.approx(1.5 / math.sqrt(3))
    rising = crowd(anchors, np.array([0.0, 0.5]), np.array([9, 5, 1]))
    falling = crowd(anchors, np.array([0.0, -2e-3]), np.array([9, 5, 1]))
    assert rising.rank_correlation == pytest.approx(1)
    assert falling.rank_correlation == pytest.approx(-1)
    assert falling.norm_of_mean_embedding == pytest.approx(2e-3)


@pytest.mark.parametrize("most", [3, 40])
def test_rank_correlation_is_spearmans_with_ties(most: int) -> None:
    rng = np.random.default_rng(22)
    anchors = cloud(57, 8, 23)
    anchors[20:30] = anchors[3]  # ties of cosines
    mean = rng.standard_normal(8) / 3
    counts = rng.integers(0, most, size=57)
    cosine = anchors.astype(np.float64) @ mean
    cosine[20:30] = cosine[3]
    found = crowd(anchors, mean, counts).rank_correlation
    assert found == pytest.approx(literal.rank_correlation(counts.tolist(), cosine.tolist()))
    assert found == pytest.approx(stats.spearmanr(counts, cosine).statistic)
    order = rng.permutation(57)
    assert crowd(anchors[order], mean, counts[order]).rank_correlation == pytest.approx(found)


def test_what_is_constant_has_no_rank() -> None:
    anchors, mean = cloud(9, 4, 24), np.array([0.3, 0.1, 0, 0])
    numbers = np.arange(9)
    assert crowd(anchors, mean, numbers).rank_correlation is not None
    assert crowd(anchors, mean, np.full(9, 3)).rank_correlation is None
    assert crowd(np.repeat(anchors[:1], 9, axis=0), mean, numbers).rank_correlation is None
    assert crowd(anchors, np.zeros(4), numbers).rank_correlation is None
    assert crowd(anchors, np.full(4, 1e-17), numbers).rank_correlation is None  # rounding only
    assert crowd(anchors[:1], mean, numbers[:1]).rank_correlation is None
    two = crowd(anchors[:2], mean, numbers[:2]).rank_correlation
    assert abs(two) == pytest.approx(1)
