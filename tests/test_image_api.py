"""`image_api:URL` and the templates of its requests, against endpoints on loopback."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from endpoints import decoded, file_of, picture_of, pixels_of, serving
from fastapi import FastAPI, Request, Response
from ganaudit_plugins.generators.http_api.requests import read_requests
from ganaudit_plugins.generators.http_api.template import read_template

from ganaudit import registry
from ganaudit.errors import ConfigError
from ganaudit.generators import Failure, Status
from ganaudit.slots import Draws, Stream, draw

FAST = {"attempts": "2", "deadline": "2"}
SEEDED = '{"seed": "$SEED"}'
SAID = {"prior": "normal", "latent_shape": "2,3"}


def opened(url: str, plugin: str = "image_api", **options: str) -> Any:
    spec = f"{plugin}:{url}"
    return registry.open_plugin("generators", spec, FAST | options, device=torch.device("cpu"))[0]


def drawn(source: Any, count: int = 5, seed: int = 3) -> Draws:
    latent = hasattr(source, "latent_shape")
    return draw(
        np.arange(count),
        seed=seed,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape if latent else None,
        prior=source.prior if latent else "normal",
        labels=np.arange(source.num_labels) if latent and source.num_labels else None,
    )


def answers(source: Any, draws: Draws) -> list[torch.Tensor | Failure]:
    found = dict(source.stream(draws))
    assert set(found) == set(draws.index.tolist())
    return [found[index] for index in draws.index.tolist()]


# -- templates -------------------------------------------------------------------------------


def one(**more: Any) -> Draws:
    return Draws(index=torch.tensor([4]), seeds=torch.tensor([2**40 + 77]), **more)


def sent(template: Any, draws: Draws, *, seed_bits: int = 32, **said: Any) -> Any:
    requests = read_requests(json.dumps(template), said, seed_bits=seed_bits, what="it")
    body = requests.body(draws)
    assert body is not None
    return json.loads(body)


def test_a_placeholder_is_a_number_as_a_value_and_text_inside_of_text() -> None:
    template = {
        "seed": "$SEED",
        "input": {"prompt": "face $SEED, $$5, $$SEED $5", "list": ["$SEED", 1, None, True, "$"]},
        "$SEED": "a key",
    }
    assert sent(template, one()) == {
        "seed": 77,
        "input": {"prompt": "face 77, $5, $SEED $5", "list": [77, 1, None, True, "$"]},
        "$SEED": "a key",
    }


def test_seeds_have_as_many_bits_as_the_service_takes() -> None:
    assert sent(["$SEED"], one(), seed_bits=6) == [77 % 64]
    assert sent(["$SEED"], one(), seed_bits=63) == [2**40 + 77]
    draws = Draws(index=torch.tensor([0]), seeds=torch.tensor([2**63 - 1]))
    assert sent(["$SEED"], draws, seed_bits=63) == [2**63 - 1]
    for bits in (0, 64, -1):
        with pytest.raises(ConfigError, match=r"seed_bits must be in \[1, 63\], got"):
            sent(["$SEED"], one(), seed_bits=bits)


def test_latents_keep_their_shape_and_every_bit_and_are_scaled() -> None:
    latents = torch.tensor([[[0.1, -2.5, 3e-9], [1e9, -0.0, 7.0]]])
    said = {"prior": "normal", "latent_shape": (2, 3), "latent_scale": 0.5, "num_labels": 3}
    draws = one(latents=latents, labels=torch.tensor([2]))
    found = sent({"z": "$LATENT", "text": "z=$LATENT c=$LABEL", "c": "$LABEL"}, draws, **said)
    assert np.array_equal(np.float32(found["z"]), latents[0].numpy() * np.float32(0.5))
    assert found["c"] == 2
    assert found["text"] == f"z={json.dumps(found['z'])} c=2"


def test_a_template_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text('{"é": "$SEED"}', encoding="utf-8")
    assert read_template(str(path)) == read_template('{"é": "$SEED"}')


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{", "--set template is not JSON"),
        ('{"a": NaN}', "--set template is not JSON: NaN is no JSON"),
        ("[" * 100_000, "--set template is not JSON"),
        ("absent.json", "or a file with it: 'absent.json' cannot be read: No such file"),
        ("", "or a file with it: '.' cannot be read: Is a directory"),
        ("binary", "or a file with it: 'binary' cannot be read: it is not text"),
        ("huge", "huge: a template has at most 1 MiB"),
        ('["' + "a" * 2**20 + '"]', "--set template: a template has at most 1 MiB"),
        ('{"a": ["x $SEDD"]}', r"--set template: \$SEDD stands for nothing; there are \$SEED,"),
        ('"$SEED"', "or a file with it: '\"\\$SEED\"' cannot be read: No such file"),
    ],
)
def test_a_template_that_is_none_is_refused(template: str, sentence: str) -> None:
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("huge").write_text("{" + " " * 2**20 + "}")
    with pytest.raises(ConfigError, match=sentence) as refused:
        read_template(template)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("template", "said", "sentence"),
    [
        ({"z": "$LATENT"}, {}, "it declares no prior"),
        ({"z": "$LATENT"}, {"prior": "normal"}, "it declares no latent_shape"),
        ({"z": "$SEED"}, {"prior": "normal"}, "prior would change nothing: it takes no latents"),
        ({}, {"num_labels": 3}, "num_labels would change nothing: it takes no latents"),
        ({"c": "$LABEL", "s": "$SEED"}, {}, r"\$LABEL is drawn with latents, and the template has"),
        ({"z": "$LATENT", "c": "$LABEL"}, SAID, r"has \$LABEL exactly where the number of classes"),
        ({"z": "$LATENT"}, SAID | {"num_labels": 3}, "exactly where the number of classes is"),
    ],
)
def test_what_is_said_must_fit_the_template(
    template: Any, said: dict[str, Any], sentence: str
) -> None:
    if "latent_shape" in said:
        said = said | {"latent_shape": (2, 3)}
    with pytest.raises(ConfigError, match=sentence):
        read_requests(json.dumps(template), said, seed_bits=32, what="it")


# -- endpoints -------------------------------------------------------------------------------


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


class Endpoint:
    """Answers a seed with its picture, in one of several manners."""

    def __init__(self, **spoilt: Callable[[int], Response]) -> None:
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.fetched: list[Any] = []
        self._spoilt = spoilt

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/{manner}")(self.post)
        app.get("/file/{seed}.png")(self.file)
        app.get("/random")(self.random)
        return app

    async def post(self, manner: str, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        self.headers.append(request.headers)
        seed = body.get("seed", len(self.bodies))
        if "z" in body:
            seed = int.from_bytes(np.float32(body["z"]).tobytes(), "big") + body.get("c", 0)
        if manner in self._spoilt:
            return self._spoilt[manner](seed)
        data = file_of(picture_of(seed), KINDS.get(manner, "PNG"))
        text = base64.b64encode(data).decode()
        values: dict[str, Any] = {
            "base64": {"data": [{"b64_json": text}]},
            "jpeg-base64": {"images": [text]},
            "data": {"image": data_url(data)},
            "address": {"data": [{"url": f"http://{request.url.netloc}/file/{seed}.png"}]},
            "path": {"url": f"/file/{seed}.png"},
        }
        if manner in values:
            return Response(json.dumps(values[manner]), media_type="application/json")
        return Response(data, media_type="application/octet-stream")

    async def file(self, seed: int, request: Request) -> Response:
        self.fetched.append(request.headers)
        return Response(file_of(picture_of(seed)), media_type="image/png")

    async def random(self) -> Response:
        self.bodies.append(None)
        return Response(file_of(picture_of(len(self.bodies))), media_type="image/png")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is repeated soon."""
    monkeypatch.setattr("ganaudit_plugins.generators.http_api.pacing._FIRST_DELAY_S", 0.001)


