"""FAISS, where it is: a second backend of the tally, and nearest neighbours.

FAISS is imported when first used, after torch: both bring an OpenMP runtime.
"""

from collections.abc import Iterable
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.config import Backend
from ganaudit.errors import PluginError
from ganaudit.slots import SHARD
from ganaudit.store import Rows
from ganaudit.tally import Tallier, angular_distance, exact_dots

MAX_NEIGHBORS = 2048  # the most that FAISS returns on a GPU, which has no range search
_ROUNDING = 1e-12  # of a cosine in float64, with room
_SCREEN_ERROR = 4.2e-3  # of a cosine whose product may have run in tf32: twice what was measured


def open_tallier(
    backend: Backend,
    anchors: NDArray[np.float32],
    *,
    theta: float,
    radius: float,
    device: str,
) -> Tallier:
    """The tallier for a backend; all give equal counts, and sums within the tally's tolerance.

    Args:
      backend: "torch": the matrix product. "faiss": range search on the CPU, certified nearest
        neighbours on a GPU. "auto": the matrix product, which costs the same whatever the share of
        pairs within reach (benchmarks/truncation.py).
      anchors: [m, D] float32 unit rows.
      theta: fraction of pi.
      radius: fraction of pi.
      device: "cpu" or "cuda:N".

    Raises:
      PluginError: FAISS was asked for and is not installed.
    """
    if backend != "faiss":
        return Tallier(anchors, theta=theta, radius=radius, device=device)
    if device.startswith("cuda"):
        return NearestTallier(anchors, theta=theta, radius=radius, device=device)
    return RangeTallier(anchors, theta=theta, radius=radius)


def faiss_or_none() -> ModuleType | None:
    """The faiss module, if it can be imported."""
    try:
        import faiss
    except ImportError:
        return None
    module: ModuleType = faiss
    return module


