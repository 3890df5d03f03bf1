"""What calibration.json says, in words and cells: page, Markdown and terminal say the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganaudit.report import words
from ganaudit.report.compared import rows as compared_rows
from ganaudit.report.meanings import Row, row
from ganaudit.report.words import Interval

Document = Mapping[str, Any]  # calibration.json

NAME = "calibration.json"
TO = " → "  # between what was and what is
MODES = ("Mode", "Anchor", "Before", "Announced", "After", "After / before", "Target")
EXPECTED = ("Figure", "Announced", "Measured")
OTHERS = ("Anchor", "Before", "After", "After / before", "Significance")
APART = ("Figure", "Behind the calibrator", "By chance alone", "What it means")
REFERENCE = ("Figure", "Before", "After")
DIFFERENCE = ("Figure", "Before", "After", "After - before", "95 % interval")
NOT_SAID = "not announced"
_OUTCOMES = {
    "thinned": "",
    "nothing": "This calibrator did not thin what it was to thin: ",
    "moved": "This calibrator moved the collapse elsewhere: ",
}
_TYPES = {
    "regions": (
        "A latent that falls into the region of a chosen mode is kept with a probability, else "
        "drawn again"
    ),
    "cells": (
        "A latent is kept with the probability of the cell of latents that it falls into, else "
        "drawn again"
    ),
    "mixture": "Latents are drawn from a mixture of Gaussians instead of the generator’s own prior",
    "filter": (
        "Every image is embedded, and one that lies within the radius of a chosen mode is "
        "delivered with a probability, else another is made"
    ),
    "refiner": "Every latent is moved by a few steps that raise the discriminator’s score",
}
_TARGETS = {
    "below": "below it",
    "at": "not told apart from it",
    "above": "still above it",
}
_COMPANIONS = (
    (
        "Fréchet distance",
        "frechet_distance",
        "Between the means and covariances of two clouds of embeddings; 0 if these agree.",
    ),
    (
        "Kernel distance",
        "kernel_distance",
        "The same without assuming a shape; about 0 if the clouds agree.",
    ),
)
_FIDELITY = (*((name, key) for name, key, _ in _COMPANIONS), ("Density", "density"))


def headline(document: Document) -> str:
    """What became of the densest chosen mode, and of the worst of all; the outcome before it."""
    outcome = document["verdict"]["outcome"]
    start = _OUTCOMES.get(outcome, f"This calibration ended as {words.named(outcome)}: ")
    first, worst = document["modes"][0], document["worst"]
    whose = "the chosen mode" if len(document["modes"]) == 1 else "the densest chosen mode"
    said = f"{whose} {_went(first)} of what this generator shows"
    all_anchors = f"the worst of {words.counted(document['sizes']['anchors'], 'anchor')}"
    link = ", but " if outcome == "moved" else "; "
    if outcome == "moved" and not _rose(worst):
        many = document["others"]["grown"]
        grew = f"{words.counted(len(many), 'other dense mode')} grew by more than is allowed for"
        said, link = f"{said}, but {grew}", "; "
    text = f"{start}{said}{link}{all_anchors} {_went(worst)}."
    return text[0].upper() + text[1:]


def price(document: Document) -> str:
    """What is taken of what is proposed, and what an image costs."""
    taken, cost = document["acceptance"], document["images_per_image"]
    if document["type"] == "refiner":
        return f"{_TYPES['refiner']}: none is left out."
    share = words.with_interval(taken, share=True)
    if cost["estimate"] == 1:
        made = "an image is rendered once, as without it"
    elif cost["estimate"] is None:
        made = "what a delivered image costs is not known"
    else:
        made = f"{words.with_interval(cost)} images are made for each that is delivered"
    return f"Its acceptance is {share}: {made}."


def how(document: Document) -> str:
    """How this type of calibrator works; the generator itself is never touched."""
    done = _TYPES.get(document["type"], f"It is of the type {words.named(document['type'])}")
    return f"{done}. The generator itself is unchanged."


def mode(document: Document) -> str:
    """What is meant by a mode, its rate and a fresh sample."""
    reported = {"descriptor": document["descriptor"]}
    seeds = document["seeds"]
    return (
        f"A mode is an identity that repeats: whatever lies within the radius "
        f"{words.reach(document['radius'])} of its anchor, an image of this generator, as an angle "
        f"between embeddings, a fraction of pi, under {words.descriptor(reported)}. Its rate is "
        "the share of samples there. All rates are of fresh samples, of seed "
        f"{seeds['fresh']}; the calibrator was fitted on those of seed {seeds['fit']}."
    )


def sizes(document: Document) -> str:
    """How many anchors met how many fresh samples."""
    found = document["sizes"]
    return (
        f"m = {words.counted(found['anchors'], 'anchor')} against "
        f"n = {words.counted(found['before'], 'sample')} before and "
        f"n = {words.counted(found['after'], 'sample')} after"
    )


def facts(document: Document) -> list[tuple[str, str]]:
    """What was calibrated how: (name, value)."""
    card = document["descriptor"]
    described = "none: embeddings were given" if card is None else words.named(card["name"])
    return [
        ("Generator", words.named(document["generator"]["name"])),
        ("Method", f"{words.named(document['method'])}, type {words.named(document['type'])}"),
        ("Descriptor", described),
        ("Size", sizes(document)),
    ]


def target(document: Document) -> str:
    """The rate that chosen modes were to come down to."""
    return (
        f"The target is {words.percent(document['target'])}: "
        f"{words.named(document['target_origin'])}."
    )


def key_figures(document: Document) -> list[tuple[str, str, list[str], str]]:
    """The four that stand at the top: (name, value, lines of intervals, meaning)."""
    first, worst = document["modes"][0], document["worst"]
    taken, cost = document["acceptance"], document["images_per_image"]
    many = len(document["modes"])
    return [
        (
            "The chosen mode" if many == 1 else f"The densest of {many} chosen modes",
            change(first),
            _ends(first),
            f"Share of fresh samples within the radius of its anchor. {target(document)}",
        ),
        (
            "The worst of all anchors",
            change(worst),
            _ends(worst),
            "The most crowded of the same anchors, before and after, whichever it is: chosen on "
            "one half of the samples, scored on the other.",
        ),
        (
            "Acceptance",
            words.estimate(taken, share=True),
            [words.interval(taken, share=True)],
            f"Share of proposals that is taken; at least {words.level(document['min_acceptance'])} "
            f"was asked for. {unaccepted(document)}",
        ),
        (
            "Images made per image",
            words.estimate(cost),
            [words.interval(cost)],
            how(document),
        ),
    ]


def unaccepted(document: Document) -> str:
    """How often nothing is taken within the attempts."""
    share, most = document["unaccepted"], words.counted(document["attempts"], "proposal")
    if not share:
        return f"Within {most} every slot has one."
    few = "fewer than one slot in a million has"
    if share >= 1e-6:
        few = f"{words.percent(share)} of the slots have"
    return f"Within {most} {few} none: there the last one stands."


def change(effect: Document) -> str:
    """A rate before and after: 9.80 % → 0.41 %."""
    before, after = (words.estimate(effect[side], share=True) for side in ("before", "after"))
    return f"{before}{TO}{after}"


def expected(document: Document) -> list[tuple[str, list[tuple[str, str]]]]:
    """The densest mode, the worst and the acceptance: (name, (value, interval) of two columns)."""
    said, first, worst = document["announced"]["forecast"], document["modes"][0], document["worst"]
    chosen = said["chosen"][:1] if said else []
    taken = document["acceptance"]
    return [
        (
            "The densest chosen mode",
            [(_pair(chosen[0]) if chosen else NOT_SAID, ""), (change(first), _both_ends(first))],
        ),
        (
            "The worst of all anchors",
            [(_pair(said["worst"]) if said else NOT_SAID, ""), (change(worst), _both_ends(worst))],
        ),
        (
            "Acceptance",
            [(words.percent(said["acceptance"]) if said else NOT_SAID, ""), _share(taken)],
        ),
    ]


def forecast(document: Document) -> str:
    """On what the announcement rests."""
    said = document["announced"]["forecast"]
    if said is None:
        return "No rate was announced: this method cannot tell beforehand what it will do."
    if said["held_out"]:
        return (
            "Announced from samples of the fitted run, each judged by what it took no part in "
            "fitting; measured on fresh ones."
        )
    return (
        "Announced from the samples that the calibrator was fitted on, which flatters it; measured "
        "on fresh ones."
    )


def modes(document: Document) -> list[tuple[str, str, list[tuple[str, str]], str]]:
    """The chosen modes: (number, anchor, (value, interval) of four columns, the target)."""
    said = document["announced"]["forecast"]
    announced = said["chosen"] if said else []
    return [
        (
            words.count(number),
            str(effect["anchor"]),
            [
                _share(effect["before"]),
                (_pair(announced[number - 1]) if number <= len(announced) else NOT_SAID, ""),
                _share(effect["after"]),
                _times(effect["ratio"]),
            ],
            _TARGETS.get(effect["against_target"], words.UNKNOWN),
        )
        for number, effect in enumerate(document["modes"], start=1)
    ]


def met(document: Document) -> str:
    """How many of the chosen modes are where they should be."""
    found = [effect["against_target"] for effect in document["modes"]]
    above, many = found.count("above"), len(found)
    start = f"{words.counted(many, 'mode')} {'was' if many == 1 else 'were'} chosen"
    asked = document["modes_asked"]
    why = (
        "until the worst anchor met the target or the acceptance came to its floor"
        if asked == "auto"
        else "as was asked for"
    )
    rest = "None is still above it." if not above else f"{above} of them still above it."
    return f"{start}, {why}. {target(document)} {rest}"


def allowed(document: Document) -> str:
    """How much a mode that is left alone may grow, and why."""
    others = document["others"]
    growth = f"{words.number(others['allowed'])} times"
    looked = words.counted(others["looked_at"], "other dense mode")
    most = others["largest"]
    said = (
        f"What is taken away from some modes is shared out among all others, so each of them may "
        f"get to {growth} its rate, and none to more. {looked} {_were(others['looked_at'])} looked "
        "at"
    )
    grown = len(others["grown"])
    if not others["looked_at"]:
        return f"{said}."
    if not grown:
        said += f": none is shown to have grown beyond {growth}"
    else:
        said += f": {words.count(grown)} grew beyond that, by more than chance allows"
    if most is None:
        return f"{said}."
    rates = f"from {_rate(most['before'])} to {_rate(most['after'])}"
    ratio = words.with_interval(most["ratio"])
    return f"{said}. The one that grew most for sure, anchor {most['anchor']}: {rates}, {ratio}."


def grown(document: Document) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Modes that paid for it: (anchor, (value, interval) of three columns, p)."""
    return [
        (
            str(effect["anchor"]),
            [_share(effect["before"]), _share(effect["after"]), _times(effect["ratio"])],
            words.probability(effect["p"]),
        )
        for effect in document["others"]["grown"]
    ]


