import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Blind, Pixels, Service, Spoilt, Toy, fork_server, images_of
from torch import Tensor

from ganaudit.errors import DescriptorError, SourceError, SourceGone, SourceTimeout
from ganaudit.generators import Failure, Status
from ganaudit.images import content_hashes, to_rgb
from ganaudit.maker import Guard, Maker, Recipe
from ganaudit.runner import Allowance, Team, fill, silent
from ganaudit.slots import Draws, Stream
from ganaudit.store import Rows, Store

BAD = {3, 17, 18, 39}


def recipe(batch: int = 8, **changes: object) -> Recipe:
    usual = {"seed": 5, "device": "cpu", "batch": batch, "width": 16, "timeout_s": 30.0}
    return Recipe(**(usual | changes))


def rows_of(source: object, *, count: int = 40, **changes: object) -> tuple[Rows, Maker]:
    maker = Maker(source, Pixels(), recipe(**changes))
    try:
        return maker.rows(Stream.SAMPLES, 0, count), maker
    finally:
        maker.close()


def failed(rows: Rows) -> set[int]:
    return set(np.flatnonzero(rows.status == Status.FAILED).tolist())


def raises(images: Tensor, bad: Tensor) -> Tensor:
    raise ValueError("no\nsuch  image")


def test_a_row_is_the_descriptors_of_the_generators_image_of_that_slot() -> None:
    rows, maker = rows_of(Toy(), batch=16)
    images = Toy().render(maker.draws(Stream.SAMPLES, np.arange(40)))
    assert np.array_equal(rows.rows, Pixels().embed(images)[0].numpy())
    assert np.array_equal(rows.hashes, content_hashes(images))
    assert rows.valid.all()
    assert not maker.reasons


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_only_the_slots_that_raise_fail_whatever_the_batch(batch: int) -> None:
    rows, maker = rows_of(Spoilt(BAD, raises), batch=batch)
    good, _ = rows_of(Toy())
    assert failed(rows) == BAD
    assert maker.reasons == {"ValueError: no such image": 4}
    kept = rows.valid
    assert np.array_equal(rows.rows[kept], good.rows[kept])
    assert not rows.rows[~kept].any()
    assert not rows.hashes[~kept].any()


def grey_out(images: Tensor, bad: Tensor) -> Tensor:
    """One colour, which need not be grey."""
    images = images.clone()
    images[bad] = torch.tensor([10, 200, 30], dtype=torch.uint8)[:, None, None]
    return images


