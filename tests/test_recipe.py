"""What a request, a preset and the data say together: who wins, and what is refused."""

import json
import re
from dataclasses import replace
from typing import Any, cast

import pytest

from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.regularizers.adaptivemix import AdaptiveMix
from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv
from ganaudit.regularizers.mode_seeking import ModeSeeking
from ganaudit.training.architectures import NetworkSpec
from ganaudit.training.losses import LossSettings
from ganaudit.training.presets import PRESETS, Preset
from ganaudit.training.recipe import Optim, Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import make_state
from ganaudit.training.styles import Styles

PICTURES, POINTS = (3, 32, 32), (2,)
TINY = (NetworkSpec("mlp", {"latent_size": 2}), NetworkSpec("mlp_discriminator", {}))


def resolved(shape: tuple[int, ...] = PICTURES, labels: int = 0, **request: Any) -> Recipe:
    """Of a request for data of a shape."""
    config = TrainConfig(data="pictures", **request)
    return resolve_recipe(config, image_shape=shape, num_labels=labels)


def refused(shape: tuple[int, ...] = PICTURES, labels: int = 0, **request: Any) -> str:
    """The sentence that a request is refused with."""
    with pytest.raises(ConfigError) as caught:
        resolved(shape, labels, **request)
    return str(caught.value)


# Who wins


def test_without_a_word_pictures_get_a_dcgan() -> None:
    made = resolved()
    assert (made.arch, made.loss.name) == ("dcgan", "non-saturating")
    assert (made.batch, made.steps, made.latent_shape) == (64, 10_000, (128,))
    assert made.optim == Optim() and made.settings == LossSettings()
    assert all(value is None for value in vars(made.regularizers).values())
    assert (made.prior, made.mirror, made.precision, made.seed) == ("normal", False, "32", 0)
    assert not made.conditional


def test_without_a_word_points_get_the_smallest_networks() -> None:
    made = resolved(POINTS)
    assert (made.arch, made.latent_shape) == ("mlp", (2,))
    assert made.generator.arguments["image_shape"] == [2]


def test_networks_are_made_for_the_data() -> None:
    made = resolved((1, 64, 64), labels=7, arch="cdcgan", latent_size=33)
    assert made.conditional and made.latent_shape == (33,)
    assert {"channels": 1, "size": 64, "num_labels": 7}.items() <= made.generator.arguments.items()
    assert "latent_size" not in made.discriminator.arguments
    guessing = resolved((1, 64, 64), labels=7, arch="acgan")
    assert guessing.discriminator.arguments["num_classes"] == 7


@pytest.mark.parametrize(
    ("flag", "default", "preset", "said"),
    [
        ({"batch": 32}, 64, 128, 32),
        ({"steps": 77}, 10_000, 100_000, 77),
        ({"latent_size": 9}, 128, 100, 9),
        ({"loss": "hinge"}, "non-saturating", "wgan-gp", "hinge"),
        ({"arch": "sngan"}, "dcgan", "dcgan", "sngan"),
        ({"set": ("optim.beta2=0.99",)}, 0.999, 0.9, 0.99),
    ],
)
def test_a_flag_beats_the_preset_which_beats_the_default(
    flag: dict[str, Any], default: object, preset: object, said: object
) -> None:
    (name,) = flag

    def value(made: Recipe) -> object:
        if name == "latent_size":
            return made.latent_shape[0]
        if name == "loss":
            return made.loss.name
        return made.optim.beta2 if name == "set" else getattr(made, name)

    usual = "cifar10-dcgan" if name == "loss" else "cifar10-wgangp"
    assert value(resolved()) == default
    assert value(resolved(preset="cifar10-wgangp")) == preset
    assert value(resolved(preset=usual, **flag)) == said


