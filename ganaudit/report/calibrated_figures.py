"""The charts of a calibration, as files and as drawings inside its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganaudit.report import drawing, figures, words
from ganaudit.report.calibrated_words import Document
from ganaudit.report.captions import Caption, boxes
from ganaudit.report.drawing import ACCENT, INK, MUTED, SOFT, Chart, ends, name_axes, percents

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 16  # modes in the chart of rates
_APART = 0.14  # of a mode's place to the left and right, for before and after


def write(document: Document, folder: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write every chart into `folder`; the paths. The same calibration gives the same bytes."""
    return drawing.save(drawing.draw(_CHARTS, document), folder, formats)


def inline(document: Document) -> dict[str, str]:
    """Every chart as an <svg> element for an HTML page."""
    return figures.embed(drawing.draw(_CHARTS, document), captions(document))


def captions(document: Document) -> dict[str, Caption]:
    """By the name of the chart."""
    modes = document["modes"]
    shown = min(len(modes), MOST)
    which = "" if shown == len(modes) else f" The first {shown} of {len(modes)} are drawn."
    rates = [
        f"{words.with_interval(mode['before'], share=True)} before and "
        f"{words.with_interval(mode['after'], share=True)} after"
        for mode in modes[:MOST]
    ]
    return {
        "calibrated_boxes": Caption(
            "Scores before and after",
            "Each box holds the middle half of the anchors, its line is the median, the whiskers "
            "reach from 5 % to 95 %, the open dot is the largest.",
            "Box plots of MCCS over anchors. " + boxes(document["boxes"]),
        ),
        "calibrated_rates": Caption(
            "Rates of the chosen modes",
            "Grey is before, red is after, each with its 95 % interval; the dashed line is the "
            f"target.{which}",
            f"Rates of {words.counted(shown, 'chosen mode')}: {'; '.join(rates)}; target "
            f"{words.percent(document['target'])}.",
        ),
    }


def _rates(axes: "Axes", document: Document) -> None:
    modes = document["modes"][:MOST]
    for number, mode in enumerate(modes, start=1):
        for side, colour, shift in (("before", MUTED, -_APART), ("after", ACCENT, _APART)):
            rate, low, high = ends(mode[side])
            axes.plot([number + shift] * 2, [low, high], color=colour, linewidth=1.2)
            axes.plot([number + shift], [rate], "o", color=colour, markersize=4)
    axes.axhline(document["target"], color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.4, max(len(modes), 2) + 0.6)
    percents(axes)
    name_axes(axes, "chosen mode", "share of samples")
    step = 1 if len(modes) <= 8 else 2
    axes.set_xticks(range(1, len(modes) + 1, step))


_CHARTS: dict[str, Chart] = {
    "calibrated_boxes": figures.draw_boxes,
    "calibrated_rates": _rates,
}
