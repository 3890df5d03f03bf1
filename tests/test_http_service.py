"""Slots of a service: each answered once through faults, refusals, outages, and early ends."""

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from endpoints import file_of
from ganaudit_plugins.generators.http_api import service as service_module
from ganaudit_plugins.generators.http_api.addresses import read_base
from ganaudit_plugins.generators.http_api.answers import Refusal, Transient, Unusable, decoded
from ganaudit_plugins.generators.http_api.client import BudgetSpent, Client
from ganaudit_plugins.generators.http_api.options import INCIDENTAL, ServiceOptions
from ganaudit_plugins.generators.http_api.service import BlindService, LatentService, Service
from loopback import Reply, Server, answering

from ganaudit.errors import SourceError, SourceGone
from ganaudit.generators import (
    BlindGenerator,
    Failure,
    LatentGenerator,
    Status,
    Streaming,
    is_service,
)
from ganaudit.slots import Draws, Stream, draw

PATIENCE_S = 10.0
Image = torch.Tensor | Failure


class Clock:
    """Time that passes by waiting for it alone, and a little with every look at it."""

    def __init__(self, tick: float = 0.0) -> None:
        self.time = 0.0
        self.tick = tick

    def now(self) -> float:
        self.time += self.tick
        return self.time

    async def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        await asyncio.sleep(0)
        self.time = max(self.time, until)


def draws_of(count: int, *, latents: bool = False) -> Draws:
    shape = (2,) if latents else None
    return draw(np.arange(100, 100 + count), seed=3, stream=Stream.SAMPLES, latent_shape=shape)


def image_of(slot: int) -> torch.Tensor:
    return torch.full((3, 2, 2), slot % 256, dtype=torch.uint8)


def images_of(draws: Draws) -> list[Image]:
    return [image_of(slot) for slot in draws.index.tolist()]


def client_of(
    *, clock: Clock | None = None, transport: httpx.AsyncBaseTransport | None = None, **options: Any
) -> Client:
    clock = clock or Clock()
    return Client(
        read_base("http://127.0.0.1:9/"),
        ServiceOptions(**options),
        max_requests=options.pop("most", None),
        transport=transport,
        now=clock.now,
        sleep=clock.sleep,
        share=lambda: 0.5,
    )


Ask = Callable[[Draws], Awaitable[list[Image]]]


@pytest.fixture
def open_service() -> Iterator[Callable[..., Service]]:
    """Services that are closed in the end."""
    opened: list[Service] = []

    def open_it(
        ask: Ask,
        *,
        per_request: int = 1,
        overlap: bool = True,
        clock: Clock | None = None,
        **how: Any,
    ) -> Service:
        client = client_of(clock=clock, **how)
        opened.append(Service(client, ask, per_request=per_request, overlap=overlap))
        return opened[-1]

    yield open_it
    for service in opened:
        service.close()


def check_once(answers: list[tuple[int, Image]], draws: Draws) -> dict[int, Image]:
    """Each slot was answered once, and images are its own."""
    assert sorted(index for index, _ in answers) == sorted(draws.index.tolist())
    for index, item in answers:
        assert isinstance(item, Failure) or torch.equal(item, image_of(index))
    return dict(answers)


# -- the first pass --------------------------------------------------------------------------


