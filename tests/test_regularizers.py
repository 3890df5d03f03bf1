"""What every regulariser must be, from its paper: identities that need no training."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganaudit.errors import ConfigError
from ganaudit.regularizers import REGULARIZERS, parse
from ganaudit.regularizers.adaptivemix import AdaptiveMix, Mix
from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv
from ganaudit.regularizers.advlatgan_qua import AdvLatGANQua
from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.regularizers.diffaugment import DiffAugment
from ganaudit.regularizers.mode_seeking import ModeSeeking, inverse_ratio
from ganaudit.regularizers.searching import ascended


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def affine(images: Tensor) -> Tensor:
    weight, bias = normal(images[0].numel(), 5, seed=2), normal(5, seed=3)
    return images.flatten(1) @ weight + bias


def curved(images: Tensor) -> Tensor:
    return torch.relu(affine(images)) ** 2


def shrinkage(
    mixing: AdaptiveMix, features: Callable[[Tensor], Tensor], images: Tensor, mix: Mix
) -> Tensor:
    return mixing.loss(features(images), features(mix.of(images)), mix, rng(9))


# -- AdaptiveMix: identities 14 to 16 ----------------------------------------------------------


@pytest.mark.parametrize("pairing", ["within", "cross", "union"])
@pytest.mark.parametrize(("distance", "least"), [("l2", 0.0), ("l1", 0.0), ("cosine", -1.0)])
def test_affine_features_are_mixed_exactly(pairing: Any, distance: Any, least: float) -> None:
    mixing = AdaptiveMix(distance=distance, pairing=pairing, sigma=0)
    images = normal(11, 2, 3)
    mix = mixing.draw(6, 5, rng())
    found = float(shrinkage(mixing, affine, images, mix))
    assert found == pytest.approx(least * len(mix.parts), abs=1e-6)  # weights are float32
    assert float(shrinkage(mixing, curved, images, mix)) > found + 1e-3


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_mix_of_one_image_alone_costs_nothing_whatever_the_features(weight: float) -> None:
    first, partner = torch.arange(4), torch.tensor([2, 3, 0, 1])
    mix = Mix(first, partner, torch.full((4,), weight), parts=(4,))
    assert float(shrinkage(AdaptiveMix(sigma=0), curved, normal(4, 3), mix)) == 0


def test_an_image_mixed_with_itself_costs_nothing() -> None:
    rows = torch.arange(4)
    mix = Mix(rows, rows, torch.rand(4, generator=rng()), parts=(4,))
    assert float(shrinkage(AdaptiveMix(sigma=0), curved, normal(4, 3), mix)) < 1e-12


@pytest.mark.parametrize(
    ("distance", "mean"), [("l2", 0.05**2), ("l1", 0.05 * math.sqrt(2 / math.pi))]
)
def test_noise_alone_costs_what_it_must(distance: Any, mean: float) -> None:
    mixing = AdaptiveMix(distance=distance, sigma=0.05)
    features = torch.zeros(500, 200, dtype=torch.float64)
    mix = mixing.draw(0, 500, rng())
    found = float(mixing.loss(features, features, mix, rng(4)))
    assert found == pytest.approx(mean, rel=5 / math.sqrt(100_000))  # five standard errors


def test_a_cosine_of_a_unit_vector_and_its_noisy_self() -> None:
    """1 / sqrt(1 + sigma^2 d) for d = 640: 0.6202."""
    mixing = AdaptiveMix(distance="cosine", sigma=0.05)
    features = nn.functional.normalize(normal(400, 640), dim=1)
    rows = torch.arange(400)
    mix = Mix(rows, rows, torch.ones(400), parts=(400,))
    found = -float(mixing.loss(features, features, mix, rng(4)))
    assert found == pytest.approx(1 / math.sqrt(1 + 0.05**2 * 640), abs=0.005)


@pytest.mark.parametrize("detach", [True, False])
def test_a_detached_target_gets_no_gradient(detach: bool) -> None:
    mixing = AdaptiveMix(detach=detach)
    clean, mixed = normal(6, 4).requires_grad_(), normal(6, 4, seed=5).requires_grad_()
    mixing.loss(clean, mixed, mixing.draw(3, 3, rng()), rng(4)).backward()
    assert mixed.grad is not None and bool(mixed.grad.any())
    assert (clean.grad is None) == detach


def test_within_pairs_stay_within_and_cross_pairs_cross() -> None:
    within = AdaptiveMix(pairing="within").draw(5, 7, rng())
    assert bool(((within.first < 5) == (within.partner < 5)).all())
    assert sorted(within.partner.tolist()) == list(range(12))
    cross = AdaptiveMix(pairing="cross").draw(5, 7, rng())
    assert bool((cross.first < 5).all() and (cross.partner >= 5).all())
    union = AdaptiveMix(pairing="union").draw(50, 50, rng())
    crossing = ((union.first < 50) != (union.partner < 50)).double().mean()
    assert 0.3 < float(crossing) < 0.7


def test_one_lambda_a_source_or_one_a_pair() -> None:
    assert len(AdaptiveMix(pairing="within").draw(5, 7, rng()).weight.unique()) == 2
    assert len(AdaptiveMix().draw(5, 7, rng()).weight.unique()) == 1
    assert len(AdaptiveMix(lambda_scope="sample").draw(5, 7, rng()).weight.unique()) == 12


def test_lambdas_are_beta_distributed() -> None:
    drawn = AdaptiveMix(lambda_scope="sample", alpha=2.0).draw(0, 20_000, rng()).weight.double()
    assert float(drawn.mean()) == pytest.approx(0.5, abs=5 * math.sqrt(0.05 / 20_000))
    assert float(drawn.var()) == pytest.approx(0.05, rel=0.05)  # 1 / (4 (2 alpha + 1))


def test_labels_are_mixed_like_images() -> None:
    mix = Mix(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25]), parts=(1,))
    assert mix.of(torch.eye(3)[:2]).tolist() == [[0.25, 0.75, 0.0]]


# -- latents that are searched: identities 18 to 22 ---------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_linear_height_is_climbed_by_whole_steps(steps: int) -> None:
    """D gains eps * steps * |w|_1, and every coordinate moves by steps * eps."""
    weight, start = normal(7, seed=6), normal(3, 7)
    found = ascended(start, lambda z: (z @ weight).sum(), step=0.1, steps=steps)
    assert torch.allclose((found - start).abs(), torch.full_like(start, 0.1 * steps))
    gain = (found - start) @ weight
    assert torch.allclose(gain, torch.full((3,), 0.1 * steps * float(weight.abs().sum())).double())


def test_a_coordinate_without_gradient_stays() -> None:
    start = normal(3, 4)
    found = ascended(start, lambda z: z[:, :2].sum(), step=0.1, steps=3)
    assert torch.equal(found[:, 2:], start[:, 2:])


def test_no_coordinate_leaves_the_ball() -> None:
    start = normal(5, 6)
    found = ascended(start, lambda z: curved(z).sum(), step=0.1, steps=9, radius=0.25)
    assert float((found - start).abs().max()) <= 0.25 + 1e-12


def test_every_increasing_function_of_the_logit_is_climbed_alike() -> None:
    start = normal(6, 5)

    def logit(latents: Tensor) -> Tensor:
        return 3 * torch.tanh(affine(latents).sum(dim=1) / 5)

    raw = ascended(start, lambda z: logit(z).sum(), step=0.05, steps=8)
    for height in (
        lambda z: -nn.functional.softplus(-logit(z)).sum(),
        lambda z: (7 * logit(z) + 2).sum(),
        lambda z: nn.functional.softplus(logit(z)).sum(),
    ):
        assert torch.equal(ascended(start, height, step=0.05, steps=8), raw)


def test_a_small_step_raises_a_concave_height() -> None:
    start = normal(4, 3)
    height = lambda z: -(z - 5).square().sum(dim=1)  # noqa: E731
    found = ascended(start, lambda z: height(z).sum(), step=0.01, steps=5)
    assert bool((height(found) > height(start)).all())


class Pair:
    """A generator with batch norm and a discriminator with spectral norm, in training mode."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6)
        )
        self.discriminator = nn.Sequential(spectral_norm(nn.Linear(6, 1)))
        self.networks = (self.generator, self.discriminator)

    def render(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.generator(latents)  # type: ignore[no-any-return]

    def judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.discriminator(images).flatten()  # type: ignore[no-any-return]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{number}.{name}": value.clone()
            for number, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("follows", [False, True])
def test_mining_leaves_weights_and_buffers_untouched(follows: bool) -> None:
    pair, latents = Pair(), normal(5, 3).float()
    before = pair.state()
    moved = AdvLatGANQua(step=0.1, steps=2, train_mode_mining=follows).mine(
        latents, None, generator=pair.render, judge=pair.judge, networks=pair.networks
    )
    assert not moved.requires_grad and not torch.equal(moved, latents)
    assert float((moved - latents).abs().max()) <= 0.2 + 1e-6
    assert all(p.grad is None for network in pair.networks for p in network.parameters())
    assert equal(before, pair.state()) == (not follows)


def test_mining_without_a_step_is_the_identity() -> None:
    pair, latents = Pair(), normal(5, 3).float()
    moved = AdvLatGANQua(step=0).mine(
        latents, None, generator=pair.render, judge=pair.judge, networks=pair.networks
    )
    assert torch.equal(moved, latents)


def test_kept_buffers_come_back_also_after_an_error() -> None:
    pair, latents = Pair(), normal(5, 3).float()
    before = pair.state()
    with pytest.raises(RuntimeError, match="on purpose"), buffers_kept(*pair.networks):
        pair.judge(pair.render(latents, None), None)
        assert not equal(before, pair.state())
        raise RuntimeError("on purpose")
    assert equal(before, pair.state())


def partner(div: AdvLatGANDiv, pair: Pair, latents: Tensor, seed: int = 3) -> Tensor:
    return div.partner(
        latents, None, generator=pair.render, networks=pair.networks, rng=rng(seed),
        prior=lambda count, rng: torch.randn(count, 3, generator=rng),
    )  # fmt: skip


def test_a_search_lowers_the_ratio_of_every_pair_and_leaves_no_trace() -> None:
    pair, latents = Pair(), normal(40, 3).float()
    pair.generator.eval()  # each pair by itself, so that each can be looked at
    before = pair.state()
    start = partner(AdvLatGANDiv(steps=0), pair, latents)
    div = AdvLatGANDiv(step=0.001, steps=3)
    found = partner(div, pair, latents)
    assert equal(before, pair.state())
    assert float((found - start).abs().max()) <= 0.003 + 1e-6
    images = pair.render(latents, None)

    def ratios(others: Tensor) -> Tensor:
        apart = (images - pair.render(others, None)).abs().mean(dim=1)
        return apart / (latents - others).abs().mean(dim=1)

    lower = (ratios(found) < ratios(start)).double().mean()
    assert float(lower) > 0.9


def test_partners_start_around_their_latents() -> None:
    latents = torch.zeros(2_000, 3)
    start = partner(AdvLatGANDiv(steps=0), Pair(), latents)
    assert float(start.std()) == pytest.approx(0.08, rel=5 / math.sqrt(2 * 6_000))


def test_a_pair_of_one_latent_is_finite() -> None:
    latents = normal(4, 3).requires_grad_()
    images = (2 * latents).requires_grad_()
    loss = inverse_ratio(images, images, latents, latents)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e5) and torch.isfinite(latents.grad).all()
    div = AdvLatGANDiv()
    assert bool(torch.isfinite(div.ratio(images, images, latents, latents)))


