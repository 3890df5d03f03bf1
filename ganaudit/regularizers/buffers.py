"""What a look through networks must leave as it was: their buffers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def buffers_kept(*networks: nn.Module) -> Iterator[None]:
    """Within it, networks work on copies of their buffers; afterwards the old ones are back.

    In training mode batch norm still uses the batch's own statistics, and spectral norm a power
    iteration that goes on from where it was; of both nothing is left. The old tensors themselves
    come back, bit by bit and unwritten, so what was derived from them before stays derivable.

    Args:
      networks: whose buffers are kept; one may be named twice.
    """
    owners = {id(part): part for network in networks for part in network.modules()}
    kept = [
        (part._buffers, name, buffer)
        for part in owners.values()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    copies = {id(buffer): buffer.detach().clone() for _, _, buffer in kept}  # one of a shared one
    try:
        for buffers, name, buffer in kept:
            buffers[name] = copies[id(buffer)]
        yield
    finally:
        for buffers, name, buffer in kept:
            buffers[name] = buffer
