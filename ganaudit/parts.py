"""part.json: what a report needs of a run of which a folder holds a part, made by `--shard i/N`.

    PART/manifest.json, anchors/, samples/    as of any run: every N-th shard, from number i on
    PART/part.json                            what only an opened generator knows
    PART/labels.safetensors                   the labels that were drawn from, if there are any

A part comes from another machine, so everything in it is checked before anything is done with it,
and nothing that it names is opened.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ganaudit import shards
from ganaudit.config import MIN_REACH, Backend
from ganaudit.errors import ConfigError, one_line
from ganaudit.files import read_json, write_output
from ganaudit.labels import MAX_LABELS, Law
from ganaudit.report import canonical
from ganaudit.slots import shard_ranges
from ganaudit.starting import Run
from ganaudit.store import MANIFEST, SCHEMA, read_manifest, write_json

NAME = canonical.PART
LABELS, _CHOICES = "labels.safetensors", "choices"
_SCHEMA = 1
_MOST_BYTES = 2**22  # of part.json
_MOST_LABEL_BYTES = 2**29 + 2**16
_DEEPEST = 24  # levels of nested JSON
_MANY = 1000  # sentences, options
_MOST_SLOTS, _MOST_PARTS = 10**12, 4096


@dataclass(frozen=True, kw_only=True)
class Part:
    """Every N-th shard of a run, and what its report says beside the figures.

    Attributes:
      folder: which has the rows.
      shard: (i, N), 0 <= i < N.
      manifest: what decides the bytes of a row, as the store has it.
      about: as `canonical.about` gave it.
      backend: by which pairs shall be found.
      law: how labels were drawn; None: the generator takes none.
    """

    folder: Path
    shard: tuple[int, int]
    manifest: dict[str, Any]
    about: dict[str, Any]
    backend: Backend
    law: Law | None

    @property
    def name(self) -> str:
        """i/N, as --shard has it."""
        return f"{self.shard[0]}/{self.shard[1]}"

    @property
    def anchors(self) -> int:
        """Of the whole run."""
        return int(self.about["request"]["anchors"])

    @property
    def samples(self) -> int:
        """Of the whole run."""
        return int(self.about["request"]["samples"])

    def summary(self) -> dict[str, Any]:
        """What the part is and what comes next, as JSON values."""
        stops = {"anchors": self.anchors, "samples": self.samples}
        return {
            "schema_version": _SCHEMA,
            "kind": "part",
            "folder": str(self.folder),
            "shard": list(self.shard),
            "slots": {
                name: {"made": sum(b - a for a, b in shard_ranges(stop, self.shard)), "of": stop}
                for name, stop in stops.items()
            },
            "next": "ganaudit merge PART... --out RUN",
        }

    def write(self) -> None:
        """Write all but the rows, part.json last: where it is, the part was finished.

        Raises:
          GanauditError: the disk is full or refuses.
        """
        if self.law is not None:
            data = shards.encode({_CHOICES: self.law.choices.astype(np.int64)}, {})
            write_output(self.folder / LABELS, data)
        write_json(self.folder / NAME, self.document())

    def document(self) -> dict[str, Any]:
        """All but rows and labels, as JSON values."""
        return {
            "schema_version": _SCHEMA,
            "kind": "part",
            "shard": list(self.shard),
            "backend": self.backend,
            "law": None if self.law is None else self.law.sentence,
            "about": self.about,
        }


def part_of(run: Run) -> Part:
    """The part that a run is, before its rows are made.

    Args:
      run: one that `--shard` asks for.

    Raises:
      ConfigError: it is a whole one, its folder holds another part, or generator or descriptor say
        of themselves what no part holds.
    """
    request = run.request
    if request.config.part is None:
        raise ConfigError("which part of the run? --shard i/N says it")
    part = Part(
        folder=run.store.folder,
        shard=request.config.part,
        manifest={"schema": SCHEMA} | request.manifest(),
        about=run.about(),
        backend=request.config.backend,
        law=request.law,
    )
    path = part.folder / NAME
    try:
        text = json.dumps(part.document(), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be written: {one_line(error)}") from error
    _checked(json.loads(text.encode(errors="replace")), path)
    if path.exists():
        there = read_json(path, most_bytes=_MOST_BYTES)
        if not isinstance(there, dict) or there.get("shard") != list(part.shard):
            raise ConfigError(
                f"{part.folder} holds another part than {part.name}; name another folder with --out"
            )
    return part


def read_part(folder: Path) -> Part:
    """Read what anybody may have written; the rows are not looked at.

    Raises:
      ConfigError: it is no finished part, or holds what no part can.
    """
    path = folder / NAME
    if (folder / canonical.NAME).is_file() and not path.exists():
        raise ConfigError(f"{folder} is a finished run already, and no part of one")
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds no {NAME}: it is no part, or not a finished one; diagnose --shard "
            "makes it, with --resume to go on"
        )
    found = _checked(read_json(path, most_bytes=_MOST_BYTES), path)
    manifest = _manifest(folder / MANIFEST, found["about"])
    law = None
    if found["law"] is not None:
        law = _law(folder / LABELS, manifest.get("labels"), sentence=found["law"])
    elif "labels" in manifest:
        raise ConfigError(f"{path}: law is missing, and the run has labels")
    i, parts = found["shard"]
    return Part(
        folder=folder,
        shard=(i, parts),
        manifest=manifest,
        about=found["about"],
        backend=found["backend"],
        law=law,
    )


def _checked(found: Any, path: Path) -> dict[str, Any]:
    """A document in which everything is of its kind."""
    if not isinstance(found, dict) or found.get("kind") != "part":
        raise ConfigError(f"{path} is no part of a run")
    if found.get("schema_version") != _SCHEMA:
        raise ConfigError(
            f"{path} has schema version {found.get('schema_version')!r:.20}, wanted {_SCHEMA}; "
            "make the part again"
        )
    _check_depth(found, path)
    _check_fields(found, _FIELDS, path, "")
    _check_fields(found["about"], _ABOUT, path, "about.")
    _check_fields(found["about"]["request"], _REQUEST, path, "about.request.")
    _check_fields(found["about"]["scale"], _SCALE, path, "about.scale.")
    return found


def _check_fields(
    found: Mapping[str, Any], fields: "Mapping[str, _Field]", path: Path, where: str
) -> None:
    """Refuse a table that lacks a field, has one too many, or one of another kind."""
    for name in sorted(found.keys() - fields.keys()):
        raise ConfigError(f"{path} has {where}{name[:40]!r}, which no part has")
    for name, (wanted, accepts) in fields.items():
        if name not in found or not accepts(found[name]):
            raise ConfigError(f"{path}: {where}{name} must be {wanted}")


def _check_depth(value: Any, path: Path) -> None:
    """Refuse what is nested too deeply to be written again, or has numbers that only JSON has."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if any(type(one) is int and abs(one) >= 2**64 for one in level):
            raise ConfigError(f"{path} has a number that is too large")
    if level:
        raise ConfigError(f"{path} is nested more than {_DEEPEST} levels deep: it is none of ours")


