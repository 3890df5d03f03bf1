"""A client's bytes to what is asked for, and images to an answer's bytes."""

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganaudit import oip
from ganaudit.serving.limits import Refused
from ganaudit.serving.model import MOST_LATENT, Inputs, Model

Output = Literal["image", "png"]
INPUTS = ("seed", "latent", "noise_seed", "label")
MOST_IN_JSON = {"image": 2**22, "png": 2**24}  # values of images that are sent as text
MOST_ID = 256  # characters
_PNG_LEVEL = 1  # of compression: four times as fast as the usual one, a tenth larger
_MARKS = 2**12  # commas and brackets of a message beside those of its latent
_NUMBERS = np.array([list(b"%3d," % n) for n in range(256)], dtype=np.uint8)  # [256, 4]
_EXACT = 53  # bits of a whole number that every reader of JSON reads exactly


@dataclass(frozen=True)
class Wanted:
    """What a client asks for.

    Attributes:
      inputs: of its images.
      output: as numbers or as PNG files.
      binary: whether they follow the JSON part as bytes.
      id: of the request, to be repeated; None: it has none.
    """

    inputs: Inputs
    output: Output
    binary: bool
    id: str | None


def read_inference(body: bytes, length: str | None, model: Model, most_images: int) -> Wanted:
    """What an inference request asks for.

    Args:
      body: of the request.
      length: what the header `oip.HEADER` says; None: it is not there.
      model: what is asked.
      most_images: of one request.

    Raises:
      Refused: it is malformed (400), or asks for what there is not (422).
    """
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Refused(400, f"{oip.HEADER} must be a whole number")
    most = most_images * (math.prod(model.latent_shape) + len(INPUTS))
    try:
        fields, tensors = oip.decode(
            body, None if length is None else int(length), key="inputs", most_values=most
        )
    except oip.OipError as error:
        raise Refused(400, str(error)) from None
    inputs = _inputs_of(tensors, model, most_images)
    output, binary = _output_of(fields)
    _check_size(model, len(inputs), output, binary=binary)
    return Wanted(inputs, output, binary, _id_of(fields))


def read_generate(body: bytes, model: Model) -> Inputs:
    """What a request for one PNG file asks for; a random seed draws what it leaves open.

    Args:
      body: nothing, or a JSON object with keys out of `INPUTS`.
      model: what is asked.

    Raises:
      Refused: it is malformed (400), or asks for what there is not (422).
    """
    said = _object_of(body, 4 * math.prod(model.latent_shape) + _MARKS) if body.strip() else {}
    if not said.keys() <= set(INPUTS):
        raise Refused(422, f"the keys are {', '.join(INPUTS)}")
    lacks_label = model.num_labels and "label" not in said
    lacks_slot = model.seeded and "noise_seed" not in said
    if "seed" not in said and ("latent" not in said or lacks_label or lacks_slot):
        said["seed"] = secrets.randbits(_EXACT)
    entries = []
    for name, value in said.items():
        shape = [1, *model.latent_shape] if name == "latent" else [1]
        nested = not isinstance(value, list) or bool(value) and isinstance(value[0], list)
        datatype = "FP32" if name == "latent" else "INT64"
        data = [value] if nested else value
        entries.append({"name": name, "datatype": datatype, "shape": shape, "data": data})
    request = json.dumps({"inputs": entries}).encode()
    return read_inference(request, None, model, 1).inputs


