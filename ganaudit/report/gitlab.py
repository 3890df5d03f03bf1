"""A check as GitLab's Code Quality report: an issue for each gate that has not passed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ganaudit.report import verdicts
from ganaudit.report.verdicts import Document

_SEVERITY = {"fail": "critical", "inconclusive": "minor"}
_NOWHERE = "ganaudit.toml"  # an issue needs a file; where the limits would stand
_TEXT = 1000  # characters of a description


def render(document: Document) -> str:
    """The array of issues as JSON; without one, every gate has passed."""
    return json.dumps(list(_issues(document)), indent=2) + "\n"


def _issues(document: Document) -> Iterator[dict[str, Any]]:
    path = _path(document)
    broken = verdicts.broken(document)
    if broken is not None:
        yield _issue("audit", "error", f"The audit broke: {': '.join(broken)}", "blocker", path)
    for gate in document["gates"]:
        outcome = verdicts.outcome(gate)
        if outcome != "pass":
            said = (verdicts.named(gate), verdicts.figures(gate), *verdicts.reasons(gate))
            text = f"{said[0]}: {' '.join(said[1:])}"
            yield _issue(gate["gate"], gate["kind"], text, _SEVERITY[outcome], path)


def _issue(check: str, kind: str, text: str, severity: str, path: str) -> dict[str, Any]:
    """One issue. Its fingerprint is the same in every release, so that GitLab sees it go."""
    return {
        "description": verdicts.line(text, _TEXT),
        "check_name": f"ganaudit/{verdicts.line(check, 80)}",
        "fingerprint": hashlib.sha256(json.dumps([check, kind]).encode()).hexdigest(),
        "severity": severity,
        "location": {"path": path, "lines": {"begin": 1}},
    }


def _path(document: Document) -> str:
    """The file that a reader would change, within the repository."""
    baseline = document["baseline"]
    found = document["limits_file"] or (baseline["file"] if baseline else None) or _NOWHERE
    path = PurePath(verdicts.line(found))
    if path.name in ("", ".."):
        return _NOWHERE
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
