"""Figures over pairs of images, against their literal twins."""

import math
from collections import Counter
from itertools import pairwise

import literal
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ganaudit import pairs as pairs_module
from ganaudit import verification
from ganaudit.pairs import UNIT, Pairs
from ganaudit.verification import Verification, images_lacking, verify

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]
NAMES = ("auc", "eer", "theta", "radius", "missed")


def people(
    sizes: list[int], *, columns: int = 7, spread: float = 0.8, seed: int = 0
) -> tuple[Rows, Labels]:
    """Rows around a centre for each identity, in no order."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(3 * np.arange(len(sizes)) + 5, sizes)
    centres = rng.normal(size=(len(sizes), columns))
    rows = np.repeat(centres, sizes, axis=0) + spread * rng.normal(size=(len(labels), columns))
    order = rng.permutation(len(labels))
    return unit(rows[order]), labels[order]


def unit(rows: NDArray[np.float64]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def on_circle(*angles: float) -> Rows:
    """Rows in the plane at these angles, fractions of pi."""
    return np.array([(math.cos(math.pi * a), math.sin(math.pi * a)) for a in angles], np.float32)


def expected(same: list[float], different: list[float], fmr: float) -> dict[str, float | None]:
    reach = literal.radius(different, fmr)
    eer, theta = literal.equal_error(same, different)
    return {
        "auc": literal.auc(same, different),
        "eer": eer,
        "theta": theta,
        "radius": reach,
        "missed": None if reach is None else literal.false_non_matches(same, reach),
    }


def estimates(found: Verification) -> dict[str, float | None]:
    return {name: getattr(found, name).estimate for name in NAMES}


def assert_equal(found: dict[str, float | None], wanted: dict[str, float | None]) -> None:
    assert {name for name in NAMES if found[name] is None} == {
        name for name in NAMES if wanted[name] is None
    }
    known = {name: value for name, value in wanted.items() if value is not None}
    assert {name: found[name] for name in known} == pytest.approx(known, rel=1e-13, abs=1e-13)


# -- point estimates --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [[5, 1, 4, 7, 3], [2, 1], [9, 9], [1, 1, 1, 2, 1, 1, 12]])
def test_figures_are_those_of_the_literal_twin(sizes: list[int], seed: int) -> None:
    rows, labels = people(sizes, seed=seed)
    same, different = literal.pairs(rows, labels)
    for fmr in (0.05, 0.31):
        found = verify(rows, labels, fmr=fmr, replicates=0)
        assert (found.same, found.different) == (len(same), len(different))
        assert_equal(estimates(found), expected(same, different, fmr))


@pytest.mark.parametrize("held", [1, 2, 3, 100])
def test_a_case_by_hand(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "_HELD", held)
    # A at 0 and .1, B at .28 and .5: same .1 and .22; different .28, .5, .18 and .4.
    found = verify(on_circle(0, 0.1, 0.28, 0.5), np.array([0, 0, 1, 1]), fmr=0.5, replicates=0)
    assert (found.same, found.different) == (2, 4)
    assert found.auc.estimate == 7 / 8  # .22 is beyond .18
    # FMR is 1/4 from .18 on; FNMR is 1/2 there and 0 at .22: they cross half way.
    assert found.eer.estimate == 1 / 4
    assert found.theta.estimate == pytest.approx(0.2, abs=1e-7)
    assert found.radius.estimate == pytest.approx(0.28, abs=1e-7)
    assert found.missed.estimate == 0


def test_ties_by_hand() -> None:
    # A at 0 and .1, B at 0 and .4: same .1 and .4; different 0, .4, .1 and .3.
    rows, labels = on_circle(0, 0.1, 0, 0.4), np.array([0, 0, 1, 1])
    found = verify(rows, labels, fmr=0.5, replicates=0)
    assert found.auc.estimate == (2.5 + 0.5) / 8
    assert found.eer.estimate == 0.5  # from .1 on both are 1/2, until .3
    assert found.theta.estimate == pytest.approx(0.2, abs=1e-7)
    assert found.radius.estimate == pytest.approx(0.1, abs=1e-7)
    assert found.missed.estimate == 0.5
    assert verify(rows, labels, fmr=0.49, replicates=0).radius.estimate is None


def test_errors_that_are_equal_over_a_stretch_give_its_middle() -> None:
    apart = verify(on_circle(0, 0.1, 0.5, 0.7), np.array([0, 0, 1, 1]), fmr=0.5, replicates=0)
    assert (apart.auc.estimate, apart.eer.estimate) == (1, 0)
    assert apart.theta.estimate == pytest.approx((0.2 + 0.4) / 2, abs=1e-7)
    # Same .1, .45 and different .3, .4, .75, .85: from .4 on both are 1/2, until .45.
    crossed = verify(on_circle(0, 0.1, 0.4, 0.85), np.array([0, 0, 1, 1]), fmr=0.5, replicates=0)
    assert crossed.eer.estimate == 0.5
    assert crossed.theta.estimate == pytest.approx((0.4 + 0.45) / 2, abs=1e-7)


def test_rows_that_are_all_the_same_tie() -> None:
    rows = np.repeat(people([1], columns=9)[0], 6, axis=0)
    found = verify(rows, np.array([0, 0, 0, 1, 1, 1]), fmr=0.9, replicates=0)
    assert found.auc.estimate == 0.5
    assert found.theta.estimate == 0
    assert found.radius.estimate is None and found.missed.estimate is None


def test_opposite_rows_are_at_distance_one() -> None:
    row = people([1], columns=5)[0]
    found = verify(np.vstack([row, row, -row]), np.array([0, 0, 1]), fmr=0.9, replicates=0)
    assert found.theta.estimate == 0.5  # between 0 and 1
    assert found.histogram[1, -1] == 2


def test_small_distances_are_not_rounded_away() -> None:
    angles = [0, 3e-7, 4e-7, 9e-7]
    rows = np.array([(math.cos(a), math.sin(a)) for a in angles], np.float32)  # all cosines are 1
    found = verify(rows, np.array([0, 0, 1, 1]), fmr=0.5, replicates=0)
    same, different = literal.pairs(rows, np.array([0, 0, 1, 1]))
    assert len(set(same + different)) == 6
    assert_equal(estimates(found), expected(same, different, 0.5))
    assert found.auc.estimate == 5 / 8  # same 3 and 5; different 4, 9, 1 and 6


def test_rows_that_are_a_little_longer_than_one_are_measured_by_their_angle() -> None:
    rows, labels = people([4, 3, 2])
    rows[::2] *= np.float32(1.0008)
    same, different = literal.pairs(unit(rows.astype(np.float64)), labels)
    found = estimates(verify(rows, labels, fmr=0.2, replicates=0))
    assert found == pytest.approx(expected(same, different, 0.2), abs=1e-7)


def test_order_and_numbers_of_identities_are_irrelevant() -> None:
    rows, labels = people([5, 2, 6, 1, 3], seed=3)
    order = np.random.default_rng(1).permutation(len(rows))
    found = verify(rows, labels, fmr=0.1, replicates=0)
    for changed in (verify(rows[order], labels[order], fmr=0.1, replicates=0),
                    verify(rows, 100 - labels, fmr=0.1, replicates=0)):  # fmt: skip
        assert estimates(changed) == estimates(found)
        np.testing.assert_array_equal(changed.roc, found.roc)
        np.testing.assert_array_equal(changed.histogram, found.histogram)


def with_ties() -> tuple[Rows, Labels]:
    """Points on a coarse circle: few distances, all of them often."""
    rng = np.random.default_rng(5)
    labels = rng.integers(6, size=50)
    return on_circle(*(rng.integers(9, size=50) / 30 + labels / 25)), labels


@pytest.mark.parametrize("held", [5, 100])
@pytest.mark.parametrize("band", [1, 70])
@pytest.mark.parametrize("tied", [False, True])
def test_blocks_change_nothing(
    held: int, band: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, labels = with_ties() if tied else people([5, 1, 7, 4, 2], seed=2)
    same, different = literal.pairs(rows, labels)
    whole = verify(rows, labels, fmr=0.1, replicates=0)
    monkeypatch.setattr(pairs_module, "_HELD", held)
    monkeypatch.setattr(pairs_module, "_BAND", band)
    found = verify(rows, labels, fmr=0.1, replicates=0)
    assert_equal(estimates(found), expected(same, different, 0.1))
    assert estimates(found) == pytest.approx(estimates(whole), rel=1e-15)
    np.testing.assert_array_equal(found.histogram, whole.histogram)
    # Levels that several stretches reach are shown in each, so there may be more points.
    shown = {tuple(point) for point in found.roc.tolist()}
    assert {tuple(point) for point in whole.roc.tolist()} <= shown


def test_a_level_stretch_that_ends_in_the_next_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "_HELD", 1)
    rows, labels = on_circle(0, 0.1, 0.5, 0.7), np.array([0, 0, 1, 1])
    found = verify(rows, labels, fmr=0.5, replicates=0)
    assert found.theta.estimate == pytest.approx(0.3, abs=1e-7)
    assert found.radius.estimate == pytest.approx(0.5, abs=1e-7)


def test_stretches_hold_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = people([6, 5, 9, 4], seed=2)
    monkeypatch.setattr(pairs_module, "_HELD", 40)
    found = list(Pairs(rows, labels).stretches(lambda what, done, total: None))
    sizes = [len(stretch.same.keys) + len(stretch.different.keys) for stretch in found]
    assert max(sizes) <= 40 and sum(sizes) == 24 * 23 // 2
    last = [max(s.same.keys.max(initial=0), s.different.keys.max(initial=0)) for s in found]
    assert last == sorted(last)


# -- radius -----------------------------------------------------------------------------------


def test_the_rate_at_the_radius_is_never_above_what_was_asked() -> None:
    rows, labels = people([4] * 6, seed=1)
    _, different = literal.pairs(rows, labels)
    for fmr in (1 / 240, 0.01, 1 / 3, 0.5, 0.99):
        found = verify(rows, labels, fmr=fmr, replicates=0)
        assert found.radius.estimate is not None
        count = sum(d <= found.radius.estimate for d in different)
        assert count == math.floor(fmr * len(different) * (1 + 1e-12))


def test_with_too_few_different_pairs_there_is_no_radius() -> None:
    rows, labels = people([4] * 6, seed=1)  # 240 different pairs
    found = verify(rows, labels, fmr=1 / 241, replicates=50)
    none = {"estimate": None, "low": None, "high": None}
    assert found.radius.figures() == found.missed.figures() == none
    assert found.theta.low is None  # six identities
    assert verify(rows, labels, fmr=1 / 240, replicates=0).radius.estimate is not None


def test_pairs_that_tie_are_within_the_radius_together_or_not_at_all() -> None:
    # A at 0, B at .2 twice, C at .5: different .2 twice, .3 twice and .5; same 0.
    rows, labels = on_circle(0, 0.2, 0.2, 0.5), np.array([0, 1, 1, 2])
    for allowed, reach in ((1, None), (2, 0.2), (3, 0.2), (4, 0.3)):
        found = verify(rows, labels, fmr=allowed / 5, replicates=0).radius.estimate
        assert found == (None if reach is None else pytest.approx(reach, abs=1e-7))


def test_different_pairs_at_distance_zero_leave_no_radius() -> None:
    rows = people([1, 1, 1])[0][[0, 1, 0, 2]]
    found = verify(rows, np.array([0, 0, 1, 1]), fmr=0.3, replicates=0)
    assert found.radius.estimate == literal.radius(
        literal.pairs(rows, np.array([0, 0, 1, 1]))[1], 0.3
    )
    assert found.radius.estimate is None


@pytest.mark.parametrize(("images", "different", "fmr"), [(6, 12, 0.001), (25, 250, 0.001),
                         (3, 2, 0.3), (3, 3, 1 / 3), (10, 40, 0.5), (2, 1, 1e-9)])  # fmt: skip
def test_images_that_are_lacking_are_counted(images: int, different: int, fmr: float) -> None:
    more = images_lacking(images, different, fmr)
    added = [different + sum(images + i for i in range(n)) for n in (more - 1, more)]
    assert 1 / added[1] <= fmr
    assert more == 0 or 1 / added[0] > fmr


# -- the curve --------------------------------------------------------------------------------


def test_points_of_the_curve_are_exact_and_ascend() -> None:
    rows, labels = people([4, 6, 3, 5], seed=7)
    same, different = literal.pairs(rows, labels)
    found = verify(rows, labels, fmr=0.1, replicates=0).roc
    for distance, fmr, fnmr in found.tolist():
        assert fmr == literal.false_matches(different, distance)
        assert fnmr == literal.false_non_matches(same, distance)
    assert all(a[0] < b[0] for a, b in pairwise(found.tolist()))
    assert found[-1, 1] == 1 and found[:, 2].min() == 0
    assert found[found[:, 1] > 0, 1].min() == 1 / len(different)
    assert found[found[:, 2] > 0, 2].min() == 1 / len(same)


def test_a_long_curve_is_thinned_evenly_on_the_axes_it_is_drawn_on() -> None:
    rows, labels = people([40] * 5, seed=7)
    found = verify(rows, labels, fmr=0.1, replicates=0).roc
    assert 150 < len(found) <= 301
    for rates in (found[:, 1], found[::-1, 2]):
        positive = rates[rates >= 20 / 16000]  # below it a single pair is a larger step
        gaps = np.diff(np.log(positive[np.concatenate([[True], np.diff(positive) > 0])]))
        assert gaps.max() < 0.4


def test_histograms_count_every_pair_once() -> None:
    rows, labels = people([4, 6, 3, 5], seed=7)
    found = verify(rows, labels, fmr=0.1, replicates=0)
    for counts, distances in zip(found.histogram, literal.pairs(rows, labels), strict=True):
        wanted, _ = np.histogram(distances, bins=verification.BINS, range=(0, 1))
        np.testing.assert_array_equal(counts, wanted)
    assert found.figures()["histogram"]["edges"] == [i / 200 for i in range(201)]


def test_a_distance_on_an_edge_belongs_to_the_bin_above_it() -> None:
    rows = np.eye(3, dtype=np.float32)  # all at distance 1/2
    found = verify(rows, np.array([0, 0, 1]), fmr=0.9, replicates=0)
    assert found.histogram[0, 100] == 1 and found.histogram[1, 100] == 2


# -- intervals --------------------------------------------------------------------------------


def replicates(rows: Rows, labels: Labels, fmr: float, seed: int, count: int) -> list[list[float]]:
    """Figures of draws of identities, each copy of an identity written out."""
    names = sorted(set(labels.tolist()))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        drawn = Counter(rng.integers(len(names), size=len(names)).tolist())
        copies = {name: drawn[place] for place, name in enumerate(names)}
        same, different = literal.pairs(rows, labels, copies)
        if same and different:
            figures = expected(same, different, fmr)
            if figures["radius"] is None:
                figures |= {"radius": 0.0, "missed": 1.0}
            found.append([float(figures[name] or 0) for name in NAMES])
    return found


def expanded(identities: int) -> float:
    """The tail of a normal law at the distance where Student's t, with ddof = 1, has 2.5 %."""
    reach = stats.t.isf(0.025, identities - 1) / math.sqrt((identities - 1) / identities)
    return float(stats.norm.sf(reach))


