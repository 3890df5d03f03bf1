"""StyleGAN2 out of a file of NVIDIA's PyTorch programs, as one of our networks.

Two published programs write the same tensors: stylegan2-ada-pytorch (training/networks.py), whose
generator takes its synthesis arguments in a dict, and stylegan3 (training/networks_stylegan2.py),
whose generator takes them beside the others. StyleGAN3's discriminator is StyleGAN2's too. Where
neither arguments nor source text tell the two apart and it matters, the file is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ganaudit.checkpoints.records import Network, Plan, kind_of, shown
from ganaudit.checkpoints.sources import KNOWN
from ganaudit.errors import ConfigError

_G_CLASSES = frozenset(
    {
        "Generator", "MappingNetwork", "SynthesisNetwork", "SynthesisBlock", "SynthesisLayer",
        "ToRGBLayer", "FullyConnectedLayer", "Conv2dLayer",
    }
)  # fmt: skip
_D_CLASSES = frozenset(
    {
        "Discriminator", "DiscriminatorBlock", "DiscriminatorEpilogue", "MinibatchStdLayer",
        "MappingNetwork", "FullyConnectedLayer", "Conv2dLayer",
    }
)  # fmt: skip

# Arguments by position, and by name with our name for them; None: without effect on images,
# that is training only, or half precision, which we do not use.
_G_ORDER = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs")
_D_ORDER = (
    "c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max",
    "num_fp16_res", "conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs",
)  # fmt: skip
_G_COMMON: Mapping[str, str | None] = {name: name for name in _G_ORDER[:-1]}
_SYNTHESIS: Mapping[str, str | None] = {
    **{name: name for name in ("channel_base", "channel_max", "architecture", "conv_clamp")},
    **{name: name for name in ("resample_filter", "kernel_size", "use_noise", "activation")},
    "num_fp16_res": None,
    "fp16_channels_last": None,
    "fused_modconv_default": None,
}
_MAPPING: Mapping[str, str | None] = {
    name: f"mapping_{name}"
    for name in ("num_layers", "embed_features", "layer_features", "activation", "lr_multiplier")
}
_D_COMMON: Mapping[str, str | None] = {
    **{name: name for name in _D_ORDER[:9]},
    "num_fp16_res": None,
}
_BLOCK: Mapping[str, str | None] = {
    "activation": "activation",
    "resample_filter": "resample_filter",
    "fp16_channels_last": None,
    "freeze_layers": None,
}
_EPILOGUE: Mapping[str, str | None] = {
    "mbstd_group_size": "mbstd_group_size",
    "mbstd_num_channels": "mbstd_num_channels",
    "activation": "epilogue_activation",
}


def stylegan2(network: Network) -> Plan | None:
    """The plan for a generator or discriminator of StyleGAN2; None: it is neither.

    Raises:
      ConfigError: it is one, with an argument or a part that the published programs do not have,
        or without what says how it computes.
    """
    if network.name == "Generator" and "synthesis.b4.const" in network.tensors:
        return _generator(network)
    if network.name == "Discriminator" and "b4.conv.weight" in network.tensors:
        return _discriminator(network)
    return None


def _generator(network: Network) -> Plan:
    _check_classes(network, _G_CLASSES)
    given = _by_name(network, (*_G_ORDER, "synthesis_kwargs"))
    nested = "synthesis_kwargs" in given
    mapping = _inner(given, "mapping_kwargs")
    synthesis = _inner(given, "synthesis_kwargs")
    if not nested:
        synthesis = {name: given.pop(name) for name in list(given) if name in _SYNTHESIS}
    keeps_average = mapping.pop("w_avg_beta", 0) is not None
    if "conv_clamp" not in synthesis:
        # Nothing but StyleGAN3's program takes synthesis arguments beside the others.
        synthesis["conv_clamp"] = _default_clamp(network, nested=nested, beside=bool(synthesis))
    arguments, unused = _translated(
        (given, _G_COMMON, ""),
        (mapping, _MAPPING, "mapping_kwargs."),
        (synthesis, _SYNTHESIS, "synthesis_kwargs." if nested else ""),
    )
    return Plan(
        network="stylegan2",
        arguments={**arguments, "mapping_w_avg": keeps_average},
        tensors=network.tensors,
        notes=_notes(unused),
    )


def _discriminator(network: Network) -> Plan:
    _check_classes(network, _D_CLASSES)
    given = _by_name(network, _D_ORDER)
    block = _inner(given, "block_kwargs")
    mapping = _inner(given, "mapping_kwargs")
    epilogue = _inner(given, "epilogue_kwargs")
    if "conv_clamp" not in given:
        given["conv_clamp"] = _default_clamp(network)
    arguments, unused = _translated(
        (given, _D_COMMON, ""),
        (block, _BLOCK, "block_kwargs."),
        (mapping, _MAPPING, "mapping_kwargs."),
        (epilogue, _EPILOGUE, "epilogue_kwargs."),
    )
    return Plan(
        network="stylegan2_discriminator",
        arguments=arguments,
        tensors=network.tensors,
        notes=_notes(unused),
    )


def _check_classes(network: Network, known: frozenset[str]) -> None:
    strange = sorted(network.classes - known)
    if strange:
        raise ConfigError(
            f"{network.role} looks like a StyleGAN2 {network.name.lower()} but has a part of "
            f"class {shown(strange[0])}, which is not among those published"
        )


def _by_name(network: Network, order: Sequence[str]) -> dict[str, Any]:
    if len(network.args) > len(order):
        raise ConfigError(
            f"{network.role}: {network.name} was made with {len(network.args)} arguments by "
            f"position; the published one takes {len(order)}"
        )
    given = dict(zip(order, network.args, strict=False))
    twice = sorted(given.keys() & network.kwargs.keys())
    if twice:
        raise ConfigError(f"{network.role}: {network.name} was made with {twice[0]} twice")
    return given | dict(network.kwargs)


def _inner(given: dict[str, Any], name: str) -> dict[str, Any]:
    inner = given.pop(name, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{name} must be a dict, got {kind_of(inner)}")
    return dict(inner)


def _default_clamp(network: Network, *, nested: bool = False, beside: bool = False) -> int | None:
    texts = {
        KNOWN.get(source, "").partition(",")[0].partition(" ")[0] for source in network.sources
    }
    if nested or texts == {"stylegan2-ada-pytorch"}:
        return None
    if beside or texts == {"stylegan3"}:
        return 256
    raise ConfigError(
        f"{network.role} does not say its conv_clamp, and whether it was made by "
        "stylegan2-ada-pytorch (None) or stylegan3 (256) cannot be told from its source"
    )


def _translated(
    *parts: tuple[Mapping[str, Any], Mapping[str, str | None], str],
) -> tuple[dict[str, Any], list[str]]:
    # Each part is what was given, the names that we know, and how to call it to a person.
    arguments: dict[str, Any] = {}
    unused = []
    for given, known, prefix in parts:
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"StyleGAN2's constructor argument {prefix}{shown(name)} is not implemented: "
                    "the published programs have none of this name"
                )
            ours = known[name]
            if ours is None:
                unused.append(name)
            else:
                arguments[ours] = value
    return arguments, unused


def _notes(unused: Sequence[str]) -> tuple[str, ...]:
    if not unused:
        return ()
    return (
        f"{', '.join(unused)}: without effect here, where everything is computed in single "
        "precision and nothing is trained.",
    )
