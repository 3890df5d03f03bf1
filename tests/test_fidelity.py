import json
import math
import tracemalloc
from collections.abc import Callable

import literal
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ganaudit import fidelity as module
from ganaudit.fidelity import (
    density_and_coverage,
    fidelity,
    frechet_distance,
    jackknifed,
    kernel_distance,
)
from ganaudit.intervals import Interval

Rows = NDArray[np.float32]


def unit(raw: NDArray[np.float64]) -> Rows:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def cloud(count: int, width: int, seed: int) -> Rows:
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


def circle(*degrees: float) -> Rows:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def axes(*which: int) -> Rows:
    """Row i is the unit vector along |which[i]|, counted from 1, with its sign."""
    rows = np.zeros((len(which), 3), dtype=np.float32)
    rows[np.arange(len(which)), np.abs(which) - 1] = np.sign(which)
    return rows


def around(row: Rows, count: int, spread: float, seed: int) -> Rows:
    """Near copies of a row."""
    return unit(row + spread * np.random.default_rng(seed).standard_normal((count, len(row))))


def shuffled(rows: Rows, seed: int) -> Rows:
    return rows[np.random.default_rng(seed).permutation(len(rows))]


def padded(rows: Rows, width: int) -> Rows:
    """The same rows with columns of zeros between theirs."""
    wide = np.zeros((len(rows), width), dtype=np.float32)
    wide[:, :: width // rows.shape[1]][:, : rows.shape[1]] = rows
    return wide


def peak_mb(call: Callable[..., object], *given: Rows) -> float:
    """Memory that a call takes beyond what it is given."""
    tracemalloc.start()
    call(*given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


# Fréchet distance


def test_frechet_distance_by_hand() -> None:
    # Means 0, variances 2 along different axes: nothing in common.
    assert frechet_distance(axes(1, -1), axes(2, -2)) == pytest.approx(4)
    # Variances along the axes 2 c / (n - 1) for c pairs: 4/5, 2/5 against 2/7, 6/7, no mean.
    real, generated = axes(1, -1, 1, -1, 2, -2), axes(1, -1, 2, -2, 2, -2, 2, -2)
    wanted = (math.sqrt(4 / 5) - math.sqrt(2 / 7)) ** 2 + (math.sqrt(2 / 5) - math.sqrt(6 / 7)) ** 2
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-12)
    # One column: 1, 1, -1 against 1, -1.
    wanted = (1 / 3) ** 2 + (math.sqrt(4 / 3) - math.sqrt(2)) ** 2
    found = frechet_distance(np.float32([[1], [1], [-1]]), np.float32([[1], [-1]]))
    assert found == pytest.approx(wanted, rel=1e-12)


def test_frechet_distance_of_two_circles_is_that_of_their_heights_and_widths() -> None:
    def ring(height: float, count: int) -> Rows:
        angle = 2 * np.pi * np.arange(count) / count
        width = math.sqrt(1 - height**2)
        flat = [width * np.cos(angle), width * np.sin(angle), np.full(count, height)]
        return np.stack(flat, axis=1).astype(np.float32)

    # Variance along two axes is width^2 / 2 n / (n - 1), along the third 0.
    widths = [0.6 * math.sqrt(4 / 3 / 2), 0.8 * math.sqrt(8 / 7 / 2)]
    wanted = (0.8 - 0.6) ** 2 + 2 * (widths[0] - widths[1]) ** 2
    assert frechet_distance(ring(0.8, 4), ring(0.6, 8)) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_two_gaussians_is_that_of_their_moments() -> None:
    def gaussian(spread: float, tilt: float, seed: int) -> Rows:
        raw = spread * np.random.default_rng(seed).standard_normal((20_000, 6))
        raw[:, 0] = 1
        raw[:, 1] += tilt
        return unit(raw)

    # Five directions, spreads .01 and .03; means apart by tilt. Curvature and chance: 1 %.
    wanted = 5 * (0.03 - 0.01) ** 2 + 0.05**2
    found = frechet_distance(gaussian(0.01, 0, 1), gaussian(0.03, 0.05, 2))
    assert found == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(("rows", "others", "width"), [(37, 23, 5), (9, 40, 7), (50, 12, 2)])
def test_frechet_distance_agrees_with_the_root_of_the_product(
    rows: int, others: int, width: int
) -> None:
    real, generated = cloud(rows, width, 1), cloud(others, width, 2)
    generated = unit(generated + 0.7 * real[0])
    wanted = literal.frechet_distance(real, generated)
    assert wanted > 0.1
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("rows", "others"), [(30, 50), (9, 50), (9, 11), (50, 9), (2, 2)])
def test_fewer_rows_than_columns_are_no_other_case(rows: int, others: int) -> None:
    real, generated = cloud(rows, 3, 1), cloud(others, 3, 2)
    wide = frechet_distance(padded(real, 24), padded(generated, 24))
    assert wide == pytest.approx(frechet_distance(real, generated), rel=1e-7)


