"""What the first images say: whether there are any, how many fit at once, who needs them singly."""

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.batchnorm import mismatch
from ganaudit.descriptors import ROW_DISTANCE
from ganaudit.errors import SourceError
from ganaudit.generators import (
    BlindGenerator,
    EmbeddingSource,
    LatentGenerator,
    Source,
    Streaming,
    is_service,
)
from ganaudit.images import GREY_LEVELS, content_hashes
from ganaudit.maker import Maker, Recipe, Rendered
from ganaudit.slots import SHARD, Stream

_IMAGES = 8
_FACES = 64  # images that say whether most have no face, once some of the first have none
_PRIOR_IMAGES = (256, 64)  # held against batch norm statistics: usually, and where they are slow
_PRIOR_SLOW_S = 0.1  # an image
_PRIOR_MISMATCH = 0.08  # standard deviations; ganaudit.batchnorm says what is usual
_FLOATS_PER_VALUE = 64  # memory of a convolutional generator per value of its output, a guess
_MEMORY_SHARE = 0.25
_BATCH_MAX = {"cpu": 64, "cuda": 256}
_BATCH_STREAMED = 32  # what streams is embedded in batches of at most so many
_WINDOW_BYTES = 2**30  # of images that a service gave and that wait for those before them


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


def probe(
    source: Source,
    maker: Maker,
    recipe: Recipe,
    *,
    batch: int | None,
    max_faceless: float = 1.0,
    slots: tuple[Stream, NDArray[np.int64]] | None = None,
) -> Probe:
    """Render and embed the first anchors, together and singly.

    Args:
      source: as opened.
      maker: of `recipe`.
      recipe: what is known so far; batch and width are filled here.
      batch: the user's; None: chosen from the memory that is free.
      max_faceless: share of images without a face, beyond which there is no run.
      slots: looked at instead of the first anchors: those that a service has yet to give.

    Raises:
      SourceError: none of the first images is one, the generator raised for all of them, an image
        depends on its batch mates, a service answers everything with one image, or too many have
        no face.
      DescriptorError: the descriptor broke its contract on them.
    """
    if isinstance(source, EmbeddingSource):
        rows, _ = source.rows(np.zeros(1, dtype=np.int64))
        return Probe(replace(recipe, batch=1, width=rows.shape[1]), [], None, None)
    most = _FACES if recipe.order is None else min(_FACES, len(recipe.order))
    stream, looked_at = slots or (Stream.ANCHORS, np.arange(most, dtype=np.int64))
    looked_at = looked_at[:most]
    count = min(_IMAGES, batch or _IMAGES, len(looked_at))
    draws = maker.draws(stream, looked_at[:count])
    first = maker.render(draws)
    if not first.images:
        reason = next(iter(first.failures.values())).reason
        raise SourceError(f"none of the first {count} images can be used: {reason}")
    warnings = _repeats_of_service(first) if is_service(source) else []
    begin = time.perf_counter()
    again = maker.render(draws)
    shown = [images for _, images in again.images or first.images]
    together = [maker.embed(images) for images in shown]
    seconds = (time.perf_counter() - begin) / count
    if isinstance(source, LatentGenerator):
        singly = maker.render(draws, one_by_one=True)
        if again.images and not singly.images:
            reason = next(iter(singly.failures.values())).reason
            raise SourceError(
                "the generator renders images together and none of them singly, so they may depend "
                f"on their batch mates ({reason}): is a batch norm in training mode? Call eval() "
                "on the network, and before it is traced or exported"
            )
        if _differs(first, again):
            warnings.append(
                "the generator is not deterministic: the same slots gave different images, so "
                "this run cannot be repeated, and whether images depend on their batch mates "
                "cannot be seen; draw layer noise from the slot's seed"
            )
        elif _differs(first, singly):
            raise SourceError(
                "the generator's images depend on their batch mates, so they are no samples of one "
                "distribution: is a batch norm in training mode? Call eval() on the network, and "
                "before it is traced or exported, or render images singly with --batch 1"
            )
        warnings += _prior_doubted(source, maker, seconds)
    elif isinstance(source, BlindGenerator) and is_service(source):
        if not source.seedable:
            warnings.append(
                "the service takes no seed that is known, so this run cannot be repeated"
            )
        elif _differs(first, again):
            warnings.append(
                "the service ignores the seed: the same seed gave different images, so this run "
                "cannot be repeated; does the request give the seed the name that is wanted?"
            )
    warnings += getattr(source, "warnings", ())
    _check_faces(maker, together, stream, looked_at, max_faceless)
    for images, (rows, valid) in zip(shown, together, strict=True):
        alone, _ = maker.embed(images, one_by_one=True)
        gap = np.linalg.norm(alone[valid].astype(np.float64) - rows[valid], axis=1)
        if len(gap) and 2 / np.pi * np.arcsin(np.minimum(1, gap / 2)).max() > ROW_DISTANCE:
            recipe = replace(recipe, embed_one_by_one=True)
            warnings.append(
                "the descriptor's rows depend on their batch mates, so images are embedded one by "
                "one; a quantised network does this"
            )
            break
    height, width = (int(side) for side in first.images[0][1].shape[2:])
    if batch is None:
        batch = fitting(height, width, recipe.device)
        batch = min(_BATCH_STREAMED, batch) if isinstance(source, Streaming) else batch
    window = None
    if is_service(source):
        held = _WINDOW_BYTES // (3 * height * width)
        window = max(batch, min(SHARD, held) // batch * batch)
    recipe = replace(recipe, batch=batch, window=window, width=together[0][0].shape[1])
    return Probe(recipe, warnings, seconds, (height, width))


def _repeats_of_service(first: Rendered) -> list[str]:
    """A warning when a service gave one image for several slots; it is too early for a collapse."""
    hashes = [row.tobytes() for _, images in first.images for row in content_hashes(images)]
    distinct, count = len(set(hashes)), len(hashes)
    if distinct == 1 < count:
        raise SourceError(
            f"the service answered {count} different slots with one image, to the last byte: a "
            "cache answers for it, or the seed or latent does not reach it; send a header that "
            "forbids caching, or look at how the request names the seed"
        )
    if distinct == count:
        return []
    return [
        f"of the first {count} images of the service {count - distinct} repeat another to the last "
        "byte: a cache in front of it looks like a collapse"
    ]


def _prior_doubted(source: LatentGenerator, maker: Maker, seconds: float) -> list[str]:
    """A warning when batch norms see other inputs than in training."""
    module = getattr(source, "module", None)
    if not isinstance(module, torch.nn.Module):
        return []
    slots = np.arange(_PRIOR_IMAGES[seconds > _PRIOR_SLOW_S], dtype=np.int64)

    def run() -> None:
        for part in np.array_split(slots, len(slots) // _IMAGES):
            maker.render(maker.draws(Stream.ANCHORS, part))

    found = mismatch(module, run)
    if found is None or found.largest <= _PRIOR_MISMATCH:
        return []
    return [
        f"the prior {source.prior} may be wrong: under it the inputs of a batch norm are "
        f"{found.mean:.2f} standard deviations from those in training, and their spread "
        f"{found.spread:.0%} from it; under the right prior of the right network it is within a "
        "few hundredths. A wrong prior changes the score"
    ]


def _check_faces(
    maker: Maker,
    together: list[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    stream: Stream,
    looked_at: NDArray[np.int64],
    most: float,
) -> None:
    """Stop early a run of which most images would be left out."""
    valid = np.concatenate([valid for _, valid in together])
    if valid.all():
        return
    for start in range(len(valid), len(looked_at), _IMAGES):
        slots = looked_at[start : start + _IMAGES]
        for _, images in maker.render(maker.draws(stream, slots)).images:
            valid = np.concatenate([valid, maker.embed(images)[1]])
    faceless = float((~valid).mean())
    if faceless > most:
        raise SourceError(
            f"the descriptor finds no face in {int((~valid).sum())} of the first {len(valid)} "
            f"images ({faceless:.0%}, --max-faceless {most:g}): images that are cropped faces "
            "already need no detector (--set descriptor.detect=false), what is not a face needs "
            "another descriptor, and --max-faceless 1 scores those that have one"
        )


def _differs(one: Rendered, other: Rendered) -> bool:
    """Some slot's images are more than a grey level apart; failures are not compared."""
    images = [
        {int(i): image for where, found in r.images for i, image in zip(where, found, strict=True)}
        for r in (one, other)
    ]
    return any(
        images[0][i].shape != images[1][i].shape
        or int((images[0][i].int() - images[1][i].int()).abs().max()) > GREY_LEVELS
        for i in images[0].keys() & images[1].keys()
    )


def fitting(height: int, width: int, device_name: str) -> int:
    """The power of two of images that fits a quarter of the free memory, within what pays."""
    device = torch.device(device_name)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    image = height * width * 3 * 4 * _FLOATS_PER_VALUE
    fitting = max(1, int(_MEMORY_SHARE * free / image))
    return min(_BATCH_MAX[device.type], 1 << (fitting.bit_length() - 1))
