"""Pairs of networks by name, fitted to the data: what `--arch` means."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ganaudit.errors import ConfigError
from ganaudit.networks import build, network_class
from ganaudit.registry import bind

# Arguments that the data decide, and the option that says how.
_BY_DATA = {
    "channels": "--channels",
    "size": "--size",
    "latent_size": "--latent-size",
    "num_labels": "--labels",
    "num_classes": "--labels",
    "image_shape": "",
    "z_dim": "--latent-size",
    "c_dim": "--labels",
    "img_resolution": "--size",
    "img_channels": "--channels",
}
GROUP = "mbstd_group_size"  # argument of a discriminator: images that it looks at together


@dataclass(frozen=True)
class Architecture:
    """Two networks that belong together.

    Attributes:
      generator, discriminator: keys of `networks.NETWORKS`.
      conditional: the generator takes labels.
      has_styles: it is StyleGAN2.
      latent_size: argument of the generator.
    """

    generator: str
    discriminator: str
    conditional: bool = False
    has_styles: bool = False
    latent_size: str = "latent_size"


_STYLEGAN2 = ("stylegan2", "stylegan2_discriminator")
ARCHITECTURES: Mapping[str, Architecture] = {
    "mlp": Architecture("mlp", "mlp_discriminator"),
    "dcgan": Architecture("dcgan", "dcgan_discriminator"),
    "sngan": Architecture("sngan", "sngan_discriminator"),
    "cdcgan": Architecture("cdcgan", "cdcgan_discriminator", conditional=True),
    "acgan": Architecture("cdcgan", "acgan_discriminator", conditional=True),
    "stylegan2": Architecture(*_STYLEGAN2, has_styles=True, latent_size="z_dim"),
    "cstylegan2": Architecture(*_STYLEGAN2, conditional=True, has_styles=True, latent_size="z_dim"),
}
# What helps where the networks do not take what the data are.
_REMEDIES = {
    "size": "; --size 32 --fit pad, crop or resize makes them fit",
    "img_resolution": "; --size 32 --fit pad, crop or resize makes them fit",
    "num_labels": "; --arch dcgan is told no classes",
}
_WIDTH = 64  # of networks of images, unless told otherwise


@dataclass(frozen=True)
class NetworkSpec:
    """A network that `networks.build(network, arguments)` makes; arguments are JSON values."""

    network: str
    arguments: dict[str, Any]


def network_specs(
    arch: str,
    *,
    image_shape: tuple[int, ...],
    num_labels: int,
    latent_size: int,
    generator: Mapping[str, str],
    discriminator: Mapping[str, str],
) -> tuple[NetworkSpec, NetworkSpec]:
    """Generator and discriminator of an architecture for data of a shape.

    Args:
      arch: a key of `ARCHITECTURES`.
      image_shape: (C, H, W) of the images, or (2,) of points.
      num_labels: classes of the data, 0: none are known.
      latent_size: of the generator.
      generator: `--set generator.KEY=VALUE`.
      discriminator: `--set discriminator.KEY=VALUE`.

    Raises:
      ConfigError: no such architecture, one that does not take such data, or an argument out of
        its bounds; the sentence says the remedy.
    """
    if arch not in ARCHITECTURES:
        close = difflib.get_close_matches(arch, ARCHITECTURES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"--arch must be one of {', '.join(ARCHITECTURES)}; got {arch!r:.80}{hint}"
        )
    pair = ARCHITECTURES[arch]
    if len(image_shape) == 1 and arch != "mlp":
        raise ConfigError(f"--arch {arch} makes images, and the data are points: say --arch mlp")
    if len(image_shape) == 3 and image_shape[1] != image_shape[2]:
        raise ConfigError(
            f"the networks make square images, and the data are {image_shape[1]} x "
            f"{image_shape[2]}: say --size 32 --fit pad, crop or resize"
        )
    if pair.conditional and num_labels < 2:
        raise ConfigError(
            f"--arch {arch} needs classes, and the data have none: say --labels folders or "
            f"--labels FILE, or take --arch {'stylegan2' if pair.has_styles else 'dcgan'}"
        )
    known: dict[str, Any] = {
        "image_shape": list(image_shape),
        "num_labels": num_labels,
        "num_classes": num_labels,
        "latent_size": latent_size,
        "z_dim": latent_size,
        "c_dim": num_labels if pair.conditional else 0,
    }
    if len(image_shape) == 3:
        known |= {"channels": image_shape[0], "size": image_shape[1]}
        known |= {"img_channels": image_shape[0], "img_resolution": image_shape[1]}
    made = [
        _checked(NetworkSpec(network, _arguments(role, network, said, known)), arch, role)
        for role, network, said in (
            ("generator", pair.generator, generator),
            ("discriminator", pair.discriminator, discriminator),
        )
    ]
    return made[0], made[1]


def _arguments(
    role: str, network: str, texts: Mapping[str, str], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a network's constructor: those that the data give, and those that were said."""
    for key in texts:
        if key in _BY_DATA:
            remedy = f"say {_BY_DATA[key]}" if _BY_DATA[key] else "leave it out"
            raise ConfigError(f"--set {role}.{key} follows from the data; {remedy}")
    usual = {
        name: value
        for name, value in (("width", _WIDTH), ("w_dim", known["latent_size"]))
        if name not in texts
    }
    what = f"the {role} {network}"
    made: Callable[..., object] = vars(network_class(network))["__init__"]
    found = bind(made, texts, what=what, given={**known, **usual})
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in found.items()
    }


def _checked(spec: NetworkSpec, arch: str, role: str) -> NetworkSpec:
    """The spec, of which torch can make a network; nothing is allocated."""
    try:
        with torch.device("meta"):
            build(spec.network, spec.arguments)
    except (ValueError, TypeError) as error:
        wrong = str(error).partition(" ")[0]  # the argument, as `check_size` names it
        if wrong == "latent_size":
            raise ConfigError(f"--latent-size: {error}") from error
        if wrong not in _BY_DATA:
            raise ConfigError(f"--set {role}.{wrong}: {error}") from error
        raise ConfigError(
            f"--arch {arch} cannot be made for these data: {error}{_REMEDIES.get(wrong, '')}"
        ) from error
    return spec
