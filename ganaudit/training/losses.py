"""Adversarial losses on raw logits, and the penalties that belong to some of them.

D is the discriminator's raw logit, r of real and f of fake images. Every form is stable: logits of
any size give finite losses and gradients.

    minimax         D: softplus(-r) + softplus(f)            G: -softplus(f)
    non-saturating  D: softplus(-r) + softplus(f)            G: softplus(-f)
    wgan            D: f - r, weights clipped                G: -f
    wgan-gp         D: f - r + w (|grad D(x)| - 1)^2         G: -f
    wgan-div        D: f - r + k |grad D(x)|^p               G: -f
    lsgan           D: (r - 1)^2 / 2 + f^2 / 2               G: (f - 1)^2 / 2
    hinge           D: relu(1 - r) + relu(1 + f)             G: -f

Each term is a mean over its images; x lies between a real and a fake image.

References:
  minimax and non-saturating: Goodfellow et al., 2014, Eq. 1 and section 3; wgan: Arjovsky et al.,
  2017, Algorithm 1; wgan-gp: Gulrajani et al., 2017, Eq. 3; wgan-div: Wu et al., 2018, Algorithm 1;
  lsgan: Mao et al., 2017, Eq. 9; hinge: Miyato et al., 2018, Eq. 16 and 17; R1: Mescheder et al.,
  2018, Eq. 9.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from torch import Tensor, nn

from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers.searching import Look


@dataclass(frozen=True)
class Loss:
    """One adversarial loss.

    Attributes:
      name: a key of `LOSSES`.
      discriminator: (logits of real images [N], of fake ones [M]) to what D minimises, [].
      generator: logits of fake images [M] to what G minimises, [].
    """

    name: str
    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _least_squares(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def _hinge(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _saturating(fake: Tensor) -> Tensor:
    return -F.softplus(fake).mean()


def _non_saturating(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def _near_one(fake: Tensor) -> Tensor:
    return 0.5 * (fake - 1).square().mean()


def _raised(fake: Tensor) -> Tensor:
    return -fake.mean()


LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("minimax", _cross_entropy, _saturating),
        Loss("non-saturating", _cross_entropy, _non_saturating),
        Loss("wgan", _wasserstein, _raised),
        Loss("wgan-gp", _wasserstein, _raised),
        Loss("wgan-div", _wasserstein, _raised),
        Loss("lsgan", _least_squares, _near_one),
        Loss("hinge", _hinge, _raised),
    )
}


def loss_of(name: str) -> Loss:
    """The loss called `name`.

    Raises:
      ConfigError: there is none.
    """
    if name not in LOSSES:
        raise ConfigError(f"--loss must be one of {', '.join(LOSSES)}; got {name!r:.80}")
    return LOSSES[name]


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What `--set loss.KEY=VALUE` says; 0: that penalty is not there.

    Attributes:
      clip: bound of every weight of the discriminator after its step; of wgan.
      gradient_penalty: weight of the gradient penalty; of wgan-gp.
      div_weight: k of wgan-div.
      div_power: p of wgan-div.
      r1: gamma of R1; of minimax, non-saturating, lsgan and hinge.
      r1_every: R1 is taken at every so many discriminator steps, and so many times as strong.
    """

    clip: float = 0.0
    gradient_penalty: float = 0.0
    div_weight: float = 0.0
    div_power: float = 0.0
    r1: float = 0.0
    r1_every: int = 1


_USUAL = {
    "wgan": LossSettings(clip=0.01),
    "wgan-gp": LossSettings(gradient_penalty=10.0),
    "wgan-div": LossSettings(div_weight=2.0, div_power=6.0),
}
_WITH_R1 = ("minimax", "non-saturating", "lsgan", "hinge")
_OF_LOSS = {
    "clip": ("wgan",),
    "gradient_penalty": ("wgan-gp",),
    "div_weight": ("wgan-div",),
    "div_power": ("wgan-div",),
    "r1": _WITH_R1,
    "r1_every": _WITH_R1,
}
_RANGES = {
    "clip": (1e-6, 1e3),
    "gradient_penalty": (1e-6, 1e6),
    "div_weight": (1e-6, 1e6),
    "div_power": (2.0, 20.0),  # below 2 its gradient has no bound where D is flat
    "r1": (0.0, 1e6),
    "r1_every": (1, 1000),
}


def settings_of(loss: str, options: Mapping[str, str]) -> LossSettings:
    """Settings of a loss: its own, and over them what was said.

    Args:
      loss: a key of `LOSSES`.
      options: `--set loss.KEY=VALUE` as texts.

    Raises:
      ConfigError: an unknown key, one of another loss, or a value out of its range.
    """
    said = bind(LossSettings, options, what=f"--loss {loss}")
    for key, value in said.items():
        if loss not in _OF_LOSS[key]:
            raise ConfigError(
                f"--set loss.{key} belongs to --loss {' or '.join(_OF_LOSS[key])}, not to {loss}"
            )
        low, high = _RANGES[key]
        if not low <= value <= high:
            raise ConfigError(f"--set loss.{key} must be in [{low:g}, {high:g}], got {value:g}")
    return replace(_USUAL.get(loss, LossSettings()), **said)


def gradient_penalty(
    judge: Look,
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    *,
    weight: float,
    rng: torch.Generator,
) -> Tensor:
    """The mean of weight (|grad D(x)| - 1)^2, x = t real + (1 - t) fake, t uniform per pair.

    Args:
      judge: the discriminator, that judges every image by itself.
      real: [N, ...] float.
      fake: [N, ...] float.
      labels: [N] int64 of both of a pair; None: none are taken.
      weight: of the penalty.
      rng: draws t, on the CPU.

    Returns:
      [] float >= 0, 0 where D's slope is 1. Finite, and so its gradient, where the slope is 0.

    Raises:
      ValueError: real and fake differ in shape.
    """
    slopes = _gradients(judge, _between(real, fake, rng), labels)
    lengths: Tensor = torch.linalg.vector_norm(slopes, dim=1)  # [N]; its gradient at 0 is 0
    return weight * (lengths - 1).square().mean()


def divergence_penalty(
    judge: Look,
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    *,
    weight: float,
    power: float,
    rng: torch.Generator,
) -> Tensor:
    """The mean of weight |grad D(x)|^power; x and arguments as those of `gradient_penalty`."""
    slopes = _gradients(judge, _between(real, fake, rng), labels)
    return weight * slopes.square().sum(dim=1).pow(power / 2).mean()


def r1_penalty(judge: Look, real: Tensor, labels: Tensor | None, *, gamma: float) -> Tensor:
    """The mean of gamma / 2 |grad D(x)|^2 over real images [N, ...], []."""
    return gamma / 2 * _gradients(judge, real, labels).square().sum(dim=1).mean()


def clip_weights(network: nn.Module, bound: float) -> None:
    """Clamp every parameter to [-bound, bound], in place."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.clamp_(-bound, bound)


def _between(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    if real.shape != fake.shape:
        raise ValueError(f"real {list(real.shape)} and fake {list(fake.shape)} must agree in shape")
    share = torch.rand((len(real), *[1] * (real.ndim - 1)), generator=rng).to(real)
    return share * real.detach() + (1 - share) * fake.detach()


def _gradients(judge: Look, images: Tensor, labels: Tensor | None) -> Tensor:
    """[N, D] of each image's own logit by its pixels; derivable by the weights."""
    with torch.enable_grad():
        images = images.detach().requires_grad_(True)
        logits = judge(images, labels)
        (found,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return found.flatten(1)
