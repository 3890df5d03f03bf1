"""DCGANs that are told a class: by one-hot maps beside latent and image, or by guessing it.

The conditional pair is that of Mirza and Osindero (2014) on the layers of `dcgan`, in the manner of
MSGAN's experiments (Mao et al. 2019); ACGAN's discriminator is told no class and guesses it (Odena,
Olah, Shlens 2017), and is trained with the same generator.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.dcgan import (
    DCGANDiscriminator,
    DCGANGenerator,
    Normalisation,
    normed,
    smallest_map,
)

MAX_LABELS = 1000
_MAX_LATENT_SIZE = 4096 - MAX_LABELS


class ConditionalDCGANGenerator(nn.Module):
    """Latents and classes in, images out. Use it in eval mode.

    Attributes:
      latent_shape: (latent_size,).
      num_labels: classes.
      image_shape: (channels, size, size).
    """

    def __init__(
        self, *, latent_size: int, num_labels: int, width: int, channels: int = 1, size: int = 32
    ) -> None:
        """Makes the layers, randomly initialised; arguments as those of `DCGANGenerator`.

        Args:
          latent_size: length of a latent, 1 to 3096.
          num_labels: classes, 2 to 1000.
          width: channels at full resolution.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.latent_shape = (check_size("latent_size", latent_size, 1, _MAX_LATENT_SIZE),)
        self.num_labels = check_size("num_labels", num_labels, 2, MAX_LABELS)
        self.generator = DCGANGenerator(
            latent_size=latent_size + num_labels, width=width, channels=channels, size=size
        )
        self.image_shape = self.generator.image_shape

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images [N, channels, size, size] float32 in [-1, 1].

        Args:
          latents: [N, latent_size] float32.
          labels: [N] int64.
        """
        images: Tensor = self.generator(
            torch.cat([latents, one_hot(labels, self.num_labels, latents.dtype)], dim=1)
        )
        return images


class ConditionalDCGANDiscriminator(nn.Module):
    """Images and classes in, logits out: a map of ones or zeros for each class beside the image."""

    def __init__(
        self,
        *,
        num_labels: int,
        width: int,
        channels: int = 1,
        size: int = 32,
        normalisation: Normalisation = "none",
    ) -> None:
        """Makes the layers, randomly initialised; arguments as those of `DCGANDiscriminator`.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.num_labels = check_size("num_labels", num_labels, 2, MAX_LABELS)
        self.discriminator = DCGANDiscriminator(
            width=width, channels=channels, size=size, normalisation=normalisation
        )
        self.image_shape = self.discriminator.image_shape
        first = nn.Conv2d(channels + num_labels, width, 3, padding=1)
        self.discriminator.layers[0] = normed(first, normalisation == "spectral")

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, F, 4, 4] of images [N, channels, size, size] and labels [N], or soft [N, L]."""
        if labels is None:
            raise ValueError("a conditional discriminator judges images with their labels")
        soft = one_hot(labels, self.num_labels, images.dtype)
        maps = soft[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.discriminator.features(torch.cat([images, maps], dim=1))

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features."""
        return self.discriminator.head(features)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits [N] for images [N, channels, size, size] and labels [N] int64, or soft [N, L]."""
        return self.head(self.features(images, labels))


class ACGANDiscriminator(nn.Module):
    """Images in, logits out: of being real, and of each class."""

    num_labels = 0  # it is told none

    def __init__(
        self,
        *,
        num_classes: int,
        width: int,
        channels: int = 1,
        size: int = 32,
        normalisation: Normalisation = "none",
    ) -> None:
        """Makes the layers, randomly initialised; arguments as those of `DCGANDiscriminator`.

        Args:
          num_classes: that it tells apart, 2 to 1000.
          width: channels at full resolution.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels.
          normalisation: none, batch or spectral.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.num_classes = check_size("num_classes", num_classes, 2, MAX_LABELS)
        self.discriminator = DCGANDiscriminator(
            width=width, channels=channels, size=size, normalisation=normalisation
        )
        self.image_shape = self.discriminator.image_shape
        flat = width * size * smallest_map(size)
        self.guess = normed(nn.Linear(flat, num_classes), normalisation == "spectral")

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, F, 4, 4] of images [N, channels, size, size]."""
        return self.discriminator.features(images)

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of being real."""
        return self.discriminator.head(features)

    def classes(self, features: Tensor) -> Tensor:
        """Logits [N, num_classes] of classes."""
        logits: Tensor = self.guess(features.flatten(1))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] of being real for images [N, channels, size, size] float32 in [-1, 1]."""
        return self.head(self.features(images))


def one_hot(labels: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """[N, count] of class numbers [N] int64; soft labels [N, count] as they are."""
    if labels.ndim == 2:
        return labels.to(dtype)
    return F.one_hot(labels, count).to(dtype)
