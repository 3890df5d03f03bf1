"""Limits on the figures of a release, and whether it keeps them: pass, fail, or too few samples.

A verdict needs an interval: a release passes where all of it keeps the limit, fails where none of
it does, and is inconclusive between. Every test errs in at most 5 % of releases that stand exactly
at the limit; the tests of the worst mode in fewer, because they compare a figure that nobody
flattered with one that the collapse flattered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ganaudit import power
from ganaudit.comparable import SHARES, Comparable
from ganaudit.config import Inconclusive
from ganaudit.diversity import vendi_score
from ganaudit.errors import ConfigError
from ganaudit.extremes import Extreme
from ganaudit.intervals import Estimate, Interval, clopper_pearson
from ganaudit.ratios import (
    WIDER,
    LogRatio,
    Share,
    difference,
    ratio,
    ratio_of_extremes,
    ratio_of_shares,
)
from ganaudit.slots import SHARD

Kind = Literal["max", "min", "max-increase", "max-decrease"]
Verdict = Literal["pass", "fail", "inconclusive"]
Reason = Literal[
    "clear",  # the interval lies on one side of the limit
    "straddles",
    "counted",  # a limit of none
    "no interval",
    "not computed",
    "never seen",  # by neither side
    "decided",  # by samples looked at as they came
    "undecided",
]

TOLERANCE = 0.4  # of a limit against a baseline that names none
_LEAST, _MOST = 1e-9, 1e9  # of a value that is no change: nothing can be told beyond
_MOST_SAMPLES = 10**12  # beyond, nobody draws them
_ONE_SIDED = 1.645  # each end of a comparison is a 95 % limit of its own
_RELATIVE: tuple[Kind, ...] = ("max-increase", "max-decrease")
_VENDI = "vendi"


@dataclass(frozen=True)
class Figure:
    """What can be limited.

    Attributes:
      name: on the command line.
      title: in a report.
      share: shown in percent.
    """

    name: str
    title: str
    share: bool = False

    @property
    def kinds(self) -> tuple[Kind, Kind]:
        """The absolute and the relative limit that it takes: more is worse, but of Vendi less."""
        return ("min", "max-decrease") if self.name == _VENDI else ("max", "max-increase")


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("worst-rate", "Rate of the worst mode", share=True),
        Figure("worst-similarity", "Mean similarity of the worst mode"),
        Figure("mean-similarity", "Mean similarity"),
        Figure("mu", "Mean MCCS mu at n"),
        Figure(_VENDI, "Vendi score of order 1 at n"),
        Figure("near-copies", "Anchors with near copies", share=True),
        Figure("duplicates", "Images that repeat another to the last byte", share=True),
        Figure("faceless", "Images without a face", share=True),
        Figure("failures", "Slots without a usable image", share=True),
    )
}


@dataclass(frozen=True)
class Limit:
    """One gate.

    Attributes:
      figure: what it limits.
      kind: how.
      value: the largest or smallest value allowed; of relative kinds the largest change, as a share
        of the baseline's figure.
    """

    figure: Figure
    kind: Kind
    value: float

    @property
    def relative(self) -> bool:
        """Whether it is against a baseline."""
        return self.kind in _RELATIVE


@dataclass(frozen=True)
class Gate:
    """A limit and what became of it.

    Attributes:
      limit: the limit.
      verdict: pass, fail or inconclusive.
      reason: why there is that verdict.
      found: the release's figure. Of the worst mode the largest of any anchor, between ends for the
        largest true one.
      baseline: the baseline's; None: the limit is absolute.
      change: release over baseline, less 1, each end a one-sided 95 % limit; None: likewise.
      detectable: the smallest true value (`min`: the largest) that would have failed in 95 of 100
        releases; of relative kinds the smallest true change. Of the worst mode for one that stands
        apart: in a smooth crowd, where two halves choose different anchors, 79 to 92 were measured.
        Of means and scores, if they vary as they do here. None: it is not known.
    """

    limit: Limit
    verdict: Verdict
    reason: Reason
    found: Interval
    baseline: Interval | None = None
    change: Interval | None = None
    detectable: float | None = None


def parse(
    *,
    max: Sequence[str] = (),
    min: Sequence[str] = (),
    max_increase: Sequence[str] = (),
    max_decrease: Sequence[str] = (),
    baseline: bool = False,
) -> list[Limit]:
    """Limits from the texts of a request, in the order of `FIGURES`, absolute ones first.

    Args:
      max: NAME=VALUE, a number or a percentage (2%).
      min: likewise.
      max_increase: NAME=CHANGE, or NAME for the default of 40 %.
      max_decrease: likewise.
      baseline: there is one. Without a relative limit the worst mode's rate gets the default one.

    Raises:
      ConfigError: there is no such gate, it takes no such limit, or the value says nothing.
    """
    given: tuple[tuple[Kind, Sequence[str]], ...] = (
        ("max", max),
        ("min", min),
        ("max-increase", max_increase),
        ("max-decrease", max_decrease),
    )
    limits = [_limit(kind, text) for kind, texts in given for text in texts]
    relative = [limit for limit in limits if limit.relative]
    if relative and not baseline:
        raise ConfigError(f"--{relative[0].kind} needs a --baseline to compare with")
    if baseline and not relative:
        limits.append(Limit(FIGURES["worst-rate"], "max-increase", TOLERANCE))
    if not limits:
        raise ConfigError(
            "there is no limit to check: say --max worst-rate=2%, or --baseline FILE "
            "(ganaudit baseline save makes one)"
        )
    keys = [(limit.relative, list(FIGURES).index(limit.figure.name)) for limit in limits]
    if len(set(keys)) < len(keys):
        raise ConfigError("a limit is given twice: name each gate once for each kind of limit")
    return [limits[i] for i in sorted(range(len(limits)), key=keys.__getitem__)]


def _limit(kind: Kind, text: str) -> Limit:
    name, equals, value = (part.strip() for part in text.partition("="))
    figure = FIGURES.get(name)
    if figure is None:
        raise ConfigError(
            f"--{kind} {text!r:.60}: there is no gate {name!r:.40}; there are {', '.join(FIGURES)}"
        )
    if kind not in figure.kinds:
        worse = "less" if name == _VENDI else "more"
        raise ConfigError(
            f"--{kind} {name}: of {name} {worse} is worse; say --{' or --'.join(figure.kinds)}"
        )
    if kind in _RELATIVE:
        return Limit(figure, kind, _change(kind, name, value) if equals else TOLERANCE)
    if not equals:
        raise ConfigError(f"--{kind} wants NAME=LIMIT, got {text!r:.60}")
    return Limit(figure, kind, _absolute_value(kind, figure, value))


def _change(kind: Kind, name: str, text: str) -> float:
    value = _number(f"--{kind} {name}", text)
    if value == 0:
        raise ConfigError(
            f"--{kind} {name}=0 would fail unchanged releases: drawing other anchors from the same "
            "generator makes the worst mode look denser in 5 to 28 % of comparisons; allow at "
            "least a few percent (the default is 40%)"
        )
    most = 1.0 if kind == "max-decrease" else 1000.0
    if not 0.001 <= value < most:
        raise ConfigError(
            f"--{kind} {name} must be a change from 0.1% to below {most:.0%}, got {text!r:.40}"
        )
    return value


def _absolute_value(kind: Kind, figure: Figure, text: str) -> float:
    where = f"--{kind} {figure.name}"
    value = _number(where, text)
    if figure.name == _VENDI:
        if "%" in text or not 1 < value < _MOST:
            raise ConfigError(
                f"{where} must be a number above 1 and below {_MOST:g}, got {text!r:.40}"
            )
    elif figure.name in SHARES and value == 0:
        return 0.0
    elif not _LEAST <= value < 1:
        least = f"0, or {_LEAST:g}" if figure.name in SHARES else f"{_LEAST:g}"
        raise ConfigError(f"{where} must be from {least} to below 1 (100%), got {text!r:.40}")
    return value


def _number(where: str, text: str) -> float:
    """2%, 0.02 or 20 as a number."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where} wants a number or a percentage (2%), got {text!r:.40}")
    return value


