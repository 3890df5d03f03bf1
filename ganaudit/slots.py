"""Slot i is one sample: its latent, label and noise seed follow from (seed, stream, i) alone.

Counter-based bits (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) go through an inverse CDF, so a draw depends neither on the batch it was made in nor on the
release of any library. The first values are pinned by a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ganaudit.config import check_seed
from ganaudit.errors import ConfigError

if TYPE_CHECKING:  # whoever wants latents as NumPy arrays need not wait for torch
    import torch

BLOCK = 16  # slots a block; blocks go round the groups, so every group sees every stretch of a run
GROUPS = 32  # independent groups of slots: every interval and curve comes from them
SHARD = BLOCK * GROUPS  # slots a stored shard: one block of each group

Prior = Literal["normal", "uniform", "truncated", "spherical"]
_TRUNCATED_AT = 2.0  # of a truncated normal coordinate: BigGAN's


class Stream(IntEnum):
    """Disjoint families of slots. Anchors and samples never share a draw."""

    ANCHORS = 0
    SAMPLES = 1


class _Purpose(IntEnum):
    LATENT = 0
    LABEL = 1
    NOISE_SEED = 2
    PERMUTATION = 3
    PROPOSAL = 4
    PROPOSAL_SEED = 5
    LOT = 6


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Everything a generator may need to know about some slots.

    Attributes:
      index: [N] int64, slot numbers; for sources of finite size the item's own number.
      seeds: [N] int64, 0 <= seed < 2**63: seed of whatever else slot i has to draw (layer noise).
      latents: [N, *latent_shape] float32 drawn from the generator's prior; None: it takes none.
      labels: [N] int64, 0 <= label < num_labels; None: the generator is unconditional.
    """

    index: torch.Tensor
    seeds: torch.Tensor
    latents: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice) -> Draws:
        """The draws of some of the slots, as views."""
        return Draws(
            index=self.index[rows],
            seeds=self.seeds[rows],
            latents=None if self.latents is None else self.latents[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    def to(self, device: torch.device) -> Draws:
        """The same draws with latents and labels on `device`; index and seeds stay on the CPU."""
        return replace(
            self,
            latents=None if self.latents is None else self.latents.to(device),
            labels=None if self.labels is None else self.labels.to(device),
        )


def draw(
    slots: NDArray[np.int64],
    *,
    seed: int,
    stream: Stream,
    latent_shape: tuple[int, ...] | None = None,
    prior: Prior = "normal",
    labels: NDArray[np.int64] | None = None,
) -> Draws:
    """Draw what a generator needs for `slots`.

    Args:
      slots: [N] int64, slot numbers >= 0, in any order.
      seed: seed of the run, 0 <= seed < 2**63.
      stream: the family the slots belong to.
      latent_shape: shape of one latent; None: no latents are drawn.
      prior: in every coordinate independently "normal" N(0, 1), "uniform" U(-1, 1), or "truncated"
        N(0, 1) given |z| <= 2 (BigGAN; Brock et al. 2019, before its scaling by psi); or
        "spherical", uniform on the sphere of radius sqrt(size) (N(0, 1) divided by its root mean
        square, as PGGAN and StyleGAN do). 32 random bits a coordinate: |z| <= 6.34 for the normal.
      labels: [L] int64, of which each slot gets one, all with equal probability; None: no labels.
    """
    import torch

    slots = np.asarray(slots, dtype=np.int64)
    latents = None
    if latent_shape is not None:
        latents = latents_of(slots, seed=seed, stream=stream, shape=latent_shape, prior=prior)
    drawn = None if labels is None else labels_of(slots, labels, seed=seed, stream=stream)
    return Draws(
        index=torch.from_numpy(slots.copy()),
        seeds=torch.from_numpy(noise_seeds_of(slots, seed=seed, stream=stream)),
        latents=None if latents is None else torch.from_numpy(latents),
        labels=None if drawn is None else torch.from_numpy(drawn),
    )


def latents_of(
    slots: NDArray[np.int64],
    *,
    seed: int,
    stream: Stream,
    shape: tuple[int, ...],
    prior: Prior = "normal",
) -> NDArray[np.float32]:
    """The latent of each slot: [N, *shape] float32; the rest as `draw` takes it."""
    words = _words(slots, _size(shape), check_seed(seed), stream, _Purpose.LATENT)
    return _latents(words, shape, prior)


def noise_seeds_of(slots: NDArray[np.int64], *, seed: int, stream: Stream) -> NDArray[np.int64]:
    """The seed of whatever else each slot has to draw: [N] int64, 0 <= seed < 2**63."""
    return _integers(_words(slots, 2, check_seed(seed), stream, _Purpose.NOISE_SEED))[:, 0]


def proposals_of(
    seeds: NDArray[np.int64], attempt: int, *, shape: tuple[int, ...], prior: Prior
) -> NDArray[np.float32]:
    """Another latent for each slot, whose `Draws.seeds` are given: [N, *shape] float32.

    Args:
      seeds: [N] int64; they name the slots, whatever seed and stream those have.
      attempt: 1, 2, ...: attempt 0 is the slot's ordinary draw.
      shape: of one latent.
      prior: as `draw` takes it.
    """
    words = _words(seeds, _size(shape), attempt, Stream.ANCHORS, _Purpose.PROPOSAL)
    return _latents(words, shape, prior)


def seeds_of_attempt(seeds: NDArray[np.int64], attempt: int) -> NDArray[np.int64]:
    """Another seed for each slot, for what draws its own input: [N] int64; attempt 0: its own."""
    if attempt == 0:
        return seeds
    return _integers(_words(seeds, 2, attempt, Stream.ANCHORS, _Purpose.PROPOSAL_SEED))[:, 0]


def lots_of(seeds: NDArray[np.int64], attempt: int, count: int = 1) -> NDArray[np.float64]:
    """Uniform draws in (0, 1) that decide about a slot's attempt: [N, count] float64."""
    return _uniform(_words(seeds, count, attempt, Stream.ANCHORS, _Purpose.LOT))


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _latents(
    words: NDArray[np.uint32], shape: tuple[int, ...], prior: Prior
) -> NDArray[np.float32]:
    values = _through_prior(_uniform(words), check_prior(prior)).astype(np.float32)
    return values.reshape(len(words), *shape)


def labels_of(
    slots: NDArray[np.int64], labels: NDArray[np.int64], *, seed: int, stream: Stream
) -> NDArray[np.int64]:
    """The label of each slot: [N] int64, out of `labels` [L] with equal probability."""
    unit = _uniform(_words(slots, 1, check_seed(seed), stream, _Purpose.LABEL))[:, 0]
    return np.asarray(labels[(unit * len(labels)).astype(np.int64)])


def _through_prior(unit: NDArray[np.float64], prior: Prior) -> NDArray[np.float64]:
    """[N, size] in (0, 1) to latents of a prior."""
    if prior == "uniform":
        return 2 * unit - 1
    if prior == "truncated":
        low, high = ndtr(-_TRUNCATED_AT), ndtr(_TRUNCATED_AT)
        return np.asarray(ndtri(low + unit * (high - low)))
    values = np.asarray(ndtri(unit))
    if prior == "spherical":  # summed in order, so that no other order of addition changes a bit
        squares = np.cumsum(values * values, axis=1)[:, -1:]
        values /= np.sqrt(squares / values.shape[1])
    return values


def permutation(size: int, *, seed: int) -> NDArray[np.int64]:
    """A seeded order of `size` items: [size] int64, every number below `size` once.

    Sorts 63 random bits an item (ties, of which 2**32 items have one, fall in order).
    """
    keys = np.empty(size, dtype=np.int64)
    for start, stop in ranges(0, size, 2**16):  # random bits take twenty times their size to make
        slots = np.arange(start, stop, dtype=np.int64)
        words = _words(slots, 2, check_seed(seed), Stream.SAMPLES, _Purpose.PERMUTATION)
        keys[start:stop] = _integers(words)[:, 0]
    return np.argsort(keys, kind="stable")


def group_of(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of each slot: its block of 16, counted modulo 32."""
    return (slots // BLOCK) % GROUPS


def ranges(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut [start, stop) at the multiples of `step`."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


def shard_ranges(stop: int, part: tuple[int, int] | None = None) -> list[tuple[int, int]]:
    """The shards of slots [0, stop), of which the last may be short.

    Args:
      stop: one past the last slot.
      part: (i, N): of them every N-th, from number i on; None: all.
    """
    first, step = part or (0, 1)
    return list(ranges(0, stop, SHARD))[first::step]


def check_prior(prior: object, *, where: str = "") -> Prior:
    """`prior` if it is one, else a ConfigError; `where` goes before the sentence."""
    for known in get_args(Prior):
        if prior == known:
            checked: Prior = known
            return checked
    raise ConfigError(
        f"{where}prior must be one of {', '.join(get_args(Prior))}, got {prior!r:.80}"
    )


def _words(
    slots: NDArray[np.int64], count: int, seed: int, stream: Stream, purpose: _Purpose
) -> NDArray[np.uint32]:
    """[N, count] random 32-bit words; counter = (word block, slot, stream and purpose)."""
    blocks = -(-count // 4)
    counter = np.empty((len(slots), blocks, 4), dtype=np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = (slots & 0xFFFFFFFF)[:, None]
    counter[..., 2] = (slots >> 32)[:, None]
    counter[..., 3] = (int(stream) << 8) | int(purpose)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    return philox(counter, key).reshape(len(slots), blocks * 4)[:, :count]


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10: [..., 4] uint32 counters and two key words to [..., 4] uint32 random words."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0 = c0 * np.uint64(0xD2511F53)
        p1 = c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> half) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> half) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _uniform(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Words to the open interval (0, 1)."""
    return (words.astype(np.float64) + 0.5) * 2.0**-32


def _integers(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """[N, 2k] words to [N, k] integers in [0, 2**63)."""
    pairs = words.astype(np.uint64)
    joined = (pairs[:, 0::2] << np.uint64(31)) ^ (pairs[:, 1::2] >> np.uint64(1))
    return joined.astype(np.int64)
