"""A service as a generator: the thread in which it is asked, and what it says of itself.

The requests are sent from an event loop in a thread of its own, so that what has come is looked at
while the next is waited for.
"""

import asyncio
import queue
import threading
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from ganaudit.errors import SourceError, SourceGone
from ganaudit.generators import Failure
from ganaudit.slots import Draws, Prior
from ganaudit_plugins.generators.http_api.asking import Ask, Asking, Health, Item
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.generators.http_api.options import INCIDENTAL
from ganaudit_plugins.generators.http_api.pacing import MOST_HELD_S

_T = TypeVar("_T")
_MOST_WAITING = 2**28  # bytes of images that nobody took yet; no further request is sent
_DECODING = 4  # asks whose answer is decoded while others are in flight
_END_S = 5.0  # for what is in flight to be cancelled
_MARGIN_S = 30.0


class Service:
    """A client, and the thread in which it asks.

    Attributes:
      client: asks.
      ask: gives the images of some draws, at most `per_request`, in their order; it raises what
        `Client.ask` raises. None: it has to be set before anything is streamed.
      per_request: slots a request.
      overlap: whether an ask may begin while the answers to as many as may be in flight are still
        decoded. The client counts those in flight; a service whose asks are several requests
        each (predictions) counts otherwise.
    """

    def __init__(
        self,
        client: Client,
        ask: Ask | None = None,
        *,
        per_request: int = 1,
        overlap: bool = True,
    ) -> None:
        """Start the thread."""
        self.client = client
        self.ask = ask
        self.per_request = per_request
        self.overlap = overlap
        self._health = Health(client.now())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(self._loop, client), daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _stop, self._loop, self._thread)

    @property
    def patience_s(self) -> float:
        """Seconds that an answer may take before something else than the service is wrong."""
        options = self.client.options
        return 2 * options.deadline + 2 * options.request_timeout + MOST_HELD_S + _MARGIN_S

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """The result of a coroutine of the client's."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End what is in flight, and the thread."""
        self._end()

    def stream(self, draws: Draws) -> Iterator[Item]:
        """(index, uint8 [3, H, W] or why there is none) once for each draw, as answers come.

        Raises:
          SourceGone: the service cannot be asked any further.
        """
        assert self.ask is not None
        outbox = _Outbox(self._loop)
        asking = Asking(self.client, self.ask, self._health, give=outbox.give, room=outbox.has_room)
        most = self.client.options.concurrency
        workers = most + min(most, _DECODING) if self.overlap else most
        tasks: list[asyncio.Task[None]] = []

        def start() -> None:
            each = self.per_request
            whole = asking.all_of(draws, per_request=each, workers=workers)
            tasks.append(self._loop.create_task(whole))
            tasks[0].add_done_callback(outbox.end)

        self._loop.call_soon_threadsafe(start)
        try:
            yield from outbox.taken()
        finally:
            if not outbox.ended.is_set() and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                if threading.current_thread() is not self._thread:
                    outbox.ended.wait(_END_S)


class _Outbox:
    """Answers on their way from the loop's thread to the one that takes them; bounded."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = threading.Event()
        self._loop = loop
        self._queue: queue.SimpleQueue[list[Item] | asyncio.Task[None]] = queue.SimpleQueue()
        self._given = 0  # bytes; the loop's thread alone writes it
        self._taken = 0  # bytes; the other thread alone writes it
        self._is_full = False
        self._room = asyncio.Event()

    async def has_room(self) -> bool:
        """Wait until not too much is waiting; whether that took a while."""
        waited = False
        while self._given - self._taken > _MOST_WAITING:
            self._room.clear()
            self._is_full = True  # before looking again: whoever takes looks after taking
            if self._given - self._taken > _MOST_WAITING:
                await self._room.wait()
            waited = True
        return waited

    def give(self, items: list[Item]) -> None:
        """Hand over."""
        self._given += sum(map(_size, items))
        self._queue.put(items)

    def end(self, task: asyncio.Task[None]) -> None:
        """There is no more, for the reason that the task has."""
        self.ended.set()
        self._queue.put(task)

    def taken(self) -> Iterator[Item]:
        """What is handed over, as it comes; raises what ended it."""
        while isinstance(part := self._queue.get(), list):
            for item in part:
                self._taken += _size(item)
                if self._is_full:
                    self._is_full = False
                    self._loop.call_soon_threadsafe(self._room.set)
                yield item
        if part.cancelled():
            raise SourceGone("the service was closed while it was asked")
        error = part.exception()
        if error is not None:
            raise error


def _size(item: Item) -> int:
    return 0 if isinstance(item[1], Failure) else item[1].nbytes


def _run(loop: asyncio.AbstractEventLoop, client: Client) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(client.close())
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_END_S)


class _Facts:
    """What every generator behind a service says of itself."""

    incidental = INCIDENTAL

    def __init__(
        self,
        service: Service,
        *,
        identity: Mapping[str, Any],
        assumptions: tuple[str, ...] = (),
        warnings: list[str] | None = None,
    ) -> None:
        """Describe it.

        Args:
          service: asks.
          identity: which generator it is.
          assumptions: what was taken on somebody's word.
          warnings: what the first images made doubtful; it may grow.
        """
        self.identity = {"url": str(service.client.base.url), **identity}
        self.assumptions = (*assumptions, *service.client.assumptions())
        self.warnings = [] if warnings is None else warnings
        self._service = service

    @property
    def per_request(self) -> int:
        """Slots a request."""
        return self._service.per_request

    @property
    def patience_s(self) -> float:
        """Seconds that an answer may take."""
        return self._service.patience_s

    def stream(self, draws: Draws) -> Iterator[Item]:
        """(index, uint8 [3, H, W] or why there is none) once for each draw, as answers come."""
        return self._service.stream(draws)

    def close(self) -> None:
        """Let the connections go."""
        self._service.close()


class BlindService(_Facts):
    """A service that hides its input.

    Attributes:
      seedable: it is told a seed.
    """

    size: int | None = None

    def __init__(self, service: Service, *, seedable: bool, **facts: Any) -> None:
        """As `LatentService`, without latents."""
        super().__init__(service, **facts)
        self.seedable = seedable


class LatentService(_Facts):
    """A service that takes latents."""

    def __init__(
        self,
        service: Service,
        *,
        latent_shape: tuple[int, ...],
        prior: Prior,
        num_labels: int,
        **facts: Any,
    ) -> None:
        """Describe it; `facts`: identity, assumptions, warnings."""
        super().__init__(service, **facts)
        self.latent_shape = latent_shape
        self.prior = prior
        self.num_labels = num_labels

    def render(self, draws: Draws) -> torch.Tensor:
        """uint8 [N, 3, H, W] for `draws`, on the device of their latents.

        Raises:
          SourceError: one of them has no image, or the images have different sizes.
        """
        assert draws.latents is not None
        numbered = replace(draws, index=torch.arange(len(draws)))  # a slot may be asked for twice
        answers = dict(self.stream(numbered))
        images = []
        for index in range(len(draws)):
            image = answers[index]
            if isinstance(image, Failure):
                raise SourceError(image.reason)
            images.append(image)
        if len({image.shape for image in images}) > 1:
            raise SourceError("the service gave images of different sizes")
        return torch.stack(images).to(draws.latents.device)