def judge(limit: Limit, release: Comparable, baseline: Comparable | None = None) -> Gate:
    """The verdict of one limit on a release.

    Args:
      limit: absolute, or relative.
      release: its figures.
      baseline: at equal m and n; needed by relative limits.
    """
    if not limit.relative:
        return _absolute(limit, release)
    assert baseline is not None
    return _relative(limit, release, baseline)


def verdict_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Of all gates together: one that fails fails all; nothing is inconclusive."""
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts and all(one == "pass" for one in verdicts) else "inconclusive"


def exit_code_of(verdict: Verdict, *, inconclusive: Inconclusive) -> int:
    """0 pass, 1 a gate failed, 4 inconclusive, unless that is to count as one of the others."""
    if verdict == "inconclusive":
        return {"report": 4, "pass": 0, "fail": 1}[inconclusive]
    return 0 if verdict == "pass" else 1


def found_of(name: str, figures: Comparable) -> Interval | None:
    """A figure with its 95 % interval, as limits look at it; None: it was not computed."""
    evidence = _evidence(name, figures)
    if evidence is None:
        return None
    if isinstance(evidence, Extreme):
        return evidence.bracket
    if isinstance(evidence, Share):
        return clopper_pearson(evidence.count, evidence.of) if evidence.of else None
    return vendi_score(evidence) if name == _VENDI else evidence.interval()


def _evidence(name: str, figures: Comparable) -> Extreme | Share | Estimate | None:
    if name in SHARES:
        return figures.shares.get(name)
    return {
        "worst-rate": figures.worst_rate,
        "worst-similarity": figures.worst_similarity,
        "mean-similarity": figures.pairs,
        "mu": figures.mu,
        _VENDI: figures.vendi,
    }[name]


def _absolute(limit: Limit, release: Comparable) -> Gate:
    name, wanted = limit.figure.name, limit.value
    evidence, found = _evidence(name, release), found_of(name, release)
    if evidence is None or found is None:
        return Gate(limit, "inconclusive", "not computed", Interval(None, None, None))
    if isinstance(evidence, Share) and wanted == 0:  # one is one too many; none is none seen
        kept = evidence.count == 0
        seen = power.share_that_shows(evidence.of)
        return Gate(limit, "pass" if kept else "fail", "counted", found, detectable=seen)
    detectable = _detectable_value(limit, evidence)
    if found.low is None or found.high is None:
        return Gate(limit, "inconclusive", "no interval", found, detectable=detectable)
    if limit.kind == "max":
        keeps, breaks = found.high <= wanted, found.low > wanted
    else:
        keeps, breaks = found.low >= wanted, found.high < wanted
    verdict, reason = _decided(keeps, breaks)
    return Gate(limit, verdict, reason, found, detectable=detectable)


def _decided(keeps: bool, breaks: bool) -> tuple[Verdict, Reason]:
    if not keeps and not breaks:
        return "inconclusive", "straddles"
    return ("fail" if breaks else "pass"), "clear"


def _detectable_value(limit: Limit, evidence: Extreme | Share | Estimate) -> float | None:
    if isinstance(evidence, Share):
        return power.rate_that_fails(limit.value, evidence.of, z=power.TWO_SIDED)
    if isinstance(evidence, Extreme):
        unit = evidence.largest.unit
        if limit.figure.share:
            return power.rate_that_fails(limit.value, evidence.samples)
        return power.similarity_that_fails(limit.value, evidence.samples, unit)
    return power.value_that_fails(limit.value, evidence, logarithm=limit.kind == "min")


def _relative(limit: Limit, release: Comparable, baseline: Comparable) -> Gate:
    name = limit.figure.name
    now, then = _evidence(name, release), _evidence(name, baseline)
    found, before = found_of(name, release), found_of(name, baseline)
    if now is None or then is None or found is None or before is None:
        unknown = Interval(None, None, None)
        return Gate(limit, "inconclusive", "not computed", found or unknown, before or unknown)
    logs = _log_ratio(name, now, then)
    low, high = logs.ends(_ONE_SIDED)
    detectable = _detectable_change(limit, then, logs)
    change = Interval(*(None if end is None else end - 1 for end in _ends(logs)))
    verdict: Verdict = "inconclusive"
    reason: Reason = "no interval"
    if isinstance(now, Share) and isinstance(then, Share) and not now.count + then.count:
        reason, change = "never seen", Interval(None, None, None)
    elif low is not None and high is not None:
        if limit.kind == "max-increase":
            bound = math.log1p(limit.value)
            verdict, reason = _decided(high < bound, low > bound)
        else:
            bound = math.log1p(-limit.value)
            verdict, reason = _decided(low > bound, high < bound)
    return Gate(limit, verdict, reason, found, before, change, detectable)


def _ends(logs: LogRatio) -> tuple[float | None, float | None, float | None]:
    found = logs.interval(_ONE_SIDED)
    return found.estimate, found.low, found.high


def _log_ratio(
    name: str, now: Extreme | Share | Estimate, then: Extreme | Share | Estimate
) -> LogRatio:
    if isinstance(now, Extreme) and isinstance(then, Extreme):
        return ratio_of_extremes(now, then)
    if isinstance(now, Share) and isinstance(then, Share):
        return ratio_of_shares(now, then)
    assert isinstance(now, Estimate) and isinstance(then, Estimate)
    return difference(now, then) if name == _VENDI else ratio(now, then)


def _detectable_change(
    limit: Limit, then: Extreme | Share | Estimate, logs: LogRatio
) -> float | None:
    if isinstance(then, Extreme):
        return power.increase_that_fails(limit.value, then.largest.hits, wider=WIDER**2)
    if isinstance(then, Share):
        return power.increase_that_fails(limit.value, then.count, wider=1.0)
    if logs.low is None or not np.isfinite(logs.low.error):
        return None
    return power.change_that_fails(limit.value, logs.low.error, falls=limit.kind == "max-decrease")


def samples_needed(limit: Limit, baseline: Comparable | None) -> int | None:
    """Samples with which a gate mostly decides.

    Half of an absolute limit then passes in 90 of 100 checks and double of it fails in 95; against
    a baseline an unchanged release passes in 90, and below a tolerance of 100 % a count that
    doubled fails in 95. Those of a baseline are for both sides; of means and Vendi scores with as
    many more anchors.

    Args:
      limit: the gate.
      baseline: what a relative limit compares with.

    Returns:
      None: it is not known beforehand, or no number that could be drawn is enough. Of near copies
      it never is: their share is one of anchors.
    """
    if limit.figure.name == "near-copies":
        return None
    if not limit.relative:
        counted = limit.figure.name in (*SHARES, "worst-rate")
        return _drawn(power.samples_for_rate(limit.value)) if counted and limit.value else None
    evidence = None if baseline is None else _evidence(limit.figure.name, baseline)
    if isinstance(evidence, Extreme):
        if not limit.figure.share:  # its largest anchor is not the most crowded one, at any n
            return None
        hits, n = evidence.largest.hits, evidence.samples
        return _more(n, power.hits_for_increase(limit.value, wider=WIDER**2), hits)
    if isinstance(evidence, Share):
        return _more(evidence.of, power.hits_for_increase(limit.value, wider=1.0), evidence.count)
    if baseline is None or evidence is None or not evidence.varies:
        return None
    times = power.times_for_change(
        limit.value,
        evidence,
        falls=limit.kind == "max-decrease",
        logarithm=limit.figure.name == _VENDI,
    )
    return _drawn(max(SHARD, baseline.samples * times))  # fewer leave no groups to speak of


def _more(samples: int, wanted: float, hits: float) -> int | None:
    return _drawn(samples * wanted / hits) if hits else None


def _drawn(samples: float) -> int | None:
    return math.ceil(samples) if samples <= _MOST_SAMPLES else None
