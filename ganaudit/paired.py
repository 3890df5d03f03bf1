"""Rates of one mode in two runs over the same slots, of which many have the same image in both.

A slot whose first proposal is accepted keeps its row. So a mode that is left alone has the same
samples before and after, and some more: their difference is far better known than either rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ganaudit.intervals import Interval, wilson
from ganaudit.ratios import Share


@dataclass(frozen=True)
class Pair:
    """Samples of a mode before and after.

    Attributes:
      before: samples within the radius, of those that can be scored.
      after: likewise.
      both: slots that are within the radius before and after.
      scored: slots that can be scored before and after.
    """

    before: Share
    after: Share
    both: int
    scored: int

    @property
    def ratio(self) -> Interval:
        """The rate after over the rate before, with a 95 % interval.

        Without a sample of the mode before there is a lower end alone; without any, nothing.

        References:
          Donner & Zou, "Closed-form confidence intervals for functions of the normal mean and
          standard deviation", 2012 (MOVER for a ratio, with the correlation of both), from Wilson's
          intervals of both rates: coverage .94 to .96 from 20 samples of the mode on.
        """
        if not (self.before.of and self.after.of) or not (self.before.count or self.after.count):
            return Interval(None, None, None)
        now, then = self.after.rate, self.before.rate
        low, high = _ends(self.after)
        old_low, old_high = _ends(self.before)
        correlation = self._correlation
        middle = now * then - correlation * (now - low) * (old_high - then)
        other = now * then - correlation * (high - now) * (then - old_low)
        least = _smaller_root(_folded(old_high, then), middle, _folded(low, now))
        if not then:
            return Interval(None, least, None)
        most = _larger_root(_folded(old_low, then), other, _folded(high, now))
        return Interval(now / then, least, most)

    @property
    def _correlation(self) -> float:
        """Of both rates, over draws of the slots."""
        new, old = self.after, self.before
        spread = new.rate * (1 - new.rate) * old.rate * (1 - old.rate) / (new.of * old.of)
        if not spread:
            return 0.0
        common = (self.both - self.scored * new.rate * old.rate) / (new.of * old.of)
        return float(np.clip(common / spread**0.5, -1, 1))

    def beyond(self, growth: float) -> float:
        """The p value of the rate having grown to at most `growth` times what it was.

        A score test: slot by slot hit / n after less growth * hit / n before, which has mean 0 at
        the edge of what is allowed; half a sample corrects for counts being whole. Measured false
        alarms are at most 1.1 times those that p names up to growth 1.25, and twice at growth 2.
        """
        new, old = self.after, self.before
        if not new.count or not old.of:
            return 1.0
        excess = new.rate - growth * old.rate - 0.5 / new.of
        variance = (
            new.count / new.of**2
            + growth**2 * old.count / old.of**2
            - 2 * growth * self.both / (new.of * old.of)
        )
        if variance <= 0:  # every sample of the mode is in both, and growth is 1
            return 1.0
        return float(stats.norm.sf(excess / variance**0.5))


@dataclass(frozen=True)
class Seen:
    """Where the samples of one run lie.

    Attributes:
      valid: [N] bool, the slots that can be scored.
      hits: [k, N] bool, those within the radius of mode k; False where a slot cannot be scored.
    """

    valid: NDArray[np.bool_]
    hits: NDArray[np.bool_]


def pairs(before: Seen, after: Seen, slots: NDArray[np.bool_] | None = None) -> list[Pair]:
    """Every mode in two runs over the same slots; `slots` [N]: only over these."""
    chosen = np.ones(len(before.valid), dtype=np.bool_) if slots is None else slots
    of = [int(np.count_nonzero(one.valid & chosen)) for one in (before, after)]
    scored = int(np.count_nonzero(before.valid & after.valid & chosen))
    return [
        Pair(
            Share(int(np.count_nonzero(old & chosen)), of[0]),
            Share(int(np.count_nonzero(new & chosen)), of[1]),
            int(np.count_nonzero(old & new & chosen)),
            scored,
        )
        for old, new in zip(before.hits, after.hits, strict=True)
    ]


def _ends(share: Share) -> tuple[float, float]:
    found = wilson(share.count, share.of)
    assert found.low is not None and found.high is not None
    return found.low, found.high


def _folded(end: float, rate: float) -> float:
    """rate^2 - (end - rate)^2."""
    return end * (2 * rate - end)


def _smaller_root(a: float, b: float, c: float) -> float:
    """The smaller x of a x^2 - 2 b x + c = 0, in the form that does without a; 0 where c is."""
    return c / (b + _root(a, b, c)) if c else 0.0


def _larger_root(a: float, b: float, c: float) -> float:
    return (b + _root(a, b, c)) / a


def _root(a: float, b: float, c: float) -> float:
    return float(np.sqrt(max(0.0, b * b - a * c)))
