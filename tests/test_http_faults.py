"""An audit through a proxy that harms what passes: its rows and its report are those without."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from conftest import ONNX_OPTIONS, Command, Ended, Pixels, images_of, paint, read_report, save_onnx
from faulty import FAULTS, Entry, Faulty, digest, seeded
from good_services import IMAGE, LATENT, MODEL, PREDICTIONS, everything, of_seed, png
from loopback import Asked, Reply, Server, Wire, answering

from ganaudit.config import DiagnoseConfig
from ganaudit.errors import SourceError, SourceGone
from ganaudit.pipeline import diagnose
from ganaudit.slots import Stream, draw
from ganaudit.store import Store

Make = Callable[..., DiagnoseConfig]

ANCHORS, SAMPLES = 64, 256


@pytest.fixture
def service() -> Iterator[Server]:
    """All good endpoints, behind no proxy."""
    with Server(answering(everything)) as server:
        yield server


@pytest.fixture
def proxy(service: Server) -> Iterator[Faulty]:
    """In front of them, and harmless so far."""
    with Faulty(service.port) as made:
        yield made


# -- the proxy ------------------------------------------------------------------------------


def test_the_proxy_passes_what_it_is_not_told_to_harm(proxy: Faulty) -> None:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(proxy.url + IMAGE, json={"seed": 5}, headers={"Idempotency-Key": "k"})
    assert answer.content == png(of_seed(5))
    assert answer.headers["content-type"] == "image/png"
    (entry,) = proxy.log
    assert (entry.slots, entry.key, entry.attempt, entry.did) == ((5,), "k", 0, "passed")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_proxy_does_what_its_plan_says(proxy: Faulty, service: Server, fault: str) -> None:
    proxy.plan = lambda entry: fault
    answer, error = None, None
    with httpx.Client(trust_env=False, timeout=0.2) as client:
        try:
            answer = client.post(proxy.url + IMAGE, json={"seed": 5})
        except httpx.TransportError as caught:
            error = caught
    reached = fault in ("reset after", "reset amid", "cut short", "cut chunks", "nothing")
    assert len(service.heard) == reached
    if fault == "silence":
        assert isinstance(error, httpx.ReadTimeout)
    elif fault.startswith(("reset", "cut")):
        assert isinstance(error, httpx.ReadError | httpx.RemoteProtocolError)
    else:
        assert answer is not None
        assert answer.status_code == {"4": 429, "5": int(fault) if fault.isdigit() else 0}.get(
            fault[0], 200
        )
        assert answer.content != png(of_seed(5))
        if fault.startswith("429"):
            assert answer.headers["retry-after"].isdigit() == (fault == "429 in seconds")
    assert [entry.did for entry in proxy.log] == [fault]


def test_the_plan_does_not_depend_on_the_order_and_harms_three_of_ten(proxy: Faulty) -> None:
    plan = seeded(1)
    entries = [Entry("POST", IMAGE, (slot,), None, i) for slot in range(1000) for i in range(3)]
    done = [plan(entry) for entry in entries]
    assert done[::-1] == [plan(entry) for entry in reversed(entries)]
    harmed = Counter(filter(None, done))
    # 3,000 of 0.3: a standard deviation is 25; each fault 60, its own 8.
    assert abs(harmed.total() - 900) < 125
    assert harmed.keys() == set(FAULTS)
    assert all(abs(count - 60) < 40 for count in harmed.values())


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is repeated soon."""
    monkeypatch.setattr("ganaudit_plugins.generators.http_api.pacing._FIRST_DELAY_S", 0.01)


# -- faults ---------------------------------------------------------------------------------


def asking(kind: str, url: str) -> dict[str, Any]:
    """Of a request: the generator, and how it is asked."""
    target, *options = {
        "image_api": (f"image_api:{url}{IMAGE}", 'template={"seed": "$SEED"}'),
        "predictions": (
            f"predictions:{url}{PREDICTIONS}",
            'template={"input":{"seed":"$SEED"}}',
            "poll_every=0.05",
        ),
        "oip": (f"oip:{url}{MODEL}", "prior=normal", "layout=NCHW"),
    }[kind]
    patience = ("request_timeout=0.4", "deadline=20", "concurrency=16")
    return {"generator": target, "set": (*options, *patience)}


