"""Containers that lie: zip archives, torch's older layout, safetensors, our own format."""

import io
import json
import struct
import zipfile
from collections.abc import Iterator

import opcodes as op

Files = Iterator[tuple[str, bytes, tuple[int, ...]]]  # name, content, exit codes
UNSAFE, MALFORMED, EITHER = (5,), (2,), (2, 5)


def zipped(
    value: bytes, storages: dict[str, bytes] | None = None, *, folder: str = "archive/",
    how: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None,
) -> bytes:  # fmt: skip
    """A file of `torch.save` around the instructions for a value."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", how) as archive:
        archive.writestr(f"{folder}data.pkl", op.PROTO + value + op.STOP)
        for key, data in (storages or {}).items():
            archive.writestr(f"{folder}data/{key}", data)
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return target.getvalue()


def safetensors(header: str | bytes, body: bytes = b"", size: int | None = None) -> bytes:
    """A file of safetensors around a header."""
    data = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return struct.pack("<Q", len(data) if size is None else size) + data + body


def old_layouts() -> Files:
    """Torch's older layout, lying about its storages."""
    weights = op.pairs(w=op.tensor())
    keys, size = b"](U\x010e.", struct.pack("<q", 4)
    deep = b"]" * 10**5 + b"a" * (10**5 - 1)
    laughs = b"N\x94" + b"".join(b"(" + op.kept(i) * 10 + b"l\x94" for i in range(30))
    files = {
        "size": op.old_layout(weights, keys, struct.pack("<q", 2**40) + bytes(16)),
        "negative-size": op.old_layout(weights, keys, struct.pack("<q", -4) + bytes(16)),
        "short": op.old_layout(weights, keys, size + bytes(15)),
        "no-keys": op.old_layout(weights, b"].", size + bytes(16)),
        "other-key": op.old_layout(weights, b"](U\x011e.", size + bytes(16)),
        "no-list": op.old_layout(weights, b"N.", size + bytes(16)),
        "deep-keys": op.old_layout(weights, deep + b".", size + bytes(16)),
        "laughing-keys": op.old_layout(weights, laughs + b".", size + bytes(16)),
        "list-keys": op.old_layout(weights, b"](]e.", size + bytes(16)),
        "big-endian": op.old_layout(weights, keys, size, op.pairs(little_endian=b"\x89")),
        "no-machine": op.old_layout(weights, keys, size, op.NONE),
        "magic-alone": op.old_layout(op.NONE)[:15],
        "protocol": op.old_layout(weights, keys, size).replace(b"M\xe9\x03", b"M\xe8\x03"),
        "tar": _tar(),
    }
    for name, data in files.items():
        yield f"old-{name}.pt", data, MALFORMED


def _tar() -> bytes:
    import tarfile

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "../../escape"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return target.getvalue()


def zips(command: str) -> Files:
    """Archives that lie about what they hold."""
    weights, held = op.pairs(w=op.tensor()), {"0": bytes(16)}
    good = zipped(weights, held)
    table = good.rindex(b"PK\x01\x02", 0, good.rindex(b"PK\x01\x02"))  # of data.pkl
    first, end = good.index(b"PK\x01\x02"), good.rindex(b"PK\x05\x06")
    bomb = zipped(op.raw(bytes(2**24)), how=zipfile.ZIP_DEFLATED)
    second = op.call("os", "system", op.text(command))

    def patched(at: int, form: str, value: int) -> bytes:
        size = struct.calcsize(form)
        return good[:at] + struct.pack(form, value) + good[at + size :]

    files = {
        "deflated-bomb": (bomb, MALFORMED),
        "encrypted": (patched(table + 8, "<H", 1), MALFORMED),
        "size-lie": (patched(table + 24, "<I", 2**31), MALFORMED),
        "sizes-lie": (patched(table + 20, "<II".replace("II", "Q"), 0x7FFFFFFF7FFFFFFF), MALFORMED),
        "zip64-lie": (patched(table + 20, "<Q", 2**64 - 1), MALFORMED),
        "offset-lie": (patched(table + 42, "<I", 2**31), MALFORMED),
        "offset-in-data": (patched(table + 42, "<I", 7), MALFORMED),
        "name-length": (patched(table + 28, "<H", 0xFFFF), MALFORMED),
        "table-size": (patched(end + 12, "<I", 2**31), MALFORMED),
        "table-offset": (patched(end + 16, "<I", 2**31), MALFORMED),
        "count": (patched(end + 10, "<H", 0xFFFF), (0, 2)),
        "comment": (patched(end + 20, "<H", 0xFFFF), MALFORMED),
        "no-table": (good[:first], MALFORMED),
        "table-alone": (good[first:], MALFORMED),
        "prefix": (b"garbage" + good, MALFORMED),
        "prefix-pickle": (op.PROTO + second + op.STOP + good, UNSAFE),
        "two-pickles": (zipped(weights, held, more={"b/data.pkl": second + b"."}), MALFORMED),
        "no-pickle": (zipped(weights, folder="a/b/"), MALFORMED),
        "absolute": (zipped(weights, {"0": b""}, folder="/"), MALFORMED),
        "traversal": (zipped(weights, held, folder="../"), (0, 2)),
        "big-endian": (zipped(weights, held, more={"archive/byteorder": b"big"}), MALFORMED),
        "order-long": (zipped(weights, held, more={"archive/byteorder": bytes(2**24)}), MALFORMED),
        "terminal": (zipped(op.tensor(of=op.storage(key="\x1b[2J\n")), held), MALFORMED),
        "exported": (
            zipped(weights, more={"a/archive_format": b"pt2", "a/models/model.json": b"{}"}),
            UNSAFE,
        ),
        "script": (
            zipped(weights, more={"archive/constants.pkl": b").", "archive/code/x.py": b"1"}),
            UNSAFE,
        ),
    }  # fmt: skip
    for name, (data, codes) in files.items():
        yield f"zip-{name}.pt", data, codes
    entry = good[table : good.index(b"PK\x01\x02", table + 4)]
    lot = b"".join(entry.replace(b"data.pkl", b"%08x" % i) for i in range(70_000))
    closing = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(lot), first, 0)
    yield "zip-entries.pt", good[:first] + lot + closing, MALFORMED
    small = lot[: 40_000 * len(entry)]
    closing = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(small), first, 0)
    yield "zip-overlapping.pt", good[:first] + small + closing, MALFORMED
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("archive/data.pkl")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    yield "zip-link.pt", target.getvalue(), MALFORMED
    twice = zipped(weights, held, more={"archive/data_pkl": second + op.STOP})
    yield "zip-same-name.pt", twice.replace(b"data_pkl", b"data.pkl"), MALFORMED


