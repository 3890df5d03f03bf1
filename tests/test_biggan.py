import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ganaudit import networks
from ganaudit.checkpoints.biggan import biggan, biggan_folder
from ganaudit.checkpoints.records import Array, Network, Plan, Storage
from ganaudit.errors import ConfigError
from ganaudit.networks.biggan_hub import at_truncation
from ganaudit.networks.biggan_layers import Attention, ClassNorm, PlainNorm, Recipe, attend
from ganaudit.networks.spectral import SpectralConv2d, SpectralLinear, Stored, walked_sigma

Arguments = dict[str, Any]

HUB_LAYERS = [[True, 16, 8], [False, 8, 8], [True, 8, 4], [True, 4, 2], [True, 2, 1]]
SMALL: dict[str, Arguments] = {
    "biggan": {
        "G_ch": 4,
        "dim_z": 13,
        "resolution": 64,
        "G_attn": "16",
        "n_classes": 5,
        "shared_dim": 6,
        "hier": True,
    },
    "biggan_deep": {
        "G_ch": 4,
        "dim_z": 7,
        "resolution": 64,
        "G_attn": "16",
        "n_classes": 5,
        "shared_dim": 6,
    },
    "biggan_hub": {
        "z_dim": 7,
        "channel_width": 4,
        "num_classes": 5,
        "layers": HUB_LAYERS,
        "attention_layer_position": 2,
        "n_stats": 6,
    },
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def disturb(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and buffer away from what an initialisation leaves it at.

    Singular vectors stay near the true ones: an underestimated sigma in each layer makes chaos.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, Stored):
            u, _, v = torch.linalg.svd(layer.weight_orig.detach().flatten(1))
            layer.weight_u.copy_(u[:, 0])
            layer.weight_v.copy_(v[0])
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith(("_var", "running_vars")):
            tensor.copy_(0.5 + noise.abs())
        elif name.endswith("gamma"):
            tensor.fill_(1.3)
        elif name.endswith(("counter", "tracked")):
            tensor.fill_(4)
        elif name.endswith(("_u", "_v")):
            tensor.add_(0.1 * noise / math.sqrt(tensor.numel()))
        else:
            tensor.add_(0.2 * noise)
    return network.eval()


def small(name: str, **changed: Any) -> nn.Module:
    torch.manual_seed(0)
    return disturb(networks.build(name, SMALL[name] | changed))


def draw(network: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    shape: Any = network.latent_shape
    return normal(count, *shape, seed=5), torch.arange(count) % 5


# Spectral normalisation


def test_one_step_from_a_singular_vector_gives_its_singular_value() -> None:
    weight = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    assert float(walked_sigma(weight, torch.tensor([[2.0, 0.0]]), eps=1e-12)) == 3
    assert float(walked_sigma(weight, torch.tensor([[0.0, -5.0]]), eps=1e-12)) == 4


def test_one_step_from_between_two_singular_vectors() -> None:
    # u = (1, 1) / sqrt 2 gives v along (3, 4) / 5, then W v along (9, 16): sigma is |W v|.
    weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    sigma = walked_sigma(weight, torch.tensor([[1.0, 1.0]]), eps=1e-12)
    assert float(sigma) == pytest.approx(math.hypot(9, 16) / 5, rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (3, 7), (4, 2, 3, 3)])
def test_sigma_by_loops_and_in_the_limit(shape: tuple[int, ...]) -> None:
    weight, u = normal(*shape), normal(1, shape[0], seed=1)
    matrix = weight.reshape(shape[0], -1).double().numpy()
    rows, columns = matrix.shape
    v = [sum(float(u[0, i]) * matrix[i, j] for i in range(rows)) for j in range(columns)]
    v = [x / math.sqrt(sum(x * x for x in v)) for x in v]
    wanted = math.sqrt(sum(float(matrix[i] @ np.array(v)) ** 2 for i in range(rows)))
    assert float(walked_sigma(weight, u, eps=1e-12)) == pytest.approx(wanted, rel=1e-5)
    top = np.linalg.svd(matrix)
    limit = walked_sigma(weight, torch.tensor(top[0][:, :1].T).float(), eps=1e-12)
    assert float(limit) == pytest.approx(top[1][0], rel=1e-5)


def test_a_spectral_layer_ignores_the_scale_of_its_weight_and_changes_no_buffer() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 4, 3, bias=True, vectors=2, eps=1e-12)
    linear = SpectralLinear(3, 4, bias=False, vectors=1, eps=1e-12)
    for layer, values in ((conv, normal(2, 3, 5, 6)), (linear, normal(2, 3))):
        before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
        wanted = layer.train()(values)
        assert all(torch.equal(before[name], buffer) for name, buffer in layer.named_buffers())
        layer.weight.data *= 3
        torch.testing.assert_close(layer(values), wanted, rtol=0, atol=1e-5)
    assert sorted(name for name, _ in conv.named_buffers()) == ["sv0", "sv1", "u0", "u1"]


