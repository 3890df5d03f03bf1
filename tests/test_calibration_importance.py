"""Algorithm 2 on planted generators: what is found, what is foretold, and what is left."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from ganaudit.calibration import importance
from ganaudit.calibration.crowds import Crowd, Fitted, Goal
from ganaudit.calibration.latents import Latents, Space, redraw, sample
from ganaudit.calibration.regions import Hull, LinearRegion, SubspaceHull
from ganaudit.calibration.rejection import LEAST_HITS, aim_for
from ganaudit.errors import ConfigError
from ganaudit.slots import Stream, noise_seeds_of

IDENTITIES = 60  # beside the dense ones, all alike
RADIUS = 0.25
Dense = Any  # latents [N, size] to the number of the dense identity of each, -1: none


def beyond(*masses: float) -> Dense:
    """Identity i where coordinate i exceeds a quantile; the first of several."""

    def dense(latents: Latents) -> NDArray[np.int64]:
        over = latents[:, : len(masses)] > ndtri(1 - np.array(masses))
        return np.where(over.any(axis=1), over.argmax(axis=1), -1)

    return dense


def close_to(place: float, radius: float) -> Dense:
    """Identity 0 in a disc of the first two coordinates."""
    return lambda z: np.where(np.hypot(z[:, 0] - place, z[:, 1]) < radius, 0, -1)


def embedded(latents: Latents, dense: Dense, dim: int) -> NDArray[np.float32]:
    """Unit rows: an axis for each identity, so that two of them are half of pi apart."""
    which = dense(latents)
    other = len(np.unique(which)) + (np.abs(latents[:, -1]) * 1e4).astype(np.int64) % IDENTITIES
    return np.eye(dim, dtype=np.float32)[np.where(which < 0, other, which)]


class Planted:
    """A generator with dense regions, the run that is fitted on, and fresh latents."""

    def __init__(self, dense: Dense, size: int, *, samples: int = 4000) -> None:
        self.space, self.dense, self.dim = Space((size,), "normal"), dense, IDENTITIES + 4
        slots = np.arange(samples)
        self.latents = self.space.draw(slots, seed=0, stream=Stream.SAMPLES)
        self.crowd = Crowd.of(
            np.eye(self.dim, dtype=np.float32),
            np.arange(self.dim),
            self.rows(self.latents),
            slots,
            radius=RADIUS,
        )
        self.fresh = self.space.draw(np.arange(20_000), seed=1, stream=Stream.SAMPLES)

    def rows(self, latents: Latents) -> NDArray[np.float32]:
        return embedded(latents, self.dense, self.dim)

    def fit(
        self, *, modes: int | None = 1, floor: float = 0.8, attempts: int = 100, **options: Any
    ) -> Fitted:
        goal = Goal(target=0.012, modes=modes, min_acceptance=floor, attempts=attempts, seed=0)
        return importance.fit(self.crowd, self.latents, self.space, goal, **options)

    def rates(self, fitted: Fitted) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Of the candidates on fresh latents, before and after, and the acceptance."""
        hits = self.crowd.anchors @ self.rows(self.fresh).T > 0.9
        taken = fitted.calibrator.acceptance(self.fresh)
        return hits.mean(axis=1), hits @ taken / taken.sum(), float(taken.mean())


def error(rate: float, n: int) -> float:
    return float((rate * (1 - rate) / n) ** 0.5)


def test_a_half_space_in_64_dimensions_loses_most_of_its_excess() -> None:
    planted = Planted(beyond(0.15), 64)
    fitted = planted.fit()
    before, after, acceptance = planted.rates(fitted)
    assert before[0] - after[0] >= 0.8 * (before[0] - 0.012)
    assert acceptance >= 0.8
    assert fitted.modes == [0] and planted.crowd.slots[0] == 0
    # A mode that nothing was done to grows by no more than the acceptance allows.
    others = after[1:] / np.maximum(before[1:], 1e-9)
    assert others.max() <= 1 / acceptance * 1.001


@pytest.mark.parametrize("region", ["linear", "subspace-hull"])
def test_what_is_foretold_is_what_fresh_latents_show(region: str) -> None:
    planted = Planted(beyond(0.15), 16)
    fitted = planted.fit(region=region)
    before, after, acceptance = planted.rates(fitted)
    forecast = fitted.forecast
    assert forecast is not None and forecast.held_out
    n = len(planted.latents)  # the fitted run is the smaller one, its error the larger
    assert forecast.acceptance == pytest.approx(acceptance, abs=4 * error(0.8, n))
    was, foretold = forecast.chosen[0]
    assert was == pytest.approx(before[0], abs=4 * error(before[0], n))
    # Its own hulls hold a little less of the prior than those that were found without a fold.
    slack = 0.0 if region == "linear" else 0.01
    assert foretold == pytest.approx(after[0], abs=4 * error(max(after[0], 0.01), n) + slack)
    assert forecast.worst[0] == was and forecast.worst[1] >= foretold


