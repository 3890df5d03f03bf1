"""AdvLatGAN-z: latents are moved until the discriminator takes their images for more real.

For owners of G and D. Before it is rendered, every latent takes sign-gradient steps of the raw
logit, with both networks in eval mode. It is meant for quality and is not built to thin a mode:
what it does to one is measured like that of any calibrator.

References:
  Li et al., "Improving Generative Adversarial Networks via Adversarial Learning in Latent Space",
  NeurIPS 2022, Eq. 5 and Algorithm 1 (-z). Deviations: the ascent is on the raw logit, of which
  every increasing function gives the same signs, without their overflow; `ball` bounds the whole
  move in l_inf, which the paper's text does and its code does not (None: no bound but the steps').
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.calibration.crowds import Fitted
from ganaudit.calibration.latents import Space, salted
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.discriminators import Discriminator
from ganaudit.errors import ConfigError
from ganaudit.intervals import Interval
from ganaudit.slots import Draws, Stream, lots_of

# (step, steps) of the papers' experiments: 20 x .05 for CIFAR-10 and STL-10, whatever the model.
# That of the ring, from the paper's first submission, goes 24 standard deviations far.
PRESETS: dict[str, tuple[float, int]] = {
    "cifar10": (0.05, 20),
    "stl10": (0.05, 20),
    "sngan-lsun": (0.01, 100),
    "sngan-celeba": (0.01, 100),
    "wgangp-lsun": (0.002, 100),
    "wgangp-celeba": (0.002, 100),
    "mnist": (0.03, 30),
    "ring": (0.003, 8000),
}
_USUAL = "cifar10"
_ROWS, _VALUES = 32, 3 * 2**22  # that are refined at once, whatever the batch; the fewer of both
_LIMITS = {"uniform": 1.0, "truncated": 2.0}  # of a coordinate, under a bounded prior
_SPREADS = {"uniform": 3**-0.5, "truncated": 0.8796}  # its standard deviation; else 1


class Differentiable(Protocol):
    """A generator whose images can be derived by its latents."""

    def forward(self, latents: Tensor, labels: Tensor | None, seeds: Tensor | None) -> Tensor:
        """Native images float [N, C, H, W]."""
        ...


def fit(
    space: Space,
    *,
    discriminator: dict[str, Any],
    preset: str | None = None,
    attack: str | None = None,
    step: float | None = None,
    steps: int | None = None,
    ball: float | None = None,
    momentum: float | None = None,
) -> Fitted:
    """A refiner; nothing of it is fitted.

    Args:
      space: where the latents live.
      discriminator: {"spec", "options", "identity"}.
      preset: a key of `PRESETS`; None: that of CIFAR-10.
      attack: i-fgsm (None), pgd or mi-fgsm.
      step: instead of the preset's.
      steps: likewise.
      ball: most that a coordinate moves; None: steps * step.
      momentum: of mi-fgsm; None: 1.

    Raises:
      ConfigError: a value cannot be.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(f"--preset must be one of {', '.join(PRESETS)}, got {preset!r:.80}")
    usual_step, usual_steps = PRESETS[preset or _USUAL]
    if momentum is not None and attack != "mi-fgsm":
        raise ConfigError("--momentum belongs to --attack mi-fgsm")
    if attack == "pgd" and ball is None:
        raise ConfigError("--attack pgd starts at a random point of a ball: say --ball")
    settings = {
        "attack": attack or "i-fgsm",
        "step": usual_step if step is None else step,
        "steps": usual_steps if steps is None else steps,
        "ball": ball,
        "momentum": (1.0 if momentum is None else momentum) if attack == "mi-fgsm" else 0.0,
        "discriminator": discriminator,
    }
    try:
        made = LatentRefiner.restore(space, 1, settings, {})
    except ValueError as error:
        raise ConfigError(f"--method advlatgan-z: {error}") from error
    moved = furthest(made)
    spreads = moved / _SPREADS.get(space.prior, 1.0)
    return Fitted(
        calibrator=made,
        modes=[0],
        forecast=None,
        facts={"furthest_move": moved, "preset": preset or _USUAL},
        sentences=[
            f"AdvLatGAN-z moves every coordinate of a latent by up to {moved:g}, {spreads:.2g} "
            f"times its standard deviation ({made.steps} steps of {made.step:g}), towards what the "
            "discriminator takes for real. It is made for quality, not to thin a mode: what it "
            "does to the dense modes cannot be told beforehand.",
            f"Every image costs {made.steps} more passes through both networks, forwards and "
            "backwards.",
        ],
    )


