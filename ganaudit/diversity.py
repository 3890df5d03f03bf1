"""Companions of the score that need no reference set: how many modes, copies, Vendi, a crowd.

All are functions of the tally but the Vendi score, which has sums of its own (`Moments`). Nothing
is centred or whitened: the own mean hides the disease.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from ganaudit.intervals import CONFIDENCE, MIN_GROUPS, Estimate, Interval, pair_rate
from ganaudit.slots import GROUPS, group_of, ranges
from ganaudit.tally import Tally

LEVEL = 0.05  # of the test for near copies, over all anchors
ORDERS = ("order_1", "order_2", "order_inf")
_LARGEST = 2**25  # float64 values of second moments that are kept
_AT_ONCE = 256  # rows a product: fewer are slower to add up than to multiply
_STRIPE = 128  # rows of a symmetric product that are made at once, from the diagonal on
_SQUARE_OFF = 3e-3  # of a mean squared length from 1, where rows are within 1e-3 of it
_SAME = 9  # decimals: products with the mean embedding of float32 rows know no more


def effective_modes(tally: Tally) -> Interval:
    """Number of equally likely modes of which two samples would be within the radius as often.

    Returns:
      1 / mean rate of pairs at distance <= radius. None: an infinite estimate where no pair is
      within, an infinite upper end above a finite lower one; else it cannot be said.
    """
    return _inverse(pair_rate(tally)) if tally.n.any() else Interval(None, None, None)


def birthday_support(tally: Tally) -> Interval:
    """Number of equally likely images of which two samples would be near copies as often.

    Returns:
      1 / mean rate of pairs at distance <= radius / 2; None as in `effective_modes`.

    References:
      Arora & Zhang, "Do GANs actually learn the distribution? An empirical study", 2017; here all
      pairs count. These counts have no groups, but anchors and samples are draws of one population
      and "within radius / 2" is symmetric, so the variance of the anchors' true rates counts over m
      and again over n: V = V_A + max(0, V_A - V_N) m / n.
    """
    m, n = len(tally.within_half), int(tally.n.sum())
    if n == 0:
        return Interval(None, None, None)
    rate = tally.within_half / n  # [m]
    mean, unseen = float(rate.mean()), 3 / min(m, n)
    if m < 2:
        return _inverse(Estimate(mean, None, 0, unseen))
    over_anchors = float(rate.var(ddof=1)) / m
    of_pairs = float((rate - rate**2).mean()) / (n * m)
    variance = over_anchors + max(0.0, over_anchors - of_pairs) * m / n
    return _inverse(Estimate(mean, variance, m - 1, unseen))


@dataclass(frozen=True)
class NearCopies:
    """Which anchors have more samples close by than a smooth population would put there.

    Attributes:
      level: share of sets without near copies that alarm, at most.
      anchors_tested: m.
      p: the smallest of `adjusted`.
      flagged: int64 numbers of the anchors with adjusted p <= level, smallest first; ties: more
        samples within half the radius, then lower number.
      adjusted: [m] float64, p of each anchor times m, at most 1.
    """

    level: float
    anchors_tested: int
    p: float
    flagged: NDArray[np.int64]
    adjusted: NDArray[np.float64]


def near_copies(tally: Tally, *, radius: float) -> NearCopies:
    """Test every anchor for samples that are nearly copies of it.

    Where samples spread evenly over at least three dimensions around an anchor, at most `half_ball`
    of its K neighbours lie within half the radius. So K_half is tested against Bin(K, half_ball),
    exactly; Bonferroni over anchors. Modes wider than about half the radius pass.

    Args:
      tally: of m >= 1 anchors.
      radius: of the tally, fraction of pi.
    """
    near, within = tally.within_half, tally.within.sum(axis=1)  # [m]
    tails = stats.binom.sf(near - 1, within, half_ball(radius))
    adjusted = np.minimum(1, tails * len(near))
    order = np.lexsort((-near, adjusted))  # stable: then by number
    return NearCopies(
        level=LEVEL,
        anchors_tested=len(near),
        p=float(adjusted.min()),
        flagged=order[adjusted[order] <= LEVEL],
        adjusted=adjusted,
    )


def half_ball(radius: float) -> float:
    """Share of a ball on the sphere that lies within half its radius, in three dimensions.

    1/8 for a small ball and more for a wide one, whose outer shells are curved inwards: .137 at a
    radius of .25 pi, .5 at pi. In more dimensions it is less.

    Args:
      radius: fraction of pi, in (0, 1].
    """
    angle = np.pi * max(radius, 1e-4)  # below, the difference of nearly equal numbers says nothing
    volumes = [x - np.sin(x) * np.cos(x) for x in (angle / 2, angle)]
    return float(volumes[0] / volumes[1])


class Moments:
    """Second moments of the samples by group of slots, for their Vendi score. Tiles come in.

    Products of float32 rows are exact in float64: no coarse mode of a device (tf32) touches them.

    Attributes:
      groups: kept apart: 32, or the most of 16, 8, 4, 2 that fit 2^25 float64 values, or 1. Group g
        of the tally goes to g modulo that.
    """

    def __init__(self, columns: int, *, device: str | torch.device = "cpu") -> None:
        """`columns`: D of the rows; `device`: where the products run."""
        fitting = max(1, min(GROUPS, _LARGEST // columns**2))
        self.groups = 2 ** (fitting.bit_length() - 1)
        self._columns = columns
        self._n = np.zeros(self.groups, dtype=np.int64)
        kind: Any = {"dtype": torch.float64, "device": device}
        self._sums = torch.zeros(self.groups, columns, **kind)
        self._squares = torch.zeros(self.groups, columns, columns, **kind)  # upper triangles
        self._waiting = torch.zeros(self.groups, _AT_ONCE, columns, **kind)
        self._filled = [0] * self.groups  # rows of `_waiting`

    def add(self, rows: NDArray[np.float32], valid: NDArray[np.bool_], start: int) -> None:
        """Add slots `start` and on; a ValueError refuses another shape or dtype.

        Args:
          rows: [N, D] float32, unit where valid; what is not valid may hold anything.
          valid: [N] bool.
          start: slot of the first row.
        """
        wanted = (len(valid), self._columns)
        if rows.dtype != np.float32 or rows.shape != wanted or valid.dtype != np.bool_:
            got = f"{rows.dtype} {list(rows.shape)} and {valid.dtype}"
            raise ValueError(f"rows must be float32 {list(wanted)} with valid as bool, got {got}")
        group = group_of(np.arange(start, start + len(rows))) % self.groups
        for number in range(self.groups):
            self._put(number, rows[valid & (group == number)])

    def _put(self, group: int, rows: NDArray[np.float32]) -> None:
        """Rows wait until there are enough of a group for a product."""
        self._n[group] += len(rows)
        while len(rows):
            at = self._filled[group]
            part, rows = rows[: _AT_ONCE - at], rows[_AT_ONCE - at :]
            self._waiting[group, at : at + len(part)] = torch.from_numpy(part)
            self._filled[group] += len(part)
            if self._filled[group] == _AT_ONCE:
                self._flush(group)

    def _flush(self, group: int) -> None:
        rows = self._waiting[group, : self._filled[group]]  # [B, D]
        self._sums[group] += rows.sum(dim=0)
        for start, stop in ranges(0, self._columns, _STRIPE):
            stripe = self._squares[group, start:stop, start:]
            stripe.addmm_(rows[:, start:stop].T, rows[:, start:])
        self._filled[group] = 0

    def _total(self, sums: torch.Tensor) -> torch.Tensor:
        """Over groups, when no row waits any more."""
        for group in range(self.groups):
            self._flush(group)
        return sums.sum(dim=0)

    @property
    def n(self) -> int:
        """Valid rows so far."""
        return int(self._n.sum())

    @property
    def mean(self) -> NDArray[np.float64]:
        """[D] mean embedding; zero without any row."""
        return np.asarray(self._total(self._sums).cpu().numpy() / max(1, self.n))

    def vendi(self) -> dict[str, Interval]:
        """Vendi scores: how many rows at right angles to each other would be as diverse.

        Returns:
          By `ORDERS`, of the eigenvalues l of (1/n) sum x x^T: exp(-sum l ln l), 1 / sum l^2,
          1 / max l. 1: all rows are one; at most min(n, D). Lower is worse; it grows with n, so
          compare at equal n. Ends: `log_vendi`; None below 8 groups with rows. Without any row all
          is None.

        Raises:
          ValueError: rows that were added as valid are not of length 1.

        References:
          Friedman & Dieng, "The Vendi Score", 2023; Pasarkar & Dieng, "Cousins of the Vendi Score",
          2024 (orders); Jalali, Li & Farnia, 2023 (RKE, which is order 2). The kernel is the
          cosine: its n x n matrix over n has the same eigenvalues, but for zeros. Deviation: they
          are divided by their sum, which is 1 to float32.
        """
        return {order: vendi_score(found) for order, found in self.log_vendi().items()}

    def log_vendi(self) -> dict[str, Estimate | None]:
        """The logarithms of the Vendi scores, by `ORDERS`; None without any row.

        Their variances are leave-one-group-out jackknifes; None below 8 groups with rows.

        Raises:
          ValueError: rows that were added as valid are not of length 1.
        """
        if self.n == 0:
            return dict.fromkeys(ORDERS)
        total = self._total(self._squares)
        square = float(total.diagonal().sum()) / self.n
        if not abs(square - 1) <= _SQUARE_OFF:
            raise ValueError(f"rows must have length 1, got a mean squared length of {square:.6g}")
        scores, full = _log_vendi(total), np.flatnonzero(self._n)
        if len(full) < MIN_GROUPS:
            return {k: Estimate(float(scores[i]), None, 0, 0.0) for i, k in enumerate(ORDERS)}
        left_out = np.stack([_log_vendi(total - self._squares[group]) for group in full])  # [G, 3]
        variances, degrees = (len(full) - 1) * left_out.var(axis=0), len(full) - 1
        return {
            k: Estimate(float(scores[i]), float(variances[i]), degrees, 0.0)
            for i, k in enumerate(ORDERS)
        }


def vendi_score(found: Estimate | None) -> Interval:
    """A Vendi score from its logarithm: ends by Student's t, at least 1; None: no rows."""
    if found is None:
        return Interval(None, None, None)
    if found.variance is None:
        return Interval(float(np.exp(found.value)), None, None)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, found.degrees)) * found.variance**0.5
    ends = np.exp([found.value, max(0.0, found.value - reach), found.value + reach])
    return Interval(*ends.tolist())


