"""READ FIRST: an audit from request to result, one step a paragraph."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganaudit.config import DiagnoseConfig, split_outputs
from ganaudit.descriptors import Descriptor
from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError
from ganaudit.finished import Basis
from ganaudit.gallery import pictures_of
from ganaudit.generators import Source
from ganaudit.maker import Maker
from ganaudit.measuring import measure
from ganaudit.merging import unite
from ganaudit.opening import open_device
from ganaudit.parts import Part, part_of
from ganaudit.report import canonical, outputs
from ganaudit.runner import Progress, fill, silent
from ganaudit.scoring import Scale
from ganaudit.slots import Stream
from ganaudit.starting import Run, start
from ganaudit.watching import Watch


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


def diagnose(
    config: DiagnoseConfig,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    reference: Source | None = None,
    reference_rows: Path | None = None,
    expected: Basis | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda text: None,
) -> Audit:
    """Measure intra-mode collapse of a generator.

    Args:
      config: the request.
      source: a generator object to audit instead of opening `config.generator`, which then names
        it; one process only.
      descriptor: likewise, instead of `config.descriptor`.
      reference: likewise, a finite collection instead of `config.reference`, which names it.
      reference_rows: the folder `reference` of an earlier run: its rows are not made again if the
        same images, descriptor, seed and versions made them.
      expected: what the run must have in common with another; None: nothing.
      watch: looks at the samples as they come and says when they are enough; None: it takes all
        of `config.samples`.
      progress: told (what, done, total) as slots are made and scored.
      notice: told a sentence now and then.

    Returns:
      The audit; its folder holds the rows and report.json, and can be resumed.

    Raises:
      ConfigError: the request cannot be carried out.
      SourceError: the generator gave nothing that can be scored.
    """
    if config.part is not None:
        raise ConfigError(
            "--shard makes a part of a run, which has no figures until all are merged"
        )
    clock = _Clock()
    run = start(
        config,
        source=source,
        descriptor=descriptor,
        reference=reference,
        expected=expected,
        notice=notice,
    )
    request, scale = run.request, run.request.scale()
    clock.lap("opening")

    with closing(run.maker()) as maker:
        samples = _make_rows(
            run, maker, watch=watch, progress=progress, notice=notice, lap=clock.lap
        )

        found = measure(
            run.store,
            scale,
            anchors=config.anchors,
            samples=samples,
            what=request.what,
            law=request.law,
            seed=config.seed,
            progress=progress,
            lap=clock.lap,
        )

        # Pictures of what repeats: the run keeps embeddings, so they are asked for again.
        gallery = pictures_of(found, run.store, scale, seed=config.seed, maker=maker)
        clock.lap("pictures")

    # Real images, where there are any, are a baseline for the same figures.
    section: dict[str, Any] | None = None
    boxes: list[dict[str, Any]] = []
    if run.reference is not None:
        run.reference.embed(
            anchors=config.anchors,
            samples=samples,
            versions=run.versions,
            alone=descriptor is not None,
            earlier=reference_rows,
            progress=progress,
            notice=notice,
        )
        section, boxes = run.reference.compare(run.store, found.scored, scale, progress=progress)
        clock.lap("reference")

    report = canonical.build(
        about=run.about(samples=samples),
        diagnosis=found.diagnosis,
        comparable=found.comparable,
        counts=found.counts(),
        screen=found.screen,
        labels=found.labels,
        boxes=boxes,
        reference=section,
        gallery=gallery,
        backend=found.scored.backend,
        timings=clock.laps,
    )
    outputs.write_run(report, found.diagnosis, run.store.folder, split_outputs(config.output))
    return Audit(found.diagnosis, report, run.store.folder)


def make_part(
    config: DiagnoseConfig,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda text: None,
) -> Part:
    """Make the rows of one part of a run, `config.shard`; `merge` scores all parts together.

    Args:
      config: the request of the whole run, and which part.
      source: as in `diagnose`.
      descriptor: as in `diagnose`.
      progress: told (what, done, total) as slots are made.
      notice: told a sentence now and then.

    Raises:
      ConfigError: the request cannot be carried out, or the folder holds another part.
      SourceError: the generator gave nothing that can be scored.
    """
    run = start(config, source=source, descriptor=descriptor, notice=notice)
    part = part_of(run)
    with closing(run.maker()) as maker:
        _make_rows(run, maker, progress=progress, notice=notice)
    part.write()
    return part


def merge(
    parts: Sequence[Path],
    out: Path,
    *,
    device: str = "auto",
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda text: None,
) -> Audit:
    """Unite the parts of a run and score it, without its generator.

    Args:
      parts: folders that `make_part` filled, all parts of one run.
      out: folder of the run: a new one, or one of the same run.
      device: that scores: auto, cpu, cuda or cuda:N.
      progress: told (what, done, total) as parts are looked through and scored.
      notice: told a sentence now and then.

    Returns:
      The audit, as `diagnose` gives it, with those pictures that the parts kept; `diagnose` with
      `resume` adds the others.

    Raises:
      ConfigError: a part is missing, not complete or damaged, or parts are of different runs.
      SourceError: nothing can be scored.
    """
    clock = _Clock()
    scored_on = open_device(device)
    run = unite(parts, out, progress=progress)
    request, about = run.about["request"], run.about
    scale = Scale(
        theta=about["scale"]["theta"],
        radius=about["scale"]["radius"],
        backend=run.backend,
        device=scored_on,
    )
    for sentence in about["warnings"]:
        notice(sentence)
    clock.lap("merging")

    found = measure(
        run.store,
        scale,
        anchors=request["anchors"],
        samples=request["samples"],
        what="embedding" if about["descriptor"] is None else "image",
        law=run.law,
        seed=request["seed"],
        progress=progress,
        lap=clock.lap,
    )
    gallery = pictures_of(found, run.store, scale, seed=request["seed"])
    if gallery is None and about["descriptor"] is not None:
        notice(f"the same diagnose with --resume --out {run.store.folder} adds the pictures")
    clock.lap("pictures")

    report = canonical.build(
        about=about,
        diagnosis=found.diagnosis,
        comparable=found.comparable,
        counts=found.counts(),
        screen=found.screen,
        labels=found.labels,
        gallery=gallery,
        backend=found.scored.backend,
        timings=clock.laps,
    )
    outputs.write_run(report, found.diagnosis, run.store.folder)
    return Audit(found.diagnosis, report, run.store.folder)


def _make_rows(
    run: Run,
    maker: Maker,
    *,
    watch: Watch | None = None,
    progress: Progress,
    notice: Callable[[str], None],
    lap: Callable[[str], None] = lambda stage: None,
) -> int:
    """Draw, render, embed and store every slot that is not stored yet; how many samples count."""
    config = run.request.config
    allowance = run.allowance()
    for stream, stop in ((Stream.ANCHORS, config.anchors), (Stream.SAMPLES, config.samples)):
        watched = watch if stream is Stream.SAMPLES else None
        if watched is not None:
            watched.begin(run.store, run.request.scale(), anchors=config.anchors)
        reasons = fill(
            run.store,
            stream,
            stop,
            maker,
            versions=run.versions,
            progress=progress,
            part=config.part,
            team=run.team(),
            allowance=allowance,
            **({} if watched is None else {"enough": watched.enough}),
        )
        for reason, slots in reasons.most_common(5):
            notice(f"{slots} of the {stream.name.lower()} have no image: {reason}")
        lap(stream.name.lower())
    return config.samples if watch is None else watch.looked


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[f"{name}_s"] = round(now - self._last, 3)
        self._last = now
