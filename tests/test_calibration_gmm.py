"""Algorithm 1: its weights against the literal ones, and its promises against fresh latents."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ganaudit.calibration import gmm
from ganaudit.calibration.artefact import Artefact, load, save
from ganaudit.calibration.clusters import FOLDS, Clusters, variance_between
from ganaudit.calibration.crowds import Crowd, Fitted, Goal, delivered
from ganaudit.calibration.latents import Space, redraw
from ganaudit.calibration.prospects import forecast_of
from ganaudit.errors import ConfigError
from ganaudit.slots import Prior, Stream, noise_seeds_of

SAMPLES, FRESH = 6000, 20_000
FAR = 4.5  # standard errors: one check in 150,000 errs
PLANE = Space((2,), "normal")

Where = Callable[[NDArray[np.float32]], NDArray[np.bool_]]  # latents [N, size] to hits [M, N]


def goal(target: float = 0.01, *, modes: int | None = 1, floor: float = 0.8, seed: int = 0) -> Goal:
    return Goal(target=target, modes=modes, min_acceptance=floor, attempts=200, seed=seed)


def discs(*centres: tuple[float, float], radius: float = 0.5) -> Where:
    """Modes, a disc in the first two coordinates each."""

    def hits(latents: NDArray[np.float32]) -> NDArray[np.bool_]:
        plane = latents[:, :2]
        return np.stack([((plane - np.array(c)) ** 2).sum(axis=1) < radius**2 for c in centres])

    return hits


def beyond(height: float) -> Where:
    """One mode, the half-space where the mean direction is high."""

    def hits(latents: NDArray[np.float32]) -> NDArray[np.bool_]:
        return (latents.sum(axis=1) / latents.shape[1] ** 0.5 > height)[None]

    return hits


def ordinary(space: Space, count: int, *, seed: int) -> NDArray[np.float32]:
    return space.draw(np.arange(count), seed=seed, stream=Stream.SAMPLES)


def crowd_of(hits: NDArray[np.bool_], anchors: NDArray[np.float32] | None = None) -> Crowd:
    """A run whose anchors are no neighbours of each other, unless they are given."""
    modes, samples = hits.shape
    order = np.argsort(-hits.sum(axis=1), kind="stable")
    if anchors is None:
        anchors = np.eye(modes, dtype=np.float32)
    return Crowd(
        anchors=anchors[order],
        slots=order,
        hits=hits[order],
        rows=np.zeros((samples, anchors.shape[1]), dtype=np.float32),
        samples=np.arange(samples),
        radius=0.25,
        median=0.003,
    )


def fit(
    where: Where,
    wanted: Goal,
    *,
    space: Space = PLANE,
    samples: int = SAMPLES,
    draw: gmm.MixtureDraw = "cell",
    clusters: int = 50,
    paper_exact: bool = False,
) -> Fitted:
    latents = ordinary(space, samples, seed=0)
    return gmm.fit(
        crowd_of(where(latents)),
        latents,
        space,
        wanted,
        draw=draw,
        clusters=clusters,
        paper_exact=paper_exact,
    )


def afresh(fitted: Fitted, where: Where, *, space: Space = PLANE) -> tuple[list[float], float]:
    """The modes' rates among fresh latents behind the sampler, densest first as before, and the
    acceptance.
    """
    slots = np.arange(FRESH)
    seeds = noise_seeds_of(slots, seed=1, stream=Stream.SAMPLES)
    before = ordinary(space, FRESH, seed=1)
    found = redraw(fitted.calibrator, before, seeds)
    order = np.argsort(-where(ordinary(space, SAMPLES, seed=0)).sum(axis=1), kind="stable")
    return list(where(found.latents)[order].mean(axis=1)), FRESH / int(found.attempts.sum())


def error_of(rate: float) -> float:
    return float(np.sqrt(rate * (1 - rate) / FRESH))


def test_cells_take_a_planted_disc_away_as_announced() -> None:
    where = discs((1, 0.5))
    fitted = fit(where, goal(target=0.01, floor=0.8))
    assert fitted.modes == [0]
    assert fitted.forecast is not None
    assert fitted.forecast.held_out
    before, announced = fitted.forecast.chosen[0]
    (after,), acceptance = afresh(fitted, where)
    assert before - after > (before - 0.01) / 2
    assert acceptance >= 0.8
    tolerance = FAR * (error_of(announced) + fitted.facts["forecast_error"] * before)
    assert abs(after - announced) < tolerance
    assert abs(acceptance - fitted.forecast.acceptance) < 0.02
    assert fitted.facts["variance_explained"] > 0.9
    assert not any("importance" in sentence for sentence in fitted.sentences)
    assert announced > 0.008  # no further than to the target


def test_the_mixture_takes_a_planted_disc_away_as_announced() -> None:
    where = discs((1, 0.5))
    fitted = fit(where, goal(target=0.01, floor=0.8), draw="mixture")
    assert fitted.forecast is not None
    before, announced = fitted.forecast.chosen[0]
    (after,), acceptance = afresh(fitted, where)
    assert acceptance == fitted.forecast.acceptance == 1
    assert before - after > (before - 0.01) / 2
    tolerance = FAR * (error_of(announced) + fitted.facts["forecast_error"] * before)
    assert abs(after - announced) < tolerance


def test_the_floor_holds_where_the_target_asks_for_more() -> None:
    where = discs((1, 0.5), (-1, 0.5), radius=0.7)
    fitted = fit(where, goal(target=0.001, modes=2, floor=0.85))
    rates, acceptance = afresh(fitted, where)
    assert acceptance >= 0.85
    assert acceptance < 0.88  # and it is used
    assert max(rates) > 0.01


@pytest.mark.parametrize("prior", ["uniform", "truncated", "spherical"])
def test_other_priors_are_thinned_too(prior: Prior) -> None:
    space = Space((3,), prior)
    where = discs((0.4, 0.3), radius=0.25)
    before = float(where(ordinary(space, FRESH, seed=1)).mean())
    for draw in ("cell", "mixture"):
        fitted = fit(where, goal(target=0.002, floor=0.8), space=space, draw=draw)
        (after,), _ = afresh(fitted, where, space=space)
        assert after < before - FAR * error_of(before)


def test_in_512_dimensions_it_says_that_next_to_nothing_can_be_done() -> None:
    space, where = Space((512,), "normal"), beyond(1.5)
    fitted = fit(where, goal(floor=0.35), space=space, samples=3000, clusters=20)
    facts = fitted.facts
    assert facts["variance_explained"] < 0.02
    assert facts["reachable_rate"] > 0.8 * facts["rate"]
    assert any("next to no structure in 512 dimensions" in said for said in fitted.sentences)
    assert any("--method importance" in said for said in fitted.sentences)
    (after,), _ = afresh(fitted, where, space=space)
    before = float(where(ordinary(space, FRESH, seed=1)).mean())
    assert after > 0.8 * before


def test_hits_that_latents_know_nothing_of_promise_nothing() -> None:
    """Each cluster's own count promises a fall; samples that took no part do not."""
    latents = ordinary(PLANE, 2000, seed=0)
    hits = np.random.default_rng(0).random((1, 2000)) < 0.1
    crowd = crowd_of(hits)
    fitted = gmm.fit(crowd, latents, PLANE, goal(target=0.001, floor=0.35))
    assert fitted.forecast is not None
    before, after = fitted.forecast.chosen[0]
    weights = fitted.calibrator.acceptance(latents)
    assert crowd.rates(weights)[0] < 0.85 * before
    assert abs(after / before - 1) < FAR * fitted.facts["forecast_error"]
    assert any("not told apart from nothing" in said for said in fitted.sentences)
    assert any("know too little" in said for said in fitted.sentences)


