"""Latents by cell: the prior, thinned in some cells of a K-means, or a mixture of Gaussians.

NumPy alone; torch is not imported. Cells are of the latents as they are; Gaussians live in the
coordinates of `Space.to_normal`, in which the prior is N(0, I) (a spherical one: a sphere of radius
sqrt(size), which has the same mean and covariance).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.latents import Latents, Space

MOST_CELLS = 4096
_FURTHEST = 1e4  # of any coordinate of a centre or mean
_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class CellSampler:
    """The prior, each draw taken with the probability of the cell that it falls in.

    Exact: within a cell the prior keeps its shape, whatever that is.

    Attributes:
      space: where the latents live.
      centres: [K, size] float32; a latent's cell is its nearest centre's, the first of several.
      keep: [K] float64 in [0, 1], the probability by cell.
      attempts: M, proposals of a slot at most; the last one is taken in any case.
    """

    space: Space
    centres: NDArray[np.float32]
    keep: NDArray[np.float64]
    attempts: int

    def propose(self, latents: Latents, lots: NDArray[np.float64]) -> Latents:
        """The draws themselves: [N, size]."""
        return latents

    def acceptance(self, latents: Latents) -> NDArray[np.float64]:
        """The probability that a proposal is taken: [N, size] to [N] in [0, 1]."""
        return self.keep[nearest(latents, self.centres)]

    def settings(self) -> Mapping[str, Any]:
        """None: the arrays say it all."""
        return {}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """With `space` and `attempts`, they make the same sampler."""
        return {"centres": self.centres, "keep": self.keep}

    @classmethod
    def restore(
        cls,
        space: Space | None,
        attempts: int,
        settings: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> "CellSampler":
        """The sampler that a file holds.

        Raises:
          ValueError: a value cannot be.
          KeyError: one is missing.
        """
        centres, keep = arrays["centres"], arrays["keep"]
        space = _check_points(space, centres, "centres")
        _check_shares(keep, len(centres), "keep")
        return cls(space=space, centres=centres, keep=keep, attempts=attempts)


@dataclass(frozen=True, kw_only=True)
class MixtureSampler:
    """A mixture of K Gaussians of one common covariance W; every draw is taken.

    A draw from the prior becomes means[k] + W**.5 x, k by the weights. W is the identity but in a
    few directions, so that a row costs O(size * directions). A spherical prior's draw is brought
    back to the sphere; those of a uniform and a truncated one keep within their support.

    Attributes:
      space: where the latents live.
      weights: [K] float64, >= 0, sum 1.
      means: [K, size] float32 in normal coordinates.
      directions: [r, size] float32 orthonormal rows, the directions in which W is not 1.
      scales: [r] float64 in [0, 1], the standard deviation in each of them.
      attempts: no bound on anything: the first proposal is taken.
    """

    space: Space
    weights: NDArray[np.float64]
    means: NDArray[np.float32]
    directions: NDArray[np.float32]
    scales: NDArray[np.float64]
    attempts: int

    def propose(self, latents: Latents, lots: NDArray[np.float64]) -> Latents:
        """Draws from the prior to draws from the mixture, row by row: [N, size].

        A single Gaussian that is the prior leaves them as they are, bit by bit.

        Args:
          latents: [N, size] draws from the prior.
          lots: [N] uniform in (0, 1): they choose the component.
        """
        if not self.means.any() and not len(self.directions):
            return latents
        reached = np.cumsum(self.weights)
        component = np.searchsorted(reached / reached[-1], lots, side="right")
        normal = self.space.to_normal(latents)
        directions = self.directions.astype(np.float64)
        along = products(normal, directions) * (self.scales - 1)  # [N, r]
        return self.space.from_normal(
            normal + products(along, directions.T) + self.means[component].astype(np.float64)
        )

    def acceptance(self, latents: Latents) -> NDArray[np.float64]:
        """One: every proposal is taken: [N]."""
        return np.ones(len(latents))

    def settings(self) -> Mapping[str, Any]:
        """None: the arrays say it all."""
        return {}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """With `space` and `attempts`, they make the same sampler."""
        return {
            "weights": self.weights,
            "means": self.means,
            "directions": self.directions,
            "scales": self.scales,
        }

    @classmethod
    def restore(
        cls,
        space: Space | None,
        attempts: int,
        settings: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> "MixtureSampler":
        """The sampler that a file holds.

        Raises:
          ValueError: a value cannot be.
          KeyError: one is missing.
        """
        weights, means = arrays["weights"], arrays["means"]
        directions, scales = arrays["directions"], arrays["scales"]
        space = _check_points(space, means, "means")
        _check_shares(weights, len(means), "weights")
        if abs(weights.sum() - 1) > 1e-6:
            raise ValueError("weights must sum to 1")
        shape = directions.shape
        if directions.dtype != np.float32 or len(shape) != 2 or shape[1] != space.size:
            raise ValueError(f"directions must be float32 [r, {space.size}]")
        if shape[0] > min(MOST_CELLS, space.size):
            raise ValueError(f"at most {min(MOST_CELLS, space.size):,} directions are possible")
        _check_shares(scales, shape[0], "scales")
        if shape[0] and not np.abs(directions).max() <= 1.001:
            raise ValueError("directions must have length 1")
        square = directions.astype(np.float64) @ directions.T.astype(np.float64)
        if not np.allclose(square, np.eye(shape[0]), atol=1e-3):
            raise ValueError("directions must be orthonormal")
        return cls(
            space=space,
            weights=weights,
            means=means,
            directions=directions,
            scales=scales,
            attempts=attempts,
        )


def nearest(points: NDArray[np.floating[Any]], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """The nearest centre of each point, the first of several: [N, d] and [K, d] to [N]."""
    wide = centres.astype(np.float64)
    height = products(points, wide) - (wide * wide).sum(axis=1) / 2  # |x|^2 / 2 - |x - c|^2 / 2
    return np.asarray(height.argmax(axis=1))


def products(rows: NDArray[np.floating[Any]], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The products of rows: [N, d] and [K, d] to [N, K]; a row's result depends on that row alone.

    A matrix product rounds otherwise for other numbers of rows, so each is one of 64 rows.
    """
    found = np.empty((len(rows), len(others)))
    block = np.zeros((_BLOCK, rows.shape[1]))
    for first in range(0, len(rows), _BLOCK):
        some = rows[first : first + _BLOCK]
        block[: len(some)] = some
        found[first : first + _BLOCK] = (block @ others.T)[: len(some)]
    return found


def _check_points(space: Space | None, points: NDArray[Any], name: str) -> Space:
    if space is None:
        raise ValueError("it is of latents, and the file names none")
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != space.size:
        raise ValueError(f"{name} must be float32 [K, {space.size}]")
    if not 1 <= len(points) <= MOST_CELLS:
        raise ValueError(f"{name} must be 1 to {MOST_CELLS:,} rows, got {len(points):,}")
    if not np.abs(points).max() <= _FURTHEST:
        raise ValueError(f"{name} must be within {_FURTHEST:g} of the origin")
    return space


def _check_shares(shares: NDArray[Any], count: int, name: str) -> None:
    if shares.dtype != np.float64 or shares.shape != (count,):
        raise ValueError(f"{name} must be float64 [{count}]")
    if count and not (shares.min() >= 0 and shares.max() <= 1):
        raise ValueError(f"{name} must be in [0, 1]")
