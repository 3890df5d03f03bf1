"""Algorithm 2: draws from the prior that fall in a dense mode's region are mostly not taken.

The paper takes the convex hull of a hundred latents for the region, into which no fresh latent of a
real generator falls. A half-space, found by a logistic regression of "the image lies in the mode"
on the latent, follows a mode well enough to take most of it away; that is the default.

References:
  Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Algorithm 2: acceptance p2 / p1,
  p1 the mode's rate and p2 what it comes down to. Deviations: p2 is the median anchor's rate (one
  random anchor's is noise); the region is a half-space, and there is one for each of several modes;
  where regions overlap, the least probability holds.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd, Fitted, Forecast, Goal
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.regions import LinearRegion, RegionSampler, scores
from ganaudit.calibration.rejection import LEAST_HITS, aim_for, floor_for
from ganaudit.errors import ConfigError
from ganaudit.slots import Stream

_MOST_AUTO = 32  # modes
_STRENGTHS = (0.001, 0.01, 0.1)  # C of the regression
_FOLDS = 5
_STEP = 0.005  # of the prior, by which a region grows
_PRIOR_FROM, _PRIOR_DRAWS, _BLOCK = 2**20, 2**17, 2**13

_Array = NDArray[np.float64]


def fit(
    crowd: Crowd,
    latents: Latents,
    space: Space,
    goal: Goal,
    *,
    region: Literal["linear", "subspace-hull", "hull"] = "linear",
) -> Fitted:
    """A sampler that thins the prior where the dense modes lie.

    Args:
      crowd: neighbourhoods of a run of N samples.
      latents: [N, size], of these samples.
      space: where they live.
      goal: what to reach.
      region: "linear".

    Raises:
      ConfigError: the densest mode has too few samples to know where they lie.
    """
    if crowd.hits[0].sum() < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has {int(crowd.hits[0].sum())} samples within the radius, too few "
            "to know where they lie: take more --samples, a larger --radius, or --method rejection"
        )
    samples = len(latents)
    floor = floor_for(goal.min_acceptance, samples)
    aim = replace(goal, target=aim_for(goal.target, samples), min_acceptance=floor)
    plan = _Plan(crowd=crowd, latents=latents, goal=aim)
    masses = plan.masses()
    modes = list(masses)
    drawn = _prior_scores(np.stack([plan.found[m].coefficients for m in modes]), space, goal.seed)
    keep = np.array([plan.keep(mode) for mode in modes])
    wanted = np.array([masses[mode] for mode in modes])
    wanted = _affordable(drawn, wanted, keep, floor, grow=plan.floored)
    thresholds = _thresholds(drawn, wanted)
    acceptance = float(_taken(drawn, thresholds, keep).mean())
    weights = plan.weights(dict(zip(modes, map(float, wanted), strict=True)))
    forecast = replace(
        Forecast.of(crowd, modes, weights, held_out=True), acceptance=acceptance
    )
    sampler = RegionSampler(
        space,
        tuple(
            LinearRegion(coefficients=plan.found[mode].coefficients, threshold=float(threshold))
            for mode, threshold in zip(modes, thresholds, strict=True)
        ),
        keep,
        goal.attempts,
    )
    facts = {
        "region": region,
        "auc": [plan.found[mode].auc for mode in modes],
        "mass": list(map(float, wanted)),
        "keep": list(map(float, keep)),
        "acceptance": acceptance,
        "floor_binds": plan.floored,
    }
    return Fitted(
        calibrator=sampler,
        modes=modes,
        forecast=forecast,
        facts=facts,
        sentences=[
            f"A linear score on the latent tells the densest mode apart with an AUC of "
            f"{facts['auc'][0]:.2f} on samples that it did not see.",
            f"Expected on fresh latents: the densest mode from {forecast.chosen[0][0]:.2%} to "
            f"{forecast.chosen[0][1]:.2%}, the worst anchor from {forecast.worst[0]:.2%} to "
            f"{forecast.worst[1]:.2%}, at an acceptance of {acceptance:.1%}.",
        ],
    )


@dataclass(frozen=True)
class _Score:
    """A linear score of one mode.

    Attributes:
      coefficients: [size] float32, fitted on all samples.
      depth: [N] in (0, 1): share of the prior with a higher score, by folds it took no part in.
      auc: of the held-out scores.
      strength: C.
    """

    coefficients: NDArray[np.float32]
    depth: _Array
    auc: float
    strength: float

    @classmethod
    def of(
        cls, latents: Latents, hits: NDArray[np.bool_], seed: int, strengths: tuple[float, ...]
    ) -> "_Score":
        tried = [(*_held_out(latents, hits, seed, c), c) for c in strengths]
        auc, depth, strength = max(tried, key=lambda one: one[0])
        return cls(_coefficients(latents, hits, strength), depth, auc, strength)


def _held_out(
    latents: Latents, hits: NDArray[np.bool_], seed: int, strength: float
) -> tuple[float, _Array]:
    from scipy.stats import rankdata

    fold = np.random.default_rng(seed).permutation(len(hits)) % _FOLDS
    depth = np.empty(len(hits))
    for one in range(_FOLDS):
        part = fold == one
        found = scores(latents[part], _coefficients(latents[~part], hits[~part], strength)[None])
        depth[part] = (rankdata(-found[:, 0]) - 0.5) / part.sum()
    ranks = rankdata(-depth)
    count = hits.sum()
    above = ranks[hits].sum() - count * (count + 1) / 2
    return float(above / (count * (len(hits) - count))), depth


def _coefficients(
    latents: Latents, hits: NDArray[np.bool_], strength: float
) -> NDArray[np.float32]:
    from sklearn.linear_model import LogisticRegression

    if hits.all() or not hits.any():
        return np.zeros(latents.shape[1], dtype=np.float32)
    found = LogisticRegression(C=strength, max_iter=200).fit(latents, hits).coef_[0]
    return np.asarray(found / max(np.linalg.norm(found), 1e-30), dtype=np.float32)


class _Plan:
    """Which regions, and how large."""

    def __init__(self, *, crowd: Crowd, latents: Latents, goal: Goal) -> None:
        self.crowd, self.latents, self.goal = crowd, latents, goal
        self.found: dict[int, _Score] = {}
        self.floored = False
        self._before = crowd.rates(np.ones(crowd.hits.shape[1]))
        self._often = crowd.hits.sum(axis=1) >= LEAST_HITS

    def keep(self, mode: int) -> float:
        return float(np.clip(self.goal.target / self._before[mode], 0, 1))

    def masses(self) -> dict[int, float]:
        masses = {0: 0.0}
        self._score(0)
        while True:
            rates = self.crowd.rates(self.weights(masses))
            mode = self._next(rates, masses)
            if mode is None:
                return masses
            grown = masses | {mode: masses.get(mode, 0.0) + _STEP}
            self._score(mode)
            if self.weights(grown).mean() < self.goal.min_acceptance:
                self.floored = True
                return masses
            masses = grown

    def _next(self, rates: _Array, masses: dict[int, float]) -> int | None:
        auto = self.goal.modes is None
        most = _MOST_AUTO if self.goal.modes is None else self.goal.modes
        for candidate in map(int, np.argsort(-rates, kind="stable")):
            if rates[candidate] <= self.goal.target:
                return None
            if candidate in masses:
                return candidate
            near = self.crowd.near(candidate, list(masses))
            if near is not None:
                if auto:
                    return near
                continue
            if len(masses) < most and self._often[candidate]:
                return candidate
        return None

    def _score(self, mode: int) -> None:
        if mode not in self.found:
            strengths = _STRENGTHS if not self.found else (self.found[0].strength,)
            self.found[mode] = _Score.of(
                self.latents, self.crowd.hits[mode], self.goal.seed, strengths
            )

    def weights(self, masses: dict[int, float]) -> _Array:
        weights = np.ones(self.crowd.hits.shape[1])
        for mode, mass in masses.items():
            if mode in self.found:
                inside = self.found[mode].depth < mass
                weights[inside] = np.minimum(weights[inside], self.keep(mode))
        return weights


def _prior_scores(planes: NDArray[np.float32], space: Space, seed: int) -> _Array:
    found = np.empty((_PRIOR_DRAWS, len(planes)))
    for first in range(0, _PRIOR_DRAWS, _BLOCK):
        slots = np.arange(_PRIOR_FROM + first, _PRIOR_FROM + first + _BLOCK)
        drawn = space.draw(slots, seed=seed, stream=Stream.ANCHORS)
        found[first : first + _BLOCK] = scores(drawn, planes)
    return found


def _thresholds(drawn: _Array, masses: _Array) -> _Array:
    return np.array(
        [np.quantile(drawn[:, index], 1 - mass) for index, mass in enumerate(masses)]
    )


def _taken(drawn: _Array, thresholds: _Array, keep: _Array) -> _Array:
    return np.where(drawn > thresholds, keep, 1.0).min(axis=1)


def _affordable(
    drawn: _Array, masses: _Array, keep: _Array, floor: float, *, grow: bool
) -> _Array:
    """The masses times the largest factor at which the acceptance holds; `grow`: also above 1."""

    def holds(factor: float) -> bool:
        return bool(_taken(drawn, _thresholds(drawn, factor * masses), keep).mean() >= floor)

    if not grow and holds(1.0):
        return masses
    low, high = 0.0, 1.25 if grow else 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return np.minimum(low * masses, 1.0)
