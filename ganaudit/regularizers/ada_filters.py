"""ADA's filter: four bands of a picture's frequencies, each made stronger or weaker.

References:
  Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
  appendix B; Daubechies, "Ten Lectures on Wavelets", 1992, chapter 6, for the filter sym2.
  Deviation from the authors' code: none but that a side may be shorter than 22 pixels.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.regularizers.ada_chances import Chances
from ganaudit.regularizers.resample import mirrored

_GAIN = 1.0  # deviation of the binary logarithm
_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of each band in a natural picture


def bands() -> NDArray[np.float64]:
    """Filters of the frequencies up to 1/8 of the highest, then up to 1/4, 1/2 and 1.

    Returns:
      [4, 43], symmetric. Their sum is 1 at the middle and else 0: together they change nothing.
    """
    root = math.sqrt(3)
    taps = np.array([1 - root, 3 - root, 3 + root, 1 + root]) / (4 * math.sqrt(2))  # sym2
    low = np.convolve(taps, taps[::-1]) / 2  # half of all frequencies
    high = -low
    high[3] += 1  # the other half
    wide_low, wide_high = _spread(low, 2), _spread(high, 2)
    below = np.convolve(low, wide_low)
    made = (
        np.convolve(below, _spread(low, 4)),
        np.convolve(below, _spread(high, 4)),
        np.convolve(low, wide_high),
        high,
    )
    length = len(made[0])
    return np.stack([np.pad(band, (length - len(band)) // 2) for band in made])


def gains(chances: Chances) -> Tensor:
    """[N, 4]: factors of the bands.

    After each change all four are scaled so that a natural picture keeps its power.
    """
    power = torch.tensor(_POWER, dtype=chances.dtype)
    product = torch.ones(chances.images, len(_POWER), dtype=chances.dtype)
    for band in range(len(_POWER)):
        factors = torch.ones_like(product)
        factors[:, band] = chances.sometimes((chances.normal() * _GAIN).exp2(), 1)
        product = product * factors / (power * factors.square()).sum(dim=1, keepdim=True).sqrt()
    return product


def filtered(images: Tensor, factors: Tensor) -> Tensor:
    """Pictures with other strengths of their bands, the same in each colour.

    Args:
      images: [N, C, H, W] float32 or float64; beyond its edges a picture goes on as in a mirror.
      factors: [N, 4] of the same type: `gains`. Held constant.

    Returns:
      [N, C, H, W] of the same type.
    """
    number, channels, height, width = images.shape
    kernels = factors @ torch.as_tensor(bands(), dtype=factors.dtype)  # [N, 43]
    reach = kernels.shape[1] // 2
    weights = kernels.to(images.device).repeat_interleave(channels, dim=0)[
        :, None
    ]  # [N * C, 1, 43]
    planes = mirrored(images, (reach,) * 4).flatten(0, 1)[None]
    planes = F.conv2d(planes, weights[:, :, None, :], groups=number * channels)
    planes = F.conv2d(planes, weights[:, :, :, None], groups=number * channels)
    return planes.reshape(number, channels, height, width)


def _spread(taps: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """The same taps for pixels that are `step` apart."""
    wide = np.zeros(step * (len(taps) - 1) + 1)
    wide[::step] = taps
    return wide
