"""Requests, one frozen dataclass a verb. Each default is written once, here.

A value comes from a flag, else the environment (`GANAUDIT_THETA=0.4`), else `[tool.ganaudit]` in
the pyproject.toml of the working directory (other verbs than diagnose: a table of their name in
it), else the default; `origins` remembers which. That programs in files may be run is said by a
flag alone.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ganaudit.errors import ConfigError

Backend = Literal["auto", "torch", "faiss"]
Format = Literal["rich", "json"]
Keep = Literal["auto", "thumbnails", "none"]
OutputFormat = Literal["html", "md", "json", "csv", "parquet", "svg", "png"]

# What would run code: a file that lies beside the audited one must not be able to say it.
_NOT_BY_FILE, _FLAG_ALONE = ("trust", "plugin"), "trust"
MIN_REACH = 1e-6  # of theta and radius: float32 rows tell no smaller angles apart
_VERBS = ("threshold",)  # with a table of their own in [tool.ganaudit]
_Config = TypeVar("_Config")


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig:
    """Request of `ganaudit diagnose`."""

    generator: str = ""  # a path, NAME:TARGET or demo
    descriptor: str | None = None  # a path, NAME or NAME:TARGET; None: the card's, or the demo's
    descriptor_card: Path | None = None  # what `ganaudit threshold` measured of the descriptor
    labels: str | None = None  # uniform, a class number, or a file of labels; None: uniform
    anchors: int = 10_000  # images scored against
    samples: int = 10_000  # images scored
    theta: float | None = None  # reach of the similarity, fraction of pi; None: descriptor's card
    radius: float | None = None  # of a neighbourhood, fraction of pi; None: descriptor's card
    seed: int = 0
    batch: int | None = None  # images rendered at once; None: chosen from memory
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    workers: int | None = None  # processes; None: one per GPU in use, one on the CPU
    out: Path | None = None  # folder of the run; None: audit, audit-2, ... whichever is free
    resume: bool = False
    reference: str | None = None  # folder of real images, or as generator: a baseline
    output: tuple[str, ...] = ()  # FORMAT:PATH, written beside what the run's folder gets
    keep: Keep = "auto"  # thumbnails of every image; auto: where none can be asked for again
    set: tuple[str, ...] = ()  # KEY=VALUE of the generator, descriptor.KEY=VALUE of the descriptor
    plugin: tuple[str, ...] = ()  # Python files that bring generators and descriptors
    trust: bool = False  # programs in files (TorchScript, torch.export) may be run
    max_faceless: float = 0.5  # share of images without a face from which a run is stopped
    backend: Backend = "auto"
    timeout_s: float = 300.0  # for opening the generator and for each batch it renders
    format: Format = "rich"
    dry_run: bool = False
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        if not self.generator:
            raise ConfigError("--generator is needed: a path, NAME:TARGET or demo")
        for name in ("anchors", "samples", "batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} must be at least 1, got {value}")
        for name in ("theta", "radius"):
            value = getattr(self, name)
            if value is not None and not MIN_REACH <= value <= 1:
                raise ConfigError(
                    f"--{name} must be in [{MIN_REACH:g}, 1], a fraction of pi, got {value}"
                )
        if not 0 <= self.max_faceless <= 1:
            raise ConfigError(f"--max-faceless must be a share in [0, 1], got {self.max_faceless}")
        if self.reference == "":
            raise ConfigError("--reference wants a folder of images, got an empty name")
        if not 0 < self.timeout_s < 1e7:
            raise ConfigError(f"--timeout-s must be positive and below 1e7, got {self.timeout_s}")
        check_seed(self.seed)
        _check_texts(self)
        _check_choices(self)
        split_options(self.set)
        split_outputs(self.output)

    def shown(self) -> dict[str, Any]:
        """The request as JSON values, without the origins."""
        values = asdict(self)
        del values["origins"]
        paths = {name: values[name] for name in ("out", "descriptor_card")}
        return values | {name: None if path is None else str(path) for name, path in paths.items()}


@dataclass(frozen=True, kw_only=True)
class ThresholdConfig:
    """Request of `ganaudit threshold`."""

    descriptor: str = ""  # a path, NAME or NAME:TARGET
    identities: str = ""  # folder of pictures, a folder a person or object in it
    set: tuple[str, ...] = ()  # descriptor.KEY=VALUE
    plugin: tuple[str, ...] = ()  # Python files that bring descriptors
    trust: bool = False  # programs in files (TorchScript) may be run
    fmr: float = 0.001  # false-match rate that the radius may have
    seed: int = 0  # of the intervals
    batch: int | None = None  # pictures embedded at once; None: chosen from memory
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    out: Path | None = None  # folder of the card; None: threshold, threshold-2, ...
    try_preprocessing: bool = False
    format: Format = "rich"
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        if not self.descriptor:
            raise ConfigError("--descriptor is needed: a path, NAME or NAME:TARGET")
        if not self.identities:
            raise ConfigError("--identities is needed: a folder with one folder a person or object")
        if not 1e-12 <= self.fmr < 1:
            raise ConfigError(f"--fmr must be in [1e-12, 1), a rate, got {self.fmr:g}")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"--batch must be at least 1, got {self.batch}")
        check_seed(self.seed)
        if self.format not in get_args(Format):
            known = ", ".join(get_args(Format))
            raise ConfigError(f"--format must be one of {known}, got {self.format!r}")
        for name in ("descriptor", "identities", "set"):
            value = getattr(self, name)
            for text in (value,) if isinstance(value, str) else value:
                if not text.isprintable() or len(text) > 4096:
                    raise ConfigError(f"--{name} must be printable UTF-8 text, got {text!r:.80}")
        others, _ = split_options(self.set)
        for key in others:
            raise ConfigError(f"--set {key}: options are the descriptor's; say descriptor.{key}")

    @property
    def options(self) -> dict[str, str]:
        """Of the descriptor."""
        return split_options(self.set)[1]


def split_options(pairs: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """`--set` pairs to (the generator's options, the descriptor's options).

    Raises:
      ConfigError: a pair without `=`, without a key, or one key twice.
    """
    generator: dict[str, str] = {}
    descriptor: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        of_descriptor = key.startswith("descriptor.")
        name = key.removeprefix("descriptor.").strip()
        if not equals or not name:
            raise ConfigError(f"--set wants KEY=VALUE, got {pair!r}")
        target = descriptor if of_descriptor else generator
        if name in target:
            raise ConfigError(f"--set {key} is given twice")
        target[name] = value
    return generator, descriptor


def split_outputs(pairs: tuple[str, ...]) -> list[tuple[OutputFormat, Path]]:
    """`--output` pairs to (format, path).

    Raises:
      ConfigError: no colon, no path, or no such format.
    """
    outputs: list[tuple[OutputFormat, Path]] = []
    formats = get_args(OutputFormat)
    for pair in pairs:
        name, _, path = pair.partition(":")
        if name not in formats or not path:
            raise ConfigError(
                f"--output wants FORMAT:PATH, FORMAT one of {', '.join(formats)}; got {pair!r}"
            )
        outputs.append((name, Path(path)))  # type: ignore[arg-type]
    return outputs


def resolve(
    kind: type[_Config], flags: Mapping[str, Any], *, folder: Path | None = None
) -> _Config:
    """The complete request from `flags` (None: not given), environment, file and defaults.

    Args:
      kind: the config of a verb: a dataclass with `origins`.
      flags: field name to value.
      folder: where pyproject.toml may lie; None: the working directory.
    """
    hints = get_type_hints(kind)
    names = [entry.name for entry in fields(kind) if entry.name != "origins"]  # type: ignore[arg-type]
    table, where = _file_table((folder or Path.cwd()) / "pyproject.toml", kind)
    for key in table:
        if key.replace("-", "_") not in names:
            raise ConfigError(f"{where} has no setting {key!r}{_suggest(key, names)}")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in names:
        variable = f"GANAUDIT_{name.upper()}"
        in_file = next((key for key in (name, name.replace("_", "-")) if key in table), None)
        if flags.get(name) not in (None, ()):
            values[name], origins[name] = flags[name], "flag"
        elif in_file and name in _NOT_BY_FILE or name == _FLAG_ALONE and os.environ.get(variable):
            raise ConfigError(
                f"{name} would run code, so neither {where} nor, of trust, the environment can say "
                f"it; say --{name}"
            )
        elif os.environ.get(variable):
            values[name] = _parse(variable, os.environ[variable], hints[name])
            origins[name] = variable
        elif in_file is not None:
            values[name] = _parse(f"{where} {in_file}", table[in_file], hints[name])
            origins[name] = where
        else:
            origins[name] = "default"
    make: Any = kind
    return cast(_Config, make(**values, origins=origins))


def check_seed(seed: int) -> int:
    """`seed`, or a ConfigError when it is out of range."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be in [0, 2**63), got {seed}")
    return seed


