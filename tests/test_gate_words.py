import json
import re
from itertools import product

import pytest
from test_gates import BASE, SHARES, evidence_of, limit, rate_of, with_figure

from ganaudit.comparable import Comparable
from ganaudit.gates import FIGURES, Gate, Limit, judge, samples_needed
from ganaudit.intervals import Estimate, Interval, clopper_pearson
from ganaudit.ratios import Share
from ganaudit.report.gate_words import (
    amount,
    detectable,
    figures,
    headline,
    needs,
    sentence,
    wanted,
)
from ganaudit.report.verdicts import change
from ganaudit.report.words import number, percent

NOTHING = Interval(None, None, None)


def judged(name: str, scale: float, value: float, *, relative: bool) -> Gate:
    base = with_figure(name, evidence_of(name, 1.0))
    release = with_figure(name, evidence_of(name, scale))
    return judge(limit(name, value, relative=relative), release, base if relative else None)


def absolute_value(name: str) -> float:
    return {"vendi": 20.0, "worst-similarity": 0.008}.get(name, 0.02)


SCALES = (0.2, 0.5, 0.9, 0.98, 1.0, 1.05, 1.3, 1.6, 2.0, 3.0, 6.0, 20.0)
GATES = {
    name: [
        judged(name, scale, value, relative=relative)
        for scale in SCALES
        for relative, value in (
            (False, absolute_value(name)),
            *((True, x) for x in (0.001, 0.2, 0.4, 0.9 if name == "vendi" else 4.0)),
        )
    ]
    for name in FIGURES
}
every = pytest.mark.parametrize("name", FIGURES)


def test_there_is_a_gate_of_every_kind_and_verdict() -> None:
    for gates in GATES.values():
        assert len({(gate.limit.relative, gate.verdict) for gate in gates}) == 2 * 3


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (limit("worst-rate", 0.02), "at most 2 %"),
        (limit("faceless", 0.07), "at most 7 %"),
        (limit("faceless", 0.12345), "at most 12.345 %"),
        (limit("failures", 1e-9), "at most 0.0000001 %"),
        (limit("failures", 0.9999), "at most 99.99 %"),
        (limit("duplicates", 0.0), "none"),
        (limit("mu", 0.35), "at most 0.35"),
        (limit("mean-similarity", 2e-5), "at most 0.00002"),
        (limit("vendi", 20), "at least 20"),
        (limit("vendi", 1240.5), "at least 1,240.5"),
        (limit("worst-rate", 0.4, relative=True), "at most 40 % more than the baseline"),
        (limit("mu", 0.001, relative=True), "at most 0.1 % more than the baseline"),
        (limit("mu", 1.5, relative=True), "at most 2.5 times the baseline"),
        (limit("mu", 3.0, relative=True), "at most 4 times the baseline"),
        (limit("mu", 999.5, relative=True), "at most 1,000.5 times the baseline"),
        (limit("vendi", 0.2, relative=True), "at most 20 % less than the baseline"),
        (limit("vendi", 0.999, relative=True), "at most 99.9 % less than the baseline"),
    ],
)
def test_a_limit_is_said_as_it_was_set(gate: Limit, said: str) -> None:
    assert wanted(gate) == said


def test_amounts_are_in_percent_where_they_are_shares() -> None:
    for name, figure in FIGURES.items():
        gate = limit(name, 2.0 if name == "vendi" else 0.02)
        assert amount(gate, 0.0123) == ("1.23 %" if figure.share else "0.0123")
        assert amount(gate, None) == "not known"


# -- why -------------------------------------------------------------------------------------

ABSOLUTE = re.compile(
    r"It is at (least|most) (\S+(?: %)?), (not above|not below|above|below) (\S+(?: %)?)\."
)
CHANGE = r"(\S+) (?:% (more|less)|times)"
RELATIVE = re.compile(rf"Against the baseline it is at (least|most) {CHANGE}; the limit is (.*)\.")


def value_of(shown: str) -> float:
    return float(shown.replace(",", ""))


def assert_side_of_a_limit(gate: Gate, said: str) -> None:
    side, shown, relation, allowed = ABSOLUTE.fullmatch(said).groups()
    end = gate.found.low if side == "least" else gate.found.high
    assert shown == amount(gate.limit, end)
    assert wanted(gate.limit) == f"at {'least' if gate.limit.kind == 'min' else 'most'} {allowed}"
    assert {
        "above": end > gate.limit.value,
        "not above": end <= gate.limit.value,
        "below": end < gate.limit.value,
        "not below": end >= gate.limit.value,
    }[relation]
    assert side == ("least" if relation in ("above", "not below") else "most")
    assert (gate.verdict == "pass") == relation.startswith("not ")


