"""Algorithm 1: the latents as a mixture of Gaussians whose weights avoid the dense modes.

K-means on latents, the rate of the chosen modes by cluster, weights that fall with it. What that
can do is bounded by what the clusters know of the modes: in a few dimensions a lot, in hundreds
next to nothing, because K-means finds no structure in an isotropic cloud. So the variance that the
clusters explain, and the least rate that any weights of theirs could reach, are told first.

References:
  Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Algorithm 1: weights 1 / count,
  covariance unspecified. Deviations: K-means gets latents of its own (on the run's the forecast
  came out one point too good); and, but for `paper_exact`, a weight is the cluster's share times
  1 / (rate + .2 mean rate), since a bare count ignores the cluster's size and may be 0; weights are
  tempered so that no cluster becomes denser than 1 / min_acceptance times the prior, and no further
  than the target asks; the covariance is that within clusters, so that equal rates give the prior's
  mean and covariance back. Several modes count by the largest of their rates: on a real collapse
  that did better than the rate of their union.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import CellSampler, MixtureSampler
from ganaudit.calibration.clusters import FOLDS, Clusters
from ganaudit.calibration.crowds import MOST_MODES, Crowd, Fitted, Goal
from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.mixtures import component_ratios, within_clusters
from ganaudit.calibration.prospects import forecast_of, sentences_of
from ganaudit.calibration.thinning import keep_of, known, reach
from ganaudit.config import MixtureDraw
from ganaudit.errors import ConfigError

LEAST_HITS = 10  # of a mode: of fewer nobody knows where they lie
_MOST_AUTO = 16  # modes

_Array = NDArray[np.float64]


def fit(
    crowd: Crowd,
    latents: Latents,
    space: Space,
    goal: Goal,
    *,
    draw: MixtureDraw = "cell",
    clusters: int = 50,
    paper_exact: bool = False,
) -> Fitted:
    """A sampler that draws less from clusters where the dense modes are.

    Args:
      crowd: neighbourhoods of a run of N samples.
      latents: [N, size], of these samples.
      space: where they live.
      goal: what to reach. With `modes` None as many as make the worst anchor least dense, up to
        16; modes that are neighbours of each other count as one.
      draw: "cell" takes a draw of the prior with its cluster's probability, which is exact;
        "mixture" draws from Gaussians (the paper's), all of which are taken.
      clusters: K.
      paper_exact: literally weights 1 / (count + 1), the centres of K-means as means, and
        covariance I (in the coordinates in which the prior is normal); neither the acceptance nor
        the target is heeded. For draw="mixture" alone.

    Raises:
      ConfigError: there are too few samples for so many clusters, or for the densest mode.
      ValueError: paper_exact with draw="cell".
    """
    if paper_exact and draw == "cell":
        raise ValueError("paper_exact is of draw='mixture'")
    _check_enough(crowd, clusters)
    rule = _Rule(goal=goal, draw=draw, paper_exact=paper_exact)
    found = Clusters.of(latents, space, normal=draw == "mixture", clusters=clusters, seed=goal.seed)
    sampler = _sampler(found, space, rule, found.shares)
    ratios = component_ratios(sampler, latents) if isinstance(sampler, MixtureSampler) else None

    def judged(modes: list[int]) -> _Array:
        return _judged(found, _counts(found, crowd, modes), rule, ratios)

    modes, densities = _chosen(crowd, goal, judged)
    sizes, counts = found.by_fold(), _counts(found, crowd, modes)
    weights = rule.weights(sizes.sum(axis=0), counts.sum(axis=1))
    forecast, error = forecast_of(crowd, modes, densities, draw, attempts=goal.attempts)
    facts = {
        "draw": draw,
        "paper_exact": paper_exact,
        "clusters": clusters,
        "variance_explained": found.explained,
        **reach(sizes, counts, goal.min_acceptance),
        "forecast_error": error,
    }
    return Fitted(
        calibrator=_sampler(found, space, rule, weights),
        modes=modes,
        forecast=forecast,
        facts=facts,
        sentences=sentences_of(facts, forecast, goal, size=space.size),
    )


def _check_enough(crowd: Crowd, clusters: int) -> None:
    most, count = int(crowd.hits[0].sum()), crowd.hits.shape[1]
    if most < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has {most} samples within the radius, too few to know where they "
            "lie: take more --samples, a larger --radius, or --method rejection"
        )
    if count < 4 * clusters:
        raise ConfigError(
            f"{clusters:,} clusters want at least {4 * clusters:,} samples, there are {count:,}: "
            "take more --samples or fewer --clusters"
        )


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """From what is known of the clusters to their weights."""

    goal: Goal
    draw: MixtureDraw
    paper_exact: bool

    def weights(self, sizes: _Array, counts: _Array) -> _Array:
        """Of a mixture's components, sum 1, or probabilities by cell: [K].

        Args:
          sizes: [K] samples by cluster.
          counts: [M, K] neighbours of each mode among them.
        """
        if self.paper_exact:
            found = 1 / (counts.sum(axis=0) + 1)
            return np.asarray(found / found.sum())
        shares, rates = known(sizes, counts)
        # Two standard errors at most of an acceptance known from so many samples.
        floor = min(1.0, self.goal.min_acceptance + float(sizes.sum()) ** -0.5)
        keep = keep_of(shares, rates, floor=floor, target=self.goal.target)
        return keep if self.draw == "cell" else shares * keep / (shares @ keep)


def _counts(found: Clusters, crowd: Crowd, modes: list[int]) -> _Array:
    return np.stack([found.by_fold(crowd.hits[mode]) for mode in modes])  # [M, 10, K]


def _sampler(
    found: Clusters, space: Space, rule: _Rule, weights: _Array
) -> CellSampler | MixtureSampler:
    attempts = rule.goal.attempts
    if rule.draw == "cell":
        return CellSampler(space=space, centres=found.centres, keep=weights, attempts=attempts)
    if rule.paper_exact:
        none = np.zeros((0, space.size), dtype=np.float32)
        means, directions, scales = found.centres, none, np.zeros(0)
    else:
        means, directions, scales = within_clusters(found.shares, found.centres)
    return MixtureSampler(
        space=space,
        weights=weights,
        means=means,
        directions=directions,
        scales=scales,
        attempts=attempts,
    )


def _judged(found: Clusters, counts: _Array, rule: _Rule, ratios: _Array | None) -> _Array:
    """How much denser each sample becomes, by weights that it took no part in: [N] >= 0.

    Args:
      found: the clusters.
      counts: [M, 10, K] neighbours of the modes by fold and cluster.
      rule: gives the weights.
      ratios: [N, K] of `component_ratios`; None: weights are probabilities by cell.
    """
    sizes = found.by_fold()
    densities = np.empty(len(found.own))
    for fold in range(FOLDS):
        rest = np.arange(FOLDS) != fold
        weights = rule.weights(sizes[rest].sum(axis=0), counts[:, rest].sum(axis=1))
        part = found.fold == fold
        densities[part] = weights[found.own[part]] if ratios is None else ratios[part] @ weights
    return densities


def _chosen(
    crowd: Crowd, goal: Goal, judged: Callable[[list[int]], _Array]
) -> tuple[list[int], _Array]:
    """The modes that are thinned together, the worst first, and what becomes of each sample.

    Each further mode is the worst one behind those before it. Where their number is free, it is
    the one with the least worst anchor: a mode of several equal ones shows no gain on its own.
    """
    modes, densities = [0], judged([0])
    rates = crowd.rates(densities)
    best = float(rates.max()), modes, densities
    often = crowd.hits.sum(axis=1) >= LEAST_HITS
    while len(modes) < (_MOST_AUTO if goal.modes is None else min(goal.modes, MOST_MODES)):
        if goal.modes is None and rates.max() <= goal.target:
            break
        order = np.argsort(-rates, kind="stable")
        free = (int(i) for i in order if often[i] and crowd.near(int(i), modes) is None)
        further = next(free, None)
        if further is None:
            break
        modes = [*modes, further]
        densities = judged(modes)
        rates = crowd.rates(densities)
        if goal.modes is not None or rates.max() < best[0]:
            best = float(rates.max()), modes, densities
    return best[1], best[2]
