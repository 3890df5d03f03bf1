"""The generator of progressive growing (PGGAN), grown or still growing.

Karras, Aila, Laine, Lehtinen (2018), "Progressive Growing of GANs for Improved Quality,
Stability, and Variation", table 2 and section 4: 3x3 convolutions, features of every pixel
normalised, images from 1x1 convolutions. Deviation from the authors' code: what it calls
fused_scale is no argument here. Convolving and doubling the size in one step is the same as
repeating pixels and convolving with the kernel turned around, and whoever fills in the weights
turns them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.growing import (
    HE_GAIN,
    MAX_FMAP_BASE,
    MAX_IMAGE_CHANNELS,
    Growth,
    ScaledConv,
    ScaledLinear,
    ToImage,
    feature_maps,
)
from ganaudit.networks.style_layers import MAX_FEATURES, MAX_LABELS, check_flag, check_number
from ganaudit.networks.stylegan2 import MAX_SIZE, check_power_of_two


class PGGANGenerator(nn.Module):
    """Latents and labels in, images out.

    Attributes:
      latent_shape: shape of a latent, (latent_size,).
      num_labels: number of classes, 0: unconditional.
      image_shape: (channels, height, width).
    """

    def __init__(
        self,
        *,
        resolution: int,
        num_channels: int,
        label_size: int = 0,
        latent_size: int | None = None,
        fmap_base: float = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        normalize_latents: bool = True,
        use_wscale: bool = True,
        use_pixelnorm: bool = True,
        pixelnorm_epsilon: float = 1e-8,
        use_leakyrelu: bool = True,
        lod: float = 0.0,
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          resolution: height and width of an image, pixels: a power of two, 4 to 2048.
          num_channels: 1 (grey), 3 (RGB), up to 16.
          label_size: number of classes, 0 (unconditional) to 100000.
          latent_size: length of a latent, 1 to 16384; None: min(fmap_base, fmap_max).
          fmap_base: a layer of resolution R has fmap_base / (R / 2) ** fmap_decay features, ...
          fmap_decay: 0 to 8.
          fmap_max: ... but never more than this, 1 to 8192.
          normalize_latents: whether latents, with their labels, get a mean square of 1.
          use_wscale: whether weights are stored with unit variance.
          use_pixelnorm: whether features of each pixel get a mean square of 1 in every layer.
          pixelnorm_epsilon: added to these mean squares, 0 to 1.
          use_leakyrelu: slope 0.2 below 0; otherwise 0.
          lod: resolutions, in powers of two, that had not grown yet, 0 to all but 4x4; a
            fraction blends two.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_power_of_two("resolution", resolution, 4, MAX_SIZE)
        check_size("num_channels", num_channels, 1, MAX_IMAGE_CHANNELS)
        check_size("label_size", label_size, 0, MAX_LABELS)
        check_number("fmap_base", fmap_base, 1, MAX_FMAP_BASE)
        check_number("fmap_decay", fmap_decay, 0, 8)
        check_size("fmap_max", fmap_max, 1, MAX_FEATURES)
        if latent_size is None:
            latent_size = feature_maps(0, fmap_base, fmap_decay, fmap_max)
        check_size("latent_size", latent_size, 1, MAX_FEATURES)
        self.epsilon = check_number("pixelnorm_epsilon", pixelnorm_epsilon, 0, 1)
        self.normalize_latents = check_flag("normalize_latents", normalize_latents)
        check_flag("use_wscale", use_wscale)
        slope = 0.2 if check_flag("use_leakyrelu", use_leakyrelu) else 0.0
        epsilon = self.epsilon if check_flag("use_pixelnorm", use_pixelnorm) else None
        self.growth = Growth(resolution, lod)
        before = latent_size + label_size
        self.sizes = [1 << level for level in range(2, resolution.bit_length())]
        for stage, size in enumerate(self.sizes, start=1):
            after = feature_maps(stage, fmap_base, fmap_decay, fmap_max)
            block = _Block(before, after, size, slope, epsilon, use_wscale)
            self.add_module(f"b{size}", block)
            self.add_module(f"torgb{size}", ToImage(after, num_channels, use_wscale=use_wscale))
            before = after
        self.latent_shape: tuple[int, ...] = (latent_size,)
        self.num_labels = label_size
        self.image_shape = (num_channels, resolution, resolution)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] float32, nominally in [-1, 1], not clamped.

        Args:
          latents: [N, latent_size] float32, standard normal.
          labels: [N] int64, classes from 0; None if and only if there are none.

        Raises:
          ValueError: labels missing or unasked for, or latents of a wrong shape.
        """
        if latents.ndim != 2 or latents.shape[1:] != self.latent_shape:
            raise ValueError(f"latents must be [N, {self.latent_shape[0]}], got {latents.shape}")
        if (labels is None) != (self.num_labels == 0):
            raise ValueError(f"this network takes labels of {self.num_labels} classes (0: none)")
        features = latents
        if labels is not None:
            features = torch.cat([latents, F.one_hot(labels, self.num_labels).to(latents)], dim=1)
        if self.normalize_latents:
            features = _normalized(features, self.epsilon)
        used = self.sizes[: self.growth.blocks]
        before = features
        for size in used:
            before, features = features, self.get_submodule(f"b{size}")(features)
        finest = self.get_submodule(f"torgb{used[-1]}")(features)
        coarser = self.get_submodule(f"torgb{used[-2]}")(before) if self.growth.share else None
        return self.growth.images(finest, coarser)


class _Block(nn.Module):
    """All layers of one resolution: the first begins with a fully connected one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        slope: float,
        epsilon: float | None,
        use_wscale: bool,
    ) -> None:
        super().__init__()
        self.slope, self.epsilon = slope, epsilon
        if size == 4:
            # The authors' gain, after their first implementation.
            self.layer0: nn.Module = ScaledLinear(
                inputs, outputs * 16, gain=HE_GAIN / 4, use_wscale=use_wscale
            )
        else:
            self.layer0 = ScaledConv(inputs, outputs, 3, use_wscale=use_wscale, up=True)
        self.bias0 = nn.Parameter(torch.zeros(outputs))
        self.layer1 = ScaledConv(outputs, outputs, 3, use_wscale=use_wscale)
        self.bias1 = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        features = self.layer0(features)
        if features.ndim == 2:
            features = features.unflatten(1, (-1, 4, 4))
        features = self._finished(features, self.bias0)
        return self._finished(self.layer1(features), self.bias1)

    def _finished(self, features: Tensor, bias: Tensor) -> Tensor:
        features = F.leaky_relu(features + bias[:, None, None], self.slope)
        return features if self.epsilon is None else _normalized(features, self.epsilon)


def _normalized(features: Tensor, epsilon: float) -> Tensor:
    # Pixelwise feature normalisation, section 4.2 of the paper.
    return features * (features.square().mean(dim=1, keepdim=True) + epsilon).rsqrt()
