import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from PIL import Image

from ganaudit.descriptors import (
    Descriptor,
    DescriptorCard,
    Preprocessing,
    check_rows,
    unit_rows,
)
from ganaudit.errors import ConfigError, DescriptorError

PLAIN: Mapping[str, tuple[float, ...]] = {"mean": (0.0,), "std": (1.0,)}


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


# Preprocessing


def test_one_pixel_is_normalised_as_by_hand() -> None:
    steps = Preprocessing(size=(1, 1), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    image = torch.tensor([51, 102, 255], dtype=torch.uint8).view(1, 3, 1, 1)  # .2, .4, 1
    found = steps.apply(image)
    assert found.dtype == torch.float32 and found.shape == (1, 3, 1, 1)
    wanted = [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-6)


def test_one_mean_and_std_serve_all_channels() -> None:
    found = Preprocessing(size=(4, 5), mean=(0.5,), std=(0.25,)).apply(random_images(2, 3, 4, 5))
    pixels = random_images(2, 3, 4, 5).float().numpy()
    np.testing.assert_allclose(found.numpy(), (pixels / 255 - 0.5) / 0.25, atol=1e-6)


def test_bgr_swaps_channels_that_were_normalised_as_rgb() -> None:
    options = {"size": (2, 3), "mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 4.0)}
    images = random_images(2, 3, 2, 3)
    rgb = Preprocessing(**options).apply(images)
    bgr = Preprocessing(**options, colour="bgr").apply(images)
    assert torch.equal(bgr, rgb[:, [2, 1, 0]])
    assert not torch.equal(bgr, rgb)


def test_grey_is_the_luma_of_bt_601_in_one_channel() -> None:
    steps = Preprocessing(size=(1, 3), mean=(0.5,), std=(0.5,), colour="grey")
    images = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    found = steps.apply(images.T.reshape(1, 3, 1, 3))  # a red, a green and a blue pixel
    assert found.shape == (1, 1, 1, 3)
    wanted = [(w - 0.5) / 0.5 for w in (0.299, 0.587, 0.114)]
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("size", [(7, 9), (30, 41), (17, 9), (3, 40)])
@pytest.mark.parametrize(
    ("resize", "filter_"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_smooth_resizing_is_that_of_pillow_up_to_its_rounding(
    size: tuple[int, int], resize, filter_: Image.Resampling
) -> None:
    images = 70 + random_images(2, 3, 17, 23) // 2  # Pillow clips between its two passes
    found = Preprocessing(size=size, **PLAIN, resize=resize).apply(images) * 255
    assert found.shape == (2, 3, *size)
    for image, got in zip(images, found, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        wanted = np.array(picture.resize((size[1], size[0]), filter_)).transpose(2, 0, 1)
        assert np.abs(got.numpy() - wanted).max() <= 1.6  # Pillow rounds after each pass


@pytest.mark.parametrize("size", [(7, 9), (30, 41), (17, 9), (3, 40)])
def test_the_nearest_pixel_is_that_under_the_centre(size: tuple[int, int]) -> None:
    images = random_images(2, 3, 17, 23)
    found = Preprocessing(size=size, **PLAIN, resize="nearest").apply(images) * 255
    rows = [(2 * i + 1) * 17 // (2 * size[0]) for i in range(size[0])]
    columns = [(2 * i + 1) * 23 // (2 * size[1]) for i in range(size[1])]
    np.testing.assert_allclose(found.numpy(), images.numpy()[:, :, rows][..., columns], atol=1e-3)


def test_what_has_the_size_already_is_not_resampled() -> None:
    images = random_images(2, 3, 6, 8)
    found = Preprocessing(size=(6, 8), **PLAIN).apply(images)
    assert torch.equal(found, images.float() / 255)


def test_overshoot_of_the_cubic_filter_stays_within_black_and_white() -> None:
    edge = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 255
    found = Preprocessing(size=(32, 32), **PLAIN).apply(edge)
    assert float(found.min()) == 0 and float(found.max()) == 1


def test_an_image_does_not_depend_on_its_batch() -> None:
    steps = Preprocessing(size=(5, 6), mean=(0.5,), std=(0.5,), colour="grey")
    images = random_images(4, 3, 11, 13)
    together = steps.apply(images)
    for i in range(4):
        alone = steps.apply(images[i : i + 1])[0]
        np.testing.assert_allclose(alone.numpy(), together[i].numpy(), atol=1e-6)


def test_images_are_not_written_to() -> None:
    images = random_images(2, 3, 6, 8)
    before = images.clone()
    for colour in ("rgb", "bgr", "grey"):
        for size in ((6, 8), (3, 3)):
            Preprocessing(size=size, **PLAIN, colour=colour).apply(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mean": (0.1, 0.2)}, "descriptor.mean wants 1 or 3 values, got 2"),
        ({"std": ()}, "descriptor.std wants 1 or 3 values, got 0"),
        ({"colour": "grey", "mean": (0.1, 0.2, 0.3)}, "descriptor.mean wants 1 values, got 3"),
        ({"std": (1.0, 0.0, 1.0)}, "descriptor.std must be positive"),
        ({"std": (-1.0,)}, "descriptor.std must be positive"),
        ({"std": (math.nan,)}, "descriptor.std must be positive"),
        ({"size": (0, 4)}, "descriptor.size must be 1 to 8192 pixels"),
        ({"size": (4, 8193)}, "descriptor.size must be 1 to 8192 pixels"),
        ({"size": (4,)}, "descriptor.size must be 1 to 8192 pixels"),
        ({"resize": "lanczos"}, "descriptor.resize must be nearest, bilinear, bicubic, got 'lanc"),
        ({"colour": "cmyk"}, "descriptor.colour must be rgb, bgr, grey, got 'cmyk'"),
    ],
)
def test_impossible_steps_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**({"size": (4, 4), "mean": (0.5,), "std": (0.5,)} | wrong))


# Cards


def test_the_identity_of_a_card_is_what_decides_a_row() -> None:
    steps = Preprocessing(size=(4, 5), mean=(0.5,), std=(0.25,), colour="grey")
    card = DescriptorCard(
        name="onnx", weights_sha256="ab", preprocessing=steps, theta=0.4, radius=0.2, licence="MIT"
    )
    identity = card.identity()
    assert json.loads(json.dumps(identity)) == {
        "name": "onnx",
        "sha256": "ab",
        "preprocessing": {
            "size": [4, 5],
            "mean": [0.5],
            "std": [0.25],
            "resize": "bicubic",
            "colour": "grey",
        },
    }
    assert DescriptorCard(name="x", weights_sha256="cd").identity()["preprocessing"] is None


def test_a_descriptor_is_known_by_its_shape() -> None:
    class Mine:
        card = DescriptorCard(name="mine", weights_sha256="")

        def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    assert isinstance(Mine(), Descriptor)
    assert not isinstance(object(), Descriptor)


# Rows


def test_rows_are_divided_by_their_length() -> None:
    raw = torch.tensor([[3.0, 4.0], [0.0, -2.0], [-5.0, 12.0]])
    wanted = [[0.6, 0.8], [0, -1], [-5 / 13, 12 / 13]]
    np.testing.assert_allclose(unit_rows(raw).numpy(), wanted, rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1, 1e20, 1e37])
def test_rows_of_any_length_become_unit_rows(scale: float) -> None:
    raw = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 33))) * scale
    for dtype in (torch.float32, torch.float64):
        found = unit_rows(raw.to(dtype))
        assert found.dtype == torch.float32
        lengths = np.linalg.norm(found.numpy().astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-6)
        direction = (found.double() * raw).sum(1) / raw.norm(dim=1)
        np.testing.assert_allclose(direction.numpy(), 1, atol=1e-6)


def test_no_rows_stay_no_rows() -> None:
    assert unit_rows(torch.empty(0, 5)).shape == (0, 5)


@pytest.mark.parametrize(
    ("value", "what"),
    [(0.0, "zero"), (math.nan, "not finite"), (math.inf, "not finite"), (-math.inf, "not finite")],
)
def test_a_row_without_direction_is_refused(value: float, what: str) -> None:
    raw = torch.ones(5, 3)
    raw[[1, 3]] = value
    with pytest.raises(DescriptorError, match=rf"a row that is {what} \(2 of 5\)") as caught:
        unit_rows(raw)
    assert caught.value.exit_code == 2


def test_one_nan_in_a_row_is_enough() -> None:
    raw = torch.ones(5, 3)
    raw[4, 2] = math.nan
    with pytest.raises(DescriptorError, match=r"not finite \(1 of 5\)"):
        unit_rows(raw)


def test_rows_that_keep_the_contract_pass() -> None:
    valid = torch.tensor([True, False, True])
    check_rows(torch.tensor([[1.0, 0], [math.nan, 7], [0, 1.0009]]), valid, 3)
    check_rows(torch.empty(0, 4), torch.empty(0, dtype=torch.bool), 0)
    check_rows(torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool), 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.eye(3), r"must return float32 \[2, D\], got torch.float32 \[3, 3\]"),
        (torch.ones(2), r"must return float32 \[2, D\], got torch.float32 \[2\]"),
        (torch.eye(2).double(), r"must return float32 \[2, D\], got torch.float64 \[2, 2\]"),
        (torch.tensor([[1.0, 0], [0, 0]]), "zero, NaN or not of length 1"),
        (torch.tensor([[1.0, 0], [0, math.nan]]), "zero, NaN or not of length 1"),
        (torch.tensor([[1.0, 0], [0, 1.002]]), "zero, NaN or not of length 1"),
        (torch.tensor([[1.0, 0], [0, 0.998]]), "zero, NaN or not of length 1"),
    ],
)
def test_rows_that_break_the_contract_are_refused(rows: torch.Tensor, message: str) -> None:
    with pytest.raises(DescriptorError, match=message):
        check_rows(rows, torch.tensor([True, True]), 2)


@pytest.mark.parametrize(
    "valid", [torch.tensor([True]), torch.tensor([1, 1]), torch.ones(2, 1, dtype=torch.bool)]
)
def test_a_mask_that_is_none_is_refused(valid: torch.Tensor) -> None:
    with pytest.raises(DescriptorError, match=r"must return valid as bool \[2\], got torch"):
        check_rows(torch.eye(2), valid, 2)
