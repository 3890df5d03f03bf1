"""A plugin that breaks one clause of its contract is told which; one that breaks none passes."""

import math
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Blind, images_of, paint
from numpy.typing import NDArray
from test_layers import ROOT, imports_of
from torch import Tensor

from ganaudit import registry
from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows
from ganaudit.errors import ConfigError, SourceError
from ganaudit.generators import Failure, Status
from ganaudit.slots import Draws
from ganaudit.testing import (
    check_blind_generator,
    check_descriptor,
    check_embedding_source,
    check_latent_generator,
    check_plugin,
    check_source,
)

ABSENT = object()


def changed(kind: type, changes: dict[str, Any]) -> Any:
    """A toy with some attributes replaced, or taken away."""
    made = type("Toy", (kind,), {k: v for k, v in changes.items() if v is not ABSENT})()
    kept = {name: getattr(made, name) for name in dir(made) if not name.startswith("_")}
    for name in [name for name, value in changes.items() if value is ABSENT]:
        del kept[name]
        made = type("Toy", (), {})()
        vars(made).update(kept)
    return made


def refused(check: Callable[[Any], None], plugin: Any, message: str) -> None:
    """Whether the check says so, in one sentence."""
    with pytest.raises(AssertionError, match=message) as caught:
        check(plugin)
    said = str(caught.value)
    assert "\n" not in said and ". " not in said
    assert len(said) < 400


# -- latent generators -----------------------------------------------------------------------


class Latent:
    """Paints latents, brighter for a higher label, with a grain that its seed decides."""

    latent_shape: Any = (3, 6, 5)
    prior: Any = "normal"
    num_labels: Any = 5
    identity: Any = {"psi": 0.7, "layers": (1, 2)}
    assumptions: Any = ("Psi is 0.7.",)

    def render(self, draws: Draws) -> Any:
        grain = 10 * torch.tensor([int(seed) % 5 for seed in draws.seeds]).view(-1, 1, 1, 1)
        return paint(draws.latents + 0.3 * (draws.labels % 7).view(-1, 1, 1, 1)) // 2 + grain.byte()


def rendering(change: Callable[[Tensor, Draws], Any]) -> Callable[[Latent, Draws], Any]:
    """The toy's images, changed."""
    return lambda self, draws: change(Latent.render(self, draws), draws)


def raising(plugin: object, *arguments: object) -> None:
    raise ValueError("no\nweights")


def overwriting() -> Callable[[Latent, Draws], Tensor]:
    """Returns views of one buffer, over and over."""
    buffer = torch.empty(7, 3, 6, 5, dtype=torch.uint8)

    def render(self: Latent, draws: Draws) -> Tensor:
        buffer[: len(draws)] = Latent.render(self, draws)
        return buffer[: len(draws)]

    return render


def writing(name: str) -> Callable[[Latent, Draws], Tensor]:
    def render(self: Latent, draws: Draws) -> Tensor:
        images = Latent.render(self, draws)
        getattr(draws, name).add_(1)
        return images

    return render


def more_in_batches(levels: int) -> Callable[[Latent, Draws], Tensor]:
    return rendering(lambda images, draws: images + levels * (len(draws) > 1))


class Counting(Latent):
    """Says how often it was called."""

    def __init__(self) -> None:
        self.identity = {"calls": 0}

    def render(self, draws: Draws) -> Any:
        self.identity["calls"] += 1
        return super().render(draws)


def test_a_generator_that_does_as_it_should_passes() -> None:
    check_latent_generator(Latent())
    check_source(Latent())


