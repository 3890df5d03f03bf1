"""All pairs of images of known identities in the order of their distance, in bounded memory.

A same pair is two images of one identity, a different pair images of two. Distance is the angle
between float64 rows of unit length, as a fraction of pi, to the nearest multiple of 2^-31: 60 times
finer than what float32 rows carry, and coarse enough that equal pairs tie whatever the order of
summation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganaudit.tally import angular_distance

UNIT = 2**31  # keys: distances as whole numbers of 2^-31
_CELL_BITS = 15  # cells of the first count: 2^15 keys each
_CELLS = (UNIT >> _CELL_BITS) + 1  # the last holds the distance 1 alone
_HELD = 2**24  # pairs sorted at once
_BAND = 2**22  # pairs of one matrix product
_NEAR = 1e-3  # nearer than this to 0 or 1 the cosine is ill-conditioned
_GATHERED = 2**15  # pairs of rows at once, where it is

Keys = NDArray[np.uint32]
Images = tuple[NDArray[np.int64], NDArray[np.int64]]  # the first and the second of each pair
Progress = Callable[[str, int, int], None]  # (what, done, total)


@dataclass(frozen=True)
class Side:
    """Pairs of one kind within a stretch of distances.

    Attributes:
      keys: [n] distances, ascending, in units of 2^-31.
      within: [n + 1] weight of all pairs up to the i-th, those of earlier stretches included.
      total: weight of all pairs of this kind, whatever their distance.
    """

    keys: Keys
    within: NDArray[np.float64]
    total: float

    def match(self, key: int) -> float:
        """Share of pairs at distances <= `key`."""
        return float(self.within[self._place(key, "right")]) / self.total

    def reject(self, key: int) -> float:
        """Share of pairs at greater distances."""
        return (self.total - float(self.within[self._place(key, "right")])) / self.total

    def below(self, key: int) -> int | None:
        """The largest distance < `key` of a pair that has weight, in this stretch."""
        weight = self.within[self._place(key, "left")]
        place = int(np.searchsorted(self.within, weight, side="left"))
        return int(self.keys[place - 1]) if place else None

    def above(self, key: int) -> int | None:
        """The smallest distance > `key` of a pair that has weight, in this stretch."""
        weight = self.within[self._place(key, "right")]
        place = int(np.searchsorted(self.within, weight, side="right"))
        return int(self.keys[place - 1]) if place <= len(self.keys) else None

    def _place(self, key: int, side: Literal["left", "right"]) -> int:
        return int(np.searchsorted(self.keys, np.uint32(key), side=side))


@dataclass(frozen=True)
class Stretch:
    """All pairs in a range of distances.

    Attributes:
      same: pairs.
      different: pairs.
      around: for each same pair, the places in `different.within` of all that are nearer than it,
        and of all that are no farther.
    """

    same: Side
    different: Side
    around: tuple[NDArray[np.int64], NDArray[np.int64]]


def around(same: Keys, different: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `Stretch` wants it, of ascending distances."""
    left = np.searchsorted(different, same, side="left")
    return left, np.searchsorted(different, same, side="right")


