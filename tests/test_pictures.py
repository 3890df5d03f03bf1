import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import hostile_pictures
import numpy as np
import pytest
import torch
from PIL import Image
from test_arrays import idx_file, some_bytes

from ganaudit import pictures, registry
from ganaudit.errors import ConfigError, SourceError
from ganaudit.generators import BlindGenerator, Failure
from ganaudit.pictures import PictureArray, PictureFolder, PictureZip, kind_of, open_pictures
from ganaudit.pipeline import diagnose
from ganaudit.slots import Stream, draw
from ganaudit.testing import check_plugin


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def picture_files() -> dict[str, bytes]:
    """Of all shapes, in sub-folders."""
    return {
        "b.png": png(some_bytes(4, 6, 3, seed=1)),
        "below/a.PNG": png(some_bytes(5, 5, seed=2)),
        "a.png": png(some_bytes(3, 7, 4, seed=3)),
        "notes.txt": b"no picture",
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def all_images(found: Any) -> list[torch.Tensor]:
    return [found.image(number) for number in range(len(found))]


# -- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_holds_what_its_folder_holds(how: int) -> None:
    folder = open_pictures(write_folder(Path("some"), picture_files()))
    packed = open_pictures(write_zip(Path("some.zip"), picture_files(), how))
    assert isinstance(folder, PictureFolder) and isinstance(packed, PictureZip)
    assert folder.names == packed.names == ["a.png", "b.png", "below/a.PNG"]
    for one, other in zip(all_images(folder), all_images(packed), strict=True):
        assert torch.equal(one, other)
    assert [tuple(image.shape) for image in all_images(packed)] == [(3, 3, 7), (3, 4, 6), (3, 5, 5)]


def test_the_identity_of_a_folder_is_the_names_and_sizes_of_its_files() -> None:
    files = picture_files()
    found = open_pictures(write_folder(Path("some"), files))
    names = ["a.png", "b.png", "below/a.PNG"]
    listing = "\n".join(f"{name} {len(files[name])}" for name in names)
    assert found.identity == {"files": 3, "listing_sha256": sha256(listing.encode()).hexdigest()}


def test_the_identity_of_a_zip_changes_with_a_picture_and_not_with_its_packing() -> None:
    files = picture_files()
    paths = [
        write_zip(Path("one.zip"), files),
        write_zip(Path("two.zip"), dict(reversed(files.items())), zipfile.ZIP_STORED),
        write_zip(Path("other.zip"), files | {"a.png": png(some_bytes(3, 7, 4, seed=4))}),
    ]
    assert len(png(some_bytes(3, 7, 4, seed=4))) == len(files["a.png"])  # the checksum differs
    one, two, other = (open_pictures(path).identity for path in paths)
    assert one == two and one["files"] == 3
    assert one["listing_sha256"] != other["listing_sha256"]


def test_what_macos_and_file_managers_add_is_no_picture() -> None:
    files = {name: png(some_bytes(4, 4)) for name in ("x/a.png", ".b.png", "x/.hidden/c.png")}
    junk = {"__MACOSX/x/._a.png": b"Mac OS X", "__MACOSX/x/a.png": b"Mac OS X", "x/d.png/": b""}
    found = open_pictures(write_zip(Path("a.zip"), files | junk))
    assert isinstance(found, PictureZip)
    assert found.names == ["x/a.png"]


def test_every_layout_of_an_array_shows_the_same_pictures() -> None:
    values = some_bytes(5, 6, 7, 3)
    for name, stored in (("last", values), ("first", values.transpose(0, 3, 1, 2))):
        np.savez(f"{name}.npz", images=stored)
        found = open_pictures(Path(f"{name}.npz"))
        assert isinstance(found, PictureArray)
        for number in range(5):
            expected = torch.from_numpy(values[number].transpose(2, 0, 1).copy())
            assert torch.equal(found.image(number), expected)
    np.savez_compressed("grey.npz", images=values[..., 0])
    grey = open_pictures(Path("grey.npz"))
    expected = torch.from_numpy(values[3, :, :, 0].copy()).expand(3, 6, 7)
    assert torch.equal(grey.image(3), expected)
    np.savez("clear.npz", images=np.concatenate([values, np.zeros_like(values[..., :1])], 3))
    assert bool((open_pictures(Path("clear.npz")).image(0) == 255).all())  # nothing there: white


def test_idx_files_show_what_was_written() -> None:
    values = some_bytes(5, 6, 7)
    for name in ("t-idx3-ubyte", "t-idx3-ubyte.gz", "t.idx"):
        found = open_pictures(idx_file(Path(name), values))
        assert len(found) == 5
        assert torch.equal(found.image(4), torch.from_numpy(values[4]).expand(3, 6, 7))
        digest = sha256(Path(name).read_bytes()).hexdigest()
        assert found.identity == {"images": 5, "sha256": digest}


def test_the_labels_of_an_npz_are_read_when_they_are_asked_for() -> None:
    images = some_bytes(3, 4, 4)
    for labels in (np.array([2, 0, 1]), np.array([[2], [0], [1]], np.uint8)):
        np.savez("a.npz", images=images, labels=labels)
        found = open_pictures(Path("a.npz"))
        assert isinstance(found, PictureArray)
        read = found.labels()
        assert read is not None and read.tolist() == [2, 0, 1] and read.dtype == np.int64
    for wrong in (np.zeros(3), np.zeros((3, 10), int)):
        np.savez("a.npz", images=images, labels=wrong)
        found = open_pictures(Path("a.npz"))  # an audit has no need of them
        assert isinstance(found, PictureArray)
        with pytest.raises(ConfigError, match="the array 'labels' must be a vector of whole num"):
            found.labels()


def test_a_file_beside_the_pictures_is_found_in_the_root_or_the_only_folder() -> None:
    files = picture_files() | {"dataset.json": b"{}"}
    assert PictureFolder(write_folder(Path("some"), files)).beside("dataset.json") == b"{}"
    assert PictureFolder(Path("some")).beside("absent.json") is None
    packed = write_zip(Path("a.zip"), files | {"below/dataset.json": b"[]"})
    assert PictureZip(packed).beside("dataset.json") == b"{}"
    moved = {f"top/{name}": data for name, data in files.items()}
    assert PictureZip(write_zip(Path("b.zip"), moved)).beside("dataset.json") == b"{}"
    assert PictureZip(packed).beside("absent.json") is None


def test_a_file_beside_the_pictures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    files = picture_files() | {"dataset.json": b"[" + b" " * 2**20 + b"]"}
    folder, packed = write_folder(Path("some"), files), write_zip(Path("a.zip"), files)
    monkeypatch.setattr(pictures, "_MOST_BESIDE", 2**20)
    for found in (PictureFolder(folder), PictureZip(packed)):
        with pytest.raises(ConfigError, match="dataset.json is larger than 1 MiB"):
            found.beside("dataset.json")


# -- what is refused --------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        open_pictures(path)
    said = str(caught.value)
    assert "\n" not in said and str(path) in said
    return said


def test_folders_without_pictures_are_refused_even_with_links_that_lead_nowhere() -> None:
    folder = write_folder(Path("some"), {"notes.txt": b"x"})
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "up").symlink_to("..")
    assert "holds no pictures (.bmp, .gif" in refusal(folder)
    write_folder(folder, {"a.png": png(some_bytes(4, 4))})
    assert PictureFolder(folder).names == ["a.png"]
    Path("round").symlink_to("round")
    assert "no such file or folder" in refusal(Path("round"))


