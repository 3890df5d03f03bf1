"""Messages of the Open Inference Protocol v2: tensors as JSON, or as bytes behind a JSON header.

A request carries `inputs`, an answer `outputs`: each a name, a datatype, a shape and, in JSON, its
values (`data`), nested or flat, in row-major order. In the binary form a tensor names the number of
its bytes instead (`parameters.binary_data_size`); they follow the JSON part in the order of the
tensors, and the header `Inference-Header-Content-Length` tells how long that part is. One message
may mix both. BYTES are strings in JSON, and in the binary form a little-endian length of four bytes
before each value.

https://github.com/kserve/open-inference-protocol, "Inference Protocol: REST", and Triton's
"Binary Tensor Data Extension".
"""

import base64
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

HEADER = "Inference-Header-Content-Length"
DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
    }
)
Key = Literal["inputs", "outputs"]

_BASE64 = {"content_type": "base64"}
_MOST_DIMENSIONS = 16
_MARKS_A_VALUE = 4  # commas and brackets: [n, 1, 1], nested, has so many
_MORE_MARKS = 2**16  # of fields, shapes and parameters
_LENGTH_BYTES = 4  # before a value of BYTES
_SHOWN = 80  # characters of a stranger's value in a message
_SHORT = reprlib.Repr()  # levels, items and characters of a stranger's value are bounded


class OipError(ValueError):
    """What is wrong with a message, in one sentence."""


