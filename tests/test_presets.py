"""Presets: each makes a training, and has the figures of the experiment that it is named for."""

from typing import Any

import pytest

from ganaudit.config import TrainConfig, split_owned
from ganaudit.regularizers import REGULARIZERS
from ganaudit.regularizers.adaptivemix import AdaptiveMix
from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv
from ganaudit.regularizers.mode_seeking import ModeSeeking
from ganaudit.training.presets import PRESETS
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import OWNERS, resolve_recipe

SIDES = {"cifar10": 32, "stl10": 48, "lsun": 64, "celeba": 64, "mnist": 32, "msgan": 32}
WHOSE = ("AdvLatGAN", "MSGAN", "RealnessGAN", "stylegan2-ada-pytorch", "Karras", "AdaptiveMix")
# AdvLatGAN's released configurations: the step of -qua, by data and model.
STEPS = {
    ("cifar10", "dcgan"): 0.03,
    ("cifar10", "wgan"): 0.01,
    ("cifar10", "wgangp"): 0.015,
    ("cifar10", "sngan"): 0.04,
    ("stl10", "dcgan"): 0.04,
    ("stl10", "wgan"): 0.02,
    ("stl10", "wgangp"): 0.015,
    ("stl10", "sngan"): 0.05,
    ("lsun", "wgangp"): 0.05,
    ("lsun", "sngan"): 0.05,
    ("celeba", "wgangp"): 0.02,
    ("celeba", "sngan"): 0.05,
}


