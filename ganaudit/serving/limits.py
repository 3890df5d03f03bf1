"""What a client may take of the server, and who is a client: bodies and tokens."""

import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fastapi import Request, Response
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ganaudit.config import ServeConfig
from ganaudit.errors import ConfigError

_SMALL = 2**16  # bytes of a body that are always taken
_BODIES = 16  # large bodies of full length, held at once
_MOST_TOKEN = 4096
_TYPES = ("application/json", "application/octet-stream")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of time and memory that a connection or a request may take.

    Attributes:
      body_bytes: of one request.
      answer_bytes: of the largest answer.
      connections: open at once.
      head_bytes: of a request line and its headers.
      headers: how many there are.
      pieces: chunks of a body, beyond which they must have 64 bytes on average.
      head_s: seconds until they are complete.
      body_s: seconds until a body is complete.
      pipelined: requests sent ahead of their answers.
      least_rate: bytes a second at which an answer has to be taken, looked at every `look_s`.
      grace_s: seconds that requests in flight have when the server is stopped.
    """

    body_bytes: int
    answer_bytes: int
    connections: int = 512
    head_bytes: int = 2**16
    headers: int = 256
    pieces: int = 4096
    head_s: float = 10.0
    body_s: float = 30.0
    pipelined: int = 16
    least_rate: int = 2**14
    look_s: float = 10.0
    grace_s: int = 30

    @property
    def message_bytes(self) -> int:
        """Of a request as it is sent; chunks of a few bytes take more than they carry."""
        return self.head_bytes + 2 * self.body_bytes

    @property
    def unsent_bytes(self) -> int:
        """Of all answers that wait for their client to take them."""
        return max(2**28, 4 * self.answer_bytes)


class Refused(Exception):
    """What is wrong with a request, for who sent it.

    Attributes:
      status: of the answer.
      sentence: what was wanted, what came.
      retry_s: when to come again, whole seconds; None: it would be in vain.
      closes: the connection is of no use any more.
    """

    def __init__(
        self, status: int, sentence: str, *, retry_s: int | None = None, closes: bool = False
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_s = retry_s
        self.closes = closes

    def response(self) -> Response:
        """As an answer."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        if self.closes:
            headers["Connection"] = "close"
        return JSONResponse({"error": self.sentence}, self.status, headers)


class Bodies:
    """Reads bodies, each bounded, and all large ones together too."""

    def __init__(self, limits: Limits) -> None:
        """`limits`: of one body."""
        self._most = limits.body_bytes
        self._room = _BODIES * limits.body_bytes

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, counted until this is left.

        Raises:
          Refused: it is too large, compressed, of another type, or its client has gone.
        """
        _check_headers(request, self._most)
        chunks: list[bytes] = []
        length = counted = 0
        try:
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the request is not complete", closes=True)
                chunk = message.get("body", b"")
                length += len(chunk)
                if length > self._most:
                    raise _too_large(self._most)
                if length > _SMALL:
                    more_of_it = length - counted
                    if more_of_it > self._room:
                        raise Refused(
                            503, "too many large requests at once; come again", retry_s=1,
                            closes=True,
                        )  # fmt: skip
                    self._room -= more_of_it
                    counted = length
                chunks.append(chunk)
                more = message.get("more_body", False)
            yield b"".join(chunks)
        finally:
            self._room += counted


def _check_headers(request: Request, most: int) -> None:
    headers = request.headers
    said = headers.get("content-length", "0")
    if not said.isdecimal() or len(said) > 15 or int(said) > most:
        raise _too_large(most)
    if headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "bodies must not be compressed", closes=True)
    kind = headers.get("content-type", _TYPES[0]).partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Refused(415, f"the content type must be {' or '.join(_TYPES)}", closes=True)


def _too_large(most: int) -> Refused:
    return Refused(413, f"a body may have at most {most} bytes; send less at once", closes=True)


class Guarded:
    """Lets those through who know the token; whether the server lives may be asked by anybody."""

    def __init__(self, app: ASGIApp, digest: bytes | None, *, open_paths: frozenset[str]) -> None:
        """`digest`: of the token; None: there is none."""
        self._app = app
        self._digest = digest
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if self._digest is None or scope["path"] in self._open_paths or self._knows(scope):
            await self._app(scope, receive, send)
            return
        sentence = "a token is needed: Authorization: Bearer TOKEN"
        headers = {"WWW-Authenticate": "Bearer"}
        await JSONResponse({"error": sentence}, 401, headers)(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        assert self._digest is not None
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(said) != 1:
            return False
        scheme, _, token = said[0].partition(b" ")
        known = hmac.compare_digest(sha256(token.strip()).digest(), self._digest)
        return known and bool(scheme.lower() == b"bearer")


def token_digest(config: ServeConfig) -> bytes | None:
    """SHA-256 of the token that clients have to send; None: there is none.

    Raises:
      ConfigError: there is no such variable or file, or nothing useful in it.
    """
    if config.token_env is not None:
        text, where = os.environ.get(config.token_env), f"--token-env {config.token_env}"
        if text is None:
            raise ConfigError(f"{where}: there is no such environment variable")
    elif config.token_file is not None:
        text, where = _text_of(config.token_file), f"--token-file {config.token_file}"
    else:
        return None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{where}: a token is a word of printable ASCII characters")
    return sha256(token.encode()).digest()


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_TOKEN + 1)
    except OSError as error:
        raise ConfigError(f"--token-file {path} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_TOKEN:
        raise ConfigError(f"--token-file {path}: a token has at most {_MOST_TOKEN} bytes")
    return data.decode("ascii", "replace")
