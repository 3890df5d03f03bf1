import json
import re

import literal
import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.generators import Status
from ganaudit.screen import Screen, screen

Marks = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def hashes_of(kinds: NDArray[np.int64] | list[int], *, seed: int = 0) -> NDArray[np.uint8]:
    """[N, 16]: a random hash for each kind, the same for the same kind."""
    kinds = np.asarray(kinds, dtype=np.int64)
    table = np.random.default_rng(seed).integers(
        0, 256, (int(kinds.max(initial=0)) + 1, 16), dtype=np.uint8
    )
    return table[kinds]


def marks(
    kinds: NDArray[np.int64] | list[int], status: NDArray[np.uint8] | None = None, *, seed: int = 0
) -> Marks:
    """Status and hashes of slots with images of these kinds; zero hashes where there is none."""
    hashes = hashes_of(kinds, seed=seed)
    status = np.zeros(len(hashes), dtype=np.uint8) if status is None else status
    return status, np.where((status == Status.OK)[:, None], hashes, 0).astype(np.uint8)


def screened(
    anchors: Marks, samples: Marks, reasons: dict[str, int] | None = None, **what: str
) -> Screen:
    return screen(*anchors, *samples, reasons=reasons or {}, **what)


def fresh(count: int) -> Marks:
    """Slots whose images are all different, and different from those of `marks`."""
    return marks(np.arange(count), seed=77)


def none_at(count: int, share: float, seed: int) -> NDArray[np.uint8]:
    """Statuses of which `share` are not OK, of every kind."""
    rng = np.random.default_rng(seed)
    status = rng.integers(1, 4, count).astype(np.uint8)
    return np.where(rng.random(count) < share, status, Status.OK).astype(np.uint8)


def as_slots(found: Marks) -> list[bytes | None]:
    status, hashes = found
    return [h.tobytes() if s == Status.OK else None for s, h in zip(status, hashes, strict=True)]


def test_by_hand() -> None:
    anchors = marks([0, 1, 2])
    samples = marks([3, 1, 4, 1, 0], np.array([0, 0, 2, 0, 0], dtype=np.uint8))
    found = screened(anchors, samples, {"ValueError: no": 1})
    assert found.figures() == {
        "images": 7,
        "distinct": 4,
        "repeated": 3,
        "most_copies": 3,
        "period": None,
        "failures": [{"reason": "ValueError: no", "slots": 1}],
        "findings": [
            "3 of 7 images repeat an earlier one to the last byte (the most common one 3 times); "
            "repeats are scored: a generator that repeats itself is collapsed, but a cache in "
            "front of it looks the same",
            "1 of 8 slots has no image that can be scored: ValueError: no (1)",
        ],
    }


# Copies


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_copies_are_those_of_the_literal_count(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    planted = [rng.integers(0, 400, 150), rng.integers(0, 400, 377)]
    planted[1][rng.random(377) < 0.2] = 7
    anchors, samples = (marks(kinds, none_at(len(kinds), share, seed)) for kinds in planted)
    found = screened(anchors, samples)
    expected = literal.copies(as_slots(anchors) + as_slots(samples))
    assert found.images == sum(expected.values())
    assert found.distinct == len(expected)
    assert found.repeated == sum(count - 1 for count in expected.values())
    assert found.most_copies == max(expected.values())


@pytest.mark.parametrize("half", [slice(0, 8), slice(8, 16), slice(1, 16), slice(0, 15)])
def test_hashes_that_agree_in_part_are_different_images(half: slice) -> None:
    hashes = np.random.default_rng(3).integers(0, 256, (300, 16), dtype=np.uint8)
    hashes[:, half] = hashes[0, half]
    apart = len({row.tobytes() for row in hashes})
    assert apart > 100
    status = np.zeros(300, dtype=np.uint8)
    found = screen(status[:99], hashes[:99], status[99:], hashes[99:], reasons={})
    assert found.distinct == apart


@pytest.mark.parametrize("status", [Status.FAILED, Status.REFUSED, Status.NO_FACE])
def test_slots_without_an_image_are_no_copies_of_one_another(status: Status) -> None:
    bad = np.full(50, status, dtype=np.uint8)
    bad[:20] = Status.OK
    found = screened(fresh(40), marks(np.arange(50), bad))
    assert (found.images, found.repeated, found.most_copies, found.period) == (60, 0, 1, None)
    same = marks(np.zeros(50, dtype=np.int64), bad)
    same[1][:] = same[1][0]  # what stands at a slot without an image is not looked at
    found = screened(fresh(40), same)
    assert (found.images, found.repeated, found.most_copies) == (60, 19, 20)


def test_the_order_of_slots_is_irrelevant_to_copies() -> None:
    rng = np.random.default_rng(5)
    kinds = rng.integers(0, 90, 300)
    one = screened(marks(kinds[:100]), marks(kinds[100:]))
    rng.shuffle(kinds)
    other = screened(marks(kinds[:222]), marks(kinds[222:]))
    for name in ("images", "distinct", "repeated", "most_copies"):
        assert getattr(one, name) == getattr(other, name)


def test_hashes_may_be_views() -> None:
    kinds = np.random.default_rng(1).integers(0, 20, 120)
    status, hashes = marks(kinds)
    wide = np.zeros((120, 32), dtype=np.uint8)
    wide[:, ::2] = hashes
    whole = screened(fresh(10), (status, hashes))
    assert screened(fresh(10), (status, wide[:, ::2])) == whole
    assert screened(fresh(10), (status, np.asfortranarray(hashes))) == whole


# Periods


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6])
@pytest.mark.parametrize("length", [2, 7, 64, 100])
def test_a_period_is_found_across_slots_that_failed(length: int, share: float) -> None:
    kinds = np.arange(1000) % length
    samples = marks(kinds, none_at(1000, share, seed=length))
    found = screened(fresh(30), samples)
    assert found.period == length == literal.period(as_slots(samples))
    (sentence, *_) = found.findings
    assert sentence.startswith(f"the image of slot i returns at slot i + {length}: ")
    assert f"{found.repeated} of {found.images} images repeat" in sentence