def test_of_a_preset_the_rest_stays_when_one_value_is_said() -> None:
    usual = resolved(preset="cifar10-wgan")
    changed = resolved(preset="cifar10-wgan", set=("loss.clip=0.5", "optim.lr=1e-3"))
    assert usual.settings.clip == 0.1
    assert changed.settings == LossSettings(clip=0.5)
    assert changed.optim == replace(usual.optim, lr=1e-3)
    assert (changed.batch, changed.steps) == (usual.batch, usual.steps)


# Regularisers


def test_what_a_preset_says_of_a_regulariser_acts_where_it_is_asked_for() -> None:
    assert resolved(preset="cifar10-dcgan").regularizers.qua is None
    asked = resolved(preset="cifar10-dcgan", reg=("advlatgan-qua",)).regularizers.qua
    assert asked is not None and asked.step == 0.03
    mixed = resolved(preset="cifar10-dcgan", reg=("adaptivemix",))
    assert mixed.regularizers.qua is None
    assert mixed.regularizers.adaptivemix == AdaptiveMix()
    said = resolved(
        preset="cifar10-dcgan", reg=("advlatgan-qua",), set=("advlatgan-qua.steps=2",)
    ).regularizers.qua
    assert said is not None and (said.step, said.steps) == (0.03, 2)


def test_a_preset_may_ask_for_a_regulariser_and_another_takes_its_place() -> None:
    request: dict[str, Any] = {"labels": 10, "preset": "msgan-cdcgan"}
    assert resolved(**request).regularizers.pair == ModeSeeking()
    assert resolved(**request, reg=("advlatgan-div",)).regularizers.pair == AdvLatGANDiv()


def test_several_regularisers_are_one_text_or_many() -> None:
    names = ("adaptivemix", "advlatgan-qua", "mode-seeking", "diffaugment", "apa")
    one, many = resolved(reg=(", ".join(names),)), resolved(reg=names)
    assert one.regularizers == many.regularizers
    assert all(value is not None for value in vars(one.regularizers).values())


def test_a_regularisers_own_preset_is_its_release_and_what_is_said_beats_it() -> None:
    options = ("adaptivemix.distance=l1", "adaptivemix.preset=release")
    made = resolved(reg=("adaptivemix",), set=options).regularizers.adaptivemix
    assert made == replace(AdaptiveMix.preset("release"), distance="l1")
    pair = resolved(reg=("advlatgan-div",), set=("advlatgan-div.preset=release",))
    assert pair.regularizers.pair == AdvLatGANDiv.preset("release")


def test_a_regularisers_own_preset_takes_the_place_of_what_the_trainings_preset_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"adaptivemix.sigma": "0.5", "optim.lr": "0.01"}
    monkeypatch.setitem(
        cast(dict[str, Preset], PRESETS), "mine",
        replace(PRESETS["cifar10-sngan"], settings=settings),
    )  # fmt: skip
    request: dict[str, Any] = {"preset": "mine", "reg": ("adaptivemix",)}
    assert resolved(**request).regularizers.adaptivemix == AdaptiveMix(sigma=0.5)
    own = resolved(**request, set=("adaptivemix.preset=release",))
    assert own.regularizers.adaptivemix == AdaptiveMix.preset("release")
    assert own.optim.lr == 0.01  # the rest of it stands


# How long


@pytest.mark.parametrize(
    ("kimg", "batch", "judged", "steps"),
    [
        (6.4, 64, 1, 100),  # thousands of images over images of a step
        (6.4, 64, 5, 20),  # five steps of the discriminator show five batches
        (6.401, 64, 1, 101),  # at least as many as asked for
        (1e-6, 64, 1, 1),
        (9e8, 1, 1, 10**9),  # the most that there are
    ],
)
def test_thousands_of_images_are_so_many_steps(
    kimg: float, batch: int, judged: int, steps: int
) -> None:
    made = resolved(kimg=kimg, batch=batch, set=(f"optim.discriminator_steps={judged}",))
    assert made.steps == steps


def test_thousands_of_images_beat_the_steps_of_a_preset() -> None:
    assert resolved(preset="cifar10-dcgan", kimg=12.8).steps == 100


