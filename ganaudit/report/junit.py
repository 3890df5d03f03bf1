"""JUnit XML of a check, one case a gate, as Jenkins' junit-10.xsd has it."""

from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ganaudit.report import verdicts, words
from ganaudit.report.verdicts import Document, Gate

_SUITE, _CLASS = "ganaudit check", "ganaudit.check"


def render(document: Document) -> str:
    """The suite. What is no pass has a case that failed, or is in error: it is never all green."""
    cases = list(_cases(document))
    counts = {"tests": len(cases)}
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counts[kind] = sum(case.find(tag) is not None for case in cases)
    # The document knows no durations, and some readers add them up without asking.
    attributes = {name: str(count) for name, count in counts.items()} | {"time": "0"}
    whole = {name: value for name, value in attributes.items() if name != "skipped"}
    root = Element("testsuites", {"name": _SUITE} | whole)
    suite = SubElement(root, "testsuite", {"name": _SUITE} | attributes)
    _add_properties(suite, document)
    suite.extend(cases)
    said = [verdicts.line(document["sentence"]), verdicts.same_place(document) or ""]
    said += [f"{kind}: {sentence}" for kind, sentence in verdicts.notes(document)]
    SubElement(suite, "system-out").text = "\n".join(filter(None, said))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _cases(document: Document) -> Iterator[Element]:
    broken = verdicts.broken(document)
    if broken is not None:
        kind, message = map(verdicts.line, broken)
        case = _case("audit")
        SubElement(case, "error", {"type": kind, "message": message})
        yield case
    for gate in document["gates"]:
        yield _case_of(gate, document)


def _case_of(gate: Gate, document: Document) -> Element:
    case = _case(verdicts.named(gate))
    outcome, message = verdicts.outcome(gate), verdicts.line(gate["sentence"])
    details = "\n".join((verdicts.figures(gate), *verdicts.reasons(gate)))
    if verdicts.stops(document, gate):
        kind = "gate" if outcome == "fail" else "inconclusive"
        SubElement(case, "failure", {"type": kind, "message": message}).text = details
    elif outcome == "inconclusive":
        SubElement(case, "skipped", {"message": message})
    SubElement(case, "system-out").text = details
    return case


def _case(name: str) -> Element:
    return Element("testcase", {"classname": _CLASS, "name": verdicts.line(name), "time": "0"})


def _add_properties(suite: Element, document: Document) -> None:
    run = document["run"]
    if run is None:
        return
    values = {
        "run": run["folder"],
        "generator": words.named(run["generator"]),
        "descriptor": words.named(run["descriptor"] or verdicts.descriptor(run)),
        "m": run["anchors"],
        "n": run["samples"],
    }
    properties = SubElement(suite, "properties")
    for name, value in values.items():
        SubElement(properties, "property", {"name": name, "value": verdicts.line(value)})
