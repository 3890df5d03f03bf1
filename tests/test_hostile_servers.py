"""Services that attack their client: each gets a sentence and an exit code, and nothing else."""

import base64
import io
import math
import socket
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hostile_messages as messages
import hostile_pictures as pictures
import hostile_servers as servers
import httpx
import pytest
import torch
from conftest import ONNX_OPTIONS, Ended, Pixels
from good_services import IMAGE, LATENT, MODEL, inference, latents_of, of_seed, png
from loopback import Asked, Handler, Reply, Server, Wire, answering, as_json
from PIL import Image

from ganaudit.config import DiagnoseConfig, GeneratorConfig
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.generators import Failure
from ganaudit.opening import open_source
from ganaudit.pipeline import diagnose
from ganaudit.slots import Draws

Make = Callable[..., DiagnoseConfig]
_T = TypeVar("_T")

TOKEN = "Hush-4f9c1e7b2d-Token"
NAME = "intranet.test"  # resolves to 127.0.0.1


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    """`serve(handle)` begins a server."""
    begun: list[Server] = []

    def begin(handle: Handler, **how: Any) -> Server:
        begun.append(Server(handle, **how))
        return begun[-1]

    yield begin
    for server in begun:
        if not server.closed:
            server.close()


@pytest.fixture
def canary(serve: Callable[..., Server]) -> Server:
    """Whoever comes here was led astray; it gives a good picture."""
    return serve(servers.replying(Reply(body=pictures.picture("PNG"))))


# -- the servers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [each.name for each in servers.answers("http://a/") if each.name.startswith("endless")]
)
def test_what_is_endless_goes_on_beyond_sixteen_megabytes(
    serve: Callable[..., Server], name: str
) -> None:
    (attack,) = (each for each in servers.answers("http://a/") if each.name == name)
    server = serve(attack.handle)
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = 0
        while got < 2**24 and (part := sock.recv(2**20)):
            got += len(part)
    assert got >= 2**24


def test_pictures_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    files = pictures.pictures()
    for name, pixels in (
        ("PNG of 1,000,000,000 pixels", 10**9),
        ("PNG of one row", 2**30),
        ("JPEG of 65,500 x 65,500", 65_500**2),
        ("WebP of 13,000 x 13,000", 13_000**2),
    ):
        with Image.open(io.BytesIO(files[name])) as picture:
            assert math.prod(picture.size) == pixels, name
    for kind in ("GIF", "TIFF", "BMP", "PPM", "ICO", "EPS"):
        with Image.open(io.BytesIO(files[kind])) as picture:
            assert picture.format == kind
    for name in (name for name in files if "bomb" in name):
        assert len(files[name]) < 2**22, name
    assert len(zlib.decompress(pictures.bomb())) == 2**27
    for data in pictures.good_pictures().values():
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.convert("RGB").size == (8, 8)


def test_a_bare_client_falls_for_redirects_and_encodings(
    serve: Callable[..., Server], canary: Server
) -> None:
    attacks = {each.name: each for each in servers.answers(f"{canary.url}/x")}
    led = [name for name in attacks if canary.url[5:] in name]
    assert len(led) == 3
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        for i, name in enumerate(led, start=1):
            server = serve(attacks[name].handle)
            assert client.get(server.url, headers={"X-Key": TOKEN}).status_code == 200
            assert len(canary.heard) == i
            assert canary.heard[-1].headers["x-key"] == TOKEN
        bomb = client.get(serve(attacks["bomb in gzip"].handle).url)
        assert len(bomb.content) == 2**24
        assert int(bomb.headers["content-length"]) < 2**15


# -- the client -----------------------------------------------------------------------------

BY_SEED = 'template={"seed": "$SEED"}'
PATIENCE = ("attempts=1", "request_timeout=0.8", "deadline=0.8", "max_bytes=1048576")
MOST_MEMORY = 2**28  # that an attack may cost, bytes
GOOD = Reply(body=png(of_seed(7)), headers={"Content-Type": "image/png"})
IN_JSON = base64.b64encode(GOOD.body).decode()


