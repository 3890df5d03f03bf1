"""Every figure of a report with its interval and one sentence for who has not read the paper."""

from dataclasses import dataclass

from ganaudit.report import words
from ganaudit.report.words import Interval, Report

_VENDI = {
    "order_1": (
        "Vendi score, order 1",
        "Effective number of different samples, every kind weighed by its share.",
    ),
    "order_2": ("Vendi score, order 2", "The same with common kinds weighing more."),
    "order_inf": ("Vendi score, order ∞", "The same by the most common kind alone."),
}


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
      name: of the figure.
      value: as text.
      interval: its ends as text; empty where a figure has none.
      meaning: one sentence.
    """

    name: str
    value: str
    interval: str
    meaning: str


def key_figures(report: Report) -> list[Row]:
    """The four that stand at the top."""
    figures = report["figures"]
    worst, samples = figures["worst_mode"], figures["samples"]
    times = worst["times_median_rate"]
    seen = f"{words.count(worst['count'])} of {words.counted(samples, 'sample')}"
    return [
        Row(
            "Worst mode",
            words.estimate(worst["rate"], share=True),
            words.interval(worst["rate"], share=True),
            f"Share of samples within the radius of the most crowded anchor: {seen}.",
        ),
        Row(
            "Against the median anchor",
            "no ratio" if times is None else f"{words.number(times)} times",
            f"median anchor: {words.percent(figures['median_rate'])}",
            "How much more crowded the worst mode is than the anchor in the middle.",
        ),
        row(
            "Effective number of modes",
            figures["effective_modes"],
            "Two random samples are as alike as if the generator had only this many equally likely "
            "identities.",
        ),
        row(
            "Mean similarity",
            figures["mean_similarity"],
            "Likeness of an average pair, from 0 (beyond reach) to 1 (the same); it may be "
            "compared between audits of any size.",
        ),
    ]


def companions(report: Report) -> list[tuple[str, list[Row]]]:
    """Every other figure, in groups: (name of the group, its rows)."""
    return [
        ("The worst mode", _worst(report)),
        ("How crowded", _crowding(report)),
        ("How many", _numbers(report)),
        ("What kind", _kinds(report)),
        ("As in the published tables", _published(report)),
    ]


def _worst(report: Report) -> list[Row]:
    worst = report["figures"]["worst_mode"]
    apart = worst["chosen_and_scored_apart"]
    return [
        Row(
            "Share of samples",
            words.estimate(worst["rate"], share=True),
            words.interval(worst["rate"], share=True),
            "Within the radius of the most crowded anchor; the interval is for the largest true "
            "share of any anchor, and allows for the choice.",
        ),
        Row(
            "Chosen and scored apart",
            words.estimate(apart and apart["rate"], share=True),
            words.interval(apart["rate"], share=True) if apart else "",
            "The share without flattery: each half of the samples chooses an anchor, the other "
            "scores it.",
        ),
        row(
            "Mean similarity, scored apart",
            apart and apart["mean_similarity"],
            "How near the samples around it are, not only how many.",
        ),
        Row(
            "Samples to halve the interval",
            words.count(worst["samples_to_halve_interval"]),
            "",
            "If its share stays as it is.",
        ),
    ]


def _crowding(report: Report) -> list[Row]:
    figures = report["figures"]
    mccs, at = figures["mccs"], f"at n = {words.count(figures['mccs']['at_samples'])}"
    limit = mccs["limit"]
    return [
        row(
            "Mean similarity",
            figures["mean_similarity"],
            "Average over all pairs of an anchor and a sample; more samples make it more precise, "
            "not larger.",
        ),
        row("Pooled MCCS", mccs["pooled"], f"The mean similarity as a score: {mccs['form']}."),
        row(
            f"mu {at}",
            mccs["mu"],
            "Average of the anchors’ scores; it grows with n, so compare it at equal n only.",
        ),
        row(
            f"sigma {at}",
            mccs["sigma"],
            "How far the anchors’ scores spread: a few dense modes in a varied crowd raise it.",
        ),
        Row(
            f"Largest MCCS {at}",
            words.number(mccs["largest"]),
            "",
            "Score of the most crowded anchor; 1 if every sample coincides with it.",
        ),
        Row(
            "Limit of mu",
            words.UNKNOWN if limit["low"] is None else words.interval(limit),
            "a bracket",
            "Where mu would end if n grew without end; n samples say nothing narrower.",
        ),
        Row(
            "Anchors without a hit",
            words.percent(limit["anchors_without_a_hit"]),
            "",
            "Anchors that no sample resembles at all; they decide how wide the bracket is.",
        ),
    ]


def _numbers(report: Report) -> list[Row]:
    figures = report["figures"]
    modes, support = figures["effective_modes"], figures["birthday_support"]
    vendi = figures["vendi"] or dict.fromkeys(_VENDI)
    return [
        row(
            f"Effective number of modes, radius {words.reach(modes['radius'])}",
            modes,
            "As many equally likely identities would make two random samples fall within the "
            "radius as often.",
        ),
        row(
            f"Birthday support, radius {words.reach(support['radius'])}",
            support,
            "The same at half the radius: as many equally likely images would repeat themselves "
            "as often.",
        ),
        *(row(name, vendi[key], meaning) for key, (name, meaning) in _VENDI.items()),
    ]


def _kinds(report: Report) -> list[Row]:
    copies, crowd = report["figures"]["near_copies"], report["figures"]["crowd"] or {}
    tested = words.counted(copies["anchors_tested"], "anchor")
    return [
        Row(
            "Near copies",
            f"{words.count(copies['flagged'])} of {tested}",
            words.probability(copies["p"]),
            "Anchors with more of their neighbours within half the radius than a crowd that varies "
            "in three ways or more could have there; p allows for testing all of them.",
        ),
        Row(
            "Length of the mean embedding",
            words.number(crowd.get("norm_of_mean_embedding")),
            "",
            "0 if embeddings point everywhere, 1 if all point one way.",
        ),
        Row(
            "Crowding against closeness to the mean",
            words.number(crowd.get("rank_correlation")),
            "rank correlation",
            "Near 1, dense modes are the centre of one crowd rather than identities apart from it.",
        ),
    ]


def _published(report: Report) -> list[Row]:
    code = report["figures"]["mccs_reference_code"]
    at = f"at n = {words.count(code['at_samples'])}"
    form = f"{code['form']}: compare with published tables, never with the scores above."
    infinite = "Infinite where an anchor has every sample on it."
    return [
        Row(
            f"{name} {at}",
            "infinite" if code[key] is None else words.number(code[key]),
            "",
            form if key == "mu" else infinite if key == "largest" else "Spread over anchors.",
        )
        for name, key in (("mu", "mu"), ("sigma", "sigma"), ("Largest", "largest"))
    ]


def row(name: str, value: Interval | None, meaning: str) -> Row:
    """A figure that is no share; one that is only bounded from below shows its bound."""
    if value is None:
        return Row(name, words.UNKNOWN, "", meaning)
    ends = words.interval(value)
    if value["estimate"] is None:
        known = value["low"] is not None
        return Row(name, ends if known else words.UNKNOWN, "no pair was found", meaning)
    return Row(name, words.estimate(value), ends, meaning)
