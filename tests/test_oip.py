"""Messages of the Open Inference Protocol: both forms, against the documents and a slow twin."""

import base64
import json
import math
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.oip import DTYPES, HEADER, OipError, Tensor, decode, encode

CODES = {  # of `struct`, each little-endian
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b",
    "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
INTEGERS = [name for name in CODES if "INT" in name]
FLOATS = ["FP16", "FP32", "FP64"]
SHAPES = [(3, 2), (1, 5, 2), (4,), (2, 1, 1), (0, 3), (1,), ()]


# -- what the documents say ------------------------------------------------------------------

# "Inference Protocol: REST", the example of an inference; its second input has the shape [3] and
# one value there, which contradict each other: here it has three.
REQUEST = b"""
{
  "id" : "42",
  "inputs" : [
    { "name" : "input0", "shape" : [ 2, 2 ], "datatype" : "UINT32", "data" : [ 1, 2, 3, 4 ] },
    { "name" : "input1", "shape" : [ 3 ], "datatype" : "BOOL", "data" : [ true, false, true ] }
  ],
  "outputs" : [ { "name" : "output0" } ]
}"""
ANSWER = b"""
{
  "id" : "42",
  "outputs" : [ {
    "name" : "output0", "shape" : [ 3, 2 ], "datatype" : "FP32",
    "data" : [ 1.0, 1.1, 2.0, 2.1, 3.0, 3.1 ]
  } ]
}"""
# "Binary Tensor Data Extension", the same messages with their values behind the JSON part.
BINARY_REQUEST_HEAD = b"""
{
  "model_name" : "mymodel",
  "inputs" : [
    { "name" : "input0", "shape" : [ 2, 2 ], "datatype" : "UINT32",
      "parameters" : { "binary_data_size" : 16 } },
    { "name" : "input1", "shape" : [ 3 ], "datatype" : "BOOL",
      "parameters" : { "binary_data_size" : 3 } }
  ],
  "outputs" : [ { "name" : "output0", "parameters" : { "binary_data" : true } } ]
}"""
BINARY_REQUEST_BYTES = bytes.fromhex("01000000 02000000 03000000 04000000 01 00 01")
BINARY_ANSWER_HEAD = b"""
{
  "outputs" : [ { "name" : "output0", "shape" : [ 3, 2 ], "datatype" : "FP32",
      "parameters" : { "binary_data_size" : 24 } } ]
}"""
# 1 = 2^0 * 1, 1.1 ~ 0x3f8ccccd, 2 = 2^1 * 1, 2.1 ~ 0x40066666, 3 = 2^1 * 1.5, 3.1 ~ 0x40466666
BINARY_ANSWER_BYTES = bytes.fromhex("0000803f cdcc8c3f 00000040 66660640 00004040 66664640")
OUTPUT = np.array([[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]], dtype=np.float32)


@pytest.mark.parametrize("binary", [False, True])
def test_the_request_of_the_documents_is_read(binary: bool) -> None:
    body, length = REQUEST, None
    if binary:
        body, length = BINARY_REQUEST_HEAD + BINARY_REQUEST_BYTES, len(BINARY_REQUEST_HEAD)
    fields, (first, second) = decode(body, length, key="inputs", most_values=7)
    assert (first.name, first.datatype, first.shape) == ("input0", "UINT32", (2, 2))
    assert (second.name, second.datatype, second.shape) == ("input1", "BOOL", (3,))
    assert np.array_equal(first.values, [[1, 2], [3, 4]])
    assert np.array_equal(second.values, [True, False, True])
    assert fields["outputs"][0]["name"] == "output0"
    assert fields.get("model_name" if binary else "id") == ("mymodel" if binary else "42")


@pytest.mark.parametrize("binary", [False, True])
def test_the_answer_of_the_documents_is_read(binary: bool) -> None:
    body, length = ANSWER, None
    if binary:
        body, length = BINARY_ANSWER_HEAD + BINARY_ANSWER_BYTES, len(BINARY_ANSWER_HEAD)
    _, (only,) = decode(body, length, key="outputs", most_values=6)
    assert isinstance(only.values, np.ndarray) and only.values.dtype == np.float32
    assert np.array_equal(only.values, OUTPUT)


@pytest.mark.parametrize("binary", [False, True])
def test_the_request_of_the_documents_is_written(binary: bool) -> None:
    head = json.loads(BINARY_REQUEST_HEAD if binary else REQUEST)
    tensors = [
        Tensor("input0", "UINT32", (2, 2), np.array([[1, 2], [3, 4]], dtype=np.uint32)),
        Tensor("input1", "BOOL", (3,), np.array([True, False, True])),
    ]
    fields = {key: value for key, value in head.items() if key != "inputs"}
    body, length = encode(fields, tensors, key="inputs", binary=binary)
    assert json.loads(body[:length]) == head
    assert (length is None) == (not binary)
    assert body[length:] == (BINARY_REQUEST_BYTES if binary else body)


def test_values_in_json_may_be_nested() -> None:
    nested = b'{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT8", "data": %s}]}'
    for data in (b"[[1, 2], [4, 5]]", b"[1, 2, 4, 5]"):
        _, (tensor,) = decode(nested % data, None, key="inputs", most_values=4)
        assert np.array_equal(tensor.values, [[1, 2], [4, 5]])


def test_bytes_stand_behind_their_length() -> None:
    tensor = Tensor("png", "BYTES", (3,), [b"one", b"", b"\x89PNG"])
    body, length = encode({}, [tensor], key="outputs", binary=True)
    assert body[length:] == b"\3\0\0\0one" + b"\0\0\0\0" + b"\4\0\0\0\x89PNG"
    assert decode(body, length, key="outputs", most_values=3) == ({}, [tensor])


def test_bytes_in_json_are_text_where_they_can_be_and_else_base64() -> None:
    for values, data, parameters in (
        ([b"a", "é".encode()], ["a", "é"], None),
        ([b"a", b"\xff"], ["YQ==", "/w=="], {"content_type": "base64"}),
    ):
        tensor = Tensor("x", "BYTES", (2, 1), values)
        body, length = encode({}, [tensor], key="inputs", binary=False)
        (entry,) = json.loads(body)["inputs"]
        assert (entry["data"], entry.get("parameters"), length) == (data, parameters, None)
        assert decode(body, None, key="inputs", most_values=2) == ({}, [tensor])


def test_one_message_may_mix_both_forms() -> None:
    head = json.dumps(
        {
            "outputs": [
                {"name": "a", "shape": [1], "datatype": "INT32", "data": [7]},
                entry("b", "UINT8", [2], parameters={"binary_data_size": 2}),
                {"name": "c", "shape": [1], "datatype": "FP64", "data": [0.5]},
                entry("d", "BYTES", [1], parameters={"binary_data_size": 5}),
            ]
        }
    ).encode()
    _, found = decode(head + b"\x08\x09\1\0\0\0!", len(head), key="outputs", most_values=5)
    assert [list(tensor.values) for tensor in found] == [[7], [8, 9], [0.5], [b"!"]]


def test_the_header_is_that_of_the_extension() -> None:
    assert HEADER == "Inference-Header-Content-Length"


# -- a slow twin -----------------------------------------------------------------------------


def leaves(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Positions in row-major order."""
    if not shape:
        yield ()
        return
    for i in range(shape[0]):
        yield from ((i, *rest) for rest in leaves(shape[1:]))


def nested(values: NDArray[Any]) -> Any:
    return [nested(row) for row in values] if values.ndim else values.item()


def values_of(datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Random, and the ends of what the datatype holds."""
    dtype = DTYPES[datatype]
    rng = np.random.default_rng([ord(c) for c in datatype])
    flat = np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), np.uint8)
    if datatype == "BOOL":
        return (flat % 2).astype(bool).reshape(shape)
    values = flat.view(dtype).copy()
    if datatype in FLOATS:  # any bits but those of NaN and infinity
        values[~np.isfinite(values)] = 0.1
        ends = [np.finfo(dtype).max, -np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal]
    else:
        ends = [np.iinfo(dtype).max, np.iinfo(dtype).min]
    values[: len(ends)] = ends[: len(values)]
    return values.reshape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", CODES)
