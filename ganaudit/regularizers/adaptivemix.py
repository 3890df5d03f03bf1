"""AdaptiveMix: features of a mixed image are pulled towards the mix of the features.

The discriminator is F, all but its head, and J, the head. For two images a and b and a weight
lambda of Beta(alpha, alpha), x = lambda a + (1 - lambda) b:

    loss = weight * distance(F(x), lambda F(a) + (1 - lambda) F(b) + noise)

It shrinks regions of the training data in the feature space. F of x is one more pass; F(a) and
F(b) are those of the adversarial loss, so nothing is looked at twice.

References:
  Liu et al., "AdaptiveMix: Improving GAN Training via Feature Space Shrinkage", CVPR 2023, Eq. 2
  and 6. The paper and its released code differ; the defaults are those of the paper, `release` is
  the code of its StyleGAN2. Ours: the noise (of F(x) in Eq. 2) stands on the target, which for
  these distances is the same in distribution; the adversarial loss sees clean images unless
  `logits` is mixed-sum; one lambda for the images of a call, as released, unless `lambda_scope` is
  sample. Of the gradient
  through the target the paper says nothing, and the released cosine has none. With l2 and l1 it is
  kept unless `detach`: a ReLU network's F(x) lies below the mix of F(a) and F(b), and if only F(x)
  may move, it is raised, and F(a) and F(b) with it, without end. A pair of classes
  mixes their one-hot labels too, where the released code takes those of the first image for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import scipy.special
import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor

from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers.bounds import check_number

Logits = Literal["clean", "mixed-sum"]


class Mix:
    """Which rows of a batch are mixed, and how much of each.

    No dataclass: whatever feeds networks in mixed precision rounds the numbers that it finds in
    dataclasses and tuples, and the weights of images and of their features must be the same.

    Attributes:
      first: [M] int64, rows.
      partner: [M] int64, rows they are mixed with.
      weight: [M] float32 in [0, 1], lambda, the share of `first`.
      parts: how many of the M pairs come of each source, in this order; they sum to M.
      logits: what the adversarial loss sees: clean, the rows themselves; mixed-sum, the head's
        logit of the mixed features plus that of the mixed row's feature.
    """

    def __init__(
        self,
        first: Tensor,
        partner: Tensor,
        weight: Tensor,
        *,
        parts: tuple[int, ...],
        logits: Logits = "clean",
    ) -> None:
        self.first, self.partner, self.weight = first, partner, weight
        self.parts, self.logits = parts, logits

    def of(self, values: Tensor) -> Tensor:
        """The mixes [M, ...] of rows [N, ...] of images, features or one-hot labels."""
        weight = self.weight.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        return weight * values[self.first] + (1 - weight) * values[self.partner]


@dataclass(frozen=True, kw_only=True)
class AdaptiveMix:
    """How pairs are drawn and what their distance costs.

    Attributes:
      distance: l2, the mean squared difference; l1, the mean absolute one; cosine, minus the
        cosine of both, -1 where they point the same way.
      pairing: within, real with real and fake with fake; cross, real with fake; union, any with
        any. An image may be paired with itself.
      lambda_scope: batch, one lambda for all pairs of a call (within: of each source); sample, one
        for each pair.
      alpha: of the symmetric Beta; 1: uniform.
      sigma: standard deviation of the noise on the target.
      sigma_scale: absolute; or rms, in units of each target's root mean square.
      detach: the target is held constant: only F(x) is pulled. Features then grow without bound
        unless the distance is the cosine.
      weight: of the loss.
      logits: clean, or mixed-sum (needs pairing within).
      generator_step: the generator minimises it too, over pairs of fakes.
    """

    distance: Literal["l2", "l1", "cosine"] = "l2"
    pairing: Literal["within", "cross", "union"] = "union"
    lambda_scope: Literal["batch", "sample"] = "batch"
    alpha: float = 1.0
    sigma: float = 0.05
    sigma_scale: Literal["absolute", "rms"] = "absolute"
    detach: bool = False
    weight: float = 1.0
    logits: Logits = "clean"
    generator_step: bool = True

    def __post_init__(self) -> None:
        check_number("adaptivemix.alpha", self.alpha, 1e-3, 1e3)
        check_number("adaptivemix.sigma", self.sigma, 0, 100)
        check_number("adaptivemix.weight", self.weight, 0, 1e6)
        if self.logits == "mixed-sum" and self.pairing != "within":
            raise ConfigError(
                "adaptivemix.logits mixed-sum judges pairs, so both of a pair must be real or both "
                f"fake: set adaptivemix.pairing=within, not {self.pairing}"
            )

    @classmethod
    def preset(cls, name: str) -> "AdaptiveMix":
        """The regulariser as the paper writes it, or as its StyleGAN2 was released.

        Raises:
          ConfigError: there are paper and release.
        """
        if name == "paper":
            return cls()
        if name == "release":
            return cls(distance="cosine", pairing="within", detach=True, logits="mixed-sum")
        raise ConfigError(f"adaptivemix.preset must be paper or release, got {name!r:.80}")

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "AdaptiveMix":
        """That of `--set adaptivemix.KEY=VALUE`; what is said beats its preset.

        Raises:
          ConfigError: an unknown key or a value that cannot be.
        """
        said = dict(options)
        base = cls.preset(said.pop("preset", "paper"))
        return replace(base, **bind(cls, said, what="--reg adaptivemix"))

    def draw(
        self,
        real: int,
        fake: int,
        rng: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> Mix:
        """Pairs of a batch whose first rows are real and the rest fake.

        Where one source is empty, all pairs are within the other, whatever `pairing` says.

        Args:
          real: rows, >= 0.
          fake: rows, >= 0; one of both is positive.
          rng: draws permutations and lambdas, on the CPU.
          device: where the mix is needed.
        """
        rows = torch.arange(real + fake)
        if self.pairing == "cross" and real and fake:
            count = min(real, fake)
            first, partner = rows[:count], real + torch.randperm(fake, generator=rng)[:count]
            parts: tuple[int, ...] = (count,)
        else:
            apart = self.pairing == "within" and real and fake
            parts = (real, fake) if apart else (real + fake,)
            starts = (0, real)
            first = rows
            partner = torch.cat(
                [
                    start + torch.randperm(count, generator=rng)
                    for start, count in zip(starts, parts, strict=False)
                ]
            )
        weight = torch.cat([self._lambdas(count, rng) for count in parts])
        return Mix(
            first.to(device),
            partner.to(device),
            weight.to(device),
            parts=parts,
            logits=self.logits,
        )

    def _lambdas(self, count: int, rng: torch.Generator) -> Tensor:
        """[count] float32 of Beta(alpha, alpha), by its inverse distribution function."""
        drawn = 1 if self.lambda_scope == "batch" else count
        uniform = torch.rand(drawn, generator=rng, dtype=torch.float64)
        if self.alpha != 1:
            quantiles = scipy.special.betaincinv(self.alpha, self.alpha, uniform.numpy())
            uniform = torch.from_numpy(quantiles)
        return uniform.float().expand(count)

    def loss(
        self, features: Tensor, mixed_features: Tensor, mix: Mix, rng: torch.Generator
    ) -> Tensor:
        """The weighted loss [] of a batch: within, the sum of both sources' means; else one mean.

        Args:
          features: F of the rows, [N, ...] float.
          mixed_features: F of the mixed rows, [M, ...] float.
          mix: which they are.
          rng: draws the noise, on the CPU.

        Returns:
          [] float32 (float64 of such features), >= 0, or >= -weight * sources for the cosine.
          0 (cosine: its least) where F is affine and sigma 0.
        """
        exact = torch.promote_types(features.dtype, torch.float32)
        target = mix.of(features.to(exact)).flatten(1)  # [M, D]
        if self.detach:
            target = target.detach()
        if self.sigma:
            target = target + self.sigma * self._unit(target) * _noise(target, rng)
        apart = self._distances(mixed_features.to(exact).flatten(1), target)  # [M]
        means = [part.mean() for part in apart.split(list(mix.parts))]
        return self.weight * torch.stack(means).sum()

    def _unit(self, target: Tensor) -> Tensor | float:
        """What sigma is measured in: 1, or [M, 1]."""
        if self.sigma_scale == "absolute":
            return 1.0
        return target.detach().square().mean(dim=1, keepdim=True).sqrt()

    def _distances(self, mixed: Tensor, target: Tensor) -> Tensor:
        if self.distance == "cosine":
            return -F.cosine_similarity(mixed, target, dim=1)
        difference = mixed - target
        size = difference.square() if self.distance == "l2" else difference.abs()
        return size.mean(dim=1)


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, dtype=torch.float32).to(like)
