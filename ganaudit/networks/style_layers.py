"""Layers that StyleGAN's networks share: equalised weights, resampling convolutions, mapping.

Equalised learning rate (Karras et al. 2018, section 4.1): weights are stored with unit variance
and scaled by 1 / sqrt(fan in) whenever they are used, so the stored values are not the effective
ones. The names of parameters and buffers are those of NVIDIA's checkpoints.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganaudit.networks import check_size
from ganaudit.networks.resampling import upfirdn

Taps: TypeAlias = Sequence[float] | Sequence[Sequence[float]]

MAX_TAPS = 64
MAX_FEATURES = 16384
MAX_LABELS = 100_000

# Each with the gain that keeps the variance of what it is given, roughly.
ACTIVATIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "linear": (lambda x: x, 1.0),
    "relu": (F.relu, math.sqrt(2)),
    "lrelu": (lambda x: F.leaky_relu(x, 0.2), math.sqrt(2)),
    "tanh": (torch.tanh, 1.0),
    "sigmoid": (torch.sigmoid, 1.0),
    "elu": (F.elu, 1.0),
    "selu": (F.selu, 1.0),
    "softplus": (F.softplus, 1.0),
    "swish": (F.silu, math.sqrt(2)),
}


def activate(features: Tensor, activation: str, gain: float, clamp: float | None) -> Tensor:
    """Features [N, ...] through a named activation, times its own gain times `gain`, clamped.

    The clamp is at +-`clamp` * `gain`; None: not clamped.
    """
    function, own_gain = ACTIVATIONS[activation]
    features = function(features)
    if own_gain * gain != 1:
        features = features * (own_gain * gain)
    return features if clamp is None else features.clamp(-clamp * gain, clamp * gain)


def unit_second_moment(features: Tensor) -> Tensor:
    """Rows of [N, F] scaled so that their mean square is 1, rows of zeros but for epsilon."""
    return features * (features.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def in_full(device: torch.device, exact: bool) -> AbstractContextManager[object]:
    """Within it, mixed precision is off if `exact`; else it is what it was."""
    return torch.autocast(device.type, enabled=False) if exact else nullcontext()


def exactly(features: Tensor) -> Tensor:
    """The features in 32 bits, if they are in fewer."""
    return features.float() if features.dtype.itemsize < 4 else features


def halves(size: int, of: int) -> bool:
    """Whether a layer of `size` pixels may compute in 16 bits: the four largest of a network."""
    return size >= max(of >> 3, 8)


def is_mixed(device: torch.device) -> bool:
    """Whether convolutions compute in 16 bits here."""
    return torch.is_autocast_enabled(device.type)


class EqualizedLinear(nn.Module):
    """A fully connected layer with equalised weights and, optionally, a slower learning rate."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        """Makes the layer; `bias` is the initial value of every bias.

        Weights and biases take effect times `lr_multiplier`.
        """
        super().__init__()
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias)))

    def forward(self, features: Tensor) -> Tensor:
        """[N, outputs] for features [N, inputs]."""
        weight, bias = self.weight * self.weight_gain, self.bias * self.bias_gain
        return activate(F.linear(features, weight, bias), self.activation, 1.0, None)


class EqualizedConv(nn.Module):
    """A convolution with equalised weights that may also halve or double the size."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        resample_filter: Taps | None = (1, 3, 3, 1),
        bias: bool = True,
        activation: str = "linear",
        up: int = 1,
        down: int = 1,
        clamp: float | None = None,
    ) -> None:
        """Makes the layer with `size` x `size` kernels; `clamp` bounds what it returns."""
        super().__init__()
        self.activation, self.up, self.down, self.clamp = activation, up, down, clamp
        self.weight_gain = 1 / math.sqrt(inputs * size**2)
        self.register_buffer("resample_filter", low_pass(resample_filter))
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, features: Tensor, gain: float = 1.0) -> Tensor:
        """[N, outputs, H', W'] for features [N, inputs, H, W], times `gain`."""
        weight = self.weight * self.weight_gain
        features = convolve(features, weight, self.resample_filter, up=self.up, down=self.down)
        if self.bias is not None:
            features = features + self.bias[:, None, None]
        return activate(features, self.activation, gain, self.clamp)


