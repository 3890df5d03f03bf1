"""One request of a service: token, pace, what is repeated, what ends it, what is fetched."""

import asyncio
import base64
import inspect
import json
import math
import pickle
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ganaudit_plugins.generators.http_api import client as client_module
from ganaudit_plugins.generators.http_api.addresses import (
    Forbidden,
    is_public,
    own_address,
    read_base,
    shown_host,
    way_to,
)
from ganaudit_plugins.generators.http_api.answers import Answer, Refusal, Transient, Unusable
from ganaudit_plugins.generators.http_api.client import BudgetSpent, Client
from ganaudit_plugins.generators.http_api.options import INCIDENTAL, ServiceOptions, with_options
from ganaudit_plugins.generators.http_api.pacing import Pace, backoff, retry_after
from ganaudit_plugins.generators.http_api.secret import Secret, read_secret
from loopback import Asked, Reply, Server, Wire, answering, head

from ganaudit.errors import ConfigError, SourceGone
from ganaudit.generators import Status
from ganaudit.registry import bind, options_of

URL = "http://127.0.0.1:9/v1/make"
TOKEN = "sk-live/+é".replace("é", "=") + "0123456789"


class Clock:
    """Time that passes by waiting for it alone."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0 or math.isclose(seconds, 0)
        until = self.time + seconds
        self.waits.append(seconds)
        await asyncio.sleep(0)
        self.time = max(self.time, until)


Endpoint = Callable[[httpx.Request], httpx.Response]


class Script:
    """Answers in their order; the last is repeated. Keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Endpoint) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer


def reply(status: int = 200, body: bytes = b"fine", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=body, headers=named)


def on_the_wire(endpoint: Callable[[httpx.Request], Any]) -> httpx.MockTransport:
    """Bodies are still to be read, as those from a connection are."""

    async def handle(request: httpx.Request) -> httpx.Response:
        answer = endpoint(request)
        answer = await answer if inspect.isawaitable(answer) else answer
        if not answer.is_closed:
            return answer
        body = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=body)

    return httpx.MockTransport(handle)


def client_of(
    endpoint: Callable[[httpx.Request], Any],
    *,
    url: str = URL,
    most: int | None = None,
    clock: Clock | None = None,
    resolve: Any = None,
    **options: Any,
) -> Client:
    clock = clock or Clock()
    return Client(
        read_base(url),
        ServiceOptions(**options),
        max_requests=most,
        transport=on_the_wire(endpoint),
        resolve=resolve,
        now=clock.now,
        sleep=clock.sleep,
        share=lambda: 0.5,
    )


def body_of(answer: Answer) -> bytes:
    return answer.body


async def ask(client: Client, method: str = "POST", **how: Any) -> bytes:
    how.setdefault("accept", body_of)
    try:
        return await client.ask(method, str(client.base.url), **how)
    finally:
        await client.close()


def asked(client: Client, method: str = "POST", **how: Any) -> bytes:
    return asyncio.run(ask(client, method, **how))


def fetched(client: Client, url: str) -> bytes:
    async def fetch() -> bytes:
        try:
            return await client.fetch(url, accept=body_of)
        finally:
            await client.close()

    return asyncio.run(fetch())


# -- Retry-After, backoff --------------------------------------------------------------------


def literal_retry_after(text: str, now: float) -> float | None:
    """The three forms of a date, one after the other, or digits."""
    if set(text) <= set("0123456789") and text:
        return min(120.0, float(int(text)))
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"):
        try:
            date = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return min(120.0, max(0.0, date.timestamp() - now))
    return None


def test_retry_after_is_what_it_is_spelt_out() -> None:
    rng = random.Random(1)
    now = datetime(2026, 11, 26, 13, 0, 7, tzinfo=UTC)
    for _ in range(300):
        date = now + timedelta(seconds=rng.randrange(-200, 300))
        texts = [
            str(rng.choice([0, 1, 30, 119, 120, 121, 10**6, 10**30])),
            format_datetime(date, usegmt=True),
            date.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
            date.strftime("%a %b %d %H:%M:%S %Y"),
        ]
        for text in texts:
            wanted = literal_retry_after(text, now.timestamp())
            assert wanted is not None
            assert retry_after(f" {text} ", now.timestamp()) == wanted


def test_retry_after_is_capped_and_never_negative() -> None:
    assert retry_after("0", 0.0) == 0
    assert retry_after("0000000000000000005", 0.0) == 5
    assert retry_after("9" * 10_000, 0.0) == 120
    assert retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 0.0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT", 5.0) == 0


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "\u0661", "\u00b2", "a" * 10**6])
def test_what_is_no_retry_after_asks_for_nothing(text: str | None) -> None:
    assert retry_after(text, 0.0) is None


def test_the_delay_doubles_and_is_spread_from_zero() -> None:
    assert [backoff(attempt, 0.5) for attempt in (1, 2, 3, 6, 7, 10**9)] == [0.5, 1, 2, 15, 15, 15]
    assert backoff(3, 0.0) == 0


# -- pace ------------------------------------------------------------------------------------


def paced(most: int, rate: float | None = None) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(most, rate, now=clock.now, sleep=clock.sleep), clock


def test_no_more_are_let_through_than_may_be_and_in_their_order() -> None:
    async def check() -> None:
        pace, _ = paced(3)
        flying, most, order = 0, 0, []

        async def one(number: int) -> None:
            nonlocal flying, most
            await pace.enter()
            flying += 1
            most = max(most, flying)
            order.append(number)
            for _ in range(number % 4):
                await asyncio.sleep(0)
            flying -= 1
            pace.leave()

        await asyncio.gather(*map(one, range(40)))
        assert most == 3 and order == list(range(40))

    asyncio.run(check())


