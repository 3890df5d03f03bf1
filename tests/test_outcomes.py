"""What is said of a calibrator, from effects that are made up."""

from dataclasses import replace
from typing import Any

import pytest

from ganaudit.effects import Applied, Effect, Effects
from ganaudit.intervals import Interval
from ganaudit.outcomes import next_step, verdict

NONE = Interval(None, None, None)
SURE = Interval(0.8, 0.79, 0.81)
APPLIED = Applied(
    method="importance", variant="linear", acceptance=SURE, min_acceptance=0.7, unaccepted=0.0
)


def around(value: float, wide: float = 0.05) -> Interval:
    return Interval(value, value * (1 - wide), value * (1 + wide))


def effect(before: float, after: float, *, wide: float = 0.05, **named: Any) -> Effect:
    ratio = around(after / before, wide)
    return Effect(around(before, wide), around(after, wide), ratio, **named)


FELL, STAYED, ROSE = effect(0.1, 0.01), effect(0.1, 0.101), effect(0.1, 0.15)
GREW = effect(0.01, 0.02, anchor=9, p=0.001)
ALONE = effect(0.01, 0.012, anchor=7, p=0.4)


def effects(
    chosen: list[Effect], worst: Effect = FELL, others: list[Effect] | None = None, **changes: Any
) -> Effects:
    return Effects(
        applied=replace(APPLIED, **changes),
        target=0.01,
        anchors=500,
        chosen=chosen,
        worst=worst,
        others=others or [],
    )


def test_a_mode_that_fell_at_nobodys_cost_is_thinned() -> None:
    found = effects([FELL], others=[ALONE])
    assert verdict(found) == {
        "outcome": "thinned",
        "sentences": [
            "The chosen mode fell from 10.0 % (9.5 % to 10.5 %) to 1.00 % (0.95 % to 1.05 %) of "
            "fresh samples, 0.100 times (0.095 to 0.105) what it was. That is not told apart from "
            "the target of 1.00 %.",
            "The worst of 500 anchors fell from 10.0 % (9.5 % to 10.5 %) to 1.00 % (0.95 % to "
            "1.05 %), 0.100 times (0.095 to 0.105) what it was.",
            "Of 1 other dense mode none is shown to have grown beyond the allowed 1.27 times, "
            "1 / acceptance.",
        ],
        "next": None,
    }


@pytest.mark.parametrize(
    ("first", "worst", "others", "outcome"),
    [
        (FELL, FELL, [], "thinned"),
        (FELL, STAYED, [ALONE], "thinned"),
        (STAYED, STAYED, [], "nothing"),
        (ROSE, ROSE, [], "nothing"),
        (STAYED, STAYED, [GREW], "nothing"),
        (FELL, ROSE, [], "moved"),
        (FELL, FELL, [ALONE, GREW], "moved"),
        (Effect(NONE, NONE, NONE), FELL, [], "nothing"),
        (FELL, Effect(NONE, NONE, NONE), [], "thinned"),
    ],
)
def test_the_outcome_is_that_of_the_densest_mode_and_of_the_others(
    first: Effect, worst: Effect, others: list[Effect], outcome: str
) -> None:
    assert effects([first, FELL], worst, others).outcome == outcome


def test_less_than_one_percent_is_nothing_however_sure() -> None:
    barely, enough = effect(0.1, 0.0995, wide=1e-4), effect(0.1, 0.0985, wide=1e-4)
    assert barely.ratio.high is not None and barely.ratio.high < 1
    assert effects([barely]).outcome == "nothing"
    assert effects([enough]).outcome == "thinned"


@pytest.mark.parametrize(
    ("after", "where", "meets", "said"),
    [
        (Interval(0.02, 0.011, 0.03), "above", False, "still above"),
        (Interval(0.011, 0.01, 0.012), "at", True, "not told apart from"),
        (Interval(0.008, 0.006, 0.0101), "at", True, "not told apart from"),
        (Interval(0.008, 0.006, 0.01), "below", True, "below"),
    ],
)
def test_a_target_is_missed_met_or_undercut(
    after: Interval, where: str, meets: bool, said: str
) -> None:
    found = effects([replace(FELL, after=after)])
    mode = found.figures()["modes"][0]
    assert (mode["against_target"], mode["meets_target"]) == (where, meets)
    assert f"That is {said} the target" in verdict(found)["sentences"][0]


