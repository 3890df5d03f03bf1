"""Companions that need real images: how far generated rows are from real ones, in descriptor space.

They say whether images look real and whether real ones are reached, not whether a mode is too
dense: a reference is a baseline, and none of these figures replaces the tally.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ganaudit.intervals import CONFIDENCE, MIN_GROUPS, Interval
from ganaudit.tally import check_unit_rows

ROWS = 50_000  # at most, a side: density and coverage cost the square of it
_SMALL_BLOCK = 50  # rows, below which blocks are too noisy to be worth an interval
_TILE = 1024  # rows at once
_BUFFER = 2**19  # numbers at once, where rows are wide: what a cache holds

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fidelity:
    """Generated rows against real ones, as many of each.

    Attributes:
      rows: of either side that were compared.
      frechet_distance, kernel_distance, density, coverage: see the functions of this module.
      nearest_k: which nearest real row sets the radius of density and coverage.
    """

    rows: int
    frechet_distance: float
    kernel_distance: Interval
    nearest_k: int
    density: float
    coverage: float

    def figures(self) -> dict[str, Any]:
        """Every figure as JSON values."""
        return asdict(self)


def fidelity(real: NDArray[np.float32], generated: NDArray[np.float32], *, k: int = 5) -> Fidelity:
    """Every figure of this module on the same rows: the first of each side, as many of both.

    Args:
      real: [R, D] float32 unit rows in random order; at most the first 50,000 are used.
      generated: [G, D] likewise.
      k: which nearest real row sets the radius; the smaller of R and G must exceed it.

    Raises:
      ValueError: as the functions below.
    """
    rows = min(len(real), len(generated), ROWS)
    real, generated = real[:rows], generated[:rows]
    density, coverage = density_and_coverage(real, generated, k=k)
    frechet = frechet_distance(real, generated)
    kernel = kernel_distance(real, generated, block=block_of(rows))
    return Fidelity(rows, frechet, kernel, k, density, coverage)


def jackknifed(
    real: NDArray[np.float32], generated: NDArray[np.float32], *, k: int = 5, groups: int = 10
) -> dict[str, Interval]:
    """Intervals of Fréchet distance, density and coverage at this many rows.

    The delete-a-group jackknife: rows i, i + groups, ... of both sides are left out together, and
    the spread of the figures without each group is scaled up to that of the whole (Quenouille 1956;
    Efron and Stein 1981). An interval is of the figure's mean at so many rows: its bias, which is
    the reason to compare at equal numbers only, stays in it.

    Args:
      real: [R, D] float32 unit rows in random order; the shorter side decides how many are used.
      generated: [G, D] likewise.
      k: of `density_and_coverage`.
      groups: at least 3; so many evaluations more than without intervals.

    Returns:
      frechet_distance, density and coverage, each with its 95 % interval by Student t. On Gaussian
      rows (400 a side, 8 and 32 dimensions) they held the mean in 91 to 100 % of 150 draws: that of
      coverage is too wide.

    Raises:
      ValueError: as the functions above and below; too few groups, or rows for so many.
    """
    rows = min(len(real), len(generated), ROWS)
    if not 3 <= groups <= rows // (k + 2):
        raise ValueError(f"groups must be in [3, rows / (k + 2)], got {groups} of {rows} rows")
    real, generated = real[:rows], generated[:rows]

    def figures(kept: NDArray[np.bool_]) -> tuple[float, float, float]:
        sides = real[kept], generated[kept]
        return frechet_distance(*sides), *density_and_coverage(*sides, k=k)

    group = np.arange(rows) % groups
    whole = figures(group >= 0)
    without = np.array([figures(group != left) for left in range(groups)])  # [groups, 3]
    errors = np.sqrt((groups - 1) * without.var(axis=0))
    halves = stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1) * errors
    most = (np.inf, np.inf, 1.0)
    return {
        name: Interval(one, max(0.0, one - half), min(top, one + half))
        for name, one, half, top in zip(
            ("frechet_distance", "density", "coverage"), whole, halves, most, strict=True
        )
    }


def block_of(rows: int) -> int:
    """Rows of a block of the kernel distance: the usual 1,000, or a sixteenth of fewer rows."""
    return min(1000, max(_SMALL_BLOCK, rows // 16))


def frechet_distance(
    real: NDArray[np.float32], generated: NDArray[np.float32], *, unit: bool = True
) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the moments of both sets.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with mean mu and covariance S (ddof = 1).
    The trace of (S1 S2)^(1/2) is the sum of the singular values of F1 F2^T with S = F^T F, roots of
    the eigenvalues of S1^(1/2) S2 S1^(1/2): a collapsed S without full rank is as good as another.

    Args:
      real: [R, D] float32 unit rows, R >= 2.
      generated: [G, D] likewise.
      unit: false: rows are raw features of any length.

    Returns:
      A finite number >= 0, in float64; symmetric and independent of the order of rows up to
      rounding. Biased upwards at finite R and G: compare at equal numbers only. It is in units of
      this descriptor: no published FID compares with it.

    Raises:
      ValueError: wrong rank or type, differing D, rows that are not unit or not finite, fewer than
        2 rows.

    References:
      Heusel et al. 2017, Eq. 6 (FID). Deviation from the authors' code: no root of the unsymmetric
      product, which may fail or turn complex, and no offset on the diagonal.
    """
    _check(real, generated, least=2, unit=unit)
    mean, factor = _moments(real)
    other_mean, other_factor = _moments(generated)
    common = np.linalg.svd(factor @ other_factor.T, compute_uv=False).sum()
    spread = np.square(factor).sum() + np.square(other_factor).sum() - 2 * common
    return max(0.0, float(np.square(mean - other_mean).sum() + spread))


