"""The figures of a tally that are held against those of another."""

from dataclasses import dataclass
from typing import Any

from ganaudit.intervals import (
    Estimate,
    Interval,
    WorstMode,
    mean_similarity,
    mu_at_n,
    ratio,
    worst_mode,
    worst_rate_ratio,
)
from ganaudit.tally import Tally


@dataclass(frozen=True)
class Comparable:
    """Three figures of one tally, with what their intervals need.

    Attributes:
      pairs: mean similarity over all pairs.
      mu: mean MCCS over anchors, at n.
      worst: the worst mode, chosen and scored apart; None for few samples.
    """

    pairs: Estimate
    mu: Estimate
    worst: WorstMode | None

    @classmethod
    def of(cls, tally: Tally) -> "Comparable":
        """Of a tally of at least one sample."""
        return cls(mean_similarity(tally), mu_at_n(tally), worst_mode(tally))

    def figures(self) -> dict[str, Any]:
        """As JSON values."""
        worst = Interval(None, None, None) if self.worst is None else self.worst.rate
        return {
            "mean_similarity": self.pairs.interval().figures(),
            "mu": self.mu.interval().figures(),
            "worst_rate": worst.figures(),
        }

    def over(self, other: "Comparable") -> dict[str, Interval]:
        """Each figure over the other's, by name."""
        worst = Interval(None, None, None)
        if self.worst is not None and other.worst is not None:
            worst = worst_rate_ratio(self.worst, other.worst)
        return {
            "mean_similarity": ratio(self.pairs, other.pairs),
            "mu": ratio(self.mu, other.mu),
            "worst_rate": worst,
        }
