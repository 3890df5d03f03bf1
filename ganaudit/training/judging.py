"""The one door to a discriminator in training.

On several devices gradients are averaged only for what passes through the wrapped module's
`forward`; a method that is called beside it leaves every device with its own. In mixed precision
slopes can be taken within it alone. So all that a step wants of a discriminator, mixed images and
penalties included, is asked for here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor, nn

from ganaudit.regularizers.adaptivemix import Mix
from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.regularizers.searching import Look

Penalty = Callable[[Look], Tensor]  # -> []


class Judged(NamedTuple):
    """What a discriminator says of N images.

    Attributes:
      logits: [N]; of a mix with logits mixed-sum [M], of its pairs.
      classes: [N, L] logits of classes, where the network guesses them; else None.
      features: [N, ...] of the images.
      mixed_features: [M, ...] of the mixed images; None: none were asked for.
    """

    logits: Tensor
    classes: Tensor | None
    features: Tensor
    mixed_features: Tensor | None


class Judge(nn.Module):
    """A discriminator with its features, its head and mixed images in one forward pass."""

    def __init__(self, network: nn.Module) -> None:
        """`network`: with `features(images, labels)`, `head(features, labels)`, `num_labels`.

        One that guesses classes has `classes(features)`, too.
        """
        super().__init__()
        self.network: Any = network

    def forward(
        self,
        images: Tensor | None,
        labels: Tensor | None = None,
        mix: Mix | None = None,
        parts: tuple[int, ...] = (),
        penalty: Penalty | None = None,
    ) -> Any:
        """`Judged` images, and mixes of them; or a penalty [], and nothing else.

        Every image passes the features once, and every pair of a mix once more.

        Args:
          images: [N, ...] float.
          labels: [N] int64, or None; a network without labels is not given them.
          mix: pairs of rows; their labels are mixed as one-hot rows.
          parts: how many images come of each source, such as (real, fake); they sum to N. A
            network that looks at images together (batch norm) is shown one source at a time.
            (): all are of one.
          penalty: what is returned instead of all that, of the plain logits.
        """
        if penalty is not None:
            return penalty(self._logits)
        assert images is not None
        network, classes = self.network, int(getattr(self.network, "num_labels", 0))
        given = labels if classes else None
        features = _by_part(network.features, images, given, parts)
        mixed_features, mixed_labels = None, None
        if mix is not None:
            if given is not None:
                mixed_labels = mix.of(F.one_hot(given, classes).to(images.dtype))
            with buffers_kept(network):  # statistics are those of what is not mixed
                mixed_features = _by_part(network.features, mix.of(images), mixed_labels, mix.parts)
        if mix is not None and mix.logits == "mixed-sum":
            assert mixed_features is not None
            logits = _by_part(network.head, mix.of(features), mixed_labels, mix.parts)
            logits = logits + _by_part(network.head, mixed_features, mixed_labels, mix.parts)
        else:
            logits = _by_part(network.head, features, given, parts)
        guess = getattr(network, "classes", None)
        return Judged(logits, None if guess is None else guess(features), features, mixed_features)

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        given = labels if int(getattr(self.network, "num_labels", 0)) else None
        logits: Tensor = self.network.head(self.network.features(images, given), given)
        return logits


def _by_part(
    function: Callable[..., Tensor],
    rows: Tensor,
    labels: Tensor | None,
    parts: tuple[int, ...],
) -> Tensor:
    if len(parts) < 2:
        return function(rows, labels)
    groups = (None,) * len(parts) if labels is None else labels.split(list(parts))
    pairs = zip(rows.split(list(parts)), groups, strict=True)
    return torch.cat([function(part, group) for part, group in pairs])