def _moments(rows: NDArray[np.float32]) -> tuple[_Array, _Array]:
    """Mean [D] of `rows` [N, D] and a factor F [min(N, D), D] of their covariance F^T F."""
    count, width = rows.shape
    mean = sum((tile.sum(axis=0) for _, tile in _tiles(rows)), np.zeros(width)) / count
    if count <= width:
        return mean, (rows - mean) / np.sqrt(count - 1)
    scatter = np.zeros((width, width))
    for _, tile in _tiles(rows):
        tile -= mean
        scatter += tile.T @ tile
    variances, axes = np.linalg.eigh(scatter / (count - 1))
    return mean, np.sqrt(variances.clip(0))[:, None] * axes.T


def kernel_distance(
    real: NDArray[np.float32],
    generated: NDArray[np.float32],
    *,
    block: int = 1000,
    unit: bool = True,
) -> Interval:
    """Squared maximum mean discrepancy under the kernel (x.y / D + 1)^3, without bias.

    Both sets are cut to the length of the shorter, then into as many consecutive blocks as `block`
    rows each allow; rows left over are shared out, so blocks differ by at most one row. The figure
    is the mean over blocks: its cost is linear in rows.

    Args:
      real: [R, D] float32 unit rows in random order, R >= 2.
      generated: [G, D] likewise.
      block: rows of a block, at least 2. Fewer rows than that are one block.
      unit: false: rows are raw features of any length.

    Returns:
      The estimate with its 95 % interval by Student t over blocks; no interval below 8 blocks.
      Being unbiased, it may be negative, and for equal distributions often is.

    Raises:
      ValueError: as `frechet_distance`; `block` below 2.

    References:
      Binkowski et al. 2018, section 4 (KID); Gretton et al. 2012, Eq. 3. Deviation from the usual
      code: disjoint blocks instead of random subsets, which overlap and have no standard error.
    """
    _check(real, generated, least=2, unit=unit)
    if block < 2:
        raise ValueError(f"block must be at least 2, got {block}")
    rows = min(len(real), len(generated))
    count = max(1, rows // block)
    pairs = zip(*(np.array_split(side[:rows], count) for side in (real, generated)), strict=True)
    values = np.array([_discrepancy(*(side.astype(np.float64) for side in pair)) for pair in pairs])
    estimate = float(values.mean())
    if count < MIN_GROUPS:
        return Interval(estimate, None, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Interval(estimate, estimate - half, estimate + half)


def _discrepancy(rows: _Array, others: _Array) -> float:
    """Unbiased squared discrepancy of [N, D] from [N, D]: no row meets itself."""
    total = -2 * float(_kernel(rows, others).mean())
    for side in (rows, others):
        kernel = _kernel(side, side)
        total += float(kernel.sum() - kernel.trace()) / (len(side) * (len(side) - 1))
    return total


def _kernel(rows: _Array, others: _Array) -> _Array:
    base: _Array = rows @ others.T / rows.shape[1] + 1
    return base * base * base  # a sixth of the time of a power


def density_and_coverage(
    real: NDArray[np.float32], generated: NDArray[np.float32], *, k: int = 5
) -> tuple[float, float]:
    """How crowded generated rows are where real ones are, and how many real rows they reach.

    A real row's radius is the distance to its k-th nearest other real row. Density is the number
    of pairs of a generated row strictly within the radius of a real one, over k G. Coverage is the
    share of real rows with at least one generated row strictly within their radius.

    Args:
      real: [R, D] float32 unit rows, R > k.
      generated: [G, D] likewise, G >= 1.
      k: which nearest other real row sets the radius, at least 1.

    Returns:
      Density >= 0, about 1 for equal distributions and not bounded by it: a collapse onto crowded
      real rows raises it. Coverage in [0, 1], about 1 - 2^-k for equal distributions and R = G.
      Exact and independent of order: distances are Euclidean, in float64, and taken from the
      difference where a product leaves a comparison open, so a copy is at 0 and equal distances
      are equal. A real row with k copies among the real ones has radius 0: nothing is strictly
      within, not even a copy, and it is never covered.

    Raises:
      ValueError: wrong rank or type, differing D, rows that are not unit, none, k out of range.

    References:
      Naeem et al. 2020, section 3 (density, coverage). Deviation from the authors' code: that
      leaves ties to the noise of a product.
    """
    _check(real, generated, least=1)
    if not 1 <= k < len(real):
        raise ValueError(f"k must be at least 1 and below the {len(real)} real rows, got {k}")
    radii = _squared_radii(real, k)
    cuts = np.where(radii > 0, radii, -np.inf)[:, None]  # nothing is nearer than a copy
    pairs, covered = 0, np.zeros(len(real), dtype=np.bool_)
    for place, some in _tiles(real):
        for _, others in _tiles(generated):
            squared = _squared(some, others)
            _settle(squared, np.abs(squared - cuts[place]) <= _noise(some), some, others)
            inside = squared < cuts[place]
            pairs += int(np.count_nonzero(inside))
            covered[place] |= inside.any(axis=1)
    return pairs / (k * len(generated)), float(np.count_nonzero(covered) / len(real))


def _squared_radii(rows: NDArray[np.float32], k: int) -> _Array:
    """[N] squared distance of each row [N, D] to its k-th nearest other: the k + 1-st of all."""
    found = np.empty(len(rows))
    for place, some in _tiles(rows):
        near = np.full((len(some), k + 1), np.inf)
        for _, others in _tiles(rows):
            squared = _squared(some, others)
            known = cut = near.max(axis=1)
            if np.isinf(known).any():
                cut = np.partition(np.hstack([near, squared]), k, axis=1)[:, k]
            open_ = (squared <= cut[:, None] + _noise(some)) & (known > 0)[:, None]
            _settle(squared, open_, some, others)
            changed = open_.any(axis=1)
            both = np.hstack([near[changed], squared[changed]])
            near[changed] = np.partition(both, k, axis=1)[:, : k + 1]
        found[place] = near.max(axis=1)
    return found


def _squared(some: _Array, others: _Array) -> _Array:
    """[A, B] squared distances by a product: fast, and off by less than `_noise`."""
    out = some @ others.T
    out *= -2
    out += np.einsum("ij,ij->i", some, some)[:, None]
    out += np.einsum("ij,ij->i", others, others)
    return np.asarray(out)


def _noise(rows: _Array) -> float:
    """Twice what `_squared` and `_settle` may differ by, for unit rows [., D] in any order."""
    return float(rows.shape[1] + 4) * 2.0**-49


def _settle(squared: _Array, open_: NDArray[np.bool_], some: _Array, others: _Array) -> None:
    """Squared distances [A, B] by the difference where `open_`: the same bits wherever they are."""
    rows, columns = np.nonzero(open_)
    step = max(1, _BUFFER // some.shape[1])
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        squared[i, j] = np.square(some[i] - others[j]).sum(axis=1)


def _tiles(rows: NDArray[np.float32]) -> Iterator[tuple[slice, _Array]]:
    """(where, rows in float64), one after the other."""
    step = min(_TILE, max(64, _BUFFER // rows.shape[1]))
    for start in range(0, len(rows), step):
        place = slice(start, start + step)
        yield place, rows[place].astype(np.float64)


def _check(
    real: NDArray[np.float32], generated: NDArray[np.float32], *, least: int, unit: bool = True
) -> None:
    for name, rows in (("real", real), ("generated", generated)):
        (check_unit_rows if unit else _check_finite_rows)(name, rows)
        if len(rows) < least:
            raise ValueError(f"at least {least} {name} rows are needed, got {len(rows)}")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(f"real has {real.shape[1]} columns, generated {generated.shape[1]}")


def _check_finite_rows(name: str, rows: NDArray[np.float32]) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32 or rows.shape[1] == 0:
        raise ValueError(f"{name} must be float32 [N, D], got {rows.dtype} {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must have finite rows, got NaN or infinity")
