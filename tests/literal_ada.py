"""ADA's changes, slow and plain: of one image, by forward matrices and pixel by pixel."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def translation(x: float, y: float) -> Array:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def scaling(x: float, y: float) -> Array:
    return np.diag([x, y, 1.0])


def rotation(angle: float) -> Array:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def warped(images: Array, forward: Sequence[Array], taps: Sequence[float]) -> Array:
    """Images [N, C, H, W], each moved by its matrix [3, 3] in pixels around the middle."""
    backward = [np.linalg.inv(matrix) for matrix in forward]
    margins = margins_of(backward, *images.shape[2:])
    pairs = zip(images, backward, strict=True)
    return np.stack([_warped(image, matrix, margins, np.array(taps)) for image, matrix in pairs])


def margins_of(backward: Sequence[Array], height: int, width: int) -> tuple[int, int, int, int]:
    """(left, right, top, bottom): the corners' places and six pixels more, within bounds."""
    furthest = [0.0, 0.0, 0.0, 0.0]
    for matrix in backward:
        for x in (-(width - 1) / 2, (width - 1) / 2):
            for y in (-(height - 1) / 2, (height - 1) / 2):
                to_x, to_y, _ = matrix @ [x, y, 1]
                beyond = (
                    -to_x - (width - 1) / 2, to_x - (width - 1) / 2,
                    -to_y - (height - 1) / 2, to_y - (height - 1) / 2,
                )  # fmt: skip
                furthest = [max(a, b + 6) for a, b in zip(furthest, beyond, strict=True)]
    most = (width - 1, width - 1, height - 1, height - 1)
    left, right, top, bottom = (
        math.ceil(min(a, b) - 1e-9) for a, b in zip(furthest, most, strict=True)
    )
    return left, right, top, bottom


def _warped(
    image: Array, backward: Array, margins: tuple[int, int, int, int], taps: Array
) -> Array:
    channels, height, width = image.shape
    left, right, top, bottom = margins
    wide = np.pad(image, ((0, 0), (top, bottom), (left, right)), mode="reflect")
    taps = taps / taps.sum()
    double = _doubling(wide.shape[1], taps) @ wide @ _doubling(wide.shape[2], taps).T
    # Half the size, three pixels more at each end, is what the second filter sees.
    read = np.zeros((channels, 2 * (height + 6), 2 * (width + 6)))
    for i, j in np.ndindex(read.shape[1:]):
        # Doubled pixel k has its middle at (k + 1) / 2 pixels from the first pixel's outer edge.
        x, y = (j + 1) / 2 - 3 - width / 2, (i + 1) / 2 - 3 - height / 2
        x, y, _ = backward @ [x, y, 1]
        read[:, i, j] = _between(
            double, 2 * (y + height / 2 + top) - 1, 2 * (x + width / 2 + left) - 1
        )
    halved = np.zeros_like(image)
    for i, j in np.ndindex(height, width):
        window = read[:, 2 * i + 1 : 2 * i + 13, 2 * j + 1 : 2 * j + 13]
        halved[:, i, j] = taps @ window @ taps
    return halved


def _doubling(length: int, taps: Array) -> Array:
    """[2 L, L]: pixels with zeros between them, convolved with the taps."""
    matrix = np.zeros((2 * length, length))
    for k, i in np.ndindex(matrix.shape):
        if 0 <= k + 5 - 2 * i < len(taps):
            matrix[k, i] = 2 * taps[k + 5 - 2 * i]
    return matrix


def _between(image: Array, y: float, x: float) -> Array:
    total = np.zeros(len(image))
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total += (1 - abs(y - i)) * (1 - abs(x - j)) * image[:, i, j]
    return total


def recoloured(
    image: Array,
    *,
    brightness: float,
    contrast: float,
    flip: float,
    hue: float = 0.0,
    saturation: float = 1.0,
) -> Array:
    """Each pixel of an image [C, H, W] on its own; a grey one has three equal colours."""
    out = np.empty_like(image)
    axis = np.full(3, 1 / math.sqrt(3))
    for place in np.ndindex(image.shape[1:]):
        colour = np.resize(image[(slice(None), *place)], 3)
        colour = (colour + brightness) * contrast
        colour = colour - 2 * flip * statistics.fmean(colour)
        along = axis * (axis @ colour)
        colour = (
            along + math.cos(hue) * (colour - along) + math.sin(hue) * np.cross(axis, colour)
        )  # Rodrigues
        mean = statistics.fmean(colour)
        colour = mean + saturation * (colour - mean)
        out[(slice(None), *place)] = colour[: len(image)]
    return out


def bands() -> Array:
    """[4, 43] by their frequency responses: sym2's is known in closed form."""

    def low(frequency: float) -> float:
        return math.cos(frequency / 2) ** 4 * (1 + 2 * math.sin(frequency / 2) ** 2)

    count = 64  # frequencies, more than taps
    made = np.zeros((4, 43))
    for k in range(count):
        w = 2 * math.pi * k / count
        responses = (
            low(w) * low(2 * w) * low(4 * w),
            low(w) * low(2 * w) * (1 - low(4 * w)),
            low(w) * (1 - low(2 * w)),
            1 - low(w),
        )
        for tap in range(43):
            made[:, tap] += np.array(responses) * math.cos(w * (tap - 21)) / count
    return made


def gains(factors: Sequence[float]) -> Array:
    """[4]: a natural image has ten times the power in the lowest band as in each other."""
    product = np.ones(4)
    for band, factor in enumerate(factors):
        one = [factor if other == band else 1.0 for other in range(4)]
        power = sum(p / 13 * g**2 for p, g in zip((10, 1, 1, 1), one, strict=True))
        product = product * one / math.sqrt(power)
    return product


def filtered(image: Array, factors: Array) -> Array:
    kernel = factors @ bands()
    wide = np.pad(image, ((0, 0), (21, 21), (21, 21)), mode="reflect")
    out = np.empty_like(image)
    for i, j in np.ndindex(image.shape[1:]):
        out[:, i, j] = kernel @ wide[:, i : i + 43, j : j + 43] @ kernel
    return out


def cut_out(image: Array, x: float, y: float) -> Array:
    """An image with 0 where a pixel's middle is less than a quarter of the side from (x, y)."""
    out = image.copy()
    height, width = image.shape[1:]
    for i, j in np.ndindex(height, width):
        if abs((j + 0.5) / width - x) < 0.25 and abs((i + 0.5) / height - y) < 0.25:
            out[:, i, j] = 0
    return out
