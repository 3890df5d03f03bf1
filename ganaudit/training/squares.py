"""Pictures of any shape as squares of one size, for networks that take no other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.config import Fit
from ganaudit.errors import ConfigError

_LUMA = np.array([19595, 38470, 7471])  # of red, green and blue, times 2**16: ITU-R BT.601


def square(
    picture: NDArray[np.uint8], *, size: int, fit: Fit, what: str
) -> tuple[NDArray[np.uint8], bool]:
    """A picture of `size` pixels a side.

    Args:
      picture: [3, H, W] uint8.
      size: pixels a side.
      fit: what becomes of another shape. "refuse" it; "crop": its middle square, resized; "pad":
        black around it, evenly (an odd pixel more to the right and below); "resize": squeezed.
        Resizing is by a Lanczos window, which also averages while it makes smaller.
      what: it is, for messages.

    Returns:
      [3, size, size] uint8, and whether it had to be enlarged.

    Raises:
      ConfigError: it is refused, or too large for a frame.
    """
    _, height, width = picture.shape
    if (height, width) == (size, size):
        return picture, False
    if fit == "pad":
        return _padded(picture, size, what), False
    if fit == "refuse":
        raise ConfigError(
            f"{what} has {width} x {height} pixels, not {size} x {size}; say --size {size} --fit "
            "crop, resize or pad"
        )
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[:, top : top + side, left : left + side]
        enlarged = side < size
    else:
        enlarged = min(height, width) < size
    return _resized(picture, size), enlarged


def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[1, H, W] of [3, H, W]: the luma, rounded; a picture that is grey keeps its values."""
    weighted = np.tensordot(_LUMA, picture.astype(np.int64), axes=1)  # [H, W], below 2**24
    return ((weighted + 2**15) >> 16).astype(np.uint8)[None]


def is_grey(picture: NDArray[np.uint8]) -> bool:
    """Whether the three channels of [3, H, W] are the same."""
    return bool((picture[0] == picture[1]).all() and (picture[0] == picture[2]).all())


def _padded(picture: NDArray[np.uint8], size: int, what: str) -> NDArray[np.uint8]:
    _, height, width = picture.shape
    if max(height, width) > size:
        raise ConfigError(
            f"{what} has {width} x {height} pixels, more than {size} x {size}; say --fit crop or "
            "resize, or a larger --size"
        )
    framed: NDArray[Any] = np.zeros((3, size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    framed[:, top : top + height, left : left + width] = picture
    return framed


def _resized(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    from PIL import Image

    if picture.shape[1:] == (size, size):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
