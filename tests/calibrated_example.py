"""Complete, plausible calibrations, for what shows them. Nothing here was measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from report_example import HOSTILE, _face, _replaced

Json = Any
NEAREST = 24
_TITLES = (
    ("worst-rate", "Worst mode, rate", True, 0.0982, 0.0371),
    ("worst-similarity", "Worst mode, similarity", False, 0.0371, 0.0142),
    ("largest-rate", "Largest rate", True, 0.0986, 0.0389),
    ("median-rate", "Median rate", True, 0.0034, 0.0039),
    ("mean-similarity", "Mean similarity", False, 0.00412, 0.00297),
    ("pooled-mccs", "Pooled MCCS", False, 0.154, 0.147),
    ("mu", "mu at n", False, 0.134, 0.133),
    ("sigma", "sigma at n", False, 0.0312, 0.0238),
    ("mccs-5", "MCCS, 5% quantile", False, 0.0912, 0.0921),
    ("mccs-50", "MCCS, 50% quantile", False, 0.129, 0.131),
    ("mccs-95", "MCCS, 95% quantile", False, 0.196, 0.179),
    ("effective-modes", "Effective modes", False, 92.1, 148.0),
    ("birthday-support", "Birthday support", False, 2870.0, 4310.0),
    ("vendi-1", "Vendi, order 1", False, 21.4, 24.9),
    ("vendi-2", "Vendi, order 2", False, 7.31, 8.77),
    ("vendi-inf", "Vendi, order infinity", False, 2.96, 3.24),
    ("duplicates", "Duplicates", True, 0.0, 0.0),
    ("near-copies", "Near copies", True, 0.012, 0.004),
)


def interval(value: float | None, spread: float = 0.08, *, most: float | None = None) -> Json:
    if value is None:
        return {"estimate": None, "low": None, "high": None}
    high = value * (1 + spread)
    high = high if most is None else min(most, high)
    return {"estimate": value, "low": value * (1 - spread), "high": high}


def effect(before: float, after: float, spread: float = 0.06, **named: Json) -> Json:
    """A mode on fresh slots: 12,000 samples or so."""
    return {
        **named,
        "before": interval(before, spread),
        "after": interval(after, 2 * spread),
        "ratio": interval(after / before, 2 * spread),
    }


def chosen(anchor: int, before: float, after: float, against: str) -> Json:
    return effect(before, after, anchor=anchor) | {
        "meets_target": against != "above",
        "against_target": against,
    }


def line(figure: str, title: str, share: bool, a: float, b: float) -> Json:
    """A row of a diff, as `difference.diff` has it."""
    one, other = (interval(value, 0.05) for value in (a, b))
    difference = interval(b - a, 0.4) if b >= a else _turned(interval(a - b, 0.4))
    if figure in ("mu", "mccs-5", "mccs-50"):
        difference |= {"low": difference["estimate"] - 0.01, "high": difference["estimate"] + 0.01}
    if figure == "median-rate":
        one, other, difference = (
            value | {"low": None, "high": None} for value in (one, other, difference)
        )
    known = None not in (difference["low"], difference["high"])
    return {
        "figure": figure,
        "title": title,
        "share": share,
        "a": one,
        "b": other,
        "difference": difference,
        "told_apart": known and (difference["low"] > 0 or difference["high"] < 0),
    }


def _turned(value: Json) -> Json:
    return {"estimate": -value["estimate"], "low": -value["high"], "high": -value["low"]}


def picture(stream: str, slot: int, distance: float | None, radius: float = 0.25) -> Json:
    within = None if distance is None else distance <= radius
    name = f"{stream}-{slot:010d}.png"
    return {"slot": slot, "file": name, "distance": distance, "within": within}


def wall(anchor: int, seed: int) -> Json:
    """A mode before and after: its nearest samples, and the first slots that it had."""
    steps = range(NEAREST)
    slots = [(97 * seed + 411 * i) % 12_000 for i in steps]
    firsts = [31 + 13 * seed + 40 * i for i in steps]
    return {
        "anchor": {"slot": anchor, "file": f"anchors-{anchor:010d}.png"},
        "before": [picture("before", s, 0.08 + 0.0030 * i) for i, s in enumerate(slots)],
        "after": [picture("after", s + 1, 0.12 + 0.0061 * i) for i, s in enumerate(slots)],
        "same_slots": [
            {
                "before": picture("before", s, 0.11 + 0.005 * (7 * i % NEAREST)),
                "after": picture("after", s, 0.17 if i % 9 == 4 else 0.31 + 0.006 * (i % 11)),
            }
            for i, s in enumerate(firsts)
        ],
    }


def box(label: str, scale: float, largest: float) -> Json:
    names = ("low", "quarter", "median", "three_quarters", "high")
    shape = (0.7, 0.88, 1.0, 1.14, 1.5)
    found = {name: scale * part for name, part in zip(names, shape, strict=True)}
    return {"label": label, "at_samples": 11_987, **found, "largest": largest}


def document(**changes: Json) -> Json:
    """A calibration of faces by importance that thinned three modes; `changes` replace parts."""
    return {
        "schema_version": 1,
        "kind": "calibration",
        "verdict": {
            "outcome": "thinned",
            "sentences": [
                "The densest chosen mode fell from 9.78 % (9.3 % to 10.3 %) to 0.46 % (0.35 % to "
                "0.60 %) of fresh samples, 0.0470 times (0.035 to 0.062) what it was. That is "
                "still above the target of 0.34 %.",
                "Of 3 chosen modes 3 fell beyond noise; 1 is still above the target.",
                "The worst of 2,000 anchors fell from 9.71 % to 3.68 %, 0.379 times what it was.",
                "Of 21 other dense modes none is shown to have grown beyond the allowed 1.25 "
                "times, 1 / acceptance.",
            ],
            "next": "Try a --min-acceptance below 0.8, or fewer --modes.",
        },
        "method": "importance",
        "type": "regions",
        "settings": {"region": "linear", "keep": [0.021, 0.13, 0.24], "threshold": [1.2, 0.4, 0.9]},
        "attempts": 100,
        "generator": {
            "name": "checkpoint:faces.safetensors",
            "sha256": "9c1e" * 16,
            "prior": "uniform",
            "latent_shape": [100],
        },
        "descriptor": {
            "name": "mobilefacenet",
            "licence": "Apache-2.0",
            "weights_sha256": "51d7" * 16,
            "preprocessing": {
                "size": [112, 112],
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "resize": "bicubic",
                "colour": "rgb",
            },
            "settings": {},
            "theta": None,
            "radius": None,
            "origin": None,
        },
        "theta": 0.25,
        "radius": 0.25,
        "seeds": {"fit": 0, "fresh": 1},
        "calibrator": {"file": "calibrator.json", "sha256": "04fa" * 16},
        "sizes": {"anchors": 2000, "before": 11_991, "after": 11_987},
        "target": 0.0034,
        "target_origin": "the median anchor's rate",
        "min_acceptance": 0.8,
        "modes_asked": "auto",
        "announced": {
            "sentences": [
                "A linear score on latents tells the densest mode from the rest with an area under "
                "the curve of 0.94, on samples that took no part in fitting.",
                "Three modes are thinned; 81.2 % of the latents are expected to be taken.",
                "The worst anchor's rate is expected to fall from 9.83 % to 3.52 %.",
            ],
            "facts": {
                "modes": [
                    {"auc": 0.943, "reachable": 0.93, "mass": 0.118},
                    {"auc": 0.897, "reachable": 0.81, "mass": 0.052},
                    {"auc": 0.861, "reachable": 0.74, "mass": 0.047},
                ],
                "folds": 5,
            },
            "forecast": {
                "acceptance": 0.812,
                "chosen": [[0.0983, 0.0041], [0.0431, 0.0044], [0.0388, 0.0039]],
                "worst": [0.0983, 0.0352],
                "held_out": True,
            },
        },
        "acceptance": interval(0.8094, 0.0085),
        "images_per_image": interval(1.0, 0.0),
        "unaccepted": 1.3e-72,
        "modes": [
            chosen(228, 0.0978, 0.0046, "above"),
            chosen(251, 0.0442, 0.0039, "at"),
            chosen(823, 0.0379, 0.0029, "below"),
        ],
        "worst": effect(0.0971, 0.0368),
        "others": {
            "looked_at": 21,
            "allowed": 1.2456,
            "largest": effect(0.0233, 0.0288, anchor=1584, p=1.0),
            "grown": [],
        },
        "difference": [line(*given) for given in _TITLES],
        "companions": {
            "rows": 11_987,
            "to_uncalibrated": {
                "frechet_distance": 0.0214,
                "kernel_distance": interval(0.00312, 0.2),
            },
            "noise": {
                "frechet_distance": 0.0041,
                "kernel_distance": {"estimate": 0.000021, "low": -0.00004, "high": 0.00008},
            },
            "to_reference": None,
            "inception": None,
        },
        "discriminator": None,
        "boxes": [
            box("all anchors, before", 0.129, 0.303),
            box("all anchors, after", 0.131, 0.241),
            box("the chosen modes, before", 0.251, 0.303),
            box("the chosen modes, after", 0.142, 0.161),
        ],
        "gallery": [wall(anchor, seed) for seed, anchor in enumerate((228, 251, 823))],
        "environment": {"ganaudit": "0.1.0", "torch": "2.10.0", "device": "cpu"},
    } | changes


def nothing() -> Json:
    """A cell of latents that never fires; blind to the mode."""
    made = document(method="gmm", type="cells")
    made["verdict"] = {
        "outcome": "nothing",
        "sentences": [
            "The chosen mode did not fall beyond noise: from 9.78 % to 9.66 % of fresh samples."
        ],
        "next": "Try --method importance: a linear region follows a mode more closely than "
        "clusters of latents do.",
    }
    made["modes"] = [chosen(228, 0.0978, 0.0966, "above")]
    made["worst"] = effect(0.0971, 0.0962)
    made["announced"]["forecast"] |= {"chosen": [[0.0983, 0.0979]], "held_out": False}
    made["modes_asked"] = 1
    return made


def moved() -> Json:
    """Two other modes paid for it."""
    made = document()
    grown = [
        effect(0.0101, 0.0303, anchor=1913, p=0.00002),
        effect(0.008, 0.014, anchor=70, p=0.03),
    ]
    made["others"] |= {"largest": grown[0], "grown": grown}
    made["verdict"] |= {"outcome": "moved", "next": "Try --draw cell: it takes from the prior."}
    return made


def worse() -> Json:
    """The worst of all rose."""
    made = moved()
    made["others"] |= {"largest": None, "grown": [], "looked_at": 0}
    made["worst"] = effect(0.0971, 0.131)
    return made


def refined() -> Json:
    """Latents that a discriminator moves: no forecast, no pictures, real images beside."""
    made = document(method="advlatgan-z", type="refiner", gallery=None, modes_asked=3)
    made["announced"]["forecast"] = None
    made["acceptance"] = interval(1.0, 0.0)
    made["unaccepted"] = 0.0
    made["target_origin"] = "as requested"
    made["settings"] = {"attack": "i-fgsm", "step": 0.05, "steps": 20, "ball": None}
    made["discriminator"] = {
        "before": {"estimate": -1.31, "low": -1.34, "high": -1.28},
        "after": {"estimate": 2.44, "low": 2.40, "high": 2.48},
        "gain": {"estimate": 3.75, "low": 3.72, "high": 3.78},
        "raised": 0.9991,
        "furthest": 0.05,
        "slots": 2048,
    }
    sides = {
        side: {
            "rows": 4000,
            "frechet_distance": distance,
            "kernel_distance": interval(distance / 7, 0.1),
            "nearest_k": 5,
            "density": 0.71,
            "coverage": 0.43,
        }
        for side, distance in (("before", 0.214), ("after", 0.219))
    }
    made["companions"]["to_reference"] = sides
    made["companions"]["inception"] = {
        "weights_sha256": "6726825d" * 8,
        "slots": 2000,
        "to_uncalibrated": {
            "frechet_distance": 17.3,
            "kernel_distance": interval(0.00512, 0.2),
            "rows": 1998,
        },
        "noise": {
            "frechet_distance": 9.87,
            "kernel_distance": interval(0.00049, 0.2),
            "rows": 1998,
        },
    }
    return made


def filtered() -> Json:
    """A filter that looks at images: each one it leaves out was made."""
    made = document(method="rejection", type="filter", descriptor=None, unaccepted=0.0123)
    made["images_per_image"] = interval(1.2355, 0.0085)
    for one in made["gallery"]:
        for side in ("before", "after"):
            for shown in one[side]:
                shown["file"] = None
    return made


def few() -> Json:
    """A handful of samples: no interval anywhere."""
    made = document(gallery=None)

    def blank(value: Json) -> None:
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict) and {"low", "high"} <= value.keys():
            if "quarter" not in value:
                value |= {"low": None, "high": None}
        if isinstance(value, dict | list):
            for one in inner:
                blank(one)

    blank(made)
    made["worst"] = {side: interval(None) for side in ("before", "after", "ratio")}
    made["images_per_image"] = interval(None)
    made["others"] |= {"looked_at": 0, "largest": None}
    made["modes"] = made["modes"][:1]
    made["modes"][0]["ratio"] = interval(None)
    made["companions"]["noise"] = {"frechet_distance": None, "kernel_distance": interval(None)}
    for one in made["difference"]:
        one["told_apart"] = False
        if one["figure"].startswith("vendi"):
            one |= {"b": interval(None), "difference": interval(None)}
    return made


def many() -> Json:
    """32 chosen modes."""
    made = document(modes_asked=32)
    made["modes"] = [
        chosen(40 * i + 3, 0.098 / (1 + i), 0.0041, ("above", "at", "below")[i % 3])
        for i in range(32)
    ]
    made["announced"]["forecast"]["chosen"] = [
        [0.098 / (1 + i), 0.0039 + i * 1e-5] for i in range(32)
    ]
    return made


def hostile() -> Json:
    """Every string is one of an attacker's, but for those that the program chooses."""
    strings = iter(HOSTILE * 100)
    made = refined() | {"gallery": document()["gallery"]}
    made["generator"]["<b>key</b>"] = {"@somebody": [None, True, 1.5, {}]}
    made["announced"]["facts"]["[x](y)"] = "z"
    kept = ("file", "kind", "figure", "outcome", "type", "against_target")
    return dict(_replaced(made, lambda key, value: value if key in kept else next(strings)))


VARIANTS: dict[str, Callable[[], Json]] = {
    "thinned": document,
    "nothing": nothing,
    "moved": moved,
    "worse": worse,
    "refined": refined,
    "filtered": filtered,
    "few": few,
    "many": many,
    "hostile": hostile,
}


def paint(made: Json, folder: Path) -> Path:
    """Write the pictures of a calibration's gallery; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in made["gallery"] or ():
        kind = int(one["anchor"]["slot"])
        for shown in shown_of(one):
            if shown["file"] is not None:
                strangeness = 8 * max(0.0, (shown.get("distance") or 0) - 0.05)
                _face(kind, shown["slot"], strangeness).save(folder / shown["file"])
    return folder


def shown_of(one: Json) -> Sequence[Json]:
    """Every picture of a mode."""
    pairs = [shown for pair in one["same_slots"] for shown in (pair["before"], pair["after"])]
    return [one["anchor"], *one["before"], *one["after"], *pairs]
