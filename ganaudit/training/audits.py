"""An audit of a model as it learns: what `ganaudit diagnose` finds, in a few figures."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import fidelity
from ganaudit.config import DiagnoseConfig, TrainConfig, split_owned
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.generators import Source
from ganaudit.opening import open_request
from ganaudit.pipeline import diagnose
from ganaudit.reference import Reference
from ganaudit.runner import Progress
from ganaudit.scoring import valid_rows
from ganaudit.slots import Stream
from ganaudit.starting import REFERENCE
from ganaudit.store import Store
from ganaudit.training.resolving import OWNERS
from ganaudit.training.toys import TOYS, covered

TOY = "toy:"
_MOST_ROWS, _FEWEST_ROWS = 4_000, 100  # of either side, for intervals


@dataclass(frozen=True)
class Found:
    """What an audit found.

    Attributes:
      figures: numbers, or {"estimate", "low", "high"}; None: not known.
      under: JSON values that they depend on: descriptor, theta, radius, anchors and samples.
    """

    figures: dict[str, Any]
    under: dict[str, Any]


def check(config: TrainConfig, real: Source) -> None:
    """Refuse audits that cannot be, before anything is trained.

    Raises:
      ConfigError: the descriptor cannot be opened, its reach is not known, or the training images
        are too few to be compared with.
    """
    wanted = _request(config, "training data", out=None)
    request = open_request(replace(wanted, anchors=1, samples=1), source=real)  # however few
    try:
        Reference(replace(request, config=wanted), source=real)
    except ConfigError as error:
        raise ConfigError(f"the audits cannot be made: {error}") from error


def audit(
    config: TrainConfig,
    generator: Path,
    real: Source,
    out: Path,
    *,
    labels: Path | None = None,
    device: str,
    progress: Progress,
    notice: Callable[[str], None],
) -> Found:
    """Diagnose a generator's file beside the images it was trained on; figures of the report.

    The real images are embedded once: an audit takes their rows from one beside it.

    Args:
      config: of the training; it names the descriptor and says how much is sampled.
      generator: its file.
      real: the training's own images.
      out: folder of the run, in that of all audits; one that is there is replaced.
      labels: a file with the classes of the training's images, as `diagnose` takes it: classes are
        as frequent in the audit as in the training. None: the generator takes none.
      device: cpu or cuda:N.
      progress: as of `diagnose`.
      notice: likewise.

    Raises:
      SourceError: the generator gave nothing that can be scored.
      ConfigError: too little of what it gave can be scored.
      GanauditError: the folder cannot be written.
    """
    try:
        if out.exists():  # of a training that was interrupted in or after this audit
            shutil.rmtree(out)
    except OSError as error:
        raise GanauditError(f"{out} cannot be replaced: {error.strerror or error}") from error
    earlier = sorted(out.parent.glob(f"*/{REFERENCE}"))
    made = diagnose(
        replace(
            _request(config, f"checkpoint:{generator}", out=out),
            device=device,
            labels=None if labels is None else str(labels),
        ),
        reference=real,
        reference_rows=earlier[-1] if earlier else None,
        progress=progress,
        notice=notice,
    )
    report = made.report
    intervals = _intervals(made.folder, report["reference"])
    return Found(figures_of(report) | intervals, _under(report))


def _request(config: TrainConfig, generator: str, *, out: Path | None) -> DiagnoseConfig:
    options = split_owned(config.set, OWNERS)["descriptor"]
    return DiagnoseConfig(
        generator=generator,
        descriptor=config.descriptor,
        set=tuple(f"descriptor.{key}={value}" for key, value in options.items()),
        theta=config.theta,
        radius=config.radius,
        anchors=config.audit_anchors,
        samples=config.audit_samples,
        reference="training data",
        plugin=config.plugin,
        trust=config.trust,
        workers=1,
        device=config.device,
        seed=config.seed,
        out=out,
    )


def _intervals(folder: Path, section: Mapping[str, Any]) -> dict[str, Any]:
    """Fréchet distance, density and coverage of a run with intervals; {}: too few rows for them.

    Up to 4,000 rows a side they are of the very rows that the section of its report is about, so
    that the estimates are the same; of more rows, of the first 4,000.
    """
    first, rows = section["anchors"], min(_MOST_ROWS, section["fidelity"]["rows"])
    if rows < _FEWEST_ROWS:
        return {}
    real, run = Store(folder / REFERENCE), Store(folder)
    theirs = valid_rows(real, first=0, stop=_stored(real), most=first + rows)[first:]
    ours = valid_rows(run, first=0, stop=_stored(run), most=rows)
    found = fidelity.jackknifed(theirs, ours)
    return {name: one.figures() for name, one in found.items()} | {"rows": rows}


def _stored(store: Store) -> int:
    """One past the last sample of a run that is complete."""
    return max(end for _, end, _ in store.shards(Stream.SAMPLES))


def _under(report: Mapping[str, Any]) -> dict[str, Any]:
    scale, figures = report["scale"], report["figures"]
    return {
        "descriptor": report["descriptor"]["name"],
        "theta": scale["theta"],
        "radius": scale["radius"],
        "anchors": figures["anchors"],
        "samples": figures["samples"],
    }


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a canonical report: what the training's page shows of it."""
    figures, real, vendi = report["figures"], report["reference"], report["figures"]["vendi"]
    compared, ratios = ({}, {}) if real is None else (real["fidelity"], real["ratios"])
    return {
        "worst_rate": figures["worst_mode"]["rate"],
        "median_rate": figures["median_rate"],
        "effective_modes": {
            end: figures["effective_modes"][end] for end in ("estimate", "low", "high")
        },
        "mean_similarity": figures["mean_similarity"],
        "mu": figures["mccs"]["mu"],
        "n": figures["samples"],
        "vendi": None if vendi is None else vendi["order_1"],
        "near_copies": figures["near_copies"]["flagged"],
        "worst_ratio": ratios.get("worst_rate"),
        "similarity_ratio": ratios.get("mean_similarity"),
        "frechet_distance": compared.get("frechet_distance"),
        "kernel_distance": compared.get("kernel_distance"),
        "density": compared.get("density"),
        "coverage": compared.get("coverage"),
        "rows": compared.get("rows"),
    }


def toy_figures(name: str, points: NDArray[np.float32]) -> dict[str, Any]:
    """How many modes of a toy points reach; empty: the data are no toy."""
    toy = TOYS.get(name.removeprefix(TOY)) if name.startswith(TOY) else None
    if toy is None:
        return {}
    found = covered(points, toy())
    return {
        "modes": found.modes,
        "modes_of": found.of,
        "good": found.good,
        "largest_mode": found.largest,
        "n": len(points),
    }
