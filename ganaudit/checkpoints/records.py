"""What a file holds, as inert values: arrays that are not built yet, networks that are not run.

Nothing here needs torch. A reader makes these; `families` says which of our networks takes them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError

ITEM_BYTES: Mapping[str, int] = {
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
MOST_SIDES = 16  # dimensions of an array
MOST_VALUES = 2**12  # plain values among a network's arguments
_DEEPEST = 8
_MOST_TEXT = 2**12
_MOST_INTEGER = 2**63


def dense(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a shape whose last dimension varies fastest, in elements."""
    strides = [1]
    for size in shape[:0:-1]:
        strides.append(strides[-1] * size)
    return tuple(strides[::-1][: len(shape)])


@dataclass(eq=False)
class Storage:
    """Bytes that arrays share. A reader may learn of a storage before it comes to its bytes."""

    dtype: str  # a key of ITEM_BYTES
    size: int  # elements
    data: memoryview | None = None  # uint8, size * ITEM_BYTES[dtype] of them, little-endian


@dataclass(frozen=True, eq=False)
class Array:
    """A tensor as its file describes it: a window on a storage, checked to lie inside.

    Attributes:
      dtype: a key of `ITEM_BYTES`.
      shape: sizes, none negative.
      strides: of each dimension, in elements, none negative.
      offset: of the first element in the storage, in elements.
      storage: the elements.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: Storage

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or len(self.shape) > MOST_SIDES:
            raise ValueError(f"a tensor has {len(self.shape)} sizes, {len(self.strides)} strides")
        if not all(0 <= number < _MOST_INTEGER for number in numbers):
            raise ValueError("a tensor has a negative or enormous size, stride or offset")
        if math.prod(side or 1 for side in self.shape) >= _MOST_INTEGER // 16:  # NumPy refuses it
            raise ValueError("a tensor has enormous sizes")
        last = self.offset + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        # An expanded tensor could declare a terabyte over four bytes.
        if self.size and (last >= self.storage.size or self.size > self.storage.size):
            raise ValueError(
                f"a tensor of shape {list(self.shape)} does not fit into its "
                f"{self.storage.size} elements"
            )

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, were they laid out densely."""
        return self.size * ITEM_BYTES[self.dtype]

    def numpy(self) -> NDArray[Any]:
        """A read-only view [*shape] of the bytes in the file; bfloat16 comes as its raw uint16."""
        data = self.storage.data
        assert data is not None
        dtype = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype).newbyteorder("<")
        flat = np.frombuffer(data, dtype=dtype, count=self.storage.size)[self.offset :]
        if not self.size:
            flat = np.zeros(1, dtype)
        # The stride of a single element counts for nothing and may be anything.
        steps = zip(self.shape, self.strides, strict=True)
        strides = [
            stride * dtype.itemsize if size > 1 and self.size else 0 for size, stride in steps
        ]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """One network that a file holds, as the file describes it.

    Attributes:
      role: under which name or in which place the file keeps it: "G_ema", "G", "D", "Gs";
        "state_dict": the file holds tensors and nothing else.
      name: of its class, or of the function that builds it; "" where the file names none.
      module: where that lives, by the file's word; "" where it does not say.
      args: constructor's positional arguments, plain values.
      kwargs: constructor's keyword arguments, plain values.
      tensors: parameters and buffers, by dotted (TensorFlow: slashed) names.
      classes: names of the classes of its parts.
      sources: SHA-256, hexadecimal, of every different source text that it carries.
      hooks: names of parts to which somebody attached code that runs with the forward pass.
      children: components of a TensorFlow-era network, by their names.
    """

    role: str
    name: str
    module: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Array]
    classes: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    hooks: tuple[str, ...] = ()
    children: Mapping[str, "Network"] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """How one of our networks takes what a file holds.

    Attributes:
      network: a key of `ganaudit.networks.NETWORKS`.
      arguments: of its constructor, JSON values.
      tensors: its state dict, by our names: as the file has them, or converted.
      facts: what a generator declares beside its tensors (prior, truncation that the file's owner
        runs by default, ...), JSON values.
      notes: what was left out or assumed, a sentence each.
      own: the file is one of `save_native`: it states all of this itself, and its tensors must have
        the very dtypes of the network.
    """

    network: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Array | NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    own: bool = False


def plain(value: object, *, what: str) -> Any:
    """A copy of a value out of a file, made of None, bool, int, float, str, list and dict alone.

    Tuples become lists. Every size is bounded: a small file may describe an enormous value, or
    one that contains itself.

    Raises:
      ConfigError: another kind of value, or too many, too long or too deep.
    """
    left = [MOST_VALUES]

    def copy(value: object, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > _DEEPEST:
            raise ConfigError(f"{what} must be a few plain values, got far too many")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, int) and abs(value) < _MOST_INTEGER:
            return int(value)
        if isinstance(value, str) and len(value) <= _MOST_TEXT and value.isprintable():
            return value
        if isinstance(value, list | tuple):
            return [copy(item, depth + 1) for item in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {copy(key, depth): copy(item, depth + 1) for key, item in value.items()}
        raise ConfigError(f"{what} must be plain values, got {kind_of(value)}")

    return copy(value, 0)


def kind_of(value: object) -> str:
    """A stranger's value in a few words, whatever it is; its own text is not asked."""
    named = {type(None): "nothing", memoryview: "bytes", Array: "a tensor", Storage: "a storage"}
    if isinstance(value, str | int) and not isinstance(value, bool):
        return f"{type(value).__name__} {shown(value)}"
    return named.get(type(value), f"a {type(value).__name__}")


def shown(value: object, most: int = 80) -> str:
    """At most `most` characters of a stranger's text or number, harmless on a terminal."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if not isinstance(value, str):
        return f"{value!r:.{most}}"
    text = "".join(c if c.isprintable() else "\ufffd" for c in value[: most + 1])
    return text if len(text) <= most else f"{text[: most - 3]}..."
