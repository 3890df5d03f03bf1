"""`ganaudit threshold`: pictures by identity, the measurement, its card and its report."""

import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ONNX_OPTIONS, Pixels, save_onnx
from PIL import Image
from torch import Tensor

from ganaudit import variants
from ganaudit.cards import CardFile, read_card, write_card
from ganaudit.config import ThresholdConfig
from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows
from ganaudit.errors import ConfigError, DescriptorError, GanauditError
from ganaudit.identities import IdentityFolder, embed
from ganaudit.report import verification as pages
from ganaudit.settings import resolve
from ganaudit.threshold import Threshold, threshold
from ganaudit.variants import variations
from ganaudit.verification import verify

FIGURES = ("auc", "eer", "theta", "radius", "fnmr_at_radius")


def picture(path: Path, rng: np.random.Generator, base: Any = 128, side: int = 4) -> None:
    pixels = np.asarray(base) + 30 * rng.normal(size=(side, side, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def paint(folder: Path, people: int = 10, each: int = 4, seed: int = 0) -> Path:
    """A folder a person, with `each` pictures around one of their own."""
    rng = np.random.default_rng(seed)
    for person in range(people):
        base = 128 + 50 * rng.normal(size=(4, 4, 3))
        for number in range(each):
            picture(folder / f"p{person:02}" / f"{number}.png", rng, base)
    return folder


@pytest.fixture
def faces() -> Path:
    """A relative path, as a user types it."""
    return paint(Path("faces"))


def measure(**changes: Any) -> Threshold:
    usual = {"descriptor": "pixels", "identities": "faces", "device": "cpu", "fmr": 0.01}
    return threshold(ThresholdConfig(**(usual | changes)), descriptor=Pixels())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of one measurement; nobody changes it."""
    folder = tmp_path_factory.mktemp("measured")
    return measure(identities=str(paint(folder / "faces")), out=folder / "out").report


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take longer than the rest, so only tests that ask for `drawn` get them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(pages, "write", lambda report, folder: [])


@pytest.fixture
def drawn() -> None:
    """Charts are drawn."""


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`ganaudit threshold ...` in this process: (exit code, stdout, stderr)."""
    from ganaudit.cli import main

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        words = ["ganaudit", "threshold", "--device", "cpu", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def complaint(ended: tuple[int, str, str]) -> str:
    code, out, err = ended
    assert (code, out) == (2, "")
    (line,) = (line for line in err.splitlines() if line.startswith("ganaudit: "))
    assert "Traceback" not in err and len(line) < 400
    return line


ONNX = ("--descriptor", "onnx:tiny.onnx", *(w for o in ONNX_OPTIONS for w in ("--set", o)))


# -- pictures ---------------------------------------------------------------------------------


def test_an_identity_is_the_first_folder_below(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("ann/1.png", "ann/old/2.JPG", "bob/x/y/1.bmp", "bob2/1.png", "3.png"):
        picture(tmp_path / "all" / name, rng)
    (tmp_path / "all" / "bob" / "notes.txt").write_text("no picture")
    (tmp_path / "all" / "empty").mkdir()
    found = IdentityFolder(tmp_path / "all")
    assert found.labels.tolist() == [0, 0, 1, 2]
    assert (found.size, found.loose) == (4, 1)
    assert found.problem(0) is None


def test_the_listing_is_of_names_and_sizes_wherever_the_folder_lies(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / name, people=3, each=2)
    first = (tmp_path / "c" / "p00" / "0.png").read_bytes()
    (tmp_path / "c" / "p00" / "0.png").write_bytes(first + b"0")
    hashes = [IdentityFolder(tmp_path / name).listing_sha256 for name in ("a", "b", "c")]
    assert hashes[0] == hashes[1] != hashes[2]
    (tmp_path / "b" / "p00" / "0.png").rename(tmp_path / "b" / "p00" / "9.png")
    assert IdentityFolder(tmp_path / "b").listing_sha256 != hashes[0]


class Watching(Pixels):
    """Remembers the shapes that it saw."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(images.shape))
        return super().embed(images)


def test_pictures_of_equal_size_go_together_and_each_to_its_own_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for person in range(3):
        for number in range(12):
            picture(tmp_path / "all" / str(person) / f"{number:02}.png", rng, side=4 + number % 3)
    folder, descriptor = IdentityFolder(tmp_path / "all"), Watching()
    told: list[tuple[str, int, int]] = []
    found = embed(
        folder, descriptor, device="cpu", batch=9, progress=lambda *words: told.append(words)
    )
    assert max(shape[0] for shape in descriptor.shapes) == 3  # of 9 in a row, 3 of each size
    assert found.labels.tolist() == folder.labels.tolist()
    assert told[-1] == ("embedding", 36, 36)
    for name, row in zip(sorted((tmp_path / "all").rglob("*.png")), found.rows, strict=True):
        image = torch.from_numpy(np.array(Image.open(name))).permute(2, 0, 1)[None]
        np.testing.assert_array_equal(Pixels().embed(image)[0][0].numpy(), row)


class Shy(Pixels):
    """Finds no face where the first pixel is darker than `least`."""

    least = 110

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows, _ = super().embed(images)
        valid = images[:, 0, 0, 0].int() >= self.least
        rows[~valid] = float("nan")
        return rows, valid


def test_pictures_that_cannot_be_used_are_left_out_counted_and_named(faces: Path) -> None:
    spoilt = sorted(faces.rglob("*.png"))[:9]  # the first that anybody looks at
    for path in spoilt:
        path.write_bytes(b"no picture")
    Image.new("RGB", (4, 4), (7, 7, 7)).save(faces / "p05" / "flat.png")
    folder = IdentityFolder(faces)
    found = embed(folder, Shy(), device="cpu", batch=None)
    first = [np.array(Image.open(p))[0, 0, 0] for p in sorted(faces.rglob("*.png"))[9:]
             if p.name != "flat.png"]  # fmt: skip
    assert found.faceless == sum(value < 110 for value in first) > 0
    assert found.failed == 10
    assert len(found.rows) == 41 - 10 - found.faceless == len(found.labels)
    assert sum(found.reasons.values()) == 10
    assert any("p00/0.png cannot be read as a picture" in reason for reason in found.reasons)
    assert found.reasons["the image is a single colour"] == 1
    assert np.isfinite(found.rows).all()


def test_what_is_left_must_make_pairs(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = IdentityFolder(faces)
    monkeypatch.setattr(Shy, "least", 256)
    with pytest.raises(ConfigError, match="finds no face in any of 40 pictures"):
        embed(folder, Shy(), device="cpu", batch=None)
    for path in faces.rglob("*.png"):
        if path.parent.name != "p03":
            path.write_bytes(b"")
    with pytest.raises(ConfigError, match="without 0 pictures that show no face and 36 that cannot "
                       "be used there are 4 pictures of 1 identity"):  # fmt: skip
        embed(folder, Pixels(), device="cpu", batch=None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda n: (torch.zeros(n, 3), torch.ones(n, dtype=torch.bool)), "not of length 1"),
        (lambda n: (torch.eye(n), torch.ones(n)), "must return valid as bool"),
        (lambda n: 1 / 0, "the descriptor raised ZeroDivisionError"),
    ],
)
def test_a_descriptor_that_breaks_its_contract_is_refused(
    faces: Path, rows: Callable[[int], Any], message: str
) -> None:
    class Broken(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return rows(len(images))

    with pytest.raises(DescriptorError, match=message):
        embed(IdentityFolder(faces), Broken(), device="cpu", batch=None)


def test_rows_that_depend_on_their_batch_mates_are_made_singly(faces: Path) -> None:
    class Relative(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            pixels = images[:, 0].flatten(1).float()
            return unit_rows(pixels - pixels.mean() + 0.1), torch.ones(len(images)).bool()

    folder = IdentityFolder(faces)
    found = embed(folder, Relative(), device="cpu", batch=None)
    assert any("depend on their batch mates" in sentence for sentence in found.warnings)
    again = embed(folder, Relative(), device="cpu", batch=1)
    np.testing.assert_array_equal(found.rows, again.rows)


# -- the measurement --------------------------------------------------------------------------


def test_figures_are_those_of_the_rows(faces: Path) -> None:
    seen = embed(IdentityFolder(faces), Pixels(), device="cpu", batch=None)
    wanted = verify(seen.rows, seen.labels, fmr=0.01, seed=3)
    found = measure(seed=3)
    assert found.report["figures"] == json.loads(json.dumps(wanted.figures()))
    assert wanted.auc.estimate is not None and wanted.auc.estimate > 0.9
    assert found.card is not None
    assert found.card.theta == wanted.theta.estimate
    assert found.card.radius == wanted.radius.estimate
    assert found.report["counts"] == {
        "pictures": 40, "embedded": 40, "without_face": 0, "failed": 0, "loose": 0,
    }  # fmt: skip


def test_what_is_written_is_what_is_returned(faces: Path, drawn: None) -> None:
    found = measure(out=Path("deep/er"))
    assert found.folder == Path("deep/er")
    names = {"card.json", "report.json", *(f"{n}.{k}" for n in ("roc", "distances")
             for k in ("svg", "png"))}  # fmt: skip
    assert {path.name for path in found.folder.iterdir()} == names
    assert json.loads((found.folder / "report.json").read_text("utf-8")) == json.loads(
        json.dumps(found.report)
    )
    assert read_card(found.folder / "card.json") == found.card
    for name in ("card.json", "report.json"):
        assert str(Path.cwd()) not in (found.folder / name).read_text("utf-8")
    with Image.open(found.folder / "roc.png") as drawn:
        assert drawn.size == pytest.approx((344 / 72 * 200, 216 / 72 * 200), abs=1)


def test_the_same_request_gives_the_same_bytes(faces: Path, drawn: None) -> None:
    one, other = measure().folder, measure().folder
    assert (one, other) == (Path("threshold"), Path("threshold-2"))
    assert one is not None and other is not None
    for path in sorted(one.iterdir()):
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def test_a_card_is_never_overwritten_and_charts_never_become_pictures(faces: Path) -> None:
    measure(out=Path("there"))
    before = (Path("there") / "card.json").read_bytes()
    with pytest.raises(ConfigError, match="--out there already holds something"):
        measure(out=Path("there"), seed=2)
    assert (Path("there") / "card.json").read_bytes() == before
    Path("file").write_text("")
    with pytest.raises(ConfigError, match="--out file already holds something"):
        measure(out=Path("file"))
    for wrong in (faces, faces / "p00" / "new"):
        with pytest.raises(ConfigError, match="would be taken for pictures"):
            measure(out=wrong)
    assert len(list(faces.rglob("*"))) == 50


def test_a_descriptor_that_gives_one_row_for_everybody_is_refused(faces: Path) -> None:
    class Constant(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return unit_rows(torch.ones(len(images), 5)), torch.ones(len(images)).bool()

    config = ThresholdConfig(descriptor="x", identities="faces", device="cpu")
    with pytest.raises(DescriptorError, match="gives most pictures the same row"):
        threshold(config, descriptor=Constant())
    assert not Path("threshold").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"descriptor": ""}, "--descriptor is needed"),
        ({"identities": ""}, "--identities is needed: a folder with one folder a person"),
        ({"fmr": 0.0}, r"--fmr must be in \[1e-12, 1\), a rate, got 0"),
        ({"fmr": 1.0}, r"--fmr must be in \[1e-12, 1\), a rate, got 1"),
        ({"fmr": float("nan")}, r"--fmr must be in"),
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"seed": -1}, "seed must be in"),
        ({"format": "xml"}, "--format must be one of rich, json, got 'xml'"),
        ({"set": ("size=112",)}, "--set size: options are the descriptor's; say descriptor.size"),
        ({"set": ("descriptor.size",)}, "--set wants KEY=VALUE"),
        ({"set": ("descriptor.mean=1\n2",)}, "--set must be printable UTF-8 text"),
        ({"identities": "f\udcff"}, "--identities must be printable UTF-8 text"),
        ({"device": "tpu"}, "--device must be auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_requests_are_refused(wrong: dict[str, Any], message: str, faces: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        measure(**wrong)


def test_defaults_may_stand_in_a_file(faces: Path) -> None:
    Path("pyproject.toml").write_text("[tool.ganaudit.threshold]\nfmr = 0.25\nseed = 4\n")
    config = resolve(ThresholdConfig, {"descriptor": "x", "identities": "faces", "seed": 5})
    assert (config.fmr, config.seed) == (0.25, 5)
    assert config.origins["fmr"] == "[tool.ganaudit.threshold]"


# -- cards ------------------------------------------------------------------------------------


def card(**changes: Any) -> CardFile:
    figure = {"estimate": 0.25, "low": 0.125, "high": 0.5}
    usual = CardFile(
        descriptor="onnx:a.onnx",
        options={"size": "4", "mean": "0.5"},
        name="onnx:a.onnx",
        weights_sha256="ab" * 32,
        licence=None,
        preprocessing=Preprocessing(size=(4, 5), mean=(0.5,), std=(0.25,), resize="nearest"),
        settings={"detect": True, "thresholds": [0.6, 0.7]},
        figures={
            "theta": figure,
            "radius": figure | {"estimate": 0.3},
            "auc": figure,
            "eer": {"estimate": 0.0, "low": None, "high": None},
        },
        fmr=0.001,
        identities=40,
        images=400,
        listing_sha256="cd" * 32,
        versions={"python": "3"},
    )
    return replace(usual, **changes)


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    changes = [
        {},
        {"preprocessing": None, "settings": {}, "licence": "MIT", "options": {}},
        {"figures": card().figures | {"radius": dict.fromkeys(("estimate", "low", "high"))}},
    ]
    for number, change in enumerate(changes):
        path = tmp_path / f"{number}.json"
        write_card(path, card(**change))
        assert read_card(path) == card(**change)
    assert (read_card(tmp_path / "0.json").theta, card().radius) == (0.25, 0.3)
    assert read_card(tmp_path / "2.json").radius is None
    head = json.loads((tmp_path / "0.json").read_text("utf-8"))
    assert (head["format"], head["kind"]) == (1, "descriptor card")
    assert card().origin() == (
        "measured on 400 images of 40 identities: theta at the equal error rate, radius at a "
        "false-match rate of 0.001"
    )


def opened(**changes: Any) -> DescriptorCard:
    steps = Preprocessing(size=(4, 5), mean=(0.5,), std=(0.25,), resize="nearest")
    usual = DescriptorCard(
        name="onnx:b.onnx",
        weights_sha256="ab" * 32,
        preprocessing=steps,
        settings={"detect": True, "thresholds": (0.6, 0.7)},
    )
    return replace(usual, **changes)


def test_a_card_holds_for_the_descriptor_that_was_measured(tmp_path: Path) -> None:
    write_card(tmp_path / "card.json", card())
    read_card(tmp_path / "card.json").check(opened())  # wherever its file lies now


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "00"}, r'with weights "abab.*, the descriptor onnx:b.onnx has "00"'),
        (
            {"preprocessing": Preprocessing(size=(4, 5), mean=(0.4,), std=(0.2,))},
            r"with descriptor.mean \[0.5\], .* has \[0.4\]",
        ),
        (
            {"preprocessing": Preprocessing(size=(4, 4), mean=(0.5,), std=(0.25,))},
            r'with descriptor.resize "nearest", .* has "bicubic"',
        ),
        ({"preprocessing": None}, r'with descriptor.colour "rgb", .* has null'),
        ({"settings": {"detect": True}}, r"with setting thresholds \[0.6, 0.7\], .* has null"),
        ({"settings": {"detect": True, "thresholds": (0.6, 0.7), "margin": 4}},
         "with setting margin null, .* has 4"),
        ({"weights_sha256": "00", "preprocessing": None}, "with weights"),
    ],
)  # fmt: skip
def test_a_card_does_not_hold_for_another_descriptor(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        card().check(opened(**change))
    assert "measure them with ganaudit threshold" in str(caught.value)


def changed(**values: Any) -> bytes:
    return json.dumps(card().document() | values).encode()


BROKEN = [
    (b"", "cannot be read as JSON"),
    (b"\xff\xfe{", "cannot be read as JSON"),
    (b"[" * 200_000, "cannot be read as JSON"),
    (b"1" * 5000, "cannot be read as JSON"),
    (b" " * (2**20 + 1), "is larger than 1 MiB"),
    (b"[]", "is no descriptor card"),
    (b"{}", "is no descriptor card"),
    (changed(kind="report"), "is no descriptor card"),
    (changed(format=2), "has format 2, wanted 1"),
    (changed(format=["1"] * 99), "has format .{20}, wanted 1"),
    (json.dumps(card().document()).replace("0.001", "NaN").encode(), "NaN is no JSON"),
    (changed(descriptor=7), "descriptor must be a text"),
    (changed(descriptor="a\x1b[2J"), "descriptor must be a text"),
    (changed(descriptor="a" * 5000), "descriptor must be a text"),
    (changed(options={"size": 4}), "options must be texts by name"),
    (changed(options=[]), "options must be texts by name"),
    (changed(weights_sha256="a" * 200), "weights_sha256 must be a hash"),
    (changed(theta=0.3), r"theta must be an estimate in \(0, 1\], or null"),
    (changed(theta={"estimate": 0.3}), "theta must be"),
    (changed(theta={"estimate": 0, "low": 0, "high": 1}), "theta must be"),
    (changed(theta={"estimate": 1.5, "low": 0, "high": 1}), "theta must be"),
    (changed(theta={"estimate": True, "low": 0, "high": 1}), "theta must be"),
    (changed(radius={"estimate": 0.5, "low": 0.9, "high": 0.1}), "radius must be"),
    (changed(radius={"estimate": "0.5", "low": None, "high": None}), "radius must be"),
    (changed(auc={"estimate": 10**400, "low": None, "high": None}), "auc must be"),
    (changed(fmr=-1), r"fmr must be a rate in \[0, 1\]"),
    (changed(identities=True), "identities must be a count"),
    (changed(images=1), "images must be a count"),
    (changed(images=4.0), "images must be a count"),
    (changed(preprocessing=[]), "preprocessing must be an object or null"),
    (changed(preprocessing={}), "preprocessing cannot be that of a descriptor"),
    (changed(preprocessing={"size": 4, "mean": [0], "std": [1]}), "preprocessing cannot be"),
    (changed(preprocessing={"size": [4, 4], "mean": ["0"], "std": [1]}), "preprocessing cannot be"),
    (changed(preprocessing={"size": [4, 4], "mean": [0], "std": [0]}), "preprocessing cannot be"),
    (changed(preprocessing={"size": [4, 4], "mean": [0], "std": [1], "x": 1}),
     "preprocessing cannot be"),
    (changed(settings=[]), "settings must be an object"),
    (changed(versions={"a": None}), "versions must be texts by name"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BROKEN, ids=[f"{i}" for i in range(len(BROKEN))])
def test_a_card_that_cannot_be_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        read_card(tmp_path / "card.json")
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


def test_every_field_of_a_card_is_needed(tmp_path: Path) -> None:
    whole = card().document()
    for name in whole.keys() - {"format", "kind"}:
        part = {key: value for key, value in whole.items() if key != name}
        (tmp_path / "card.json").write_text(json.dumps(part))
        with pytest.raises(ConfigError, match=f"{name} must be"):
            read_card(tmp_path / "card.json")


def test_a_card_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(ConfigError, match="no such file"):
            read_card(path)


def test_a_card_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name must be a text"):
        write_card(tmp_path / "card.json", card(name="a\nb"))
    (tmp_path / "file").write_text("")
    with pytest.raises(GanauditError, match="cannot be written"):
        write_card(tmp_path / "file" / "card.json", card())
    assert not (tmp_path / "card.json").exists()


# -- preprocessing that nobody knows ----------------------------------------------------------


def factory(target: str, *, device: object, size: tuple[int, ...] | None = None,
            mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None,
            resize: str = "bicubic", colour: str = "rgb") -> None: ...  # fmt: skip


def test_variants_are_every_normalisation_colour_and_filter() -> None:
    found = variations(factory, {"size": "4"})
    assert len(found) == 4 * 2 * 2 and not any(own for _, own in found)
    assert all(options["size"] == "4" for options, _ in found)
    assert len({tuple(sorted(options.items())) for options, _ in found}) == 16
    pairs = {(options["mean"], options["std"]) for options, _ in found}
    assert ("0.485,0.456,0.406", "0.229,0.224,0.225") in pairs
    mean, std = next(
        (float(m), float(s)) for m, s in pairs if s not in ("0.5", "1") and "," not in s
    )
    assert (mean * 255, std * 255) == pytest.approx((127.5, 128), abs=1e-5)


def test_the_request_is_one_of_the_variants_and_marked() -> None:
    usual = {"mean": "0.50,.5,.5", "std": "0.5"}
    found = variations(factory, usual)
    assert len(found) == 16  # [-1, 1], however it is written
    (own,) = (options for options, own in found if own)
    assert own == {"mean": "0.5", "std": "0.5", "resize": "bicubic", "colour": "rgb"}
    odd = {"mean": "0.3", "std": "0.4", "resize": "nearest"}
    found = variations(factory, odd)
    assert len(found) == 5 * 2 * 3
    assert [options for options, own in found if own] == [odd | {"colour": "rgb"}]


def test_only_options_that_there_are_are_varied() -> None:
    def coloured(target: str, *, colour: str = "rgb", mean: float = 0) -> None: ...
    def bare(target: str, *, device: object, **rest: str) -> None: ...

    found = variations(coloured, {})
    assert found == [({"colour": "rgb"}, True), ({"colour": "bgr"}, False)]
    assert variations(bare, {"mean": "1", "std": "1"}) == []
    grey = variations(factory, {"colour": "grey"})
    assert len(grey) == 3 * 2 and all(options["colour"] == "grey" for options, _ in grey)
    assert not any("," in options["mean"] for options, _ in grey)


def test_few_of_many_pictures_are_compared() -> None:
    labels = np.repeat(np.arange(400), [1] * 300 + [15] * 90 + [50] * 10)
    found = variants._chosen(labels, 0)
    chosen, counts = np.unique(labels[found], return_counts=True)
    assert 200 <= len(found) < 210
    assert counts.max() == 10 and chosen.min() >= 300  # of those who have pairs
    assert len(set(found.tolist())) == len(found)
    assert set(labels[variants._chosen(labels, 1)]) != set(chosen)
    assert variants._chosen(labels[:150], 0).tolist() == list(range(150))


@pytest.fixture
def with_network(tmp_path: Path) -> Path:
    """A folder of people, and beside it a network in ONNX that takes their pictures."""
    save_onnx(tmp_path / "tiny.onnx")
    return paint(tmp_path / "faces", people=6, each=3)


def test_variants_are_listed_by_auc_and_no_card_is_written(with_network: Path, run: Run) -> None:
    arguments = ("--identities", "faces", "--try-preprocessing", "-q")
    code, out, err = run("--descriptor", "tiny.onnx", "--set", "descriptor.size=4", *arguments)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if "--set" in line]
    assert len(lines) == 17  # sixteen, and the sentence at the end
    aucs = [float(line[0]) for line in lines[:-1]]
    assert aucs == sorted(aucs, reverse=True)
    assert all(line.count("--set") == 5 for line in lines[:-1])
    assert "as requested" not in out
    assert out.splitlines()[-1].startswith("No card was written")
    assert not Path("threshold").exists()
    code, out, _ = run("--descriptor", "tiny.onnx", "--set", "descriptor.size=4", *arguments,
                       "--format", "json")  # fmt: skip
    found = json.loads(out)
    assert found["figures"] is None and found["descriptor"] is None
    assert [v["auc"] for v in found["preprocessing"]["variants"]] == pytest.approx(aucs, abs=1e-4)
    assert (found["preprocessing"]["images"], found["preprocessing"]["identities"]) == (18, 6)


def test_a_variant_has_the_figures_of_its_own_run(with_network: Path, run: Run) -> None:
    code, out, _ = run(*ONNX, "--identities", "faces", "--try-preprocessing", "--format", "json")
    assert code == 0
    found = json.loads(out)
    (own,) = (v for v in found["preprocessing"]["variants"] if v["own"])
    assert set(own["set"]) >= set(ONNX_OPTIONS)
    assert own["auc"] == found["figures"]["auc"]["estimate"]
    assert own["eer"] == found["figures"]["eer"]["estimate"]
    assert read_card(Path("threshold/card.json")).options == {
        "size": "4", "mean": "0.5", "std": "0.5",
    }  # fmt: skip
    best = found["preprocessing"]["variants"][0]
    words = [word for pair in best["set"] for word in ("--set", pair)]
    code, out, _ = run("--descriptor", "tiny.onnx", *words, "--identities", "faces", "--format",
                       "json")  # fmt: skip
    assert json.loads(out)["figures"]["auc"]["estimate"] == best["auc"]


def test_a_variant_that_cannot_be_opened_is_named_last(with_network: Path, run: Run) -> None:
    wrong = ("--set", "descriptor.size=4", "--set", "descriptor.mean=0.1,0.2", "--set",
             "descriptor.std=1")  # fmt: skip
    code, out, _ = run("--descriptor", "tiny.onnx", *wrong, "--identities", "faces",
                       "--try-preprocessing")  # fmt: skip
    assert code == 0
    last = [line for line in out.splitlines() if "--set descriptor.size" in line][-1]
    assert "descriptor.mean wants 1 or 3 values, got 2" in last
    assert not Path("threshold").exists()  # the request itself is one of them


def test_a_descriptor_without_such_options_has_nothing_to_try(faces: Path, run: Run) -> None:
    said = complaint(run("--descriptor", "digits", "--identities", "faces", "--try-preprocessing"))
    assert "the descriptor 'digits' has no options mean and std, colour or resize" in said


def test_variants_of_a_network_without_its_size_are_refused(with_network: Path, run: Run) -> None:
    said = complaint(
        run("--descriptor", "tiny.onnx", "--identities", "faces", "--try-preprocessing", "-q")
    )
    assert "tiny.onnx needs its size" in said


# -- the command ------------------------------------------------------------------------------


def test_the_command_prints_figures_and_how_to_use_them(with_network: Path, run: Run) -> None:
    code, out, err = run(*ONNX, "--identities", "faces", "--fmr", "0.05", "--seed", "3", "-q")
    assert (code, err) == (0, "")
    found = json.loads(Path("threshold/report.json").read_text("utf-8"))
    assert out.splitlines()[-1] == ("ganaudit diagnose ... --descriptor-card threshold/card.json")
    for name in ("theta", "radius"):
        assert f"{found['figures'][name]['estimate']:.3f}" in out
    assert "18 of 6 identities" in out
    assert "There are no intervals: they need 8 identities." in out
    assert found["request"] == {
        "descriptor": "onnx:tiny.onnx", "identities": "faces", "set": list(ONNX_OPTIONS),
        "fmr": 0.05, "seed": 3,
    }  # fmt: skip
    code, again, _ = run(*ONNX, "--identities", "faces", "--fmr", "0.05", "--seed", "3",
                         "--format", "json")  # fmt: skip
    assert json.loads(again) == found
    assert Path("threshold-2/card.json").exists()


def test_a_file_of_the_user_may_bring_the_descriptor(faces: Path, run: Run) -> None:
    Path("mine.py").write_text(
        "import torch\n"
        "from ganaudit.descriptors import DescriptorCard, unit_rows\n"
        "class Mine:\n"
        "    card = DescriptorCard(name='mine', weights_sha256='00', settings={'shift': 120.0})\n"
        "    def embed(self, images):\n"
        "        print('embedding')\n"
        "        rows = unit_rows(images.flatten(1).float() - 120)\n"
        "        return rows, torch.ones(len(rows), dtype=torch.bool)\n"
        "DESCRIPTORS = {'mine': lambda target: Mine()}\n"
    )
    code, out, err = run("--descriptor", "mine", "--plugin", "mine.py", "--identities", "faces",
                         "--format", "json")  # fmt: skip
    assert code == 0
    assert json.loads(out)["descriptor"]["settings"] == {"shift": 120.0}
    assert "embedding: 40 of 40" in err  # what a plugin prints goes there too
    assert read_card(Path("threshold/card.json")).settings == {"shift": 120.0}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: None, "--identities absent: no such folder"),
        (lambda f: f.mkdir(), "--identities absent holds no pictures (.bmp, .gif"),
        (lambda f: paint(f, 1), "holds 4 pictures of 1 identity; at least two are needed"),
        (lambda f: paint(f, 5, 1), "one picture of each of 5 identities; at least one needs a sec"),
        (lambda f: picture(f / "a.png", np.random.default_rng(0)), "no folder for each identity"),
    ],
)
def test_folders_without_pairs_are_one_sentence(
    make: Callable[[Path], Any], said: str, run: Run
) -> None:
    make(Path("absent"))
    assert said in complaint(run("--descriptor", "digits", "--identities", "absent"))
    assert not Path("threshold").exists()


def test_other_refusals_are_one_sentence(faces: Path, run: Run) -> None:
    assert "--descriptor is needed" in complaint(run("--identities", "faces"))
    assert "--identities is needed" in complaint(run("--descriptor", "digits"))
    assert "absent.onnx: no such file" in complaint(
        run("--descriptor", "absent.onnx", "--identities", "faces")
    )
    for path in faces.rglob("*.png"):
        path.write_bytes(b"no picture")
    said = complaint(run("--descriptor", "digits", "--identities", "faces"))
    assert "none of the 40 pictures can be used: faces/p00/0.png cannot be read" in said


def test_an_interrupted_measurement_leaves_nothing(
    faces: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ganaudit.threshold.verify", interrupted)
    monkeypatch.setattr("ganaudit.cli.running.leave", sys.exit)  # it would end this process
    code, out, err = run("--descriptor", "digits", "--identities", "faces", "-q")
    assert (code, out) == (130, "")
    assert err == "ganaudit: interrupted; no card was written\n"
    assert not Path("threshold").exists()


# -- the report -------------------------------------------------------------------------------


def told(report: dict[str, Any], **figures: Any) -> str:
    """Remarks on a report whose figures are changed."""
    values = {
        "request": report["request"],
        "card": None,
        "counts": report["counts"],
        "reasons": report["reasons"],
        "figures": report["figures"] | figures,
        "trial": None,
        "listing_sha256": "",
        "warnings": report["warnings"],
        "environment": {},
    }
    return "\n".join(pages.build(**values)["remarks"])


def test_usual_figures_need_no_doubt(report: dict[str, Any]) -> None:
    assert told(report, identities_with_pairs=40) == (
        "Theta and radius hold for pictures like these under this preprocessing: other cropping or "
        "alignment has others."
    )


def test_what_makes_figures_doubtful_is_said(report: dict[str, Any]) -> None:
    none = {"estimate": None, "low": None, "high": None}
    lacking = told(report, radius=none, fmr=0.001, different_pairs=720, images_lacking=8)
    assert "needs 1,000 different pairs and there are 720; 8 more images, each of a new" in lacking
    tied = told(report, radius=none, images_lacking=0)
    assert "more than 1 % of the 720 different pairs are at distance 0" in tied
    bootstrap = {"replicates": 997, "same_pairs": 50, "different_pairs": 720}
    thinned = told(report, bootstrap=bootstrap)
    assert "the intervals of 50 of the 60 same pairs, thinned at random" in thinned
    assert "of the 720 different pairs" not in thinned
    assert "3 draws of identities had no pairs of a kind" in thinned
    assert "Only the radius has an interval" in told(report, identities_with_pairs=7)
    assert "theta are too narrow" not in told(report, identities_with_pairs=7)
    assert "theta are too narrow" in told(report, identities_with_pairs=39)
    auc = {"estimate": 0.53, "low": 0.49, "high": 0.57}
    assert "The AUC may be 50 %, which is chance" in told(report, auc=auc)
    left = report | {"counts": report["counts"] | {"failed": 2, "without_face": 1, "loose": 3},
                     "reasons": {"x.png is broken": 2}}  # fmt: skip
    said = told(left)
    assert "Left out: 2 pictures that cannot be used: x.png is broken (2)." in said
    assert "Left out: 1 picture without a face." in said
    assert "Left out: 3 pictures in no identity's folder." in said


def test_the_headline_says_what_the_figures_mean(report: dict[str, Any]) -> None:
    figures = report["figures"]
    said = pages.headline(figures)
    inside = 1 - figures["fnmr_at_radius"]["estimate"]
    for name in ("theta", "radius"):
        assert f"{figures[name]['estimate']:.3f}" in said
    assert "at most 1 % of different pairs" in said
    assert f"{100 * inside:.1f} % of same pairs" in said
    none = {"estimate": None, "low": None, "high": None}
    assert "radius" not in pages.headline(figures | {"radius": none})


def extremes() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)

    def figures(people: int, each: int, spread: float) -> dict[str, Any]:
        labels = np.repeat(np.arange(people), each)
        rows = rng.normal(size=(people, 9))[labels] + spread * rng.normal(size=(len(labels), 9))
        rows = unit_rows(torch.from_numpy(rows)).numpy()
        return verify(rows, labels, fmr=0.01, replicates=20).figures()

    return {
        "apart": figures(12, 4, 0.01),
        "chance": figures(12, 4, 50.0),
        "tiny": figures(2, 2, 0.5),
        "one pair": verify(np.eye(3, dtype=np.float32), np.array([0, 0, 1]), fmr=0.9,
                           replicates=0).figures(),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["apart", "chance", "tiny", "one pair"])
def test_charts_bear_extremes(name: str) -> None:
    drawn = pages.draw(extremes()[name])
    assert list(drawn) == ["roc", "distances"]
    for figure in drawn.values():
        figure.canvas.draw()  # nothing warns
        (axes,) = figure.axes
        assert all(np.isfinite(limit) for limit in (*axes.get_xlim(), *axes.get_ylim()))


def test_the_curve_shows_the_tail_and_the_radius(report: dict[str, Any]) -> None:
    (axes,) = pages.draw(report["figures"])["roc"].axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlim()[0] == pytest.approx(0.5 / 720)
    texts = {text.get_text() for text in axes.texts}
    assert any(text.startswith("EER ") for text in texts)
    points = [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xydata()) == 1]
    missed = report["figures"]["fnmr_at_radius"]["estimate"]
    assert points[-1] == pytest.approx((0.01, missed))


def test_histograms_show_all_pairs_with_theta_and_radius(report: dict[str, Any]) -> None:
    (axes,) = pages.draw(report["figures"])["distances"].axes
    for patch in axes.patches[:2]:
        assert sum(patch.get_data().values) == pytest.approx(1)
    at = sorted(line.get_xdata()[0] for line in axes.lines)
    figures = report["figures"]
    assert at == sorted(figures[name]["estimate"] for name in ("theta", "radius"))
    assert axes.yaxis.get_major_formatter()(0.05, 0) == "5 %"
    bands = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches[2:])
    wanted = sorted((figures[n]["low"], figures[n]["high"]) for n in ("theta", "radius"))
    assert bands == [pytest.approx(ends) for ends in wanted]


def test_bars_cover_what_is_taken_and_are_few() -> None:
    same, different = [0] * 200, [0] * 200
    same[3], same[90], different[91], different[199] = 2, 3, 4, 5
    histogram = {"edges": [i / 200 for i in range(201)], "same": same, "different": different}
    edges, counts = pages._bars(histogram)
    assert len(edges) - 1 == len(counts["same"]) <= 80
    assert (edges[0], edges[-1]) == (3 / 200, 1)
    assert all(a < b for a, b in pairwise(edges))
    assert (sum(counts["same"]), sum(counts["different"])) == (5, 9)
    place = next(i for i, many in enumerate(counts["different"]) if many == 4)
    assert edges[place] <= 91 / 200 < edges[place + 1]


# -- real faces -------------------------------------------------------------------------------


@pytest.mark.artefacts
def test_real_portraits_are_told_apart_as_was_measured(artefacts: Path, tmp_path: Path) -> None:
    """AUC .983, EER .064 (shared/artefacts/README.md); the mean distances there are .272, .461."""
    with tarfile.open(artefacts / "faces" / "orl_faces.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    found = threshold(
        ThresholdConfig(
            descriptor=f"onnx:{artefacts / 'faces' / 'mobilefacenet.onnx'}",
            identities=str(tmp_path / "orl_faces"),
            set=(
                "descriptor.size=112",
                "descriptor.mean=0.485,0.456,0.406",
                "descriptor.std=0.229,0.224,0.225",
            ),
            device="cpu",
            out=tmp_path / "out",
        )
    )
    figures = found.report["figures"]
    assert (figures["same_pairs"], figures["different_pairs"]) == (40 * 45, 40 * 39 * 50)
    for name, value, off in (("auc", 0.983, 0.002), ("eer", 0.064, 0.001), ("theta", 0.397, 0.002),
                             ("radius", 0.307, 0.002)):  # fmt: skip
        assert figures[name]["estimate"] == pytest.approx(value, abs=off)
        assert figures[name]["low"] < figures[name]["estimate"] < figures[name]["high"]
    assert 0.285 < figures["radius"]["low"] and figures["radius"]["high"] < 0.335
    for kind, mean in (("same", 0.272), ("different", 0.461)):
        histogram = figures["histogram"]
        middles = np.array(histogram["edges"][:-1]) + 0.0025
        assert np.average(middles, weights=histogram[kind]) == pytest.approx(mean, abs=0.002)
    assert found.card is not None and found.card.images == 400


def test_linked_folders_count_and_loops_end(faces: Path) -> None:
    before = IdentityFolder(faces).size
    (faces / "again").symlink_to((faces / "p00").resolve(), target_is_directory=True)
    (faces / "p01" / "loop").symlink_to(faces.resolve(), target_is_directory=True)
    assert IdentityFolder(faces).size == before  # each folder once, whatever leads to it
    elsewhere = Path("elsewhere")
    shutil.copytree(faces / "p02", elsewhere)
    (faces / "linked").symlink_to(elsewhere.resolve(), target_is_directory=True)
    assert IdentityFolder(faces).size == before + len(list(elsewhere.iterdir()))
