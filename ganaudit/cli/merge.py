"""`ganaudit merge`."""

from pathlib import Path
from typing import Annotated

import typer

from ganaudit.errors import INTERRUPTED


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="PART...", help="Folders of ganaudit diagnose --shard: all parts."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run [audit, audit-2, ...].")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N: what scores [auto].")
    ] = "auto",
    format_: Annotated[
        str, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = "rich",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
) -> None:
    """Unite the parts of a run that --shard made, and score it."""
    import sys

    from ganaudit.cli.running import Progress, check_format, leave, print_result
    from ganaudit.pipeline import merge as unite
    from ganaudit.report.terminal import show
    from ganaudit.starting import own_folder

    check_format(format_)
    folder = out or own_folder(resume=False)
    try:
        with Progress(quiet=quiet) as bar:
            audit = unite(parts, folder, device=device, progress=bar.update, notice=bar.notice)
    except KeyboardInterrupt:
        again = "the same command goes on" if out else f"go on with --out {folder}"
        print(f"ganaudit: interrupted; {again}", file=sys.stderr)
        leave(INTERRUPTED)
    print_result(
        audit.report,
        lambda: show(audit.report, folder=audit.folder),
        as_json=format_ == "json",
        where=audit.folder / "report.json",
    )
