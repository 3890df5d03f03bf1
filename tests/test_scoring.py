from pathlib import Path

import literal
import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.config import Backend
from ganaudit.diversity import Moments
from ganaudit.errors import GanauditError, SourceError
from ganaudit.generators import Status
from ganaudit.scoring import (
    Anchors,
    Scale,
    Scored,
    score,
    slots_until,
    until,
    valid_rows,
    valid_slots,
)
from ganaudit.slots import SHARD, Stream
from ganaudit.store import Rows, Store
from ganaudit.tally import Tally, tally

WIDTH = 7


def scale(backend: Backend = "torch") -> Scale:
    return Scale(theta=0.4, radius=0.3, backend=backend, device="cpu")


def unit(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(
    store: Store,
    stream: Stream,
    rows: NDArray[np.float32],
    status: NDArray[np.uint8] | None = None,
) -> None:
    """Store rows in their shards; those that are not valid hold NaN."""
    status = np.zeros(len(rows), dtype=np.uint8) if status is None else status
    rows = np.where((status == Status.OK)[:, None], rows, np.float32(np.nan))
    for start in range(0, len(rows), SHARD):
        part = slice(start, start + SHARD)
        hashes = np.zeros((len(rows[part]), 16), dtype=np.uint8)
        store.write(stream, Rows(start, rows[part], status[part], hashes), {})


def some_invalid(count: int, seed: int) -> NDArray[np.uint8]:
    """Status: every third or so is something else than OK."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 0.3, rng.integers(1, 4, count), 0).astype(np.uint8)


def silent(what: str, done: int, total: int) -> None:
    pass


def scored(store: Store, anchors: int, samples: int, **more: object) -> Scored:
    return score(store, scale(), anchors=anchors, samples=samples, progress=silent, **more)


def assert_same(found: Tally, wanted: Tally, *, groups: bool = True) -> None:
    """Counts exactly, sums within the tally's tolerance; or over all groups together."""
    for name in ("n", "within", "within_half"):
        one, other = getattr(found, name), getattr(wanted, name)
        if not groups and name != "within_half":
            one, other = one.sum(axis=-1), other.sum(axis=-1)
        np.testing.assert_array_equal(one, other, err_msg=name)
    for name in ("similarity", "squares", "coherence"):
        one, other = getattr(found, name), getattr(wanted, name)
        if not groups and name != "squares":
            one, other = one.sum(axis=-1), other.sum(axis=-1)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_run_is_scored_as_its_rows_are(tmp_path: Path) -> None:
    anchors, samples = unit(70, 0), unit(1100, 1)
    fill(store := Store(tmp_path), Stream.ANCHORS, anchors)
    fill(store, Stream.SAMPLES, samples)
    found = scored(store, 70, 1100)
    assert_same(found.tally, tally(anchors, samples, theta=0.4, radius=0.3))
    np.testing.assert_array_equal(found.anchors.rows, anchors)
    np.testing.assert_array_equal(found.anchors.slots, np.arange(70))
    assert found.backend == "torch matrix product"
    sums = literal.tally_by_anchor(anchors, samples, 0.4, 0.3)
    np.testing.assert_array_equal(found.tally.within, sums["within"])
    np.testing.assert_allclose(found.tally.similarity, sums["similarity"], rtol=1e-4, atol=1e-5)


def test_fewer_anchors_and_samples_than_are_stored_are_the_first(tmp_path: Path) -> None:
    anchors, samples = unit(70, 2), unit(1100, 3)
    fill(store := Store(tmp_path), Stream.ANCHORS, anchors)
    fill(store, Stream.SAMPLES, samples)
    assert_same(
        scored(store, 31, 530).tally, tally(anchors[:31], samples[:530], theta=0.4, radius=0.3)
    )


def test_rows_that_are_not_valid_are_passed_over_on_both_sides(tmp_path: Path) -> None:
    anchors, samples = unit(70, 4), unit(1100, 5)
    status = [some_invalid(70, 6), some_invalid(1100, 7)]
    fill(store := Store(tmp_path), Stream.ANCHORS, anchors, status[0])
    fill(store, Stream.SAMPLES, samples, status[1])
    found = scored(store, 70, 1100)
    kept = status[0] == 0
    assert 0 < kept.sum() < 70
    np.testing.assert_array_equal(found.anchors.slots, np.flatnonzero(kept))
    np.testing.assert_array_equal(found.anchors.rows, anchors[kept])
    wanted = tally(anchors[kept], samples, theta=0.4, radius=0.3, valid=status[1] == 0)
    assert_same(found.tally, wanted)
    assert found.moments.n == (status[1] == 0).sum()


# One stream for both


@pytest.mark.parametrize(("m", "n"), [(20, 300), (512, 100), (517, 683), (1100, 13), (3, 1111)])
def test_a_shared_stream_gives_anchors_first_and_samples_after(
    m: int, n: int, tmp_path: Path
) -> None:
    rows = unit(1200, 8)
    fill(store := Store(tmp_path), Stream.SAMPLES, rows)
    found = scored(store, m, n, shared=True)
    wanted = tally(rows[:m], rows[m : m + n], theta=0.4, radius=0.3)
    assert_same(found.tally, wanted, groups=False)
    np.testing.assert_array_equal(found.anchors.rows, rows[:m])
    np.testing.assert_array_equal(found.anchors.slots, np.arange(m))
    # Its groups are those of the slots.
    after = np.arange(1200) >= m
    assert_same(
        found.tally,
        tally(rows[:m], rows[: m + n], theta=0.4, radius=0.3, valid=after[: m + n]),
    )


@pytest.mark.parametrize("m", [40, 600])
def test_a_shared_stream_passes_over_rows_that_are_not_valid(m: int, tmp_path: Path) -> None:
    rows, status = unit(1200, 9), some_invalid(1200, 10)
    fill(store := Store(tmp_path), Stream.SAMPLES, rows, status)
    found = scored(store, m, 1200 - m, shared=True)
    kept = status == 0
    wanted = tally(rows[:m][kept[:m]], rows[m:], theta=0.4, radius=0.3, valid=kept[m:])
    assert_same(found.tally, wanted, groups=False)
    np.testing.assert_array_equal(found.anchors.slots, np.flatnonzero(kept[:m]))


def test_the_moments_are_those_of_the_samples_alone(tmp_path: Path) -> None:
    rows, status = unit(1000, 11), some_invalid(1000, 12)
    fill(store := Store(tmp_path), Stream.SAMPLES, rows, status)
    found = scored(store, 300, 600, shared=True).moments
    kept = (status == 0)[300:900]
    wanted = Moments(WIDTH)
    wanted.add(rows[300:900], kept, 300)
    assert found.n == wanted.n == kept.sum()
    np.testing.assert_allclose(found.mean, rows[300:900][kept].mean(axis=0), atol=1e-6)
    assert found.vendi()["order_2"].estimate == pytest.approx(
        wanted.vendi()["order_2"].estimate, rel=1e-9
    )


# What is said, and refused


def test_progress_counts_the_samples_to_the_end(tmp_path: Path) -> None:
    fill(store := Store(tmp_path), Stream.ANCHORS, unit(5, 13))
    fill(store, Stream.SAMPLES, unit(1100, 14))
    told: list[tuple[str, int, int]] = []
    score(
        store, scale(), anchors=5, samples=1100,
        progress=lambda what, done, total: told.append((what, done, total)),
    )  # fmt: skip
    assert told[-1] == ("scoring", 1100, 1100)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_backends_give_one_tally(backend: Backend, tmp_path: Path) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss")
    rows, status = unit(900, 15), some_invalid(900, 16)
    fill(store := Store(tmp_path), Stream.SAMPLES, rows, status)
    found = score(store, scale(backend), anchors=50, samples=850, shared=True, progress=silent)
    kept = status == 0
    wanted = tally(rows[:50][kept[:50]], rows[50:], theta=0.4, radius=0.3, valid=kept[50:])
    assert_same(found.tally, wanted, groups=False)


def test_nothing_valid_is_refused_on_either_side(tmp_path: Path) -> None:
    failed = np.full(40, Status.FAILED, dtype=np.uint8)
    fill(store := Store(tmp_path / "a"), Stream.ANCHORS, unit(40, 17), failed)
    fill(store, Stream.SAMPLES, unit(40, 18))
    with pytest.raises(SourceError, match="none of the 40 anchors can be scored") as caught:
        scored(store, 40, 40)
    assert caught.value.exit_code == 3
    fill(store := Store(tmp_path / "b"), Stream.ANCHORS, unit(40, 17))
    fill(store, Stream.SAMPLES, unit(40, 18), failed)
    with pytest.raises(SourceError, match="none of the 30 samples can be scored"):
        scored(store, 40, 30)
    half = np.where(np.arange(40) < 10, Status.OK, Status.NO_FACE).astype(np.uint8)
    fill(store := Store(tmp_path / "c"), Stream.SAMPLES, unit(40, 17), half)
    with pytest.raises(SourceError, match="none of the 30 samples can be scored"):
        scored(store, 10, 30, shared=True)


def test_slots_that_are_not_stored_are_refused(tmp_path: Path) -> None:
    fill(store := Store(tmp_path), Stream.ANCHORS, unit(10, 19))
    fill(store, Stream.SAMPLES, unit(600, 20))
    with pytest.raises(GanauditError, match="lacks the samples from slot 600 on"):
        scored(store, 10, 601)
    with pytest.raises(GanauditError, match="lacks the samples from slot 600 on"):
        scored(store, 100, 501, shared=True)
    with pytest.raises(GanauditError, match="lacks the anchors from slot 10 on"):
        Anchors.read(store, Stream.ANCHORS, 11)


# Rows alone


@pytest.mark.parametrize(
    ("first", "stop", "most"),
    [
        (0, 1100, 9999),
        (0, 600, 50),
        (300, 1100, 9999),
        (512, 1024, 100),
        (1030, 1100, 9),
        (7, 8, 1),
    ],
)
def test_valid_rows_are_the_first_of_their_slots(
    first: int, stop: int, most: int, tmp_path: Path
) -> None:
    rows, status = unit(1100, 21), some_invalid(1100, 22)
    status[7] = Status.OK
    fill(store := Store(tmp_path), Stream.SAMPLES, rows, status)
    wanted = rows[first:stop][status[first:stop] == 0][:most]
    found = valid_rows(store, first=first, stop=stop, most=most)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    assert len(wanted) > 0


# How many slots so many rows take


@pytest.mark.parametrize("stream", list(Stream))
def test_slots_are_counted_until_so_many_can_be_scored(stream: Stream, tmp_path: Path) -> None:
    status = some_invalid(1100, 23)
    status[[0, 1098]] = Status.OK
    status[[1, 1099]] = Status.FAILED
    fill(store := Store(tmp_path), stream, unit(1100, 24), status)
    good = [slot for slot in range(1100) if status[slot] == Status.OK]
    assert slots_until(store, stream, 1100, 1) == until(status == Status.OK, 1) == 1
    for count in (2, 3, 400, len(good) - 1):
        assert slots_until(store, stream, 1100, count) == good[count - 1] + 1
        assert until(status == Status.OK, count) == good[count - 1] + 1
    for count in (len(good), len(good) + 1, 10**12):  # there are no more than that
        assert slots_until(store, stream, 1100, count) == 1100
    assert until(status == Status.OK, len(good)) == 1099
    assert slots_until(store, stream, 600, 10**12) == 600
    assert valid_slots(store, stream, 600).tolist() == (status[:600] == Status.OK).tolist()