def pictures(document: Document) -> str:
    """What the pictures show."""
    shown = document["gallery"]
    which = "The chosen mode" if len(shown) == 1 else f"The first {len(shown)} chosen modes"
    return (
        f"{which}. Above, slots whose sample was in the mode, and what the same slots show behind "
        "the calibrator; what lies within the radius has a frame. Below, the samples nearest to "
        "the anchor: there are fewer of them afterwards, so they lie farther from it. Those beyond "
        "the radius are smaller and faded."
    )


def first_slots(many: int) -> str:
    """Which slots are shown."""
    return f"The first {words.counted(many, 'slot')} whose sample lies within the radius."


def still(within: int, many: int) -> str:
    """How many of them are what they were."""
    inside = {0: "None", many: "All"}.get(within, words.count(within))
    return f"{inside} of them still within the radius."


def apart(document: Document) -> list[tuple[str, list[tuple[str, str]], str]]:
    """How far the samples moved: (name, (value, interval) behind it and by chance, meaning)."""
    found = document["companions"]
    return [
        (name, [_figure(found[side][key]) for side in ("to_uncalibrated", "noise")], meaning)
        for name, key, meaning in _COMPANIONS
    ]


def about_apart(document: Document) -> str:
    """What is compared there."""
    rows = words.count(document["companions"]["rows"])
    return (
        f"{rows} samples of the fitted run against {rows} fresh ones. Taking a mode away moves the "
        "samples, and so it should: what counts is how far beside two samples without the "
        "calibrator, which differ by chance alone."
    )