@pytest.mark.parametrize("per_request", [1, 3, 8, 100])
def test_slots_are_asked_for_in_their_order_and_groups(
    open_service: Callable[..., Service], per_request: int
) -> None:
    groups: list[list[int]] = []

    async def ask(draws: Draws) -> list[Image]:
        groups.append(draws.index.tolist())
        return images_of(draws)

    draws = draws_of(20)
    service = open_service(ask, per_request=per_request)
    check_once(list(service.stream(draws)), draws)
    assert [slot for group in groups for slot in group] == draws.index.tolist()
    assert {len(group) for group in groups[:-1]} <= {per_request}
    assert len(groups) == -(-20 // per_request)


@pytest.mark.parametrize(("overlap", "wanted"), [(True, 6), (False, 3)])
def test_so_many_asks_are_under_way(
    open_service: Callable[..., Service], overlap: bool, wanted: int
) -> None:
    under_way = most = 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return images_of(draws)

    draws = draws_of(60)
    service = open_service(ask, concurrency=3, overlap=overlap)
    check_once(list(service.stream(draws)), draws)
    assert most == wanted


def test_answers_come_as_they_arrive_and_not_in_order(
    open_service: Callable[..., Service],
) -> None:
    last = asyncio.Event()

    async def ask(draws: Draws) -> list[Image]:
        if draws.index[0] == 100:
            await last.wait()
        if draws.index[0] == 104:
            last.set()
        return images_of(draws)

    draws = draws_of(5)
    answers = list(open_service(ask, concurrency=2, overlap=False).stream(draws))
    check_once(answers, draws)
    assert [index for index, _ in answers] != draws.index.tolist()


def test_a_draw_reaches_the_ask_whole(open_service: Callable[..., Service]) -> None:
    seen: dict[int, tuple[int, list[float]]] = {}

    async def ask(draws: Draws) -> list[Image]:
        assert draws.latents is not None
        for slot, seed, latent in zip(draws.index, draws.seeds, draws.latents, strict=True):
            seen[int(slot)] = (int(seed), latent.tolist())
        return images_of(draws)

    draws = draws_of(10, latents=True)
    list(open_service(ask, per_request=4).stream(draws))
    assert draws.latents is not None
    for i, slot in enumerate(draws.index.tolist()):
        assert seen[slot] == (int(draws.seeds[i]), draws.latents[i].tolist())


# -- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_every_slot_is_answered_once_under_random_faults(
    open_service: Callable[..., Service], seed: int
) -> None:
    rng = random.Random(seed)
    tried: Counter[int] = Counter()

    async def ask(draws: Draws) -> list[Image]:
        tried.update(draws.index.tolist())
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        if rng.random() < 0.5:
            raise rng.choice([Transient, Unusable])("try again")
        return images_of(draws)

    draws = draws_of(200)
    # 24 times in a row are 6e-8 a slot.
    service = open_service(ask, per_request=rng.choice([1, 4]), attempts=1, deadline=1e4)
    answers = check_once(list(service.stream(draws)), draws)
    assert not any(isinstance(item, Failure) for item in answers.values())
    assert max(tried.values()) > 3


def test_what_was_put_off_is_asked_for_alone_after_the_others(
    open_service: Callable[..., Service],
) -> None:
    asked: list[list[int]] = []

    async def ask(draws: Draws) -> list[Image]:
        asked.append(draws.index.tolist())
        if 105 in asked[-1] and len(asked) < 6:
            raise Transient("a fault")
        return images_of(draws)

    draws = draws_of(20)
    service = open_service(ask, per_request=4, concurrency=1)
    check_once(list(service.stream(draws)), draws)
    assert asked[:5] == [list(range(i, i + 4)) for i in range(100, 120, 4)]
    assert asked[5:] == [[104], [105], [106], [107]]


def test_one_guilty_slot_of_a_group_is_refused_alone(open_service: Callable[..., Service]) -> None:
    asked: list[list[int]] = []

    async def ask(draws: Draws) -> list[Image]:
        asked.append(draws.index.tolist())
        if 102 in asked[-1]:
            raise Refusal("HTTP 400: not this one")
        return images_of(draws)

    draws = draws_of(8)
    answers = check_once(list(open_service(ask, per_request=4).stream(draws)), draws)
    assert answers[102] == Failure("HTTP 400: not this one", Status.REFUSED)
    assert sum(isinstance(item, Failure) for item in answers.values()) == 1
    assert Counter(map(len, asked)) == {4: 2, 1: 4}


def test_a_refusal_says_with_which_status_the_slot_failed(
    open_service: Callable[..., Service],
) -> None:
    async def ask(draws: Draws) -> list[Image]:
        raise Refusal("too many pixels", Status.FAILED)

    ((_, item),) = open_service(ask).stream(draws_of(1))
    assert item == Failure("too many pixels", Status.FAILED)


