"""A calibration as people read it: as Markdown, in a terminal, and the files of its folder."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ganaudit.errors import GanauditError
from ganaudit.files import write_output
from ganaudit.report import calibrated_charts as charts
from ganaudit.report import calibrated_page as page
from ganaudit.report import calibrated_tables as tables
from ganaudit.report import calibrated_words as said
from ganaudit.report.calibrated_words import Document
from ganaudit.report.markdown import bounded, bullets, escape, folded, table
from ganaudit.report.terminal import grid, plain

PAGE, TEXT = "calibration.html", "calibration.md"
FIGURES, GALLERY = "figures", "gallery"  # folders of charts and of pictures


def write(document: Document, folder: Path) -> None:
    """Write the page, the Markdown and the charts into a calibration's folder.

    Args:
      document: as in its calibration.json.
      folder: which has the gallery.

    Raises:
      GanauditError: a file cannot be written.
    """
    write_output(folder / PAGE, page.render(document, folder / GALLERY).encode())
    write_output(folder / TEXT, render_markdown(document).encode())
    try:
        charts.write(document, folder / FIGURES)
    except OSError as error:
        message = f"{folder / FIGURES} cannot be written: {error.strerror or error}"
        raise GanauditError(message) from error


def render_markdown(document: Document) -> str:
    """The document, at most 60,000 bytes. The same calibration gives the same text."""
    return bounded(_blocks(document), source=said.NAME)


def _blocks(document: Document) -> Iterator[str]:
    """Paragraphs, tables and lists in order."""
    yield f"# {escape(said.headline(document))}"
    for sentence in said.lead(document):
        yield f"**{escape(sentence)}**"
    yield "  \n".join(f"{name}: {escape(value)}" for name, value in said.facts(document))
    yield escape(said.mode(document), most=800)
    yield "## Verdict"
    yield _list(document["verdict"]["sentences"])
    if document["verdict"]["next"] is not None:
        yield f"Next: {escape(document['verdict']['next'])}"
    yield "## Key figures"
    yield table(
        ("Figure", "Value", "95 % interval", "What it means"),
        [
            (card.name, card.value, "; ".join(card.ends), card.meaning)
            for card in tables.key_figures(document)
        ],
    )
    yield "## Announced beforehand, and measured"
    yield escape(said.forecast(document))
    yield _list(document["announced"]["sentences"])
    yield table(
        tables.ANNOUNCED,
        [(name, *tables.in_line(cells)) for name, cells in tables.announced(document)],
    )
    yield "## Chosen modes"
    yield escape(said.met(document), most=800)
    yield table(tables.MODES, map(_mode, tables.modes(document)))
    yield "## Other dense modes"
    yield escape(said.allowed(document), most=800)
    if document["others"]["grown"]:
        yield table(tables.OTHERS, map(_other, tables.grown(document)))
    yield "## What else changed"
    yield escape(said.vendi(document))
    yield escape(said.about_apart(document))
    yield table(
        tables.APART,
        [
            (name, *tables.in_line(cells), meaning)
            for name, cells, meaning in tables.apart(document)
        ],
    )
    if reference := tables.reference(document):
        yield "### To the real images"
        yield table(tables.REFERENCE, [(name, *tables.in_line(cells)) for name, cells in reference])
    if found := tables.discriminator(document):
        yield "### What the discriminator says"
        yield table(
            ("Figure", "Value", "95 % interval", "What it means"),
            [(row.name, row.value, row.interval, row.meaning) for row in found],
        )
    yield "## Every figure, before and after"
    yield escape(said.about_difference(document))
    yield table(tables.DIFFERENCE, tables.difference(document))
    yield "## What may not be concluded"
    yield bullets(said.cautions(document))
    yield "## Provenance"
    for title, part in said.provenance(document).items():
        if part:
            yield folded(title, part)


def show(document: Document, folder: Path) -> None:
    """Print the summary of a calibration on stdout; all of it is put together before.

    Args:
      document: as in its calibration.json.
      folder: of the calibration; its files are named.
    """
    facts = grid()
    for name, value in _rows(document):
        facts.add_row(Text(plain(name)), Text(plain(value)))
    verdict = document["verdict"]
    lines = [("", text) for text in verdict["sentences"]]
    if verdict["next"] is not None:
        lines.append(("Next: ", verdict["next"]))
    printed = [plain(f"{kind}{text}") for kind, text in lines]
    head, dim = plain(said.headline(document)), plain(said.mode(document))
    console = Console(highlight=False)
    console.print()
    console.print(Text(head, style="bold"))
    console.print(Text(dim, style="dim"))
    console.print()
    console.print(facts)
    for line in printed:
        console.print(f"\n{line}", markup=False, soft_wrap=True)
    console.print()
    for name in (PAGE, said.NAME, document["calibrator"]["file"]):
        if (folder / name).exists():
            console.print(plain(f"{folder / name}"), markup=False, soft_wrap=True)


def _rows(document: Document) -> Iterator[tuple[str, str]]:
    """Name and figure, for people who come back to a calibration; the page explains them."""
    forecasts = [value for _, ((value, _), _) in tables.announced(document)]
    for card, announced in zip_longest(tables.key_figures(document), forecasts):
        beside = f" ({'; '.join(card.ends)})" if card.ends else ""
        yield card.name, f"{card.value}{beside}"
        if announced is not None:
            yield "  announced", announced
    for number, anchor, cells, against in tables.modes(document)[1:]:
        before, _, after, times = tables.in_line(cells)
        yield (
            f"Mode {number}, anchor {anchor}",
            f"{before}{said.TO}{after}: {times} times what it was, {against}",
        )
    most = document["others"]["largest"]
    for effect in [] if most is None else [most]:
        yield "Other mode that grew most", f"anchor {effect['anchor']}: {said.change(effect)}"
    for name, cells, _ in tables.apart(document):
        behind, chance = tables.in_line(cells)
        yield f"{name} to uncalibrated", f"{behind}; by chance alone {chance}"
    for name, cells in tables.reference(document):
        yield f"{name} to real images", said.TO.join(tables.in_line(cells))
    for row in tables.discriminator(document):
        yield f"Discriminator, {row.name.lower()}", f"{row.value} {row.interval}".strip()
    for name, value in said.facts(document):
        yield name, value


def _list(sentences: Sequence[str]) -> str:
    return bullets(sentences, source=said.NAME)


def _mode(found: tuple[str, str, list[tables.Cell], str]) -> Sequence[str]:
    number, anchor, cells, against = found
    return number, anchor, *tables.in_line(cells), against


def _other(found: tuple[str, list[tables.Cell], str]) -> Sequence[str]:
    anchor, cells, p = found
    return anchor, *tables.in_line(cells), p
