"""What a training was asked for and what that was resolved to: OUT/config.json."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.files import read_json

CONFIG = "config.json"
_MOST_BYTES = 2**22
_MAY_GROW = ("steps",)  # on --resume, unless the learning rate depends on it


def read_config(out: Path) -> dict[str, Any]:
    """All of OUT/config.json.

    Raises:
      ConfigError: it is absent or none of ours.
    """
    path = out / CONFIG
    if not path.is_file():
        raise ConfigError(f"--out {out} holds no training to resume")
    found = read_json(path, most_bytes=_MOST_BYTES)
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name), dict) for name in ("request", "recipe", "data")
    ):
        raise ConfigError(f"{path} is none of ours; name another folder with --out")
    return found


def stored_request(out: Path) -> dict[str, Any]:
    """The settings that a training was begun with, as flags; those that were absent are not there.

    Raises:
      ConfigError: as `read_config`; or a setting is of another type than such a setting has.
    """
    request = read_config(out)["request"]
    known = {field.name: field for field in fields(TrainConfig)}
    found: dict[str, Any] = {}
    for name, value in request.items():
        if name not in known or name == "origins":
            raise ConfigError(f"{out / CONFIG} has a setting {name!r:.80} that there is not")
        if value is None or value == []:
            continue
        kind = _kind(known[name].type)
        value = tuple(value) if isinstance(value, list) else value
        texts = isinstance(value, tuple) and all(isinstance(text, str) for text in value)
        fits = {
            "str": isinstance(value, str),
            "int": type(value) is int,
            "float": type(value) in (int, float),
            "bool": type(value) is bool,
            "tuple[str, ...]": texts,
        }
        if not fits.get(kind, isinstance(value, str)):  # the rest are paths and choices
            raise ConfigError(f"{out / CONFIG}: {name} cannot be {value!r:.80}")
        found[name] = Path(str(value)) if kind == "Path" else value
    return found


def _kind(annotation: object) -> str:
    """The name of the type that a setting has unless it is None."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text if "[" in text else text.partition(" |")[0].rpartition(".")[2]


def check_same(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to go on with a training under another recipe or on other data.

    Args:
      out: its folder, for messages.
      old: what its config.json holds.
      new: what it would hold now, as JSON values.

    Raises:
      ConfigError: they differ; the sentence names where.
    """
    theirs = {**dict(_flat(old["recipe"])), **dict(_flat(old["data"], "data"))}
    ours = {**dict(_flat(new["recipe"])), **dict(_flat(new["data"], "data"))}
    if ours["optim.decay"] == "none":
        theirs |= {name: ours[name] for name in _MAY_GROW}
    for name in (*theirs, *ours):
        if theirs.get(name) != ours.get(name):
            raise ConfigError(
                f"{out} was begun with {name} {_shown(theirs.get(name))}, this request has "
                f"{_shown(ours.get(name))}: say the same, or name another folder with --out"
            )


def lines_of(configuration: Mapping[str, Any]) -> list[str]:
    """A resolved configuration for a reader, a setting a line."""
    rows = [*_flat(configuration["data"], "data"), *_flat(configuration["recipe"])]
    rows += _flat(configuration.get("parameters", {}), "parameters")
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {'-' if value is None else value}" for name, value in rows]


def _flat(values: Any, head: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested JSON objects by their dotted names; of one without settings, "yes"."""
    if values == {} and "." in head:
        yield head, "yes"
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{head}.{key}" if head else str(key))
    else:
        yield head, values


def _shown(value: Any) -> str:
    return "absent" if value is None else f"{value!r:.80}"
