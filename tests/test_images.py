import io
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganaudit import images
from ganaudit.errors import ConfigError, SourceError
from ganaudit.images import (
    check_images,
    check_range,
    content_hashes,
    encode_picture,
    picture_suffix,
    read_image,
    single_colour,
    to_rgb,
)


def random_bytes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


# Quantising


def test_floating_point_is_quantised_to_the_nearest_of_256_levels() -> None:
    values = [-1.0, -0.999, -0.5, 0.0, 0.1, 0.5, 0.997, 1.0]
    native = torch.tensor(values).view(1, 1, 4, 2).expand(1, 3, 4, 2)
    found = to_rgb(native, value_range=(-1, 1))
    assert found.dtype == torch.uint8 and found.shape == (1, 3, 4, 2)
    # (v + 1) * 127.5: 0, .1275, 63.75, 127.5 (half to even), 140.25, 191.25, 254.6175, 255
    assert found[0, 1].flatten().tolist() == [0, 0, 64, 128, 140, 191, 255, 255]


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (0, 255), (1, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_survives_its_own_range(value_range: tuple[float, float], dtype) -> None:
    black, white = value_range
    levels = torch.arange(256, dtype=torch.float64)
    native = (black + levels / 255 * (white - black)).to(dtype).view(1, 1, 16, 16)
    found = to_rgb(native, value_range=value_range)
    assert found[0, 2].flatten().tolist() == list(range(256))


def test_values_outside_the_range_are_clipped() -> None:
    native = torch.tensor([-7.0, -1.01, 1.01, 99.0]).view(1, 1, 2, 2)
    assert to_rgb(native, value_range=(-1, 1))[0, 0].flatten().tolist() == [0, 0, 255, 255]


def test_half_precision_is_quantised_like_its_float32_values() -> None:
    native = torch.linspace(-1, 1, 60).view(1, 3, 4, 5)
    for dtype in (torch.float16, torch.bfloat16):
        rough = native.to(dtype)
        assert torch.equal(
            to_rgb(rough, value_range=(-1, 1)), to_rgb(rough.float(), value_range=(-1, 1))
        )


def test_uint8_passes_unchanged_whatever_the_range() -> None:
    native = random_bytes(2, 3, 5, 7)
    for value_range in (None, (-1, 1)):
        assert torch.equal(to_rgb(native, value_range=value_range), native)


def test_the_native_images_are_not_written_to() -> None:
    native = torch.linspace(-2, 2, 40).view(1, 4, 2, 5)
    before = native.clone()
    to_rgb(native, value_range=(-1, 1))
    assert torch.equal(native, before)


# Channels and layout


def test_grey_is_repeated() -> None:
    native = random_bytes(2, 1, 5, 7)
    found = to_rgb(native)
    assert found.shape == (2, 3, 5, 7) and found.is_contiguous()
    assert all(torch.equal(found[:, c], native[:, 0]) for c in range(3))


def test_alpha_is_composited_on_white() -> None:
    alphas = [0, 255, 128, 1]
    native = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    native[0, :3] = torch.tensor([10, 100, 200]).view(3, 1, 1)
    native[0, 3] = torch.tensor(alphas).view(2, 2)
    found = to_rgb(native)
    for c, colour in enumerate((10, 100, 200)):
        wanted = [round(colour * a / 255 + 255 * (1 - a / 255)) for a in alphas]
        assert found[0, c].flatten().tolist() == wanted
    assert found[0, :, 0, 0].tolist() == [255] * 3 and found[0, :, 0, 1].tolist() == [10, 100, 200]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_found_where_they_can_stand(channels: int) -> None:
    first = random_bytes(2, channels, 6, 8)
    last = first.permute(0, 2, 3, 1)
    wanted = to_rgb(first, layout="NCHW")
    assert wanted.shape == (2, 3, 6, 8)
    assert torch.equal(to_rgb(first), wanted)
    assert torch.equal(to_rgb(last), wanted)
    assert torch.equal(to_rgb(last, layout="NHWC"), wanted)
    assert to_rgb(last).is_contiguous()


def test_a_shape_that_may_be_either_needs_the_layout_said() -> None:
    native = random_bytes(2, 3, 6, 3)
    with pytest.raises(SourceError, match=r"\[2, 3, 6, 3\] may be NCHW or NHWC; say --set layout"):
        to_rgb(native)
    assert torch.equal(to_rgb(native, layout="NCHW"), native)
    assert torch.equal(to_rgb(native, layout="NHWC"), native.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ((2, 5, 6, 7), None, r"must be \[N, C, H, W\] or \[N, H, W, C\] with 1, 3 or 4 channels"),
        ((2, 2, 6, 7), "NCHW", r"must be NCHW with 1, 3 or 4 channels, got shape \[2, 2, 6, 7\]"),
        ((2, 3, 6, 7), "NHWC", r"must be NHWC with 1, 3 or 4 channels, got shape \[2, 3, 6, 7\]"),
        ((3, 6, 7), None, r"must have 4 dimensions, got shape \[3, 6, 7\]"),
        ((1, 1, 3, 6, 7), None, r"must have 4 dimensions, got shape \[1, 1, 3, 6, 7\]"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], layout, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        to_rgb(random_bytes(*shape), layout=layout)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int64, torch.bool])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(SourceError, match=f"must be uint8 or floating point, got {dtype}"):
        to_rgb(torch.zeros(1, 3, 5, 5, dtype=dtype), value_range=(0, 1))