def test_files_of_other_kinds_are_refused_with_what_is_wanted() -> None:
    Path("words.txt").write_text("no pictures at all")
    Path("empty.npz").write_bytes(b"")
    for name in ("words.txt", "empty.npz"):
        assert "wanted is a folder, a .zip of pictures, an .npz with" in refusal(Path(name))
    Path("one.png").write_bytes(png(some_bytes(4, 4)))
    assert refusal(Path("one.png")).endswith("is one picture; name the folder of all of them")
    os.mkfifo("pipe")
    assert "no such file or folder" in refusal(Path("pipe"))
    labels = idx_file(Path("labels-idx1-ubyte"), some_bytes(6))
    assert "idx file of images" in refusal(labels)
    floats = idx_file(Path("floats"), some_bytes(2, 2, 8), kind=13)
    assert "got type 13" in refusal(floats)
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(ConfigError, match="no such file or folder|cannot be read"):
            open_pictures(Path(name))


def test_zips_that_cannot_be_trusted_are_refused_in_one_sentence() -> None:
    files = {name: png(some_bytes(4, 4)) for name in ("a.png", "b.png")}
    packed = write_zip(Path("good.zip"), files).read_bytes()

    def patched(name: str, at: int, value: bytes) -> Path:
        """With other bytes in the first entry of its table of contents."""
        data = bytearray(packed)
        central = data.index(b"PK\x01\x02") + at
        data[central : central + len(value)] = value
        Path(name).write_bytes(bytes(data))
        return Path(name)

    assert refusal(patched("locked.zip", 8, b"\1\0")).endswith(
        "locked.zip is encrypted; unpack it into a folder first"
    )
    large = patched("large.zip", 24, struct.pack("<I", 2**32 - 2))
    assert "a.png would unpack to 4,294,967,294 bytes, which no picture has" in refusal(large)
    again = patched("again.zip", 46, b"b.png")
    assert "with two entries of one name" in refusal(again)
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "another method than deflate" in refusal(write_zip(Path("o.zip"), files, how))
    Path("cut.zip").write_bytes(packed[:-30])
    assert "cannot be read as a zip archive" in refusal(Path("cut.zip"))
    assert "holds no pictures" in refusal(write_zip(Path("none.zip"), {"notes.txt": b"x"}))