def test_too_much_halves_once_for_all_that_were_under_way() -> None:
    async def check() -> None:
        pace, clock = paced(8)
        began = [await pace.enter() for _ in range(8)]
        clock.time += 1
        for moment in began:
            pace.too_much(moment)
            pace.leave()
        assert pace.limit == 4
        clock.time += 1
        began = [await pace.enter() for _ in range(4)]
        clock.time += 1
        for moment in began:
            pace.too_much(moment)
        assert pace.limit == 2
        for _ in range(5):
            clock.time += 1
            pace.too_much(clock.time)
        assert pace.limit == 1

    asyncio.run(check())


def test_as_many_successes_as_fly_allow_one_more() -> None:
    pace, clock = paced(4)
    for _ in range(2):
        pace.too_much(clock.time)
        clock.time += 1
    assert pace.limit == 1
    pace.went_well()
    assert pace.limit == 2
    pace.went_well()
    pace.went_well()
    assert pace.limit == 2  # 2 + 1/2 + 1/2.5 = 2.9
    pace.went_well()
    assert pace.limit == 3
    for _ in range(100):
        pace.went_well()
    assert pace.limit == 4


def test_who_waits_goes_on_as_the_limit_grows() -> None:
    async def check() -> None:
        pace, clock = paced(2)
        pace.too_much(clock.time)
        await pace.enter()
        waiting = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        assert not waiting.done()
        pace.went_well()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(check())


def test_a_rate_spaces_requests_evenly() -> None:
    async def check() -> None:
        pace, clock = paced(8, rate=4)
        moments = []

        async def one() -> None:
            await pace.enter()
            moments.append(clock.time)
            pace.leave()

        await asyncio.gather(*(one() for _ in range(20)))
        assert moments == [1000 + 0.25 * i for i in range(20)]
        clock.time += 100  # what was not used is not saved up
        await asyncio.gather(one(), one())
        assert moments[-2:] == [clock.time - 0.25, clock.time]

    asyncio.run(check())


def test_a_pause_holds_everybody_back_and_the_longest_counts() -> None:
    async def check() -> None:
        pace, clock = paced(3)
        pace.hold(30)
        pace.hold(5)
        moments = await asyncio.gather(*(pace.enter() for _ in range(3)))
        assert moments == [1030] * 3
        pace.leave()
        pace.hold(0)
        assert await pace.enter() == 1030

    asyncio.run(check())


def test_a_pause_during_the_wait_for_the_rate_is_kept() -> None:
    async def check() -> None:
        pace, clock = paced(2, rate=0.1)
        await pace.enter()
        second = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)  # waits for its 10 s
        pace.hold(60)
        assert await second >= 1060

    asyncio.run(check())


