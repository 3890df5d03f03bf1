import math
import time
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pickled import NvidiaNetwork, write_nvidia_pickle
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.checkpoints import holdings
from ganaudit.checkpoints.records import Network
from ganaudit.checkpoints.stylegan3 import stylegan3
from ganaudit.errors import ConfigError
from ganaudit.networks.stylegan3 import StyleGAN3Generator
from ganaudit.networks.stylegan3_filters import filtered_leaky_relu, lowpass_filter

SMALL: dict[str, Any] = {
    "z_dim": 6,
    "c_dim": 0,
    "w_dim": 5,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 64,
    "channel_max": 8,
    "num_layers": 4,
}
RADIAL: dict[str, Any] = {"conv_kernel": 1, "use_radial_filters": True}
GENERATORS: dict[str, dict[str, Any]] = {
    "T": {},
    "R": RADIAL,
    "labels": {"c_dim": 4, "mapping_num_layers": 3, "mapping_lr_multiplier": 0.5},
    "odd": {
        "img_channels": 1,
        "img_resolution": 24,
        "conv_kernel": 2,
        "margin_size": 3,
        "filter_size": 5,
        "lrelu_upsampling": 3,
        "num_critical": 1,
        "conv_clamp": 0.5,
    },
    "unfiltered": {"lrelu_upsampling": 1, "num_critical": 0, "margin_size": 0, "conv_clamp": None},
}
CLASSES = {
    "StyleGAN3Generator": "Generator",
    "StyleMapping": "MappingNetwork",
    "Synthesis": "SynthesisNetwork",
    "FourierInput": "SynthesisInput",
    "FilteredLayer": "SynthesisLayer",
    "EqualizedLinear": "FullyConnectedLayer",
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(**more: Any) -> StyleGAN3Generator:
    torch.manual_seed(0)
    made = StyleGAN3Generator(**SMALL | more).eval().requires_grad_(False)
    for name, value in made.state_dict().items():
        if name.endswith("magnitude_ema"):
            value.fill_(0.7)
        elif name.endswith("input.affine.bias"):
            value.copy_(torch.tensor([0.8, 0.4, 0.1, -0.2]))
        elif "filter" not in name:
            value.add_(torch.randn(value.shape) * 0.1)
    return made


def labels_of(made: StyleGAN3Generator, count: int) -> Tensor | None:
    return torch.arange(count) % made.num_labels if made.num_labels else None


# -- filters ------------------------------------------------------------------------------------


def series(first: float, ratio: Callable[[int], float]) -> float:
    total, term, k = 0.0, first, 1
    while abs(term) > 1e-18:
        total, term, k = total + term, term * ratio(k), k + 1
    return total


def bessel_i0(x: float) -> float:
    return series(1, lambda k: (x / 2) ** 2 / k**2)


def bessel_j1(x: float) -> float:
    return series(x / 2, lambda k: -((x / 2) ** 2) / (k * (k + 1)))


def literal_filter(taps: int, cutoff: float, width: float, rate: float, radial: bool) -> Tensor:
    attenuation = 2.285 * (taps - 1) * math.pi * width / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0
    half = (taps - 1) / 2
    window = [
        bessel_i0(beta * math.sqrt(max(0.0, 1 - ((i - half) / half) ** 2))) / bessel_i0(beta)
        for i in range(taps)
    ]
    times = [(i - half) / rate for i in range(taps)]
    if radial:
        rows = []
        for (x, a), (y, b) in product(zip(times, window, strict=True), repeat=2):
            r = math.hypot(x, y)
            ideal = bessel_j1(2 * math.pi * cutoff * r) / (math.pi * r) if r else cutoff
            rows.append(ideal * a * b)
        kernel = torch.tensor(rows, dtype=torch.float64).reshape(taps, taps)
    else:
        ideals = [2 * cutoff * t * math.pi for t in times]
        kernel = torch.tensor(
            [(math.sin(x) / x if x else 1) * a for x, a in zip(ideals, window, strict=True)],
            dtype=torch.float64,
        )
    return kernel / kernel.sum()


@pytest.mark.parametrize(
    ("taps", "cutoff", "width", "rate"),
    [
        (12, 2, 4.57, 32),
        (12, 3, 2.75, 32),
        (24, 5.3, 21.4, 128),
        (12, 30, 9, 128),
        (6, 3, 0.1, 16),
        (2, 3, 2, 16),
    ],
)
@pytest.mark.parametrize("more_taps", [0, 1])
@pytest.mark.parametrize("radial", [False, True])
def test_filters_agree_with_the_formula(
    taps: int, cutoff: float, width: float, rate: float, more_taps: int, radial: bool
) -> None:
    taps += more_taps
    kernel = lowpass_filter(taps, cutoff=cutoff, width=width, rate=rate, radial=radial)
    assert kernel.dtype == torch.float32
    wanted = literal_filter(taps, cutoff, width, rate, radial).float()
    torch.testing.assert_close(kernel, wanted, rtol=1e-5, atol=1e-7)


def response(kernel: Tensor, frequency: float, rate: float) -> float:
    times = (torch.arange(len(kernel)) - (len(kernel) - 1) / 2) / rate
    return float((kernel * torch.cos(2 * math.pi * frequency * times)).sum())


def test_a_filter_passes_low_halves_its_cutoff_and_stops_high_frequencies() -> None:
    line = lowpass_filter(96, cutoff=8, width=4, rate=64)
    plane = lowpass_filter(96, cutoff=8, width=4, rate=64, radial=True)
    for kernel in (line, plane.sum(dim=0), plane.sum(dim=1)):
        assert response(kernel, 4, 64) == pytest.approx(1, abs=0.01)
        assert response(kernel, 8, 64) == pytest.approx(0.5, abs=0.05)
        assert response(kernel, 12, 64) == pytest.approx(0, abs=0.01)
    across = torch.outer(line, line)
    diagonal = torch.stack([plane, across]).flip(2)
    sums = [torch.stack([image.diagonal(i).sum() for i in range(-95, 96)]) for image in diagonal]
    # At 10 cycles along the diagonal the round filter stops; the square one's corner passes.
    radial, square = (response(image, 10 / math.sqrt(2), 64) for image in sums)
    assert abs(radial) < 0.1 < square


def literal_filtered_leaky_relu(
    images: Tensor,
    bias: Tensor,
    kernels: tuple[Tensor, Tensor],
    factors: tuple[int, int],
    padding: tuple[int, int],
    slope: float,
    gain: float,
    clamp: float,
) -> Tensor:
    # Pixel by pixel, in double precision.
    kernels = tuple(torch.outer(k, k) if k.ndim == 1 else k for k in kernels)  # type: ignore[assignment]
    (up, down), (before, after) = factors, padding
    count, channels, height, width = images.shape
    wide = torch.zeros(
        count, channels, height * up + before + after, width * up + before + after
    ).double()
    for y, x in product(range(height), range(width)):
        at_y, at_x = y * up + before, x * up + before
        if 0 <= at_y < wide.shape[2] and 0 <= at_x < wide.shape[3]:
            wide[:, :, at_y, at_x] = images[:, :, y, x].double() + bias.double()
    raised = literal_convolution(wide, kernels[0]) * up**2
    bent = torch.where(raised > 0, raised, raised * slope) * gain
    return literal_convolution(bent.clamp(-clamp, clamp), kernels[1])[:, :, ::down, ::down]


def literal_convolution(images: Tensor, kernel: Tensor) -> Tensor:
    rows, columns = kernel.shape
    height, width = images.shape[2] - rows + 1, images.shape[3] - columns + 1
    result = torch.zeros(*images.shape[:2], height, width).double()
    for y, x, i, j in product(range(height), range(width), range(rows), range(columns)):
        source = images[:, :, y + rows - 1 - i, x + columns - 1 - j]
        result[:, :, y, x] += kernel[i, j].double() * source
    return result


@pytest.mark.parametrize("shapes", [((4,), (6,)), ((4,), (3, 3)), ((5, 5), (1,))])
@pytest.mark.parametrize("factors", [(2, 2), (4, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("padding", [(5, 4), (6, -1), (-1, 7)])
def test_the_filtered_leaky_relu_agrees_with_its_definition(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    factors: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    images, bias = normal(2, 3, 5, 4), normal(3, seed=1)
    kernels = normal(*shapes[0], seed=2), normal(*shapes[1], seed=3)
    got = filtered_leaky_relu(
        images,
        bias,
        up_filter=kernels[0],
        down_filter=kernels[1],
        up=factors[0],
        down=factors[1],
        padding=padding,
        slope=0.2,
        gain=1.5,
        clamp=2.0,
    )
    wanted = literal_filtered_leaky_relu(images, bias, kernels, factors, padding, 0.2, 1.5, 2.0)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("up", "padding"), [(1, (0, 0)), (2, (0, 0)), (1, (2, -1)), (2, (-1, 3))])
def test_without_filters_pixels_are_spread_and_not_smoothed(
    up: int, padding: tuple[int, int]
) -> None:
    images, bias, one = normal(2, 3, 5, 4), normal(3, seed=1), torch.ones(1)
    got = filtered_leaky_relu(
        images,
        bias,
        up_filter=None,
        down_filter=None,
        up=up,
        down=1,
        padding=padding,
        slope=1,
        gain=1,
        clamp=None,
    )
    wanted = literal_filtered_leaky_relu(images, bias, (one, one), (up, 1), padding, 1, 1, math.inf)
    torch.testing.assert_close(got.double(), wanted)


# -- layout -------------------------------------------------------------------------------------


def layers_of(made: nn.Module) -> list[str]:
    names = [name.split(".")[1] for name in made.state_dict() if name.startswith("synthesis.L")]
    return list(dict.fromkeys(names))


def literal_layers(
    *, resolution: int, layers: int, critical: int, base: int, most: int, margin: int
) -> list[str]:
    # Section 3.2 with its constants: f_c from 2 to N/2, f_t from 2^2.1 to 2^0.3 N/2.
    names = []
    for i in range(layers + 1):
        progress = min(i / (layers - critical), 1)
        cutoff = 2 * (resolution / 4) ** progress
        stopband = 2**2.1 * (resolution / 2 * 2**0.3 / 2**2.1) ** progress
        rate = 1
        while rate < min(2 * stopband, resolution):
            rate *= 2
        size = resolution if i >= layers - 1 else rate + 2 * margin
        names.append(f"L{i}_{size}_{round(min(base / 2 / cutoff, most)) if i < layers else 3}")
    return names


def empty(**arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return networks.build("stylegan3", arguments)


@pytest.mark.parametrize("resolution", [16, 64, 256, 512, 1024])
@pytest.mark.parametrize(("layers", "critical"), [(14, 2), (9, 3)])
def test_layers_follow_the_papers_rule(resolution: int, layers: int, critical: int) -> None:
    made = empty(
        z_dim=512, c_dim=0, w_dim=512, img_resolution=resolution, img_channels=3,
        num_layers=layers, num_critical=critical, margin_size=7,
    )  # fmt: skip
    assert layers_of(made) == literal_layers(
        resolution=resolution, layers=layers, critical=critical, base=32768, most=512, margin=7
    )


def test_layers_of_1024_pixels_are_these() -> None:
    common = {"z_dim": 512, "c_dim": 0, "w_dim": 512, "img_resolution": 1024, "img_channels": 3}
    translating = empty(**common)
    assert layers_of(translating) == [
        "L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512", "L5_148_512",
        "L6_148_512", "L7_276_323", "L8_276_203", "L9_532_128", "L10_1044_81", "L11_1044_51",
        "L12_1044_32", "L13_1024_32", "L14_1024_3",
    ]  # fmt: skip
    rotating = empty(**common, **RADIAL, channel_base=65536, channel_max=1024)
    assert layers_of(rotating)[7] == "L7_276_645"


def test_the_state_dict_has_the_published_names_shapes_and_types() -> None:
    made = generator(c_dim=4, **RADIAL)
    linear = ("weight", "bias")
    wanted = {"mapping.w_avg"}
    wanted |= {f"mapping.{part}.{end}" for part in ("embed", "fc0", "fc1") for end in linear}
    wanted |= {
        f"synthesis.input.{end}"
        for end in ("weight", "affine.weight", "affine.bias", "transform", "freqs", "phases")
    }
    for i, name in enumerate(layers_of(made)):
        ends = ["weight", "bias", "affine.weight", "affine.bias", "magnitude_ema"]
        ends += ["up_filter", "down_filter"] if i < 4 else []
        wanted |= {f"synthesis.{name}.{end}" for end in ends}
    state = made.state_dict()
    assert state.keys() == wanted
    assert {value.dtype for value in state.values()} == {torch.float32}
    filters = [
        (tuple(state[f"synthesis.{name}.up_filter"].shape),
         tuple(state[f"synthesis.{name}.down_filter"].shape))
        for name in layers_of(made)[:4]
    ]  # fmt: skip
    # Two layers with radial filters, two critically sampled ones with separable filters.
    assert filters == [((12,), (12, 12)), ((12,), (12, 12)), ((12,), (12,)), ((12,), (12,))]
    assert state["synthesis.input.transform"].shape == (3, 3)
    assert state["mapping.w_avg"].shape == (5,)


@pytest.mark.parametrize("name", GENERATORS)
def test_an_empty_network_has_the_shapes_of_a_designed_one(name: str) -> None:
    arguments = SMALL | GENERATORS[name]
    shapes = [
        {key: value.shape for key, value in made.state_dict().items()}
        for made in (empty(**arguments), StyleGAN3Generator(**arguments))
    ]
    assert shapes[0] == shapes[1]


def test_the_largest_network_is_empty_in_no_time() -> None:
    largest: dict[str, Any] = {
        "z_dim": 16384, "c_dim": 100_000, "w_dim": 16384, "img_resolution": 2048,
        "img_channels": 4, "mapping_num_layers": 64, "channel_base": 2**20, "channel_max": 4096,
        "num_layers": 64, "margin_size": 256, "conv_kernel": 9, "filter_size": 16,
        "lrelu_upsampling": 4, "use_radial_filters": True,
    }  # fmt: skip
    empty(**largest)
    start = time.perf_counter()
    empty(**largest)
    assert time.perf_counter() - start < 2


# -- what it computes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATORS)
def test_images_have_the_shape_that_is_promised(name: str) -> None:
    made = generator(**GENERATORS[name])
    assert made.latent_shape == (6,)
    images = made(normal(3, 6), labels_of(made, 3))
    assert images.shape == (3, *made.image_shape)
    assert images.dtype == torch.float32
    assert images.isfinite().all()
    assert images.std(dim=0).mean() > 1e-4  # latents matter


@pytest.mark.parametrize("name", GENERATORS)
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    made, latents = generator(**GENERATORS[name]), normal(4, 6)
    labels = labels_of(made, 4)
    together = made(latents, labels, psi=0.8)
    for i in range(4):
        alone = made(latents[i : i + 1], None if labels is None else labels[i : i + 1], psi=0.8)
        torch.testing.assert_close(alone[0], together[i], rtol=1e-5, atol=1e-5)


def test_a_style_of_any_length_leaves_its_neighbours_alone() -> None:
    # The demodulation's epsilon must not come to count because a neighbour's style is huge.
    made, latents = generator(), normal(2, 6)
    alone = made(latents[:1])
    layer = made.synthesis.get_submodule(layers_of(made)[0])
    images, styles = normal(2, 8, 36, 36), normal(2, 5)
    styles[1] *= 1e6
    torch.testing.assert_close(layer(images, styles)[:1], layer(images[:1], styles[:1]))
    assert alone.isfinite().all()


def test_a_layer_agrees_with_weights_made_for_each_image() -> None:
    made = generator(num_layers=4, conv_clamp=None)
    first, *_, last = (made.synthesis.get_submodule(name) for name in layers_of(made))
    styles = normal(3, 5)
    for layer, size in ((first, 36), (last, 16)):
        channels = layer.weight.shape[1]
        images = normal(3, channels, size, size, seed=1)
        scales = F.linear(styles, layer.affine.weight / math.sqrt(5), layer.affine.bias)
        if layer is last:
            scales = scales / math.sqrt(channels)
        rows = []
        for image, scale in zip(images, scales, strict=True):
            weight = layer.weight * scale[:, None, None]
            if layer is first:
                weight = weight / weight.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
            row = F.conv2d(image[None] / math.sqrt(0.7), weight, padding=weight.shape[2] - 1)
            rows.append(row)
        mixed = torch.cat(rows)
        if layer is last:
            wanted = mixed + layer.bias[:, None, None]
        else:
            # Twice up, twice down, as long as it was: the convolution's margin is cropped.
            wanted = filtered_leaky_relu(
                mixed, layer.bias, up_filter=layer.up_filter, down_filter=layer.down_filter,
                up=2, down=2, padding=(9, 8), slope=0.2, gain=math.sqrt(2), clamp=None,
            )  # fmt: skip
        torch.testing.assert_close(layer(images, styles), wanted, rtol=1e-4, atol=1e-4)


def test_an_almost_silent_output_is_not_raised_to_full_strength() -> None:
    # The 1e-8 counts only where an output listens to nothing that its style lets through.
    made = generator(conv_clamp=None)
    layer = made.synthesis.get_submodule(layers_of(made)[0])
    layer.weight.zero_()
    layer.weight[:, 0, 2, 2] = 1
    layer.bias.zero_()
    layer.affine.weight.zero_()
    images, strength = normal(1, 8, 36, 36), []
    for first in (1e-3, 1e-5):
        layer.affine.bias.copy_(torch.tensor([first] + [1.0] * 7))
        strength.append(layer(images, normal(1, 5)).std())
    # After normalisation w = sqrt(72) and s = first * sqrt(8 / 7): w s / sqrt((w s)^2 + 1e-8).
    wanted = [x / math.sqrt(x**2 + 1e-8) for x in (24 / math.sqrt(7) * f for f in (1e-3, 1e-5))]
    assert float(strength[1] / strength[0]) == pytest.approx(wanted[1] / wanted[0], rel=1e-3)


def test_fresh_waves_are_spread_evenly_over_the_disc() -> None:
    torch.manual_seed(0)
    made = StyleGAN3Generator(**SMALL | {"channel_base": 2**14, "channel_max": 4000})
    freqs = made.synthesis.input.freqs
    radii = freqs.norm(dim=1) / 2  # of the cutoff
    assert radii.max() <= 1
    for share in (0.25, 0.5, 0.75):
        assert (radii.square() < share).float().mean() == pytest.approx(share, abs=0.03)
    assert (freqs[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.03)


def test_fresh_filters_fill_the_transition_band_of_their_layer() -> None:
    layer = StyleGAN3Generator(**SMALL).synthesis.get_submodule("L0_36_8")
    # f_c = 2, s = 16 and f_t = 2^2.1 below s / 2: the band is from 2 - 6 to 2 + 6.
    wanted = literal_filter(12, 2, 12, 32, radial=False).float()
    torch.testing.assert_close(layer.up_filter, wanted)
    torch.testing.assert_close(layer.down_filter, wanted)


def test_the_input_is_a_turned_and_shifted_sum_of_waves() -> None:
    made = generator()
    source, style = made.synthesis.input, normal(1, 5)
    source.transform.copy_(torch.tensor([[1.1, 0.2, 0.3], [-0.1, 0.9, -0.2], [0, 0, 1]]))
    features = source(style)
    assert features.shape == (1, 8, 36, 36)
    c, s, *shift = F.linear(style, source.affine.weight / math.sqrt(5), source.affine.bias)[0]
    length = math.hypot(c, s)
    c, s, dx, dy = (float(v) / length for v in (c, s, *shift))
    for y, x in ((0, 0), (5, 30), (35, 17)):
        # Pixel centres in images from the middle, of which 16 pixels are one.
        at = torch.tensor([(x - 17.5) / 16, (y - 17.5) / 16, 1])
        u, v, _ = (source.transform @ at).tolist()
        u, v = u - dx, v - dy
        place = torch.tensor([c * u - s * v, s * u + c * v])
        linear = source.transform[:2, :2]
        turned = source.freqs @ torch.tensor([[c, -s], [s, c]]) @ linear
        fading = (1 - (turned.norm(dim=1) - 2) / (16 / 2 - 2)).clamp(0, 1)
        waves = torch.sin(2 * math.pi * (source.freqs @ place + source.phases)) * fading
        wanted = source.weight @ waves / math.sqrt(8)
        torch.testing.assert_close(features[0, :, y, x], wanted, rtol=1e-4, atol=1e-4)


def test_waves_beyond_the_sampling_fade_out() -> None:
    source = generator().synthesis.input
    source.freqs.copy_(F.normalize(normal(8, 2), dim=1) * 3)
    source.transform.copy_(torch.diag(torch.tensor([3.0, 3.0, 1.0])))  # 9 cycles of at most 8
    assert (source(normal(2, 5)) == 0).all()


def test_truncation_pulls_the_first_uses_towards_the_mean() -> None:
    made, latents = generator(), normal(2, 6)
    assert made.num_ws == 6
    whole = made(latents)
    assert torch.equal(made(latents, psi=1.0, cutoff=3), whole)
    torch.testing.assert_close(made(latents, psi=0.5, cutoff=0), whole)
    torch.testing.assert_close(made(latents, psi=0.5, cutoff=6), made(latents, psi=0.5))
    mean = made(latents, psi=0.0)
    torch.testing.assert_close(mean[0], mean[1])
    styles = made.mapping(latents, None)
    halved = made.mapping.w_avg + 0.5 * (styles - made.mapping.w_avg)
    wanted = made.synthesis([halved, halved, styles, styles, styles, styles])
    torch.testing.assert_close(made(latents, psi=0.5, cutoff=2), wanted)


def test_latents_count_by_their_direction_and_classes_tell() -> None:
    made, latents = generator(c_dim=4), normal(1, 6)
    first, second = (made(latents, torch.tensor([i])) for i in (0, 3))
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(made(latents * 7, torch.tensor([0])), first)


def test_images_are_scaled_and_clamped_as_told() -> None:
    latents = normal(1, 6)
    whole, half = generator(output_scale=0.5)(latents), generator(output_scale=0.25)(latents)
    torch.testing.assert_close(whole, half * 2)
    # The last layer is clamped too, before the scale.
    made = generator(conv_clamp=0.01, output_scale=1)
    made.synthesis.get_submodule(layers_of(made)[-1]).bias.fill_(5)
    assert made(latents).abs().max() <= 0.01 + 1e-6


def test_gradients_reach_latents_and_every_parameter() -> None:
    made = generator(c_dim=2).requires_grad_()
    latents = normal(2, 6).requires_grad_()
    made(latents, torch.tensor([0, 1]), psi=0.7).square().sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().max() > 0
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_gradients_agree_with_differences() -> None:
    made = generator(num_layers=3).double()
    assert torch.autograd.gradcheck(
        lambda latents: made(latents).mean(dim=(2, 3)), normal(1, 6).double().requires_grad_()
    )


def test_rendering_changes_nothing_in_the_network() -> None:
    made = generator().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    latents = normal(2, 6)
    made(latents)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert torch.equal(latents, normal(2, 6))


def test_labels_must_fit_the_network() -> None:
    with pytest.raises(ValueError, match="labels of 0 classes"):
        generator()(normal(1, 6), torch.tensor([0]))
    with pytest.raises(ValueError, match="labels of 4 classes"):
        generator(c_dim=4)(normal(1, 6))
    with pytest.raises(ValueError, match="cutoff must be at least 0, got -1"):
        generator()(normal(1, 6), psi=0.5, cutoff=-1)
    with pytest.raises(ValueError, match=r"latents must be \[N, 6\]"):
        generator()(normal(1, 7))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"z_dim": 0}, r"z_dim must be an integer in \[1, 16384\], got 0"),
        ({"c_dim": 10**6}, "c_dim must be an integer"),
        ({"w_dim": 0}, "w_dim must be an integer"),
        ({"img_resolution": 4}, r"img_resolution must be an integer in \[8, 2048\], got 4"),
        ({"img_resolution": 4096}, "img_resolution must be an integer"),
        ({"img_channels": 5}, "img_channels must be an integer"),
        ({"mapping_num_layers": 65}, "mapping_num_layers must be an integer"),
        ({"mapping_lr_multiplier": 0}, "mapping_lr_multiplier must be a number"),
        ({"channel_base": 2**20 + 1}, "channel_base must be an integer"),
        ({"channel_base": 7}, "channel_base must leave every layer a channel, got 7 at 16 pixels"),
        ({"channel_max": 4097}, "channel_max must be an integer"),
        ({"num_layers": 65}, "num_layers must be an integer"),
        ({"num_critical": 4}, r"num_critical must be an integer in \[0, 3\], got 4"),
        ({"first_cutoff": 0.4}, r"first_cutoff must be a number in \[0.5, 1024\], got 0.4"),
        ({"first_cutoff": float("nan")}, "first_cutoff must be a number"),
        ({"first_cutoff": 10**400}, "first_cutoff must be a number"),
        ({"first_cutoff": True}, "first_cutoff must be a number"),
        ({"first_cutoff": 8, "first_stopband": 9}, "below first_stopband and half of img_resol"),
        ({"first_stopband": 2}, "first_cutoff must be below first_stopband"),
        ({"last_stopband_rel": 0.9}, "last_stopband_rel must be a number"),
        ({"margin_size": 257}, "margin_size must be an integer"),
        ({"output_scale": "1"}, "output_scale must be a number"),
        ({"conv_kernel": 10}, "conv_kernel must be an integer"),
        ({"filter_size": 17}, "filter_size must be an integer"),
        ({"lrelu_upsampling": 5}, "lrelu_upsampling must be an integer"),
        ({"use_radial_filters": 1}, "use_radial_filters must be true or false, got 1"),
        ({"conv_clamp": -1}, "conv_clamp must be a number"),
        ({"img_resolution": 2048, "num_layers": 1, "num_critical": 0, "first_cutoff": 0.5,
          "first_stopband": 0.6}, "num_layers must leave no layer an upsampling above 256"),
        ({"noise": "const"}, "network stylegan3 takes"),
    ],
)  # fmt: skip
def test_arguments_out_of_bounds_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        empty(**SMALL | arguments)


# -- from files ---------------------------------------------------------------------------------

THEIRS: dict[str, Any] = {
    **SMALL,
    "mapping_kwargs": {"num_layers": 2, "w_avg_beta": 0.99},
    "num_fp16_res": 4,
    "magnitude_ema_beta": 0.999,
}


def record(path: Path, kwargs: dict[str, Any] = THEIRS, **more: Any) -> Network:
    made = more.pop("module", None) or generator()
    network = NvidiaNetwork(module=made, kwargs=kwargs, **{"class_names": CLASSES} | more)
    write_nvidia_pickle(path / "snapshot.pkl", {"G_ema": network})
    return holdings.read(path / "snapshot.pkl").networks["G_ema"]


@pytest.mark.parametrize("name", ["T", "R", "labels"])
def test_a_snapshot_gives_back_the_network_that_went_in(name: str, tmp_path: Path) -> None:
    ours = generator(**GENERATORS[name])
    given = SMALL | GENERATORS[name]
    mapping = {
        key: given.pop(f"mapping_{key}")
        for key in ("num_layers", "lr_multiplier")
        if f"mapping_{key}" in given
    }
    positional = [given.pop(key) for key in ("z_dim", "c_dim", "w_dim")]
    plan = stylegan3(
        record(tmp_path, given | {"mapping_kwargs": mapping}, args=positional, module=ours)
    )
    assert plan is not None
    assert plan.network == "stylegan3"
    assert plan.notes == ()
    made = networks.build(plan.network, plan.arguments)
    tensors = {
        name: torch.from_numpy(array.numpy().copy())  # type: ignore[union-attr]
        for name, array in plan.tensors.items()
    }
    made.load_state_dict(tensors, strict=True)
    latents, labels = normal(2, 6), labels_of(ours, 2)
    assert torch.equal(made(latents, labels, psi=0.7), ours(latents, labels, psi=0.7))


def test_what_has_no_effect_is_named(tmp_path: Path) -> None:
    plan = stylegan3(record(tmp_path))
    assert plan is not None
    assert plan.arguments == SMALL | {"mapping_num_layers": 2}
    (note,) = plan.notes
    assert note.startswith("num_fp16_res, magnitude_ema_beta, w_avg_beta: not taken over")


def test_networks_of_another_kind_are_left_to_others(tmp_path: Path) -> None:
    network = record(tmp_path)
    assert stylegan3(record(tmp_path, class_names=CLASSES | {"StyleGAN3Generator": "G"})) is None
    for name in ("synthesis.b4.const", "synthesis.L0_36_8.weight"):
        assert stylegan3(changed(network, tensors={name: network.tensors["mapping.w_avg"]})) is None


def changed(network: Network, **more: Any) -> Network:
    parts = {name: getattr(network, name) for name in ("role", "name", "args", "kwargs", "classes")}
    return Network(**parts | {"tensors": network.tensors} | more)


@pytest.mark.parametrize(
    ("kwargs", "complaint"),
    [
        ({"up_factor": 2}, "StyleGAN3's constructor argument up_factor is not implemented"),
        ({"resample_filter": [1, 3, 3, 1]}, "argument resample_filter is not implemented"),
        ({"mapping_kwargs": {"rand_embedding": True}}, "argument mapping_kwargs.rand_embedding"),
        ({"mapping_kwargs": {"embed_features": 8}}, "argument mapping_kwargs.embed_features"),
        ({"mapping_kwargs": 3}, "mapping_kwargs must be a dict, got int 3"),
    ],
)
def test_arguments_of_variants_are_refused_by_name(
    kwargs: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        stylegan3(record(tmp_path, THEIRS | kwargs))


def test_parts_and_tensors_of_variants_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a part of class SynthesisInput2, which the published"):
        record_of = CLASSES | {"FourierInput": "SynthesisInput2"}
        stylegan3(record(tmp_path, class_names=record_of))
    network = record(tmp_path)
    for name in (
        "mapping.embed_proj.weight",
        "synthesis.L0_36_8.noise_strength",
        "synthesis.L0_36_8.affine.weight.more",
        "synthesis.input.freqs\n",
    ):
        tensors = {**network.tensors, name: network.tensors["mapping.w_avg"]}
        with pytest.raises(ConfigError, match="has the tensor .* which the published program"):
            stylegan3(changed(network, tensors=tensors))


def test_arguments_must_be_there_once(tmp_path: Path) -> None:
    without = {key: value for key, value in THEIRS.items() if key != "img_channels"}
    with pytest.raises(ConfigError, match="made without img_channels"):
        stylegan3(record(tmp_path, without))
    with pytest.raises(ConfigError, match="made with z_dim twice"):
        stylegan3(record(tmp_path, args=[6]))
    with pytest.raises(ConfigError, match="7 arguments by position; the published one takes 6"):
        stylegan3(record(tmp_path, {}, args=[6, 0, 5, 16, 3, {}, 64]))


def test_layers_join_where_the_one_before_ends() -> None:
    shapes = {name: tuple(value.shape) for name, value in generator().state_dict().items()}
    names = layers_of(generator())
    for before, after in pairwise(names):
        assert shapes[f"synthesis.{after}.weight"][1] == shapes[f"synthesis.{before}.weight"][0]
