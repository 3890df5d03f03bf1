import math
import time
from typing import Any

import literal_growing as literal
import numpy as np
import pytest
import torch
from torch import Tensor

from ganaudit import networks
from ganaudit.networks.stylegan import StyleGANGenerator

SMALL: dict[str, Any] = {
    "resolution": 16,
    "num_channels": 3,
    "latent_size": 5,
    "dlatent_size": 4,
    "mapping_layers": 2,
    "mapping_fmaps": 6,
    "fmap_base": 32,
    "fmap_max": 5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "labels": {"label_size": 3, "num_channels": 1},
    "half grown": {"lod": 1.25},
    "4x4 so far": {"lod": 2.0},
    "fixed": {"structure": "fixed", "lod": 1.5},
    "relu": {"nonlinearity": "relu", "mapping_nonlinearity": "relu", "use_instance_norm": False},
    "unscaled": {"use_wscale": False, "mapping_lrmul": 0.5, "normalize_latents": False},
    "wide blur": {"blur_filter": [1, 3, 4, 2]},
    "no blur": {"blur_filter": None},
    "no constant, no noise": {"const_input_layer": False, "use_noise": False},
    "traditional": {
        "use_styles": False,
        "use_pixel_norm": True,
        "use_instance_norm": False,
        "mapping_layers": 0,
        "latent_size": 4,
        "const_input_layer": False,
        "use_noise": False,
    },
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**changes: Any) -> StyleGANGenerator:
    options = SMALL | changes
    module = StyleGANGenerator(**options).eval().requires_grad_(False)
    rate = options.get("mapping_lrmul", 0.01)
    for i, (name, tensor) in enumerate(module.state_dict().items()):
        slow = name.startswith(("mapping.fc", "mapping.bias"))
        tensor.copy_(normal(*tensor.shape, seed=i + 1) / (rate if slow else 1))
    return module