@pytest.mark.parametrize(
    "changes",
    [
        {"num_labels": 0, "render": lambda self, draws: paint(draws.latents)},
        {"num_labels": 1},
        {"num_labels": 1000},
        {"prior": "spherical"},
        {"identity": ABSENT, "assumptions": ABSENT},
        {"warnings": ["doubtful"]},
        {"render": more_in_batches(1)},
        {"render": lambda self, draws: Latent.render(self, draws).repeat(1, 1, 1, 3)},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_what_the_contract_leaves_open_passes(changes: dict[str, Any]) -> None:
    check_latent_generator(changed(Latent, changes))


@pytest.mark.parametrize("name", ["latent_shape", "prior", "num_labels", "render"])
def test_what_a_generator_lacks_is_named(name: str) -> None:
    toy = changed(Latent, {name: ABSENT})
    refused(check_latent_generator, toy, rf"must have latent_shape, .* but Toy has no {name}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("latent_shape", [3, 6, 5], r"latent_shape must be a tuple .* whole numbers, got \[3, 6"),
        ("latent_shape", (), r"latent_shape must be a tuple of positive whole numbers, got \(\)"),
        ("latent_shape", (3, 0), r"latent_shape must be .* got \(3, 0\)"),
        ("latent_shape", (3.0,), r"latent_shape must be .* got \(3.0,\)"),
        ("prior", "gaussian", "prior must be one of normal, uniform, .*, got 'gaussian'"),
        ("num_labels", -1, r"num_labels must be a whole number in \[0, \d+\], got -1"),
        ("num_labels", 2.0, "num_labels must be .* got 2.0"),
        ("num_labels", True, "num_labels must be .* got True"),
        ("num_labels", 2**20 + 1, "num_labels must be .* got 1048577"),
        ("render", 3, r"must have .* and render\(\), but Toy has no render\(\)"),
        ("identity", "psi", "identity must be a mapping of JSON values, got str"),
        ("identity", {"path": Path("x")}, "identity must be JSON values: TypeError: .*PosixPath"),
        ("identity", {"psi": math.nan}, "identity must be JSON values: ValueError"),
        ("assumptions", "Psi is 0.7.", "assumptions must be a list of sentences, got 'Psi is"),
        ("assumptions", [1], r"assumptions must be a list of sentences, got \[1\]"),
        ("warnings", {"a"}, "warnings must be a list of sentences, got {'a'}"),
    ],
)
def test_an_attribute_that_cannot_be_is_named(name: str, value: object, message: str) -> None:
    refused(check_latent_generator, changed(Latent, {name: value}), message)


ALONE = "must not depend on what else is asked for at once, but differs"


@pytest.mark.parametrize(
    ("render", "message"),
    [
        (raising, "render must give images for 7 draws: ValueError: no weights"),
        (
            rendering(lambda images, draws: images if len(draws) > 1 else raising(draws)),
            "render must give images for 1 draws: ValueError: no weights",
        ),
        (
            rendering(lambda images, draws: images if len(draws) != 2 else raising(draws)),
            "render must give images for 2 draws: ValueError: no weights",
        ),
        (
            rendering(lambda images, draws: images.numpy()),
            "render must give images for 7 draws: images must be a torch tensor, got ndarray",
        ),
        (
            rendering(lambda images, draws: images.float()),
            r"images must be uint8 \[7, 3, H, W\], got torch.float32 \[7, 3, 6, 5\]",
        ),
        (
            rendering(lambda images, draws: images.permute(0, 2, 3, 1)),
            r"images must be uint8 \[7, 3, H, W\], got torch.uint8 \[7, 6, 5, 3\]",
        ),
        (rendering(lambda images, draws: images[:1]), r"images must be uint8 \[7, 3, .* \[1, 3"),
        (
            rendering(lambda images, draws: images.to("meta")),
            "images must be on the device of the latents, cpu, got meta",
        ),
        (writing("latents"), "must not write to what it is given, but latents changed"),
        (writing("labels"), "must not write to what it is given, but labels changed"),
        (writing("seeds"), "must not write to what it is given, but seeds changed"),
        (writing("index"), "must not write to what it is given, but index changed"),
        (
            lambda self, draws: paint(draws.latents + torch.randn(len(draws), 3, 6, 5)),
            r"image 0 must be the same whenever it is asked for, but differs by \d+ grey levels; "
            "is anything drawn at random, or a batch norm in training mode\\?$",
        ),
        (
            rendering(
                lambda images, draws: (
                    images + 5 * torch.arange(len(images), dtype=torch.uint8).view(-1, 1, 1, 1)
                )
            ),
            "image 6 must not depend on its place among the others, but differs by 30 grey",
        ),
        (
            lambda self, draws: paint(draws.latents - draws.latents.mean(0)),
            f"image 0 {ALONE} by \\d+ grey levels",
        ),
        (more_in_batches(2), f"image 0 {ALONE} by 2 grey levels"),
        (
            rendering(lambda images, draws: images if len(draws) > 2 else images[..., :4]),
            f"image 0 {ALONE} in its size",
        ),
        (overwriting(), "an earlier image must be left as it is, but a later call overwrote it"),
        (
            lambda self, draws: paint(draws.latents[:, :, :1, :1].expand(-1, -1, 6, 5)),
            "images must show something, but all 7 are a single colour each",
        ),
        (
            lambda self, draws: images_of(torch.zeros(len(draws))),
            "different draws must give different images, but 7 gave the same",
        ),
        (
            lambda self, draws: images_of(draws.seeds + draws.labels),
            "different latents must give different images, but 7 gave the same",
        ),
        (
            lambda self, draws: paint(draws.latents),
            "different labels must give different images, but 0 and 4 gave the same",
        ),
        (
            rendering(lambda images, draws: raising(draws) if 4 in draws.labels else images),
            "render must give images for . draws: ValueError: no weights",
        ),
    ],
)
def test_images_that_break_the_contract_are_told_how(render: Any, message: str) -> None:
    refused(check_latent_generator, changed(Latent, {"render": render}), message)


def test_up_to_a_hundred_classes_are_rendered_the_first_and_the_last_among_them() -> None:
    seen: set[int] = set()

    def render(self: Latent, draws: Draws) -> Tensor:
        seen.update(draws.labels.tolist())
        return paint(draws.latents + 0.3 * (draws.labels % 7).view(-1, 1, 1, 1))

    for classes in (9, 100):
        seen.clear()
        check_latent_generator(changed(Latent, {"num_labels": classes, "render": render}))
        assert seen == set(range(classes))
    seen.clear()
    check_latent_generator(changed(Latent, {"num_labels": 1000, "render": render}))
    assert 100 <= len(seen) <= 107  # and those that the draws have
    assert {0, 999} <= seen


def test_an_identity_that_changes_is_told() -> None:
    refused(
        check_latent_generator,
        Counting(),
        'identity must stay the same, but {"calls": 0} became {"calls": ',
    )


def test_a_plugin_is_called_as_an_audit_calls_it() -> None:
    modes: set[tuple[bool, bool]] = set()

    def note(images: Tensor, draws: Draws) -> Tensor:
        modes.add((torch.is_inference_mode_enabled(), draws.latents.device.type == "cpu"))
        return images

    check_latent_generator(changed(Latent, {"render": rendering(note)}), device="cpu")
    assert modes == {(True, True)}


# -- blind generators ------------------------------------------------------------------------


def answering(change: Callable[[int, Tensor], Any]) -> Blind:
    """A service; `change(index, image)` gives what it answers."""
    return Blind(
        lambda draws, images: (
            (index, change(index, image))
            for index, image in zip(draws.index.tolist(), images, strict=True)
        )
    )


def blind(change: Callable[[int, Tensor], Any] = lambda index, image: image, **facts: Any) -> Any:
    made = answering(change)
    vars(made).update(facts)
    return made


def streaming(stream: Callable[[Draws, Tensor], Iterator[Any]]) -> Blind:
    return Blind(stream)


def pairs(draws: Draws, images: Tensor) -> list[tuple[int, Tensor]]:
    return list(zip(draws.index.tolist(), images, strict=True))


def busy_at(times: set[int]) -> Callable[[int, Tensor], Any]:
    """Fails now and then."""
    asked = iter(range(1000))
    return lambda index, image: Failure("busy", Status.REFUSED) if next(asked) in times else image


def test_a_service_that_does_as_it_should_passes() -> None:
    for service in (blind(), blind(seedable=False), blind(size=3), blind(size=1), blind(size=99)):
        check_blind_generator(service)
        check_source(service)


def test_a_service_may_answer_in_any_order_and_be_busy_once() -> None:
    check_blind_generator(streaming(lambda draws, images: iter(pairs(draws, images)[::-1])))
    for times in ({0}, {3, 8, 22}, set(range(1, 7))):
        check_blind_generator(blind(busy_at(times)))


def test_a_service_that_is_not_seedable_need_not_repeat_itself() -> None:
    drawn = lambda index, image: torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8)  # noqa: E731
    check_blind_generator(blind(drawn, seedable=False))
    refused(
        check_blind_generator,
        blind(drawn),
        "image 0 must be the same whenever it is asked for, but differs by .* grey levels; if no "
        "answer can be had again, say seedable = False",
    )


def test_a_service_that_may_cost_money_is_asked_thirty_times_or_eight() -> None:
    for seedable, count in ((True, 30), (False, 8)):
        asked: list[int] = []

        def note(index: int, image: Tensor, asked: list[int] = asked) -> Tensor:
            asked.append(index)
            return image

        check_blind_generator(blind(note, seedable=seedable))
        assert len(asked) == count


def test_the_first_and_the_last_item_of_a_collection_are_asked_for() -> None:
    asked: set[int] = set()
    check_blind_generator(blind(lambda index, image: (asked.add(index), image)[1], size=1000))
    assert {0, 999} <= asked <= set(range(1000))
    assert len(asked) == 7


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"seedable": 1}, "seedable must be True or False, got 1"),
        ({"size": 0}, "size must be a positive whole number or None, got 0"),
        ({"size": 7.0}, "size must be a positive whole number or None, got 7.0"),
        ({"stream": None}, r"must have seedable, size and stream\(\), but Blind has no stream\(\)"),
        ({"identity": [1]}, "identity must be a mapping of JSON values, got list"),
    ],
)
def test_what_a_service_says_of_itself_must_be_so(facts: dict[str, Any], message: str) -> None:
    refused(check_blind_generator, blind(**facts), message)


