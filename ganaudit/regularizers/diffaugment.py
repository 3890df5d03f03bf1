"""DiffAugment: the discriminator sees real and fake images through the same random changes.

For few images: it cannot learn them by heart. The changes can be derived, so the generator learns
through them, and is not taught to make them.

References:
  Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020, section
  3.3; sizes of the changes as in its code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganaudit.errors import ConfigError
from ganaudit.registry import bind

Change = Literal["color", "translation", "cutout"]
_SHIFT = 0.125  # of the side: the furthest that an image is shifted
_CUT = 0.5  # of the side: the square that is blanked


@dataclass(frozen=True, kw_only=True)
class DiffAugment:
    """What is changed.

    Attributes:
      policy: one or more of color, translation and cutout, done in this order.
    """

    policy: tuple[Change, ...] = ("color", "translation", "cutout")

    def __post_init__(self) -> None:
        if not self.policy or len(set(self.policy)) != len(self.policy):
            raise ConfigError(
                "diffaugment.policy must name some of color, translation and cutout, each once"
            )

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "DiffAugment":
        """That of `--set diffaugment.policy=color,cutout`.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        return cls(**bind(cls, options, what="--reg diffaugment"))

    def __call__(self, images: Tensor, rng: torch.Generator, p: float = 1.0) -> Tensor:
        """Images [N, C, H, W] of the same type, each changed by draws of its own.

        Args:
          images: [N, C, H, W] float in [-1, 1]; colours may leave the range.
          rng: draws, on the CPU.
          p: not asked: every image is changed.

        Raises:
          ConfigError: they are no images, but points.
        """
        if images.ndim != 4:
            raise ConfigError("--reg diffaugment changes pictures, and these are points")
        for change in self.policy:
            images = _CHANGES[change](images, rng)
        return images


def _recoloured(images: Tensor, rng: torch.Generator) -> Tensor:
    """Brightness by up to 0.5, saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = (_uniform(images, rng) for _ in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2 * saturation) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (contrast + 0.5) + mean


def _translated(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shifted both ways by up to an eighth of the side; what comes in is 0."""
    number, _, *sides = images.shape
    places, inside = [], []
    for side in sides:
        furthest = int(side * _SHIFT + 0.5)
        shift = torch.randint(-furthest, furthest + 1, (number, 1), generator=rng)
        place = torch.arange(side) + shift  # [N, side]: where each row comes from
        inside.append((place >= 0) & (place < side))
        places.append(place.clamp(0, side - 1).to(images.device))
    kept = (inside[0][:, :, None] & inside[1][:, None, :]).to(images)  # [N, H, W]
    rows = torch.arange(number, device=images.device)[:, None, None]
    moved = images.movedim(1, 3)[rows, places[0][:, :, None], places[1][:, None, :]]
    return moved.movedim(3, 1) * kept[:, None]


def _cut_out(images: Tensor, rng: torch.Generator) -> Tensor:
    """A square of half the side is 0; its middle is anywhere, so part of it may be outside."""
    number, _, *sides = images.shape
    covered = []
    for side in sides:
        size = int(side * _CUT + 0.5)
        middle = torch.randint(0, side + (1 - size % 2), (number, 1), generator=rng)
        place = torch.arange(side) - (middle - size // 2)
        covered.append((place >= 0) & (place < size))
    hole = covered[0][:, :, None] & covered[1][:, None, :]  # [N, H, W]
    return images * (~hole[:, None]).to(images)


def _uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand((len(images), 1, 1, 1), generator=rng).to(images)


_CHANGES = {"color": _recoloured, "translation": _translated, "cutout": _cut_out}
