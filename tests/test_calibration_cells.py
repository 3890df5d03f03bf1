"""Samplers by cell and by mixture: what they draw, alone and in a batch, and what they refuse."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from ganaudit.calibration.artefact import Artefact, load, save
from ganaudit.calibration.cells import CellSampler, MixtureSampler, products
from ganaudit.calibration.latents import LatentSampler, Space, redraw, sample
from ganaudit.calibration.mixtures import component_ratios, within_clusters
from ganaudit.calibration.thinning import best_keep, keep_of, rate_behind, reach
from ganaudit.slots import Prior, Stream, noise_seeds_of

PRIORS: tuple[Prior, ...] = get_args(Prior)
FAR = 4.5  # standard errors: one check in 150,000 errs


def cells(space: Space, *, count: int = 7, seed: int = 0) -> CellSampler:
    rng = np.random.default_rng(seed)
    return CellSampler(
        space=space,
        centres=rng.standard_normal((count, space.size)).astype(np.float32),
        keep=rng.random(count),
        attempts=50,
    )


def mixture(space: Space, shares: NDArray[np.float64], *, spread: float, seed: int = 0) -> Any:
    """A mixture at its base weights, whose moments must be the prior's."""
    rng = np.random.default_rng(seed)
    centres = (spread * rng.standard_normal((len(shares), space.size))).astype(np.float32)
    means, directions, scales = within_clusters(shares, centres)
    return MixtureSampler(
        space=space,
        weights=shares,
        means=means,
        directions=directions,
        scales=scales,
        attempts=1,
    )


def drawn(sampler: LatentSampler, count: int, *, seed: int = 0) -> NDArray[np.float32]:
    return sample(sampler, count, seed=seed).reshape(count, -1)


def shares_of(count: int, *, seed: int = 1) -> NDArray[np.float64]:
    found = np.random.default_rng(seed).random(count) + 0.2
    return np.asarray(found / found.sum())


@pytest.mark.parametrize("prior", PRIORS)
def test_a_latent_is_taken_with_the_probability_of_its_nearest_centre(prior: Prior) -> None:
    space = Space((2, 3), prior)
    sampler = cells(space)
    latents = space.draw(np.arange(131), seed=3, stream=Stream.SAMPLES)
    found = sampler.acceptance(latents)
    for latent, probability in zip(latents, found, strict=True):
        distances = [float(np.linalg.norm(latent - centre)) for centre in sampler.centres]
        assert probability == sampler.keep[distances.index(min(distances))]
    assert sampler.propose(latents, np.full(131, 0.5)) is latents


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("size", [3, 100])
def test_a_slot_gets_the_same_latent_in_any_batch(prior: Prior, size: int) -> None:
    space = Space((size,), prior)
    for sampler in (cells(space), mixture(space, shares_of(5), spread=0.2)):
        slots = np.arange(600)
        latents = space.draw(slots, seed=0, stream=Stream.SAMPLES)
        seeds = noise_seeds_of(slots, seed=0, stream=Stream.SAMPLES)
        together = redraw(sampler, latents, seeds).latents
        order = np.random.default_rng(0).permutation(600)
        for part in np.split(order, [1, 3, 290]):
            alone = redraw(sampler, latents[part], seeds[part]).latents
            np.testing.assert_array_equal(alone, together[part])


def test_a_product_of_rows_does_not_depend_on_their_number() -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((514, 77)), rng.standard_normal((9, 77))
    whole = products(rows, others)
    np.testing.assert_allclose(whole, rows @ others.T, rtol=0, atol=1e-12)
    for first, stop in ((0, 1), (5, 300), (513, 514)):
        np.testing.assert_array_equal(products(rows[first:stop], others), whole[first:stop])


def test_probability_p_on_a_mass_q_leaves_qp_over_what_is_taken() -> None:
    space, p = Space((2,), "normal"), 0.2
    q = norm.sf(1)  # beyond 1 the second centre is nearer
    sampler = CellSampler(
        space=space,
        centres=np.array([[0, 0], [2, 0]], dtype=np.float32),
        keep=np.array([1, p]),
        attempts=1000,
    )
    count = 40_000
    slots = np.arange(count)
    latents = space.draw(slots, seed=0, stream=Stream.SAMPLES)
    found = redraw(sampler, latents, noise_seeds_of(slots, seed=0, stream=Stream.SAMPLES))
    left = q * p / (1 - q * (1 - p))
    mass = float((found.latents[:, 0] > 1).mean())
    assert abs(mass - left) < FAR * np.sqrt(left * (1 - left) / count)
    taken = 1 - q * (1 - p)
    acceptance = count / int(found.attempts.sum())
    assert abs(acceptance - taken) < FAR * np.sqrt(taken * (1 - taken) / count)
    assert found.taken.all()


