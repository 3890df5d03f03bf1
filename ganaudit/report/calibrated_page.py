"""calibration.html: what a calibrator did, for somebody who has not read the paper.

One file that requests nothing and runs nothing; every string of the document is treated as an
attacker's. The same document and pictures give the same bytes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ganaudit.report import calibrated_charts as charts
from ganaudit.report import calibrated_words as said
from ganaudit.report import words
from ganaudit.report.calibrated_words import Document
from ganaudit.report.html import Album, Picture, Wall, css, page, pairs

_NAME = re.compile(r"(anchors|before|after)-[0-9]{1,19}\.(png|jpg)")


@dataclass(frozen=True)
class Mode:
    """The pictures of one chosen mode.

    Attributes:
      anchor: its own.
      rates: before and after, where it is one of the chosen ones.
      first: of its first slots, each before and after.
      still: how many of them are still within the radius.
      nearest: samples nearest to the anchor, before and after.
    """

    anchor: Picture
    rates: str
    first: list[tuple[Picture, Picture]]
    still: int
    nearest: list[tuple[str, Wall]]


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
    anchor = album.picture({**nowhere, **shown["anchor"]}, "anchor")
    return Mode(
        anchor=anchor,
        rates=f"{rates[0]} of fresh samples." if rates else "",
        first=[
            (
                album.picture(one["before"], "before: sample"),
                album.picture(one["after"], "after: sample"),
            )
            for one in shown["same_slots"]
        ],
        still=sum(1 for one in shown["same_slots"] if one["after"]["within"]),
        nearest=[
            (title, album.wall({"neighbors": shown[side]}, anchor=anchor))
            for side, title in (("before", "Before"), ("after", "Behind the calibrator"))
        ],
    )