def assert_side_of_a_change(gate: Gate, said: str) -> None:
    side, much, direction, allowed = RELATIVE.fullmatch(said).groups()
    change = value_of(much) - 1 if direction is None else value_of(much) / 100
    less = direction == "less"
    at_least = (side == "least") != less  # at most 5 % less is a change of at least -5 %
    end = gate.change.low if at_least else gate.change.high
    assert (-change if less else change) == pytest.approx(end, rel=0.01, abs=1e-4)
    assert wanted(gate.limit).startswith(f"at most {allowed} ")
    bound = gate.limit.value * (-1 if gate.limit.kind == "max-decrease" else 1)
    assert (end > bound) == at_least
    good = "max-decrease" if at_least else "max-increase"
    assert (gate.verdict == "pass") == (gate.limit.kind == good)


@every
def test_a_decided_gate_says_which_side_it_is_on(name: str) -> None:
    for gate in GATES[name]:
        if gate.verdict == "inconclusive":
            continue
        said = sentence(gate, needed=1234)
        if gate.limit.relative:
            assert_side_of_a_change(gate, said)
        else:
            assert_side_of_a_limit(gate, said)


@every
def test_an_open_gate_says_between_what_and_that_samples_lack(name: str) -> None:
    for gate in GATES[name]:
        if gate.verdict != "inconclusive":
            continue
        said = sentence(gate, needed=None)
        assert said.endswith(" There are too few samples to tell.")
        more = sentence(gate, needed=12_345)
        assert more.startswith(said)
        assert "About 12,345 samples " in more
        assert more.endswith("; near the limit it takes more.")
        if gate.limit.relative:
            low, high = (change(end) for end in (gate.change.low, gate.change.high))
            assert said.startswith(
                f"Against the baseline it lies between {low} and {high}; the limit "
            )
            assert "unchanged release pass" in more
        else:
            low, high = (amount(gate.limit, end) for end in (gate.found.low, gate.found.high))
            assert said.startswith(f"The limit lies within the interval ({low} to {high}).")
            assert "half of the limit from double of it" in more


@pytest.mark.parametrize(
    ("name", "scale", "value", "said"),
    [
        ("mean-similarity", 0.5, 0.4, "at least 43.8 % less; the limit is 40 % more."),
        ("mean-similarity", 1.05, 0.4, "at most 18.0 % more; the limit is 40 % more."),
        ("mean-similarity", 2.0, 0.4, "at least 78.0 % more; the limit is 40 % more."),
        ("mean-similarity", 6.0, 0.4, "at least 5.34 times; the limit is 40 % more."),
        ("mean-similarity", 6.0, 4.0, "at least 5.34 times; the limit is 5 times."),
        ("mean-similarity", 2.0, 4.0, "at most 2.25 times; the limit is 5 times."),
        ("vendi", 0.95, 0.2, "at most 8.07 % less; the limit is 20 % less."),
        ("vendi", 0.5, 0.2, "at least 48.3 % less; the limit is 20 % less."),
        ("vendi", 2.0, 0.2, "at least 93.5 % more; the limit is 20 % less."),
    ],
)
def test_sides_against_a_baseline_by_hand(name: str, scale: float, value: float, said) -> None:
    """exp(1.645 sqrt(2 .05^2)) = 1.1234; of Vendi exp(1.645 sqrt(4e-4)) = 1.0334."""
    gate = judged(name, scale, value, relative=True)
    assert sentence(gate, needed=None) == f"Against the baseline it is {said}"


def test_what_was_counted_is_said() -> None:
    none = limit("faceless", 0.0)
    kept = judge(none, with_figure("faceless", Share(0, 10_000)))
    high = percent(clopper_pearson(0, 10_000).high)
    assert sentence(kept, needed=None) == (
        f"There are none; a share up to {high} cannot be ruled out."
    )
    broken = judge(none, with_figure("faceless", Share(3, 10_000)))
    assert sentence(broken, needed=5) == "There are some: 0.03 %."


def test_what_was_not_computed_is_said_of_whom() -> None:
    absent = with_figure("vendi", None)
    said = "This figure was not computed for {}, so nothing can be said of it."
    for relative, release, baseline, whose in (
        (False, absent, None, "the release"),
        (True, absent, BASE, "the release"),
        (True, BASE, absent, "the baseline"),
        (True, absent, absent, "the release"),
    ):
        gate = judge(
            limit("vendi", 20.0 if not relative else 0.4, relative=relative), release, baseline
        )
        assert sentence(gate, needed=9) == said.format(whose)