def test_who_stops_waiting_leaves_no_hole() -> None:
    async def check() -> None:
        pace, _ = paced(1)
        await pace.enter()
        waiting = [asyncio.create_task(pace.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        pace.leave()
        waiting[1].cancel()  # the turn was given to it, and it never took it
        await asyncio.wait_for(waiting[2], 5)
        assert waiting[0].cancelled() and waiting[1].cancelled()

    asyncio.run(check())


def test_who_stops_waiting_for_a_pause_gives_the_turn_back() -> None:
    async def check() -> None:
        clock = Clock()

        async def forever(seconds: float) -> None:
            await asyncio.get_running_loop().create_future()

        pace = Pace(1, None, now=clock.now, sleep=forever)
        pace.hold(1)
        held = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        clock.time += 2
        assert await asyncio.wait_for(pace.enter(), 5) == clock.time

    asyncio.run(check())


# -- the token -------------------------------------------------------------------------------


def test_a_token_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_TOKEN", f" {TOKEN}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\r\n")
    for secret in (
        read_secret("FACE_TOKEN", None, "Bearer"),
        read_secret(None, tmp_path / "token", "Bearer"),
    ):
        assert secret is not None and secret.header == f"Bearer {TOKEN}"
    assert read_secret(None, None, "Bearer") is None


def test_a_scheme_is_not_written_twice() -> None:
    assert Secret("abc", "").header == "abc"
    assert Secret("bearer abc", "Bearer").header == "Bearer abc"
    assert Secret("Key abc", "").header == "Key abc"
    assert Secret("Bearerabc", "Bearer").header == "Bearer Bearerabc"


def test_a_token_that_is_none_is_refused_without_a_word_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTHING", raising=False)
    monkeypatch.setenv("EMPTY", " \n")
    monkeypatch.setenv("LINES", f"{TOKEN}\nx-other: 1")
    monkeypatch.setenv("ACCENT", f"{TOKEN}\u00e9")
    monkeypatch.setenv("LONG", TOKEN * 1000)
    for name, sentence in [
        (TOKEN, "token_env wants the name of an environment variable"),
        ("NOTHING", "the environment variable that token_env names is not set, or empty"),
        ("EMPTY", "is not set, or empty"),
        ("LINES", "holds no token: one line of printable ASCII"),
        ("ACCENT", "holds no token"),
        ("LONG", "holds no token: .* at most 8192 characters"),
    ]:
        with pytest.raises(ConfigError, match=sentence) as caught:
            read_secret(name, None, "Bearer")
        assert TOKEN not in str(caught.value) and name not in str(caught.value)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"a" * 10**6)
    for path, sentence in [
        (tmp_path / "absent", "the file that token_file names cannot be read as text"),
        (tmp_path, "cannot be read as text"),
        (tmp_path / "binary", "cannot be read as text"),
        (tmp_path / "huge", "holds no token"),
    ]:
        with pytest.raises(ConfigError, match=sentence):
            read_secret(None, path, "Bearer")


def test_a_secret_is_neither_shown_nor_stored() -> None:
    secret = Secret(TOKEN, "Bearer")
    assert TOKEN not in f"{secret!r} {secret!s} {[secret]}"
    with pytest.raises(TypeError, match="a secret is not stored"):
        pickle.dumps(secret)


@pytest.mark.parametrize("token", [TOKEN, 'a"quoted<&>one', "aaaaaaaaaaaa", "short", "a" * 8192])
def test_whatever_form_a_token_is_echoed_in_it_is_hidden(token: str) -> None:
    from html import escape
    from urllib.parse import quote

    secret = Secret(token, "Bearer")
    for form in (
        token,
        quote(token, safe=""),
        json.dumps(token),
        escape(token),
        base64.b64encode(token.encode()).decode(),
        "\n ".join(token),  # the line is broken anywhere
    ):
        shown = secret.redacted(f"wrong Bearer\t{form}, said the server; again {form}")
        assert shown.count("***") == 2
        assert shown.startswith("wrong Bearer\t") and ", said the server; again " in shown
        assert token not in shown and form not in shown


def test_what_is_left_of_a_cut_token_is_hidden() -> None:
    secret = Secret(TOKEN)
    for length in range(6, len(TOKEN)):
        assert secret.redacted(f"bad {TOKEN[:length]}...") == "bad ***..."
    assert secret.redacted(f"bad {TOKEN[:5]}...") == f"bad {TOKEN[:5]}..."
    assert secret.redacted("nothing of it") == "nothing of it"
    assert set(Secret("*" * 10).redacted("*" * 25)) == {"*"}  # and it ends


# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"concurrency": 0}, r"concurrency must be in \[1, 256\], got 0"),
        ({"concurrency": 257}, "concurrency must be"),
        ({"attempts": 0}, r"attempts must be in \[1, 100\], got 0"),
        ({"deadline": 0.0}, r"deadline must be seconds in \(0, 86400\], got 0"),
        ({"deadline": float("nan")}, "deadline must be"),
        ({"request_timeout": -1.0}, "request_timeout must be seconds"),
        ({"rate": 0.0}, "rate must be requests a second"),
        ({"rate": float("inf")}, "rate must be"),
        (
            {"rate": 0.1},
            "at 0.1 requests a second, 8 in flight wait too long for a deadline of 120",
        ),
        ({"rate": 0.1, "concurrency": 4}, "a smaller concurrency, or --set deadline=160"),
        ({"max_bytes": 10}, r"max_bytes must be in \[1024, 2147483648\], got 10"),
        ({"token_header": "a b"}, "token_header must be the name of a header"),
        ({"token_header": "Host"}, "token_header must be"),
        ({"token_header": ""}, "token_header must be"),
        ({"token_scheme": "Bearer "}, "token_scheme must be a word such as Bearer, or empty"),
        ({"token_scheme": "a\r\nx: y"}, "token_scheme must be"),
        ({"token_env": "A", "token_file": Path("b")}, "token_env and token_file exclude"),
        ({"image_hosts": ("https://cdn",)}, "image_hosts must be HOST or HOST:PORT, got 'https"),
        ({"image_hosts": ("",)}, "image_hosts must be"),
        ({"headers": "{"}, "headers must be a JSON object of texts"),
        ({"headers": "[1]"}, "headers must be a JSON object"),
        ({"headers": '{"a": 1}'}, "headers must be a JSON object of texts"),
        ({"headers": '{"a b": "1"}'}, "headers must be a JSON object of texts"),
        ({"headers": '{"a": "1\\r\\nb: 2"}'}, "headers: the value of a must be printable ASCII"),
        ({"headers": '{"Host": "b"}'}, "headers: Host is set by ganaudit"),
        ({"headers": '{"Idempotency-Key": "b"}'}, "headers: Idempotency-Key "),
        ({"headers": json.dumps({f"h{i}": "" for i in range(33)})}, "headers must be"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ServiceOptions(**options)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "proxy-authorization", "Cookie", "X-API-Key", "x-auth-token", "Token"]
    + ["Ocp-Apim-Subscription-Key", "X-Amz-Signature", "x-secret-id", "X-Auth", "apikey"],
)
def test_a_header_that_may_carry_a_secret_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"headers: {name} may carry a secret, .* token_env"):
        ServiceOptions(headers=json.dumps({name: "value"}))


def test_the_edges_of_the_options_are_allowed() -> None:
    options = ServiceOptions(
        concurrency=256,
        attempts=1,
        rate=256 * 4 / 120,
        max_bytes=1024,
        token_scheme="",
        image_hosts=("cdn.example.org", "10.0.0.1:8080", "[::1]:80"),
        headers='{"X-Use-Cache": "false", "keyboard": "qwerty"}',
    )
    assert options.further_headers() == {"x-use-cache": "false", "keyboard": "qwerty"}
    assert "token" not in str(ServiceOptions())[:0]


def test_a_factory_has_the_options_beside_its_own() -> None:
    @with_options
    def open_it(target: str, *, own: int = 3, service: ServiceOptions, last: bool = False) -> Any:
        """Say what came."""
        return target, own, service, last

    wanted = {"own": "4", "concurrency": "2", "rate": "0.5", "image_hosts": "a,b:1", "last": "true"}
    given = bind(open_it, wanted, what="it")
    assert open_it("x", **given) == (
        "x",
        4,
        ServiceOptions(concurrency=2, rate=0.5, image_hosts=("a", "b:1")),
        True,
    )
    assert open_it("x") == ("x", 3, ServiceOptions(), False)
    listed = options_of(open_it)
    assert listed[0] == "own: int = 3" and listed[-1] == "last: bool = False"
    assert "concurrency: int = 8" in listed and "token_env: str | None = None" in listed
    assert inspect.getdoc(open_it) == "Say what came."
    with pytest.raises(ConfigError, match="did you mean 'concurrency'"):
        bind(open_it, {"concurency": "2"}, what="it")
    with pytest.raises(ConfigError, match="concurrency must be in"):
        open_it("x", concurrency=0)