def images(kind: str, stream: Stream, stop: int) -> torch.Tensor:
    """uint8 [stop, 3, 4, 4] that the service has for the slots of a run with seed 0."""
    drawn = draw(np.arange(stop), seed=0, stream=stream, latent_shape=LATENT)
    assert drawn.latents is not None
    return paint(drawn.latents) if kind == "oip" else images_of(drawn.seeds % 2**32)


def check_rows(folder: Path, kind: str, anchors: int, samples: int) -> None:
    """Every slot is there once, with the row of its own image."""
    for stream, stop in ((Stream.ANCHORS, anchors), (Stream.SAMPLES, samples)):
        pieces = list(Store(folder).read(stream, stop))
        starts = [piece.start for piece in pieces]
        assert starts == list(np.cumsum([0, *(len(piece.rows) for piece in pieces)])[:-1])
        rows = np.concatenate([piece.rows.copy() for piece in pieces])
        assert all(piece.valid.all() for piece in pieces)
        expected, _ = Pixels().embed(images(kind, stream, stop))
        np.testing.assert_allclose(rows, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["image_api", "oip", "predictions"])
@pytest.mark.usefixtures("undrawn", "hasty")
def test_the_report_through_faults_is_that_without(config: Make, proxy: Faulty, kind: str) -> None:
    size = {
        "predictions": {"anchors": 32, "samples": 96},
        "image_api": {"anchors": 48, "samples": 144},
        "oip": {},
    }[kind]
    request = config(**asking(kind, proxy.url), **size, out=Path("good"))
    size = {"anchors": request.anchors, "samples": request.samples}
    diagnose(request, descriptor=Pixels())
    check_rows(Path("good"), kind, **size)
    undisturbed = proxy.log

    proxy.forget()
    proxy.plan = seeded(2)
    if kind != "image_api":  # whose client is that of all of them
        proxy.waits = dict.fromkeys(proxy.waits, 0)
    diagnose(config(**asking(kind, proxy.url), **size, out=Path("bad")), descriptor=Pixels())
    check_rows(Path("bad"), kind, **size)
    assert read_report(Path("bad")) == read_report(Path("good"))

    asks = proxy.asks
    harmed = Counter(entry.did for entry in asks if entry.did in FAULTS)
    assert harmed.total() > len(asks) / 5
    assert kind == "oip" or len(harmed) == len(FAULTS)  # which asks seldom, for 8 slots at once
    assert len(proxy.log) > len(undisturbed)
    by_key: dict[str | None, set[Any]] = {}
    for entry in asks:
        by_key.setdefault(entry.key, set()).add(entry.slots)
    assert None not in by_key
    assert all(len(slots) == 1 for slots in by_key.values())  # a key is of one logical request
    tries = Counter(entry.key for entry in asks)
    assert max(tries.values()) > 1  # which its repeats share


# -- a kill, and resuming -------------------------------------------------------------------


LONG = {Stream.ANCHORS: 520, Stream.SAMPLES: 900}  # more than a shard of each


@dataclass(frozen=True)
class Long:
    """An audit that takes a while: the proxy, the command, and its report where nothing fails."""

    proxy: Faulty
    command: tuple[str, ...]
    report: dict[str, Any]


@pytest.fixture(scope="module")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with Server(answering(everything)) as server, Faulty(server.port) as proxy:
        asked = asking("oip", proxy.url)
        options = (*asked["set"], "attempts=2", *ONNX_OPTIONS)
        size = ("--anchors", LONG[Stream.ANCHORS], "--samples", LONG[Stream.SAMPLES])
        onnx = f"onnx:{save_onnx(folder / 'tiny.onnx')}"
        command = (
            *("diagnose", "--generator", asked["generator"], *map(str, size), "--quiet"),
            *("--descriptor", onnx, "--theta", "0.4", "--radius", "0.3", "--device", "cpu"),
            *(part for option in options for part in ("--set", option)),
        )
        ended = Command(folder, (*command, "--out", str(folder / "run"))).wait()
        assert ended.code == 0, ended.err
        yield Long(proxy, command, read_report(folder / "run"))


