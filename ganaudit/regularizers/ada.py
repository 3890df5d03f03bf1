"""ADA: the discriminator sees real and fake images through random changes, as many as it needs.

For few images: it cannot learn them by heart. Each change is done with a probability p, which rises
while the discriminator is too sure of the real images. As long as p is well below 1 the generator
is not taught to make the changes.

References:
  Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, section
  3 and appendix B. Deviation from the authors' code: at p = 0 it resamples the images all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers import ada_colour, ada_filters, ada_geometry
from ganaudit.regularizers.ada_chances import Chances

PIPES: Mapping[str, tuple[str, ...]] = {
    "blit": ("blit",),
    "geom": ("geom",),
    "color": ("color",),
    "filter": ("filter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}
_NOISE = 0.1  # deviation of the noise's deviation
_CUT = 0.5  # of the side: the rectangle that is blanked


@dataclass(frozen=True, kw_only=True)
class Ada:
    """What is changed; how often `Strength` says.

    Attributes:
      pipe: a key of `PIPES`, whose changes are done in this order.
    """

    pipe: str = "bgc"

    def __post_init__(self) -> None:
        if self.pipe not in PIPES:
            raise ConfigError(f"ada.pipe must be one of {', '.join(PIPES)}; got {self.pipe!r:.80}")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "Ada":
        """That of `--set ada.pipe=bgcf`.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        return cls(**bind(cls, options, what="--augment ada"))

    def __call__(self, images: Tensor, rng: torch.Generator, p: float) -> Tensor:
        """Images of the same shape and type, each changed by draws of its own.

        They can be derived by those given any number of times. An image depends on the others of
        its batch through one thing: how far all of them go on beyond their edges before they are
        turned.

        Args:
          images: [N, C, H, W] float in [-1, 1]; colours may leave the range. C is 1 or 3 if
            colours are changed. Computed in float32, or float64 if they are that.
          rng: draws, on the CPU; as many for any p but 0.
          p: probability of each change; above 1 it is 1. At 0 the images are returned as they
            are, and nothing is drawn.

        Raises:
          ConfigError: they are no images, but points, or have colours that cannot be changed.
        """
        if images.ndim != 4:
            raise ConfigError("--augment ada changes pictures, and these are points")
        groups = PIPES[self.pipe]
        if "color" in groups and images.shape[1] not in (1, 3):
            raise ConfigError(
                "--augment ada changes the colours of pictures with 1 or 3 channels, and these "
                f"have {images.shape[1]}; ada.pipe=bg leaves colours alone"
            )
        if p == 0 or not len(images):
            return images
        dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
        chances = Chances(rng, len(images), p, dtype)
        with torch.autocast(images.device.type, enabled=False):
            return _changed(images.to(dtype), groups, chances).to(images.dtype)


def _changed(images: Tensor, groups: tuple[str, ...], chances: Chances) -> Tensor:
    channels, height, width = images.shape[1:]
    moves = (ada_geometry.BLIT if "blit" in groups else ()) + (
        ada_geometry.GEOM if "geom" in groups else ()
    )
    if moves:
        where = ada_geometry.origins(moves, chances, height, width)
        images = ada_geometry.warped(images, where)
    if "color" in groups:
        images = ada_colour.recoloured(images, ada_colour.palettes(chances, channels))
    if "filter" in groups:
        images = ada_filters.filtered(images, ada_filters.gains(chances))
    if "noise" in groups:
        images = _noisy(images, chances)
    if "cutout" in groups:
        images = _cut_out(images, chances)
    return images


def _noisy(images: Tensor, chances: Chances) -> Tensor:
    """Normal noise is added, of a deviation that is half-normal itself."""
    deviation = chances.sometimes(chances.normal(1, 1, 1).abs() * _NOISE, 0)
    return images + (chances.normal(*images.shape[1:]) * deviation).to(images.device)


def _cut_out(images: Tensor, chances: Chances) -> Tensor:
    """A rectangle of half the sides is 0; its middle is anywhere, so part of it may be outside."""
    height, width = images.shape[2:]
    half = chances.sometimes(torch.full((len(images), 1), _CUT / 2, dtype=chances.dtype), 0)
    x, y = chances.uniform(2).unbind(dim=1)
    across = (_middles(width, half) - x[:, None]).abs() < half  # [N, W]
    down = (_middles(height, half) - y[:, None]).abs() < half  # [N, H]
    hole = down[:, None, :, None] & across[:, None, None, :]
    return images * (~hole).to(images)


def _middles(side: int, like: Tensor) -> Tensor:
    """[side] in (0, 1): where the middles of pixels are."""
    return (torch.arange(side, dtype=like.dtype) + 0.5) / side
