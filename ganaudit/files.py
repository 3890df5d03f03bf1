"""Files that are whole or absent, and what is in them."""

import errno
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from ganaudit.errors import ConfigError, GanauditError

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk
_DEEPEST = 100  # values within each other in a JSON file; ours have fewer than ten


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, onto the disk, and rename: whole or not at all.

    Raises:
      OSError: the file cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_output(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, with the folders above it.

    Raises:
      GanauditError: the disk is full or refuses, or it is no plain file.
    """
    try:
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise GanauditError(f"{path} cannot be written: it is no plain file")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        reason = "the disk is full" if error.errno in FULL else error.strerror or error
        raise GanauditError(f"{path} cannot be written: {reason}") from error


def json_text(content: Mapping[str, Any]) -> str:
    """JSON as our files have it: indented, in Unicode, a line break at its end; a NaN is refused.

    Raises:
      ValueError: a number is NaN or infinite.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def free_folder(stem: str) -> Path:
    """`stem`, or the first of stem-2, stem-3, ... that does not exist, below the working folder."""
    names = (stem if i == 1 else f"{stem}-{i}" for i in count(1))
    return next(path for name in names if not (path := Path(name)).exists())


def read_json(path: Path, *, most_bytes: int) -> Any:
    """The JSON values of a file that somebody else may have written.

    What comes back can be written as JSON again: no NaN, no infinity, no lone surrogate; and it is
    not so deep that showing it would fail.

    Raises:
      ConfigError: it is absent, larger than `most_bytes`, or no such JSON.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise ConfigError(f"{path} is larger than {most_bytes >> 20} MiB: it is none of ours")
        found = json.loads(data.decode("utf-8"))
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    values = [found]
    for _ in range(_DEEPEST):
        values = [inner for value in values for inner in _inside(value)]
    if values:
        raise ConfigError(f"{path} is nested more than {_DEEPEST} deep: it is none of ours")
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, or a NUL
        return False


def shown_path(path: Path) -> str:
    """A path as a report names it: below the working folder, else the name alone."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (OSError, ValueError, RuntimeError):  # the last: a link that leads to itself
        return path.name
