"""`shapes`: one coloured shape a picture; a class is a kind of shape.

A picture's identity is its kind and its two hues; where the shape is, how large and how it is
turned, is its pose. `--set collapse=0.1` shows one identity, in ever new poses, to a tenth of the
latents.
"""

import math
from importlib.metadata import version

import torch
from torch import Tensor

from ganaudit.errors import ConfigError
from ganaudit.slots import Draws, Prior

KINDS = ("disc", "ring", "triangle", "square", "cross", "star")
_REPEATED = (KINDS.index("star"), 0.3, -0.5)  # kind, hue and hue of the ground


class Shapes:
    """Seven latents: hue, hue of the ground, place (two), size, turn, and the lot of collapsing."""

    latent_shape = (7,)
    prior: Prior = "uniform"
    num_labels = len(KINDS)

    def __init__(self, *, collapse: float = 0.0, side: int = 48) -> None:
        """`collapse`: share of the latents with one identity; `side`: pixels."""
        self._collapse, self._side = collapse, side
        self.identity = {"version": version("ganaudit-shapes"), "collapse": collapse, "side": side}
        self.assumptions = ("Labels are the kinds of shape: " + ", ".join(KINDS) + ".",)

    def render(self, draws: Draws) -> Tensor:
        """uint8 [N, 3, side, side]; -1 < latents < 1."""
        assert draws.latents is not None
        assert draws.labels is not None
        hue, ground, x, y, size, turn, lot = draws.latents.unbind(1)  # [N] each
        repeated = (lot + 1) / 2 < self._collapse
        kind, one_hue, one_ground = _REPEATED
        kinds = draws.labels.masked_fill(repeated, kind)
        hue = hue.masked_fill(repeated, one_hue)
        ground = ground.masked_fill(repeated, one_ground)

        radius = 0.45 + 0.1 * size  # of the half side; place keeps the whole shape in the picture
        across, down = _points(self._side, 0.35 * x, 0.35 * y, radius, math.pi * turn)
        outside = torch.empty_like(across)  # [N, side, side] distance from the outline
        for number, name in enumerate(KINDS):
            chosen = kinds == number
            outside[chosen] = _distance(name, across[chosen], down[chosen])
        pixels = 2 / self._side / radius  # a pixel, in units of the radius
        cover = (0.5 - outside / pixels[:, None, None]).clamp(0, 1)[:, None]
        paint, paper = _colour(hue, 0.5, 0.5), _colour(ground, 0.8, 0.2)
        image = paper + (paint - paper) * cover
        return (255 * image).round().to(torch.uint8)


def open_shapes(target: str, *, collapse: float = 0.0, side: int = 48) -> Shapes:
    """Coloured shapes, six classes.

    Args:
      target: nothing.
      collapse: share of the latents, from 0 to 1, that show one identity: a star in one colour.
      side: of a picture, 16 to 512 pixels.

    Raises:
      ConfigError: a target, or a value out of range.
    """
    if target:
        raise ConfigError(f"shapes opens no file, got {target!r:.80}")
    if not 0 <= collapse <= 1:
        raise ConfigError(f"collapse must be a share in [0, 1], got {collapse:g}")
    if not 16 <= side <= 512:
        raise ConfigError(f"side must be 16 to 512 pixels, got {side}")
    return Shapes(collapse=collapse, side=side)


def _points(side: int, x: Tensor, y: Tensor, radius: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres in the coordinates of each shape: two of [N, side, side]."""
    line = (torch.arange(side, device=x.device) + 0.5) * 2 / side - 1
    right = (line - x[:, None])[:, None, :] / radius[:, None, None]
    down = (line - y[:, None])[:, :, None] / radius[:, None, None]
    cosine, sine = turn.cos()[:, None, None], turn.sin()[:, None, None]
    return right * cosine + down * sine, down * cosine - right * sine


def _distance(kind: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance of points from the outline of a kind, negative inside; any shape."""
    across, along = x.abs(), y.abs()
    match kind:
        case "disc":
            return torch.hypot(x, y) - 0.8
        case "ring":
            return (torch.hypot(x, y) - 0.75).abs() - 0.2
        case "triangle":
            return _star(x, y, corners=3, depth=0.5)
        case "square":
            return torch.maximum(across, along) - 0.7
        case "cross":
            length = torch.maximum(across, along) - 0.9
            return torch.maximum(length, torch.minimum(across, along) - 0.3)
        case _:
            return _star(x, y, corners=5, depth=0.42)


def _star(x: Tensor, y: Tensor, *, corners: int, depth: float) -> Tensor:
    """Corners on the unit circle and notches at `depth`; at cos(pi / corners), a polygon."""
    step = math.pi / corners
    angle = (torch.atan2(y, x).remainder(2 * step) - step).abs()  # 0 at a notch, step at a corner
    out = torch.hypot(x, y)
    edge = (math.cos(step) - depth, math.sin(step))  # from the notch to the corner
    length = math.hypot(*edge)
    return ((out * angle.cos() - depth) * edge[1] - out * angle.sin() * edge[0]) / length


def _colour(hue: Tensor, middle: float, reach: float) -> Tensor:
    """[N] hues, a turn from -1 to 1, to colours [N, 3, 1, 1] around a grey."""
    thirds = torch.arange(3, device=hue.device) * 2 / 3
    return (middle + reach * torch.cos(math.pi * (hue[:, None] + thirds)))[..., None, None]
