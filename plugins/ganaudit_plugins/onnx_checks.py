"""An ONNX file looked through, before ONNX Runtime sees it.

It comes from the audited party. One is refused that needs a library of somebody's code, that names
data outside of its own folder, or that would grow beyond measure when it is loaded.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ganaudit.errors import ConfigError, UnsafeCheckpoint
from ganaudit.files import sha256_of

# What ONNX Runtime runs without a library of somebody else.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
_COMPILED = (
    "com.microsoft",
    "EPContext",
    "",
)  # a program for an accelerator, or the name of its file
_MOST_DATA_BYTES = 2**36  # beside it
_MOST_NODES = 2**17  # once the functions are copied to where they are called
_SHOWN = 80  # characters of a hostile file's text in a message

_Name = tuple[str, str, str]  # of an operator or a function: domain, name, overload


@dataclass(frozen=True)
class Looked:
    """What is known of a file that may be opened.

    Attributes:
      sha256: of its bytes; with data beside it, of the file's digest followed by the data files'
        in the order of their locations.
      folder: the only one where data may be looked for.
      metadata: what the file says of itself.
    """

    sha256: str
    folder: str
    metadata: Mapping[str, str]


def look_through(path: Path, data: bytes) -> Looked:
    """Check the bytes `data` of the file `path`, and the data files beside it that it names.

    Raises:
      ConfigError: it is not a whole ONNX file, would grow too large, needs custom operators, or
        data that are not there.
      UnsafeCheckpoint: it names data outside of its folder, or holds a compiled program.
      OSError: a data file cannot be read.
    """
    from onnx import NodeProto, TensorProto

    model = _parse(path, data)
    parts = list(_messages(model))
    _check_operators(path, model, [part for part in parts if isinstance(part, NodeProto)])
    _check_growth(path, model)
    tensors = (part for part in parts if isinstance(part, TensorProto))
    files = _data_files(path, tensors)
    whole = sha256(data)
    if files:
        digests = {file: bytes.fromhex(sha256_of(file)) for file in set(files.values())}
        whole = sha256(whole.digest() + b"".join(digests[files[name]] for name in sorted(files)))
    # Without data beside the file none are looked for: nothing lies under the null device.
    folder = str(path.parent.resolve()) if files else os.devnull
    facts = {entry.key: entry.value for entry in model.metadata_props}
    return Looked(whole.hexdigest(), folder, facts)


def plain(text: object) -> str:
    """Text out of a file in one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _parse(path: Path, data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        model = None
    if model is None or not model.HasField("graph"):
        raise ConfigError(
            f"{path} cannot be read as an ONNX network: it is cut short, or something else"
        )
    return model


def _messages(message: Any) -> Iterator[Any]:
    """Every part of a protocol buffer, however deep; of a tensor only the whole."""
    from onnx import TensorProto

    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, TensorProto):
            continue
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _check_operators(path: Path, model: Any, nodes: Iterable[Any]) -> None:
    used = {_name(node) for node in nodes}
    if _COMPILED in used:
        raise UnsafeCheckpoint(
            f"{path} holds a program compiled for an accelerator (EPContext); nothing was run: "
            "export it without compiling",
            path,
        )
    used -= {(f.domain, f.name, f.overload) for f in model.functions}
    custom = sorted(f"{domain}.{name}" for domain, name, _ in used if domain not in _DOMAINS)
    if custom:
        shown = ", ".join(plain(name)[:_SHOWN] for name in custom[:3])
        raise ConfigError(
            f"{path} needs custom operators ({shown}{', ...' * (len(custom) > 3)}), which are a "
            "library of somebody's code and never loaded; export it with standard operators"
        )


def _check_growth(path: Path, model: Any) -> None:
    """Functions are copied to where they are called: a short file could mean billions of nodes."""
    calls: dict[_Name, list[_Name]] = {}
    for function in model.functions:
        name = (function.domain, function.name, function.overload)
        calls.setdefault(name, []).extend(_called(function))
    sizes: dict[_Name, int] = {}
    try:
        for name in TopologicalSorter({key: set(calls[key]) for key in calls}).static_order():
            inside = sum(sizes[called] for called in calls.get(name, ()))
            sizes[name] = min(max(inside, 1), _MOST_NODES + 1)
    except CycleError:
        raise ConfigError(f"{path} has a function that calls itself, which ONNX forbids") from None
    nodes = sum(sizes.get(called, 1) for called in _called(model.graph))
    if calls and nodes > _MOST_NODES:
        raise ConfigError(
            f"{path} grows beyond {_MOST_NODES} nodes when its functions are copied to where they "
            "are called"
        )


def _called(part: Any) -> list[_Name]:
    from onnx import NodeProto

    return [_name(node) for node in _messages(part) if isinstance(node, NodeProto)]


def _name(node: Any) -> _Name:
    return node.domain, node.op_type, node.overload


def _data_files(path: Path, tensors: Iterable[Any]) -> dict[str, Path]:
    """Location to file, for every tensor that is stored beside the model."""
    from onnx import TensorProto

    files: dict[str, Path] = {}
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        location = facts.get("location", "")
        if len(facts) != len(tensor.external_data) or not location:
            raise ConfigError(f"{path} does not say, or says twice, where the data beside it are")
        if location not in files:
            files[location] = _data_file(path, location)
        _check_extent(path, files[location], facts)
    if sum(file.stat().st_size for file in set(files.values())) > _MOST_DATA_BYTES:
        raise ConfigError(f"{path}: the data beside it exceed {_MOST_DATA_BYTES >> 30} GiB")
    return files


def _data_file(path: Path, location: str) -> Path:
    """The file of a location, which must lie in the model's folder, links resolved."""
    folder, shown = path.parent.resolve(), repr(plain(location)[:_SHOWN])
    rooted = PurePosixPath(location).root or PureWindowsPath(location).anchor
    odd = not location.isprintable() or "*" in location  # ONNX Runtime's addresses in memory have *
    try:
        found = (folder / location).resolve()
        outside = bool(rooted) or odd or folder not in found.parents
        exists = found.is_file()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be
        outside, exists = odd, False
    if outside:
        raise UnsafeCheckpoint(
            f"{path} must name its data by a path inside of its own folder, got {shown}; they were "
            "not read: put them beside the file",
            path,
        )
    if not exists:
        raise ConfigError(f"{path} needs {shown} beside it, which is missing; copy both")
    return found


def _check_extent(path: Path, file: Path, facts: Mapping[str, str]) -> None:
    offset, length = (facts.get(key, "0") for key in ("offset", "length"))
    if not all(text.isdecimal() and len(text) < 19 for text in (offset, length)):
        raise ConfigError(
            f"{path}: the data beside it must have an offset and a length in bytes, got "
            f"{plain(offset)[:_SHOWN]!r} and {plain(length)[:_SHOWN]!r}"
        )
    end, size = int(offset) + int(length), file.stat().st_size
    if end > size:
        raise ConfigError(f"{path} needs {end} bytes of {file.name}, which has {size}; copy both")
