"""report.html: one file for somebody who has not read the paper, complete in itself.

Nothing is requested from anywhere, no script runs, pictures and drawings are inside, and every
string of the report is treated as an attacker's. The same report gives the same bytes.
"""

import base64
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from ganaudit.report import captions, comparison, figures, labels, meanings, words
from ganaudit.report.words import Report

_NAME = re.compile(r"(anchors|samples)-[0-9]{1,19}\.(png|jpg)")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_ONE, _ALL = 64 * 2**10, 5 * 2**20  # bytes of pictures; the page is a third more, and its text
_TINY = 64  # pixels: shown larger, such a picture keeps its pixels
_BLOCK = 6  # neighbours beside a dense mode's anchor: two rows of three
_LONG, _MANY = 2000, 400  # characters of a value and values of a table of provenance
# Controls, lone surrogates and what turns the direction of a whole line around.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_JOINED = re.compile(
    r"(?<=\d) (?=%)|(?<=\b[mn]) (?== \d)|(?<=\b[mn] =) (?=\d)"
    r"|(?<=\b1) (?=/ acceptance)|(?<=\b1 /) (?=acceptance)"
)  # not parted by a line


@dataclass(frozen=True)
class Picture:
    """One picture of the gallery.

    Attributes:
      slot: of its image.
      alt: what stands in for it.
      far: it lies beyond the radius.
      uri: the picture itself; None: a placeholder.
      tiny: it has few pixels.
    """

    slot: int
    alt: str
    far: bool
    uri: str | None
    tiny: bool


@dataclass(frozen=True)
class Wall:
    """An anchor and its nearest samples, nearest first."""

    anchor: Picture
    near: list[Picture]
    within: int
    caption: str


def render(report: Report, *, gallery: Path | None) -> str:
    """The page.

    Args:
      report: the canonical JSON.
      gallery: folder of the pictures that it names; None: placeholders stand for them.
    """
    album = Album(gallery)
    shown = report["gallery"]
    return page(
        "report.html.jinja",
        report=report,
        figures=report["figures"],
        real=report["reference"],
        comparison=comparison,
        labels=labels,
        words=words,
        captions=captions,
        meanings=meanings,
        css=css("report.css"),
        walls=None if shown is None else [album.wall(shown[name]) for name in ("worst", "random")],
        modes=_modes(report, album),
        faceless=[]
        if shown is None
        else [album.picture(one, "sample") for one in shown["faceless"]],
        charts=[
            (captions.charts(report)[name], Markup(svg))
            for name, svg in figures.inline(report).items()
        ],
        provenance=_provenance(report),
    )


def page(template: str, **parts: Any) -> str:
    """A page from a template of this package; whatever is no `Markup` in it is text."""
    made = _template(template).render(**parts)
    return _JOINED.sub("\u00a0", _UNSEEN.sub("\ufffd", made))


def css(*names: str) -> Markup:
    """Our own sheets, one after the other."""
    return Markup("".join(map(_text, names)))


class Album:
    """Pictures from a folder that nobody vouches for, up to a number of bytes."""

    def __init__(self, folder: Path | None, *, names: re.Pattern[str] = _NAME) -> None:
        """`names`: of the files that may be pictures; they name no other folder."""
        self._folder = folder
        self._names = names
        self._left = _ALL

    def wall(self, shown: Mapping[str, Any], *, anchor: Picture | None = None) -> Wall:
        """An anchor, unless it is given, and its neighbours as a gallery of a report has them."""
        near = sorted(
            shown["neighbors"],
            key=lambda row: math.inf if row["distance"] is None else row["distance"],
        )
        return Wall(
            anchor=anchor or self.picture(shown["anchor"], "anchor"),
            near=[self.picture(row, "sample") for row in near],
            within=sum(1 for row in near if row["within"]),
            caption=captions.wall(near),
        )

    def picture(self, shown: Mapping[str, Any], what: str) -> Picture:
        """One picture, or a placeholder; `what` it is goes before the number of its slot."""
        far = shown["within"] is False
        alt = f"{what} {shown['slot']}"
        if shown["distance"] is not None:
            where = "beyond" if far else "within"
            alt += f", distance {words.distance(shown['distance'])}, {where} the radius"
        data = self._read(shown["file"])
        if data is None:
            return Picture(shown["slot"], f"{alt}; no picture", far, None, False)
        png = data.startswith(_PNG)
        tiny = png and len(data) > 24 and max(struct.unpack(">II", data[16:24])) < _TINY
        kind, coded = "png" if png else "jpeg", base64.b64encode(data).decode()
        return Picture(shown["slot"], alt, far, f"data:image/{kind};base64,{coded}", tiny)

    def _read(self, name: object) -> bytes | None:
        """The file's bytes if its name, kind and size are those of a gallery's picture."""
        if self._folder is None or not isinstance(name, str) or not self._names.fullmatch(name):
            return None
        path = self._folder / name
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > self._most():
                return None
            data = path.read_bytes()
        except OSError:
            return None
        if len(data) > self._most() or not data.startswith((_PNG, _JPEG)):
            return None
        self._left -= len(data)
        return data

    def _most(self) -> int:
        return min(_ONE, self._left)


def _modes(report: Report, album: Album) -> dict[str, Any]:
    """Dense modes with their pictures, and the scale of their bars. Anchors are taken first."""
    found = report["figures"]["dense_modes"]
    shown = [] if report["gallery"] is None else report["gallery"]["modes"][: len(found)]
    anchors = [album.picture(wall["anchor"], "anchor") for wall in shown]
    walls = [
        album.wall({"neighbors": wall["neighbors"][:_BLOCK]}, anchor=one)
        for wall, one in zip(shown, anchors, strict=True)
    ]
    highest = [mode["rate"]["high"] or mode["rate"]["estimate"] for mode in found]
    scale = _round_up(max(highest, default=1.0))
    bars = [
        {end: f"{100 * (value or 0) / scale:.2f}%" for end, value in mode["rate"].items()}
        for mode in found
    ]
    return {"scale": scale, "rows": list(zip_longest(found, bars, walls))}


def _round_up(share: float) -> float:
    """The next round share, for a scale to end at."""
    power = 10.0 ** math.floor(math.log10(share)) if share > 0 else 0.01
    return min(
        1.0,
        next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if step * power >= share),
    )


def _provenance(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything the report knows about where it comes from."""
    parts = {
        "Request": report["request"],
        "Generator": report["generator"],
        "Descriptor": report["descriptor"],
        "Theta and radius": report["scale"],
        "Slots by status": report["counts"],
        "Environment": report["environment"],
        "Timings": report["timings"],
    }
    return pairs(parts)


def pairs(parts: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """JSON by its title, as (title, (name, value)), of a bounded length."""
    return [(title, list(islice(_flat(part), _MANY))) for title, part in parts.items() if part]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested JSON: (preprocessing.size, 112)."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield name[:_LONG], text if len(text) <= _LONG else f"{text[:_LONG]}…"


@cache
def _template(name: str) -> Template:
    settings = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return settings.get_template(name)


def _text(name: str) -> str:
    return (files("ganaudit.report") / name).read_text(encoding="utf-8")
