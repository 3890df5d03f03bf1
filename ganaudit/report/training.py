"""A training as people read it: training.html, and its summary in a terminal."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from ganaudit.files import write_output
from ganaudit.report import drawing, figures, words
from ganaudit.report.captions import Caption
from ganaudit.report.drawing import ACCENT, INK, Chart, name_axes
from ganaudit.report.html import css, page, pairs
from ganaudit.report.terminal import grid, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = dict[str, Any]

PAGE = "training.html"
_MOST_SHOWN = 8  # grids of samples in the page
_MOST_BYTES = 2 * 2**20  # of one of them
_NAME = re.compile(r"samples/step-[0-9]{8}\.png")
_PNG = b"\x89PNG\r\n\x1a\n"
_ENDED = {
    "finished": "Trained for {steps}.",
    "interrupted": "Interrupted after {steps}; the last checkpoint is kept.",
    "diverged": "Diverged after {steps}: {message}. The last checkpoint before it is kept.",
}


class Row(NamedTuple):
    """A figure of the audits: its name, a value (and ends) an audit, and what it means."""

    name: str
    cells: list[tuple[str, str]]
    meaning: str


def write(document: Document, folder: Path) -> None:
    """Write the page into a training's folder.

    Raises:
      GanauditError: it cannot be written.
    """
    write_output(folder / PAGE, render(document, folder).encode())


def render(document: Document, folder: Path) -> str:
    """The page; pictures of samples are read from `folder`.

    One file that requests nothing and runs nothing; every string of the document is treated as an
    attacker's. The same document and pictures give the same bytes.
    """
    drawn = _charts(document)
    said = {name: _caption(name, document) for name in drawn}
    return page(
        "training.html.jinja",
        document=document,
        headline=headline(document),
        lead=list(_lead(document)),
        facts=list(facts(document)),
        words=words,
        css=css("report.css", "training.css"),
        charts=[
            (said[name], Markup(svg))
            for name, svg in figures.embed(drawing.draw(drawn, document), said).items()
        ],
        samples=list(_samples(document, folder)),
        audits=[f"step {words.count(audit['step'])}" for audit in _spread(document["audits"])],
        rows=rows(document),
        folders=[audit["folder"] for audit in document["audits"] if audit["folder"]],
        provenance=pairs(
            {
                "Recipe": document["recipe"],
                "Data": document["data"],
                "Files": document["files"],
                "Environment": document["environment"],
            }
        ),
    )


def headline(document: Document) -> str:
    """How it ended."""
    steps = words.counted(document["steps"], "step")
    return _ENDED[document["status"]].format(steps=steps, message=document["message"])


def _lead(document: Document) -> Iterator[str]:
    """What the audits say at both ends, in a sentence or two."""
    audits = document["audits"]
    if not audits:
        yield (
            "Nothing was audited: say --descriptor, and the audits will show whether an identity "
            "is repeated too often."
        )
        return
    last = audits[-1]["figures"]
    when = f"at step {words.count(audits[-1]['step'])}"
    if "modes" in last:
        yield (
            f"{words.count(last['modes'])} of {words.count(last['modes_of'])} modes are covered "
            f"{when}; {words.percent(last['good'])} of the points lie on the support."
        )
        return
    yield (
        f"One identity makes up {words.with_interval(last['worst_rate'], share=True)} of what the "
        f"averaged generator shows {when}; the median anchor has "
        f"{words.percent(last['median_rate'])}."
    )
    yield "The real images of these audits are the training images themselves."


def facts(document: Document) -> Iterator[tuple[str, str]]:
    """Name and text of what was trained."""
    recipe, data = document["recipe"], document["data"]
    yield "Networks", recipe["arch"]
    yield "Loss", recipe["loss"]["name"]
    yield "Regularisers", ", ".join(recipe["regularizers"]) or "none"
    yield "Data", f"{data['name']}, {words.count(data['count'])}"
    yield "Images shown", f"{words.number(document['kimg'])} thousand"
    rate = document["images_per_s"]
    if rate is not None:
        yield "Rate", f"{words.number(rate)} images a second"
    parameters = document["parameters"]
    yield (
        "Parameters",
        f"{words.count(parameters['generator'])} and {words.count(parameters['discriminator'])}",
    )


_FIGURES = (
    ("worst_rate", "Worst mode", True, "share of all samples around the densest anchor"),
    ("median_rate", "Median anchor", True, "share of all samples around a usual anchor"),
    ("effective_modes", "Effective modes", False, "equally likely identities of the same likeness"),
    ("mean_similarity", "Mean similarity", False, "of anchor and sample; lower is more varied"),
    ("mu", "Mean MCCS mu", False, "at this number of samples only"),
    ("vendi", "Vendi score", False, "effective number of different samples"),
    ("frechet_distance", "Fréchet distance", False, "to the training images, in the descriptor's "
     "space; no published FID compares with it"),
    ("kernel_distance", "Kernel distance", False, "to the training images; may be below 0"),
    ("density", "Density", False, "how crowded generated samples are where real ones lie"),
    ("coverage", "Coverage", True, "share of training images that a sample comes near"),
    ("modes", "Modes covered", False, "with at least a quarter of an equal share"),
    ("good", "Good points", True, "within three spreads of the support"),
    ("largest_mode", "Largest mode", True, "share of good points that the most frequent mode has"),
)  # fmt: skip


def rows(document: Document) -> list[Row]:
    """The figures of the audits, a column an audit."""
    shown = _spread(document["audits"])
    found = []
    for name, title, share, meaning in _FIGURES:
        if any(audit["figures"].get(name) is not None for audit in shown):
            cells = [_cell(audit["figures"].get(name), share=share) for audit in shown]
            found.append(Row(title, cells, meaning))
    return found


def _cell(value: Any, *, share: bool) -> tuple[str, str]:
    if isinstance(value, dict):
        ends = words.interval(value, share=share) if value.get("low") is not None else ""
        return words.estimate(value, share=share), ends
    return words.percent(value) if share else words.number(value), ""


def _spread(items: Sequence[Any], most: int = 6) -> list[Any]:
    """At most so many, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    places = [round(i * (len(items) - 1) / (most - 1)) for i in range(most)]
    return [items[place] for place in places]


