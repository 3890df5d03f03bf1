"""Clients that attack a server for a while, and good ones beside them that look at every answer.

`siege` is what tests run for seconds and benchmarks/serve_hostile.py for a minute.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import oip

_PATIENCE_S = 20.0
_BLOCK = bytes(2**16)
_MANY = 100 * 2**20  # bytes of a body that nobody should take
_DRIP_S = 0.05

Answer = int | str  # a status, "closed" without one, or "held": the siege was over first


@dataclass(frozen=True)
class Target:
    """A server that is attacked.

    Attributes:
      host, port: where it listens.
      token: what good clients send.
      latent: values of a latent.
      images: of one request, at most.
      name: of the model.
    """

    host: str
    port: int
    token: str
    latent: int
    images: int = 64
    name: str = "generator"

    @property
    def infer(self) -> str:
        return f"/v2/models/{self.name}/infer"

    def head(self, path: str, *lines: str, method: str = "POST", token: str | None = None) -> bytes:
        """A request line and its headers."""
        token = self.token if token is None else token
        known = ("Host: here", "Content-Type: application/json", f"Authorization: Bearer {token}")
        return "\r\n".join([f"{method} {path} HTTP/1.1", *known, *lines, "", ""]).encode()

    def post(self, path: str, body: bytes, *lines: str, token: str | None = None) -> bytes:
        """A whole request."""
        return self.head(path, f"Content-Length: {len(body)}", *lines, token=token) + body

    def ask(self, *tensors: dict[str, Any], **fields: Any) -> bytes:
        """A whole inference request in JSON; NaN and infinity as Python writes them."""
        return self.post(self.infer, json.dumps({"inputs": tensors, **fields}).encode())


@dataclass
class Outcome:
    """What came of a siege.

    Attributes:
      answers: of each attack, and how often.
      images: that good clients got and found right.
      errors: of good clients; there should be none.
    """

    answers: dict[str, Counter[Answer]] = field(default_factory=dict)
    images: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def harmful(self) -> dict[str, Counter[Answer]]:
        """Attacks that got something else than a refusal or a closed connection."""
        found = {}
        for name, answers in self.answers.items():
            wrong = Counter({a: n for a, n in answers.items() if not refused(a)})
            if wrong and not name.startswith("leaves"):
                found[name] = wrong
        return found


def refused(answer: Answer) -> bool:
    """Whether an attack came to nothing."""
    return isinstance(answer, str) or 400 <= answer < 500 or answer == 503


# -- attacks ---------------------------------------------------------------------------------


def seeds(values: Any, shape: list[Any], **other: Any) -> dict[str, Any]:
    return {"name": "seed", "datatype": "INT64", "shape": shape, "data": values} | other


def messages(to: Target) -> Iterator[tuple[str, bytes]]:
    """(name, what is sent): requests that are complete, and wrong."""
    latent = {"name": "latent", "datatype": "FP32", "shape": [1, to.latent]}
    for name, value in (("NaN", np.nan), ("infinity", -np.inf), ("1e39", 1e39), ("1e30", 1e30)):
        yield f"latent of {name}", to.ask(latent | {"data": [value] * to.latent})
    binary = np.full(to.latent, np.nan, "<f4").tobytes()
    entry = latent | {"parameters": {"binary_data_size": len(binary)}}
    text = json.dumps({"inputs": [entry]}).encode()
    length = f"{oip.HEADER}: {len(text)}"
    yield "binary NaN", to.post(to.infer, text + binary, length)
    for value in ("0", "-1", "x", "9" * 30, str(len(text) + len(binary) + 1), str(len(text) - 1)):
        yield "wrong header length", to.post(to.infer, text + binary, f"{oip.HEADER}: {value}")
    yield "a million seeds", to.ask(seeds(list(range(10**6)), [10**6]))
    yield "a million, said", to.ask(seeds([], [10**6]))
    yield "too many images", to.ask(seeds(list(range(to.images + 1)), [to.images + 1]))
    yield "a shape of 2**62", to.ask(seeds([1], [2**31, 2**31]))
    yield "no images", to.ask(seeds([], [0]))
    yield "no side", to.ask(seeds([1], []))
    yield "seed -1", to.ask(seeds([-1], [1]))
    yield "seed 2**63", to.ask(seeds([2**63], [1]))
    yield "seed 2**63, unsigned", to.ask(seeds([2**63], [1], datatype="UINT64"))
    yield "a seed in floating point", to.ask(seeds([0.5], [1], datatype="FP32"))
    yield "a shape of text", to.ask(seeds([1], ["1"]))
    yield "the same input twice", to.ask(seeds([1], [1]), seeds([2], [1]))
    yield "an unknown input", to.ask(seeds([1], [1], name="z"))
    yield "an unknown output", to.ask(seeds([1], [1]), outputs=[{"name": "z"}])
    yield "unequal counts", to.ask(seeds([1, 2], [2]), seeds([1], [1], name="noise_seed"))
    yield "labels of none", to.ask(seeds([1], [1]), seeds([10**6], [1], name="label"))
    yield "an id of a megabyte", to.ask(seeds([1], [1]), id="x" * 2**20)
    for path in (to.infer, "/generate"):
        yield "broken JSON", to.post(path, b'{"inputs": [')
        yield "no object", to.post(path, b"[1, 2]")
        yield "no UTF-8", to.post(path, b'{"seed": "\xff\xfe"}')
        yield "deep", to.post(path, b"[" * 100_000)
        yield "deep objects", to.post(path, b'{"a":' * 100_000)
        yield "a long number", to.post(path, b'{"seed": ' + b"9" * 100_000 + b"}")
        yield "many commas", to.post(path, b"[" + b"1," * 2**21 + b"1]")
        yield "compressed", to.post(path, b"\x1f\x8b" + _BLOCK, "Content-Encoding: gzip")
        yield "wrong token", to.post(path, b'{"seed": 1}', token="guess")
        yield "another type", to.post(path, b"<a/>").replace(b"application/json", b"text/xml")
    yield "doubled key", to.post("/generate", b'{"seed": 1, "seed": 2}')
    yield "unknown key", to.post("/generate", b'{"sed": 1}')
    yield "unknown path", to.head("/v2/models/other", method="GET")
    yield "path upwards", to.head("/../../etc/passwd", method="GET")
    yield "wrong method", to.head(to.infer, method="GET")
    yield "absent token", b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
    # What is no HTTP, or another's.
    yield "garbage", bytes(range(256)) * 64
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    yield "a proxy's request", to.head("elsewhere:443", method="CONNECT")
    yield "long address", to.head("/" + "a" * 2**18, method="GET")
    yield "long header", to.head("/v2", "X: " + "a" * 2**18, method="GET")
    yield "many headers", to.head("/v2", *(f"X-{i}: 1" for i in range(2**14)), method="GET")
    yield "two lengths", to.head(to.infer, "Content-Length: 5", "Content-Length: 6") + b"12345"
    chunked = to.head(to.infer, "Transfer-Encoding: chunked")
    yield "length and chunks", chunked[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n"
    yield "a chunk of no length", chunked + b"xyz\r\n"
    yield "a chunk of 2**64", chunked + b"1" + b"0" * 16 + b"\r\n"
    yield "trailers", chunked + b"0\r\nAuthorization: Bearer x\r\n\r\n"
    yield "negative length", to.head(to.infer, "Content-Length: -5")
    yield (
        "requests ahead",
        to.head(to.infer, "Content-Length: 9") + b"x" + 4096 * b"GET / HTTP/1.1\r\n\r\n",
    )


async def _endless(first: bytes, block: bytes, most: int) -> AsyncIterator[bytes]:
    yield first
    for _ in range(most // len(block)):
        yield block


async def _dripping(first: bytes, drop: bytes) -> AsyncIterator[bytes]:
    yield first
    while True:
        await asyncio.sleep(_DRIP_S)
        yield drop


def streams(to: Target) -> Iterator[tuple[str, AsyncIterator[bytes]]]:
    """(name, what is sent): requests that do not end, or end late."""
    chunked = to.head(to.infer, "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + _BLOCK + b"\r\n"
    said = to.head(to.infer, f"Content-Length: {_MANY}")
    yield "100 MB, said", _endless(said, _BLOCK, _MANY)
    yield "100 MB in chunks", _endless(chunked, chunk, _MANY)
    yield "100 MB in bytes", _endless(chunked, b"1\r\nx\r\n" * 2**13, _MANY)
    yield "100 MB of a trailer", _endless(chunked + b"0\r\nX: ", _BLOCK, _MANY)
    yield "100 MB to nobody", _endless(to.head("/x", f"Content-Length: {_MANY}"), _BLOCK, _MANY)
    guess = to.head(to.infer, f"Content-Length: {_MANY}", token="guess")
    yield "100 MB, wrong token", _endless(guess, _BLOCK, _MANY)
    yield "a header without end", _endless(to.head("/v2")[:-2] + b"X: ", b"a" * 2**16, _MANY)
    yield "headers without end", _endless(to.head("/v2")[:-2], b"X: a\r\n" * 2**13, _MANY)
    yield "blank lines", _endless(b"", b"\r\n" * 2**15, _MANY)
    yield "silence", _dripping(b"", b"")
    yield "a slow head", _dripping(b"POST /generate HTTP/1.1\r\nX: ", b"a")
    yield "slow headers", _dripping(b"POST /generate HTTP/1.1\r\n", b"X: a\r\n")
    yield "slow blank lines", _dripping(b"\r\n", b"\r\n")
    yield "a slow body", _dripping(to.head(to.infer, "Content-Length: 100000"), b"x")
    yield "slow chunks", _dripping(chunked, b"1\r\nx\r\n")


async def send(to: Target, parts: AsyncIterator[bytes], *, until: float | None = None) -> Answer:
    """Send as much as the server takes; the status of its first answer."""
    until = _late() if until is None else until
    reader, writer = await asyncio.open_connection(to.host, to.port)

    async def sending() -> None:
        with contextlib.suppress(ConnectionError):
            async for part in parts:
                writer.write(part)
                await writer.drain()

    sender = asyncio.ensure_future(sending())
    try:
        left = until - asyncio.get_running_loop().time()
        line = await asyncio.wait_for(reader.readline(), max(left, 0.01))
        return int(line.split()[1]) if line else "closed"
    except TimeoutError:
        return "held"
    except (ConnectionError, ValueError):  # of a line that is longer than any of ours
        return "closed"
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        writer.transport.abort()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def leave(to: Target, how: str) -> Answer:
    """Ask as a good client does, and be gone before the answer."""
    await asyncio.sleep(_DRIP_S)
    count = to.images // 8
    data = to.ask(seeds(list(range(count)), [count]), parameters={"binary_data_output": True})
    _, writer = await asyncio.open_connection(to.host, to.port)
    try:
        if how == "leaves in the middle":
            data = data[: len(data) // 2]
        writer.write(data)
        await writer.drain()
        if how == "leaves half":
            writer.write_eof()
            await asyncio.sleep(_DRIP_S)
        elif how == "leaves by a reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except ConnectionError:
        return "closed"
    finally:
        writer.transport.abort()
    return "left"


async def never_read(to: Target, *, until: float) -> Answer:
    """Ask for much again and again, and take none of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    count = to.images
    data = to.ask(seeds(list(range(count)), [count]))
    with sock:
        await loop.sock_connect(sock, (to.host, to.port))
        try:
            while loop.time() < until:
                await asyncio.wait_for(
                    loop.sock_sendall(sock, data), max(until - loop.time(), 0.01)
                )
                await asyncio.sleep(_DRIP_S)
        except TimeoutError:
            return "held"
        except ConnectionError:
            return "closed"
    return "held"