@pytest.mark.parametrize("shape", [(40, 6), (8, 30), (2, 3), (5, 1)])
def test_equal_sets_are_at_distance_0(shape: tuple[int, int]) -> None:
    rows = cloud(*shape, 3)
    for same in (rows, padded(rows, 64), np.repeat(rows[:1], 10, axis=0)):
        found = frechet_distance(same, shuffled(same, 4))
        assert 0 <= found < 1e-8


@pytest.mark.parametrize("count", [2, 6, 100])
def test_a_fully_collapsed_set_has_a_distance(count: int) -> None:
    real, one = cloud(60, 6, 5), cloud(2, 6, 6)
    mean, covariance = literal.moments(real)
    collapsed = np.repeat(one[:1], count, axis=0)
    wanted = ((mean - one[0]) ** 2).sum() + np.trace(covariance)
    assert frechet_distance(real, collapsed) == pytest.approx(wanted, rel=1e-9)
    other = np.repeat(one[1:], 7, axis=0)
    apart = ((one[0].astype(np.float64) - one[1]) ** 2).sum()
    assert frechet_distance(collapsed, other) == pytest.approx(apart, rel=1e-9)


def test_frechet_distance_is_symmetric_and_ignores_order_and_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, generated = cloud(90, 8, 7), padded(cloud(50, 2, 8), 8)
    wanted = frechet_distance(real, generated)
    assert frechet_distance(generated, real) == pytest.approx(wanted, rel=1e-9)
    mixed = frechet_distance(shuffled(real, 9), shuffled(generated, 10))
    assert mixed == pytest.approx(wanted, rel=1e-9)
    monkeypatch.setattr(module, "_TILE", 7)
    assert frechet_distance(real, generated) == pytest.approx(wanted, rel=1e-9)


def test_frechet_distance_takes_no_float64_copy_of_the_rows() -> None:
    rows = cloud(20_000, 64, 11)
    assert peak_mb(frechet_distance, rows, rows) < 20_000 * 64 * 8 / 2**20 / 2


def test_few_rows_of_many_columns_need_no_square_of_the_columns() -> None:
    rows = cloud(50, 2000, 12)
    assert peak_mb(frechet_distance, rows, rows) < 2000 * 2000 * 8 / 2**20 / 4


# Kernel distance


def test_kernel_distance_by_hand() -> None:
    # Kernel 1 at a right angle, (1 / 3 + 1)^3 = 64 / 27 at a copy.
    copy = 64 / 27
    found = kernel_distance(axes(1, 1, 1), axes(2, 2, 2))
    assert found == Interval(pytest.approx(2 * copy - 2), None, None)
    # Two rows against the same two: among them only right angles, between them half copies.
    assert kernel_distance(axes(1, 2), axes(2, 1)).estimate == pytest.approx(2 - (copy + 1))


@pytest.mark.parametrize(("rows", "others", "width"), [(19, 23, 6), (12, 7, 1), (2, 3, 40)])
def test_kernel_distance_agrees_with_the_literal_reference(
    rows: int, others: int, width: int
) -> None:
    real, generated = cloud(rows, width, 1), cloud(others, width, 2)
    size = min(rows, others)
    wanted = literal.kernel_distance(real[:size], generated[:size])
    assert kernel_distance(real, generated).estimate == pytest.approx(wanted, rel=1e-9, abs=1e-14)


def test_rows_left_over_are_shared_out() -> None:
    real, generated = cloud(25, 3, 3), cloud(19, 3, 4)
    places = [slice(0, 5), slice(5, 10), slice(10, 15), slice(15, 19)]
    wanted = [literal.kernel_distance(real[p], generated[p]) for p in places]
    found = kernel_distance(real, generated, block=4)
    assert found == Interval(pytest.approx(np.mean(wanted), rel=1e-9), None, None)


