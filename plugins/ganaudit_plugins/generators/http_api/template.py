"""What a request says: JSON in which `$SEED`, `$LATENT` and `$LABEL` stand for what a slot draws.

A value that is nothing but a placeholder becomes a number, or the nested list of a latent; inside a
longer text it becomes the same as JSON text. `$$` is a dollar before a capital letter.

    {"prompt": "portrait $SEED", "seed": "$SEED", "z": "$LATENT"}
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganaudit.errors import ConfigError
from ganaudit_plugins.onnx_checks import plain

_MOST_BYTES = 2**20  # of a template
_NAMES = ("SEED", "LATENT", "LABEL")
_PLACEHOLDER = re.compile(r"\$(\$|[A-Z]+)")
_SHOWN = 200  # characters of a template in a report


@dataclass(frozen=True)
class Template:
    """A request's JSON with placeholders.

    Attributes:
      value: the JSON value.
      names: the placeholders that are in it, without the dollar.
    """

    value: Any
    names: frozenset[str]

    def filled(self, values: Mapping[str, Any]) -> bytes:
        """The request as JSON; `values`: name of each placeholder to its JSON value."""
        return json.dumps(_filled(self.value, values), allow_nan=False).encode()

    def __str__(self) -> str:
        text = json.dumps(self.value, ensure_ascii=False)
        return plain(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def read_template(text: str) -> Template:
    """A template out of JSON text, or the path of a file with it.

    Raises:
      ConfigError: neither, larger than 1 MiB, or a placeholder that is none.
    """
    where = "--set template"
    if not text.lstrip().startswith(("{", "[")):
        where, text = text, _read(Path(text))
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"{where}: a template has at most {_MOST_BYTES >> 20} MiB")
    try:
        value = json.loads(text, parse_constant=_refuse)
        names = frozenset(_names(value))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    unknown = sorted(names - {*_NAMES})
    if unknown:
        raise ConfigError(
            f"{where}: ${plain(unknown[0]):.40} stands for nothing; there are "
            f"{', '.join(f'${name}' for name in _NAMES)}, and $$ for a dollar"
        )
    return Template(value, names)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            f"--set template wants JSON ({{...}}), or a file with it: {str(path)!r:.80} cannot be "
            f"read: {reason}"
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _names(value: Any) -> set[str]:
    """Placeholders in all texts of a JSON value."""
    if isinstance(value, str):
        return {name for name in _PLACEHOLDER.findall(value) if name != "$"}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for part in parts for name in _names(part)}


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    if not isinstance(value, str):
        return value
    whole = value[1:]
    if value[:1] == "$" and whole in values:
        return values[whole]
    return _PLACEHOLDER.sub(
        lambda found: "$" if found[1] == "$" else json.dumps(values[found[1]]), value
    )
