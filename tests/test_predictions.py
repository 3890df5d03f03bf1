"""`predictions:URL` against an asynchronous endpoint on loopback, such as Replicate's."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from endpoints import file_of, picture_of, pixels_of, serving
from fastapi import FastAPI, Request, Response
from test_image_api import answers, drawn, opened

from ganaudit.errors import ConfigError, SourceGone
from ganaudit.generators import Failure, Status

SEEDED = '{"version": "abc", "input": {"seed": "$SEED"}}'
QUICK = {"poll_every": "0.05"}


class Predictor:
    """Starts predictions, which are processed for some polls.

    Attributes:
      polls: that a prediction takes.
      spoil: changes what is said of a prediction: (seed, its number of polls, what it says).
      deliver: a picture file to what stands at `output`.
    """

    def __init__(
        self,
        *,
        polls: int = 2,
        spoil: Callable[[int, int, dict[str, Any]], Any] | None = None,
        deliver: Callable[[str, int], Any] | None = None,
    ) -> None:
        self.polls = polls
        self.spoil = spoil
        self.deliver = deliver or (lambda host, seed: [f"{host}/files/{seed}.png", "more"])
        self.started: list[int] = []
        self.asked: Counter[int] = Counter()
        self.headers: list[Any] = []

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/predictions")(self.start)
        app.get("/v1/predictions/{seed}")(self.poll)
        app.get("/files/{seed}.png")(self.file)
        return app

    async def start(self, request: Request) -> Response:
        body = json.loads(await request.body())
        assert body["version"] == "abc"
        self.headers.append(request.headers)
        self.started.append(body["input"]["seed"])
        return self._said(request, body["input"]["seed"], 201)

    async def poll(self, seed: int, request: Request) -> Response:
        self.asked[seed] += 1
        return self._said(request, seed, 200)

    def _said(self, request: Request, seed: int, code: int) -> Response:
        host = f"http://{request.url.netloc}"
        count = self.asked[seed]
        status = "starting" if count == 0 else "processing"
        said: dict[str, Any] = {
            "id": str(seed),
            "status": status,
            "output": None,
            "error": None,
            "urls": {"get": f"{host}/v1/predictions/{seed}"},
        }
        if count >= self.polls:
            said |= {"status": "succeeded", "output": self.deliver(host, seed)}
        if self.spoil is not None:
            said = self.spoil(seed, count, said)
        if isinstance(said, Response):
            return said
        return Response(json.dumps(said), code, media_type="application/json")

    async def file(self, seed: int) -> Response:
        return Response(file_of(picture_of(seed)), media_type="image/png")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is repeated soon."""
    monkeypatch.setattr("ganaudit_plugins.generators.http_api.pacing._FIRST_DELAY_S", 0.001)


@pytest.fixture
def served() -> Iterator[Callable[[Predictor], str]]:
    with ExitStack() as stack:
        yield lambda predictor: f"{stack.enter_context(serving(predictor.app()))}/v1/predictions"


def predictions(url: str, **options: str) -> Any:
    return opened(url, "predictions", **({"template": SEEDED} | QUICK | options))


def in_base64(host: str, seed: int) -> str:
    return base64.b64encode(file_of(picture_of(seed))).decode()


@pytest.mark.parametrize(
    "deliver",
    [
        None,
        lambda host, seed: f"{host}/files/{seed}.png",
        lambda host, seed: f"/files/{seed}.png",
        in_base64,
        lambda host, seed: [f"data:image/png;base64,{in_base64(host, seed)}"],
    ],
)
@pytest.mark.parametrize("polls", [0, 1, 3])
def test_each_slot_gets_the_picture_of_its_seed(
    polls: int, deliver: Any, served: Callable[[Predictor], str]
) -> None:
    predictor = Predictor(polls=polls, deliver=deliver)
    source = predictions(served(predictor))
    draws = drawn(source)
    seeds = (draws.seeds % 2**32).tolist()
    for seed, image in zip(seeds, answers(source, draws), strict=True):
        assert isinstance(image, torch.Tensor), image
        assert np.array_equal(pixels_of(image), picture_of(seed))
    assert sorted(predictor.started) == sorted(seeds)
    assert all(predictor.asked[seed] == polls for seed in seeds)
    assert all(headers["cache-control"] == "no-cache" for headers in predictor.headers)
    assert source.seedable
    source.close()


def test_polls_do_not_count_as_requests(served: Callable[[Predictor], str]) -> None:
    url = served(Predictor(polls=4))
    from ganaudit import registry

    source = registry.open_plugin(
        "generators",
        f"predictions:{url}",
        {"template": SEEDED} | QUICK,
        device=torch.device("cpu"),
        max_requests=5,
    )[0]
    assert all(isinstance(image, torch.Tensor) for image in answers(source, drawn(source)))
    with pytest.raises(SourceGone, match="5 requests were sent"):
        list(source.stream(drawn(source)))
    source.close()


def test_other_services_say_it_elsewhere_and_in_other_words(
    served: Callable[[Predictor], str],
) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        states = {"starting": "queued", "processing": "running", "succeeded": "COMPLETED"}
        image = {"images": [{"url": said["output"][0]}]} if said["output"] else None
        return {
            "state": {"now": states[said["status"]]},
            "links": [said["urls"]["get"]],
            "result": image,
        }

    source = predictions(
        served(Predictor(spoil=spoil)),
        status_at="state.now",
        poll_at="links.0",
        done="COMPLETED,OK",
        image_at="result.images.0.url",
    )
    draws = drawn(source)
    for seed, image in zip((draws.seeds % 2**32).tolist(), answers(source, draws), strict=True):
        assert isinstance(image, torch.Tensor), image
        assert np.array_equal(pixels_of(image), picture_of(seed))
    source.close()


