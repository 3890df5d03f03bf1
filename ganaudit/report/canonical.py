"""report.json: everything that is known about one audit, and what it was run with."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError
from ganaudit.generators import Status
from ganaudit.screen import Screen

SCHEMA_VERSION = 2
NAME = "report.json"
_MOST_BYTES = 2**25
_PACKAGES = ("ganaudit", "torch", "numpy", "scipy", "onnxruntime", "faiss-gpu", "faiss-cpu")


def build(
    *,
    config: DiagnoseConfig,
    generator: Mapping[str, Any],
    card: DescriptorCard | None,
    diagnosis: Diagnosis,
    boxes: Sequence[Mapping[str, Any]],
    scale: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    screen: Screen,
    labels: Mapping[str, Any] | None,
    reference: Mapping[str, Any] | None,
    gallery: Mapping[str, Any] | None,
    warnings: list[str],
    assumptions: list[str],
    environment: Mapping[str, Any],
    timings: Mapping[str, Any],
) -> dict[str, Any]:
    """The document. Two runs of the same request differ in nothing but `timings`.

    Args:
      config: the request; what does not touch a figure (folder, workers, formats) is left out.
      generator: its identity.
      card: of the descriptor; None where embeddings were given.
      diagnosis: the figures.
      boxes: box plots beside the run's own.
      scale: theta and radius with their origins.
      counts: slots by status, for anchors and samples.
      screen: what the images alone say.
      labels: figures by label of a conditional generator; None: it is none.
      reference: the comparison with real images; None: there are none.
      gallery: slots and file names of the pictures; None: there are none.
      warnings: sentences about how the run went.
      assumptions: sentences about what nobody declared.
      environment: versions, device, batch, backend.
      timings: seconds and rates; excluded from any comparison of reports.
    """
    figures = diagnosis.figures()
    figures["boxes"] += [dict(box) for box in boxes]
    return {
        "schema_version": SCHEMA_VERSION,
        "request": {
            "generator": config.generator,
            "descriptor": config.descriptor,
            "anchors": config.anchors,
            "samples": config.samples,
            "labels": config.labels,
            "seed": config.seed,
            "set": list(config.set),
            "reference": config.reference,
        },
        "generator": dict(generator),
        "descriptor": None if card is None else asdict(card),
        "scale": dict(scale),
        "counts": {name: dict(count) for name, count in counts.items()},
        "screen": screen.figures(),
        "figures": figures,
        "labels": None if labels is None else dict(labels),
        "reference": None if reference is None else dict(reference),
        "gallery": None if gallery is None else dict(gallery),
        "warnings": warnings,
        "assumptions": assumptions,
        "environment": dict(environment),
        "timings": dict(timings),
    }


def read(folder: Path) -> dict[str, Any]:
    """The document of a finished run.

    Raises:
      ConfigError: there is none, or it is damaged or of another version.
    """
    path = folder / NAME
    try:
        if not path.is_file():
            raise ConfigError(f"{folder} holds no {NAME}: it is no finished run")
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: it is none of ours")
        report = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(report, ensure_ascii=False, allow_nan=False).encode()  # can be written again
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    found = report.get("schema_version") if isinstance(report, dict) else None
    if found != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema version {found!r:.20}, wanted {SCHEMA_VERSION}; run diagnose with "
            "--resume to score the run again"
        )
    assert isinstance(report, dict)
    return report


def count_statuses(status: NDArray[np.uint8]) -> dict[str, int]:
    """How many slots have which status, by its name in lower case."""
    found = np.bincount(status, minlength=len(Status))
    return {member.name.lower(): int(found[member]) for member in Status}


def versions() -> dict[str, str]:
    """Python and the packages whose release can change the last bits of a figure."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
