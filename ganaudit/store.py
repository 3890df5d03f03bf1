"""A run on disk: append-only shards of embeddings, and the manifest that says whose they are.

    RUN/manifest.json                       what decides the bytes of a row; written once
    RUN/anchors/0000000000-0000000512.safetensors
    RUN/samples/...                         rows, status and image hash of one range of slots;
                                            beside them versions, and why slots have no image
    RUN/report.json                         belongs to a request; the run can be scored again

A shard is written to a temporary name and renamed, so that whatever kills a run, each shard is
whole or absent. The number of samples is no part of the manifest: a run can grow. `shards` says
what is in a file.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import shards
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.files import FULL, json_text, read_json, write_output
from ganaudit.generators import Status
from ganaudit.images import HASH_BYTES
from ganaudit.reasons import bounded, recorded
from ganaudit.slots import SHARD, Stream, ranges

SCHEMA = 1
MANIFEST = "manifest.json"
_MOST_BYTES = 2**22  # of a manifest
_NO_IMAGE = (Status.FAILED.value, Status.REFUSED.value)
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
        return np.asarray(self.status == Status.OK.value)


def joined(pieces: Sequence[Rows]) -> Rows:
    """Rows of consecutive slots, of which each piece follows the one before; at least one."""
    if len(pieces) == 1:
        return pieces[0]
    kept = [piece.pictures for piece in pieces if piece.pictures is not None]
    return Rows(
        pieces[0].start,
        np.concatenate([piece.rows for piece in pieces]),
        np.concatenate([piece.status for piece in pieces]),
        np.concatenate([piece.hashes for piece in pieces]),
        [picture for part in kept for picture in part] if kept else None,
    )


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
        path = self.folder / MANIFEST
        if path.exists():
            if not resume:
                raise ConfigError(
                    f"{self.folder} already holds a run; continue it with --resume or name another "
                    "folder with --out"
                )
            check_same(self.folder, read_manifest(self.folder), manifest)
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
            if error.errno in FULL:
                raise GanauditError(f"{self.folder} cannot be made: the disk is full") from error
            raise ConfigError(f"--out {self.folder} cannot be made: {error.strerror}") from error
        write_json(path, pinned)

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
            ends = np.cumsum([len(one) for one in shard.pictures], dtype=np.int64)
            arrays["picture_ends"] = ends
        why = {_REASONS: json.dumps(bounded(reasons))} if reasons else {}
        data = shards.encode(arrays, {**versions, **why})
        write_output(self._place(stream, shard.start, shard.stop), data)

    def adopt(self, stream: Stream, begin: int, end: int, path: Path) -> None:
        """Take over a shard file of slots [begin, end), unless the store has that one.

        It becomes a link where the file system lets it, else a copy: shards are never written to.

        Raises:
          GanauditError: the disk is full or refuses.
        """
        place = self._place(stream, begin, end)
        if place.exists():
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
        except OSError:
            write_output(place, path.read_bytes())

    def missing(
        self, stream: Stream, stop: int, part: tuple[int, int] | None = None
    ) -> list[tuple[int, int]]:
        """The ranges of [0, stop) that are not stored yet, cut at shard boundaries.

        Args:
          stream: anchors or samples.
          stop: one past the last slot.
          part: (i, N): only of every N-th shard, from number i on; None: of all.
        """
        gaps: list[tuple[int, int]] = []
        done = 0
        for begin, end, _ in self.shards(stream):
            if begin > done:
                gaps += ranges(done, min(begin, stop), SHARD)
            done = max(done, end)
        gaps += ranges(done, stop, SHARD)
        first, step = part or (0, 1)
        return [gap for gap in gaps if gap[0] // SHARD % step == first]

    def lacks(self, stream: Stream, stop: int, part: tuple[int, int] | None = None) -> int | None:
        """The first slot that `missing` would name, at no cost for the others; None: there is none.

        Args:
          stream: anchors or samples.
          stop: one past the last slot, however large.
          part: (i, N): only of every N-th shard, from number i on; None: of all.
        """
        held: dict[int, list[tuple[int, int]]] = {}  # by shard
        for begin, end, _ in self.shards(stream):
            held.setdefault(begin // SHARD, []).append((begin, end))
        first, step = part or (0, 1)
        for begin, end in islice(ranges(0, stop, SHARD), first, None, step):
            filled = begin
            for one, other in held.get(begin // SHARD, ()):
                filled = max(filled, other) if one <= filled else filled
            if filled < end:
                return filled
        return None

    def read(
        self, stream: Stream, stop: int, *, start: int = 0, step: int = SHARD
    ) -> Iterator[Rows]:
        """The stored rows of slots [start, stop), in order, `step` slots at a time.

        Args:
          stream: anchors or samples.
          stop: one past the last slot; everything below it must be stored.
          start: the first slot, a multiple of 512.
          step: slots a piece, a multiple of 512; the last piece may be shorter.

        Yields:
          Rows whose arrays are reused by the next piece: copy what has to live longer.

        Raises:
          GanauditError: a shard is missing or damaged.
        """
        buffer: Rows | None = None
        filled = start
        for begin, end, path, used in self._parts(stream, stop):
            if begin + used.stop <= start:
                continue
            rows, status, hashes = shards.read(path, begin, end, "rows", "status", "hashes")
            if buffer is None:
                buffer = _empty(min(step, stop - start), rows.shape[1])
            taken, count = max(used.start, start - begin), used.stop
            while taken < count:
                offset = (filled - start) % step
                here = min(count - taken, step - offset)
                part = slice(taken, taken + here)
                buffer.rows[offset : offset + here] = rows[part]
                buffer.status[offset : offset + here] = status[part]
                buffer.hashes[offset : offset + here] = hashes[part]
                taken += here
                filled += here
                if (filled - start) % step == 0 or filled == stop:
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
            found, prints = shards.read(path, begin, end, "status", "hashes")
            status[here], hashes[here] = found[used], prints[used]
        return status, hashes

    def width(self) -> int:
        """Columns of the stored rows; 1 where there are none.

        Raises:
          GanauditError: a shard is damaged.
        """
        for stream in Stream:
            for begin, end, path in self.shards(stream):
                return int(shards.read(path, begin, end, "rows")[0].shape[1])
        return 1

    def without_image(self, stream: Stream, stop: int) -> int:
        """How many of the stored slots below `stop` failed or were refused.

        Raises:
          GanauditError: a shard is damaged.
        """
        count = 0
        for begin, end, path in self.shards(stream):
            (status,) = shards.read(path, begin, end, "status")
            count += sum(int((status[: max(0, stop - begin)] == no).sum()) for no in _NO_IMAGE)
        return count

    def pictures(self, stream: Stream, slots: NDArray[np.int64]) -> dict[int, bytes]:
        """The thumbnails that were kept of some slots, by slot: PNG or JPEG.

        Raises:
          GanauditError: a shard is damaged.
        """
        found: dict[int, bytes] = {}
        for begin, end, path in self.shards(stream):
            here = slots[(slots >= begin) & (slots < end)] - begin
            if not len(here):
                continue
            kept = shards.read(path, begin, end, "pictures", "picture_ends")
            if kept:
                pictures = shards.cut(kept[0], kept[1], path)
                found |= {int(i) + begin: pictures[i] for i in here if pictures[i]}
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
                reasons += recorded(shards.notes(path).get(_REASONS, "{}"), end - begin)
        return reasons

    def versions(self, stream: Stream) -> dict[str, str]:
        """What was recorded beside the first shard of a stream; empty when there is none."""
        return next(self._versions(stream), {})

    def every_version(self) -> list[dict[str, str]]:
        """What was recorded beside any shard, each different record once: anchors before samples.

        Raises:
          GanauditError: a shard is damaged.
        """
        found: list[dict[str, str]] = []
        for stream in Stream:
            for one in self._versions(stream):
                if one and one not in found:
                    found.append(one)
        return found

    def _versions(self, stream: Stream) -> Iterator[dict[str, str]]:
        for _, _, path in self.shards(stream):
            found = shards.notes(path)
            found.pop(_REASONS, None)
            yield found

    def discard_damaged(self, stream: Stream) -> list[str]:
        """Remove shards that cannot be read, so that they are made again; their names."""
        damaged = []
        for begin, end, path in self.shards(stream):
            try:
                shards.read(path, begin, end)
            except GanauditError:
                path.unlink()
                damaged.append(path.name)
        return damaged

    def _parts(self, stream: Stream, stop: int) -> Iterator[tuple[int, int, Path, slice]]:
        """The shards that make up slots [0, stop), and which of its rows each gives."""
        filled = 0
        for begin, end, path in self.shards(stream):
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

    def shards(self, stream: Stream) -> list[tuple[int, int, Path]]:
        """The files of a stream: (first slot, one past the last, path), in order."""
        paths = (self.folder / stream.name.lower()).glob(f"*{shards.SUFFIX}")
        named = ((shards.range_of(path.name), path) for path in paths)
        return sorted((*slots, path) for slots, path in named if slots is not None)

    def _place(self, stream: Stream, begin: int, end: int) -> Path:
        return self.folder / stream.name.lower() / shards.name_of(begin, end)


def _empty(count: int, width: int) -> Rows:
    return Rows(
        0,
        np.zeros((count, width), dtype=np.float32),
        np.zeros(count, dtype=np.uint8),
        np.zeros((count, HASH_BYTES), dtype=np.uint8),
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all; a NaN is a ValueError."""
    text = json_text(content)
    write_output(path, text.encode(errors="replace"))  # names of files need not be UTF-8


