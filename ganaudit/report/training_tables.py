"""The figures of a training's audits, as tables have them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ganaudit.report import words
from ganaudit.report.training_words import Document

_MOST = 6  # audits in a table
_FIGURES = (
    ("worst_rate", "Worst mode", True, "share of all samples around the densest anchor"),
    ("median_rate", "Median anchor", True, "share of all samples around a usual anchor"),
    ("worst_ratio", "Worst mode, times", False, "that of the training images, at equal numbers"),
    ("effective_modes", "Effective modes", False, "equally likely identities of the same likeness"),
    ("mean_similarity", "Mean similarity", False, "of anchor and sample; lower is more varied"),
    ("similarity_ratio", "Mean similarity, times", False, "that of the training images"),
    ("mu", "Mean MCCS mu", False, "at this number of samples only"),
    ("vendi", "Vendi score", False, "effective number of different samples"),
    ("near_copies", "Near copies", False, "anchors with more samples almost on them than chance"),
    ("frechet_distance", "Fréchet distance", False, "to the training images, under the descriptor"),
    ("kernel_distance", "Kernel distance", False, "to the training images; may be below 0"),
    ("density", "Density", False, "how crowded samples are where training images lie"),
    ("coverage", "Coverage", True, "share of training images that a sample comes near"),
    ("modes", "Modes covered", False, "with at least a quarter of an equal share"),
    ("good", "Good points", True, "within three spreads of the support"),
    ("largest_mode", "Largest mode", True, "share of good points that the most frequent mode has"),
)
_COUNTS = {"near_copies", "modes"}
_Item = TypeVar("_Item")


class Row(NamedTuple):
    """A figure of the audits: its name, a value (and ends) an audit, and what it means."""

    name: str
    cells: list[tuple[str, str]]
    meaning: str


def head(audits: Sequence[Mapping[str, Any]]) -> list[str]:
    """A column an audit."""
    return [f"step {words.count(audit['step'])}" for audit in audits]


def first_and_last(document: Document) -> list[dict[str, Any]]:
    """Both ends; one audit is its own end."""
    audits = document["audits"]
    return [audits[0], audits[-1]] if len(audits) > 1 else list(audits)


def over_time(document: Document) -> list[dict[str, Any]]:
    """Some audits, where there are more than two."""
    audits = document["audits"]
    return spread(audits, _MOST) if len(audits) > 2 else []


def rows(audits: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The figures that any of these audits has, a column an audit."""
    return [
        Row(title, [_cell(audit["figures"].get(name), name, share) for audit in audits], meaning)
        for name, title, share, meaning in _FIGURES
        if any(audit["figures"].get(name) is not None for audit in audits)
    ]


def _cell(value: Any, name: str, share: bool) -> tuple[str, str]:
    if isinstance(value, dict):
        known = value["low"] is not None or value["high"] is not None
        ends = words.interval(value, share=share) if known else ""
        return words.estimate(value, share=share), ends
    if name in _COUNTS:
        return words.count(value), ""
    return words.percent(value) if share else words.number(value), ""


def spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    places = [round(i * (len(items) - 1) / (most - 1)) for i in range(most)]
    return [items[place] for place in places]
