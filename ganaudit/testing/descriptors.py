"""Contract checks of descriptors."""

from collections.abc import Sequence

import numpy as np
import torch

from ganaudit.descriptors import Descriptor, DescriptorCard, check_rows
from ganaudit.images import check_images
from ganaudit.testing.asking import (
    COUNT,
    NOT_VALID,
    ROW,
    Item,
    angle,
    called,
    calling,
    check_attributes,
    check_repeats,
    demand,
)

_SIZES = ((1, 2), (5, 40), (40, 5))  # height, width; an image of one colour never gets so far


def check_descriptor(
    descriptor: object, images: torch.Tensor | None = None, *, device: str = "cpu"
) -> None:
    """A descriptor: a complete card, and a unit row for each image that it can describe.

    The images are embedded together, again, in reverse, and one and two at a time: a row must
    depend on its own image alone, within .001 of pi. Images of 1 x 2, 5 x 40 and 40 x 5 pixels must
    be taken, but need not be valid.

    Args:
      descriptor: what a factory returned.
      images: uint8 [N, 3, H, W], of which it can describe two or more that differ (portraits, for
        a descriptor of faces); None: seven smooth random ones.
      device: where the images are.

    Raises:
      SourceError: `images` are none.
      AssertionError: a clause of `ganaudit.descriptors.Descriptor` does not hold.
    """
    check_attributes(descriptor, "Descriptor", values="card", method="embed")
    assert isinstance(descriptor, Descriptor)
    _check_card(descriptor.card)
    shown = _pictures(COUNT, 64, 48) if images is None else check_images(images, len(images))
    shown = shown.to(device)
    columns: set[int] = set()

    def ask(positions: Sequence[int]) -> list[Item]:
        return _embed(descriptor, shown[list(positions)], columns)

    with called(descriptor):
        rows = check_repeats(ask, ROW, count=len(shown))
        described = [row for row in rows if isinstance(row, torch.Tensor)]
        demand(
            len(described) >= 2,
            f"at least two images must be described, got {len(described)} of {len(rows)}: give the "
            "check images that this descriptor is made for",
        )
        demand(
            any(angle(described[0], row) > 0 for row in described),
            f"different images must give different rows, but {len(described)} gave the same",
        )
        for height, width in _SIZES:
            _embed(descriptor, _pictures(2, height, width).to(device), columns)
        demand(
            len(columns) == 1,
            f"rows must have as many columns whatever the images, got {sorted(columns)}",
        )


def _pictures(count: int, height: int, width: int) -> torch.Tensor:
    """uint8 [count, 3, height, width]: smooth, coloured, no two alike."""
    coarse = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (count, 3, 4, 3)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.round().to(torch.uint8)


def _embed(descriptor: Descriptor, images: torch.Tensor, columns: set[int]) -> list[Item]:
    """Rows of the images; how many columns they have is noted."""
    height, width = images.shape[2:]
    what = f"embed must take {len(images)} images of {height} x {width} pixels"
    with calling(what, {"images": images}):
        rows, valid = descriptor.embed(images)
        check_rows(rows, valid, len(images))
    columns.add(rows.shape[1])
    return [row if ok else NOT_VALID for row, ok in zip(rows, valid.tolist(), strict=True)]


def _check_card(card: object) -> None:
    if not isinstance(card, DescriptorCard):
        raise AssertionError(f"card must be a DescriptorCard, got {type(card).__name__}")
    demand(
        isinstance(card.name, str) and card.name != "",
        f"card.name must be what one types after --descriptor, got {card.name!r:.80}",
    )
    digest = card.weights_sha256
    demand(
        isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef"),
        f"card.weights_sha256 must be 64 lowercase hexadecimal digits, got {digest!r:.80}",
    )
    for name, value in (("theta", card.theta), ("radius", card.radius)):
        demand(
            value is None or (isinstance(value, int | float) and 0 < value <= 1),
            f"card.{name} must be a fraction of pi in (0, 1], or None where nobody measured it; "
            f"got {value!r:.80}",
        )
    measured = card.theta is not None or card.radius is not None
    demand(
        isinstance(card.origin, str) and card.origin != "" if measured else card.origin is None,
        f"card.origin must say how theta and radius were measured, and be None where they were "
        f"not; got {card.origin!r:.80}",
    )
