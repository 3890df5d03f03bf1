"""What `ganaudit threshold` found: its document, its words and its charts."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ganaudit.cards import NAME as CARD
from ganaudit.descriptors import DescriptorCard
from ganaudit.errors import GanauditError
from ganaudit.report import drawing, words
from ganaudit.report.drawing import ACCENT, INK, MUTED, RULE, SOFT, ends, name_axes, percents
from ganaudit.report.terminal import grid, plain
from ganaudit.report.words import Report
from ganaudit.verification import MIN_IDENTITIES, REPLICATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "report.json"
_SCHEMA_VERSION = 1
_ENOUGH = 40  # identities, below which percentiles are too close: ganaudit/verification.py
_BARS = 80  # of a histogram, at most


def build(
    *,
    request: Mapping[str, Any],
    card: DescriptorCard | None,
    counts: Mapping[str, int],
    reasons: Mapping[str, int],
    figures: Mapping[str, Any] | None,
    trial: Mapping[str, Any] | None,
    listing_sha256: str,
    warnings: list[str],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The document; the same request gives the same.

    Args:
      request: what touches a figure.
      card: of the descriptor; None: nothing was measured.
      counts: pictures: embedded, without_face, failed, loose.
      reasons: why pictures failed, and how many.
      figures: of the verification; None: nothing was measured.
      trial: variants of the preprocessing; None: none were tried.
      listing_sha256: of the names and sizes of the pictures.
      warnings: sentences about the descriptor.
      environment: versions and device.
    """
    report: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "kind": "threshold",
        "request": dict(request),
        "descriptor": None if card is None else asdict(card),
        "counts": dict(counts),
        "reasons": dict(reasons),
        "figures": None if figures is None else dict(figures),
        "preprocessing": None if trial is None else dict(trial),
        "listing_sha256": listing_sha256,
        "warnings": warnings,
        "environment": dict(environment),
    }
    return report | {"remarks": list(_remarks(report))}


# -- words ------------------------------------------------------------------------------------


def headline(figures: Report) -> str:
    """What was found, in two or three sentences."""
    found = (
        "Two pictures of one identity are nearer than two of different identities in "
        f"{_shown(figures['auc'], share=True)} of cases. At theta, "
        f"{words.distance(figures['theta']['estimate'])}, errors of both kinds are as frequent: "
        f"{_shown(figures['eer'], share=True)} of same pairs are farther, and as many "
        "of different pairs nearer."
    )
    radius = figures["radius"]["estimate"]
    if radius is None:
        return found
    inside = words.percent(1 - figures["fnmr_at_radius"]["estimate"])
    return (
        f"{found} Within the radius, {words.distance(radius)}, lie {inside} of same pairs and at "
        f"most {words.level(figures['fmr'])} of different pairs."
    )


def _remarks(report: Report) -> Iterator[str]:
    """What one has to know to use the figures, a sentence each."""
    counts, figures = report["counts"], report["figures"]
    if counts["without_face"]:
        yield f"Left out: {words.counted(counts['without_face'], 'picture')} without a face."
    if counts["failed"]:
        said = "; ".join(
            f"{reason} ({words.count(many)})" for reason, many in report["reasons"].items()
        )
        many = words.counted(counts["failed"], "picture")
        yield f"Left out: {many} that cannot be used: {said}."
    if counts["loose"]:
        yield f"Left out: {words.counted(counts['loose'], 'picture')} in no identity's folder."
    yield from report["warnings"]
    if report["preprocessing"] is not None:
        yield (
            "The best of many variants on few pictures looks better than it is, and small "
            "differences are chance; where pictures are grey, rgb and bgr are nearly the same."
        )
    if figures is not None:
        yield from _doubts(figures)


def _doubts(figures: Report) -> Iterator[str]:
    auc = figures["auc"]
    if min(end for end in auc.values() if end is not None) <= 0.5:
        yield (
            "The AUC may be 50 %, which is chance: this descriptor does not tell these identities "
            "apart; check its preprocessing with --try-preprocessing."
        )
    if figures["radius"]["estimate"] is None:
        yield _why_no_radius(figures)
    if figures["bootstrap"]["replicates"] == 0:
        yield f"There are no intervals: they need {MIN_IDENTITIES} identities."
    elif figures["identities_with_pairs"] < MIN_IDENTITIES:
        yield (
            "Only the radius has an interval: the others need "
            f"{MIN_IDENTITIES} identities of two pictures or more."
        )
    elif figures["identities_with_pairs"] < _ENOUGH:
        yield (
            f"With fewer than {_ENOUGH} identities of two pictures or more, the intervals of AUC, "
            "equal error rate and theta are too narrow."
        )
    for kind in ("same", "different"):
        used, there = figures["bootstrap"][f"{kind}_pairs"], figures[f"{kind}_pairs"]
        if 0 < used < there:
            yield (
                f"The estimates are of all pairs, the intervals of {words.count(used)} of the "
                f"{words.count(there)} {kind} pairs, thinned at random."
            )
    left = REPLICATES - figures["bootstrap"]["replicates"]
    if 0 < left < REPLICATES:
        yield f"{words.counted(left, 'draw')} of identities had no pairs of a kind: left out."
    yield (
        "Theta and radius hold for pictures like these under this preprocessing: other cropping or "
        "alignment has others."
    )


