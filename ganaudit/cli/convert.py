"""`ganaudit convert`."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="IN", help="A checkpoint, or a folder with config.json.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="A file that does not exist yet.")
    ],
    role: Annotated[
        str | None, typer.Option(help="Which of its networks [G_ema, else Gs, else G].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Of bare tensors: network=NAME and its arguments; may be repeated.",
        ),
    ] = None,
    strict_source: Annotated[
        bool,
        typer.Option("--strict-source", help="Refuse embedded source of no known release."),
    ] = False,
) -> None:
    """Write one network of a checkpoint as safetensors, bit for bit. Nothing of it is run."""
    from ganaudit.checkpoints import inspecting
    from ganaudit.config import split_options

    said = split_options(tuple(set_ or ())).generator
    opened = inspecting.convert(file, out, role=role, said=said, strict_source=strict_source)
    for note in opened.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{out}: {opened.network}, {opened.role} of {file}")
