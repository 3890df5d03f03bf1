"""Mode seeking: two latents of one condition shall give images as far apart as the latents are.

References:
  Mao et al., "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", CVPR
  2019, Eq. 2. Deviation: the reciprocal of the ratio is minimised, as its code does, where the
  paper maximises the ratio; a distance of 0 between all latents is taken for a tiny one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganaudit.registry import bind
from ganaudit.regularizers.bounds import check_number
from ganaudit.regularizers.searching import Renderer

Prior = Callable[[int, torch.Generator], Tensor]  # (count, rng) -> latents [count, *shape]
_TINY = 1e-5  # of the ratio: the loss is at most 1e5 * weight
LEAST = 1e-8  # distance of latents


def inverse_ratio(
    images: Tensor, partner_images: Tensor, latents: Tensor, partner_latents: Tensor
) -> Tensor:
    """1 / (d_I / d_z + 1e-5), both distances the mean absolute difference over the whole batch.

    Args:
      images: [N, ...] float.
      partner_images: [N, ...].
      latents: [N, ...].
      partner_latents: [N, ...].

    Returns:
      [] float, 0 to 1e5: 1e5 where all images agree, and finite where the latents do too.
    """
    apart = (images - partner_images).abs().mean()
    asked = (latents - partner_latents).abs().mean().clamp_min(LEAST)
    return 1 / (apart / asked + _TINY)


@dataclass(frozen=True, kw_only=True)
class ModeSeeking:
    """What the ratio costs.

    Attributes:
      weight: of the loss.
      everywhere: both latents of a pair are judged too, as in its code; else only the first.
    """

    weight: float = 1.0
    everywhere: bool = True

    def __post_init__(self) -> None:
        check_number("mode-seeking.weight", self.weight, 0, 1e6)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "ModeSeeking":
        """That of `--set mode-seeking.KEY=VALUE`.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        return cls(**bind(cls, options, what="--reg mode-seeking"))

    def partner(
        self,
        latents: Tensor,
        labels: Tensor | None,
        *,
        generator: Renderer,
        networks: Sequence[nn.Module],
        rng: torch.Generator,
        prior: Prior,
    ) -> Tensor:
        """A fresh draw for each latent, [N, *shape]; no network is looked at."""
        return prior(len(latents), rng)

    def loss(
        self, images: Tensor, partner_images: Tensor, latents: Tensor, partner_latents: Tensor
    ) -> Tensor:
        """The weighted loss [] of a batch of pairs, see `inverse_ratio`."""
        return self.weight * inverse_ratio(images, partner_images, latents, partner_latents)
