"""What calibration.json says, in sentences: page, Markdown and terminal say the same."""

from collections.abc import Mapping
from typing import Any

from ganaudit.report import words
from ganaudit.report.words import Interval

Document = Mapping[str, Any]  # calibration.json

NAME = "calibration.json"
TO = " → "  # between what was and what is
_OUTCOMES = {
    "thinned": "",
    "nothing": "This calibrator did not thin what it was to thin: ",
    "moved": "This calibrator moved the collapse elsewhere: ",
}
_TYPES = {
    "regions": (
        "A latent in the region of a chosen mode is kept with a probability, else drawn again"
    ),
    "cells": "A latent is kept with the probability of the cell it falls into, else drawn again",
    "mixture": "Latents are drawn from a mixture of Gaussians instead of the generator’s own prior",
    "filter": (
        "An image within the radius of a chosen mode is delivered with a probability, else another "
        "one is made"
    ),
    "refiner": "Every latent is moved by a few steps that raise the discriminator’s score",
}
_THINNED_PRIOR = ("regions", "cells", "filter")  # what is left keeps its proportions
_SURELY = 1e-6  # a share of slots that is as good as none


def headline(document: Document) -> str:
    """What became of the densest chosen mode, and of the worst of all; the outcome before it."""
    outcome, worst = document["verdict"]["outcome"], document["worst"]
    start = _OUTCOMES.get(outcome, f"This calibration ended as {words.named(outcome)}: ")
    whose = "the chosen mode" if len(document["modes"]) == 1 else "the densest chosen mode"
    said = f"{whose} {went(document['modes'][0])} of what this generator shows"
    link = "; "
    if outcome == "moved":
        grown = len(document["others"]["grown"])
        if grown:
            said += f", but {words.counted(grown, 'other mode')} grew by more than is allowed for"
        elif _rose(worst):
            link = ", but "
    anchors = words.counted(document["sizes"]["anchors"], "anchor")
    text = f"{start}{said}{link}the worst of {anchors} {went(worst)}."
    return text[0].upper() + text[1:]


def lead(document: Document) -> list[str]:
    """What to know next: which method to try where this one did not thin, and what it costs."""
    verdict = document["verdict"]
    advice = [] if verdict["outcome"] == "thinned" or verdict["next"] is None else [verdict["next"]]
    return [*advice, price(document)]


def price(document: Document) -> str:
    """What is taken of what is proposed, and what an image costs."""
    taken, cost = document["acceptance"], document["images_per_image"]
    if taken["estimate"] == 1:
        return f"{how(document)} {effort(document) or 'None is left out.'}"
    share = f"Its acceptance is {words.with_interval(taken, share=True)}"
    if cost["estimate"] is None:
        return f"{share}; what a delivered image costs is not known."
    if cost["estimate"] == 1:
        return f"{share}: other latents are drawn again before anything is made of them."
    return f"{share}: {words.with_interval(cost)} images are made for each that is delivered."


def how(document: Document) -> str:
    """How this type of calibrator works."""
    unknown = f"Its type is {words.named(document['type'])}"
    return f"{_TYPES.get(document['type'], unknown)}."


def effort(document: Document) -> str:
    """What a refiner's image costs beside itself; empty of what leaves the networks alone."""
    if document["type"] != "refiner":
        return ""
    steps = document["settings"].get("steps")
    many = words.counted(steps, "more run") if isinstance(steps, int) else "more runs"
    return f"Every image costs {many} of both networks, forwards and backwards."


def mode(document: Document) -> str:
    """What is meant by a mode and its rate, and where rates are measured."""
    seeds = document["seeds"]
    return (
        "A mode is an identity that repeats: whatever lies within the radius "
        f"{words.reach(document['radius'])} of its anchor, an image of this generator. That is an "
        f"angle between embeddings, as a fraction of pi, under {words.descriptor(document)}. Its "
        f"rate is the share of samples there: of fresh ones, of seed {seeds['fresh']}, while the "
        f"calibrator was fitted on those of seed {seeds['fit']}."
    )


