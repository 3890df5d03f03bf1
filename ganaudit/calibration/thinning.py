"""How cells of latents are thinned whose shares of the prior and rates of dense modes are known."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_SMOOTHING = 0.2  # times the mean rate, added to each: an empty cell's weight stays finite
_HALVINGS = 60

_Array = NDArray[np.float64]


def keep_of(shares: _Array, rates: _Array, *, floor: float, target: float) -> _Array:
    """The probability that each cell's draws are taken, the denser the modes in it the smaller.

    Args:
      shares: [K] of the prior, sum 1; of an empty cell 0.
      rates: [M, K] of each mode in each cell, in [0, 1].
      floor: the acceptance, shares @ keep, does not fall below this.
      target: the largest rate of a mode does not fall below this.

    Returns:
      [K] in [0, 1]: min(1, c g), g = 1 / (rate + .2 mean rate) over its maximum, of the largest
      rate in each cell, and c the least from 1 on that heeds floor and target. c = 1 is the full
      strength; equal rates give 1 everywhere.
    """
    highest = rates.max(axis=0)
    mean = float(shares @ highest)
    if not mean:
        return np.ones(len(shares))
    strength = 1 / (highest + _SMOOTHING * mean)
    strength = np.minimum(1.0, strength / strength[shares > 0].max())

    def heeds(keep: _Array) -> bool:
        return float(shares @ keep) >= floor and rate_behind(shares, rates, keep) >= target

    return _tempered(strength, heeds)


def rate_behind(shares: _Array, rates: _Array, keep: _Array) -> float:
    """The largest rate of a mode, [M, K] by cell, behind cells that are taken by `keep` [K]."""
    return float((rates @ (shares * keep)).max() / (shares @ keep))


def best_keep(shares: _Array, rates: _Array, *, floor: float) -> _Array:
    """The probabilities by cell that make the largest rate of a mode least: [K] in [0, 1].

    A linear programme: least t such that (shares rates[m]) @ keep <= t for every mode m, at
    shares @ keep = floor (a larger acceptance reaches no less: its probabilities can be scaled).

    Args:
      shares: [K] of the prior, sum 1.
      rates: [M, K] of each mode in each cell.
      floor: of the acceptance, in (0, 1].
    """
    from scipy.optimize import linprog

    modes, cells = rates.shape
    found = linprog(
        np.append(np.zeros(cells), 1.0),
        A_ub=np.hstack([shares * rates, -np.ones((modes, 1))]),
        b_ub=np.zeros(modes),
        A_eq=np.append(shares, 0.0)[None],
        b_eq=[floor * float(shares.sum())],
        bounds=[(0, 1)] * (cells + 1),
        method="highs",
    )
    return np.clip(found.x[:cells], 0.0, 1.0) if found.success else np.ones(cells)


def known(sizes: _Array, counts: _Array) -> tuple[_Array, _Array]:
    """Shares [K] and rates [M, K] by cell from samples [K] and hits [M, K]; 0 in an empty cell."""
    return sizes / sizes.sum(), counts / np.maximum(sizes, 1)


def reach(sizes: _Array, counts: _Array, floor: float) -> dict[str, float]:
    """The densest mode's rate, and the least one that any probabilities by cell leave.

    Args:
      sizes: [F, K] samples by fold and cell, F >= 2.
      counts: [M, F, K] hits of each mode among them.
      floor: of the acceptance.

    Returns:
      rate; least_rate, by the very samples that the probabilities are best for: it lies below what
      is possible; reachable_rate, by those of each fold that took no part in finding them.
    """
    shares, rates = known(sizes.sum(axis=0), counts.sum(axis=1))
    kept, left = 0.0, np.zeros(len(counts))
    for fold in range(len(sizes)):
        rest = np.arange(len(sizes)) != fold
        keep = best_keep(*known(sizes[rest].sum(axis=0), counts[:, rest].sum(axis=1)), floor=floor)
        kept += float(sizes[fold] @ keep)
        left += counts[:, fold] @ keep
    return {
        "rate": rate_behind(shares, rates, np.ones(len(shares))),
        "least_rate": rate_behind(shares, rates, best_keep(shares, rates, floor=floor)),
        "reachable_rate": float(left.max()) / kept,
    }


def _tempered(strength: _Array, heeds: Callable[[_Array], bool]) -> _Array:
    """min(1, c strength), c the least from 1 on that heeds; where one does, so do larger ones."""
    if heeds(strength):
        return strength
    low, high = 1.0, 2 / float(strength.min())
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        if heeds(np.minimum(1.0, middle * strength)):
            high = middle
        else:
            low = middle
    return np.minimum(1.0, high * strength)