def read_manifest(folder: Path) -> Any:
    """What a run's folder says decides its rows, as JSON values that anybody may have written.

    Raises:
      ConfigError: it is absent, too large, or no JSON.
    """
    return read_json(folder / MANIFEST, most_bytes=_MOST_BYTES)


def check_same(
    folder: Path,
    found: Any,
    manifest: Mapping[str, Any],
    *,
    remedy: str = "name another folder with --out",
) -> None:
    """Refuse a run's folder whose manifest, as `read_manifest` found it, says another run.

    Raises:
      ConfigError: the first difference is named.
    """
    wanted = json.loads(json.dumps({"schema": SCHEMA, **manifest}))
    unequal = difference(found, wanted)
    if unequal is not None:
        where, there, here = unequal
        raise ConfigError(
            f"{folder} holds another run: {where} is {there} there and {here} in this request; "
            f"{remedy}"
        )


def difference(found: Any, wanted: Any, where: str = "") -> tuple[str, str, str] | None:
    """The first place where two JSON values differ: its dotted name, and both, shortened."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(wanted.keys() | found.keys()):
            name = f"{where}.{key}" if where else key
            inner = difference(found.get(key), wanted.get(key), name)
            if inner is not None:
                return inner
        return None
    return None if found == wanted else (where or "manifest", _short(found), _short(wanted))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
