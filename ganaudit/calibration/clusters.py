"""K-means on latents: which cluster each sample of a run falls in, and what that tells of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import nearest
from ganaudit.calibration.latents import Latents, Space
from ganaudit.slots import Stream

FOLDS = 10
_MOST_LATENTS = 50_000  # that K-means gets
_OWN = 2**62  # the slot of the first of them: no run comes that far
_ROUNDS = 100
_BLOCK = 4096

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clusters:
    """Clusters of latents, and where the samples of a run fall.

    The centres come from latents of their own, as many as the run has up to 50,000. So no centre
    was drawn towards a sample of the run, and what holds for these holds for fresh ones.

    Attributes:
      centres: [K, size] float32.
      own: [N] int64, the cluster of each sample.
      fold: [N] int64 in [0, 10): the samples of a fold are judged by those of the others.
      explained: share of the samples' variance that is between clusters.
    """

    centres: NDArray[np.float32]
    own: NDArray[np.int64]
    fold: NDArray[np.int64]
    explained: float

    @classmethod
    def of(
        cls, latents: Latents, space: Space, *, normal: bool, clusters: int, seed: int
    ) -> "Clusters":
        """K-means (k-means++, one start, 100 rounds), and the clusters of the run's latents.

        Args:
          latents: [N, size] of the run.
          space: where they live.
          normal: cluster them in normal coordinates, or as they are.
          clusters: K.
          seed: of the latents that K-means gets, of its start, and of the folds.
        """
        from sklearn.cluster import KMeans

        slots = _OWN + np.arange(max(clusters, min(len(latents), _MOST_LATENTS)))
        others = space.draw(slots, seed=seed, stream=Stream.SAMPLES)
        if normal:
            others = space.to_normal(others).astype(np.float32)
        kmeans = KMeans(clusters, n_init=1, max_iter=_ROUNDS, random_state=seed % 2**32)
        centres = kmeans.fit(others).cluster_centers_.astype(np.float32)
        own, squares = np.empty(len(latents), dtype=np.int64), 0.0
        sums = np.zeros((clusters, space.size))
        for first in range(0, len(latents), _BLOCK):
            points = latents[first : first + _BLOCK].astype(np.float64)
            if normal:
                points = space.to_normal(latents[first : first + _BLOCK])
            some = own[first : first + _BLOCK] = nearest(points, centres)
            for cluster in np.unique(some):
                sums[cluster] += points[some == cluster].sum(axis=0)
            squares += float((points * points).sum())
        fold = np.random.default_rng(seed).permutation(len(latents)) % FOLDS
        sizes = np.bincount(own, minlength=clusters).astype(np.float64)
        return cls(centres, own, fold, variance_between(sizes, sums, squares))

    @property
    def shares(self) -> _Array:
        """Of the samples, by cluster: [K], sum 1."""
        return np.asarray(np.bincount(self.own, minlength=len(self.centres)) / len(self.own))

    def by_fold(self, part: NDArray[np.bool_] | None = None) -> _Array:
        """How many samples, of those in a part [N] or of all, by fold and cluster: [10, K]."""
        shape = FOLDS, len(self.centres)
        place = self.fold * shape[1] + self.own
        found = np.bincount(place if part is None else place[part], minlength=shape[0] * shape[1])
        return found.reshape(shape).astype(np.float64)


def variance_between(sizes: _Array, sums: _Array, squares: float) -> float:
    """Share of the variance that is between clusters, in [0, 1].

    As in an analysis of variance 1 - (mean square within) / (mean square in all), which means of
    chance clusters, unlike the plain share, do not raise: 0 but for noise where the clusters have
    one mean.

    Args:
      sizes: [K] points by cluster, some of them 0.
      sums: [K, d] of the points by cluster.
      squares: sum of all squared coordinates.
    """
    count, filled = float(sizes.sum()), sizes > 0
    everywhere = squares - float((sums.sum(axis=0) ** 2).sum()) / count
    within = squares - float(((sums[filled] ** 2).sum(axis=1) / sizes[filled]).sum())
    spare = count - filled.sum()
    if everywhere <= 0 or spare <= 0:
        return 0.0
    return float(np.clip(1 - within / spare / (everywhere / (count - 1)), 0.0, 1.0))
