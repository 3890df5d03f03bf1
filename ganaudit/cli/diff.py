"""`ganaudit diff`."""

from pathlib import Path
from typing import Annotated

import typer


def diff(
    a: Annotated[Path, typer.Argument(help="Folder of a finished run: the base.")],
    b: Annotated[Path, typer.Argument(help="Folder of another one.")],
    rarefy: Annotated[
        bool, typer.Option("--rarefy", help="Cut both to the anchors and samples that both have.")
    ] = False,
    output: Annotated[
        list[str] | None,
        typer.Option(metavar="FORMAT:PATH", help="md or json; may be repeated."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Compare two finished runs: every figure, with the interval of its difference."""
    from functools import partial

    from ganaudit.cli.running import check_format, print_result
    from ganaudit.config import split_outputs
    from ganaudit.difference import diff as compare
    from ganaudit.files import json_text, write_output
    from ganaudit.report import compared

    check_format(format_)
    wanted = split_outputs(tuple(output or ()), ("md", "json"))
    document = compare(a, b, rarefy=rarefy)
    for name, path in wanted:
        shown = compared.render(document) if name == "md" else json_text(document)
        write_output(path, shown.encode(errors="replace"))
    print_result(document, partial(compared.show, document), as_json=format_ == "json", where=None)
