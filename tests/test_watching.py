"""Samples looked at as they come: the verdicts of literal prefixes, whatever came first."""

from collections.abc import Callable
from pathlib import Path

import literal
import numpy as np
import pytest
from conftest import Pixels, Toy
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ganaudit import sequential
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, SourceError
from ganaudit.gates import FIGURES, Kind, Limit
from ganaudit.generators import Status
from ganaudit.intervals import Interval
from ganaudit.pipeline import diagnose
from ganaudit.scoring import Scale
from ganaudit.slots import Draws, Stream, ranges
from ganaudit.store import Rows, Store
from ganaudit.tally import Tally
from ganaudit.watching import Watch

SCALE = Scale(theta=0.4, radius=0.3, backend="torch", device="cpu")
WIDTH = 8
GATES = sequential.SEQUENTIAL
FAILED = {0, 3, 40, *range(512, 560), 1100, 1999}


@pytest.fixture(autouse=True)
def _no_waiting(undrawn: None) -> None:
    """For the disk."""


def limit(name: str, value: float, kind: Kind = "max") -> Limit:
    return Limit(FIGURES[name], kind, value)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def population(count: int, seed: int, *, collapsed: float = 0.0) -> NDArray[np.float32]:
    """[count, D] unit rows in all directions; a share of them lies around one."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, WIDTH))
    dense = rng.random(count) < collapsed
    rows[dense] = 3 * np.eye(WIDTH)[0] + 0.3 * rows[dense]
    return unit(rows)


def write(
    store: Store, stream: Stream, rows: NDArray[np.float32], begin: int, end: int, failed: set[int]
) -> None:
    """One shard of slots [begin, end) of a run's rows."""
    part = rows[begin:end].copy()
    status = np.array(
        [Status.FAILED if slot in failed else Status.OK for slot in range(begin, end)], np.uint8
    )
    part[status != Status.OK] = 0
    store.write(stream, Rows(begin, part, status, np.zeros((end - begin, 16), np.uint8)), {})