def disturbed(seed: int) -> Marks:
    """700 slots of a period, some of them with other images, some without one."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(700) % rng.integers(2, 400)
    changed = rng.random(700) < rng.choice([0.0, 0.02, 0.05, 0.3])
    kinds[changed] = 1000 + rng.integers(0, rng.choice([3, 5000]), changed.sum())
    return marks(kinds, none_at(700, float(rng.choice([0.0, 0.3])), seed))


@pytest.mark.parametrize("seed", range(16))
def test_periods_are_those_of_the_literal_definition(seed: int) -> None:
    samples = disturbed(seed)
    assert screened(fresh(9), samples).period == literal.period(as_slots(samples))


def test_the_disturbed_slots_are_of_both_sorts() -> None:
    found = [literal.period(as_slots(disturbed(seed))) for seed in range(16)]
    assert 4 <= sum(period is None for period in found) <= 12


@pytest.mark.parametrize("kinds", [1, 2, 10, 300])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_random_repeats_have_no_period(kinds: int, share: float) -> None:
    drawn = np.random.default_rng(kinds).integers(0, kinds + 1, 1000)
    found = screened(fresh(30), marks(drawn, none_at(1000, share, seed=kinds)))
    assert found.repeated >= found.images / 2 - kinds - 30
    assert found.period is None
    assert "repeats are scored" in found.findings[0]


@pytest.mark.parametrize("share", [0.8, 0.95, 0.999])
def test_one_image_that_prevails_is_no_period(share: float) -> None:
    rng = np.random.default_rng(2)
    kinds = np.where(rng.random(2000) < share, 0, 1 + np.arange(2000))
    assert 1 < len(set(kinds.tolist())) < 500
    found = screened(fresh(30), marks(kinds))
    assert found.period is None
    assert "ignores its seed" not in found.findings[0]
    assert f"the most common one {(kinds == 0).sum()} times" in found.findings[0]


def test_images_that_come_in_a_row_are_no_period() -> None:
    found = screened(fresh(30), marks(np.arange(1024) // 64))
    assert found.period is None
    assert (found.repeated, found.most_copies) == (1024 - 16, 64)


def test_repeats_that_are_few_are_no_period() -> None:
    """100 slots return after 300, of 600: a sixth of the samples."""
    kinds = np.arange(600)
    kinds[300:400] = kinds[:100]
    found = screened(fresh(30), marks(kinds))
    assert (found.repeated, found.period) == (100, None)
    kinds = np.arange(600) % 300  # exactly half
    assert screened(fresh(30), marks(kinds)).period == 300
    assert screened(fresh(30), marks(kinds[:599])).period is None


@pytest.mark.parametrize(("others", "period"), [(30, 100), (80, None)])
def test_nine_repeats_in_ten_are_enough(others: int, period: int | None) -> None:
    """Each image of another kind costs two repeats of about 900: its own, and its successor's."""
    kinds = np.arange(1000) % 100
    kinds[np.random.default_rng(8).permutation(1000)[:others]] = 500
    samples = marks(kinds)
    assert screened(fresh(30), samples).period == period == literal.period(as_slots(samples))


