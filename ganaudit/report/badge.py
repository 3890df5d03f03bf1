"""A check as a badge: a small SVG that needs nothing else."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ganaudit.report import verdicts, words
from ganaudit.report.verdicts import Document

_LABEL = "intra-mode collapse"
_COLOURS = {"pass": "#1a7f37", "fail": "#cf222e", "inconclusive": "#9a6700", "error": "#82071e"}
_GROUND, _INK = "#3d444d", "#ffffff"
_FONT = "Verdana, Geneva, 'DejaVu Sans', sans-serif"
_SIZE, _HEIGHT, _PADDING = 11, 20, 6  # pixels
# Advance in hundredths of an em, rounded up, of DejaVu Sans, which is as wide as Verdana: about the
# widest that a browser has for a sans-serif.
_WIDTHS = {
    30: "'ijlIJ",
    35: " ,./:;\\|f",
    40: "-()[]t!⁰¹²³⁴⁵⁶⁷⁸⁹",
    45: "r",
    50: '"*_`',
    55: "szc?⁻",
    60: "LFkvxyP",
    65: "TYaoeESbdghnpqu$0123456789{}",
    70: "KAVBRXZC",
    75: "UHN",
    80: "DG&OQ",
    85: "w#+<=>^~×",
    90: "M",
    100: "%mW@…",
}
_WIDTH = {character: width for width, group in _WIDTHS.items() for character in group}
_UNKNOWN = 100  # of any other character


def render(document: Document) -> str:
    """The badge: what is checked, the worst mode's rate where a gate has it, and the verdict."""
    verdict = verdicts.verdict(document)
    rates = [gate["found"] for gate in document["gates"] if gate["gate"] == "worst-rate"]
    rate = rates[0] if rates and rates[0]["estimate"] is not None else None
    said = verdict if rate is None else f"worst {words.estimate(rate, share=True)}: {verdict}"
    left, right = _pixels(_LABEL), _pixels(said)
    whole = {"width": str(left + right), "height": str(_HEIGHT)}
    title = f"{_LABEL}: {said}"
    svg = Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": title} | whole,
    )
    SubElement(svg, "title").text = title
    # Without an id, which a second badge in the same page would have too: round corners, and a
    # patch where the halves meet.
    _box(svg, 0, left + right, _COLOURS[verdict], round_by=3)
    _box(svg, 0, left, _GROUND, round_by=3)
    _box(svg, left - 3, 3, _GROUND)
    _text(svg, _LABEL, left / 2)
    _text(svg, said, left + right / 2)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _box(parent: Element, start: int, width: int, colour: str, *, round_by: int = 0) -> None:
    place = {"x": str(start), "width": str(width), "height": str(_HEIGHT), "rx": str(round_by)}
    SubElement(parent, "rect", place | {"fill": colour})


def _text(parent: Element, text: str, middle: float) -> None:
    place = {"x": f"{middle:g}", "y": "14", "text-anchor": "middle"}
    font = {"font-family": _FONT, "font-size": str(_SIZE), "fill": _INK}
    SubElement(parent, "text", place | font).text = text


def _pixels(text: str) -> int:
    """Width of a half with this text."""
    ems = sum(_WIDTH.get(character, _UNKNOWN) for character in text) / 100
    return round(_SIZE * ems) + 2 * _PADDING
