"""The charts of a calibration: what became of modes and of scores, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganaudit.report import captions, drawing, figures, words
from ganaudit.report.calibrated_words import Document, change
from ganaudit.report.captions import Caption
from ganaudit.report.drawing import ACCENT, INK, Chart, ends, name_axes, percents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    rates = [f"mode {n}: {change(one)}" for n, one in enumerate(document["modes"], start=1)]
    return {
        "mode_rates": Caption(
            "Rates of the chosen modes",
            "Open dots are rates before, full dots those after, each with its 95 % interval; the "
            f"dashed line is the target, {words.percent(document['target'])}.",
            f"Rates of the chosen modes, before and after. {'; '.join(rates)}.",
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
    for number, effect in enumerate(document["modes"], start=1):
        for side, colour, fill in (("before", INK, "none"), ("after", ACCENT, ACCENT)):
            rate, low, high = ends(effect[side])
            axes.plot([number] * 2, [low, high], color=colour, linewidth=1.2)
            axes.plot([number], [rate], "o", color=colour, mfc=fill, markersize=5)
    axes.axhline(document["target"], color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_xlim(0.4, len(document["modes"]) + 0.6)
    axes.set_ylim(bottom=0)
    percents(axes)
    name_axes(axes, "chosen mode", "share of samples")


_CHARTS: dict[str, Chart] = {"mode_rates": _mode_rates, "mccs_boxes": figures.draw_boxes}
