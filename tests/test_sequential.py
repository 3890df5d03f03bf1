import math
from collections.abc import Callable
from fractions import Fraction

import literal
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ganaudit.intervals import Interval
from ganaudit.sequential import (
    ALPHA,
    SEQUENTIAL,
    decide,
    interval_after,
    log_e_rate,
    log_e_similarity,
)
from ganaudit.slots import GROUPS
from ganaudit.tally import Tally

SIDES = ("fail", "pass")
both_sides = pytest.mark.parametrize("side", SIDES)
every_gate = pytest.mark.parametrize("gate", SEQUENTIAL)


def tally_of(s: NDArray[np.float64], *, start: int = 0) -> Tally:
    """Of the similarities [m, n] of every pair; hits are neighbours. Slots from `start` on."""
    group = np.eye(GROUPS)[(start + np.arange(s.shape[1])) // 16 % GROUPS]  # [n, 32]
    return Tally(
        n=group.sum(axis=0).astype(np.int64),
        similarity=s @ group,
        within=((s > 0) @ group).astype(np.int64),
        squares=(s**2).sum(axis=1),
        within_half=(s >= 0.6).sum(axis=1),
        coherence=s.mean(axis=0) ** 2 @ group,
    )


def counted(counts: list[int], n: int) -> Tally:
    """Anchors with so many copies each among n samples; copies are spread evenly over samples."""
    s = np.zeros((len(counts), n))
    for row, count in zip(s, counts, strict=True):
        row[np.arange(count) * n // max(count, 1)] = 1
    return tally_of(s)


def pairs(m: int, n: int, seed: int, *, share: float = 0.1) -> NDArray[np.float64]:
    """[m, n] similarities, of which about `share` are not 0; anchors differ."""
    rng = np.random.default_rng(seed)
    chance = 2 * share * rng.random((m, 1))
    return np.where(rng.random((m, n)) < chance, rng.random((m, n)), 0.0)


def one(kernel: Callable[..., NDArray[np.float64]], *values: float, n: int, **given) -> float:
    """A kernel's answer on one anchor."""
    dtype = np.int64 if kernel is log_e_rate else np.float64
    return float(kernel(*(np.array([value], dtype) for value in values), n, **given)[0])


def figure(gate: str, s: NDArray[np.float64]) -> float:
    """What a gate is about, in these pairs."""
    return {
        "worst-rate": (s > 0).mean(axis=1).max(),
        "worst-similarity": s.mean(axis=1).max(),
        "mean-similarity": s.mean(),
    }[gate]


def evidence(gate: str, tally: Tally, value: float, side: str) -> float:
    """Log capital against a value of the gate's figure, put together anchor by anchor."""
    n = int(tally.n.sum())
    if gate == "worst-rate":
        counts = tally.within.sum(axis=1)
        logs = [one(log_e_rate, k, n=n, limit=value, side=side) for k in counts]
    else:
        sums, squares = tally.similarity.sum(axis=1), tally.squares
        if gate == "mean-similarity":
            sums, squares = [sums.mean()], [tally.coherence.sum()]
        logs = [
            one(log_e_similarity, t, q, n=n, limit=value, side=side)
            for t, q in zip(sums, squares, strict=True)
        ]
    return literal.log_mean(logs) if side == "fail" else min(logs)


# -- by hand ---------------------------------------------------------------------------------


def test_evidence_of_one_hit_and_one_miss_by_hand() -> None:
    """Limit 1/4: p are 3/10, 3/8, 1/2, 3/4, three times .999; E is the mean of 16/3 p (1 - p)."""
    above = [Fraction(3, 10), Fraction(3, 8), Fraction(1, 2), Fraction(3, 4)]
    above += 3 * [Fraction(999, 1000)]
    below = [r / 4 for r in map(Fraction, ("0.8", "0.65", "0.5", "0.3", "0.1", "0.01"))]
    for side, rates in (("fail", above), ("pass", below)):
        wanted = sum(Fraction(16, 3) * p * (1 - p) for p in rates) / len(rates)
        found = one(log_e_rate, 1, n=2, limit=0.25, side=side)
        assert math.exp(found) == pytest.approx(float(wanted), rel=1e-12)


def test_evidence_of_two_values_by_hand() -> None:
    """Values 1 and 0 against 1/2: T - n g = 0 and V = 1/2, stakes 1/4, 1/2, 1 on either side."""
    price = [(math.log(1 - x / 2) + x / 2) * 4 for x in (1 / 4, 1 / 2, 1)]
    wanted = sum(math.exp(p / 2) for p in price) / 3
    for side in SIDES:
        found = one(log_e_similarity, 1, 1, n=2, limit=0.5, side=side)
        assert math.exp(found) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "n", "said"),
    [
        # 30 x limit is .3; (30)^3 / 7 is 3,857, and a miss costs at most a factor of .7 / .99
        ([3], 3, "fail"),
        ([3, *[0] * 99], 3, "fail"),  # a hundredth of it is 38.6, and 20 suffice
        ([3, *[0] * 399], 3, None),  # a four hundredth is 9.6, and the others lend at most 1 each
        # no hit: a miss gains at most .9999 / .99, so 20 take at least 301; six bets share it
        ([0], 300, None),
        ([0], 600, "pass"),  # the last bet alone has exp(600 x .00995) / 6 = 65
        ([0, 0, 0], 600, "pass"),
        ([0, 6, 0], 600, None),  # one anchor at the limit, and nobody is let through
    ],
)
def test_a_verdict_on_counts_by_hand(counts: list[int], n: int, said: str | None) -> None:
    assert decide("worst-rate", counted(counts, n), 0.01) == said


