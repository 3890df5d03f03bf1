"""Distances in torch-fidelity's Inception, with weights that nobody trained."""

import builtins
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Blind, Spoilt, Toy
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.errors import ConfigError, PluginError, UnsafeCheckpoint
from ganaudit.inception import FILE, Inception, available, compare, distances
from ganaudit.maker import Maker, Recipe
from ganaudit.slots import Stream

pytest.importorskip("torch_fidelity", reason="needs ganaudit[inception]")

from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that neither blow features up nor let them die, with batch norms that act."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({}, folder / "empty.pth")

    class Lenient(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
            return super().load_state_dict(state, strict=False)

    path = str(folder / "empty.pth")
    network = Lenient("x", ["2048"], feature_extractor_weights_path=path)
    drawn = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=drawn)
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=drawn)
            module.running_var.uniform_(0.9, 1.3, generator=drawn)
    torch.save(network.state_dict(), folder / FILE)
    return folder / FILE


@pytest.fixture(scope="module")
def inception(file: Path) -> Inception:
    return Inception(file, device="cpu")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch-fidelity would have put its weights; empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch-fidelity were not installed."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("torch_fidelity"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


# -- features ---------------------------------------------------------------------------------


def test_features_are_those_of_torch_fidelity(file: Path, inception: Inception) -> None:
    images = noise(2, 3, 20, 30)
    before = images.clone()
    theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(file))
    (wanted,) = theirs(images)
    rows = inception.features(images)
    assert rows.dtype == np.float32 and rows.shape == (2, 2048)
    assert torch.equal(images, before)
    np.testing.assert_array_equal(rows, wanted.numpy())
    assert 0.01 < rows.mean() < 100 and np.abs(rows[0] - rows[1]).max() > 0.01


def test_a_row_does_not_depend_on_its_batch(inception: Inception) -> None:
    """In training mode batch normalisation would mix them."""
    images = noise(3, 3, 8, 8)
    images[1] //= 4
    rows = inception.features(images)
    for image, row in zip(images, rows, strict=True):
        alone = inception.features(image[None])[0]
        np.testing.assert_allclose(alone, row, rtol=1e-3, atol=1e-4 * rows.max())
    assert np.abs(rows[0] - rows[1]).max() > 0.01 * rows.max()


def test_the_hash_is_that_of_the_file(file: Path, inception: Inception) -> None:
    assert inception.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


# -- weights ----------------------------------------------------------------------------------


def test_weights_are_those_named_or_those_in_the_cache(file: Path, cache: Path) -> None:
    assert available(None) is None
    assert available(file) == file
    (cache / FILE).symlink_to(file)
    assert available(None) == cache / FILE


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ConfigError, match="^no such file: .*; --inception names the weights"):
            available(path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_file_that_would_have_to_be_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"fc.weight": Evil()}, path)
    for action in (available, lambda path: Inception(path, device="cpu")):
        with pytest.raises(UnsafeCheckpoint, match="nothing of it was run"):
            action(path)
    assert not Path("ran").exists()


def test_weights_of_another_network_are_refused_before_anything_is_rendered(
    tmp_path: Path, cache: Path
) -> None:
    said = "must hold the weights of torch-fidelity's Inception: Conv2d_1a_3x3.conv.weight is miss"
    for path in (tmp_path / "other.pth", cache / FILE):
        torch.save({"a": torch.ones(1)}, path)
        with pytest.raises(ConfigError, match=said):
            available(path if path.name == "other.pth" else None)


@pytest.mark.usefixtures("absent")
def test_without_torch_fidelity_a_named_file_is_refused_and_a_cached_one_left(
    file: Path, cache: Path
) -> None:
    (cache / FILE).symlink_to(file)
    assert available(None) is None
    with pytest.raises(PluginError, match="needs the package torch-fidelity: pip install torch-f"):
        available(file)


# -- distances --------------------------------------------------------------------------------


