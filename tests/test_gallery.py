import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import literal
import numpy as np
import pytest
import torch
from conftest import Blind, Pixels, Spoilt, Toy, images_of
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganaudit import gallery
from ganaudit.config import DiagnoseConfig
from ganaudit.diagnosis import dense_modes
from ganaudit.errors import GanauditError
from ganaudit.gallery import Gallery, Neighborhood, choose, write_pictures
from ganaudit.generators import Failure, Status
from ganaudit.images import content_hashes
from ganaudit.maker import Maker, Recipe
from ganaudit.pipeline import diagnose
from ganaudit.slots import Draws, Stream, permutation
from ganaudit.store import Rows, Store
from ganaudit.tally import tally

Make = Callable[..., DiagnoseConfig]


# -- who is shown -----------------------------------------------------------------------------


def crowded(count: int, seed: int) -> NDArray[np.float32]:
    """Unit rows around ten directions, of which the first is frequent."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((10, 8))
    which = np.where(rng.random(count) < 0.4, 0, rng.integers(1, 10, count))
    rows = centres[which] + 0.4 * rng.standard_normal((count, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pieces(
    samples: NDArray[np.float32], valid: NDArray[np.bool_], *, step: int = 512
) -> Iterator[Rows]:
    for start in range(0, len(samples), step):
        part = slice(start, start + step)
        status = np.where(valid[part], Status.OK, Status.FAILED).astype(np.uint8)
        rows = np.where(valid[part, None], samples[part], np.float32(np.nan))
        yield Rows(start, rows, status, np.zeros((len(status), 16), dtype=np.uint8))


ANCHORS, SAMPLES = crowded(40, 0), crowded(900, 1)
SLOTS = np.arange(40) * 2 + 5  # some anchors have no row
VALID = np.random.default_rng(2).random(900) < 0.8


def chosen(*, worst: int = 9, modes: tuple[int, ...] = (9, 33, 7), seed: int = 0) -> Gallery:
    found = choose(
        ANCHORS, SLOTS, pieces(SAMPLES, VALID), worst=worst, modes=modes, seed=seed, device="cpu"
    )
    assert isinstance(found, Gallery)
    return found


def test_every_anchor_is_shown_with_its_nearest_samples() -> None:
    found = chosen()
    assert found.worst.anchor == 9
    assert [mode.anchor for mode in found.modes] == [9, 33, 7]
    for one, count in ((found.worst, 80), (found.random, 80), *((m, 6) for m in found.modes)):
        row = ANCHORS[(one.anchor - 5) // 2]
        wanted = literal.nearest_slots(row, SAMPLES, VALID, count)
        assert one.samples.tolist() == [slot for slot, _ in wanted]
        assert one.distances.tolist() == pytest.approx([d for _, d in wanted], rel=1e-9)


def test_the_random_anchor_is_drawn_by_the_seed_and_is_not_the_worst() -> None:
    drawn = [chosen(seed=seed).random.anchor for seed in range(30)]
    assert drawn == [chosen(seed=seed).random.anchor for seed in range(30)]
    assert set(drawn) <= set(SLOTS.tolist()) - {9}
    assert len(set(drawn)) > 10
    # Whichever would be drawn, if it is the worst another is.
    others = [chosen(worst=anchor, seed=seed).random.anchor for seed, anchor in enumerate(drawn)]
    assert not any(one == other for one, other in zip(drawn, others, strict=True))


def test_a_single_anchor_is_its_own_random_one() -> None:
    found = choose(
        ANCHORS[:1], SLOTS[:1], pieces(SAMPLES, VALID), worst=5, modes=[], seed=0, device="cpu"
    )
    assert (found.worst.anchor, found.random.anchor, found.modes) == (5, 5, [])


def test_fewer_samples_than_places_are_all_shown() -> None:
    found = choose(
        ANCHORS, SLOTS, pieces(SAMPLES[:5], np.arange(5) != 2),
        worst=9, modes=[9], seed=0, device="cpu",
    )  # fmt: skip
    assert sorted(found.worst.samples.tolist()) == [0, 1, 3, 4]
    assert sorted(found.modes[0].samples.tolist()) == [0, 1, 3, 4]


# -- as JSON ----------------------------------------------------------------------------------


def of(anchor: int, samples: list[int], distances: list[float]) -> Neighborhood:
    return Neighborhood(anchor, np.array(samples), np.array(distances))


def test_figures_name_slots_files_and_what_is_within() -> None:
    shown = Gallery(of(3, [9, 4], [0.1, 0.2]), of(8, [4], [0.3]), [of(3, [9], [0.1])])
    files = {(Stream.ANCHORS, 3): "a.png", (Stream.SAMPLES, 4): "s.png"}
    figures = shown.figures(files, radius=0.2)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["worst"] == {
        "anchor": {"slot": 3, "file": "a.png", "distance": None, "within": None},
        "neighbors": [
            {"slot": 9, "file": None, "distance": 0.1, "within": True},
            {"slot": 4, "file": "s.png", "distance": 0.2, "within": True},
        ],
    }
    assert figures["random"]["anchor"]["file"] is None  # sample 4 has one, anchor 8 has none
    assert figures["random"]["neighbors"] == [
        {"slot": 4, "file": "s.png", "distance": 0.3, "within": False}
    ]
    assert [mode["anchor"]["slot"] for mode in figures["modes"]] == [3]


def test_every_picture_is_asked_for_once() -> None:
    shown = Gallery(of(8, [9, 3], [0, 0]), of(3, [3], [0]), [of(8, [9], [0]), of(1, [0], [0])])
    assert shown.slots() == [
        *((Stream.ANCHORS, slot) for slot in (1, 3, 8)),
        *((Stream.SAMPLES, slot) for slot in (0, 3, 9)),
    ]


@pytest.mark.parametrize("radius", [0.1, 0.15, 0.2, 0.3])
def test_what_is_within_is_what_the_tally_counted(radius: float) -> None:
    sums = tally(ANCHORS, SAMPLES, theta=0.3, radius=radius, valid=VALID)
    counts = sums.within.sum(axis=1)
    modes = [int(SLOTS[mode.anchor]) for mode in dense_modes(sums, ANCHORS, radius=radius)]
    worst = int(SLOTS[counts.argmax()])
    figures = chosen(worst=worst, modes=tuple(modes)).figures({}, radius=radius)
    assert len(modes) > 2
    for crowd, most in ((figures["worst"], 80), *((mode, 6) for mode in figures["modes"])):
        within = [shown["within"] for shown in crowd["neighbors"]]
        count = counts[(crowd["anchor"]["slot"] - 5) // 2]
        assert sum(within) == min(count, most) > 0
        assert within == sorted(within, reverse=True)


# -- pictures ---------------------------------------------------------------------------------


class Watched(Toy):
    """Remembers how often it was asked for which image."""

    def __init__(self) -> None:
        self.images = 0

    def render(self, draws: Draws) -> Tensor:
        self.images += len(draws)
        return super().render(draws)


def maker(source: object, **changes: object) -> Maker:
    usual = {"seed": 5, "device": "cpu", "batch": 4, "width": 16, "timeout_s": 30.0}
    return Maker(source, Pixels(), Recipe(**(usual | changes)))  # type: ignore[arg-type]


def wanted() -> Gallery:
    return Gallery(
        of(0, [0, 1, 2, 700, 701], [0] * 5),
        of(7, [8, 2], [0] * 2),
        [of(0, [0], [0]), of(3, [1], [0])],
    )


def written(source: object, folder: Path, **changes: object) -> dict[tuple[Stream, int], str]:
    making = maker(source, **changes)
    try:
        return write_pictures(wanted(), folder / "gallery", Store(folder), making)
    finally:
        making.close()


def pixels(path: Path) -> NDArray[np.uint8]:
    """[3, H, W]."""
    with Image.open(path) as picture:
        return np.array(picture).transpose(2, 0, 1)


def rendered(stream: Stream, slot: int) -> NDArray[np.uint8]:
    """The toy's image of a slot, alone in its batch."""
    making = maker(Toy())
    image = Toy().render(making.draws(stream, np.array([slot])))[0]
    making.close()
    return image.numpy()


