"""What a generator shows of fixed latents: a grid of images, or points beside a confidence map."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganaudit.grids import draw_grid
from ganaudit.images import to_rgb
from ganaudit.slots import Prior, Stream, latents_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 8  # images in a row and in a column of a grid
_MOST_CLASSES = 16  # with a column each
_POINTS = 2_000  # of a scatter plot
_CELLS = 80  # a side, of a confidence map
_WIDE, _HIGH, _DPI = 8.0, 4.0, 100  # inches of both panels, dots an inch


@torch.no_grad()
def grid_of(
    generator: nn.Module,
    *,
    latent_shape: tuple[int, ...],
    prior: Prior,
    num_labels: int,
    seed: int,
    device: torch.device,
) -> NDArray[np.uint8]:
    """Images of the first 64 slots of a seed, as pixels uint8 [H, W, 3] of a grid of 8 x 8.

    They are those that `ganaudit sample --seed` shows of an unconditional generator. Up to 16
    classes have a column each, and as many whole rows as 64 images give; of more, the first 8.

    Args:
      generator: in eval mode, on `device`.
      latent_shape: of a latent.
      prior: of the latents.
      num_labels: classes of the generator, 0: none.
      seed: of the slots.
      device: where it runs.
    """
    columns = num_labels if 1 < num_labels <= _MOST_CLASSES else _SIDE
    count = _SIDE**2 // columns * columns
    latents = _latents(count, latent_shape, prior, seed).to(device)
    labels = torch.arange(count, device=device) % columns % num_labels if num_labels else None
    images = generator(latents, *(() if labels is None else (labels,)))
    pixels = to_rgb(images.float(), value_range=(-1, 1), layout="NCHW").permute(0, 2, 3, 1)
    return draw_grid(list(pixels.cpu().numpy()), columns=columns)


def plane_of(
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    discriminator: nn.Module,
    *,
    device: torch.device,
) -> NDArray[np.uint8]:
    """Generated points over real ones, and what the discriminator thinks of the plane.

    Args:
      generated: [N, 2].
      real: [M, 2]; the window is theirs.
      discriminator: in eval mode, on `device`.
      device: where it runs.

    Returns:
      uint8 [400, 800, 3]: at the left the points, at the right the sigmoid of the logit.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    extent = float(np.abs(real).max()) * 1.2 + 0.1
    figure = Figure(figsize=(_WIDE, _HIGH), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    scatter(left, generated, real, extent)
    confidence(right, discriminator, extent, device=device)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(pixels)


def scatter(
    axes: "Axes", generated: NDArray[np.float32], real: NDArray[np.float32], extent: float
) -> None:
    """Draw generated points over real ones into a square window of half side `extent`."""
    axes.plot(*real[:_POINTS].T, ".", color="#c3c9cf", markersize=2, label="real")
    axes.plot(*generated[:_POINTS].T, ".", color="#a8431b", markersize=2, label="generated")
    _window(axes, extent)


@torch.no_grad()
def confidence(
    axes: "Axes", discriminator: nn.Module, extent: float, *, device: torch.device
) -> None:
    """Draw the sigmoid of a discriminator's logit over a square window of half side `extent`."""
    ticks = torch.linspace(-extent, extent, _CELLS)
    places = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), dim=-1).reshape(-1, 2)
    trust = torch.sigmoid(discriminator(places.to(device)).float()).reshape(_CELLS, _CELLS)
    window = (-extent, extent, -extent, extent)
    axes.imshow(trust.cpu().numpy(), origin="lower", extent=window, vmin=0, vmax=1, cmap="viridis")
    _window(axes, extent)


def _window(axes: "Axes", extent: float) -> None:
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def _latents(count: int, shape: tuple[int, ...], prior: Prior, seed: int) -> torch.Tensor:
    slots = np.arange(count, dtype=np.int64)
    drawn = latents_of(slots, seed=seed, stream=Stream.SAMPLES, shape=shape, prior=prior)
    return torch.from_numpy(drawn)


@torch.no_grad()
def points_of(
    generator: nn.Module,
    count: int,
    *,
    latent_shape: tuple[int, ...],
    prior: Prior,
    seed: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """[count, 2] points of the first slots of a seed."""
    latents = _latents(count, latent_shape, prior, seed).to(device)
    points: NDArray[np.float32] = generator(latents).float().cpu().numpy()
    return points
