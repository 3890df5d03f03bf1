"""Contract checks of generators."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.descriptors import check_rows
from ganaudit.errors import DescriptorError
from ganaudit.generators import BlindGenerator, EmbeddingSource, Failure, LatentGenerator, Status
from ganaudit.images import check_images, single_colour
from ganaudit.labels import MAX_LABELS
from ganaudit.slots import Draws, Prior, Stream, draw
from ganaudit.testing.asking import (
    ANSWER,
    COUNT,
    IMAGE,
    NOT_VALID,
    READY_ROW,
    TWICE,
    Item,
    called,
    calling,
    check_attributes,
    check_repeats,
    compare,
    demand,
    grey_levels,
)

_MOST_CLASSES = 100  # rendered; where there are more, so many from the first to the last


def check_latent_generator(generator: object, *, device: str = "cpu") -> None:
    """A generator whose input we choose: its attributes, and images as uint8 [N, 3, H, W].

    Seven draws are rendered together, again, in reverse, and one and two at a time: an image must
    depend on its own draw alone, and on its latents at that. Of a conditional generator up to 100
    classes are rendered. Nothing ever asks for no images at all.

    Args:
      generator: what a factory returned.
      device: where latents and labels are, and the images must be.

    Raises:
      AssertionError: a clause of `ganaudit.generators.LatentGenerator` does not hold.
    """
    check_attributes(
        generator, "LatentGenerator", values="latent_shape prior num_labels", method="render"
    )
    assert isinstance(generator, LatentGenerator)
    shape, classes = generator.latent_shape, generator.num_labels
    demand(
        isinstance(shape, tuple) and shape != () and all(type(n) is int and n > 0 for n in shape),
        f"latent_shape must be a tuple of positive whole numbers, got {shape!r:.80}",
    )
    demand(
        generator.prior in get_args(Prior),
        f"prior must be one of {', '.join(get_args(Prior))}, got {generator.prior!r:.80}",
    )
    demand(
        type(classes) is int and 0 <= classes <= MAX_LABELS,
        f"num_labels must be a whole number in [0, {MAX_LABELS}], got {classes!r:.80}",
    )
    draws = draw(
        np.arange(COUNT),
        seed=0,
        stream=Stream.SAMPLES,
        latent_shape=shape,
        prior=generator.prior,
        labels=np.arange(classes) if classes else None,
    ).to(torch.device(device))

    def ask(positions: Sequence[int]) -> list[Item]:
        return list(_render(generator, _take(draws, positions)))

    with called(generator):
        _check_content(check_repeats(ask, IMAGE, count=COUNT))
        _check_latents(generator, draws)
        if classes:
            _check_labels(generator, draws, classes)


def check_blind_generator(source: object) -> None:
    """A generator that hides its input: one answer for each draw, an image or a Failure.

    A seedable one is asked for seven images, then for the same ones again, in reverse, and one and
    two at a time: 30 answers. Any other is asked for eight. Failures are not compared with images.

    Args:
      source: what a factory returned.

    Raises:
      AssertionError: a clause of `ganaudit.generators.BlindGenerator` does not hold.
    """
    check_attributes(source, "BlindGenerator", values="seedable size", method="stream")
    assert isinstance(source, BlindGenerator)
    seedable, size = source.seedable, source.size
    demand(type(seedable) is bool, f"seedable must be True or False, got {seedable!r:.80}")
    demand(
        size is None or (type(size) is int and size > 0),
        f"size must be a positive whole number or None, got {size!r:.80}",
    )
    draws = draw(_spread(size), seed=0, stream=Stream.SAMPLES)
    every = range(len(draws))

    def ask(positions: Sequence[int]) -> list[Item]:
        return _answers(source, _take(draws, positions))

    with called(source):
        if seedable:
            images = check_repeats(ask, ANSWER, count=len(draws))
        else:
            images = ask(every)
            ask(every[:1])
        _check_content(images)


def check_embedding_source(source: object) -> None:
    """Embeddings that somebody already made: unit rows by number, in any order, with repeats.

    Args:
      source: what a factory returned.

    Raises:
      AssertionError: a clause of `ganaudit.generators.EmbeddingSource` does not hold.
    """
    check_attributes(source, "EmbeddingSource", values="size", method="rows")
    assert isinstance(source, EmbeddingSource)
    size = source.size
    demand(
        type(size) is int and size > 0, f"size must be a positive whole number, got {size!r:.80}"
    )
    numbers = _spread(size)

    def ask(positions: Sequence[int]) -> list[Item]:
        return _ready_rows(source, numbers[list(positions)])

    with called(source):
        rows = check_repeats(ask, READY_ROW, count=len(numbers))
        often = [0, 0, len(numbers) - 1, 0]
        compare(rows, ask(often), often, TWICE, READY_ROW)
    demand(
        any(row is not NOT_VALID for row in rows),
        f"some rows must be valid, but none of {len(rows)} is",
    )


def _take(draws: Draws, positions: Sequence[int]) -> Draws:
    rows = list(positions)
    return Draws(
        index=draws.index[rows],
        seeds=draws.seeds[rows],
        latents=None if draws.latents is None else draws.latents[rows],
        labels=None if draws.labels is None else draws.labels[rows],
    )


def _spread(size: int | None) -> NDArray[np.int64]:
    """At most seven numbers, from the first to the last; of an endless source the first seven."""
    last = (COUNT if size is None else size) - 1
    return np.unique(np.linspace(0, last, COUNT).astype(np.int64))


def _render(generator: LatentGenerator, draws: Draws) -> torch.Tensor:
    assert draws.latents is not None
    with calling(f"render must give images for {len(draws)} draws", vars(draws)):
        images = check_images(generator.render(draws), len(draws))
    demand(
        images.device == draws.latents.device,
        f"images must be on the device of the latents, {draws.latents.device}, got {images.device}",
    )
    return images


def _check_content(images: list[Item]) -> None:
    found = [image for image in images if isinstance(image, torch.Tensor)]
    reasons = [image.reason for image in images if isinstance(image, Failure)]
    demand(
        found != [],
        f"some answers must be images, but all {len(reasons)} are failures: {reasons[:1]}",
    )
    demand(
        not all(bool(single_colour(image[None])) for image in found),
        f"images must show something, but all {len(found)} are a single colour each",
    )
    demand(
        len(found) < 2 or any(grey_levels(found[0], image) > 0 for image in found),
        f"different draws must give different images, but {len(found)} gave the same",
    )


def _check_latents(generator: LatentGenerator, draws: Draws) -> None:
    """Draws that differ in nothing but their latents."""
    alike = replace(_take(draws, [0] * len(draws)), latents=draws.latents)
    images = _render(generator, alike)
    demand(
        bool((images != images[:1]).any()),
        f"different latents must give different images, but {len(draws)} gave the same",
    )


def _check_labels(generator: LatentGenerator, draws: Draws, classes: int) -> None:
    """Every class is rendered; draws that differ in nothing but their labels differ."""
    assert draws.labels is not None
    count = min(classes, _MOST_CLASSES)
    labels = torch.linspace(0, classes - 1, count, dtype=torch.float64).round().to(draws.labels)
    for part in labels.split(COUNT):
        _render(generator, replace(_take(draws, range(len(part))), labels=part))
    first, last = (
        _render(generator, replace(draws, labels=torch.full_like(draws.labels, label))).clone()
        for label in (0, classes - 1)
    )
    demand(
        classes == 1 or grey_levels(first, last) > 0,
        f"different labels must give different images, but 0 and {classes - 1} gave the same",
    )


def _answers(source: BlindGenerator, draws: Draws) -> list[Item]:
    """Images and failures in the order of the draws."""
    wanted = draws.index.tolist()
    with calling(f"stream must answer {len(wanted)} draws", vars(draws)):
        pairs = [(index, item) for index, item in islice(source.stream(draws), len(wanted) + 1)]
    answers: dict[int, Item] = {}
    for index, item in pairs:
        demand(
            index in {*wanted}, f"stream must answer for {wanted}, but answered for {index!r:.80}"
        )
        demand(index not in answers, f"stream must answer once for each draw, but {index} twice")
        answers[index] = _checked(item)
    absent = [index for index in wanted if index not in answers]
    demand(not absent, f"stream must answer for {wanted}, but not for {absent}")
    return [answers[index] for index in wanted]


def _checked(answer: object) -> Item:
    if isinstance(answer, Failure):
        demand(
            isinstance(answer.reason, str)
            and answer.reason != ""
            and answer.status in (Status.FAILED, Status.REFUSED),
            f"a Failure must have a reason and the status FAILED or REFUSED, got {answer!r:.160}",
        )
        return answer
    with calling("an answer must be an image [3, H, W] or a Failure", {}):
        return check_images(answer[None] if isinstance(answer, torch.Tensor) else answer, 1)[0]


def _ready_rows(source: EmbeddingSource, numbers: NDArray[np.int64]) -> list[Item]:
    given = torch.from_numpy(numbers)
    with calling(f"rows must give {len(numbers)} rows", {"the numbers": given}):
        rows, valid = (torch.from_numpy(part) for part in source.rows(numbers))
        try:
            check_rows(rows, valid, len(numbers))
        except DescriptorError as error:
            raise DescriptorError(str(error).replace("the descriptor", "the source")) from error
    return [row if ok else NOT_VALID for row, ok in zip(rows, valid.tolist(), strict=True)]
