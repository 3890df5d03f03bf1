"""The words of a training's page: how it ended, what the audits say, and what may not be said."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ganaudit.report import words

Document = dict[str, Any]

_DENSER = 1.4  # ratio of worst modes, up to which other anchors alone may be the reason
_ENDED = {
    "finished": "Trained for {steps}.",
    "interrupted": "Interrupted after {steps}; the last checkpoint is kept.",
    "diverged": "Diverged after {steps}: {message}. The last checkpoint before it is kept.",
}


def headline(document: Document) -> str:
    """How it ended."""
    steps = words.counted(document["steps"], "step")
    return _ENDED[document["status"]].format(steps=steps, message=document["message"])


def lead(document: Document) -> Iterator[str]:
    """What the last audit says."""
    audits = document["audits"]
    if not audits:
        yield "Nothing was audited: whether it repeats an identity too often is not known."
        return
    found, when = audits[-1]["figures"], at(audits[-1])
    if "modes" in found:
        yield (
            f"{words.count(found['modes'])} of {words.count(found['modes_of'])} modes are covered "
            f"{when}; {words.percent(found['good'])} of the points lie on the support."
        )
        return
    yield _claim(audits[-1])
    yield from _beside(found)
    yield (
        "The real images of these audits are the training images themselves: a model that knows "
        "them by heart looks best."
    )


def _claim(audit: Mapping[str, Any]) -> str:
    found, under = audit["figures"], audit["under"]
    rate, when = found["worst_rate"], at(audit)
    inside = round((rate["estimate"] or 0) * under["samples"])
    if inside < words.FEW:
        few = f"{words.count(inside)} of {words.counted(under['samples'], 'sample')}"
        anchors = words.counted(under["anchors"], "anchor")
        said = words.with_interval(rate, share=True)
        return f"The densest of {anchors} has {few} within the radius {when}: {said}."
    return (
        f"One identity makes up {words.with_interval(rate, share=True)} of what the averaged "
        f"generator shows {when}; the median anchor has {words.percent(found['median_rate'])}."
    )


def _beside(found: Mapping[str, Any]) -> Iterator[str]:
    """Beside the training images, where the intervals can tell."""
    worst, alike = found.get("worst_ratio"), found.get("similarity_ratio")
    if worst is not None and worst["low"] is not None and worst["low"] > _DENSER:
        yield (
            f"That mode is at least {words.number(worst['low'])} times as dense as the densest one "
            "of the training images."
        )
    if alike is None or alike["low"] is None or alike["high"] is None:
        return
    ends = words.interval(alike)
    if alike["low"] > 1:
        yield f"Its samples are more alike than the training images: {ends} times."
    elif alike["high"] < 1:
        yield f"Its samples are less alike than the training images: {ends} times."
    else:
        yield (
            "How alike its samples are is not told apart from how alike the training images are: "
            f"{ends} times."
        )


def at(audit: Mapping[str, Any]) -> str:
    """When an audit was made: at step 1,000."""
    return f"at step {words.count(audit['step'])}"


def facts(document: Document) -> Iterator[tuple[str, str]]:
    """Name and text of what was trained."""
    recipe, data = document["recipe"], document["data"]
    yield "Networks", recipe["arch"]
    yield "Loss", recipe["loss"]["name"]
    yield "Regularisers", ", ".join(recipe["regularizers"]) or "none"
    if document["preset"] is not None:
        yield "Preset", document["preset"]
    yield "Data", f"{words.named(data['name'])}, {words.count(data['count'])}"
    yield "Images shown", f"{words.number(document['kimg'])} thousand"
    rate = document["images_per_s"]
    if rate is not None:
        yield "Rate", f"{words.number(rate)} images a second, with audits"
    sizes = document["parameters"]
    yield (
        "Parameters",
        f"{words.count(sizes['generator'])} and {words.count(sizes['discriminator'])}",
    )
    under = document["audits"][-1]["under"] if document["audits"] else {}
    if "descriptor" in under:
        reach = f"{words.reach(under['theta'])} and {words.reach(under['radius'])} of pi"
        yield "Audited with", f"{words.named(under['descriptor'])}; theta and radius {reach}"


def notes(document: Document) -> list[str]:
    """What somebody should know of the data and of the audits."""
    missing = [
        f"Step {words.count(one['step'])} was not audited: {one['message']}"
        for one in document["not_audited"]
    ]
    return [*document["notes"], *missing]


def about_audits(document: Document) -> str:
    """What all audits have in common."""
    under = document["audits"][-1]["under"]
    if "descriptor" not in under:
        return (
            f"{words.count(under['samples'])} points of the averaged generator, of the same "
            "latents each time. These figures are counts, without an interval."
        )
    return (
        f"Of the averaged generator: {words.counted(under['anchors'], 'anchor')} against "
        f"{words.counted(under['samples'], 'sample')}, of the same latents each time, with 95 % "
        "intervals where they are known."
    )


def cautions(document: Document) -> Iterator[str]:
    """What may not be concluded from the audits."""
    audits = document["audits"]
    if not audits:
        return
    if audits[0]["step"] == 0 and len(audits) > 1:
        yield (
            "At step 0 nothing was learned yet: how far it came from there says nothing of a "
            "regulariser. For that, train once more without it and compare both."
        )
    if len(audits) > 2:
        yield "Each interval is for its own audit: the best of several is so by chance in part."
    found = audits[-1]["figures"]
    if "modes" in found:
        yield (
            "A mode is covered by a quarter of its equal share: how evenly the modes are covered "
            "is another question, of which the largest mode says a part."
        )
        return
    yield (
        "The training images are no reference that the model has not seen: distance, density and "
        "coverage cannot tell what it learned from what it copied. They are of this descriptor's "
        "space; no published FID compares with them."
    )
    yield (
        f"mu is at n = {words.count(found.get('n'))} samples, and the Fréchet distance, density "
        f"and coverage are at {words.count(found.get('rows'))} rows a side: compare at equal "
        "numbers."
    )


class Step(NamedTuple):
    """What can be done next, and the words of the command that does it, as a shell wants them."""

    text: str
    command: list[str]


def next_steps(document: Document) -> Iterator[Step]:
    """What can be done next, with commands where FOLDER stands for that of the training."""
    on = "ganaudit train --out FOLDER --resume".split()
    if document["status"] == "interrupted":
        yield Step("Go on, from the directory that it was begun in", on)
    elif document["status"] == "diverged":
        yield Step(
            "Begin again in a new folder, with a lower --set optim.lr, a larger penalty or another "
            "--loss",
            [],
        )
    else:
        yield Step("Train longer, from the directory that it was begun in", [*on, "--steps", "N"])
    generator = ["--generator", "FOLDER/generator.safetensors"]
    if "fit" not in document["data"]:  # points, which have pictures of dots
        dots = "--descriptor points --theta 0.05 --radius 0.02".split()
        yield Step(
            "Audit its points as pictures of dots", ["ganaudit", "diagnose", *generator, *dots]
        )
        return
    under = document["audits"][-1]["under"] if document["audits"] else {}
    descriptor = shlex.quote(words.named(under.get("descriptor", "NAME")))
    both = [*generator, "--descriptor", descriptor]
    yield Step("Audit it at more samples", ["ganaudit", "diagnose", *both, "--samples", "20000"])
    thin = ["ganaudit", "calibrate", *both, "--method"]
    yield Step("Thin what is still too dense", [*thin, "importance"])
    judge = ["--discriminator", "FOLDER/discriminator.safetensors"]
    yield Step("Refine its latents", [*thin, "advlatgan-z", *judge])
