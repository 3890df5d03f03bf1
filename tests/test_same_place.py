import literal
import numpy as np
import pytest
from scipy import stats

from ganaudit.ratios import Share
from ganaudit.same_place import LEVEL, Place, compare, holm


def alone(old: Share, new: Share, tolerance: float) -> float:
    """p of a single mode, which nothing adjusts."""
    return compare([7], [old], [new], tolerance=tolerance)[0].p


# -- one mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.2, 0.4, 3.0])
@pytest.mark.parametrize(
    ("old", "new"),
    [((4, 500), (19, 1000)), ((0, 70), (3, 60)), ((12, 90), (0, 90)), ((9, 9), (30, 31))],
)
def test_p_is_the_tail_of_the_binomial_distribution(old, new, tolerance: float) -> None:
    scaled = new[1] * (1 + tolerance)
    q = scaled / (scaled + old[1])
    wanted = literal.binomial_tail(new[0], old[0] + new[0], q)
    assert alone(Share(*old), Share(*new), tolerance) == pytest.approx(wanted, rel=1e-9)


def test_by_hand() -> None:
    """3 of 4 at q = 100 * 1.5 / (100 * 1.5 + 50) = 3/4: 4 (3/4)^3 / 4 + (3/4)^4 = 189/256."""
    assert alone(Share(1, 50), Share(3, 100), 0.5) == pytest.approx(189 / 256)


def test_a_mode_that_nobody_sees_did_not_grow() -> None:
    assert alone(Share(0, 500), Share(0, 1000), 0.4) == 1
    assert alone(Share(30, 500), Share(0, 1000), 0.4) == 1


def test_a_mode_that_appears_grew() -> None:
    found = compare([3], [Share(0, 5000)], [Share(796, 10_000)], tolerance=0.4)[0]
    assert found.p < 1e-9
    assert found.grown


def test_more_growth_more_tolerance_and_more_before_move_p_as_they_should() -> None:
    by_count = [alone(Share(20, 500), Share(k, 1000), 0.4) for k in range(0, 120, 7)]
    assert by_count == sorted(by_count, reverse=True)
    assert by_count[-1] < LEVEL < by_count[0]
    by_tolerance = [alone(Share(20, 500), Share(70, 1000), x) for x in (0.01, 0.2, 0.4, 1.0)]
    assert by_tolerance == sorted(by_tolerance)
    by_before = [alone(Share(k, 500), Share(70, 1000), 0.4) for k in range(0, 40, 5)]
    assert by_before == sorted(by_before)


@pytest.mark.parametrize("rate", [0.002, 0.01])
def test_a_mode_that_grew_by_just_the_tolerance_is_found_in_at_most_5_percent(rate: float) -> None:
    """Exact, over all counts of both sides: 2,500 samples before, 4,000 now."""
    old, new = np.arange(80), np.arange(160)
    before = stats.binom.pmf(old, 2_500, rate)
    now = stats.binom.pmf(new, 4_000, 1.4 * rate)
    assert before.sum() > 1 - 1e-9 and now.sum() > 1 - 1e-9
    false = sum(
        before[a] * now[b]
        for a in old
        for b in new
        if alone(Share(int(a), 2_500), Share(int(b), 4_000), 0.4) <= LEVEL
    )
    assert 0.005 < false <= 0.05


# -- all of them -----------------------------------------------------------------------------


def test_modes_keep_their_order_and_their_counts() -> None:
    before = [Share(40, 5000), Share(31, 5000), Share(0, 5000)]
    now = [Share(70, 10_000), Share(400, 10_000), Share(1, 10_000)]
    found = compare([6517, 118, 4], before, now, tolerance=0.4)
    single = [alone(a, b, 0.4) for a, b in zip(before, now, strict=True)]
    adjusted = literal.holm(single)
    assert found == [
        Place(1, 6517, before[0], now[0], pytest.approx(adjusted[0])),
        Place(2, 118, before[1], now[1], pytest.approx(adjusted[1])),
        Place(3, 4, before[2], now[2], pytest.approx(adjusted[2])),
    ]
    assert [place.grown for place in found] == [False, True, False]
    assert found[1].p == pytest.approx(3 * single[1])  # the smallest, of three


def test_a_mode_has_grown_at_just_the_level() -> None:
    place = Place(1, 0, Share(0, 1), Share(1, 1), LEVEL)
    assert place.grown
    assert not Place(1, 0, Share(0, 1), Share(1, 1), LEVEL + 1e-9).grown


def test_no_mode_is_no_test() -> None:
    assert compare([], [], [], tolerance=0.4) == []


def test_lists_of_different_length_are_refused() -> None:
    some = [Share(1, 50)]
    for lists in (([1], some, []), ([1], [], some), ([], some, some), ([1, 2], some, some)):
        with pytest.raises(ValueError, match="shorter|longer"):
            compare(*lists, tolerance=0.4)


# -- Holm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_literal_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(rng.integers(1, 30)) ** 4, 2)  # many ties
    assert holm(p).tolist() == pytest.approx(literal.holm(p.tolist()))


@pytest.mark.parametrize("seed", range(20))
def test_what_holm_rejects_is_what_stepping_down_rejects(seed: int) -> None:
    p = np.random.default_rng(seed).random(24) ** 6
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(24), key=lambda i: p[i])):
        if p[i] > 0.05 / (24 - step):
            break
        rejected.add(i)
    assert set(np.flatnonzero(holm(p) <= 0.05).tolist()) == rejected
    assert rejected


def test_holm_by_hand_and_at_its_limits() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.5, 0.9])).tolist() == [1, 1]
    assert holm(np.array([0.0, 1.0])).tolist() == [0, 1]
    assert holm(np.array([0.02])).tolist() == [0.02]
    assert holm(np.array([])).tolist() == []


def test_the_order_of_modes_is_irrelevant_to_holm() -> None:
    p = np.random.default_rng(1).random(24) ** 3
    order = np.random.default_rng(2).permutation(24)
    assert holm(p[order]).tolist() == holm(p)[order].tolist()
