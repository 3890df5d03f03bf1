"""One request that gets its answer or a reason: repeated with patience, bounded in every way.

No redirect is followed, so that a token goes to the address that the user named and nowhere else;
no cookie is kept; an answer is read up to a limit and never decompressed.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from inspect import isawaitable
from typing import TypeVar, cast
from uuid import uuid4

import httpx

from ganaudit.errors import SourceGone
from ganaudit.generators import Status
from ganaudit_plugins.generators.http_api.addresses import (
    Base,
    Forbidden,
    Resolve,
    own_address,
    shown_host,
    way_to,
)
from ganaudit_plugins.generators.http_api.answers import (
    SMALL,
    Answer,
    Refusal,
    Transient,
    error_text,
)
from ganaudit_plugins.generators.http_api.options import ServiceOptions
from ganaudit_plugins.generators.http_api.pacing import Pace, backoff, retry_after
from ganaudit_plugins.generators.http_api.secret import read_secret

__all__ = ["Answer", "BudgetSpent", "Client", "Refusal", "Transient"]

_T = TypeVar("_T")
_Accept = Callable[[Answer], _T | Awaitable[_T]]
_FATAL = {
    401: "the service refuses the token, or wants one; say --set token_env=NAME or token_file=PATH",
    402: "the service wants to be paid first",
    404: "there is no such thing at this address; look at the path and the name in it",
    405: "the address takes no such request; look at the path",
    407: "a proxy on the way wants credentials; they belong into HTTPS_PROXY or HTTP_PROXY",
}
_REPEATED = (408, 409, 425, 429)  # and 5xx
_TOO_MUCH = (429, 503)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3  # of an image's address
_CONNECT_S = 10.0


class BudgetSpent(SourceGone):
    """As many requests were sent as the user allows; those under way are still answered."""


class Client:
    """Asks one service.

    Attributes:
      base: its address.
      options: how it is asked.
      requests: sent so far, of those that count.
    """

    def __init__(
        self,
        base: Base,
        options: ServiceOptions,
        *,
        max_requests: int | None,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        share: Callable[[], float] | None = None,
    ) -> None:
        """Read the token; nothing is sent.

        Args:
          base: address of the service.
          options: how it is asked.
          max_requests: that may be sent, repeated ones included; None: any number.
          transport: for tests.
          resolve: likewise.
          now: seconds of a clock.
          sleep: waits for so many of them.
          share: uniform in [0, 1), of the delay before a repetition; None: at random.

        Raises:
          ConfigError: there is no token where the user named one.
        """
        self.base = base
        self.options = options
        self.requests = 0
        self.now = now
        self.sleep = sleep
        self.share = share or random.Random().random  # not the one that users seed
        self._most = max_requests
        self._secret = read_secret(options.token_env, options.token_file, options.token_scheme)
        self._resolve = resolve
        self._pace = Pace(options.concurrency, options.rate, now=now, sleep=sleep)
        self._common = {
            "accept-encoding": "identity",
            "user-agent": f"ganaudit/{version('ganaudit')}",
            "cache-control": "no-cache",
            **options.further_headers(),
        }
        tls = transport is None and httpx.create_ssl_context()  # a double has no use for it
        # What is on this machine is behind no proxy; an address in an answer is checked and then
        # connected to, which a proxy would do by its name.
        self._own = self._http(transport, trust_env=not base.loopback, verify=tls)
        self._foreign = self._http(transport, trust_env=False, verify=tls)

    def _http(self, transport: httpx.AsyncBaseTransport | None, **how: object) -> httpx.AsyncClient:
        most = self.options.concurrency
        client = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=httpx.Timeout(self.options.request_timeout, connect=_CONNECT_S),
            **how,  # type: ignore[arg-type]
        )
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))  # none
        client.headers.clear()
        return client

    def redacted(self, text: str) -> str:
        """`text` without the token, whoever said it."""
        return text if self._secret is None else self._secret.redacted(text)

    def assumptions(self) -> tuple[str, ...]:
        """What a report should say about the way to the service, a sentence each."""
        if self._secret is None or self.base.url.scheme == "https" or self.base.loopback:
            return ()
        return ("The token travels unencrypted: the address is http://, not https://.",)

    async def close(self) -> None:
        """Let the connections go."""
        await self._own.aclose()
        await self._foreign.aclose()

    async def ask(
        self,
        method: str,
        url: str,
        *,
        accept: _Accept[_T],
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        counted: bool = True,
        attempts: int | None = None,
    ) -> _T:
        """One request of the service's own address, sent until it is answered.

        Args:
          method: GET or POST.
          url: of the service's origin.
          accept: makes a value of an answer with status 2xx, or raises Transient or Refusal. It
            runs beside the event loop when the answer is large.
          content: the body.
          headers: of this request.
          counted: whether it counts against the number of requests, every time it is sent.
          attempts: times that it is sent at most, if fewer than the option says.

        Raises:
          Transient: it was sent `attempts` times, or for `deadline` seconds, and failed every time.
          Refusal: the service will not give an answer.
          SourceGone: it gives none to anybody; BudgetSpent: nobody may be asked any more.
        """
        target = own_address(url, self.base)
        sent = {**self._common, **(headers or {}), **self._token()}
        if method == "POST":
            sent["idempotency-key"] = uuid4().hex  # the same whenever it is repeated

        async def send() -> Answer:
            began = await self._pace.enter()
            try:
                if counted:
                    self._count()
                request = self._own.build_request(method, target, headers=sent, content=content)
                answer = await self._sent(self._own, request)
                self._judge(answer, began)
                return answer
            finally:
                self._pace.leave()

        return await self._repeated(send, accept, most=attempts)

    async def fetch(self, url: str, *, accept: _Accept[_T]) -> _T:
        """What is at an address that an answer named; the token goes to the service's own alone.

        Raises:
          Transient: as `ask`.
          Refusal: the address is not one that is fetched, or what is there is not read.
        """

        async def send() -> Answer:
            text = url
            for _ in range(_MOST_REDIRECTS + 1):
                answer = await self._fetched(text)
                if answer.status not in _REDIRECTS:
                    break
                text = _joined(answer.url, answer.headers.get("location", ""))
            else:
                raise Refusal("the address of the image redirects without end", Status.FAILED)
            if not 200 <= answer.status < 300:
                raise Transient(f"the address of the image gives {error_text(answer)}")
            return answer

        return await self._repeated(send, accept)

    async def _fetched(self, text: str) -> Answer:
        """What one address answers; its `url` is the one that was meant."""
        try:
            way = await way_to(text, self.base, self.options.image_hosts, self._resolve)
        except Forbidden as error:
            raise Refusal(str(error), Status.FAILED) from None
        headers = {**self._common, **self._token()} if way.own else self._common_abroad()
        http = self._own if way.own else self._foreign
        request = http.build_request(
            "GET", way.url, headers={**headers, **way.headers}, extensions=dict(way.extensions)
        )
        if not way.own:
            answer = await self._sent(http, request)
        else:
            await self._pace.enter()
            try:
                answer = await self._sent(http, request)
            finally:
                self._pace.leave()
        return Answer(answer.status, answer.headers, answer.body, str(way.named))

    def _token(self) -> dict[str, str]:
        """The header that carries the token, if there is one."""
        if self._secret is None:
            return {}
        return {self.options.token_header.lower(): self._secret.header}

    def _common_abroad(self) -> dict[str, str]:
        """What other hosts than the service's are told: nothing that the user said."""
        return {name: self._common[name] for name in ("accept-encoding", "user-agent")}

    async def _repeated(
        self, send: Callable[[], Awaitable[Answer]], accept: _Accept[_T], *, most: int | None = None
    ) -> _T:
        began, most = self.now(), min(most or self.options.attempts, self.options.attempts)
        attempt = 1
        while True:
            try:
                return await self._accepted(await send(), accept)
            except Transient as error:
                last = type(error)(self.redacted(error.reason))
            except Refusal as error:
                raise Refusal(self.redacted(error.reason), error.status) from None
            if attempt >= most or self.now() - began >= self.options.deadline:
                raise last
            await self.sleep(backoff(attempt, self.share()))
            attempt += 1

    async def _accepted(self, answer: Answer, accept: _Accept[_T]) -> _T:
        if len(answer.body) <= SMALL:
            value = accept(answer)
        else:
            value = await asyncio.to_thread(accept, answer)
        return cast(_T, await value if isawaitable(value) else value)

    def _count(self) -> None:
        if self._most is not None and self.requests >= self._most:
            raise BudgetSpent(
                f"{self.requests:,} requests were sent, as many as --max-requests allows; what "
                "came is kept: a larger one with --resume goes on"
            )
        self.requests += 1

    async def _sent(self, http: httpx.AsyncClient, request: httpx.Request) -> Answer:
        """The answer to one request on the wire.

        Raises:
          Transient: no whole answer came.
          Refusal: the answer is one that is not read.
        """
        try:
            async with asyncio.timeout(self.options.request_timeout):
                response = await http.send(request, stream=True)
                try:
                    body = await self._body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Transient(
                f"no whole answer in {self.options.request_timeout:g} s (request_timeout)"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise Transient(f"the connection failed: {_said(error)}") from None
        fields = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, fields, body, str(request.url))

    async def _body(self, response: httpx.Response) -> bytes:
        most = self.options.max_bytes
        too_large = Refusal(
            f"the answer has more than {most:,} bytes; --set max_bytes=... allows more",
            Status.FAILED,
        )
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
            raise too_large
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            if response.status_code >= 300:
                return b""  # its status says what it is
            raise Refusal(
                f"the answer is encoded ({encoding[:40]!r}), though identity alone was accepted",
                Status.FAILED,
            )
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > most:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    def _judge(self, answer: Answer, began: float) -> None:
        """Nothing, if the status is one of success."""
        status = answer.status
        if 200 <= status < 300:
            self._pace.went_well()
            return
        if status in _TOO_MUCH:
            self._pace.too_much(began)
        if status in _REPEATED or status >= 500:
            pause = retry_after(answer.headers.get("retry-after"), time.time())
            if pause is not None:
                self._pace.hold(pause)
            raise Transient(error_text(answer))
        if status < 400:
            place = shown_host(_joined(answer.url, answer.headers.get("location", "")))
            raise SourceGone(
                self.redacted(
                    f"the service redirects (HTTP {status}) to {place}, which is not followed: "
                    "the token would go there; name the address that is meant"
                )
            )
        if status in _FATAL:
            raise SourceGone(self.redacted(f"{error_text(answer)}; {_FATAL[status]}"))
        raise Refusal(error_text(answer))


def _joined(url: str, location: str) -> str:
    """The address that a redirect names; what cannot be one stays as it is."""
    try:
        return str(httpx.URL(url).join(location[:4096]))
    except (httpx.InvalidURL, ValueError):
        return location[:4096]


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