@pytest.fixture
def undisturbed(_undisturbed: Long) -> Long:
    """It, with a new log and no faults."""
    _undisturbed.proxy.forget()
    _undisturbed.proxy.plan = lambda entry: None
    return _undisturbed


def digests(stream: Stream, slots: Any) -> set[Any]:
    """What the proxy's log calls slots of a run with seed 0."""
    drawn = draw(np.asarray(slots, dtype=np.int64), seed=0, stream=stream, latent_shape=LATENT)
    assert drawn.latents is not None
    return {digest(latent.numpy()) for latent in drawn.latents}


def stored(folder: Path) -> set[Any]:
    """The slots in a run's folder, as the proxy's log calls them."""
    found: set[Any] = set()
    for stream in Stream:
        for begin, end, _ in Store(folder).shards(stream):
            found |= digests(stream, range(begin, end))
    return found


def test_after_a_kill_no_stored_slot_is_asked_for_again(
    start: Callable[..., Command], ganaudit: Callable[..., Ended], undisturbed: Long
) -> None:
    proxy, harm = undisturbed.proxy, seeded(3, rate=0.1)
    proxy.plan = lambda entry: harm(entry) if entry.slots else None
    running = start(*undisturbed.command, "--out", "run")
    wait_until(lambda: len(stored(Path("run"))) >= LONG[Stream.ANCHORS], running)
    wait_until(lambda: len({s for entry in proxy.asks for s in entry.slots}) > 700, running)
    running.process.kill()
    running.process.join()
    assert running.process.exitcode == -9
    kept = stored(Path("run"))
    assert LONG[Stream.ANCHORS] <= len(kept) < sum(LONG.values())

    proxy.forget()
    proxy.plan = lambda entry: None
    assert ganaudit(*undisturbed.command, "--out", "run", "--resume").code == 0
    asked = {slot for entry in proxy.asks for slot in entry.slots}
    assert not asked & kept
    assert asked >= digests(Stream.SAMPLES, range(LONG[Stream.SAMPLES])) - kept
    assert read_report(Path("run")) == undisturbed.report


