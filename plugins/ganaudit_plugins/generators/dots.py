"""Points of the plane as pictures: a dot where the point is."""

import torch
from torch import Tensor

from ganaudit.errors import ConfigError, SourceError

SIDE = 64  # pixels of a picture
SPREAD = 1.5  # pixels: the dot is a Gaussian
_USUAL, _MOST = 3.0, 1e6  # half the side of the window, where a file does not say it


def extent_of(facts: object, where: str) -> float:
    """Half the side of the window around the origin that pictures show.

    Raises:
      ConfigError: the file's own word for it is no number above 0 and up to a million.
    """
    if facts is None:
        return _USUAL
    if isinstance(facts, bool) or not isinstance(facts, int | float) or not 0 < facts <= _MOST:
        raise ConfigError(f"{where}: extent must be a number in (0, 1e6], got {facts!r:.80}")
    return float(facts)


def paint_dots(points: Tensor, *, extent: float) -> Tensor:
    """A black dot on white for each point, uint8 [N, 3, 64, 64]; y points up.

    What lies outside the window is shown at its border. Row i depends on point i alone.

    Args:
      points: [N, 2] float.
      extent: half the side of the window, > 0.

    Raises:
      SourceError: a point is NaN or infinite.
    """
    if not bool(torch.isfinite(points).all()):
        raise SourceError("the generator gave a point that is NaN or infinite")
    unit = (points.to(torch.float32) / extent).clamp(-1, 1)  # [N, 2]
    margin = 2 * SPREAD  # so that a dot at the border is whole enough to be found
    middle, reach = (SIDE - 1) / 2, (SIDE - 1) / 2 - margin
    places = torch.arange(SIDE, dtype=torch.float32, device=points.device)
    across = torch.exp(-(((places - middle - reach * unit[:, :1]) / SPREAD) ** 2) / 2)  # [N, W]
    down = torch.exp(-(((places - middle + reach * unit[:, 1:]) / SPREAD) ** 2) / 2)  # [N, H]
    ink = down[:, :, None] * across[:, None, :]
    grey = (255 * (1 - ink)).round().to(torch.uint8)
    return grey[:, None].expand(-1, 3, -1, -1).contiguous()
