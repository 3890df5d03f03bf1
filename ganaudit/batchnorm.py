"""Is the prior the one a batch-norm network was trained under? Its running statistics remember."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

_FLOOR = 1e-12  # of a variance


@dataclass(frozen=True)
class Mismatch:
    """How far batch-norm inputs are from the statistics stored in training.

    Attributes:
      mean: of a channel's mean, in stored standard deviations; the mean over channels, of the layer
        where it is largest.
      spread: of a channel's standard deviation, relative to the stored one; likewise.
      layers: that were compared.
    """

    mean: float
    spread: float
    layers: int

    @property
    def largest(self) -> float:
        """The larger of both."""
        return max(self.mean, self.spread)


@dataclass
class _Sums:
    """Of one layer's input, by channel."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(1))
    squares: Tensor = field(default_factory=lambda: torch.zeros(1))

    def add(self, values: Tensor) -> None:
        """Take an input [N, C, ...]."""
        flat = values.to(torch.float64).transpose(0, 1).flatten(1)  # [C, N * positions]
        self.count += flat.shape[1]
        self.total = self.total.to(flat.device) + flat.sum(1)
        self.squares = self.squares.to(flat.device) + flat.square().sum(1)


def mismatch(module: nn.Module, run: Callable[[], None]) -> Mismatch | None:
    """Compare what every batch norm of `module` sees during `run` with what it saw in training.

    Strict loading of weights proves neither the architecture nor the prior; this does. With 256
    images both figures were at most .04 under the right prior of five networks, and one of them .11
    or more under any other, but that a sphere cannot be told from a normal prior.

    Args:
      module: in eval mode; those of its batch norms count that keep running statistics.
      run: renders images with it.

    Returns:
      The mismatch; None: the network has no such layers, or they were not called in eval mode.
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and layer.running_mean is not None
        and not layer.training
    ]
    sums = {layer: _Sums() for layer in layers}

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        sums[layer].add(inputs[0] if inputs else named["input"])  # type: ignore[index]

    handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in layers]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    seen = [(layer, found) for layer, found in sums.items() if found.count]
    if not seen:
        return None
    gaps = [_gap(layer, found) for layer, found in seen]
    return Mismatch(max(mean for mean, _ in gaps), max(spread for _, spread in gaps), len(gaps))


def _gap(layer: nn.modules.batchnorm._BatchNorm, found: _Sums) -> tuple[float, float]:
    assert layer.running_mean is not None and layer.running_var is not None
    mean = found.total / found.count
    variance = (found.squares / found.count - mean.square()).clamp_min(_FLOOR)
    stored = layer.running_var.to(torch.float64).clamp_min(_FLOOR)
    shift = (mean - layer.running_mean).abs() / stored.sqrt()
    spread = (variance / stored).sqrt().sub(1).abs()
    return float(shift.mean()), float(spread.mean())