# -- against the literal ---------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize("limit", [0.003, 0.02, 0.23, 0.7, 0.77, 0.9])  # 4 x .23 is in (.9, .95]
def test_evidence_is_what_the_formulas_say(limit: float, side: str) -> None:
    s = pairs(7, 113, 1, share=0.3)
    counts = (s > 0).sum(axis=1)
    found = log_e_rate(counts, 113, limit, side=side)
    wanted = [literal.log_e_rate(int(k), 113, limit, side) for k in counts]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    found = log_e_similarity(s.sum(axis=1), (s**2).sum(axis=1), 113, limit, side=side)
    wanted = [literal.log_e_similarity([float(v) for v in row], limit, side) for row in s]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@both_sides
@every_gate
def test_verdicts_follow_from_the_evidence(gate: str, side: str) -> None:
    """Over limits from far below to far above the figure, each verdict stands where it should."""
    s = pairs(9, 700, 2)
    tally = tally_of(s)
    said = []
    for limit in np.geomspace(0.001, 0.99, 60):
        logs = {side: evidence(gate, tally, limit, side) for side in SIDES}
        wanted = [side for side in SIDES if logs[side] >= math.log(1 / ALPHA)]
        assert len(wanted) < 2  # never both
        found = decide(gate, tally, limit)
        assert [found] == (wanted or [None])
        said.append(found)
        if found is not None:
            assert found == ("fail" if figure(gate, s) > limit else "pass")
    assert said == sorted(said, key=["fail", None, "pass"].index)
    assert {"fail", None, "pass"} == set(said)


@pytest.mark.parametrize(("counts", "n"), [([0], 300), ([0, 7, 3], 200), ([5, 40], 40), ([1], 1)])
@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_the_upper_end_of_a_rate_is_the_largest_of_the_anchors(
    counts: list[int], n: int, limit: float
) -> None:
    found = interval_after("worst-rate", counted(counts, n), limit)
    wanted = [1.0 if k == n else literal.upper_rate(k, n, limit, 2 / ALPHA) for k in counts]
    assert found.high == pytest.approx(max(wanted), rel=1e-9)
    assert found.estimate == max(counts) / n


@every_gate
@pytest.mark.parametrize("limit", [0.004, 0.05, 0.6])
def test_ends_are_where_the_evidence_crosses(gate: str, limit: float) -> None:
    s = pairs(5, 900, 3)
    tally = tally_of(s)
    found = interval_after(gate, tally, limit)
    assert found.estimate == pytest.approx(figure(gate, s))
    need = math.log(2 / ALPHA)
    assert evidence(gate, tally, found.low * (1 - 1e-6), "fail") >= need
    assert evidence(gate, tally, found.low * (1 + 1e-6), "fail") < need
    if gate != "worst-rate":
        assert evidence(gate, tally, found.high * (1 + 1e-6), "pass") >= need
        assert evidence(gate, tally, found.high * (1 - 1e-6), "pass") < need
    assert 0 < found.low < found.estimate < found.high < 1