def test_a_stored_layer_divides_by_u_w_v_without_a_step() -> None:
    layer = Stored(2, 3)
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    u, v, bias = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0, 2.0]), torch.tensor([7.0, 8.0])
    layer.load_state_dict({"weight_orig": weight, "weight_u": u, "weight_v": v, "bias": bias})
    # sigma = 1 * 3 * 2
    torch.testing.assert_close(layer(torch.tensor([[6.0, 0.0, 0.0]])), torch.tensor([[8.0, 12.0]]))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 3, 3), (4, 3, 1, 1)])
def test_a_stored_layer_is_torchs_own_spectral_norm_in_evaluation(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = disturb(Stored(*shape))
    state = layer.state_dict()
    sigma = torch.einsum(
        "i,ij,j", state["weight_u"], state["weight_orig"].flatten(1), state["weight_v"]
    )
    values = normal(2, 3) if len(shape) == 2 else normal(2, 3, 4, 6)
    plain = nn.Linear(3, 4) if len(shape) == 2 else nn.Conv2d(3, 4, shape[2], padding="same")
    plain.load_state_dict({"weight": state["weight_orig"] / sigma, "bias": state["bias"]})
    torch.testing.assert_close(layer(values), plain(values), rtol=1e-5, atol=1e-5)


# Normalisation and attention


@pytest.mark.parametrize(
    ("changed", "statistics", "divisor"),
    [
        ({}, "stored", 1),
        ({"norm_style": "in"}, "stored", 1),
        ({"mybn": True}, "bn.stored", 1),
        ({"mybn": True, "accumulate_standing": True}, "bn.stored", 4),
        ({"cross_replica": True, "mybn": True}, "bn.running", 1),
        ({"cross_replica": True, "sync_gain": "added"}, "bn.running", 1),
        ({"norm_style": "nonorm"}, None, 1),
    ],
)
@pytest.mark.parametrize("embedded", [True, False])
def test_normalisation_by_class_by_loops(
    changed: Arguments, statistics: str | None, divisor: float, embedded: bool
) -> None:
    torch.manual_seed(0)
    recipe = Recipe(G_param="None", BN_eps=0.1, **changed)
    layer = disturb(ClassNorm(3, 4, recipe, embedded=embedded))
    state = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    images = normal(2, 3, 2, 5)
    condition = normal(2, 4, seed=1) if embedded else torch.tensor([3, 1])
    came = layer(images, condition).detach()
    for n, c, y, x in np.ndindex(2, 3, 2, 5):
        if embedded:
            gain, bias = (
                state[f"{name}.weight"][c] @ condition[n].numpy() for name in ("gain", "bias")
            )
        else:
            gain, bias = (state[f"{name}.weight"][condition[n], c] for name in ("gain", "bias"))
        value = float(images[n, c, y, x])
        if statistics:
            mean = state[f"{statistics}_mean"][c] / divisor
            variance = state[f"{statistics}_var"][c] / divisor
            value = (value - mean) / math.sqrt(variance + 0.1)
        added = changed.get("sync_gain") == "added"
        value = value + 1 + gain + bias if added else value * (1 + gain) + bias
        assert float(came[n, c, y, x]) == pytest.approx(value, rel=1e-4, abs=1e-4)


def test_the_last_normalisation_has_its_own_epsilon_and_always_statistics() -> None:
    layer = PlainNorm(2, Recipe(BN_eps=1.0, norm_style="nonorm"))
    layer.load_state_dict(
        {
            "stored_mean": torch.tensor([1.0, 2.0]),
            "stored_var": torch.tensor([4.0, 9.0]),
            "gain": torch.tensor([2.0, 3.0]),
            "bias": torch.tensor([0.5, 0.25]),
        }
    )
    came = layer(torch.tensor([5.0, 5.0])[None, :, None, None]).flatten()
    torch.testing.assert_close(came, torch.tensor([4.5, 3.25]), rtol=0, atol=1e-4)


def test_attention_by_loops() -> None:
    queries, keys, values = (
        normal(2, 3, 4, 6),
        normal(2, 3, 4, 6, seed=1),
        normal(2, 5, 4, 6, seed=2),
    )
    came = attend(queries, keys, values)
    assert came.shape == (2, 5, 4, 6)
    for n, y, x in np.ndindex(2, 4, 6):
        weights, seen = [], []
        for i, j in np.ndindex(2, 3):
            square = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
            key = [float(keys[n, k][square].max()) for k in range(3)]
            weights.append(math.exp(sum(float(queries[n, k, y, x]) * key[k] for k in range(3))))
            seen.append([float(values[n, v][square].max()) for v in range(5)])
        wanted = [sum(w * s[v] for w, s in zip(weights, seen, strict=True)) for v in range(5)]
        wanted_mean = torch.tensor(wanted) / sum(weights)
        torch.testing.assert_close(came[n, :, y, x], wanted_mean, rtol=0, atol=1e-5)


def test_attention_of_equal_keys_is_the_mean_and_gamma_zero_is_none() -> None:
    values = normal(1, 4, 2, 4)
    came = attend(normal(1, 3, 2, 4), torch.ones(1, 3, 2, 4), values)
    mean = torch.stack([values[..., :2].amax((2, 3)), values[..., 2:].amax((2, 3))]).mean(0)
    torch.testing.assert_close(came, mean[:, :, None, None].expand(1, 4, 2, 4))
    images = normal(1, 8, 2, 4)
    assert torch.equal(Attention(8, Recipe())(images), images)


def test_statistics_at_a_truncation_are_those_that_the_package_takes() -> None:
    rows = torch.arange(51.0)[:, None] ** 2
    assert float(at_truncation(rows, 1.0)) == 2500  # the last row
    assert float(at_truncation(rows, 0.02)) == 1
    assert float(at_truncation(rows, 0.5)) == 625
    # 0.35 of the way from row 4 to row 5, and it takes 0.35 of row 4
    assert float(at_truncation(rows, 0.087)) == pytest.approx(0.35 * 16 + 0.65 * 25, rel=1e-4)
    # 0.14 / 0.02 is a little above 7
    assert float(at_truncation(rows, 0.14)) == pytest.approx(64, rel=1e-5)


def test_a_truncation_that_rounds_beyond_the_last_row_is_refused() -> None:
    with pytest.raises(ValueError, match="truncation must be below 1.0 for 50 statistics"):
        at_truncation(torch.zeros(50, 1), 1.0)
    assert at_truncation(torch.zeros(50, 1), 0.99).shape == (1,)


# Whole networks, written once more, flat, from the tensors


def weight_of(state: Mapping[str, Tensor], name: str) -> Tensor:
    if f"{name}.weight_orig" in state:
        weight, u, v = (state[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return weight / (u @ (weight.flatten(1) @ v))
    weight = state[f"{name}.weight"]
    matrix = weight.flatten(1)
    v = matrix.t() @ state[f"{name}.u0"][0]
    return weight / (matrix @ (v / v.norm())).norm()


def layer_of(state: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    weight, bias = weight_of(state, name), state.get(f"{name}.bias")
    if weight.ndim == 2:
        return functional.linear(values, weight, bias)
    return functional.conv2d(values, weight, bias, padding="same")


def attended(
    state: Mapping[str, Tensor], names: list[str], images: Tensor, gamma: Tensor
) -> Tensor:
    query, key, value = (layer_of(state, name, images) for name in names[:3])
    key, value = functional.max_pool2d(key, 2), functional.max_pool2d(value, 2)
    weights = torch.einsum("nkyx,nkij->nyxij", query, key)
    weights = weights.flatten(3).softmax(-1).view(weights.shape)
    return images + gamma * layer_of(
        state, names[3], torch.einsum("nyxij,nvij->nvyx", weights, value)
    )


def normalised(
    state: Mapping[str, Tensor], name: str, images: Tensor, condition: Tensor | None, at: int | None
) -> Tensor:
    if at is None:
        mean, variance, eps = state[f"{name}.stored_mean"], state[f"{name}.stored_var"], 1e-5
        scale, shift = f"{name}.gain", f"{name}.bias"
    else:
        mean, variance, eps = (
            state[f"{name}.running_means"][at],
            state[f"{name}.running_vars"][at],
            1e-4,
        )
        scale, shift = (
            (f"{name}.scale", f"{name}.offset")
            if condition is not None
            else (f"{name}.weight", f"{name}.bias")
        )
    if condition is None:
        gain, bias = state[scale][None], state[shift][None]
    else:
        gain, bias = 1 + layer_of(state, scale, condition), layer_of(state, shift, condition)
    images = (images - mean[:, None, None]) / (variance[:, None, None] + eps).sqrt()
    return (images * gain[..., None, None] + bias[..., None, None]).relu()


def twice(images: Tensor) -> Tensor:
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


def flat_biggan(state: Mapping[str, Tensor], latents: Tensor, labels: Tensor) -> Tensor:
    chunks, classes = latents.chunk(5, 1), state["shared.weight"][labels]
    images = layer_of(state, "linear", chunks[0]).view(len(latents), -1, 4, 4)
    for i in range(4):
        block, condition = f"blocks.{i}.0", torch.cat([classes, chunks[i + 1]], 1)
        inside = twice(normalised(state, f"{block}.bn1", images, condition, None))
        inside = layer_of(state, f"{block}.conv1", inside)
        inside = normalised(state, f"{block}.bn2", inside, condition, None)
        inside = layer_of(state, f"{block}.conv2", inside)
        images = inside + layer_of(state, f"{block}.conv_sc", twice(images))
        if i == 1:
            names = [f"blocks.1.1.{part}" for part in ("theta", "phi", "g", "o")]
            images = attended(state, names, images, state["blocks.1.1.gamma"])
    images = normalised(state, "output_layer.0", images, None, None)
    return layer_of(state, "output_layer.2", images).tanh()


def deep_block(
    state: Mapping[str, Tensor],
    names: list[str],
    images: Tensor,
    condition: Tensor,
    doubles: bool,
    at: int | None,
) -> Tensor:
    inside = images
    for step in range(4):
        inside = normalised(state, names[step], inside, condition, at)
        if doubles and step == 1:
            inside = twice(inside)
        inside = layer_of(state, names[4 + step], inside)
    shortcut = images[:, : inside.shape[1]]
    return inside + (twice(shortcut) if doubles else shortcut)


def flat_deep(state: Mapping[str, Tensor], latents: Tensor, labels: Tensor) -> Tensor:
    condition = torch.cat([state["shared.weight"][labels], latents], 1)
    images = layer_of(state, "linear", condition).view(len(latents), -1, 4, 4)
    for i in range(8):
        names = [f"blocks.{i}.0.{part}{k}" for part in ("bn", "conv") for k in (1, 2, 3, 4)]
        images = deep_block(state, names, images, condition, i % 2 == 1, None)
        if i == 3:
            names = [f"blocks.3.1.{part}" for part in ("theta", "phi", "g", "o")]
            images = attended(state, names, images, state["blocks.3.1.gamma"])
    images = normalised(state, "output_layer.0", images, None, None)
    return layer_of(state, "output_layer.2", images).tanh()


def flat_hub(state: Mapping[str, Tensor], latents: Tensor, labels: Tensor) -> Tensor:
    state = {name.removeprefix("generator."): tensor for name, tensor in state.items()}
    condition = torch.cat([latents, state["embeddings.weight"].t()[labels]], 1)
    images = layer_of(state, "gen_z", condition).view(len(latents), 4, 4, -1).movedim(3, 1)
    for i, doubles in enumerate([True, False, None, True, True, True]):
        if doubles is None:
            names = [f"layers.2.snconv1x1_{part}" for part in ("theta", "phi", "g", "o_conv")]
            images = attended(state, names, images, state["layers.2.gamma"])
            continue
        names = [f"layers.{i}.{part}_{k}" for part in ("bn", "conv") for k in range(4)]
        images = deep_block(state, names, images, condition, doubles, 2)
    images = normalised(state, "bn", images, None, 2)
    return layer_of(state, "conv_to_rgb", images)[:, :3].tanh()


@pytest.mark.parametrize(
    ("name", "flat", "options"),
    [
        ("biggan", flat_biggan, {}),
        ("biggan_deep", flat_deep, {}),
        ("biggan_hub", flat_hub, {"truncation": 0.4}),
    ],
)
def test_a_network_is_what_a_flat_reading_of_its_tensors_gives(
    name: str, flat: Any, options: Arguments
) -> None:
    network = small(name)
    latents, labels = draw(network, 3)
    with torch.no_grad():
        came, wanted = (
            network(latents, labels, **options),
            flat(network.state_dict(), latents, labels),
        )
    assert came.shape == (3, 3, 64, 64)
    assert came.std() > 0.05
    torch.testing.assert_close(came, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", SMALL)
def test_an_image_does_not_depend_on_its_batch_and_nothing_is_written(name: str) -> None:
    network = small(name)
    latents, labels = draw(network, 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        together = network(latents, labels)
        alone = torch.cat([network(latents[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert together.shape[1:] == network.image_shape
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_the_latents_and_every_parameter_with_an_effect(name: str) -> None:
    network = small(name)
    latents, labels = draw(network, 2)
    network(latents.requires_grad_(), labels).square().sum().backward()
    assert latents.grad is not None
    assert (latents.grad.abs().sum(dim=1) > 0).all()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("name", SMALL)
def test_classes_differ_and_must_be_given_unless_there_is_one(name: str) -> None:
    network = small(name)
    latents = draw(network, 1)[0]
    with torch.no_grad():
        first, second = (network(latents, torch.tensor([label])) for label in (0, 4))
    assert (first - second).abs().max() > 0.01
    assert network.num_labels == 5
    with pytest.raises(ValueError, match="labels must be given: .* 5 classes"):
        network(latents)
    single = small(name, **{"num_classes" if name == "biggan_hub" else "n_classes": 1})
    assert single.num_labels == 0
    assert torch.equal(single(latents), single(latents, torch.tensor([0])))


def test_truncation_chooses_the_statistics_of_the_hub() -> None:
    network = small("biggan_hub")
    latents, labels = draw(network, 1)
    assert torch.equal(network(latents, labels), network(latents, labels, truncation=1.0))
    assert (network(latents, labels) - network(latents, labels, truncation=0.2)).abs().max() > 0.01
    for truncation in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"truncation must be in \(0, 1\]"):
            network(latents, labels, truncation=truncation)


# Names of tensors


def names_of(network: nn.Module) -> set[str]:
    return set(network.state_dict())


def spectral(*layers: str, bias: bool = True) -> set[str]:
    parts = ("weight", "u0", "sv0", "bias") if bias else ("weight", "u0", "sv0")
    return {f"{layer}.{part}" for layer in layers for part in parts}


def conditional(*norms: str) -> set[str]:
    layers = [f"{norm}.{part}" for norm in norms for part in ("gain", "bias")]
    statistics = {f"{norm}.stored_{part}" for norm in norms for part in ("mean", "var")}
    return spectral(*layers, bias=False) | statistics


def test_tensors_carry_the_names_of_the_reference() -> None:
    wanted = {"shared.weight", *spectral("linear", "output_layer.2")}
    wanted |= {f"output_layer.0.{part}" for part in ("gain", "bias", "stored_mean", "stored_var")}
    plain, deep = set(wanted), set(wanted)
    for i in range(4):
        plain |= spectral(*(f"blocks.{i}.0.{conv}" for conv in ("conv1", "conv2", "conv_sc")))
        plain |= conditional(f"blocks.{i}.0.bn1", f"blocks.{i}.0.bn2")
    plain |= spectral(*(f"blocks.1.1.{part}" for part in ("theta", "phi", "g", "o")), bias=False)
    assert names_of(small("biggan")) == plain | {"blocks.1.1.gamma"}
    for i in range(8):
        deep |= spectral(*(f"blocks.{i}.0.conv{k}" for k in (1, 2, 3, 4)))
        deep |= conditional(*(f"blocks.{i}.0.bn{k}" for k in (1, 2, 3, 4)))
    deep |= spectral(*(f"blocks.3.1.{part}" for part in ("theta", "phi", "g", "o")), bias=False)
    assert names_of(small("biggan_deep")) == deep | {"blocks.3.1.gamma"}


def test_shapes_of_the_published_biggan_128() -> None:
    with torch.device("meta"):
        arguments = {"G_ch": 96, "dim_z": 120, "hier": True, "shared_dim": 128}
        state = networks.build("biggan", arguments).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["linear.weight"] == (16 * 1536, 20)
    assert shapes["shared.weight"] == (1000, 128)
    assert shapes["blocks.0.0.bn1.gain.weight"] == (1536, 148)
    assert shapes["blocks.3.1.theta.weight"] == (24, 192, 1, 1)
    assert shapes["blocks.3.1.gamma"] == ()
    assert shapes["blocks.4.0.conv_sc.weight"] == (96, 192, 1, 1)
    assert shapes["output_layer.2.weight"] == (3, 96, 3, 3)


def test_shapes_of_the_published_hub_networks() -> None:
    with torch.device("meta"):
        state = networks.build("biggan_hub", {}).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["embeddings.weight"] == (128, 1000)
    assert shapes["generator.gen_z.weight_orig"] == (32768, 256)
    assert shapes["generator.layers.8.gamma"] == (1,)
    assert shapes["generator.layers.8.snconv1x1_theta.weight_v"] == (256,)
    assert shapes["generator.layers.0.bn_1.running_means"] == (51, 512)
    assert shapes["generator.layers.10.conv_3.weight_orig"] == (128, 64, 1, 1)
    assert shapes["generator.conv_to_rgb.weight_orig"] == (128, 128, 3, 3)


def test_attention_at_one_resolution_may_be_said_as_a_number() -> None:
    states = [meta("biggan", SMALL["biggan"] | {"G_attn": attn}) for attn in ("16", 16, "16_999")]
    assert states[0].keys() == states[1].keys() == states[2].keys()


# Bounds


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("biggan", {"resolution": 48}, "resolution must be one of 32, 64, 128, 256, 512"),
        ("biggan", {"resolution": 1024}, r"resolution must be an integer in \[32, 512\]"),
        ("biggan", {"G_ch": 10**9}, r"G_ch must be an integer in \[1, 256\]"),
        ("biggan", {"dim_z": 10**9}, r"dim_z must be an integer in \[1, 4096\]"),
        ("biggan", {"dim_z": 5, "hier": True}, r"dim_z must be an integer in \[6, 4096\]"),
        ("biggan", {"n_classes": 10**9}, "n_classes must be an integer"),
        ("biggan", {"shared_dim": -1}, "shared_dim must be an integer"),
        ("biggan", {"bottom_width": 9}, "bottom_width must be an integer"),
        ("biggan", {"num_G_SVs": 99}, "num_G_SVs must be an integer"),
        ("biggan", {"G_attn": -64}, 'G_attn must be resolutions such as "64"'),
        ("biggan", {"G_attn": "64_"}, "G_attn must be resolutions"),
        ("biggan", {"G_attn": "9" * 65}, "G_attn must be resolutions"),
        ("biggan", {"G_attn": "32", "G_ch": 1, "resolution": 32}, "at least 8 channels, got 4"),
        ("biggan", {"hier": 1}, "hier must be true or false, got 1"),
        ("biggan", {"hier": True, "G_shared": False}, "hier needs G_shared"),
        ("biggan", {"mybn": "yes"}, "mybn must be true or false"),
        ("biggan", {"G_param": "SVD"}, "G_param must be SN or None, got 'SVD'"),
        ("biggan", {"norm_style": "gn"}, "norm_style must be bn or in or nonorm, got 'gn'"),
        ("biggan", {"sync_gain": None}, "sync_gain must be multiplied or added"),
        ("biggan", {"BN_eps": 0}, r"BN_eps must be a number in \(0, 1\]"),
        ("biggan", {"BN_eps": math.nan}, "BN_eps must be a number"),
        ("biggan", {"SN_eps": True}, "SN_eps must be a number"),
        ("biggan_deep", {"resolution": 512}, r"resolution must be an integer in \[32, 256\]"),
        ("biggan_deep", {"G_depth": 3}, "G_depth must be 2 at resolution 128, got 3"),
        ("biggan_deep", {"G_depth": 9, "resolution": 32}, "G_depth must be an integer"),
        ("biggan_deep", {"G_ch": 1}, "attention must have at least 8 channels"),
        ("biggan_deep", {"G_ch": 1, "G_attn": "0"}, "a block must have at least 4 channels, got 2"),
        ("biggan_hub", {"channel_width": 2}, "channel_width must be an integer"),
        ("biggan_hub", {"layers": []}, "layers must be a list of 1 to 32, got list of 0"),
        ("biggan_hub", {"layers": "x"}, "layers must be a list of 1 to 32, got 'x'"),
        ("biggan_hub", {"layers": [[False, 16, 16]] * 33}, "got list of 33"),
        ("biggan_hub", {"layers": [[True, 16]]}, r"layers\[0\] must be \[doubles, inputs"),
        ("biggan_hub", {"layers": [[1, 16, 16]]}, r"layers\[0\] doubles must be true or false"),
        ("biggan_hub", {"layers": [[True, 8, 4]]}, r"layers\[0\] inputs must .* \[16, 16\], got 8"),
        ("biggan_hub", {"layers": [[True, 16, 4]]}, "outputs must be its inputs or half of them"),
        ("biggan_hub", {"layers": [[True, 16, 8]]}, "outputs of the last of layers .* got 8"),
        ("biggan_hub", {"layers": [[True, 16, 16]] * 6 + HUB_LAYERS}, "double the size to 1024"),
        ("biggan_hub", {"attention_layer_position": -2}, "attention_layer_position must be"),
        ("biggan_hub", {"n_stats": 1}, r"n_stats must be an integer in \[2, 1001\]"),
        ("biggan_hub", {"eps": -1.0}, "eps must be a number"),
        ("biggan_hub", {"z_dim": 0}, "z_dim must be an integer"),
    ],
)
def test_arguments_out_of_bounds_are_refused_by_name(
    name: str, arguments: Arguments, complaint: str
) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=complaint):
        networks.build(name, arguments)


def test_the_largest_networks_cost_nothing_on_the_meta_device() -> None:
    most = {"G_ch": 256, "dim_z": 4096, "n_classes": 100_000, "num_G_SVs": 16, "bottom_width": 8}
    hub = {"channel_width": 256, "z_dim": 4096, "num_classes": 100_000, "n_stats": 1001}
    with torch.device("meta"):
        for name, arguments in (
            ("biggan", most | {"resolution": 512, "hier": True}),
            ("biggan_deep", most | {"resolution": 32, "G_depth": 8}),
            ("biggan_hub", hub | {"layers": [[False, 16, 16]] * 27 + HUB_LAYERS}),
        ):
            assert all(p.is_meta for p in networks.build(name, arguments).parameters())


# Reading


def arrays(state: Mapping[str, Tensor], *, counter: float = 0) -> dict[str, Array]:
    """Tensors as a file describes them; of those on the meta device only counters have bytes."""
    found = {}
    for name, tensor in state.items():
        values: NDArray[Any] | None = None if tensor.is_meta else tensor.numpy()
        if name.endswith("accumulation_counter"):
            values = np.full(1, counter, np.float32)
        bytes_ = None if values is None else memoryview(values.reshape(-1).view(np.uint8))
        dtype = str(tensor.dtype).removeprefix("torch.")
        storage = Storage(dtype, tensor.numel(), bytes_)
        found[name] = Array(dtype, tuple(tensor.shape), tensor.stride(), 0, storage)
    return found


def meta(name: str, arguments: Arguments) -> dict[str, Tensor]:
    with torch.device("meta"):
        return networks.build(name, arguments).state_dict()


def read(tensors: Mapping[str, Array], said: Arguments | None = None) -> Plan | None:
    return biggan(Network(role="state_dict", name="", tensors=tensors, kwargs=said or {}))


def planned(tensors: Mapping[str, Array], said: Arguments | None = None) -> Plan:
    plan = read(tensors, said)
    assert plan is not None
    return plan


def some_arguments(choose: random.Random) -> tuple[str, Arguments]:
    """Arguments of a network, complete, as inference should give them back."""
    deep = choose.random() < 0.5
    resolution = choose.choice([32, 64, 128, 256] + [512] * (not deep))
    sizes = [size for size in (8, 16, 32, 64, 128) if size <= resolution and choose.random() < 0.3]
    shared = deep or choose.random() < 0.7
    hier = not deep and shared and choose.random() < 0.5
    norm: Arguments = {"cross_replica": False, "mybn": False, "norm_style": "bn"}
    norm |= choose.choice([{}, {"cross_replica": True}, {"mybn": True}, {"norm_style": "nonorm"}])
    param = choose.choice(["SN", "None"])
    slots = int(math.log2(resolution // 4)) + 1 if hier else 1
    arguments: Arguments = {
        "resolution": resolution,
        "G_ch": choose.randint(8, 20),
        "bottom_width": choose.randint(1, 8),
        "G_attn": "_".join(map(str, sizes)) or "0",
        "n_classes": choose.randint(1, 50),
        "dim_z": slots * choose.randint(1, 30),
        "G_param": param,
        "num_G_SVs": choose.randint(1, 3) if param == "SN" else 1,
        **norm,
    }
    if shared:
        arguments["shared_dim"] = choose.randint(1, 40)
    if deep:
        arguments["G_depth"] = choose.randint(1, 8) if resolution == 32 else 2
    else:
        arguments |= {"G_shared": shared, "hier": hier}
    return "biggan_deep" if deep else "biggan", arguments


@pytest.mark.parametrize("seed", range(60))
def test_arguments_follow_from_names_and_shapes(seed: int) -> None:
    name, arguments = some_arguments(random.Random(seed))
    state = meta(name, arguments)
    said = {"sync_gain": "added"} if arguments["cross_replica"] else {}
    plan = planned(arrays(state), said)
    assert plan.network == name
    assert plan.arguments == arguments | said | {"BN_eps": 1e-5, "SN_eps": 1e-8}
    assert {key: value.shape for key, value in plan.tensors.items()} == {
        key: tuple(value.shape) for key, value in state.items()
    }
    assert plan.facts == {
        "prior": "normal",
        "latent_shape": [arguments["dim_z"]],
        "num_labels": arguments["n_classes"] if arguments["n_classes"] > 1 else 0,
    }


def test_what_the_file_does_not_say_is_noted_or_said() -> None:
    state = arrays(meta("biggan", SMALL["biggan"]))
    notes = planned(state).notes
    assert any("BN_eps is not in the file: 1e-05 is assumed" in note for note in notes)
    plan = planned(state, {"BN_eps": "1e-4", "SN_eps": 1e-6, "resolution": "64", "hier": "true"})
    assert (plan.arguments["BN_eps"], plan.arguments["SN_eps"]) == (1e-4, 1e-6)
    assert not any("BN_eps" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"resolution": 128}, "resolution is 64 by the tensors of the file, got 128"),
        ({"dim_z": 13}, "dim_z is 10 by the tensors of the file, got 13"),
        ({"G_nl": "relu"}, "G_nl is no argument of a BigGAN that changes an image"),
        ({"BN_eps": "small"}, "BN_eps must be a float, got str small"),
        ({"accumulate_standing": "maybe"}, "accumulate_standing must be a bool"),
        ({"accumulate_standing": True}, "needs an accumulation_counter above 0"),
    ],
)
def test_what_is_said_must_fit(said: Arguments, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(arrays(meta("biggan", SMALL["biggan"])), said)


def test_a_synchronised_normalisation_must_be_told_how_its_gain_applies() -> None:
    state = arrays(meta("biggan_deep", SMALL["biggan_deep"] | {"cross_replica": True}))
    with pytest.raises(
        ConfigError, match="say --set sync_gain=multiplied or --set sync_gain=added"
    ):
        read(state)
    assert planned(state, {"sync_gain": "multiplied"}).arguments["sync_gain"] == "multiplied"


def test_statistics_that_may_be_sums_must_be_told_apart() -> None:
    state = meta("biggan", SMALL["biggan"] | {"mybn": True})
    assert "accumulate_standing" not in planned(arrays(state)).arguments
    with pytest.raises(ConfigError, match="say --set accumulate_standing=true"):
        read(arrays(state, counter=16))
    for said in (True, False):
        plan = planned(arrays(state, counter=16), {"accumulate_standing": str(said).lower()})
        assert plan.arguments["accumulate_standing"] is said
    with pytest.raises(ConfigError, match="needs an accumulation_counter above 0"):
        read(arrays(state), {"accumulate_standing": True})


def test_sums_divided_give_the_images_of_means() -> None:
    network = small("biggan", mybn=True)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for key, value in state.items():
        if "bn.stored" in key:
            value *= 4  # the counter of `disturb`
    standing = networks.build(
        "biggan", SMALL["biggan"] | {"mybn": True, "accumulate_standing": True}
    )
    standing.load_state_dict(state)
    latents, labels = draw(network, 2)
    torch.testing.assert_close(
        standing(latents, labels), network(latents, labels), rtol=0, atol=1e-5
    )


def test_the_prefix_of_data_parallel_is_dropped() -> None:
    state = arrays(meta("biggan", SMALL["biggan"]))
    plan = planned({f"module.{name}": array for name, array in state.items()})
    assert plan.tensors.keys() == state.keys()


def test_half_precision_is_widened() -> None:
    state = {key: value.half() for key, value in small("biggan").state_dict().items()}
    plan = planned(arrays(state))
    assert any("half precision" in note for note in plan.notes)
    for name, tensor in plan.tensors.items():
        assert isinstance(tensor, np.ndarray)
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, state[name].float().numpy())


def test_a_file_converted_from_tensorflow_hub_has_no_logs_and_another_epsilon() -> None:
    state = arrays(meta("biggan", SMALL["biggan"]))
    plan = planned({name: array for name, array in state.items() if not name.endswith("sv0")})
    assert plan.tensors.keys() == state.keys()
    assert plan.arguments["BN_eps"] == 1e-4
    assert any("1e-04" in note or "0.0001" in note for note in plan.notes)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"linear.weight": (3, 4)},
        # the discriminator of BigGAN-PyTorch
        {
            "linear.weight": (1, 64),
            "blocks.0.0.conv1.weight": (4, 3, 3, 3),
            "embed.weight": (5, 64),
        },
    ],
)
def test_other_state_dicts_are_not_this_family(tensors: dict[str, tuple[int, ...]]) -> None:
    assert read(arrays({name: torch.zeros(shape) for name, shape in tensors.items()})) is None
    network = Network(role="G", name="Generator", tensors=arrays(meta("biggan", SMALL["biggan"])))
    assert biggan(network) is None


def changed_shape(name: str, *shape: int) -> dict[str, Array]:
    state = meta("biggan", SMALL["biggan"])
    return arrays(state | {name: torch.zeros(shape, device="meta")})


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (
            changed_shape("linear.weight", 7),
            r"linear.weight must have 2 dimensions, got shape \[7\]",
        ),
        (changed_shape("linear.weight", 1000, 2), "1000 rows of linear.weight must be a square"),
        (changed_shape("blocks.0.0.conv1.weight", 4, 10, 3, 3), "10 channels of the first block"),
        (changed_shape("blocks.0.0.conv1.weight", 4, 0, 3, 3), "0 channels of the first block"),
        (
            changed_shape("blocks.4.0.conv1.weight", 4, 10, 3, 3),
            "tensors of a BigGAN must include blocks.4.0.conv2",
        ),
        (changed_shape("shared.weight"), "shared.weight must have 2 dimensions"),
    ],
)
def test_hostile_shapes_are_refused_before_anything_is_built(
    tensors: dict[str, Array], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(tensors)


def test_what_the_reference_cannot_run_is_refused() -> None:
    state = arrays(meta("biggan_deep", SMALL["biggan_deep"]))
    with pytest.raises(ConfigError, match="a BigGAN-deep without shared.weight"):
        read({name: array for name, array in state.items() if name != "shared.weight"})
    with pytest.raises(ConfigError, match="7 blocks with .* channels are those of no BigGAN-deep"):
        read({name: array for name, array in state.items() if not name.startswith("blocks.7.")})


# Folders of pytorch-pretrained-biggan


def hub_state() -> dict[str, Tensor]:
    return meta("biggan_hub", SMALL["biggan_hub"])


def test_a_folder_is_read_by_its_config() -> None:
    config = SMALL["biggan_hub"] | {"output_dim": 64, "class_embed_dim": 7, "eps": 1e-3}
    tensors = arrays(hub_state())
    plan = biggan_folder(config, {f"module.{name}": array for name, array in tensors.items()})
    assert plan.network == "biggan_hub"
    assert plan.arguments == SMALL["biggan_hub"] | {"eps": 1e-3}
    assert plan.tensors.keys() == tensors.keys()
    assert plan.facts == {"prior": "truncated", "latent_shape": [7], "num_labels": 5}
    assert plan.notes == ()


def test_a_key_without_effect_that_contradicts_the_others_is_noted() -> None:
    config = SMALL["biggan_hub"] | {"output_dim": 128, "class_embed_dim": 9}
    notes = biggan_folder(config, arrays(hub_state())).notes
    assert "class_embed_dim of config.json has no effect" in notes[0] and "makes it 7" in notes[0]
    assert "output_dim of config.json has no effect" in notes[1] and "makes it 64" in notes[1]


def test_keys_that_a_config_leaves_out_keep_the_packages_defaults() -> None:
    plan = biggan_folder({}, arrays(meta("biggan_hub", {})))
    assert plan.arguments == {}
    with torch.device("meta"):
        assert networks.build("biggan_hub", plan.arguments).image_shape == (3, 128, 128)


def test_a_folder_is_refused_by_the_key_or_tensor_at_fault() -> None:
    tensors = arrays(hub_state())
    with pytest.raises(ConfigError, match="config.json has the key torch_dtype, which"):
        biggan_folder({"torch_dtype": "float32"}, tensors)
    with pytest.raises(ConfigError, match="pytorch_model.bin must hold generator.gen_z"):
        biggan_folder({}, {})
    with pytest.raises(ConfigError, match="must include embeddings.weight"):
        biggan_folder({}, {"generator.gen_z.weight_orig": tensors["generator.gen_z.weight_orig"]})
    with pytest.raises(ConfigError, match="without its config.json: name the folder"):
        read(tensors)
