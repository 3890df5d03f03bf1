"""The first style-based generator (StyleGAN), grown or still growing.

Karras, Laine, Aila (2019), "A Style-Based Generator Architecture for Generative Adversarial
Networks", figure 1b: latents are mapped to styles w (here), of which images are made (see
`stylegan_synthesis`). The rows of the paper's tables that leave parts out can be had. Deviation
from the authors' code: what it calls fused_scale is no argument here; see `pggan`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.growing import (
    HE_GAIN,
    MAX_FMAP_BASE,
    MAX_IMAGE_CHANNELS,
    Growth,
    ScaledLinear,
    feature_maps,
)
from ganaudit.networks.style_layers import (
    MAX_FEATURES,
    MAX_LABELS,
    check_choice,
    check_flag,
    check_number,
    unit_second_moment,
)
from ganaudit.networks.stylegan2 import MAX_SIZE, check_power_of_two
from ganaudit.networks.stylegan_synthesis import Parts, Synthesis, checked_taps

Noise: TypeAlias = Literal["const", "none"] | Sequence[Tensor]

NONLINEARITIES = {"lrelu": 0.2, "relu": 0.0}  # slopes below 0
MAX_MAPPING_LAYERS = 64


class StyleGANGenerator(nn.Module):
    """Latents and labels in, images out.

    Attributes:
      latent_shape: shape of a latent, (latent_size,).
      num_labels: number of classes, 0: unconditional.
      image_shape: (channels, height, width).
      noise_shapes: (height, width) of each noisy layer, in the order in which they run.
    """

    def __init__(
        self,
        *,
        resolution: int,
        num_channels: int,
        label_size: int = 0,
        latent_size: int = 512,
        dlatent_size: int = 512,
        mapping_layers: int = 8,
        mapping_fmaps: int = 512,
        mapping_lrmul: float = 0.01,
        mapping_nonlinearity: str = "lrelu",
        normalize_latents: bool = True,
        fmap_base: float = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        use_styles: bool = True,
        const_input_layer: bool = True,
        use_noise: bool = True,
        nonlinearity: str = "lrelu",
        use_wscale: bool = True,
        use_pixel_norm: bool = False,
        use_instance_norm: bool = True,
        blur_filter: Sequence[float] | None = (1, 2, 1),
        structure: str = "linear",
        lod: float = 0.0,
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          resolution: height and width of an image, pixels: a power of two, 8 to 2048.
          num_channels: 1 (grey), 3 (RGB), up to 16.
          label_size: number of classes, 0 (unconditional) to 100000.
          latent_size: length of a latent, 1 to 16384.
          dlatent_size: length of a style w, 1 to 16384.
          mapping_layers: fully connected layers from latent to w, 0 to 64.
          mapping_fmaps: width between them, 1 to 16384.
          mapping_lrmul: factor on their stored weights and biases, 1e-6 to 100.
          mapping_nonlinearity: "lrelu" or "relu".
          normalize_latents: whether latents, with embedded labels, get a mean square of 1.
          fmap_base: a layer of resolution R has fmap_base / (R / 2) ** fmap_decay features, ...
          fmap_decay: 0 to 8.
          fmap_max: ... but never more than this, 1 to 8192.
          use_styles: whether layers are scaled and shifted by w.
          const_input_layer: whether synthesis begins with a constant; otherwise with w.
          use_noise: whether noise is added in each layer.
          nonlinearity: "lrelu" or "relu".
          use_wscale: whether weights are stored with unit variance.
          use_pixel_norm: whether features of each pixel get a mean square of 1.
          use_instance_norm: whether features get mean 0 and variance 1 in each channel.
          blur_filter: 1 to 64 numbers of sum not 0, applied along rows and columns where the
            size has doubled; None: no filter.
          structure: "fixed" (an image is made of the last layer alone, whatever `lod`) or
            "linear" (of any).
          lod: resolutions, in powers of two, that had not grown yet, 0 to all but 4x4; a
            fraction blends two.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_power_of_two("resolution", resolution, 8, MAX_SIZE)
        self.mapping = _Mapping(
            label_size=label_size,
            latent_size=latent_size,
            dlatent_size=dlatent_size,
            layers=mapping_layers,
            features=mapping_fmaps,
            lr_multiplier=mapping_lrmul,
            nonlinearity=mapping_nonlinearity,
            normalize=check_flag("normalize_latents", normalize_latents),
            use_wscale=check_flag("use_wscale", use_wscale),
        )
        check_number("fmap_base", fmap_base, 1, MAX_FMAP_BASE)
        check_number("fmap_decay", fmap_decay, 0, 8)
        check_size("fmap_max", fmap_max, 1, MAX_FEATURES)
        fixed = check_choice("structure", structure, ("fixed", "linear")) == "fixed"
        growth = Growth(resolution, lod)
        self.synthesis = Synthesis(
            widths=[
                feature_maps(stage, fmap_base, fmap_decay, fmap_max)
                for stage in range(1, resolution.bit_length() - 1)
            ],
            channels=check_size("num_channels", num_channels, 1, MAX_IMAGE_CHANNELS),
            const=check_flag("const_input_layer", const_input_layer),
            growth=Growth(resolution, 0) if fixed else growth,
            last_only=fixed,
            parts=Parts(
                dlatent_size=dlatent_size,
                slope=_slope("nonlinearity", nonlinearity),
                use_wscale=use_wscale,
                use_noise=check_flag("use_noise", use_noise),
                use_styles=check_flag("use_styles", use_styles),
                use_pixel_norm=check_flag("use_pixel_norm", use_pixel_norm),
                use_instance_norm=check_flag("use_instance_norm", use_instance_norm),
                blur=checked_taps(blur_filter),
            ),
        )
        self.latent_shape: tuple[int, ...] = (latent_size,)
        self.num_labels = label_size
        self.image_shape = (num_channels, resolution, resolution)
        self.noise_shapes = tuple(
            (layer.size, layer.size) for layer in self.synthesis.layers() if use_noise
        )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
    ) -> Tensor:
        """Images [N, C, H, W] float32, nominally in [-1, 1], not clamped.

        Args:
          latents: [N, latent_size] float32, standard normal.
          labels: [N] int64, classes from 0; None if and only if there are none.
          psi: truncation of w towards its average, 1: none, 0: all.
          cutoff: number of first layers whose w is truncated, None: all of them. (Unlike the
            authors' code, where a missing cutoff means no truncation.)
          noise: "const" for the noise that the checkpoint holds, "none", or a standard normal
            [N, 1, *shape] for each of `noise_shapes`.

        Raises:
          ValueError: labels missing or unasked for, wrong shapes, or a negative cutoff.
        """
        given = self._noise(noise, len(latents))
        styles = self.mapping(latents, labels)  # [N, dlatent_size]
        styles = self.mapping.truncated(styles, self.synthesis.num_styles, psi, cutoff)
        images: Tensor = self.synthesis(styles, given)
        return images

    def _noise(self, noise: Noise, count: int) -> Sequence[Tensor | None]:
        layers = self.synthesis.layers()
        if not self.noise_shapes or noise == "none":
            return [None] * len(layers)
        if noise == "const":
            return [layer.noise_const for layer in layers]
        wanted = [(count, 1, *shape) for shape in self.noise_shapes]
        if isinstance(noise, str) or [tuple(each.shape) for each in noise] != wanted:
            raise ValueError(
                'noise must be "const", "none" or a tensor [N, 1, H, W] for each of the '
                f"{len(wanted)} noisy layers"
            )
        return noise


class _Mapping(nn.Module):
    """Latents and labels to styles w, with the average that truncation moves towards."""

    w_avg: Tensor

    def __init__(
        self,
        *,
        label_size: int,
        latent_size: int,
        dlatent_size: int,
        layers: int,
        features: int,
        lr_multiplier: float,
        nonlinearity: str,
        normalize: bool,
        use_wscale: bool,
    ) -> None:
        super().__init__()
        check_size("latent_size", latent_size, 1, MAX_FEATURES)
        check_size("dlatent_size", dlatent_size, 1, MAX_FEATURES)
        check_size("mapping_fmaps", features, 1, MAX_FEATURES)
        check_size("mapping_layers", layers, 0, MAX_MAPPING_LAYERS)
        self.bias_scale = check_number("mapping_lrmul", lr_multiplier, 1e-6, 100)
        self.slope = _slope("mapping_nonlinearity", nonlinearity)
        self.latent_size, self.normalize, self.layers = latent_size, normalize, layers
        self.label_size = check_size("label_size", label_size, 0, MAX_LABELS)
        if label_size:
            self.embed = nn.Parameter(torch.randn(label_size, latent_size))
        first = latent_size * (2 if label_size else 1)
        widths = [first, *[features] * (layers - 1), *[dlatent_size] * (layers > 0)]
        if widths[-1] != dlatent_size:
            raise ValueError(
                "without mapping_layers, latents and embedded labels must have dlatent_size = "
                f"{dlatent_size} values, got {widths[-1]}"
            )
        for index in range(layers):
            layer = ScaledLinear(
                widths[index],
                widths[index + 1],
                gain=HE_GAIN,
                use_wscale=use_wscale,
                lr_multiplier=lr_multiplier,
            )
            self.add_module(f"fc{index}", layer)
            bias = nn.Parameter(torch.zeros(widths[index + 1]))
            self.register_parameter(f"bias{index}", bias)
        self.register_buffer("w_avg", torch.zeros(dlatent_size))

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if latents.ndim != 2 or latents.shape[1] != self.latent_size:
            raise ValueError(f"latents must be [N, {self.latent_size}], got {list(latents.shape)}")
        if (labels is None) != (self.label_size == 0):
            raise ValueError(f"this network takes labels of {self.label_size} classes (0: none)")
        styles = latents if labels is None else torch.cat([latents, self.embed[labels]], dim=1)
        if self.normalize:
            styles = unit_second_moment(styles)
        for index in range(self.layers):
            bias = self.get_parameter(f"bias{index}") * self.bias_scale
            styles = F.leaky_relu(self.get_submodule(f"fc{index}")(styles) + bias, self.slope)
        return styles

    def truncated(self, styles: Tensor, layers: int, psi: float, cutoff: int | None) -> Tensor:
        """Styles [N, dlatent_size] for each of `layers` layers: [N, layers, dlatent_size].

        Truncation (appendix B of the paper): w_avg + psi * (w - w_avg) in the first `cutoff`.
        """
        if cutoff is not None and cutoff < 0:
            raise ValueError(f"cutoff must be at least 0, got {cutoff}")
        repeated = styles[:, None].expand(-1, layers, -1)
        if psi == 1:
            return repeated
        truncated = self.w_avg.lerp(repeated, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], repeated[:, cutoff:]], dim=1)


def _slope(name: str, nonlinearity: object) -> float:
    return NONLINEARITIES[check_choice(name, nonlinearity, NONLINEARITIES)]
