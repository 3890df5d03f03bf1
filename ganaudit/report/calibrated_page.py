"""calibration.html: what a calibrator did, for somebody who has not read the paper.

One file that requests nothing and runs nothing; every string of the document is treated as an
attacker's. The same document and pictures give the same bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ganaudit.report import calibrated_charts as charts
from ganaudit.report import calibrated_tables as tables
from ganaudit.report import calibrated_words as said
from ganaudit.report import words
from ganaudit.report.calibrated_words import Document
from ganaudit.report.captions import wall
from ganaudit.report.html import Album, Picture, css, page, pairs

_NAME = re.compile(r"(anchors|before|after)-[0-9]{1,19}\.(png|jpg)")


@dataclass(frozen=True)
class Strip:
    """Pictures side by side.

    Attributes:
      title: of them.
      pictures: each with its style: "far" beyond the radius, "still" within it, or none.
      caption: below them.
    """

    title: str
    pictures: list[tuple[Picture, str]]
    caption: str


@dataclass(frozen=True)
class Mode:
    """The pictures of one chosen mode.

    Attributes:
      anchor: its own.
      rates: before and after, where it is one of the chosen ones.
      slots: the first ones of the mode, before and after.
      nearest: samples nearest to the anchor, before and after.
    """

    anchor: Picture
    rates: str
    slots: list[Strip]
    nearest: list[Strip]


def render(document: Document, gallery: Path | None) -> str:
    """The page.

    Args:
      document: calibration.json.
      gallery: folder of the pictures that it names; None: placeholders stand for them.
    """
    album, drawn = Album(gallery, names=_NAME), charts.inline(document)
    return page(
        "calibrated.html.jinja",
        document=document,
        said=said,
        tables=tables,
        words=words,
        css=css("report.css", "calibrated.css"),
        modes=[_mode(shown, document, album) for shown in document["gallery"] or ()],
        charts=[(charts.said(document)[name], Markup(svg)) for name, svg in drawn.items()],
        provenance=pairs(said.provenance(document)),
    )


def _mode(shown: Document, document: Document, album: Album) -> Mode:
    slot = shown["anchor"]["slot"]
    rates = [said.change(one) for one in document["modes"] if one["anchor"] == slot]
    nowhere: dict[str, Any] = {"distance": None, "within": None}
    return Mode(
        anchor=album.picture({**nowhere, **shown["anchor"]}, "anchor"),
        rates=f"{rates[0]} of fresh samples" if rates else "",
        slots=_slots(shown["same_slots"], album) if shown["same_slots"] else [],
        nearest=[
            _nearest(shown["before"], album, "before", "Before: the nearest samples"),
            _nearest(shown["after"], album, "after", "Behind the calibrator: the nearest samples"),
        ],
    )


def _slots(pairs: Sequence[Document], album: Album) -> list[Strip]:
    before = [album.picture(pair["before"], "before: sample") for pair in pairs]
    after = [album.picture(pair["after"], "after: sample") for pair in pairs]
    within = [pair["after"]["within"] is True for pair in pairs]
    framed = [(one, "still" if inside else "") for one, inside in zip(after, within, strict=True)]
    first, still = said.first_slots(len(pairs)), said.still(sum(within), len(pairs))
    return [
        Strip("Before: the first slots of this mode", [(one, "") for one in before], first),
        Strip("Behind the calibrator: the same slots", framed, still),
    ]


def _nearest(shown: Sequence[Document], album: Album, when: str, title: str) -> Strip:
    pictures = [album.picture(one, f"{when}: sample") for one in shown]
    return Strip(title, [(one, "far" if one.far else "") for one in pictures], wall(shown))
