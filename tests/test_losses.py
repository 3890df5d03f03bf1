"""Adversarial losses and their penalties, against hand and literal computation."""

import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from ganaudit.errors import ConfigError
from ganaudit.training.losses import (
    LOSSES,
    LossSettings,
    clip_weights,
    divergence_penalty,
    gradient_penalty,
    loss_of,
    r1_penalty,
    settings_of,
)

REAL, FAKE = torch.tensor([0.5, -1.0]), torch.tensor([2.0, -0.5, 1.0])


def soft(value: float) -> float:
    return math.log1p(math.exp(-abs(value))) + max(value, 0)


CROSS = (soft(-0.5) + soft(1)) / 2 + (soft(2) + soft(-0.5) + soft(1)) / 3
BY_HAND = {  # discriminator, generator
    "minimax": (CROSS, -(soft(2) + soft(-0.5) + soft(1)) / 3),
    "non-saturating": (CROSS, (soft(-2) + soft(0.5) + soft(-1)) / 3),
    "wgan": (2.5 / 3 + 0.25, -2.5 / 3),
    "wgan-gp": (2.5 / 3 + 0.25, -2.5 / 3),
    "wgan-div": (2.5 / 3 + 0.25, -2.5 / 3),
    "lsgan": ((0.25 + 4) / 4 + (4 + 0.25 + 1) / 6, (1 + 2.25 + 0) / 6),
    "hinge": ((0.5 + 2) / 2 + (3 + 0.5 + 2) / 3, -2.5 / 3),
}


def test_these_losses_are_there() -> None:
    assert BY_HAND.keys() == LOSSES.keys()
    assert all(loss_of(name).name == name for name in LOSSES)
    with pytest.raises(ConfigError, match="--loss must be one of minimax, .* got 'bce'"):
        loss_of("bce")


@pytest.mark.parametrize("name", BY_HAND)
def test_a_loss_is_what_its_paper_writes(name: str) -> None:
    discriminator, generator = BY_HAND[name]
    assert float(LOSSES[name].discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
    assert float(LOSSES[name].generator(FAKE)) == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [-500.0, 500.0])
def test_logits_of_any_size_give_finite_losses_and_gradients(name: str, size: float) -> None:
    real, fake = (torch.full((3,), size, requires_grad=True) for _ in range(2))
    (LOSSES[name].discriminator(real, fake) + LOSSES[name].generator(fake)).backward()
    for logits in (real, fake):
        assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "lsgan"])
def test_the_generator_wants_higher_logits_and_the_discriminator_lower_ones(name: str) -> None:
    fake = FAKE.clone().requires_grad_()
    LOSSES[name].generator(fake).backward()
    assert fake.grad is not None and bool((fake.grad < 0).all())
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    LOSSES[name].discriminator(real, fake).backward()
    assert real.grad is not None and fake.grad is not None
    assert bool((real.grad < 0).all() and (fake.grad >= 0).all())


# -- penalties --------------------------------------------------------------------------------


def quadratic(images: Tensor, labels: Tensor | None) -> Tensor:
    """D(x) = sum of i x_i^2 / 2, whose gradient is i x_i; a label scales it."""
    places = torch.arange(1, images[0].numel() + 1, dtype=images.dtype)
    logits = (places * images.flatten(1).square()).sum(dim=1) / 2
    return logits if labels is None else logits * labels


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def between(real: Tensor, fake: Tensor, seed: int) -> Tensor:
    """The places that a penalty looks at: its first draws are one uniform number a pair."""
    share = torch.rand((len(real), 1, 1), generator=torch.Generator().manual_seed(seed))
    return share.double() * real + (1 - share.double()) * fake


