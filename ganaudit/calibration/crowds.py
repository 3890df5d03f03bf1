"""What a finished run says about where its generator is crowded: the data that calibrators fit."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.tally import cosine_cut

MOST_MODES = 64  # that a calibrator is built for
_CANDIDATES = 1024  # anchors that are followed: no other can become the worst
_BLOCK = 2048


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Neighbourhoods of a run's densest anchors.

    Attributes:
      anchors: [C, D] float32 unit rows: the C anchors with most neighbours, most first.
      slots: [C] int64, their anchor slots.
      hits: [C, N] bool: sample i lies within the radius of anchor c.
      rows: [N, D] float32 unit rows, the samples.
      samples: [N] int64, their sample slots.
      radius: fraction of pi.
      median: rate of the median anchor, of all that the run has: what other identities get.
    """

    anchors: NDArray[np.float32]
    slots: NDArray[np.int64]
    hits: NDArray[np.bool_]
    rows: NDArray[np.float32]
    samples: NDArray[np.int64]
    radius: float
    median: float

    @classmethod
    def of(
        cls,
        anchors: NDArray[np.float32],
        slots: NDArray[np.int64],
        rows: NDArray[np.float32],
        samples: NDArray[np.int64],
        *,
        radius: float,
    ) -> "Crowd":
        """From all anchors [m, D] and samples [N, D] of a run, with their slots."""
        cut = cosine_cut(radius)
        counts = np.zeros(len(anchors), dtype=np.int64)
        for first in range(0, len(rows), _BLOCK):
            counts += (anchors @ rows[first : first + _BLOCK].T >= cut).sum(axis=1)
        order = np.lexsort((slots, -counts))[:_CANDIDATES]
        chosen = anchors[order]
        hits = np.empty((len(order), len(rows)), dtype=np.bool_)
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK].astype(np.float64)
            hits[:, first : first + _BLOCK] = chosen.astype(np.float64) @ block.T >= cut
        return cls(
            anchors=chosen,
            slots=slots[order],
            hits=hits,
            rows=rows,
            samples=samples,
            radius=radius,
            median=float(np.median(counts)) / max(1, len(rows)),
        )

    def rates(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate of each candidate when sample i is kept with probability weights[i]: [C]."""
        total = float(weights.sum())
        if not total:
            return np.zeros(len(self.hits))
        return np.asarray(self._sparse @ weights) / total

    @cached_property
    def _sparse(self) -> Any:
        """`hits` as a sparse matrix, 12 bytes a hit (SciPy's own way takes 33 while it is made)."""
        from scipy.sparse import csr_array

        ends = np.cumsum(np.count_nonzero(self.hits, axis=1)).astype(np.int32)
        columns = np.empty(ends[-1], dtype=np.int32)
        for row, end in zip(self.hits, ends, strict=True):
            found = np.flatnonzero(row)
            columns[end - len(found) : end] = found
        values = np.ones(len(columns))
        starts = np.append(np.int32(0), ends)
        return csr_array((values, columns, starts), shape=self.hits.shape)

    def near(self, candidate: int, others: list[int]) -> int | None:
        """The nearest of other candidates within the radius; None: there is none."""
        if not others:
            return None
        cosine = self.anchors[others].astype(np.float64) @ self.anchors[candidate]
        best = int(np.argmax(cosine))
        return others[best] if cosine[best] >= cosine_cut(self.radius) else None


def last_kept(acceptance: float, attempts: int) -> float:
    """The share of slots that come to the last of their proposals, which is kept in any case."""
    return float((1 - acceptance) ** (attempts - 1))


def delivered(weights: NDArray[np.float64], attempts: int) -> NDArray[np.float64]:
    """How often each sample is delivered, 1 on average, when slots draw until one is taken.

    Of M proposals the first M - 1 are taken with their weights, a on average, and the last one in
    any case. With r = (1 - a)^(M - 1) the sum over attempts is w (1 - r) / a + r.

    Args:
      weights: [N] in [0, 1], the probability that each sample is taken.
      attempts: M >= 1.
    """
    acceptance = float(weights.mean())
    rest = last_kept(acceptance, attempts)
    return weights * ((1 - rest) / max(acceptance, 1e-300)) + rest


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a calibrator is expected to do, from the run that it was fitted on.

    Attributes:
      acceptance: share of proposals that are taken.
      chosen: rates of the chosen modes, before and after, in their order.
      worst: largest rate of any anchor, before and after.
      held_out: no sample was judged by what it took part in fitting.
    """

    acceptance: float
    chosen: list[tuple[float, float]]
    worst: tuple[float, float]
    held_out: bool

    @classmethod
    def of(
        cls,
        crowd: Crowd,
        modes: list[int],
        densities: NDArray[np.float64],
        *,
        acceptance: float,
        held_out: bool,
    ) -> "Forecast":
        """From how often each sample of the run is delivered, [N] >= 0 to a common factor."""
        before, after = crowd.rates(np.ones(len(densities))), crowd.rates(densities)
        return cls(
            acceptance=acceptance,
            chosen=[(float(before[mode]), float(after[mode])) for mode in modes],
            worst=(float(before.max()), float(after.max())),
            held_out=held_out,
        )


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a calibrator is to reach, and at which price.

    Attributes:
      target: rate that the chosen modes, or the worst of all, come down to.
      modes: how many of them are thinned; None: added until the worst anchor meets the target.
      min_acceptance: share of proposals that must be taken: an untouched mode grows by no more
        than 1 / min_acceptance.
      attempts: M, proposals of a slot at most.
      seed: of whatever is random in fitting.
    """

    target: float
    modes: int | None
    min_acceptance: float
    attempts: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A calibrator, and what was found while fitting it.

    Attributes:
      calibrator: a LatentSampler, OutputFilter or LatentRefiner.
      modes: the chosen ones, as candidates of the crowd, in the order in which they were chosen.
      forecast: None: nobody can tell beforehand.
      facts: JSON values for the report: areas under the curve, variance explained, what is
        reachable at all.
      sentences: the same for a reader; they are told before anything is rendered.
    """

    calibrator: Any
    modes: list[int]
    forecast: Forecast | None
    facts: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
