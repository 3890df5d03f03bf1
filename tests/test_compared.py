"""Two runs side by side, and a baseline, as people read them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Pixels, Toy
from report_example import HOSTILE
from test_baselines import Crowded
from test_finished import kept

from ganaudit import baselines
from ganaudit.config import DiagnoseConfig
from ganaudit.difference import diff
from ganaudit.finished import Finished
from ganaudit.pipeline import diagnose
from ganaudit.report import compared

Make = Callable[..., DiagnoseConfig]
CUT = ("mu at n", "0.500", "0.750")  # the cells before a difference with one end


def figure(
    a: float | None, b: float | None, difference: tuple[float | None, ...], **given: Any
) -> dict[str, Any]:
    """A line of a diff: two estimates, and what lies between them."""
    names = ("estimate", "low", "high")
    return {
        "figure": "mu",
        "title": "mu at n",
        "share": False,
        "a": {"estimate": a, "low": None, "high": None},
        "b": {"estimate": b, "low": None, "high": None},
        "difference": dict(zip(names, difference, strict=True)),
        "told_apart": False,
    } | given


def document(*figures: dict[str, Any], **given: Any) -> dict[str, Any]:
    side = {"folder": "runs/a", "generator": "demo", "seed": 0, "anchors": 1, "samples": 2000}
    return {
        "schema_version": 1,
        "kind": "diff",
        "rarefied": False,
        "a": side,
        "b": side | {"folder": "runs/b", "generator": "demo:collapsed", "anchors": 1000},
        "figures": list(figures),
        "environment": {"ganaudit": "0.1.0"},
    } | given


# -- cells -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (
            figure(0.25, 0.125, (-0.125, -0.25, -0.0625), told_apart=True),
            ("mu at n *", "0.250", "0.125", "-0.125", "-0.250 to -0.0625"),
        ),
        (
            figure(1200.0, 1210.5, (10.5, -1.25, 22.25)),
            ("mu at n", "1,200", "1,210", "+10.5", "-1.25 to +22.2"),
        ),
        (
            figure(0.02, 0.0796, (0.0596, 0.05, 0.07), share=True, title="Worst mode, rate"),
            ("Worst mode, rate", "2.00 %", "7.96 %", "+5.96 %", "+5.00 % to +7.00 %"),
        ),
        (figure(0.5, 0.5, (0.0, None, None)), ("mu at n", "0.500", "0.500", "0", "none")),
        (figure(0.5, 0.75, (0.25, 0.125, None)), (*CUT, "+0.250", "at least 0.125")),
        (figure(0.5, 0.75, (0.25, None, 0.375)), (*CUT, "+0.250", "at most 0.375")),
        (
            figure(None, 0.75, (None, None, None)),
            ("mu at n", "not known", "0.750", "not known", "none"),
        ),
    ],
)
def test_a_line_is_signed_and_says_what_is_not_known(
    line: dict[str, Any], cells: tuple[str, ...]
) -> None:
    (found,) = compared.rows(document(line))
    assert found == cells


def test_sides_say_which_run_is_which_and_whether_they_were_cut() -> None:
    said = compared.sides(document())
    assert said == [
        "A: demo in runs/a, 1 anchor, 2,000 samples",
        "B: demo:collapsed in runs/b, 1,000 anchors, 2,000 samples",
    ]
    assert compared.sides(document(rarefied=True))[2:] == ["Both were cut to what both have."]


@pytest.mark.parametrize(("marked", "said"), [(0, "0 figures"), (1, "1 figure"), (2, "2 figures")])
def test_the_star_is_explained_and_is_no_verdict(marked: int, said: str) -> None:
    lines = [figure(1.0, 2.0, (1.0, 0.5, 1.5), told_apart=i < marked) for i in range(3)]
    found = compared.explained(document(*lines))
    assert found.startswith(f"{said} of 3 marked *: ")
    assert "ganaudit check is the verdict" in found
    assert "pass" not in found and "fail" not in found


# -- pages -----------------------------------------------------------------------------------


def test_markdown_is_a_table_of_every_figure(config: Make, undrawn: None) -> None:
    for folder, source in (("a", Toy()), ("b", Crowded())):
        diagnose(config(samples=700, out=Path(folder)), source=source, descriptor=Pixels())
    found = diff(Path("a"), Path("b"))
    text = compared.render(found)
    assert text.startswith("# Difference\n\n") and text.endswith("\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(found["figures"])
    assert {line.count("|") - line.count("\\|") for line in table} == {6}
    assert any("Worst mode, rate \\*" in line for line in table)


@pytest.mark.parametrize("name", HOSTILE)
def test_somebody_elses_names_steer_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    side = document()["a"] | {"generator": name, "folder": name}
    found = document(figure(1.0, 2.0, (1.0, 0.5, 1.5), title=name), a=side)
    text = compared.render(found)
    assert len([line for line in text.splitlines() if line.startswith("#")]) == 1
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert not re.search(r"(?<!\\)(<script|!\[)", text)
    compared.show(found)
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert not [line for line in shown.splitlines() if line.startswith("::")]


def test_the_terminal_shows_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [figure(1.0, 2.0, (1.0, 0.5, 1.5), title=f"Figure {i}") for i in range(5)]
    compared.show(document(*lines, rarefied=True))
    shown = capsys.readouterr()
    for i in range(5):
        assert f"Figure {i}" in shown.out
    assert "demo:collapsed in runs/b" in shown.out and "Both were cut" in shown.out
    assert "+0.500 to +1.50" in shown.out
    assert shown.err == ""


# -- baselines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = kept(tmp_path_factory.mktemp("runs") / "run", Crowded())
    return json.dumps(baselines.of_run(Finished.read(run)).document())


@pytest.fixture
def baseline(saved: str) -> dict[str, Any]:
    return json.loads(saved)


def test_a_baseline_shows_what_it_holds(
    baseline: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    compared.show_baseline(baseline, file=Path("b.json"))
    shown = " ".join(capsys.readouterr().out.split())
    mode = baseline["modes"][0]
    for said in (
        "Baseline b.json",
        "Generator toy",
        "Descriptor pixels",
        "Theta and radius 0.4 and 0.3 of pi",
        "Size 64 anchors, 700 samples, seed 0",
        "Found One identity makes up ",
        f"Mode 1 anchor {mode['anchor']}: ",
        f"({mode['count']:,} of {mode['of']:,})",
    ):
        assert said in shown
    assert f"Mode {len(baseline['modes'])} anchor" in shown


def test_a_baseline_of_embeddings_says_so(
    baseline: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    compared.show_baseline(baseline | {"descriptor": None, "modes": []}, file=Path("b.json"))
    shown = capsys.readouterr().out
    assert "embeddings" in shown and "Mode" not in shown


@pytest.mark.parametrize("text", [*HOSTILE, "x" * 10**6])
def test_a_baseline_of_somebody_else_is_shown_in_bounds(
    baseline: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline |= {"generator": text, "headline": text, "descriptor": {"name": text}}
    compared.show_baseline(baseline, file=Path("b.json"))
    shown = capsys.readouterr().out
    assert len(shown) < 5000
    assert all(c.isprintable() or c == "\n" for c in shown)
