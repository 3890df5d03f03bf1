"""`image_api:URL`: an endpoint that answers a request with an image.

The request is a POST of JSON made by a template (see `template`), or a GET where there is none. The
answer is a file of PNG, JPEG or WEBP, or JSON that has it at a path, as base64, as a data: URL or
by its address.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import torch

from ganaudit.errors import ConfigError
from ganaudit.generators import Failure
from ganaudit.registry import by_user_alone
from ganaudit.slots import Draws, Prior
from ganaudit_plugins.generators.http_api.addresses import read_base
from ganaudit_plugins.generators.http_api.answers import (
    Answer,
    Unusable,
    decoded,
    is_image,
    picked,
    read_json,
)
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.generators.http_api.delivery import fetched, image_or_address, refuse_json
from ganaudit_plugins.generators.http_api.options import ServiceOptions, with_options
from ganaudit_plugins.generators.http_api.requests import Requests, read_requests, source_of
from ganaudit_plugins.generators.http_api.service import BlindService, LatentService, Service

HEADERS = {"cache-control": "no-cache", "content-type": "application/json"}
_ACCEPT = {"accept": "image/png, image/webp, image/jpeg, application/json;q=0.9"}


@dataclass(frozen=True)
class _Endpoint:
    """One image a request.

    Attributes:
      client: asks.
      url: of the endpoint.
      requests: what it is sent.
      image_at: where the image is in a JSON answer; None: the answer is the image.
      came: set once an answer was an image: JSON after it is an error and no form of answers.
    """

    client: Client
    url: str
    requests: Requests
    image_at: str | None
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, draws: Draws) -> list[torch.Tensor | Failure]:
        """The image of one slot; raises what `Client.ask` raises."""
        body = self.requests.body(draws)
        found: torch.Tensor | str = await self.client.ask(
            "GET" if body is None else "POST",
            self.url,
            accept=self._found,
            content=body,
            headers=_ACCEPT | HEADERS,
        )
        return [await fetched(self.client, found)]

    def _found(self, answer: Answer) -> str | Awaitable[torch.Tensor | str]:
        if self.image_at is not None:
            return image_or_address(picked(read_json(answer), self.image_at), self.image_at)
        if is_image(answer.body):
            self.came.set()
        elif not self.came.is_set():
            self._look(answer)
        return decoded(answer.body)

    def _look(self, answer: Answer) -> None:
        try:
            refuse_json(read_json(answer))
        except Unusable:  # an error page, say; decoding it will say so
            pass


@by_user_alone
@with_options
def open_image_api(
    target: str,
    *,
    template: str | None = None,
    image_at: str | None = None,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    num_labels: int | None = None,
    seed_bits: int = 32,
    max_requests: int | None = None,
    service: ServiceOptions,
) -> LatentService | BlindService:
    """Open an endpoint that gives an image a request as a generator.

    Args:
      target: its address.
      template: of the request: JSON with "$SEED", "$LATENT" or "$LABEL", or the path of a file with
        it. Without $SEED and $LATENT the service draws for itself; without a template it is asked
        by GET.
      image_at: dotted path of the image in a JSON answer: data.0.b64_json.
      prior: of every latent coordinate, where the template has $LATENT.
      latent_shape: of one latent.
      latent_scale: what latents are multiplied by.
      num_labels: classes, where the template has $LABEL.
      seed_bits: seeds are whole numbers below 2 ** seed_bits.
      max_requests: that may be sent; None: any number.
      service: how it is asked.

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
    if image_at == "":
        raise ConfigError("image_at must be a dotted path such as data.0.b64_json, got nothing")
    asked = Service(Client(base, service, max_requests=max_requests))
    asked.ask = _Endpoint(asked.client, str(base.url), requests, image_at).ask
    return source_of(asked, requests, {"image_at": image_at})
