"""report.json: everything that is known about one audit, and what it was run with."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.diagnosis import Diagnosis
from ganaudit.generators import Status

SCHEMA_VERSION = 1
_PACKAGES = ("ganaudit", "torch", "numpy", "onnxruntime", "faiss-gpu", "faiss-cpu")


def build(
    *,
    config: DiagnoseConfig,
    generator: Mapping[str, Any],
    card: DescriptorCard | None,
    diagnosis: Diagnosis,
    scale: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
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
      scale: theta and radius with their origins.
      counts: slots by status, for anchors and samples.
      warnings: sentences about how the run went.
      assumptions: sentences about what nobody declared.
      environment: versions, device, batch, backend.
      timings: seconds and rates; excluded from any comparison of reports.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "request": {
            "generator": config.generator,
            "descriptor": config.descriptor,
            "anchors": config.anchors,
            "samples": config.samples,
            "seed": config.seed,
            "set": list(config.set),
        },
        "generator": dict(generator),
        "descriptor": None if card is None else asdict(card),
        "scale": dict(scale),
        "counts": {name: dict(count) for name, count in counts.items()},
        "figures": diagnosis.figures(),
        "warnings": warnings,
        "assumptions": assumptions,
        "environment": dict(environment),
        "timings": dict(timings),
    }


def count_statuses(status: NDArray[np.uint8]) -> dict[str, int]:
    """How many slots have which status, by its name in lower case."""
    found = np.bincount(status, minlength=len(Status))
    return {member.name.lower(): int(found[member]) for member in Status}


def versions() -> dict[str, str]:
    """Python and the packages whose release can change the last bits of a row."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
