"""The averaged generator."""

import copy

import pytest
import torch
from torch import nn

from ganaudit.training.averaging import settled, update_average
from ganaudit.training.recipe import Optim


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def test_an_average_moves_by_what_it_does_not_keep() -> None:
    follower, leader = nn.Linear(2, 1), nn.Linear(2, 1)
    before = follower.weight.detach().clone()
    update_average(follower, leader, kept=0.9)
    wanted = 0.9 * before + 0.1 * leader.weight.detach()
    assert torch.allclose(follower.weight, wanted, atol=1e-7)


@pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (5, 6 / 15), (80, 0.9), (10_000, 0.9)])
def test_it_follows_closely_at_first(step: int, kept: float) -> None:
    follower, leader = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(follower.weight)
    nn.init.ones_(leader.weight)
    update_average(follower, leader, kept=Optim(ema=0.9).kept(step, 64))
    assert float(follower.weight.detach()) == pytest.approx(1 - kept)


def test_one_that_keeps_nothing_is_the_network_itself() -> None:
    follower, leader = network(), network()
    for value in leader.parameters():
        nn.init.normal_(value)
    leader(torch.randn(9, 3))  # moves its batch statistics
    update_average(follower, leader, kept=Optim(ema=0).kept(100, 64))
    for name, value in leader.state_dict().items():
        assert torch.equal(follower.state_dict()[name], value)


def test_buffers_are_copied() -> None:
    follower, leader = network(), network()
    leader(torch.randn(9, 3))
    update_average(follower, leader, kept=0.999)
    assert int(follower[1].num_batches_tracked) == 1
    for ours, theirs in zip(follower.buffers(), leader.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_settled_statistics_are_those_of_the_averaged_weights() -> None:
    average = network()
    before = copy.deepcopy(average.state_dict())
    latents = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    made = settled(average, latents, None, batch=20)
    inputs = average[0](latents)
    assert torch.allclose(made[1].running_mean, inputs.mean(dim=0), atol=1e-6)
    spreads = torch.stack([part.var(dim=0) for part in inputs.split(20)])
    assert torch.allclose(made[1].running_var, spreads.mean(dim=0), atol=1e-6)
    assert not made.training and made[1].momentum == 0.1
    for name, value in before.items():
        assert torch.equal(average.state_dict()[name], value)


def test_without_batch_norm_nothing_is_measured() -> None:
    average = nn.Linear(3, 2)
    made = settled(average, torch.randn(5, 3), None, batch=2)
    assert made is not average and torch.equal(made.weight, average.weight)
