"""AdvLatGAN-div: mode seeking on the pairs that need it, which a search in latent space finds.

A partner starts near each latent and is moved, by sign-gradient steps, to where the images differ
least for the distance of the latents: towards a collapsed pair. The generator then lowers the
mode-seeking loss of the pairs that were found.

References:
  Li et al., "Improving Generative Adversarial Networks via Adversarial Learning in Latent Space",
  NeurIPS 2022, Eq. 8 and Algorithm 2 (-div). Deviations, each undone by the preset `release`: the
  ratio of every pair is its own, where the code takes that of the batch means; nothing is added to
  its denominator, where the code adds 1; pairs are seen by this loss alone, as in Algorithm 2,
  where the code trains on both halves everywhere. `radius` bounds the search (the paper's ball,
  around the partner's start). The search leaves running statistics as they were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers.bounds import check_number
from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.regularizers.mode_seeking import LEAST, Prior, inverse_ratio
from ganaudit.regularizers.searching import Renderer, ascended


@dataclass(frozen=True, kw_only=True)
class AdvLatGANDiv:
    """How pairs are searched and what their ratio costs.

    Attributes:
      spread: standard deviation of a partner's start around its latent.
      step: of every coordinate.
      steps: how many.
      radius: the furthest that a coordinate goes from its start; None: steps * step.
      denominator_offset: added to the distance of latents, in the search only.
      per_sample: the search lowers each pair's own ratio, not that of the batch means.
      everywhere: both latents of a pair are judged too.
      weight: of the loss.
    """

    spread: float = 0.08
    step: float = 0.004
    steps: int = 3
    radius: float | None = None
    denominator_offset: float = 0.0
    per_sample: bool = True
    everywhere: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_number("advlatgan-div.spread", self.spread, 1e-6, 100)
        check_number("advlatgan-div.step", self.step, 0, 100)
        check_number("advlatgan-div.steps", self.steps, 0, 1000)
        check_number("advlatgan-div.denominator_offset", self.denominator_offset, 0, 1e3)
        check_number("advlatgan-div.weight", self.weight, 0, 1e6)
        if self.radius is not None:
            check_number("advlatgan-div.radius", self.radius, 0, 1e5)

    @classmethod
    def preset(cls, name: str) -> "AdvLatGANDiv":
        """The regulariser as the paper writes it, or as its code was released.

        Raises:
          ConfigError: there are paper and release.
        """
        if name == "paper":
            return cls()
        if name == "release":
            return cls(denominator_offset=1.0, per_sample=False, everywhere=True)
        raise ConfigError(f"advlatgan-div.preset must be paper or release, got {name!r:.80}")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "AdvLatGANDiv":
        """That of `--set advlatgan-div.KEY=VALUE`; what is said beats its preset.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        said = dict(options)
        base = cls.preset(said.pop("preset", "paper"))
        return replace(base, **bind(cls, said, what="--reg advlatgan-div"))

    def partner(
        self,
        latents: Tensor,
        labels: Tensor | None,
        *,
        generator: Renderer,
        networks: Sequence[nn.Module],
        rng: torch.Generator,
        prior: Prior,
    ) -> Tensor:
        """The partner of each latent that the search ends at, [N, *shape], detached.

        Args:
          latents: [N, *shape] float32.
          labels: [N] int64, of both of a pair; None: the generator takes none.
          generator: (latents, labels) to images.
          networks: modules it runs through; left as they are.
          rng: draws where partners start, on the CPU.
          prior: not asked.
        """
        noise = torch.randn(latents.shape, generator=rng, dtype=torch.float32).to(latents)
        start = latents.detach() + self.spread * noise
        if self.step == 0 or self.steps == 0:
            return start
        with buffers_kept(*networks):
            with torch.no_grad():
                images = generator(latents, labels)

            def height(here: Tensor) -> Tensor:
                return -self.ratio(images, generator(here, labels), latents, here)

            return ascended(start, height, step=self.step, steps=self.steps, radius=self.radius)

    def ratio(
        self, images: Tensor, partner_images: Tensor, latents: Tensor, partner_latents: Tensor
    ) -> Tensor:
        """What the search lowers, [] float >= 0: the sum of d_I / d_z, or that of the means."""
        apart = (images - partner_images).abs().flatten(1).mean(dim=1)  # [N]
        asked = (latents - partner_latents).abs().flatten(1).mean(dim=1)  # [N]
        if not self.per_sample:
            apart, asked = apart.mean(dim=0, keepdim=True), asked.mean(dim=0, keepdim=True)
        return (apart / (asked + self.denominator_offset).clamp_min(LEAST)).sum()

    def loss(
        self, images: Tensor, partner_images: Tensor, latents: Tensor, partner_latents: Tensor
    ) -> Tensor:
        """The weighted mode-seeking loss [] of the pairs: of batch means, whatever the search."""
        return self.weight * inverse_ratio(images, partner_images, latents, partner_latents)
