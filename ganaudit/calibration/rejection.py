"""Rejection in the space of embeddings: exact for any generator, at the price of further images.

An image within the radius of a mode of rate q is taken with probability p, else the slot asks for
another one; that leaves the mode with the rate qp / (1 - q (1 - p)) and every other one with 1 / (1
- q (1 - p)) times its own. Nothing about latents is assumed, so blind services are calibrated too.

References:
  Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, 4.4.2: the probability p2 / p1 of
  Algorithm 2, with the true neighbourhood in place of a region of latents. Deviation: p is solved
  for the target after renormalisation, which p2 / p1 misses by the factor 1 / (1 - q (1 - p)).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import MOST_MODES, Crowd, Fitted, Forecast, Goal, delivered
from ganaudit.calibration.filters import OutputFilter
from ganaudit.errors import ConfigError

LEAST_HITS = 10  # of a mode: of fewer nobody knows its rate
_CLOSE = 1.002  # times the target: near enough
_ERRORS = 2.0  # standard errors by which the acceptance stays above its floor
_ROUNDS = 500
_HALVINGS = 40


def keep_for(rate: float, target: float) -> float:
    """The probability p at which a mode of some rate q comes down to a target t.

    It solves qp / (1 - q (1 - p)) = t: p = t (1 - q) / (q (1 - t)); 1 where q <= t.
    """
    if rate <= target:
        return 1.0
    return target * (1 - rate) / (rate * (1 - target)) if rate < 1 else 0.0


def aim_for(target: float, samples: int) -> float:
    """A standard error below a target rate, as some samples show it, but not below its half.

    What comes down to the target itself is found above it by every second audit.
    """
    return float(target * (1 - 1 / max(2.0, (target * samples) ** 0.5)))


def floor_for(min_acceptance: float, samples: int) -> float:
    """Two standard errors above the least acceptance, as some samples show it, at most 1.

    Fresh samples then accept less than `min_acceptance` by rare chance alone.
    """
    error: float = (min_acceptance * (1 - min_acceptance) / samples) ** 0.5
    return min(1.0, min_acceptance + _ERRORS * error)


def fit(crowd: Crowd, goal: Goal) -> Fitted:
    """An output filter for the densest modes of a run.

    Modes are added one after the other, the worst first, each with the probability that brings it
    down to the target beside the others; earlier ones are tightened as the rest is renormalised.
    A mode that lies below the target already is kept as it is.

    Args:
      crowd: the run's neighbourhoods.
      goal: what to reach; `modes` counts modes that are no neighbours of each other.

    Raises:
      ConfigError: the densest mode has too few samples to know its rate.
    """
    if crowd.hits[0].sum() < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has {int(crowd.hits[0].sum())} samples within the radius, too few "
            "to know its rate: take more --samples, or a larger --radius"
        )
    n = crowd.hits.shape[1]
    aim = replace(
        goal,
        target=aim_for(goal.target, n),
        min_acceptance=floor_for(goal.min_acceptance, n),
    )
    chosen = {0: 1.0}
    weights = np.ones(n)
    floored = False
    for _ in range(_ROUNDS):
        worst = _next(crowd, crowd.rates(weights), list(chosen), aim)
        if worst is None or floored:
            break
        keep, floored = _keep(crowd.hits[worst], weights, aim)
        chosen[worst] = min(keep, chosen.get(worst, 1.0))
        weights = np.where(crowd.hits[worst], np.minimum(weights, keep), weights)
    modes, kept = list(chosen), list(chosen.values())
    forecast = Forecast.of(
        crowd,
        modes,
        delivered(weights, goal.attempts),
        acceptance=float(weights.mean()),
        held_out=False,
    )
    made = OutputFilter(
        modes=crowd.anchors[modes],
        keep=np.array(kept, dtype=np.float64),
        radius=crowd.radius,
        attempts=goal.attempts,
    )
    above = forecast.worst[1] if goal.modes is None else max(after for _, after in forecast.chosen)
    facts = {"keep": kept, "reached": above <= goal.target, "floor_binds": floored}
    return Fitted(
        calibrator=made,
        modes=modes,
        forecast=forecast,
        facts=facts,
        sentences=_sentences(forecast, goal, reached=above <= goal.target, floored=floored),
    )


def _next(crowd: Crowd, rates: NDArray[np.float64], chosen: list[int], goal: Goal) -> int | None:
    """The worst candidate that may still be thinned; None: there is none."""
    most = goal.modes or MOST_MODES
    for candidate in map(int, np.argsort(-rates, kind="stable")):
        if rates[candidate] <= goal.target * _CLOSE:
            return None
        if candidate in chosen:
            return candidate
        if len(chosen) < most and (goal.modes is None or crowd.near(candidate, chosen) is None):
            return candidate
    return None


def _keep(hits: NDArray[np.bool_], weights: NDArray[np.float64], goal: Goal) -> tuple[float, bool]:
    """The probability for a mode beside the others, and whether the acceptance stopped it."""
    inside, outside = weights[hits], float(weights[~hits].sum())

    def mass(keep: float) -> float:
        return float(np.minimum(inside, keep).sum())

    def enough(keep: float) -> bool:
        return mass(keep) <= goal.target * (mass(keep) + outside)

    def affordable(keep: float) -> bool:
        return mass(keep) + outside >= goal.min_acceptance * len(weights)

    low, high = 0.0, 1.0  # at low it is enough
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    if affordable(low):
        return low, False
    low, high = low, 1.0  # at high the acceptance is kept
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if affordable(middle) else (middle, high)
    return high, True


def _sentences(forecast: Forecast, goal: Goal, *, reached: bool, floored: bool) -> list[str]:
    count, (before, after) = len(forecast.chosen), forecast.chosen[0]
    which = "the densest mode" if count == 1 else f"{count} modes"
    said = [
        f"Rejection by embedding thins {which}: {forecast.acceptance:.1%} of the images are "
        f"expected to be taken, so {1 / max(forecast.acceptance, 1e-9):.2f} are made for each that "
        "is delivered.",
        f"Expected on fresh slots: the densest mode from {before:.2%} to {after:.2%}, the worst "
        f"anchor from {forecast.worst[0]:.2%} to {forecast.worst[1]:.2%}.",
    ]
    if floored:
        said.append(
            f"The acceptance of {goal.min_acceptance:.0%} binds before the target of "
            f"{goal.target:.2%} is met everywhere; a lower --min-acceptance goes further."
        )
    if goal.modes is not None and count < goal.modes:
        thinned = "1 is" if count == 1 else f"{count} are"
        why = (
            "the acceptance leaves no room for another"
            if floored
            else f"what else lies above the target of {goal.target:.2%}, if anything does, is "
            f"{'its neighbour' if count == 1 else 'a neighbour of one of them'}"
        )
        said.append(f"{goal.modes} modes were asked for and {thinned} thinned: {why}.")
    elif count == MOST_MODES and not reached:
        said.append(
            f"{MOST_MODES} modes are as many as a calibrator has; others stay above the target of "
            f"{goal.target:.2%}."
        )
    return said
