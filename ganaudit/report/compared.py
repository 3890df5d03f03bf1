"""Two runs side by side, for the terminal and as Markdown; and what a baseline holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganaudit.report import verdicts, words
from ganaudit.report.markdown import escape, table
from ganaudit.report.terminal import grid, plain

Document = Mapping[str, Any]
HEAD = ("Figure", "A", "B", "B - A", "95 % interval")


def rows(document: Document) -> list[tuple[str, ...]]:
    """A row a figure, in the order of `HEAD`; a star marks what is told apart."""
    return [
        (
            f"{line['title']} *" if line["told_apart"] else line["title"],
            words.estimate(line["a"], share=line["share"]),
            words.estimate(line["b"], share=line["share"]),
            _signed(line["difference"]["estimate"], share=line["share"]),
            _ends(line["difference"], share=line["share"]),
        )
        for line in document["figures"]
    ]


def sides(document: Document) -> list[str]:
    """Which runs they are, at which size."""
    said = [
        f"{name.upper()}: {words.named(side['generator'])} in {words.named(side['folder'])}, "
        f"{words.counted(side['anchors'], 'anchor')}, {words.counted(side['samples'], 'sample')}"
        for name, side in (("a", document["a"]), ("b", document["b"]))
    ]
    if document["rarefied"]:
        said.append("Both were cut to what both have.")
    return said


def explained(document: Document) -> str:
    """What the star means."""
    found = sum(line["told_apart"] for line in document["figures"])
    return (
        f"{words.counted(found, 'figure')} of {len(document['figures'])} marked *: the 95 % "
        "interval of the difference leaves 0 out. Each is judged alone; of 20 figures of two equal "
        "generators one will be marked. ganaudit check is the verdict."
    )


def render(document: Document) -> str:
    """As Markdown."""
    heads = "  \n".join(escape(line) for line in sides(document))
    blocks = ["# Difference", heads, table(HEAD, rows(document)), escape(explained(document))]
    return "\n\n".join(blocks) + "\n"


def show(document: Document) -> None:
    """On the terminal."""
    console = Console(highlight=False)
    shown = Table(box=None, padding=(0, 2), header_style="bold")
    for number, title in enumerate(HEAD):
        shown.add_column(title, justify="left" if not number else "right", overflow="fold")
    for row in rows(document):
        shown.add_row(*(Text(plain(cell)) for cell in row))
    for line in sides(document):
        console.print(plain(line), markup=False, soft_wrap=True)
    console.print()
    console.print(shown)
    console.print(f"\n{plain(explained(document))}", markup=False, soft_wrap=True)


def show_baseline(document: Document, *, file: Path) -> None:
    """What a baseline holds, on the terminal."""
    console = Console(highlight=False)
    facts = grid()
    for name, value in (
        ("Baseline", str(file)),
        ("Generator", words.named(document["generator"])),
        ("Descriptor", words.named((document["descriptor"] or {"name": "embeddings"})["name"])),
        ("Theta and radius", f"{document['theta']:.4g} and {document['radius']:.4g} of pi"),
        (
            "Size",
            f"{words.counted(document['anchors'], 'anchor')}, "
            f"{words.counted(document['samples'], 'sample')}, seed {document['seed']}",
        ),
        ("Found", verdicts.line(document["headline"])),
    ):
        facts.add_row(Text(name), Text(plain(value)))
    for rank, mode in enumerate(document["modes"], start=1):
        share = words.percent(mode["count"] / mode["of"])
        facts.add_row(
            Text(f"Mode {rank}"),
            Text(f"anchor {mode['anchor']}: {share} ({mode['count']:,} of {mode['of']:,})"),
        )
    console.print(facts)


def _signed(value: float | None, *, share: bool) -> str:
    if value is None:
        return words.UNKNOWN
    shown = words.percent(abs(value)) if share else words.number(abs(value))
    return f"{'-' if value < 0 else '+' if value > 0 else ''}{shown}"


def _ends(interval: Mapping[str, Any], *, share: bool) -> str:
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return "none" if low is None and high is None else words.interval(interval, share=share)
    return f"{_signed(low, share=share)} to {_signed(high, share=share)}"
