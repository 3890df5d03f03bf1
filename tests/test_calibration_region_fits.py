"""What regions of each kind are fitted to, and what they leave alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtri

from ganaudit.calibration.artefact import Artefact, load, save
from ganaudit.calibration.crowds import Crowd, Goal
from ganaudit.calibration.halfspaces import joint
from ganaudit.calibration.hulls import full_hull, subspace
from ganaudit.calibration.importance import fit
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.plans import keep_for
from ganaudit.calibration.regions import LinearRegion, SubspaceHull
from ganaudit.errors import ConfigError
from ganaudit.slots import Stream

SAMPLES = 4000
TARGET = 0.004
Hits = NDArray[np.bool_]


def goal(
    *, modes: int | None = 1, floor: float = 0.8, target: float = TARGET, seed: int = 0
) -> Goal:
    return Goal(target=target, modes=modes, min_acceptance=floor, attempts=100, seed=seed)


def drawn(size: int, seed: int, count: int = SAMPLES) -> Latents:
    space = Space((size,), "normal")
    return space.draw(np.arange(count), seed=seed, stream=Stream.SAMPLES)


def crowd_of(hits: Hits) -> Crowd:
    """Modes no neighbours of each other; a sample lies halfway between those that it hits."""
    count = len(hits)
    rows = np.eye(count + 1, dtype=np.float32)[np.full(hits.shape[1], count)]
    rows[hits.any(axis=0)] = np.pad(hits.T[hits.any(axis=0)], ((0, 0), (0, 1)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Crowd(
        anchors=np.eye(count, count + 1, dtype=np.float32),
        slots=np.arange(count),
        hits=hits,
        rows=rows,
        samples=np.arange(hits.shape[1]),
        radius=0.25,
        median=TARGET,
    )


def above(latents: Latents, axis: int, mass: float) -> Hits:
    """z[axis] > c, of a mass under the normal prior, but for a twentieth of it."""
    some = np.arange(len(latents)) % 20 > 0
    return np.asarray((latents[:, axis] > ndtri(1 - mass)) & some)


def disc(latents: Latents) -> Hits:
    """|(z1, z2)| < .6: a mass of 1 - exp(-.18) = 16.5 %, which no half-space tells apart."""
    return np.asarray((latents[:, :2] ** 2).sum(axis=1) < 0.36)


def judged(made: Any, latents: Latents, hits: Hits) -> tuple[float, float]:
    """The acceptance, and the rate of hits among what is taken."""
    taken = made.acceptance(latents)
    return float(taken.mean()), float(taken[hits].sum() / taken.sum())


def removed(before: float, after: float) -> float:
    """Share of the excess over the target that is gone."""
    return (before - after) / (before - TARGET)


# --- half-spaces


def test_one_half_space_for_many_modes_is_as_good_as_the_best_of_all_angles() -> None:
    latents = drawn(2, 0, 6000)
    angles = np.linspace(0, np.pi / 2, 7)
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    heights = latents.astype(np.float64) @ axes.T
    hits = np.asarray(heights.T > ndtri(1 - 0.05))

    def worst(direction: NDArray[Any]) -> float:
        score = latents.astype(np.float64) @ direction
        taken = np.where(score > np.quantile(score, 0.85), 0.05, 1.0)
        return float(((hits @ taken) / taken.sum()).max())

    sparse = csr_array(hits, dtype=np.float32)
    found = joint(latents, sparse, 0, mass=0.15, keep=0.05, seed=0).coefficients
    every = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    best = min(worst(np.array([np.cos(angle), np.sin(angle)])) for angle in every)
    assert worst(axes[0]) > 1.3 * best
    assert worst(found) < 1.1 * best


def test_a_mode_that_is_rare_enough_is_kept_bit_by_bit() -> None:
    latents = drawn(8, 0)
    crowd = crowd_of(above(latents, 0, 0.1)[None])
    found = fit(crowd, latents, Space((8,), "normal"), goal(target=0.3))
    assert found.calibrator.acceptance(drawn(8, 1)).tolist() == [1.0] * SAMPLES
    assert found.forecast is not None
    assert found.forecast.acceptance == 1.0


def test_what_is_held_out_sees_nothing_in_noise() -> None:
    """600 samples of 256 coordinates, hits by lot: in sample a regression tells them all apart."""
    latents = drawn(256, 0, 600)
    hits = np.random.default_rng(5).random(600) < 0.1
    found = fit(crowd_of(hits[None]), latents, Space((256,), "normal"), goal())
    count = int(hits.sum())
    error = (601 / (12 * count * (600 - count))) ** 0.5  # of the area, by Mann and Whitney
    assert abs(found.facts["auc"][0] - 0.5) < 4 * error
    assert found.forecast is not None
    before, after = found.forecast.chosen[0]
    assert after > 0.7 * before
    assert "--method rejection" in found.sentences[-1]


def test_the_same_request_gives_the_same_calibrator(tmp_path: Path) -> None:
    latents, space = drawn(16, 0), Space((16,), "normal")
    crowd = crowd_of(above(latents, 0, 0.1)[None])
    first, second = (fit(crowd, latents, space, goal()).calibrator for _ in range(2))
    fresh = drawn(16, 1)
    assert first.acceptance(fresh).tolist() == second.acceptance(fresh).tolist()
    artefact = Artefact(
        calibrator=first, method="importance", generator={}, descriptor=None, run={}, about={}
    )
    save(tmp_path / "calibrator.json", artefact)
    again = load(tmp_path / "calibrator.json").calibrator
    assert isinstance(again, type(first))
    assert again.acceptance(fresh).tolist() == first.acceptance(fresh).tolist()


# --- hulls


def test_a_hull_is_of_the_nearest_samples_and_judged_by_the_others() -> None:
    """In one dimension it is an interval, and two of the samples are its ends."""
    latents = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
    crowd = crowd_of((np.abs(latents[:, 0]) < 0.5)[None])
    hull, inside = full_hull(crowd, latents, 0)
    assert len(hull.points) == 100
    low, high = float(hull.points.min()), float(hull.points.max())
    assert inside.tolist() == [low < value < high for value in latents[:, 0].tolist()]


def test_a_disc_is_found_by_a_hull_and_by_no_half_space() -> None:
    latents, fresh, space = drawn(2, 0), drawn(2, 1, 10_000), Space((2,), "normal")
    crowd = crowd_of(disc(latents)[None])
    linear = fit(crowd, latents, space, goal())
    assert judged(linear.calibrator, fresh, disc(fresh))[1] > 0.9 * disc(fresh).mean()
    assert "--region subspace-hull" in linear.sentences[-1]
    hull = fit(crowd, latents, space, goal(), region="subspace-hull")
    acceptance, rate = judged(hull.calibrator, fresh, disc(fresh))
    assert removed(float(disc(fresh).mean()), rate) > 0.8
    assert acceptance >= 0.8
    assert hull.forecast is not None
    assert abs(hull.forecast.chosen[0][1] - rate) < 0.01


def test_a_subspace_is_where_the_neighbours_differ() -> None:
    latents = drawn(20, 0, 8000)
    crowd = crowd_of(disc(latents)[None])
    found = fit(crowd, latents, Space((20,), "normal"), goal(), region="subspace-hull")
    region = found.calibrator.regions[0]
    assert isinstance(region, SubspaceHull)
    assert region.basis.shape == (2, 20)
    assert np.abs(region.basis[:, :2]).max(axis=1).min() > 0.6
    assert np.linalg.norm(region.basis[:, :2], axis=1).min() > 0.97
    fresh = drawn(20, 1, 10_000)
    assert removed(0.165, judged(found.calibrator, fresh, disc(fresh))[1]) > 0.8


def test_a_basis_is_orthonormal_with_the_linear_direction_first() -> None:
    latents = drawn(10, 0)
    hits = above(latents, 0, 0.2) & (np.abs(latents[:, 3]) < 0.3)
    sparse = csr_array(hits[None], dtype=np.float32)
    linear = joint(latents, sparse, 0, mass=0.1, keep=0.0, seed=0)
    basis = subspace(latents, hits, linear)
    assert np.allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-5)
    assert np.allclose(basis[0], linear.coefficients, atol=1e-6)
    assert np.abs(basis[1:, 3]).max() > 0.9


def test_a_hull_that_holds_much_is_thinned_less_so_that_the_acceptance_holds() -> None:
    """In one dimension the hull of the hundred nearest holds most of the mode: a fifth of all."""
    latents, fresh = drawn(1, 0), drawn(1, 1, 20_000)
    crowd = crowd_of((np.abs(latents[:, 0]) < 0.8)[None])
    found = fit(crowd, latents, Space((1,), "normal"), goal(floor=0.9), region="hull")
    assert found.calibrator.acceptance(fresh).mean() > 0.9
    assert found.facts["floor_binds"]
    assert found.facts["keep"][0] > keep_for(crowd, 0, TARGET)


# --- one region for all


def test_modes_that_overlap_are_thinned_by_one_half_space_where_that_does_more() -> None:
    """Seven modes in an eighth of a circle of latents; a half-space for each costs too much."""
    latents, fresh = drawn(12, 0, 8000), drawn(12, 1, 20_000)
    angles = np.linspace(0, np.pi / 4, 7)
    axes = np.zeros((7, 12))
    axes[:, 0], axes[:, 1] = np.cos(angles), np.sin(angles)
    hits, later = ((axes @ z.T.astype(np.float64)) > ndtri(0.95) for z in (latents, fresh))
    order = np.argsort(-hits.sum(axis=1), kind="stable")
    asked = goal(modes=None, floor=0.95)
    found = fit(crowd_of(hits[order]), latents, Space((12,), "normal"), asked)
    assert found.facts["together"]
    assert [type(region) for region in found.calibrator.regions] == [LinearRegion]
    assert "One half-space for all modes together" in " ".join(found.sentences)
    rates = [judged(found.calibrator, fresh, one)[1] for one in later]
    assert found.forecast is not None
    before, after = found.forecast.worst
    assert before == hits.mean(axis=1).max()
    assert max(rates) < 0.7 * before
    assert abs(max(rates) - after) < 4 * (after / 8000) ** 0.5


def test_modes_in_different_directions_keep_their_own() -> None:
    latents = drawn(12, 0)
    hits = np.stack([above(latents, 0, 0.06), above(latents, 1, 0.05)])
    found = fit(crowd_of(hits), latents, Space((12,), "normal"), goal(modes=None))
    assert not found.facts["together"]
    own = [region.coefficients for region in found.calibrator.regions]
    assert own[0][0] > 0.95
    assert own[1][1] > 0.95


# --- probabilities


def test_less_than_the_papers_probability_is_kept_where_that_misses_the_target() -> None:
    """A mode of 30 % at p2 / p1 leaves p2 / acceptance = p2 / .7 of what is delivered, or more."""
    latents, fresh, space = drawn(2, 0), drawn(2, 1, 20_000), Space((2,), "normal")
    hits, later = latents[:, 0] > ndtri(0.7), fresh[:, 0] > ndtri(0.7)
    crowd = crowd_of(hits[None])
    found = fit(crowd, latents, space, goal(target=0.05, floor=0.5))
    assert found.facts["keep"][0] < 0.6 * keep_for(crowd, 0, 0.05)
    assert judged(found.calibrator, fresh, later)[1] < 0.05
    easy = fit(crowd, latents, space, goal(target=0.2, floor=0.5))
    assert judged(easy.calibrator, fresh, later)[1] < 0.2 + 3 * (0.16 / SAMPLES) ** 0.5


# --- refusals


@pytest.mark.parametrize(("count", "words"), [(9, "more --samples"), (995, "smaller --radius")])
def test_a_mode_of_which_too_little_is_known_is_refused(count: int, words: str) -> None:
    latents = drawn(4, 0, 1000)
    crowd = crowd_of((np.arange(1000) < count)[None])
    with pytest.raises(ConfigError, match=words):
        fit(crowd, latents, Space((4,), "normal"), goal())
