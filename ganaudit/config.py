"""Requests, one frozen dataclass a verb. Each default is written once, here.

What a request is checked for can be seen before anything is opened. Where its values come from
(flag, environment, file or default) is `settings`' affair; `origins` remembers it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ganaudit.errors import ConfigError

Backend = Literal["auto", "torch", "faiss"]
Format = Literal["rich", "json"]
Keep = Literal["auto", "thumbnails", "none"]
OutputFormat = Literal["html", "md", "json", "csv", "parquet", "svg", "png"]
CheckFormat = Literal["junit", "github", "gitlab", "md", "json", "sarif", "model-card", "badge"]
Inconclusive = Literal["report", "pass", "fail"]
Method = Literal["gmm", "importance", "rejection", "advlatgan-z"]
MixtureDraw = Literal["cell", "mixture"]
Region = Literal["linear", "subspace-hull", "hull"]
Precision = Literal["32", "bf16", "16"]
Fit = Literal["refuse", "crop", "pad", "resize"]

CALIBRATOR_OPTIONS = ("descriptor", "discriminator")  # where else its file names a network
MIN_REACH = 1e-6  # of theta and radius: float32 rows tell no smaller angles apart
MOST_SHOWN = 256  # images of a grid
_MOST_PARTS = 4096  # of a run, by --shard
_LOOKED_EVERY = 512  # samples between two looks of --until-decided: a shard of the store
_MOST_ATTEMPTS = 10_000  # proposals of a slot, by --attempts
_MOST_CLUSTERS = 4096
_MOST_MODES = 64


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """What every request says that asks a generator for images."""

    generator: str = ""  # a path, an address, NAME:TARGET or demo
    labels: str | None = None  # uniform, a class number, or a file of labels; None: uniform
    seed: int = 0
    batch: int | None = None  # images rendered at once; None: chosen from memory
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    set: tuple[str, ...] = ()  # KEY=VALUE of the generator, descriptor.KEY=VALUE of the descriptor
    plugin: tuple[str, ...] = ()  # Python files that bring generators and descriptors
    trust: bool = False  # programs in files (TorchScript, torch.export) may be run
    strict_source: bool = False  # a checkpoint with a source text of no known release is refused
    max_requests: int | None = None  # sent to a service, repeats included; None: any number
    timeout_s: float = 300.0  # for opening the generator, each batch or each answer of a service
    calibrator: Path | None = None  # calibrator.json of `ganaudit calibrate`; None: as it is

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        if not self.generator:
            raise ConfigError("--generator is needed: a path, an address, NAME:TARGET or demo")
        check_at_least_one(self, ("batch", "max_requests"))
        if not 0 < self.timeout_s < 1e7:
            raise ConfigError(f"--timeout-s must be positive and below 1e7, got {self.timeout_s}")
        check_seed(self.seed)
        check_texts(self, ("generator", "labels", "set", "plugin", "calibrator"))
        options = split_options(self.set)
        for key in options.discriminator:
            raise ConfigError(
                f"--set discriminator.{key}: only calibrate --method advlatgan-z has one"
            )
        for key in options.calibrator:
            if self.calibrator is None:
                raise ConfigError(f"--set calibrator.{key} needs a --calibrator")
            if key.partition(".")[0] not in CALIBRATOR_OPTIONS:
                raise ConfigError(
                    f"--set calibrator.{key}: a calibrator has the options "
                    f"{' and '.join(CALIBRATOR_OPTIONS)}, and theirs (descriptor.size)"
                )


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(GeneratorConfig):
    """Request of `ganaudit diagnose`."""

    descriptor: str | None = None  # a path, NAME or NAME:TARGET; None: the card's, or the demo's
    descriptor_card: Path | None = None  # what `ganaudit threshold` measured of the descriptor
    anchors: int = 10_000  # images scored against
    samples: int = 10_000  # images scored
    theta: float | None = None  # reach of the similarity, fraction of pi; None: descriptor's card
    radius: float | None = None  # of a neighbourhood, fraction of pi; None: descriptor's card
    workers: int | None = None  # processes; None: one per GPU in use, one on the CPU
    out: Path | None = None  # folder of the run; None: audit, audit-2, ... whichever is free
    resume: bool = False
    shard: str | None = None  # i/N: part i of N of the slots, i from 0; None: all of them
    reference: str | None = None  # folder of real images, or as generator: a baseline
    output: tuple[str, ...] = ()  # FORMAT:PATH, written beside what the run's folder gets
    keep: Keep = "auto"  # thumbnails of every image; auto: of a service's, where each costs
    max_failure_rate: float = 0.1  # share of slots without an image at which a run is stopped
    max_faceless: float = 0.5  # share of images without a face from which a run is stopped
    backend: Backend = "auto"
    format: Format = "rich"
    dry_run: bool = False
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        super().__post_init__()
        check_at_least_one(self, ("anchors", "samples", "workers"))
        for name in ("theta", "radius"):
            value = getattr(self, name)
            if value is not None and not MIN_REACH <= value <= 1:
                raise ConfigError(
                    f"--{name} must be in [{MIN_REACH:g}, 1], a fraction of pi, got {value}"
                )
        for name in ("max_faceless", "max_failure_rate"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} must be a share in [0, 1], got {share}")
        if self.reference == "":
            raise ConfigError("--reference wants a folder of images, got an empty name")
        if self.part and self.reference is not None:
            raise ConfigError(
                "--shard and --reference exclude each other: a reference is compared with a whole "
                "run, not with a part of it"
            )
        check_texts(self, ("descriptor", "descriptor_card", "reference"))
        _check_choices(self, {"backend": Backend, "keep": Keep, "format": Format})
        split_outputs(self.output)

    @property
    def part(self) -> tuple[int, int] | None:
        """(i, N) of `shard`, 0 <= i < N; None: the whole run.

        Raises:
          ConfigError: it is no i/N; a request that was made holds none such.
        """
        if self.shard is None:
            return None
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shard)
        if found:
            i, parts = int(found[1]), int(found[2])
            if i < parts <= _MOST_PARTS:
                return i, parts
        raise ConfigError(
            f"--shard must be i/N, part i of N, with 0 <= i < N <= {_MOST_PARTS}, "
            f"got {self.shard!r:.80}"
        )

    def shown(self) -> dict[str, Any]:
        """The request as JSON values, without the origins."""
        values = asdict(self)
        del values["origins"]
        paths = {name: values[name] for name in ("out", "descriptor_card", "calibrator")}
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
        _check_choices(self, {"format": Format})
        _check_printable(self, ("descriptor", "identities", "set"))
        for key in split_options(self.set).generator:
            raise ConfigError(f"--set {key}: options are the descriptor's; say descriptor.{key}")

    @property
    def options(self) -> dict[str, str]:
        """Of the descriptor."""
        return split_options(self.set).descriptor


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Request of `ganaudit check`: which gates a release has to pass, and where that is told.

    The texts of limits are read by `gates`, which knows what each gate may be asked.
    """

    run: Path | None = None  # folder of a finished run; None: the diagnosis is run
    max: tuple[str, ...] = ()  # NAME=LIMIT: worst-rate=2%
    min: tuple[str, ...] = ()  # NAME=LIMIT: vendi=100
    baseline: Path | None = None  # what `ganaudit baseline save` wrote
    max_increase: tuple[str, ...] = ()  # NAME or NAME=PERCENT, against the baseline
    max_decrease: tuple[str, ...] = ()  # NAME or NAME=PERCENT, against the baseline
    rarefy: bool = False  # compare at the baseline's smaller numbers of anchors and samples
    inconclusive: Inconclusive = "report"  # what becomes of a verdict that is none; report: exit 4
    until_decided: bool = False  # samples are drawn until every gate is decided
    max_samples: int = 100_000  # of until_decided
    output: tuple[str, ...] = ()  # FORMAT:PATH, or github alone
    format: Format = "rich"
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        limits = ("max", "min", "max_increase", "max_decrease")
        _check_printable(self, ("run", "baseline", *limits, "output"))
        _check_choices(self, {"inconclusive": Inconclusive, "format": Format})
        if self.max_samples < _LOOKED_EVERY:
            raise ConfigError(
                f"--max-samples must be at least {_LOOKED_EVERY}, the samples between two looks, "
                f"got {self.max_samples}"
            )
        kept = [self.baseline]
        if self.run is not None:
            kept += [self.run / "report.json", self.run / "manifest.json"]
        for _, path in self.outputs:
            if path is not None and any(one and _is_same(path, one) for one in kept):
                raise ConfigError(f"--output {path} is what is read; name another file")

    @property
    def outputs(self) -> list[tuple[CheckFormat, Path | None]]:
        """(format, path) of every `--output`; None: github on its own, which knows its places."""
        return split_outputs(self.output, get_args(CheckFormat), alone="github")


