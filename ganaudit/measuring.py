"""What stored rows say: every figure of a run, without its generator.

A pure function of the rows, of theta and radius, and of how many anchors and samples are taken: a
run just made, one merged from parts and one that is scored again are measured here alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.bylabel import by_label
from ganaudit.comparable import Comparable
from ganaudit.diagnosis import Diagnosis, diagnose_tally
from ganaudit.labels import Law
from ganaudit.ratios import Share
from ganaudit.report.canonical import count_statuses
from ganaudit.runner import Progress, silent
from ganaudit.scoring import Scale, Scored, score
from ganaudit.screen import Screen, screen
from ganaudit.slots import Stream
from ganaudit.store import Store


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of a run.

    Attributes:
      anchors: slots scored against, [0, anchors).
      samples: slots scored, [0, samples).
      status: of every slot, [N] uint8 `Status`, by the stream's name: "anchors", "samples".
      screen: what the images alone say.
      scored: the tally, the anchors' rows and the moments of the samples.
      diagnosis: all figures of the tally.
      labels: figures by label, as JSON values; None: there are no labels.
    """

    anchors: int
    samples: int
    status: dict[str, NDArray[np.uint8]]
    screen: Screen
    scored: Scored
    diagnosis: Diagnosis
    labels: dict[str, Any] | None

    @property
    def comparable(self) -> Comparable:
        """What limits and other runs are held against."""
        counts = self.counts()
        slots = {
            status: sum(one[status] for one in counts.values()) for status in counts["samples"]
        }
        images = slots["ok"] + slots["no_face"]
        found = self.diagnosis
        return Comparable.of(
            found.tally,
            vendi=found.log_vendi,
            shares={
                "near-copies": Share(len(found.near_copies.flagged), found.anchors),
                "duplicates": Share(self.screen.repeated, self.screen.images),
                "faceless": Share(slots["no_face"], images),
                "failures": Share(slots["failed"] + slots["refused"], sum(slots.values())),
            },
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """How many slots have which status, by the stream's name."""
        return {name: count_statuses(status) for name, status in self.status.items()}


def measure(
    store: Store,
    scale: Scale,
    *,
    anchors: int,
    samples: int,
    what: str = "image",
    law: Law | None = None,
    seed: int = 0,
    progress: Progress = silent,
    lap: Callable[[str], None] = lambda stage: None,
) -> Measured:
    """Score stored rows.

    Args:
      store: which has the slots; a run may hold more.
      scale: theta, radius, and who computes.
      anchors: anchor slots [0, anchors).
      samples: sample slots [0, samples).
      what: a slot holds: an "image" or an "embedding".
      law: how labels were drawn; None: they are not looked at.
      seed: of the run; labels follow from it.
      progress: told as samples are scored.
      lap: told the name of each stage at its end.

    Raises:
      SourceError: no anchor or no sample can be scored.
      GanauditError: a shard is missing or damaged.
    """
    # What the images alone say, before any score.
    status, seen = _look(store, {Stream.ANCHORS: anchors, Stream.SAMPLES: samples}, what=what)
    lap("screening")

    # The stored samples stream past the anchors once.
    scored = score(store, scale, anchors=anchors, samples=samples, progress=progress)
    diagnosis = diagnose_tally(
        scored.tally,
        slots=scored.anchors.slots,
        rows=scored.anchors.rows,
        radius=scale.radius,
        moments=scored.moments,
    )

    # And once more, a label's among themselves.
    labels = None
    if law is not None:
        labels = by_label(
            store, scale, scored, law=law, seed=seed, samples=samples, progress=progress
        )
    lap("scoring")
    return Measured(
        anchors=anchors,
        samples=samples,
        status=status,
        screen=seen,
        scored=scored,
        diagnosis=diagnosis,
        labels=labels,
    )


def _look(
    store: Store, stops: dict[Stream, int], *, what: str
) -> tuple[dict[str, NDArray[np.uint8]], Screen]:
    """The status of every slot by stream, and the screen of all of them."""
    marks = {stream: store.marks(stream, stop) for stream, stop in stops.items()}
    anchors, samples = (store.reasons(stream, stop) for stream, stop in stops.items())
    seen = screen(
        *marks[Stream.ANCHORS], *marks[Stream.SAMPLES], reasons=anchors + samples, what=what
    )
    return {stream.name.lower(): status for stream, (status, _) in marks.items()}, seen
