"""Good services of tiny images, to be put behind a proxy: what they answer is what was asked for.

Each is an endpoint for `loopback.answering`. A seed gives the image of `conftest.images_of`, a
latent that of `conftest.paint`. Nothing is kept between two requests.
"""

import io
import json

import numpy as np
import torch
from conftest import images_of, paint
from loopback import Asked, Reply, as_json
from PIL import Image

from ganaudit import oip

LATENT = (3, 4, 4)
MODEL = "/v2/models/tiny"
IMAGE, PREDICTIONS = "/generate", "/predictions"


def png(image: torch.Tensor) -> bytes:
    """A PNG file of a uint8 [3, H, W] image."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def of_seed(seed: int) -> torch.Tensor:
    """uint8 [3, 4, 4]."""
    return images_of(torch.tensor([seed]))[0]


def everything(asked: Asked) -> Reply:
    """All services at once."""
    if asked.path.startswith("/v2"):
        return inference(asked)
    if asked.path.startswith(PREDICTIONS):
        return predictions(asked)
    return image(asked)


def image(asked: Asked) -> Reply:
    """POST {"seed": n}: a PNG."""
    body = png(of_seed(asked.json["seed"]))
    return Reply(body=body, headers={"Content-Type": "image/png"})


def predictions(asked: Asked) -> Reply:
    """POST {"input": {"seed": n}}, poll, and fetch what `output` names."""
    host = asked.headers["host"]
    if asked.method == "POST":
        seed = asked.json["input"]["seed"]
        urls = {"get": f"http://{host}{PREDICTIONS}/{seed}"}
        return as_json({"id": str(seed), "status": "starting", "urls": urls}, 201)
    name = asked.path.removeprefix(f"{PREDICTIONS}/")
    if name.endswith(".png"):
        body = png(of_seed(int(name.removesuffix(".png"))))
        return Reply(body=body, headers={"Content-Type": "image/png"})
    output = [f"http://{host}{PREDICTIONS}/{name}.png"]
    return as_json({"id": name, "status": "succeeded", "output": output})


def inference(asked: Asked) -> Reply:
    """A model `tiny` of the Open Inference Protocol that takes latents, in both of its forms."""
    if asked.path == MODEL:
        return as_json(
            {
                "name": "tiny",
                "versions": ["1"],
                "platform": "tests",
                "inputs": [{"name": "latent", "datatype": "FP32", "shape": [-1, *LATENT]}],
                "outputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *LATENT]}],
            }
        )
    if asked.path != f"{MODEL}/infer":
        return Reply(404)
    fields = json.loads(asked.body[: _header_length(asked)])
    binary = fields.get("outputs", [{}])[0].get("parameters", {}).get("binary_data", False)
    images = paint(torch.from_numpy(latents_of(asked))).numpy()
    tensor = oip.Tensor("image", "UINT8", images.shape, images)
    body, length = oip.encode({"model_name": "tiny"}, [tensor], key="outputs", binary=binary)
    headers = {"Content-Type": "application/json"}
    if length is not None:
        headers = {"Content-Type": "application/octet-stream", oip.HEADER: str(length)}
    return Reply(body=body, headers=headers)


def latents_of(asked: Asked) -> np.ndarray:
    """The float32 [N, 3, 4, 4] latents of a request to `infer`."""
    length = _header_length(asked)
    header = length if oip.HEADER.lower() in asked.headers else None
    _, (latent,) = oip.decode(asked.body, header, key="inputs", most_values=10**6)
    assert isinstance(latent.values, np.ndarray)
    return latent.values


def _header_length(asked: Asked) -> int:
    return int(asked.headers.get(oip.HEADER.lower(), len(asked.body)))
