"""What a calibrator did, measured on fresh slots: the same slots without it and behind it.

The anchors are those of the run that it was fitted on: drawn apart from all samples, and without a
calibrator. The chosen modes were chosen on that run, so fresh samples flatter none of them.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import fidelity
from ganaudit.diagnosis import dense_modes
from ganaudit.effects import Applied, Effect, Effects
from ganaudit.errors import SourceError
from ganaudit.extremes import extremes
from ganaudit.intervals import Interval, wilson
from ganaudit.outcomes import verdict
from ganaudit.paired import Pair, Seen, pairs
from ganaudit.rarefaction import box
from ganaudit.ratios import Share, ratio_of_extremes
from ganaudit.runner import Progress
from ganaudit.same_place import holm
from ganaudit.scoring import Anchors, Scale, score_against, valid_rows
from ganaudit.slots import BLOCK, GROUPS, Stream
from ganaudit.store import Store
from ganaudit.tally import Tally, cosine_cut

_BLOCKS = 16  # of the kernel distance, where there are too few rows for blocks of the usual size
_UNKNOWN = Interval(None, None, None)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a calibrator did.

    Attributes:
      effects: on modes, with the verdict.
      sizes: how many anchors and samples could be scored.
      companions: how far the samples are from uncalibrated ones, by figure.
      boxes: MCCS over all anchors and over the chosen ones, before and after.
    """

    effects: Effects
    sizes: dict[str, int]
    companions: dict[str, Any]
    boxes: list[dict[str, Any]]

    def figures(self) -> dict[str, Any]:
        """Its parts of calibration.json, as JSON values."""
        return {
            "verdict": verdict(self.effects),
            "sizes": self.sizes,
            **self.effects.figures(),
            "companions": self.companions,
            "boxes": self.boxes,
        }


def prove(
    *,
    anchors: Anchors,
    modes: Sequence[int],
    fit: Store,
    before: Store,
    after: Store,
    samples: int,
    fitted_samples: int | None = None,
    scale: Scale,
    target: float,
    acceptance: Interval,
    method: str,
    variant: str | None = None,
    min_acceptance: float | None = None,
    unaccepted: float = 0.0,
    growth: float | None = None,
    progress: Progress,
) -> Proof:
    """Compare fresh slots without and behind a calibrator.

    Args:
      anchors: all of the fitted run.
      modes: which of them were to be thinned, the densest first; at least one.
      fit: the fitted run: no slot of its samples is a fresh one.
      before: samples of the fresh slots without the calibrator.
      after: samples of the same slots behind it.
      samples: sample slots [0, samples) of `before` and `after`.
      fitted_samples: of `fit`; None: as many.
      scale: theta, radius, and who computes.
      target: rate that the chosen modes come down to.
      acceptance: as `Applied` has it, and so the following.
      method: gmm, importance, rejection or advlatgan-z.
      variant: region of importance, draw of gmm; None: there is none.
      min_acceptance: the floor that was asked for; None: none.
      unaccepted: share of slots that kept the last of their proposals, taken or not.
      growth: how many times its rate a mode that is not thinned may get; None: 1 / acceptance.
      progress: told as samples go by.

    Raises:
      SourceError: too few samples can be scored.
    """
    stops = (fitted_samples or samples, samples, samples)
    runs = list(zip((fit, before, after), stops, strict=True))
    fitted, old, new = (
        score_against(anchors, store, scale, first=0, stop=stop, progress=progress).tally
        for store, stop in runs
    )
    if min(one.n.sum() for one in (fitted, old, new)) < 2:
        raise SourceError(f"of {samples} samples fewer than 2 can be scored")
    applied = Applied(
        method=method,
        variant=variant,
        acceptance=acceptance,
        min_acceptance=min_acceptance,
        unaccepted=unaccepted,
        growth=growth,
    )
    return Proof(
        effects=Effects(
            applied=applied,
            target=target,
            anchors=len(anchors.slots),
            worst=_worst(old, new),
            **_modes(
                anchors,
                modes,
                (fitted, new),
                (before, after),
                samples,
                radius=scale.radius,
                allowed=applied.allowed,
            ),
        ),
        sizes={
            "anchors": len(anchors.slots),
            "before": int(old.n.sum()),
            "after": int(new.n.sum()),
        },
        companions=_companions(*(_rows(store, stop) for store, stop in runs)),
        boxes=_boxes(old, new, modes),
    )


