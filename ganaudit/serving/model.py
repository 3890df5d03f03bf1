"""What is served: a generator that was tried, and what its clients give it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.errors import SourceError
from ganaudit.generators import LatentGenerator
from ganaudit.images import GREY_LEVELS, check_images
from ganaudit.slots import Draws, Prior, Stream, draw

_TRIED = 2  # images rendered before anybody asks
MOST_LATENT = 10_000.0  # no prior draws a value as large; beyond it lies overflow


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a client gave for N images; at least one of `seed` and `latent` is there.

    Attributes:
      seed: [N] int64 >= 0, slots whose draws stand in for what is not given.
      latent: [N, *latent_shape] float32, finite.
      noise_seed: [N] int64 >= 0, of the layers' noise.
      label: [N] int64 in [0, num_labels).
    """

    seed: NDArray[np.int64] | None = None
    latent: NDArray[np.float32] | None = None
    noise_seed: NDArray[np.int64] | None = None
    label: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        given = self.seed if self.seed is not None else self.latent
        assert given is not None
        return len(given)

    def __getitem__(self, rows: slice) -> "Inputs":
        """The inputs of some of the images, as views."""
        return Inputs(
            seed=None if self.seed is None else self.seed[rows],
            latent=None if self.latent is None else self.latent[rows],
            noise_seed=None if self.noise_seed is None else self.noise_seed[rows],
            label=None if self.label is None else self.label[rows],
        )


class Model:
    """A generator, as clients see it.

    Attributes:
      name: in addresses.
      latent_shape: of one latent.
      prior: that `seed` draws latents from.
      num_labels: classes; 0: it takes no labels.
      seeded: an image follows from its seed, not from its latent alone: a calibrator is in front.
      size: (height, width) of an image, known once it was tried.
    """

    def __init__(
        self,
        source: LatentGenerator,
        *,
        name: str,
        seed: int,
        device: str,
        labels: NDArray[np.int64] | None,
    ) -> None:
        """`labels`: [L] int64, of which a seed draws one; None: the generator takes none."""
        self.name = name
        self.latent_shape = tuple(int(side) for side in source.latent_shape)
        self.prior: Prior = source.prior
        self.num_labels = int(source.num_labels)
        self.seeded = bool(getattr(source, "seeded", False))
        self.size: tuple[int, int] | None = None
        self._source = source
        self._seed = seed
        self._device = torch.device(device)
        self._labels = labels

    def draws(self, parts: Sequence[Inputs]) -> Draws:
        """What the generator is given for some inputs, one after the other.

        A seed s stands for slot s of the samples under the server's own seed: it has the latent,
        the label and the noise that `ganaudit sample` draws for image s. Layer noise of a latent
        without any seed is that of seed 0.
        """
        slots = _joined(np.zeros(len(p), np.int64) if p.seed is None else p.seed for p in parts)
        drawn = draw(
            slots,
            seed=self._seed,
            stream=Stream.SAMPLES,
            latent_shape=self.latent_shape if any(p.latent is None for p in parts) else None,
            prior=self.prior,
            labels=self._labels if any(p.label is None for p in parts) else None,
        )
        seeds, labels = drawn.seeds.numpy(), None if drawn.labels is None else drawn.labels.numpy()
        own = None if drawn.latents is None else drawn.latents.numpy()
        rows = _rows(parts)
        noise = (
            part.noise_seed
            if part.noise_seed is not None
            else np.zeros(len(part), np.int64)
            if part.seed is None
            else seeds[where]
            for part, where in zip(parts, rows, strict=True)
        )
        return Draws(
            index=drawn.index,
            seeds=torch.from_numpy(_joined(noise)),
            latents=_chosen([p.latent for p in parts], own, rows),
            labels=_chosen([p.label for p in parts], labels, rows) if self.num_labels else None,
        )

    def render(self, parts: Sequence[Inputs]) -> NDArray[np.uint8]:
        """Images of some inputs, one after the other: uint8 [N, 3, H, W].

        Raises:
          SourceError: no images came, or such of another size than the first ones.
        """
        draws = self.draws(parts).to(self._device)
        # A copy: a generator may fill the same memory the next time.
        images = np.array(check_images(self._source.render(draws), len(draws)).cpu().numpy())
        size = (int(images.shape[2]), int(images.shape[3]))
        if self.size not in (None, size):
            raise SourceError(f"images must be {self.size} as the first ones, got {size}")
        return images

    def try_out(self, *, together: bool) -> None:
        """Render the first images, so that what is wrong shows before anybody asks.

        Args:
          together: images are going to be rendered with others, which must not change them.

        Raises:
          SourceError: there are none, or they depend on their batch mates.
        """
        first = Inputs(seed=np.arange(_TRIED, dtype=np.int64))
        images = self.render([first[:1]])
        self.size = (int(images.shape[2]), int(images.shape[3]))
        if not together:
            return
        both, again = self.render([first]), self.render([first])
        if _apart(both, again) <= GREY_LEVELS < _apart(both[:1], images):
            raise SourceError(
                "the generator's images depend on their batch mates, so clients would change each "
                "other's: is a batch norm in training mode? Call eval() on the network, and before "
                "it is traced or exported, or render images singly with --batch 1"
            )


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(np.int16) - other).max())


def _rows(parts: Sequence[Inputs]) -> list[slice]:
    """Where each part lies among all of them."""
    ends = np.cumsum([len(part) for part in parts]).tolist()
    return [slice(end - len(part), end) for part, end in zip(parts, ends, strict=True)]


def _joined(arrays: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(list(arrays))


def _chosen(
    given: Sequence[NDArray[Any] | None], drawn: NDArray[Any] | None, rows: Sequence[slice]
) -> torch.Tensor:
    """What clients gave, and what was drawn where they gave nothing."""
    found = []
    for own, where in zip(given, rows, strict=True):
        if own is None:
            assert drawn is not None
            own = drawn[where]
        found.append(own)
    return torch.from_numpy(np.concatenate(found))
