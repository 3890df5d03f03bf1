import errno
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ganaudit.errors import ConfigError, GanauditError
from ganaudit.generators import Status
from ganaudit.reasons import OTHER_REASONS, bounded
from ganaudit.slots import Stream
from ganaudit.store import Rows, Store, write_json

MANIFEST = {"generator": {"sha256": "ab", "psi": 0.7}, "seed": 0, "size": (3, 4)}
WIDTH = 5


def rows(start: int, stop: int) -> Rows:
    """Rows that say which slot they are."""
    slots = np.arange(start, stop)
    return Rows(
        start,
        (slots[:, None] + np.arange(WIDTH) / 10).astype(np.float32),
        (slots % 4).astype(np.uint8),
        (slots[:, None] * 7 + np.arange(16)).astype(np.uint8),
    )


def assert_rows(found: Rows, start: int, stop: int) -> None:
    wanted = rows(start, stop)
    assert (found.start, found.stop) == (start, stop)
    for name in ("rows", "status", "hashes"):
        got, expected = getattr(found, name), getattr(wanted, name)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, err_msg=name)


def filled(folder: Path, stop: int, *, stream: Stream = Stream.SAMPLES) -> Store:
    store = Store(folder)
    for begin, end in store.missing(stream, stop):
        store.write(stream, rows(begin, end), {"torch": "2"})
    return store


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Pictures


def with_pictures(start: int, pictures: list[bytes]) -> Rows:
    plain = rows(start, start + len(pictures))
    return Rows(plain.start, plain.rows, plain.status, plain.hashes, pictures)


def test_pictures_come_back_by_slot_whatever_their_sizes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = [b"%d" % i * (i % 5) for i in range(512)]  # every fifth is empty: there is none
    store.write(Stream.SAMPLES, with_pictures(0, first), {})
    store.write(Stream.SAMPLES, with_pictures(512, [b"last"]), {})
    found = store.pictures(Stream.SAMPLES, np.array([512, 3, 5, 511, 0]))
    assert found == {512: b"last", 3: b"333", 511: b"511"}
    assert store.pictures(Stream.ANCHORS, np.array([0])) == {}
    assert [len(piece.rows) for piece in store.read(Stream.SAMPLES, 513)] == [512, 1]


def test_shards_with_pictures_and_without_make_one_run(tmp_path: Path) -> None:
    store = filled(tmp_path, 512)
    store.write(Stream.SAMPLES, with_pictures(512, [b"", b"b"]), {})
    assert store.missing(Stream.SAMPLES, 514) == []
    assert store.pictures(Stream.SAMPLES, np.arange(514)) == {513: b"b"}
    store.write(Stream.SAMPLES, with_pictures(514, [b"", b""]), {})  # kept, but none came
    assert store.pictures(Stream.SAMPLES, np.arange(516)) == {513: b"b"}


@pytest.mark.parametrize("ends", [[1, 2, 9], [1, 0, 3], [-1, 2, 3]])
def test_pictures_that_do_not_add_up_are_refused(ends: list[int], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(Stream.SAMPLES, with_pictures(0, [b"a", b"b", b"c"]), {})
    (path,) = (tmp_path / "samples").iterdir()
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tensors | {"picture_ends": np.array(ends)}, path)
    with pytest.raises(GanauditError, match="its pictures do not add up"):
        store.pictures(Stream.SAMPLES, np.arange(3))


# Rows


def test_rows_that_are_scored_are_those_with_status_ok() -> None:
    found = rows(8, 12)
    assert [Status(s).name for s in found.status] == ["OK", "NO_FACE", "FAILED", "REFUSED"]
    assert found.valid.dtype == np.bool_
    assert found.valid.tolist() == [True, False, False, False]
    assert found.stop == 12


# Writing and reading


@pytest.mark.parametrize("stop", [1, 511, 512, 513, 1300])
def test_what_was_written_is_read(stop: int, tmp_path: Path) -> None:
    store = filled(tmp_path, stop)
    assert store.missing(Stream.SAMPLES, stop) == []
    start = 0
    for piece in store.read(Stream.SAMPLES, stop):
        assert_rows(piece, start, min(start + 512, stop))
        start = piece.stop
    assert start == stop


