"""StyleGAN2 is learned: it ends, goes on, stands still and agrees between devices."""

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from styled import pictures, request, styled
from test_loop import fabric, same, trained
from torch import Tensor

from ganaudit.checkpoints.opened import open_network
from ganaudit.errors import ConfigError
from ganaudit.networks.stylegan2_discriminator import StyleGAN2Discriminator
from ganaudit.training import loop
from ganaudit.training.journal import read_log
from ganaudit.training.loop import Ending
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.runs import train
from ganaudit.training.states import State, make_state

RISING = ("augment.interval=1", "augment.kimg=0.1")
OFTEN = ("styles.path_every=2", "loss.r1_every=2")


def sure(made: Recipe) -> State:
    """A beginning at which all images pass for real, so that p rises."""
    state: Any = make_state(made)
    with torch.no_grad():
        state.discriminator.b4.out.bias.fill_(9)
    return state


def test_it_trains_and_tells_what_it_does() -> None:
    data = pictures()
    seen: dict[str, Tensor] = {}
    state, ending = trained(styled(data), data, after_step=lambda step, values: seen.update(values))
    assert ending == Ending("finished", 3) and state.is_finite()
    assert {"r1", "path_penalty", "path_length"} <= seen.keys()
    assert float(state.numbers["path_mean"]) > 0
    assert float(state.average.mapping.w_avg.abs().max()) > 0
    assert torch.equal(state.average.mapping.w_avg, state.generator.mapping.w_avg)


@pytest.mark.parametrize("reg", ["advlatgan-qua", "advlatgan-div", "mode-seeking"])
def test_searches_and_pairs_train_it_too(reg: str) -> None:
    data = pictures(size=8)
    made = styled(data, "augment.p=0.5", reg=(reg,), augment=("ada,apa",), steps=2)
    plain, _ = trained(styled(data, "augment.p=0.5", augment=("ada,apa",), steps=2), data)
    state, ending = trained(made, data)
    assert ending == Ending("finished", 2) and state.is_finite()
    assert not same(plain, state)


@pytest.mark.parametrize("weight", [0, 1])
def test_adaptivemix_without_weight_is_the_baseline_bit_for_bit(weight: int) -> None:
    data = pictures(size=8)
    plain, _ = trained(styled(data), data)
    made = styled(data, f"adaptivemix.weight={weight}", reg=("adaptivemix",))
    mixing = made.regularizers.adaptivemix
    assert mixing is not None
    assert (mixing.distance, mixing.pairing, mixing.detach) == ("cosine", "within", True)
    mixed, _ = trained(made, data)
    assert same(plain, mixed) == (weight == 0)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(parts: int) -> None:
    data = pictures()
    made = styled(
        data, *RISING, *OFTEN, reg=("adaptivemix",), augment=("ada",), steps=5, parts=parts
    )
    whole, first = sure(made), sure(made)
    assert loop.train(fabric(), made, data, whole).status == "finished"
    stops = iter([False, False, True])
    ending = loop.train(fabric(), made, data, first, stopped=lambda: next(stops))
    assert ending == Ending("interrupted", 3)
    assert 0 < first.strength < whole.strength
    saved = {name: value.clone() for name, value in first.tensors().items()}
    assert {"numbers.strength", "numbers.signs", "numbers.path_mean"} <= saved.keys()
    second = make_state(made)
    assert loop.train(fabric(), made, data, second, start=3, saved=saved).status == "finished"
    assert same(whole, second)


def test_a_checkpoint_with_other_numbers_is_of_another_training() -> None:
    data = pictures(size=8)
    with_ada, without = styled(data, augment=("ada",)), styled(data)
    saved = make_state(with_ada).tensors()
    with pytest.raises(ConfigError, match="of another training: its numbers do not fit"):
        make_state(without).load(saved)
    fixed = make_state(styled(data, "augment.p=0.5", augment=("ada",)))
    with pytest.raises(ConfigError, match="its numbers do not fit"):
        fixed.load(saved)


# -- layers that keep their weights --------------------------------------------------------------


def test_the_first_layers_keep_their_weights_and_the_rest_learns() -> None:
    data = pictures()
    made = styled(data, *OFTEN, "optim.freeze=5", reg=("adaptivemix",))
    before = make_state(made).tensors()
    state, _ = trained(made, data)
    kept = ("b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0")
    for name, value in state.discriminator.named_parameters():
        still = torch.equal(value, before[f"discriminator.{name}"])
        assert still == name.startswith(kept), name
    again = make_state(made)
    again.load(state.tensors())
    assert same(again, state)


def test_a_skip_discriminator_has_layers_of_its_own() -> None:
    made = StyleGAN2Discriminator(
        c_dim=0, img_resolution=8, img_channels=3, architecture="skip", channel_max=8
    )
    assert made.freezable() == [made.b8.fromrgb, made.b8.conv0, made.b8.conv1]


