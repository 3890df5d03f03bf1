import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Pixels, Toy

from ganaudit.config import DiagnoseConfig
from ganaudit.difference import Line, diff
from ganaudit.errors import ConfigError
from ganaudit.finished import Finished
from ganaudit.intervals import Interval
from ganaudit.pipeline import diagnose

pytestmark = pytest.mark.usefixtures("undrawn")

Make = Callable[..., DiagnoseConfig]


def line(a: Interval, b: Interval) -> Line:
    return Line("x", "X", False, a, b)


def test_a_difference_has_the_ends_of_both_intervals_by_hand() -> None:
    """3-4-5: the lower end goes down by hypot(b - low of b, high of a - a), the upper likewise."""
    found = line(Interval(10.0, 6.0, 14.0), Interval(20.0, 17.0, 32.0)).difference
    assert found == Interval(10.0, 10 - 5.0, 10 + math.hypot(12, 4))
    back = line(Interval(20.0, 17.0, 32.0), Interval(10.0, 6.0, 14.0)).difference
    assert back == Interval(-10.0, -found.high, -found.low)


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (Interval(1.0, 0.5, 2.0), Interval(1.0, 0.5, 2.0), False),
        (Interval(1.0, 0.9, 1.1), Interval(2.0, 1.9, 2.1), True),
        (Interval(2.0, 1.9, 2.1), Interval(1.0, 0.9, 1.1), True),
        (Interval(1.0, None, None), Interval(2.0, 1.9, 2.1), False),
    ],
)
def test_told_apart_is_an_interval_without_zero(a: Interval, b: Interval, wanted: bool) -> None:
    assert line(a, b).told_apart is wanted


def test_what_is_not_known_stays_so() -> None:
    known, open_ = Interval(5.0, 4.0, 7.0), Interval(9.0, 8.0, None)
    assert line(known, Interval(None, 3.0, None)).difference == Interval(None, None, None)
    found = line(known, open_).difference  # its upper end is not known, so neither is theirs
    assert found.high is None and found.low == pytest.approx(4 - math.hypot(1, 2))
    assert line(open_, known).difference.low is None


def test_intervals_of_differences_hold_the_truth() -> None:
    """Two binomial shares: at 2,000 draws 95 % has a standard error of .5 %."""
    from ganaudit.intervals import wilson

    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        a, b = (wilson(int(rng.binomial(800, p)), 800) for p in (0.05, 0.09))
        found = line(a, b).difference
        held += found.low <= 0.04 <= found.high
    assert 0.935 <= held / 2000 <= 0.97


def test_a_rarefied_run_is_the_run_that_was_that_small(config: Make) -> None:
    large = diagnose(
        config(anchors=90, samples=900, out=Path("large")), source=Toy(), descriptor=Pixels()
    )
    diagnose(config(anchors=64, samples=700, out=Path("small")), source=Toy(), descriptor=Pixels())
    cut = Finished.read(large.folder).rarefied(anchors=64, samples=700)
    small = Finished.read(Path("small"))
    assert cut.figures == small.figures and cut.basis == small.basis
    assert cut.report["figures"] == small.report["figures"]
    with pytest.raises(ConfigError, match="--rarefy cuts both"):
        diff(Path("large"), Path("small"))
    found = diff(Path("large"), Path("small"), rarefy=True)
    assert {row["difference"]["estimate"] for row in found["figures"]} <= {0.0, None}
    names = [row["figure"] for row in found["figures"]]
    assert len(set(names)) == len(names) > 20