@pytest.mark.parametrize("step", [512, 1024, 2048, 4096])
def test_reading_in_any_step_gives_the_same_rows(step: int, tmp_path: Path) -> None:
    store = filled(tmp_path, 2900)
    start = 0
    for piece in store.read(Stream.SAMPLES, 2900, step=step):
        assert_rows(piece, start, min(start + step, 2900))
        start = piece.stop
    assert start == 2900


@pytest.mark.parametrize("stop", [1, 300, 512, 700, 1023])
def test_fewer_slots_than_are_stored_can_be_read(stop: int, tmp_path: Path) -> None:
    store = filled(tmp_path, 1024)
    pieces = [(piece.start, piece.stop) for piece in store.read(Stream.SAMPLES, stop)]
    assert pieces == [(b, min(b + 512, stop)) for b in range(0, stop, 512)]
    (whole,) = store.read(Stream.SAMPLES, stop, step=2048)
    assert_rows(whole, 0, stop)


@pytest.mark.parametrize("step", [512, 1024, 4096])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (512, 513), (512, 1300), (1024, 2048), (1536, 2900), (2560, 2900)]
)
def test_reading_may_begin_at_any_shard(start: int, stop: int, step: int, tmp_path: Path) -> None:
    store, begin = filled(tmp_path, 2900), start
    for piece in store.read(Stream.SAMPLES, stop, start=start, step=step):
        assert_rows(piece, begin, min(begin + step, stop))
        begin = piece.stop
    assert begin == stop


def test_what_lies_before_the_start_is_not_opened(tmp_path: Path) -> None:
    """But it has to be there: rows are read of completed prefixes."""
    store = filled(tmp_path, 1600)
    first, second, *_ = sorted((tmp_path / "samples").iterdir())
    for path in (first, second):
        path.write_bytes(b"no shard")
    assert [one.start for one in store.read(Stream.SAMPLES, 1600, start=1024)] == [1024, 1536]
    second.unlink()
    with pytest.raises(GanauditError, match="lacks the samples from slot 512 on"):
        list(store.read(Stream.SAMPLES, 1600, start=1024))


