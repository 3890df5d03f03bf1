"""`ganaudit diagnose`."""

from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    generator: Annotated[
        str | None, typer.Option(help="Path, NAME:TARGET or demo: what is audited.")
    ] = None,
    descriptor: Annotated[
        str | None, typer.Option(help="Path, NAME or NAME:TARGET: what tells identities apart.")
    ] = None,
    descriptor_card: Annotated[
        Path | None,
        typer.Option(help="card.json of ganaudit threshold: theta, radius, preprocessing."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="uniform, a class number or a file of them, one a line [uniform]."),
    ] = None,
    anchors: Annotated[int | None, typer.Option(help="Images scored against [10000].")] = None,
    samples: Annotated[int | None, typer.Option(help="Images scored [10000].")] = None,
    theta: Annotated[
        float | None,
        typer.Option(help="Reach of the similarity, fraction of pi [the descriptor's]."),
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(help="Radius of a neighbourhood, fraction of pi [the descriptor's]."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every draw [0].")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images rendered at once [from memory].")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes [one per GPU, one on the CPU].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run [audit, audit-2, ...].")
    ] = None,
    resume: Annotated[
        bool | None, typer.Option("--resume", help="Continue or extend the run in --out.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Folder of real images: a baseline for the same figures.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:PATH",
            help="html, md, json, csv, parquet, svg or png, beside --out; may be repeated.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="auto, thumbnails or none: pictures stored with every row [auto]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Option of the generator, or descriptor.KEY=VALUE; may be repeated.",
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py", help="Your own code: brings more plugins; may be repeated."
        ),
    ] = None,
    trust: Annotated[
        bool | None,
        typer.Option("--trust", help="Run programs in files: TorchScript, torch.export."),
    ] = None,
    max_faceless: Annotated[
        float | None,
        typer.Option(help="Share of images without a face that stops a run at once [0.5]."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="auto, torch or faiss: how pairs are found [auto].")
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Seconds one call of the generator may take [300].")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="rich or json, on stdout [rich].")
    ] = None,
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run", help="Render a few images, print request and estimate, stop."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Where each setting comes from; tracebacks.")
    ] = False,
) -> None:
    """Measure intra-mode collapse of a generator."""
    flags = {
        "generator": generator,
        "descriptor": descriptor,
        "descriptor_card": descriptor_card,
        "labels": labels,
        "anchors": anchors,
        "samples": samples,
        "theta": theta,
        "radius": radius,
        "seed": seed,
        "batch": batch,
        "device": device,
        "workers": workers,
        "out": out,
        "resume": resume,
        "reference": reference,
        "output": tuple(output or ()),
        "keep": keep,
        "set": tuple(set_ or ()),
        "plugin": tuple(plugin or ()),
        "trust": trust,
        "max_faceless": max_faceless,
        "backend": backend,
        "timeout_s": timeout_s,
        "format": format_,
        "dry_run": dry_run,
    }
    from ganaudit.cli.running import run_diagnose

    raise typer.Exit(run_diagnose(flags, quiet=quiet, verbose=verbose))
