"""The charts of a training: losses and logits by step, and the figures of its audits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ganaudit.report import drawing, figures, words
from ganaudit.report.captions import Caption
from ganaudit.report.drawing import ACCENT, INK, MUTED, Chart, name_axes, percents
from ganaudit.report.training_words import Document

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = (("the warm line", ACCENT), ("the dark line", INK), ("the grey line", MUTED))
_Point = tuple[int, float, float, float]  # step, value, and the ends of its interval
_Series = Callable[[str], list[_Point]]
_FEWEST = 3  # audits, from which on a line through them says something


class Drawn(NamedTuple):
    """Figures that are drawn together: title, how to read it, the axis, their names."""

    title: str
    reading: str
    axis: str
    names: tuple[str, ...]
    share: bool = False


CURVES = {
    "losses": Drawn(
        "Losses",
        "Without penalties and regularisers.",
        "mean",
        ("loss_discriminator", "loss_generator"),
    ),
    "logits": Drawn(
        "Logits",
        "Of the discriminator: the further apart, the better it tells real from generated.",
        "mean",
        ("real_logit", "fake_logit"),
    ),
    "adaptivemix": Drawn(
        "AdaptiveMix",
        "How far the feature of a mixed image is from the mix of the features.",
        "mean",
        ("adaptivemix_discriminator", "adaptivemix_generator"),
    ),
    "penalties": Drawn("Penalties", "", "mean", ("gradient_penalty", "divergence_penalty", "r1")),
    "paths": Drawn(
        "Path lengths",
        "How far the image moves with its styles; the penalty holds the lengths together.",
        "mean",
        ("path_length", "path_penalty"),
    ),
    "strength": Drawn(
        "Augmentation",
        "The probability of changes follows how often real images pass for real, from -1 to 1.",
        "",
        ("augment_p", "real_sign"),
    ),
    "lipschitz": Drawn(
        "Steepness of features",
        "Distance of two images' features over that of the images, mean over random pairs.",
        "ratio",
        ("lipschitz_real", "lipschitz_fake"),
    ),
    "pairs": Drawn(
        "Loss of pairs", "Low where other latents give other images.", "mean", ("pair",)
    ),
    "classes": Drawn(
        "Classes",
        "Cross-entropy of the guessed classes.",
        "mean",
        ("classes_discriminator", "classes_generator"),
    ),
}
AUDITS = {
    "rates": Drawn(
        "Worst mode and median anchor", "", "share of samples", ("worst_rate", "median_rate"), True
    ),
    "modes": Drawn("Effective modes", "", "identities", ("effective_modes",)),
    "distance": Drawn("Fréchet distance", "", "distance", ("frechet_distance",)),
    "coverage": Drawn("Coverage", "", "share of training images", ("coverage",), True),
    "toy_modes": Drawn("Modes covered", "", "modes", ("modes",)),
    "toy_good": Drawn("Points", "", "share", ("good", "largest_mode"), True),
}
_NAMES = {  # where the name of a figure does not say it
    "worst_rate": "worst mode",
    "median_rate": "median anchor",
    "good": "good points",
    "pair": "loss of pairs",
    "r1": "R1",
    "augment_p": "probability",
    "real_sign": "sign of real logits",
    "lipschitz_real": "real images",
    "lipschitz_fake": "generated images",
    **dict.fromkeys(
        ("loss_discriminator", "adaptivemix_discriminator", "classes_discriminator"),
        "discriminator",
    ),
    **dict.fromkeys(("loss_generator", "adaptivemix_generator", "classes_generator"), "generator"),
}


def of_curves(document: Document) -> list[tuple[Caption, str]]:
    """Caption and <svg> of whatever there is something to draw of."""
    charts = {
        name: drawn
        for name, drawn in CURVES.items()
        if any(document["curves"].get(one) for one in drawn.names)
    }
    return _made(charts, document, partial(_curves, document))


def of_audits(document: Document) -> list[tuple[Caption, str]]:
    """Likewise of the audits; none of fewer than three."""
    audits = document["audits"]
    charts = {
        name: drawn
        for name, drawn in AUDITS.items()
        if any(len(_known(audits, one)) >= _FEWEST for one in drawn.names)
    }
    return _made(charts, document, partial(_points, audits))


def _made(
    charts: Mapping[str, Drawn], document: Document, series: _Series
) -> list[tuple[Caption, str]]:
    drawn: dict[str, Chart] = {
        name: partial(_draw, drawn=chart, series=series) for name, chart in charts.items()
    }
    said = {name: _caption(chart, series) for name, chart in charts.items()}
    found = figures.embed(drawing.draw(drawn, document), said)
    return [(said[name], svg) for name, svg in found.items()]


def _curves(document: Document, name: str) -> list[_Point]:
    """Steps and means; their ends are themselves."""
    points = document["curves"].get(name) or []
    return [(step, value, value, value) for step, value in points if value is not None]


def _known(audits: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, Any]]:
    found = [(audit["step"], audit["figures"].get(name)) for audit in audits]
    return [
        (step, value)
        for step, value in found
        if value is not None and (not isinstance(value, dict) or value["estimate"] is not None)
    ]


def _points(audits: Sequence[Mapping[str, Any]], name: str) -> list[_Point]:
    """Steps, estimates and ends; a figure without an interval has itself for both."""
    found: list[_Point] = []
    for step, value in _known(audits, name):
        one = value if isinstance(value, dict) else {"estimate": value, "low": None, "high": None}
        middle, low, high = (one[end] for end in ("estimate", "low", "high"))
        low, high = (middle, middle) if None in (low, high) else (low, high)
        found.append((step, middle, low, high))
    return found


def _draw(axes: "Axes", document: Mapping[str, Any], *, drawn: Drawn, series: _Series) -> None:
    for name, (_, colour) in zip(drawn.names, _LINES, strict=False):
        points = series(name)
        if not points:
            continue
        steps, middle, low, high = zip(*points, strict=True)
        marker = "o" if len(points) == 1 else "none"  # a line of one point is none
        axes.plot(steps, middle, color=colour, linewidth=1.3, marker=marker, markersize=4)
        if low != middle:
            axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
    if drawn.axis == "modes" or drawn.share:
        axes.set_ylim(bottom=0)
    name_axes(axes, "step", drawn.axis)
    if drawn.share:
        percents(axes)
    else:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_major_formatter(lambda step, _: words.count(step))


def _caption(drawn: Drawn, series: _Series) -> Caption:
    there = [(name, line) for name, (line, _) in zip(drawn.names, _LINES, strict=False)]
    there = [(name, line) for name, line in there if series(name)]
    key = "; ".join(f"{_name(name)}, {line}" for name, line in there) if len(there) > 1 else ""
    band = any(low != middle for name, _ in there for _, middle, low, _ in series(name))
    parts = [
        drawn.reading,
        f"{key[:1].upper()}{key[1:]}." if key else "",
        "The band is the 95 % interval." if band else "",
    ]
    shown = "; ".join(_told(name, series(name), drawn.share) for name, _ in there)
    return Caption(drawn.title, " ".join(part for part in parts if part), f"{drawn.title}: {shown}")


def _told(name: str, points: Sequence[_Point], share: bool) -> str:
    say = words.percent if share else words.number
    (first, start, *_), (last, end, *_) = points[0], points[-1]
    return (
        f"{_name(name)} from {say(start)} at step {words.count(first)} to {say(end)} at step "
        f"{words.count(last)}"
    )


def _name(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))
