"""What comes back: an image, JSON that has one somewhere, or an error page.

Nothing in an answer is believed: an image is told by its first bytes, not by its header, and its
size is read before it is decoded.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ganaudit.errors import SourceError
from ganaudit.generators import Status
from ganaudit.images import DamagedImage, decode_image

SMALL = 2**15  # bytes that are dealt with at once: a thread costs more
_SAID = 200  # characters of an answer in a message
_LOOKED_AT = 2**14  # bytes of an answer that words are taken from
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_PAGE = ("<!doctype", "<html", "<head", "<body", "<?xml")
_DEEPEST = 16  # steps of a path
_MOST_MARKS = 2**17  # of JSON: a value may cost a hundred bytes for each of its own
_KEYS = ("error", "errors", "message", "detail", "msg", "title", "reason")  # of what failed
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True)
class Answer:
    """An answer whose body is there.

    Attributes:
      status: of HTTP.
      headers: by lower-case names.
      body: not encoded.
      url: that was asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Transient(Exception):
    """There is no image, and another try may give one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unusable(Transient):
    """An answer came with a status of success, and is not what was asked for."""


class Refusal(Exception):
    """There is no image, and another try would give none."""

    def __init__(self, reason: str, status: Status = Status.REFUSED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def is_image(data: bytes) -> bool:
    """Whether bytes begin as a PNG, JPEG or WEBP file does."""
    return data.startswith(_IMAGES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


async def decoded(data: bytes, *, what: str = "the answer") -> torch.Tensor:
    """uint8 [3, H, W] of a PNG, JPEG or WEBP file, decoded beside the event loop.

    Raises:
      Unusable: it is none: a cut file, or an error page in its place.
      Refusal: it came whole and can be none of ours: too many pixels, 16 bits a channel, CMYK.
    """
    if not is_image(data):
        raise Unusable(f"{what} is no image (PNG, JPEG or WEBP) but {shown(data)}")
    try:
        if len(data) <= SMALL:
            return decode_image(data, what=what)
        return await asyncio.to_thread(decode_image, data, what=what)
    except DamagedImage as error:
        raise Unusable(str(error)) from None
    except SourceError as error:
        raise Refusal(str(error), Status.FAILED) from None


def shown(data: bytes) -> str:
    """What a body that is not what was wanted seems to be: one printable line, bounded."""
    if not data:
        return "nothing at all"
    text = data[:_LOOKED_AT].decode("utf-8", "replace").removeprefix("\ufeff")
    if text.lstrip()[:200].lower().startswith(_PAGE):
        title = _TITLE.search(text)
        return f"a page: {_line(title[1] if title else _TAG.sub(' ', text))!r}"
    if "\ufffd" in text[:1000] or "\x00" in text:
        return f"{len(data):,} bytes that begin with {data[:8].hex(' ')}"
    return f"text: {_line(text)!r}"


def error_text(answer: Answer) -> str:
    """What a service says of an error, after the status: one printable line, bounded."""
    if not answer.body:
        return f"HTTP {answer.status}"
    try:
        said = _message(json.loads(answer.body[:_LOOKED_AT]))
    except (ValueError, RecursionError):
        said = ""
    return f"HTTP {answer.status}: {_line(said) or shown(answer.body)}"


def _message(found: Any) -> str:
    """Of {"error": TEXT}, {"error": {"message": TEXT}}, {"detail": [{"msg": TEXT}]}; "": none."""
    for _ in range(_DEEPEST):
        if isinstance(found, list) and found:
            found = found[0]
        elif isinstance(found, dict):
            found = next((found[key] for key in _KEYS if found.get(key)), None)
    return found if isinstance(found, str) else ""


def read_json(answer: Answer) -> Any:
    """The JSON of an answer.

    Raises:
      Unusable: it is none, or of more values than an answer with an image has.
    """
    if sum(map(answer.body.count, (b",", b"[", b"{"))) > _MOST_MARKS:
        raise Unusable(f"the answer is JSON of more than {_MOST_MARKS:,} values")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Unusable(f"the answer is not JSON but {shown(answer.body)}") from None


def picked(found: Any, path: str) -> Any:
    """The value at a dotted path, such as data.0.b64_json, in a JSON value.

    Raises:
      Unusable: there is none.
    """
    value = found
    for step in path.split(".", _DEEPEST):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _number(step) < len(value):
            value = value[_number(step)]
        else:
            raise Unusable(f"the answer has nothing at {path[:_SAID]!r}: there is {_kind(value)}")
    return value


def _number(step: str) -> int:
    """Of an item; 2**31 is nobody's."""
    return int(step) if step.isascii() and step.isdigit() and len(step) < 10 else 2**31


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {_line(', '.join(list(value)[:20])) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f"the text {_line(value)!r}"
    return f"{value!r:.40}"


def inline_image(text: str) -> bytes | None:
    """The bytes of base64 text or of a data: URL; None: it is an address.

    Raises:
      Unusable: neither.
    """
    coded = text
    if text[:5].lower() == "data:":
        head, comma, coded = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise Unusable(f"the answer has a data: URL that is not base64: {_line(head)!r}")
    elif "://" in text[:16] or (text.startswith("/") and not text.startswith("/9j/")):  # a JPEG's
        return None
    coded = "".join(coded.split())
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable(
            f"the answer has no base64 where the image should be: {_line(text)!r}"
        ) from None


def _line(text: str) -> str:
    """The first 200 characters in one line, without what would steer a terminal."""
    text = text[: 8 * _SAID]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SAID else f"{line[:_SAID]}..."
