"""Services that attack who asks them for an image: by bodies, by HTTP itself, by redirects."""

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any

from hostile_pictures import bomb, picture, pictures
from loopback import Asked, Handler, Reply, Wire, as_json, head

_BLOCK = bytes(2**16)
_DRIP_S = 0.03
MOST_SENT = 2**28  # by an endless answer: who reads all of it has lost, and the test goes on

RETRY_AFTER = (
    "nan", "inf", "-1", "-1e9", "1e9x", ",", "::::", "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 2027 23:59:59 +99999999999999999", "1 Jan 99999999999999999999 1:1:1 +0000",
    "Mon, 1 Jan 2027 0:0:999999999999999999999 GMT", "Sat, 01 Jan 0001 00:00:00 +2359",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """An attack in answer to a request for an image.

    Attributes:
      name: of it.
      handle: what the server does.
      says: a regular expression that the client's sentence must contain.
    """

    name: str
    handle: Handler
    says: str = "."


def replying(reply: Reply) -> Handler:
    """Always the same answer."""

    async def handle(asked: Asked, wire: Wire) -> None:
        await wire.send(reply.wire)

    return handle


def _nested(depth: int) -> bytes:
    """JSON of an error that is as deep as a reader just bears, and a writer does not."""
    return b'{"error": ' + b"[" * depth + b"]" * depth + b"}"


def redirecting(place: str, status: int = 302) -> Handler:
    """To another address."""
    return replying(Reply(status, b"", {"Location": place}))


def _sending(
    *parts: bytes, endless: bytes = b"", pause_s: float = 0.0, end: bool = True
) -> Handler:
    """Some bytes, then `endless` for ever; nothing of HTTP is added."""

    async def handle(asked: Asked, wire: Wire) -> None:
        for part in parts:
            await wire.send(part)
        sent = 0
        while endless and sent < MOST_SENT:
            await wire.send(endless)
            sent += len(endless)
            if pause_s:
                await asyncio.sleep(pause_s)
        if end:
            wire.end()
        else:
            await wire.wait_for_client()

    return handle


# -- what a request for an image gets --------------------------------------------------------


def _image(body: bytes, **headers: str) -> Handler:
    return replying(Reply(200, body, {"Content-Type": "image/png"} | headers))


def answers(elsewhere: str) -> list[Hostile]:
    """The attacks.

    Args:
      elsewhere: a URL of another host.
    """
    ok = head(200, "OK", {"Content-Type": "image/png"})
    chunked = head(200, "OK", {"Transfer-Encoding": "chunked", "Content-Type": "image/png"})
    start, good = b"HTTP/1.1 200 OK\r\n", picture("PNG")
    packed = gzip.compress(bytes(2**24), 9)
    places = {
        301: elsewhere,
        302: elsewhere.replace("http:", ""),
        303: elsewhere.replace("http:", "HTTP:"),
        307: "/other",
        308: "https://",
    }
    redirects = [
        Hostile(f"{status} to {place}", redirecting(place, status), "redirect")
        for status, place in places.items()
    ]
    refresh = replying(Reply(300, b"", {"Refresh": f"0; url={elsewhere}"}))
    return [
        *(Hostile(name, _image(body)) for name, body in pictures().items()),
        *redirects,
        Hostile("300 with a refresh", refresh, "redirect"),
        Hostile("endless body", _sending(ok, endless=_BLOCK)),
        Hostile(
            "endless body of a length",
            _sending(head(200, "OK", {}, length=10**15), endless=_BLOCK),
        ),
        Hostile("endless chunks", _sending(chunked, endless=b"10000\r\n" + _BLOCK + b"\r\n")),
        Hostile("endless chunks of a byte", _sending(chunked, endless=b"1\r\n\0\r\n" * 4096)),
        Hostile("endless chunk extension", _sending(chunked, b"1;", endless=b"a" * 65536)),
        Hostile("endless trailer", _sending(chunked, b"0\r\n", endless=b"a: b\r\n" * 4096)),
        Hostile("chunk of 2**64 bytes", _sending(chunked, b"ffffffffffffffff\r\n", endless=_BLOCK)),
        Hostile("endless headers", _sending(start, endless=b"Set-Cookie: a=b\r\n" * 1024)),
        Hostile("endless header line", _sending(start + b"A: ", endless=b"a" * 65536)),
        Hostile("endless status line", _sending(b"HTTP/1.1 200 ", endless=b"O" * 65536)),
        Hostile("endless early hints", _sending(endless=b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n" * 99)),
        Hostile("endless continues", _sending(endless=b"HTTP/1.1 100 Go on\r\n\r\n" * 1000)),
        Hostile("dripping body", _sending(ok, endless=b"\0", pause_s=_DRIP_S)),
        Hostile("dripping headers", _sending(start, endless=b"A: b\r\n", pause_s=_DRIP_S)),
        Hostile("dripping hints", _sending(endless=b"HTTP/1.1 102 Wait\r\n\r\n", pause_s=_DRIP_S)),
        Hostile("silence", _sending(end=False)),
        Hostile("nothing at all", _sending()),
        Hostile("HTTP 0.9", _sending(good)),
        Hostile("another protocol", _sending(b"SSH-2.0-OpenSSH_9.6\r\n")),
        Hostile("another version", _sending(b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n")),
        Hostile("status 99999", _sending(b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n")),
        Hostile("status 999", replying(Reply(999, b"no"))),
        Hostile("status 101", _sending(start.replace(b"200", b"101") + b"Upgrade: h2c\r\n\r\n")),
        Hostile("status 204", _sending(start.replace(b"200", b"204") + b"\r\n")),
        Hostile("status 206", replying(Reply(206, b"", {"Content-Range": "bytes 0-1/2"}))),
        Hostile("negative length", _sending(head(200, "OK", {"Content-Length": "-1"}), good)),
        Hostile("two lengths", _sending(head(200, "OK", {"Content-Length": "1"}, length=2), good)),
        Hostile("length of words", _sending(head(200, "OK", {"Content-Length": "many"}), good)),
        Hostile("header of NULs", _sending(start + b"A: \0\0\r\n\r\n", good)),
        Hostile("folded header", _sending(start + b"A: b\r\n c\r\n\r\n", b"x")),
        Hostile("header of 1 MB", replying(Reply(200, b"", {"A": "a" * 2**20}))),
        Hostile(
            "10,000 cookies",
            _sending(start + b"Set-Cookie: a=b; Domain=.\r\n" * 10_000 + b"\r\n", b"x"),
        ),
        *(
            Hostile(f"bomb in {code}", _image(body, **{"Content-Encoding": code}), "encod")
            for code, body in {
                "gzip": packed, "x-gzip": packed, "gzip, gzip": gzip.compress(packed, 9),
                "deflate": bomb()[:20_000], "br": packed, "zstd": packed, "identity, gzip": packed,
                "GZIP": packed, "gzip,br": packed,
            }.items()
        ),
        *(
            Hostile(f"Retry-After: {text:.40}", replying(Reply(503, b"", {"Retry-After": text})))
            for text in RETRY_AFTER
        ),
        Hostile("error nested deeply", replying(Reply(400, _nested(990)))),
        Hostile("error of a megabyte", replying(Reply(400, b'{"error": "' + b"a" * 2**20 + b'"}'))),
        Hostile("error of escapes", replying(Reply(400, b"\x1b]0;x\x07\x1b[2J\x9b2J\0" * 100))),
    ]  # fmt: skip


def of_slot(choices: list[Handler]) -> Handler:
    """Slot i's request, by its seed, gets choice i; further slots get them again."""

    async def handle(asked: Asked, wire: Wire) -> None:
        await choices[asked.json["seed"] % len(choices)](asked, wire)

    return handle


def json_reply(value: Any) -> Handler:
    """Always this JSON, with 200."""
    return replying(as_json(value))


def of_path(choices: dict[str, Handler]) -> Handler:
    """Each path has its own answer; there are no others."""

    async def handle(asked: Asked, wire: Wire) -> None:
        await choices.get(asked.path, replying(Reply(404)))(asked, wire)

    return handle
