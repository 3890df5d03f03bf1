"""A report as a person reads it in a terminal, from the canonical JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(report: Mapping[str, Any], *, folder: Path) -> None:
    """Print the summary of a report on stdout."""
    console = Console(highlight=False)
    figures = report["figures"]
    console.print()
    console.print(Text(headline(report), style="bold"))
    console.print()
    table = _grid()
    mccs, code = figures["mccs"], figures["mccs_reference_code"]
    worst = figures["worst_mode"]
    table.add_row("Mean similarity", f"{figures['mean_similarity']:.6g}")
    table.add_row(f"MCCS at n = {figures['samples']:,}", _spread(mccs["mu"], mccs["sigma"]))
    table.add_row("Largest MCCS of an anchor", f"{mccs['largest']:.4f}")
    table.add_row(
        "Worst mode",
        f"anchor {worst['anchor']}: {worst['count']:,} samples, MCCS {worst['mccs']:.4f}, "
        f"mean similarity {worst['mean_similarity']:.6g}",
    )
    table.add_row("Median anchor's rate", f"{figures['median_rate']:.3%}")
    table.add_row("As in the published tables", _spread(code["mu"], code["sigma"]))
    for name, counts in report["counts"].items():
        table.add_row(name.capitalize(), _counted(counts))
    scale = report["scale"]
    origins = list(dict.fromkeys(scale[f"{name}_origin"] for name in ("theta", "radius")))
    shown = f"{scale['theta']:.4g} and {scale['radius']:.4g} of pi; {'; '.join(origins)}"
    table.add_row("Theta and radius", shown)
    descriptor = report["descriptor"]
    table.add_row("Descriptor", "none: embeddings" if descriptor is None else descriptor["name"])
    console.print(table)
    for kind in ("assumptions", "warnings"):
        for sentence in report[kind]:
            console.print(f"\n{kind[:-1].capitalize()}: {sentence}", markup=False, soft_wrap=True)
    console.print(
        "\nThese are point estimates. The worst mode is the densest of all anchors on the samples "
        "that chose it, which flatters the collapse.",
        style="dim",
    )
    console.print(f"{folder / 'report.json'}", markup=False, soft_wrap=True)


def headline(report: Mapping[str, Any]) -> str:
    """The worst mode's rate and its ratio to the median anchor's, in a sentence."""
    figures = report["figures"]
    worst, radius = figures["worst_mode"], report["scale"]["radius"]
    sentence = (
        f"{worst['rate']:.2%} of {figures['samples']:,} samples lie within {radius:.3g} pi of one "
        f"anchor"
    )
    times = worst["times_median_rate"]
    if times is None:
        return f"{sentence}; the median of {figures['anchors']:,} anchors has none."
    return f"{sentence}, {times:,.1f} times as many as of the median of {figures['anchors']:,}."


def show_plan(outlook: Mapping[str, Any]) -> None:
    """Print a dry run: the request with the origin of each value, and the estimate."""
    console = Console(highlight=False)
    table = _grid()
    for name, value in outlook["request"].items():
        shown = "chosen at the start" if value is None else str(value)
        table.add_row(name, f"{shown}  ({outlook['origins'].get(name, 'default')})")
    console.print(table)
    estimate = outlook["estimate"]
    seconds = estimate["seconds_at_small_batches"]
    size = estimate["image_size"]
    console.print(
        f"\n{estimate['images']:,} slots"
        + (
            f", the first image {size[1]} x {size[0]}, batches of {estimate['batch']}"
            if size
            else ""
        )
        + f"; {estimate['disk_bytes'] / 2**20:,.1f} MiB on disk; {estimate['pairs']:,} pairs"
        + (f"; about {seconds:,.0f} s to make, judged by a small batch" if seconds else "")
        + "."
    )
    for sentence in outlook["warnings"]:
        console.print(f"Warning: {sentence}", markup=False, soft_wrap=True)


def show_plugins(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print plugins; with options and description where they are known."""
    console = Console(highlight=False)
    table = _grid()
    for entry in entries:
        table.add_row(f"{entry['kind']} {entry['name']}", entry["factory"])
    console.print(table)
    for entry in entries:
        if "about" in entry:
            console.print(f"\n{entry['kind']} {entry['name']}", style="bold", markup=False)
            prefix = "descriptor." if entry["kind"] == "descriptor" else ""
            for option in entry["options"]:
                console.print(f"  --set {prefix}{option}", markup=False, soft_wrap=True)
            console.print(f"\n{entry['about']}", markup=False, soft_wrap=True)


def show_findings(findings: Sequence[Mapping[str, str]]) -> None:
    """Print what `ganaudit doctor` found."""
    console = Console(highlight=False)
    table = _grid()
    for finding in findings:
        mark = "" if finding["state"] == "ok" else "missing: "
        remedy = f"\n{finding['remedy']}" if finding["remedy"] else ""
        table.add_row(finding["what"], Text(f"{mark}{finding['detail']}{remedy}"))
    console.print(table)


def _grid() -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _spread(mu: float | None, sigma: float | None) -> str:
    if mu is None:
        return "infinite: an anchor with every sample on it"
    return f"mu {mu:.4f}" + ("" if sigma is None else f", sigma {sigma:.4f}")


def _counted(counts: Mapping[str, int]) -> str:
    names = {"ok": "scored", "no_face": "without a face", "failed": "failed", "refused": "refused"}
    shown = [f"{counts[key]:,} {name}" for key, name in names.items() if counts[key] or key == "ok"]
    return ", ".join(shown)
