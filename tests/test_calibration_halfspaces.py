"""Directions and subspaces in which a mode's latents differ, and that nobody judges himself."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import ConvexHull

from ganaudit.calibration.crowds import Crowd
from ganaudit.calibration.halfspaces import (
    FOLDS,
    STRENGTHS,
    Direction,
    area,
    direction,
    joint,
    logistic,
    prior_draws,
    prior_scores,
)
from ganaudit.calibration.hulls import POINTS, NestedHulls, full_hull, subspace
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.regions import SubspaceHull
from ganaudit.slots import Stream


def gaussian(count: int, size: int, seed: int = 0) -> Latents:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def loop_area(found: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Pair by pair."""
    won = 0.0
    for hit in found[hits]:
        for other in found[~hits]:
            won += 1.0 if hit > other else 0.5 if hit == other else 0.0
    return float(won / (hits.sum() * (~hits).sum()))


def test_the_area_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    found, hits = rng.integers(0, 9, 70).astype(float), rng.random(70) < 0.3
    assert area(found, hits) == pytest.approx(loop_area(found, hits))
    assert area(np.array([1.0, 2, 3]), np.array([False, True, True])) == 1
    assert area(np.array([3.0, 2, 1]), np.array([False, True, True])) == 0
    assert area(np.ones(4), np.array([True, False, True, False])) == 0.5
    assert area(np.ones(3), np.ones(3, dtype=np.bool_)) == 0.5  # nobody to compare with


def test_the_regression_finds_the_axis() -> None:
    latents = gaussian(3000, 20)
    hits = latents[:, 3] > 1
    found, strength = logistic(latents, hits, seed=0, strengths=STRENGTHS)
    assert strength in STRENGTHS and found.coefficients.dtype == np.float32
    assert found.coefficients[3] > 0.95
    assert np.linalg.norm(found.coefficients) == pytest.approx(1, abs=1e-6)
    assert found.auc > 0.97 and found.tells
    # The samples inside are those of which little of the prior scores higher.
    assert found.depth[hits].mean() < 0.5 * hits.mean() + 0.02
    assert 0 < found.depth.min() < found.depth.max() < 1


def test_of_several_strengths_the_one_of_the_largest_area_is_taken() -> None:
    latents = gaussian(1500, 30)
    hits = latents[:, 0] + 0.5 * gaussian(1500, 1, seed=1)[:, 0] > 1
    each = {c: logistic(latents, hits, seed=0, strengths=(c,))[0].auc for c in STRENGTHS}
    found, strength = logistic(latents, hits, seed=0, strengths=STRENGTHS)
    assert found.auc == each[strength] == max(each.values())


def test_noise_tells_nothing_though_it_can_be_learnt_by_heart() -> None:
    latents = gaussian(400, 100)
    hits = np.random.default_rng(1).random(400) < 0.2
    found, _ = logistic(latents, hits, seed=0, strengths=(0.1,))
    own = area((latents @ found.coefficients).astype(np.float64), hits)
    assert own > 0.75  # by heart
    # Held out: the standard error of an area of chance is about sqrt(1 / 12 (1 / 80 + 1 / 320)).
    assert abs(found.auc - 0.5) < 4 * (1 / 12 * (1 / 80 + 1 / 320)) ** 0.5


def test_no_sample_has_a_say_in_its_own_score() -> None:
    latents = gaussian(300, 5)
    hits = latents[:, 0] > 1

    def learn(labels: NDArray[np.bool_]) -> Any:
        return lambda rows: latents[rows][labels[rows]].mean(axis=0)

    found = direction(latents, hits, learn(hits), seed=0)
    for sample in (0, 17, 299):
        other = hits.copy()
        other[sample] = ~other[sample]
        again = direction(latents, other, learn(other), seed=0)
        assert again.held_out[sample] == found.held_out[sample]
        assert again.depth[sample] == found.depth[sample]
        assert (again.held_out != found.held_out).sum() >= 300 - 300 / FOLDS - 1


def test_without_two_kinds_of_samples_there_is_no_direction() -> None:
    latents = gaussian(50, 4)
    for hits in (np.ones(50, dtype=np.bool_), np.zeros(50, dtype=np.bool_)):
        found, _ = logistic(latents, hits, seed=0, strengths=(0.01,))
        assert not found.coefficients.any() and not found.tells and found.auc == 0.5


def half_space_rates(found: Direction, hits: NDArray[np.bool_], mass: float) -> NDArray[np.float64]:
    taken = np.where(found.depth <= mass, 0.05, 1.0)
    return hits @ taken / taken.sum()


def test_one_direction_for_all_spares_no_mode() -> None:
    latents = gaussian(6000, 10)
    axes = latents[:, 0] > 1, 0.6 * latents[:, 0] + 0.8 * latents[:, 1] > 1.1
    hits = np.array(axes)
    sparse = csr_array(hits, dtype=np.float32)
    found = joint(latents, sparse, 0, mass=0.2, keep=0.05, seed=0)
    worst = half_space_rates(found, hits, 0.2).max()
    for mode in (0, 1):
        own, _ = logistic(latents, hits[mode], seed=0, strengths=(0.01,))
        assert worst < 0.8 * half_space_rates(own, hits, 0.2).max()
    # It lies between both, and hits both alike.
    assert found.coefficients[:2].min() > 0.3 and np.abs(found.coefficients[2:]).max() < 0.15
    left = half_space_rates(found, hits, 0.2)
    assert left.max() / left.min() < 1.3


