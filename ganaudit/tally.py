"""The kernel: exact streaming sums and counts of anchors against samples. Tallies add.

The score is a truncated sum over all pairs, not nearest neighbours: a collapsed mode has more
neighbours than any k. So every pair's cosine is computed, in tiles over both axes, and only pairs
within reach cost anything more. Counts are exact: where float32 cannot decide, the float64 dot
product of the stored rows does.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.slots import BLOCK, GROUPS, SHARD

_NEAR = 0.01  # below this distance float32 arccos is too coarse; float64 atan2 serves
_DENSE = 0.25  # share of strips with a hit from which a whole tile is cheaper than its hits
_PAIRS_AT_ONCE = 2**15  # rows gathered for float64 dot products
_FEW = 512  # pairs that are not worth looking for blocks in
_QUANTUM = 2.0**30  # sums are of whole multiples of 2^-30: exact and in any order up to 2^23


@dataclass(frozen=True)
class Tally:
    """Sums over samples, by anchor and by group of slots: m anchors, 32 groups.

    Attributes:
      n: [32] int64, valid samples.
      similarity: [m, 32] float64, sum of s(d) (T of the estimators).
      within: [m, 32] int64, samples at distance <= radius (K).
      squares: [m] float64, sum of s(d)^2 (Q).
      within_half: [m] int64, samples at distance <= radius / 2 (K_half).
      coherence: [32] float64, sum over samples of (mean over anchors of s)^2 (H).
    """

    n: NDArray[np.int64]
    similarity: NDArray[np.float64]
    within: NDArray[np.int64]
    squares: NDArray[np.float64]
    within_half: NDArray[np.int64]
    coherence: NDArray[np.float64]

    @classmethod
    def empty(cls, anchors: int) -> "Tally":
        """The tally of no samples: the identity of addition."""
        return cls(
            n=np.zeros(GROUPS, dtype=np.int64),
            similarity=np.zeros((anchors, GROUPS)),
            within=np.zeros((anchors, GROUPS), dtype=np.int64),
            squares=np.zeros(anchors),
            within_half=np.zeros(anchors, dtype=np.int64),
            coherence=np.zeros(GROUPS),
        )

    def __add__(self, other: "Tally") -> "Tally":
        """The tally of both sets of samples, against the same anchors, theta and radius."""
        if self.similarity.shape != other.similarity.shape:
            raise ValueError(
                f"tallies of {len(self.squares)} and {len(other.squares)} anchors do not add"
            )
        return Tally(
            n=self.n + other.n,
            similarity=self.similarity + other.similarity,
            within=self.within + other.within,
            squares=self.squares + other.squares,
            within_half=self.within_half + other.within_half,
            coherence=self.coherence + other.coherence,
        )


def tally(
    anchors: NDArray[np.float32],
    samples: NDArray[np.float32],
    *,
    theta: float,
    radius: float,
    valid: NDArray[np.bool_] | None = None,
    device: str = "cpu",
) -> Tally:
    """Compare every sample with every anchor.

    Distance d is the angle between two rows as a fraction of pi; similarity is
    s(d) = (exp(max(0, theta - d)) - 1) / (exp(theta) - 1).

    Args:
      anchors: [m, D] float32 unit rows, m >= 1, disjoint from the samples: a self-match would
        raise every score. Exact duplicates count; they are the worst collapse there is.
      samples: [n, D] float32 unit rows; row i is slot i, which decides its group.
      theta: reach of the similarity, fraction of pi, 0 < theta <= 1.
      radius: of a neighbourhood, fraction of pi, 0 < radius <= 1; the ball is closed (d <= radius).
      valid: [n] bool, the samples that count; None: all.
      device: where the product runs, "cpu" or "cuda".

    Returns:
      The tally. Counts are exact, and independent of tiling, order and device: the float64 dot
      product of the float32 rows decides. s is float32 (float64 below d = 0.01, where float32
      arccos is ill-conditioned) and accumulated in float64: a sum over many pairs is within
      1e-5 of itself, measured against `tests/literal.py`.

    Raises:
      ValueError: wrong rank, differing D, rows that are not unit, theta or radius out of range.

    References:
      Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Eq. 3 (s), Eq. 9 (counts).
      Deviation from the authors' code: cosines are clipped before arccos (there duplicates become
      NaN and vanish), and anchors never meet themselves.
    """
    check_unit_rows("anchors", anchors)
    check_unit_rows("samples", samples if valid is None else samples[valid])
    if anchors.shape[1] != samples.shape[1]:
        raise ValueError(f"anchors have {anchors.shape[1]} columns, samples {samples.shape[1]}")
    valid = np.ones(len(samples), dtype=np.bool_) if valid is None else valid
    tallier = Tallier(anchors, theta=theta, radius=radius, device=device)
    return tallier.run(
        (samples[start : start + tallier.step], valid[start : start + tallier.step])
        for start in range(0, len(samples), tallier.step)
    )


def similarity(distance: NDArray[np.float64], *, theta: float) -> NDArray[np.float64]:
    """s(d) of the paper's Eq. 3: 1 at distance 0, 0 from `theta` on; any shape, fractions of pi."""
    return np.asarray(np.expm1(np.maximum(0, theta - distance)) / np.expm1(theta))


