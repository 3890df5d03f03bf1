"""READ HERE how a model is trained: one function, from top to bottom.

What is random at a step follows from (seed, purpose, place): see `randomness`. Networks, losses and
regularisers are given; what an update minimises is one of `phases`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ganaudit.training.averaging import update_average
from ganaudit.training.data import TrainingData
from ganaudit.training.drawing import Drawing
from ganaudit.training.judging import Judge
from ganaudit.training.losses import clip_weights
from ganaudit.training.phases import Phase, Phases, Values
from ganaudit.training.recipe import Recipe
from ganaudit.training.rendering import Renderer
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
    decay = 0.0 if recipe.styles is None else recipe.styles.average_decay
    renderer, generator_optimizer = fabric.setup(
        Renderer(state.generator, style_decay=decay), state.optimizers[0]
    )
    judge, optimizer = fabric.setup(Judge(state.discriminator), state.optimizers[1])
    state.to(fabric.device)
    if saved is not None:
        state.load(saved)
    settings, optim, styles = recipe.settings, recipe.optim, recipe.styles
    phases = Phases(fabric, recipe, Drawing(fabric, recipe, data), state, renderer, judge)
    learning = [parameter for parameter in judge.parameters() if parameter.requires_grad]

    def update(network: Any, optimizer: Any, phase: Phase, number: int) -> Values:
        """One update of a network, its batch taken part by part; means of what it saw."""
        optimizer.zero_grad()
        means: Values = {}
        for part in range(recipe.parts):
            last = part == recipe.parts - 1
            with fabric.no_backward_sync(network, enabled=not last):
                total, values = phase(number * recipe.parts + part)
                fabric.backward(total / recipe.parts if recipe.parts > 1 else total)
            for name, value in values.items():
                means[name] = means.get(name, 0) + value.detach() / recipe.parts
        optimizer.step()
        return means

    snapshot(start)  # of one that goes on, what its end may have cut off
    for step in range(start, recipe.steps):
        for group, rate in zip((generator_optimizer, optimizer), recipe.rates(step), strict=True):
            for parameters in group.param_groups:
                parameters["lr"] = rate
        values: Values = {}

        # The discriminator, some updates.
        _hold(learning, still=False)
        for number in range(
            step * optim.discriminator_steps, (step + 1) * optim.discriminator_steps
        ):
            values |= update(judge, optimizer, phases.discriminator, number)
            if settings.r1 and settings.r1_every > 1 and number % settings.r1_every == 0:
                values |= update(judge, optimizer, phases.r1, number)
            if settings.clip:
                clip_weights(state.discriminator, settings.clip)

        # The generator, some updates; the discriminator holds still.
        _hold(learning, still=True)
        for number in range(step * optim.generator_steps, (step + 1) * optim.generator_steps):
            values |= update(renderer, generator_optimizer, phases.generator, number)
            if styles is not None and styles.path_length and number % styles.path_every == 0:
                values |= update(renderer, generator_optimizer, phases.path_length, number)

        # What follows them.
        update_average(state.average, state.generator, kept=optim.kept(step, recipe.batch))
        if recipe.regularizers.strength is not None:
            values |= recipe.regularizers.strength.adapt(
                state.numbers, step + 1, shown=recipe.batch * optim.discriminator_steps,
                summed=lambda value: _summed(fabric, value),
            )  # fmt: skip

        # Whether it goes on: all ranks decide alike.
        taken = step + 1
        halted = _any(fabric, stopped())
        due = halted or is_snapshot(taken) or taken == recipe.steps
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


def _summed(fabric: "Fabric", value: Tensor) -> Tensor:
    found: Any = fabric.all_reduce(value, reduce_op="sum")
    return torch.as_tensor(found)


def _hold(parameters: list[torch.nn.Parameter], *, still: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(not still)


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