@dataclass(frozen=True)
class Tensor:
    """A named tensor of a message.

    Attributes:
      name: of the input or output.
      datatype: a key of DTYPES, or BYTES.
      shape: of the values.
      values: [*shape] of DTYPES[datatype]; of BYTES a list in row-major order.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | list[bytes]


# -- writing ---------------------------------------------------------------------------------


def encode(
    fields: Mapping[str, Any], tensors: Sequence[Tensor], *, key: Key, binary: bool
) -> tuple[bytes, int | None]:
    """A message of some tensors.

    Args:
      fields: its other fields, JSON values.
      tensors: what it carries.
      key: under which.
      binary: whether values follow the JSON part as bytes.

    Returns:
      The body, and the length of its JSON part if bytes follow it, which goes into the header
      `HEADER`. BYTES in JSON are text where all of them are UTF-8, else base64, which the tensor
      then says (`parameters.content_type`).

    Raises:
      OipError: NaN or infinity, of which JSON has no form.
      ValueError: a tensor whose values are not of its datatype and shape.
    """
    described = []
    blocks = []
    for tensor in tensors:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        if binary:
            blocks.append(_packed(tensor))
            entry["parameters"] = {"binary_data_size": len(blocks[-1])}
        else:
            entry |= _in_json(tensor)
        described.append(entry)
    try:
        text = json.dumps({**fields, key: described}, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise OipError("NaN and infinite values have no form in JSON") from None
    head = text.encode()
    return (b"".join([head, *blocks]), len(head)) if binary else (head, None)


def _packed(tensor: Tensor) -> bytes:
    values = _consistent(tensor)
    if isinstance(values, list):
        return b"".join(
            part
            for value in values
            for part in (len(value).to_bytes(_LENGTH_BYTES, "little"), value)
        )
    return values.tobytes()


def _in_json(tensor: Tensor) -> dict[str, Any]:
    values = _consistent(tensor)
    if not isinstance(values, list):
        return {"data": values.ravel().tolist()}
    try:
        return {"data": [value.decode() for value in values]}
    except UnicodeDecodeError:
        return {
            "parameters": _BASE64,
            "data": [base64.b64encode(value).decode() for value in values],
        }


def _consistent(tensor: Tensor) -> NDArray[Any] | list[bytes]:
    values = tensor.values
    if isinstance(values, list):
        fits = tensor.datatype == "BYTES" and math.prod(tensor.shape) == len(values)
    else:
        known = tensor.datatype in DTYPES and tensor.shape == values.shape
        fits = known and DTYPES[tensor.datatype] == values.dtype
    if not fits:
        raise ValueError(f"{tensor.name}: the values are no {tensor.datatype} {list(tensor.shape)}")
    return values


# -- reading ---------------------------------------------------------------------------------


def decode(
    body: bytes, header_length: int | None, *, key: Key, most_values: int
) -> tuple[dict[str, Any], list[Tensor]]:
    """The tensors of a message from somebody who may be hostile.

    Memory is bounded by the length of the body and by `most_values`, whatever the message claims.

    Args:
      body: as it came.
      header_length: what the header `HEADER` says; None: there was none, all of it is JSON.
      key: where the tensors are.
      most_values: of all tensors together.

    Returns:
      The other fields, unchecked, and the tensors in the message's order. NaN and infinities are
      let through: whether they may be is not the codec's to say.

    Raises:
      OipError: not such a message, or it contradicts itself.
    """
    if header_length is None:
        header_length = len(body)
    if not 0 <= header_length <= len(body):
        raise OipError(f"the JSON part is said to have {header_length} bytes of {len(body)}")
    fields = _parsed(body[:header_length], most_values)
    entries = fields.pop(key, None)
    if not isinstance(entries, list):
        raise OipError(f"the message has no list of {key}")
    rest = memoryview(body)[header_length:]
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        tensor = _described(entry, most_values)
        if tensor.name in tensors:
            raise OipError(f"{_shown(tensor.name)} comes twice in {key}")
        most_values -= math.prod(tensor.shape)
        size = _binary_size(entry)
        if size is None:
            values = _from_json(entry, tensor)
        elif size <= len(rest):
            values = _from_bytes(rest[:size], tensor)
            rest = rest[size:]
        else:
            raise OipError(
                f"{_shown(tensor.name)} has {_shown(size)} bytes of values, and {len(rest)} are "
                "left"
            )
        tensors[tensor.name] = replace(tensor, values=values)
    if len(rest):
        raise OipError(f"{len(rest)} bytes follow that belong to none of the {key}")
    return fields, list(tensors.values())


def _parsed(text: bytes, most_values: int) -> dict[str, Any]:
    """The JSON part. Parsed, it may take dozens of times its length: that is counted before."""
    marks = sum(map(text.count, (b",", b"[", b"{")))
    if marks > _MARKS_A_VALUE * most_values + _MORE_MARKS:
        raise OipError(f"the message has more than {most_values} values, which is the most")
    try:
        fields = json.loads(text.decode())
    except RecursionError:
        raise OipError("the message is nested too deeply") from None
    except ValueError:  # also what is no UTF-8, and numbers of too many digits
        raise OipError("the message is not JSON") from None
    if not isinstance(fields, dict):
        raise OipError(f"the message must be a JSON object, got {_shown(fields)}")
    return fields


def _described(entry: object, most_values: int) -> Tensor:
    """A tensor as far as it is described: without values."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise OipError(f"a tensor must be an object with a name, got {_shown(entry)}")
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in (*DTYPES, "BYTES"):
        raise OipError(
            f"{_shown(name)} must have a datatype out of {', '.join(DTYPES)}, BYTES, got "
            f"{_shown(datatype)}"
        )
    sides: list[Any] = shape if isinstance(shape, list) else [None]
    if len(sides) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in sides):
        raise OipError(
            f"{_shown(name)} must have a shape of at most {_MOST_DIMENSIONS} whole numbers, got "
            f"{_shown(shape)}"
        )
    if math.prod(max(n, 1) for n in sides) > most_values:
        raise OipError(
            f"{_shown(name)} has shape {_shown(sides)}: more than {most_values} values, which is "
            "the most"
        )
    return Tensor(name, datatype, tuple(sides), [])


def _binary_size(entry: dict[str, Any]) -> int | None:
    """Bytes of a tensor behind the JSON part; None: its values stand in JSON."""
    size = _parameter(entry, "binary_data_size")
    if size is None:
        return None
    if "data" in entry:
        raise OipError(f"{_shown(entry['name'])} has values both in JSON and as bytes")
    if type(size) is not int or size < 0:
        raise OipError(
            f"{_shown(entry['name'])} must say how many bytes it has, got {_shown(size)}"
        )
    return size


def _from_bytes(block: memoryview, tensor: Tensor) -> NDArray[Any] | list[bytes]:
    count = math.prod(tensor.shape)
    if tensor.datatype == "BYTES":
        return _split(block, count, tensor.name)
    dtype = DTYPES[tensor.datatype]
    if len(block) != count * dtype.itemsize:
        raise OipError(f"{_of(tensor)} wants {count * dtype.itemsize} bytes, got {len(block)}")
    if tensor.datatype == "BOOL" and (np.frombuffer(block, np.uint8) > 1).any():
        raise OipError(f"{_of(tensor)} has bytes that are neither 0 nor 1")
    return np.frombuffer(block, dtype).reshape(tensor.shape).copy()


