"""ADA's changes of place: flips, turns, shifts and stretches of a picture, done as one.

Each change is the matrix that takes a pixel of the result to where it comes from. Their product is
applied once, to an enlarged picture, so that nothing is blurred twice.

References:
  Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020,
  appendix B; Daubechies, "Orthonormal bases of compactly supported wavelets II", SIAM J. Math.
  Anal. 24, 1993, for the filter sym6. Deviation from the authors' code: none in what is made.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganaudit.networks.resampling import upfirdn
from ganaudit.regularizers.ada_chances import Chances
from ganaudit.regularizers.resample import bilinear, mirrored

Move = Callable[[Chances, int, int], Tensor]
_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
_REACH = len(_SYM6) // 4  # pixels to each side that the filter looks at, at double resolution
_WHOLE_SHIFT = 0.125  # of the side: the furthest
_SHIFT = 0.125  # of the side: deviation
_ZOOM = 0.2  # deviation of the binary logarithm
_STRETCH = 0.2  # deviation of the binary logarithm


def flipped(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: left and right change places, or do not, by equal chances."""
    flip = chances.sometimes((2 * chances.uniform()).floor(), 0)
    return _scaling(1 - 2 * flip, torch.ones_like(flip))


def turned_by_quarters(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: none to three quarters of a turn, by equal chances."""
    quarters = chances.sometimes((4 * chances.uniform()).floor(), 0)
    return _rotation(math.pi / 2 * quarters)


def shifted_by_pixels(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: by whole pixels, up to an eighth of the side each way."""
    share = chances.sometimes((2 * chances.uniform(2) - 1) * _WHOLE_SHIFT, 0)
    return _translation(-(share[:, 0] * width).round(), -(share[:, 1] * height).round())


def zoomed(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: larger or smaller by log-normal factors."""
    factor = chances.sometimes((chances.normal() * _ZOOM).exp2(), 1)
    return _scaling(1 / factor, 1 / factor)


def turned(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: by any angle. It is done before and after a stretch, together as often as p."""
    either = 1 - math.sqrt(max(0.0, 1 - chances.p))
    angle = chances.sometimes((2 * chances.uniform() - 1) * math.pi, 0, either)
    return _rotation(angle)


def stretched(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: wider and lower, or the other way round, by log-normal factors."""
    factor = chances.sometimes((chances.normal() * _STRETCH).exp2(), 1)
    return _scaling(1 / factor, factor)


def shifted(chances: Chances, height: int, width: int) -> Tensor:
    """[N, 3, 3]: by normal parts of the side each way."""
    share = chances.sometimes(chances.normal(2) * _SHIFT, 0)
    return _translation(-share[:, 0] * width, -share[:, 1] * height)


BLIT: tuple[Move, ...] = (flipped, turned_by_quarters, shifted_by_pixels)
GEOM: tuple[Move, ...] = (zoomed, turned, stretched, turned, shifted)


def origins(moves: Sequence[Move], chances: Chances, height: int, width: int) -> Tensor:
    """The product of what the moves draw, one after the other.

    Args:
      moves: at least one.
      chances: of N images.
      height: of an image, in pixels.
      width: of an image, in pixels.

    Returns:
      [N, 3, 3] on the CPU, from (x, y, 1) of a pixel of the result to where it comes from, in
      pixels around the middle of the picture; x is to the right and y down.
    """
    product = moves[0](chances, height, width)
    for move in moves[1:]:
        product = product @ move(chances, height, width)
    return product


def warped(images: Tensor, where: Tensor) -> Tensor:
    """Pictures whose pixels come from other places.

    Beyond its edges a picture goes on as in a mirror, as far as any picture of the batch needs it,
    but by less than its own size; beyond that it is 0. It is doubled in size, read between its
    pixels, and halved again. The filter of both (sym6) is orthogonal: where nothing moves, or all
    by whole pixels, no value changes.

    Args:
      images: [N, C, H, W] float32 or float64, N >= 1.
      where: [N, 3, 3] of the same type, on the CPU: `origins`. Held constant.

    Returns:
      [N, C, H, W] of the same type. It can be derived by the images any number of times.
    """
    height, width = images.shape[2:]
    kernel = torch.tensor(_SYM6, dtype=torch.float64)
    kernel = (kernel / kernel.sum()).to(images)
    left, right, top, bottom = _margins(where, height, width)
    wide = mirrored(images, (left, right, top, bottom))
    double = upfirdn(wide, kernel, up=2, padding=(6, 5, 6, 5), gain=4)

    # Around the middle of the mirrored picture, then at double size. sym6 is not symmetric: the
    # middle of its 12 taps is at 5.5, but its weight is at 5.1 and is taken to be at 5.
    where = _fixed(where, shift=((left - right) / 2, (top - bottom) / 2)) @ where
    where = _fixed(where, scale=(2, 2)) @ where @ _fixed(where, scale=(1 / 2, 1 / 2))
    where = _fixed(where, shift=(-0.5, -0.5)) @ where @ _fixed(where, shift=(0.5, 0.5))

    high, broad = 2 * (height + 2 * _REACH), 2 * (width + 2 * _REACH)
    edges = 2 / double.shape[3], 2 / double.shape[2]  # -1 and 1 are the edges of a picture
    where = _fixed(where, scale=edges) @ where @ _fixed(where, scale=(broad / 2, high / 2))
    size = [*images.shape[:2], high, broad]
    grid = F.affine_grid(where[:, :2].to(images.device), size, align_corners=False)
    return upfirdn(bilinear(double, grid), kernel, down=2, padding=(-1, -1, -1, -1), flip=True)


def _margins(where: Tensor, height: int, width: int) -> list[int]:
    """Pixels (left, right, top, bottom) by which a picture goes on beyond its edges."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, x, x, -x], [-y, -y, y, y], [1, 1, 1, 1]], dtype=where.dtype)
    places = (where @ corners)[:, :2]  # [N, xy, corner]
    needed = torch.stack([-places.amin(dim=(0, 2)), places.amax(dim=(0, 2))], dim=1)  # [xy, end]
    needed = needed + torch.tensor([[2 * _REACH - x], [2 * _REACH - y]], dtype=where.dtype)
    most = torch.tensor([[width - 1], [height - 1]], dtype=where.dtype)
    margins: list[int] = needed.clamp(min=0).minimum(most).ceil().int().flatten().tolist()
    return margins


def _matrix(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """[N, 3, 3] of its first two rows of [N]; the third is (0, 0, 1)."""
    last = torch.zeros_like(rows[0][0])
    whole = [*rows, (last, last, torch.ones_like(last))]
    return torch.stack([torch.stack(tuple(row), dim=1) for row in whole], dim=1)


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([(one, zero, x), (zero, one, y)])


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return _matrix([(x, zero, zero), (zero, y, zero)])


def _rotation(angle: Tensor) -> Tensor:
    zero, cosine, sine = torch.zeros_like(angle), angle.cos(), angle.sin()
    return _matrix([(cosine, -sine, zero), (sine, cosine, zero)])


def _fixed(
    like: Tensor,
    *,
    scale: tuple[float, float] = (1, 1),
    shift: tuple[float, float] = (0, 0),
) -> Tensor:
    rows = [[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]]
    return torch.tensor(rows, dtype=like.dtype)
