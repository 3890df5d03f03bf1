"""`--until-decided`: looks at the samples as they come, until every gate is decided.

Only completed prefixes of the samples are looked at, a shard at a time: which worker made which
shard first, or where a run was interrupted, changes no verdict.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from ganaudit import sequential
from ganaudit.errors import ConfigError
from ganaudit.gates import Gate, Limit, Verdict, verdict_of
from ganaudit.intervals import Interval
from ganaudit.neighbors import open_tallier
from ganaudit.scoring import Anchors, Scale
from ganaudit.slots import SHARD, Stream
from ganaudit.store import Store
from ganaudit.tally import Tally

ANCHORS = 1000  # by default: they are images too, and every one of them has to pass
_SURE = 1.645  # 95 of 100


class Watch:
    """Absolute limits on the worst mode and the mean similarity, decided as samples come.

    Attributes:
      most: sample slots, after which it is over.
      looked: sample slots that were looked at.
    """

    def __init__(self, limits: Sequence[Limit], *, most: int) -> None:
        """Take limits.

        Args:
          limits: at least one.
          most: sample slots, after which what is undecided stays so.

        Raises:
          ConfigError: a limit that cannot be looked at again and again.
        """
        for limit in limits:
            name = limit.figure.name
            if limit.relative:
                raise ConfigError(
                    f"--until-decided takes absolute limits alone: a baseline has one number of "
                    f"samples, and {name} is compared at that; leave --baseline out"
                )
            if name not in sequential.SEQUENTIAL:
                raise ConfigError(
                    f"--until-decided cannot decide {name}: only "
                    f"{', '.join(sequential.SEQUENTIAL)} have a test that may be looked at again "
                    "and again; check it on a run of fixed size"
                )
        self.most = most
        self.looked = 0
        self._limits = list(limits)
        self._decided: dict[Limit, tuple[Verdict, int]] = {}

    def begin(self, store: Store, scale: Scale, *, anchors: int) -> None:
        """Take a run whose anchors are made.

        Raises:
          SourceError: none of them can be scored.
        """
        self._store = store
        rows = Anchors.read(store, Stream.ANCHORS, anchors).rows
        self._tallier = open_tallier(
            scale.backend, rows, theta=scale.theta, radius=scale.radius, device=scale.device
        )
        self._tally = Tally.empty(len(rows))

    def enough(self) -> bool:
        """Look at what was completed since; whether no more samples are needed."""
        while not self._over:
            stop = min(self.looked + SHARD, self.most)
            if self._store.lacks(Stream.SAMPLES, stop) is not None:
                return False
            pieces = self._store.read(Stream.SAMPLES, stop, start=self.looked)
            self._tally = self._tallier.run((piece.rows, piece.valid) for piece in pieces)
            self.looked = stop
            for limit in self._limits:
                if limit not in self._decided:
                    found = sequential.decide(limit.figure.name, self._tally, limit.value)
                    if found is not None:
                        self._decided[limit] = found, stop
        return True

    @property
    def _over(self) -> bool:
        return self.verdict != "inconclusive" or self.looked == self.most

    @property
    def verdict(self) -> Verdict:
        """Of all gates together, so far."""
        return verdict_of([self._verdict(limit) for limit in self._limits])

    def _verdict(self, limit: Limit) -> Verdict:
        return self._decided[limit][0] if limit in self._decided else "inconclusive"

    def gates(self) -> list[Gate]:
        """Every gate, with an interval of all samples looked at that holds whenever one stops."""
        return [
            Gate(
                limit,
                self._verdict(limit),
                "decided" if limit in self._decided else "undecided",
                sequential.interval_after(limit.figure.name, self._tally, limit.value)
                if self._tally.n.any()
                else Interval(None, None, None),
                detectable=self._detectable(limit),
            )
            for limit in self._limits
        ]

    def decided_at(self, limit: Limit) -> int | None:
        """Sample slots at which a gate was decided; None: it is not."""
        return self._decided[limit][1] if limit in self._decided else None

    def _detectable(self, limit: Limit) -> float | None:
        """The smallest true value that 95 of 100 checks of `most` samples find above the limit.

        A worst mode of rate p holds a share p of the anchors, all of whose capitals grow; their
        mean has to reach 1 / ALPHA.
        """
        name, n, m = limit.figure.name, self.most, len(self._tally.squares)
        unit = 1.0
        if name != "worst-rate":
            sums, squares = self._tally.similarity.sum(), self._tally.squares.sum()
            if name == "mean-similarity":
                sums, squares = sums / m, self._tally.coherence.sum()
            unit = float(squares / sums) if sums else 1.0

        def short(value: float) -> float:
            share = 1.0 if name == "mean-similarity" else max(value, 1 / m)
            spread = value * (1 - value) if name == "worst-rate" else value * unit
            low = max(0.0, n * value - _SURE * (n * spread) ** 0.5)
            if name == "worst-rate":
                log = sequential.log_e_rate(np.array([int(low)]), n, limit.value, side="fail")
            else:
                log = sequential.log_e_similarity(
                    np.array([low]), np.array([low * unit]), n, limit.value, side="fail"
                )
            return float(log[0] + np.log(share * sequential.ALPHA))

        if short(1 - 1e-9) < 0:
            return None
        return float(brentq(short, limit.value, 1 - 1e-9, xtol=1e-9))
