"""`ganaudit check`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganaudit.cli.request_options import RequestOptions, flags_of, takes


@takes(RequestOptions)
def check(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="Folder of a finished run; without it the diagnosis is run."
        ),
    ] = None,
    max_: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="GATE=LIMIT",
            help="Largest value allowed: worst-rate=2%; may be repeated.",
        ),
    ] = None,
    min_: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="GATE=LIMIT",
            help="Smallest value allowed: vendi=100; may be repeated.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="What ganaudit baseline save wrote: what the release is compared with."),
    ] = None,
    max_increase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE[=PERCENT]",
            help="Growth over the baseline allowed [40%]; may be repeated.",
        ),
    ] = None,
    max_decrease: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE[=PERCENT]",
            help="Fall below the baseline allowed [40%]; may be repeated.",
        ),
    ] = None,
    rarefy: Annotated[
        bool | None,
        typer.Option("--rarefy", help="Compare at the baseline's smaller anchors and samples."),
    ] = None,
    inconclusive: Annotated[
        str | None,
        typer.Option(help="report (exit code 4), pass or fail: what becomes of that [report]."),
    ] = None,
    until_decided: Annotated[
        bool | None,
        typer.Option("--until-decided", help="Draw samples until every gate is decided."),
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option(help="Most samples of --until-decided [100000].")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:PATH",
            help="junit, github (PATH may be left out), gitlab, md, json, sarif, model-card or "
            "badge; may be repeated.",
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = None,
    *,
    request: dict[str, Any],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Where each setting comes from; tracebacks.")
    ] = False,
) -> None:
    """Hold a release to its gates: a finished run, or a generator.

    Exit codes: 0 every gate passed, 1 a gate failed, 4 a gate is inconclusive.
    """
    from ganaudit.cli.running import run_check

    own = {
        "run": run,
        "max_": max_,
        "min_": min_,
        "baseline": baseline,
        "max_increase": max_increase,
        "max_decrease": max_decrease,
        "rarefy": rarefy,
        "inconclusive": inconclusive,
        "until_decided": until_decided,
        "max_samples": max_samples,
        "output": output,
        "format_": format_,
    }
    raise typer.Exit(run_check(flags_of(own), request, quiet=quiet, verbose=verbose))
