import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pickled
import pytest
import torch
import torch.nn.functional as F
from pickled import NvidiaNetwork, write_nvidia_pickle
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.checkpoints import holdings
from ganaudit.checkpoints.records import Network
from ganaudit.checkpoints.sources import KNOWN
from ganaudit.checkpoints.stylegan2 import stylegan2
from ganaudit.errors import ConfigError
from ganaudit.networks.style_layers import low_pass
from ganaudit.networks.stylegan2 import StyleGAN2Generator
from ganaudit.networks.stylegan2_discriminator import StyleGAN2Discriminator, batch_spread

SMALL: dict[str, Any] = {
    "z_dim": 6,
    "c_dim": 0,
    "w_dim": 5,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 64,
    "channel_max": 8,
    "mapping_num_layers": 2,
}
SMALL_D: dict[str, Any] = {
    "c_dim": 0,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 64,
    "channel_max": 8,
}
GENERATORS: dict[str, dict[str, Any]] = {
    "skip": {},
    "labels": {"c_dim": 4, "mapping_embed_features": 3, "mapping_layer_features": 7},
    "resnet": {"architecture": "resnet", "img_channels": 1, "resample_filter": [1, 2, 4]},
    "orig": {
        "architecture": "orig",
        "conv_clamp": 0.8,
        "resample_filter": [1, 2, 3, 4, 4, 3, 2, 2],
    },
    "odd": {
        "kernel_size": 1,
        "resample_filter": [[1, 2, 1], [3, 4, 1]],
        "use_noise": False,
        "activation": "swish",
        "mapping_activation": "relu",
        "mapping_lr_multiplier": 0.5,
    },
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "resnet": {"mbstd_group_size": 2},
    "skip": {"architecture": "skip", "mbstd_num_channels": 2, "resample_filter": [1, 2, 4]},
    "orig": {"architecture": "orig", "conv_clamp": 0.5, "mbstd_num_channels": 0},
    "labels": {
        "c_dim": 3,
        "cmap_dim": 5,
        "mapping_num_layers": 2,
        "activation": "relu",
        "epilogue_activation": "tanh",
        "mbstd_group_size": None,
    },
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(network: nn.Module) -> Any:
    # Every value that a file could hold, away from what constructors set; the mapping's are
    # stored a hundred times as large as they count.
    state = {
        name: value
        if "resample_filter" in name
        else normal(*value.shape, seed=seed) * (50 if name.startswith("mapping.fc") else 1)
        for seed, (name, value) in enumerate(network.state_dict().items())
    }
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def generator(**changed: Any) -> StyleGAN2Generator:
    return randomised(StyleGAN2Generator(**(SMALL | changed)))


def discriminator(**changed: Any) -> StyleGAN2Discriminator:
    return randomised(StyleGAN2Discriminator(**(SMALL_D | changed)))


# -- the literal twin: each image alone, in double precision, from a state dict ------------------

ACTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "linear": (lambda x: x, 1),
    "lrelu": (lambda x: torch.where(x > 0, x, 0.2 * x), 2**0.5),
    "relu": (lambda x: x * (x > 0), 2**0.5),
    "swish": (lambda x: x / (1 + (-x).exp()), 2**0.5),
    "tanh": (lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()), 1),
}