def rows_of(count: int, width: int, *, seed: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Features as a network has them: not negative, correlated, of any length."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, width)) @ np.random.default_rng(9).normal(
        0, width**-0.5, (width, width)
    )
    return np.maximum(0, mixed + shift).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(300, 40), (30, 64)])
def test_the_frechet_distance_is_that_of_torch_fidelity(count: int, width: int) -> None:
    one, other = rows_of(count, width, seed=1), rows_of(count, width, seed=2, shift=0.3)
    both = (
        fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (one, other)
    )
    wanted = fid_statistics_to_metric(*both, False)["frechet_inception_distance"]
    assert wanted > 0.1
    assert distances(one, other)["frechet_distance"] == pytest.approx(wanted, rel=1e-4)


def test_the_kernel_distance_of_one_block_is_that_of_torch_fidelity() -> None:
    one, other = rows_of(60, 40, seed=1), rows_of(60, 40, seed=2, shift=0.3)
    theirs = kid_features_to_metric(
        *(torch.from_numpy(x.astype(np.float64)) for x in (one, other)),
        kid_subsets=1,
        kid_subset_size=60,
        verbose=False,
    )
    wanted = theirs["kernel_inception_distance_mean"]
    found = distances(one, other)["kernel_distance"]
    assert found == {"estimate": pytest.approx(wanted, rel=1e-9), "low": None, "high": None}


def test_the_kernel_distance_is_a_mean_over_blocks_with_their_spread() -> None:
    one, other = rows_of(800, 12, seed=1), rows_of(800, 12, seed=2, shift=0.1)
    blocks = zip(np.split(one, 16), np.split(other, 16), strict=True)
    values = [distances(*pair)["kernel_distance"]["estimate"] for pair in blocks]
    half = 2.131450 * np.std(values, ddof=1) / 4  # Student's t of 15 degrees
    wanted = {"estimate": np.mean(values)}
    wanted |= {"low": np.mean(values) - half, "high": np.mean(values) + half}
    assert distances(one, other)["kernel_distance"] == pytest.approx(wanted, rel=1e-5)


def test_equal_sets_are_at_no_distance_and_others_are() -> None:
    one = rows_of(400, 12, seed=1)
    scale = float(np.square(one).sum(axis=1).mean())
    assert distances(one, one.copy())["frechet_distance"] == pytest.approx(0, abs=1e-9 * scale)
    near, far = (distances(one, rows_of(400, 12, seed=2, shift=x)) for x in (0.0, 1.0))
    assert near["kernel_distance"]["low"] < 0 < near["kernel_distance"]["high"]
    assert far["kernel_distance"]["low"] > 0
    assert far["frechet_distance"] > 10 * near["frechet_distance"]


def test_as_many_rows_of_each_are_compared() -> None:
    one, other = rows_of(70, 12, seed=1), rows_of(90, 12, seed=2)
    assert distances(one, other) == distances(one, other[:70])
    assert distances(other, one) == distances(other[:70], one)
    assert distances(one, other)["rows"] == 70


@pytest.mark.parametrize(
    "spoilt",
    [
        rows_of(1, 12, seed=3),
        rows_of(9, 11, seed=3),
        rows_of(9, 12, seed=3).astype(np.float64),
        rows_of(9, 12, seed=3)[0],
        np.full((9, 12), np.nan, dtype=np.float32),
    ],
)
def test_what_are_no_features_is_refused(spoilt: NDArray[Any]) -> None:
    one = rows_of(9, 12, seed=1)
    for pair in ((one, spoilt), (spoilt, one)):
        with pytest.raises(ValueError, match="real|generated"):
            distances(*pair)


# -- a calibration ----------------------------------------------------------------------------


def maker(source: Any, *, seed: int, **changes: Any) -> Maker:
    usual: dict[str, Any] = {"device": "cpu", "batch": 2, "width": 16, "timeout_s": 60.0}
    return Maker(source, None, Recipe(seed=seed, **(usual | changes)))