def test_the_interval_is_students_over_blocks() -> None:
    real, generated = cloud(24, 3, 5), cloud(24, 3, 6)
    values = np.array(
        [literal.kernel_distance(real[i : i + 3], generated[i : i + 3]) for i in range(0, 24, 3)]
    )
    half = 2.364624 * values.std(ddof=1) / math.sqrt(8)  # of a table, 7 degrees of freedom
    found = kernel_distance(real, generated, block=3)
    assert found.estimate == pytest.approx(values.mean(), rel=1e-9)
    assert found.low == pytest.approx(values.mean() - half, rel=1e-5)
    assert found.high == pytest.approx(values.mean() + half, rel=1e-5)
    seven = kernel_distance(real[:23], generated, block=3)
    assert seven.low is None and seven.high is None


def test_kernel_distance_tells_a_shift_from_chance() -> None:
    real, same = cloud(1000, 4, 7), cloud(1000, 4, 8)
    shifted = unit(same + np.float32([0.5, 0, 0, 0]))
    by_chance = kernel_distance(real, same, block=50)
    assert by_chance.low < 0 < by_chance.high
    assert kernel_distance(real, shifted, block=50).low > 0


def test_kernel_distance_ignores_order_within_a_block() -> None:
    real, generated = cloud(30, 5, 9), cloud(30, 5, 10)
    wanted = kernel_distance(real, generated).estimate
    found = kernel_distance(shuffled(real, 11), shuffled(generated, 12)).estimate
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_collapse_has_a_kernel_distance_without_spread() -> None:
    found = kernel_distance(axes(*[1] * 80), axes(*[2] * 80), block=10)
    wanted = pytest.approx(2 * 64 / 27 - 2)
    assert found == Interval(wanted, wanted, wanted)


# Density and coverage


def test_density_and_coverage_by_hand() -> None:
    # Radii in degrees: 10, 10, 20, 30 to the nearest; 30, 20, 30, 50 to the second.
    real, generated = circle(0, 10, 30, 60), circle(5, 45, 180)
    # 5 is within those of 0 and 10, 45 within those of 30 and 60.
    assert density_and_coverage(real, generated, k=1) == (4 / 3, 1)
    # 5 within those of 0, 10 and 30 (25 < 30), 45 as before.
    assert density_and_coverage(real, generated, k=2) == (5 / 6, 1)
    assert density_and_coverage(real, circle(-9, 95), k=1) == (1 / 2, 1 / 4)
    assert density_and_coverage(real, circle(180), k=2) == (0, 0)
    # A collapse onto a crowded place: within both of the first, however many there are.
    assert density_and_coverage(real, circle(*[5] * 100), k=1) == (2, 1 / 2)


CASES = {
    "cloud": lambda: (cloud(43, 6, 1), cloud(29, 6, 2)),
    "one column": lambda: (shuffled(axes(1, 1, 1, -1, -1)[:, :1], 1), axes(1, -1)[:, :1]),
    "circle": lambda: (cloud(60, 2, 3), cloud(70, 2, 4)),
    "fewer rows than columns": lambda: (cloud(8, 200, 5), cloud(13, 200, 6)),
    "copies among the real": lambda: (cloud(9, 4, 7)[np.arange(40) ** 2 % 9], cloud(50, 4, 8)),
    "copies of the real": lambda: (cloud(30, 40, 9), cloud(30, 40, 9)[np.arange(70) % 23]),
    "one image": lambda: (cloud(30, 40, 10), np.repeat(cloud(30, 40, 10)[:1], 17, axis=0)),
    "one real image": lambda: (np.repeat(cloud(1, 9, 11), 12, axis=0), cloud(30, 9, 12)),
    "grid": lambda: (circle(*range(0, 360, 15)), circle(*range(0, 360, 5))),
}
CASES |= {
    f"near copies, {spread:.0e}": lambda spread=spread: (
        np.concatenate([around(cloud(1, 16, 13)[0], 30, spread, 14), cloud(11, 16, 15)]),
        np.concatenate([around(cloud(1, 16, 13)[0], 35, spread, 16), cloud(5, 16, 17)]),
    )
    for spread in (1e-8, 3e-8, 1e-7, 1e-5, 1e-2)
}


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_density_and_coverage_are_those_of_every_distance(case: str, k: int) -> None:
    real, generated = CASES[case]()
    wanted = literal.density_and_coverage(real, generated, k)
    assert density_and_coverage(real, generated, k=k) == wanted