class Twin:
    def __init__(self, network: nn.Module, arguments: Mapping[str, Any]) -> None:
        self.state = {name: value.double() for name, value in network.state_dict().items()}
        self.arguments = arguments

    def get(self, name: str) -> Tensor:
        return self.state[name]

    def act(self, x: Tensor, name: str, gain: float = 1, clamp: bool = True) -> Tensor:
        function, own = ACTS[name]
        x = function(x) * own * gain
        bound = self.arguments.get("conv_clamp") if clamp else None
        return x if bound is None else x.clamp(-bound * gain, bound * gain)

    def linear(self, x: Tensor, name: str, act: str = "linear", rate: float = 1) -> Tensor:
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        return self.act(weight @ x * rate / math.sqrt(len(x)) + bias * rate, act, clamp=False)

    def filtered(self, x: Tensor, kernel: Tensor) -> Tensor:
        # "full" convolution of [C, H, W], turned around because torch correlates
        if kernel.ndim == 1:
            kernel = torch.outer(kernel, kernel)
        rows, columns = kernel.shape
        x = F.pad(x, (columns - 1, columns - 1, rows - 1, rows - 1))
        return F.conv2d(x[:, None], kernel.flip((0, 1))[None, None])[:, 0]

    def doubled(self, x: Tensor, name: str, weight: Tensor | None = None) -> Tensor:
        # zeros between, the weight as a true convolution, the filter, then the middle
        kernel = self.get(f"{name}.resample_filter")
        spread = x.new_zeros(len(x), 2 * x.shape[1], 2 * x.shape[2])
        spread[:, ::2, ::2] = x
        size = 1
        if weight is not None:
            size = weight.shape[-1]
            padded = F.pad(spread, [size - 1] * 4)
            spread = F.conv2d(padded[None], weight.flip((2, 3)))[0]
        full = self.filtered(spread, kernel) * 4
        # what surrounds the middle: the kernel's half and the filter's, minus their extents
        top = kernel.shape[0] - 1 - (kernel.shape[0] + 1) // 2 + size // 2
        left = kernel.shape[-1] - 1 - (kernel.shape[-1] + 1) // 2 + size // 2
        return full[:, top : top + 2 * x.shape[1], left : left + 2 * x.shape[2]]

    def halved(self, x: Tensor, name: str, weight: Tensor | None = None) -> Tensor:
        kernel = self.get(f"{name}.resample_filter")
        low = self.filtered(x, kernel)
        top, left = (kernel.shape[0]) // 2, (kernel.shape[-1]) // 2
        size = 1 if weight is None else weight.shape[-1]
        low = F.pad(low, [size] * 4)  # zeros beyond reach, for the window of the weight
        height, width = x.shape[1:]
        begin_y, begin_x = top - size // 2 + size, left - size // 2 + size
        window = low[:, begin_y : begin_y + height + size - 1, begin_x : begin_x + width + size - 1]
        if weight is None:
            return window[:, ::2, ::2]
        return F.conv2d(window[None], weight, stride=2)[0]

    def conv(self, x: Tensor, name: str, act: str = "linear", how: str = "", gain: float = 1,
             clamp: bool = True) -> Tensor:  # fmt: skip
        weight = self.get(f"{name}.weight")
        weight = weight / math.sqrt(weight[0].numel())
        if how == "up":
            x = self.doubled(x, name, weight)
        elif how == "down":
            x = self.halved(x, name, weight)
        else:
            x = F.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]
        if f"{name}.bias" in self.state:
            x = x + self.get(f"{name}.bias")[:, None, None]
        return self.act(x, act, gain, clamp)

    def mapped(self, z: Tensor | None, label: Tensor | None) -> Tensor:
        parts = [] if z is None else [z.double()]
        if label is not None:
            one_hot = torch.zeros(self.arguments["c_dim"], dtype=torch.float64)
            one_hot[label] = 1
            parts.append(self.linear(one_hot, "mapping.embed"))
        w = torch.cat([part / (part.square().mean() + 1e-8).sqrt() for part in parts])
        for i in range(self.arguments.get("mapping_num_layers", 8)):
            act = self.arguments.get("mapping_activation", "lrelu")
            rate = self.arguments.get("mapping_lr_multiplier", 0.01)
            w = self.linear(w, f"mapping.fc{i}", act, rate)
        return w


class GeneratorTwin(Twin):
    def styled(self, x: Tensor, w: Tensor, name: str, noise: Any, up: bool, gain: float) -> Tensor:
        weight = self.get(f"{name}.weight") * self.linear(w, f"{name}.affine")[:, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            x = self.doubled(x, name, weight)
        else:
            x = F.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]
        if f"{name}.noise_strength" in self.state and noise != "none":
            drawn = self.get(f"{name}.noise_const") if noise == "const" else noise.pop(0)
            x = x + drawn.double() * self.get(f"{name}.noise_strength")
        x = x + self.get(f"{name}.bias")[:, None, None]
        return self.act(x, self.arguments.get("activation", "lrelu"), gain)

    def shown(self, x: Tensor, w: Tensor, name: str) -> Tensor:
        weight = self.get(f"{name}.weight")[:, :, 0, 0] / math.sqrt(len(x))
        weight = weight * self.linear(w, f"{name}.affine")
        return self.act(
            torch.einsum("oi,ihw->ohw", weight, x) + self.get(f"{name}.bias")[:, None, None],
            "linear",
        )

    def image(
        self, z: Tensor, label: Tensor | None, psi: float, cutoff: int | None, noise: Any
    ) -> Tensor:
        w = self.mapped(z, label)
        near = self.get("mapping.w_avg") * (1 - psi) + w * psi

        def style(layer: int) -> Tensor:
            return near if cutoff is None or layer < cutoff else w

        kind, last = self.arguments.get("architecture", "skip"), self.arguments["img_resolution"]
        x, image, layer, size = self.get("synthesis.b4.const"), None, 0, 4
        while size <= last:
            name, gain, passed = f"synthesis.b{size}", 1.0, 0.0
            if size > 4:
                if kind == "resnet":
                    gain = math.sqrt(0.5)
                    passed = self.conv(x, f"{name}.skip", how="up", gain=gain, clamp=False)
                x = self.styled(x, style(layer), f"{name}.conv0", noise, True, 1.0)
                layer += 1
            x = self.styled(x, style(layer), f"{name}.conv1", noise, False, gain) + passed
            layer += 1
            image = None if image is None else self.doubled(image, name)
            if kind == "skip" or size == last:
                new = self.shown(x, style(layer), f"{name}.torgb")
                image = new if image is None else image + new
            size *= 2
        assert image is not None
        return image


