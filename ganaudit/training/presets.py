"""Settings of published experiments by name: what `--preset` means.

Of AdvLatGAN (NeurIPS 2022) they are those of its released configurations; where a configuration is
not there the paper's text is named. A preset sets what no flag says; what it says of a regulariser
acts where that is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a training is where nothing else is said.

    Attributes:
      about: a sentence: whose setting it is.
      settings: OWNER.KEY to value, as `--set` has them.
    """

    arch: str
    loss: str
    batch: int
    steps: int
    latent_size: int
    about: str
    reg: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


_ADAM = {"optim.lr": "2e-4", "optim.beta1": "0", "optim.beta2": "0.9", "optim.decay": "linear"}
_DOUBLE = {"optim.generator_batch": "2"}
_LOSSES = {
    "dcgan": ("dcgan", "non-saturating", {**_ADAM, **_DOUBLE, "optim.beta1": "0.5"}),
    "wgan": ("dcgan", "wgan", {**_ADAM, **_DOUBLE, "loss.clip": "0.1"}),
    "wgangp": ("dcgan", "wgan-gp", {**_ADAM, **_DOUBLE, "loss.gradient_penalty": "10"}),
    "sngan": ("sngan", "hinge", {**_ADAM, **_DOUBLE}),
}
_QUA = {  # the step of -qua by data and model
    "cifar10": {"dcgan": ".03", "wgan": ".01", "wgangp": ".015", "sngan": ".04"},
    "stl10": {"dcgan": ".04", "wgan": ".02", "wgangp": ".015", "sngan": ".05"},
    "lsun": {"wgangp": ".05", "sngan": ".05"},
    "celeba": {"wgangp": ".02", "sngan": ".05"},
}


def _advlatgan(data: str, model: str, step: str) -> Preset:
    arch, loss, settings = _LOSSES[model]
    return Preset(
        arch=arch,
        loss=loss,
        batch=128,
        steps=100_000,
        latent_size=100,
        about=f"AdvLatGAN's released configuration of {model} on {data}; with --reg advlatgan-qua "
        f"latents move by {step}",
        settings={**settings, "advlatgan-qua.step": step},
    )


def _toy(steps: int, lr: str, about: str, **settings: str) -> Preset:
    return Preset(
        arch="mlp",
        loss="non-saturating",
        batch=128,
        steps=steps,
        latent_size=2,
        about=about,
        settings={"optim.lr": lr, "optim.ema": "0", **settings},
    )


_MNIST = {"optim.lr": "2e-4", "generator.width": "32", "discriminator.width": "32"}
PRESETS: Mapping[str, Preset] = {
    **{
        f"{data}-{model}": _advlatgan(data, model, step)
        for data, models in _QUA.items()
        for model, step in models.items()
    },
    "mnist-dcgan": Preset(
        arch="dcgan",
        loss="non-saturating",
        batch=128,
        steps=20_000,
        latent_size=2,
        about="AdvLatGAN's first submission on MNIST with a DCGAN: latents in two dimensions",
        settings={**_MNIST, "advlatgan-qua.step": ".01"},
    ),
    "mnist-wgangp": Preset(
        arch="dcgan",
        loss="wgan-gp",
        batch=128,
        steps=50_000,
        latent_size=2,
        about="AdvLatGAN's first submission on MNIST with WGAN-GP: latents in two dimensions",
        settings={**_MNIST, "optim.beta1": "0", "optim.beta2": "0.9", "advlatgan-qua.step": ".005"},
    ),
    "msgan-cdcgan": Preset(
        arch="cdcgan",
        loss="non-saturating",
        reg=("mode-seeking",),
        batch=32,
        steps=312_400,
        latent_size=100,
        about="MSGAN's conditional DCGAN on CIFAR-10, 200 epochs; AdvLatGAN-div's too",
        settings={
            "optim.lr": "2e-4",
            "optim.weight_decay": "1e-4",
            "generator.width": "128",
            "discriminator.width": "128",
        },
    ),
    "toy-ring": _toy(2_000, "1e-3", "a ring of 8 Gaussians with the networks of AdvLatGAN's"),
    "toy-grid": _toy(8_000, "1e-3", "a grid of 25 Gaussians with the networks of AdvLatGAN's"),
    "toy-nine-gaussians": Preset(
        arch="mlp",
        loss="non-saturating",
        batch=100,
        steps=500,
        latent_size=128,
        about="RealnessGAN's mixture of nine Gaussians, the setting of AdaptiveMix's figure",
        settings={
            "optim.lr": "1e-4",
            "optim.beta1": "0.8",
            "optim.generator_steps": "3",
            "optim.ema": "0",
            "generator.widths": "400,400,400,400",
            "generator.batch_norm": "true",
            "discriminator.widths": "200,200,200",
            "discriminator.pieces": "5",
        },
    ),
}
