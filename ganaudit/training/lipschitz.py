"""How fast the features of a discriminator change with images: what AdaptiveMix is to lower."""

from typing import Any

import torch
from torch import Tensor, nn

from ganaudit.regularizers.buffers import buffers_kept

_AT_ONCE = 64


@torch.no_grad()
def lipschitz_ratio(network: nn.Module, images: Tensor, labels: Tensor | None = None) -> float:
    """The mean of |F(x) - F(y)| / |x - y| over pairs of neighbouring rows, >= 0; both lengths L2.

    F is the discriminator without its head. The largest such ratio of all images would be F's
    Lipschitz constant, which the theorem of AdaptiveMix is about; a mean over random pairs is
    below it. The paper's table 3 has ratios too; how it takes them is not published, so these
    figures are not to be held beside its own.

    Args:
      network: with `features(images, labels)`; its mode and buffers stay what they were.
      images: [N, ...] float in random order, N >= 2; an odd last one is left out. Pairs of equal
        images are, too.
      labels: [N] int64 of the images; None: the network takes none.

    Returns:
      The mean; NaN: no two images differ.
    """
    judge: Any = network
    usual = network.training
    with buffers_kept(network):
        network.eval()
        features = [
            judge.features(
                images[start : start + _AT_ONCE],
                None if labels is None else labels[start : start + _AT_ONCE],
            ).flatten(1)
            for start in range(0, len(images), _AT_ONCE)
        ]
        network.train(usual)
    apart, asked = (_apart(rows) for rows in (torch.cat(features), images.flatten(1)))
    different = asked > 0
    return float((apart[different] / asked[different]).mean())


def _apart(rows: Tensor) -> Tensor:
    """Distances [N // 2] of rows 0 and 1, 2 and 3, ... of [N, D]."""
    whole = rows[: len(rows) // 2 * 2].double()
    lengths: Tensor = torch.linalg.vector_norm(whole[::2] - whole[1::2], dim=1)
    return lengths
