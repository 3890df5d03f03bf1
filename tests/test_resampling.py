from itertools import product

import pytest
import torch
from torch import Tensor

from ganaudit.networks.resampling import upfirdn


def literal(
    images: Tensor,
    kernel: Tensor,
    up: int,
    down: int,
    padding: tuple[int, int, int, int],
    gain: float,
    flip: bool,
) -> Tensor:
    # The definition, pixel by pixel, in double precision.
    if kernel.ndim == 1:
        kernel = torch.outer(kernel, kernel)
    if flip:
        kernel = kernel.flip((0, 1))
    left, right, top, bottom = padding
    count, channels, height, width = images.shape
    rows, columns = kernel.shape
    out_height = -((height * up + top + bottom - rows + 1) // -down)
    out_width = -((width * up + left + right - columns + 1) // -down)
    result = torch.zeros(count, channels, out_height, out_width, dtype=torch.float64)
    for y, x in product(range(out_height), range(out_width)):
        for i, j in product(range(rows), range(columns)):
            # The convolution takes the kernel's last tap to the window's first pixel.
            from_y, from_x = y * down + rows - 1 - i - top, x * down + columns - 1 - j - left
            if from_y % up or from_x % up:
                continue
            source_y, source_x = from_y // up, from_x // up
            if 0 <= source_y < height and 0 <= source_x < width:
                result[:, :, y, x] += kernel[i, j].double() * images[:, :, source_y, source_x]
    return result * gain


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel_shape", [(4,), (5,), (1,), (3, 4), (1, 1), (2, 5)])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 3), (4, 2)])
@pytest.mark.parametrize("padding", [(2, 2, 2, 2), (3, 1, 0, 4), (6, 5, 5, 6), (-1, 3, 4, -2)])
def test_every_combination_agrees_with_the_definition(
    kernel_shape: tuple[int, ...], up: int, down: int, padding: tuple[int, int, int, int]
) -> None:
    images, kernel = normal(2, 3, 6, 5), normal(*kernel_shape, seed=1)
    for gain, flip in ((1.0, False), (2.5, True)):
        got = upfirdn(images, kernel, up=up, down=down, padding=padding, gain=gain, flip=flip)
        wanted = literal(images.double(), kernel, up, down, padding, gain, flip)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_hand_computed_row() -> None:
    images = torch.tensor([[[[1.0, 2.0]]]])
    # 1 0 2 0, padded 0 1 0 2 0, with kernel (1, 10): each output 10 * earlier + 1 * later.
    got = upfirdn(images, torch.tensor([[1.0, 10.0]]), up=2, padding=(1, 0, 0, -1))
    assert got.tolist() == [[[[1, 10, 2, 20]]]]


def test_an_impulse_of_one_tap_changes_nothing() -> None:
    images = normal(2, 3, 4, 5)
    assert torch.equal(upfirdn(images, torch.ones(1)), images)
    assert torch.equal(upfirdn(images, torch.ones(1, 1)), images)


def test_rows_depend_on_their_own_image_and_gradients_pass() -> None:
    images = normal(3, 2, 6, 5).double().requires_grad_()
    kernel = normal(4, seed=1).double()

    def resample(images: Tensor) -> Tensor:
        return upfirdn(images, kernel, up=2, down=1, padding=(2, 1, 2, 1), gain=4.0)

    alone = torch.cat([resample(image[None]) for image in images])
    torch.testing.assert_close(resample(images), alone)
    assert torch.autograd.gradcheck(resample, (images,))


def test_double_precision_and_the_meta_device_are_kept() -> None:
    assert upfirdn(normal(1, 1, 4, 4).double(), torch.ones(3)).dtype == torch.float64
    meta = upfirdn(torch.empty(2, 3, 8, 8, device="meta"), torch.ones(4, device="meta"), up=2)
    assert meta.shape == (2, 3, 13, 13)


@pytest.mark.parametrize(
    ("kernel", "complaint"),
    [
        (torch.ones(()), "kernel must have 1 or 2 dimensions, got 0"),
        (torch.ones(2, 2, 2), "kernel must have 1 or 2 dimensions, got 3"),
        (torch.ones(9), r"a kernel of \(9,\) does not fit into 4x5 padded pixels"),
        (torch.ones(5, 2), r"a kernel of \(5, 2\) does not fit into 4x5 padded pixels"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(kernel: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        upfirdn(torch.zeros(1, 1, 4, 5), kernel)
