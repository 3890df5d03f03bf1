"""From a tally to the figures of a report: pure functions of sums and counts."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.diversity import (
    Crowd,
    Moments,
    NearCopies,
    birthday_support,
    crowd,
    effective_modes,
    near_copies,
    vendi_score,
)
from ganaudit.intervals import (
    CONFIDENCE,
    Estimate,
    Interval,
    WorstMode,
    densest,
    limit_of_mu,
    mean_similarity,
    mu_at_n,
    pooled_mccs,
    quantile_at_n,
    sigma_at_n,
    wilson,
    worst_mode,
)
from ganaudit.rarefaction import Point, box, convergence
from ganaudit.scores import FORM, REFERENCE_CODE_FORM, mccs, mccs_reference_code
from ganaudit.tally import Tally, cosine_cut

DENSE_MODES = 24
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS = 40
_FLAGGED_SHOWN = 24
_SAME = 12  # decimals: scores that differ by rounding alone span no histogram


@dataclass(frozen=True)
class Mode:
    """One anchor and how densely samples crowd around it.

    Attributes:
      anchor: its slot.
      count: samples at distance <= radius.
      rate: share of samples at distance <= radius. Of the worst mode: its own share, which flatters
        the collapse, between ends for the largest true share of any of the anchors. Of a dense
        mode: from the half of the samples that did not choose it.
      mean_similarity: mean of s(d) over samples, in [0, 1].
      mccs: Eq. 7 of it, in [0, 1].
      distance_to_denser: to the nearest denser mode, fraction of pi; None for the densest.
    """

    anchor: int
    count: int
    rate: Interval
    mean_similarity: float
    mccs: float
    distance_to_denser: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Intra-mode collapse of one generator under one descriptor, theta and radius.

    Attributes:
      anchors: m, anchors scored.
      samples: n, samples scored. mu and sigma depend on it: compare them at equal n only.
      radius: of a neighbourhood, fraction of pi.
      mean_similarity: mean of s(d) over all pairs; unbiased at any n.
      pooled_mccs: MCCS of it.
      mu: mean of MCCS over anchors, at n.
      sigma: standard deviation of MCCS over anchors (ddof = 1), at n; None for one anchor.
      mu_limit: (low, high), a bracket for mu as n grows.
      quantiles: of MCCS over anchors, at n, by probability.
      worst_mode: the anchor with most samples within the radius (Eq. 9); ties go to the larger
        mean similarity, then to the lowest slot.
      worst_apart: the same, chosen and scored on different halves; None for few samples.
      largest_mccs: over anchors; the worst mode need not be the anchor that has it.
      median_rate: median over anchors of the share of samples within the radius.
      dense_modes: densest first, no two within the radius of each other; empty without `rows`.
      convergence: the main figures at fewer samples.
      effective_modes: 1 / mean rate of pairs within the radius.
      birthday_support: 1 / mean rate of pairs within half the radius.
      near_copies: of the binomial test.
      vendi: score by order; None without moments.
      log_vendi: the logarithm of that of order 1, with its variance; None without moments.
      crowd: how far density is explained by the centre of all samples; None without moments.
      tally: behind all of it.
      similarity_by_anchor: [m] float64, mean of s(d) over samples.
      mccs_by_anchor: [m] float64.
      count_by_anchor: [m] int64, samples at distance <= radius.
      slot_by_anchor: [m] int64.
    """

    anchors: int
    samples: int
    radius: float
    mean_similarity: Interval
    pooled_mccs: Interval
    mu: Interval
    sigma: Interval | None
    mu_limit: tuple[float | None, float | None]
    quantiles: dict[float, Interval]
    worst_mode: Mode
    worst_apart: WorstMode | None
    largest_mccs: float
    median_rate: float
    dense_modes: list[Mode]
    convergence: list[Point]
    effective_modes: Interval
    birthday_support: Interval
    near_copies: NearCopies
    vendi: dict[str, Interval] | None
    log_vendi: Estimate | None
    crowd: Crowd | None
    tally: Tally
    similarity_by_anchor: NDArray[np.float64]
    mccs_by_anchor: NDArray[np.float64]
    count_by_anchor: NDArray[np.int64]
    slot_by_anchor: NDArray[np.int64]

    def figures(self) -> dict[str, Any]:
        """Every figure as JSON values; the arrays by anchor stay out."""
        return {
            "anchors": self.anchors,
            "samples": self.samples,
            "confidence": CONFIDENCE,
            "mean_similarity": self.mean_similarity.figures(),
            "mccs": self._mccs_figures(),
            "mccs_reference_code": self._reference_code_figures(),
            "worst_mode": self._worst_figures(),
            "median_rate": self.median_rate,
            "effective_modes": {"radius": self.radius, **self.effective_modes.figures()},
            "birthday_support": {"radius": self.radius / 2, **self.birthday_support.figures()},
            "dense_modes": [
                {
                    "rank": rank,
                    "anchor": mode.anchor,
                    "count": mode.count,
                    "rate": mode.rate.figures(),
                    "mccs": mode.mccs,
                    "distance_to_denser": mode.distance_to_denser,
                }
                for rank, mode in enumerate(self.dense_modes, start=1)
            ],
            "convergence": [
                {
                    "samples": point.samples,
                    "mean_similarity": point.mean_similarity.figures(),
                    "mu": point.mu.figures(),
                    "worst_rate": (point.worst_rate or Interval(None, None, None)).figures(),
                }
                for point in self.convergence
            ],
            "boxes": [
                {"label": label, **asdict(box(self.tally, share=share))}
                for label, share in (
                    ("a quarter of the samples", 0.25),
                    ("half", 0.5),
                    ("all", 1.0),
                )
            ],
            "near_copies": self._near_copy_figures(),
            "crowd": None if self.crowd is None else asdict(self.crowd),
            "vendi": None
            if self.vendi is None
            else {order: score.figures() for order, score in self.vendi.items()},
        }

    def _mccs_figures(self) -> dict[str, Any]:
        scores = self.mccs_by_anchor.round(_SAME)
        whole = None if np.ptp(scores) else (0.0, 1.0)
        counts, edges = np.histogram(scores, bins=_BINS, range=whole)
        low, high = self.mu_limit
        return {
            "form": FORM,
            "at_samples": self.samples,
            "pooled": self.pooled_mccs.figures(),
            "mu": self.mu.figures(),
            "sigma": None if self.sigma is None else self.sigma.figures(),
            "largest": self.largest_mccs,
            "limit": {
                "low": low,
                "high": high,
                "anchors_without_a_hit": float((self.similarity_by_anchor == 0).mean()),
            },
            "quantiles": [
                {"probability": probability, **quantile.figures()}
                for probability, quantile in self.quantiles.items()
            ],
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        }

    def _reference_code_figures(self) -> dict[str, Any]:
        scores = mccs_reference_code(self.similarity_by_anchor)
        with np.errstate(invalid="ignore"):  # among infinite scores the spread is NaN: null
            spread = scores.std(ddof=1) if self.anchors > 1 else np.nan
        return {
            "form": REFERENCE_CODE_FORM,
            "at_samples": self.samples,
            "mu": _finite(scores.mean()),
            "sigma": _finite(spread),
            "largest": _finite(scores.max()),
        }

    def _worst_figures(self) -> dict[str, Any]:
        worst, apart = self.worst_mode, self.worst_apart
        share = worst.count / self.samples
        return {
            "anchor": worst.anchor,
            "count": worst.count,
            "rate": worst.rate.figures(),
            "times_median_rate": share / self.median_rate if self.median_rate else None,
            "mean_similarity": worst.mean_similarity,
            "mccs": worst.mccs,
            "mccs_reference_code": _finite(
                float(mccs_reference_code(np.array(worst.mean_similarity)))
            ),
            "samples_to_halve_interval": None if apart is None else apart.samples_to_halve,
            "chosen_and_scored_apart": None
            if apart is None
            else {
                "anchors": [int(self.slot_by_anchor[a]) for a in apart.anchors],
                "rate": apart.rate.figures(),
                "mean_similarity": apart.mean_similarity.figures(),
            },
        }

    def _near_copy_figures(self) -> dict[str, Any]:
        found = self.near_copies
        return {
            "radius": self.radius,
            "level": found.level,
            "anchors_tested": found.anchors_tested,
            "p": found.p,
            "flagged": len(found.flagged),
            "anchors": [
                {
                    "anchor": int(self.slot_by_anchor[a]),
                    "count": int(self.count_by_anchor[a]),
                    "count_half": int(self.tally.within_half[a]),
                    "p": float(found.adjusted[a]),
                }
                for a in found.flagged[:_FLAGGED_SHOWN]
            ],
        }


