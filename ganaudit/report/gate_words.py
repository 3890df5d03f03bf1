"""What is said of a gate: what it wanted, why it has its verdict, and what it could have seen."""

from collections.abc import Sequence
from typing import Any

from ganaudit.comparable import SHARES
from ganaudit.gates import Gate, Limit, Verdict
from ganaudit.report.verdicts import DOUBLE, change
from ganaudit.report.words import count, counted, number, percent

_TIMES = "in 95 of 100 such checks"
_ALIKE = ", if figures vary as they do here"  # a grown collapse makes them vary more
_COUNTED = ("worst-rate", "worst-similarity", *SHARES)  # whose variation follows from their size


def amount(limit: Limit, value: float | None) -> str:
    """A value of a gate's figure."""
    return percent(value) if limit.figure.share else number(value)


def wanted(limit: Limit) -> str:
    """A limit in words: at most 2 %; at most 40 % more than the baseline."""
    if limit.relative:
        than = "the baseline" if limit.value >= DOUBLE else "than the baseline"
        return f"at most {_set(limit)} {than}"
    if limit.value == 0:
        return "none"
    return f"at {'most' if limit.kind == 'max' else 'least'} {_set(limit)}"


def _set(limit: Limit) -> str:
    """The value of a limit as it was set, not rounded: 2 %; 40 % more; 4 times."""
    if limit.kind == "max-increase" and limit.value >= DOUBLE:
        return f"{_exact(1 + limit.value)} times"
    if limit.relative:
        return f"{_exact(100 * limit.value)} % {'more' if limit.kind == 'max-increase' else 'less'}"
    return f"{_exact(100 * limit.value)} %" if limit.figure.share else _exact(limit.value)


def _exact(value: float) -> str:
    return f"{value:,.12f}".rstrip("0").rstrip(".")


def sentence(gate: Gate, *, needed: int | None) -> str:
    """Why a gate has its verdict.

    Args:
      gate: with its verdict.
      needed: samples with which it would mostly decide; None: not known.
    """
    limit = gate.limit
    if gate.reason == "not computed":
        lacks = limit.relative and gate.found.estimate is not None
        whose = "the baseline" if lacks else "the release"
        return f"This figure was not computed for {whose}, so nothing can be said of it."
    if gate.reason == "no interval":
        return (
            "The figure has no interval: too few anchors or groups of samples, or nothing varies."
        )
    if gate.reason == "never seen":
        return (
            "Neither the release nor the baseline has any, and no ratio of the two is known: an "
            f"absolute limit (--max {limit.figure.name}=1%) says more."
        )
    if gate.reason in ("decided", "undecided"):
        return _sequential(gate)
    if gate.reason == "counted":
        if gate.verdict == "fail":
            return f"There are some: {percent(gate.found.estimate)}."
        return f"There are none; a share up to {percent(gate.found.high)} cannot be ruled out."
    side = _relative_side(gate) if limit.relative else _absolute_side(gate)
    if gate.verdict != "inconclusive":
        return side
    enough = (
        ""
        if needed is None
        else f" {_enough(limit, needed).capitalize()}; near the limit it takes more."
    )
    return f"{side} There are too few samples to tell.{enough}"


def _enough(limit: Limit, samples: int) -> str:
    about = f"about {counted(samples, 'sample')}"
    if limit.relative:
        return f"{about} let an unchanged release pass"
    return f"{about} tell half of the limit from double of it"


def _sequential(gate: Gate) -> str:
    allowed = _set(gate.limit)
    if gate.reason == "undecided":
        return "Not decided by the samples that were drawn."
    if gate.verdict == "fail":
        return f"The samples show that it is above {allowed}."
    return f"The samples show that it is at most {allowed}."


