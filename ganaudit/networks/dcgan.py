"""A small DCGAN: a generator and, for training, its discriminator.

Radford, Metz, Chintala (2016): strided (transposed) convolutions, batch normalisation,
tanh. Deviations: the last layer is a 3x3 convolution at full resolution, and the discriminator has
no batch normalisation unless asked for, since a gradient penalty must see each image alone. It may
have a channel holding the batch's standard deviation, which shows it missing variety.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganaudit.networks import check_size

MAX_LATENT_SIZE = 4096
MAX_WIDTH = 512
MAX_SIZE = 256
_THREES = 48  # the one size that is no power of two: that of STL-10 in most papers

Normalisation = Literal["none", "batch", "spectral"]
Head = Literal["linear", "mean"]


class DCGANGenerator(nn.Module):
    """Latents in, images out.

    Use it in eval mode: in training mode batch normalisation makes an image depend on its
    batch.
    """

    num_labels = 0

    def __init__(self, *, latent_size: int, width: int, channels: int = 1, size: int = 16) -> None:
        """Makes the layers, randomly initialised.

        Args:
          latent_size: length of a latent, 1 to 4096.
          width: channels at full resolution, 1 to 512; doubled at each halving of the size.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels: 48, or a power of two, 8 to 256.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.latent_size = check_size("latent_size", latent_size, 1, MAX_LATENT_SIZE)
        self.latent_shape = (self.latent_size,)
        self.width = check_size("width", width, 1, MAX_WIDTH)
        self.channels, self.size = _check_image(channels, size)
        self.image_shape = (channels, size, size)
        start = smallest_map(size)
        features = width * size // start
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_size, features, start, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
        ]
        while features > width:
            layers += [
                nn.ConvTranspose2d(features, features // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(features // 2),
                nn.ReLU(),
            ]
            features //= 2
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Images [N, channels, size, size] float32 in [-1, 1] for latents [N, latent_size].

        The latents are float32 from a standard normal.
        """
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class DCGANDiscriminator(nn.Module):
    """Images in, logits out: above 0 for real.

    Its features are all but the last layer; with head mean they are a map of logits, whose mean is
    the logit: the form in which AdaptiveMix (CVPR 2023) writes a critic.

    Attributes:
      num_labels: 0.
      image_shape: (channels, size, size).
      alone: with spread, whether an image is a batch of its own, whose spread is 0; False at first.
    """

    num_labels = 0
    alone = False

    def __init__(
        self,
        *,
        width: int,
        channels: int = 1,
        size: int = 16,
        normalisation: Normalisation = "none",
        spread: bool = False,
        head: Head = "linear",
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          width: channels at full resolution, 1 to 512; doubled at each halving of the size.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels: 48, or a power of two, 8 to 256.
          normalisation: none; batch, in training an image is then judged among its batch; or
            spectral, every weight is divided by its largest singular value.
          spread: the head sees the standard deviation of the batch's features: in training and
            after it, an image is judged among its batch.
          head: linear, a layer over all places; or mean, of a map of logits.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        features = check_size("width", width, 1, MAX_WIDTH)
        channels, size = _check_image(channels, size)
        self.image_shape = (channels, size, size)
        if normalisation not in get_args(Normalisation) or head not in get_args(Head):
            raise ValueError(
                f"normalisation must be none, batch or spectral and head linear or mean, got "
                f"{normalisation!r:.40} and {head!r:.40}"
            )
        if not isinstance(spread, bool) or (spread and head == "mean"):
            raise ValueError(
                f"spread must be true or false, and false with head mean: {spread!r:.40}"
            )
        self.spread, self.last = spread, None
        spectral = normalisation == "spectral"
        layers: list[nn.Module] = [
            normed(nn.Conv2d(channels, width, 3, padding=1), spectral),
            nn.LeakyReLU(0.2),
        ]
        start = smallest_map(size)
        while size > start:
            layers += [
                normed(nn.Conv2d(features, features * 2, 4, stride=2, padding=1), spectral),
                *([nn.BatchNorm2d(features * 2)] if normalisation == "batch" else []),
                nn.LeakyReLU(0.2),
            ]
            features, size = features * 2, size // 2
        if head == "mean":
            layers += [normed(nn.Conv2d(features, 1, 3, padding=1), spectral)]
        else:
            self.last = normed(nn.Conv2d(features + spread, 1, start), spectral)
        self.layers = nn.Sequential(*layers)

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, F, 4, 4] (6 x 6 of 48 pixels); with head mean [N, 1, 4, 4]."""
        features: Tensor = self.layers(images)
        return features

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features."""
        if self.last is None:
            return features.mean(dim=(1, 2, 3))
        if self.spread:
            features = torch.cat([features, self._spread_map(features)], dim=1)
        logits: Tensor = self.last(features)  # [N, 1, 1, 1]
        return logits.flatten()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] for images [N, channels, size, size] float32 in [-1, 1]."""
        return self.head(self.features(images))

    def _spread_map(self, features: Tensor) -> Tensor:
        """[N, 1, h, w] of one number: the mean standard deviation of a feature in the batch."""
        if self.alone or len(features) == 1:
            return torch.zeros_like(features[:, :1])
        spread = (features.var(dim=0) + 1e-8).sqrt().mean()
        return spread.expand(len(features), 1, *features.shape[2:])


def normed(layer: nn.Module, spectral: bool) -> nn.Module:
    """The layer, its weight divided by its largest singular value if `spectral`."""
    return spectral_norm(layer) if spectral else layer


def smallest_map(size: int) -> int:
    """The side of the map between the image of a size and the latent or logit."""
    return 6 if size == _THREES else 4


def _check_image(channels: int, size: int) -> tuple[int, int]:
    if check_size("channels", channels, 1, 3) == 2:
        raise ValueError("channels must be 1 (grey) or 3 (RGB), got 2")
    if check_size("size", size, 8, MAX_SIZE).bit_count() != 1 and size != _THREES:
        raise ValueError(
            f"size must be {_THREES} or a power of two from 8 to {MAX_SIZE}, got {size}"
        )
    return channels, size
