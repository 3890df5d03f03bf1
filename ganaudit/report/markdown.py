"""report.md: the report for a pull request or a wiki, without pictures.

GitHub flavoured. Every string of the report is treated as an attacker's: it can set no markup, no
link, no mention and no line of its own.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ganaudit.report import captions, comparison, labels, meanings, words
from ganaudit.report.meanings import Row
from ganaudit.report.words import Report

_MOST = 60_000  # bytes; GitHub takes comments of 65,536 characters
_SENTENCE, _BLOB, _MANY = 400, 8000, 20  # characters of a sentence, of a block, sentences of a list
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")
_FIRST = re.compile(r"^(\d*)([-+=#.)])(?!\d)")  # what would begin a list or a title
# Addresses, mentions and numbers of issues are none where something of no width parts them.
_LIVE = re.compile(r"(?<=@)|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bGH-)(?=\d)|(?<=#)(?=\d)", re.I)
_APART = "\u200b"
_COUNTS = {"ok": "scored", "no_face": "no face", "failed": "failed", "refused": "refused"}


def render(report: Report) -> str:
    """The document, at most 60,000 bytes. The same report gives the same text."""
    return bounded(_blocks(report), source="report.json")


def bounded(blocks: Iterable[str], *, source: str) -> str:
    """Blocks as one document of at most 60,000 bytes; `source` has what was left out."""
    kept: list[str] = []
    cut = f"*Shortened; {source} has all of it.*"
    left = _MOST - len(cut) - 2
    for block in blocks:
        left -= len(block.encode()) + 2
        if left < 0:
            kept.append(cut)
            break
        kept.append(block)
    return "\n\n".join(kept) + "\n"


def escape(text: object, *, most: int = _SENTENCE) -> str:
    """Text as text: on one line, of a bounded length, with nothing that Markdown would act on."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return _LIVE.sub(_APART, _FIRST.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line)))


def _blocks(report: Report) -> Iterator[str]:
    """Paragraphs, tables and lists in order."""
    yield f"# {escape(words.claim(report))}"
    yield f"**{escape(words.likeness(report))}**"
    yield _facts(report)
    yield escape(words.identity(report))
    yield from _section("Key figures", [("", meanings.key_figures(report))])
    yield "## Dense modes"
    yield _dense_modes(report)
    yield "## Convergence"
    yield _convergence(report)
    yield from _section("Every figure", meanings.companions(report))
    if report["labels"] is not None:
        yield from _by_label(report["labels"])
    if report["reference"] is not None:
        yield from _against(report["reference"])
    yield "## Remarks"
    yield escape(captions.screened(report))
    for title, sentences in captions.remarks(report):
        yield f"### {title}"
        yield bullets(sentences)
    yield "## What may not be concluded"
    yield bullets(captions.cautions(report))
    yield "## Provenance"
    yield _slots(report)
    for name in ("request", "generator", "descriptor", "scale", "environment", "timings"):
        if report[name]:
            yield folded(name.capitalize(), report[name])


def _facts(report: Report) -> str:
    card = report["descriptor"]
    described = "none: embeddings were given" if card is None else words.named(card["name"])
    rows = [
        ("Generator", words.named(report["request"]["generator"])),
        ("Descriptor", described),
        ("Size", words.sizes(report)),
        ("Seed", report["request"]["seed"]),
    ]
    return "  \n".join(f"{name}: {escape(value)}" for name, value in rows)


def _section(title: str, groups: Iterable[tuple[str, Sequence[Row]]]) -> Iterator[str]:
    yield f"## {title}"
    for name, rows in groups:
        if name:
            yield f"### {name}"
        cells = [(row.name, row.value, row.interval, row.meaning) for row in rows]
        yield table(("Figure", "Value", "95 % interval", "What it means"), cells)


def _dense_modes(report: Report) -> str:
    modes = report["figures"]["dense_modes"]
    if not modes:
        return "None: no anchor has a sample within the radius."
    cells = [
        (
            mode["rank"],
            mode["anchor"],
            words.estimate(mode["rate"], share=True),
            words.interval(mode["rate"], share=True),
            words.count(mode["count"]),
        )
        for mode in modes
    ]
    return table(("Rank", "Anchor", "Rate", "95 % interval", "Samples"), cells)


def _convergence(report: Report) -> str:
    cells = [
        (
            words.count(point["samples"]),
            words.with_interval(point["mean_similarity"]),
            words.with_interval(point["mu"]),
            words.with_interval(point["worst_rate"], share=True),
        )
        for point in report["figures"]["convergence"]
    ]
    return table(("n", "Mean similarity", "mu at n", "Worst rate"), cells)


def _against(found: Report) -> Iterator[str]:
    yield "## Against real images"
    yield escape(captions.baseline(found))
    yield bullets(found["sentences"])
    cells = [
        (name, *(f"{value} ({ends})" for value, ends in sides))
        for name, sides in comparison.sides(found)
    ]
    yield table(("Figure", "Generated", "Real", "Generated over real"), cells)
    yield from _section("Among the real images", [("", comparison.fidelity(found))])


def _by_label(found: Report) -> Iterator[str]:
    yield "## Label by label"
    yield bullets(labels.about(found))
    if found["by_label"]:
        cells = [
            (label, *(f"{value} ({ends})" for value, ends in shown))
            for label, shown in labels.rows(found)[:_MANY]
        ]
        yield table(labels.HEAD, cells)
        if len(found["by_label"]) > _MANY:
            yield f"And {len(found['by_label']) - _MANY} more labels in report.json."


def _slots(report: Report) -> str:
    cells = [
        (name, *(words.count(counts[status]) for status in _COUNTS))
        for name, counts in report["counts"].items()
    ]
    return table(("Slots", *_COUNTS.values()), cells)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells are text."""
    lines = [head, ["---"] * len(head)]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def bullets(sentences: Sequence[str], *, source: str = "report.json") -> str:
    """A list of the first 20; `source` has the rest."""
    shown = [f"- {escape(sentence)}" for sentence in sentences[:_MANY]]
    if len(sentences) > _MANY:
        shown.append(f"- and {len(sentences) - _MANY} more in {source}")
    return "\n".join(shown) or "None."


def folded(title: str, value: Any) -> str:
    """JSON behind a title. No run of its backquotes is as long as the fence."""
    text = json.dumps(value, indent=2)  # in ASCII, where nothing turns a line around
    text = text if len(text) <= _BLOB else f"{text[:_BLOB]}\n…"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"<details><summary>{title}</summary>\n\n{fence}json\n{text}\n{fence}\n\n</details>"
