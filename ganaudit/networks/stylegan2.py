"""The generator of StyleGAN2, as NVIDIA's PyTorch checkpoints hold it.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila (2020), configurations E and F: a constant
4x4 input, convolutions whose weights are scaled by styles and then normalised (equations 1
and 3, section 2.2), noise and an image assembled over the resolutions. Deviation from the
authors' code: styles and norms scale features before and after one shared convolution,
which the paper gives as equivalent, rather than each image's own copy of the weights.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.style_layers import (
    ACTIVATIONS,
    EqualizedConv,
    EqualizedLinear,
    StyleMapping,
    Taps,
    activate,
    check_choice,
    check_flag,
    check_number,
    convolve,
    halves,
    in_full,
    is_mixed,
    low_pass,
    upsample,
)

Noise: TypeAlias = Literal["const", "none"] | Sequence[Tensor]

ARCHITECTURES = ("orig", "skip", "resnet")
MAX_SIZE = 2048
MAX_CHANNELS = 8192  # of a layer
MAX_CHANNEL_BASE = 1 << 22
MAX_IMAGE_CHANNELS = 16
MAX_CLAMP = 1e6
_LEAST = 1e-8  # of the largest weight or style


class StyledConv(nn.Module):
    """A convolution modulated by a style, with noise, bias and activation."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        w_dim: int,
        resolution: int,
        kernel_size: int,
        up: int,
        use_noise: bool,
        activation: str,
        resample_filter: Taps | None,
        clamp: float | None,
    ) -> None:
        """Makes the layer; `resolution` is that of what it returns."""
        super().__init__()
        self.resolution, self.up, self.use_noise = resolution, up, use_noise
        self.activation, self.clamp = activation, clamp
        self.register_buffer("resample_filter", low_pass(resample_filter))
        self.affine = EqualizedLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel_size, kernel_size))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, features: Tensor, style: Tensor, noise: Tensor | None, gain: float = 1.0
    ) -> Tensor:
        """[N, outputs, R, R] for features [N, inputs, R / up, R / up] and style [N, w_dim].

        `noise` is standard normal, [N, 1, R, R] or [R, R], or None: no noise. In mixed precision
        the largest weight and style are 1 before they meet features, as in the authors' code.
        """
        is_mixed_here = is_mixed(features.device)
        weight: Tensor = self.weight
        with in_full(style.device, exact=True):
            scale = self.affine(style)  # [N, inputs]
            if is_mixed_here:  # the norm takes it out again, and nothing leaves 16 bits
                scale = scale / scale.abs().amax(dim=1, keepdim=True).clamp_min(_LEAST)
                weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(_LEAST)
                weight = weight / math.sqrt(weight[0].numel())
            energy = weight.square().sum(dim=(2, 3))  # [outputs, inputs]
            norm = (F.linear(scale.square(), energy) + 1e-8).rsqrt()  # [N, outputs]
        features = features * scale[:, :, None, None].to(features.dtype)
        features = convolve(features, weight, self.resample_filter, up=self.up)
        offset = self.bias[:, None, None]
        features = torch.addcmul(offset, features, norm[:, :, None, None])
        if noise is not None:
            features = features + noise * self.noise_strength
        return activate(features, self.activation, gain, self.clamp)


class ToImage(nn.Module):
    """A 1x1 convolution to image channels, modulated by a style but not normalised."""

    def __init__(self, inputs: int, channels: int, *, w_dim: int, clamp: float | None) -> None:
        """Makes the layer; `clamp` bounds what it returns."""
        super().__init__()
        self.clamp = clamp
        self.weight_gain = 1 / math.sqrt(inputs)
        self.affine = EqualizedLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """[N, channels, H, W] for features [N, inputs, H, W] and style [N, w_dim]."""
        scale = self.affine(style) * self.weight_gain  # [N, inputs]
        # So few outputs that weights of each image's own cost less than scaling its features.
        weights = self.weight[:, :, 0, 0] * scale[:, None, :]  # [N, channels, inputs]
        images = (weights @ features.flatten(2)).unflatten(2, features.shape[2:])
        return activate(images + self.bias[:, None, None], "linear", 1.0, self.clamp)


