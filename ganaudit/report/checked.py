"""check.json: the verdict on a release and everything that is said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from ganaudit.errors import GanauditError, UnsafeCheckpoint, complaint
from ganaudit.files import shown_path
from ganaudit.gates import Verdict
from ganaudit.report import gate_words, words
from ganaudit.same_place import LEVEL, Place

SCHEMA_VERSION = 1
KIND = "check"
NAME = "check.json"


def build(
    *,
    verdict: Verdict,
    exit_code: int,
    inconclusive: str,
    gates: Sequence[Mapping[str, Any]],
    same_place: Mapping[str, Any] | None,
    sequential: Mapping[str, Any] | None,
    run: Mapping[str, Any] | None,
    baseline: Mapping[str, Any] | None,
    limits_file: str | None,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The document of a check that came to an end.

    Args:
      verdict: of all gates together.
      exit_code: which it ends with.
      inconclusive: what an inconclusive gate counts as: report, pass or fail.
      gates: as `gate_words.figures` has them.
      same_place: as `grown` has it; None: there is no baseline with modes.
      sequential: how samples were looked at as they came; None: they were not.
      run: what was checked, as `of_run` has it.
      baseline: what it was compared with; None: nothing.
      limits_file: the file in which limits stand; None: none does.
      warnings: sentences.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "verdict": verdict,
        "exit_code": exit_code,
        "inconclusive_as": inconclusive,
        "sentence": gate_words.headline([(gate["gate"], gate["verdict"]) for gate in gates]),
        "error": None,
        "gates": [dict(gate) for gate in gates],
        "same_place": None if same_place is None else dict(same_place),
        "sequential": None if sequential is None else dict(sequential),
        "run": None if run is None else dict(run),
        "baseline": None if baseline is None else dict(baseline),
        "limits_file": limits_file,
        "files": [],
        "warnings": list(warnings),
        "environment": {"ganaudit": version("ganaudit")},
    }


def broken(error: BaseException, *, inconclusive: str, limits_file: str | None) -> dict[str, Any]:
    """The document of a check that broke off: never a pass."""
    code = error.exit_code if isinstance(error, GanauditError) else GanauditError.exit_code
    said = complaint(error) or "no reason given"
    document = build(
        verdict="fail",
        exit_code=code,
        inconclusive=inconclusive,
        gates=[],
        same_place=None,
        sequential=None,
        run=None,
        baseline=None,
        limits_file=limits_file,
        warnings=[],
    )
    files = []
    if isinstance(error, UnsafeCheckpoint) and error.file is not None:
        files = [
            {
                "rule": "unsafe-file",
                "level": "error",
                "file": shown_path(error.file),
                "message": said,
            }
        ]
    return document | {
        "verdict": "error",
        "sentence": f"The audit broke off: {said}",
        "error": {"kind": type(error).__name__, "message": said, "exit_code": code},
        "files": files,
    }


def of_run(report: Mapping[str, Any], *, folder: str) -> dict[str, Any]:
    """What a check says of the run that it looked at."""
    request, card = report["request"], report["descriptor"]
    return {
        "folder": folder,
        "generator": request["generator"],
        "descriptor": None if card is None else card["name"],
        "anchors": report["figures"]["anchors"],
        "samples": report["figures"]["samples"],
        "seed": request["seed"],
        "theta": report["scale"]["theta"],
        "radius": report["scale"]["radius"],
        "headline": words.headline(report),
    }


def grown(places: Sequence[Place], *, tolerance: float) -> dict[str, Any]:
    """Which of a baseline's modes grew, as JSON values with a sentence."""
    found = [place for place in places if place.grown]
    more = f"more than {words.level(tolerance)}"
    if not found:
        said = f"None of the baseline’s {words.counted(len(places), 'mode')} is shown to have grown"
        sentence = f"{said} by {more}."
    else:
        which = ", ".join(f"number {place.rank}" for place in found)
        sentence = (
            f"{len(found)} of the baseline’s {words.counted(len(places), 'mode')} grew by {more}: "
            f"{which}. This names the place and changes no verdict."
        )
    return {
        "tested": len(places),
        "tolerance": tolerance,
        "level": LEVEL,
        "sentence": sentence,
        "grown": [
            {
                "rank": place.rank,
                "anchor": place.anchor,
                "before": asdict(place.before),
                "now": asdict(place.now),
                "p": place.p,
            }
            for place in found
        ],
    }
