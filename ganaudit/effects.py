"""What a calibrator did to the modes of a generator."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ganaudit.intervals import Interval
from ganaudit.same_place import LEVEL

Outcome = Literal["thinned", "nothing", "moved"]
Against = Literal["below", "at", "above"]

_FELL = 0.99  # the ratio's upper end stays below it: shared slots show less, and that is no help
_NEAR_FLOOR = 1.03  # times the floor, up to which an acceptance is taken for the floor


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A calibrator as it was applied to fresh slots.

    Attributes:
      method: gmm, importance, rejection or advlatgan-z.
      variant: region of importance, draw of gmm; None: there is none.
      acceptance: share of proposals that were taken.
      min_acceptance: the floor that was asked for; None: none.
      unaccepted: share of slots that kept the last of their proposals, taken or not.
      growth: how many times its rate a mode that is not thinned may get; None: 1 / acceptance.
    """

    method: str
    variant: str | None
    acceptance: Interval
    min_acceptance: float | None
    unaccepted: float
    growth: float | None = None

    @property
    def allowed(self) -> float:
        """How many times its rate a mode that is not thinned may get, at least 1.

        Of an acceptance that was measured the lower end counts: noise in it accuses nobody.
        """
        if self.growth is not None:
            return max(1.0, self.growth)
        share = self.acceptance.estimate if self.acceptance.low is None else self.acceptance.low
        return max(1.0, 1 / share) if share else 1.0

    @property
    def at_floor(self) -> bool:
        """Whether it is the floor of the acceptance that keeps it from thinning more."""
        taken, floor = self.acceptance.estimate, self.min_acceptance
        return taken is not None and floor is not None and taken <= _NEAR_FLOOR * floor


@dataclass(frozen=True)
class Effect:
    """A rate on fresh slots.

    Attributes:
      before: without the calibrator.
      after: behind it.
      ratio: after over before.
      anchor: slot of the mode's anchor; None: of the worst mode, which need not stay the same.
      p: adjusted, that it did not grow beyond what is allowed; None: it was not tested.
    """

    before: Interval
    after: Interval
    ratio: Interval
    anchor: int | None = None
    p: float | None = None

    @property
    def fell(self) -> bool:
        """Whether it fell beyond noise, and by enough to be worth a word."""
        return self.ratio.high is not None and self.ratio.high < _FELL

    @property
    def rose(self) -> bool:
        """Whether it rose beyond noise."""
        return self.ratio.low is not None and self.ratio.low > 1

    @property
    def grew(self) -> bool:
        """Whether it grew beyond what is allowed, at 5 % over all that were tested."""
        return self.p is not None and self.p <= LEVEL

    def against(self, target: float) -> Against:
        """Where the rate after is: above or below a target, or not told apart from it."""
        if self.after.low is not None and self.after.low > target:
            return "above"
        below = self.after.high is not None and self.after.high <= target
        return "below" if below else "at"

    def figures(self) -> dict[str, Any]:
        """As JSON values, without what there is none of."""
        named = {"anchor": self.anchor, "p": self.p}
        return {
            **{name: value for name, value in named.items() if value is not None},
            "before": self.before.figures(),
            "after": self.after.figures(),
            "ratio": self.ratio.figures(),
        }


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Everything that happened to modes.

    Attributes:
      applied: what was done.
      target: rate that the chosen modes come down to.
      anchors: m, of which the worst is.
      chosen: the modes that were to be thinned, the densest first; at least one.
      worst: the overall worst mode.
      others: other dense modes.
    """

    applied: Applied
    target: float
    anchors: int
    chosen: list[Effect]
    worst: Effect
    others: list[Effect] = field(default_factory=list)

    @property
    def grown(self) -> list[Effect]:
        """Other modes that grew beyond what is allowed."""
        return [one for one in self.others if one.grew]

    @property
    def most_grown(self) -> Effect | None:
        """The other mode that grew most for sure: that of the largest lower end."""
        known = [one for one in self.others if one.ratio.low is not None]
        return max(known, key=lambda one: one.ratio.low or 0.0, default=None)

    @property
    def outcome(self) -> Outcome:
        """Whether the densest chosen mode fell, and whether others paid for it."""
        if not self.chosen[0].fell:
            return "nothing"
        return "moved" if self.grown or self.worst.rose else "thinned"

    def figures(self) -> dict[str, Any]:
        """Modes, the worst of all and others, as JSON values."""
        most = self.most_grown
        against = [one.against(self.target) for one in self.chosen]
        return {
            "modes": [
                {**one.figures(), "meets_target": where != "above", "against_target": where}
                for one, where in zip(self.chosen, against, strict=True)
            ],
            "worst": self.worst.figures(),
            "others": {
                "looked_at": len(self.others),
                "allowed": self.applied.allowed,
                "largest": None if most is None else most.figures(),
                "grown": [one.figures() for one in self.grown],
            },
        }
