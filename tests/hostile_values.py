"""Pickles that call nothing and want memory, time or a crash."""

import struct

import opcodes as op
from hostile_formats import EITHER, MALFORMED, Files, zipped

_LOT = 2**20  # instructions: as many as a file may have
_BIG = 2**18  # things that one instruction can name again


def gadgets() -> Files:
    """What the allow-list answers, asked for in ways that no writer would."""
    float_type, data = op.numpy_type(), op.raw(bytes(16))
    old = op.named("tfutil", "Network") + op.EMPTY + op.NEWOBJ
    state = op.pairs
    asked = {
        "dict-of-number": op.call("collections", "OrderedDict", op.integer(5)),
        "dict-of-self": op.LIST + op.keep(0) + op.call("builtins", "dict", op.kept(0)) + op.APPEND,
        "dict-arguments": op.call("collections", "OrderedDict", *[op.NONE] * 9),
        "class-as-value": op.named("collections", "OrderedDict"),
        "class-as-weights": op.pairs(w=op.named("torch", "FloatStorage")),
        "array-class": op.call("numpy", "ndarray", op.plain((2**40,))),
        "dtype-object": op.numpy_array(op.plain((2,)), op.numpy_type("O8", "|"), data),
        "dtype-void": op.numpy_array(op.plain((2,)), op.numpy_type("V8", "|"), data),
        "dtype-record": op.numpy_array(op.plain((2,)), op.numpy_type("f4,f4"), data),
        "dtype-big-endian": op.numpy_array(op.plain((4,)), op.numpy_type("f4", ">"), data),
        "dtype-number": op.numpy_array(op.plain((4,)), op.integer(4), data),
        "array-terabyte": op.numpy_array(op.plain((2**40,)), float_type, data),
        "array-overflow": op.numpy_array(op.plain((2**33, 2**33)), float_type, data),
        "array-negative": op.numpy_array(op.plain((-1,)), float_type, data),
        "array-deep": op.numpy_array(op.plain((1,) * 99), float_type, data),
        "array-wide": op.numpy_array(op.text("abc"), float_type, data),
        "array-odd-bytes": op.numpy_array(op.plain((4,)), float_type, op.raw(bytes(15))),
        "array-no-latin": op.numpy_array(op.plain((4,)), float_type, op.text("\u20ac" * 16)),
        "array-list": op.numpy_array(op.plain((4,)), float_type, op.LIST),
        "array-state": op.call("numpy.core.multiarray", "_reconstruct", *[op.NONE] * 3)
        + op.NONE + op.BUILD,
        "array-unfinished": op.pairs(
            w=op.call("numpy.core.multiarray", "_reconstruct", *[op.NONE] * 3)
        ),
        "scalar-object": op.call("numpy.core.multiarray", "scalar", op.numpy_type("O8", "|"), data),
        "scalar-long": op.call("numpy.core.multiarray", "scalar", float_type, data),
        "scalar-nothing": op.call("numpy.core.multiarray", "scalar", op.NONE, op.NONE),
        "encode-utf7": op.call("_codecs", "encode", op.text("x"), op.text("utf-7")),
        "encode-hex": op.call("_codecs", "encode", op.text("x"), op.text("hex")),
        "set-of-lists": op.call("builtins", "set", op.plain([[1]])),
        "frozenset-of-tuples": op.MARK + op.plain((1,)) + b"\x91",
        "object-of-nothing": op.call("copyreg", "_reconstructor", op.NONE, op.NONE, op.NONE),
        "object-of-size": op.call("copyreg", "_reconstructor", op.named("torch", "Size"), op.NONE),
        "parameter-of-text": op.call("torch.nn.parameter", "Parameter", op.text("x")),
        "storage-called": op.call("torch", "FloatStorage", op.integer(2**40)),
        "nested-text": op.call("torch.storage", "_load_from_bytes", op.text("x")),
        "nested-zip": op.call("torch.storage", "_load_from_bytes", op.raw(zipped(op.NONE))),
        "persistent-number": op.call(
            "torch_utils.persistence", "_reconstruct_persistent_obj", op.integer(1)
        ),
        "persistent-function": op.call(
            "torch_utils.persistence", "_reconstruct_persistent_obj", state(type=op.text("func"))
        ),
        "persistent-no-state": op.persistent(op.NONE),
        "persistent-no-source": op.persistent(op.DICT, source=op.NONE),
        "persistent-fleeting": op.persistent(
            state(_non_persistent_buffers_set=op.integer(1), _buffers=state(b=op.old_tensor()))
        ),
        "persistent-arguments": op.persistent(state(_init_args=op.integer(1))),
        "persistent-keywords": op.persistent(state(_init_kwargs=op.LIST)),
        "persistent-nan": op.persistent(state(_init_kwargs=state(x=op.plain(float("nan"))))),
        "persistent-modules": op.persistent(state(_modules=op.integer(3))),
        "persistent-numbered": op.persistent(state(_modules=b"(K\x01Nd")),
        "persistent-weights": op.persistent(state(_parameters=state(w=op.text("x")))),
        "network-state": old + op.LIST + op.BUILD,
        "network-variables": old + state(build_func_name=op.text("G"), variables=b"(Nl") + b"b",
        "network-names": old + state(build_func_name=op.DICT, variables=op.LIST) + b"b",
        "network-components": old + state(components=op.plain([1])) + b"b",
        "network-source": old + state(build_module_src=op.integer(7)) + b"b",
        "build-of-number": op.integer(1) + op.DICT + op.BUILD,
        "call-of-number": op.integer(1) + op.EMPTY + op.REDUCE,
        "call-without": op.named("collections", "OrderedDict") + op.NONE + op.REDUCE,
        "keywords": op.named("builtins", "set") + op.EMPTY + op.pairs(x=op.NONE) + op.NEWOBJ_EX,
    }  # fmt: skip
    for name, pickle in asked.items():
        yield f"gadget-{name}.pkl", op.PROTO + pickle + op.STOP, MALFORMED
    tensors = {
        "negative-stride": op.tensor((4,), (-1,), 3), "terabyte": op.tensor((2**38,), (1,)),
        "expanded": op.tensor((2**38, 4), (0, 1)), "beyond": op.tensor((4,), (1,), 1),
        "negative-offset": op.tensor((4,), (1,), -1), "strides-short": op.tensor((2, 2), (1,)),
        "overflow": op.tensor((2**62, 4, 4), (0, 0, 0)), "sides": op.tensor((1,) * 99, (1,) * 99),
        "negative-side": op.tensor((-4,), (1,)),
        "empty-overflow": op.tensor((0, 2**62, 2**62), (1,) * 3),
        "huge-side": op.tensor((2**400,), (1,)), "of-array": op.tensor(of=op.numpy_array(
            op.plain((4,)), op.numpy_type(), op.raw(bytes(16)))),
        "of-kind": op.tensor(of=op.named("torch", "FloatStorage")),
        "unknown-kind": op.tensor(of=op.storage("ComplexFloatStorage")),
        "huge-storage": op.tensor(of=op.storage(size=2**62)),
        "negative-storage": op.tensor(of=op.storage(size=-1)),
        "missing-storage": op.tensor(of=op.storage(key="1")),
        "path-storage": op.tensor(of=op.storage(key="../data.pkl")),
        "two-faced": op.many(op.tensor(), op.tensor(of=op.storage("DoubleStorage", size=2))),
    }  # fmt: skip
    for name, pickle in tensors.items():
        yield f"tensor-{name}.pt", zipped(op.pairs(w=pickle), {"0": bytes(16)}), EITHER