def test_tails_are_thinner_for_few_identities() -> None:
    tails = [expanded(count) for count in (8, 40, 10**6)]
    assert tails == sorted(tails) and tails[-1] == pytest.approx(0.025, abs=1e-5)


@pytest.mark.parametrize("fmr", [0.005, 0.1])
def test_intervals_are_percentiles_of_draws_of_identities(fmr: float) -> None:
    rows, labels = people([3, 2, 4, 2, 2, 3, 2, 1, 2, 3], spread=1.2)
    found = verify(rows, labels, fmr=fmr, seed=11, replicates=12)
    drawn = np.array(replicates(rows, labels, fmr, 11, 12))
    assert found.replicates == len(drawn) == 12
    assert found.resampled == (found.same, found.different)
    for place, name in enumerate(NAMES):
        tail = expanded(10 if name == "radius" else 9)
        wanted = [literal.quantile(drawn[:, place].tolist(), p) for p in (tail, 1 - tail)]
        interval = getattr(found, name)
        assert [interval.low, interval.high] == pytest.approx(wanted, abs=1e-12), name
    tight = min(drawn[:, NAMES.index("radius")])
    assert (tight == 0) == (fmr == 0.005)  # some draws leave no distance that is rare enough


def test_draws_without_a_pair_of_a_kind_are_left_out() -> None:
    rows, labels = people([2] + [1] * 8, spread=1.2)
    found = verify(rows, labels, fmr=0.2, seed=3, replicates=40)
    drawn = np.array(replicates(rows, labels, 0.2, 3, 40))
    assert found.replicates == len(drawn) < 40
    wanted = [literal.quantile(drawn[:, 3].tolist(), p) for p in (expanded(9), 1 - expanded(9))]
    assert [found.radius.low, found.radius.high] == pytest.approx(wanted, abs=1e-12)
    assert (found.auc.low, found.theta.low, found.missed.high) == (None, None, None)