class DiscriminatorTwin(Twin):
    def logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        features = torch.stack([self.features(image.double()) for image in images])
        kind, act = self.arguments["architecture"], self.arguments["epilogue_activation"]
        channels, n = self.arguments["mbstd_num_channels"], len(images)
        group = self.arguments["mbstd_group_size"] or n
        logits = []
        for i, x in enumerate(features):
            if channels:
                others = features[i % (n // min(group, n)) :: n // min(group, n)]
                spread = (others.var(dim=0, correction=0) + 1e-8).sqrt()
                means = spread.unflatten(0, (channels, -1)).mean(dim=(1, 2, 3))
                x = torch.cat([x, means[:, None, None].expand(-1, 4, 4)])
            x = self.conv(x, "b4.conv", act)
            x = self.linear(self.linear(x.flatten(), "b4.fc", act), "b4.out")
            if labels is not None:
                cmap = self.mapped(None, labels[i])
                x = (x * cmap).sum()[None] / math.sqrt(len(cmap))
            logits.append(x)
        assert kind in ("resnet", "skip", "orig")
        return torch.stack(logits)

    def features(self, image: Tensor) -> Tensor:
        kind, act = self.arguments["architecture"], self.arguments["activation"]
        size = first = self.arguments["img_resolution"]
        x: Any = 0.0
        while size > 4:
            name, gain, passed = f"b{size}", 1.0, 0.0
            if size == first or kind == "skip":
                x = x + self.conv(image, f"{name}.fromrgb", act)
            if kind == "skip":
                image = self.halved(image, name)
            if kind == "resnet":
                gain = math.sqrt(0.5)
                passed = self.conv(x, f"{name}.skip", how="down", gain=gain, clamp=False)
            x = self.conv(self.conv(x, f"{name}.conv0", act), f"{name}.conv1", act, "down", gain)
            x, size = x + passed, size // 2
        if kind == "skip":
            act = self.arguments["epilogue_activation"]
            x = x + self.conv(image, "b4.fromrgb", act, clamp=False)
        return x


@pytest.mark.parametrize("name", GENERATORS)
def test_images_are_those_of_the_literal_twin(name: str) -> None:
    network, twin_of = generator(**GENERATORS[name]), SMALL | GENERATORS[name]
    latents, labels = normal(3, 6), torch.tensor([3, 0, 3]) if twin_of["c_dim"] else None
    drawn = [normal(3, 1, *shape, seed=i).double() for i, shape in enumerate(network.noise_shapes)]
    for psi, cutoff, noise in (
        (1.0, None, "const"), (0.7, None, "none"), (0.3, 2, drawn), (-1.0, 4, "const"),
    ):  # fmt: skip
        images = network.double()(
            latents.double(),
            labels,
            psi=psi,
            cutoff=cutoff,
            noise=noise,  # type: ignore[arg-type]
        )
        twin = GeneratorTwin(network, twin_of)
        wanted = [
            twin.image(
                latents[i],
                None if labels is None else labels[i],
                psi,
                cutoff,
                noise if isinstance(noise, str) else [each[i, 0] for each in noise],
            )
            for i in range(3)
        ]
        torch.testing.assert_close(images, torch.stack(wanted), rtol=1e-9, atol=1e-9)
        assert images.std() > 0.05


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_logits_are_those_of_the_literal_twin(name: str) -> None:
    arguments = SMALL_D | {
        "architecture": "resnet", "activation": "lrelu", "epilogue_activation": "lrelu",
        "mbstd_group_size": 4, "mbstd_num_channels": 1, **DISCRIMINATORS[name],
    }  # fmt: skip
    network = discriminator(**arguments)
    images = normal(4, 3, 16, 16).clamp(-1, 1)
    labels = torch.tensor([2, 0, 1, 2]) if arguments["c_dim"] else None
    logits = network.double()(images.double(), labels)
    wanted = DiscriminatorTwin(network, arguments).logits(images, labels)
    assert logits.shape == (4, 1)
    torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-12)
    assert logits.std() > 0


def test_names_and_shapes_follow_from_the_layout() -> None:
    # 4: constant, conv1, image; 8: conv0, conv1, image; channels 64 // 4 and 64 // 8, at most 12.
    network = StyleGAN2Generator(**(SMALL | {"img_resolution": 8, "channel_max": 12, "c_dim": 2}))
    wanted: dict[str, tuple[int, ...]] = {
        "mapping.embed.weight": (5, 2), "mapping.embed.bias": (5,),
        "mapping.fc0.weight": (5, 11), "mapping.fc0.bias": (5,),
        "mapping.fc1.weight": (5, 5), "mapping.fc1.bias": (5,),
        "mapping.w_avg": (5,),
        "synthesis.b4.const": (12, 4, 4),
        "synthesis.b4.resample_filter": (4, 4), "synthesis.b8.resample_filter": (4, 4),
    }  # fmt: skip
    for name, inputs, outputs, size in (
        ("b4.conv1", 12, 12, 4), ("b8.conv0", 12, 8, 8), ("b8.conv1", 8, 8, 8),
        ("b4.torgb", 12, 3, 0), ("b8.torgb", 8, 3, 0),
    ):  # fmt: skip
        kernel = 3 if size else 1
        wanted[f"synthesis.{name}.weight"] = (outputs, inputs, kernel, kernel)
        wanted[f"synthesis.{name}.bias"] = (outputs,)
        wanted[f"synthesis.{name}.affine.weight"] = (inputs, 5)
        wanted[f"synthesis.{name}.affine.bias"] = (inputs,)
        if size:
            wanted[f"synthesis.{name}.resample_filter"] = (4, 4)
            wanted[f"synthesis.{name}.noise_const"] = (size, size)
            wanted[f"synthesis.{name}.noise_strength"] = ()
    state = network.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == wanted
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_a_discriminators_names_follow_from_the_layout() -> None:
    network = StyleGAN2Discriminator(**(SMALL_D | {"img_resolution": 8, "c_dim": 2}))
    convs = ("b8.fromrgb", "b8.conv0", "b8.conv1", "b4.conv")
    linear = ("b4.fc", "b4.out", "mapping.embed", *(f"mapping.fc{i}" for i in range(8)))
    wanted = {f"{name}.{kind}" for name in convs + linear for kind in ("weight", "bias")}
    wanted |= {f"{name}.resample_filter" for name in (*convs, "b8", "b8.skip")}
    assert network.state_dict().keys() == wanted | {"b8.skip.weight"}
    assert network.b4.conv.weight.shape == (8, 9, 3, 3)  # one channel of spread
    assert network.b4.fc.weight.shape == (8, 8 * 16)
    assert network.b4.out.weight.shape == (8, 8)  # as long as the mapped label


def test_the_attributes_say_what_goes_in_and_comes_out() -> None:
    network = generator(c_dim=4)
    assert (network.latent_shape, network.num_labels) == ((6,), 4)
    assert network.image_shape == (3, 16, 16)
    assert network.noise_shapes == ((4, 4), (8, 8), (8, 8), (16, 16), (16, 16))
    images = network(normal(2, 6), torch.tensor([0, 3]))
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    assert generator(use_noise=False).noise_shapes == ()


@pytest.mark.parametrize("name", GENERATORS)
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    network = generator(**GENERATORS[name])
    latents = normal(5, 6)
    labels = torch.tensor([0, 1, 2, 3, 0]) if network.num_labels else None
    together = network(latents, labels)
    alone = [network(latents[i : i + 1], labels if labels is None else labels[i : i + 1])
             for i in range(5)]  # fmt: skip
    close = 1e-5 * float(together.abs().max())
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=close)
    assert together.std(dim=0).max() > 0.01