@pytest.mark.parametrize("prior", PRIORS)
def test_what_is_always_taken_is_the_prior_bit_by_bit(prior: Prior) -> None:
    space = Space((4,), prior)
    every = CellSampler(space=space, centres=cells(space).centres, keep=np.ones(7), attempts=10)
    centres = np.full((1, 4), 0.3, dtype=np.float32)
    means, directions, scales = within_clusters(np.ones(1), centres)
    single = MixtureSampler(
        space=space,
        weights=np.ones(1),
        means=means,
        directions=directions,
        scales=scales,
        attempts=1,
    )
    ordinary = space.draw(np.arange(500), seed=0, stream=Stream.SAMPLES)
    np.testing.assert_array_equal(drawn(every, 500), ordinary)
    np.testing.assert_array_equal(drawn(single, 500), ordinary)


@pytest.mark.parametrize(("size", "clusters", "spread"), [(2, 12, 0.6), (30, 5, 0.25)])
def test_base_weights_have_the_priors_moments(size: int, clusters: int, spread: float) -> None:
    space = Space((size,), "normal")
    sampler = mixture(space, shares_of(clusters), spread=spread)
    between = (sampler.weights[:, None] * sampler.means).T.astype(np.float64) @ sampler.means
    within = np.eye(size) - sampler.directions.T.astype(np.float64) @ (
        (1 - sampler.scales**2)[:, None] * sampler.directions
    )
    np.testing.assert_allclose(within + between, np.eye(size), atol=1e-6)
    count = 40_000
    found = drawn(sampler, count).astype(np.float64)
    assert np.abs(found.mean(axis=0)).max() < FAR / np.sqrt(count)
    squares = found[:, :, None] * found[:, None, :]
    error = squares.std(axis=0) / np.sqrt(count)
    assert (np.abs(squares.mean(axis=0) - np.eye(size)) < FAR * error).all()


@pytest.mark.parametrize("prior", PRIORS)
def test_a_mixture_stays_within_the_priors_support(prior: Prior) -> None:
    space = Space((16,), prior)
    found = drawn(mixture(space, shares_of(6), spread=0.7), 3000).astype(np.float64)
    ordinary = space.draw(np.arange(3000), seed=0, stream=Stream.SAMPLES)
    assert (np.abs(found - ordinary).max(axis=1) > 1e-3).all()
    if prior in ("uniform", "truncated"):
        assert np.abs(found).max() <= {"uniform": 1, "truncated": 2}[prior]
    if prior == "spherical":
        np.testing.assert_allclose((found**2).mean(axis=1), 1, rtol=1e-5)


def test_components_come_by_their_weights_and_never_by_none() -> None:
    space = Space((1,), "normal")
    sampler = MixtureSampler(
        space=space,
        weights=np.array([0, 0.7, 0, 0.3, 0]),
        means=np.array([[-900], [-300], [0], [300], [900]], dtype=np.float32),
        directions=np.zeros((0, 1), dtype=np.float32),
        scales=np.zeros(0),
        attempts=1,
    )
    found = drawn(sampler, 10_000)[:, 0]
    second = np.abs(found + 300) < 10
    assert (second | (np.abs(found - 300) < 10)).all()
    assert abs(second.mean() - 0.7) < FAR * np.sqrt(0.21 / 10_000)
    ends = np.array([2.0**-33, 1 - 2.0**-33])
    np.testing.assert_array_equal(
        sampler.propose(np.zeros((2, 1), dtype=np.float32), ends)[:, 0], [-300, 300]
    )
    short = replace(sampler, weights=np.array([0, 0.7, 0, 0.2999995, 0]))  # as a file may say it
    assert short.propose(np.zeros((1, 1), dtype=np.float32), ends[1:]).item() == 300


def test_density_ratios_are_those_of_the_textbook() -> None:
    space = Space((4,), "normal")
    sampler = mixture(space, shares_of(3), spread=0.5)
    latents = space.draw(np.arange(50), seed=1, stream=Stream.SAMPLES)
    found = component_ratios(sampler, latents)
    removed = (1 - sampler.scales**2)[:, None] * sampler.directions.astype(np.float64)
    covariance = np.eye(4) - sampler.directions.T.astype(np.float64) @ removed
    prior = multivariate_normal(np.zeros(4), np.eye(4))
    for column, mean in zip(found.T, sampler.means, strict=True):
        wanted = multivariate_normal(mean, covariance).pdf(latents) / prior.pdf(latents)
        np.testing.assert_allclose(column, wanted, rtol=1e-5)


