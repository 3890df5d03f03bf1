import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile_pictures
import numpy as np
import pytest
import torch
from PIL import Image
from test_arrays import idx_file, some_bytes
from test_pictures import png, write_folder, write_zip

from ganaudit.errors import ConfigError
from ganaudit.generators import BlindGenerator
from ganaudit.slots import Stream, draw
from ganaudit.training import reading
from ganaudit.training.data import Batches, TrainingData, read_training_data
from ganaudit.training.squares import grey, square


def saved(images: np.ndarray, name: str = "some.npz", **more: Any) -> str:
    np.savez(name, images=images, **more)
    return name


def folder_of(name: str, *sizes: tuple[int, int]) -> str:
    """RGB pictures 0.png, 1.png, ... of some heights and widths."""
    files = {f"{i}.png": png(some_bytes(*size, 3, seed=i)) for i, size in enumerate(sizes)}
    return str(write_folder(Path(name), files))


# -- pictures of one size ---------------------------------------------------------------------


def test_a_picture_of_the_size_is_left_alone_whatever_the_fit() -> None:
    picture = some_bytes(3, 8, 8)
    for fit in ("refuse", "crop", "pad", "resize"):
        found, enlarged = square(picture, size=8, fit=fit, what="it")
        assert found is picture and not enlarged


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(28, 28, 2, 2), (5, 8, 13, 12), (31, 32, 0, 0)]
)
def test_padding_puts_black_evenly_around(height: int, width: int, top: int, left: int) -> None:
    picture = some_bytes(3, height, width) | 1  # nothing in it is black
    found, enlarged = square(picture, size=32, fit="pad", what="it")
    expected = np.zeros((3, 32, 32), np.uint8)
    expected[:, top : top + height, left : left + width] = picture
    np.testing.assert_array_equal(found, expected)
    assert not enlarged


def test_cropping_takes_the_middle_square() -> None:
    picture = some_bytes(3, 6, 11)
    found, enlarged = square(picture, size=6, fit="crop", what="it")
    np.testing.assert_array_equal(found, picture[:, :, 2:8])  # 11 - 6 = 5: 2 left, 3 right
    assert not enlarged
    turned, _ = square(picture.transpose(0, 2, 1), size=6, fit="crop", what="it")
    np.testing.assert_array_equal(turned, found.transpose(0, 2, 1))


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_resizing_averages_and_keeps_plain_areas(fit: str) -> None:
    stripes = np.zeros((3, 64, 64), np.uint8)
    stripes[:, :, ::2] = 200  # of one pixel: a window that only picks would keep some
    found, enlarged = square(stripes, size=16, fit=fit, what="it")
    assert not enlarged
    assert np.abs(found[:, :, 2:-2].astype(int) - 100).max() <= 8
    halves = np.zeros((3, 64, 128), np.uint8)
    halves[:, :, 64:] = 200
    found, _ = square(halves, size=16, fit=fit, what="it")
    np.testing.assert_array_equal(found[:, :, :4], 0)
    np.testing.assert_array_equal(found[:, :, 12:], 200)


def test_squeezing_keeps_the_edges_that_cropping_drops() -> None:
    picture = np.zeros((3, 32, 64), np.uint8)
    picture[:, :, :16] = 255  # the left quarter, all of it outside the middle square
    squeezed, _ = square(picture, size=16, fit="resize", what="it")
    cropped, _ = square(picture, size=16, fit="crop", what="it")
    assert squeezed[:, :, :3].min() > 250 and cropped[:, :, 2:].max() == 0


@pytest.mark.parametrize(
    ("shape", "fit", "enlarged"),
    [((9, 20), "crop", True), ((10, 20), "crop", False), ((20, 9), "resize", True)],
)
def test_what_had_to_be_enlarged_is_told(shape: tuple[int, int], fit: str, enlarged: bool) -> None:
    picture = some_bytes(3, *shape)
    assert square(picture, size=10, fit=fit, what="it")[1] is enlarged


