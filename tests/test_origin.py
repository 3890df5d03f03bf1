"""Networks that a training begins with: what is taken, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pickled import NvidiaNetwork, write_nvidia_pickle
from styled import pictures, request
from test_stylegan2 import SMALL, SMALL_D, discriminator, generator
from torch import Tensor, nn

from ganaudit.checkpoints.opened import open_network
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.training.origin import Origin, open_origin
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.runs import outlook, train
from ganaudit.training.states import last_state, make_state

NO_SIZES = {"set": (), "latent_size": None, "arch": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("origin") / "first"
    train(request(out=out, steps=2), data=pictures())
    return out


def continued(start: Path, out: Path, **said: Any) -> TrainConfig:
    """One more step from it, with nothing said of the networks."""
    usual: dict[str, Any] = {"start": start, "out": out, "steps": 1, **NO_SIZES}
    return replace(request(), **(usual | said))


def pickle_of(
    path: Path, *, roles: tuple[str, ...] = ("G", "D", "G_ema"), labels: int = 0, **of_average: int
) -> tuple[Path, dict[str, nn.Module]]:
    """A snapshot of stylegan2-ada-pytorch, and the networks in it."""
    shape = {"c_dim": labels}
    ours: dict[str, nn.Module] = {
        "G": generator(**shape),
        "D": discriminator(**shape, conv_clamp=256),
        "G_ema": generator(**shape, **of_average),
    }
    with torch.no_grad():
        for parameter in ours["G_ema"].parameters():
            parameter.add_(0.125)
    widths = {"channel_base": SMALL["channel_base"], "channel_max": SMALL["channel_max"]}
    judge = SMALL_D | shape | {"conv_clamp": 256}
    of_g = {key: SMALL[key] for key in ("z_dim", "w_dim", "img_resolution", "img_channels")} | shape
    kwargs: dict[str, Any] = of_g | {
        "mapping_kwargs": {"num_layers": 2},
        "synthesis_kwargs": widths | {"conv_clamp": 256},
    }
    content = {
        role: NvidiaNetwork(
            module=ours[role],
            kwargs={"G": kwargs, "D": judge, "G_ema": kwargs | of_average}[role],
        )
        for role in roles
    }
    return write_nvidia_pickle(path, content), ours


def resolved(origin: Origin, *, size: int = 16, labels: int = 0, **said: Any) -> Recipe:
    config = replace(request(), **(NO_SIZES | said))
    return resolve_recipe(config, image_shape=(3, size, size), num_labels=labels, origin=origin)


def below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("what", ["", "generator.safetensors"])
def test_a_training_begins_with_the_networks_of_another(
    trained: Path, tmp_path: Path, what: str
) -> None:
    made = train(continued(trained / what, tmp_path / "next"), data=pictures())
    shutil.rmtree(made.folder / "states" / "step-00000001")
    about, tensors = last_state(made.folder) or ({}, {})
    assert about["step"] == 0
    average, judge = (
        open_network(trained / f"{name}.safetensors") for name in ("generator", "discriminator")
    )
    for name in ("generator", "average"):
        assert equal(below(tensors, name), average.module.state_dict())
    assert equal(below(tensors, "discriminator"), judge.module.state_dict())
    recipe = made.document["recipe"]
    assert recipe["origin"] == f"{average.digest()}+{judge.digest()}"
    assert recipe["arch"] == "stylegan2" and recipe["generator"]["arguments"]["channel_max"] == 8


def test_a_training_that_began_with_others_goes_on_bit_for_bit(
    trained: Path, tmp_path: Path
) -> None:
    data = pictures()
    whole = train(continued(trained, tmp_path / "whole", steps=2), data=data)
    train(continued(trained, tmp_path / "cut"), data=data)
    made = train(continued(trained, tmp_path / "cut", steps=2, resume=True), data=data)
    ends = [last_state(one.folder) or ({}, {}) for one in (whole, made)]
    assert [about["step"] for about, _ in ends] == [2, 2] and equal(ends[0][1], ends[1][1])


def test_another_origin_is_another_training(trained: Path, tmp_path: Path) -> None:
    data = pictures()
    train(continued(trained, tmp_path / "out"), data=data)
    other, _ = pickle_of(tmp_path / "other.pkl")
    with pytest.raises(ConfigError):
        train(continued(other, tmp_path / "out", steps=2, resume=True), data=data)


def test_a_pickle_has_a_generator_its_average_and_a_discriminator(tmp_path: Path) -> None:
    path, ours = pickle_of(tmp_path / "network.pkl")
    origin = open_origin(path)
    made = resolved(origin)
    assert (made.arch, made.latent_shape) == ("stylegan2", (6,))
    assert made.origin == origin.digest == open_network(path, role="D").digest()
    state = make_state(made, origin)
    for network, role in (
        (state.generator, "G"),
        (state.discriminator, "D"),
        (state.average, "G_ema"),
    ):
        assert equal(network.state_dict(), ours[role].state_dict())
    learning = [p.requires_grad for p in state.generator.parameters()]
    assert all(learning) and not any(p.requires_grad for p in state.average.parameters())


def test_of_a_good_generator_the_strength_is_adapted_fast_and_the_average_is_old(
    tmp_path: Path,
) -> None:
    origin = open_origin(pickle_of(tmp_path / "network.pkl")[0])
    made = resolved(origin, augment=("ada",))
    assert made.regularizers.strength is not None
    assert (made.regularizers.strength.kimg, made.optim.ema_rampup) == (100, 0)
    said = resolved(
        origin, augment=("ada",), set=("augment.kimg=7", "optim.ema_rampup=0.1", "optim.freeze=2")
    )
    assert said.regularizers.strength is not None
    assert (said.regularizers.strength.kimg, said.optim.ema_rampup) == (7, 0.1)
    assert said.generator == made.generator


def test_one_with_classes_needs_as_many(tmp_path: Path) -> None:
    origin = open_origin(pickle_of(tmp_path / "network.pkl", labels=3)[0])
    assert resolved(origin, labels=3).arch == "cstylegan2"
    for labels in (0, 4):
        with pytest.raises(ConfigError, match=f"knows 3 classes and the data have {labels}: say"):
            resolved(origin, labels=labels)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"size": 32}, "makes images of 3x16x16 and the data are 3x32x32: --size 16 --channels 3"),
        ({"arch": "dcgan"}, "--arch dcgan is not that of .*, which is stylegan2: leave --arch out"),
        ({"arch": "cstylegan2"}, "--arch cstylegan2 is not that of"),
        ({"latent_size": 6}, "--latent-size follows from .*; leave it out"),
        ({"set": ("generator.channel_max=8",)}, "--set generator.channel_max follows from .*; le"),
        ({"set": ("discriminator.conv_clamp=2",)}, "--set discriminator.conv_clamp follows from"),
    ],
)
def test_what_the_networks_decide_cannot_be_said(
    said: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    origin = open_origin(pickle_of(tmp_path / "network.pkl")[0])
    with pytest.raises(ConfigError, match=sentence):
        resolved(origin, **said)


def test_what_they_decide_can_be_left_to_them(tmp_path: Path) -> None:
    origin = open_origin(pickle_of(tmp_path / "network.pkl")[0])
    assert resolved(origin, arch="stylegan2") == resolved(origin)


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        (("G", "G_ema"), "holds no network D, and a training needs G, D and G_ema; it holds G, G_"),
        (("G_ema",), "holds no network G, .*; it holds G_ema"),
        (("G", "D"), "holds no network G_ema"),
    ],
)
def test_a_pickle_without_all_three_is_refused(
    roles: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_origin(pickle_of(tmp_path / "network.pkl", roles=roles)[0])


def test_an_average_of_another_generator_is_refused(tmp_path: Path) -> None:
    path, _ = pickle_of(tmp_path / "network.pkl", img_channels=1)
    with pytest.raises(ConfigError, match="holds an averaged generator that is made otherwise"):
        open_origin(path)


def test_a_generator_without_its_discriminator_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "generator.safetensors", tmp_path)
    for path in (tmp_path, tmp_path / "generator.safetensors"):
        with pytest.raises(ConfigError, match="needs discriminator.safetensors in"):
            open_origin(path)


def test_a_pair_that_is_not_trained_is_refused(trained: Path, tmp_path: Path) -> None:
    train(
        replace(
            request(), arch="dcgan", out=tmp_path / "other", steps=1,
            set=("generator.width=4", "discriminator.width=4"),
        ),
        data=pictures(),
    )  # fmt: skip
    shutil.copy(trained / "generator.safetensors", tmp_path / "other")
    with pytest.raises(ConfigError, match="holds stylegan2 and dcgan_discriminator; what can be"):
        open_origin(tmp_path / "other")


def test_every_pair_of_ours_goes_on(tmp_path: Path) -> None:
    data = pictures(labels=3)
    config = request(arch="acgan", out=tmp_path / "first", steps=1)
    train(replace(config, set=("generator.width=4", "discriminator.width=4")), data=data)
    made = train(continued(tmp_path / "first", tmp_path / "next"), data=data)
    assert (made.document["recipe"]["arch"], made.document["status"]) == ("acgan", "finished")


def test_nothing_is_written_where_it_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="latent-size"):
        train(continued(trained, tmp_path / "out", latent_size=3), data=pictures())
    with pytest.raises(ConfigError):
        outlook(continued(tmp_path / "none", tmp_path / "out", data="toy:ring"))
    assert not (tmp_path / "out").exists()