def written_out(
    module: StyleGANGenerator, latents: Tensor, labels: Tensor | None, changes: Any, **style: Any
) -> Any:
    tensors = {name: t.double().numpy() for name, t in module.state_dict().items()}
    noise = style.pop("noise", None)
    return np.stack(
        [
            literal.stylegan(
                tensors,
                latents[i].double().numpy(),
                None if labels is None else int(labels[i]),
                resolution=16,
                lod=changes.get("lod", 0.0),
                noise=None if noise is None else [each[i, 0].double().numpy() for each in noise],
                options=SMALL | changes,
                **style,
            )
            for i in range(len(latents))
        ]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_those_of_the_paper_written_out(variant: str) -> None:
    changes = VARIANTS[variant]
    module = small(**changes)
    latents = normal(2, *module.latent_shape)
    labels = torch.tensor([2, 0]) if module.num_labels else None
    images = module(latents, labels, psi=0.6, cutoff=3)
    assert images.dtype == torch.float32
    assert images.shape == (2, *module.image_shape)
    wanted = written_out(module, latents, labels, changes, psi=0.6, cutoff=3)
    np.testing.assert_allclose(images.numpy(), wanted, rtol=0, atol=2e-4 * abs(wanted).max())


@pytest.mark.parametrize("lod", [0.0, 1.0, 1.25])
def test_given_noise_is_taken_in_the_order_of_its_shapes(lod: float) -> None:
    module = small(lod=lod)
    blocks = 3 - int(lod)
    assert module.noise_shapes == tuple((4 << i // 2,) * 2 for i in range(2 * blocks))
    noise = [normal(2, 1, *shape, seed=50 + i) for i, shape in enumerate(module.noise_shapes)]
    latents = normal(2, 5)
    unused = [torch.zeros(2, 1, 4 << i // 2, 4 << i // 2) for i in range(2 * blocks, 6)]
    wanted = written_out(module, latents, None, {"lod": lod}, noise=[*noise, *unused])
    images = module(latents, noise=noise).numpy()
    np.testing.assert_allclose(images, wanted, rtol=0, atol=2e-4 * abs(wanted).max())


def test_no_noise_is_noise_of_zeros() -> None:
    module, latents = small(), normal(2, 5)
    zeros = [torch.zeros(2, 1, *shape) for shape in module.noise_shapes]
    assert torch.equal(module(latents, noise="none"), module(latents, noise=zeros))
    assert not torch.allclose(module(latents, noise="none"), module(latents))


def test_a_network_without_noise_ignores_which_is_asked_for() -> None:
    module, latents = small(use_noise=False), normal(2, 5)
    assert module.noise_shapes == ()
    assert torch.equal(module(latents, noise="const"), module(latents, noise="none"))


def test_truncation_ends_at_the_average_image() -> None:
    module, latents = small(), normal(3, 5)
    images = module(latents, psi=0.0)
    assert (images - images[0]).abs().max() == 0
    torch.testing.assert_close(module(latents, psi=0.5, cutoff=0), module(latents))
    torch.testing.assert_close(module(latents, psi=0.5, cutoff=6), module(latents, psi=0.5))
    assert not torch.allclose(module(latents, psi=0.5, cutoff=2), module(latents, psi=0.5))


def test_an_image_does_not_depend_on_its_batch() -> None:
    module = small(label_size=3)
    latents, labels = normal(5, 5), torch.tensor([0, 1, 2, 1, 0])
    together = module(latents, labels)
    alone = torch.cat([module(latents[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
    assert together.std(dim=0).min() > 0.001


def test_gradients_reach_latents_and_every_weight_that_is_used() -> None:
    module = small(label_size=2).requires_grad_(True)
    latents = normal(2, 5).requires_grad_()
    module(latents, torch.tensor([0, 1]), psi=0.7).square().sum().backward()
    assert latents.grad is not None and latents.grad.abs().min() > 0
    for name, parameter in module.named_parameters():
        used = "torgb" not in name or "torgb16" in name
        assert (parameter.grad is not None) == used, name


def test_running_changes_nothing() -> None:
    module = small()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.train()(normal(2, 5))
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_the_tensors_of_the_paper_s_network_have_its_sizes() -> None:
    with torch.device("meta"):
        module = StyleGANGenerator(resolution=1024, num_channels=3)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes["synthesis.b1024_0.conv.weight"] == (16, 32, 3, 3)
    assert shapes["synthesis.b1024_1.style.weight"] == (32, 512)
    assert len(module.noise_shapes) == 18
    # Section 2 of the paper: 26.2 million trainable parameters.
    count = sum(math.prod(shape) for name, shape in shapes.items() if "noise_const" not in name)
    assert round(count / 1e6, 1) == 26.2


def test_the_largest_network_is_described_in_no_time() -> None:
    began = time.perf_counter()
    with torch.device("meta"):
        networks.build(
            "stylegan",
            {"resolution": 2048, "num_channels": 16, "label_size": 100_000, "fmap_base": 1 << 24,
             "fmap_max": 8192, "latent_size": 16384, "dlatent_size": 16384, "mapping_layers": 64,
             "mapping_fmaps": 16384, "blur_filter": [1.0] * 64},
        )  # fmt: skip
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"resolution": 4}, r"resolution must be an integer in \[8, 2048\], got 4"),
        ({"resolution": 24}, "resolution must be a power of two"),
        ({"num_channels": 17}, "num_channels must be an integer"),
        ({"label_size": 100_001}, "label_size must be an integer"),
        ({"latent_size": 0}, "latent_size must be an integer"),
        ({"dlatent_size": 1e9}, "dlatent_size must be an integer"),
        ({"mapping_layers": 65}, r"mapping_layers must be an integer in \[0, 64\]"),
        ({"mapping_layers": 0}, "must have dlatent_size = 4 values, got 5"),
        ({"mapping_fmaps": 0}, "mapping_fmaps must be an integer"),
        ({"mapping_lrmul": 0}, "mapping_lrmul must be a number"),
        ({"mapping_nonlinearity": "tanh"}, "mapping_nonlinearity must be one of lrelu, relu"),
        ({"nonlinearity": ["relu"]}, "nonlinearity must be one of lrelu, relu"),
        ({"fmap_base": math.inf}, "fmap_base must be a number"),
        ({"fmap_decay": -1}, "fmap_decay must be a number"),
        ({"fmap_max": 0}, "fmap_max must be an integer"),
        ({"use_noise": 2}, "use_noise must be true or false, got 2"),
        ({"use_styles": 1}, "use_styles must be true or false"),
        ({"use_wscale": 1}, "use_wscale must be true or false"),
        ({"use_pixel_norm": 1}, "use_pixel_norm must be true or false"),
        ({"use_instance_norm": 1}, "use_instance_norm must be true or false"),
        ({"const_input_layer": 1}, "const_input_layer must be true or false"),
        ({"normalize_latents": 1}, "normalize_latents must be true or false"),
        ({"blur_filter": []}, "blur_filter must be 1 to 64 numbers"),
        ({"blur_filter": [1] * 65}, "blur_filter must be 1 to 64 numbers"),
        ({"blur_filter": [[1, 2], [3, 4]]}, "blur_filter's must be a number"),
        ({"blur_filter": [1, -1]}, "blur_filter must have a sum other than 0"),
        ({"structure": "recursive"}, "structure must be one of fixed, linear"),
        ({"lod": 3}, r"lod must be a number in \[0, 2\]"),
    ],
)
def test_arguments_out_of_bounds_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        networks.build("stylegan", SMALL | changes)


def test_what_the_network_is_given_must_fit() -> None:
    module = small(label_size=3)
    with pytest.raises(ValueError, match=r"latents must be \[N, 5\]"):
        module(normal(2, 6), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="labels of 3 classes"):
        module(normal(2, 5))
    with pytest.raises(ValueError, match="labels of 0 classes"):
        small()(normal(2, 5), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="cutoff must be at least 0, got -1"):
        small()(normal(2, 5), cutoff=-1)
    for noise in ("random", [], [torch.zeros(1, 1, *s) for s in small().noise_shapes]):
        with pytest.raises(ValueError, match='noise must be "const", "none" or a tensor'):
            small()(normal(2, 5), noise=noise)  # type: ignore[arg-type]