def _log_vendi(second: torch.Tensor) -> NDArray[np.float64]:
    """[3] logarithms of the scores in `ORDERS`, from the upper triangle of [D, D] moments."""
    values = torch.linalg.eigvalsh(second, UPLO="U").clamp(min=0)
    shares = values / values.sum()
    largest, squares = shares.max(), shares.square().sum()
    entropies = torch.stack([torch.special.entr(shares).sum(), -squares.log(), -largest.log()])
    return np.asarray(entropies.clamp(min=0).cpu().numpy())


@dataclass(frozen=True)
class Crowd:
    """Whether the dense anchors are just those in the middle of all samples.

    Attributes:
      norm_of_mean_embedding: 0: rows point everywhere; 1: all rows are one.
      rank_correlation: Spearman's, of neighbour counts and cosines to the mean embedding; near 1:
        the worst mode is the centre of a crowd. None: one of them is constant.
    """

    norm_of_mean_embedding: float
    rank_correlation: float | None


def crowd(
    anchors: NDArray[np.float32], mean: NDArray[np.float64], counts: NDArray[np.int64]
) -> Crowd:
    """From unit rows [m, D] with `counts` [m] neighbours, and the samples' `mean` [D]."""
    along = np.round(anchors.astype(np.float64) @ mean, _SAME)  # [m] ranks as the cosine does
    varied = np.ptp(along) > 0 and np.ptp(counts) > 0
    ranks = stats.rankdata(counts), stats.rankdata(along)
    correlation = float(np.corrcoef(*ranks)[0, 1]) if varied else None
    return Crowd(float(np.linalg.norm(mean)), correlation)


def _inverse(rate: Estimate) -> Interval:
    """1 / the rate; the ends change places."""
    found = rate.interval()
    return Interval(*(1 / end if end else None for end in (found.estimate, found.high, found.low)))
