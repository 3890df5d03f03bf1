"""Plugins by name: entry points are listed without importing anything, and one is opened.

A factory takes its target by position and keyword-only options. `--set KEY=VALUE` fills them by the
type of the parameter. What `Provided` lists a factory is given by the pipeline, if it has such a
parameter; one with `**options` takes the keys that nobody else knows, as text.

A Python file that a user names (`--plugin FILE.py`) brings plugins too: its GENERATORS and
DESCRIPTORS map names to factories.
"""

import difflib
import inspect
import math
import os
import struct
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from ganaudit.archives import contents, program_of
from ganaudit.errors import ConfigError, GanauditError, PluginError, UnsafeCheckpoint, one_line
from ganaudit.userfile import import_file

_Factory = TypeVar("_Factory", bound=Callable[..., Any])
Kind = Literal["generators", "descriptors", "fetchers"]
_PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin")  # also those without a header


class Provided(TypedDict, total=False):
    """Parameters of a factory that the pipeline fills, not --set.

    Keys:
      device: where generator and descriptor work.
      trust: the user said that programs in files may be run.
      strict_source: the user said that unknown sources in checkpoints are refused.
      max_requests: that a service may be sent; None: any number.
    """

    device: object
    trust: bool
    strict_source: bool
    max_requests: int | None


_PROVIDED: Provided = {"device": None, "trust": False, "strict_source": False, "max_requests": None}


@dataclass(frozen=True)
class Plugin:
    """A name and where its factory is; nothing of an installed one is imported before `load`."""

    name: str
    value: str  # MODULE:FACTORY or FILE.py:FACTORY
    load: Callable[[], Any]
    file: str | None = None  # named by --plugin


def installed(kind: Kind, files: Sequence[str] = ()) -> dict[str, Plugin]:
    """Every plugin of one kind by name. Imports none but those in `files`.

    A name that two of them claim is there, and refuses to load.

    Raises:
      PluginError: a file is no plugin.
    """
    found: dict[str, Plugin] = {}
    once = {Path(file).resolve(): file for file in reversed(files)}
    of_files = [plugin for file in reversed(once.values()) for plugin in _in_file(kind, file)]
    for plugin in (*_packaged(kind), *of_files):
        known = found.get(plugin.name)
        clash = known is not None and known.value != plugin.value
        found[plugin.name] = _claimed_twice(kind, known, plugin) if known and clash else plugin
    return found


def _packaged(kind: Kind) -> list[Plugin]:
    """The plugins of installed packages; one whose own metadata are broken has none."""
    group = f"ganaudit.{kind}"
    try:
        entries = list(entry_points(group=group))
    except Exception:  # it came from one package, whichever it was
        entries = [entry for each in distributions() for entry in _entries_of(each, group)]
    return [
        Plugin(entry.name, entry.value, entry.load)
        for entry in sorted(entries, key=lambda entry: entry.name)
    ]


def _entries_of(package: Distribution, group: str) -> list[EntryPoint]:
    try:
        return list(package.entry_points.select(group=group))
    except Exception:  # the border to foreign metadata
        return []


def _claimed_twice(kind: Kind, one: Plugin, other: Plugin) -> Plugin:
    values = f"{one.value} and {other.value}"

    def refuse() -> object:
        raise PluginError(
            f"two packages provide the {kind[:-1]} {one.name!r}: {values}; uninstall or rename one"
        )

    return Plugin(one.name, values, refuse)


def _in_file(kind: Kind, file: str) -> list[Plugin]:
    """The plugins of a kind that a user's file brings."""
    module = import_file(Path(file))
    tables = {name: getattr(module, name, {}) for name in ("GENERATORS", "DESCRIPTORS")}
    for name, table in tables.items():
        if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
            raise PluginError(f"{file}: {name} must map names to factories")
    if not any(tables.values()):
        raise PluginError(
            f"{file} brings no plugin: it must have GENERATORS = {{NAME: FACTORY}} or DESCRIPTORS"
        )
    return [
        Plugin(name, f"{file}:{getattr(factory, '__name__', name)}", partial(_same, factory), file)
        for name, factory in tables.get(kind.upper(), {}).items()
    ]


def _same(factory: object) -> object:
    return factory


def resolve(kind: Kind, spec: str, files: Sequence[str] = ()) -> tuple[str, str]:
    """SPEC to (plugin name, target): `NAME:TARGET`, `NAME`, an address, or a path by content."""
    known = installed(kind, files)
    name, colon, target = spec.partition(":")
    if kind == "generators" and name.lower() in ("http", "https") and target.startswith("//"):
        return _protocol(spec), spec
    if name in known and (colon or not Path(spec).exists()):
        return name, target
    path = Path(spec)
    if os.path.exists(spec):  # Path.exists raises over an impossible name
        return _sniff(kind, path), spec
    if colon and name.isidentifier():
        raise PluginError(f"no {kind[:-1]} is called {name!r}{_nearest(name, known)}")
    raise ConfigError(
        f"--{kind[:-1]} {spec}: no such file, and no {kind[:-1]} of that name"
        f"{_nearest(name, known)}"
    )