@dataclass
class World:
    """What the client may see of the network.

    Attributes:
      names: to the addresses that they resolve to, by turns.
      routes: address to the port of the loopback that answers there instead.
      dialled: (address, port) of every connection that was tried.
    """

    names: dict[str, list[str]] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    def beyond(self, *ports: int) -> list[tuple[str, int]]:
        """Connections to anything else than these ports of 127.0.0.1."""
        return [place for place in self.dialled if place not in [("127.0.0.1", n) for n in ports]]


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Nothing leaves the loopback, no name is looked up, and every connection is noted."""
    made = World(names={NAME: ["127.0.0.1"], "localhost": ["127.0.0.1"]})
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def resolved(
        host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        known = made.names.get(name.lower().rstrip("."))
        if known is None:
            return resolve(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        known.append(known.pop(0))
        return resolve(known[-1], port, family, type, proto, flags)

    def connected(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        made.dialled.append((str(address[0]), int(address[1])))
        if address[0] in made.routes:
            address = ("127.0.0.1", made.routes[address[0]])
        if not str(address[0]).startswith("127."):
            raise ConnectionRefusedError(111, "nothing leaves the loopback")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(socket.socket, "connect", connected)
    monkeypatch.setenv("HUSH", TOKEN)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return made


def opened(generator: str, *options: str, **changes: Any) -> Any:
    """The source of a request whose service wants a token."""
    usual = dict(part.split("=", 1) for part in (*PATIENCE, "token_env=HUSH", *options))
    pairs = tuple(f"{key}={value}" for key, value in usual.items())
    return open_source(GeneratorConfig(generator=generator, set=pairs, **changes), "cpu")[0]


def asked_for(source: Any, count: int) -> list[torch.Tensor | Failure]:
    """Its answers for slots of seeds 0, 1, ..., of latents whose first number is that too."""
    index = torch.arange(count)
    latents = torch.zeros(count, *LATENT)
    latents[:, 0, 0, 0] = index
    draws = Draws(index=index, seeds=index, latents=latents)
    pairs = list(within(30, lambda: list(source.stream(draws))))
    assert sorted(i for i, _ in pairs) == list(range(count))
    return [item for _, item in sorted(pairs, key=lambda pair: pair[0])]


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """What `work` returns or raises, which it must do in time."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.extend((work(), None))
        except BaseException as error:
            found.extend((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"it goes on after {seconds} s"
    value, error = found
    if error is not None:
        raise error
    return value


@contextmanager
def little_memory(most: int = MOST_MEMORY) -> Iterator[None]:
    """The process may not grow by more than `most` bytes meanwhile, not even for a moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    yield
    assert _status("VmHWM") - before < most


def _status(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024


def check_sentence(text: str, *, most: int = 700) -> None:
    """One, bounded, of printable characters, and without the token or much of it."""
    assert text.strip() and text.isprintable(), text
    assert len(text) <= most, text
    check_hushed(text)


def check_hushed(text: str) -> None:
    """No part of the token's eight characters or more, in any case."""
    low = text.lower()
    parts = {TOKEN[i : i + 8].lower() for i in range(len(TOKEN) - 7)}
    assert not [part for part in parts if part in low], text


def every_second(handlers: list[Handler], good: Handler) -> Handler:
    """Slot 2 i gets what handler i has, the others a good image: so the service is not gone."""

    async def handle(asked: Asked, wire: Wire) -> None:
        number, odd = divmod(asked.json["seed"], 2)
        await (good if odd else handlers[number])(asked, wire)

    return handle


def check_failed(found: list[torch.Tensor | Failure], names: list[str]) -> dict[str, str]:
    """Every second slot has failed; name to the reason, each a sentence."""
    assert len(found) == 2 * len(names)
    reasons = {}
    for name, attacked, good in zip(names, found[::2], found[1::2], strict=True):
        assert isinstance(attacked, Failure), name
        assert isinstance(good, torch.Tensor), (name, good)
        check_sentence(attacked.reason)
        reasons[name] = attacked.reason
    return reasons


def test_what_is_no_image_is_a_slot_that_failed(
    serve: Callable[..., Server], canary: Server, world: World
) -> None:
    attacks = [
        each
        for each in servers.answers(canary.url)
        if "redirect" not in each.says and not each.name.startswith("endless")
    ]
    assert len(attacks) > 80
    server = serve(every_second([each.handle for each in attacks], servers.replying(GOOD)))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED)
    with little_memory():
        found = asked_for(source, 2 * len(attacks))
    reasons = check_failed(found, [each.name for each in attacks])
    for each in attacks:
        assert each.says == "." or each.says in reasons[each.name], reasons[each.name]
    assert canary.connections == 0
    assert world.beyond(server.port) == []
    assert not [asked for asked in server.heard if "cookie" in asked.headers]
    assert server.open <= 8  # as many as may be in flight; no attack keeps one beyond its answer
    source.close()
    within(5, lambda: [time.sleep(0.01) for _ in iter(lambda: server.open, 0)])


def test_what_never_ends_is_ended(serve: Callable[..., Server], world: World) -> None:
    attacks = [each for each in servers.answers("http://a/") if each.name.startswith("endless")]
    assert len(attacks) > 10
    for each in attacks:  # alone: they take this process' time as well
        server = serve(each.handle)
        source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "deadline=0.02")
        with little_memory():
            try:
                (found,) = asked_for(source, 1)
            except SourceError as error:
                check_sentence(str(error))
            else:
                assert isinstance(found, Failure), each.name
                check_sentence(found.reason)
        source.close()
        assert world.beyond(server.port) == []
        server.close()
        world.dialled.clear()


