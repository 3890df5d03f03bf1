"""A reader of pickles that calls nothing.

A pickle is a program for a small stack machine, and Python's own machine for it looks up and
calls whatever the program names. This one knows the same instructions and calls functions of
ours alone: an allow-list says which name is answered by which of them, and each makes an inert
value out of inert values. A name that is not on the list becomes an inert `Unknown`, and is
remembered; whoever opens the file refuses it by that name.

Nothing of the file decides how much is allocated before the bytes for it are seen, and its
instructions are counted. Bytes are windows on the file's own, never copies.

Reference: the instructions are those of Python's `pickletools`, protocols 0 to 5.
"""

import codecs
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganaudit.checkpoints.records import shown

MOST_STEPS = 2**20  # instructions of a file, what it nests included
MOST_UNKNOWN = 2**8  # names
_MOST_TEXT = 2**22  # bytes of one text
_MOST_NAME = 2**8  # characters of a module's or a class's name
_MOST_DIGITS = 64  # bytes of one integer
_KEPT_TEXT = 2**20  # a byte string that claims to be text, above which it stays bytes
_MOST_ARGUMENTS = 16
_COPIED = 2**8  # characters of a text that are as dear to copy as an instruction

Answer = Callable[..., Any]  # takes the values that the pickle gives as arguments
Outside = Callable[[Any], Any]  # makes a value of what a pickle says lies outside of it


class Malformed(ValueError):
    """The bytes are no pickle that we can read: damaged, cut off, or made to be neither."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names and that is on the allow-list."""

    module: str
    name: str
    answer: Answer


@dataclass(eq=False)
class Unknown:
    """Something that a pickle names, or would make by calling it; it was not called."""

    name: str  # MODULE.NAME

    def build(self, state: Any) -> None:
        """Left aside."""


@dataclass
class Budget:
    """What all pickles of a file may use together, and what they asked for in vain.

    Attributes:
      steps: instructions left.
      unknown: names that are not on the allow-list, in order, each once.
    """

    steps: int = MOST_STEPS
    unknown: dict[str, Unknown] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        """Pay for work.

        Raises:
          Malformed: there is not as much left.
        """
        self.steps -= steps
        if self.steps < 0:
            raise Malformed(f"it has more than {MOST_STEPS} instructions")


class _Mark:
    pass


_MARK = _Mark()