def test_grey_is_the_luma_of_itu_r_601() -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 100, 200]], np.uint8)
    found = grey(np.ascontiguousarray(colours.T)[:, :, None])
    # .299 R + .587 G + .114 B: 76.245, 149.685, 29.07, 84.49
    assert found[0, :, 0].tolist() == [76, 150, 29, 84]
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
    np.testing.assert_array_equal(grey(levels)[0, 0], np.arange(256))


# -- what is read -----------------------------------------------------------------------------


def test_the_same_pictures_are_the_same_data_however_they_are_kept() -> None:
    values = some_bytes(6, 8, 8, 3)
    files = {f"{i}.png": png(image) for i, image in enumerate(values)}
    paths = [saved(values), str(write_folder(Path("some"), files))]
    paths.append(str(write_zip(Path("some.zip"), files)))
    found = [read_training_data(path) for path in paths]
    for data in found:
        assert data.images.dtype == torch.uint8 and data.image_shape == (3, 8, 8) and len(data) == 6
        np.testing.assert_array_equal(data.images.numpy(), values.transpose(0, 3, 1, 2))
        assert data.labels is None and data.num_labels == 0 and not data.are_points
    digests = {data.identity["sha256"] for data in found}
    expected = np.ascontiguousarray(values.transpose(0, 3, 1, 2)).tobytes()
    assert digests == {sha256(expected).hexdigest()}
    assert [data.identity["name"] for data in found] == ["some.npz", "some", "some.zip"]


def test_grey_pictures_have_one_channel_unless_one_has_colours() -> None:
    values = some_bytes(5, 8, 8)
    alone = read_training_data(saved(values))
    assert alone.image_shape == (1, 8, 8)
    np.testing.assert_array_equal(alone.images[:, 0].numpy(), values)
    mixed = np.stack([values] * 3, 3)
    mixed[3, 0, 0, 1] ^= 1
    with_colour = read_training_data(saved(mixed))
    assert with_colour.image_shape == (3, 8, 8)
    np.testing.assert_array_equal(with_colour.images.numpy(), mixed.transpose(0, 3, 1, 2))
    asked = read_training_data(saved(values), channels=3)
    assert asked.image_shape == (3, 8, 8)
    assert torch.equal(asked.images, alone.images.expand(5, 3, 8, 8))


def test_colours_are_made_grey_when_one_channel_is_asked_for_and_a_note_says_so() -> None:
    values = some_bytes(4, 8, 8, 3)
    values[2] = values[2, :, :, :1]  # grey already
    found = read_training_data(saved(values), channels=1)
    assert found.image_shape == (1, 8, 8)
    for stored, image in zip(values, found.images.numpy(), strict=True):
        np.testing.assert_array_equal(image, grey(stored.transpose(2, 0, 1)))
    assert found.notes == ("3 coloured pictures were made grey (--channels 1).",)


def test_modes_may_be_mixed_and_sizes_need_a_fit() -> None:
    folder = Path(folder_of("some", (8, 8), (12, 9)))
    Image.fromarray(some_bytes(8, 8)).save(folder / "grey.png")
    with pytest.raises(ConfigError, match="1.png has 9 x 12 pixels, not 8 x 8; say --size 8 --fit"):
        read_training_data(str(folder))
    found = read_training_data(str(folder), size=8, fit="crop")
    assert found.image_shape == (3, 8, 8) and len(found) == 3
    assert torch.equal(found.images[2, 0], found.images[2, 2])


def test_enlarged_pictures_and_repeats_are_noted() -> None:
    values = some_bytes(4, 6, 6)
    values[2] = values[0]
    found = read_training_data(saved(values), size=8, fit="resize")
    assert found.notes == (
        "4 of 4 pictures are smaller than 8 pixels and were enlarged.",
        "1 of 4 pictures repeat another to the last byte.",
    )


def test_how_the_pictures_were_made_is_part_of_their_identity() -> None:
    path = saved(some_bytes(4, 6, 6))
    padded = read_training_data(path, size=8, fit="pad")
    assert padded.identity["size"] == 8 and padded.identity["fit"] == "pad"
    resized = read_training_data(path, size=8, fit="resize")
    assert padded.identity["sha256"] != resized.identity["sha256"]
    assert read_training_data(path, size=8, fit="pad").identity == padded.identity


