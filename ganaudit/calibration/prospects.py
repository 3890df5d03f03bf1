"""What weights for clusters of latents promise: told before anything is claimed or rendered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd, Forecast, Goal, delivered, last_kept
from ganaudit.config import MixtureDraw

_LARGEST_ERROR = 0.1  # of a mixture's change that is told, in proportion to the rate
_LEAST_EFFECTIVE = 500.0  # samples behind it: of fewer the error itself is not known
_NO_STRUCTURE = 0.05  # of the variance
_ERRORS = 3  # from nothing; folds share samples, which makes true errors a third larger

_Array = NDArray[np.float64]


def forecast_of(
    crowd: Crowd, modes: list[int], densities: _Array, draw: MixtureDraw, *, attempts: int
) -> tuple[Forecast | None, float]:
    """What is expected, and the standard error of the first mode's change in proportion.

    None: where the mixture draws most the run has too few samples to tell.

    Args:
      crowd: the run.
      modes: the chosen ones.
      densities: [N] >= 0, how much denser each sample becomes, by weights it took no part in; of
        cells, the probability that it is taken.
      draw: a mixture takes every draw.
      attempts: proposals of a slot at most.
    """
    mean, cell = float(densities.mean()), draw == "cell"
    found = Forecast.of(
        crowd,
        modes,
        delivered(densities, attempts) if cell else densities,
        acceptance=mean if cell else 1.0,
        held_out=True,
    )
    # after = (1 - r) taken + r before, r the share of last proposals: each is an estimate.
    last = last_kept(mean, attempts) if cell else 0.0
    slope = -(attempts - 1) * last_kept(mean, attempts - 1) if cell else 0.0
    hits, (before, after) = crowd.hits[modes[0]], found.chosen[0]
    taken = float(densities @ hits) / (mean * len(hits))
    influence = (1 - last) * (hits - taken) * (densities / mean) + last * (hits - before)
    influence += (before - taken) * slope * (densities - mean)
    influence -= (hits - before) * (after / before)
    error = float(np.sqrt((influence**2).sum())) / len(hits) / before
    if draw == "cell":
        return found, error
    effective = float(densities.sum() ** 2 / (densities**2).sum())  # Kish's number of samples
    if error > _LARGEST_ERROR or effective < _LEAST_EFFECTIVE:
        return None, error
    return found, error


def sentences_of(
    facts: dict[str, Any], forecast: Forecast | None, goal: Goal, *, size: int
) -> list[str]:
    """What the clusters know, what any weights of theirs could do, and what these will.

    Args:
      facts: of the fit.
      forecast: None: nobody can tell.
      goal: what was asked for.
      size: coordinates of a latent.
    """
    rate, reachable = facts["rate"], facts["reachable_rate"]
    explained, error = facts["variance_explained"], facts["forecast_error"]
    said = [
        f"K-means (K = {facts['clusters']:,}) explains {explained:.1%} of the variance of "
        f"latents in {size:,} dimensions that it did not see.",
        f"As long as nothing grows by more than a factor {1 / goal.min_acceptance:.3g}, the best "
        f"weights for these clusters bring the densest mode from {rate:.2%} to {reachable:.2%} "
        f"({reachable / rate - 1:+.0%}), judged on samples that took no part.",
    ]
    if explained < _NO_STRUCTURE:
        said.append(
            f"K-means finds next to no structure in {size:,} dimensions: at best "
            f"{max(0.0, 1 - reachable / rate):.0%} of the densest mode is taken away like this; "
            "try --method importance."
        )
    elif rate - reachable < (rate - goal.target) / 2:
        said.append(
            "The clusters know too little of where the densest mode lies: try --method importance, "
            "whose region follows it."
        )
    if facts["paper_exact"]:
        said.append("The paper's literal weights heed neither --min-acceptance nor --target.")
    if forecast is None:
        said.append(
            "What this mixture does cannot be told beforehand: the run has too few samples where "
            "it draws most."
        )
        return said
    (before, after), (worst, left) = forecast.chosen[0], forecast.worst
    change = after / before - 1
    taken = "" if facts["draw"] == "mixture" else f", at an acceptance of {forecast.acceptance:.1%}"
    nothing = " That is not told apart from nothing." if change + _ERRORS * error >= 0 else ""
    said.append(
        f"Expected on fresh latents: the densest mode from {before:.2%} to {after:.2%} "
        f"({change:+.0%}, standard error {error:.1%}), the worst anchor from {worst:.2%} to "
        f"{left:.2%}{taken}.{nothing}"
    )
    return said
