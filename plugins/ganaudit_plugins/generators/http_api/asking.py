"""Slots that a service is asked for: each answered once, whatever it takes.

The first pass asks for all, in order. What fails for good is put off, and asked for again in
sweeps, slot by slot. A slot alone may be at fault, or the whole service may be away: before either
is said, the service is asked for a slot that it answered before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass

import torch

from ganaudit.errors import SourceGone
from ganaudit.generators import Failure
from ganaudit.slots import Draws
from ganaudit_plugins.generators.http_api.answers import Refusal, Transient, Unusable
from ganaudit_plugins.generators.http_api.client import BudgetSpent, Client
from ganaudit_plugins.generators.http_api.pacing import backoff

Ask = Callable[[Draws], Awaitable[list[torch.Tensor | Failure]]]
Item = tuple[int, torch.Tensor | Failure]

_ENOUGH = 24  # times that a slot is asked for while the service answers others


@dataclass
class Health:
    """What is known of a service, from one call of `stream` to the next.

    Attributes:
      heard_at: when it last answered, or when it was first asked after a while.
      answers: how many slots it answered.
      answered: one of them; None: it never did.
    """

    heard_at: float
    answers: int = 0
    answered: Draws | None = None


class Asking:
    """Some slots that a service is asked for."""

    def __init__(
        self,
        client: Client,
        ask: Ask,
        health: Health,
        *,
        give: Callable[[list[Item]], None],
        room: Callable[[], Awaitable[bool]],
    ) -> None:
        """Ask for nothing yet.

        Args:
          client: sets the pace and knows the time.
          ask: gives the images of some draws in their order; raises what `Client.ask` raises.
          health: of the service; is kept up to date.
          give: takes answers, one a slot.
          room: waits until answers may be given; whether that took a while.
        """
        self._client = client
        self._ask = ask
        self._health = health
        self._give = give
        self._room = room
        self._later: dict[int, tuple[Draws, Transient]] = {}  # by index, until it is answered
        self._spent: BudgetSpent | None = None
        self._verdict = asyncio.Lock()

    async def all_of(self, draws: Draws, *, per_request: int, workers: int) -> None:
        """Give an answer for every slot.

        Raises:
          SourceGone: the service cannot be asked any further; slots without an answer have none.
        """
        self._health.heard_at = self._client.now()
        groups = (draws[i : i + per_request] for i in range(0, len(draws), per_request))
        await self._pass(groups, workers)
        if self._later:
            await self._sweeps(workers)

    async def _pass(self, parts: Iterable[Draws], workers: int) -> None:
        """Ask for each part once, several at a time."""
        waiting = iter(parts)

        async def work() -> None:
            for part in waiting:  # each goes to one worker
                if await self._room():
                    self._health.heard_at = self._client.now()  # nobody was asked meanwhile
                try:
                    await self._answer(part)
                except BudgetSpent as error:
                    self._spent = error  # what is under way is paid for: it is waited for
                if self._spent is not None:
                    return

        await _together([work() for _ in range(workers)])
        if self._spent is not None:
            raise self._spent

    async def _answer(self, part: Draws) -> None:
        """Give the answers for some slots, or put them off."""
        client, slots = self._client, part.index.tolist()
        try:
            found = await self._ask(part)
        except Transient as error:
            error = type(error)(client.redacted(error.reason))
            self._later |= {slot: (part[i : i + 1], error) for i, slot in enumerate(slots)}
            await self._check_alive(error)
            return
        except Refusal as error:
            if len(slots) > 1:  # one of them may be guilty
                for i in range(len(slots)):
                    await self._answer(part[i : i + 1])
                return
            found = [Failure(error.reason, error.status)]
        else:
            self._health.answered = part[:1]
        self._health.heard_at = client.now()
        self._health.answers += len(slots)
        for slot in slots:
            self._later.pop(slot, None)
        self._give(list(zip(slots, map(self._clean, found), strict=True)))

    def _clean(self, item: torch.Tensor | Failure) -> torch.Tensor | Failure:
        if isinstance(item, Failure):
            return Failure(self._client.redacted(item.reason), item.status)
        return item

    async def _sweeps(self, workers: int) -> None:
        """Ask again for what was put off, until it is answered, at fault itself, or time is up."""
        client, health = self._client, self._health
        unusable = all(isinstance(error, Unusable) for _, error in self._later.values())
        if health.answered is None and unusable:  # what answers is no generator
            self._give_up()
            return
        options = client.options
        before, until = health.answers, client.now() + options.deadline
        sweeps = idle = 0
        lives = False
        try:
            async with asyncio.timeout(options.deadline):
                while self._later and not lives and client.now() < until:
                    answers = health.answers
                    await self._pass([part for part, _ in self._later.values()], workers)
                    sweeps += 1
                    idle = 0 if health.answers > answers else idle + 1
                    if self._later and (1 + sweeps) * options.attempts >= _ENOUGH:
                        lives = health.answers > before or await self._lives()
                    if self._later and not lives and idle:
                        left = max(0.0, until - client.now())
                        await client.sleep(min(left, backoff(idle, client.share())))
        except TimeoutError:
            pass
        if self._later and not (lives or health.answers > before or await self._lives()):
            raise self._gone(next(error for _, error in self._later.values()))
        self._give_up()

    def _give_up(self) -> None:
        """The slots that are left have no image."""
        self._give([(slot, Failure(error.reason)) for slot, (_, error) in self._later.items()])
        self._later = {}

    async def _check_alive(self, last: Transient) -> None:
        """End the run when nobody got an answer for long.

        Raises:
          SourceGone: the service does not even answer what it answered before.
        """
        if not self._is_quiet():
            return
        async with self._verdict:
            if self._is_quiet() and not await self._lives():
                raise self._gone(last)

    def _is_quiet(self) -> bool:
        return self._client.now() - self._health.heard_at >= self._client.options.deadline

    async def _lives(self) -> bool:
        """Whether the service answers for a slot that it answered before."""
        health, options = self._health, self._client.options
        if health.answered is None:
            return False
        try:
            async with asyncio.timeout(min(options.request_timeout, options.deadline)):
                await self._ask(health.answered)
        except (Transient, TimeoutError):
            return False
        except Refusal:
            pass
        health.heard_at = self._client.now()
        return True

    def _gone(self, last: Transient) -> SourceGone:
        return SourceGone(
            f"the service answered for no slot for {self._client.options.deadline:g} s (deadline), "
            f"at last: {last.reason}; what came is kept, and --resume goes on"
        )


async def _together(work: list[Coroutine[None, None, None]]) -> None:
    """Run coroutines side by side; the first error ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return
    raise first