class Run:
    """Rows that a store may get, shard by shard."""

    def __init__(
        self, *, anchors: int = 20, collapsed: float = 0.0, failed: set[int] = frozenset()
    ):
        self.store = Store(Path("run"))
        self.anchors = population(anchors, 1, collapsed=collapsed)
        self.rows = population(3000, 2, collapsed=collapsed)
        self.failed = failed
        write(self.store, Stream.ANCHORS, self.anchors, 0, anchors, set())

    def put(self, *shards: tuple[int, int]) -> None:
        for begin, end in shards:
            write(self.store, Stream.SAMPLES, self.rows, begin, end, self.failed)

    def put_all(self, stop: int) -> None:
        self.put(*ranges(0, stop, 512))

    def watch(self, *limits: Limit, most: int = 2000) -> Watch:
        made = Watch(limits, most=most)
        made.begin(self.store, SCALE, anchors=len(self.anchors))
        return made

    def tally(self, stop: int) -> Tally:
        """Of a prefix, pair by pair; what failed is at right angles to everything."""
        bad = sorted(self.failed & set(range(stop)))
        anchors, rows = (np.pad(one, ((0, 0), (0, 1))) for one in (self.anchors, self.rows[:stop]))
        rows[bad] = np.eye(WIDTH + 1, dtype=np.float32)[-1]
        sums = literal.tally_by_anchor(anchors, rows, 0.4, 0.3)
        np.subtract.at(sums["n"], np.array(bad, dtype=int) // 16 % 32, 1)
        whole = ("n", "within", "within_half")
        return Tally(**{k: v.astype(np.int64) if k in whole else v for k, v in sums.items()})

    def looks(self, most: int) -> list[int]:
        return [end for _, end in ranges(0, most, 512)]


def decided(run: Run, limits: list[Limit], most: int) -> tuple[dict[str, tuple[str, int]], int]:
    """By literal prefixes, in their order: (verdict, slots) by gate, and where it ends."""
    found: dict[str, tuple[str, int]] = {}
    for stop in run.looks(most):
        for one in limits:
            name = one.figure.name
            said = None if name in found else sequential.decide(name, run.tally(stop), one.value)
            if said is not None:
                found[name] = said, stop
        verdicts = [verdict for verdict, _ in found.values()]
        if "fail" in verdicts or len(verdicts) == len(limits):
            return found, stop
    return found, most


def assert_decided(watch: Watch, run: Run, limits: list[Limit], most: int) -> None:
    wanted, stop = decided(run, limits, most)
    assert watch.looked == stop
    for gate, one in zip(watch.gates(), limits, strict=True):
        name = one.figure.name
        verdict, at = wanted.get(name, ("inconclusive", None))
        assert (gate.limit, gate.verdict) == (one, verdict)
        assert gate.reason == ("undecided" if at is None else "decided")
        assert watch.decided_at(one) == at


# -- against literal prefixes ----------------------------------------------------------------

CASES: dict[str, tuple[float, list[tuple[str, float]]]] = {
    "all pass": (0.0, [("worst-rate", 0.2), ("worst-similarity", 0.15), ("mean-similarity", 0.1)]),
    "one after another": (0.05, [("worst-rate", 0.16), ("mean-similarity", 0.04)]),
    "a late failure": (0.05, [("worst-rate", 0.04), ("mean-similarity", 0.2)]),
    "a failure ends it": (0.3, [("worst-similarity", 0.9), ("worst-rate", 0.1)]),
    "never": (0.05, [("worst-rate", 0.075), ("worst-similarity", 0.06)]),
    "mean alone fails": (0.4, [("mean-similarity", 0.05)]),
    "similarity alone fails": (0.4, [("worst-similarity", 0.1)]),
}


@pytest.mark.parametrize("failed", [frozenset(), FAILED], ids=["whole", "failed"])
@pytest.mark.parametrize(("collapsed", "asked"), CASES.values(), ids=CASES.keys())
def test_decisions_are_those_of_literal_prefixes(
    collapsed: float, asked: list[tuple[str, float]], failed: set[int]
) -> None:
    run = Run(collapsed=collapsed, failed=failed)
    limits = [limit(*one) for one in asked]
    watch = run.watch(*limits)
    steps = 0
    for begin, end in ranges(0, 2000, 512):
        run.put((begin, end))
        steps += 1
        if watch.enough():
            break
        assert watch.looked == end
    assert_decided(watch, run, limits, 2000)
    assert steps == len(run.looks(watch.looked))


def test_the_cases_say_everything_that_can_be_said() -> None:
    """They would be no test if all of them ended at once, or alike."""
    ends, verdicts = set(), set()
    for collapsed, asked in CASES.values():
        run = Run(collapsed=collapsed)
        found, stop = decided(run, [limit(*one) for one in asked], 2000)
        ends.add(stop)
        verdicts |= {verdict for verdict, _ in found.values()}
        verdicts |= {"open"} if len(found) < len(asked) else set()
    assert {512, 2000} < ends and len(ends) > 2
    assert verdicts == {"pass", "fail", "open"}


@pytest.mark.parametrize("most", [512, 513, 600, 1024, 1700])
def test_it_ends_at_the_most_samples_wherever_that_is(most: int) -> None:
    run = Run(collapsed=0.05)
    run.put_all(2000)
    asked = [limit("worst-rate", 0.075), limit("worst-similarity", 0.06)]
    watch = run.watch(*asked, most=most)
    assert watch.enough() and watch.looked == most
    assert_decided(watch, run, asked, most)
    last = watch.gates()[0].found
    assert last == sequential.interval_after("worst-rate", run.tally(most), 0.075)


# -- the order in which rows come ------------------------------------------------------------


def test_holes_are_waited_for() -> None:
    run = Run(collapsed=0.05)
    asked = [limit("worst-rate", 0.075)]
    watch = run.watch(*asked)
    assert not watch.enough() and watch.looked == 0
    assert watch.gates()[0].found == Interval(None, None, None)
    for shard, looked in (
        ((512, 1024), 0),
        ((1536, 2000), 0),
        ((0, 512), 1024),
        ((1024, 1536), 2000),
    ):
        run.put(shard)
        assert watch.enough() == (looked == 2000)
        assert watch.looked == looked
    assert_decided(watch, run, asked, 2000)


@pytest.mark.parametrize("name", GATES)
def test_looking_on_the_way_or_at_the_end_is_the_same(name: str) -> None:
    limits = {"worst-rate": 0.075, "worst-similarity": 0.05, "mean-similarity": 0.019}
    run = Run(collapsed=0.05)
    asked = limit(name, limits[name])
    steps = run.watch(asked)
    for shard in ranges(0, 2000, 512):
        run.put(shard)
        steps.enough()
    once = run.watch(asked)
    assert once.enough()
    assert (once.looked, once.verdict) == (steps.looked, steps.verdict)
    one, other = once.gates()[0], steps.gates()[0]
    assert (one.found, one.detectable) == (other.found, other.detectable)


def test_a_run_cut_within_a_shard_goes_on_and_decides_the_same() -> None:
    """It ended at 600 samples for want of more; then more were allowed."""
    run = Run(collapsed=0.05)
    asked = [limit("worst-rate", 0.075), limit("worst-similarity", 0.06)]
    run.put((0, 512), (512, 600))
    assert run.watch(*asked, most=600).enough()
    again = run.watch(*asked, most=2000)
    assert not again.enough() and again.looked == 512
    run.put((600, 1024), (1024, 1536), (1536, 2000))
    assert again.enough()
    assert_decided(again, run, asked, 2000)


def test_rows_beyond_the_decision_are_not_looked_at() -> None:
    run = Run(collapsed=0.3)
    run.put_all(3000)
    watch = run.watch(limit("worst-rate", 0.1), most=3000)
    assert watch.enough() and watch.enough()  # asked again it says the same
    assert (watch.looked, watch.verdict) == (512, "fail")
    shards = sorted((run.store.folder / "samples").iterdir())
    for path in shards[1:]:
        path.write_bytes(b"damaged")
    assert run.watch(limit("worst-rate", 0.1), most=3000).enough()


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in GATES])
def test_a_figure_that_has_no_such_test_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--until-decided cannot decide {name}: only worst-rate"):
        Watch([limit("worst-rate", 0.1), limit(name, 0.1, FIGURES[name].kinds[0])], most=600)


