"""Mode seeking: the inverse ratio, its limits, and which way it moves images."""

import pytest
import torch
from torch import Tensor

from ganaudit.regularizers.mode_seeking import ModeSeeking, inverse_ratio


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_by_hand() -> None:
    """d_I = (1 + 3 + 0 + 2) / 4 = 1.5, d_z = (2 + 0 + 4 + 4) / 4 = 2.5."""
    images, others = torch.tensor([[0.0, 0], [1, 1]]), torch.tensor([[1.0, -3], [1, 3]])
    latents, partners = torch.tensor([[0.0, 0], [0, 0]]), torch.tensor([[2.0, 0], [4, -4]])
    wanted = 1 / (1.5 / 2.5 + 1e-5)
    assert float(inverse_ratio(images, others, latents, partners)) == pytest.approx(wanted)
    found = ModeSeeking(weight=0.25).loss(images, others, latents, partners)
    assert float(found) == pytest.approx(wanted / 4)


def test_order_of_the_pairs_and_of_a_pair_is_irrelevant() -> None:
    images, others = normal(6, 2, 3), normal(6, 2, 3, seed=2)
    latents, partners = normal(6, 4, seed=3), normal(6, 4, seed=4)
    found = float(inverse_ratio(images, others, latents, partners))
    assert float(inverse_ratio(others, images, partners, latents)) == pytest.approx(found)
    mixed = torch.tensor([3, 0, 5, 1, 4, 2])
    assert float(
        inverse_ratio(images[mixed], others[mixed], latents[mixed], partners[mixed])
    ) == pytest.approx(found)


def test_a_scale_of_both_is_irrelevant_and_one_of_images_divides() -> None:
    images, others = normal(6, 5), normal(6, 5, seed=2)
    latents, partners = normal(6, 4, seed=3), normal(6, 4, seed=4)
    found = float(inverse_ratio(images, others, latents, partners))
    both = inverse_ratio(7 * images, 7 * others, 7 * latents, 7 * partners)
    assert float(both) == pytest.approx(found)
    wide = inverse_ratio(7 * images, 7 * others, latents, partners)
    assert 1 / float(wide) - 1e-5 == pytest.approx(7 * (1 / found - 1e-5))


def test_lowering_it_moves_images_apart_and_touches_no_latent() -> None:
    images, others = normal(6, 5).requires_grad_(), normal(6, 5, seed=2)
    latents, partners = normal(6, 4, seed=3), normal(6, 4, seed=4)
    ModeSeeking().loss(images, others, latents, partners).backward()
    assert images.grad is not None
    assert torch.equal((-images.grad).sign(), (images.detach() - others).sign())


def test_its_limits_are_finite_with_their_gradients() -> None:
    one, other = normal(4, 3), normal(4, 3, seed=2)
    for images, latents, wanted in (
        ((one, one), (one, other), 1e5),  # collapsed
        ((one, one), (one, one), 1e5),  # the same latent twice
        ((one, other), (one, one), 0.0),  # images that differ for nothing
    ):
        pictures = images[0].clone().requires_grad_()
        loss = inverse_ratio(pictures, images[1], *latents)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(wanted, abs=1e-6)
        assert pictures.grad is not None and bool(torch.isfinite(pictures.grad).all())