class StyleMapping(nn.Module):
    """Latents and labels to styles w, with the running average that truncation moves towards."""

    w_avg: Tensor

    def __init__(
        self,
        *,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_layers: int,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
        lr_multiplier: float = 0.01,
        average: bool = True,
    ) -> None:
        """Makes the layers, randomly initialised.

        Args:
          z_dim: length of a latent; 0: labels alone are mapped.
          c_dim: number of classes; 0: no labels.
          w_dim: length of a style.
          num_layers: fully connected layers, 0 to 64.
          embed_features: length of a label's embedding, None: w_dim.
          layer_features: width between the layers, None: w_dim.
          activation: a key of `ACTIVATIONS`, of every layer.
          lr_multiplier: factor on stored weights and biases, above 0 to 100.
          average: whether a running average of w is kept.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        self.z_dim = check_size("z_dim", z_dim, 0, MAX_FEATURES)
        self.c_dim = check_size("c_dim", c_dim, 0, MAX_LABELS)
        check_size("w_dim", w_dim, 1, MAX_FEATURES)
        check_size("mapping_num_layers", num_layers, 0, 64)
        check_choice("mapping_activation", activation, ACTIVATIONS)
        check_number("mapping_lr_multiplier", lr_multiplier, 1e-6, 100)
        embedded = check_size("mapping_embed_features", _or(embed_features, w_dim), 1, MAX_FEATURES)
        width = check_size("mapping_layer_features", _or(layer_features, w_dim), 1, MAX_FEATURES)
        if c_dim > 0:
            self.embed = EqualizedLinear(c_dim, embedded)
        first = z_dim + (embedded if c_dim > 0 else 0)
        widths = [first, *[width] * (num_layers - 1), *[w_dim] * (num_layers > 0)]
        if widths[-1] != w_dim:
            raise ValueError(
                f"without mapping layers, latents and embedded labels must have "
                f"w_dim = {w_dim} values, got {widths[-1]}"
            )
        for index in range(num_layers):
            layer = EqualizedLinear(
                widths[index],
                widths[index + 1],
                activation=activation,
                lr_multiplier=lr_multiplier,
            )
            self.add_module(f"fc{index}", layer)
        self.num_layers, self.average = num_layers, average
        if average:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, latents: Tensor | None, labels: Tensor | None) -> Tensor:
        """Styles [N, w_dim] for latents [N, z_dim] float32 and labels [N] int64.

        Either is None where the network has none. Labels may be rows [N, c_dim] float32, too: of a
        mixed image, the share of each class.

        Raises:
          ValueError: latents or labels are missing, unasked for, or of a wrong shape.
        """
        parts = []
        if (latents is None) != (self.z_dim == 0) or (labels is None) != (self.c_dim == 0):
            raise ValueError(
                f"this network takes latents of length {self.z_dim} and labels of "
                f"{self.c_dim} classes (0: none)"
            )
        if latents is not None:
            if latents.ndim != 2 or latents.shape[1] != self.z_dim:
                raise ValueError(f"latents must be [N, {self.z_dim}], got {list(latents.shape)}")
            parts.append(unit_second_moment(latents))
        if labels is not None:
            rows = F.one_hot(labels, self.c_dim) if labels.ndim == 1 else labels
            parts.append(unit_second_moment(self.embed(rows.to(self.embed.weight.dtype))))
        styles = torch.cat(parts, dim=1)
        for index in range(self.num_layers):
            styles = self.get_submodule(f"fc{index}")(styles)
        return styles

    def broadcast(self, styles: Tensor, layers: int, *, psi: float, cutoff: int | None) -> Tensor:
        """Styles [N, w_dim] for each of `layers` layers, truncated: [N, layers, w_dim].

        Truncation (Karras et al. 2019, appendix B): w_avg + psi * (w - w_avg) in the first
        `cutoff` layers, all for None; psi 1 changes nothing.

        Raises:
          ValueError: truncation without a running average, or a negative cutoff.
        """
        repeated = styles[:, None].expand(-1, layers, -1)
        if cutoff is not None and cutoff < 0:
            raise ValueError(f"cutoff must be at least 0, got {cutoff}")
        if psi == 1:
            return repeated
        if not self.average:
            raise ValueError("this network keeps no average style, so psi must be 1")
        truncated = self.w_avg.lerp(repeated, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], repeated[:, cutoff:]], dim=1)


def low_pass(taps: Taps | None) -> Tensor:
    """The resampling filter as StyleGAN2 stores it, summing to 1; None: a single tap.

    Fewer than 8 taps become the two-dimensional outer product, [T, T]; more stay [T] and
    are applied to rows and columns in turn.

    Raises:
      ValueError: not 1 to 64 finite numbers (or as many equal rows of such) of sum not 0.
    """
    rows = [[1.0]] if taps is None else taps
    if not _are_taps(rows):
        raise ValueError(
            f"resample_filter must be 1 to {MAX_TAPS} finite numbers, or as many equal rows of "
            "such, of sum not 0"
        )
    kernel = torch.tensor(rows, dtype=torch.float32)
    if kernel.ndim == 1 and len(kernel) < 8:
        kernel = torch.outer(kernel, kernel)
    return kernel / kernel.sum()


def convolve(
    features: Tensor, weight: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1
) -> Tensor:
    """A convolution that keeps the size, doubles it or halves it, low-pass filtered by `kernel`.

    Args:
      features: [N, I, H, W] float.
      weight: [O, I, size, size] of odd size, as torch.nn.functional.conv2d takes it; where `up`
        is 2, turned around (StyleGAN2 stores it so).
      kernel: a filter from `low_pass`.
      up: 1 or 2.
      down: 1 or 2.

    Returns:
      [N, O, H * up / down, W * up / down].
    """
    size = weight.shape[-1]
    if up == 1 and down == 1:
        return F.conv2d(features, weight, padding=size // 2)
    if up > 1:
        if size == 1:  # cheaper in this order, and the same
            return upsample(F.conv2d(features, weight), kernel)
        features = F.conv_transpose2d(features, weight.transpose(0, 1), stride=up)
        padding = resize_padding(kernel, up=up, extra=(size // 2 - size + 1, size // 2 - size + up))
        return upfirdn(features, kernel, padding=padding, gain=up**2)
    padding = resize_padding(kernel, down=down, extra=(size // 2, size // 2))
    if size == 1:
        return F.conv2d(upfirdn(features, kernel, down=down, padding=padding), weight)
    return F.conv2d(upfirdn(features, kernel, padding=padding), weight, stride=down)


def upsample(images: Tensor, kernel: Tensor) -> Tensor:
    """Images [N, C, H, W] at twice the size."""
    return upfirdn(images, kernel, up=2, padding=resize_padding(kernel, up=2), gain=4.0)


def downsample(images: Tensor, kernel: Tensor) -> Tensor:
    """Images [N, C, H, W] at half the size."""
    return upfirdn(images, kernel, down=2, padding=resize_padding(kernel, down=2))


def resize_padding(
    kernel: Tensor, *, up: int = 1, down: int = 1, extra: tuple[int, int] = (0, 0)
) -> tuple[int, int, int, int]:
    """What `upfirdn` must pad so that sizes change by exactly `up` or 1 / `down`."""
    padding = []
    for taps in (kernel.shape[-1], kernel.shape[0]):
        if up > 1:
            before, after = (taps + up - 1) // 2, (taps - up) // 2
        else:
            before, after = (taps - down + 1) // 2, (taps - down) // 2
        padding += [before + extra[0], after + extra[1]]
    left, right, top, bottom = padding
    return left, right, top, bottom


def check_choice(name: str, choice: object, known: Mapping[str, object] | Sequence[str]) -> str:
    """`choice` itself, if it is one of `known`.

    Raises:
      ValueError: anything else; the message names what there is.
    """
    if not isinstance(choice, str) or choice not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {choice!r:.80}")
    return choice


def check_number(name: str, number: object, low: float, high: float) -> float:
    """`number` itself, if it is a number (not a bool) in [low, high].

    Raises:
      ValueError: anything else; the message names `name`, the bounds and what came.
    """
    if not _is_finite(number) or not low <= number <= high:  # type: ignore[operator]
        huge = type(number) is int and not _is_finite(number)
        came = "more" if huge else f"{number!r:.80}"
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], got {came}")
    return number  # type: ignore[return-value]


def check_flag(name: str, flag: object) -> bool:
    """`flag` itself, if it is True or False.

    Raises:
      ValueError: anything else.
    """
    if not isinstance(flag, bool):
        raise ValueError(f"{name} must be true or false, got {flag!r:.80}")
    return flag


def _is_finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return abs(number) < 1e9  # false for NaN and for integers too long for a float


def _are_taps(rows: object) -> bool:
    if not isinstance(rows, list | tuple) or not 0 < len(rows) <= MAX_TAPS:
        return False
    if not isinstance(rows[0], list | tuple):
        return all(_is_finite(tap) for tap in rows) and sum(rows) != 0
    equal = all(isinstance(row, list | tuple) and len(row) == len(rows[0]) for row in rows)
    if not equal or not 0 < len(rows[0]) <= MAX_TAPS:
        return False
    return all(_is_finite(tap) for row in rows for tap in row) and sum(map(sum, rows)) != 0


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
