"""Generated and real images side by side: figures with intervals and meanings."""

from collections.abc import Mapping
from typing import Any

from ganaudit.report import words
from ganaudit.report.meanings import Row, row


def sides(reference: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Figures at the same m and n: (name, [(value, interval) of generated, of real, of ratio])."""
    at = f"mu at n = {words.count(reference['samples'])}"
    names = (("Mean similarity", "mean_similarity"), (at, "mu"), ("Worst mode", "worst_rate"))
    rows = []
    for name, key in names:
        share = key == "worst_rate"
        cells = [
            (words.estimate(side[key], share=share), words.interval(side[key], share=share))
            for side in (reference["generated"], reference["real"])
        ]
        ratio = reference["ratios"][key]
        rows.append((name, [*cells, (words.estimate(ratio), words.interval(ratio))]))
    return rows


def fidelity(reference: Mapping[str, Any]) -> list[Row]:
    """How the cloud of generated embeddings lies against that of real ones."""
    found = reference["fidelity"]
    k = found["nearest_k"]
    return [
        Row(
            "Fréchet distance",
            words.number(found["frechet_distance"]),
            "",
            "Between the clouds' means and covariances; 0 if these agree.",
        ),
        row(
            "Kernel distance",
            found["kernel_distance"],
            "The same without assuming a shape; about 0 if the clouds agree.",
        ),
        Row(
            "Density",
            words.number(found["density"]),
            "",
            f"How well generated images sit among real ones and their {k} nearest; real ones: 1.",
        ),
        Row(
            "Coverage",
            words.percent(found["coverage"]),
            "",
            f"Real images that have a generated one among their {k} nearest.",
        ),
    ]
