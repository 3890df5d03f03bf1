"""The two layouts of `torch.save`, read without torch.

A zip archive holds one pickle, `data.pkl`, and a stored entry for each storage. The older layout is
five pickles in a row (a magic number, the protocol, the machine, the value, the keys of the
storages) and then each storage's size and bytes; it is also what NVIDIA's pickles hold inside, one
for each tensor.
"""

import struct
import zipfile
from typing import Any

from ganaudit.checkpoints.allowed import ALLOWED, storage_of
from ganaudit.checkpoints.pickles import Budget, Malformed, read_pickle
from ganaudit.checkpoints.records import ITEM_BYTES, Storage, shown

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_MOST_STORAGES = 2**17


class _Storages:
    """What a pickle of torch says lies outside of it: storages, by their keys."""

    def __init__(self) -> None:
        self.found: dict[str, Storage] = {}

    def __call__(self, said: Any) -> Storage:
        """A storage whose bytes come later; the same key gives the same one."""
        if not isinstance(said, tuple) or not 5 <= len(said) <= 6 or said[0] != "storage":
            raise Malformed("what lies outside of the pickle is no storage")
        _, kind, key, _, size, *view = said
        if not isinstance(key, str) or any(part is not None for part in view):
            raise Malformed("a storage has no key, or is a part of another one")
        storage = self.found.setdefault(key, storage_of(kind, size))
        if (storage.dtype, storage.size) != (storage_of(kind, size).dtype, size):
            raise Malformed(f"storage {shown(key)} is described twice, differently")
        if len(self.found) > _MOST_STORAGES:
            raise Malformed(f"it has more than {_MOST_STORAGES} storages")
        return storage


def read_loose(data: memoryview, *, budget: Budget) -> tuple[str, Any]:
    """Which it is, "pickle" or (torch's older layout) "torch", and the value that it holds.

    Args:
      data: [B] uint8, the whole file.
      budget: for all that the file holds.

    Raises:
      Malformed: it is neither, or damaged.
    """

    def nested(piece: Any, *rest: Any) -> Storage:
        if not isinstance(piece, memoryview):
            raise Malformed("a storage has no bytes")
        value = _read_old(piece, budget)
        if not isinstance(value, Storage):
            raise Malformed("what should be a storage is something else")
        return value

    if _is_old(data):
        return "torch", _read_old(data, budget)
    allowed = {**ALLOWED, ("torch.storage", "_load_from_bytes"): nested}
    return "pickle", read_pickle(data, allowed, budget=budget)[0]


def _is_old(data: memoryview) -> bool:
    try:
        return bool(read_pickle(data[:64], {}, budget=Budget())[0] == _MAGIC)
    except Malformed:
        return False


def _read_old(data: memoryview, budget: Budget) -> Any:
    magic, at = read_pickle(data, {}, budget=budget)
    protocol, at = read_pickle(data, {}, budget=budget, start=at)
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise Malformed("it is no file of torch")
    machine, at = read_pickle(data, ALLOWED, budget=budget, start=at)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Malformed("it was not written by a little-endian machine")
    storages = _Storages()
    value, at = read_pickle(data, ALLOWED, budget=budget, persistent=storages, start=at)
    keys, at = read_pickle(data, {}, budget=budget, start=at)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("its storages have no keys")
    if set(keys) != set(storages.found):
        raise Malformed("its storages are not those that its value needs")
    for key in keys:
        storage = storages.found[key]
        size = struct.unpack("<q", _window(data, at, 8))[0]
        if size != storage.size:
            raise Malformed(f"a storage of {storage.size} elements comes with {size}")
        storage.data = _window(data, at + 8, size * ITEM_BYTES[storage.dtype])
        at += 8 + len(storage.data)
    return value


def read_zip(data: bytes, table: list[zipfile.ZipInfo], *, budget: Budget) -> Any:
    """The value of a file of `torch.save`, a zip archive with this table of contents.

    Raises:
      Malformed: it is none, or damaged.
    """
    entries = {entry.filename: entry for entry in table}
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Malformed("it holds no weights of torch (no data.pkl)")
    folder = pickles[0].removesuffix("data.pkl")
    view = memoryview(data)
    order = entries.get(f"{folder}byteorder")
    if order is not None and bytes(_stored(view, order)[:8]) != b"little":
        raise Malformed("it was not written by a little-endian machine")
    storages = _Storages()
    piece = _stored(view, entries[pickles[0]])
    value, _ = read_pickle(piece, ALLOWED, budget=budget, persistent=storages)
    for key, storage in storages.found.items():
        entry = entries.get(f"{folder}data/{key}")
        if entry is None:
            raise Malformed(f"storage {shown(key)} is missing")
        storage.data = _stored(view, entry)
        if len(storage.data) != storage.size * ITEM_BYTES[storage.dtype]:
            raise Malformed(
                f"storage {shown(key)} does not have the {storage.size} elements it says"
            )
    return value


def _stored(data: memoryview, entry: zipfile.ZipInfo) -> memoryview:
    """An entry's bytes where they lie in the archive; torch never compresses."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise Malformed("an entry is compressed or encrypted, which torch never does")
    header = _window(data, entry.header_offset, _LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:30])
    if bytes(header[:4]) != b"PK\x03\x04" or entry.file_size != entry.compress_size:
        raise Malformed("an entry is not where the table of contents says")
    return _window(data, entry.header_offset + _LOCAL_HEADER + name + extra, entry.file_size)


def _window(data: memoryview, at: int, size: int) -> memoryview:
    if not 0 <= at <= at + size <= len(data):
        raise Malformed(f"{shown(size)} bytes are announced at {shown(at)}, more than there are")
    return data[at : at + size]
