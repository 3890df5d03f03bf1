"""Latents that are moved by the signs of a gradient: what both AdvLatGAN regularisers do."""

from collections.abc import Callable

import torch
from torch import Tensor

Renderer = Callable[[Tensor, Tensor | None], Tensor]  # (latents, labels) -> images
Look = Callable[[Tensor, Tensor | None], Tensor]  # (images, labels) -> logits [N]


def ascended(
    start: Tensor,
    height: Callable[[Tensor], Tensor],
    *,
    step: float,
    steps: int,
    radius: float | None = None,
) -> Tensor:
    """Latents after sign-gradient steps (I-FGSM) up `height`; no other gradient is computed.

    z <- clip(z + step * sign(d height / dz), start - radius, start + radius). No coordinate ends
    further than steps * step from its start. A step of 0, or none, leaves `start` itself.

    Args:
      start: [N, *shape] float; not changed.
      height: latents [N, *shape] to the number [] that shall rise.
      step: of a coordinate, >= 0.
      steps: how many, >= 0.
      radius: the furthest that a coordinate may go; None: as far as its steps go.

    Returns:
      [N, *shape] of the same type, detached.
    """
    start = start.detach()
    here = start
    if step == 0:
        return here
    with torch.enable_grad():
        for _ in range(steps):
            latents = here.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(height(latents), latents)
            here = here + step * gradient.sign()
            if radius is not None:  # the ball is around the start, not around the last place
                here = here.clamp(min=start - radius, max=start + radius)
    return here