# -- a siege ---------------------------------------------------------------------------------


async def good_client(
    to: Target, number: int, expected: Callable[[int], NDArray[np.uint8]], outcome: Outcome, *,
    until: float,
) -> None:  # fmt: skip
    """Ask for images of seeds, one to three at once, and compare them with what they must be."""
    loop = asyncio.get_running_loop()
    reader = writer = None
    for turn in itertools.count():
        if loop.time() >= until:
            break
        wanted = [(17 * number + 5 * turn + i) % 1000 for i in range(1 + turn % 3)]
        data = to.ask(seeds(wanted, [len(wanted)]), parameters={"binary_data_output": True})
        try:
            if writer is None or turn % 20 == 0:  # a new connection has to find room too
                if writer is not None:
                    writer.close()
                reader, writer = await asyncio.open_connection(to.host, to.port)
            writer.write(data)
            status, headers, body = await asyncio.wait_for(read_answer(reader), _PATIENCE_S)
            assert status == 200, f"{status}: {body[:200]!r}"
            _, (image,) = oip.decode(
                body, int(headers[oip.HEADER.lower()]), key="outputs", most_values=2**30
            )
            for seed, found in zip(wanted, image.values, strict=True):
                apart = np.abs(found.astype(int) - expected(seed)).max()
                assert apart <= 1, f"image of seed {seed} is {apart} grey levels off"
                outcome.images += 1
        except (
            AssertionError,
            ConnectionError,
            TimeoutError,
            asyncio.IncompleteReadError,
        ) as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
            writer = None
    if writer is not None:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of an answer of known length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), headers, body


