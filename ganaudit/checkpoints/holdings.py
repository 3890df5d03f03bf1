"""What a file holds: read by its content, whatever its name, and by no code of its own.

    read(path) -> Holding

A pickle, a file of torch (both layouts), safetensors, or a folder of a published BigGAN; their
networks as inert `Network` records, and what else there is as a word each. Nothing here decides
whether we have such a network: `families` does.
"""

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ganaudit.archives import entries_of, program_of
from ganaudit.checkpoints.allowed import NumpyArray, OldNetwork, Persistent, source_hash
from ganaudit.checkpoints.pickles import Budget, Malformed, Unknown
from ganaudit.checkpoints.records import (
    MOST_VALUES,
    Array,
    Network,
    Storage,
    kind_of,
    plain,
    shown,
)
from ganaudit.checkpoints.safe import read_safetensors
from ganaudit.checkpoints.torch_files import read_loose, read_zip
from ganaudit.errors import ConfigError, UnsafeCheckpoint
from ganaudit.files import read_json

MAX_BYTES = 2**33  # of a file
_CONFIG, _WEIGHTS = "config.json", ("pytorch_model.bin", "model.safetensors")
_MOST_CONFIG = 2**20  # bytes
_PICKLES_BEGIN = b"\x80(]})lcdIJKLMNSTUVXFGB"  # also those of protocol 0
_MOST_PARTS = 2**14  # of a network: modules, variables, components
_MOST_ENTRIES = 2**10  # of what stands beside the networks
_DEEPEST = 32
_TENSOR = 4  # instructions, for what is said of a tensor or a part in the end
_MOST_NAME = 2**8  # characters of a part's or a tensor's name
_OLD_TUPLE = ("G", "D", "Gs")


@dataclass(frozen=True, kw_only=True)
class Hashed:
    """What came out of a file whose hash may still be under way.

    Attributes:
      digest: gives the SHA-256 of the very bytes that were read, hexadecimal.
    """

    digest: Callable[[], str]

    @property
    def sha256(self) -> str:
        """Of the very bytes that were read, hexadecimal; waits for it."""
        return self.digest()


@dataclass(frozen=True, kw_only=True)
class Holding(Hashed):
    """A file, read.

    Attributes:
      path: where it lies.
      kind: "pickle", "torch" or "safetensors".
      size: bytes.
      networks: by role, in the file's order.
      beside: what else it holds: name to a word on its value.
      unknown: names that it asks for and that are not on the allow-list; nothing of them was run.
      metadata: of a safetensors file, texts.
      config: beside the weights in a folder of theirs, JSON values; None: there is none.
    """

    path: Path
    kind: str
    size: int
    networks: Mapping[str, Network]
    beside: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None

    def refuse_unknown(self) -> None:
        """Refuse a file that asks for anything that is not on the allow-list.

        Raises:
          UnsafeCheckpoint: it does.
        """
        if self.unknown:
            raise _refusal(self.path, self.unknown, "; `ganaudit inspect` says what it holds")


def _refusal(path: Path, unknown: tuple[str, ...], remedy: str = "") -> UnsafeCheckpoint:
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return UnsafeCheckpoint(
        f"{path} asks for {shown(unknown[0])}{more}, which would mean running it; nothing of it "
        f"was run{remedy}",
        path,
    )


def read(path: Path) -> Holding:
    """Read a file without executing anything of it.

    Raises:
      ConfigError: no such file, too large, damaged, or of a format that we do not read.
      UnsafeCheckpoint: it is a program, or damaged where it asks for what is not on the allow-list.
    """
    if os.path.isdir(path):  # Path.is_dir raises over an impossible name
        return _read_folder(path)
    data, digest = _read_bytes(path)
    budget = Budget()
    try:
        return _read(path, data, digest, budget)
    except (Malformed, ConfigError) as error:
        if budget.unknown:  # whatever it is, it is not to be trusted with another reader
            raise _refusal(path, tuple(budget.unknown)) from error
        raise ConfigError(
            f"{path} cannot be read as a checkpoint: {shown(str(error), 300)}; is it complete?"
        ) from error


def _read_folder(path: Path) -> Holding:
    """Weights with their config.json, as pytorch-pretrained-biggan publishes them."""
    names = [name for name in _WEIGHTS if (path / name).is_file()]
    if len(names) != 1 or not (path / _CONFIG).is_file():  # which a pipe is not
        raise ConfigError(
            f"{path} is a folder: one with {_CONFIG} and {_WEIGHTS[0]} can be read, "
            f"or name a file in it"
        )
    config = plain(read_json(path / _CONFIG, most_bytes=_MOST_CONFIG), what=_CONFIG)
    if not isinstance(config, dict):
        raise ConfigError(f"{path / _CONFIG} must be an object, got {kind_of(config)}")
    return replace(read(path / names[0]), config=config)