def test_an_isometric_generator_has_a_constant_ratio() -> None:
    one, other = normal(9, 4), normal(9, 4, seed=8)
    assert float(inverse_ratio(3 * one, 3 * other, one, other)) == pytest.approx(1 / (3 + 1e-5))
    assert float(AdvLatGANDiv(weight=2).loss(3 * one, 3 * other, one, other)) == pytest.approx(
        2 / (3 + 1e-5)
    )


def test_an_offset_makes_the_ratio_that_of_the_release() -> None:
    """mean |dI| / (mean |dz| + 1), over the whole batch."""
    one, other = normal(5, 4), normal(5, 4, seed=8)
    images, others = normal(5, 6, seed=10), normal(5, 6, seed=11)
    found = AdvLatGANDiv.preset("release").ratio(images, others, one, other)
    wanted = (images - others).abs().mean() / ((one - other).abs().mean() + 1)
    assert float(found) == pytest.approx(float(wanted))


def test_mode_seeking_takes_a_fresh_draw() -> None:
    pair, latents = Pair(), normal(6, 3).float()
    found = ModeSeeking().partner(
        latents, None, generator=pair.render, networks=pair.networks, rng=rng(5),
        prior=lambda count, rng: torch.randn(count, 3, generator=rng),
    )  # fmt: skip
    assert torch.equal(found, torch.randn(6, 3, generator=rng(5)))


