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

import torch

from ganaudit.errors import (
    GanauditError,
    one_line,
)
from ganaudit.maker import Maker
from ganaudit.reasons import bounded
from ganaudit.slots import Stream, shard_ranges
from ganaudit.store import Store

Progress = Callable[[str, int, int], None]  # (what, slots done, slots in all)


def silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


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
) -> Counter[str]:
    """Make what `store` lacks of slots [0, stop) of a stream.

    Args:
      store: where shards go, each as soon as it is made.
      stream: anchors or samples.
      stop: one past the last slot.
      maker: of this process.
      versions: recorded beside every shard, as are the reasons of its slots.
      progress: told after every shard.
      part: (i, N): every N-th shard, from number i on, and no others; None: all.
      team: worker processes that do it instead of `maker`.
      enough: asked before the first shard and after each; true: no more are made.

    Returns:
      Why slots that were made now have no image, and how many of them.
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
        for count, why in finished:
            done += count
            reasons += why
            progress(name, done, slots)
            if enough():
                break
    return reasons


def _by_one(
    store: Store,
    stream: Stream,
    gaps: list[tuple[int, int]],
    maker: Maker,
    versions: dict[str, str],
) -> Generator[tuple[int, Counter[str]]]:
    for begin, end in gaps:
        maker.reasons.clear()
        rows = maker.rows(stream, begin, end)
        reasons = bounded(maker.reasons)
        store.write(stream, rows, versions, reasons)
        yield end - begin, reasons


def _by_team(
    store: Store,
    stream: Stream,
    gaps: list[tuple[int, int]],
    team: Team,
    versions: dict[str, str],
) -> Generator[tuple[int, Counter[str]]]:
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
            left -= 1
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
