"""AdaptiveMix against its literal reference; what it draws, and in which precision it works."""

from itertools import product
from typing import Any

import literal
import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from ganaudit.regularizers.adaptivemix import AdaptiveMix, Mix


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def same(one: Mix, other: Mix) -> bool:
    names = ("first", "partner", "weight")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize(
    ("distance", "pairing", "scale"),
    list(product(("l2", "l1", "cosine"), ("within", "cross", "union"), ("absolute", "rms"))),
)
def test_the_loss_is_the_literal_one(
    distance: Any, pairing: Any, scale: Any, weight: float
) -> None:
    mixing = AdaptiveMix(
        distance=distance, pairing=pairing, lambda_scope="sample", alpha=0.7, sigma=0.4,
        sigma_scale=scale, weight=weight,
    )  # fmt: skip
    mix = mixing.draw(4, 7, rng())
    features = 3 * normal(11, 2, 3)
    mixed = normal(len(mix.first), 2, 3, seed=2)
    noise = torch.randn(len(mix.first), 6, generator=rng(9))
    pairs = zip(mix.first.tolist(), mix.partner.tolist(), mix.weight.tolist(), strict=True)
    wanted = literal.shrinkage(
        features.flatten(1).numpy(), mixed.flatten(1).numpy(), list(pairs),
        noise.double().numpy(), mix.parts,
        distance=distance, sigma=0.4, relative=scale == "rms",
    )  # fmt: skip
    found = float(mixing.loss(features, mixed, mix, rng(9)))
    assert found == pytest.approx(weight * wanted, rel=1e-6)


def test_draws_follow_from_their_generator_alone() -> None:
    for pairing in ("within", "cross", "union"):
        mixing = AdaptiveMix(pairing=pairing, lambda_scope="sample")  # type: ignore[arg-type]
        torch.manual_seed(1)
        one = mixing.draw(6, 6, rng(3))
        torch.manual_seed(2)
        assert same(one, mixing.draw(6, 6, rng(3)))
        assert not same(one, mixing.draw(6, 6, rng(4)))


@pytest.mark.parametrize("pairing", ["within", "cross", "union"])
@pytest.mark.parametrize("counts", [(0, 5), (5, 0)])
def test_one_source_alone_is_paired_within(pairing: Any, counts: tuple[int, int]) -> None:
    mix = AdaptiveMix(pairing=pairing).draw(*counts, rng())
    assert mix.first.tolist() == list(range(5)) == sorted(mix.partner.tolist())
    assert mix.parts == (5,)


def test_cross_pairs_are_as_many_as_the_smaller_source_has() -> None:
    for counts in ((3, 8), (8, 3)):
        mix = AdaptiveMix(pairing="cross").draw(*counts, rng())
        assert mix.parts == (3,)
        assert len(set(mix.first.tolist())) == len(set(mix.partner.tolist())) == 3
        assert max(mix.partner.tolist()) < 11


def test_whatever_rounds_the_inputs_of_a_network_leaves_a_mix_alone() -> None:
    """Mixed precision would have rounded lambda for the images, not for their features."""
    mix = AdaptiveMix().draw(3, 3, rng())
    weight = mix.weight.clone()
    images, kept = apply_to_collection((normal(6, 2), mix), Tensor, lambda x: x.bfloat16())
    assert images.dtype == torch.bfloat16
    assert kept is mix and torch.equal(kept.weight, weight)


def test_half_precision_features_are_compared_in_single_precision() -> None:
    mixing = AdaptiveMix(sigma=0)
    mix = mixing.draw(4, 4, rng())
    features = 300 * normal(8, 50).half()  # squares of differences overflow a half
    found = mixing.loss(features, -features, mix, rng())
    assert found.dtype == torch.float32 and bool(torch.isfinite(found))
    exact = mixing.loss(features.double(), -features.double(), mix, rng())
    assert float(found) == pytest.approx(float(exact), rel=1e-5)


def test_a_weight_of_zero_adds_exactly_nothing_to_gradients() -> None:
    def gradient(weight: float | None) -> Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(4, 3)
        mixing = AdaptiveMix(weight=weight or 0)
        mix, images = mixing.draw(3, 3, rng()), normal(6, 4).float()
        features = network(images)
        total = features.square().sum()
        if weight is not None:
            total = total + mixing.loss(features, network(mix.of(images)), mix, rng())
        total.backward()
        assert network.weight.grad is not None
        return network.weight.grad

    assert torch.equal(gradient(0.0), gradient(None))
    assert not torch.equal(gradient(1.0), gradient(None))
