"""How a plugin is asked, and what may come of it."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from ganaudit.descriptors import ROW_DISTANCE, DescriptorCard
from ganaudit.errors import one_line
from ganaudit.generators import Failure, identity_of
from ganaudit.images import GREY_LEVELS
from ganaudit.tally import angular_distance

COUNT = 7  # asked for at once; no power of two

Item = torch.Tensor | Failure  # an image or a row, or why there is none
Ask = Callable[[Sequence[int]], list[Item]]  # the items at some positions


def demand(held: bool, sentence: str) -> None:
    """An AssertionError with the sentence, unless it held."""
    if not held:
        raise AssertionError(sentence)


def check_attributes(plugin: object, kind: str, *, values: str, method: str) -> None:
    """Whether a plugin has what makes it one of a kind; `values` are separated by blanks."""
    names = values.split()
    absent = [name for name in names if not hasattr(plugin, name)]
    absent += [] if callable(getattr(plugin, method, None)) else [f"{method}()"]
    demand(
        not absent,
        f"a {kind} must have {', '.join(names)} and {method}(), but {type(plugin).__name__} has no "
        f"{', no '.join(absent)}",
    )


@contextmanager
def called(plugin: object) -> Iterator[None]:
    """As an audit calls a plugin. What it says of itself must be JSON, and stay the same."""
    before = identity(plugin)
    yield
    after = identity(plugin)
    demand(before == after, f"identity must stay the same, but {before} became {after}")
    for name in ("assumptions", "warnings"):
        said = getattr(plugin, name, ())
        demand(
            isinstance(said, tuple | list) and all(isinstance(each, str) for each in said),
            f"{name} must be a list of sentences, got {said!r:.80}",
        )


def identity(plugin: object) -> str:
    """What decides the plugin's answers, as JSON."""
    told = getattr(plugin, "identity", {})
    demand(
        isinstance(told, Mapping),
        f"identity must be a mapping of JSON values, got {type(told).__name__}",
    )
    card = getattr(plugin, "card", None)
    with calling("identity must be JSON values", {}):
        said = card.identity() if isinstance(card, DescriptorCard) else identity_of(plugin)
        return json.dumps(said, sort_keys=True, allow_nan=False)


@contextmanager
def calling(what: str, given: Mapping[str, torch.Tensor | None]) -> Iterator[None]:
    """The border to a plugin's code, which may raise, but not write to what it was given."""
    before = {name: tensor.clone() for name, tensor in given.items() if tensor is not None}
    try:
        with torch.inference_mode():
            yield
    except Exception as error:
        raise AssertionError(f"{what}: {one_line(error)}") from error
    for name, tensor in before.items():
        after = given[name]
        demand(
            after is not None and torch.equal(tensor, after),
            f"a plugin must not write to what it is given, but {name} changed",
        )


@dataclass(frozen=True)
class Measure:
    """How far two answers for one thing are apart, and may be."""

    noun: str
    gap: Callable[[Item, Item], float]
    limit: float
    unit: str
    advice: str = "is anything drawn at random, or a batch norm in training mode?"


TWICE = "must be the same whenever it is asked for"
_PLACE = "must not depend on its place among the others"
_ALONE = "must not depend on what else is asked for at once"


def check_repeats(ask: Ask, measure: Measure, *, count: int) -> list[Item]:
    """Ask for the same things in several ways; the answers to the first."""
    every = list(range(count))
    first = ask(every)
    kept = [item if isinstance(item, Failure) else item.clone() for item in first]
    ways = [(every, TWICE), (every[::-1], _PLACE), (every[:2], _ALONE)]
    for positions, clause in (*ways, *(([i], _ALONE) for i in every)):
        compare(kept, ask(positions), positions, clause, measure)
    for item, before in zip(first, kept, strict=True):
        demand(
            isinstance(item, Failure) or isinstance(before, Failure) or torch.equal(item, before),
            f"an earlier {measure.noun} must be left as it is, but a later call overwrote it",
        )
    return kept


def compare(
    wanted: list[Item], got: list[Item], positions: list[int], clause: str, measure: Measure
) -> None:
    """Hold answers against those that were wanted at their positions."""
    for position, item in zip(positions, got, strict=True):
        gap = measure.gap(wanted[position], item)
        said = f"by {gap:.3g} {measure.unit}" if gap < math.inf else "in its size or validity"
        demand(
            gap <= measure.limit,
            f"{measure.noun} {position} {clause}, but differs {said}; {measure.advice}",
        )


def grey_levels(one: Item, other: Item) -> float:
    """Largest difference of two images; failures are not compared: a service may be busy once."""
    if isinstance(one, Failure) or isinstance(other, Failure):
        return 0
    same_size = one.shape == other.shape
    return int((one.int() - other.int()).abs().max()) if same_size else math.inf


def angle(one: Item, other: Item) -> float:
    """Distance of two rows, a fraction of pi; of two that are not valid 0."""
    if isinstance(one, Failure) or isinstance(other, Failure):
        return 0 if one is other else math.inf
    same_size = one.shape == other.shape
    pair = one.cpu().numpy(), other.cpu().numpy()
    return float(angular_distance(*pair)) if same_size else math.inf


NOT_VALID = Failure("the row is not valid")
IMAGE = Measure("image", grey_levels, GREY_LEVELS, "grey levels")
ANSWER = replace(IMAGE, advice="if no answer can be had again, say seedable = False")
ROW = Measure("row", angle, ROW_DISTANCE, "of pi")
READY_ROW = replace(ROW, advice="row i must be that of slots[i]")
