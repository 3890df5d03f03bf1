"""The examples of training run, in a few steps, and say what they promise."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
Load = Callable[[str], Callable[[list[str]], None]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """The `main` of an example."""

    def found(name: str) -> Callable[[list[str]], None]:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up
        spec.loader.exec_module(module)
        return module.main

    return found


def rows(printed: str) -> Iterator[list[str]]:
    """Cells of the rows of a Markdown table, without its head."""
    for line in printed.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_toys_are_drawn_method_beside_method(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--toys", "three-circles", "--steps", "2", "--points", "64")
    load("toys_2d")([*small, "--out", str(tmp_path / "out")])
    found = list(rows(capsys.readouterr().out))
    methods = ["plain", "AdaptiveMix", "AdvLatGAN-qua", "AdvLatGAN-qua and -z"]
    assert [row[:2] for row in found] == [["three-circles", method] for method in methods]
    assert all(row[2].endswith(" of 24") for row in found)
    with Image.open(tmp_path / "out" / "toys_2d.png") as picture:
        assert picture.size == (1600, 220)
        assert len(picture.convert("L").getcolors() or ()) > 50


def test_digits_are_learned_with_and_without_adaptivemix(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("mnist")(["--steps", "2", "--samples", "300", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert printed.startswith("| figure | plain | adaptivemix |")
    found = {row[0]: row[1:] for row in rows(printed)}
    assert {"worst mode's rate", "effective modes", "Fréchet distance", "coverage"} <= found.keys()
    for cells in found.values():
        assert all(float(cell.removesuffix("%")) >= 0 for cell in cells)
    for method in ("plain", "adaptivemix"):
        assert (tmp_path / "out" / method / "training.html").is_file()