@pytest.fixture
def served() -> Iterator[Callable[[Any], str]]:
    with ExitStack() as stack:
        yield lambda endpoint: stack.enter_context(serving(endpoint.app()))


KINDS = {"jpeg": "JPEG", "jpeg-base64": "JPEG", "webp": "WEBP"}
MANNERS = {
    "png": None,
    "jpeg": None,
    "webp": None,
    "base64": "data.0.b64_json",
    "jpeg-base64": "images.0",
    "data": "image",
    "address": "data.0.url",
    "path": "url",
}


@pytest.mark.parametrize("manner", MANNERS)
def test_each_slot_gets_the_picture_of_its_seed(manner: str, served: Callable[[Any], str]) -> None:
    endpoint = Endpoint()
    at = MANNERS[manner]
    options = {} if at is None else {"image_at": at}
    source = opened(f"{served(endpoint)}/{manner}", template=SEEDED, **options)
    draws = drawn(source)
    seeds = (draws.seeds % 2**32).tolist()
    for seed, image in zip(seeds, answers(source, draws), strict=True):
        assert isinstance(image, torch.Tensor), image
        assert image.dtype == torch.uint8 and image.shape == (3, 48, 40)
        wanted = decoded(file_of(picture_of(seed), KINDS.get(manner, "PNG")))
        assert np.array_equal(pixels_of(image), wanted)
    assert sorted(body["seed"] for body in endpoint.bodies) == sorted(seeds)
    assert all(headers["cache-control"] == "no-cache" for headers in endpoint.headers)
    assert all(headers["content-type"] == "application/json" for headers in endpoint.headers)
    assert len(endpoint.fetched) == (5 if manner in ("address", "path") else 0)
    assert source.seedable and source.size is None and source.per_request == 1
    source.close()