def test_truncation_has_the_limits_that_it_should() -> None:
    network = generator()
    latents = normal(4, 6)
    whole = network(latents)
    assert torch.equal(network(latents, psi=1.0, cutoff=3), whole)
    torch.testing.assert_close(network(latents, psi=0.2, cutoff=0), whole, rtol=1e-5, atol=1e-5)
    layers = len(network.noise_shapes) + 1
    half = network(latents, psi=0.5)
    torch.testing.assert_close(network(latents, psi=0.5, cutoff=layers), half, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(latents, psi=0.5, cutoff=layers - 1), half, atol=1e-3)
    none = network(latents, psi=0.0)
    torch.testing.assert_close(none, none[:1].expand(4, -1, -1, -1), rtol=0, atol=1e-5)


def test_noise_is_what_the_file_holds_or_what_is_given() -> None:
    network = generator()
    latents = normal(2, 6)
    held = [layer.noise_const for layer in network.synthesis.noisy_layers()]
    const = network(latents)
    assert torch.equal(network(latents, noise=[each.expand(2, 1, -1, -1) for each in held]), const)
    none = network(latents, noise="none")
    assert not torch.allclose(none, const, atol=1e-2)
    nothing = [torch.zeros(2, 1, *shape) for shape in network.noise_shapes]
    assert torch.equal(network(latents, noise=nothing), none)
    silent = generator(use_noise=False)
    assert torch.equal(silent(latents, noise="none"), silent(latents))
    assert torch.equal(silent(latents, noise=[]), silent(latents))


