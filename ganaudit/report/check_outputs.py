"""A check where people see it: one file a format, and GitHub's own places."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganaudit.config import CheckFormat
from ganaudit.errors import GanauditError
from ganaudit.files import json_text, write_output
from ganaudit.report import badge, github, gitlab, junit, model_card, pull_request, sarif

_MOST_SUMMARY = 2**20  # bytes that GitHub takes of all summaries of a step


_RENDERED: dict[CheckFormat, Callable[[Mapping[str, Any]], str]] = {
    "junit": junit.render,
    "github": github.summary,
    "gitlab": gitlab.render,
    "md": pull_request.render,
    "json": json_text,
    "sarif": sarif.render,
    "model-card": model_card.render,
    "badge": badge.render,
}


def write(
    document: Mapping[str, Any],
    outputs: Sequence[tuple[CheckFormat, Path | None]],
    *,
    summary: Path | None,
    say: Callable[[str], None],
) -> None:
    """Write every output; one that cannot be written keeps none of the others from being so.

    Args:
      document: of the check.
      outputs: format and path; github has annotations besides, and may have no path.
      summary: the step summary that GitHub shows, which is added to; None: there is none.
      say: takes each annotation, a line.

    Raises:
      GanauditError: one of them could not be written.
    """
    failed: list[str] = []
    for name, path in outputs:
        text = _RENDERED[name](document)
        if name == "github":
            for line in github.annotations(document):
                say(line)
        try:
            if path is not None:
                write_output(path, text.encode(errors="replace"))
            elif summary is not None:
                _append(summary, text.encode(errors="replace"))
        except GanauditError as error:
            failed.append(str(error))
    if failed:
        raise GanauditError("; ".join(failed))


def _append(path: Path, data: bytes) -> None:
    """Add to a step summary, unless GitHub would then show none of it."""
    try:
        with path.open("ab") as file:
            if file.tell() + len(data) <= _MOST_SUMMARY:
                file.write(data)
    except OSError as error:
        raise GanauditError(f"{path} cannot be written: {error.strerror or error}") from error
