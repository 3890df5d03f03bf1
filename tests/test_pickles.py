"""The machine that reads pickles, against Python's own on what Python may be trusted with."""

import math
import pickle
import pickletools
import random
import struct
import warnings
from collections import OrderedDict
from typing import Any

import opcodes as op
import pytest

from ganaudit.checkpoints import pickles
from ganaudit.checkpoints.allowed import ALLOWED
from ganaudit.checkpoints.pickles import (
    MOST_STEPS,
    MOST_UNKNOWN,
    Budget,
    Malformed,
    Unknown,
    read_pickle,
)

EVERY = [each.code.encode("latin-1")[0] for each in pickletools.opcodes]
ABSENT = {0x97, 0x98}  # buffers outside the file


def read(data: bytes, **how: Any) -> Any:
    how.setdefault("budget", Budget())
    value, end = read_pickle(memoryview(data), ALLOWED, **how)
    assert end == len(data)
    return value


def like_python(value: Any) -> Any:
    """What Python would have made of it: bytes are windows here, and sets have one kind."""
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return type(value)(map(like_python, value))
    if isinstance(value, dict):
        return {key: like_python(item) for key, item in value.items()}
    return value


# -- random values --------------------------------------------------------------------------------

_LETTERS = "abc \n'\"\\\x00\x7f\xe4\u20ac\U0001f600"


def any_text(rng: random.Random) -> str:
    return "".join(rng.choices(_LETTERS, k=rng.choice((0, 1, 5, 300))))


def any_integer(rng: random.Random) -> int:
    bits = rng.choice((1, 7, 8, 15, 16, 31, 32, 63, 64, 200, 500))
    return rng.getrandbits(bits) * rng.choice((1, -1))


def any_value(rng: random.Random, depth: int, made: list[Any]) -> Any:
    kinds = 13 if depth else 7
    match rng.randrange(kinds):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return any_integer(rng)
        case 2:
            return rng.choice((0.0, -0.0, 1e-320, float("inf"), rng.gauss(0, 1e9)))
        case 3 | 4:
            return any_text(rng)
        case 5:
            return any_text(rng).encode()
        case 6:
            return bytearray(any_text(rng).encode())
        case 7 if made:
            return rng.choice(made)  # again: the same object
        case 8 | 7:
            value: Any = [any_value(rng, depth - 1, made) for _ in range(rng.randrange(6))]
        case 9:
            value = tuple(any_value(rng, depth - 1, made) for _ in range(rng.randrange(6)))
        case 10:
            value = {any_text(rng)[:9]: any_value(rng, depth - 1, made) for _ in range(4)}
        case 11:
            pairs = [(rng.randrange(99), any_value(rng, depth - 1, made)) for _ in range(3)]
            value = OrderedDict(pairs)
        case _:
            kind = rng.choice((set, frozenset))
            value = kind(any_text(rng)[:5] for _ in range(rng.randrange(5)))
    made.append(value)
    return value


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_random_plain_values_are_what_python_makes_of_them(protocol: int, optimized: bool) -> None:
    rng = random.Random(protocol)
    for _ in range(150):
        value = any_value(rng, 4, [])
        data = pickle.dumps(value, protocol)
        if optimized:
            data = pickletools.optimize(data)
        assert like_python(read(data)) == like_python(value) == like_python(pickle.loads(data))


def test_what_is_shared_stays_shared_and_may_hold_itself() -> None:
    inner: list[Any] = [1]
    shared = [inner, inner, {"a": inner}]
    shared.append(shared)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made = read(pickle.dumps(shared, protocol))
        assert made[0] is made[1] is made[2]["a"]
        assert made[3] is made


# -- instruction by instruction --------------------------------------------------------------------

