"""State dicts that somebody else saved: read without running them, and put into a network.

A file of `torch.save` is a pickle. torch's own reader for weights builds tensors and plain
containers only, and refuses a file that asks for anything else; safetensors holds nothing else.
"""

import os
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ganaudit.errors import ConfigError, UnsafeCheckpoint

MAX_BYTES = 2**33  # of a file, and of what a zip file says it unpacks to

_MOST_SHOWN = 80  # characters of a stranger's text in a message


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """What a file holds.

    Attributes:
      tensors: by name, on the CPU, as the file has them: neither shapes nor values are checked.
      sha256: hexadecimal, of the very bytes that were read.
    """

    tensors: Mapping[str, Tensor]
    sha256: str


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a file of `torch.save(model.state_dict(), FILE)` or of safetensors.

    Raises:
      ConfigError: no such file, too large, truncated, or no flat mapping of names to tensors.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    data = _read_bytes(path)
    unpack = _from_safetensors if _is_safetensors(data) else _from_torch
    found = unpack(path, data)
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(
            f"{path} must hold a state dict, a flat mapping of names to tensors, "
            f"got {_kind(found)}; save model.state_dict() alone"
        )
    for name, value in found.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise ConfigError(
                f"{path} must hold a state dict, a flat mapping of names to tensors, "
                f"got {_kind(value)} under {_show(name)}; save model.state_dict() alone"
            )
    return StateDict(tensors=dict(found), sha256=sha256(data).hexdigest())


def fill(
    module: nn.Module,
    state: StateDict,
    path: Path,
    *,
    network: str,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Put a state dict into a network, in eval mode and without gradients.

    Args:
      module: the network; it may lie on torch's meta device.
      state: its tensors are converted to the dtypes of the network.
      path: of the file, for messages.
      network: its name, for messages.
      unused: names of tensors that may be in the file although the network has none such.

    Raises:
      ConfigError: a tensor is missing, unexpected, of another shape or kind, or holds a value
        that is not finite. Batch counters may be missing: they decide nothing in eval mode.
    """
    wanted = module.state_dict()
    given = {k: v for k, v in state.tensors.items() if k in wanted or not unused(k)}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, torch.zeros(value.shape, dtype=value.dtype))
    problem = _mismatch(wanted, given)
    if problem is None:
        given = {k: v.detach().to(wanted[k].dtype).contiguous() for k, v in given.items()}
        problem = _not_finite(given)
    if problem is not None:
        raise ConfigError(f"{path} must hold the weights of {network}: {problem}")
    module.load_state_dict(given, strict=True, assign=True)
    module.eval().requires_grad_(False)


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ConfigError(f"{path} has {size} bytes; weights may have {MAX_BYTES}")
            return file.read(size)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _is_safetensors(data: bytes) -> bool:
    return len(data) > 8 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data)


def _from_safetensors(path: Path, data: bytes) -> Mapping[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _from_torch(path: Path, data: bytes) -> Any:
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(BytesIO(data)) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise ConfigError(f"{path} unpacks to {size} bytes; weights may have {MAX_BYTES}")
        with warnings.catch_warnings():  # sparse tensors, which are refused later
            warnings.filterwarnings("ignore", "Validating sparse tensor", UserWarning)
            return torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:  # what torch raises on broken files has no common base but this
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _unreadable(path, error) from error
        raise UnsafeCheckpoint(
            f"{path} is a pickle that asks for {_show(asked[1])}, which would mean running it; "
            "nothing of it was run. Save model.state_dict() alone, or convert it to safetensors",
            path,
        ) from error


def _unreadable(path: Path, error: Exception) -> ConfigError:
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return ConfigError(
        f"{path} cannot be read as a state dict ({type(error).__name__}: {text:.{_MOST_SHOWN}}); "
        "is it complete?"
    )


def _is_plain(value: object) -> bool:
    """A tensor that has its values at hand."""
    return (
        isinstance(value, Tensor)
        and type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """The first difference in names, shapes or kinds of number; None: they agree."""
    for name in wanted:
        if name not in given:
            return f"{name} is missing"
    for name in given:
        if name not in wanted:
            return f"{_show(name)} does not belong to it"
    for name, value in wanted.items():
        came = given[name]
        if came.shape != value.shape:
            return f"{name} must have shape {list(value.shape)}, got {_show(list(came.shape))}"
        if came.is_floating_point() != value.is_floating_point() or came.is_complex():
            return f"{name} must be {_dtype(value)}, got {_dtype(came)}"
    return None


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    for name, tensor in tensors.items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            return f"{name} holds {bad} values that are NaN or infinite"
    return None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(value: object) -> str:
    if isinstance(value, Mapping) and not value:
        return "an empty one"
    return "a tensor without plain values" if isinstance(value, Tensor) else type(value).__name__


def _show(value: object) -> str:
    return f"{value!r:.{_MOST_SHOWN}}"
