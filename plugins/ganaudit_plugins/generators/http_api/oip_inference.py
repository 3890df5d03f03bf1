"""One inference: some slots as a request of the Open Inference Protocol, and images back.

An answer is held against what the metadata say: name, datatype, shape and number of the images.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch

from ganaudit.errors import SourceError
from ganaudit.generators import Failure
from ganaudit.oip import HEADER, OipError, Tensor, decode, encode
from ganaudit.slots import Draws
from ganaudit_plugins.generators.declared import Conversion, Declared
from ganaudit_plugins.generators.http_api.answers import Answer, Unusable, decoded
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.generators.http_api.oip_model import Inputs, ServedPort
from ganaudit_plugins.onnx_checks import plain

_NO_CACHE = {"cache-control": "no-cache"}
_MORE_VALUES = 2**16  # of outputs that nobody asked for


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One request for some slots, and what must come back.

    Attributes:
      client: asks.
      url: of the inference.
      inputs: of the model.
      output: the images.
      declared: what was declared about latents; None: the service draws its own.
      converted: native images to uint8.
      seed_bits: of a seed.
      most_values: of an answer for one image.
      binary: whether tensors are sent as bytes.
    """

    client: Client
    url: str
    inputs: Inputs
    output: ServedPort
    declared: Declared | None
    converted: Conversion
    seed_bits: int
    most_values: int
    binary: bool

    async def ask(
        self, draws: Draws, *, attempts: int | None = None
    ) -> list[torch.Tensor | Failure]:
        """The images of some slots, uint8 [3, H, W] each.

        Args:
          draws: of the slots.
          attempts: times that it is sent at most; None: as the options say.

        Raises:
          Transient: no answer, or (Unusable) one that is not what was asked for.
          Refusal: the service declines.
          ConfigError: the first images contradict what was declared about them.
        """
        wanted: dict[str, Any] = {"name": self.output.name}
        # an id, as KServe answers 500 to what has none
        fields: dict[str, Any] = {"id": uuid4().hex, "outputs": [wanted]}
        if self.binary:
            wanted["parameters"] = {"binary_data": True}
            fields["parameters"] = {"binary_data_output": True}
        tensors = self.inputs.tensors(draws, self.declared, seed_bits=self.seed_bits)
        body, length = encode(fields, tensors, key="inputs", binary=self.binary)
        headers = {"content-type": "application/json", **_NO_CACHE}
        if length is not None:
            headers |= {"content-type": "application/octet-stream", HEADER: str(length)}
        images: list[torch.Tensor | Failure] = await self.client.ask(
            "POST",
            self.url,
            accept=lambda answer: self._images(answer, len(draws)),
            content=body,
            headers=headers,
            attempts=attempts,
        )
        return images

    def _images(
        self, answer: Answer, count: int
    ) -> list[torch.Tensor | Failure] | Awaitable[list[torch.Tensor | Failure]]:
        size = self.inputs.batch or count
        try:
            _, tensors = decode(
                answer.body,
                _json_length(answer),
                key="outputs",
                most_values=size * self.most_values + _MORE_VALUES,
            )
        except OipError as error:
            raise Unusable(f"the answer is no inference: {error}") from error
        found = [tensor for tensor in tensors if tensor.name == self.output.name]
        if not found:
            raise Unusable(f"the answer has no output {plain(self.output.name)!r}")
        self._check(found[0], size)
        values = found[0].values
        if isinstance(values, list):
            return _decoded(values[:count])
        try:
            return list(self.converted(torch.from_numpy(values[:count])))
        except SourceError as error:
            raise Unusable(str(error)) from error

    def _check(self, tensor: Tensor, size: int) -> None:
        """Whether a tensor is what the metadata say, for as many images as were asked for."""
        sides = self.output.shape
        if tensor.datatype == "BYTES":
            fits = tensor.shape in ((size,), (size, 1))
        else:
            fits = len(tensor.shape) == 4 and tensor.shape[0] == size and 0 not in tensor.shape
            fits = fits and all(
                side is None or side == got
                for side, got in zip(sides[1:], tensor.shape[1:], strict=False)
            )
        if tensor.datatype != self.output.datatype or not fits:
            raise Unusable(
                f"the answer has {tensor.datatype} {list(tensor.shape)} for {size} images, and the "
                f"metadata say {self.output}"
            )


async def _decoded(files: list[bytes]) -> list[torch.Tensor | Failure]:
    return [await decoded(data, what="the image") for data in files]


def _json_length(answer: Answer) -> int | None:
    text = answer.headers.get(HEADER.lower())
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Unusable(f"the answer has no number in {HEADER}: {text!r:.40}")
    return int(text)
