"""`ganaudit plugins`."""

from typing import Annotated

import typer


def plugins(
    name: Annotated[
        str | None, typer.Argument(help="A plugin whose options are shown; it is imported.")
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py", help="Your own code: brings more plugins; may be repeated."
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """List generators and descriptors, or the options of one of them."""
    import json
    import sys
    from contextlib import redirect_stdout

    from ganaudit.cli.running import check_format
    from ganaudit.registry import catalogue
    from ganaudit.report.terminal import show_plugins

    check_format(format_)
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        found = catalogue(name, tuple(plugin or ()))
    if format_ == "json":
        print(json.dumps(found, indent=2))
    else:
        show_plugins(found)
