"""A slot goes through here once: drawn, rendered, looked at, embedded.

What a generator does wrong on the way (raises, hangs, returns no image) is a status of its slots,
not the end of the run.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.descriptors import Descriptor, check_rows
from ganaudit.errors import (
    ConfigError,
    DescriptorError,
    GanauditError,
    SourceError,
    SourceTimeout,
    one_line,
)
from ganaudit.generators import (
    BlindGenerator,
    EmbeddingSource,
    Failure,
    LatentGenerator,
    Source,
    Status,
)
from ganaudit.images import (
    HASH_BYTES,
    check_images,
    content_hashes,
    encode_picture,
    single_colour,
)
from ganaudit.slots import Draws, Stream, draw
from ganaudit.store import Rows

_T = TypeVar("_T")
_PATIENCE_S = 1.0  # for a thread that was told to end
_TIMEOUTS_IN_A_ROW = 3  # after which the generator is taken to be gone


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How slots become rows: values that every process of a run is told.

    Attributes:
      seed: of the run.
      device: for latents, and where generator and descriptor work.
      batch: images rendered and embedded at once.
      width: D, columns of an embedding.
      timeout_s: for each call of the generator.
      embed_one_by_one: the descriptor's rows depend on their batch mates: it embeds single images.
      labels: [L] int64, of which every slot gets one; None: the generator takes none.
      keep: a thumbnail of every image is stored with its row.
      order: [size] item numbers of a finite source; None: slots are drawn.
      anchors: how many of `order` are anchors; the samples follow them.
    """

    seed: int
    device: str
    batch: int
    width: int
    timeout_s: float
    embed_one_by_one: bool = False
    labels: NDArray[np.int64] | None = None
    keep: bool = False
    order: NDArray[np.int64] | None = None
    anchors: int = 0


class Guard:
    """Calls a generator so that it cannot hang the run: in a thread of its own, with a deadline."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s`: seconds one call may take."""
        self._timeout_s = timeout_s
        self._thread: threading.Thread | None = None
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] | None = None

    def call(self, work: Callable[[], _T], *, what: str, deadline: bool = True) -> _T:
        """The result of `work()`, or what it raised.

        Args:
          work: called in the guard's thread. The descriptor's work goes there too, without a
            deadline: torch keeps a pool of threads for each thread that calls it, and two pools
            would be in each other's way.
          what: for the message.
          deadline: whether the time is limited.

        Raises:
          SourceTimeout: it did not return in time. Its thread is abandoned, not stopped.
          SourceError: it tried to end the process.
        """
        if self._tasks is None:
            self._tasks = queue.SimpleQueue()
            self._thread = threading.Thread(target=_serve, args=(self._tasks,), daemon=True)
            self._thread.start()
        answer: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

        def task() -> None:
            try:
                with torch.inference_mode():
                    answer.put((work(), None))
            except BaseException as error:  # handed to the caller, whatever it is
                answer.put((None, error))

        self._tasks.put(task)
        try:
            value, error = answer.get(timeout=self._timeout_s if deadline else None)
        except queue.Empty:
            self._tasks = None
            raise SourceTimeout(
                f"{what} took longer than {self._timeout_s:g} s (--timeout-s)"
            ) from None
        if isinstance(error, Exception):
            raise error
        if error is not None:  # sys.exit() in foreign code: its exit code is not ours
            raise SourceError(f"{what} ended in {one_line(error)}") from error
        return value  # type: ignore[return-value]

    def close(self) -> None:
        """Let the thread end: one that still runs while the interpreter ends would abort it."""
        if self._tasks is not None and self._thread is not None:
            self._tasks.put(None)
            self._tasks = None
            self._thread.join(_PATIENCE_S)


