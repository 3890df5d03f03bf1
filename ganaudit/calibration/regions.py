"""Latents by region: the prior, thinned in a few regions of the latent space.

NumPy alone; SciPy's linear programs and hulls are imported where a hull needs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import products
from ganaudit.calibration.latents import Latents, Space

MOST_REGIONS = 64
MOST_DIMENSIONS = 6  # of a subspace: the facets of a hull multiply with them
MOST_POINTS, MOST_FACETS = 1024, 65_536
_FEW_DIMENSIONS = 3  # of latents in which a hull has no more than 2 facets a point
_FURTHEST = 1e6
_TOLERANCE = 1e-9  # relative to the size of a hull
_LP_TOLERANCE = 1e-6  # likewise; a float32 coordinate has 6e-8
_STEPS = 64
_BLOCK = 1024


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

        z is inside if weights >= 0 of sum 1 exist with which the points average to z: a linear
        program, which is solved only where no separating plane is found first.
        """
        points = self.points.astype(np.float64)
        if points.shape[1] <= _FEW_DIMENSIONS and (facets := facets_of(points)) is not None:
            return within(latents.astype(np.float64), facets)
        centre = points.mean(axis=0)
        points, rows = points - centre, latents.astype(np.float64) - centre
        found = np.zeros(len(rows), dtype=np.bool_)
        for index in np.flatnonzero(~_separated(rows, points)):
            found[index] = _averages_to(points, rows[index])
        return found


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
            within = scores(latents, planes) > thresholds  # [N, planes]
            taken = np.where(within, keep, 1.0).min(axis=1)
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
                points = arrays[f"points-{index}"]
                _check(points, np.float32, (None, space.size), "points", rows=MOST_POINTS)
                regions.append(Hull(points=points))
            else:
                raise ValueError(f"a region must be linear, subspace-hull or hull: {name!r:.40}")
        return cls(space, tuple(regions), keep, attempts)


def scores(latents: Latents, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Products with some directions: [N, size] and [k, size] to [N, k], row by row."""
    return products(latents.astype(np.float64), directions.astype(np.float64))


def within(points: NDArray[np.float64], facets: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no facet leaves out: [N, k] and [f, k + 1] to [N]."""
    found = np.empty(len(points), dtype=np.bool_)
    for first in range(0, len(points), _BLOCK):
        heights = products(points[first : first + _BLOCK], facets[:, :-1]) + facets[:, -1]
        found[first : first + _BLOCK] = (heights <= 0).all(axis=1)
    return found


def facets_of(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The hull of points [h, k] as `SubspaceHull.facets`; None: they have no volume.

    Each facet lies outward by a billionth of the hull's size, so that the points are inside.
    """
    from scipy.spatial import ConvexHull, QhullError

    slack = _TOLERANCE * float(np.abs(points).max(initial=0))
    if points.shape[1] == 1:
        low, high = float(points.min()), float(points.max())
        facets = np.array([[-1.0, low], [1.0, -high]])
        return facets - [0, slack] if low < high else None
    try:
        facets = np.unique(ConvexHull(points).equations, axis=0)
    except QhullError:
        return None
    facets[:, -1] -= slack
    return facets


def _separated(rows: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that some plane divides from all points: a true one is proven, a false one is open.

    Walks towards each row within the hull (Frank and Wolfe, 1956): x the point reached, d = row -
    x. If even the furthest of the points along d falls short of the row, the plane is found.
    """
    square = points @ points.T  # [h, h]
    along = products(rows, points)  # [N, h]
    length = (rows * rows).sum(axis=1)
    found = np.zeros(len(rows), dtype=np.bool_)
    left = np.arange(len(rows))
    here = np.zeros_like(along)  # x . points; x starts at their mean, the origin
    size, toward = np.zeros(len(rows)), np.zeros(len(rows))  # x . x and x . row
    margin = _TOLERANCE * (length + square.diagonal().max())
    for _ in range(_STEPS):
        furthest = (along[left] - here).argmax(axis=1)
        each = np.arange(len(left))
        ahead = along[left, furthest] - here[each, furthest]  # the most of d . points
        proven = ahead < length[left] - toward - margin[left]
        found[left[proven]] = True
        stay = ~proven
        left, here, furthest = left[stay], here[stay], furthest[stay]
        size, toward, ahead = size[stay], toward[stay], ahead[stay]
        if not len(left):
            break
        own = here[np.arange(len(left)), furthest]
        stretch = np.maximum(square[furthest, furthest] - 2 * own + size, 1e-300)
        step = np.clip((ahead - toward + size) / stretch, 0, 1)
        rest = 1 - step
        size = rest**2 * size + 2 * step * rest * own + step**2 * square[furthest, furthest]
        toward = rest * toward + step * along[left, furthest]
        here = rest[:, None] * here + step[:, None] * square[furthest]
    return found


def _averages_to(points: NDArray[np.float64], row: NDArray[np.float64]) -> bool:
    """Whether weights >= 0 of sum 1 exist with weights @ points = row, as float32 can say it.

    Least t with |weights @ points - row| <= t in every coordinate; inside if t is no more than a
    millionth of the hull's size. An equation instead of t would turn on the last bit of a row.
    """
    from scipy.optimize import linprog

    scale = max(float(np.abs(points).max()), 1e-30)
    sides, target = points.T / scale, row / scale
    slack = np.full((len(row), 1), -1.0)
    found = linprog(
        np.append(np.zeros(len(points)), 1.0),
        A_ub=np.block([[sides, slack], [-sides, slack]]),
        b_ub=np.concatenate([target, -target]),
        A_eq=np.append(np.ones(len(points)), 0.0)[None],
        b_eq=[1.0],
        method="highs",
    )
    return bool(found.status == 0 and found.fun <= _LP_TOLERANCE)


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
