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
from ganaudit.checkpoints.holdings import Hashed, read
from ganaudit.checkpoints.records import Array, shown
from ganaudit.errors import ConfigError

Arrays: TypeAlias = Mapping[str, Array | NDArray[Any]]

_SLACK = 2**16  # bytes; small tensors may share them


@dataclass(frozen=True, kw_only=True)
class StateDict(Hashed):
    """Tensors out of a file.

    Attributes:
      path: of the file, for messages.
      size: of the file, bytes.
      tensors: by name: neither shapes nor values are checked.
      exact: they must have the very dtypes of their network; else they are converted to these.
    """

    path: Path
    size: int
    tensors: Arrays
    exact: bool = False


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
    return StateDict(path=path, size=holding.size, tensors=network.tensors, digest=holding.digest)


def fill(
    module: nn.Module,
    state: StateDict,
    *,
    network: str,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Put tensors into a network, in eval mode and without gradients.

    They are copied, so that the file's bytes can go; nothing is allocated before `check` is
    content.

    Args:
      module: the network; it may lie on torch's meta device.
      state: the tensors.
      network: its name, for messages.
      unused: names of tensors that may be given although the network has none such.

    Raises:
      ConfigError: see `check`; or a tensor holds a value that is not finite.
    """
    check(module, state, network=network, unused=unused)
    filled: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if name not in state.tensors:
            filled[name] = torch.zeros(value.shape, dtype=value.dtype)
            continue
        filled[name] = tensor = to_tensor(state.tensors[name], value.dtype)
        bad = not_finite(tensor)
        if bad:
            raise ConfigError(
                f"{state.path} must hold the weights of {network}: {name} holds {bad} values that "
                "are NaN or infinite"
            )
    module.load_state_dict(filled, strict=True, assign=True)
    module.eval().requires_grad_(False)


def check(
    module: nn.Module,
    state: StateDict,
    *,
    network: str,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Hold tensors against a network by name, shape and kind of number; see `fill`.

    Raises:
      ConfigError: a tensor is missing, left over, or of another shape or kind. Batch counters may
        be missing: they decide nothing in eval mode.
    """
    wanted = module.state_dict()
    given = {name: x for name, x in state.tensors.items() if name in wanted or not unused(name)}
    problem = mismatch(wanted, given, exact=state.exact) or _shared(given, state.size)
    if problem is not None:
        raise ConfigError(f"{state.path} must hold the weights of {network}: {problem}")


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


def mismatch(
    wanted: Mapping[str, Tensor],
    given: Mapping[str, Array | NDArray[Any] | Tensor],
    *,
    exact: bool,
) -> str | None:
    """The first difference as a phrase; None: they agree.

    Args:
      wanted: a network's state dict.
      given: what is to be it.
      exact: dtypes must be equal, and counters of batches be there.
    """
    for name in wanted:
        if name not in given and (exact or not name.endswith("num_batches_tracked")):
            return f"{name} is missing"
    for name in given:
        if name not in wanted:
            return f"{shown(name)} does not belong to it"
    for name, came in given.items():
        dtype, other = (str(x.dtype).removeprefix("torch.") for x in (wanted[name], came))
        alike = dtype == other if exact else ("float" in dtype) == ("float" in other)
        shape, others = list(wanted[name].shape), list(came.shape)
        if not alike or shape != others:
            return f"{name} must be {dtype} {shape}, got {other} {shown(str(others))}"
    return None


def _shared(given: Arrays, size: int) -> str | None:
    """A small file can describe large tensors by the same bytes again and again."""
    total = sum(array.nbytes for array in given.values() if isinstance(array, Array))
    converted = sum(array.nbytes for array in given.values()) - total
    if total > size + _SLACK or converted > 2 * size + _SLACK:  # from half precision, at most
        total += converted
        return f"they have {total} bytes, more than the file, so that many must be the same bytes"
    return None


def not_finite(tensor: Tensor) -> int:
    """How many values are NaN or infinite."""
    if not tensor.is_floating_point():
        return 0
    # The sum is finite where no value is not, but for overflow, and takes no memory. It is NumPy's:
    # torch would start threads, which are in the way of the one that hashes the file.
    if tensor.dtype != torch.bfloat16:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(tensor.numpy().sum()):
                return 0
    return int((~torch.isfinite(tensor)).sum())
