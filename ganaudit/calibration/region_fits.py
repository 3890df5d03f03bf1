"""Regions of each kind for the dense modes of a run: what Algorithm 2 thins."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd, Goal
from ganaudit.calibration.halfspaces import (
    STRENGTHS,
    Direction,
    joint,
    logistic,
    prior_draws,
    prior_scores,
)
from ganaudit.calibration.hulls import NestedHulls, full_hull
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.plans import Growing, Plan, keep_for, plan, shared_plan, weights
from ganaudit.calibration.regions import LinearRegion, Region, RegionSampler, SubspaceHull
from ganaudit.calibration.rejection import LEAST_HITS

HULL_DRAWS = 2**14  # by which the acceptance of hulls is measured
_TRADE_OFF = (0.05, 0.1, 0.2, 0.3)  # of the prior
_MOST_GROWTH = 1.25  # of regions that a plan by whole steps left below the floor
_GAIN = 0.9  # of the worst rate: less than p2 / p1 is kept where it brings that much
_HALVINGS = 12
_PASSES = 3  # in which hulls shrink to what the acceptance allows

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be found; `aim` is a little more than was asked for, since samples are noisy."""

    crowd: Crowd
    latents: Latents
    space: Space
    aim: Goal


@dataclass(frozen=True, kw_only=True)
class Found:
    """Regions, and what is expected of them.

    Attributes:
      modes: the chosen ones.
      regions: at least one.
      keep: [k] the probability by region.
      taken: [N], the probability that each sample is taken, by regions found without it.
      acceptance: of fresh draws of the prior.
      facts: for the report.
    """

    modes: list[int]
    regions: tuple[Region, ...]
    keep: _Array
    taken: _Array
    acceptance: float
    facts: dict[str, Any]


def half_spaces(task: Task) -> Found:
    """A half-space for each mode, or one for all together where that does more."""
    crowd, aim, size = task.crowd, task.aim, len(task.latents)
    first, strength = _logistic(task, 0, STRENGTHS)

    @cache
    def own(mode: int) -> Direction:
        return first if mode == 0 else _logistic(task, mode, (strength,))[0]

    chosen, regions = _planned(task, lambda mode: own(mode).depth if own(mode).tells else None)
    modes = list(chosen.masses)
    directions = [own(mode) for mode in modes]
    together = _together(task, chosen, regions(0).keep)
    if together is not None:
        chosen, one = together
        directions = [one]
        shared = Growing(depth=one.depth, keep=regions(0).keep)

        def regions(mode: int) -> Growing:
            return shared

    keep = np.array([regions(mode).keep for mode in chosen.masses])
    planes = np.stack([one.coefficients for one in directions])
    drawn = prior_scores(planes, task.space, seed=aim.seed)
    masses = _affordable(drawn, np.array(list(chosen.masses.values())), keep, aim, chosen.floored)
    keep = np.where(masses > 0, keep, 1.0)
    thresholds = _thresholds(drawn, masses)
    return Found(
        modes=modes,
        regions=tuple(
            LinearRegion(coefficients=plane, threshold=float(threshold))
            for plane, threshold in zip(planes, thresholds, strict=True)
        ),
        keep=keep,
        taken=weights(dict(zip(chosen.masses, masses.tolist(), strict=True)), regions, size),
        acceptance=float(_taken(drawn, thresholds, keep).mean()),
        facts={
            "auc": [own(mode).auc for mode in modes],
            "together": together is not None,
            "mass": masses.tolist(),
            "keep": keep.tolist(),
            "floor_binds": chosen.floored,
            "trade_off": _trade_off(crowd, first, keep_for(crowd, 0, aim.target)),
        },
    )


def _planned(
    task: Task, depth: Callable[[int], _Array | None]
) -> tuple[Plan, Callable[[int], Growing]]:
    """A plan with p2 / p1, or with less where the target is out of reach with that.

    What is left within a region of rate q is q p2 / p1 over the acceptance: more than the target,
    as soon as the region is all of the mode. Half of p2 / p1 times the least acceptance leaves no
    more than half of the target.

    Args:
      task: the modes, and what is asked for.
      depth: of nested regions of a mode; None: they know nothing of it.
    """
    crowd, aim = task.crowd, task.aim

    def growing(share: float) -> Callable[[int], Growing]:
        def region(mode: int) -> Growing:
            found, keep = depth(mode), keep_for(crowd, mode, aim.target)
            if found is None or keep == 1:
                return Growing(depth=np.ones(len(task.latents)), keep=1.0)
            return Growing(depth=found, keep=share * keep)

        return region

    paper, lower = growing(1.0), growing(aim.min_acceptance / 2)
    chosen = plan(crowd, aim, paper)
    if chosen.worst > aim.target:
        other = plan(crowd, aim, lower)
        if other.worst < _GAIN * chosen.worst:
            return other, lower
    return chosen, paper


def _logistic(task: Task, mode: int, strengths: tuple[float, ...]) -> tuple[Direction, float]:
    hits = task.crowd.hits[mode]
    return logistic(task.latents, hits, seed=task.aim.seed, strengths=strengths)


def _together(task: Task, chosen: Plan, keep: float) -> tuple[Plan, Direction] | None:
    """One half-space for all modes that count, if it does more than those of a plan."""
    from scipy.sparse import csr_array

    crowd, aim, modes = task.crowd, task.aim, list(chosen.masses)
    mass = (1 - chosen.acceptance) / (1 - keep) if keep < 1 else 0.0
    if not mass or (aim.modes is not None and len(modes) == 1):
        return None
    counted = None if aim.modes is None else modes
    hits = csr_array(crowd.hits if counted is None else crowd.hits[counted], dtype=np.float32)
    found = joint(task.latents, hits, 0, mass=mass, keep=keep, seed=aim.seed)
    other = shared_plan(crowd, aim, counted, Growing(depth=found.depth, keep=keep))
    return (other, found) if other.better(chosen, aim.target) else None