def _protocol(url: str) -> str:
    """Which plugin asks a service, as far as its address says it."""
    if "/v2/models/" in url:
        return "oip"
    raise ConfigError(  # without the address, which may have a secret in it
        "the address does not say how it is asked; say oip:URL (Open Inference Protocol), "
        "image_api:URL (a request, an image) or predictions:URL (a request, then polling)"
    )


def _sniff(kind: Kind, path: Path) -> str:
    if path.is_dir():
        if kind == "generators":
            config = (path / "config.json").is_file()
            weights = config and any(f.suffix in (".bin", ".safetensors") for f in path.iterdir())
            return "checkpoint" if weights else "images"
        raise ConfigError(f"{path} is a folder; a descriptor is a file")
    if not path.is_file():  # opening a pipe would wait for its other end
        raise ConfigError(f"{path} is no file")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if kind == "generators" and head.startswith(b"\x93NUMPY"):
        return "embeddings"
    if len(head) >= 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**27:
        return "checkpoint" if kind == "generators" else "digits"
    if path.suffix.lower() == ".onnx":
        return "onnx"
    program = _program(path) if head.startswith(b"PK\x03\x04") else None
    if program is not None and (kind == "generators" or program == "torchscript"):
        return program
    pickled = head.startswith((b"\x80", b"PK\x03\x04"))
    if kind == "generators" and (pickled or path.suffix.lower() in _PICKLED):
        return "checkpoint"
    if pickled:
        raise UnsafeCheckpoint(
            f"{path} is a pickle or a zip of pickles, which no descriptor is told by; nothing of "
            f"it was run. Name the descriptor that it has the weights of: NAME:{path}",
            path,
        )
    if path.suffix == ".py":
        raise ConfigError(f"{path} is Python; name the factory in it: python:{path}:FACTORY")
    raise ConfigError(
        f"{path} is nothing that can be told apart by its content; say NAME:{path} with one of "
        f"{', '.join(installed(kind))}"
    )


def _program(path: Path) -> str | None:
    """Which kind of program a file is that begins as a zip archive; None: neither kind."""
    try:
        with contents(path) as archive:
            return program_of(archive.infolist())
    except ConfigError:
        return None


def load(kind: Kind, name: str, files: Sequence[str] = ()) -> Callable[..., Any]:
    """The factory of one plugin. Imports that plugin and no other.

    Raises:
      PluginError: no such plugin, or it cannot be imported.
    """
    known = installed(kind, files)
    if name not in known:
        raise PluginError(f"no {kind[:-1]} is called {name!r}{_nearest(name, known)}")
    try:
        factory = known[name].load()
    except GanauditError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the {kind[:-1]} {name!r} cannot be imported ({one_line(error)}); "
            "ganaudit doctor lists what is missing"
        ) from error
    if not callable(factory):
        raise PluginError(f"the {kind[:-1]} {name!r} is no factory but {type(factory).__name__}")
    return typing.cast("Callable[..., Any]", factory)


def open_plugin(
    kind: Kind,
    spec: str,
    options: Mapping[str, str],
    *,
    files: Sequence[str] = (),
    **provided: Unpack[Provided],
) -> tuple[Any, str, str]:
    """Open the plugin that `spec` names: (object, plugin name, target).

    Args:
      kind: of plugin.
      spec: NAME:TARGET, NAME, a path or an address.
      options: of the factory, as text.
      files: Python files that bring more plugins.
      provided: for a factory that asks.

    Raises:
      ConfigError: the spec, an option or the target is wrong; unknown keys name the nearest.
      PluginError: the plugin is missing, or raised something foreign while opening.
    """
    name, target = resolve(kind, spec, files)
    factory = load(kind, name, files)
    what = f"the {kind[:-1]} {name!r}"
    arguments = bind(factory, options, what=what, **provided)
    try:
        return factory(target, **arguments), name, target
    except GanauditError:
        raise
    except (Exception, SystemExit) as error:
        if kind == "generators" and isinstance(error, SystemExit):
            raise  # a generator misbehaves: who called it says so
        raise PluginError(
            f"the {kind[:-1]} {name!r} could not be opened ({one_line(error)})"
        ) from error


def by_user_alone(factory: _Factory) -> _Factory:
    """Marks the factory of a plugin that runs code or sends requests.

    The report of a run, which somebody else may have written, must not have it opened.
    """
    factory.by_user_alone = True  # type: ignore[attr-defined]
    return factory


