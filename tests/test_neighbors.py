import sys
from collections.abc import Iterator

import literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganaudit import neighbors
from ganaudit.config import Backend
from ganaudit.errors import PluginError
from ganaudit.generators import Status
from ganaudit.neighbors import (
    NearestTallier,
    RangeTallier,
    nearest,
    nearest_samples,
    open_tallier,
)
from ganaudit.store import Rows
from ganaudit.tally import Tallier, Tally, angular_distance

needs_faiss = pytest.mark.skipif(neighbors.faiss_or_none() is None, reason="faiss is absent")


def unit(raw: NDArray[np.float64]) -> NDArray[np.float32]:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def healthy(count: int, seed: int, *, width: int = 32) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).standard_normal((count, width)))


def collapsed(count: int, seed: int, *, width: int = 32, share: float = 0.3) -> NDArray[np.float32]:
    """Healthy, but for a share that is one face with little noise or none."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, width))
    face = np.random.default_rng(99).standard_normal(width)
    dense = rng.random(count) < share
    noise = rng.standard_normal((count, width)) * rng.choice([0, 0.05, 0.3], size=(count, 1))
    rows[dense] = (face + noise)[dense]
    return unit(rows)


def run(
    tallier: Tallier, samples: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> Tally:
    keep = np.ones(len(samples), dtype=np.bool_) if valid is None else valid
    return tallier.run(
        (samples[i : i + tallier.step], keep[i : i + tallier.step])
        for i in range(0, len(samples), tallier.step)
    )


def assert_same(one: Tally, other: Tally) -> None:
    for name in ("n", "within", "within_half"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("similarity", "squares", "coherence"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.fixture(params=["faiss", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who looks for nearest neighbours."""
    if request.param == "torch":
        monkeypatch.setattr(neighbors, "faiss_or_none", lambda: None)
    elif neighbors.faiss_or_none() is None:
        pytest.skip("faiss is absent")
    return str(request.param)


# Range search


@needs_faiss
@pytest.mark.parametrize("make", [healthy, collapsed])
@pytest.mark.parametrize(("theta", "radius"), [(0.3, 0.25), (0.25, 0.4), (1.0, 1.0), (0.05, 0.02)])
def test_range_search_gives_the_tally_of_the_matrix_product(
    make, theta: float, radius: float
) -> None:
    anchors, samples = make(37, 1), make(2500, 2)
    wanted = run(Tallier(anchors, theta=theta, radius=radius), samples)
    tallier = RangeTallier(anchors, theta=theta, radius=radius)
    assert len(samples) > tallier.step
    assert_same(run(tallier, samples), wanted)
    if make is collapsed:
        assert wanted.within.sum() > 1000


@needs_faiss
@pytest.mark.parametrize("radius", [0.1, 0.25])
def test_range_search_counts_the_boundary_exactly(radius: float) -> None:
    anchors = healthy(5, 3)
    x = anchors[0].astype(np.float64)
    rng = np.random.default_rng(4)
    away = rng.standard_normal((1000, 32))
    away -= np.outer(away @ x, x) / (x @ x)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    angle = np.pi * (radius + rng.uniform(-1, 1, (1000, 1)) * 2e-8)
    samples = unit(np.cos(angle) * x + np.sin(angle) * away)
    exact = samples.astype(np.float64) @ x
    inside = int((np.arccos(exact) / np.pi <= radius).sum())
    assert 100 < inside < 900
    # theta below the radius: the pairs lie at the very edge of what is searched for
    found = run(RangeTallier(anchors, theta=radius / 4, radius=radius), samples)
    assert found.within[0].sum() == inside


@needs_faiss
def test_range_search_ignores_invalid_rows() -> None:
    anchors, samples = collapsed(20, 5), collapsed(1100, 6)
    valid = np.random.default_rng(7).random(1100) < 0.6
    wanted = run(Tallier(anchors, theta=0.3, radius=0.2), samples, valid)
    samples[~valid] = np.nan
    assert_same(run(RangeTallier(anchors, theta=0.3, radius=0.2), samples, valid), wanted)
    nothing = run(RangeTallier(anchors, theta=1, radius=1), samples[~valid], valid[~valid])
    assert nothing.n.sum() == 0 and not nothing.similarity.any() and not nothing.within.any()


