"""What a pickle may ask for, and what answers: the allow-list.

Each answer is a function of ours that makes an inert value: a container, an array, a record of
an object. None of them imports, looks up or runs anything that the file names.

References: the names are those that NumPy's, torch's and NVIDIA's own writers use (torch 0.4 to
2.13; stylegan2-ada-pytorch and stylegan3, `torch_utils/persistence.py`; dnnlib.tflib and the
progressive GAN's tfutil), as facts of their formats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ganaudit.checkpoints.pickles import Answer, Malformed, key_of
from ganaudit.checkpoints.records import ITEM_BYTES, MOST_SIDES, Array, Storage, dense

_MOST_SOURCE = 2**22  # characters of an embedded source text
_NUMPY_KINDS = {
    "f4": "float32", "f8": "float64", "f2": "float16", "i8": "int64", "i4": "int32",
    "i2": "int16", "i1": "int8", "u1": "uint8", "b1": "bool", "?": "bool",
}  # fmt: skip
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip


@dataclass(eq=False)
class Persistent:
    """An object of NVIDIA's persistence: a class by its source text, which stays text.

    Attributes:
      name: of the class.
      source: SHA-256 of the text, hexadecimal.
      state: the object's attributes.
    """

    name: str
    source: str
    state: dict[Any, Any]


@dataclass(eq=False)
class OldNetwork:
    """A network of the TensorFlow era; `state` is what it pickled of itself."""

    module: str  # of its class
    state: dict[Any, Any] = field(default_factory=dict)

    def build(self, state: Any) -> None:
        """Keep what the pickle says of it."""
        if not isinstance(state, dict):
            raise Malformed(f"a network's state must be a dict, got a {type(state).__name__}")
        self.state = state


@dataclass(eq=False)
class Kind:
    """A storage class of torch: what a storage outside the pickle holds."""

    dtype: str


@dataclass(eq=False)
class NumpyType:
    """A dtype of NumPy, until its state is known."""

    dtype: str

    def build(self, state: Any) -> None:
        """Take the byte order, which must be ours."""
        order = state[1] if isinstance(state, tuple) and len(state) >= 2 else None
        if order not in ("<", "|", "="):
            raise Malformed("an array is not little-endian")


@dataclass(eq=False)
class NumpyArray:
    """An array of NumPy, until its state is known."""

    array: Array | None = None

    def build(self, state: Any) -> None:
        """Take shape, dtype, order and bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Malformed("an array's state must have five parts")
        _, shape, kind, fortran, data = state
        if not isinstance(kind, NumpyType):
            raise Malformed("an array must hold numbers")
        shape = _sizes(shape)
        piece = _bytes(data)
        item = ITEM_BYTES[kind.dtype]
        if len(piece) % item:
            raise Malformed("an array's bytes do not fill its last element")
        storage = Storage(kind.dtype, len(piece) // item, piece)
        strides = dense(shape[::-1])[::-1] if fortran else dense(shape)
        array = Array(kind.dtype, shape, strides, 0, storage)
        if array.size != storage.size:
            raise Malformed(f"an array of shape {list(shape)} has {storage.size} elements")
        self.array = array


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > MOST_SIDES:
        raise Malformed("sizes must be a short tuple of integers")
    if not all(type(size) is int and 0 <= size < 2**63 for size in value):
        raise Malformed("sizes must be a tuple of integers, none negative or enormous")
    return tuple(value)


def _bytes(value: Any) -> memoryview:
    if isinstance(value, str):  # of Python 2
        return memoryview(value.encode("latin-1"))
    if isinstance(value, memoryview):
        return value
    raise Malformed(f"bytes are a {type(value).__name__}")


def storage_of(kind: Any, size: Any) -> Storage:
    """A storage whose bytes come later.

    Raises:
      Malformed: an unknown class of storage, or an impossible size.
    """
    if not isinstance(kind, Kind):
        raise Malformed("a storage has no known class")
    if type(size) is not int or not 0 <= size < 2**40:
        raise Malformed("a storage has an impossible size")
    return Storage(kind.dtype, size)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Array:
    if not isinstance(storage, Storage) or type(offset) is not int:
        raise Malformed("a tensor has no storage")
    return Array(storage.dtype, _sizes(shape), _sizes(strides), offset, storage)


def _parameter(tensor: Any, *rest: Any) -> Any:
    if not isinstance(tensor, Array):
        raise Malformed("a parameter is no tensor")
    return tensor


def _persistent(meta: Any) -> Persistent:
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise Malformed("a persistent object must be of a class")
    name, source, state = (meta.get(key) for key in ("class_name", "module_src", "state"))
    if not isinstance(name, str) or len(name) > 256 or not isinstance(state, dict):
        raise Malformed("a persistent object has no class name or no state")
    return Persistent(name, source_hash(source), state)


def source_hash(source: Any) -> str:
    """SHA-256 of a source text with plain line ends and no byte order mark, hexadecimal.

    Raises:
      Malformed: it is no text, or too long.
    """
    if isinstance(source, memoryview):
        source = str(source, "latin-1")
    if not isinstance(source, str) or len(source) > _MOST_SOURCE:
        raise Malformed("an embedded source must be a text")
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _dict(items: Any = ()) -> dict[Any, Any]:
    if isinstance(items, dict):
        return dict(items)
    if not isinstance(items, tuple | list):
        raise Malformed("a dict is made of something else than pairs")
    made: dict[Any, Any] = {}
    for pair in items:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Malformed("a dict is made of something else than pairs")
        made[key_of(pair[0])] = pair[1]
    return made


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, tuple | list):
        raise Malformed("a set is made of something else than a list")
    return set(map(key_of, items))


