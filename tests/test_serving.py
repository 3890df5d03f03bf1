"""`ganaudit serve`: what a client asks for is what it gets, alone or beside others."""

import base64
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import torch
from conftest import Command, Ended, Toy, paint
from doc_blocks import run_page
from endpoints import prompt
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganaudit import oip
from ganaudit.config import ServeConfig
from ganaudit.errors import ConfigError, SourceError, SourceGone, SourceTimeout
from ganaudit.generators import LatentGenerator
from ganaudit.maker import Guard
from ganaudit.serving import check_installed, messages
from ganaudit.serving.batching import Batcher
from ganaudit.serving.limits import Limits, token_digest
from ganaudit.serving.model import Inputs
from ganaudit.serving.running import Serving, bound
from ganaudit.settings import resolve
from ganaudit.slots import Draws, Stream, draw

PATIENCE_S = 30.0
INFER = "/v2/models/generator/infer"


# -- servers ---------------------------------------------------------------------------------


class Server:
    """A server in a thread, and a client of it.

    Attributes:
      lines: what it said.
      raised: what ended it.
    """

    def __init__(self, serving: Serving, lines: list[str]) -> None:
        self.serving = serving
        self.lines = lines
        self.address = serving.address
        self.raised: Exception | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def _run(self) -> None:
        try:
            self.serving.run(self._ready.set)
        except Exception as error:
            self.raised = error

    def stop(self) -> None:
        self.serving.stop()
        self.join()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def client(self, **how: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE_S, **how)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0: it has none."""
        written = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"ganaudit_{name}" + (f"{{{written}}}" if written else "")
        lines = self.serving.metrics.text().decode().splitlines()
        return next((float(x.rpartition(" ")[2]) for x in lines if x.startswith(f"{wanted} ")), 0)

    def wait_for(self, name: str, value: float) -> None:
        until_true(lambda: self.metric(name) == value, f"{name} is {self.metric(name)}")


def until_true(condition: Callable[[], bool], otherwise: str = "it never came to be") -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.005)


def request(**changes: Any) -> ServeConfig:
    return ServeConfig(**({"generator": "toy", "port": 0, "device": "cpu"} | changes))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(generator, queue=4)` starts a server; all are stopped at the end."""
    with prompt(), ExitStack() as stack:

        def start(
            source: LatentGenerator | None = None,
            limits: dict[str, Any] | None = None,
            **changes: Any,
        ) -> Server:
            config = request(**changes)
            lines: list[str] = []
            listener = stack.enter_context(bound(config.host, config.port))
            usual = Limits(body_bytes=config.max_body_mb << 20, answer_bytes=2**20)
            serving = Serving(
                config,
                source or Toy(),
                device="cpu",
                listener=listener,
                say=lines.append,
                limits=replace(usual, **(limits or {})),
            )
            server = Server(serving, lines)
            stack.callback(server.stop)
            return server

        yield start


class Gate(Toy):
    """Renders while it is open; tells which latents it was asked for.

    Attributes:
      batches: sizes, the two of the first images left out.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.seeds: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.began = threading.Event()

    def render(self, draws: Draws) -> Tensor:
        self.batches.append(len(draws))
        self.seeds += draws.index.tolist()
        self.began.set()
        assert self.open.wait(PATIENCE_S)
        return super().render(draws)

    def forget(self) -> None:
        """What was rendered before anybody asked."""
        self.batches.clear()
        self.seeds.clear()
        self.began.clear()


class Conditional(Toy):
    """The label is the first pixel, the noise seed's last digit the second."""

    num_labels = 5

    def render(self, draws: Draws) -> Tensor:
        images = super().render(draws)
        assert draws.labels is not None
        images[:, 0, 0, 0] = draws.labels.to(torch.uint8)
        images[:, 0, 0, 1] = (draws.seeds % 200).to(torch.uint8)
        return images


# -- clients ---------------------------------------------------------------------------------


def tensor(name: str, values: Any) -> oip.Tensor:
    array = np.asarray(values, dtype="<f4" if name == "latent" else "<i8")
    return oip.Tensor(name, "FP32" if name == "latent" else "INT64", array.shape, array)


def ask(
    client: httpx.Client, *tensors: oip.Tensor, binary: bool = True, **fields: Any
) -> httpx.Response:
    """An inference request, with tensors as bytes or as JSON both ways."""
    fields.setdefault("parameters", {"binary_data_output": binary})
    body, length = oip.encode(fields, tensors, key="inputs", binary=binary)
    headers = {"Content-Type": "application/octet-stream" if binary else "application/json"}
    if length is not None:
        headers[oip.HEADER] = str(length)
    return client.post(INFER, content=body, headers=headers)