@dataclass(frozen=True, kw_only=True)
class SampleConfig(GeneratorConfig):
    """Request of `ganaudit sample`."""

    samples: int = 64  # images, from slot 0 on
    out: Path | None = None  # a folder, or a .png for the grid alone; None: samples, samples-2, ...
    format: Format = "rich"
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        super().__post_init__()
        check_at_least_one(self, ("samples",))
        _check_choices(self, {"format": Format})
        _check_printable(self, ("out",))
        for key in split_options(self.set).descriptor:
            raise ConfigError(f"--set descriptor.{key}: sampling needs no descriptor; leave it out")
        if self.grid_alone and self.samples > MOST_SHOWN:
            raise ConfigError(
                f"a grid shows at most {MOST_SHOWN} images, --samples is {self.samples:,}; ask for "
                "fewer, or name a folder with --out"
            )

    @property
    def grid_alone(self) -> bool:
        """Whether `out` is a picture in place of a folder."""
        return self.out is not None and self.out.suffix.lower() == ".png"


@dataclass(frozen=True, kw_only=True)
class ServeConfig(GeneratorConfig):
    """Request of `ganaudit serve`."""

    host: str = "127.0.0.1"  # address to listen on; the default is reached from this machine alone
    port: int = 8000  # 0: a free one
    name: str = "generator"  # of the model, in addresses
    delay_ms: float = 2.0  # how long an image waits for others to be rendered with
    queue: int = 256  # images that may wait; whoever asks for more is told to come again
    max_images: int = 64  # of one request
    max_body_mb: int = 8  # MiB of one request
    token_env: str | None = None  # environment variable with the token that clients have to send
    token_file: Path | None = None  # file with it
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        super().__post_init__()
        check_at_least_one(self, ("queue", "max_images", "max_body_mb"))
        for key in split_options(self.set).descriptor:
            raise ConfigError(f"--set descriptor.{key}: serving needs no descriptor; leave it out")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", self.name):
            raise ConfigError(
                "--name is part of addresses: at most 64 letters, digits, _, . and -, got "
                f"{self.name!r:.80}"
            )
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"--port must be in [0, 65535], 0 for a free one, got {self.port}")
        if not 0 <= self.delay_ms <= 1000:
            raise ConfigError(f"--delay-ms must be in [0, 1000], got {self.delay_ms}")
        if self.max_body_mb > 1024:
            raise ConfigError(f"--max-body-mb must be at most 1024, got {self.max_body_mb}")
        if self.queue < self.max_images:
            raise ConfigError(
                f"--queue {self.queue} has no room for a request of --max-images "
                f"{self.max_images}; make it larger, or the request smaller"
            )
        if self.token_env is not None and self.token_file is not None:
            raise ConfigError("--token-env and --token-file exclude each other: say where it is")


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Request of `ganaudit calibrate`: how a generator's dense modes are thinned.

    What belongs to one method is None where it was not asked for: the method has its own default.
    """

    # gmm, importance, rejection or advlatgan-z
    method: str = field(default="", metadata={"example": "importance"})
    run: Path | None = None  # folder of a finished run to fit on; None: the diagnosis is run
    modes: str = "auto"  # how many are thinned; auto: until the worst anchor meets the target
    target: float | None = None  # rate to come down to; None: the median anchor's
    min_acceptance: float = 0.8  # share of proposals that is taken; others grow by 1 / this
    attempts: int = 100  # proposals of a slot; the last one is taken in any case
    draw: str | None = None  # of gmm: cell or mixture
    clusters: int | None = None  # of gmm
    paper_exact: bool = False  # of gmm: weights 1 / (count + 1), covariance I
    region: str | None = None  # of importance: linear, subspace-hull or hull
    discriminator: str | None = None  # of advlatgan-z: a checkpoint or python:FILE.py:FACTORY
    preset: str | None = None  # of advlatgan-z: step and steps of a paper's table
    attack: str | None = None  # of advlatgan-z: i-fgsm, pgd or mi-fgsm
    step: float | None = None  # of advlatgan-z: of every coordinate, in the latents' own unit
    steps: int | None = None  # of advlatgan-z
    ball: float | None = None  # of advlatgan-z: most that a coordinate moves; None: no bound
    momentum: float | None = None  # of mi-fgsm
    inception: Path | None = None  # torch-fidelity's weights; None: those in torch's cache, if any
    set: tuple[str, ...] = ()  # discriminator.KEY=VALUE
    format: Format = "rich"
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        if not self.method:
            raise ConfigError(
                f"--method is needed: one of {', '.join(get_args(Method))}; "
                "importance where latents are known, rejection for any generator"
            )
        _check_choices(self, {"method": Method, "format": Format})
        _check_printable(self, ("run", "discriminator", "preset"))
        for name, methods in _OF_METHOD.items():
            if getattr(self, name) not in (None, False) and self.method not in methods:
                raise ConfigError(
                    f"--{name.replace('_', '-')} belongs to --method {' or '.join(methods)}; "
                    f"--method {self.method} has no such option"
                )
        for name, kind in (("draw", MixtureDraw), ("region", Region)):
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                raise ConfigError(
                    f"--{name} must be one of {', '.join(get_args(kind))}, got {value!r:.80}"
                )
        self.mode_count  # noqa: B018 - it refuses what is no number
        if self.target is not None and not 0 < self.target < 1:
            raise ConfigError(f"--target must be a rate in (0, 1), got {self.target:g}")
        if not 0 < self.min_acceptance <= 1:
            raise ConfigError(f"--min-acceptance must be in (0, 1], got {self.min_acceptance:g}")
        if not 2 <= self.attempts <= _MOST_ATTEMPTS:
            raise ConfigError(f"--attempts must be in [2, {_MOST_ATTEMPTS}], got {self.attempts}")
        if self.clusters is not None and not 1 <= self.clusters <= _MOST_CLUSTERS:
            raise ConfigError(f"--clusters must be in [1, {_MOST_CLUSTERS}], got {self.clusters}")
        if self.method == "advlatgan-z" and self.discriminator is None:
            raise ConfigError(
                "--method advlatgan-z needs the generator's --discriminator: a checkpoint or "
                "python:FILE.py:FACTORY; without one use --method importance or rejection"
            )
        options = split_options(self.set)
        for key in (*options.generator, *options.descriptor, *options.calibrator):
            raise ConfigError(f"--set {key}: say it to the audit, not to the calibration")
        if options.discriminator and self.discriminator is None:
            raise ConfigError("--set discriminator.KEY=VALUE needs a --discriminator")
        if self.paper_exact and self.draw == "cell":
            raise ConfigError("--paper-exact draws from the mixture; leave --draw cell out")

    @property
    def mode_count(self) -> int | None:
        """How many modes are thinned; None: auto.

        Raises:
          ConfigError: it is neither auto nor a number; a request that was made holds none such.
        """
        if self.modes == "auto":
            return None
        if self.modes.isdecimal() and 1 <= int(self.modes[:9]) <= _MOST_MODES:
            return int(self.modes)
        raise ConfigError(
            f"--modes must be auto or a number in [1, {_MOST_MODES}], got {self.modes!r:.80}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Request of `ganaudit train`: a model, its data, its regularisers, and how long.

    What is None here is the preset's, and without one has the default that is named.
    """

    # a folder, a zip, an npz, an idx file, or toy:NAME
    data: str = field(default="", metadata={"example": "toy:ring"})
    start: Path | None = None  # --from: networks to begin with; None: they are made for the data
    arch: str | None = None  # of the networks; None: dcgan, or mlp for points
    loss: str | None = None  # None: non-saturating
    reg: tuple[str, ...] = ()  # regularisers, also several in one text, by commas
    augment: tuple[str, ...] = ()  # ada, apa, diffaugment; also several in one text, by commas
    preset: str | None = None  # settings of a paper
    out: Path | None = None  # folder of the training; None: training, training-2, ...
    resume: bool = False
    steps: int | None = None  # of the generator; None: 10,000
    kimg: float | None = None  # instead of steps: thousands of real images shown
    batch: int | None = None  # images of a step, on all devices together; None: 64
    parts: int = 1  # that a device takes its share of a batch in, where memory is short
    latent_size: int | None = None  # None: 128, of points 2
    prior: str = "normal"  # of the latents: normal, uniform, truncated or spherical
    size: int | None = None  # pixels a side; None: the pictures' own
    channels: int | None = None  # 1 or 3; None: 3 unless every picture is grey
    fit: Fit = "refuse"  # pictures of another size: refuse, crop, pad or resize
    labels: str | None = None  # folders, dataset.json, or a file; None: those in the data, if any
    mirror: bool | None = None  # half of the images are mirrored; None: as the preset says, or no
    precision: Precision = "32"
    device: str = "auto"  # auto, cpu or cuda
    devices: int = 1  # processes, each on its own device
    seed: int = 0
    snapshot_every: int | None = None  # steps between two checkpoints; None: a tenth of all
    audit_every: int | None = None  # steps between two audits, 0: none; None: at start and end
    audit_anchors: int = 1000
    audit_samples: int = 4000
    descriptor: str | None = None  # of the audits: a path, NAME or NAME:TARGET; None: no audits
    theta: float | None = None  # of the audits, fraction of pi; None: descriptor's card
    radius: float | None = None  # likewise
    plugin: tuple[str, ...] = ()  # Python files that bring descriptors
    trust: bool = False  # programs in files (TorchScript) may be run
    set: tuple[str, ...] = ()  # OWNER.KEY=VALUE; owners: the networks, loss, optim, a regulariser
    dry_run: bool = False
    format: Format = "rich"
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is opened."""
        if self.resume and self.out is None:
            raise ConfigError("--resume needs --out: the folder of the training that goes on")
        if not self.data:
            raise ConfigError(
                "--data is needed: a folder, a zip, an npz or idx file of pictures, or toy:ring"
            )
        shown = (
            "data", "start", "arch", "loss", "reg", "augment", "preset", "out", "labels",
            "descriptor", "plugin",
        )  # fmt: skip
        _check_printable(self, (*shown, "set"))
        _check_choices(self, {"precision": Precision, "fit": Fit, "format": Format})
        at_least_one = (
            "steps",
            "batch",
            "latent_size",
            "size",
            "devices",
            "snapshot_every",
            "parts",
        )
        check_at_least_one(self, (*at_least_one, "audit_anchors", "audit_samples"))
        check_seed(self.seed)
        if self.steps is not None and self.kimg is not None:
            raise ConfigError("--steps and --kimg exclude each other: say one of them")
        if self.kimg is not None and not 0 < self.kimg < 1e9:
            raise ConfigError(f"--kimg must be positive and below 1e9, got {self.kimg:g}")
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"--channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        if self.audit_every is not None and self.audit_every < 0:
            raise ConfigError(f"--audit-every must be at least 0, got {self.audit_every}")
        for name in ("theta", "radius"):
            value = getattr(self, name)
            if value is not None and not MIN_REACH <= value <= 1:
                raise ConfigError(
                    f"--{name} must be in [{MIN_REACH:g}, 1], a fraction of pi, got {value}"
                )

    @property
    def regularizers(self) -> tuple[str, ...]:
        """Their names, one by one."""
        return _names(self.reg)

    @property
    def augments(self) -> tuple[str, ...]:
        """The names of augmentations, one by one."""
        return _names(self.augment)

    def shown(self) -> dict[str, Any]:
        """The request as JSON values, without the origins."""
        values = asdict(self)
        del values["origins"]
        paths = {"out": self.out, "start": self.start}
        return values | {name: path and str(path) for name, path in paths.items()}


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


_OF_METHOD = {
    "draw": ("gmm",),
    "clusters": ("gmm",),
    "paper_exact": ("gmm",),
    "region": ("importance",),
    **dict.fromkeys(
        ("discriminator", "preset", "attack", "step", "steps", "ball", "momentum"),
        ("advlatgan-z",),
    ),
}


class Options(NamedTuple):
    """`--set` pairs by whose they are."""

    generator: dict[str, str]
    descriptor: dict[str, str]
    discriminator: dict[str, str]
    calibrator: dict[str, str]


def split_options(pairs: tuple[str, ...]) -> Options:
    """`--set` pairs: KEY=VALUE is the generator's, descriptor.KEY=VALUE the descriptor's, ...

    Raises:
      ConfigError: a pair without `=`, without a key, or one key twice.
    """
    options = Options({}, {}, {}, {})
    for pair in pairs:
        key, equals, value = pair.partition("=")
        owner, dot, rest = key.partition(".")
        owned = bool(dot) and owner in Options._fields[1:]
        name = (rest if owned else key).strip()
        if not equals or not name:
            raise ConfigError(f"--set wants KEY=VALUE, got {pair!r}")
        target: dict[str, str] = getattr(options, owner if owned else "generator")
        if name in target:
            raise ConfigError(f"--set {key} is given twice")
        target[name] = value
    return options


def split_owned(pairs: tuple[str, ...], owners: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """`--set` pairs OWNER.KEY=VALUE as {owner: {key: value}}, each owner present.

    Raises:
      ConfigError: a pair without owner, key or `=`, an unknown owner, or one key twice.
    """
    found: dict[str, dict[str, str]] = {owner: {} for owner in owners}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        owner, _, name = key.strip().partition(".")
        if not equals or not name or owner not in found:
            raise ConfigError(
                f"--set wants OWNER.KEY=VALUE, OWNER one of {', '.join(owners)}; got {pair!r}"
            )
        if name in found[owner]:
            raise ConfigError(f"--set {key} is given twice")
        found[owner][name] = value
    return found


def split_outputs(
    pairs: tuple[str, ...], formats: tuple[str, ...] = get_args(OutputFormat), alone: str = ""
) -> list[tuple[Any, Any]]:
    """`--output` texts to (format, path).

    Args:
      pairs: FORMAT:PATH.
      formats: those that there are.
      alone: the one that may stand without a path, which is then None.

    Raises:
      ConfigError: no colon, no path, or no such format.
    """
    outputs: list[tuple[str, Path | None]] = []
    for pair in pairs:
        name, _, path = pair.partition(":")
        bare = bool(alone) and pair == alone
        if name not in formats or not (path or bare):
            also = f" ({alone} may stand alone)" if alone else ""
            raise ConfigError(
                f"--output wants FORMAT:PATH, FORMAT one of {', '.join(formats)}{also}; "
                f"got {pair!r}"
            )
        outputs.append((name, None if bare else Path(path)))
    return outputs


def check_seed(seed: int) -> int:
    """`seed`, or a ConfigError when it is out of range."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be in [0, 2**63), got {seed}")
    return seed