class Bright(Toy):
    """In place of the toy behind a calibrator."""

    def render(self, draws: Any) -> Tensor:
        return super().render(draws) // 2 + 128


@pytest.fixture
def makers() -> Iterator[list[Maker]]:
    made = [maker(Toy(), seed=1), maker(Toy(), seed=2), maker(Bright(), seed=2)]
    yield made
    for one in made:
        one.close()


def compared(makers: list[Maker], weights: Path | None, **changes: Any) -> Any:
    fit, before, after = makers
    usual: dict[str, Any] = {"slots": 3, "device": "cpu", "batch": 2}
    return compare(weights=weights, makers=(fit, before, after), **(usual | changes))


def test_samples_behind_a_calibrator_and_without_it_are_held_against_those_of_the_fit(
    file: Path, inception: Inception, makers: list[Maker]
) -> None:
    told: list[tuple[str, int, int]] = []
    found = compared(makers, file, progress=lambda *now: told.append(now))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    fit, before, after = (
        inception.features(torch.stack([x for _, x in one.images(Stream.SAMPLES, np.arange(3))]))
        for one in makers
    )
    for name, side in (("to_uncalibrated", after), ("noise", before)):
        wanted = distances(fit, side)
        assert found[name]["frechet_distance"] == pytest.approx(
            wanted["frechet_distance"], rel=1e-3
        )
        assert found[name]["kernel_distance"]["estimate"] == pytest.approx(
            wanted["kernel_distance"]["estimate"], rel=1e-3
        )
        assert found[name]["rows"] == 3
    assert found["weights_sha256"] == inception.sha256 and found["slots"] == 3
    assert found["to_uncalibrated"]["frechet_distance"] > found["noise"]["frechet_distance"]
    assert [now for now in told if now[0] == "inception after"] == [
        ("inception after", 2, 3),
        ("inception after", 3, 3),
        ("inception after", 3, 3),
    ]


def test_slots_without_an_image_are_left_out_on_every_side(file: Path, makers: list[Maker]) -> None:
    def grey(images: Tensor, bad: Tensor) -> Tensor:
        images[bad] = 7
        return images

    makers[1] = maker(Spoilt({1}, grey), seed=2)
    found = compared(makers, file)
    assert (found["noise"]["rows"], found["to_uncalibrated"]["rows"], found["slots"]) == (2, 2, 3)


def test_images_of_a_collection_may_have_any_size(file: Path, inception: Inception) -> None:
    sizes = (8, 8, 5)
    pixels = [[noise(3, n, n) // part for n in sizes] for part in (1, 3)]  # as it is, and behind

    def collection(images: list[Tensor]) -> Maker:
        def answer(draws: Any, _: Tensor) -> Iterator[tuple[int, Tensor]]:
            yield from ((item, images[item]) for item in draws.index.tolist())

        source = Blind(answer)
        source.size = 3
        return maker(source, seed=1, batch=3, order=np.array([1, 2, 0]))

    made = [collection(images) for images in (pixels[0], pixels[0], pixels[1])]
    found = compared(made, file, batch=3)
    for one in made:
        one.close()
    own, other = (np.concatenate([inception.features(x[None]) for x in side]) for side in pixels)
    assert found["noise"]["frechet_distance"] == pytest.approx(0, abs=1e-5)
    wanted = distances(own, other)["frechet_distance"]
    assert found["to_uncalibrated"]["frechet_distance"] == pytest.approx(wanted, rel=1e-3)


def test_images_that_cannot_be_had_again_give_nothing(file: Path, makers: list[Maker]) -> None:
    def untouched(*_: Any) -> Iterator[Any]:
        raise AssertionError("it was asked")

    service = maker(Blind(untouched), seed=2)
    assert compared([makers[0], makers[1], service], file) is None
    assert compared(makers, None) is None
    assert compared(makers, file, slots=1) is None
