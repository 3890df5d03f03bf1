"""Low-pass filters of StyleGAN3, and the leaky ReLU that they keep free of aliasing.

Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen, Aila (2021), "Alias-Free Generative
Adversarial Networks", sections 2 and 3.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.networks.resampling import upfirdn


def lowpass_filter(
    taps: int, *, cutoff: float, width: float, rate: float, radial: bool = False
) -> Tensor:
    """The ideal low-pass filter under a Kaiser window.

    Args:
      taps: length of an edge, >= 2.
      cutoff: frequency at which half the amplitude is left, cycles per image.
      width: of the transition band around the cutoff, cycles per image.
      rate: samples per image to which the filter is applied, > 2 * cutoff.
      radial: jinc instead of sinc: the same response in all directions, not separable.

    Returns:
      float32 [taps], or [taps, taps] if radial; sums to 1. On torch's meta device it has only
      its shape.

    References:
      Karras et al. (2021), appendix C; Kaiser (1974) for the window's shape. Deviation from the
      authors' code: a radial filter of an odd number of taps has the jinc's limit at its centre
      instead of NaN.
    """
    empty = torch.empty((taps, taps) if radial else taps)
    if empty.is_meta:
        return empty
    offsets = (np.arange(taps) - (taps - 1) / 2) / rate  # [taps], images
    window = np.kaiser(taps, _kaiser_beta(taps, width / (rate / 2)))  # [taps]
    if radial:
        radii = np.hypot(offsets[:, None], offsets)  # [taps, taps]
        kernel = torch.tensor(_jinc(radii, cutoff) * np.outer(window, window))
    else:
        kernel = torch.tensor(np.sinc(2 * cutoff * offsets) * window)
    return (kernel / kernel.sum()).float()


def filtered_leaky_relu(
    images: Tensor,
    bias: Tensor,
    *,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    up: int,
    down: int,
    padding: tuple[int, int],
    slope: float,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """Leaky ReLU at a raised sampling rate, between two low-pass filters.

    In order: bias, upsampling with `up_filter`, leaky ReLU, gain, clamp, downsampling with
    `down_filter`.

    Args:
      images: [N, C, H, W] float.
      bias: [C].
      up_filter: [T] or [T, T]; None: no filter.
      down_filter: [T] or [T, T]; None: no filter.
      up: factor of the upsampling, >= 1.
      down: factor of the downsampling, >= 1.
      padding: zeros before and after each row and each column of the upsampled image;
        negative: it is cropped.
      slope: factor on what is below 0.
      gain: factor on everything, after the slope.
      clamp: limit of the absolute value after the gain; None: no limit.

    Returns:
      [N, C, H', W'] float; with T taps an edge of length L becomes
      ceil((L * up + padding - (T_up - 1) - (T_down - 1)) / down).
    """
    images = images + bias[:, None, None]
    # Zeros between the pixels take (up - 1) / up of the brightness in each direction.
    images = _resampled(images, up_filter, up=up, padding=padding, gain=up**2)
    if slope != 1:
        images = F.leaky_relu(images, slope)
    if gain != 1:
        images = images * gain
    if clamp is not None:
        images = images.clamp(-clamp, clamp)
    return _resampled(images, down_filter, down=down)


def _resampled(
    images: Tensor,
    kernel: Tensor | None,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int] = (0, 0),
    gain: float = 1,
) -> Tensor:
    if kernel is None and up == down == 1 and padding == (0, 0):
        return images
    if kernel is None:
        kernel = images.new_ones(1)
    return upfirdn(images, kernel, up=up, down=down, padding=(*padding, *padding), gain=gain)


def _kaiser_beta(taps: int, width: float) -> float:
    # Kaiser (1974): the window's shape for the attenuation that this many taps can reach over a
    # transition band of this width, a fraction of half the sampling rate.
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95  # dB
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return float(0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21))
    return 0.0


def _jinc(radii: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    from scipy.special import j1  # only a network that is trained or initialised needs it

    safe = np.maximum(radii, 1e-12)  # [taps, taps]; the limit at 0 is the cutoff
    circles: NDArray[np.float64] = j1(2 * math.pi * cutoff * safe) / (math.pi * safe)
    return circles
