"""Arrays in files that somebody else made: the members of an .npz, and MNIST's idx, also as .gz.

A header is read first, and says how much will come. What would not fit in memory is refused before
it is unpacked, and what is longer or shorter than its header is no such file. Rows that stand in a
file as they are (np.savez, idx without .gz) are read one at a time, and need no memory.
"""

import gzip
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ganaudit.archives import opened_archive
from ganaudit.errors import ConfigError, SourceError, one_line

_MOST_HEADER = 10_000  # bytes of an .npy header
_PIECE = 2**20  # bytes unpacked at once
_IDX_BYTES = 8  # idx's number for unsigned bytes; there are five other types
_SIGNATURE, _LOCAL = b"PK\x03\x04", 30  # of a zip entry, and bytes before its name
_UNKNOWN_MEMORY = 2**32  # taken as free where a machine does not say


def spare_bytes() -> int:
    """Half of the memory that this machine, or the container, could still give."""
    free = _UNKNOWN_MEMORY
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")
        )
    except (OSError, StopIteration):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit
        pass
    return free // 2


def in_bytes(size: int) -> str:
    """A size of memory for a reader."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


@dataclass(frozen=True)
class StoredRows:
    """The rows of an array that stands in a file as it is, read when they are asked for.

    Attributes:
      path: of the file, which is long enough for all of them.
      offset: of the first byte.
      dtype: of the values.
      shape: of the array: [N, ...].
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> NDArray[Any]:
        """One row.

        Raises:
          IndexError: there is none of that number.
          SourceError: the file cannot be read, or is no longer as long as it was.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"there are rows 0 to {len(self) - 1}, got {row}")
        return self._read(row, np.empty(self.shape[1:], self.dtype))

    def whole(self) -> NDArray[Any]:
        """All rows.

        Raises:
          SourceError: as for one.
        """
        return self._read(0, np.empty(self.shape, self.dtype))

    def _read(self, row: int, values: NDArray[Any]) -> NDArray[Any]:
        stride = math.prod(self.shape[1:]) * self.dtype.itemsize
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset + row * stride)
                _read_into(file, values)
        except (OSError, EOFError) as error:
            raise SourceError(f"{self.path} cannot be read: {one_line(error)}") from error
        return values


Rows = NDArray[Any] | StoredRows


def whole(rows: Rows) -> NDArray[Any]:
    """All of them, in memory."""
    return rows.whole() if isinstance(rows, StoredRows) else rows


@dataclass(frozen=True)
class Member:
    """An array of an .npz file, of which the header alone was read.

    Attributes:
      path: of the file.
      name: of the array.
      dtype: of its values; never an object.
      shape: of the array.
      header: bytes before its values.
    """

    path: Path
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    header: int

    def rows(self, *, most_bytes: int) -> Rows:
        """The array: in memory, or in the file if it stands there as it is.

        Raises:
          ConfigError: it is damaged, or takes more than `most_bytes` of memory.
        """
        with opened_archive(self.path) as archive:
            entry = archive.getinfo(f"{self.name}.npy")
            if entry.compress_type == zipfile.ZIP_STORED and self.shape:
                return self._stored(entry)
            values = self._empty(most_bytes)
            try:
                with archive.open(entry) as file:
                    file.read(self.header)
                    _read_into(file, values)  # zipfile compares the checksum at its end
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ConfigError(
                    f"{self.path} is damaged: the array {self.name!r} cannot be unpacked "
                    f"({one_line(error)})"
                ) from error
            return values

    def _empty(self, most_bytes: int) -> NDArray[Any]:
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > most_bytes:
            raise ConfigError(
                f"{self.path}: the array {self.name!r} takes {in_bytes(size)}, and "
                f"{in_bytes(most_bytes)} may be used; save it with np.savez, which does not "
                "compress: it is then read row by row"
            )
        return np.empty(self.shape, self.dtype)

    def _stored(self, entry: zipfile.ZipInfo) -> StoredRows:
        with self.path.open("rb") as file:
            file.seek(entry.header_offset)
            local = file.read(_LOCAL)
            names = sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
            end = entry.header_offset + _LOCAL + names + entry.file_size
            if not local.startswith(_SIGNATURE) or end > file.seek(0, os.SEEK_END):
                raise ConfigError(f"{self.path} is damaged: the array {self.name!r} is cut short")
        return StoredRows(self.path, end - entry.file_size + self.header, self.dtype, self.shape)


def npz_members(path: Path) -> Mapping[str, Member]:
    """The arrays of an .npz file by name; of none more than its header is read.

    Raises:
      ConfigError: it is no zip archive, or damaged, or an array in it holds Python objects, stands
        in Fortran order, or is not as long as its header says.
    """
    with opened_archive(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        return {member.name: member for member in (_member(path, archive, e) for e in entries)}


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    name = entry.filename.removesuffix(".npy")
    try:
        with archive.open(entry) as file:
            shape, fortran, dtype = _npy_header(file)
            header = file.tell()
    except Exception as error:  # of NumPy's and zipfile's readers, half a dozen kinds
        raise ConfigError(
            f"{path}: the array {name!r} cannot be read: {one_line(error)}"
        ) from error
    if dtype.hasobject:
        raise ConfigError(f"{path}: the array {name!r} holds Python objects, which are not loaded")
    if fortran and len(shape) > 1:
        raise ConfigError(
            f"{path}: the array {name!r} is in Fortran order; save np.ascontiguousarray of it"
        )
    if entry.file_size != header + math.prod(shape) * dtype.itemsize:
        raise ConfigError(
            f"{path} is damaged: the array {name!r} is not as long as its shape {list(shape)} says"
        )
    return Member(path, name, dtype, shape, header)


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    major, _ = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file, max_header_size=_MOST_HEADER)
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"its shape cannot be {shape!r:.80}")
    return shape, fortran, dtype


def idx_rows(path: Path, *, dimensions: int, most_bytes: int) -> Rows:
    """The uint8 array of an idx file, also of one that was packed with gzip.

    Two zero bytes, the type, the number of dimensions, each as 4 bytes (big-endian), the values.

    Args:
      path: of the file.
      dimensions: that the array must have: 3 for images [N, H, W], 1 for labels.
      most_bytes: of memory, that a packed one may take.

    Raises:
      ConfigError: it is no idx file, of another type or rank, too large, or not of the length that
        its header says.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            shape = _idx_header(path, file, dimensions)
            size, offset = math.prod(shape), 4 + 4 * dimensions
            if not packed:
                if path.stat().st_size != offset + size:
                    raise EOFError(f"{offset + size} bytes wanted, got {path.stat().st_size}")
                return StoredRows(path, offset, np.dtype(np.uint8), shape)
            if size > most_bytes:
                raise ConfigError(
                    f"{path} takes {in_bytes(size)} of memory, and {in_bytes(most_bytes)} may "
                    "be used; unpack it (gunzip): it is then read row by row"
                )
            values = np.empty(shape, np.uint8)
            _read_into(file, values)
            _end(file)
            return values
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path} is damaged, or no idx file: {one_line(error)}; fetch it again"
        ) from error