def test_what_failed_at_the_end_excuses_nothing_at_the_beginning() -> None:
    kinds = np.arange(400) % 100
    kinds[60:90] = 500  # 29 repeats at distance 1, beside 220 at distance 100
    status = np.where(np.arange(400) < 350, Status.OK, Status.FAILED).astype(np.uint8)
    samples = marks(kinds, status)
    assert screened(fresh(30), samples).period is None is literal.period(as_slots(samples))


def test_anchors_have_no_part_in_a_period() -> None:
    found = screened(marks(np.arange(640) % 64), fresh(640))
    assert found.repeated == 640 - 64
    assert found.period is None


# Sentences


def test_a_generator_that_ignores_its_seed_is_named() -> None:
    found = screened(marks([0] * 40), marks([0] * 200))
    assert (found.images, found.distinct, found.most_copies, found.period) == (240, 1, 240, 1)
    assert found.findings == [
        "every image is the same to the last byte: the generator ignores its seed"
    ]


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_it_is_named_across_slots_that_failed(share: float) -> None:
    status = none_at(300, share, seed=1)
    found = screened(marks([0] * 40), marks([0] * 300, status))
    assert found.period == 1
    assert found.findings[0].startswith("every image is the same to the last byte")


def test_samples_that_are_all_one_image_are_not_all_images() -> None:
    found = screened(marks(np.arange(40)), marks([0] * 200))
    assert (found.distinct, found.most_copies, found.period) == (40, 201, 1)
    assert found.findings == [
        "200 of 240 images repeat an earlier one to the last byte (the most common one 201 times); "
        "repeats are scored: a generator that repeats itself is collapsed, but a cache in front of "
        "it looks the same"
    ]


def test_samples_that_are_the_anchors_are_named() -> None:
    found = screened(marks(np.arange(40)), marks(np.arange(100)))
    assert (found.repeated, found.period) == (40, None)
    assert found.findings == [
        "sample i is the image of anchor i: 40 of 140 images repeat an earlier one to the last "
        "byte (the most common one 2 times), as if the number of the slot decided and not the seed"
    ]


def test_samples_that_are_the_anchors_are_named_across_slots_that_failed() -> None:
    anchors = marks(np.arange(100), none_at(100, 0.4, seed=1))
    samples = marks(np.arange(300), none_at(300, 0.4, seed=2))
    assert screened(anchors, samples).findings[0].startswith("sample i is the image of anchor i: ")


@pytest.mark.parametrize("offset", [1, 20])
def test_samples_that_are_anchors_of_other_slots_are_only_counted(offset: int) -> None:
    found = screened(marks(np.arange(40)), marks(np.roll(np.arange(40), offset)))
    assert found.repeated == 40
    assert found.findings[0].startswith("40 of 80 images repeat an earlier one to the last byte")


def test_one_prevailing_image_is_not_taken_for_the_anchors_own() -> None:
    rng = np.random.default_rng(2)
    both = np.where(rng.random((2, 500)) < 0.97, 0, 1 + np.arange(1000).reshape(2, 500))
    assert (both[0] == both[1]).mean() > 0.9
    found = screened(marks(both[0]), marks(both[1]))
    assert "repeats are scored" in found.findings[0]


def test_one_repeat_is_said_in_the_singular() -> None:
    found = screened(fresh(4), marks([0, 1, 0]))
    assert found.findings[0].startswith("1 of 7 images repeats an earlier one to the last byte")


@pytest.mark.parametrize("samples", [marks([0] * 9), marks([0, 1, 2, 0]), marks([0, 1] * 50)])
def test_embeddings_are_called_so(samples: Marks) -> None:
    status = np.array([0, 2], dtype=np.uint8)
    found = screened(marks([0, 0], status), samples, what="embedding")
    assert len(found.findings) == 2
    assert all("embedding" in sentence for sentence in found.findings)
    assert not any("generator ignores" in sentence for sentence in found.findings)


def test_an_undisturbed_run_has_nothing_to_say() -> None:
    found = screened(marks(np.arange(50)), marks(np.arange(50, 250)))
    assert found == Screen(250, 250, 0, 1, None, [], [])


def test_no_sentence_promises_health() -> None:
    kinds: list[NDArray[np.int64] | list[int]] = [[0] * 90, [0, 1] * 45, [0, 1, 0], np.arange(90)]
    for samples in kinds:
        for share in (0.0, 0.5):
            found = screened(fresh(5), marks(samples, none_at(len(samples), share, 1)), {"late": 1})
            for sentence in found.findings:
                assert not re.search(r"healthy|no collapse|no finding", sentence, re.IGNORECASE)


# Failures