def test_png_jpeg_and_webp_are_images(serve: Callable[..., Server]) -> None:
    files = pictures.good_pictures()
    server = serve(servers.of_slot([servers.replying(Reply(body=f)) for f in files.values()]))
    for kind, image in zip(
        files, asked_for(opened(f"image_api:{server.url}{IMAGE}", BY_SEED), 3), strict=True
    ):
        assert isinstance(image, torch.Tensor), (kind, image)
        with Image.open(io.BytesIO(files[kind])) as picture:
            expected = torch.tensor(list(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        assert torch.equal(image.permute(1, 2, 0).flatten(), expected), kind


def test_json_without_an_image_is_a_slot_that_failed(
    serve: Callable[..., Server], world: World
) -> None:
    bodies = messages.jsons()
    replies = [Reply(200, body, {"Content-Type": "application/json"}) for body in bodies.values()]
    good = as_json({"image": IN_JSON})
    server = serve(every_second(list(map(servers.replying, replies)), servers.replying(good)))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image")
    with little_memory():
        check_failed(asked_for(source, 2 * len(bodies)), list(bodies))
    assert world.beyond(server.port) == []


@pytest.mark.parametrize("item", [b"{},", b"[],", b"1,", b'"",', b'{"":{}},', b"0.5,", b"null,"])
def test_json_of_millions_of_values_is_not_read(serve: Callable[..., Server], item: bytes) -> None:
    body = b'{"image": [' + item * (2**24 // len(item)) + b"0]}"
    source = opened(
        f"image_api:{serve(servers.replying(Reply(body=body))).url}{IMAGE}",
        *(BY_SEED, "image_at=image", "max_bytes=33554432", "request_timeout=10"),
    )
    with little_memory():
        (found,) = asked_for(source, 1)
    assert isinstance(found, Failure) and "values" in found.reason, found


def test_no_address_of_a_server_leads_to_a_private_place(
    serve: Callable[..., Server], canary: Server, world: World
) -> None:
    places = messages.urls(canary.port, name=NAME)
    good = servers.json_reply({"image": IN_JSON})
    bad = [servers.json_reply({"image": place}) for place in places]
    server = serve(every_second(bad, good))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image")
    check_failed(asked_for(source, 2 * len(places)), places)
    assert canary.connections == 0
    assert world.beyond(server.port) == []


def test_an_address_is_fetched_without_the_token_from_public_hosts_alone(
    serve: Callable[..., Server], canary: Server, world: World
) -> None:
    public = serve(
        servers.of_path(
            {
                "/x.png": servers.replying(GOOD),
                "/there": servers.redirecting("/x.png"),
                "/inside": servers.redirecting(f"{canary.url}/x.png"),
                "/name": servers.redirecting(f"http://{NAME}:{canary.port}/x.png"),
                "/file": servers.redirecting("file:///etc/passwd"),
                "/round": servers.redirecting("/round"),
            }
        )
    )
    world.names["images.example"] = ["93.184.216.34"]
    world.names["both.example"] = ["93.184.216.34", "127.0.0.1"]  # by turns
    world.routes["93.184.216.34"] = public.port
    good = ["http://images.example/x.png", "http://images.example/there"]
    bad = [f"http://images.example/{path}" for path in ("inside", "name", "file", "round")]
    server = serve(
        every_second(
            [servers.json_reply({"image": url}) for url in (*good, *bad)],
            servers.json_reply({"image": IN_JSON}),
        )
    )
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image")
    found = asked_for(source, 12)
    assert all(isinstance(image, torch.Tensor) for image in found[:4]), found[:4]
    check_failed(found[4:], bad)
    assert canary.connections == 0
    assert {place[0] for place in world.dialled} == {"127.0.0.1", "93.184.216.34"}
    assert [asked for asked in public.heard if TOKEN in str(asked.headers)] == []
    assert {asked.headers["host"] for asked in public.heard} == {"images.example"}
    assert all(TOKEN in asked.headers["authorization"] for asked in server.heard)


def test_a_name_that_changes_its_address_does_not_lead_inside(
    serve: Callable[..., Server], world: World
) -> None:
    inside = serve(servers.replying(GOOD))
    turns = ["93.184.216.34", "127.0.0.1"]
    world.names["turns.example"] = list(turns)
    url = f"http://turns.example:{inside.port}/x.png"
    answers = [servers.json_reply({"image": url})] * 8
    server = serve(every_second(answers, servers.json_reply({"image": IN_JSON})))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image", "concurrency=1")
    check_failed(asked_for(source, 16), [url] * 8)
    assert inside.connections == 0
    assert ("93.184.216.34", inside.port) in world.dialled  # its first face was tried


def test_a_host_that_the_user_names_may_be_private(
    serve: Callable[..., Server], canary: Server
) -> None:
    server = serve(servers.json_reply({"image": f"{canary.url}/x.png"}))
    where = f"image_hosts=127.0.0.1:{canary.port}"
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image", where)
    assert all(isinstance(image, torch.Tensor) for image in asked_for(source, 2))
    assert canary.connections > 0
    assert TOKEN not in str([asked.headers for asked in canary.heard])


# -- Open Inference Protocol ----------------------------------------------------------------


def test_metadata_that_cannot_be_are_refused(serve: Callable[..., Server], world: World) -> None:
    bodies = messages.metadata()
    model = {"body": b""}

    def endpoint(asked: Asked) -> Reply:
        if asked.path == MODEL:
            return Reply(200, model["body"], {"Content-Type": "application/json"})
        return inference(asked)

    server = serve(answering(endpoint))
    opened_anyway = []
    with little_memory():
        for name, model["body"] in bodies.items():
            try:
                within(
                    10, lambda: opened(f"oip:{server.url}{MODEL}", "prior=normal", "layout=NCHW")
                )
            except GanauditError as error:
                assert error.exit_code in (2, 3), name
                check_sentence(str(error), most=1200)
            else:
                opened_anyway.append(name)
    assert opened_anyway == []
    assert world.beyond(server.port) == []


@pytest.mark.parametrize("form", ["true", "false"])
def test_inferences_without_images_are_slots_that_failed(
    serve: Callable[..., Server], form: str
) -> None:
    bodies = list(messages.inferences().items())

    def endpoint(asked: Asked) -> Reply:
        if not asked.path.endswith("/infer"):
            return inference(asked)
        number, odd = divmod(int(latents_of(asked)[0, 0, 0, 0]), 2)
        if odd or not asking:
            return inference(asked)
        body, headers = bodies[number][1]
        return Reply(200, body, {"Content-Type": "application/json"} | headers)

    asking: list[bool] = []
    server = serve(answering(endpoint))
    source = opened(
        f"oip:{server.url}{MODEL}",
        "prior=normal",
        "layout=NCHW",
        f"binary={form}",
        "images_per_request=1",
    )
    asking.append(True)
    with little_memory():
        check_failed(asked_for(source, 2 * len(bodies)), [name for name, _ in bodies])


# -- predictions ----------------------------------------------------------------------------


def predicting(bodies: Callable[[str, str], dict[str, tuple[Any, Any]]]) -> Handler:
    """A service of which every second prediction is hostile: slot 2 i's is number i."""

    def endpoint(asked: Asked) -> Reply:
        here = f"http://{asked.headers['host']}"
        if asked.method == "POST":
            number, odd = divmod(asked.json["seed"], 2)
            if odd:
                return as_json({"status": "succeeded", "output": IN_JSON})
            return as_json(list(bodies(here, str(number)).values())[number][0], 201)
        number, what = asked.path[1:].split("/")
        if what != "poll":
            return Reply(404)
        return as_json(list(bodies(here, number).values())[int(number)][1])

    return answering(endpoint)


def test_predictions_without_an_image_are_slots_that_failed(
    serve: Callable[..., Server], canary: Server, world: World
) -> None:
    names = list(messages.predictions("", ""))
    server = serve(
        predicting(lambda here, number: messages.predictions(f"{here}/{number}", canary.url))
    )
    source = opened(f"predictions:{server.url}/p", BY_SEED, "poll_every=0.05")
    with little_memory():
        check_failed(asked_for(source, 2 * len(names)), names)
    assert canary.connections == 0
    assert world.beyond(server.port) == []


def test_a_prediction_is_not_asked_for_elsewhere(
    serve: Callable[..., Server], canary: Server, world: World
) -> None:
    for name, answer in messages.polls("http://127.0.0.1:1", canary.url).items():
        server = serve(servers.json_reply(answer))
        source = opened(f"predictions:{server.url}/p", BY_SEED, "deadline=0.02")
        try:
            (item,) = asked_for(source, 1)
        except SourceError as error:
            check_sentence(str(error))
        else:
            assert isinstance(item, Failure), name
            check_sentence(item.reason)
        assert world.beyond(server.port) == []
        world.dialled.clear()
    assert canary.connections == 0


# -- the token ------------------------------------------------------------------------------


def test_a_token_that_comes_back_is_not_repeated(serve: Callable[..., Server]) -> None:
    replies = messages.echoes(TOKEN)
    current: list[Reply] = []
    server = serve(answering(lambda asked: current[0]))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "deadline=0.02")
    for name, current[:] in ((name, [reply]) for name, reply in replies.items()):
        try:
            (item,) = asked_for(source, 1)
        except GanauditError as error:
            assert error.exit_code == 3, name
            check_sentence(str(error))
            check_hushed("".join(traceback.format_exception(error)))
        else:
            assert isinstance(item, Failure), name
            check_sentence(item.reason)
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in server.heard)


def test_addresses_and_metadata_that_hold_the_token_are_not_repeated(
    serve: Callable[..., Server], canary: Server
) -> None:
    places = messages.echoing_urls(TOKEN, canary.url)
    bad = [servers.json_reply({"image": place}) for place in places]
    server = serve(every_second(bad, servers.json_reply({"image": IN_JSON})))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED, "image_at=image")
    check_failed(asked_for(source, 2 * len(places)), places)

    tensor = {"name": TOKEN, "datatype": "FP32", "shape": [-1, 3]}
    model = {"name": TOKEN, "inputs": [tensor, tensor | {"name": f"{TOKEN}2"}], "outputs": [tensor]}
    named = serve(answering(lambda asked: as_json(model)))
    with pytest.raises(SourceError, match="repeat the token") as caught:
        opened(f"oip:{named.url}{MODEL}", "prior=normal", "layout=NCHW")
    check_sentence(str(caught.value))
    check_hushed("".join(traceback.format_exception(caught.value)))