def _serve(tasks: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # and with it what it returned, before the thread ends


@dataclass(frozen=True)
class Rendered:
    """What a generator gave for some slots.

    Attributes:
      images: pairs of ([k] positions among the slots, uint8 [k, 3, H, W]), a pair a size.
      failures: position to why there is no image.
    """

    images: list[tuple[NDArray[np.int64], torch.Tensor]]
    failures: dict[int, Failure]


class Maker:
    """Slots to rows, with an opened source and descriptor."""

    def __init__(
        self,
        source: Source,
        descriptor: Descriptor | None,
        recipe: Recipe,
        *,
        reopen: Callable[[], Source] | None = None,
    ) -> None:
        """`reopen`: makes the source anew when the old one hangs; None: it is used again."""
        self._source = source
        self._descriptor = descriptor
        self._recipe = recipe
        self._reopen = reopen
        self._guard = Guard(recipe.timeout_s)
        self._timeouts = 0
        self.reasons: Counter[str] = Counter()  # why slots have no image

    def close(self) -> None:
        """Let the generator's thread end."""
        self._guard.close()

    def rows(self, stream: Stream, start: int, stop: int) -> Rows:
        """The rows of slots [start, stop).

        Raises:
          SourceTimeout: the generator hung several times in a row.
          DescriptorError: the descriptor broke its contract.
        """
        slots = np.arange(start, stop, dtype=np.int64)
        if isinstance(self._source, EmbeddingSource):
            return self._ready_rows(self._source, stream, slots)
        status = np.full(len(slots), Status.FAILED.value, dtype=np.uint8)
        hashes = np.zeros((len(slots), HASH_BYTES), dtype=np.uint8)
        block = np.zeros((len(slots), self._recipe.width), dtype=np.float32)
        pictures = [b""] * len(slots) if self._recipe.keep else None
        for first in range(0, len(slots), self._recipe.batch):
            rendered = self.render(self.draws(stream, slots[first : first + self._recipe.batch]))
            for where, images in rendered.images:
                position = first + where
                embedded, valid = self.embed(images)
                if embedded.shape[1] != self._recipe.width:
                    raise DescriptorError(
                        f"the descriptor returned {embedded.shape[1]} columns after "
                        f"{self._recipe.width}"
                    )
                block[position[valid]] = embedded[valid]
                status[position] = np.where(valid, Status.OK.value, Status.NO_FACE.value)
                hashes[position] = content_hashes(images)
                if pictures is not None:
                    for i, image in zip(position, images, strict=True):
                        pictures[i] = encode_picture(image)
            for where_failed, failure in rendered.failures.items():
                status[first + where_failed] = failure.status.value
                self.reasons[failure.reason] += 1
        return Rows(start, block, status, hashes, pictures)

    def images(
        self, stream: Stream, slots: NDArray[np.int64]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """(slot, uint8 [3, H, W]) of those slots whose image can be had again.

        A source that hides its input gives another image the next time, or asks to be paid for it.
        """
        blind = isinstance(self._source, BlindGenerator)
        if isinstance(self._source, EmbeddingSource) or (blind and self._recipe.order is None):
            return
        for first in range(0, len(slots), self._recipe.batch):
            part = slots[first : first + self._recipe.batch]
            for where, images in self.render(self.draws(stream, part)).images:
                yield from zip(part[where].tolist(), images, strict=True)

    def render(self, draws: Draws, *, one_by_one: bool = False) -> Rendered:
        """The images of some draws, each looked at: a single colour is no output.

        A batch that raises is asked for again slot by slot, so that only the slots that raise fail.
        """
        step = 1 if one_by_one else len(draws)
        images: list[tuple[NDArray[np.int64], torch.Tensor]] = []
        failures: dict[int, Failure] = {}
        for first in range(0, len(draws), step):
            part = draws[first : first + step]
            for where, found in self._attempt(part, failures, first):
                flat = single_colour(found).cpu().numpy()
                failures |= {int(i): Failure("the image is a single colour") for i in where[flat]}
                if not flat.all():
                    images.append((where[~flat], found[~flat] if flat.any() else found))
        return Rendered(images, failures)

    def _attempt(
        self, draws: Draws, failures: dict[int, Failure], first: int
    ) -> list[tuple[NDArray[np.int64], torch.Tensor]]:
        """Images of `draws` with positions counted from `first`; what went wrong in `failures`."""
        what = f"rendering {len(draws)} images"
        positions = first + np.arange(len(draws))
        try:
            if isinstance(self._source, BlindGenerator):
                blind = self._source
                answers = self._guard.call(lambda: _collect(blind, draws), what=what)
                self._timeouts = 0
                return _by_shape(answers, draws, failures, first)
            assert isinstance(self._source, LatentGenerator)
            latent = self._source
            found = self._guard.call(lambda: latent.render(draws), what=what)
            self._timeouts = 0
            return [(positions, check_images(found, len(draws)))]
        except SourceTimeout as error:
            self._timeouts += 1
            if self._timeouts >= _TIMEOUTS_IN_A_ROW:
                raise SourceTimeout(f"{error}, {self._timeouts} times in a row") from None
            if self._reopen is not None:
                self._source = self._guard.call(self._reopen, what="opening the generator again")
            failures |= {int(i): Failure(str(error)) for i in positions}
        except ConfigError:
            raise  # the request lacks something that only an image could show
        except Exception as error:  # the border to foreign code
            if len(draws) > 1:
                return [
                    pair
                    for i in range(len(draws))
                    for pair in self._attempt(draws[i : i + 1], failures, first + i)
                ]
            failures[first] = Failure(one_line(error))
        return []

    def draws(self, stream: Stream, slots: NDArray[np.int64]) -> Draws:
        """What the source is given for some slots."""
        if self._recipe.order is not None:
            slots = self._items(stream, slots)
        seed = self._recipe.seed
        if not isinstance(self._source, LatentGenerator):
            return draw(slots, seed=seed, stream=stream)
        return draw(
            slots,
            seed=seed,
            stream=stream,
            latent_shape=self._source.latent_shape,
            prior=self._source.prior,
            labels=self._recipe.labels,
        ).to(torch.device(self._recipe.device))

    def _items(self, stream: Stream, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Item numbers of a finite source: the first of the order are anchors."""
        assert self._recipe.order is not None
        offset = self._recipe.anchors if stream is Stream.SAMPLES else 0
        return self._recipe.order[slots + offset]

    def embed(
        self, images: torch.Tensor, *, one_by_one: bool | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rows [N, D] float32 and valid [N] of uint8 [N, 3, H, W]."""
        assert self._descriptor is not None
        descriptor = self._descriptor
        one_by_one = self._recipe.embed_one_by_one if one_by_one is None else one_by_one

        def embed_all() -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
            parts = []
            for batch in images.split(1 if one_by_one else len(images)):
                try:
                    rows, valid = descriptor.embed(batch)
                except SystemExit as error:  # its exit code is not ours
                    raise DescriptorError(f"the descriptor ended in {one_line(error)}") from error
                check_rows(rows, valid, len(batch))
                parts.append((rows.cpu().numpy(), valid.cpu().numpy()))
            return parts

        try:
            parts = self._guard.call(embed_all, what="embedding", deadline=False)
        except GanauditError:
            raise
        except Exception as error:  # the border to foreign code
            raise DescriptorError(f"the descriptor raised {one_line(error)}") from error
        rows, valid = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(valid)

    def _ready_rows(
        self, source: EmbeddingSource, stream: Stream, slots: NDArray[np.int64]
    ) -> Rows:
        rows, valid = source.rows(self._items(stream, slots))
        status = np.where(valid, Status.OK.value, Status.FAILED.value).astype(np.uint8)
        digests = [blake2b(row.tobytes(), digest_size=HASH_BYTES).digest() for row in rows]
        hashes = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(rows), HASH_BYTES)
        hashes = np.where(valid[:, None], hashes, 0).astype(np.uint8)
        bad = int((~valid).sum())
        if bad:
            self.reasons["the embedding is zero or not finite"] += bad
        return Rows(int(slots[0]), rows, status, hashes)


def _collect(source: BlindGenerator, draws: Draws) -> dict[int, torch.Tensor | Failure]:
    """Every answer of a blind source by index; an index nobody asked for is refused."""
    wanted = set(draws.index.tolist())
    answers: dict[int, torch.Tensor | Failure] = {}
    for index, item in source.stream(draws):
        if index not in wanted:
            raise SourceError("the source answered for a slot that was not asked for")
        if index in answers:
            raise SourceError("the source answered twice for one slot")
        answers[index] = item
    return answers


def _by_shape(
    answers: dict[int, torch.Tensor | Failure],
    draws: Draws,
    failures: dict[int, Failure],
    first: int,
) -> list[tuple[NDArray[np.int64], torch.Tensor]]:
    """Answers of a blind source as batches of images of one size, in the order of the slots."""
    groups: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
    for position, index in enumerate(draws.index.tolist(), start=first):
        item = answers.get(index, Failure("the source gave no answer"))
        if isinstance(item, Failure):
            failures[position] = _as_failure(item)
            continue
        try:
            check_images(item[None] if isinstance(item, torch.Tensor) else item, 1)
        except SourceError as error:
            failures[position] = Failure(one_line(error))
            continue
        groups.setdefault(tuple(item.shape), []).append((position, item))
    return [
        (np.array([position for position, _ in group]), torch.stack([item for _, item in group]))
        for group in groups.values()
    ]


def _as_failure(answer: Failure) -> Failure:
    """A source's own word for why a slot has no image: one line, and never a status of images."""
    refused = answer.status == Status.REFUSED
    return Failure(
        one_line(SourceError(answer.reason)), Status.REFUSED if refused else Status.FAILED
    )
