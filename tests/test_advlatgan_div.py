"""Pairs of latents that are searched for: against the plain loop, and each pair by itself."""

import literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv

LATENTS, IMAGES = 4, 6


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


WEIGHT = normal(LATENTS, IMAGES, seed=2)


def linear(latents: Tensor, labels: Tensor | None) -> Tensor:
    return latents @ WEIGHT


def no_prior(count: int, rng: torch.Generator) -> Tensor:
    raise AssertionError("a partner that is searched for is no fresh draw")


def searched(div: AdvLatGANDiv, latents: Tensor, generator: object = linear) -> Tensor:
    return div.partner(
        latents, None, generator=generator, networks=(), rng=rng(), prior=no_prior  # type: ignore[arg-type]
    )  # fmt: skip


def begun(latents: Tensor, spread: float) -> Tensor:
    """Where the search starts: its first draws are one normal number a coordinate."""
    return latents + spread * torch.randn(latents.shape, generator=rng()).double()


def falling(
    latents: NDArray[np.float64], others: NDArray[np.float64], *, own: bool, offset: float
) -> NDArray[np.float64]:
    """Minus the slope of the ratio by the partners, for images z W: quotients derived by hand."""
    weight = WEIGHT.numpy()
    moved = others - latents
    images = moved @ weight
    up = np.abs(images).mean(axis=1, keepdims=True)  # [N, 1]
    down = np.abs(moved).mean(axis=1, keepdims=True) + offset
    if not own:  # the mean over all pairs in place of each pair's own
        up, down = up.mean(keepdims=True), down.mean(keepdims=True)
    of_up = np.sign(images) @ weight.T / IMAGES
    of_down = np.sign(moved) / LATENTS
    return -(of_up * down - up * of_down) / down**2


@pytest.mark.parametrize("radius", [None, 0.01])
@pytest.mark.parametrize(("own", "offset"), [(True, 0.0), (True, 0.5), (False, 1.0)])
def test_the_search_is_the_plain_loop(own: bool, offset: float, radius: float | None) -> None:
    latents = normal(7, LATENTS)
    div = AdvLatGANDiv(
        spread=0.3, step=0.006, steps=4, radius=radius, denominator_offset=offset, per_sample=own
    )
    wanted = literal.climbed(
        begun(latents, 0.3).numpy(),
        lambda others: falling(latents.numpy(), others, own=own, offset=offset),
        step=0.006,
        steps=4,
        radius=radius or 0.024,
    )
    assert torch.allclose(searched(div, latents), torch.from_numpy(wanted), atol=1e-12)


def test_a_pair_is_searched_by_itself_and_as_released_with_its_batch() -> None:
    latents = normal(40, LATENTS)
    scale = torch.ones(40, 1).double()
    scale[20:] = 10  # images of the others differ ten times as much

    def other(latents: Tensor, labels: Tensor | None) -> Tensor:
        return linear(latents, labels) * scale

    def of_first(name: str, generator: object) -> Tensor:
        return searched(AdvLatGANDiv.preset(name), latents, generator)[:20]

    assert torch.equal(of_first("paper", linear), of_first("paper", other))
    assert not torch.equal(of_first("release", linear), of_first("release", other))


def test_the_generator_is_asked_once_for_the_latents_and_once_a_step() -> None:
    asked: list[tuple[bool, int]] = []

    def counted(latents: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        asked.append((latents.requires_grad, len(labels)))
        return linear(latents, labels)

    def partner(**said: float) -> None:
        AdvLatGANDiv(**said).partner(  # type: ignore[arg-type]
            normal(3, LATENTS), torch.tensor([2, 0, 1]),
            generator=counted, networks=(), rng=rng(), prior=no_prior,
        )  # fmt: skip

    partner(steps=3)
    assert asked == [(False, 3), (True, 3), (True, 3), (True, 3)]
    asked.clear()
    partner(step=0.0)
    partner(steps=0)
    assert asked == []


def test_an_isometric_generator_leaves_nothing_to_search_for() -> None:
    """G(z) = 3 z: the ratio is 3 everywhere, and its slope 0 up to rounding."""
    latents, others = normal(5, LATENTS), normal(5, LATENTS, seed=7).requires_grad_()
    ratio = AdvLatGANDiv().ratio(3 * latents, 3 * others, latents, others)
    ratio.backward()
    assert float(ratio.detach()) == pytest.approx(5 * 3)
    assert others.grad is not None and float(others.grad.abs().max()) < 1e-12


def test_equal_latents_are_finite_everywhere() -> None:
    latents = normal(5, LATENTS)
    for div in (AdvLatGANDiv(), AdvLatGANDiv.preset("release")):
        others = latents.clone().requires_grad_()
        images = latents @ WEIGHT
        total = div.ratio(images, others @ WEIGHT, latents, others)
        total = total + div.loss(images, others @ WEIGHT, latents, others)
        total.backward()
        assert bool(torch.isfinite(total))
        assert others.grad is not None and bool(torch.isfinite(others.grad).all())


def test_the_loss_is_of_batch_means_whatever_the_search() -> None:
    latents, others = normal(5, LATENTS), normal(5, LATENTS, seed=7)
    images, pictured = normal(5, 2, 3, seed=8), normal(5, 2, 3, seed=9)
    apart, asked = (images - pictured).abs().mean(), (latents - others).abs().mean()
    wanted = float(1 / (apart / asked + 1e-5))
    for said in ({"per_sample": True}, {"per_sample": False, "denominator_offset": 1.0}):
        div = AdvLatGANDiv(weight=3, **said)  # type: ignore[arg-type]
        assert float(div.loss(images, pictured, latents, others)) == pytest.approx(3 * wanted)


@pytest.mark.parametrize("name", ["paper", "release"])
def test_the_search_takes_the_statistics_of_training_and_leaves_none(name: str) -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(LATENTS, 5), nn.BatchNorm1d(5), nn.Tanh()).double()
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    found = AdvLatGANDiv.preset(name).partner(
        normal(7, LATENTS), None,
        generator=lambda z, _: generator(z), networks=(generator,), rng=rng(), prior=no_prior,
    )  # fmt: skip
    assert not found.requires_grad and generator.training
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())
