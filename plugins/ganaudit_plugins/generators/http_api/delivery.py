"""An image out of an answer: there as text, or at an address that the answer names."""

import re
from collections.abc import Awaitable
from pathlib import PurePosixPath
from typing import Any

import torch

from ganaudit.errors import ConfigError
from ganaudit.images import PICTURE_SUFFIXES
from ganaudit_plugins.generators.http_api.answers import (
    Answer,
    Unusable,
    decoded,
    inline_image,
    is_image,
)
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.onnx_checks import plain

_DEEPEST, _MOST_LOOKED_AT = 6, 1000  # levels and values of an answer that are searched


def image_or_address(value: object, path: str) -> str | Awaitable[torch.Tensor | str]:
    """What stands at a path of an answer: an image, uint8 [3, H, W], or the address of one.

    Large answers are read beside the event loop, images decoded in it or beside it: hence two
    steps.

    Raises:
      Unusable: neither base64, a data: URL nor an address, or no image.
    """
    if not isinstance(value, str):
        kind = "nothing" if value is None else type(value).__name__
        raise Unusable(f"the answer has no text at {path!r} but {kind}")
    data = inline_image(value)
    return value if data is None else decoded(data, what=f"what is at {path!r}")


async def fetched(client: Client, found: torch.Tensor | str) -> torch.Tensor:
    """The image, fetched if all there is is its address.

    Raises:
      Transient: it is no image, or did not come.
      Refusal: the address is not one that is fetched.
    """
    if isinstance(found, torch.Tensor):
        return found

    def accept(answer: Answer) -> Awaitable[torch.Tensor]:
        return decoded(answer.body, what="what is at the address in the answer")

    return await client.fetch(found, accept=accept)


def refuse_json(found: object) -> None:
    """Refuse JSON where the body should be an image, if it has one somewhere inside.

    Raises:
      ConfigError: it has, at the path that it names.
    """
    looked_at = [("", found)]
    for path, value in looked_at:
        if isinstance(value, str) and _may_be_image(value):
            raise ConfigError(
                f"the answer is JSON and seems to have its image at {path[1:]!r}; "
                f"say --set image_at={path[1:]}"
            )
        parts: list[tuple[Any, Any]] = []
        if isinstance(value, dict):
            parts = [(plain(key)[:80], part) for key, part in value.items()]
        elif isinstance(value, list):
            parts = list(enumerate(value[:_DEEPEST]))
        if path.count(".") < _DEEPEST:
            room = _MOST_LOOKED_AT - len(looked_at)
            looked_at += [(f"{path}.{key}", part) for key, part in parts[:room]]


def _may_be_image(text: str) -> bool:
    if text.startswith("data:image/"):
        return True
    if text.startswith(("http://", "https://")):  # most addresses in errors lead to documentation
        return PurePosixPath(re.split("[?#]", text[:4096])[0]).suffix.lower() in PICTURE_SUFFIXES
    try:
        data = inline_image(text[:64])
    except Unusable:
        return False
    return data is not None and is_image(data)
