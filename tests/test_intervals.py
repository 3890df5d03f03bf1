import math

import literal
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from ganaudit.intervals import (
    Estimate,
    Interval,
    clopper_pearson,
    densest,
    limit_of_mu,
    mean_similarity,
    mu_at_n,
    pair_rate,
    pooled_mccs,
    quantile_at_n,
    sigma_at_n,
    wilson,
    worst_mode,
)
from ganaudit.slots import GROUPS, group_of, permutation
from ganaudit.tally import Tally

ALL = np.arange(GROUPS)


def tally_of(s: NDArray[np.float64], *, slots: NDArray[np.int64] | None = None) -> Tally:
    """Of the similarities [m, n] of every pair; those of at least .3 are neighbours."""
    group = np.eye(GROUPS)[group_of(np.arange(s.shape[1]) if slots is None else slots)]  # [n, 32]
    return Tally(
        n=group.sum(axis=0).astype(np.int64),
        similarity=s @ group,
        within=((s >= 0.3) @ group).astype(np.int64),
        squares=(s**2).sum(axis=1),
        within_half=(s >= 0.6).sum(axis=1),
        coherence=s.mean(axis=0) ** 2 @ group,
    )


def pairs(m: int, n: int, seed: int, *, share: float = 0.1) -> NDArray[np.float64]:
    """[m, n] similarities: some anchors, and some samples, have many more hits than others."""
    rng = np.random.default_rng(seed)
    chance = 4 * share * rng.random((m, 1)) * rng.random((1, n))
    return np.where(rng.random((m, n)) < chance, rng.random((m, n)), 0.0)


def eights(*hits: dict[int, int], similarity: float = 1.0) -> Tally:
    """8 samples in each of 32 groups; an anchor for each of `hits`: neighbours by group."""
    within = np.zeros((len(hits), GROUPS), dtype=np.int64)
    for anchor, found in enumerate(hits):
        for group, count in found.items():
            within[anchor, group] = count
    zeros = Tally.empty(len(hits))
    return Tally(
        n=np.full(GROUPS, 8),
        similarity=within * similarity,
        within=within,
        squares=within.sum(axis=1) * similarity**2,
        within_half=zeros.within_half,
        coherence=zeros.coherence,
    )


def uneven() -> Tally:
    """9 anchors, 500 of 1,300 slots: unequal groups, four of them empty."""
    slots = np.sort(np.random.default_rng(3).permutation(1300)[:500])
    slots = slots[~np.isin(group_of(slots), (0, 7, 8, 30))]
    return tally_of(pairs(9, len(slots), 4), slots=slots)


TALLIES = {
    "many anchors": lambda: tally_of(pairs(45, 700, 1)),
    "few anchors, few hits": lambda: tally_of(pairs(5, 1337, 2, share=0.004)),
    "groups of many sizes, some empty": uneven,
    "fewer samples than a round of the groups": lambda: tally_of(pairs(13, 137, 5, share=0.2)),
}
everywhere = pytest.mark.parametrize("make", TALLIES.values(), ids=TALLIES.keys())


def student(value: float, variance: float, degrees: float) -> tuple[float, float]:
    """Ends of a 95 % interval within [0, 1]; the quantile is that of an incomplete beta."""
    x = special.betaincinv(degrees / 2, 0.5, 0.05)
    reach = math.sqrt(degrees * (1 - x) / x) * math.sqrt(variance)
    return max(0.0, value - reach), min(1.0, value + reach)


def assert_estimate(found: Estimate, wanted: tuple[float, float, float]) -> None:
    assert (found.value, found.variance, found.degrees) == pytest.approx(wanted, rel=1e-9)
    low, high = student(*wanted)
    assert found.interval().low == pytest.approx(low, rel=1e-6)
    assert found.interval().high == pytest.approx(high, rel=1e-6)


# -- by hand ---------------------------------------------------------------------------------


def eight_groups_with_one_hit() -> Tally:
    """8 groups of 1 sample; of 2 anchors the first is the copy of the first sample."""
    similarity = np.zeros((2, GROUPS))
    similarity[0, 0] = 1
    n = np.where(ALL < 8, 1, 0)
    zeros = Tally.empty(2)
    squares = np.array([1.0, 0.0])
    within = similarity.astype(np.int64)
    return Tally(n, similarity, within, squares, zeros.within_half, zeros.coherence)


