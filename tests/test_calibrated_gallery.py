"""Pictures of chosen modes before and after, of a toy whose images follow from latents."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import literal
import numpy as np
import pytest
from conftest import Blind, Pixels, Spoilt, Toy, images_of
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganaudit.calibrated_gallery import pictures
from ganaudit.errors import GanauditError
from ganaudit.generators import Failure, Status
from ganaudit.maker import Maker, Recipe
from ganaudit.scoring import Anchors
from ganaudit.slots import SHARD, Draws, Stream
from ganaudit.store import Rows, Store

SAMPLES, RADIUS = 700, 0.2
MODES = (9, 30, 4, 20)
_RNG = np.random.default_rng(3)


def around(which: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Unit rows [N, 16] near one of ten directions."""
    centres = np.random.default_rng(5).standard_normal((10, 16))
    rows = centres[which] + 0.4 * rng.standard_normal((len(which), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ANCHORS = Anchors(around(np.arange(40) % 10, _RNG), np.arange(40) * 2 + 5)
# Most samples are of the mode of anchor 9; of that of anchor 30 there are fewer than are shown.
LABELS = np.where(_RNG.random(SAMPLES) < 0.4, 9, 1 + np.arange(SAMPLES) % 8)
LABELS[[50, 333, 690]] = 0
BEFORE = around(LABELS, _RNG)
AFTER = np.where(
    (LABELS == 9)[:, None], around((LABELS + 1 + np.arange(SAMPLES)) % 10, _RNG), BEFORE
)
VALID = {"before": _RNG.random(SAMPLES) < 0.9, "after": _RNG.random(SAMPLES) < 0.9}
ROWS = {"before": BEFORE, "after": AFTER}


def stored(folder: Path, rows: NDArray[np.float32], valid: NDArray[np.bool_]) -> Store:
    store = Store(folder)
    for start in range(0, len(rows), SHARD):
        some = valid[start : start + SHARD]
        shard = rows[start : start + SHARD]  # with a row where there should be none
        status = np.where(some, Status.OK, Status.FAILED).astype(np.uint8)
        store.write(Stream.SAMPLES, Rows(start, shard, status, hashes(len(some))), {})
    return store


def hashes(count: int) -> NDArray[np.uint8]:
    return np.zeros((count, 16), dtype=np.uint8)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    before, after = (stored(tmp_path / side, ROWS[side], VALID[side]) for side in ROWS)
    return before, after


def maker(source: Any, *, seed: int = 5, **changes: Any) -> Maker:
    usual: dict[str, Any] = {
        "seed": seed,
        "device": "cpu",
        "batch": 8,
        "width": 16,
        "timeout_s": 30.0,
    }
    return Maker(source, Pixels(), Recipe(**(usual | changes)))


SEEDS = {"anchors": 1, "before": 2, "after": 3}  # by which the three generators differ


@pytest.fixture
def makers() -> Iterator[tuple[Maker, ...]]:
    made = tuple(maker(Toy(), seed=seed) for seed in SEEDS.values())
    yield made
    for one in made:
        one.close()


def taken(out: Path, stores: tuple[Store, Store], makers: Any, **changes: Any) -> Any:
    usual: dict[str, Any] = {
        "anchors": ANCHORS,
        "modes": MODES,
        "samples": SAMPLES,
        "radius": RADIUS,
    }
    found = pictures(out, stores=stores, makers=makers, **(usual | changes))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def named(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every picture of a gallery with the name of its side."""
    for mode in found:
        yield "anchors", mode["anchor"]
        for side in ("before", "after"):
            yield from ((side, one) for one in mode[side])
            yield from ((side, pair[side]) for pair in mode["same_slots"])


def shown_image(side: str, slot: int) -> NDArray[np.uint8]:
    """The toy's image of a slot, alone in its batch."""
    making = maker(Toy(), seed=SEEDS[side])
    stream = Stream.ANCHORS if side == "anchors" else Stream.SAMPLES
    image: NDArray[np.uint8] = Toy().render(making.draws(stream, np.array([slot])))[0].numpy()
    making.close()
    return image


def pixels(path: Path) -> NDArray[np.uint8]:
    """[3, H, W]."""
    with Image.open(path) as picture:
        return np.array(picture).transpose(2, 0, 1)


def angle(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(np.arccos(np.clip(a @ b, -1, 1)) / np.pi)


# -- who is shown -----------------------------------------------------------------------------


def test_the_first_three_modes_are_shown_with_their_nearest_samples(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    found = taken(tmp_path, stores, makers)
    assert [mode["anchor"]["slot"] for mode in found] == [23, 65, 13]
    for mode, anchor in zip(found, MODES, strict=False):
        for side, rows in ROWS.items():
            wanted = literal.nearest_slots(ANCHORS.rows[anchor], rows, VALID[side], 24)
            assert [one["slot"] for one in mode[side]] == [slot for slot, _ in wanted]
            assert [one["distance"] for one in mode[side]] == pytest.approx([d for _, d in wanted])
            assert [one["within"] for one in mode[side]] == [d <= RADIUS for _, d in wanted]


def test_the_same_slots_are_the_modes_first_ones_before(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    found = taken(tmp_path, stores, makers)
    many = []
    for mode, anchor in zip(found, MODES, strict=False):
        row = ANCHORS.rows[anchor]
        members = [
            slot
            for slot in range(SAMPLES)
            if VALID["before"][slot] and angle(row, BEFORE[slot]) <= RADIUS
        ]
        pairs = mode["same_slots"]
        many.append(len(pairs))
        assert [pair["before"]["slot"] for pair in pairs] == members[:24]
        assert [pair["after"]["slot"] for pair in pairs] == members[:24]
        assert all(pair["before"]["within"] for pair in pairs)
        for pair in pairs:
            slot, now = pair["after"]["slot"], pair["after"]
            if not VALID["after"][slot]:
                assert (now["distance"], now["within"]) == (None, None)
                continue
            assert now["distance"] == pytest.approx(angle(row, AFTER[slot]), abs=1e-6)
            assert now["within"] == (angle(row, AFTER[slot]) <= RADIUS)
    assert many[0] == 24 > many[1] > 0
    states = {pair["after"]["within"] for pair in found[0]["same_slots"]}
    assert states == {True, False, None}  # all three are met here


def test_a_mode_without_samples_has_no_slots(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    (mode,) = taken(tmp_path, stores, makers, modes=[9], radius=1e-4)
    assert mode["same_slots"] == []
    assert len(mode["before"]) == 24
    assert not any(one["within"] for one in mode["before"] + mode["after"])


# -- pictures ---------------------------------------------------------------------------------


def test_each_picture_is_its_own_generators_image_of_that_slot(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    found = taken(tmp_path, stores, makers)
    names = set()
    for side, one in named(found):
        assert one["file"] == f"{side}-{one['slot']:010d}.png"
        names.add(one["file"])
    assert {path.name for path in (tmp_path / "gallery").iterdir()} == names
    for side, one in [*named(found)][::9]:
        wanted = shown_image(side, one["slot"])
        np.testing.assert_array_equal(pixels(tmp_path / "gallery" / one["file"]), wanted)


def test_an_image_that_fails_now_leaves_no_picture(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    usual = taken(tmp_path / "usual", stores, makers)
    lost = usual[0]["after"][0]["slot"]

    def grey_out(images: Tensor, bad: Tensor) -> Tensor:
        images[bad] = 128
        return images

    spoilt = maker(Spoilt({lost}, grey_out), seed=SEEDS["after"])
    found = taken(tmp_path / "spoilt", stores, (*makers[:2], spoilt))
    spoilt.close()
    for (side, one), (_, same) in zip(named(usual), named(found), strict=True):
        missing = side == "after" and one["slot"] == lost
        assert same == (one | {"file": None} if missing else one)


def test_a_service_is_not_asked_again_and_what_was_kept_is_shown(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        asked.extend(draws.index.tolist())
        yield from zip(draws.index.tolist(), images, strict=True)

    making = maker(Blind(answer), keep=True)
    kept = [Store(tmp_path / name) for name in ("fit", "before", "after")]
    rows = {stream: making.rows(stream, 0, 60) for stream in (Stream.ANCHORS, Stream.SAMPLES)}
    kept[0].write(Stream.ANCHORS, rows[Stream.ANCHORS], {})
    for store in kept[1:]:
        store.write(Stream.SAMPLES, rows[Stream.SAMPLES], {})
    anchors = Anchors.read(kept[0], Stream.ANCHORS, 60)
    asked.clear()
    usual: dict[str, Any] = {"anchors": anchors, "modes": [7], "samples": 60}
    two = (kept[1], kept[2])
    found = taken(tmp_path, two, (making,) * 3, fit=kept[0], **usual)
    seeds = making.draws(Stream.SAMPLES, np.arange(60)).seeds
    assert found[0]["anchor"]["file"] == "anchors-0000000007.png"
    for one in found[0]["before"] + found[0]["after"]:
        slot = one["slot"]
        wanted = images_of(seeds[slot : slot + 1])[0].numpy()
        np.testing.assert_array_equal(pixels(tmp_path / "gallery" / one["file"]), wanted)

    (mode,) = taken(tmp_path / "again", two, (making,) * 3, **usual)
    making.close()
    assert asked == []
    assert mode["anchor"] == {"slot": 7, "file": None}
    assert mode["before"] == found[0]["before"]


def test_what_was_kept_is_not_rendered_again(
    tmp_path: Path, makers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = maker(Toy(), seed=SEEDS["before"], keep=True)
    store = Store(tmp_path / "kept")
    store.write(Stream.SAMPLES, making.rows(Stream.SAMPLES, 0, 60), {})
    anchors = Anchors.read(store, Stream.SAMPLES, 60)
    making.close()
    rendered: list[int] = []
    render = Toy.render

    def watched(self: Toy, draws: Draws) -> Tensor:
        rendered.extend(draws.index.tolist())
        return render(self, draws)

    monkeypatch.setattr(Toy, "render", watched)
    found = taken(tmp_path, (store, store), makers, anchors=anchors, modes=[7], samples=60)
    assert rendered == [7]  # the anchor alone
    assert all(one["file"] for _, one in named(found))


def test_a_generator_that_hangs_leaves_what_there_is(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    class Hanging(Toy):
        def render(self, draws: Draws) -> Tensor:
            time.sleep(30)
            return super().render(draws)

    hanging = maker(Hanging(), timeout_s=0.05, batch=1)
    found = taken(tmp_path, stores, (*makers[:2], hanging))
    hanging.close()
    for side, one in named(found):
        assert (one["file"] is None) == (side == "after")


def test_without_any_picture_there_is_no_gallery(
    tmp_path: Path, stores: tuple[Store, Store]
) -> None:
    assert taken(tmp_path, stores, (None, None, None)) is None
    assert not (tmp_path / "gallery").exists()


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any
) -> None:
    (tmp_path / "gallery").write_text("a file")
    with pytest.raises(GanauditError, match="gallery cannot be written: ") as caught:
        taken(tmp_path, stores, makers)
    assert caught.value.exit_code == 6


def test_pieces_of_any_size_give_the_same_slots(
    tmp_path: Path, stores: tuple[Store, Store], makers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rarest mode's slots lie in the first shard and in the last."""
    wanted = taken(tmp_path, stores, makers)
    slots = [pair["before"]["slot"] for pair in wanted[1]["same_slots"]]
    assert slots[0] < 512 <= slots[-1]
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda store, *args: read(store, *args, step=512))
    assert taken(tmp_path, stores, makers) == wanted
