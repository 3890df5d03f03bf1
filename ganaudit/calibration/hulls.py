"""Convex hulls of a mode's neighbours, in a few directions or in the full space of latents.

In the full space of many dimensions a hull is empty for every purpose: no fresh latent falls in it.
In the few directions in which a mode's neighbours differ from the prior it follows curved modes
that no half-space does.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd
from ganaudit.calibration.halfspaces import FOLDS, Direction, prior_draws
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.membership import facets_of, within
from ganaudit.calibration.regions import Hull, SubspaceHull, scores

MOST_DIRECTIONS = 4
POINTS = 100  # of a full hull: the paper's "top 10^2"
_LEVELS = 20
_NEIGHBOURS = 50  # by which the density of the mode is smoothed
_DRAWS = 2**14

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class NestedHulls:
    """Hulls of more and more of a mode's neighbours, those in dense places first.

    Attributes:
      latents: [N, size] of the samples.
      hits: [N] bool, the mode's neighbours.
      linear: the mode's direction.
      space: where the latents live.
      seed: of the folds and of fresh draws.
    """

    latents: Latents
    hits: NDArray[np.bool_]
    linear: Direction
    space: Space
    seed: int

    @cached_property
    def depth(self) -> _Array:
        """[N]: mass of the smallest hull, of other samples, that holds each sample; inf: none.

        Between one of 20 hulls and the next the order is drawn by lot.
        """
        rng = np.random.default_rng(self.seed)
        fold, lot = rng.permutation(len(self.hits)) % FOLDS, rng.random(len(self.hits))
        depth = np.full(len(self.hits), np.inf)
        for one in range(FOLDS):
            part, rest = np.flatnonzero(fold == one), np.flatnonzero(fold != one)
            nest = self._nest(rest)
            level = nest.levels(self._places(nest.basis, part))
            order = np.lexsort((lot[part], level))[: int((level < _LEVELS).sum())]
            depth[part[order]] = np.arange(1, len(order) + 1) / len(part)
        return depth

    def region(self, mass: float) -> tuple[SubspaceHull | None, float]:
        """The largest hull of no more than some mass, and its measured mass; None: there is none.

        The mass is measured on 16,384 fresh draws of the prior.
        """
        nest = self._nest(np.arange(len(self.hits)))
        drawn = scores(prior_draws(self.space, 0, _DRAWS, seed=self.seed), nest.basis)
        low, high = 0, len(nest.points)  # points of a hull that is small enough
        best: tuple[NDArray[np.float64] | None, float] = None, 0.0
        while low < high:
            middle = (low + high + 1) // 2
            facets = facets_of(nest.points[:middle])
            found = 0.0 if facets is None else float(within(drawn, facets).mean())
            if found <= mass:
                low = middle
                best = (facets, found) if facets is not None else best
            else:
                high = middle - 1
        if best[0] is None:
            return None, 0.0
        return SubspaceHull(basis=nest.basis, facets=best[0]), best[1]

    def _nest(self, rows: NDArray[np.intp]) -> "_Nest":
        """The neighbours among some samples, those in dense places first."""
        from scipy.spatial import cKDTree

        hits = self.hits[rows]
        basis = subspace(self.latents[rows], hits, self.linear)
        places = self._places(basis, rows)
        points = places[hits]
        count = min(_NEIGHBOURS, len(places))
        _, nearest = cKDTree(places).query(points, k=count)
        density = hits[np.reshape(nearest, (len(points), count))].mean(axis=1)
        return _Nest(basis, points[np.argsort(-density, kind="stable")])

    def _places(self, basis: NDArray[np.float32], rows: NDArray[np.intp]) -> _Array:
        """Coordinates of some samples in a subspace; the linear one is as if they were fresh."""
        places = scores(self.latents[rows], basis)
        if self.linear.tells:
            places[:, 0] = self.linear.held_out[rows]
        return places


@dataclass(frozen=True)
class _Nest:
    """A subspace, and the neighbours' places in it, those in dense places first."""

    basis: NDArray[np.float32]  # [k, size]
    points: _Array  # [h, k]

    def levels(self, places: _Array) -> NDArray[np.int64]:
        """The first of 20 nested hulls that holds each place [N, k]; 20: none."""
        found = np.full(len(places), _LEVELS, dtype=np.int64)
        for level in reversed(range(_LEVELS)):
            facets = facets_of(self.points[: (level + 1) * len(self.points) // _LEVELS])
            if facets is None:
                break
            found[within(places, facets)] = level
        return found


def subspace(latents: Latents, hits: NDArray[np.bool_], linear: Direction) -> NDArray[np.float32]:
    """Up to 4 orthonormal directions in which the neighbours differ: [k, size] float32.

    The linear one first, if it tells anything; then those in which the variance of the neighbours
    differs most from all samples', as far as it does by more than chance (the edges of Marchenko
    and Pastur, 1967).

    Args:
      latents: [N, size].
      hits: [N] bool, the mode's neighbours, at least one.
      linear: the mode's direction.
    """
    scale = float(latents.std())
    near = latents[hits].astype(np.float64)
    near -= near.mean(axis=0)
    first = linear.coefficients.astype(np.float64)
    told = linear.tells
    if told:
        near -= np.outer(near @ first, first)
    _, values, directions = np.linalg.svd(near, full_matrices=len(near) < near.shape[1] <= 64)
    values = np.append(values, np.zeros(len(directions) - len(values)))
    ratio = values**2 / max(1, len(near) - 1) / scale**2
    edge = (near.shape[1] / len(near)) ** 0.5
    if told:  # the direction that was taken out has no variance left
        across = np.abs(directions @ first) < 0.5
        directions, ratio = directions[across], ratio[across]
    surprise = np.abs(np.log(np.maximum(ratio, 1e-12)))
    beyond = (ratio > (1 + edge) ** 2) | (ratio < max(0.0, 1 - edge) ** 2)
    room = MOST_DIRECTIONS - told
    order = np.argsort(-surprise, kind="stable")
    kept = [index for index in order if beyond[index]][:room]
    if not told and not kept:
        kept = list(order[:2])
    basis = directions[kept]
    return np.asarray(np.vstack([first[None], basis] if told else [basis]), dtype=np.float32)


def full_hull(crowd: Crowd, latents: Latents, mode: int) -> tuple[Hull, NDArray[np.bool_]]:
    """The hull of the 100 samples nearest to a mode, and which samples it holds: [N].

    Whether it holds one of those that it is made of is judged by the hull of the others.
    """
    nearness = crowd.rows.astype(np.float64) @ crowd.anchors[mode].astype(np.float64)
    nearness[~crowd.hits[mode]] = -np.inf
    most = min(POINTS, int(crowd.hits[mode].sum()))
    chosen = np.argsort(-nearness, kind="stable")[:most]
    hull = Hull(points=latents[chosen])
    inside = hull.inside(latents)
    for index, sample in enumerate(chosen):
        others = Hull(points=np.delete(hull.points, index, axis=0))
        inside[sample] = others.inside(latents[[sample]])[0]
    return hull, inside
