"""How the first StyleGAN makes images of styles.

Karras, Laine, Aila (2019), figure 1b and section 2: a constant is convolved, and after each
layer noise is added, features are normalised per image and channel, and a style scales and
shifts them (equation 1, AdaIN).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks.growing import HE_GAIN, Growth, ScaledConv, ScaledLinear, ToImage
from ganaudit.networks.resampling import upfirdn
from ganaudit.networks.style_layers import MAX_TAPS, check_number, unit_second_moment


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What every layer of the synthesis has, or lacks."""

    dlatent_size: int
    slope: float
    use_wscale: bool
    use_noise: bool
    use_styles: bool
    use_pixel_norm: bool
    use_instance_norm: bool
    blur: tuple[float, ...] | None


class Synthesis(nn.Module):
    """Styles in, images out: two layers in each resolution."""

    def __init__(
        self,
        *,
        widths: Sequence[int],
        channels: int,
        const: bool,
        growth: Growth,
        last_only: bool,
        parts: Parts,
    ) -> None:
        """Makes the layers, `widths` features in each resolution from 4x4 up.

        `const`: begin with a constant, not with the style; `last_only`: only the last layer can
        be shown.
        """
        super().__init__()
        self.growth, self.use_styles = growth, parts.use_styles
        self.num_styles = 2 * len(widths) if parts.use_styles else 1
        self.begins_const = const
        scaled = parts.use_wscale
        if const:
            self.const = nn.Parameter(torch.ones(widths[0], 4, 4))
        else:
            self.dense = ScaledLinear(
                parts.dlatent_size, widths[0] * 16, gain=HE_GAIN / 4, use_wscale=scaled
            )
        self.sizes = [4 << index for index in range(len(widths))]
        for index, (size, width) in enumerate(zip(self.sizes, widths, strict=True)):
            up = None
            if index > 0:
                up = ScaledConv(widths[index - 1], width, 3, use_wscale=scaled, up=True)
            same = ScaledConv(width, width, 3, use_wscale=scaled)
            self.add_module(f"b{size}_0", Layer(up, width, size, parts))
            self.add_module(f"b{size}_1", Layer(same, width, size, parts))
            if size == self.sizes[-1] or not last_only:
                self.add_module(f"torgb{size}", ToImage(width, channels, use_wscale=scaled))

    def layers(self) -> list["Layer"]:
        """The layers that are used, in the order in which they run."""
        names = [f"b{size}_{half}" for size in self.sizes for half in (0, 1)]
        found = [self.get_submodule(name) for name in names[: 2 * self.growth.blocks]]
        return [layer for layer in found if isinstance(layer, Layer)]

    def forward(self, styles: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """Images [N, C, H, W] for styles [N, num_styles, dlatent_size].

        `noise` has an entry for each of `layers`: [N, 1, R, R], [R, R] or None.
        """
        features, before = self._first(styles[:, 0]), None
        for index, layer in enumerate(self.layers()):
            if index % 2 == 0:
                before = features
            style = styles[:, index] if self.use_styles else None
            features = layer(features, style, noise[index])
        last = self.growth.blocks - 1
        finest = self.get_submodule(f"torgb{self.sizes[last]}")(features)
        coarser = None
        if self.growth.share:
            coarser = self.get_submodule(f"torgb{self.sizes[last - 1]}")(before)
        return self.growth.images(finest, coarser)

    def _first(self, styles: Tensor) -> Tensor:
        if self.begins_const:
            constant: Tensor = self.const
            return constant.expand(styles.shape[0], -1, -1, -1)
        features: Tensor = self.dense(styles)
        return features.view(features.shape[0], -1, 4, 4)


class Layer(nn.Module):
    """A convolution, if any, and all that follows it."""

    noise_const: Tensor

    def __init__(self, conv: ScaledConv | None, width: int, size: int, parts: Parts) -> None:
        """Makes the layer, which returns `width` features of `size` x `size` pixels."""
        super().__init__()
        self.size, self.parts, self.conv = size, parts, conv
        self.bias = nn.Parameter(torch.zeros(width))
        if parts.use_noise:
            self.register_buffer("noise_const", torch.randn(size, size))
            self.noise_strength = nn.Parameter(torch.zeros(width))
        if parts.use_styles:
            self.style = ScaledLinear(
                parts.dlatent_size, 2 * width, gain=1, use_wscale=parts.use_wscale
            )
            self.style_bias = nn.Parameter(torch.zeros(2 * width))

    def forward(self, features: Tensor, style: Tensor | None, noise: Tensor | None) -> Tensor:
        """[N, width, size, size] for features of this size, or of half of it."""
        if self.conv is not None:
            features = self.conv(features)
            if self.conv.up and self.parts.blur is not None:
                features = _blurred(features, self.parts.blur)
        if noise is not None:
            features = features + noise * self.noise_strength[:, None, None]
        features = F.leaky_relu(features + self.bias[:, None, None], self.parts.slope)
        if self.parts.use_pixel_norm:
            features = unit_second_moment(features)
        if self.parts.use_instance_norm:
            features = _standardized(features)
        if style is None:
            return features
        scale, shift = (self.style(style) + self.style_bias)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, features, scale + 1)


def _standardized(features: Tensor) -> Tensor:
    # Each channel of each image to mean 0 and variance 1.
    centred = features - features.mean(dim=(2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()


def _blurred(features: Tensor, taps: Sequence[float]) -> Tensor:
    kernel = torch.tensor(taps, device=features.device)
    before = (len(taps) - 1) // 2
    after = len(taps) - 1 - before
    padding = (before, after, before, after)
    return upfirdn(features, kernel / math.fsum(taps), padding=padding, flip=True)


def checked_taps(taps: object) -> tuple[float, ...] | None:
    """A blur filter as numbers; None: there is none.

    Raises:
      ValueError: not 1 to 64 numbers of a sum other than 0.
    """
    if taps is None:
        return None
    if not isinstance(taps, list | tuple) or not 1 <= len(taps) <= MAX_TAPS:
        raise ValueError(f"blur_filter must be 1 to {MAX_TAPS} numbers, got {taps!r:.80}")
    numbers = tuple(float(check_number("blur_filter's", tap, -1e6, 1e6)) for tap in taps)
    if not math.fsum(numbers):
        raise ValueError("blur_filter must have a sum other than 0")
    return numbers
