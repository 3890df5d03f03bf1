"""calibrator.json: what is written comes back, and what cannot be is refused in one sentence."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from ganaudit.calibration.artefact import Artefact, load, save, type_of
from ganaudit.calibration.cells import CellSampler, MixtureSampler
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import Space, sample
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.calibration.regions import LinearRegion, RegionSampler
from ganaudit.errors import ConfigError
from ganaudit.files import sha256_of

SPACE = Space((3, 2), "normal")
EYE = np.eye(2, 6, dtype=np.float32)
MADE: dict[str, Any] = {
    "filter": OutputFilter(modes=EYE, keep=np.array([0.5, 1.0]), radius=0.25, attempts=9),
    "cells": CellSampler(space=SPACE, centres=EYE, keep=np.array([0.25, 1.0]), attempts=9),
    "mixture": MixtureSampler(
        space=SPACE,
        weights=np.array([0.25, 0.75]),
        means=EYE,
        directions=EYE[:1],
        scales=np.array([0.5]),
        attempts=9,
    ),
    "regions": RegionSampler(
        space=SPACE,
        regions=tuple(LinearRegion(coefficients=row, threshold=0.5) for row in EYE),
        keep=np.array([0.0, 0.5]),
        attempts=9,
    ),
    "refiner": LatentRefiner(
        space=SPACE,
        attack="i-fgsm",
        step=0.05,
        steps=20,
        ball=None,
        momentum=1.0,
        discriminator={"spec": "d.onnx", "options": {}, "identity": {"sha256": "00"}},
    ),
}
CARD = {"spec": "facenet", "options": {"crop": "1"}, "identity": {"sha256": "11"}}


def artefact(kind: str) -> Artefact:
    return Artefact(
        calibrator=MADE[kind],
        method="importance",
        generator={"name": "demo", "sha256": "22"},
        descriptor=CARD,
        run={"samples": 12_000, "theta": 0.25},
        about={"sentences": ["Worst: 9,8 % \u2192 .3 %"]},
    )


def document(folder: Path, kind: str = "filter") -> dict[str, Any]:
    save(folder / "calibrator.json", artefact(kind))
    found: dict[str, Any] = json.loads((folder / "calibrator.json").read_text())
    return found


def rewritten(folder: Path, found: Any) -> Path:
    path = folder / "calibrator.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    return path


@pytest.mark.parametrize("kind", MADE)
def test_what_is_written_comes_back(kind: str, tmp_path: Path) -> None:
    written = artefact(kind)
    digest = save(tmp_path / "calibrator.json", written)
    read = load(tmp_path)  # the folder will do
    assert digest == read.sha256
    assert digest == hashlib.sha256((tmp_path / "calibrator.json").read_bytes()).hexdigest()
    assert type_of(read.calibrator) == kind
    assert (read.method, read.generator, read.descriptor) == (
        written.method,
        written.generator,
        written.descriptor,
    )
    assert (read.run, read.about) == (written.run, written.about)
    assert read.calibrator.attempts == MADE[kind].attempts
    assert read.calibrator.space == MADE[kind].space
    assert read.calibrator.settings() == MADE[kind].settings()
    arrays, wanted = read.calibrator.arrays(), MADE[kind].arrays()
    assert set(arrays) == set(wanted)
    for key in wanted:
        assert arrays[key].dtype == wanted[key].dtype
        np.testing.assert_array_equal(arrays[key], wanted[key])


@pytest.mark.parametrize("kind", ["cells", "mixture", "regions"])
def test_a_file_draws_what_the_sampler_does(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "c.json", artefact(kind))
    read = load(tmp_path / "c.json")
    drawn = read.sample(50, seed=3, start=7)
    assert drawn.shape == (50, 3, 2)
    assert drawn.dtype == np.float32
    salt = int(sha256_of(tmp_path / "c.json")[:16], 16) // 2  # 63 bits of its hash
    np.testing.assert_array_equal(drawn, sample(MADE[kind], 50, seed=3, start=7, salt=salt))
    np.testing.assert_array_equal(drawn[20:30], read.sample(10, seed=3, start=27))


@pytest.mark.parametrize("kind", ["filter", "refiner"])
def test_what_needs_the_generator_draws_no_latents(kind: str) -> None:
    with pytest.raises(ConfigError, match="it needs the generator"):
        artefact(kind).sample(1)


def test_three_lines_import_nothing_heavy(tmp_path: Path) -> None:
    save(tmp_path / "calibrator.json", artefact("regions"))
    program = (
        "import sys; from ganaudit.calibration import load\n"
        f"calibrator = load({str(tmp_path)!r})\n"
        "print(calibrator.sample(8).shape)\n"
        "print(sorted({'torch', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines() == ["(8, 3, 2)", "[]"]


def test_the_stem_of_the_arrays_is_that_of_the_file(tmp_path: Path) -> None:
    save(tmp_path / "mine.json", artefact("cells"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


def test_a_refiner_has_no_arrays_beside_it(tmp_path: Path) -> None:
    assert document(tmp_path, "refiner")["arrays"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["calibrator.json"]


Change = Callable[[dict[str, Any]], Any]


def put(value: Any, *path: str) -> Change:
    """Set one value of the document."""

    def change(found: dict[str, Any]) -> Any:
        inner = found
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return found

    return change


def drop(key: str) -> Change:
    return lambda found: {name: value for name, value in found.items() if name != key}


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]

BAD: dict[str, tuple[Change, str]] = {
    "a list": (lambda found: [found], "is no calibrator"),
    "nothing": (lambda found: "", "cannot be read as JSON"),
    "NaN": (lambda found: json.dumps(put(float("nan"), "attempts")(found)), "cannot be read"),
    "a lone surrogate": (put("\ud800", "method"), "cannot be read"),
    "nested deep": (put(DEEP, "about"), "nested more than"),
    "a report": (put("report", "kind"), "is no calibrator"),
    "a later format": (put(2, "schema_version"), "format 2, wanted 1"),
    "no format": (drop("schema_version"), "format None, wanted 1"),
    "an unknown type": (put("pickle", "type"), "type must be one of cells"),
    "a type in a list": (put(["filter"], "type"), "type must be a text"),
    "no attempts": (drop("attempts"), "attempts"),
    "no attempt at all": (put(0, "attempts"), "attempts"),
    "endless attempts": (put(10**9, "attempts"), "attempts"),
    "true attempts": (put(True, "attempts"), "attempts"),
    "no settings": (drop("settings"), "settings must be an object"),
    "settings in a list": (put([], "settings"), "settings must be an object"),
    "no radius": (put({}, "settings"), "holds no filter calibrator"),
    "a wild radius": (put({"radius": 1e308}, "settings"), "radius must be in"),
    "a huge radius": (put({"radius": 10**400}, "settings"), "radius must be in|cannot be read"),
    "no generator": (drop("generator"), "generator must be an object"),
    "a descriptor in words": (put("facenet", "descriptor"), "descriptor must be an object"),
    "a descriptor without a name": (put({}, "descriptor"), "spec must be a text"),
    "options that are numbers": (put({"crop": 1}, "descriptor", "options"), "options must be"),
    "a long method": (put("x" * 5000, "method"), "method must be a text"),
    "no arrays": (put(None, "arrays"), "holds no filter calibrator"),
    "arrays elsewhere": (put("../calibrator.safetensors", "arrays", "file"), "lie beside it"),
    "arrays at a root": (put("/etc/passwd", "arrays", "file"), "lie beside it"),
    "arrays in the folder": (put(".", "arrays", "file"), "lie beside it"),
    "arrays above it": (put("..", "arrays", "file"), "lie beside it"),
    "arrays at the top": (put("/", "arrays", "file"), "lie beside it"),
    "arrays that are missing": (put("other.safetensors", "arrays", "file"), "is missing"),
    "arrays with a NUL": (put("a\0b", "arrays", "file"), "is missing|cannot be read|lie beside"),
    "arrays of a long name": (put("a" * 3000, "arrays", "file"), "is missing|cannot be read"),
    "arrays of another hash": (put("00", "arrays", "sha256"), "not the file that"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    change, sentence = BAD[case]
    path = rewritten(tmp_path, change(document(tmp_path)))
    with pytest.raises(ConfigError, match=sentence):
        load(path)


SHAPES: dict[str, Any] = {
    "no list": 6,
    "empty": [],
    "nothing": [0],
    "negative": [-3, 2],
    "true": [True, 6],
    "a fraction": [6.0],
    "deep": [1] * 9,
    "wide": [2**20 + 1],
    "wide together": [2**15, 2**15],
    "of another size": [5],
}


@pytest.mark.parametrize("case", SHAPES)
def test_latents_that_cannot_be_are_refused(case: str, tmp_path: Path) -> None:
    found = document(tmp_path, "cells")
    found["latents"]["shape"] = SHAPES[case]
    with pytest.raises(ConfigError, match=r"latent|centres must be"):
        load(rewritten(tmp_path, found))


@pytest.mark.parametrize("prior", ["gaussian", None, ["normal"], 1])
def test_a_prior_that_is_none_is_refused(prior: object, tmp_path: Path) -> None:
    found = document(tmp_path, "cells")
    found["latents"]["prior"] = prior
    with pytest.raises(ConfigError, match="prior must be one of"):
        load(rewritten(tmp_path, found))


def replaced(folder: Path, data: bytes) -> Path:
    """The document, with other bytes for its arrays, whose hash it names."""
    found = document(folder)
    (folder / "calibrator.safetensors").write_bytes(data)
    found["arrays"]["sha256"] = hashlib.sha256(data).hexdigest()
    return rewritten(folder, found)


def with_arrays(folder: Path, **changed: NDArray[Any]) -> Path:
    arrays = {**MADE["filter"].arrays(), **changed}
    return replaced(folder, safetensors.numpy.save(arrays))


BYTES = {
    "none": b"",
    "no header": b"\x00" * 7,
    "a header without end": (2**40).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("case", BYTES)
def test_arrays_that_are_none_are_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        load(replaced(tmp_path, BYTES[case]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["keep", "modes", "unasked"])
def test_numbers_that_are_none_are_refused(name: str, value: float, tmp_path: Path) -> None:
    wide = np.full((2,), value) if name == "keep" else np.full((2, 6), value, dtype=np.float32)
    with pytest.raises(ConfigError, match=f"'{name}' must be finite numbers"):
        load(with_arrays(tmp_path, **{name: wide}))


def test_a_change_of_one_bit_is_noticed(tmp_path: Path) -> None:
    document(tmp_path)
    path = tmp_path / "calibrator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="is not the file that calibrator.json was written with"):
        load(tmp_path)


def test_no_such_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; ganaudit calibrate writes one"):
        load(tmp_path / "calibrator.json")
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path)


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "calibrator.json").open("wb") as file:
        file.truncate(2**34)  # sparse
    with pytest.raises(ConfigError, match="is larger than 4 MiB"):
        load(tmp_path)
    document(tmp_path)
    with (tmp_path / "calibrator.safetensors").open("r+b") as file:
        file.truncate(2**34)
    with pytest.raises(ConfigError, match="is larger than 1024 MiB"):
        load(tmp_path)