def wait_until(holds: Callable[[], bool], running: Command, timeout_s: float = 30.0) -> None:
    """Poll a condition while a command runs."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert running.process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_outage_ends_the_run_with_the_command_that_resumes_it(
    ganaudit: Callable[..., Ended], undisturbed: Long
) -> None:
    proxy = undisturbed.proxy
    samples, passed = digests(Stream.SAMPLES, range(LONG[Stream.SAMPLES])), set[Any]()

    def plan(entry: Entry) -> str | None:
        if len(passed) >= 200:
            return "reset before"
        passed.update(samples.intersection(entry.slots))
        return None

    proxy.plan = plan
    patience = {"deadline=20": "deadline=0.5", "request_timeout=0.4": "request_timeout=5"}
    arguments = [patience.get(part, part) for part in undisturbed.command]
    for attempt in range(3):  # a hiccup of the machine among the first slots keeps none of theirs
        passed.clear()
        ended = ganaudit(*arguments, "--out", f"run-{attempt}")
        assert ended.code == 3
        assert len(ended.complaint) < 400
        run = Path(f"run-{attempt}")
        kept = stored(run)
        assert len(kept - samples) == LONG[Stream.ANCHORS]
        if kept & samples:
            break
    assert 0 < len(kept & samples) < 512

    proxy.forget()
    proxy.plan = lambda entry: None
    again = ganaudit(*ended.resuming)
    assert again.code == 0, again.err
    assert not {slot for entry in proxy.asks for slot in entry.slots} & kept
    report = read_report(run)
    report["request"]["set"] = undisturbed.report["request"]["set"]  # patience was another
    assert report == undisturbed.report


@pytest.mark.usefixtures("undrawn", "hasty")
def test_an_outage_that_ends_in_time_is_waited_for(config: Make, proxy: Faulty) -> None:
    diagnose(config(**asking("oip", proxy.url), out=Path("good")), descriptor=Pixels())
    proxy.forget()
    dead = ("503", "reset before", "429 in seconds", "502")
    proxy.plan = lambda entry: dead[len(proxy.log) % 4] if 12 < len(proxy.log) < 32 else None
    diagnose(config(**asking("oip", proxy.url), out=Path("bad")), descriptor=Pixels())
    assert sum(entry.did in dead for entry in proxy.log) >= 19
    check_rows(Path("bad"), "oip", ANCHORS, SAMPLES)
    assert read_report(Path("bad")) == read_report(Path("good"))


# -- a service that is busy -----------------------------------------------------------------


@pytest.fixture
def slow_proxy() -> Iterator[Faulty]:
    """In front of a service that takes its time, so that requests meet."""

    async def handle(asked: Asked, wire: Wire) -> None:
        await asyncio.sleep(0.01)
        await wire.send(everything(asked).wire)

    with Server(handle) as server, Faulty(server.port) as made:
        yield made


@pytest.mark.usefixtures("undrawn", "hasty")
def test_a_service_that_takes_three_at_a_time_is_soon_asked_by_about_three(
    config: Make, slow_proxy: Faulty
) -> None:
    slow_proxy.plan = lambda entry: "429 in seconds" if slow_proxy.in_flight > 3 else None
    diagnose(config(**asking("image_api", slow_proxy.url)), descriptor=Pixels())
    check_rows(Path("run"), "image_api", ANCHORS, SAMPLES)
    did = Counter(entry.did for entry in slow_proxy.log)
    # Eight in flight, whatever is answered, would be refused five times of eight.
    assert did["429 in seconds"] < did["passed"] / 2


@pytest.mark.usefixtures("undrawn", "hasty")
def test_the_pace_recovers_after_a_busy_time(config: Make, slow_proxy: Faulty) -> None:
    def plan(entry: Entry) -> str | None:
        count = len(slow_proxy.log)
        if count == 150:
            slow_proxy.most_in_flight = 0
        return "503" if 20 < count < 60 else None

    slow_proxy.plan = plan
    diagnose(config(**asking("image_api", slow_proxy.url)), descriptor=Pixels())
    check_rows(Path("run"), "image_api", ANCHORS, SAMPLES)
    assert slow_proxy.most_in_flight >= 4


# -- limits ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn", "hasty")
def test_no_more_requests_are_sent_than_were_allowed(config: Make, proxy: Faulty) -> None:
    proxy.plan = seeded(4, faults=("500",), rate=0.3)
    few = config(**asking("image_api", proxy.url), max_requests=350, out=Path("run"))
    with pytest.raises(SourceGone, match="350"):  # of 320 slots, three of ten at least twice
        diagnose(few, descriptor=Pixels())
    assert 300 < len(proxy.asks) <= 350
    again = config(**asking("image_api", proxy.url), resume=True, out=Path("run"))
    diagnose(again, descriptor=Pixels())
    check_rows(Path("run"), "image_api", ANCHORS, SAMPLES)


@pytest.mark.usefixtures("undrawn", "hasty")
def test_refusals_are_counted_and_too_many_end_the_run(config: Make, proxy: Faulty) -> None:
    proxy.plan = lambda entry: "422" if entry.slots and entry.slots[0] % 4 == 0 else None
    seeds = torch.cat(
        [draw(np.arange(n), seed=0, stream=s).seeds for s, n in zip(Stream, (64, 256), strict=True)]
    )
    refused = int((seeds % 4 == 0).sum())
    assert refused > 0.15 * len(seeds)

    asked = asking("image_api", proxy.url)
    found = diagnose(config(**asked, max_failure_rate=0.5), descriptor=Pixels()).report
    counted = found["counts"]["samples"]["refused"] + found["counts"]["anchors"]["refused"]
    assert counted == refused
    assert found["counts"]["samples"]["failed"] == found["counts"]["anchors"]["failed"] == 0
    assert "422" in str(found["screen"]["failures"])
    tries = Counter(entry.slots for entry in proxy.asks if entry.did == "422")
    assert len(tries) == refused

    proxy.forget()
    strict = config(**asked, max_failure_rate=0.1, out=Path("strict"))
    with pytest.raises(SourceError, match="--max-failure-rate 0.1"):
        diagnose(strict, descriptor=Pixels())
    # It stops in the samples' first batches; what is in flight then is asked for no more.
    assert len({entry.slots for entry in proxy.asks}) < 320


@pytest.mark.usefixtures("undrawn", "hasty")
def test_a_slot_that_always_fails_is_the_only_one_without_an_image(
    config: Make, proxy: Faulty
) -> None:
    seed = int(draw(np.array([100]), seed=0, stream=Stream.SAMPLES).seeds) % 2**32
    proxy.plan = lambda entry: "500" if entry.slots == (seed,) else None
    request = config(**asking("image_api", proxy.url))
    report = diagnose(request, descriptor=Pixels()).report
    assert report["counts"]["samples"] == {"ok": 255, "no_face": 0, "failed": 1, "refused": 0}
    assert report["counts"]["anchors"]["ok"] == 64
    (failure,) = report["screen"]["failures"]
    assert failure["slots"] == 1 and failure["reason"].startswith("HTTP 500")
    assert len([entry for entry in proxy.asks if entry.slots == (seed,)]) > 6  # not at once


@pytest.mark.usefixtures("undrawn", "hasty")
def test_an_error_that_names_its_manual_is_no_image_and_asked_for_again(
    config: Make, proxy: Faulty
) -> None:
    proxy.plan = lambda entry: "manual" if 100 < len(proxy.log) < 110 else None
    diagnose(config(**asking("image_api", proxy.url)), descriptor=Pixels())
    check_rows(Path("run"), "image_api", ANCHORS, SAMPLES)


# -- a service that is no good from the first image -----------------------------------------


def audit_of(config: Make, answer: Callable[[Asked], Reply]) -> dict[str, Any]:
    """The report about a service of images by seeds."""
    with Server(answering(answer)) as server:
        asked = asking("image_api", server.url)
        asked["set"] = (asked["set"][0], "request_timeout=0.5", "deadline=0.5", "attempts=2")
        return diagnose(config(**asked), descriptor=Pixels()).report


@pytest.mark.usefixtures("undrawn", "hasty")
def test_a_cache_is_found_out(config: Make) -> None:
    one = Reply(body=png(of_seed(1)), headers={"Content-Type": "image/png", "Age": "77"})
    with pytest.raises(SourceError, match="one image, to the last byte"):
        audit_of(config, lambda asked: one)
    assert not Path("run").exists()


@pytest.mark.usefixtures("undrawn", "hasty")
@pytest.mark.parametrize(
    "page",
    [
        Reply(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"}),
        Reply(200, b"<html>502 Bad Gateway</html>", {"Content-Type": "image/png"}),
        Reply(200, b'{"error": "model is loading"}', {"Content-Type": "application/json"}),
        Reply(200, b"ok", {"Content-Type": "text/plain"}),
        Reply(204),
    ],
    ids=["page", "page as image", "JSON", "text", "nothing"],
)
def test_an_error_with_a_good_status_is_found_out(config: Make, page: Reply) -> None:
    with pytest.raises(SourceError) as caught:
        audit_of(config, lambda asked: page)
    assert caught.value.exit_code == 3
    assert len(str(caught.value)) < 500
    assert not Path("run").exists()


@pytest.mark.usefixtures("undrawn", "hasty")
def test_a_service_that_ignores_its_seeds_is_warned_about(config: Make) -> None:
    numbers = iter(range(10**6))
    report = audit_of(
        config,
        lambda asked: Reply(
            body=png(of_seed(next(numbers))), headers={"Content-Type": "image/png"}
        ),
    )
    assert any("ignores the seed" in warning for warning in report["warnings"])
