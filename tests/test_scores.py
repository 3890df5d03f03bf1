import math

import literal
import numpy as np
import pytest

from ganaudit.scores import (
    mccs,
    mccs_reference_code,
    mean_similarity_of_mccs,
    mean_similarity_of_reference_code,
)


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
