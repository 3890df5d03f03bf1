"""Complete, plausible check documents, for what renders them. Nothing here was measured."""

import copy
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from report_example import HOSTILE, interval

Json = Any
GATES = {  # name: title, whether it is shown in percent
    "worst-rate": ("Rate of the worst mode", True),
    "worst-similarity": ("Mean similarity of the worst mode", False),
    "mean-similarity": ("Mean similarity", False),
    "mu": ("Mean MCCS at n", False),
    "vendi": ("Vendi score", False),
    "near-copies": ("Share of near copies", True),
    "duplicates": ("Share of duplicates", True),
    "faceless": ("Share without a face", True),
    "failures": ("Share of failures", True),
}
_ENUMERATIONS = ("verdict", "inconclusive_as", "kind", "level", "rule", "gate")
COMMANDS = (  # and what a CI job's log would take for a command
    "::stop-commands::x",
    "##[add-mask]a ##vso[task.setvariable variable=a]b ##teamcity[message text='a']",
    "%0A::error::x%25, title=y",
    "]]> <![CDATA[ --> <!-- ganaudit check --> \x01\x0b\ufffe\uffff",
)


def gate(
    name: str = "worst-rate", kind: str = "max", verdict: str = "pass", *, found: Json = None
) -> Json:
    """One gate; a relative one's release has grown from 0.88 % to 7.96 %, or as much."""
    title, share = GATES[name]
    relative = kind.startswith("max-")
    most = "at most" if kind.startswith("max") else "at least"
    change = "more" if kind == "max-increase" else "less"
    wanted = f"{most} 40 % {change} than the baseline" if relative else f"{most} 2 %"
    position = {"pass": "below", "fail": "above", "inconclusive": "on both sides of"}[verdict]
    return {
        "gate": name,
        "title": title,
        "kind": kind,
        "limit": 0.4 if relative else 0.02,
        "wanted": wanted,
        "share": share,
        "verdict": verdict,
        "found": found or {"estimate": 0.0796, "low": 0.0743, "high": 0.0851},
        "baseline": {"estimate": 0.0088, "low": 0.0071, "high": 0.0108} if relative else None,
        "change": {"estimate": 8.05, "low": 7.2, "high": 9.0} if relative else None,
        "detectable": 0.69 if relative else 0.0231,
        "sentence": f"The interval lies {position} the limit: the {title.lower()} is shown.",
        "detectable_sentence": (
            "An increase of 69 % or more would have failed this gate 95 times in 100."
            if relative
            else "A true value of 2.31 % or more would have failed this gate 95 times in 100."
        ),
    }


def document(*gates: Json, verdict: str = "pass", inconclusive_as: str = "report") -> Json:
    """A check of these gates, with a run and nothing else to say."""
    codes = {"pass": 0, "fail": 1, "inconclusive": {"report": 4, "pass": 0, "fail": 1}}
    code = codes[verdict]
    names = {kind: [g["gate"] for g in gates if g["verdict"] == kind] for kind in codes}
    concerned = names[verdict]
    done = {"pass": "passed", "fail": "failed", "inconclusive": "stayed inconclusive"}[verdict]
    total = "1 gate" if len(gates) == 1 else f"{len(gates)} gates"
    return {
        "schema_version": 1,
        "kind": "check",
        "verdict": verdict,
        "exit_code": code if isinstance(code, int) else code[inconclusive_as],
        "inconclusive_as": inconclusive_as,
        "sentence": f"{len(concerned)} of {total} {done}: {', '.join(concerned)}.",
        "error": None,
        "gates": list(gates),
        "same_place": None,
        "sequential": None,
        "run": {
            "folder": "audit",
            "generator": "checkpoint:celebs.safetensors",
            "descriptor": "mobilefacenet",
            "anchors": 10_000,
            "samples": 10_000,
            "seed": 0,
            "theta": 0.25,
            "radius": 0.2,
            "headline": "One identity makes up 7.96 % of what this generator shows "
            "(7.43 % to 8.51 %): 199 times the median anchor’s share.",
        },
        "baseline": None,
        "limits_file": "pyproject.toml",
        "files": [],
        "warnings": [],
        "environment": {"ganaudit": "0.1.0"},
    }


def passed() -> Json:
    low = {"estimate": 0.0081, "low": 0.0064, "high": 0.0101}
    return document(gate(found=low), gate("vendi", "min", found=interval(61.3, 0.04)))


def failed() -> Json:
    gates = (
        gate(verdict="fail"),
        gate("mean-similarity", verdict="pass", found=interval(0.0036)),
        gate("vendi", "min", "pass", found=interval(61.3, 0.04)),
    )
    return document(*gates, verdict="fail")


def inconclusive(inconclusive_as: str) -> Json:
    found = {"estimate": 0.0188, "low": 0.0162, "high": 0.0217}
    gates = (gate(verdict="inconclusive", found=found), gate("mu", found=interval(0.131)))
    return document(*gates, verdict="inconclusive", inconclusive_as=inconclusive_as)


