"""Writes down how a training goes: its log, checkpoints, pictures and audits."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ganaudit.config import TrainConfig
from ganaudit.runner import Progress
from ganaudit.training.data import TrainingData
from ganaudit.training.journal import Journal, Meter
from ganaudit.training.pictured import draw_samples
from ganaudit.training.recipe import Recipe
from ganaudit.training.states import State, save_state

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
_SETTLED = 10_000  # latents that batch statistics are measured on
_LOGGED = 200  # lines of the log that a training has, about
Notice = Callable[[str], None]


class Scribe:
    """What the first of all processes does beside training."""

    def __init__(
        self,
        out: Path,
        config: TrainConfig,
        recipe: Recipe,
        data: TrainingData,
        state: State,
        *,
        device: torch.device,
        start: int,
        progress: Progress,
        notice: Notice,
    ) -> None:
        """`start`: steps that were taken already; what the log has beyond them is dropped."""
        self._out, self._config, self._recipe, self._data = out, config, recipe, data
        self._state, self._device = state, device
        self._progress, self._notice = progress, notice
        self._journal = Journal(out, resume_step=start)
        self._meter = Meter()
        self._every = max(1, recipe.steps // _LOGGED)

    def after_step(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Take note of a step; now and then a line in the log."""
        self._meter.add(values)
        self._progress("steps", step, self._recipe.steps)
        if step % self._every == 0 or step == self._recipe.steps:
            means = self._meter.read()
            self._journal.record(step, means, kimg=self._kimg(step))

    def snapshot(self, step: int) -> None:
        """A checkpoint, the networks as files, images of fixed latents, and an audit if due."""
        save_state(self._out, self._state, step=step, about={})
        self._export(step)
        picture = draw_samples(...)