def test_floating_point_without_a_range_is_refused_with_the_remedy() -> None:
    with pytest.raises(SourceError, match=r"which values are black and white.*--set range=-1,1"):
        to_rgb(torch.zeros(1, 3, 5, 5))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channel", [0, 3])
def test_nan_and_infinity_are_refused(bad: float, channel: int) -> None:
    native = torch.zeros(2, 4, 5, 5)
    native[1, channel, 4, 4] = bad
    with pytest.raises(SourceError, match="the image holds NaN or infinite values"):
        to_rgb(native, value_range=(-1, 1))


# The convention


def test_images_of_the_convention_pass_as_they_are() -> None:
    good = random_bytes(2, 3, 1, 9)
    assert check_images(good, 2) is good


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 3, 4, 4), dtype=np.uint8), "images must be a torch tensor, got ndarray"),
        (None, "images must be a torch tensor, got NoneType"),
        (torch.zeros(2, 3, 4, 4), r"uint8 \[2, 3, H, W\], got torch.float32 \[2, 3, 4, 4\]"),
        (random_bytes(1, 3, 4, 4), r"uint8 \[2, 3, H, W\], got torch.uint8 \[1, 3, 4, 4\]"),
        (random_bytes(2, 1, 4, 4), r"uint8 \[2, 3, H, W\], got torch.uint8 \[2, 1, 4, 4\]"),
        (random_bytes(2, 3, 4), r"uint8 \[2, 3, H, W\], got torch.uint8 \[2, 3, 4\]"),
        (random_bytes(2, 3, 0, 4), r"images must have pixels, got \[2, 3, 0, 4\]"),
        (random_bytes(2, 3, 4, 0), r"images must have pixels, got \[2, 3, 4, 0\]"),
    ],
)
def test_what_breaks_the_convention_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        check_images(wrong, 2)
    assert caught.value.exit_code == 3


def test_a_single_colour_is_told_from_an_image() -> None:
    picture = torch.zeros(5, 3, 4, 6, dtype=torch.uint8)
    picture[1] = torch.tensor([9, 99, 200], dtype=torch.uint8).view(3, 1, 1)  # plain, not grey
    picture[2, 2, 3, 5] = 1  # one value of one pixel differs
    picture[3] = torch.arange(4, dtype=torch.uint8).view(1, 4, 1)
    picture[4, 0, :, :] = 255
    assert single_colour(picture).tolist() == [True, True, False, False, True]
    assert single_colour(random_bytes(2, 3, 1, 1)).tolist() == [True, True]


# Hashes


def test_equal_images_and_only_they_have_equal_hashes() -> None:
    picture = random_bytes(6, 3, 4, 6)
    picture[3] = picture[1]
    picture[4] = picture[1]
    picture[4, 2, 3, 5] ^= 1
    found = content_hashes(picture)
    assert found.shape == (6, 16) and found.dtype == np.uint8
    same = (found[:, None] == found[None]).all(2)
    wanted = np.eye(6, dtype=bool)
    wanted[1, 3] = wanted[3, 1] = True
    np.testing.assert_array_equal(same, wanted)


def test_a_hash_depends_on_the_image_alone() -> None:
    picture = random_bytes(4, 3, 4, 6)
    together = content_hashes(picture)
    for i in range(4):
        np.testing.assert_array_equal(content_hashes(picture[i : i + 1])[0], together[i])
    turned = picture.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # other strides
    np.testing.assert_array_equal(content_hashes(turned), together)


