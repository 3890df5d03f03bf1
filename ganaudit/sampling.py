"""What a generator makes, as files: images, their latents and seeds, and a grid of the first ones.

    DIR/images/0000000000.png   of slot 0, exact
    DIR/latents.npy             what was drawn for the slots, a row each; a blind source has none
    DIR/samples.csv             a row a slot: seed, label, file, or why there is none
    DIR/grid.png                the first images, row by row
    DIR/sample.json             what was asked for, of which generator; written last

Slot i is sample i of `ganaudit diagnose` with the same seed. The files carry no time and no place:
the same request gives the same bytes.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganaudit.calibration.calibrated import Calibrated
from ganaudit.config import SampleConfig
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.files import FULL, free_folder, write_output
from ganaudit.generators import (
    BlindGenerator,
    Failure,
    LatentGenerator,
    Source,
    Status,
    identity_of,
    is_service,
)
from ganaudit.grids import draw_grid, encode_png
from ganaudit.images import GREY_LEVELS, PICTURE_SUFFIXES
from ganaudit.labels import Law, law_of
from ganaudit.maker import Maker, Recipe, Rendered
from ganaudit.opening import check_source, open_device, open_source
from ganaudit.reasons import bounded
from ganaudit.report import canonical
from ganaudit.runner import Progress, silent
from ganaudit.sheets import Answer, Sheet, file_of
from ganaudit.slots import SHARD, Draws, Stream
from ganaudit.store import write_json

SCHEMA_VERSION = 1
KIND = "sample"
NAME = "sample.json"
LATENTS, TABLE, GRID = "latents.npy", "samples.csv", "grid.png"
_FIRST = 8  # images that are looked at before a folder is made
_AGAIN = 2  # of them, asked for once more
_BATCH_MAX, _BATCH_PIXELS = 32, 2**22  # not from free memory: another batch changes the last bits
_WINDOW_BYTES = 2**28  # of images that a service gives at a time
_THREADS = 8


@dataclass(frozen=True)
class Sampled:
    """The result of `sample`.

    Attributes:
      document: the content of sample.json.
      out: the folder, or the picture of the grid.
    """

    document: dict[str, Any]
    out: Path


def sample(
    config: SampleConfig,
    *,
    source: Source | None = None,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda text: None,
) -> Sampled:
    """Write the first samples of a generator.

    Args:
      config: the request.
      source: taken instead of opening `config.generator`, which then names it.
      progress: told as slots are through.
      notice: told what was found on the way.

    Raises:
      ConfigError: the request cannot be carried out, or the place is taken; nothing was written.
      SourceError: none of the first images is one, the generator hung several times in a row, or is
        gone. The images until then are written, and the table of them.
      GanauditError: the disk is full or refuses; what was written before stays.
    """
    out = config.out or free_folder("samples")
    _check_free(out, config)
    device = open_device(config.device)
    reopen = None if source is not None else lambda: open_source(config, device)[0]
    source, identity = _opened(config, source, device)
    requests = _requests(config, source)
    if requests:
        notice(f"{requests:,} requests for {config.samples:,} images; what fails is asked again")
    law = law_of(config.labels, source.num_labels if isinstance(source, LatentGenerator) else 0)
    recipe = Recipe(
        seed=config.seed,
        device=device,
        batch=1,
        width=1,
        timeout_s=config.timeout_s,
        labels=None if law is None else law.choices,
    )
    sheet = Sheet(config.samples)
    with closing(Maker(source, None, recipe, reopen=reopen)) as maker:
        # The first images say whether there are any, and how many fit at once.
        draws = _drawn(maker, 0, min(_FIRST, config.batch or _FIRST, config.samples))
        first = _in_order(maker.render(draws), len(draws))
        image = _first_image(first)
        pixels = image.shape[1] * image.shape[2]
        batch = config.batch or max(1, min(_BATCH_MAX, _BATCH_PIXELS // pixels))
        window = batch
        if is_service(source):
            window = max(batch, min(SHARD, _WINDOW_BYTES // (3 * pixels)))
        counts = dict(getattr(source, "counts", {}))
        warnings = _doubts(source, maker, draws, first)
        if isinstance(source, Calibrated):  # what is asked for once more is no sample
            source.counts.update({key: counts[key] - now for key, now in source.counts.items()})
        for sentence in warnings:
            notice(sentence)

        # Images are written as they come, and not held.
        folder = None if config.grid_alone else _made_folder(out)
        windows = _windows(maker, draws, first, window=window, batch=batch, stop=config.samples)
        try:
            for draws, answers in windows:
                if folder is not None:
                    _write_images(folder, draws, answers)
                sheet.add(draws, answers)
                progress("samples", len(sheet.rows), config.samples)
        except (KeyboardInterrupt, SourceError):
            if folder is not None:
                with suppress(GanauditError):  # what ended it is told
                    write_output(folder / TABLE, sheet.table())
            raise

    document = _document(config, source, identity, law, sheet, warnings, device, batch)
    grid = encode_png(draw_grid(sheet.thumbnails, columns=sheet.columns))
    if folder is None:
        write_output(out, grid)
        return Sampled(document, out)
    latents = sheet.latents()
    if latents is not None:
        write_output(folder / LATENTS, latents)
    write_output(folder / TABLE, sheet.table())
    write_output(folder / GRID, grid)
    write_json(folder / NAME, document)
    return Sampled(document, out)


def _check_free(out: Path, config: SampleConfig) -> None:
    """Refuse a place that is taken: nothing is ever overwritten."""
    try:
        taken, is_folder = out.exists() or out.is_symlink(), out.is_dir()
        empty = not is_folder or not any(out.iterdir())
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}") from error
    if config.grid_alone:
        if taken:
            raise ConfigError(f"--out {out} exists already; name another file")
    elif out.suffix.lower() in PICTURE_SUFFIXES and not is_folder:
        raise ConfigError(f"--out {out}: a grid is written as PNG; name it .png, or name a folder")
    elif taken and not is_folder:
        raise ConfigError(f"--out {out} is a file; name a folder, or a .png for the grid alone")
    elif not empty:
        raise ConfigError(f"--out {out} is not empty; name another folder")


def _made_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise GanauditError(f"{out} cannot be made: the disk is full") from error
        raise ConfigError(f"--out {out} cannot be made: {error.strerror}") from error
    return out


def _opened(
    config: SampleConfig, source: Source | None, device: str
) -> tuple[LatentGenerator | BlindGenerator, dict[str, Any]]:
    """The generator and its identity; what holds a finite number of things is none."""
    if source is None:
        source, identity = open_source(config, device)
    else:
        identity = {"object": type(source).__qualname__, **identity_of(source)}
        check_source(source, config.generator)
    if isinstance(source, LatentGenerator):
        return source, identity
    if not isinstance(source, BlindGenerator) or source.size is not None:
        raise ConfigError(
            f"--generator {config.generator} holds images or embeddings that were delivered "
            "already: there is nothing to sample; name a generator"
        )
    return source, identity


def _requests(config: SampleConfig, source: Source) -> int | None:
    """Requests that a service is sent, repeats apart; None: it is none."""
    if not is_service(source):
        return None
    needed = -(-config.samples // int(getattr(source, "per_request", 1)))
    most = config.max_requests
    if most is not None and needed > most:
        raise ConfigError(
            f"{config.samples:,} samples take {needed:,} requests and more, --max-requests is "
            f"{most:,}; ask for fewer --samples"
        )
    return needed


def _drawn(maker: Maker, start: int, stop: int) -> Draws:
    return maker.draws(Stream.SAMPLES, np.arange(start, stop, dtype=np.int64))


def _in_order(found: Rendered, count: int) -> list[Answer]:
    """For each slot its image, uint8 [3, H, W], or why there is none."""
    answers: dict[int, Answer] = dict(found.failures)
    for positions, images in found.images:
        answers |= zip(positions.tolist(), images.cpu(), strict=True)
    return [answers[position] for position in range(count)]


def _first_image(answers: Sequence[Answer]) -> torch.Tensor:
    for answer in answers:
        if isinstance(answer, torch.Tensor):
            return answer
    count, reason = len(answers), next(a.reason for a in answers if isinstance(a, Failure))
    what = "the first image cannot" if count == 1 else f"none of the first {count} images can"
    raise SourceError(f"{what} be used: {reason}")


def _doubts(
    source: LatentGenerator | BlindGenerator, maker: Maker, draws: Draws, first: list[Answer]
) -> list[str]:
    """Sentences about what the first images show, and about what cannot be repeated."""
    doubts = list(getattr(source, "warnings", ()))
    if isinstance(source, LatentGenerator):
        here = [i for i, image in enumerate(first) if isinstance(image, torch.Tensor)]
        again = () if is_service(source) else here[:_AGAIN]  # of a service each costs
        singly = [_in_order(maker.render(draws[i : i + 1]), 1)[0] for i in again]
        if any(_differ(first[i], image) for i, image in zip(again, singly, strict=True)):
            doubts.append(
                "the same slots gave other images when they were asked for singly, so these images "
                "cannot be repeated: the generator is not deterministic (draw layer noise from the "
                "slot's seed), or its images depend on their batch mates (call eval() on the "
                "network, or render singly with --batch 1)"
            )
    elif not source.seedable:
        doubts.append("the service takes no seed that is known, so these images cannot be repeated")
    return doubts


def _differ(one: Answer, other: Answer) -> bool:
    """Two images are more than a grey level apart; failures are not compared."""
    if isinstance(one, Failure) or isinstance(other, Failure):
        return False
    return one.shape != other.shape or int((one.int() - other.int()).abs().max()) > GREY_LEVELS


def _windows(
    maker: Maker, draws: Draws, first: list[Answer], *, window: int, batch: int, stop: int
) -> Iterator[tuple[Draws, list[Answer]]]:
    """The first slots, which are there, and then the others, batch by batch."""
    yield draws, first
    for start in range(len(draws), stop, window):
        draws = _drawn(maker, start, min(start + window, stop))
        for at, found in maker.batches(draws, batch):
            part = draws[at : at + batch]
            yield part, _in_order(found, len(part))


def _write_images(folder: Path, draws: Draws, answers: list[Answer]) -> None:
    """Several at a time: most of it is compression, and waiting for the disk."""

    def write(slot: int, image: torch.Tensor) -> None:
        pixels = image.permute(1, 2, 0).numpy()
        write_output(folder / file_of(slot), encode_png(pixels))

    pairs = zip(draws.index.tolist(), answers, strict=True)
    there = [(slot, image) for slot, image in pairs if isinstance(image, torch.Tensor)]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for written in [pool.submit(write, *pair) for pair in there]:
            written.result()


def _document(
    config: SampleConfig,
    source: LatentGenerator | BlindGenerator,
    generator: Mapping[str, Any],
    law: Law | None,
    sheet: Sheet,
    warnings: Sequence[str],
    device: str,
    batch: int,
) -> dict[str, Any]:
    """What sample.json says."""
    import PIL

    latents = None
    if isinstance(source, LatentGenerator):
        latents = {"prior": source.prior, "shape": list(source.latent_shape)}
    counts = source.counts if isinstance(source, Calibrated) else None
    repeats = sheet.repeats
    found = [] if not repeats else [f"{repeats:,} images repeat an earlier one to the last byte"]
    assumptions = [*getattr(source, "assumptions", ()), *([] if law is None else [law.sentence])]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "request": {
            "generator": config.generator,
            "samples": config.samples,
            "labels": config.labels,
            "seed": config.seed,
            "set": list(config.set),
        },
        "generator": dict(generator),
        "latents": latents,
        "labels": None if law is None else law.identity["labels"],
        "counts": {
            status.name.lower(): sheet.counts[status]
            for status in (Status.OK, Status.FAILED, Status.REFUSED)
        },
        "reasons": dict(bounded(sheet.reasons)),
        "repeats": repeats,
        "calibrator": None if counts is None else dict(counts),
        "grid": {"columns": sheet.columns, "shown": len(sheet.thumbnails)},
        "warnings": [*warnings, *found],
        "assumptions": assumptions,
        "environment": canonical.versions()
        | {"pillow": PIL.__version__, "device": device, "batch": str(batch)},
    }
