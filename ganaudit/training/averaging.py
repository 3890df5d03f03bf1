"""The averaged generator: what is sampled, audited and kept."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, kept: float) -> None:
    """Moves an exponential moving average towards the network it follows.

    average <- kept average + (1 - kept) network.

    Args:
      average: of the same class; its parameters move, its buffers are copied.
      network: what it follows.
      kept: 0 (the average is the network) to below 1.
    """
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        if kept > 0:
            mean.lerp_(value.to(mean.device), 1 - kept)
        else:
            mean.copy_(value)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        ours.copy_(theirs)


@torch.no_grad()
def settled(average: nn.Module, latents: Tensor, labels: Tensor | None, *, batch: int) -> nn.Module:
    """A copy of an averaged generator in eval mode, its batch statistics measured anew.

    The average of running statistics belongs to no one set of weights. Here those of the averaged
    weights are the plain mean over batches of fresh latents; without batch norm it is a plain copy.

    Args:
      average: the averaged generator; not changed.
      latents: [N, *latent_shape] float32 of the prior.
      labels: [N] int64, or None.
      batch: latents of a batch.
    """
    network = copy.deepcopy(average).eval().requires_grad_(False)
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    if not layers:
        return network
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    for start in range(0, len(latents), batch):
        rows = slice(start, start + batch)
        network(latents[rows], *(() if labels is None else (labels[rows],)))
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
    return network.eval()