def test_identity_assumptions_and_repr_do_not_hold_the_token(serve: Callable[..., Server]) -> None:
    server = serve(servers.replying(GOOD))
    source = opened(f"image_api:{server.url}{IMAGE}", BY_SEED)
    said = repr(source) + repr(vars(source)) + str(source.identity) + str(source.assumptions)
    check_hushed(said)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "two\nqwertz",
        "two\r\nX: qwertz",
        "caf\u00e9-qwertz",
        "tab\tqwertz",
        "\x00qwertz",
        "x" * 10**5,
    ],
)
def test_a_token_that_no_header_can_carry_is_refused_unseen(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    server = serve(servers.replying(GOOD))
    if "\0" not in token:
        monkeypatch.setenv("HUSH", token)
    else:
        monkeypatch.delenv("HUSH")
    file = tmp_path / "token"
    file.write_text(token)
    for options in (("token_env=HUSH",), ("token_env=", f"token_file={file}")):
        with pytest.raises(ConfigError) as caught:
            opened(f"image_api:{server.url}{IMAGE}", BY_SEED, *options)
        text = "".join(traceback.format_exception(caught.value))
        assert "qwertz" not in text and "xxx" not in text
    assert server.heard == []


@pytest.mark.parametrize(
    "place",
    [
        "http://user:{token}@127.0.0.1:{port}/x",
        "http://{token}@127.0.0.1:{port}/x",
        "http://127.0.0.1:{port}/x?token={token}",
        "http://127.0.0.1:{port}/x?a=b&API_KEY={token}",
        "http://127.0.0.1:{port}/x?%73ig={token}",
        "http://127.0.0.1:{port}/x#{token}",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(
    serve: Callable[..., Server], place: str
) -> None:
    server = serve(servers.replying(GOOD))
    url = place.format(token=TOKEN, port=server.port)
    for generator in (f"image_api:{url}", f"predictions:{url}", f"oip:{url}", url):
        options = () if generator == url or generator[:3] == "oip" else (BY_SEED,)
        with pytest.raises(ConfigError) as caught:
            opened(generator, *options)
        check_hushed("".join(traceback.format_exception(caught.value)))
    assert server.heard == []


# -- a whole audit --------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_ends_the_audit_and_is_not_followed(
    config: Make, serve: Callable[..., Server], canary: Server, status: int
) -> None:
    server = serve(servers.redirecting(f"{canary.url}/login?t={TOKEN}", status))
    options = (BY_SEED, *PATIENCE, "token_env=HUSH")
    with pytest.raises(SourceError) as caught:
        diagnose(
            config(generator=f"image_api:{server.url}{IMAGE}", set=options), descriptor=Pixels()
        )
    assert caught.value.exit_code == 3
    check_sentence(str(caught.value))
    assert f"127.0.0.1:{canary.port}" in str(caught.value)
    assert canary.connections == 0


ATTACKS = ["307 to /other", "endless body", "bomb in gzip", "PNG of 1,000,000,000 pixels"]


@pytest.mark.parametrize("name", ATTACKS)
def test_the_command_ends_with_a_sentence_and_code_3(
    ganaudit: Callable[..., Ended], serve: Callable[..., Server], onnx_file: Path, name: str
) -> None:
    (attack,) = (each for each in servers.answers("http://a.example/") if each.name == name)
    server = serve(attack.handle)
    ended = ganaudit(*command(f"image_api:{server.url}{IMAGE}", onnx_file, BY_SEED), "--verbose")
    assert ended.code == 3
    text = ended.err[ended.err.index("ganaudit: ") :]
    check_sentence(text.partition("\n")[0])
    check_hushed(ended.out + ended.err)
    assert "\x1b" not in ended.err
    assert not Path("run").exists()


def command(generator: str, onnx_file: Path, *options: str) -> tuple[str, ...]:
    """Arguments of a small audit with a token."""
    Path("token").write_text(TOKEN)  # a process that was forked has the environment of its parent
    pairs = (*PATIENCE, "token_file=token", *options, *ONNX_OPTIONS)
    return (
        *("diagnose", "--generator", generator, "--descriptor", f"onnx:{onnx_file}"),
        *("--theta", "0.4", "--radius", "0.3", "--anchors", "32", "--samples", "64"),
        *("--device", "cpu", "--out", "run"),
        *(part for pair in pairs for part in ("--set", pair)),
    )


def test_nothing_that_a_run_writes_holds_the_token_or_steers_a_terminal(
    ganaudit: Callable[..., Ended], serve: Callable[..., Server], onnx_file: Path
) -> None:
    echoes = [r for name, r in messages.echoes(TOKEN).items() if name.startswith(("400", "422"))]
    steering = Reply(422, b"\x1b]0;owned\x07\x1b[2J\x9b2J::error::x\r\n##vso[x]")

    def endpoint(asked: Asked) -> Reply:
        seed = asked.json["seed"]
        if seed % 3 == 0:
            return [*echoes, steering][seed // 3 % (len(echoes) + 1)]
        return Reply(body=png(of_seed(seed)), headers={"Content-Type": "image/png"})

    server = serve(answering(endpoint))
    arguments = command(f"image_api:{server.url}{IMAGE}", onnx_file, BY_SEED)
    ended = ganaudit(*arguments, "--max-failure-rate", "1", "--verbose", "--format", "json")
    assert ended.code == 0, ended.err
    check_hushed(ended.out + ended.err)
    assert not set(ended.err + ended.out) & {"\x1b", "\x07", "\x9b", "\0"}
    files = [path for path in Path("run").rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        assert TOKEN[:8].lower().encode() not in path.read_bytes().lower(), path
        if path.suffix in (".json", ".html", ".md", ".csv"):
            assert b"\x1b" not in path.read_bytes(), path
    assert '"refused"' in ended.out