def cosine_cut(distance: float) -> float:
    """The smallest cosine whose angle is at most `distance`, a fraction of pi.

    `cosine >= cosine_cut(r)` then decides exactly as `arccos(cosine) / pi <= r` does in float64,
    at the boundary too.
    """
    low, high = -1.0, 1.0
    if np.arccos(low) / np.pi <= distance:
        return low
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return high
        if np.arccos(middle) / np.pi <= distance:
            high = middle
        else:
            low = middle


def check_unit_rows(name: str, rows: NDArray[np.float32]) -> None:
    """Raise ValueError unless `rows` is a float32 matrix of at least one column of unit rows."""
    if rows.ndim != 2 or rows.dtype != np.float32 or rows.shape[1] == 0:
        raise ValueError(f"{name} must be float32 [N, D], got {rows.dtype} {list(rows.shape)}")
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not np.all(np.abs(norms - 1) <= 1e-3):
        worst = norms[np.argmax(~(np.abs(norms - 1) <= 1e-3))]
        raise ValueError(f"{name} must have rows of length 1, got one of length {worst:.6g}")


class Tallier:
    """Anchors held ready on a device; tiles of samples come in, a tally goes out.

    Attributes:
      step: slots a tile, a multiple of 512. Tile shapes are fixed by the device: as options they
        would be options on the last bits of every figure.
      backend: its name in a report.
    """

    backend = "torch matrix product"

    def __init__(
        self,
        anchors: NDArray[np.float32],
        *,
        theta: float,
        radius: float,
        device: str | torch.device = "cpu",
    ) -> None:
        """Take [m, D] float32 unit anchors, m >= 1; theta and radius are fractions of pi."""
        for name, value in (("theta", theta), ("radius", radius)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {value}")
        if len(anchors) == 0:
            raise ValueError("there must be at least one anchor")
        self.device = torch.device(device)
        cuda = self.device.type == "cuda"
        self.step = SHARD * (16 if cuda else 4)
        # A block of the product stays in a core's cache, or fills the GPU, until it is summed up.
        self._block = (self.step, 4096) if cuda else (SHARD // 2, 1024)
        self._theta = theta
        self._cuts = (cosine_cut(radius), cosine_cut(radius / 2))
        # |float32 dot - exact dot| <= D 2^-24 for unit rows, in any order of summation; the rest
        # is for thresholds rounded to float32 and rows that are up to 1e-3 from length 1.
        self._band = (anchors.shape[1] + 4) * 2.0**-24
        self._reach = min(float(np.cos(np.pi * theta)), self._cuts[0]) - self._band
        self._near = float(np.cos(np.pi * _NEAR))
        self._anchors = torch.from_numpy(np.ascontiguousarray(anchors)).to(self.device)
        self._lock = threading.Lock()  # over the sums below
        self._scratch = threading.local()  # two buffers a thread
        m = len(anchors)
        self._n = np.zeros(GROUPS, dtype=np.int64)
        self._similarity = self._zeros(GROUPS, m)
        self._within = self._zeros(GROUPS, m)
        self._squares = self._zeros(m)
        self._within_half = self._zeros(m)
        self._coherence: dict[int, torch.Tensor] = {}  # by tile; added in order at the end

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def run(self, tiles: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> Tally:
        """Compare consecutive tiles and return the tally of everything so far.

        On the CPU each tile is one thread's work: many small steps inside a tile would wait for
        one another on every core.

        Args:
          tiles: (rows, valid): [N, D] float32 unit rows of consecutive slots and [N] bool. N is
            `step` for every tile but the last. The arrays may be reused for the next tile. Rows
            that are not valid may hold anything.
        """
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        waiting: deque[Future[None]] = deque()
        with (
            _full_precision(),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            for number, (rows, valid) in enumerate(tiles, start=len(self._coherence)):
                tile, keep = self._padded(rows, valid)
                waiting.append(pool.submit(self._add, number, tile, keep))
                if len(waiting) > threads:
                    waiting.popleft().result()
            for future in waiting:
                future.result()
        torch.set_num_threads(threads)  # threads born later take the last number that was set
        coherence = self._zeros(GROUPS)
        for number in sorted(self._coherence):
            coherence += self._coherence[number]
        return Tally(
            n=self._n.copy(),
            similarity=self._similarity.T.cpu().numpy() / _QUANTUM,
            within=self._within.T.cpu().numpy().astype(np.int64),
            squares=self._squares.cpu().numpy() / _QUANTUM,
            within_half=self._within_half.cpu().numpy().astype(np.int64),
            coherence=coherence.cpu().numpy(),
        )

    def _padded(
        self, rows: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A copy in whole rounds of the groups; what is not valid is zero."""
        if len(rows) > self.step:
            raise ValueError(f"a tile has at most {self.step} rows, got {len(rows)}")
        size = -(-len(rows) // SHARD) * SHARD
        keep = np.zeros(size, dtype=np.bool_)
        keep[: len(rows)] = valid
        tile = np.empty((size, rows.shape[1]), dtype=np.float32)
        tile[: len(rows)] = rows
        tile[~keep] = 0
        return tile, keep

    def _add(self, number: int, rows: NDArray[np.float32], keep: NDArray[np.bool_]) -> None:
        with torch.inference_mode():
            sums = self._zeros(len(rows))  # over anchors, for each sample
            valid = torch.from_numpy(keep).to(self.device)
            self._compare(torch.from_numpy(rows).to(self.device), valid, sums)
            mean = sums / (_QUANTUM * len(self._anchors))
            coherence = (mean * mean).view(-1, GROUPS, BLOCK).sum((0, 2))
        with self._lock:
            self._n += keep.reshape(-1, GROUPS, BLOCK).sum(axis=(0, 2))
            self._coherence[number] = coherence

    def _buffer(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """[rows, columns] float32 of this thread, reused: fresh pages cost more than the sums."""
        size = rows * columns
        held: torch.Tensor | None = getattr(self._scratch, name, None)
        if held is None or len(held) < size:
            held = torch.empty(size, dtype=torch.float32, device=self.device)
            setattr(self._scratch, name, held)
        return held[:size].view(rows, columns)

    def _compare(self, tile: torch.Tensor, valid: torch.Tensor, sums: torch.Tensor) -> None:
        """Add every pair of the tile; `sums` [B] float64 takes each sample's, in 2^-30."""
        columns = torch.arange(len(self._anchors), device=self.device)
        self._compare_with(columns, tile, valid, sums)

    def _compare_with(
        self, columns: torch.Tensor, tile: torch.Tensor, valid: torch.Tensor, sums: torch.Tensor
    ) -> None:
        """The matrix product: the tile against the anchors numbered `columns`, in order."""
        everything = len(columns) == len(self._anchors)
        whole = bool(valid.all())
        height, width = self._block
        for part in columns.split(width):
            first = int(part[0])
            anchors = (
                self._anchors[first : first + len(part)] if everything else self._anchors[part]
            )
            found = []  # flat indices into [B, len(part)], and cosines
            for row in range(0, len(tile), height):
                rows = tile[row : row + height]
                cosine = self._buffer("cosine", len(rows), len(part))  # [R, A]
                torch.mm(rows, anchors.T, out=cosine)
                if not whole:
                    cosine[~valid[row : row + height]] = -2  # beyond every distance
                closest = _strips(cosine)  # [R / 16, A]
                hit = (closest >= self._reach).view(-1).nonzero().squeeze(1)
                if len(hit) > _DENSE * closest.numel():
                    self._add_block(
                        cosine, closest, rows, row, part, everything, sums[row : row + height]
                    )
                else:
                    index = _elements(cosine, hit, self._reach)
                    found.append((cosine.view(-1)[index], index.add_(row * len(part))))
            if found:
                index = torch.cat([index for _, index in found])
                sample = index.div(len(part), rounding_mode="floor")
                anchor = part[index.sub_(sample * len(part))]
                self._add_pairs(torch.cat([c for c, _ in found]), tile, sample, anchor, sums)

    def _add_pairs(
        self,
        cosine: torch.Tensor,
        tile: torch.Tensor,
        sample: torch.Tensor,
        anchor: torch.Tensor,
        sums: torch.Tensor,
    ) -> None:
        """Add single pairs: [P] float32 cosines, row of the tile and number of the anchor."""
        if len(cosine) == 0:
            return
        closest = float(cosine.max())
        distance = cosine.clamp(-1, 1).arccos_().div_(np.pi)
        if closest >= self._near:
            near = (cosine >= self._near).nonzero().squeeze(1)
            distance[near] = self._exact_distance(tile, sample[near], anchor[near])
        s = _scaled(_closeness(distance, self._theta))
        squares = (s * s).div_(_QUANTUM).round_()
        cell = sample.div(BLOCK, rounding_mode="floor").remainder_(GROUPS)
        cell.mul_(len(self._anchors)).add_(anchor)
        inside = self._within_cut(cosine, tile, sample, anchor, self._cuts[0])
        sums.index_add_(0, sample, s)
        with self._lock:
            self._similarity.view(-1).index_add_(0, cell, s)
            self._squares.index_add_(0, anchor, squares)
            self._within.view(-1).index_add_(0, cell, inside)
        if closest >= self._cuts[1] - self._band:
            inside = self._within_cut(cosine, tile, sample, anchor, self._cuts[1])
            with self._lock:
                self._within_half.index_add_(0, anchor, inside)

    def _within_cut(
        self,
        cosine: torch.Tensor,
        tile: torch.Tensor,
        sample: torch.Tensor,
        anchor: torch.Tensor,
        cut: float,
    ) -> torch.Tensor:
        """[P] float64 ones and zeros: the pair's exact cosine is at least `cut`."""
        gap = cosine - cut
        inside = (gap >= 0).double()
        open_ = (gap.abs_() <= self._band).nonzero().squeeze(1)
        if len(open_):
            exact = exact_dots(tile, self._anchors, sample[open_], anchor[open_])
            inside[open_] = (exact >= cut).double()
        return inside

    def _add_block(
        self,
        cosine: torch.Tensor,
        closest: torch.Tensor,
        rows: torch.Tensor,
        row: int,
        part: torch.Tensor,
        whole: bool,
        sums: torch.Tensor,
    ) -> None:
        """Add a block [R, A] of the product in which hits are everywhere, element by element.

        `rows` begin at row number `row` of the tile; `sums` [R] is theirs; `part` [A] numbers the
        anchors, which follow one another if `whole`; `closest` [R / 16, A] is the largest cosine
        of each strip.
        """
        scratch = self._buffer("scratch", *cosine.shape)
        inside, inside_half = (
            self._count(cosine, closest, scratch, rows, part, cut) for cut in self._cuts
        )
        near = _elements(cosine, (closest >= self._near).view(-1).nonzero().squeeze(1), self._near)
        distance = torch.arccos(cosine.clamp_(-1, 1), out=scratch).div_(np.pi)
        if len(near):
            sample = near.div(len(part), rounding_mode="floor")
            anchor = part[near - sample * len(part)]
            distance.view(-1)[near] = self._exact_distance(rows, sample, anchor)
        s = _closeness(distance, self._theta)
        similarity = _scaled(_strip_sums(s))
        sums += _scaled(s.sum(1))
        squares = _scaled(_strip_sums(s.square_()).sum(0))
        first = row // BLOCK % GROUPS  # a block is some of the groups, or whole rounds of all
        groups = slice(first, first + min(GROUPS, len(closest)))
        rounds = (-1, min(GROUPS, len(closest)), len(part))
        similarity, inside = similarity.view(rounds).sum(0), inside.view(rounds).sum(0)
        columns = slice(int(part[0]), int(part[0]) + len(part)) if whole else part
        with self._lock:
            self._similarity[groups, columns] += similarity
            self._squares[columns] += squares
            self._within[groups, columns] += inside
            self._within_half[columns] += inside_half.sum(0)

    def _count(
        self,
        cosine: torch.Tensor,
        closest: torch.Tensor,
        scratch: torch.Tensor,
        rows: torch.Tensor,
        part: torch.Tensor,
        cut: float,
    ) -> torch.Tensor:
        """[R / 16, A] float32: how many of each strip of 16 samples have a cosine >= `cut`."""
        if float(closest.max()) < cut - self._band:
            return torch.zeros_like(closest)
        gap = torch.sub(cosine, cut, out=scratch).abs_().neg_()
        strips = (_strips(gap) >= -self._band).view(-1).nonzero().squeeze(1)
        open_ = _elements(gap, strips, -self._band)
        inside = torch.ge(cosine, cut, out=scratch)  # float32 zeros and ones
        if len(open_):
            sample = open_.div(len(part), rounding_mode="floor")
            exact = exact_dots(rows, self._anchors, sample, part[open_ - sample * len(part)])
            inside.view(-1)[open_] = (exact >= cut).float()
        return _strip_sums(inside)

    def _exact_distance(
        self, tile: torch.Tensor, sample: torch.Tensor, anchor: torch.Tensor
    ) -> torch.Tensor:
        """[P] float32 fractions of pi by atan2 of the lengths of difference and sum."""
        dots = exact_dots(tile, self._anchors, sample, anchor)
        squared = _squared_lengths(tile, sample) + _squared_lengths(self._anchors, anchor)
        difference = (squared - 2 * dots).clamp_min_(0).sqrt_()
        total = (squared + 2 * dots).clamp_min_(0).sqrt_()
        return (torch.atan2(difference, total) * (2 / np.pi)).float()


def exact_dots(
    rows: torch.Tensor, others: torch.Tensor, i: torch.Tensor, j: torch.Tensor
) -> torch.Tensor:
    """[P] float64 dot products of rows[i] and others[j], both [., D] float32."""
    if len(i) > _FEW:  # duplicates come in blocks, and a block is a matrix product
        left, at = i.unique(return_inverse=True)
        right, to = j.unique(return_inverse=True)
        if len(left) * len(right) <= 8 * len(i):
            return (rows[left].double() @ others[right].double().T)[at, to]
    dots = [
        (rows[some].double() * others[other].double()).sum(1)
        for some, other in zip(i.split(_PAIRS_AT_ONCE), j.split(_PAIRS_AT_ONCE), strict=True)
    ]
    return torch.cat(dots)


def _squared_lengths(rows: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    """[P] float64 of rows[i]."""
    some, at = i.unique(return_inverse=True)
    return rows[some].double().square_().sum(1)[at]


def _closeness(distance: torch.Tensor, theta: float) -> torch.Tensor:
    """`similarity` of a float32 tensor, in place: 2^x is several times faster than e^x - 1."""
    scaled = distance.sub_(theta).clamp_max_(0).mul_(-np.log2(np.e))
    return scaled.exp2_().sub_(1).div_(np.expm1(theta))


def _scaled(values: torch.Tensor) -> torch.Tensor:
    """In units of 2^-30, as whole numbers in float64."""
    return values.double().mul_(_QUANTUM).round_()


def _strips(values: torch.Tensor) -> torch.Tensor:
    """[B / 16, A]: the largest of each strip of 16 samples of a [B, A] tile."""
    return values.view(-1, BLOCK, values.shape[1]).amax(1)


def _strip_sums(values: torch.Tensor) -> torch.Tensor:
    """[B / 16, A]: the sum of each strip of 16 samples of a [B, A] tile."""
    return values.view(-1, BLOCK, values.shape[1]).sum(1)


def _elements(values: torch.Tensor, strips: torch.Tensor, low: float) -> torch.Tensor:
    """Flat indices of the values >= `low` of a [B, A] tile, looked for in the flat `strips`."""
    width = values.shape[1]
    first = strips + strips.div(width, rounding_mode="floor") * ((BLOCK - 1) * width)
    inside = torch.arange(0, BLOCK * width, width, device=values.device)
    index = inside[:, None] + first  # [16, strips]: along the rows of the tile
    return index[values.view(-1)[index] >= low]


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in true float32, whatever the process asked for: tf32 miscounts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