@pytest.mark.parametrize(
    ("arch", "count", "sentence"),
    [
        ("stylegan2", 8, "--set optim.freeze=8: this discriminator has 7 layers that can keep"),
        ("dcgan", 1, "has 0 layers that can keep their weights; StyleGAN2's has some"),
    ],
)
def test_more_layers_than_there_are_is_one_sentence(arch: str, count: int, sentence: str) -> None:
    data = pictures()
    sizes = ("generator.width=4", "discriminator.width=4") if arch == "dcgan" else ()
    config = request(f"optim.freeze={count}", arch=arch)
    kept = tuple(text for text in config.set if arch == "stylegan2" or "max" not in text)
    made = resolve_recipe(
        replace(config, set=(*kept, *sizes)), image_shape=data.image_shape, num_labels=0
    )
    with pytest.raises(ConfigError) as caught:
        make_state(made)
    assert sentence in str(caught.value)


# -- classes, and files --------------------------------------------------------------------------


def test_classes_are_learned_and_the_file_renders_them(tmp_path: Path) -> None:
    data = pictures(labels=3)
    config = request(
        *OFTEN, "augment.p=0.3", arch="cstylegan2", reg=("adaptivemix",), augment=("ada,apa",),
        out=tmp_path / "out", steps=2,
    )  # fmt: skip
    made = train(config, data=data)
    assert made.document["status"] == "finished" and made.document["recipe"]["conditional"]
    opened = open_network(made.folder / "generator.safetensors")
    assert opened.network == "stylegan2" and opened.module.num_labels == 3
    assert "step 2 of 2" in opened.facts["training"] and opened.facts["latent_shape"] == [6]
    latents = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).expand(3, -1)
    shown = opened.module(latents, torch.arange(3))
    assert shown.shape == (3, 3, 16, 16) and bool(shown.isfinite().all())
    assert not torch.allclose(shown[0], shown[1])
    judge = open_network(made.folder / "discriminator.safetensors").module
    assert judge(shown, torch.arange(3)).shape == (3, 1)
    curves = made.document["curves"]
    assert {"path_length", "augment_p", "lipschitz_real", "lipschitz_fake"} <= curves.keys()
    assert [p for _, p in curves["augment_p"]] == pytest.approx([0.3, 0.3])


def test_rows_of_shares_are_labels_and_sure_ones_are_classes() -> None:
    torch.manual_seed(0)
    judge = StyleGAN2Discriminator(
        c_dim=3, img_resolution=8, img_channels=3, channel_max=8, mapping_num_layers=1
    )
    shown = torch.randn(3, 3, 8, 8)
    features = judge.features(shown)
    sure = judge.head(features, torch.tensor([2, 0, 1]))
    rows = torch.eye(3)[[2, 0, 1]]
    assert torch.allclose(judge.head(features, rows), sure, atol=1e-6)
    assert not torch.allclose(judge.head(features, 0.5 * rows + 0.5 / 3), sure, atol=1e-3)


def test_a_training_from_the_command_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data = pictures(size=8)
    pairs, said = (*RISING, *OFTEN), {"augment": ("ada",), "snapshot_every": 1}
    for name, lengths in {"whole": (3,), "parted": (1, 3)}.items():
        for steps in lengths:
            resumed = steps != lengths[0]
            config = request(*pairs, **said, out=tmp_path / name, steps=steps, resume=resumed)  # type: ignore[arg-type]
            train(config, data=data)
    whole, parted = (
        tmp_path / name / "states" / "step-00000003" / "state.safetensors"
        for name in ("whole", "parted")
    )
    assert whole.read_bytes() == parted.read_bytes()
    steps = [line["step"] for line in read_log(tmp_path / "parted") if "lipschitz_real" in line]
    assert steps == [0, 1, 2, 3]
    document = json.loads((tmp_path / "parted" / "training.json").read_text())
    assert document["recipe"]["styles"]["path_every"] == 2


# -- two devices -----------------------------------------------------------------------------


def _rank(fabric: Any, out: Path) -> None:
    torch.set_num_threads(1)
    data = pictures(size=8)
    made = styled(data, *RISING, *OFTEN, reg=("adaptivemix",), augment=("ada",), steps=10, parts=2)
    state = sure(made)
    loop.train(fabric, made, data, state)
    torch.save(state.tensors(), out / f"{fabric.global_rank}.pt")


def test_two_devices_hold_equal_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixing, changed images, path lengths and two parts of a batch included."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric(2).launch(_rank, tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == other.keys()
    own = ("w_avg", "numbers.signs", "numbers.judged")  # of each device's own images
    for name in one:
        if not name.endswith(own):
            assert torch.equal(one[name], other[name]), name
    assert float(one["numbers.strength"]) > 0 and float(one["numbers.path_mean"]) > 0
    assert float(one["generator_optimizer.0.step"]) == 10 + 5