def _absolute_side(gate: Gate) -> str:
    limit, found = gate.limit, gate.found
    low, high, allowed = amount(limit, found.low), amount(limit, found.high), _set(limit)
    if gate.verdict == "inconclusive":
        return f"The limit lies within the interval ({low} to {high})."
    above = (gate.verdict == "fail") == (limit.kind == "max")
    if above:
        return f"It is at least {low}, {'above' if limit.kind == 'max' else 'not below'} {allowed}."
    return f"It is at most {high}, {'not above' if limit.kind == 'max' else 'below'} {allowed}."


def _relative_side(gate: Gate) -> str:
    assert gate.change is not None
    low, high, allowed = gate.change.low, gate.change.high, _set(gate.limit)
    if gate.verdict == "inconclusive":
        between = f"between {change(low)} and {change(high)}"
        return f"Against the baseline it lies {between}; the limit is {allowed}."
    above = (gate.verdict == "fail") == (gate.limit.kind == "max-increase")
    end = low if above else high
    assert end is not None
    least = above == (end >= 0)  # what fell to a value or above it fell by at most so much
    side = f"at {'least' if least else 'most'} {change(end)}"
    return f"Against the baseline it is {side}; the limit is {allowed}."


def detectable(gate: Gate) -> str:
    """The smallest increase that the gate would have found: always said."""
    limit, value = gate.limit, gate.detectable
    if value is None:
        return "What this gate would have found is not known from these samples."
    found = f"would have failed {_TIMES}"
    if limit.figure.name not in _COUNTED:
        found += _ALIKE
    if limit.kind == "max-increase":
        times = value >= DOUBLE
        much = f"to {number(1 + value)} times" if times else f"of {number(100 * value)} %"
        return f"An increase {much} or more {found}."
    if limit.kind == "max-decrease":
        return f"A decrease of {percent(value)} or more {found}."
    edge = "less" if limit.kind == "min" else "more"
    return f"A true value of {amount(limit, value)} or {edge} {found}."


def headline(verdicts: Sequence[tuple[str, Verdict]]) -> str:
    """All gates in one sentence: (name, verdict) of each."""
    failed, open_ = (
        [name for name, verdict in verdicts if verdict == wrong]
        for wrong in ("fail", "inconclusive")
    )
    if not verdicts:
        return "No gate was checked."
    if len(verdicts) == 1:
        said = "failed" if failed else "is inconclusive" if open_ else "passed"
        return f"The gate {said}: {verdicts[0][0]}."
    whole = f"{len(verdicts)} gates"
    if not failed and not open_:
        return f"All {whole} passed."
    parts = ((failed, "failed"), (open_, "inconclusive"))
    said = "; ".join(f"{len(k)} of {whole} {how}: {', '.join(k)}" for k, how in parts if k)
    return f"{said}."


def needs(limit: Limit, samples: int | None, planned: int | None) -> str:
    """Before the start: the samples that a gate will need.

    Args:
      limit: the gate.
      samples: with which it mostly decides; None: not known.
      planned: that are asked for; None: as many as it takes.
    """
    gate = f"{limit.figure.name} {wanted(limit)}"
    if samples is None:
        return f"{gate}: how many samples it needs is not known beforehand"
    said = f"{gate}: {_enough(limit, samples)}"
    short = planned is not None and planned < samples
    return f"{said}; {count(planned)} may leave it inconclusive" if short else said


def figures(gate: Gate, *, needed: int | None) -> dict[str, Any]:
    """A gate as JSON values, with its sentences."""
    limit = gate.limit
    return {
        "gate": limit.figure.name,
        "title": limit.figure.title,
        "kind": limit.kind,
        "limit": limit.value,
        "wanted": wanted(limit),
        "share": limit.figure.share,
        "verdict": gate.verdict,
        "reason": gate.reason,
        "found": gate.found.figures(),
        "baseline": None if gate.baseline is None else gate.baseline.figures(),
        "change": None if gate.change is None else gate.change.figures(),
        "detectable": gate.detectable,
        "samples_needed": needed,
        "sentence": sentence(gate, needed=needed),
        "detectable_sentence": detectable(gate),
    }
