"""A proxy on the loopback that harms 30 % of what passes through it, and keeps a log.

What befalls a request follows from the proxy's seed, from the slots that are asked for, and from
how often they were: not from the order in which requests come. The log says for each request which
slots it asked for (their seeds or latents), its Idempotency-Key and what was done to it.
"""

import asyncio
import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from email.utils import formatdate
from time import time

import numpy as np
from good_services import latents_of
from loopback import Asked, Reply, Server, Wire, as_json, head

_RATE = 0.3
_PATIENCE_S = 10.0  # with the service behind it

PASSED = "passed"
FAULTS = (
    "reset before", "reset after", "reset amid", "silence", "429 in seconds", "429 by date",
    "500", "502", "503", "cut short", "cut chunks", "page", "other JSON", "nothing", "wrong shape",
)  # fmt: skip

_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Wait</body></html>"
_OTHER_JSON = as_json({"detail": "still warming up"})
_MANUAL = as_json({"error": "overloaded", "documentation": "https://manual.example/errors#7"})
_WRONG_SHAPE = as_json(
    {
        "model_name": "tiny",
        "outputs": [{"name": "image", "datatype": "UINT8", "shape": [3, 2], "data": [1] * 6}],
    }
)

Plan = Callable[["Entry"], str | None]


@dataclass
class Entry:
    """One request.

    Attributes:
      method: GET or POST.
      target: path and query.
      slots: what identifies the slots that it asks for: a seed, or a digest of a latent.
      key: Idempotency-Key.
      attempt: how often the same was asked for before.
      did: what the proxy did to it.
    """

    method: str
    target: str
    slots: tuple[Hashable, ...]
    key: str | None
    attempt: int
    did: str = "pending"


class Faulty(Server):
    """A proxy in front of the service at `port`; `plan` says what befalls a request.

    Attributes:
      plan: may be exchanged at any time. None for a request: it passes.
      waits: seconds in the Retry-After of the first refusal of each kind; of the others it is 0.
      in_flight, most_in_flight: requests, now and at most since it was last set to 0.
    """

    def __init__(self, port: int, plan: Plan = lambda entry: None) -> None:
        self.plan = plan
        self.in_flight = self.most_in_flight = 0
        self._upstream = port
        self._log: list[Entry] = []
        self._seen: Counter[Hashable] = Counter()
        self.waits = {"429 in seconds": 1, "429 by date": 1}
        self._lock = threading.Lock()
        super().__init__(self._proxied)

    @property
    def log(self) -> list[Entry]:
        """The requests so far, in the order they came."""
        with self._lock:
            return list(self._log)

    @property
    def asks(self) -> list[Entry]:
        """Those of them that ask for slots."""
        return [entry for entry in self.log if entry.slots]

    def forget(self) -> None:
        """Begin a new log, and count attempts anew."""
        with self._lock:
            self._log.clear()
            self._seen.clear()

    async def _proxied(self, asked: Asked, wire: Wire) -> None:
        slots = slots_of(asked)
        what = (asked.method, asked.path, slots)
        with self._lock:
            entry = Entry(
                asked.method,
                asked.target,
                slots,
                asked.headers.get("idempotency-key"),
                self._seen[what],
            )
            self._seen[what] += 1
            self._log.append(entry)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            entry.did = self.plan(entry) or PASSED
            await self._do(entry.did, asked, wire)
        finally:
            with self._lock:
                self.in_flight -= 1

    async def _do(self, what: str, asked: Asked, wire: Wire) -> None:
        if what == "reset before":
            wire.reset()
        elif what == "silence":
            await wire.wait_for_client()
        elif what in ("429 in seconds", "429 by date"):
            await wire.send(self._too_many(what).wire)
        elif what in ("422", "500", "503"):
            await wire.send(as_json({"error": f"{what}: not now"}, int(what)).wire)
        elif what in ("502", "page"):
            status = 502 if what == "502" else 200
            await wire.send(Reply(status, _PAGE, {"Content-Type": "text/html"}).wire)
        elif what == "other JSON":
            await wire.send(_OTHER_JSON.wire)
        elif what == "manual":
            await wire.send(_MANUAL.wire)
        elif what == "wrong shape":
            await wire.send(_WRONG_SHAPE.wire)
        else:
            await self._pass(what, asked, wire)

    async def _pass(self, what: str, asked: Asked, wire: Wire) -> None:
        """What the service behind has done already is lost on the way back, or not."""
        reply = await forwarded(asked, self._upstream)
        half = reply.wire[: len(reply.wire) - len(reply.body) // 2 - 1]
        if what == "reset after":
            wire.reset()
        elif what == "reset amid":
            await wire.send(half)
            await asyncio.sleep(0.02)  # else the client may see the reset alone
            wire.reset()
        elif what == "cut short":
            await wire.send(half)
            wire.end()
        elif what == "cut chunks":
            some = reply.body[: len(reply.body) // 2]
            headers = dict(reply.headers) | {"Transfer-Encoding": "chunked"}
            await wire.send(head(200, "OK", headers) + b"%x\r\n%s\r\n" % (len(some), some))
            wire.end()
        elif what == "nothing":
            await wire.send(Reply(reply.status, b"", reply.headers).wire)
        else:
            assert what == PASSED, what
            await wire.send(reply.wire)

    def _too_many(self, what: str) -> Reply:
        wait, self.waits[what] = self.waits[what], 0
        later = formatdate(time() + wait, usegmt=True) if what == "429 by date" else str(wait)
        return as_json({"error": "too many requests"}, 429, **{"Retry-After": later})


def seeded(seed: int, faults: tuple[str, ...] = FAULTS, rate: float = _RATE) -> Plan:
    """A plan of faults, each as frequent as the others."""

    def plan(entry: Entry) -> str | None:
        what = (seed, entry.method, entry.target, entry.slots, entry.attempt)
        rng = random.Random(repr(what))
        return rng.choice(faults) if rng.random() < rate else None

    return plan


def slots_of(asked: Asked) -> tuple[Hashable, ...]:
    """What identifies the slots of a request; empty: it asks for none."""
    if asked.method != "POST":
        return ()
    if asked.path.endswith("/infer"):
        return tuple(digest(row) for row in latents_of(asked))
    wanted = asked.json
    return (wanted.get("input", wanted)["seed"],)


def digest(row: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(row, "<f4").tobytes()).hexdigest()


async def forwarded(asked: Asked, port: int) -> Reply:
    """What the service at a port of the loopback replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        headers = {k: v for k, v in asked.headers.items() if k != "connection"}
        lines = [f"{asked.method} {asked.target} HTTP/1.1", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + asked.body)
        return await asyncio.wait_for(_reply(reader), _PATIENCE_S)
    finally:
        writer.close()


async def _reply(reader: asyncio.StreamReader) -> Reply:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name: value.strip() for name, _, value in pairs}
    length = next(int(v) for k, v in headers.items() if k.lower() == "content-length")
    kept = {k: v for k, v in headers.items() if k.lower() != "content-length"}
    _, status, reason = first.split(" ", 2)
    return Reply(int(status), await reader.readexactly(length), kept, reason)
