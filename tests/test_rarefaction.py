from dataclasses import astuple
from itertools import pairwise

import literal
import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.intervals import mean_similarity, mu_at_n, worst_mode
from ganaudit.rarefaction import Point, box, convergence, some_groups
from ganaudit.slots import group_of, permutation
from ganaudit.tally import Tally, tally

SCALE = {"theta": 0.4, "radius": 0.25}


def unit(count: int, seed: int) -> NDArray[np.float32]:
    """Rows around five directions of six, one of them crowded."""
    rng = np.random.default_rng(seed)
    rows = 3 * np.eye(6)[rng.choice(5, size=count, p=[0.5, 0.2, 0.1, 0.1, 0.1])]
    rows += rng.standard_normal((count, 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ANCHORS, SAMPLES = unit(23, 0), unit(777, 1)  # 777: groups of 32, 25 and 16 samples


def everything(valid: NDArray[np.bool_] | None = None) -> Tally:
    return tally(ANCHORS, SAMPLES, valid=valid, **SCALE)


def with_groups(*groups: int) -> Tally:
    """Samples in these groups alone; the others are empty."""
    return everything(np.isin(group_of(np.arange(len(SAMPLES))), groups))


# Some of the groups


@pytest.mark.parametrize("groups", [[3], [31, 0], [5, 4, 17, 30, 12], list(range(32))])
def test_some_groups_are_the_tally_of_their_samples_alone(groups: list[int]) -> None:
    found, alone = some_groups(everything(), np.array(groups)), with_groups(*groups)
    np.testing.assert_array_equal(found.n, alone.n)
    np.testing.assert_array_equal(found.within, alone.within)
    for name in ("similarity", "coherence"):  # within the tally's tolerance
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name), 1e-5, 1e-5, name)
    assert not found.within_half.any()


def test_squares_are_taken_in_proportion_to_each_anchor_s_similarity() -> None:
    whole = everything()
    found = some_groups(whole, np.array([0, 7]))
    for a in range(23):
        kept = (whole.similarity[a, 0] + whole.similarity[a, 7]) / sum(whole.similarity[a])
        assert found.squares[a] == pytest.approx(whole.squares[a] * kept, rel=1e-12)
    assert 0 < found.squares.sum() < found.similarity.sum()  # s^2 <= s
    np.testing.assert_array_equal(some_groups(whole, np.arange(32)).squares, whole.squares)


def test_groups_without_a_hit_have_no_squares_and_a_curve() -> None:
    n, similarity = np.full(32, 10), np.zeros((2, 32))
    similarity[0, 3] = 0.5  # one pair in all
    within = (similarity > 0).astype(np.int64)
    whole = Tally(n, similarity, within, np.array([0.25, 0]), np.zeros(2, np.int64), np.zeros(32))
    assert some_groups(whole, np.array([3])).squares.tolist() == [0.25, 0]
    assert not some_groups(whole, np.array([1, 4])).squares.any()
    assert len(convergence(whole)) == 10


def test_the_whole_is_not_written_to() -> None:
    whole, before = everything(), everything()
    some_groups(whole, np.array([1]))
    convergence(whole)
    for name in ("n", "within", "similarity", "squares", "within_half", "coherence"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(before, name))


def test_empty_groups_and_none_at_all_are_no_samples() -> None:
    some = with_groups(2, 9)
    for groups in (np.array([3, 4]), np.array([], dtype=np.int64)):
        found = some_groups(some, groups)
        assert not any(getattr(found, n).any() for n in ("n", "similarity", "within", "squares"))


# Convergence


def test_the_last_point_is_the_whole_run() -> None:
    whole = everything()
    worst = worst_mode(whole)
    assert worst is not None
    assert convergence(whole)[-1] == Point(
        777, mean_similarity(whole).interval(), mu_at_n(whole).interval(), worst.rate
    )


def test_sizes_increase_and_are_those_of_the_groups() -> None:
    points = convergence(everything())
    assert len(points) == 10
    assert all(a.samples < b.samples for a, b in pairwise(points))
    # A group has 16 to 32 samples, and 24.3 on average.
    for groups, point in zip((1, 2, 4, 8, 12, 16, 20, 24, 28, 32), points, strict=True):
        assert 16 * groups <= point.samples <= 32 * groups


