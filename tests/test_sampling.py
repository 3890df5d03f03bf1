import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Blind, Command, Ended, Pixels, Spoilt, Toy, images_of, paint
from PIL import Image
from torch import Tensor

from ganaudit.config import MOST_SHOWN, DiagnoseConfig, SampleConfig
from ganaudit.errors import ConfigError, SourceError, SourceGone
from ganaudit.generators import Failure, Source, Status
from ganaudit.grids import columns_of, draw_grid, encode_png, thumbnail
from ganaudit.images import content_hashes, read_image
from ganaudit.pipeline import diagnose
from ganaudit.sampling import Sampled, sample
from ganaudit.settings import resolve
from ganaudit.slots import Draws, Stream, draw, labels_of
from ganaudit.store import Store

Run = Callable[..., Ended]
DEMO = ("sample", "--generator", "demo", "--device", "cpu")
FILES = {"grid.png", "latents.npy", "sample.json", "samples.csv"}


def made(source: Source, samples: int = 20, **changes: Any) -> Sampled:
    """Samples of an object, in the folder `made` unless told."""
    usual: dict[str, Any] = {"generator": "toy", "device": "cpu", "out": Path("made")}
    return sample(SampleConfig(samples=samples, **(usual | changes)), source=source)


def drawn(count: int, *, seed: int = 0) -> Draws:
    slots = np.arange(count, dtype=np.int64)
    return draw(slots, seed=seed, stream=Stream.SAMPLES, latent_shape=(3, 4, 4))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pictures(folder: Path) -> dict[int, Tensor]:
    return {int(path.stem): read_image(path) for path in (folder / "images").iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


def some_fail(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    """Slot 1 is refused, slot 4 fails; the answers come backwards."""
    for slot, image in reversed(list(zip(draws.index.tolist(), images, strict=True))):
        if slot == 1:
            yield slot, Failure("=HYPERLINK(1)\x1b[2J", Status.REFUSED)
        elif slot == 4:
            yield slot, Failure("out of paint")
        else:
            yield slot, image


def all_answered(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from zip(draws.index.tolist(), images, strict=True)


# What is in the folder


def test_image_i_is_sample_i_of_a_diagnosis_with_the_same_seed(undrawn: None) -> None:
    made(Toy(), 70, seed=5, batch=16)
    config = DiagnoseConfig(
        generator="toy", anchors=64, samples=70, seed=5, device="cpu", out=Path("run")
    )
    diagnose(config, source=Toy(), descriptor=Pixels())
    _, hashes = Store(Path("run")).marks(Stream.SAMPLES, 70)
    images = pictures(Path("made"))
    assert list(sorted(images)) == list(range(70))
    stacked = torch.stack([images[slot] for slot in range(70)])
    assert np.array_equal(content_hashes(stacked), hashes)


def test_a_folder_holds_images_latents_seeds_and_what_they_are_of() -> None:
    found = made(Toy(), 20, seed=3)
    folder, expected = Path("made"), drawn(20, seed=3)
    assert found.out == folder
    assert {path.name for path in folder.iterdir()} == FILES | {"images"}
    assert expected.latents is not None
    images = pictures(folder)
    assert all(torch.equal(images[i], paint(expected.latents)[i]) for i in range(20))
    latents = np.load(folder / "latents.npy")
    assert latents.dtype == np.dtype("<f4")
    assert np.array_equal(latents, expected.latents.numpy())
    assert rows(folder) == [
        {
            "slot": str(slot),
            "seed": str(int(expected.seeds[slot])),
            "label": "",
            "file": f"images/{slot:010d}.png",
            "status": "ok",
            "reason": "",
        }
        for slot in range(20)
    ]
    document = json.loads((folder / "sample.json").read_text("utf-8"))
    assert document == found.document
    assert document["request"]["seed"] == 3
    assert document["generator"] == {"object": "Toy"}
    assert document["latents"] == {"prior": "normal", "shape": [3, 4, 4]}
    assert document["counts"] == {"ok": 20, "failed": 0, "refused": 0}
    assert (document["reasons"], document["repeats"], document["warnings"]) == ({}, 0, [])


class Labelled(Toy):
    num_labels = 5


def test_labels_are_those_of_the_slots() -> None:
    Path("labels.txt").write_text("4\n1\n1\n")
    found = made(Labelled(), 30, labels="labels.txt")
    slots = np.arange(30, dtype=np.int64)
    choices = np.array([4, 1, 1])
    expected = labels_of(slots, choices, seed=0, stream=Stream.SAMPLES)
    assert [int(row["label"]) for row in rows(Path("made"))] == expected.tolist()
    assert found.document["labels"]["entries"] == 3
    (sentence,) = found.document["assumptions"]
    assert sentence.startswith("Labels are drawn from the 3 entries of labels.txt")


def test_images_that_repeat_are_counted() -> None:
    class Collapsed(Toy):
        def render(self, draws: Draws) -> Tensor:
            pattern = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)
            shades = (draws.index % 3).to(torch.uint8).view(-1, 1, 1, 1)
            return pattern + shades

    document = made(Collapsed(), 20).document
    assert document["repeats"] == 17
    assert document["warnings"] == ["17 images repeat an earlier one to the last byte"]


def test_images_are_written_as_they_come() -> None:
    class Watching(Toy):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def render(self, draws: Draws) -> Tensor:
            self.seen.append((int(draws.index[0]), len(list(Path().glob("made/images/*.png")))))
            return super().render(draws)

    watching = Watching()
    made(watching, 21, batch=5)
    assert watching.seen == [(0, 0), (0, 0), (1, 0), (5, 5), (10, 10), (15, 15), (20, 20)]


@pytest.mark.parametrize(("side", "batches"), [(16, [8, 32, 32, 8]), (512, [8, 16, 16, 16, 16, 8])])
def test_larger_images_are_rendered_fewer_at_a_time(side: int, batches: list[int]) -> None:
    class Sized(Toy):
        def __init__(self) -> None:
            self.asked: list[int] = []

        def render(self, draws: Draws) -> Tensor:
            self.asked.append(len(draws))
            images = super().render(draws)
            return images.repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)

    sized = Sized()
    made(sized, 80, out=Path("grid.png"))
    first, *others = (count for count in sized.asked if count > 1)
    assert [first, *others] == batches
    assert sized.asked[1:3] == [1, 1]  # held against the first ones


# Repetition


def test_the_same_request_gives_the_same_bytes_wherever_it_runs(
    ganaudit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ganaudit(*DEMO, "-n", "40", "--out", "one").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = tmp_path / "two" / "and more"
    assert ganaudit(*DEMO, "--samples", "40", "--out", again, "--quiet").code == 0
    one, two = content(tmp_path / "one"), content(again)
    assert one == two
    assert set(one) == FILES | {f"images/{slot:010d}.png" for slot in range(40)}
    assert not [name for name, data in one.items() if str(tmp_path).encode() in data]


def test_another_batch_changes_an_image_by_a_grey_level_at_most_and_nothing_else(
    ganaudit: Run,
) -> None:
    assert ganaudit(*DEMO, "-n", "25", "--out", "one").code == 0
    assert ganaudit(*DEMO, "-n", "25", "--out", "two", "--batch", "3").code == 0
    one, two = pictures(Path("one")), pictures(Path("two"))
    assert one.keys() == two.keys()
    assert all(int((one[i].int() - two[i].int()).abs().max()) <= 1 for i in one)
    for name in ("latents.npy", "samples.csv"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_fewer_samples_are_the_first_ones() -> None:
    made(Toy(), 30, out=Path("many"))
    made(Toy(), 11, out=Path("few"))
    many, few = content(Path("many")), content(Path("few"))
    shared = {name for name in few if name.startswith("images/")}
    assert len(shared) == 11 and all(few[name] == many[name] for name in shared)
    assert many["samples.csv"].startswith(few["samples.csv"])


@pytest.mark.parametrize("kind", ["random", "batch"])
def test_images_that_cannot_be_repeated_are_warned_about(kind: str) -> None:
    class Unsteady(Toy):
        def render(self, draws: Draws) -> Tensor:
            images = super().render(draws)
            if kind == "random":
                return images + torch.randint(0, 99, images.shape, dtype=torch.uint8)
            return images + 9 * len(images)

    (warning,) = made(Unsteady(), 12).document["warnings"]
    assert warning.startswith("the same slots gave other images when they were asked for singly")


# The grid


def test_a_cell_of_the_grid_is_the_image_of_its_slot(tmp_path: Path) -> None:
    made(Toy(), 7)
    images, grid = pictures(Path("made")), pixels(Path("made/grid.png"))
    assert grid.shape == (3 * 6 + 2, 3 * 6 + 2, 3)  # 3 columns and rows of 4 pixels, 2 between
    for slot, image in images.items():
        top, left = 2 + 6 * (slot // 3), 2 + 6 * (slot % 3)
        cell = grid[top : top + 4, left : left + 4]
        assert np.array_equal(cell, image.permute(1, 2, 0).numpy())
    assert (grid[14:, 8:] == 255).all()  # beyond the last one


def test_the_grid_alone_is_the_grid_of_the_folder(ganaudit: Run) -> None:
    assert ganaudit(*DEMO, "-n", "10", "--out", "folder").code == 0
    ended = ganaudit(*DEMO, "-n", "10", "--out", "deep/Grid.PNG")
    assert ended.code == 0 and ended.out.startswith("10 images of demo: deep/Grid.PNG\n")
    assert Path("deep/Grid.PNG").read_bytes() == Path("folder/grid.png").read_bytes()
    assert [path.name for path in Path("deep").iterdir()] == ["Grid.PNG"]


def test_pictures_of_other_sizes_stand_in_the_middle_of_their_cells() -> None:
    wide, high = np.full((1, 5, 3), 10, np.uint8), np.full((3, 1, 3), 20, np.uint8)
    grid = draw_grid([wide, None, high], columns=2)
    assert grid.shape == (2 * 5 + 2, 2 * 7 + 2, 3)
    expected = np.full((12, 16), 255, np.uint8)
    expected[3, 2:7] = 10
    expected[2:5, 9:14] = 200
    expected[7:10, 4] = 20
    assert np.array_equal(grid, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 100, MOST_SHOWN])
def test_a_grid_is_about_square_and_bounded_however_large_the_images_are(count: int) -> None:
    columns, side = columns_of(count)
    assert (columns - 1) ** 2 < count <= columns**2
    assert columns * (side + 2) + 2 <= 4130 < columns * (side + 3) + 2
    small = thumbnail(torch.zeros(3, 4300, 40, dtype=torch.uint8), side=side)
    assert small.shape[0] == side and small.shape[1] == max(1, round(40 * side / 4300))
    assert draw_grid([small] * count, columns=columns).shape[0] <= 4130


@pytest.mark.parametrize(("count", "pixels"), [(256, 256), (64, 512), (16, 1024)])
def test_a_full_grid_of_usual_images_scales_none_of_them(count: int, pixels: int) -> None:
    assert pixels <= columns_of(count)[1] < 1.01 * pixels


def test_a_picture_that_fits_is_shown_as_it_is() -> None:
    image = images_of(torch.tensor([7]))[0]
    assert np.array_equal(thumbnail(image, side=4), image.permute(1, 2, 0).numpy())


def test_the_grid_of_a_large_folder_shows_the_first_images() -> None:
    found = made(Toy(), MOST_SHOWN + 3)
    assert found.document["grid"] == {"columns": 16, "shown": MOST_SHOWN}
    assert pixels(Path("made/grid.png")).shape == (16 * 6 + 2, 16 * 6 + 2, 3)
    assert len(pictures(Path("made"))) == MOST_SHOWN + 3


def test_a_png_is_exact() -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 5, 3), dtype=np.uint8)
    Path("one.png").write_bytes(encode_png(values))
    assert np.array_equal(pixels(Path("one.png")), values)


# Slots without an image


def test_slots_that_fail_keep_their_reasons_and_a_place_in_the_grid() -> None:
    def spoil(images: Tensor, bad: Tensor) -> Tensor:
        images[bad] = 77
        return images

    found = made(Spoilt({2, 9, 11}, spoil), 12)
    assert found.document["counts"] == {"ok": 9, "failed": 3, "refused": 0}
    assert found.document["reasons"] == {"the image is a single colour": 3}
    failed = [row for row in rows(Path("made")) if row["status"] != "ok"]
    assert [row["slot"] for row in failed] == ["2", "9", "11"]
    assert {(row["status"], row["file"], row["reason"]) for row in failed} == {
        ("failed", "", "the image is a single colour")
    }
    assert set(pictures(Path("made"))) == set(range(12)) - {2, 9, 11}
    assert len(np.load("made/latents.npy")) == 12  # a row a slot, whatever became of it
    cell = pixels(Path("made/grid.png"))[2:6, 14:18]  # row 0, column 2
    assert (cell == 200).all()


def test_a_service_is_asked_for_windows_and_its_refusals_are_told() -> None:
    asked: list[int] = []

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        asked.append(len(draws))
        return some_fail(draws, images)

    found = made(Blind(answer), 600)
    assert asked == [8, 512, 80]
    assert {path.name for path in Path("made").iterdir()} == FILES - {"latents.npy"} | {"images"}
    images, seeds = pictures(Path("made")), drawn(600).seeds
    assert set(images) == set(range(600)) - {1, 4}
    assert all(torch.equal(images[i], images_of(seeds[i : i + 1])[0]) for i in (0, 7, 8, 599))
    assert found.document["latents"] is None
    assert found.document["counts"] == {"ok": 598, "failed": 1, "refused": 1}
    assert found.document["reasons"] == {"=HYPERLINK(1)\ufffd[2J": 1, "out of paint": 1}
    table = rows(Path("made"))
    assert (table[1]["status"], table[4]["status"]) == ("refused", "failed")
    # A spreadsheet takes it for a text.
    assert (table[1]["reason"], table[4]["reason"]) == ("'=HYPERLINK(1)\ufffd[2J", "out of paint")


def test_a_service_that_takes_latents_is_asked_as_one_and_its_latents_are_kept() -> None:
    class Service(Toy):
        asked: list[int] = []

        def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
            self.asked.append(len(draws))
            return all_answered(draws, super().render(draws))

    made(Service(), 30)
    assert Service.asked == [8, 22]
    latents = drawn(30).latents
    assert latents is not None and np.array_equal(np.load("made/latents.npy"), latents.numpy())
    assert torch.equal(pictures(Path("made"))[29], paint(latents)[29])


def test_images_of_several_sizes_are_all_written() -> None:
    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for slot, image in zip(draws.index.tolist(), images, strict=True):
            yield slot, image[:, : 2 + slot % 3, :]

    made(Blind(answer), 9)
    images = pictures(Path("made"))
    assert [images[slot].shape[1] for slot in range(9)] == [2, 3, 4] * 3
    assert pixels(Path("made/grid.png")).shape == (20, 20, 3)


def test_a_service_without_a_seed_is_warned_about() -> None:
    service = Blind(all_answered)
    service.seedable = False
    (warning,) = made(service, 3).document["warnings"]
    assert warning.endswith("so these images cannot be repeated")


def test_a_service_that_is_gone_leaves_what_it_gave() -> None:
    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for index, image in all_answered(draws, images):
            if index == 20:
                raise SourceGone("the budget is spent")
            yield index, image

    with pytest.raises(SourceGone, match="^the budget is spent$"):
        made(Blind(answer), 60, batch=6)
    assert set(pictures(Path("made"))) == set(range(18))
    assert [int(row["slot"]) for row in rows(Path("made"))] == list(range(18))
    assert not Path("made/sample.json").exists()


def test_a_service_is_not_asked_for_more_than_it_may_be() -> None:
    service = Blind(all_answered)
    service.per_request = 4
    with pytest.raises(ConfigError, match="^17 samples take 5 requests and more, --max-req.* is 4"):
        made(service, 17, max_requests=4)
    notes: list[str] = []
    config = SampleConfig(generator="toy", samples=16, max_requests=4, device="cpu", out=Path("a"))
    sample(config, source=service, notice=notes.append)
    assert notes == ["4 requests for 16 images; what fails is asked again"]


def test_first_images_that_cannot_be_used_end_it_before_a_folder_is_made() -> None:
    def all_fail(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for slot in draws.index.tolist():
            yield slot, Failure("no paint")

    with pytest.raises(SourceError, match="^none of the first 8 images can be used: no paint$"):
        made(Blind(all_fail), 20)
    with pytest.raises(SourceError, match="^the first image cannot be used: no paint$"):
        made(Blind(all_fail), 1)
    assert not Path("made").exists()


# What is refused


USER_CODE = """
def flat():
    def render(z):
        return z * 0
    render.latent_shape, render.prior, render.range = (3, 6, 6), "normal", (-3.0, 3.0)
    return render


def raising():
    def render(z):
        raise RuntimeError("no weights\\nanywhere")
    render.latent_shape, render.prior, render.range = (3, 6, 6), "normal", (-3.0, 3.0)
    return render
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("sample",), 2, "--generator is needed: a path, an address, NAME:TARGET or demo"),
        ((*DEMO, "-n", "0"), 2, "--samples must be at least 1, got 0"),
        ((*DEMO, "--batch", "0"), 2, "--batch must be at least 1, got 0"),
        ((*DEMO, "--seed", "-1"), 2, "seed must be in [0, 2**63), got -1"),
        ((*DEMO, "--format", "xml"), 2, "--format must be one of rich, json, got 'xml'"),
        ((*DEMO, "--labels", "3"), 2, "--labels 3: this generator takes no labels"),
        ((*DEMO, "--set", "descriptor.size=3"), 2, "--set descriptor.size: sampling needs no desc"),
        ((*DEMO, "--set", "psi=1"), 2, "the generator 'demo' has no option 'psi'"),
        (
            (*DEMO, "-n", "257", "--out", "a.png"),
            2,
            "a grid shows at most 256 images, --samples is",
        ),
        ((*DEMO, "--out", "full"), 2, "--out full is not empty; name another folder"),
        ((*DEMO, "--out", "user.py"), 2, "--out user.py is a file; name a folder, or a .png"),
        ((*DEMO, "--out", "user.py/a"), 2, "--out user.py/a cannot be made: Not a directory"),
        ((*DEMO, "--out", "old.png"), 2, "--out old.png exists already; name another file"),
        ((*DEMO, "--out", "new.jpg"), 2, "--out new.jpg: a grid is written as PNG; name it .png"),
        ((*DEMO, "--out", "x" * 300), 2, "cannot be written: File name too long"),
        ((*DEMO, "--out", "a\x1b[2J"), 2, "--out must be printable UTF-8 text, got"),
        (("sample", "--generator", "full"), 2, "--generator full holds images or embeddings that"),
        (("sample", "--generator", "rows.npy"), 2, "--generator rows.npy holds images or embed"),
        (("sample", "--generator", "absent.bin"), 2, "absent.bin: no such file"),
        (("sample", "--generator", "python:user.py:flat"), 3, "used: the image is a single colour"),
        (("sample", "--generator", "python:user.py:raising"), 3, "RuntimeError: no weights anywh"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(
    ganaudit: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    Path("user.py").write_text(USER_CODE)
    Path("full").mkdir()
    Image.new("RGB", (4, 4)).save("full/one.png")
    Image.new("RGB", (4, 4)).save("old.png")
    np.save("rows.npy", np.eye(4, dtype=np.float32))
    before = content(Path())
    ended = ganaudit(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.complaint
    assert len(ended.complaint) < 600
    assert len(ended.err.splitlines()) == 1
    assert content(Path()) == before


# The command


def test_what_is_printed_as_json_is_what_is_written(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "-n", "9", "--seed", "4", "--format", "json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document == json.loads(Path("samples/sample.json").read_text("utf-8"))
    assert document["request"] == {
        "generator": "demo",
        "samples": 9,
        "labels": None,
        "seed": 4,
        "set": [],
    }
    assert document["generator"]["plugin"] == "demo"
    assert len(document["generator"]["sha256"]) == 64
    assert document["assumptions"]
    assert document["environment"]["device"] == "cpu"


def test_without_a_place_the_folders_are_samples_and_those_that_follow(ganaudit: Run) -> None:
    for folder in ("samples", "samples-2"):
        ended = ganaudit(*DEMO, "-n", "2")
        assert ended.out.startswith(f"2 images of demo: {folder}\n")
        assert Path(folder, "sample.json").is_file()


def test_what_a_stranger_says_does_not_steer_the_terminal(ganaudit: Run) -> None:
    Path("bad.py").write_text(
        "import torch\n"
        "class Bad:\n"
        "    latent_shape, prior, num_labels = (3, 4, 4), 'normal', 0\n"
        "    assumptions = ('\\x1b[2J',)\n"
        "    def render(self, draws):\n"
        "        if 9 in draws.index.tolist(): raise ValueError('\\x1b[31m::error::')\n"
        "        print('I am no result')\n"
        "        return (128 + 40 * draws.latents).clamp(0, 255).to(torch.uint8)\n"
    )
    ended = ganaudit("sample", "--generator", "python:bad.py:Bad", "-n", "12")
    assert ended.code == 0
    assert "1 slot without an image: ValueError: " in ended.out
    assert "\x1b" not in ended.out + ended.err and "::error" not in ended.out
    assert "I am no result" not in ended.out and "I am no result" in ended.err


def test_every_setting_reaches_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    import ganaudit.sampling
    from ganaudit.cli import app

    seen: list[SampleConfig] = []

    def stand_in(config: SampleConfig, **how: Any) -> Sampled:
        seen.append(config)
        raise ConfigError("enough")

    monkeypatch.setattr(ganaudit.sampling, "sample", stand_in)
    monkeypatch.setattr("ganaudit.cli.running.leave", lambda code: None)
    words = (
        "--generator g -n 3 --out place --labels 2 --seed 9 --batch 5 --device cpu --set a=1 "
        "--set b=2 --plugin p.py --trust --strict-source --max-requests 7 --timeout-s 1.5 "
        "--format json --calibrator c.json"
    )
    CliRunner().invoke(app, ["sample", *words.split()])
    (config,) = seen
    given = {
        "generator": "g",
        "samples": 3,
        "out": Path("place"),
        "labels": "2",
        "seed": 9,
        "batch": 5,
        "device": "cpu",
        "set": ("a=1", "b=2"),
        "plugin": ("p.py",),
        "trust": True,
        "strict_source": True,
        "max_requests": 7,
        "timeout_s": 1.5,
        "calibrator": Path("c.json"),
        "format": "json",
    }
    assert {name: value for name, value in asdict(config).items() if name != "origins"} == given


def test_settings_come_from_the_verbs_own_table_and_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("pyproject.toml").write_text(
        "[tool.ganaudit]\nseed = 1\n[tool.ganaudit.sample]\nsamples = 5\ngenerator = 'demo'\n"
    )
    monkeypatch.setenv("GANAUDIT_SAMPLE_BATCH", "2")
    config = resolve(SampleConfig, {})
    assert config == SampleConfig(generator="demo", samples=5, batch=2)
    assert config.origins["samples"] == "[tool.ganaudit.sample]"


def test_a_full_disk_is_one_sentence_and_code_6_and_leaves_what_was_written(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "-n", "40", "--out", "made", fsize=4096)  # the latents take 5 KiB
    assert (ended.code, ended.out) == (6, "")
    assert ended.complaint.startswith("made/latents.npy cannot be written: ")
    assert "ganaudit: what was made is kept in made" in ended.err.splitlines()
    assert set(pictures(Path("made"))) == set(range(40))
    assert {path.name for path in Path("made").iterdir()} == {"images"}


def test_what_is_written_stays_when_it_is_interrupted(
    start: Callable[..., Command], slow_toy: tuple[str, ...]
) -> None:
    Path("slow").touch()
    command = start("sample", *slow_toy[1:3], "-n", "4000", "--batch", "4", "--out", "made")
    deadline = time.monotonic() + 60
    while len(list(Path().glob("made/images/*.png"))) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    command.interrupt()
    ended = command.wait()
    assert (ended.code, ended.out) == (130, "")
    assert ended.complaint == "interrupted"
    assert ended.err.splitlines()[-1] == "ganaudit: what was made is kept in made"
    images, table = pictures(Path("made")), rows(Path("made"))
    assert 8 <= len(images) < 4000 and 0 <= len(images) - len(table) <= 4
    assert all((Path("made") / row["file"]).is_file() for row in table)
    assert {path.name for path in Path("made").iterdir()} == {"images", "samples.csv"}
