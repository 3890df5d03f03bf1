"""Two finished runs, figure by figure, with the interval of each difference."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Pixels, Toy
from test_baselines import FAILED, Crowded
from test_finished import kept, mutations, rewritten

from ganaudit.comparable import Comparable
from ganaudit.config import DiagnoseConfig
from ganaudit.difference import Line, diff, lines
from ganaudit.errors import ConfigError
from ganaudit.finished import Finished
from ganaudit.gates import found_of
from ganaudit.intervals import Interval, wilson
from ganaudit.pipeline import diagnose
from ganaudit.report import canonical

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]
A, B = Path("a"), Path("b")
NAMES = [
    *("worst-rate", "worst-similarity", "largest-rate", "median-rate", "mean-similarity"),
    *("pooled-mccs", "mu", "sigma", "mccs-5", "mccs-25", "mccs-50", "mccs-75", "mccs-95"),
    *("effective-modes", "birthday-support", "vendi-1", "vendi-2", "vendi-inf"),
    *("near-copies", "duplicates", "faceless", "failures"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds an even run and a crowded one, of one size and different seeds."""
    folder = tmp_path_factory.mktemp("runs")
    kept(folder / A, anchors=100)
    kept(folder / B, Crowded(FAILED), anchors=100, seed=1)
    return folder


@pytest.fixture
def two(made: Path) -> tuple[Path, Path]:
    """Copies of both."""
    for name in (A, B):
        shutil.copytree(made / name, name)
    return A, B


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["figure"]: line for line in document["figures"]}


def line(a: Interval, b: Interval) -> Line:
    return Line("mu", "mu at n", False, a, b)


# -- the interval of a difference ------------------------------------------------------------


def test_a_difference_by_hand() -> None:
    """Arms of 3 and 4, and of 5 and 12: 10 - 6 = 4, less 5 and plus 13."""
    a, b = Interval(6.0, -6.0, 10.0), Interval(10.0, 7.0, 15.0)
    assert line(a, b).difference == Interval(4.0, 4.0 - 5.0, 4.0 + 13.0)
    assert line(b, a).difference == Interval(-4.0, -4.0 - 13.0, -4.0 + 5.0)


def test_equal_arms_are_those_of_a_normal_difference() -> None:
    """Standard errors add in squares, so half-widths do."""
    a, b = Interval(0.5, 0.5 - 1.96 * 0.03, 0.5 + 1.96 * 0.03), Interval(0.8, 0.7216, 0.8784)
    found = line(a, b).difference
    reach = 1.96 * math.hypot(0.03, 0.04)
    assert found.low == pytest.approx(0.3 - reach, rel=1e-12)
    assert found.high == pytest.approx(0.3 + reach, rel=1e-12)


def test_two_shares_have_the_interval_of_newcombe() -> None:
    """Newcombe 1998, method 10: 56/70 less 48/80 is .2000 (.0524 to .3339)."""
    found = line(wilson(48, 80), wilson(56, 70)).difference
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == (
        pytest.approx(0.0524, abs=5e-5),
        pytest.approx(0.3339, abs=5e-5),
    )


