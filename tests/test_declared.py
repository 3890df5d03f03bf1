"""What was declared about a network, by whom, and what stands in the report for it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ganaudit_plugins.generators.declared import DeclaredGenerator, declare, metadata

from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, SourceError
from ganaudit.pipeline import diagnose
from ganaudit.slots import Draws, Stream, draw

USUAL = {"prior": "uniform", "latent_shape": [4, 2], "range": [-1, 1], "layout": "NCHW"}


def draws(source: Any, count: int = 5, labels: int = 0) -> Draws:
    return draw(
        np.arange(count),
        seed=3,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape,
        prior=source.prior,
        labels=np.arange(labels) if labels else None,
    )


def test_the_users_word_goes_before_the_others_and_each_is_named() -> None:
    found = declare("it", {"prior": "normal", "range": None}, USUAL, by="the file's metadata")
    assert (found.prior, found.latent_shape, found.value_range) == ("normal", (4, 2), (-1.0, 1.0))
    assert found.assumptions() == (
        "Latents are drawn from the normal prior, as --set says.",
        "Images are laid out NCHW, as the file's metadata says.",
        "The value -1 is black, 1 is white, as the file's metadata says.",
    )
    assert found.identity() == {"prior": "normal", "range": [-1.0, 1.0], "layout": "NCHW"}


def test_everything_that_changes_an_image_is_in_the_identity() -> None:
    more = {"latent_scale": 0.5, "num_labels": 3}
    found = declare("it", more, USUAL, by="x")
    assert found.identity().items() >= more.items()
    assert "Latents are multiplied by 0.5, as --set says." in found.assumptions()
    assert "There are 3 classes, as --set says." in found.assumptions()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("prior", None, r"it declares no prior \(normal, .*\); .* so say --set prior="),
        ("prior", "cauchy", "it: prior must be one of normal"),
        ("latent_shape", None, "it declares no latent_shape; say --set latent_shape=100"),
        ("latent_shape", [], "latent_shape must be positive whole numbers"),
        ("latent_shape", [3, 0], "latent_shape must be positive whole numbers"),
        ("latent_shape", [True], "latent_shape must be positive whole numbers"),
        ("latent_shape", [2**11, 2**10], "of product at most 1048576"),
        ("latent_shape", "100", "latent_shape must be positive whole numbers"),
        ("latent_scale", 0, "latent_scale must be a positive number, got 0"),
        ("latent_scale", float("inf"), "latent_scale must be a positive number, got inf"),
        ("range", [1, -1], "range must go from black up to white"),
        ("range", [0, 1, 2], "range must go from black up to white"),
        ("range", ["a", "b"], "range must go from black up to white"),
        ("range", [0, float("nan")], "range must go from black up to white"),
        ("layout", "HWC", "layout must be NCHW or NHWC, got 'HWC'"),
        ("num_labels", -1, "num_labels must be in"),
        ("num_labels", 2.0, "num_labels must be in"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declare("it", {}, USUAL | {key: value}, by="the file")


@pytest.mark.parametrize("text", ["{", "[]", '{"priors": "normal"}', "9" * 70_000, "[" * 5000])
def test_metadata_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="it: its ganaudit metadata"):
        metadata("it", text)


def test_metadata_is_optional() -> None:
    assert metadata("it", None) == metadata("it", "") == {}
    assert metadata("it", json.dumps(USUAL)) == USUAL


def made(function: Callable[..., object], **more: object) -> DeclaredGenerator:
    return DeclaredGenerator(function, declare("it", {}, USUAL | more, by="it"), identity={"a": 1})


def picture(latents: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """[N, 3, 6, 5] in [-1, 1] from latents [N, 4, 2]."""
    flat = latents.flatten(1).repeat(1, 12)[:, :90].view(-1, 3, 6, 5)
    return flat if labels is None else flat * (labels % 2 * 2 - 1)[:, None, None, None]


def test_latents_are_scaled_and_labels_reach_the_function() -> None:
    source = made(picture, latent_scale=0.5, num_labels=4)
    given = draws(source, labels=4)
    level = (picture(given.latents * 0.5, given.labels) + 1) * 127.5
    assert float((source.render(given).float() - level).abs().max()) <= 0.5 + 1e-4
    assert source.num_labels == 4 and source.identity["a"] == 1


def test_the_first_images_contradict_a_range_and_later_ones_do_not_stop_a_run() -> None:
    source = made(picture, range=[0, 1])
    with pytest.raises(ConfigError, match="outside the declared range 0,1"):
        source.render(draws(source))
    gain = {"now": 1.0}
    source = made(lambda latents, labels: picture(latents, labels) * gain["now"])
    source.render(draws(source))
    gain["now"] = 9.0
    assert source.render(draws(source)).dtype == torch.uint8
    assert source.warnings == []


def test_a_range_that_does_not_fit_stops_the_run_with_exit_2(
    config: Callable[..., DiagnoseConfig],
) -> None:
    with pytest.raises(ConfigError, match="outside the declared range 0,1") as caught:
        diagnose(config(descriptor="digits"), source=made(picture, range=[0, 1]))
    assert caught.value.exit_code == 2
    assert not config().out.exists()


@pytest.mark.usefixtures("undrawn")
def test_doubts_and_assumptions_stand_in_the_report(config: Callable[..., DiagnoseConfig]) -> None:
    source = made(lambda latents, labels: picture(latents, labels).abs(), num_labels=3)
    report = diagnose(config(descriptor="digits"), source=source).report
    assert any("the upper half of the declared range" in text for text in report["warnings"])
    assert "Latents are drawn from the uniform prior, as it says." in report["assumptions"]
    assert any("Labels are drawn uniformly from 3" in text for text in report["assumptions"])


def test_floating_point_without_a_range_and_no_tensor_are_refused() -> None:
    source = DeclaredGenerator(
        picture, declare("it", {}, USUAL | {"range": None}, by="it"), identity={}
    )
    with pytest.raises(ConfigError, match="declares no range; .* --set range=-1,1"):
        source.render(draws(source))
    with pytest.raises(SourceError, match="must return a tensor, got list"):
        made(lambda latents, labels: [latents]).render(draws(source))
