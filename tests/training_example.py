"""Complete, plausible trainings, for what shows them. Nothing here was measured."""

import math
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report_example import HOSTILE, _face, _replaced

from ganaudit.grids import draw_grid, encode_png

Json = Any
STEPS = 10_000


def interval(value: float, spread: float = 0.08, *, most: float = math.inf) -> Json:
    low, high = value * (1 - spread), min(most, value * (1 + spread))
    return {"estimate": value, "low": low, "high": high}


def figures(share: float) -> Json:
    """Of an audit after a share of the training, from 0 to 1."""
    worst = 0.04 + 0.9 * (1 - share) ** 6
    return {
        "worst_rate": interval(worst, 0.12, most=1.0),
        "median_rate": 0.004 + 0.5 * (1 - share) ** 9,
        "effective_modes": interval(1 + 110 * share, 0.07),
        "mean_similarity": interval(0.9 * (1 - share) ** 6 + 0.0061, 0.09, most=1.0),
        "mu": interval(0.85 * (1 - share) ** 5 + 0.14, 0.03, most=1.0),
        "n": 4000,
        "vendi": interval(1 + 18 * share, 0.03),
        "near_copies": 3 if share == 1 else 0,
        "worst_ratio": interval(worst / 0.012, 0.3),
        "similarity_ratio": interval(1 + 12 * (1 - share), 0.06),
        "frechet_distance": interval(1.31 - 1.22 * share**0.5, 0.05),
        "kernel_distance": interval(0.021 - 0.0192 * share, 0.12),
        "density": interval(0.05 + 0.7 * share, 0.09),
        "coverage": interval(0.01 + 0.61 * share, 0.07, most=1.0),
        "rows": 4000,
    }


def audit(step: int, found: Json, under: Json) -> Json:
    folder = f"audits/step-{step:08d}" if "descriptor" in under else None
    return {"step": step, "folder": folder, "under": under, "figures": found}


def curve(start: float, end: float, seed: int, *, points: int = 200) -> Json:
    rng = np.random.default_rng(seed)
    share = np.linspace(0, 1, points)
    values = end + (start - end) * np.exp(-5 * share) + 0.05 * rng.normal(size=points)
    return [[int(STEPS * (i + 1) / points), float(v)] for i, v in enumerate(values)]


