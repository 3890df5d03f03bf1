"""Which of a baseline's modes grew: its own anchors, counted again among a release's samples.

The worst mode of a release need not be where the baseline's was. This test names the place. It is a
finding beside the gates and never changes an exit code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ganaudit.ratios import Share

LEVEL = 0.05  # over all modes


@dataclass(frozen=True)
class Place:
    """A mode of the baseline.

    Attributes:
      rank: among the baseline's modes, densest first, from 1.
      anchor: its slot in the baseline's run.
      before: samples of the baseline within the radius, of the half that did not choose the mode.
      now: samples of the release within the radius.
      p: adjusted, that it did not grow beyond the tolerance.
    """

    rank: int
    anchor: int
    before: Share
    now: Share
    p: float

    @property
    def grown(self) -> bool:
        """Whether it did, at 5 % over all modes."""
        return self.p <= LEVEL


def compare(
    anchors: Sequence[int], before: Sequence[Share], now: Sequence[Share], *, tolerance: float
) -> list[Place]:
    """Test every mode of a baseline for growth beyond a tolerance.

    Given k_A + k_B, the release's k_B is Bin(k_A + k_B, q) at the edge of what is allowed, with
    q = n_B (1 + x) / (n_B (1 + x) + n_A): exact, whatever the rate is. Holm over the modes.

    Args:
      anchors: slots, densest mode first.
      before: of each.
      now: of each.
      tolerance: x, the increase allowed, as a share.
    """
    found = []
    for old, new in zip(before, now, strict=True):
        scaled = new.of * (1 + tolerance)
        q = scaled / (scaled + old.of)
        found.append(stats.binom.sf(new.count - 1, old.count + new.count, q))
    adjusted = holm(np.array(found, dtype=np.float64))
    return [
        Place(rank, anchor, old, new, float(p))
        for rank, (anchor, old, new, p) in enumerate(
            zip(anchors, before, now, adjusted, strict=True), start=1
        )
    ]


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p values: [k] float64 in the order given, at most 1."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, steps)
    return adjusted
