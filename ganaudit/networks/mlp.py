"""Fully connected networks: for points of the plane, and for small images."""

import math

import torch
from torch import Tensor, nn

from ganaudit.networks import check_size

MAX_LAYERS = 16
MAX_WIDTH = 4096
MAX_LATENT_SIZE = 4096
MAX_SIDE = 64
POINTS = (2,)  # the shape of an output that is a point


class MLPGenerator(nn.Module):
    """Latents in, points or images out.

    Attributes:
      latent_shape: (latent_size,).
      num_labels: 0.
      image_shape: (2,) of points, or (channels, height, width) of images.
    """

    num_labels = 0

    def __init__(
        self,
        *,
        latent_size: int = 2,
        widths: tuple[int, ...] = (100, 200, 100),
        image_shape: tuple[int, ...] = POINTS,
        batch_norm: bool = False,
    ) -> None:
        """Makes the layers, randomly initialised: linear, batch norm if asked for, ReLU.

        Args:
          latent_size: length of a latent, 1 to 4096.
          widths: of the hidden layers, at most 16, each 1 to 4096.
          image_shape: [2] of points, or [channels, side, side]; images end in tanh.
          batch_norm: in every hidden layer.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.latent_shape = (check_size("latent_size", latent_size, 1, MAX_LATENT_SIZE),)
        self.image_shape = _shape(image_shape)
        if not isinstance(batch_norm, bool):
            raise ValueError(f"batch_norm must be true or false, got {batch_norm!r:.40}")
        layers: list[nn.Module] = []
        width = latent_size
        for after in _widths(widths):
            layers += [nn.Linear(width, after), *([nn.BatchNorm1d(after)] if batch_norm else [])]
            layers += [nn.ReLU()]
            width = after
        layers += [nn.Linear(width, math.prod(self.image_shape))]
        self.layers = nn.Sequential(*layers, *([nn.Tanh()] if len(self.image_shape) > 1 else []))

    def forward(self, latents: Tensor) -> Tensor:
        """Points [N, 2] or images [N, C, H, W] in [-1, 1] for latents [N, latent_size] float32."""
        outputs: Tensor = self.layers(latents)
        return outputs.reshape(latents.shape[0], *self.image_shape)


class MLPDiscriminator(nn.Module):
    """Points or images in, logits out: above 0 for real."""

    num_labels = 0

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (100, 200, 100),
        image_shape: tuple[int, ...] = POINTS,
        pieces: int = 1,
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          widths: of the hidden layers, at most 16, each 1 to 4096.
          image_shape: [2] of points, or [channels, side, side].
          pieces: of maxout (Goodfellow et al. 2013), 2 to 16; 1: leaky ReLU instead.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.image_shape = _shape(image_shape)
        self.pieces = check_size("pieces", pieces, 1, 16)
        width = math.prod(self.image_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for after in _widths(widths):
            layers += [nn.Linear(width, after * pieces)]
            layers += [nn.LeakyReLU(0.2) if pieces == 1 else _Maxout(pieces)]
            width = after
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(width, 1)

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, F]: all but the last layer."""
        features: Tensor = self.layers(images)
        return features

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features."""
        logits: Tensor = self.last(features)
        return logits.flatten()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] for points [N, 2] or images [N, C, H, W], float32."""
        return self.head(self.features(images))


class _Maxout(nn.Module):
    """The largest of every few neighbouring numbers."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, rows: Tensor) -> Tensor:
        return torch.amax(rows.reshape(len(rows), -1, self.pieces), dim=2)


def _widths(widths: object) -> list[int]:
    if not isinstance(widths, list | tuple) or not 1 <= len(widths) <= MAX_LAYERS:
        raise ValueError(f"widths must be 1 to {MAX_LAYERS} integers, got {widths!r:.80}")
    return [check_size("widths", width, 1, MAX_WIDTH) for width in widths]


def _shape(shape: object) -> tuple[int, ...]:
    found = tuple(shape) if isinstance(shape, list | tuple) else ()
    if any(type(size) is not int for size in found):
        found = ()  # 2.0 equals 2, and is no size
    if found == POINTS:
        return found
    if len(found) != 3 or found[0] not in (1, 3) or found[1] != found[2]:
        raise ValueError(
            f"image_shape must be [2] (points) or [1 or 3, side, side], got {shape!r:.80}"
        )
    check_size("size", found[1], 1, MAX_SIDE)
    return found