def test_all_options_but_the_headers_decide_no_image() -> None:
    from dataclasses import fields

    names = {entry.name for entry in fields(ServiceOptions)}
    assert names - set(INCIDENTAL) == {"headers"} and set(INCIDENTAL) < names


# -- addresses -------------------------------------------------------------------------------


def test_an_address_has_an_origin() -> None:
    base = read_base("HTTPS://Faces.Example.ORG/v2/models/a?version=3")
    assert base.origin == ("https", "faces.example.org", 443)
    assert str(base.url) == "https://faces.example.org/v2/models/a?version=3"
    assert read_base("http://[::1]:8000/").origin == ("http", "::1", 8000)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("[::1]", True), ("localhost", True)]
    + [("10.0.0.1", False), ("example.org", False), ("localhost.example.org", False)],
)
def test_what_stays_on_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert read_base(f"http://{host}:80/").loopback is loopback


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("", "an address begins with http:// or https://, got ''"),
        ("faces.example.org/x", "an address begins with http:// or https://"),
        ("ftp://host/x", "an address begins with http:// or https://, got 'ftp://host/x'"),
        ("http:///x", "an address begins with"),
        ("http://host:99999/", "'http://host:99999/' is no address"),
        ("http://host:x/", "is no address"),
        ("http://h\u00f6st/", "is no address: it is too long, or not printable ASCII"),
        ("http://host/\r\nx: y", "is no address"),
        ("http://" + "a" * 5000, "is no address"),
        ("http://host/x#top", "the address has a part after #, which is never sent"),
        ("http://user:hunter2@host/", "the address has a user or a password in it"),
        ("http://hunter2@host/", "the address has a user or a password in it"),
        ("http://user:hunter2@host:99999/", "is no address"),
    ],
)
def test_an_address_that_cannot_be_is_refused(target: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_base(target)
    assert "hunter2" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name",
    "key api_key apikey api-key token access_token TOKEN password secret sig signature "
    "X-Amz-Signature client_secret auth".split(),
)
def test_a_secret_in_the_address_is_refused_without_its_value(name: str) -> None:
    with pytest.raises(ConfigError, match="looks like a secret and would stand") as caught:
        read_base(f"http://host/x?a=1&{name}=hunter2")
    assert name in str(caught.value) and "hunter2" not in str(caught.value)
    read_base("http://host/x?keyboard=1&tokens=3&version=2")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
    + ["0.0.0.0", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1"]
    + ["198.18.0.1", "192.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1"]
    + ["ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1"]
    + ["::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"]
    + ["2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1"]
    + ["", "host", "127.1", "0x7f000001", "2130706433"],
)
def test_private_addresses_are_not_public_however_they_are_wrapped(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def resolver(**names: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    async def resolve(host: str, port: int) -> list[str]:
        if host.replace(".", "_") not in names:
            raise socket.gaierror("unknown")
        return names[host.replace(".", "_")]

    return resolve


def forbidden(text: str, named: tuple[str, ...] = (), **names: list[str]) -> str:
    base = read_base("https://service.example/v1/make")
    with pytest.raises(Forbidden) as caught:
        asyncio.run(way_to(text, base, named, resolver(**names)))
    return str(caught.value)


def test_an_address_of_the_service_itself_is_fetched_as_it_is() -> None:
    base = read_base("http://127.0.0.1:81/v1/make?x=1")
    for text, wanted in [
        ("http://127.0.0.1:81/a.png#b", "http://127.0.0.1:81/a.png"),
        ("/a.png?b=1", "http://127.0.0.1:81/a.png?b=1"),
        ("a.png", "http://127.0.0.1:81/v1/a.png"),
        ("//127.0.0.1:81/a", "http://127.0.0.1:81/a"),
    ]:
        way = asyncio.run(way_to(text, base, (), resolver()))
        assert (str(way.url), way.own, way.headers) == (wanted, True, {})


def test_a_public_address_is_connected_to_as_it_was_resolved() -> None:
    base = read_base("https://service.example/")
    for text, host in [
        ("https://cdn.example/a.png?s=1", "cdn.example"),
        ("https://CDN.example:8443/a.png?s=1", "cdn.example:8443"),
    ]:
        way = asyncio.run(way_to(text, base, (), resolver(cdn_example=["8.8.4.4", "8.8.8.8"])))
        assert way.url.host == "8.8.4.4" and way.url.query == b"s=1"
        assert way.headers == {"host": host} and way.extensions == {"sni_hostname": "cdn.example"}
        assert not way.own and way.named.host == "cdn.example"
    way = asyncio.run(way_to("http://six.example/a", base, (), resolver(six_example=["2606::1"])))
    assert str(way.url) == "http://[2606::1]/a"
    way = asyncio.run(way_to("http://8.8.8.8/a", base, (), resolver()))
    assert way.url.host == "8.8.8.8"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.8", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]"]
    + ["127.1", "2130706433", "0x7f000001", "127.0.0.1.", "0x7f.1", "inner.example"]
    + ["mixed.example", "none.example", "[64:ff9b::a00:1]"],
)
def test_an_address_that_only_this_machine_can_reach_is_not_fetched(host: str) -> None:
    said = forbidden(
        f"http://{host}/latest/meta-data",
        inner_example=["10.0.0.5"],
        mixed_example=["8.8.8.8", "127.0.0.1"],
        none_example=[],
    )
    assert "which is no public address and not the service's own" in said
    assert "--set image_hosts=HOST" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http://absent.example/", "the answer names absent.example, which has no address"),
        ("file:///etc/passwd", "an address of 'file', not of http or https"),
        ("gopher://cdn.example/", "an address of 'gopher'"),
        ("http://me:hunter2@cdn.example/", "an address with a user in it"),
        ("http://0177.0.0.1/", "an address that is none"),
        ("http://cdn.example:99999/", "an address that is none"),
        ("http://cdn.example/\n", "an address that is none"),
        ("a" * 5000, "an address that is none"),
    ],
)
def test_what_is_no_address_to_fetch_is_said(text: str, sentence: str) -> None:
    said = forbidden(text, cdn_example=["8.8.8.8"])
    assert sentence in said and "hunter2" not in said


