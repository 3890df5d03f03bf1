"""training.json: what a training did, for the page and for programs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ganaudit.files import sha256_of
from ganaudit.training.journal import AUDIT, NO_AUDIT, STEP, is_number, read_log
from ganaudit.training.loop import Ending
from ganaudit.training.origin import DISCRIMINATOR, GENERATOR
from ganaudit.training.scribe import AUDITS, SAMPLES
from ganaudit.training.states import State, name_of

SCHEMA_VERSION = 1
KIND = "training"
_MOST_POINTS = 500  # of a curve
_PICTURE = re.compile(r"step-([0-9]{8})\.png")
_NO_CURVES = ("kind", "step", "kimg", "time_s", "not_finite")  # members of a line of the log


def build(
    out: Path,
    ending: Ending,
    *,
    configuration: Mapping[str, Any],
    networks: State,
    seconds: float,
    start: int,
) -> dict[str, Any]:
    """The document of a training, from what its folder holds.

    Args:
      out: the folder.
      ending: how it ended.
      configuration: what its config.json holds.
      networks: of the same recipe, for their sizes.
      seconds: that it took, of a resumed one since it went on.
      start: steps that were taken before.
    """
    recipe, request = configuration["recipe"], configuration["request"]
    log = read_log(out)
    shown = recipe["batch"] * recipe["optim"]["discriminator_steps"]
    taken = max(0, ending.step - start)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "status": ending.status,
        "message": ending.message,
        "steps": ending.step,
        "kimg": ending.step * shown / 1000,
        "seconds": round(seconds, 1),
        "images_per_s": taken * shown / seconds if taken and seconds else None,
        "recipe": recipe,
        "preset": request.get("preset"),
        "data": configuration["data"],
        "notes": configuration.get("notes", []),
        "parameters": parameters(networks),
        "curves": curves([line for line in log if line["kind"] == STEP]),
        "samples": _samples(out, ending.step),
        "audits": [_audit(out, line) for line in log if line["kind"] == AUDIT],
        "not_audited": [
            {"step": line["step"], "message": line["message"]}
            for line in log
            if line["kind"] == NO_AUDIT
        ],
        "files": {
            name: {"sha256": sha256_of(out / name)}
            for name in (GENERATOR, DISCRIMINATOR)
            if (out / name).is_file()
        },
        "environment": configuration["environment"],
    }


def parameters(state: State) -> dict[str, int]:
    """How many numbers each network learns."""
    return {"generator": _count(state.generator), "discriminator": _count(state.discriminator)}


def curves(lines: list[dict[str, Any]]) -> dict[str, list[list[float | None]]]:
    """Of lines of the log: [step, mean] by name, at most 500 of each; neighbours are averaged.

    A mean that was not finite is left out of an average; null: all of them are.
    """
    names = dict.fromkeys(name for line in lines for name in line if name not in _NO_CURVES)
    found = {}
    for name in names:
        points = [
            (line["step"], line[name])
            for line in lines
            if name in line and (line[name] is None or is_number(line[name]))
        ]
        each = -(-len(points) // _MOST_POINTS)
        found[name] = [_mean(points[i : i + each]) for i in range(0, len(points), each or 1)]
    return found


def _mean(points: list[tuple[int, float | None]]) -> list[float | None]:
    known = [value for _, value in points if value is not None]
    return [points[-1][0], sum(known) / len(known) if known else None]


def _samples(out: Path, last: int) -> list[dict[str, Any]]:
    """Pictures up to a step; later ones are of a training that was set back."""
    found = [
        (int(match[1]), path.name)
        for path in sorted((out / SAMPLES).glob("*.png"))
        if (match := _PICTURE.fullmatch(path.name)) and int(match[1]) <= last
    ]
    return [{"step": step, "file": f"{SAMPLES}/{name}"} for step, name in found]


def _audit(out: Path, line: Mapping[str, Any]) -> dict[str, Any]:
    folder = f"{AUDITS}/{name_of(line['step'])}"
    there = (out / folder / "report.html").is_file()
    return {
        "step": line["step"],
        "folder": folder if there else None,
        "under": line["under"],
        "figures": line["figures"],
    }


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
