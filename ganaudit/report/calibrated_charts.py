"""The charts of a calibration: what became of modes and of scores, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganaudit.report import captions, drawing, figures, words
from ganaudit.report.calibrated_words import Document
from ganaudit.report.captions import Caption
from ganaudit.report.drawing import ACCENT, INK, Chart, ends, name_axes, percents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 16  # modes in the chart of rates
_APART = 0.14  # of a mode's place, to the left and right of its middle


def draw(document: Document) -> dict[str, "Figure"]:
    """Every chart of a calibration by its name, as matplotlib figures; nothing is written."""
    return drawing.draw(_CHARTS, document)


def write(document: Document, folder: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write every chart into `folder`; the paths. The same document gives the same bytes."""
    return drawing.save(draw(document), folder, formats)


def inline(document: Document) -> dict[str, str]:
    """Every chart as an <svg> element for an HTML page."""
    return figures.embed(draw(document), said(document))


def said(document: Document) -> dict[str, Caption]:
    """The words of each chart."""
    modes = document["modes"]
    rates = [
        f"{words.with_interval(mode['before'], share=True)} before and "
        f"{words.with_interval(mode['after'], share=True)} after"
        for mode in modes[:_MOST]
    ]
    few = f" The first {_MOST} of {len(modes)} are drawn." if len(modes) > _MOST else ""
    target = words.percent(document["target"])
    return {
        "mode_rates": Caption(
            "Rates of the chosen modes",
            "Open dots are rates before, full dots those after, each with its 95 % interval; the "
            f"dashed line is the target, {target}.{few}",
            f"Rates of the chosen modes: {'; '.join(rates)}; target {target}.{few}",
        ),
        "mccs_boxes": Caption(
            "Scores of the anchors",
            "MCCS says how crowded an anchor is: 0 if no sample is near it, 1 if all coincide with "
            "it. Each box holds the middle half of the anchors, its line is the median, the "
            "whiskers reach from 5 % to 95 %, the open dot is the largest.",
            "Box plots of MCCS over anchors. " + captions.boxes(document["boxes"]),
        ),
    }


def _mode_rates(axes: "Axes", document: Document) -> None:
    modes = document["modes"][:_MOST]
    for number, mode in enumerate(modes, start=1):
        for side, colour, fill, at in (
            ("before", INK, "none", number - _APART),
            ("after", ACCENT, ACCENT, number + _APART),
        ):
            rate, low, high = ends(mode[side])
            axes.plot([at] * 2, [low, high], color=colour, linewidth=1.2)
            axes.plot([at], [rate], "o", color=colour, mfc=fill, markersize=4.5)
    axes.axhline(document["target"], color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_ylim(bottom=0)
    percents(axes)
    name_axes(axes, "chosen mode", "share of samples")
    axes.set_xlim(0.4, max(2, len(modes)) + 0.6)
    axes.set_xticks(range(1, len(modes) + 1, 1 if len(modes) <= 8 else 5))


def _boxes(axes: "Axes", document: Document) -> None:
    axes.use_sticky_edges = False  # the box of a single mode has no width: it would be the edge
    figures.draw_boxes(axes, document)


_CHARTS: dict[str, Chart] = {"mode_rates": _mode_rates, "mccs_boxes": _boxes}