def not_a_number(images: Tensor, bad: Tensor) -> Tensor:
    """A network's output in floating point, one value of it NaN."""
    values = images / 255
    values[bad, 1, 2, 3] = float("nan")
    return to_rgb(values, value_range=(0, 1), layout="NCHW")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda images, bad: images[~bad], "images must be uint8 [1, 3, H, W]"),
        (
            lambda images, bad: images[:, :1],
            "images must be uint8 [1, 3, H, W], got torch.uint8 [1, 1, 4, 4]",
        ),
        (lambda images, bad: images.flatten(1), "[1, 48]"),
        (lambda images, bad: images[..., :0], "images must have pixels"),
        (lambda images, bad: images.float(), "torch.float32"),
        (lambda images, bad: images.numpy(), "torch tensor, got ndarray"),
        (lambda images, bad: None, "torch tensor, got NoneType"),
        (grey_out, "the image is a single colour"),
        (not_a_number, "the image holds NaN or infinite values"),
    ],
)
def test_what_is_no_image_fails_its_slots_and_no_others(
    spoil: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    rows, maker = rows_of(Spoilt(BAD, spoil))
    assert failed(rows) == BAD
    ((said, count),) = maker.reasons.items()
    assert reason in said
    assert count == len(BAD)


def test_one_pixel_of_another_colour_makes_an_image() -> None:
    def nearly(images: Tensor, bad: Tensor) -> Tensor:
        images = grey_out(images, bad)
        images[bad, 0, 2, 1] += 1
        return images

    assert not failed(rows_of(Spoilt(BAD, nearly))[0])


class Hanging(Toy):
    """Hangs, the first `times` times, on batches that hold slot 20."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.let_go = threading.Event()

    def render(self, draws: Draws) -> Tensor:
        if 20 in draws.index.tolist() and self.times:
            self.times -= 1
            self.let_go.wait(20)
        return super().render(draws)


def test_a_generator_that_hangs_once_loses_one_batch_and_is_opened_again() -> None:
    first, opened = Hanging(times=1), []
    second = Spoilt({30}, raises)  # by which it is told from the first
    maker = Maker(
        first,
        Pixels(),
        recipe(timeout_s=0.5),
        reopen=lambda: opened.append(second) or second,
    )
    rows = maker.rows(Stream.SAMPLES, 0, 40)
    first.let_go.set()
    maker.close()
    assert failed(rows) == {*range(16, 24), 30}  # the batch of 8 that holds slot 20
    assert len(opened) == 1
    assert maker.reasons["rendering 8 images took longer than 0.5 s (--timeout-s)"] == 8


def test_a_generator_that_always_hangs_ends_the_run() -> None:
    hanging = Hanging(times=99)
    maker = Maker(hanging, Pixels(), recipe(batch=1, timeout_s=0.2))
    with pytest.raises(SourceTimeout, match="longer than 0.2 s .*, 3 times in a row"):
        for _ in range(9):
            assert failed(maker.rows(Stream.SAMPLES, 20, 21)) == {0}
    assert hanging.times == 96
    hanging.let_go.set()


def test_an_answer_in_between_forgives_earlier_hangs() -> None:
    hanging = Hanging(times=4)
    maker = Maker(hanging, Pixels(), recipe(batch=1, timeout_s=0.2))
    for _ in range(2):
        maker.rows(Stream.SAMPLES, 20, 21)
        maker.rows(Stream.SAMPLES, 20, 21)
        assert not failed(maker.rows(Stream.SAMPLES, 21, 22))
    hanging.let_go.set()
    maker.close()


def test_a_generator_that_cannot_be_opened_again_ends_the_run() -> None:
    let_go = threading.Event()
    maker = Maker(Hanging(times=1), Pixels(), recipe(timeout_s=0.2), reopen=lambda: let_go.wait(20))
    with pytest.raises(SourceTimeout, match="opening the generator again took longer"):
        maker.rows(Stream.SAMPLES, 16, 24)
    let_go.set()


def test_a_guard_hands_over_what_the_work_returns_or_raises() -> None:
    guard = Guard(30)
    assert guard.call(lambda: 7, what="counting") == 7
    assert guard.call(torch.is_inference_mode_enabled, what="asking") is True
    with pytest.raises(ZeroDivisionError):
        guard.call(lambda: 1 // 0, what="dividing")
    guard.close()


def test_a_generator_cannot_end_the_process_with_an_exit_code_of_its_own() -> None:
    def leave() -> None:
        raise SystemExit(0)

    guard = Guard(30)
    with pytest.raises(SourceError, match="rendering ended in SystemExit: 0"):
        guard.call(leave, what="rendering")
    guard.close()

    rows, _ = rows_of(Spoilt(BAD, lambda images, bad: leave()))
    assert failed(rows) == BAD


def test_labels_and_seeds_reach_a_conditional_generator() -> None:
    class Conditional(Toy):
        num_labels = 3

        def __init__(self) -> None:
            self.given: list[Draws] = []

        def render(self, draws: Draws) -> Tensor:
            self.given.append(draws)
            return super().render(draws)

    source = Conditional()
    rows_of(source, batch=16, labels=np.arange(3))
    labels = torch.cat([draws.labels for draws in source.given])
    seeds = torch.cat([draws.seeds for draws in source.given])
    assert [len(draws) for draws in source.given] == [16, 16, 8]
    assert set(labels.tolist()) == {0, 1, 2}
    assert len(set(seeds.tolist())) == 40
    assert bool((seeds >= 0).all())


def test_anchors_and_samples_of_one_slot_number_are_different_draws() -> None:
    maker = Maker(Toy(), Pixels(), recipe())
    anchors = maker.rows(Stream.ANCHORS, 0, 40)
    samples = maker.rows(Stream.SAMPLES, 0, 40)
    maker.close()
    both = {row.tobytes() for rows in (anchors, samples) for row in rows.hashes}
    assert len(both) == 80


# -- sources that hide their input ------------------------------------------------------------


def backwards(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from reversed(list(zip(draws.index.tolist(), images, strict=True)))


def in_order(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from zip(draws.index.tolist(), images, strict=True)


def test_the_order_of_answers_is_irrelevant() -> None:
    rows, maker = rows_of(Blind(backwards))
    expected = images_of(maker.draws(Stream.SAMPLES, np.arange(40)).seeds)
    assert np.array_equal(rows.hashes, content_hashes(expected))
    assert np.array_equal(rows.rows, Pixels().embed(expected)[0].numpy())


def without_answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from (pair for pair in in_order(draws, images) if pair[0] not in BAD)


def refusing(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        yield i, Failure("no", Status.REFUSED) if i in BAD else image


def of_wrong_type(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        yield i, image.float() if i in BAD else image


def as_array(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        yield i, image.numpy() if i in BAD else image


def twice(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        yield i, image
        if i in BAD:
            yield i, image


def for_a_stranger(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        yield i + 1000 * (i in BAD), image


def breaking_off(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    for i, image in in_order(draws, images):
        if i in BAD:
            raise ConnectionError("gone")
        yield i, image


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (without_answer, Status.FAILED, "the source gave no answer"),
        (refusing, Status.REFUSED, "no"),
        (of_wrong_type, Status.FAILED, "torch.float32"),
        (as_array, Status.FAILED, "got ndarray"),
        (twice, Status.FAILED, "the source answered twice for one slot"),
        (for_a_stranger, Status.FAILED, "answered for a slot that was not asked for"),
        (breaking_off, Status.FAILED, "ConnectionError: gone"),
    ],
)
def test_an_answer_that_is_none_costs_its_own_slot(
    answer: Callable[..., Iterator[tuple[int, Tensor | Failure]]], status: Status, reason: str
) -> None:
    rows, maker = rows_of(Blind(answer))
    assert set(np.flatnonzero(rows.status == status).tolist()) == BAD
    assert int(rows.valid.sum()) == 40 - len(BAD)
    assert all(reason in said for said in maker.reasons)
    assert sum(maker.reasons.values()) == len(BAD)


def test_every_slot_of_one_fault_has_one_reason_and_every_fault_its_own() -> None:
    faults: list[Callable[..., Iterator[tuple[int, Tensor | Failure]]]] = [
        without_answer, refusing, of_wrong_type, as_array, twice, for_a_stranger, breaking_off
    ]  # fmt: skip
    said = [rows_of(Blind(fault))[1].reasons for fault in faults]
    assert [list(reasons.values()) for reasons in said] == [[len(BAD)]] * len(faults)
    assert len({reason for reasons in said for reason in reasons}) == len(faults)


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (Failure("no", Status.OK), Status.FAILED, "no"),
        (Failure("no", Status.NO_FACE), Status.FAILED, "no"),
        (Failure("no", 77), Status.FAILED, "no"),  # type: ignore[arg-type]
        (Failure("no", "refused"), Status.FAILED, "no"),  # type: ignore[arg-type]
        (Failure("a\nb" * 500, Status.REFUSED), Status.REFUSED, ("a b" * 500)[:300]),
        (Failure(["no"]), Status.FAILED, "['no']"),  # type: ignore[arg-type]
    ],
)
def test_a_sources_own_failure_is_one_line_and_never_an_image(
    failure: Failure, status: Status, reason: str
) -> None:
    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in in_order(draws, images):
            yield i, failure if i in BAD else image

    rows, maker = rows_of(Blind(answer))
    assert set(np.flatnonzero(rows.status == status).tolist()) == BAD
    assert int(rows.valid.sum()) == 40 - len(BAD)
    assert maker.reasons == {reason: len(BAD)}


def test_images_of_different_sizes_find_their_own_slots() -> None:
    def sized(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in in_order(draws, images):
            yield i, torch.nn.functional.pad(image, (0, i % 3, 0, i % 2))  # pixels beyond 4 x 4

    rows, maker = rows_of(Blind(sized))
    expected = images_of(maker.draws(Stream.SAMPLES, np.arange(40)).seeds)
    assert np.array_equal(rows.rows, Pixels().embed(expected)[0].numpy())
    assert len({row.tobytes() for row in rows.hashes}) == 40


def test_items_of_a_finite_source_are_asked_for_in_the_runs_order_and_once() -> None:
    order = np.random.default_rng(1).permutation(50)
    asked: dict[Stream, list[int]] = {Stream.ANCHORS: [], Stream.SAMPLES: []}
    maker = Maker(Blind(in_order), Pixels(), recipe(order=order, anchors=20))
    for stream, stop in ((Stream.ANCHORS, 20), (Stream.SAMPLES, 30)):
        asked[stream] = maker.draws(stream, np.arange(stop)).index.tolist()
    assert asked[Stream.ANCHORS] == order[:20].tolist()
    assert asked[Stream.SAMPLES] == order[20:].tolist()


# -- services ---------------------------------------------------------------------------------


def test_a_service_is_asked_for_a_window_and_embedded_in_batches_of_consecutive_slots() -> None:
    """Rows are those of the local generator at that batch, in whatever order answers come."""
    seen: list[int] = []

    class Watched(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(len(images))
            return super().embed(images)

    def shuffled(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        order = np.random.default_rng(len(draws)).permutation(len(draws))
        yield from ((int(draws.index[i]), images[i]) for i in order)

    service = Service(shuffled)
    maker = Maker(service, Watched(), recipe(batch=8, window=24, keep=True))
    found = maker.rows(Stream.SAMPLES, 0, 40)
    maker.close()
    local, _ = rows_of(Toy(), keep=True)
    assert service.asked == [list(range(24)), list(range(24, 40))]
    assert seen == [8] * 5
    for name in ("rows", "status", "hashes"):
        assert np.array_equal(getattr(found, name), getattr(local, name))
    assert found.pictures == local.pictures


def test_what_came_is_embedded_while_a_service_goes_on() -> None:
    """The service waits, before its second batch, for the first one to have been embedded."""
    embedded = threading.Event()

    class Telling(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            embedded.set()
            return super().embed(images)

    def waiting(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in in_order(draws, images):
            assert i < 8 or embedded.wait(20)
            yield i, image

    maker = Maker(Service(waiting), Telling(), recipe(batch=8, window=16))
    assert maker.rows(Stream.SAMPLES, 0, 16).valid.all()
    maker.close()


def test_a_service_that_is_gone_ends_the_run_and_what_came_before_is_stored(
    tmp_path: Path,
) -> None:
    closed = threading.Event()

    def leaving(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        try:
            for i, image in in_order(draws, images):
                if i == 20:
                    raise SourceGone("nobody answers")
                yield i, image
        finally:
            closed.set()

    store = Store(tmp_path / "run")
    store.open({}, resume=False)
    maker = Maker(Service(leaving), Pixels(), recipe(batch=8, window=64))
    with pytest.raises(SourceGone, match="nobody answers"):
        fill(store, Stream.SAMPLES, 40, maker, versions={}, progress=silent)
    assert closed.wait(20)
    assert store.missing(Stream.SAMPLES, 40) == [(16, 40)]  # two whole batches were there
    service = Service()
    whole = Maker(service, Pixels(), recipe(batch=8, window=64))
    fill(store, Stream.SAMPLES, 40, whole, versions={}, progress=silent)
    whole.close()
    maker.close()
    assert service.asked == [list(range(16, 40))]
    (rows,) = store.read(Stream.SAMPLES, 40)
    assert np.array_equal(rows.rows, rows_of(Toy())[0].rows)


def test_images_that_wait_for_a_late_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slot comes last; of the 15 before it, 48 bytes each, only ten may wait."""
    monkeypatch.setattr("ganaudit.maker._MOST_HELD", 10 * 48)

    def late(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        order = [*range(1, len(draws)), 0]
        yield from ((int(draws.index[i]), images[i]) for i in order)

    maker = Maker(Service(late), Pixels(), recipe(batch=8, window=16))
    rows = maker.rows(Stream.SAMPLES, 0, 16)
    assert failed(rows) == {0, 11, 12, 13, 14, 15}
    assert list(maker.reasons) == ["the image is too large to wait for those before it"]
    again = maker.rows(Stream.SAMPLES, 16, 24)  # what was held is forgotten
    maker.close()
    assert failed(again) == set()


def test_a_service_may_fill_the_same_memory_for_every_answer() -> None:
    memory = torch.empty(3, 4, 4, dtype=torch.uint8)

    def thrifty(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in in_order(draws, images):
            yield i, memory.copy_(image)

    maker = Maker(Service(thrifty), Pixels(), recipe(batch=8, window=16))
    found = maker.rows(Stream.SAMPLES, 0, 40)
    maker.close()
    assert np.array_equal(found.hashes, rows_of(Toy())[0].hashes)


def test_what_was_rendered_stays_though_the_generator_uses_its_memory_again() -> None:
    class Thrifty(Toy):
        memory = torch.empty(8, 3, 4, 4, dtype=torch.uint8)

        def render(self, draws: Draws) -> Tensor:
            return self.memory[: len(draws)].copy_(super().render(draws))

    maker = Maker(Thrifty(), Pixels(), recipe(batch=8))
    draws = maker.draws(Stream.SAMPLES, np.arange(16))
    ((_, first),) = maker.render(draws[:8]).images
    maker.render(draws[8:])
    maker.close()
    assert torch.equal(first, Toy().render(draws[:8]))


def test_a_service_is_closed_when_nobody_wants_the_rest() -> None:
    closed = threading.Event()

    def endless(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        try:
            yield from in_order(draws, images)
        finally:
            closed.set()

    maker = Maker(Service(endless), Pixels(), recipe(batch=8, window=40))
    pieces = maker.pieces(Stream.SAMPLES, 0, 40)
    assert next(pieces).stop == 8
    pieces.close()
    assert closed.wait(20)
    maker.close()


def test_ctrl_c_keeps_what_a_service_gave_of_the_shard_in_work(tmp_path: Path) -> None:
    def press(what: str, done: int, total: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    def failing(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i, image in in_order(draws, images):
            yield i, Failure("no such image") if i in {3, 30} else image

    for source, kept in ((Service(failing), 24), (Spoilt({3, 30}, raises), 0)):
        store = Store(tmp_path / type(source).__name__)
        store.open({}, resume=False)
        maker = Maker(source, Pixels(), recipe(batch=8))
        with pytest.raises(KeyboardInterrupt):
            fill(store, Stream.SAMPLES, 100, maker, versions={}, progress=press)
        assert store.missing(Stream.SAMPLES, 100) == [(kept, 100)]
        assert store.reasons(Stream.SAMPLES, kept).total() == bool(kept)
        fill(store, Stream.SAMPLES, 100, maker, versions={}, progress=silent)
        maker.close()
        assert store.reasons(Stream.SAMPLES, 100).total() == 2


# -- slots without an image -------------------------------------------------------------------


def test_a_run_stops_with_the_first_slot_that_is_one_too_many(tmp_path: Path) -> None:
    """Of 200 slots a twentieth may fail: 10, of which two failed earlier."""
    store = Store(tmp_path / "run")
    store.open({}, resume=False)
    maker = Maker(Spoilt({10, 11, 12, *range(40, 60)}, raises), Pixels(), recipe(batch=8))
    allowance = Allowance(0.05, slots=200, failed=2)
    with pytest.raises(SourceError, match="13 of 200 slots .*--max-failure-rate 0.05.*such image"):
        fill(
            store,
            Stream.SAMPLES,
            200,
            maker,
            versions={},
            progress=silent,
            allowance=allowance,
        )
    assert store.missing(Stream.SAMPLES, 200) == [(0, 200)]
    fill(store, Stream.SAMPLES, 200, maker, versions={}, progress=silent)
    assert store.without_image(Stream.SAMPLES, 200) == 3 + 20
    assert store.without_image(Stream.SAMPLES, 42) == 3 + 2
    maker.close()


def test_an_allowance_that_is_spent_to_the_last_slot_is_kept(tmp_path: Path) -> None:
    allowance = Allowance(0.05, slots=200, failed=2)
    allowance.spend(8, "")
    allowance.spend(0, "")
    with pytest.raises(SourceError, match="11 of 200 slots"):
        allowance.spend(1, "")
    Allowance(0.0, slots=200, failed=7).spend(0, "")  # what is stored is scored again


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers begin sooner; that they can be spawned is another test's."""
    quick = fork_server()
    monkeypatch.setattr("multiprocessing.get_context", lambda method: quick)


@pytest.mark.usefixtures("forked")
def test_workers_spend_the_same_allowance(tmp_path: Path) -> None:
    store, maker = Store(tmp_path / "run"), _open_complaining("cpu")
    team = Team(open_maker=_open_complaining, arguments=(), devices=("cpu", "cpu"))
    with pytest.raises(SourceError, match="[23] of 1,024 slots .*--max-failure-rate 0.001"):
        fill(
            store,
            Stream.SAMPLES,
            1024,
            maker,
            versions={},
            progress=silent,
            team=team,
            allowance=Allowance(0.001, slots=1024, failed=0),
        )
    maker.close()


# -- descriptors ------------------------------------------------------------------------------


class Returning(Pixels):
    """Does something to what it would return."""

    def __init__(self, change: Callable[[Tensor, Tensor], object]) -> None:
        self._change = change

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._change(*super().embed(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, valid: (rows * 0, valid), "zero, NaN or not of length 1"),
        (lambda rows, valid: (rows * float("nan"), valid), "zero, NaN or not of length 1"),
        (lambda rows, valid: (rows * 2, valid), "zero, NaN or not of length 1"),
        (lambda rows, valid: (rows[1:], valid), r"float32 \[8, D\], got torch.float32 \[7, 16\]"),
        (lambda rows, valid: (rows.double(), valid), "got torch.float64"),
        (lambda rows, valid: (rows, valid.float()), r"valid as bool \[8\], got torch.float32"),
        (lambda rows, valid: (rows, valid[1:]), r"valid as bool \[8\], got torch.bool \[7\]"),
        (lambda rows, valid: rows, "the descriptor raised ValueError"),
        (lambda rows, valid: None, "the descriptor raised TypeError"),
        (lambda rows, valid: (None, None), "the descriptor raised AttributeError"),
        (lambda rows, valid: (rows[:, :9] / rows[:, :9].norm(dim=1)[:, None], valid), "9 columns"),
    ],
)
def test_a_descriptor_that_breaks_its_contract_ends_the_run(
    change: Callable[[Tensor, Tensor], object], message: str
) -> None:
    maker = Maker(Toy(), Returning(change), recipe())
    with pytest.raises(DescriptorError, match=message):
        maker.rows(Stream.ANCHORS, 0, 8)
    maker.close()


def test_images_without_a_face_are_kept_apart_from_failures() -> None:
    def faceless(rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        odd = rows[:, 0] > 0
        return torch.where(odd[:, None], rows, float("nan")), odd

    maker = Maker(Spoilt(BAD, raises), Returning(faceless), recipe())
    rows = maker.rows(Stream.SAMPLES, 0, 40)
    whole, _ = rows_of(Toy())
    maker.close()
    expected = np.where(whole.rows[:, 0] > 0, Status.OK, Status.NO_FACE)
    expected[sorted(BAD)] = Status.FAILED
    assert np.array_equal(rows.status, expected)
    assert not rows.rows[~rows.valid].any()  # no NaN is stored
    no_face = rows.status == Status.NO_FACE
    assert np.array_equal(rows.hashes[no_face], whole.hashes[no_face])


def test_embedding_one_by_one_means_one_by_one() -> None:
    sizes: list[tuple[str, int]] = []

    class Watched(Toy):
        def render(self, draws: Draws) -> Tensor:
            sizes.append(("render", len(draws)))
            return super().render(draws)

    class Watching(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            sizes.append(("embed", len(images)))
            return super().embed(images)

    maker = Maker(Watched(), Watching(), recipe(embed_one_by_one=True))
    rows = maker.rows(Stream.SAMPLES, 0, 10)
    maker.close()
    assert set(sizes) == {("render", 8), ("render", 2), ("embed", 1)}
    assert np.array_equal(rows.rows, rows_of(Toy(), count=10)[0].rows)


# -- rows that are ready, and filling a store -------------------------------------------------


def test_an_embedding_that_is_none_fails_and_has_no_hash() -> None:
    class Ready:
        size = 4

        def rows(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rows = np.zeros((len(slots), 2), dtype=np.float32)
            rows[slots < 2, 1] = 1
            return rows, slots < 2

    maker = Maker(Ready(), None, recipe(width=2, order=np.array([0, 3, 1, 2]), anchors=1))
    rows = maker.rows(Stream.SAMPLES, 0, 3)  # items 3, 1, 2
    assert rows.status.tolist() == [Status.FAILED, Status.OK, Status.FAILED]
    assert rows.hashes.any(axis=1).tolist() == [False, True, False]
    assert maker.reasons == {"the embedding is zero or not finite": 2}


def test_filling_makes_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    made: list[int] = []

    class Counted(Toy):
        def render(self, draws: Draws) -> Tensor:
            made.extend(draws.index.tolist())
            return super().render(draws)

    store = Store(tmp_path / "run")
    store.open({}, resume=False)
    maker = Maker(Counted(), Pixels(), recipe(batch=64))
    seen: list[tuple[str, int, int]] = []

    def watch(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))

    fill(store, Stream.SAMPLES, 600, maker, versions={"torch": "1"}, progress=watch)
    assert made == list(range(600))
    assert seen == [("samples", done, 600) for done in (*range(0, 600, 64), 600)]

    made.clear()
    seen.clear()
    reasons = fill(store, Stream.SAMPLES, 1100, maker, versions={}, progress=watch)
    maker.close()
    assert made == list(range(600, 1100))
    assert seen == [("samples", done, 1100) for done in (*range(600, 1024, 64), 1024, 1088, 1100)]
    assert not reasons


def test_a_part_is_made_and_nothing_else_of_the_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    maker = Maker(Toy(), Pixels(), recipe(batch=64))
    seen: list[tuple[str, int, int]] = []

    def watch(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))

    def go_on(stop: int, part: tuple[int, int]) -> list[tuple[int, int]]:
        fill(store, Stream.SAMPLES, stop, maker, versions={}, progress=watch, part=part)
        return [(begin, end) for begin, end, _ in store.shards(Stream.SAMPLES)]

    assert go_on(1100, (0, 2)) == [(0, 512), (1024, 1100)]
    assert seen == [("samples", done, 588) for done in (*range(0, 588, 64), 588)]
    seen.clear()
    assert go_on(1200, (0, 2)) == [(0, 512), (1024, 1100), (1100, 1200)]
    assert seen == [("samples", done, 688) for done in (588, 652, 688)]
    seen.clear()
    assert go_on(1200, (5, 6)) == [(0, 512), (1024, 1100), (1100, 1200)]
    assert seen == [("samples", 0, 0)]
    maker.close()


@pytest.mark.parametrize(("asked", "made"), [(1, 0), (2, 512), (3, 1024), (4, 1100), (99, 1100)])
def test_no_more_is_made_once_it_is_enough(asked: int, made: int, tmp_path: Path) -> None:
    """It is asked once before the first shard, and once after each."""
    store, maker = Store(tmp_path / "run"), Maker(Toy(), Pixels(), recipe(batch=64))
    stored: list[int] = []
    seen: list[int] = []

    def enough() -> bool:
        stored.append(sum(end - begin for begin, end, _ in store.shards(Stream.SAMPLES)))
        return len(stored) == asked

    fill(
        store,
        Stream.SAMPLES,
        1100,
        maker,
        versions={},
        progress=lambda what, done, total: seen.append(done),
        enough=enough,
    )
    assert store.missing(Stream.SAMPLES, made) == []
    assert stored == [0, 512, 1024, 1100][:asked]
    assert set(stored) <= set(seen) and seen == sorted(seen)
    stored.clear()
    asked = 99
    fill(store, Stream.SAMPLES, 1100, maker, versions={}, progress=silent, enough=enough)
    assert stored == [count for count in (0, 512, 1024, 1100) if count >= made]
    maker.close()


def test_reasons_of_what_was_made_before_it_was_enough_are_told(tmp_path: Path) -> None:
    store, maker = Store(tmp_path / "run"), Maker(Spoilt({3, 600}, raises), Pixels(), recipe())
    answers = iter([False, True])
    told = fill(
        store,
        Stream.SAMPLES,
        1024,
        maker,
        versions={},
        progress=silent,
        enough=lambda: next(answers),
    )
    maker.close()
    assert told == {"ValueError: no such image": 1}
    assert store.missing(Stream.SAMPLES, 1024) == [(512, 1024)]


@pytest.mark.usefixtures("forked")
def test_workers_end_when_it_is_enough(tmp_path: Path) -> None:
    """Whichever shard comes first; none of them is left behind, and none is half a file."""
    store = Store(tmp_path / "run")
    team = Team(open_maker=_open_complaining, arguments=(), devices=("cpu", "cpu"))
    maker = _open_complaining("cpu")
    before = set(multiprocessing.active_children())
    fill(
        store,
        Stream.SAMPLES,
        512 * 40,
        maker,
        versions={},
        progress=silent,
        team=team,
        enough=lambda: bool(store.shards(Stream.SAMPLES)),
    )
    maker.close()
    assert set(multiprocessing.active_children()) <= before
    found = store.shards(Stream.SAMPLES)
    assert 1 <= len(found) < 40
    assert store.discard_damaged(Stream.SAMPLES) == []


class Complaining(Toy):
    """Fails every slot below `stop`, for a reason of the slot's own."""

    def __init__(self, stop: int) -> None:
        self.stop = stop

    def render(self, draws: Draws) -> Tensor:
        for i in draws.index.tolist():
            if i < self.stop:
                raise ValueError(f"slot {i:03d} " + "\x1b[31m" * 100)
        return super().render(draws)


def test_reasons_are_told_once_bounded_and_kept_with_their_shard(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    maker = Maker(Complaining(stop=530), Pixels(), recipe(batch=64))

    def go_on(stop: int) -> Counter[str]:
        return fill(
            store, Stream.SAMPLES, stop, maker, versions={}, progress=lambda what, done, total: None
        )

    told = go_on(512)
    assert len(told) == 17
    assert told["other reasons"] == 512 - 16
    assert told.total() == 512
    assert all(len(reason) <= 200 and reason.isprintable() for reason in told)
    assert store.reasons(Stream.SAMPLES, 512) == told

    more = go_on(700)  # slots 512 .. 529 fail: 18 reasons, of which the shard keeps 16
    maker.close()
    assert more["other reasons"] == 2
    assert more.total() == 18
    assert Store(tmp_path / "run").reasons(Stream.SAMPLES, 700) == told + more
    assert int((store.marks(Stream.SAMPLES, 700)[0] == Status.FAILED).sum()) == 530


def _open_complaining(device: str) -> Maker:
    return Maker(Complaining(stop=3), Pixels(), recipe(batch=64, device=device))


@pytest.mark.usefixtures("forked")
def test_workers_keep_the_reasons_of_their_shards(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    team = Team(open_maker=_open_complaining, arguments=(), devices=("cpu", "cpu"))
    maker = _open_complaining("cpu")
    told = fill(
        store,
        Stream.SAMPLES,
        1024,
        maker,
        versions={"torch": "1"},
        progress=lambda what, done, total: None,
        team=team,
    )
    maker.close()
    assert told.total() == 3
    assert len(told) == 3
    assert store.reasons(Stream.SAMPLES, 1024) == told
    assert store.versions(Stream.SAMPLES) == {"torch": "1"}


def test_a_closed_guard_has_no_thread_left_that_could_outlive_the_interpreter() -> None:
    before = set(threading.enumerate())
    guard = Guard(5.0)
    assert guard.call(lambda: 7, what="counting") == 7
    (thread,) = set(threading.enumerate()) - before
    guard.close()
    assert not thread.is_alive()
