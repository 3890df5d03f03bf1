import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_intervals import EXTREMES, TALLIES, pairs, tally_of

from ganaudit.comparable import SHARES, Comparable
from ganaudit.diversity import Moments
from ganaudit.extremes import extremes
from ganaudit.gates import FIGURES, Limit, judge, samples_needed
from ganaudit.intervals import Estimate, Interval, mean_similarity, mu_at_n
from ganaudit.ratios import Share, ratio, ratio_of_extremes

MADE = TALLIES | {name: lambda s=s: tally_of(s) for name, s in EXTREMES.items()}
SOME = {"near-copies": Share(3, 45), "duplicates": Share(0, 700), "faceless": Share(700, 700)}


def whole() -> Comparable:
    """With something in every place."""
    return Comparable.of(
        tally_of(pairs(45, 700, 1)),
        vendi=Estimate(3.5, 2e-4, 31, 0.0),
        shares=SOME | {"failures": Share(2, 702)},
    )


def read_again(figures: Comparable) -> Comparable:
    return Comparable.read(json.loads(json.dumps(figures.document(), allow_nan=False)))


# -- what is in it ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_every_figure_is_that_of_its_kernel(make) -> None:
    tally = make()
    found, worst = Comparable.of(tally), extremes(tally)
    assert (found.anchors, found.samples) == (len(tally.squares), tally.n.sum())
    assert found.pairs == mean_similarity(tally)
    assert found.mu == mu_at_n(tally)
    assert (found.worst_rate, found.worst_similarity) == worst
    assert found.vendi is None
    assert found.shares == {}


def test_few_samples_have_no_worst_mode() -> None:
    found = Comparable.of(tally_of(pairs(6, 112, 8, share=0.3)))
    assert found.worst_rate is found.worst_similarity is None
    assert found.pairs.variance is found.mu.variance is None
    assert found.figures()["worst_rate"] == {"estimate": None, "low": None, "high": None}
    assert found.over(whole())["worst_rate"] == Interval(None, None, None)
    assert whole().over(found)["worst_rate"] == Interval(None, None, None)
    assert read_again(found) == found


def test_three_figures_with_intervals_are_told() -> None:
    one, other = whole(), Comparable.of(tally_of(pairs(45, 700, 2)))
    told = one.figures()
    assert told["mean_similarity"] == one.pairs.interval().figures()
    assert told["mu"] == one.mu.interval().figures()
    assert told["worst_rate"] == one.worst_rate.interval.figures()
    over = one.over(other)
    assert over["mean_similarity"] == ratio(one.pairs, other.pairs).interval()
    assert over["mu"] == ratio(one.mu, other.mu).interval()
    wanted = ratio_of_extremes(one.worst_rate, other.worst_rate).interval()
    assert over["worst_rate"] == wanted
    back = other.over(one)
    for name, interval in over.items():
        assert interval.low < interval.estimate < interval.high
        assert interval.low == pytest.approx(1 / back[name].high), name


# -- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
@pytest.mark.parametrize("vendi", [None, Estimate(3.5, 2e-4, 31, 0.0), Estimate(0.0, None, 0, 0.0)])
def test_what_was_written_is_read(make, vendi: Estimate | None) -> None:
    figures = Comparable.of(make(), vendi=vendi, shares=SOME)
    assert read_again(figures) == figures
    assert read_again(read_again(figures)).document() == read_again(figures).document()


@pytest.mark.parametrize("samples", [1, 16, 112, 113])
@pytest.mark.parametrize("anchors", [1, 2, 6])
def test_small_runs_are_read(anchors: int, samples: int) -> None:
    figures = Comparable.of(tally_of(pairs(anchors, samples, 8, share=0.3)))
    assert read_again(figures) == figures