def output(answer: httpx.Response) -> oip.Tensor:
    """The only output of an answer."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(oip.HEADER)
    _, (found,) = oip.decode(
        answer.content, None if length is None else int(length), key="outputs", most_values=2**24
    )
    return found


def images(answer: httpx.Response) -> NDArray[np.uint8]:
    found = output(answer)
    assert (found.name, found.datatype) == ("image", "UINT8")
    return np.asarray(found.values)


def pixels(file: bytes) -> NDArray[np.uint8]:
    """uint8 [3, H, W] of a PNG file."""
    with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
        return np.array(picture).transpose(2, 0, 1)


def expected(seeds: list[int], *, seed: int = 0) -> NDArray[np.uint8]:
    """What the toy renders for slots of the samples."""
    draws = draw(np.array(seeds), seed=seed, stream=Stream.SAMPLES, latent_shape=Toy.latent_shape)
    return Toy().render(draws).numpy()


# -- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_a_seed_gives_the_image_of_that_slot(serve: Callable[..., Server], binary: bool) -> None:
    seeds = [7, 0, 2**63 - 1, 7]
    with serve(seed=3).client() as client:
        answer = ask(client, tensor("seed", seeds), binary=binary, id='0: [0] "0"')
        assert (answer.headers["content-type"] == "application/octet-stream") == binary
        found = images(answer)
    np.testing.assert_allclose(found, expected(seeds, seed=3), atol=1)
    length = answer.headers.get(oip.HEADER)
    said = json.loads(answer.content[: int(length) if length else None])
    assert (said["id"], said["model_name"], said["model_version"]) == (
        '0: [0] "0"',
        "generator",
        "1",
    )


@pytest.mark.parametrize("binary", [True, False])
def test_a_latent_gives_its_image(serve: Callable[..., Server], binary: bool) -> None:
    latents = np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype(np.float32)
    with serve().client() as client:
        found = images(ask(client, tensor("latent", latents), binary=binary))
    np.testing.assert_array_equal(found, paint(torch.from_numpy(latents)).numpy())


def test_nested_values_and_single_columns_are_read(serve: Callable[..., Server]) -> None:
    latents = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    with serve().client() as client:
        for data in (latents.tolist(), latents.ravel().tolist()):
            entry = {"name": "latent", "datatype": "FP32", "shape": [2, 3, 4, 4], "data": data}
            found = images(client.post(INFER, json={"inputs": [entry]}))
            np.testing.assert_array_equal(found, paint(torch.from_numpy(latents)).numpy())
        entry = {"name": "seed", "datatype": "INT64", "shape": [2, 1], "data": [[4], [5]]}
        found = images(client.post(INFER, json={"inputs": [entry]}))
    np.testing.assert_allclose(found, expected([4, 5]), atol=1)


def test_labels_and_noise_are_the_clients_or_the_seeds(serve: Callable[..., Server]) -> None:
    seeds = np.array([0, 1, 2, 3])
    drawn = draw(seeds, seed=0, stream=Stream.SAMPLES, latent_shape=(3, 4, 4), labels=np.arange(5))
    assert drawn.labels is not None and drawn.latents is not None
    latents = drawn.latents.numpy()
    cases: list[tuple[list[oip.Tensor], Any, Any]] = [
        ([tensor("seed", seeds)], drawn.labels, drawn.seeds),
        ([tensor("seed", seeds), tensor("label", [4, 3, 2, 1])], [4, 3, 2, 1], drawn.seeds),
        ([tensor("latent", latents), tensor("label", [1] * 4)], [1] * 4, [0] * 4),
        ([tensor("latent", latents), tensor("seed", seeds)], drawn.labels, drawn.seeds),
        ([tensor("seed", seeds), tensor("noise_seed", [5] * 4)], drawn.labels, [5] * 4),
    ]
    with serve(Conditional()).client() as client:
        for tensors, labels, noise in cases:
            found = images(ask(client, *tensors))
            assert found[:, 0, 0, 0].tolist() == np.asarray(labels).tolist()
            assert found[:, 0, 0, 1].tolist() == (np.asarray(noise) % 200).tolist()
            np.testing.assert_allclose(found[:, 1:], paint(drawn.latents)[:, 1:], atol=1)


def test_labels_are_drawn_as_the_request_says(serve: Callable[..., Server]) -> None:
    with serve(Conditional(), labels="3").client() as client:
        assert set(images(ask(client, tensor("seed", range(16))))[:, 0, 0, 0]) == {3}


@pytest.mark.parametrize("binary", [True, False])
def test_png_files_hold_the_same_pixels(serve: Callable[..., Server], binary: bool) -> None:
    own = {"binary_data": binary}
    with serve().client() as client:
        answer = ask(
            client, tensor("seed", [1, 2]), outputs=[{"name": "png", "parameters": own}],
            parameters={},
        )  # fmt: skip
    found = output(answer)
    assert (found.name, found.datatype, found.shape) == ("png", "BYTES", (2,))
    if not binary:
        (said,) = answer.json()["outputs"]
        assert said["parameters"]["content_type"] == "base64"
        assert [base64.b64decode(text) for text in said["data"]] == found.values
    for file, image in zip(found.values, expected([1, 2]), strict=True):
        np.testing.assert_allclose(pixels(file), image, atol=1)


def test_generate_answers_with_a_png_file(serve: Callable[..., Server]) -> None:
    latent = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    painted = paint(torch.from_numpy(latent)).numpy()
    with serve().client() as client:
        named = client.post("/generate", json={"seed": 11})
        assert (named.headers["content-type"], named.headers["x-seed"]) == ("image/png", "11")
        np.testing.assert_allclose(pixels(named.content), expected([11])[0], atol=1)
        for data in (latent.tolist(), latent.ravel().tolist()):
            given = client.post("/generate", json={"latent": data, "noise_seed": 1})
            np.testing.assert_array_equal(pixels(given.content), painted)
            assert "x-seed" not in given.headers
        drawn = [client.post("/generate", json={}), client.post("/generate")]
        seeds = [int(answer.headers["x-seed"]) for answer in drawn]
        assert seeds[0] != seeds[1]
        for seed, answer in zip(seeds, drawn, strict=True):
            np.testing.assert_allclose(pixels(answer.content), expected([seed])[0], atol=1)


def test_generate_draws_the_label_that_is_not_sent(serve: Callable[..., Server]) -> None:
    with serve(Conditional()).client() as client:
        answers = [
            client.post("/generate", json={"latent": [0.0] * 48} | more)
            for more in ({}, {"label": 3}, {"seed": 8}, {"seed": 8, "label": 3})
        ]
    assert ["x-seed" in answer.headers for answer in answers] == [True, False, True, True]
    slots = np.array([int(answers[0].headers["x-seed"]), 8])
    drawn = draw(slots, seed=0, stream=Stream.SAMPLES, labels=np.arange(5)).labels
    assert drawn is not None
    labels = [int(pixels(answer.content)[0, 0, 0]) for answer in answers]
    assert labels == [int(drawn[0]), 3, int(drawn[1]), 3]


def test_answers_too_long_for_json_name_the_remedy(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(messages.MOST_IN_JSON, "image", 100)
    monkeypatch.setitem(messages.MOST_IN_JSON, "png", 40)
    with serve().client() as client:
        assert len(images(ask(client, tensor("seed", [0, 1]), binary=False))) == 2
        refused = ask(client, tensor("seed", [0, 1, 2]), binary=False)
        assert refused.status_code == 422
        assert refused.json()["error"] == (
            "3 images of 48 values are too many for JSON, which has 100 at most: ask for binary "
            "output, for png, or for fewer images"
        )
        refused = client.post(
            INFER,
            json={
                "inputs": [{"name": "seed", "datatype": "INT64", "shape": [1], "data": [0]}],
                "outputs": [{"name": "png"}],
            },
        )
        assert refused.status_code == 422 and "or for no images" in refused.json()["error"]
        assert len(images(ask(client, tensor("seed", [0, 1, 2])))) == 3


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([], "seed or latent is needed"),
        ([("noise_seed", "INT64", [1], [1])], "seed or latent is needed"),
        ([("latent", "FP32", [1, 3, 4, 4], [0.0] * 48)], "label is needed, or a seed"),
        ([("seed", "INT64", [1], [-1])], r"seed must be in 0 to 2\*\*63 - 1"),
        ([("seed", "UINT64", [1], [2**63])], r"seed must be INT64 \[1\], got UINT64 \[1\]"),
        ([("seed", "INT64", [1], [0]), ("label", "INT64", [1], [5])], "label must be in 0 to 4"),
        ([("seed", "INT64", [0], [])], "1 to 64 images can be asked for at once, got 0"),
        ([("seed", "INT64", [65], list(range(65)))], "1 to 64 images .* got 65"),
        ([("seed", "INT64", [1], [0]), ("x", "INT64", [1], [0])], "the inputs are seed, latent, "),
        ([("seed", "INT64", [2], [0, 0]), ("label", "INT64", [1], [0])], "it must be equal"),
        ([("latent", "FP32", [1, 48], [0.0] * 48)], r"latent must be FP32 \[1, 3, 4, 4\], got"),
        ([("latent", "FP64", [1, 3, 4, 4], [0.0] * 48)], "latent must be FP32 .*, got FP64"),
        ([("latent", "FP32", [1, 3, 4, 4], [float("nan")] * 48)], r"in \[-10000, 10000\]"),
        ([("latent", "FP32", [1, 3, 4, 4], [float("-inf")] * 48)], r"in \[-10000, 10000\]"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_a_sentence(
    serve: Callable[..., Server], inputs: list[tuple[Any, ...]], sentence: str
) -> None:
    entries = [
        dict(zip(("name", "datatype", "shape", "data"), entry, strict=True)) for entry in inputs
    ]
    if entries and entries[0]["name"] == "latent" and "label" not in sentence:
        entries.append({"name": "label", "datatype": "INT64", "shape": [1], "data": [0]})
    with serve(Conditional()).client() as client:
        body = json.dumps({"inputs": entries}).encode()
        answer = client.post(INFER, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert re.search(sentence, answer.json()["error"]), answer.text


# -- batching --------------------------------------------------------------------------------


def test_requests_of_several_clients_are_rendered_together(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate, batch=16, delay_ms=0)
    gate.forget()
    gate.open.clear()
    with server.client() as client, ThreadPoolExecutor(9) as pool:
        first = pool.submit(ask, client, tensor("seed", [100]))
        assert gate.began.wait(PATIENCE_S)
        others = [pool.submit(ask, client, tensor("seed", [i, i + 50])) for i in range(8)]
        server.wait_for("waiting_images", 16)
        gate.open.set()
        assert len(images(first.result())) == 1
        for i, other in enumerate(others):
            np.testing.assert_allclose(images(other.result()), expected([i, i + 50]), atol=1)
    assert gate.batches == [1, 16]
    assert server.metric("batch_images_count") == 2
    assert server.metric("images_total") == 17


def test_a_large_request_takes_several_batches(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate, batch=4)
    gate.forget()
    with server.client() as client:
        found = images(ask(client, tensor("seed", range(10))))
    np.testing.assert_allclose(found, expected(list(range(10))), atol=1)
    assert gate.batches == [4, 4, 2]


@contextmanager
def batcher(
    sizes: list[int], *, clients: int, delay_s: float = 3600, batch: int = 4
) -> Iterator[Batcher]:
    """One that renders nothing but notes how much it was asked for."""

    def render(parts: Any) -> NDArray[np.uint8]:
        sizes.append(sum(map(len, parts)))
        return np.zeros((sizes[-1], 3, 2, 2), dtype=np.uint8)

    made = Batcher(
        render,
        Guard(PATIENCE_S),
        batch=batch,
        delay_s=delay_s,
        queue=64,
        clients=lambda: clients,
        rendered=lambda images, seconds: None,
        failed=lambda reason: None,
        ended=lambda: None,
    )
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("clients", "asked", "delay_s", "sizes"),
    [
        (1, [1], 3600, [1]),  # nobody else could come
        (6, [1, 1, 1], 3600, [3]),  # half of all
        (1000, [2, 1, 1], 3600, [4]),  # the batch is full
        (1000, [1, 1], 0.001, [2]),  # the others do not come
    ],
)
def test_a_batch_waits_for_nobody_who_cannot_come(
    clients: int, asked: list[int], delay_s: float, sizes: list[int]
) -> None:
    found: list[int] = []
    with batcher(found, clients=clients, delay_s=delay_s) as made:
        jobs = [made.ask(Inputs(seed=np.zeros(count, np.int64))) for count in asked]
        made.start()
        for job, count in zip(jobs, asked, strict=True):
            assert len(job.images.result(PATIENCE_S)) == count
    assert found == sizes


def test_a_batch_waits_for_those_who_may_come() -> None:
    found: list[int] = []
    with batcher(found, clients=6) as made:
        made.start()
        first = made.ask(Inputs(seed=np.zeros(1, np.int64)))
        second = made.ask(Inputs(seed=np.zeros(1, np.int64)))
        assert not first.images.done() and not second.images.done()
        made.ask(Inputs(seed=np.zeros(1, np.int64))).images.result(PATIENCE_S)
        assert first.images.done() and second.images.done()
    assert found == [3]


def test_a_full_queue_says_when_to_come_again(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate, queue=4, max_images=4)
    gate.forget()
    gate.open.clear()
    with server.client() as client, ThreadPoolExecutor(4) as pool:
        rendering = pool.submit(ask, client, tensor("seed", [0]))
        assert gate.began.wait(PATIENCE_S)
        waiting = pool.submit(ask, client, tensor("seed", [1, 2, 3]))
        server.wait_for("waiting_images", 3)
        refused = ask(client, tensor("seed", [4, 5]))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"].startswith("too many images wait; come again in ")
        fits = pool.submit(ask, client, tensor("seed", [6]))
        server.wait_for("waiting_images", 4)
        gate.open.set()
        counts = [len(images(x.result())) for x in (rendering, waiting, fits)]
    assert counts == [1, 3, 1]
    assert server.metric("requests_total", endpoint=INFER, status="429") == 1


def test_who_leaves_is_not_rendered_for(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate)
    gate.forget()
    gate.open.clear()
    with server.client() as client, ThreadPoolExecutor(2) as pool:
        rendering = pool.submit(ask, client, tensor("seed", [0]))
        assert gate.began.wait(PATIENCE_S)
        with socket.create_connection(address_of(server)) as leaving:
            leaving.sendall(raw(seeds=[1, 2, 3]))
            server.wait_for("waiting_images", 3)
        server.wait_for("waiting_images", 0)
        gate.open.set()
        assert len(images(rendering.result())) == 1
        assert len(images(ask(client, tensor("seed", [9])))) == 1
    assert gate.seeds == [0, 9]


def address_of(server: Server) -> tuple[str, int]:
    url = httpx.URL(server.address)
    assert url.port is not None
    return url.host, url.port


def raw(*, seeds: list[int], path: str = INFER) -> bytes:
    """A whole inference request, as sent."""
    entry = {"name": "seed", "datatype": "INT64", "shape": [len(seeds)], "data": seeds}
    body = json.dumps({"inputs": [entry]}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# -- what goes wrong -------------------------------------------------------------------------


class Fragile(Gate):
    """Breaks over a latent whose first value is 9."""

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        found = super().render(draws)
        if (draws.latents[:, 0, 0, 0] == 9).any():
            raise RuntimeError("secret path /models/x")
        return found


def test_only_the_guilty_request_fails(serve: Callable[..., Server]) -> None:
    fragile = Fragile()
    server = serve(fragile, batch=8)
    fragile.forget()
    fragile.open.clear()
    guilty = np.full((1, 3, 4, 4), 9, dtype=np.float32)
    with server.client() as client, ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, client, tensor("seed", [0]))
        assert fragile.began.wait(PATIENCE_S)
        good = [pool.submit(ask, client, tensor("seed", [i, i + 1])) for i in (1, 3)]
        bad = pool.submit(ask, client, tensor("latent", guilty))
        server.wait_for("waiting_images", 5)
        fragile.open.set()
        for i, answer in zip((0, 1, 3), (first, *good), strict=True):
            wanted = [i, i + 1] if i else [0]
            np.testing.assert_allclose(images(answer.result()), expected(wanted), atol=1)
        failed = bad.result()
    assert failed.status_code == 500
    assert failed.json() == {"error": "the generator failed on this request"}
    assert fragile.batches[:2] == [1, 5] and sorted(fragile.batches[2:]) == [1, 2, 2]
    assert server.lines == ["the generator failed: RuntimeError: secret path /models/x"]
    assert server.metric("failed_batches_total") == 1


def test_a_generator_that_hangs_again_and_again_ends_the_server(
    serve: Callable[..., Server],
) -> None:
    gate = Gate()
    server = serve(gate, timeout_s=0.2)
    gate.open.clear()
    with server.client() as client:
        for _ in range(3):
            answer = ask(client, tensor("seed", [1]))
            assert answer.status_code == 500
            assert answer.json()["error"] == "the generator took too long"
        server.join()
    gate.open.set()
    assert isinstance(server.raised, SourceTimeout)
    assert str(server.raised).endswith("3 times in a row")


class Gone(Gate):
    """A service that goes away."""

    def render(self, draws: Draws) -> Tensor:
        if draws.index.tolist() == [13]:
            raise SourceGone("the token is refused")
        return super().render(draws)


def test_a_generator_that_is_gone_ends_the_server(serve: Callable[..., Server]) -> None:
    server = serve(Gone())
    with server.client() as client:
        assert ask(client, tensor("seed", [13])).status_code == 500
        server.join()
    assert isinstance(server.raised, SourceGone) and server.raised.exit_code == 3


class Together(Toy):
    """An image depends on its batch mates."""

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        return paint(draws.latents - draws.latents.mean(0))


class Failing(Toy):
    """Renders nothing."""

    def render(self, draws: Draws) -> Tensor:
        raise SourceError("no images today")


def test_a_generator_is_tried_before_anybody_asks(serve: Callable[..., Server]) -> None:
    with pytest.raises(SourceError, match="depend on their batch mates"):
        serve(Together())
    with pytest.raises(SourceError, match="no images today"):
        serve(Failing())
    with serve(Together(), batch=1).client() as client:
        assert len(images(ask(client, tensor("seed", [0, 1])))) == 2


class Growing(Toy):
    """Slot 5 has another size."""

    def render(self, draws: Draws) -> Tensor:
        return super().render(draws).repeat(1, 1, 1, 2 if 5 in draws.index.tolist() else 1)


def test_images_of_another_size_are_an_error_of_the_generator(
    serve: Callable[..., Server],
) -> None:
    server = serve(Growing())
    with server.client() as client:
        assert ask(client, tensor("seed", [5])).status_code == 500
        assert len(images(ask(client, tensor("seed", [4])))) == 1
    assert server.lines == [
        "the generator failed: images must be (4, 4) as the first ones, got (4, 8)"
    ]


# -- what else there is to ask for -----------------------------------------------------------


def test_health_and_metadata(serve: Callable[..., Server]) -> None:
    with serve(Conditional(), name="faces.v2").client() as client:
        assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
        assert client.get("/v2/health/live").json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/faces.v2/ready"):
            assert client.get(path).json() == {"name": "faces.v2", "ready": True}
        said = client.get("/v2/models/faces.v2").json()
        assert client.get("/v2/models/faces.v2/versions/1").json() == said
        assert client.get("/v2/models/generator").status_code == 404
    assert {(x["name"], x["datatype"], tuple(x["shape"])) for x in said["inputs"]} == {
        ("latent", "FP32", (-1, 3, 4, 4)),
        ("seed", "INT64", (-1,)),
        ("noise_seed", "INT64", (-1,)),
        ("label", "INT64", (-1,)),
    }
    assert {(x["name"], x["datatype"], tuple(x["shape"])) for x in said["outputs"]} == {
        ("image", "UINT8", (-1, 3, 4, 4)),
        ("png", "BYTES", (-1,)),
    }
    assert json.loads(said["parameters"]["ganaudit"]) == {
        "prior": "normal",
        "latent_shape": [3, 4, 4],
        "layout": "NCHW",
        "num_labels": 5,
    }


def test_metrics_count_requests_and_images(serve: Callable[..., Server]) -> None:
    server = serve()
    with server.client() as client:
        for count in (1, 2):
            ask(client, tensor("seed", range(count)))
        client.post("/generate", json={"seed": -1})
        client.get("/somewhere")
        text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    lines = text.text.splitlines()
    assert f'ganaudit_requests_total{{endpoint="{INFER}",status="200"}} 2.0' in lines
    assert 'ganaudit_requests_total{endpoint="/generate",status="422"} 1.0' in lines
    assert 'ganaudit_requests_total{endpoint="other",status="404"} 1.0' in lines
    assert "ganaudit_images_total 3.0" in lines
    assert "ganaudit_batch_images_sum 3.0" in lines
    assert "ganaudit_connections 1.0" in lines


def test_the_openapi_document_says_what_is_answered(serve: Callable[..., Server]) -> None:
    with serve(Conditional(), max_images=3).client() as client:
        document = client.get("/openapi.json").json()
        assert document["openapi"] == "3.1.0"
        error = document["components"]["schemas"]["Error"]
        operations = {
            (method, path): operation
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }
        names = [operation["operationId"] for operation in operations.values()]
        assert len(set(names)) == len(names)
        text = json.dumps(document)
        assert set(re.findall(r'"\$ref": "([^"]+)"', text)) == {"#/components/schemas/Error"}
        forms = document["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]
        bodies = {
            INFER: [{"inputs": list(entries)} for entries in some_inputs()],
            "/generate": [{}, {"seed": 1, "label": 2}, {"latent": [0.5] * 48, "label": 0}],
        }
        for body in bodies[INFER]:
            jsonschema.validate(body, forms["schema"])
        for (method, path), operation in operations.items():
            some = bodies.get(path, bodies[INFER]) if method == "post" else [None]
            for body in [*some, *([{"inputs": 1}] if method == "post" else [])]:
                answer = client.request(method, path, json=body)
                said = operation["responses"][str(answer.status_code)]
                kind = answer.headers["content-type"].partition(";")[0]
                schema = said["content"][kind]["schema"]
                if kind == "application/json":
                    schema = error if "$ref" in schema else schema
                    jsonschema.Draft202012Validator.check_schema(schema)
                    jsonschema.validate(answer.json(), schema)
                assert answer.status_code == 200 or body == {"inputs": 1}
            assert client.request("DELETE", path).status_code == 405


def some_inputs() -> list[list[dict[str, Any]]]:
    """Inputs of a request for the conditional toy, of one to three images."""

    def entry(name: str, values: list[Any], *sides: int) -> dict[str, Any]:
        datatype = "FP32" if name == "latent" else "INT64"
        return {"name": name, "datatype": datatype, "shape": [*sides], "data": values}

    return [
        [entry("seed", [1], 1)],
        [entry("seed", [1, 2, 3], 3), entry("label", [0, 1, 2], 3)],
        [entry("latent", [0.5] * 96, 2, 3, 4, 4), entry("label", [4, 4], 2)],
        [
            entry("latent", [1] * 48, 1, 3, 4, 4),
            entry("label", [4], 1),
            entry("noise_seed", [2**63 - 1], 1),
        ],
    ]


# -- tokens ----------------------------------------------------------------------------------


def test_a_token_opens_everything_and_nothing_else_does(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "right-one")
    server = serve(token_env="A_TOKEN")
    paths = ("/v2", "/metrics", "/openapi.json", "/v2/models/generator", "/nowhere")
    with server.client() as client:
        for given in (
            None,
            "Bearer wrong",
            "Bearer",
            "Basic right-one",
            "right-one",
            "Bearer \xff",
        ):
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            for path in paths:
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json() == {"error": "a token is needed: Authorization: Bearer TOKEN"}
            assert client.post("/generate", headers=headers).status_code == 401
        twice = [("Authorization", "Bearer wrong"), ("Authorization", "Bearer right-one")]
        assert client.get("/v2", headers=twice).status_code == 401
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
        client.headers["Authorization"] = "bearer right-one"
        assert [client.get(path).status_code for path in paths] == [200] * 4 + [404]
        document = client.get("/openapi.json").json()
        assert len(images(ask(client, tensor("seed", [1])))) == 1
    (scheme,) = document["components"]["securitySchemes"]
    for path, item in document["paths"].items():
        for operation in item.values():
            assert ("security" in operation) == (not path.startswith("/v2/health"))
            assert operation.get("security", [{scheme: []}]) == [{scheme: []}]
    assert "right-one" not in repr(vars(server.serving)) + "".join(server.lines)


@pytest.mark.parametrize("text", ["", "  \n", "two words", "t\xf6ken", "a\x00b", "x" * 5000])
def test_a_file_without_a_useful_token_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="--token-file") as caught:
        token_digest(request(token_file=path))
    assert not text.strip() or text not in str(caught.value)


def test_where_a_token_is_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such environment variable"):
        token_digest(request(token_env="NO_SUCH_TOKEN"))
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        token_digest(request(token_file=tmp_path / "none"))
    (tmp_path / "token").write_text("one\n")
    assert token_digest(request(token_file=tmp_path / "token")) is not None
    assert token_digest(request()) is None


# -- connections -----------------------------------------------------------------------------


def test_a_full_server_gives_up_who_does_nothing(serve: Callable[..., Server]) -> None:
    server = serve(limits={"connections": 3, "head_s": 600.0})
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(address_of(server))) for _ in range(3)]
        server.wait_for("connections", 3)
        with server.client() as client:
            assert len(images(ask(client, tensor("seed", [1])))) == 1
        (given_up,), _, _ = select.select(idle, [], [], PATIENCE_S)
        assert given_up.recv(12) == b"HTTP/1.1 503"
        other = next(one for one in idle if one is not given_up)
        other.settimeout(PATIENCE_S)
        other.sendall(raw(seeds=[1]))
        assert other.recv(12) == b"HTTP/1.1 200"
    assert server.metric("closed_connections_total", reason="full") == 1


def test_a_full_server_keeps_who_was_of_use(serve: Callable[..., Server]) -> None:
    server = serve(limits={"connections": 2, "head_s": 600.0})
    with server.client() as client, ExitStack() as stack:
        assert len(images(ask(client, tensor("seed", [1])))) == 1
        for count in range(3):  # each in the place of the one before
            one = stack.enter_context(socket.create_connection(address_of(server)))
            one.settimeout(PATIENCE_S)
            server.wait_for('closed_connections_total{reason="full"}', count)
        assert len(images(ask(client, tensor("seed", [1])))) == 1
    assert server.metric("requests_total", endpoint=INFER, status="200") == 2


def test_where_all_are_busy_a_new_connection_is_refused(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate, limits={"connections": 1})
    gate.forget()
    gate.open.clear()
    with ExitStack() as stack:
        busy = stack.enter_context(socket.create_connection(address_of(server)))
        busy.settimeout(PATIENCE_S)
        busy.sendall(raw(seeds=[1]))
        assert gate.began.wait(PATIENCE_S)
        other = stack.enter_context(socket.create_connection(address_of(server)))
        other.settimeout(PATIENCE_S)
        assert other.recv(12) == b"HTTP/1.1 503"
        gate.open.set()
        assert busy.recv(12) == b"HTTP/1.1 200"


def test_requests_sent_ahead_are_answered_in_their_order(serve: Callable[..., Server]) -> None:
    gate = Gate()
    server = serve(gate)
    gate.forget()
    with socket.create_connection(address_of(server)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"".join(raw(seeds=[i]) for i in range(5)))
        found = b""
        while found.count(b"HTTP/1.1 200") < 5 or found.count(b'"outputs"') < 5:
            found += connection.recv(2**16)
    assert gate.seeds == [0, 1, 2, 3, 4]


def test_who_takes_no_answer_is_given_up(serve: Callable[..., Server]) -> None:
    class Large(Toy):
        def render(self, draws: Draws) -> Tensor:
            return super().render(draws).repeat(1, 1, 64, 64)

    server = serve(Large(), limits={"look_s": 0.1})
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        connection.connect(address_of(server))
        connection.sendall(raw(seeds=list(range(20))))  # 4 million values, as text
        until_true(lambda: server.metric("closed_connections_total", reason="unread") == 1)
        server.wait_for("connections", 0)


def test_who_takes_no_answer_is_given_up_though_it_asks_for_more(
    serve: Callable[..., Server],
) -> None:
    class Large(Toy):
        def render(self, draws: Draws) -> Tensor:
            return super().render(draws).repeat(1, 1, 64, 64)

    server = serve(Large(), limits={"look_s": 0.5})
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        connection.connect(address_of(server))
        connection.sendall(raw(seeds=list(range(20))))
        until = time.monotonic() + PATIENCE_S
        while server.metric("closed_connections_total", reason="unread") != 1:
            assert time.monotonic() < until
            with suppress(OSError):  # it may be closed by now
                connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
        server.wait_for("connections", 0)


def test_a_generator_may_fill_the_same_memory_for_every_batch(serve: Callable[..., Server]) -> None:
    class Thrifty(Toy):
        memory = torch.empty(4, 3, 4, 4, dtype=torch.uint8)

        def render(self, draws: Draws) -> Tensor:
            found = self.memory[: len(draws)]
            found.copy_(super().render(draws))
            return found

    server = serve(Thrifty(), batch=4)
    seeds = list(range(14))
    with server.client() as client:
        found = images(ask(client, tensor("seed", seeds)))
    np.testing.assert_array_equal(found, expected(seeds))


# -- the command -----------------------------------------------------------------------------

WAITING = """
import os, time, torch


