"""The training loop: what it adds to a step, what it does not, and how it ends and goes on."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganaudit.config import TrainConfig
from ganaudit.training import drawing, loop
from ganaudit.training.data import TrainingData
from ganaudit.training.devices import fabric_of
from ganaudit.training.loop import Ending
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import State, make_state

STEPS = 3


def images(count: int = 40, *, labels: int = 0, channels: int = 1) -> TrainingData:
    rng = torch.Generator().manual_seed(5)
    made = torch.randint(0, 256, (count, channels, 8, 8), generator=rng, dtype=torch.uint8)
    classes = torch.randint(0, labels, (count,), generator=rng) if labels else None
    return TrainingData(images=made, labels=classes, num_labels=labels, identity={"count": count})


def points(count: int = 60) -> TrainingData:
    rng = np.random.default_rng(1)
    drawn = torch.from_numpy(rng.normal(size=(count, 2)).astype(np.float32))
    return TrainingData(images=drawn, identity={"count": count})


SMALL = ("generator.width=4", "discriminator.width=4")
FLAT = ("generator.widths=9", "discriminator.widths=7")


def recipe(data: TrainingData, *pairs: str, **said: Any) -> Recipe:
    arch = said.pop("arch", "mlp" if data.are_points else "dcgan")
    sizes = FLAT if arch == "mlp" else SMALL
    config = TrainConfig(
        data="given", arch=arch, batch=said.pop("batch", 8), latent_size=3,
        steps=said.pop("steps", STEPS), set=(*sizes, *pairs), **said,
    )  # fmt: skip
    return resolve_recipe(config, image_shape=data.image_shape, num_labels=data.num_labels)


def fabric(devices: int = 1) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        return Fabric(
            accelerator="cpu", devices=devices, strategy="ddp_spawn" if devices > 1 else "auto"
        )


def trained(made: Recipe, data: TrainingData, **given: Any) -> tuple[State, Ending]:
    state = make_state(made)
    ending = loop.train(fabric(), made, data, state, **given)
    return state, ending


def same(one: State, other: State, *, optimizers: bool = True) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    assert mine.keys() == theirs.keys()
    names = [name for name in mine if optimizers or "optimizer" not in name]
    return all(torch.equal(mine[name], theirs[name]) for name in names)


# -- weight 0 is the baseline, bit for bit ----------------------------------------------------

NOTHING = {
    "adaptivemix": ("adaptivemix.weight=0",),
    "adaptivemix, within": ("adaptivemix.weight=0", "adaptivemix.pairing=within"),
    "adaptivemix, cross": ("adaptivemix.weight=0", "adaptivemix.pairing=cross"),
    "advlatgan-qua": ("advlatgan-qua.step=0",),
    "advlatgan-div": ("advlatgan-div.weight=0",),
    "mode-seeking": ("mode-seeking.weight=0", "mode-seeking.everywhere=false"),
}
DISCRIMINATORS = {
    "plain": (),
    "spectral": ("discriminator.normalisation=spectral",),
    "batch": ("discriminator.normalisation=batch",),
    "mean": ("discriminator.head=mean",),
}


@pytest.mark.parametrize("kind", DISCRIMINATORS)
@pytest.mark.parametrize("what", NOTHING)
def test_a_regulariser_without_weight_is_the_baseline_bit_for_bit(what: str, kind: str) -> None:
    data, name = images(), what.partition(",")[0]
    plain, _ = trained(recipe(data, *DISCRIMINATORS[kind]), data)
    weightless, _ = trained(recipe(data, *DISCRIMINATORS[kind], *NOTHING[what], reg=(name,)), data)
    assert same(plain, weightless)


@pytest.mark.parametrize(
    "name", ["adaptivemix", "advlatgan-qua", "advlatgan-div", "mode-seeking", "diffaugment"]
)
def test_a_regulariser_with_weight_is_not(name: str) -> None:
    data = images()
    plain, _ = trained(recipe(data), data)
    regularised, ending = trained(recipe(data, reg=(name,)), data)
    assert ending == Ending("finished", STEPS)
    assert not same(plain, regularised)


def test_all_of_them_together_train() -> None:
    data = images(channels=3)
    names = "adaptivemix,advlatgan-qua,advlatgan-div,diffaugment"
    seen: dict[str, Tensor] = {}
    _, ending = trained(
        recipe(data, reg=(names,)), data, after_step=lambda step, values: seen.update(values)
    )
    assert ending.status == "finished"
    assert {"adaptivemix_discriminator", "adaptivemix_generator", "pair"} <= seen.keys()


# -- losses and architectures ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["minimax", "non-saturating", "wgan", "wgan-gp", "wgan-div", "lsgan", "hinge"]
)
def test_every_loss_trains_and_moves_both_networks(name: str) -> None:
    data = images()
    made = recipe(data, loss=name)
    before = make_state(made).tensors()
    state, ending = trained(made, data)
    assert ending.status == "finished"
    after = state.tensors()
    for network in ("generator.layers.0.weight", "discriminator.layers.0.weight"):
        assert not torch.equal(before[network], after[network])


def test_a_clipped_critic_keeps_to_its_bound() -> None:
    data = images()
    state, _ = trained(recipe(data, "loss.clip=0.02", loss="wgan"), data)
    assert max(float(p.detach().abs().max()) for p in state.discriminator.parameters()) <= 0.02


@pytest.mark.parametrize("reg", [(), ("adaptivemix",), ("mode-seeking",), ("advlatgan-div",)])
@pytest.mark.parametrize("arch", ["cdcgan", "acgan"])
def test_conditional_networks_train(arch: str, reg: tuple[str, ...]) -> None:
    data = images(labels=3)
    seen: dict[str, Tensor] = {}
    made = recipe(data, arch=arch, reg=reg)
    _, ending = trained(made, data, after_step=lambda step, values: seen.update(values))
    assert ending.status == "finished"
    assert ("classes_discriminator" in seen) == (arch == "acgan")


@pytest.mark.parametrize("reg", [(), ("adaptivemix",), ("advlatgan-qua", "advlatgan-div")])
def test_points_train(reg: tuple[str, ...]) -> None:
    data = points()
    state, ending = trained(recipe(data, reg=reg), data)
    assert ending.status == "finished" and state.is_finite()


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("loss", ["wgan-gp", "wgan-div", "non-saturating"])
def test_pairs_that_are_judged_weigh_as_two_batches_and_so_does_all_beside_them(
    loss: str, everywhere: bool
) -> None:
    data, asked = images(labels=3), fabric()
    totals: list[Tensor] = []
    seen: dict[str, Tensor] = {}
    backward = asked.backward
    asked.backward = lambda total: (totals.append(total.detach()), backward(total))
    made = recipe(
        data, f"mode-seeking.everywhere={str(everywhere).lower()}",
        *(("loss.r1=10",) if loss == "non-saturating" else ()),
        arch="acgan", loss=loss, reg=("adaptivemix,mode-seeking",), steps=1,
    )  # fmt: skip
    loop.train(
        asked, made, data, make_state(made), after_step=lambda _, values: seen.update(values)
    )
    of_generator = {"loss_generator", "classes_generator", "adaptivemix_generator"}
    of_discriminator = seen.keys() - of_generator - {"pair", "real_logit", "fake_logit"}
    assert len(of_discriminator) == 4
    weight = 2 if everywhere else 1
    torch.testing.assert_close(totals[-2], sum(weight * seen[name] for name in of_discriminator))
    judged = sum(weight * seen[name] for name in of_generator)
    torch.testing.assert_close(totals[-1], judged + seen["pair"])


@pytest.mark.parametrize("loss", ["wgan-gp", "wgan-div", "non-saturating"])
@pytest.mark.parametrize("arch", ["dcgan", "stylegan2"])
def test_penalties_are_taken_in_mixed_precision_too(loss: str, arch: str) -> None:
    data = images(channels=3)
    sizes = SMALL if arch == "dcgan" else ("generator.channel_max=8", "discriminator.channel_max=8")
    config = TrainConfig(
        data="given", arch=arch, loss=loss, batch=8, latent_size=3, steps=1, precision="bf16",
        reg=("adaptivemix,advlatgan-qua",),
        set=(*sizes, *(("loss.r1=1",) if loss == "non-saturating" else ())),
    )  # fmt: skip
    made = resolve_recipe(config, image_shape=data.image_shape, num_labels=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = fabric_of(config)
    seen: dict[str, Tensor] = {}
    ending = loop.train(
        asked, made, data, make_state(made), after_step=lambda _, values: seen.update(values)
    )
    assert ending.status == "finished"
    penalties = {"gradient_penalty", "divergence_penalty", "r1"}
    assert len(penalties & seen.keys()) == 1 and all(map(torch.isfinite, seen.values()))


def test_r1_is_taken_every_so_often() -> None:
    data = images()
    taken: list[bool] = []
    made = recipe(data, "loss.r1=1", "loss.r1_every=2", steps=5)
    trained(made, data, after_step=lambda step, values: taken.append("r1" in values))
    assert taken == [True, False, True, False, True]


@pytest.mark.parametrize(("of_discriminator", "of_generator"), [(3, 1), (1, 3), (2, 2)])
def test_a_step_has_updates_of_either_network(of_discriminator: int, of_generator: int) -> None:
    data = images()
    updates = (
        f"optim.discriminator_steps={of_discriminator}",
        f"optim.generator_steps={of_generator}",
    )
    state, _ = trained(recipe(data, *updates, "optim.generator_batch=2", steps=2), data)
    steps = state.tensors()
    assert float(steps["discriminator_optimizer.0.step"]) == 2 * of_discriminator
    assert float(steps["generator_optimizer.0.step"]) == 2 * of_generator


def test_every_update_of_the_generator_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []
    draw = drawing.draw_latents

    def watched(*given: Any) -> Tensor:
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(drawing, "draw_latents", watched)
    trained(recipe(images(), "optim.generator_steps=3", steps=2), images())
    assert len(drawn) == 2 * (1 + 3)
    assert len({some.numpy().tobytes() for some in drawn}) == len(drawn)


def test_a_linear_decay_ends_near_zero() -> None:
    data = images()
    made = recipe(data, "optim.decay=linear", "optim.lr=0.004", steps=4)
    assert [made.optim.rates(step, 4)[0] for step in range(4)] == [0.004, 0.003, 0.002, 0.001]
    state, _ = trained(made, data)
    assert state.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.001)


# -- going on, and not ----------------------------------------------------------------------


@pytest.mark.parametrize("reg", [(), ("adaptivemix,advlatgan-qua,advlatgan-div,diffaugment",)])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(reg: tuple[str, ...]) -> None:
    data = images()
    kind = ("discriminator.normalisation=spectral",)
    made = recipe(data, *kind, reg=reg, steps=6)
    whole, _ = trained(made, data)
    stops = iter([False, False, False, True])
    first, ending = trained(made, data, stopped=lambda: next(stops))
    assert ending == Ending("interrupted", 4)
    second = make_state(made)
    saved = {name: value.clone() for name, value in first.tensors().items()}
    ending = loop.train(fabric(), made, data, second, start=4, saved=saved)
    assert ending == Ending("finished", 6)
    assert same(whole, second)


def test_an_interrupted_training_is_kept_first() -> None:
    data = images()
    kept: list[int] = []
    _, ending = trained(recipe(data), data, stopped=lambda: True, snapshot=kept.append)
    assert ending == Ending("interrupted", 1) and kept == [0, 1]


def test_snapshots_come_when_they_are_due_and_at_both_ends() -> None:
    data = images()
    kept: list[int] = []
    made = recipe(data, steps=5)
    trained(made, data, is_snapshot=lambda step: step % 2 == 0, snapshot=kept.append)
    assert kept == [0, 2, 4, 5]


def test_a_training_that_diverges_stops_before_it_is_kept() -> None:
    data = images()
    kept: list[int] = []
    made = recipe(data, steps=9)
    state = make_state(made)

    def poison(step: int, values: object) -> None:
        if step == 3:
            with torch.no_grad():
                state.generator.layers[0].weight[0, 0] = float("inf")

    ending = loop.train(
        fabric(), made, data, state, after_step=poison,
        is_snapshot=lambda step: True, snapshot=kept.append,
    )  # fmt: skip
    assert ending.status == "diverged" and ending.step == 4
    assert "at step 4 loss_discriminator was no longer finite" in ending.message
    assert kept == [0, 1, 2, 3]


def test_a_weight_that_no_loss_shows_is_not_kept_either() -> None:
    data = images()
    made = recipe(data, steps=1)
    state = make_state(made)
    with torch.no_grad():
        state.average.layers[0].weight[0, 0] = float("nan")
    kept: list[int] = []
    ending = loop.train(fabric(), made, data, state, snapshot=kept.append)
    assert ending.status == "diverged" and "a weight was no longer finite" in ending.message
    assert kept == [0]


def test_the_average_follows() -> None:
    data = images()
    state, _ = trained(recipe(data, "optim.ema=0"), data)
    mine = state.average.state_dict()
    assert all(
        torch.equal(value, mine[name]) for name, value in state.generator.state_dict().items()
    )
    state, _ = trained(recipe(data, "optim.ema=0.9"), data)
    assert not torch.equal(
        state.average.state_dict()["layers.0.weight"], state.generator.layers[0].weight
    )


def test_fewer_images_than_a_batch_are_refused() -> None:
    data = images(5)
    with pytest.raises(Exception, match="--batch 8 wants more than the 5 items"):
        trained(recipe(data), data)


# -- two devices ----------------------------------------------------------------------------


def _rank(fabric: Any, made_of: tuple[Any, ...], out: Path) -> None:
    torch.set_num_threads(1)
    data = images()
    state = make_state(recipe(data, *made_of[0], reg=made_of[1]))
    loop.train(fabric, recipe(data, *made_of[0], reg=made_of[1]), data, state)
    torch.save(state.tensors(), out / f"{fabric.global_rank}.pt")


def test_two_devices_hold_equal_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity 23, through the whole loop: mixing, mining and pairs included."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent)]))
    made_of = (
        ("discriminator.normalisation=spectral", "adaptivemix.pairing=within"),
        ("adaptivemix,advlatgan-qua,advlatgan-div",),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric(2).launch(_rank, made_of, tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == other.keys()
    for name in one:
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(one[name], other[name]), name
