"""A report as a person reads it in a terminal, from the canonical JSON."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganaudit.report import captions, labels, words

# What GitHub (::name:: and ##[name]), Azure (##vso[) and TeamCity (##teamcity[) take for a command,
# even in the middle of a line, is none where something of no width parts it.
_COMMAND = re.compile(r"(?<=:)(?=:)|(?<=#)(?=#\w*\[)")
_APART = "\u200b"


def show(report: Mapping[str, Any], *, folder: Path) -> None:
    """Print the summary of a report on stdout; it is put together before any of it is printed."""
    headline, identity = words.headline(report), words.identity(report)
    table = grid()
    for name, shown in _rows(report):
        table.add_row(Text(plain(name)), Text(plain(shown)))
    reference = report["reference"]
    sentences = []
    if reference is not None:
        said = [captions.baseline(reference), *reference["sentences"]]
        sentences += [("Reference", text) for text in said]
    sentences += [("Assumption", text) for text in report["assumptions"]]
    sentences += [("Screen", text) for text in report["screen"]["findings"]]
    sentences += [("Warning", text) for text in report["warnings"]]
    lines = [plain(f"{kind}: {text}") for kind, text in sentences]
    console = Console(highlight=False)
    console.print()
    console.print(Text(plain(headline), style="bold"))
    console.print(Text(plain(identity), style="dim"))
    console.print()
    console.print(table)
    for line in lines:
        console.print(f"\n{line}", markup=False, soft_wrap=True)
    console.print()
    for name in ("report.html", "report.json"):
        if (folder / name).exists():
            console.print(f"{folder / name}", markup=False, soft_wrap=True)


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and figure, for people who come back to a run; the page explains them."""
    figures, scale = report["figures"], report["scale"]
    mccs, worst, code = figures["mccs"], figures["worst_mode"], figures["mccs_reference_code"]
    at = f"at n = {figures['samples']:,}"
    count = words.counted(worst["count"], "sample")
    rate = words.with_interval(worst["rate"], share=True)
    yield "Worst mode", f"anchor {worst['anchor']}: {count}, {rate}"
    apart = worst["chosen_and_scored_apart"]
    if apart is not None:
        yield "  chosen and scored apart", words.with_interval(apart["rate"], share=True)
        yield "  mean similarity", words.with_interval(apart["mean_similarity"])
    yield "Median anchor's rate", words.percent(figures["median_rate"])
    yield "Mean similarity", words.with_interval(figures["mean_similarity"])
    yield "MCCS of it, pooled", words.with_interval(mccs["pooled"])
    yield f"Mean MCCS mu {at}", words.with_interval(mccs["mu"])
    if mccs["sigma"] is not None:
        yield f"Spread sigma {at}", words.with_interval(mccs["sigma"])
    yield "Largest MCCS of an anchor", words.number(mccs["largest"])
    yield "Effective number of modes", words.with_interval(figures["effective_modes"])
    if figures["vendi"] is not None:
        yield "Vendi score, order 1", words.with_interval(figures["vendi"]["order_1"])
    copies = figures["near_copies"]
    flagged = f"{copies['flagged']:,} of {figures['anchors']:,} anchors"
    yield "Near copies", f"{flagged}, {words.probability(copies['p'])}"
    published = f"mu {words.number(code['mu'])}, sigma {words.number(code['sigma'])}"
    yield "As in the published tables", published
    if report["labels"] is not None and report["labels"]["by_label"]:
        (label, ((samples, _), worst, *_)), *_ = labels.rows(report["labels"])
        rate = f"{worst[0]} ({worst[1]})"
        yield "Densest within a label", f"label {label}: {rate} of its {samples} samples"
    if report["reference"] is not None:
        found = report["reference"]["fidelity"]
        frechet, density = (words.number(found[k]) for k in ("frechet_distance", "density"))
        coverage = words.percent(found["coverage"])
        distances = f"Fréchet distance {frechet}, density {density}, coverage {coverage}"
        yield "Against the reference", distances
    for name, counts in report["counts"].items():
        yield name.capitalize(), _counted(counts)
    origins = list(dict.fromkeys(scale[f"{name}_origin"] for name in ("theta", "radius")))
    reach = f"{scale['theta']:.4g} and {scale['radius']:.4g} of pi"
    yield "Theta and radius", f"{reach}; {'; '.join(origins)}"
    yield "Descriptor", words.descriptor(report)