class Waiting:
    latent_shape = (3, 4, 4)
    prior = "normal"
    num_labels = 0

    def render(self, draws):
        print("the generator's own words")
        if os.path.exists("hold"):
            open("rendering", "w").close()
            while os.path.exists("hold"):
                time.sleep(0.01)
        return (128 + 40 * draws.latents).round().clamp(0, 255).to(torch.uint8)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_in_flight_end(
    start: Callable[..., Command], number: signal.Signals, tmp_path: Path
) -> None:
    Path("waiting.py").write_text(WAITING)
    out = tmp_path / "address"
    command = start(
        "serve", "--generator", "python:waiting.py:Waiting", "--port", 0, "--device", "cpu",
        out=out,
    )  # fmt: skip
    address = line_of(out, command)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    Path("hold").touch()
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as client, ThreadPoolExecutor() as pool:
        in_flight = pool.submit(ask, client, tensor("seed", [1, 2]))
        until_true(Path("rendering").exists)
        assert command.process.pid is not None
        os.kill(command.process.pid, number)
        until_true(lambda: not accepts(address))
        Path("hold").unlink()
        np.testing.assert_allclose(images(in_flight.result()), expected([1, 2]), atol=1)
    ended = command.wait()
    assert ended.code == 0
    assert ended.out == f"{address}\n"  # what the generator prints goes elsewhere
    assert "the generator's own words" in ended.err