def _why_no_radius(figures: Report) -> str:
    pairs = words.counted(figures["different_pairs"], "different pair")
    if not figures["images_lacking"]:
        return (
            f"There is no radius: more than {words.level(figures['fmr'])} of the {pairs} are at "
            "distance 0; does one picture lie in several folders?"
        )
    return (
        f"There is no radius: a false-match rate of {figures['fmr']:g} needs "
        f"{words.count(math.ceil(1 / figures['fmr']))} different pairs and there are "
        f"{words.count(figures['different_pairs'])}; "
        f"{words.counted(figures['images_lacking'], 'more image')}, each of a new identity, would "
        "be enough."
    )


def show(report: Report, *, folder: Path | None) -> None:
    """Print a report on stdout; `folder`: where the card is, None: there is none."""
    console = Console(highlight=False)
    figures, trial = report["figures"], report["preprocessing"]
    console.print()
    if trial is not None:
        for line in _trial_lines(trial):
            console.print(plain(line), markup=False, soft_wrap=True)
        console.print()
    if figures is not None:
        console.print(Text(plain(headline(figures)), style="bold"))
        console.print()
        table = grid()
        for name, shown in _rows(report):
            table.add_row(Text(name), Text(plain(shown)))
        console.print(table)
    for remark in report["remarks"]:
        console.print(f"\n{plain(remark)}", markup=False, soft_wrap=True)
    console.print()
    if folder is None:
        lines = [
            "No card was written: run again with the --set words of the variant that is right."
        ]
    else:
        lines = [f"The card, all figures and charts are in {folder}; use them with"]
        lines.append(f"ganaudit diagnose ... --descriptor-card {folder / CARD}")
    for line in lines:
        console.print(plain(line), markup=False, soft_wrap=True)


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    figures, card = report["figures"], report["descriptor"]
    counts = [words.count(figures[key]) for key in ("images", "identities")]
    yield "AUC", _shown(figures["auc"])
    yield "Equal error rate", _shown(figures["eer"], share=True)
    yield "Theta", _reach(figures["theta"])
    yield f"Radius at FMR {words.level(figures['fmr'])}", _reach(figures["radius"])
    if figures["radius"]["estimate"] is not None:
        yield "Same pairs beyond it", _shown(figures["fnmr_at_radius"], share=True)
    yield "Pictures", f"{counts[0]} of {counts[1]} identities"
    for kind in ("same", "different"):
        yield f"{kind.capitalize()} pairs", words.count(figures[f"{kind}_pairs"])
    drawn = figures["bootstrap"]["replicates"]
    if drawn:
        yield "Intervals", f"95 %, from {words.counted(drawn, 'draw')} of identities"
    yield "Descriptor", f"{words.named(card['name'])}, weights {card['weights_sha256'][:12]}"


def _shown(figure: words.Interval, *, share: bool = False) -> str:
    """6.41 % (4.4 % to 8.2 %), or the estimate alone."""
    known = figure["low"] is not None
    return (words.with_interval if known else words.estimate)(figure, share=share)


def _reach(figure: words.Interval) -> str:
    """0.307 (0.293 to 0.322), fraction of pi."""
    shown = words.distance(figure["estimate"])
    if figure["low"] is None:
        return shown
    ends = " to ".join(words.distance(figure[end]) for end in ("low", "high"))
    return f"{shown} ({ends}), fraction of pi"


def _trial_lines(trial: Report) -> Iterator[str]:
    """A line a variant, however long: it is there to be copied."""
    people = words.count(trial["identities"])
    yield f"On {words.counted(trial['images'], 'picture')} of {people} identities:"
    yield "   AUC     EER"
    for variant in trial["variants"]:
        said = " ".join(f"--set {pair}" for pair in variant["set"])
        own = "  (as requested)" if variant["own"] else ""
        if variant["problem"] is not None:
            yield f"     -       -  {said}{own}: {variant['problem']}"
        else:
            eer = words.percent(variant["eer"])
            yield f"{variant['auc']:6.4f}  {eer:>6}  {said}{own}"


# -- charts -----------------------------------------------------------------------------------


def write(report: Report, folder: Path) -> list[Path]:
    """Draw the charts as SVG and PNG; the paths. The same report gives the same bytes.

    Raises:
      GanauditError: a file cannot be written.
    """
    try:
        return drawing.save(draw(report["figures"]), folder, ("svg", "png"))
    except OSError as error:
        raise GanauditError(f"{folder} cannot be written: {error.strerror or error}") from error