def test_each_picture_is_the_generators_image_of_that_slot(tmp_path: Path) -> None:
    files = written(Toy(), tmp_path)
    assert list(files) == wanted().slots()
    assert files[Stream.SAMPLES, 700] == "samples-0000000700.png"
    assert files[Stream.ANCHORS, 7] == "anchors-0000000007.png"
    assert {p.name for p in (tmp_path / "gallery").iterdir()} == set(files.values())
    for (stream, slot), name in files.items():
        np.testing.assert_array_equal(pixels(tmp_path / "gallery" / name), rendered(stream, slot))


def test_only_what_is_missing_is_rendered(tmp_path: Path) -> None:
    source = Watched()
    files = written(source, tmp_path)
    assert source.images == len(files) == 9
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "gallery").iterdir()}
    assert written(source, tmp_path) == files
    assert source.images == 9
    (tmp_path / "gallery" / files[Stream.SAMPLES, 2]).unlink()
    assert written(source, tmp_path) == files
    assert source.images == 10
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "gallery").iterdir()}
    assert [name for name in before if after[name] != before[name]] == [files[Stream.SAMPLES, 2]]


def raises(images: Tensor, bad: Tensor) -> Tensor:
    raise ValueError("no")


def grey_out(images: Tensor, bad: Tensor) -> Tensor:
    images[bad] = 128
    return images