def test_the_ratio_is_one_where_the_mixture_is_the_prior_and_its_mean_is_one() -> None:
    space = Space((6,), "normal")
    latents = space.draw(np.arange(20_000), seed=1, stream=Stream.SAMPLES)
    single = mixture(space, np.ones(1), spread=0.5)
    np.testing.assert_allclose(component_ratios(single, latents), 1, rtol=1e-12)
    sampler = mixture(space, shares_of(4), spread=0.4)
    under_prior = component_ratios(sampler, latents) @ sampler.weights
    under_mixture = 1 / (component_ratios(sampler, drawn(sampler, 20_000)) @ sampler.weights)
    for ratios in (under_prior, under_mixture):
        assert abs(ratios.mean() - 1) < FAR * ratios.std() / np.sqrt(20_000)


def test_equal_rates_leave_the_prior_weights() -> None:
    keep = keep_of(shares_of(5), np.full((2, 5), 0.3), floor=0.4, target=0.001)
    np.testing.assert_array_equal(keep, 1)
    np.testing.assert_array_equal(
        keep_of(shares_of(5), np.zeros((1, 5)), floor=0.4, target=0.001), 1
    )


def test_full_strength_by_hand() -> None:
    shares, rates = np.array([0.25, 0.75]), np.array([[0.4, 0.0]])  # mean .1, smoothing .02
    keep = keep_of(shares, rates, floor=0.1, target=0)
    np.testing.assert_allclose(keep, [0.02 / 0.42, 1])


def test_several_modes_count_by_the_largest_rate() -> None:
    shares = np.array([0.25, 0.25, 0.5])
    rates = np.array([[0.4, 0.1, 0.0], [0.1, 0.2, 0.0]])
    keep = keep_of(shares, rates, floor=0.1, target=0)
    np.testing.assert_allclose(keep, [0.03 / 0.43, 0.03 / 0.23, 1])  # mean .15, smoothing .03


@pytest.mark.parametrize("floor", [0.3, 0.8, 0.99, 1.0])
def test_no_cell_grows_by_more_than_the_floor_allows(floor: float) -> None:
    shares, rates = shares_of(40), np.random.default_rng(2).beta(0.3, 3, (2, 40))
    rates[:, 7] = 0
    keep = keep_of(shares, rates, floor=floor, target=0)
    assert (keep > 0).all()
    assert keep.max() <= 1
    assert np.isclose(shares @ keep, floor) if floor > 0.3 else shares @ keep >= floor
    assert (keep / (shares @ keep)).max() <= 1 / floor * (1 + 1e-9)


def test_thinning_stops_at_the_target() -> None:
    shares, rates = shares_of(40), np.random.default_rng(2).beta(0.3, 3, (2, 40))
    before = rate_behind(shares, rates, np.ones(40))
    keep = keep_of(shares, rates, floor=0.1, target=0.8 * before)
    assert rate_behind(shares, rates, keep) == pytest.approx(0.8 * before)
    np.testing.assert_array_equal(keep_of(shares, rates, floor=0.1, target=1.1 * before), 1)


def test_the_best_acceptance_refuses_the_densest_cells_first() -> None:
    shares, rates = np.array([0.5, 0.3, 0.2]), np.array([[0.1, 0.2, 0.6]])
    np.testing.assert_allclose(best_keep(shares, rates, floor=0.7), [1, 2 / 3, 0], atol=1e-9)
    np.testing.assert_allclose(best_keep(shares, rates, floor=1), 1, atol=1e-9)


def test_no_acceptance_on_a_grid_does_better_than_the_best() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        shares, rates, floor = shares_of(3, seed=int(rng.integers(99))), rng.random((2, 3)), 0.6
        best = best_keep(shares, rates, floor=floor)
        assert shares @ best >= floor - 1e-9
        reached = rate_behind(shares, rates, best)
        others = [np.array(keep) for keep in product(np.linspace(0, 1, 21), repeat=3)]
        allowed = [keep for keep in others if shares @ keep >= floor]
        assert reached <= min(rate_behind(shares, rates, keep) for keep in allowed) + 1e-9


