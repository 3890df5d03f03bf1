"""What `ganaudit inspect` shows on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_MOST = 24  # names listed in a line


def show(document: Mapping[str, Any], *, tensors: bool = False) -> None:
    """Print a description of `checkpoints.inspecting` on stdout.

    Args:
      document: of `inspect`.
      tensors: list every tensor.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    say = console.print
    kind = {"torch": "a file of torch", "safetensors": "safetensors"}.get(
        document["kind"], "a pickle"
    )
    say(f"{document['file']}: {kind}, {document['bytes']:,} bytes")
    say(f"sha256 {document['sha256']}")
    if document["not_run"]:
        say(f"It asks for what is not on the allow-list, and got none of it: "
            f"{_listed(document['not_run'])}")  # fmt: skip
    for network in document["networks"]:
        say("")
        for line in _network(network):
            say(line)
        if tensors:
            console.print(_tensors(network))
    if document["beside"]:
        say("")
        said = [f"{name} ({word})" for name, word in document["beside"].items()]
        say(f"Beside them: {_listed(said)}")
    say("")
    opens = document["opens"]
    say(f"Opens as {opens}." if opens is not None else "Does not open.")


def _network(network: Mapping[str, Any]) -> list[str]:
    named = network["class"] and f", class {network['class']}"
    lines = [
        f"{network['role']}{named}: {len(network['tensors']):,} tensors, "
        f"{network['values']:,} values ({', '.join(network['dtypes']) or 'none'})"
    ]
    if network["network"] is not None:
        lines.append(f"  is our {network['network']}: {_assigned(network['arguments'])}")
    if network["kwargs"] or network["args"]:
        positional = [str(value) for value in network["args"]]
        said = ", ".join(filter(None, [*positional, _assigned(network["kwargs"])]))
        lines.append(f"  made with {said}")
    if network["parts"]:
        lines.append(f"  parts: {_listed(network['parts'])}")
    for source in network["sources"]:
        lines.append(f"  source text, not run: {source['release'] or 'of no release that we know'}"
                     f" ({source['sha256'][:12]})")  # fmt: skip
    lines += [f"  note: {note}" for note in network["notes"]]
    if network["refused"] is not None:
        lines.append(f"  refused: {network['refused']}")
    return lines


def _assigned(values: Mapping[str, Any]) -> str:
    return _listed([f"{name}={value}" for name, value in values.items()])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _tensors(network: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=False)
    for tensor in network["tensors"]:
        shape = "x".join(map(str, tensor["shape"])) or "scalar"
        table.add_row(f"  {tensor['name']}", tensor["dtype"], shape)
    return table
