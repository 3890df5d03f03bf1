"""`predictions:URL`: an endpoint that starts a prediction, which is asked for until it is there.

The request is a POST of JSON made by a template (see `template`). The answer, JSON, says where to
ask for the prediction, which has a status and, in the end, an image: its address, base64, or a
data: URL, or a list that begins with one.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import httpx
import torch

from ganaudit.errors import ConfigError, SourceGone
from ganaudit.generators import Failure, Status
from ganaudit.registry import by_user_alone
from ganaudit.slots import Draws, Prior
from ganaudit_plugins.generators.http_api.addresses import read_base
from ganaudit_plugins.generators.http_api.answers import (
    Answer,
    Refusal,
    Transient,
    Unusable,
    picked,
    read_json,
)
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.generators.http_api.delivery import fetched, image_or_address
from ganaudit_plugins.generators.http_api.image_api import HEADERS
from ganaudit_plugins.generators.http_api.options import ServiceOptions, with_options
from ganaudit_plugins.generators.http_api.requests import Requests, read_requests, source_of
from ganaudit_plugins.generators.http_api.service import BlindService, LatentService, Service
from ganaudit_plugins.onnx_checks import plain

_PORTS = {"http": 80, "https": 443}
_ERROR_AT = "error"
_LEAST_POLL_S, _MOST_POLL_S = 0.05, 60.0


@dataclass(frozen=True, kw_only=True)
class _Predictions:
    """One image a prediction.

    Attributes:
      client: asks.
      url: where predictions are started.
      requests: what is sent there.
      poll_at: where the answer has the address to ask for the prediction.
      status_at: where its status is.
      done: statuses of one that has its image.
      failed: statuses of one that never will.
      image_at: where the image is.
      poll_every: seconds.
    """

    client: Client
    url: str
    requests: Requests
    poll_at: str
    status_at: str
    done: tuple[str, ...]
    failed: tuple[str, ...]
    image_at: str
    poll_every: float

    async def ask(self, draws: Draws) -> list[torch.Tensor | Failure]:
        """The image of one slot; raises what `Client.ask` raises."""
        body = self.requests.body(draws)
        found = await self._answer("POST", self.url, content=body)
        if self._status(found) not in (*self.done, *self.failed):
            found = await self._end_of(found)
        if self._status(found) in self.failed:
            raise Refusal(_reason(found, self._status(found)))
        image = self._image(found)
        return [await fetched(self.client, image if isinstance(image, str) else await image)]

    def _image(self, found: Any) -> str | Awaitable[torch.Tensor | str]:
        """The image of a prediction that is done, or its address."""
        value = picked(found, self.image_at)
        if isinstance(value, list) and value:
            value = value[0]
        if not value:
            raise Refusal(f"the prediction has nothing at {self.image_at!r}", Status.FAILED)
        return image_or_address(value, self.image_at)

    async def _end_of(self, found: Any) -> Any:
        """The prediction's last answer.

        Raises:
          Transient: it does not end.
        """
        address = self._address(picked(found, self.poll_at))
        patience = self.client.options.deadline
        try:
            async with asyncio.timeout(patience):
                while self._status(found) not in (*self.done, *self.failed):
                    await asyncio.sleep(self.poll_every)
                    found = await self._answer("GET", address)
        except TimeoutError:
            status = plain(self._status(found))[:40]
            raise Transient(
                f"the prediction is still {status!r} after {patience:g} s (deadline)"
            ) from None
        return found

    async def _answer(self, method: str, url: str, content: bytes | None = None) -> Any:
        """The JSON of a prediction, with a status."""

        def accept(answer: Answer) -> Any:
            found = read_json(answer)
            self._status(found)
            if method == "POST" and self._status(found) not in (*self.done, *self.failed):
                picked(found, self.poll_at)
            return found

        return await self.client.ask(
            method, url, accept=accept, content=content, headers=HEADERS, counted=method == "POST"
        )

    def _status(self, found: Any) -> str:
        status = picked(found, self.status_at)
        if not isinstance(status, str):
            raise Unusable(f"the answer has no text at {self.status_at!r}")
        return status

    def _address(self, text: object) -> str:
        """Where a prediction is asked for: at the service's own origin, as the token goes there.

        Raises:
          SourceGone: somewhere else.
        """
        base = self.client.base
        try:
            url = base.url.join(text if isinstance(text, str) else "")
            origin = url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme, 0)
        except (httpx.InvalidURL, ValueError):
            origin = "", "", 0
        if not isinstance(text, str) or origin != base.origin or url.userinfo:
            raise SourceGone(
                f"the answer names at {self.poll_at!r} no address of the service itself, which is "
                f"not asked: {self.client.redacted(plain(text))!r:.120}"
            )
        return str(url.copy_with(fragment=None))


def _reason(found: Any, status: str) -> str:
    """Why a prediction failed, in its own words."""
    error = found.get(_ERROR_AT) if isinstance(found, dict) else None
    text = f"the prediction is {status!r:.40}"
    return f"{text}: {plain(error)[:200]}" if error else text


@by_user_alone
@with_options
def open_predictions(
    target: str,
    *,
    template: str,
    poll_at: str = "urls.get",
    status_at: str = "status",
    done: tuple[str, ...] = ("succeeded",),
    failed: tuple[str, ...] = ("failed", "canceled"),
    image_at: str = "output",
    poll_every: float = 0.5,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    num_labels: int | None = None,
    seed_bits: int = 32,
    max_requests: int | None = None,
    service: ServiceOptions,
) -> LatentService | BlindService:
    """Open an endpoint of predictions, such as Replicate's, as a generator.

    Args:
      target: where predictions are started.
      template: of the request: JSON with "$SEED", "$LATENT" or "$LABEL", or the path of a file with
        it. Without $SEED and $LATENT the service draws for itself.
      poll_at: dotted path of the address to ask for the prediction, in the first answer.
      status_at: dotted path of its status.
      done: statuses of a prediction that has its image.
      failed: statuses of one that never will: the slot counts as refused.
      image_at: dotted path of the image, or of a list that begins with it.
      poll_every: seconds between two questions, which do not count as requests.
      prior: of every latent coordinate, where the template has $LATENT.
      latent_shape: of one latent.
      latent_scale: what latents are multiplied by.
      num_labels: classes, where the template has $LABEL.
      seed_bits: seeds are whole numbers below 2 ** seed_bits.
      max_requests: that may be sent; None: any number.
      service: how it is asked; a prediction that takes longer than `deadline` is given up.

    Raises:
      ConfigError: the address or an option cannot be. Nothing is sent before images are asked for.
    """
    base = read_base(target)
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "num_labels": num_labels,
    }
    requests = read_requests(template, said, seed_bits=seed_bits, what=str(base.url))
    if not _LEAST_POLL_S <= poll_every <= _MOST_POLL_S:
        raise ConfigError(
            f"poll_every must be seconds in [{_LEAST_POLL_S:g}, {_MOST_POLL_S:g}], got {poll_every}"
        )
    for name, path in {"poll_at": poll_at, "status_at": status_at, "image_at": image_at}.items():
        if not path:
            raise ConfigError(f"{name} must be a dotted path such as urls.get, got nothing")
    both = sorted({*done} & {*failed})
    if both:
        raise ConfigError(f"the status {both[0]!r} is both in done and in failed")
    # A prediction that is polled is under way, whoever waits for it.
    asked = Service(Client(base, service, max_requests=max_requests), overlap=False)
    predictions = _Predictions(
        client=asked.client,
        url=str(base.url),
        requests=requests,
        poll_at=poll_at,
        status_at=status_at,
        done=done,
        failed=failed,
        image_at=image_at,
        poll_every=poll_every,
    )
    asked.ask = predictions.ask
    identity = {"image_at": image_at, "status_at": status_at, "done": list(done)}
    return source_of(asked, requests, identity, incidental=("poll_every",))
