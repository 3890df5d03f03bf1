"""What a service answered: images by their first bytes, words for what is none."""

import asyncio
import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from ganaudit_plugins.generators.http_api import answers
from ganaudit_plugins.generators.http_api.answers import (
    Answer,
    Refusal,
    Transient,
    Unusable,
    decoded,
    error_text,
    inline_image,
    is_image,
    picked,
    read_json,
    shown,
)
from PIL import Image

from ganaudit import images
from ganaudit.errors import SourceError
from ganaudit.generators import Status
from ganaudit.images import DamagedImage, decode_image, read_image


def picture(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def answer(body: bytes, status: int = 200) -> Answer:
    return Answer(status, {}, body, "http://service/x")


def look(data: bytes) -> torch.Tensor:
    return asyncio.run(decoded(data))


# -- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_an_image_is_its_pixels(kind: str, options: dict[str, object]) -> None:
    pixels = picture()
    data = file_of(pixels, kind, **options)
    assert is_image(data)
    np.testing.assert_array_equal(look(data).numpy(), pixels.transpose(2, 0, 1))


def test_a_jpeg_is_what_a_file_of_it_is(tmp_path: Path) -> None:
    data = file_of(picture(16, 8), "JPEG")
    (tmp_path / "a.jpg").write_bytes(data)
    assert torch.equal(look(data), read_image(tmp_path / "a.jpg"))
    assert look(data).shape == (3, 16, 8)


def test_a_large_image_is_decoded_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    threads: list[int] = []

    def decode(data: bytes, *, what: str) -> torch.Tensor:
        threads.append(threading.get_ident())
        return decode_image(data, what=what)

    monkeypatch.setattr(answers, "decode_image", decode)
    small, large = file_of(picture()), file_of(picture(256, 256))
    assert len(small) <= answers.SMALL < len(large)
    assert look(small).shape == (3, 5, 7) and look(large).shape == (3, 256, 256)
    assert threads[0] == threading.get_ident() != threads[1]


def test_half_an_image_is_worth_another_try() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        data = file_of(picture(64, 64), kind)
        with pytest.raises(Unusable, match="the answer cannot be read as a picture"):
            look(data[: len(data) // 2])


def test_a_pixel_bomb_is_refused_by_its_header() -> None:
    assert 8192 * 8192 == images.MAX_PIXELS
    with pytest.raises(Refusal, match="the answer: 8193 x 8192 pixels exceed 67108864") as caught:
        look(png_header(8193, 8192))
    assert caught.value.status is Status.FAILED
    with pytest.raises(Refusal, match=r"cannot be read as a picture: Image size \(1024000000"):
        look(png_header(32_000, 32_000))  # the library's own limit comes before ours
    with pytest.raises(Unusable, match="cannot be read"):  # as many as may be, but no pixels
        look(png_header(8192, 8192))


def test_an_image_that_is_none_of_ours_fails_its_slot() -> None:
    deep = Image.fromarray(picture()[..., 0].astype(np.uint16) * 256)
    with pytest.raises(Refusal, match="8-bit grey or RGB wanted, got mode I;16"):
        look(file_of(deep))
    with pytest.raises(Refusal, match="got mode CMYK"):
        look(file_of(Image.fromarray(picture()).convert("CMYK"), "JPEG"))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_do_not_come_over_the_wire(kind: str) -> None:
    data = file_of(picture(), kind)
    with pytest.raises(Unusable, match="is no image .PNG, JPEG or WEBP. but"):
        look(data)
    with pytest.raises(DamagedImage, match="x cannot be read as a picture"):
        decode_image(data, what="x")


def test_a_damaged_image_is_a_misbehaving_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="x cannot be read as a picture"):
        decode_image(b"\x89PNG\r\n\x1a\n", what="x")
    with pytest.raises(DamagedImage):
        read_image(tmp_path / "absent.png")


# -- words -----------------------------------------------------------------------------------


def test_what_is_no_image_is_told_in_words() -> None:
    page = (
        b"\n <!DOCTYPE html><html><head><title>Just a\nmoment</title></head><body>x</body></html>"
    )
    assert shown(b"") == "nothing at all"
    assert shown(page) == "a page: 'Just a moment'"
    assert shown(b"<html><p>Bad</p> gateway</html>") == "a page: 'Bad gateway'"
    assert shown(b"try\tlater\n") == "text: 'try later'"
    assert shown(b"\x00\x01\xff" * 5) == "15 bytes that begin with 00 01 ff 00 01 ff 00 01"
    with pytest.raises(Unusable, match="the answer is no image .* but a page: 'Just a moment'"):
        look(page)


def test_words_are_bounded_and_steer_no_terminal() -> None:
    said = shown(b"\x1b[2J\x07" + b"a" * 10**6)
    assert len(said) < 230 and said.endswith("aaa...'")
    assert said.isprintable()
    assert shown("a\u202eb".encode()) == "text: 'a b'"  # turns the direction of writing


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "no  worker"}, "no worker"),
        ({"error": {"message": "quota", "code": 3}}, "quota"),
        ({"detail": [{"loc": ["body"], "msg": "not a number"}]}, "not a number"),
        ({"errors": ["first", "second"]}, "first"),
        ({"title": "Too large", "status": 400}, "Too large"),
        ({"error": 5}, "text: '{\"error\": 5}'"),
        ([], "text: '[]'"),
    ],
)
def test_an_error_is_what_the_service_says_of_it(body: object, said: str) -> None:
    assert error_text(answer(json.dumps(body).encode(), 400)) == f"HTTP 400: {said}"


