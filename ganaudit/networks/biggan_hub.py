"""BigGAN-deep's generator, as pytorch-pretrained-biggan has it: DeepMind's published weights.

Brock, Donahue, Simonyan (2019), appendix B, figure 16, in another layout than BigGAN-PyTorch's:
statistics of the normalisation were measured at several truncations of the latents, and the one
asked for is looked up. Arguments carry the names of that package's config.json, tensors those of
its pytorch_model.bin. Deviations: none in evaluation mode (of its class_embed_dim and output_dim
nothing depends there, so they are no arguments here).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganaudit.networks import check_size
from ganaudit.networks.biggan import doubled
from ganaudit.networks.biggan_layers import (
    attend,
    check_attended,
    check_bool,
    check_eps,
    check_quartered,
)
from ganaudit.networks.spectral import Stored

MAX_LATENT_SIZE = 4096
MAX_WIDTH = 256
MAX_CLASSES = 100_000
MAX_LAYERS = 32
MAX_STATS = 1001
MAX_SIZE = 1024

FIRST_WIDTH = 16  # channels that layers start from, in units of channel_width
FIRST_SIZE = 4

LAYERS_128 = (
    (False, 16, 16),
    (True, 16, 16),
    (False, 16, 16),
    (True, 16, 8),
    (False, 8, 8),
    (True, 8, 4),
    (False, 4, 4),
    (True, 4, 2),
    (False, 2, 2),
    (True, 2, 1),
)


class BigGANHubGenerator(nn.Module):
    """Latents and class numbers in, images out."""

    def __init__(
        self,
        *,
        z_dim: int = 128,
        channel_width: int = 128,
        num_classes: int = 1000,
        layers: Sequence[Sequence[object]] = LAYERS_128,
        attention_layer_position: int = 8,
        eps: float = 1e-4,
        n_stats: int = 51,
    ) -> None:
        """Makes the layers, randomly initialised. The defaults are those of 128 x 128 pixels.

        Args:
          z_dim: length of a latent, and of a class's embedding, 1 to 4096.
          channel_width: unit of the widths, 3 to 256.
          num_classes: 1 to 100,000.
          layers: for each block, whether it doubles the size, its channels in and its channels
            out in units of channel_width. Widths start at 16, stay or halve, and end at 1. At
            most 32 blocks, of which at most 8 double.
          attention_layer_position: the block before which attention stands; at -1, or from the
            number of blocks on, there is none.
          eps: added to a variance, above 0.
          n_stats: truncations with statistics, evenly from 0 to 1: 2 to 1001.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_size("z_dim", z_dim, 1, MAX_LATENT_SIZE)
        check_size("channel_width", channel_width, 3, MAX_WIDTH)
        self.num_classes = check_size("num_classes", num_classes, 1, MAX_CLASSES)
        check_size("attention_layer_position", attention_layer_position, -1, MAX_LAYERS)
        check_size("n_stats", n_stats, 2, MAX_STATS)
        check_eps("eps", eps)
        blocks = _check_layers(layers)

        self.embeddings = nn.Linear(num_classes, z_dim, bias=False)
        self.generator = Generator(
            2 * z_dim,
            [(doubles, channel_width * i, channel_width * o) for doubles, i, o in blocks],
            attention_layer_position,
            n_stats,
            eps,
        )

        size = FIRST_SIZE * 2 ** sum(doubles for doubles, _, _ in blocks)
        self.latent_shape = (z_dim,)
        self.num_labels = num_classes if num_classes > 1 else 0
        self.image_shape = (3, size, size)

    def forward(
        self, latents: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0
    ) -> Tensor:
        """Images [N, 3, H, W] float32 in [-1, 1].

        Args:
          latents: [N, *latent_shape] float32, from a standard normal truncated to [-2, 2] and
            multiplied by `truncation`: the caller does both.
          labels: [N] int64, 0 to num_classes - 1; None: the only class.
          truncation: which statistics normalise, in (0, 1]; see `at_truncation`.

        Raises:
          ValueError: a truncation out of its range, or no labels though there are several classes.
        """
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation must be in (0, 1], got {truncation}")
        if labels is None:
            if self.num_classes > 1:
                raise ValueError(f"labels must be given: there are {self.num_classes} classes")
            labels = torch.zeros(latents.shape[0], dtype=torch.int64, device=latents.device)
        classes = functional.embedding(labels, self.embeddings.weight.t())  # [N, z_dim]
        images: Tensor = self.generator(torch.cat([latents, classes], dim=1), truncation)
        return images