def test_progress_is_told_up_to_the_last_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_TOLD_EVERY", 2)
    told: list[tuple[str, int, int]] = []
    read_training_data(saved(some_bytes(5, 4, 4)), progress=lambda *what: told.append(what))
    assert told == [("pictures", done, 5) for done in (2, 4, 5)]


def test_data_that_would_not_fit_are_refused_before_they_are_read() -> None:
    grey_path = saved(some_bytes(10, 8, 8), "grey.npz")
    assert len(read_training_data(grey_path, most_bytes=640)) == 10
    with pytest.raises(ConfigError, match=r"grey.npz would take .*\(10 pictures of 1 x 8 x 8\)"):
        read_training_data(grey_path, most_bytes=639)
    coloured = saved(some_bytes(10, 8, 8, 3), "coloured.npz")
    with pytest.raises(ConfigError, match="pictures of 3 x 8 x 8.*; say a smaller --size"):
        read_training_data(coloured, most_bytes=1919)
    told: list[int] = []
    with pytest.raises(
        ConfigError, match="would take 1.9 GiB of memory .*, and 1.0 GiB may be used"
    ):
        read_training_data(
            coloured, size=8192, fit="pad", channels=3, most_bytes=2**30,
            progress=lambda what, done, total: told.append(done),
        )  # fmt: skip
    assert not told


# -- points -----------------------------------------------------------------------------------


def test_points_of_a_file_and_of_a_toy_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(9, 2))
    toys = {"ring": lambda: SimpleNamespace(points=points.astype(np.float32))}
    monkeypatch.setitem(sys.modules, "ganaudit.training.toys", SimpleNamespace(TOYS=toys))
    np.savez("points.npz", points=points)
    np.savez_compressed("packed.npz", points=points.astype(np.float16).astype(np.float64))
    for path in ("points.npz", "toy:ring"):
        found = read_training_data(path)
        assert (
            found.are_points and found.image_shape == (2,) and found.images.dtype == torch.float32
        )
        np.testing.assert_array_equal(found.images.numpy(), points.astype(np.float32))
        chosen = found.batch(torch.tensor([8, 0]), mirror=torch.Generator())
        np.testing.assert_array_equal(chosen.numpy(), points.astype(np.float32)[[8, 0]])
        with pytest.raises(ConfigError, match="points are no images"):
            found.source()
        assert found.identity["name"] == path and found.identity["count"] == 9
    assert len(read_training_data("packed.npz")) == 9
    with pytest.raises(ConfigError, match="toy:NAME: NAME is one of ring; did you mean toy:ring?"):
        read_training_data("toy:rnig")
    for option in ({"size": 8}, {"channels": 3}, {"labels": "folders"}, {"fit": "pad"}):
        with pytest.raises(ConfigError, match="holds points; --size, --channels, --fit and --lab"):
            read_training_data("toy:ring", **option)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((4, 3)), r"floating point \[N, 2\], got float64 \[4, 3\]"),
        (np.zeros((4, 2), int), r"floating point \[N, 2\], got int64 \[4, 2\]"),
        (np.zeros((0, 2)), "at least one point"),
        (np.zeros((99, 2)), "no more than fit in memory"),
        (np.array([[0, np.nan]]), "holds NaN or infinite values"),
        (np.array([[0, 1e300]]), "holds NaN or infinite values"),
    ],
)
def test_points_that_cannot_be_are_refused(points: np.ndarray, message: str) -> None:
    np.savez("points.npz", points=points)
    with pytest.raises(ConfigError, match=message):
        read_training_data("points.npz", most_bytes=1000)


# -- labels -----------------------------------------------------------------------------------

LABELS = [2, 0, 1, 2]


def label_files() -> list[str]:
    """The same labels in every format."""
    Path("labels.txt").write_text("2\n0\n1\n2\n")
    np.save("labels.npy", np.array(LABELS, np.int32))
    for name in ("labels-idx1-ubyte", "labels.gz"):
        idx_file(Path(name), np.array(LABELS, np.uint8))
    return ["labels.txt", "labels.npy", "labels-idx1-ubyte", "labels.gz"]


