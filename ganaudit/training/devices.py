"""Where a training runs: in this process, or on several devices in a process for each of them."""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from functools import partial
from multiprocessing.queues import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError, GanauditError, PluginError
from ganaudit.training.loop import Ending

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
Stopped = Callable[[], bool]
Work = Callable[["Fabric", Stopped], Ending]


def fabric_of(config: TrainConfig) -> "Fabric":
    """The devices and the precision that a request asks for.

    Raises:
      ConfigError: this machine does not have them.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise PluginError(
            "training needs lightning-fabric: pip install 'ganaudit[train]'"
        ) from error
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = config.device if config.device != "auto" else "cuda" if cuda else "cpu"
    if wanted not in ("cpu", "cuda") or (wanted == "cuda" and config.devices > cuda):
        raise ConfigError(
            f"--device {config.device} with --devices {config.devices} cannot be had: this machine "
            f"has {cuda} CUDA devices (--device auto, cpu or cuda)"
        )
    if config.precision == "16" and wanted == "cpu":
        raise ConfigError("--precision 16 needs a GPU; on the CPU say --precision bf16 or 32")
    strategy: Any = "auto"
    if config.devices > 1:
        from lightning_fabric.strategies.ddp import DDPStrategy

        # The others wait while the first one audits.
        strategy = DDPStrategy(start_method="spawn", timeout=timedelta(days=1))
    precision: Any = _PRECISIONS[config.precision]
    with warnings.catch_warnings():  # advice about accelerators, no news to the user
        warnings.simplefilter("ignore")
        return Fabric(
            accelerator=wanted, devices=config.devices, strategy=strategy, precision=precision
        )


def launch(fabric: "Fabric", work: Work, *, several: bool) -> Ending:
    """Do the work on every device.

    Args:
      fabric: not launched yet.
      work: given the launched fabric, and whether somebody asked it to stop; with several devices
        it must be picklable.
      several: whether there is more than one device.

    Returns:
      What the work of the first device came to.

    Raises:
      GanauditError: as the work of any device did; or a process was ended from outside.
      KeyboardInterrupt: somebody asked twice.
    """
    begin: Any = fabric.launch
    if not several:
        with _until_told() as stopped:
            ending: Ending = begin(partial(_asked, work=work, stopped=stopped))
            return ending
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    broken: Exception | None = None
    with _passing_on():
        try:
            # Bound beforehand: what Fabric is given to pass on may hold no frozen dataclass.
            begin(partial(_apart, work=work, queue=queue))
        except (ProcessRaisedException, ProcessExitedException) as error:
            broken = error
    return _outcome(queue, broken)


def _outcome(queue: "SimpleQueue[Ending | BaseException]", broken: Exception | None) -> Ending:
    """What several processes came to; one that died after all was done has harmed nothing."""
    told = []
    while not queue.empty():
        told.append(queue.get())
    for one in told:
        if isinstance(one, BaseException):
            raise one from broken
    if isinstance(broken, ProcessRaisedException):  # a mistake of ours: its traceback
        raise broken
    for one in told:
        if isinstance(one, Ending):
            return one
    raise GanauditError(
        f"a process of the training was ended from outside ({broken}): is the memory full?"
    ) from broken


def _asked(fabric: "Fabric", *, work: Work, stopped: Stopped) -> Ending:
    return work(fabric, stopped)


def _apart(fabric: "Fabric", *, work: Work, queue: "SimpleQueue[Ending | BaseException]") -> None:
    """The work of one of several devices, in a process of its own."""
    try:
        with _until_told() as stopped, redirect_stdout(sys.stderr):  # what code prints is no result
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            ending = work(fabric, stopped)
            if fabric.is_global_zero:
                queue.put(ending)
    except (GanauditError, KeyboardInterrupt) as error:
        queue.put(error)
        raise RuntimeError("a process that fails is what ends the others") from error


@contextmanager
def _until_told() -> Iterator[Stopped]:
    """Ctrl-C and SIGTERM ask the training to stop after its step; a second Ctrl-C stops it now."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told.is_set
        return

    def tell(number: int, frame: FrameType | None) -> None:
        if told.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    with _handling({signal.SIGINT: tell, signal.SIGTERM: tell}):
        yield told.is_set


@contextmanager
def _passing_on() -> Iterator[None]:
    """With several processes it is they who hear Ctrl-C; SIGTERM is passed on to them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = set(multiprocessing.active_children())

    def tell(number: int, frame: FrameType | None) -> None:
        for process in set(multiprocessing.active_children()) - others:
            if process.pid is not None:
                os.kill(process.pid, number)

    with _handling({signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: tell}):
        # They are born with it blocked: a Ctrl-C that comes too early waits until they listen.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _handling(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    usual = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
