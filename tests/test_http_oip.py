"""`oip:URL` against servers of the protocol written here: four manners, one generator."""

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from endpoints import file_of, serving
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray

from ganaudit import registry
from ganaudit.errors import ConfigError, SourceError, SourceGone
from ganaudit.generators import Failure, Status
from ganaudit.slots import Draws, Stream, draw

SHAPE = (2, 3)  # of a latent
HEIGHT, WIDTH, CLASSES = 6, 5, 4
SAID = {"prior": "uniform", "latent_shape": list(SHAPE), "range": [-1, 1], "layout": "NCHW"}
FAST = {"attempts": "2", "deadline": "2"}
CODES = {"FP32": "f4", "FP16": "f2", "FP64": "f8", "INT64": "i8", "INT32": "i4", "UINT8": "u1"}
MATRIX = np.random.default_rng(5).normal(size=(math.prod(SHAPE), 3 * HEIGHT * WIDTH))
TABLE = np.random.default_rng(6).normal(size=(CLASSES, 3 * HEIGHT * WIDTH))


def picture(latents: NDArray[Any], labels: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """[N, 3, H, W] in (-1, 1), row by row, so that no row depends on the others."""
    rows = [latent.astype(np.float64).ravel() @ MATRIX for latent in latents]
    if labels is not None:
        rows = [row + TABLE[int(label)] for row, label in zip(rows, labels.ravel(), strict=True)]
    return np.tanh(np.stack(rows)).astype(np.float32).reshape(-1, 3, HEIGHT, WIDTH)


def of_seed(seeds: NDArray[Any]) -> NDArray[np.float32]:
    return picture(
        np.stack([np.random.default_rng(int(s)).normal(size=SHAPE) for s in seeds.ravel()])
    )


def levels(images: NDArray[Any]) -> torch.Tensor:
    """uint8 of images in [-1, 1]."""
    scaled = (torch.from_numpy(images.astype(np.float32)) + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8)


@dataclass(kw_only=True)
class Server:
    """A server of the protocol, with its own reading and writing of messages.

    Attributes:
      inputs: name to (datatype, shape).
      outputs: likewise; the first is what `make` gives.
      make: inputs by name to images [N, ...].
      binary: whether it understands the binary form; without it such a body is an error.
      forced_json: whether it answers in JSON even so.
      nested: whether values in JSON are nested.
      said: its ganaudit metadata.
      most: images that it makes at once; None: any number.
      status: of an error.
      spoil: given the number of the answer, its JSON and the bytes behind it, which it may change;
        what it returns is answered instead.
      metadata: in place of what the attributes say.
      seen: inputs of every inference.
      forms: of every request, understood or not.
      headers: likewise.
      ids: of every inference.
    """

    inputs: dict[str, tuple[str, list[int]]]
    outputs: dict[str, tuple[str, list[int]]]
    make: Callable[[dict[str, Any]], Any]
    binary: bool = True
    forced_json: bool = False
    nested: bool = False
    said: dict[str, Any] | None = None
    most: int | None = None
    status: int = 400
    spoil: Callable[[int, dict[str, Any], list[bytes]], Any] | None = None
    metadata: Any = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.get("/v2/models/net")(self.describe)
        app.get("/v2/models/net/versions/3")(self.describe)
        app.post("/v2/models/net/infer")(self.infer)
        app.post("/v2/models/net/versions/3/infer")(self.infer)
        return app

    async def describe(self) -> Any:
        if self.metadata is not None:
            return self.metadata
        listed = {
            key: [{"name": n, "datatype": d, "shape": s} for n, (d, s) in ports.items()]
            for key, ports in (("inputs", self.inputs), ("outputs", self.outputs))
        }
        parameters = {"parameters": {"ganaudit": json.dumps(self.said)}} if self.said else {}
        return {"name": "net", "versions": ["3"], "platform": "tests", **listed, **parameters}

    async def infer(self, request: Request) -> Response:
        body = await request.body()
        self.headers.append(request.headers)
        length = request.headers.get("Inference-Header-Content-Length")
        self.forms.append("JSON" if length is None else "binary")
        if length is not None and not self.binary:
            return error(self.status, "the body is not JSON")
        head = json.loads(body[: int(length)] if length else body)
        given = self.given(head["inputs"], body[int(length) :] if length else b"")
        if isinstance(given, str):
            return error(400, given)
        self.seen.append(given)
        (wanted,) = head["outputs"]
        in_bytes = wanted.get("parameters", {}).get("binary_data", False) and not self.forced_json
        assert in_bytes <= head.get("parameters", {}).get("binary_data_output", False)
        entry, block = self.output(wanted["name"], self.make(given), in_bytes=in_bytes)
        self.ids.append(head["id"])
        fields = {"model_name": "net", "id": head["id"], "outputs": [entry]}
        blocks = [block] if in_bytes else []
        if self.spoil is not None:
            spoilt = self.spoil(len(self.seen), fields, blocks)
            if spoilt is not None:
                return spoilt
        text = json.dumps(fields).encode()
        if not blocks:
            return Response(text, media_type="application/json")
        head_length = {"Inference-Header-Content-Length": str(len(text))}
        return Response(
            text + b"".join(blocks), headers=head_length, media_type="application/octet-stream"
        )

    def given(self, entries: list[dict[str, Any]], rest: bytes) -> dict[str, Any] | str:
        """Inputs by name, or what is wrong with them."""
        given = {}
        for entry in entries:
            datatype, shape = self.inputs[entry["name"]]
            fits = len(entry["shape"]) == len(shape) and entry["datatype"] == datatype
            sides = zip(shape, entry["shape"], strict=False)
            if not fits or any(wanted not in (-1, got) for wanted, got in sides):
                return f"{entry['name']} has {entry['datatype']} {entry['shape']}"
            size = entry.get("parameters", {}).get("binary_data_size")
            block, rest = (None, rest) if size is None else (rest[:size], rest[size:])
            given[entry["name"]] = values_of(entry, block)
        counts = {len(v) for k, v in given.items() if self.inputs[k][1][:1] == [-1]}
        if rest or set(given) != set(self.inputs) or len(counts) > 1:
            return f"inputs {sorted(given)} of {counts} and {len(rest)} bytes more"
        if self.most is not None and max(counts) > self.most:
            return f"at most {self.most} at once"
        return given

    def output(self, name: str, made: Any, *, in_bytes: bool) -> tuple[dict[str, Any], bytes]:
        """How an output is described, and its bytes."""
        datatype, _ = self.outputs[name]
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "parameters": None}
        if datatype == "BYTES":
            files = [file_of(np.moveaxis(image, 0, 2)) for image in levels(made).numpy()]
            block = b"".join(struct.pack("<I", len(file)) + file for file in files)
            entry |= {"shape": [len(files)]}
            if not in_bytes:
                data = [base64.b64encode(file).decode() for file in files]
                entry |= {"parameters": {"content_type": "base64"}, "data": data}
        else:
            values = levels(made).numpy() if datatype == "UINT8" else np.asarray(made)
            values = values.astype("<" + CODES[datatype])
            block = values.tobytes()
            entry |= {"shape": list(values.shape)}
            if not in_bytes:
                entry |= {"data": (values if self.nested else values.ravel()).tolist()}
        if in_bytes:
            entry |= {"parameters": {"binary_data_size": len(block)}}
        return entry, block