def test_labels_of_every_format_go_by_the_order_of_the_pictures() -> None:
    path, images = saved(some_bytes(4, 8, 8)), idx_file(Path("images.idx"), some_bytes(4, 8, 8))
    for name in label_files():
        for data in (path, str(images)):
            found = read_training_data(data, labels=name)
            assert found.labels is not None and found.labels.dtype == torch.int64
            assert found.labels.tolist() == LABELS and found.num_labels == 3
            digest = sha256(np.array(LABELS, "<i8").tobytes()).hexdigest()
            said = {"classes": 3, "source": name, "sha256": digest}
            assert found.identity["labels"] == said


def test_an_npz_brings_its_own_labels_and_a_file_goes_before_them() -> None:
    path = saved(some_bytes(4, 8, 8), labels=np.array([0, 1, 0, 1]))
    own = read_training_data(path)
    assert own.labels is not None and own.labels.tolist() == [0, 1, 0, 1]
    asked = read_training_data(path, labels=label_files()[0])
    assert asked.labels is not None and asked.labels.tolist() == LABELS


def test_labels_that_nobody_asked_for_and_cannot_be_used_are_a_note() -> None:
    found = read_training_data(saved(some_bytes(4, 8, 8), labels=np.zeros(3, int)))
    assert found.labels is None and found.num_labels == 0 and "labels" not in found.identity
    assert found.notes == (
        "The labels in the data are not used: the array 'labels' has 3 labels for 4 pictures.",
    )


def test_class_folders_are_numbered_in_the_order_of_their_names() -> None:
    files = {
        f"{name}/{i}.png": png(some_bytes(4, 4, seed=10 * ord(name[0]) + i))
        for name, count in (("dog", 2), ("cat", 1), ("cat/small", 1), ("eel", 3))
        for i in range(count)
    }
    below = {f"all/of/it/{name}": data for name, data in files.items()}
    for data in (
        write_folder(Path("some"), files),
        write_zip(Path("some.zip"), files),
        write_zip(Path("below.zip"), below),
    ):
        found = read_training_data(str(data), labels="folders")
        assert found.labels is not None
        assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 2] and found.num_labels == 3
        assert found.identity["labels"]["names"] == ["cat", "dog", "eel"]
    assert read_training_data("some").num_labels == 0  # nobody asked


def test_dataset_json_is_read_in_a_folder_in_a_zip_and_below_its_only_folder() -> None:
    files = {f"{i // 2:05}/img{i}.png": png(some_bytes(4, 4, seed=i)) for i in range(4)}
    entries = [[name, label] for name, label in zip(sorted(files), LABELS, strict=True)]
    said = {"dataset.json": json.dumps({"labels": entries[::-1] + [["gone.png", 7]]}).encode()}
    everything = files | said
    moved = {f"top/{name}": data for name, data in everything.items()}
    for data in (
        write_folder(Path("some"), everything),
        write_zip(Path("some.zip"), everything),
        write_zip(Path("moved.zip"), moved),
    ):
        for wanted in (None, "dataset.json"):
            found = read_training_data(str(data), labels=wanted)
            assert found.labels is not None and found.labels.tolist() == LABELS
    Path("elsewhere.json").write_bytes(said["dataset.json"])
    bare = write_folder(Path("bare"), files)
    found = read_training_data(str(bare), labels="elsewhere.json")
    assert found.labels is not None and found.labels.tolist() == LABELS
    none = write_folder(Path("none"), files | {"dataset.json": b'{"labels": null}'})
    assert read_training_data(str(none)).labels is None
    for path in (none, bare):
        with pytest.raises(ConfigError, match="no such file among the pictures, or it has no lab"):
            read_training_data(str(path), labels="dataset.json")


