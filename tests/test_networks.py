import importlib
import math
import re
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
import test_biggan
import test_stylegan2
import test_stylegan3
import torch
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.networks.collapsed import CollapsedGenerator
from ganaudit.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ganaudit.networks.digit_embedder import DigitEmbedder

SMALL: dict[str, dict[str, object]] = {
    "dcgan": {"latent_size": 6, "width": 4},
    "dcgan_discriminator": {"width": 4},
    "mlp": {"latent_size": 3, "widths": [5, 4]},
    "mlp_discriminator": {"widths": [5, 4]},
    "sngan": {"latent_size": 6, "width": 2},
    "sngan_discriminator": {"width": 2},
    "cdcgan": {"latent_size": 6, "num_labels": 3, "width": 4, "size": 16},
    "cdcgan_discriminator": {"num_labels": 3, "width": 4, "size": 16},
    "acgan_discriminator": {"num_classes": 3, "width": 4, "size": 16},
    "collapsed": {"latent_size": 6, "width": 4},
    "digit_embedder": {"width": 4, "embedding_size": 10},
    "biggan": test_biggan.SMALL["biggan"],
    "biggan_deep": test_biggan.SMALL["biggan_deep"],
    "biggan_hub": test_biggan.SMALL["biggan_hub"],
    "pggan": {"resolution": 8, "num_channels": 3, "latent_size": 6, "fmap_max": 8},
    "stylegan": {"resolution": 8, "num_channels": 3, "fmap_max": 8, "mapping_layers": 1},
    "stylegan2": test_stylegan2.SMALL,
    "stylegan2_discriminator": test_stylegan2.SMALL_D,
    "stylegan3": test_stylegan3.SMALL,
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_generator() -> DCGANGenerator:
    torch.manual_seed(0)
    generator = DCGANGenerator(latent_size=6, width=4)
    for layer in generator.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics of the batch below, unmixed
    generator(normal(64, 6))
    return generator.eval().requires_grad_(False)


def planted_generator(*, share: float = 0.08, spread: float = 0.05) -> CollapsedGenerator:
    return CollapsedGenerator.plant(
        small_generator(),
        direction=normal(6, seed=1) * 7,
        share=share,
        centre=normal(6, seed=2),
        spread=spread,
    )


def test_every_listed_network_can_be_built_from_its_name() -> None:
    assert SMALL.keys() == networks.NETWORKS.keys()
    for name, path in networks.NETWORKS.items():
        module, class_name = path.split(":")
        wanted = getattr(importlib.import_module(module), class_name)
        assert type(networks.build(name, SMALL[name])) is wanted


def test_an_unknown_network_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(
        ValueError,
        match="collapsed, dcgan, dcgan_discriminator, digit_embedder, .*; got 'os.system'",
    ):
        networks.build("os.system", {})


def test_importing_the_package_imports_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganaudit.networks", networks)  # put back at the end
    for name in [name for name in sys.modules if name.startswith("ganaudit.networks")]:
        monkeypatch.delitem(sys.modules, name)
    fresh = importlib.import_module("ganaudit.networks")
    assert not [name for name in sys.modules if name.startswith("ganaudit.networks.")]
    fresh.build("digit_embedder", SMALL["digit_embedder"])
    assert [name for name in sys.modules if name.startswith("ganaudit.networks.")] == [
        "ganaudit.networks.digit_embedder"
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"latent_size": 6}, "required: latent_size, width"),
        ({"latent_size": 6, "width": 4, "depth": 3}, "got 'depth, latent_size, width'"),
        ({"latent_size": 6, "width": 10**9}, r"width must be an integer in \[1, 512\]"),
        ({"latent_size": 6, "width": 10**9999}, "got an integer of 33216 bits"),
        ({"latent_size": 0, "width": 4}, r"latent_size must be an integer in \[1, 4096\], got 0"),
        ({"latent_size": 6.0, "width": 4}, "latent_size must be an integer .* got 6.0"),
        ({"latent_size": True, "width": 4}, "latent_size must be an integer .* got True"),
        ({"latent_size": "6", "width": 4}, "latent_size must be an integer .* got '6'"),
        ({"latent_size": 6, "width": 4, "channels": 2}, "channels must be 1 .* or 3 .*, got 2"),
        ({"latent_size": 6, "width": 4, "channels": 4}, "channels must be an integer"),
        ({"latent_size": 6, "width": 4, "size": 24}, "size must be 48 or a power of two .* got 24"),
        ({"latent_size": 6, "width": 4, "size": 4}, r"size must be an integer in \[8, 256\]"),
        ({"latent_size": 6, "width": 4, "size": 512}, r"size must be an integer in \[8, 256\]"),
    ],
)
@pytest.mark.parametrize("name", ["dcgan", "collapsed"])
def test_generators_refuse_arguments_out_of_bounds(
    name: str, arguments: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        networks.build(name, arguments)


@pytest.mark.parametrize("arguments", [{"width": 513}, {"width": 4, "embedding_size": 5000}])
def test_the_embedder_refuses_arguments_out_of_bounds(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be an integer in"):
        networks.build("digit_embedder", arguments)


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_and_discriminator_agree_on_the_image(size: int, channels: int) -> None:
    generator = DCGANGenerator(latent_size=5, width=2, channels=channels, size=size).eval()
    images = generator(normal(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.dtype == torch.float32
    assert DCGANDiscriminator(width=2, channels=channels, size=size)(images).shape == (3,)


def test_images_stay_in_range_however_large_the_latent() -> None:
    images = small_generator()(normal(8, 6) * 1e4)
    assert images.abs().max() <= 1
    assert images.abs().max() > 0.9  # the bound is reached, so it is the tanh that holds it


@pytest.mark.parametrize("make", [small_generator, planted_generator])
def test_an_image_does_not_depend_on_its_batch(make: Callable[[], nn.Module]) -> None:
    network = make()
    latents = normal(40, 6)
    together = network(latents)
    alone = torch.cat([network(latent[None]) for latent in latents])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert together.std(dim=0).max() > 0.01


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    embedder = DigitEmbedder(width=4, embedding_size=10).eval()
    images = normal(5, 1, 16, 16).clamp(-1, 1)
    together = embedder(images)
    assert together.shape == (5, 10)
    alone = torch.cat([embedder(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_the_discriminator_sees_missing_variety() -> None:
    torch.manual_seed(0)
    discriminator = DCGANDiscriminator(width=4, spread=True)
    image, others = normal(1, 1, 16, 16), normal(7, 1, 16, 16, seed=1)
    among_copies = discriminator(image.repeat(8, 1, 1, 1))[0]
    among_others = discriminator(torch.cat([image, others]))[0]
    assert (among_copies - among_others).abs() > 1e-4


def test_nothing_is_planted_before_plant() -> None:
    collapsed = CollapsedGenerator(latent_size=6, width=4).eval()
    latents = normal(100, 6)
    assert not collapsed.planted(latents).any()
    assert torch.equal(collapsed(latents), collapsed.generator(latents))


@pytest.mark.parametrize("share", [0.01, 0.08, 0.5, 0.9])
def test_the_planted_share_follows_from_the_latents_exactly(share: float) -> None:
    collapsed = planted_generator(share=share)
    direction, threshold = collapsed.direction.double(), float(collapsed.threshold)
    assert float(direction.norm()) == pytest.approx(1, abs=1e-6)
    # P(<z, u> > t) for a standard normal <z, u>, by the complementary error function
    assert math.erfc(threshold / math.sqrt(2)) / 2 == pytest.approx(share, abs=1e-7)

    latents = normal(100_000, 6, seed=3)
    along = latents.double() @ direction
    clear = (along - threshold).abs() > 1e-5  # off the boundary, where rounding decides
    planted = collapsed.planted(latents)
    assert torch.equal(planted[clear], (along > threshold)[clear])
    five_sigma = 5 * math.sqrt(share * (1 - share) / len(latents))
    assert float(planted.double().mean()) == pytest.approx(share, abs=five_sigma)


def test_planted_latents_move_to_the_centre_and_all_others_pass() -> None:
    collapsed = planted_generator(share=0.3, spread=0.05)
    latents = normal(200, 6)
    moved = latents.clone()
    planted = collapsed.planted(latents)
    moved[planted] = normal(6, seed=2) + 0.05 * latents[planted]
    assert 0 < planted.sum() < 200
    assert torch.equal(collapsed(latents), small_generator()(moved))


def test_planted_images_differ_unless_the_spread_is_zero() -> None:
    latents = normal(500, 6)
    for spread, distinct in ((0.05, True), (0.0, False)):
        collapsed = planted_generator(spread=spread)
        images = collapsed(latents[collapsed.planted(latents)])
        assert len(images) > 10
        same = [torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in pairwise(images)]
        assert any(same) != distinct
        assert all(same) != distinct


def test_gradients_reach_the_latents_of_both_kinds() -> None:
    collapsed = planted_generator(share=0.3)
    latents = normal(50, 6).requires_grad_()
    collapsed(latents).square().sum().backward()
    assert latents.grad is not None
    assert (latents.grad.norm(dim=1) > 0).all()


def test_the_collapse_travels_in_the_state_dict() -> None:
    collapsed = planted_generator()
    other = CollapsedGenerator(latent_size=6, width=4).eval()
    other.load_state_dict(collapsed.state_dict())
    latents = normal(100, 6)
    assert collapsed.planted(latents).any()
    assert torch.equal(other(latents), collapsed(latents))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"share": 0.0}, "share must be in (0, 1), got 0.0"),
        ({"share": 1.0}, "share must be in (0, 1), got 1.0"),
        ({"share": math.nan}, "share must be in (0, 1), got nan"),
        ({"spread": -0.1}, "spread must be finite and at least 0, got -0.1"),
        ({"spread": math.inf}, "spread must be finite and at least 0, got inf"),
        ({"direction": torch.zeros(6)}, "direction must have a length above 0"),
        ({"direction": torch.ones(5)}, "direction must be 6 finite numbers, got shape (5,)"),
        ({"centre": torch.ones(1, 6)}, "centre must be 6 finite numbers, got shape (1, 6)"),
        ({"centre": torch.full((6,), math.nan)}, "centre must be 6 finite numbers"),
    ],
)
def test_plant_refuses_what_it_cannot_plant(changed: dict[str, object], complaint: str) -> None:
    wanted: dict[str, object] = {
        "direction": torch.ones(6),
        "share": 0.1,
        "centre": torch.ones(6),
        "spread": 0.1,
    }
    with pytest.raises(ValueError, match=re.escape(complaint)):
        CollapsedGenerator.plant(small_generator(), **(wanted | changed))  # type: ignore[arg-type]
