"""Which regions grow, and how far, on samples whose rates can be counted by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.calibration.crowds import Crowd, Goal
from ganaudit.calibration.plans import Growing, Plan, keep_for, plan, shared_plan, weights

N = 2000


def crowd_of(*shares: float, pairs: tuple[tuple[int, int], ...] = ()) -> Crowd:
    """Modes of given shares in a row, then samples of none; `pairs` of modes are neighbours."""
    counts = [round(share * N) for share in shares]
    anchors = np.eye(len(shares) + N, dtype=np.float32)[: len(shares)]
    for one, other in pairs:
        anchors[other] = anchors[one]
    which = np.repeat(np.arange(len(shares)), counts)
    hits = np.zeros((len(shares), N), dtype=np.bool_)
    hits[which, np.arange(len(which))] = True
    return Crowd(
        anchors=anchors,
        slots=np.arange(len(shares)),
        hits=hits,
        rows=np.zeros((N, 1), dtype=np.float32),
        samples=np.arange(N),
        radius=0.25,
        median=0.001,
    )


def exact(crowd: Crowd, mode: int, keep: float = 0.0) -> Growing:
    """Regions that hold the mode's samples first, and nothing else before these."""
    order = np.argsort(~crowd.hits[mode], kind="stable")
    depth = np.empty(N)
    depth[order] = (np.arange(N) + 0.5) / N
    return Growing(depth=depth, keep=keep)


def goal(target: float, *, modes: int | None = None, floor: float = 0.5) -> Goal:
    return Goal(target=target, modes=modes, min_acceptance=floor, attempts=100, seed=0)


def planned(crowd: Crowd, wanted: Goal) -> Plan:
    return plan(crowd, wanted, lambda mode: exact(crowd, mode))


def loop_weights(masses: dict[int, float], regions: list[Growing]) -> list[float]:
    found = []
    for sample in range(N):
        kept = 1.0
        for mode, mass in masses.items():
            if mass and regions[mode].depth[sample] <= mass:
                kept = min(kept, regions[mode].keep)
        found.append(kept)
    return found


def test_weights_are_those_of_the_loop() -> None:
    rng = np.random.default_rng(0)
    regions = [Growing(depth=rng.random(N), keep=keep) for keep in (0.2, 0.7, 0.4)]
    masses = {0: 0.3, 2: 0.5, 1: 0.0}
    assert weights(masses, lambda mode: regions[mode], N).tolist() == loop_weights(masses, regions)
    assert (weights({0: 0.0}, lambda mode: regions[mode], N) == 1).all()


def test_a_region_grows_until_the_target_is_met() -> None:
    crowd = crowd_of(0.1, 0.03)
    found = planned(crowd, goal(0.05, modes=1))
    # m of the prior refused leaves (.1 - m) / (1 - m) of the mode: .055 is the first below .05.
    assert list(found.masses) == [0] and found.masses[0] == pytest.approx(0.055)
    assert found.worst == pytest.approx(0.045 / 0.945) and found.acceptance == pytest.approx(0.945)
    assert not found.floored


def test_the_worst_grows_first_and_all_meet_the_target() -> None:
    crowd = crowd_of(0.1, 0.08, 0.02)
    found = planned(crowd, goal(0.05))
    assert sorted(found.masses) == [0, 1]
    left = 1 - sum(found.masses.values())
    for mode, rate in ((0, 0.1), (1, 0.08)):
        assert (rate - found.masses[mode]) / left <= 0.05
        assert (rate - found.masses[mode] + 0.005) / (left + 0.005) > 0.05  # a step less is not
    assert found.worst <= 0.05


def test_the_floor_ends_it() -> None:
    crowd = crowd_of(0.3)
    found = planned(crowd, goal(0.05, modes=1, floor=0.9))
    assert found.floored and found.acceptance == pytest.approx(0.9)
    assert found.masses[0] == pytest.approx(0.1)
    assert found.worst == pytest.approx(0.2 / 0.9)


def test_a_target_above_all_asks_for_nothing() -> None:
    found = planned(crowd_of(0.1, 0.05), goal(0.2))
    assert (found.masses, found.acceptance, found.floored) == ({0: 0.0}, 1.0, False)