def _idx_header(path: Path, file: BinaryIO | gzip.GzipFile, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ConfigError(
            f"{path} is no idx file: it does not begin with two zero bytes; unpack it into a folder"
        )
    if magic[2] != _IDX_BYTES:
        raise ConfigError(f"{path} must hold unsigned bytes (idx type 8), got type {magic[2]}")
    if magic[3] != dimensions:
        wanted = {3: "images [N, H, W]", 1: "labels [N]"}[dimensions]
        raise ConfigError(f"{path} must be an idx file of {wanted}, got {magic[3]} dimensions")
    sides = file.read(4 * dimensions)
    if len(sides) < 4 * dimensions:
        raise EOFError("it ends in its header")
    return tuple(int(side) for side in np.frombuffer(sides, ">u4"))


def _read_into(file: Any, values: NDArray[Any]) -> None:
    """Fill `values`, or EOFError."""
    left: memoryview = values.reshape(-1).view(np.uint8).data
    while len(left):
        piece = file.read(min(len(left), _PIECE))
        if not piece:
            raise EOFError(f"{len(left)} bytes are missing at its end")
        left[: len(piece)] = piece
        left = left[len(piece) :]


def _end(file: Any) -> None:
    """Nothing may follow; a checksum is compared here, too."""
    if file.read(1):
        raise EOFError("it is longer than its header says")
