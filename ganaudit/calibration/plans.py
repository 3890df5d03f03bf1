"""Which regions of latents are thinned, and how large each becomes: the worst mode's grows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd, Goal
from ganaudit.calibration.rejection import LEAST_HITS

MOST_REGIONS = 32
_STEP = 0.005  # of the prior, by which a region grows
_NEAR_FLOOR = 0.02  # of acceptance left: the floor is what stopped it

_Array = NDArray[np.float64]
_Stage = tuple[float, float, dict[int, float]]  # worst rate, acceptance, masses


@dataclass(frozen=True, kw_only=True)
class Growing:
    """A family of nested regions for one mode.

    Attributes:
      depth: [N], the prior's mass of the smallest region that holds each sample.
      keep: the probability that a draw in it is taken.
    """

    depth: _Array
    keep: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Regions with their masses.

    Attributes:
      masses: of the prior, by mode, in the order in which they were chosen.
      floored: the acceptance ended it before the target was met.
      worst: the largest rate that counts, as the samples foretell it.
      acceptance: likewise.
    """

    masses: dict[int, float]
    floored: bool
    worst: float
    acceptance: float

    def better(self, other: "Plan", target: float) -> bool:
        """Whether it does more, or as much (the target is enough) at less cost."""
        mine, others = max(self.worst, target), max(other.worst, target)
        return mine < others or (mine == others and self.acceptance > other.acceptance)


def keep_for(crowd: Crowd, mode: int, target: float) -> float:
    """p2 / p1 of Algorithm 2: what the mode's rate comes down to, over its rate; at most 1."""
    rate = float(crowd.hits[mode].mean())
    return min(1.0, target / rate) if rate else 1.0


def plan(crowd: Crowd, goal: Goal, region: Callable[[int], Growing]) -> Plan:
    """Grow regions by half a percent of the prior at a time, always for the worst mode.

    The worst mode's own region grows; a neighbour of a chosen mode counts as that mode, others are
    chosen as long as `goal.modes` (none: 32) are not yet. It ends when the target is met, when the
    next step would cost too much acceptance, or when the region that should grow knows nothing; of
    all stages passed the cheapest one of those with the least worst mode is taken.

    Args:
      crowd: the run's neighbourhoods; the densest mode is chosen first.
      goal: target, modes, and least acceptance.
      region: of a mode; asked often.
    """
    samples = crowd.hits.shape[1]
    masses: dict[int, float] = {0: 0.0}
    passed: list[_Stage] = []
    while True:
        taken = weights(masses, region, samples)
        rates = crowd.rates(taken)
        worst, mode = _worst(crowd, rates, masses, goal)
        passed.append((float(rates[worst]), float(taken.mean()), masses))
        if mode is None or region(mode).keep == 1:
            return _least(passed, goal, samples)
        masses = masses | {mode: masses.get(mode, 0.0) + _STEP}
        acceptance = float(weights(masses, region, samples).mean())
        if acceptance < goal.min_acceptance or masses[mode] >= 1:
            return _least(passed, goal, samples)


def shared_plan(crowd: Crowd, goal: Goal, modes: list[int] | None, region: Growing) -> Plan:
    """Grow one region for several modes at once; the rest as `plan` does it.

    Args:
      crowd: the run's neighbourhoods.
      goal: target and least acceptance.
      modes: whose rates count; None: all candidates'.
      region: that grows.
    """
    samples = len(region.depth)
    passed: list[_Stage] = []
    for mass in np.arange(0.0, 1.0, _STEP):
        taken = np.where((region.depth <= mass) & (mass > 0), region.keep, 1.0)
        if passed and taken.mean() < goal.min_acceptance:
            break
        rates = crowd.rates(taken)
        worst = float((rates if modes is None else rates[modes]).max())
        passed.append((worst, float(taken.mean()), {0: float(mass)}))
        if worst <= goal.target:
            break
    return _least(passed, goal, samples)


def weights(masses: dict[int, float], region: Callable[[int], Growing], samples: int) -> _Array:
    """The probability that each sample is taken, the least of its regions': [N]."""
    found = np.ones(samples)
    for mode, mass in masses.items():
        if mass:
            inside = region(mode).depth <= mass
            found[inside] = np.minimum(found[inside], region(mode).keep)
    return found


def _least(passed: list[_Stage], goal: Goal, samples: int) -> Plan:
    """The cheapest stage of which the worst mode is the least, to a quarter of its error."""
    least = min(worst for worst, _, _ in passed)
    near = least + (least / samples) ** 0.5 / 4
    worst, acceptance, masses = next(stage for stage in passed if stage[0] <= near)
    floored = worst > goal.target and acceptance < goal.min_acceptance + _NEAR_FLOOR
    return Plan(masses=masses, floored=floored, worst=worst, acceptance=acceptance)


def _worst(
    crowd: Crowd, rates: _Array, masses: dict[int, float], goal: Goal
) -> tuple[int, int | None]:
    """The worst candidate that counts, and the mode whose region grows; None: it is below."""
    for candidate in map(int, np.argsort(-rates, kind="stable")):
        if candidate in masses:
            mode: int | None = candidate
        elif (near := crowd.near(candidate, list(masses))) is not None:
            mode = near if goal.modes is None else None
        elif len(masses) < (goal.modes or MOST_REGIONS) and _known(crowd, candidate):
            mode = candidate
        else:
            mode = None
        if mode is not None:
            return candidate, mode if rates[candidate] > goal.target else None
    return 0, None


def _known(crowd: Crowd, candidate: int) -> bool:
    return int(crowd.hits[candidate].sum()) >= LEAST_HITS