def test_a_point_is_the_mean_of_eight_seeded_subsets() -> None:
    whole = everything()
    orders = [permutation(32, seed=seed) for seed in range(8)]
    for size, point in zip((1, 2, 4, 8, 12), convergence(whole), strict=False):
        parts = [some_groups(whole, order[:size]) for order in orders]
        assert point.samples == round(np.mean([part.n.sum() for part in parts]))
        estimates = [part.similarity.sum() / part.n.sum() / 23 for part in parts]
        assert point.mean_similarity.estimate == pytest.approx(np.mean(estimates), rel=1e-12)
        scores = [
            np.mean([literal.mccs(x) for x in part.similarity.sum(axis=1) / part.n.sum()])
            for part in parts
        ]
        assert point.mu.estimate == pytest.approx(np.mean(scores), rel=1e-12)
        if size < 8:
            assert point.worst_rate is None
            assert point.mean_similarity.low is point.mean_similarity.high is None
            assert point.mu.low is point.mu.high is None
            continue
        rates = []
        for order, part in zip(orders, parts, strict=True):
            groups = sorted(order[:size].tolist())
            halves = groups[: size // 2], groups[size // 2 :]
            hits = sum(
                part.within[literal.densest(part.similarity, part.within, one)][other].sum()
                for one, other in (halves, halves[::-1])
            )
            rates.append(hits / part.n.sum())
        assert point.worst_rate is not None
        assert point.worst_rate.estimate == pytest.approx(np.mean(rates), rel=1e-12)
        assert point.worst_rate.low < point.worst_rate.estimate < point.worst_rate.high


def test_intervals_narrow_as_samples_come_in() -> None:
    first, *_, last = [p for p in convergence(everything()) if p.worst_rate is not None]
    for name in ("mean_similarity", "mu", "worst_rate"):
        one, other = getattr(first, name), getattr(last, name)
        assert other.high - other.low < one.high - one.low


@pytest.mark.parametrize(
    ("groups", "points"), [([9], 1), ([0, 9], 2), ([0, 9, 31], 3), (list(range(8)), 4)]
)
def test_few_groups_have_a_short_curve(groups: list[int], points: int) -> None:
    found = convergence(with_groups(*groups))
    assert len(found) == points
    assert found[-1].samples == int(np.isin(group_of(np.arange(777)), groups).sum())
    assert all(a.samples < b.samples for a, b in pairwise(found))
    assert (found[-1].worst_rate is None) == (len(groups) < 8)


def test_a_curve_without_any_hit_is_zero_and_has_no_warning() -> None:
    empty = Tally.empty(3)
    n = np.full(32, 16)
    found = convergence(Tally(n, *list(vars(empty).values())[1:]))
    assert [point.samples for point in found] == [16, 32, 64, 128, 192, 256, 320, 384, 448, 512]
    assert all(point.mean_similarity.estimate == point.mu.estimate == 0 for point in found)


# Boxes


@pytest.mark.parametrize(("share", "groups"), [(1.0, 32), (0.5, 16), (0.25, 8), (0.001, 1)])
def test_a_box_is_its_quantiles(share: float, groups: int) -> None:
    whole = everything()
    samples, quantiles = literal.box(
        whole.similarity, whole.n, permutation(32, seed=0)[:groups].tolist()
    )
    found = box(whole, share=share)
    assert found.at_samples == samples
    assert astuple(found)[1:] == pytest.approx(quantiles, rel=1e-12)
    assert list(astuple(found)[1:]) == sorted(quantiles)


def test_a_box_passes_over_empty_groups() -> None:
    some = with_groups(1, 2, 30, 31)
    for share, groups in ((1.0, 4), (0.5, 2), (0.25, 1)):
        kept = np.array([1, 2, 30, 31])[permutation(4, seed=0)[:groups]]
        samples, quantiles = literal.box(some.similarity, some.n, kept.tolist())
        found = box(some, share=share)
        assert found.at_samples == samples > 0
        assert astuple(found)[1:] == pytest.approx(quantiles, rel=1e-12)


def test_the_box_of_one_anchor_is_a_point() -> None:
    found = box(tally(ANCHORS[:1], SAMPLES[:40], **SCALE))
    assert found.at_samples == 40
    assert len(set(astuple(found)[1:])) == 1
