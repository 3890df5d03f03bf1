"""Safetensors, read as the other formats are: into arrays that are windows on the file's bytes."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from ganaudit.checkpoints.pickles import Malformed
from ganaudit.checkpoints.records import ITEM_BYTES, MOST_SIDES, Array, Storage, dense

_MOST_HEADER = 2**22  # JSON takes up to forty times its own size
_MOST_TENSORS = 2**16
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_safetensors(data: bytes) -> tuple[dict[str, Array], Mapping[str, str]]:
    """Tensors by name, and the metadata.

    Raises:
      Malformed: the header lies about itself or about the bytes after it.
    """
    (size,) = struct.unpack("<Q", data[:8])
    if size > min(_MOST_HEADER, len(data) - 8):
        raise Malformed("its header is longer than the file, or than 4 MiB")
    try:
        header = json.loads(data[8 : 8 + size].decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Malformed("its header is no JSON") from error
    if not isinstance(header, dict) or len(header) > _MOST_TENSORS:
        raise Malformed("its header must be an object with a key for each tensor")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise Malformed("its metadata must be texts")
    body = memoryview(data)[8 + size :]
    arrays = {name: _array(entry, body) for name, entry in header.items()}
    end = 0
    for begin, after in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != end:
            raise Malformed("its tensors overlap, or leave bytes between them")
        end = after
    if end != len(body):
        raise Malformed("there are bytes after its last tensor")
    return arrays, metadata


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):  # readers differ in which of two values counts
        raise ValueError("a key stands twice")
    return made


def _array(entry: Any, body: memoryview) -> Array:
    if not isinstance(entry, dict):
        raise Malformed("a tensor must be described by an object")
    said = entry.get("dtype")
    dtype = _DTYPES.get(said) if isinstance(said, str) else None
    shape, place = _whole(entry.get("shape")), _whole(entry.get("data_offsets"))
    if dtype is None or len(place) != 2:
        raise Malformed("a tensor's dtype or place cannot be read")
    begin, end = place
    if not begin <= end <= len(body):
        raise Malformed("a tensor's bytes lie outside of the file")
    if (end - begin) % ITEM_BYTES[dtype]:
        raise Malformed("a tensor's bytes do not fill its last element")
    storage = Storage(dtype, (end - begin) // ITEM_BYTES[dtype], body[begin:end])
    try:
        array = Array(dtype, tuple(shape), dense(shape), 0, storage)
    except ValueError as error:
        raise Malformed(str(error)) from error
    if array.size != storage.size:
        raise Malformed("a tensor's shape and its bytes disagree")
    return array


def _whole(value: Any) -> list[int]:
    if isinstance(value, list) and len(value) <= MOST_SIDES:
        if all(type(number) is int and 0 <= number < 2**63 for number in value):
            return value
    raise Malformed("a tensor's shape or place must be a short list of sizes")
