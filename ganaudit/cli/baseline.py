"""`ganaudit baseline save` and `ganaudit baseline show`."""

from pathlib import Path
from typing import Annotated, Any

import typer

baseline = typer.Typer(
    help="The file that later releases are compared with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@baseline.command()
def save(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="File; an older baseline in it is replaced.")] = Path(
        "baseline.json"
    ),
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Make a small file of a finished run, to commit and compare later releases with."""
    from ganaudit import baselines
    from ganaudit.cli.running import check_format

    check_format(format_)
    _print(baselines.save(run, out).document(), out, format_)


@baseline.command()
def show(
    file: Annotated[Path, typer.Argument(help="What ganaudit baseline save wrote.")],
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Show what a baseline holds."""
    from ganaudit import baselines
    from ganaudit.cli.running import check_format

    check_format(format_)
    _print(baselines.read(file).document(), file, format_)


def _print(document: dict[str, Any], file: Path, format_: str) -> None:
    from functools import partial

    from ganaudit.cli.running import print_result
    from ganaudit.report.compared import show_baseline

    shown = partial(show_baseline, document, file=file)
    print_result(document, shown, as_json=format_ == "json", where=file)
