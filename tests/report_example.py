"""Complete, plausible reports with pictures, for what renders them. Nothing here was measured."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Json = Any
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)><b id=injected>",
    "x" * 300,
    "line\nbreak\r\n\n# heading\n- item | cell | `tick` ``` fence",
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "[link](http://example.invalid) ![](http://example.invalid/a.png) @somebody #12",
    "www.example.invalid https://example.invalid somebody@example.invalid <http://a.invalid>",
    "{{ 7 * 7 }} {% raw %} $x_{$ &amp; </style></title></svg>\x00\x1b[31m\ud800",
)
_PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def interval(value: float, spread: float = 0.08) -> Json:
    return {"estimate": value, "low": value * (1 - spread), "high": value * (1 + spread)}


def mccs(x: Any) -> Any:
    return 1 / (1 - np.log(x))


def example(*, anchors: int = 1000, samples: int = 10_000, seed: int = 0) -> Json:
    """An audit of a generator with one dense mode, without a reference."""
    rng = np.random.default_rng(seed)
    x = np.sort(np.exp(rng.normal(-6.2, 1.1, anchors).clip(None, -2.6)))  # mean similarities
    scores = mccs(x)
    rates = [0.0796 / (1 + 0.9 * i) ** 0.9 for i in range(24)]
    modes = [
        {
            "anchor": int(slot),
            "rank": rank + 1,
            "rate": interval(rate, 0.9 / (rate * samples) ** 0.5 * 2),
            "count": round(rate * samples * 1.02),
            "mccs": float(scores[-1 - rank]),
            "distance_to_denser": None if rank == 0 else float(rng.uniform(0.22, 0.41)),
        }
        for rank, (rate, slot) in enumerate(zip(rates, rng.permutation(anchors)[:24], strict=False))
    ]
    worst = modes[0]
    return {
        "schema_version": 3,
        "kind": "report",
        "request": {
            "generator": "checkpoint:celebs.safetensors",
            "descriptor": "onnx:mobilefacenet.onnx",
            "anchors": anchors,
            "samples": samples,
            "seed": seed,
            "set": ["prior=uniform", "descriptor.size=112"],
            "reference": None,
        },
        "generator": {
            "name": "checkpoint",
            "sha256": "9c1e" * 16,
            "architecture": {
                "layers": ["convT(100, 256, 4)", "conv(256, 128, 3)"],
                "image": [32, 32],
            },
            "prior": "uniform",
        },
        "descriptor": {
            "name": "mobilefacenet",
            "licence": "Apache-2.0",
            "weights_sha256": "51d7" * 16,
            "preprocessing": {"size": 112, "resize": "bicubic", "mean": [0.485, 0.456, 0.406]},
        },
        "scale": {
            "theta": 0.25,
            "theta_origin": "the descriptor's card",
            "radius": 0.2,
            "radius_origin": "the descriptor's card",
        },
        "counts": {
            "anchors": {"ok": anchors, "no_face": 0, "failed": 0, "refused": 0},
            "samples": {"ok": samples, "no_face": 11, "failed": 2, "refused": 0},
        },
        "screen": {
            "images": anchors + samples,
            "distinct": anchors + samples - 3,
            "repeated": 3,
            "most_copies": 2,
            "period": None,
            "failures": [{"reason": "a single colour", "slots": 2}],
            "findings": ["3 of 11,000 images repeat an earlier one to the last byte."],
        },
        "figures": {
            "anchors": anchors,
            "samples": samples,
            "confidence": 0.95,
            "mean_similarity": interval(float(x.mean()), 0.05),
            "mccs": {
                "form": "1 / (1 - ln x), x the mean similarity",
                "at_samples": samples,
                "pooled": interval(float(mccs(x.mean())), 0.02),
                "mu": interval(float(scores.mean()), 0.03),
                "sigma": interval(float(scores.std(ddof=1)), 0.06),
                "largest": float(scores.max()),
                "limit": {
                    "low": float(scores.mean()) * 0.97,
                    "high": float(scores.mean()) * 1.09,
                    "anchors_without_a_hit": 0.004,
                },
                "quantiles": [
                    {"probability": p} | interval(float(np.quantile(scores, p)), 0.02)
                    for p in _PROBABILITIES
                ],
                "histogram": _histogram(scores),
            },
            "mccs_reference_code": {
                "form": "1 / -log10 x, as the published tables were made",
                "at_samples": samples,
                "mu": float((1 / -np.log10(x)).mean()),
                "sigma": float((1 / -np.log10(x)).std(ddof=1)),
                "largest": float((1 / -np.log10(x)).max()),
            },
            "worst_mode": {
                "anchor": worst["anchor"],
                "count": round(0.0796 * samples),
                "rate": {"estimate": 0.0796, "low": 0.0743, "high": 0.0851},
                "times_median_rate": 199.0,
                "mean_similarity": float(x[-1]),
                "mccs": float(scores[-1]),
                "mccs_reference_code": float(1 / -np.log10(x[-1])),
                "samples_to_halve_interval": 4 * samples,
                "chosen_and_scored_apart": {
                    "anchors": [worst["anchor"], modes[1]["anchor"]],
                    "rate": interval(0.0789, 0.07),
                    "mean_similarity": interval(float(x[-1]), 0.08),
                },
            },
            "median_rate": 0.0004,
            "effective_modes": {"radius": 0.2} | interval(1240.0),
            "birthday_support": {"radius": 0.1} | interval(48_300.0, 0.4),
            "dense_modes": modes,
            "convergence": _convergence(x, samples),
            "boxes": [
                {"label": "a quarter of the samples", "at_samples": samples // 4}
                | _box(scores * 0.91),
                {"label": "half", "at_samples": samples // 2} | _box(scores * 0.96),
                {"label": "all", "at_samples": samples} | _box(scores),
            ],
            "near_copies": {
                "radius": 0.2,
                "level": 0.05,
                "anchors_tested": anchors,
                "p": 3.1e-7,
                "anchors": [
                    {
                        "anchor": m["anchor"],
                        "count": m["count"],
                        "count_half": m["count"] // 2,
                        "p": p,
                    }
                    for m, p in zip(modes[:3], (3.1e-7, 0.0004, 0.02), strict=True)
                ],
                "flagged": 3,
            },
            "crowd": {"norm_of_mean_embedding": 0.64, "rank_correlation": 0.84},
            "vendi": {
                "order_1": interval(61.3, 0.04),
                "order_2": interval(18.2, 0.05),
                "order_inf": interval(4.37, 0.06),
            },
        },
        "reference": None,
        "labels": None,
        "gallery": _gallery(rng, modes),
        "warnings": ["2 of 10,013 samples failed: a single colour."],
        "assumptions": ["The prior is uniform on [-1, 1], as the command said."],
        "environment": {"python": "3.11.9", "torch": "2.10.0", "device": "cpu", "batch": "256"},
        "timings": {"opening_s": 0.41, "scoring_s": 12.93, "images_per_s": 812.0},
    }


def with_reference() -> Json:
    report = example()
    worst = {"estimate": 0.0016, "low": 0.0009, "high": 0.0026}
    report["request"]["reference"] = "images:portraits"
    box = report["figures"]["boxes"][0]
    report["figures"]["boxes"] += [
        box | {"label": "the reference images", "at_samples": 3200},
        box | {"label": "as many generated", "at_samples": 3200},
    ]
    report["reference"] = {
        "folder": "portraits",
        "images": 4000,
        "anchors": 800,
        "samples": 3200,
        "rarefied": True,
        "generated": {
            "mean_similarity": interval(0.0036),
            "mu": interval(0.131),
            "worst_rate": interval(0.0781, 0.12),
        },
        "real": {
            "mean_similarity": interval(0.00021, 0.2),
            "mu": interval(0.064),
            "worst_rate": worst,
        },
        "ratios": {
            "mean_similarity": interval(17.1, 0.22),
            "mu": interval(2.05, 0.1),
            "worst_rate": interval(48.8, 0.5),
        },
        "fidelity": {
            "rows": 4000,
            "frechet_distance": 0.214,
            "kernel_distance": interval(0.0312, 0.1),
            "nearest_k": 5,
            "density": 0.71,
            "coverage": 0.43,
        },
        "sentences": [
            "The worst mode is 48.8 times denser than these images under this descriptor.",
            "Both are of 800 anchors and 3,200 samples, as many as there are images.",
        ],
    }
    return report


def with_labels() -> Json:
    """A conditional generator of faces, some of which are none."""
    report = example()
    rows = [
        {
            "label": label,
            "anchors": 250 - 60 * label,
            "samples": 2500 - 700 * label,
            "worst_anchor": 11 * label + 3,
            "count": 50 + 99 * label,
            "mean_similarity": interval(0.002 * (label + 1)),
            "mu": interval(0.09 + 0.02 * label),
            "worst_rate": interval((50 + 99 * label) / (2500 - 700 * label), 0.2),
        }
        for label in range(3)
    ]
    rows[1]["mu"] |= {"low": None, "high": None}
    law = "Labels are drawn uniformly from 5 classes, which nobody asked for."
    report["labels"] = {"law": law, "by_label": rows, "left_out": 2, "least": 64}
    report["assumptions"] = [*report["assumptions"], law]
    report["counts"]["samples"] |= {"no_face": 7}
    report["gallery"]["faceless"] = [
        {"slot": s, "file": f"samples-{s:010}.png", "distance": None, "within": None}
        for s in (4, 90, 2200, 9001, 9002, 9100, 9999)
    ]
    return report


def without_gallery() -> Json:
    return example() | {"gallery": None, "descriptor": None}


def tiny() -> Json:
    """Six samples: no interval anywhere."""
    report = example(anchors=4, samples=6)
    figures = report["figures"]
    for value in _mappings(report):
        if {"low", "high"} <= value.keys():
            value["low"] = value["high"] = None
    for box in figures["boxes"]:
        box |= {"low": 0.1, "high": 0.3}
    figures["mccs"]["sigma"] = figures["worst_mode"]["samples_to_halve_interval"] = None
    figures["worst_mode"]["chosen_and_scored_apart"] = None
    figures["crowd"] = figures["vendi"] = figures["worst_mode"]["times_median_rate"] = None
    figures["median_rate"] = 0.0
    figures["convergence"] = figures["convergence"][-1:]
    figures["worst_mode"] |= {"count": 2}
    figures["worst_mode"]["rate"]["estimate"] = 2 / 6
    return report


def zero_hits() -> Json:
    """No pair within reach of one another."""
    report = example()
    figures = report["figures"]
    nothing = {"estimate": 0.0, "low": 0.0, "high": 0.003}
    none_found = {"estimate": None, "low": 3330.0, "high": None}
    figures["mean_similarity"] = dict(nothing)
    mccs_at = figures["mccs"]
    mccs_at |= {
        "pooled": dict(nothing),
        "mu": dict(nothing),
        "sigma": dict(nothing),
        "largest": 0.0,
    }
    mccs_at["limit"] |= {"low": 0.0, "high": 0.09, "anchors_without_a_hit": 1.0}
    mccs_at["quantiles"] = [{"probability": p} | nothing for p in _PROBABILITIES]
    mccs_at["histogram"]["counts"] = [figures["anchors"]] + [0] * 39
    mccs_at["histogram"]["edges"] = [0.0] * 41
    figures["mccs_reference_code"] |= {"mu": 0.0, "sigma": 0.0, "largest": 0.0}
    figures["worst_mode"] |= {"count": 0, "rate": nothing | {"high": 0.0004}, "mccs": 0.0}
    figures["worst_mode"] |= {"times_median_rate": None, "mean_similarity": 0.0}
    figures["median_rate"] = 0.0
    figures["effective_modes"] |= none_found
    figures["birthday_support"] |= none_found
    figures["dense_modes"] = []
    for point in figures["convergence"]:
        point |= {"mean_similarity": nothing, "mu": nothing, "worst_rate": nothing}
    for box in figures["boxes"]:
        box |= dict.fromkeys(("low", "quarter", "median", "three_quarters", "high", "largest"), 0.0)
    figures["near_copies"] |= {"p": 1.0, "anchors": [], "flagged": 0}
    report["gallery"]["modes"] = []
    for wall in (report["gallery"]["worst"], report["gallery"]["random"]):
        for row in wall["neighbors"]:
            row |= {"distance": row["distance"] + 0.3, "within": False}
    return report


def hostile() -> Json:
    """Every string is one of an attacker's, but for the kind and the names of the pictures."""
    report = with_reference()
    strings = iter(HOSTILE * 100)
    report["generator"]["<b>key</b>"] = {"@somebody": [None, True, 1.5, {}]}
    kept = ("file", "kind")
    return _replaced(report, lambda key, value: value if key in kept else next(strings))


