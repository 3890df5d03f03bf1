import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganaudit import neighbors
from ganaudit.config import Backend
from ganaudit.errors import PluginError
from ganaudit.neighbors import NearestTallier, RangeTallier, nearest, open_tallier
from ganaudit.tally import Tallier, Tally

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
