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

from ganaudit.calibration.crowds import MOST_MODES, Crowd, Fitted, Forecast, Goal
from ganaudit.calibration.filters import OutputFilter
from ganaudit.errors import ConfigError

LEAST_HITS = 10  # of a mode: of fewer nobody knows its rate
_CLOSE = 1.002  # times the target: near enough
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


def fit(crowd: Crowd, goal: Goal) -> Fitted:
    """An output filter for the densest modes of a run.

    Modes are added one after the other, the worst first, each with the probability that brings it
    down to the target beside the others; earlier ones are tightened as the rest is renormalised.

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
    aim = replace(goal, target=aim_for(goal.target, n))
    chosen: dict[int, float] = {}
    weights = np.ones(n)
    reached = floored = False
    for _ in range(_ROUNDS):
        rates = crowd.rates(weights)
        worst = _next(crowd, rates, list(chosen), aim)
        if worst is None or rates[worst] <= aim.target * _CLOSE:
            reached = True
            break
        keep, floored = _keep(crowd.hits[worst], weights, aim)
        chosen[worst] = min(keep, chosen.get(worst, 1.0))
        weights = _weights(crowd, chosen)
        if floored:
            break
    modes = list(chosen)
    kept = [chosen[mode] for mode in modes]
    forecast = Forecast.of(crowd, modes, weights, held_out=False)
    made = OutputFilter(
        modes=crowd.anchors[modes],
        keep=np.array(kept, dtype=np.float64),
        radius=crowd.radius,
        attempts=goal.attempts,
    )
    return Fitted(
        calibrator=made,
        modes=modes,
        forecast=forecast,
        facts={"keep": kept, "reached": reached, "floor_binds": floored},
        sentences=_sentences(forecast, goal, modes=len(modes), reached=reached, floored=floored),
    )


def _next(crowd: Crowd, rates: NDArray[np.float64], chosen: list[int], goal: Goal) -> int | None:
    """The worst candidate that may still be thinned; None: there is none."""
    most = goal.modes or MOST_MODES
    order = np.argsort(-rates, kind="stable")
    for candidate in map(int, order):
        if rates[candidate] <= goal.target:
            return None
        if candidate in chosen:
            return candidate
        if len(chosen) < most and (goal.modes is None or crowd.near(candidate, chosen) is None):
            return candidate
    return None


def _keep(hits: NDArray[np.bool_], weights: NDArray[np.float64], goal: Goal) -> tuple[float, bool]:
    """The probability for a mode beside the others, and whether the acceptance stopped it."""

    def thinned(keep: float) -> NDArray[np.float64]:
        return np.where(hits, np.minimum(weights, keep), weights)

    def too_much(keep: float) -> bool:
        return float(thinned(keep).mean()) < goal.min_acceptance

    def enough(keep: float) -> bool:
        left = thinned(keep)
        return float(left[hits].sum()) <= goal.target * float(left.sum())

    low, high = 0.0, 1.0  # at low it is enough, or nothing is
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    if not too_much(low):
        return low, False
    low, high = low, 1.0  # at high the acceptance is kept
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_much(middle) else (low, middle)
    return high, True


def _weights(crowd: Crowd, chosen: dict[int, float]) -> NDArray[np.float64]:
    weights = np.ones(crowd.hits.shape[1])
    for mode, keep in chosen.items():
        weights[crowd.hits[mode]] = np.minimum(weights[crowd.hits[mode]], keep)
    return weights


def _sentences(
    forecast: Forecast, goal: Goal, *, modes: int, reached: bool, floored: bool
) -> list[str]:
    before, after = forecast.worst
    which = "the densest mode" if modes == 1 else f"{modes} modes"
    said = [
        f"Rejection by embedding thins {which}: {forecast.acceptance:.1%} of the images are "
        f"expected to be taken, {1 / max(forecast.acceptance, 1e-9):.2f} are made for each that is "
        f"delivered, and the worst anchor's rate is expected to fall from {before:.2%} to "
        f"{after:.2%}."
    ]
    if floored:
        said.append(
            f"The acceptance of {goal.min_acceptance:.0%} binds before the target of "
            f"{goal.target:.2%} is met everywhere; a lower --min-acceptance goes further."
        )
    elif goal.modes is None and not reached:
        said.append(f"{MOST_MODES} modes are as many as a calibrator has; others stay above it.")
    return said