def test_what_a_service_lacks_is_named() -> None:
    for names in (("size",), ("seedable",), ("seedable", "size")):
        whole = {"seedable": True, "size": None, "stream": iter}
        part = SimpleNamespace(**{k: v for k, v in whole.items() if k not in names})
        refused(check_blind_generator, part, f"SimpleNamespace has no {', no '.join(names)}$")


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (
            streaming(lambda draws, images: iter(pairs(draws, images)[1:])),
            r"stream must answer for \[0, 1, .*\], but not for \[0\]",
        ),
        (
            streaming(lambda draws, images: iter([*pairs(draws, images), (7, images[0])])),
            r"stream must answer for \[0, .*, 6\], but answered for 7",
        ),
        (
            streaming(lambda draws, images: ((draws.index[i], images[i]) for i in range(7))),
            r"stream must answer for .*, but answered for tensor\(0\)",
        ),
        (
            streaming(lambda draws, images: iter([*pairs(draws, images), (3, images[3])])),
            "stream must answer once for each draw, but 3 twice",
        ),
        (
            streaming(lambda draws, images: iter(images)),
            "stream must answer 7 draws: ValueError: ",
        ),
        (
            streaming(lambda draws, images: raising(draws)),
            "stream must answer 7 draws: ValueError: no weights",
        ),
        (
            streaming(lambda draws, images: iter((draws.seeds.add_(1), pairs(draws, images))[1])),
            "must not write to what it is given, but seeds changed",
        ),
        (
            blind(lambda index, image: image.numpy()),
            r"an answer must be an image \[3, H, W\] or a Failure: images must be a torch tensor",
        ),
        (
            blind(lambda index, image: image.float()),
            r"an answer must be an image .*: images must be uint8 \[1, 3, H, W\], got torch.float",
        ),
        (blind(lambda index, image: None), "an answer must be an image .* got NoneType"),
        (
            blind(lambda index, image: Failure("")),
            "a Failure must have a reason and the status FAILED or REFUSED, got Failure",
        ),
        (blind(lambda index, image: Failure(ValueError("x"))), "a Failure must have a reason"),
        (
            blind(lambda index, image: Failure("no face", Status.NO_FACE)),
            "a Failure must have a reason and the status FAILED or REFUSED",
        ),
        (
            blind(lambda index, image: Failure("no credit")),
            r"some answers must be images, but all 7 are failures: \['no credit'\]",
        ),
        (
            blind(lambda index, image: Failure("gone"), size=1),
            r"some answers must be images, but all 1 are failures: \['gone'\]",
        ),
        (
            blind(lambda index, image: torch.full((3, 4, 4), 9 * index, dtype=torch.uint8)),
            "images must show something, but all 7 are a single colour each",
        ),
        (
            blind(lambda index, image: images_of(torch.zeros(1))[0], seedable=False),
            "different draws must give different images, but 7 gave the same",
        ),
    ],
)
def test_answers_that_break_the_contract_are_told_how(service: Any, message: str) -> None:
    refused(check_blind_generator, service, message)


