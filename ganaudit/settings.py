"""Where the values of a request come from: a flag, the environment, a file or the default.

A flag beats the environment (`GANAUDIT_THETA=0.4`), which beats the file of the working directory,
which beats the default. The file is pyproject.toml, in `[tool.ganaudit]`, or ganaudit.toml, at the
top; settings in both are refused. The verbs other than diagnose have a table of their own in it
(`[tool.ganaudit.check]`, `[check]`) and their name in their variables (`GANAUDIT_CHECK_MAX`). That
programs in files may be run is said by a flag alone.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ganaudit.errors import ConfigError

# What would run code: a file that lies beside the audited one must not be able to say it.
_NOT_BY_FILE, _FLAG_ALONE = ("trust", "plugin"), "trust"
# Verbs; what stands outside of such a table is diagnose's.
_OWN_TABLE = ("calibrate", "check", "sample", "serve", "threshold", "train")
_PROJECT, _OURS = "pyproject.toml", "ganaudit.toml"
_Config = TypeVar("_Config")


@dataclass(frozen=True)
class Setting:
    """One value of a request and where it came from."""

    name: str
    value: Any
    origin: str  # flag, default, a variable, or the table of a file
    problem: str | None = None  # a sentence: why the value cannot be taken as it is


def resolve(
    kind: type[_Config], flags: Mapping[str, Any], *, folder: Path | None = None
) -> _Config:
    """The complete request from `flags` (None or empty: not given), environment, file, defaults.

    Args:
      kind: the config of a verb: a dataclass with `origins`.
      flags: field name to value.
      folder: where the file may lie; None: the working directory.

    Raises:
      ConfigError: an unknown setting, a value of the wrong type, or what `kind` refuses.
    """
    settings, strangers = _gather(kind, flags, folder)
    for problem in (*strangers, *(setting.problem for setting in settings if setting.problem)):
        raise ConfigError(problem)
    make: Any = kind
    values = {setting.name: setting.value for setting in settings}
    return cast(_Config, make(**values, origins={s.name: s.origin for s in settings}))


def survey(kind: type[Any], *, folder: Path | None = None) -> tuple[list[Setting], list[str]]:
    """Every setting of a verb as it is without flags, and a sentence for each that is wrong.

    What must be named for the verb to run at all, such as a generator, may be missing here.
    """
    settings, problems = _gather(kind, {}, folder)
    problems += [setting.problem for setting in settings if setting.problem]
    sound = {setting.name: setting.value for setting in settings if not setting.problem}
    needed = {
        entry.name: entry.metadata.get("example", "unnamed")
        for entry in fields(kind)
        if entry.default == ""
    }
    try:
        kind(**sound | {name: sound.get(name) or text for name, text in needed.items()})
    except ConfigError as error:
        problems.append(str(error))
    return settings, problems


def source_file(origin: str) -> str | None:
    """The file that a setting's `origin` stands for: pyproject.toml, ganaudit.toml or none."""
    if origin.startswith("[tool.ganaudit"):
        return _PROJECT
    return _OURS if origin.endswith(_OURS) else None


def _gather(
    kind: type[Any], flags: Mapping[str, Any], folder: Path | None
) -> tuple[list[Setting], list[str]]:
    """The settings of a verb, unchecked but for their type; complaints of others in its table."""
    verb = kind.__name__.removesuffix("Config").lower()
    own = verb in _OWN_TABLE
    table, where = _table(folder or Path.cwd(), verb if own else "")
    hints = get_type_hints(kind)
    defaults = {entry.name: entry.default for entry in fields(kind) if entry.name != "origins"}
    strangers = [
        f"{where} has no setting {key!r}{_suggest(key, [*defaults])}"
        for key in table
        if key.replace("-", "_") not in defaults
    ]
    settings = []
    for name, default in defaults.items():
        variable = f"GANAUDIT_{verb.upper()}_{name.upper()}" if own else f"GANAUDIT_{name.upper()}"
        key = next((key for key in (name, name.replace("_", "-")) if key in table), None)
        text = os.environ.get(variable)
        if flags.get(name) not in (None, ()):
            settings.append(Setting(name, flags[name], "flag"))
        elif key and name in _NOT_BY_FILE or text and name == _FLAG_ALONE:
            problem = (
                f"{name} would run code, so neither {where} nor, of trust, the environment can say "
                f"it; say --{name}"
            )
            value, origin = (table[key], where) if key else (text, variable)
            settings.append(Setting(name, value, origin, problem))
        elif text:
            settings.append(_parsed(name, text, variable, variable, hints[name]))
        elif key:
            settings.append(_parsed(name, table[key], where, f"{where} {key}", hints[name]))
        else:
            settings.append(Setting(name, default, "default"))
    return settings, strangers


def _table(folder: Path, verb: str) -> tuple[dict[str, Any], str]:
    """The settings of a verb ("": of diagnose) in the file of a folder, and their table's name."""
    project: Any = _read(folder / _PROJECT)
    for key in ("tool", "ganaudit"):
        project = project.get(key, {}) if isinstance(project, dict) else project
    if not isinstance(project, dict):
        raise ConfigError(f"[tool.ganaudit] in {_PROJECT} must be a table")
    ours = _read(folder / _OURS)
    if project and ours:
        raise ConfigError(
            f"both {_PROJECT} ([tool.ganaudit]) and {_OURS} have settings; keep them in one file"
        )
    whole, where = (ours, _OURS) if ours else (project, "[tool.ganaudit]")
    if not verb:
        return {key: value for key, value in whole.items() if key not in _OWN_TABLE}, where
    where = f"[{verb}] in {_OURS}" if ours else f"[tool.ganaudit.{verb}]"
    table = whole.get(verb, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where if ours else f'{where} in {_PROJECT}'} must be a table")
    return table, where


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # not only what tomllib documents
        raise ConfigError(f"{path.name} cannot be read: {error}") from error


def _parsed(name: str, value: Any, origin: str, where: str, hint: Any) -> Setting:
    try:
        return Setting(name, _parse(where, value, hint), origin)
    except ConfigError as error:
        return Setting(name, value, origin, str(error))


def _parse(where: str, value: Any, hint: Any) -> Any:
    """A value from a text source (environment, TOML) as the annotated type."""
    kinds = [kind for kind in (get_args(hint) if get_origin(hint) is not tuple else ()) if kind]
    optional = [kind for kind in kinds if kind is not type(None)]
    if get_origin(hint) is Literal:
        return value  # checked by the dataclass
    if get_origin(hint) is tuple:
        items = value.split() if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
        raise ConfigError(f"{where} must be a list of texts, got {value!r}")
    wanted = optional[0] if optional else hint
    if wanted is bool:
        if isinstance(value, bool) or str(value).lower() in ("true", "false", "1", "0"):
            return str(value).lower() in ("true", "1")
        raise ConfigError(f"{where} must be true or false, got {value!r}")
    try:
        if isinstance(value, str) or (wanted in (int, float) and type(value) in (int, wanted)):
            return wanted(value)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{where} must be of type {wanted.__name__}, got {value!r}")


def _suggest(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key.replace("-", "_"), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def step_summary() -> Path | None:
    """The file whose Markdown GitHub Actions shows with a step; None: this is no such step."""
    named = os.environ.get("GITHUB_STEP_SUMMARY")
    return Path(named) if named else None
