"""Parts of one run, made by `--shard i/N` wherever, become the run.

Nothing that a part names is opened: its files are looked through, held against those of the other
parts, and linked or copied into the folder of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from filecmp import cmp
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import shards
from ganaudit.config import Backend
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.labels import Law
from ganaudit.parts import NAME, Part, read_part
from ganaudit.report import canonical
from ganaudit.runner import Progress, silent
from ganaudit.slots import Stream
from ganaudit.store import MANIFEST, Store, difference

_NAMED = 8  # missing parts in a sentence
_DECISIVE = ("anchors", "samples")  # of a request; the manifest has what else decides rows

_Files = dict[tuple[Stream, int, int], Path]  # a shard file by its stream and slots


@dataclass(frozen=True, kw_only=True)
class United:
    """A run whose rows came from parts.

    Attributes:
      store: its folder.
      about: what its report says beside the figures.
      backend: by which pairs shall be found.
      law: how labels were drawn; None: the generator takes none.
    """

    store: Store
    about: dict[str, Any]
    backend: Backend
    law: Law | None


def unite(folders: Sequence[Path], out: Path, *, progress: Progress = silent) -> United:
    """Put the rows of all parts of a run into one folder.

    Args:
      folders: of the parts, in any order; a part may be there several times.
      out: folder of the run: a new one, or one of the same run, which then gets what it lacks.
      progress: told as files are looked through.

    Returns:
      The run, of which every slot is there.

    Raises:
      ConfigError: a part is missing, not complete or damaged, or parts are of different runs.
      GanauditError: a file cannot be written.
    """
    if not folders:
        raise ConfigError("name the parts of a run, all of them")
    parts = sorted((read_part(folder) for folder in folders), key=lambda part: part.shard)
    _check_same(parts)
    _check_all_there(parts)
    store = Store(out)
    _check_free(store, parts)
    files = _collect(parts, store)
    _look_through(files, progress)
    store.open(parts[0].manifest, resume=True)
    for (stream, begin, end), path in files.items():
        store.adopt(stream, begin, end, path)
    return United(
        store=store,
        about=_about(parts, store.every_version()),
        backend=parts[0].backend,
        law=parts[0].law,
    )


def _check_same(parts: Sequence[Part]) -> None:
    """Refuse parts of different runs, or of one run cut or scored differently."""
    first = parts[0]
    for part in parts[1:]:
        unequal = difference(part.manifest, first.manifest) or difference(
            _decisive(part), _decisive(first)
        )
        if unequal is not None:
            name, here, there = unequal
            raise ConfigError(
                f"{part.folder} and {first.folder} are not parts of one run: {name} is {here} in "
                f"the one and {there} in the other"
            )
        if not np.array_equal(_choices(part), _choices(first)):
            raise ConfigError(
                f"{part.folder} and {first.folder} are not parts of one run: their labels differ"
            )


def _choices(part: Part) -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64) if part.law is None else part.law.choices


def _decisive(part: Part) -> dict[str, Any]:
    """What decides figures, or which slots there are, beside the manifest."""
    request, scale = part.about["request"], part.about["scale"]
    return {
        "the number of parts": part.shard[1],
        **{name: request[name] for name in _DECISIVE},
        **{name: scale[name] for name in ("theta", "radius")},
    }


def _check_all_there(parts: Sequence[Part]) -> None:
    """Refuse a run of which a part is missing."""
    count = parts[0].shard[1]
    there = {part.shard[0] for part in parts}
    if len(there) < count:
        lacking = [f"{i}/{count}" for i in range(count) if i not in there]
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise ConfigError(
            f"the run is not complete: no part {', '.join(lacking[:_NAMED])}{more}; make it with "
            "diagnose --shard, and merge all parts at once"
        )


def _check_free(store: Store, parts: Sequence[Part]) -> None:
    """Refuse a folder for the run that is a part's, or another run's."""
    if (store.folder / NAME).exists():
        raise ConfigError(f"{store.folder} is a part itself; name another folder with --out")
    if (store.folder / MANIFEST).exists():
        store.open(parts[0].manifest, resume=True)


def _collect(parts: Sequence[Part], store: Store) -> _Files:
    """The files that make up the run, those that `store` has already among them."""
    files: _Files = {}
    for stream, stop in ((Stream.ANCHORS, parts[0].anchors), (Stream.SAMPLES, parts[0].samples)):
        for part in parts:
            _check_complete(part, stream, stop)
        for holder in (store, *(Store(part.folder) for part in parts)):
            for begin, end, path in holder.shards(stream):
                if begin < stop:  # others are of a longer run
                    _check_equal(files.setdefault((stream, begin, end), path), path)
        mine = sorted(slots for slots in files if slots[0] is stream)
        for one, other in pairwise(mine):
            if other[1] < one[2]:
                raise ConfigError(
                    f"{files[one]} and {files[other]} have slots in common and were cut "
                    "differently; remove one of them"
                )
    return files


def _check_complete(part: Part, stream: Stream, stop: int) -> None:
    """Refuse a part that lacks slots of its own, as one does that was interrupted."""
    folder = part.folder / stream.name.lower()
    if folder.is_symlink():
        raise ConfigError(f"{folder} is a link; a part is a folder of plain files")
    slot = Store(part.folder).lacks(stream, stop, part.shard)
    if slot is not None:
        raise ConfigError(
            f"{part.folder} is not complete: it lacks the {folder.name} from slot {slot} on; "
            f"continue it with diagnose --shard {part.name} --resume"
        )


def _check_equal(one: Path, other: Path) -> None:
    """Refuse two files of the same slots unless they are the same to the byte."""
    try:
        if one == other or one.samefile(other) or cmp(one, other, shallow=False):
            return
    except OSError as error:
        raise ConfigError(f"{other} cannot be read: {error.strerror or error}") from error
    raise ConfigError(
        f"{one} and {other} differ, and should be the same slots of one run: which is right cannot "
        "be told; make one of them again"
    )


def _look_through(files: _Files, progress: Progress) -> None:
    """Refuse what no run would have stored."""
    width: int | None = None
    for done, ((_, begin, end), path) in enumerate(files.items(), start=1):
        try:
            columns = shards.check(path, begin, end)
        except (GanauditError, OSError) as error:
            raise ConfigError(str(error)) from error
        width = columns if width is None else width
        if columns != width:
            raise ConfigError(f"{path} is damaged: it has {columns} columns, others {width}")
        progress("merging", done, len(files))


def _about(parts: Sequence[Part], recorded: Sequence[dict[str, str]]) -> dict[str, Any]:
    """What the report of the run says beside the figures: of the first part, and warnings of all.

    Args:
      parts: in order.
      recorded: versions beside the rows, each different record once.
    """
    made = recorded[0] if recorded else {}
    where = {name: made[name] for name in ("device", "batch") if name in made}
    now = canonical.versions() | where
    sentences = [text for part in parts for text in part.about["warnings"]]
    changed = canonical.changes(recorded, now)
    if changed:
        sentences.append(
            f"the rows were made with other versions than one another, or than those that score "
            f"them ({changed}): they may differ in the last bits"
        )
    return parts[0].about | {"warnings": list(dict.fromkeys(sentences)), "environment": now}
