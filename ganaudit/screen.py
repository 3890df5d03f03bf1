"""What is looked at before anything is scored: images that repeat, and slots without an image.

An exact repeat is told by its hash, from anchors and samples alike. Slots that failed have none;
they are counted by the reasons that were recorded when they were made.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.generators import Status
from ganaudit.images import HASH_BYTES

_NEARLY_ALL = 0.9
_MANY = 0.5
_NAMED, _SAID = 10, 5  # reasons in the figures, in the sentence
_NO_FACE = "the descriptor found nothing to describe"
_UNRECORDED = "reason not recorded"


@dataclass(frozen=True)
class Screen:
    """What a run's images are like before they are scored.

    Attributes:
      images: anchors and samples that can be scored.
      distinct: different ones among them, to the last byte.
      repeated: those that repeat an earlier one, anchors before samples.
      most_copies: of one image; 0 where there is none.
      period: slots from an image to its return, where one distance explains at least 90 % of the
        repeats among the samples and at least half of the samples are repeats. 1 only where all
        samples are the same. None: no such distance.
      failures: (reason, slots), most frequent first; with `images` they add up to all slots.
      findings: sentences; empty if there is nothing to say.
    """

    images: int
    distinct: int
    repeated: int
    most_copies: int
    period: int | None
    failures: list[tuple[str, int]]
    findings: list[str]

    def figures(self) -> dict[str, Any]:
        """Everything as JSON values, with the 10 most frequent reasons."""
        return {
            "images": self.images,
            "distinct": self.distinct,
            "repeated": self.repeated,
            "most_copies": self.most_copies,
            "period": self.period,
            "failures": [
                {"reason": reason, "slots": slots} for reason, slots in self.failures[:_NAMED]
            ],
            "findings": list(self.findings),
        }


def screen(
    anchors_status: NDArray[np.uint8],
    anchors_hashes: NDArray[np.uint8],
    samples_status: NDArray[np.uint8],
    samples_hashes: NDArray[np.uint8],
    *,
    reasons: Mapping[str, int],
    what: str = "image",
) -> Screen:
    """Find exact repeats, a generator that ignores its seed, and why slots have no image.

    Args:
      anchors_status: [m] uint8, `Status`, of slots 0 .. m - 1.
      anchors_hashes: [m, 16] uint8; what stands where the status is not OK is not looked at.
      samples_status: [n] uint8, likewise.
      samples_hashes: [n, 16] uint8.
      reasons: slots without an image by reason, of both streams together.
      what: an "image" or, where nobody has any, an "embedding".

    Returns:
      The screen, in O((m + n) log(m + n)).

    Raises:
      ValueError: hashes that are not uint8 [N, 16] for N statuses.
    """
    _check_hashes("anchors", anchors_status, anchors_hashes)
    _check_hashes("samples", samples_status, samples_hashes)
    m = len(anchors_status)
    status = np.concatenate([anchors_status, samples_status])
    kinds = _kinds(status, np.concatenate([anchors_hashes, samples_hashes]))
    copies = np.bincount(kinds[kinds >= 0])
    images = int(copies.sum())
    found = Screen(
        images=images,
        distinct=len(copies),
        repeated=images - len(copies),
        most_copies=int(copies.max(initial=0)),
        period=_period(kinds[m:]),
        failures=_failures(status, reasons),
        findings=[],
    )
    repeats = _repeats_said(found, what, by_slot=_same_by_slot(kinds[:m], kinds[m:]))
    return replace(found, findings=repeats + _failures_said(found, len(status), what))


def _check_hashes(name: str, status: NDArray[np.uint8], hashes: NDArray[np.uint8]) -> None:
    if hashes.dtype != np.uint8 or hashes.shape != (len(status), HASH_BYTES):
        raise ValueError(
            f"hashes of {name} must be uint8 [{len(status)}, {HASH_BYTES}], got {hashes.dtype} "
            f"{list(hashes.shape)}"
        )


def _kinds(status: NDArray[np.uint8], hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[N] int64: 0, 1, ..., the same for the same hash; -1 where the status is not OK."""
    scored = status == Status.OK.value
    whole = np.ascontiguousarray(hashes[scored]).view(f"V{HASH_BYTES}").ravel()
    kinds = np.full(len(status), -1, dtype=np.int64)
    kinds[scored] = np.unique(whole, return_inverse=True)[1]
    return kinds


def _period(kinds: NDArray[np.int64]) -> int | None:
    """The distance in slots at which images return; [n] kinds of consecutive slots."""
    shown = np.flatnonzero(kinds >= 0)
    order = shown[np.argsort(kinds[shown], kind="stable")]  # slots, by kind and then by number
    again = kinds[order][1:] == kinds[order][:-1]
    slots, gaps = order[1:][again], np.diff(order)[again]
    if not len(gaps) or len(gaps) < _MANY * len(shown):
        return None
    period = int(np.bincount(gaps).argmax())
    if period == 1 and len(gaps) < len(shown) - 1:  # one image prevails, or they come in a row
        return None
    # Where the slot one period before has no image, a larger gap says nothing against it.
    unknown = (slots >= period) & (kinds[slots - period] < 0)
    return period if (gaps == period).sum() >= _NEARLY_ALL * (~unknown).sum() else None


def _same_by_slot(anchors: NDArray[np.int64], samples: NDArray[np.int64]) -> bool:
    """Sample i is anchor i, nearly always, while the samples differ among themselves."""
    size = min(len(anchors), len(samples))
    one, other = anchors[:size], samples[:size]
    both = (one >= 0) & (other >= 0)
    different = len(np.unique(other[both]))
    return different > max(1, _MANY * both.sum()) and bool(
        (one == other)[both].mean() >= _NEARLY_ALL
    )


def _failures(status: NDArray[np.uint8], reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    count = Counter(reasons)
    no_face = int((status == Status.NO_FACE.value).sum())
    failed = int((status != Status.OK.value).sum()) - no_face
    count[_UNRECORDED] += failed - sum(reasons.values())
    count[_NO_FACE] += no_face
    return sorted((+count).items(), key=lambda item: (-item[1], item[0]))


def _repeats_said(found: Screen, what: str, *, by_slot: bool) -> list[str]:
    if not found.repeated:
        return []
    if found.distinct == 1:
        cause = "the generator ignores its seed"
        if what != "image":
            cause = "so were the images, or the descriptor ignores them"
        return [f"every {what} is the same to the last byte: {cause}"]
    repeat = "repeats" if found.repeated == 1 else "repeat"
    repeats = (
        f"{found.repeated} of {found.images} {what}s {repeat} an earlier one to the last byte "
        f"(the most common one {found.most_copies} times)"
    )
    if found.period is not None and found.period > 1:
        return [
            f"the {what} of slot i returns at slot i + {found.period}: {repeats}, as if the "
            "position in a batch decided and not the seed"
        ]
    if by_slot:
        return [
            f"sample i is the {what} of anchor i: {repeats}, as if the number of the slot decided "
            "and not the seed"
        ]
    return [
        f"{repeats}; repeats are scored: a generator that repeats itself is collapsed, but a cache "
        "in front of it looks the same"
    ]


def _failures_said(found: Screen, slots: int, what: str) -> list[str]:
    missing = slots - found.images
    if not missing:
        return []
    have = "has" if missing == 1 else "have"
    named = ", ".join(f"{reason} ({count})" for reason, count in found.failures[:_SAID])
    more = sum(count for _, count in found.failures[_SAID:])
    rest = f", others ({more})" if more else ""
    return [f"{missing} of {slots} slots {have} no {what} that can be scored: {named}{rest}"]
