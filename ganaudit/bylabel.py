"""A conditional generator label by label: does it repeat itself within a class?"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.comparable import Comparable
from ganaudit.intervals import densest
from ganaudit.labels import Law
from ganaudit.runner import Progress
from ganaudit.scoring import Scale, Scored, score_against
from ganaudit.slots import GROUPS, Stream, labels_of
from ganaudit.store import Store

LEAST = 64  # anchors and samples of a label, below which nothing is said of it
MOST = 100  # labels that are scored by themselves


def by_label(
    store: Store,
    scale: Scale,
    scored: Scored,
    *,
    law: Law,
    seed: int,
    samples: int,
    progress: Progress,
) -> dict[str, Any]:
    """The figures of every label among its own anchors and samples.

    Args:
      store: of the run.
      scale: theta, radius, and who computes.
      scored: the run over all labels.
      law: by which labels were drawn.
      seed: of the run.
      samples: sample slots [0, samples).
      progress: told after each label.

    Returns:
      JSON values: "by_label", those with the most anchors first, each with its own anchors, samples
      and figures at that many samples; "left_out", how many more labels there are.
    """

    def labels(stream: Stream, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return labels_of(slots, law.choices, seed=seed, stream=stream)

    def has(label: int, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.equal(labels(Stream.SAMPLES, slots), label)

    drawn = labels(Stream.ANCHORS, scored.anchors.slots)
    found, counts = np.unique(drawn, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    large = [int(label) for label in found[order][counts[order] >= LEAST]][:MOST]
    rows = []
    for done, label in enumerate(large, start=1):
        alone = score_against(
            scored.anchors.among(drawn == label),
            store,
            scale,
            first=0,
            stop=samples,
            among=partial(has, label),
            progress=lambda what, done, total: None,
        )
        progress("labels", done, len(large))
        if alone.tally.n.sum() >= LEAST:
            rows.append(_row(label, alone))
    return {
        "law": law.sentence,
        "by_label": rows,
        "left_out": len(np.unique(law.choices)) - len(rows),
        "least": LEAST,
    }


def _row(label: int, alone: Scored) -> dict[str, Any]:
    worst = int(densest(alone.tally, np.arange(GROUPS))[0])
    return {
        "label": label,
        "anchors": len(alone.anchors.slots),
        "samples": int(alone.tally.n.sum()),
        "worst_anchor": int(alone.anchors.slots[worst]),
        "count": int(alone.tally.within[worst].sum()),
        **Comparable.of(alone.tally).figures(),
    }