def test_forward_changes_nothing_and_passes_gradients() -> None:
    network = generator().requires_grad_(True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    latents = normal(3, 6).requires_grad_()
    network.train()(latents, psi=0.7).square().mean().backward()
    assert latents.grad is not None
    assert (latents.grad.norm(dim=1) > 0).all()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_largest_network_is_built_at_once_without_memory() -> None:
    most = {"img_resolution": 2048, "channel_base": 1 << 22, "channel_max": 8192, "c_dim": 100_000}
    widest = {**SMALL, **most, "z_dim": 16384, "w_dim": 16384, "mapping_num_layers": 64}
    with torch.device("meta"):
        networks.build("stylegan2", SMALL)  # what torch loads for its first meta tensors
        began = time.process_time()
        made = networks.build("stylegan2", widest)
        networks.build("stylegan2_discriminator", SMALL_D | most)
    assert time.process_time() - began < 1
    assert all(value.is_meta for value in made.state_dict().values())


def test_batch_spread_by_hand() -> None:
    # Groups of two: images 0 and 2, 1 and 3; two channels, each of one pixel.
    features = torch.tensor([[1.0, 0], [5, 2], [3, 0], [5, 8]])[:, :, None, None]
    spread = batch_spread(features, 2, 1)[:, 0, 0, 0]
    # standard deviations 1 and 0, then 0 and 3; averaged over the channels
    assert spread.tolist() == pytest.approx([0.5, 1.5, 0.5, 1.5], abs=1e-4)
    each = batch_spread(features, 2, 2)[:, :, 0, 0]
    assert each[0].tolist() == pytest.approx([1, 0], abs=2e-4)
    assert batch_spread(features[:1], 4, 1).item() == pytest.approx(1e-4)


def test_a_low_pass_filter_sums_to_one_and_is_separable_from_eight_taps_on() -> None:
    assert low_pass(None).tolist() == [[1]]
    assert low_pass([1, 3]).tolist() == [[1 / 16, 3 / 16], [3 / 16, 9 / 16]]
    assert low_pass([1] * 8).tolist() == [1 / 8] * 8
    assert low_pass([[1, 0, 1]]).tolist() == [[0.5, 0, 0.5]]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"z_dim": 0}, "z_dim must be an integer in [1, 16384], got 0"),
        ({"c_dim": 10**6}, "c_dim must be an integer in [0, 100000]"),
        ({"w_dim": "5"}, "w_dim must be an integer in [1, 16384], got '5'"),
        ({"img_resolution": 24}, "img_resolution must be a power of two from 4 to 2048, got 24"),
        ({"img_resolution": 4096}, "img_resolution must be an integer in [4, 2048]"),
        ({"img_channels": 17}, "img_channels must be an integer in [1, 16], got 17"),
        ({"channel_base": 15}, "channel_base must be at least the image size, got 15"),
        ({"channel_max": 10**5}, "channel_max must be an integer in [1, 8192]"),
        ({"architecture": "unet"}, "architecture must be one of orig, skip, resnet; got 'unet'"),
        ({"activation": ["relu"]}, "activation must be one of linear, relu"),
        ({"conv_clamp": math.nan}, "conv_clamp must be a number in [0, 1e+06], got nan"),
        ({"conv_clamp": 10**5000}, "conv_clamp must be a number in [0, 1e+06], got more"),
        ({"conv_clamp": True}, "conv_clamp must be a number in [0, 1e+06], got True"),
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"kernel_size": 9}, "kernel_size must be an integer in [1, 7], got 9"),
        ({"use_noise": 1}, "use_noise must be true or false, got 1"),
        ({"mapping_num_layers": 65}, "mapping_num_layers must be an integer in [0, 64], got 65"),
        ({"mapping_num_layers": 0}, "must have w_dim = 5 values, got 6"),
        ({"mapping_embed_features": 0}, "mapping_embed_features must be an integer"),
        ({"mapping_layer_features": -1}, "mapping_layer_features must be an integer"),
        ({"mapping_activation": None}, "mapping_activation must be one of linear"),
        ({"mapping_lr_multiplier": 0}, "mapping_lr_multiplier must be a number in [1e-06, 100]"),
        ({"mapping_w_avg": None}, "mapping_w_avg must be true or false, got None"),
        ({"resample_filter": []}, "resample_filter must be 1 to 64 finite numbers"),
        ({"resample_filter": [1] * 65}, "resample_filter must be 1 to 64 finite numbers"),
        ({"resample_filter": [1, -1]}, "of sum not 0"),
        ({"resample_filter": [[1, 2], [3]]}, "or as many equal rows of such"),
        ({"resample_filter": [[], []]}, "resample_filter must be"),
        ({"resample_filter": [1, [2]]}, "resample_filter must be"),
        ({"resample_filter": [math.inf]}, "resample_filter must be"),
        ({"resample_filter": "1331"}, "resample_filter must be"),
        ({"resample_filter": 3}, "resample_filter must be"),
    ],
)
def test_generators_refuse_arguments_out_of_bounds(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        networks.build("stylegan2", SMALL | changed)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"img_resolution": 4}, "img_resolution must be an integer in [8, 2048], got 4"),
        ({"c_dim": -1}, "c_dim must be an integer in [0, 100000], got -1"),
        ({"cmap_dim": 0}, "cmap_dim must be an integer in [1, 16384], got 0"),
        ({"mbstd_group_size": 0}, "mbstd_group_size must be an integer in [1, 1048576], got 0"),
        ({"mbstd_num_channels": 3}, "mbstd_num_channels must divide the 8 channels at 4x4, got 3"),
        ({"epilogue_activation": "gelu"}, "epilogue_activation must be one of"),
        ({"channel_base": 8}, "channel_base must be at least the image size, got 8"),
        ({"architecture": 3}, "architecture must be one of"),
        ({"resample_filter": [0]}, "resample_filter must be"),
    ],
)
def test_discriminators_refuse_arguments_out_of_bounds(
    changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        networks.build("stylegan2_discriminator", SMALL_D | changed)


def test_inputs_that_do_not_fit_are_refused() -> None:
    labelled, plain, images = generator(c_dim=4), generator(), normal(4, 3, 16, 16)
    some = torch.tensor([1, 2])
    without = generator(mapping_w_avg=False)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: labelled(normal(2, 6)), "labels of 4 classes"),
        (lambda: plain(normal(2, 6), some), "labels of 0 classes"),
        (lambda: plain(normal(2, 7)), "latents must be [N, 6], got [2, 7]"),
        (lambda: plain(normal(2, 6), cutoff=-1), "cutoff must be at least 0, got -1"),
        (lambda: without(normal(2, 6), psi=0.5), "keeps no average style, so psi must be 1"),
        (lambda: plain(normal(2, 6), noise="random"), "for each of the 5 noisy layers"),  # type: ignore[arg-type]
        (lambda: plain(normal(2, 6), noise=[]), "for each of the 5 noisy layers"),
        (lambda: plain(normal(1, 6), noise=[normal(4, 4)] * 5), "for each of the 5 noisy layers"),
        (lambda: discriminator()(images[:, :1]), "images must be [N, 3, 16, 16], got [4, 1"),
        (lambda: discriminator()(images, some), "labels of 0 classes"),
        (lambda: discriminator(mbstd_group_size=3)(images), "into groups of 3 images, got 4"),
    ]
    for call, complaint in calls:
        with pytest.raises(ValueError, match=re.escape(complaint)):
            call()
    assert without(normal(2, 6), cutoff=1).shape == (2, 3, 16, 16)