# -- validity, exactly -----------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize("limit", [0.004, 0.02, 0.3, 0.8, 0.9995])
def test_evidence_on_counts_is_expected_to_stay_1_at_the_limit(limit: float, side: str) -> None:
    n = 40
    counts = np.arange(n + 1)
    capital = np.exp(log_e_rate(counts, n, limit, side=side))

    def expected(p: float) -> float:
        return float(stats.binom.pmf(counts, n, p) @ capital)

    assert expected(limit) == pytest.approx(1, rel=1e-9)
    inside = (0.0, 0.1, 0.5, 0.9) if side == "fail" else (1.1, 2.0, 1 / limit)
    for p in (min(1.0, ratio * limit) for ratio in inside):
        assert expected(p) <= 1 + 1e-9
    if limit < 0.9:
        assert expected(limit * 1.1 if side == "fail" else limit * 0.9) > 1


@both_sides
@pytest.mark.parametrize("limit", [0.004, 0.02, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.0, 0.9999), (0.001, 1.0), (0.2, 0.85), (0.0, 0.5)])
def test_evidence_on_values_is_expected_to_gain_nothing(
    limit: float, side: str, ends: tuple[float, float]
) -> None:
    """Of all laws on two values whose mean is on the limit's side, a few; every outcome counted."""
    n = 40
    low, high = ends
    hits = np.arange(n + 1)
    sums, squares = (low**k * (n - hits) + high**k * hits for k in (1, 2))
    capital = np.exp(log_e_similarity(sums, squares, n, limit, side=side))
    means = [m for m in (limit, 0.7 * limit, 0.1 * limit, (1 + limit) / 2) if low <= m <= high]
    inside = [m for m in means if (m <= limit if side == "fail" else m >= limit)]
    for mean in inside:
        share = (mean - low) / (high - low)
        assert stats.binom.pmf(hits, n, share) @ capital <= 1 + 1e-9


Stop = tuple[int, int, str | None]  # samples, count, verdict


def stops(limit: float, truth: float, most: int, every: int) -> dict[Stop, float]:
    """Chance of each way in which one anchor's gate stops, looking `every` samples up to `most`."""
    going = np.ones(1)  # chance of each count, and no verdict so far
    out: dict[Stop, float] = {}
    for n in range(1, most + 1):
        going = np.append(going * (1 - truth), 0) + np.append(0, going * truth)
        if n % every:
            continue
        for side in SIDES:
            crossed = log_e_rate(np.arange(n + 1), n, limit, side=side) >= math.log(1 / ALPHA)
            for count in np.flatnonzero(crossed & (going > 0)):
                out[n, int(count), side] = float(going[count])
            going = np.where(crossed, 0, going)
    return out | {(most, count, None): float(chance) for count, chance in enumerate(going)}


@pytest.mark.parametrize("every", [1, 25])
@pytest.mark.parametrize("limit", [0.02, 0.3])
def test_looking_all_the_time_errs_as_rarely_as_promised(limit: float, every: int) -> None:
    """Every path of one anchor's count up to 1,000 samples, at the limit and beyond it."""

    def chance(side: str, truth: float) -> float:
        ways = stops(limit, truth, 1000, every)
        assert sum(ways.values()) == pytest.approx(1)
        return sum(p for (_, _, said), p in ways.items() if said == side)

    for side, ratio in (("fail", 1.0), ("fail", 0.9), ("pass", 1.0), ("pass", 1.1)):
        assert 0 < chance(side, ratio * limit) <= ALPHA
    assert chance("fail", 3 * limit) > 0.95
    assert chance("pass", limit / 5) > 0.95


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_after_stopping_the_interval_of_a_rate_holds_the_truth(ratio: float) -> None:
    """Every way to stop on one anchor, weighted by its chance; at most ALPHA / 2 a side misses."""
    limit, truth = 0.05, 0.05 * ratio
    low = high = 0.0
    for (n, count, _), chance in stops(limit, truth, 500, 50).items():
        if chance > 1e-9:
            found = interval_after("worst-rate", counted([count], n), limit)
            low += chance * (found.low > truth)
            high += chance * (found.high < truth)
    assert 0 < low + high  # nothing is excluded in vain
    assert max(low, high) <= ALPHA / 2


# -- validity, by simulation -----------------------------------------------------------------

