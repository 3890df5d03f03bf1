"""The verdict on a calibrator in sentences, and what to try where it is a bad one."""

from collections.abc import Iterator
from typing import Any

from ganaudit.effects import Effect, Effects
from ganaudit.intervals import Interval
from ganaudit.report import words

_MANY_UNACCEPTED = 0.01  # of slots
_REACHED = {
    "below": "That is below",
    "at": "That is not told apart from",
    "above": "That is still above",
}
_MORE_MODES = (
    "Try more --modes, or a higher --min-acceptance: every mode that is left alone grows by "
    "1 / acceptance."
)
_REPEATS = (
    "See whether the generator gives another image where it is asked for another one: what repeats "
    "itself cannot be thinned by asking again."
)
_MORE_SAMPLES = "Fit on more --samples: how dense the modes are was known too poorly."
_CELLS = "Try --draw cell: where it thins the prior, no other mode grows beyond 1 / acceptance."
_LINEAR = "Try --region linear: in many dimensions fresh latents hardly ever fall within a hull."
_IMPORTANCE = (
    "Try --method importance: a linear region follows a mode more closely than clusters of latents "
    "do."
)
_NOT_BUILT = "Try --method importance: refinement by a discriminator is not built to thin a mode."
_REJECTION = (
    "Try --method rejection: it looks at the images, so it thins any mode, at the price of further "
    "ones."
)


def verdict(effects: Effects) -> dict[str, Any]:
    """The outcome, why, and what to try next, as JSON values."""
    return {
        "outcome": effects.outcome,
        "sentences": list(_sentences(effects)),
        "next": next_step(effects),
    }


def next_step(effects: Effects) -> str | None:
    """What to try, a sentence; None: the modes reached the target and no other paid for it."""
    applied, outcome = effects.applied, effects.outcome
    if outcome == "thinned" and not _above(effects.chosen, effects.target):
        return None
    if outcome == "moved" and not effects.grown:
        return _MORE_MODES
    if applied.method == "advlatgan-z":
        return _NOT_BUILT
    if applied.method == "gmm":
        return _CELLS if outcome == "moved" and applied.variant == "mixture" else _IMPORTANCE
    if applied.method == "importance" and applied.variant in ("hull", "subspace-hull"):
        return _LINEAR
    if outcome == "thinned" and applied.at_floor:
        return f"Try a --min-acceptance below {applied.min_acceptance:g}, or fewer --modes."
    if applied.method == "importance":
        return _REJECTION
    if outcome != "moved" and applied.unaccepted > _MANY_UNACCEPTED:
        return (
            f"Try more --attempts: in {words.percent(applied.unaccepted)} of the slots none of the "
            "images is taken, and the last one stands."
        )
    return _MORE_SAMPLES if outcome == "thinned" else _REPEATS


def _sentences(effects: Effects) -> Iterator[str]:
    yield _densest(effects)
    if len(effects.chosen) > 1:
        yield _all_chosen(effects)
    yield _worst(effects)
    if effects.others:
        yield _others(effects)


def _densest(effects: Effects) -> str:
    first = effects.chosen[0]
    name = "The chosen mode" if len(effects.chosen) == 1 else "The densest chosen mode"
    rates = f"from {_rate(first.before)} to {_rate(first.after)} of fresh samples"
    if first.rose:
        return f"{name} rose {rates}, {_times(first.ratio)}."
    if not first.fell:
        return f"{name} did not fall beyond noise: {rates}, {_times(first.ratio)}."
    return (
        f"{name} fell {rates}, {_times(first.ratio)}. {_REACHED[first.against(effects.target)]} "
        f"the target of {words.percent(effects.target)}."
    )


def _all_chosen(effects: Effects) -> str:
    fell, above = sum(one.fell for one in effects.chosen), _above(effects.chosen, effects.target)
    still = "is" if above == 1 else "are"
    return (
        f"Of {len(effects.chosen)} chosen modes {fell} fell beyond noise; {above or 'none'} "
        f"{still} still above the target."
    )


def _worst(effects: Effects) -> str:
    worst, whose = effects.worst, f"The worst of {words.counted(effects.anchors, 'anchor')}"
    if worst.ratio.low is None or worst.ratio.high is None:
        return f"{whose} is not known: there are too few groups of samples."
    rates = f"from {_rate(worst.before)} to {_rate(worst.after)}, {_times(worst.ratio)}"
    if worst.rose:
        return f"{whose} rose {rates}."
    if worst.ratio.high < 1:
        return f"{whose} fell {rates}."
    return f"{whose} is not told apart from what it was: {rates}."


def _others(effects: Effects) -> str:
    grown, allowed, limit = effects.grown, effects.applied.allowed, ""
    if allowed > 1:
        limit = f" beyond the allowed {allowed:.2f} times"
        limit += "" if effects.applied.growth is not None else ", 1 / acceptance"
    others = words.counted(len(effects.others), "other dense mode")
    if not grown:
        return f"Of {others} none is shown to have grown{limit}."
    most = max(grown, key=lambda one: one.ratio.low or 0.0)
    return (
        f"Of {others} {len(grown)} grew{limit}: the most from "
        f"{_rate(most.before)} to {_rate(most.after)}, {_times(most.ratio)}."
    )


def _above(chosen: list[Effect], target: float) -> int:
    return sum(one.against(target) == "above" for one in chosen)


def _rate(rate: Interval) -> str:
    return words.with_interval(rate.figures(), share=True)


def _times(ratio: Interval) -> str:
    shown = ratio.figures()
    if ratio.estimate is None:
        return f"{words.interval(shown)} times what it was"
    return f"{words.estimate(shown)} times ({words.interval(shown)}) what it was"
