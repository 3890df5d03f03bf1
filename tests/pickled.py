"""Writes files as NVIDIA's PyTorch programs do, out of networks of ours, without their code.

Their `torch_utils.persistence` pickles every module as one call of a function of its own with a
dict: class name, text of the class's module, state. `dnnlib` is beside it for dicts. Here both are
modules made for the time of writing, whose functions cannot be run; the text is a harmless one.
"""

import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

SOURCE = '"""A text in the place of a module\'s source."""\n'

# Our classes by what the published programs call theirs.
STYLEGAN2_CLASSES: Mapping[str, str] = {
    "StyleGAN2Generator": "Generator",
    "StyleMapping": "MappingNetwork",
    "Synthesis": "SynthesisNetwork",
    "SynthesisBlock": "SynthesisBlock",
    "StyledConv": "SynthesisLayer",
    "ToImage": "ToRGBLayer",
    "EqualizedLinear": "FullyConnectedLayer",
    "EqualizedConv": "Conv2dLayer",
    "StyleGAN2Discriminator": "Discriminator",
    "DiscriminatorBlock": "DiscriminatorBlock",
    "DiscriminatorEpilogue": "DiscriminatorEpilogue",
}

_HOOKS_1_7 = (
    "_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)  # fmt: skip
_HOOKS_SINCE = (
    "_backward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs", "_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


@dataclass(kw_only=True)
class NvidiaNetwork:
    """A network of ours and what the file is to say of it.

    Attributes:
      module: the network, whose parameters, buffers and parts are written.
      kwargs: keyword arguments of the constructor, as the file states them.
      args: its positional arguments.
      class_names: names of the classes of the network and its parts, by ours.
      source: the text of their module.
      old_torch: with the attributes that a module of torch 1.7 has, and no more.
      state: more attributes of the network itself, or others in their place.
    """

    module: nn.Module
    kwargs: Mapping[str, Any]
    args: Sequence[Any] = ()
    class_names: Mapping[str, str] = field(default_factory=lambda: STYLEGAN2_CLASSES)
    source: str = SOURCE
    old_torch: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)


def write_nvidia_pickle(
    path: Path,
    content: Mapping[str, Any],
    *,
    protocol: int = 4,
    numpy_scalars: bool = False,
    numpy_core: str = "numpy._core",
) -> Path:
    """Writes a snapshot and gives back its path.

    Args:
      path: the file.
      content: by role, `NvidiaNetwork`s and plain values: {"G": ..., "G_ema": ..., "D": None}.
      protocol: of the pickle, 2 to 5.
      numpy_scalars: the constructors' numbers are written as NumPy's.
      numpy_core: the package of NumPy's functions: "numpy.core" before NumPy 2.
    """
    with _strangers(numpy_core) as names:
        writer = _Writer(names, numpy_scalars)
        snapshot = {role: writer.value(value) for role, value in content.items()}
        with path.open("wb") as file:
            _Pickler(file, protocol, names).dump(snapshot)
    return path


class _Persistent:
    """Pickles as one call of their function."""

    def __init__(self, function: Any, meta: dict[str, Any]) -> None:
        self.function, self.meta = function, meta

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, (self.meta,), None


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, protocol: int, names: Mapping[str, Any]) -> None:
        super().__init__(file, protocol)
        self.names = names

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            return self.names["scalar"], (value.dtype, value.tobytes())
        return NotImplemented


class _Writer:
    def __init__(self, names: Mapping[str, Any], numpy_scalars: bool) -> None:
        self.names, self.numpy_scalars = names, numpy_scalars

    def value(self, value: Any) -> Any:
        return self.network(value) if isinstance(value, NvidiaNetwork) else value

    def network(self, network: NvidiaNetwork) -> _Persistent:
        made = self.part(network.module, network)
        state = made.meta["state"]
        state["_init_args"] = tuple(map(self.argument, network.args))
        state["_init_kwargs"] = {key: self.argument(v) for key, v in network.kwargs.items()}
        state.update(network.state)
        return made

    def part(self, module: nn.Module, network: NvidiaNetwork) -> _Persistent:
        hooks = _HOOKS_1_7 if network.old_torch else _HOOKS_1_7 + _HOOKS_SINCE
        state: dict[str, Any] = {"training": module.training}
        state["_parameters"] = self.ordered(module._parameters)
        state["_buffers"] = self.ordered(module._buffers)
        state["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
        state.update({name: self.ordered({}) for name in hooks})
        if not network.old_torch:
            state["_is_full_backward_hook"] = None
        parts = {
            name: None if child is None else self.part(child, network)
            for name, child in module._modules.items()
        }
        state["_modules"] = self.ordered(parts)
        if hasattr(module, "weight_gain"):  # which theirs keeps as a number of NumPy's
            state["weight_gain"] = np.float64(module.weight_gain)
        state["_init_args"], state["_init_kwargs"] = (), {}
        meta = {
            "type": "class",
            "version": 6,
            "module_src": network.source,
            "class_name": network.class_names[type(module).__name__],
            "state": state,
        }
        return _Persistent(self.names["_reconstruct_persistent_obj"], meta)

    def ordered(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return self.names["OrderedDict"](values)

    def argument(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.names["EasyDict"]({k: self.argument(v) for k, v in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(map(self.argument, value))
        if self.numpy_scalars and type(value) in (int, float):
            return np.int64(value) if isinstance(value, int) else np.float64(value)
        return value


@contextmanager
def _strangers(numpy_core: str) -> Iterator[dict[str, Any]]:
    """What the file is to name, in modules that stand in `sys.modules` for this time."""
    from collections import OrderedDict

    def cannot_run(*arguments: Any) -> None:
        raise AssertionError("something ran what a file names")

    def named(module: str, name: str, value: Any) -> Any:
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        setattr(sys.modules[module], name, value)
        return value

    modules = ["torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"]
    modules += [numpy_core, f"{numpy_core}.multiarray"]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update({name: ModuleType(name) for name in modules})
    try:
        persistence, multiarray = "torch_utils.persistence", f"{numpy_core}.multiarray"
        yield {
            "_reconstruct_persistent_obj": named(
                persistence, "_reconstruct_persistent_obj", lambda meta: cannot_run(meta)
            ),
            "EasyDict": named("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {})),
            "scalar": named(multiarray, "scalar", lambda *values: cannot_run(*values)),
            "OrderedDict": OrderedDict,
        }
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
