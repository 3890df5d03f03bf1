"""Algorithm 1: the latents as a mixture of Gaussians whose weights avoid the dense modes.

K-means on latents, the rate of the chosen modes by cluster, weights that fall with it. What that
can do is bounded by what the clusters know of the modes: in a few dimensions a lot, in hundreds
next to nothing, because K-means finds no structure in an isotropic cloud. So the variance that the
clusters explain and the reduction that any weights could reach are measured first, on latents that
took no part in the clustering.

References:
  Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Algorithm 1: weights 1 / count,
  covariance unspecified. Deviations, but for `paper_exact`: a weight is the cluster's share times
  1 / (rate + .2 mean rate), since a bare count ignores the cluster's size and may be 0; weights are
  tempered so that no region becomes denser than 1 / min_acceptance times the prior; the covariance
  is that within clusters, so that equal rates give the prior back.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import CellSampler, MixtureSampler, nearest, products
from ganaudit.calibration.crowds import Crowd, Fitted, Forecast, Goal
from ganaudit.calibration.latents import Latents, Space
from ganaudit.config import MixtureDraw
from ganaudit.errors import ConfigError

LEAST_HITS = 10  # of a mode: of fewer nobody knows where they lie
_SMOOTHING = 0.2  # times the mean rate, added to a cluster's
_MOST_MODES = 16
_NO_STRUCTURE = 0.05  # of the variance
_MARGIN = 0.005  # of acceptance, for what chance takes from it on fresh latents
_HALVINGS = 50

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Cells:
    """A clustering of latents, and what is known of the modes by cluster.

    Attributes:
      centres: [K, size] float32, in normal coordinates.
      sizes: [K] latents by cluster.
      own: the cluster of each latent that took part, and of all: [N].
    """

    centres: NDArray[np.float32]
    sizes: _Array
    own: NDArray[np.int64]

    @classmethod
    def of(cls, normal: _Array, part: NDArray[np.bool_], *, clusters: int, seed: int) -> "_Cells":
        """K-means on some of the latents [N, size]."""
        from sklearn.cluster import KMeans

        found = KMeans(clusters, n_init=1, random_state=seed % 2**32).fit(
            normal[part].astype(np.float32)
        )
        centres = np.asarray(found.cluster_centers_, dtype=np.float32)
        own = nearest(normal, centres)
        sizes = np.bincount(own[part], minlength=clusters).astype(np.float64)
        return cls(centres, sizes, own)

    @property
    def shares(self) -> _Array:
        """Of the latents that took part, by cluster: [K]."""
        return np.asarray(self.sizes / self.sizes.sum())

    def rates(self, hits: NDArray[np.bool_], part: NDArray[np.bool_]) -> _Array:
        """Share of hits [N] by cluster, among those that took part: [K]; 0 of an empty one."""
        counts = np.bincount(self.own[part & hits], minlength=len(self.sizes))
        return np.asarray(counts / np.maximum(1, self.sizes))

    def explained(self, normal: _Array, part: NDArray[np.bool_]) -> float:
        """Share of the variance of other latents that their cluster's centre explains."""
        others = normal[~part]
        left = ((others - self.centres[self.own[~part]]) ** 2).sum()
        return max(0.0, 1 - float(left) / float(((others - others.mean(axis=0)) ** 2).sum()))


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
      goal: what to reach; several modes are thinned together, by the rate of all of them.
      draw: "cell" takes a draw of the prior with its cluster's probability, which is exact;
        "mixture" draws from Gaussians (the paper's), all of which are taken.
      clusters: K.
      paper_exact: weights 1 / (count + 1), covariance I, no tempering.

    Raises:
      ConfigError: there are too few samples for so many clusters, or for the densest mode.
    """
    count = len(latents)
    if crowd.hits[0].sum() < LEAST_HITS:
        raise ConfigError(
            f"the densest mode has {int(crowd.hits[0].sum())} samples within the radius, too few "
            "to know where they lie: take more --samples, a larger --radius, or --method rejection"
        )
    if count < 4 * clusters:
        raise ConfigError(
            f"{clusters} clusters want at least {4 * clusters} samples, there are {count}: take "
            "more --samples or fewer --clusters"
        )
    normal = space.to_normal(latents)
    whole = np.ones(count, dtype=np.bool_)
    first = np.random.default_rng(goal.seed).permutation(count) < count // 2
    every = _Cells.of(normal, whole, clusters=clusters, seed=goal.seed)
    halves = [
        (part, _Cells.of(normal, part, clusters=clusters, seed=goal.seed))
        for part in (first, ~first)
    ]

    def within(modes: list[int]) -> NDArray[np.bool_]:
        return np.asarray(crowd.hits[modes].any(axis=0))

    def judged(modes: list[int]) -> _Array:
        """For each latent the density behind a calibrator that it took no part in, over its own."""
        weights = np.empty(count)
        for part, cells in halves:
            made = _sampler(cells, cells.rates(within(modes), part), space, goal, draw, paper_exact)
            weights[~part] = _density(made, latents[~part])
        return weights

    modes = _chosen(crowd, goal, judged)
    weights = judged(modes)
    made = _sampler(every, every.rates(within(modes), whole), space, goal, draw, paper_exact)
    forecast = _forecast(crowd, modes, weights, made)
    explained = float(np.mean([cells.explained(normal, part) for part, cells in halves]))
    reachable = _reachable(crowd.hits[0], halves, goal.min_acceptance)
    facts: dict[str, Any] = {
        "clusters": clusters,
        "variance_explained": explained,
        "reachable_rate": reachable,
        "rate": float(crowd.hits[0].mean()),
    }
    return Fitted(
        calibrator=made,
        modes=modes,
        forecast=forecast,
        facts=facts,
        sentences=_sentences(facts, forecast, goal, space.size),
    )


def weights_of(shares: _Array, rates: _Array, *, floor: float) -> _Array:
    """The probability that each cell's draws are taken: [K] in [0, 1].

    Args:
      shares: [K] of the prior, sum 1.
      rates: [K] of the dense modes.
      floor: the acceptance is at least this.

    Returns:
      min(1, c g), g = 1 / (rate + .2 mean rate) over its maximum, and c the least from 1 on that
      keeps the floor: c = 1 is the full strength, equal rates give 1 everywhere.
    """
    mean = float(shares @ rates)
    if not mean:
        return np.ones(len(shares))
    strength = 1 / (rates + _SMOOTHING * mean)
    strength /= strength[shares > 0].max()
    return _tempered(np.minimum(strength, 1.0), shares, lambda keep: float(shares @ keep) >= floor)


def _tempered(strength: _Array, shares: _Array, allowed: Any) -> _Array:
    """min(1, c strength) with the least c >= 1 that is allowed; what a larger c gives is too."""
    if allowed(strength):
        return strength
    low, high = 1.0, 1 / max(float(strength.min()), 1e-12)
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        if allowed(np.minimum(1.0, middle * strength)):
            high = middle
        else:
            low = middle
    return np.minimum(1.0, high * strength)


def _sampler(
    cells: _Cells, rates: _Array, space: Space, goal: Goal, draw: MixtureDraw, paper_exact: bool
) -> CellSampler | MixtureSampler:
    """The sampler of some clusters, whose modes have `rates` [K]."""
    shares = cells.shares
    if paper_exact:
        weights = 1 / (rates * cells.sizes + 1)
        return MixtureSampler(
            space=space,
            weights=weights / weights.sum(),
            means=cells.centres,
            directions=np.zeros((0, space.size), dtype=np.float32),
            scales=np.zeros(0),
            attempts=goal.attempts,
        )
    keep = weights_of(shares, rates, floor=min(1.0, goal.min_acceptance + _MARGIN))
    # No further than to the target: what lies below it has been thinned enough.
    keep = _tempered(keep, shares, lambda some: _left(shares, rates, some) >= goal.target)
    if draw == "cell":
        return CellSampler(space=space, centres=cells.centres, keep=keep, attempts=goal.attempts)
    directions, scales, means = within_clusters(shares, cells.centres)
    return MixtureSampler(
        space=space,
        weights=shares * keep / float(shares @ keep),
        means=means,
        directions=directions,
        scales=scales,
        attempts=goal.attempts,
    )


def _left(shares: _Array, rates: _Array, keep: _Array) -> float:
    """The modes' rate behind cells that are taken with some probability."""
    return float((shares * rates) @ keep) / float(shares @ keep)


def within_clusters(
    shares: _Array, centres: NDArray[np.float32]
) -> tuple[NDArray[np.float32], _Array, NDArray[np.float32]]:
    """The common covariance W that makes the mixture's own that of the prior, I.

    W = I - B, B = sum of shares[k] m_k m_k^T over the centred centres m_k; where B exceeds 1 in a
    direction (few latents), W is 0 there.

    Returns:
      Orthonormal directions [r, size] in which W is not 1, the standard deviations [r] in them,
      and the centred means [K, size].
    """
    wide = centres.astype(np.float64)
    means = wide - shares @ wide
    _, lengths, directions = np.linalg.svd(np.sqrt(shares)[:, None] * means, full_matrices=False)
    found = lengths > 1e-6
    scales = np.sqrt(np.clip(1 - lengths[found] ** 2, 0.0, 1.0))
    return directions[found].astype(np.float32), scales, means.astype(np.float32)


def _density(made: CellSampler | MixtureSampler, latents: Latents) -> _Array:
    """How much denser latents [N, size] become, but for a common factor: [N] >= 0."""
    if isinstance(made, CellSampler):
        return made.acceptance(latents)
    normal = made.space.to_normal(latents)
    directions = made.directions.astype(np.float64)
    scales = np.maximum(made.scales, 1e-3)
    with np.errstate(divide="ignore"):
        height = np.log(made.weights)  # [K]
    means = made.means.astype(np.float64)
    along, centres = products(normal, directions), products(means, directions)  # [N, r], [K, r]
    # Where W is 1 the densities differ by exp(x . m - |m|^2 / 2) alone.
    rest = means - centres @ directions
    flat = products(normal, rest) - (rest * rest).sum(axis=1) / 2  # [N, K]
    squares = (
        ((along / scales) ** 2).sum(axis=1, keepdims=True)
        - 2 * (along / scales**2) @ centres.T
        + ((centres / scales) ** 2).sum(axis=1)
    )
    found = height + flat - squares / 2  # [N, K]
    top = found.max(axis=1, keepdims=True)
    summed = top[:, 0] + np.log(np.exp(found - top).sum(axis=1))
    log = summed - np.log(scales).sum() + (along**2).sum(axis=1) / 2
    return np.asarray(np.exp(np.clip(log, -50, 50)))


def _chosen(crowd: Crowd, goal: Goal, judged: Any) -> list[int]:
    """The modes that are thinned together, the worst first."""
    modes = [0]
    worst = _worst(crowd, judged(modes))
    while len(modes) < min(goal.modes or _MOST_MODES, _MOST_MODES) and worst[1] > goal.target:
        if worst[0] in modes or (
            goal.modes is not None and crowd.near(worst[0], modes) is not None
        ):
            rates = crowd.rates(judged(modes))
            free = [i for i in range(len(rates)) if crowd.near(i, modes) is None]
            if goal.modes is None or not free:
                break
            modes.append(max(free, key=lambda i: float(rates[i])))
            worst = _worst(crowd, judged(modes))
            continue
        found = _worst(crowd, judged([*modes, worst[0]]))
        if goal.modes is None and found[1] >= worst[1]:
            break
        modes.append(worst[0])
        worst = found
    return modes


def _worst(crowd: Crowd, weights: _Array) -> tuple[int, float]:
    rates = crowd.rates(weights)
    found = int(np.argmax(rates))
    return found, float(rates[found])


def _forecast(
    crowd: Crowd, modes: list[int], weights: _Array, made: CellSampler | MixtureSampler
) -> Forecast:
    if isinstance(made, CellSampler):
        return Forecast.of(crowd, modes, weights, held_out=True)
    before, after = crowd.rates(np.ones(len(weights))), crowd.rates(weights)
    return Forecast(
        acceptance=1.0,
        chosen=[(float(before[mode]), float(after[mode])) for mode in modes],
        worst=(float(before.max()), float(after.max())),
        held_out=True,
    )


def _reachable(
    hits: NDArray[np.bool_], halves: list[tuple[NDArray[np.bool_], _Cells]], floor: float
) -> float:
    """The lowest rate of a mode that any acceptance by cell reaches within the floor.

    The cells with the highest rates are refused altogether, up to the floor; rates are those of one
    half of the latents, and the other half judges.
    """
    kept, found = 0.0, 0.0
    for part, cells in halves:
        shares, rates = cells.shares, cells.rates(hits, part)
        order = np.argsort(-rates, kind="stable")
        refused = np.clip((1 - floor) - (np.cumsum(shares[order]) - shares[order]), 0, None)
        keep = np.ones(len(shares))
        keep[order] = 1 - np.minimum(1.0, refused / np.maximum(shares[order], 1e-12))
        weights = keep[cells.own[~part]]
        kept += float(weights.sum())
        found += float(weights[hits[~part]].sum())
    return found / kept if kept else 0.0


def _sentences(facts: dict[str, Any], forecast: Forecast, goal: Goal, size: int) -> list[str]:
    rate, reachable = facts["rate"], facts["reachable_rate"]
    explained = facts["variance_explained"]
    most = max(0.0, 1 - reachable / rate)
    said = [
        f"K-means with {facts['clusters']} clusters explains {explained:.1%} of the variance of "
        f"the latents in {size} dimensions. At an acceptance of {goal.min_acceptance:.0%} no "
        f"weights of these clusters bring the densest mode from {rate:.2%} below {reachable:.2%} "
        f"({-most:.0%})."
    ]
    before, after = forecast.chosen[0]
    change = after / before - 1 if before else 0.0
    said.append(
        f"Expected on fresh latents: the densest mode from {before:.2%} to {after:.2%} "
        f"({change:+.0%}) at an acceptance of {forecast.acceptance:.1%}, the worst anchor from "
        f"{forecast.worst[0]:.2%} to {forecast.worst[1]:.2%}."
    )
    if explained < _NO_STRUCTURE or most < 0.5:
        why = (
            f"K-means finds next to no structure in {size} dimensions"
            if explained < _NO_STRUCTURE
            else "The clusters know too little of the dense modes"
        )
        said.append(f"{why}: try --method importance, whose regions follow a mode.")
    return said