@pytest.mark.parametrize("tile", [1, 3, 7, 16])
@pytest.mark.parametrize("case", CASES)
def test_tiles_and_order_change_nothing(
    case: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, generated = CASES[case]()
    wanted = density_and_coverage(real, generated, k=3)
    monkeypatch.setattr(module, "_TILE", tile)
    monkeypatch.setattr(module, "_BUFFER", 5 * real.shape[1])  # pairs at once
    assert density_and_coverage(real, generated, k=3) == wanted
    assert density_and_coverage(shuffled(real, 1), shuffled(generated, 2), k=3) == wanted


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("width", [3, 512])
def test_equal_sets_have_density_and_coverage_1(width: int, k: int) -> None:
    # Each ball holds its centre and k - 1 more: the k-th neighbour lies on its edge.
    rows = cloud(1500, width, 18)
    assert density_and_coverage(rows, shuffled(rows, 19), k=k) == (1, 1)


def test_real_rows_with_k_copies_are_never_covered() -> None:
    real = np.concatenate([np.repeat(cloud(1, 50, 20), 4, axis=0), cloud(6, 50, 21)])
    assert density_and_coverage(real, real[:1], k=3) == (0, 0)
    assert density_and_coverage(real, real[:1], k=4)[1] >= 4 / 10  # radius: that to another row


def test_copies_are_not_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counting(squared: Rows, open_: NDArray[np.bool_], some: Rows, others: Rows) -> None:
        nonlocal compared
        compared += np.count_nonzero(open_)
        settle(squared, open_, some, others)

    settle = module._settle
    monkeypatch.setattr(module, "_settle", counting)
    monkeypatch.setattr(module, "_TILE", 10)
    one = np.repeat(cloud(1, 7, 38), 400, axis=0)
    assert density_and_coverage(one, one, k=3) == (0, 0)
    assert 0 < compared <= 400 * 10  # the first tile of each row, of 400 by 400 pairs twice


def test_equal_distributions_have_the_expected_density_and_coverage() -> None:
    # A ball holds k / R of the mass on average. No generated row lies in it if the k nearest to
    # its centre among the R - 1 + G other rows are all real.
    rows, others, k = 150, 250, 3
    found = np.array(
        [
            density_and_coverage(cloud(rows, 4, 2 * i), cloud(others, 4, 2 * i + 1), k=k)
            for i in range(40)
        ]
    )
    empty = math.prod((rows - i) / (rows + others - i) for i in range(1, k + 1))
    error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert (error < 0.02).all()
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - [1, 1 - empty]), 4 * error)


def test_density_and_coverage_take_no_square_of_memory() -> None:
    real, generated = cloud(6000, 3, 22), cloud(5000, 3, 23)
    assert peak_mb(density_and_coverage, real, generated) < 6000 * 5000 * 8 / 2**20 / 4
    near = around(cloud(1, 64, 39)[0], 1100, 1e-8, 40)  # a million pairs to look at twice
    assert peak_mb(density_and_coverage, near, near) < 1024**2 * 64 * 8 / 2**20 / 4


# Together


def test_fidelity_is_all_of_them_on_as_many_rows() -> None:
    real, generated = cloud(31, 5, 24), cloud(23, 5, 25)
    found = fidelity(real, generated, k=2)
    density, coverage = density_and_coverage(real[:23], generated, k=2)
    kernel = kernel_distance(real[:23], generated)
    figures = {
        "rows": 23,
        "frechet_distance": frechet_distance(real[:23], generated),
        "kernel_distance": {"estimate": kernel.estimate, "low": None, "high": None},
        "nearest_k": 2,
        "density": density,
        "coverage": coverage,
    }
    assert json.loads(json.dumps(found.figures())) == figures
    assert list(found.figures()) == list(figures)


def test_fidelity_uses_no_more_than_the_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.ROWS == 50_000
    real, generated = cloud(50, 5, 26), cloud(60, 5, 27)
    monkeypatch.setattr(module, "ROWS", 40)
    assert fidelity(real, generated) == fidelity(real[:40], generated[:40])
    assert fidelity(real, generated).rows == 40
    assert fidelity(real, generated).nearest_k == 5


def test_inputs_survive() -> None:
    real, generated = cloud(20, 4, 28), cloud(20, 4, 29)
    kept = real.copy(), generated.copy()
    for side in (real, generated):
        side.flags.writeable = False
    fidelity(real, generated)
    np.testing.assert_array_equal(real, kept[0])
    np.testing.assert_array_equal(generated, kept[1])


# Refusals

EVERY = [frechet_distance, kernel_distance, density_and_coverage, fidelity]


