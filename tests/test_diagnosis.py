import json
import math
import statistics
from itertools import combinations
from typing import Any

import literal
import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit import intervals
from ganaudit.diagnosis import Diagnosis, dense_modes, diagnose_tally
from ganaudit.diversity import Moments, birthday_support, effective_modes, near_copies
from ganaudit.scores import mccs_reference_code
from ganaudit.tally import Tally, tally


def sums(similarity: list[float], within: list[int], samples: int) -> Tally:
    """A tally with these sums over all groups, spread unevenly over two of them."""
    empty = Tally.empty(len(similarity))
    n, s, k = empty.n.copy(), empty.similarity.copy(), empty.within.copy()
    n[[0, 5]] = samples - samples // 3, samples // 3
    s[:, 0], s[:, 5] = np.array(similarity) * 0.25, np.array(similarity) * 0.75
    k[:, 0] = np.array(within) // 2
    k[:, 5] = np.array(within) - k[:, 0]
    return Tally(n, s, k, empty.squares, empty.within_half, empty.coherence)


def halves(first: list[int], second: list[int], *, samples: int = 320) -> Tally:
    """A tally of 32 groups with these counts in each half of them; similarity follows counts."""
    empty = Tally.empty(len(first))
    k = empty.within.copy()
    k[:, 3], k[:, 20] = first, second
    n = np.full(32, samples // 32)
    return Tally(n, k * 0.5, k, k.sum(axis=1) * 0.25, empty.within_half, empty.coherence)


def clusters(count: int, seed: int, *, width: int = 6) -> NDArray[np.float32]:
    """Unit rows around 40 directions, of which few are frequent."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(77).standard_normal((40, width))
    shares = 1 / np.arange(1, 41) ** 1.3
    rows = centres[rng.choice(40, size=count, p=shares / shares.sum())]
    rows = rows + 0.3 * rng.standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def moments_of(samples: NDArray[np.float32]) -> Moments:
    found = Moments(samples.shape[1])
    found.add(samples, np.ones(len(samples), dtype=np.bool_), 0)
    return found


def diagnose(sums_: Tally, **more: Any) -> Diagnosis:
    """From sums alone, of neighbourhoods of some size."""
    return diagnose_tally(sums_, radius=0.25, **more)


def diagnose_rows(
    anchors: NDArray[np.float32],
    samples: NDArray[np.float32],
    *,
    radius: float = 0.1,
    **more: Any,
) -> Diagnosis:
    """Everything, from rows alone."""
    return diagnose_tally(
        tally(anchors, samples, theta=0.3, radius=radius),
        rows=anchors,
        radius=radius,
        moments=moments_of(samples),
        **more,
    )


# What is said of all anchors


def test_half_identical_and_half_orthogonal_scores_as_by_hand() -> None:
    anchors = np.float32([[1, 0]])
    samples = np.float32([[1, 0], [0, 1]] * 8)
    found = diagnose(tally(anchors, samples, theta=0.4, radius=0.25))
    assert found.mean_similarity.estimate == pytest.approx(0.5, abs=1e-6)
    assert found.mu.estimate == pytest.approx(1 / (1 + math.log(2)), abs=1e-6)
    assert found.mu.estimate == pytest.approx(0.590616, abs=1e-6)
    assert found.worst_mode.rate.estimate == 0.5
    assert float(mccs_reference_code(np.array(0.5))) == pytest.approx(3.321928, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.75])
def test_a_planted_collapse_scores_by_its_share(share: float) -> None:
    samples = np.zeros((40, 3), dtype=np.float32)
    copies = round(40 * share)
    samples[:copies, 0] = 1
    samples[copies:, 1] = 1
    anchors = np.float32([[1, 0, 0], [0, 0, 1]])
    found = diagnose(tally(anchors, samples, theta=0.4, radius=0.25))
    assert found.similarity_by_anchor == pytest.approx([share, 0], abs=1e-6)
    assert found.mccs_by_anchor == pytest.approx([1 / (1 - math.log(share)), 0], abs=1e-6)
    assert found.count_by_anchor.tolist() == [copies, 0]


def test_every_figure_follows_from_the_sums_by_hand() -> None:
    x = [0.02, 0.5, 0.0, 0.1]
    found = diagnose(sums([200 * v for v in x], [4, 90, 0, 30], 200))
    scores = [literal.mccs(v) for v in x]
    assert (found.anchors, found.samples) == (4, 200)
    assert found.mean_similarity.estimate == pytest.approx(0.155)
    assert found.pooled_mccs.estimate == pytest.approx(literal.mccs(0.155))
    assert found.mu.estimate == pytest.approx(statistics.mean(scores))
    assert found.sigma is not None  # divides by m - 1
    assert found.sigma.estimate == pytest.approx(statistics.stdev(scores))
    assert found.median_rate == pytest.approx(17 / 200)  # of 0, 4, 30, 90
    assert found.largest_mccs == pytest.approx(scores[1])
    assert found.similarity_by_anchor == pytest.approx(x)
    assert found.mccs_by_anchor == pytest.approx(scores)
    assert found.count_by_anchor.tolist() == [4, 90, 0, 30]
    assert found.slot_by_anchor.tolist() == [0, 1, 2, 3]
    # 1 / mean rate: 124 of 800 pairs.
    assert found.effective_modes.estimate == pytest.approx(800 / 124)
    worst = found.worst_mode
    assert (worst.anchor, worst.count, worst.rate.estimate) == (1, 90, 0.45)
    assert worst.mean_similarity == pytest.approx(0.5)
    assert worst.mccs == pytest.approx(scores[1])
    assert found.worst_apart is None  # two groups say nothing about their spread
    assert worst.rate.low is worst.rate.high is None
    assert (found.dense_modes, found.vendi, found.crowd) == ([], None, None)


def test_each_figure_is_that_of_the_module_that_estimates_it() -> None:
    anchors, samples = clusters(40, 1), clusters(900, 2)
    sums_ = tally(anchors, samples, theta=0.3, radius=0.1)
    found = diagnose_rows(anchors, samples)
    assert found.mean_similarity == intervals.mean_similarity(sums_).interval()
    assert found.mu == intervals.mu_at_n(sums_).interval()
    assert found.pooled_mccs == intervals.pooled_mccs(sums_)
    assert found.sigma == intervals.sigma_at_n(sums_)
    assert found.mu_limit == intervals.limit_of_mu(sums_)
    assert found.worst_apart == intervals.worst_mode(sums_)
    for probability, quantile in found.quantiles.items():
        assert quantile == intervals.quantile_at_n(sums_, probability)
    assert list(found.quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert found.effective_modes == effective_modes(sums_)
    assert found.birthday_support == birthday_support(sums_)
    assert found.near_copies.adjusted.tolist() == near_copies(sums_, radius=0.1).adjusted.tolist()
    assert found.vendi == moments_of(samples).vendi()


# The worst mode


def test_the_worst_mode_has_most_neighbours_even_if_another_is_more_similar() -> None:
    found = diagnose(sums([90, 10], [5, 6], 100))
    assert found.worst_mode.anchor == 1
    assert found.worst_mode.mean_similarity == pytest.approx(0.1)
    assert found.largest_mccs == pytest.approx(literal.mccs(0.9))


@pytest.mark.parametrize(
    ("similarity", "within", "worst"),
    [
        ([1, 3, 2], [7, 7, 7], 20),  # counts tie: the larger similarity
        ([3, 3, 2], [7, 7, 9], 30),  # most neighbours come first
        ([2, 2, 2], [7, 7, 7], 10),  # all tie: the lowest slot
        ([0, 0, 0], [0, 0, 0], 10),  # nothing is near anything
    ],
)
def test_ties_for_the_worst_mode_are_broken_in_the_stated_order(
    similarity: list[float], within: list[int], worst: int
) -> None:
    found = diagnose(sums(similarity, within, 100), slots=np.array([10, 20, 30]))
    assert found.worst_mode.anchor == worst
    assert found.slot_by_anchor.tolist() == [10, 20, 30]


def test_the_worst_mode_is_its_own_share_between_ends_for_the_largest_true_one() -> None:
    # Anchor 1 is the densest in the first half, 2 in the second, 0 over all.
    found = diagnose(halves([28, 30, 2], [29, 8, 31]), slots=np.array([4, 6, 9]))
    worst, apart = found.worst_mode, found.figures()["worst_mode"]["chosen_and_scored_apart"]
    assert (worst.anchor, worst.count) == (4, 57)
    assert worst.rate.estimate == 57 / 320
    assert apart["anchors"] == [6, 9]
    assert apart["rate"]["estimate"] == (8 + 2) / 320
    assert worst.rate.low == pytest.approx(literal.wilson(10, 320, 2.0)[0], rel=1e-9)
    assert worst.rate.high == pytest.approx(literal.wilson(57, 320, 1.96)[1], rel=1e-9)


# Dense modes


@pytest.mark.parametrize("radius", [0.03, 0.1, 0.2])
@pytest.mark.parametrize("samples", [40, 700, 1500])
def test_dense_modes_are_those_of_the_literal_rule(radius: float, samples: int) -> None:
    anchors = clusters(90, 3)
    sums_ = tally(anchors, clusters(samples, 4), theta=0.3, radius=radius)
    found = dense_modes(sums_, anchors, radius=radius)
    wanted = literal.dense_modes(sums_.similarity, sums_.within, sums_.n, anchors, radius, 24)
    assert [(mode.anchor, mode.count) for mode in found] == [row[:2] for row in wanted]
    assert len(found) > (0 if samples == 40 else 4)
    for mode, (anchor, _, scored, of, apart) in zip(found, wanted, strict=True):
        assert mode.rate.estimate == scored / of
        ends = literal.wilson(scored, of, 1.96)
        assert (mode.rate.low, mode.rate.high) == pytest.approx(ends, rel=1e-9, abs=1e-12)
        mean = sums_.similarity[anchor].sum() / sums_.n.sum()
        assert mode.mean_similarity == pytest.approx(mean, rel=1e-12)
        assert mode.mccs == pytest.approx(literal.mccs(mean), rel=1e-12)
        if apart is None:
            assert mode.distance_to_denser is None and mode is found[0]
        else:
            assert mode.distance_to_denser == pytest.approx(apart, rel=1e-9)


def test_no_two_dense_modes_are_within_the_radius_and_there_are_24_at_most() -> None:
    anchors = clusters(400, 5, width=12)
    sums_ = tally(anchors, clusters(4000, 6, width=12), theta=0.3, radius=0.1)
    found = dense_modes(sums_, anchors, radius=0.1)
    assert len(found) == 24
    for one, other in combinations(found, 2):
        assert literal.distance(anchors[one.anchor], anchors[other.anchor]) > 0.1
    few = dense_modes(sums_, anchors, radius=0.1, most=5)
    assert few == found[:5]
    assert dense_modes(sums_, anchors, radius=1.0) == found[:1]
    assert dense_modes(sums_, anchors, radius=0.1, most=0) == []


def test_the_first_half_chooses_and_the_second_says_how_dense() -> None:
    rows = np.eye(4, dtype=np.float32)  # a right angle apart
    found = dense_modes(halves([9, 40, 0, 20], [50, 10, 99, 0]), rows, radius=0.3)
    # By counts in the first half, not by all: 1, 3, 0; and 2 has none there, whatever follows.
    assert [mode.anchor for mode in found] == [1, 3, 0]
    assert [mode.count for mode in found] == [50, 20, 59]
    assert [mode.rate.estimate for mode in found] == [10 / 160, 0, 50 / 160]
    assert [mode.distance_to_denser for mode in found] == [None, 0.5, 0.5]


def test_halves_are_of_the_groups_that_have_samples() -> None:
    some = halves([7, 5], [4, 6])
    n = np.zeros(32, dtype=np.int64)
    n[[3, 20, 25]] = 40, 50, 60
    found = dense_modes(
        Tally(n, some.similarity, some.within, some.squares, some.within_half, some.coherence),
        np.eye(2, dtype=np.float32),
        radius=0.3,
    )
    assert [(mode.anchor, mode.rate.estimate) for mode in found] == [(0, 4 / 110), (1, 6 / 110)]
    alone = sums([5.0], [3], 3)
    n = np.where(np.arange(32) == 0, 30, 0)  # one group cannot choose and score
    one = Tally(n, alone.similarity, alone.within, *list(vars(alone).values())[3:])
    assert dense_modes(one, np.eye(1, dtype=np.float32), radius=0.3) == []


def test_a_mode_at_exactly_the_radius_of_a_denser_one_is_the_same() -> None:
    rows = np.float32([[1, 0], [0.6, 0.8], [-1, 0]])
    edge = float(np.arccos(np.float64(np.float32(0.6))) / np.pi)
    sums_ = halves([3, 2, 1], [3, 2, 1])
    kept = [dense_modes(sums_, rows, radius=r) for r in (edge, np.nextafter(edge, 0))]
    assert [[mode.anchor for mode in modes] for modes in kept] == [[0, 2], [0, 1, 2]]
    # The last is opposite to 0, and its angle to 1 is the rest of the half turn.
    assert [modes[-1].distance_to_denser for modes in kept] == pytest.approx([1, 1 - edge])


def test_opposite_modes_whose_rows_are_a_little_too_long_are_1_apart() -> None:
    row = np.float32([0.6, 0.8]) * np.float32(1.0001)  # unit within the tally's tolerance
    found = dense_modes(halves([2, 1], [2, 1]), np.stack([row, -row]), radius=0.3)
    assert [mode.distance_to_denser for mode in found] == [None, 1.0]


def test_dense_modes_are_named_by_their_slots() -> None:
    anchors, samples = clusters(50, 7), clusters(1200, 8)
    plain = diagnose_rows(anchors, samples)
    slots = np.arange(50) * 3 + 11
    named = diagnose_rows(anchors, samples, slots=slots)
    assert [m.anchor for m in named.dense_modes] == [3 * m.anchor + 11 for m in plain.dense_modes]
    assert named.worst_mode.anchor == 3 * plain.worst_mode.anchor + 11
    apart = named.figures()["worst_mode"]["chosen_and_scored_apart"]["anchors"]
    assert apart == [3 * a + 11 for a in plain.worst_apart.anchors]


# As JSON

INTERVAL = {"estimate", "low", "high"}
SHAPE: dict[str, Any] = {
    "anchors": 0, "samples": 0, "confidence": 0,
    "mean_similarity": INTERVAL,
    "mccs": {
        "form": 0, "at_samples": 0, "pooled": INTERVAL, "mu": INTERVAL, "sigma": INTERVAL,
        "largest": 0, "limit": {"low": 0, "high": 0, "anchors_without_a_hit": 0},
        "quantiles": [{"probability": 0, "estimate": 0, "low": 0, "high": 0}],
        "histogram": {"edges": 0, "counts": 0},
    },
    "mccs_reference_code": {"form": 0, "at_samples": 0, "mu": 0, "sigma": 0, "largest": 0},
    "worst_mode": {
        "anchor": 0, "count": 0, "rate": INTERVAL, "times_median_rate": 0, "mean_similarity": 0,
        "mccs": 0, "mccs_reference_code": 0, "samples_to_halve_interval": 0,
        "chosen_and_scored_apart": {"anchors": 0, "rate": INTERVAL, "mean_similarity": INTERVAL},
    },
    "median_rate": 0,
    "effective_modes": INTERVAL | {"radius"}, "birthday_support": INTERVAL | {"radius"},
    "dense_modes": [
        {"anchor": 0, "rank": 0, "rate": INTERVAL, "count": 0, "mccs": 0, "distance_to_denser": 0}
    ],
    "convergence": [
        {"samples": 0, "mean_similarity": INTERVAL, "mu": INTERVAL, "worst_rate": INTERVAL}
    ],
    "boxes": [
        {"label": 0, "at_samples": 0, "low": 0, "quarter": 0, "median": 0, "three_quarters": 0,
         "high": 0, "largest": 0}
    ],
    "near_copies": {
        "radius": 0, "level": 0, "anchors_tested": 0, "p": 0, "flagged": 0,
        "anchors": [{"anchor": 0, "count": 0, "count_half": 0, "p": 0}],
    },
    "crowd": {"norm_of_mean_embedding": 0, "rank_correlation": 0},
    "vendi": {"order_1": INTERVAL, "order_2": INTERVAL, "order_inf": INTERVAL},
}  # fmt: skip


def assert_shape(value: Any, wanted: Any, *, where: str = "figures") -> None:
    """Every key, and no other; what may be null may be null."""
    if value is None:
        assert where.endswith(("sigma", "apart", "crowd", "vendi")), where
    elif isinstance(wanted, set):
        assert set(value) == wanted, where
        assert all(end is None or isinstance(end, float) for end in value.values()), where
    elif isinstance(wanted, dict):
        assert set(value) == set(wanted), where
        for key, inner in wanted.items():
            if inner:
                assert_shape(value[key], inner, where=f"{where}.{key}")
    else:
        for item in value:
            assert_shape(item, wanted[0], where=f"{where}[]")


def ordinary() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return clusters(30, 9), clusters(1000, 10)


def one_anchor() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return clusters(1, 11), clusters(600, 12)


def no_hit() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.eye(9, dtype=np.float32)[:3], np.eye(9, dtype=np.float32)[np.arange(600) % 6 + 3]


def identical() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    row = clusters(1, 13)
    return row.repeat(20, axis=0), row.repeat(600, axis=0)


def few_groups() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return clusters(30, 14), clusters(7 * 16, 15)


def one_sample() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return clusters(5, 16), clusters(1, 17)


@pytest.mark.parametrize("make", [ordinary, one_anchor, no_hit, identical, few_groups, one_sample])
def test_figures_have_every_key_and_are_strict_json(make: Any) -> None:
    anchors, samples = make()
    found = diagnose_rows(anchors, samples)
    figures = found.figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert_shape(figures, SHAPE)
    named = ("effective_modes", "birthday_support", "near_copies")
    assert [figures[name]["radius"] / found.radius for name in named] == [1, 0.5, 1]
    for name in ("dense_modes", "convergence", "boxes"):
        assert len(figures[name]) <= 24
    assert (figures["mccs"]["sigma"] is None) == (len(anchors) == 1)
    apart = figures["worst_mode"]["chosen_and_scored_apart"]
    assert (apart is None) == (len(samples) < 8 * 16)
    assert (figures["worst_mode"]["samples_to_halve_interval"] is None) == (apart is None)
    histogram = figures["mccs"]["histogram"]
    assert (len(histogram["edges"]), len(histogram["counts"])) == (41, 40)
    assert sum(histogram["counts"]) == len(anchors)
    assert figures["convergence"][-1]["samples"] == figures["boxes"][-1]["at_samples"]
    assert figures["convergence"][-1]["samples"] == len(samples)
    assert [mode["rank"] for mode in figures["dense_modes"]] == list(
        range(1, 1 + len(found.dense_modes))
    )


def test_where_nothing_is_near_every_figure_says_so() -> None:
    figures = diagnose_rows(*no_hit()).figures()
    assert figures["mean_similarity"]["estimate"] == figures["mccs"]["mu"]["estimate"] == 0
    assert figures["mccs"]["limit"]["anchors_without_a_hit"] == 1
    assert figures["worst_mode"]["rate"]["estimate"] == figures["worst_mode"]["rate"]["low"] == 0
    assert figures["worst_mode"]["rate"]["high"] > 0
    assert figures["effective_modes"]["estimate"] is None
    assert (figures["dense_modes"], figures["near_copies"]["flagged"]) == ([], 0)
    assert figures["crowd"]["rank_correlation"] is None
    histogram = figures["mccs"]["histogram"]
    assert histogram["edges"] == pytest.approx(np.linspace(0, 1, 41).tolist())
    assert histogram["counts"][0] == 3


def test_where_everything_is_one_every_figure_says_so() -> None:
    figures = diagnose_rows(*identical()).figures()
    assert figures["mean_similarity"]["estimate"] == pytest.approx(1, abs=1e-5)
    assert figures["mean_similarity"]["high"] <= 1
    assert figures["effective_modes"]["estimate"] == figures["birthday_support"]["estimate"] == 1
    assert figures["vendi"]["order_1"]["estimate"] == pytest.approx(1)
    (mode,) = figures["dense_modes"]
    assert (mode["anchor"], mode["count"], mode["rate"]["estimate"]) == (0, 600, 1)
    assert figures["worst_mode"]["times_median_rate"] == 1
    assert figures["near_copies"]["flagged"] == 20
    assert len(figures["near_copies"]["anchors"]) == 20
    assert figures["near_copies"]["anchors"][0]["count_half"] == 600
    assert figures["mccs"]["histogram"]["counts"][-1] == 20
    assert figures["crowd"]["norm_of_mean_embedding"] == pytest.approx(1)


def test_at_most_24_flagged_anchors_are_shown_and_all_are_counted() -> None:
    row = clusters(1, 13)
    figures = diagnose_rows(row.repeat(30, axis=0), row.repeat(40, axis=0)).figures()
    assert figures["near_copies"]["flagged"] == 30
    assert [shown["anchor"] for shown in figures["near_copies"]["anchors"]] == list(range(24))


def test_scores_that_differ_by_rounding_alone_have_a_histogram() -> None:
    similarity = [5.0, np.nextafter(5.0, 6), 5.0]
    figures = diagnose(sums(similarity, [1, 1, 1], 10)).figures()
    assert sum(figures["mccs"]["histogram"]["counts"]) == 3


def test_figures_say_what_the_diagnosis_says() -> None:
    x = [0.02, 0.5, 0.1]
    found = diagnose(sums([200 * v for v in x], [4, 90, 30], 200))
    figures = found.figures()
    code = [1 / -math.log10(v) for v in x]
    assert (figures["anchors"], figures["samples"], figures["confidence"]) == (3, 200, 0.95)
    assert figures["mean_similarity"] == found.mean_similarity.figures()
    assert figures["median_rate"] == found.median_rate == 0.15
    mccs, reference = figures["mccs"], figures["mccs_reference_code"]
    assert mccs["at_samples"] == reference["at_samples"] == 200
    assert mccs["form"] == "1 / (1 - ln x), x the mean similarity"
    assert found.sigma is not None
    assert (mccs["mu"], mccs["sigma"]) == (found.mu.figures(), found.sigma.figures())
    assert mccs["largest"] == found.largest_mccs
    assert reference["mu"] == pytest.approx(statistics.mean(code))
    assert reference["sigma"] == pytest.approx(statistics.stdev(code))
    assert reference["largest"] == pytest.approx(max(code))
    worst = figures["worst_mode"]
    assert (worst["anchor"], worst["count"], worst["rate"]["estimate"]) == (1, 90, 0.45)
    assert worst["times_median_rate"] == pytest.approx(3)
    assert worst["mean_similarity"] == pytest.approx(0.5)
    assert worst["mccs"] == pytest.approx(1 / (1 + math.log(2)))
    assert worst["mccs_reference_code"] == pytest.approx(1 / math.log10(2))
    labels = ["a quarter of the samples", "half", "all"]
    assert [box["label"] for box in figures["boxes"]] == labels


def test_an_infinite_reference_score_is_null_in_strict_json() -> None:
    figures = diagnose(sums([20, 10], [20, 10], 20)).figures()  # x = 1 and 0.5
    text = json.dumps(figures, allow_nan=False)
    assert json.loads(text) == figures
    reference = figures["mccs_reference_code"]
    assert reference["mu"] is reference["sigma"] is reference["largest"] is None
    assert figures["worst_mode"]["mccs_reference_code"] is None
    assert figures["mccs"]["largest"] == figures["worst_mode"]["mccs"] == 1


def test_a_median_anchor_without_neighbours_has_no_ratio() -> None:
    figures = diagnose(sums([5, 0, 0], [3, 0, 0], 10)).figures()
    assert figures["median_rate"] == 0
    assert figures["worst_mode"]["times_median_rate"] is None
    json.dumps(figures, allow_nan=False)


def test_one_anchor_has_no_spread() -> None:
    found = diagnose(sums([5], [2], 10))
    assert found.sigma is None
    assert found.mu.estimate == found.largest_mccs == pytest.approx(literal.mccs(0.5))
    figures = found.figures()
    assert figures["mccs"]["sigma"] is None and figures["mccs_reference_code"]["sigma"] is None
    assert figures["worst_mode"]["times_median_rate"] == 1


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples were scored"):
        diagnose(Tally.empty(3))
