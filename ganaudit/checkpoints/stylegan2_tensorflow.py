"""A generator of StyleGAN2, as the two programs for TensorFlow wrote it.

stylegan2 builds it with `G_synthesis_stylegan2`, or, for configurations B to D of the paper's
table 1, with `G_synthesis_stylegan_revised`, which is the architecture "orig" once it has grown;
stylegan2-ada with `G_synthesis`. The names on our side are those of NVIDIA's PyTorch programs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganaudit.checkpoints.records import Array, Network, Plan, shown
from ganaudit.checkpoints.stylegan import components, defaults
from ganaudit.checkpoints.variables import (
    FloatArray,
    Given,
    Rule,
    conv,
    dense,
    inner,
    number,
    renamed,
    turned,
)
from ganaudit.errors import ConfigError

_REVISED = "G_synthesis_stylegan_revised"
_SYNTHESES = ("G_synthesis_stylegan2", "G_synthesis", _REVISED)
_WITHOUT_EFFECT = (
    "dlatent_avg_beta", "style_mixing_prob", "truncation_psi_val", "truncation_cutoff_val",
    "fused_modconv", "num_fp16_res", "structure",
)  # fmt: skip
_BINOMIAL = (1, 3, 3, 1)  # the default of every filter
_MOST_TAP = 1e9
_SEPARATE_FROM = 8  # taps, from which PyTorch's programs keep a filter one-dimensional


def stylegan2_tensorflow(network: Network) -> Plan:
    """The plan for what `G_main` built.

    Raises:
      ConfigError: an argument, a component or a variable that the published programs do not have
        or that their PyTorch versions cannot express.
    """
    mapping, synthesis = components(network, "G_mapping", *_SYNTHESES)
    if any(name.startswith("LabelConcat/") for name in mapping.tensors):
        raise ConfigError(
            f"{network.role} embeds labels as the program of 2019 does (LabelConcat), before "
            "latents are normalised; ganaudit implements StyleGAN2 with the labels of "
            "stylegan2-ada (LabelEmbed)"
        )
    given = Given(network)
    facts = defaults(given, psi=0.5, cutoff=None, cutoff_needed=False)
    given.choice("return_dlatents", False, False)
    given.choice("mapping_func", "G_mapping", "G_mapping")
    given.choice("synthesis_func", synthesis.name, synthesis.name)
    arguments = _arguments(given, mapping, revised=synthesis.name == _REVISED)
    given.ignore(*_WITHOUT_EFFECT)
    given.finish("G_main")
    if not arguments["use_noise"]:
        facts.pop("noise")
    resolution = arguments["img_resolution"]
    synthesised = _grown(synthesis) if synthesis.name == _REVISED else synthesis.tensors
    return Plan(
        network="stylegan2",
        arguments=arguments,
        tensors={
            **renamed(_own(network), _AVERAGE, where=network.role),
            **renamed(mapping.tensors, _MAPPING, where=mapping.role),
            **renamed(synthesised, _synthesis(resolution), where=synthesis.role),
            **_filters(arguments),
        },
        facts=facts,
        notes=tuple(given.notes()),
    )


def _arguments(given: Given, mapping: Network, *, revised: bool) -> dict[str, Any]:
    given.choice("fmap_decay", 1, 1, 1.0)
    given.choice("fmap_min", 1, 1)
    given.choice("fmap_const", None, None)
    given.choice("normalize_latents", True, True)
    given.choice("dtype", "float32", "float32", "float16")
    latent_size = given.integer("latent_size", 512)
    resolution = given.integer("resolution", 1024)
    layers = 2 * (resolution.bit_length() - 2)
    given.choice("dlatent_broadcast", layers, layers)
    if revised:  # which does not look at it
        given.ignore("architecture")
    widths = given.take("mapping_fmaps", None)
    if widths is None and "Dense0/bias" in mapping.tensors:
        # 512 in one program, as many as w has in the other: the variable itself tells.
        widths = mapping.tensors["Dense0/bias"].size
    embedded = given.take("label_fmaps", None)
    return {
        "z_dim": latent_size,
        "c_dim": given.take("label_size", 0),
        "w_dim": given.take("dlatent_size", 512),
        "img_resolution": resolution,
        "img_channels": given.take("num_channels", 3),
        "channel_base": 2 * given.integer("fmap_base", 16384),
        "channel_max": given.take("fmap_max", 512),
        "architecture": "orig" if revised else given.take("architecture", "skip"),
        # No filter means a box here, and no filter at all there.
        "resample_filter": given.take("resample_kernel", list(_BINOMIAL)) or [1, 1],
        "conv_clamp": given.take("conv_clamp", None),
        "use_noise": given.choice("use_noise", True, True, False),
        "activation": given.take("nonlinearity", "lrelu"),
        "mapping_num_layers": given.take("mapping_layers", 8),
        "mapping_embed_features": latent_size if embedded is None else embedded,
        "mapping_layer_features": widths,
        "mapping_activation": given.take("mapping_nonlinearity", "lrelu"),
        "mapping_lr_multiplier": given.take("mapping_lrmul", 0.01),
    }


def _own(network: Network) -> Mapping[str, Array]:
    # "lod" is of progressive growing, which only the revised synthesis knows.
    return {name: array for name, array in network.tensors.items() if name != "lod"}


def _grown(synthesis: Network) -> Mapping[str, Array]:
    """Variables of a fully grown revised synthesis, its last ToRGB alone, as "orig" names it.

    Raises:
      ConfigError: it has not grown fully.
    """
    lod = number(synthesis.tensors, "lod", where=synthesis.role)
    if lod != 0:
        raise ConfigError(
            f"{synthesis.role} has not grown to its full resolution (lod {shown(lod)}); ganaudit "
            f"implements {_REVISED} fully grown"
        )
    return {
        name: array
        for name, array in synthesis.tensors.items()
        if name != "lod" and not (name.startswith("ToRGB_lod") and name[9:10] != "0")
    }


_AVERAGE: Mapping[str, Rule] = {"dlatent_avg": lambda a: ("mapping.w_avg", a)}
_MAPPING: Mapping[str, Rule] = {
    r"LabelEmbed/weight": lambda a: ("mapping.embed.weight", dense(a)),
    r"LabelEmbed/bias": lambda a: ("mapping.embed.bias", a),
    r"Dense(\d+)/weight": lambda a, i: (f"mapping.fc{i}.weight", dense(a)),
    r"Dense(\d+)/bias": lambda a, i: (f"mapping.fc{i}.bias", a),
}


def _synthesis(resolution: int) -> Mapping[str, Rule]:
    layers = {
        "Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip",
    }  # fmt: skip

    def layer(path: str) -> str:
        if path.startswith("ToRGB_lod"):
            return f"synthesis.b{resolution}.torgb"
        size, name = path.split("/")
        return f"synthesis.b{size.split('x')[0]}.{layers[name]}"

    def weight(array: FloatArray, path: str) -> tuple[str, FloatArray]:
        doubles = path.endswith(("Conv0_up", "Skip"))
        kernels = turned(conv(array)) if doubles else conv(array)  # the other programs turn them
        return f"{layer(path)}.weight", kernels

    def noise(array: FloatArray, index: str) -> tuple[str, FloatArray]:
        block, half = divmod(int(index) + 1, 2)
        return f"synthesis.b{4 << block}.conv{half}.noise_const", inner(array, 2)

    path = r"((?:(\d{1,4})x\2/(?:Conv|Conv0_up|Conv1|ToRGB|Skip))|ToRGB_lod0)/"
    return {
        r"noise(\d{1,2})": lambda a, i: noise(a, i),
        r"4x4/Const/const": lambda a: ("synthesis.b4.const", inner(a, 3)),
        path + r"weight": lambda a, p, _: weight(a, p),
        path + r"bias": lambda a, p, _: (f"{layer(p)}.bias", a),
        path + r"noise_strength": lambda a, p, _: (f"{layer(p)}.noise_strength", a),
        path + r"mod_weight": lambda a, p, _: (f"{layer(p)}.affine.weight", dense(a)),
        # Styles scale by 1 + bias there, by the bias itself here.
        path + r"mod_bias": lambda a, p, _: (f"{layer(p)}.affine.bias", a + np.float32(1)),
    }


def _filters(arguments: Mapping[str, Any]) -> dict[str, FloatArray]:
    """The filters that the other programs keep among their tensors."""
    chosen, default = _filter(arguments["resample_filter"]), _filter(_BINOMIAL)
    made: dict[str, FloatArray] = {}
    for level in range(2, arguments["img_resolution"].bit_length()):
        block = f"synthesis.b{1 << level}"
        made[f"{block}.resample_filter"] = chosen
        made[f"{block}.conv1.resample_filter"] = default  # nothing is resampled there
        if level > 2:
            made[f"{block}.conv0.resample_filter"] = chosen
        if level > 2 and arguments["architecture"] == "resnet":
            made[f"{block}.skip.resample_filter"] = chosen
    return made


def _filter(taps: Any) -> FloatArray:
    try:
        given = np.asarray(taps, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.array(np.inf)
    # The network bounds them; here they must not overflow.
    if given.ndim not in (1, 2) or not given.sum() or np.abs(given).max() > _MOST_TAP:
        raise ConfigError("resample_kernel must be numbers of a sum other than 0")
    kernel = given.astype(np.float32)
    if kernel.ndim == 1 and len(kernel) < _SEPARATE_FROM:
        kernel = np.outer(kernel, kernel)
    normalized: FloatArray = kernel / kernel.sum()
    return normalized