def test_a_linear_decay_ends_at_nothing() -> None:
    optim = Optim(lr=0.5, lr_discriminator=1.0, decay="linear")
    assert optim.rates(0, 8) == (0.5, 1.0)
    assert optim.rates(2, 8) == (0.375, 0.75)
    assert optim.rates(8, 8) == (0.0, 0.0)
    assert Optim(lr=0.5).rates(7, 8) == (0.5, 0.5)  # both have one rate, and no decay
    assert Optim(lr=0.5, lr_discriminator=0.0).rates(0, 8) == (0.5, 0.0)


def test_a_network_with_rare_penalties_has_slower_rates_and_shorter_moments() -> None:
    """k / (k + 1), for k + 1 updates come in the place of k."""
    said = ("optim.lr=0.5", "optim.lr_discriminator=0.25", "optim.beta1=0.3", "optim.beta2=0.9")
    made = resolved(arch="stylegan2", set=(*said, "styles.path_every=4", "loss.r1_every=16"))
    assert made.lazy == (4 / 5, 16 / 17)
    assert made.rates(0) == pytest.approx((0.5 * 4 / 5, 0.25 * 16 / 17))
    generator, discriminator = made.betas()
    assert generator == pytest.approx((0.3 ** (4 / 5), 0.9 ** (4 / 5)))
    assert discriminator == pytest.approx((0.3 ** (16 / 17), 0.9 ** (16 / 17)))
    optimizers = make_state(replace(made, generator=TINY[0], discriminator=TINY[1])).optimizers
    assert [one.param_groups[0]["betas"] for one in optimizers] == [generator, discriminator]


@pytest.mark.parametrize(
    ("request_", "lazy"),
    [
        ({"arch": "stylegan2", "set": ("styles.path_length=0",)}, (1, 16 / 17)),
        ({"arch": "stylegan2", "set": ("styles.path_every=1", "loss.r1_every=1")}, (1, 1)),
        ({"arch": "stylegan2", "set": ("loss.r1=0",)}, (4 / 5, 1)),
        ({"set": ("loss.r1=1", "loss.r1_every=4")}, (1, 4 / 5)),
        ({"set": ("loss.r1_every=4",)}, (1, 1)),
        ({"preset": "cifar10-dcgan"}, (1, 1)),
    ],
)
def test_without_rare_penalties_adam_is_as_it_was_said(
    request_: dict[str, Any], lazy: tuple[float, float]
) -> None:
    made = resolved(**request_)
    assert made.lazy == lazy
    if lazy == (1, 1):
        assert made.betas() == ((made.optim.beta1, made.optim.beta2),) * 2
        assert made.rates(3) == made.optim.rates(3, made.steps)


def test_the_weight_of_a_generator_halves_in_so_many_images() -> None:
    optim = Optim(ema_kimg=1, ema=0.3)
    left = 1.0
    for step in range(125):  # of 8 images
        left *= optim.kept(step, 8)
    assert left == pytest.approx(0.5)


def test_a_young_average_halves_in_a_share_of_the_images_shown() -> None:
    optim = Optim(ema_kimg=1, ema_rampup=0.05)
    assert optim.kept(0, 8) == 0  # nothing was shown: it is the network itself
    assert optim.kept(100, 8) == pytest.approx(0.5 ** (8 / (0.05 * 100 * 8)))
    assert optim.kept(10**6, 8) == Optim(ema_kimg=1).kept(10**6, 8) == 0.5 ** (8 / 1000)


def test_without_it_a_young_average_follows_closely() -> None:
    assert [Optim(ema=0.9).kept(step, 8) for step in (0, 5, 80, 10_000)] == [
        0.1, 6 / 15, 0.9, 0.9,
    ]  # fmt: skip


# Augmentations and mirrors