def test_a_host_that_the_user_names_may_be_anywhere() -> None:
    base = read_base("https://service.example/")
    for named, text in [
        ("10.0.0.8", "http://10.0.0.8:9000/a"),
        ("Store:9000", "http://store:9000/a"),
        ("[::1]:81", "http://[::1]:81/a"),
    ]:
        way = asyncio.run(way_to(text, base, (named,), resolver()))
        assert (str(way.url), way.own) == (text, False)
    assert "no public address" in forbidden("http://10.0.0.8:9001/a", ("10.0.0.8:9000",))
    assert "no public address" in forbidden("http://10.0.0.80/a", ("10.0.0.8",))


def test_the_system_resolves_names() -> None:
    base = read_base("https://service.example/")
    with pytest.raises(Forbidden, match="localhost, which is no public address"):
        asyncio.run(way_to("http://localhost/a", base))


def test_only_the_services_own_origin_is_asked() -> None:
    base = read_base("https://service.example/v1")
    assert str(own_address("https://service.example:443/poll/1", base)).endswith("/poll/1")
    for text, named in [
        ("https://evil.example/poll?token=hunter2", "https://evil.example:443"),
        ("http://service.example/poll", "http://service.example:80"),
        ("https://service.example:444/", "https://service.example:444"),
        ("https://me:hunter2@service.example/", "https://service.example:443"),
        ("/poll", "what is no address"),
        ("https://service.example:99999/", "what is no address"),
    ]:
        with pytest.raises(SourceGone) as caught:
            own_address(text, base)
        assert f"the service names {named} to be asked, which is not its own origin" in str(
            caught.value
        )
        assert "hunter2" not in str(caught.value)
    assert shown_host("http://h/x") == "http://h:80"


# -- a request -------------------------------------------------------------------------------


def test_a_request_says_what_it_is_and_gives_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    script = Script(reply(body=b"image", Content_Type="image/png"))
    client = client_of(script, token_env="FACE_TOKEN", headers='{"X-Use-Cache": "false"}')
    answers: list[Answer] = []
    body = asked(
        client,
        accept=lambda answer: answers.append(answer) or answer.body,
        content=b"{}",
        headers={"content-type": "application/json"},
    )
    assert body == b"image"
    (request,) = script.asked
    assert (request.method, str(request.url), request.content) == ("POST", URL, b"{}")
    sent = request.headers
    assert sent["authorization"] == f"Bearer {TOKEN}"
    assert sent["accept-encoding"] == "identity" and sent["cache-control"] == "no-cache"
    assert sent["x-use-cache"] == "false" and sent["content-type"] == "application/json"
    assert sent["host"] == "127.0.0.1:9" and sent["user-agent"].startswith("ganaudit/")
    assert answers[0].headers["content-type"] == "image/png"
    assert (answers[0].status, answers[0].url) == (200, URL)


def test_a_token_goes_into_the_header_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    script = Script(reply())
    asked(client_of(script, token_env="FACE_TOKEN", token_header="X-API-Key", token_scheme=""))
    assert script.asked[0].headers["x-api-key"] == TOKEN
    assert "authorization" not in script.asked[0].headers


def test_a_repeated_post_has_one_key_and_another_request_another() -> None:
    script = Script(reply(500), reply(503), reply())

    async def twice() -> None:
        client = client_of(script)
        await client.ask("POST", URL, accept=body_of)
        await ask(client)

    asyncio.run(twice())
    keys = [request.headers["idempotency-key"] for request in script.asked]
    assert len(keys) == 4 and len(set(keys[:3])) == 1 and keys[3] != keys[0]
    script = Script(reply())
    asked(client_of(script), "GET")
    assert "idempotency-key" not in script.asked[0].headers


