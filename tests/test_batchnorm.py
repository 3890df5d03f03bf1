"""Under the prior a network was trained on, batch norms see what they have stored."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import Pixels
from torch import nn

from ganaudit.batchnorm import mismatch
from ganaudit.images import to_rgb
from ganaudit.maker import Maker, Recipe
from ganaudit.probe import probe
from ganaudit.slots import Draws, Stream, draw


def net(prior: str) -> nn.Module:
    """Random weights; its running statistics are those of 4,096 latents of `prior`."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, bias=False),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.Conv2d(8, 3, 1),
        nn.Tanh(),
    )
    with torch.no_grad():
        module.train()(latents(prior, 4096))
    return module.eval()


def latents(prior: str, count: int) -> torch.Tensor:
    found = draw(
        np.arange(count), seed=5, stream=Stream.SAMPLES, latent_shape=(6, 1, 1), prior=prior
    ).latents
    assert found is not None
    return found


@torch.inference_mode()
def test_the_mismatch_is_what_its_definition_says() -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm1d(3).eval()
    layer.running_mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
    layer.running_var.copy_(torch.tensor([1.0, 4.0, 0.25]))
    values = torch.randn(40, 3, 7, dtype=torch.float64).float() * 2 + 1
    found = mismatch(layer, lambda: [layer(part) for part in values.split(9)])
    flat = values.double().numpy().transpose(1, 0, 2).reshape(3, -1)
    stored = np.sqrt(layer.running_var.double().numpy())
    shift = np.abs(flat.mean(1) - layer.running_mean.double().numpy()) / stored
    spread = np.abs(flat.std(1) / stored - 1)
    assert found.mean == pytest.approx(shift.mean(), rel=1e-9)
    assert found.spread == pytest.approx(spread.mean(), rel=1e-9)
    assert found.layers == 1 and found.largest == max(found.mean, found.spread)
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize("trained", ["normal", "uniform"])
@torch.inference_mode()
def test_the_right_prior_fits_and_others_do_not(trained: str) -> None:
    module = net(trained)
    gaps = {
        prior: mismatch(module, partial(module, latents(prior, 256))).largest
        for prior in ("normal", "uniform", "truncated")
    }
    assert gaps[trained] < 0.06
    assert all(gap > 0.1 for prior, gap in gaps.items() if prior != trained)


def test_no_batch_norm_or_one_in_training_mode_says_nothing() -> None:
    assert mismatch(nn.Conv2d(1, 1, 1), lambda: None) is None
    layer = nn.BatchNorm1d(2)
    assert mismatch(layer, lambda: layer(torch.randn(4, 2))) is None
    assert mismatch(nn.BatchNorm1d(2, track_running_stats=False).eval(), lambda: None) is None
    assert mismatch(nn.BatchNorm1d(2).eval(), lambda: None) is None  # never called


def test_hooks_are_gone_when_the_network_raises() -> None:
    layer = nn.BatchNorm1d(2).eval()

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        mismatch(layer, fail)
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize("claimed", ["uniform", "normal"])
def test_the_probe_warns_of_a_prior_that_does_not_fit(claimed: str) -> None:
    class Held:
        latent_shape, prior, num_labels = (6, 1, 1), claimed, 0
        module = net("uniform")

        def render(self, draws: Draws) -> torch.Tensor:
            return to_rgb(self.module(draws.latents), value_range=(-1, 1), layout="NCHW")

    recipe = Recipe(seed=0, device="cpu", batch=1, width=1, timeout_s=30.0)
    maker = Maker(Held(), Pixels(), recipe)
    try:
        warnings = probe(Held(), maker, recipe, batch=None).warnings
    finally:
        maker.close()
    assert len(warnings) == (claimed == "normal")
    assert all("the prior normal may be wrong" in warning for warning in warnings)