BYTE, SIZE4, SIZE8 = b"\x03", b"\x03\x00\x00\x00", b"\x03" + bytes(7)
ALIKE = {
    "I": [b"I-12\n.", b"I00\n.", b"I01\n.", b"I12345678901234567890\n."],
    "J": [b"J\xff\xff\xff\xff.", b"J\x00\x00\x00\x80."],
    "K": [b"K\xff."],
    "M": [b"M\xff\xff."],
    "L": [b"L12L\n.", b"L-12\n."],
    "LONG1": [b"\x8a\x00.", b"\x8a\x02\x00\x80.", b"\x8a\x01\xff."],
    "LONG4": [b"\x8b\x00\x00\x00\x00.", b"\x8b\x02\x00\x00\x00\xff\x7f."],
    "F": [b"F1.5\n.", b"Finf\n."],
    "G": [b"G" + struct.pack(">d", -1.5) + b"."],
    "S": [b"S'a\\n\\x41\\'\\u0041\\q\\\\'\n.", b'S"it\'s"\n.', b"S''\n."],
    "T": [b"T" + SIZE4 + b"a\xe4\x00."],
    "U": [b"U" + BYTE + b"a\xe4\x00."],
    "V": [b"Va\\u20ac\\n\xe4\\U0001f600\n."],
    "X": [b"X" + SIZE4 + b"\xe2\x82\xac."],
    "SHORT_BINUNICODE": [b"\x8c" + BYTE + b"\xe2\x82\xac."],
    "BINUNICODE8": [b"\x8d" + SIZE8 + b"\xe2\x82\xac."],
    "B": [b"B" + SIZE4 + b"\x00\xff1."],
    "C": [b"C" + BYTE + b"\x00\xff1."],
    "BINBYTES8": [b"\x8e" + SIZE8 + b"\x00\xff1."],
    "BYTEARRAY8": [b"\x96" + SIZE8 + b"\x00\xff1."],
    "constants": [b"N.", b"\x88.", b"\x89.", b"].", b"}.", b").", b"\x8f."],
    "containers": [
        b"(K\x01K\x02l.", b"(K\x01K\x02t.", b"(K\x01K\x02d.", b"(l.", b"(t.", b"(d.",
        b"K\x01\x85.", b"K\x01K\x02\x86.", b"K\x01K\x02K\x03\x87.", b"(K\x01K\x01\x91.",
    ],
    "filling": [
        b"]K\x01a.", b"](K\x01K\x02e.", b"](e.", b"}K\x01Ns.", b"}(K\x01NK\x02Nu.", b"}(u.",
        b"\x8f(K\x01K\x02\x90.",
    ],
    "stack": [b"K\x01K\x020.", b"K\x01(K\x02K\x031.", b"K\x012\x86.", b"K\x01(0."],
    "memo": [
        b"K\x01p7\n0g7\n.", b"K\x01q\x070h\x07.", b"K\x01r\x07\x00\x00\x000j\x07\x00\x00\x00.",
        b"K\x01\x94K\x02\x94h\x00h\x01\x87.", b"K\x05q\x01K\x06\x94h\x01\x86.",
    ],
    "frames": [b"\x80\x04\x95\x02" + bytes(7) + b"N.", b"\x80\x00N.", b"\x80\x05N."],
    "names": [
        b"ccollections\nOrderedDict\n)R.", b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.",
        b"ccollections\nOrderedDict\n)\x81.", b"ccollections\nOrderedDict\n)}\x92.",
        b"(ccollections\nOrderedDict\no.", b"(icollections\nOrderedDict\n.",
        b"(](K\x01K\x02\x86eicollections\nOrderedDict\n.", b"cbuiltins\nset\n](K\x01e\x85R.",
        b"ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aNsb.",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ALIKE)
def test_each_instruction_does_what_python_says(kind: str) -> None:
    for data in ALIKE[kind]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # unknown escapes
            wanted = pickle.loads(data, encoding="latin1")
        assert like_python(read(data)) == like_python(wanted), data
        assert type(like_python(read(data))) is type(like_python(like_bytes(wanted))), data


def test_a_number_of_the_memory_costs_nothing() -> None:
    assert read(b"Nr\xff\xff\xff\x7f.") is None  # Python asks for 16 GiB
    assert read(b"F-1e400\n.") == -math.inf  # Python refuses it


def like_bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray) else set_of(value)


def set_of(value: Any) -> Any:
    return dict(value) if isinstance(value, OrderedDict) else value


def test_every_instruction_is_known_but_those_that_need_another_file() -> None:
    assert set(pickles._STEPS) | {pickles._STOP} == set(EVERY) - ABSENT


@pytest.mark.parametrize("code", sorted(set(range(256)) - set(EVERY) | ABSENT))
def test_what_is_no_instruction_is_refused(code: int) -> None:
    with pytest.raises(Malformed, match=f"{code:#04x}.* is no instruction"):
        read(bytes([code]) + b".")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_is_cut_off_anywhere_is_refused(protocol: int) -> None:
    data = pickle.dumps([1, 2.5, "abc", b"def", {"a": (1, 2, 3, 4)}, {5}, 10**30, None], protocol)
    for size in range(len(data)):
        with pytest.raises(Malformed):
            read(data[:size])


# -- names that are not on the list ----------------------------------------------------------------


def test_a_name_that_is_not_on_the_list_is_remembered_and_stands_for_all_it_makes() -> None:
    budget = Budget()
    call = op.call("os", "system", op.text("true"))
    value = read(op.many(call, op.named("os", "system"), call) + op.STOP, budget=budget)
    assert value[0] is value[1] is value[2] is budget.unknown["os.system"]
    assert list(budget.unknown) == ["os.system"]


