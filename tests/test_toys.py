"""Toys: where their modes are, and what is counted of generated points."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.training.toys import TOYS, Covered, Toy, covered, grid, nine_gaussians, ring
from ganaudit.training.toys import three_circles as circles

MODES = {"ring": 8, "grid": 25, "nine-gaussians": 9, "three-circles": 24}
# Within three spreads: of a Gaussian in the plane, 1 - exp(-9 / 2); of a circle, across it alone.
GOOD = {name: 1 - math.exp(-4.5) for name in MODES} | {"three-circles": math.erf(3 / math.sqrt(2))}


def literally(points: NDArray[np.float32], toy: Toy) -> Covered:
    """Point by point."""
    counts = [0] * len(toy.centres)
    for x, y in points.tolist():
        if toy.radii:
            gaps = [abs(math.hypot(x, y) - radius) for radius in toy.radii]
            circle = gaps.index(min(gaps))
            off = gaps[circle]
            mode = circle * 8 + int((math.atan2(y, x) % (2 * math.pi)) // (math.pi / 4))
        else:
            gaps = [math.dist((x, y), centre) for centre in toy.centres.tolist()]
            off, mode = min(gaps), gaps.index(min(gaps))
        counts[mode] += off <= toy.good
    good = sum(counts)
    share = len(points) / len(counts) / 4
    return Covered(
        modes=sum(count >= max(1, share) for count in counts),
        of=len(counts),
        good=good / len(points),
        largest=max(counts) / good if good else 0.0,
    )


@pytest.mark.parametrize("name", TOYS)
def test_what_a_toy_draws_covers_it(name: str) -> None:
    toy = TOYS[name]()
    assert (toy.name, len(toy.centres)) == (name, MODES[name])
    assert toy.points.dtype == np.float32 and toy.points.shape == (20_000, 2)
    assert toy.points.flags.c_contiguous  # its bytes are hashed
    found = covered(toy.points, toy)
    assert found.modes == found.of == MODES[name]
    spread = math.sqrt(GOOD[name] * (1 - GOOD[name]) / 20_000)
    assert found.good == pytest.approx(GOOD[name], abs=4 * spread)
    assert found.largest < 1.2 / MODES[name]
    assert np.abs(toy.points).max() < toy.extent


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_the_same_each_time_and_another_for_another_seed(name: str) -> None:
    make: Any = TOYS[name]
    assert np.array_equal(make().points, make().points)
    assert not np.array_equal(make().points, make(seed=1).points)


@pytest.mark.parametrize("name", TOYS)
def test_points_are_counted_as_one_by_one(name: str) -> None:
    toy = TOYS[name]()
    rng = np.random.default_rng(3)
    scattered = rng.uniform(-toy.extent, toy.extent, (500, 2))
    crowded = toy.points[:500] + rng.normal(scale=toy.good / 2, size=(500, 2))
    for points in (scattered, crowded, np.concatenate([scattered, crowded])):
        points = points.astype(np.float32)
        assert covered(points, toy) == literally(points, toy)


def test_the_modes_of_the_ring_are_as_far_from_the_middle_and_from_each_other() -> None:
    toy = ring()
    assert np.linalg.norm(toy.centres, axis=1) == pytest.approx([2.0] * 8)
    sides = np.linalg.norm(toy.centres - np.roll(toy.centres, 1, axis=0), axis=1)
    assert sides == pytest.approx([4 * math.sin(math.pi / 8)] * 8)


@pytest.mark.parametrize(("make", "reach"), [(grid, 2), (nine_gaussians, 1)])
def test_the_modes_of_a_grid_are_two_apart(make: Any, reach: int) -> None:
    there = {(2.0 * i, 2.0 * j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)}
    assert {tuple(centre) for centre in make().centres.tolist()} == there


@pytest.mark.parametrize("name", ["ring", "grid", "nine-gaussians"])
def test_points_are_spread_around_their_centres_as_asked(name: str) -> None:
    make: Any = TOYS[name]
    toy = make(points=40_000, spread=0.01)
    assert toy.good == pytest.approx(0.03)
    nearest = np.linalg.norm(toy.points[:, None] - toy.centres, axis=2).argmin(axis=1)
    counts = np.bincount(nearest)
    assert counts.max() - counts.min() <= 1
    offsets = toy.points - toy.centres[nearest]
    assert offsets.std(axis=0) == pytest.approx([0.01, 0.01], rel=0.02)


def test_circles_have_as_many_points_each_and_their_own_width() -> None:
    toy = circles(points=30_000, spread=0.02)
    lengths = np.linalg.norm(toy.points, axis=1)
    for radius in (1.0, 2.0, 3.0):
        mine = lengths[np.abs(lengths - radius) < 0.5]
        assert len(mine) == 10_000
        assert (mine - radius).std() == pytest.approx(0.02, rel=0.05)


def test_one_mode_that_has_everything_is_seen_to() -> None:
    toy = ring()
    points = np.repeat(toy.centres[3:4], 50, axis=0).astype(np.float32)
    assert covered(points, toy) == Covered(modes=1, of=8, good=1.0, largest=1.0)


def test_points_between_the_modes_cover_nothing() -> None:
    found = covered(np.zeros((10, 2), np.float32), ring())
    assert found == Covered(modes=0, of=8, good=0.0, largest=0.0)
    between = np.array([[1.5, 0.0], [0.0, 2.5], [0.0, 0.0]], np.float32)
    assert covered(between, circles()).good == 0


def test_a_point_is_good_up_to_three_spreads() -> None:
    toy = ring(spread=0.1)
    inside, outside = ([[2.299, 0.0]], [[2.301, 0.0]])
    assert covered(np.array(inside, np.float32), toy).good == 1
    assert covered(np.array(outside, np.float32), toy).good == 0


def test_a_mode_is_covered_by_a_quarter_of_its_share() -> None:
    toy = ring()
    for here, modes in ((24, 7), (25, 8)):  # of 800 points, whose equal share is 100
        counts = [here, 800 - 6 * 25 - here, *[25] * 6]
        points = np.repeat(toy.centres, counts, axis=0).astype(np.float32)
        assert len(points) == 800
        assert covered(points, toy).modes == modes


def test_of_few_points_one_is_enough() -> None:
    toy = ring()
    assert covered(toy.centres[:2].astype(np.float32), toy).modes == 2


def test_every_eighth_of_a_circle_is_a_mode() -> None:
    toy = circles()
    points = toy.centres.astype(np.float32)
    assert covered(points, toy) == Covered(modes=24, of=24, good=1.0, largest=1 / 24)
    assert covered(points[8:16], toy).modes == 8  # the middle circle alone
    # 45 degrees apart: the same sector has the same angle on every circle
    assert np.allclose(points[0] * 2, points[8]) and np.allclose(points[0] * 3, points[16])