def _split(block: memoryview, count: int, name: str) -> list[bytes]:
    """Values of BYTES, each behind its length."""
    values: list[bytes] = []
    start = 0
    while len(values) < count and len(block) - start >= _LENGTH_BYTES:
        first = start + _LENGTH_BYTES
        start = first + int.from_bytes(block[start:first], "little")
        values.append(bytes(block[first:start]))
    if len(values) != count or start != len(block):
        raise OipError(
            f"the {len(block)} bytes of {_shown(name)} are not {count} values, each behind its "
            "length"
        )
    return values


def _from_json(entry: dict[str, Any], tensor: Tensor) -> NDArray[Any] | list[bytes]:
    flat = _flat(entry.get("data"), tensor)
    kinds = set(map(type, flat))
    datatype, shape = tensor.datatype, tensor.shape
    if datatype == "BYTES":
        if kinds <= {str}:
            encoded = _parameter(entry, "content_type") == "base64"
            return [_bytes_of(value, encoded=encoded, name=tensor.name) for value in flat]
    elif datatype == "BOOL":
        if kinds <= {bool} or kinds <= {int} and set(flat) <= {0, 1}:
            return np.array(flat, dtype=bool).reshape(shape)
    elif datatype.startswith("FP"):
        if kinds <= {int, float}:
            return _floats(flat, tensor).reshape(shape)
    elif kinds <= {int, float} and all(type(v) is int or v.is_integer() for v in flat):
        flat = list(map(int, flat))  # 7.0 is a whole number in JSON
        limits = np.iinfo(DTYPES[datatype])
        if flat and not limits.min <= min(flat) <= max(flat) <= limits.max:
            raise OipError(f"{_of(tensor)} has values that do not fit its datatype")
        return np.array(flat, dtype=DTYPES[datatype]).reshape(shape)
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise OipError(f"{_of(tensor)} has values that are none of its datatype, but {found}")


def _flat(data: object, tensor: Tensor) -> list[Any]:
    """The values of `data`, which is nested as the shape says, or flat."""
    if not isinstance(data, list):
        raise OipError(f"{_of(tensor)} has no list of values")
    rows, shape = data, tensor.shape
    if len(shape) > 1 and rows and isinstance(rows[0], list):
        fits = len(rows) == shape[0]
        for side in shape[1:]:
            fits = fits and all(type(row) is list and len(row) == side for row in rows)
            if not fits:
                raise OipError(f"{_of(tensor)} has values that are not nested as its shape says")
            rows = list(chain.from_iterable(rows))
    if len(rows) != math.prod(shape):
        raise OipError(f"{_of(tensor)} wants {math.prod(shape)} values, got {len(rows)}")
    return rows


def _floats(flat: list[Any], tensor: Tensor) -> NDArray[Any]:
    try:
        wide = np.array(flat, dtype=np.float64)
        with np.errstate(over="ignore"):
            values = wide.astype(DTYPES[tensor.datatype])
        if (np.isinf(values) & np.isfinite(wide)).any():
            raise OverflowError
    except OverflowError:  # also of a whole number of hundreds of digits
        raise OipError(f"{_of(tensor)} has values that do not fit its datatype") from None
    return values


def _bytes_of(value: str, *, encoded: bool, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if encoded else value.encode()
    except ValueError:  # of text: it has lone surrogates
        wanted = "base64" if encoded else "Unicode"
        raise OipError(f"{_shown(name)} has a value that is no {wanted}") from None


def _parameter(entry: dict[str, Any], key: str) -> Any:
    parameters = entry.get("parameters")
    return parameters.get(key) if isinstance(parameters, dict) else None


def _of(tensor: Tensor) -> str:
    return f"{_shown(tensor.name)} of {tensor.datatype} {list(tensor.shape)}"


def _shown(value: object) -> str:
    """A stranger's value for a message: short, in one line, without what a terminal would obey."""
    text = repr(value[:_SHOWN]) if isinstance(value, str) else _SHORT.repr(value)
    return text.encode("ascii", "backslashreplace").decode()
