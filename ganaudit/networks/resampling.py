"""Resampling of images by a finite filter: upsample, pad, filter, downsample.

The primitive of StyleGAN2 (Karras et al. 2020, appendix B) and StyleGAN3 (Karras et al. 2021,
section 3), after `upfirdn` of signal processing.
"""

import torch.nn.functional as F
from torch import Tensor


def upfirdn(
    images: Tensor,
    kernel: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Tensor:
    """Each channel of each image upsampled, padded, filtered and downsampled, in this order.

    The filter is a true convolution where it lies wholly within the padded image: an edge of
    length L becomes ceil((L * up + padding - taps + 1) / down).

    Args:
      images: [N, C, H, W] float.
      kernel: [taps], applied to rows and then to columns, or [rows, columns]; float.
      up: each pixel is followed by up - 1 zeros in both directions, >= 1.
      down: only every down-th pixel is kept in both directions, >= 1.
      padding: zeros at (left, right, top, bottom) of the upsampled image, which ends with
        up - 1 zeros; a negative number crops.
      gain: factor on the result; a kernel of one dimension takes its root in each pass.
      flip: correlate instead of convolve: the kernel is not turned around.

    Returns:
      [N, C, H', W'] of the images' dtype; row i depends on image i alone.

    Raises:
      ValueError: a kernel of another rank, or wider than the padded image.
    """
    if kernel.ndim not in (1, 2):
        raise ValueError(f"kernel must have 1 or 2 dimensions, got {kernel.ndim}")
    kernel = (kernel * gain ** (kernel.ndim / 2)).to(images.dtype)
    if flip:
        kernel = kernel.flip(tuple(range(kernel.ndim)))
    _check_extent(images, kernel, up, padding)
    left, right, top, bottom = padding
    if kernel.ndim == 2:
        return _filtered(images, kernel, (up, up), (down, down), padding)
    rows = _filtered(images, kernel[None, :], (1, up), (1, down), (left, right, 0, 0))
    return _filtered(rows, kernel[:, None], (up, 1), (down, 1), (0, 0, top, bottom))


def _check_extent(
    images: Tensor, kernel: Tensor, up: int, padding: tuple[int, int, int, int]
) -> None:
    left, right, top, bottom = padding
    height, width = (length * up for length in images.shape[2:])
    height, width = height + top + bottom, width + left + right
    if height < kernel.shape[0] or width < kernel.shape[-1]:
        raise ValueError(
            f"a kernel of {tuple(kernel.shape)} does not fit into {height}x{width} padded pixels"
        )


def _filtered(
    images: Tensor,
    kernel: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Tensor:
    # up and down are (vertical, horizontal), as in torch; the kernel is [rows, columns].
    channels = int(images.shape[1])  # a constant, also where torch traces
    if up == (1, 1):
        # torch correlates, so the kernel is turned around.
        weights = kernel.flip((0, 1)).expand(channels, 1, *kernel.shape)
        return F.conv2d(_padded(images, padding), weights, stride=down, groups=channels)
    # A transposed convolution is the full convolution of the zero-filled image, without the
    # zeros after its last pixel: what is left of the padding is what it lacks at each end.
    weights = kernel.expand(channels, 1, *kernel.shape)
    full = F.conv_transpose2d(images, weights, stride=up, groups=channels)
    taps_y, taps_x = kernel.shape
    left, right, top, bottom = padding
    missing = (
        left - (taps_x - 1),
        right - (taps_x - up[1]),
        top - (taps_y - 1),
        bottom - (taps_y - up[0]),
    )
    return _padded(full, missing)[:, :, :: down[0], :: down[1]]


def _padded(images: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    return F.pad(images, padding) if any(padding) else images
