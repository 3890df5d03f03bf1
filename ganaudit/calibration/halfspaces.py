"""Directions of latents along which a dense mode, or all of them together, are told apart.

The prior has no preferred direction, so one number a latent, its product with a direction, is what
a half-space can know. Held-out figures come from directions that were found without the sample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.latents import Latents, Space
from ganaudit.calibration.regions import scores
from ganaudit.slots import Stream

STRENGTHS = (0.001, 0.01, 0.1)  # C of the regression, the inverse of its penalty
FOLDS = 5
TELLS = 0.55  # least area under the curve of a direction that is of use
_ROUNDS, _RATE = 40, 0.3  # of the multiplicative weights
_PRIOR_FROM, _PRIOR_DRAWS, _BLOCK = 2**20, 2**17, 2**13  # slots no run scores as anchors

_Array = NDArray[np.float64]
Learner = Callable[[NDArray[np.intp]], NDArray[np.float32]]  # rows to look at, to a direction


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A direction, and how well it tells samples apart that it was found without.

    Attributes:
      coefficients: [size] float32 of length 1 (0: there is no direction), from all samples.
      held_out: [N], the score of each sample by a direction that was found without it.
      depth: [N] in (0, 1): share of the prior with a higher score.
      auc: chance that a neighbour of the mode scores above another sample, in [0, 1].
    """

    coefficients: NDArray[np.float32]
    held_out: _Array
    depth: _Array
    auc: float

    @property
    def tells(self) -> bool:
        """Whether it knows more of the mode than chance."""
        return self.auc >= TELLS and bool(self.coefficients.any())


def logistic(
    latents: Latents, hits: NDArray[np.bool_], *, seed: int, strengths: tuple[float, ...]
) -> tuple[Direction, float]:
    """The direction of a logistic regression of `hits` [N] on latents [N, size], and its C.

    Args:
      latents: of the samples.
      hits: neighbours of the mode among them.
      seed: of the folds.
      strengths: of which the one with the largest held-out area is taken.
    """

    def learner(strength: float) -> Learner:
        return lambda rows: _regression(latents[rows], hits[rows], strength)

    tried = [(direction(latents, hits, learner(c), seed=seed), c) for c in strengths]
    return max(tried, key=lambda one: one[0].auc)


def joint(
    latents: Latents,
    hits: Any,
    mode: int,
    *,
    mass: float,
    keep: float,
    seed: int,
) -> Direction:
    """The direction that makes the largest of many rates least when a half-space is thinned.

    A game: one side weights the modes, the other answers with the direction in which the weighted
    neighbours lie; modes that stay dense gain weight (multiplicative weights; Freund and Schapire,
    1999). The mean over all rounds is what neither side can improve. The answer is Fisher's
    discriminant, of which the covariance is known: the prior's, a multiple of I.

    Args:
      latents: [N, size].
      hits: [C, N] sparse, neighbours of each mode.
      mode: of which `Direction.auc` is told.
      mass: of the half-space under the prior.
      keep: the probability that draws in it are taken.
      seed: of the folds.
    """

    def learn(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        part = hits[:, rows].tocsr()
        back = part.T.tocsr()
        found = latents[rows]
        fold = _folds(len(rows), seed + 1)
        each = [np.flatnonzero(fold == one) for one in range(FOLDS)]
        weight = np.asarray(part.sum(axis=1)) ** 2
        weight, total = weight / weight.sum(), np.zeros(len(weight))
        for _ in range(_ROUNDS):
            label = _centred(back @ weight)
            sums = [label[one] @ found[one] for one in each]
            taken = np.ones(len(rows))
            for one, own in zip(each, sums, strict=True):
                depth = _depth(found[one] @ (np.sum(sums, axis=0) - own))
                taken[one] = np.where(depth < mass, keep, 1.0)
            rates = part @ taken
            weight = weight * np.exp(_RATE * (rates / rates.max() - 1))
            weight /= weight.sum()
            total += weight
        return _unit(_centred(back @ (total / _ROUNDS)) @ found)

    own = np.asarray(hits[[mode]].todense(), dtype=np.bool_)[0]
    return direction(latents, own, learn, seed=seed)


def direction(latents: Latents, hits: NDArray[np.bool_], learn: Learner, *, seed: int) -> Direction:
    """What a learner finds in all samples, judged by what it finds without a fifth of them."""
    fold = _folds(len(latents), seed)
    held_out, depth = np.empty(len(latents)), np.empty(len(latents))
    for one in range(FOLDS):
        part = fold == one
        found = learn(np.flatnonzero(~part))
        held_out[part] = scores(latents[part], found[None])[:, 0]
        depth[part] = _depth(held_out[part])
    return Direction(
        coefficients=learn(np.arange(len(latents))),
        held_out=held_out,
        depth=depth,
        auc=area(-depth, hits),
    )


def area(found: _Array, hits: NDArray[np.bool_]) -> float:
    """Area under the curve: the chance that a hit has more than another; ties count half."""
    from scipy.stats import rankdata

    count = int(hits.sum())
    if not 0 < count < len(hits):
        return 0.5
    above = float(rankdata(found)[hits].sum()) - count * (count + 1) / 2
    return above / (count * (len(hits) - count))


def prior_scores(planes: NDArray[np.float32], space: Space, *, seed: int) -> _Array:
    """Scores of 131,072 fresh draws of the prior: [k, size] to [131,072, k]."""
    found = np.empty((_PRIOR_DRAWS, len(planes)))
    for first in range(0, _PRIOR_DRAWS, _BLOCK):
        drawn = prior_draws(space, first, _BLOCK, seed=seed)
        found[first : first + _BLOCK] = scores(drawn, planes)
    return found


def prior_draws(space: Space, first: int, count: int, *, seed: int) -> Latents:
    """Draws of the prior that no run scores: [count, size]."""
    slots = np.arange(_PRIOR_FROM + first, _PRIOR_FROM + first + count, dtype=np.int64)
    return space.draw(slots, seed=seed, stream=Stream.ANCHORS)


def _regression(latents: Latents, hits: NDArray[np.bool_], strength: float) -> NDArray[np.float32]:
    from sklearn.linear_model import LogisticRegression

    if hits.all() or not hits.any():
        return np.zeros(latents.shape[1], dtype=np.float32)
    return _unit(LogisticRegression(C=strength, max_iter=200).fit(latents, hits).coef_[0])


def _folds(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count) % FOLDS


def _depth(found: NDArray[Any]) -> _Array:
    """Mid-ranks from the highest on, in (0, 1)."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(-found) - 0.5) / len(found))


def _centred(label: _Array) -> NDArray[np.float32]:
    return np.asarray(label - label.mean(), dtype=np.float32)


def _unit(found: NDArray[Any]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(found))
    return np.asarray(found / length if length else found, dtype=np.float32)