def headers() -> Files:
    """Headers of safetensors."""

    def one(shape: str = "[4]", place: str = "[0, 16]", dtype: str = '"F32"') -> str:
        return f'{{"w": {{"dtype": {dtype}, "shape": {shape}, "data_offsets": {place}}}}}'

    body = bytes(16)
    files = {
        "size": safetensors(one(), body, 2**63), "size-short": safetensors(one(), body, 9),
        "size-all": safetensors(one(), body, 2**20), "no-json": safetensors("{", body),
        "array": safetensors("{}".replace("{}", "{]"), body), "outside": safetensors(one(), b""),
        "reversed": safetensors(one(place="[16, 0]"), body),
        "negative": safetensors(one(place="[-16, 0]"), body),
        "one-place": safetensors(one(place="[0]")),
        "shape": safetensors(one("[5]"), body), "shape-negative": safetensors(one("[-4]"), body),
        "shape-product": safetensors(one("[2, -2]"), body),
        "shape-float": safetensors(one("[4.0]"), body),
        "shape-true": safetensors(one("[true, 4]"), body),
        "shape-text": safetensors(one('"4"'), body),
        "shape-huge": safetensors(one("[" + "9" * 4000 + "]"), body),
        "shape-digits": safetensors(one("[" + "9" * 10**6 + "]"), body),
        "shape-long": safetensors(one("[" + ("9" * 4000 + ",") * 900 + "1]"), body),
        "dtype": safetensors(one(dtype='"F4"'), body),
        "dtype-list": safetensors(one(dtype="[[]]"), body),
        "dtype-deep": safetensors(one(dtype="[" * 900 + "]" * 900), body),
        "infinity": safetensors(one("[Infinity]"), body),
        "no-object": safetensors('{"w": 1}', body),
        "twice": safetensors(one()[:-1] + ", " + one()[1:], body),
        "metadata": safetensors('{"__metadata__": {"a": 1}}'),
        "metadata-list": safetensors('{"__metadata__": []}'),
        "deep": safetensors('{"w": ' + "[" * 10**6, body),
        "nested": safetensors('{"w": [' + "[[[[]]]]," * 400_000 + "1]}", body),
        "lists": safetensors('{"w": [' + "[]," * 1_300_000 + "1]}", body),
        "sixteen-megabytes": safetensors('{"w": [' + "[]," * 5_500_000 + "1]}", body),
        "tensors": safetensors("{" + ",".join(f'"{i}":{{}}' for i in range(70_000)) + "}", body),
        "utf-16": safetensors(b"{" + one()[1:].encode("utf-16-le"), body),
        "no-utf8": safetensors(b'{"\xff": 1}', body), "nul": safetensors("{\x00}", body),
        "surrogate": safetensors('{"\\ud800\\u001b[2J": {"dtype": "F32"}}', body),
        "terminal": safetensors('{"\\u001b[2J": {"dtype": "\\u001b[2J", "shape": []}}', body),
        "holes": safetensors(one(place="[4, 8]", shape="[1]"), body),
    }  # fmt: skip
    for name, data in files.items():
        yield f"header-{name}.safetensors", data, (0, 2) if name in ("holes",) else MALFORMED


def own_files() -> Files:
    """Our own format, which says which network to build."""
    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    said = {
        "size": {"network": "stylegan2", "arguments": {"img_resolution": 2**30}},
        "nothing": {"network": "stylegan2", "arguments": {}},
        "module": {"network": "os.system", "arguments": {}},
        "attribute": {"network": "__class__", "arguments": {}},
        "list": {"network": ["dcgan"], "arguments": {}},
        "arguments": {"network": "dcgan", "arguments": ["x"]},
        "unknown": {"network": "dcgan", "arguments": {"__class__": 1, "self": 2}},
        "wide": {"network": "dcgan", "arguments": {"latent_size": 10**9, "width": 10**9}},
        "text": {"network": "dcgan", "arguments": {"width": "\x1b[2J" * 999}},
        "nan": {"network": "dcgan", "arguments": {"width": float("nan")}},
        "deep": {"network": "dcgan", "arguments": {"width": json.loads("[" * 300 + "]" * 300)}},
    }
    for name, header in said.items():
        metadata = {"ganaudit": json.dumps({"format": 1, "facts": {}} | header)}
        data = safetensors(json.dumps({"__metadata__": metadata, "w": one}), bytes(16))
        yield f"own-{name}.safetensors", data, MALFORMED
    for name, text in (("json", "{"), ("deep", "[" * 10**5), ("number", "1"), ("null", "null")):
        header = {"__metadata__": {"ganaudit": text}, "w": one}
        data = safetensors(json.dumps(header), bytes(16))
        yield f"own-header-{name}.safetensors", data, MALFORMED
