"""A request, a preset and the data, resolved into a recipe."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from ganaudit.config import TrainConfig, split_owned
from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers import ADAPTED, AUGMENTS, REGULARIZERS, STRENGTH, parse
from ganaudit.slots import check_prior
from ganaudit.training.architectures import ARCHITECTURES, GROUP, NetworkSpec, network_specs
from ganaudit.training.losses import LOSSES, loss_of, settings_of
from ganaudit.training.origin import Origin
from ganaudit.training.presets import PRESETS, Preset, preset_of
from ganaudit.training.recipe import Optim, Recipe
from ganaudit.training.styles import Styles

OWNERS = (
    "generator", "discriminator", "loss", "optim", "styles", "descriptor", STRENGTH, *REGULARIZERS,
)  # fmt: skip
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
_STYLED = "auto"  # the preset of StyleGAN2 where none is named


def resolve_recipe(
    config: TrainConfig,
    *,
    image_shape: tuple[int, ...],
    num_labels: int,
    origin: Origin | None = None,
) -> Recipe:
    """The recipe of a request for data of a shape.

    A flag beats the preset, which beats the defaults. What a preset says of a regulariser that is
    not asked for has no effect.

    Args:
      config: the request.
      image_shape: (C, H, W) of the pictures, or (2,) of points.
      num_labels: classes of the data, 0: no labels are known.
      origin: networks that the training begins with; None: they are made for the data.

    Raises:
      ConfigError: a name that there is not, or a value that cannot be.
    """
    preset = _preset(config, image_shape, origin)
    names = _names(config, preset)
    said = split_owned(config.set, OWNERS)
    arch = origin.arch if origin is not None else config.arch or preset.arch
    loss = config.loss or preset.loss
    options = _merged(_fitting(preset, arch, loss, origin), said, asked=names)
    if "ema" in said["optim"] and "ema_kimg" not in said["optim"]:
        options["optim"].pop("ema_kimg", None)  # the other way to say it, which a preset may have
    if arch not in ARCHITECTURES:
        raise ConfigError(_unknown("--arch", arch, ARCHITECTURES))
    if origin is not None:
        origin.check(config, options, image_shape=image_shape, num_labels=num_labels)
        generator, discriminator = origin.generator, origin.discriminator
    else:
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
    _check_parts(batch, config, discriminator)
    if options["styles"] and not ARCHITECTURES[arch].has_styles:
        raise ConfigError(
            f"--set styles.{next(iter(options['styles']))} belongs to StyleGAN2, not to --arch "
            f"{arch}"
        )
    styles = Styles(**bind(Styles, options["styles"], what="styles"))
    changes = [name for name in names if name in AUGMENTS]
    if changes and len(image_shape) == 1:
        raise ConfigError(
            f"--augment {changes[0]} is of pictures, and the data are points: leave it out"
        )
    mirror = preset.mirror if config.mirror is None else config.mirror
    return Recipe(
        arch=arch,
        generator=generator,
        discriminator=discriminator,
        conditional=ARCHITECTURES[arch].conditional,
        loss=loss_of(loss),
        settings=settings_of(loss, options["loss"]),
        regularizers=parse(names, {name: options[name] for name in (*REGULARIZERS, STRENGTH)}),
        optim=optim,
        styles=styles if ARCHITECTURES[arch].has_styles else None,
        batch=batch,
        parts=config.parts,
        steps=_steps(config, preset, batch * optim.discriminator_steps),
        prior=check_prior(config.prior),
        mirror=mirror,
        precision=config.precision,
        seed=config.seed,
        origin=None if origin is None else origin.digest,
    )


def _preset(config: TrainConfig, image_shape: tuple[int, ...], origin: Origin | None) -> Preset:
    wanted = config.preset
    if wanted is None:
        arch = (config.arch or _USUAL.arch) if origin is None else origin.arch
        if arch in ARCHITECTURES and ARCHITECTURES[arch].has_styles:
            wanted = _STYLED
        else:
            return _USUAL if len(image_shape) == 3 else PRESETS["toy-ring"]
    if wanted not in PRESETS:
        raise ConfigError(_unknown("--preset", wanted, PRESETS))
    return preset_of(
        wanted, image_shape=image_shape, batch=config.batch, devices=config.devices * config.parts
    )


def _names(config: TrainConfig, preset: Preset) -> tuple[str, ...]:
    """Regularisers that are asked for, or those of the preset; augmentations likewise."""
    asked = config.regularizers or tuple(n for n in preset.reg if n not in AUGMENTS)
    augments = config.augments or tuple(n for n in preset.reg if n in AUGMENTS)
    for name in augments:
        if name not in (*AUGMENTS, _NONE):
            raise ConfigError(_unknown("--augment", name, dict.fromkeys(AUGMENTS)))
    if config.regularizers and not config.augments:
        augments = ()
    return tuple(name for name in (*asked, *augments) if name != _NONE)


def _check_parts(batch: int, config: TrainConfig, discriminator: NetworkSpec) -> None:
    """Refuse a batch that devices, parts, or the groups of a discriminator do not divide."""
    if batch % config.devices:
        raise ConfigError(
            f"--batch {batch} must be a multiple of --devices {config.devices}: it is shared out"
        )
    if batch % (config.devices * config.parts):
        raise ConfigError(
            f"--batch {batch} must be a multiple of --devices {config.devices} times --parts "
            f"{config.parts}: every device takes its share in parts"
        )
    part = batch // (config.devices * config.parts)
    group = discriminator.arguments.get(GROUP)
    if type(group) is int and part % min(group, part):
        raise ConfigError(
            f"--batch {batch} gives parts of {part} images, and the discriminator looks at groups "
            f"of {group}: take a part that is a multiple of {group}"
        )


def _fitting(preset: Preset, arch: str, loss: str, origin: Origin | None) -> dict[str, str]:
    """What a preset says of the networks and the loss that are trained, and of all else."""
    strange = set()
    if arch != preset.arch:
        strange |= {"styles"}
    if arch != preset.arch or origin is not None:
        strange |= {"generator", "discriminator"}
    if loss != preset.loss:
        strange |= {"loss"}
    found = {k: v for k, v in preset.settings.items() if k.partition(".")[0] not in strange}
    if origin is not None:  # a generator that is good already, as stylegan2-ada-pytorch has it
        found |= {f"{STRENGTH}.kimg": "100", "optim.ema_rampup": "0"}
    return found


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
        if owner == STRENGTH and options and not set(asked) & set(ADAPTED):
            raise ConfigError(
                f"--set {STRENGTH}.{next(iter(options))} belongs to --augment ada and apa, and "
                "neither is asked for"
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
