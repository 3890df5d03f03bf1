"""The charts of an audit's report, as files and as drawings inside a page."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from ganaudit.report import drawing, words
from ganaudit.report.captions import Caption, charts
from ganaudit.report.drawing import (
    ACCENT,
    INK,
    MUTED,
    RULE,
    SIZE,
    SOFT,
    Chart,
    ends,
    name_axes,
    percents,
    save_svg,
)
from ganaudit.report.words import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page has these as variables of the same names, so that drawings follow its light and dark.
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", SOFT: "soft", ACCENT: "accent"}


def names() -> list[str]:
    """The charts, in the order in which a report shows them."""
    return list(_CHARTS)


def draw(report: Report) -> dict[str, "Figure"]:
    """Every chart of a report by its name, as matplotlib figures; nothing is written."""
    return drawing.draw(_CHARTS, report["figures"])


def write(report: Report, folder: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write every chart into `folder`; the paths. The same report gives the same bytes."""
    return drawing.save(draw(report), folder, formats)


def inline(report: Report) -> dict[str, str]:
    """Every chart as an <svg> element for an HTML page."""
    return embed(draw(report), charts(report))


def embed(drawn: Mapping[str, "Figure"], said: Mapping[str, Caption]) -> dict[str, str]:
    """Charts as <svg> elements for an HTML page.

    Colours are the page's variables, ids are their own, and what a chart shows is said in words.
    """
    found = {}
    for name, figure in drawn.items():
        text = StringIO()
        save_svg(figure, text)
        found[name] = _embedded(text.getvalue(), name, said[name].alternative)
    return found


def _embedded(svg: str, name: str, alternative: str) -> str:
    """An SVG file's drawing without what only a file needs, or what would reach into the page."""
    body = svg[svg.index("<svg") :]
    inner = body[body.index(">") + 1 :]
    inner = re.sub(r"(?s)<metadata>.*?</metadata>|<style.*?</style>", "", inner)
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", inner)
    for colour, variable in _VARIABLES.items():
        inner = inner.replace(colour, f"var(--{variable})")
    box = f"0 0 {SIZE[0] * 72:g} {SIZE[1] * 72:g}"
    said = escape(_clean(alternative, 10**6))
    return f'<svg viewBox="{box}" role="img" aria-label="{said}">{inner.strip()}'


def _clean(text: str, most: int) -> str:
    """On one line and of a bounded length, without what XML forbids or what turns text around."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def _histogram(axes: "Axes", figures: Report) -> None:
    mccs = figures["mccs"]
    edges, counts = mccs["histogram"]["edges"], mccs["histogram"]["counts"]
    narrow = (edges[-1] - edges[0]) / len(counts) or 0.01
    axes.bar(edges[:-1], counts, width=narrow, align="edge", color=SOFT)
    top = max(counts) or 1
    low, quarter, middle, three, high = (row["estimate"] for row in mccs["quantiles"])
    height = 1.14 * top
    axes.plot([low, high], [height] * 2, color=INK, linewidth=1)
    axes.plot([quarter, three], [height] * 2, color=INK, linewidth=4)
    axes.plot([middle], [height], "o", color=ACCENT, markersize=7)
    axes.annotate(
        f"median {words.number(middle)}",
        (middle, height),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
    )
    axes.set_ylim(0, 1.36 * top)
    taken = [place for place, many in enumerate(counts) if many] or [0]
    axes.set_xlim(edges[taken[0]] - narrow, edges[taken[-1]] + 2 * narrow)
    name_axes(axes, f"MCCS at n = {words.count(mccs['at_samples'])}", "anchors")
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= top])  # none across the line


def draw_boxes(axes: "Axes", figures: Report) -> None:
    """Box plots, one below the other, of what `boxes` says."""
    boxes = figures["boxes"]
    for row, box in enumerate(boxes):
        y = -row
        axes.plot([box["low"], box["high"]], [y, y], color=INK, linewidth=1)
        wide = box["three_quarters"] - box["quarter"]
        axes.barh(y, wide, left=box["quarter"], height=0.3, color=SOFT)
        axes.plot([box["median"]] * 2, [y - 0.15, y + 0.15], color=ACCENT, linewidth=2.2)
        axes.plot([box["largest"]], [y], "o", markersize=4.5, mfc="none", color=INK)
        label = f"{_clean(box['label'], 30)}, n = {words.count(box['at_samples'])}"
        axes.text(0, y + 0.22, label, transform=axes.get_yaxis_transform(), va="bottom")
    axes.set_ylim(-max(len(boxes), 2) + 0.5, 0.62)
    axes.set_yticks([])
    name_axes(axes, "MCCS of an anchor", "")


def _mode_rates(axes: "Axes", figures: Report) -> None:
    modes = figures["dense_modes"]
    for mode in modes:
        rate, low, high = ends(mode["rate"])
        axes.plot([mode["rank"]] * 2, [low, high], color=ACCENT, linewidth=1.2)
        axes.plot([mode["rank"]], [rate], "o", color=ACCENT, markersize=4)
    if not modes:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no dense mode", transform=axes.transAxes, ha="center", color=MUTED)
        return
    axes.axhline(figures["median_rate"], color=INK, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_ylim(bottom=0)
    percents(axes)
    name_axes(axes, "rank", "share of samples")


def _convergence(key: str, label: str) -> Callable[["Axes", Report], None]:
    def chart(axes: "Axes", figures: Report) -> None:
        from matplotlib.ticker import NullLocator

        points = figures["convergence"]
        samples = [point["samples"] for point in points]
        middle, low, high = zip(*(ends(point[key]) for point in points), strict=True)
        axes.set_xscale("log", base=2)
        axes.set_xlim(samples[0] / 1.2, samples[-1] * 1.2)
        axes.fill_between(samples, low, high, color=ACCENT, alpha=0.16, linewidth=0)
        axes.plot(samples, middle, "o-", color=ACCENT, linewidth=1.6, markersize=4)
        shown = _apart(samples)
        axes.set_xticks(shown, [words.count(n) for n in shown])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        if key == "worst_rate":
            percents(axes)
        name_axes(axes, "n, samples", label)

    return chart


def _apart(samples: Sequence[int]) -> list[int]:
    """The last number and those before it that leave room for one another on a log axis."""
    step = max(1.8, (samples[-1] / samples[0]) ** 0.25)
    shown = [samples[-1]]
    for fewer in reversed(samples):
        if fewer * step <= shown[-1] * (1 + 1e-9):
            shown.append(fewer)
    return shown


_CHARTS: dict[str, Chart] = {
    "mccs_histogram": _histogram,
    "mccs_boxes": draw_boxes,
    "mode_rates": _mode_rates,
    "convergence_mean_similarity": _convergence("mean_similarity", "mean similarity"),
    "convergence_mu": _convergence("mu", "mu at n"),
    "convergence_worst_rate": _convergence("worst_rate", "share of samples"),
}