def test_every_slot_is_an_image_or_a_counted_failure() -> None:
    anchors = marks(np.arange(60), none_at(60, 0.5, seed=1))
    samples = marks(np.arange(170), none_at(170, 0.5, seed=2))
    status = np.concatenate([anchors[0], samples[0]])
    failed = int(np.isin(status, (Status.FAILED, Status.REFUSED)).sum())
    assert failed > 20
    found = screened(anchors, samples, {"late": 7, "torn": 5})
    assert dict(found.failures) == {
        "late": 7,
        "torn": 5,
        "reason not recorded": failed - 12,
        "the descriptor found nothing to describe": int((status == Status.NO_FACE).sum()),
    }
    assert found.images + sum(slots for _, slots in found.failures) == 230
    assert [slots for _, slots in found.failures] == sorted(
        (slots for _, slots in found.failures), reverse=True
    )


def test_no_reason_is_named_that_holds_for_no_slot() -> None:
    status = np.array([2, 0, 3, 0], dtype=np.uint8)
    found = screened(fresh(3), marks(np.arange(4), status), {"late": 2, "never": 0})
    assert found.failures == [("late", 2)]


def test_many_reasons_are_cut_in_the_figures_and_sooner_in_the_sentence() -> None:
    count = 78  # 1 + 2 + ... + 12
    status = np.full(count, Status.FAILED, dtype=np.uint8)
    reasons = {f"reason {i:02d}": i for i in range(1, 13)}
    found = screened(fresh(22), marks([0] * count, status), reasons)
    assert found.figures()["failures"] == [
        {"reason": f"reason {i:02d}", "slots": i} for i in range(12, 2, -1)
    ]
    assert found.findings == [
        "78 of 100 slots have no image that can be scored: reason 12 (12), reason 11 (11), "
        "reason 10 (10), reason 09 (9), reason 08 (8), others (28)"
    ]


def test_reasons_of_equal_weight_stand_by_name() -> None:
    status = np.full(9, Status.FAILED, dtype=np.uint8)
    samples = marks([0] * 9, status)
    one = screened(fresh(3), samples, {"c": 3, "a": 3, "b": 3})
    assert one.failures == [("a", 3), ("b", 3), ("c", 3)]
    assert one == screened(fresh(3), samples, {"b": 3, "c": 3, "a": 3})


# Limits


@pytest.mark.parametrize(("m", "n"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_hardly_any_slots(m: int, n: int) -> None:
    found = screened(fresh(m), marks(np.arange(n)))
    assert found == Screen(m + n, m + n, 0, min(1, m + n), None, [], [])


def test_no_slot_has_an_image() -> None:
    status = np.full(70, Status.REFUSED, dtype=np.uint8)
    found = screened(marks([0] * 70, status), marks([0] * 70, status), {"quota": 140})
    assert (found.images, found.distinct, found.most_copies, found.period) == (0, 0, 0, None)
    assert found.findings == ["140 of 140 slots have no image that can be scored: quota (140)"]


def test_two_images() -> None:
    assert screened(fresh(1), marks([0, 0])).period == 1
    assert screened(fresh(1), marks([0, 1])).period is None


def test_a_million_slots() -> None:
    rng = np.random.default_rng(4)
    kinds = rng.permutation(10**6)
    kinds[rng.permutation(10**6)[:1000]] = 17
    found = screened(fresh(10**4), marks(kinds))
    expected = len(np.flatnonzero(np.bincount(kinds)))
    assert (found.images, found.distinct) == (1_010_000, expected + 10**4)
    assert found.most_copies == int((kinds == 17).sum())


def test_figures_are_json_of_their_own() -> None:
    found = screened(marks([0] * 9), marks([0] * 9), {})
    figures = found.figures()
    assert json.loads(json.dumps(figures)) == figures
    figures["findings"].clear()
    assert found.findings


@pytest.mark.parametrize("stream", ["anchors", "samples"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hashes: hashes[1:], r"must be uint8 \[5, 16\], got uint8 \[4, 16\]"),
        (lambda hashes: hashes[:, 1:], r"must be uint8 \[5, 16\], got uint8 \[5, 15\]"),
        (lambda hashes: hashes.ravel(), r"must be uint8 \[5, 16\], got uint8 \[80\]"),
        (lambda hashes: hashes.astype(np.int64), r"must be uint8 \[5, 16\], got int64 \[5, 16\]"),
    ],
)
def test_hashes_of_another_shape_are_refused(stream: str, change: object, message: str) -> None:
    both = {"anchors": fresh(5), "samples": fresh(5)}
    status, hashes = both[stream]
    both[stream] = status, change(hashes)  # type: ignore[operator]
    with pytest.raises(ValueError, match=f"hashes of {stream} {message}"):
        screened(both["anchors"], both["samples"])
