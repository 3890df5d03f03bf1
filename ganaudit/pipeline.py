"""READ FIRST: an audit from request to result, one step a paragraph."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import Descriptor
from ganaudit.diagnosis import Diagnosis, diagnose_tally
from ganaudit.errors import SourceError
from ganaudit.generators import Source, Status
from ganaudit.neighbors import open_tallier
from ganaudit.opening import Request, open_request
from ganaudit.probe import Probe, probe
from ganaudit.report import canonical
from ganaudit.runner import Progress, fill
from ganaudit.slots import Stream
from ganaudit.store import Rows, Store, write_json


@dataclass(frozen=True)
class Audit:
    """The result of `diagnose`.

    Attributes:
      diagnosis: the figures, with the arrays by anchor.
      report: the canonical document, as written to report.json.
      folder: of the run.
    """

    diagnosis: Diagnosis
    report: dict[str, Any]
    folder: Path


def _silent(what: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


def diagnose(
    config: DiagnoseConfig,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    progress: Progress = _silent,
    notice: Callable[[str], None] = lambda text: None,
) -> Audit:
    """Measure intra-mode collapse of a generator.

    Args:
      config: the request.
      source: a generator object to audit instead of opening `config.generator`, which then names
        it; one process only.
      descriptor: likewise, instead of `config.descriptor`.
      progress: told (what, done, total) as slots are made and scored.
      notice: told a sentence now and then.

    Returns:
      The audit; its folder holds the rows and report.json, and can be resumed.

    Raises:
      ConfigError: the request cannot be carried out.
      SourceError: the generator gave nothing that can be scored.
    """
    clock = _Clock()
    request = open_request(config, source=source, descriptor=descriptor)
    store = Store(config.out or free_folder(resume=config.resume))

    # A folder that holds a run is continued only if the same things decide its rows.
    if config.resume:
        store.open(request.manifest(), resume=True)
        for name in (name for stream in Stream for name in store.discard_damaged(stream)):
            notice(f"{name} was damaged and is made again")
    earlier = store.versions(Stream.ANCHORS) if config.resume else {}

    # The first images say whether there are any, how many fit at once, who needs them singly.
    found = first_images(request, batch=config.batch or _batch_of(earlier))
    versions = canonical.versions() | {"device": request.device, "batch": str(found.recipe.batch)}
    warnings = found.warnings + _changes(earlier, versions)
    for sentence in warnings:
        notice(sentence)

    # A new run gets its folder once it is known that there are images.
    if not config.resume:
        store.open(request.manifest(), resume=False)
    clock.lap("opening")

    # Every slot that is not stored yet is drawn, rendered, embedded and stored.
    team = request.team(found.recipe) if source is None and descriptor is None else None
    with closing(request.maker(found.recipe, reopen=source is None)) as maker:
        for stream, stop in ((Stream.ANCHORS, config.anchors), (Stream.SAMPLES, config.samples)):
            reasons = fill(
                store, stream, stop, maker, versions=versions, progress=progress, team=team
            )
            for reason, slots in reasons.most_common(5):
                notice(f"{slots} of the {stream.name.lower()} have no image: {reason}")
            clock.lap(stream.name.lower())

    # The stored samples stream past the anchors once.
    anchors = Anchors.read(store, config.anchors)
    tallier = open_tallier(
        config.backend,
        anchors.rows,
        theta=request.theta,
        radius=request.radius,
        device=request.device,
    )
    seen = _Seen(config.samples, progress)
    sums = tallier.run(seen.watch(store.read(Stream.SAMPLES, config.samples, step=tallier.step)))
    if not sums.n.sum():
        raise SourceError(f"none of the {config.samples} samples can be scored")
    diagnosis = diagnose_tally(sums, slots=anchors.slots)
    clock.lap("scoring")

    report = canonical.build(
        config=config,
        generator=request.generator,
        card=None if request.descriptor is None else request.descriptor.card,
        diagnosis=diagnosis,
        scale={"theta": request.theta, "radius": request.radius, **request.origins},
        counts={"anchors": anchors.counts, "samples": seen.counts()},
        warnings=warnings + seen.repeats(),
        assumptions=list(getattr(request.source, "assumptions", ())),
        environment=versions | {"backend": tallier.backend},
        timings=clock.laps,
    )
    write_json(store.folder / "report.json", report)
    return Audit(diagnosis, report, store.folder)


def plan(config: DiagnoseConfig) -> dict[str, Any]:
    """What `diagnose` would do: the request with origins, and an estimate from the first images.

    Raises:
      GanauditError: whatever would stop the run at its start.
    """
    request = open_request(config)
    found = first_images(request, batch=config.batch)
    slots = config.anchors + config.samples
    seconds = found.seconds_per_image
    return {
        "request": config.shown(),
        "origins": dict(config.origins),
        "generator": request.generator,
        "scale": {"theta": request.theta, "radius": request.radius, **request.origins},
        "warnings": found.warnings,
        "estimate": {
            "images": slots,
            "image_size": found.image_size,
            "batch": found.recipe.batch,
            "embedding_columns": found.recipe.width,
            "disk_bytes": slots * (4 * found.recipe.width + 17),
            "pairs": config.anchors * config.samples,
            "seconds_at_small_batches": None if seconds is None else slots * seconds,
        },
    }


def first_images(request: Request, *, batch: int | None) -> Probe:
    """Probe an opened request."""
    recipe = request.recipe()
    with closing(request.maker(recipe, reopen=False)) as maker:
        return probe(request.source, maker, recipe, batch=batch)


@dataclass(frozen=True)
class Anchors:
    """The anchors that can be scored against.

    Attributes:
      rows: [m, D] float32 unit rows.
      slots: [m] int64.
      counts: slots by status, the others too.
    """

    rows: NDArray[np.float32]
    slots: NDArray[np.int64]
    counts: dict[str, int]

    @classmethod
    def read(cls, store: Store, stop: int) -> "Anchors":
        """The valid rows of anchor slots [0, stop).

        Raises:
          SourceError: there are none.
        """
        pieces = [
            (
                piece.rows[piece.valid],
                piece.start + np.flatnonzero(piece.valid),
                piece.status.copy(),
            )
            for piece in store.read(Stream.ANCHORS, stop)
        ]
        rows, slots, status = (np.concatenate(part) for part in zip(*pieces, strict=True))
        if not len(rows):
            raise SourceError(f"none of the {stop} anchors can be scored")
        return cls(rows, slots, canonical.count_statuses(status))


class _Seen:
    """What goes by while samples are scored: their status, their images' hashes, progress."""

    def __init__(self, samples: int, progress: Progress) -> None:
        self._status = np.empty(samples, dtype=np.uint8)
        self._prints = np.empty(samples, dtype=np.uint64)  # half a hash: enough to count repeats
        self._progress = progress

    def watch(
        self, pieces: Iterator[Rows]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        for piece in pieces:
            here = slice(piece.start, piece.stop)
            self._status[here] = piece.status
            self._prints[here] = np.ascontiguousarray(piece.hashes[:, :8]).view(np.uint64)[:, 0]
            self._progress("scoring", piece.stop, len(self._status))
            yield piece.rows, piece.valid

    def counts(self) -> dict[str, int]:
        return canonical.count_statuses(self._status)

    def repeats(self) -> list[str]:
        prints = self._prints[self._status == Status.OK]
        prints.sort()
        repeated = int((prints[1:] == prints[:-1]).sum())
        if not repeated:
            return []
        return [
            f"{repeated} of {len(prints)} samples repeat an earlier one to the last byte; they are "
            "scored: a generator that repeats itself is collapsed, but a cache in front of it "
            "looks the same"
        ]


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[f"{name}_s"] = round(now - self._last, 3)
        self._last = now


def free_folder(*, resume: bool) -> Path:
    """audit, or the first of audit-2, audit-3, ... that does not exist; audit when resuming."""
    first = Path("audit")
    if resume or not first.exists():
        return first
    return next(path for i in count(2) if not (path := Path(f"audit-{i}")).exists())


def _batch_of(versions: dict[str, str]) -> int | None:
    """The batch of stored shards: rows are bit-equal at one batch size only."""
    batch = versions.get("batch", "")
    return int(batch) if batch.isdigit() else None


def _changes(earlier: dict[str, str], now: dict[str, str]) -> list[str]:
    """A warning when stored shards were made under other versions, or at another batch."""
    changed = [
        f"{name} {earlier.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in sorted(earlier.keys() | now.keys())
        if earlier and earlier.get(name) != now.get(name)
    ]
    if not changed:
        return []
    return [
        f"the stored rows were made with other versions ({', '.join(changed)}): new rows may "
        "differ from them in the last bits"
    ]