RELEASES = 200
SHARES, REACH = np.array([0.06, 0.02, 0.02, 0.9]), np.array([1.0, 0.8, 0.5, 1.0, 0.6, 1.0])
IDENTITY = np.array([0, 0, 0, 1, 1, 2])  # of six anchors; nobody is like the last identity
OF_PAIRS = SHARES[IDENTITY] * REACH * 0.5
TRUTH = {
    "worst-rate": SHARES.max(initial=0, where=SHARES < 0.5),
    "worst-similarity": OF_PAIRS.max(),
    "mean-similarity": OF_PAIRS.mean(),
}


@pytest.fixture(scope="module")
def releases() -> list[list[Tally]]:
    """Tallies after 100, 200, .. 1,200 samples; a sample's reach is uniform on [0, 1]."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(RELEASES):
        identity = rng.choice(4, size=1200, p=SHARES)
        s = np.where(IDENTITY[:, None] == identity, np.outer(REACH, rng.random(1200)), 0.0)
        looks = [tally_of(s[:, :100])]
        for start in range(100, 1200, 100):
            looks.append(looks[-1] + tally_of(s[:, start : start + 100], start=start))
        out.append(looks)
    return out


def stopped(gate: str, looks: list[Tally], limit: float) -> tuple[str | None, Tally]:
    """The verdict, and the tally it was said on: the last if there is none."""
    for tally in looks:
        said = decide(gate, tally, limit)
        if said is not None:
            return said, tally
    return None, looks[-1]


def lower_limit(errors: int) -> float:
    """Clopper-Pearson's, 97.5 %, of so many among all releases."""
    return float(stats.binomtest(errors, RELEASES).proportion_ci(0.95, "exact").low)


@every_gate
def test_verdicts_at_the_limit_are_rare_and_far_from_it_right(releases, gate: str) -> None:
    truth = TRUTH[gate]
    at = [stopped(gate, looks, truth)[0] for looks in releases]
    assert lower_limit(at.count("fail")) <= ALPHA
    assert lower_limit(at.count("pass")) <= ALPHA
    for limit, right in ((truth / 4, "fail"), (4 * truth, "pass")):
        assert {stopped(gate, looks, limit)[0] for looks in releases} == {right}


@every_gate
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_after_stopping_the_interval_holds_the_truth(releases, gate: str, ratio: float) -> None:
    truth = TRUTH[gate]
    missed = 0
    for looks in releases[:100]:
        found = interval_after(gate, stopped(gate, looks, truth / ratio)[1], truth / ratio)
        assert 0 <= found.low <= found.estimate <= found.high <= 1
        missed += not found.low <= truth <= found.high
    assert missed <= stats.binom.isf(0.001, 100, ALPHA)


# -- what changes nothing --------------------------------------------------------------------


@both_sides
def test_an_anchors_evidence_is_its_own(side: str) -> None:
    s = pairs(11, 400, 4)
    counts, sums, squares = (s > 0).sum(axis=1), s.sum(axis=1), (s**2).sum(axis=1)
    rates = log_e_rate(counts, 400, 0.05, side=side)
    means = log_e_similarity(sums, squares, 400, 0.05, side=side)
    order = np.random.default_rng(5).permutation(11)
    assert (log_e_rate(counts[order], 400, 0.05, side=side) == rates[order]).all()
    mixed = log_e_similarity(sums[order], squares[order], 400, 0.05, side=side)
    assert (mixed == means[order]).all()
    for a in range(11):
        assert one(log_e_rate, counts[a], n=400, limit=0.05, side=side) == rates[a]
        alone = one(log_e_similarity, sums[a], squares[a], n=400, limit=0.05, side=side)
        assert alone == means[a]


@every_gate
def test_order_of_samples_and_of_anchors_and_how_they_were_added_are_irrelevant(gate: str) -> None:
    s = np.round(pairs(8, 960, 6) * 64) / 64  # sums of such numbers are exact
    tally = tally_of(s)
    rng = np.random.default_rng(7)
    shuffled = tally_of(s[rng.permutation(8)][:, rng.permutation(960)])
    parts = [tally_of(s[:, at : at + 80], start=at) for at in range(0, 960, 80)]
    added = sum(parts[1:], start=parts[0])
    for limit in np.geomspace(0.005, 0.5, 30):
        assert decide(gate, tally, limit) == decide(gate, shuffled, limit)
        assert decide(gate, tally, limit) == decide(gate, added, limit)
        whole = interval_after(gate, tally, limit)
        for other in (shuffled, added):
            found = list(interval_after(gate, other, limit).figures().values())
            assert found == pytest.approx(list(whole.figures().values()), rel=1e-9)


