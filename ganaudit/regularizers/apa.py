"""APA: some of the images that pass for real are the generator's own, so that D stays unsure.

References:
  Jiang et al., "Deceive D: Adaptive Pseudo Augmentation for GAN Training with Limited Data",
  NeurIPS 2021. Deviation: the fakes are drawn for the purpose from the generator as it is, where
  the code takes those of the last update of the generator.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ganaudit.registry import bind


@dataclass(frozen=True)
class PseudoAugment:
    """Which of the real images are replaced. It has no settings of its own: see `Strength`."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "PseudoAugment":
        """Of no options.

        Raises:
          ConfigError: there are some.
        """
        return cls(**bind(cls, options, what="--augment apa"))

    def chosen(self, count: int, rng: torch.Generator, p: float) -> Tensor:
        """[count] bool, on the CPU: each of the real images is replaced with probability p."""
        return torch.rand(count, generator=rng) < p