def test_a_service_is_told_latents_and_labels(served: Callable[[Any], str]) -> None:
    endpoint = Endpoint()
    template = '{"z": "$LATENT", "c": "$LABEL"}'
    said = SAID | {"num_labels": "3", "latent_scale": "0.5"}
    source = opened(f"{served(endpoint)}/png", template=template, **said)
    assert (source.latent_shape, source.prior, source.num_labels) == ((2, 3), "normal", 3)
    assert not hasattr(source, "seedable")
    draws = drawn(source)
    assert draws.latents is not None and draws.labels is not None
    images = source.render(draws)
    for latent, label, image in zip(draws.latents, draws.labels, images, strict=True):
        seed = int.from_bytes((latent.numpy() * np.float32(0.5)).tobytes(), "big") + int(label)
        assert np.array_equal(pixels_of(image), picture_of(seed))
    assert "Latents are drawn from the normal prior, as --set says." in source.assumptions
    assert "There are 3 classes, as --set says." in source.assumptions
    source.close()


def test_without_a_seed_or_a_template_a_service_draws_for_itself(
    served: Callable[[Any], str],
) -> None:
    endpoint = Endpoint()
    url = served(endpoint)
    for address, options in (("png", {"template": '{"prompt": "a face"}'}), ("random", {})):
        source = opened(f"{url}/{address}", **options)
        assert not source.seedable
        images = answers(source, drawn(source))
        assert len({image.numpy().tobytes() for image in images}) == 5  # type: ignore[union-attr]
        source.close()
    assert endpoint.bodies == [{"prompt": "a face"}] * 5 + [None] * 5


def test_what_was_asked_stands_in_the_report_and_decides_the_identity(
    served: Callable[[Any], str],
) -> None:
    url = f"{served(Endpoint())}/png"
    source = opened(url, template=SEEDED, seed_bits="31")
    assert source.assumptions == (
        'Every request is {"seed": "$SEED"}, as --set template says.',
        "The service draws its own latents, by seeds below 2**31.",
    )
    assert source.identity["url"] == url
    others = [
        opened(url, template='{"seed":   "$SEED"}', seed_bits="31"),
        opened(url, template='{"seed": "$SEED", "more": 1}', seed_bits="31"),
        opened(url, template=SEEDED),
        opened(url, template=SEEDED, seed_bits="31", image_at="x"),
        opened(url + "2", template=SEEDED, seed_bits="31"),
    ]
    assert [other.identity == source.identity for other in others] == [True] + [False] * 4
    assert {"concurrency", "rate", "token_env"} <= set(source.incidental)
    for each in (source, *others):
        each.close()


def test_the_order_of_keys_decides_no_identity() -> None:
    texts = ('{"seed": "$SEED", "size": 8}', '{"size": 8, "seed": "$SEED"}', '{"seed": "$SEED"}')
    one, other, less = (
        read_requests(text, {}, seed_bits=32, what="it").identity() for text in texts
    )
    assert one == other != less


def test_a_long_template_is_shown_shortly_and_without_control_characters() -> None:
    text = json.dumps({"prompt": "\u202e" + "a" * 500, "seed": "$SEED"})
    (first, _) = read_requests(text, {}, seed_bits=32, what="it").assumptions()
    assert first.isprintable() and len(first) < 300


@pytest.mark.parametrize("manner", ["base64", "data", "address", "jpeg-base64"])
def test_json_in_place_of_an_image_ends_the_run_with_the_path_to_say(
    manner: str, served: Callable[[Any], str]
) -> None:
    source = opened(f"{served(Endpoint())}/{manner}", template=SEEDED)
    path = (MANNERS[manner] or "").replace(".", r"\.")
    with pytest.raises(ConfigError, match=f"its image at '{path}'; say --set image_at={path}$"):
        list(source.stream(drawn(source)))
    source.close()


