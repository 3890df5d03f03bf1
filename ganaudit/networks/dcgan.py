"""A small DCGAN: a generator and, for training, its discriminator.

Radford, Metz, Chintala (2016): strided (transposed) convolutions, batch normalisation,
tanh. Two deviations: the last layer is a 3x3 convolution at full resolution, and the
discriminator has no batch normalisation (a gradient penalty must see each image alone) but
a channel holding the batch's standard deviation, which shows it missing variety.
"""

import torch
from torch import Tensor, nn

from ganaudit.networks import check_size

MAX_LATENT_SIZE = 4096
MAX_WIDTH = 512
MAX_SIZE = 256


class DCGANGenerator(nn.Module):
    """Latents in, images out.

    Use it in eval mode: in training mode batch normalisation makes an image depend on its
    batch.
    """

    def __init__(self, *, latent_size: int, width: int, channels: int = 1, size: int = 16) -> None:
        """Makes the layers, randomly initialised.

        Args:
          latent_size: length of a latent, 1 to 4096.
          width: channels at full resolution, 1 to 512; doubled at each halving of the size.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels: a power of two, 8 to 256.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.latent_size = check_size("latent_size", latent_size, 1, MAX_LATENT_SIZE)
        self.latent_shape = (self.latent_size,)
        self.width = check_size("width", width, 1, MAX_WIDTH)
        self.channels, self.size = _check_image(channels, size)
        features = width * size // 4
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_size, features, 4, bias=False),
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
    """Images in, logits out: above 0 for real."""

    def __init__(self, *, width: int, channels: int = 1, size: int = 16) -> None:
        """Makes the layers, randomly initialised.

        Args:
          width: channels at full resolution, 1 to 512; doubled at each halving of the size.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image, pixels: a power of two, 8 to 256.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        features = check_size("width", width, 1, MAX_WIDTH)
        channels, size = _check_image(channels, size)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        while size > 4:
            layers += [
                nn.Conv2d(features, features * 2, 4, stride=2, padding=1),
                nn.LeakyReLU(0.2),
            ]
            features, size = features * 2, size // 2
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(features + 1, 1, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] for images [N, channels, size, size] float32 in [-1, 1], N >= 2.

        Each logit depends on the whole batch, through its standard deviation.
        """
        features: Tensor = self.layers(images)  # [N, F, 4, 4]
        spread = (features.var(dim=0) + 1e-8).sqrt().mean().expand(len(features), 1, 4, 4)
        logits: Tensor = self.head(torch.cat([features, spread], dim=1))  # [N, 1, 1, 1]
        return logits.flatten()


def _check_image(channels: int, size: int) -> tuple[int, int]:
    if check_size("channels", channels, 1, 3) == 2:
        raise ValueError("channels must be 1 (grey) or 3 (RGB), got 2")
    if check_size("size", size, 8, MAX_SIZE).bit_count() != 1:
        raise ValueError(f"size must be a power of two from 8 to {MAX_SIZE}, got {size}")
    return channels, size
