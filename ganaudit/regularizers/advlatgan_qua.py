"""AdvLatGAN-qua: the discriminator is trained on latents that were moved towards higher logits.

Before a discriminator step, its latents take sign-gradient steps up the logit of their images: the
samples that it takes most for real are those it learns from. The generator's step is untouched.

References:
  Li et al., "Improving Generative Adversarial Networks via Adversarial Learning in Latent Space",
  NeurIPS 2022, Eq. 5 and Algorithm 1 (-qua). Deviations from the released code: the ascent is on
  the raw logit, of which every increasing function has the same signs unless the images of a batch
  are judged together; `radius` bounds the whole move; networks are left as they were, where the
  released pass also moves running statistics and the vectors of spectral norm (`train_mode_mining`
  does so too). As in the paper and unlike the code, every discriminator step moves its own latents.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from ganaudit.registry import bind
from ganaudit.regularizers.bounds import check_number
from ganaudit.regularizers.buffers import buffers_kept
from ganaudit.regularizers.searching import Look, Renderer, ascended


@dataclass(frozen=True, kw_only=True)
class AdvLatGANQua:
    """How far latents are moved.

    Attributes:
      step: of every coordinate; the released configurations of each model are in the presets.
      steps: how many.
      radius: the furthest that a coordinate goes; None: steps * step, which no steps leave.
      train_mode_mining: running statistics and vectors of spectral norm follow, as released.
    """

    step: float = 0.01
    steps: int = 1
    radius: float | None = None
    train_mode_mining: bool = False

    def __post_init__(self) -> None:
        check_number("advlatgan-qua.step", self.step, 0, 100)
        check_number("advlatgan-qua.steps", self.steps, 0, 1000)
        if self.radius is not None:
            check_number("advlatgan-qua.radius", self.radius, 0, 1e5)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "AdvLatGANQua":
        """That of `--set advlatgan-qua.KEY=VALUE`.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        return cls(**bind(cls, options, what="--reg advlatgan-qua"))

    def mine(
        self,
        latents: Tensor,
        labels: Tensor | None,
        *,
        generator: Renderer,
        judge: Look,
        networks: Sequence[nn.Module],
    ) -> Tensor:
        """Latents [N, *shape] whose images have a higher logit than those of `latents`, detached.

        No gradient of a weight is computed or kept. A step of 0 gives back `latents`, and looks at
        nothing. A latent may leave the support of a bounded prior, by the length of its move.

        Args:
          latents: [N, *shape] float32.
          labels: [N] int64; None: the networks take none.
          generator: (latents, labels) to images.
          judge: (images, labels) to logits [N].
          networks: modules that both run through; their modes are not changed.
        """

        def height(here: Tensor) -> Tensor:
            return judge(generator(here, labels), labels).sum()

        with nullcontext() if self.train_mode_mining else buffers_kept(*networks):
            return ascended(latents, height, step=self.step, steps=self.steps, radius=self.radius)