def _file_table(path: Path, kind: type[Any]) -> tuple[dict[str, Any], str]:
    """The settings of a verb in a pyproject.toml, and what that table is called."""
    verb = kind.__name__.removesuffix("Config").lower()
    where = f"[tool.ganaudit.{verb}]" if verb in _VERBS else "[tool.ganaudit]"
    if not path.is_file():
        return {}, where
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path.name} cannot be read: {error}") from error
    for key in where.strip("[]").split("."):
        table = table.get(key, {}) if isinstance(table, dict) else table
    if not isinstance(table, dict):
        raise ConfigError(f"{where} in {path.name} must be a table")
    return {key: value for key, value in table.items() if key not in _VERBS}, where


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


def _check_texts(config: DiagnoseConfig) -> None:
    """What a report repeats must be Unicode, which a file name need not be."""
    for name in (
        "generator",
        "descriptor",
        "descriptor_card",
        "reference",
        "labels",
        "set",
        "plugin",
    ):
        value = getattr(config, name) or ""
        value = str(value) if isinstance(value, Path) else value
        for text in (value,) if isinstance(value, str) else value:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ConfigError(f"--{name} must be UTF-8, got {text!r}; rename it") from None


def _check_choices(config: DiagnoseConfig) -> None:
    for name, kind in (("backend", Backend), ("keep", Keep), ("format", Format)):
        if getattr(config, name) not in get_args(kind):
            raise ConfigError(
                f"--{name} must be one of {', '.join(get_args(kind))}, "
                f"got {getattr(config, name)!r}"
            )


def _suggest(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key.replace("-", "_"), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
