"""The log of a training: what is in a line, what a resumed one has, and what it survives."""

import errno
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganaudit.errors import GanauditError
from ganaudit.training.journal import BOARD, LOG, Journal, Meter, read_log

UNDER = {"descriptor": "digits", "theta": 0.3, "radius": 0.2, "anchors": 64, "samples": 256}
RATE = {"estimate": 0.25, "low": 0.125, "high": 0.5}


@pytest.fixture
def no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard is not installed, and need not be waited for."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def lines(folder: Path = Path()) -> list[dict[str, Any]]:
    """As a strict reader has them."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / LOG).read_text("utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def timeless(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "time_s"} for line in found]


# -- means ---------------------------------------------------------------------------------------


def test_a_meter_gives_the_mean_of_each_name_since_the_last_time() -> None:
    meter = Meter()
    for number in (1.0, 2.0, 6.0):
        meter.add({"a": torch.tensor(number)})
    meter.add({"b": torch.tensor(-4.0, dtype=torch.bfloat16), "a": torch.tensor(7.0)})
    assert meter.read() == {"a": 4.0, "b": -4.0}
    assert meter.read() == {}
    meter.add({"b": torch.tensor(5.0)})
    assert meter.read() == {"b": 5.0}


def test_a_meter_keeps_no_graph_and_asks_for_no_number_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter, weight = Meter(), torch.tensor(3.0, requires_grad=True)

    def wait(self: torch.Tensor) -> None:
        raise AssertionError("a step waited for its numbers")

    with monkeypatch.context() as patch:
        for name in ("item", "__float__", "cpu", "tolist", "__bool__"):
            patch.setattr(torch.Tensor, name, wait)
        meter.add({"loss": weight * 2})
        meter.add({"loss": weight * 4})
    assert all(not total.requires_grad for total in meter._sums.values())
    assert meter.read() == {"loss": 9.0}


# -- lines ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_board")
def test_every_line_is_json_and_says_when(tmp_path: Path) -> None:
    with Journal(tmp_path, start=0) as journal:
        assert journal.notes == ["TensorBoard is not installed: log.jsonl has all of it"]
        journal.audit(0, {"worst_rate": RATE, "vendi": None}, under=UNDER)
        journal.record(5, {"loss": 0.5, "r1": 2.0}, kimg=0.32)
        journal.no_audit(5, "no face")
        journal.picture(5, np.zeros((2, 2, 3), np.uint8))
        assert timeless(lines(tmp_path)) == [  # while it is open: nothing waits in a buffer
            {
                "kind": "audit",
                "step": 0,
                "under": UNDER,
                "figures": {"worst_rate": RATE, "vendi": None},
            },
            {"kind": "step", "step": 5, "kimg": 0.32, "loss": 0.5, "r1": 2.0},
            {"kind": "no audit", "step": 5, "message": "no face"},
        ]
    times = [line["time_s"] for line in lines(tmp_path)]
    assert times == sorted(times) and times[0] >= 0
    assert read_log(tmp_path) == lines(tmp_path)


@pytest.mark.usefixtures("no_board")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_and_named(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path, start=0) as journal:
        journal.record(1, {"a": value, "b": 1.0, "c": value}, kimg=0.1)
    (line,) = timeless(lines(tmp_path))
    assert line == {"kind": "step", "step": 1, "kimg": 0.1, "a": None, "b": 1.0, "c": None} | {
        "not_finite": ["a", "c"]
    }


@pytest.mark.usefixtures("no_board")
def test_a_figure_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with Journal(tmp_path, start=0) as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.audit(1, {"worst_rate": math.nan}, under=UNDER)
        assert lines(tmp_path) == [] and not journal.was_audited(1)


# -- going on ------------------------------------------------------------------------------------


def told(folder: Path, *, stops: tuple[int, ...]) -> list[dict[str, Any]]:
    """The log of ten steps with an audit at 0, 5 and 10, stopped after some, resumed at 0 or 5."""
    start = 0
    for stop in (*stops, 10):
        with Journal(folder, start=start) as journal:
            for step in range(start, stop + 1):
                if step > start:
                    journal.record(step, {"loss": step / 8}, kimg=step / 10)
                if step % 5 == 0 and not journal.was_audited(step):
                    journal.audit(step, {"worst_rate": RATE}, under=UNDER)
        start = stop // 5 * 5
    return lines(folder)


@pytest.mark.usefixtures("no_board")
@pytest.mark.parametrize("stops", [(0,), (3,), (5,), (9,), (2, 4, 8, 9)])
def test_a_resumed_log_is_that_of_an_uninterrupted_training(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole = told(tmp_path / "whole", stops=())
    resumed = told(tmp_path / "resumed", stops=stops)
    assert len(whole) == 13 and timeless(resumed) == timeless(whole)
    times = [line["time_s"] for line in resumed]
    assert times == sorted(times)


@pytest.mark.usefixtures("no_board")
def test_time_goes_on_from_where_the_log_ends(tmp_path: Path) -> None:
    Path(tmp_path, LOG).write_text('{"kind": "step", "step": 4, "kimg": 1, "time_s": 1000.5}\n')
    with Journal(tmp_path, start=4) as journal:
        journal.record(5, {}, kimg=2)
    assert 1000.5 <= lines(tmp_path)[-1]["time_s"] < 1100


@pytest.mark.usefixtures("no_board")
def test_the_log_says_which_steps_were_audited(tmp_path: Path) -> None:
    with Journal(tmp_path, start=0) as journal:
        journal.audit(0, {}, under=UNDER)
        journal.no_audit(5, "no face")
        journal.record(6, {}, kimg=1)
        journal.audit(9, {}, under=UNDER)
        assert [step for step in range(10) if journal.was_audited(step)] == [0, 5, 9]
    with Journal(tmp_path, start=6) as journal:
        assert [step for step in range(10) if journal.was_audited(step)] == [0, 5]


# -- what a folder may hold ----------------------------------------------------------------------

GOOD = '{"kind": "step", "step": 1, "kimg": 1, "time_s": 2, "loss": 0.5}'
BAD = {
    "torn": GOOD[:40],
    "no JSON": "hello",
    "a list": "[1, 2]",
    "NaN": GOOD.replace("0.5", "NaN"),
    "infinite": GOOD.replace("0.5", "1e999"),
    "step is true": GOOD.replace('"step": 1', '"step": true'),
    "step is a text": GOOD.replace('"step": 1', '"step": "1"'),
    "no time": GOOD.replace('"time_s": 2, ', ""),
    "time is a text": GOOD.replace('"time_s": 2', '"time_s": "2"'),
    "unknown kind": GOOD.replace('"kind": "step"', '"kind": "other"'),
    "long": GOOD.replace("loss", "l" * 2**16),
    "deep": "[" * 100_000,
    "no figures": '{"kind": "audit", "step": 1, "time_s": 2, "under": {}}',
    "a figure is a text": '{"kind": "audit", "step": 1, "time_s": 2, "under": {}, '
    '"figures": {"a": "b"}}',
    "half an interval": '{"kind": "audit", "step": 1, "time_s": 2, "under": {}, '
    '"figures": {"a": {"estimate": 1}}}',
    "no message": '{"kind": "no audit", "step": 1, "time_s": 2}',
}


@pytest.mark.usefixtures("no_board")
@pytest.mark.parametrize("what", BAD)
def test_a_line_that_is_none_of_ours_is_left_out(tmp_path: Path, what: str) -> None:
    (tmp_path / LOG).write_text(f"{GOOD}\n{BAD[what]}\n{GOOD}\n")
    with Journal(tmp_path, start=1):
        assert lines(tmp_path) == [json.loads(GOOD)] * 2


@pytest.mark.usefixtures("no_board")
def test_bytes_that_are_no_text_spoil_their_own_line_alone(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(f"{GOOD}\n".encode() + b"\xff\xfe{\n" + GOOD.encode()[:-9])
    assert read_log(tmp_path) == [json.loads(GOOD)]


def test_a_folder_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []


# -- a full disk ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_board")
@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied")],
)
def test_a_log_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, reason)

    sentence = rf"{LOG} cannot be written: {reason}$"
    with Journal(tmp_path, start=0) as journal:
        journal.record(1, {"loss": 1.0}, kimg=1)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            for write in (
                lambda: journal.record(2, {"loss": 1.0}, kimg=1),
                lambda: journal.audit(2, {}, under={}),
                lambda: journal.no_audit(2, "no face"),
                lambda: Journal(tmp_path, start=1),
            ):
                with pytest.raises(GanauditError, match=sentence):
                    write()
    assert [line["step"] for line in lines(tmp_path)] == [1]


# -- TensorBoard ---------------------------------------------------------------------------------


def events(folder: Path) -> Iterator[tuple[int, str, Any]]:
    """Step, name and value of everything that TensorBoard was told, in the order of the files."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    for path in sorted((folder / BOARD).iterdir(), key=lambda path: path.name):
        for event in loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                yield event.step, value.tag, value


