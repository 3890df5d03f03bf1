"""Fuzz the checkpoint reader: whatever the bytes, it reads, refuses, or says what is wrong.

See README.md in this folder. Anything but a `Holding`, a `ConfigError` or an `UnsafeCheckpoint` is
a finding, and so is a side effect: an audit hook watches for imports, new processes, and whatever
else is opened or changed on disk.
"""

import contextlib
import encodings.cp437  # noqa: F401, of zipfile; else imported while reading
import encodings.raw_unicode_escape  # noqa: F401
import importlib
import os
import pickletools
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["ganaudit.checkpoints", "ganaudit.archives"]):
    from ganaudit.checkpoints import holdings
    from ganaudit.checkpoints.families import _FAMILIES, choose, plan
    from ganaudit.checkpoints.records import Network
    from ganaudit.errors import ConfigError, UnsafeCheckpoint

_FORBIDDEN = ("import", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.", "pickle.")
_PIECES = (  # instructions that lead somewhere
    b"N", b"]", b"}", b")", b"(", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90",
    b"\x91", b"a", b"e", b"s", b"u", b"R", b"b", b"\x81", b"\x92", b"o", b"0", b"1", b"2", b".",
    b"\x93", b"\x94", b"Q", b"h\x00", b"h\x01", b"q\x00", b"K\x04", b"M\x00\x04",
    b"J\xff\xff\xff\xff", b"\x8a\x01\x04",
    b"\x8c\x01a", b"\x8c\x06_state", b"C\x04\x00\x00\x00\x00", b"G" + bytes(8),
    b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"ccopyreg\n_reconstructor\n",
    b"cnumpy.core.multiarray\nscalar\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nFloatStorage\n", b"cdnnlib.util\nEasyDict\n",
    b"ctorch.storage\n_load_from_bytes\n", b"ctfutil\nNetwork\n", b"ctorch\nSize\n",
    b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n", b"\x8c\x08_modules",
    b"\x8c\x08_buffers", b"\x8c\x0b_parameters", b"\x8c\x0c_init_kwargs", b"\x8c\x0a_init_args",
    b"\x8c\x05class", b"\x8c\x04type", b"\x8c\x0amodule_src", b"\x8c\x0aclass_name",
    b"\x8c\x05state",
    b"\x8c\x09variables", b"\x8c\x0acomponents", b"\x8c\x07storage", b"\x8c\x0fbuild_func_name",
)  # fmt: skip

for _address in _FAMILIES:  # else imported while reading
    with atheris.instrument_imports(include=["ganaudit.checkpoints"]):
        importlib.import_module(_address.partition(":")[0])
_watching = False


class _Later:
    """In the place of a pool of threads, which would take most of the time: hashes when asked."""

    def __init__(self, max_workers: int) -> None:
        pass

    def submit(self, work: Callable[[], str]) -> SimpleNamespace:
        return SimpleNamespace(result=work)

    def shutdown(self, wait: bool) -> None:
        pass


def _watch(event: str, given: tuple[object, ...]) -> None:
    elsewhere = event == "open" and given[0] != str(_FILE)
    if _watching and (elsewhere or event.startswith(_FORBIDDEN)):
        # What a file would run comes here; our own code does none of this while reading.
        print(f"FORBIDDEN: {event} {given!r:.300}", file=sys.stderr, flush=True)
        os.abort()


def test_one(data: bytes) -> None:
    """Read one input through the door that users take."""
    global _watching
    _FILE.write_bytes(data)
    _watching = True
    try:
        holding = holdings.read(_FILE)
        holding.refuse_unknown()
        for network in holding.networks.values():
            for array in network.tensors.values():
                assert array.numpy().shape == array.shape
            _plan(holding, network)
        choose(holding, None)
    except (ConfigError, UnsafeCheckpoint) as error:
        assert len(str(error)) < 2000
    finally:
        _watching = False


def _plan(holding: holdings.Holding, network: Network) -> None:
    with contextlib.suppress(ConfigError):  # the others are still to be looked at
        plan(holding, network)


def _pieces(data: bytes) -> list[bytes]:
    """A pickle's instructions, as far as it is one, and the rest."""
    starts = []
    try:
        for _, _, at in pickletools.genops(data):
            starts.append(at)
    except Exception:
        pass
    ends = [*starts[1:], len(data)][: len(starts)]
    return [data[start:end] for start, end in zip(starts, ends, strict=True)]


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change instructions where the input is a pickle, and bytes otherwise or at times."""
    rng = random.Random(seed)
    pieces = _pieces(data) if data[:2] != b"PK" and data[8:9] != b"{" else []
    if len(pieces) < 2 or rng.random() < 0.3:
        return bytes(atheris.Mutate(data, most))
    for _ in range(rng.choice((1, 1, 2, 4))):
        i, j = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        match rng.randrange(5):
            case 0:
                pieces.insert(i, rng.choice(_PIECES))
            case 1:
                pieces[i] = rng.choice(_PIECES)
            case 2:
                pieces.insert(i, pieces[j])
            case 3:
                pieces[i], pieces[j] = pieces[j], pieces[i]
            case 4 if len(pieces) > 2:
                del pieces[i]
    return b"".join(pieces)[:most]


if __name__ == "__main__":
    _FILE = Path(tempfile.mkdtemp(dir="/dev/shm")) / "input"
    holdings.ThreadPoolExecutor = _Later
    sys.addaudithook(_watch)
    atheris.Setup(sys.argv, test_one, custom_mutator=mutate)
    atheris.Fuzz()
