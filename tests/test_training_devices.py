"""Several devices: what becomes of errors, signals and prints in processes of their own."""

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ganaudit.errors import ConfigError, GanauditError, UnsafeCheckpoint
from ganaudit.training import devices
from ganaudit.training.devices import Stopped, launch
from ganaudit.training.loop import Ending


class Fabric:
    """Runs the work of one device here, and fails as Fabric does if it fails."""

    is_global_zero = True

    def __init__(self, *, killed: str = "") -> None:
        self._killed = killed

    def launch(self, begin: Callable[..., Any]) -> Any:
        if self._killed != "before":
            try:
                found = begin(self)
            except Exception as error:
                text = f"-- Process 0 terminated with the following error: {error!r}"
                raise ProcessRaisedException(text, 0, 7) from error
        if self._killed:
            raise ProcessExitedException("process 1 terminated with signal SIGABRT", 1, 7, -6)
        return found


def done(work: Callable[..., Any], *, several: bool = True, **how: Any) -> Ending:
    return launch(Fabric(**how), work, several=several)  # type: ignore[arg-type]


def fails(fabric: Any, stopped: Stopped, *, error: BaseException) -> Ending:
    raise error


@pytest.mark.parametrize("several", [False, True])
def test_what_the_work_comes_to_comes_back(several: bool) -> None:
    ending = Ending("diverged", 7, "so it is")
    assert done(lambda fabric, stopped: ending, several=several) == ending


@pytest.mark.parametrize(
    "error", [GanauditError("the disk is full"), ConfigError("no"), UnsafeCheckpoint("x")]
)
@pytest.mark.parametrize("several", [False, True])
def test_a_sentence_crosses_the_border_of_a_process(error: GanauditError, several: bool) -> None:
    kind: type[Exception] = type(error)
    if not several:
        kind = ProcessRaisedException  # of the fake; there is no process
    with pytest.raises(kind, match=str(error)):
        done(partial(fails, error=error), several=several)


def test_a_second_ctrl_c_ends_all_of_them() -> None:
    with pytest.raises(KeyboardInterrupt):
        done(partial(fails, error=KeyboardInterrupt()))


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ProcessRaisedException, match="ZeroDivisionError"):
        done(partial(fails, error=ZeroDivisionError()))


def test_a_process_that_was_killed_is_one_sentence_unless_all_was_done() -> None:
    ending = Ending("finished", 3)
    sentence = "ended from outside .process 1 .* SIGABRT.: is the memory full?"
    with pytest.raises(GanauditError, match=sentence):
        done(lambda fabric, stopped: ending, killed="before")
    assert done(lambda fabric, stopped: ending, killed="after") == ending


def test_the_first_device_alone_says_how_it_ended() -> None:
    second = Fabric()
    second.is_global_zero = False
    with pytest.raises(GanauditError, match="ended from outside"):
        launch(second, lambda fabric, stopped: Ending("finished", 3), several=True)  # type: ignore[arg-type]


def test_what_is_printed_elsewhere_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    def prints(fabric: Any, stopped: Stopped) -> Ending:
        print("hello from a descriptor")
        return Ending("finished", 1)

    done(prints)
    sys.stderr.flush()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "hello from a descriptor\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_device_that_is_told_to_stop_knows_it(number: signal.Signals) -> None:
    heard = []

    def works(fabric: Any, stopped: Stopped) -> Ending:
        heard.append(stopped())
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # patient, however often it comes
        heard.append(stopped())
        return Ending("interrupted", 1)

    for several in (False, True):
        done(works, several=several)
    assert heard == [False, True] * 2


class Launcher(Fabric):
    """Does something while the processes are at work, in the one that waits for them."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def launch(self, begin: Callable[..., Any]) -> Any:
        self._act()
        begin.keywords["queue"].put(Ending("interrupted", 1))  # type: ignore[attr-defined]


def waited(act: Callable[[], None]) -> Ending:
    return launch(Launcher(act), lambda *given: None, several=True)  # type: ignore[arg-type,return-value]


def test_ctrl_c_is_left_to_the_processes_and_waits_until_they_listen() -> None:
    usual = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    blocked = []

    def interrupted() -> None:
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)  # for this thread: another one would ignore it at once
        blocked.append(signal.SIGINT in signal.sigpending())

    assert waited(interrupted).status == "interrupted"
    assert blocked == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == usual


def test_sigterm_is_passed_on_to_them_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, *others = (Process(pid) for pid in (11, 12, None))
    there, killed = [mine], []
    monkeypatch.setattr(devices.multiprocessing, "active_children", lambda: there)
    monkeypatch.setattr(devices.os, "kill", lambda *given: killed.append(given))

    def told() -> None:
        there.extend(others)
        signal.raise_signal(signal.SIGTERM)

    waited(told)
    assert killed == [(12, signal.SIGTERM)]


class Process:
    """Of somebody."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