def _manifest(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest beside a part.json, of the same run."""
    if not path.is_file():
        raise ConfigError(f"{path} is missing: this is no part of a run")
    found = read_manifest(path.parent)
    _check_depth(found, path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ConfigError(f"{path} is no manifest of this version; make the part again")
    request, card, pinned = about["request"], about["descriptor"], found.get("descriptor")
    described = None if card is None else [card["name"], card["weights_sha256"]]
    there = [pinned.get(key) for key in ("name", "sha256")] if isinstance(pinned, dict) else pinned
    pairs = {
        "generator": (found.get("generator"), about["generator"]),
        "descriptor": (there, described),
        "seed": (found.get("seed"), request["seed"]),
    }
    if "anchors" in found:  # of a finite source, where the samples follow the anchors
        pairs["anchors"] = (found["anchors"], request["anchors"])
    for name, (one, other) in pairs.items():
        if one != other:
            raise ConfigError(f"{path.parent}: {NAME} and {MANIFEST} differ in the {name}")
    return found


def _law(path: Path, identity: Any, *, sentence: str) -> Law:
    """How labels were drawn; `identity` is what the manifest says of it."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_LABEL_BYTES:
            raise ConfigError(f"{path} is missing, or larger than any list of labels")
        choices = shards.arrays(path).get(_CHOICES, np.empty(0))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if choices.dtype != np.int64 or choices.ndim != 1 or not len(choices):
        raise ConfigError(f"{path} holds no labels")
    if choices.min() < 0 or choices.max() >= MAX_LABELS:
        raise ConfigError(f"{path} holds labels out of range")
    if not _is_of(identity, choices):
        raise ConfigError(f"{path} holds other labels than {MANIFEST} says")
    return Law(choices, {"labels": identity}, sentence)


def _is_of(identity: Any, choices: NDArray[np.int64]) -> bool:
    """Whether the manifest's word for the labels may be of these."""
    if identity == "uniform":
        return bool(np.array_equal(choices, np.arange(len(choices))))
    if isinstance(identity, dict):
        return bool(identity.get("entries") == len(choices))
    return type(identity) is int and choices.tolist() == [identity]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 2**16


def _is_text_or_null(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MANY and all(map(_is_text, value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_SLOTS


def _is_reach(value: Any) -> bool:
    return type(value) in (int, float) and MIN_REACH <= value <= 1


def _is_shard(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(number) is int for number in value)
        and 0 <= value[0] < value[1] <= _MOST_PARTS
    )


def _is_card(value: Any) -> bool:
    named = isinstance(value, dict) and all(
        map(_is_text, map(value.get, ("name", "weights_sha256")))
    )
    return value is None or named


def _is_environment(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MANY
        and all(_is_text(text) for pair in value.items() for text in pair)
    )


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


_Field = tuple[str, Callable[[Any], bool]]  # what it must be, and whether a value is that
_FIELDS: dict[str, _Field] = {
    "schema_version": ("a version", lambda value: type(value) is int),
    "kind": ("a text", _is_text),
    "shard": ("[i, N] with 0 <= i < N", _is_shard),
    "backend": (f"one of {', '.join(get_args(Backend))}", lambda value: value in get_args(Backend)),
    "law": ("a sentence or null", _is_text_or_null),
    "about": ("a table", _is_table),
}
_ABOUT: dict[str, _Field] = {
    "request": ("a table", _is_table),
    "generator": ("a table", _is_table),
    "descriptor": ("a card or null", _is_card),
    "scale": ("a table", _is_table),
    "warnings": ("a list of sentences", _is_texts),
    "assumptions": ("a list of sentences", _is_texts),
    "environment": ("texts by name", _is_environment),
}
_REQUEST: dict[str, _Field] = {
    "generator": ("a text", _is_text),
    "descriptor": ("a text or null", _is_text_or_null),
    "anchors": ("a count of 1 or more", _is_count),
    "samples": ("a count of 1 or more", _is_count),
    "labels": ("a text or null", _is_text_or_null),
    "seed": ("in [0, 2**63)", lambda value: type(value) is int and 0 <= value < 2**63),
    "set": ("a list of texts", _is_texts),
    "reference": ("null: a part has none", lambda value: value is None),
}
_SCALE: dict[str, _Field] = {
    "theta": ("in (0, 1], a fraction of pi", _is_reach),
    "radius": ("in (0, 1], a fraction of pi", _is_reach),
    "theta_origin": ("a text", _is_text),
    "radius_origin": ("a text", _is_text),
}