def test_the_same_bytes_in_another_size_are_another_image() -> None:
    flat = random_bytes(1, 3, 2, 8)
    found = [content_hashes(flat.view(1, 3, h, 16 // h))[0].tobytes() for h in (1, 2, 4, 16)]
    assert len(set(found)) == 4


def test_no_images_have_no_hashes() -> None:
    assert content_hashes(random_bytes(0, 3, 2, 2)).shape == (0, 16)


# Pictures of a report


def decoded(data: bytes) -> np.ndarray:
    """[H, W, 3] of an RGB file."""
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "RGB"
        return np.array(picture)


def smooth(height: int, width: int) -> torch.Tensor:
    """uint8 [3, height, width], which grows in red to the right and in green downwards."""
    across = torch.linspace(0, 255, width).expand(height, width)
    down = torch.linspace(0, 255, height)[:, None].expand(height, width)
    return torch.stack([across, down, torch.full((height, width), 90.0)]).round().to(torch.uint8)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (16, 16), (64, 64), (7, 64), (64, 3), (1, 50)])
def test_a_small_picture_is_exact(size: tuple[int, int]) -> None:
    image = random_bytes(3, *size)
    data = encode_picture(image)
    assert picture_suffix(data) == ".png" and data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decoded(data), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((65, 65), (65, 65)),
        ((128, 128), (128, 128)),
        ((64, 65), (64, 65)),
        ((129, 129), (128, 128)),
        ((1024, 1024), (128, 128)),
        ((512, 256), (128, 64)),
        ((100, 400), (32, 128)),
        ((3000, 2), (128, 1)),
        ((1, 2000), (1, 128)),
    ],
)
def test_a_large_picture_is_scaled_to_128_pixels_and_keeps_its_shape(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = smooth(*size)
    data = encode_picture(image)
    assert picture_suffix(data) == ".jpg" and data.startswith(b"\xff\xd8\xff")
    found = decoded(data).astype(int)
    assert found.shape == (*shown, 3)
    assert len(data) < 2**16
    if min(shown) > 8:  # it shows what it showed: corners and middle, within JPEG's error
        rows, columns = (np.array([0, side // 2, side - 1]) for side in shown)
        high, wide = (np.linspace(0, 255, side) for side in shown)
        assert np.abs(found[rows][:, columns, 0] - wide[columns]).max() < 16
        assert np.abs(found[rows][:, columns, 1] - high[rows, None]).max() < 16


@pytest.mark.parametrize("size", [(30, 40), (300, 200)])
def test_the_same_picture_gives_the_same_bytes_and_another_does_not(size: tuple[int, int]) -> None:
    image = random_bytes(3, *size)
    before = image.clone()
    turned = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # other strides
    assert encode_picture(image) == encode_picture(image.clone()) == encode_picture(turned)
    assert torch.equal(image, before)
    assert encode_picture(255 - image) != encode_picture(image)


# Files


def saved(folder: Path, picture: Image.Image, name: str = "picture.png", **options) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def test_a_picture_is_read_as_its_pixels(tmp_path: Path) -> None:
    pixels = random_bytes(5, 7, 3).numpy()
    found = read_image(saved(tmp_path, Image.fromarray(pixels)))
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), pixels.transpose(2, 0, 1))


def test_three_pixels_wide_is_no_confusion(tmp_path: Path) -> None:
    pixels = random_bytes(3, 3, 3).numpy()
    found = read_image(saved(tmp_path, Image.fromarray(pixels)))
    np.testing.assert_array_equal(found.numpy(), pixels.transpose(2, 0, 1))


def test_grey_palette_and_one_bit_pictures_become_rgb(tmp_path: Path) -> None:
    grey = random_bytes(5, 7).numpy()
    found = read_image(saved(tmp_path, Image.fromarray(grey))).numpy()
    np.testing.assert_array_equal(found, np.stack([grey] * 3))
    bits = Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8)).convert("1")
    found = read_image(saved(tmp_path, bits)).numpy()
    np.testing.assert_array_equal(found, np.stack([np.where(grey > 99, 255, 0)] * 3))
    palette = Image.fromarray(grey % 4)
    palette.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9, 250, 251, 252])
    assert palette.mode == "P"
    colours = np.array([[1, 2, 3], [40, 50, 60], [7, 8, 9], [250, 251, 252]])
    found = read_image(saved(tmp_path, palette)).numpy()
    np.testing.assert_array_equal(found, colours[grey % 4].transpose(2, 0, 1))


