"""Points of the plane whose modes are known: what a GAN has learned of them can be counted.

Ring and grid are those of AdvLatGAN's experiments (first submission, appendix), nine Gaussians
those of RealnessGAN, which AdaptiveMix uses too; of AdaptiveMix's three circles no source is
public, so radii and width here are ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SEED = 20_250
_FRACTION = 0.25  # of an equal share: what a mode has to get to be covered
_SECTORS = 8  # of a circle: each is a mode of its own


@dataclass(frozen=True)
class Toy:
    """A distribution in the plane and a sample of it.

    Attributes:
      name: as `--data toy:NAME` has it.
      points: [N, 2] float32.
      centres: [K, 2] float64 of its modes; of circles, points on them a sector each.
      good: a point is good within this distance of the support: of a centre, or of a circle.
      radii: of circles around the origin; empty: modes are Gaussians.
      extent: half the side of a window around the origin that shows all of it.
    """

    name: str
    points: NDArray[np.float32]
    centres: NDArray[np.float64]
    good: float
    radii: tuple[float, ...] = ()
    extent: float = 3.0


@dataclass(frozen=True)
class Covered:
    """What generated points are of a toy.

    Attributes:
      modes: that have at least a quarter of an equal share of all points as good points.
      of: modes that there are.
      good: share of points that are good.
      largest: share of good points that the most frequent mode has.
    """

    modes: int
    of: int
    good: float
    largest: float


def ring(*, points: int = 20_000, spread: float = 0.02, seed: int = _SEED) -> Toy:
    """Eight Gaussians on a circle of radius 2; AdvLatGAN's have a spread of .001."""
    angles = np.arange(8) * np.pi / 4
    centres = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _gaussians("ring", centres, points, spread, seed, extent=3.0)


def grid(*, points: int = 20_000, spread: float = 0.05, seed: int = _SEED) -> Toy:
    """Twenty-five Gaussians at (2 i, 2 j), i and j from -2 to 2; AdvLatGAN's spread is .0025."""
    places = np.arange(-2, 3) * 2.0
    centres = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    return _gaussians("grid", centres, points, spread, seed, extent=5.5)


def nine_gaussians(*, points: int = 20_000, spread: float = 0.1, seed: int = _SEED) -> Toy:
    """Nine Gaussians at (2 i, 2 j), i and j from -1 to 1."""
    places = np.arange(-1, 2) * 2.0
    centres = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    return _gaussians("nine-gaussians", centres, points, spread, seed, extent=3.5)


def three_circles(*, points: int = 20_000, spread: float = 0.03, seed: int = _SEED) -> Toy:
    """Three circles of radii 1, 2 and 3 around the origin, as many points on each."""
    rng = np.random.default_rng(seed)
    radii = (1.0, 2.0, 3.0)
    angles = rng.uniform(0, 2 * np.pi, points)
    lengths = np.asarray(radii)[np.arange(points) % 3] + spread * rng.standard_normal(points)
    drawn = lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    middles = (np.arange(_SECTORS) + 0.5) * 2 * np.pi / _SECTORS
    around = np.stack([np.cos(middles), np.sin(middles)], axis=1)
    centres = np.concatenate([radius * around for radius in radii])
    return Toy("three-circles", drawn.astype(np.float32), centres, 3 * spread, radii, extent=4.0)


TOYS: Mapping[str, Callable[[], Toy]] = {
    "ring": ring,
    "grid": grid,
    "nine-gaussians": nine_gaussians,
    "three-circles": three_circles,
}


def covered(points: NDArray[np.float32], toy: Toy) -> Covered:
    """How many modes generated points reach, and how many of them lie on the support.

    A point is good within 3 spreads of the nearest centre (or circle), as toy experiments count
    it. A mode is covered by a quarter of its equal share: N / (4 K) good points, at least one.

    Args:
      points: [N, 2] float32, N >= 1.
      toy: what they shall be like.
    """
    apart = np.linalg.norm(points[:, None, :] - toy.centres[None], axis=2)  # [N, K]
    nearest = apart.argmin(axis=1)
    off = apart.min(axis=1)
    if toy.radii:
        lengths = np.linalg.norm(points, axis=1)
        rings = np.abs(lengths[:, None] - np.asarray(toy.radii)[None])  # [N, circles]
        off, which = rings.min(axis=1), rings.argmin(axis=1)
        angles = np.mod(np.arctan2(points[:, 1], points[:, 0]), 2 * np.pi)
        sector = np.minimum((angles / (2 * np.pi) * _SECTORS).astype(int), _SECTORS - 1)
        nearest = which * _SECTORS + sector
    good = off <= toy.good
    counts = np.bincount(nearest[good], minlength=len(toy.centres))
    least = max(1.0, _FRACTION * len(points) / len(toy.centres))
    largest = float(counts.max() / counts.sum()) if counts.sum() else 0.0
    return Covered(int((counts >= least).sum()), len(toy.centres), float(good.mean()), largest)


def _gaussians(
    name: str,
    centres: NDArray[np.float64],
    points: int,
    spread: float,
    seed: int,
    *,
    extent: float,
) -> Toy:
    rng = np.random.default_rng(seed)
    chosen = centres[np.arange(points) % len(centres)]
    drawn = chosen + spread * rng.standard_normal((points, 2))
    return Toy(name, drawn.astype(np.float32), centres, 3 * spread, extent=extent)