def test_a_limit_against_a_baseline_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes absolute limits alone: .*; leave --baseline out"):
        Watch([limit("worst-rate", 0.4, "max-increase")], most=600)


def test_one_limit_is_decided_apart_from_another_of_its_figure() -> None:
    run = Run(collapsed=0.05)
    run.put_all(2000)
    watch = run.watch(limit("worst-rate", 0.3), limit("worst-similarity", 0.3))
    assert watch.enough()
    assert {watch.decided_at(one.limit) for one in watch.gates()} == {512}
    assert watch.verdict == "pass"
    assert watch.decided_at(limit("worst-rate", 0.2)) is None


# -- what cannot be scored -------------------------------------------------------------------


def test_anchors_that_cannot_be_scored_end_it() -> None:
    store = Store(Path("none"))
    write(store, Stream.ANCHORS, population(9, 1), 0, 9, set(range(9)))
    with pytest.raises(SourceError, match="none of the 9 anchors can be scored"):
        Watch([limit("worst-rate", 0.1)], most=600).begin(store, SCALE, anchors=9)


@pytest.mark.parametrize("name", GATES)
def test_samples_that_cannot_be_scored_decide_nothing(name: str) -> None:
    run = Run(failed=set(range(1024)))
    run.put_all(1200)
    watch = run.watch(limit(name, 0.5), most=1024)
    assert watch.enough()
    (gate,) = watch.gates()
    assert (gate.verdict, gate.reason, watch.looked) == ("inconclusive", "undecided", 1024)
    assert gate.found == Interval(None, None, None)
    longer = run.watch(limit(name, 0.5), most=1200)  # 176 samples of use
    assert longer.enough() and longer.gates()[0].found.estimate is not None


# -- what it would have found ----------------------------------------------------------------


def rate_that_ends(count: int, n: int, most: float, anchors: float) -> bool:
    """Whether this count alone, of one anchor in so many, fails a limit."""
    return literal.log_e_rate(count, n, most, "fail") >= np.log(20 * anchors)


@pytest.mark.parametrize(("most", "value"), [(600, 0.02), (600, 0.2), (2000, 0.05)])
def test_the_detectable_rate_fails_95_of_100(most: int, value: float) -> None:
    """Of one anchor: binomial counts at that rate reach the capital of 20 in 95 % of runs."""
    run = Run(anchors=1)
    run.put_all(most)
    watch = run.watch(limit("worst-rate", value), most=most)
    watch.enough()
    found = watch.gates()[0].detectable
    assert found is not None and found > value
    needed = next(k for k in range(most) if rate_that_ends(k, most, value, 1))
    chance = stats.binom.sf(needed - 1, most, found)
    assert 0.93 < chance < 0.98
    assert stats.binom.sf(needed - 1, most, 0.93 * found) < 0.93