@pytest.mark.parametrize("labels", [None, torch.tensor([1, 2, 1, 3, 2])])
def test_penalties_are_those_of_the_known_gradient(labels: Tensor | None) -> None:
    real, fake = normal(5, 2, 3), normal(5, 2, 3, seed=1)
    rng = torch.Generator().manual_seed(4)
    found = gradient_penalty(quadratic, real, fake, labels, weight=10, rng=rng)
    places = torch.arange(1, 7, dtype=torch.float64)
    scale = torch.ones(5) if labels is None else labels
    lengths = (places * between(real, fake, 4).flatten(1)).norm(dim=1) * scale
    assert float(found.detach()) == pytest.approx(float(10 * (lengths - 1).square().mean()))

    rng = torch.Generator().manual_seed(4)
    found = divergence_penalty(quadratic, real, fake, labels, weight=2, power=6, rng=rng)
    assert float(found.detach()) == pytest.approx(float(2 * lengths.pow(6).mean()))

    found = r1_penalty(quadratic, real, labels, gamma=3)
    lengths = (places * real.flatten(1)).norm(dim=1) * scale
    assert float(found.detach()) == pytest.approx(float(1.5 * lengths.square().mean()))


def test_a_penalty_reaches_the_weights() -> None:
    layer = nn.Linear(3, 1, bias=False).double()
    penalty = r1_penalty(lambda x, _: layer(x).flatten(), normal(4, 3), None, gamma=2)
    penalty.backward()
    assert layer.weight.grad is not None
    assert torch.allclose(layer.weight.grad, 2 * layer.weight)  # of |w|^2


def test_a_flat_discriminator_has_a_finite_gradient() -> None:
    layer = nn.Linear(3, 1)
    nn.init.zeros_(layer.weight)
    penalty = gradient_penalty(
        lambda x, _: layer(x).flatten(), torch.zeros(4, 3), torch.ones(4, 3), None,
        weight=1, rng=torch.Generator(),
    )  # fmt: skip
    penalty.backward()
    assert float(penalty.detach()) == 1
    assert layer.weight.grad is not None and bool(torch.isfinite(layer.weight.grad).all())


def test_pairs_of_another_shape_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="must agree in shape"):
        gradient_penalty(
            quadratic, normal(4, 3), normal(5, 3), None, weight=1, rng=torch.Generator()
        )


def test_clipped_weights_keep_to_the_bound_and_others_stay() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 12).reshape(3, 4))
    inside = layer.weight.detach().abs() <= 0.3
    before = layer.weight.detach().clone()
    clip_weights(layer, 0.3)
    assert float(layer.weight.detach().abs().max()) == pytest.approx(0.3)
    assert torch.equal(layer.weight.detach()[inside], before[inside])


# -- settings ---------------------------------------------------------------------------------


def test_every_loss_has_its_own_settings() -> None:
    assert settings_of("wgan", {}) == LossSettings(clip=0.01)
    assert settings_of("wgan-gp", {}) == LossSettings(gradient_penalty=10)
    assert settings_of("wgan-div", {"div_power": "4"}) == LossSettings(div_weight=2, div_power=4)
    assert settings_of("hinge", {"r1": "0.5", "r1_every": "16"}) == LossSettings(
        r1=0.5, r1_every=16
    )


@pytest.mark.parametrize(
    ("loss", "options", "sentence"),
    [
        ("hinge", {"clip": "0.1"}, "loss.clip belongs to --loss wgan, not to hinge"),
        ("wgan", {"r1": "1"}, "loss.r1 belongs to --loss minimax or .* not to wgan"),
        ("wgan", {"clip": "0"}, "loss.clip must be in .* got 0"),
        ("wgan-div", {"div_power": "1"}, r"loss.div_power must be in \[2, 20\], got 1"),
        ("lsgan", {"r1_every": "0"}, r"loss.r1_every must be in \[1, 1000\], got 0"),
        ("lsgan", {"r2": "1"}, "no option 'r2'"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(
    loss: str, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        settings_of(loss, options)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_goes_into_other_processes_by_its_name(name: str) -> None:
    assert pickle.loads(pickle.dumps(LOSSES[name])) == LOSSES[name]