# -- DiffAugment -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["color", "translation", "cutout"])
def test_every_change_can_be_derived_and_is_each_images_own(change: Any) -> None:
    images = normal(6, 3, 8, 8).float().requires_grad_()
    made = DiffAugment(policy=(change,))(images, rng())
    assert made.shape == images.shape
    made.sum().backward()
    assert images.grad is not None and bool(images.grad.any())
    same = images.detach()[:1].expand(6, -1, -1, -1)
    assert (
        len({tuple(one.flatten().tolist()) for one in DiffAugment(policy=(change,))(same, rng())})
        > 1
    )


def test_a_shift_moves_what_is_there_and_brings_in_zeros() -> None:
    images = torch.zeros(50, 1, 16, 16)
    images[:, 0, 8, 8] = 1
    made = DiffAugment(policy=("translation",))(images, rng())
    rows, columns = (
        made[:, 0].flatten(1).argmax(1) // 16 - 8,
        made[:, 0].flatten(1).argmax(1) % 16 - 8,
    )
    assert bool((made.flatten(1).sum(1) == 1).all())
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}


def test_a_cutout_is_a_square_of_half_the_side() -> None:
    made = DiffAugment(policy=("cutout",))(torch.ones(40, 1, 8, 8), rng())
    zeros = (made == 0).flatten(1).sum(1)
    assert int(zeros.max()) == 16 and int(zeros.min()) >= 4


