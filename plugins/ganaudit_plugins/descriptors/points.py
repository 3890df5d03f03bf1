"""`points`: where the dot is, in pictures of a generator that makes points of the plane."""

from hashlib import sha256

import torch
from torch import Tensor

from ganaudit.descriptors import DescriptorCard, unit_rows
from ganaudit.errors import ConfigError

_REACH = 0.5  # tangent of the angle of a point in the middle of the picture's border
_NO_WEIGHTS = sha256(b"").hexdigest()
_FAINT = 1.0  # ink of a whole picture, in black pixels, below which there is no dot


class PointsDescriptor:
    """The middle of all ink, on a sphere that touches the picture in its centre.

    A point at (x, y), in half sides of the picture, becomes (x / 2, y / 2, 1) of length 1. Near the
    centre an angle of a fraction f of pi is a distance of 2 pi f half sides; at a corner it is up
    to half as much again. A checkpoint of points paints its window, of half side E, 57 / 63 of the
    picture wide: there f is a distance of 2 pi f (63 / 57) E, about 7 f E, in the points' own unit.
    """

    card = DescriptorCard(name="points", weights_sha256=_NO_WEIGHTS, settings={"reach": _REACH})

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows [N, 3]; a picture without a dot is not valid."""
        ink = 1 - images.to(torch.float32).mean(dim=1) / 255  # [N, H, W]
        total = ink.sum(dim=(1, 2))
        valid = total > _FAINT
        weight = total.clamp_min(_FAINT)
        high, wide = ink.shape[1:]
        across = torch.linspace(-1, 1, wide, device=ink.device)
        up = torch.linspace(1, -1, high, device=ink.device)
        x, y = (ink.sum(dim=1) @ across) / weight, (ink.sum(dim=2) @ up) / weight
        rows = torch.stack([_REACH * x, _REACH * y, torch.ones_like(x)], dim=1)
        return unit_rows(rows), valid


def open_points(target: str) -> PointsDescriptor:
    """Open the descriptor; it has no weights.

    Raises:
      ConfigError: a target was given.
    """
    if target:
        raise ConfigError(f"the descriptor points takes no target, got {target!r:.80}")
    return PointsDescriptor()
