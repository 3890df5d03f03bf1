import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganaudit.tally import (
    Tallier,
    Tally,
    check_unit_rows,
    cosine_cut,
    exact_dots,
    similarity,
    tally,
)

COUNTS = ("n", "within", "within_half")
SUMS = ("similarity", "squares", "coherence")


@pytest.fixture(autouse=True)
def process_settings_survive() -> Iterator[None]:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def unit(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def cloud(count: int, width: int, seed: int) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


def identities(count: int, width: int, seed: int, *, kinds: int = 3) -> NDArray[np.float32]:
    """Samples of a few identities: wherever one looks, somebody is near."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((kinds, width))
    noise = rng.standard_normal((count, width)) * 0.2
    return unit(centres[rng.integers(kinds, size=count)] + noise)


def assert_same(
    one: Tally, other: Tally | dict[str, NDArray[np.float64]], *, rtol: float = 1e-5
) -> None:
    """Counts equal, whole sums within `rtol`; a cell may be one pair, so 5 times that is its."""
    wanted = other if isinstance(other, dict) else vars(other)
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(one, name), wanted[name], err_msg=name)
    for name in SUMS:
        found, expected = getattr(one, name), wanted[name]
        np.testing.assert_allclose(found, expected, rtol=5 * rtol, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            found.sum(), expected.sum(), rtol=rtol, atol=1e-6, err_msg=f"all of {name}"
        )


def assert_bit_equal(one: Tally, other: Tally) -> None:
    for field in fields(Tally):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=field.name)


def share_within(anchors: NDArray[np.float32], samples: NDArray[np.float32], d: float) -> float:
    """The share of pairs at distance <= d. Few are summed one by one, many as whole blocks."""
    cosine = anchors.astype(np.float64) @ samples.astype(np.float64).T
    return float((cosine >= math.cos(math.pi * d)).mean())


# By hand


def test_three_samples_in_two_groups_are_summed_as_by_hand() -> None:
    anchors = np.float32([[1, 0], [0, 1]])
    samples = np.zeros((517, 2), dtype=np.float32)
    valid = np.zeros(517, dtype=np.bool_)
    placed = {0: (1, 0), 15: (0.96, 0.28), 16: (0.6, 0.8), 512: (0, 1), 516: (-1, 0)}
    for slot, row in placed.items():
        samples[slot], valid[slot] = row, True
    found = tally(anchors, samples, theta=0.4, radius=0.3, valid=valid)

    def s(cosine: float) -> float:
        distance = math.acos(cosine) / math.pi
        return (math.exp(0.4 - distance) - 1) / (math.exp(0.4) - 1) if distance < 0.4 else 0

    # Fractions of pi: acos(.96) .0903, acos(.8) .2048, acos(.6) .2952, acos(.28) .4097
    first = {0: [1, s(0.96)], 16: [s(0.6)], 512: [0, 0]}
    second = {0: [0, 0], 16: [s(0.8)], 512: [1, 0]}
    assert found.n.tolist() == [4, 1] + [0] * 30  # 0, 15, 512 and 516 are group 0, 16 is group 1
    t = np.zeros((2, 32))
    t[0, :2] = 1 + s(0.96), s(0.6)
    t[1, :2] = 1, s(0.8)
    np.testing.assert_allclose(found.similarity, t, atol=1e-6)
    k = np.zeros((2, 32))
    k[0, :2] = 2, 1
    k[1, :2] = 1, 1
    np.testing.assert_array_equal(found.within, k)
    assert found.within_half.tolist() == [2, 1]  # d <= .15
    squares = [sum(v * v for row in rows.values() for v in row) for rows in (first, second)]
    np.testing.assert_allclose(found.squares, squares, atol=1e-6)
    h = [(1 / 2) ** 2 + (s(0.96) / 2) ** 2 + (1 / 2) ** 2, ((s(0.6) + s(0.8)) / 2) ** 2]
    np.testing.assert_allclose(found.coherence, h + [0] * 30, atol=1e-6)


def test_similarity_has_its_closed_forms() -> None:
    for theta, half in ((0.4, 0.450166), (0.25, 0.468791)):
        found = similarity(np.array([0, theta / 2, theta, 1]), theta=theta)
        assert found[0] == 1 and found[2] == 0 and found[3] == 0
        assert found[1] == pytest.approx(1 / (math.exp(theta / 2) + 1), rel=1e-12)
        assert found[1] == pytest.approx(half, abs=1e-6)
    d = np.linspace(0, 1, 37).reshape(1, 37)
    wanted = [[literal.similarity(x, 0.3) for x in d[0]]]
    np.testing.assert_allclose(similarity(d, theta=0.3), wanted, rtol=1e-12)


@pytest.mark.parametrize("theta", [0.25, 0.4])
def test_a_pair_at_half_of_theta_has_the_closed_form(theta: float) -> None:
    angle = math.pi * theta / 2
    sample = np.float32([[math.cos(angle), math.sin(angle), 0]])
    found = tally(np.float32([[1, 0, 0]]), sample, theta=theta, radius=0.5)
    assert found.similarity[0, 0] == pytest.approx(1 / (math.exp(theta / 2) + 1), abs=1e-6)


# Against the literal reference


@pytest.mark.parametrize(
    ("theta", "radius"), [(0.3, 0.25), (0.25, 0.35), (0.02, 0.4), (1.0, 0.1), (0.4, 1.0)]
)
@pytest.mark.parametrize("make", [cloud, identities])
def test_random_rows_agree_with_the_literal_reference(make, theta: float, radius: float) -> None:
    anchors, samples = make(23, 9, 1), make(537, 9, 2)
    wanted = literal.tally(anchors, samples, theta, radius)
    assert_same(tally(anchors, samples, theta=theta, radius=radius), wanted)


@pytest.mark.parametrize(("theta", "radius"), [(0.2, 0.15), (0.15, 0.2)])
def test_few_hits_and_hits_everywhere_are_both_summed_right(theta: float, radius: float) -> None:
    reach = max(theta, radius)
    anchors, samples = cloud(19, 24, 3), cloud(800, 24, 4)
    samples[100:110] = unit(anchors[:10] + 0.1 * samples[100:110])
    assert 0 < share_within(anchors, samples, reach) < 0.002
    sparse = tally(anchors, samples, theta=theta, radius=radius)
    assert_same(sparse, literal.tally_by_anchor(anchors, samples, theta, radius))
    assert int(sparse.within.sum()) >= 10

    anchors, samples = identities(19, 24, 3, kinds=2), identities(800, 24, 4, kinds=2)
    assert share_within(anchors, samples, reach) > 0.3
    dense = tally(anchors, samples, theta=theta, radius=radius)
    assert_same(dense, literal.tally_by_anchor(anchors, samples, theta, radius))


def test_one_run_may_hold_crowded_and_empty_stretches() -> None:
    samples = np.concatenate([cloud(700, 24, 5), identities(900, 24, 6), cloud(600, 24, 7)])
    anchors = np.concatenate([identities(21, 24, 8), cloud(1050, 24, 9)])
    found = tally(anchors, samples, theta=0.25, radius=0.2)
    assert_same(found, literal.tally_by_anchor(anchors, samples, 0.25, 0.2))


@pytest.mark.parametrize("theta", [0.1, 0.6])
def test_more_anchors_than_a_block_and_more_samples_than_a_tile(theta: float) -> None:
    anchors, samples = cloud(1100, 6, 10), cloud(2100, 6, 11)
    assert len(samples) > Tallier(anchors[:1], theta=theta, radius=0.1).step
    found = tally(anchors, samples, theta=theta, radius=0.1)
    assert_same(found, literal.tally_by_anchor(anchors, samples, theta, 0.1))


def test_the_references_agree_with_each_other() -> None:
    anchors, samples = identities(7, 5, 12), identities(600, 5, 13)
    one = literal.tally(anchors, samples, 0.3, 0.2)
    other = literal.tally_by_anchor(anchors, samples, 0.3, 0.2)
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


# Identities of the mathematics


@pytest.mark.parametrize("count", [1, 17, 3000])
@pytest.mark.parametrize("theta", [0.01, 0.16, 0.25, 0.4, 0.8, 1.0])
def test_samples_that_coincide_with_the_anchor_score_1_and_never_more(
    count: int, theta: float
) -> None:
    anchor = cloud(1, 64, 14)
    found = tally(anchor, np.repeat(anchor, count, axis=0), theta=theta, radius=0.01)
    mean = found.similarity.sum() / count
    assert 1 - 1e-5 <= mean <= 1
    assert 1 - 2e-5 <= found.squares[0] / count <= 1
    assert 1 - 2e-5 <= found.coherence.sum() / count <= 1
    assert found.within.sum() == found.within_half[0] == count


def test_samples_beyond_theta_score_0() -> None:
    anchors = np.eye(3, dtype=np.float32)
    samples = np.float32([[0, 0, 0, 1]] * 20 + [[0, 0, 0, -1]] * 20)
    found = tally(np.pad(anchors, ((0, 0), (0, 1))), samples, theta=0.49, radius=0.49)
    assert not found.similarity.any() and not found.within.any()
    assert not found.squares.any() and not found.coherence.any() and not found.within_half.any()
    assert found.n.sum() == 40


@pytest.mark.parametrize("many", [False, True])
def test_a_pair_at_exactly_theta_scores_0_and_is_within_a_ball_of_that_radius(many: bool) -> None:
    count = 700 if many else 1
    quarter = np.float32([[0, 1]] * count)  # d = .5
    found = tally(np.float32([[1, 0]]), quarter, theta=0.5, radius=0.5)
    assert not found.similarity.any()
    assert found.within.sum() == count and found.within_half[0] == 0
    opposite = np.float32([[-1, 0]] * count)  # d = 1
    found = tally(np.float32([[1, 0]]), opposite, theta=1, radius=1)
    assert not found.similarity.any()
    assert found.within.sum() == count and found.within_half[0] == 0
    found = tally(np.float32([[1, 0]]), quarter, theta=1, radius=1)
    assert found.similarity.sum() / count == pytest.approx(1 / (math.exp(0.5) + 1), abs=1e-6)
    assert found.within_half[0] == count


@pytest.mark.parametrize(
    ("theta", "value"), [(0.4, 0.186702), (0.25, 0.119797), (1.0, 1 - 1 / (math.e - 1))]
)
def test_the_uniform_circle_has_its_closed_form(theta: float, value: float) -> None:
    # d is uniform on [0, 1], so E s = integral over [0, theta] of (e^(theta - d) - 1)/(e^theta - 1)
    wanted = 1 - theta / math.expm1(theta)
    assert wanted == pytest.approx(value, abs=1e-6)
    angles = 2 * np.pi * (np.arange(20000) + 0.5) / 20000
    samples = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    anchors = np.float32([[1, 0], [0, -1], [0.6, 0.8]])
    found = tally(anchors, samples, theta=theta, radius=0.25)
    np.testing.assert_allclose(found.similarity.sum(1) / 20000, wanted, atol=2e-5)
    np.testing.assert_allclose(found.within.sum(1) / 20000, 0.25, atol=1e-4)
    np.testing.assert_allclose(found.within_half / 20000, 0.125, atol=1e-4)


@pytest.mark.parametrize(("theta", "value"), [(0.4, 0.1099245), (0.25, 0.0467867)])
def test_the_uniform_sphere_has_its_closed_form(theta: float, value: float) -> None:
    # d has the density (pi / 2) sin(pi d); methods.md, section 6
    first = (math.pi * math.exp(theta) - math.pi * math.cos(math.pi * theta)) / (1 + math.pi**2)
    first -= math.sin(math.pi * theta) / (1 + math.pi**2)
    second = (1 - math.cos(math.pi * theta)) / math.pi
    wanted = math.pi / 2 * (first - second) / math.expm1(theta)
    assert wanted == pytest.approx(value, abs=1e-7)
    count = 20000
    height = 1 - (2 * np.arange(count) + 1) / count  # uniform, by Archimedes
    turn = np.arange(count) * np.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - height**2)
    samples = unit(np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height]))
    anchors = np.float32([[0, 0, 1], [0, 0, -1], [0.6, 0.8, 0]])
    found = tally(anchors, samples, theta=theta, radius=0.25)
    np.testing.assert_allclose(found.similarity.sum(1) / count, wanted, atol=2e-4)
    share = (1 - math.cos(math.pi / 4)) / 2  # of the sphere within d = .25
    np.testing.assert_allclose(found.within.sum(1) / count, share, atol=1e-3)


def test_the_uniform_sphere_of_512_dimensions_is_empty_within_theta() -> None:
    anchors, samples = cloud(60, 512, 15), cloud(2000, 512, 16)
    found = tally(anchors, samples, theta=0.4, radius=0.5)
    assert not found.similarity.any() and not found.squares.any()
    # d has mean .5 and standard deviation 1/(pi sqrt(512)) = .0141, and is nearly normal
    pairs = 60 * 2000
    for radius, share in ((0.5, 0.5), (0.5141, 0.8413), (0.5 - 2 * 0.0141, 0.0228), (0.4, 0.0)):
        count = tally(anchors, samples, theta=0.4, radius=radius).within.sum()
        assert count / pairs == pytest.approx(share, abs=0.01)


def test_neither_a_rotation_nor_swapping_the_sides_changes_the_mean() -> None:
    anchors, samples = identities(30, 12, 17), identities(700, 12, 18)
    plain = tally(anchors, samples, theta=0.3, radius=0.2)
    shuffled = np.random.default_rng(0).permutation(12)
    sign = np.float32([1, -1] * 6)
    turned = tally(anchors[:, shuffled] * sign, samples[:, shuffled] * sign, theta=0.3, radius=0.2)
    assert_same(plain, turned, rtol=1e-6)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))
    rotated = tally(unit(anchors @ rotation), unit(samples @ rotation), theta=0.3, radius=0.2)
    np.testing.assert_allclose(rotated.similarity, plain.similarity, rtol=1e-5, atol=1e-6)
    swapped = tally(samples, anchors, theta=0.3, radius=0.2)
    assert swapped.similarity.sum() == pytest.approx(plain.similarity.sum(), rel=1e-6)
    assert swapped.squares.sum() == pytest.approx(plain.squares.sum(), rel=1e-6)
    assert swapped.within.sum() == plain.within.sum()
    assert swapped.within_half.sum() == plain.within_half.sum()


def test_rows_of_anchors_come_out_in_their_order() -> None:
    anchors, samples = identities(30, 12, 17), identities(600, 12, 18)
    order = np.random.default_rng(3).permutation(30)
    plain = tally(anchors, samples, theta=0.3, radius=0.2)
    moved = tally(anchors[order], samples, theta=0.3, radius=0.2)
    np.testing.assert_array_equal(moved.within, plain.within[order])
    np.testing.assert_array_equal(moved.within_half, plain.within_half[order])
    np.testing.assert_allclose(moved.similarity, plain.similarity[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved.squares, plain.squares[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved.coherence, plain.coherence, rtol=1e-5)


def test_doubling_every_sample_leaves_the_mean_where_it_was() -> None:
    anchors, samples = cloud(9, 4, 19), cloud(512, 4, 20)
    once = tally(anchors, samples, theta=0.3, radius=0.2)
    twice = tally(anchors, np.concatenate([samples, samples]), theta=0.3, radius=0.2)
    assert_same(twice, once + once)
    np.testing.assert_allclose(
        twice.similarity.sum(1) / 1024, once.similarity.sum(1) / 512, rtol=1e-6
    )


def test_replacing_a_sample_by_a_copy_of_the_anchor_never_lowers_its_sums() -> None:
    anchor, samples = cloud(1, 5, 21), cloud(64, 5, 22)
    before = tally(anchor, samples, theta=0.5, radius=0.3)
    first = before
    for i in range(64):
        samples[i] = anchor[0]
        after = tally(anchor, samples, theta=0.5, radius=0.3)
        assert after.similarity.sum() >= before.similarity.sum()
        assert after.within.sum() >= before.within.sum()
        before = after
    assert before.within.sum() == 64 > first.within.sum()
    assert before.similarity.sum() == pytest.approx(64, rel=1e-6)


def test_a_planted_share_of_copies_is_the_mean_similarity() -> None:
    anchors = np.eye(4, dtype=np.float32)[:2]
    samples = np.repeat(np.eye(4, dtype=np.float32)[[0, 1, 2, 3]], [60, 5, 200, 35], axis=0)
    found = tally(anchors, samples, theta=0.4, radius=0.25)
    np.testing.assert_allclose(found.similarity.sum(1) / 300, [0.2, 5 / 300], rtol=1e-6)
    assert found.within.sum(1).tolist() == found.within_half.tolist() == [60, 5]


# Counts are exact


def test_exact_duplicates_all_count() -> None:
    anchors = cloud(200, 48, 23)
    alone = np.einsum("ij,ij->i", anchors, anchors)  # float32
    assert (alone > 1).any()  # of these an unclipped arccos makes NaN
    samples = np.repeat(anchors, 5, axis=0)
    for some in (slice(0, 200), slice(0, 3)):  # duplicates here and there, and everywhere
        copies = samples[: 5 * some.stop]
        found = tally(anchors[some], copies, theta=0.02, radius=0.01)
        assert found.within.sum(1).tolist() == [5] * some.stop
        assert found.within_half.tolist() == [5] * some.stop
        np.testing.assert_allclose(found.similarity.sum(1), 5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 200])
def test_a_ball_of_radius_1_holds_even_the_opposite(count: int) -> None:
    samples = -cloud(200, 48, 23)
    assert (np.einsum("ij,ij->i", samples, samples, dtype=np.float64) > 1).any()
    found = tally(-samples[:count], samples, theta=0.4, radius=1)
    assert found.within.sum(1).tolist() == [200] * count


def near_duplicates_of(anchor: NDArray[np.float32], distances: NDArray[np.float64], seed: int):
    """Unit rows at these angles, fractions of pi, from the anchor, in random directions."""
    x = anchor.astype(np.float64)
    away = np.random.default_rng(seed).standard_normal((len(distances), len(x)))
    away -= np.outer(away @ x, x) / (x @ x)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    angle = np.pi * distances[:, None]
    return unit(np.cos(angle) * x + np.sin(angle) * away)


def test_near_duplicates_are_resolved_below_the_grain_of_float32() -> None:
    anchors = cloud(1, 64, 24)
    distances = np.geomspace(1e-6, 9e-3, 640)
    theta = 0.01
    samples = near_duplicates_of(anchors[0], distances, 25)
    wanted = literal.tally_by_anchor(anchors, samples, theta, 0.005)
    found = tally(anchors, samples, theta=theta, radius=0.005)
    np.testing.assert_array_equal(found.within, wanted["within"])
    np.testing.assert_allclose(found.similarity, wanted["similarity"], rtol=1e-4, atol=1e-4)
    alone = tally(anchors, samples[300:301], theta=theta, radius=0.005)  # a pair by itself
    apart = literal.distance(anchors[0], samples[300])
    assert 5e-5 < apart < 3e-4  # float32 arccos sees 0 or 1.1e-4 here
    wanted_s = literal.similarity(apart, theta)
    assert alone.similarity.sum() == pytest.approx(wanted_s, abs=2e-5)


@pytest.mark.parametrize("radius", [0.02, 0.25, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("bystanders", [0, 63])
@pytest.mark.parametrize("halved", [False, True])
def test_float64_decides_where_float32_cannot(radius: float, bystanders: int, halved: bool) -> None:
    boundary = radius / 2 if halved else radius
    width = 128
    anchors = np.concatenate([cloud(1, width, 26), cloud(bystanders, width, 27)])
    shift = np.random.default_rng(28).uniform(-1, 1, 900) * 3e-8
    samples = near_duplicates_of(anchors[0], boundary + shift, 29)
    dots = samples.astype(np.float64) @ anchors[0].astype(np.float64)
    cut = math.cos(math.pi * boundary)
    gap = np.abs(dots - cut)
    samples = samples[(gap > 1e-13) & (gap < 1e-6)]
    assert len(samples) > 800
    share = share_within(anchors, samples, radius)
    assert share > 0.1 or bystanders and share < 0.02
    wanted = literal.tally_by_anchor(anchors, samples, 0.01, radius)
    rough = torch.mm(torch.from_numpy(samples), torch.from_numpy(anchors[:1]).T)[:, 0].numpy()
    counted = wanted["within_half"][0] if halved else wanted["within"][0].sum()
    assert 50 < counted < len(samples) - 50
    assert int((rough >= cut).sum()) != counted  # float32 alone would be wrong
    found = tally(anchors, samples, theta=0.01, radius=radius)
    np.testing.assert_array_equal(found.within, wanted["within"])
    np.testing.assert_array_equal(found.within_half, wanted["within_half"])


@pytest.mark.parametrize("distance", [1e-9, 0.001, 0.1, 0.125, 0.25, 1 / 3, 0.4, 0.5, 0.77, 1.0])
def test_the_cosine_of_a_radius_decides_as_the_angle_does(distance: float) -> None:
    cut = cosine_cut(distance)
    assert -1 <= cut <= 1
    assert np.arccos(cut) / np.pi <= distance
    if cut > -1:
        assert np.arccos(np.nextafter(cut, -2)) / np.pi > distance
    assert cut == pytest.approx(math.cos(math.pi * distance), abs=1e-15)


@pytest.mark.parametrize("pairs", [3, 511, 4000])
def test_exact_dots_are_float64_products_whatever_their_number(pairs: int) -> None:
    rows, others = cloud(90, 33, 30), cloud(40, 33, 31)
    rng = np.random.default_rng(32)
    i, j = rng.integers(90, size=pairs), rng.integers(40, size=pairs)
    found = exact_dots(*map(torch.from_numpy, (rows, others, i, j)))
    wanted = [math.fsum(x * y for x, y in zip(rows[a].tolist(), others[b].tolist(), strict=True))
              for a, b in zip(i, j, strict=True)]  # fmt: skip
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-15)


# Rows that do not count


@pytest.mark.parametrize("make", [cloud, identities])
@pytest.mark.parametrize(("theta", "radius"), [(0.3, 0.2), (1.0, 1.0)])
def test_invalid_rows_are_ignored_whatever_they_hold(make, theta: float, radius: float) -> None:
    anchors, samples = make(11, 16, 33), make(700, 16, 34)
    valid = np.random.default_rng(35).random(700) < 0.7
    valid[32:48] = False
    wanted = literal.tally(anchors, samples, theta, radius, valid)
    for content in (0, np.nan, np.inf, 1e30):
        samples[~valid] = content
        found = tally(anchors, samples, theta=theta, radius=radius, valid=valid)
        assert_same(found, wanted)
        assert found.n.sum() == valid.sum()
    samples[~valid] = anchors[0]
    assert_same(tally(anchors, samples, theta=theta, radius=radius, valid=valid), wanted)


def test_no_valid_rows_and_no_rows_are_the_empty_tally() -> None:
    anchors = cloud(5, 8, 36)
    nothing = np.full((40, 8), np.nan, dtype=np.float32)
    empty = Tally.empty(5)
    none_valid = tally(anchors, nothing, theta=1, radius=1, valid=np.zeros(40, dtype=np.bool_))
    assert_bit_equal(none_valid, empty)
    assert_bit_equal(tally(anchors, nothing[:0], theta=1, radius=1), empty)


def test_the_arrays_that_were_passed_are_not_written_to() -> None:
    anchors, samples = cloud(5, 8, 37), cloud(600, 8, 38)
    valid = np.arange(600) % 3 > 0
    before = anchors.copy(), samples.copy(), valid.copy()
    tally(anchors, samples, theta=0.4, radius=0.3, valid=valid)
    for array, copy in zip((anchors, samples, valid), before, strict=True):
        np.testing.assert_array_equal(array, copy)


# Order, splits, threads and the process


@pytest.mark.parametrize("make", [cloud, identities])
def test_the_order_of_samples_within_a_group_is_irrelevant(make) -> None:
    anchors, samples = make(31, 10, 39), make(3 * 512, 10, 40)
    blocks = np.arange(3 * 512).reshape(3, 32, 16)
    rng = np.random.default_rng(41)
    moved = rng.permuted(blocks.transpose(1, 0, 2).reshape(32, 48), axis=1)  # within each group
    order = moved.reshape(32, 3, 16).transpose(1, 0, 2).ravel()
    assert not np.array_equal(order, np.arange(3 * 512))
    assert np.array_equal(order // 16 % 32, np.arange(3 * 512) // 16 % 32)
    plain = tally(anchors, samples, theta=0.3, radius=0.2)
    assert_same(tally(anchors, samples[order], theta=0.3, radius=0.2), plain, rtol=1e-6)


def test_the_group_of_a_sample_is_that_of_its_slot() -> None:
    anchors = np.float32([[1, 0]])
    for slot, group in ((0, 0), (16, 1), (500, 31), (512, 0), (2047, 31), (2048, 0), (2600, 2)):
        samples = np.zeros((slot + 1, 2), dtype=np.float32)
        samples[:, 1] = 1
        samples[slot] = 1, 0
        found = tally(anchors, samples, theta=0.25, radius=0.2)
        assert np.flatnonzero(found.within[0]).tolist() == [group]
        assert np.flatnonzero(found.similarity[0]).tolist() == [group]
        assert np.flatnonzero(found.coherence).tolist() == [group]


@pytest.mark.parametrize("make", [cloud, identities])
@pytest.mark.parametrize("at", [512, 1536, 2048])
def test_a_tally_is_the_sum_of_the_tallies_of_its_parts(make, at: int) -> None:
    anchors, samples = make(31, 10, 42), make(2300, 10, 43)
    whole = tally(anchors, samples, theta=0.3, radius=0.2)
    parts = [tally(anchors, part, theta=0.3, radius=0.2) for part in (samples[:at], samples[at:])]
    assert_same(parts[0] + parts[1], whole, rtol=1e-6)
    assert_same(parts[1] + parts[0], whole, rtol=1e-6)
    x = [part.similarity.sum(1) / part.n.sum() for part in parts]
    merged = (x[0] * at + x[1] * (2300 - at)) / 2300  # a weighted mean
    np.testing.assert_allclose(whole.similarity.sum(1) / 2300, merged, rtol=1e-6, atol=1e-9)


def test_tiles_that_come_in_two_runs_are_one_tally() -> None:
    anchors, samples = identities(9, 10, 44), identities(5000, 10, 45)
    tallier = Tallier(anchors, theta=0.3, radius=0.2)
    step = tallier.step
    tiles = [
        (samples[i : i + step], np.ones(len(samples[i : i + step]), dtype=np.bool_))
        for i in range(0, 5000, step)
    ]
    assert len(tiles) == 3
    first = tallier.run(tiles[:2])
    assert_bit_equal(first, tally(anchors, samples[: 2 * step], theta=0.3, radius=0.2))
    assert_bit_equal(tallier.run(tiles[2:]), tally(anchors, samples, theta=0.3, radius=0.2))
    assert first.n.sum() == 2 * step  # what was returned does not grow


def test_a_buffer_may_be_reused_for_the_next_tile() -> None:
    anchors, samples = identities(9, 10, 46), identities(6 * 2048, 10, 47)
    tallier = Tallier(anchors, theta=0.3, radius=0.2)
    buffer = np.empty((tallier.step, 10), dtype=np.float32)
    keep = np.empty(tallier.step, dtype=np.bool_)

    def tiles() -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        for start in range(0, len(samples), tallier.step):
            part = samples[start : start + tallier.step]
            buffer[:], keep[:] = part, True
            yield buffer[: len(part)], keep[: len(part)]
            buffer[:], keep[:] = np.nan, False

    assert_bit_equal(tallier.run(tiles()), tally(anchors, samples, theta=0.3, radius=0.2))


def test_the_empty_tally_is_the_identity() -> None:
    found = tally(identities(9, 10, 48), identities(700, 10, 49), theta=0.3, radius=0.2)
    assert_bit_equal(found + Tally.empty(9), found)
    assert_bit_equal(Tally.empty(9) + found, found)


def test_tallies_have_their_declared_shapes_and_types() -> None:
    for found in (Tally.empty(3), tally(cloud(3, 4, 0), cloud(5, 4, 1), theta=0.4, radius=0.2)):
        shapes = {field.name: getattr(found, field.name).shape for field in fields(Tally)}
        assert shapes == {
            "n": (32,),
            "similarity": (3, 32),
            "within": (3, 32),
            "squares": (3,),
            "within_half": (3,),
            "coherence": (32,),
        }
        assert all(getattr(found, name).dtype == np.int64 for name in COUNTS)
        assert all(getattr(found, name).dtype == np.float64 for name in SUMS)


@pytest.mark.parametrize("make", [cloud, identities])
def test_the_number_of_threads_changes_no_bit_and_is_left_as_it_was(make) -> None:
    anchors, samples = make(130, 16, 50), make(7000, 16, 51)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(tally(anchors, samples, theta=0.3, radius=0.2))
        assert torch.get_num_threads() == threads
        with ThreadPoolExecutor(1) as pool:  # what is born later has as many
            assert pool.submit(torch.get_num_threads).result() == threads
    for other in found[1:]:
        assert_bit_equal(other, found[0])


def test_a_process_that_wants_coarse_products_gets_exact_ones() -> None:
    anchors, samples = identities(40, 64, 52), identities(2200, 64, 53)
    torch.set_float32_matmul_precision("highest")
    wanted = tally(anchors, samples, theta=0.3, radius=0.2)
    torch.set_float32_matmul_precision("medium")
    assert_bit_equal(tally(anchors, samples, theta=0.3, radius=0.2), wanted)
    assert torch.get_float32_matmul_precision() == "medium"
    seen = []

    def tiles() -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        seen.append(torch.get_float32_matmul_precision())
        yield samples[:100], np.ones(100, dtype=np.bool_)
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        Tallier(anchors, theta=0.3, radius=0.2).run(tiles())
    assert seen == ["highest"]
    assert torch.get_float32_matmul_precision() == "medium"


# Refusals


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((2, 1), dtype=np.float64), r"must be float32 \[N, D\], got float64 \[2, 1\]"),
        (np.ones(3, dtype=np.float32), r"must be float32 \[N, D\], got float32 \[3\]"),
        (np.ones((2, 0), dtype=np.float32), r"must be float32 \[N, D\], got float32 \[2, 0\]"),
        (np.float32([[1, 0], [1, 1]]), "must have rows of length 1, got one of length 1.41421"),
        (np.float32([[1, 0], [0, 0]]), "must have rows of length 1, got one of length 0"),
        (np.float32([[np.nan, 0]]), "must have rows of length 1, got one of length nan"),
        (np.float32([[1.002, 0]]), "must have rows of length 1, got one of length 1.002"),
    ],
)
def test_rows_that_are_not_unit_are_refused_on_either_side(rows, message: str) -> None:
    with pytest.raises(ValueError, match=f"things {message}"):
        check_unit_rows("things", rows)
    good = np.float32([[1, 0]])
    with pytest.raises(ValueError, match=f"anchors {message}"):
        tally(rows, good, theta=0.4, radius=0.2)
    with pytest.raises(ValueError, match=f"samples {message}"):
        tally(good, rows, theta=0.4, radius=0.2)


def test_rows_a_little_off_unit_length_pass() -> None:
    check_unit_rows("rows", np.float32([[1.0005, 0], [0, 0.9995]]))
    check_unit_rows("rows", np.empty((0, 3), dtype=np.float32))


def test_differing_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="anchors have 2 columns, samples 3"):
        tally(np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32), theta=0.4, radius=0.2)


@pytest.mark.parametrize("value", [0, -0.1, 1.0001, math.nan, math.inf])
@pytest.mark.parametrize("name", ["theta", "radius"])
def test_theta_and_radius_out_of_range_are_refused(name: str, value: float) -> None:
    scale = {"theta": 0.4, "radius": 0.2} | {name: value}
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\], got {value}"):
        tally(rows, rows, **scale)


def test_no_anchors_are_refused() -> None:
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="there must be at least one anchor"):
        tally(rows[:0], rows, theta=0.4, radius=0.2)


def test_a_tile_above_the_step_is_refused() -> None:
    tallier = Tallier(np.eye(2, dtype=np.float32), theta=0.4, radius=0.2)
    rows = np.repeat(np.eye(2, dtype=np.float32), tallier.step, axis=0)
    message = f"a tile has at most {tallier.step} rows, got {2 * tallier.step}"
    with pytest.raises(ValueError, match=message):
        tallier.run([(rows, np.ones(len(rows), dtype=np.bool_))])


def test_tallies_of_different_anchors_do_not_add() -> None:
    with pytest.raises(ValueError, match="tallies of 2 and 3 anchors do not add"):
        Tally.empty(2) + Tally.empty(3)
