"""DiffAugment against pixel loops, with the same draws."""

from typing import Any

import literal
import numpy as np
import pytest
import torch
from torch import Tensor

from ganaudit.regularizers.diffaugment import DiffAugment

SHAPES = [(5, 3, 8, 8), (5, 1, 9, 14), (4, 3, 7, 5), (6, 1, 2, 3)]


def rng(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=rng(1), dtype=torch.float64) * 2 - 1


def whole(low: int, high: int, count: int, draws: torch.Generator) -> list[int]:
    return torch.randint(low, high, (count, 1), generator=draws).flatten().tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_colours_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, draws = images(*shape), rng()
    brightness, saturation, contrast = (
        torch.rand((len(given), 1, 1, 1), generator=draws).flatten().tolist() for _ in range(3)
    )
    found = DiffAugment(policy=("color",))(given, rng()).numpy()
    for k, image in enumerate(given.numpy()):
        wanted = literal.recoloured(image, brightness[k], saturation[k], contrast[k])
        assert np.allclose(found[k], wanted, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_shifts_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, draws = images(*shape), rng()
    reach = [int(side / 8 + 0.5) for side in shape[2:]]  # an eighth, rounded half up
    down, right = (whole(-far, far + 1, len(given), draws) for far in reach)
    found = DiffAugment(policy=("translation",))(given, rng()).numpy()
    for k, image in enumerate(given.numpy()):
        assert np.array_equal(found[k], literal.translated(image, down[k], right[k]))


@pytest.mark.parametrize("shape", SHAPES)
def test_holes_are_those_of_the_pixel_loop(shape: tuple[int, ...]) -> None:
    given, draws = images(*shape), rng()
    sizes = [int(side / 2 + 0.5) for side in shape[2:]]
    ends = [side + 1 - size % 2 for side, size in zip(shape[2:], sizes, strict=True)]
    rows, columns = (whole(0, end, len(given), draws) for end in ends)
    found = DiffAugment(policy=("cutout",))(given, rng()).numpy()
    for k, image in enumerate(given.numpy()):
        assert np.array_equal(found[k], literal.cut_out(image, (rows[k], columns[k])))


def test_a_policy_is_its_changes_one_after_the_other() -> None:
    given = images(4, 3, 8, 8)
    for policy in (("color", "cutout"), ("cutout", "color"), ("translation", "color", "cutout")):
        draws, wanted = rng(), given
        for change in policy:
            wanted = DiffAugment(policy=(change,))(wanted, draws)  # type: ignore[arg-type]
        assert torch.equal(DiffAugment(policy=policy)(given, rng()), wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["color", "translation", "cutout"])
def test_draws_follow_from_their_generator_alone(change: Any) -> None:
    given, augment = images(6, 3, 16, 16), DiffAugment(policy=(change,))
    torch.manual_seed(1)
    one = augment(given, rng(2))
    torch.manual_seed(2)
    assert torch.equal(one, augment(given, rng(2)))
    assert not torch.equal(one, augment(given, rng(3)))


def test_what_is_given_keeps_its_type_and_its_values() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        given = images(3, 3, 8, 8).to(dtype)
        kept = given.clone()
        assert DiffAugment()(given, rng()).dtype == dtype
        assert torch.equal(given, kept)


def test_a_gradient_goes_where_a_pixel_went() -> None:
    """Of a shift and a hole each output is one input or 0, so the slope of their sum is 1 or 0."""
    given = images(40, 1, 8, 8).requires_grad_()
    DiffAugment(policy=("translation", "cutout"))(given, rng()).sum().backward()
    assert given.grad is not None
    assert set(given.grad.unique().tolist()) == {0.0, 1.0}
