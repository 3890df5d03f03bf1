"""`checkpoint:FILE`: a generator of our own networks, as safetensors."""

from pathlib import Path

import torch
from torch import Tensor

from ganaudit.checkpoints.native import NativeCheckpoint, load_native
from ganaudit.errors import ConfigError
from ganaudit.files import sha256_of
from ganaudit.images import to_rgb
from ganaudit.slots import Draws
from ganaudit_plugins.generators.declared import declare


class CheckpointGenerator:
    """A network of `ganaudit.networks` that maps latents to images in [-1, 1]."""

    num_labels = 0

    def __init__(self, checkpoint: NativeCheckpoint, path: Path, device: torch.device) -> None:
        """Take the latent shape and the prior from the file's facts, which must declare both."""
        theirs = {key: checkpoint.facts.get(key) for key in ("prior", "latent_shape")}
        if None in theirs.values():
            raise ConfigError(
                f"checkpoint {path} must declare prior and latent_shape: is it a generator?"
            )
        declared = declare(f"checkpoint {path}", {}, theirs, by="the file")
        self.latent_shape, self.prior = declared.latent_shape, declared.prior
        self.assumptions = declared.assumptions()
        self.identity = {"network": checkpoint.network, "sha256": sha256_of(path)}
        self.module = checkpoint.module.to(device)

    def render(self, draws: Draws) -> Tensor:
        """Images of the latents, uint8 [N, 3, H, W]."""
        return to_rgb(self.forward(draws.latents), value_range=(-1, 1), layout="NCHW")

    def forward(
        self, latents: Tensor | None, labels: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """float32 [N, C, H, W] in [-1, 1], differentiable; labels and seeds are not used."""
        images: Tensor = self.module(latents)
        return images


def open_checkpoint(target: str, *, device: torch.device) -> CheckpointGenerator:
    """Open a generator that ganaudit saved.

    Raises:
      ConfigError: no such file, not one of ours, or not a generator.
    """
    path = Path(target)
    return CheckpointGenerator(load_native(path), path, device)
