"""What the first images say: whether there are any, how many fit at once, who needs them singly."""

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from ganaudit.errors import SourceError
from ganaudit.generators import BlindGenerator, EmbeddingSource, LatentGenerator, Source
from ganaudit.maker import Maker, Recipe, Rendered
from ganaudit.slots import Stream

_IMAGES = 8
_GREY_LEVELS = 1  # cuDNN picks kernels by batch size: one level is not dependence
_DISTANCE = 1e-3  # fraction of pi between one image's rows alone and among others
_FLOATS_PER_VALUE = 64  # memory of a convolutional generator per value of its output, a guess
_MEMORY_SHARE = 0.25
_BATCH_MAX = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class Probe:
    """The recipe that the first images call for.

    Attributes:
      recipe: complete.
      warnings: what the report has to say about it, a sentence each.
      seconds_per_image: of rendering and embedding a small batch; None for embeddings.
      image_size: (height, width) of the first image; None for embeddings.
    """

    recipe: Recipe
    warnings: list[str]
    seconds_per_image: float | None
    image_size: tuple[int, int] | None


def probe(source: Source, maker: Maker, recipe: Recipe, *, batch: int | None) -> Probe:
    """Render and embed the first anchors, together and singly.

    Args:
      source: as opened.
      maker: of `recipe`.
      recipe: what is known so far; batch and width are filled here.
      batch: the user's; None: chosen from the memory that is free.

    Raises:
      SourceError: none of the first images is one, or the generator raised for all of them.
      DescriptorError: the descriptor broke its contract on them.
    """
    if isinstance(source, EmbeddingSource):
        rows, _ = source.rows(np.zeros(1, dtype=np.int64))
        return Probe(replace(recipe, batch=1, width=rows.shape[1]), [], None, None)
    count = min(_IMAGES, batch or _IMAGES)
    if recipe.order is not None:
        count = min(count, len(recipe.order))
    draws = maker.draws(Stream.ANCHORS, np.arange(count, dtype=np.int64))
    first = maker.render(draws)
    if not first.images:
        reason = next(iter(first.failures.values())).reason
        raise SourceError(f"none of the first {count} images can be used: {reason}")
    warnings = []
    begin = time.perf_counter()
    again = maker.render(draws)
    shown = [images for _, images in again.images or first.images]
    together = [maker.embed(images) for images in shown]
    seconds = (time.perf_counter() - begin) / count
    if isinstance(source, LatentGenerator):
        if _differs(first, again):
            warnings.append(
                "the generator is not deterministic: the same slots gave different images, so "
                "this run cannot be repeated; draw layer noise from the slot's seed"
            )
        elif _differs(first, maker.render(draws, one_by_one=True)):
            recipe = replace(recipe, one_by_one=True)
            warnings.append(
                "the generator's images depend on their batch mates, so they are rendered one by "
                "one; is a batch norm in training mode?"
            )
    for images, (rows, valid) in zip(shown, together, strict=True):
        alone, _ = maker.embed(images, one_by_one=True)
        gap = np.linalg.norm(alone[valid].astype(np.float64) - rows[valid], axis=1)
        if len(gap) and 2 / np.pi * np.arcsin(np.minimum(1, gap / 2)).max() > _DISTANCE:
            recipe = replace(recipe, embed_one_by_one=True)
            warnings.append(
                "the descriptor's rows depend on their batch mates, so images are embedded one by "
                "one; a quantised network does this"
            )
            break
    height, width = (int(side) for side in first.images[0][1].shape[2:])
    if batch is None:
        blind = isinstance(source, BlindGenerator)
        batch = min(32, _fit(height, width, recipe)) if blind else _fit(height, width, recipe)
    recipe = replace(recipe, batch=batch, width=together[0][0].shape[1])
    return Probe(recipe, warnings, seconds, (height, width))


def _differs(one: Rendered, other: Rendered) -> bool:
    """Some slot's images are more than a grey level apart; failures are not compared."""
    images = [
        {int(i): image for where, found in r.images for i, image in zip(where, found, strict=True)}
        for r in (one, other)
    ]
    return any(
        images[0][i].shape != images[1][i].shape
        or int((images[0][i].int() - images[1][i].int()).abs().max()) > _GREY_LEVELS
        for i in images[0].keys() & images[1].keys()
    )


def _fit(height: int, width: int, recipe: Recipe) -> int:
    """The power of two of images that fits a quarter of the free memory, within what pays."""
    device = torch.device(recipe.device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    image = height * width * 3 * 4 * _FLOATS_PER_VALUE
    fitting = max(1, int(_MEMORY_SHARE * free / image))
    return min(_BATCH_MAX[device.type], 1 << (fitting.bit_length() - 1))