def test_the_variance_of_the_mean_is_that_by_hand() -> None:
    found = mean_similarity(eight_groups_with_one_hit())
    assert found.value == pytest.approx(1 / 16)  # of 1/8 and 0
    # anchors: (1/8)^2 / 2 / 2 = 1/256; groups: 8/7 ((7/16)^2 + 7/256) / 64 = 1/256;
    # pairs: mean of 1/8 - 1/64 and 0, over 16 = 7/2048.
    assert found.variance == pytest.approx(2 / 256 - 7 / 2048)
    assert found.degrees == pytest.approx(2**2 / (1 / 1 + 1 / 7))
    assert pair_rate(eight_groups_with_one_hit()) == found  # a copy counts 1, as a neighbour does


def test_what_groups_and_anchors_both_show_leaves_at_least_the_larger_of_the_two() -> None:
    anchors_alone = tally_of(np.repeat([[0.1], [0.5]], 512, axis=1))
    found = mean_similarity(anchors_alone)
    assert found.variance == pytest.approx(0.4**2 / 2 / 2)  # the groups are all alike
    assert found.degrees == pytest.approx(1)
    of_a_slot = np.where(group_of(np.arange(512)) < 16, 0.1, 0.5)
    groups_alone = mean_similarity(tally_of(np.repeat(of_a_slot[None], 7, axis=0)))
    assert groups_alone.variance == pytest.approx(32 / 31 * 32 * (16 / 512) ** 2 * 0.2**2)
    assert groups_alone.degrees == pytest.approx(31)


def test_the_variance_of_mu_is_that_by_hand() -> None:
    found = mu_at_n(eight_groups_with_one_hit())
    score = 1 / (1 + math.log(8))
    assert found.value == pytest.approx(score / 2)
    # Both jackknives are 49/256 F^2 with F = f(1/7): one anchor is all there is. What is left is
    # the variance of f and 0, over 2.
    assert found.variance == pytest.approx(score**2 / 4)
    assert found.degrees == pytest.approx(1)


def test_the_worst_mode_is_chosen_on_one_half_and_scored_on_the_other() -> None:
    tally = eights({0: 3, 16: 1, 2: 2}, {15: 2, 31: 4, 3: 1}, {31: 2}, similarity=0.5)
    found = worst_mode(tally)  # the first chosen by 5 to 3 and 0, the second by 4 to 1 and 2
    assert found is not None
    assert found.anchors == (0, 1)
    assert (found.count, found.samples) == (1 + 3, 256)
    assert found.rate.estimate == 4 / 256
    assert found.mean_similarity.estimate == pytest.approx(0.5 * 4 / 256)
    assert found.largest_rate.estimate == 7 / 256
    assert found.largest_rate.low == found.rate.low
    assert found.largest_rate.high == wilson(7, 256).high
    # Every pair has s = .5, so kappa and the unit are .5: Poisson limits of a count of 4.
    assert found.mean_similarity.low == pytest.approx(0.5 / 256 * 1.0899, rel=1e-4)
    assert found.mean_similarity.high == pytest.approx(0.5 / 256 * 10.2416, rel=1e-4)


@pytest.mark.parametrize(
    ("hits", "first"),
    [
        (({0: 2, 31: 9}, {0: 3}, {1: 2}), 1),  # other groups do not count
        (({0: 2}, {1: 1, 2: 1}, {3: 2}), 0),  # all equal: the lowest number
        (({0: 1}, {1: 1, 2: 1}, {3: 2}), 1),
    ],
)
def test_the_densest_anchor_has_most_neighbours_in_the_groups_asked(hits, first: int) -> None:
    tally = eights(*hits)
    assert densest(tally, np.arange(16))[0] == first
    assert sorted(densest(tally, np.arange(16))) == [0, 1, 2]


def test_equal_counts_are_told_apart_by_similarity_in_the_same_groups() -> None:
    tally = eights({0: 2}, {1: 2}, {2: 2}, {3: 1})
    tally.similarity[:] = 0
    tally.similarity[[0, 1, 2, 3], [0, 1, 2, 3]] = 1.1, 1.2, 1.2, 1.9
    tally.similarity[0, 31] = 5  # in a group that was not asked
    assert densest(tally, np.arange(16)).tolist() == [1, 2, 0, 3]


# -- against the literal reference -----------------------------------------------------------