def siege(
    to: Target, *, seconds: float, expected: Callable[[int], NDArray[np.uint8]], good: int = 4,
    hostile: int = 4,
) -> Outcome:  # fmt: skip
    """Attack a server.

    Args:
      to: the server.
      seconds: how long; every attack is made at least once, which takes as long as it takes.
      expected: the image uint8 [3, H, W] of a seed.
      good: clients that keep the rules.
      hostile: of each kind of attackers.
    """
    return asyncio.run(_siege(to, seconds, expected, good, hostile))


async def _siege(
    to: Target,
    seconds: float,
    expected: Callable[[int], NDArray[np.uint8]],
    good: int,
    hostile: int,
) -> Outcome:
    until = asyncio.get_running_loop().time() + seconds
    outcome = Outcome()

    async def note(name: str, attack: Awaitable[Answer]) -> None:
        try:
            answer = await attack
        except ConnectionError:
            answer = "closed"
        outcome.answers.setdefault(name, Counter())[answer] += 1

    async def again_and_again(turns: Callable[[], list[tuple[str, Awaitable[Answer]]]]) -> None:
        while True:
            for name, attack in turns():
                await note(name, attack)
            if asyncio.get_running_loop().time() >= until:
                return

    complete = list(messages(to))
    ways = ("leaves half", "leaves by a reset", "leaves in the middle", "leaves")
    attackers = [
        again_and_again(lambda: [(n, send(to, _once(d))) for n, d in complete])
        for _ in range(hostile)
    ]
    attackers += [
        again_and_again(lambda how=how: [(how, leave(to, how))])  # type: ignore[misc]
        for how in ways
    ]
    for _ in range(hostile):
        for i, (name, _) in enumerate(streams(to)):
            attackers.append(
                again_and_again(
                    lambda i=i, name=name: [  # type: ignore[misc]
                        (name, send(to, list(streams(to))[i][1], until=until))
                    ]
                )
            )
        attackers.append(again_and_again(lambda: [("unread", never_read(to, until=until))]))
    friends = [good_client(to, i, expected, outcome, until=until) for i in range(good)]
    await asyncio.gather(*attackers, *friends)
    return outcome


def _late() -> float:
    return asyncio.get_running_loop().time() + _PATIENCE_S
