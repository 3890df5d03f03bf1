"""BigGAN and BigGAN-deep: state dicts of BigGAN-PyTorch, folders of pytorch-pretrained-biggan.

A state dict comes without the constructor's arguments, but names and shapes give them away:

    resolution, G_depth   how many blocks there are, and whether their widths differ
    G_ch, bottom_width    channels of the first block, and rows of linear.weight for each
    G_attn                which blocks have a theta after them
    n_classes, shared_dim, G_shared    shape of shared.weight, or that there is none
    dim_z, hier           columns of linear.weight, and of a gain beyond shared_dim
    G_param, num_G_SVs    how many u0, u1, ... stand beside linear.weight
    cross_replica, mybn, norm_style    names of the statistics ("in" is computed like "bn")

They do not give away BN_eps and SN_eps, where the defaults of the code are taken and a note says
so; how a synchronised normalisation applies its gain; and, where a counter is above 0, whether
statistics are sums. The last two must be said. What has no effect on an image in evaluation mode is
not looked for: G_init, num_G_SV_itrs, the kind of ReLU, the optimiser.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.checkpoints.records import Array, Network, Plan, kind_of, shown
from ganaudit.errors import ConfigError

_MARKS = {"linear.weight", "blocks.0.0.conv1.weight", "output_layer.0.gain"}
_DEEP_MARK = "blocks.0.0.conv3.weight"
_HUB_MARK = "generator.gen_z.weight_orig"
_RESOLUTIONS = {3: 32, 4: 64, 5: 128, 6: 256, 7: 512}  # by stages
_MOST_BLOCKS = 64
_SAID: Mapping[str, type] = {
    "BN_eps": float,
    "SN_eps": float,
    "accumulate_standing": bool,
    "sync_gain": str,
}
_HUB_SIZES = ("z_dim", "channel_width", "num_classes", "n_stats")
_HUB_KEYS = (*_HUB_SIZES, "layers", "attention_layer_position", "eps")
_HUB_IDLE = ("output_dim", "class_embed_dim")

_Tensors = Mapping[str, Array]


def biggan(network: Network) -> Plan | None:
    """How our BigGAN or BigGAN-deep takes a state dict of BigGAN-PyTorch's G.

    Args:
      network: a bare state dict; its kwargs are what the user said: BN_eps, SN_eps, sync_gain
        ("multiplied", "added"), accumulate_standing, and, if they agree with the tensors, the
        arguments that follow from these.

    Returns:
      The plan. None: it is no such state dict (the discriminator's is none).

    Raises:
      ConfigError: an argument that must be said, or is unknown, or contradicts the tensors;
        tensors that the code of the reference could not have run with.
    """
    tensors = _unwrapped(network.tensors)
    if network.name:
        return None
    if _HUB_MARK in tensors:
        raise ConfigError(
            "this is a pytorch_model.bin of pytorch-pretrained-biggan, which cannot be read "
            "without its config.json: name the folder that holds both"
        )
    if not tensors.keys() >= _MARKS:
        return None
    deep = _DEEP_MARK in tensors
    arguments = _widths(tensors, deep) | _classes(tensors, deep) | _recipe(tensors)
    arguments |= _unseen(tensors, arguments, _said(network.kwargs, arguments))
    if deep:  # the code can run no other
        del arguments["hier"], arguments["G_shared"]
    prepared, notes = _prepared(tensors, _notes(tensors, network.kwargs, arguments))
    return Plan(
        network="biggan_deep" if deep else "biggan",
        arguments=arguments,
        tensors=prepared,
        facts=_facts("normal", arguments["dim_z"], arguments["n_classes"]),
        notes=notes,
    )


def biggan_folder(config: Mapping[str, Any], tensors: _Tensors) -> Plan:
    """How our BigGAN-deep takes a folder of pytorch-pretrained-biggan.

    Args:
      config: config.json, plain values; keys that it does not have keep that package's defaults.
      tensors: pytorch_model.bin.

    Raises:
      ConfigError: an unknown key, or tensors that are none of this package's.
    """
    known = _HUB_KEYS + _HUB_IDLE
    for key in config:
        if key not in known:
            raise ConfigError(
                f"config.json has the key {shown(key)}, which pytorch-pretrained-biggan does not "
                f"know: it may be {', '.join(known)}"
            )
    tensors = _unwrapped(tensors)
    if _HUB_MARK not in tensors:
        raise ConfigError(
            f"pytorch_model.bin must hold {_HUB_MARK}, as those of pytorch-pretrained-biggan do"
        )
    embeddings = _shape(tensors, "embeddings.weight", 2)  # [z_dim, num_classes]
    notes = _contradictions(config, z_dim=embeddings[0])
    prepared, notes = _prepared(tensors, notes)
    return Plan(
        network="biggan_hub",
        arguments={key: config[key] for key in _HUB_KEYS if key in config},
        tensors=prepared,
        facts=_facts("truncated", *embeddings),
        notes=notes,
    )


def _contradictions(config: Mapping[str, Any], *, z_dim: int) -> tuple[str, ...]:
    """A note for each key that the package does not use and that is not as its other keys say."""
    wanted = {"class_embed_dim": z_dim, "output_dim": 128}
    layers = config.get("layers")
    if isinstance(layers, list):  # what is in it, the network checks
        doubling = [layer for layer in layers if isinstance(layer, list) and layer[:1] == [True]]
        wanted["output_dim"] = 4 * 2 ** len(doubling)
    return tuple(
        f"{key} of config.json has no effect and contradicts the rest, which makes it {value}."
        for key, value in wanted.items()
        if config.get(key, value) != value
    )


def _widths(tensors: _Tensors, deep: bool) -> dict[str, Any]:
    blocks = _count(tensors, "blocks.{}.0.conv1.weight", _MOST_BLOCKS)
    into = [_shape(tensors, f"blocks.{i}.0.conv1.weight", 4)[1] for i in range(blocks)]
    last = "conv4" if deep else "conv2"
    alike = {*into, _shape(tensors, f"blocks.{blocks - 1}.0.{last}.weight", 4)[0]} == {into[0]}
    depth = 1 if not deep else max(blocks // 3, 1) if alike else 2
    stages = blocks // depth
    if blocks % depth or stages not in _RESOLUTIONS or (stages == 3) != alike:
        raise ConfigError(
            f"{blocks} blocks with {shown(', '.join(map(str, into)))} channels are those of no "
            f"{'BigGAN-deep' if deep else 'BigGAN'} that can run"
        )
    rows = _shape(tensors, "linear.weight", 2)[0]
    unit = 4 if stages == 3 else 16
    bottom = math.isqrt(rows // max(into[0], 1))
    if into[0] == 0 or into[0] % unit or bottom**2 * into[0] != rows:
        raise ConfigError(
            f"{into[0]} channels of the first block must be a multiple of {unit}, and "
            f"{rows} rows of linear.weight must be a square for each of them"
        )
    attended = [
        str(8 * 2**stage)
        for stage in range(stages)
        if f"blocks.{(stage + 1) * depth - 1}.1.theta.weight" in tensors
    ]
    sizes = {"resolution": _RESOLUTIONS[stages], "G_ch": into[0] // unit, "bottom_width": bottom}
    return sizes | {"G_attn": "_".join(attended) or "0"} | ({"G_depth": depth} if deep else {})


def _classes(tensors: _Tensors, deep: bool) -> dict[str, Any]:
    chunk = _shape(tensors, "linear.weight", 2)[1]
    rows, columns = _shape(tensors, "blocks.0.0.bn1.gain.weight", 2)
    shared = "shared.weight" in tensors
    if deep and not shared:
        raise ConfigError("a BigGAN-deep without shared.weight is one that its code cannot run")
    if not shared:  # one embedding for each gain and bias
        return {"n_classes": rows, "G_shared": False, "hier": False, "dim_z": chunk}
    n_classes, shared_dim = _shape(tensors, "shared.weight", 2)
    classes = {"n_classes": n_classes, "G_shared": True, "shared_dim": shared_dim}
    if deep:
        return classes | {"hier": True, "dim_z": chunk - shared_dim}
    hier = columns > shared_dim
    blocks = _count(tensors, "blocks.{}.0.conv1.weight", _MOST_BLOCKS)
    return classes | {"hier": hier, "dim_z": chunk * (blocks + 1) if hier else chunk}


def _recipe(tensors: _Tensors) -> dict[str, Any]:
    norm = "blocks.0.0.bn1."
    cross, own = norm + "bn.running_mean" in tensors, norm + "bn.stored_mean" in tensors
    vectors = _count(tensors, "linear.u{}", _MOST_BLOCKS)
    return {
        "G_param": "SN" if vectors else "None",
        "num_G_SVs": max(vectors, 1),
        "cross_replica": cross,
        "mybn": own,
        "norm_style": "bn" if cross or own or norm + "stored_mean" in tensors else "nonorm",
    }


def _unseen(tensors: _Tensors, found: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What the tensors do not tell: as the user said, by default, or asked for."""
    unseen: dict[str, Any] = {**_epsilons(tensors, found["G_param"]), **said}
    if found["cross_replica"] and "sync_gain" not in said:
        raise ConfigError(
            "its statistics are those of a synchronised batch normalisation, whose gain "
            "BigGAN-PyTorch multiplies on several devices but adds on one device and in "
            "evaluation mode: say --set sync_gain=multiplied or --set sync_gain=added"
        )
    summed = _counts(tensors)
    if found["mybn"] and max(summed, default=0) > 0 and "accumulate_standing" not in said:
        raise ConfigError(
            "its statistics may be sums (accumulation_counter is above 0) or running averages: "
            "say --set accumulate_standing=true, which divides them, or =false, which is what "
            "BigGAN-PyTorch does with a file it has just loaded"
        )
    if unseen.get("accumulate_standing") and not (found["mybn"] and min(summed, default=0) > 0):
        raise ConfigError("accumulate_standing=true needs an accumulation_counter above 0")
    return unseen


def _epsilons(tensors: _Tensors, param: str) -> dict[str, float]:
    # DeepMind's weights, converted from TensorFlow Hub: saved with no sv0, run with these.
    converted = param == "SN" and "linear.sv0" not in tensors
    return {"BN_eps": 1e-4, "SN_eps": 1e-4} if converted else {"BN_eps": 1e-5, "SN_eps": 1e-8}


def _said(kwargs: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in _SAID:
            said[name] = _read(name, value)
        elif name not in found:
            raise ConfigError(
                f"{shown(name)} is no argument of a BigGAN that changes an image: they are "
                f"{', '.join((*_SAID, *found))}"
            )
        elif str(value).lower() != str(found[name]).lower():
            raise ConfigError(
                f"{name} is {found[name]} by the tensors of the file, got {shown(str(value))}"
            )
    return said


def _read(name: str, value: object) -> object:
    """What was said, as the kind that it must be; text is what a command line gives."""
    if _SAID[name] is bool:
        value = {"true": True, "false": False}.get(str(value).lower(), value)
    elif _SAID[name] is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            value = float(value)
        except (ValueError, OverflowError):
            pass
    if not isinstance(value, _SAID[name]):
        raise ConfigError(f"{name} must be a {_SAID[name].__name__}, got {kind_of(value)}")
    return value


def _notes(
    tensors: _Tensors, said: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[str, ...]:
    notes = ["Images are those of evaluation mode (BigGAN-PyTorch: --G_eval_mode)."]
    if "BN_eps" not in said:
        notes.append(
            f"BN_eps is not in the file: {arguments['BN_eps']:g} is assumed, the default of "
            f"{_trainer(tensors, arguments)}."
        )
    return tuple(notes)


def _trainer(tensors: _Tensors, arguments: Mapping[str, Any]) -> str:
    converted = arguments["G_param"] == "SN" and "linear.sv0" not in tensors
    return "its converter from TensorFlow Hub" if converted else "BigGAN-PyTorch"


def _prepared(
    tensors: _Tensors, notes: tuple[str, ...]
) -> tuple[dict[str, Array | NDArray[Any]], tuple[str, ...]]:
    """Half precision widened; the logs sv0 that a converted file lacks, in all its layers."""
    prepared: dict[str, Array | NDArray[Any]] = {}
    for name, array in tensors.items():
        half = array.dtype == "float16"
        prepared[name] = array.numpy().astype(np.float32) if half else array
    if any(array.dtype == "float16" for array in tensors.values()):
        notes += ("Tensors of half precision are computed with in single precision.",)
    if "linear.u0" in tensors and "linear.sv0" not in tensors:
        for name in tensors:
            if name.endswith(".u0"):
                prepared.setdefault(f"{name[:-2]}sv0", np.ones(1, np.float32))
    return prepared, notes


def _facts(prior: str, latent_size: int, classes: int) -> dict[str, Any]:
    return {
        "prior": prior,
        "latent_shape": [latent_size],
        "num_labels": classes if classes > 1 else 0,
    }


def _counts(tensors: _Tensors) -> list[float]:
    return [
        float(array.numpy()[0])
        for name, array in tensors.items()
        if name.endswith(".bn.accumulation_counter") and array.shape == (1,)
    ]


def _unwrapped(tensors: _Tensors) -> dict[str, Array]:
    """Without the "module." that DataParallel puts before every name."""
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): array for name, array in tensors.items()}


def _count(tensors: _Tensors, pattern: str, most: int) -> int:
    """How many names there are from index 0 on without a gap, `most` at most."""
    return next((i for i in range(most) if pattern.format(i) not in tensors), most)


def _shape(tensors: _Tensors, name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ConfigError(f"the tensors of a BigGAN must include {name}")
    shape = tensors[name].shape
    if len(shape) != rank:
        raise ConfigError(f"{name} must have {rank} dimensions, got shape {shown(list(shape))}")
    return shape
