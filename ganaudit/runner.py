"""Who makes the rows of a run: this process, or several that share out the shards."""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ganaudit.errors import GanauditError, SourceError, one_line
from ganaudit.generators import Status
from ganaudit.maker import Maker
from ganaudit.reasons import bounded
from ganaudit.slots import Stream, shard_ranges
from ganaudit.store import Rows, Store, joined

Progress = Callable[[str, int, int], None]  # (what, slots done, slots in all)


def silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


class Allowance:
    """How many slots of a run may have no image."""

    def __init__(self, rate: float, *, slots: int, failed: int) -> None:
        """`rate`: share of `slots`, of which `failed` have none already."""
        self._rate = rate
        self._slots = slots
        self._failed = failed

    def spend(self, more: int, reason: str) -> None:
        """Some more slots have no image, mostly for a reason.

        Raises:
          SourceError: these are more than the run may have.
        """
        self._failed += more
        if more and self._failed > self._rate * self._slots:
            raise SourceError(
                f"{self._failed:,} of {self._slots:,} slots have no image already, more than "
                f"--max-failure-rate {self._rate:g} allows: what is left is no fair sample of what "
                f"the generator makes ({reason})"
            )


@dataclass(frozen=True)
class _Made:
    """Some slots are through.

    Attributes:
      slots: how many.
      failed: of them, without an image.
      reason: why most of the shard's have none.
      reasons: of a shard that is stored now, bounded; None: there is more of it to come.
    """

    slots: int
    failed: int
    reason: str
    reasons: Counter[str] | None


@dataclass(frozen=True, kw_only=True)
class Team:
    """How worker processes come by a maker of their own: `open_maker(*arguments)`, picklable."""

    open_maker: Callable[..., Maker]
    arguments: tuple[Any, ...]
    devices: tuple[str, ...]  # one a worker


def fill(
    store: Store,
    stream: Stream,
    stop: int,
    maker: Maker,
    *,
    versions: dict[str, str],
    progress: Progress,
    part: tuple[int, int] | None = None,
    team: Team | None = None,
    enough: Callable[[], bool] = lambda: False,
    allowance: Allowance | None = None,
) -> Counter[str]:
    """Make what `store` lacks of slots [0, stop) of a stream.

    Args:
      store: where shards go, each as soon as it is made.
      stream: anchors or samples.
      stop: one past the last slot.
      maker: of this process.
      versions: recorded beside every shard, as are the reasons of its slots.
      progress: told as slots are made.
      part: (i, N): every N-th shard, from number i on, and no others; None: all.
      team: worker processes that do it instead of `maker`.
      enough: asked before the first shard and after each; true: no more are made.
      allowance: of slots without an image; None: any number.

    Returns:
      Why slots that were made now have no image, and how many of them.

    Raises:
      SourceError: there are more of them than the allowance has, or the generator is gone. Whole
        shards are stored, and what a service gave.
    """
    gaps = store.missing(stream, stop, part)
    name = stream.name.lower()
    slots = sum(end - begin for begin, end in shard_ranges(stop, part))
    done = slots - sum(end - begin for begin, end in gaps)
    progress(name, done, slots)
    if enough():
        return Counter()
    if team is not None and len(team.devices) > 1 and len(gaps) > 1:
        finished = _by_team(store, stream, gaps, team, versions)
    else:
        finished = _by_one(store, stream, gaps, maker, versions)
    reasons: Counter[str] = Counter()
    with closing(finished):  # workers end when no more is wanted
        for made in finished:
            done += made.slots
            reasons += made.reasons or Counter()
            progress(name, done, slots)
            if allowance is not None:
                allowance.spend(made.failed, made.reason)
            if made.reasons is not None and enough():
                break
    return reasons


def _by_one(
    store: Store,
    stream: Stream,
    gaps: list[tuple[int, int]],
    maker: Maker,
    versions: dict[str, str],
) -> Generator[_Made]:
    """Shard by shard. Whatever ends it, what a service gave is stored: it was paid for."""
    for begin, end in gaps:
        maker.reasons.clear()
        pieces: list[Rows] = []
        with closing(maker.pieces(stream, begin, end)) as coming:
            try:
                for piece in coming:
                    pieces.append(piece)
                    if piece.stop < end:
                        yield _told(piece, maker, None)
            finally:
                if pieces and (pieces[-1].stop == end or maker.asks_a_service):
                    store.write(stream, joined(pieces), versions, bounded(maker.reasons))
        yield _told(pieces[-1], maker, bounded(maker.reasons))


def _told(piece: Rows, maker: Maker, reasons: Counter[str] | None) -> _Made:
    failed = int(np.isin(piece.status, (Status.FAILED.value, Status.REFUSED.value)).sum())
    reason = max(maker.reasons, key=lambda text: maker.reasons[text], default="")
    return _Made(len(piece.rows), failed, reason, reasons)


def _by_team(
    store: Store,
    stream: Stream,
    gaps: list[tuple[int, int]],
    team: Team,
    versions: dict[str, str],
) -> Generator[_Made]:
    """Worker i makes every i-th gap. Whichever fails ends the others; what is stored stays."""
    context = multiprocessing.get_context("spawn")
    events: Any = context.SimpleQueue()
    count = min(len(team.devices), len(gaps))
    threads = max(1, torch.get_num_threads() // count)
    with ExitStack() as stack:
        workers = []
        for i, device in enumerate(team.devices[:count]):
            worker = context.Process(
                target=_work,
                args=(store, stream, gaps[i::count], team, device, threads, versions, events),
                daemon=True,
            )
            worker.start()
            stack.callback(worker.join)
            stack.callback(worker.terminate)
            workers.append(worker)
        left = len(gaps)
        while left:
            while events.empty():
                if all(worker.exitcode is not None for worker in workers) and events.empty():
                    codes = [worker.exitcode for worker in workers]
                    raise GanauditError(f"the worker processes ended early, with codes {codes}")
                workers[0].join(0.02)
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            left -= event.reasons is not None
            yield event


def _work(
    store: Store,
    stream: Stream,
    gaps: list[tuple[int, int]],
    team: Team,
    device: str,
    threads: int,
    versions: dict[str, str],
    events: Any,
) -> None:
    """A worker process: a maker of its own, every shard straight into the store."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    sys.stdout = sys.stderr  # the parent's results alone go there
    parent = os.getppid()
    torch.set_num_threads(threads)
    try:
        maker = team.open_maker(*team.arguments, device)
        for event in _by_one(store, stream, gaps, maker, versions):
            events.put(event)
            if os.getppid() != parent:
                return
    except GanauditError as error:
        events.put(error)
    except BaseException as error:
        events.put(GanauditError(f"a worker process raised {one_line(error)}"))
