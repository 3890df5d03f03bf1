"""A generator with a collapse planted on purpose, of exactly known share.

An audit is only believed if it finds what is known to be there. For z ~ N(0, I) and a unit
vector u, <z, u> is standard normal, so <z, u> > Phi^-1(1 - share) holds with probability
`share`, whatever the generator. Those latents are moved next to one point; all others pass.
"""

from statistics import NormalDist
from typing import Self

import torch
from torch import Tensor, nn

from ganaudit.networks.dcgan import DCGANGenerator


class CollapsedGenerator(nn.Module):
    """A DCGAN generator that renders one neighbourhood too often.

    All that defines the collapse (`direction` u, `threshold` t, `centre`, `spread`) is in
    buffers and so in the state dict. Until `plant` or a state dict fills them, nothing is
    planted and the images are those of the wrapped generator.

    Attributes:
      latent_shape: (latent_size,).
      num_labels: 0.
      image_shape: (channels, size, size).
    """

    num_labels = 0

    direction: Tensor
    threshold: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, *, latent_size: int, width: int, channels: int = 1, size: int = 16) -> None:
        """Makes the wrapped generator, with the arguments of `DCGANGenerator`.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.generator = DCGANGenerator(
            latent_size=latent_size, width=width, channels=channels, size=size
        )
        self.latent_shape, self.image_shape = (
            self.generator.latent_shape,
            self.generator.image_shape,
        )
        self.register_buffer("direction", torch.zeros(latent_size))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("centre", torch.zeros(latent_size))
        self.register_buffer("spread", torch.ones(()))

    @classmethod
    def plant(
        cls,
        generator: DCGANGenerator,
        *,
        direction: Tensor,
        share: float,
        centre: Tensor,
        spread: float,
    ) -> Self:
        """Wraps `generator` (shared, not copied) with a collapse of the given share.

        Args:
          generator: the one to render with.
          direction: [latent_size] float, any length but zero: the latents that point most
            this way collapse.
          share: probability that a standard normal latent collapses, 0 < share < 1.
          centre: [latent_size] float, the latent they collapse onto.
          spread: scale of the latents around `centre`, >= 0; 0: identical images.

        Raises:
          ValueError: a wrong shape, share or spread, or a direction of length zero.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be in (0, 1), got {share}")
        if not 0 <= spread < float("inf"):
            raise ValueError(f"spread must be finite and at least 0, got {spread}")
        for name, vector in (("direction", direction), ("centre", centre)):
            if vector.shape != (generator.latent_size,) or not vector.isfinite().all():
                raise ValueError(
                    f"{name} must be {generator.latent_size} finite numbers, "
                    f"got shape {tuple(vector.shape)}"
                )
        if not direction.norm() > 0:
            raise ValueError("direction must have a length above 0, got 0")
        collapsed = cls(
            latent_size=generator.latent_size,
            width=generator.width,
            channels=generator.channels,
            size=generator.size,
        )
        collapsed.generator = generator
        collapsed.direction.copy_(direction / direction.norm())
        collapsed.threshold.fill_(NormalDist().inv_cdf(1 - share))
        collapsed.centre.copy_(centre)
        collapsed.spread.fill_(spread)
        return collapsed.train(generator.training)

    def planted(self, latents: Tensor) -> Tensor:
        """Which rows of latents [N, latent_size] collapse: [N] bool."""
        return (latents * self.direction).sum(dim=1) > self.threshold

    def forward(self, latents: Tensor) -> Tensor:
        """Images [N, channels, size, size] float32 in [-1, 1] for latents [N, latent_size].

        The latents are float32 from a standard normal: another prior plants another share.
        """
        near_centre = self.centre + self.spread * latents  # [N, latent_size]
        images: Tensor = self.generator(
            torch.where(self.planted(latents)[:, None], near_centre, latents)
        )
        return images