def test_grey_colours_keep_their_mean_but_for_brightness() -> None:
    images = normal(9, 1, 4, 4).float()
    made = DiffAugment(policy=("color",))(images, rng())
    moved = (made - images).mean(dim=(1, 2, 3))
    assert float(moved.abs().max()) <= 0.5 + 1e-6


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "sentence"),
    [
        (("adaptivmix",), {}, "did you mean 'adaptivemix'"),
        (("adaptivemix", "adaptivemix"), {}, "given twice"),
        (("advlatgan-div", "mode-seeking"), {}, "exclude each other"),
        (
            ("adaptivemix",),
            {"adaptivemix": {"sigm": "1"}},
            "no option 'sigm'; did you mean 'sigma'",
        ),
        (
            ("adaptivemix",),
            {"adaptivemix": {"sigma": "-1"}},
            r"sigma must be in \[0, 100\], got -1",
        ),
        (("adaptivemix",), {"adaptivemix": {"preset": "x"}}, "must be paper or release"),
        (("adaptivemix",), {"adaptivemix": {"logits": "mixed-sum"}}, "pairing=within"),
        (("advlatgan-qua",), {"advlatgan-qua": {"steps": "-1"}}, "steps must be in"),
        (("advlatgan-div",), {"advlatgan-div": {"spread": "0"}}, "spread must be in"),
        (("mode-seeking",), {"mode-seeking": {"weight": "-2"}}, "weight must be in"),
        (("diffaugment",), {"diffaugment": {"policy": "blur"}}, "policy must be one of"),
        (("diffaugment",), {"diffaugment": {"policy": "color,color"}}, "each once"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    names: tuple[str, ...], options: dict[str, dict[str, str]], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse(names, options)


def test_presets_are_the_released_codes() -> None:
    made = parse(tuple(REGULARIZERS)[:3], {"adaptivemix": {"preset": "release", "sigma": "0.1"}})
    assert made.adaptivemix == AdaptiveMix(
        distance="cosine", pairing="within", detach=True, logits="mixed-sum", sigma=0.1
    )
    assert made.by_name().keys() == {"adaptivemix", "advlatgan-qua", "advlatgan-div"}


def test_points_cannot_be_augmented() -> None:
    with pytest.raises(ConfigError, match="these are points"):
        DiffAugment()(torch.zeros(3, 2), rng())