def test_an_endless_answer_ends() -> None:
    def stream(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        while True:
            yield 0, images[0]

    refused(check_blind_generator, streaming(stream), "once for each draw, but 0 twice")


# -- embeddings ------------------------------------------------------------------------------


class Embedded:
    """Unit rows; every third is not valid and holds anything."""

    size: Any = 50

    def __init__(self) -> None:
        made = np.random.default_rng(0).normal(size=(50, 4))
        self.table = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
        self.table[1::3] = np.nan

    def rows(self, slots: NDArray[np.int64]) -> Any:
        return self.table[slots], slots % 3 != 1


def giving(change: Callable[[Any, Any, Any], Any]) -> Callable[[Embedded, Any], Any]:
    return lambda self, slots: change(*Embedded.rows(self, slots), slots)


def crowded() -> Callable[[Embedded, Any], Any]:
    buffer = np.empty((50, 4), dtype=np.float32)

    def rows(self: Embedded, slots: Any) -> Any:
        found, valid = Embedded.rows(self, slots)
        buffer[: len(slots)] = found
        return buffer[: len(slots)], valid

    return rows


def test_embeddings_that_are_as_they_should_be_pass() -> None:
    check_embedding_source(Embedded())
    check_source(Embedded())
    for size in (1, 2, 7, 8):
        check_embedding_source(changed(Embedded, {"size": size}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": ABSENT}, r"must have size and rows\(\), but Toy has no size"),
        ({"size": 0}, "size must be a positive whole number, got 0"),
        ({"size": None}, "size must be a positive whole number, got None"),
        ({"rows": raising}, "rows must give 7 rows: ValueError: no weights"),
        (
            {"rows": giving(lambda rows, valid, slots: rows)},
            "rows must give 7 rows: ",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (torch.from_numpy(rows), valid))},
            "rows must give 7 rows: TypeError: expected np.ndarray",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (rows.astype(float), valid))},
            r"the source must return float32 \[7, D\], got torch.float64 \[7, 4\]",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (2 * rows, valid))},
            "the source returned a row that is zero, NaN or not of length 1",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (rows, valid | True))},
            "the source returned a row that is zero, NaN",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (rows, valid.astype(np.uint8)))},
            r"the source must return valid as bool \[7\], got torch.uint8",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (rows, valid & False))},
            "some rows must be valid, but none of 7 is",
        ),
        (
            {"rows": lambda self, slots: Embedded.rows(self, np.arange(len(slots)) // 4)},
            "row 6 must not depend on its place among the others, but differs .* that of slots",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (rows, valid & (len(slots) > 2)))},
            f"row 0 {ALONE} in its size or validity",
        ),
        (
            {"rows": lambda self, slots: Embedded.rows(self, np.unique(slots)[: len(slots)])},
            "row . must not depend on its place",
        ),
        (
            {"rows": giving(lambda rows, valid, slots: (slots.sort(), rows, valid)[1:])},
            "must not write to what it is given, but the numbers changed",
        ),
        ({"rows": crowded()}, "an earlier row must be left as it is, but a later call overwrote"),
    ],
)
def test_embeddings_that_break_the_contract_are_told_how(
    changes: dict[str, Any], message: str
) -> None:
    refused(check_embedding_source, changed(Embedded, changes), message)