def furthest(refiner: LatentRefiner) -> float:
    """The most that any coordinate moves: steps * step, or the ball; pgd starts all over it."""
    reach = refiner.step * refiner.steps
    if refiner.ball is None:
        return reach
    return refiner.ball if refiner.attack == "pgd" else min(reach, refiner.ball)


def refiner_of(
    refiner: LatentRefiner, source: Any, judge: Discriminator, *, salt: int = 0
) -> Callable[[Draws], Draws]:
    """Draws to draws with refined latents.

    Args:
      refiner: which way.
      source: the generator.
      judge: its discriminator.
      salt: of what is drawn: see `salted`.

    Raises:
      ConfigError: the generator cannot be derived, or has other classes.
    """
    check_differentiable(source)
    classes = getattr(source, "num_labels", 0)
    if judge.num_labels not in (0, classes):
        raise ConfigError(
            f"the discriminator knows {judge.num_labels} classes, the generator {classes}: is it "
            "its own?"
        )

    def change(draws: Draws) -> Draws:
        assert draws.latents is not None
        return replace(
            draws,
            latents=refine(
                refiner,
                draws.latents,
                source=source,
                judge=judge,
                labels=draws.labels,
                seeds=draws.seeds,
                salt=salt,
            ),
        )

    return change


def check_differentiable(source: object) -> None:
    """Refuse a generator without a `forward` that torch can derive.

    Raises:
      ConfigError: it has none.
    """
    forward = getattr(source, "forward", None)
    if not callable(forward):
        raise ConfigError(
            "--method advlatgan-z follows gradients through the generator, which this one does "
            "not give (a checkpoint does, and a module of torch out of python:): use --method "
            "importance"
        )
    try:
        inspect.signature(forward).bind(None, None, None)
    except TypeError as error:
        raise ConfigError(
            "--method advlatgan-z follows gradients through forward(latents, labels, seeds) of a "
            f"generator with its own render, and this one's takes others ({error})"
        ) from error


def refine(
    refiner: LatentRefiner,
    latents: Tensor,
    *,
    source: Differentiable,
    judge: Discriminator,
    labels: Tensor | None = None,
    seeds: Tensor | None = None,
    salt: int = 0,
) -> Tensor:
    """Latents [N, *shape] moved towards a higher logit; row i depends on row i alone.

    Kernels round otherwise for other numbers of rows, and after many steps that is another latent.
    So whatever N is, as many rows are refined at once, the last of them with others of the prior.

    A bounded prior's latents stay within its support. Spherical ones leave the sphere: networks
    with that prior normalise what they are given. G and D are left as they are, buffers too.

    Args:
      refiner: which way.
      latents: [N, *shape] float32.
      source: the generator.
      judge: its discriminator.
      labels: [N] int64; None: unconditional.
      seeds: [N] int64, of layer noise, which is held; they also draw where pgd starts.
      salt: of that start.

    Raises:
      ConfigError: no gradient reaches the latents, it is not finite, or it does not fit the memory.
    """
    with torch.inference_mode(False), torch.enable_grad(), _steady():
        latents = latents.detach().clone()
        labels, seeds = (None if x is None else x.clone() for x in (labels, seeds))
        rows = _rows_at_once(source, latents, labels, seeds)
        others = refiner.space.draw(np.arange(rows), seed=0, stream=Stream.ANCHORS)
        mates = torch.from_numpy(others).to(latents).reshape(rows, *latents.shape[1:])
        found = []
        for first in range(0, len(latents), rows):
            own = slice(first, first + rows)
            moved = _moved(
                refiner,
                torch.cat([latents[own], mates])[:rows],
                source=source,
                judge=judge,
                labels=None if labels is None else _filled(labels[own], rows),
                seeds=None if seeds is None else _filled(seeds[own], rows),
                salt=salt,
            )
            found.append(moved[: len(latents[own])])
        return torch.cat(found)