def nearest(queries: torch.Tensor, rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k rows with the largest cosine to each query, largest first.

    Args:
      queries: [m, D] float32 unit rows.
      rows: [N, D] float32 unit rows on the same device.
      k: 1 <= k <= min(N, 2048).

    Returns:
      (cosine [m, k] float32, index [m, k] int64) on that device, by FAISS, or torch where FAISS is
      absent or serves no GPU. Cosines are approximate to 4.2e-3: either may compute in tf32.
    """
    if not 1 <= k <= min(len(rows), MAX_NEIGHBORS):
        raise ValueError(f"k must be in [1, {min(len(rows), MAX_NEIGHBORS)}], got {k}")
    faiss = faiss_or_none()
    if faiss is not None and rows.device.type == "cpu":
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows.numpy())
        cosine, found = index.search(queries.numpy(), k)
        return torch.from_numpy(cosine), torch.from_numpy(found)
    if faiss is not None and hasattr(faiss, "knn_gpu") and faiss.get_num_gpus() > 0:
        import faiss.contrib.torch_utils  # noqa: F401  (lets knn_gpu take tensors)

        device = rows.device.index or 0
        resources = faiss.StandardGpuResources()
        cosine, found = faiss.knn_gpu(
            resources, queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT, device=device
        )
        return cosine, found
    cosines, indices = [], []
    for part in queries.split(256):
        best = (part @ rows.T).topk(k, dim=1)
        cosines.append(best.values)
        indices.append(best.indices)
    return torch.cat(cosines), torch.cat(indices)


def nearest_samples(
    queries: NDArray[np.float32], pieces: Iterable[Rows], *, k: int, device: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest stored samples of each query, nearest first; ties go to the lower slot.

    All in float64: near copies are closer to each other than a float32 cosine can tell.

    Args:
      queries: [q, D] float32 unit rows, q >= 1.
      pieces: stored rows, whose arrays may be reused; rows that are not valid are passed over.
      k: at least 1.
      device: "cpu" or "cuda:N".

    Returns:
      (slot [q, k'] int64, distance [q, k'] float64, a fraction of pi), k' = min(k, valid samples).
    """
    wanted = torch.from_numpy(queries).to(device).double()
    best = [(np.empty(0, dtype=np.int64), np.empty(0)) for _ in queries]
    for piece in pieces:
        slots, rows = piece.start + np.flatnonzero(piece.valid), piece.rows[piece.valid]
        if not len(rows):
            continue
        cosines = _cosines(wanted, torch.from_numpy(rows).to(device).double())
        for i, (query, cosine) in enumerate(zip(queries, cosines, strict=True)):
            last = np.partition(cosine, -min(k, len(rows)))[-min(k, len(rows))]
            near = np.flatnonzero(cosine >= last - _ROUNDING)
            found = np.concatenate([best[i][0], slots[near]])
            distance = np.concatenate([best[i][1], angular_distance(query, rows[near])])
            order = np.lexsort((found, distance))[:k]
            best[i] = found[order], distance[order]
    return np.stack([found for found, _ in best]), np.stack([distance for _, distance in best])


def _cosines(queries: torch.Tensor, rows: torch.Tensor) -> NDArray[np.float64]:
    """[q, N] cosines of float64 rows, in the order of `angular_distance` up to rounding."""
    lengths = queries.square().sum(1, keepdim=True) + rows.square().sum(1)
    return np.asarray((2 * (queries @ rows.T) / lengths).cpu().numpy())


class RangeTallier(Tallier):
    """Pairs within reach by FAISS range search, on the CPU."""

    backend = "faiss range search"

    def __init__(self, anchors: NDArray[np.float32], *, theta: float, radius: float) -> None:
        """As `Tallier`, on the CPU."""
        super().__init__(anchors, theta=theta, radius=radius)
        faiss = faiss_or_none()
        if faiss is None:
            raise PluginError(
                "--backend faiss: faiss is not installed; pip install faiss-cpu, or --backend torch"
            )
        self._index = faiss.IndexFlatIP(anchors.shape[1])
        self._index.add(np.ascontiguousarray(anchors))

    def _compare(self, tile: torch.Tensor, valid: torch.Tensor, sums: torch.Tensor) -> None:
        kept = valid.nonzero().squeeze(1)
        limits, cosine, anchor = self._index.range_search(
            tile[kept].numpy(), np.nextafter(np.float32(self._reach), np.float32(-2))
        )
        sample = kept.repeat_interleave(torch.from_numpy(np.diff(limits.astype(np.int64))))
        self._add_pairs(
            torch.from_numpy(cosine), tile, sample, torch.from_numpy(anchor.astype(np.int64)), sums
        )


class NearestTallier(Tallier):
    """Each anchor's nearest samples, with a certificate; who lacks it takes the matrix product.

    An anchor's k nearest samples are all of its neighbours if the k-th lies beyond its reach. In a
    collapsed mode it does not, and k neighbours alone would understate the collapse.
    """

    backend = "faiss nearest neighbours, certified"

    def __init__(
        self,
        anchors: NDArray[np.float32],
        *,
        theta: float,
        radius: float,
        device: str = "cpu",
        step: int = 512 * SHARD,
    ) -> None:
        """As `Tallier`; `step`: samples searched at once, a multiple of 512."""
        super().__init__(anchors, theta=theta, radius=radius, device=device)
        self.step = step
        self.uncertified = 0  # anchors, summed over tiles, that took the matrix product

    def _compare(self, tile: torch.Tensor, valid: torch.Tensor, sums: torch.Tensor) -> None:
        kept = valid.nonzero().squeeze(1)
        k = min(MAX_NEIGHBORS, len(kept))
        if k == 0:
            return
        reach = self._reach - _SCREEN_ERROR
        cosine, found = nearest(self._anchors, tile[kept], k)
        certified = (cosine[:, -1] < reach) | (k == len(kept))
        anchor, place = ((cosine >= reach) & certified[:, None]).nonzero(as_tuple=True)
        sample = kept[found[anchor, place]]
        exact = exact_dots(tile, self._anchors, sample, anchor)
        near = exact >= self._reach
        self._add_pairs(exact[near].float(), tile, sample[near], anchor[near], sums)
        rest = (~certified).nonzero().squeeze(1)
        self.uncertified += len(rest)
        if len(rest):
            self._compare_with(rest, tile, valid, sums)
