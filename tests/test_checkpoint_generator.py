"""`checkpoint:FILE` as a user opens it, and `python:` with weights from a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganaudit import networks, registry
from ganaudit.checkpoints.native import save_native
from ganaudit.errors import ConfigError
from ganaudit.noise import layer_noise
from ganaudit.slots import Draws, Stream, draw

CPU = torch.device("cpu")
STYLE: dict[str, Any] = {
    "z_dim": 6,
    "c_dim": 0,
    "w_dim": 8,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 64,
    "channel_max": 8,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scattered(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor) * 0.5)
        if name.endswith("running_var"):
            tensor.abs_()
    return module.eval()


def style(**changes: Any) -> nn.Module:
    return scattered(networks.build("stylegan2", STYLE | changes))


def style_file(**changes: Any) -> str:
    save_native(
        Path("style.safetensors"),
        style(**changes),
        network="stylegan2",
        arguments=STYLE | changes,
        facts={"prior": "normal"},
    )
    return "style.safetensors"


def opened(spec: str, **options: str) -> Any:
    return registry.open_plugin("generators", spec, options, device=CPU)[0]


def draws(source: Any, count: int = 3) -> Draws:
    labels = torch.arange(source.num_labels).numpy() if source.num_labels else None
    return draw(
        torch.arange(count).numpy(),
        seed=5,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape,
        labels=labels,
    )


def native(source: Any, what: Draws) -> Tensor:
    with torch.no_grad():
        return source.forward(what.latents, what.labels, what.seeds)  # type: ignore[no-any-return]


# -- options of a style network -------------------------------------------------------------------


def test_noise_is_drawn_from_the_seeds_unless_told_otherwise() -> None:
    path = style_file()
    what = draws(opened(path))
    module: Any = style()
    noise = layer_noise(what.seeds, module.noise_shapes, device=CPU)
    with torch.no_grad():
        by_noise = {
            None: module(what.latents, noise=noise),
            "random": module(what.latents, noise=noise),
            "const": module(what.latents, noise="const"),
            "none": module(what.latents, noise="none"),
        }
    for name, expected in by_noise.items():
        source = opened(path, **({} if name is None else {"noise": name}))
        assert torch.equal(native(source, what), expected)
        assert source.identity["noise"] == (name or "random")
    assert (by_noise["random"] - by_noise["const"]).abs().max() > 0.01
    assert (by_noise["none"] - by_noise["const"]).abs().max() > 0.01


def test_a_row_depends_on_its_draw_alone() -> None:
    source = opened(style_file())
    what = draws(source, 4)
    together = native(source, what)
    for i in range(4):
        torch.testing.assert_close(native(source, what[i : i + 1]), together[i : i + 1])


def test_psi_and_cutoff_are_those_of_the_network_and_of_the_identity() -> None:
    path = style_file()
    source = opened(path, psi="0.6", cutoff="3", noise="const")
    what = draws(source)
    with torch.no_grad():
        expected = style()(what.latents, psi=0.6, cutoff=3, noise="const")
    assert torch.equal(native(source, what), expected)
    assert source.identity | {"psi": 0.6, "cutoff": 3, "noise": "const"} == source.identity
    assert source.identity["network"] == "stylegan2" and "role" not in source.identity


def test_labels_reach_a_conditional_network() -> None:
    source = opened(style_file(c_dim=3), noise="const")
    what = draws(source)
    assert source.num_labels == 3
    with torch.no_grad():
        expected = style(c_dim=3)(what.latents, what.labels, noise="const")
    assert torch.equal(native(source, what), expected)


def test_it_is_differentiable_in_its_latents() -> None:
    source = opened(style_file())
    what = draws(source, 2)
    assert what.latents is not None
    latents = what.latents.clone().requires_grad_()
    source.forward(latents, None, what.seeds).square().sum().backward()
    assert latents.grad is not None and (latents.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"psi": "3"}, r"psi must be in \[-2, 2\], got 3"),
        ({"cutoff": "4"}, "cutoff must be 0 or more layers, and needs a psi"),
        ({"psi": "0.5", "cutoff": "-1"}, "cutoff must be 0 or more layers"),
        ({"truncation": "0.5"}, "a stylegan2 has no truncation to set"),
        ({"noise": "loud"}, "noise must be one of random, const, none, got 'loud'"),
        ({"role": "G"}, "holds no network G; it holds state_dict"),
        ({"z_dim": "6"}, "--set z_dim: style.safetensors says itself what it is"),
    ],
)
def test_an_option_that_would_change_nothing_or_cannot_be_is_refused(
    options: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(style_file(), **options)


@pytest.mark.parametrize("option", [{"psi": "0.5"}, {"noise": "none"}, {"truncation": "0.5"}])
def test_a_network_without_it_refuses_it(option: dict[str, str]) -> None:
    (name,) = option
    network = scattered(networks.build("dcgan", {"latent_size": 5, "width": 2, "size": 8}))
    torch.save(network.state_dict(), "dcgan.pt")
    said = {"network": "dcgan", "latent_size": "5", "width": "2", "size": "8", "prior": "uniform"}
    with pytest.raises(ConfigError, match=f"a dcgan has no {name} to set"):
        opened("dcgan.pt", **said, **option)


# -- bare state dicts -----------------------------------------------------------------------------


def test_a_state_dict_goes_into_a_network_of_ours_that_the_user_names() -> None:
    network = scattered(networks.build("dcgan", {"latent_size": 5, "width": 2, "size": 8}))
    torch.save({"netG": network.state_dict(), "epoch": 4}, "dcgan.pt")
    said = {"network": "dcgan", "latent_size": "5", "width": "2", "size": "8"}
    with pytest.raises(ConfigError, match="declares no prior"):  # never guessed
        opened("dcgan.pt", **said)
    source = opened("dcgan.pt", **said, prior="uniform")
    assert (source.prior, source.latent_shape, source.identity["role"]) == ("uniform", (5,), "netG")
    what = draws(source)
    with torch.no_grad():
        assert torch.equal(native(source, what), network(what.latents))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "a state dict of no architecture that ganaudit knows by its names.*network=NAME"),
        ({"network": "nothing"}, "network must be one of acgan_discriminator, biggan"),
        ({"network": "dcgan", "latent_size": "5"}, "required: latent_size, width"),
        (
            {"network": "dcgan", "latent_size": "5", "width": "3", "size": "8"},
            "must be float32 .*, got float32",
        ),
        ({"network": "dcgan", "latent_size": "1e99", "width": "3"}, "must be an integer in"),
        ({"network": "digit_embedder", "width": "3"}, "is missing|required"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(said: dict[str, str], message: str) -> None:
    network = networks.build("dcgan", {"latent_size": 5, "width": 2, "size": 8})
    torch.save(network.state_dict(), "dcgan.pt")
    with pytest.raises(ConfigError, match=message):
        opened("dcgan.pt", **said)


def test_a_folder_says_itself_what_it_is() -> None:
    Path("biggan").mkdir()
    Path("biggan/config.json").write_text("{}")
    torch.save({"generator.gen_z.weight_orig": torch.ones(2, 2)}, "biggan/pytorch_model.bin")
    assert registry.resolve("generators", "biggan") == ("checkpoint", "biggan")
    with pytest.raises(ConfigError, match="--set z_dim would change nothing"):
        opened("biggan", z_dim="4")


def test_pictures_beside_a_config_are_pictures() -> None:
    Path("pictures").mkdir()
    Path("pictures/config.json").write_text("{}")
    Path("pictures/1.png").touch()
    assert registry.resolve("generators", "pictures") == ("images", "pictures")


# -- the user's own code --------------------------------------------------------------------------

FACTORY = """
import torch