def test_what_did_not_happen_is_not_said_to_have_happened() -> None:
    stayed, rose, unknown = (
        verdict(effects([first], worst))["sentences"]
        for first, worst in ((STAYED, STAYED), (ROSE, ROSE), (FELL, Effect(NONE, NONE, NONE)))
    )
    assert stayed[0].startswith("The chosen mode did not fall beyond noise: from 10.0 %")
    assert stayed[1].startswith("The worst of 500 anchors is not told apart from what it was")
    assert [one.split(" from")[0] for one in rose] == [
        "The chosen mode rose",
        "The worst of 500 anchors rose",
    ]
    assert unknown[1] == (
        "The worst of 500 anchors is not known: there are too few groups of samples."
    )


def test_several_chosen_modes_are_counted() -> None:
    said = verdict(effects([FELL, STAYED, FELL]))["sentences"]
    assert said[0].startswith("The densest chosen mode fell")
    assert said[1] == "Of 3 chosen modes 2 fell beyond noise; 1 is still above the target."


def test_the_mode_that_grew_most_is_named() -> None:
    appeared = Effect(around(0.0), around(0.05), Interval(None, 6.0, None), anchor=11, p=0.01)
    found = effects([FELL], others=[ALONE, GREW, appeared])
    assert verdict(found)["sentences"][-1] == (
        "Of 3 other dense modes 2 grew beyond the allowed 1.27 times, 1 / acceptance: the most "
        "from 0 % (0 % to 0 %) to 5.00 % (4.8 % to 5.3 %), at least 6.00 times what it was."
    )
    others = found.figures()["others"]
    assert (others["looked_at"], others["largest"]["anchor"]) == (3, 11)
    assert [one["anchor"] for one in others["grown"]] == [9, 11]


@pytest.mark.parametrize(
    ("growth", "limit"), [(None, ""), (1.25, " beyond the allowed 1.25 times")]
)
def test_where_nothing_is_left_out_no_acceptance_is_named(growth: float | None, limit: str) -> None:
    sure = {"acceptance": Interval(1.0, 1.0, 1.0), "growth": growth}
    kept, grown = effects([FELL], others=[ALONE], **sure), effects([FELL], others=[GREW], **sure)
    assert verdict(kept)["sentences"][-1] == (
        f"Of 1 other dense mode none is shown to have grown{limit}."
    )
    assert f"Of 1 other dense mode 1 grew{limit}: the most " in verdict(grown)["sentences"][-1]


@pytest.mark.parametrize(
    ("acceptance", "growth", "allowed"),
    [
        (SURE, None, 1 / 0.79),
        (Interval(0.8, None, None), None, 1.25),
        (Interval(1.0, 1.0, 1.0), None, 1.0),
        (NONE, None, 1.0),
        (Interval(1.0, 1.0, 1.0), 1.6, 1.6),
        (SURE, 0.5, 1.0),
    ],
)
def test_others_may_grow_by_what_the_acceptance_may_be(
    acceptance: Interval, growth: float | None, allowed: float
) -> None:
    assert replace(APPLIED, acceptance=acceptance, growth=growth).allowed == pytest.approx(allowed)


HIGH = replace(FELL, after=around(0.05))  # above the target
CASES: list[tuple[Effects, str | None]] = [
    (effects([FELL], method="gmm"), None),
    (effects([STAYED], method="gmm", variant="cell"), "--method importance"),
    (effects([HIGH], method="gmm", variant="mixture"), "--method importance"),
    (effects([FELL], others=[GREW], method="gmm", variant="mixture"), "--draw cell"),
    (effects([STAYED], variant="hull"), "--region linear"),
    (effects([STAYED], variant="linear"), "--method rejection"),
    (effects([HIGH], variant="linear"), "--method rejection"),
    (effects([HIGH], variant="linear", min_acceptance=0.79), "a --min-acceptance below 0.79"),
    (effects([HIGH], method="rejection", variant=None, min_acceptance=0.79), "below 0.79"),
    (effects([HIGH], method="rejection", variant=None), "more --samples"),
    (effects([HIGH], method="rejection", variant=None, unaccepted=0.2), "in 20.0 % of"),
    (effects([STAYED], method="rejection", variant=None, unaccepted=0.2), "more --attempts"),
    (effects([STAYED], method="rejection", variant=None), "gives another image"),
    (effects([FELL], others=[GREW], method="rejection", variant=None), "gives another image"),
    (effects([FELL], ROSE), "more --modes"),
    (effects([HIGH], method="advlatgan-z", variant=None), "refinement by a discriminator"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), CASES)
def test_the_next_step_answers_what_went_wrong(found: Effects, words: str | None) -> None:
    said = next_step(found)
    assert said is None if words is None else said is not None and words in said
