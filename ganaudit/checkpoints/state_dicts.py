"""Tensors by name: out of a file, and into a network that has exactly these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganaudit.checkpoints.families import choose
from ganaudit.checkpoints.holdings import read
from ganaudit.checkpoints.records import Array, shown
from ganaudit.errors import ConfigError

Arrays: TypeAlias = Mapping[str, Array | NDArray[Any]]

_SLACK = 2**16  # bytes; small tensors may share them


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """What a file of weights holds.

    Attributes:
      tensors: by name: neither shapes nor values are checked.
      sha256: hexadecimal, of the very bytes that were read.
      size: of the file, bytes.
    """

    tensors: Mapping[str, Array]
    sha256: str
    size: int


def read_state_dict(path: Path, role: str | None = None) -> StateDict:
    """The tensors of a file of `torch.save` (both layouts), a pickle or safetensors.

    Args:
      path: of the file. Its state dict may stand alone or in a dictionary, under any key.
      role: that key; None: the only one, or the moving average of a generator before others.

    Raises:
      ConfigError: no such file, too large, truncated, or it holds no state dict.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    holding = read(path)
    holding.refuse_unknown()
    network = choose(holding, role)
    if network.name:
        raise ConfigError(
            f"{path} must hold a state dict, a mapping of names to tensors; its "
            f"{network.role} is a network of class {network.name}"
        )
    return StateDict(tensors=network.tensors, sha256=holding.sha256, size=holding.size)


def fill(
    module: nn.Module,
    given: Arrays,
    *,
    where: str,
    network: str,
    size: int,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Put tensors into a network, in eval mode and without gradients.

    They are copied, so that the file's bytes can go; nothing is allocated before `check` is
    content.

    Args:
      module: the network; it may lie on torch's meta device.
      given: converted to the dtypes of the network.
      where: the file, for messages.
      network: its name, for messages.
      size: of the file, bytes.
      unused: names of tensors that may be given although the network has none such.

    Raises:
      ConfigError: see `check`; or a tensor holds a value that is not finite.
    """
    check(module, given, where=where, network=network, size=size, unused=unused)
    filled: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if name not in given:
            filled[name] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        filled[name] = tensor = to_tensor(given[name], value.dtype)
        bad = 0 if _is_finite(tensor) else int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ConfigError(
                f"{where} must hold the weights of {network}: {name} holds {bad} values that are "
                "NaN or infinite"
            )
    module.load_state_dict(filled, strict=True, assign=True)
    module.eval().requires_grad_(False)


def check(
    module: nn.Module,
    given: Arrays,
    *,
    where: str,
    network: str,
    size: int,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Hold tensors against a network by name, shape and kind of number.

    Raises:
      ConfigError: a tensor is missing, left over, or of another shape or kind. Batch counters may
        be missing: they decide nothing in eval mode.
    """
    wanted = module.state_dict()
    given = {name: array for name, array in given.items() if name in wanted or not unused(name)}
    problem = _mismatch(wanted, given) or _shared(given, size)
    if problem is not None:
        raise ConfigError(f"{where} must hold the weights of {network}: {problem}")


def to_tensor(value: Array | NDArray[Any], dtype: torch.dtype) -> Tensor:
    """A copy of a file's array as a contiguous tensor on the CPU."""
    if isinstance(value, Array) and value.dtype == "bfloat16":
        raw = torch.from_numpy(value.numpy().astype(np.uint16).view(np.int16))
        return raw.view(torch.bfloat16).to(dtype)
    array = value.numpy() if isinstance(value, Array) else value
    made = torch.empty(array.shape, dtype=torch.float32 if dtype == torch.bfloat16 else dtype)
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        made.numpy()[...] = array
    return made.to(dtype)


def _mismatch(wanted: Mapping[str, Tensor], given: Arrays) -> str | None:
    """The first difference; None: they agree."""
    for name in wanted:
        if name not in given and not name.endswith("num_batches_tracked"):
            return f"{name} is missing"
    for name in given:
        if name not in wanted:
            return f"{shown(name)} does not belong to it"
    for name, came in given.items():
        value = wanted[name]
        if tuple(came.shape) != tuple(value.shape):
            return f"{name} must have shape {list(value.shape)}, got {shown(str(list(came.shape)))}"
        if ("float" in str(came.dtype)) != value.is_floating_point():
            return f"{name} must be {value.dtype}, got {came.dtype}".replace("torch.", "")
    return None


def _shared(given: Arrays, size: int) -> str | None:
    """A small file can describe large tensors by the same bytes again and again."""
    total = sum(array.nbytes for array in given.values() if isinstance(array, Array))
    if total > size + _SLACK:
        return f"they have {total} bytes, more than the file, so that many must be the same bytes"
    return None


def _is_finite(tensor: Tensor) -> bool:
    # The sum is finite where no value is not, but for overflow, and takes no memory. It is NumPy's:
    # torch would start threads, which are in the way of the one that hashes the file.
    if not tensor.is_floating_point():
        return True
    if tensor.dtype != torch.bfloat16:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(tensor.numpy().sum()):
                return True
    return bool(torch.isfinite(tensor).all())