def test_few_identities_have_no_intervals() -> None:
    rows, labels = people([3] * 7)
    found = verify(rows, labels, fmr=0.1, replicates=20)
    assert found.replicates == 0 and found.resampled == (0, 0)
    assert all(getattr(found, name).low is None for name in NAMES)
    assert estimates(found) == estimates(verify(rows, labels, fmr=0.1, replicates=0))
    assert verify(*people([3] * 8), fmr=0.1, replicates=20).auc.low is not None


def test_the_seed_decides_the_intervals_and_nothing_else() -> None:
    rows, labels = people([3] * 12, spread=1.2)
    one, again, other = (
        verify(rows, labels, fmr=0.1, seed=seed, replicates=30) for seed in (1, 1, 2)
    )
    assert one.figures() == again.figures()
    assert estimates(one) == estimates(other)
    assert one.auc != other.auc


def test_no_errors_among_few_identities_are_not_certainty() -> None:
    rows, labels = people([3] * 10, columns=30, spread=0.05)
    found = verify(rows, labels, fmr=0.1, replicates=30)
    assert found.eer.figures() == pytest.approx({"estimate": 0, "low": 0, "high": 0.3})
    assert found.auc.figures() == pytest.approx({"estimate": 1, "low": 0.7, "high": 1})
    assert found.missed.figures() == pytest.approx({"estimate": 0, "low": 0, "high": 0.3})
    assert found.theta.low is not None and found.theta.low < found.theta.high < 1