@pytest.mark.parametrize("kinds", [1, 3, 16])
@pytest.mark.parametrize("count", [1, 100, 5000])
def test_vendi_scores_of_rows_are_read(kinds: int, count: int) -> None:
    moments = Moments(16)
    rows = np.eye(16, dtype=np.float32)[np.arange(count) % kinds]
    moments.add(rows, np.ones(count, dtype=np.bool_), 0)
    figures = Comparable.of(tally_of(pairs(6, 200, 1)), vendi=moments.log_vendi()["order_1"])
    assert figures.vendi is not None
    assert read_again(figures) == figures


def test_the_spread_of_a_figure_is_never_what_reading_refuses() -> None:
    """A single hit, in the smallest of groups: as wide as a spread can be for its figure."""
    s = np.zeros((50, 7 * 16 + 1))
    s[0, -1] = 1
    figures = Comparable.of(tally_of(s))
    assert figures.pairs.variance > 0.5 * figures.pairs.value**2
    assert figures.mu.variance > 0.5 * figures.mu.value**2
    assert read_again(figures) == figures


# -- what somebody else wrote ----------------------------------------------------------------


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all keys, tables included."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))


PATHS = list(leaves(whole().document()))
MAY_BE_ABSENT = {  # what was not computed
    *(("pairs", "variance"), ("mu", "variance"), ("vendi", "variance")),
    *(("vendi",), ("worst_rate",), ("worst_similarity",)),
}
WRONG = {
    "NaN": math.nan,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "true": True,
    "text": "1",
    "negative": -1,
    "slightly negative": -1e-9,
    "huge": 1e30,
    "huge and whole": 10**400,
    "a list": [1],
    "an empty table": {},
    "deep": [[[[{"value": [1]}]]]],
}


def changed(path: tuple[str, ...], value: Any = ...) -> Any:
    """The document with another value there, or without the key."""
    document = json.loads(json.dumps(whole().document()))
    table = document
    for key in path[:-1]:
        table = table[key]
    if value is ...:
        del table[path[-1]]
    else:
        table[path[-1]] = copy.deepcopy(value)
    return document


def test_everything_that_is_changed_below_is_there() -> None:
    assert {path[0] for path in PATHS} == set(vars(whole()))
    assert Comparable.read(json.loads(json.dumps(whole().document()))) == whole()
    assert MAY_BE_ABSENT < set(PATHS)


IMPOSSIBLE = {
    f"{'.'.join(path)}, {name}": (path, value)
    for path in PATHS
    for name, value in WRONG.items()
    if (path, value) != (("shares",), {})  # none of them was counted
}


@pytest.mark.parametrize(("path", "wrong"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_what_is_impossible_is_refused(path: tuple[str, ...], wrong: Any) -> None:
    document = changed(path, wrong)
    with pytest.raises(ValueError, match=f"{r'[a-z]+' if wrong == {} else path[-1]} must be a "):
        Comparable.read(document)


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_what_is_missing_is_refused_or_was_not_computed(path: tuple[str, ...]) -> None:
    absent = changed(path)
    if path in MAY_BE_ABSENT:
        table: Any = Comparable.read(absent)
        for key in path:
            table = getattr(table, key)
        assert table is None
        assert Comparable.read(changed(path, None)) == Comparable.read(absent)
    elif path[0] == "shares" and len(path) == 2:
        assert set(Comparable.read(absent).shares) == set(SHARES) - {path[1]}
    else:
        for document in (absent, changed(path, None)):
            with pytest.raises(ValueError, match=f"{path[-1]} must be a "):
                Comparable.read(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("anchors",), 0, "anchors must be a whole number from 1 to 9007199254740992, got 0"),
        (("samples",), 2**53 + 1, "samples must be a whole number from 1 to"),
        (("samples",), 700.0, "samples must be a whole number from 1 to .* got 700.0"),
        (("pairs", "value"), 1.1, "value must be a number from 0 to 1, got 1.1"),
        (("pairs", "value"), 1e-200, "the value of pairs must be 0 or at least 1e-30, got 1e-200"),
        (("mu", "value"), 5e-324, "the value of mu must be 0 or at least 1e-30"),
        (("mu", "value"), 0, "variance must be a number from 0 to 0, got"),
        (("mu", "variance"), 1e4, "variance must be a number from 0 to"),
        (("pairs", "degrees"), 0, "degrees must be a number from 0.5 to 1e"),
        (("vendi", "value"), 65, "value must be a number from 0 to 64, got 65"),
        (("vendi", "variance"), 1001, "variance must be a number from 0 to 1000, got 1001"),
        (("worst_rate", "apart", "hits"), 701, "hits must be a number from 0 to 700.*, got 701"),
        (("worst_rate", "largest", "unit"), 0, "unit must be a number from 1e-12 to 1, got 0"),
        (("worst_rate", "samples"), 0, "samples must be a whole number from 1 to"),
        (("worst_similarity", "upper"), 1.01, "upper must be a number from 0 to 1, got 1.01"),
        (("shares", "faceless", "count"), 701, "count must be a whole number from 0 to 700, got"),
        (("shares",), None, "shares must be a table, got None"),
        (("pairs",), "x" * 900, r"pairs must be a table, got 'x{39}$"),
    ],
)
def test_a_refusal_says_what_was_wanted(path, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Comparable.read(changed(path, value))


@pytest.mark.parametrize("document", [None, [], "comparable", 3, True])
def test_what_is_no_table_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="comparable must be a table, got "):
        Comparable.read(document)