class Generator(nn.Module):
    """From the condition, which is a latent and its class, to images."""

    def __init__(
        self,
        condition: int,
        blocks: Sequence[tuple[bool, int, int]],
        attention_position: int,
        n_stats: int,
        eps: float,
    ) -> None:
        """Makes the layers from checked arguments; widths are channels."""
        super().__init__()
        self.width, last = blocks[0][1], blocks[-1][2]
        self.gen_z = Stored(FIRST_SIZE**2 * self.width, condition)
        self.layers = nn.ModuleList()
        for index, (doubles, inputs, outputs) in enumerate(blocks):
            if index == attention_position:
                self.layers.append(Attention(inputs))
            self.layers.append(Block(inputs, outputs, condition, n_stats, eps, doubles=doubles))
        self.bn = PlainNorm(last, n_stats, eps)
        self.conv_to_rgb = Stored(last, last, 3, 3)  # all but three of its outputs are unused

    def forward(self, condition: Tensor, truncation: float) -> Tensor:
        """Images [N, 3, H, W] for conditions [N, 2 z_dim]."""
        images = self.gen_z(condition).view(condition.shape[0], FIRST_SIZE, FIRST_SIZE, self.width)
        images = images.permute(0, 3, 1, 2).contiguous()  # the file has channels last
        for layer in self.layers:
            if isinstance(layer, Block):
                images = layer(images, condition, truncation)
            else:
                images = layer(images)
        return torch.tanh(self.conv_to_rgb(self.bn(images, truncation).relu())[:, :3])


class Block(nn.Module):
    """Four convolutions through a quarter of the channels, beside a shortcut without weights."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, n_stats: int, eps: float, *, doubles: bool
    ) -> None:
        """Makes the layers; outputs are as many as inputs or half: the shortcut drops the others.

        Raises:
          ValueError: fewer than 4 channels.
        """
        super().__init__()
        check_quartered(inputs)
        self.outputs, self.doubles = outputs, doubles
        hidden = inputs // 4
        self.bn_0 = ClassNorm(inputs, condition, n_stats, eps)
        self.conv_0 = Stored(hidden, inputs, 1, 1)
        self.bn_1 = ClassNorm(hidden, condition, n_stats, eps)
        self.conv_1 = Stored(hidden, hidden, 3, 3)
        self.bn_2 = ClassNorm(hidden, condition, n_stats, eps)
        self.conv_2 = Stored(hidden, hidden, 3, 3)
        self.bn_3 = ClassNorm(hidden, condition, n_stats, eps)
        self.conv_3 = Stored(outputs, hidden, 1, 1)

    def forward(self, images: Tensor, condition: Tensor, truncation: float) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W], or twice the height and width."""
        changes = self.conv_0(self.bn_0(images, condition, truncation).relu())
        changes = self.bn_1(changes, condition, truncation).relu()
        images = images[:, : self.outputs]
        if self.doubles:
            changes, images = doubled(changes), doubled(images)
        changes = self.conv_1(changes)
        changes = self.conv_2(self.bn_2(changes, condition, truncation).relu())
        changes = self.conv_3(self.bn_3(changes, condition, truncation).relu())
        images = images + changes
        return images


class Norm(nn.Module):
    """Channels brought to mean 0 and variance 1, by statistics of several truncations."""

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, channels: int, n_stats: int, eps: float) -> None:
        """Makes the statistics, [n_stats, C] each."""
        super().__init__()
        self.eps = eps
        self.register_buffer("running_means", torch.zeros(n_stats, channels))
        self.register_buffer("running_vars", torch.ones(n_stats, channels))

    def normalised(self, images: Tensor, truncation: float) -> Tensor:
        """[N, C, H, W] by the statistics of a truncation."""
        mean = at_truncation(self.running_means, truncation)
        variance = at_truncation(self.running_vars, truncation)
        return functional.batch_norm(images, mean, variance, eps=self.eps)