def bind(
    factory: Callable[..., Any],
    options: Mapping[str, str],
    *,
    what: str,
    given: Mapping[str, object] | None = None,
    **provided: Unpack[Provided],
) -> dict[str, Any]:
    """Keyword arguments for `factory` from text, converted by the annotation of each parameter.

    Args:
      factory: whose keyword-only parameters are filled.
      options: as text.
      what: the factory, for messages.
      given: values that it gets too if it has such parameters; None: not given.
      provided: for a factory that asks.

    Raises:
      ConfigError: an unknown key, a required one that is absent, or a value of the wrong type; a
        limit of requests for what sends none.
    """
    parameters = _parameters(factory, what)
    keywords = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    rest = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    settable = [name for name in keywords if name not in _PROVIDED]
    hints = _hints(factory)
    arguments: dict[str, Any] = {}
    for key, text in options.items():
        if key in settable:
            arguments[key] = _convert(key, text, hints.get(key, str))
        elif rest and key not in _PROVIDED and key not in parameters:
            arguments[key] = text
        else:
            raise ConfigError(f"{what} has no option {key!r}{_nearest(key, settable)}")
    known = {name: value for name, value in (given or {}).items() if value is not None}
    arguments |= {name: value for name, value in known.items() if name in keywords}
    filled = {**_PROVIDED, **provided}
    arguments |= {name: value for name, value in filled.items() if name in keywords}
    if filled["max_requests"] is not None and "max_requests" not in keywords:
        raise ConfigError(f"--max-requests would limit nothing: {what} sends no requests")
    missing = [
        name
        for name, parameter in keywords.items()
        if parameter.default is parameter.empty and name not in arguments
    ]
    if missing:
        raise ConfigError(f"{what} needs --set {' --set '.join(f'{name}=...' for name in missing)}")
    return arguments


def _parameters(factory: Callable[..., Any], what: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (ValueError, TypeError) as error:  # a builtin
        raise PluginError(
            f"{what} has no signature that could be read: write a function"
        ) from error


def options_of(factory: Callable[..., Any]) -> list[str]:
    """`name: type = default` for each option a user can set, for listings."""
    return [
        str(parameter)
        for name, parameter in _parameters(factory, "the factory").items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
        and name not in _PROVIDED
    ]


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory)
    except (NameError, TypeError, AttributeError):  # a stranger's annotations need not resolve
        return {}


def _convert(key: str, text: str, hint: Any) -> Any:
    """`text` as the annotated type: str, int, float, bool, Literal, Path, tuple of these."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        wanted = next(member for member in arguments if member is not type(None))
        return _convert(key, text, wanted)
    if origin is Literal:
        if text in arguments:
            return text
        raise ConfigError(f"{key} must be one of {', '.join(map(str, arguments))}, got {text!r}")
    if origin is tuple:
        items = [item.strip() for item in text.split(",")]
        fixed = [member for member in arguments if member is not Ellipsis]
        if Ellipsis not in arguments and len(items) != len(fixed):
            raise ConfigError(f"{key} wants {len(fixed)} values, got {text!r}")
        kinds = fixed * len(items) if Ellipsis in arguments else fixed
        return tuple(_convert(key, item, kind) for item, kind in zip(items, kinds, strict=False))
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ConfigError(f"{key} must be true or false, got {text!r}")
    if hint in (int, float):
        try:
            number = hint(text)
            if math.isfinite(number):
                return number
        except ValueError:
            pass
        wanted = "a whole number" if hint is int else "a finite number"
        raise ConfigError(f"{key} must be {wanted}, got {text!r}")
    return Path(text) if hint is Path else text


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(names)}" if names else ""


def catalogue(name: str | None = None, files: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What is installed; of the plugins called `name`, also the options and what they say.

    Raises:
      PluginError: nothing is called `name`, or it cannot be imported.
    """
    kinds: tuple[Kind, ...] = ("generators", "descriptors")
    entries = [
        {"kind": kind[:-1], "name": entry.name, "factory": entry.value}
        for kind in kinds
        for entry in installed(kind, files).values()
        if name in (None, entry.name)
    ]
    if name is None:
        return entries
    if not entries:
        known = [known for kind in kinds for known in installed(kind, files)]
        raise PluginError(f"no plugin is called {name!r}{_nearest(name, known)}")
    detailed: list[dict[str, Any]] = []
    for kind, entry in ((kind, entry) for kind in kinds for entry in entries):
        if entry["kind"] == kind[:-1]:
            factory = load(kind, name, files)
            about = inspect.getdoc(factory) or ""
            detailed.append({**entry, "options": options_of(factory), "about": about})
    return detailed