def test_what_has_no_interval_is_said_so() -> None:
    unsure = with_figure("mu", Estimate(0.5, None, 0, 0.1))
    for gate in (
        judge(limit("mu", 0.5), unsure),
        judge(limit("mu", 0.5, relative=True), BASE, unsure),
    ):
        assert sentence(gate, needed=9) == (
            "The figure has no interval: too few anchors or groups of samples, or nothing varies."
        )


@pytest.mark.parametrize("name", SHARES)
def test_what_nobody_has_seen_leads_to_an_absolute_limit(name: str) -> None:
    none = with_figure(name, Share(0, 700))
    gate = judge(limit(name, 0.4, relative=True), none, none)
    assert sentence(gate, needed=9) == (
        "Neither the release nor the baseline has any, and no ratio of the two is known: an "
        f"absolute limit (--max {name}=1%) says more."
    )


@pytest.mark.parametrize(
    ("verdict", "reason", "said"),
    [
        ("pass", "decided", "The samples show that it is at most 2 %."),
        ("fail", "decided", "The samples show that it is above 2 %."),
        ("inconclusive", "undecided", "Not decided by the samples that were drawn."),
    ],
)
def test_what_was_looked_at_as_it_came_is_said(verdict, reason, said: str) -> None:
    gate = Gate(limit("worst-rate", 0.02), verdict, reason, Interval(0.01, 0.005, 0.015))
    assert sentence(gate, needed=9) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0 % more"),
        (0.12, "12.0 % more"),
        (0.0004, "0.0400 % more"),
        (0.9999, "100 % more"),
        (1.0, "2.00 times"),
        (2.99, "3.99 times"),
        (8.2, "9.20 times"),
        (99999.0, "100,000 times"),
        (-0.031, "3.10 % less"),
        (-0.5, "50.0 % less"),
        (-0.9999, "more than 99.9 % less"),
        (-1.0, "100 % less"),
        (None, "not known"),
    ],
)
def test_changes_in_words(share: float | None, said: str) -> None:
    assert change(share) == said


# -- what could have been found --------------------------------------------------------------


@every
def test_what_could_have_been_found_is_always_said(name: str) -> None:
    for gate in GATES[name]:
        said = detectable(gate)
        value, kind = gate.detectable, gate.limit.kind
        if value is None:
            assert said == "What this gate would have found is not known from these samples."
            continue
        counted = name in ("worst-rate", "worst-similarity", *SHARES)
        alike = "" if counted else ", if figures vary as they do here"
        assert said.endswith(f" would have failed in 95 of 100 such checks{alike}.")
        if kind in ("max", "min"):
            edge = "more" if kind == "max" else "less"
            assert said.startswith(f"A true value of {amount(gate.limit, value)} or {edge} would")
            assert (value > gate.limit.value) == (kind == "max")
        elif kind == "max-decrease":
            assert said.startswith(f"A decrease of {percent(value)} or more would")
            assert gate.limit.value < value < 1
        else:
            much = f"to {number(1 + value)} times" if value >= 1 else f"of {number(100 * value)} %"
            assert said.startswith(f"An increase {much} or more would")
            assert value > gate.limit.value


def test_what_could_have_been_found_by_hand() -> None:
    gate = Gate(limit("mu", 0.4, relative=True), "pass", "clear", NOTHING, NOTHING, NOTHING, 0.551)
    said = "An increase of 55.1 % or more would have failed in 95 of 100 such checks"
    assert detectable(gate) == f"{said}, if figures vary as they do here."
    gate = Gate(limit("mu", 0.4, relative=True), "pass", "clear", NOTHING, NOTHING, NOTHING, 7.0)
    assert detectable(gate).startswith("An increase to 8.00 times or more would")
    gate = Gate(limit("vendi", 0.4, relative=True), "pass", "clear", NOTHING, NOTHING, NOTHING, 0.5)
    assert detectable(gate).startswith("A decrease of 50.0 % or more would")
    gate = Gate(limit("vendi", 20), "pass", "clear", NOTHING, detectable=18.4)
    assert detectable(gate).startswith("A true value of 18.4 or less would")
    gate = Gate(limit("worst-rate", 0.02), "pass", "clear", NOTHING, detectable=0.026)
    assert detectable(gate).startswith("A true value of 2.60 % or more would")


