"""What is drawn of fixed latents: the grid of `ganaudit sample`, and the plane of points."""

import sys
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganaudit.grids import draw_grid
from ganaudit.slots import Stream, latents_of
from ganaudit.training.pictured import confidence, grid_of, plane_of, points_of, scatter

CPU = torch.device("cpu")


class Painter(nn.Module):
    """Paints the first number of its latent into every pixel, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        self.given += [latents] if labels is None else [latents, labels]
        return (latents[:, :1, None, None] / 4).clamp(-1, 1).expand(-1, 1, 3, 3)


def grid(painter: Painter, labels: int = 0, seed: int = 7) -> Any:
    return grid_of(
        painter, latent_shape=(5,), prior="normal", num_labels=labels, seed=seed, device=CPU
    )


def drawn(count: int, seed: int = 7) -> Any:
    slots = np.arange(count)
    return latents_of(slots, seed=seed, stream=Stream.SAMPLES, shape=(5,), prior="normal")


def test_a_grid_shows_the_first_64_slots_row_by_row() -> None:
    found, latents = grid(Painter()), drawn(64)
    grey = np.floor((latents[:, 0].clip(-4, 4) / 4 + 1) / 2 * 255 + 0.5).astype(np.uint8)
    wanted = [np.full((3, 3, 3), one, np.uint8) for one in grey]
    assert np.array_equal(found, draw_grid(wanted, columns=8))
    assert not np.array_equal(found, grid(Painter(), seed=8))


@pytest.mark.parametrize(
    ("labels", "columns", "shown"),
    [(2, 2, 64), (8, 8, 64), (10, 10, 60), (16, 16, 64), (17, 8, 64), (1, 8, 64)],
)
def test_each_class_has_a_column(labels: int, columns: int, shown: int) -> None:
    painter = Painter()
    found = grid(painter, labels)
    latents, classes = painter.given
    assert classes.dtype == torch.int64
    assert classes.tolist() == [i % columns % labels for i in range(shown)]
    assert np.array_equal(latents.numpy(), drawn(shown))
    assert found.shape == (shown // columns * 5 + 2, columns * 5 + 2, 3)


def test_points_are_those_of_the_first_slots() -> None:
    class Flat(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return latents[:, :2] * 3

    found = points_of(Flat(), 9, latent_shape=(5,), prior="normal", seed=7, device=CPU)
    assert found.dtype == np.float32 and np.array_equal(found, drawn(9)[:, :2] * 3)


class Right(nn.Module):
    """Holds what lies at the right for real."""

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 0] * 50


def test_the_plane_has_both_clouds_at_the_left_and_the_confidence_at_the_right() -> None:
    generated, real = np.full((9, 2), -1, np.float32), np.full((9, 2), 1, np.float32)
    found = plane_of(generated, real, Right(), device=CPU)
    assert (found.shape, found.dtype) == ((400, 800, 3), np.uint8)
    again = plane_of(generated, real, Right(), device=CPU)
    assert np.array_equal(found, again)
    warm = (abs(found.astype(int) - (0xA8, 0x43, 0x1B)).sum(axis=2) < 60).nonzero()
    assert len(warm[0]) and warm[1].max() < 200 < warm[0].min()  # left and below in its panel
    sure = found[200, 700].astype(int), found[200, 500].astype(int)  # viridis: yellow and violet
    assert sure[0][0] > 200 > 100 > sure[1][0]


def test_a_map_is_the_sigmoid_of_the_logit_where_it_says_it_is() -> None:
    axes = matplotlib.figure.Figure().subplots()
    confidence(axes, Right(), 2.0, device=CPU)
    (image,) = axes.get_images()
    values = np.asarray(image.get_array())
    places = np.linspace(-2, 2, values.shape[1])
    wanted = 1 / (1 + np.exp(-50 * places))
    assert np.allclose(values, wanted[None], atol=1e-6)
    assert (image.origin, tuple(image.get_extent())) == ("lower", (-2.0, 2.0, -2.0, 2.0))
    assert image.get_clim() == (0, 1)


def test_real_points_lie_below_generated_ones_and_neither_is_too_many() -> None:
    axes = matplotlib.figure.Figure().subplots()
    points = np.arange(6000, dtype=np.float32).reshape(3000, 2)
    scatter(axes, points, -points, 3.0)
    real, generated = axes.get_lines()
    assert np.array_equal(real.get_xydata(), -points[:2000])
    assert np.array_equal(generated.get_xydata(), points[:2000])
    assert axes.get_xlim() == axes.get_ylim() == (-3, 3)


def test_nothing_stays_open_and_no_setting_of_matplotlib_changes() -> None:
    points, usual = np.zeros((3, 2), np.float32), dict(matplotlib.rcParams)
    plane_of(points, points + 1, Right(), device=CPU)
    assert dict(matplotlib.rcParams) == usual
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