def test_neighbours_count_as_their_mode_in_auto_and_not_at_all_in_a_number() -> None:
    crowd = crowd_of(0.1, 0.09, 0.05, pairs=((0, 1),))
    assert crowd.near(1, [0]) == 0
    both = np.minimum(exact(crowd, 0).depth, exact(crowd, 1).depth)
    found = plan(crowd, goal(0.06), lambda mode: Growing(depth=2 * both, keep=0.0))
    assert list(found.masses) == [0] and found.worst <= 0.06
    two = planned(crowd, goal(0.03, modes=2))
    assert list(two.masses) == [0, 2]
    assert 0.09 / two.acceptance > two.worst  # the neighbour is as dense as before


def test_no_more_modes_than_asked_for() -> None:
    crowd = crowd_of(*[0.05] * 6)
    assert list(planned(crowd, goal(0.01, modes=3)).masses) == [0, 1, 2]
    assert len(planned(crowd, goal(0.01)).masses) == 6


def test_a_mode_of_few_samples_is_not_chosen() -> None:
    crowd = crowd_of(0.1, 0.0045)  # nine samples
    assert list(planned(crowd, goal(0.002)).masses) == [0]


def test_a_region_that_knows_nothing_stays_empty() -> None:
    crowd = crowd_of(0.1)
    depth = np.random.default_rng(0).permutation(N) / N
    found = plan(crowd, goal(0.01, modes=1), lambda mode: Growing(depth=depth, keep=1.0))
    assert (found.masses, found.acceptance) == ({0: 0.0}, 1.0)


def test_what_helps_no_more_is_not_spent() -> None:
    crowd = crowd_of(0.1)
    # All of the mode lies in the first tenth; p2 / p1 = .1 leaves .01 / .91, above the target of
    # .01: a larger region only takes others away.
    found = plan(crowd, goal(0.01, modes=1), lambda mode: exact(crowd, mode, keep=0.1))
    assert found.masses[0] <= 0.1 + 0.005
    assert found.acceptance >= 0.9 and not found.floored


def shared(crowd: Crowd, modes: list[int]) -> Growing:
    inside = crowd.hits[modes].any(axis=0)
    depth = np.empty(N)
    depth[np.argsort(~inside, kind="stable")] = (np.arange(N) + 0.5) / N
    return Growing(depth=depth, keep=0.0)


def test_one_region_for_several_modes() -> None:
    crowd = crowd_of(0.1, 0.1, 0.02)
    found = shared_plan(crowd, goal(0.03), None, shared(crowd, [1, 0]))
    # Mode 0 comes first in it: all of it goes, then mode 1 as far as the target asks.
    mass = found.masses[0]
    assert (0.2 - mass) / (1 - mass) <= 0.03 < (0.2 - mass + 0.005) / (1 - mass + 0.005)
    first = shared_plan(crowd, goal(0.03), [0], shared(crowd, [0, 1]))
    assert first.masses[0] < mass and first.worst <= 0.03
    floored = shared_plan(crowd, goal(0.03, floor=0.95), None, shared(crowd, [0, 1]))
    assert floored.acceptance >= 0.95


def test_the_better_plan_does_more_or_costs_less() -> None:
    def of(worst: float, acceptance: float) -> Plan:
        return Plan(masses={}, floored=False, worst=worst, acceptance=acceptance)

    assert of(0.02, 0.8).better(of(0.03, 0.9), 0.01)
    assert not of(0.03, 0.9).better(of(0.02, 0.8), 0.01)
    assert of(0.02, 0.9).better(of(0.01, 0.8), 0.02)  # both are enough
    assert not of(0.02, 0.8).better(of(0.02, 0.8), 0.02)


@pytest.mark.parametrize(("share", "target", "keep"), [(0.1, 0.01, 0.1), (0.1, 0.2, 1.0)])
def test_the_probability_is_the_target_over_the_rate(
    share: float, target: float, keep: float
) -> None:
    assert keep_for(crowd_of(share), 0, target) == pytest.approx(keep)
    empty: NDArray[np.bool_] = np.zeros((1, N), dtype=np.bool_)
    crowd = crowd_of(share)
    assert keep_for(Crowd(**{**vars(crowd), "hits": empty}), 0, target) == 1.0