# -- out of files ---------------------------------------------------------------------------------

MAPPING = {"num_layers": 2, "w_avg_beta": 0.99}
ADA: dict[str, Any] = {
    "z_dim": 6, "c_dim": 0, "w_dim": 5, "img_resolution": 16, "img_channels": 3,
    "mapping_kwargs": MAPPING,
    "synthesis_kwargs": {"channel_base": 64, "channel_max": 8, "num_fp16_res": 4},
}  # fmt: skip
SG3: dict[str, Any] = {
    "z_dim": 6, "c_dim": 0, "w_dim": 5, "img_resolution": 16, "img_channels": 3,
    "mapping_kwargs": MAPPING, "channel_base": 64, "channel_max": 8,
    "fused_modconv_default": "inference_only",
}  # fmt: skip
D_KWARGS: dict[str, Any] = {
    **SMALL_D,
    "conv_clamp": 256,
    "block_kwargs": {"freeze_layers": 1, "resample_filter": [1, 2, 1]},
    "mapping_kwargs": {},
    "epilogue_kwargs": {"mbstd_group_size": 2, "activation": "relu"},
}


def record(path: Path, role: str = "G_ema", **content: NvidiaNetwork) -> Network:
    write_nvidia_pickle(path / "snapshot.pkl", content)
    return holdings.read(path / "snapshot.pkl").networks[role]