def _read(path: Path, data: bytes, digest: Callable[[], str], budget: Budget) -> Holding:
    metadata: Mapping[str, str] = {}
    if data.startswith(b"PK"):
        table = entries_of(data)
        program = program_of(table)
        if program is not None:
            raise UnsafeCheckpoint(
                f"{path} is a program of torch, not weights: reading it means running it, with "
                f"--generator {program}:{path} and --trust, if you trust its author",
                path,
            )
        kind, value = "torch", read_zip(data, table, budget=budget)
    elif data[8:9] == b"{":
        kind = "safetensors"
        value, metadata = read_safetensors(data)
    elif data[:1] and data[:1] in _PICKLES_BEGIN:
        kind, value = read_loose(memoryview(data), budget=budget)
    else:
        raise Malformed("it is neither a pickle nor a file of torch nor safetensors")
    networks, beside = _networks(value, budget)
    return Holding(
        path=path,
        kind=kind,
        size=len(data),
        digest=digest,
        networks=networks,
        beside=beside,
        unknown=tuple(budget.unknown),
        metadata=metadata,
    )


def _read_bytes(path: Path) -> tuple[bytes, Callable[[], str]]:
    """A file's bytes, and what gives their SHA-256, which takes as long as reading: beside."""
    if not os.path.isfile(path):
        raise ConfigError(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ConfigError(f"{path} has {size} bytes; a checkpoint may have {MAX_BYTES}")
            data = file.read(size)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    hasher = ThreadPoolExecutor(max_workers=1)
    digest = hasher.submit(lambda: sha256(data).hexdigest())
    hasher.shutdown(wait=False)
    return data, digest.result


# -- from a value to networks ---------------------------------------------------------------------


def _networks(value: Any, budget: Budget) -> tuple[dict[str, Network], dict[str, str]]:
    """The networks that a value holds, by role, and a word on everything beside them.

    A few instructions can put the same thing in a million places: each is paid for again.
    """
    if isinstance(value, tuple) and len(value) == 3 and all(map(_is_old, value)):
        value = dict(zip(_OLD_TUPLE, value, strict=True))
    alone = "state_dict" if isinstance(value, Mapping) else "network"
    found = _network(alone, value, budget)
    if found is not None:
        return {found.role: found}, {}
    if not isinstance(value, Mapping):
        raise Malformed(f"it holds {kind_of(value)}, neither a network nor tensors")
    networks: dict[str, Network] = {}
    beside: dict[str, str] = {}
    for key, item in value.items():
        if len(networks) + len(beside) > _MOST_ENTRIES:
            raise Malformed(f"it holds more than {_MOST_ENTRIES} things")
        role = shown(str(key))
        inside = dict(_within(role, item, budget))
        networks |= inside
        if not inside:
            beside[role] = _word(item)
    return networks, beside


def _within(role: str, item: Any, budget: Budget) -> Iterator[tuple[str, Network]]:
    """A network under a role, or those in a dictionary under it: {"ema": {"generator": ...}}."""
    found = _network(role, item, budget)
    if found is not None:
        yield role, found
    elif isinstance(item, Mapping) and len(item) <= _MOST_ENTRIES:
        for key, inner in item.items():
            name = f"{role}.{shown(str(key))}"
            found = _network(name, inner, budget)
            if found is not None:
                yield name, found


def _network(role: str, value: Any, budget: Budget) -> Network | None:
    if isinstance(value, Persistent):
        return _of_persistent(role, value, budget)
    if isinstance(value, OldNetwork):
        return _of_old(role, value, budget, depth=0)
    if isinstance(value, Mapping):
        budget.spend(len(value))
    if isinstance(value, Mapping) and value and all(map(_is_array, value.values())):
        budget.spend(MOST_VALUES + _TENSOR * len(value))
        tensors = {str(key): _array(item) for key, item in value.items()}
        return Network(role=role, name="", tensors=tensors)
    return None


def _is_array(value: Any) -> bool:
    return isinstance(value, Array) or (isinstance(value, NumpyArray) and value.array is not None)


def _array(value: Any) -> Array:
    found = value.array if isinstance(value, NumpyArray) else value
    if not isinstance(found, Array):
        raise Malformed(f"a tensor is {kind_of(value)}")
    return found


def _is_old(value: Any) -> bool:
    return isinstance(value, OldNetwork)


def _word(value: Any) -> str:
    if isinstance(value, Unknown):
        return f"{value.name}, not made"
    if isinstance(value, dict | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    return kind_of(value.array if isinstance(value, NumpyArray) else value)


def _of_persistent(role: str, made: Persistent, budget: Budget) -> Network:
    budget.spend(MOST_VALUES)  # for its arguments
    tensors: dict[str, Array] = {}
    classes, sources, hooks = set(), set(), []
    left = [("", made, 0)]
    parts = 0
    while left:
        prefix, part, depth = left.pop()
        parts += 1
        if parts > _MOST_PARTS or depth > _DEEPEST:
            raise Malformed("a network has too many parts, or contains itself")
        classes.add(shown(part.name))
        sources.add(part.source)
        if part.state.get("_forward_hooks") or part.state.get("_forward_pre_hooks"):
            hooks.append(shown(prefix or "the network"))
        budget.spend(1 + len(prefix))
        for name, array in _tensors_of(part.state, prefix, budget):
            tensors[f"{prefix}{name}"] = array
        for name, child in _entries(part.state, "_modules", prefix, budget):
            if isinstance(child, Persistent):
                left.append((f"{prefix}{name}.", child, depth + 1))
            elif child is not None:
                classes.add(kind_of(child))
        if len(tensors) > _MOST_PARTS:
            raise Malformed(f"a network has more than {_MOST_PARTS} tensors")
    return Network(
        role=role,
        name=shown(made.name),
        args=_sequence(made.state.get("_init_args", ())),
        kwargs=_mapping(made.state.get("_init_kwargs", {})),
        tensors=tensors,
        classes=frozenset(classes),
        sources=frozenset(sources),
        hooks=tuple(hooks),
    )


def _tensors_of(
    state: Mapping[Any, Any], prefix: str, budget: Budget
) -> Iterator[tuple[str, Array]]:
    fleeting = state.get("_non_persistent_buffers_set") or set()
    if not isinstance(fleeting, set | frozenset):
        raise Malformed("a part's names of fleeting buffers must be a set")
    for kind in ("_parameters", "_buffers"):
        for name, value in _entries(state, kind, prefix, budget):
            if value is not None and not (kind == "_buffers" and name in fleeting):
                yield name, _array(value)


def _entries(
    state: Mapping[Any, Any], key: str, prefix: str, budget: Budget
) -> Iterator[tuple[str, Any]]:
    entries = state.get(key) or {}
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise Malformed(f"a part's {key} must be a dict with names")
    if any(len(name) > _MOST_NAME for name in entries):
        raise Malformed(f"a part's {key} must have names of at most {_MOST_NAME} characters")
    budget.spend(len(entries) * (_TENSOR + len(prefix) // 32))  # for names that begin with it
    yield from entries.items()


def _of_old(role: str, made: OldNetwork, budget: Budget, *, depth: int) -> Network:
    state = made.state
    budget.spend(MOST_VALUES)  # for its arguments
    if depth > 4:
        raise Malformed("a network's components contain each other")
    source = state.get("build_module_src")
    components = state.get("components") or {}
    if not isinstance(components, dict) or not all(map(_is_old, components.values())):
        raise Malformed("a network's components must be networks")
    if len(components) > 8:
        raise Malformed("a network has more than 8 components")
    children = {
        shown(str(name)): _of_old(f"{role}.{shown(str(name))}", child, budget, depth=depth + 1)
        for name, child in components.items()
    }
    sources = set() if source is None else {source_hash(source)}
    return Network(
        role=role,
        name=shown(_text(state.get("build_func_name"))),
        module=made.module,
        kwargs=_mapping(state.get("static_kwargs") or {}),
        tensors=_variables(state.get("variables"), budget),
        sources=frozenset(sources.union(*(child.sources for child in children.values()))),
        children=children,
    )


def _variables(listed: Any, budget: Budget) -> dict[str, Array]:
    if not isinstance(listed, list | tuple) or len(listed) > _MOST_PARTS:
        raise Malformed("a network's variables must be a list of names with arrays")
    budget.spend(_TENSOR * len(listed))
    tensors: dict[str, Array] = {}
    for pair in listed:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise Malformed("a network's variables must be a list of names with arrays")
        name, value = pair
        # A variable without dimensions may come as a number of NumPy.
        tensors[name] = _scalar(value) if isinstance(value, float) else _array(value)
    return tensors


def _scalar(value: float) -> Array:
    data = memoryview(struct.pack("<d", value))
    return Array("float64", (), (), 0, Storage("float64", 1, data))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("a network's build function must have a name")
    return value


def _sequence(value: Any) -> tuple[Any, ...]:
    copied = plain(value, what="a network's arguments")
    if not isinstance(copied, list):
        raise Malformed("a network's arguments must be a tuple")
    return tuple(copied)


def _mapping(value: Any) -> dict[str, Any]:
    copied = plain(value, what="a network's arguments")
    if not isinstance(copied, dict):
        raise Malformed("a network's arguments must be a dict")
    return copied