@every_gate
def test_a_batch_with_no_valid_sample_changes_nothing(gate: str) -> None:
    tally = tally_of(pairs(8, 960, 8))
    more = tally + Tally.empty(8)
    assert interval_after(gate, more, 0.05) == interval_after(gate, tally, 0.05)
    assert decide(gate, more, 0.05) == decide(gate, tally, 0.05)


# -- limits ----------------------------------------------------------------------------------

EDGES = (5e-324, 1e-300, 1e-9, 0.01, 0.5, 0.9, 0.999, 0.9995, 1 - 1e-9, 1 - 2**-53)
SIZES = (1, 7, 10_000_000)
everywhere = pytest.mark.parametrize("limit", EDGES)


@both_sides
@everywhere
def test_without_samples_there_is_no_evidence(limit: float, side: str) -> None:
    assert one(log_e_rate, 0, n=0, limit=limit, side=side) == pytest.approx(0, abs=1e-12)
    assert one(log_e_similarity, 0, 0, n=0, limit=limit, side=side) == pytest.approx(0, abs=1e-12)


@every_gate
def test_without_samples_there_is_no_verdict_and_no_figure(gate: str) -> None:
    assert decide(gate, Tally.empty(3), 0.5) is None
    assert interval_after(gate, Tally.empty(3), 0.5) == Interval(None, None, None)


