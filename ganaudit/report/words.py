"""The words and numbers of a report, in one place: HTML, Markdown and terminal say the same.

Estimates have three significant digits, the ends of an interval as many decimals as its width
warrants, counts are in full. What is not known is said to be not known.
"""

import math
from collections.abc import Mapping
from typing import Any

Report = Mapping[str, Any]  # the canonical JSON
Interval = Mapping[str, Any]  # estimate, low, high: each a number or None

UNKNOWN = "not known"
NO_INTERVAL = "no interval: too few groups of samples"
_NAME = 80  # characters of a name
FEW = 10  # neighbours below which an anchor is not called an identity that repeats
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: float | None) -> str:
    """A whole number, thousands grouped: 10,000."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def counted(value: int, noun: str) -> str:
    """A count and its noun: 1 sample, 10,000 samples."""
    return f"{count(value)} {noun}" + ("" if value == 1 else "s")


def number(value: float | None) -> str:
    """Three significant digits: 0.00421, 26.3, 1,240, 3.21 × 10⁻⁹."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    mantissa, exponent = f"{value:.2e}".split("e")
    if value and not -7 < int(exponent) < 12:
        return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    rounded = float(f"{mantissa}e{exponent}")
    return f"{rounded:,.{max(0, 2 - int(exponent))}f}" if value else "0"


def percent(share: float | None) -> str:
    """A share in [0, 1]: 12.3 %, 7.96 %, 0.04 %; never 100 % of what is not all."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    value = 100 * share
    if 99.95 <= value < 100:
        return "more than 99.9 %"
    if value in (0, 100):
        return f"{value:.0f} %"
    return f"{number(value) if value < 0.01 else _plain(value)} %"


def level(share: float) -> str:
    """A share that was set, not measured: 5 %, 0.3 %."""
    return f"{100 * share:.3g} %"


def distance(value: float | None) -> str:
    """A measured distance, as a fraction of pi: 0.120."""
    return UNKNOWN if value is None else f"{value:.3f}"


def reach(value: float) -> str:
    """Theta or a radius, as a fraction of pi: 0.2."""
    return f"{value:.4g}"


def probability(value: float | None) -> str:
    """A p value; below 0.0001 its size says nothing more."""
    if value is None:
        return UNKNOWN
    return "p < 0.0001" if value < 1e-4 else f"p = {min(1.0, value):.2g}"


def interval(value: Interval | None, *, share: bool = False) -> str:
    """The ends: 7.4 % to 8.6 %; at least 3,330; or that they are not known.

    Args:
      value: estimate, low and high; None: there is no such figure.
      share: in percent.
    """
    low, high = _ends(value, 100 if share else 1)
    unit = " %" if share else ""
    if low is None and high is None:
        return NO_INTERVAL
    width = abs(high - low) if low is not None and high is not None else 0.0
    shown = [_decimals(end, width) + unit for end in (low, high) if end is not None]
    if low is None or high is None:
        return f"{'at most' if low is None else 'at least'} {shown[0]}"
    return " to ".join(shown)


def estimate(value: Interval | None, *, share: bool = False) -> str:
    """The estimate of an interval."""
    found = None if value is None else value["estimate"]
    return percent(found) if share else number(found)


def with_interval(value: Interval | None, *, share: bool = False) -> str:
    """7.96 % (7.4 % to 8.6 %)."""
    return f"{estimate(value, share=share)} ({interval(value, share=share)})"


def _ends(value: Interval | None, scale: int) -> tuple[float | None, float | None]:
    low, high = (None, None) if value is None else (value["low"], value["high"])
    return None if low is None else scale * low, None if high is None else scale * high


def _decimals(end: float, width: float) -> str:
    """In steps of a 40th to a 4th of the width, but never nothing of an end that is not 0."""
    if not end or not 1e-7 < width < 1e12:
        return number(end)
    shown = f"{end:,.{max(0, math.floor(-math.log10(width / 40)))}f}"
    return shown if float(shown.replace(",", "")) else number(end)


def _plain(percents: float) -> str:
    """One decimal from 10 on, two below; below 0.1 no zeros at the end."""
    shown = f"{percents:.{1 if percents >= 9.995 else 2 if percents >= 0.1 else 3}f}"
    return shown if percents >= 0.1 else shown.rstrip("0")


def headline(report: Report) -> str:
    """What the audit found, in one or two sentences."""
    return f"{claim(report)} {likeness(report)}"


def claim(report: Report) -> str:
    """The worst mode's rate, its interval and its ratio to the median anchor's."""
    figures = report["figures"]
    worst, anchors = figures["worst_mode"], counted(figures["anchors"], "anchor")
    rate = worst["rate"]
    if not worst["count"]:
        most = "" if rate["high"] is None else f": their shares are at most {percent(rate['high'])}"
        whose = "the only anchor" if figures["anchors"] == 1 else f"any of {anchors}"
        return f"No sample lies within the radius of {whose}{most}."
    if worst["count"] < FEW:
        few = f"{count(worst['count'])} of {counted(figures['samples'], 'sample')}"
        shown = with_interval(rate, share=True)
        return f"The densest of {anchors} has {few} within the radius: {shown}."
    times = worst["times_median_rate"]
    than = f"{number(times)} times the median anchor’s share"
    return (
        f"One identity makes up {estimate(rate, share=True)} of what this generator shows "
        f"({interval(rate, share=True)}): "
        f"{'the median anchor has no sample within the radius' if times is None else than}."
    )


def likeness(report: Report) -> str:
    """The effective number of modes, as a sentence."""
    modes, samples = report["figures"]["effective_modes"], report["figures"]["samples"]
    alike = "Two random samples are as alike as if there were"
    if modes["estimate"] is None:
        if modes["low"] is None:
            return "No pair lies within the radius: the effective number of modes is not known."
        return f"{alike} at least {number(modes['low'])} equally likely identities."
    shown = number(modes["estimate"])
    if shown == "1.00":
        return f"{alike} only one identity."
    only = "only " if modes["estimate"] < samples else ""
    return f"{alike} {only}{shown} equally likely identities."


def identity(report: Report) -> str:
    """What the headline means by an identity."""
    radius = reach(report["scale"]["radius"])
    return (
        f"An identity is whatever lies within the radius {radius} of one anchor: an angle between "
        f"embeddings, as a fraction of pi, under {descriptor(report)}."
    )


def descriptor(report: Report) -> str:
    """The descriptor by its name, or that embeddings were given."""
    card = report["descriptor"]
    return "the given embeddings" if card is None else f"the descriptor {named(card['name'])}"


def named(name: object) -> str:
    """A name that somebody else gave, on one line and of a length that a sentence bears."""
    text = " ".join(str(name).split())
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def sizes(report: Report) -> str:
    """How many anchors met how many samples."""
    figures = report["figures"]
    return (
        f"m = {counted(figures['anchors'], 'anchor')} against "
        f"n = {counted(figures['samples'], 'sample')}"
    )