def test_tensorboard_has_the_numbers_and_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with Journal(tmp_path, start=0) as journal:
        assert journal.notes == []
        journal.record(3, {"loss": 0.5, "r1": math.inf}, kimg=1)
        journal.audit(3, {"worst_rate": RATE, "modes": 8, "vendi": None}, under=UNDER)
        journal.picture(3, pixels)
        found = {name: value for step, name, value in events(tmp_path) if step == 3}  # flushed
    assert set(found) == {"loss", "r1", "audit/worst_rate", "audit/modes", "samples"}
    numbers = {n: v.tensor.float_val[0] for n, v in found.items() if n != "samples"}
    assert numbers == {"loss": 0.5, "r1": math.inf, "audit/worst_rate": 0.25, "audit/modes": 8}
    picture = found["samples"].tensor.string_val
    assert [int(side) for side in picture[:2]] == [5, 4] and picture[2].startswith(b"\x89PNG")


def test_what_tensorboard_was_told_of_steps_that_come_again_is_purged(tmp_path: Path) -> None:
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter
    asked: list[Any] = []

    class Watched(writer):  # type: ignore[misc, valid-type]
        def __init__(self, folder: str, *, purge_step: int | None) -> None:
            asked.append(purge_step)
            super().__init__(folder, purge_step=purge_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.tensorboard.SummaryWriter", Watched)
        with Journal(tmp_path, start=0) as journal:
            journal.record(3, {"loss": 0.5}, kimg=1)
        with Journal(tmp_path, start=3):
            pass
    assert asked == [None, 4]


@pytest.mark.parametrize("when", ["writing", "opening"])
def test_a_full_disk_under_tensorboard_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils import tensorboard

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sentence = rf"{BOARD} cannot be written: the disk is full$"
    if when == "opening":
        monkeypatch.setattr(tensorboard.SummaryWriter, "__init__", refuse)
        with pytest.raises(GanauditError, match=sentence):
            Journal(tmp_path, start=0)
        return
    with Journal(tmp_path, start=0) as journal:
        monkeypatch.setattr(tensorboard.SummaryWriter, "flush", refuse)
        monkeypatch.setattr(tensorboard.SummaryWriter, "close", refuse)  # another would hide it
        with pytest.raises(GanauditError, match=sentence):
            journal.record(1, {"loss": 1.0}, kimg=1)
    assert [line["step"] for line in lines(tmp_path)] == [1]
