"""The stored samples stream past the anchors once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganaudit.config import Backend
from ganaudit.diversity import Moments
from ganaudit.errors import SourceError
from ganaudit.generators import Status
from ganaudit.neighbors import open_tallier
from ganaudit.runner import Progress
from ganaudit.slots import Stream
from ganaudit.store import Rows, Store
from ganaudit.tally import Tally


@dataclass(frozen=True)
class Anchors:
    """The anchors that can be scored against.

    Attributes:
      rows: [m, D] float32 unit rows.
      slots: [m] int64.
    """

    rows: NDArray[np.float32]
    slots: NDArray[np.int64]

    @classmethod
    def read(cls, store: Store, stream: Stream, stop: int) -> "Anchors":
        """The valid rows of slots [0, stop).

        Raises:
          SourceError: there are none.
        """
        pieces = [
            (piece.rows[piece.valid], piece.start + np.flatnonzero(piece.valid))
            for piece in store.read(stream, stop)
        ]
        rows, slots = (np.concatenate(part) for part in zip(*pieces, strict=True))
        if not len(rows):
            raise SourceError(f"none of the {stop} anchors can be scored")
        return cls(rows, slots)

    def among(self, chosen: NDArray[np.bool_]) -> "Anchors":
        """Those that are chosen, [m] bool."""
        return Anchors(self.rows[chosen], self.slots[chosen])


@dataclass(frozen=True)
class Scored:
    """Everything that one pass over the samples gives.

    Attributes:
      anchors: scored against.
      tally: of all samples.
      moments: of their embeddings.
      backend: its name in a report.
    """

    anchors: Anchors
    tally: Tally
    moments: Moments
    backend: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What decides a tally, beside the rows: theta and radius are fractions of pi."""

    theta: float
    radius: float
    backend: Backend
    device: str


def score(
    store: Store,
    scale: Scale,
    *,
    anchors: int,
    samples: int,
    shared: bool = False,
    progress: Progress,
) -> Scored:
    """Tally stored rows.

    Args:
      store: which has the slots.
      scale: theta, radius, and who computes.
      anchors: anchor slots [0, anchors).
      samples: sample slots [0, samples).
      shared: both are samples: slots [0, anchors) are the anchors, the next `samples` the samples.
      progress: told as samples go by.

    Raises:
      SourceError: there are no valid anchors, or no valid samples.
    """
    first = anchors if shared else 0
    found = Anchors.read(store, Stream.SAMPLES if shared else Stream.ANCHORS, anchors)
    scored = score_against(
        found, store, scale, first=first, stop=first + samples, progress=progress
    )
    if not scored.tally.n.sum():
        raise SourceError(f"none of the {samples} samples can be scored")
    return scored


def score_against(
    anchors: Anchors,
    store: Store,
    scale: Scale,
    *,
    first: int,
    stop: int,
    among: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = lambda slots: slots >= 0,
    progress: Progress,
) -> Scored:
    """Tally sample slots [first, stop), those that can be scored and are chosen.

    Args:
      anchors: at least one.
      store: which has the slots.
      scale: theta, radius, and who computes.
      first: slot.
      stop: one past the last.
      among: slot numbers [N] to [N] bool: which of them are chosen.
      progress: told as samples go by.
    """
    tallier = open_tallier(
        scale.backend, anchors.rows, theta=scale.theta, radius=scale.radius, device=scale.device
    )
    moments = Moments(anchors.rows.shape[1], device=scale.device)

    def watched() -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        for piece in store.read(Stream.SAMPLES, stop, step=tallier.step):
            slots = np.arange(piece.start, piece.stop)
            valid = piece.valid & (slots >= first) & among(slots)
            moments.add(piece.rows, valid, piece.start)
            progress("scoring", piece.stop, stop)
            yield piece.rows, valid

    return Scored(anchors, tallier.run(watched()), moments, tallier.backend)


def valid_rows(store: Store, *, first: int, stop: int, most: int) -> NDArray[np.float32]:
    """The first valid rows of sample slots [first, stop), at most `most`: [N, D] float32."""
    kept: list[NDArray[np.float32]] = []
    for piece in _from(store, first, stop):
        kept.append(piece.rows[piece.valid].copy())
        if sum(map(len, kept)) >= most:
            break
    return np.concatenate(kept)[:most]


def _from(store: Store, first: int, stop: int) -> Iterator[Rows]:
    """Stored samples, those before `first` cut off."""
    for piece in store.read(Stream.SAMPLES, stop):
        skip = max(0, first - piece.start)
        if skip < len(piece.rows):
            yield Rows(
                piece.start + skip, piece.rows[skip:], piece.status[skip:], piece.hashes[skip:]
            )


def valid_slots(store: Store, stream: Stream, stop: int) -> NDArray[np.bool_]:
    """[N] bool: the slots of [0, stop) that can be scored."""
    return np.asarray(store.marks(stream, stop)[0] == Status.OK.value)


def until(valid: NDArray[np.bool_], count: int) -> int:
    """How many slots have `count` valid ones among them."""
    return int(np.flatnonzero(valid)[count - 1]) + 1


def slots_until(store: Store, stream: Stream, stop: int, count: int) -> int:
    """How many slots of [0, stop) have `count` valid ones; all, if there are no more than that."""
    valid = valid_slots(store, stream, stop)
    return until(valid, count) if valid.sum() > count else stop
