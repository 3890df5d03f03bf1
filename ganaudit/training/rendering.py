"""The one door to a generator in training.

On several devices gradients are averaged only for what passes through the wrapped module's
`forward`. So a step that looks into StyleGAN2 (style mixing, path lengths) asks for it here.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganaudit.networks.style_layers import exactly, in_full
from ganaudit.networks.stylegan2 import StyleGAN2Generator


class Rendered(NamedTuple):
    """What a generator makes of N latents.

    Attributes:
      images: [N, ...], images or points.
      path_lengths: [N] float >= 0, derivable; None: they were not asked for.
    """

    images: Tensor
    path_lengths: Tensor | None


class Renderer(nn.Module):
    """A generator with what only StyleGAN2 has: noise, crossed styles, path lengths."""

    def __init__(self, network: nn.Module, *, style_decay: float = 0.995) -> None:
        """`style_decay`: of the running average of styles that truncation moves towards."""
        super().__init__()
        self.network: Any = network
        self.has_styles = isinstance(network, StyleGAN2Generator)
        self.style_decay = style_decay

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        noise: torch.Generator | None = None,
        others: Tensor | None = None,
        first: int = 0,
        paths: torch.Generator | None = None,
    ) -> Rendered:
        """Render latents.

        Args:
          latents: [N, *latent_shape] float32.
          labels: [N] int64, or None.
          noise: draws StyleGAN2's noise, on the device of the latents; None: the network's own
            constants. Of other networks there is none.
          others: [N, z_dim], latents whose styles take over from layer `first`; None: none do.
          first: from 1 to the number of styles, which takes none.
          paths: draws the directions that path lengths are measured in, on the same device.
        """
        if not self.has_styles:
            return Rendered(self.network(latents, *(() if labels is None else (labels,))), None)
        mapping, synthesis = self.network.mapping, self.network.synthesis
        with in_full(latents.device, exact=True):
            styles = mapping(exactly(latents), labels)  # a fabric may have shortened them
        if self.training and mapping.average:
            self._follow(styles)
        styles = mapping.broadcast(styles, synthesis.num_ws, psi=1, cutoff=None)
        if others is not None:
            with in_full(latents.device, exact=True):
                crossed = mapping(exactly(others), labels)[:, None].expand_as(styles)
            styles = torch.cat([styles[:, :first], crossed[:, first:]], dim=1)
        images = synthesis(styles, self._noise(noise, len(latents), styles.dtype))
        lengths = None if paths is None else path_lengths(images, styles, paths)
        return Rendered(images, lengths)

    @torch.no_grad()
    def _follow(self, styles: Tensor) -> None:
        average = self.network.mapping.w_avg
        average.copy_(styles.detach().mean(dim=0).to(average).lerp(average, self.style_decay))

    def _noise(
        self, noise: torch.Generator | None, count: int, dtype: torch.dtype
    ) -> list[Tensor | None]:
        layers = self.network.synthesis.noisy_layers()
        if not layers:
            return [None] * (self.network.synthesis.num_ws - 1)
        if noise is None:
            return [layer.noise_const for layer in layers]
        return [
            torch.randn((count, 1, *shape), generator=noise, device=noise.device, dtype=dtype)
            for shape in self.network.noise_shapes
        ]


def path_lengths(images: Tensor, styles: Tensor, rng: torch.Generator) -> Tensor:
    """How far a random change of an image's pixels moves its styles, [N] float >= 0.

    |J^T y| of J, the derivative of an image by its styles, and y, normal of deviation
    1 / sqrt(H W); the mean of squares over layers.

    Args:
      images: [N, C, H, W] float, made of `styles`.
      styles: [N, layers, w_dim].
      rng: draws y, on their device.

    References:
      Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section
      3.2 and Eq. 4.
    """
    drawn = torch.randn(images.shape, generator=rng, device=rng.device, dtype=torch.float32)
    direction = drawn.to(images) / math.sqrt(images.shape[2] * images.shape[3])
    (slopes,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
    lengths: Tensor = slopes.square().sum(dim=2).mean(dim=1).sqrt()
    return lengths
