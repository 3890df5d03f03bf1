"""A run on disk: append-only shards of embeddings, and the manifest that says whose they are.

    RUN/manifest.json                       what decides the bytes of a row; written once
    RUN/anchors/0000000000-0000000512.safetensors
    RUN/samples/...                         rows, status and image hash of one range of slots;
                                            beside them versions, and why slots have no image
    RUN/report.json                         belongs to a request; the run can be scored again

A shard is written to a temporary name and renamed, so that whatever kills a run, each shard is
whole or absent. The number of samples is no part of the manifest: a run can grow.
"""

import errno
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from ganaudit.reasons import bounded, recorded
from ganaudit.slots import SHARD, Stream, ranges

SCHEMA = 1
_SUFFIX = ".safetensors"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REASONS = "reasons"  # its key in a shard's metadata; the other keys are versions


@dataclass(frozen=True)
class Rows:
    """The embeddings of consecutive slots.

    Attributes:
      start: number of the first slot.
      rows: [N, D] float32 unit rows; zero where the status is not OK.
      status: [N] uint8, `Status`.
      hashes: [N, 16] uint8, of the images; zero where there is none.
      pictures: N encoded thumbnails, empty where there is none; None: none were kept.
    """

    start: int
    rows: NDArray[np.float32]
    status: NDArray[np.uint8]
    hashes: NDArray[np.uint8]
    pictures: list[bytes] | None = None

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

    def write(
        self,
        stream: Stream,
        shard: Rows,
        versions: Mapping[str, str],
        reasons: Mapping[str, int] | None = None,
    ) -> None:
        """Store one shard, whole or not at all.

        Args:
          stream: anchors or samples.
          shard: rows that lie within one shard's range of 512 slots.
          versions: of what made them; kept beside the rows. No key is "reasons".
          reasons: why slots of this shard have no image, and how many; kept as `bounded` has them.

        Raises:
          GanauditError: the disk is full or refuses; what was stored before is untouched.
        """
        arrays: dict[str, NDArray[Any]] = {
            "rows": shard.rows,
            "status": shard.status,
            "hashes": shard.hashes,
        }
        if shard.pictures is not None:
            arrays["pictures"] = np.frombuffer(b"".join(shard.pictures), dtype=np.uint8)
            arrays["picture_ends"] = np.cumsum([len(one) for one in shard.pictures])
        data = safetensors.numpy.save(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            metadata={**versions, **({_REASONS: json.dumps(bounded(reasons))} if reasons else {})},
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
        for begin, end, path, used in self._parts(stream, stop):
            rows, status, hashes = _read(path, begin, end, "rows", "status", "hashes")
            if buffer is None:
                buffer = _empty(min(step, stop), rows.shape[1])
            taken, count = used.start, used.stop
            while taken < count:
                offset = filled % step
                here = min(count - taken, step - offset)
                part = slice(taken, taken + here)
                buffer.rows[offset : offset + here] = rows[part]
                buffer.status[offset : offset + here] = status[part]
                buffer.hashes[offset : offset + here] = hashes[part]
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

    def marks(self, stream: Stream, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Status [N] uint8 and image hashes [N, 16] uint8 of slots [0, stop), without their rows.

        Raises:
          GanauditError: a shard is missing or damaged.
        """
        status = np.empty(stop, dtype=np.uint8)
        hashes = np.empty((stop, HASH_BYTES), dtype=np.uint8)
        for begin, end, path, used in self._parts(stream, stop):
            here = slice(begin + used.start, begin + used.stop)
            found, prints = _read(path, begin, end, "status", "hashes")
            status[here], hashes[here] = found[used], prints[used]
        return status, hashes

    def pictures(self, stream: Stream, slots: NDArray[np.int64]) -> dict[int, bytes]:
        """The thumbnails that were kept of some slots, by slot: PNG or JPEG.

        Raises:
          GanauditError: a shard is damaged.
        """
        found: dict[int, bytes] = {}
        for begin, end, path in self._shards(stream):
            here = slots[(slots >= begin) & (slots < end)] - begin
            if not len(here):
                continue
            kept = _read(path, begin, end, "pictures", "picture_ends")
            if kept:
                data, ends = kept[0].tobytes(), np.concatenate([[0], kept[1]])
                if (np.diff(ends) < 0).any() or ends[-1] != len(data):
                    raise GanauditError(f"{path} is damaged: its pictures do not add up")
                cut = {int(i) + begin: data[ends[i] : ends[i + 1]] for i in here}
                found |= {slot: picture for slot, picture in cut.items() if picture}
        return found

    def reasons(self, stream: Stream, stop: int) -> Counter[str]:
        """Why slots of [0, stop) have no image, and how many, as it was recorded.

        Reasons may cover fewer slots than failed: a shard that is used in part cannot say for
        which part they hold, and what cannot be read as reasons counts as none.

        Raises:
          GanauditError: a shard is missing or damaged.
        """
        reasons: Counter[str] = Counter()
        for begin, end, path, used in self._parts(stream, stop):
            if used == slice(0, end - begin):
                with _opened(path) as file:
                    text = (file.metadata() or {}).get(_REASONS, "{}")
                reasons += recorded(text, end - begin)
        return reasons

    def versions(self, stream: Stream) -> dict[str, str]:
        """What was recorded beside the first shard of a stream; empty when there is none."""
        for _, _, path in self._shards(stream):
            with _opened(path) as file:
                found = dict(file.metadata() or {})
            found.pop(_REASONS, None)
            return found
        return {}

    def discard_damaged(self, stream: Stream) -> list[str]:
        """Remove shards that cannot be read, so that they are made again; their names."""
        damaged = []
        for begin, end, path in self._shards(stream):
            try:
                _read(path, begin, end)
            except GanauditError:
                path.unlink()
                damaged.append(path.name)
        return damaged

    def _parts(self, stream: Stream, stop: int) -> Iterator[tuple[int, int, Path, slice]]:
        """The shards that make up slots [0, stop), and which of its rows each gives."""
        filled = 0
        for begin, end, path in self._shards(stream):
            if begin > filled or filled == stop:
                break
            if end > filled:  # two runs may have made some rows twice: the same rows
                yield begin, end, path, slice(filled - begin, min(end, stop) - begin)
                filled = min(end, stop)
        if filled < stop:
            raise GanauditError(
                f"{self.folder} lacks the {stream.name.lower()} from slot {filled} on; continue it "
                "with --resume"
            )

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


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A shard as `safetensors.safe_open` has it."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise GanauditError(f"{path} is damaged ({error}); remove it and use --resume") from error


def _read(path: Path, begin: int, end: int, *names: str) -> list[NDArray[Any]]:
    """The tensors `names` of a shard, and no others; refused unless it is what its name says."""
    count = end - begin
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        width = (0, *shapes.get("rows", ()))[-1]
        wanted = {"rows": (count, width), "status": (count,), "hashes": (count, HASH_BYTES)}
        if "pictures" in shapes:
            wanted |= {"picture_ends": (count,), "pictures": shapes["pictures"][:1]}
        if shapes != wanted:
            raise GanauditError(f"{path} is damaged: it does not hold {count} rows; use --resume")
        return [file.get_tensor(name) for name in names if name in shapes]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all; a NaN is a ValueError."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write_whole(path, text.encode(errors="replace"))  # names of files need not be UTF-8


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
