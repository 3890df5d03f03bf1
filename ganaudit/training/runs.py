"""A training from request to result: read, resolve, begin, train, watch, tell.

OUT/config.json                 the request and what it was resolved to
OUT/log.jsonl, tensorboard/     means of every stretch of steps, figures of every audit
OUT/states/step-.../            checkpoints, the last two
OUT/samples/step-....png        images of fixed latents
OUT/audits/step-.../            runs of `ganaudit diagnose` on the averaged generator
OUT/generator.safetensors       the averaged generator of the last checkpoint
OUT/discriminator.safetensors   of the last checkpoint
OUT/training.json, .html        the result
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganaudit.config import TrainConfig
from ganaudit.errors import INTERRUPTED, ConfigError, GanauditError, SourceError
from ganaudit.files import free_folder, json_text, write_output
from ganaudit.report import canonical
from ganaudit.report import training as page
from ganaudit.runner import Progress, silent
from ganaudit.training import audits, documents, loop
from ganaudit.training.batches import Batches
from ganaudit.training.data import TrainingData, read_training_data
from ganaudit.training.devices import Stopped, fabric_of, launch
from ganaudit.training.origin import Origin, open_origin
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.scribe import Scribe
from ganaudit.training.states import last_state, make_state
from ganaudit.training.stored import CONFIG, check_same, lines_of, read_config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NAME = "training.json"
Notice = Callable[[str], None]
_Saved = tuple[int, dict[str, Tensor]]


def _unheard(text: str) -> None:
    """A notice that nobody asked for; a process of its own must be able to have it."""


@dataclass(frozen=True)
class Training:
    """The result of `train`.

    Attributes:
      document: as written to training.json.
      folder: which holds the networks, the log and the page.
    """

    document: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 trained; 3 it diverged; 130 it was interrupted."""
        return _CODES[self.document["status"]]


_CODES = {"finished": 0, "diverged": SourceError.exit_code, "interrupted": INTERRUPTED}


def train(
    config: TrainConfig,
    *,
    data: TrainingData | None = None,
    progress: Progress = silent,
    notice: Notice = _unheard,
) -> Training:
    """Train a model, audit it as it learns, and write what came of it.

    Args:
      config: the request.
      data: images or points instead of those that `config.data` then names.
      progress: told (what, done, total); with several devices it must be picklable.
      notice: told a sentence now and then; likewise.

    Returns:
      What was trained; one that diverged or was interrupted keeps its last checkpoint.

    Raises:
      ConfigError: the request cannot be carried out; nothing of an earlier training is touched.
      GanauditError: the disk is full; the last checkpoint is kept.
    """
    out = config.out or free_folder("training")
    origin = None if config.start is None else open_origin(config.start)
    data = read(config, progress=progress) if data is None else data
    recipe = recipe_of(config, data, origin)
    fabric = fabric_of(config)
    _check_audits(config, data)
    configuration = _configuration(config, recipe, data, origin)
    saved = _going_on(out, config, recipe, configuration)
    networks = make_state(recipe, origin)
    if saved is not None:
        networks.load(saved[1])  # refused here, if at all: nothing was written
    write_output(out / CONFIG, json_text(configuration).encode())
    for line in (*lines_of(configuration), *configuration["notes"]):
        notice(line)
    begun = time.monotonic()
    work = partial(
        _work,
        config=config,
        recipe=recipe,
        data=data,
        out=out,
        saved=(0, networks.tensors()) if saved is None and origin is not None else saved,
        progress=progress,
        notice=notice,
    )
    ending = launch(fabric, work, several=config.devices > 1)
    document = documents.build(
        out,
        ending,
        configuration=read_config(out),
        networks=networks,
        seconds=time.monotonic() - begun,
        start=0 if saved is None else saved[0],
    )
    document = json.loads(json_text(document))  # as whoever reads the file has it
    write_output(out / NAME, json_text(document).encode())
    page.write(document, out)
    return Training(document, out)


def read(config: TrainConfig, *, progress: Progress = silent) -> TrainingData:
    """The data of a request, all of them in memory."""
    return read_training_data(
        config.data,
        size=config.size,
        channels=config.channels,
        labels=config.labels,
        fit=config.fit,
        progress=progress,
    )


def recipe_of(config: TrainConfig, data: TrainingData, origin: Origin | None = None) -> Recipe:
    """What a request says for its data."""
    if len(data) < 2:
        raise ConfigError(f"{config.data} holds {len(data)} images; at least 2 are needed")
    if config.audit_every and config.descriptor is None and not data.are_points:
        raise ConfigError("--audit-every needs the --descriptor that the audits use")
    recipe = resolve_recipe(
        config, image_shape=data.image_shape, num_labels=data.num_labels, origin=origin
    )
    Batches(len(data), recipe.batch, recipe.seed)  # refuses a batch that there are no images for
    return recipe