@pytest.mark.parametrize(
    "fault",
    [reply(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 599)]
    + [
        httpx.ReadError("reset"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("half"),
        httpx.ReadTimeout("slow"),
        httpx.WriteError(""),
    ],
    ids=str,
)
def test_what_may_pass_is_repeated_after_a_growing_wait(fault: Any) -> None:
    clock = Clock()
    script = Script(fault, fault, reply())
    assert asked(client_of(script, clock=clock)) == b"fine"
    assert len(script.asked) == 3
    assert clock.waits == [0.5, 1.0]  # half of 1 and of 2


def test_the_last_attempt_is_the_last() -> None:
    clock = Clock()
    script = Script(reply(500, b'{"error": "no memory"}'))
    with pytest.raises(Transient, match="^HTTP 500: no memory$") as caught:
        asked(client_of(script, clock=clock, attempts=4))
    assert len(script.asked) == 4 and clock.waits == [0.5, 1, 2]
    assert not isinstance(caught.value, Unusable)
    script = Script(httpx.ConnectError("[Errno 111] refused"))
    with pytest.raises(Transient, match=r"^the connection failed: ConnectError: \[Errno 111\] ref"):
        asked(client_of(script, attempts=1))
    assert len(script.asked) == 1


def test_a_request_is_repeated_for_as_long_as_the_deadline() -> None:
    clock = Clock()
    script = Script(reply(500))
    with pytest.raises(Transient):
        asked(client_of(script, clock=clock, attempts=100, deadline=10.0))
    # 0.5 + 1 + 2 + 4 s are waited; then 7.5 s are over, and the next 8 s are still begun.
    assert clock.waits == [0.5, 1, 2, 4, 8] and len(script.asked) == 6


def test_what_is_not_accepted_is_repeated_as_well() -> None:
    script = Script(reply(body=b"<html>"), reply(body=b"fine"))

    def accept(answer: Answer) -> bytes:
        if answer.body != b"fine":
            raise Unusable("a page")
        return answer.body

    assert asked(client_of(script), accept=accept) == b"fine"
    with pytest.raises(Unusable, match="a page"):
        asked(client_of(Script(reply(body=b"<html>"))), accept=accept)


def test_what_is_accepted_may_take_its_time() -> None:
    async def accept(answer: Answer) -> int:
        await asyncio.sleep(0)
        return len(answer.body)

    assert asked(client_of(Script(reply())), accept=accept) == 4


def test_a_large_answer_is_looked_at_beside_the_loop() -> None:
    import threading

    def accept(answer: Answer) -> int:
        return threading.get_ident()

    here = threading.get_ident()
    assert asked(client_of(Script(reply(body=b"a" * 2**15))), accept=accept) == here
    assert asked(client_of(Script(reply(body=b"a" * (2**15 + 1)))), accept=accept) != here


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "the service refuses the token, or wants one; say --set token_env=NAME"),
        (402, "the service wants to be paid first"),
        (404, "there is no such thing at this address; look at the path"),
        (405, "the address takes no such request"),
        (407, "a proxy on the way wants credentials"),
    ],
)
def test_what_nobody_will_be_given_ends_the_run(status: int, remedy: str) -> None:
    script = Script(reply(status, b'{"error": "no"}'))
    with pytest.raises(SourceGone) as caught:
        asked(client_of(script))
    assert str(caught.value).startswith(f"HTTP {status}: no; {remedy}")
    assert caught.value.exit_code == 3 and len(script.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 410, 413, 415, 418, 422, 451])
def test_other_refusals_are_the_slots_own(status: int) -> None:
    script = Script(reply(status, b'{"detail": "not this one"}'))
    with pytest.raises(Refusal, match=f"^HTTP {status}: not this one$") as caught:
        asked(client_of(script))
    assert caught.value.status is Status.REFUSED and len(script.asked) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed_and_its_host_is_named(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    place = f"https://me:hunter2@evil.example:8443/steal/{TOKEN}?t={TOKEN}"
    script = Script(reply(status, Location=place))
    with pytest.raises(SourceGone) as caught:
        asked(client_of(script, token_env="FACE_TOKEN"))
    said = str(caught.value)
    assert f"(HTTP {status}) to https://evil.example:8443, which is not followed" in said
    assert "hunter2" not in said and TOKEN not in said
    assert len(script.asked) == 1


def test_a_redirect_to_nowhere_ends_the_run_too() -> None:
    for headers in ({}, {"location": "/x"}):
        with pytest.raises(SourceGone, match="to http://127.0.0.1:9, which is not followed"):
            asked(client_of(Script(httpx.Response(302, headers=headers))))


def test_the_token_is_in_nothing_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    echo = json.dumps({"error": f"wrong: Bearer {TOKEN}"}).encode()
    long = f"{'x' * 190} {TOKEN}".encode()  # cut in its middle
    faults: list[Any] = [
        httpx.ReadError(f"reset by Bearer {TOKEN}"),
        *(reply(status, body) for status in (400, 401, 500) for body in (echo, long)),
        reply(302, Location=f"/{TOKEN}"),
        reply(200, echo),
    ]

    def accept(answer: Answer) -> bytes:
        raise Unusable(f"no image but {answer.body!r}")

    for fault in faults:
        client = client_of(Script(fault), token_env="FACE_TOKEN", attempts=2)
        assert TOKEN not in repr(vars(client))
        with pytest.raises((Transient, Refusal, SourceGone)) as caught:
            asked(client, accept=accept)
        said = f"{caught.value!s} {caught.value!r} {caught.value.args}"
        assert TOKEN not in said and TOKEN[:6] not in said


def test_another_origin_is_never_asked_with_the_token() -> None:
    script = Script(reply())

    async def elsewhere() -> None:
        client = client_of(script)
        try:
            await client.ask("GET", "http://evil.example/poll", accept=body_of)
        finally:
            await client.close()

    with pytest.raises(SourceGone, match="http://evil.example:80 to be asked, which is not its"):
        asyncio.run(elsewhere())
    assert not script.asked


def test_a_token_over_an_open_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    for url, told in [
        ("http://faces.example/", True),
        ("https://faces.example/", False),
        ("http://127.0.0.1:80/", False),
    ]:
        said = client_of(Script(reply()), url=url, token_env="FACE_TOKEN").assumptions()
        assert bool(said) is told and all("unencrypted" in line for line in said)
    assert not client_of(Script(reply()), url="http://faces.example/").assumptions()


def test_no_cookie_is_kept() -> None:
    script = Script(reply(500, Set_Cookie="a=b; Path=/"), reply())
    asked(client_of(script))
    assert len(script.asked) == 2 and "cookie" not in script.asked[1].headers


# -- slowing down, budget --------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_is_waited_for_by_all(status: int) -> None:
    clock = Clock()
    moments: list[float] = []

    def endpoint(request: httpx.Request) -> httpx.Response:
        moments.append(clock.time)
        return reply(status, retry_after="30") if len(moments) == 1 else reply()

    async def check() -> None:
        client = client_of(endpoint, clock=clock, concurrency=1)
        await asyncio.gather(*(client.ask("POST", URL, accept=body_of) for _ in range(3)))
        await client.close()

    asyncio.run(check())
    assert len(moments) == 4 and moments[0] == 1000 and min(moments[1:]) >= 1030


def test_a_date_to_wait_for_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(client_module.time, "time", lambda: 1_800_000_000.0)
    date = format_datetime(datetime.fromtimestamp(1_800_000_045, UTC), usegmt=True)
    asked(client_of(Script(reply(429, retry_after=date), reply()), clock=clock))
    assert clock.time == 1045


def test_being_asked_too_much_halves_what_is_in_flight() -> None:
    flying = most = 0
    refused = 8

    async def endpoint(request: httpx.Request) -> httpx.Response:
        nonlocal flying, most, refused
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.001)
        flying -= 1
        if refused:
            refused -= 1
            if not refused:
                most = 0
            return reply(429)
        return reply()

    async def check() -> None:
        nonlocal most
        client = client_of(endpoint, concurrency=8)
        await asyncio.gather(*(client.ask("POST", URL, accept=body_of) for _ in range(8)))
        assert most == 4
        most = 0
        await asyncio.gather(*(client.ask("POST", URL, accept=body_of) for _ in range(80)))
        assert most == 8  # grown again
        await client.close()

    asyncio.run(check())


