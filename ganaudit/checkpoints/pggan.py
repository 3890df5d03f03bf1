"""A generator of progressive growing (PGGAN), as TensorFlow wrote it."""

from collections.abc import Mapping

from ganaudit.checkpoints.records import Array, Network, Plan
from ganaudit.checkpoints.variables import (
    FloatArray,
    Given,
    Rule,
    conv,
    dense,
    number,
    renamed,
    turned,
)
from ganaudit.errors import ConfigError

# Two published programs lay out the same variable differently: [3, 3, outputs, inputs] in the
# paper's own, [3, 3, inputs, outputs] in the one of StyleGAN. SHA-256 of their source texts.
_OUTPUTS_FIRST = frozenset(
    {
        "b56798bb349dad2138a45fae6a15b01075e8906fabcb0dbc8ee877f97fb711e7",
        "0ebc0f8f8776f274bc67073ce43720a59eda14e5b6ee564c13c7ee28175070c8",
    }
)
_INPUTS_FIRST = frozenset({"e87e39955249b4c3a858e95616c3c1a65961f97017aa21f29bbe45d6c22e2d0a"})


def pggan(network: Network) -> Plan:
    """The plan for what `G_paper` built.

    Raises:
      ConfigError: an argument or a variable that the published programs do not have, or weights
        of which nothing says how they are laid out.
    """
    given = Given(network)
    resolution = given.integer("resolution", 32)
    fused = given.choice("fused_scale", True, True, False)
    arguments = {
        "resolution": resolution,
        "num_channels": given.take("num_channels", 1),
        "label_size": given.take("label_size", 0),
        "latent_size": given.take("latent_size", None),
        "fmap_base": given.take("fmap_base", 8192),
        "fmap_decay": given.take("fmap_decay", 1.0),
        "fmap_max": given.take("fmap_max", 512),
        "normalize_latents": given.take("normalize_latents", True),
        "use_wscale": given.take("use_wscale", True),
        "use_pixelnorm": given.take("use_pixelnorm", True),
        "pixelnorm_epsilon": given.take("pixelnorm_epsilon", 1e-8),
        "use_leakyrelu": given.take("use_leakyrelu", True),
        "lod": number(network.tensors, "lod", where=network.role),
    }
    given.choice("structure", None, None, "linear", "recursive")  # the same images
    given.choice("dtype", "float32", "float32", "float16")
    given.ignore("mbstd_group_size")  # of the discriminator, in files converted from Theano
    given.finish("G_paper")
    tensors = {name: array for name, array in network.tensors.items() if name != "lod"}
    return Plan(
        network="pggan",
        arguments=arguments,
        tensors=renamed(tensors, _rules(network, resolution, fused), where=network.role),
        notes=tuple(given.notes()),
    )


def _rules(network: Network, resolution: int, fused: bool) -> Mapping[str, Rule]:
    def rgb(lod: str) -> str:
        return f"torgb{resolution >> int(lod)}"

    rules: dict[str, Rule] = {
        r"4x4/Dense/weight": lambda a: ("b4.layer0.weight", dense(a)),
        r"4x4/Dense/bias": lambda a: ("b4.bias0", a),
        r"4x4/Conv/weight": lambda a: ("b4.layer1.weight", conv(a)),
        r"4x4/Conv/bias": lambda a: ("b4.bias1", a),
        r"(\d+)x\1/Conv1/weight": lambda a, r: (f"b{r}.layer1.weight", conv(a)),
        r"(\d+)x\1/Conv1/bias": lambda a, r: (f"b{r}.bias1", a),
        r"ToRGB_lod(\d{1,2})/weight": lambda a, i: (f"{rgb(i)}.conv.weight", conv(a)),
        r"ToRGB_lod(\d{1,2})/bias": lambda a, i: (f"{rgb(i)}.bias", a),
    }
    if not fused:
        return rules | {
            r"(\d+)x\1/Conv0/weight": lambda a, r: (f"b{r}.layer0.weight", conv(a)),
            r"(\d+)x\1/Conv0/bias": lambda a, r: (f"b{r}.bias0", a),
        }
    outputs_first = _outputs_first(network)

    def growing(weight: FloatArray) -> FloatArray:
        weight = conv(weight)
        # Fused with the doubling, a kernel acts as if turned around.
        return turned(weight.swapaxes(0, 1) if outputs_first else weight)

    return rules | {
        r"(\d+)x\1/Conv0_up/weight": lambda a, r: (f"b{r}.layer0.weight", growing(a)),
        r"(\d+)x\1/Conv0_up/bias": lambda a, r: (f"b{r}.bias0", a),
    }


def _outputs_first(network: Network) -> bool:
    """Whether weights of growing layers are [3, 3, outputs, inputs].

    Layers never have more outputs than inputs, so one with fewer tells; if there is none, the
    source text does, and the paper's own program, which is the only one with its class.
    """
    for name, array in network.tensors.items():
        if name.endswith("/Conv0_up/weight") and _uneven(array):
            return array.shape[2] < array.shape[3]
    if network.sources and network.sources <= _OUTPUTS_FIRST:
        return True
    if network.sources and network.sources <= _INPUTS_FIRST:
        return False
    if network.module == "tfutil":
        return True
    raise ConfigError(
        f"{network.role}: nothing in the file tells which dimension of its Conv0_up weights is "
        "which: their sizes are equal and the source text is none of those published"
    )


def _uneven(array: Array) -> bool:
    return len(array.shape) == 4 and array.shape[2] != array.shape[3]
