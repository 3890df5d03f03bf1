"""Per-layer noise out of a slot's seed: the same on every device, whatever the batch.

The bits are Philox4x32-10 with the slot's seed as key, made by torch where the images are made; a
1024-pixel StyleGAN2 takes 2.8 million of them for an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_AT_ONCE = 2**20  # values; the integers behind them take 100 bytes each


def layer_noise(
    seeds: Tensor, shapes: Sequence[tuple[int, int]], *, device: torch.device
) -> list[Tensor]:
    """Standard normal noise for each layer of each slot.

    Args:
      seeds: [N] int64, 0 <= seed < 2**63, on the CPU.
      shapes: (H, W) of each layer.
      device: where it is made.

    Returns:
      [N, 1, H, W] float32 for each layer; row i depends on seeds[i] and the layer's number alone.
      The bits are equal everywhere, the values but for rounding in the inverse normal distribution.
    """
    return [
        torch.cat(
            [
                _normal(rows.to(device), layer, height * width).view(-1, 1, height, width)
                for rows in seeds.split(max(1, _AT_ONCE // (height * width)))
            ]
        )
        for layer, (height, width) in enumerate(shapes)
    ]


def _normal(seeds: Tensor, layer: int, count: int) -> Tensor:
    """[N, count] float32 for seeds [N]."""
    blocks = -(-count // 4)
    counter = torch.arange(blocks, device=seeds.device).expand(len(seeds), -1)  # [N, blocks]
    zero = torch.zeros_like(counter)
    key = (seeds[:, None] & _MASK, seeds[:, None] >> 32)
    words = torch.stack(philox((counter, zero + layer, zero, zero), key), dim=-1)
    unit = (words.view(len(seeds), -1)[:, :count].double() + 0.5) * 2.0**-32
    values: Tensor = torch.special.ndtri(unit)
    return values.float()


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 on int64 tensors that hold 32-bit words; `slots.philox` in torch.

    Args:
      counter: four tensors of one shape.
      key: two that broadcast with it.

    References:
      Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # modulo 2**64; the upper word is masked
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3