def sizes(document: Document) -> str:
    """How many anchors met how many fresh samples."""
    found = document["sizes"]
    anchors = f"m = {words.counted(found['anchors'], 'anchor')} against n = "
    if found["before"] == found["after"]:
        return f"{anchors}{words.counted(found['before'], 'fresh sample')}, before and after"
    before, after = words.count(found["before"]), words.count(found["after"])
    return f"{anchors}{before} fresh samples before and {after} after"


def facts(document: Document) -> list[tuple[str, str]]:
    """What was calibrated how: (name, value)."""
    card = document["descriptor"]
    described = "none: embeddings were given" if card is None else words.named(card["name"])
    return [
        ("Generator", words.named(document["generator"]["name"])),
        ("Method", f"{words.named(document['method'])} ({words.named(document['type'])})"),
        ("Descriptor", described),
        ("Size", sizes(document)),
    ]


def target(document: Document) -> str:
    """The rate that chosen modes were to come down to."""
    origin = words.named(document["target_origin"])
    return f"The target is {words.percent(document['target'])}, {origin}."


def unaccepted(document: Document) -> str:
    """How often nothing is taken within the attempts."""
    share, most = document["unaccepted"], words.counted(document["attempts"], "proposal")
    if not share:
        return f"Every slot has one within {most}."
    if share < _SURELY:
        return f"Fewer than one slot in a million has none within {most}."
    return (
        f"{words.percent(share)} of the slots have none within {most}: there the last one stands."
    )


def change(effect: Document) -> str:
    """A rate before and after: 9.80 % → 0.41 %."""
    before, after = (_rate(effect[side]) for side in ("before", "after"))
    return words.UNKNOWN if before == after == words.UNKNOWN else f"{before}{TO}{after}"


def went(effect: Document) -> str:
    """What became of a rate: fell, rose or, where that is not beyond noise, went."""
    before, after = effect["before"], effect["after"]
    if before["estimate"] is None or after["estimate"] is None:
        return "is not known"
    high = effect["ratio"]["high"]
    fell = high is not None and high < 1
    verb = "rose" if _rose(effect) else "fell" if fell else "went"
    return f"{verb} from {_rate(before)} to {_rate(after)}"


def forecast(document: Document) -> str:
    """On what the announcement rests."""
    said = document["announced"]["forecast"]
    if said is None:
        return "No rates were announced: this method cannot tell beforehand what becomes of them."
    where = (
        "on samples of the fitted run that took no part in fitting"
        if said["held_out"]
        else "on the samples that the calibrator was fitted on, which flatters it"
    )
    return f"Rates were announced from what it does {where}; they were measured on fresh ones."


def met(document: Document) -> str:
    """How many modes were chosen, and how many of them are where they should be."""
    found = document["modes"]
    above = sum(one["against_target"] == "above" for one in found)
    wanted, asked = document["modes_asked"], "as many as were asked for"
    if document["type"] == "refiner":
        asked = "the densest, at which refinement does not aim"
    elif wanted == "auto":
        asked = "added until the worst anchor met the target or the acceptance its floor"
    elif len(found) < wanted:
        asked = f"of {words.count(wanted)} that were asked for"
    still = f"{words.count(above)} {'is' if above == 1 else 'are'} still above it"
    return (
        f"{words.counted(len(found), 'mode')}, {asked}. {target(document)} "
        f"{still if above else 'None is still above it'}."
    )


def allowed(document: Document) -> str:
    """How much a mode that is left alone may grow, and what became of those."""
    others, most = document["others"], document["others"]["largest"]
    times = f"{words.number(others['allowed'])} times"
    if document["type"] in _THINNED_PRIOR:
        start = f"What some modes lose, all others share: each may get to {times} its rate"
        start += ", 1 / acceptance"
    elif others["allowed"] > 1:
        start = f"Modes that were not to be thinned may get to {times} their rate"
    else:
        start = "Modes that were not to be thinned may keep their rate"
    if not others["looked_at"]:
        return f"{start}. There is no other dense mode."
    grown = len(others["grown"])
    said = f"{start}. Of {words.counted(others['looked_at'], 'other dense mode')} "
    if grown:
        said += f"{words.count(grown)} grew beyond that by more than chance allows."
    else:
        said += "none is shown to have grown beyond that."
    if most is None:
        return said
    return (
        f"{said} The one that grew most for sure, anchor {most['anchor']}, {went(most)}: "
        f"{words.with_interval(most['ratio'])} times what it was."
    )