def test_failures_of_an_ask_are_passed_on(open_service: Callable[..., Service]) -> None:
    async def ask(draws: Draws) -> list[Image]:
        return [Failure("odd") if s % 2 else image_of(s) for s in draws.index.tolist()]

    draws = draws_of(10)
    answers = check_once(list(open_service(ask, per_request=5).stream(draws)), draws)
    assert {i for i, item in answers.items() if isinstance(item, Failure)} == {
        101, 103, 105, 107, 109,
    }  # fmt: skip


@pytest.mark.parametrize("attempts", [1, 6, 24])
def test_a_slot_that_always_fails_is_given_up_and_the_others_are_not(
    open_service: Callable[..., Service], attempts: int
) -> None:
    tried: Counter[int] = Counter()

    async def ask(draws: Draws) -> list[Image]:
        tried.update(draws.index.tolist())
        if 103 in draws.index.tolist():
            raise Transient("HTTP 500: out of memory")
        return images_of(draws)

    draws = draws_of(10)
    service = open_service(ask, attempts=attempts, deadline=1e4)
    answers = check_once(list(service.stream(draws)), draws)
    assert answers.pop(103) == Failure("HTTP 500: out of memory", Status.FAILED)
    assert not any(isinstance(item, Failure) for item in answers.values())
    # 24 requests of it: so many asks of `attempts` requests each, one sweep at least.
    assert tried[103] == max(2, 24 // attempts)
    tried.pop(103)
    assert sum(tried.values()) == 9 + 1  # one was asked again: the service answers


def test_a_slot_is_asked_for_again_until_the_deadline(open_service: Callable[..., Service]) -> None:
    clock = Clock()

    async def ask(draws: Draws) -> list[Image]:
        if 103 in draws.index.tolist():
            clock.time += 30
            raise Transient("HTTP 500")
        return images_of(draws)

    draws = draws_of(10)
    service = open_service(ask, clock=clock, attempts=1, deadline=100.0)
    answers = check_once(list(service.stream(draws)), draws)
    assert answers[103] == Failure("HTTP 500")
    assert 130 <= clock.time < 170  # once in the first pass; then 100 s, and what was begun


def test_an_ask_that_hangs_in_a_sweep_is_cut_off(open_service: Callable[..., Service]) -> None:
    hanging = 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal hanging
        if 103 in draws.index.tolist():
            if hanging:
                await asyncio.get_running_loop().create_future()
            hanging += 1
            raise Transient("no whole answer")
        return images_of(draws)

    draws = draws_of(10)
    service = open_service(ask, deadline=0.2)
    answers = check_once(list(service.stream(draws)), draws)
    assert answers[103] == Failure("no whole answer")


# -- outages ---------------------------------------------------------------------------------


def test_an_outage_ends_the_run_and_no_slot_fails(open_service: Callable[..., Service]) -> None:
    clock, asked = Clock(), 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal asked
        asked += 1
        down = asked > 50
        await clock.sleep(1)
        if down:
            raise Transient("HTTP 503: no worker")
        return images_of(draws)

    answers = []
    service = open_service(ask, clock=clock, concurrency=2, deadline=20.0)
    with pytest.raises(SourceGone, match=r"answered for no slot for 20 s \(deadline\), at last: "):
        for answer in service.stream(draws_of(500)):
            answers.append(answer)
    assert len(answers) == 50 and not any(isinstance(item, Failure) for _, item in answers)
    assert asked < 500


def test_an_outage_is_told_from_guilty_slots_by_a_slot_that_was_answered(
    open_service: Callable[..., Service],
) -> None:
    clock, down = Clock(), False

    async def ask(draws: Draws) -> list[Image]:
        await clock.sleep(1)
        if down or draws.index[0] >= 110:
            raise Transient("HTTP 503: no worker")
        return images_of(draws)

    service = open_service(
        ask, clock=clock, concurrency=1, overlap=False, attempts=100, deadline=20.0
    )
    answers = check_once(list(service.stream(draws_of(20))), draws_of(20))
    guilty = {i for i, item in answers.items() if isinstance(item, Failure)}
    assert guilty == set(range(110, 120))
    down = True
    began = clock.time
    with pytest.raises(
        SourceGone, match="at last: HTTP 503: no worker; what came is kept, and --r"
    ):
        list(service.stream(draws_of(50)))
    assert 20 <= clock.time - began < 30


def test_an_outage_in_the_sweeps_ends_the_run_too(open_service: Callable[..., Service]) -> None:
    clock, count = Clock(), 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal count
        count += 1
        await clock.sleep(1)
        if count > 9:
            raise Transient("the connection failed")
        return images_of(draws)

    service = open_service(
        ask, clock=clock, concurrency=1, overlap=False, attempts=1, deadline=20.0
    )
    answers = []
    with pytest.raises(SourceGone, match="the connection failed"):
        for answer in service.stream(draws_of(10)):
            answers.append(answer)
    assert len(answers) == 9


def test_an_outage_that_ends_in_time_costs_no_slot(open_service: Callable[..., Service]) -> None:
    clock = Clock()

    async def ask(draws: Draws) -> list[Image]:
        await clock.sleep(0.5)
        if 10 < clock.time < 25:
            raise Transient("HTTP 503")
        return images_of(draws)

    draws = draws_of(100)
    service = open_service(ask, clock=clock, concurrency=1, overlap=False, deadline=20.0)
    answers = check_once(list(service.stream(draws)), draws)
    assert not any(isinstance(item, Failure) for item in answers.values())


def test_a_service_that_never_answered_is_gone_after_the_deadline(
    open_service: Callable[..., Service],
) -> None:
    clock = Clock()

    async def ask(draws: Draws) -> list[Image]:
        await clock.sleep(1)
        raise Transient("HTTP 503: loading")

    with pytest.raises(SourceGone, match="HTTP 503: loading"):
        list(open_service(ask, clock=clock, deadline=20.0).stream(draws_of(3)))
    assert 20 <= clock.time < 40


def test_pages_in_place_of_first_images_are_found_out_at_once(
    open_service: Callable[..., Service],
) -> None:
    clock, asked = Clock(), 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal asked
        asked += 1
        raise Unusable("the answer is no image but a page: 'Welcome'")

    service = open_service(ask, clock=clock, deadline=1000.0)
    answers = dict(service.stream(draws_of(4)))
    reason = "the answer is no image but a page: 'Welcome'"
    assert answers == dict.fromkeys(range(100, 104), Failure(reason))
    assert asked == 4 and clock.time == 0


def test_a_page_among_images_is_a_fault_like_any_other(
    open_service: Callable[..., Service],
) -> None:
    tried: Counter[int] = Counter()

    async def ask(draws: Draws) -> list[Image]:
        tried.update(draws.index.tolist())
        if tried[103] < 4 and 103 in draws.index.tolist():
            raise Unusable("the answer is no image but a page")
        return images_of(draws)

    draws = draws_of(10)
    answers = check_once(list(open_service(ask, attempts=1).stream(draws)), draws)
    assert isinstance(answers[103], torch.Tensor) and tried[103] == 4


def test_whether_the_service_lives_is_asked_once_in_a_deadline(
    open_service: Callable[..., Service],
) -> None:
    clock, tried = Clock(), Counter[int]()

    async def ask(draws: Draws) -> list[Image]:
        await clock.sleep(1)
        tried.update(draws.index.tolist())
        if draws.index[0] > 100:
            raise Transient("HTTP 500")
        return images_of(draws)

    service = open_service(
        ask, clock=clock, concurrency=1, overlap=False, attempts=100, deadline=20.0
    )
    answers = dict(service.stream(draws_of(101)))
    assert sum(isinstance(item, Failure) for item in answers.values()) == 100
    # First pass and sweep take 100 s each, in stretches of 20 and more; one before giving up.
    assert 1 + 4 <= tried[100] <= 1 + 5 + 5 + 1


def test_time_between_two_streams_is_no_silence(open_service: Callable[..., Service]) -> None:
    clock, asked = Clock(), 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal asked
        asked += 1
        if asked == 6:
            raise Transient("a fault")
        return images_of(draws)

    service = open_service(ask, clock=clock, deadline=20.0)
    list(service.stream(draws_of(5)))
    clock.time += 1000
    check_once(list(service.stream(draws_of(5))), draws_of(5))
    assert asked == 11  # one twice, and none to see whether the service lives


def test_time_in_which_nobody_takes_is_no_silence(
    open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MOST_WAITING", 2 * image_of(0).nbytes)
    clock, asked = Clock(), 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise Transient("a fault")
        return images_of(draws)

    draws = draws_of(6)
    service = open_service(ask, clock=clock, concurrency=1, overlap=False, deadline=20.0)
    answers = service.stream(draws)
    taken = [next(answers)]
    wait_until(lambda: asked == 4)  # one was taken, three wait
    clock.time += 1000  # is spent on embedding
    check_once(taken + list(answers), draws)
    assert asked == 7  # one of them twice, and none to see whether the service lives


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.001)


# -- back pressure, early ends ---------------------------------------------------------------


def test_no_more_is_asked_for_than_is_taken(
    open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MOST_WAITING", 10 * image_of(0).nbytes)
    asked = 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal asked
        asked += 1
        return images_of(draws)

    draws = draws_of(200)
    service = open_service(ask, concurrency=2)
    answers = service.stream(draws)
    taken = [next(answers)]
    for number in (20, 50):
        while len(taken) < number:
            taken.append(next(answers))
        # 11 wait: the last was begun when 10 did; and 4 workers had begun one.
        wait_until(lambda: asked >= len(taken) + 10)
        service.run(asyncio.sleep(0.01))
        assert asked <= len(taken) + 11 + 4
    check_once(taken + list(answers), draws)
    assert asked == 200


def test_closing_early_cancels_what_is_in_flight(open_service: Callable[..., Service]) -> None:
    begun = cancelled = 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal begun, cancelled
        if draws.index[0] == 100:
            return images_of(draws)
        begun += 1
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        raise AssertionError

    service = open_service(ask, concurrency=4, overlap=False)
    with closing(service.stream(draws_of(100))) as answers:
        assert next(answers)[0] == 100
        wait_until(lambda: begun == 4)
    assert cancelled == 4  # closing has waited for it
    service.run(asyncio.sleep(0))
    assert begun == 4


def test_a_stream_that_nobody_began_asks_for_nothing(open_service: Callable[..., Service]) -> None:
    async def ask(draws: Draws) -> list[Image]:
        raise AssertionError("it was asked")

    service = open_service(ask)
    service.stream(draws_of(3))
    service.run(asyncio.sleep(0))


def test_a_request_in_flight_is_hung_up_on_when_the_stream_is_closed() -> None:
    hung_up = threading.Event()

    async def handle(asked: Any, wire: Any) -> None:
        await wire.wait_for_client()
        hung_up.set()

    with Server(handle) as server:
        client = Client(read_base(server.url), ServiceOptions(), max_requests=None)

        async def ask(draws: Draws) -> list[Image]:
            await client.ask("POST", server.url, accept=lambda answer: answer)
            raise AssertionError

        service = Service(client, ask)
        answers = service.stream(draws_of(1))

        def take() -> None:
            with suppress(SourceGone):
                next(answers)

        taking = threading.Thread(target=take, daemon=True)
        taking.start()
        wait_until(lambda: bool(server.heard))
        service.close()  # in the middle of it
        assert hung_up.wait(PATIENCE_S)
        taking.join(PATIENCE_S)
        assert not taking.is_alive()


def test_a_service_closed_while_it_is_asked_is_gone(open_service: Callable[..., Service]) -> None:
    async def ask(draws: Draws) -> list[Image]:
        if draws.index[0] == 100:
            return images_of(draws)
        return await asyncio.get_running_loop().create_future()

    service = open_service(ask)
    answers = service.stream(draws_of(5))
    next(answers)
    service.close()
    with pytest.raises(SourceGone, match="the service was closed while it was asked"):
        next(answers)


def test_a_bug_in_an_ask_is_not_hidden(open_service: Callable[..., Service]) -> None:
    async def ask(draws: Draws) -> list[Image]:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(open_service(ask).stream(draws_of(20)))

    async def short(draws: Draws) -> list[Image]:
        return []

    with pytest.raises(ValueError, match="zip"):
        list(open_service(short).stream(draws_of(20)))


def test_what_has_come_is_given_before_the_end_is_told(
    open_service: Callable[..., Service],
) -> None:
    async def ask(draws: Draws) -> list[Image]:
        if draws.index[0] == 110:
            raise SourceGone("HTTP 401: who are you")
        return images_of(draws)

    answers = []
    with pytest.raises(SourceGone, match="who are you"):
        for answer in open_service(ask, concurrency=1, overlap=False).stream(draws_of(30)):
            answers.append(answer)
    assert [index for index, _ in answers] == list(range(100, 110))


def test_what_is_paid_for_is_taken_when_the_budget_is_spent(
    open_service: Callable[..., Service],
) -> None:
    sent, refused, spent = 0, 0, asyncio.Event()

    async def ask(draws: Draws) -> list[Image]:
        nonlocal sent, refused
        if sent == 10:
            refused += 1
            spent.set()
            raise BudgetSpent("10 requests were sent")
        sent += 1
        if sent == 10:  # is still in flight when the others find nothing left
            await spent.wait()
            await asyncio.sleep(0.001)
        return images_of(draws)

    answers = []
    with pytest.raises(BudgetSpent, match="10 requests were sent"):
        for answer in open_service(ask, concurrency=4).stream(draws_of(30)):
            answers.append(answer)
    assert len(answers) == 10 and refused <= 8  # each that was under way once


def test_a_budget_spent_in_a_sweep_ends_it(open_service: Callable[..., Service]) -> None:
    sent = 0

    async def ask(draws: Draws) -> list[Image]:
        nonlocal sent
        sent += 1
        if sent > 12:
            raise BudgetSpent("12 requests were sent")
        if draws.index[0] == 101:
            raise Transient("a fault")
        return images_of(draws)

    answers = []
    with pytest.raises(BudgetSpent):
        for answer in open_service(ask, attempts=1).stream(draws_of(5)):
            answers.append(answer)
    assert sorted(index for index, _ in answers) == [100, 102, 103, 104]


def test_no_reason_has_the_token(
    open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "sk-0123456789"
    monkeypatch.setenv("FACE_TOKEN", token)

    async def ask(draws: Draws) -> list[Image]:
        kinds: list[Any] = [Transient, Unusable, Refusal, None]
        kind = kinds[int(draws.index[0]) % 4]
        if kind is None:
            return [Failure(f"echo {token}", Status.REFUSED)]
        raise kind(f"echo {token}")

    service = open_service(ask, attempts=24, token_env="FACE_TOKEN")
    answers = dict(service.stream(draws_of(4)))
    assert {item.reason for item in answers.values() if isinstance(item, Failure)} == {"echo ***"}
    assert len(answers) == 4


# -- the thread ------------------------------------------------------------------------------


def test_a_coroutine_of_the_client_is_run_where_it_asks(
    open_service: Callable[..., Service],
) -> None:
    service = open_service(None)

    async def where() -> str:
        return threading.current_thread().name

    assert service.run(where()) == service.run(where()) != threading.current_thread().name

    async def fail() -> None:
        raise Refusal("no")

    with pytest.raises(Refusal, match="no"):
        service.run(fail())


def test_a_closed_service_leaves_no_thread_and_may_be_closed_again() -> None:
    before = set(threading.enumerate())
    service = Service(client_of())
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    service.close()
    service.close()
    assert not thread.is_alive()


def test_a_forgotten_service_ends_its_thread() -> None:
    before = set(threading.enumerate())

    async def ask(draws: Draws) -> list[Image]:
        return images_of(draws)

    service = Service(client_of(), ask)
    list(service.stream(draws_of(3)))
    (thread,) = set(threading.enumerate()) - before
    del service
    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_two_streams_of_one_service_do_not_meddle(open_service: Callable[..., Service]) -> None:
    async def ask(draws: Draws) -> list[Image]:
        await asyncio.sleep(0)
        return images_of(draws)

    service = open_service(ask)
    one, other = service.stream(draws_of(40)), service.stream(draws_of(30))
    first = [next(one), next(one)]
    check_once(list(other), draws_of(30))
    check_once(first + list(one), draws_of(40))


# -- generators ------------------------------------------------------------------------------


async def paint(draws: Draws) -> list[Image]:
    return images_of(draws)


def test_a_blind_service_is_a_blind_generator(open_service: Callable[..., Service]) -> None:
    service = open_service(paint, per_request=8)
    source = BlindService(service, seedable=True, identity={"a": 1}, assumptions=("Taken so.",))
    assert isinstance(source, BlindGenerator) and is_service(source)
    assert not isinstance(source, LatentGenerator)
    assert source.seedable and source.size is None and source.per_request == 8
    assert source.identity == {"url": "http://127.0.0.1:9/", "a": 1}
    assert source.assumptions == ("Taken so.",) and source.warnings == []
    assert source.incidental == INCIDENTAL
    check_once(list(source.stream(draws_of(20))), draws_of(20))


def test_a_service_with_latents_is_a_latent_generator(open_service: Callable[..., Service]) -> None:
    service = open_service(paint)
    source = LatentService(
        service, latent_shape=(2,), prior="normal", num_labels=3, identity={}, warnings=["odd"]
    )
    assert isinstance(source, LatentGenerator) and isinstance(source, Streaming)
    assert not isinstance(source, BlindGenerator) and is_service(source)
    assert (source.latent_shape, source.prior, source.num_labels) == ((2,), "normal", 3)
    assert source.warnings == ["odd"]
    draws = draws_of(30, latents=True)
    wanted = torch.stack([image_of(number) for number in range(30)])
    assert torch.equal(source.render(draws), wanted)  # numbered anew: a slot may come twice


def test_what_cannot_be_rendered_is_an_error(open_service: Callable[..., Service]) -> None:
    async def refuse(draws: Draws) -> list[Image]:
        if draws.index[0] == 1:
            raise Refusal("HTTP 400: not this one")
        return images_of(draws)

    async def grow(draws: Draws) -> list[Image]:
        side = int(draws.index[0]) + 1
        return [torch.zeros(3, side, side, dtype=torch.uint8)]

    for ask, sentence in [(refuse, "HTTP 400: not this one"), (grow, "images of different sizes")]:
        service = open_service(ask)
        source = LatentService(
            service, latent_shape=(2,), prior="normal", num_labels=0, identity={}
        )
        with pytest.raises(SourceError, match=sentence):
            source.render(draws_of(3, latents=True))


def test_an_open_line_is_told_in_the_report(
    open_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_TOKEN", "sk-0123456789")
    client = Client(
        read_base("http://faces.example/"),
        ServiceOptions(token_env="FACE_TOKEN"),
        max_requests=None,
    )
    service = Service(client, paint)
    source = BlindService(service, seedable=False, identity={}, assumptions=("Taken so.",))
    assert source.assumptions[0] == "Taken so." and "unencrypted" in source.assumptions[1]
    assert "sk-" not in f"{source.identity} {source.assumptions} {vars(source)}"
    source.close()


def test_images_come_through_a_real_server() -> None:
    def endpoint(asked: Any) -> Reply:
        return Reply(
            body=file_of(image_of(asked.json["slot"]).permute(1, 2, 0).numpy()),
            headers={"Content-Type": "image/png"},
        )

    with Server(answering(endpoint)) as server:
        client = Client(read_base(server.url), ServiceOptions(), max_requests=None)

        async def ask(draws: Draws) -> list[Image]:
            return [
                await client.ask(
                    "POST",
                    server.url,
                    accept=lambda answer: decoded(answer.body),
                    content=b'{"slot": %d}' % draws.index[0],
                )
            ]

        source = BlindService(Service(client, ask), seedable=True, identity={})
        check_once(list(source.stream(draws_of(100))), draws_of(100))
        source.close()
        assert server.connections <= 8