@everywhere
def test_the_mean_similarity_and_the_pair_rate_are_their_formulas(make) -> None:
    tally = make()
    wanted = literal.mean_over_pairs(tally.similarity, tally.squares, tally.n)
    assert_estimate(mean_similarity(tally), wanted)
    within = tally.within.astype(float)
    wanted = literal.mean_over_pairs(within, within.sum(axis=1), tally.n)
    assert_estimate(pair_rate(tally), wanted)


@everywhere
def test_the_pooled_score_transforms_the_ends_of_the_mean_similarity(make) -> None:
    tally = make()
    mean, variance, degrees = literal.mean_over_pairs(tally.similarity, tally.squares, tally.n)
    wanted = [literal.mccs(x) for x in (mean, *student(mean, variance, degrees))]
    found = pooled_mccs(tally)
    assert [found.estimate, found.low, found.high] == pytest.approx(wanted, rel=1e-6)


@everywhere
def test_mu_and_the_bracket_of_its_limit_are_their_formulas(make) -> None:
    tally = make()
    assert_estimate(mu_at_n(tally), literal.mu(tally.similarity, tally.n))
    kappa = sum(tally.squares) / sum(sum(tally.similarity))
    upper = literal.mu(tally.similarity, tally.n, kappa / 2 / sum(tally.n))
    assert_estimate(mu_at_n(tally, added=kappa / 2), upper)
    low, high = limit_of_mu(tally)
    assert low == mu_at_n(tally).interval().low
    assert high == pytest.approx(student(*upper)[1], rel=1e-6)
    assert low < mu_at_n(tally).value < upper[0] < high


@everywhere
def test_sigma_is_its_formula(make) -> None:
    tally = make()
    value, variance = literal.sigma(tally.similarity, tally.n)
    found = sigma_at_n(tally)
    assert found is not None
    assert found.estimate == pytest.approx(value, rel=1e-9)
    assert found.low == pytest.approx(max(0, value - 1.96 * math.sqrt(variance)), rel=1e-9)
    assert found.high == pytest.approx(value + 1.96 * math.sqrt(variance), rel=1e-9)


@everywhere
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
def test_a_quantile_is_its_formula(make, probability: float) -> None:
    tally = make()
    full = np.flatnonzero(tally.n)
    half = len(full) // 2
    orders = [full[permutation(len(full), seed=seed)].tolist() for seed in range(12)]
    splits = [(order[:half], order[half:]) for order in orders]
    wanted = literal.quantile_interval(tally.similarity, tally.n, probability, splits)
    found = quantile_at_n(tally, probability)
    assert [found.estimate, found.low, found.high] == pytest.approx(wanted, rel=1e-9)


