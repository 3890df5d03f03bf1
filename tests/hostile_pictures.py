"""Bodies that are no image, or more of one than a client may take."""

import functools
import io
import struct
import zlib
from typing import Any

from PIL import Image

_BOMB = 2**27  # bytes after decompression


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(
    width: int, height: int, *, more: bytes = b"", pixels: bytes | None = None, depth: int = 8
) -> bytes:
    """A grey PNG; `pixels`: compressed, None: too few for more than an image of 4 x 4."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = zlib.compress(bytes(range(20))) if pixels is None else pixels
    parts = [chunk(b"IHDR", header), more, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@functools.cache
def bomb() -> bytes:
    """`_BOMB` zeros, compressed by a factor of a thousand."""
    return zlib.compress(bytes(_BOMB), 9)


def _animation() -> bytes:
    """A PNG that says of itself that it has a thousand million frames."""
    return png_file(4, 4, more=chunk(b"acTL", struct.pack(">II", 10**9, 0)))


def _canvas(side: int) -> bytes:
    """An animated WebP of small frames, on a canvas of side x side pixels."""
    other = Image.new("RGB", (8, 8))
    data = bytearray(picture("WEBP", save_all=True, append_images=[other]))
    assert data[12:16] == b"VP8X"
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def picture(kind: str, mode: str = "RGB", **how: Any) -> bytes:
    """An honest file of 8 x 8 pixels."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((8, 8)).convert(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def good_pictures() -> dict[str, bytes]:
    """Files that a client should take: what is refused below is not refused for being a picture."""
    return {"PNG": picture("PNG"), "JPEG": picture("JPEG"), "WEBP": picture("WEBP")}


def pictures() -> dict[str, bytes]:
    """Bodies that are no image, or more than one may be."""
    large = bomb()
    good = picture("PNG")
    broken = good[:40] + bytes([good[40] ^ 255]) + good[41:]
    jpeg = bytearray(picture("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    frames = chunk(b"acTL", struct.pack(">II", 2, 0))
    return {
        "PNG of 1,000,000,000 pixels": png_file(40_000, 25_000),
        "PNG of 2**62 pixels": png_file(2**31 - 1, 2**31 - 1),
        "PNG of one row": png_file(2**30, 1),
        "PNG without pixels": png_file(0, 0),
        "PNG with a bomb in zTXt": png_file(4, 4, more=chunk(b"zTXt", b"a\0\0" + large)),
        "PNG with bombs in zTXt": png_file(4, 4, more=chunk(b"zTXt", b"a\0\0" + large) * 8),
        "PNG with a bomb in iTXt": png_file(4, 4, more=chunk(b"iTXt", b"a\0\1\0\0\0" + large)),
        "PNG with a bomb in iCCP": png_file(4, 4, more=chunk(b"iCCP", b"a\0\0" + large)),
        "PNG cut in its header": good[:20],
        "PNG cut in its pixels": good[: len(good) // 2],
        "PNG with a wrong checksum": broken,
        "PNG of 16 bits": png_file(4, 4, depth=16, pixels=zlib.compress(bytes(36))),
        "PNG of unknown depth": png_file(4, 4, depth=3),
        "PNG that lies about its chunk": good[:8] + b"\x7f\xff\xff\xff" + good[12:],
        "APNG without a second frame": png_file(4, 4, more=frames, pixels=b""),
        "JPEG of 65,500 x 65,500": bytes(jpeg),
        "JPEG in CMYK": picture("JPEG", "CMYK"),
        "JPEG cut": picture("JPEG")[:200],
        "WebP of 13,000 x 13,000": _canvas(13_000),
        "WebP of 16,384 x 16,384": _canvas(16_384),
        "GIF": picture("GIF"),
        "TIFF": picture("TIFF"),
        "BMP": picture("BMP"),
        "PPM": picture("PPM"),
        "ICO": picture("ICO"),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(x) run\n%%EOF\n",
        "PDF": b"%PDF-1.7\n1 0 obj <</S/Launch/F(/bin/sh)>> endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        "HTML": b"<!DOCTYPE html><title>502 Bad Gateway</title><h1>502</h1>",
        "JSON": b'{"error": {"message": "quota exceeded"}}',
        "NULs": bytes(1000),
        "escapes": b"\x1b]0;owned\x07\x1b[2J\x1b[31mAll is well\r\n\x9b2J" * 50,
        "NumPy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "pickle": b"\x80\x04cos\nsystem\nX\x04\0\0\0true\x85R.",
        "nothing": b"",
    }  # fmt: skip
