"""What both generators of progressive growing, PGGAN and StyleGAN, are made of.

Karras, Aila, Laine, Lehtinen (2018): layers are added during training until the image has its
full size; "lod" says how far there is to go (section 2 and figure 2). Weights are stored with
unit variance and scaled at every use (section 4.1).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks.style_layers import check_number
from ganaudit.networks.stylegan2 import MAX_CHANNELS

HE_GAIN = math.sqrt(2)
MAX_FMAP_BASE = 1 << 24
MAX_IMAGE_CHANNELS = 16


class ScaledLinear(nn.Module):
    """A fully connected layer without bias."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        gain: float,
        use_wscale: bool,
        lr_multiplier: float = 1.0,
    ) -> None:
        """Makes the layer; the stored weights take effect times `scale`."""
        super().__init__()
        spread = gain / math.sqrt(inputs)
        self.scale = lr_multiplier * (spread if use_wscale else 1)
        initial = (1 if use_wscale else spread) / lr_multiplier
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * initial)

    def forward(self, features: Tensor) -> Tensor:
        """[N, outputs] for features [N, inputs]."""
        return F.linear(features, self.weight * self.scale)


class ScaledConv(nn.Module):
    """A convolution without bias that keeps the size, or first repeats every pixel in 2 x 2."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        use_wscale: bool,
        gain: float = HE_GAIN,
        up: bool = False,
    ) -> None:
        """Makes the layer with `size` x `size` kernels, `size` odd, 3 with `up`."""
        super().__init__()
        spread = gain / math.sqrt(inputs * size**2)
        self.scale, self.up = (spread if use_wscale else 1.0), up
        initial = 1 if use_wscale else spread
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size) * initial)

    def forward(self, features: Tensor) -> Tensor:
        """[N, outputs, H', W'] for features [N, inputs, H, W]; H' = H, or 2 H with `up`."""
        weight = self.weight * self.scale
        if self.up:
            return repeated_conv(features, weight)
        return F.conv2d(features, weight, padding=weight.shape[-1] // 2)


class ToImage(nn.Module):
    """A 1x1 convolution to image channels."""

    def __init__(self, inputs: int, channels: int, *, use_wscale: bool) -> None:
        """Makes the layer."""
        super().__init__()
        self.conv = ScaledConv(inputs, channels, 1, use_wscale=use_wscale, gain=1)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """[N, channels, H, W] for features [N, inputs, H, W]."""
        images: Tensor = self.conv(features)
        return images + self.bias[:, None, None]


class Growth:
    """How far a network has grown, and the images that it makes there.

    Attributes:
      blocks: resolutions from 4x4 up that are used, of all that there are.
    """

    def __init__(self, resolution: int, lod: float) -> None:
        """Levels between `lod` and the full `resolution`: 0 = fully grown, 4x4 = the most.

        Raises:
          ValueError: `lod` out of its bounds.
        """
        most = resolution.bit_length() - 3
        check_number("lod", lod, 0, most)
        self.factor = 1 << int(lod)
        self.share = lod - int(lod)
        self.blocks = most + 1 - int(lod)

    def images(self, finest: Tensor, coarser: Tensor | None) -> Tensor:
        """Images of full resolution from those of the finest block used and of the one before.

        Args:
          finest: [N, C, R, R].
          coarser: [N, C, R / 2, R / 2], needed while the finest block is blended in.
        """
        if self.share:
            assert coarser is not None
            finest = torch.lerp(finest, repeated(coarser, 2), self.share)
        return repeated(finest, self.factor)


def repeated(images: Tensor, factor: int) -> Tensor:
    """[N, C, H, W] with every pixel repeated in `factor` x `factor`."""
    return images if factor == 1 else F.interpolate(images, scale_factor=factor, mode="nearest")


def repeated_conv(features: Tensor, weight: Tensor) -> Tensor:
    """`conv2d(repeated(features, 2), weight, padding=1)`, at less than half the cost.

    A pixel and its copies meet sums of neighbouring weights: 16 products at each position of
    the small image instead of 36.

    Args:
      features: [N, I, H, W] float.
      weight: [O, I, 3, 3] float.

    Returns:
      [N, O, 2 H, 2 W].
    """
    spread = F.pad(weight.flip((2, 3)), (1, 1, 1, 1))  # [O, I, 5, 5]
    spread = spread[:, :, 1:] + spread[:, :, :-1]
    spread = spread[:, :, :, 1:] + spread[:, :, :, :-1]  # [O, I, 4, 4]
    return F.conv_transpose2d(features, spread.transpose(0, 1), stride=2, padding=1)


def feature_maps(stage: int, fmap_base: float, fmap_decay: float, fmap_max: int) -> int:
    """Features of a layer of 2 ** (stage + 1) pixels in each direction.

    Raises:
      ValueError: there would be none, or too many.
    """
    features = min(int(fmap_base / 2.0 ** (stage * fmap_decay)), fmap_max)
    if not 1 <= features <= MAX_CHANNELS:
        raise ValueError(
            f"fmap_base, fmap_decay and fmap_max must give each layer 1 to {MAX_CHANNELS} "
            f"features, got {features}"
        )
    return features