def test_no_more_requests_are_sent_than_allowed_and_repeats_count() -> None:
    script = Script(reply(500), reply())

    async def check() -> None:
        client = client_of(script, most=3)
        for _ in range(2):
            await client.ask("POST", URL, accept=body_of)
        await client.ask("GET", URL, accept=body_of, counted=False)
        assert client.requests == 3
        with pytest.raises(BudgetSpent, match="3 requests were sent, as many as --max-requests"):
            await client.ask("POST", URL, accept=body_of)
        await client.close()

    asyncio.run(check())
    assert len(script.asked) == 4


# -- bodies ----------------------------------------------------------------------------------


def served(handle: Callable[[Asked, Wire], Awaitable[None]], **options: Any) -> bytes:
    """What the client makes of a real server of the loopback."""
    with Server(handle) as server:
        clock = Clock()
        client = Client(
            read_base(server.url),
            ServiceOptions(**{"attempts": 1, **options}),
            max_requests=None,
            now=clock.now,
            sleep=clock.sleep,
        )
        return asked(client)


def test_an_answer_comes_over_a_real_connection() -> None:
    assert served(answering(lambda asked: Reply(body=b"x" * 10**6))) == b"x" * 10**6


@pytest.mark.parametrize("length", [1024, 1025])
@pytest.mark.parametrize("declared", [True, False])
def test_an_answer_may_be_as_large_as_allowed(length: int, declared: bool) -> None:
    async def handle(asked: Asked, wire: Wire) -> None:
        size = length if declared else None
        await wire.send(head(200, "OK", {"Connection": "close"}, length=size) + b"a" * length)
        wire.end()

    if length == 1024:
        assert len(served(handle, max_bytes=1024)) == 1024
    else:
        with pytest.raises(Refusal, match="the answer has more than 1,024 bytes; --set max_bytes"):
            served(handle, max_bytes=1024)


@pytest.mark.parametrize("form", ["endless", "chunked", "claimed"])
def test_an_endless_answer_is_not_read_to_its_end(form: str) -> None:
    sent = 0

    async def handle(asked: Asked, wire: Wire) -> None:
        nonlocal sent
        headers = {"Transfer-Encoding": "chunked"} if form == "chunked" else {}
        length = 10**18 if form == "claimed" else None
        await wire.send(head(200, "OK", headers, length=length))
        block = b"a" * 65536
        part = b"%x\r\n%s\r\n" % (len(block), block) if form == "chunked" else block
        while sent < 2**28 and form != "claimed":
            await wire.send(part)
            sent += len(block)

    with pytest.raises(Refusal, match="more than 1,048,576 bytes"):
        served(handle, max_bytes=2**20)
    assert sent < 2**27


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "x" * 100])
def test_an_encoded_answer_is_not_decoded(encoding: str) -> None:
    script = Script(reply(200, content_encoding="identity"), reply())
    assert asked(client_of(script)) == b"fine"

    def endpoint(request: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": encoding}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"\x1f\x8b..."))

    with pytest.raises(Refusal, match="the answer is encoded .*, though identity alone was") as no:
        asked(client_of(endpoint))
    assert no.value.status is Status.FAILED and len(str(no.value)) < 120


def test_an_encoded_error_is_an_error_without_words() -> None:
    async def handle(asked: Asked, wire: Wire) -> None:
        await wire.send(Reply(503, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}).wire)

    with pytest.raises(Transient, match="^HTTP 503$"):
        served(handle)


def test_a_slow_answer_is_given_up_however_steadily_it_drips() -> None:
    async def handle(asked: Asked, wire: Wire) -> None:
        await wire.send(head(200, "OK", {}, length=10**6))
        for _ in range(2000):
            await wire.send(b"a")
            await asyncio.sleep(0.005)

    with pytest.raises(Transient, match=r"no whole answer in 0.2 s \(request_timeout\)"):
        served(handle, request_timeout=0.2)


def test_silence_is_given_up() -> None:
    async def handle(asked: Asked, wire: Wire) -> None:
        await wire.wait_for_client()

    with pytest.raises(Transient, match="no whole answer in 0.1 s"):
        served(handle, request_timeout=0.1)


@pytest.mark.parametrize("manner", ["cut", "reset", "closed", "rubbish", "headers"])
def test_a_broken_answer_is_a_failed_connection(manner: str) -> None:
    async def handle(asked: Asked, wire: Wire) -> None:
        if manner == "cut":
            await wire.send(head(200, "OK", {}, length=100) + b"a" * 50)
        elif manner == "rubbish":
            await wire.send(b"SSH-2.0-OpenSSH_9\r\n\r\n")
        elif manner == "headers":
            await wire.send(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10**5)
        if manner == "reset":
            wire.reset()
        else:
            wire.end()

    with pytest.raises(Transient, match="the connection failed: (Read|RemoteProtocol)Error"):
        served(handle)