def test_both_forms_are_what_a_slow_twin_writes(datatype: str, shape: tuple[int, ...]) -> None:
    values = values_of(datatype, shape)
    tensor = Tensor("x", datatype, shape, values)
    packed = b"".join(struct.pack(f"<{CODES[datatype]}", values[at]) for at in leaves(shape))
    body, length = encode({}, [tensor], key="inputs", binary=True)
    assert body[length:] == packed
    body, _ = encode({}, [tensor], key="inputs", binary=False)
    assert json.loads(body)["inputs"][0]["data"] == [values[at].item() for at in leaves(shape)]


@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", CODES)
def test_what_was_written_is_read_bit_by_bit(
    datatype: str, shape: tuple[int, ...], form: str
) -> None:
    values = values_of(datatype, shape)
    sent = Tensor("é\n", datatype, shape, values)
    body, length = encode({"id": "9"}, [sent], key="outputs", binary=form == "binary")
    if form == "nested":
        message = json.loads(body)
        message["outputs"][0]["data"] = nested(values) if shape else [values.item()]
        body = json.dumps(message).encode()
    fields, (got,) = decode(body, length, key="outputs", most_values=values.size or 3)
    assert isinstance(got.values, np.ndarray)
    assert (got.name, got.datatype, got.shape, fields) == ("é\n", datatype, shape, {"id": "9"})
    assert (got.values.dtype, got.values.shape) == (DTYPES[datatype], shape)
    assert got.values.tobytes() == values.tobytes()
    assert got.values.flags.writeable and got.values.flags.aligned