def test_modes_are_added_until_the_worst_is_low() -> None:
    where = discs((1, 0.5), (-1, 0.5), (0, -1), radius=0.4)
    fitted = fit(where, goal(target=0.012, modes=None, floor=0.7))
    assert sorted(fitted.modes) == [0, 1, 2]
    rates, _ = afresh(fitted, where)
    assert max(rates) < 0.012 + FAR * error_of(0.012)
    alone = fit(where, goal(target=0.012, modes=1, floor=0.7))
    assert alone.modes == [0]
    others, _ = afresh(alone, where)
    assert max(others[1:]) > 0.03


def test_neighbours_of_a_chosen_mode_are_not_chosen() -> None:
    """The densest mode and its neighbour stay denser than any other: the floor is high."""
    where = discs((0, 0), (0, 0), (-2, 0), (2, 0), radius=0.5)
    latents = ordinary(PLANE, SAMPLES, seed=0)
    crowd = crowd_of(where(latents), np.eye(4, dtype=np.float32)[[0, 0, 1, 2]])
    for modes in (3, None):
        fitted = gmm.fit(crowd, latents, PLANE, goal(modes=modes, floor=0.95))
        assert 1 not in fitted.modes
        assert fitted.modes[0] == 0
        if modes:
            assert sorted(fitted.modes) == [0, 2, 3]


