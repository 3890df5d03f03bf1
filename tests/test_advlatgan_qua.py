"""Latents moved before the discriminator learns from them: how far, and what is left behind."""

import literal
import pytest
import torch
from torch import Tensor, nn

from ganaudit.regularizers.advlatgan_qua import AdvLatGANQua


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Linear(nn.Module):
    """D(G(z)) = w z, whose slope is w everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(normal(5, 4, seed=2))
        self.second = nn.Parameter(normal(4, seed=3))
        self.calls = 0

    def render(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        self.calls += 1
        return latents @ self.first

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return images @ self.second

    def slope(self) -> Tensor:
        return (self.first @ self.second).detach()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_linear_logit_gains_the_steps_times_the_sum_of_its_slopes(steps: int) -> None:
    model, latents = Linear(), normal(6, 5)
    moved = AdvLatGANQua(step=0.07, steps=steps).mine(
        latents, None, generator=model.render, judge=model.judge, networks=(model,)
    )
    gain = (moved - latents) @ model.slope()
    wanted = 0.07 * steps * model.slope().abs().sum()
    assert torch.allclose(gain, wanted.expand(6), rtol=1e-12)


@pytest.mark.parametrize("radius", [None, 0.1])
def test_a_curved_logit_is_climbed_as_the_plain_loop_does(radius: float | None) -> None:
    """D(G(z)) = sum of a sin(b z), whose slope is a b cos(b z)."""
    height, pace = normal(7, seed=4), 3 * normal(7, seed=5)
    latents = normal(4, 7)
    moved = AdvLatGANQua(step=0.06, steps=5, radius=radius).mine(
        latents,
        None,
        generator=lambda z, _: torch.sin(pace * z),
        judge=lambda x, _: x @ height,
        networks=(),
    )
    wanted = literal.climbed(
        latents.numpy(),
        lambda z: (height * pace).numpy() * torch.cos(pace * torch.from_numpy(z)).numpy(),
        step=0.06,
        steps=5,
        radius=radius or 0.06 * 5,
    )
    assert torch.allclose(moved, torch.from_numpy(wanted), atol=1e-12)
    assert not torch.allclose((moved - latents).abs(), torch.full_like(latents, 0.3))  # it turned


@pytest.mark.parametrize("quiet", [{"step": 0.0}, {"steps": 0}])
def test_without_a_step_nothing_is_looked_at(quiet: dict[str, float]) -> None:
    model, latents = Linear(), normal(6, 5)
    moved = AdvLatGANQua(**quiet).mine(  # type: ignore[arg-type]
        latents, None, generator=model.render, judge=model.judge, networks=(model,)
    )
    assert torch.equal(moved, latents) and model.calls == 0


def test_gradients_that_are_there_already_stay_as_they_are() -> None:
    model = Linear()
    model.first.grad = torch.ones_like(model.first)
    given = normal(6, 5)
    kept = given.clone()
    moved = AdvLatGANQua(step=0.1).mine(
        given, None, generator=model.render, judge=model.judge, networks=(model,)
    )
    assert torch.equal(model.first.grad, torch.ones_like(model.first))
    assert model.second.grad is None and given.grad is None
    assert not moved.requires_grad and torch.equal(given, kept)
    with torch.no_grad():  # a caller that derives nothing gets the same
        again = AdvLatGANQua(step=0.1).mine(
            given, None, generator=model.render, judge=model.judge, networks=(model,)
        )
    assert torch.equal(again, moved)


def test_every_decreasing_function_that_is_lowered_moves_latents_alike() -> None:
    """Identity 19: -D, softplus(-D), log(1 - sigmoid(D)), where each image is judged by itself."""
    latents, weight = normal(8, 5), normal(5, seed=6)
    functions = (
        lambda logit: logit,
        lambda logit: -nn.functional.softplus(-logit),
        lambda logit: -nn.functional.logsigmoid(-logit),  # -log(1 - sigmoid(logit))
        lambda logit: 0.01 * logit - 5,
    )
    found = [
        AdvLatGANQua(step=0.05, steps=8).mine(
            latents,
            None,
            generator=lambda z, _: torch.tanh(z),
            judge=lambda x, _, change=change: change(4 * torch.sin(x @ weight)),
            networks=(),
        )
        for change in functions
    ]
    assert all(torch.equal(one, found[0]) for one in found)


def test_labels_reach_both_networks() -> None:
    labels = torch.tensor([0, 1, 1])
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    moved = AdvLatGANQua(step=0.5).mine(
        torch.zeros(3, 2, dtype=torch.float64),
        labels,
        generator=lambda z, y: z * torch.stack([signs[y], torch.ones(3).double()], dim=1),
        judge=lambda x, y: (x * torch.stack([torch.ones(3).double(), signs[y]], dim=1)).sum(dim=1),
        networks=(),
    )
    assert moved.tolist() == [[0.5, 0.5], [-0.5, -0.5], [-0.5, -0.5]]


def test_batch_statistics_are_those_of_training_and_modes_stay() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4))
    assert isinstance(generator[1], nn.BatchNorm1d)
    nn.init.constant_(generator[1].running_mean, 3.0)  # far from any batch's  # type: ignore[arg-type]
    latents = normal(9, 3).float()

    def mined() -> Tensor:
        return AdvLatGANQua(step=0.2, steps=4).mine(
            latents,
            None,
            generator=lambda z, _: generator(z),
            judge=lambda x, _: torch.sin(2 * x).sum(dim=1),
            networks=(generator,),
        )

    training = mined()
    assert generator.training and generator[1].training
    generator.eval()
    evaluated = mined()
    assert not generator.training
    assert not torch.equal(training, evaluated)