@torch.no_grad()
def _rows_at_once(
    source: Differentiable, latents: Tensor, labels: Tensor | None, seeds: Tensor | None
) -> int:
    """From the size of an image alone, so that it is the same for every batch."""
    labels, seeds = (None if x is None else x[:1] for x in (labels, seeds))
    return max(1, min(_ROWS, _VALUES // source.forward(latents[:1], labels, seeds).numel()))


def _filled(numbers: Tensor, rows: int) -> Tensor:
    """Labels or seeds of so many rows, the further ones 0: [rows] int64."""
    return torch.cat([numbers, numbers.new_zeros(rows - len(numbers))])


@contextmanager
def _steady() -> Iterator[None]:
    """Kernels that round a row alike each time: no tf32, none chosen by the clock, no atomics.

    The settings of torch are as before at the end.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _moved(
    refiner: LatentRefiner,
    start: Tensor,
    *,
    source: Differentiable,
    judge: Discriminator,
    labels: Tensor | None,
    seeds: Tensor | None,
    salt: int,
) -> Tensor:
    """Latents after all steps."""
    reach = furthest(refiner)
    limit = _LIMITS.get(refiner.space.prior, float("inf"))
    lowest, highest = (start - reach).clamp(min=-limit), (start + reach).clamp(max=limit)
    here = start
    if refiner.attack == "pgd":
        here = (start + _offset(refiner, start, seeds, salt)).clamp(min=lowest, max=highest)
    velocity = torch.zeros_like(start)
    for _ in range(refiner.steps):
        gradient = _gradient(here, source, judge, labels, seeds)
        if refiner.attack == "mi-fgsm":
            length = gradient.abs().flatten(1).sum(dim=1).clamp_min(1e-30)
            unit = gradient / length.view(-1, *[1] * (gradient.ndim - 1))
            gradient = velocity = refiner.momentum * velocity + unit
        here = (here + refiner.step * gradient.sign()).clamp(min=lowest, max=highest)
    return here


def _gradient(
    latents: Tensor,
    source: Differentiable,
    judge: Discriminator,
    labels: Tensor | None,
    seeds: Tensor | None,
) -> Tensor:
    """Of each latent's own logit: rows do not touch each other in eval mode."""
    here = latents.detach().requires_grad_(True)
    found = None
    try:
        logits = judge(source.forward(here, labels, seeds), labels)
        if logits.requires_grad:
            (found,) = torch.autograd.grad(logits.sum(), here, allow_unused=True)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"the gradient through {len(here)} images, as many as are refined at once, does not "
            "fit the device's memory: take --device cpu, or another --method"
        ) from error
    if found is None:
        raise ConfigError(
            "no gradient reaches the latents: the generator or the discriminator detaches them"
        )
    if not bool(torch.isfinite(found).all()):
        raise ConfigError("the gradient of the logit by the latents is not finite")
    return found


def _offset(refiner: LatentRefiner, start: Tensor, seeds: Tensor | None, salt: int) -> Tensor:
    """Uniform in the ball, drawn from each slot's seed."""
    own = np.zeros(len(start), dtype=np.int64) if seeds is None else seeds.cpu().numpy()
    lots = lots_of(salted(own, salt), 0, refiner.space.size)
    offset = (2 * lots - 1) * furthest(refiner)
    return torch.from_numpy(offset).to(start).reshape(start.shape)


def measure(
    refiner: LatentRefiner,
    *,
    source: Any,
    judge: Discriminator,
    draws: Draws,
    batch: int,
    salt: int = 0,
) -> dict[str, Any]:
    """What refinement does to the discriminator's logits of fresh slots, as JSON values.

    "before" and "after" are mean logits with their intervals, "gain" the mean of each slot's own
    difference, "raised" the share of slots whose logit rose, "furthest" the largest move of a
    coordinate.

    Args:
      refiner: which way.
      source: the generator.
      judge: its discriminator.
      draws: of at least two slots, on the device of both.
      batch: slots at once.
      salt: as `refiner_of` takes it.
    """
    before: list[NDArray[np.float64]] = []
    after: list[NDArray[np.float64]] = []
    furthest_move = 0.0
    change = refiner_of(refiner, source, judge, salt=salt)
    for first in range(0, len(draws), batch):
        part = draws[first : first + batch]
        moved = change(part)
        assert part.latents is not None and moved.latents is not None
        furthest_move = max(furthest_move, float((moved.latents - part.latents).abs().max()))
        before.append(_logits(source, judge, part))
        after.append(_logits(source, judge, moved))
    old, new = np.concatenate(before), np.concatenate(after)
    return {
        "before": _mean(old).figures(),
        "after": _mean(new).figures(),
        "gain": _mean(new - old).figures(),
        "raised": float((new > old).mean()),
        "furthest": furthest_move,
        "slots": len(old),
    }


@torch.no_grad()
def _logits(source: Any, judge: Discriminator, draws: Draws) -> NDArray[np.float64]:
    images = source.forward(draws.latents, draws.labels, draws.seeds)
    return np.asarray(judge(images, draws.labels).double().cpu().numpy())


def _mean(values: NDArray[np.float64]) -> Interval:
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, None, None)
    half = 1.96 * float(values.std(ddof=1)) / n**0.5
    return Interval(mean, mean - half, mean + half)
