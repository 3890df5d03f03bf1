"""Pairs of networks by name: what they get from the data, and what is refused."""

import inspect
from typing import Any

import pytest

from ganaudit import networks
from ganaudit.errors import ConfigError
from ganaudit.training.architectures import ARCHITECTURES, NetworkSpec, network_specs


def specs(arch: str = "dcgan", **changes: Any) -> tuple[NetworkSpec, NetworkSpec]:
    usual: dict[str, Any] = {
        "image_shape": (1, 32, 32), "num_labels": 3, "latent_size": 4,
        "generator": {}, "discriminator": {},
    }  # fmt: skip
    return network_specs(arch, **(usual | changes))


OF_IMAGES = {"channels": 1, "size": 32, "width": 64}
STYLED = {"img_channels": 1, "img_resolution": 32}
MADE: dict[str, tuple[NetworkSpec, NetworkSpec]] = {
    "mlp": (
        NetworkSpec("mlp", {"latent_size": 4, "image_shape": [1, 32, 32]}),
        NetworkSpec("mlp_discriminator", {"image_shape": [1, 32, 32]}),
    ),
    "dcgan": (
        NetworkSpec("dcgan", {"latent_size": 4, **OF_IMAGES}),
        NetworkSpec("dcgan_discriminator", OF_IMAGES),
    ),
    "sngan": (
        NetworkSpec("sngan", {"latent_size": 4, **OF_IMAGES}),
        NetworkSpec("sngan_discriminator", OF_IMAGES),
    ),
    "cdcgan": (
        NetworkSpec("cdcgan", {"latent_size": 4, "num_labels": 3, **OF_IMAGES}),
        NetworkSpec("cdcgan_discriminator", {"num_labels": 3, **OF_IMAGES}),
    ),
    "acgan": (
        NetworkSpec("cdcgan", {"latent_size": 4, "num_labels": 3, **OF_IMAGES}),
        NetworkSpec("acgan_discriminator", {"num_classes": 3, **OF_IMAGES}),
    ),
    "stylegan2": (
        NetworkSpec("stylegan2", {"z_dim": 4, "w_dim": 4, "c_dim": 0, **STYLED}),
        NetworkSpec("stylegan2_discriminator", {"c_dim": 0, **STYLED}),
    ),
    "cstylegan2": (
        NetworkSpec("stylegan2", {"z_dim": 4, "w_dim": 4, "c_dim": 3, **STYLED}),
        NetworkSpec("stylegan2_discriminator", {"c_dim": 3, **STYLED}),
    ),
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_architecture_is_fitted_to_the_data(arch: str) -> None:
    assert specs(arch) == MADE[arch]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_conditional_is_what_takes_labels(arch: str) -> None:
    """Of ACGAN's pair the generator alone does; StyleGAN2's are told of 0 classes, or of some."""
    takes = [
        spec.arguments.get("num_labels", spec.arguments.get("c_dim", 0)) == 3
        for spec in specs(arch)
    ]
    conditional = ARCHITECTURES[arch].conditional
    assert takes == [conditional, conditional and arch != "acgan"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_has_styles_is_stylegan2(arch: str) -> None:
    pair = ARCHITECTURES[arch]
    assert pair.has_styles == (pair.generator == "stylegan2")
    assert pair.latent_size in specs(arch)[0].arguments


def test_the_styles_are_as_long_as_the_latent_unless_it_is_said() -> None:
    generator, _ = specs("stylegan2", latent_size=6)
    assert (generator.arguments["z_dim"], generator.arguments["w_dim"]) == (6, 6)
    generator, _ = specs("stylegan2", latent_size=6, generator={"w_dim": "9"})
    assert (generator.arguments["z_dim"], generator.arguments["w_dim"]) == (6, 9)


def test_points_have_networks_of_their_own() -> None:
    generator, discriminator = specs("mlp", image_shape=(2,), num_labels=0)
    assert generator.arguments == {"image_shape": [2], "latent_size": 4}
    assert discriminator.arguments == {"image_shape": [2]}


def test_widths_are_given_as_a_list() -> None:
    generator, discriminator = specs(
        "mlp", image_shape=(2,), generator={"widths": "5,6", "batch_norm": "true"},
        discriminator={"widths": "7", "pieces": "2"},
    )  # fmt: skip
    assert generator.arguments == {
        "image_shape": [2], "latent_size": 4, "widths": [5, 6], "batch_norm": True,
    }  # fmt: skip
    assert discriminator.arguments == {"image_shape": [2], "widths": [7], "pieces": 2}


def test_what_is_said_of_one_network_is_not_said_of_the_other() -> None:
    generator, discriminator = specs(generator={"width": "8"})
    assert (generator.arguments["width"], discriminator.arguments["width"]) == (8, 64)


def test_nothing_is_allocated() -> None:
    """8.6 thousand million weights in one layer alone."""
    generator, _ = specs(image_shape=(3, 256, 256), generator={"width": "512"})
    assert generator.arguments["width"] == 512


OTHER_SIZE = "; --size 32 --fit pad, crop or resize makes them fit"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown one": (
        {"arch": "dcgann"},
        "--arch must be one of mlp, dcgan, sngan, cdcgan, acgan, stylegan2, cstylegan2; got "
        "'dcgann'; did you mean 'dcgan'?",
    ),
    "one like no other": (
        {"arch": "zzz"},
        "--arch must be one of mlp, dcgan, sngan, cdcgan, acgan, stylegan2, cstylegan2; got 'zzz'",
    ),
    "images of another size": (
        {"image_shape": (1, 28, 28)},
        "--arch dcgan cannot be made for these data: size must be 48 or a power of two from 8 to "
        "256, got 28" + OTHER_SIZE,
    ),
    "large images": (
        {"image_shape": (3, 512, 512)},
        "--arch dcgan cannot be made for these data: size must be an integer in [8, 256], got 512"
        + OTHER_SIZE,
    ),
    "a size of its own": (
        {"arch": "sngan", "image_shape": (3, 16, 16)},
        "--arch sngan cannot be made for these data: size must be one of 32, 48, 64, 128, got 16"
        + OTHER_SIZE,
    ),
    "images of many pixels, fully connected": (
        {"arch": "mlp", "image_shape": (1, 128, 128)},
        "--arch mlp cannot be made for these data: size must be an integer in [1, 64], got 128"
        + OTHER_SIZE,
    ),
    "points": (
        {"image_shape": (2,)},
        "--arch dcgan makes images, and the data are points: say --arch mlp",
    ),
    "images that are no squares": (
        {"image_shape": (1, 32, 48)},
        "the networks make square images, and the data are 32 x 48: say --size 32 --fit pad, crop "
        "or resize",
    ),
    "no classes": (
        {"arch": "acgan", "num_labels": 0},
        "--arch acgan needs classes, and the data have none: say --labels folders or --labels "
        "FILE, or take --arch dcgan",
    ),
    "no classes for styles": (
        {"arch": "cstylegan2", "num_labels": 0},
        "--arch cstylegan2 needs classes, and the data have none: say --labels folders or --labels "
        "FILE, or take --arch stylegan2",
    ),
    "images that no styles make": (
        {"arch": "stylegan2", "image_shape": (3, 48, 48)},
        "--arch stylegan2 cannot be made for these data: img_resolution must be a power of two "
        "from 4 to 2048, got 48" + OTHER_SIZE,
    ),
    "many classes": (
        {"arch": "cdcgan", "num_labels": 1001},
        "--arch cdcgan cannot be made for these data: num_labels must be an integer in [2, 1000], "
        "got 1001; --arch dcgan is told no classes",
    ),
    "a long latent": (
        {"latent_size": 5000},
        "--latent-size: latent_size must be an integer in [1, 4096], got 5000",
    ),
    "an unknown key": (
        {"generator": {"widht": "3"}},
        "the generator dcgan has no option 'widht'; did you mean 'width'?",
    ),
    "a key of another network": (
        {"arch": "sngan", "discriminator": {"normalisation": "batch"}},
        "the discriminator sngan_discriminator has no option 'normalisation'; there are channels, "
        "size, width",
    ),
    "no number": ({"generator": {"width": "wide"}}, "width must be a whole number, got 'wide'"),
    "too wide": (
        {"discriminator": {"width": "9999"}},
        "--set discriminator.width: width must be an integer in [1, 512], got 9999",
    ),
    "no width": (
        {"arch": "mlp", "generator": {"widths": "5,0"}},
        "--set generator.widths: widths must be an integer in [1, 4096], got 0",
    ),
    "an unknown norm": (
        {"discriminator": {"normalisation": "layer"}},
        "normalisation must be one of none, batch, spectral, got 'layer'",
    ),
    "a spread without head": (
        {"discriminator": {"spread": "true", "head": "mean"}},
        "--set discriminator.spread: spread must be true or false, and false with head mean: True",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_one_sentence(what: str) -> None:
    changes, sentence = REFUSED[what]
    with pytest.raises(ConfigError) as refused:
        specs(**changes)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("role", ["generator", "discriminator"])
@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("size", "say --size"),
        ("channels", "say --channels"),
        ("latent_size", "say --latent-size"),
        ("num_labels", "say --labels"),
        ("num_classes", "say --labels"),
        ("image_shape", "leave it out"),
        ("img_resolution", "say --size"),
        ("img_channels", "say --channels"),
        ("z_dim", "say --latent-size"),
        ("c_dim", "say --labels"),
    ],
)
def test_what_the_data_decide_is_not_set(role: str, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        specs("cdcgan", **{role: {key: "2"}})
    assert str(refused.value) == f"--set {role}.{key} follows from the data; {remedy}"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_argument_that_the_data_decide_is_known_as_such(arch: str) -> None:
    """All that is left can be set by hand, or a network could never be made."""
    by_hand = {"width", "widths", "batch_norm", "pieces", "normalisation", "spread", "head"}
    for spec in specs(arch):
        if ARCHITECTURES[arch].has_styles:  # the program that they are of has dozens
            parameters = inspect.signature(networks.network_class(spec.network)).parameters
            assert spec.arguments.keys() - {"w_dim"} == {
                key for key, one in parameters.items() if one.default is one.empty
            } - {"w_dim"}
            by_hand |= parameters.keys() - spec.arguments.keys() | {"w_dim"}
        for key in set(inspect.signature(networks.network_class(spec.network)).parameters):
            if key not in by_hand:
                with pytest.raises(ConfigError, match=f"generator.{key} follows from the data"):
                    specs(arch, generator={key: "2"})
