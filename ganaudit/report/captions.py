"""What stands beside the charts, pictures and tables of a report, in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ganaudit.report.words import (
    FEW,
    Report,
    count,
    counted,
    descriptor,
    distance,
    level,
    named,
    number,
    percent,
    reach,
    with_interval,
)


@dataclass(frozen=True)
class Caption:
    """The words of one chart.

    Attributes:
      title: of the chart.
      reading: one sentence on how to read it.
      alternative: what it shows, for who does not see it.
    """

    title: str
    reading: str
    alternative: str


def charts(report: Report) -> dict[str, Caption]:
    """By the name of the chart."""
    figures = report["figures"]
    at = f"at n = {count(figures['mccs']['at_samples'])}"
    band = "the band is a 95 % interval, and a flat end means that more samples change little"
    return {
        "mccs_histogram": Caption(
            "Score of every anchor",
            "Each anchor is counted where its MCCS lies; the line above spans 90 % of them, its "
            "thick part half, the dot is the median.",
            f"Histogram of MCCS over {counted(figures['anchors'], 'anchor')} {at}. "
            + _quantiles(report),
        ),
        "mccs_boxes": Caption(
            "Scores side by side",
            "Each box holds the middle half of the anchors, its line is the median, the whiskers "
            "reach from 5 % to 95 %, the open dot is the largest.",
            "Box plots of MCCS over anchors. " + boxes(figures["boxes"]),
        ),
        "mode_rates": Caption(
            "Rates of the dense modes",
            "Each dot is one dense mode with its 95 % interval, ordered by the half of the samples "
            "that did not score it; the dashed line is the median anchor.",
            _mode_rates(report),
        ),
        "convergence_mean_similarity": Caption(
            "Mean similarity by samples",
            f"It is unbiased at any n, so only its band should change: {band}.",
            "Mean similarity by number of samples. " + _curve(report, "mean_similarity"),
        ),
        "convergence_mu": Caption(
            "mu by samples",
            f"mu rises with n by its nature: compare it at equal n only; {band.split(',')[0]}.",
            "mu by number of samples. " + _curve(report, "mu"),
        ),
        "convergence_worst_rate": Caption(
            "Worst rate by samples",
            f"The share of the most crowded anchor; {band}.",
            "Rate of the worst mode by number of samples. " + _curve(report, "worst_rate"),
        ),
    }


def wall(neighbors: Sequence[Mapping[str, Any]]) -> str:
    """Distances of an anchor's nearest samples, and how many of them are within the radius."""
    known = [row["distance"] for row in neighbors if row["distance"] is not None]
    if not known:
        return "Its nearest samples are not known."
    within = sum(1 for row in neighbors if row["within"])
    inside = {0: "none", len(neighbors): "all"}.get(within, count(within))
    return (
        f"Its {counted(len(neighbors), 'nearest sample')}, nearest first: distances from "
        f"{distance(min(known))} to {distance(max(known))}, median {distance(median(known))}; "
        f"{inside} within the radius."
    )


def walls(report: Report) -> tuple[str, str]:
    """Title and first sentences of the pictures, no louder than the worst mode's count."""
    if report["gallery"] is None:
        return "Pictures", "There are none: this audit kept no pictures."
    loud = report["figures"]["worst_mode"]["count"] >= FEW
    title = "The identity that repeats" if loud else "The densest anchor"
    which = "The anchor that most samples resemble" if loud else "The anchor with most samples near"
    return title, (
        f"{which}, with the samples nearest to it; then the same for an anchor taken at random, "
        "a typical image of this generator. Pictures beyond the radius are smaller and faded."
    )


def around_worst(report: Report) -> str:
    """How many samples the worst mode's anchor has around it."""
    worst, samples = report["figures"]["worst_mode"], report["figures"]["samples"]
    return f"{count(worst['count'])} of {counted(samples, 'sample')} within the radius"


def around_random(within: int, shown: int) -> str:
    """How many of the samples shown with a random anchor are around it."""
    return f"{count(within)} of its nearest {count(shown)} within the radius"


def score(report: Report) -> str:
    """What MCCS is."""
    theta = reach(report["scale"]["theta"])
    return (
        "MCCS scores an anchor by how many samples are near it, and how near: 0 if none is within "
        f"theta, {theta} of pi, 1 if all of them coincide with it. A few anchors far to the right "
        "are what intra-mode collapse looks like."
    )


