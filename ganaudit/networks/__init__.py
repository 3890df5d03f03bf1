"""Our own architectures, one per file, named so that a checkpoint can ask for one.

A checkpoint states a name from `NETWORKS` and the constructor's arguments. Both may be
hostile: the name is looked up here and nowhere else, and every constructor bounds its
arguments with `check_size` before it makes a layer.
"""

import importlib
import inspect
from collections.abc import Mapping

from torch import nn

NETWORKS: Mapping[str, str] = {
    "dcgan": "ganaudit.networks.dcgan:DCGANGenerator",
    "dcgan_discriminator": "ganaudit.networks.dcgan:DCGANDiscriminator",
    "mlp": "ganaudit.networks.mlp:MLPGenerator",
    "mlp_discriminator": "ganaudit.networks.mlp:MLPDiscriminator",
    "sngan": "ganaudit.networks.sngan:SNGANGenerator",
    "sngan_discriminator": "ganaudit.networks.sngan:SNGANDiscriminator",
    "cdcgan": "ganaudit.networks.conditional_dcgan:ConditionalDCGANGenerator",
    "cdcgan_discriminator": ("ganaudit.networks.conditional_dcgan:ConditionalDCGANDiscriminator"),
    "acgan_discriminator": "ganaudit.networks.conditional_dcgan:ACGANDiscriminator",
    "collapsed": "ganaudit.networks.collapsed:CollapsedGenerator",
    "digit_embedder": "ganaudit.networks.digit_embedder:DigitEmbedder",
    "biggan": "ganaudit.networks.biggan:BigGANGenerator",
    "biggan_deep": "ganaudit.networks.biggan_deep:BigGANDeepGenerator",
    "biggan_hub": "ganaudit.networks.biggan_hub:BigGANHubGenerator",
    "pggan": "ganaudit.networks.pggan:PGGANGenerator",
    "stylegan": "ganaudit.networks.stylegan:StyleGANGenerator",
    "stylegan2": "ganaudit.networks.stylegan2:StyleGAN2Generator",
    "stylegan2_discriminator": "ganaudit.networks.stylegan2_discriminator:StyleGAN2Discriminator",
    "stylegan3": "ganaudit.networks.stylegan3:StyleGAN3Generator",
}


def build(name: str, arguments: Mapping[str, object]) -> nn.Module:
    """The network called `name`, freshly initialised; its file is imported only now.

    Args:
      name: a key of `NETWORKS`.
      arguments: the constructor's keyword arguments.

    Raises:
      ValueError: unknown name, an unknown or missing argument, an argument out of bounds.
    """
    made = network_class(name)
    _check_names(name, inspect.signature(made).parameters, arguments)
    return made(**arguments)


def network_class(name: str) -> type[nn.Module]:
    """The class of the network called `name`; its file is imported only now.

    Raises:
      ValueError: unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(sorted(NETWORKS))}; got {name!r:.80}")
    module_name, class_name = NETWORKS[name].split(":")
    found: type[nn.Module] = getattr(importlib.import_module(module_name), class_name)
    assert issubclass(found, nn.Module)
    return found


def check_size(name: str, size: object, low: int, high: int) -> int:
    """`size` itself, if it is an integer (not a bool) in [low, high].

    Raises:
      ValueError: anything else; the message names `name`, the bounds and what came.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not low <= size <= high:
        raise ValueError(f"{name} must be an integer in [{low}, {high}], got {_brief(size)}")
    return size


def _check_names(
    network: str, known: Mapping[str, inspect.Parameter], arguments: Mapping[str, object]
) -> None:
    required = {name for name, parameter in known.items() if parameter.default is parameter.empty}
    if not required <= set(arguments) <= set(known):
        raise ValueError(
            f"network {network} takes {', '.join(known)} "
            f"(required: {', '.join(sorted(required))}); "
            f"got {_brief(', '.join(sorted(arguments)) or 'nothing')}"
        )


def _brief(value: object) -> str:
    # An integer of a million digits cannot be printed, and need not be.
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.80}"
