"""Writes down how a training goes: its log, checkpoints, pictures and audits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.native import save_native
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError, GanauditError, SourceError, one_line
from ganaudit.files import FULL, write_output
from ganaudit.grids import encode_png
from ganaudit.runner import Progress
from ganaudit.training.audits import audit, toy_figures
from ganaudit.training.averaging import settled
from ganaudit.training.data import TrainingData
from ganaudit.training.journal import Journal, Meter
from ganaudit.training.lipschitz import lipschitz_ratio
from ganaudit.training.origin import DISCRIMINATOR, GENERATOR
from ganaudit.training.pictured import grid_of, plane_of, points_of
from ganaudit.training.randomness import draw_latents, stream
from ganaudit.training.recipe import Recipe
from ganaudit.training.states import State, name_of, save_state

SAMPLES, AUDITS, LABELS = "samples", "audits", "labels.txt"
_SETTLED = 2_000  # latents that batch statistics are measured on
_LOGGED = 200  # lines of the log that a training has, about
_TOY_POINTS = 10_000
_AT_ONCE = 64
_PAIRED = 512  # images that pairs are taken of
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
        self._journal = Journal(out, start=start)
        self._meter = Meter()
        self._every = max(1, recipe.steps // _LOGGED)
        self._last: dict[str, float] = {}
        for note in self._journal.notes:
            notice(note)

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self._journal.__exit__(kind, error, trace)

    def after_step(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Take note of a step; now and then a line in the log."""
        self._meter.add(values)
        self._progress("steps", step, self._recipe.steps)
        if step % self._every == 0:
            self._record(step)

    def _record(self, step: int) -> None:
        means = self._meter.read()
        if means:
            self._last = means
            self._journal.record(step, means, kimg=round(self.kimg(step), 3))

    def kimg(self, step: int) -> float:
        """Thousands of real images shown in so many steps."""
        return step * self._recipe.optim.discriminator_steps * self._recipe.batch / 1000

    def snapshot(self, step: int) -> None:
        """A checkpoint, the networks as files, images of fixed latents, and an audit if due.

        The log has a line first, so that a training that goes on from here misses no step in it.
        An audit that is in the log already is not made again.

        Raises:
          GanauditError: the disk is full; what was written before is whole.
        """
        self._record(step)
        generator = self._settled()
        save_state(self._out, self._state, step=step, about={"kimg": self.kimg(step)})
        self._export(GENERATOR, generator, step)
        self._export(DISCRIMINATOR, self._state.discriminator, step)
        self._picture(generator, step)
        self._ratios(generator, step)
        if self._last:
            means = ", ".join(f"{name} {value:.3g}" for name, value in self._last.items())
            self._notice(f"step {step:,}: {means}")
        if self.audit_is_due(step) and not self._journal.was_audited(step):
            self._audit(generator, step)

    def audit_is_due(self, step: int) -> bool:
        """Whether the snapshot of this step is audited."""
        every, steps = self._config.audit_every, self._recipe.steps
        if every == 0 or (self._config.descriptor is None and not self._data.are_points):
            return False
        return step in (0, steps) or (every is not None and step % every == 0)

    def _settled(self) -> nn.Module:
        recipe = self._recipe
        rng = stream(recipe.seed, "latents of batch statistics")
        latents = draw_latents(rng, _SETTLED, recipe.latent_shape, recipe.prior)
        labels = None
        if recipe.conditional and self._data.labels is not None:
            rows = torch.randint(len(self._data), (_SETTLED,), generator=rng)
            labels = self._data.labels[rows].to(self._device)
        return settled(
            self._state.average, latents.to(self._device), labels, batch=max(64, recipe.batch)
        )

    @torch.no_grad()
    def _ratios(self, generator: nn.Module, step: int) -> None:
        """A line about how fast features change, between real images and between generated ones.

        The same images and latents at every snapshot.
        """
        if self._journal.was_recorded(step, "lipschitz_real"):
            return
        recipe, data = self._recipe, self._data
        rng = stream(recipe.seed, "pairs of images")
        rows = torch.randperm(len(data), generator=rng)[:_PAIRED]
        real = data.batch(rows, device=self._device)
        labels = None
        if recipe.conditional and data.labels is not None:
            labels = data.labels[rows].to(self._device)
        latents = draw_latents(rng, len(rows), recipe.latent_shape, recipe.prior).to(self._device)
        given = () if labels is None else (labels,)
        fake = torch.cat(
            [
                generator(*parts)
                for parts in zip(*(some.split(_AT_ONCE) for some in (latents, *given)), strict=True)
            ]
        )
        judge = self._state.discriminator
        judged = labels if getattr(judge, "num_labels", 0) else None
        values = {
            name: lipschitz_ratio(judge, images, judged)
            for name, images in (("lipschitz_real", real), ("lipschitz_fake", fake))
        }
        self._journal.record(step, values, kimg=round(self.kimg(step), 3))

    def _export(self, name: str, network: nn.Module, step: int) -> None:
        """A network as a file that `diagnose`, `sample` and `calibrate` open."""
        recipe = self._recipe
        facts: dict[str, Any] = {
            "training": f"ganaudit train, {recipe.arch}, step {step} of {recipe.steps}",
            "data": self._data.identity,
        }
        spec = recipe.discriminator
        if name == GENERATOR:
            spec = recipe.generator
            facts |= {
                "prior": recipe.prior,
                "range": [-1, 1],
                "latent_shape": list(recipe.latent_shape),
                "num_labels": self._data.num_labels if recipe.conditional else 0,
            }
            if self._data.are_points:
                facts["extent"] = round(float(self._data.images.abs().max()) * 1.2 + 0.1, 3)
        try:
            save_native(
                self._out / name,
                network,
                network=spec.network,
                arguments=spec.arguments,
                facts=facts,
            )
        except OSError as error:
            reason = "the disk is full" if error.errno in FULL else error.strerror or error
            raise GanauditError(f"{self._out / name} cannot be written: {reason}") from error

    def _picture(self, generator: nn.Module, step: int) -> None:
        recipe = self._recipe
        if self._data.are_points:
            judge = self._state.discriminator
            usual = judge.training
            judge.eval()
            pixels = plane_of(
                self._points(generator, 2_000),
                self._data.images.numpy(),
                judge,
                device=self._device,
            )
            judge.train(usual)
        else:
            pixels = grid_of(
                generator,
                latent_shape=recipe.latent_shape,
                prior=recipe.prior,
                num_labels=self._data.num_labels if recipe.conditional else 0,
                seed=recipe.seed,
                device=self._device,
            )
        write_output(self._out / SAMPLES / f"{name_of(step)}.png", encode_png(pixels))
        self._journal.picture(step, pixels)

    def _points(self, generator: nn.Module, count: int) -> Any:
        recipe = self._recipe
        return points_of(
            generator,
            count,
            latent_shape=recipe.latent_shape,
            prior=recipe.prior,
            seed=recipe.seed,
            device=self._device,
        )

    def _audit(self, generator: nn.Module, step: int) -> None:
        if self._data.are_points:
            figures = toy_figures(self._config.data, self._points(generator, _TOY_POINTS))
            if figures:
                self._journal.audit(step, figures, under={"samples": _TOY_POINTS})
        else:
            try:
                found = audit(
                    self._config,
                    self._out / GENERATOR,
                    self._data.source(),
                    self._out / AUDITS / name_of(step),
                    labels=self._labels(),
                    device=str(self._device),
                    progress=lambda what, done, all_: self._progress(f"audit: {what}", done, all_),
                    notice=self._notice,
                )
            except (SourceError, ConfigError) as error:  # it need not give a face yet
                self._journal.no_audit(step, one_line(error))
                self._notice(f"step {step:,} was not audited: {one_line(error)}")
                return
            self._journal.audit(step, found.figures, under=found.under)

    def _labels(self) -> Path | None:
        """A file with the classes of the data, one a line; None: the networks take none."""
        if not self._recipe.conditional or self._data.labels is None:
            return None
        path = self._out / LABELS
        write_output(path, "".join(f"{label}\n" for label in self._data.labels.tolist()).encode())
        return path
