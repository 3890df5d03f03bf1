"""`ganaudit calibrate`."""

from typing import Annotated, Any

import typer

from ganaudit.cli.request_options import CalibrateOptions, takes


@takes(CalibrateOptions)
def calibrate(
    request: dict[str, Any],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Where each setting comes from; tracebacks.")
    ] = False,
) -> None:
    """Thin the collapsed mode without touching the model, and measure what that did.

    Exit codes: 0 the chosen modes were thinned; 1 the calibrator did nothing, or moved the
    collapse elsewhere.
    """
    from ganaudit.cli.running import run_calibrate

    raise typer.Exit(run_calibrate(request, quiet=quiet, verbose=verbose))
