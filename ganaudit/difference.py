"""`ganaudit diff A B`: every figure of two runs, with the interval of its difference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganaudit.comparable import SHARES, Comparable
from ganaudit.errors import ConfigError
from ganaudit.finished import Finished, check_sizes
from ganaudit.gates import found_of
from ganaudit.intervals import Interval
from ganaudit.report import outputs

SCHEMA_VERSION = 1
KIND = "diff"
_MOST = 1e100  # of a figure
_UNKNOWN = Interval(None, None, None)


@dataclass(frozen=True)
class Line:
    """One figure of both runs.

    Attributes:
      name: of the figure, which stays.
      title: the same for a reader.
      share: shown in percent.
      a: the first run's.
      b: the second's.
    """

    name: str
    title: str
    share: bool
    a: Interval
    b: Interval

    @property
    def difference(self) -> Interval:
        """Of b less a.

        References:
          Zou & Donner, "Construction of confidence limits about effect measures: a general
          approach", 2008 (MOVER): l = b - a - sqrt((b - l_b)^2 + (u_a - a)^2), u likewise. It needs
          nothing but the two intervals, which may be skewed, and holds for independent runs; runs
          of one seed share their latents, which makes it wide.
        """
        a, b = self.a, self.b
        if a.estimate is None or b.estimate is None:
            return _UNKNOWN
        gap = b.estimate - a.estimate
        low = _reach(b.estimate, b.low, a.estimate, a.high)
        high = _reach(b.estimate, b.high, a.estimate, a.low)
        return Interval(
            gap, None if low is None else gap - low, None if high is None else gap + high
        )

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        low, high = self.difference.low, self.difference.high
        return (low is not None and low > 0) or (high is not None and high < 0)


def _reach(b: float, b_end: float | None, a: float, a_end: float | None) -> float | None:
    if b_end is None or a_end is None:
        return None
    return float(((b - b_end) ** 2 + (a_end - a) ** 2) ** 0.5)


def lines(a: Finished, b: Finished) -> list[Line]:
    """Every figure of two runs at equal m and n, in the order of their reports.

    Raises:
      ConfigError: a report lacks a figure, or has one that is no number.
    """
    one, other = (_by_name(run) for run in (a, b))
    if one.keys() != other.keys():
        raise ConfigError(f"the reports of {a.folder} and {b.folder} have not the same figures")
    return [
        Line(name, title, share, mine, other[name][2]) for name, (title, share, mine) in one.items()
    ]


def _by_name(run: Finished) -> dict[str, tuple[str, bool, Interval]]:
    with outputs.complete(run.folder):
        return {name: (title, share, found) for name, title, share, found in _figures(run.report)}


def _figures(report: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, Interval]]:
    """(name, title, share, figure)."""
    figures = report["figures"]
    worst, mccs = figures["worst_mode"], figures["mccs"]
    apart = worst["chosen_and_scored_apart"] or {}
    yield "worst-rate", "Worst mode, rate", True, _interval(apart.get("rate"))
    similarity = _interval(apart.get("mean_similarity"))
    yield "worst-similarity", "Worst mode, similarity", False, similarity
    yield "largest-rate", "Largest rate", True, _interval(worst["rate"])
    median = Interval(_number(figures["median_rate"]), None, None)
    yield "median-rate", "Median rate", True, median
    yield "mean-similarity", "Mean similarity", False, _interval(figures["mean_similarity"])
    yield "pooled-mccs", "Pooled MCCS", False, _interval(mccs["pooled"])
    yield "mu", "mu at n", False, _interval(mccs["mu"])
    yield "sigma", "sigma at n", False, _interval(mccs["sigma"])
    for quantile in mccs["quantiles"]:
        at = f"{quantile['probability']:.0%}"
        yield f"mccs-{at[:-1]}", f"MCCS, {at} quantile", False, _interval(quantile)
    yield "effective-modes", "Effective modes", False, _interval(figures["effective_modes"])
    yield "birthday-support", "Birthday support", False, _interval(figures["birthday_support"])
    vendi = figures["vendi"] or {}
    for order, name in (("order_1", "1"), ("order_2", "2"), ("order_inf", "infinity")):
        yield f"vendi-{order[6:]}", f"Vendi, order {name}", False, _interval(vendi.get(order))
    counted = Comparable.read(report["comparable"])
    for name in SHARES:
        title = name.replace("-", " ").capitalize()
        yield name, title, True, found_of(name, counted) or _UNKNOWN


def _interval(value: Mapping[str, Any] | None) -> Interval:
    if value is None:
        return _UNKNOWN
    return Interval(*(_number(value[name]) for name in ("estimate", "low", "high")))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or abs(value) > _MOST:
        raise ValueError(f"a figure must be a number or null, got {value!r:.40}")
    return float(value)


def diff(a: Path, b: Path, *, rarefy: bool = False) -> dict[str, Any]:
    """The difference of two finished runs, as a JSON document.

    Args:
      a: folder of the run that is the base.
      b: folder of the other.
      rarefy: cut both to what both have, where they differ in scored anchors or samples.

    Raises:
      ConfigError: one is no finished run, or they cannot be compared.
    """
    one, other = Finished.read(a), Finished.read(b)
    one.basis.check(other.basis, here=str(a), there=str(b))
    if rarefy:
        sizes = {
            name: min(getattr(one.figures, name), getattr(other.figures, name))
            for name in ("anchors", "samples")
        }
        one, other = one.rarefied(**sizes), other.rarefied(**sizes)
    check_sizes(one.figures, other.figures, remedy="--rarefy cuts both to what both have")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "rarefied": rarefy,
        "a": _side(one),
        "b": _side(other),
        "figures": [
            {
                "figure": line.name,
                "title": line.title,
                "share": line.share,
                "a": line.a.figures(),
                "b": line.b.figures(),
                "difference": line.difference.figures(),
                "told_apart": line.told_apart,
            }
            for line in lines(one, other)
        ],
        "environment": {"ganaudit": version("ganaudit")},
    }


def _side(run: Finished) -> dict[str, Any]:
    return {
        "folder": str(run.folder),
        "generator": run.name,
        "seed": run.report["request"]["seed"],
        "anchors": run.figures.anchors,
        "samples": run.figures.samples,
    }