def check_at_least_one(config: object, names: tuple[str, ...]) -> None:
    """Settings by their names must be absent or at least 1."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


def check_texts(config: object, names: tuple[str, ...]) -> None:
    """What a report repeats must be Unicode, which a file name need not be."""
    for name in names:
        value = getattr(config, name) or ""
        value = str(value) if isinstance(value, Path) else value
        for text in (value,) if isinstance(value, str) else value:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ConfigError(f"--{name} must be UTF-8, got {text!r}; rename it") from None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, which need not exist."""
    return os.path.realpath(one) == os.path.realpath(other)


def _check_printable(config: object, names: tuple[str, ...]) -> None:
    """What a document repeats must be text that steers no terminal, and bounded."""
    for name in names:
        value = getattr(config, name) or ()
        for text in value if isinstance(value, tuple) else (str(value),):
            if not text.isprintable() or len(text) > 4096:
                option = "RUN" if name == "run" else f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} must be printable UTF-8 text, got {text!r:.80}")


def _check_choices(config: Any, choices: Mapping[str, Any]) -> None:
    """Settings by their name must be of a Literal."""
    for name, kind in choices.items():
        if getattr(config, name) not in get_args(kind):
            raise ConfigError(
                f"--{name} must be one of {', '.join(get_args(kind))}, "
                f"got {getattr(config, name)!r}"
            )