@pytest.mark.parametrize("figure", EVERY)
def test_what_is_no_pair_of_unit_rows_is_refused(figure: Callable[..., object]) -> None:
    rows = cloud(20, 4, 30)
    nan = rows.copy()
    nan[3, 2] = np.nan
    with pytest.raises(ValueError, match="real has 4 columns, generated 3"):
        figure(rows, cloud(20, 3, 31))
    with pytest.raises(ValueError, match=r"real must be float32 \[N, D\], got float64 \[20, 4\]"):
        figure(rows.astype(np.float64), rows)
    with pytest.raises(ValueError, match="generated must have rows of length 1, got one of"):
        figure(rows, 2 * rows)
    with pytest.raises(ValueError, match="generated must have rows of length 1, got one of .* nan"):
        figure(rows, nan)


@pytest.mark.parametrize("figure", [frechet_distance, kernel_distance])
def test_a_covariance_and_a_pair_need_two_rows(figure: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="at least 2 real rows are needed, got 1"):
        figure(cloud(1, 4, 32), cloud(9, 4, 33))
    with pytest.raises(ValueError, match="at least 2 generated rows are needed, got 0"):
        figure(cloud(9, 4, 32), cloud(0, 4, 33))


def test_a_radius_needs_more_real_rows_than_k() -> None:
    rows = cloud(5, 4, 34)
    for k in (0, -1, 5):
        with pytest.raises(ValueError, match=f"at least 1 and below the 5 real rows, got {k}"):
            density_and_coverage(rows, rows, k=k)
    assert density_and_coverage(rows, rows[:1], k=4)[1] > 0
    with pytest.raises(ValueError, match="at least 1 generated rows are needed, got 0"):
        density_and_coverage(rows, rows[:0], k=2)
    with pytest.raises(ValueError, match="below the 5 real rows, got 5"):
        fidelity(cloud(9, 4, 35), rows)


def test_a_block_has_at_least_a_pair() -> None:
    with pytest.raises(ValueError, match="block must be at least 2, got 1"):
        kernel_distance(cloud(9, 4, 36), cloud(9, 4, 37), block=1)


@pytest.mark.parametrize(("rows", "block"), [(30, 50), (799, 50), (1600, 100), (40_000, 1000)])
def test_blocks_of_the_kernel_distance_leave_enough_of_them_for_an_interval(
    rows: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(real: Rows, generated: Rows, *, block: int) -> Interval:
        seen.append(block)
        return Interval(0.0, None, None)

    monkeypatch.setattr(module, "kernel_distance", record)
    monkeypatch.setattr(module, "density_and_coverage", lambda *sides, k: (1.0, 1.0))
    side = cloud(rows, 3, 1)
    fidelity(side, side)
    assert seen == [block]


def test_2000_rows_are_enough_for_an_interval_of_the_kernel_distance() -> None:
    found = fidelity(cloud(2000, 8, 1), cloud(2000, 8, 2)).kernel_distance
    assert found.low is not None and found.low < found.estimate < found.high


# -- intervals -------------------------------------------------------------------------------


def test_jackknifed_figures_are_those_of_all_rows() -> None:
    real, generated = cloud(90, 4, 40), cloud(70, 4, 41)
    found = jackknifed(real, generated, k=3, groups=7)
    assert found["frechet_distance"].estimate == frechet_distance(real[:70], generated)
    density, coverage = density_and_coverage(real[:70], generated, k=3)
    assert (found["density"].estimate, found["coverage"].estimate) == (density, coverage)


def test_a_jackknife_of_a_mean_would_be_its_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The density's function is replaced by a mean, of which the standard error is known."""
    real, generated = cloud(60, 4, 42), cloud(60, 4, 43)
    monkeypatch.setattr(
        module, "density_and_coverage", lambda real, rows, k: (2 + float(rows[:, 0].mean()), 0.5)
    )
    found = jackknifed(real, generated, groups=6)["density"]
    means = np.array([generated[group::6, 0].mean() for group in range(6)], dtype=np.float64)
    half = stats.t.ppf(0.975, 5) * means.std(ddof=1) / np.sqrt(6)
    assert found.low is not None and found.high is not None
    assert found.high - found.estimate == pytest.approx(half, rel=1e-5)
    assert found.estimate - found.low == pytest.approx(half, rel=1e-5)


def test_intervals_keep_to_what_can_be() -> None:
    rows = cloud(80, 3, 44)
    found = jackknifed(rows, rows, k=2, groups=4)
    assert found["frechet_distance"].low == 0
    assert found["coverage"].high == 1


def test_a_jackknife_needs_groups_and_rows_for_them() -> None:
    rows = cloud(40, 3, 45)
    with pytest.raises(ValueError, match="groups must be in .*, got 2 of 40 rows"):
        jackknifed(rows, rows, groups=2)
    with pytest.raises(ValueError, match="got 6 of 40 rows"):
        jackknifed(rows, rows, k=5, groups=6)