def test_transparency_of_every_kind_shows_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 2), (10, 20, 30, 0))
    clear.putpixel((1, 1), (10, 20, 30, 255))
    wanted = np.full((3, 2, 4), 255)
    wanted[:, 1, 1] = 10, 20, 30
    np.testing.assert_array_equal(read_image(saved(tmp_path, clear)).numpy(), wanted)

    grey = Image.new("LA", (4, 2), (10, 0))
    grey.putpixel((1, 1), (10, 255))
    wanted[:, 1, 1] = 10
    np.testing.assert_array_equal(read_image(saved(tmp_path, grey)).numpy(), wanted)

    palette = Image.new("P", (4, 2), 0)
    palette.putpalette([1, 2, 3, 10, 10, 10])
    palette.putpixel((1, 1), 1)
    found = read_image(saved(tmp_path, palette, transparency=0))
    np.testing.assert_array_equal(found.numpy(), wanted)

    keyed = Image.new("RGB", (4, 2), (7, 8, 9))  # one colour is declared transparent
    keyed.putpixel((1, 1), (10, 10, 10))
    found = read_image(saved(tmp_path, keyed, transparency=(7, 8, 9)))
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(path)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "name"), [("I;16", "p.png"), ("CMYK", "p.tiff"), ("F", "p.tiff"), ("LAB", "p.tiff")]
)
def test_other_modes_are_refused_with_the_remedy(mode: str, name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new(mode, (4, 4)), name)
    with pytest.raises(SourceError, match=f"8-bit grey or RGB wanted, got mode {mode}; convert"):
        read_image(path)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, Image.new("RGB", (5, 4)))
    monkeypatch.setattr(images, "MAX_PIXELS", 20)
    assert read_image(path).shape == (3, 4, 5)
    monkeypatch.setattr(images, "MAX_PIXELS", 19)
    with pytest.raises(SourceError, match="5 x 4 pixels exceed 19"):
        read_image(path)


def test_the_allowance_itself_raises_no_warning_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # 20 are more than it likes, 21 it refuses
    path = saved(tmp_path, Image.new("RGB", (5, 5)))
    with pytest.raises(SourceError, match="cannot be read as a picture"):
        read_image(path)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    whole = saved(tmp_path, Image.fromarray(random_bytes(64, 64, 3).numpy()), "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:2000])
    for path in (text, cut, tmp_path / "absent.png", tmp_path):
        with pytest.raises(SourceError, match=f"{path} cannot be read as a picture"):
            read_image(path)


# -- a declared range against what comes ------------------------------------------------------


def test_values_in_the_declared_range_pass_and_a_little_outside_is_usual() -> None:
    values = torch.linspace(-1, 1, 1000).view(2, 5, 10, 10)
    assert check_range(values, (-1, 1)) is None
    far = torch.zeros(1000)
    far[:100] = 1.2  # a tenth of the values, a tenth of the range outside
    far[-100:] = -1
    assert check_range(far, (-1, 1)) is None
    far[100] = 1.2
    with pytest.raises(
        ConfigError, match=r"10% of them outside the declared range -1,1; .* range="
    ):
        check_range(far, (-1, 1))
    assert check_range(far.clamp(max=1.09), (-1, 1)) is None  # a twentieth of the range is 0.1


@pytest.mark.parametrize(
    ("low", "high", "declared"),
    [(-1, 1, (0, 1)), (0, 255, (-1, 1)), (0, 255, (0, 1)), (-1, 1, (0, 255)), (0, 1, (0, 255))],
)
def test_a_wrong_range_stops_and_says_what_came(
    low: float, high: float, declared: tuple[float, float]
) -> None:
    values = low + (high - low) * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        ConfigError, match=f"from {float(values.min()):.4g} to {float(values.max()):.4g}"
    ):
        check_range(values, declared)


def test_an_unused_half_of_the_range_is_said() -> None:
    values = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert "the upper half of the declared range -1,1 alone is used" in check_range(values, (-1, 1))
    assert "the lower half" in check_range(-values, (-1, 1))
    assert check_range(values - 0.5, (-1, 1)) is None


def test_one_value_and_nan_are_left_to_others() -> None:
    assert check_range(torch.full((2, 3), float("nan")), (0, 1)) is None
    assert check_range(torch.tensor([0.0, float("inf"), 1.0]), (0, 1)) is None
    assert check_range(torch.zeros(4), (-1, 1)) is not None  # a single colour is no narrow range


# -- hostile and unusual files ----------------------------------------------------------------


def test_a_picture_that_would_start_another_program_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gs"
    program.write_text("#!/bin/sh\ntouch started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_text(eps)
    with pytest.raises(SourceError, match="x.png cannot be read as a picture"):
        read_image(tmp_path / "x.png")
    assert not Path("started").exists()


def test_a_photograph_stands_as_its_exif_says(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    found = read_image(tmp_path / "a.jpg")
    assert found.shape == (3, 16, 8)
    assert int(found[:, :7].min()) > 200 and int(found[:, 9:].max()) < 60  # white above