def test_intervals_of_differences_hold_the_truth() -> None:
    """Two binomial shares: in 2,000 draws 95 % has a standard error of .5 %."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        found = line(*(wilson(int(rng.binomial(800, p)), 800) for p in (0.05, 0.09))).difference
        held += found.low <= 0.04 <= found.high
    assert 0.935 <= held / 2000 <= 0.965


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        ((None, 1.0, 2.0), (3.0, 2.0, 4.0), (None, None, None)),
        ((1.0, 0.0, 2.0), (None, 2.0, None), (None, None, None)),
        ((1.0, None, None), (3.0, 2.0, 4.0), (2.0, None, None)),
        ((1.0, 0.0, None), (3.0, 2.0, 4.0), (2.0, None, 2.0 + math.sqrt(2))),
        ((1.0, None, 2.0), (3.0, 2.0, 4.0), (2.0, 2.0 - math.sqrt(2), None)),
        ((1.0, 0.0, 2.0), (3.0, None, 4.0), (2.0, None, 2.0 + math.sqrt(2))),
        ((1.0, 0.0, 2.0), (3.0, 2.0, None), (2.0, 2.0 - math.sqrt(2), None)),
    ],
)
def test_an_end_that_is_not_known_leaves_the_other(
    a: tuple[float | None, ...], b: tuple[float | None, ...], wanted: tuple[float | None, ...]
) -> None:
    found = line(Interval(*a), Interval(*b)).difference
    assert found == Interval(*wanted)
    back = line(Interval(*b), Interval(*a)).difference
    turned = [None if end is None else -end for end in (wanted[0], wanted[2], wanted[1])]
    assert back == Interval(*turned)


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ((1, 0.9, 1.1), (2, 1.9, 2.1), True),
        ((2, 1.9, 2.1), (1, 0.9, 1.1), True),
        ((1, 0, 2), (1.5, 0.5, 2.5), False),
        ((1, 0, 2), (1, 0, 2), False),
        ((0, 0, 3), (5, 1, 9), False),  # an end at 0 leaves it in
        ((1, 0.9, None), (2, 1.9, 2.1), False),
        ((1, None, 1.1), (2, 1.9, 2.1), True),  # the lower end is known, and above 0
        ((2, 1.9, None), (1, 0.9, 1.1), True),
        ((None, None, None), (2, 1.9, 2.1), False),
    ],
)
def test_two_figures_are_told_apart_where_0_is_left_out(
    a: tuple[Any, ...], b: tuple[Any, ...], apart: bool
) -> None:
    assert line(Interval(*a), Interval(*b)).told_apart is apart


# -- of two runs -----------------------------------------------------------------------------


def test_every_figure_is_that_of_its_report(two: tuple[Path, Path]) -> None:
    document = diff(*two)
    assert [one["figure"] for one in document["figures"]] == NAMES
    found = by_name(document)
    for side, folder in zip("ab", two, strict=True):
        report = canonical.read(folder)
        figures = report["figures"]
        worst, mccs = figures["worst_mode"], figures["mccs"]
        counted = Comparable.read(report["comparable"])
        wanted = {
            "worst-rate": worst["chosen_and_scored_apart"]["rate"],
            "worst-similarity": worst["chosen_and_scored_apart"]["mean_similarity"],
            "largest-rate": worst["rate"],
            "median-rate": {"estimate": figures["median_rate"], "low": None, "high": None},
            "mean-similarity": figures["mean_similarity"],
            "pooled-mccs": mccs["pooled"],
            "mu": mccs["mu"],
            "sigma": mccs["sigma"],
            "mccs-5": mccs["quantiles"][0],
            "mccs-95": mccs["quantiles"][-1],
            "effective-modes": figures["effective_modes"],
            "birthday-support": figures["birthday_support"],
            "vendi-1": figures["vendi"]["order_1"],
            "vendi-2": figures["vendi"]["order_2"],
            "vendi-inf": figures["vendi"]["order_inf"],
            "failures": found_of("failures", counted).figures(),
            "near-copies": found_of("near-copies", counted).figures(),
        }
        for name, value in wanted.items():
            shown = {end: value[end] for end in ("estimate", "low", "high")}
            assert found[name][side] == shown, name
        assert document[side] == {
            "folder": str(folder),
            "generator": "toy",
            "seed": report["request"]["seed"],
            "anchors": figures["anchors"],
            "samples": figures["samples"],
        }
    assert found["failures"]["a"]["estimate"] == 0 < found["failures"]["b"]["estimate"]


def test_what_is_more_in_b_is_above_0(two: tuple[Path, Path]) -> None:
    document = diff(*two)
    found = by_name(document)
    assert found["worst-rate"]["told_apart"] and found["worst-rate"]["difference"]["low"] > 0
    assert found["vendi-2"]["told_apart"] and found["vendi-2"]["difference"]["high"] < 0
    for one in document["figures"]:
        a, b, gap = (one[side]["estimate"] for side in ("a", "b", "difference"))
        assert gap == (None if a is None or b is None else b - a)
    back = by_name(diff(*reversed(two)))
    for name, one in found.items():
        there, here = back[name]["difference"], one["difference"]
        assert back[name]["told_apart"] == one["told_apart"]
        for end, other in (("estimate", "estimate"), ("low", "high"), ("high", "low")):
            assert there[end] == (None if here[other] is None else pytest.approx(-here[other]))


def test_a_run_does_not_differ_from_itself(two: tuple[Path, Path]) -> None:
    for one in diff(B, B)["figures"]:
        assert one["a"] == one["b"] and not one["told_apart"]
        gap = one["difference"]
        assert gap["estimate"] in (0, None)
        if gap["low"] is not None:
            assert gap["low"] <= 0 <= gap["high"]


def test_the_document_is_json_and_repeats_itself(two: tuple[Path, Path]) -> None:
    one = json.dumps(diff(*two), allow_nan=False)
    assert one == json.dumps(diff(*two), allow_nan=False)
    assert json.loads(one)["kind"] == "diff" and json.loads(one)["rarefied"] is False


def test_few_samples_have_figures_without_ends(config: Make) -> None:
    for folder, seed in ((A, 0), (B, 1)):
        asked = config(anchors=1, samples=40, seed=seed, out=folder)
        diagnose(asked, source=Toy(), descriptor=Pixels())
    found = by_name(diff(A, B))
    for name in ("worst-rate", "sigma", "worst-similarity"):
        assert set(found[name]["difference"].values()) == {None}
    assert found["mean-similarity"]["difference"]["estimate"] is not None
    assert found["mean-similarity"]["difference"]["low"] is None


def test_embeddings_without_a_descriptor_are_compared(config: Make) -> None:
    for folder, seed in ((A, 0), (B, 1)):
        np.save(f"{folder}.npy", np.random.default_rng(seed).normal(size=(400, 6)))
        diagnose(config(generator=f"embeddings:{folder}.npy", theta=0.4, radius=0.3, out=folder))
    assert [one["figure"] for one in diff(A, B)["figures"]] == NAMES


# -- sizes -----------------------------------------------------------------------------------


def test_other_sizes_are_refused_with_the_remedy(config: Make) -> None:
    diagnose(config(out=A), source=Toy(), descriptor=Pixels())
    diagnose(config(anchors=80, out=B), source=Toy(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="anchors only: 64 .* 80 .*; --rarefy cuts both to what"):
        diff(A, B)


def test_rarefied_is_the_difference_of_two_runs_that_small(config: Make) -> None:
    """One has more anchors, the other more samples; some of them failed."""
    sources = {A: Crowded(FAILED), B: Toy()}
    large = {A: {"anchors": 90, "samples": 600}, B: {"anchors": 70, "samples": 750}}
    for folder, source in sources.items():
        asked = config(**large[folder], seed=len(folder.name), out=folder)
        diagnose(asked, source=source, descriptor=Pixels())
    found = diff(A, B, rarefy=True)
    assert found["rarefied"] is True
    scored = 600 - len([slot for slot in FAILED if slot < 600])
    for side in "ab":
        assert (found[side]["anchors"], found[side]["samples"]) == (70, scored)
    last_anchor = next(n for n in range(70, 90) if n - len([f for f in FAILED if f < n]) == 70)
    small = {A: {"anchors": last_anchor, "samples": 600}, B: {"anchors": 70, "samples": scored}}
    for folder, source in sources.items():
        asked = config(**small[folder], seed=len(folder.name), out=Path(f"small-{folder}"))
        diagnose(asked, source=source, descriptor=Pixels())
    wanted = diff(Path("small-a"), Path("small-b"))
    assert found["figures"] == json.loads(json.dumps(wanted["figures"]))


def test_rarefying_runs_of_one_size_changes_nothing(two: tuple[Path, Path]) -> None:
    """But for the samples of one that the other, some of which failed, has no more of."""
    assert diff(A, A, rarefy=True)["figures"] == diff(A, A)["figures"]
    cut = diff(A, B, rarefy=True)
    assert cut["a"]["samples"] == cut["b"]["samples"] == 700 - len(FAILED)
    assert by_name(cut)["worst-rate"]["b"] == by_name(diff(A, B))["worst-rate"]["b"]


# -- what cannot be compared -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta": 0.35}, "a and b cannot be compared: the theta is 0.4 in the one and 0.35"),
        ({"radius": 0.25}, "the radius is 0.3 in the one and 0.25 in the other"),
    ],
)
@pytest.mark.parametrize("rarefy", [False, True])
def test_another_reach_is_refused(
    config: Make, changes: dict[str, float], said: str, rarefy: bool
) -> None:
    diagnose(config(out=A), source=Toy(), descriptor=Pixels())
    diagnose(config(out=B, **changes), source=Toy(), descriptor=Pixels())
    with pytest.raises(ConfigError, match=said):
        diff(A, B, rarefy=rarefy)


def test_what_is_no_finished_run_is_named(config: Make) -> None:
    diagnose(config(out=A), source=Toy(), descriptor=Pixels())
    for pair in ((A, B), (B, A)):
        with pytest.raises(ConfigError, match="^b holds no report.json"):
            diff(*pair)


def test_anything_in_any_place_of_a_report_is_compared_or_refused_in_a_sentence(
    two: tuple[Path, Path],
) -> None:
    path = B / canonical.NAME
    whole = json.loads(path.read_text("utf-8"))
    for part in ("timings", "gallery", "assumptions", "environment", "labels", "screen"):
        whole[part] = {"findings": []}
    refused, compared = set(), set()
    for number, (place, changed) in enumerate(mutations(whole, every=16)):
        path.write_text(json.dumps(changed))
        try:
            found = diff(A, B, rarefy=number % 9 == 0)
        except ConfigError as error:
            assert len(str(error)) < 500 and "\n" not in str(error), place
            refused.add(place)
            continue
        text = json.dumps(found, allow_nan=False)
        assert len(text) < 20_000
        compared.add(place)
    assert len(refused) > 50 < len(compared)


@pytest.mark.parametrize("value", ["0.1", True, [], 10**400, 1e200, -1e200, {}])
def test_a_figure_that_is_no_number_is_refused(two: tuple[Path, Path], value: object) -> None:
    rewritten(B, lambda report: report["figures"]["mccs"]["mu"].update(high=value))
    for pair in ((A, B), (B, A)):
        with pytest.raises(ConfigError, match="the report of b is not complete"):
            diff(*pair)


def test_reports_of_other_figures_are_not_compared(two: tuple[Path, Path]) -> None:
    rewritten(B, lambda report: report["figures"]["mccs"]["quantiles"].pop())
    with pytest.raises(ConfigError, match="the reports of a and b have not the same figures"):
        diff(A, B)
    rewritten(A, lambda report: report["figures"]["mccs"]["quantiles"].pop(0))
    with pytest.raises(ConfigError, match="have not the same figures"):
        diff(A, B)


def test_lines_carry_what_a_reader_needs(two: tuple[Path, Path]) -> None:
    found = lines(Finished.read(A), Finished.read(B))
    assert [one.name for one in found] == NAMES
    shares = {one.name for one in found if one.share}
    assert shares == {
        *("worst-rate", "largest-rate", "median-rate"),
        *("near-copies", "duplicates", "faceless", "failures"),
    }
    titles = {one.name: one.title for one in found}
    assert titles["mccs-50"] == "MCCS, 50% quantile"
    assert titles["vendi-inf"] == "Vendi, order infinity"
    assert titles["near-copies"] == "Near copies"
    assert len(set(titles.values())) == len(titles)