def diagnose_tally(
    tally: Tally,
    *,
    radius: float,
    slots: NDArray[np.int64] | None = None,
    rows: NDArray[np.float32] | None = None,
    moments: Moments | None = None,
) -> Diagnosis:
    """The figures of a tally.

    Args:
      tally: of m anchors against at least one sample.
      radius: of the tally, a fraction of pi.
      slots: [m] slot of each anchor, ascending; None: 0 .. m - 1.
      rows: [m, D] float32, the anchors' embeddings, which say which modes are one.
      moments: second moments of the samples.

    Raises:
      ValueError: no samples; there is nothing to say about.

    References:
      Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse: Eq. 7 (MCCS, with the natural
      logarithm and its limit 0 where an anchor has no neighbour), Eq. 8 (mu, sigma), Eq. 9 (worst
      mode). Deviation from the authors' code: that prints 1 / -log10 x
      (`ganaudit.scores.mccs_reference_code`). Intervals: `ganaudit.intervals`.
    """
    n = int(tally.n.sum())
    if n == 0:
        raise ValueError("no samples were scored")
    mean = tally.similarity.sum(axis=1) / n  # [m]
    counts = tally.within.sum(axis=1)  # [m]
    scores = mccs(mean)
    slots = np.arange(len(mean)) if slots is None else slots
    apart = worst_mode(tally)
    worst = int(densest(tally, np.arange(len(tally.n)))[0])
    alone = Interval(float(counts[worst] / n), None, None)
    logs = None if moments is None else moments.log_vendi()
    return Diagnosis(
        anchors=len(mean),
        samples=n,
        radius=radius,
        mean_similarity=mean_similarity(tally).interval(),
        pooled_mccs=pooled_mccs(tally),
        mu=mu_at_n(tally).interval(),
        sigma=sigma_at_n(tally),
        mu_limit=limit_of_mu(tally),
        quantiles={p: quantile_at_n(tally, p) for p in _QUANTILES},
        worst_mode=Mode(
            anchor=int(slots[worst]),
            count=int(counts[worst]),
            rate=alone if apart is None else apart.largest_rate,
            mean_similarity=float(mean[worst]),
            mccs=float(scores[worst]),
        ),
        worst_apart=apart,
        largest_mccs=float(scores.max()),
        median_rate=float(np.median(counts) / n),
        dense_modes=[]
        if rows is None
        else [
            replace(mode, anchor=int(slots[mode.anchor]))
            for mode in dense_modes(tally, rows, radius=radius)
        ],
        convergence=convergence(tally),
        effective_modes=effective_modes(tally),
        birthday_support=birthday_support(tally),
        near_copies=near_copies(tally, radius=radius),
        vendi=None if logs is None else {k: vendi_score(one) for k, one in logs.items()},
        log_vendi=None if logs is None else logs["order_1"],
        crowd=None if rows is None or moments is None else crowd(rows, moments.mean, counts),
        tally=tally,
        similarity_by_anchor=mean,
        mccs_by_anchor=scores,
        count_by_anchor=counts,
        slot_by_anchor=slots,
    )