def error(status: int, text: str) -> Response:
    return Response(json.dumps({"error": text}), status, media_type="application/json")


def values_of(entry: dict[str, Any], block: bytes | None) -> Any:
    if entry["datatype"] == "BYTES":
        if block is None:
            return [text.encode() for text in entry["data"]]
        texts = []
        while block:
            (size,) = struct.unpack("<I", block[:4])
            texts.append(block[4 : 4 + size])
            block = block[4 + size :]
        return texts
    dtype = "<" + CODES[entry["datatype"]]
    flat = np.array(entry["data"], dtype) if block is None else np.frombuffer(block, dtype)
    return flat.reshape(entry["shape"])


def latents(**changes: Any) -> Server:
    """Of floating-point images by latents."""
    usual: dict[str, Any] = {
        "inputs": {"z": ("FP32", [-1, *SHAPE])},
        "outputs": {"image": ("FP32", [-1, 3, HEIGHT, WIDTH])},
        "make": lambda given: picture(given["z"]),
    }
    return Server(**(usual | changes))


MANNERS = {
    "ganaudit serve": {"said": SAID},
    "triton": {"said": None},
    "kserve, JSON in spite of all": {"forced_json": True},
    "mlserver": {"binary": False, "status": 422},
    "nested": {"binary": False, "status": 400, "nested": True},
}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is repeated soon."""
    monkeypatch.setattr("ganaudit_plugins.generators.http_api.pacing._FIRST_DELAY_S", 0.001)


@pytest.fixture
def served() -> Iterator[Callable[[Server], str]]:
    """The address of a server's model."""
    with ExitStack() as stack:
        yield lambda server: f"{stack.enter_context(serving(server.app()))}/v2/models/net"


def opened(url: str, **options: str) -> Any:
    return registry.open_plugin("generators", url, FAST | options, device=torch.device("cpu"))[0]


def drawn(source: Any, count: int = 11) -> Draws:
    """Eleven: no multiple of what is asked for at once."""
    latent = hasattr(source, "latent_shape")
    return draw(
        np.arange(5, 5 + count),
        seed=3,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape if latent else None,
        prior=source.prior if latent else "normal",
        labels=np.arange(source.num_labels) if latent and source.num_labels else None,
    )