def baseline(reference: Mapping[str, Any]) -> str:
    """What a reference is."""
    start = (
        f"{counted(reference['images'], 'real image')} from {named(reference['folder'])} are the "
        "baseline."
    )
    if reference["rarefied"]:  # a sentence of its own says at which size
        return start
    return (
        f"{start} Both sides are m = {counted(reference['anchors'], 'anchor')} against "
        f"n = {counted(reference['samples'], 'sample')}."
    )


def screened(report: Report) -> str:
    """What was looked for before anything was scored."""
    screen = report["screen"]
    what = "embedding" if report["descriptor"] is None else "image"
    start = f"{counted(screen['images'], what)} were screened before they were scored"
    if not screen["repeated"]:
        return f"{start}; no two are the same to the last byte."
    apart = "" if screen["period"] is None else f" in steps of {counted(screen['period'], 'slot')}"
    return (
        f"{start}: {count(screen['distinct'])} are different, {count(screen['repeated'])} repeat "
        f"another to the last byte{apart}, and the most frequent occurs "
        f"{counted(screen['most_copies'], 'time')}."
    )


def faceless(report: Report) -> str:
    """What the pictures without a face are."""
    counts = report["counts"]["samples"]
    without = counted(counts["no_face"], "sample")
    share = percent(counts["no_face"] / sum(counts.values()))
    return (
        f"The first of {without} ({share}) in which the "
        "descriptor found no face. They are counted and not scored."
    )


def remarks(report: Report) -> list[tuple[str, list[str]]]:
    """Sentences about this audit: (title, sentences)."""
    failures = [
        f"{counted(row['slots'], 'slot')} without a usable image: {row['reason']}"
        for row in report["screen"]["failures"]
    ]
    return [
        ("Found by the screen", [*report["screen"]["findings"], *failures]),
        ("Warnings", list(report["warnings"])),
        ("Assumptions", list(report["assumptions"])),
    ]


def cautions(report: Report) -> list[str]:
    """What may not be concluded from any report of this kind."""
    figures = report["figures"]
    least = level(min(1.0, 3 / figures["anchors"]))
    return [
        f"All of it holds under {descriptor(report)}: another may join or part images otherwise.",
        f"MCCS, its mean mu and spread sigma hold at n = {count(figures['samples'])}: they move "
        "with the number of samples and compare at equal n only.",
        f"Modes rarer than {least} (3/m) may hold no anchor at all: nothing is said about them.",
        "Malformed images lie far from everything and have few neighbours: they lower every "
        "average without making the generator more varied.",
        "A cache or a service that returns stored images looks the same as collapse.",
        "Anchors are drawn as samples are, so the figures describe how crowded a typical sample "
        "is, not a typical mode.",
        "A large ratio to the median anchor alone is no evidence of collapse: the centre of one "
        "smooth crowd has it too.",
        "No limit was set: whether a share is too large is for those who use the generator.",
    ]


def _quantiles(report: Report) -> str:
    found = [
        f"{level(row['probability'])} of anchors at most {number(row['estimate'])}"
        for row in report["figures"]["mccs"]["quantiles"]
    ]
    return "; ".join(found) + "."


def boxes(shown: Sequence[Mapping[str, Any]]) -> str:
    """What box plots show."""
    found = [
        f"{box['label']}, n = {count(box['at_samples'])}: "
        f"median {number(box['median'])}, "
        f"half between {number(box['quarter'])} and {number(box['three_quarters'])}, "
        f"90 % between {number(box['low'])} and {number(box['high'])}, "
        f"largest {number(box['largest'])}"
        for box in shown
    ]
    return "; ".join(found) + "."


def _mode_rates(report: Report) -> str:
    modes = report["figures"]["dense_modes"]
    if not modes:
        return "No dense mode: no anchor has a sample within the radius."
    rates = [percent(mode["rate"]["estimate"]) for mode in modes]
    typical = percent(report["figures"]["median_rate"])
    many = counted(len(modes), "dense mode")
    return f"Rates of {many}: {', '.join(rates)}; median anchor {typical}."


def _curve(report: Report, key: str) -> str:
    share = key == "worst_rate"
    found = [
        f"{with_interval(point[key], share=share)} at n = {count(point['samples'])}"
        for point in report["figures"]["convergence"]
    ]
    return "; ".join(found) + "."