def pictures(document: Document) -> str:
    """What the pictures show."""
    shown = len(document["gallery"])
    which = "The densest chosen mode" if shown == 1 else f"The first {shown} chosen modes"
    return (
        f"{which}. First come slots whose sample lay in the mode, and what these slots show behind "
        "the calibrator: what is still in the mode has a frame. Then come the samples nearest to "
        "the anchor, before and after: where fewer are left, they lie farther away. Those beyond "
        "the radius are smaller and faded."
    )


def first_slots(many: int) -> str:
    """Which slots are shown."""
    return f"The first {words.counted(many, 'slot')} whose sample lies within the radius."


def still(within: int, many: int) -> str:
    """How many of them are in the mode as before."""
    inside = {0: "None", many: "All"}.get(within, words.count(within))
    return f"{inside} of them {'is' if within in (0, 1) else 'are'} still within the radius."


def about_apart(document: Document) -> str:
    """What is compared with what."""
    rows = words.count(document["companions"]["rows"])
    return (
        f"How far {rows} calibrated samples lie from as many of the fitted run, and beside it how "
        "far uncalibrated ones do by chance alone. Thinning a mode has to move the samples: how "
        "far beyond chance says how much was changed."
    )


def about_difference(document: Document) -> str:
    """What the star means, and whose anchors these are."""
    found = sum(line["told_apart"] for line in document["difference"])
    return (
        "Two audits of the fresh slots, each with anchors of its own, so that modes that are new "
        f"would show. {words.counted(found, 'figure')} of {len(document['difference'])} marked *: "
        "the 95 % interval of the difference leaves 0 out. Each is judged alone; of 20 figures of "
        "two equal generators one will be marked."
    )


def vendi(document: Document) -> str:
    """The effective number of different samples, before and after."""
    what = "The Vendi score, an effective number of different samples,"
    for line in document["difference"]:
        sides = line["a"], line["b"]
        if line["figure"] == "vendi-1" and None not in [side["estimate"] for side in sides]:
            before, after = map(words.with_interval, sides)
            return f"{what} was {before} and is {after}."
    return f"{what} is not known."


def cautions(document: Document) -> list[str]:
    """What may not be concluded from a calibration."""
    least = words.level(min(1.0, 3 / max(1, document["sizes"]["anchors"])))
    nature = (
        "No identity is added: samples of some modes are left out, and all others get more "
        "frequent in proportion."
        if document["type"] in _THINNED_PRIOR
        else "Latents are no longer those of the generator’s own prior: nobody trained it on them."
    )
    return [
        nature,
        f"All of it holds under {words.descriptor(document)} and this radius: another may join or "
        "part images otherwise.",
        f"Modes rarer than {least} (3/m) may hold no anchor at all: whether they grew is not "
        "known.",
        "An interval that holds the target does not show that the target was reached.",
        "The calibrator belongs to these weights: another release needs one of its own.",
        "MCCS, its mean mu and spread sigma move with the number of samples and compare at equal "
        "n only.",
    ]


def provenance(document: Document) -> dict[str, Any]:
    """Everything that is known of where it comes from, by title."""
    asked = ("target", "target_origin", "min_acceptance", "modes_asked", "seeds")
    made = ("method", "type", "attempts", "unaccepted", "settings", "calibrator")
    return {
        "Request": {name: document[name] for name in asked},
        "Calibrator": {name: document[name] for name in made},
        "Found while fitting": document["announced"]["facts"],
        "Generator": document["generator"],
        "Descriptor": document["descriptor"],
        "Theta and radius": {name: document[name] for name in ("theta", "radius")},
        "Environment": document["environment"],
    }


def _rose(effect: Document) -> bool:
    low = effect["ratio"]["low"]
    return low is not None and low > 1


def _rate(rate: Interval) -> str:
    return words.estimate(rate, share=True)
