"""READ HERE how a model is trained: one function, from top to bottom.

What is random at a step follows from (seed, purpose, step): see `randomness`. Networks, loss and
regularisers are given; whatever a regulariser needs to look at a second time goes through the
discriminator's wrapped forward, so that several devices stay in step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor

from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.training.averaging import update_average
from ganaudit.training.data import Batches, TrainingData
from ganaudit.training.judging import Judge, Judged
from ganaudit.training.losses import (
    clip_weights,
    divergence_penalty,
    gradient_penalty,
    r1_penalty,
)
from ganaudit.training.randomness import draw_latents, stream
from ganaudit.training.recipe import Recipe
from ganaudit.training.states import State

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Status = Literal["finished", "interrupted", "diverged"]
_LOOKED_EVERY = 20  # steps between two looks at losses that are on a GPU, where looking waits


@dataclass(frozen=True)
class Ending:
    """How a training ended.

    Attributes:
      status: finished, interrupted or diverged.
      step: steps that were taken.
      message: a sentence; empty where there is nothing to say.
    """

    status: Status
    step: int
    message: str = ""


def train(
    fabric: "Fabric",
    recipe: Recipe,
    data: TrainingData,
    state: State,
    *,
    start: int = 0,
    saved: Mapping[str, Tensor] | None = None,
    after_step: Callable[[int, Mapping[str, Tensor]], None] = lambda step, values: None,
    is_snapshot: Callable[[int], bool] = lambda step: False,
    snapshot: Callable[[int], None] = lambda step: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Ending:
    """Train a generator against a discriminator.

    Args:
      fabric: devices and precision; launched.
      recipe: what a step does.
      data: real images or points.
      state: the networks and optimizers, as they were made; they are trained in place.
      start: steps that were taken already.
      saved: tensors of the checkpoint of that step; None: none.
      after_step: told the number of steps taken and means of the last one, on every rank.
      is_snapshot: whether a snapshot is due after so many steps.
      snapshot: called then on every rank, after all values were found finite.
      stopped: asked after each step; one rank that says yes stops all.

    Returns:
      How it ended. A training that diverged is stopped before anything of it is kept.
    """
    generator, generator_optimizer = fabric.setup(state.generator, state.optimizers[0])
    judge, optimizer = fabric.setup(Judge(state.discriminator), state.optimizers[1])
    state.average.to(fabric.device)
    if saved is not None:
        state.load(saved)
    loss, settings, optim = recipe.loss, recipe.settings, recipe.optim
    mixing, mining = recipe.regularizers.adaptivemix, recipe.regularizers.qua
    pair, augment = recipe.regularizers.pair, recipe.regularizers.augment
    halves = 2 if pair is not None and pair.everywhere else 1  # each counts in full, as released
    draws = _Draws(fabric, recipe, data)
    networks = (state.generator, state.discriminator)

    def render(latents: Tensor, labels: Tensor | None) -> Tensor:
        with fabric.autocast():
            images: Tensor = generator.module(latents, *_given(labels))
        return images.float()

    def look(images: Tensor, labels: Tensor | None, mix: Any = None) -> Judged:
        parts = (len(images) // halves,) * halves
        with fabric.autocast():
            judged: Judged = judge.module(images, labels, mix, parts)
        return judged._replace(logits=judged.logits.float())

    snapshot(start)  # of one that goes on, what its end may have cut off
    for step in range(start, recipe.steps):
        for group, rate in zip(
            (generator_optimizer, optimizer), optim.rates(step, recipe.steps), strict=True
        ):
            for parameters in group.param_groups:
                parameters["lr"] = rate
        values: dict[str, Tensor] = {}

        # The discriminator, some steps.
        judge.requires_grad_(True)
        for number in range(
            step * optim.discriminator_steps, (step + 1) * optim.discriminator_steps
        ):
            real, labels = draws.real(number)
            latents = draws.latents("latents", number, len(real))
            if pair is not None and pair.everywhere:  # both halves of a pair are judged
                partners = pair.partner(
                    latents, labels, generator=render, networks=networks,
                    rng=draws.rng("pairs", number), prior=draws.prior,
                )  # fmt: skip
                latents, real = torch.cat([latents, partners]), torch.cat([real, real])
                labels = None if labels is None else torch.cat([labels, labels])

            def seen(images: Tensor, what: str, at: int = number) -> Tensor:
                return images if augment is None else augment(images, draws.rng(what, at))

            if mining is not None:
                latents = mining.mine(
                    latents,
                    labels,
                    generator=render,
                    judge=lambda images, classes: look(seen(images, "mined"), classes).logits,
                    networks=networks,
                )
            with torch.no_grad():
                fake = generator(latents, *_given(labels)).float()
            count = len(real)
            images = seen(torch.cat([real, fake]), "augmented")
            both = None if labels is None else torch.cat([labels, labels])
            mix = None
            if mixing is not None:
                mix = mixing.draw(count, count, draws.rng("mix", number), fabric.device)
            judged = judge(images, both, mix, (count // halves,) * 2 * halves)
            real_logits, fake_logits = judged.logits.split(len(judged.logits) // 2)
            total = loss.discriminator(real_logits, fake_logits)
            values |= {
                "loss_discriminator": total,
                "real_logit": real_logits.mean(),
                "fake_logit": fake_logits.mean(),
            }
            if judged.classes is not None and both is not None:
                values["classes_discriminator"] = F.cross_entropy(judged.classes, both)
                total = total + values["classes_discriminator"]
            if mixing is not None and mix is not None and judged.mixed_features is not None:
                values["adaptivemix_discriminator"] = mixing.loss(
                    judged.features, judged.mixed_features, mix, draws.rng("noise", number)
                )
                total = total + values["adaptivemix_discriminator"]
            if settings.gradient_penalty:
                values["gradient_penalty"] = gradient_penalty(
                    _logits(judge), images[:count], images[count:], labels,
                    weight=settings.gradient_penalty, rng=draws.rng("penalty", number),
                )  # fmt: skip
                total = total + values["gradient_penalty"]
            if settings.div_weight:
                values["divergence_penalty"] = divergence_penalty(
                    _logits(judge), images[:count], images[count:], labels,
                    weight=settings.div_weight, power=settings.div_power,
                    rng=draws.rng("penalty", number),
                )  # fmt: skip
                total = total + values["divergence_penalty"]
            if settings.r1 and number % settings.r1_every == 0:
                values["r1"] = settings.r1_every * r1_penalty(
                    _logits(judge), images[:count], labels, gamma=settings.r1
                )
                total = total + values["r1"]
            optimizer.zero_grad()
            fabric.backward(halves * total)
            optimizer.step()
            if settings.clip:
                clip_weights(state.discriminator, settings.clip)

        # The generator, some steps; the discriminator holds still.
        judge.requires_grad_(False)
        for number in range(step * optim.generator_steps, (step + 1) * optim.generator_steps):
            count = recipe.batch // fabric.world_size * optim.generator_batch
            latents = draws.latents("generator latents", number, count)
            labels = draws.labels(number, count)
            if pair is not None:
                partners = pair.partner(
                    latents, labels, generator=render, networks=networks,
                    rng=draws.rng("generator pairs", number), prior=draws.prior,
                )  # fmt: skip
            if pair is not None and pair.everywhere:  # both halves are judged
                fake = generator(torch.cat([latents, partners]), *_given(labels, labels)).float()
                one, other = fake.chunk(2)
                labels = None if labels is None else torch.cat([labels, labels])
            else:
                fake = one = generator(latents, *_given(labels)).float()
                if pair is not None:
                    with buffers_kept(state.generator):
                        other = generator(partners, *_given(labels)).float()
            images = (
                fake if augment is None else augment(fake, draws.rng("generator augmented", number))
            )
            mix = None
            if mixing is not None and mixing.generator_step:
                mix = mixing.draw(0, len(images), draws.rng("generator mix", number), fabric.device)
            judged = look(images, labels, mix)
            values["loss_generator"] = total = loss.generator(judged.logits)
            if judged.classes is not None and labels is not None:
                values["classes_generator"] = F.cross_entropy(judged.classes, labels)
                total = total + values["classes_generator"]
            if mixing is not None and mix is not None and judged.mixed_features is not None:
                noise = draws.rng("generator noise", number)
                values["adaptivemix_generator"] = mixing.loss(
                    judged.features, judged.mixed_features, mix, noise
                )
                total = total + values["adaptivemix_generator"]
            if pair is not None:
                values["pair"] = pair.loss(one, other, latents, partners)
                total = halves * total + values["pair"]
            generator_optimizer.zero_grad()
            fabric.backward(total)
            generator_optimizer.step()
        update_average(state.average, state.generator, decay=optim.ema, step=step)

        # Whether it goes on: all ranks decide alike.
        taken = step + 1
        halted = _any(fabric, stopped())
        due = halted or is_snapshot(taken) or taken == recipe.steps
        values = {name: value.detach() for name, value in values.items()}
        if due or fabric.device.type == "cpu" or taken % _LOOKED_EVERY == 0:
            broken = _not_finite(values) or ("" if not due or state.is_finite() else "a weight")
            if _any(fabric, bool(broken)):
                what = broken or "a value on another device"
                return Ending("diverged", taken, f"at step {taken:,} {what} was no longer finite")
        after_step(taken, values)
        if due:
            snapshot(taken)
        if halted and taken < recipe.steps:
            return Ending("interrupted", taken)
    return Ending("finished", recipe.steps)


class _Draws:
    """What one rank takes of what a step draws."""

    def __init__(self, fabric: "Fabric", recipe: Recipe, data: TrainingData) -> None:
        self._device, self._world, self._rank = fabric.device, fabric.world_size, fabric.global_rank
        self._recipe, self._data = recipe, data
        self._batches = Batches(len(data), recipe.batch, recipe.seed)
        self._shape = recipe.latent_shape

    def rng(self, purpose: str, number: int) -> torch.Generator:
        return stream(self._recipe.seed, purpose, number, self._rank)

    def prior(self, count: int, rng: torch.Generator) -> Tensor:
        return draw_latents(rng, count, self._shape, self._recipe.prior).to(self._device)

    def real(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Images [n, ...] and labels [n] of the batch of this number."""
        indices = self._batches.indices(number, self._world, self._rank)
        mirror = self.rng("mirror", number) if self._recipe.mirror else None
        images = self._data.batch(indices, mirror=mirror, device=self._device)
        return images, self._classes(indices)

    def latents(self, purpose: str, number: int, count: int) -> Tensor:
        """[count, *latent_shape]: this rank's rows of what all ranks draw together."""
        rows = slice(self._rank * count, (self._rank + 1) * count)
        return self.prior(count * self._world, stream(self._recipe.seed, purpose, number))[rows]

    def labels(self, number: int, count: int) -> Tensor | None:
        """[count] labels as frequent as in the data; None: the networks take none."""
        rng = self.rng("labels", number)
        return self._classes(torch.randint(len(self._data), (count,), generator=rng))

    def _classes(self, indices: Tensor) -> Tensor | None:
        if not self._recipe.conditional:
            return None
        assert self._data.labels is not None
        return self._data.labels[indices].to(self._device)


def _given(*labels: Tensor | None) -> tuple[Tensor, ...]:
    """Labels as a network takes them: at the end of its arguments, or not at all."""
    present = [some for some in labels if some is not None]
    return (torch.cat(present),) if present else ()


def _logits(judge: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    def logits(images: Tensor, labels: Tensor | None) -> Tensor:
        found: Tensor = judge(images, labels).logits
        return found

    return logits


def _not_finite(values: Mapping[str, Tensor]) -> str:
    """The name of a value that is NaN or infinite; empty: none is."""
    return next((name for name, value in values.items() if not bool(torch.isfinite(value))), "")


def _any(fabric: "Fabric", here: bool) -> bool:
    """Whether it is so on any rank."""
    if fabric.world_size == 1:
        return here
    flag = torch.tensor(float(here), device=fabric.device)
    found: Any = fabric.all_reduce(flag, reduce_op="max")
    return float(found) > 0
