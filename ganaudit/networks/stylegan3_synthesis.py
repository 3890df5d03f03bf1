"""The part of StyleGAN3 that makes images: waves, then filtered layers one after another.

Karras et al. (2021), "Alias-Free Generative Adversarial Networks", section 3.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks.style_layers import EqualizedLinear
from ganaudit.networks.stylegan3_filters import filtered_leaky_relu, lowpass_filter
from ganaudit.networks.stylegan3_layout import LayerPlan, Signal


class Synthesis(nn.Module):
    """Intermediate latents, one for each use, to images."""

    def __init__(
        self,
        w_dim: int,
        first: Signal,
        plans: Sequence[LayerPlan],
        *,
        clamp: float | None,
        scale: float,
    ) -> None:
        """Makes the layers; `clamp` bounds what each of them returns, `scale` is a last factor."""
        super().__init__()
        self.input = FourierInput(w_dim, first)
        self.names = [plan.name for plan in plans]
        for plan in plans:
            self.add_module(plan.name, FilteredLayer(w_dim, plan, clamp=clamp))
        self.scale = scale

    def forward(self, uses: Sequence[Tensor]) -> Tensor:
        """[N, C, H, W] for styles [N, w_dim], one for the input and one for each layer."""
        images: Tensor = self.input(uses[0])
        for name, styles in zip(self.names, uses[1:], strict=True):
            images = self.get_submodule(name)(images, styles)
        return images * self.scale


class FourierInput(nn.Module):
    """Sine waves over the plane, turned and shifted by a style (section 3.2)."""

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, signal: Signal) -> None:
        """Draws frequencies and phases; at first every style leaves the waves in their place."""
        super().__init__()
        self.signal = signal
        channels = signal.channels
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(channels, channels)))
        self.affine = EqualizedLinear(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias[0] = 1
        self.register_buffer("transform", torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
        self.register_buffer("freqs", _frequencies(channels, signal.cutoff))
        phases = torch.empty(channels).uniform_(-0.5, 0.5)  # [C] cycles
        self.register_buffer("phases", phases)

    def forward(self, styles: Tensor) -> Tensor:
        """Features [N, C, size, size] for styles [N, w_dim]."""
        signal = self.signal
        placement = self._placement(styles)  # [N, 2, 3]
        freqs = self.freqs @ placement[:, :, :2]  # [N, C, 2]
        phases = self.phases + placement[:, :, 2] @ self.freqs.T  # [N, C]
        # Waves that the placement made finer than the sampling can carry fade out.
        excess = freqs.norm(dim=2) - signal.cutoff  # [N, C]
        amplitudes = (1 - excess / (signal.rate / 2 - signal.cutoff)).clamp(0, 1)
        pixels = torch.arange(signal.size, device=styles.device, dtype=styles.dtype)
        centres = (pixels - (signal.size - 1) / 2) / signal.rate  # [size] images
        across = freqs[:, :, :1] * centres + phases[:, :, None]  # [N, C, size]
        along = freqs[:, :, 1:] * centres  # [N, C, size]
        waves = torch.sin((across[:, :, None, :] + along[:, :, :, None]) * (2 * math.pi))
        waves = waves * amplitudes[:, :, None, None]  # [N, C, size, size]
        mix = self.weight / math.sqrt(signal.channels)
        return F.conv2d(waves, mix[:, :, None, None])

    def _placement(self, styles: Tensor) -> Tensor:
        # The style's rotation after its shift after the buffer's transform: the upper two rows.
        turn_and_shift = self.affine(styles)  # [N, 4]: cosine, sine, x, y before normalisation
        length = turn_and_shift[:, :2].norm(dim=1, keepdim=True)
        cosine, sine, *shift = (turn_and_shift / length).unbind(dim=1)
        rotation = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
        shifted = self.transform[:2] - torch.stack(shift, dim=1)[:, :, None] * self.transform[2]
        return rotation @ shifted  # [N, 2, 3]


class FilteredLayer(nn.Module):
    """A modulated convolution and a filtered leaky ReLU (section 3.2)."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, w_dim: int, plan: LayerPlan, *, clamp: float | None) -> None:
        """Makes the layer and designs its filters."""
        super().__init__()
        self.plan, self.clamp = plan, clamp
        source, result = plan.source, plan.result
        self.affine = EqualizedLinear(w_dim, source.channels, bias=1)
        weight = torch.empty(result.channels, source.channels, plan.kernel, plan.kernel)
        self.weight = nn.Parameter(nn.init.normal_(weight))
        self.bias = nn.Parameter(torch.zeros(result.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.register_buffer("up_filter", _filter(plan.up_taps, source, plan.rate))
        self.register_buffer(
            "down_filter", _filter(plan.down_taps, result, plan.rate, radial=plan.radial)
        )

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        """[N, C, size, size] of the plan's source to that of its result."""
        plan = self.plan
        scales = self.affine(styles)  # [N, C]
        if plan.to_rgb:
            scales = scales / math.sqrt(plan.source.channels)
        gain = self.magnitude_ema.rsqrt()
        images = _modulated(images, self.weight, scales, gain, demodulate=not plan.to_rgb)
        return filtered_leaky_relu(
            images,
            self.bias,
            up_filter=self.up_filter,
            down_filter=self.down_filter,
            up=plan.up,
            down=plan.down,
            padding=plan.padding,
            slope=1 if plan.to_rgb else 0.2,
            gain=1 if plan.to_rgb else math.sqrt(2),
            clamp=self.clamp,
        )


def _modulated(
    images: Tensor, weight: Tensor, scales: Tensor, gain: Tensor, *, demodulate: bool
) -> Tensor:
    # A convolution whose weights are scaled for each image is one whose input and output are:
    # the same up to rounding, and the weights are shared by the batch.
    padding = weight.shape[2] - 1
    if not demodulate:
        return F.conv2d(images * (scales * gain)[:, :, None, None], weight, padding=padding)
    # Both norms cancel in the demodulation but for its 1e-8. The release takes the scales' over
    # the whole batch; here an image depends on itself alone, as there in a batch of one.
    weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
    scales = scales * scales.square().mean(dim=1, keepdim=True).rsqrt()
    energy = scales.square() @ weight.square().sum(dim=(2, 3)).T  # [N, C']
    mixed = F.conv2d(images * (scales * gain)[:, :, None, None], weight, padding=padding)
    return mixed * (energy + 1e-8).rsqrt()[:, :, None, None]


def _frequencies(channels: int, cutoff: float) -> Tensor:
    """[C, (x, y)] cycles per image, uniform over the disc below the cutoff."""
    freqs = nn.init.normal_(torch.empty(channels, 2))
    if freqs.is_meta:  # where arithmetic costs seconds, on its first use, for nothing
        return freqs
    squares = freqs.square().sum(dim=1, keepdim=True)  # [C, 1]; exp(-squares / 2) is uniform
    return freqs * cutoff / (squares.sqrt() * (squares / 4).exp())


def _filter(taps: int, signal: Signal, rate: int, *, radial: bool = False) -> Tensor | None:
    if taps == 1:
        return None
    width = 2 * signal.half_width
    return lowpass_filter(taps, cutoff=signal.cutoff, width=width, rate=rate, radial=radial)
