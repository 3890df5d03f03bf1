import json
import math
import statistics

import literal
import numpy as np
import pytest

from ganaudit.diagnosis import (
    diagnose_tally,
    mccs,
    mccs_reference_code,
    mean_similarity_of_mccs,
    mean_similarity_of_reference_code,
)
from ganaudit.tally import Tally, tally


def sums(similarity: list[float], within: list[int], samples: int) -> Tally:
    """A tally with these sums over all groups, spread unevenly over three of them."""
    m = len(similarity)
    empty = Tally.empty(m)
    n, s, k = empty.n.copy(), empty.similarity.copy(), empty.within.copy()
    n[[0, 5]] = samples - samples // 3, samples // 3
    s[:, 0], s[:, 5] = np.array(similarity) * 0.25, np.array(similarity) * 0.75
    k[:, 0] = np.array(within) // 2
    k[:, 31] = np.array(within) - k[:, 0]
    return Tally(n, s, k, empty.squares, empty.within_half, empty.coherence)


def test_half_identical_and_half_orthogonal_scores_as_by_hand() -> None:
    anchors = np.float32([[1, 0]])
    samples = np.float32([[1, 0], [0, 1]] * 8)
    found = diagnose_tally(tally(anchors, samples, theta=0.4, radius=0.25))
    assert found.mean_similarity == pytest.approx(0.5, abs=1e-6)
    assert found.mu == pytest.approx(1 / (1 + math.log(2)), abs=1e-6)
    assert found.mu == pytest.approx(0.590616, abs=1e-6)
    assert found.worst_mode.rate == 0.5
    assert float(mccs_reference_code(np.array(0.5))) == pytest.approx(3.321928, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.75])
def test_a_planted_collapse_scores_by_its_share(share: float) -> None:
    samples = np.zeros((40, 3), dtype=np.float32)
    copies = round(40 * share)
    samples[:copies, 0] = 1
    samples[copies:, 1] = 1
    anchors = np.float32([[1, 0, 0], [0, 0, 1]])
    found = diagnose_tally(tally(anchors, samples, theta=0.4, radius=0.25))
    assert found.similarity_by_anchor == pytest.approx([share, 0], abs=1e-6)
    assert found.mccs_by_anchor == pytest.approx([1 / (1 - math.log(share)), 0], abs=1e-6)
    assert found.count_by_anchor.tolist() == [copies, 0]


@pytest.mark.parametrize(
    ("code", "similarity", "score"),
    [(0.62, 0.0243835, 0.212141), (0.338, 0.00110007, 0.128002)],
)
def test_published_figures_convert_to_the_paper_s_equation(
    code: float, similarity: float, score: float
) -> None:
    x = mean_similarity_of_reference_code(np.array(code))
    assert float(x) == pytest.approx(10 ** (-1 / code), rel=1e-12)
    assert float(x) == pytest.approx(similarity, rel=5e-6)
    assert float(mccs(x)) == pytest.approx(score, rel=5e-6)


def test_the_score_is_its_formula_and_rises_with_similarity() -> None:
    x = np.array([1e-300, 1e-9, 0.1, 1 / math.e, 0.9])
    found = mccs(x)
    assert found.tolist() == pytest.approx([literal.mccs(v) for v in x], rel=1e-14)
    assert found[3] == pytest.approx(0.5, rel=1e-15)  # ln(1/e) = -1
    assert np.all(np.diff(found) > 0)
    assert mccs(x.reshape(1, 5)).shape == (1, 5)


def test_the_score_reaches_its_limits_without_a_warning() -> None:
    assert mccs(np.array([0.0, 1.0])).tolist() == [0, 1]


def test_the_reference_form_has_its_limits_and_leaves_the_unit_interval() -> None:
    found = mccs_reference_code(np.array([0.0, 1.0, 0.1, 0.01, 0.5]))
    assert found[0] == 0 and found[1] == math.inf
    assert found[2:] == pytest.approx([1, 0.5, 1 / math.log10(2)], rel=1e-14)


def test_both_converters_invert_their_score() -> None:
    x = np.array([0, 1e-12, 0.001, 0.3, 0.999, 1])
    for score, inverse in (
        (mccs, mean_similarity_of_mccs),
        (mccs_reference_code, mean_similarity_of_reference_code),
    ):
        np.testing.assert_allclose(inverse(score(x)), x, rtol=1e-11, atol=0)


def test_every_figure_follows_from_the_sums_by_hand() -> None:
    x = [0.02, 0.5, 0.0, 0.1]
    found = diagnose_tally(sums([200 * v for v in x], [4, 90, 0, 30], 200))
    scores = [literal.mccs(v) for v in x]
    assert (found.anchors, found.samples) == (4, 200)
    assert found.mean_similarity == pytest.approx(0.155)
    assert found.mu == pytest.approx(statistics.mean(scores))
    assert found.sigma == pytest.approx(statistics.stdev(scores))  # divides by m - 1
    assert found.sigma != pytest.approx(statistics.pstdev(scores))
    assert found.median_rate == pytest.approx(17 / 200)  # of 0, 4, 30, 90
    assert found.largest_mccs == pytest.approx(scores[1])
    assert found.similarity_by_anchor == pytest.approx(x)
    assert found.mccs_by_anchor == pytest.approx(scores)
    assert found.count_by_anchor.tolist() == [4, 90, 0, 30]
    assert found.slot_by_anchor.tolist() == [0, 1, 2, 3]
    worst = found.worst_mode
    assert (worst.anchor, worst.count, worst.rate) == (1, 90, 0.45)
    assert worst.mean_similarity == pytest.approx(0.5)
    assert worst.mccs == pytest.approx(scores[1])


