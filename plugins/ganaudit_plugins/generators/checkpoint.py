"""`checkpoint:FILE`: a generator of our own networks, as safetensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ganaudit.checkpoints.native import NativeCheckpoint, load_native
from ganaudit.errors import ConfigError
from ganaudit.files import sha256_of
from ganaudit.images import to_rgb
from ganaudit.slots import Draws, check_prior

_MOST_LATENTS = 2**20  # values of one latent; a file may claim anything


class CheckpointGenerator:
    """A network of `ganaudit.networks` that maps latents to images in [-1, 1]."""

    num_labels = 0

    def __init__(self, checkpoint: NativeCheckpoint, path: Path, device: torch.device) -> None:
        """Take the latent shape and the prior from the file's facts, which must declare both."""
        self.latent_shape = _latent_shape(path, checkpoint.facts)
        self.prior = check_prior(checkpoint.facts.get("prior"), where=f"checkpoint {path}: ")
        self.identity = {"network": checkpoint.network, "sha256": sha256_of(path)}
        self._module = checkpoint.module.to(device)

    def render(self, draws: Draws) -> Tensor:
        """Images of the latents, uint8 [N, 3, H, W]."""
        return to_rgb(self.forward(draws.latents), value_range=(-1, 1), layout="NCHW")

    def forward(
        self, latents: Tensor | None, labels: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """float32 [N, C, H, W] in [-1, 1], differentiable; labels and seeds are not used."""
        images: Tensor = self._module(latents)
        return images


def open_checkpoint(target: str, *, device: torch.device) -> CheckpointGenerator:
    """Open a generator that ganaudit saved.

    Raises:
      ConfigError: no such file, not one of ours, or not a generator.
    """
    path = Path(target)
    return CheckpointGenerator(load_native(path), path, device)


def _latent_shape(path: Path, facts: Mapping[str, object]) -> tuple[int, ...]:
    shape = facts.get("latent_shape")
    if isinstance(shape, list) and shape and all(type(side) is int and side > 0 for side in shape):
        size = 1
        for side in shape:
            size *= side
        if size <= _MOST_LATENTS:
            return tuple(shape)
    raise ConfigError(f"checkpoint {path} declares no usable latent_shape: is it a generator?")