def resolved(name: str, **request: Any) -> Recipe:
    """The recipe of a preset, for data such as it is named for."""
    data = name.split("-")[0]
    side = SIDES.get(data, 256)  # those of StyleGAN2 are of none
    shape = (2,) if data == "toy" else (1 if data == "mnist" else 3, side, side)
    config = TrainConfig(data="x", preset=name, **request)
    return resolve_recipe(config, image_shape=shape, num_labels=10 if data == "msgan" else 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_training(name: str) -> None:
    preset, made = PRESETS[name], resolved(name)
    assert (made.arch, made.loss.name) == (preset.arch, preset.loss)
    assert (made.batch, made.steps) == (preset.batch, preset.steps)
    assert made.latent_shape == (preset.latent_size,)


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_of_a_preset_is_used(name: str) -> None:
    # Bound with every regulariser that it speaks of, an unknown key or value would be refused.
    said = split_owned(tuple(f"{k}={v}" for k, v in PRESETS[name].settings.items()), OWNERS)
    asked = tuple(owner for owner in REGULARIZERS if said[owner])
    made = resolved(name, reg=asked) if asked else resolved(name)
    parts: dict[str, Any] = {
        "generator": made.generator.arguments,
        "discriminator": made.discriminator.arguments,
        "loss": vars(made.settings),
        "optim": vars(made.optim),
        **{name: vars(one) for name, one in made.regularizers.by_name().items()},
    }
    for owner, options in said.items():
        for key, text in options.items():
            if key == "preset":
                assert made.regularizers.adaptivemix == AdaptiveMix.preset(text)
                continue
            value = parts[owner][key]
            shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            assert shown.lower() == text or float(text) == value


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_whose_it_is(name: str) -> None:
    about = PRESETS[name].about
    assert any(whose in about for whose in WHOSE)
    assert not about.endswith(".") and "\n" not in about


@pytest.mark.parametrize(("data", "model"), STEPS)
def test_those_of_advlatgan_are_its_released_configurations(data: str, model: str) -> None:
    made = resolved(f"{data}-{model}", reg=("advlatgan-qua",))
    assert (made.steps, made.batch, made.latent_shape) == (100_000, 128, (100,))
    optim = made.optim
    assert (optim.lr, optim.lr_discriminator, optim.decay) == (2e-4, None, "linear")
    assert (optim.beta1, optim.beta2) == (0.5 if model == "dcgan" else 0.0, 0.9)
    assert (optim.discriminator_steps, optim.generator_batch) == (1, 2)  # 256 latents
    assert made.mirror == (model != "sngan")
    losses = {
        "dcgan": ("non-saturating", 0.0, 0.0),
        "wgan": ("wgan", 0.1, 0.0),
        "wgangp": ("wgan-gp", 0.0, 10.0),
        "sngan": ("hinge", 0.0, 0.0),
    }
    settings = made.settings
    assert (made.loss.name, settings.clip, settings.gradient_penalty) == losses[model]
    assert made.arch == ("sngan" if model == "sngan" else "dcgan")
    qua = made.regularizers.qua
    assert qua is not None
    assert (qua.step, qua.steps, qua.radius) == (STEPS[data, model], 1, None)


def test_there_are_no_other_data_and_models() -> None:
    made = {tuple(name.split("-", 1)) for name in PRESETS if name.split("-")[0] in SIDES}
    assert made - set(STEPS) == {("mnist", "dcgan"), ("mnist", "wgangp"), ("msgan", "cdcgan")}


@pytest.mark.parametrize(
    ("name", "loss", "steps", "step"),
    [
        ("mnist-dcgan", "non-saturating", 20_000, 0.01),
        ("mnist-wgangp", "wgan-gp", 50_000, 0.005),
    ],
)
def test_on_mnist_latents_have_two_dimensions(
    name: str, loss: str, steps: int, step: float
) -> None:
    made = resolved(name, reg=("advlatgan-qua",))
    assert (made.loss.name, made.steps, made.batch) == (loss, steps, 128)
    assert (made.latent_shape, made.optim.lr) == ((2,), 2e-4)
    assert made.regularizers.qua is not None and made.regularizers.qua.step == step


def test_that_of_msgan_is_its_conditional_dcgan() -> None:
    made = resolved("msgan-cdcgan")
    assert made.conditional and made.loss.name == "non-saturating"
    assert (made.batch, made.latent_shape) == (32, (100,))
    assert made.steps == 200 * (50_000 // 32)  # epochs of CIFAR-10, without its last part of one
    optim = made.optim
    assert (optim.lr, optim.beta1, optim.beta2, optim.weight_decay) == (2e-4, 0.5, 0.999, 1e-4)
    assert made.generator.arguments["width"] == made.discriminator.arguments["width"] == 128
    assert made.regularizers.pair == ModeSeeking()
    assert resolved("msgan-cdcgan", reg=("advlatgan-div",)).regularizers.pair == AdvLatGANDiv()


@pytest.mark.parametrize("name", ["toy-ring", "toy-grid"])
def test_ring_and_grid_have_the_networks_of_advlatgan(name: str) -> None:
    made = resolved(name)
    assert (made.generator.network, made.discriminator.network) == ("mlp", "mlp_discriminator")
    assert made.latent_shape == (2,) and made.optim.ema == 0
    from ganaudit.networks import build

    for spec in (made.generator, made.discriminator):
        network: Any = build(spec.network, spec.arguments)
        sizes = [part.out_features for part in network.modules() if hasattr(part, "out_features")]
        assert sizes == [100, 200, 100, 2 if spec is made.generator else 1]


def test_nine_gaussians_are_realnessgans() -> None:
    made = resolved("toy-nine-gaussians")
    assert (made.steps, made.batch, made.latent_shape) == (500, 100, (128,))
    assert (made.optim.lr, made.optim.beta1, made.optim.beta2) == (1e-4, 0.8, 0.999)
    assert (made.optim.discriminator_steps, made.optim.generator_steps) == (1, 3)
    assert made.generator.arguments["widths"] == [400] * 4
    assert made.generator.arguments["batch_norm"] is True
    assert made.discriminator.arguments["widths"] == [200] * 3
    assert made.discriminator.arguments["pieces"] == 5


# Of stylegan2-ada-pytorch: pixels, GPUs and --batch to batch, its groups, fmaps, learning rate,
# gamma, and thousands of images of the average.
GUESSES = [
    (32, 1, None, (32, 4, 0.5, 0.0025, 0.0064, 10.0)),
    (256, 1, None, (16, 4, 0.5, 0.0025, 0.8192, 5.0)),
    (256, 2, None, (32, 4, 0.5, 0.0025, 0.4096, 10.0)),
    (512, 8, None, (64, 4, 1.0, 0.0025, 0.8192, 20.0)),
    (1024, 8, None, (32, 4, 1.0, 0.002, 6.5536, 10.0)),
    (256, 1, 2, (2, 2, 0.5, 0.0025, 6.5536, 0.625)),
]


@pytest.mark.parametrize(("size", "devices", "batch", "wanted"), GUESSES)
def test_auto_guesses_as_stylegan2_ada_does(
    size: int, devices: int, batch: int | None, wanted: tuple[float, ...]
) -> None:
    config = TrainConfig(data="x", preset="auto", devices=devices, batch=batch)
    made = resolve_recipe(config, image_shape=(3, size, size), num_labels=0)
    judge = made.discriminator.arguments
    found = (made.batch, judge["mbstd_group_size"], judge["channel_base"] / 32768)
    rates = (made.optim.lr, made.settings.r1, made.optim.ema_kimg)
    assert (*found, *rates) == pytest.approx(wanted)
    assert made.generator.arguments["channel_base"] == judge["channel_base"]
    assert made.generator.arguments["mapping_num_layers"] == 2 and made.optim.ema_rampup == 0.05
    assert (made.settings.r1_every, made.optim.beta1, made.optim.beta2) == (16, 0, 0.99)
    assert made.generator.arguments["conv_clamp"] == judge["conv_clamp"] == 256
    assert made.latent_shape == (512,) and made.steps == 25_000_000 // made.batch


def test_without_a_word_stylegan2_is_trained_as_guessed() -> None:
    shape: Any = {"image_shape": (3, 64, 64), "num_labels": 3}
    for arch in ("stylegan2", "cstylegan2"):
        said, guessed = (
            resolve_recipe(TrainConfig(data="x", arch=arch, preset=preset), **shape)
            for preset in (None, "auto")
        )
        assert said.optim == guessed.optim and said.settings == guessed.settings
    assert said.generator.arguments["c_dim"] == 3
    # The settings fit other widths; the styles are StyleGAN2's alone.
    other = resolve_recipe(TrainConfig(data="x", arch="dcgan", preset="auto"), **shape)
    assert other.styles is None and other.generator.arguments["width"] == 64


def test_the_paper_has_its_own_settings_at_256_pixels_and_adaptivemix_adds_its_release() -> None:
    made, mixed = resolved("paper256"), resolved("adaptivemix-paper256")
    judge = made.discriminator.arguments
    assert (made.batch, judge["mbstd_group_size"], judge["channel_base"]) == (64, 8, 16384)
    assert (made.optim.lr, made.settings.r1) == (0.0025, 1.0)
    assert (made.optim.ema_kimg, made.optim.ema_rampup) == (20.0, 0.0)
    assert made.generator.arguments["mapping_num_layers"] == 8
    assert made.regularizers.adaptivemix is None and not made.mirror
    assert mixed.regularizers.adaptivemix == AdaptiveMix.preset("release") and mixed.mirror
    plain = resolved("adaptivemix-paper256", reg=("none",), mirror=False)
    assert plain == made
    # Without its own preset the term is stable beside R1: cosine, within, detached.
    asked = resolved("paper256", reg=("adaptivemix",)).regularizers.adaptivemix
    assert asked == AdaptiveMix(distance="cosine", pairing="within", detach=True)