def test_what_meets_the_target_is_left_alone() -> None:
    where = discs((1, 0.5))
    fitted = fit(where, goal(target=0.5, modes=None))
    np.testing.assert_array_equal(fitted.calibrator.keep, 1)
    mixed = fit(where, goal(target=0.5), draw="mixture").calibrator
    latents = ordinary(PLANE, SAMPLES, seed=0)
    found = Clusters.of(latents, PLANE, normal=True, clusters=50, seed=0)
    np.testing.assert_allclose(mixed.weights, found.shares, rtol=1e-12)


@pytest.mark.parametrize("draw", ["cell", "mixture"])
def test_a_single_cluster_leaves_the_prior_and_says_so(draw: gmm.MixtureDraw) -> None:
    fitted = fit(discs((1, 0.5)), goal(), draw=draw, clusters=1)
    latents = ordinary(PLANE, 300, seed=1)
    seeds = noise_seeds_of(np.arange(300), seed=1, stream=Stream.SAMPLES)
    np.testing.assert_array_equal(redraw(fitted.calibrator, latents, seeds).latents, latents)
    assert fitted.facts["variance_explained"] == 0
    assert any("not told apart from nothing" in said for said in fitted.sentences)


def test_the_paper_exact_form_is_literal() -> None:
    where = discs((1, 0.5))
    fitted = fit(where, goal(), draw="mixture", clusters=9, paper_exact=True)
    sampler = fitted.calibrator
    latents = ordinary(PLANE, SAMPLES, seed=0)
    counts = [0] * 9
    for latent, hit in zip(latents, where(latents)[0], strict=True):
        distances = [float(((latent - mean) ** 2).sum()) for mean in sampler.means]
        counts[distances.index(min(distances))] += bool(hit)
    assert sum(counts) == where(latents).sum()
    total = sum(1 / (count + 1) for count in counts)
    wanted = [1 / (count + 1) / total for count in counts]
    np.testing.assert_allclose(sampler.weights, wanted, rtol=1e-12)
    assert not len(sampler.directions)
    draws = sampler.propose(ordinary(PLANE, 5000, seed=3), np.full(5000, 0.5)).astype(float)
    assert (np.abs(draws.var(axis=0) - 1) < FAR * np.sqrt(2 / 5000)).all()  # within a component: 1
    assert any("literal" in said for said in fitted.sentences)
    with pytest.raises(ValueError, match="mixture"):
        fit(where, goal(), draw="cell", paper_exact=True)


def test_the_same_seed_gives_the_same_sampler_and_another_another() -> None:
    where = discs((1, 0.5))
    first, again, other = (fit(where, goal(seed=seed)).calibrator for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.centres, again.centres)
    np.testing.assert_array_equal(first.keep, again.keep)
    assert not np.array_equal(first.centres, other.centres)


def test_nobody_promises_what_too_few_samples_show() -> None:
    """In 64 dimensions a mixture of far apart Gaussians lies where the run has few samples."""
    space = Space((64,), "normal")
    fitted = fit(beyond(1.5), goal(), space=space, samples=3000, draw="mixture", clusters=200)
    assert fitted.forecast is None
    assert any("cannot be told beforehand" in said for said in fitted.sentences)


@pytest.mark.parametrize("attempts", [2, 3, 100])
def test_the_error_of_a_forecast_is_that_of_drawing_the_samples_again(attempts: int) -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((1, 3000)) < 0.2
    densities = np.where(hits[0], 0.3, 1.0) * rng.random(3000)
    forecast, error = forecast_of(crowd_of(hits), [0], densities, "cell", attempts=attempts)
    assert forecast is not None
    changes = []
    for _ in range(1000):
        again = rng.integers(0, 3000, 3000)
        got = delivered(densities[again], attempts) @ hits[0, again] / 3000
        changes.append(got / hits[0, again].mean() - 1)
    assert error == pytest.approx(np.std(changes), rel=FAR / np.sqrt(2 * 1000))


def test_a_mixture_is_told_where_enough_samples_know_it() -> None:
    hits = np.arange(5000)[None] % 2 == 0
    rare = np.arange(5000)[None] % 250 == 0
    few, half = np.zeros(5000), np.zeros(5000)
    few[:450], half[:2500] = 1.0, 1.0  # as good as 450 samples, and as 2,500
    crowd, seldom = crowd_of(hits), crowd_of(rare)
    assert forecast_of(crowd, [0], half, "mixture", attempts=9)[0] is not None
    assert forecast_of(crowd, [0], few, "mixture", attempts=9)[0] is None
    assert forecast_of(crowd, [0], few, "cell", attempts=9)[0] is not None
    forecast, error = forecast_of(seldom, [0], half, "mixture", attempts=9)  # of 20 hits 10 left
    assert error > 0.1
    assert forecast is None
    assert forecast_of(seldom, [0], half, "cell", attempts=9)[0] is not None


