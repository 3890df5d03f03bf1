"""Regions of latents: who lies in them, and what thinning them leaves."""

from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from ganaudit.calibration.artefact import Artefact, load, save
from ganaudit.calibration.latents import Space, redraw
from ganaudit.calibration.membership import averages_to, facets_of, in_hull, separated, within
from ganaudit.calibration.regions import (
    Hull,
    LinearRegion,
    Region,
    RegionSampler,
    SubspaceHull,
)
from ganaudit.errors import ConfigError
from ganaudit.slots import Stream, noise_seeds_of

Rows = NDArray[np.float32]
PLANE = Space((2,), "normal")


def half_plane(mass: float, size: int = 2) -> LinearRegion:
    """z1 > c, of a mass under the normal prior."""
    axis = np.eye(1, size, dtype=np.float32)[0]
    return LinearRegion(coefficients=axis, threshold=float(ndtri(1 - mass)))


def disc(size: int, *, centre: float = 0.0) -> SubspaceHull:
    """A polygon about a point of the first two axes."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    facets = facets_of(np.stack([centre + np.cos(angle), np.sin(angle)], axis=1))
    assert facets is not None
    return SubspaceHull(basis=np.eye(2, size, dtype=np.float32), facets=facets)


def cloud(count: int, size: int, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def sampler(
    *regions: Region, keep: list[float], space: Space = PLANE, attempts: int = 100
) -> RegionSampler:
    return RegionSampler(space, regions, np.array(keep), attempts)


def drawn(made: RegionSampler, slots: NDArray[np.int64]) -> Any:
    seeds = noise_seeds_of(slots, seed=3, stream=Stream.SAMPLES)
    return redraw(made, made.space.draw(slots, seed=3, stream=Stream.SAMPLES), seeds)


def in_some_simplex(row: NDArray[Any], points: NDArray[Any]) -> bool:
    """By Caratheodory: in the hull of d + 1 of the points, whose weights solve an equation."""
    wanted = np.append(row, 1.0)
    for some in combinations(points.astype(np.float64), points.shape[1] + 1):
        weights = np.linalg.solve(np.vstack([np.array(some).T, np.ones(len(some))]), wanted)
        if weights.min() >= 0:
            return True
    return False


# --- who lies in a hull


@pytest.mark.parametrize(("points", "size"), [(3, 2), (7, 2), (7, 3), (8, 4)])
def test_a_hull_is_the_union_of_its_simplices(points: int, size: int) -> None:
    corners, rows = cloud(points, size), 0.7 * cloud(60, size, seed=1)
    expected = [in_some_simplex(row, corners) for row in rows]
    assert 0 < sum(expected) < 60
    assert Hull(points=corners).inside(rows).tolist() == expected
    wide = corners.astype(np.float64)
    facets = facets_of(wide)
    assert facets is not None
    assert within(rows.astype(np.float64), facets).tolist() == expected
    assert [averages_to(wide, row) for row in rows.astype(np.float64)] == expected


def test_a_unit_square_by_hand() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
    rows = np.array([[0, 0], [0.5, 1], [0.5, 0.5], [1.001, 0.5], [-0.001, 0]], dtype=np.float32)
    assert Hull(points=corners).inside(rows).tolist() == [True, True, True, False, False]
    facets = facets_of(corners.astype(np.float64))
    assert facets is not None and len(facets) == 4  # two triangles are one side
    interval = facets_of(np.array([[0.0], [2.0], [1.0]]))
    assert interval is not None
    inside = within(np.array([[0.0], [1.5], [2.0], [2.1], [-0.1]]), interval)
    assert inside.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(("points", "size"), [(20, 2), (30, 5), (40, 64), (100, 512)])
def test_vertices_and_their_mean_are_inside_and_what_is_beyond_is_not(
    points: int, size: int
) -> None:
    corners = cloud(points, size)
    hull = Hull(points=corners)
    mean = corners.mean(axis=0)
    furthest = corners[np.linalg.norm(corners - mean, axis=1).argmax()]
    assert hull.inside(corners[:5]).all() and hull.inside(mean[None])[0]
    assert hull.inside(furthest[None])[0]
    assert not hull.inside((mean + 1.01 * (furthest - mean))[None])[0]


@pytest.mark.parametrize(("points", "size"), [(5, 2), (6, 4), (8, 4), (12, 5)])
def test_the_origin_lies_in_a_gaussian_hull_as_often_as_wendel_says(points: int, size: int) -> None:
    trials = 300
    rng = np.random.default_rng(points * size)
    hulls = rng.standard_normal((trials, points, size))
    found = np.mean([in_hull(np.zeros((1, size)), corners)[0] for corners in hulls])
    p = 1 - sum(comb(points - 1, k) for k in range(size)) / 2 ** (points - 1)
    assert found == pytest.approx(p, abs=4 * (p * (1 - p) / trials) ** 0.5)


@pytest.mark.parametrize(("points", "size"), [(2, 2), (4, 4), (8, 8), (100, 512)])
def test_no_fresh_latent_lies_in_the_hull_of_no_more_points_than_dimensions(
    points: int, size: int
) -> None:
    assert not Hull(points=cloud(points, size)).inside(cloud(400, size, seed=1)).any()


@pytest.mark.parametrize("points", [100, 1000])
def test_a_hull_in_64_dimensions_never_fires(points: int) -> None:
    rows = cloud(4000, 64, seed=1)
    assert not Hull(points=cloud(points, 64)).inside(rows).any()


def test_a_plane_that_is_found_is_proof() -> None:
    corners = cloud(25, 6).astype(np.float64)
    corners -= corners.mean(axis=0)
    rows = 0.5 * cloud(200, 6, seed=1).astype(np.float64)
    proven = separated(rows, corners)
    inside = np.array([averages_to(corners, row) for row in rows])
    assert not (proven & inside).any()
    assert proven.sum() > 0.8 * (~inside).sum() > 0  # programs are the exception


def test_points_without_volume_have_no_facets_yet_a_hull() -> None:
    line = np.array([[0, 0], [1, 1], [2, 2]], dtype=np.float32)
    assert facets_of(line.astype(np.float64)) is None
    assert facets_of(np.zeros((3, 1))) is None
    assert facets_of(np.zeros((1, 3))) is None
    rows = np.array([[0.5, 0.5], [0.5, 0.6], [3, 3]], dtype=np.float32)
    assert Hull(points=line).inside(rows).tolist() == [True, False, False]
    one = Hull(points=line[1:2])
    assert one.inside(line).tolist() == [False, True, False]


# --- what a sampler takes


def loop_acceptance(made: RegionSampler, latents: Rows) -> list[float]:
    """Latent by latent, region by region."""
    found = []
    for row in latents.astype(np.float64):
        kept = 1.0
        for region, keep in zip(made.regions, made.keep, strict=True):
            if isinstance(region, LinearRegion):
                inside = sum(row * region.coefficients) > region.threshold
            elif isinstance(region, Hull):
                inside = in_some_simplex(row, region.points)
            else:
                x = [sum(row * direction) for direction in region.basis.astype(np.float64)]
                inside = all(sum(f[:-1] * x) + f[-1] <= 0 for f in region.facets)
            kept = min(kept, keep) if inside else kept
        found.append(kept)
    return found


def mixed() -> RegionSampler:
    hull = Hull(points=2 * cloud(9, 4, seed=5))
    regions = (half_plane(0.4, 4), disc(4), hull, LinearRegion(
        coefficients=np.array([0, 0, 1, -1], dtype=np.float32), threshold=0.5
    ))  # fmt: skip
    return sampler(*regions, keep=[0.3, 0.4, 0.05, 0.6], space=Space((2, 2), "normal"))


def test_where_regions_overlap_the_least_probability_holds() -> None:
    made, latents = mixed(), cloud(150, 4, seed=2)
    found = made.acceptance(latents)
    assert set(found.tolist()) == {0.3, 0.4, 0.05, 0.6, 1.0}
    assert found.tolist() == loop_acceptance(made, latents)


@pytest.mark.parametrize(("mass", "keep"), [(0.1, 0.05), (0.3, 0.5), (0.5, 0.0)])
def test_thinning_a_mass_leaves_what_the_formula_says(mass: float, keep: float) -> None:
    n = 30_000
    made = sampler(half_plane(mass), keep=[keep])
    found = drawn(made, np.arange(n))
    accepted = 1 - mass * (1 - keep)
    left = mass * keep / accepted
    inside = made.regions[0].inside(found.latents).mean()
    assert inside == pytest.approx(left, abs=4 * (left * (1 - left) / n) ** 0.5)
    # Proposals are counted: n of them are taken in n / accepted.
    error = 4 * (accepted * (1 - accepted) / n) ** 0.5
    assert n / found.attempts.sum() == pytest.approx(accepted, abs=error)
    assert found.taken.all()


def test_outside_of_the_region_the_prior_keeps_its_shape() -> None:
    n = 30_000
    made = sampler(half_plane(0.3), keep=[0.0])
    found = drawn(made, np.arange(n)).latents
    other = found[:, 1]  # independent of the region: still N(0, 1)
    assert abs(other.mean()) < 4 / n**0.5 and abs(other.var() - 1) < 4 * (2 / n) ** 0.5
    below = (found[:, 0] < ndtri(0.35)).mean()  # half of the mass .7 that is left
    assert below == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)


def test_the_last_proposal_is_taken_in_any_case() -> None:
    n, mass = 20_000, 0.5
    found = drawn(sampler(half_plane(mass), keep=[0.0], attempts=3), np.arange(n))
    missed = 1 - found.taken.mean()
    assert missed == pytest.approx(mass**3, abs=4 * (mass**3 * (1 - mass**3) / n) ** 0.5)
    assert (half_plane(mass).inside(found.latents) == ~found.taken).all()
    assert found.attempts.max() == 3


def test_a_probability_of_one_changes_no_bit() -> None:
    made = sampler(half_plane(0.4), disc(2), keep=[1.0, 1.0])
    slots = np.arange(500)
    found = drawn(made, slots)
    ordinary = PLANE.draw(slots, seed=3, stream=Stream.SAMPLES)
    assert found.latents.tobytes() == ordinary.tobytes() and (found.attempts == 1).all()


@pytest.mark.parametrize("size", [2, 512])
def test_a_slot_is_the_same_whatever_its_batch(size: int) -> None:
    space = Space((size,), "normal")
    rng = np.random.default_rng(0)
    oblique = rng.standard_normal(size).astype(np.float32)
    region = LinearRegion(coefficients=oblique, threshold=0.1)
    made = sampler(region, disc(size), Hull(points=cloud(20, size)), keep=[0.3, 0.2, 0.1],
                   space=space)  # fmt: skip
    whole = drawn(made, np.arange(300))
    for some in (np.arange(130, 131), np.arange(299, -1, -7), np.array([5, 250, 5])):
        found = drawn(made, some)
        assert found.latents.tobytes() == whole.latents[some].tobytes()
        assert (found.attempts == whole.attempts[some]).all()
    # Nor does a score change in its last bit.
    latents = space.draw(np.arange(300), seed=1, stream=Stream.SAMPLES)
    tied = LinearRegion(
        coefficients=oblique, threshold=float(latents[7].astype(float) @ oblique.astype(float))
    )
    assert tied.inside(latents[7:8])[0] == tied.inside(latents)[7] == tied.inside(latents[3:9])[4]


# --- as a file


def about(made: RegionSampler) -> Artefact:
    return Artefact(
        calibrator=made, method="importance", generator={}, descriptor=None, run={}, about={}
    )


def test_a_sampler_returns_from_its_file(tmp_path: Path) -> None:
    made = mixed()
    written = replace(about(made), sha256=save(tmp_path / "calibrator.json", about(made)))
    found = load(tmp_path)
    assert found.sample(40, seed=9).tobytes() == written.sample(40, seed=9).tobytes()
    back = found.calibrator
    assert isinstance(back, RegionSampler) and back.settings() == made.settings()
    assert back.settings()["regions"] == ["linear", "subspace-hull", "hull", "linear"]
    latents = cloud(100, 4)
    assert back.acceptance(latents).tolist() == made.acceptance(latents).tolist()


def parts() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    made = mixed()
    return dict(made.settings()), dict(made.arrays())


def restored(settings: Any, arrays: Any, space: Space | None = None) -> RegionSampler:
    return RegionSampler.restore(space or Space((4,), "normal"), 10, settings, arrays)


@pytest.mark.parametrize(
    "names",
    [[], ["linear"] * 65, "linear", None, {}, ["ring"], [3], [["linear"]], ["hull"] * 4],
)
def test_regions_that_cannot_be_are_refused(names: Any) -> None:
    _, arrays = parts()
    with pytest.raises((ValueError, KeyError)):
        restored({"regions": names}, arrays)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keep", np.array([0.5, 0.5, 0.5, 1.1])),
        ("keep", np.array([0.5, 0.5, 0.5, -0.1])),
        ("keep", np.array([0.5, 0.5, 0.5, np.nan])),
        ("keep", np.full(4, 0.5, dtype=np.float32)),
        ("keep", np.array([0.5])),
        ("keep", np.array(0.5)),
        ("coefficients", np.zeros((2, 3), dtype=np.float32)),
        ("coefficients", np.zeros((1, 4), dtype=np.float32)),
        ("coefficients", np.zeros((2, 4))),
        ("coefficients", np.full((2, 4), np.inf, dtype=np.float32)),
        ("coefficients", np.full((2, 4), 1e7, dtype=np.float32)),
        ("thresholds", np.zeros(3)),
        ("thresholds", np.array([0, np.nan])),
        ("thresholds", np.zeros(2, dtype=np.int64)),
        ("basis-1", np.zeros((2, 5), dtype=np.float32)),
        ("basis-1", np.zeros((0, 4), dtype=np.float32)),
        ("basis-1", np.zeros((7, 4), dtype=np.float32)),
        ("facets-1", np.zeros((5, 2))),
        ("facets-1", np.zeros((0, 3))),
        ("facets-1", np.zeros((65_537, 3))),
        ("facets-1", np.full((5, 3), np.nan)),
        ("points-2", np.zeros((0, 4), dtype=np.float32)),
        ("points-2", np.zeros((1025, 4), dtype=np.float32)),
        ("points-2", np.zeros((5, 4, 1), dtype=np.float32)),
        ("points-2", np.full((5, 4), np.nan, dtype=np.float32)),
    ],
)
def test_arrays_that_cannot_be_are_refused(name: str, value: NDArray[Any]) -> None:
    settings, arrays = parts()
    assert restored(settings, arrays).keep.tolist() == arrays["keep"].tolist()
    with pytest.raises(ValueError):
        restored(settings, arrays | {name: value})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    settings, arrays = parts()
    for name in arrays:
        rest = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(KeyError, match=name):
            restored(settings, rest)
    with pytest.raises(KeyError, match="regions"):
        restored({}, arrays)
    with pytest.raises(ValueError, match="the file names none"):
        RegionSampler.restore(None, 10, settings, arrays)
    many = np.zeros((1024, 1025), dtype=np.float32)
    with pytest.raises(ValueError, match="at most 1,048,576 values"):
        restored(
            {"regions": ["hull"]}, {"keep": np.ones(1), "points-0": many}, Space((1025,), "normal")
        )
    made = sampler(half_plane(0.5), keep=[0.5])
    save(tmp_path / "calibrator.json", about(made))
    text = (tmp_path / "calibrator.json").read_text()
    (tmp_path / "calibrator.json").write_text(text.replace('"linear"', '"round"'))
    with pytest.raises(ConfigError, match="holds no regions calibrator: a region must be linear"):
        load(tmp_path)