def _list(items: Any = ()) -> list[Any]:
    if not isinstance(items, tuple | list):
        raise Malformed("a list is made of something else")
    return list(items)


def _encode(text: Any, encoding: Any = "latin1") -> memoryview:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Malformed("bytes are written in another way than as latin1")
    return memoryview(text.encode("latin-1"))


def _bytearray(data: Any = "", encoding: Any = "latin1") -> memoryview:
    return data if isinstance(data, memoryview) else _encode(data, encoding)


def _numpy_type(name: Any, *rest: Any) -> NumpyType:
    if not isinstance(name, str) or name.lstrip("<|=") not in _NUMPY_KINDS:
        raise Malformed("an array holds something else than plain numbers")
    return NumpyType(_NUMPY_KINDS[name.lstrip("<|=")])


def _numpy_array(kind: Any, shape: Any, code: Any) -> NumpyArray:
    return NumpyArray()


def _numpy_scalar(kind: Any, data: Any = b"") -> Any:
    if not isinstance(kind, NumpyType):
        raise Malformed("a number of NumPy has no type")
    array = NumpyArray()
    array.build((1, (1,), kind, False, data))
    assert array.array is not None
    return array.array.numpy()[0].item()


def _new_object(made: Any, base: Any = None, state: Any = None) -> Any:
    """Protocol 0 and 1 make an object of a class in this way."""
    answer = getattr(made, "answer", None)
    if answer is None:
        raise Malformed("an object has no known class")
    return answer()


def _class_only(*arguments: Any) -> Any:
    raise Malformed("a class is called of which only the name may stand in the file")


def _network_of(module: str) -> Answer:
    return lambda: OldNetwork(module)


_BUILTINS: Mapping[str, Answer] = {
    "set": _set,
    "frozenset": _set,
    "list": _list,
    "dict": _dict,
    "bytes": _bytearray,
    "bytearray": _bytearray,
    "object": _class_only,
}
ALLOWED: Mapping[tuple[str, str], Answer | Kind] = {
    **{("builtins", name): answer for name, answer in _BUILTINS.items()},
    **{("__builtin__", name): answer for name, answer in _BUILTINS.items()},
    **{(module, "_reconstructor"): _new_object for module in ("copyreg", "copy_reg")},
    ("collections", "OrderedDict"): _dict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _numpy_type,
    ("numpy", "ndarray"): _class_only,
    **{
        (f"numpy.{core}.multiarray", name): answer
        for core in ("core", "_core")
        for name, answer in (("_reconstruct", _numpy_array), ("scalar", _numpy_scalar))
    },
    **{("torch", name): Kind(dtype) for name, dtype in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): Kind("uint8"),
    ("torch", "Size"): _sizes,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("dnnlib.util", "EasyDict"): _dict,
    ("dnnlib", "EasyDict"): _dict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    ("dnnlib.tflib.network", "Network"): _network_of("dnnlib.tflib.network"),
    ("tfutil", "Network"): _network_of("tfutil"),
}  # fmt: skip
