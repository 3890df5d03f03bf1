"""The figures of a run that are held against limits, or against those of another run.

They stand in every report.json ("comparable"), so that a verdict needs neither rows nor generator.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ganaudit.extremes import Extreme, Hits, extremes
from ganaudit.intervals import Estimate, Interval, mean_similarity, mu_at_n
from ganaudit.ratios import Share, ratio, ratio_of_extremes
from ganaudit.tally import Tally

SHARES = ("near-copies", "duplicates", "faceless", "failures")
_MOST = 2**53  # of counts: a float knows no larger ones exactly
_ONE = 1 + 1e-6  # rounded up
_LEAST = 1e-30  # of what is not 0: sums are in steps of 2^-30, of at most 2^53 pairs
_SPREAD = 100.0  # standard deviations are at most so many times a figure that is at least 0
_UNKNOWN = Interval(None, None, None)


@dataclass(frozen=True)
class Comparable:
    """The figures of m anchors against n samples, with what their intervals need.

    Attributes:
      anchors: m, scored.
      samples: n, scored.
      pairs: mean similarity over all pairs.
      mu: mean MCCS over anchors, at n.
      worst_rate: of the worst mode; None for few samples.
      worst_similarity: likewise, its mean similarity.
      vendi: the logarithm of the Vendi score of order 1, at n; None: it was not computed.
      shares: by `SHARES`, what was counted.
    """

    anchors: int
    samples: int
    pairs: Estimate
    mu: Estimate
    worst_rate: Extreme | None
    worst_similarity: Extreme | None
    vendi: Estimate | None = None
    shares: Mapping[str, Share] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tally: Tally,
        *,
        vendi: Estimate | None = None,
        shares: Mapping[str, Share] | None = None,
    ) -> "Comparable":
        """Of a tally of at least one sample, and of what has sums or counts of its own."""
        found = extremes(tally)
        return cls(
            anchors=len(tally.squares),
            samples=int(tally.n.sum()),
            pairs=mean_similarity(tally),
            mu=mu_at_n(tally),
            worst_rate=None if found is None else found[0],
            worst_similarity=None if found is None else found[1],
            vendi=vendi,
            shares=shares or {},
        )

    def figures(self) -> dict[str, Any]:
        """Three of them as JSON values with intervals; the worst mode chosen and scored apart."""
        worst = _UNKNOWN if self.worst_rate is None else self.worst_rate.interval
        return {
            "mean_similarity": self.pairs.interval().figures(),
            "mu": self.mu.interval().figures(),
            "worst_rate": worst.figures(),
        }

    def over(self, other: "Comparable") -> dict[str, Interval]:
        """These three over the other's, by name."""
        worst = _UNKNOWN
        if self.worst_rate is not None and other.worst_rate is not None:
            worst = ratio_of_extremes(self.worst_rate, other.worst_rate).interval()
        return {
            "mean_similarity": ratio(self.pairs, other.pairs).interval(),
            "mu": ratio(self.mu, other.mu).interval(),
            "worst_rate": worst,
        }

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {**asdict(self), "shares": {name: asdict(one) for name, one in self.shares.items()}}

    @classmethod
    def read(cls, document: Any) -> "Comparable":
        """From JSON values that somebody else may have written.

        Raises:
          ValueError: something is missing, of another kind, or impossible.
        """
        found = _table(document, "comparable")
        shares = _table(found.get("shares"), "shares")
        vendi = found.get("vendi")
        return cls(
            anchors=_whole(found, "anchors", least=1),
            samples=_whole(found, "samples", least=1),
            pairs=_estimate(found, "pairs"),
            mu=_estimate(found, "mu"),
            worst_rate=_extreme(found, "worst_rate"),
            worst_similarity=_extreme(found, "worst_similarity"),
            vendi=None if vendi is None else _estimate(found, "vendi", logarithm=True),
            shares={name: _share(shares, name) for name in SHARES if name in shares},
        )


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a table, got {_said(value)}")
    return value


def _number(found: Mapping[str, Any], name: str, *, least: float = 0.0, most: float) -> float:
    value: Any = found.get(name)
    if type(value) not in (int, float) or not least <= value <= most:  # NaN is in no range
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {_said(value)}")
    return float(value)


def _whole(found: Mapping[str, Any], name: str, *, least: int = 0, most: int = _MOST) -> int:
    value = found.get(name)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(
            f"{name} must be a whole number from {least} to {most}, got {_said(value)}"
        )
    return value


def _said(value: Any) -> str:
    """A value in a message; what holds others may be nested deeper than repr can follow."""
    return type(value).__name__ if isinstance(value, dict | list) else f"{value!r:.40}"


def _estimate(found: Mapping[str, Any], name: str, *, logarithm: bool = False) -> Estimate:
    one = _table(found.get(name), name)
    value = _number(one, "value", most=64.0 if logarithm else _ONE)
    if not logarithm and 0 < value < _LEAST:
        raise ValueError(f"the value of {name} must be 0 or at least {_LEAST:g}, got {value:g}")
    spread = 1e3 if logarithm else (_SPREAD * value) ** 2
    known = one.get("variance") is not None
    return Estimate(
        value=value,
        variance=_number(one, "variance", most=spread) if known else None,
        degrees=_number(one, "degrees", least=0.5 if known else 0.0, most=1e12),
        unseen=_number(one, "unseen", most=3.0),
    )


def _hits(found: Mapping[str, Any], name: str, samples: int) -> Hits:
    one = _table(found.get(name), name)
    unit = _number(one, "unit", least=1e-12, most=_ONE)
    return Hits(_number(one, "hits", most=_ONE * samples / unit), unit)


def _extreme(found: Mapping[str, Any], name: str) -> Extreme | None:
    if found.get(name) is None:
        return None
    one = _table(found.get(name), name)
    samples = _whole(one, "samples", least=1)
    return Extreme(
        apart=_hits(one, "apart", samples),
        largest=_hits(one, "largest", samples),
        samples=samples,
        **{end: _number(one, end, most=_ONE) for end in ("low", "high", "upper")},
    )


def _share(found: Mapping[str, Any], name: str) -> Share:
    one = _table(found.get(name), name)
    of = _whole(one, "of")
    return Share(_whole(one, "count", most=of), of)
