"""ADA's changes of colour, done as one.

Each change is a matrix of colours (red, green, blue, 1); their product is applied once.

References:
  Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
  appendix B.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ganaudit.regularizers.ada_chances import Chances

Recolouring = Callable[[Chances], Tensor]
_BRIGHTNESS = 0.2  # deviation
_CONTRAST = 0.5  # deviation of the binary logarithm
_SATURATION = 1.0  # deviation of the binary logarithm


def brightened(chances: Chances) -> Tensor:
    """[N, 4, 4]: a normal number is added to each colour."""
    added = chances.sometimes(chances.normal() * _BRIGHTNESS, 0)
    matrix = torch.eye(4, dtype=added.dtype).repeat(len(added), 1, 1)
    matrix[:, :3, 3] = added[:, None]
    return matrix


def contrasted(chances: Chances) -> Tensor:
    """[N, 4, 4]: each colour is multiplied by a log-normal number."""
    factor = chances.sometimes((chances.normal() * _CONTRAST).exp2(), 1)
    return _one(factor) + factor[:, None, None] * (_grey(factor) + _colour(factor))


def luma_flipped(chances: Chances) -> Tensor:
    """[N, 4, 4]: light and dark change places and hue stays, or not, by equal chances."""
    flip = chances.sometimes((2 * chances.uniform()).floor(), 0)
    return _one(flip) + (1 - 2 * flip[:, None, None]) * _grey(flip) + _colour(flip)


def hue_turned(chances: Chances) -> Tensor:
    """[N, 4, 4]: colours turn around grey by any angle."""
    angle = chances.sometimes((2 * chances.uniform() - 1) * math.pi, 0)[:, None, None]
    across = torch.zeros(4, 4, dtype=angle.dtype)  # the vector product with the axis of grey
    across[:3, :3] = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned = angle.cos() * _colour(angle) + angle.sin() * across
    return _one(angle) + _grey(angle) + turned


def saturated(chances: Chances) -> Tensor:
    """[N, 4, 4]: what is not grey is multiplied by a log-normal number."""
    factor = chances.sometimes((chances.normal() * _SATURATION).exp2(), 1)
    return _one(factor) + _grey(factor) + factor[:, None, None] * _colour(factor)


OF_ALL: tuple[Recolouring, ...] = (brightened, contrasted, luma_flipped)
OF_COLOURED: tuple[Recolouring, ...] = (hue_turned, saturated)  # grey has neither


def palettes(chances: Chances, channels: int) -> Tensor:
    """The product of all changes of colour: [N, 4, 4] on the CPU.

    Args:
      chances: of N images.
      channels: 3; or 1, whose hue and saturation are not drawn.
    """
    first, *others = OF_ALL if channels == 1 else OF_ALL + OF_COLOURED
    product = first(chances)
    for change in others:
        product = change(chances) @ product
    return product


def recoloured(images: Tensor, palette: Tensor) -> Tensor:
    """Each pixel through the matrix of its image; colours may leave [-1, 1].

    Args:
      images: [N, C, H, W] float32 or float64, C = 3, or 1: grey, which stays the mean of what
        its three equal colours would become.
      palette: [N, 4, 4] of the same type: `palettes`. Held constant.

    Returns:
      [N, C, H, W] of the same type.
    """
    factors, added = palette[:, :3, :3], palette[:, :3, 3:]
    if images.shape[1] == 1:
        factors = factors.mean(dim=1, keepdim=True).sum(dim=2, keepdim=True)
        added = added.mean(dim=1, keepdim=True)
    pixels = factors.to(images.device) @ images.flatten(2) + added.to(images.device)
    return pixels.reshape(images.shape)


def _grey(like: Tensor) -> Tensor:
    """[4, 4]: what it leaves of a colour is its mean."""
    matrix = torch.zeros(4, 4, dtype=like.dtype)
    matrix[:3, :3] = 1 / 3
    return matrix


def _colour(like: Tensor) -> Tensor:
    """[4, 4]: what it leaves of a colour is what it has beside its mean."""
    return torch.eye(4, dtype=like.dtype) - _one(like) - _grey(like)


def _one(like: Tensor) -> Tensor:
    """[4, 4]: what it leaves of a colour is its fourth number, 1."""
    return torch.diag(torch.tensor([0, 0, 0, 1], dtype=like.dtype))
