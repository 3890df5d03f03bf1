"""The one image convention: uint8 RGB [N, 3, H, W], what a customer of the generator would see."""

import warnings
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.errors import ConfigError, SourceError

Layout = Literal["NCHW", "NHWC"]
HASH_BYTES = 16
GREY_LEVELS = 1  # by which an image may differ from itself: cuDNN picks kernels by batch size
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_WIRE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**26  # of one image read from a file: 8192 x 8192
PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"}
)
_OUTSIDE, _OUTSIDE_SHARE = 0.05, 0.1  # of a range: how far, and how many values may be so far
_NARROW = 1 / 16  # of a range that values at least span
_EXACT_SIDE, _PICTURE_SIDE = 64, 128  # of pictures in reports


def to_rgb(
    images: torch.Tensor,
    *,
    value_range: tuple[float, float] | None = None,
    layout: Layout | None = None,
) -> torch.Tensor:
    """A generator's native output as uint8 RGB.

    Args:
      images: [N, C, H, W] (or [N, H, W, C]) with C = 1, 3 or 4; uint8, or floating point in
        `value_range`, where it is quantised to the nearest of 256 levels and clipped. Grey is
        repeated, alpha composited on white.
      value_range: the values of black and white; needed for floating point, unused for uint8.
      layout: where the channels stand; None: where 1, 3 or 4 of them can stand, if that is
        one place only.

    Returns:
      uint8 [N, 3, H, W] on the device of `images`.

    Raises:
      SourceError: wrong rank, channels, dtype or layout, no value range, NaN or infinity.
    """
    if images.ndim != 4:
        raise SourceError(f"images must have 4 dimensions, got shape {list(images.shape)}")
    if _layout_of(images, layout) == "NHWC":
        images = images.permute(0, 3, 1, 2)
    images = _quantise(images, value_range)
    channels = images.shape[1]
    if channels == 4:
        alpha = images[:, 3:].to(torch.float32) / 255
        colour = images[:, :3].to(torch.float32) * alpha + 255 * (1 - alpha)
        images = colour.round().to(torch.uint8)
    return images.expand(-1, 3, -1, -1).contiguous() if channels == 1 else images.contiguous()


def _layout_of(images: torch.Tensor, layout: Layout | None) -> Layout:
    first, last = images.shape[1] in (1, 3, 4), images.shape[3] in (1, 3, 4)
    if layout == "NCHW" and first or layout is None and first and not last:
        return "NCHW"
    if layout == "NHWC" and last or layout is None and last and not first:
        return "NHWC"
    shape = list(images.shape)
    if layout is None and first:
        raise SourceError(f"images of shape {shape} may be NCHW or NHWC; say --set layout=NCHW")
    wanted = "[N, C, H, W] or [N, H, W, C]" if layout is None else layout
    raise SourceError(f"images must be {wanted} with 1, 3 or 4 channels, got shape {shape}")


def _quantise(images: torch.Tensor, value_range: tuple[float, float] | None) -> torch.Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise SourceError(f"images must be uint8 or floating point, got {images.dtype}")
    if value_range is None:
        raise SourceError(
            "images are floating point and nobody said which values are black and white; "
            "say for instance --set range=-1,1"
        )
    if not bool(torch.isfinite(images).all()):
        raise SourceError("the image holds NaN or infinite values")
    black, white = value_range
    levels = (images.to(torch.float32) - black) * (255 / (white - black))
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def check_range(images: torch.Tensor, value_range: tuple[float, float]) -> str | None:
    """Hold a generator's first images against the range that was declared for them.

    A little beyond the range is usual (a StyleGAN's output has no bound, and is clipped).

    Args:
      images: floating point, any shape.
      value_range: the values of black and white.

    Returns:
      A sentence if the values leave half of the range unused, else None.

    Raises:
      ConfigError: more than a tenth of the values lie more than a twentieth of the range outside,
        or all of them span less than a sixteenth of it.
    """
    values = images.detach()[torch.isfinite(images)].to(torch.float32)
    if not len(values):
        return None
    black, white = value_range
    low, high = float(values.min()), float(values.max())
    span, found = white - black, f"the values of the first images go from {low:.4g} to {high:.4g}"
    far = (values < black - _OUTSIDE * span) | (values > white + _OUTSIDE * span)
    share = int(far.sum()) / len(values)
    if share > _OUTSIDE_SHARE or 0 < high - low < _NARROW * span:
        raise ConfigError(
            f"{found}, {share:.0%} of them outside the declared range {black:g},{white:g}; say "
            "which values are black and white: --set range=BLACK,WHITE"
        )
    middle = (black + white) / 2
    if low >= middle or high <= middle:
        half = "upper" if low >= middle else "lower"
        return f"{found}: the {half} half of the declared range {black:g},{white:g} alone is used"
    return None