def subspace_hulls(task: Task) -> Found:
    """A hull in a few directions for each mode."""
    crowd, aim, n = task.crowd, task.aim, len(task.latents)
    first, strength = _logistic(task, 0, STRENGTHS)

    @cache
    def hulls(mode: int) -> NestedHulls:
        own = first if mode == 0 else _logistic(task, mode, (strength,))[0]
        return NestedHulls(task.latents, crowd.hits[mode], own, task.space, aim.seed)

    chosen, growing = _planned(task, lambda mode: hulls(mode).depth)
    modes, masses = list(chosen.masses), chosen.masses
    asked = np.array([growing(mode).keep for mode in modes])
    for _ in range(_PASSES):
        made = [hulls(mode).region(masses[mode]) for mode in modes]
        regions = tuple(region or _nowhere(task.space.size) for region, _ in made)
        keep, acceptance, less = _measured(task, regions, asked)
        if less == 1:
            break
        masses = {mode: less * mass for mode, mass in masses.items()}
    taken = weights({mode: mass for mode, (_, mass) in zip(modes, made, strict=True)}, growing, n)
    return Found(
        modes=modes,
        regions=regions,
        keep=keep,
        taken=1 - less * (1 - taken),
        acceptance=acceptance,
        facts={
            "auc": [hulls(mode).linear.auc for mode in modes],
            "directions": [len(region.basis) for region in regions],
            "mass": [mass for _, mass in made],
            "keep": keep.tolist(),
            "floor_binds": chosen.floored or less < 1,
        },
    )


def full_hulls(task: Task) -> Found:
    """The paper's hulls: of the hundred nearest samples of each mode, in the full space."""
    crowd, aim = task.crowd, task.aim
    modes = _apart(crowd, 1 if aim.modes is None else aim.modes)
    first, _ = _logistic(task, 0, STRENGTHS)
    keep = np.array([keep_for(crowd, mode, aim.target) for mode in modes])
    taken = np.ones(len(task.latents))
    regions = []
    for mode, share in zip(modes, keep, strict=True):
        region, inside = full_hull(crowd, task.latents, mode)
        taken[inside] = np.minimum(taken[inside], share)
        regions.append(region)
    drawn = prior_draws(task.space, 0, HULL_DRAWS, seed=aim.seed)
    fires = [float(region.inside(drawn).mean()) for region in regions]
    keep, acceptance, less = _measured(task, tuple(regions), keep)
    return Found(
        modes=modes,
        regions=tuple(regions),
        keep=keep,
        taken=1 - less * (1 - taken),
        acceptance=acceptance,
        facts={
            "auc": [first.auc],
            "points": [len(region.points) for region in regions],
            "hit_rate": fires,
            "mass": fires,
            "keep": keep.tolist(),
            "floor_binds": less < 1,
        },
    )


def _apart(crowd: Crowd, most: int) -> list[int]:
    """The densest modes that are no neighbours of each other, at most so many."""
    modes = [0]
    for candidate in range(1, len(crowd.hits)):
        if len(modes) == most or crowd.hits[candidate].sum() < LEAST_HITS:
            break
        if crowd.near(candidate, modes) is None:
            modes.append(candidate)
    return modes


def _nowhere(size: int) -> SubspaceHull:
    """A hull that holds nothing."""
    basis = np.zeros((1, size), dtype=np.float32)
    return SubspaceHull(basis=basis, facets=np.array([[0.0, 1.0]]))


def _measured(task: Task, regions: tuple[Region, ...], keep: _Array) -> tuple[_Array, float, float]:
    """Probabilities that heed the floor, the acceptance, and what is left of 1 - keep."""
    drawn = prior_draws(task.space, 0, HULL_DRAWS, seed=task.aim.seed)
    lost = 1 - float(RegionSampler(task.space, regions, keep, 1).acceptance(drawn).mean())
    less = min(1.0, (1 - task.aim.min_acceptance) / lost) if lost else 1.0
    return 1 - less * (1 - keep), 1 - less * lost, less


def _thresholds(drawn: _Array, masses: _Array) -> _Array:
    """Scores that shares `masses` [k] of the prior's draws [n, k] exceed."""
    each = [np.quantile(drawn[:, index], 1 - mass) for index, mass in enumerate(masses)]
    return np.array(each)


def _taken(drawn: _Array, thresholds: _Array, keep: _Array) -> _Array:
    return np.asarray(np.where(drawn > thresholds, keep, 1.0).min(axis=1))


def _affordable(drawn: _Array, masses: _Array, keep: _Array, aim: Goal, floored: bool) -> _Array:
    """The masses, all smaller by a factor where the acceptance needs it, larger where it binds."""

    def holds(factor: float) -> bool:
        found = _taken(drawn, _thresholds(drawn, np.minimum(1.0, factor * masses)), keep)
        return bool(found.mean() >= aim.min_acceptance)

    if not floored and holds(1.0):
        return masses
    low, high = 0.0, _MOST_GROWTH if floored else 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return np.minimum(1.0, low * masses)


def _trade_off(crowd: Crowd, found: Direction, keep: float) -> list[dict[str, float]]:
    """What half-spaces of several masses make of the densest mode alone."""
    told = []
    for mass in _TRADE_OFF:
        taken = np.where(found.depth <= mass, keep, 1.0)
        rate = float(taken[crowd.hits[0]].sum() / taken.sum())
        told.append({"mass": mass, "acceptance": float(taken.mean()), "rate": rate})
    return told