def read_pickle(
    data: memoryview,
    allowed: Mapping[tuple[str, str], Any],
    *,
    budget: Budget,
    persistent: Outside | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """The value that a pickle describes, and where it ends.

    Args:
      data: [B] uint8.
      allowed: (module, name) to the function of ours that answers for it, or to the inert value
        that stands for it.
      budget: shared by all pickles of one file.
      persistent: makes a value of what the pickle says lies outside it; None: it may not.
      start: of the pickle in `data`.

    Raises:
      Malformed: the bytes are no complete pickle, or a value is not what its place needs.
    """
    machine = _Machine(data, allowed, budget, persistent, start)
    try:
        return machine.run(), machine.at
    except (IndexError, struct.error):
        raise Malformed("it is cut off, or takes a value that is not there") from None
    except UnicodeError:
        raise Malformed("a text in it is not text") from None


class _Machine:
    def __init__(
        self,
        data: memoryview,
        allowed: Mapping[tuple[str, str], Any],
        budget: Budget,
        persistent: Outside | None,
        start: int,
    ) -> None:
        self.data, self.at = data, start
        self.allowed, self.budget, self.persistent = allowed, budget, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, steps = self.data, _STEPS
        while True:
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.pop()
            step = steps.get(code)
            if step is None:
                raise Malformed(f"byte {code:#04x} at {self.at - 1} is no instruction")
            self.budget.spend(1)
            step(self)

    # -- reading ------------------------------------------------------------------------------

    def take(self, size: int) -> memoryview:
        if not 0 <= size <= len(self.data) - self.at:
            raise Malformed(f"{shown(size)} bytes are announced at {self.at}, more than there are")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> Any:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return value

    def line(self, most: int) -> str:
        size, text, newline = 64, b"", b""
        while not newline and size < 2 * (most + 1):  # most lines are short, and copied once
            piece = bytes(self.data[self.at : self.at + min(size, most + 1)])
            text, newline, _ = piece.partition(b"\n")
            size *= 2
        if not newline:
            raise Malformed(f"a line at {self.at} is cut off or longer than {most} bytes")
        self.at += len(text) + 1
        return text.decode("latin-1")

    def text(self, size: int) -> str:
        if size > _MOST_TEXT:
            raise Malformed(f"a text has {size} bytes; {_MOST_TEXT} are the most")
        return str(self.take(size), "utf-8")

    def old_text(self, size: int) -> "str | memoryview":
        """A string of Python 2: text or bytes, nobody knows which."""
        piece = self.take(size)
        return str(piece, "latin-1") if size <= _KEPT_TEXT else piece

    # -- the stack ----------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Malformed("a value is taken where a list of values begins")
        return value

    def top(self) -> Any:
        value = self.stack[-1]
        if value is _MARK:
            raise Malformed("a value is used where a list of values begins")
        return value

    def pop_mark(self) -> list[Any]:
        stack, i = self.stack, len(self.stack) - 1
        while i >= 0 and stack[i] is not _MARK:
            i -= 1
        if i < 0:
            raise Malformed("a list of values ends that never began")
        values = stack[i + 1 :]
        del stack[i:]
        return values

    def remember(self, i: int) -> None:
        if not 0 <= i < 2**32:  # large numbers collide at will
            raise Malformed(f"a value is kept under the number {shown(i)}")
        self.memo[i] = self.top()

    def recall(self, i: int) -> None:
        if i not in self.memo:
            raise Malformed(f"value number {shown(i)} is recalled and was never kept")
        self.push(self.memo[i])

    # -- names and what is made of them -------------------------------------------------------

    def find(self, module: str, name: str) -> Any:
        answer = self.allowed.get((module, name))
        if answer is None:
            return self.unknown(f"{module}.{name}")
        return Name(module, name, answer) if callable(answer) else answer

    def unknown(self, name: str) -> Unknown:
        name = shown(name, 2 * _MOST_NAME)
        if len(self.budget.unknown) == MOST_UNKNOWN:
            raise Malformed(f"it names more than {MOST_UNKNOWN} things that we do not know")
        return self.budget.unknown.setdefault(name, Unknown(name))

    def call(self, made: Any, arguments: Any) -> Any:
        if isinstance(made, Unknown):
            return made
        if not isinstance(made, Name):
            raise Malformed("something is called that is neither a class nor a function")
        if not isinstance(arguments, tuple | list):
            raise Malformed(f"{made.module}.{made.name} is called without arguments")
        if len(arguments) > _MOST_ARGUMENTS:
            raise Malformed(f"{made.module}.{made.name} is called with {len(arguments)} arguments")
        return self.answered(f"{made.module}.{made.name}", made.answer, arguments)

    def answered(self, name: str, answer: Answer, arguments: Sequence[Any]) -> Any:
        # Kept values can be given again and again: each time, a copy of them is paid for.
        self.budget.spend(sum(map(_weight, arguments)))
        try:
            return answer(*arguments)
        except Malformed:
            raise
        except (TypeError, ValueError) as error:
            why = f"{name} does not take such arguments ({error})"
            raise Malformed(shown(why, 4 * _MOST_NAME)) from error

    def build(self, value: Any, state: Any) -> None:
        if isinstance(value, dict | list):  # attributes of a subclass: no part of its content
            return
        if not hasattr(value, "build"):
            raise Malformed(f"a state is given to a {type(value).__name__}")
        self.answered(type(value).__name__, value.build, [state])

    def append(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Unknown):
            raise Malformed(f"items are appended to a {type(target).__name__}")

    def set_items(self, target: Any, values: list[Any]) -> None:
        if len(values) % 2:
            raise Malformed("a key has no value")
        if isinstance(target, Unknown):
            return
        if not isinstance(target, dict):
            raise Malformed(f"items are set in a {type(target).__name__}")
        target.update(zip(map(key_of, values[::2]), values[1::2], strict=True))


def key_of(value: Any) -> Any:
    """The value, if it may be a key.

    Raises:
      Malformed: it may not.
    """
    # Hashing a deep tuple would recurse without a bound, and large integers collide at will.
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**31) or value is None:
        return value
    raise Malformed(f"a {type(value).__name__} is used as a key")


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value) // _COPIED
    if not isinstance(value, dict | list | tuple):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return len(value) + sum(len(item) // _COPIED for item in items if isinstance(item, str))


def _integer(text: str) -> Any:
    if text in ("00", "01"):  # protocol 0 has no other way to say a bool
        return text == "01"
    try:
        return int(text.rstrip("L")) if len(text) <= 3 * _MOST_DIGITS else int("")
    except ValueError:
        raise Malformed(f"{shown(text)} is no integer") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Malformed(f"{shown(text)} is no number") from None


def _long(m: _Machine, size: int) -> int:
    if not 0 <= size <= _MOST_DIGITS:
        raise Malformed(f"an integer has {size} bytes; {_MOST_DIGITS} are the most")
    return int.from_bytes(m.take(size), "little", signed=True)


def _quoted(m: _Machine) -> str:
    text = m.line(_KEPT_TEXT)
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise Malformed("a string has no quotes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # such escapes stay as they are
            return codecs.escape_decode(text[1:-1].encode("latin-1"))[0].decode("latin-1")
    except ValueError:
        raise Malformed("a string has an escape that is none") from None


def _unicode_line(m: _Machine) -> str:
    return m.line(_KEPT_TEXT).encode("latin-1").decode("raw_unicode_escape")


def _stack_global(m: _Machine) -> Any:
    name, module = m.pop(), m.pop()
    for text in (module, name):
        if not isinstance(text, str) or len(text) > _MOST_NAME:
            raise Malformed("the name of a class must be a short text")
    return m.find(module, name)


def _tuple(m: _Machine, size: int) -> None:
    values = m.stack[-size:]
    if len(values) < size or any(value is _MARK for value in values):
        raise Malformed("a tuple takes values that are not there")
    m.stack[-size:] = [tuple(values)]


def _set(m: _Machine, kind: type) -> Any:
    return kind(map(key_of, m.pop_mark()))


def _add_items(m: _Machine) -> None:
    items = m.pop_mark()
    target = m.top()
    if isinstance(target, set):
        target.update(map(key_of, items))
    elif not isinstance(target, Unknown):
        raise Malformed(f"items are added to a {type(target).__name__}")


def _dict(m: _Machine) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    m.set_items(made, m.pop_mark())
    return made


def _set_item(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    m.set_items(m.top(), [key, value])


def _set_items(m: _Machine) -> None:
    items = m.pop_mark()
    m.set_items(m.top(), items)


def _append(m: _Machine) -> None:
    value = m.pop()
    m.append(m.top(), [value])


def _appends(m: _Machine) -> None:
    items = m.pop_mark()
    m.append(m.top(), items)


def _build(m: _Machine) -> None:
    state = m.pop()
    m.build(m.top(), state)


def _reduce(m: _Machine) -> Any:
    arguments, made = m.pop(), m.pop()
    return m.call(made, arguments)


def _new_with_keywords(m: _Machine) -> Any:
    keywords, arguments, made = m.pop(), m.pop(), m.pop()
    if keywords != {}:
        raise Malformed("an object is made with keyword arguments")
    return m.call(made, arguments)


def _inst(m: _Machine) -> Any:
    made = m.find(m.line(_MOST_NAME), m.line(_MOST_NAME))
    return m.call(made, m.pop_mark())


def _obj(m: _Machine) -> Any:
    made, *arguments = m.pop_mark() or [None]
    return m.call(made, arguments)


def _persistent(m: _Machine, said: Any) -> Any:
    if m.persistent is None:
        raise Malformed("it says that a value lies outside it")
    return m.persistent(said)


def _extension(m: _Machine, code: int) -> Unknown:
    return m.unknown(f"extension {code} of a registry that only its author has")


def _pop(m: _Machine) -> None:
    del m.stack[-1]


def _pushing(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.push(value(m))


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda m: m.push(value)


_STOP = ord(".")
_STEPS: Mapping[int, Callable[[_Machine], Any]] = {
    # framing: what a frame holds is read where it stands
    0x80: lambda m: m.take(1),
    0x95: lambda m: m.take(8),
    # constants, numbers
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("I"): _pushing(lambda m: _integer(m.line(3 * _MOST_DIGITS))),
    ord("L"): _pushing(lambda m: _integer(m.line(3 * _MOST_DIGITS))),
    ord("J"): _pushing(lambda m: m.number("<i")),
    ord("K"): _pushing(lambda m: m.number("<B")),
    ord("M"): _pushing(lambda m: m.number("<H")),
    0x8A: _pushing(lambda m: _long(m, m.number("<B"))),
    0x8B: _pushing(lambda m: _long(m, m.number("<i"))),
    ord("F"): _pushing(lambda m: _float(m.line(3 * _MOST_DIGITS))),
    ord("G"): _pushing(lambda m: m.number(">d")),
    # texts
    ord("S"): _pushing(_quoted),
    ord("T"): _pushing(lambda m: m.old_text(m.number("<i"))),
    ord("U"): _pushing(lambda m: m.old_text(m.number("<B"))),
    ord("V"): _pushing(_unicode_line),
    ord("X"): _pushing(lambda m: m.text(m.number("<I"))),
    0x8C: _pushing(lambda m: m.text(m.number("<B"))),
    0x8D: _pushing(lambda m: m.text(m.number("<Q"))),
    # bytes
    ord("B"): _pushing(lambda m: m.take(m.number("<I"))),
    ord("C"): _pushing(lambda m: m.take(m.number("<B"))),
    0x8E: _pushing(lambda m: m.take(m.number("<Q"))),
    0x96: _pushing(lambda m: m.take(m.number("<Q"))),
    # containers
    ord("]"): _pushing(lambda m: []),
    ord("}"): _pushing(lambda m: {}),
    0x8F: _pushing(lambda m: set()),
    ord(")"): _constant(()),
    ord("("): _constant(_MARK),
    ord("l"): _pushing(lambda m: m.pop_mark()),
    ord("t"): _pushing(lambda m: tuple(m.pop_mark())),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("d"): _pushing(_dict),
    0x91: _pushing(lambda m: _set(m, frozenset)),
    ord("a"): _append,
    ord("e"): _appends,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x90: _add_items,
    # the stack and the memory
    ord("0"): _pop,
    ord("1"): lambda m: m.pop_mark(),
    ord("2"): lambda m: m.push(m.top()),
    ord("p"): lambda m: m.remember(_integer(m.line(_MOST_DIGITS))),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(_integer(m.line(_MOST_DIGITS))),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    # names, objects
    ord("c"): _pushing(lambda m: m.find(m.line(_MOST_NAME), m.line(_MOST_NAME))),
    0x93: _pushing(_stack_global),
    0x82: _pushing(lambda m: _extension(m, m.number("<B"))),
    0x83: _pushing(lambda m: _extension(m, m.number("<H"))),
    0x84: _pushing(lambda m: _extension(m, m.number("<i"))),
    ord("R"): _pushing(_reduce),
    0x81: _pushing(_reduce),
    0x92: _pushing(_new_with_keywords),
    ord("i"): _pushing(_inst),
    ord("o"): _pushing(_obj),
    ord("b"): _build,
    ord("P"): _pushing(lambda m: _persistent(m, m.line(_MOST_NAME))),
    ord("Q"): _pushing(lambda m: _persistent(m, m.pop())),
    # out-of-band buffers (0x97, 0x98) are in no file
}
