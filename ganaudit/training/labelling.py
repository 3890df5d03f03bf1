"""Which class each training picture belongs to: by its folder, by `dataset.json`, or by a file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.arrays import idx_rows, spare_bytes, whole
from ganaudit.errors import ConfigError, one_line
from ganaudit.files import is_file
from ganaudit.labels import MAX_LABELS, read_labels
from ganaudit.pictures import PictureArray, Pictures

FOLDERS, DATASET = "folders", "dataset.json"
_MOST_JSON = 2**26  # bytes
_SHOWN = 80  # characters of a stranger's value in a message


@dataclass(frozen=True)
class Classes:
    """The classes of some pictures.

    Attributes:
      labels: [N] int64, 0 <= label < count.
      count: of the classes.
      names: of the classes, if they have any.
      source: what said so, in a word or two.
    """

    labels: NDArray[np.int64]
    count: int
    names: tuple[str, ...]
    source: str


def classes_of(pictures: Pictures, wanted: str | None) -> Classes | None:
    """The classes that `--labels` asks for.

    Args:
      pictures: of a collection.
      wanted: "folders": the folder that each lies in; "dataset.json": that file in the collection,
        {"labels": [[NAME, NUMBER], ...]}; else a file in the order of the pictures: such JSON, idx
        (also .gz), .npy, or text with a number a line. None: what the collection says itself.

    Returns:
      The classes; None: nothing was asked for, and the collection says nothing.

    Raises:
      ConfigError: they are not there, or are no class numbers, one for each picture.
    """
    if wanted is None:
        return _own(pictures)
    if wanted == FOLDERS:
        return _by_folder(pictures)
    if wanted == DATASET:
        found = _by_dataset(pictures)
        if found is None:
            raise ConfigError(
                f"--labels {DATASET}: there is no such file among the pictures, or it has no "
                "labels; say --labels folders, or name a file"
            )
        return found
    path = Path(wanted)
    if not is_file(path):
        raise ConfigError(
            f"--labels wants folders, {DATASET} or a file; there is no file {wanted:.{_SHOWN}}"
        )
    try:
        if path.suffix.lower() == ".json":
            values = _named(_read(path), _names(pictures, wanted), wanted)
        else:
            values = _numbers(path)
    except OSError as error:
        raise ConfigError(f"--labels {path} cannot be read: {one_line(error)}") from error
    return _checked(values, len(pictures), path.name)


def _read(path: Path) -> list[Any] | None:
    if path.stat().st_size > _MOST_JSON:
        raise ConfigError(f"--labels {path} is larger than {_MOST_JSON >> 20} MiB")
    return _parsed(path.read_bytes(), path)


def _own(pictures: Pictures) -> Classes | None:
    if not isinstance(pictures, PictureArray):
        return _by_dataset(pictures)
    labels = pictures.labels()
    return None if labels is None else _checked(labels, len(pictures), "the array 'labels'")


def _by_dataset(pictures: Pictures) -> Classes | None:
    content = None if isinstance(pictures, PictureArray) else pictures.beside(DATASET)
    if content is None:
        return None
    entries = _parsed(content, DATASET)
    if entries is None:
        return None
    values = _named(entries, _names(pictures, DATASET), DATASET)
    return _checked(values, len(pictures), DATASET)


def _by_folder(pictures: Pictures) -> Classes:
    names = _names(pictures, FOLDERS)
    parts = [name.split("/") for name in names]
    while all(len(p) > 2 for p in parts) and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]  # a folder that everything stands in says nothing
    loose = next((n for n, p in zip(names, parts, strict=True) if len(p) == 1), None)
    if loose is not None:
        raise ConfigError(
            f"--labels {FOLDERS}: {loose} lies in no folder of a class; sort the pictures into one "
            "folder for each class"
        )
    classes, labels = np.unique(np.array([p[0] for p in parts]), return_inverse=True)
    return Classes(labels.astype(np.int64), len(classes), tuple(map(str, classes)), FOLDERS)


def _names(pictures: Pictures, wanted: str) -> list[str]:
    if isinstance(pictures, PictureArray):
        raise ConfigError(
            f"--labels {wanted} goes by the names of the pictures, which those of an array have "
            "not; name a file with a number for each"
        )
    return pictures.names


def _parsed(content: bytes, what: object) -> list[Any] | None:
    """The entries of a `dataset.json`; None: it says that there are none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} cannot be read as JSON: {one_line(error)}") from error
    entries = found.get("labels") if isinstance(found, dict) else found
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise ConfigError(f'{what} must hold {{"labels": [[NAME, NUMBER], ...]}}')
    return entries


def _named(entries: list[Any] | None, names: list[str], what: str) -> NDArray[np.int64]:
    """[N] labels of pictures by their names, or by those below the folder that all stand in."""
    by_name: dict[str, int] = {}
    for entry in entries or []:
        name, label = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if not isinstance(name, str) or type(label) is not int or abs(label) > MAX_LABELS:
            raise ConfigError(
                f"{what} must hold a name and a class number for each picture, got "
                f"{entry!r:.{_SHOWN}}"
            )
        by_name[name] = label
    found = [by_name.get(name, by_name.get(name.partition("/")[2])) for name in names]
    absent = [name for name, label in zip(names, found, strict=True) if label is None]
    if absent:
        raise ConfigError(
            f"{what} has no label for {len(absent):,} of {len(names):,} pictures, of which one is "
            f"{absent[0]}"
        )
    return np.array(found, np.int64)


def _numbers(path: Path) -> NDArray[np.int64]:
    with path.open("rb") as file:
        head = file.read(2)
    if head in (b"\x1f\x8b", b"\0\0"):
        return whole(idx_rows(path, dimensions=1, most_bytes=spare_bytes())).astype(np.int64)
    return read_labels(path)


def _checked(labels: NDArray[np.int64], count: int, what: str) -> Classes:
    if len(labels) != count:
        raise ConfigError(f"{what} has {len(labels):,} labels for {count:,} pictures")
    low, high = int(labels.min()), int(labels.max())
    most = min(count, MAX_LABELS)
    if low < 0 or high >= most:
        raise ConfigError(
            f"{what}: the labels of {count:,} pictures are numbers from 0 and below {most:,}, got "
            f"{low if low < 0 else high}"
        )
    return Classes(labels, high + 1, (), what)