def test_prior_draws_are_nobodys_slots_and_scored_as_they_are() -> None:
    space = Space((2, 3), "uniform")
    some = prior_draws(space, 4, 7, seed=5)
    assert some.shape == (7, 6) and np.abs(some).max() <= 1
    assert (prior_draws(space, 0, 11, seed=5)[4:] == some).all()
    for stream in Stream:
        run = space.draw(np.arange(20_000), seed=5, stream=stream)
        assert not np.isin(some[:, 0], run[:, 0]).any()
    planes = gaussian(2, 6)
    found = prior_scores(planes, space, seed=5)
    assert found.shape == (2**17, 2)
    assert found[4:11] == pytest.approx(some.astype(float) @ planes.T.astype(float))
    # Variance of a uniform coordinate is 1 / 3.
    scale = (planes.astype(float) ** 2).sum(axis=1) / 3
    assert found.var(axis=0) == pytest.approx(scale, rel=0.02)


# --- hulls


def about(latents: Latents, hits: NDArray[np.bool_]) -> Direction:
    return logistic(latents, hits, seed=0, strengths=(0.01,))[0]


def test_the_subspace_holds_the_directions_that_differ() -> None:
    latents = gaussian(6000, 15)
    disc = np.hypot(latents[:, 2], latents[:, 7]) < 0.6  # narrower than the prior in two
    found = subspace(latents, disc, about(latents, disc)).astype(np.float64)
    assert found.shape == (2, 15)
    assert found @ found.T == pytest.approx(np.eye(2), abs=1e-5)
    assert np.linalg.svd(found[:, [2, 7]])[1].min() > 0.9
    cut = (latents[:, 0] > 0.8) & (np.abs(latents[:, 4]) < 0.5)
    linear = about(latents, cut)
    found = subspace(latents, cut, linear).astype(np.float64)
    assert found[0] == pytest.approx(linear.coefficients, abs=1e-6)  # the linear one first
    assert abs(found[1, 4]) > 0.9
    assert found @ found.T == pytest.approx(np.eye(len(found)), abs=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_subspace_of_few_dimensions_is_all_there_is(size: int) -> None:
    latents = gaussian(500, size)
    found = subspace(latents, latents[:, 0] > 0.5, about(latents, latents[:, 0] > 0.5))
    assert len(found) <= size
    assert found.astype(float) @ found.T.astype(float) == pytest.approx(
        np.eye(len(found)), abs=1e-5
    )


def nested(size: int = 6) -> NestedHulls:
    latents = gaussian(4000, size)
    hits = np.hypot(latents[:, 0], latents[:, 1]) < 0.6
    space = Space((size,), "normal")
    return NestedHulls(latents, hits, about(latents, hits), space, 0)


def test_hulls_hold_no_more_than_their_mass_and_the_larger_hold_more() -> None:
    hulls = nested()
    fresh = gaussian(20_000, 6, seed=9)
    held = []
    for mass in (0.02, 0.05, 0.1, 0.5):
        region, found = hulls.region(mass)
        assert isinstance(region, SubspaceHull) and found <= mass
        inside = region.inside(fresh).mean()
        # Measured on 16,384 draws of its own, here on 20,000 others.
        error = (found * (1 - found) * (1 / 16_384 + 1 / 20_000)) ** 0.5
        assert inside == pytest.approx(found, abs=4 * error)
        held.append(found)
    assert held == sorted(held) and held[0] < held[-1]
    # All neighbours' hull holds the disc, whose mass is 1 - exp(-.18).
    assert held[-1] == pytest.approx(1 - np.exp(-0.18), abs=0.03)
    assert hulls.region(0.0) == (None, 0.0)


def test_a_samples_depth_is_the_mass_of_hulls_that_others_made() -> None:
    hulls = nested()
    for mass in (0.04, 0.08, 0.14):
        inside = hulls.depth <= mass
        assert inside.mean() <= mass + 1e-9
        if mass > 0.1:
            assert hulls.hits[inside].mean() > 0.8 and inside.sum() > 0.5 * hulls.hits.sum()
    assert np.isinf(hulls.depth).mean() > 0.5  # most samples are in none


def two_modes(latents: Latents) -> Crowd:
    """A mode where the first coordinate is large, rows the nearer to it the larger it is."""
    angle = np.clip(1 - latents[:, 0], 0, 1.5)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    slots = np.arange(len(rows))
    return Crowd.of(np.eye(2, dtype=np.float32), np.arange(2), rows, slots, radius=0.05)


def test_the_full_hull_is_of_the_nearest_and_judged_without_the_sample() -> None:
    latents = gaussian(1500, 3)
    crowd = two_modes(latents)
    mode = int(np.flatnonzero(crowd.slots == 0)[0])
    hull, inside = full_hull(crowd, latents, mode)
    cosine = crowd.rows.astype(float) @ crowd.anchors[mode].astype(float)
    nearest = np.argsort(-np.where(crowd.hits[mode], cosine, -2), kind="stable")[:POINTS]
    assert hull.points.tolist() == latents[nearest].tolist()
    # A corner of the hull is held by no hull of the others; every other point is.
    facets = ConvexHull(latents[nearest].astype(float))
    corners = np.zeros(len(nearest), dtype=np.bool_)
    corners[facets.vertices] = True
    assert inside[nearest].tolist() == (~corners).tolist()
    rest = np.setdiff1d(np.arange(len(latents)), nearest)
    assert inside[rest].tolist() == hull.inside(latents[rest]).tolist()
    few = gaussian(60, 3)
    held, _ = full_hull(two_modes(few), few, 0)
    assert len(held.points) == two_modes(few).hits[0].sum() < POINTS