def reference(document: Document) -> list[tuple[str, list[tuple[str, str]]]]:
    """Distances to real images, before and after; none without a reference."""
    found = document["companions"]["to_reference"]
    if found is None:
        return []
    sides = found["before"], found["after"]
    rows = [
        (name, [_figure(side[key]) for side in sides])
        for name, key in _FIDELITY
        if all(key in side for side in sides)
    ]
    if all("coverage" in side for side in sides):
        rows.append(("Coverage", [(words.percent(side["coverage"]), "") for side in sides]))
    return rows


def discriminator(document: Document) -> list[Row]:
    """What the discriminator says of fakes; nothing where none was used."""
    found = document.get("discriminator")
    if found is None:
        return []
    return [
        row("Score before", found["before"], "Of fakes, the discriminator’s raw output."),
        row("Score after", found["after"], "Of the same slots, after their latents were moved."),
        Row(
            "Raised",
            words.percent(found["raised"]),
            "",
            "Share of slots whose score is higher than it was.",
        ),
        Row(
            "Furthest move",
            words.number(found["furthest"]),
            "",
            "Largest change of any coordinate of a latent.",
        ),
    ]


def difference(document: Document) -> list[tuple[str, ...]]:
    """Every figure of both audits, a row each, in the order of DIFFERENCE."""
    return compared_rows({"figures": document["difference"]})


