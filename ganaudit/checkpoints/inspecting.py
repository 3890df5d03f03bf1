"""What a file is and holds, as a document; and the same file as safetensors or ONNX."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganaudit.checkpoints.exporting import onnx_file
from ganaudit.checkpoints.families import choose
from ganaudit.checkpoints.holdings import Holding, read
from ganaudit.checkpoints.native import save_native
from ganaudit.checkpoints.opened import Opened, fitting, open_network, plan_of
from ganaudit.checkpoints.records import Array, Network, shown
from ganaudit.checkpoints.sources import KNOWN
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.files import write_whole

SCHEMA = 1


def inspect(
    path: Path, *, strict_source: bool = False
) -> tuple[dict[str, Any], GanauditError | None]:
    """A file's description, JSON values, and why it cannot be opened; None: it can.

    Args:
      path: a file, or a folder with config.json.
      strict_source: an embedded source of no known release is a reason.

    Raises:
      ConfigError: no such file, or nothing that can be read.
      UnsafeCheckpoint: it is a program, or damaged where it asks for something unknown.
    """
    holding = read(path)
    networks = [_network(holding, each, strict_source) for each in holding.networks.values()]
    document = {
        "schema": SCHEMA,
        "file": str(path),
        "kind": holding.kind,
        "bytes": holding.size,
        "sha256": holding.sha256,
        "opens": None,
        "networks": networks,
        "beside": dict(holding.beside),
        "not_run": list(holding.unknown),
    }
    try:
        holding.refuse_unknown()
        chosen = choose(holding, None)
    except GanauditError as error:
        return document, error
    (refused,) = (each["refused"] for each in networks if each["role"] == chosen.role)
    if refused is not None:
        return document, ConfigError(refused)
    return document | {"opens": chosen.role}, None


def convert(
    path: Path,
    out: Path,
    *,
    role: str | None = None,
    said: Mapping[str, str] | None = None,
    strict_source: bool = False,
) -> Opened:
    """Write one network of a file as a file that says which network it is.

    Args:
      path: a file that `open_network` opens.
      out: a file that does not exist yet, .safetensors or, of a generator, .onnx.
      role: see `open_network`.
      said: likewise.
      strict_source: likewise.

    Returns:
      What was opened, its notes with those on what was written.

    Raises:
      ConfigError: `path` cannot be opened, or not written as ONNX with the same images, or `out`
        exists or is called otherwise.
      UnsafeCheckpoint: reading `path` would mean running it.
    """
    if out.suffix not in (".safetensors", ".onnx"):
        raise ConfigError(f"what is written is safetensors or ONNX: name it so, got {out}")
    if out.exists():
        raise ConfigError(f"{out} exists; remove it, or name another file")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {out.parent}")
    opened = open_network(path, role=role, said=said, strict_source=strict_source)
    try:
        if out.suffix == ".onnx":
            data, opened = onnx_file(opened, where=str(path))
            write_whole(out, data)
        else:
            _save(opened, out)
    except OSError as error:
        raise GanauditError(f"{out} cannot be written: {error.strerror}") from error
    return opened


def _save(opened: Opened, out: Path) -> None:
    shape = getattr(opened.module, "latent_shape", None)
    facts = dict(opened.facts) | ({} if shape is None else {"latent_shape": list(shape)})
    facts["from"] = {"sha256": opened.sha256, "role": opened.role}
    if opened.notes:
        facts["notes"] = list(opened.notes)
    save_native(out, opened.module, network=opened.network, arguments=opened.arguments, facts=facts)


def _network(holding: Holding, network: Network, strict_source: bool) -> dict[str, Any]:
    arrays = dict(_arrays(network))
    described: dict[str, Any] = {
        "role": network.role,
        "class": network.name,
        "module": network.module,
        "args": list(network.args),
        "kwargs": dict(network.kwargs),
        "parts": sorted(network.classes) or sorted(network.children),
        "values": sum(array.size for array in arrays.values()),
        "dtypes": dict(Counter(array.dtype for array in arrays.values())),
        "tensors": [
            {"name": shown(name, 200), "dtype": array.dtype, "shape": list(array.shape)}
            for name, array in arrays.items()
        ],
        "sources": [
            {"sha256": digest, "release": KNOWN.get(digest)} for digest in sorted(network.sources)
        ],
        "network": None,
        "arguments": None,
        "facts": None,
        "notes": [],
        "refused": None,
    }
    try:
        plan = plan_of(holding, network, strict_source=strict_source)
        fitting(plan, holding)
    except GanauditError as error:
        return described | {"refused": str(error)}
    return described | {
        "network": plan.network,
        "arguments": dict(plan.arguments),
        "facts": dict(plan.facts),
        "notes": list(plan.notes),
    }


def _arrays(network: Network, prefix: str = "") -> Iterable[tuple[str, Array]]:
    yield from ((f"{prefix}{name}", array) for name, array in network.tensors.items())
    for name, child in network.children.items():
        yield from _arrays(child, f"{prefix}{name}/")
