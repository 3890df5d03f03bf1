"""Latents by region: the prior, thinned in a few regions of the latent space.

NumPy alone; torch and scikit-learn are not imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import products
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.membership import in_hull, within

MOST_REGIONS = 64
MOST_DIMENSIONS = 6  # of a subspace: the facets of a hull multiply with them
MOST_POINTS, MOST_FACETS = 1024, 65_536
_MOST_VALUES = 2**20  # of the points of a hull
_FURTHEST = 1e6


@dataclass(frozen=True, kw_only=True)
class LinearRegion:
    """A half-space: the latents of which the score z . coefficients exceeds a threshold.

    Attributes:
      coefficients: [size] float32.
      threshold: of the score.
    """

    coefficients: NDArray[np.float32]
    threshold: float

    def inside(self, latents: Latents) -> NDArray[np.bool_]:
        """Which latents lie in it: [N, size] to [N]."""
        return (scores(latents, self.coefficients[None]) > self.threshold)[:, 0]


@dataclass(frozen=True, kw_only=True)
class SubspaceHull:
    """The latents whose projection on a few directions lies in a convex hull.

    Attributes:
      basis: [k, size] float32, the directions, 1 <= k <= 6.
      facets: [f, k + 1] float64; x is inside where facets[:, :k] . x + facets[:, k] <= 0.
    """

    basis: NDArray[np.float32]
    facets: NDArray[np.float64]

    def inside(self, latents: Latents) -> NDArray[np.bool_]:
        """Which latents lie in it, its surface included: [N, size] to [N]."""
        return within(scores(latents, self.basis), self.facets)


@dataclass(frozen=True, kw_only=True)
class Hull:
    """The convex hull of some latents, in their full space (Algorithm 2).

    Hardly any fresh latent falls in it where the space has many dimensions, and none at all where
    the points are no more than the dimensions.

    Attributes:
      points: [h, size] float32.
    """

    points: NDArray[np.float32]

    def inside(self, latents: Latents) -> NDArray[np.bool_]:
        """Which latents lie in it, its surface included: [N, size] to [N].

        A linear program for each that no separating plane is found for.
        """
        return in_hull(latents.astype(np.float64), self.points.astype(np.float64))


Region = LinearRegion | SubspaceHull | Hull


@dataclass(frozen=True)
class RegionSampler:
    """The prior, each draw taken with the probability of the regions that it falls in.

    Where a latent lies in several regions, the least of their probabilities holds; one that lies
    in none is taken. Outside of them, and within each, the prior keeps its shape.

    References:
      Algorithm 2 of the paper, which has one hull; more regions, and of other kinds, are ours.

    Attributes:
      space: where the latents live.
      regions: 1 to 64.
      keep: [k] float64 in [0, 1], the probability by region.
      attempts: M, proposals of a slot at most; the last one is taken in any case.
    """

    space: Space
    regions: tuple[Region, ...]
    keep: NDArray[np.float64]
    attempts: int

    def propose(self, latents: Latents, lots: NDArray[np.float64]) -> Latents:
        """The draws themselves: [N, size]."""
        return latents

    def acceptance(self, latents: Latents) -> NDArray[np.float64]:
        """The probability that a proposal is taken: [N, size] to [N] in [0, 1]."""
        taken = np.ones(len(latents))
        planes, thresholds, keep = self._linear
        if len(planes):
            inside = scores(latents, planes) > thresholds  # [N, planes]
            taken = np.where(inside, keep, 1.0).min(axis=1)
        for region, share in zip(self.regions, self.keep, strict=True):
            if not isinstance(region, LinearRegion):
                open_ = np.flatnonzero(taken > share)
                taken[open_[region.inside(latents[open_])]] = share
        return taken

    @cached_property
    def _linear(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """All half-spaces at once: coefficients [planes, size], thresholds, probabilities."""
        found = [
            (region, share)
            for region, share in zip(self.regions, self.keep, strict=True)
            if isinstance(region, LinearRegion)
        ]
        planes = np.array([region.coefficients for region, _ in found], dtype=np.float32)
        return (
            planes.reshape(len(found), self.space.size),
            np.array([region.threshold for region, _ in found], dtype=np.float64),
            np.array([share for _, share in found], dtype=np.float64),
        )

    def settings(self) -> Mapping[str, Any]:
        """JSON values that, with `arrays`, `space` and `attempts`, make the same sampler."""
        return {"regions": [_name_of(region) for region in self.regions]}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Likewise, the arrays."""
        planes, thresholds, _ = self._linear
        found: dict[str, NDArray[Any]] = {"keep": self.keep}
        if len(planes):
            found |= {"coefficients": planes, "thresholds": thresholds}
        for index, region in enumerate(self.regions):
            if isinstance(region, SubspaceHull):
                found |= {f"basis-{index}": region.basis, f"facets-{index}": region.facets}
            elif isinstance(region, Hull):
                found |= {f"points-{index}": region.points}
        return found

    @classmethod
    def restore(
        cls,
        space: Space | None,
        attempts: int,
        settings: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> "RegionSampler":
        """The sampler that a file holds.

        Raises:
          ValueError: a value cannot be.
          KeyError: one is missing.
        """
        names, keep = settings["regions"], arrays["keep"]
        if space is None:
            raise ValueError("regions are of latents, and the file names none")
        if not isinstance(names, list) or not 1 <= len(names) <= MOST_REGIONS:
            raise ValueError(f"regions must be a list of 1 to {MOST_REGIONS}")
        _check(keep, np.float64, (len(names),), "keep", most=1)
        if keep.min() < 0:
            raise ValueError("keep must be in [0, 1]")
        planes = iter(_planes(arrays, names.count("linear"), space.size))
        regions: list[Region] = []
        for index, name in enumerate(names):
            if name == "linear":
                regions.append(next(planes))
            elif name == "subspace-hull":
                regions.append(_subspace_hull(arrays, index, space.size))
            elif name == "hull":
                regions.append(_hull(arrays, index, space.size))
            else:
                raise ValueError(f"a region must be linear, subspace-hull or hull: {name!r:.40}")
        return cls(space, tuple(regions), keep, attempts)


def scores(latents: Latents, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Products with some directions: [N, size] and [k, size] to [N, k], row by row."""
    return products(latents.astype(np.float64), directions.astype(np.float64))


def _name_of(region: Region) -> str:
    if isinstance(region, LinearRegion):
        return "linear"
    return "hull" if isinstance(region, Hull) else "subspace-hull"


def _planes(arrays: Mapping[str, NDArray[Any]], count: int, size: int) -> list[LinearRegion]:
    if not count:
        return []
    planes, thresholds = arrays["coefficients"], arrays["thresholds"]
    _check(planes, np.float32, (count, size), "coefficients")
    _check(thresholds, np.float64, (count,), "thresholds", most=np.inf)
    return [
        LinearRegion(coefficients=plane, threshold=float(threshold))
        for plane, threshold in zip(planes, thresholds, strict=True)
    ]


def _subspace_hull(arrays: Mapping[str, NDArray[Any]], index: int, size: int) -> SubspaceHull:
    basis, facets = arrays[f"basis-{index}"], arrays[f"facets-{index}"]
    _check(basis, np.float32, (None, size), "basis", rows=MOST_DIMENSIONS)
    _check(facets, np.float64, (None, len(basis) + 1), "facets", rows=MOST_FACETS)
    return SubspaceHull(basis=basis, facets=facets)


def _hull(arrays: Mapping[str, NDArray[Any]], index: int, size: int) -> Hull:
    points = arrays[f"points-{index}"]
    _check(points, np.float32, (None, size), "points", rows=MOST_POINTS)
    if points.size > _MOST_VALUES:
        raise ValueError(f"the points of a hull must have at most {_MOST_VALUES:,} values")
    return Hull(points=points)


def _check(
    array: NDArray[Any],
    dtype: type[np.floating[Any]],
    shape: tuple[int | None, ...],
    name: str,
    *,
    rows: int = MOST_REGIONS,
    most: float = _FURTHEST,
) -> None:
    """Refuse an array that cannot be; None in `shape`: 1 to `rows`."""
    if array.dtype != dtype or array.ndim != len(shape):
        raise ValueError(f"{name} must be {np.dtype(dtype)} of {len(shape)} axes")
    for found, wanted in zip(array.shape, shape, strict=True):
        if found != wanted if wanted is not None else not 1 <= found <= rows:
            raise ValueError(f"{name} has shape {list(array.shape)}, which cannot be")
    if not np.isfinite(array).all() or np.abs(array).max() > most:
        raise ValueError(f"{name} must be finite, and at most {most:g}")
