"""A request, a preset and the data, resolved into what every step of a training does."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ganaudit.config import TrainConfig, split_owned
from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers import REGULARIZERS, Regularizers, parse
from ganaudit.slots import Prior, check_prior
from ganaudit.training.architectures import ARCHITECTURES, NetworkSpec, network_specs
from ganaudit.training.losses import LOSSES, Loss, LossSettings, loss_of, settings_of
from ganaudit.training.presets import PRESETS, Preset

OWNERS = ("generator", "discriminator", "loss", "optim", "descriptor", *REGULARIZERS)
_USUAL = Preset(
    arch="dcgan",
    loss="non-saturating",
    reg=(),
    batch=64,
    steps=10_000,
    latent_size=128,
    settings={},
    about="the defaults",
)
_MOST_STEPS = 10**9
_NONE = "none"  # as a regulariser: not even those of the preset


@dataclass(frozen=True, kw_only=True)
class Optim:
    """What `--set optim.KEY=VALUE` says: Adam, and how often and how long it is asked.

    Attributes:
      lr: learning rate of the generator.
      lr_discriminator: of the discriminator; None: `lr`.
      beta1: decay of the mean gradient.
      beta2: decay of the mean squared gradient.
      weight_decay: added to the gradient times the weight.
      discriminator_steps: updates of the discriminator in every step.
      generator_steps: updates of the generator after them.
      generator_batch: batches of latents that an update of the generator takes.
      decay: none, or linear: both rates fall to 0 over the training.
      ema: decay of the averaged generator; 0: it is the generator itself.
    """

    lr: float = 2e-4
    lr_discriminator: float | None = None
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 0.0
    discriminator_steps: int = 1
    generator_steps: int = 1
    generator_batch: int = 1
    decay: Literal["none", "linear"] = "none"
    ema: float = 0.999

    def __post_init__(self) -> None:
        for name, low, high in (
            ("lr", 0, 1),
            ("lr_discriminator", 0, 1),
            ("beta1", 0, 0.9999),
            ("beta2", 0, 0.999999),
            ("weight_decay", 0, 1),
            ("ema", 0, 0.999999),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"optim.{name} must be in [{low}, {high}], got {value:g}")
        for name in ("discriminator_steps", "generator_steps", "generator_batch"):
            if not 1 <= getattr(self, name) <= 100:
                raise ConfigError(f"optim.{name} must be in [1, 100], got {getattr(self, name)}")

    def rates(self, step: int, steps: int) -> tuple[float, float]:
        """Learning rates of generator and discriminator at a step, from 0, of all steps."""
        left = 1 - step / steps if self.decay == "linear" else 1.0
        both = (self.lr, self.lr if self.lr_discriminator is None else self.lr_discriminator)
        return both[0] * left, both[1] * left


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a step does, but for the data.

    Attributes:
      generator, discriminator: networks and their arguments.
      conditional: the networks take labels.
      batch: real images of a discriminator step, on all devices together.
      steps: in all, each of some updates of the discriminator and then of the generator.
      mirror: half of the real images are mirrored.
    """

    arch: str
    generator: NetworkSpec
    discriminator: NetworkSpec
    conditional: bool
    loss: Loss
    settings: LossSettings
    regularizers: Regularizers
    optim: Optim
    batch: int
    steps: int
    prior: Prior
    mirror: bool
    precision: str
    seed: int

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of a latent of the generator."""
        return (int(self.generator.arguments["latent_size"]),)

    def shown(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "arch": self.arch,
            "generator": asdict(self.generator),
            "discriminator": asdict(self.discriminator),
            "conditional": self.conditional,
            "loss": {"name": self.loss.name, **asdict(self.settings)},
            "regularizers": {n: asdict(r) for n, r in self.regularizers.by_name().items()},
            "optim": asdict(self.optim),
            "batch": self.batch,
            "steps": self.steps,
            "prior": self.prior,
            "mirror": self.mirror,
            "precision": self.precision,
            "seed": self.seed,
        }


def resolve_recipe(config: TrainConfig, *, image_shape: tuple[int, ...], num_labels: int) -> Recipe:
    """The recipe of a request for data of a shape.

    A flag beats the preset, which beats the defaults. What a preset says of a regulariser that is
    not asked for has no effect.

    Args:
      config: the request.
      image_shape: (C, H, W) of the pictures, or (2,) of points.
      num_labels: classes of the data, 0: no labels are known.

    Raises:
      ConfigError: a name that there is not, or a value that cannot be.
    """
    preset = _preset(config, image_shape)
    names = config.regularizers or preset.reg
    names = () if names == (_NONE,) else names
    said = split_owned(config.set, OWNERS)
    arch, loss = config.arch or preset.arch, config.loss or preset.loss
    options = _merged(_fitting(preset, arch, loss), said, asked=names)
    if arch not in ARCHITECTURES:
        raise ConfigError(_unknown("--arch", arch, ARCHITECTURES))
    generator, discriminator = network_specs(
        arch,
        image_shape=image_shape,
        num_labels=num_labels,
        latent_size=config.latent_size or preset.latent_size,
        generator=options["generator"],
        discriminator=options["discriminator"],
    )
    if loss not in LOSSES:
        raise ConfigError(_unknown("--loss", loss, LOSSES))
    optim = Optim(**bind(Optim, options["optim"], what="optim"))
    batch = config.batch or preset.batch
    if batch % config.devices:
        raise ConfigError(
            f"--batch {batch} must be a multiple of --devices {config.devices}: it is shared out"
        )
    return Recipe(
        arch=arch,
        generator=generator,
        discriminator=discriminator,
        conditional=ARCHITECTURES[arch].conditional,
        loss=loss_of(loss),
        settings=settings_of(loss, options["loss"]),
        regularizers=parse(names, {name: options[name] for name in REGULARIZERS}),
        optim=optim,
        batch=batch,
        steps=_steps(config, preset, batch * optim.discriminator_steps),
        prior=check_prior(config.prior),
        mirror=config.mirror,
        precision=config.precision,
        seed=config.seed,
    )


def _preset(config: TrainConfig, image_shape: tuple[int, ...]) -> Preset:
    if config.preset is None:
        return _USUAL if len(image_shape) == 3 else PRESETS["toy-ring"]
    if config.preset not in PRESETS:
        raise ConfigError(_unknown("--preset", config.preset, PRESETS))
    return PRESETS[config.preset]


def _fitting(preset: Preset, arch: str, loss: str) -> dict[str, str]:
    """What a preset says of the networks and the loss that are trained, and of all else."""
    strange = set()
    if arch != preset.arch:
        strange |= {"generator", "discriminator"}
    if loss != preset.loss:
        strange |= {"loss"}
    return {k: v for k, v in preset.settings.items() if k.partition(".")[0] not in strange}


def _merged(
    preset: Mapping[str, str], said: dict[str, dict[str, str]], *, asked: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """Options by owner: the preset's, and over them those that were said."""
    pairs = tuple(f"{key}={value}" for key, value in preset.items())
    merged = split_owned(pairs, OWNERS)
    for owner, options in said.items():
        if owner in REGULARIZERS and options and owner not in asked:
            raise ConfigError(
                f"--set {owner}.{next(iter(options))} belongs to --reg {owner}, which is not asked "
                "for"
            )
        if owner in REGULARIZERS and "preset" in options:
            merged[owner] = {}  # a regulariser's own preset stands for all that is not said
        merged[owner] |= options
    return {
        owner: options if owner not in REGULARIZERS or owner in asked else {}
        for owner, options in merged.items()
    }


def _steps(config: TrainConfig, preset: Preset, shown: int) -> int:
    """Steps of the generator; `shown`: real images that each of them takes."""
    if config.kimg is not None:
        return min(_MOST_STEPS, max(1, math.ceil(config.kimg * 1000 / shown)))
    steps = config.steps or preset.steps
    if steps > _MOST_STEPS:
        raise ConfigError(f"--steps must be at most {_MOST_STEPS:,}, got {steps:,}")
    return steps


def _unknown(option: str, name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{option} must be one of {', '.join(known)}; got {name!r:.80}{hint}"