class Pairs:
    """Every pair of images; distances are made when they are asked for, and forgotten.

    Images stand in the order of their identities: after each image come the later ones of the same
    identity, then those of all others.

    Attributes:
      sizes: [K] images by identity.
      identity: [N] number of each image's identity, ascending.
      same: pairs of one identity.
      different: pairs of two.
    """

    def __init__(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Take [N, D] rows of about unit length, and the identity of each."""
        units: NDArray[Any] = rows[np.argsort(labels, kind="stable")].astype(np.float64)
        self._units = units / np.linalg.norm(units, axis=1, keepdims=True)
        _, self.sizes = np.unique(labels, return_counts=True)
        self.identity = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self._ends = np.repeat(np.cumsum(self.sizes), self.sizes)  # [N] where the next one begins
        self.same = int((self.sizes * (self.sizes - 1) // 2).sum())
        self.different = len(rows) * (len(rows) - 1) // 2 - self.same

    def stretches(self, progress: Progress) -> Iterator[Stretch]:
        """Every pair once, the nearest first: as many at a time as memory bears."""
        counts = np.zeros((2, _CELLS), dtype=np.int64)
        ranges = [(0, _CELLS)]
        if self.same + self.different > _HELD:
            for first, band in self._bands():
                for kind, keys in enumerate(self._split(first, band)):
                    counts[kind] += np.bincount(keys >> _CELL_BITS, minlength=_CELLS)
                progress("counting", first + len(band), len(self.identity))
            ranges = _cut(counts.sum(axis=0))
        before = [0.0, 0.0]
        for place, (low, high) in enumerate(ranges):
            crowded = counts[:, low:high].sum() > _HELD
            found = self._tabulate(low) if crowded else self._collect(low, high)
            sides = []
            for kind, (keys, within) in enumerate(found):
                within += before[kind]
                before[kind] = float(within[-1])
                sides.append(Side(keys, within, (self.same, self.different)[kind]))
            progress("comparing", place + 1, len(ranges))
            same, different = sides
            yield Stretch(same, different, around(same.keys, different.keys))

    def pick(self, numbers: NDArray[np.int64], *, same: bool) -> Images:
        """The images of pairs of a kind by their number, each image's with its later partners."""
        images = np.arange(len(self.identity))
        start = images + 1 if same else self._ends
        stop = self._ends if same else np.full(len(images), len(images))
        before = np.concatenate([[0], np.cumsum(stop - start)])
        one = np.searchsorted(before, numbers, side="right") - 1
        return one, start[one] + numbers - before[one]

    def distances(self, chosen: Sequence[Images]) -> list[Keys]:
        """Of pairs as `pick` gives them, the first images ascending."""
        found = [np.empty(len(one), dtype=np.uint32) for one, _ in chosen]
        for first, band in self._bands():
            for keys, (one, other) in zip(found, chosen, strict=True):
                part = slice(*np.searchsorted(one, (first, first + len(band))))
                keys[part] = band[one[part] - first, other[part] - first]
        return found

    def _bands(self) -> Iterator[tuple[int, Keys]]:
        """(first image, [h, N - first] distances of it and the next to it and all after it)."""
        units = self._units
        edge = np.cos(np.pi * _NEAR)
        step = max(1, _BAND // len(units))
        for first in range(0, len(units), step):
            cosine = units[first : first + step] @ units[first:].T
            np.clip(cosine, -1, 1, out=cosine)
            near = np.nonzero((cosine > edge) | (cosine < -edge))
            distance = np.arccos(cosine, out=cosine)
            distance /= np.pi
            for start in range(0, len(near[0]), _GATHERED):
                one, other = (places[start : start + _GATHERED] for places in near)
                distance[one, other] = angular_distance(units[first + one], units[first + other])
            distance *= UNIT
            yield first, np.rint(distance, out=distance).astype(np.uint32)

    def _split(self, first: int, band: Keys) -> tuple[Keys, Keys]:
        """Distances of the same and of the different pairs in a band, each pair once."""
        row = np.arange(len(band))[:, None]
        end = (self._ends[first : first + len(band)] - first)[:, None]
        mixed = band[:, : int(end[-1, 0])]  # beyond it every pair is different
        column = np.arange(mixed.shape[1])[None]
        rest = band[:, mixed.shape[1] :].ravel()
        same = mixed[(column > row) & (column < end)]
        return same, np.concatenate([mixed[column >= end], rest])

    def _collect(self, low: int, high: int) -> list[tuple[Keys, NDArray[np.float64]]]:
        """Distances in the cells [low, high), and how many come up to each, for both kinds."""
        kept: tuple[list[Keys], list[Keys]] = ([], [])
        for first, band in self._bands():
            for held, keys in zip(kept, self._split(first, band), strict=True):
                if (low, high) != (0, _CELLS):
                    cell = keys >> _CELL_BITS
                    keys = keys[(cell >= low) & (cell < high)]
                held.append(keys)
        found = []
        for held in kept:
            keys = np.concatenate(held)
            held.clear()
            keys.sort()
            found.append((keys, np.arange(len(keys) + 1, dtype=np.float64)))
        return found

    def _tabulate(self, cell: int) -> list[tuple[Keys, NDArray[np.float64]]]:
        """The same of one cell that is too crowded, each distance that occurs once."""
        start, size = cell << _CELL_BITS, 1 << _CELL_BITS
        counts = np.zeros((2, size), dtype=np.int64)
        for first, band in self._bands():
            for kind, keys in enumerate(self._split(first, band)):
                inside = keys[keys >> _CELL_BITS == cell]
                counts[kind] += np.bincount(inside - start, minlength=size)
        found = []
        for many in counts:
            keys = (start + np.flatnonzero(many)).astype(np.uint32)
            found.append((keys, np.concatenate([[0.0], np.cumsum(many[many > 0])])))
        return found


def _cut(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cells in ranges of at most `_HELD` pairs, or of one cell that holds more by itself."""
    cuts, held = [0], 0
    for cell in np.flatnonzero(counts).tolist():
        if held and held + counts[cell] > _HELD:
            cuts.append(cell)
            held = 0
        held += int(counts[cell])
    return list(zip(cuts, [*cuts[1:], len(counts)], strict=True))
