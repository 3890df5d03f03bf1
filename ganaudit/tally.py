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

_BELOW_ALL, _INVALID = -1.5, -2.0  # cosines: of every pair at least, of pairs that do not count
_NEAR = 0.01  # below this distance a float32 cosine is too coarse; float64 atan2 serves
_NEAR_THETA = 1e-3  # likewise below this over theta: a short reach is a steep similarity
_DENSE = 0.04  # share of hits from which a whole block is cheaper than each of them
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
        (
            (samples[start : start + tallier.step], valid[start : start + tallier.step])
            for start in range(0, len(samples), tallier.step)
        ),
        reused=False,
    )


def similarity(distance: NDArray[np.float64], *, theta: float) -> NDArray[np.float64]:
    """s(d) of the paper's Eq. 3: 1 at distance 0, 0 from `theta` on; any shape, fractions of pi."""
    return np.asarray(np.expm1(np.maximum(0, theta - distance)) / np.expm1(theta))


def angular_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Angle between rows as a fraction of pi, well-conditioned everywhere.

    Args:
      one: [..., D] unit rows.
      other: [..., D] unit rows; leading dimensions are broadcast.

    Returns:
      float64 in [0, 1]; 0 for identical rows.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    apart, joined = np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)
    return np.asarray(2 / np.pi * np.arctan2(apart, joined))


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
      block: (samples, anchors) of a product that is looked at before the next is made.
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
        self.block = (self.step, 4096) if cuda else (SHARD, 1024)
        self._theta = theta
        # Rows that are a little longer than 1 have a little less than -1 to their opposites.
        cut = cosine_cut(radius) if radius < 1 else _BELOW_ALL
        self._cuts = (cut, cosine_cut(radius / 2))
        # |float32 dot - exact dot| <= D 2^-24 for unit rows, in any order of summation; the rest
        # is for thresholds rounded to float32 and rows that are up to 1e-3 from length 1.
        self._band = (anchors.shape[1] + 4) * 2.0**-24
        self._reach = min(cosine_cut(theta), self._cuts[0]) - self._band
        self._near = float(np.cos(np.pi * min(theta, max(_NEAR, _NEAR_THETA / theta))))
        self._unit = 1 / float(np.float32(np.expm1(theta)))  # one copy is 1, not a little more
        self._anchors = torch.from_numpy(np.ascontiguousarray(anchors)).to(self.device)
        self._lock = threading.Lock()  # over the sums below
        self._held = threading.local()  # a thread's block of the product
        m = len(anchors)
        self._n = np.zeros(GROUPS, dtype=np.int64)
        self._similarity = self._zeros(GROUPS, m)
        self._count = self._zeros(GROUPS, m)
        self._squares = self._zeros(m)
        self._count_half = self._zeros(m)
        self._coherence: dict[int, torch.Tensor] = {}  # by tile; added in order at the end

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def run(
        self,
        tiles: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
        *,
        reused: bool = True,
    ) -> Tally:
        """Compare consecutive tiles and return the tally of everything so far.

        On the CPU each tile is one thread's work: many small steps inside a tile would wait for
        one another on every core.

        Args:
          tiles: (rows, valid): [N, D] float32 unit rows of consecutive slots and [N] bool. N is
            `step` for every tile but the last. Rows that are not valid may hold anything.
          reused: the arrays of a tile are overwritten by the next, so they have to be copied.
        """
        before = torch.get_num_threads()
        threads = before if self.device.type == "cpu" else 2  # one computes, one uploads
        waiting: deque[Future[None]] = deque()
        with (
            _full_precision(),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            for number, (rows, valid) in enumerate(tiles, start=len(self._coherence)):
                tile, keep = rows, valid
                if reused or len(rows) % SHARD or not (rows.flags.writeable and valid.all()):
                    tile, keep = self._padded(rows, valid)
                waiting.append(pool.submit(self._add, number, tile, keep))
                if len(waiting) > threads:
                    waiting.popleft().result()
            for future in waiting:
                future.result()
        coherence = self._zeros(GROUPS)
        for number in sorted(self._coherence):
            coherence += self._coherence[number]
        return Tally(
            n=self._n.copy(),
            similarity=self._similarity.T.cpu().numpy() / _QUANTUM,
            within=self._count.T.cpu().numpy().astype(np.int64),
            squares=self._squares.cpu().numpy() / _QUANTUM,
            within_half=self._count_half.cpu().numpy().astype(np.int64),
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

    def _buffer(self, rows: int, columns: int) -> torch.Tensor:
        """[rows, columns] float32 of this thread, reused: fresh pages cost more than the sums."""
        held: torch.Tensor | None = getattr(self._held, "block", None)
        if held is None or len(held) < rows * columns:
            held = torch.empty(rows * columns, dtype=torch.float32, device=self.device)
            self._held.block = held
        return held[: rows * columns].view(rows, columns)

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
        height, width = self.block
        for part in columns.split(width):
            first = int(part[0])
            anchors = (
                self._anchors[first : first + len(part)] if everything else self._anchors[part]
            )
            found = []  # flat indices into [B, len(part)], and cosines
            for row in range(0, len(tile), height):
                rows = tile[row : row + height]
                cosine = self._buffer(len(rows), len(part))  # [R, A]
                torch.mm(rows, anchors.T, out=cosine)
                if not whole:
                    cosine[~valid[row : row + height]] = _INVALID
                mask = _at_least(cosine, self._reach)
                hits = _count(mask)
                if hits > _DENSE * mask.numel():
                    self._add_block(
                        cosine,
                        mask,
                        rows,
                        valid[row : row + height],
                        part,
                        everything,
                        sums[row : row + height],
                    )
                elif hits:
                    index = _where(mask)
                    found.append((cosine.take(index), index.add_(row * len(part))))
            if found:
                sample, anchor = _pair(torch.cat([index for _, index in found]), part)
                self._add_pairs(torch.cat([c for c, _ in found]), tile, sample, anchor, sums)

    def _add_pairs(
        self,
        cosine: torch.Tensor,
        tile: torch.Tensor,
        sample: torch.Tensor,
        anchor: torch.Tensor,
        sums: torch.Tensor,
    ) -> None:
        """Add single pairs: [P] float32 cosines, row of the tile and number of the anchor.

        The cosines are used up.
        """
        if len(cosine) == 0:
            return
        inside, inside_half = (
            self._within(cosine, tile, sample, anchor, cut).double() for cut in self._cuts
        )
        near = _where(_at_least(cosine, self._near))
        s = _closeness(cosine, self._theta)
        if len(near):
            s[near] = self._exact(tile, sample[near], anchor[near])
        s = _scaled(s, self._unit)
        squares = (s * s).div_(_QUANTUM).round_()
        cell = sample.div(BLOCK, rounding_mode="floor").remainder_(GROUPS)
        cell.mul_(len(self._anchors)).add_(anchor)
        sums.index_add_(0, sample, s)
        with self._lock:
            self._similarity.view(-1).index_add_(0, cell, s)
            self._squares.index_add_(0, anchor, squares)
            self._count.view(-1).index_add_(0, cell, inside)
            self._count_half.index_add_(0, anchor, inside_half)

    def _within(
        self,
        cosine: torch.Tensor,
        rows: torch.Tensor,
        sample: torch.Tensor,
        anchor: torch.Tensor,
        cut: float,
    ) -> torch.Tensor:
        """[P] bool: the exact cosine of the pair is at least `cut`."""
        inside = _at_least(cosine, cut + self._band)
        open_ = _where(_at_least(cosine, cut - self._band) ^ inside)
        if len(open_):
            inside[open_] = exact_dots(rows, self._anchors, sample[open_], anchor[open_]) >= cut
        return inside

    def _add_block(
        self,
        cosine: torch.Tensor,
        mask: torch.Tensor,
        rows: torch.Tensor,
        valid: torch.Tensor,
        part: torch.Tensor,
        whole: bool,
        sums: torch.Tensor,
    ) -> None:
        """Add a block [R, A] of the product in which hits are everywhere, element by element.

        `mask` [R, A] says where `cosine` is within reach; `valid` [R] and `sums` [R] belong to
        `rows`; `part` [A] numbers the anchors, which follow one another if `whole`.
        """
        closest = _largest(cosine)
        counts = []
        for cut in self._cuts:
            if closest < cut - self._band:
                counts.append(_strip_sums(torch.zeros_like(mask, dtype=torch.uint8)))
                continue
            low = cut - self._band
            possible = mask if low == self._reach else _at_least(cosine, low)
            inside = _at_least(cosine, cut + self._band)
            open_ = _where(possible ^ inside)
            if len(open_):
                exact = exact_dots(rows, self._anchors, *_pair(open_, part))
                inside.view(-1)[open_] = exact >= cut
            counts.append(_strip_sums(inside.view(torch.uint8)))
        near = _where(_at_least(cosine, self._near)) if closest >= self._near else None
        s = _closeness(cosine, self._theta)
        if near is not None:
            s.view(-1)[near] = self._exact(rows, *_pair(near, part))
        counted = valid.view(-1, BLOCK).sum(1, keepdim=True)  # [R / 16, 1]: no sum exceeds it
        similarity = _scaled(_strip_sums(s), self._unit, counted)
        sums += _scaled(s.sum(1), self._unit, valid * len(part))
        squares = _scaled(_strip_sums(s.square_()), self._unit**2, counted)
        squares = torch.minimum(squares, similarity).sum(0)  # s^2 <= s
        rounds = (-1, GROUPS, len(part))  # a block is whole rounds of the groups
        similarity = similarity.view(rounds).sum(0)
        count = counts[0].view(rounds).sum(0)
        columns = slice(int(part[0]), int(part[0]) + len(part)) if whole else part
        with self._lock:
            self._similarity[:, columns] += similarity
            self._squares[columns] += squares
            self._count[:, columns] += count
            self._count_half[columns] += counts[1].sum(0)

    def _exact(
        self, tile: torch.Tensor, sample: torch.Tensor, anchor: torch.Tensor
    ) -> torch.Tensor:
        """`_closeness` [P] in float64, by atan2 of the lengths of difference and sum."""
        dots = exact_dots(tile, self._anchors, sample, anchor)
        squared = _squared_lengths(tile, sample) + _squared_lengths(self._anchors, anchor)
        difference = (squared - 2 * dots).clamp_min_(0).sqrt_()
        total = (squared + 2 * dots).clamp_min_(0).sqrt_()
        distance = torch.atan2(difference, total) * (2 / np.pi)
        return (self._theta - distance).clamp_min_(0).expm1_().float()


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


def _scaled(values: torch.Tensor, unit: float, most: torch.Tensor | None = None) -> torch.Tensor:
    """Multiples of `unit` in units of 2^-30, as whole numbers in float64.

    Float32 sums may round up: a sum of `most` similarities is no more than that.
    """
    scaled = values.double().mul_(unit * _QUANTUM).round_()
    return scaled if most is None else torch.minimum(scaled, most * _QUANTUM)


def _strip_sums(values: torch.Tensor) -> torch.Tensor:
    """[R / 16, A]: the sum of each strip of 16 samples of a block [R, A], in the same type."""
    return values.view(-1, BLOCK, values.shape[1]).sum(1, dtype=values.dtype)


# On the CPU, NumPy is 4 to 10 times as fast as torch in what follows, in one thread.


def _at_least(values: torch.Tensor, low: float) -> torch.Tensor:
    """Boolean tensor of the shape of `values`."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.greater_equal(values.numpy(), np.float32(low)))
    return values >= low


def _largest(values: torch.Tensor) -> float:
    """The largest value."""
    return float(values.numpy().max() if values.device.type == "cpu" else values.max())


def _count(mask: torch.Tensor) -> int:
    """How many are true."""
    if mask.device.type == "cpu":
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.count_nonzero())


def _where(mask: torch.Tensor) -> torch.Tensor:
    """[P] int64 flat indices of what is true."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero().squeeze(1)


def _closeness(cosine: torch.Tensor, theta: float) -> torch.Tensor:
    """exp(max(0, theta - d)) - 1 of float32 cosines, in their place: s times exp(theta) - 1."""
    if cosine.device.type == "cpu":
        values = cosine.numpy()
        np.clip(values, -1, 1, out=values)
        np.arccos(values, out=values)
        values *= -1 / np.pi
        values += theta
        np.maximum(values, 0, out=values)
        np.expm1(values, out=values)
        return cosine
    return cosine.clamp_(-1, 1).arccos_().mul_(-1 / np.pi).add_(theta).clamp_min_(0).expm1_()


def _pair(flat: torch.Tensor, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flat indices into a block of columns `part` to (row, number of the anchor)."""
    row = flat.div(len(part), rounding_mode="floor")
    return row, part[flat - row * len(part)]


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in true float32, whatever the process asked for: tf32 miscounts.

    Both settings of torch that a tally touches are as before at the end.
    """
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.set_num_threads(threads)  # threads born later take the last number that was set
