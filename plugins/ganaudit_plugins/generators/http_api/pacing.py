"""How fast a service is asked: no faster than it bears, and not while it asks for a pause."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

MOST_HELD_S = 120.0  # that a service may ask us to wait
_FIRST_DELAY_S, _MOST_DELAY_S = 0.5, 30.0


def backoff(attempt: int, share: float) -> float:
    """Seconds before attempt 1, 2, ... of a request.

    Args:
      attempt: 1 for the first repetition.
      share: uniform in [0, 1): full jitter, so that what failed together is not repeated together.

    Returns:
      share * min(30, 0.5 * 2**attempt).
    """
    return share * min(_MOST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(attempt, 16))


def retry_after(text: str | None, now: float) -> float | None:
    """What a Retry-After header asks for, in seconds, at most `MOST_HELD_S`; None: nothing.

    Args:
      text: whole seconds, or a date in one of the forms of RFC 9110, section 5.6.7.
      now: seconds since 1970.

    Returns:
      Seconds in [0, 120]: a date that has passed is 0.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")
        return MOST_HELD_S if len(digits) > 4 else min(MOST_HELD_S, float(digits or 0))
    try:
        date = parsedate_to_datetime(text[:64])
        moment = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(MOST_HELD_S, max(0.0, moment - now))


class Pace:
    """Lets requests through: so many at once, so many a second, none during a pause.

    The number at once is halved when the service says that it is too much, and grows by one for as
    many successes as are let through at once (additive increase, multiplicative decrease).
    """

    def __init__(
        self,
        most: int,
        rate: float | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`most`: requests at once; `rate`: a second, None: any number."""
        self._most = most
        self._step = None if rate is None else 1 / rate
        self._now = now
        self._sleep = sleep
        self._limit = float(most)
        self._flying = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free_at = self._held_until = self._slowed_at = -math.inf

    @property
    def limit(self) -> int:
        """Requests let through at once, now."""
        return int(self._limit)

    async def enter(self) -> float:
        """Wait for a turn, in the order of asking; when it began. `leave` has to follow."""
        if self._flying >= self.limit:  # nobody waits else
            await self._in_line()
        else:
            self._flying += 1
        try:
            await self._in_time()
        except BaseException:
            self.leave()
            raise
        return self._now()

    async def _in_line(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it had been given, and nobody will use it
            raise

    async def _in_time(self) -> None:
        """Until no pause is on and the rate has room for one more."""
        while True:
            while self._held_until > self._now():
                await self._sleep(self._held_until - self._now())
            if self._step is None:
                return
            begin = max(self._free_at, self._now())
            self._free_at = begin + self._step
            if begin > self._now():
                await self._sleep(begin - self._now())
            if self._held_until <= self._now():
                return

    def leave(self) -> None:
        """A turn is over."""
        self._flying -= 1
        self._wake()

    def went_well(self) -> None:
        """The service answered."""
        self._limit = min(float(self._most), self._limit + 1 / self._limit)
        self._wake()

    def too_much(self, began: float) -> None:
        """The service says that it is asked too much, in answer to a turn that began then.

        Answers to requests that were under way when it was slowed down already say nothing new.
        """
        if began > self._slowed_at:
            self._limit = max(1.0, self._limit / 2)
            self._slowed_at = self._now()

    def hold(self, pause: float) -> None:
        """The service asks for a pause, in seconds: nothing is let through until it is over."""
        self._held_until = max(self._held_until, self._now() + pause)

    def _wake(self) -> None:
        while self._waiting and self._flying < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                self._flying += 1
                turn.set_result(None)
