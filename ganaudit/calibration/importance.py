"""Algorithm 2: draws from the prior that fall in a dense mode's region are mostly not taken.

The paper takes the convex hull of a hundred latents for the region, into which no fresh latent of a
real generator falls. A half-space, found by a logistic regression of "the image lies in the mode"
on the latent, follows a mode well enough to take most of it away: that is the default.

References:
  Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Algorithm 2: acceptance p2 / p1,
  p1 the mode's rate and p2 what it comes down to. Deviations: p2 is the target, by default the
  median anchor's rate (one random anchor's is noise), and the probability is less where p2 / p1
  itself keeps the target out of reach; the region is a half-space or a hull in a few directions;
  there may be several, the least probability holds where they overlap; each is as large as the
  target asks or the acceptance allows.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ganaudit.calibration.crowds import Crowd, Fitted, Forecast, Goal, delivered
from ganaudit.calibration.halfspaces import TELLS
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.region_fits import (
    HULL_DRAWS,
    Found,
    Task,
    full_hulls,
    half_spaces,
    subspace_hulls,
)
from ganaudit.calibration.regions import RegionSampler
from ganaudit.calibration.rejection import LEAST_HITS, aim_for
from ganaudit.config import Region
from ganaudit.errors import ConfigError

_ERRORS = 2.5  # standard errors by which the acceptance stays above its floor

_FITS: dict[Region, Callable[[Task], Found]] = {
    "linear": half_spaces,
    "subspace-hull": subspace_hulls,
    "hull": full_hulls,
}


def fit(
    crowd: Crowd, latents: Latents, space: Space, goal: Goal, *, region: Region = "linear"
) -> Fitted:
    """A sampler that thins the prior where the dense modes lie.

    Args:
      crowd: neighbourhoods of a run of N samples.
      latents: [N, size], of these samples.
      space: where they live.
      goal: what to reach. With `modes` None regions are added, up to 32, and what counts is the
        worst of all anchors; else the worst of so many modes that are no neighbours of each other.
      region: "linear", half-spaces; "subspace-hull", hulls in up to 4 directions in which the
        neighbours differ from the prior; "hull", the paper's, of the 100 nearest samples.

    Raises:
      ConfigError: the densest mode has too few samples to know where they lie.
    """
    _check_enough(crowd)
    samples = len(latents)
    aim = replace(
        goal,
        target=aim_for(goal.target, samples),
        min_acceptance=_floor_for(goal.min_acceptance, samples),
    )
    found = _FITS[region](Task(crowd=crowd, latents=latents, space=space, aim=aim))
    forecast = Forecast.of(
        crowd,
        found.modes,
        delivered(found.taken, goal.attempts),
        acceptance=found.acceptance,
        held_out=True,
    )
    facts = {"region": region, **found.facts, "acceptance": found.acceptance}
    return Fitted(
        calibrator=RegionSampler(space, found.regions, found.keep, goal.attempts),
        modes=found.modes,
        forecast=forecast,
        facts=facts,
        sentences=_sentences(facts, forecast, goal),
    )


def _floor_for(min_acceptance: float, samples: int) -> float:
    """So far above the least acceptance that fresh samples accept less by rare chance alone."""
    error: float = (min_acceptance * (1 - min_acceptance) / samples) ** 0.5
    return min(1.0, min_acceptance + _ERRORS * error)


def _check_enough(crowd: Crowd) -> None:
    most, count = int(crowd.hits[0].sum()), crowd.hits.shape[1]
    if most < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has {most} samples within the radius, too few to know where they "
            "lie: take more --samples, a larger --radius, or --method rejection"
        )
    if count - most < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has all but {count - most} of {count:,} samples within the radius, "
            "too few others to tell it apart: take a smaller --radius, or --method rejection"
        )


def _sentences(facts: dict[str, Any], forecast: Forecast, goal: Goal) -> list[str]:
    before, after = forecast.chosen[0]
    said = {
        "linear": _of_half_spaces,
        "subspace-hull": _of_subspaces,
        "hull": _of_hulls,
    }[facts["region"]](facts, before)
    said.append(
        f"Expected on fresh latents: the densest mode from {before:.2%} to {after:.2%} "
        f"({_change(before, after):+.0%}), the worst anchor from {forecast.worst[0]:.2%} to "
        f"{forecast.worst[1]:.2%} ({_change(*forecast.worst):+.0%}), at an acceptance of "
        f"{forecast.acceptance:.1%}."
    )
    if before - after < (before - goal.target) / 2:
        said.append(
            "That is less than half of what was asked for: these regions know too little of where "
            f"the densest mode lies. Try {_elsewhere(facts)}--method rejection."
        )
    elif facts["floor_binds"]:
        said.append(
            f"The acceptance of {goal.min_acceptance:.0%} binds before the target of "
            f"{goal.target:.2%} is met everywhere; a lower --min-acceptance goes further."
        )
    return said


def _elsewhere(facts: dict[str, Any]) -> str:
    """Another region that may know more."""
    if facts["region"] == "linear":
        return "--region subspace-hull or "
    return "--region linear or " if facts["auc"][0] >= TELLS else ""


def _of_half_spaces(facts: dict[str, Any], before: float) -> list[str]:
    trade = facts["trade_off"]
    masses = "/".join(f"{one['mass']:.0%}"[:-1] for one in trade)
    removed = "/".join(f"{-_change(before, one['rate']):.0%}"[:-1] for one in trade)
    if facts["auc"][0] < TELLS:
        return [
            "No linear score on the latent tells the densest mode from other samples: the area "
            f"under the curve is {facts['auc'][0]:.2f} by samples that took no part in finding it, "
            "and .5 is chance. Nothing is thinned."
        ]
    said = [
        f"A linear score on the latent tells the densest mode from other samples with an area "
        f"under the curve of {facts['auc'][0]:.2f} (.5 is chance), by samples that took no part "
        "in finding it.",
        f"Alone, thinning the {masses} % of the prior with the highest score takes "
        f"{removed} % of the densest mode away.",
    ]
    if facts["together"]:
        said.append("One half-space for all modes together does more than one for each of them.")
    return said


def _of_subspaces(facts: dict[str, Any], before: float) -> list[str]:
    count, mass = facts["directions"][0], facts["mass"][0]
    if not mass:
        return [
            "No hull of the densest mode's neighbours, in the directions in which they differ from "
            "the prior, tells them from other samples. Nothing is thinned."
        ]
    return [
        f"A hull in {count} direction{'s' * (count > 1)}, in which the densest mode's neighbours "
        f"differ from the prior, holds {mass:.1%} of it."
    ]


def _of_hulls(facts: dict[str, Any], before: float) -> list[str]:
    rate = facts["hit_rate"][0]
    said = [
        f"The hull of the {facts['points'][0]} latents nearest to the densest mode holds "
        f"{rate:.2%} of {HULL_DRAWS:,} fresh latents."
    ]
    if not rate:
        said.append(
            "It never fires: in so many dimensions no fresh latent falls in the hull of so few "
            "points. This calibrator changes nothing."
        )
    return said


def _change(before: float, after: float) -> float:
    return after / before - 1 if before else 0.0