# -- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([], "No gate was checked."),
        (["pass"], "The gate passed: a."),
        (["fail"], "The gate failed: a."),
        (["inconclusive"], "The gate is inconclusive: a."),
        (["pass", "pass"], "All 2 gates passed."),
        (["pass", "fail", "pass"], "1 of 3 gates failed: b."),
        (["inconclusive", "pass"], "1 of 2 gates inconclusive: a."),
        (["fail", "fail"], "2 of 2 gates failed: a, b."),
        (
            ["fail", "inconclusive", "pass", "inconclusive"],
            "1 of 4 gates failed: a; 2 of 4 gates inconclusive: b, d.",
        ),
    ],
)
def test_all_gates_in_one_sentence(verdicts, said: str) -> None:
    assert headline(list(zip("abcd", verdicts, strict=False))) == said


def test_only_where_all_passed_does_the_headline_say_so() -> None:
    for count in (1, 2, 3):
        for verdicts in product(("pass", "fail", "inconclusive"), repeat=count):
            said = headline(list(zip("abc", verdicts, strict=False)))
            assert ("passed" in said) == (set(verdicts) == {"pass"})
            assert ("failed" in said) == ("fail" in verdicts)
            assert ("inconclusive" in said) == ("inconclusive" in verdicts)


@pytest.mark.parametrize(
    ("gate", "samples", "planned", "said"),
    [
        (
            limit("worst-rate", 0.02),
            1615,
            10_000,
            "worst-rate at most 2 %: about 1,615 samples tell half of the limit from double of it",
        ),
        (
            limit("worst-rate", 0.4, relative=True),
            17_056,
            10_000,
            "worst-rate at most 40 % more than the baseline: about 17,056 samples let an unchanged "
            "release pass; 10,000 may leave it inconclusive",
        ),
        (
            limit("vendi", 0.4, relative=True),
            300,
            None,
            "vendi at most 40 % less than the baseline: about 300 samples let an unchanged release "
            "pass",
        ),
        (
            limit("duplicates", 0.0),
            None,
            100,
            "duplicates none: how many samples it needs is not known beforehand",
        ),
    ],
)
def test_what_a_gate_will_need_is_said_before(gate, samples, planned, said: str) -> None:
    assert needs(gate, samples, planned) == said


def test_as_many_as_are_needed_are_enough() -> None:
    gate = limit("worst-rate", 0.02)
    assert "inconclusive" not in needs(gate, 1615, 1615)
    assert needs(gate, 1615, 1614).endswith("; 1,614 may leave it inconclusive")
    assert needs(gate, 1, None).endswith("about 1 sample tell half of the limit from double of it")


# -- as JSON ---------------------------------------------------------------------------------


@every
def test_a_gate_as_json_has_its_figures_and_its_sentences(name: str) -> None:
    for gate in GATES[name]:
        needed = samples_needed(gate.limit, BASE)
        found = figures(gate, needed=needed)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert list(found) == [
            *("gate", "title", "kind", "limit", "wanted", "share", "verdict", "reason"),
            *("found", "baseline", "change", "detectable", "samples_needed"),
            *("sentence", "detectable_sentence"),
        ]
        assert found["gate"] == gate.limit.figure.name
        assert found["title"] == gate.limit.figure.title
        assert found["share"] == gate.limit.figure.share
        assert (found["kind"], found["limit"]) == (gate.limit.kind, gate.limit.value)
        assert (found["verdict"], found["reason"]) == (gate.verdict, gate.reason)
        assert found["found"] == vars(gate.found)
        for side in ("baseline", "change"):
            value = getattr(gate, side)
            assert found[side] == (None if value is None else vars(value))
            assert (value is not None) == gate.limit.relative
        assert (found["detectable"], found["samples_needed"]) == (gate.detectable, needed)
        assert found["wanted"] == wanted(gate.limit)
        assert found["sentence"] == sentence(gate, needed=needed)
        assert found["detectable_sentence"] == detectable(gate)


def test_no_sentence_says_more_than_was_tested() -> None:
    few = Comparable(6, 112, Estimate(0.1, None, 0, 0.3), Estimate(0.1, None, 0, 0.3), None, None)
    gates = [gate for found in GATES.values() for gate in found]
    gates += [judge(limit(name, 0.4, relative=True), few, BASE) for name in FIGURES]
    gates += [judge(limit(name, 0.0), with_figure(name, Share(0, 9))) for name in SHARES]
    total = with_figure("worst-rate", rate_of(10_000, 10_000, 10_000))
    gates += [judge(limit("worst-rate", value), total) for value in (0.5, 0.999)]
    for gate in gates:
        said = f"{sentence(gate, needed=3)} {detectable(gate)} {wanted(gate.limit)}"
        assert not re.search(r"healthy|no collapse", said, re.IGNORECASE), said
        assert not re.search(r"\b(nan|inf|None|True|False)\b", said), said
        assert "  " not in said and said[0].isupper()
        assert sentence(gate, needed=3).endswith(".")
        assert len(said) < 400
