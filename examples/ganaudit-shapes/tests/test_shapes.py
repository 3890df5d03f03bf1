"""The contract, and what the plugins promise beyond it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.registry import open_plugin
from ganaudit.slots import Draws, Stream, draw
from ganaudit.tally import angular_distance
from ganaudit.testing import check_plugin

COUNT = 500


def opened(**options: str) -> Any:
    """The generator."""
    return open_plugin("generators", "shapes", options)[0]


def draws(stream: Stream = Stream.SAMPLES) -> Draws:
    """Of random identities in random poses."""
    return draw(
        np.arange(COUNT),
        seed=0,
        stream=stream,
        latent_shape=(7,),
        prior="uniform",
        labels=np.arange(6),
    )


def rows(drawn: Draws, **options: str) -> NDArray[np.float32]:
    """Of the pictures."""
    descriptor = open_plugin("descriptors", "shape", {})[0]
    found, valid = descriptor.embed(opened(**options).render(drawn))
    assert bool(valid.all())
    return np.asarray(found.numpy())


def test_both_plugins_keep_their_contract() -> None:
    """With and without options; the descriptor also on what it is made for."""
    check_plugin("generators", "shapes")
    check_plugin("generators", "shapes", {"collapse": "0.5", "side": "21"})
    check_plugin("descriptors", "shape")
    check_plugin("descriptors", "shape", images=opened().render(draws()[:20]))


def test_theta_and_radius_are_where_the_card_says() -> None:
    """Equal errors at theta, and one false match in a thousand at the radius."""
    card = open_plugin("descriptors", "shape", {})[0].card
    one, other = draws(), draws(Stream.ANCHORS)
    assert one.latents is not None
    assert other.latents is not None
    posed = torch.cat([one.latents[:, :2], other.latents[:, 2:]], 1)  # the hues, another pose
    first, second = rows(one), rows(replace(one, latents=posed))
    same = angular_distance(first, second)
    different = angular_distance(first[:, None], rows(other)[None])
    assert (same > card.theta).mean() <= 0.004  # .0007 was measured
    assert (same > card.theta * 2 / 3).mean() >= 0.004  # .01 was
    assert 0.0005 < (different <= card.radius).mean() < 0.002


def test_a_collapse_shows_one_identity_to_its_share_of_latents() -> None:
    """Whatever the label, and in no picture twice."""
    drawn = draws()
    assert drawn.latents is not None
    embedded = rows(drawn, collapse="0.2")
    chosen = (drawn.latents[:, 6] < -0.6).numpy()  # a fifth of U(-1, 1)
    radius = open_plugin("descriptors", "shape", {})[0].card.radius
    near = angular_distance(embedded[chosen][:1], embedded) <= radius
    assert near[chosen].all()
    assert near[~chosen].mean() < 0.01
    pictures = opened(collapse="0.2").render(drawn)[torch.from_numpy(chosen)]
    assert len(pictures.unique(dim=0)) == len(pictures)


def test_a_picture_of_nothing_is_not_valid() -> None:
    """Even noise stands out, an even ground does not."""
    descriptor = open_plugin("descriptors", "shape", {})[0]
    ground = torch.full((2, 3, 9, 9), 200, dtype=torch.uint8)
    ground[1, :, 4, 4] = 0
    assert descriptor.embed(ground)[1].tolist() == [False, True]


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("shapes:file", {}, "shapes opens no file, got 'file'"),
        ("shapes", {"collapse": "1.5"}, r"collapse must be a share in \[0, 1\], got 1.5"),
        ("shapes", {"side": "8"}, "side must be 16 to 512 pixels, got 8"),
        ("shapes", {"colapse": "1"}, "did you mean 'collapse'?"),
    ],
)
def test_what_cannot_be_is_refused(spec: str, options: dict[str, str], message: str) -> None:
    """In one sentence each."""
    with pytest.raises(ConfigError, match=message):
        open_plugin("generators", spec, options)


def test_the_descriptor_opens_no_file() -> None:
    """It has no weights."""
    with pytest.raises(ConfigError, match="shape opens no file, got 'weights'"):
        open_plugin("descriptors", "shape:weights", {})
