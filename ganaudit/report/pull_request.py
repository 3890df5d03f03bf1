"""A check in Markdown: the comment of a pull request, and its `md` output.

GitHub flavoured, and escaped as the report's Markdown is.
"""

from collections.abc import Iterator

from ganaudit.report import verdicts
from ganaudit.report.markdown import bounded, bullets, escape, folded, table
from ganaudit.report.verdicts import Document, Gate

MARKER = "<!-- ganaudit check -->"  # by which an action finds its own comment again


def render(document: Document) -> str:
    """The document, at most 60,000 bytes. The same check gives the same text."""
    return bounded(_blocks(document), source=verdicts.NAME)


def _blocks(document: Document) -> Iterator[str]:
    yield MARKER
    yield f"## ganaudit check: {verdicts.verdict(document)}"
    yield f"**{escape(document['sentence'])}**"
    broken = verdicts.broken(document)
    if broken is not None:
        yield escape(": ".join(broken))
    if document["run"] is not None:
        yield escape(document["run"]["headline"])
    if document["gates"]:
        yield table(verdicts.HEAD, verdicts.rows(document))
    for title, found in (
        ("Why", [gate for gate in document["gates"] if verdicts.outcome(gate) != "pass"]),
        ("What passed", [gate for gate in document["gates"] if verdicts.outcome(gate) == "pass"]),
    ):
        if found:
            yield f"### {title}"
            yield "\n".join(_reason(gate) for gate in found)
    yield from _same_place(document)
    notes = [f"{kind}: {sentence}" for kind, sentence in verdicts.notes(document)]
    if notes:
        yield "### Remarks"
        yield bullets(notes, source=verdicts.NAME)
    about = verdicts.about(document)
    if about is not None:
        yield escape(about)
    names = ("run", "baseline", "limits_file", "environment")
    origin = {name: document[name] for name in names if document[name]}
    if origin:
        yield folded("Provenance", origin)


def _reason(gate: Gate) -> str:
    said = (verdicts.named(gate), *verdicts.reasons(gate))
    return f"- **{escape(said[0])}**: {' '.join(map(escape, said[1:]))}"


def _same_place(document: Document) -> Iterator[str]:
    sentence, grown = verdicts.same_place(document), verdicts.grown(document)
    if sentence is not None:
        yield "### Same place"
        yield escape(sentence)
    if grown:
        yield table(verdicts.GROWN, grown)