@both_sides
@everywhere
@pytest.mark.parametrize("n", SIZES)
def test_evidence_is_a_number_at_every_limit_and_size(limit: float, side: str, n: int) -> None:
    counts = np.array([0, n // 2, n])
    rates = log_e_rate(counts, n, limit, side=side)
    assert np.isfinite(rates).all()
    gaps = np.diff(rates) if side == "fail" else -np.diff(rates)
    assert (gaps >= 0).all()
    for value in (1.0, 0.3, limit, 1 - 2.0**-30):
        sums = counts * value
        assert np.isfinite(log_e_similarity(sums, sums * value, n, limit, side=side)).all()


@every_gate
@everywhere
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("value", [0.0, 2.0**-30, 0.3, 1.0])
def test_ends_are_ordered_numbers_at_every_limit_and_size(
    gate: str, limit: float, n: int, value: float
) -> None:
    """Anchors that are near to none, half and all of the samples."""
    counts = np.array([0, n // 2, n])
    tally = Tally.empty(3)
    tally.n[3] = n
    tally.within[:, 3] = counts
    tally.similarity[:, 3] = counts * value
    tally.squares[:] = counts * value**2
    tally.coherence[3] = (n // 2 * 4 + (n - n // 2)) * value**2 / 9  # halves near 2 anchors, 1
    found = interval_after(gate, tally, limit)
    ends = [found.low, found.estimate, found.high]
    assert all(type(end) is float for end in ends)
    assert 0 <= ends[0] <= ends[1] <= ends[2] <= 1
    said = decide(gate, tally, limit)
    assert said in ("pass", "fail", None)
    if said is not None:
        assert said == ("fail" if found.estimate > limit else "pass")


def test_no_hit_excludes_nothing_below_and_all_hits_nothing_above() -> None:
    none, every = counted([0, 0], 200), counted([200, 200], 200)
    for gate in SEQUENTIAL:
        assert interval_after(gate, none, 0.01).low == 0
        assert interval_after(gate, none, 0.01).high < 0.2
        assert interval_after(gate, every, 0.01).high == 1
        assert interval_after(gate, every, 0.01).low > 0.5
    for n in (1, 2):  # too few to exclude anything
        assert interval_after("worst-similarity", counted([1], n), 0.3).low == 0


def test_a_bet_never_crosses_to_the_limits_other_side() -> None:
    """Beyond .999 there is nothing left to bet on: certain hits gain nothing, misses lose nothing.

    A bet on .999 against .9995 would gain by every miss, and so reward what is within the limit.
    """
    assert one(log_e_rate, 1000, n=1000, limit=0.9995, side="fail") == pytest.approx(0, abs=1e-9)
    assert one(log_e_rate, 0, n=1000, limit=0.9995, side="fail") == pytest.approx(0, abs=1e-9)


def test_rounding_lends_no_capital() -> None:
    """Equal values leave no spread but rounding's; squares too small for the sums are not trusted.

    Then the price of a bet is that of the least spread these sums can have, (T - n g)^2 / n.
    """
    n, limit = 10_000_000, 1 - 1e-6
    for side in SIDES:
        found = one(log_e_similarity, n * limit, n * limit**2, n=n, limit=limit, side=side)
        assert found <= 1e-2
    s, limit = 0.02, 0.01
    wanted = one(log_e_similarity, 50 * s, 50 * s**2, n=50, limit=limit, side="fail")
    found = one(log_e_similarity, 50 * s, 0, n=50, limit=limit, side="fail")
    assert found == pytest.approx(wanted, rel=1e-9)


def test_squares_that_a_tally_rounds_away_are_paid_for() -> None:
    """A tally's squares are multiples of 2^-30: that of 2^-16 is none.

    A million values, 2^-16 or 0, three standard deviations above a limit of 2^-17. Their spread is
    paid for whether the squares were kept or lost; unpaid, a bet of .95 / limit would gain
    .95 x 2 x 1500 in logs.
    """
    n, value = 1_000_000, 2.0**-16
    hits = n // 2 + 1500  # 3 standard deviations above the mean
    for squares in (hits * value**2, 0.0):
        tally = Tally.empty(1)
        tally.n[0], tally.similarity[0, 0], tally.squares[0] = n, hits * value, squares
        assert decide("worst-similarity", tally, value / 2) is None


# -- a verdict and its interval --------------------------------------------------------------


@every_gate
def test_an_interval_beyond_the_limit_goes_with_its_verdict(gate: str) -> None:
    """The interval needs 2 / ALPHA where the verdict needs 1 / ALPHA: one way it is implied."""
    tally = tally_of(pairs(6, 500, 9))
    seen = set()
    for limit in np.geomspace(0.003, 0.6, 200):
        found, said = interval_after(gate, tally, limit), decide(gate, tally, limit)
        above = found.low > limit * (1 + 1e-9)
        below = gate != "worst-rate" and found.high < limit * (1 - 1e-9)
        assert said == "fail" or not above
        assert said == "pass" or not below
        need = math.log(2 / ALPHA)
        assert above == (evidence(gate, tally, limit, "fail") > need)
        if gate != "worst-rate":
            assert below == (evidence(gate, tally, limit, "pass") > need)
        seen.add((said, above, below))
    assert ("fail", True, False) in seen
    assert ("fail", False, False) in seen  # a verdict whose interval holds the limit
    assert (None, False, False) in seen


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_limits_outside_the_unit_interval_are_refused(limit: float) -> None:
    message = "limit must be between 0 and 1, got"
    with pytest.raises(ValueError, match=message):
        log_e_rate(np.array([1]), 2, limit, side="fail")
    with pytest.raises(ValueError, match=message):
        log_e_similarity(np.array([1.0]), np.array([1.0]), 2, limit, side="pass")
    for gate in SEQUENTIAL:
        with pytest.raises(ValueError, match=message):
            decide(gate, counted([1], 2), limit)
        with pytest.raises(ValueError, match=message):
            interval_after(gate, counted([1], 2), limit)
        with pytest.raises(ValueError, match=message):
            interval_after(gate, Tally.empty(1), limit)


def test_other_gates_are_refused() -> None:
    message = "gate must be one of worst-rate, worst-similarity, mean-similarity, got 'vendi'"
    with pytest.raises(ValueError, match=message):
        decide("vendi", counted([1], 2), 0.5)
    with pytest.raises(ValueError, match=message):
        interval_after("vendi", counted([1], 2), 0.5)


def test_other_sides_are_refused() -> None:
    message = 'side is "fail" or "pass", got \'left\''
    with pytest.raises(ValueError, match=message):
        log_e_rate(np.array([1]), 2, 0.5, side="left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        log_e_similarity(np.array([1.0]), np.array([1.0]), 2, 0.5, side="left")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [-1, 3])
def test_counts_that_cannot_be_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"counts of 2 samples are 0 to 2, got {min(1, count)} to"):
        log_e_rate(np.array([1, count]), 2, 0.5, side="fail")


@pytest.mark.parametrize(
    ("sums", "squares"), [([1.0, 2.0], [1.0]), ([-0.1], [0.1]), ([math.nan], [0.1]), ([1.0], [-1])]
)
def test_sums_that_cannot_be_are_refused(sums: list[float], squares: list[float]) -> None:
    with pytest.raises(ValueError, match="equally many and none is below 0"):
        log_e_similarity(np.array(sums), np.array(squares), 2, 0.5, side="fail")
