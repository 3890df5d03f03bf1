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


def _check(size: int | None) -> None:
    if size is not None and size > _MOST_TABLE:
        raise zipfile.BadZipFile(f"its table of contents has {size} bytes")


class _Bounded(io.FileIO):
    """A file of which nobody reads more than a table of contents at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        _check(size)
        return super().read(size) or b""


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