VARIANTS: dict[str, Callable[[], Json]] = {
    "plain": example,
    "reference": with_reference,
    "no gallery": without_gallery,
    "labels": with_labels,
    "tiny": tiny,
    "zero hits": zero_hits,
    "hostile": hostile,
}


def paint(report: Json, folder: Path) -> Path:
    """Write the pictures of a report's gallery; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for wall in walls(report):
        kind = int(wall["anchor"]["slot"])
        for row in (wall["anchor"], *wall["neighbors"]):
            if row["file"] is not None:
                strangeness = 8 * max(0.0, (row["distance"] or 0) - 0.05)
                _face(kind, row["slot"], strangeness).save(folder / row["file"])
    for row in (report["gallery"] or {"faceless": []})["faceless"]:
        _face(row["slot"], row["slot"] + 1, 4.0).save(folder / row["file"])
    return folder


def walls(report: Json) -> list[Json]:
    gallery = report["gallery"]
    return [] if gallery is None else [gallery["worst"], gallery["random"], *gallery["modes"]]


def strict(report: Json) -> Json:
    """As it comes back from report.json."""
    return json.loads(json.dumps(report, allow_nan=False))


def _histogram(scores: Any) -> Json:
    counts, edges = np.histogram(scores, bins=40)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _box(scores: Any) -> Json:
    names = ("low", "quarter", "median", "three_quarters", "high")
    found = np.quantile(scores, _PROBABILITIES)
    return dict(zip(names, map(float, found), strict=True)) | {"largest": float(scores.max())}


def _convergence(x: Any, samples: int) -> Json:
    points = []
    for fewer in (32, 16, 8, 4, 2, 1):
        spread, wobble = 0.05 * fewer**0.5, 1 + 0.01 * fewer**0.5
        points.append(
            {
                "samples": samples // fewer,
                "mean_similarity": interval(float(x.mean()) * wobble, spread),
                "mu": interval(float(mccs(x).mean()) * (1 - 0.03 * np.log2(fewer)), spread / 2),
                "worst_rate": interval(0.0796 * (1 + 0.04 * np.log2(fewer)), spread),
            }
        )
    return points


def _gallery(rng: np.random.Generator, modes: Json) -> Json:
    def picture(stream: str, slot: int, far: float | None) -> Json:
        within = None if far is None else far <= 0.2
        return {"slot": slot, "file": f"{stream}-{slot:010}.png", "distance": far, "within": within}

    def wall(slot: int, count: int, nearest: float, farthest: float) -> Json:
        distances = np.sort(rng.uniform(nearest, farthest, count) ** 0.8 * farthest**0.2)
        slots = rng.choice(10_000, count, replace=False)
        near = [picture("samples", int(s), float(d)) for s, d in zip(slots, distances, strict=True)]
        return {"anchor": picture("anchors", slot, None), "neighbors": near}

    return {
        "worst": wall(modes[0]["anchor"], 80, 0.04, 0.13),
        "random": wall(int(rng.integers(1000)), 80, 0.17, 0.31),
        "modes": [wall(mode["anchor"], 6, 0.05, 0.16) for mode in modes],
        "faceless": [],
    }


def _face(kind: int, slot: int, strangeness: float) -> Image.Image:
    """A cartoon of identity `kind`; the stranger, the less like the anchor."""
    own = np.random.default_rng(kind).uniform(size=12)
    traits = own + strangeness * (np.random.default_rng(slot).uniform(size=12) - 0.5)
    (a, b, skin, hair, wide, long, eyes, gap, mouth, tilt, shine, fringe) = traits.clip(0, 1)
    size = 128
    ramp = np.linspace(0, 1, size)
    ground = np.stack([ramp * 60 + 150 * a, ramp[::-1] * 70 + 120 * b, ramp * 40 + 130 * shine])
    image = Image.fromarray(np.tile(ground.T[:, None], (1, size, 1)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    dark = tuple(int(v * (0.25 + 0.75 * hair)) for v in (150, 105, 70))
    pale = tuple(int(v * (0.45 + 0.55 * skin)) for v in (250, 212, 180))
    w, h, y = 34 + 14 * wide, 44 + 12 * long, 68 + 8 * (tilt - 0.5)
    draw.ellipse((64 - w - 8, y - h - 10, 64 + w + 8, y + h - 6 + 24 * fringe), fill=dark)
    draw.ellipse((64 - w, y - h + 8 + 10 * fringe, 64 + w, y + h), fill=pale)
    for side in (-1, 1):
        x = 64 + side * (12 + 10 * gap)
        draw.ellipse((x - 5, y - 10 - 4 * eyes, x + 5, y - 2), fill=(30, 30, 40))
    smile = 8 + 20 * mouth
    draw.arc((64 - 16, y + 14 - smile / 2, 64 + 16, y + 14 + smile / 2), 20, 160, (140, 40, 50), 5)
    return image.resize((32, 32), Image.Resampling.LANCZOS)


def _mappings(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _replaced(value: Json, change: Callable[[str, str], str], key: str = "") -> Json:
    """A copy with every string changed."""
    if isinstance(value, dict):
        return {name: _replaced(inner, change, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, change, key) for inner in value]
    return change(key, value) if isinstance(value, str) else copy.copy(value)


def visible(html: str) -> str:
    """Text of a page without its tags, styles and drawings."""
    bare = re.sub(r"(?s)<(style|svg|head)\b.*?</\1>", " ", html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", bare)).replace("\u00a0", " ")