class Net(torch.nn.Module):
    latent_shape, prior, range = (4,), "normal", (-1, 1)
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3 * 8 * 8)
    def forward(self, latents):
        return self.layer(latents).view(-1, 3, 8, 8).tanh()

def make():
    return Net()

def function():
    return lambda latents: Net()(latents)

def own(*, weights: str = "none"):
    net = Net()
    net.said = weights
    torch.nn.init.constant_(net.layer.weight, 0.5)
    torch.nn.init.zeros_(net.layer.bias)
    return net
"""


@pytest.fixture
def weights() -> dict[str, Tensor]:
    Path("net.py").write_text(FACTORY)
    layer = scattered(nn.Linear(4, 3 * 8 * 8))
    return {f"layer.{name}": value for name, value in layer.state_dict().items()}


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"G_ema": w, "G": {"x": torch.ones(1)}}])
def test_weights_fill_the_module_of_a_factory(
    wrap: Callable[[Any], Any], weights: dict[str, Tensor]
) -> None:
    torch.save(wrap(weights), "w.pt")
    source = opened("python:net.py:make", weights="w.pt")
    assert torch.equal(source.module.layer.weight, weights["layer.weight"])
    assert not source.module.training


def test_a_role_says_which_of_them(weights: dict[str, Tensor]) -> None:
    torch.save({"G": weights, "D": {"x": torch.ones(1)}}, "w.pt")
    assert opened("python:net.py:make", weights="w.pt", role="G").module.layer.bias.shape == (192,)
    with pytest.raises(ConfigError, match="layer.weight is missing"):
        opened("python:net.py:make", weights="w.pt", role="D")
    with pytest.raises(ConfigError, match="add --set weights=FILE"):
        opened("python:net.py:make", role="G")


def test_a_factory_with_a_parameter_of_that_name_keeps_it(weights: dict[str, Tensor]) -> None:
    source = opened("python:net.py:own", weights="anything")
    assert source.module.said == "anything"
    assert (source.module.layer.weight == 0.5).all()


def test_weights_that_do_not_fit_and_modules_that_are_none_are_refused(
    weights: dict[str, Tensor],
) -> None:
    torch.save(weights | {"more": torch.ones(2)}, "w.pt")
    with pytest.raises(ConfigError, match="w.pt must hold the weights of 'make': more does not"):
        opened("python:net.py:make", weights="w.pt")
    with pytest.raises(ConfigError, match="needs a factory that returns a module of torch"):
        opened("python:net.py:function", weights="w.pt")


def test_an_audit_of_a_state_dict_from_request_to_report(ganaudit: Any) -> None:
    torch.save(style(z_dim=6).state_dict(), "style.pth")
    said = [f"--set={key}={json.dumps(value)}" for key, value in STYLE.items()]
    size = ("--anchors", "64", "--samples", "128", "--batch", "32")
    ended = ganaudit(
        "diagnose", "--generator", "style.pth", "--set", "network=stylegan2", *said,
        "--set", "prior=normal", "--descriptor", "digits", *size, "--format", "json", "-q",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    generator = json.loads(ended.out)["generator"]
    assert (generator["network"], generator["noise"]) == ("stylegan2", "random")
