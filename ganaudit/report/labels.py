"""The part of a report about a conditional generator's labels."""

from collections.abc import Mapping
from typing import Any

from ganaudit.report.words import count, counted, estimate, interval

HEAD = ("Label", "Samples", "Worst mode", "Mean similarity", "mu at its n")


def rows(labels: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Labels, that with the densest worst mode first: (label, [(value, what stands beside it)])."""
    by_rate = sorted(
        labels["by_label"],
        key=lambda row: (-(row["worst_rate"]["estimate"] or 0.0), row["label"]),
    )
    return [
        (
            str(row["label"]),
            [
                (count(row["samples"]), f"against {counted(row['anchors'], 'anchor')}"),
                (estimate(row["worst_rate"], share=True), interval(row["worst_rate"], share=True)),
                (estimate(row["mean_similarity"]), interval(row["mean_similarity"])),
                (estimate(row["mu"]), interval(row["mu"])),
            ],
        )
        for row in by_rate
    ]


def about(labels: Mapping[str, Any]) -> list[str]:
    """What the table is, in sentences."""
    said = [
        labels["law"],
        "Each label is scored among its own anchors and samples: a rate is a share of that label’s "
        "images, chosen and scored on different halves of them. Labels with other numbers of "
        "samples compare by mean similarity, not by mu.",
    ]
    if labels["left_out"]:
        least = f"fewer than {labels['least']} anchors or samples"
        said.append(f"Left out: {counted(labels['left_out'], 'label')}, most with {least}.")
    return said
