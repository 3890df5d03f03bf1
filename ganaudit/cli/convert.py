"""`ganaudit convert`."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="IN", help="A checkpoint, or a folder with config.json.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A file that does not exist yet: .safetensors, or .onnx of a generator.",
        ),
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
    """Write one network of a checkpoint as safetensors, bit for bit, or as ONNX.

    No code of the checkpoint is run. ONNX is written of generators, if ONNX Runtime makes their
    images within 1e-4; prior and range are in the file.
    """
    from ganaudit.checkpoints import inspecting
    from ganaudit.config import split_options

    said = split_options(tuple(set_ or ())).generator
    opened = inspecting.convert(file, out, role=role, said=said, strict_source=strict_source)
    for note in opened.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{out}: {opened.network}, {opened.role} of {file}")
