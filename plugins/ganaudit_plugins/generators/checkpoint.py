"""`checkpoint:FILE`: a published or an own generator, opened without executing its file.

NVIDIA's pickles, files of torch, safetensors, folders of a published BigGAN: the tensors go into
a network of `ganaudit.networks`. See docs/checkpoints.md.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.opened import Opened, open_network
from ganaudit.errors import ConfigError
from ganaudit.images import to_rgb
from ganaudit.noise import layer_noise
from ganaudit.slots import Draws, Prior
from ganaudit_plugins.generators.declared import Declared, declare
from ganaudit_plugins.generators.dots import extent_of, paint_dots

Noise = Literal["random", "const", "none"]
_DOTS = "Points are shown as dots in a window of half side {:g}; those outside lie at its border."


class CheckpointGenerator:
    """A network of `ganaudit.networks` that maps latents to images in [-1, 1].

    Attributes:
      module: the network.
      style: what its forward pass is given beside latents, labels and noise: psi, cutoff,
        truncation.
    """

    def __init__(
        self,
        opened: Opened,
        declared: Declared,
        *,
        device: torch.device,
        style: Mapping[str, Any],
        noise: Noise | None,
        notes: tuple[str, ...] = (),
        extent: float | None = None,
    ) -> None:
        """`noise`: None where the network draws none; `extent`: of points, else None."""
        self.latent_shape, self.prior = declared.latent_shape, declared.prior
        self.num_labels = declared.num_labels
        self.assumptions = (*declared.assumptions(), *opened.notes, *notes)
        chosen = dict(style) | ({} if noise is None else {"noise": noise})
        role = {} if opened.role == "state_dict" else {"role": opened.role}
        scale = {} if declared.latent_scale == 1 else {"latent_scale": declared.latent_scale}
        self.identity = {
            "network": opened.network,
            "sha256": opened.sha256,
            **role,
            **scale,
            **chosen,
        }
        self.module = opened.module.to(device)
        self.style = dict(style)
        self._scale, self._noise = declared.latent_scale, noise
        self._extent = extent
        if extent is not None:
            self.identity["extent"] = extent
            self.assumptions += (_DOTS.format(extent),)

    def render(self, draws: Draws) -> Tensor:
        """Images of the latents, uint8 [N, 3, H, W]; of points, a dot where each is."""
        images = self.forward(draws.latents, draws.labels, draws.seeds)
        if self._extent is not None:
            return paint_dots(images, extent=self._extent)
        return to_rgb(images, value_range=(-1, 1), layout="NCHW")

    def forward(
        self, latents: Tensor | None, labels: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """float32 [N, C, H, W], nominally in [-1, 1], or points [N, 2], differentiable.

        Args:
          latents: [N, *latent_shape] float32.
          labels: [N] int64; None: the network is unconditional.
          seeds: [N] int64, of the noise of each image; None: the noise that the file stores.
        """
        assert latents is not None
        given = dict(self.style)
        if self._noise is not None:
            given["noise"] = self._noise_of(seeds, latents.device)
        latents = latents * self._scale if self._scale != 1 else latents
        conditions = () if labels is None else (labels,)
        images: Tensor = self.module(latents, *conditions, **given)
        return images

    def _noise_of(self, seeds: Tensor | None, device: torch.device) -> Any:
        if self._noise == "none":
            return "none"
        if self._noise == "const" or seeds is None:
            return "const"
        return layer_noise(seeds, self.module.noise_shapes, device=device)  # type: ignore[arg-type]


def open_checkpoint(
    target: str,
    *,
    device: torch.device,
    role: str | None = None,
    prior: Prior | None = None,
    latent_scale: float | None = None,
    psi: float | None = None,
    cutoff: int | None = None,
    noise: Noise | None = None,
    truncation: float | None = None,
    strict_source: bool = False,
    **said: str,
) -> CheckpointGenerator:
    """Open a generator out of a file.

    Args:
      target: the file, or a folder with config.json.
      device: where the network runs.
      role: the network's name in the file; None: G_ema before G, Gs before G, or the only one.
      prior: of the latents; None: the architecture's.
      latent_scale: what latents are multiplied by; None: 1.
      psi: truncation in W: 0 is the mean image, 1 none, -2 to 2; None: 1.
      cutoff: how many layers psi applies to; None: all.
      noise: of each layer: random (from the slot's seed), const (as the file stores it) or none;
        None: random.
      truncation: of a BigGAN from pytorch-pretrained-biggan, 0 to 1: of statistics and latents.
      strict_source: refuse an embedded source text of no known release.
      said: of a bare state dict: network=NAME and its arguments, or what cannot be seen in it.

    Raises:
      ConfigError: no such file, not a generator, or an option that it does not take.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    path = Path(target)
    opened = open_network(path, role=role, said=said, strict_source=strict_source)
    where = f"checkpoint {path}"
    shape = opened.facts.get("latent_shape") or getattr(opened.module, "latent_shape", None)
    if shape is None:
        raise ConfigError(
            f"{where} must hold a generator: its {opened.role} is a {opened.network}, which takes "
            "no latents (nor does the file declare a latent_shape)"
        )
    style = _style(opened, where, psi=psi, cutoff=cutoff, truncation=truncation)
    theirs = {
        "latent_shape": shape,
        "num_labels": getattr(opened.module, "num_labels", 0),
        "prior": opened.facts.get("prior"),
        "latent_scale": style.get("truncation"),
    }
    said_here = {"prior": prior, "latent_scale": latent_scale}
    declared = declare(
        where, said_here, theirs, by="the file" if opened.own else "the architecture"
    )
    takes_noise = "noise" in _options_of(opened.module)
    if noise is not None and not takes_noise:
        raise ConfigError(f"{where}: a {opened.network} has no noise to set")
    of_points = getattr(opened.module, "image_shape", None) == (2,)
    return CheckpointGenerator(
        opened,
        declared,
        device=device,
        style=style,
        noise=(noise or "random") if takes_noise else None,
        notes=_defaults(opened, style),
        extent=extent_of(opened.facts.get("extent"), where) if of_points else None,
    )


def _style(opened: Opened, where: str, **asked: Any) -> dict[str, Any]:
    """The options that were asked for, each of which the network must have."""
    known = _options_of(opened.module)
    for name, value in asked.items():
        if value is not None and name not in known:
            raise ConfigError(f"{where}: a {opened.network} has no {name} to set")
    for name, low, high in (("psi", -2, 2), ("truncation", 0, 1)):
        value = asked[name]
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{where}: {name} must be in [{low}, {high}], got {value}")
    if asked["cutoff"] is not None and (asked["cutoff"] < 0 or asked["psi"] is None):
        raise ConfigError(f"{where}: cutoff must be 0 or more layers, and needs a psi")
    return {name: value for name, value in asked.items() if value is not None}


def _options_of(module: nn.Module) -> set[str]:
    parameters = inspect.signature(module.forward).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _defaults(opened: Opened, style: Mapping[str, Any]) -> tuple[str, ...]:
    """What the file's owner shows by default, where this audit shows something else."""
    psi = opened.facts.get("psi")
    if psi is None or psi == 1 or "psi" in style:
        return ()
    cutoff = opened.facts.get("cutoff")
    layers = "" if cutoff is None else f" in the first {cutoff} layers"
    return (
        f"The file truncates with psi {psi:g}{layers} unless told otherwise; this audit does not "
        f"(--set psi={psi:g}{'' if cutoff is None else f' --set cutoff={cutoff}'} does).",
    )