@pytest.mark.parametrize("attempts", [2, 3, 100])
def test_of_few_attempts_less_is_foretold_and_of_a_mixture_the_same(attempts: int) -> None:
    hits = np.arange(4000)[None] < 800
    keep = np.where(hits[0], 0.1, 1.0)
    cell, _ = forecast_of(crowd_of(hits), [0], keep, "cell", attempts=attempts)
    mixture, _ = forecast_of(crowd_of(hits), [0], keep, "mixture", attempts=attempts)
    assert cell is not None and mixture is not None
    taken = 0.2 * 0.1 / 0.82  # of an acceptance of .8 + .2 * .1
    last = 0.18 ** (attempts - 1)
    assert cell.chosen == [(0.2, pytest.approx(taken * (1 - last) + 0.2 * last))]
    assert cell.acceptance == pytest.approx(0.82)
    assert (mixture.chosen, mixture.acceptance) == ([(0.2, pytest.approx(taken))], 1.0)


def test_too_few_samples_are_refused() -> None:
    where = discs((1, 0.5))
    with pytest.raises(ConfigError, match="at least 200 samples, there are 150"):
        fit(where, goal(), samples=150)
    with pytest.raises(ConfigError, match="the densest mode has 0 samples"):
        fit(discs((9, 9)), goal())


def test_no_centre_was_drawn_towards_a_sample_of_the_run() -> None:
    space = Space((8,), "normal")
    latents = ordinary(space, 1500, seed=0)
    found = Clusters.of(latents, space, normal=True, clusters=30, seed=0)
    other = Clusters.of(latents[::-1] * 2, space, normal=True, clusters=30, seed=0)
    np.testing.assert_array_equal(found.centres, other.centres)


def test_samples_are_counted_by_cluster_and_fold() -> None:
    space = Space((8,), "normal")
    latents = ordinary(space, 1500, seed=0)
    found = Clusters.of(latents, space, normal=True, clusters=30, seed=0)
    distances = ((latents[:, None] - found.centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found.own, distances.argmin(axis=1))
    assert np.bincount(found.fold, minlength=FOLDS).tolist() == [150] * FOLDS
    part = latents[:, 0] > 0
    assert found.by_fold().sum() == 1500
    for fold, cluster in ((0, 0), (9, 29), (3, 7)):
        inside = (found.fold == fold) & (found.own == cluster)
        assert found.by_fold()[fold, cluster] == inside.sum()
        assert found.by_fold(part)[fold, cluster] == (inside & part).sum()
    assert replace(found, own=np.zeros(1500, dtype=np.int64)).shares.tolist() == [1] + [0] * 29


def between(points: NDArray[np.float64], own: NDArray[np.int64], clusters: int) -> float:
    sums = np.stack([points[own == k].sum(axis=0) for k in range(clusters)])
    sizes = np.bincount(own, minlength=clusters).astype(float)
    return variance_between(sizes, sums, float((points**2).sum()))


def test_variance_between_clusters_by_hand() -> None:
    """Means 0 and 4, each with squares 2 within: 1 - (4 / 2) / (20 / 3)."""
    points, own = np.array([[-1.0], [1.0], [3.0], [5.0]]), np.array([0, 0, 2, 2])
    assert between(points, own, 3) == pytest.approx(0.7)
    assert between(points + 100, own, 3) == pytest.approx(0.7)


def test_clusters_by_chance_explain_no_variance() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2000, 40))
    own = rng.integers(0, 100, 2000)
    assert between(points, own, 100) < 0.005  # the plain share of squares would be .05
    assert between(np.ones((8, 2)), np.arange(8) % 2, 2) == 0


def test_a_fitted_sampler_comes_back_from_its_file(tmp_path: Path) -> None:
    where = discs((1, 0.5))
    for draw in ("cell", "mixture"):
        fitted = fit(where, goal(), draw=draw)
        artefact = Artefact(
            calibrator=fitted.calibrator,
            method="gmm",
            generator={},
            descriptor=None,
            run={},
            about={"facts": fitted.facts, "sentences": fitted.sentences},
        )
        written = replace(artefact, sha256=save(tmp_path / "calibrator.json", artefact))
        again = load(tmp_path)
        np.testing.assert_array_equal(again.sample(64, seed=5), written.sample(64, seed=5))
        assert again.about["facts"] == fitted.facts