def test_of_two_attempts_the_forecast_is_what_fresh_slots_get() -> None:
    planted = Planted(beyond(0.4), 8)
    fitted = planted.fit(floor=0.4, attempts=2)
    assert fitted.forecast is not None
    seeds = noise_seeds_of(np.arange(20_000), seed=1, stream=Stream.SAMPLES)
    drawn = redraw(fitted.calibrator, planted.fresh, seeds).latents
    rate = float((planted.dense(drawn) == 0).mean())
    # Of 4,000 samples the forecast itself is known to a standard error of .008.
    assert rate == pytest.approx(fitted.forecast.chosen[0][1], abs=4 * error(rate, 4000))
    endless = planted.fit(floor=0.4).forecast
    assert endless is not None and endless.chosen[0][1] < rate - 8 * error(rate, 4000)


def test_the_region_has_the_mass_that_is_told() -> None:
    planted = Planted(beyond(0.2), 16)
    fitted = planted.fit()
    (region,), (mass,) = fitted.calibrator.regions, fitted.facts["mass"]
    assert isinstance(region, LinearRegion)
    assert region.inside(planted.fresh).mean() == pytest.approx(mass, abs=4 * error(mass, 20_000))


def test_the_probability_is_what_it_comes_down_to_over_what_it_is() -> None:
    planted = Planted(beyond(0.15), 16)
    fitted = planted.fit(floor=0.95)
    rate = planted.crowd.hits[0].mean()
    p = aim_for(0.012, len(planted.latents)) / rate
    assert fitted.calibrator.keep.tolist() == fitted.facts["keep"] == [pytest.approx(p)]


@pytest.mark.parametrize("floor", [0.95, 0.9, 0.8])
@pytest.mark.parametrize("modes", [1, None])
def test_the_floor_is_heeded_and_more_of_it_does_no_less(floor: float, modes: int | None) -> None:
    planted = Planted(beyond(0.25, 0.15), 8)
    fitted = planted.fit(modes=modes, floor=floor)
    _, _, acceptance = planted.rates(fitted)
    assert acceptance >= floor
    assert fitted.facts["floor_binds"]  # a quarter cannot be thinned at less than .76
    assert acceptance <= floor + 0.03


def test_less_acceptance_reaches_further() -> None:
    planted = Planted(beyond(0.25), 8)
    left = [planted.rates(planted.fit(floor=floor))[1][0] for floor in (0.95, 0.9, 0.8)]
    assert all(more > less for more, less in pairwise(left))


def test_as_many_modes_as_asked_for_and_auto_all_that_are_needed() -> None:
    planted = Planted(beyond(0.12, 0.1, 0.08), 16)
    before = planted.rates(planted.fit())[0]
    one, two, auto = (planted.fit(modes=modes, floor=0.6) for modes in (1, 2, None))
    assert (one.modes, two.modes, sorted(auto.modes)) == ([0], [0, 1], [0, 1, 2])
    after = planted.rates(one)[1]
    assert after[0] < 0.03 and after[1] > before[1]
    after = planted.rates(two)[1]
    assert after[:2].max() < 0.04 and after[2] > before[2]
    after = planted.rates(auto)[1]
    assert after.max() < 0.05 < 0.5 * before.max()


def test_chosen_modes_are_no_neighbours_of_each_other() -> None:
    planted = Planted(beyond(0.12, 0.1), 8)
    doubled = Crowd.of(
        np.concatenate([planted.crowd.anchors, planted.crowd.anchors[:1]]),
        np.arange(len(planted.crowd.anchors) + 1),
        planted.crowd.rows,
        planted.crowd.samples,
        radius=RADIUS,
    )
    assert (doubled.hits[0] == doubled.hits[1]).all()  # the same place twice
    goal = Goal(target=0.012, modes=2, min_acceptance=0.6, attempts=100, seed=0)
    fitted = importance.fit(doubled, planted.latents, planted.space, goal)
    assert fitted.modes == [0, 2]


