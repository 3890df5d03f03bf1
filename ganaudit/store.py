"""A run on disk: append-only shards of embeddings, and the manifest that says whose they are.

    RUN/manifest.json                       what decides the bytes of a row; written once
    RUN/anchors/0000000000-0000000512.safetensors
    RUN/samples/...                         rows, status and image hash of one range of slots
    RUN/report.json                         belongs to a request; the run can be scored again

A shard is written to a temporary name and renamed, so that whatever kills a run, each shard is
whole or absent. The number of samples is no part of the manifest: a run can grow.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ganaudit.errors import ConfigError, GanauditError
from ganaudit.files import write_whole
from ganaudit.generators import Status
from ganaudit.images import HASH_BYTES
from ganaudit.slots import SHARD, Stream, ranges

SCHEMA = 1
_SUFFIX = ".safetensors"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Rows:
    """The embeddings of consecutive slots.

    Attributes:
      start: number of the first slot.
      rows: [N, D] float32 unit rows; zero where the status is not OK.
      status: [N] uint8, `Status`.
      hashes: [N, 16] uint8, of the images; zero where there is none.
    """

    start: int
    rows: NDArray[np.float32]
    status: NDArray[np.uint8]
    hashes: NDArray[np.uint8]

    @property
    def stop(self) -> int:
        """One past the last slot."""
        return self.start + len(self.rows)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[N] bool: the rows that are scored."""
        return np.asarray(self.status == Status.OK)


