"""SNGAN's residual networks: a generator with batch norm, a discriminator with spectral norm.

Miyato, Kataoka, Koyama, Yoshida (2018), "Spectral Normalization for Generative Adversarial
Networks", appendix B.4: the ResNets of CIFAR-10 (32 pixels), STL-10 (48) and ImageNet (128); 64
pixels, for which there is no table, follow the same rule. In a block of the discriminator the first
convolution keeps the width, as in the authors' code. Deviations: weights begin as torch has them;
spectral norm is torch's, one power iteration a pass in training.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganaudit.networks import check_size

SIZES = (32, 48, 64, 128)
MAX_LATENT_SIZE = 4096
MAX_WIDTH = 512
_MOST = 16  # times the width, of any layer


class SNGANGenerator(nn.Module):
    """Latents in, images out. Use it in eval mode, as every network with batch norm.

    Attributes:
      latent_shape: (latent_size,).
      num_labels: 0.
      image_shape: (channels, size, size).
    """

    num_labels = 0

    def __init__(
        self, *, latent_size: int = 128, width: int = 64, channels: int = 3, size: int = 32
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          latent_size: length of a latent, 1 to 4096.
          width: channels at full resolution, 1 to 512; of 32 pixels every stage has 4 times as
            many, as in the paper.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image: 32, 48, 64 or 128 pixels.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.latent_shape = (check_size("latent_size", latent_size, 1, MAX_LATENT_SIZE),)
        self.image_shape = _check_image(channels, size)
        widths = _generator_widths(check_size("width", width, 1, MAX_WIDTH), size)
        self.start = 6 if size == 48 else 4
        self.first = nn.Linear(latent_size, widths[0] * self.start**2)
        stages = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nn.Sequential(*(_Up(inputs, outputs) for inputs, outputs in stages))
        self.last = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.ReLU(),
            nn.Conv2d(widths[-1], channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Images [N, channels, size, size] float32 in [-1, 1] for latents [N, latent_size]."""
        features = self.first(latents).reshape(latents.shape[0], -1, self.start, self.start)
        images: Tensor = self.last(self.blocks(features))
        return images


class SNGANDiscriminator(nn.Module):
    """Images in, logits out: above 0 for real.

    Its features are the last block's, rectified and summed over all places. All that follows is
    linear, so a mix of features is judged as the mix of both logits.
    """

    num_labels = 0

    def __init__(self, *, width: int = 64, channels: int = 3, size: int = 32) -> None:
        """Makes the layers, randomly initialised.

        Args:
          width: channels of the first block, 1 to 512; of 32 pixels twice as many in all blocks,
            as in the paper.
          channels: 1 (grey) or 3 (RGB).
          size: height and width of an image: 32, 48, 64 or 128 pixels.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.image_shape = _check_image(channels, size)
        widths = _discriminator_widths(check_size("width", width, 1, MAX_WIDTH), size)
        halved = 2 if size == 32 else len(widths) - 1  # blocks that halve the size
        blocks: list[nn.Module] = [_First(channels, widths[0])]
        stages = zip(widths[:-1], widths[1:], strict=True)
        for place, (inputs, outputs) in enumerate(stages, 1):
            blocks += [_Down(inputs, outputs, halve=place < halved)]
        self.blocks = nn.Sequential(*blocks)
        self.last = spectral_norm(nn.Linear(widths[-1], 1))

    def features(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, F] sums over all places."""
        features: Tensor = F.relu(self.blocks(images)).sum(dim=(2, 3))
        return features

    def head(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] of features."""
        logits: Tensor = self.last(features)
        return logits.flatten()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] for images [N, channels, size, size] float32 in [-1, 1]."""
        return self.head(self.features(images))


class _Up(nn.Module):
    """A residual block that doubles the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        large = F.interpolate(F.relu(self.norm1(features)), scale_factor=2)
        main: Tensor = self.conv2(F.relu(self.norm2(self.conv1(large))))
        aside: Tensor = self.shortcut(F.interpolate(features, scale_factor=2))
        return main + aside


class _First(nn.Module):
    """The first block: the image itself is not rectified."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, images: Tensor) -> Tensor:
        main = F.avg_pool2d(self.conv2(F.relu(self.conv1(images))), 2)
        aside: Tensor = self.shortcut(F.avg_pool2d(images, 2))
        return main + aside


class _Down(nn.Module):
    """A residual block that halves the size, or keeps it."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.conv1 = spectral_norm(nn.Conv2d(inputs, inputs, 3, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shortcut: nn.Module = nn.Identity()
        if halve or inputs != outputs:
            self.shortcut = spectral_norm(nn.Conv2d(inputs, outputs, 1))

    def forward(self, features: Tensor) -> Tensor:
        main = self.conv2(F.relu(self.conv1(F.relu(features))))
        aside = self.shortcut(features)
        both: Tensor = main + aside
        return F.avg_pool2d(both, 2) if self.halve else both


def _generator_widths(width: int, size: int) -> list[int]:
    """Channels from the smallest map to the largest."""
    if size == 32:
        return [4 * width] * 4
    stages = {48: 3, 64: 4, 128: 5}[size]
    return [width * min(_MOST, 2**place) for place in range(stages, -1, -1)]


def _discriminator_widths(width: int, size: int) -> list[int]:
    """Channels of each block, of which the last keeps the size."""
    if size == 32:
        return [2 * width] * 4
    stages = {48: 4, 64: 4, 128: 5}[size]
    return [width * min(_MOST, 2**place) for place in range(stages + 1)]


def _check_image(channels: int, size: int) -> tuple[int, int, int]:
    if check_size("channels", channels, 1, 3) == 2:
        raise ValueError("channels must be 1 (grey) or 3 (RGB), got 2")
    if type(size) is not int or size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(map(str, SIZES))}, got {size!r:.40}")
    return channels, size, size
