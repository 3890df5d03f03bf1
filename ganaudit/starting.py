"""A run begins or goes on: what is asked for is opened and looked at, and has its folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import Descriptor
from ganaudit.files import free_folder
from ganaudit.finished import Basis
from ganaudit.generators import Source
from ganaudit.maker import Maker, Recipe
from ganaudit.opening import Request, first_images, open_request
from ganaudit.probe import Probe
from ganaudit.reference import Reference
from ganaudit.report import canonical
from ganaudit.runner import Allowance, Team
from ganaudit.slots import Stream, shard_ranges
from ganaudit.store import Store

REFERENCE = "reference"  # folder of the real images' rows, in that of the run


@dataclass(frozen=True, kw_only=True)
class Run:
    """An opened request whose rows can be made.

    Attributes:
      request: opened.
      store: its folder, of this run.
      reference: real images; None: there are none.
      recipe: how slots become rows.
      versions: recorded beside every shard.
      warnings: sentences about how the run went so far.
      by_name: other processes can open generator and descriptor too.
      reopen: this one can open the generator again.
    """

    request: Request
    store: Store
    reference: Reference | None
    recipe: Recipe
    versions: dict[str, str]
    warnings: list[str]
    by_name: bool
    reopen: bool

    def maker(self) -> Maker:
        """Of rows and images, in this process."""
        return self.request.maker(self.recipe, reopen=self.reopen)

    def team(self) -> Team | None:
        """Worker processes; None: this process makes the rows."""
        return self.request.team(self.recipe) if self.by_name else None

    def allowance(self) -> Allowance:
        """Of slots without an image, in this run or its part."""
        config = self.request.config
        stops = {Stream.ANCHORS: config.anchors, Stream.SAMPLES: config.samples}
        return Allowance(
            config.max_failure_rate,
            slots=sum(
                end - begin
                for stop in stops.values()
                for begin, end in shard_ranges(stop, config.part)
            ),
            failed=sum(self.store.without_image(*item) for item in stops.items()),
        )

    def about(self, *, samples: int | None = None) -> dict[str, Any]:
        """What a report says beside its figures; `samples`: as many as count, None: all."""
        request = self.request
        config = request.config
        return canonical.about(
            config=config if samples is None else replace(config, samples=samples),
            generator=request.generator,
            card=None if request.descriptor is None else request.descriptor.card,
            scale={"theta": request.theta, "radius": request.radius, **request.origins},
            warnings=self.warnings,
            assumptions=request.assumptions(),
            environment=self.versions,
        )


def start(
    config: DiagnoseConfig,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    reference: Source | None = None,
    expected: Basis | None = None,
    notice: Callable[[str], None],
) -> Run:
    """Open a request, and the folder that its rows go to.

    Args:
      config: the request.
      source: taken instead of opening `config.generator`, which then names it.
      descriptor: likewise, instead of `config.descriptor`.
      reference: likewise, a finite collection instead of `config.reference`, which names it.
      expected: what the run must have in common with another; None: nothing.
      notice: told what was found on the way.

    Raises:
      ConfigError: the request cannot be carried out.
      SourceError: the generator gave nothing that can be scored.
    """
    request = open_request(config, source=source, descriptor=descriptor)
    if expected is not None:
        Basis.of(request.manifest(), request.scale(), config).check(
            expected, here=config.generator, there="the baseline"
        )
    real = None if config.reference is None else Reference(request, source=reference)
    store = Store(config.out or own_folder(resume=config.resume))

    # A folder that holds a run is continued only if the same things decide its rows.
    if config.resume:
        store.open(request.manifest(), resume=True)
        for name in (name for stream in Stream for name in store.discard_damaged(stream)):
            notice(f"{name} was damaged and is made again")
        if real is not None:
            real.open(store.folder / REFERENCE, notice=notice)
    earlier = store.every_version() if config.resume else []
    gaps = [
        (stream, gap)
        for stream, stop in ((Stream.ANCHORS, config.anchors), (Stream.SAMPLES, config.samples))
        for gap in store.missing(stream, stop, config.part)
    ]
    lacking = sum(end - begin for _, (begin, end) in gaps)
    requests = request.requests(lacking)

    # The first images say whether there are any, how many fit at once, who needs them singly.
    batch = config.batch or _batch_of(earlier)
    if requests is None:
        found = first_images(request, batch=batch)
    elif gaps:  # of a service what is stored is asked for no more
        stream, gap = gaps[0]
        found = first_images(request, batch=batch, slots=(stream, np.arange(*gap)))
    else:
        recipe = replace(request.recipe(), batch=batch or 1, width=store.width())
        found = Probe(recipe, [], None, None)
    versions = canonical.versions() | {"device": request.device, "batch": str(found.recipe.batch)}
    warnings = found.warnings + _changes(earlier, versions)
    for sentence in warnings:
        notice(sentence)
    if requests and found.seconds_per_image is not None:
        notice(
            f"{requests:,} requests for {lacking:,} images, about "
            f"{found.seconds_per_image * lacking:,.0f} s at the pace of the first ones; what fails "
            "is asked for again"
        )

    # A new run gets its folder once it is known that there are images.
    if not config.resume:
        store.open(request.manifest(), resume=False)
        if real is not None:
            real.open(store.folder / REFERENCE, notice=notice)
    return Run(
        request=request,
        store=store,
        reference=real,
        recipe=found.recipe,
        versions=versions,
        warnings=warnings,
        by_name=source is None and descriptor is None,
        reopen=source is None,
    )


def own_folder(*, resume: bool) -> Path:
    """Where a run goes that names no folder: a free one, or audit when resuming."""
    return Path("audit") if resume else free_folder("audit")


def _batch_of(earlier: list[dict[str, str]]) -> int | None:
    """The batch of stored shards: rows are bit-equal at one batch size only."""
    batch = earlier[0].get("batch", "") if earlier else ""
    return int(batch) or None if batch.isdecimal() and len(batch) < 10 else None


def _changes(earlier: list[dict[str, str]], now: dict[str, str]) -> list[str]:
    """A warning when stored shards were made under other versions, or at another batch."""
    changed = canonical.changes(earlier, now)
    if not changed:
        return []
    return [
        f"the stored rows were made with other versions ({changed}): new rows may differ from "
        "them in the last bits"
    ]