@pytest.mark.parametrize("spoil", [raises, grey_out])
def test_an_image_that_fails_now_leaves_no_picture(
    spoil: Callable[[Tensor, Tensor], Tensor], tmp_path: Path
) -> None:
    files = written(Spoilt({1, 7}, spoil), tmp_path)
    missing = {(Stream.ANCHORS, 7), (Stream.SAMPLES, 1)}
    assert set(files) == set(wanted().slots()) - missing
    assert {p.name for p in (tmp_path / "gallery").iterdir()} == set(files.values())
    figures = wanted().figures(files, radius=0.1)
    assert figures["random"]["anchor"] == {
        "slot": 7, "file": None, "distance": None, "within": None
    }  # fmt: skip
    assert [shown["file"] is None for shown in figures["worst"]["neighbors"]] == [
        False, True, False, False, False
    ]  # fmt: skip


def test_a_generator_that_hangs_leaves_what_there_is(tmp_path: Path) -> None:
    files = written(Toy(), tmp_path)
    for stream, slot in ((Stream.ANCHORS, 3), (Stream.SAMPLES, 0), (Stream.SAMPLES, 8)):
        (tmp_path / "gallery" / files.pop((stream, slot))).unlink()

    class Hanging(Toy):
        def render(self, draws: Draws) -> Tensor:
            time.sleep(30)
            return super().render(draws)

    # Three calls in a row: the anchor, and each sample alone.
    found = written(Hanging(), tmp_path, timeout_s=0.05, batch=1)
    assert found == files


def test_large_images_become_jpeg(tmp_path: Path) -> None:
    class Large(Toy):
        def render(self, draws: Draws) -> Tensor:
            return super().render(draws).repeat_interleave(50, 2).repeat_interleave(20, 3)

    files = written(Large(), tmp_path)
    assert files[Stream.ANCHORS, 3] == "anchors-0000000003.jpg"
    found = pixels(tmp_path / "gallery" / "anchors-0000000003.jpg")
    assert found.shape == (3, 128, 51)  # 200 x 80
    middles = found[:, 16::32, 6::13][:, :4, :4].astype(int)
    assert np.abs(middles - rendered(Stream.ANCHORS, 3)).mean() < 25
    assert written(Large(), tmp_path) == files


def test_a_service_is_not_asked_again_and_its_thumbnails_are_shown(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        asked.extend(draws.index.tolist())
        yield from zip(draws.index.tolist(), images, strict=True)

    store = Store(tmp_path)
    making = maker(Blind(answer), keep=True)
    store.write(Stream.SAMPLES, making.rows(Stream.SAMPLES, 0, 10), {})
    asked.clear()
    files = write_pictures(wanted(), tmp_path / "gallery", store, making)
    seeds = making.draws(Stream.SAMPLES, np.arange(10)).seeds
    making.close()
    assert asked == []
    assert set(files) == {(Stream.SAMPLES, slot) for slot in (0, 1, 2, 8)}
    for (_, slot), name in files.items():
        np.testing.assert_array_equal(
            pixels(tmp_path / "gallery" / name), images_of(seeds[slot : slot + 1])[0].numpy()
        )


def test_what_was_kept_is_not_rendered_again(tmp_path: Path) -> None:
    source, store = Watched(), Store(tmp_path)
    making = maker(source, keep=True)
    store.write(Stream.SAMPLES, making.rows(Stream.SAMPLES, 0, 10), {})
    source.images = 0
    files = write_pictures(wanted(), tmp_path / "gallery", store, making)
    making.close()
    assert set(files) == set(wanted().slots())
    assert source.images == 5  # anchors 0, 3 and 7, samples 700 and 701
    for (stream, slot), name in files.items():
        np.testing.assert_array_equal(pixels(tmp_path / "gallery" / name), rendered(stream, slot))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "gallery").write_text("a file")
    with pytest.raises(GanauditError, match="gallery cannot be written: ") as caught:
        written(Toy(), tmp_path)
    assert caught.value.exit_code == 6


def test_a_full_disk_is_said_and_leaves_no_half_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([True, True])

    def write(path: Path, data: bytes) -> None:
        if not next(room, False):
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(gallery, "write_whole", write)
    with pytest.raises(GanauditError, match="gallery cannot be written: No space left on device"):
        written(Toy(), tmp_path)
    assert len(list((tmp_path / "gallery").iterdir())) == 2


# -- through a run ----------------------------------------------------------------------------