@pytest.mark.parametrize("wide", [False, True])
def test_a_start_within_rows_that_were_made_in_pieces_or_twice(wide: bool, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for begin, end in ((0, 300), (512, 600), (512, 900), (900, 1024), (1024, 1100)):
        store.write(Stream.SAMPLES, rows(begin, end), {})
    store.write(Stream.SAMPLES, rows(0, 1024 if wide else 512), {})  # none of ours is so wide
    for start in (0, 512, 1024):
        begin = start
        for piece in store.read(Stream.SAMPLES, 1100, start=start):
            assert_rows(piece, begin, min(begin + 512, 1100))
            begin = piece.stop
        assert begin == 1100


def test_a_piece_is_overwritten_by_the_next_one(tmp_path: Path) -> None:
    store = filled(tmp_path, 1024)
    pieces = store.read(Stream.SAMPLES, 1024)
    first = next(pieces)
    kept = first.rows.copy()
    second = next(pieces)
    assert np.shares_memory(first.rows, second.rows)  # as documented: memory stays bounded
    assert not np.array_equal(first.rows, kept)
    np.testing.assert_array_equal(first.rows, second.rows)


def test_a_stream_does_not_see_the_other_one(tmp_path: Path) -> None:
    store = filled(tmp_path, 600, stream=Stream.ANCHORS)
    assert store.missing(Stream.ANCHORS, 600) == []
    assert store.missing(Stream.SAMPLES, 600) == [(0, 512), (512, 600)]
    with pytest.raises(GanauditError, match="lacks the samples from slot 0 on"):
        list(store.read(Stream.SAMPLES, 600))


def test_shards_lie_where_the_module_says(tmp_path: Path) -> None:
    filled(tmp_path, 600, stream=Stream.ANCHORS)
    filled(tmp_path, 512)
    assert contents(tmp_path) == [
        "anchors/0000000000-0000000512.safetensors",
        "anchors/0000000512-0000000600.safetensors",
        "samples/0000000000-0000000512.safetensors",
    ]
    arrays = safetensors.numpy.load_file(tmp_path / contents(tmp_path)[1])
    np.testing.assert_array_equal(arrays["rows"], rows(512, 600).rows)


def test_arrays_that_are_views_are_stored_as_they_look(tmp_path: Path) -> None:
    whole = rows(0, 1024)
    turned = Rows(
        0,
        np.asfortranarray(whole.rows[::2]),
        whole.status[::2],
        whole.hashes[::2],
    )
    store = Store(tmp_path)
    store.write(Stream.SAMPLES, turned, {})
    (piece,) = store.read(Stream.SAMPLES, 512)
    np.testing.assert_array_equal(piece.rows, whole.rows[::2])
    np.testing.assert_array_equal(piece.status, whole.status[::2])
    np.testing.assert_array_equal(piece.hashes, whole.hashes[::2])


def test_versions_are_kept_beside_the_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.versions(Stream.SAMPLES) == {}
    store.write(Stream.SAMPLES, rows(512, 600), {"torch": "3"})
    store.write(Stream.SAMPLES, rows(0, 512), {"torch": "2", "device": "cpu"})
    assert store.versions(Stream.SAMPLES) == {"torch": "2", "device": "cpu"}
    assert store.versions(Stream.ANCHORS) == {}
    store.write(Stream.SAMPLES, rows(1024, 1100), {"torch": "3"}, {"no image": 2})
    store.write(Stream.SAMPLES, rows(1536, 1537), {})
    store.write(Stream.ANCHORS, rows(0, 9), {"torch": "4"})
    every = [{"torch": "4"}, {"torch": "2", "device": "cpu"}, {"torch": "3"}]
    assert store.every_version() == every  # once each, anchors first, in the order of the slots


def test_the_same_rows_are_the_same_file(tmp_path: Path) -> None:
    notes = {f"package {i}": str(i) for i in range(9)}
    for name in ("one", "two"):
        Store(tmp_path / name).write(Stream.SAMPLES, rows(0, 9), notes, {"no image": 2})
    (one,), (two,) = ((tmp_path / name / "samples").iterdir() for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


# Status and hashes alone


@pytest.mark.parametrize("stop", [0, 1, 511, 512, 513, 1300])
def test_marks_are_what_reading_shows(stop: int, tmp_path: Path) -> None:
    store = filled(tmp_path, 1300)
    status, hashes = store.marks(Stream.SAMPLES, stop)
    assert (status.dtype, hashes.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(status, rows(0, stop).status)
    np.testing.assert_array_equal(hashes, rows(0, stop).hashes)


def overlapping(folder: Path) -> Store:
    """Shards of a run that grew while another made the same rows, cut elsewhere."""
    store = Store(folder)
    for begin, end in ((0, 300), (0, 512), (100, 200), (400, 512), (512, 700), (512, 1024)):
        store.write(Stream.SAMPLES, rows(begin, end), {}, {f"{begin}-{end}": 1})
    return store


@pytest.mark.parametrize("stop", [1, 299, 300, 301, 512, 600, 1024])
def test_rows_that_were_made_twice_are_read_and_marked_once(stop: int, tmp_path: Path) -> None:
    store = overlapping(tmp_path)
    (whole,) = store.read(Stream.SAMPLES, stop, step=2048)
    assert_rows(whole, 0, stop)
    status, hashes = store.marks(Stream.SAMPLES, stop)
    np.testing.assert_array_equal(status, whole.status)
    np.testing.assert_array_equal(hashes, whole.hashes)


def test_marks_do_not_read_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = filled(tmp_path, 700), []
    opened = safetensors.safe_open

    class Watched:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._file = opened(*args, **kwargs)

        def __enter__(self) -> "Watched":
            return self

        def __exit__(self, *args: object) -> None:
            self._file.__exit__(*args)

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

        def get_tensor(self, name: str) -> object:
            read.append(name)
            return self._file.get_tensor(name)

    monkeypatch.setattr(safetensors, "safe_open", Watched)
    store.marks(Stream.SAMPLES, 700)
    assert read == ["status", "hashes"] * 2


@pytest.mark.parametrize("of", ["marks", "reasons"])
def test_marks_and_reasons_of_what_is_not_stored_are_refused(of: str, tmp_path: Path) -> None:
    store = filled(tmp_path, 1300)
    (tmp_path / "samples/0000000512-0000001024.safetensors").unlink()
    getattr(store, of)(Stream.SAMPLES, 512)
    with pytest.raises(GanauditError, match="lacks the samples from slot 512 on; continue it with"):
        getattr(store, of)(Stream.SAMPLES, 513)
    with pytest.raises(GanauditError, match="lacks the anchors from slot 0 on"):
        getattr(store, of)(Stream.ANCHORS, 1)


# Reasons


def test_reasons_survive_and_are_no_versions(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(Stream.SAMPLES, rows(0, 512), {"torch": "2"}, {"ValueError: no": 3, "late": 1})
    store.write(Stream.SAMPLES, rows(512, 600), {"torch": "2"}, {"late": 2, "ümläut": 1})
    store.write(Stream.ANCHORS, rows(0, 20), {"torch": "2"})
    again = Store(tmp_path)
    assert again.reasons(Stream.SAMPLES, 600) == {"ValueError: no": 3, "late": 3, "ümläut": 1}
    assert again.reasons(Stream.ANCHORS, 20) == {}
    assert again.versions(Stream.SAMPLES) == again.versions(Stream.ANCHORS) == {"torch": "2"}
    assert_rows(next(again.read(Stream.SAMPLES, 600)), 0, 512)


@pytest.mark.parametrize(
    ("stop", "counted"),
    [
        (299, set()),
        (300, {"0-300"}),
        (512, {"0-300"}),  # the second shard gives 300 .. 511 only
        (700, {"0-300", "512-700"}),
        (1024, {"0-300", "512-700"}),
    ],
)
def test_a_shard_that_is_used_in_part_gives_no_reasons(
    stop: int, counted: set[str], tmp_path: Path
) -> None:
    assert set(overlapping(tmp_path).reasons(Stream.SAMPLES, stop)) == counted


def test_few_short_reasons_are_kept_as_they_are() -> None:
    assert bounded({"a": 1, "b c": 2}) == {"a": 1, "b c": 2}
    assert bounded({}) == {}


def test_a_reason_becomes_one_printable_line_of_200_characters() -> None:
    found = bounded(
        {
            " a\n b\t\u2028c ": 1,
            "a b c": 2,
            "\x1b[2J\ud800\u202egone": 3,
            "": 4,
            " \n": 5,
            "é" * 200: 6,
            "x" * 201: 7,
            "x" * 300: 8,
        }
    )
    assert found == {
        "a b c": 3,
        "\ufffd[2J\ufffd\ufffdgone": 3,
        "no reason given": 9,
        "é" * 200: 6,
        "x" * 197 + "...": 15,
    }


def test_the_most_frequent_16_reasons_are_kept_and_the_rest_is_counted() -> None:
    reasons = {f"{i:02d}": i for i in range(1, 31)}
    found = bounded(reasons)
    kept = {f"{i:02d}": i for i in range(15, 31)}
    assert found == kept | {OTHER_REASONS: sum(range(1, 15))}
    assert bounded(found) == found
    more = bounded(found + Counter({"31": 31}))  # 17 beside the rest: the rarest joins it
    del kept["15"]
    assert more == kept | {"31": 31, OTHER_REASONS: sum(range(1, 16))}


def test_which_reasons_are_kept_does_not_depend_on_their_order() -> None:
    reasons = [(f"{i:02d}", 1) for i in range(40)]
    assert bounded(dict(reasons)) == bounded(dict(reversed(reasons)))
    assert bounded(dict(reasons)) == {f"{i:02d}": 1 for i in range(16)} | {OTHER_REASONS: 24}


def test_reasons_are_bounded_on_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    reasons = {f"{i}\n\ud800" * 1000: 1 for i in range(400)}
    store.write(Stream.SAMPLES, rows(0, 512), {}, reasons)
    assert store.reasons(Stream.SAMPLES, 512) == bounded(reasons)
    small = filled(tmp_path / "other", 512)
    sizes = [
        (s.folder / "samples/0000000000-0000000512.safetensors").stat() for s in (store, small)
    ]
    assert sizes[0].st_size - sizes[1].st_size < 17 * 230 * 6  # JSON may escape a character in 6


def with_metadata(folder: Path, reasons: str) -> Store:
    """A store whose second shard says `reasons`."""
    store = Store(folder)
    store.write(Stream.SAMPLES, rows(0, 512), {"torch": "2"}, {"late": 1})
    found = rows(512, 600)
    safetensors.numpy.save_file(
        {"rows": found.rows, "status": found.status, "hashes": found.hashes},
        folder / "samples/0000000512-0000000600.safetensors",
        metadata={"torch": "2", "reasons": reasons},
    )
    return store


@pytest.mark.parametrize(
    "reasons",
    [
        "",
        "{",
        "null",
        "[]",
        '"late"',
        "3",
        '{"late": "1"}',
        '{"late": null}',
        '{"late": 1.0}',
        '{"late": true}',
        '{"late": 0}',
        '{"late": -1}',
        '{"late": NaN}',
        '{"late": Infinity}',
        '{"late": 89}',  # of 88 slots
        '{"late": 44, "later": 45}',
        '{"late": 1' + "0" * 30 + "}",
        '{"late": 1' + "0" * 6000 + "}",
        "[" * 200_000,
        '{"a":' * 200_000,
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_reasons_that_are_none_are_left_out_and_the_rows_are_not(
    reasons: str, tmp_path: Path
) -> None:
    store = with_metadata(tmp_path, reasons)
    assert store.reasons(Stream.SAMPLES, 600) == {"late": 1}
    assert store.discard_damaged(Stream.SAMPLES) == []
    (whole,) = store.read(Stream.SAMPLES, 600, step=1024)
    assert_rows(whole, 0, 600)


def test_reasons_that_somebody_else_wrote_are_bounded_too(tmp_path: Path) -> None:
    written = {f"{i:02d} \x1b\ud800 {'x' * 500}": 1 for i in range(80)} | {"many": 8}
    found = with_metadata(tmp_path, json.dumps(written)).reasons(Stream.SAMPLES, 600)
    assert found == Counter({"late": 1}) + bounded(written)
    assert all(len(reason) <= 200 and reason.isprintable() for reason in found)


# What is missing


def test_an_empty_store_lacks_everything_in_shards(tmp_path: Path) -> None:
    store = Store(tmp_path / "absent")
    assert store.missing(Stream.SAMPLES, 1200) == [(0, 512), (512, 1024), (1024, 1200)]
    assert store.missing(Stream.SAMPLES, 0) == []
    assert not (tmp_path / "absent").exists()


def test_a_hole_is_missing_and_reading_stops_before_it(tmp_path: Path) -> None:
    store = filled(tmp_path, 2048)
    (tmp_path / "samples/0000000512-0000001024.safetensors").unlink()
    assert store.missing(Stream.SAMPLES, 2048) == [(512, 1024)]
    assert store.missing(Stream.SAMPLES, 600) == [(512, 600)]
    assert store.missing(Stream.SAMPLES, 512) == []
    pieces = store.read(Stream.SAMPLES, 2048)
    assert_rows(next(pieces), 0, 512)
    with pytest.raises(GanauditError, match="from slot 512 on; continue it with --resume"):
        next(pieces)
    assert [p.stop for p in filled(tmp_path, 2048).read(Stream.SAMPLES, 2048, step=2048)] == [2048]


def test_a_run_can_grow_from_the_middle_of_a_shard(tmp_path: Path) -> None:
    store = filled(tmp_path, 700)
    assert store.missing(Stream.SAMPLES, 700) == []
    assert store.missing(Stream.SAMPLES, 1500) == [(700, 1024), (1024, 1500)]
    store = filled(tmp_path, 1500)
    for step in (512, 1024):
        start = 0
        for piece in store.read(Stream.SAMPLES, 1500, step=step):
            assert_rows(piece, start, min(start + step, 1500))
            start = piece.stop
        assert start == 1500


@pytest.mark.parametrize("part", [None, (0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (9, 10)])
@pytest.mark.parametrize("stop", [0, 1, 512, 600, 1300, 2048, 2600])
def test_a_part_lacks_its_own_shards_only(
    part: tuple[int, int] | None, stop: int, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for begin, end in ((0, 300), (512, 1024), (1100, 1200), (1536, 1700), (1700, 2048)):
        store.write(Stream.SAMPLES, rows(begin, end), {})
    i, count = part or (0, 1)
    there = {*range(300), *range(512, 1024), *range(1100, 1200), *range(1536, 2048)}
    wanted = [slot for slot in range(stop) if slot // 512 % count == i and slot not in there]
    gaps = store.missing(Stream.SAMPLES, stop, part)
    assert [slot for begin, end in gaps for slot in range(begin, end)] == wanted
    assert all(begin // 512 == (end - 1) // 512 for begin, end in gaps)
    assert store.lacks(Stream.SAMPLES, stop, part) == (wanted[0] if wanted else None)


def test_the_first_slot_that_is_lacking_is_found_however_many_are(tmp_path: Path) -> None:
    store = filled(tmp_path, 700)
    begin = time.monotonic()
    assert store.lacks(Stream.SAMPLES, 10**15) == 700
    assert store.lacks(Stream.ANCHORS, 10**15) == 0
    assert time.monotonic() - begin < 1


def test_temporary_and_foreign_files_are_not_shards(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name in (
        ".0000000000-0000000512.safetensors.77.tmp",
        "notes.safetensors",
        "a-b.safetensors",
        "0000000000-0000000512.npy",
    ):
        (folder / name).write_bytes(b"")
    store = Store(tmp_path)
    assert store.missing(Stream.SAMPLES, 512) == [(0, 512)]
    assert store.discard_damaged(Stream.SAMPLES) == []
    assert len(contents(tmp_path)) == 4


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"\xff" * 1000)


def rename(path: Path) -> None:
    path.write_bytes(path.with_name("0000001024-0000001200.safetensors").read_bytes())


def other_tensors(path: Path) -> None:
    safetensors.numpy.save_file({"latents": np.zeros((512, 2))}, path)


def extra_tensor(path: Path) -> None:
    arrays = safetensors.numpy.load_file(path) | {"more": np.zeros(1)}
    safetensors.numpy.save_file(arrays, path)


def no_rows(path: Path) -> None:
    arrays = safetensors.numpy.load_file(path) | {"rows": np.array(0, dtype=np.float32)}
    safetensors.numpy.save_file(arrays, path)


DAMAGES = [truncate, empty, garble, rename, other_tensors, extra_tensor, no_rows]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_refused_then_discarded_and_made_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    store = filled(tmp_path, 1200)
    name = "0000000512-0000001024.safetensors"
    damage(tmp_path / "samples" / name)
    pieces = store.read(Stream.SAMPLES, 1200)
    next(pieces)
    with pytest.raises(GanauditError, match=rf"{name} is damaged.*--resume"):
        next(pieces)
    with pytest.raises(GanauditError, match=rf"{name} is damaged.*--resume"):
        store.marks(Stream.SAMPLES, 1200)
    assert store.discard_damaged(Stream.ANCHORS) == []
    assert store.discard_damaged(Stream.SAMPLES) == [name]
    assert store.discard_damaged(Stream.SAMPLES) == []
    assert store.missing(Stream.SAMPLES, 1200) == [(512, 1024)]
    (whole,) = filled(tmp_path, 1200).read(Stream.SAMPLES, 1200, step=2048)
    assert_rows(whole, 0, 1200)


def test_a_damaged_shard_that_is_not_asked_for_does_no_harm(tmp_path: Path) -> None:
    store = filled(tmp_path, 1024)
    garble(tmp_path / "samples/0000000512-0000001024.safetensors")
    assert_rows(next(store.read(Stream.SAMPLES, 512)), 0, 512)
    assert len(store.marks(Stream.SAMPLES, 512)[0]) == 512
    assert store.reasons(Stream.SAMPLES, 512) == {}
    with pytest.raises(GanauditError, match="is damaged.*--resume"):
        store.reasons(Stream.SAMPLES, 1024)


# Writing that fails


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "cannot be written: the disk is full"),
        (errno.EDQUOT, "cannot be written: the disk is full"),
        (errno.EACCES, "cannot be written: .*Permission denied"),
    ],
)
@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_write_that_fails_says_why_and_leaves_nothing_behind(
    step: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 512)
    before = {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)}

    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(GanauditError, match=message) as caught:
            store.write(Stream.SAMPLES, rows(512, 1024), {})
    assert caught.value.exit_code == 6
    assert isinstance(caught.value.__cause__, OSError)
    assert {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)} == before
    assert store.missing(Stream.SAMPLES, 1024) == [(512, 1024)]


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).write(Stream.SAMPLES, rows(0, 512), {})
    assert contents(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file where a folder should be")
    with pytest.raises(GanauditError, match="cannot be written"):
        Store(tmp_path).write(Stream.SAMPLES, rows(0, 512), {})


# Manifests


def test_a_new_run_pins_its_manifest(tmp_path: Path) -> None:
    Store(tmp_path / "runs" / "one").open(MANIFEST, resume=False)
    found = json.loads((tmp_path / "runs/one/manifest.json").read_text())
    assert found == {"schema": 1, "seed": 0, "size": [3, 4], "generator": MANIFEST["generator"]}


def test_an_empty_folder_will_do_and_resuming_nothing_begins(tmp_path: Path) -> None:
    Store(tmp_path).open(MANIFEST, resume=True)
    assert contents(tmp_path) == ["manifest.json"]


def test_a_run_is_continued_only_when_asked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open(MANIFEST, resume=False)
    written = (tmp_path / "manifest.json").stat()
    with pytest.raises(ConfigError, match=r"already holds a run; continue it with --resume or nam"):
        store.open(MANIFEST, resume=False)
    store.open(MANIFEST, resume=True)
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == written.st_mtime_ns


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 in this request;"),
        ({"generator": {"sha256": "cd", "psi": 0.7}}, "generator."),
        ({"descriptor": "digits"}, 'descriptor is null there and "digits" in this request'),
        ({"seed": None}, "seed is 0 there and null in this request"),
        (
            {"generator": MANIFEST["generator"] | {"text": "x" * 500}},
            r"generator.text is null there and .{117}\.\.\. in this",
        ),
    ],
)
def test_another_run_is_refused_naming_the_field(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.open(MANIFEST, resume=False)
    with pytest.raises(ConfigError, match=message) as caught:
        store.open(MANIFEST | change, resume=True)
    assert str(tmp_path) in str(caught.value) and "--out" in str(caught.value)


def test_a_field_that_this_request_lacks_is_another_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open(MANIFEST, resume=False)
    with pytest.raises(ConfigError, match="size is .* there and null in this request"):
        store.open({key: MANIFEST[key] for key in ("generator", "seed")}, resume=True)


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_json(tmp_path / "manifest.json", {"schema": 0, **MANIFEST})
    with pytest.raises(ConfigError, match="schema is 0 there and 1 in this request"):
        store.open(MANIFEST, resume=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json cannot be read as JSON"),
        ("\ud800", "manifest.json cannot be read as JSON"),
        ("[]", "holds another run"),
    ],
)
def test_a_manifest_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=message):
        Store(tmp_path).open(MANIFEST, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_other_things_is_left_alone(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("precious")
    with pytest.raises(ConfigError, match="is not empty and holds no run; name another folder"):
        Store(tmp_path).open(MANIFEST, resume=resume)
    assert contents(tmp_path) == ["holiday.jpg"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_in_place_of_the_folder_is_left_alone(resume: bool, tmp_path: Path) -> None:
    path = tmp_path / "audit"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="audit is a file; name a folder with --out"):
        Store(path).open(MANIFEST, resume=resume)
    assert path.read_text() == "precious"


# JSON


def test_json_is_readable_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_json(path, {"b": "ü", "a": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": "ü", "a": [1, 2.5, None]}
    text = path.read_text(encoding="utf-8")
    assert "ü" in text and text.endswith("}\n") and text.index('"b"') < text.index('"a"')
    write_json(path, {})
    assert contents(tmp_path) == ["new/report.json"] and path.read_text() == "{}\n"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_does_not_reach_a_report(value: float, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": value})
    assert json.loads(path.read_text()) == {"x": 1}