def test_items_may_be_asked_for_twice_in_one_call() -> None:
    def rows(self: Embedded, slots: Any) -> Any:
        found, valid = Embedded.rows(self, slots)
        again = np.array([i in slots[:at] for at, i in enumerate(slots)])
        return np.where(again[:, None], found[:, ::-1], found), valid

    message = "row 0 must be the same whenever it is asked for"
    refused(check_embedding_source, changed(Embedded, {"rows": rows}), message)


# -- descriptors -----------------------------------------------------------------------------


def card(**changes: Any) -> DescriptorCard:
    usual = {"name": "toy", "weights_sha256": "0af" + 61 * "9"}
    return DescriptorCard(**(usual | changes))


class Described:
    """A low-pass look at each picture."""

    card: Any = card(theta=0.4, radius=0.2, origin="by decree")

    def embed(self, images: Tensor) -> Any:
        small = torch.nn.functional.interpolate(images.float(), (3, 2), mode="nearest-exact")
        return unit_rows(small.flatten(1) - 127.3), torch.ones(len(images), dtype=torch.bool)


def embedding(change: Callable[[Tensor, Tensor, Tensor], Any]) -> Callable[[Described, Any], Any]:
    return lambda self, images: change(*Described.embed(self, images), images)


def turned(rows: Tensor, by: float) -> Tensor:
    """Unit rows, each turned by a fraction of pi."""
    across = torch.roll(rows, 1, 1) * torch.tensor([-1, 1] * (rows.shape[1] // 2))
    across = across - (across * rows).sum(1, keepdim=True) * rows
    across = across / across.norm(dim=1, keepdim=True)
    return unit_rows(math.cos(by * math.pi) * rows + math.sin(by * math.pi) * across)


def crowding() -> Callable[[Described, Tensor], Any]:
    buffer = torch.empty(9, 18)

    def embed(self: Described, images: Tensor) -> Any:
        rows, valid = Described.embed(self, images)
        buffer[: len(rows)] = rows
        return buffer[: len(rows)], valid

    return embed


def only_large(rows: Tensor, valid: Tensor, images: Tensor) -> Any:
    return rows, valid & (min(images.shape[2:]) > 10)


def narrow(rows: Tensor, valid: Tensor, images: Tensor) -> Any:
    """Fewer columns for narrow images."""
    return (rows if images.shape[3] > 5 else unit_rows(rows[:, :8])), valid


def test_a_descriptor_that_does_as_it_should_passes() -> None:
    check_descriptor(Described())
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8)
    check_descriptor(Described(), torch.from_numpy(noise))


@pytest.mark.parametrize(
    "changes",
    [
        {"card": card()},
        {"card": card(theta=1, radius=0.01, origin="here")},
        {"card": card(preprocessing=Preprocessing(size=(4, 5), mean=(0.5,), std=(0.5,)))},
        {"embed": embedding(only_large)},
        {
            "embed": embedding(
                lambda rows, valid, images: (
                    turned(rows, 0.0009) if len(rows) == 1 else rows,
                    valid,
                )
            )
        },
        {"embed": embedding(lambda rows, valid, images: (rows, images[:, 0, 0, 0] > 90))},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_what_the_contract_of_descriptors_leaves_open_passes(changes: dict[str, Any]) -> None:
    check_descriptor(changed(Described, changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card": ABSENT}, r"must have card and embed\(\), but Toy has no card"),
        ({"embed": ABSENT}, r"must have card and embed\(\), but Toy has no embed\(\)"),
        ({"card": {"name": "x"}}, "card must be a DescriptorCard, got dict"),
        ({"card": card(name="")}, "card.name must be what one types after --descriptor, got ''"),
        ({"card": card(weights_sha256="")}, "card.weights_sha256 must be 64 .* digits, got ''"),
        ({"card": card(weights_sha256=64 * "g")}, "card.weights_sha256 must be 64 lowercase"),
        ({"card": card(weights_sha256=63 * "0")}, "card.weights_sha256 must be 64 lowercase"),
        ({"card": card(theta=0, origin="x")}, r"card.theta must be a fraction .* None .* got 0"),
        ({"card": card(theta=0.1, radius=1.1, origin="x")}, r"card.radius must be .* got 1.1"),
        ({"card": card(radius="0.1", origin="x")}, r"card.radius must be .* got '0.1'"),
        ({"card": card(theta=0.3)}, "card.origin must say how .* were measured, .* got None"),
        ({"card": card(radius=0.3, origin="")}, "card.origin must say how .* got ''"),
        ({"card": card(origin="guessed")}, "and be None where they were not; got 'guessed'"),
        ({"card": card(settings={"a": Path("b")})}, "identity must be JSON values: TypeError"),
        ({"card": card(settings={"a": math.inf})}, "identity must be JSON values: ValueError"),
        ({"identity": 3}, "identity must be a mapping of JSON values, got int"),
        (
            {"embed": raising},
            "embed must take 7 images of 64 x 48 pixels: ValueError: no weights",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: rows)},
            "embed must take 7 images of 64 x 48 pixels: ValueError: too many values",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (rows.double(), valid))},
            r"the descriptor must return float32 \[7, D\], got torch.float64 \[7, 18\]",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (rows[:5], valid))},
            r"the descriptor must return float32 \[7, D\], got torch.float32 \[5, 18\]",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (rows, valid.long()))},
            r"the descriptor must return valid as bool \[7\], got torch.int64",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (1.01 * rows, valid))},
            "the descriptor returned a row that is zero, NaN or not of length 1",
        ),
        (
            {"embed": lambda self, images: Described.embed(self, images.zero_().add_(9))},
            "must not write to what it is given, but images changed",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (unit_rows(rows.cumsum(0)), valid))},
            "row 6 must not depend on its place among the others, but differs by .* of pi; is any",
        ),
        (
            {
                "embed": embedding(
                    lambda rows, valid, images: (unit_rows(rows - rows.mean(0)), valid)
                )
            },
            f"row 0 {ALONE} by .* of pi|returned a row that is zero",
        ),
        (
            {
                "embed": embedding(
                    lambda rows, valid, images: (
                        turned(rows, 0.0012) if len(rows) == 1 else rows,
                        valid,
                    )
                )
            },
            f"row 0 {ALONE} by 0.0012 of pi",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (rows, valid & (len(rows) > 1)))},
            f"row 0 {ALONE} in its size or validity",
        ),
        (
            {
                "embed": embedding(
                    lambda rows, valid, images: (
                        unit_rows(rows + 0.1 * torch.randn(rows.shape)),
                        valid,
                    )
                )
            },
            "row 0 must be the same whenever it is asked for, but differs by",
        ),
        ({"embed": crowding()}, "an earlier row must be left as it is, but a later call overwrote"),
        (
            {"embed": embedding(lambda rows, valid, images: (rows[:1].expand_as(rows), valid))},
            "row . must not depend on its place",
        ),
        (
            {
                "embed": embedding(
                    lambda rows, valid, images: (unit_rows(torch.ones_like(rows)), valid)
                )
            },
            "different images must give different rows, but 7 gave the same",
        ),
        (
            {"embed": embedding(lambda rows, valid, images: (rows, valid & False))},
            "at least two images must be described, got 0 of 7: give the check images that this",
        ),
        (
            {
                "embed": embedding(
                    lambda rows, valid, images: (
                        rows if min(images.shape[2:]) > 5 else raising(rows),
                        valid,
                    )
                )
            },
            "embed must take 2 images of 1 x 2 pixels: ValueError: no weights",
        ),
        (
            {"embed": embedding(narrow)},
            r"rows must have as many columns whatever the images, got \[8, 18\]",
        ),
        (
            {
                "embed": embedding(
                    lambda *found: (narrow(*found)[0], found[1] & (len(found[1]) > 2))
                )
            },
            f"row 0 {ALONE} in its size or validity",
        ),
        (
            {"embed": embedding(lambda *found: only_large(*narrow(*found), found[2]))},
            r"rows must have as many columns whatever the images, got \[8, 18\]",
        ),
    ],
)
def test_rows_that_break_the_contract_are_told_how(changes: dict[str, Any], message: str) -> None:
    refused(check_descriptor, changed(Described, changes), message)