def test_something_deeper_than_python_can_show_is_refused_as_anything_else() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for path in (("pairs",), ("anchors",), ("mu", "value"), ("shares", "faceless")):
        document = json.loads(json.dumps(whole().document()))
        table = document
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = deep
        with pytest.raises(ValueError, match=f"{path[-1]} must be a .* got list"):
            Comparable.read(document)


def test_unknown_shares_and_keys_are_left_out() -> None:
    document = changed(("shares", "hands"), {"count": -1})
    document["more"] = "later versions"
    assert Comparable.read(document) == whole()


# -- and everything that is read can be judged -----------------------------------------------


EDGES = {
    ("pairs", "value"): (0.0, 1e-30, 1.0),
    ("pairs", "degrees"): (0.5, 1e12),
    ("mu", "value"): (0.0, 1e-30, 1.0),
    ("vendi", "value"): (0.0, 64.0),
    ("worst_rate", "apart", "hits"): (0.0, 5e-324, 700.0),
    ("worst_rate", "largest", "hits"): (0.0, 5e-324, 700.0),
    ("worst_similarity", "largest", "unit"): (1e-12, 1.0),
    ("worst_similarity", "largest", "hits"): (0.0, 5e-324, 1e-3),
    ("shares", "duplicates", "of"): (0, 1, 2**53),
    ("shares", "faceless", "of"): (700, 2**53),
}


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in EDGES.items() for value in values],
    ids=str,
)
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_no_figure_that_can_be_read_breaks_a_gate(path, value: float, spread: float) -> None:
    """Whatever is in somebody's baseline: numbers or none, no warning, no infinity."""
    document = changed(path, value)
    for name, most in (("pairs", None), ("mu", None), ("vendi", 1e3)):
        table = document[name]
        table["variance"] = spread * ((100 * table["value"]) ** 2 * 0.999 if most is None else most)
    read, usual = Comparable.read(document), whole()
    for name, figure in FIGURES.items():
        absolute, relative = figure.kinds
        limits = [Limit(figure, absolute, 20.0 if name == "vendi" else 0.02)]
        limits += [Limit(figure, relative, x) for x in (0.001, 0.4, 0.999)]
        for limit in limits:
            for release, baseline in ((read, usual), (usual, read), (read, read)):
                gate = judge(limit, release, baseline if limit.relative else None)
                told = (gate.found, gate.baseline, gate.change)
                numbers = [v for i in told if i is not None for v in vars(i).values()]
                numbers = [v for v in (*numbers, gate.detectable) if v is not None]
                assert np.isfinite(numbers).all(), (name, limit.kind, gate)
                needed = samples_needed(limit, baseline)
                assert needed is None or 0 < needed <= 10**12
