"""`ganaudit inspect`."""

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, or a folder with config.json.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    strict_source: Annotated[
        bool,
        typer.Option("--strict-source", help="Refuse embedded source of no known release."),
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = "rich",
) -> None:
    """Say what a checkpoint is and holds, and what is refused and why. Nothing of it is run."""
    from functools import partial

    from ganaudit.checkpoints import inspecting
    from ganaudit.cli.running import check_format, print_result
    from ganaudit.report.inspected import show

    check_format(format_)
    document, refusal = inspecting.inspect(file, strict_source=strict_source)
    shown = partial(show, document, tensors=tensors)
    print_result(document, shown, as_json=format_ == "json", where=None)
    if refusal is not None:
        raise refusal
