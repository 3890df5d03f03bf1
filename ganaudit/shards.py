"""One file of a run's rows: the same rows give the same bytes, and it holds what its name says.

0000000512-0000001024.safetensors    slots [512, 1024), at most one shard of 512
    rows      [N, D] float32         unit rows; zero where the status is not OK
    status    [N] uint8
    hashes    [N, 16] uint8          of the images
    pictures, picture_ends           thumbnails one after the other, where they were kept
    metadata                         versions of what made them, and why slots have no image
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ganaudit.errors import GanauditError
from ganaudit.generators import Status
from ganaudit.images import HASH_BYTES
from ganaudit.slots import SHARD

SUFFIX = ".safetensors"
_NAME = re.compile(r"([0-9]{10,15})-([0-9]{10,15})" + re.escape(SUFFIX))
_MOST_BYTES = 2**30
_UNIT = 1e-3  # by which the length of a row may differ from 1
_NOTES, _NOTE = 64, 2**16  # notes of a shard, characters of one
_TYPES = {"rows": "f4", "status": "u1", "hashes": "u1", "pictures": "u1", "picture_ends": "i8"}
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how a PNG and a JPEG begin


def name_of(begin: int, end: int) -> str:
    """The file name of slots [begin, end)."""
    return f"{begin:010d}-{end:010d}{SUFFIX}"


def range_of(name: str) -> tuple[int, int] | None:
    """The slots that a file's name promises; None: it is no shard's name."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def encode(arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, str]) -> bytes:
    """The bytes of a shard, which follow from its arguments alone."""
    data = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        metadata=dict(notes),
    )
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(notes.items()))  # the library's order is another each time
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def read(path: Path, begin: int, end: int, *names: str) -> list[NDArray[Any]]:
    """The arrays `names` of a shard of slots [begin, end), those of them that it has.

    Raises:
      GanauditError: it cannot be read, or its arrays are not those of so many slots.
    """
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


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of a file that `encode` made.

    Raises:
      GanauditError: the file cannot be read.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def notes(path: Path) -> dict[str, str]:
    """What was written beside the rows.

    Raises:
      GanauditError: the file cannot be read.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


def check(path: Path, begin: int, end: int) -> int:
    """Look through a shard that somebody else may have made.

    Args:
      path: a plain file.
      begin: its first slot.
      end: one past its last.

    Returns:
      D, the columns of its rows.

    Raises:
      GanauditError: it is none, or holds what no run stores.
    """
    if path.is_symlink() or not path.is_file():
        raise GanauditError(f"{path} is a link or no file")
    if begin >= end or begin // SHARD != (end - 1) // SHARD:
        raise GanauditError(f"{path} is damaged: its name promises what no shard holds")
    if path.stat().st_size > _MOST_BYTES:
        raise GanauditError(f"{path} is damaged: it is larger than any shard")
    found = dict(zip(_TYPES, read(path, begin, end, *_TYPES), strict=False))
    for name, array in found.items():
        if array.dtype != _TYPES[name]:
            raise GanauditError(f"{path} is damaged: its {name} are of type {array.dtype}")
    valid = found["status"] == Status.OK.value
    rows = found["rows"][valid]
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not (np.abs(lengths - 1) <= _UNIT).all():  # NaN is no length either
        raise GanauditError(f"{path} is damaged: a row that counts has not the length 1")
    if (found["status"] > max(Status)).any():
        raise GanauditError(f"{path} is damaged: it has a status that there is not")
    if "pictures" in found:
        pictures = cut(found["pictures"], found["picture_ends"], path)
        if not all(picture.startswith(_PICTURES) for picture in pictures if picture):
            raise GanauditError(f"{path} is damaged: it has a picture that is none")
    written = notes(path)
    if len(written) > _NOTES or any(len(text) > _NOTE for pair in written.items() for text in pair):
        raise GanauditError(f"{path} is damaged: its notes are longer than any run's")
    return int(found["rows"].shape[1])


def cut(pictures: NDArray[np.uint8], ends: NDArray[np.int64], path: Path) -> list[bytes]:
    """The thumbnails of a shard, one a slot.

    Raises:
      GanauditError: they do not add up.
    """
    data, bounds = pictures.tobytes(), np.concatenate([[0], ends])
    if (np.diff(bounds) < 0).any() or bounds[-1] != len(data):
        raise GanauditError(f"{path} is damaged: its pictures do not add up")
    return [data[one:other] for one, other in zip(bounds[:-1], bounds[1:], strict=True)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A shard as `safetensors.safe_open` has it, which may hold types that NumPy has not."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            yield file
    except (OSError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise GanauditError(f"{path} is damaged ({error}); remove it and use --resume") from error