def numbered_pictures(folder: Path, count: int) -> None:
    """PNG files of 4 x 4 whose first pixel says which they are."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image[0, 0] = i // 256, i % 256, 9
        Image.fromarray(image).save(folder / f"{i:04d}.png")


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_a_folder_are_its_files(config: Make) -> None:
    numbered_pictures(Path("photos"), 320)
    asked = config(generator="images:photos", seed=3)
    done = diagnose(asked, descriptor=Pixels())
    order = permutation(320, seed=3)
    shown = done.report["gallery"]
    assert shown is not None
    seen = 0
    for crowd in (shown["worst"], shown["random"], *shown["modes"]):
        assert pixels(done.folder / "gallery" / crowd["anchor"]["file"])[:2, 0, 0].tolist() == [
            *divmod(int(order[crowd["anchor"]["slot"]]), 256)
        ]
        for sample in crowd["neighbors"]:
            found = pixels(done.folder / "gallery" / sample["file"])
            number = int(order[64 + sample["slot"]])  # the samples follow the anchors
            assert found[:2, 0, 0].tolist() == [*divmod(number, 256)]
            with Image.open(f"photos/{number:04d}.png") as picture:
                np.testing.assert_array_equal(found, np.array(picture).transpose(2, 0, 1))
            seen += 1
    assert seen >= 160


@pytest.mark.usefixtures("undrawn")
def test_a_run_shows_its_worst_mode_a_random_anchor_and_its_dense_modes(config: Make) -> None:
    asked = config(samples=600)
    report = diagnose(asked, source=Toy(), descriptor=Pixels()).report
    shown, figures = report["gallery"], report["figures"]
    assert shown["worst"]["anchor"]["slot"] == figures["worst_mode"]["anchor"]
    assert shown["random"]["anchor"]["slot"] != figures["worst_mode"]["anchor"]
    assert len(shown["worst"]["neighbors"]) == len(shown["random"]["neighbors"]) == 80
    assert len(figures["dense_modes"]) > 3
    for crowd, mode in zip(shown["modes"], figures["dense_modes"], strict=True):
        assert crowd["anchor"]["slot"] == mode["anchor"]
        assert sum(p["within"] for p in crowd["neighbors"]) == min(6, mode["count"])
    within = [p["within"] for p in shown["worst"]["neighbors"]]
    assert sum(within) == figures["worst_mode"]["count"] < 80
    names = {p["file"] for c in (shown["worst"], shown["random"]) for p in c["neighbors"]}
    assert names <= {path.name for path in (asked.out / "gallery").iterdir()}


def test_embeddings_have_no_gallery_and_a_page(config: Make) -> None:
    rows = crowded(320, 6)
    np.save("rows.npy", rows)
    done = diagnose(config(generator="embeddings:rows.npy", theta=0.3, radius=0.2))
    assert done.report["gallery"] is None
    assert not (done.folder / "gallery").exists()
    page = (done.folder / "report.html").read_text("utf-8")
    assert "<html" in page and "data:image" not in page
    assert done.report["figures"]["dense_modes"]


# -- pictures that are kept -------------------------------------------------------------------


def whimsical() -> Blind:
    """A service that never gives the same image twice, whatever the seed."""
    asked = iter(range(10**9))

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for index in draws.index.tolist():
            yield index, images_of(torch.tensor([next(asked)]))[0]

    return Blind(answer)


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_a_service_are_those_that_were_scored(config: Make) -> None:
    audit = diagnose(config(anchors=20, samples=200), source=whimsical(), descriptor=Pixels())
    store, shown = Store(audit.folder), audit.report["gallery"]["worst"]
    _, hashes = store.marks(Stream.SAMPLES, 200)
    for near in shown["neighbors"]:
        pixels = np.array(Image.open(audit.folder / "gallery" / near["file"]))
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        assert (content_hashes(image)[0] == hashes[near["slot"]]).all()
    assert len(shown["neighbors"]) == 80


@pytest.mark.usefixtures("undrawn")
def test_a_service_is_not_asked_again_for_pictures_that_nobody_kept(config: Make) -> None:
    audit = diagnose(
        config(anchors=20, samples=200, keep="none"), source=whimsical(), descriptor=Pixels()
    )
    assert audit.report["gallery"] is None
    assert Store(audit.folder).pictures(Stream.SAMPLES, np.arange(200)) == {}


@pytest.mark.usefixtures("undrawn")
def test_thumbnails_of_a_generator_are_kept_when_asked_for(config: Make, tmp_path: Path) -> None:
    kept, plain = (
        diagnose(
            config(anchors=20, samples=200, keep=keep, out=tmp_path / keep),
            source=Toy(),
            descriptor=Pixels(),
        )
        for keep in ("thumbnails", "auto")
    )
    assert len(Store(kept.folder).pictures(Stream.SAMPLES, np.arange(200))) == 200
    assert Store(plain.folder).pictures(Stream.SAMPLES, np.arange(200)) == {}
    assert kept.report["gallery"] == plain.report["gallery"]
    for path in (plain.folder / "gallery").iterdir():
        assert (kept.folder / "gallery" / path.name).read_bytes() == path.read_bytes()