def about_difference(document: Document) -> str:
    """What the star means, and what an anchor is there."""
    found = sum(line["told_apart"] for line in document["difference"])
    return (
        f"Two audits of the fresh slots, each with anchors of its own. "
        f"{words.counted(found, 'figure')} of {len(document['difference'])} marked *: the 95 % "
        "interval of the difference leaves 0 out. Each is judged alone; of 20 figures of two equal "
        "generators one will be marked."
    )


def vendi(document: Document) -> str:
    """The effective number of different samples, before and after."""
    found = [line for line in document["difference"] if line["figure"] == "vendi-1"]
    if not found or found[0]["a"]["estimate"] is None or found[0]["b"]["estimate"] is None:
        return "The Vendi score, an effective number of different samples, is not known."
    before, after = (words.with_interval(found[0][side]) for side in ("a", "b"))
    return (
        f"The Vendi score, an effective number of different samples, was {before} and is {after}."
    )


def cautions(document: Document) -> list[str]:
    """What may not be concluded from any calibration."""
    least = words.level(min(1.0, 3 / max(1, document["sizes"]["anchors"])))
    reported = {"descriptor": document["descriptor"]}
    return [
        "Nothing new is made: the calibrator takes samples of some modes away, and all others get "
        "more frequent in proportion. The generator has as many identities as before.",
        f"All of it holds under {words.descriptor(reported)} and this radius: another may join or "
        "part images otherwise.",
        f"Modes rarer than {least} (3/m) may hold no anchor at all: whether they grew is not "
        "known.",
        "It belongs to these weights: another release of the generator needs one of its own.",
        "An interval that holds the target does not show that the target was reached.",
        "MCCS, its mean mu and spread sigma hold at this number of samples and compare at equal n "
        "only.",
    ]


def provenance(document: Document) -> dict[str, Any]:
    """Everything that is known of where it comes from, by title."""
    about = ("target", "target_origin", "min_acceptance", "modes_asked", "seeds")
    made = ("method", "type", "attempts", "settings", "calibrator", "unaccepted")
    return {
        "Request": {name: document[name] for name in about},
        "Calibrator": {name: document[name] for name in made},
        "Found while fitting": document["announced"]["facts"],
        "Generator": document["generator"],
        "Descriptor": document["descriptor"],
        "Theta and radius": {name: document[name] for name in ("theta", "radius")},
        "Environment": document["environment"],
    }


def in_line(values: Iterable[tuple[str, str]]) -> list[str]:
    """Values with their intervals as cells of text."""
    return [f"{value} ({ends})" if ends else value for value, ends in values]


def _went(effect: Document) -> str:
    before, after = effect["before"], effect["after"]
    if before["estimate"] is None or after["estimate"] is None:
        return "is not known"
    verb = "rose" if _rose(effect) else "fell" if _fell(effect) else "went"
    return f"{verb} from {_rate(before)} to {_rate(after)}"


def _rose(effect: Document) -> bool:
    low = effect["ratio"]["low"]
    return low is not None and low > 1


def _fell(effect: Document) -> bool:
    high = effect["ratio"]["high"]
    return high is not None and high < 1


def _rate(rate: Interval) -> str:
    return words.estimate(rate, share=True)


def _were(many: int) -> str:
    return "was" if many == 1 else "were"


def _pair(rates: Sequence[float]) -> str:
    return TO.join(map(words.percent, rates))


def _share(rate: Interval) -> tuple[str, str]:
    return words.estimate(rate, share=True), words.interval(rate, share=True)


def _times(ratio: Interval) -> tuple[str, str]:
    return words.estimate(ratio), words.interval(ratio)


def _figure(value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return words.estimate(value), words.interval(value)
    return words.number(value), ""


def _ends(effect: Document) -> list[str]:
    return [f"{side} {words.interval(effect[side], share=True)}" for side in ("before", "after")]


def _both_ends(effect: Document) -> str:
    return "; ".join(_ends(effect))
