"""How charts are drawn: colours, size and style, for whichever figures there are.

matplotlib is imported when something is drawn, and its global state is left as it was.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ganaudit.report import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 344 / 72, 216 / 72  # inches: the width of one column of a page, so that text has one size
INK, MUTED, RULE, SOFT, ACCENT = "#1b1f24", "#5c636b", "#dfe2e5", "#c3c9cf", "#a8431b"

_UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ganaudit",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "savefig.facecolor": "none",
}

Chart = Callable[["Axes", Mapping[str, Any]], None]  # draws figures onto axes


def draw(charts: Mapping[str, Chart], figures: Mapping[str, Any]) -> dict[str, "Figure"]:
    """Every chart of some figures by its name; nothing is written."""
    from matplotlib.figure import Figure

    drawn = {}
    with _style():
        for name, chart in charts.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            chart(figure.add_subplot(), figures)
            drawn[name] = figure
    return drawn


def save(drawn: Mapping[str, "Figure"], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every chart into `folder`; the paths. The same chart gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        for kind in formats:
            paths.append(folder / f"{name}.{kind}")
            with _style():
                figure.savefig(
                    paths[-1], format=kind, dpi=200, facecolor="white", metadata=_UNDATED[kind]
                )
    return paths


def save_svg(figure: "Figure", file: TextIO) -> None:
    """Write a chart as SVG, on no ground of its own."""
    with _style():
        figure.savefig(file, format="svg", metadata=_UNDATED["svg"])


@contextmanager
def _style() -> Iterator[None]:
    """Our settings on top of matplotlib's own, whatever the user's are."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # not in an SVG
        yield


def ends(interval: words.Interval) -> tuple[float, ...]:
    """Estimate, low and high; NaN, which is not drawn, for what is not known."""
    ends = (interval[key] for key in ("estimate", "low", "high"))
    return tuple(math.nan if end is None else end for end in ends)


def percents(axes: "Axes") -> None:
    """The vertical axis shows shares."""
    axes.yaxis.set_major_formatter(lambda share, _: words.level(share))


def name_axes(axes: "Axes", below: str, above: str) -> None:
    """The vertical axis is named above it, where it can be read without turning the head."""
    from matplotlib.ticker import MaxNLocator

    if above:
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=above == "anchors"))
        axes.grid(axis="y")
    if axes.get_xscale() == "linear":
        whole = below in ("rank", "step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole, min_n_ticks=2))
    axes.set_xlabel(below)
    axes.set_title(above, loc="left", fontsize=11, color=MUTED)
