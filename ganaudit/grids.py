"""Pictures side by side, as a PNG file that is exact and always the same."""

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_SIDE = 4130  # pixels of a grid, at most: 16 columns of 256 pixels, 8 of 512, 4 of 1024
_GAP, _PAPER, _ABSENT = 2, 255, 200  # pixels between images; grey levels around and in place of one
_QUICK = 1  # compression: a tenth larger than with the usual 6, four times as fast


def columns_of(count: int) -> tuple[int, int]:
    """Of a grid of `count` pictures: its columns, and the longest side a picture may have."""
    columns = math.ceil(math.sqrt(count))
    return columns, (_SIDE - _GAP) // columns - _GAP


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3] as a PNG file, exact; the same pixels give the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=_QUICK)
    return buffer.getvalue()


def thumbnail(image: torch.Tensor, *, side: int) -> NDArray[np.uint8]:
    """uint8 [3, H, W] as uint8 [h, w, 3], scaled down until no side is longer than `side`."""
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.array(picture)


def draw_grid(pictures: Sequence[NDArray[np.uint8] | None], *, columns: int) -> NDArray[np.uint8]:
    """Pictures row by row, each in the middle of its cell.

    Args:
      pictures: at least one, uint8 [h, w, 3] of any sizes; None: a grey cell stands for it.
      columns: in a row.

    Returns:
      uint8 [H, W, 3]; every cell is as large as the largest picture.
    """
    sizes = [picture.shape for picture in pictures if picture is not None]
    height, width = (max((size[axis] for size in sizes), default=1) for axis in (0, 1))
    rows = math.ceil(len(pictures) / columns)
    down, right = height + _GAP, width + _GAP
    grid = np.full((rows * down + _GAP, columns * right + _GAP, 3), _PAPER, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        top, left = _GAP + i // columns * down, _GAP + i % columns * right
        if picture is None:
            grid[top : top + height, left : left + width] = _ABSENT
            continue
        high, wide = picture.shape[:2]
        top, left = top + (height - high) // 2, left + (width - wide) // 2
        grid[top : top + high, left : left + wide] = picture
    return grid