def _modes(
    anchors: Anchors,
    modes: Sequence[int],
    tallies: tuple[Tally, Tally],
    stores: tuple[Store, Store],
    samples: int,
    *,
    radius: float,
    allowed: float,
) -> dict[str, list[Effect]]:
    """The effect on the chosen modes, and on others that are dense now or were so before.

    Others are the dense modes of the fitted run, over all fresh slots, and those that are dense
    behind the calibrator, over the half of the slots that did not choose them: a collapse may move
    to where there was none.
    """
    fitted, new = (
        [one.anchor for one in dense_modes(tally, anchors.rows, radius=radius)] for tally in tallies
    )
    chosen = list(modes)
    former = _apart(anchors.rows, fitted, chosen, radius)
    risen = _apart(anchors.rows, new, [*chosen, *former], radius)
    followed = anchors.rows[[*chosen, *former, *risen]]
    before, after = (_look(store, followed, samples, radius) for store in stores)
    whole, half = pairs(before, after), pairs(before, after, _scoring(tallies[1], samples))
    known = len(chosen) + len(former)
    others = whole[len(chosen) : known] + half[known:]
    p = holm(np.array([pair.beyond(allowed) for pair in others], dtype=np.float64))
    slots = anchors.slots.tolist()
    return {
        "chosen": [_effect(slots[m], pair) for m, pair in zip(chosen, whole, strict=False)],
        "others": [
            replace(_effect(slots[m], pair), p=float(one))
            for m, pair, one in zip([*former, *risen], others, p, strict=True)
        ],
    }


def _effect(anchor: int, pair: Pair) -> Effect:
    return Effect(_rate(pair.before), _rate(pair.after), pair.ratio, anchor)


def _rate(share: Share) -> Interval:
    return wilson(share.count, share.of) if share.of else _UNKNOWN


def _apart(
    rows: NDArray[np.float32], candidates: list[int], taken: list[int], radius: float
) -> list[int]:
    """Those of some anchors that are not within the radius of others."""
    cosine = rows[candidates].astype(np.float64) @ rows[taken].astype(np.float64).T
    far = (cosine < cosine_cut(radius)).all(axis=1)
    return [candidates[place] for place in np.flatnonzero(far)]


def _scoring(tally: Tally, samples: int) -> NDArray[np.bool_]:
    """[N] bool: slots of the half of the groups that does not choose `dense_modes` of a tally."""
    full = np.flatnonzero(tally.n)
    return np.isin(np.arange(samples) // BLOCK % GROUPS, full[len(full) // 2 :])


def _look(store: Store, modes: NDArray[np.float32], samples: int, radius: float) -> Seen:
    """Which samples lie within the radius of some modes [k, D]."""
    seen = Seen(np.zeros(samples, dtype=np.bool_), np.zeros((len(modes), samples), dtype=np.bool_))
    wide, cut = modes.astype(np.float64), cosine_cut(radius)
    for piece in store.read(Stream.SAMPLES, samples):
        here = slice(piece.start, piece.stop)
        seen.valid[here] = piece.valid
        seen.hits[:, here] = (wide @ piece.rows.astype(np.float64).T >= cut) & piece.valid
    return seen


def _worst(old: Tally, new: Tally) -> Effect:
    """The worst of all anchors, before and after, each chosen on one half and scored on the other.

    The ratio's ends compare what flatters nobody with what flatters the collapse (`ratios`).
    """
    before, after = extremes(old), extremes(new)
    if before is None or after is None:
        return Effect(_UNKNOWN, _UNKNOWN, _UNKNOWN)
    ratio = ratio_of_extremes(after[0], before[0]).interval()
    return Effect(before[0].interval, after[0].interval, ratio)


def _boxes(old: Tally, new: Tally, modes: Sequence[int]) -> list[dict[str, Any]]:
    every = range(len(old.squares))
    named = (("all anchors", every), ("the chosen modes", modes))
    return [
        {"label": f"{whose}, {when}", **asdict(box(_of_anchors(tally, some)))}
        for whose, some in named
        for when, tally in (("before", old), ("after", new))
    ]


def _of_anchors(tally: Tally, some: Sequence[int]) -> Tally:
    """The similarities of some anchors: what a box is of."""
    empty = Tally.empty(len(some))
    return replace(empty, n=tally.n, similarity=tally.similarity[list(some)])


def _rows(store: Store, stop: int) -> NDArray[np.float32]:
    return valid_rows(store, first=0, stop=stop, most=fidelity.ROWS)


def _companions(
    fitted: NDArray[np.float32], old: NDArray[np.float32], new: NDArray[np.float32]
) -> dict[str, Any]:
    """How far samples [N, D] are from those of the fitted run, behind the calibrator and without.

    Without it two samples of one generator are compared: what there is by chance. All have the same
    number of rows, on which the Fréchet distance depends.
    """
    rows = min(map(len, (fitted, old, new)))
    block = max(2, min(1000, rows // _BLOCKS))

    def distances(side: NDArray[np.float32]) -> dict[str, Any]:
        pair = fitted[:rows], side[:rows]
        kernel = fidelity.kernel_distance(*pair, block=block)
        frechet = fidelity.frechet_distance(*pair)
        return {"frechet_distance": frechet, "kernel_distance": kernel.figures()}

    return {
        "rows": rows,
        "to_uncalibrated": distances(new),
        "noise": distances(old),
        "to_reference": None,
    }
