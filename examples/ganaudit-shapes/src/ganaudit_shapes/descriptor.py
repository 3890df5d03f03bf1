"""`shape`: tells pictures of one thing on an even ground apart, by its form and both colours.

There are no weights. A pixel counts by how much it stands out from the ground. The form is
described by complex moments, which know neither place, size nor turn (Abu-Mostafa and Psaltis,
"Recognitive aspects of moment invariants", 1984); the colours by their means.
"""

from pathlib import Path

import torch
from torch import Tensor

from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows
from ganaudit.errors import ConfigError
from ganaudit.files import sha256_of

_SIDE = 48
_FAINT = 1e-3  # mean squared contrast from which something stands out


class ShapeDescriptor:
    """Ten numbers a picture: four of form, six of colour."""

    def __init__(self) -> None:
        """What decides a row is this file, so its hash stands in the card."""
        self._steps = Preprocessing(size=(_SIDE, _SIDE), mean=(0.0,), std=(1.0,), resize="bilinear")
        self.card = DescriptorCard(
            name="shape",
            weights_sha256=sha256_of(Path(__file__)),
            licence="Apache-2.0",
            preprocessing=self._steps,
            theta=0.0145,
            radius=0.017,
            origin="64,000 pairs of one identity in two poses and as many of two identities, "
            "drawn by the generator shapes: equal errors (.0007) at theta, .001 false matches at "
            "radius",
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [N, 10] float32 of length 1, and valid [N]: something stands out."""
        pixels = self._steps.apply(images)  # [N, 3, 48, 48] on [0, 1]
        ground = _border(pixels).median(2).values  # [N, 3]
        weight = (pixels - ground[..., None, None]).square().sum(1)  # [N, 48, 48]
        valid = weight.mean((1, 2)) > _FAINT
        weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1e-12)
        paint = (weight[:, None] * pixels).sum((2, 3))  # [N, 3]
        rows = torch.cat([_form(weight), paint - 0.5, ground - 0.5], 1)
        rows[~valid] = 1.0  # of any length but zero; nobody compares them
        return unit_rows(rows), valid


def open_shape(target: str) -> ShapeDescriptor:
    """Form and colours of one thing on an even ground; no weights.

    Raises:
      ConfigError: a target.
    """
    if target:
        raise ConfigError(f"shape opens no file, got {target!r:.80}")
    return ShapeDescriptor()


def _border(pixels: Tensor) -> Tensor:
    """[N, 3, 4 * side] outermost pixels."""
    edges = (pixels[..., 0, :], pixels[..., -1, :], pixels[..., 0], pixels[..., -1])
    return torch.cat(edges, 2)


def _form(weight: Tensor) -> Tensor:
    """[N, side, side] weights of sum 1 to [N, 4]: three moments, and how far out the weight is.

    The moment of order k sees what repeats k times around the centre: k corners.
    """
    wide = weight.to(torch.float64)
    line = torch.arange(_SIDE, dtype=torch.float64, device=weight.device)
    place = torch.complex(*torch.meshgrid(line, line, indexing="ij"))
    centre = (wide * place).sum((1, 2))
    arm = place - centre[:, None, None]
    size = (wide * arm.abs().square()).sum((1, 2)).clamp_min(1e-12).sqrt()
    arm = arm / size[:, None, None]
    square = arm * arm
    powers = (square * arm, square * square, square * square * arm)  # of 3, 4 and 5 corners
    moments = [(wide * power).sum((1, 2)).abs() for power in powers]
    spread = (wide * square.abs().square()).sum((1, 2))
    return torch.stack([*moments, spread], 1).to(torch.float32)
