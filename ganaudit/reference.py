"""`--reference`: real images under the same descriptor, as a baseline for the same figures."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ganaudit import fidelity
from ganaudit.comparable import Comparable
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.finished import ALIKE
from ganaudit.generators import Source
from ganaudit.intervals import Interval
from ganaudit.opening import Request, first_images, open_reference
from ganaudit.rarefaction import box
from ganaudit.runner import Progress, fill
from ganaudit.scoring import Scale, Scored, score, until, valid_rows, valid_slots
from ganaudit.slots import Stream
from ganaudit.store import Store, read_manifest

_LEAST = 64  # items, below which nothing can be compared
_NEAREST = 5  # of density and coverage: more samples than that are needed
_MARGIN = 1.4  # by which a worst mode must be denser: other anchors alone make it 1.2 times so


class Reference:
    """Real images that are embedded and scored as the generator's are.

    Attributes:
      anchors: slots of the comparison: the run's, or in proportion what there are images for.
      samples: likewise.
      rarefied: there are too few images for the run's anchors and samples.
    """

    def __init__(self, request: Request, *, source: Source | None = None) -> None:
        """Open what `request` names as its reference, under its descriptor.

        Args:
          request: opened.
          source: a finite collection to take instead of opening what is named.

        Raises:
          ConfigError: it cannot be opened, is of another kind than the source, or too small.
        """
        config = request.config
        self._name = config.reference or ""
        self._request = open_reference(request, source=source)
        self._given = source is not None
        assert self._request.order is not None
        self._size = len(self._request.order)
        if self._size < _LEAST:
            raise self._refused(f"holds {self._size} images; at least {_LEAST} are needed")
        if config.samples <= _NEAREST:
            raise self._refused(f"needs more than {_NEAREST} --samples, got {config.samples}")
        try:
            self._recipe = first_images(self._request, batch=config.batch).recipe
        except SourceError as error:
            raise self._refused(f"cannot be used: {error}") from error
        if request.descriptor is None:
            columns = first_images(request, batch=None).recipe.width
            if columns != self._recipe.width:
                raise self._refused(f"has {self._recipe.width} columns, the audited {columns}")
        self._share_out(config.anchors, config.samples)

    def _share_out(self, anchors: int, samples: int) -> None:
        """Say how many images are compared with a run of so many slots."""
        self.anchors, self.samples = anchors, samples
        self.rarefied = anchors + samples > self._size
        if self.rarefied:
            share = self._size * anchors // (anchors + samples)
            fewest = [min(count, _LEAST // 2) for count in (anchors, samples)]
            self.anchors = min(max(share, fewest[0]), self._size - fewest[1])
            self.samples = self._size - self.anchors

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(f"--reference {self._name} {why}")

    def open(self, folder: Path, *, notice: Callable[[str], None]) -> None:
        """Begin or continue the store of these images in `folder`.

        Raises:
          ConfigError: it holds other images.
        """
        self._store = Store(folder)
        try:
            self._store.open(self._request.manifest() | {"anchors": 0}, resume=True)
        except ConfigError as error:
            raise ConfigError(f"--reference: {error}, or remove {folder}") from error
        for name in self._store.discard_damaged(Stream.SAMPLES):
            notice(f"{name} of the reference was damaged and is made again")
        batch = self._store.versions(Stream.SAMPLES).get("batch", "")
        if batch.isdigit() and self._request.config.batch is None:
            self._recipe = replace(self._recipe, batch=int(batch))

    def embed(
        self,
        *,
        anchors: int,
        samples: int,
        versions: dict[str, str],
        alone: bool,
        earlier: Path | None = None,
        progress: Progress,
        notice: Callable[[str], None],
    ) -> None:
        """Embed as many images as the comparison takes.

        Args:
          anchors: slots of the run.
          samples: likewise; it may have ended before it had all that were asked for.
          versions: recorded beside the rows.
          alone: no other process can open the descriptor.
          earlier: folder of an earlier reference, whose rows are taken if they are the same.
          progress: told as images are embedded.
          notice: told why images could not be used.
        """
        self._share_out(anchors, samples)
        recipe = replace(self._recipe, anchors=0)  # one stream: its first slots serve as anchors
        versions = versions | {"batch": str(recipe.batch)}
        if earlier is not None:
            self._adopt(Store(earlier), versions)
        alone = alone or self._given
        with closing(self._request.maker(recipe, reopen=not self._given)) as maker:
            reasons = fill(
                self._store,
                Stream.SAMPLES,
                self.anchors + self.samples,
                maker,
                versions=versions,
                progress=lambda _, done, total: progress("reference", done, total),
                team=None if alone else self._request.team(recipe),
            )
        for reason, slots in reasons.most_common(5):
            notice(f"{slots} of the reference have no image: {reason}")

    def _adopt(self, earlier: Store, versions: dict[str, str]) -> None:
        """Take over rows of these images if the same things made them."""
        try:
            found, own = read_manifest(earlier.folder), read_manifest(self._store.folder)
            if found != own or earlier.every_version() != [versions]:
                return
        except GanauditError:  # damaged, or not there: they are made again
            return
        for begin, end, path in earlier.shards(Stream.SAMPLES):
            self._store.adopt(Stream.SAMPLES, begin, end, path)
        self._store.discard_damaged(Stream.SAMPLES)

    def compare(
        self, run: Store, scored: Scored, scale: Scale, *, progress: Progress
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The reference section of a report, and its box plots.

        Args:
          run: the audited run.
          scored: it, at full size.
          scale: theta, radius, and who computes.
          progress: told while scoring.

        Raises:
          ConfigError: too few images can be scored.
        """
        here, there = self._equal(run)
        real = score(
            self._store, scale, anchors=there[0], samples=there[1], shared=True, progress=progress
        )
        if self.rarefied:
            scored = score(run, scale, anchors=here[0], samples=here[1], progress=progress)
        generated, baseline = Comparable.of(scored.tally), Comparable.of(real.tally)
        ratios = generated.over(baseline)
        companions = fidelity.fidelity(
            valid_rows(self._store, first=there[0], stop=sum(there), most=fidelity.ROWS),
            valid_rows(run, first=0, stop=here[1], most=fidelity.ROWS),
            k=_NEAREST,
        )
        boxes = [{"label": "the reference images", **asdict(box(real.tally))}]
        if self.rarefied:
            boxes.append({"label": "as many generated", **asdict(box(scored.tally))})
        sizes = len(real.anchors.slots), int(real.tally.n.sum())
        return {
            "folder": self._name,
            "images": self._size,
            "anchors": sizes[0],
            "samples": sizes[1],
            "rarefied": self.rarefied,
            "generated": generated.figures(),
            "real": baseline.figures(),
            "ratios": {name: one.figures() for name, one in ratios.items()},
            "fidelity": companions.figures(),
            "sentences": self._sentences(ratios, *sizes),
        }, boxes

    def _equal(self, run: Store) -> tuple[tuple[int, int], tuple[int, int]]:
        """(anchors, samples) slots of the run, and of these images, that have as many rows."""
        both = valid_slots(self._store, Stream.SAMPLES, self.anchors + self.samples)
        theirs = both[: self.anchors], both[self.anchors :]
        ours = (
            valid_slots(run, Stream.ANCHORS, self.anchors),
            valid_slots(run, Stream.SAMPLES, self.samples),
        )
        counts = [(int(a.sum()), int(b.sum())) for a, b in zip(ours, theirs, strict=True)]
        anchors, samples = (min(pair) for pair in counts)
        if anchors < 1 or samples <= _NEAREST:
            raise self._refused(f"leaves {anchors} anchors and {samples} samples: too few")
        if all(min(pair) >= ALIKE * max(pair) for pair in counts):
            return (self.anchors, self.samples), (self.anchors, self.samples)
        self.rarefied = True
        first = until(both, anchors)  # the samples follow, wherever the anchors end
        return (
            (until(ours[0], anchors), until(ours[1], samples)),
            (first, until(both[first:], samples)),
        )

    def _sentences(self, ratios: dict[str, Interval], anchors: int, samples: int) -> list[str]:
        sentences = []
        if self.rarefied:
            sentences.append(
                f"There are {self._size:,} reference images. Both sides are compared at "
                f"{anchors:,} anchors and {samples:,} samples: one of them has no more that can be "
                "scored."
            )
        pairs, worst = ratios["mean_similarity"], ratios["worst_rate"]
        if pairs.low is not None and pairs.high is not None:
            bounds = f"(mean similarity {pairs.low:.3g} to {pairs.high:.3g} times theirs)"
            if pairs.low > 1:
                said = f"The generator is denser than these images under this descriptor {bounds}."
            elif pairs.high < 1:
                said = f"These images are denser than the generator's {bounds}."
            else:
                said = (
                    "Under this descriptor the generator's density is not told apart from that of "
                    f"these images {bounds}."
                )
            sentences.append(said)
        if worst.low is not None and worst.low > _MARGIN:
            sentences.append(
                "The generator's worst mode is denser than that of these images, at least "
                f"{worst.low:.3g} times."
            )
        return sentences
