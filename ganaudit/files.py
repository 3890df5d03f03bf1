"""Files that are whole or absent, and what is in them."""

import os
from hashlib import sha256
from itertools import count
from pathlib import Path


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