def test_a_descriptor_that_sees_one_of_the_images_alone_wants_others() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 9, 7), np.uint8))
    images[:, 0, 0, 0] = torch.tensor([0, 200, 0])
    toy = changed(
        Described,
        {"embed": embedding(lambda rows, valid, images: (rows, images[:, 0, 0, 0] > 90))},
    )
    with pytest.raises(AssertionError, match="at least two images must be described, got 1 of 3"):
        check_descriptor(toy, images)


def test_the_images_for_a_descriptor_must_be_images() -> None:
    with pytest.raises(SourceError, match=r"images must be uint8 \[2, 3, H, W\], got torch.float"):
        check_descriptor(Described(), torch.zeros(2, 3, 4, 4))


# -- sources and plugins ---------------------------------------------------------------------


def test_a_generator_is_of_one_kind() -> None:
    refused(check_source, object(), "must be one of LatentGenerator, .* but object is none of them")
    both = changed(Latent, {"size": 4, "rows": Embedded.rows})
    refused(check_source, both, "but Toy is LatentGenerator and EmbeddingSource")


def test_a_source_is_checked_as_what_it_is() -> None:
    refused(check_source, changed(Latent, {"prior": "x"}), "prior must be one of")
    refused(check_source, blind(size=0), "size must be .* or None")
    refused(check_source, changed(Embedded, {"size": 0}), "size must be a positive whole number, ")