def page(seed: int) -> Response:
    return Response("<html><title>Busy</title></html>", media_type="text/html")


def cut(seed: int) -> Response:
    return Response(file_of(picture_of(seed))[:-60])


def of_json(value: Any) -> Callable[[int], Response]:
    return lambda seed: Response(json.dumps(value), media_type="application/json")


SPOILT = {
    "page": (page, None, "the answer is no image (PNG, JPEG or WEBP) but a page: 'Busy'"),
    "cut": (cut, None, "the answer cannot be read as a picture"),
    "nothing": (lambda seed: Response(b""), None, "the answer is no image"),
    "an error with a link": (
        of_json({"error": "busy", "more": "https://example.com/docs/errors"}),
        None,
        "the answer is no image (PNG, JPEG or WEBP) but text",
    ),
    "other": (of_json({"a": "b"}), None, "the answer is no image (PNG, JPEG or WEBP) but text"),
    "elsewhere": (of_json({"a": "b"}), "image", "the answer has nothing at 'image'"),
    "number": (of_json({"a": 3}), "a", "the answer has no text at 'a' but int"),
    "null": (of_json({"a": None}), "a", "the answer has no text at 'a' but nothing"),
    "no base64": (of_json({"a": "!"}), "a", "no base64 where the image should be"),
    "another file": (of_json({"a": data_url(b"GIF89a")}), "a", "what is at 'a' is no image"),
    "no json": (page, "a", "the answer is not JSON but a page: 'Busy'"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_an_answer_without_an_image_fails_its_slot(what: str, served: Callable[[Any], str]) -> None:
    spoil, at, reason = SPOILT[what]

    def sometimes(seed: int) -> Response:
        if seed % 2:
            return spoil(seed)
        file = file_of(picture_of(seed))
        return Response(file) if at is None else of_json({at: data_url(file)})(seed)

    endpoint = Endpoint(spoilt=sometimes)
    options = {} if at is None else {"image_at": at}
    source = opened(
        f"{served(endpoint)}/spoilt",
        template=SEEDED,
        **(options | {"attempts": "4", "deadline": "20"}),
    )
    draws = drawn(source, 8)
    assert set((draws.seeds % 2).tolist()) == {0, 1}
    for seed, image in zip(draws.seeds.tolist(), answers(source, draws), strict=True):
        if seed % 2:
            assert isinstance(image, Failure) and image.status == Status.FAILED
            assert reason in image.reason
        else:
            assert isinstance(image, torch.Tensor), image
    source.close()


def test_what_the_service_declines_is_a_refusal(served: Callable[[Any], str]) -> None:
    declined = Response(json.dumps({"error": "unsafe prompt"}), 422)
    source = opened(f"{served(Endpoint(declined=lambda seed: declined))}/declined", template=SEEDED)
    for answer in answers(source, drawn(source, 2)):
        assert isinstance(answer, Failure) and answer.status == Status.REFUSED
        assert "unsafe prompt" in answer.reason
    source.close()


def test_addresses_of_other_hosts_are_not_fetched(served: Callable[[Any], str]) -> None:
    other = served(Endpoint())
    elsewhere = of_json({"url": f"{other}/file/3.png"})
    source = opened(f"{served(Endpoint(away=elsewhere))}/away", template=SEEDED, image_at="url")
    (answer,) = answers(source, drawn(source, 1))
    assert isinstance(answer, Failure) and "no public address" in answer.reason
    source.close()
    host = other.removeprefix("http://")
    source = opened(
        f"{served(Endpoint(away=elsewhere))}/away",
        template=SEEDED,
        image_at="url",
        image_hosts=host,
    )
    (answer,) = answers(source, drawn(source, 1))
    assert isinstance(answer, torch.Tensor) and np.array_equal(pixels_of(answer), picture_of(3))
    source.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_at": ""}, "image_at must be a dotted path"),
        ({"seed_bits": "64"}, "seed_bits must be in"),
        ({"prior": "normal"}, "prior would change nothing"),
        ({"templates": "{}"}, "has no option 'templates'; did you mean 'template'"),
        ({"concurrency": "0"}, "concurrency must be in"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        opened("http://127.0.0.1:9/x", **options)