def test_an_entry_that_unpacks_to_more_than_it_says_is_not_followed() -> None:
    data = bytearray(write_zip(Path("a.zip"), {"a.png": bytes(2**22)}).read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(signature) + at
        data[start : start + 4] = struct.pack("<I", 10)
    Path("a.zip").write_bytes(bytes(data))
    with pytest.raises(SourceError, match="a.zip: a.png cannot be unpacked: BadZipFile: Bad CRC"):
        open_pictures(Path("a.zip")).image(0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": some_bytes(2, 4, 4)}, "has no array 'images'; it has x_train"),
        ({"images": np.zeros((2, 4, 4), np.float32)}, "must be uint8, 0 to 255, got float32"),
        ({"images": some_bytes(2, 4)}, r"\[N, C, H, W\] .*; shape \[2, 4\] is neither"),
        ({"images": some_bytes(2, 5, 5, 5)}, r"shape \[2, 5, 5, 5\] is neither"),
        ({"images": some_bytes(2, 3, 5, 3)}, r"shape \[2, 3, 5, 3\] may be either"),
        ({"images": some_bytes(0, 4, 4)}, r"pictures of 1 to .* pixels, got .* \[0, 4, 4\]"),
        ({"images": some_bytes(2, 0, 4)}, r"pictures of 1 to .* pixels, got .* \[2, 0, 4\]"),
        ({"images": some_bytes(1, 2**13, 2**13 + 1)}, "pictures of 1 to 67,108,864 pixels"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(arrays: dict[str, Any], message: str) -> None:
    np.savez("a.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        open_pictures(Path("a.npz"))


def test_objects_in_an_npz_are_not_loaded() -> None:
    np.savez("a.npz", images=np.array([{}, []], dtype=object))
    assert "holds Python objects, which are not loaded" in refusal(Path("a.npz"))


def test_hostile_pictures_in_a_zip_fail_one_by_one() -> None:
    hostile = hostile_pictures.pictures()
    found = PictureZip(
        write_zip(Path("a.zip"), {f"{name.replace('/', '')}.png": d for name, d in hostile.items()})
    )
    read = set()
    for number, name in enumerate(found.names):
        try:
            assert found.image(number).shape == (3, 8, 8)
            read.add(name.removesuffix(".png"))
        except SourceError as error:
            assert f"a.zip: {name}" in str(error)
    assert read == {"GIF", "TIFF", "BMP", "PPM"}  # which a service's answer may not be, a file may


# -- the plugin -------------------------------------------------------------------------------


def test_a_path_is_told_apart_by_its_content() -> None:
    np.savez("a.npz", images=some_bytes(2, 4, 4))
    Path("b.zip").write_bytes(Path("a.npz").read_bytes())
    write_zip(Path("c.npz"), picture_files())
    Path("d").mkdir()
    idx_file(Path("e.gz"), some_bytes(2, 4, 4))
    kinds = [kind_of(Path(name)) for name in ("a.npz", "b.zip", "c.npz", "d", "e.gz")]
    assert kinds == ["npz", "npz", "zip", "folder", "idx"]


def test_every_collection_is_a_plugin_that_keeps_its_contract() -> None:
    files = {f"{i}.png": png(some_bytes(5, 6, 3, seed=i)) for i in range(6)} | {"7.png": b"broken"}
    np.savez("a.npz", images=some_bytes(6, 5, 6, 3))
    idx_file(Path("a.gz"), some_bytes(6, 5, 6))
    write_zip(Path("a.zip"), files)
    for name in ("a.npz", "a.gz", "a.zip"):
        check_plugin("generators", spec=f"images:{name}")


def test_a_broken_picture_in_a_zip_is_a_failure_of_its_own() -> None:
    write_zip(Path("a.zip"), {"a.png": png(some_bytes(4, 4)), "b.png": b"broken"})
    source, _, _ = registry.open_plugin("generators", "images:a.zip", {})
    assert isinstance(source, BlindGenerator) and source.size == 2
    found = dict(source.stream(draw(np.arange(2), seed=0, stream=Stream.SAMPLES)))
    assert isinstance(found[0], torch.Tensor)
    assert isinstance(found[1], Failure) and "a.zip: b.png cannot be read" in found[1].reason


def test_what_is_not_there_is_named() -> None:
    for spec, message in (
        ("images:", r"images: no such folder: \(none given\)"),
        ("images:absent", "images: no such folder: absent"),
        ("images:absent.npz", "images: no such file: absent.npz"),
    ):
        with pytest.raises(ConfigError, match=message):
            registry.open_plugin("generators", spec, {})


def test_arrays_are_audited_as_the_same_pictures_in_a_folder(
    config: Callable[..., Any], undrawn: None
) -> None:
    values = some_bytes(100, 9, 9, 3)
    write_folder(Path("some"), {f"{i:03}.png": png(image) for i, image in enumerate(values)})
    np.savez("some.npz", images=values)
    figures = [
        diagnose(
            config(
                generator=f"images:{name}",
                descriptor="digits",
                anchors=30,
                samples=70,
                out=Path(f"run-{name}"),
            )
        ).report["figures"]
        for name in ("some", "some.npz")
    ]
    assert figures[0] == figures[1]