# Certified nearest neighbours


@pytest.mark.parametrize("step", [512, 1024])
def test_anchors_without_a_certificate_take_the_matrix_product(
    step: int, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "MAX_NEIGHBORS", 24)
    anchors, samples = collapsed(43, 8), collapsed(2500, 9)
    wanted = run(Tallier(anchors, theta=0.25, radius=0.2), samples)
    tallier = NearestTallier(anchors, theta=0.25, radius=0.2, step=step)
    assert_same(run(tallier, samples), wanted)
    crowded = int((wanted.within.sum(1) > 24 * -(-2500 // step)).sum())
    assert 5 < crowded < 38
    # Whoever has more than 24 neighbours in each tile cannot be certified in any, and others can.
    assert crowded * (2500 // step) <= tallier.uncertified < 43 * -(-2500 // step)


def test_anchors_of_a_healthy_set_are_all_certified(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "MAX_NEIGHBORS", 24)
    anchors, samples = healthy(43, 10), healthy(2500, 11)
    samples[700:710] = anchors[:10]  # near ones, though not too many
    wanted = run(Tallier(anchors, theta=0.25, radius=0.2), samples)
    assert 10 <= wanted.within.sum() < 24 * 43
    tallier = NearestTallier(anchors, theta=0.25, radius=0.2, step=512)
    assert_same(run(tallier, samples), wanted)
    assert tallier.uncertified == 0


def test_a_mode_beyond_the_most_neighbours_there_are_is_not_understated(library: str) -> None:
    anchors = np.concatenate([collapsed(1, 12, share=1), healthy(6, 13)])
    samples = collapsed(4000, 14, share=0.8)
    wanted = run(Tallier(anchors, theta=0.3, radius=0.25), samples)
    assert wanted.within[0].sum() > neighbors.MAX_NEIGHBORS
    tallier = NearestTallier(anchors, theta=0.3, radius=0.25, step=8 * 512)
    assert_same(run(tallier, samples), wanted)
    assert tallier.uncertified == 1


def test_a_tile_of_fewer_samples_than_neighbours_needs_no_certificate(library: str) -> None:
    anchors, samples = collapsed(20, 15), collapsed(600, 16)
    wanted = run(Tallier(anchors, theta=1, radius=1), samples)
    tallier = NearestTallier(anchors, theta=1, radius=1, step=512)
    assert_same(run(tallier, samples), wanted)
    assert tallier.uncertified == 0


def test_certified_search_ignores_invalid_rows(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "MAX_NEIGHBORS", 24)
    anchors, samples = collapsed(20, 17), collapsed(1600, 18)
    valid = np.random.default_rng(19).random(1600) < 0.6
    valid[512:1024] = False  # a tile with nothing in it
    wanted = run(Tallier(anchors, theta=0.3, radius=0.2), samples, valid)
    samples[~valid] = np.nan
    tallier = NearestTallier(anchors, theta=0.3, radius=0.2, step=512)
    assert_same(run(tallier, samples, valid), wanted)
    assert tallier.uncertified > 0


# Nearest neighbours


@pytest.mark.parametrize("k", [1, 7, 300])
def test_nearest_are_those_of_a_full_sort(k: int, library: str) -> None:
    queries, rows = healthy(530, 20), healthy(300, 21)
    cosine, index = nearest(torch.from_numpy(queries), torch.from_numpy(rows), k)
    assert cosine.shape == index.shape == (530, k)
    assert cosine.dtype == torch.float32 and index.dtype == torch.int64
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    order = np.argsort(-exact, axis=1)[:, :k]
    wanted = np.take_along_axis(exact, order, axis=1)
    np.testing.assert_allclose(cosine.numpy(), wanted, atol=1e-6)
    found = np.take_along_axis(exact, index.numpy(), axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)  # the same rows, up to float32 ties
    assert (index.numpy() == order).mean() > 0.99
    assert all(len(set(row)) == k for row in index.tolist())


@pytest.mark.parametrize("k", [0, 6, -1])
def test_more_neighbours_than_rows_are_refused(k: int, library: str) -> None:
    rows = torch.eye(5)
    with pytest.raises(ValueError, match=rf"k must be in \[1, 5\], got {k}"):
        nearest(rows, rows, k)


def test_more_neighbours_than_faiss_gives_on_a_gpu_are_refused(library: str) -> None:
    rows = torch.eye(1).expand(3000, 1)
    with pytest.raises(ValueError, match=r"k must be in \[1, 2048\], got 2049"):
        nearest(rows, rows, 2049)


# Nearest stored samples


def stored(
    samples: NDArray[np.float32], valid: NDArray[np.bool_] | None = None, *, step: int = 512
) -> Iterator[Rows]:
    """Pieces in one buffer that is used again; what is not valid is NaN."""
    valid = np.ones(len(samples), dtype=np.bool_) if valid is None else valid
    buffer = np.empty((step, samples.shape[1]), dtype=np.float32)
    for start in range(0, len(samples), step):
        part = slice(start, start + step)
        rows = buffer[: len(samples[part])]
        rows[:] = np.where(valid[part, None], samples[part], np.float32(np.nan))
        status = np.where(valid[part], Status.OK, Status.FAILED).astype(np.uint8)
        yield Rows(start, rows, status, np.zeros((len(rows), 16), dtype=np.uint8))


def nearly_the_same(count: int, seed: int) -> NDArray[np.float32]:
    """One face, and noise that a float32 cosine does not see; and copies of all that."""
    rng = np.random.default_rng(seed)
    face = np.random.default_rng(99).standard_normal(32)
    rows = face + 1e-5 * rng.standard_normal((count, 32))
    rows[rng.random(count) < 0.3] = rows[0]
    return unit(rows)


def assert_nearest(
    queries: NDArray[np.float32],
    samples: NDArray[np.float32],
    valid: NDArray[np.bool_],
    k: int,
    *,
    step: int,
) -> None:
    slots, distances = nearest_samples(
        queries, stored(samples, valid, step=step), k=k, device="cpu"
    )
    assert slots.dtype == np.int64 and distances.dtype == np.float64
    assert slots.shape == distances.shape == (len(queries), min(k, valid.sum()))
    for query, found, apart in zip(queries, slots.tolist(), distances.tolist(), strict=True):
        wanted = literal.nearest_slots(query, samples, valid, k)
        assert found == [slot for slot, _ in wanted]
        assert apart == pytest.approx([d for _, d in wanted], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("step", [1, 97, 512, 2048])
@pytest.mark.parametrize("make", [healthy, collapsed, nearly_the_same])
def test_nearest_samples_are_those_of_a_search_one_by_one(make, step: int) -> None:
    queries, samples = make(7, 26), make(600, 27)
    valid = np.random.default_rng(28).random(600) < 0.7
    assert_nearest(queries, samples, valid, 40, step=step)


@pytest.mark.parametrize("k", [1, 420, 500, 3000])
def test_more_samples_than_there_are_means_all_of_them(k: int) -> None:
    queries, samples = healthy(3, 29), healthy(500, 30)
    valid = np.arange(500) >= 80
    assert_nearest(queries, samples, valid, k, step=128)


def test_more_than_faiss_gives_on_a_gpu_are_given() -> None:
    samples = healthy(2500, 31, width=3)
    slots, distances = nearest_samples(
        samples[:1], stored(samples, step=4096), k=2400, device="cpu"
    )
    assert slots.shape == (1, 2400) > (1, neighbors.MAX_NEIGHBORS)
    assert slots[0, 0] == 0 and distances[0, 0] == 0
    assert np.all(np.diff(distances[0]) >= 0)


@pytest.mark.parametrize("step", [64, 512, 4096])
def test_of_copies_the_lowest_slots_are_taken(step: int) -> None:
    samples = healthy(1500, 32)
    copies = np.flatnonzero(np.random.default_rng(33).random(1500) < 0.5)
    samples[copies] = samples[copies[0]]
    slots, distances = nearest_samples(
        samples[copies[:1]], stored(samples, step=step), k=80, device="cpu"
    )
    assert slots[0].tolist() == copies[:80].tolist()
    assert not distances.any()


def test_rows_that_are_not_quite_unit_are_ordered_by_their_angle() -> None:
    samples = nearly_the_same(400, 34)
    samples *= np.random.default_rng(35).uniform(0.9995, 1.0005, (400, 1)).astype(np.float32)
    assert_nearest(samples[:5], samples, np.ones(400, dtype=np.bool_), 30, step=100)


def test_a_piece_and_a_run_without_valid_samples_give_none() -> None:
    queries, samples = healthy(4, 36), healthy(300, 37)
    assert_nearest(queries, samples, np.arange(300) >= 200, 20, step=100)
    nothing = nearest_samples(
        queries, stored(samples, np.zeros(300, dtype=np.bool_)), k=20, device="cpu"
    )
    assert [found.shape for found in nothing] == [(4, 0), (4, 0)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same_samples() -> None:
    queries, samples = nearly_the_same(20, 40), nearly_the_same(1500, 41)
    found, wanted = (
        nearest_samples(queries, stored(samples), k=80, device=device) for device in ("cuda", "cpu")
    )
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_a_distance_is_the_angle_of_two_rows() -> None:
    one, other = collapsed(11, 38), nearly_the_same(5, 39)
    found = angular_distance(one[:, None], other)
    assert found.shape == (11, 5) and found.dtype == np.float64
    for i, j in np.ndindex(11, 5):
        assert found[i, j] == pytest.approx(literal.distance(one[i], other[j]), rel=1e-12)
    assert not angular_distance(one, one).any()
    assert angular_distance(one, -one).tolist() == [1] * 11
    # Where float32 has no bits left: a turn by 1e-6 in a plane.
    turned = np.float32([[1, 0], [1, 1e-6]])
    assert angular_distance(turned[0], turned[1]) == pytest.approx(1e-6 / np.pi, rel=1e-6)


# Backends


@needs_faiss
@pytest.mark.parametrize(
    ("backend", "kind"), [("auto", Tallier), ("torch", Tallier), ("faiss", RangeTallier)]
)
def test_a_backend_is_opened_by_its_name(backend: Backend, kind: type[Tallier]) -> None:
    anchors, samples = collapsed(9, 22), collapsed(600, 23)
    tallier = open_tallier(backend, anchors, theta=0.3, radius=0.2, device="cpu")
    assert type(tallier) is kind
    wanted = run(Tallier(anchors, theta=0.3, radius=0.2), samples)
    assert_same(run(tallier, samples), wanted)


def test_every_backend_has_a_name_of_its_own_for_the_report() -> None:
    kinds = (Tallier, RangeTallier, NearestTallier)
    assert len({kind.backend for kind in kinds}) == 3
    assert [("faiss" in kind.backend) for kind in kinds] == [False, True, True]


def test_without_faiss_the_backend_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbors, "faiss_or_none", lambda: None)
    anchors = healthy(3, 24)
    with pytest.raises(PluginError, match="faiss is not installed; pip install faiss-cpu") as found:
        open_tallier("faiss", anchors, theta=0.3, radius=0.2, device="cpu")
    assert found.value.exit_code == 2
    assert type(open_tallier("auto", anchors, theta=0.3, radius=0.2, device="cpu")) is Tallier


def test_faiss_that_cannot_be_imported_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # import raises ImportError
    assert neighbors.faiss_or_none() is None


def test_talliers_refuse_what_the_matrix_product_refuses(library: str) -> None:
    kinds = [NearestTallier] if library == "torch" else [NearestTallier, RangeTallier]
    for kind in kinds:
        with pytest.raises(ValueError, match=r"theta must be in \(0, 1\], got 0"):
            kind(healthy(3, 25), theta=0, radius=0.2)
        with pytest.raises(ValueError, match="there must be at least one anchor"):
            kind(healthy(3, 25)[:0], theta=0.3, radius=0.2)
