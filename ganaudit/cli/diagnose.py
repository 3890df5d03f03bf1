"""`ganaudit diagnose`."""

from typing import Annotated, Any

import typer

from ganaudit.cli.request_options import RequestOptions, takes


@takes(RequestOptions)
def diagnose(
    request: dict[str, Any],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Where each setting comes from; tracebacks.")
    ] = False,
) -> None:
    """Measure intra-mode collapse of a generator."""
    from ganaudit.cli.running import run_diagnose

    raise typer.Exit(run_diagnose(request, quiet=quiet, verbose=verbose))