def test_an_augmentation_is_a_regulariser_with_a_flag_of_its_own() -> None:
    flag = resolved(augment=("ada", "apa")).regularizers
    assert flag == resolved(reg=("ada", "apa")).regularizers
    assert flag == resolved(augment=("ada,apa",)).regularizers
    both = resolved(reg=("adaptivemix",), augment=("ada",), set=("augment.p=0.2",)).regularizers
    assert both.by_name().keys() == {"adaptivemix", "ada"}
    assert both.strength is not None and both.strength.p == 0.2


def test_none_takes_what_a_preset_asks_for_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        cast(dict[str, Preset], PRESETS), "mine",
        replace(PRESETS["cifar10-dcgan"], reg=("adaptivemix", "ada"), mirror=True),
    )  # fmt: skip
    found = {
        given: resolved(preset="mine", **{flag: (name,) for flag, name in given}).regularizers
        for given in (
            (), (("reg", "none"),), (("augment", "none"),), (("augment", "apa"),),
            (("reg", "mode-seeking"),), (("reg", "none"), ("augment", "ada")),
        )
    }  # fmt: skip
    assert [{*one.by_name()} for one in found.values()] == [
        {"adaptivemix", "ada"}, set(), {"adaptivemix"}, {"adaptivemix", "apa"}, {"mode-seeking"},
        {"ada"},
    ]  # fmt: skip
    assert resolved(preset="mine").mirror and not resolved(preset="mine", mirror=False).mirror


def test_styles_are_stylegan2s_alone() -> None:
    assert resolved(arch="stylegan2").styles == Styles()
    assert resolved(arch="stylegan2", set=("styles.mixing=0",)).styles == Styles(mixing=0)
    assert resolved().styles is None and "styles" not in resolved().shown()


# As a document


def test_a_recipe_is_shown_as_json_with_everything_that_decides_a_step() -> None:
    made = resolved(
        preset="cifar10-wgan", reg=("advlatgan-qua",), seed=5, mirror=True, precision="bf16"
    )
    shown = json.loads(json.dumps(made.shown()))
    assert shown == made.shown()
    assert set(shown) == {
        "arch", "generator", "discriminator", "conditional", "loss", "regularizers", "optim",
        "batch", "parts", "steps", "prior", "mirror", "precision", "seed",
    }  # fmt: skip
    styled = resolved(arch="stylegan2", augment=("apa",)).shown()
    assert set(styled) - set(shown) == {"styles", "augment"}
    assert styled["styles"]["path_length"] == 2 and styled["augment"]["target"] == 0.6
    assert shown["loss"]["name"] == "wgan" and shown["loss"]["clip"] == 0.1
    (chosen,) = shown["regularizers"].values()
    assert chosen["step"] == 0.01
    assert shown["optim"]["decay"] == "linear"
    assert (shown["seed"], shown["mirror"], shown["precision"]) == (5, True, "bf16")


