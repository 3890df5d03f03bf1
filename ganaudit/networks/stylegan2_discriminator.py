"""The discriminator of StyleGAN2, which StyleGAN2-ADA and StyleGAN3 train with too.

Karras et al. (2020), section 4.1: strided residual convolutions by default, the batch's
standard deviation shown to the last layers (Karras et al. 2018, section 3) and, for
classes, a projection onto the mapped label (Miyato and Koyama 2018; Karras et al. 2020,
"Training Generative Adversarial Networks with Limited Data", appendix).
"""

import math

import torch
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.style_layers import (
    ACTIVATIONS,
    MAX_FEATURES,
    EqualizedConv,
    EqualizedLinear,
    StyleMapping,
    Taps,
    check_choice,
    downsample,
    exactly,
    halves,
    in_full,
    low_pass,
)
from ganaudit.networks.stylegan2 import MAX_SIZE, channels_at, check_common, check_power_of_two


class DiscriminatorBlock(nn.Module):
    """All layers of one resolution, ending at half of it."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        resolution: int,
        img_channels: int,
        is_first: bool,
        architecture: str,
        activation: str,
        resample_filter: Taps | None,
        clamp: float | None,
    ) -> None:
        """Makes the layers; `inputs` and `outputs` are numbers of features."""
        super().__init__()
        self.architecture, self.resolution = architecture, resolution
        self.register_buffer("resample_filter", low_pass(resample_filter))
        self.fromrgb = (
            EqualizedConv(img_channels, inputs, 1, activation=activation, clamp=clamp)
            if is_first or architecture == "skip"
            else None
        )
        self.conv0 = EqualizedConv(inputs, inputs, 3, activation=activation, clamp=clamp)
        self.conv1 = EqualizedConv(
            inputs,
            outputs,
            3,
            activation=activation,
            down=2,
            resample_filter=resample_filter,
            clamp=clamp,
        )
        self.skip = (
            EqualizedConv(inputs, outputs, 1, bias=False, down=2, resample_filter=resample_filter)
            if architecture == "resnet"
            else None
        )

    def forward(self, features: Tensor | None, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, outputs, R / 2, R / 2], and images at the size of the next block.

        `features` is [N, inputs, R, R], None in the first block.
        """
        if self.fromrgb is not None:
            shown = self.fromrgb(images)
            features = shown if features is None else features + shown
        if self.architecture == "skip":
            images = downsample(images, self.resample_filter)
        assert features is not None
        if self.skip is None:
            return self.conv1(self.conv0(features)), images
        gain = math.sqrt(0.5)
        return self.conv1(self.conv0(features), gain) + self.skip(features, gain), images