def images(source: Any, draws: Draws) -> torch.Tensor:
    """By stream, in the order of the slots."""
    found = dict(source.stream(draws))
    assert set(found) == set(draws.index.tolist())
    assert all(isinstance(item, torch.Tensor) for item in found.values()), found
    return torch.stack([found[index] for index in draws.index.tolist()])


# -- what is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize("manner", MANNERS)
def test_latents_get_the_images_that_the_network_makes_of_them(
    manner: str, served: Callable[[Server], str]
) -> None:
    server = latents(**MANNERS[manner])
    source = opened(served(server), prior="uniform", range="-1,1")
    draws = drawn(source)
    assert draws.latents is not None
    wanted = levels(picture(draws.latents.numpy()))
    assert torch.equal(images(source, draws), wanted)
    assert torch.equal(source.render(draws), wanted)
    assert (source.latent_shape, source.prior, source.num_labels) == (SHAPE, "uniform", 0)
    later = "binary" if server.binary else "JSON"
    assert server.forms == ["binary", *[later] * 4]  # a trial, and 8 + 3 images twice
    assert all(headers["cache-control"] == "no-cache" for headers in server.headers)
    assert all(isinstance(each, str) and each for each in server.ids)
    assert len(set(server.ids)) == len(server.ids)
    source.close()


@pytest.mark.parametrize(("binary", "form"), [("true", "binary"), ("false", "JSON")])
def test_who_says_the_form_saves_the_trial(
    binary: str, form: str, served: Callable[[Server], str]
) -> None:
    server = latents()
    source = opened(served(server), prior="uniform", range="-1,1", binary=binary)
    assert server.forms == []
    images(source, drawn(source, 3))
    assert server.forms == [form]
    source.close()


def test_a_form_that_is_not_understood_and_was_said_is_the_services_refusal(
    served: Callable[[Server], str],
) -> None:
    server = latents(binary=False)
    source = opened(served(server), prior="uniform", range="-1,1", binary="true")
    for _, answer in source.stream(drawn(source, 2)):
        assert isinstance(answer, Failure) and answer.status == Status.REFUSED
        assert "the body is not JSON" in answer.reason
    source.close()


SEEDS = {
    "INT64 [-1]": (["INT64", [-1]], {}, 32),
    "INT64 [-1, 1]": (["INT64", [-1, 1]], {"seed_bits": "63"}, 63),
    "INT32 [-1]": (["INT32", [-1]], {}, 31),
    "UINT8 [-1]": (["UINT8", [-1]], {}, 8),
    "INT32, 10 bits": (["INT32", [-1]], {"seed_bits": "10"}, 10),
}


@pytest.mark.parametrize("what", SEEDS)
def test_seeds_are_whole_numbers_of_so_many_bits(
    what: str, served: Callable[[Server], str]
) -> None:
    (datatype, shape), options, bits = SEEDS[what]
    server = Server(
        inputs={"seed": (datatype, shape)},
        outputs={"image": ("UINT8", [-1, 3, HEIGHT, WIDTH])},
        make=lambda given: of_seed(given["seed"]),
    )
    source = opened(served(server), **options)
    draws = drawn(source)
    seeds = draws.seeds.numpy() & (2**bits - 1)
    assert torch.equal(images(source, draws), levels(of_seed(seeds)))
    assert source.seedable and source.size is None and not hasattr(source, "latent_shape")
    assert source.assumptions == (f"The service draws its own latents, by seeds below 2**{bits}.",)
    source.close()