@pytest.mark.parametrize("status", ["failed", "canceled"])
@pytest.mark.parametrize("when", [0, 1])
def test_a_prediction_that_failed_is_a_refusal_in_its_own_words(
    status: str, when: int, served: Callable[[Predictor], str]
) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        gone = {"status": status, "error": "NSFW\ncontent\x1b[2J", "output": None}
        return said | gone if seed % 2 and count >= when else said

    predictor = Predictor(spoil=spoil)
    source = predictions(served(predictor))
    draws = drawn(source, 8)
    assert set((draws.seeds % 2).tolist()) == {0, 1}
    for seed, image in zip((draws.seeds % 2**32).tolist(), answers(source, draws), strict=True):
        if seed % 2:
            assert isinstance(image, Failure) and image.status == Status.REFUSED
            assert image.reason == f"the prediction is '{status}': NSFW content [2J"
        else:
            assert isinstance(image, torch.Tensor), image
    assert len(predictor.started) == 8  # none was tried again
    source.close()


@pytest.mark.parametrize("output", [None, [], ""])
def test_a_prediction_that_is_done_without_an_image_has_failed(
    output: Any, served: Callable[[Predictor], str]
) -> None:
    source = predictions(served(Predictor(polls=0, deliver=lambda host, seed: output)))
    (answer,) = answers(source, drawn(source, 1))
    assert isinstance(answer, Failure) and answer.status == Status.FAILED
    assert answer.reason == "the prediction has nothing at 'output'"
    source.close()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/v1/predictions/3",
        "https://HOST/v1/predictions/3",
        "http://user:word@HOST/v1/predictions/3",
        "http://HOST.example/v1/predictions/3",
        "file:///etc/passwd",
        "//example.org/x",
        "http://[",
        7,
        None,
    ],
)
def test_a_prediction_is_asked_for_at_the_service_itself_and_nowhere_else(
    address: Any, served: Callable[[Predictor], str]
) -> None:
    url = ""

    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        host = url.removeprefix("http://").partition("/")[0]
        text = address.replace("HOST", host) if isinstance(address, str) else address
        return said | {"urls": {"get": text}}

    predictor = Predictor(spoil=spoil)
    url = served(predictor)
    source = predictions(url)
    with pytest.raises(SourceGone, match="names at 'urls.get' no address of the service itself"):
        list(source.stream(drawn(source, 1)))
    assert not predictor.asked
    source.close()


def test_an_address_without_a_host_is_the_services_own(
    served: Callable[[Predictor], str],
) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        return said | {"urls": {"get": f"/v1/predictions/{seed}"}}

    source = predictions(served(Predictor(spoil=spoil)))
    assert all(isinstance(image, torch.Tensor) for image in answers(source, drawn(source, 2)))
    source.close()


def test_a_prediction_that_never_ends_is_given_up(served: Callable[[Predictor], str]) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        return said | {"status": "processing"} if seed % 2 else said

    source = predictions(served(Predictor(spoil=spoil, polls=0)), deadline="0.3")
    draws = drawn(source, 8)
    assert set((draws.seeds % 2).tolist()) == {0, 1}
    for seed, image in zip(draws.seeds.tolist(), answers(source, draws), strict=True):
        if seed % 2:
            assert isinstance(image, Failure) and image.status == Status.FAILED
            assert image.reason == "the prediction is still 'processing' after 0.3 s (deadline)"
        else:
            assert isinstance(image, torch.Tensor), image
    source.close()


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ({"status": 3}, "the answer has no text at 'status'"),
        ({"status": ...}, "the answer has nothing at 'status'"),
        ({"urls": ...}, "the answer has nothing at 'urls.get'"),
    ],
)
def test_an_answer_that_is_no_prediction_fails_its_slot(
    gone: dict[str, Any], reason: str, served: Callable[[Predictor], str]
) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> dict[str, Any]:
        changed = said | gone
        return {key: value for key, value in changed.items() if value is not ...}

    source = predictions(served(Predictor(spoil=spoil)), attempts="1", deadline="0.2")
    (answer,) = answers(source, drawn(source, 1))
    assert isinstance(answer, Failure) and reason in answer.reason
    source.close()


def test_a_page_in_the_middle_of_polling_is_asked_past(served: Callable[[Predictor], str]) -> None:
    def spoil(seed: int, count: int, said: dict[str, Any]) -> Any:
        return Response("<html>busy</html>", media_type="text/html") if count == 1 else said

    predictor = Predictor(spoil=spoil, polls=3)
    source = predictions(served(predictor), deadline="20")
    assert all(isinstance(image, torch.Tensor) for image in answers(source, drawn(source)))
    assert len(predictor.started) == 5
    source.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"poll_every": "0"}, r"poll_every must be seconds in \[0.05, 60\], got 0"),
        ({"poll_at": ""}, "poll_at must be a dotted path"),
        ({"done": "ok,gone", "failed": "gone"}, "the status 'gone' is both in done and in failed"),
        ({"prior": "normal"}, "prior would change nothing"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        predictions("http://127.0.0.1:9/x", **options)


def test_a_template_must_be_there() -> None:
    with pytest.raises(ConfigError, match="the generator 'predictions' needs --set template="):
        opened("http://127.0.0.1:9/x", "predictions")


def test_how_often_it_is_asked_decides_no_image() -> None:
    source = predictions("http://127.0.0.1:9/x")
    assert "poll_every" in source.incidental and "template" not in source.incidental
    assert source.identity["done"] == ["succeeded"]
    source.close()
