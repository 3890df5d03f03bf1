"""A finished run on disk: its report, and that the rows behind it are all there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganaudit.comparable import Comparable
from ganaudit.config import MIN_REACH, DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.measuring import measure
from ganaudit.report import canonical, outputs, words
from ganaudit.scoring import Scale, slots_until
from ganaudit.slots import Stream
from ganaudit.store import Store, difference, read_manifest

_MOST_SLOTS = 2**40
ALIKE = 0.95  # scored anchors or samples of one run over another's: as good as equal


@dataclass(frozen=True)
class Basis:
    """What two runs must have in common to be compared.

    Attributes:
      descriptor: how it was opened and what it is, preprocessing included; None: embeddings.
      theta: fraction of pi.
      radius: fraction of pi.
      anchors: slots asked for.
      samples: likewise.
    """

    descriptor: Mapping[str, Any] | None
    theta: float
    radius: float
    anchors: int
    samples: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any], scale: Scale, config: DiagnoseConfig) -> "Basis":
        """Of a run that is about to begin."""
        pinned = json.loads(json.dumps(manifest["descriptor"]))  # as a file gives it back
        return cls(pinned, scale.theta, scale.radius, config.anchors, config.samples)

    def check(self, other: "Basis", *, here: str, there: str) -> None:
        """Refuse what no size can mend: another descriptor, preprocessing, theta or radius.

        Args:
          other: the other run's.
          here: name of this one, for the message.
          there: of the other.

        Raises:
          ConfigError: something differs.
        """
        for name in ("descriptor", "theta", "radius"):
            unequal = difference(getattr(self, name), getattr(other, name), name)
            if unequal is not None:
                where, mine, theirs = unequal
                raise ConfigError(
                    f"{here} and {there} cannot be compared: the {where.replace('.', ' '):.80} is "
                    f"{mine} in the one and {theirs} in the other; audit both under the same"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Slots asked for: anchors, samples."""
        return self.anchors, self.samples


@dataclass(frozen=True)
class Finished:
    """A run that can be looked at again.

    Attributes:
      folder: of the run.
      report: its canonical document.
      manifest: what decides its rows.
      basis: what another run must have in common with it.
      figures: what limits and other runs are held against.
    """

    folder: Path
    report: dict[str, Any]
    manifest: dict[str, Any]
    basis: Basis
    figures: Comparable

    @classmethod
    def read(cls, folder: Path) -> "Finished":
        """Open a run's folder.

        Raises:
          ConfigError: it holds no finished run, lacks rows, or has a report of other rows.
          GanauditError: a shard is damaged.
        """
        report = canonical.read(folder)
        manifest = read_manifest(folder)
        with outputs.complete(folder):
            figures = Comparable.read(report["comparable"])
            request, scale = report["request"], report["scale"]
            basis = Basis(
                descriptor=manifest["descriptor"],
                theta=reach(scale["theta"]),
                radius=reach(scale["radius"]),
                anchors=size(request["anchors"]),
                samples=size(request["samples"]),
            )
            counts = {stream: dict(report["counts"][stream.name.lower()]) for stream in Stream}
            _check_words(report, figures)
        store = Store(folder)
        for stream, stop in zip(Stream, basis.size, strict=True):
            if store.lacks(stream, stop) is not None:
                raise ConfigError(
                    f"{folder} is a truncated run: it lacks {stream.name.lower()} that its report "
                    "counts; make them again with diagnose --resume"
                )
            if canonical.count_statuses(store.marks(stream, stop)[0]) != counts[stream]:
                raise ConfigError(
                    f"{folder}: the report does not fit the stored {stream.name.lower()}; score "
                    "the run again with diagnose --resume"
                )
        return cls(folder, report, manifest, basis, figures)

    def rarefied(self, *, anchors: int, samples: int) -> "Finished":
        """The same run as if it had ended when so many anchors and samples could be scored.

        What it has no more of than that is left as it is. The figures of its report are those of
        the smaller run; the rest (pictures, warnings) is not.

        Args:
          anchors: scored ones.
          samples: likewise.
        """
        store = self.store
        stops = [
            slots_until(store, stream, stop, count)
            for stream, stop, count in zip(Stream, self.basis.size, (anchors, samples), strict=True)
        ]
        what = "embedding" if self.report["descriptor"] is None else "image"
        found = measure(store, self.scale, anchors=stops[0], samples=stops[1], what=what)
        figures = found.comparable
        return replace(
            self,
            basis=replace(self.basis, anchors=stops[0], samples=stops[1]),
            figures=figures,
            report=self.report
            | {
                "figures": found.diagnosis.figures(),
                "comparable": figures.document(),
                "counts": found.counts(),
            },
        )

    @property
    def scale(self) -> Scale:
        """What decides a tally, beside the rows."""
        basis = self.basis
        return Scale(theta=basis.theta, radius=basis.radius, backend="auto", device="cpu")

    @property
    def store(self) -> Store:
        """Of its rows."""
        return Store(self.folder)

    @property
    def name(self) -> str:
        """The generator as it was named."""
        return str(self.report["request"]["generator"])


def check_sizes(here: Comparable, there: Comparable, *, remedy: str) -> None:
    """Refuse figures at unequal m or n: mu, Vendi and a worst mode move with both.

    Args:
      here: of one run.
      there: of the other.
      remedy: what to do about it.

    Raises:
      ConfigError: one has fewer than 95 % of the other's anchors or samples.
    """
    for name in ("anchors", "samples"):
        mine, theirs = getattr(here, name), getattr(there, name)
        if min(mine, theirs) < ALIKE * max(mine, theirs):
            raise ConfigError(
                f"figures are compared at equal numbers of {name} only: {mine:,} were scored in "
                f"the one and {theirs:,} in the other; {remedy}"
            )


def size(value: Any) -> int:
    """A number of slots that somebody else may have written; ValueError: it is none."""
    if type(value) is not int or not 0 < value < _MOST_SLOTS:
        raise ValueError(f"a size must be a whole number above 0, got {value!r:.40}")
    return value


def reach(value: Any) -> float:
    """Theta or a radius that somebody else may have written; ValueError: it is none."""
    if type(value) not in (int, float) or not MIN_REACH <= value <= 1:
        raise ValueError(f"theta and radius are from {MIN_REACH:g} to 1, got {value!r:.40}")
    return float(value)


def _check_words(report: Mapping[str, Any], figures: Comparable) -> None:
    """Raise whatever a report raises that does not say of its run what verdicts repeat."""
    request, card, found = report["request"], report["descriptor"], report["figures"]
    lists = [report["warnings"], report["screen"]["findings"]]
    texts = [request["generator"], "" if card is None else card["name"]]
    texts += [sentence for one in lists for sentence in one]
    if not all(type(one) is list for one in lists) or not all(type(one) is str for one in texts):
        raise TypeError("a name or a sentence is no text")
    if type(request["seed"]) is not int or not 0 <= request["seed"] < 2**63:
        raise ValueError("seed must be in [0, 2**63)")
    if (found["anchors"], found["samples"]) != (figures.anchors, figures.samples):
        raise ValueError("its figures are of two sizes")
    words.headline(report)