class DiscriminatorEpilogue(nn.Module):
    """The last layers, at 4x4 pixels."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        img_channels: int,
        architecture: str,
        activation: str,
        group_size: int | None,
        spread_channels: int,
        clamp: float | None,
    ) -> None:
        """Makes the layers; `outputs` is the length of what they return."""
        super().__init__()
        self.group_size, self.spread_channels = group_size, spread_channels
        self.image_channels = img_channels if architecture == "skip" else 0
        self.fromrgb = (
            EqualizedConv(img_channels, channels, 1, activation=activation)
            if architecture == "skip"
            else None
        )
        self.conv = EqualizedConv(
            channels + spread_channels, channels, 3, activation=activation, clamp=clamp
        )
        self.fc = EqualizedLinear(channels * 16, channels, activation=activation)
        self.out = EqualizedLinear(channels, outputs)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """[N, outputs] for features [N, channels, 4, 4] and images [N, image_channels, 4, 4]."""
        if self.fromrgb is not None:
            features = features + self.fromrgb(images)
        if self.spread_channels:
            spread = batch_spread(features, self.group_size, self.spread_channels)
            features = torch.cat([features, spread], dim=1)
        logits: Tensor = self.out(self.fc(self.conv(features).flatten(1)))
        return logits


class StyleGAN2Discriminator(nn.Module):
    """Images and labels in, logits out: above 0 for real.

    Attributes:
      num_labels: number of classes, 0: unconditional.
      image_shape: (channels, height, width).
    """

    def __init__(
        self,
        *,
        c_dim: int,
        img_resolution: int,
        img_channels: int,
        architecture: str = "resnet",
        channel_base: int = 32768,
        channel_max: int = 512,
        conv_clamp: float | None = None,
        cmap_dim: int | None = None,
        activation: str = "lrelu",
        resample_filter: Taps | None = (1, 3, 3, 1),
        mapping_num_layers: int = 8,
        mapping_embed_features: int | None = None,
        mapping_layer_features: int | None = None,
        mapping_activation: str = "lrelu",
        mapping_lr_multiplier: float = 0.01,
        mbstd_group_size: int | None = 4,
        mbstd_num_channels: int = 1,
        epilogue_activation: str = "lrelu",
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          c_dim: number of classes, 0 (unconditional) to 100000.
          img_resolution: height and width of an image, pixels: a power of two, 8 to 2048.
          img_channels: 1 (grey), 3 (RGB), up to 16.
          architecture: "orig", "skip" or "resnet".
          channel_base: a layer of resolution R has channel_base // R channels, ...
          channel_max: ... but never more than this, 1 to 8192.
          conv_clamp: bound on what convolutions return, None: no bound.
          cmap_dim: length of a mapped label, None: the channels at 4x4. Without labels unused.
          activation: a key of `ACTIVATIONS`, of the layers above 4x4.
          resample_filter: low-pass filter of the downsampling, see `low_pass`.
          mapping_num_layers: layers from label to mapped label, 0 to 64.
          mapping_embed_features: length of a label's embedding, None: cmap_dim.
          mapping_layer_features: width between the mapping's layers, None: cmap_dim.
          mapping_activation: a key of `ACTIVATIONS`.
          mapping_lr_multiplier: factor on the mapping's stored weights and biases.
          mbstd_group_size: images whose spread is measured together, None: the whole batch.
          mbstd_num_channels: channels of spread, 0: none. Divides the channels at 4x4.
          epilogue_activation: a key of `ACTIVATIONS`, of the layers at 4x4.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_size("c_dim", c_dim, 0, 100_000)
        check_power_of_two("img_resolution", img_resolution, 8, MAX_SIZE)
        check_common(img_channels, channel_base, channel_max, architecture, conv_clamp)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("epilogue_activation", epilogue_activation, ACTIVATIONS)
        last = channels_at(4, channel_base, channel_max)
        self._check_spread(mbstd_group_size, mbstd_num_channels, last)
        sizes = [2**i for i in range(img_resolution.bit_length() - 1, 2, -1)]
        for size in sizes:
            block = DiscriminatorBlock(
                channels_at(size, channel_base, channel_max),
                channels_at(size // 2, channel_base, channel_max),
                resolution=size,
                img_channels=img_channels,
                is_first=size == img_resolution,
                architecture=architecture,
                activation=activation,
                resample_filter=resample_filter,
                clamp=conv_clamp,
            )
            self.add_module(f"b{size}", block)
        mapped = check_size("cmap_dim", last if cmap_dim is None else cmap_dim, 1, MAX_FEATURES)
        if c_dim > 0:
            self.mapping = StyleMapping(
                z_dim=0,
                c_dim=c_dim,
                w_dim=mapped,
                num_layers=mapping_num_layers,
                embed_features=mapping_embed_features,
                layer_features=mapping_layer_features,
                activation=mapping_activation,
                lr_multiplier=mapping_lr_multiplier,
                average=False,
            )
        self.b4 = DiscriminatorEpilogue(
            last,
            mapped if c_dim > 0 else 1,
            img_channels=img_channels,
            architecture=architecture,
            activation=epilogue_activation,
            group_size=mbstd_group_size,
            spread_channels=mbstd_num_channels,
            clamp=conv_clamp,
        )
        self.num_labels = c_dim
        self.image_shape = (img_channels, img_resolution, img_resolution)

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the layers above 4x4 make of images: [N, F, 4, 4].

        Of the architecture "skip" the last channels are the images at 4x4, which `head` looks at
        too.

        Raises:
          ValueError: images of a wrong shape.
        """
        if tuple(images.shape[1:]) != self.image_shape or images.ndim != 4:
            raise ValueError(
                f"images must be [N, {', '.join(map(str, self.image_shape))}], "
                f"got {list(images.shape)}"
            )
        features: Tensor | None = None
        for block in self.children():
            if isinstance(block, DiscriminatorBlock):
                exact = not halves(block.resolution, self.image_shape[1])
                with in_full(images.device, exact):
                    if features is not None and exact:
                        features = exactly(features)
                    features, images = block(features, images)
        assert features is not None
        return features if self.b4.fromrgb is None else torch.cat([features, images], dim=1)

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features; a logit depends on the spread of its group in the batch.

        Args:
          features: as `features` returns them; N is below mbstd_group_size, or a multiple of it.
          labels: [N] int64, classes from 0, or rows [N, c_dim] float32 of their shares; None if and
            only if there are none.

        Raises:
          ValueError: labels missing or unasked for, or a batch that does not divide into groups.
        """
        if (labels is None) != (self.num_labels == 0):
            raise ValueError(f"labels of {self.num_labels} classes (0: none) are wanted")
        last = features.shape[1] - self.b4.image_channels
        with in_full(features.device, exact=True):
            features = exactly(features)
            logits: Tensor = self.b4(features[:, :last], features[:, last:])  # [N, 1 or cmap_dim]
            mapped = None if labels is None else self.mapping(None, labels)  # [N, cmap_dim]
        if mapped is None:
            return logits.flatten()
        judged: Tensor = (logits * mapped).sum(dim=1) / math.sqrt(mapped.shape[1])
        return judged

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N, 1] for images [N, C, H, W] float32 in [-1, 1]; see `features` and `head`."""
        return self.head(self.features(images), labels)[:, None]

    def freezable(self) -> list[nn.Module]:
        """The layers above 4x4 from the images down: what is frozen first."""
        blocks = [block for block in self.children() if isinstance(block, DiscriminatorBlock)]
        return [
            layer
            for block in blocks
            for layer in (block.fromrgb, block.conv0, block.conv1, block.skip)
            if layer is not None
        ]

    @staticmethod
    def _check_spread(group_size: int | None, channels: int, features: int) -> None:
        if group_size is not None:
            check_size("mbstd_group_size", group_size, 1, 1 << 20)
        if check_size("mbstd_num_channels", channels, 0, MAX_FEATURES) and features % channels:
            raise ValueError(
                f"mbstd_num_channels must divide the {features} channels at 4x4, got {channels}"
            )


def batch_spread(features: Tensor, group_size: int | None, channels: int) -> Tensor:
    """How much images differ within their group, as extra channels.

    The batch of N falls into N / G groups; image i belongs to group i mod (N / G).

    Args:
      features: [N, C, H, W] float, C a multiple of `channels`.
      group_size: G at most, None: N. A smaller batch is one group.
      channels: the C features are averaged in as many runs.

    Returns:
      [N, channels, H, W], constant over pixels: the mean standard deviation, >= 1e-4.

    Raises:
      ValueError: N is not a multiple of G.
    """
    count, _, height, width = features.shape
    group = count if group_size is None else min(group_size, count)
    if count % group:
        raise ValueError(f"a batch must divide into groups of {group} images, got {count}")
    grouped = features.reshape(group, count // group, channels, -1)  # [G, groups, channels, ...]
    variance = (grouped - grouped.mean(dim=0)).square().mean(dim=0)
    spread = (variance + 1e-8).sqrt().mean(dim=2)  # [groups, channels]
    return spread.repeat(group, 1)[:, :, None, None].expand(-1, -1, height, width)