# What is refused


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (
            {"arch": "dcgam"},
            "--arch must be one of mlp, dcgan, sngan, cdcgan, acgan, stylegan2, cstylegan2; got "
            "'dcgam'; did you mean 'dcgan'?",
        ),
        (
            {"loss": "hing"},
            "--loss must be one of minimax, non-saturating, wgan, wgan-gp, wgan-div, lsgan, hinge; "
            "got 'hing'; did you mean 'hinge'?",
        ),
        (
            {"reg": ("adaptivemx",)},
            "--reg must be one of adaptivemix, advlatgan-qua, advlatgan-div, mode-seeking, "
            "diffaugment, ada, apa; got 'adaptivemx'; did you mean 'adaptivemix'?",
        ),
        ({"reg": ("adaptivemix,adaptivemix",)}, "--reg adaptivemix is given twice"),
        (
            {"reg": ("mode-seeking", "advlatgan-div")},
            "--reg advlatgan-div and --reg mode-seeking exclude each other: both say which pairs "
            "of latents are held apart",
        ),
        (
            {"reg": ("adaptivemix",), "set": ("advlatgan-qua.step=0.1",)},
            "--set advlatgan-qua.step belongs to --reg advlatgan-qua, which is not asked for",
        ),
        (
            {"set": ("adaptivemix.sigma=0",)},
            "--set adaptivemix.sigma belongs to --reg adaptivemix, which is not asked for",
        ),
        (
            {"reg": ("adaptivemix",), "set": ("adaptivemix.preset=paperr",)},
            "adaptivemix.preset must be paper or release, got 'paperr'",
        ),
        ({"set": ("optim.lr=1", "optim.lr=1")}, "--set optim.lr is given twice"),
        ({"set": ("optim.lr",)}, "got 'optim.lr'"),
        ({"set": ("optim=3",)}, "got 'optim=3'"),
        ({"set": ("lr=3",)}, "got 'lr=3'"),
        (
            {"set": ("optimiser.lr=3",)},
            "--set wants OWNER.KEY=VALUE, OWNER one of generator, discriminator, loss, optim, "
            "styles, descriptor, augment, adaptivemix, advlatgan-qua, advlatgan-div, mode-seeking, "
            "diffaugment, ada, apa; got 'optimiser.lr=3'",
        ),
        ({"set": ("optim.rate=3",)}, "optim has no option 'rate'"),
        ({"set": ("optim.lr=fast",)}, "lr must be a finite number, got 'fast'"),
        ({"set": ("optim.lr=nan",)}, "lr must be a finite number, got 'nan'"),
        ({"set": ("optim.decay=cosine",)}, "decay must be one of none, linear, got 'cosine'"),
        ({"set": ("optim.lr=-1",)}, "optim.lr must be in [0, 1], got -1"),
        ({"set": ("optim.lr=1.1",)}, "optim.lr must be in [0, 1], got 1.1"),
        (
            {"set": ("optim.lr_discriminator=2",)},
            "optim.lr_discriminator must be in [0, 1], got 2",
        ),
        ({"set": ("optim.beta1=1",)}, "optim.beta1 must be in [0, 0.9999], got 1"),
        ({"set": ("optim.beta2=1",)}, "optim.beta2 must be in [0, 0.999999], got 1"),
        ({"set": ("optim.weight_decay=2",)}, "optim.weight_decay must be in [0, 1], got 2"),
        ({"set": ("optim.ema=1",)}, "optim.ema must be in [0, 0.999999], got 1"),
        (
            {"set": ("optim.discriminator_steps=0",)},
            "optim.discriminator_steps must be in [1, 100], got 0",
        ),
        (
            {"set": ("optim.generator_batch=101",)},
            "optim.generator_batch must be in [1, 100], got 101",
        ),
        ({"set": ("loss.clip=0.1",)}, "--set loss.clip belongs to --loss wgan, not to non-sat"),
        (
            {"loss": "wgan", "set": ("loss.gradient_penalty=1",)},
            "--set loss.gradient_penalty belongs to --loss wgan-gp, not to wgan",
        ),
        (
            {"loss": "wgan-gp", "set": ("loss.r1=1",)},
            "--set loss.r1 belongs to --loss minimax or non-saturating or lsgan or hinge, not to "
            "wgan-gp",
        ),
        (
            {"loss": "wgan", "set": ("loss.clip=0",)},
            "--set loss.clip must be in [1e-06, 1000], got 0",
        ),
        (
            {"batch": 63, "devices": 2},
            "--batch 63 must be a multiple of --devices 2: it is shared out",
        ),
        ({"steps": 10**9 + 1}, "--steps must be at most 1,000,000,000, got 1,000,000,001"),
        (
            {"prior": "gauss"},
            "prior must be one of normal, uniform, truncated, spherical, got 'gauss'",
        ),
        (
            {"set": ("generator.size=64",)},
            "--set generator.size follows from the data; say --size",
        ),
        (
            {"set": ("discriminator.image_shape=2",)},
            "--set discriminator.image_shape follows from the data; leave it out",
        ),
        (
            {"set": ("styles.mixing=0",)},
            "--set styles.mixing belongs to StyleGAN2, not to --arch dcgan",
        ),
        (
            {"arch": "stylegan2", "set": ("styles.mixing=2",)},
            "styles.mixing must be in [0, 1], got 2",
        ),
        (
            {"set": ("augment.p=0.5",)},
            "--set augment.p belongs to --augment ada and apa, and neither is asked for",
        ),
        (
            {"augment": ("adda",)},
            "--augment must be one of ada, apa, diffaugment; got 'adda'; did you mean 'ada'?",
        ),
        (
            {"augment": ("ada", "diffaugment")},
            "--augment ada and --augment diffaugment exclude each other: both say how images are "
            "changed",
        ),
        (
            {"batch": 12, "devices": 2, "parts": 4},
            "--batch 12 must be a multiple of --devices 2 times --parts 4: every device takes its "
            "share in parts",
        ),
        ({"set": ("optim.ema_kimg=0",)}, "optim.ema_kimg must be in [0.001, 1000000.0], got 0"),
        ({"set": ("optim.freeze=-1",)}, "optim.freeze must be in [0, 1000], got -1"),
        ({"set": ("generator.depth=3",)}, "the generator dcgan has no option 'depth'"),
        ({"set": ("generator.width=0",)}, "width must be an integer in [1, 512], got 0"),
        (
            {"arch": "cdcgan"},
            "--arch cdcgan needs classes, and the data have none: say --labels folders or --labels "
            "FILE, or take --arch dcgan",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_sentence(request_: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(**request_)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    said = refused(preset="cifar-dcgan")
    assert said.startswith(f"--preset must be one of {', '.join(PRESETS)}; got 'cifar-dcgan'")
    assert said.endswith("; did you mean 'cifar10-dcgan'?")
    assert "did you mean" not in refused(preset="zzz")


def test_a_name_of_any_length_makes_a_sentence_that_can_be_read() -> None:
    assert len(refused(arch="x" * 4000)) < 300


@pytest.mark.parametrize("arch", ["dcgan", "sngan", "cdcgan", "acgan"])
def test_points_are_no_pictures(arch: str) -> None:
    said = refused(POINTS, labels=3, arch=arch)
    assert said == f"--arch {arch} makes images, and the data are points: say --arch mlp"


@pytest.mark.parametrize(
    ("arch", "shape", "sizes"),
    [
        ("dcgan", (3, 50, 50), "size must be 48 or a power of two from 8 to 256, got 50"),
        ("sngan", (3, 16, 16), "size must be one of 32, 48, 64, 128, got 16"),
        ("mlp", (3, 128, 128), "size must be an integer in [1, 64], got 128"),
    ],
)
def test_a_size_that_an_architecture_has_not_is_refused_with_those_it_has(
    arch: str, shape: tuple[int, ...], sizes: str
) -> None:
    remedy = "--size 32 --fit pad, crop or resize makes them fit"
    said = f"--arch {arch} cannot be made for these data: {sizes}; {remedy}"
    assert refused(shape, arch=arch) == said


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("lr", 0, 1),
        ("lr_discriminator", 0, 1),
        ("beta1", 0, 0.9999),
        ("beta2", 0, 0.999999),
        ("weight_decay", 0, 1),
        ("ema", 0, 0.999999),
        ("discriminator_steps", 1, 100),
        ("generator_steps", 1, 100),
        ("generator_batch", 1, 100),
        ("ema_kimg", 1e-3, 1e6),
        ("ema_rampup", 0, 100),
        ("freeze", 0, 1000),
    ],
)
def test_the_edges_of_every_range_of_the_optimizer_pass(name: str, low: float, high: float) -> None:
    for edge in (low, high):
        made: dict[str, Any] = {name: edge}
        assert getattr(Optim(**made), name) == edge
    for beyond in (low - 1, high + 1):
        made = {name: beyond}
        with pytest.raises(ConfigError, match=re.escape(f"optim.{name} must be in [{low}, ")):
            Optim(**made)
