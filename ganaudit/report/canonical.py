"""report.json: everything that is known about one audit, and what it was run with."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.comparable import Comparable
from ganaudit.config import DiagnoseConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError
from ganaudit.files import is_file, read_json
from ganaudit.generators import Status
from ganaudit.screen import Screen

SCHEMA_VERSION = 3
KIND = "report"
NAME = "report.json"
PART = "part.json"  # in its place: what is known of a run of which a folder holds a part
_MOST_BYTES = 2**25
_MOST_SAID = 200  # characters of a change of versions
_PACKAGES = ("ganaudit", "torch", "numpy", "scipy", "onnxruntime", "faiss-gpu", "faiss-cpu")


def about(
    *,
    config: DiagnoseConfig,
    generator: Mapping[str, Any],
    card: DescriptorCard | None,
    scale: Mapping[str, Any],
    warnings: Sequence[str],
    assumptions: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """What a report says beside its figures: as JSON values, known once a request is opened.

    Args:
      config: the request; what does not touch a figure (folder, workers, formats) is left out.
      generator: its identity.
      card: of the descriptor; None where embeddings were given.
      scale: theta and radius with their origins.
      warnings: sentences about how the run went.
      assumptions: sentences about what nobody declared.
      environment: versions, device and batch.
    """
    return {
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
        "warnings": list(warnings),
        "assumptions": list(assumptions),
        "environment": dict(environment),
    }


def build(
    *,
    about: Mapping[str, Any],
    diagnosis: Diagnosis,
    comparable: Comparable,
    counts: Mapping[str, Mapping[str, int]],
    screen: Screen,
    labels: Mapping[str, Any] | None,
    boxes: Sequence[Mapping[str, Any]] = (),
    reference: Mapping[str, Any] | None = None,
    gallery: Mapping[str, Any] | None,
    backend: str,
    timings: Mapping[str, Any],
) -> dict[str, Any]:
    """The document. Two runs of the same request differ in nothing but `timings`.

    Args:
      about: what `about` gave.
      diagnosis: the figures.
      comparable: those that limits and other runs are held against.
      counts: slots by status, for anchors and samples.
      screen: what the images alone say.
      labels: figures by label of a conditional generator; None: it is none.
      boxes: box plots beside the run's own.
      reference: the comparison with real images; None: there are none.
      gallery: slots and file names of the pictures; None: there are none.
      backend: by which pairs were found.
      timings: seconds and rates; excluded from any comparison of reports.
    """
    figures = diagnosis.figures()
    figures["boxes"] += [dict(box) for box in boxes]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "request": about["request"],
        "generator": about["generator"],
        "descriptor": about["descriptor"],
        "scale": about["scale"],
        "counts": {name: dict(count) for name, count in counts.items()},
        "screen": screen.figures(),
        "figures": figures,
        "comparable": comparable.document(),
        "labels": None if labels is None else dict(labels),
        "reference": None if reference is None else dict(reference),
        "gallery": None if gallery is None else dict(gallery),
        "warnings": about["warnings"],
        "assumptions": about["assumptions"],
        "environment": about["environment"] | {"backend": backend},
        "timings": dict(timings),
    }


def read(folder: Path) -> dict[str, Any]:
    """The document of a finished run.

    Raises:
      ConfigError: there is none, or it is damaged or of another version.
    """
    path = folder / NAME
    if not is_file(path):
        if is_file(folder / PART):
            raise ConfigError(
                f"{folder} is a part of a run and no finished one: unite all of its parts with "
                "ganaudit merge"
            )
        raise ConfigError(f"{folder} holds no {NAME}: it is no finished run")
    report = read_json(path, most_bytes=_MOST_BYTES)
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


def changes(earlier: Sequence[Mapping[str, str]], now: Mapping[str, str]) -> str:
    """What rows were made with and no longer is so: "torch 2.10 -> 2.11"; empty: nothing.

    Args:
      earlier: versions recorded with rows.
      now: those of today.
    """
    names = sorted({name for versions in (*earlier, now) for name in versions})
    changed = []
    for name in names:
        before = list(dict.fromkeys(versions.get(name, "absent") for versions in earlier))
        today = now.get(name, "absent")
        if any(value != today for value in before):
            changed.append(f"{name} {' and '.join(before)} -> {today}"[:_MOST_SAID])
    return ", ".join(changed)