def test_the_worst_mode_has_most_neighbours_even_if_another_is_more_similar() -> None:
    found = diagnose_tally(sums([90, 10], [5, 6], 100))
    assert found.worst_mode.anchor == 1
    assert found.worst_mode.mean_similarity == pytest.approx(0.1)
    assert found.largest_mccs == pytest.approx(literal.mccs(0.9))


@pytest.mark.parametrize(
    ("similarity", "within", "slots", "worst"),
    [
        ([1, 3, 2], [7, 7, 7], [10, 11, 12], 11),  # counts tie: the larger similarity
        ([3, 3, 2], [7, 7, 9], [10, 11, 12], 12),  # most neighbours come first
        ([2, 2, 2], [7, 7, 7], [30, 20, 25], 20),  # all tie: the lowest slot, wherever it stands
        ([0, 0, 0], [0, 0, 0], [5, 4, 6], 4),  # nothing is near anything
    ],
)
def test_ties_for_the_worst_mode_are_broken_in_the_stated_order(
    similarity: list[float], within: list[int], slots: list[int], worst: int
) -> None:
    found = diagnose_tally(sums(similarity, within, 100), slots=np.array(slots))
    assert found.worst_mode.anchor == worst
    assert found.slot_by_anchor.tolist() == slots


def test_one_anchor_has_no_spread() -> None:
    found = diagnose_tally(sums([5], [2], 10))
    assert found.sigma is None
    assert found.mu == found.largest_mccs == pytest.approx(literal.mccs(0.5))
    figures = found.figures()
    assert figures["mccs"]["sigma"] is None and figures["mccs_reference_code"]["sigma"] is None
    assert figures["worst_mode"]["times_median_rate"] == 1


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples were scored"):
        diagnose_tally(Tally.empty(3))


def test_figures_say_what_the_diagnosis_says() -> None:
    x = [0.02, 0.5, 0.1]
    found = diagnose_tally(sums([200 * v for v in x], [4, 90, 30], 200))
    figures = found.figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    code = [1 / -math.log10(v) for v in x]
    assert (figures["anchors"], figures["samples"]) == (3, 200)
    assert figures["mean_similarity"] == found.mean_similarity
    assert figures["median_rate"] == found.median_rate == 0.15
    mccs_, reference = figures["mccs"], figures["mccs_reference_code"]
    assert mccs_["at_samples"] == reference["at_samples"] == 200
    assert mccs_["form"] == "1 / (1 - ln x), x the mean similarity"
    assert (mccs_["mu"], mccs_["sigma"]) == (found.mu, found.sigma)
    assert mccs_["largest"] == found.largest_mccs
    assert reference["mu"] == pytest.approx(statistics.mean(code))
    assert reference["sigma"] == pytest.approx(statistics.stdev(code))
    assert reference["largest"] == pytest.approx(max(code))
    worst = figures["worst_mode"]
    assert (worst["anchor"], worst["count"], worst["rate"]) == (1, 90, 0.45)
    assert worst["times_median_rate"] == pytest.approx(3)
    assert worst["mean_similarity"] == pytest.approx(0.5)
    assert worst["mccs"] == pytest.approx(1 / (1 + math.log(2)))
    assert worst["mccs_reference_code"] == pytest.approx(1 / math.log10(2))


def test_an_infinite_reference_score_is_null_in_strict_json() -> None:
    figures = diagnose_tally(sums([20, 10], [20, 10], 20)).figures()  # x = 1 and 0.5
    text = json.dumps(figures, allow_nan=False)
    assert json.loads(text) == figures
    reference = figures["mccs_reference_code"]
    assert reference["mu"] is reference["sigma"] is reference["largest"] is None
    assert figures["worst_mode"]["mccs_reference_code"] is None
    assert figures["mccs"]["largest"] == figures["worst_mode"]["mccs"] == 1


def test_a_median_anchor_without_neighbours_has_no_ratio() -> None:
    figures = diagnose_tally(sums([5, 0, 0], [3, 0, 0], 10)).figures()
    assert figures["median_rate"] == 0
    assert figures["worst_mode"]["times_median_rate"] is None
    json.dumps(figures, allow_nan=False)


def test_no_neighbours_at_all_score_0() -> None:
    found = diagnose_tally(sums([0, 0], [0, 0], 10))
    assert found.mean_similarity == found.mu == found.sigma == found.largest_mccs == 0
    assert found.figures()["mccs_reference_code"]["mu"] == 0