def document(*, audits: int = 6) -> Json:
    """A training on pictures with AdaptiveMix and AdvLatGAN-qua."""
    under = {
        "descriptor": "facenet",
        "theta": 0.25,
        "radius": 0.25,
        "anchors": 1000,
        "samples": 4000,
    }
    shares = [i / max(1, audits - 1) for i in range(audits)]
    return {
        "schema_version": 1,
        "kind": "training",
        "status": "finished",
        "message": "",
        "steps": STEPS,
        "kimg": 640.0,
        "seconds": 5123.4,
        "images_per_s": 124.9,
        "recipe": _recipe(),
        "preset": None,
        "data": {
            "name": "faces",
            "count": 12_000,
            "sha256": "5e" * 32,
            "size": 64,
            "fit": "crop",
            "channels": 3,
        },
        "notes": ["12 of 12,000 pictures repeat another to the last byte."],
        "parameters": {"generator": 3_576_704, "discriminator": 2_765_568},
        "curves": {
            "loss_discriminator": curve(1.4, 0.9, 1),
            "real_logit": curve(0, 1.2, 2),
            "fake_logit": curve(0, -1.3, 3),
            "adaptivemix_discriminator": curve(0.02, 0.3, 4),
            "loss_generator": curve(0.7, 1.9, 5),
            "adaptivemix_generator": curve(0.02, 0.2, 6),
        },
        "samples": [
            {"step": step, "file": f"samples/step-{step:08d}.png"}
            for step in range(0, STEPS + 1, STEPS // 10)
        ],
        "audits": [audit(round(STEPS * share), figures(share), under) for share in shares],
        "not_audited": [],
        "files": {
            "generator.safetensors": {"sha256": "ab" * 32},
            "discriminator.safetensors": {"sha256": "cd" * 32},
        },
        "environment": {"ganaudit": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
    }


def _recipe() -> Json:
    return {
        "arch": "dcgan",
        "generator": {"network": "dcgan", "arguments": {"size": 64, "width": 64, "channels": 3}},
        "discriminator": {"network": "dcgan_discriminator", "arguments": {"size": 64, "width": 64}},
        "conditional": False,
        "loss": {"name": "non-saturating", "clip": 0.0, "r1": 0.0, "r1_every": 1},
        "regularizers": {
            "adaptivemix": {"distance": "l2", "pairing": "union", "weight": 1.0},
            "advlatgan-qua": {"step": 0.03, "steps": 1, "radius": None},
        },
        "optim": {"lr": 2e-4, "discriminator_steps": 1, "decay": "none", "ema": 0.999},
        "batch": 64,
        "parts": 1,
        "steps": STEPS,
        "prior": "normal",
        "mirror": True,
        "precision": "32",
        "seed": 0,
    }


def two() -> Json:
    """Audited at the start and at the end alone: the usual case."""
    return document(audits=2)


def toy() -> Json:
    """Points of the plane, whose modes are counted."""
    made = document()
    made["recipe"] |= {"arch": "mlp", "regularizers": {}}
    made["preset"] = "toy-ring"
    made["data"] = {"name": "toy:ring", "count": 20_000, "sha256": "77" * 32}
    made["notes"] = []
    counts = [(0, 0.0, 0.0), (3, 0.21, 0.71), (6, 0.55, 0.3), (7, 0.8, 0.22), (8, 0.93, 0.16)]
    made["audits"] = [
        audit(
            i * STEPS // 4,
            {"modes": modes, "modes_of": 8, "good": good, "largest_mode": most, "n": 10_000},
            {"samples": 10_000},
        )
        for i, (modes, good, most) in enumerate(counts)
    ]
    return made


def diverged() -> Json:
    """No image could be audited at the start, and a loss was NaN before the first checkpoint."""
    made = document(audits=1)
    made |= {
        "status": "diverged",
        "steps": 730,
        "message": "at step 730 loss_discriminator was no longer finite",
        "audits": [],
        "not_audited": [{"step": 0, "message": "4 of 4 images have no face"}],
        "samples": made["samples"][:1],
    }
    made["curves"] = {
        "loss_discriminator": [[50, 1.2], [100, 3e7], [150, None]],
        "wgan": [[50, None]],
    }
    return made


def bare() -> Json:
    """Interrupted at once, without a descriptor; nothing is known."""
    made = document(audits=1)
    empty: Json = {"audits": [], "curves": {}, "samples": [], "files": {}, "notes": []}
    return made | empty | {"status": "interrupted", "steps": 1, "kimg": 0.0, "images_per_s": None}


def few() -> Json:
    """Too few samples for most intervals, and a worst mode that is no identity."""
    made = document(audits=1)
    one = made["audits"][0]
    one["under"] |= {"anchors": 64, "samples": 96}
    for name, value in one["figures"].items():
        if isinstance(value, dict):
            one["figures"][name] = value | {"low": None, "high": None}
    one["figures"] |= {
        "n": 96,
        "rows": 96,
        "worst_rate": {"estimate": 3 / 96, "low": 0.006, "high": 0.09},
        "effective_modes": {"estimate": None, "low": 21.0, "high": None},
        "vendi": None,
    }
    return made


def hostile() -> Json:
    """Every string that somebody else may have chosen is an attack."""
    made, strings = document(), cycle(HOSTILE)
    kept = ("kind", "status")
    made = dict(_replaced(made, lambda key, value: value if key in kept else next(strings)))
    made["samples"][1]["file"] = "../../secret.png"
    made["audits"][1]["folder"] = "../../../etc"
    made["curves"][HOSTILE[0]] = curve(0, 1, 9)
    made["environment"] = dict(zip(HOSTILE, reversed(HOSTILE), strict=True))
    made["notes"] = list(HOSTILE)
    made["not_audited"] = [{"step": 5, "message": text} for text in HOSTILE]
    return made


VARIANTS: dict[str, Callable[[], Json]] = {
    "six": document,
    "two": two,
    "toy": toy,
    "diverged": diverged,
    "bare": bare,
    "few": few,
    "hostile": hostile,
}


def paint(made: Json, folder: Path) -> Path:
    """The pictures that a training names, in a folder."""
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    for number, shown in enumerate(made["samples"]):
        if "/step-" in shown["file"]:
            (folder / shown["file"]).write_bytes(encode_png(_pixels(made, number)))
    return folder


def _pixels(made: Json, number: int) -> NDArray[np.uint8]:
    if "fit" not in made["data"]:
        noise = np.random.default_rng(number).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        return noise.repeat(10, 0).repeat(10, 1)
    faces = [_face(kind, number, 4 / (1 + number)) for kind in range(8)]
    side = (made["data"]["size"],) * 2
    return draw_grid([np.asarray(face.resize(side), np.uint8) for face in faces] * 8, columns=8)
