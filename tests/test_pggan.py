import math
import time
from typing import Any

import literal_growing as literal
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganaudit import networks
from ganaudit.networks.growing import feature_maps, repeated_conv
from ganaudit.networks.pggan import PGGANGenerator

SMALL: dict[str, Any] = {
    "resolution": 16,
    "num_channels": 3,
    "latent_size": 5,
    "fmap_base": 32,
    "fmap_max": 6,
}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "labels": ({"label_size": 3}, {}),
    "half grown": ({"lod": 1.25}, {"lod": 1.25}),
    "4x4 so far": ({"lod": 2.0}, {"lod": 2.0}),
    "8x8 so far": ({"lod": 1}, {"lod": 1.0}),
    "grey 4x4": ({"resolution": 4, "num_channels": 1}, {"resolution": 4}),
    "plain": (
        {
            "use_wscale": False,
            "use_pixelnorm": False,
            "normalize_latents": False,
            "use_leakyrelu": False,
        },
        {"scaled": False, "epsilon": None, "normalize": False, "slope": 0.0},
    ),
    "epsilon": ({"pixelnorm_epsilon": 0.3}, {"epsilon": 0.3}),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**changes: Any) -> PGGANGenerator:
    module = PGGANGenerator(**(SMALL | changes)).eval().requires_grad_(False)
    for i, tensor in enumerate(module.state_dict().values()):
        tensor.copy_(normal(*tensor.shape, seed=i + 1))
    return module


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_those_of_the_paper_written_out(variant: str) -> None:
    changes, options = VARIANTS[variant]
    module = small(**changes)
    latents, labels = normal(2, 5), torch.tensor([2, 0])
    images = module(latents, labels if module.num_labels else None)
    assert images.dtype == torch.float32
    assert images.shape == (2, *module.image_shape)
    tensors = {name: t.double().numpy() for name, t in module.state_dict().items()}
    for latent, label, image in zip(latents, labels, images, strict=True):
        hot = np.eye(3)[label] if module.num_labels else np.zeros(0)
        wanted = literal.pggan(
            tensors, latent.double().numpy(), hot, **({"resolution": 16} | options)
        )
        np.testing.assert_allclose(image.numpy(), wanted, rtol=0, atol=1e-4 * abs(wanted).max())


def test_pixels_are_repeated_before_the_convolution_and_the_result_is_the_same() -> None:
    features, weight = normal(2, 3, 4, 7), normal(5, 3, 3, 3, seed=1)
    slow = F.conv2d(features.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, padding=1)
    torch.testing.assert_close(repeated_conv(features, weight), slow, rtol=0, atol=1e-5)
    by_hand = repeated_conv(torch.ones(1, 1, 1, 1), torch.arange(9.0).reshape(1, 1, 3, 3))
    # Four copies of one pixel: what a corner sees is the 2x2 of the kernel opposite to it.
    assert by_hand[0, 0].tolist() == [
        [4 + 5 + 7 + 8, 3 + 4 + 6 + 7],
        [1 + 2 + 4 + 5, 0 + 1 + 3 + 4],
    ]


def test_an_image_does_not_depend_on_its_batch() -> None:
    module = small(label_size=3)
    latents, labels = normal(5, 5), torch.tensor([0, 1, 2, 1, 0])
    together = module(latents, labels)
    alone = torch.cat([module(latents[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    assert together.std(dim=0).min() > 0.001


def test_labels_change_the_image() -> None:
    module = small(label_size=3)
    latents = normal(1, 5).repeat(3, 1)
    images = module(latents, torch.arange(3))
    assert (images[0] - images[1]).abs().max() > 0.1


def test_gradients_reach_latents_and_every_weight_that_is_used() -> None:
    module = small().requires_grad_(True)
    latents = normal(2, 5).requires_grad_()
    module(latents).square().sum().backward()
    assert latents.grad is not None and latents.grad.abs().min() > 0
    for name, parameter in module.named_parameters():
        used = "torgb" not in name or "torgb16" in name
        assert (parameter.grad is not None) == used, name


def test_the_length_of_a_latent_is_that_of_the_first_features_unless_told() -> None:
    assert PGGANGenerator(resolution=4, num_channels=1, fmap_base=7.9).latent_shape == (7,)
    module = PGGANGenerator(resolution=4, num_channels=1, fmap_base=99, fmap_max=9)
    assert module.latent_shape == (9,)


def test_features_halve_from_stage_to_stage() -> None:
    assert [feature_maps(i, 8192, 1.0, 512) for i in (1, 4, 5, 9)] == [512, 512, 256, 16]
    assert feature_maps(3, 100, 0.5, 512) == int(100 / 2**1.5)


def test_the_tensors_of_the_paper_s_network_have_its_sizes() -> None:
    with torch.device("meta"):
        module = PGGANGenerator(resolution=1024, num_channels=3)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes["b4.layer0.weight"] == (512 * 16, 512)
    assert shapes["b1024.layer0.weight"] == (16, 32, 3, 3)
    assert shapes["torgb1024.conv.weight"] == (3, 16, 1, 1)
    # Table 2 of the paper: 23.1 million parameters.
    assert round(sum(map(math.prod, shapes.values())) / 1e6, 1) == 23.1


def test_the_largest_network_is_described_in_no_time() -> None:
    began = time.perf_counter()
    with torch.device("meta"):
        networks.build(
            "pggan",
            {"resolution": 2048, "num_channels": 16, "label_size": 100_000, "fmap_base": 1 << 24,
             "fmap_max": 8192},
        )  # fmt: skip
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"resolution": 24}, "resolution must be a power of two from 4 to 2048, got 24"),
        ({"resolution": 4096}, r"resolution must be an integer in \[4, 2048\]"),
        ({"num_channels": 0}, "num_channels must be an integer"),
        ({"label_size": -1}, "label_size must be an integer"),
        ({"latent_size": 10**9}, "latent_size must be an integer"),
        ({"fmap_base": "8192"}, "fmap_base must be a number"),
        ({"fmap_base": 7.9}, "must give each layer 1 to 8192 features, got 0"),
        ({"fmap_base": 1 << 24, "fmap_max": 10_000}, "must give each layer .* got 10000"),
        ({"fmap_decay": 9}, r"fmap_decay must be a number in \[0, 8\]"),
        ({"fmap_max": True}, "fmap_max must be an integer"),
        ({"use_wscale": 1}, "use_wscale must be true or false, got 1"),
        ({"use_pixelnorm": None}, "use_pixelnorm must be true or false"),
        ({"normalize_latents": "no"}, "normalize_latents must be true or false"),
        ({"use_leakyrelu": 0}, "use_leakyrelu must be true or false"),
        ({"pixelnorm_epsilon": -1}, "pixelnorm_epsilon must be a number"),
        ({"lod": 2.01}, r"lod must be a number in \[0, 2\], got 2.01"),
        ({"lod": math.nan}, "lod must be a number"),
        ({"lod": -0.1}, "lod must be a number"),
    ],
)
def test_arguments_out_of_bounds_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        networks.build("pggan", SMALL | changes)


def test_latents_and_labels_must_be_those_that_the_network_takes() -> None:
    with pytest.raises(ValueError, match=r"latents must be \[N, 5\]"):
        small()(normal(2, 6))
    with pytest.raises(ValueError, match="labels of 3 classes"):
        small(label_size=3)(normal(2, 5))
    with pytest.raises(ValueError, match="labels of 0 classes"):
        small()(normal(2, 5), torch.tensor([0, 0]))
