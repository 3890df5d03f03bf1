"""What a generator under audit can do. Capability is the type.

A plugin returns an object of one of these shapes; it need not import ganaudit. Beside what a
Protocol names, any of them may carry

- `identity`, a mapping of JSON values that says which generator this is (file hashes, psi, noise
  mode): it is pinned in the run's manifest;
- `assumptions`, sentences about what it was told and cannot know: they stand in the report;
- `warnings`, sentences about what its first images made doubtful;
- `module`, the torch network that it runs: the prior is held against its batch norm statistics;
- `per_request`, how many slots a service is asked for at once: for the estimate before a run;
- `patience_s`, seconds that an answer of it may take, where it keeps time itself: it is given at
  least so many, whatever --timeout-s says;
- `incidental`, names of options that decide no image (how many requests are in flight): they are
  not pinned in the manifest, so that a run can go on under others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.slots import Draws, Prior


class Status(IntEnum):
    """What became of a slot. Only `OK` rows are scored; the others are counted and named.

    NumPy takes `.value`: it asks an enum's class for attributes, which runs Python code inside
    NumPy, and a Ctrl-C that arrives there is lost.
    """

    OK = 0
    NO_FACE = 1  # the descriptor found nothing to describe
    FAILED = 2  # no image, or one that cannot be an output: a single colour, NaN, a wrong shape
    REFUSED = 3  # the service declined to answer


@dataclass(frozen=True)
class Failure:
    """In place of an image: why slot i has none."""

    reason: str
    status: Status = Status.FAILED


@runtime_checkable
class LatentGenerator(Protocol):
    """A generator whose input we choose. Can be diagnosed, calibrated and sampled."""

    latent_shape: tuple[int, ...]
    prior: Prior
    num_labels: int

    def render(self, draws: Draws) -> torch.Tensor:
        """uint8 [N, 3, H, W] for `draws`, on the device of its latents.

        Row i depends on draws[i] alone; per-layer noise comes from draws.seeds[i].
        """
        ...


@runtime_checkable
class BlindGenerator(Protocol):
    """A service or a collection that hides its input. Can be diagnosed and filtered.

    Attributes:
      seedable: the same seed gives the same image.
      size: how many items there are; None: as many as one asks for. Items of a finite source are
        asked for by number, in a seeded order that the pipeline chooses.
    """

    seedable: bool
    size: int | None

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        """(index, uint8 [3, H, W] or why there is none) once for each draw, in any order."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What answers slot by slot, as a service does: a slot's failure is its own.

    Every BlindGenerator does. A LatentGenerator that does too is a service that takes latents:
    runs ask it by `stream`, a few hundred slots at a time, and embed what came while it goes on.
    """

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        """(index, uint8 [3, H, W] or why there is none) once for each draw, in any order."""
        ...


@runtime_checkable
class EmbeddingSource(Protocol):
    """Embeddings somebody already made: no images, no descriptor."""

    size: int

    def rows(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Rows [N, D] float32, unit, and valid [N], for item numbers `slots` in [0, size)."""
        ...


Source = LatentGenerator | BlindGenerator | EmbeddingSource


def is_service(source: object) -> bool:
    """Whether asking for an image costs a request: what streams, and is no finite collection."""
    return isinstance(source, Streaming) and getattr(source, "size", None) is None


def identity_of(plugin: object) -> dict[str, Any]:
    """What a plugin says of its own identity; empty when it says nothing."""
    identity = getattr(plugin, "identity", {})
    return dict(identity) if isinstance(identity, Mapping) else {}
