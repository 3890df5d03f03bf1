"""What every step of a training does: settings that nothing is left to decide about."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ganaudit.errors import ConfigError
from ganaudit.regularizers import STRENGTH, Regularizers
from ganaudit.slots import Prior
from ganaudit.training.architectures import ARCHITECTURES, NetworkSpec
from ganaudit.training.losses import Loss, LossSettings
from ganaudit.training.styles import Styles

_WARM = 10  # steps


@dataclass(frozen=True, kw_only=True)
class Optim:
    """What `--set optim.KEY=VALUE` says: Adam, and how often and how long it is asked.

    Attributes:
      lr: learning rate of the generator.
      lr_discriminator: of the discriminator; None: `lr`.
      beta1: decay of the mean gradient.
      beta2: decay of the mean squared gradient.
      weight_decay: added to the gradient times the weight.
      discriminator_steps: updates of the discriminator in every step.
      generator_steps: updates of the generator after them.
      generator_batch: batches of latents that an update of the generator takes.
      decay: none, or linear: both rates fall to 0 over the training.
      ema: decay of the averaged generator; 0: it is the generator itself.
      ema_kimg: instead, thousands of images in which the weight of a generator halves.
      ema_rampup: that number is at most this share of the images shown; 0: any.
      freeze: first layers of the discriminator that keep their weights.
    """

    lr: float = 2e-4
    lr_discriminator: float | None = None
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 0.0
    discriminator_steps: int = 1
    generator_steps: int = 1
    generator_batch: int = 1
    decay: Literal["none", "linear"] = "none"
    ema: float = 0.999
    ema_kimg: float | None = None
    ema_rampup: float = 0.0
    freeze: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("lr", 0, 1),
            ("lr_discriminator", 0, 1),
            ("beta1", 0, 0.9999),
            ("beta2", 0, 0.999999),
            ("weight_decay", 0, 1),
            ("ema", 0, 0.999999),
            ("ema_kimg", 1e-3, 1e6),
            ("ema_rampup", 0, 100),
            ("freeze", 0, 1000),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"optim.{name} must be in [{low}, {high}], got {value:g}")
        for name in ("discriminator_steps", "generator_steps", "generator_batch"):
            if not 1 <= getattr(self, name) <= 100:
                raise ConfigError(f"optim.{name} must be in [1, 100], got {getattr(self, name)}")

    def kept(self, step: int, batch: int) -> float:
        """Share of the averaged generator that it keeps at a step, from 0.

        A young training is followed closely: it is at most (1 + step) / (10 + step), or as
        `ema_rampup` says.
        """
        if self.ema_kimg is None:
            return min(self.ema, (1 + step) / (_WARM + step))
        half = self.ema_kimg * 1000
        if self.ema_rampup:
            half = min(half, step * batch * self.ema_rampup)
        return float(0.5 ** (batch / max(half, 1e-8)))

    def rates(self, step: int, steps: int) -> tuple[float, float]:
        """Learning rates of generator and discriminator at a step, from 0, of all steps."""
        left = 1 - step / steps if self.decay == "linear" else 1.0
        both = (self.lr, self.lr if self.lr_discriminator is None else self.lr_discriminator)
        return both[0] * left, both[1] * left


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a step does, but for the data.

    Attributes:
      generator, discriminator: networks and their arguments.
      conditional: the networks take labels.
      styles: what only StyleGAN2 has; None: it is another.
      batch: real images of a discriminator step, on all devices together.
      parts: that a device takes its share in, one after another.
      steps: in all, each of some updates of the discriminator and then of the generator.
      mirror: half of the real images are mirrored.
      origin: SHA-256 of the networks it begins with; None: their weights are drawn.
    """

    arch: str
    generator: NetworkSpec
    discriminator: NetworkSpec
    conditional: bool
    loss: Loss
    settings: LossSettings
    regularizers: Regularizers
    optim: Optim
    styles: Styles | None
    batch: int
    parts: int
    steps: int
    prior: Prior
    mirror: bool
    precision: str
    seed: int
    origin: str | None = None

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of a latent of the generator."""
        return (int(self.generator.arguments[ARCHITECTURES[self.arch].latent_size]),)

    @property
    def lazy(self) -> tuple[float, float]:
        """Of either network k / (k + 1), if its penalty comes every k updates; else 1.

        Such a network has k + 1 updates for k: rates and moments of Adam are adjusted by it (Karras
        et al., CVPR 2020, appendix B).
        """
        paths = self.styles is not None and self.styles.path_length > 0
        every = (
            self.styles.path_every if self.styles is not None and paths else 1,
            self.settings.r1_every if self.settings.r1 else 1,
        )
        found = [k / (k + 1) if k > 1 else 1.0 for k in every]
        return found[0], found[1]

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rates of generator and discriminator at a step, from 0."""
        generator, discriminator = self.optim.rates(step, self.steps)
        return generator * self.lazy[0], discriminator * self.lazy[1]

    def betas(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of Adam, of generator and discriminator."""
        usual = (self.optim.beta1, self.optim.beta2)
        one, other = (tuple(beta**share for beta in usual) for share in self.lazy)
        return (one[0], one[1]), (other[0], other[1])

    def shown(self) -> dict[str, Any]:
        """As JSON values."""
        strength = self.regularizers.strength
        return {
            "arch": self.arch,
            "generator": asdict(self.generator),
            "discriminator": asdict(self.discriminator),
            "conditional": self.conditional,
            "loss": {"name": self.loss.name, **asdict(self.settings)},
            "regularizers": {n: asdict(r) for n, r in self.regularizers.by_name().items()},
            **({} if strength is None else {STRENGTH: asdict(strength)}),
            "optim": asdict(self.optim),
            **({} if self.styles is None else {"styles": asdict(self.styles)}),
            "batch": self.batch,
            "parts": self.parts,
            "steps": self.steps,
            "prior": self.prior,
            "mirror": self.mirror,
            "precision": self.precision,
            "seed": self.seed,
            **({} if self.origin is None else {"origin": self.origin}),
        }