def test_thinned_pairs_give_about_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = people([6] * 30, columns=12, spread=1.0)
    whole = verify(rows, labels, fmr=0.05, replicates=200)
    monkeypatch.setattr(verification, "MOST_RESAMPLED", 400)
    thin = verify(rows, labels, fmr=0.05, replicates=200)
    assert whole.resampled == (450, 15660)
    assert thin.resampled[0] <= 400 and thin.resampled[1] <= 400
    assert min(thin.resampled) > 200
    assert estimates(thin) == estimates(whole)
    assert thin.auc != whole.auc
    for name in ("auc", "eer", "theta"):
        interval, other = getattr(thin, name), getattr(whole, name)
        assert interval.low < interval.estimate < interval.high
        assert interval.high - interval.low == pytest.approx(other.high - other.low, rel=1.0)


def test_an_interval_of_thinned_pairs_is_moved_to_the_exact_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, labels = people([12] * 40, columns=3, spread=0.4, seed=4)
    monkeypatch.setattr(verification, "MOST_RESAMPLED", 60)
    found = verify(rows, labels, fmr=0.1, replicates=100)
    sample = verification._Sample(Pairs(rows, labels), 0.1, np.random.default_rng(0))
    drawn = sample.replicates(_after_thinning(), 100, lambda what, done, total: None)
    low, high = np.quantile(drawn[:, 0], (expanded(40), 1 - expanded(40)))
    moved = found.auc.estimate - sample.point().auc
    assert abs(moved) > 1e-4
    assert [found.auc.low, found.auc.high] == pytest.approx([low + moved, min(1, high + moved)])