def write_inference(
    images: NDArray[np.uint8], wanted: Wanted, model: Model
) -> tuple[bytes, int | None]:
    """The answer to an inference request.

    Args:
      images: uint8 [N, 3, H, W].
      wanted: the request.
      model: who answers.

    Returns:
      The body, and the length of its JSON part if bytes follow it.
    """
    if wanted.output == "png":
        files = [png(image) for image in images]
        tensor = oip.Tensor("png", "BYTES", (len(files),), files)
    else:
        tensor = oip.Tensor("image", "UINT8", images.shape, images)
    fields: dict[str, Any] = {"model_name": model.name, "model_version": "1"}
    if wanted.id is not None:
        fields["id"] = wanted.id
    if wanted.output == "image" and not wanted.binary:
        return _as_text(fields, images), None
    return oip.encode(fields, [tensor], key="outputs", binary=wanted.binary)


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of a uint8 [3, H, W] image, without loss."""
    buffer = BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _as_text(fields: Mapping[str, Any], images: NDArray[np.uint8]) -> bytes:
    """As `oip.encode`, in a thirtieth of the time, for which no other thread could run."""
    entry = {"name": "image", "shape": list(images.shape), "datatype": "UINT8"}
    text = json.dumps({**fields, "outputs": [entry | {"data": [0]}]})
    before, _, after = text.rpartition("0")
    numbers = _NUMBERS[images.ravel()]
    numbers[-1, -1] = ord(" ")  # in place of the last comma
    return b"".join([before.encode(), numbers.tobytes(), after.encode()])


def _object_of(body: bytes, most_marks: int) -> dict[str, Any]:
    """A JSON object; parsed, it may take dozens of times its length: that is counted before."""
    if sum(map(body.count, (b",", b"[", b"{"))) > most_marks:
        raise Refused(400, "the body has more values than a latent has")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once)
    except RecursionError:
        raise Refused(400, "the body is nested too deeply") from None
    except ValueError:  # also what is no UTF-8, and numbers of too many digits
        raise Refused(400, "the body is not JSON, or says a key twice") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body must be a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _inputs_of(tensors: list[oip.Tensor], model: Model, most_images: int) -> Inputs:
    given = {tensor.name: tensor for tensor in tensors}
    known = INPUTS if model.num_labels else INPUTS[:-1]
    if not given.keys() <= set(known):
        raise Refused(422, f"the inputs are {', '.join(known)}")
    if "seed" not in given and "latent" not in given:
        raise Refused(422, "seed or latent is needed")
    if model.seeded and not given.keys() & {"seed", "noise_seed"}:
        raise Refused(
            422, "a calibrated generator draws by its seed: send seed, or noise_seed beside latent"
        )
    if model.num_labels and not given.keys() & {"seed", "label"}:
        raise Refused(422, "label is needed, or a seed that draws it")
    counts = {tensor.shape[0] if tensor.shape else 0 for tensor in tensors}
    count = counts.pop()
    if counts:
        raise Refused(422, "the first side of all inputs is the number of images: it must be equal")
    if not 0 < count <= most_images:
        raise Refused(422, f"1 to {most_images} images can be asked for at once, got {count}")
    return Inputs(
        seed=_whole(given.get("seed"), 2**63),
        latent=_latent(given.get("latent"), model.latent_shape),
        noise_seed=_whole(given.get("noise_seed"), 2**63),
        label=_whole(given.get("label"), model.num_labels),
    )


def _whole(tensor: oip.Tensor | None, below: int) -> NDArray[np.int64] | None:
    """[N] int64 in [0, below)."""
    if tensor is None:
        return None
    count = tensor.shape[0]
    if tensor.datatype != "INT64" or tensor.shape not in ((count,), (count, 1)):
        raise _other(tensor, f"INT64 [{count}]")
    values = np.asarray(tensor.values, dtype=np.int64).reshape(count)
    if (values < 0).any() or (values >= below).any():
        last = "2**63 - 1" if below == 2**63 else below - 1
        raise Refused(422, f"{tensor.name} must be in 0 to {last}")
    return values


def _latent(tensor: oip.Tensor | None, latent_shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """[N, *latent_shape] float32."""
    if tensor is None:
        return None
    shape = (tensor.shape[0], *latent_shape)
    if tensor.datatype != "FP32" or tensor.shape != shape:
        raise _other(tensor, f"FP32 {list(shape)}")
    values = np.asarray(tensor.values, dtype=np.float32)
    if not (np.abs(values) <= MOST_LATENT).all():  # nor is NaN
        raise Refused(422, f"latent must be numbers in [-{MOST_LATENT:g}, {MOST_LATENT:g}]")
    return values


def _other(tensor: oip.Tensor, wanted: str) -> Refused:
    found = f"{tensor.datatype} {list(tensor.shape)}"
    return Refused(422, f"{tensor.name} must be {wanted}, got {found}")


def _output_of(fields: Mapping[str, Any]) -> tuple[Output, bool]:
    """Which output is asked for, and whether in binary form."""
    parameters = _mapping(fields.get("parameters", {}), "parameters")
    binary = parameters.get("binary_data_output", False)
    name: Any = "image"
    wanted = fields.get("outputs", [])
    if not isinstance(wanted, list) or len(wanted) > 1:
        raise Refused(422, "outputs must be a list of one output: image or png")
    for output in wanted:
        own = _mapping(output, "an output")
        name = own.get("name")
        own = _mapping(own.get("parameters", {}), "the output's parameters")
        binary = own.get("binary_data", binary)
    if name not in get_args(Output):
        raise Refused(422, "the outputs are image and png; ask for one of them")
    if not isinstance(binary, bool):
        raise Refused(400, "whether an output is binary must be true or false")
    return name, binary


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refused(400, f"{what} must be an object")
    return value


def _check_size(model: Model, count: int, output: Output, *, binary: bool) -> None:
    """Refuse what would be a text of a size that nobody should send."""
    assert model.size is not None
    values = 3 * math.prod(model.size)
    most = MOST_IN_JSON[output]
    if not binary and count * values > most:
        remedy = "ask for binary output" + (", for png" if output == "image" else "")
        raise Refused(
            422,
            f"{count} images of {values} values are too many for JSON, which has {most} at most: "
            f"{remedy}, or for {'fewer' if values <= most else 'no'} images",
        )


def _id_of(fields: Mapping[str, Any]) -> str | None:
    if "id" not in fields:
        return None
    found = fields["id"]
    if not isinstance(found, str) or len(found) > MOST_ID:
        raise Refused(400, f"id must be a text of at most {MOST_ID} characters")
    return found
