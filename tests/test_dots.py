"""Generators of points: pictures of dots, and the descriptor that finds them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read_report
from ganaudit_plugins.descriptors.points import PointsDescriptor, open_points
from ganaudit_plugins.generators.checkpoint import open_checkpoint
from ganaudit_plugins.generators.dots import SIDE, extent_of, paint_dots
from typer.testing import CliRunner

from ganaudit.checkpoints.native import save_native
from ganaudit.cli import app
from ganaudit.errors import ConfigError, SourceError
from ganaudit.networks.mlp import MLPGenerator
from ganaudit.slots import Draws

ARGUMENTS = {"latent_size": 2, "widths": [8], "image_shape": [2]}
FACTS = {
    "prior": "normal",
    "range": [-1, 1],
    "latent_shape": [2],
    "num_labels": 0,
    "extent": 4.0,
}


def saved(path: Path, **facts: object) -> Path:
    torch.manual_seed(0)
    module = MLPGenerator(latent_size=2, widths=(8,))
    save_native(path, module, network="mlp", arguments=ARGUMENTS, facts=FACTS | facts)
    return path


def test_the_darkest_pixel_is_where_the_point_is() -> None:
    """The window's half side is (63 / 2 - 3) pixels from the middle of the picture."""
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
    images = paint_dots(points, extent=2.0)
    assert images.shape == (4, 3, SIDE, SIDE) and images.dtype == torch.uint8
    grey = images[:, 0].flatten(1).float()
    rows, columns = grey.argmin(dim=1) // SIDE, grey.argmin(dim=1) % SIDE
    assert columns.tolist() == [31, 60, 31, 3] and rows.tolist() == [31, 31, 3, 60]
    assert torch.equal(images[:, 0], images[:, 2])


def test_what_lies_outside_is_at_the_border() -> None:
    far, near = paint_dots(torch.tensor([[9.0, 0.5], [1.0, 0.5]]), extent=1.0)
    assert torch.equal(far, near)


def test_a_dot_stands_alone() -> None:
    points = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    together = paint_dots(points, extent=3.0)
    assert all(
        torch.equal(paint_dots(points[i : i + 1], extent=3.0)[0], together[i]) for i in range(9)
    )


def test_a_point_that_is_none_is_refused() -> None:
    with pytest.raises(SourceError, match="NaN or infinite"):
        paint_dots(torch.tensor([[0.0, math.nan]]), extent=1.0)


@pytest.mark.parametrize("facts", [0, -1.0, True, "3", 2e6, math.inf])
def test_a_window_is_a_number_of_some_size(facts: object) -> None:
    with pytest.raises(ConfigError, match=r"extent must be a number in \(0, 1e6\]"):
        extent_of(facts, "the file")


def test_a_file_that_says_no_window_has_the_usual_one() -> None:
    assert extent_of(None, "the file") == 3.0


def test_angles_follow_from_the_places() -> None:
    """(x / 2, y / 2, 1) of length 1, x and y in half sides of the picture."""
    points = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (40, 2)))
    rows, valid = PointsDescriptor().embed(paint_dots(points, extent=1.0))
    inner = (31.5 - 3) / 31.5  # of a half side: where the window's border is painted
    wanted = torch.cat([0.5 * inner * points, torch.ones(40, 1)], dim=1)
    wanted = wanted / wanted.norm(dim=1, keepdim=True)
    assert bool(valid.all())
    assert float((rows - wanted).abs().max()) < 2e-3


@pytest.mark.parametrize("extent", [0.5, 3.0])
def test_near_the_middle_an_angle_is_a_distance(extent: float) -> None:
    """A fraction f of pi is 2 pi f (63 / 57) times the window's half side."""
    theta = 0.02
    apart = 2 * math.pi * theta * 63 / 57 * extent
    points = torch.tensor([[-apart / 2, 0.0], [apart / 2, 0.0], [0.0, 0.0], [0.0, apart]])
    rows, _ = PointsDescriptor().embed(paint_dots(points, extent=extent))
    for one, other in ((0, 1), (2, 3)):
        angle = math.acos(float(rows[one] @ rows[other])) / math.pi
        assert angle == pytest.approx(theta, rel=0.02)


def test_points_are_differentiable_and_a_picture_shows_them(tmp_path: Path) -> None:
    source = open_checkpoint(str(saved(tmp_path / "g.safetensors")), device=torch.device("cpu"))
    latents = torch.randn(5, 2, generator=torch.Generator().manual_seed(3)).requires_grad_(True)
    points = source.forward(latents)
    assert points.shape == (5, 2)
    (slope,) = torch.autograd.grad(points[0].sum(), latents)
    assert bool(slope[0].any()) and not bool(slope[1:].any())
    with torch.no_grad():
        slots = torch.arange(5)
        shown = source.render(Draws(index=slots, seeds=slots, latents=latents.detach()))
    assert torch.equal(shown, paint_dots(points.detach(), extent=4.0))


def test_a_window_that_is_none_is_refused_with_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "g.safetensors", extent="wide")
    with pytest.raises(ConfigError, match=r"^checkpoint .*g.safetensors: extent must be a number"):
        open_checkpoint(str(path), device=torch.device("cpu"))


def test_a_picture_without_a_dot_is_not_valid() -> None:
    white = torch.full((2, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    rows, valid = PointsDescriptor().embed(white)
    assert valid.tolist() == [False, False] and bool(torch.isfinite(rows).all())


def test_the_descriptor_takes_no_target() -> None:
    with pytest.raises(ConfigError, match="takes no target, got 'x'"):
        open_points("x")


def test_a_generator_of_points_goes_straight_into_diagnose(tmp_path: Path) -> None:
    path = saved(tmp_path / "generator.safetensors")
    found = CliRunner().invoke(
        app,
        ["diagnose", "--generator", str(path), "--descriptor", "points", "--theta", "0.05",
         "--radius", "0.02", "--anchors", "64", "--samples", "128", "--out", str(tmp_path / "a")],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    report = read_report(tmp_path / "a")
    assert report["generator"]["extent"] == 4.0
    assert any("dots in a window of half side 4" in text for text in report["assumptions"])


def test_and_into_sample(tmp_path: Path) -> None:
    path = saved(tmp_path / "generator.safetensors")
    found = CliRunner().invoke(
        app, ["sample", "--generator", str(path), "-n", "4", "--out", str(tmp_path / "s")]
    )
    assert found.exit_code == 0, found.output
    assert len(list((tmp_path / "s" / "images").glob("*.png"))) == 4