def _after_thinning() -> np.random.Generator:
    """The generator of seed 0 once it has thinned the pairs of both kinds to 60."""
    rng = np.random.default_rng(0)
    rng.random(2 * 60)
    return rng


@pytest.mark.parametrize(("total", "most"), [(5, 9), (9, 9), (10, 9), (1000, 9), (85_000_000, 50)])
def test_thinning_keeps_numbers_from_everywhere(total: int, most: int) -> None:
    found = verification._thin(total, most, np.random.default_rng(0))
    assert found.tolist() == sorted(set(found.tolist()))
    assert 0 <= found[0] and found[-1] < total
    if total <= most:
        assert len(found) == total
    else:
        assert most / 2 < len(found) <= most
        assert np.diff(found).max() < 2 * total / most + 1


def test_every_pair_is_as_likely_to_be_kept() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(
        np.concatenate([verification._thin(13, 9, rng) for _ in range(20_000)]), minlength=13
    )
    assert counts.max() / counts.min() < 1.35  # two draws may fall on one number, and one is lost


def test_pairs_by_number_are_all_pairs() -> None:
    rows, labels = people([3, 1, 4, 2], seed=8)
    pairs = Pairs(rows, labels)
    ordered = rows[np.argsort(labels, kind="stable")]
    for same, total in ((True, pairs.same), (False, pairs.different)):
        one, other = pairs.pick(np.arange(total), same=same)
        assert np.all(one < other)
        assert np.all((pairs.identity[one] == pairs.identity[other]) == same)
        assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == total
        (keys,) = pairs.distances([(one, other)])
        wanted = [literal.distance(ordered[a], ordered[b]) for a, b in zip(one, other, strict=True)]
        np.testing.assert_allclose(keys / UNIT, wanted, atol=1 / UNIT)


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(6, dtype=np.int64)}, "both kinds of pairs wanted, got 15 and 0"),
        ({"labels": np.arange(6)}, "both kinds of pairs wanted, got 0 and 15"),
        ({"labels": np.arange(5)}, r"labels must be \[6\], got \[5\]"),
        ({"rows": np.ones((6, 2), np.float32)}, "rows of length 1"),
        ({"rows": np.eye(6)}, "must be float32"),
        ({"fmr": 0.0}, r"fmr must be in \(0, 1\), got 0.0"),
        ({"fmr": math.nan}, r"fmr must be in \(0, 1\), got nan"),
    ],
)
def test_impossible_requests_are_refused(change: dict[str, object], message: str) -> None:
    rows, labels = people([3, 3])
    with pytest.raises(ValueError, match=message):
        verify(**({"rows": rows, "labels": labels, "fmr": 0.1} | change))