@pytest.fixture
def provide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install factories under the name "toy"."""

    def install(kind: str, factory: Any) -> None:
        module = types.ModuleType("plugins_to_check")
        vars(module)["open_toy"] = factory
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = EntryPoint("toy", f"{module.__name__}:open_toy", f"ganaudit.{kind}")
        found = {f"ganaudit.{kind}": [entry]}
        monkeypatch.setattr(registry, "entry_points", lambda group: found.get(group, []))

    return install


def test_a_plugin_is_opened_as_on_the_command_line(provide: Callable[..., None]) -> None:
    opened: list[object] = []

    def open_toy(target: str, *, device: object, trust: bool, prior: str = "?", n: int = 0) -> Any:
        opened.append((target, device, trust, prior, n))
        return changed(Latent, {"prior": prior})

    provide("generators", open_toy)
    check_plugin("generators", "toy:it", {"prior": "uniform", "n": "3"}, trust=True)
    assert opened == 2 * [("it", torch.device("cpu"), True, "uniform", 3)]
    with pytest.raises(AssertionError, match="prior must be one of"):
        check_plugin("generators", "toy")
    with pytest.raises(ConfigError, match="has no option 'm'"):
        check_plugin("generators", "toy", {"m": "1"})
    with pytest.raises(ConfigError, match="no such file, and no generator of that name"):
        check_plugin("generators", "tyo")


def test_a_descriptor_plugin_is_checked_with_the_images_given(provide: Callable[..., None]) -> None:
    provide("descriptors", lambda target: changed(Described, {"embed": embedding(only_large)}))
    check_plugin("descriptors", "toy")
    small = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 9, 7), np.uint8))
    with pytest.raises(AssertionError, match="at least two images must be described, got 0 of 3"):
        check_plugin("descriptors", "toy", images=small)


def opened_by_no_target() -> Latent:
    return Latent()


def opened_by_keyword(*, target: str = "") -> Latent:
    return Latent()


def opened_with_hidden(target: str, psi: float = 1.0, *more: str, noise: bool = True) -> Latent:
    return Latent()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (opened_by_no_target, r"the factory of 'toy' must take its target: def open_it\(target"),
        (opened_by_keyword, "the factory of 'toy' must take its target"),
        (opened_with_hidden, r"must be keyword-only, .* got psi, more before the \*"),
    ],
)
def test_a_factory_that_set_cannot_fill_is_told(
    provide: Callable[..., None], factory: Any, message: str
) -> None:
    provide("generators", factory)
    refused(lambda spec: check_plugin("generators", spec), "toy", message)


@pytest.mark.parametrize("kind", ["generators", "descriptors"])
def test_a_plugin_has_one_identity(provide: Callable[..., None], kind: Any) -> None:
    numbers = iter(range(9))

    def open_toy(target: str) -> Any:
        number = next(numbers)
        if kind == "generators":
            return changed(Latent, {"identity": {"opened": number}})
        return changed(Described, {"card": card(settings={"opened": number})})

    provide(kind, open_toy)
    message = """'toy' must have one identity whenever it is opened, got {.*"opened": 0.* and {"""
    refused(lambda spec: check_plugin(kind, spec), "toy", message)


def test_a_file_of_plugins_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\n"
        "class Mine:\n"
        '    latent_shape, prior, num_labels = (3, 8, 8), "normal", 0\n\n'
        "    def render(self, draws):\n"
        "        return (128 + 40 * draws.latents).clamp(0, 255).to(torch.uint8)\n\n\n"
        'GENERATORS = {"mine": lambda target: Mine()}\n'
    )
    check_plugin("generators", "mine", files=["mine.py"])


def test_no_test_framework_is_needed() -> None:
    paths = sorted((ROOT / "ganaudit" / "testing").glob("*.py"))
    found = {name.split(".")[0] for path in paths for name in imports_of(path)}
    assert len(paths) == 4
    assert not found & {"pytest", "unittest", "hypothesis", "_pytest"}
