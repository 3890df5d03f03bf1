"""Images read beyond their edges and between their pixels, with slopes that have slopes themselves.

Reading is linear in the image. So its derivative is the transposed map, and the derivative of that
is reading again: any order comes of two functions. torch's own has the first order alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Each place is the mean of its four nearest pixels by closeness; outside the image is 0.

    Args:
      images: [N, C, H, W] float.
      grid: [N, H', W', 2] of the same type, (x, y) of each place; -1 and 1 are the outer edges of
        the outer pixels. It is held constant: no gradient flows into it.

    Returns:
      [N, C, H', W'] of the same type. It can be derived by the images any number of times.
    """
    read: Tensor = _Read.apply(images, grid)
    return read


def mirrored(images: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
    """Images that go on beyond their edges as in a mirror; the outer pixels are not repeated.

    Args:
      images: [N, C, H, W] float, H and W >= 1.
      margins: pixels at (left, right, top, bottom), >= 0. Those wider than the image go to and
        fro in it.

    Returns:
      [N, C, H + top + bottom, W + left + right] of the same type.
    """
    left, right, top, bottom = margins
    height, width = images.shape[2:]
    if max(left, right) < width and max(top, bottom) < height:
        return F.pad(images, margins, mode="reflect")
    rows = _to_and_fro(height, top, bottom).to(images.device)
    columns = _to_and_fro(width, left, right).to(images.device)
    return images.index_select(2, rows).index_select(3, columns)


def _to_and_fro(length: int, before: int, after: int) -> Tensor:
    last = length - 1
    places = torch.arange(-before, length + after)
    return last - (places % max(1, 2 * last) - last).abs()


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(slope, grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The transposed map: each place gives what it has to the pixels that it was read from."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        # Of the images only the shape matters, for the slope by the grid is not asked for.
        images = slope.new_empty(shape)
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            slope, images, grid, 0, 0, False, (True, False)
        )[0]
        return spread

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Read.apply(slope, grid), None, None