class Store:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read or made."""
        self.folder = folder

    def open(self, manifest: Mapping[str, Any], *, resume: bool) -> None:
        """Begin a run here, or continue the one that is here.

        Args:
          manifest: what decides the bytes of a row, as JSON values.
          resume: a run of the same manifest may already be here.

        Raises:
          ConfigError: the folder holds a run and `resume` is false, another run, or other things.
        """
        pinned = {"schema": SCHEMA, **manifest}
        path = self.folder / "manifest.json"
        if path.exists():
            if not resume:
                raise ConfigError(
                    f"{self.folder} already holds a run; continue it with --resume or name another "
                    "folder with --out"
                )
            self._check_same(_read_json(path), json.loads(json.dumps(pinned)))
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigError(
                f"{self.folder} is not empty and holds no run; name another folder with --out"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is a file; name a folder with --out")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _FULL:
                raise GanauditError(f"{self.folder} cannot be made: the disk is full") from error
            raise ConfigError(f"--out {self.folder} cannot be made: {error.strerror}") from error
        write_json(path, pinned)

    def _check_same(self, found: Any, wanted: dict[str, Any]) -> None:
        difference = _difference(found, wanted, "")
        if difference is not None:
            where, there, here = difference
            raise ConfigError(
                f"{self.folder} holds another run: {where} is {_short(there)} there and "
                f"{_short(here)} in this request; name another folder with --out"
            )

    def write(self, stream: Stream, shard: Rows, versions: Mapping[str, str]) -> None:
        """Store one shard, whole or not at all.

        Args:
          stream: anchors or samples.
          shard: rows that lie within one shard's range of 512 slots.
          versions: of what made them; kept beside the rows.

        Raises:
          GanauditError: the disk is full or refuses; what was stored before is untouched.
        """
        arrays = {"rows": shard.rows, "status": shard.status, "hashes": shard.hashes}
        data = safetensors.numpy.save(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            metadata=dict(versions),
        )
        folder = self.folder / stream.name.lower()
        _write_whole(folder / f"{shard.start:010d}-{shard.stop:010d}{_SUFFIX}", data)

    def missing(self, stream: Stream, stop: int) -> list[tuple[int, int]]:
        """The ranges of [0, stop) that are not stored yet, cut at shard boundaries."""
        gaps: list[tuple[int, int]] = []
        done = 0
        for begin, end, _ in self._shards(stream):
            if begin > done:
                gaps += ranges(done, min(begin, stop), SHARD)
            done = max(done, end)
        return gaps + list(ranges(done, stop, SHARD))

    def read(self, stream: Stream, stop: int, *, step: int = SHARD) -> Iterator[Rows]:
        """The stored rows of slots [0, stop), in order, `step` slots at a time.

        Args:
          stream: anchors or samples.
          stop: one past the last slot; everything below it must be stored.
          step: slots a piece, a multiple of 512; the last piece may be shorter.

        Yields:
          Rows whose arrays are reused by the next piece: copy what has to live longer.

        Raises:
          GanauditError: a shard is missing or damaged.
        """
        buffer: Rows | None = None
        filled = 0
        for begin, end, path in self._shards(stream):
            if begin > filled or begin >= stop:
                break
            if end <= filled:
                continue
            shard = _read_shard(path, begin, end)
            if buffer is None:
                buffer = _empty(min(step, stop), shard.rows.shape[1])
            taken = filled - begin  # two runs may have made some rows twice: the same rows
            count = min(end, stop) - begin
            while taken < count:
                offset = filled % step
                here = min(count - taken, step - offset)
                part = slice(taken, taken + here)
                buffer.rows[offset : offset + here] = shard.rows[part]
                buffer.status[offset : offset + here] = shard.status[part]
                buffer.hashes[offset : offset + here] = shard.hashes[part]
                taken += here
                filled += here
                if filled % step == 0 or filled == stop:
                    size = offset + here
                    yield Rows(
                        filled - size,
                        buffer.rows[:size],
                        buffer.status[:size],
                        buffer.hashes[:size],
                    )
        if filled < stop:
            raise GanauditError(
                f"{self.folder} lacks the {stream.name.lower()} from slot {filled} on; continue it "
                "with --resume"
            )

    def versions(self, stream: Stream) -> dict[str, str]:
        """What was recorded beside the first shard of a stream; empty when there is none."""
        for _, _, path in self._shards(stream):
            with safetensors.safe_open(path, framework="np") as file:
                return dict(file.metadata() or {})
        return {}

    def discard_damaged(self, stream: Stream) -> list[str]:
        """Remove shards that cannot be read, so that they are made again; their names."""
        damaged = []
        for begin, end, path in self._shards(stream):
            try:
                _read_header(path, begin, end)
            except GanauditError:
                path.unlink()
                damaged.append(path.name)
        return damaged

    def _shards(self, stream: Stream) -> list[tuple[int, int, Path]]:
        found = []
        for path in (self.folder / stream.name.lower()).glob(f"*{_SUFFIX}"):
            begin, dash, end = path.stem.partition("-")
            if dash and begin.isdigit() and end.isdigit():
                found.append((int(begin), int(end), path))
        return sorted(found)


def _empty(count: int, width: int) -> Rows:
    return Rows(
        0,
        np.zeros((count, width), dtype=np.float32),
        np.zeros(count, dtype=np.uint8),
        np.zeros((count, HASH_BYTES), dtype=np.uint8),
    )


def _read_header(path: Path, begin: int, end: int) -> None:
    """Refuse a shard whose tensors are not those of its name."""
    count = end - begin
    try:
        with safetensors.safe_open(path, framework="np") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise GanauditError(f"{path} is damaged ({error}); remove it and use --resume") from error
    width = (0, *shapes.get("rows", ()))[-1]
    if shapes != {"rows": (count, width), "status": (count,), "hashes": (count, HASH_BYTES)}:
        raise GanauditError(f"{path} is damaged: it does not hold {count} rows; use --resume")


def _read_shard(path: Path, begin: int, end: int) -> Rows:
    _read_header(path, begin, end)
    arrays = safetensors.numpy.load_file(path)
    return Rows(begin, arrays["rows"], arrays["status"], arrays["hashes"])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all; a NaN is a ValueError."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write_whole(path, text.encode())


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error


def _write_whole(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        reason = "the disk is full" if error.errno in _FULL else str(error)
        raise GanauditError(f"{path} cannot be written: {reason}") from error


def _difference(found: Any, wanted: Any, where: str) -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ: (its dotted name, found, wanted)."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(wanted.keys() | found.keys()):
            name = f"{where}.{key}" if where else key
            difference = _difference(found.get(key), wanted.get(key), name)
            if difference is not None:
                return difference
        return None
    return None if found == wanted else (where or "manifest", found, wanted)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