@pytest.mark.parametrize(
    "ending",
    [
        b"(tR", b")\x81", b")}\x92", b"}b", b"NNs", b"(NNu", b"Na", b"(Ne", b"(N\x90", b"22\x86R",
        b")R)R)R", b"NR",
    ],
)  # fmt: skip
def test_nothing_can_be_done_with_it(ending: bytes) -> None:
    budget = Budget()
    assert isinstance(read(b"cos\nsystem\n" + ending + b".", budget=budget), Unknown)
    assert list(budget.unknown) == ["os.system"]


def test_names_are_counted_and_shown_harmlessly() -> None:
    budget = Budget()
    names = b"".join(op.named("m", f"f{i}") for i in range(MOST_UNKNOWN + 1))
    with pytest.raises(Malformed, match=f"more than {MOST_UNKNOWN} things"):
        read(names + op.STOP, budget=budget)
    assert len(budget.unknown) == MOST_UNKNOWN
    budget = Budget()
    read(op.text("\x1b[2J\n") + op.text("\u202e") + op.STACK_GLOBAL + op.STOP, budget=budget)
    assert list(budget.unknown) == ["\ufffd[2J\ufffd.\ufffd"]


def test_what_lies_outside_is_asked_for() -> None:
    assert read(b"K\x05Q.", persistent=lambda said: ("found", said)) == ("found", 5)
    assert read(b"Pabc\n.", persistent=lambda said: ("found", said)) == ("found", "abc")
    with pytest.raises(Malformed, match="lies outside"):
        read(b"NQ.")


# -- limits ----------------------------------------------------------------------------------------


def test_instructions_are_counted_over_all_pickles_of_a_file() -> None:
    budget = Budget()
    half = b"N0" * (MOST_STEPS // 4)
    read(half + b"N.", budget=budget)
    with pytest.raises(Malformed, match=f"more than {MOST_STEPS} instructions"):
        read(half + b"NN.", budget=budget)


def test_what_is_copied_is_paid_for() -> None:
    """A value that is kept and given again costs again; else a small file took all memory."""
    budget = Budget()
    read(b"(" + b"N" * 1000 + b"lq\x00" + b"cbuiltins\nlist\nh\x00\x85R" * 10 + b".", budget=budget)
    assert MOST_STEPS - budget.steps == 1003 + 10 * (4 + 1000)
    budget = Budget()
    text = op.text("a" * 25600) + b"q\x00"
    read(text + b"c_codecs\nencode\nh\x00\x85R" * 10 + b".", budget=budget)
    assert MOST_STEPS - budget.steps == 2 + 10 * (4 + 100)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x8a\x41" + bytes(65) + b".", "an integer has 65 bytes"),
        (b"\x8b\xff\xff\xff\xff.", "an integer has -1 bytes"),
        (b"I" + b"1" * 500 + b"\n.", "longer than 192 bytes"),
        (b"S'" + b"a" * 2**21 + b"'\n.", "longer than"),
        (b"X" + struct.pack("<I", 2**22 + 1) + bytes(2**22 + 1) + b".", "a text has 4194305 bytes"),
        (b"Np-1\n.", "kept under the number -1"),
        (b"Np4294967296\n.", "kept under the number 4294967296"),
        (b"g7\n.", "number 7 is recalled"),
        (b"c" + b"a" * 300 + b"\nb\n.", "longer than 256 bytes"),
        (op.text("a" * 300) + op.text("b") + b"\x93.", "short text"),
        (b"}G" + bytes(8) + b"Ns.", "a float is used as a key"),
        (b"}J\x00\x00\x00\x80Ns.", "an int is used as a key".replace("an int", "a int")),
        (b"})Ns.", "a tuple is used as a key"),
        (b"}(Nu.", "a key has no value"),
        (b"(.", "where a list of values begins"),
        (b"(2.", "where a list of values begins"),
        (b"Nl.", "never began"),
        (b"(N\x86.", "values that are not there"),
        (b"N)R.", "neither a class nor a function"),
        (b"cbuiltins\nset\nNR.", "called without arguments"),
        (b"cbuiltins\nset\n(" + b"N" * 17 + b"tR.", "with 17 arguments"),
        (b"cbuiltins\nset\n)}NNs\x92.", "keyword arguments"),
        (b"N}b.", "a state is given to a NoneType"),
        (b"}Na.", "appended to a dict"),
        (b"]NNs.", "set in a list"),
        (b"](N\x90.", "added to a list"),
        (b"S'\\x1'\n.", "an escape that is none"),
        (b"V\\u12\n.", "is not text"),
        (b"X\x01\x00\x00\x00\xff.", "is not text"),
    ],
)
def test_what_python_might_take_and_we_do_not(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(data)


def test_a_long_string_of_python_2_stays_bytes() -> None:
    size = 2**20 + 1
    made = read(b"T" + struct.pack("<i", size) + b"\xe4" * size + b".")
    assert isinstance(made, memoryview)
    assert len(made) == size


def test_bytes_are_windows_on_the_file() -> None:
    data = b"B\x04\x00\x00\x00abcd."
    assert read(data).obj is data
