"""`ganaudit threshold`."""

from pathlib import Path
from typing import Annotated

import typer

from ganaudit.errors import INTERRUPTED


def threshold(
    descriptor: Annotated[
        str | None, typer.Option(help="Path, NAME or NAME:TARGET: what is measured.")
    ] = None,
    identities: Annotated[
        str | None, typer.Option(help="Folder of pictures: one folder a person or object in it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="descriptor.KEY=VALUE",
            help="Option of the descriptor; may be repeated.",
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py", help="File that brings descriptors; may be repeated."),
    ] = None,
    trust: Annotated[
        bool | None, typer.Option("--trust", help="Run programs in files: TorchScript.")
    ] = None,
    fmr: Annotated[
        float | None, typer.Option(help="False-match rate that the radius may have [0.001].")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the intervals [0].")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures embedded at once [from memory].")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the card [threshold, threshold-2, ...].")
    ] = None,
    try_preprocessing: Annotated[
        bool | None,
        typer.Option("--try-preprocessing", help="List the usual preprocessings by their AUC."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure theta and radius of a descriptor on pictures of known identities."""
    import sys
    from contextlib import redirect_stdout

    from ganaudit.cli.running import Progress, leave, print_result
    from ganaudit.config import ThresholdConfig
    from ganaudit.report.verification import show
    from ganaudit.settings import resolve
    from ganaudit.threshold import threshold as measure

    flags = {
        "descriptor": descriptor,
        "identities": identities,
        "set": tuple(set_ or ()),
        "plugin": tuple(plugin or ()),
        "trust": trust,
        "fmr": fmr,
        "seed": seed,
        "batch": batch,
        "device": device,
        "out": out,
        "try_preprocessing": try_preprocessing,
        "format": format_,
    }
    config = resolve(ThresholdConfig, flags)
    try:
        with redirect_stdout(sys.stderr), Progress(quiet=quiet) as progress:
            found = measure(config, progress=progress.update)
    except KeyboardInterrupt:
        print("ganaudit: interrupted; no card was written", file=sys.stderr)
        leave(INTERRUPTED)
    print_result(
        found.report,
        lambda: show(found.report, folder=found.folder),
        as_json=config.format == "json",
        where=None if found.folder is None else found.folder / "report.json",
    )