def show_plan(outlook: Mapping[str, Any]) -> None:
    """Print a dry run: the request with the origin of each value, and the estimate."""
    console = Console(highlight=False)
    table = grid()
    for name, value in outlook["request"].items():
        shown = "chosen at the start" if value is None else str(value)
        origin = outlook["origins"].get(name, "default")
        table.add_row(name, Text(plain(f"{shown}  ({origin})")))
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
        + ("" if estimate["requests"] is None else f"; {estimate['requests']:,} requests or more")
        + f"; {estimate['disk_bytes'] / 2**20:,.1f} MiB on disk; {estimate['pairs']:,} pairs"
        + (f"; about {seconds:,.0f} s to make, judged by a small batch" if seconds else "")
        + "."
    )
    for sentence in outlook.get("gates", ()):
        console.print(plain(f"Gate: {sentence}"), markup=False, soft_wrap=True)
    for sentence in outlook["warnings"]:
        console.print(plain(f"Warning: {sentence}"), markup=False, soft_wrap=True)


def show_part(summary: Mapping[str, Any]) -> None:
    """Print which slots a part of a run holds, and what comes next."""
    i, parts = summary["shard"]
    slots = [f"{one['made']:,} of {one['of']:,} {name}" for name, one in summary["slots"].items()]
    console = Console(highlight=False)
    for line in (
        f"{summary['folder']} holds part {i}/{parts} of a run: {' and '.join(slots)}.",
        f"When all parts are made, {summary['next']} unites and scores them.",
    ):
        console.print(plain(line), markup=False, soft_wrap=True)


def show_plugins(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print plugins; with options and description where they are known."""
    console = Console(highlight=False)
    table = grid()
    for entry in entries:
        table.add_row(
            *(Text(plain(t)) for t in (f"{entry['kind']} {entry['name']}", entry["factory"]))
        )
    console.print(table)
    for entry in entries:
        if "about" in entry:
            title = plain(f"{entry['kind']} {entry['name']}")
            console.print(f"\n{title}", style="bold", markup=False)
            prefix = "descriptor." if entry["kind"] == "descriptor" else ""
            for option in entry["options"]:
                console.print(plain(f"  --set {prefix}{option}"), markup=False, soft_wrap=True)
            for line in ("", *entry["about"].splitlines()):
                console.print(plain(line), markup=False, soft_wrap=True)


def show_findings(findings: Sequence[Mapping[str, str]]) -> None:
    """Print what `ganaudit doctor` found."""
    console = Console(highlight=False)
    table = grid()
    for finding in findings:
        mark = "" if finding["state"] == "ok" else "missing: "
        remedy = f"\n{finding['remedy']}" if finding["remedy"] else ""
        lines = f"{mark}{finding['detail']}{remedy}".splitlines()
        table.add_row(Text(plain(finding["what"])), Text("\n".join(map(plain, lines))))
    console.print(table)


def plain(text: str) -> str:
    """Without what would steer a terminal or a CI job: a report's strings may be an attacker's."""
    return _COMMAND.sub(_APART, "".join(c if c.isprintable() else "\ufffd" for c in text))


def grid() -> Table:
    """Two columns: names, and what is said of them."""
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _counted(counts: Mapping[str, int]) -> str:
    names = {"ok": "scored", "no_face": "without a face", "failed": "failed", "refused": "refused"}
    shown = [f"{counts[key]:,} {name}" for key, name in names.items() if counts[key] or key == "ok"]
    return ", ".join(shown)
