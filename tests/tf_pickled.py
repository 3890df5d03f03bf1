"""Writes files as the TensorFlow programs of PGGAN, StyleGAN and StyleGAN2 do, without TensorFlow.

A file is a tuple of networks, each an object of the program's class `Network` whose state names
the function that built it. That class stands in a module made for the time of writing.
"""

import pickle
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

SOURCE = "# a text in the place of a module's source\n"
TFUTIL, DNNLIB = "tfutil", "dnnlib.tflib.network"
Variables = dict[str, Any]


@dataclass(kw_only=True)
class OldNetwork:
    """What the state of one network says.

    Attributes:
      function: that built it.
      kwargs: its static arguments.
      variables: by name, arrays as TensorFlow lays them out.
      components: by name.
      version: of the state; 2 has no components.
      source: the text of the function's module.
      state: more entries, or others in their place.
    """

    function: str
    kwargs: Mapping[str, Any]
    variables: Mapping[str, Any]
    components: Mapping[str, "OldNetwork"] = field(default_factory=dict)
    version: int = 3
    source: str = SOURCE
    state: Mapping[str, Any] = field(default_factory=dict)


def write_old_pickle(
    path: Path,
    networks: tuple[OldNetwork, ...],
    *,
    module: str = DNNLIB,
    protocol: int = 3,
    python2: bool = False,
) -> Path:
    """Writes (G, D, Gs) and gives back the path; `python2`: with that language's strings."""
    kind = _Python2Pickler if python2 else pickle.Pickler
    with _class_in(module) as made, path.open("wb") as file:
        kind(file, protocol).dump(tuple(_object(made, network) for network in networks))
    return path


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_old(self, value: Any) -> None:
        data = value.encode("latin-1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write(b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data)))
        self.write(data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_old


def _object(made: type, network: OldNetwork) -> Any:
    state = {
        "version": network.version,
        "name": network.function,
        "static_kwargs": dict(network.kwargs),
        "build_module_src": network.source,
        "build_func_name": network.function,
        "variables": list(network.variables.items()),
    }
    if network.version > 2:
        state["components"] = {name: _object(made, c) for name, c in network.components.items()}
    written = made()
    written.__dict__.update(state | dict(network.state))
    return written


@contextmanager
def _class_in(module: str) -> Iterator[type]:
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    for name in names:
        assert name not in sys.modules
        sys.modules[name] = ModuleType(name)
    made = type("Network", (), {"__module__": module})
    sys.modules[module].Network = made  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        for name in names:
            del sys.modules[name]


# -- our networks' tensors as TensorFlow names and lays them out ----------------------------------


def arrays(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """A network's state dict, NumPy."""
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def conv(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, columns, inputs, outputs]."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))


def turned(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, columns, ...], kernels turned around."""
    return np.ascontiguousarray(weight[::-1, ::-1])


def pggan_variables(
    module: nn.Module,
    resolution: int,
    *,
    fused: bool = True,
    outputs_first: bool = True,
    lod: float = 0.0,
) -> Variables:
    """What `G_paper` would call the tensors of our PGGAN."""
    ours = arrays(module)
    made: Variables = {"lod": np.float32(lod)}
    for size in [4 << i for i in range(resolution.bit_length() - 2)]:
        first, second = f"{size}x{size}/Conv0", f"{size}x{size}/Conv1"
        weight = ours[f"b{size}.layer0.weight"]
        if size == 4:
            first, second, weight = "4x4/Dense", "4x4/Conv", weight.T.copy()
        elif fused:
            first, weight = f"{size}x{size}/Conv0_up", turned(conv(weight))
            weight = weight.swapaxes(2, 3).copy() if outputs_first else weight
        else:
            weight = conv(weight)
        rgb = f"ToRGB_lod{(resolution // size).bit_length() - 1}"
        made |= {
            f"{first}/weight": weight,
            f"{first}/bias": ours[f"b{size}.bias0"],
            f"{second}/weight": conv(ours[f"b{size}.layer1.weight"]),
            f"{second}/bias": ours[f"b{size}.bias1"],
            f"{rgb}/weight": conv(ours[f"torgb{size}.conv.weight"]),
            f"{rgb}/bias": ours[f"torgb{size}.bias"],
        }
    return made


def stylegan_network(
    module: nn.Module,
    kwargs: Mapping[str, Any],
    *,
    fused: Callable[[int], bool] = lambda size: size >= 128,
    lod: float = 0.0,
) -> OldNetwork:
    """What `G_style` would have written of our StyleGAN."""
    ours = arrays(module)
    resolution = kwargs["resolution"]
    mapping: Variables = {}
    synthesis: Variables = {"lod": np.float32(7)}  # overwritten by the other at every run
    halves = {"Const": 0, "Conv": 1, "Dense": 0, "Conv0_up": 0, "Conv1": 1}
    for name, array in ours.items():
        part, _, rest = name.partition(".")
        if part == "mapping" and rest.startswith("fc"):
            mapping[f"Dense{rest[2:].split('.')[0]}/weight"] = array.T.copy()
        elif part == "mapping" and rest.startswith("bias"):
            mapping[f"Dense{rest[4:]}/bias"] = array
    if "mapping.embed" in ours:
        mapping["LabelConcat/weight"] = ours["mapping.embed"]
    if "synthesis.const" in ours:
        synthesis["4x4/Const/const"] = ours["synthesis.const"][None]
    else:
        synthesis["4x4/Dense/weight"] = ours["synthesis.dense.weight"].T.copy()
    start = "Const" if "synthesis.const" in ours else "Dense"
    for index, size in enumerate(4 << i for i in range(resolution.bit_length() - 2)):
        for name in (start, "Conv") if size == 4 else ("Conv0_up", "Conv1"):
            there = f"synthesis.b{size}_{halves[name]}."
            here = f"{size}x{size}/{name}/"
            synthesis[f"{here}bias"] = ours[f"{there}bias"]
            if f"{there}conv.weight" in ours:
                weight = conv(ours[f"{there}conv.weight"])
                together = name == "Conv0_up" and fused(size)
                synthesis[f"{here}weight"] = turned(weight) if together else weight
            if f"{there}noise_const" in ours:
                synthesis[f"noise{2 * index + halves[name]}"] = ours[f"{there}noise_const"][
                    None, None
                ]
                synthesis[f"{here}Noise/weight"] = ours[f"{there}noise_strength"]
            if f"{there}style.weight" in ours:
                synthesis[f"{here}StyleMod/weight"] = ours[f"{there}style.weight"].T.copy()
                synthesis[f"{here}StyleMod/bias"] = ours[f"{there}style_bias"]
        if f"synthesis.torgb{size}.bias" in ours:
            rgb = f"ToRGB_lod{(resolution // size).bit_length() - 1}"
            synthesis[f"{rgb}/weight"] = conv(ours[f"synthesis.torgb{size}.conv.weight"])
            synthesis[f"{rgb}/bias"] = ours[f"synthesis.torgb{size}.bias"]
    layers = 2 * (resolution.bit_length() - 2) if kwargs.get("use_styles", True) else 1
    return OldNetwork(
        function="G_style",
        kwargs=kwargs,
        variables={"lod": np.float32(lod), "dlatent_avg": ours["mapping.w_avg"]},
        components={
            "synthesis": OldNetwork(function="G_synthesis", kwargs=kwargs, variables=synthesis),
            "mapping": OldNetwork(
                function="G_mapping",
                kwargs={**kwargs, "dlatent_broadcast": layers},
                variables=mapping,
            ),
        },
    )


def stylegan2_network(
    module: nn.Module,
    kwargs: Mapping[str, Any],
    *,
    synthesis_name: str = "G_synthesis_stylegan2",
) -> OldNetwork:
    """What `G_main` would have written of our StyleGAN2."""
    ours = arrays(module)
    names = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
    mapping: Variables = {}
    synthesis: Variables = {}
    for name, array in ours.items():
        part, *path, kind = name.split(".")
        if part == "mapping" and path:
            layer = "LabelEmbed" if path == ["embed"] else f"Dense{path[0][2:]}"
            mapping[f"{layer}/{kind}"] = array.T.copy()
        if part == "mapping" or kind == "resample_filter":
            continue
        size = int(path[0][1:])
        if kind == "const":
            synthesis["4x4/Const/const"] = array[None]
            continue
        layer = f"{size}x{size}/" + ("Conv" if name[13:].startswith("4.conv1") else names[path[1]])
        if path[1:] and path[-1] == "affine":
            value = array.T.copy() if kind == "weight" else array - np.float32(1)
            synthesis[f"{layer}/mod_{kind}"] = value
        elif kind == "noise_const":
            index = 2 * (size.bit_length() - 3) + int(path[1] == "conv1") - 1
            synthesis[f"noise{index}"] = array[None, None]
        elif kind == "weight":
            doubles = path[1] in ("conv0", "skip")
            synthesis[f"{layer}/weight"] = turned(conv(array)) if doubles else conv(array)
        elif kind == "noise_strength":
            synthesis[f"{layer}/{kind}"] = np.float32(array)
        else:
            synthesis[f"{layer}/{kind}"] = array
    layers = 2 * (kwargs["resolution"].bit_length() - 2)
    inner = {k: v for k, v in kwargs.items() if not k.startswith("truncation")}
    return OldNetwork(
        function="G_main",
        kwargs=kwargs,
        variables={"lod": np.float32(0), "dlatent_avg": ours["mapping.w_avg"]},
        version=4,
        components={
            "synthesis": OldNetwork(
                function=synthesis_name, kwargs=inner, variables=synthesis, version=4
            ),
            "mapping": OldNetwork(
                function="G_mapping",
                kwargs={**inner, "dlatent_broadcast": layers},
                variables=mapping,
                version=4,
            ),
        },
    )
