"""Layers of PGGAN and StyleGAN, written out pixel by pixel: float64 [C, H, W], one image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def same_conv(image: F64, kernels: F64) -> F64:
    """[O, H, W] of [C, H, W] and [O, C, k, k]: each output weighs what lies around it."""
    channels, height, width = image.shape
    reach = kernels.shape[2] // 2
    made = np.zeros((len(kernels), height, width))
    for o, c, y, x in np.ndindex(len(kernels), channels, height, width):
        for i, j in np.ndindex(*kernels.shape[2:]):
            row, column = y + i - reach, x + j - reach
            if 0 <= row < height and 0 <= column < width:
                made[o, y, x] += kernels[o, c, i, j] * image[c, row, column]
    return made


def doubled(image: F64, times: int = 1) -> F64:
    """Every pixel repeated in 2 x 2, `times` times."""
    for _ in range(times):
        image = image.repeat(2, axis=1).repeat(2, axis=2)
    return image


def pixel_norm(features: F64, epsilon: float = 1e-8) -> F64:
    """Vectors along the first axis with a mean square of 1."""
    made = np.empty_like(features)
    for at in np.ndindex(features.shape[1:]):
        vector = features[:, *at]
        made[:, *at] = vector / math.sqrt(sum(vector**2) / len(vector) + epsilon)
    return made


def instance_norm(features: F64) -> F64:
    """Each channel with mean 0 and variance 1."""
    made = np.empty_like(features)
    for c, channel in enumerate(features):
        made[c] = (channel - channel.mean()) / math.sqrt(channel.var() + 1e-8)
    return made


def leaky(features: F64, slope: float) -> F64:
    """Negative numbers times `slope`."""
    return np.where(features < 0, features * slope, features)


def blur(features: F64, taps: Sequence[float]) -> F64:
    """Each pixel the weighted mean of those around it, in both directions; zeros outside."""
    weights = np.array(taps) / sum(taps)
    before = (len(taps) - 1) // 2
    made = np.zeros_like(features)
    _, height, width = features.shape
    for y, x in np.ndindex(height, width):
        for (i, a), (j, b) in ((p, q) for p in enumerate(weights) for q in enumerate(weights)):
            row, column = y + i - before, x + j - before
            if 0 <= row < height and 0 <= column < width:
                made[:, y, x] += a * b * features[:, row, column]
    return made


def grown(images: Mapping[int, F64], resolution: int, lod: float) -> F64:
    """The authors' "linear" structure: images of every resolution, each blended into the next."""
    shown = images[4]
    for size in (8 << i for i in range(resolution.bit_length() - 4 + 1)):
        level = (resolution // size).bit_length() - 1
        share = min(max(lod - level, 0.0), 1.0)
        shown = images[size] + (doubled(shown) - images[size]) * share
    return shown


def he(weights: F64, gain: float, scaled: bool) -> F64:
    """Weights as they take effect, of [outputs, inputs, ...]."""
    return weights * (gain / math.sqrt(weights[0].size) if scaled else 1)


def pggan(
    tensors: Mapping[str, F64],
    latent: F64,
    label: F64,
    *,
    resolution: int,
    lod: float = 0.0,
    scaled: bool = True,
    normalize: bool = True,
    epsilon: float | None = 1e-8,
    slope: float = 0.2,
) -> F64:
    """The image [C, H, W] of one latent and one-hot label."""

    def finished(features: F64, bias: F64) -> F64:
        features = leaky(features + bias[:, None, None], slope)
        return features if epsilon is None else pixel_norm(features, epsilon)

    root = math.sqrt(2)
    x = np.concatenate([latent, label])
    x = pixel_norm(x, 1e-8 if epsilon is None else epsilon) if normalize else x
    images = {}
    for size in (4 << i for i in range(resolution.bit_length() - 2)):
        first, second = (tensors[f"b{size}.layer{i}.weight"] for i in (0, 1))
        if size == 4:
            x = (he(first, root / 4, scaled) @ x).reshape(-1, 4, 4)
        else:
            x = same_conv(doubled(x), he(first, root, scaled))
        x = finished(x, tensors[f"b{size}.bias0"])
        x = finished(same_conv(x, he(second, root, scaled)), tensors[f"b{size}.bias1"])
        rgb = same_conv(x, he(tensors[f"torgb{size}.conv.weight"], 1, scaled))
        images[size] = rgb + tensors[f"torgb{size}.bias"][:, None, None]
    return grown(images, resolution, lod)


def stylegan(
    tensors: Mapping[str, F64],
    latent: F64,
    label: int | None,
    *,
    resolution: int,
    lod: float = 0.0,
    psi: float = 1.0,
    cutoff: int = 99,
    noise: Sequence[F64] | None = None,
    options: Mapping[str, Any],
) -> F64:
    """The image [C, H, W] of one latent and label; `noise`: None for the one that is stored."""
    scaled = options.get("use_wscale", True)
    rate = options.get("mapping_lrmul", 0.01)
    slopes = {"lrelu": 0.2, "relu": 0.0}
    w = latent if label is None else np.concatenate([latent, tensors["mapping.embed"][label]])
    w = pixel_norm(w) if options.get("normalize_latents", True) else w
    for i in range(options["mapping_layers"]):
        weights = he(tensors[f"mapping.fc{i}.weight"], math.sqrt(2), scaled)
        w = weights * rate @ w + tensors[f"mapping.bias{i}"] * rate
        w = leaky(w, slopes[options.get("mapping_nonlinearity", "lrelu")])
    average = tensors["mapping.w_avg"]
    slope = slopes[options.get("nonlinearity", "lrelu")]
    styled = options.get("use_styles", True)

    def style(index: int) -> F64:
        return average + (w - average) * psi if index < cutoff else w

    def layer(x: F64, name: str, index: int) -> F64:
        if f"{name}.noise_const" in tensors:
            drawn = tensors[f"{name}.noise_const"] if noise is None else noise[index]
            x = x + drawn * tensors[f"{name}.noise_strength"][:, None, None]
        x = leaky(x + tensors[f"{name}.bias"][:, None, None], slope)
        x = pixel_norm(x) if options.get("use_pixel_norm", False) else x
        x = instance_norm(x) if options.get("use_instance_norm", True) else x
        if styled:
            both = he(tensors[f"{name}.style.weight"], 1, scaled) @ style(index)
            both = (both + tensors[f"{name}.style_bias"]).reshape(2, -1, 1, 1)
            x = x * (both[0] + 1) + both[1]
        return x

    root = math.sqrt(2)
    if options.get("const_input_layer", True):
        x = tensors["synthesis.const"]
    else:
        x = (he(tensors["synthesis.dense.weight"], root / 4, scaled) @ style(0)).reshape(-1, 4, 4)
    images = {}
    for i, size in enumerate(4 << i for i in range(resolution.bit_length() - 2)):
        name = f"synthesis.b{size}_"
        if size > 4:
            x = same_conv(doubled(x), he(tensors[f"{name}0.conv.weight"], root, scaled))
            taps = options.get("blur_filter", [1, 2, 1])
            x = x if taps is None else blur(x, taps)
        x = layer(x, f"{name}0", 2 * i)
        x = same_conv(x, he(tensors[f"{name}1.conv.weight"], root, scaled))
        x = layer(x, f"{name}1", 2 * i + 1)
        if f"synthesis.torgb{size}.bias" in tensors:
            rgb = same_conv(x, he(tensors[f"synthesis.torgb{size}.conv.weight"], 1, scaled))
            images[size] = rgb + tensors[f"synthesis.torgb{size}.bias"][:, None, None]
    return images[resolution] if len(images) == 1 else grown(images, resolution, lod)
