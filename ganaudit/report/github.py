"""What GitHub shows of a check: annotations of its workflow commands, and the step's summary."""

from collections.abc import Iterator, Sequence
from typing import Literal

from ganaudit.report import pull_request, verdicts, words
from ganaudit.report.markdown import escape
from ganaudit.report.verdicts import Document

_MOST = 10  # errors, and warnings, that GitHub shows of a step
_TITLE, _TEXT = 200, 1000  # characters of a title and of a message, as they are read
_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _DATA | str.maketrans({":": "%3A", ",": "%2C"})

Level = Literal["error", "warning", "notice"]
Message = tuple[str, Sequence[str]]  # title and lines


def annotations(document: Document) -> list[str]:
    """Workflow commands, a line each: one at most for each gate, none for what passed.

    What keeps the check from passing is an error, an inconclusive gate that counts as passed a
    warning, and modes that grew at their place are one notice.
    """
    found: dict[Level, list[Message]] = {"error": [], "warning": [], "notice": []}
    broken = verdicts.broken(document)
    if broken is not None:
        found["error"].append((f"ganaudit: {words.named(broken[0])}", [broken[1]]))
    for gate in document["gates"]:
        outcome, stops = verdicts.outcome(gate), verdicts.stops(document, gate)
        if outcome == "pass":
            continue
        said = [verdicts.figures(gate), *verdicts.reasons(gate)]
        title = f"ganaudit: {outcome}: {verdicts.named(gate)}"
        found["error" if stops else "warning"].append((title, said))
    sentence = verdicts.same_place(document)
    if sentence is not None and verdicts.grown(document):
        found["notice"].append(("ganaudit: same place", [sentence]))
    return [
        _command(level, title, lines)
        for level, messages in found.items()
        for title, lines in _shown(messages)
    ]


def summary(document: Document) -> str:
    """The step's summary in Markdown, far below the 1 MiB that GitHub takes."""
    text, run = pull_request.render(document), document["run"]
    if run is None:
        return text
    return (
        f"{text}\nThe pictures are in report.html of the run’s folder, {escape(run['folder'])}, or "
        "in the artefact made of it: GitHub shows none that stand within a summary.\n"
    )


def _shown(messages: Sequence[Message]) -> Iterator[Message]:
    """As many as GitHub shows; the last one says what the others are."""
    if len(messages) <= _MOST:
        yield from messages
        return
    yield from messages[: _MOST - 1]
    rest = messages[_MOST - 1 :]
    yield f"ganaudit: {len(rest)} more", [title for title, _ in rest]


def _command(level: Level, title: str, lines: Sequence[str]) -> str:
    name = verdicts.line(title, _TITLE)
    text = "\n".join(map(verdicts.line, lines))
    text = text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
    return f"::{level} title={name.translate(_PROPERTY)}::{text.translate(_DATA)}"
