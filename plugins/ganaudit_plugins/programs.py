"""Programs as files: TorchScript and torch.export archives. To open one is to run it: --trust.

What a file is, and what it says of itself, is read off the table of contents of the zip archive,
by which nothing is run and before torch sees it.
"""

import re
import warnings
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganaudit.archives import Program, contents, inside, program_of
from ganaudit.errors import ConfigError, UnsafeCheckpoint
from ganaudit_plugins.generators.declared import metadata

LabelEncoding = Literal["index", "one-hot"]

_METADATA = "extra/ganaudit.json"
_MOST_METADATA = 2**17  # bytes read of it: more than `metadata` takes
_MOST_PACKED = 2**28  # bytes that code may unpack to; tensors are stored as they are
_WHAT = {"torchscript": "TorchScript", "exported": "torch.export"}


def trusted_program(target: str, kind: Program, *, trust: bool) -> Path:
    """The path of a program that may be run.

    Args:
      target: path of the file.
      kind: of program it must be.
      trust: the user said --trust.

    Raises:
      ConfigError: no such file, no such program, or one that claims to be larger than it is.
      UnsafeCheckpoint: it is one, and the user did not say --trust.
    """
    path = Path(target)
    if not path.is_file():
        raise ConfigError(f"{kind}: no such file: {target or '(none given)'}")
    with contents(path) as archive:
        entries = archive.infolist()
    claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if claimed > size + _MOST_PACKED:
        raise ConfigError(f"{path} has {size} bytes and claims to unpack to {claimed}")
    found = program_of(entries)
    if found != kind:
        raise ConfigError(f"{path} is no {_WHAT[kind]} file: {_instead(path, found)}")
    if not trust:
        raise UnsafeCheckpoint(
            f"{path} is a {_WHAT[kind]} program: opening it runs what it contains, with your "
            "rights, so nothing of it was run. If you trust whoever made it, add --trust; or have "
            "it converted to ONNX, which is data",
            path,
        )
    return path


def claims_of(path: Path) -> dict[str, Any]:
    """What a program's extra file "ganaudit.json" says, as `declare` takes it.

    Raises:
      ConfigError: the extra file cannot be read, or says what we do not know.
    """
    text = b""
    with contents(path) as archive:
        for entry in archive.infolist():
            if inside(entry) == _METADATA:
                with archive.open(entry) as file:
                    text = file.read(_MOST_METADATA)
    return metadata(str(path), text)


def load_script(path: Path, device: torch.device) -> nn.Module:
    """A TorchScript program on `device`, in eval mode. It runs with the user's rights.

    A trace keeps the mode that it was made in, whatever is asked of it afterwards.

    Raises:
      ConfigError: torch cannot load it, or it has no forward.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is (deprecated|not supp)", Warning)
        try:
            module: nn.Module = torch.jit.load(str(path), map_location=device)
        except Exception as error:  # the border to foreign code
            raise ConfigError(
                f"{path} cannot be loaded as TorchScript: {_reason(error)}"
            ) from error
    if not hasattr(module, "forward"):
        raise ConfigError(f"{path} has no forward method, so there is nothing to call")
    return module.eval()


def script_inputs(module: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the tensors that a TorchScript program takes first, and of all that it needs."""
    forward: Any = module.forward
    arguments = forward.schema.arguments[1:]  # but for self
    tensors = takewhile(lambda a: str(a.type) in ("Tensor", "Optional[Tensor]"), arguments)
    needed = [argument.name for argument in arguments if not argument.has_default_value()]
    return [argument.name for argument in tensors], needed


def check_inputs(path: Path, tensors: list[str], needed: list[str], *, labels: bool) -> None:
    """Refuse a generator that cannot be called with latents, or with latents and labels.

    Args:
      path: of the program.
      tensors: inputs that it takes, in order.
      needed: inputs without a default.
      labels: whether it will be given labels.

    Raises:
      ConfigError: it needs more than it will be given, or takes less.
    """
    if not tensors or len(needed) > 2 or not set(needed) <= set(tensors):
        raise ConfigError(
            f"{path} must take latents, or latents and labels, and needs "
            f"{', '.join(needed) or 'nothing'}; wrap it in a program that fixes the rest"
        )
    if labels and len(tensors) < 2:
        raise ConfigError(f"{path} takes {tensors[0]} alone and no labels; leave num_labels out")
    if len(needed) == 2 and not labels:
        raise ConfigError(
            f"{path} needs {needed[0]} and {needed[1]}, which must be the labels of a conditional "
            "generator; say how many classes there are: --set num_labels=10"
        )


def run_script(module: nn.Module, *inputs: Tensor) -> object:
    """What a TorchScript program returns.

    It is run as it stands: once optimised, it would round its second batch unlike its first.

    Raises:
      RuntimeError: what the program raised, without the program's own traceback.
    """
    try:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module(*inputs)
    except (RuntimeError, torch.jit.Error) as error:
        raise RuntimeError(_reason(error)) from None


def encoded(labels: Tensor, *, num_labels: int, encoding: LabelEncoding) -> Tensor:
    """Labels [N] int64 as they are, or float32 [N, num_labels] with a one at each label."""
    if encoding == "index":
        return labels
    return nn.functional.one_hot(labels, num_labels).to(torch.float32)


def _instead(path: Path, found: Program | None) -> str:
    if found is not None:
        return f"it is a {_WHAT[found]} one, so say {found}:{path}"
    return (
        "weights without a program, or something else; script, trace or export the network itself, "
        "or wrap it in python:FILE.py:FACTORY"
    )


def _reason(error: BaseException) -> str:
    """The reason alone of an error that quotes the program, and torch's code, before it."""
    lines = re.findall(r"^[\w.]*(?:Error|Exception): .+", str(error), re.MULTILINE)
    last = str(lines[-1]).removeprefix("RuntimeError: ") if lines else str(error)
    return " ".join(last.split())[:300]
