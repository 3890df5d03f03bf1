"""The model card block of a check: metadata that the Hugging Face Hub reads, and a short section.

The metadata is a `model-index`, the form for results that belong to no benchmark. The newer form,
files in `.eval_results/`, is not written: each of its entries must name a dataset that the Hub
lists as a benchmark, and an audit uses no dataset.

Every string is treated as an attacker's: none ends the front matter or sets markup.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ganaudit.report import verdicts, words
from ganaudit.report.markdown import bounded, escape, table
from ganaudit.report.verdicts import Document, Gate

_LEVEL = 0.95  # of every interval
# What is audited is what the generator shows when nothing is asked for: labels are drawn.
_TASK = {"type": "unconditional-image-generation", "name": "Image generation"}
_DATASET = {"type": "generated-images", "name": "Images of the generator itself, no dataset"}


def render(document: Document) -> str:
    """Front matter and a section in Markdown; without a figure, the section alone.

    Args:
      document: of a check.
    """
    section = bounded(_section(document), source=verdicts.NAME)
    metrics = [] if document["run"] is None else _metrics(document)
    if not metrics:
        return section
    metadata = _yaml(_metadata(document["run"], metrics))
    return "\n".join(["---", *metadata, "---", section])


def _metrics(document: Document) -> list[dict[str, Any]]:
    """The figure of every gate, once, however many gates stand on it."""
    found: dict[str, dict[str, Any]] = {}
    for gate in document["gates"]:
        if gate["found"]["estimate"] is not None and len(found) < verdicts.MANY:
            found.setdefault(gate["gate"], _metric(gate, document["run"]))
    return list(found.values())


def _metric(gate: Gate, run: Mapping[str, Any]) -> dict[str, Any]:
    figure, under = gate["found"], {"theta": run["theta"], "radius": run["radius"]}
    ends = {name: figure[name] for name in ("low", "high") if figure[name] is not None}
    return {
        "type": words.named(gate["gate"]),
        "name": words.named(gate["title"]),
        "value": figure["estimate"],
        "args": {"descriptor": _descriptor(run), **under, **ends, "level": _LEVEL},
    }


def _metadata(run: Mapping[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    dataset = _DATASET | {"args": {name: run[name] for name in ("anchors", "samples", "seed")}}
    result = {"task": _TASK, "dataset": dataset, "metrics": metrics}
    return {"model-index": [{"name": _generator(run), "results": [result]}]}


def _section(document: Document) -> Iterator[str]:
    yield "## Intra-mode collapse"
    yield f"**{verdicts.verdict(document).capitalize()}.** {escape(document['sentence'])}"
    broken, run = verdicts.broken(document), document["run"]
    if broken is not None:
        yield escape(": ".join(broken))
    if run is not None:
        yield escape(run["headline"])
    if document["gates"]:
        yield table(verdicts.HEAD, verdicts.rows(document))
    if run is not None:
        yield _under(run, document["environment"]["ganaudit"])


def _under(run: Mapping[str, Any], version: str) -> str:
    """What the figures depend on."""
    size = f"m = {words.counted(run['anchors'], 'anchor')} against "
    size += f"n = {words.counted(run['samples'], 'sample')}"
    theta, radius = words.reach(run["theta"]), words.reach(run["radius"])
    return (
        f"Measured by ganaudit {escape(verdicts.line(version, 80))} under descriptor "
        f"{escape(_descriptor(run))}, theta {theta} and radius {radius} of pi; {size}, "
        f"seed {run['seed']}. No dataset was used: the generator's images were compared with one "
        "another, so nothing here says how well they look or what they leave out."
    )


def _descriptor(run: Mapping[str, Any]) -> str:
    given = run["descriptor"] is None
    return "none, embeddings were given" if given else verdicts.line(run["descriptor"], 80)


def _generator(run: Mapping[str, Any]) -> str:
    """Its name without folders: a card is published, a machine's paths need not be."""
    parts = verdicts.line(run["generator"], 2000).replace("\\", "/").split("/")
    return words.named(next((part for part in reversed(parts) if part.strip()), "generator"))


def _yaml(value: Mapping[str, Any] | list[Any]) -> Iterator[str]:
    """The lines of a block in YAML: our own names plain, strings as JSON quotes them."""
    if isinstance(value, list):
        for item in value:
            first, *rest = _yaml(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        return
    for name, inner in value.items():
        if isinstance(inner, Mapping | list):
            yield f"{name}:"
            yield from (f"  {line}" for line in _yaml(inner))
        else:
            yield f"{name}: {_scalar(inner)}"


def _scalar(value: str | float) -> str:
    # A reader of YAML takes what cannot be printed neither as it is nor, in pairs, as \ud83d\ude00.
    if isinstance(value, str):
        return json.dumps(verdicts.line(value, 2000), ensure_ascii=False)
    text = json.dumps(value, allow_nan=False)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")  # 1e-09: a string
