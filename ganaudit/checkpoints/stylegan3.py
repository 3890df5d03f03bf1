"""StyleGAN3 out of a file of NVIDIA's PyTorch program, as one of our networks.

The class is called Generator, like StyleGAN2's, so its tensors tell: it begins with waves
(synthesis.input.freqs) instead of a constant. Programs made from it add arguments, parts or
tensors, and are refused by these: StyleGAN-XL, for one, by mapping.embed_proj, by rand_embedding
or by its class SuperresGenerator. The discriminator beside it is StyleGAN2's.
"""

import re

from ganaudit.checkpoints.constructors import Table, by_name, inner, translated
from ganaudit.checkpoints.records import Network, Plan, shown
from ganaudit.errors import ConfigError

_MARK = "synthesis.input.freqs"
_CLASSES = frozenset(
    {
        "Generator", "MappingNetwork", "SynthesisNetwork", "SynthesisInput", "SynthesisLayer",
        "FullyConnectedLayer",
    }
)  # fmt: skip
_TENSORS = re.compile(
    r"mapping\.(w_avg|(embed|fc\d+)\.(weight|bias))"
    r"|synthesis\.input\.(weight|affine\.(weight|bias)|transform|freqs|phases)"
    r"|synthesis\.L\d+_\d+_\d+"
    r"\.(weight|bias|affine\.(weight|bias)|magnitude_ema|up_filter|down_filter)"
)
_ORDER = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs")

_MAPPING: Table = {
    "num_layers": "mapping_num_layers",
    "lr_multiplier": "mapping_lr_multiplier",
    "w_avg_beta": None,
}
_OTHERS: Table = {
    **{name: name for name in _ORDER[:-1]},
    **{name: name for name in ("channel_base", "channel_max", "num_layers", "num_critical")},
    **{name: name for name in ("first_cutoff", "first_stopband", "last_stopband_rel")},
    **{name: name for name in ("margin_size", "output_scale", "conv_kernel", "filter_size")},
    **{name: name for name in ("lrelu_upsampling", "use_radial_filters", "conv_clamp")},
    "num_fp16_res": None,
    "magnitude_ema_beta": None,
}


def stylegan3(network: Network) -> Plan | None:
    """The plan for a generator of StyleGAN3, T or R; None: it is none.

    Raises:
      ConfigError: it is one, with an argument, a part or a tensor that the published program
        does not have, or without an argument that it needs.
    """
    if network.name != "Generator" or _MARK not in network.tensors:
        return None
    _check_parts(network)
    given = by_name(network, _ORDER)
    mapping = inner(given, "mapping_kwargs")
    arguments, notes = translated(
        "StyleGAN3", (given, _OTHERS, ""), (mapping, _MAPPING, "mapping_kwargs.")
    )
    missing = [name for name in _ORDER[:-1] if name not in arguments]
    if missing:
        raise ConfigError(f"{network.role}: a StyleGAN3 generator was made without {missing[0]}")
    return Plan(
        network="stylegan3",
        arguments=arguments,
        tensors=network.tensors,
        notes=notes,
    )


def _check_parts(network: Network) -> None:
    strange = [f"a part of class {shown(name)}" for name in sorted(network.classes - _CLASSES)]
    strange += [
        f"the tensor {shown(name)}"
        for name in sorted(network.tensors)
        if not _TENSORS.fullmatch(name)
    ]
    if strange:
        raise ConfigError(
            f"{network.role} looks like a StyleGAN3 generator but has {strange[0]}, which the "
            "published program does not have: it is a variant that ganaudit does not implement"
        )
