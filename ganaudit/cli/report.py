"""`ganaudit report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:PATH",
            help="html, md, json, csv, parquet, svg or png; may be repeated.",
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Render the report of a finished run again."""
    from functools import partial

    from ganaudit.cli.running import check_format, print_result
    from ganaudit.config import split_outputs
    from ganaudit.report import canonical, outputs, terminal

    check_format(format_)
    wanted = split_outputs(tuple(output or ()))
    document = canonical.read(run)
    with outputs.complete(run):
        if wanted:
            outputs.write(document, run, wanted)
        else:
            shown = partial(terminal.show, document, folder=run)
            print_result(document, shown, as_json=format_ == "json", where=run / canonical.NAME)
