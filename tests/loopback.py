"""HTTP/1.1 on raw sockets of the loopback, for servers that break its rules, and for good ones.

`Server(handle)` reads requests and lets `handle` write whatever it likes. `answering(endpoint)` is
a handler that keeps the rules, for an endpoint that maps a request to a reply.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Asked:
    """A request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer that keeps the rules."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = "Because"

    @property
    def wire(self) -> bytes:
        return head(self.status, self.reason, self.headers, length=len(self.body)) + self.body


def head(
    status: int, reason: str, headers: Mapping[str, str], *, length: int | None = None
) -> bytes:
    """Status line and headers; `length`: of the body that follows."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers)


class Wire:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Close the connection in good order: nothing more comes."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection as a crashed peer does."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def wait_for_client(self) -> None:
        """Until the client hangs up."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()
        self.end()

    @property
    def ended(self) -> bool:
        return self._writer.is_closing()

    async def next(self) -> Asked | None:
        """The next request; None: there is none."""
        try:
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        method, target, _ = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        assert "transfer-encoding" not in headers, "only bodies of a known length are read"
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(method, target, headers, body)


Handler = Callable[[Asked, Wire], Awaitable[None]]
Endpoint = Callable[[Asked], Reply]


class Server:
    """A port of the loopback on which `handle` answers, until `close`.

    Attributes:
      connections: how many there were.
      open: how many there are.
      heard: the requests, in the order they came.
      url: where it is.
    """

    def __init__(self, handle: Handler, *, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self.heard: list[Asked] = []
        self._handle = handle
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._run(self._listen(host))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def open(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        """Stop listening, hang up, and end the thread."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()
        self._loop.close()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_S)

    async def _listen(self, host: str) -> asyncio.Server:
        return await asyncio.start_server(self._connected, host, 0, limit=2**20, backlog=1000)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer)
        try:
            while not wire.ended and (asked := await wire.next()) is not None:
                self.heard.append(asked)
                await self._handle(asked, wire)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # what nobody reads is not waited for
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()


def answering(endpoint: Endpoint) -> Handler:
    """A handler that sends the endpoint's replies."""

    async def handle(asked: Asked, wire: Wire) -> None:
        await wire.send(endpoint(asked).wire)

    return handle
