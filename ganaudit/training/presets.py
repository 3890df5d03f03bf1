"""Settings of published experiments by name: what `--preset` means.

Of AdvLatGAN (NeurIPS 2022) they are those of its released configurations; where a configuration is
not there the paper's text is named. Those of StyleGAN2 are the settings of stylegan2-ada-pytorch.
A preset sets what no flag says; what it says of a regulariser acts where that is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a training is where nothing else is said.

    Attributes:
      about: a sentence: whose setting it is.
      settings: OWNER.KEY to value, as `--set` has them.
      mirror: half of the real images are mirrored.
      fitted: what is said of batch, steps and settings is for `auto`: `preset_of` fits them.
    """

    arch: str
    loss: str
    batch: int
    steps: int
    latent_size: int
    about: str
    reg: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    mirror: bool = False
    fitted: bool = False


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
        mirror=model != "sngan",
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


def _stylegan2(
    about: str,
    *,
    kimg: int,
    batch: int,
    group: int,
    width: float,
    rate: float,
    gamma: float,
    ema: float,
    layers: int,
    rampup: float = 0.0,
    **more: Any,
) -> Preset:
    """`width`: channels, as a share of configuration F's; `group`: that the spread is taken of."""
    base = str(int(width * 32768))
    settings = {
        "generator.channel_base": base,
        "generator.conv_clamp": "256",
        "generator.mapping_num_layers": str(layers),
        "discriminator.channel_base": base,
        "discriminator.conv_clamp": "256",
        "discriminator.mbstd_group_size": str(group),
        "loss.r1": f"{gamma:g}",
        "loss.r1_every": "16",
        "optim.lr": f"{rate:g}",
        "optim.beta1": "0",
        "optim.beta2": "0.99",
        "optim.ema_kimg": f"{ema:g}",
        "optim.ema_rampup": f"{rampup:g}",
        "adaptivemix.distance": "cosine",
        "adaptivemix.pairing": "within",
        "adaptivemix.detach": "true",
    }
    return Preset(
        arch="stylegan2",
        loss="non-saturating",
        batch=batch,
        steps=kimg * 1000 // batch,
        latent_size=512,
        about=about,
        settings=settings,
        **more,
    )


def _auto(size: int, batch: int | None, devices: int) -> Preset:
    """The settings that stylegan2-ada-pytorch guesses for a size in pixels."""
    usual = max(min(devices * min(4096 // size, 32), 64), devices)
    batch = batch or usual
    return _stylegan2(
        "stylegan2-ada-pytorch's guess for a size and a batch",
        kimg=25_000,
        batch=batch,
        group=min(max(1, batch // devices), 4),
        width=1 if size >= 512 else 0.5,
        rate=0.002 if size >= 1024 else 0.0025,
        gamma=0.0002 * size**2 / batch,
        ema=batch * 10 / 32,
        rampup=0.05,
        layers=2,
        fitted=True,
    )


_PAPER256 = _stylegan2(
    "Karras et al., 2020 (ADA), 256 pixels", kimg=25_000, batch=64, group=8, width=0.5, rate=0.0025,
    gamma=1, ema=20, layers=8,
)  # fmt: skip
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
    "auto": _auto(256, None, 1),
    "paper256": _PAPER256,
    "adaptivemix-paper256": replace(
        _PAPER256,
        about="AdaptiveMix's released StyleGAN2 on AFHQ-Cat and FFHQ, 256 pixels",
        reg=("adaptivemix",),
        mirror=True,
        settings={**_PAPER256.settings, "adaptivemix.preset": "release"},
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


def preset_of(
    name: str, *, image_shape: tuple[int, ...], batch: int | None, devices: int
) -> Preset:
    """The preset called `name`, fitted to the data if it is one of those that are.

    Args:
      name: a key of `PRESETS`.
      image_shape: (C, H, W), or (2,) of points.
      batch: that was asked for, if one was.
      devices: how many there are.
    """
    preset = PRESETS[name]
    return _auto(image_shape[-1], batch, devices) if preset.fitted else preset
