"""Looks at completed prefixes alone: what is decided, when, and whatever came in which order."""

from collections.abc import Callable, Iterator
from pathlib import Path

import literal
import numpy as np
import pytest
from conftest import Pixels, Toy

from ganaudit import sequential
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.gates import FIGURES, Limit, parse
from ganaudit.generators import Status
from ganaudit.pipeline import diagnose
from ganaudit.scoring import Scale
from ganaudit.slots import Stream, ranges
from ganaudit.store import Rows, Store
from ganaudit.tally import Tally, tally
from ganaudit.watching import Watch

SCALE = Scale(theta=0.4, radius=0.3, backend="auto", device="cpu")
RNG = np.random.default_rng(5)


def cloud(count: int, *, crowded: float = 0.0) -> np.ndarray:
    """Unit rows in six dimensions, a share of them around one point."""
    rows = RNG.normal(size=(count, 6))
    rows[: round(crowded * count)] = np.eye(6)[0] + 0.05 * RNG.normal(
        size=(round(crowded * count), 6)
    )
    rows = rows[RNG.permutation(count)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Store]:
    monkeypatch.setattr("os.fsync", lambda handle: None)

    def fill(anchors: np.ndarray, samples: np.ndarray, *, bad: int = 0) -> Store:
        store = Store(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        store.open({"seed": 0}, resume=False)
        for stream, rows in ((Stream.ANCHORS, anchors), (Stream.SAMPLES, samples)):
            for begin, end in ranges(0, len(rows), 512):
                status = np.full(end - begin, Status.OK, dtype=np.uint8)
                part = rows[begin:end].copy()
                if stream is Stream.SAMPLES and bad:
                    status[::bad], part[::bad] = Status.FAILED, 0
                hashes = np.zeros((end - begin, 16), dtype=np.uint8)
                store.write(stream, Rows(begin, part, status, hashes), {})
        return store

    return fill


def prefixes(anchors: np.ndarray, samples: np.ndarray, bad: int = 0) -> Iterator[tuple[int, Tally]]:
    """The tally of every completed prefix, each from scratch."""
    for stop in [*range(512, len(samples), 512), len(samples)]:
        valid = np.ones(stop, dtype=np.bool_)
        for begin in range(0, stop, 512):
            if bad:
                valid[begin : begin + 512 : bad] = False
        yield stop, tally(anchors, samples[:stop], theta=0.4, radius=0.3, valid=valid)


@pytest.mark.parametrize("name", sequential.SEQUENTIAL)
@pytest.mark.parametrize(("value", "bad"), [(0.01, 0), (0.05, 7), (0.3, 0)])
def test_a_gate_is_decided_at_the_first_prefix_that_decides_it(
    filled: Callable[..., Store], name: str, value: float, bad: int
) -> None:
    anchors, samples = cloud(40), cloud(2300, crowded=0.1)
    limit = Limit(FIGURES[name], "max", value)
    wanted = next(
        (
            (stop, found)
            for stop, sums in prefixes(anchors, samples, bad)
            if (found := sequential.decide(name, sums, value)) is not None
        ),
        (None, "inconclusive"),
    )
    watch = Watch([limit], most=2300)
    watch.begin(filled(anchors, samples, bad=bad), SCALE, anchors=40)
    assert watch.enough()  # decided, or all were looked at
    (gate,) = watch.gates()
    assert (watch.decided_at(limit), gate.verdict) == wanted
    assert watch.looked == (wanted[0] or 2300)
    *_, (_, sums) = (one for one in prefixes(anchors, samples, bad) if one[0] <= watch.looked)
    assert gate.found == sequential.interval_after(name, sums, value)


def test_holes_are_waited_for(filled: Callable[..., Store]) -> None:
    anchors, samples = cloud(30), cloud(2048)
    store = filled(anchors, samples)
    third = sorted((store.folder / "samples").iterdir())[1]
    third.rename(store.folder / "aside")
    *_, (_, whole) = prefixes(anchors, samples)
    truth = whole.within.sum(axis=1).max() / 2048  # at its limit nothing is decided
    watch = Watch([Limit(FIGURES["worst-rate"], "max", float(truth))], most=2048)
    watch.begin(store, SCALE, anchors=30)
    assert not watch.enough() and watch.looked == 512  # though 1,024 on are there
    (store.folder / "aside").rename(third)
    assert watch.enough() and watch.looked == 2048


def test_it_is_over_when_one_fails_and_when_all_pass(filled: Callable[..., Store]) -> None:
    store = filled(cloud(30, crowded=0.2), cloud(4096, crowded=0.2))
    failing = Watch(parse(max=["worst-rate=2%", "mean-similarity=0.0405"]), most=4096)
    failing.begin(store, SCALE, anchors=30)
    assert failing.enough() and failing.looked == 512 and failing.verdict == "fail"
    passing = Watch(parse(max=["worst-rate=60%", "worst-similarity=60%"]), most=4096)
    passing.begin(store, SCALE, anchors=30)
    assert passing.enough() and passing.verdict == "pass"
    assert {passing.decided_at(gate.limit) for gate in passing.gates()} <= {512, 1024}


def test_the_last_prefix_may_be_short(filled: Callable[..., Store]) -> None:
    watch = Watch(parse(max=["worst-rate=20%"]), most=700)
    watch.begin(filled(cloud(30, crowded=0.2), cloud(700, crowded=0.2)), SCALE, anchors=30)
    assert watch.enough() and watch.looked == 700 and watch.verdict == "inconclusive"
    (gate,) = watch.gates()
    assert gate.reason == "undecided" and gate.found.low < 0.2 < gate.found.high


@pytest.mark.parametrize("name", sequential.SEQUENTIAL)
def test_what_would_have_been_found_lies_above_the_limit(
    filled: Callable[..., Store], name: str
) -> None:
    seen = []
    for most in (1024, 100_000):
        watch = Watch([Limit(FIGURES[name], "max", 0.1)], most=most)
        watch.begin(filled(cloud(30, crowded=0.05), cloud(1024, crowded=0.05)), SCALE, anchors=30)
        watch.enough()
        (gate,) = watch.gates()
        assert gate.detectable is not None
        seen.append(gate.detectable)
    assert 0.1 < seen[1] < seen[0] < 1  # the more samples, the closer


def test_the_smallest_rate_that_would_have_been_found_solves_its_equation(
    filled: Callable[..., Store],
) -> None:
    """A mode of rate p holds a share p of the anchors; their mean capital has to reach 20."""
    watch = Watch(parse(max=["worst-rate=2%"]), most=5000)
    watch.begin(filled(cloud(50), cloud(512)), SCALE, anchors=50)
    watch.enough()
    rate = watch.gates()[0].detectable
    assert rate is not None

    def capital(p: float) -> float:
        hits = int(5000 * p - 1.645 * (5000 * p * (1 - p)) ** 0.5)
        return max(p, 1 / 50) * np.exp(literal.log_e_rate(hits, 5000, 0.02, "fail"))

    assert capital(rate * 0.98) < 20 < capital(rate * 1.02)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max": ["mu=.2"]}, "--until-decided cannot decide mu"),
        ({"min": ["vendi=20"]}, "--until-decided cannot decide vendi"),
        ({"max": ["failures=1%"]}, "--until-decided cannot decide failures"),
        ({"baseline": True}, "--until-decided takes absolute limits alone"),
    ],
)
def test_what_cannot_be_looked_at_again_and_again_is_refused(limits: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Watch(parse(**limits), most=1000)


@pytest.mark.usefixtures("undrawn")
def test_no_slot_beyond_the_deciding_one_is_made(config: Callable[..., DiagnoseConfig]) -> None:
    made: list[int] = []

    class Counted(Toy):
        def render(self, draws):  # noqa: ANN001, ANN202
            made.extend(draws.index.tolist())
            return super().render(draws)

    watch = Watch(parse(max=["worst-rate=30%"]), most=5000)
    asked = config(samples=5000, anchors=50)
    audit = diagnose(asked, source=Counted(), descriptor=Pixels(), watch=watch)
    assert watch.verdict == "pass" and watch.looked < 5000
    assert audit.report["request"]["samples"] == audit.diagnosis.samples == watch.looked
    assert max(made) < watch.looked
    assert not Store(audit.folder).missing(Stream.SAMPLES, watch.looked)
    assert Store(audit.folder).missing(Stream.SAMPLES, watch.looked + 1)