class SynthesisBlock(nn.Module):
    """All layers of one resolution."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        w_dim: int,
        resolution: int,
        img_channels: int,
        is_last: bool,
        architecture: str,
        resample_filter: Taps | None,
        clamp: float | None,
        kernel_size: int,
        use_noise: bool,
        activation: str,
    ) -> None:
        """Makes the layers; `inputs` 0: the first block, which begins with a constant."""
        super().__init__()
        self.residual, self.resolution = architecture == "resnet" and inputs > 0, resolution

        def styled(channels: int, up: int) -> StyledConv:
            return StyledConv(
                channels,
                outputs,
                w_dim=w_dim,
                resolution=resolution,
                kernel_size=kernel_size,
                up=up,
                use_noise=use_noise,
                activation=activation,
                # Checkpoints hold the default where nothing is resampled.
                resample_filter=resample_filter if up > 1 else (1, 3, 3, 1),
                clamp=clamp,
            )

        self.register_buffer("resample_filter", low_pass(resample_filter))
        if inputs == 0:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        self.conv0 = styled(inputs, up=2) if inputs else None
        self.conv1 = styled(outputs, up=1)
        shows = is_last or architecture == "skip"
        self.torgb = ToImage(outputs, img_channels, w_dim=w_dim, clamp=clamp) if shows else None
        if self.residual:
            self.skip = EqualizedConv(
                inputs, outputs, 1, up=2, bias=False, resample_filter=resample_filter
            )

    @property
    def convs(self) -> int:
        """Styled convolutions in this block: 2, or 1 in the first."""
        return 1 if self.conv0 is None else 2

    def forward(
        self,
        features: Tensor | None,
        images: Tensor | None,
        styles: Tensor,
        noise: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor | None]:
        """Features and images at this resolution, given those at half of it.

        `styles` is [N, convs + 1, w_dim], `noise` has an entry for each of the convs.
        """
        gain = math.sqrt(0.5) if self.residual else 1.0
        passed = self.skip(features, gain) if self.residual else None
        if self.conv0 is None:
            features = self.const.expand(styles.shape[0], -1, -1, -1)
        else:
            features = self.conv0(features, styles[:, 0], noise[0])
        features = self.conv1(features, styles[:, -2], noise[-1], gain)
        features = features if passed is None else features + passed
        assert features is not None
        if images is not None:
            images = upsample(images, self.resample_filter)
        if self.torgb is not None:
            shown = self.torgb(features, styles[:, -1])
            images = shown if images is None else images + shown
        return features, images


class Synthesis(nn.Module):
    """Styles to images, one block for each resolution from 4 up."""

    def __init__(
        self,
        *,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        architecture: str,
        resample_filter: Taps | None,
        conv_clamp: float | None,
        kernel_size: int,
        use_noise: bool,
        activation: str,
    ) -> None:
        """Makes the blocks; the arguments are those of `StyleGAN2Generator`."""
        super().__init__()
        sizes = [2**i for i in range(2, img_resolution.bit_length())]
        self.resolution, inputs = img_resolution, 0
        for size in sizes:
            outputs = channels_at(size, channel_base, channel_max)
            block = SynthesisBlock(
                inputs,
                outputs,
                w_dim=w_dim,
                resolution=size,
                img_channels=img_channels,
                is_last=size == img_resolution,
                architecture=architecture,
                resample_filter=resample_filter,
                clamp=conv_clamp,
                kernel_size=kernel_size,
                use_noise=use_noise,
                activation=activation,
            )
            self.add_module(f"b{size}", block)
            inputs = outputs

    def blocks(self) -> list[SynthesisBlock]:
        """The blocks, from 4x4 up."""
        return [block for block in self.children() if isinstance(block, SynthesisBlock)]

    def noisy_layers(self) -> list[StyledConv]:
        """The layers that add noise, in the order in which they run."""
        layers = [layer for block in self.blocks() for layer in (block.conv0, block.conv1)]
        return [layer for layer in layers if layer is not None and layer.use_noise]

    @property
    def num_ws(self) -> int:
        """Styles taken: one for each convolution and one for the last image layer."""
        return sum(block.convs for block in self.blocks()) + 1

    def forward(self, styles: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """Images [N, C, H, W] for styles [N, num_ws, w_dim] and noise for each convolution."""
        features: Tensor | None = None
        images: Tensor | None = None
        first = 0
        for block in self.blocks():
            after = first + block.convs
            # A block's image layer shares the style of the next block's first convolution.
            with in_full(styles.device, not halves(block.resolution, self.resolution)):
                features, images = block(
                    features, images, styles[:, first : after + 1], noise[first:after]
                )
            first = after
        assert images is not None
        return images


class StyleGAN2Generator(nn.Module):
    """Latents and labels in, images out.

    Attributes:
      latent_shape: shape of a latent, (z_dim,).
      num_labels: number of classes, 0: unconditional.
      image_shape: (channels, height, width).
      noise_shapes: (height, width) of each noisy layer, in the order in which they run.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: str = "skip",
        resample_filter: Taps | None = (1, 3, 3, 1),
        conv_clamp: float | None = None,
        kernel_size: int = 3,
        use_noise: bool = True,
        activation: str = "lrelu",
        mapping_num_layers: int = 8,
        mapping_embed_features: int | None = None,
        mapping_layer_features: int | None = None,
        mapping_activation: str = "lrelu",
        mapping_lr_multiplier: float = 0.01,
        mapping_w_avg: bool = True,
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          z_dim: length of a latent, 1 to 16384.
          c_dim: number of classes, 0 (unconditional) to 100000.
          w_dim: length of a style, 1 to 16384.
          img_resolution: height and width of an image, pixels: a power of two, 4 to 2048.
          img_channels: 1 (grey), 3 (RGB), up to 16.
          channel_base: a layer of resolution R has channel_base // R channels, ...
          channel_max: ... but never more than this, 1 to 8192.
          architecture: "skip" (an image is assembled over the resolutions), "resnet"
            (features are) or "orig" (neither).
          resample_filter: low-pass filter of the up- and downsampling, see `low_pass`.
          conv_clamp: bound on what convolutions return, None: no bound.
          kernel_size: edge of the convolution kernels, odd, 1 to 7.
          use_noise: whether noise is added after each convolution.
          activation: a key of `ACTIVATIONS`.
          mapping_num_layers: layers from latent to style, 0 to 64.
          mapping_embed_features: length of a label's embedding, None: w_dim.
          mapping_layer_features: width between the mapping's layers, None: w_dim.
          mapping_activation: a key of `ACTIVATIONS`.
          mapping_lr_multiplier: factor on the mapping's stored weights and biases.
          mapping_w_avg: whether a running average of styles is kept; there is no truncation
            without one.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_size("z_dim", z_dim, 1, 16384)
        check_power_of_two("img_resolution", img_resolution, 4, MAX_SIZE)
        check_common(img_channels, channel_base, channel_max, architecture, conv_clamp)
        check_choice("activation", activation, ACTIVATIONS)
        if check_size("kernel_size", kernel_size, 1, 7) % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.mapping = StyleMapping(
            z_dim=z_dim,
            c_dim=c_dim,
            w_dim=w_dim,
            num_layers=mapping_num_layers,
            embed_features=mapping_embed_features,
            layer_features=mapping_layer_features,
            activation=mapping_activation,
            lr_multiplier=mapping_lr_multiplier,
            average=check_flag("mapping_w_avg", mapping_w_avg),
        )
        self.synthesis = Synthesis(
            w_dim=w_dim,
            img_resolution=img_resolution,
            img_channels=img_channels,
            channel_base=channel_base,
            channel_max=channel_max,
            architecture=architecture,
            resample_filter=resample_filter,
            conv_clamp=conv_clamp,
            kernel_size=kernel_size,
            use_noise=check_flag("use_noise", use_noise),
            activation=activation,
        )
        self.latent_shape: tuple[int, ...] = (z_dim,)
        self.num_labels = c_dim
        self.image_shape = (img_channels, img_resolution, img_resolution)
        self.noise_shapes = tuple(
            (layer.resolution, layer.resolution) for layer in self.synthesis.noisy_layers()
        )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """Images [N, C, H, W] float32, nominally in [-1, 1], not clamped.

        Args:
          latents: [N, z_dim] float32, standard normal.
          labels: [N] int64, classes from 0; None if and only if there are none.
          psi: truncation of styles towards their average, 1: none, 0: all.
          cutoff: number of first styles truncated, None: all of them.
          noise: "const" for the noise that the checkpoint holds, "none", or a standard normal
            [N, 1, *shape] for each of `noise_shapes`.

        Raises:
          ValueError: labels missing or unasked for, wrong shapes, or truncation where there is
            no average.
        """
        styles = self.mapping(latents, labels)
        styles = self.mapping.broadcast(styles, self.synthesis.num_ws, psi=psi, cutoff=cutoff)
        images: Tensor = self.synthesis(styles, self._noise(noise, len(latents)))
        return images

    def _noise(self, noise: Noise, count: int) -> Sequence[Tensor | None]:
        layers = self.synthesis.noisy_layers()
        if not layers or noise == "none":
            return [None] * (self.synthesis.num_ws - 1)
        if noise == "const":
            return [layer.noise_const for layer in layers]
        wanted = [(count, 1, *shape) for shape in self.noise_shapes]
        if isinstance(noise, str) or [tuple(each.shape) for each in noise] != wanted:
            raise ValueError(
                'noise must be "const", "none" or a tensor [N, 1, H, W] for each of the '
                f"{len(wanted)} noisy layers"
            )
        return noise