def test_classes_without_a_picture_are_noted() -> None:
    path = saved(some_bytes(4, 8, 8), labels=np.array([0, 3, 0, 1]))
    found = read_training_data(path)
    assert found.num_labels == 4 and found.notes == ("1 of 4 classes have no picture.",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 0 1", "l.txt has 3 labels for 4 pictures"),
        ("1 0 1 0 1", "l.txt has 5 labels for 4 pictures"),
        ("1 0 -1 0", "numbers from 0 and below 4, got -1"),
        ("1 0 4 0", "numbers from 0 and below 4, got 4"),
        ("1 0 cat 0", "must hold a class number a line, got 'cat'"),
    ],
)
def test_labels_that_disagree_with_the_pictures_are_refused(content: str, message: str) -> None:
    Path("l.txt").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_training_data(saved(some_bytes(4, 8, 8)), labels="l.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b'{"labels": {"0.png": 1}}', "must hold {.labels.: "),
        (b'[["0.png", 1], ["1.png"]]', r"a name and a class number for each picture, got \['1"),
        (b'[["0.png", 1], ["1.png", [0, 1]]]', "a name and a class number for each picture"),
        (b'[["0.png", 1], ["1.png", true]]', "a name and a class number for each picture"),
        (b'[["0.png", 1], ["1.png", 1e400]]', "a name and a class number for each picture"),
        (b'[["0.png", 1], ["1.png", 99999999999999999999]]', "a name and a class number"),
        (b'[["0.png", 0]]', "has no label for 1 of 2 pictures, of which one is 1.png"),
        (b'[["0.png", 0], ["1.png", -1]]', "numbers from 0 and below 2, got -1"),
    ],
)
def test_a_hostile_dataset_json_is_one_sentence(content: bytes, message: str) -> None:
    folder = folder_of("some", (4, 4), (4, 4))
    Path(folder, "dataset.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_training_data(folder, labels="dataset.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert read_training_data(folder).notes[0].startswith("The labels in the data are not used: ")


def test_labels_that_are_not_there_are_refused_with_what_is_known() -> None:
    array = saved(some_bytes(4, 8, 8))
    for wanted in ("folders", "dataset.json"):
        with pytest.raises(ConfigError, match=f"--labels {wanted}"):
            read_training_data(array, labels=wanted)
    with pytest.raises(ConfigError, match="goes by the names of the pictures, which those of an"):
        read_training_data(array, labels="folders")
    with pytest.raises(ConfigError, match="wants folders, dataset.json or a file; .* absent.txt"):
        read_training_data(array, labels="absent.txt")
    files = {name: png(some_bytes(4, 4)) for name in ("cat/a.png", "b.png")}
    loose = write_folder(Path("loose"), files)
    with pytest.raises(ConfigError, match="b.png lies in no folder of a class; sort the pictures"):
        read_training_data(str(loose), labels="folders")


# -- bad data ---------------------------------------------------------------------------------


def encrypted() -> str:
    path = write_zip(Path("locked.zip"), {"a.png": png(some_bytes(4, 4))})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    return str(path)


def with_file(name: str, data: bytes) -> str:
    """A good picture, and this beside it."""
    Path(folder_of("some", (8, 8)), name).write_bytes(data)
    return "some"


def cut_png() -> bytes:
    return png(some_bytes(64, 64, 3))[:2000]


def encoded(kind: str, picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def written(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


def link_to_itself() -> str:
    Path("round").symlink_to("round")
    return "round"


def empty_folder() -> str:
    Path("empty").mkdir()
    return "empty"


def objects() -> str:
    return saved(np.array([{}], dtype=object), "objects.npz")


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "absent": (lambda: "absent", "absent: no such file or folder"),
    "empty folder": (empty_folder, "empty holds no pictures"),
    "loop": (link_to_itself, "round: no such file or folder"),
    "text": (lambda: written("words.txt", b"words"), "words.txt holds no pictures that are known"),
    "text as npz": (lambda: written("w.npz", b"words"), "w.npz holds no pictures that are known"),
    "objects": (objects, "objects.npz: the array 'images' holds Python objects"),
    "cut idx": (
        lambda: written("cut.gz", gzip.compress(bytes([0, 0, 8, 3]) + bytes(9))),
        "cut.gz is damaged, or no idx file",
    ),
    "locked": (encrypted, "locked.zip is encrypted; unpack it into a folder first"),
    "corrupt": (
        lambda: with_file("9.png", cut_png()),
        "9.png cannot be read as a picture: .*; mend this picture or take it away",
    ),
    "corrupt in a zip": (
        lambda: str(write_zip(Path("bad.zip"), {"a.png": cut_png()})),
        "bad.zip: a.png cannot be read as a picture",
    ),
    "huge": (
        lambda: with_file("9.png", hostile_pictures.png_file(40_000, 25_000)),
        "9.png.* pixels.*; mend this picture or take it away",
    ),
    "CMYK": (
        lambda: with_file("9.jpg", encoded("JPEG", Image.new("CMYK", (8, 8)))),
        "9.jpg: 8-bit grey or RGB wanted, got mode CMYK",
    ),
    "16 bits": (
        lambda: with_file("9.png", encoded("PNG", Image.new("I;16", (8, 8)))),
        "9.png: 8-bit grey or RGB wanted, got mode I;16",
    ),
    "other size": (
        lambda: folder_of("some", (8, 8), (8, 8), (8, 9)),
        "2.png has 9 x 8 pixels, not 8 x 8; say --size 8 --fit crop, resize or pad",
    ),
    "no square": (
        lambda: folder_of("some", (8, 9), (8, 9)),
        "0.png has 9 x 8 pixels, which is no square; say --size 8 --fit crop, resize or pad",
    ),
    "array of no squares": (
        lambda: saved(some_bytes(4, 8, 9)),
        "picture 0 of some.npz has 9 x 8 pixels, which is no square",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_one_sentence_that_names_the_file(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(ConfigError, match=message) as caught:
        read_training_data(make())
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_a_fit_that_cannot_be_is_refused() -> None:
    path = folder_of("some", (8, 8), (20, 8))
    with pytest.raises(ConfigError, match="--fit crop needs the --size, in pixels, of the result"):
        read_training_data(path, fit="crop")
    with pytest.raises(ConfigError, match="1.png has 8 x 20 pixels, more than 16 x 16; say --fit"):
        read_training_data(path, fit="pad", size=16)
    for size in (0, -1, 2**13 + 1):
        with pytest.raises(ConfigError, match=r"--size must be in \[1, 8192\], got"):
            read_training_data(path, size=size)


def test_a_picture_that_vanishes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(folder_of("some", (8, 8), (8, 8)))
    first = reading.square

    def stealing(*args: Any, **how: Any) -> Any:
        (path / "1.png").unlink(missing_ok=True)
        return first(*args, **how)

    monkeypatch.setattr(reading, "square", stealing)
    with pytest.raises(ConfigError, match="some/1.png cannot be read as a picture: .*No such file"):
        read_training_data(str(path))


def test_an_npz_that_is_damaged_behind_its_headers_is_refused() -> None:
    np.savez_compressed("a.npz", images=some_bytes(40, 20, 20))
    data = bytearray(Path("a.npz").read_bytes())
    data[len(data) // 2] ^= 255
    Path("a.npz").write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="a.npz is damaged|a.npz: the array 'images' cannot"):
        read_training_data("a.npz")
    with zipfile.ZipFile("empty.npz", "w"):
        pass
    with pytest.raises(ConfigError, match="empty.npz holds no pictures"):
        read_training_data("empty.npz")


# -- batches as networks take them ------------------------------------------------------------


def some_data(count: int = 40, channels: int = 3) -> TrainingData:
    images = torch.from_numpy(some_bytes(count, channels, 5, 5))
    return TrainingData(images=images, identity={"sha256": "0"})


def test_a_batch_goes_from_minus_one_to_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = TrainingData(images=levels, identity={}).batch(torch.tensor([0]))
    assert found.dtype == torch.float32 and found.shape == (1, 1, 16, 16)
    expected = np.arange(256) / 127.5 - 1
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=0, atol=1e-7)
    assert found.min() == -1 and found.max() == 1


def test_a_batch_holds_what_was_asked_for_in_its_order_and_leaves_the_data_alone() -> None:
    data = some_data()
    before = data.images.clone()
    order = torch.tensor([7, 7, 0, 39])
    found = data.batch(order, mirror=torch.Generator().manual_seed(0))
    assert torch.equal(data.images, before)
    plain = data.batch(order, device=torch.device("cpu"))
    assert torch.equal(((plain + 1) * 127.5).round().to(torch.uint8), before[order])
    for image, mirrored in zip(plain, found, strict=True):
        assert torch.equal(mirrored, image) or torch.equal(mirrored, image.flip(2))


def test_half_of_the_images_are_mirrored_by_the_generator_that_is_given() -> None:
    data, order = some_data(400), torch.arange(400)
    plain = data.batch(order)
    first = data.batch(order, mirror=torch.Generator().manual_seed(5))
    again = data.batch(order, mirror=torch.Generator().manual_seed(5))
    other = data.batch(order, mirror=torch.Generator().manual_seed(6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    turned = int((first != plain).flatten(1).any(1).sum())
    assert 150 < turned < 250  # five standard deviations of 400 draws are 50


@pytest.mark.parametrize("channels", [1, 3])
def test_the_images_are_a_collection_for_audits(channels: int) -> None:
    data = some_data(9, channels)
    source = data.source()
    assert isinstance(source, BlindGenerator) and source.size == 9 and source.seedable
    found = dict(source.stream(draw(np.array([8, 2]), seed=0, stream=Stream.SAMPLES)))
    assert list(found) == [8, 2]
    for number, image in found.items():
        assert isinstance(image, torch.Tensor) and image.dtype == torch.uint8
        assert torch.equal(image, data.images[number].expand(3, 5, 5)) and image.is_contiguous()
    assert source.identity == {"training_data": {"sha256": "0"}}


# -- which items a step takes -----------------------------------------------------------------


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (12, 4), (7, 7), (5, 1), (9, 8)])
def test_every_item_comes_once_an_epoch_whether_or_not_the_batch_divides(
    count: int, batch: int
) -> None:
    batches = Batches(count, batch, 3)
    stream = torch.cat([batches.indices(step) for step in range(3 * count)]).tolist()
    assert len(stream) == 3 * count * batch
    for epoch in range(3 * batch):
        assert sorted(stream[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_a_step_depends_on_its_number_alone() -> None:
    batches = Batches(50, 8, 0)
    forward = [batches.indices(step) for step in range(40)]
    for step in (39, 0, 17, 6, 7, 30, 1):
        assert torch.equal(batches.indices(step), forward[step])
        assert torch.equal(Batches(50, 8, 0).indices(step), forward[step])
    assert forward[0].dtype == torch.int64 and forward[0].shape == (8,)
    assert Batches(50, 8, 0).indices(10**12).shape == (8,)


def test_orders_differ_by_epoch_and_by_seed_and_are_spread_evenly() -> None:
    first = Batches(1000, 1000, 0)
    orders = [first.indices(0), first.indices(1), Batches(1000, 1000, 1).indices(0)]
    for i, one in enumerate(orders):
        for other in orders[:i]:  # of a shuffle, one item stays in place on average
            assert int((one == other).sum()) < 10
    halves = torch.stack([first.indices(epoch)[:500] for epoch in range(200)]).flatten()
    seen = torch.bincount(halves, minlength=1000)
    # each of 200 epochs has an item in its first half or not: 100, standard deviation 7.1
    assert 60 < int(seen.min()) and int(seen.max()) < 140


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_ranks_share_a_batch_out_in_order(world: int) -> None:
    whole, shared = Batches(10, 6, 2), Batches(10, 6, 2)
    for step in range(20):
        parts = [shared.indices(step, world, rank) for rank in range(world)]
        assert {len(part) for part in parts} == {6 // world}
        assert torch.equal(torch.cat(parts), whole.indices(step))


def test_what_cannot_be_shared_out_or_is_too_few_is_refused() -> None:
    with pytest.raises(ConfigError, match="--batch 8 wants more than the 7 items of the data; say"):
        Batches(7, 8, 0)
    batches = Batches(8, 6, 0)
    for step, world, rank in ((0, 4, 0), (0, 2, 2), (0, 2, -1), (-1, 1, 0)):
        with pytest.raises(ValueError, match="batch 6, step"):
            batches.indices(step, world, rank)