LABELS = {
    "INT64 [-1]": (("INT64", [-1]), "label", {}),
    "INT32 [-1, 1]": (("INT32", [-1, 1]), "class", {}),
    "one-hot": (("FP32", [-1, CLASSES]), "y", {"label_input": "y", "latent_input": "z"}),
    "by another name": (("INT64", [-1]), "kind", {"label_input": "kind"}),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_go_to_their_input(what: str, served: Callable[[Server], str]) -> None:
    port, name, options = LABELS[what]

    def make(given: dict[str, Any]) -> Any:
        numbers = given[name]
        if port[0] == "FP32":
            assert (numbers.sum(axis=1) == 1).all() and set(numbers.ravel()) == {0.0, 1.0}
            numbers = numbers.argmax(axis=1)
        return picture(given["z"], numbers)

    server = latents(inputs={"z": ("FP32", [-1, *SHAPE]), name: port}, make=make)
    said = {"num_labels": str(CLASSES)} if what != "one-hot" else {}
    source = opened(served(server), prior="uniform", range="-1,1", **said, **options)
    assert source.num_labels == CLASSES
    draws = drawn(source)
    assert draws.latents is not None and draws.labels is not None
    wanted = levels(picture(draws.latents.numpy(), draws.labels.numpy()))
    assert torch.equal(images(source, draws), wanted)
    source.close()


def test_layer_noise_has_the_slots_own_seed_to_the_last_bit(
    served: Callable[[Server], str],
) -> None:
    """As `ganaudit serve` says of a network with noise: all inputs, of which each gets its own."""
    server = latents(
        inputs={
            "latent": ("FP32", [-1, *SHAPE]),
            "seed": ("INT64", [-1]),
            "noise_seed": ("INT64", [-1]),
            "label": ("INT64", [-1]),
        },
        make=lambda given: picture(given["latent"], given["label"]),
        said=SAID | {"num_labels": CLASSES},
    )
    source = opened(served(server))
    draws = drawn(source, 3)
    server.seen.clear()
    images(source, draws)
    (given,) = server.seen
    assert draws.latents is not None and draws.labels is not None
    assert np.array_equal(given["noise_seed"], draws.seeds.numpy())
    assert np.array_equal(given["seed"], draws.seeds.numpy() % 2**32)
    assert np.array_equal(given["latent"], draws.latents.numpy())
    assert np.array_equal(given["label"], draws.labels.numpy())
    source.close()


def test_other_inputs_get_what_is_said_for_every_image_or_every_time(
    served: Callable[[Server], str],
) -> None:
    server = latents(
        inputs={
            "psi": ("FP32", [-1, 1]),
            "z": ("FP32", [-1, *SHAPE]),
            "mean": ("FP64", [2]),
            "prompt": ("BYTES", [-1, 1]),
            "negative": ("BYTES", [1]),
            "steps": ("INT32", [1]),
        }
    )
    held = {
        "psi": "0.7",
        "mean": "1,2",
        "prompt": "a face, smiling",
        "negative": "é",
        "steps": "30",
    }
    source = opened(served(server), prior="uniform", range="-1,1", **held)
    server.seen.clear()
    images(source, drawn(source, 3))
    (given,) = server.seen
    assert np.array_equal(given["psi"], np.full((3, 1), 0.7, dtype=np.float32))
    assert np.array_equal(given["mean"], [1.0, 2.0])
    assert given["prompt"] == [b"a face, smiling"] * 3
    assert given["negative"] == ["é".encode()]
    assert np.array_equal(given["steps"], [30])
    assert "The input prompt is a face, smiling, as --set says." in source.assumptions
    assert source.identity["inputs"] == held
    source.close()


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled_up_and_cut(batch: int, served: Callable[[Server], str]) -> None:
    server = latents(
        inputs={"z": ("FP32", [batch, *SHAPE])},
        outputs={"image": ("FP32", [batch, 3, HEIGHT, WIDTH])},
    )
    source = opened(served(server), prior="uniform", range="-1,1")
    assert source.per_request == batch
    draws = drawn(source)
    assert draws.latents is not None
    assert torch.equal(images(source, draws), levels(picture(draws.latents.numpy())))
    assert all(len(given["z"]) == batch for given in server.seen)
    with pytest.raises(ConfigError, match=f"images_per_request cannot be 3: .* takes {batch} at"):
        opened(served(server), prior="uniform", range="-1,1", images_per_request="3")
    source.close()


def test_as_many_are_asked_for_at_once_as_is_said(served: Callable[[Server], str]) -> None:
    for options, sizes in (({}, [8, 3]), ({"images_per_request": "5"}, [5, 5, 1])):
        server = latents()
        source = opened(served(server), prior="uniform", range="-1,1", binary="true", **options)
        images(source, drawn(source))
        assert sorted(len(given["z"]) for given in server.seen) == sorted(sizes)
        assert source.per_request == max(sizes)
        source.close()


def test_what_is_too_much_at_once_is_asked_for_one_by_one(served: Callable[[Server], str]) -> None:
    server = latents(most=3)
    source = opened(served(server), prior="uniform", range="-1,1")
    draws = drawn(source)
    assert draws.latents is not None
    assert torch.equal(images(source, draws), levels(picture(draws.latents.numpy())))
    source.close()


NETWORKS = {
    "half": {"inputs": {"z": ("FP16", [-1, *SHAPE])}},
    "double": {"outputs": {"image": ("FP64", [-1, 3, HEIGHT, WIDTH])}},
    "open shape": {"outputs": {"image": ("FP32", [-1, -1, -1, -1])}, "layout": "NCHW"},
    "bytes": {"outputs": {"image": ("UINT8", [-1, 3, HEIGHT, WIDTH])}},
    "png": {"outputs": {"image": ("BYTES", [-1])}},
    "png, two dimensions": {"outputs": {"image": ("BYTES", [-1, 1])}},
    "channels last": {
        "outputs": {"image": ("FP32", [-1, HEIGHT, WIDTH, 3])},
        "make": lambda given: np.moveaxis(picture(given["z"]), 1, 3),
    },
    "beside another": {
        "outputs": {"score": ("FP32", [-1]), "image": ("FP32", [-1, 3, HEIGHT, WIDTH])}
    },
    "by name": {
        "outputs": {
            "image": ("UINT8", [-1, 3, HEIGHT, WIDTH]),
            "png": ("BYTES", [-1]),
        },
        "output": "png",
    },
}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("what", NETWORKS)
def test_other_datatypes_and_shapes_give_the_same_images(
    what: str, binary: bool, served: Callable[[Server], str]
) -> None:
    made = dict(NETWORKS[what])
    options = {key: made.pop(key) for key in ("layout", "output") if key in made}
    server = latents(**made, binary=binary)
    floating = all(datatype.startswith("FP") for datatype, _ in server.outputs.values())
    options |= {"range": "-1,1"} if floating else {}
    source = opened(served(server), prior="uniform", **options)
    draws = drawn(source)
    assert draws.latents is not None
    sent = draws.latents.numpy().astype("f2" if what == "half" else "f4")
    assert torch.equal(images(source, draws), levels(picture(sent)))
    source.close()


def test_a_service_that_takes_nothing_draws_for_itself(served: Callable[[Server], str]) -> None:
    count = iter(range(100))
    server = Server(
        inputs={},
        outputs={"image": ("UINT8", [-1, 3, HEIGHT, WIDTH])},
        make=lambda given: of_seed(np.array([next(count)])),
    )
    source = opened(served(server))
    assert not source.seedable and source.per_request == 1
    assert len(images(source, drawn(source)).unique(dim=0)) == 11
    source.close()


def test_an_address_may_name_a_version_and_end_as_it_likes(
    served: Callable[[Server], str],
) -> None:
    server = latents(said=SAID)
    url = served(server)
    for more in ("", "/", "/infer", "/versions/3", "/versions/3/infer"):
        source = opened(url + more)
        assert source.identity["url"] == url + ("/versions/3" if "versions" in more else "")
        images(source, drawn(source, 2))
        source.close()
    for wrong in ("", "/v2", "/v2/models", "/v2/models/", "/v2/models/a/b"):
        with pytest.raises(ConfigError, match="oip: wants http://HOST/v2/models/NAME, got"):
            opened("oip:http://127.0.0.1:9" + wrong)


# -- what is declared ------------------------------------------------------------------------


def test_metadata_say_what_nobody_else_did_and_the_user_goes_before(
    served: Callable[[Server], str],
) -> None:
    url = served(latents(said=SAID))
    source = opened(url)
    assert source.assumptions == (
        "Latents are drawn from the uniform prior, as the service's metadata says.",
        "Images are laid out NCHW, as the service's metadata says.",
        "The value -1 is black, 1 is white, as the service's metadata says.",
    )
    other = opened(url, prior="normal", latent_scale="0.5", range="-1.5,1.5")
    assert other.prior == "normal" and other.latent_shape == SHAPE
    assert "Latents are drawn from the normal prior, as --set says." in other.assumptions
    assert other.identity != source.identity
    source.close()
    other.close()


@pytest.mark.parametrize("port", [("UINT8", [-1, 3, HEIGHT, WIDTH]), ("BYTES", [-1])])
def test_a_range_in_the_metadata_says_nothing_of_bytes(
    port: tuple[str, list[int]], served: Callable[[Server], str]
) -> None:
    source = opened(served(latents(outputs={"image": port}, said=SAID)))
    assert not any("black" in sentence for sentence in source.assumptions)
    assert source.identity["range"] is None
    source.close()


def test_how_it_is_asked_decides_no_image(served: Callable[[Server], str]) -> None:
    url = served(latents(said=SAID))
    sources = [
        opened(url),
        opened(url, binary="false", images_per_request="3", concurrency="2"),
    ]
    assert sources[0].identity == sources[1].identity
    assert {"binary", "images_per_request", "concurrency"} <= set(sources[0].incidental)
    for source in sources:
        source.close()


Z = {"z": ("FP32", [-1, *SHAPE])}
WELL = {"prior": "normal", "range": "-1,1"}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no prior": ({}, {"range": "-1,1"}, "declares no prior"),
    "no range": ({}, {"prior": "normal"}, r"returns image: FP32 .*, and nobody says which values"),
    "a range of bytes": (
        {"outputs": {"image": ("UINT8", [-1, 3, 4, 5])}},
        WELL,
        "--set range would change nothing: .* returns image: UINT8",
    ),
    "a layout of files": (
        {"outputs": {"png": ("BYTES", [-1])}},
        {"prior": "normal", "layout": "NCHW"},
        "--set layout would change nothing: .* returns png: BYTES",
    ),
    "an open shape": (
        {"inputs": {"z": ("FP32", [-1, -1])}},
        WELL,
        "declares no latent_shape",
    ),
    "another shape": ({}, WELL | {"latent_shape": "7"}, "which latent_shape 7 does not fit"),
    "two that could": (
        {"inputs": {"a": ("FP32", [-1, 3]), "b": ("FP32", [-1, 4])}},
        WELL,
        "more than one input that may take the latents .*say --set latent_input=NAME",
    ),
    "two that could, of which one is called z": (
        {"inputs": {"psi": ("FP32", [-1, 1])} | Z},
        WELL,
        r"nobody says what psi: FP32 \[\?, 1\] gets; say --set psi=VALUE",
    ),
    "an unknown input": ({}, WELL | {"latent_input": "w"}, "has no input 'w'; it has z: FP32"),
    "latents of text": (
        {"inputs": Z | {"t": ("BYTES", [-1])}},
        WELL | {"latent_input": "t"},
        "latents must be floating point",
    ),
    "one that nobody spoke for": (
        {"inputs": Z | {"psi": ("FP32", [1])}},
        WELL,
        r"nobody says what psi: FP32 \[1\] gets; say --set psi=VALUE",
    ),
    "labels of how many classes": (
        {"inputs": Z | {"label": ("INT64", [-1])}},
        WELL,
        "does not say of how many classes",
    ),
    "labels that nobody takes": ({}, WELL | {"num_labels": "3"}, "no input is known to take label"),
    "labels without latents": (
        {"inputs": {"seed": ("INT64", [-1]), "y": ("INT64", [-1])}},
        {"range": "-1,1", "label_input": "y"},
        "takes no latents: labels are drawn with latents; say --set y=NUMBER",
    ),
    "a prior of seeds": (
        {"inputs": {"seed": ("INT64", [-1])}},
        WELL,
        "--set prior would change nothing: .* takes no latents",
    ),
    "seeds of fractions": (
        {"inputs": Z | {"s": ("FP32", [-1])}},
        WELL | {"seed_input": "s"},
        "seeds are whole numbers",
    ),
    "one input for two": (
        {"inputs": Z | {"y": ("INT64", [-1])}},
        WELL | {"seed_input": "y", "label_input": "y"},
        "one input cannot take both of",
    ),
    "batches that differ": (
        {"inputs": {"z": ("FP32", [4, 3]), "seed": ("INT64", [-1])}},
        WELL,
        "batches that differ",
    ),
    "no such option": (
        {},
        WELL | {"priors": "normal"},
        "no option 'priors' .*did you mean 'prior'",
    ),
    "text for a number": (
        {"inputs": Z | {"psi": ("FP32", [1])}},
        WELL | {"psi": "much"},
        "--set psi must be float",
    ),
    "no output": ({"outputs": {}}, WELL, "metadata name no outputs"),
    "two outputs": (
        {"outputs": {"a": ("FP32", [-1, 3, 4, 5]), "b": ("FP32", [-1, 3, 4, 5])}},
        WELL,
        "more than one output that may be the images",
    ),
    "no images": ({"outputs": {"a": ("FP32", [-1, 7])}}, WELL, "images must have 4 dimensions"),
    "whole numbers as images": (
        {"outputs": {"a": ("INT64", [-1, 3, 4, 5])}},
        WELL,
        "images must be float",
    ),
    "a huge input": ({"inputs": {"z": ("FP32", [-1, 2**25])}}, WELL, "values at once"),
    "huge images": ({"outputs": {"a": ("FP32", [-1, 3, 2**14, 2**14])}}, WELL, "pixels"),
    "too many at once": ({}, WELL | {"images_per_request": "5000"}, r"must be in \[1, 4096\]"),
    "foreign metadata": ({"said": {"colour": 1}}, WELL, "its ganaudit metadata must be"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(
    what: str, served: Callable[[Server], str]
) -> None:
    changes, options, sentence = REFUSED[what]
    server = latents(**changes)
    with pytest.raises(ConfigError, match=sentence):
        opened(served(server), **options)
    assert server.seen == []


PORT = {"name": "z", "datatype": "FP32", "shape": [-1, 3]}
HOSTILE = {
    "a list": [],
    "no inputs": {"outputs": [PORT]},
    "inputs that are no list": {"inputs": "z", "outputs": [PORT]},
    "an input that is text": {"inputs": ["z"], "outputs": [PORT]},
    "no name": {"inputs": [PORT | {"name": None}], "outputs": [PORT]},
    "an empty name": {"inputs": [PORT | {"name": ""}], "outputs": [PORT]},
    "a long name": {"inputs": [PORT | {"name": "z" * 300}], "outputs": [PORT]},
    "a negative side": {"inputs": [PORT | {"shape": [-2, 3]}], "outputs": [PORT]},
    "an empty side": {"inputs": [PORT | {"shape": [0, 3]}], "outputs": [PORT]},
    "a side that is a fraction": {"inputs": [PORT | {"shape": [1.5]}], "outputs": [PORT]},
    "a side that is a truth": {"inputs": [PORT | {"shape": [True]}], "outputs": [PORT]},
    "many sides": {"inputs": [PORT | {"shape": [1] * 17}], "outputs": [PORT]},
    "a name twice": {"inputs": [PORT, PORT], "outputs": [PORT]},
    "many inputs": {"inputs": [PORT | {"name": str(i)} for i in range(65)], "outputs": [PORT]},
    "a page": Response("<html>Welcome</html>", media_type="text/html"),
    "deep": Response("[" * 100_000),
    "no UTF-8": Response(b"\xff"),
    "much": Response(b'{"a": "' + b"a" * 2**20 + b'"}'),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_metadata_that_are_none_are_the_services_fault(
    what: str, served: Callable[[Server], str]
) -> None:
    url = served(latents(metadata=HOSTILE[what]))
    with pytest.raises(SourceError, match="gives no metadata of a model: the metadata") as found:
        opened(url, attempts="1", **WELL)
    assert found.value.exit_code == 3 and str(found.value).isprintable()
    assert len(str(found.value)) < 300


def test_a_model_that_is_not_there_is_said_to_be_so(served: Callable[[Server], str]) -> None:
    with pytest.raises(SourceError, match="404"):
        opened(served(latents()) + "2", **WELL)


# -- what comes back -------------------------------------------------------------------------


def renamed(fields: dict[str, Any], blocks: list[bytes]) -> None:
    fields["outputs"][0]["name"] = "imago"


def fewer(fields: dict[str, Any], blocks: list[bytes]) -> None:
    entry = fields["outputs"][0]
    entry["shape"][0] -= 1
    per_image = 4 * 3 * HEIGHT * WIDTH
    if blocks:
        blocks[0] = blocks[0][:-per_image]
        entry["parameters"]["binary_data_size"] = len(blocks[0])
    else:
        entry["data"] = entry["data"][: -per_image // 4]


def turned(fields: dict[str, Any], blocks: list[bytes]) -> None:
    entry = fields["outputs"][0]
    entry["shape"] = [entry["shape"][0], 3, WIDTH, HEIGHT]


def flattened(fields: dict[str, Any], blocks: list[bytes]) -> None:
    entry = fields["outputs"][0]
    entry["shape"] = [entry["shape"][0], 3 * WIDTH * HEIGHT]


def retyped(fields: dict[str, Any], blocks: list[bytes]) -> None:
    fields["outputs"][0]["datatype"] = "INT32"
    if not blocks:
        fields["outputs"][0]["data"] = [0] * len(fields["outputs"][0]["data"])


def nothing_known(fields: dict[str, Any], blocks: list[bytes]) -> None:
    entry = fields["outputs"][0]
    if blocks:
        blocks[0] = b"\0\0\xc0\x7f" + blocks[0][4:]
    else:
        entry["data"][0] = float("nan")


def shorter(fields: dict[str, Any], blocks: list[bytes]) -> None:
    if blocks:
        blocks[0] = blocks[0][:-3]
    else:
        fields["outputs"][0]["data"].pop()


def none_at_all(fields: dict[str, Any], blocks: list[bytes]) -> None:
    fields["outputs"] = []
    blocks.clear()


def a_page(fields: dict[str, Any], blocks: list[bytes]) -> Response:
    return Response("<html><title>Busy</title></html>", media_type="text/html")


def no_number(fields: dict[str, Any], blocks: list[bytes]) -> Response:
    return Response(json.dumps(fields), headers={"Inference-Header-Content-Length": "-1"})


SPOILT: dict[str, tuple[Callable[[dict[str, Any], list[bytes]], Any], str]] = {
    "another name": (renamed, "the answer has no output 'image'"),
    "an image less": (fewer, r"the answer has FP32 \[0, 3, 6, 5\] for 1 images, and the metadata"),
    "width for height": (turned, r"the answer has FP32 \[1, 3, 5, 6\] for 1 images"),
    "rows": (flattened, r"the answer has FP32 \[1, 90\] for 1 images"),
    "another datatype": (retyped, "the answer has INT32"),
    "no number": (nothing_known, "the image holds NaN or infinite values"),
    "a little less": (shorter, "the answer is no inference: 'image'"),
    "no output": (none_at_all, "the answer has no output 'image'"),
    "a page": (a_page, "the answer is no inference: the message is not JSON"),
    "a header that is no number": (no_number, "the answer has no number in Inference-Header"),
}


@pytest.mark.parametrize("binary", ["true", "false"])
@pytest.mark.parametrize("what", SPOILT)
def test_a_wrong_answer_is_asked_for_again(
    what: str, binary: str, served: Callable[[Server], str]
) -> None:
    spoil, _ = SPOILT[what]
    server = latents(spoil=lambda count, *answer: spoil(*answer) if count % 3 == 1 else None)
    options = {"binary": binary, "images_per_request": "2", "attempts": "5"}
    source = opened(served(server), prior="uniform", range="-1,1", **options)
    draws = drawn(source, 4)
    assert draws.latents is not None
    assert torch.equal(images(source, draws), levels(picture(draws.latents.numpy())))
    assert len(server.seen) >= 3
    source.close()


@pytest.mark.parametrize("binary", ["true", "false"])
@pytest.mark.parametrize("what", SPOILT)
def test_one_slot_whose_answers_are_always_wrong_fails_alone(
    what: str, binary: str, served: Callable[[Server], str]
) -> None:
    spoil, reason = SPOILT[what]
    guilty: list[Any] = []

    def sometimes(count: int, fields: dict[str, Any], blocks: list[bytes]) -> Any:
        asked = server.seen[-1]["z"]
        return spoil(fields, blocks) if any((row == guilty[0]).all() for row in asked) else None

    server = latents(spoil=sometimes)
    options = {"binary": binary, "images_per_request": "2", "attempts": "4", "deadline": "20"}
    source = opened(served(server), prior="uniform", range="-1,1", **options)
    draws = drawn(source, 5)
    assert draws.latents is not None
    guilty.append(draws.latents[2].numpy())
    found = dict(source.stream(draws))
    wanted = levels(picture(draws.latents.numpy()))
    for position, index in enumerate(draws.index.tolist()):
        if position == 2:
            failed = found[index]
            assert isinstance(failed, Failure) and failed.status == Status.FAILED
            assert re.search(reason, failed.reason), failed.reason
        else:
            assert torch.equal(found[index], wanted[position])
    source.close()


def test_the_trial_is_short_where_the_binary_form_is_an_error_of_the_service(
    served: Callable[[Server], str],
) -> None:
    server = latents(binary=False, status=500)
    source = opened(served(server), prior="uniform", range="-1,1", attempts="9", deadline="60")
    assert server.forms == ["binary"] * 3
    images(source, drawn(source, 3))
    assert server.forms == ["binary"] * 3 + ["JSON"]
    source.close()


def empty(fields: dict[str, Any], blocks: list[bytes]) -> None:
    entry = fields["outputs"][0]
    entry |= {"shape": [entry["shape"][0], 3, 0, WIDTH], "parameters": {"binary_data_size": 0}}
    blocks[:] = [b""]


def crowded(fields: dict[str, Any], blocks: list[bytes]) -> None:
    fields["parameters"] = {"more": [[]] * 2**19}


@pytest.mark.parametrize(
    ("spoil", "shape", "reason"),
    [
        (empty, [-1, 3, -1, -1], r"the answer has FP32 \[1, 3, 0, 5\] for 1 images"),
        (crowded, [-1, 3, HEIGHT, WIDTH], "the message has more than .* values, which is the most"),
    ],
)
def test_answers_of_no_size_or_of_more_values_than_the_metadata_say_are_not_read(
    spoil: Any, shape: list[int], reason: str, served: Callable[[Server], str]
) -> None:
    server = latents(
        outputs={"image": ("FP32", shape)}, spoil=lambda count, *answer: spoil(*answer)
    )
    options = {"binary": "true", "attempts": "1", "deadline": "0.2"}
    source = opened(served(server), prior="uniform", range="-1,1", **options)
    ((_, answer),) = source.stream(drawn(source, 1))
    assert isinstance(answer, Failure) and re.search(reason, answer.reason), answer
    source.close()


def test_the_trial_takes_json_where_the_binary_form_gives_nonsense(
    served: Callable[[Server], str],
) -> None:
    server = latents(spoil=lambda count, fields, blocks: a_page(fields, blocks) if blocks else None)
    source = opened(served(server), prior="uniform", range="-1,1", attempts="1")
    images(source, drawn(source, 3))
    assert server.forms == ["binary", "JSON"]
    source.close()


def test_the_first_images_contradict_a_range_with_exit_2(served: Callable[[Server], str]) -> None:
    with pytest.raises(ConfigError, match="outside the declared range 0,1"):
        opened(served(latents()), prior="normal", range="0,1")
    source = opened(served(latents()), prior="normal", range="0,1", binary="false")
    with pytest.raises(ConfigError, match="outside the declared range 0,1"):
        list(source.stream(drawn(source)))
    source.close()


def test_a_doubt_about_the_range_is_a_warning(served: Callable[[Server], str]) -> None:
    server = latents(make=lambda given: np.abs(picture(given["z"])))
    source = opened(served(server), prior="normal", range="-1,1")
    images(source, drawn(source))
    assert ["the upper half of the declared range" in text for text in source.warnings] == [True]
    source.close()


def test_requests_are_counted_and_the_metadata_are_none(served: Callable[[Server], str]) -> None:
    url = served(latents())
    source = registry.open_plugin(
        "generators",
        url,
        FAST | {"prior": "uniform", "range": "-1,1", "images_per_request": "4"},
        device=torch.device("cpu"),
        max_requests=4,
    )[0]
    images(source, drawn(source, 12))  # the trial, and three
    with pytest.raises(SourceGone, match="4 requests were sent, as many as --max-requests"):
        list(source.stream(drawn(source, 1)))
    source.close()
