"""A generator of the first StyleGAN, as TensorFlow wrote it."""

import math
from collections.abc import Mapping
from typing import Any

from ganaudit.checkpoints.records import Array, Network, Plan, shown
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

_TRAINING = (
    "dlatent_avg_beta", "style_mixing_prob", "truncation_psi_val", "truncation_cutoff_val",
)  # fmt: skip
_FUSED_FROM = 128  # pixels, where the program decides by itself


def stylegan(network: Network) -> Plan:
    """The plan for what `G_style` built.

    Raises:
      ConfigError: an argument, a component or a variable that the published program does not have.
    """
    mapping, synthesis = components(network, "G_mapping", "G_synthesis")
    given = Given(network)
    facts = defaults(given, psi=0.7, cutoff=8, cutoff_needed=True)
    resolution = given.integer("resolution", 1024)
    use_styles = given.choice("use_styles", True, True, False)
    fused = given.choice("fused_scale", "auto", "auto", True, False)
    structure = given.choice("structure", "auto", "auto", "linear", "recursive", "fixed")
    arguments = {
        "resolution": resolution,
        "num_channels": given.take("num_channels", 3),
        "label_size": given.take("label_size", 0),
        "latent_size": given.take("latent_size", 512),
        "dlatent_size": given.take("dlatent_size", 512),
        "mapping_layers": given.take("mapping_layers", 8),
        "mapping_fmaps": given.take("mapping_fmaps", 512),
        "mapping_lrmul": given.take("mapping_lrmul", 0.01),
        "mapping_nonlinearity": given.take("mapping_nonlinearity", "lrelu"),
        "normalize_latents": given.take("normalize_latents", True),
        "fmap_base": given.take("fmap_base", 8192),
        "fmap_decay": given.take("fmap_decay", 1.0),
        "fmap_max": given.take("fmap_max", 512),
        "use_styles": use_styles,
        "const_input_layer": given.take("const_input_layer", True),
        "use_noise": given.choice("use_noise", True, True, False),
        "nonlinearity": given.take("nonlinearity", "lrelu"),
        "use_wscale": given.take("use_wscale", True),
        "use_pixel_norm": given.take("use_pixel_norm", False),
        "use_instance_norm": given.take("use_instance_norm", True),
        "blur_filter": given.take("blur_filter", [1, 2, 1]) or None,
        "structure": "fixed" if structure == "fixed" else "linear",  # the others: the same images
        # Of the two variables of this name, this one is copied to the other at every run.
        "lod": number(network.tensors, "lod", where=network.role),
    }
    given.choice("dtype", "float32", "float32", "float16")
    _check_styles(given, resolution, use_styles)
    given.ignore(*_TRAINING)
    given.finish("G_style")
    if not arguments["use_noise"]:
        facts.pop("noise")
    return Plan(
        network="stylegan",
        arguments=arguments,
        tensors={
            **renamed(_without_lod(network), _AVERAGE, where=network.role),
            **renamed(mapping.tensors, _MAPPING, where=mapping.role),
            **renamed(_without_lod(synthesis), _synthesis(resolution, fused), where=synthesis.role),
        },
        facts=facts,
        notes=tuple(given.notes()),
    )


def components(network: Network, mapping: str, *synthesis: str) -> tuple[Network, Network]:
    """The two parts of a style-based generator, by the names of the functions that built them.

    Raises:
      ConfigError: other components, or built by another function.
    """
    parts = network.children
    if set(parts) != {"mapping", "synthesis"}:
        raise ConfigError(
            f"{network.role}: {network.name} must have the components mapping and synthesis, got "
            + (", ".join(sorted(map(shown, parts))) or "none")
        )
    for part, known in (("mapping", (mapping,)), ("synthesis", synthesis)):
        if parts[part].name not in known:
            raise ConfigError(
                f"{network.role}: its component {part} was built by {shown(parts[part].name)}, "
                f"which ganaudit does not implement; it knows {' and '.join(known)}"
            )
        if parts[part].children:
            raise ConfigError(f"{network.role}: its component {part} has components of its own")
    return parts["mapping"], parts["synthesis"]