def line_of(out: Path, command: Command) -> str:
    """The line that a server says on stdout once it is ready."""
    until_true(lambda: command.process.exitcode is not None or out.is_file() and whole(out))
    assert command.process.exitcode is None, command.wait().err
    return out.read_text().strip()


def whole(path: Path) -> bool:
    return path.read_text().endswith("\n")


def accepts(address: str) -> bool:
    try:
        with socket.create_connection((httpx.URL(address).host, httpx.URL(address).port or 0)):
            return True
    except OSError:
        return False


def test_what_cannot_be_served_is_refused_by_a_sentence(
    ganaudit: Callable[..., Ended], tmp_path: Path
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    ended = ganaudit("serve", "--generator", f"images:{tmp_path}", "--port", 0)
    assert ended.code == 2 and "takes no latents, so it cannot be served" in ended.complaint
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = ganaudit("serve", "--generator", "demo", "--port", port)
    assert ended.code == 2
    assert ended.complaint.startswith(f"127.0.0.1:{port} cannot be listened on (")
    # Somebody else may bind the port first and listen on it while the generator is opened.
    with bound("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        Path("slow.py").write_text(
            "import socket\n"
            "from ganaudit.registry import open_plugin\n"
            "def make():\n"
            "    other.listen()\n"
            "    return open_plugin('generators', 'demo', {})[0]\n"
            "other = socket.socket()\n"
            "other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
            f"other.bind(('127.0.0.1', {port}))\n"
        )
        ended = ganaudit("serve", "--generator", "python:slow.py:make", "--port", port)
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaint.startswith(f"127.0.0.1:{port} cannot be listened on (")
    Path("broken.py").write_text(WAITING.replace('print("the', 'raise OSError("the'))
    ended = ganaudit("serve", "--generator", "python:broken.py:Waiting", "--port", 0)
    assert ended.code == 3
    assert ended.complaint == (
        "the first image cannot be rendered: OSError: the generator's own words"
    )
    ended = ganaudit("serve", "--generator", "demo", "--token-env", "NO_SUCH_TOKEN", "--port", 0)
    assert ended.code == 2 and "no such environment variable" in ended.complaint


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr("ganaudit.serving.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"fastapi, .*: pip install 'ganaudit\[serve\]'"):
        check_installed()


def test_the_command_line_imports_no_server() -> None:
    program = (
        "import sys, ganaudit.cli\n"
        "print([m for m in ('fastapi', 'uvicorn', 'starlette', 'prometheus_client')"
        " if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generator": ""}, "--generator is needed"),
        ({"port": -1}, "--port must be in"),
        ({"port": 65536}, "--port must be in"),
        ({"name": "a/b"}, "--name is part of addresses"),
        ({"name": ""}, "--name is part of addresses"),
        ({"delay_ms": -1.0}, "--delay-ms must be in"),
        ({"delay_ms": float("nan")}, "--delay-ms must be in"),
        ({"queue": 0}, "--queue must be at least 1"),
        ({"queue": 8, "max_images": 9}, "--queue 8 has no room for a request of --max-images 9"),
        ({"max_body_mb": 0}, "--max-body-mb must be at least 1"),
        ({"max_body_mb": 1025}, "--max-body-mb must be at most 1024"),
        ({"token_env": "A", "token_file": Path("b")}, "exclude each other"),
        ({"set": ("descriptor.size=4",)}, "serving needs no descriptor"),
    ],
)
def test_a_wrong_request_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        request(**changes)


