"""What a check document says, in words: its outputs, for people and for CI, say the same.

A document is a pass only if it says so and has a gate. Whatever else it is, unknown words of
another version among them, no output shows as one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ganaudit.report import words
from ganaudit.report.words import Interval

Document = Mapping[str, Any]  # check.json
Gate = Mapping[str, Any]  # one of its gates

NAME = "check.json"
SENTENCE = 400  # characters of a sentence that is shown
MANY = 20  # sentences of one kind
HEAD = ("Gate", "Limit", "Found", "95 % interval", "Against the baseline", "Verdict")
GROWN = ("Rank", "Anchor", "In the baseline", "Now", "Significance")
NOT_RELATIVE = "–"  # in the place of the baseline
DOUBLE = 1  # from this change on it is said as times: 4 times, not 300 % more
_VERDICTS = ("pass", "fail", "inconclusive")
_POLICY = {
    "pass": "An inconclusive gate counts as passed here, as was asked for.",
    "fail": "An inconclusive gate counts as failed here, as was asked for.",
    "report": "An inconclusive gate has neither passed nor failed: too few samples to tell.",
}


class Row(NamedTuple):
    """A gate as cells of a table, in the order of HEAD."""

    gate: str
    limit: str
    found: str
    interval: str
    baseline: str
    verdict: str


def line(text: object, most: int = SENTENCE) -> str:
    """Somebody's text on one line of a bounded length, without what cannot be seen."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def broken(document: Document) -> tuple[str, str] | None:
    """Kind and message of what kept the check from a verdict; None: there is a verdict."""
    if document["error"] is not None:
        return str(document["error"]["kind"]), str(document["error"]["message"])
    if document["verdict"] not in _VERDICTS:
        return "NoVerdict", str(document["sentence"])
    if not document["gates"]:
        return "NoGate", "No gate was checked: nothing is known of this generator."
    return None


def verdict(document: Document) -> str:
    """The word for all of it: pass, fail, inconclusive or error."""
    return "error" if broken(document) else str(document["verdict"])


def outcome(gate: Gate) -> str:
    """The word for one gate: pass, fail or inconclusive."""
    return str(gate["verdict"]) if gate["verdict"] in _VERDICTS else "fail"


def stops(document: Document, gate: Gate) -> bool:
    """Whether this gate alone would keep the check from passing."""
    found = outcome(gate)
    return found == "fail" or found == "inconclusive" and document["inconclusive_as"] != "pass"


def named(gate: Gate) -> str:
    """The gate and its limit: worst-rate at most 2 %."""
    return f"{words.named(gate['gate'])} {words.named(gate['wanted'])}"


def rows(document: Document) -> list[Row]:
    """Every gate, in the document's order."""
    return [
        Row(
            words.named(gate["gate"]),
            words.named(gate["wanted"]),
            words.estimate(gate["found"], share=gate["share"]),
            _ends(gate["found"], share=gate["share"]),
            against(gate),
            outcome(gate),
        )
        for gate in document["gates"]
    ]


def against(gate: Gate) -> str:
    """The change, and from what: 9.05 times (8.20 times to 10.0 times), was 0.88 %."""
    relative, baseline = gate["change"], gate["baseline"]
    if relative is None or baseline is None:
        return NOT_RELATIVE
    shown = change(relative["estimate"])
    ends = {name: change(relative[name]) for name in ("low", "high") if relative[name] is not None}
    if len(ends) == 2:
        shown += f" ({ends['low']} to {ends['high']})"
    elif ends:
        shown += f" (at least {ends['low']})" if "low" in ends else f" (at most {ends['high']})"
    if baseline["estimate"] is None:
        return shown
    return f"{shown}, was {words.estimate(baseline, share=gate['share'])}"


def change(share: float | None) -> str:
    """A relative change, a share of what it was: 12.0 % more, 3.10 % less, 9.05 times."""
    if share is None:
        return words.UNKNOWN
    if share >= DOUBLE:
        return f"{words.number(1 + share)} times"
    return f"{words.number(100 * share)} % more" if share >= 0 else f"{words.percent(-share)} less"


def figures(gate: Gate) -> str:
    """The gate's figures as a sentence: Found 7.96 % (7.4 % to 8.5 %)."""
    found, relative = words.estimate(gate["found"], share=gate["share"]), against(gate)
    than = "" if relative == NOT_RELATIVE else f"; against the baseline {relative}"
    return f"Found {found} ({_ends(gate['found'], share=gate['share'])}){than}."


def reasons(gate: Gate) -> list[str]:
    """Why this verdict, and what the gate could have seen."""
    said = (gate["sentence"], gate["detectable_sentence"])
    return [line(sentence) for sentence in said if sentence]


def policy(document: Document) -> str | None:
    """What an inconclusive gate counts as; None where there is none."""
    if all(outcome(gate) != "inconclusive" for gate in document["gates"]):
        return None
    return _POLICY.get(document["inconclusive_as"], _POLICY["report"])


def same_place(document: Document) -> str | None:
    """Whether a mode of the baseline grew at its place; None: that was not tested."""
    found = document["same_place"]
    return None if found is None else line(found["sentence"])


def grown(document: Document) -> list[Sequence[str]]:
    """Modes that grew at their place, as cells of a table in the order of GROWN."""
    found = document["same_place"]
    return [
        (
            words.count(mode["rank"]),
            str(mode["anchor"]),
            _counted(mode["before"]),
            _counted(mode["now"]),
            words.probability(mode["p"]),
        )
        for mode in (found["grown"] if found else [])
    ]


def notes(document: Document) -> list[tuple[str, str]]:
    """What else there is to say, a kind and a sentence each; at most 20."""
    counts_as, sequential = policy(document), document["sequential"]
    found = [("Remark", counts_as)] if counts_as is not None else []
    found += [("Sequential", line(sequential["sentence"]))] if sequential is not None else []
    found += [("Warning", line(sentence)) for sentence in document["warnings"]]
    if len(found) > MANY:
        found[MANY - 1 :] = [("Warning", f"and {len(found) - MANY + 1} more in {NAME}")]
    return found


def about(document: Document) -> str | None:
    """What was audited, how and at which size; None where the audit did not get that far."""
    run = document["run"]
    if run is None:
        return None
    size = f"m = {words.counted(run['anchors'], 'anchor')}"
    size += f" against n = {words.counted(run['samples'], 'sample')}"
    theta, radius = words.reach(run["theta"]), words.reach(run["radius"])
    return (
        f"Generator {words.named(run['generator'])} under {descriptor(run)}, "
        f"theta {theta} and radius {radius} of pi; {size}, seed {run['seed']}."
    )


def descriptor(run: Mapping[str, Any]) -> str:
    """The descriptor by its name, or that embeddings were given."""
    name = run["descriptor"]
    return "the given embeddings" if name is None else f"the descriptor {words.named(name)}"


def _counted(part: Mapping[str, int]) -> str:
    count, of = part["count"], part["of"]
    return (
        f"{words.count(count)} of {words.count(of)} ({words.percent(count / of if of else None)})"
    )


def _ends(value: Interval, *, share: bool) -> str:
    if value["low"] is None and value["high"] is None:
        return "no interval"
    return words.interval(value, share=share)
