"""What one device takes of what a training draws."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganaudit.training.batches import Batches
from ganaudit.training.data import TrainingData
from ganaudit.training.randomness import draw_latents, stream
from ganaudit.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Drawing:
    """Draws of one rank by purpose and place: the number of a part of a batch.

    Attributes:
      part: real images of a part on this device.
    """

    def __init__(self, fabric: "Fabric", recipe: Recipe, data: TrainingData) -> None:
        self._device, self._world, self._rank = fabric.device, fabric.world_size, fabric.global_rank
        self._recipe, self._data = recipe, data
        self._batches = Batches(len(data), recipe.batch, recipe.seed)
        self.part = recipe.batch // (self._world * recipe.parts)

    def rng(self, purpose: str, at: int) -> torch.Generator:
        """Of this rank, on the CPU."""
        return stream(self._recipe.seed, purpose, at, self._rank)

    def near(self, purpose: str, at: int) -> torch.Generator:
        """Of this rank, on the device itself: for many numbers."""
        seed = self.rng(purpose, at).initial_seed()
        return torch.Generator(device=self._device).manual_seed(seed)

    def prior(self, count: int, rng: torch.Generator) -> Tensor:
        """[count, *latent_shape] of the prior."""
        shape = self._recipe.latent_shape
        return draw_latents(rng, count, shape, self._recipe.prior).to(self._device)

    def real(self, at: int) -> tuple[Tensor, Tensor | None]:
        """Images [part, ...] and labels [part] of a part."""
        update, part = divmod(at, self._recipe.parts)
        indices = self._batches.indices(update, self._world, self._rank)
        indices = indices[part * self.part : (part + 1) * self.part]
        mirror = self.rng("mirror", at) if self._recipe.mirror else None
        images = self._data.batch(indices, mirror=mirror, device=self._device)
        return images, self._classes(indices)

    def latents(self, purpose: str, at: int, count: int) -> Tensor:
        """[count, *latent_shape]: this rank's rows of what all ranks draw together."""
        rows = slice(self._rank * count, (self._rank + 1) * count)
        return self.prior(count * self._world, stream(self._recipe.seed, purpose, at))[rows]

    def labels(self, at: int, count: int, purpose: str = "") -> Tensor | None:
        """[count] labels as frequent as in the data; None: the networks take none."""
        rng = self.rng(f"{purpose}labels", at)
        return self._classes(torch.randint(len(self._data), (count,), generator=rng))

    def _classes(self, indices: Tensor) -> Tensor | None:
        if not self._recipe.conditional:
            return None
        assert self._data.labels is not None
        return self._data.labels[indices].to(self._device)
