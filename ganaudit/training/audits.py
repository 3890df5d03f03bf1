"""An audit of a model as it learns: what `ganaudit diagnose` finds, in a few figures."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import fidelity
from ganaudit.config import DiagnoseConfig, TrainConfig, split_owned
from ganaudit.errors import ConfigError
from ganaudit.generators import Source
from ganaudit.opening import open_request
from ganaudit.pipeline import diagnose
from ganaudit.reference import Reference
from ganaudit.runner import Progress
from ganaudit.scoring import valid_rows
from ganaudit.starting import REFERENCE
from ganaudit.store import Store
from ganaudit.training.recipe import OWNERS
from ganaudit.training.toys import TOYS, covered

TOY = "toy:"
_MOST_ROWS, _FEWEST_ROWS = 4_000, 100  # of either side, for intervals


def check(config: TrainConfig, real: Source) -> None:
    """Refuse audits that cannot be, before anything is trained.

    Raises:
      ConfigError: the descriptor cannot be opened, its reach is not known, or the training images
        are too few to be compared with.
    """
    request = open_request(_request(config, "training data", out=None), source=real)
    try:
        Reference(request, source=real)
    except ConfigError as error:
        raise ConfigError(f"the audits cannot be made: {error}") from error


def audit(
    config: TrainConfig,
    generator: Path,
    real: Source,
    out: Path,
    *,
    device: str,
    progress: Progress,
    notice: Callable[[str], None],
) -> dict[str, Any]:
    """Diagnose a generator's file beside the images it was trained on; figures of the report.

    Args:
      config: of the training; it names the descriptor and says how much is sampled.
      generator: its file.
      real: the training's own images.
      out: folder of the run; one of another generator is replaced.
      device: cpu or cuda:N.
      progress: as of `diagnose`.
      notice: likewise.
    """
    if out.exists():  # of a training that was interrupted after this audit
        shutil.rmtree(out)
    found = diagnose(
        replace(_request(config, f"checkpoint:{generator}", out=out), device=device),
        reference=real,
        progress=progress,
        notice=notice,
    )
    slots = min(found.report["reference"]["images"], config.audit_anchors + config.audit_samples)
    return figures_of(found.report) | _with_intervals(
        found.folder, real=slots, samples=config.audit_samples
    )


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


def _with_intervals(folder: Path, *, real: int, samples: int) -> dict[str, Any]:
    """Fréchet distance, density and coverage again, from the rows of a run, with intervals.

    `real` and `samples` are slots of the reference and of the run.
    """
    theirs = valid_rows(Store(folder / REFERENCE), first=0, stop=real, most=_MOST_ROWS)
    ours = valid_rows(Store(folder), first=0, stop=samples, most=_MOST_ROWS)
    if min(len(theirs), len(ours)) < _FEWEST_ROWS:
        return {}
    return {name: one.figures() for name, one in fidelity.jackknifed(theirs, ours).items()}


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of a canonical report: what the training's page shows of it."""
    figures, real = report["figures"], report["reference"]
    fidelity = {} if real is None else real["fidelity"]
    return {
        "worst_rate": figures["worst_mode"]["rate"],
        "median_rate": figures["median_rate"],
        "effective_modes": {
            end: figures["effective_modes"][end] for end in ("estimate", "low", "high")
        },
        "mean_similarity": figures["mean_similarity"],
        "mu": figures["mccs"]["mu"],
        "n": figures["samples"],
        "vendi": figures["vendi"]["order_1"],
        "frechet_distance": fidelity.get("frechet_distance"),
        "kernel_distance": fidelity.get("kernel_distance"),
        "density": fidelity.get("density"),
        "coverage": fidelity.get("coverage"),
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
    }