def numbers() -> Files:
    """Sizes that lie, and instructions that are none."""
    huge = b"\xff" * 8
    lies = {
        "long4": b"\x8b\xff\xff\xff\x7f.", "long4-negative": b"\x8b\xff\xff\xff\xff.",
        "long1": b"\x8a\xff" + b"\x01" * 255 + b".", "bytes8": b"\x8e" + huge,
        "frame": b"\x95" + huge,
        "bytes8-signed": b"\x8e" + struct.pack("<Q", 2**63), "bytes4": b"B\xff\xff\xff\xff",
        "bytearray8": b"\x96" + huge, "text8": b"\x8d" + huge, "text4": b"X\xff\xff\xff\xff",
        "text-negative": b"T\xff\xff\xff\xff", "frame-short": b"\x95\x01" + bytes(7) + b"N.",
        "put": b"Nr\xff\xff\xff\xff.", "get": b"j\xff\xff\xff\xff.", "put-negative": b"Np-1\n.",
        "put-huge": b"Np" + b"9" * 60 + b"\n.", "get-huge": b"g" + b"9" * 10**6 + b"\n.",
        "proto": b"\x80\xff}.", "digits": b"I" + b"9" * 10**6 + b"\n.", "long": b"L" + b"9" * 10**6,
        "float": b"F" + b"9" * 10**6 + b"\n.", "no-number": b"Iabc\n.", "no-float": b"Fabc\n.",
        "no-quotes": b"Sabc\n.", "quote": b"S'\n.", "no-escape": b"S'\\x'\n.", "no-end": b"S'abc",
        "no-utf8": b"X\x02\x00\x00\x00\xff\xff.", "no-unicode": b"V\\u12\n.", "no-stop": b"}",
        "buffer": b"\x80\x05\x97.", "read-only": b"\x80\x05N\x98.", "no-code": b"\x80\x04\xff.",
        "no-value": b"\x80\x04.", "no-mark": b"\x80\x04Nt.", "mark-alone": b"(.",
        "mark-value": b"(a.",
        "mark-kept": b"(q\x00.", "mark-twice": b"(2.", "no-key": b"}(Nu.", "tuple": b"(\x87.",
        "no-list": b"}Na.", "no-dict": b"]NNs.", "no-set": b"](N\x90.", "get-none": b"h\x00.",
        "obj": b"(o.", "list-key": b"}]Ns.", "text-file": b"hello\n", "zeros": bytes(64),
        "pk": b"PK",
        "html": b"<!DOCTYPE html><title>Sign in</title>", "gzip": b"\x1f\x8b" + bytes(64),
        "empty": b"",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }  # fmt: skip
    for name, pickle in lies.items():
        yield f"lie-{name}.pkl", pickle, MALFORMED