def test_a_disc_that_no_half_space_holds_is_found_in_a_subspace() -> None:
    planted = Planted(close_to(0.0, 0.5), 12, samples=8000)
    linear = planted.fit()
    before, after, _ = planted.rates(linear)
    assert abs(linear.facts["auc"][0] - 0.5) < 0.05
    assert before[0] - after[0] < 0.2 * before[0]
    said = " ".join(linear.sentences)
    assert f"area under the curve is {linear.facts['auc'][0]:.2f}" in said
    assert "No linear score" in said and "less than half of what was asked for" in said
    assert "--region subspace-hull or --method rejection" in said
    hull = planted.fit(region="subspace-hull")
    (region,) = hull.calibrator.regions
    assert isinstance(region, SubspaceHull)
    # It finds the two directions of 12 in which the disc lies.
    assert np.linalg.svd(region.basis[:, :2].astype(float))[1].min() > 0.8
    after = planted.rates(hull)[1]
    assert before[0] - after[0] > 0.5 * (before[0] - 0.012)
    assert "less than half" not in " ".join(hull.sentences)


def test_a_full_hull_never_fires_in_64_dimensions_and_says_so() -> None:
    planted = Planted(beyond(0.2), 64)
    fitted = planted.fit(region="hull")
    (region,) = fitted.calibrator.regions
    assert isinstance(region, Hull) and region.points.shape == (100, 64)
    before, after, acceptance = planted.rates(fitted)
    assert acceptance == 1 and (before == after).all()
    assert fitted.facts["hit_rate"] == [0.0]
    assert "It never fires" in " ".join(fitted.sentences)
    assert fitted.forecast is not None and fitted.forecast.acceptance == 1
    assert fitted.forecast.chosen[0][0] == fitted.forecast.chosen[0][1]


def test_a_full_hull_works_in_a_plane() -> None:
    planted = Planted(close_to(0.5, 0.7), 2)
    fitted = planted.fit(region="hull")
    before, after, acceptance = planted.rates(fitted)
    assert before[0] - after[0] > 0.5 * (before[0] - 0.012)
    assert fitted.facts["hit_rate"][0] == pytest.approx(before[0], abs=0.05)
    assert "never fires" not in " ".join(fitted.sentences)
    # All its points are neighbours, and lie in it.
    (region,) = fitted.calibrator.regions
    assert region.inside(region.points).all() and (planted.dense(region.points) == 0).all()


def test_the_same_run_gives_the_same_calibrator() -> None:
    planted = Planted(beyond(0.15), 8, samples=1500)
    one, other = planted.fit(), planted.fit()
    assert one.calibrator.arrays().keys() == other.calibrator.arrays().keys()
    for key, array in one.calibrator.arrays().items():
        assert array.tobytes() == other.calibrator.arrays()[key].tobytes()
    assert (one.facts, one.sentences) == (other.facts, other.sentences)
    assert sample(one.calibrator, 3).tobytes() == sample(other.calibrator, 3).tobytes()


def test_latents_of_any_shape_and_prior() -> None:
    planted = Planted(beyond(0.15), 4, samples=2000)
    goal = Goal(target=0.012, modes=1, min_acceptance=0.8, attempts=100, seed=0)
    found = importance.fit(planted.crowd, planted.latents, Space((2, 2), "normal"), goal)
    assert sample(found.calibrator, 3).shape == (3, 2, 2)
    single = Planted(beyond(0.15), 1, samples=2000)
    before, after, _ = single.rates(single.fit())
    assert after[0] < 0.2 * before[0]


def test_a_mode_that_nobody_knows_is_refused() -> None:
    few = Planted(beyond(0.001), 4, samples=100)  # of 60 identities
    with pytest.raises(ConfigError, match=r"take more --samples, a larger --radius, or --method"):
        few.fit()
    most = Planted(beyond(0.9999), 4, samples=300)
    assert most.crowd.hits[0].sum() > 300 - LEAST_HITS
    with pytest.raises(ConfigError, match="too few others to tell it apart"):
        most.fit()


def test_what_is_expected_is_said_beforehand() -> None:
    planted = Planted(beyond(0.25), 8)
    fitted = planted.fit()
    said, forecast = " ".join(fitted.sentences), fitted.forecast
    assert forecast is not None
    before, after = forecast.chosen[0]
    assert f"an area under the curve of {fitted.facts['auc'][0]:.2f}" in said
    assert f"the densest mode from {before:.2%} to {after:.2%}" in said
    assert f"at an acceptance of {forecast.acceptance:.1%}" in said
    assert "The acceptance of 80% binds" in said
