"""Which latents a slot gets instead of its ordinary draw. NumPy alone; torch is not imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ganaudit.slots import Prior, Stream, latents_of, lots_of, noise_seeds_of, proposals_of

Latents = NDArray[np.float32]  # [N, size], a latent a row whatever its shape
_EDGE = 1e-9  # of (0, 1): a uniform coordinate may be -1 or 1 in float32, the normal one not
_TRUNCATED = ndtr(-2.0), ndtr(2.0)


@dataclass(frozen=True)
class Space:
    """Where latents live.

    Attributes:
      shape: of one latent.
      prior: of its coordinates.
    """

    shape: tuple[int, ...]
    prior: Prior

    @property
    def size(self) -> int:
        """Coordinates of a latent."""
        return int(np.prod(self.shape, dtype=np.int64))

    def draw(self, slots: NDArray[np.int64], *, seed: int, stream: Stream) -> Latents:
        """The ordinary draw of each slot, [N, size]."""
        found = latents_of(slots, seed=seed, stream=stream, shape=self.shape, prior=self.prior)
        return found.reshape(len(slots), -1)

    def again(self, seeds: NDArray[np.int64], attempt: int) -> Latents:
        """Another draw of each slot, [N, size]; `seeds` and `attempt` as `proposals_of` has it."""
        found = proposals_of(seeds, attempt, shape=self.shape, prior=self.prior)
        return found.reshape(len(seeds), -1)

    def to_normal(self, latents: Latents) -> NDArray[np.float64]:
        """Coordinates that are N(0, 1) under the prior: [N, size].

        A spherical latent stays as it is: it is a normal one but for its length.
        """
        values = latents.astype(np.float64)
        if self.prior == "uniform":
            return np.asarray(ndtri(np.clip((values + 1) / 2, _EDGE, 1 - _EDGE)))
        if self.prior == "truncated":
            low, high = _TRUNCATED
            share = (ndtr(values) - low) / (high - low)
            return np.asarray(ndtri(np.clip(share, _EDGE, 1 - _EDGE)))
        return values

    def from_normal(self, normal: NDArray[np.float64]) -> Latents:
        """The way back: [N, size] float32, within the prior's support."""
        if self.prior == "uniform":
            values = 2 * ndtr(normal) - 1
        elif self.prior == "truncated":
            low, high = _TRUNCATED
            values = ndtri(low + ndtr(normal) * (high - low))
        elif self.prior == "spherical":
            values = normal / np.sqrt(np.mean(normal * normal, axis=1, keepdims=True))
        else:
            values = normal
        return np.asarray(values, dtype=np.float32)


@runtime_checkable
class LatentSampler(Protocol):
    """Which latents are drawn, and which of them are taken.

    A slot's first proposal is its ordinary draw. A proposal is taken with the probability that
    `acceptance` names; if it is not, the slot draws again.

    Attributes:
      space: where the latents live.
      attempts: M, proposals of a slot at most; the last one is taken in any case.
    """

    space: Space
    attempts: int

    def propose(self, latents: Latents, lots: NDArray[np.float64]) -> Latents:
        """Draws from the prior to proposals, row by row.

        Args:
          latents: [N, size] draws from the prior.
          lots: [N] uniform in (0, 1), independent of everything else.
        """
        ...

    def acceptance(self, latents: Latents) -> NDArray[np.float64]:
        """The probability that a proposal is taken: [N] in [0, 1]."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """JSON values that, with `arrays`, `space` and `attempts`, make the same sampler."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Likewise, the arrays."""
        ...


@dataclass(frozen=True)
class Drawn:
    """What some slots got.

    Attributes:
      latents: [N, size] float32.
      attempts: [N] int64, proposals each of them took, 1 to M.
      taken: [N] bool; false: none of M was accepted, and the last one stands.
    """

    latents: Latents
    attempts: NDArray[np.int64]
    taken: NDArray[np.bool_]


def salted(seeds: NDArray[np.int64], salt: int) -> NDArray[np.int64]:
    """Seeds of slots as one calibrator has them: [N] in [0, 2**63), others under another salt.

    Of two calibrators in a row, each draws lots and proposals of its own.
    """
    return seeds ^ np.int64(salt)


def redraw(sampler: LatentSampler, latents: Latents, seeds: NDArray[np.int64]) -> Drawn:
    """The latents of some slots behind a sampler; row i depends on row i alone.

    Args:
      sampler: decides.
      latents: [N, size] the slots' ordinary draws.
      seeds: [N] int64, `salted` ones of the slots: they name the further draws.
    """
    lots = lots_of(seeds, 0, 2)
    found = np.array(sampler.propose(latents, lots[:, 1]), dtype=np.float32)
    attempts = np.ones(len(found), dtype=np.int64)
    left = np.flatnonzero(lots[:, 0] >= sampler.acceptance(found))
    for attempt in range(1, sampler.attempts):
        if not len(left):
            break
        lots = lots_of(seeds[left], attempt, 2)
        again = sampler.propose(sampler.space.again(seeds[left], attempt), lots[:, 1])
        found[left] = again
        attempts[left] += 1
        left = left[lots[:, 0] >= sampler.acceptance(again)]
    taken = np.ones(len(found), dtype=np.bool_)
    taken[left] = False
    return Drawn(found, attempts, taken)


def sample(
    sampler: LatentSampler, count: int, *, seed: int = 0, start: int = 0, salt: int = 0
) -> NDArray[np.float32]:
    """Latents of slots start, start + 1, ...: [count, *shape] float32.

    Args:
      sampler: decides.
      count: how many slots.
      seed: of the run whose slots they are.
      start: the first of them.
      salt: makes the draws of one calibrator others than those of another: see `salted`.
    """
    slots = np.arange(start, start + count, dtype=np.int64)
    ordinary = sampler.space.draw(slots, seed=seed, stream=Stream.SAMPLES)
    seeds = noise_seeds_of(slots, seed=seed, stream=Stream.SAMPLES)
    return redraw(sampler, ordinary, salted(seeds, salt)).latents.reshape(
        count, *sampler.space.shape
    )