def floods() -> Files:
    """As many instructions as fit, of every kind that makes something."""
    each = {
        "set": b"\x8f", "dict": b"}", "list": b"]", "dict-filled": b"}NNs", "list-filled": b"]Na",
        "float": b"G" + bytes(8), "memo": b"\x8f\x94", "long": b"\x8a\x40" + b"\x11" * 64,
        "line": b"S''\n", "escaped": b"V\\u20ac\n", "frozenset": b"(\x91", "mark": b"(",
        "dup": b"2",
        "bytes": b"C\x01a", "text": b"\x8c\x02ab", "deep-list": b"]\x94",
        "frame": b"\x95" + bytes(8),
    }  # fmt: skip
    for name, piece in each.items():
        yield f"flood-{name}.pkl", b"\x80\x04N" + piece * (_LOT // len(piece) + 1), MALFORMED
    deep = _LOT // 4
    yield "deep-list.pkl", b"\x80\x04" + b"]" * deep + b"a" * (deep - 1) + b".", MALFORMED
    yield "deep-tuple.pkl", b"\x80\x04N" + b"\x85" * deep + b".", MALFORMED
    yield "deep-dict.pkl", b"\x80\x04" + b"}N" * deep + b"}" + b"s" * deep + b".", MALFORMED
    yield "deep-key.pkl", b"\x80\x04}N" + b"\x85" * deep + b"Ns.", MALFORMED
    yield "self-list.pkl", b"\x80\x04]\x94h\x00a.", MALFORMED
    yield "self-dict.pkl", b"\x80\x04}\x94X\x01\x00\x00\x00ah\x00s.", MALFORMED
    yield "self-tuple.pkl", b"\x80\x04]\x94h\x00\x85\x94a.", MALFORMED
    for name, form in (("list", b"(%sl"), ("tuple", b"(%st"), ("dict", b"(%sd")):
        pickle = b"\x80\x04N\x94"
        for i in range(200):  # 10 ** 200 values
            inner = op.kept(i)
            items = (
                [op.text(f"k{j}") + inner for j in range(10)] if name == "dict" else [inner] * 10
            )
            pickle += form % b"".join(items) + b"\x94"
        yield f"laughs-{name}.pkl", pickle + op.STOP, MALFORMED
        made = op.persistent(op.pairs(_init_kwargs=op.pairs(x=op.kept(200))))
        yield f"laughs-{name}-arguments.pkl", pickle + made + op.STOP, MALFORMED
    puts = b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(1, _BIG))
    yield "collide-put.pkl", b"\x80\x04N" + puts + op.STOP, MALFORMED
    numbers = [op.integer(i * (2**61 - 1)) for i in range(1, 60_000)]
    items = b"".join(op.many(number, op.NONE) for number in numbers)
    yield "collide-dict.pkl", op.call("builtins", "dict", b"(" + items + b"l") + b".", MALFORMED
    listed = b"(" + b"".join(numbers) + b"l"
    yield "collide-set.pkl", op.call("builtins", "set", listed) + op.STOP, MALFORMED
    yield "collide-items.pkl", b"\x8f(" + b"".join(numbers) + b"\x90.", MALFORMED