def check_images(images: object, count: int) -> torch.Tensor:
    """`images` if they are uint8 [count, 3, H, W], else a SourceError that says what came."""
    if not isinstance(images, torch.Tensor):
        raise SourceError(f"images must be a torch tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[:2] != (count, 3):
        raise SourceError(
            f"images must be uint8 [{count}, 3, H, W], got {images.dtype} {list(images.shape)}"
        )
    if 0 in images.shape[2:]:
        raise SourceError(f"images must have pixels, got {list(images.shape)}")
    return images


def single_colour(images: torch.Tensor) -> torch.Tensor:
    """[N] bool: every pixel of the uint8 [N, 3, H, W] image is the same colour."""
    pixels = images.flatten(2)  # [N, 3, H*W]
    if pixels.device.type == "cpu":  # NumPy wakes no pool of threads for so little
        values = pixels.numpy()
        return torch.from_numpy((values == values[:, :, :1]).all(axis=(1, 2)))
    return (pixels == pixels[:, :, :1]).flatten(1).all(1)


def content_hashes(images: torch.Tensor) -> NDArray[np.uint8]:
    """[N, 16] uint8 BLAKE2b of each image's size and bytes: equal exactly for equal images."""
    pixels = images.cpu().numpy()
    size = np.array(pixels.shape[2:], dtype="<i8").tobytes()
    digests = b"".join(
        blake2b(image.tobytes(), digest_size=HASH_BYTES, key=size).digest() for image in pixels
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(pixels), HASH_BYTES)


def encode_picture(image: torch.Tensor) -> bytes:
    """A picture for a report.

    Args:
      image: uint8 [3, H, W]; larger than 128 pixels a side it is scaled down.

    Returns:
      A PNG file, exact, up to 64 pixels a side; else JPEG. The same image gives the same bytes.
    """
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    buffer = BytesIO()
    if max(picture.size) <= _EXACT_SIDE:
        picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def picture_suffix(data: bytes) -> str:
    """Of a file with what `encode_picture` gave."""
    return ".png" if data.startswith(b"\x89PNG") else ".jpg"


class DamagedImage(SourceError):
    """The bytes are no whole picture of a kind that is read."""


def read_image(file: Path | BytesIO, *, what: str | None = None) -> torch.Tensor:
    """uint8 [3, H, W] of a picture file, upright as its EXIF says; the first frame of an animation.

    Formats whose reading would start another program (EPS) are none.

    Args:
      file: its path, or its content.
      what: it is, for messages; None: its path.

    Raises:
      SourceError: too large, 16 bits a channel, or CMYK.
      DamagedImage: not a picture, or not all of one.
    """
    return _decoded(file, str(file) if what is None else what, _FORMATS)


def decode_image(data: bytes, *, what: str) -> torch.Tensor:
    """uint8 [3, H, W] of a PNG, JPEG or WebP file that came over the wire, as `read_image`.

    Args:
      data: the file.
      what: it is, for messages.

    Raises:
      SourceError: too large, 16 bits a channel, or CMYK; told by its header alone.
      DamagedImage: not such a picture, or not all of one.
    """
    return _decoded(BytesIO(data), what, _WIRE_FORMATS)


def _decoded(file: Path | BytesIO, what: str, formats: tuple[str, ...]) -> torch.Tensor:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(file, formats=formats) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise SourceError(f"{what}: {width} x {height} pixels exceed {MAX_PIXELS}")
            if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                raise SourceError(
                    f"{what}: 8-bit grey or RGB wanted, got mode {picture.mode}; convert it first"
                )
            opaque = picture.mode in ("1", "L", "RGB") and "transparency" not in picture.info
            upright = ImageOps.exif_transpose(picture)
            pixels = np.array(upright.convert("RGB" if opaque else "RGBA"))
    except SourceError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds over a damaged file
        kind = SourceError if isinstance(error, Image.DecompressionBombError) else DamagedImage
        raise kind(f"{what} cannot be read as a picture: {error}") from error
    return to_rgb(torch.from_numpy(pixels)[None], layout="NHWC")[0]
