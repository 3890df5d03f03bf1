"""Taking an image by its embedding: for any generator, also one that hides its input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_FILTERED = 64  # modes of a filter


@dataclass(frozen=True, kw_only=True)
class OutputFilter:
    """An image within the radius of a mode is taken with that mode's probability.

    Where it lies within several, the least of them holds; every other image is taken. Exact for
    any generator: nothing about latents is assumed.

    Attributes:
      modes: [k, D] float32 unit rows, k >= 1.
      keep: [k] float64 in [0, 1], the probability by mode.
      radius: fraction of pi, in (0, 1].
      attempts: M, images that a slot asks for at most; the last one is taken in any case.
      space: None: it does not look at latents.
    """

    modes: NDArray[np.float32]
    keep: NDArray[np.float64]
    radius: float
    attempts: int
    space: None = None

    def acceptance(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability that an image is taken: rows [N, D] float32, unit, to [N] in [0, 1].

        Raises:
          ValueError: the rows have another length than the modes.
        """
        if rows.ndim != 2 or rows.shape[1] != self.modes.shape[1]:
            raise ValueError(f"rows must be [N, {self.modes.shape[1]}], got {list(rows.shape)}")
        cosine = rows.astype(np.float64) @ self.modes.T.astype(np.float64)  # [N, k]
        within = cosine >= np.cos(np.pi * self.radius)
        return np.asarray(np.where(within, self.keep, 1.0).min(axis=1))

    def settings(self) -> Mapping[str, Any]:
        """JSON values that, with `arrays` and `attempts`, make the same filter."""
        return {"radius": self.radius}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Likewise, the arrays."""
        return {"modes": self.modes, "keep": self.keep}

    @classmethod
    def restore(
        cls,
        space: object,
        attempts: int,
        settings: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> "OutputFilter":
        """The filter that a file holds.

        Raises:
          ValueError: a value cannot be.
          KeyError: one is missing.
        """
        modes, keep, radius = arrays["modes"], arrays["keep"], settings["radius"]
        if modes.dtype != np.float32 or modes.ndim != 2 or not modes.size:
            raise ValueError("modes must be float32 [k, D]")
        if len(modes) > MOST_FILTERED:
            raise ValueError(f"there may be at most {MOST_FILTERED} modes, got {len(modes):,}")
        if not np.abs(np.linalg.norm(modes.astype(np.float64), axis=1) - 1).max() <= 1e-3:
            raise ValueError("modes must have length 1")
        if keep.dtype != np.float64 or keep.shape != (len(modes),):
            raise ValueError(f"keep must be float64 [{len(modes)}]")
        if not (keep.min() >= 0 and keep.max() <= 1):
            raise ValueError("keep must be in [0, 1]")
        if type(radius) not in (int, float) or not 0 < radius <= 1:
            raise ValueError("the radius must be in (0, 1]")
        return cls(modes=modes, keep=keep, radius=float(radius), attempts=attempts)
