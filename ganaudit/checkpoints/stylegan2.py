"""StyleGAN2 out of a file of NVIDIA's PyTorch programs, as one of our networks.

Two published programs write the same tensors: stylegan2-ada-pytorch (training/networks.py), whose
generator takes its synthesis arguments in a dict, and stylegan3 (training/networks_stylegan2.py),
whose generator takes them beside the others. StyleGAN3's discriminator is StyleGAN2's too. Where
neither arguments nor source text tell the two apart and it matters, the file is refused.
"""

from ganaudit.checkpoints.constructors import Table, by_name, inner, translated
from ganaudit.checkpoints.records import Network, Plan, shown
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

# Arguments by position, and by name with our name for them.
_G_ORDER = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs")
_D_ORDER = (
    "c_dim", "img_resolution", "img_channels", "architecture", "channel_base", "channel_max",
    "num_fp16_res", "conv_clamp", "cmap_dim", "block_kwargs", "mapping_kwargs", "epilogue_kwargs",
)  # fmt: skip
_G_COMMON: Table = {name: name for name in _G_ORDER[:-1]}
_SYNTHESIS: Table = {
    **{name: name for name in ("channel_base", "channel_max", "architecture", "conv_clamp")},
    **{name: name for name in ("resample_filter", "kernel_size", "use_noise", "activation")},
    "num_fp16_res": None,
    "fp16_channels_last": None,
    "fused_modconv_default": None,
}
_MAPPING: Table = {
    name: f"mapping_{name}"
    for name in ("num_layers", "embed_features", "layer_features", "activation", "lr_multiplier")
}
_D_COMMON: Table = {
    **{name: name for name in _D_ORDER[:9]},
    "num_fp16_res": None,
}
_BLOCK: Table = {
    "activation": "activation",
    "resample_filter": "resample_filter",
    "fp16_channels_last": None,
    "freeze_layers": None,
}
_EPILOGUE: Table = {
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
    given = by_name(network, (*_G_ORDER, "synthesis_kwargs"))
    nested = "synthesis_kwargs" in given
    mapping = inner(given, "mapping_kwargs")
    synthesis = inner(given, "synthesis_kwargs")
    if not nested:
        synthesis = {name: given.pop(name) for name in list(given) if name in _SYNTHESIS}
    keeps_average = mapping.pop("w_avg_beta", 0) is not None
    if "conv_clamp" not in synthesis:
        # Nothing but StyleGAN3's program takes synthesis arguments beside the others.
        synthesis["conv_clamp"] = _default_clamp(network, nested=nested, beside=bool(synthesis))
    arguments, notes = translated(
        "StyleGAN2",
        (given, _G_COMMON, ""),
        (mapping, _MAPPING, "mapping_kwargs."),
        (synthesis, _SYNTHESIS, "synthesis_kwargs." if nested else ""),
    )
    return Plan(
        network="stylegan2",
        arguments={**arguments, "mapping_w_avg": keeps_average},
        tensors=network.tensors,
        notes=notes,
    )


def _discriminator(network: Network) -> Plan:
    _check_classes(network, _D_CLASSES)
    given = by_name(network, _D_ORDER)
    block = inner(given, "block_kwargs")
    mapping = inner(given, "mapping_kwargs")
    epilogue = inner(given, "epilogue_kwargs")
    if "conv_clamp" not in given:
        given["conv_clamp"] = _default_clamp(network)
    arguments, notes = translated(
        "StyleGAN2",
        (given, _D_COMMON, ""),
        (block, _BLOCK, "block_kwargs."),
        (mapping, _MAPPING, "mapping_kwargs."),
        (epilogue, _EPILOGUE, "epilogue_kwargs."),
    )
    return Plan(
        network="stylegan2_discriminator",
        arguments=arguments,
        tensors=network.tensors,
        notes=notes,
    )


def _check_classes(network: Network, known: frozenset[str]) -> None:
    strange = sorted(network.classes - known)
    if strange:
        raise ConfigError(
            f"{network.role} looks like a StyleGAN2 {network.name.lower()} but has a part of "
            f"class {shown(strange[0])}, which is not among those published"
        )


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