def outlook(config: TrainConfig) -> dict[str, Any]:
    """What `--dry-run` prints: the resolved configuration, the data, the size of the networks.

    Raises:
      GanauditError: whatever would stop the training at its start.
    """
    origin = None if config.start is None else open_origin(config.start)
    data = read(config)
    recipe = recipe_of(config, data, origin)
    fabric_of(config)
    _check_audits(config, data)
    configuration = _configuration(config, recipe, data, origin)
    if config.out is not None:
        _going_on(config.out, config, recipe, configuration)
    return configuration | {"parameters": documents.parameters(make_state(recipe, origin))}


# --- Beginning ----------------------------------------------------------------------------


def _check_audits(config: TrainConfig, data: TrainingData) -> None:
    if config.descriptor is not None and not data.are_points:
        audits.check(config, data.source())


def _configuration(
    config: TrainConfig, recipe: Recipe, data: TrainingData, origin: Origin | None
) -> dict[str, Any]:
    return {
        "request": config.shown(),
        "origins": dict(config.origins),
        "recipe": recipe.shown(),
        "data": data.identity,
        "notes": [
            *data.notes,
            *(() if origin is None else origin.notes),
            *_unused(config, recipe, data),
        ],
        "environment": canonical.versions(),
    }


def _unused(config: TrainConfig, recipe: Recipe, data: TrainingData) -> list[str]:
    """Sentences about what was given and has no effect."""
    found = []
    if data.num_labels and not recipe.conditional:
        found.append(
            f"The labels are not used: --arch {recipe.arch} takes none; cdcgan, acgan and "
            "cstylegan2 do."
        )
    if data.are_points and config.descriptor is not None:
        found.append("--descriptor is not used: points are counted, and not embedded.")
    return found


def _going_on(
    out: Path, config: TrainConfig, recipe: Recipe, configuration: dict[str, Any]
) -> _Saved | None:
    """The checkpoint that a training goes on from; None: it begins. Nothing is written.

    Raises:
      ConfigError: the folder is taken, holds another training, or a damaged checkpoint.
    """
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be read: {error.strerror}") from error
    if not taken:
        if config.resume:
            raise ConfigError(f"{out} holds no training to resume; leave --resume out")
        return None
    if not (out / CONFIG).is_file():
        raise ConfigError(f"--out {out} is not empty and holds no training; name another folder")
    if not config.resume:
        raise ConfigError(
            f"{out} already holds a training; continue it with --resume or name another folder "
            "with --out"
        )
    check_same(out, read_config(out), json.loads(json_text(configuration)))
    last = last_state(out)
    if last is None:
        return None
    about, tensors = last
    if about["step"] > recipe.steps:
        raise ConfigError(
            f"{out} is at step {about['step']:,}, beyond the {recipe.steps:,} steps asked for: "
            "raise --steps"
        )
    return about["step"], tensors


# --- At work, in a process for each device ---------------------------------------------------


def _work(
    fabric: "Fabric",
    stopped: Stopped,
    *,
    config: TrainConfig,
    recipe: Recipe,
    data: TrainingData,
    out: Path,
    saved: _Saved | None,
    progress: Progress,
    notice: Notice,
) -> loop.Ending:
    """Train on this process's device; the first process also writes and tells."""
    state = make_state(recipe)
    start, tensors = saved or (0, None)
    every = config.snapshot_every or max(1, recipe.steps // 10)
    with ExitStack() as stack:
        scribe = None
        if fabric.is_global_zero:
            made = Scribe(
                out,
                config,
                recipe,
                data,
                state,
                device=fabric.device,
                start=start,
                progress=progress,
                notice=notice,
            )
            scribe = stack.enter_context(made)

        def is_snapshot(step: int) -> bool:
            return step % every == 0 or bool(config.audit_every and step % config.audit_every == 0)

        def snapshot(step: int) -> None:
            if scribe is not None:
                scribe.snapshot(step)
            fabric.barrier()

        try:
            return loop.train(
                fabric,
                recipe,
                data,
                state,
                start=start,
                saved=tensors,
                after_step=(lambda step, values: None) if scribe is None else scribe.after_step,
                is_snapshot=is_snapshot,
                snapshot=snapshot,
                stopped=stopped,
            )
        except torch.OutOfMemoryError as error:
            raise GanauditError(
                "the memory of the device is full: take a smaller --batch or narrower networks; "
                "--precision bf16 needs less too"
            ) from error