def test_an_address_that_is_none_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="--host 'no such host' is no address of this machine"),
        bound("no such host", 0),
    ):
        pass


def test_settings_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ganaudit.toml").write_text(
        'seed = 1\n[serve]\ngenerator = "demo"\nport = 81\ntoken-file = "token"\n'
    )
    config = resolve(ServeConfig, {"queue": 99}, folder=tmp_path)
    assert (config.generator, config.port, config.queue, config.seed) == ("demo", 81, 99, 0)
    assert config.token_file == Path("token")


# -- its page --------------------------------------------------------------------------------


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    ports = dict(zip(("8000", "8001"), map(str, free_ports(2)), strict=True))
    first = "ganaudit serve --generator demo"
    instead = {f"{first} &": f"{first} --port {ports['8000']} &", **ports}
    page = Path(__file__).parents[1] / "docs" / "serve.md"
    assert run_page(page, folder, monkeypatch, instead=instead) == 10
    with Image.open("seven.png") as picture:
        assert picture.size == (16, 16)
    (said,) = json.loads(Path("two.json").read_text())["outputs"]
    np.testing.assert_array_equal(
        pixels(base64.b64decode(said["data"][0])), pixels(Path("seven.png").read_bytes())
    )
    assert json.loads(Path("audit/report.json").read_text())["request"]["samples"] == 1000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