class ClassNorm(Norm):
    """Normalisation whose gain and bias come from the condition."""

    def __init__(self, channels: int, condition: int, n_stats: int, eps: float) -> None:
        """Makes the layers, for conditions of that length."""
        super().__init__(channels, n_stats, eps)
        self.scale = Stored(channels, condition, bias=False)
        self.offset = Stored(channels, condition, bias=False)

    def forward(self, images: Tensor, condition: Tensor, truncation: float) -> Tensor:
        """Normalised [N, C, H, W], scaled by 1 + scale and shifted by offset."""
        scale: Tensor = self.scale(condition)[:, :, None, None]
        offset: Tensor = self.offset(condition)[:, :, None, None]
        return self.normalised(images, truncation) * (1 + scale) + offset


class PlainNorm(Norm):
    """Normalisation with one gain (weight) and bias for every image."""

    def __init__(self, channels: int, n_stats: int, eps: float) -> None:
        """Makes the layer, as the identity."""
        super().__init__(channels, n_stats, eps)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor, truncation: float) -> Tensor:
        """Normalised [N, C, H, W], scaled by weight and shifted by bias."""
        images = self.normalised(images, truncation)
        return images * self.weight[:, None, None] + self.bias[:, None, None]


class Attention(nn.Module):
    """Every place of an image looks at all others, as in `ganaudit.networks.biggan_layers`."""

    def __init__(self, channels: int) -> None:
        """Makes the layer, without effect until gamma is learned.

        Raises:
          ValueError: fewer than 8 channels.
        """
        super().__init__()
        check_attended(channels)
        self.snconv1x1_theta = Stored(channels // 8, channels, 1, 1, bias=False)
        self.snconv1x1_phi = Stored(channels // 8, channels, 1, 1, bias=False)
        self.snconv1x1_g = Stored(channels // 2, channels, 1, 1, bias=False)
        self.snconv1x1_o_conv = Stored(channels, channels // 2, 1, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] plus gamma times what they attend to."""
        queries, keys = self.snconv1x1_theta(images), self.snconv1x1_phi(images)
        seen = self.snconv1x1_o_conv(attend(queries, keys, self.snconv1x1_g(images)))
        images = images + self.gamma * seen
        return images


def at_truncation(statistics: Tensor, truncation: float) -> Tensor:
    """The statistics of a truncation, between two of those stored if need be.

    pytorch-pretrained-biggan interpolates the wrong way round: a quarter of the way from one row
    to the next it takes a quarter of the one and three quarters of the next. And what rounding
    leaves of 0.14 x 50 is 7 and a bit, so there it takes row 8. It is repeated here, since those
    are the images that its users get; at 1 and most hundredths there is no difference.

    Args:
      statistics: [S, C] float32, row s measured at the truncation s / (S - 1).
      truncation: in (0, 1].

    Returns:
      [C] float32.

    Raises:
      ValueError: rounding leads beyond the last row (at 1, for some S, of which 51 is none).
    """
    step = 1.0 / (len(statistics) - 1)
    share, row = math.modf(truncation / step)
    if share == 0:
        return statistics[int(row)]
    if int(row) + 1 == len(statistics):
        raise ValueError(f"truncation must be below {truncation} for {len(statistics)} statistics")
    return statistics[int(row)] * share + statistics[int(row) + 1] * (1 - share)


def _check_layers(layers: object) -> list[tuple[bool, int, int]]:
    if not isinstance(layers, list | tuple) or not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"layers must be a list of 1 to {MAX_LAYERS}, got {_kind(layers)}")
    checked: list[tuple[bool, int, int]] = []
    before = FIRST_WIDTH
    for index, layer in enumerate(layers):
        where = f"layers[{index}]"
        if not isinstance(layer, list | tuple) or len(layer) != 3:
            raise ValueError(f"{where} must be [doubles, inputs, outputs], got {_kind(layer)}")
        doubles, inputs, outputs = layer
        check_bool(f"{where} doubles", doubles)
        check_size(f"{where} inputs", inputs, before, before)
        check_size(f"{where} outputs", outputs, 1, FIRST_WIDTH)
        if outputs not in (inputs, inputs // 2):
            raise ValueError(f"{where} outputs must be its inputs or half of them, got {outputs}")
        checked.append((doubles, inputs, outputs))
        before = outputs
    check_size("outputs of the last of layers", before, 1, 1)
    if FIRST_SIZE * 2 ** sum(doubles for doubles, _, _ in checked) > MAX_SIZE:
        raise ValueError(f"layers must double the size to {MAX_SIZE} at most")
    return checked


def _kind(value: object) -> str:
    return (
        f"{type(value).__name__} of {len(value)}"
        if isinstance(value, list | tuple)
        else (f"{value!r:.80}")
    )
