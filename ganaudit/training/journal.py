"""What a training says of itself, line by line: log.jsonl, and TensorBoard where it is."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from ganaudit.errors import GanauditError
from ganaudit.files import FULL, write_whole

LOG, BOARD = "log.jsonl", "tensorboard"
_MOST_LINE = 2**16  # characters of a line that is read back


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
        """The mean of each since the last time, in order of first appearance."""
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
        kept = [line for line in read_log(folder) if line["step"] <= start] if start else []
        text = "".join(f"{json.dumps(line)}\n" for line in kept)
        try:
            write_whole(self._path, text.encode())
        except OSError as error:
            raise self._failed(error) from error
        self._before = max((line.get("time_s", 0.0) for line in kept), default=0.0)
        self._begun = time.monotonic()
        self._board = self._opened(folder / BOARD, start)

    def _opened(self, folder: Path, start: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.notes.append("TensorBoard is not installed: log.jsonl has all of it")
            return None
        return SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    def record(self, step: int, values: Mapping[str, float], **about: float) -> None:
        """A line about the steps up to `step`, values being their means.

        JSON knows no NaN: what is not finite is null, and its name stands in "not_finite".

        Raises:
          GanauditError: the disk is full.
        """
        strange = [name for name, value in values.items() if not math.isfinite(value)]
        shown = {name: None if name in strange else value for name, value in values.items()}
        line = {"kind": "step", "step": step, **about, "time_s": self._time(), **shown}
        self._write(line | ({"not_finite": strange} if strange else {}))
        self._scalars(values, step)

    def audit(self, step: int, figures: Mapping[str, Any]) -> None:
        """A line about an audit: figures as JSON values, an interval as {"estimate", ...}."""
        self._write({"kind": "audit", "step": step, "time_s": self._time(), "figures": figures})
        single = {
            f"audit/{name}": value["estimate"] if isinstance(value, dict) else value
            for name, value in figures.items()
        }
        self._scalars({n: v for n, v in single.items() if isinstance(v, int | float)}, step)

    def picture(self, step: int, pixels: Any) -> None:
        """Show uint8 [H, W, 3] in TensorBoard."""
        if self._board is not None:
            self._board.add_image("samples", pixels, step, dataformats="HWC")

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    def _time(self) -> float:
        return round(self._before + time.monotonic() - self._begun, 2)

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> GanauditError:
        reason = "the disk is full" if error.errno in FULL else error.strerror or error
        return GanauditError(f"{self._path} cannot be written: {reason}")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log in order; one that a power cut has torn is left out."""
    try:
        text = (folder / LOG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line) if len(line) <= _MOST_LINE else None
        except ValueError:
            continue
        if isinstance(value, dict) and type(value.get("step")) is int:
            found.append(value)
    return found