def test_reach_is_judged_by_folds_that_took_no_part() -> None:
    """Hits of one fold lie in the first cell, those of the other in the second."""
    sizes = np.full((2, 2), 100.0)
    counts = np.array([[[20.0, 0.0], [0.0, 20.0]]])
    found = reach(sizes, counts, floor=0.5)
    assert found["rate"] == found["least_rate"] == 0.1  # equal rates: nothing to refuse
    assert found["reachable_rate"] == pytest.approx(0.2)  # each fold is misled by the other


def artefact_of(sampler: CellSampler | MixtureSampler) -> Artefact:
    return Artefact(
        calibrator=sampler, method="gmm", generator={}, descriptor=None, run={}, about={}
    )


@pytest.mark.parametrize("prior", PRIORS)
def test_a_file_draws_the_same_latents(prior: Prior, tmp_path: Path) -> None:
    space = Space((5, 2), prior)
    flat = MixtureSampler(
        space=space,
        weights=shares_of(3),
        means=cells(space, count=3).centres,
        directions=np.zeros((0, 10), dtype=np.float32),
        scales=np.zeros(0),
        attempts=1,
    )
    for sampler in (cells(space), mixture(space, shares_of(4), spread=0.3), flat):
        save(tmp_path / "calibrator.json", artefact_of(sampler))
        again = load(tmp_path).calibrator
        assert type(again) is type(sampler)
        assert again.attempts == sampler.attempts
        np.testing.assert_array_equal(drawn(again, 64, seed=9), drawn(sampler, 64, seed=9))


def test_what_cannot_be_cells_is_refused() -> None:
    space = Space((3,), "normal")
    good = dict(cells(space).arrays())
    assert isinstance(CellSampler.restore(space, 5, {}, good), CellSampler)
    bad: list[tuple[str, NDArray[Any], str]] = [
        ("centres", good["centres"].astype(np.float64), "float32"),
        ("centres", good["centres"][:, :2], r"\[K, 3\]"),
        ("centres", good["centres"][0], r"\[K, 3\]"),
        ("centres", np.zeros((0, 3), np.float32), "1 to 4,096"),
        ("centres", np.zeros((4097, 3), np.float32), "1 to 4,096"),
        ("centres", np.full((7, 3), 1e30, np.float32), "origin"),
        ("centres", np.full((7, 3), np.nan, np.float32), "origin"),
        ("keep", good["keep"][:6], r"\[7\]"),
        ("keep", good["keep"].astype(np.float32), "float64"),
        ("keep", np.full(7, 1.1), r"\[0, 1\]"),
        ("keep", np.full(7, -0.1), r"\[0, 1\]"),
        ("keep", np.full(7, np.nan), r"\[0, 1\]"),
    ]
    for name, value, words in bad:
        with pytest.raises(ValueError, match=words):
            CellSampler.restore(space, 5, {}, {**good, name: value})
    with pytest.raises(KeyError):
        CellSampler.restore(space, 5, {}, {"centres": good["centres"]})
    with pytest.raises(ValueError, match="latents"):
        CellSampler.restore(None, 5, {}, good)


def test_what_cannot_be_a_mixture_is_refused() -> None:
    space = Space((3,), "normal")
    good = dict(mixture(space, shares_of(4), spread=0.3).arrays())
    assert isinstance(MixtureSampler.restore(space, 1, {}, good), MixtureSampler)
    turned = good["directions"].copy()
    turned[1] = turned[0]
    bad: list[tuple[str, NDArray[Any], str]] = [
        ("weights", np.full(4, 0.2), "sum to 1"),
        ("weights", np.array([1.5, -0.5, 0, 0]), r"\[0, 1\]"),
        ("weights", np.full(4, np.nan), r"\[0, 1\]"),
        ("weights", np.ones(1), r"\[4\]"),
        ("means", np.zeros((4097, 3), np.float32), "1 to 4,096"),
        ("means", np.full((4, 3), np.inf, np.float32), "origin"),
        ("directions", good["directions"].astype(np.float64), "float32"),
        ("directions", good["directions"][:, :2], r"\[r, 3\]"),
        ("directions", np.zeros((4, 3), np.float32), "at most 3"),
        ("directions", 2 * good["directions"], "length 1"),
        ("directions", np.full((3, 3), np.nan, np.float32), "length 1"),
        ("directions", turned, "orthonormal"),
        ("scales", np.full(3, 1.5), r"\[0, 1\]"),
        ("scales", np.ones(2), r"\[3\]"),
    ]
    for name, value, words in bad:
        with pytest.raises(ValueError, match=words):
            MixtureSampler.restore(space, 1, {}, {**good, name: value})
    with pytest.raises(ValueError, match="latents"):
        MixtureSampler.restore(None, 1, {}, good)
