"""Our own checkpoints: one safetensors file that says which network it belongs to.

The metadata key "ganaudit" holds JSON:

    {"format": 1, "network": NAME, "arguments": {...}, "facts": {...}}

NAME and the arguments build a network of `ganaudit.networks`; the tensors are its state dict;
facts are what a caller needs beside it (prior, range, latent shape, measured radius). The file
comes from the audited party, so everything in it is checked against the network, built on
torch's meta device, before a byte of a tensor is read.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import safetensors.torch
import torch
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.checkpoints.records import plain
from ganaudit.checkpoints.state_dicts import mismatch, not_finite
from ganaudit.errors import ConfigError
from ganaudit.files import write_whole

FORMAT = 1

_MOST_SHOWN = 80  # characters of a hostile file's text in a message


def save_native(
    path: Path,
    module: nn.Module,
    *,
    network: str,
    arguments: Mapping[str, object],
    facts: Mapping[str, object],
) -> None:
    """Writes `module` so that `opened.open_network` gives it back, bit for bit.

    The file appears whole or not at all. Equal inputs give equal bytes.

    Args:
      path: file to write or replace.
      module: what `networks.build(network, arguments)` makes, trained; every value finite.
      network: a key of `networks.NETWORKS`.
      arguments: the constructor's keyword arguments.
      facts: JSON values.

    Raises:
      ValueError: the file could not be read back: the module does not match network and
        arguments, a value is not finite, or a fact is not a JSON value.
      TypeError: a fact is not a JSON value.
      OSError: the file cannot be written.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    with torch.device("meta"):
        wanted = networks.build(network, arguments).state_dict()
    problem = mismatch(wanted, tensors, exact=True) or _not_finite(tensors)
    if problem:
        raise ValueError(f"module must be a {network} with finite values: {problem}")
    header = {"format": FORMAT, "network": network, "arguments": arguments, "facts": facts}
    metadata = {"ganaudit": json.dumps(header, sort_keys=True, allow_nan=False)}
    write_whole(Path(path), safetensors.torch.save(tensors, metadata))


def header_of(
    path: Path, metadata: Mapping[str, str] | None
) -> tuple[str, dict[str, object], dict[str, object]]:
    """Network, arguments and facts of a file's metadata.

    Raises:
      ConfigError: there are none, or they are not of our format.
    """
    if metadata is None or "ganaudit" not in metadata:
        _refuse(path, 'must have the metadata key "ganaudit"; it was not saved by ganaudit')
    try:
        header = json.loads(
            metadata["ganaudit"], parse_constant=_finite_number, parse_float=_finite_number
        )
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f'checkpoint {path} must have JSON in its metadata key "ganaudit": {_short(error)}'
        ) from error
    if not isinstance(header, dict):
        _refuse(path, f'must have a JSON object in "ganaudit", got {_kind(header)}')
    version = header.get("format")
    if isinstance(version, bool) or not isinstance(version, int) or version != FORMAT:
        _refuse(path, f"must have format {FORMAT}, got {_show(version)}; update ganaudit if newer")
    network, arguments, facts = (header.get(key) for key in ("network", "arguments", "facts"))
    if not isinstance(network, str):
        _refuse(path, f"must name its network as text, got {_kind(network)}")
    if not isinstance(arguments, dict):
        _refuse(path, f"must hold its arguments as a JSON object, got {_kind(arguments)}")
    if not isinstance(facts, dict):
        _refuse(path, f"must hold its facts as a JSON object, got {_kind(facts)}")
    # They are shown as they are: no control characters, nothing that cannot be encoded.
    return network, arguments, plain(facts, what=f"the facts of checkpoint {path}")


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    for name, tensor in tensors.items():
        bad = not_finite(tensor)
        if bad:
            return f"{name} holds {bad} values that are NaN or infinite"
    return None


def _refuse(path: Path, sentence: str) -> NoReturn:
    raise ConfigError(f"checkpoint {path} {sentence}")


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{_show(text)} is not a finite number")
    return number


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _show(value: object) -> str:
    return f"{value!r:.{_MOST_SHOWN}}"


def _short(error: BaseException) -> str:
    # The text may quote the file: no line breaks, no control characters for a terminal.
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return f"{text or type(error).__name__:.{_MOST_SHOWN * 2}}"