def dense_modes(
    tally: Tally, rows: NDArray[np.float32], *, radius: float, most: int = DENSE_MODES
) -> list[Mode]:
    """The densest anchors, none within the radius of a denser one.

    The first half of the groups chooses and orders them, the second says how dense they are: a mode
    is not flattered by the samples that chose it. Its interval is for this mode, not for all at
    once. Fewer than 2 groups: no modes.

    Args:
      tally: of m anchors.
      rows: [m, D] float32 unit rows of the anchors.
      radius: fraction of pi.
      most: how many at most; anchors without a neighbour in the first half are none.

    Returns:
      At most `most`; their `anchor` is a row number.
    """
    full = np.flatnonzero(tally.n)
    choosing, scoring = full[: len(full) // 2], full[len(full) // 2 :]
    n, left = int(tally.n.sum()), tally.within[:, choosing].sum(axis=1) > 0
    order = densest(tally, choosing)
    wide, cut = rows.astype(np.float64), cosine_cut(radius)
    nearest = np.full(len(rows), -1.0)  # cosine to the nearest mode so far
    modes: list[Mode] = []
    for anchor in order:
        if len(modes) == most or not left[anchor]:
            break
        if modes and nearest[anchor] >= cut:
            continue
        similarity = float(tally.similarity[anchor].sum() / n)
        modes.append(
            Mode(
                anchor=int(anchor),
                count=int(tally.within[anchor].sum()),
                rate=wilson(int(tally.within[anchor, scoring].sum()), int(tally.n[scoring].sum())),
                mean_similarity=similarity,
                mccs=float(mccs(np.array(similarity))),
                distance_to_denser=float(np.arccos(nearest[anchor]) / np.pi) if modes else None,
            )
        )
        np.maximum(nearest, wide @ wide[anchor], out=nearest)
    return modes


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
