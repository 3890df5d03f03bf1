"""What a training says of itself, line by line: log.jsonl, and TensorBoard where it is.

A line is a JSON object with "kind", "step" and "time_s":

    step      "kimg", and the mean of every loss and logit since the line before, or what a
              checkpoint was found to be like; a number that is not finite is null, and its name
              stands in "not_finite"
    audit     "figures", numbers or {"estimate", "low", "high"}, and "under": descriptor and sizes
    no audit  "message": why there is none of this step
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from ganaudit.errors import GanauditError
from ganaudit.files import FULL, write_whole

LOG, BOARD = "log.jsonl", "tensorboard"
STEP, AUDIT, NO_AUDIT = "step", "audit", "no audit"  # kinds of lines
_MOST_LINE = 2**16  # characters of a line that is read back
_Values = Mapping[str, float | None]


class Meter:
    """Running means of named numbers; nothing waits for a GPU until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take note of some numbers, each []."""
        for name, value in values.items():
            value = value.detach().to(torch.float32)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The mean of each since the last time, in order of first appearance; empty: none came."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class Journal:
    """The log of a training, to be closed; a resumed one is that of an uninterrupted one.

    Attributes:
      notes: sentences about what it could not do.
    """

    def __init__(self, folder: Path, *, start: int) -> None:
        """Open the log; what it says of steps beyond `start` is dropped, since they come again.

        Raises:
          GanauditError: it cannot be written.
        """
        self.notes: list[str] = []
        self._path = folder / LOG
        kept = [line for line in read_log(folder) if line["step"] <= start]
        with self._writing(self._path):
            write_whole(self._path, "".join(map(_line, kept)).encode())
        self._known = {(line["step"], name) for line in kept for name in line}
        self._judged = {line["step"] for line in kept if line["kind"] != STEP}
        self._before = max((line["time_s"] for line in kept), default=0.0)
        self._begun = time.monotonic()
        with self._writing(folder / BOARD):
            self._board = self._opened(folder / BOARD, purge_step=start + 1 if kept else None)

    def _opened(self, folder: Path, *, purge_step: int | None) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.notes.append("TensorBoard is not installed: log.jsonl has all of it")
            return None
        self._board_path = folder
        return SummaryWriter(str(folder), purge_step=purge_step)

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close TensorBoard's file; all that matters in it was written before."""
        if self._board is not None:
            with suppress(OSError, ValueError):
                self._board.close()

    def record(self, step: int, values: Mapping[str, float], *, kimg: float) -> None:
        """A line about the steps up to `step`, values being their means.

        Raises:
          GanauditError: the disk is full.
        """
        strange = [name for name, value in values.items() if not math.isfinite(value)]
        shown = {name: None if name in strange else value for name, value in values.items()}
        about = {"kind": STEP, "step": step, "kimg": kimg, "time_s": self._time()}
        self._write(about | shown | ({"not_finite": strange} if strange else {}))
        self._scalars(values, step)

    def audit(self, step: int, figures: Mapping[str, Any], *, under: Mapping[str, Any]) -> None:
        """A line about an audit.

        Args:
          step: that was audited.
          figures: JSON values, one with an interval as {"estimate", "low", "high"}.
          under: JSON values that say what the figures depend on.

        Raises:
          GanauditError: the disk is full.
        """
        about = {"kind": AUDIT, "step": step, "time_s": self._time()}
        self._write(about | {"under": dict(under), "figures": dict(figures)})
        self._judged.add(step)
        single = {
            f"audit/{name}": value["estimate"] if isinstance(value, Mapping) else value
            for name, value in figures.items()
        }
        self._scalars({name: value for name, value in single.items() if value is not None}, step)

    def no_audit(self, step: int, message: str) -> None:
        """A line about an audit that was due and could not be made."""
        about = {"kind": NO_AUDIT, "step": step, "time_s": self._time()}
        self._write(about | {"message": message})
        self._judged.add(step)

    def was_audited(self, step: int) -> bool:
        """Whether there is a line about the audit of a step, or about why there is none."""
        return step in self._judged

    def was_recorded(self, step: int, name: str) -> bool:
        """Whether an earlier part of the training has a number of this name for a step."""
        return (step, name) in self._known

    def picture(self, step: int, pixels: Any) -> None:
        """Show uint8 [H, W, 3] in TensorBoard."""
        self._show(lambda: self._board.add_image("samples", pixels, step, dataformats="HWC"))

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        def show() -> None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

        self._show(show)

    def _show(self, write: Callable[[], None]) -> None:
        if self._board is not None:
            with self._writing(self._board_path):
                write()
                self._board.flush()  # a failure of its thread is known here, and not before

    def _time(self) -> float:
        return round(self._before + time.monotonic() - self._begun, 2)

    def _write(self, line: Mapping[str, Any]) -> None:
        text = _line(line)
        with self._writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "the disk is full" if error.errno in FULL else error.strerror or error
            raise GanauditError(f"{path} cannot be written: {reason}") from error


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log in order, without those that a power cut has torn or we did not write."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            value: Any = json.loads(line) if len(line) <= _MOST_LINE else None
            json.dumps(value, allow_nan=False)  # neither NaN nor 1e999
        except (ValueError, RecursionError):
            continue
        if _is_ours(value):
            found.append(value)
    return found


def _is_ours(value: Any) -> bool:
    if not isinstance(value, dict) or type(value.get("step")) is not int:
        return False
    if value.get("kind") not in (STEP, AUDIT, NO_AUDIT) or not is_number(value.get("time_s")):
        return False
    if value["kind"] == AUDIT:
        parts = (value.get("figures"), value.get("under"))
        return all(isinstance(part, dict) for part in parts) and all(
            _is_figure(figure) for figure in value["figures"].values()
        )
    return value["kind"] == STEP or isinstance(value.get("message"), str)


def _is_figure(value: Any) -> bool:
    if isinstance(value, dict):
        return {"estimate", "low", "high"} == value.keys() and all(
            end is None or is_number(end) for end in value.values()
        )
    return value is None or is_number(value)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return type(value) in (int, float)
