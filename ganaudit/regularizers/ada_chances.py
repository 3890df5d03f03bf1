"""Random numbers of ADA: for each change its size, and then whether an image has it at all."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chances:
    """Draws for a batch. They are made in float32 on the CPU, whatever the images are.

    Attributes:
      rng: draws, on the CPU.
      images: N, the number of images.
      p: with which an image has a change; above 1 it is 1.
      dtype: of what is drawn, after it was drawn.
    """

    rng: torch.Generator
    images: int
    p: float
    dtype: torch.dtype

    def uniform(self, *shape: int) -> Tensor:
        """[N, *shape] in [0, 1)."""
        return torch.rand((self.images, *shape), generator=self.rng).to(self.dtype)

    def normal(self, *shape: int) -> Tensor:
        """[N, *shape] of mean 0 and deviation 1."""
        return torch.randn((self.images, *shape), generator=self.rng).to(self.dtype)

    def sometimes(self, drawn: Tensor, usual: float, p: float | None = None) -> Tensor:
        """What was drawn for an image with probability p, or else what is usual.

        Args:
          drawn: [N, ...].
          usual: the value that changes nothing.
          p: probability; None: that of the batch.
        """
        chosen = torch.rand(self.images, generator=self.rng) < (self.p if p is None else p)
        return torch.where(chosen.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, usual)
