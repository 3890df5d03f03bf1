"""The tables of a calibration, as cells: a value, and the interval or whatever is beside it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ganaudit.report import compared, words
from ganaudit.report.calibrated_words import TO, Document, change, effort, how, target, unaccepted
from ganaudit.report.meanings import Row, row
from ganaudit.report.words import Interval

Cell = tuple[str, str]  # a value and its interval; empty where there is none

ANNOUNCED = ("Figure", "Announced", "Measured")
MODES = ("Mode", "Anchor", "Before", "Announced", "After", "After / before", "Target")
OTHERS = ("Anchor", "Before", "After", "After / before", "Significance")
APART = ("Figure", "Calibrated", "By chance alone", "What it means")
REFERENCE = ("Figure", "Before", "After")
DIFFERENCE = ("Figure", "Before", "After", "After - before", "95 % interval")
_NOT_SAID = "not announced"
_AS_IT_IS = "The generator itself stays as it is."
_TARGETS = {"below": "below it", "at": "not told apart", "above": "still above"}
_FRECHET, _KERNEL = ("Fréchet distance", "frechet_distance"), ("Kernel distance", "kernel_distance")
_APART = (
    (*_FRECHET, "Between the means and covariances of two clouds of embeddings; 0 if these agree."),
    (*_KERNEL, "The same without assuming a shape; about 0 if the clouds agree."),
)
_SEEN = "The same of {rows} images on each side, as torch-fidelity's Inception sees them."
_REAL = (_FRECHET, _KERNEL, ("Density", "density"))


class Card(NamedTuple):
    """One of the figures at the top: its name, value, lines of intervals, and a meaning."""

    name: str
    value: str
    ends: list[str]
    meaning: str


def key_figures(document: Document) -> list[Card]:
    """The four that stand at the top."""
    first, worst = document["modes"][0], document["worst"]
    many = len(document["modes"])
    floor = words.level(document["min_acceptance"])
    return [
        Card(
            "The chosen mode" if many == 1 else f"The densest of {many} chosen modes",
            change(first),
            _ends(first),
            f"Share of fresh samples within the radius of its anchor. {target(document)}",
        ),
        Card(
            "The worst of all anchors",
            change(worst),
            _ends(worst),
            "The most crowded one of the same anchors before, and again after: chosen on one half "
            "of the samples and scored on the other.",
        ),
        Card(
            "Acceptance",
            *_exact(document["acceptance"], share=True),
            f"Share of proposals that is taken; at least {floor} was asked for. "
            f"{unaccepted(document)}",
        ),
        Card(
            "Images made per image",
            *_exact(document["images_per_image"]),
            " ".join([*filter(None, (how(document), effort(document))), _AS_IT_IS]),
        ),
    ]


def announced(document: Document) -> list[tuple[str, list[Cell]]]:
    """What was announced, and what came: (name, cells)."""
    said, first, worst = document["announced"]["forecast"], document["modes"][0], document["worst"]
    rates = [_NOT_SAID] * 3
    if said is not None:
        rates = [
            _pair(said["chosen"][0]) if said["chosen"] else _NOT_SAID,
            _pair(said["worst"]),
            words.percent(said["acceptance"]),
        ]
    measured = [
        (change(first), "; ".join(_ends(first))),
        (change(worst), "; ".join(_ends(worst))),
        _share(document["acceptance"]),
    ]
    names = ("The densest chosen mode", "The worst of all anchors", "Acceptance")
    return [
        (name, [(rate, ""), found])
        for name, rate, found in zip(names, rates, measured, strict=True)
    ]


def modes(document: Document) -> list[tuple[str, str, list[Cell], str]]:
    """The chosen modes: (number, anchor, cells, where the rate is against the target)."""
    said = document["announced"]["forecast"]
    expected = [] if said is None else said["chosen"]
    return [
        (
            words.count(number),
            str(effect["anchor"]),
            [
                _share(effect["before"]),
                (_pair(expected[number - 1]) if number <= len(expected) else _NOT_SAID, ""),
                _share(effect["after"]),
                _plain(effect["ratio"]),
            ],
            _TARGETS.get(effect["against_target"], words.UNKNOWN),
        )
        for number, effect in enumerate(document["modes"], start=1)
    ]


def grown(document: Document) -> list[tuple[str, list[Cell], str]]:
    """Other modes that grew beyond what is allowed: (anchor, cells, p)."""
    return [
        (
            str(effect["anchor"]),
            [_share(effect["before"]), _share(effect["after"]), _plain(effect["ratio"])],
            words.probability(effect["p"]),
        )
        for effect in document["others"]["grown"]
    ]


def apart(document: Document) -> list[tuple[str, list[Cell], str]]:
    """How far the samples moved: (name, cells, meaning)."""
    seen = [("", document["companions"])]
    if document["companions"]["inception"] is not None:
        seen.append((" in Inception", document["companions"]["inception"]))
    return [
        (
            name + where,
            [_figure(found[side][key]) for side in ("to_uncalibrated", "noise")],
            meaning if not where else _SEEN.format(rows=words.count(found["noise"]["rows"])),
        )
        for where, found in seen
        for name, key, meaning in _APART
    ]


def reference(document: Document) -> list[tuple[str, list[Cell]]]:
    """How the samples lie among real images, before and after; none without a reference."""
    found = document["companions"]["to_reference"]
    if found is None:
        return []
    sides = found["before"], found["after"]
    return [
        *((name, [_figure(side[key]) for side in sides]) for name, key in _REAL),
        ("Coverage", [(words.percent(side["coverage"]), "") for side in sides]),
    ]


def discriminator(document: Document) -> list[Row]:
    """What the discriminator says of fresh images; none where there is no discriminator."""
    found = document["discriminator"]
    if found is None:
        return []
    many = words.counted(found["slots"], "fresh image")
    return [
        row("Score before", found["before"], f"Mean of its raw output over {many}."),
        row("Score after", found["after"], "Likewise, after the latents were moved."),
        row(
            "Gain", found["gain"], "Mean over the images of the score after less the score before."
        ),
        Row(
            "Raised",
            words.percent(found["raised"]),
            "",
            "Images whose score is higher than it was.",
        ),
        Row(
            "Furthest move",
            words.number(found["furthest"]),
            "",
            "Largest change of any coordinate of a latent.",
        ),
    ]


def difference(document: Document) -> list[tuple[str, ...]]:
    """Every figure of both audits, in the order of DIFFERENCE."""
    return compared.rows({"figures": document["difference"]})


def in_line(cells: Iterable[Cell]) -> list[str]:
    """Cells as text: 9.78 % (9.2 % to 10.4 %)."""
    return [f"{value} ({ends})" if ends else value for value, ends in cells]


def _pair(rates: Sequence[float]) -> str:
    return TO.join(map(words.percent, rates))


def _share(rate: Interval) -> Cell:
    return _plain(rate, share=True)


def _plain(value: Interval, *, share: bool = False) -> Cell:
    nothing = all(value[end] is None for end in ("estimate", "low", "high"))
    ends = "" if nothing else words.interval(value, share=share)
    return words.estimate(value, share=share), ends


def _exact(value: Interval, *, share: bool = False) -> tuple[str, list[str]]:
    """Value and lines of intervals: none where there is nothing to estimate."""
    if value["estimate"] == value["low"] == value["high"] == 1:
        return "100 %" if share else "1", []
    shown, ends = _plain(value, share=share)
    return shown, [ends] if ends else []


def _figure(value: Any) -> Cell:
    return _plain(value) if isinstance(value, Mapping) else (words.number(value), "")


def _ends(effect: Document) -> list[str]:
    ends = {side: _share(effect[side])[1] for side in ("before", "after")}
    known = {side: one for side, one in ends.items() if one not in ("", words.NO_INTERVAL)}
    if not known:
        return [words.NO_INTERVAL] if any(ends.values()) else []
    return [f"{side} {one}" for side, one in known.items()]