def draw(figures: Report) -> dict[str, "Figure"]:
    """The charts by name, as matplotlib figures; nothing is written."""
    return drawing.draw(_CHARTS, figures)


def _roc(axes: "Axes", figures: Report) -> None:
    """FNMR by FMR, both on log axes, so that rates of 1 in 1,000 are seen."""
    floors = [0.5 / figures[f"{kind}_pairs"] for kind in ("different", "same")]  # where 0 is drawn
    fmr = [max(point["fmr"], floors[0]) for point in figures["roc"]]
    fnmr = [max(point["fnmr"], floors[1]) for point in figures["roc"]]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([max(floors), 1], [max(floors), 1], color=RULE, linewidth=1)
    axes.plot(fmr, fnmr, color=ACCENT, linewidth=1.8, drawstyle="steps-post")
    eer, low, high = ends(figures["eer"])
    if eer:
        axes.plot([low, high], [low, high], color=INK, linewidth=4, solid_capstyle="butt")
        _dot(axes, eer, eer, f"EER {words.percent(eer)}", left=True, below=True)
    else:
        axes.text(0.5, 0.5, "no errors at theta", transform=axes.transAxes, color=MUTED)
    missed, low, high = ends(figures["fnmr_at_radius"])
    if missed:
        axes.plot([figures["fmr"]] * 2, [low, high], color=INK, linewidth=1.2)
        label = f"{words.percent(missed)} at the radius"
        _dot(axes, figures["fmr"], missed, label, left=figures["fmr"] > 0.02, below=missed > 0.7)
    axes.set_xlim(floors[0], 1)
    axes.set_ylim(floors[1], 1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: words.level(share))
        axis.set_minor_formatter(lambda share, _: "")
    axes.grid(which="major")
    axes.set_xlabel("FMR, share of different pairs accepted")
    axes.set_title("FNMR, share of same pairs rejected", loc="left", fontsize=11, color=MUTED)


def _dot(axes: "Axes", x: float, y: float, label: str, *, left: bool, below: bool) -> None:
    """A point with its label on the side that has room."""
    axes.plot([x], [y], "o", color=INK, markersize=5)
    axes.annotate(
        label,
        (x, y),
        xytext=(-8 if left else 8, -5 if below else 6),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top" if below else "bottom",
    )


def _distances(axes: "Axes", figures: Report) -> None:
    """Same and different pairs by distance, each as shares of their own."""
    edges, counts = _bars(figures["histogram"])
    kinds = {"different": (SOFT, 1.0), "same": (ACCENT, 0.6)}
    peaks = {kind: counts[kind].index(max(counts[kind])) for kind in kinds}
    top = max(counts[kind][peaks[kind]] / figures[f"{kind}_pairs"] for kind in kinds)
    for kind, (colour, alpha) in kinds.items():
        shares = [many / figures[f"{kind}_pairs"] for many in counts[kind]]
        axes.stairs(shares, edges, fill=True, color=colour, alpha=alpha)
        axes.annotate(
            kind,
            (edges[peaks[kind]], shares[peaks[kind]]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right" if peaks[kind] == min(peaks.values()) else "left",
        )
    names = [name for name in ("radius", "theta") if figures[name]["estimate"] is not None]
    names.sort(key=lambda name: figures[name]["estimate"])
    for name in names:
        at, low, high = ends(figures[name])
        left = len(names) > 1 and name == names[0]
        dashes = "-" if name == "theta" else (0, (3, 3))
        axes.axvspan(low, high, color=INK, alpha=0.12, linewidth=0)
        axes.axvline(at, color=INK, linewidth=1.2, linestyle=dashes)
        axes.annotate(
            f"{name} {words.distance(at)}",
            (at, 1.22 * top),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
        )
    axes.set_ylim(0, 1.32 * top)
    name_axes(axes, "distance, fraction of pi", "share of pairs")
    percents(axes)
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= top])


def _bars(histogram: Report) -> tuple[list[float], dict[str, list[int]]]:
    """Edges and counts by kind, of the range that is taken, in at most `_BARS` bars."""
    both = [a + b for a, b in zip(histogram["same"], histogram["different"], strict=True)]
    taken = [place for place, many in enumerate(both) if many]
    start, stop = taken[0], taken[-1] + 1
    step = -(-(stop - start) // _BARS)
    starts = range(start, stop, step)
    edges = histogram["edges"]
    ends = [min(place + step, len(both)) for place in starts]
    return [edges[start], *(edges[end] for end in ends)], {
        kind: [sum(histogram[kind][a:b]) for a, b in zip(starts, ends, strict=True)]
        for kind in ("same", "different")
    }


_CHARTS: dict[str, Callable[["Axes", Report], None]] = {"roc": _roc, "distances": _distances}
