"""The networks that `ganaudit train` trains: features and heads, labels, norms, files."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_networks import SMALL
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm

from ganaudit import networks
from ganaudit.checkpoints.native import save_native
from ganaudit.checkpoints.opened import open_network
from ganaudit.networks.dcgan import DCGANDiscriminator
from ganaudit.networks.sngan import SNGANDiscriminator, SNGANGenerator
from ganaudit.training.architectures import ARCHITECTURES, network_specs

SIZES = {"dcgan": (8, 16, 32, 48, 64, 128), "sngan": (32, 48, 64, 128), "cdcgan": (16, 32, 48, 64)}
SIZES["acgan"] = SIZES["cdcgan"]
TRAINED = sorted(
    {name for pair in ARCHITECTURES.values() for name in (pair.generator, pair.discriminator)}
)
ALL = [("mlp", None), ("mlp", 8), *((arch, size) for arch in SIZES for size in SIZES[arch])]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(arch: str, size: int | None, *, channels: int = 3, **said: str) -> Any:
    """Specs and networks of an architecture, in evaluation mode."""
    shape = (2,) if size is None else (channels, size, size)
    usual = {"widths": "6,5"} if arch == "mlp" else {"width": "2"}
    specs = network_specs(
        arch, image_shape=shape, num_labels=3, latent_size=4, generator=usual,
        discriminator=usual | said,
    )  # fmt: skip
    torch.manual_seed(1)
    made = [networks.build(spec.network, spec.arguments).eval() for spec in specs]
    return *specs, *made


def warm_up(*modules: Any) -> None:
    """A pass of each in training mode."""
    labels = torch.tensor([0, 2, 1])
    for module in modules:
        shape = getattr(module, "latent_shape", module.image_shape)
        module.train()(normal(3, *shape), *((labels,) if module.num_labels else ()))
        module.eval()


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_a_pair_agrees_on_the_image(arch: str, size: int | None) -> None:
    _, _, generator, discriminator = pair(arch, size)
    labels = torch.tensor([0, 2, 1])
    given = (labels,) if generator.num_labels else ()
    images = generator(normal(3, 4), *given)
    assert images.shape == (3, *generator.image_shape)
    assert generator.image_shape == discriminator.image_shape
    assert generator.latent_shape == (4,) and not hasattr(discriminator, "latent_shape")
    if size is not None:
        assert float(images.detach().abs().max()) <= 1
    told = (labels,) if discriminator.num_labels else ()
    features = discriminator.features(images, labels)
    logits = discriminator(images, *told)
    assert logits.shape == (3,)
    assert torch.equal(discriminator.head(features, labels), logits)
    if arch == "acgan":
        assert discriminator.classes(features).shape == (3, 3)


@pytest.mark.parametrize(
    ("arch", "size", "said"),
    [
        ("mlp", None, {}),
        ("mlp", 8, {"pieces": "2"}),
        ("dcgan", 16, {}),
        ("dcgan", 48, {"normalisation": "batch"}),
        ("dcgan", 16, {"normalisation": "spectral"}),
        ("dcgan", 16, {"head": "mean"}),
        ("sngan", 32, {}),
        ("sngan", 48, {}),
        ("cdcgan", 16, {"normalisation": "batch"}),
        ("acgan", 16, {}),
    ],
)
def test_every_row_stands_alone(arch: str, size: int | None, said: dict[str, str]) -> None:
    """Out of training, and after it: statistics and singular vectors have moved."""
    _, _, generator, discriminator = pair(arch, size, **said)
    warm_up(generator, discriminator)
    latents, labels = normal(5, 4), torch.tensor([0, 2, 1, 1, 0])
    given = (labels,) if generator.num_labels else ()
    told = (labels,) if discriminator.num_labels else ()
    images = generator(latents, *given).detach()
    logits = discriminator(images, *told)
    for row in range(5):
        one = slice(row, row + 1)
        alone = generator(latents[one], *(part[one] for part in given))
        assert torch.allclose(alone, images[one], atol=1e-6)
        judged = discriminator(images[one], *(part[one] for part in told))
        assert torch.allclose(judged, logits[one], atol=1e-5)


def test_soft_labels_are_hard_ones_where_they_are_sure() -> None:
    _, _, generator, discriminator = pair("cdcgan", 16)
    labels = torch.tensor([0, 2, 1])
    soft = F.one_hot(labels, 3).float()
    images = generator(normal(3, 4), labels)
    assert torch.equal(generator(normal(3, 4), soft), images)
    assert torch.equal(discriminator(images, soft), discriminator(images, labels))
    between = discriminator(images, 0.5 * soft + 0.5 * soft.roll(1, dims=0))
    assert not torch.allclose(between, discriminator(images, labels))


def test_classes_change_the_image_and_the_logit() -> None:
    _, _, generator, discriminator = pair("cdcgan", 16)
    latents = normal(1, 4).expand(3, -1)
    images = generator(latents, torch.arange(3))
    assert not torch.allclose(images[0], images[1]) and not torch.allclose(images[1], images[2])
    logits = discriminator(images[:1].expand(3, -1, -1, -1), torch.arange(3))
    assert len(set(logits.tolist())) == 3


def test_a_conditional_discriminator_asks_for_labels() -> None:
    _, _, _, discriminator = pair("cdcgan", 16)
    with pytest.raises(ValueError, match="judges images with their labels"):
        discriminator.features(normal(2, 3, 16, 16))


def test_an_image_alone_has_no_spread() -> None:
    torch.manual_seed(1)
    discriminator = DCGANDiscriminator(width=2, size=16, spread=True).eval()
    images = normal(4, 1, 16, 16)
    among = discriminator(images)
    assert discriminator.last is not None
    singles = torch.cat([discriminator(image[None]) for image in images])
    weights = discriminator.last.weight.detach()[0, -1]  # of the channel of the spread
    number = (discriminator.features(images).var(dim=0) + 1e-8).sqrt().mean()
    raised = (number * weights.sum()).detach()
    assert torch.allclose(among, singles + raised, atol=1e-5) and abs(float(raised)) > 1e-3
    discriminator.alone = True
    assert torch.allclose(discriminator(images), singles, atol=1e-6)


TABLES: dict[int, tuple[list[int], list[int]]] = {
    # Channels of the appendix's tables, of blocks: of the generator's first map and its blocks;
    # of the discriminator's blocks, the last of which (two of 32) keeps the size.
    32: ([256, 256, 256, 256], [128, 128, 128, 128]),
    48: ([512, 256, 128, 64], [64, 128, 256, 512, 1024]),
    128: ([1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024]),
}


@pytest.mark.parametrize("size", TABLES)
def test_residual_networks_are_those_of_the_tables(size: int) -> None:
    with torch.device("meta"):
        generator = SNGANGenerator(size=size)
        discriminator = SNGANDiscriminator(size=size)
        start = generator.first(torch.zeros(1, 128)).reshape(1, -1, *[6 if size == 48 else 4] * 2)
        up = shapes(generator.blocks, start)
        down = shapes(discriminator.blocks, torch.zeros(1, 3, size, size))
    channels, judging = TABLES[size]
    sides = [start.shape[2] * 2**place for place in range(len(channels))]
    assert [start.shape[1], *(found for found, _ in up)] == channels
    assert [start.shape[2], *(side for _, side in up)] == sides and sides[-1] == size
    halved = len(judging) - (2 if size == 32 else 1)
    sides = [size // 2 ** min(place, halved) for place in range(1, len(judging) + 1)]
    assert down == list(zip(judging, sides, strict=True))


def shapes(blocks: nn.Sequential, features: Tensor) -> list[tuple[int, int]]:
    """Channels and side behind each block."""
    found = []
    for block in blocks:
        features = block(features)
        found += [(features.shape[1], features.shape[2])]
    return found


def test_a_residual_head_judges_a_mix_as_the_mix_of_both_logits() -> None:
    _, _, _, discriminator = pair("sngan", 32)
    features = discriminator.features(normal(2, 3, 32, 32))
    first, second = discriminator.head(features).tolist()
    (mixed,) = discriminator.head(0.3 * features[:1] + 0.7 * features[1:]).tolist()
    assert mixed == pytest.approx(0.3 * first + 0.7 * second, abs=1e-5)


def test_a_mean_head_is_the_mean_of_its_features() -> None:
    discriminator = DCGANDiscriminator(width=2, size=16, head="mean").eval()
    images = normal(3, 1, 16, 16)
    features = discriminator.features(images)
    assert features.shape == (3, 1, 4, 4)
    assert torch.allclose(discriminator(images), features.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("arch", ["dcgan", "sngan", "cdcgan", "acgan"])
def test_spectral_norm_bounds_every_layer(arch: str) -> None:
    said = {} if arch == "sngan" else {"normalisation": "spectral"}
    _, _, _, discriminator = pair(arch, 32, **said)
    discriminator.train()
    labels = torch.zeros(2, dtype=torch.int64)
    told = (labels,) if discriminator.num_labels else ()
    for _ in range(40):
        discriminator(normal(2, 3, 32, 32), *told)
        if arch == "acgan":
            discriminator.classes(discriminator.features(normal(2, 3, 32, 32)))
    discriminator.eval()
    layers = [part for part in discriminator.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    normed = [part for part in discriminator.modules() if isinstance(part, _SpectralNorm)]
    assert len(normed) == len(layers) > 3
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("role", [0, 1])
@pytest.mark.parametrize(
    ("arch", "size", "said"),
    [
        ("mlp", None, {"pieces": "3"}),
        ("mlp", 8, {}),
        ("dcgan", 16, {"normalisation": "spectral"}),
        ("dcgan", 48, {"normalisation": "batch", "spread": "true"}),
        ("dcgan", 16, {"head": "mean"}),
        ("sngan", 32, {}),
        ("cdcgan", 16, {"normalisation": "spectral"}),
        ("acgan", 16, {"normalisation": "spectral"}),
    ],
)
def test_a_network_comes_back_from_its_file(
    arch: str, size: int | None, said: dict[str, str], role: int, tmp_path: Path
) -> None:
    *specs, generator, discriminator = pair(arch, size, **said)
    spec, module = specs[role], (generator, discriminator)[role]
    warm_up(module)  # so that statistics and singular vectors move
    inputs = normal(3, 4) if role == 0 else normal(3, *discriminator.image_shape)
    given = (inputs, torch.tensor([0, 2, 1])) if module.num_labels else (inputs,)
    path = tmp_path / "network.safetensors"
    save_native(path, module, network=spec.network, arguments=spec.arguments, facts={})
    opened = open_network(path)
    assert opened.network == spec.network
    assert torch.equal(opened.module(*given), module(*given))


@pytest.mark.parametrize("arguments", [
    {"widths": []}, {"widths": "12"}, {"widths": [0]}, {"widths": [4] * 17},
    {"image_shape": [3]}, {"image_shape": [1, 8, 9]}, {"image_shape": [2, 8, 8]},
    {"image_shape": [1, 65, 65]}, {"image_shape": [2.0]}, {"image_shape": [True, 8, 8]},
    {"image_shape": 8}, {"widths": 8}, {"widths": None},
])  # fmt: skip
@pytest.mark.parametrize("name", ["mlp", "mlp_discriminator"])
def test_fully_connected_networks_refuse_what_is_out_of_bounds(
    name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="must be"):
        networks.build(name, arguments)


NOT_TAKEN = (None, -1, 0, 0.5, 1e300, "x", [], [1.0], [None], {}, {"a": 1}, 2**70, [1] * 4000)


# What StyleGAN2's networks take of it: where None, 0 or a fraction says something.
TAKEN: dict[str, tuple[object, ...]] = {
    "c_dim": (0,),
    "cmap_dim": (None,),
    "conv_clamp": (None, 0, 0.5),
    "resample_filter": (None, [1.0]),
    "mapping_embed_features": (None,),
    "mapping_layer_features": (None,),
    "mapping_lr_multiplier": (0.5,),
    "mbstd_group_size": (None,),
    "mbstd_num_channels": (0,),
}
WITHOUT_LAYERS = ("stylegan2_discriminator", "mapping_num_layers", 0)  # the embedding is enough


@pytest.mark.parametrize("name", TRAINED)
def test_every_argument_of_a_file_is_bounded(name: str) -> None:
    styled = name.startswith("stylegan2")
    small = SMALL[name] | ({"c_dim": 3} if styled else {})  # or not all arguments are looked at
    for key in inspect.signature(networks.network_class(name)).parameters:
        for value in NOT_TAKEN:
            if styled and (value in TAKEN.get(key, ()) or (name, key, value) == WITHOUT_LAYERS):
                continue
            with pytest.raises(ValueError, match="must (be|have)") as refused, torch.device("meta"):
                networks.build(name, small | {key: value})
            assert len(str(refused.value)) < 300