def test_an_error_without_json_is_its_text() -> None:
    assert error_text(answer(b"", 503)) == "HTTP 503"
    assert error_text(answer(b"busy", 503)) == "HTTP 503: text: 'busy'"
    assert error_text(answer(b"[" * 10**6, 500)).startswith("HTTP 500: text: '[[[[")


# -- JSON ------------------------------------------------------------------------------------


def test_json_is_read_or_told_in_words() -> None:
    assert read_json(answer(b'{"a": [1]}')) == {"a": [1]}
    for body in (b"", b"{", b"<html></html>", b"\xff\xfe", b"[" * 10**5):
        with pytest.raises(Unusable, match="the answer is not JSON but "):
            read_json(answer(body))


def test_a_path_is_followed_through_objects_and_lists() -> None:
    found = {"data": [{"b64": "x"}, {"b64": "y"}], "": 3, "1": "one"}
    assert picked(found, "data.1.b64") == "y"
    assert picked(found, "1") == "one"
    assert picked([[5]], "0.0") == 5


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("data.2", "a list of 2"),
        ("data.-1", "a list of 2"),
        ("data.x", "a list of 2"),
        ("data." + "9" * 30, "a list of 2"),
        ("data.\u0661", "a list of 2"),
        ("image", "an object of data, n, t"),
        ("n.x", "3"),
        ("t.x", "the text 'hello'"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path: str, there: str) -> None:
    found = {"data": [1, 2], "n": 3, "t": "hello"}
    with pytest.raises(Unusable) as caught:
        picked(found, path)
    assert str(caught.value) == f"the answer has nothing at {path!r}: there is {there}"


def test_what_stands_there_is_bounded() -> None:
    huge = {"k" * 10**5: 1, **{str(i): i for i in range(10**4)}}
    with pytest.raises(Unusable) as caught:
        picked(huge, "a." * 10**4)
    assert len(str(caught.value)) < 500


def test_base64_is_bare_or_in_a_data_address() -> None:
    data = file_of(picture())
    text = base64.b64encode(data).decode()
    broken = "\r\n".join(text[i : i + 60] for i in range(0, len(text), 60))
    for form in (text, broken, text.rstrip("="), f"data:image/png;base64,{text}"):
        assert inline_image(form) == data
    assert inline_image(f"DATA:image/png;BASE64,{text}") == data
    jpeg = base64.b64encode(file_of(picture(), "JPEG")).decode()
    assert jpeg.startswith("/9j/") and inline_image(jpeg) is not None


def test_an_address_is_no_base64() -> None:
    for address in ("https://host/a.png", "http://host/a", "ftp://host", "/files/a.png"):
        assert inline_image(address) is None


def test_what_is_neither_base64_nor_an_address_is_said() -> None:
    with pytest.raises(Transient, match="no base64 where the image should be: 'not @ base64'"):
        inline_image("not @ base64")
    with pytest.raises(Transient, match="data: URL that is not base64: 'data:text/plain'"):
        inline_image("data:text/plain,hello")
    with pytest.raises(Transient, match="data: URL that is not base64"):
        inline_image("data:image/png;base64")
    with pytest.raises(Transient) as caught:
        inline_image("\u00e9" * 10**6)
    assert len(str(caught.value)) < 300