@pytest.mark.parametrize("datatype", FLOATS)
def test_values_that_are_no_numbers_are_read_and_only_written_as_bytes(datatype: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf], dtype=DTYPES[datatype])
    tensor = Tensor("x", datatype, (3,), values)
    body, length = encode({}, [tensor], key="inputs", binary=True)
    _, (got,) = decode(body, length, key="inputs", most_values=3)
    assert np.array_equal(got.values, values, equal_nan=True)
    with pytest.raises(OipError, match="NaN and infinite values have no form in JSON"):
        encode({}, [tensor], key="inputs", binary=False)
    body = message(
        {"name": "x", "datatype": datatype, "shape": [3], "data": list(map(float, values))}
    )
    _, (got,) = decode(body, None, key="inputs", most_values=3)
    assert np.array_equal(got.values, values, equal_nan=True)


@pytest.mark.parametrize(
    ("datatype", "shape", "values"),
    [
        ("FP32", (2,), np.zeros(2)),
        ("FP32", (2,), np.zeros(3, dtype=np.float32)),
        ("FP32", (1,), [b"x"]),
        ("BYTES", (2,), [b"x"]),
        ("BYTES", (1,), np.zeros(1)),
        ("BF16", (1,), np.zeros(1)),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_not_written(
    datatype: str, shape: tuple[int, ...], values: Any
) -> None:
    for binary in (False, True):
        with pytest.raises(ValueError, match="x: the values are no"):
            encode({}, [Tensor("x", datatype, shape, values)], key="inputs", binary=binary)


# -- refusals --------------------------------------------------------------------------------


def entry(
    name: object = "x", datatype: object = "FP32", shape: object = None, **more: object
) -> Any:
    return {"name": name, "datatype": datatype, "shape": [2] if shape is None else shape, **more}


def message(*entries: object) -> bytes:
    return json.dumps({"inputs": entries}).encode()


def given(data: object, datatype: str = "FP32", shape: object = None, **more: object) -> bytes:
    return message(entry(datatype=datatype, shape=shape, data=data, **more))


REFUSED = {
    "no json": (b"{", "the message is not JSON"),
    "no utf-8": (b'{"inputs": "\xff"}', "the message is not JSON"),
    "utf-16": ('{"inputs": []}'.encode("utf-16"), "the message is not JSON"),
    "a number of too many digits": (b'{"inputs": %s}' % (b"9" * 5000), "the message is not JSON"),
    "nothing": (b"", "the message is not JSON"),
    "a list": (b"[]", r"the message must be a JSON object, got \[\]"),
    "no inputs": (b"{}", "the message has no list of inputs"),
    "inputs that are no list": (b'{"inputs": {}}', "the message has no list of inputs"),
    "an input that is no object": (message(3), "a tensor must be an object with a name, got 3"),
    "no name": (message({"shape": [1]}), "a tensor must be an object with a name, got {'shape'"),
    "a name that is no text": (message(entry(3)), "a tensor must be an object with a name"),
    "no datatype": (message({"name": "x"}), "'x' must have a datatype out of BOOL, .*, got None"),
    "an unknown datatype": (message(entry("x", "BF16")), "must have a datatype .*, got 'BF16'"),
    "a datatype that is no text": (message(entry("x", [])), r"must have a datatype .*, got \[\]"),
    "no shape": (message({"name": "x", "datatype": "FP32"}), "must have a shape .*, got None"),
    "a shape that is no list": (given([1], shape=1), "must have a shape of .*, got 1"),
    "a negative side": (given([1], shape=[-1]), r"must have a shape of .*, got \[-1\]"),
    "a side that is a fraction": (given([1], shape=[1.0]), r"must have a shape .*, got \[1.0\]"),
    "a side that is a truth": (given([1], shape=[True]), r"must have a shape .*, got \[True\]"),
    "many sides": (given([1], shape=[1] * 17), "must have a shape of at most 16 whole numbers"),
    "a huge shape": (given([1], shape=[2**62, 2**62]), "more than 20 values, which is the most"),
    "a huge shape of nothing": (given([], shape=[0, 2**62]), "more than 20 values"),
    "many together": (
        message(entry("a", shape=[11], data=[0] * 11), entry("b", shape=[10], data=[0] * 10)),
        "'b' has shape .*: more than 9 values",
    ),
    "the same name": (message(entry(data=[1, 2]), entry(data=[1, 2])), "'x' comes twice in inputs"),
    "no values": (message(entry()), r"'x' of FP32 \[2\] has no list of values"),
    "values that are no list": (given(1), "has no list of values"),
    "few values": (given([1]), r"'x' of FP32 \[2\] wants 2 values, got 1"),
    "many values": (given([1, 2, 3]), r"'x' of FP32 \[2\] wants 2 values, got 3"),
    "another nesting": (given([[1, 2, 3], [4, 5, 6]], shape=[3, 2]), "not nested as its shape"),
    "rows of two lengths": (given([[1, 2, 3], [4]], shape=[2, 2]), "not nested as its shape"),
    "a row and a value": (given([[1, 2], 3], shape=[2, 2]), "not nested as its shape"),
    "a value and a row": (given([1, [2], 3, 4], shape=[2, 2]), "its datatype, but int, list"),
    "few rows": (given([[1, 2]], shape=[2, 2]), "not nested as its shape"),
    "nested too far": (given([[[1], [2]]], shape=[1, 2]), "none of its datatype, but list"),
    "nested in one dimension": (given([[1], [2]]), "none of its datatype, but list"),
    "text as numbers": (given(["1", "2"]), "values that are none of its datatype, but str"),
    "nothing as a number": (given([1, None]), "none of its datatype, but NoneType, int"),
    "truth as a number": (given([True, False]), "none of its datatype, but bool"),
    "an object": (given([{}, {}]), "none of its datatype, but dict"),
    "too large for FP32": (given([1e39, 0]), "'x' of FP32 .* has values that do not fit"),
    "too large for FP16": (given([65520, 0], "FP16"), "'x' of FP16 .* has values that do not fit"),
    "too large for FP64": (given([10**400, 0], "FP64"), "has values that do not fit its datatype"),
    "fractions as INT8": (given([0.5, 0], "INT8"), "none of its datatype, but float, int"),
    "infinity as INT64": (given([1, float("inf")], "INT64"), "datatype, but float, int"),
    "a whole float too large": (given([1, 2.0**63], "INT64"), "has values that do not fit"),
    "a huge number beside a float": (given([10**400, 0.0], "INT64"), "values that do not fit"),
    "truth as INT8": (given([True, 0], "INT8"), "none of its datatype, but bool, int"),
    "numbers as BOOL": (given([0, 2], "BOOL"), "none of its datatype, but int"),
    "a fraction as BOOL": (given([0.0, 1], "BOOL"), "none of its datatype, but float, int"),
    "numbers as BYTES": (given([1, 2], "BYTES"), "none of its datatype, but int"),
    "no Unicode": (given(["\ud800", ""], "BYTES"), "'x' has a value that is no Unicode"),
    "no base64": (
        given(["é", "=A"], "BYTES", parameters={"content_type": "base64"}),
        "'x' has a value that is no base64",
    ),
    "base64 with something in it": (
        given(["YWJj", "YW!Jj"], "BYTES", parameters={"content_type": "base64"}),
        "'x' has a value that is no base64",
    ),
    "bytes that are not there": (
        message(entry(parameters={"binary_data_size": 8})),
        "'x' has 8 bytes of values, and 0 are left",
    ),
    "both forms": (
        message(entry(data=[1, 2], parameters={"binary_data_size": 8})),
        "'x' has values both in JSON and as bytes",
    ),
    "a negative size": (message(entry(parameters={"binary_data_size": -8})), "got -8"),
    "a size that is text": (message(entry(parameters={"binary_data_size": "8"})), "got '8'"),
    "a size that is a truth": (message(entry(parameters={"binary_data_size": True})), "got True"),
    "a terminal's commands": (message(entry("\x1b[2J\u202e", 3)), r"^'\\x1b\[2J\\u202e' must have"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_message_is_refused_in_one_sentence(what: str) -> None:
    body, sentence = REFUSED[what]
    with pytest.raises(OipError, match=sentence) as refused:
        decode(body, None, key="inputs", most_values=20)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 300


@pytest.mark.parametrize("datatype", INTEGERS)
def test_a_whole_number_must_fit(datatype: str) -> None:
    limits = np.iinfo(DTYPES[datatype])
    for value in (limits.min - 1, limits.max + 1, -(10**30)):
        with pytest.raises(OipError, match=f"'x' of {datatype} .* do not fit its datatype"):
            decode(given([0, int(value)], datatype), None, key="inputs", most_values=2)


def binary(blocks: bytes, *entries: tuple[str, list[int], int]) -> tuple[bytes, int]:
    head = message(
        *(
            entry(f"x{i}", datatype, shape, parameters={"binary_data_size": size})
            for i, (datatype, shape, size) in enumerate(entries)
        )
    )
    return head + blocks, len(head)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (binary(b"1234567", ("FP32", [2], 7)), r"'x0' of FP32 \[2\] wants 8 bytes, got 7"),
        (binary(b"123456789", ("FP32", [2], 9)), r"'x0' of FP32 \[2\] wants 8 bytes, got 9"),
        (binary(b"1234567", ("FP32", [2], 8)), "'x0' has 8 bytes of values, and 7 are left"),
        (binary(b"123456789", ("FP32", [2], 8)), "1 bytes follow that belong to none of the input"),
        (binary(b"12", ("INT8", [2], 2), ("INT8", [2], 2)), "'x1' has 2 bytes .* and 0 are left"),
        (binary(b"1" * 8, ("FP32", [2], 2**70)), "'x0' has 1180591620717411303424 bytes"),
        (binary(b"\0\1\2", ("BOOL", [3], 3)), "has bytes that are neither 0 nor 1"),
        (binary(b"\2\0\0\0ab", ("BYTES", [2], 6)), "6 bytes of 'x0' are not 2 values"),
        (binary(b"\2\0\0\0ab\0", ("BYTES", [1], 7)), "7 bytes of 'x0' are not 1 values"),
        (binary(b"\3\0\0\0ab", ("BYTES", [1], 6)), "6 bytes of 'x0' are not 1 values"),
        (binary(b"\xff\xff\xff\xffab", ("BYTES", [1], 6)), "6 bytes of 'x0' are not 1 values"),
        (binary(b"\2\0\0", ("BYTES", [1], 3)), "3 bytes of 'x0' are not 1 values"),
        (binary(b"", ("BYTES", [1], 0)), "0 bytes of 'x0' are not 1 values"),
        (binary(b"!", ("BYTES", [0], 1)), "1 bytes of 'x0' are not 0 values"),
        ((b'{"inputs": []}', 15), "the JSON part is said to have 15 bytes of 14"),
        ((b'{"inputs": []}', -1), "the JSON part is said to have -1 bytes of 14"),
        ((b'{"inputs": []}', 13), "the message is not JSON"),
        ((b'{"inputs": []}', 0), "the message is not JSON"),
        ((b'{"inputs": []}!', 14), "1 bytes follow that belong to none of the inputs"),
    ],
)
def test_bytes_that_do_not_add_up_are_refused(made: tuple[bytes, int], sentence: str) -> None:
    with pytest.raises(OipError, match=sentence):
        decode(*made, key="inputs", most_values=10)


@pytest.mark.parametrize("depth", [900, 100_000])
@pytest.mark.parametrize(
    "around", [b'{"inputs": %s}', b'{"id": %s, "inputs": []}', b'{"inputs": [{"name": %s}]}', b"%s"]
)
def test_deep_nesting_is_an_error_of_the_message(depth: int, around: bytes) -> None:
    try:
        decode(around % (b"[" * depth + b"]" * depth), None, key="inputs", most_values=10**6)
    except OipError as error:
        assert len(str(error)) < 300
    else:  # shallow enough, and in a field that nobody looks at
        assert depth == 900 and b"id" in around


@pytest.mark.parametrize("filling", [b"[],", b"{},", b'"",', b"1.5,", b'{"a":{}},', b"[[],[]],"])
def test_memory_is_bounded_by_the_values_that_may_come(filling: bytes) -> None:
    """8 MiB of small values would be up to 200 MiB of objects."""
    body = b'{"inputs": [%s0]}' % (filling * (2**23 // len(filling)))
    tracemalloc.start()
    try:
        with pytest.raises(OipError, match="the message has more than 1000 values"):
            decode(body, None, key="inputs", most_values=1000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_small_message_that_claims_much_takes_little_memory() -> None:
    made = binary(b"\1\0\0\0!" * 100, ("BYTES", [2**30], 500), ("FP64", [2**30], 2**33))
    tracemalloc.start()
    try:
        with pytest.raises(OipError, match="500 bytes of 'x0' are not 1073741824 values"):
            decode(*made, key="inputs", most_values=2**40)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_deepest_nesting_of_as_many_values_as_may_come_is_read() -> None:
    count = 50_000
    _, (tensor,) = decode(
        given([[[0]]] * count, "UINT8", [count, 1, 1]), None, key="inputs", most_values=count
    )
    assert tensor.shape == (count, 1, 1)


def test_random_spoilage_is_refused_or_read_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3)).astype(np.float32)
    tensors = [Tensor("z", "FP32", (2, 3), values), Tensor("t", "BYTES", (2,), [b"ab", b"\xff"])]
    for as_bytes in (False, True):
        body, length = encode({"id": "1"}, tensors, key="inputs", binary=as_bytes)
        refused = 0
        for _ in range(2000):
            spoilt = bytearray(body)
            for at in rng.integers(len(body), size=rng.integers(1, 4)):
                spoilt[at] = rng.integers(256)
            cut = rng.integers(len(body) // 2, len(body) + 1)
            try:
                decode(bytes(spoilt[:cut]), length, key="inputs", most_values=8)
            except OipError:
                refused += 1
        assert refused > 1000


def test_text_that_says_base64_is_read_as_such_only_when_it_says_so() -> None:
    text = base64.b64encode(b"pixels").decode()
    for parameters, wanted in (
        ({"content_type": "base64"}, b"pixels"),
        ({"content_type": "str"}, text.encode()),
        ("nonsense", text.encode()),
    ):
        body = given([text], "BYTES", [1], parameters=parameters)
        _, (tensor,) = decode(body, None, key="inputs", most_values=1)
        assert tensor.values == [wanted]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """In JSON 7.0 and 7 are one number, and some languages know no other kind."""
    body = message(entry(datatype="INT64", data=[7.0, -(2**40)]))
    _, (tensor,) = decode(body, None, key="inputs", most_values=9)
    assert tensor.values.tolist() == [7, -(2**40)]
    assert tensor.values.dtype == np.int64
