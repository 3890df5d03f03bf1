"""A slot goes through here once: drawn, rendered, looked at, embedded.

What a generator does wrong on the way (raises, hangs, returns no image) is a status of its slots,
not the end of the run. A service is asked for a window of slots at once, and what has come is
embedded while it goes on; always in batches of consecutive slots, so that rows do not depend on the
order of its answers.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
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
    SourceGone,
    SourceTimeout,
    one_line,
)
from ganaudit.generators import (
    EmbeddingSource,
    Failure,
    LatentGenerator,
    Source,
    Status,
    Streaming,
    is_service,
)
from ganaudit.images import (
    HASH_BYTES,
    check_images,
    content_hashes,
    encode_picture,
    single_colour,
)
from ganaudit.slots import Draws, Stream, draw
from ganaudit.store import Rows, joined

_T = TypeVar("_T")
_Images = list[tuple[NDArray[np.int64], torch.Tensor]]  # positions of images, and they, by size
_PATIENCE_S = 1.0  # for a thread that was told to end
_MOST_HELD = 2**31  # bytes of images that wait for those before them
_TIMEOUTS_IN_A_ROW = 3  # after which the generator is taken to be gone


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How slots become rows: values that every process of a run is told.

    Attributes:
      seed: of the run.
      device: for latents, and where generator and descriptor work.
      batch: images rendered and embedded at once.
      width: D, columns of an embedding.
      timeout_s: for each call of the generator, and each answer of what streams.
      window: slots that a service is asked for at once, a multiple of `batch`; None: a batch.
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
    window: int | None = None
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

    def call(
        self,
        work: Callable[[], _T],
        *,
        what: str,
        deadline: bool = True,
        patience_s: float = 0.0,
        inference: bool = True,
    ) -> _T:
        """The result of `work()`, or what it raised.

        Args:
          work: called in the guard's thread. The descriptor's work goes there too, without a
            deadline: torch keeps a pool of threads for each thread that calls it, and two pools
            would be in each other's way.
          what: for the message.
          deadline: whether the time is limited.
          patience_s: that it is given in any case.
          inference: nothing that it makes is ever derived; false: networks are opened, whose
            latents a calibrator may move along a gradient.

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
                with torch.inference_mode() if inference else torch.no_grad():
                    answer.put((work(), None))
            except BaseException as error:  # handed to the caller, whatever it is
                answer.put((None, error))

        self._tasks.put(task)
        timeout_s = max(self._timeout_s, patience_s)
        try:
            value, error = answer.get(timeout=timeout_s if deadline else None)
        except queue.Empty:
            self._tasks = None
            raise SourceTimeout(f"{what} took longer than {timeout_s:g} s (--timeout-s)") from None
        if isinstance(error, Exception):
            raise error
        if error is not None:  # sys.exit() in foreign code: its exit code is not ours
            raise SourceError(f"{what} ended in {one_line(error)}") from error
        return value  # type: ignore[return-value]

    def later(self, work: Callable[[], object]) -> None:
        """Call `work()` in the guard's thread when it is free, and do not wait for it."""
        if self._tasks is not None:
            self._tasks.put(lambda: _quietly(work))

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


