"""check.sarif: what a check found about files, for code scanning; SARIF 2.1.0.

Only files have a place in it. A gate is a finding about a generator, and no line of any file
brought it about: JUnit, annotations and Markdown have the gates.

Every string is treated as an attacker's: bounded, on one line, without what SARIF makes a link or a
placeholder of. Places are relative paths; of a file elsewhere on the machine, its name alone.
"""

import hashlib
import re
from typing import Any
from urllib.parse import quote

from ganaudit.files import json_text
from ganaudit.report import verdicts
from ganaudit.report.verdicts import Document

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_MOST = 1000  # findings; GitHub shows 5,000 of a run
_TEXT, _PATH = 1000, 500  # characters of a message, of a path
_RULES = {  # id: level, what it means, what to do
    "unsafe-file": (
        "error",
        "A file was refused because reading it would mean running it.",
        "Nothing in the file was executed. Ask for the weights as safetensors or ONNX.",
    ),
}
_IDS = list(_RULES)
_LEVELS = ("error", "warning", "note", "none")


def render(document: Document) -> str:
    """The log as JSON. The same check gives the same text; no finding gives no result.

    Args:
      document: of a check. A rule that is not one of those above keeps its name; an unknown level
        is an error.
    """
    run = {
        "tool": {
            "driver": {
                "name": "ganaudit",
                "version": _text(document["environment"]["ganaudit"]),
                "rules": [_rule(name) for name in _IDS],
            }
        },
        "invocations": [_invocation(document)],
        "results": [_result(finding) for finding in document["files"][:_MOST]],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json_text(log)


def _rule(name: str) -> dict[str, Any]:
    level, meaning, remedy = _RULES[name]
    return {
        "id": name,
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": f"{meaning} {remedy}"},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": level},
    }


def _invocation(document: Document) -> dict[str, Any]:
    """How the command ended: a failed gate is a result, a broken audit is none."""
    broken, unlisted = verdicts.broken(document), len(document["files"]) - _MOST
    said = [] if broken is None else [("error", ": ".join(broken))]
    if unlisted > 0:
        said.append(("warning", f"{unlisted:,} more findings are not listed here."))
    return {
        "executionSuccessful": broken is None,
        "exitCode": document["exit_code"],
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": _text(text)}} for level, text in said
        ],
    }


def _result(finding: dict[str, Any]) -> dict[str, Any]:
    rule, place = verdicts.line(finding["rule"], 80) or "finding", _uri(finding["file"])
    return {
        "ruleId": rule,
        "ruleIndex": _IDS.index(rule) if rule in _IDS else -1,
        "level": finding["level"] if finding["level"] in _LEVELS else "error",
        "message": {"text": _text(finding["message"])},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": place},
                    "region": {"startLine": 1},
                }
            }
        ],
        # The key by which GitHub tells that a finding is the one of the last run.
        "partialFingerprints": {"primaryLocationLineHash": f"{_hash(rule, place)}:1"},
    }


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _text(text: object) -> str:
    """A plain text message in which nothing is a link or a placeholder."""
    line = verdicts.line(text, _TEXT)
    return line.replace("](", "] (").replace("{", "{{").replace("}", "}}")


def _uri(file: str) -> str:
    """A relative reference; of a path that leads out of the working directory, the last part."""
    parts = re.split(r"[/\\]", file)
    inside = parts[0] and not re.match("~|.*:$", parts[0]) and ".." not in parts
    kept = [part for part in parts if part not in ("", ".", "..")] or ["unnamed"]
    path = "/".join(kept if inside else kept[-1:])
    if len(path) > _PATH:
        path = kept[-1][-_PATH:]
    return quote(path.encode("utf-8", "replace"), safe="/")