def relative() -> Json:
    """Against a baseline, whose modes grew at their place; some figures are not known."""
    gates = [
        gate("worst-rate", "max-increase", "fail"),
        gate("mu", "max-increase", "inconclusive", found=interval(0.131)),
        gate("vendi", "max-decrease", "pass", found=interval(61.3, 0.04)),
        gate("near-copies", "max-increase", "inconclusive"),
    ]
    gates[1] |= {
        "baseline": interval(0.094),
        "change": {"estimate": 0.39, "low": 0.31, "high": None},
    }
    gates[2] |= {"baseline": interval(63.9), "change": interval(-0.041, -2.5)}
    nothing = {"estimate": None, "low": None, "high": None}
    gates[3] |= {"found": nothing, "baseline": nothing, "change": nothing, "detectable": None}
    gates[3] |= {"detectable_sentence": "Nothing that this gate could have seen is known."}
    report = document(*gates, verdict="fail")
    report["baseline"] = {
        "file": "baselines/faces.json",
        "generator": "checkpoint:celebs-2.safetensors",
        "anchors": 10_000,
        "samples": 10_000,
    }
    grown = [(1, 6517, 40, 796, 1e-9), (2, 118, 31, 102, 0.00047)]
    report["same_place"] = {
        "tested": 24,
        "tolerance": 0.4,
        "level": 0.05,
        "sentence": "2 of 24 modes of the baseline grew by more than 40 % at their place.",
        "grown": [
            {
                "rank": rank,
                "anchor": anchor,
                "before": {"count": before, "of": 5000},
                "now": {"count": now, "of": 10_000},
                "p": p,
            }
            for rank, anchor, before, now, p in grown
        ],
    }
    report["warnings"] = ["2 of 10,013 samples failed: a single colour."]
    return report


def sequential() -> Json:
    report = passed()
    report["sequential"] = {
        "alpha": 0.05,
        "looked_every": 512,
        "max_samples": 100_000,
        "samples": 4608,
        "sentence": "Decided after 4,608 samples of at most 100,000, looking every 512.",
    }
    return report


def error() -> Json:
    """The audit itself broke before there was a run."""
    report = document()
    return report | {
        "verdict": "error",
        "exit_code": 5,
        "sentence": "The audit was refused: there is no verdict.",
        "error": {
            "kind": "UnsafeCheckpoint",
            "message": "model.pkl carries code; nothing of it was executed",
            "exit_code": 5,
        },
        "run": None,
        "limits_file": None,
        "files": [
            {
                "rule": "unsafe-file",
                "level": "error",
                "file": "model.pkl",
                "message": "This file carries code.",
            }
        ],
    }


def empty() -> Json:
    """No gate, and yet it calls itself a pass."""
    return document()


def many(count: int = 18, verdict: str = "fail") -> Json:
    """As many gates as there are, twice."""
    kinds = ("max", "max-increase")
    gates = [gate(name, kind, verdict) for kind in kinds for name in GATES]
    gates = [g for g, _ in zip(cycle(gates), range(count), strict=False)]
    return document(*copy.deepcopy(gates), verdict=verdict)


def crowded() -> Json:
    """With something in every place."""
    report = relative() | {"sequential": sequential()["sequential"], "files": error()["files"]}
    report["gates"].append(gate(verdict="inconclusive"))
    report["warnings"] = [f"Warning {i}." for i in range(30)]
    return report


def hostile(*texts: str, tampered: bool = False) -> Json:
    """Every string is one of these; if it was tampered with, also what should be of a list."""
    strings = cycle(texts or (*HOSTILE, *COMMANDS))
    return _replaced(crowded(), "", strings, () if tampered else _ENUMERATIONS)


def hostile_error() -> Json:
    return _replaced(error(), "", cycle((*COMMANDS, *HOSTILE)), ("verdict", "inconclusive_as"))


VARIANTS: dict[str, Callable[[], Json]] = {
    "pass": passed,
    "fail": failed,
    "inconclusive, report": lambda: inconclusive("report"),
    "inconclusive, pass": lambda: inconclusive("pass"),
    "inconclusive, fail": lambda: inconclusive("fail"),
    "relative": relative,
    "crowded": crowded,
    "sequential": sequential,
    "error": error,
    "empty": empty,
    "many": many,
    "hostile": hostile,
    "tampered": lambda: hostile(tampered=True),
    "hostile error": hostile_error,
}


def _replaced(value: Json, key: str, strings: Iterator[str], kept: tuple[str, ...]) -> Json:
    if isinstance(value, dict):
        return {name: _replaced(inner, name, strings, kept) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, key, strings, kept) for inner in value]
    return next(strings) if isinstance(value, str) and key not in kept else value
