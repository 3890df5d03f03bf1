"""`ganaudit sample`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ganaudit.errors import INTERRUPTED, GanauditError, complaint


def sample(
    generator: Annotated[
        str | None, typer.Option(help="Path, address, NAME:TARGET or demo: what is sampled.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", "-n", help="Images, from slot 0 on [64].")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.png",
            help="A new folder, or a .png for the grid alone [samples, samples-2, ...].",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="uniform, a class number or a file of them, one a line [uniform]."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw [0].")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images rendered at once [from their size].")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Option of the generator; may be repeated."
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py", help="File that brings generators; may be repeated."),
    ] = None,
    trust: Annotated[
        bool | None,
        typer.Option("--trust", help="Run programs in files: TorchScript, torch.export."),
    ] = None,
    strict_source: Annotated[
        bool | None,
        typer.Option(
            "--strict-source", help="Refuse a checkpoint with source of no known release."
        ),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Requests a service is sent at most, repeats included.")
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Seconds one call of the generator may take [300].")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
) -> None:
    """Write images of a generator, their latents and seeds, and a grid to look at."""
    import sys
    from contextlib import redirect_stdout
    from dataclasses import replace

    from ganaudit.cli.request_options import flags_of
    from ganaudit.cli.running import Progress, leave, print_result
    from ganaudit.config import SampleConfig
    from ganaudit.files import free_folder
    from ganaudit.settings import resolve

    flags = {
        "generator": generator,
        "samples": samples,
        "out": out,
        "labels": labels,
        "seed": seed,
        "batch": batch,
        "device": device,
        "set_": set_,
        "plugin": plugin,
        "trust": trust,
        "strict_source": strict_source,
        "max_requests": max_requests,
        "timeout_s": timeout_s,
        "format_": format_,
    }
    config = resolve(SampleConfig, flags_of(flags))
    place = config.out or free_folder("samples")
    from ganaudit.sampling import NAME
    from ganaudit.sampling import sample as make
    from ganaudit.sheets import IMAGES

    try:
        # What the generator's code prints is no result.
        with redirect_stdout(sys.stderr), Progress(quiet=quiet) as progress:
            found = make(
                replace(config, out=place), progress=progress.update, notice=progress.notice
            )
    except KeyboardInterrupt:
        _say("interrupted", kept=place / IMAGES)
        leave(INTERRUPTED)
    except GanauditError as error:
        _say(complaint(error), kept=None if error.exit_code == 2 else place / IMAGES)
        leave(error.exit_code)
    print_result(
        found.document,
        lambda: _show(found.document, place),
        as_json=config.format == "json",
        where=None if config.grid_alone else place / NAME,
    )


def _say(sentence: str, *, kept: Path | None) -> None:
    import sys

    print(f"ganaudit: {sentence}", file=sys.stderr)
    if kept is not None and kept.is_dir():
        print(f"ganaudit: what was made is kept in {kept.parent}", file=sys.stderr)


def _show(document: Mapping[str, Any], place: Path) -> None:
    from ganaudit.report.terminal import plain
    from ganaudit.report.words import counted

    counts = document["counts"]
    lines = [f"{counted(counts['ok'], 'image')} of {document['request']['generator']}: {place}"]
    lines += [
        f"{counted(slots, 'slot')} without an image: {reason}"
        for reason, slots in document["reasons"].items()
    ]
    lines += [f"Assumption: {text}" for text in document["assumptions"]]
    lines += [f"Warning: {text}" for text in document["warnings"]]
    for line in lines:
        print(plain(line))