def _quietly(work: Callable[[], object]) -> None:
    with suppress(Exception):  # nobody waits for it any more
        work()


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

    @property
    def asks_a_service(self) -> bool:
        """Whether an image costs a request."""
        return is_service(self._source)

    def close(self) -> None:
        """Let the generator's thread end."""
        self._guard.close()

    def rows(self, stream: Stream, start: int, stop: int) -> Rows:
        """The rows of slots [start, stop).

        Raises:
          SourceTimeout: the generator hung several times in a row.
          SourceGone: it cannot be asked any further.
          DescriptorError: the descriptor broke its contract.
        """
        return joined(list(self.pieces(stream, start, stop)))

    def pieces(self, stream: Stream, start: int, stop: int) -> Generator[Rows]:
        """The rows of slots [start, stop) in pieces, each as soon as it is made; raises as `rows`.

        `reasons` has those of the pieces that were given.
        """
        slots = np.arange(start, stop, dtype=np.int64)
        if isinstance(self._source, EmbeddingSource):
            yield self._ready_rows(self._source, stream, slots)
            return
        batch = self._recipe.batch
        window = self._recipe.window or batch
        for first in range(0, len(slots), window):
            part = slots[first : first + window]
            for at, found in self.batches(self.draws(stream, part), batch):
                piece = self._embedded(part[at : at + batch], found)
                self.reasons.update(failure.reason for failure in found.failures.values())
                yield piece

    def _embedded(self, slots: NDArray[np.int64], found: Rendered) -> Rows:
        """The rows of consecutive slots."""
        status = np.full(len(slots), Status.FAILED.value, dtype=np.uint8)
        hashes = np.zeros((len(slots), HASH_BYTES), dtype=np.uint8)
        block = np.zeros((len(slots), self._recipe.width), dtype=np.float32)
        pictures = [b""] * len(slots) if self._recipe.keep else None
        for position, images in found.images:
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
        for position_failed, failure in found.failures.items():
            status[position_failed] = failure.status.value
        return Rows(int(slots[0]), block, status, hashes, pictures)

    def images(
        self, stream: Stream, slots: NDArray[np.int64]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """(slot, uint8 [3, H, W]) of those slots whose image can be had again.

        A service gives another image the next time, or asks to be paid for it.
        """
        if isinstance(self._source, EmbeddingSource) or self.asks_a_service:
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
        images: _Images = []
        failures: dict[int, Failure] = {}
        for first in range(0, len(draws), step):
            for _, found in self.batches(draws[first : first + step], step):
                images += [(first + position, part) for position, part in found.images]
                failures |= {first + i: failure for i, failure in found.failures.items()}
        return Rendered(images, failures)

    def batches(self, draws: Draws, batch: int) -> Iterator[tuple[int, Rendered]]:
        """(number of the first, what came) of each batch of consecutive draws, in their order."""
        if isinstance(self._source, Streaming):
            answers = self._streamed(self._source, draws, batch)
        else:
            answers = (
                (first, *self._attempt(draws[first : first + batch]))
                for first in range(0, len(draws), batch)
            )
        for first, found, failures in answers:
            images: _Images = []
            for position, part in found:
                flat = single_colour(part).cpu().numpy()
                colour = Failure("the image is a single colour")
                failures |= {int(i): colour for i in position[flat]}
                if not flat.all():
                    images.append((position[~flat], part[~flat] if flat.any() else part))
            yield first, Rendered(images, failures)

    def _attempt(self, draws: Draws) -> tuple[_Images, dict[int, Failure]]:
        """Images of `draws` by position, and what went wrong."""
        assert isinstance(self._source, LatentGenerator)
        latent = self._source
        try:
            found = self._guard.call(
                lambda: latent.render(draws), what=f"rendering {len(draws)} images"
            )
            self._timeouts = 0
            # A copy: a generator may fill the same memory the next time.
            return [(np.arange(len(draws)), check_images(found, len(draws)).clone())], {}
        except SourceTimeout as error:
            failure = self._hung(error)
            return [], dict.fromkeys(range(len(draws)), failure)
        except (ConfigError, SourceGone):
            raise  # the request lacks something that only an image could show; or there is no more
        except Exception as error:  # the border to foreign code
            if len(draws) == 1:
                return [], {0: Failure(one_line(error))}
        images: _Images = []
        failures: dict[int, Failure] = {}
        for i in range(len(draws)):
            found_one, failed = self._attempt(draws[i : i + 1])
            images += [(i + position, part) for position, part in found_one]
            failures |= dict.fromkeys(range(i, i + 1), *failed.values()) if failed else {}
        return images, failures

    def _hung(self, error: SourceTimeout) -> Failure:
        """Of the slots that a hanging generator was asked for; it is opened again if it can be."""
        self._timeouts += 1
        if self._timeouts >= _TIMEOUTS_IN_A_ROW:
            raise SourceTimeout(f"{error}, {self._timeouts} times in a row") from None
        if self._reopen is not None:
            self._source = self._guard.call(
                self._reopen, what="opening the generator again", inference=False
            )
        return Failure(str(error))

    def _streamed(
        self, source: Streaming, draws: Draws, batch: int
    ) -> Iterator[tuple[int, _Images, dict[int, Failure]]]:
        """As `_attempt`, batch after batch, while the source goes on with those that follow."""
        wanted: list[int] = draws.index.tolist()
        lacking = set(wanted)
        answers: dict[int, torch.Tensor | Failure] = {}
        held = 0  # bytes of them
        with closing(self._answers(source, draws)) as coming:

            def take(answer: tuple[int, torch.Tensor | Failure] | None) -> None:
                nonlocal held
                if answer is None:
                    return
                index, item = answer
                if index in answers:
                    item = Failure("the source answered twice for one slot")
                elif held + _bytes(item) > _MOST_HELD:  # larger than the first images were
                    item = Failure("the image is too large to wait for those before it")
                elif isinstance(item, torch.Tensor):  # its memory may be filled again
                    item = item.clone()
                if index in answers or index in lacking:  # else its batch is through
                    held += _bytes(item) - _bytes(answers.get(index))
                    answers[index] = item
                lacking.discard(index)

            for first in range(0, len(wanted), batch):
                part = wanted[first : first + batch]
                while not lacking.isdisjoint(part):
                    take(next(coming))
                if not lacking:
                    take(next(coming, None))
                whole = [answers.pop(index) for index in part]
                held -= sum(map(_bytes, whole))
                yield first, *_by_shape(whole, torch.device(self._recipe.device))

    def _answers(
        self, source: Streaming, draws: Draws
    ) -> Generator[tuple[int, torch.Tensor | Failure]]:
        """What a source answers for `draws`, and at last why there is no answer for the others.

        Once it raised, those that have none yet are asked for one by one.
        """
        order: list[int] = draws.index.tolist()
        lacking = dict.fromkeys(order)
        asked = set(order)
        reason = "the source gave no answer"
        iterator: Iterator[tuple[int, torch.Tensor | Failure]] | None = None
        try:
            iterator = self._guard.call(lambda: iter(source.stream(draws)), what="asking")
            coming, patience = iterator, float(getattr(source, "patience_s", 0.0))
            while answer := self._guard.call(
                lambda: next(coming, None), what="an answer", patience_s=patience
            ):
                self._timeouts = 0
                index, item = answer
                if index in asked:
                    lacking.pop(index, None)
                    yield index, item
                else:
                    reason = "the source answered for a slot that was not asked for"
        except SourceTimeout as error:
            reason = self._hung(error).reason
        except (ConfigError, SourceGone):
            raise  # the request lacks something that only an image could show; or there is no more
        except Exception as error:  # the border to foreign code
            reason = one_line(error)
            if len(order) > 1:
                for i in range(len(order)):
                    if order[i] in lacking:
                        yield from self._answers(source, draws[i : i + 1])
                return
        finally:
            if iterator is not None:
                self._guard.later(iterator.close)  # type: ignore[attr-defined]
        for index in lacking:
            yield index, Failure(reason)

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


def _bytes(item: object) -> int:
    return item.nbytes if isinstance(item, torch.Tensor) else 0


def _by_shape(
    answers: list[torch.Tensor | Failure], device: torch.device
) -> tuple[_Images, dict[int, Failure]]:
    """Answers of consecutive slots as batches of images of one size on `device`, in their order."""
    groups: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
    failures: dict[int, Failure] = {}
    for position, item in enumerate(answers):
        if isinstance(item, Failure):
            failures[position] = _as_failure(item)
            continue
        try:
            check_images(item[None] if isinstance(item, torch.Tensor) else item, 1)
        except SourceError as error:
            failures[position] = Failure(one_line(error))
            continue
        groups.setdefault(tuple(item.shape), []).append((position, item))
    images = [
        (
            np.array([position for position, _ in group]),
            torch.stack([item for _, item in group]).to(device),
        )
        for group in groups.values()
    ]
    return images, failures


def _as_failure(answer: Failure) -> Failure:
    """A source's own word for why a slot has no image: one line, and never a status of images."""
    refused = answer.status == Status.REFUSED
    return Failure(
        one_line(SourceError(answer.reason)), Status.REFUSED if refused else Status.FAILED
    )