def test_connections_are_used_again() -> None:
    with Server(answering(lambda asked: Reply(body=b"x"))) as server:

        async def check() -> None:
            client = Client(read_base(server.url), ServiceOptions(concurrency=4), max_requests=None)
            asks = (client.ask("POST", server.url, accept=body_of) for _ in range(100))
            assert await asyncio.gather(*asks) == [b"x"] * 100
            await client.close()

        asyncio.run(check())
        assert server.connections <= 4


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert served(answering(lambda asked: Reply(body=b"x"))) == b"x"


# -- fetching --------------------------------------------------------------------------------


def test_the_services_own_images_are_fetched_with_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    script = Script(reply(body=b"image"))
    client = client_of(script, token_env="FACE_TOKEN", headers='{"x-group": "7"}', most=0)
    assert fetched(client, "/files/a.png") == b"image"  # and they do not count
    (request,) = script.asked
    assert str(request.url) == "http://127.0.0.1:9/files/a.png" and request.method == "GET"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-group"] == "7"


def test_another_host_is_told_nothing_that_the_user_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    script = Script(reply(body=b"image"))
    client = client_of(
        script,
        token_env="FACE_TOKEN",
        headers='{"x-group": "7"}',
        resolve=resolver(cdn_example=["8.8.8.8"]),
    )
    assert fetched(client, "https://cdn.example/a.png?sig=1") == b"image"
    (request,) = script.asked
    assert str(request.url) == "https://8.8.8.8/a.png?sig=1"
    assert request.headers["host"] == "cdn.example"
    assert request.extensions["sni_hostname"] == "cdn.example"
    assert "authorization" not in request.headers and "x-group" not in request.headers
    assert TOKEN not in str(request.headers.raw)


def test_redirects_of_an_image_are_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_TOKEN", TOKEN)
    script = Script(
        reply(302, Location="https://cdn.example/a"),
        reply(307, Location="b/c.png"),
        reply(301, Location="http://8.8.4.4/d"),
        reply(body=b"image"),
    )
    client = client_of(script, token_env="FACE_TOKEN", resolve=resolver(cdn_example=["8.8.8.8"]))
    assert fetched(client, "/a.png") == b"image"
    wanted = ["http://127.0.0.1:9/a.png", "https://8.8.8.8/a", "https://8.8.8.8/b/c.png"]
    assert [str(request.url) for request in script.asked] == [*wanted, "http://8.8.4.4/d"]
    hosts = [request.headers["host"] for request in script.asked]
    assert hosts == ["127.0.0.1:9", "cdn.example", "cdn.example", "8.8.4.4"]
    assert ["authorization" in request.headers for request in script.asked] == [True] + [False] * 3


def test_a_fourth_redirect_is_one_too_many() -> None:
    script = Script(reply(302, Location="/again"))
    with pytest.raises(Refusal, match="the address of the image redirects without end") as caught:
        fetched(client_of(script), "/a.png")
    assert len(script.asked) == 4 and caught.value.status is Status.FAILED


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:22/", "http://169.254.169.254/latest", "http://inner.example/", "//[::1]/"]
    + ["file:///etc/passwd", "http://2130706433/", "http://[::ffff:10.0.0.1]/"],
)
def test_a_redirect_to_a_private_address_is_not_followed(place: str) -> None:
    names = resolver(cdn_example=["8.8.8.8"], inner_example=["192.168.0.9"])
    script = Script(reply(302, Location=place))
    client = client_of(script, url="https://service.example/", resolve=names)
    with pytest.raises(Refusal, match="the answer names ") as caught:
        fetched(client, "https://cdn.example/a.png")
    assert len(script.asked) == 1 and caught.value.status is Status.FAILED


def test_a_private_address_is_not_even_connected_to() -> None:
    script = Script(reply())
    with pytest.raises(Refusal, match="127.0.0.1, which is no public address"):
        fetched(client_of(script), "http://127.0.0.1:10/a.png")
    assert not script.asked
    assert fetched(client_of(script, image_hosts=("127.0.0.1:10",)), "http://127.0.0.1:10/a")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500])
def test_an_image_that_is_not_there_is_worth_another_try_and_ends_no_run(status: int) -> None:
    script = Script(reply(status, b"gone"), reply(body=b"image"))
    assert fetched(client_of(script), "/a.png") == b"image"
    with pytest.raises(Transient, match=f"the address of the image gives HTTP {status}: text: 'g"):
        fetched(client_of(Script(reply(status, b"gone"))), "/a.png")


def test_a_fetched_image_is_bounded() -> None:
    with pytest.raises(Refusal, match="more than 1,024 bytes"):
        fetched(client_of(Script(reply(body=b"a" * 1025)), max_bytes=1024), "/a.png")


def test_a_name_is_resolved_once_for_what_is_connected_to() -> None:
    """A second answer of the resolver, a private address, is never asked for."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    script = Script(reply(body=b"image"))
    client = client_of(script, resolve=resolve)
    assert fetched(client, "http://rebind.example/a") == b"image"
    assert script.asked[0].url.host == "8.8.8.8" and len(answers) == 1


def test_headers_of_an_answer_are_named_in_lower_case() -> None:
    seen: list[Mapping[str, str]] = []
    asked(
        client_of(Script(reply(X_Seed="5"))),
        accept=lambda answer: seen.append(answer.headers) or b"",
    )
    assert seen[0]["x-seed"] == "5"
