"""Random numbers of a step follow from (seed, purpose, step) alone, as a slot's do from its number.

So a resumed training draws what an uninterrupted one does without storing a generator's state,
a regulariser that draws nothing changes no other draw, and the number of devices changes none.
"""

from hashlib import blake2b

import torch
from torch import Tensor

from ganaudit.slots import Prior

_MOST = 2.0  # of a truncated normal coordinate, as in `slots`


def stream(seed: int, purpose: str, *places: int) -> torch.Generator:
    """The generator, on the CPU, of one purpose at one place (a step, a turn, a rank).

    Args:
      seed: of the training, 0 <= seed < 2**63.
      purpose: which draws they are, such as "latents".
      places: numbers that tell draws of one purpose apart.
    """
    name = "/".join((str(seed), purpose, *map(str, places)))
    words = blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(words, "little") >> 1)


def draw_latents(
    rng: torch.Generator, count: int, shape: tuple[int, ...], prior: Prior = "normal"
) -> Tensor:
    """[count, *shape] float32 of a prior, on the CPU; the priors are those of `slots.draw`."""
    if prior == "uniform":
        return torch.rand((count, *shape), generator=rng) * 2 - 1
    if prior == "truncated":
        latents = torch.empty((count, *shape))
        return torch.nn.init.trunc_normal_(latents, a=-_MOST, b=_MOST, generator=rng)
    latents = torch.randn((count, *shape), generator=rng)
    if prior == "spherical":
        latents /= latents.flatten(1).square().mean(dim=1).sqrt().reshape(-1, *[1] * len(shape))
    return latents
