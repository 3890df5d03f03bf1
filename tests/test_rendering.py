"""StyleGAN2 in training: crossed styles, noise, the average of styles, and path lengths."""

import pytest
import torch
from styled import generator
from torch import Tensor, nn

from ganaudit.training.rendering import Renderer, path_lengths


def rng(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def test_path_lengths_are_those_of_the_whole_jacobian() -> None:
    network = generator()
    noise = [layer.noise_const for layer in network.synthesis.noisy_layers()]
    styles = normal(2, network.synthesis.num_ws, 3).requires_grad_()
    found = path_lengths(network.synthesis(styles, noise), styles, rng())
    directions = torch.randn((2, 1, 8, 8), generator=rng())
    for row in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda one: network.synthesis(one[None], noise)[0], styles[row].detach()
        )  # [1, 8, 8, layers, 3]
        squares = []
        for layer in range(network.synthesis.num_ws):
            moved = [
                sum(
                    jacobian[0, y, x, layer, number] * directions[row, 0, y, x] / 8
                    for y in range(8)
                    for x in range(8)
                )
                for number in range(3)
            ]
            squares.append(sum(one**2 for one in moved))
        wanted = (sum(squares) / len(squares)) ** 0.5
        assert float(found[row].detach()) == pytest.approx(float(wanted), rel=1e-6)


def test_slopes_of_path_lengths_reach_the_mapping_and_the_weights() -> None:
    renderer = Renderer(generator())
    lengths = renderer(normal(2, 4), paths=rng()).path_lengths
    assert lengths is not None and lengths.shape == (2,)
    lengths.sum().backward()
    for part in ("mapping.fc0", "synthesis.b4.conv1", "synthesis.b8.conv0.affine"):
        slope = renderer.network.get_submodule(part).weight.grad
        assert slope is not None and float(slope.abs().max()) > 0


@pytest.mark.parametrize("first", [1, 2, 3])
def test_later_layers_have_the_styles_of_other_latents(first: int) -> None:
    network = generator()
    given: list[Tensor] = []
    network.synthesis.register_forward_pre_hook(lambda module, given_: given.append(given_[0]))
    latents, others = normal(2, 4), normal(2, 4, seed=9)
    Renderer(network).eval()(latents, others=others, first=first)
    (styles,) = given
    assert styles.shape[1] == network.synthesis.num_ws == 4
    for layer in range(4):
        wanted = network.mapping(latents if layer < first else others, None)
        assert torch.equal(styles[:, layer], wanted)


def test_without_draws_the_noise_is_the_networks_own() -> None:
    network = generator().eval()
    latents = normal(2, 4)
    assert torch.equal(Renderer(network).eval()(latents).images, network(latents))


def test_equal_draws_give_equal_noise_and_each_image_its_own() -> None:
    renderer = Renderer(generator()).eval()
    latents = normal(1, 4).expand(2, 4)
    one, again, other = (renderer(latents, noise=rng(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])


def test_a_network_without_noise_is_given_none() -> None:
    renderer = Renderer(generator(use_noise=False)).eval()
    latents = normal(2, 4)
    assert torch.equal(renderer(latents, noise=rng()).images, renderer.network(latents))


def test_the_average_of_styles_follows_in_training_alone() -> None:
    network = generator()
    nn.init.ones_(network.mapping.w_avg)
    latents = normal(5, 4)
    mean = network.mapping(latents, None).mean(dim=0).detach()
    Renderer(network).eval()(latents)
    assert torch.equal(network.mapping.w_avg, torch.ones(3, dtype=torch.float64))
    for decay in (0.995, 0.5):
        nn.init.ones_(network.mapping.w_avg)
        Renderer(network, style_decay=decay).train()(latents, others=latents + 1, first=1)
        assert torch.allclose(network.mapping.w_avg, decay + (1 - decay) * mean, atol=1e-12)


def test_one_without_an_average_keeps_none() -> None:
    network = generator(mapping_w_avg=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Renderer(network).train()(normal(2, 4))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_without_styles_is_called_as_it_is() -> None:
    given: list[tuple[Tensor, ...]] = []

    class Plain(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            given.append(inputs)
            return inputs[0] + 1

    renderer, latents, labels = Renderer(Plain()), normal(2, 4), torch.zeros(2)
    assert torch.equal(renderer(latents).images, latents + 1)
    assert renderer(latents, labels, rng()).path_lengths is None
    assert [len(inputs) for inputs in given] == [1, 2] and given[1][1] is labels
