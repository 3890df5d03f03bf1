"""From a tally to the figures of a report: pure functions of sums and counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.tally import Tally

MCCS_FORM = "1 / (1 - ln x), x the mean similarity"


@dataclass(frozen=True)
class Mode:
    """One anchor and how densely samples crowd around it.

    Attributes:
      anchor: its slot.
      count: samples at distance <= radius.
      rate: count over samples scored.
      mean_similarity: mean of s(d) over samples, in [0, 1].
      mccs: Eq. 7 of it, in [0, 1].
    """

    anchor: int
    count: int
    rate: float
    mean_similarity: float
    mccs: float


@dataclass(frozen=True)
class Diagnosis:
    """Intra-mode collapse of one generator under one descriptor, theta and radius.

    Attributes:
      anchors: m, anchors scored.
      samples: n, samples scored. mu and sigma depend on it: compare them at equal n only.
      mean_similarity: mean of s(d) over all pairs; unbiased at any n.
      mu: mean of MCCS over anchors, at n.
      sigma: standard deviation of MCCS over anchors (ddof = 1), at n; None for one anchor.
      worst_mode: the anchor with most samples within the radius (Eq. 9); ties go to the larger
        mean similarity, then to the lowest slot.
      largest_mccs: over anchors; the worst mode need not be the anchor that has it.
      median_rate: median over anchors of the share of samples within the radius.
      similarity_by_anchor: [m] float64, mean of s(d) over samples.
      mccs_by_anchor: [m] float64.
      count_by_anchor: [m] int64, samples at distance <= radius.
      slot_by_anchor: [m] int64.
    """

    anchors: int
    samples: int
    mean_similarity: float
    mu: float
    sigma: float | None
    worst_mode: Mode
    largest_mccs: float
    median_rate: float
    similarity_by_anchor: NDArray[np.float64]
    mccs_by_anchor: NDArray[np.float64]
    count_by_anchor: NDArray[np.int64]
    slot_by_anchor: NDArray[np.int64]

    def figures(self) -> dict[str, Any]:
        """Every figure as JSON values; the arrays by anchor stay out."""
        reference = mccs_reference_code(self.similarity_by_anchor)
        with np.errstate(invalid="ignore"):  # among infinite scores the spread is NaN: null
            spread = reference.std(ddof=1) if self.anchors > 1 else np.nan
        worst = self.worst_mode
        return {
            "anchors": self.anchors,
            "samples": self.samples,
            "mean_similarity": self.mean_similarity,
            "mccs": {
                "form": MCCS_FORM,
                "at_samples": self.samples,
                "mu": self.mu,
                "sigma": self.sigma,
                "largest": self.largest_mccs,
            },
            "mccs_reference_code": {
                "form": "1 / -log10 x, as the published tables were made",
                "at_samples": self.samples,
                "mu": _finite(reference.mean()),
                "sigma": _finite(spread),
                "largest": _finite(reference.max()),
            },
            "worst_mode": {
                "anchor": worst.anchor,
                "count": worst.count,
                "rate": worst.rate,
                "times_median_rate": worst.rate / self.median_rate if self.median_rate else None,
                "mean_similarity": worst.mean_similarity,
                "mccs": worst.mccs,
                "mccs_reference_code": _finite(
                    float(mccs_reference_code(np.array(worst.mean_similarity)))
                ),
            },
            "median_rate": self.median_rate,
        }


def diagnose_tally(tally: Tally, *, slots: NDArray[np.int64] | None = None) -> Diagnosis:
    """The figures of a tally.

    Args:
      tally: of m anchors against at least one sample.
      slots: [m] slot of each anchor; None: 0 .. m - 1.

    Raises:
      ValueError: no samples; there is nothing to say about.

    References:
      Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse: Eq. 7 (MCCS, with the natural
      logarithm and its limit 0 where an anchor has no neighbour), Eq. 8 (mu, sigma), Eq. 9 (worst
      mode). Deviation from the authors' code: that prints 1 / -log10 x
      (`mccs_reference_code`).
    """
    n = int(tally.n.sum())
    if n == 0:
        raise ValueError("no samples were scored")
    mean = tally.similarity.sum(axis=1) / n  # [m]
    counts = tally.within.sum(axis=1)  # [m]
    scores = mccs(mean)
    slots = np.arange(len(mean)) if slots is None else slots
    worst = int(np.lexsort((slots, -mean, -counts))[0])
    return Diagnosis(
        anchors=len(mean),
        samples=n,
        mean_similarity=float(mean.mean()),
        mu=float(scores.mean()),
        sigma=float(scores.std(ddof=1)) if len(mean) > 1 else None,
        worst_mode=Mode(
            anchor=int(slots[worst]),
            count=int(counts[worst]),
            rate=float(counts[worst] / n),
            mean_similarity=float(mean[worst]),
            mccs=float(scores[worst]),
        ),
        largest_mccs=float(scores.max()),
        median_rate=float(np.median(counts) / n),
        similarity_by_anchor=mean,
        mccs_by_anchor=scores,
        count_by_anchor=counts,
        slot_by_anchor=slots,
    )


def mccs(mean_similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Monte-Carlo based collapse score, 1 / (1 - ln x) of the mean similarity x.

    Args:
      mean_similarity: any shape, in [0, 1].

    Returns:
      Same shape, in [0, 1]: 1 where every sample coincides with the anchor, 0 (the limit) where
      none is within theta. Increasing in x.

    References:
      Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Eq. 7, natural logarithm.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (1 - np.log(mean_similarity)))


def mean_similarity_of_mccs(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `mccs`: exp(1 - 1 / score); 0 for 0. Exact for one anchor, not for mu."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(1 - 1 / np.asarray(score, dtype=np.float64)))


def mccs_reference_code(mean_similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / -log10 x: what the paper's code computes, for comparison with its published tables.

    Unbounded: above 1 from x = 0.1 on, infinite at x = 1; 0 (the limit) at x = 0.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.abs(np.log10(mean_similarity)))


def mean_similarity_of_reference_code(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `mccs_reference_code`: 10 ** (-1 / score); 0 for 0. Exact for one anchor only."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 ** (-1 / np.asarray(score, dtype=np.float64)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