def _samples(document: Document, folder: Path) -> Iterator[tuple[str, str]]:
    """Caption and data URI of some grids over time."""
    for shown in _spread(document["samples"], _MOST_SHOWN):
        if not _NAME.fullmatch(shown["file"]):
            continue
        try:
            data = (folder / shown["file"]).read_bytes()
        except OSError:
            continue
        if data.startswith(_PNG) and len(data) <= _MOST_BYTES:
            encoded = base64.b64encode(data).decode()
            yield f"Step {words.count(shown['step'])}", f"data:image/png;base64,{encoded}"


# Curves that are drawn together: (title, what it says, names).
_DRAWN = {
    "losses": ("Losses", "", ("loss_discriminator", "loss_generator")),
    "logits": (
        "Logits",
        "Means of the discriminator's raw logits: the further apart, the better it tells real from "
        "generated.",
        ("real_logit", "fake_logit"),
    ),
    "adaptivemix": (
        "AdaptiveMix",
        "How far the feature of a mixed image is from the mix of the features.",
        ("adaptivemix_discriminator", "adaptivemix_generator"),
    ),
    "penalties": (
        "Penalties",
        "",
        ("gradient_penalty", "divergence_penalty", "r1"),
    ),
    "pairs": ("Mode-seeking loss", "Low where different latents give different images.", ("pair",)),
    "classes": (
        "Classes",
        "Cross-entropy of the guessed classes.",
        ("classes_discriminator", "classes_generator"),
    ),
}


def _charts(document: Document) -> dict[str, Chart]:
    """Those that there is something to draw in."""
    return {
        name: partial(_curves, names=names)
        for name, (_, _, names) in _DRAWN.items()
        if any(document["curves"].get(one) for one in names)
    }


def _curves(axes: "Axes", document: Mapping[str, Any], *, names: Sequence[str]) -> None:
    for name, colour in zip(names, (ACCENT, INK, "#5c636b"), strict=False):
        points = document["curves"].get(name) or []
        known = [(step, value) for step, value in points if value is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.3)
    name_axes(axes, "step", "mean")


def _caption(name: str, document: Document) -> Caption:
    title, reading, names = _DRAWN[name]
    colours = dict(zip(names, ("the warm line", "the dark line", "the grey line"), strict=False))
    there = [one for one in names if document["curves"].get(one)]
    key = "; ".join(f"{colours[one]}: {one.replace('_', ' ')}" for one in there)
    ends = "; ".join(
        f"{one.replace('_', ' ')} ends at {words.number(document['curves'][one][-1][1])}"
        for one in there
    )
    return Caption(title, f"{reading} {key[:1].upper()}{key[1:]}.".strip(), f"{title}: {ends}")


def show(document: Document, folder: Path) -> None:
    """Print the summary of a training on stdout; all of it is put together before."""
    table = grid()
    for name, text in facts(document):
        table.add_row(Text(plain(name)), Text(plain(text)))
    audits = document["audits"]
    for row in rows(document):
        (first, _), (last, ends) = row.cells[0], row.cells[-1]
        shown = f"{last} ({ends})" if ends else last
        before = f"; {first} at step {words.count(audits[0]['step'])}" if len(audits) > 1 else ""
        table.add_row(Text(plain(row.name)), Text(plain(f"{shown}{before}")))
    console = Console(highlight=False)
    console.print()
    console.print(Text(plain(headline(document)), style="bold"))
    for sentence in _lead(document):
        console.print(Text(plain(sentence)))
    console.print()
    console.print(table)
    console.print()
    for name in (PAGE, "training.json", *document["files"]):
        if (folder / name).exists():
            console.print(plain(f"{folder / name}"), markup=False, soft_wrap=True)
