"""An assembler of pickles, for files that no writer would make."""

import struct
from typing import Any

MARK, STOP, EMPTY, LIST, DICT, NONE = b"(", b".", b")", b"]", b"}", b"N"
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, OBJ = b"R", b"b", b"\x81", b"\x92", b"o"
TUPLE, STACK_GLOBAL, MEMOIZE, POP, DUP = b"t", b"\x93", b"\x94", b"0", b"2"
APPEND, SETITEM, BINPERSID = b"a", b"s", b"Q"
PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    """Push a text."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    """Push bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def integer(value: int) -> bytes:
    """Push an integer of up to 255 bytes."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    """Push what a module has under a name."""
    return f"c{module}\n{name}\n".encode()


def many(*pieces: bytes) -> bytes:
    """Push a tuple."""
    return MARK + b"".join(pieces) + TUPLE


def pairs(**items: bytes) -> bytes:
    """Push a dict of texts and what the pieces push."""
    return MARK + b"".join(text(key) + piece for key, piece in items.items()) + b"d"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Push what a call returns."""
    return named(module, name) + many(*arguments) + REDUCE


def keep(i: int) -> bytes:
    """Keep the top of the stack under a number."""
    return b"r" + struct.pack("<I", i)


def kept(i: int) -> bytes:
    """Push what was kept."""
    return b"j" + struct.pack("<I", i)


def plain(value: Any) -> bytes:
    """Push plain values."""
    if isinstance(value, dict):
        return pairs(**{key: plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        end = b"l" if isinstance(value, list) else TUPLE
        return MARK + b"".join(map(plain, value)) + end
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    return NONE if value is None else integer(value)


def old_layout(
    value: bytes, keys: bytes = b"(l.", tail: bytes = b"", machine: bytes | None = None
) -> bytes:
    """A file of torch's older layout around the instructions for a value."""
    system = pairs(little_endian=b"\x88") if machine is None else machine
    return (
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
        + b"\x80\x02M\xe9\x03."
        + b"\x80\x02" + system + STOP
        + b"\x80\x02" + value + STOP
        + b"\x80\x02" + keys + tail
    )  # fmt: skip


def storage(kind: str = "FloatStorage", key: str = "0", size: int = 4) -> bytes:
    """Push a storage outside the pickle."""
    said = (text("storage"), named("torch", kind), text(key), text("cpu"), integer(size))
    return many(*said) + BINPERSID


def tensor(
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    offset: int = 0,
    of: bytes | None = None,
) -> bytes:
    """Push a tensor over a storage."""
    over = storage() if of is None else of
    parts = (
        integer(offset),
        plain(shape),
        plain(strides),
        b"\x89",
        call("collections", "OrderedDict"),
    )
    return call("torch._utils", "_rebuild_tensor_v2", over, *parts)


def old_tensor(storage_type: str = "FloatStorage", count: int = 4) -> bytes:
    """Push a tensor whose storage is a whole file in the older layout, as NVIDIA's pickles do."""
    tail = struct.pack("<q", count) + bytes(4 * count)
    file = old_layout(storage(storage_type, "7", count), b"]X\x01\x00\x00\x007a.", tail)
    return tensor((count,), of=call("torch.storage", "_load_from_bytes", raw(file)))


def numpy_array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    """Push an array of NumPy."""
    made = call(
        "numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), plain((0,)), raw(b"b")
    )
    return made + many(integer(1), shape, kind, b"\x89", data) + BUILD


def numpy_type(name: str = "f4", order: str = "<") -> bytes:
    """Push a dtype of NumPy."""
    made = call("numpy", "dtype", text(name), b"\x89", b"\x88")
    state = many(integer(3), text(order), NONE, NONE, NONE, integer(-1), integer(-1), integer(0))
    return made + state + BUILD


def persistent(state: bytes, *, source: bytes = text("class G: ..."), name: str = "G") -> bytes:
    """Push an object of NVIDIA's persistence."""
    meta = pairs(
        type=text("class"), version=integer(6), module_src=source, class_name=text(name),
        state=state,
    )  # fmt: skip
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)