def copies() -> Files:
    """A large value, kept once and given again and again to what would copy or read it."""
    numbers = b"(" + b"K\x00" * _BIG
    pairs = (
        b"(" + b"".join(b"M" + struct.pack("<H", i % 2**16) + b"N" for i in range(_BIG // 2)) + b"d"
    )
    long_text = op.text("a" * 2**22)
    float_type = op.numpy_type() + op.keep(9)
    meta = op.pairs(
        type=op.text("class"), module_src=long_text, class_name=op.text("G"), state=op.DICT
    )
    persistent = op.named("torch_utils.persistence", "_reconstruct_persistent_obj")
    array = op.call("numpy.core.multiarray", "_reconstruct", *[op.NONE] * 3)
    state = op.many(op.NONE, op.plain((2**20,)), float_type, b"\x89", long_text)
    cases = {
        "list": (numbers + b"l", op.named("builtins", "list"), b"R"),
        "tuple": (numbers + b"t", op.named("builtins", "list"), b"R"),
        "dict": (pairs, op.named("builtins", "dict"), b"R"),
        "set": (numbers + b"l", op.named("builtins", "set"), b"R"),
        "text": (long_text, op.named("_codecs", "encode"), b"R"),
        "source": (meta, persistent, b"R"),
    }
    for name, (value, made, end) in cases.items():
        start = value + op.keep(0) + b"\x85" + b"q\x01" + made + b"q\x020"
        yield f"copy-{name}.pkl", b"\x80\x04" + start + (b"h\x02h\x01" + end) * _BIG, MALFORMED
    many = b"\x80\x04" + array + b"q\x02" + state + b"q\x010"
    yield "copy-array.pkl", many + b"h\x01b" * _BIG + op.STOP, MALFORMED
    rest = b"(" + op.call("collections", "OrderedDict") + b"N" * _BIG + b"tq\x01"
    made = op.named("torch.nn.parameter", "Parameter") + b"q\x02"
    yield "copy-arguments.pkl", rest + made + b"h\x02h\x01R" * 9, MALFORMED
    sizes = b"(" + op.integer(2**500) * 100_000 + b"t"
    shape = op.numpy_array(sizes, op.numpy_type(), op.raw(b""))
    yield "copy-sizes.pkl", shape + op.STOP, MALFORMED


def trees() -> Files:
    """Networks that hold themselves, or the same part in a million places."""
    meta = op.pairs(
        type=op.text("class"), module_src=op.text("x"), class_name=op.text("G"),
        state=op.DICT + op.keep(1),
    )  # fmt: skip
    made = op.call("torch_utils.persistence", "_reconstruct_persistent_obj", meta) + op.keep(2)
    names = [op.text(f"{i:x}") for i in range(_BIG // 4)]

    def tree(children: bytes, *, last: bytes = op.kept(2)) -> bytes:
        modules = op.text("_modules") + op.MARK + children + b"d"
        return b"\x80\x04" + made + op.POP + op.kept(1) + modules + b"s" + op.POP + last + op.STOP

    itself = op.kept(2)
    yield "tree-self.pkl", tree(op.text("a") + itself), MALFORMED
    yield "tree-self-twice.pkl", tree(op.text("a") + itself + op.text("b") + itself), MALFORMED
    yield "tree-wide.pkl", tree(b"".join(name + itself for name in names)), MALFORMED
    leaf = op.persistent(op.DICT) + op.keep(3)
    first = op.text("0") + leaf
    wide = first + b"".join(name + op.kept(3) for name in names[1:16_000])
    roles = b"(" + b"".join(name + itself for name in names[:1000]) + b"d"
    yield "tree-roles.pkl", tree(wide, last=roles), MALFORMED
    few = b"(" + b"".join(name + itself for name in names[:60]) + b"d"
    yield "tree-few-roles.pkl", tree(wide, last=few), MALFORMED
    long_name = op.text("a" * 2**22)
    yield "tree-long-name.pkl", tree(long_name + itself), MALFORMED
    weights = op.old_tensor() + op.keep(4) + op.POP
    state = b"(" + b"".join(name + op.kept(4) for name in names) + b"d" + op.keep(5) + op.POP
    many = b"(" + b"".join(name + op.kept(5) for name in names[:1000]) + b"d"
    yield "tree-weights.pkl", b"\x80\x04" + weights + state + many + op.STOP, MALFORMED
    mixed = b"(" + b"".join(name + op.kept(4) for name in names) + op.text("z") + b"Nd" + op.keep(5)
    inner = b"(" + b"".join(name + op.kept(5) for name in names[:1000]) + b"d" + op.keep(6)
    outer = b"(" + b"".join(name + op.kept(6) for name in names[:1000]) + b"d"
    pickle = weights + mixed + op.POP + inner + op.POP + outer
    yield "tree-dicts.pkl", b"\x80\x04" + pickle + op.STOP, MALFORMED
    values = (
        b"(" + b"".join(op.many(name, op.kept(4)) for name in names[:16_000]) + b"l" + op.keep(7)
    )
    part = weights + values + op.POP
    for depth in range(5):
        inside = b"".join(op.text(f"{i}") + op.kept(99 + depth) for i in range(8 if depth else 0))
        state = op.pairs(build_func_name=op.text("G"), variables=op.kept(7))
        state += op.text("components") + b"(" + inside + b"ds"
        old = op.named("tfutil", "Network") + op.EMPTY + op.NEWOBJ + state + op.BUILD
        part += old + op.keep(100 + depth) + op.POP
    yield "tree-components.pkl", b"\x80\x04" + part + op.kept(104) + op.STOP, MALFORMED
    chain = op.persistent(op.DICT) + b"0" + op.NONE
    step = op.named("torch_utils.persistence", "_reconstruct_persistent_obj") + op.keep(8) + b"0"
    link = op.pairs(type=op.kept(9), class_name=op.kept(9), module_src=op.kept(9), state=op.NONE)
    yield "tree-chain.pkl", step + chain + link * 9, MALFORMED