@everywhere
def test_the_worst_mode_is_its_formula(make) -> None:
    tally = make()
    found = worst_mode(tally)
    full = np.flatnonzero(tally.n).tolist()
    a, b = full[: len(full) // 2], full[len(full) // 2 :]
    t, k, n = tally.similarity, tally.within, int(sum(tally.n))
    b1, b2 = literal.densest(t, k, a), literal.densest(t, k, b)
    count = sum(k[b1][g] for g in b) + sum(k[b2][g] for g in a)
    assert found is not None
    assert (found.anchors, found.count, found.samples) == ((b1, b2), count, n)
    assert (found.rate.low, found.rate.high) == pytest.approx(
        literal.wilson(count, n, 2.0), abs=1e-12
    )
    largest = max(sum(row) for row in k)
    assert found.largest_rate.high == pytest.approx(literal.wilson(largest, n, 1.96)[1])
    kappa = sum(tally.squares) / sum(sum(t))
    unit = (tally.squares[b1] + tally.squares[b2] + kappa**2) / (sum(t[b1]) + sum(t[b2]) + kappa)
    sums = sum(t[b1][g] for g in b) + sum(t[b2][g] for g in a)
    low, high = literal.poisson_ends(sums / unit)
    assert found.mean_similarity.estimate == pytest.approx(sums / n)
    assert found.mean_similarity.low == pytest.approx(unit / n * low, rel=1e-6)
    assert found.mean_similarity.high == pytest.approx(unit / n * high, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_the_densest_anchor_is_the_literal_one_where_counts_tie(seed: int) -> None:
    tally = tally_of(np.round(pairs(6, 180, seed, share=0.05), 1))
    for groups in (ALL[:6], ALL[6:]):
        wanted = literal.densest(tally.similarity, tally.within, groups.tolist())
        assert densest(tally, groups)[0] == wanted


# -- Wilson ----------------------------------------------------------------------------------

COUNTS = [(0, 1), (1, 1), (0, 137), (137, 137), (1, 137), (60, 137), (4, 10_000), (9_999, 10_000)]


@pytest.mark.parametrize(("count", "n"), COUNTS)
def test_wilson_holds_the_rates_from_which_the_count_is_no_surprise(count: int, n: int) -> None:
    found = wilson(count, n, z=2.0)
    assert found.estimate == count / n
    assert (found.low, found.high) == pytest.approx(literal.wilson(count, n, 2.0), abs=1e-12)


@pytest.mark.parametrize(("count", "n"), COUNTS)
def test_wilson_agrees_with_scipy(count: int, n: int) -> None:
    wanted = stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
    found = wilson(count, n, z=special.ndtri(0.975))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_wilson_at_no_and_at_every_sample_has_its_closed_forms() -> None:
    z = 1.96
    assert wilson(0, 50) == Interval(0, 0, pytest.approx(z * z / (50 + z * z)))
    assert wilson(50, 50) == Interval(1, pytest.approx(50 / (50 + z * z)), 1)
    for n in range(1, 500):  # whatever rounds
        assert (wilson(0, n).low, wilson(n, n).high) == (0, 1)


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 137), (1, 8), (8, 8), (7, 200), (100, 200), (30, 3000)]
)
def test_samples_to_halve_is_the_smallest_n_that_does(hits: int, n: int) -> None:
    within = np.array([[hits]] * 2) * (ALL == 3)  # 2 anchors with all their hits in one group
    sizes = np.full(GROUPS, n // GROUPS) + (ALL < n % GROUPS)
    tally = Tally(sizes, within * 1.0, within, within.sum(axis=1) * 1.0, *[np.zeros(2)] * 2)
    found = worst_mode(tally)
    assert (
        found is not None and found.count == hits
    )  # all in the half that scores the second choice
    rate = hits / n

    def width(samples: int) -> float:
        z = 2.0
        root = math.sqrt(rate * (1 - rate) / samples + z**2 / (4 * samples**2))
        return 2 * z / (1 + z**2 / samples) * root

    wanted = next(more for more in range(n, 10 * n + 100) if width(more) <= width(n) / 2)
    assert found.samples_to_halve == wanted


@pytest.mark.parametrize("n", [1, 7, 200])
def test_exact_ends_are_where_the_binomial_tails_are(n: int) -> None:
    for count in range(n + 1):
        found = clopper_pearson(count, n)
        assert found.estimate == count / n and 0 <= found.low <= found.estimate <= found.high <= 1
        if count:
            assert stats.binom.sf(count - 1, n, found.low) == pytest.approx(0.025)
        if count < n:
            assert stats.binom.cdf(count, n, found.high) == pytest.approx(0.025)
    assert clopper_pearson(0, n).low == 0 and clopper_pearson(n, n).high == 1


# -- limits ----------------------------------------------------------------------------------


def test_no_hit_at_all_leaves_the_rule_of_three() -> None:
    tally = tally_of(np.zeros((40, 600)))
    for found in (mean_similarity(tally), pair_rate(tally)):
        assert found == Estimate(0, 0, 31, 3 / 40)
        assert found.interval() == Interval(0, 0, 3 / 40)
    assert mean_similarity(tally_of(np.zeros((600, 130)))).interval() == Interval(0, 0, 3 / 130)
    none = Interval(0, 0, pytest.approx(literal.mccs(3 / 40)))
    assert pooled_mccs(tally) == none
    assert mu_at_n(tally).interval() == none
    assert sigma_at_n(tally) == Interval(0, None, None)
    assert quantile_at_n(tally, 0.5) == Interval(0, 0, 0)
    low, high = limit_of_mu(tally)  # as if half a copy had been seen
    assert low == 0
    assert high == pytest.approx(literal.mccs(0.5 / 600) + literal.mccs(3 / 40))
    worst = worst_mode(tally)
    assert worst is not None
    assert (worst.anchors, worst.count) == ((0, 0), 0)
    assert worst.rate == wilson(0, 600, z=2.0) == Interval(0, 0, pytest.approx(2.0**2 / 604))
    assert worst.mean_similarity == Interval(0, 0, pytest.approx(-math.log(0.025) / 600))


@pytest.mark.parametrize("s", [1.0, 1 / 3, 1e-12])
def test_where_all_pairs_are_alike_the_rule_of_three_is_all_one_knows(s: float) -> None:
    tally = tally_of(np.full((43, 600), s))  # 43: sums of equal numbers that round
    found = mean_similarity(tally).interval()
    wanted = (s, max(0, s - 3 / 43), min(1, s + 3 / 43))
    assert (found.estimate, found.low, found.high) == pytest.approx(wanted, rel=1e-12)
    mu, reach = literal.mccs(s), literal.mccs(3 / 43)
    found = mu_at_n(tally).interval()
    wanted = (mu, max(0, mu - reach), min(1, mu + reach))
    assert (found.estimate, found.low, found.high) == pytest.approx(wanted, rel=1e-12)
    sigma = sigma_at_n(tally)
    assert sigma is not None and sigma.estimate == pytest.approx(0, abs=1e-12)
    assert sigma.low is None and sigma.high is None


def test_a_small_spread_is_a_spread() -> None:
    tally = tally_of(0.5 + 1e-4 * pairs(40, 600, 7))
    found = mean_similarity(tally)
    assert 0 < found.variance**0.5 < 1e-4
    assert found.interval().high - 0.5 < 1e-4
    assert sigma_at_n(tally).low is not None


def test_squares_that_were_rounded_down_are_no_spread() -> None:
    """Sums are multiples of 2^-30."""
    tally = tally_of(np.full((40, 600), 0.625))
    tally.squares[:] -= 600 * 2.0**-31
    assert mean_similarity(tally).interval() == Interval(0.625, 0.625 - 3 / 40, 0.625 + 3 / 40)


@pytest.mark.parametrize("samples", [1, 16, 112])
def test_fewer_than_eight_groups_have_estimates_but_no_intervals(samples: int) -> None:
    s = pairs(6, samples, 8, share=0.3)
    tally = tally_of(s)
    scores = [literal.mccs(row.mean()) for row in s]
    median = literal.quantile(scores, 0.5)
    wanted = {
        "mean": (mean_similarity(tally).interval(), s.mean()),
        "pairs": (pair_rate(tally).interval(), (s >= 0.3).mean()),
        "pooled": (pooled_mccs(tally), literal.mccs(s.mean())),
        "mu": (mu_at_n(tally).interval(), np.mean(scores)),
        "sigma": (sigma_at_n(tally), np.std(scores, ddof=1)),
        "median": (quantile_at_n(tally, 0.5), median),
    }
    for name, (found, value) in wanted.items():
        assert found == Interval(pytest.approx(value), None, None), name
    assert limit_of_mu(tally) == (None, None)
    assert worst_mode(tally) is None
    assert worst_mode(tally_of(pairs(6, 113, 8))) is not None  # a sample in the eighth group


def test_one_anchor_has_a_worst_mode_and_no_other_interval() -> None:
    s = pairs(1, 700, 9, share=0.4)
    tally = tally_of(s)
    alone = Interval(pytest.approx(s.mean()), None, None)
    assert mean_similarity(tally).interval() == alone
    score = Interval(pytest.approx(literal.mccs(s.mean())), None, None)
    assert pooled_mccs(tally) == mu_at_n(tally).interval() == quantile_at_n(tally, 0.5) == score
    assert sigma_at_n(tally) is None
    assert limit_of_mu(tally) == (None, None)
    worst = worst_mode(tally)
    assert worst is not None and worst.anchors == (0, 0)
    assert worst.rate == wilson(int((s >= 0.3).sum()), 700, z=2.0)
    assert worst.rate.estimate == worst.largest_rate.estimate


EXTREMES = {
    "no hit": np.zeros((9, 530)),
    "copies": np.ones((9, 530)),
    "one hit": np.eye(9, 530) * np.eye(9, 1),
    "all but one": 1 - np.eye(9, 530) * np.eye(9, 1),
    "one anchor of copies": np.repeat(np.eye(9, 1), 530, axis=1),
    "one sample of copies": np.repeat(np.eye(1, 530), 9, axis=0),
    "two anchors": pairs(2, 300, 10),
    "few anchors of few samples": pairs(3, 113, 11, share=0.01),
    "almost nothing": pairs(9, 530, 12) * 1e-9,
    "almost copies": 1 - pairs(9, 530, 13) * 1e-9,
}


@pytest.mark.parametrize("s", EXTREMES.values(), ids=EXTREMES.keys())
def test_ends_are_ordered_numbers_in_the_unit_interval(s: NDArray[np.float64]) -> None:
    tally = tally_of(s)
    worst = worst_mode(tally)
    assert worst is not None
    low, high = limit_of_mu(tally)
    found = [
        mean_similarity(tally).interval(),
        pair_rate(tally).interval(),
        pooled_mccs(tally),
        mu_at_n(tally).interval(),
        *(quantile_at_n(tally, p) for p in (0.05, 0.5, 0.95)),
        worst.rate,
        worst.mean_similarity,
        worst.largest_rate,
        Interval(mu_at_n(tally).value, low, high),
    ]
    sigma = sigma_at_n(tally)
    assert sigma is not None
    found += [sigma] if sigma.low is not None else []
    for interval in found:
        assert all(isinstance(end, float) for end in interval.figures().values()), interval
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1, interval


def test_squares_below_the_grid_of_a_tally_do_no_harm() -> None:
    """Sums are multiples of 2^-30: the square of a similarity of 2^-16 is none."""
    tally = tally_of(np.eye(9, 530)[::-1] * 2.0**-16)
    tally = Tally(**(vars(tally) | {"squares": np.zeros(9)}))
    worst = worst_mode(tally)
    assert worst is not None
    assert 0 <= worst.mean_similarity.low <= worst.mean_similarity.high < 0.01
    found = mean_similarity(tally)
    wanted = literal.mean_over_pairs(tally.similarity, tally.similarity.sum(axis=1) ** 2, tally.n)
    assert found.variance == pytest.approx(wanted[1], rel=0.01)


def test_the_order_of_anchors_is_irrelevant() -> None:
    s = pairs(14, 900, 14)
    one, other = tally_of(s), tally_of(s[::-1])
    for figure in (mean_similarity, pair_rate, mu_at_n):
        assert_estimate(figure(one), tuple(vars(figure(other)).values())[:3])
    mode, mirrored = worst_mode(one), worst_mode(other)
    assert mode is not None and mirrored is not None
    assert (mode.count, mode.rate) == (mirrored.count, mirrored.rate)
    assert mode.anchors == tuple(13 - a for a in mirrored.anchors)


# -- coverage --------------------------------------------------------------------------------


FIGURES = ("mean", "pairs", "mu", "rate", "similarity")


@pytest.fixture(scope="module", params=[0, 30], ids=["no collapse", "a fifth collapsed"])
def repetitions(request) -> dict[str, NDArray[np.float64]]:
    """[400, 4] estimate, ends and truth, of 320 anchors and 320 samples of 30 identities.

    All are equally likely, so that whichever has most neighbours has them by chance; or one has a
    fifth of all samples. Points of an identity are .1 to 1 similar.
    """
    rng = np.random.default_rng(0)
    identity = np.append(np.repeat(np.arange(30), 4), [0] * request.param)
    reach = rng.uniform(0.3, 1, len(identity))
    s = np.where(identity[:, None] == identity, np.outer(reach, reach), 0.0)
    means, rates, out = s.mean(axis=1), (s >= 0.3).mean(axis=1), []
    for _ in range(400):
        samples, anchors = rng.integers(len(s), size=(2, 320))
        tally = tally_of(s[np.ix_(anchors, samples)])
        worst = worst_mode(tally)
        assert worst is not None
        chosen = anchors[list(worst.anchors)]
        halves = tally.n[10:].sum() / 320, tally.n[:10].sum() / 320  # of 20 groups
        mu = np.mean([literal.mccs(x) for x in s[:, samples].mean(axis=1)])
        rows = (
            (mean_similarity(tally).interval(), means.mean()),
            (pair_rate(tally).interval(), rates.mean()),
            (mu_at_n(tally).interval(), mu),
            (worst.rate, halves @ rates[chosen]),
            (worst.mean_similarity, halves @ means[chosen]),
        )
        out.append([[i.estimate, i.low, i.high, truth] for i, truth in rows])
    figures = np.moveaxis(np.array(out, dtype=np.float64), 1, 0)
    figures[2, :, 3] = figures[2, :, 3].mean()  # mu's truth is its expectation
    return dict(zip(FIGURES, figures, strict=True))


@pytest.mark.parametrize("figure", FIGURES)
def test_intervals_hold_the_truth_as_often_as_they_say(repetitions, figure: str) -> None:
    """Of 400, 95 % is .950 with a standard error of .011; the oracle knows the spread."""
    estimate, low, high, truth = repetitions[figure].T
    assert 0.92 <= ((low <= truth) & (truth <= high)).mean() <= 0.99
    oracle = 2 * 1.96 * (estimate - truth).std(ddof=1)
    assert 0.85 <= np.median(high - low) / oracle <= 1.3