def defaults(
    given: Given, *, psi: float, cutoff: int | None, cutoff_needed: bool
) -> dict[str, Any]:
    """How the file's owner draws images who asks for nothing in particular.

    Args:
      given: arguments, from which those meant are taken.
      psi: truncation without an argument.
      cutoff: layers truncated without an argument.
      cutoff_needed: without a cutoff, whether no layer is truncated, or all are.

    Returns:
      psi, cutoff (None: all layers) and noise: "random" for every image, or "const".
    """
    given.choice("is_training", False, False)
    given.choice("is_validation", False, False)
    psi, cutoff = given.number("truncation_psi", psi), given.number("truncation_cutoff", cutoff)
    if psi is None or (cutoff_needed and (cutoff is None or cutoff <= 0)):
        psi, cutoff = 1.0, None
    drawn = given.choice("randomize_noise", True, True, False)
    return {
        "psi": psi,
        "cutoff": None if cutoff is None else max(math.ceil(cutoff), 0),
        "noise": "random" if drawn else "const",
    }


def _check_styles(given: Given, resolution: int, use_styles: bool) -> None:
    layers = 2 * (resolution.bit_length() - 2) if use_styles else 1
    given.choice("dlatent_broadcast", layers, layers)


def _without_lod(network: Network) -> Mapping[str, Array]:
    return {name: array for name, array in network.tensors.items() if name != "lod"}


_AVERAGE: Mapping[str, Rule] = {"dlatent_avg": lambda a: ("mapping.w_avg", a)}
_MAPPING: Mapping[str, Rule] = {
    r"LabelConcat/weight": lambda a: ("mapping.embed", a),
    r"Dense(\d+)/weight": lambda a, i: (f"mapping.fc{i}.weight", dense(a)),
    r"Dense(\d+)/bias": lambda a, i: (f"mapping.bias{i}", a),
}


def _synthesis(resolution: int, fused: bool | str) -> Mapping[str, Rule]:
    halves = {"Const": 0, "Dense": 0, "Conv": 1, "Conv0_up": 0, "Conv1": 1}

    def layer(size: str, name: str) -> str:
        return f"synthesis.b{size}_{halves[name]}"

    def growing(weight: FloatArray, size: str) -> FloatArray:
        together = int(size) >= _FUSED_FROM if fused == "auto" else fused
        # Fused with the doubling, a kernel acts as if turned around.
        return turned(conv(weight)) if together else conv(weight)

    def rgb(lod: str) -> str:
        return f"synthesis.torgb{resolution >> int(lod)}"

    def noise(array: FloatArray, index: str) -> tuple[str, FloatArray]:
        block, half = divmod(int(index), 2)
        return f"synthesis.b{4 << block}_{half}.noise_const", inner(array, 2)

    part = r"(\d{1,4})x\1/(Const|Dense|Conv|Conv0_up|Conv1)/"
    return {
        r"noise(\d{1,2})": noise,
        r"4x4/Const/const": lambda a: ("synthesis.const", inner(a, 3)),
        r"4x4/Dense/weight": lambda a: ("synthesis.dense.weight", dense(a)),
        r"(\d{1,4})x\1/(Conv|Conv1)/weight": lambda a, r, n: (
            f"{layer(r, n)}.conv.weight",
            conv(a),
        ),
        r"(\d{1,4})x\1/Conv0_up/weight": lambda a, r: (
            f"synthesis.b{r}_0.conv.weight",
            growing(a, r),
        ),
        part + r"bias": lambda a, r, n: (f"{layer(r, n)}.bias", a),
        part + r"Noise/weight": lambda a, r, n: (f"{layer(r, n)}.noise_strength", a),
        part + r"StyleMod/weight": lambda a, r, n: (f"{layer(r, n)}.style.weight", dense(a)),
        part + r"StyleMod/bias": lambda a, r, n: (f"{layer(r, n)}.style_bias", a),
        r"ToRGB_lod(\d{1,2})/weight": lambda a, i: (f"{rgb(i)}.conv.weight", conv(a)),
        r"ToRGB_lod(\d{1,2})/bias": lambda a, i: (f"{rgb(i)}.bias", a),
    }
