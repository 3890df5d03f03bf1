"""A training as people read it: training.html, and its summary in a terminal."""

import base64
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from ganaudit.files import write_output
from ganaudit.report import training_charts as charts
from ganaudit.report import training_tables as tables
from ganaudit.report import training_words as said
from ganaudit.report import words
from ganaudit.report.html import css, page, pairs
from ganaudit.report.terminal import grid, plain
from ganaudit.report.training_words import Document

PAGE = "training.html"
_MOST_SHOWN = {3: 9, 2: 8}  # pictures of samples in the page, by how many stand in a row
_MOST_LINKS = 12
_MOST_BYTES = 32 * 2**20  # of the file of one of them
_EXACT = 2**18  # bytes, up to which a picture is shown as it is
_SIDE, _MOST_SIDE = 1100, 4130  # pixels: larger ones are made smaller; those of our grids
_FEW_PIXELS = 400  # across: shown larger, such a picture keeps its pixels
_PICTURE = re.compile(r"samples/step-[0-9]{8}\.png")
_AUDIT = re.compile(r"audits/step-[0-9]{8}")
_PNG = b"\x89PNG\r\n\x1a\n"


class Sample(NamedTuple):
    """What a generator showed: when, the picture itself, and how it is laid out."""

    caption: str
    uri: str
    style: str


def write(document: Document, folder: Path) -> None:
    """Write the page into a training's folder.

    Raises:
      GanauditError: it cannot be written.
    """
    write_output(folder / PAGE, render(document, folder).encode())


def render(document: Document, folder: Path) -> str:
    """The page; pictures of samples are read from `folder`.

    One file that requests nothing and runs nothing; every string of the document is treated as an
    attacker's. The same document and pictures give the same bytes.
    """
    ends, all_of_them = tables.first_and_last(document), tables.over_time(document)
    samples = list(_samples(document, folder))
    return page(
        "training.html.jinja",
        document=document,
        said=said,
        words=words,
        css=css("report.css", "training.css"),
        head=tables.head(ends),
        rows=tables.rows(ends),
        all_head=tables.head(all_of_them),
        all_rows=tables.rows(all_of_them),
        links=list(_links(document)),
        trend=[(caption, Markup(svg)) for caption, svg in charts.of_audits(document)],
        curves=[(caption, Markup(svg)) for caption, svg in charts.of_curves(document)],
        samples=samples,
        wide=any("wide" in sample.style for sample in samples),
        provenance=pairs(
            {
                "Recipe": document["recipe"],
                "Data": document["data"],
                "Files": document["files"],
                "Environment": document["environment"],
            }
        ),
    )


def _links(document: Document) -> Iterator[tuple[str, str]]:
    """Text and place of the pages of the audits, beside this one."""
    for audit in tables.spread(document["audits"], _MOST_LINKS):
        folder = audit["folder"]
        if isinstance(folder, str) and _AUDIT.fullmatch(folder):
            yield f"step {words.count(audit['step'])}", f"{folder}/report.html"


def _samples(document: Document, folder: Path) -> Iterator[Sample]:
    """Some of the pictures over time, those that are there and are such."""
    columns = 3 if "fit" in document["data"] else 2  # planes are wide
    for shown in tables.spread(document["samples"], _MOST_SHOWN[columns]):
        path = folder / shown["file"]
        if not _PICTURE.fullmatch(shown["file"]) or path.is_symlink():
            continue
        try:
            data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
        except OSError:
            continue
        if not data.startswith(_PNG) or len(data) < 33:
            continue
        width, height = struct.unpack(">II", data[16:24])
        kind, small = "png", data
        if max(width, height) > _SIDE or len(data) > _EXACT:
            kind, small = "jpeg", _smaller(data, width, height)
        if small:
            style = "few" if width < _FEW_PIXELS else "wide" if width > height else ""
            uri = f"data:image/{kind};base64,{base64.b64encode(small).decode()}"
            yield Sample(f"Step {words.count(shown['step'])}", uri, style)


def _smaller(data: bytes, width: int, height: int) -> bytes:
    """A picture as a JPEG file of at most 1,100 pixels a side; b"": it is none."""
    from PIL import Image

    if not 0 < min(width, height) <= max(width, height) <= _MOST_SIDE:
        return b""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return b""
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def show(document: Document, folder: Path) -> None:
    """Print the summary of a training on stdout; all of it is put together before."""
    table = grid()
    for name, text in said.facts(document):
        table.add_row(Text(plain(name)), Text(plain(text)))
    audits = tables.first_and_last(document)
    for row in tables.rows(audits):
        (first, _), (last, ends) = row.cells[0], row.cells[-1]
        shown = f"{last} ({ends})" if ends else last
        before = f"; {first} {said.at(audits[0])}" if len(audits) > 1 else ""
        table.add_row(Text(plain(row.name)), Text(plain(f"{shown}{before}")))
    notes = [plain(note) for note in said.notes(document)]
    console = Console(highlight=False)
    console.print()
    console.print(Text(plain(said.headline(document)), style="bold"))
    for sentence in said.lead(document):
        console.print(Text(plain(sentence)))
    console.print()
    console.print(table)
    for note in notes:
        console.print(f"\n{note}", markup=False, soft_wrap=True)
    console.print()
    for name in (PAGE, "training.json", *document["files"]):
        if (folder / name).exists():
            console.print(plain(f"{folder / name}"), markup=False, soft_wrap=True)