def g_record(path: Path, kwargs: Mapping[str, Any], **more: Any) -> Network:
    return record(path, G_ema=NvidiaNetwork(module=generator(), kwargs=kwargs, **more))


def d_record(path: Path, kwargs: Mapping[str, Any], **more: Any) -> Network:
    return record(path, "D", D=NvidiaNetwork(module=discriminator(), kwargs=kwargs, **more))


def digest(program: str) -> str:
    return next(key for key, text in KNOWN.items() if text.startswith(program))


def opened(network: Network) -> Any:
    plan = stylegan2(network)
    assert plan is not None
    made = networks.build(plan.network, plan.arguments)
    tensors = {
        name: torch.from_numpy(array.numpy().copy())  # type: ignore[union-attr]
        for name, array in plan.tensors.items()
    }
    made.load_state_dict(tensors, strict=True)
    return made.eval()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("numpy_core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("old_torch", [True, False])
def test_a_snapshot_gives_back_the_networks_that_went_in(
    protocol: int, numpy_core: str, old_torch: bool, tmp_path: Path
) -> None:
    ours, judge = generator(), discriminator(resample_filter=[1, 2, 1], mbstd_group_size=2)
    content = {
        "training_set_kwargs": None,
        "augment_pipe": None,
        "G_ema": NvidiaNetwork(module=ours, kwargs=SG3, old_torch=old_torch),
        "D": NvidiaNetwork(
            module=judge,
            kwargs=D_KWARGS | {"epilogue_kwargs": {"mbstd_group_size": 2}},
            old_torch=old_torch,
        ),
    }
    path = write_nvidia_pickle(
        tmp_path / "snapshot.pkl", content, protocol=protocol,
        numpy_scalars=True, numpy_core=numpy_core,
    )  # fmt: skip
    holding = holdings.read(path)
    assert not holding.unknown
    assert holding.networks.keys() == {"G_ema", "D"}
    network = opened(holding.networks["G_ema"])
    assert torch.equal(network(normal(2, 6), psi=0.7), ours(normal(2, 6), psi=0.7))
    images = normal(4, 3, 16, 16)
    assert torch.equal(opened(holding.networks["D"])(images), judge(images))


def test_both_programs_arguments_are_understood(tmp_path: Path) -> None:
    wanted = SMALL | {"mapping_w_avg": True}
    for kwargs, clamp in ((ADA, None), (SG3, 256)):
        plan = stylegan2(g_record(tmp_path, kwargs))
        assert plan is not None
        assert plan.network == "stylegan2"
        assert plan.arguments == wanted | {"conv_clamp": clamp}
    positional = {key: SG3[key] for key in ("channel_base", "channel_max")}
    args = (6, 0, 5, 16, 3, MAPPING)
    plan = stylegan2(g_record(tmp_path, positional, args=args))
    assert plan is not None
    assert plan.arguments == wanted | {"conv_clamp": 256}


def test_what_has_no_effect_is_noted_and_a_missing_average_is_kept_missing(tmp_path: Path) -> None:
    plan = stylegan2(g_record(tmp_path, ADA))
    assert plan is not None
    assert [note.partition(":")[0] for note in plan.notes] == ["num_fp16_res"]
    plan = stylegan2(g_record(tmp_path, SG3 | {"mapping_kwargs": {"w_avg_beta": None}}))
    assert plan is not None
    assert plan.arguments["mapping_w_avg"] is False
    assert [note.partition(":")[0] for note in plan.notes] == ["fused_modconv_default"]
    judge = stylegan2(d_record(tmp_path, D_KWARGS))
    assert judge is not None
    assert [note.partition(":")[0] for note in judge.notes] == ["freeze_layers"]
    assert judge.arguments == SMALL_D | {
        "conv_clamp": 256, "resample_filter": [1, 2, 1], "mbstd_group_size": 2,
        "epilogue_activation": "relu",
    }  # fmt: skip


def test_a_clamp_that_is_not_given_is_that_of_the_program_that_wrote_it(tmp_path: Path) -> None:
    silent = {key: ADA[key] for key in ADA if not key.endswith("_kwargs")}
    judge = {key: D_KWARGS[key] for key in SMALL_D}
    for network in (g_record(tmp_path, silent), d_record(tmp_path, judge)):
        for program, clamp in (("stylegan2-ada-pytorch,", None), ("stylegan3,", 256)):
            plan = stylegan2(replace(network, sources=frozenset({digest(program)})))
            assert plan is not None
            assert plan.arguments["conv_clamp"] == clamp
        with pytest.raises(ConfigError, match="does not say its conv_clamp"):
            stylegan2(network)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"mirror": 1}, "constructor argument mirror is not implemented"),
        ({"mapping_kwargs": {"spectral": 1}}, "argument mapping_kwargs.spectral is not"),
        ({"synthesis_kwargs": {"gain": 1}}, "argument synthesis_kwargs.gain is not"),
        ({"synthesis_kwargs": {}}, "argument channel_base is not implemented"),
        ({"mapping_kwargs": [1]}, "mapping_kwargs must be a dict, got a list"),
        ({"mapping_num_layers": 2}, "argument mapping_num_layers is not implemented"),
    ],
)
def test_unknown_arguments_of_a_generator_are_refused_by_name(
    changed: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    kwargs = (ADA if "gain" in changed.get("synthesis_kwargs", {}) else SG3) | changed
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        stylegan2(g_record(tmp_path, kwargs))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"use_noise": True}, "constructor argument use_noise is not implemented"),
        ({"block_kwargs": {"gain": 1}}, "argument block_kwargs.gain is not implemented"),
        ({"epilogue_kwargs": {"cmap_dim": 1}}, "argument epilogue_kwargs.cmap_dim is not"),
        ({"mapping_kwargs": {"w_avg_beta": 1}}, "argument mapping_kwargs.w_avg_beta is not"),
    ],
)
def test_unknown_arguments_of_a_discriminator_are_refused_by_name(
    changed: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        stylegan2(d_record(tmp_path, D_KWARGS | changed))


def test_arguments_by_position_must_fit(tmp_path: Path) -> None:
    network = g_record(tmp_path, {"z_dim": 6}, args=(6,))
    with pytest.raises(ConfigError, match="Generator was made with z_dim twice"):
        stylegan2(network)
    with pytest.raises(ConfigError, match="made with 8 arguments by position.*takes 7"):
        stylegan2(replace(network, args=(1,) * 8))


def test_a_part_of_a_strange_class_is_refused(tmp_path: Path) -> None:
    names = pickled.STYLEGAN2_CLASSES | {"ToImage": "AttentionLayer"}
    with pytest.raises(ConfigError, match="G_ema looks like .* class AttentionLayer"):
        stylegan2(g_record(tmp_path, SG3, class_names=names))


def test_other_networks_are_left_to_others(tmp_path: Path) -> None:
    network = g_record(tmp_path, SG3)
    assert stylegan2(replace(network, name="TriPlaneGenerator")) is None
    assert stylegan2(replace(network, name="")) is None
    of_stylegan3 = {"synthesis.input.affine.weight": network.tensors["mapping.w_avg"]}
    assert stylegan2(replace(network, tensors=of_stylegan3)) is None
    assert stylegan2(replace(network, name="Discriminator")) is None
