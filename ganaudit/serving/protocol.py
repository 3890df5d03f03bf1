"""HTTP/1.1 on one connection: uvicorn's protocol, with limits on time and memory.

uvicorn waits for headers and bodies as long as a client likes, and for the client to take its
answer. Here each has its time; a full server gives up the connection that has done least.
"""

import json
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ganaudit.serving.limits import Limits

_REASONS = {400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large"} | {
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_PARTING_S = 2.0  # to send why a connection is given up


class _Counted:
    """A transport that counts what is written to it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.written = 0  # bytes

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """A connection that ends when its client is too slow, too large, or in the way of others."""

    def __init__(
        self, *args: Any, limits: Limits, closed: Callable[[str], None], **kwargs: Any
    ) -> None:
        """`closed`: told why the connection was given up, in a word."""
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._closed = closed
        self._timer: TimerHandle | None = None  # until the head or the body is complete
        self._allowed_s = 0.0
        self._look: TimerHandle | None = None  # at what the client has not taken
        self._unsent = (0, 0)  # bytes written so far, and not taken of them, at the last look
        self._message = False  # one has begun, and not ended
        self._head = False  # of the message is complete
        self._received = 0  # bytes since the message began
        self._carried = self._pieces = 0  # of its body: bytes, and in how many pieces they came
        self._answers = 0
        self._cycles: list[Any] = []  # requests and their answers, which come one after the other
        self._since = self.loop.time()  # when it was last of use

    # -- what the transport says -------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, if there is room."""
        self._counted = _Counted(transport)
        super().connection_made(cast(Transport, self._counted))
        self._allow(self._limits.head_s)
        if len(self.connections) > self._limits.connections:
            others: list[Any] = [one for one in self.connections if one is not self]
            idle = [one for one in others if not one.busy]
            in_the_way = min(idle, key=lambda one: (one._answers > 0, one._since), default=self)
            in_the_way._give_up(503, "there are too many connections", "full")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        super().connection_lost(exc)
        self._tell_those_who_answer()
        self._stop_clock()
        if self._look is not None:
            self._look.cancel()

    def data_received(self, data: bytes) -> None:
        """Go on with what has come."""
        if self._timer is None and not self._message:
            self._allow(self._limits.head_s)
        self._received += len(data)
        super().data_received(data)
        if self._received > self._limits.message_bytes and self._message:
            self._give_up(413 if self._head else 431, "the request is too large", "large")

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is made."""
        super().pause_writing()
        self._watch_unsent()
        slow: list[Any] = [one for one in self.connections if one._look is not None]  # type: ignore[union-attr]
        held = sum(one.transport.get_write_buffer_size() for one in slow)
        if held > self._limits.unsent_bytes:
            min(slow, key=lambda one: one._since)._abort("unread")

    # -- what the parser says ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self._message, self._head = True, False
        self._received = self._pieces = self._carried = 0
        self._allow(self._limits.head_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete; behind a body none is taken."""
        if self._head:
            raise ValueError("trailers are not taken")
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._give_up(431, "there are too many headers", "large")
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """The request begins to be answered."""
        length = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if length > self._limits.head_bytes:
            self._give_up(431, "the headers are too large", "large")
            raise ValueError("the headers are too large")
        self._head = True
        super().on_headers_complete()
        self._cycles = [*self._answering(), self.cycle]
        if len(self._cycles) > self._limits.pipelined:
            self._abort("pipelined")
            raise ValueError("too many requests at once")
        self._allow(self._limits.body_s)

    def on_body(self, body: bytes) -> None:
        """Some of the body; in chunks of a few bytes it would cost more time than it is worth."""
        self._pieces += 1
        self._carried += len(body)
        if self._pieces > self._limits.pieces + self._carried // 64:
            self._give_up(413, "the body comes in too many chunks", "large")
            raise ValueError("too many chunks")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here."""
        super().on_message_complete()
        self._message = False
        self._stop_clock()

    def on_response_complete(self) -> None:
        """The answer is made, and perhaps not taken yet."""
        self._answers += 1
        self._since = self.loop.time()
        super().on_response_complete()
        if not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._watch_unsent()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._give_up(400, "this is not HTTP/1.1", "malformed")

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more came for a while."""
        if self.transport.get_write_buffer_size():  # another clock runs for that
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    # -- limits ------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """A whole request is being answered, or its answer is on the way."""
        whole = any(not cycle.more_body for cycle in self._answering())
        return whole or self.transport.get_write_buffer_size() > 0

    def _answering(self) -> list[Any]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    def _tell_those_who_answer(self) -> None:
        """Nobody reads any more what they write."""
        for cycle in self._answering():
            cycle.disconnected = True
            cycle.message_event.set()

    def _allow(self, seconds: float) -> None:
        self._stop_clock()
        self._allowed_s = seconds
        self._timer = self.loop.call_later(seconds, self._expired)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        if self.busy or self.flow.read_paused:  # what comes behind waits for us
            self._allow(self._allowed_s)
        else:
            self._give_up(408, "the request takes too long", "slow")

    def _watch_unsent(self) -> None:
        if self._look is None:
            self._unsent = (self._counted.written, self.transport.get_write_buffer_size())
            self._look = self.loop.call_later(self._limits.look_s, self._looked)

    def _looked(self) -> None:
        self._look = None
        written, before = self._unsent
        now = self.transport.get_write_buffer_size()
        taken = before + (self._counted.written - written) - now
        if now and taken < min(before, self._limits.least_rate * self._limits.look_s):
            self._abort("unread")
        elif now:
            self._watch_unsent()

    def _give_up(self, status: int, sentence: str, reason: str) -> None:
        """Say why, where that can be said, and hang up."""
        if self.transport.is_closing():
            return
        if self._may_speak():
            body = json.dumps({"error": sentence}).encode()
            head = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self._closed(reason)
        self._stop_clock()
        if self._look is not None:
            self._look.cancel()
        self._tell_those_who_answer()
        self.transport.close()  # once all is sent
        self._look = self.loop.call_later(_PARTING_S, self.transport.abort)

    def _may_speak(self) -> bool:
        """Whether an answer here is one to what was sent last, and the first one."""
        answering = self._answering()
        if self._message and self._head:
            return answering == [self.cycle] and not self.cycle.response_started
        return not answering and (self._message or not self._answers)

    def _abort(self, reason: str) -> None:
        if not self.transport.is_closing():
            self._closed(reason)
        self._tell_those_who_answer()
        self.transport.abort()
