"""READ FIRST: an audit from request to result, one step a paragraph."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.bylabel import by_label
from ganaudit.config import DiagnoseConfig, split_outputs
from ganaudit.descriptors import Descriptor
from ganaudit.diagnosis import Diagnosis, diagnose_tally
from ganaudit.files import free_folder
from ganaudit.gallery import choose, write_pictures
from ganaudit.generators import Source, Status
from ganaudit.opening import first_images, open_request
from ganaudit.reference import Reference
from ganaudit.report import canonical, outputs, table
from ganaudit.runner import Progress, fill
from ganaudit.scoring import score
from ganaudit.screen import Screen, screen
from ganaudit.slots import Stream
from ganaudit.store import Store, write_json

REFERENCE = "reference"  # folder of the real images' rows, in that of the run


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
    reference = None if config.reference is None else Reference(request)
    store = Store(config.out or own_folder(resume=config.resume))

    # A folder that holds a run is continued only if the same things decide its rows.
    if config.resume:
        store.open(request.manifest(), resume=True)
        for name in (name for stream in Stream for name in store.discard_damaged(stream)):
            notice(f"{name} was damaged and is made again")
        if reference is not None:
            reference.open(store.folder / REFERENCE, notice=notice)
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
        if reference is not None:
            reference.open(store.folder / REFERENCE, notice=notice)
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

        # What the images alone say, before any score.
        status, seen = _look(store, config, what=request.what)
        clock.lap("screening")

        # The stored samples stream past the anchors once.
        scale = request.scale()
        scored = score(
            store, scale, anchors=config.anchors, samples=config.samples, progress=progress
        )
        diagnosis = diagnose_tally(
            scored.tally,
            slots=scored.anchors.slots,
            rows=scored.anchors.rows,
            radius=request.radius,
            moments=scored.moments,
        )
        labels = None
        if request.law is not None:
            labels = by_label(
                store,
                scale,
                scored,
                law=request.law,
                seed=config.seed,
                samples=config.samples,
                progress=progress,
            )
        clock.lap("scoring")

        # Pictures of what repeats: the run keeps embeddings, so they are asked for again.
        pictures = choose(
            scored.anchors.rows,
            scored.anchors.slots,
            store.read(Stream.SAMPLES, config.samples),
            worst=diagnosis.worst_mode.anchor,
            modes=[mode.anchor for mode in diagnosis.dense_modes],
            faceless=np.flatnonzero(status["samples"] == Status.NO_FACE).tolist(),
            seed=config.seed,
            device=request.device,
        )
        files = write_pictures(pictures, store.folder / outputs.GALLERY, store, maker)
        clock.lap("pictures")

    # Real images, where there are any, are a baseline for the same figures.
    section: dict[str, Any] | None = None
    boxes: list[dict[str, Any]] = []
    if reference is not None:
        reference.embed(
            versions=versions, alone=descriptor is not None, progress=progress, notice=notice
        )
        section, boxes = reference.compare(store, scored, scale, progress=progress)
        clock.lap("reference")

    report = canonical.build(
        config=config,
        generator=request.generator,
        card=None if request.descriptor is None else request.descriptor.card,
        diagnosis=diagnosis,
        boxes=boxes,
        scale={"theta": request.theta, "radius": request.radius, **request.origins},
        counts={name: canonical.count_statuses(slots) for name, slots in status.items()},
        screen=seen,
        labels=labels,
        reference=section,
        gallery=pictures.figures(files, radius=request.radius) if files else None,
        warnings=warnings,
        assumptions=request.assumptions(),
        environment=versions | {"backend": scored.backend},
        timings=clock.laps,
    )
    write_json(store.folder / canonical.NAME, report)
    table.write_parquet(diagnosis, store.folder)
    outputs.write_own(report, store.folder)
    outputs.write(report, store.folder, split_outputs(config.output))
    return Audit(diagnosis, report, store.folder)


def _look(
    store: Store, config: DiagnoseConfig, *, what: str
) -> tuple[dict[str, NDArray[np.uint8]], Screen]:
    """The status of every slot by stream, and the screen of all of them."""
    marks = {
        stream: store.marks(stream, stop)
        for stream, stop in ((Stream.ANCHORS, config.anchors), (Stream.SAMPLES, config.samples))
    }
    reasons = store.reasons(Stream.ANCHORS, config.anchors) + store.reasons(
        Stream.SAMPLES, config.samples
    )
    seen = screen(*marks[Stream.ANCHORS], *marks[Stream.SAMPLES], reasons=reasons, what=what)
    return {stream.name.lower(): status for stream, (status, _) in marks.items()}, seen


def plan(config: DiagnoseConfig) -> dict[str, Any]:
    """What `diagnose` would do: the request with origins, and an estimate from the first images.

    Raises:
      GanauditError: whatever would stop the run at its start.
    """
    request = open_request(config)
    if config.reference is not None:
        Reference(request)
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


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[f"{name}_s"] = round(now - self._last, 3)
        self._last = now


def own_folder(*, resume: bool) -> Path:
    """Where a run goes that names no folder: a free one, or audit when resuming."""
    return Path("audit") if resume else free_folder("audit")


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