def test_a_worst_mode_is_found_by_as_many_anchors_as_it_holds() -> None:
    """A share p of 40 anchors, or the one at hand, has to bring the mean of all to 20."""
    run = Run(anchors=40)
    run.put_all(1000)
    for value in (0.01, 0.2):
        watch = run.watch(limit("worst-rate", value), most=1000)
        watch.enough()
        found = watch.gates()[0].detectable
        assert found is not None
        needed = next(
            k for k in range(1000) if rate_that_ends(k, 1000, value, 1 / max(found, 1 / 40))
        )
        assert 0.93 < stats.binom.sf(needed - 1, 1000, found) < 0.98


@pytest.mark.parametrize("name", ["worst-similarity", "mean-similarity"])
def test_the_detectable_similarity_solves_its_equation(name: str) -> None:
    """T a hit count times a unit: 1.645 standard deviations below the mean the capital is 20."""
    run = Run(collapsed=0.1)
    run.put_all(1000)
    value = 0.3
    watch = run.watch(limit(name, value), most=1000)
    watch.enough()
    found = watch.gates()[0].detectable
    assert found is not None and value < found < 1
    tally = run.tally(watch.looked)
    sums, squares = tally.similarity.sum(), tally.squares.sum()
    if name == "mean-similarity":
        sums, squares = sums / 20, tally.coherence.sum()
    share = found if name == "worst-similarity" else 1.0

    def log_e(mean: float) -> float:
        low = 1000 * mean - 1.645 * (1000 * mean * squares / sums) ** 0.5
        (log,) = sequential.log_e_similarity(
            np.array([low]), np.array([low * squares / sums]), 1000, value, side="fail"
        )
        return float(log)

    assert log_e(found) == pytest.approx(np.log(20 / share), rel=1e-3)
    assert log_e(0.98 * found) < np.log(20 / share) < log_e(1.02 * found)


def test_what_no_run_of_this_length_could_show_is_not_known() -> None:
    run = Run(anchors=3)
    run.put_all(512)
    watch = run.watch(
        limit("worst-rate", 0.99999), limit("mean-similarity", 0.9999999999), most=512
    )
    watch.enough()
    assert [gate.detectable for gate in watch.gates()] == [None, None]


def test_it_is_of_all_the_samples_that_may_be_drawn() -> None:
    """Not of those at which it was decided: 512 of 3000."""
    run = Run(collapsed=0.3)
    run.put_all(512)
    found = []
    for most in (512, 3000):
        watch = run.watch(limit("worst-rate", 0.1), most=most)
        assert watch.enough() and watch.looked == 512
        found.append(watch.gates()[0].detectable)
    assert None not in found and found[0] > found[1]


@pytest.mark.parametrize("name", GATES)
def test_intervals_are_those_of_all_that_was_looked_at(name: str) -> None:
    run = Run(collapsed=0.05)
    run.put_all(2000)
    value = {"worst-rate": 0.16, "worst-similarity": 0.1, "mean-similarity": 0.04}
    watch = run.watch(*(limit(one, value[one]) for one in GATES))
    watch.enough()
    wanted = sequential.interval_after(name, run.tally(watch.looked), value[name])
    found = {gate.limit.figure.name: gate.found for gate in watch.gates()}[name]
    for end in ("estimate", "low", "high"):
        assert getattr(found, end) == pytest.approx(getattr(wanted, end), rel=1e-5)
    assert max(watch.decided_at(gate.limit) or 0 for gate in watch.gates()) > 512


# -- in a run --------------------------------------------------------------------------------


def test_no_slot_beyond_the_deciding_one_is_made(config: Callable[..., DiagnoseConfig]) -> None:
    made: list[int] = []

    class Counted(Toy):
        def render(self, draws: Draws) -> Tensor:
            made.extend(draws.index.tolist())
            return super().render(draws)

    watch = Watch([limit("worst-rate", 0.3)], most=5000)
    asked = config(samples=5000, anchors=50, out=Path("audit"))
    audit = diagnose(asked, source=Counted(), descriptor=Pixels(), watch=watch)
    assert watch.verdict == "pass" and watch.looked < 5000
    assert audit.report["request"]["samples"] == audit.diagnosis.samples == watch.looked
    assert max(made) < watch.looked
    store = Store(audit.folder)
    assert store.missing(Stream.SAMPLES, watch.looked + 1) == [(watch.looked, watch.looked + 1)]
