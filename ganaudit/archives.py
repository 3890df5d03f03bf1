"""What a zip archive holds, by its table of contents: nothing in it is run, no torch is needed."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ganaudit.errors import ConfigError, one_line

Program = Literal["torchscript", "exported"]
_MOST_TABLE = 2**22  # bytes of a table of contents, about a hundred for each entry
_MOST_TABLE_OF_DATA = 2**26  # of archives with an entry for each of a million pictures


def _check(size: int | None, most: int = _MOST_TABLE) -> None:
    if size is not None and size > most:
        raise zipfile.BadZipFile(f"its table of contents has {size} bytes")


class _Bounded(io.FileIO):
    """A file of which nobody reads more than a table of contents at once."""

    most = _MOST_TABLE

    def read(self, size: int | None = -1, /) -> bytes:
        _check(size, self.most)
        return super().read(size) or b""


class _BoundedData(_Bounded):
    """The same for an archive of data."""

    most = _MOST_TABLE_OF_DATA


class _BoundedBytes(io.BytesIO):
    """The same for a file in memory; it shares the bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        _check(size)
        return super().read(size)


@contextmanager
def contents(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive to look into.

    Raises:
      ConfigError: it is none, or damaged, or its table of contents exceeds 4 MiB.
    """
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except Exception as error:  # zipfile raises half a dozen kinds over a damaged file
        raise ConfigError(f"{path} cannot be read as a zip archive: {one_line(error)}") from error


class DataArchive(zipfile.ZipFile):
    """A zip archive of data, whose file is closed with it."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        super().__init__(file)

    def close(self) -> None:
        """Close the archive and its file."""
        super().close()
        self._file.close()


def opened_archive(path: Path) -> DataArchive:
    """A zip archive of data to read from; the caller closes it.

    No entry can unpack to more than the table of contents says: zipfile bounds only what was
    deflated, so other methods are refused.

    Raises:
      ConfigError: it is none, or damaged, encrypted or packed by another method than deflate; two
        entries have one name; or its table of contents exceeds 64 MiB.
    """
    file = None
    try:
        file = _BoundedData(path)
        archive = DataArchive(file)
    except Exception as error:  # zipfile raises half a dozen kinds over a damaged file
        if file is not None:
            file.close()
        raise ConfigError(f"{path} cannot be read as a zip archive: {one_line(error)}") from error
    entries, problem = archive.infolist(), None
    if len({entry.filename for entry in entries}) < len(entries):
        problem = "is a zip archive with two entries of one name; pack it anew"
    elif any(entry.flag_bits & 1 for entry in entries):
        problem = "is encrypted; unpack it into a folder first"
    elif any(e.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for e in entries):
        problem = "is packed by another method than deflate; unpack it into a folder first"
    if problem is not None:
        archive.close()
        raise ConfigError(f"{path} {problem}")
    return archive


def entries_of(data: bytes) -> list[zipfile.ZipInfo]:
    """The table of contents of a zip archive in memory, no two entries of one name.

    Raises:
      ConfigError: it is none, or damaged, or its table of contents exceeds 4 MiB.
    """
    try:
        with _BoundedBytes(data) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception as error:
        raise ConfigError(f"it cannot be read as a zip archive: {one_line(error)}") from error
    if len({entry.filename for entry in entries}) < len(entries):
        raise ConfigError("it is a zip archive with two entries of one name")
    return entries


def inside(entry: zipfile.ZipInfo) -> str:
    """An entry's name below the archive's only folder."""
    return entry.filename.partition("/")[2]


def program_of(entries: list[zipfile.ZipInfo]) -> Program | None:
    """Which kind of program an archive is; None: weights without one, or something else."""
    names = {inside(entry) for entry in entries}
    if {"archive_format", "models/model.json"} <= names:
        return "exported"
    script = {"constants.pkl", "data.pkl"} <= names
    return "torchscript" if script and any(name.startswith("code/") for name in names) else None