def channels_at(size: int, channel_base: int, channel_max: int) -> int:
    """Features of a layer of `size` x `size` pixels.

    Raises:
      ValueError: there would be none.
    """
    channels = min(channel_base // size, channel_max)
    if channels < 1:
        raise ValueError(f"channel_base must be at least the image size, got {channel_base}")
    return channels


def check_common(
    img_channels: object,
    channel_base: object,
    channel_max: object,
    architecture: object,
    conv_clamp: object,
) -> None:
    """Bounds what generator and discriminator have in common.

    Raises:
      ValueError: an argument out of its bounds.
    """
    check_size("img_channels", img_channels, 1, MAX_IMAGE_CHANNELS)
    check_size("channel_base", channel_base, 1, MAX_CHANNEL_BASE)
    check_size("channel_max", channel_max, 1, MAX_CHANNELS)
    check_choice("architecture", architecture, ARCHITECTURES)
    if conv_clamp is not None:
        check_number("conv_clamp", conv_clamp, 0, MAX_CLAMP)


def check_power_of_two(name: str, size: object, low: int, high: int) -> int:
    """`size` itself, if it is a power of two in [low, high].

    Raises:
      ValueError: anything else.
    """
    size = check_size(name, size, low, high)
    if size.bit_count() != 1:
        raise ValueError(f"{name} must be a power of two from {low} to {high}, got {size}")
    return size
