"""Which training items a step takes: by its number alone, so that a resumed run takes the same."""

from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.slots import permutation

_KEPT = 2  # orders: a batch touches no more epochs, since it is no larger than one


class Batches:
    """Batches of a stream of item numbers: one seeded order of all items after another.

    Step t takes positions t B to (t + 1) B of the stream, across the ends of orders: every item is
    seen equally often, whether or not B divides their number. A batch over such an end may hold an
    item twice.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        """Keep the sizes; no order is drawn.

        Args:
          count: items.
          batch: of a step, on all devices together.
          seed: of the orders.

        Raises:
          ConfigError: there are fewer items than a batch.
        """
        if count < batch:
            raise ConfigError(
                f"--batch {batch} wants more than the {count} items of the data; say --batch "
                f"{count}, or fewer"
            )
        self._count, self._batch, self._seed = count, batch, seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    def indices(self, step: int, world: int = 1, rank: int = 0) -> torch.Tensor:
        """[batch / world] int64: the items of one device in a step.

        Args:
          step: 0, 1, ...
          world: devices, among which a batch is shared out: one contiguous part each.
          rank: of the device, 0 <= rank < world.

        Raises:
          ValueError: `world` does not divide the batch, or a number is out of range.
        """
        if step < 0 or not 0 <= rank < world or self._batch % world:
            raise ValueError(f"batch {self._batch}, step {step}, rank {rank} of {world}")
        each = self._batch // world
        start = step * self._batch + rank * each
        numbers: list[NDArray[np.int64]] = []
        while each:
            epoch, at = divmod(start, self._count)
            taken = self._order(epoch)[at : at + each]
            numbers.append(taken)
            start, each = start + len(taken), each - len(taken)
        return torch.from_numpy(np.concatenate(numbers))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """[count] int64: every item once; from the seed and the number of the epoch alone."""
        if epoch not in self._orders:
            drawn = sha256(f"training order {self._seed} {epoch}".encode()).digest()
            order = permutation(self._count, seed=int.from_bytes(drawn[:8], "big") >> 1)
            recent = sorted(self._orders)[-(_KEPT - 1) :]
            self._orders = {old: self._orders[old] for old in recent} | {epoch: order}
        return self._orders[epoch]
