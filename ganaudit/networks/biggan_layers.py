"""What BigGAN and BigGAN-deep have in common: normalisation by class, attention, their recipe.

Brock, Donahue, Simonyan (2019), appendix B, in the form of the public BigGAN-PyTorch, whose names
of tensors and arguments are kept. All of it is the evaluation mode: statistics are the stored ones.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganaudit.networks import check_size
from ganaudit.networks.spectral import SpectralConv2d, SpectralLinear

OUTPUT_EPS = 1e-5  # of the last normalisation, which BN_eps does not reach
MAX_SINGULAR_VECTORS = 16

_PARAMS, _NORMS, _GAINS = ("SN", "None"), ("bn", "in", "nonorm"), ("multiplied", "added")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How layers are made, beyond their sizes; the arguments of a BigGAN that say so.

    Attributes:
      G_param: "SN": weights are divided by their largest singular value; "None": they are not.
      num_G_SVs: singular vectors that a layer stores, 1 to 16; the first alone has an effect.
      SN_eps: of `walked_sigma`, above 0: it matters to a weight of about that size alone.
      cross_replica: statistics are those of a synchronised batch normalisation.
      mybn: statistics are those of BigGAN-PyTorch's own one; without effect if cross_replica.
      norm_style: without the two: "bn" and "in", equal in evaluation mode, or "nonorm": classes
        scale and shift what nothing has normalised.
      BN_eps: added to a variance, above 0; the last normalisation has its own, 1e-5.
      accumulate_standing: of mybn: the statistics are sums of as many as a counter says.
      sync_gain: of cross_replica: how the gain is applied. "multiplied" is what a network
        learned on several devices at once; "added" is what BigGAN-PyTorch does on one device
        and in evaluation mode.
    """

    G_param: str = "SN"
    num_G_SVs: int = 1
    SN_eps: float = 1e-8
    cross_replica: bool = False
    mybn: bool = False
    norm_style: str = "bn"
    BN_eps: float = 1e-5
    accumulate_standing: bool = False
    sync_gain: str = "multiplied"

    def __post_init__(self) -> None:
        for name, choices in (("G_param", _PARAMS), ("norm_style", _NORMS), ("sync_gain", _GAINS)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r:.80}"
                )
        check_size("num_G_SVs", self.num_G_SVs, 1, MAX_SINGULAR_VECTORS)
        for name in ("cross_replica", "mybn", "accumulate_standing"):
            check_bool(name, getattr(self, name))
        for name in ("SN_eps", "BN_eps"):
            check_eps(name, getattr(self, name))

    def conv(self, inputs: int, outputs: int, size: int, *, bias: bool = True) -> nn.Module:
        """A convolution that keeps the size of its images."""
        if self.G_param == "None":
            return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
        return SpectralConv2d(
            inputs, outputs, size, bias=bias, vectors=self.num_G_SVs, eps=self.SN_eps
        )

    def linear(self, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
        """A linear map."""
        if self.G_param == "None":
            return nn.Linear(inputs, outputs, bias=bias)
        return SpectralLinear(inputs, outputs, bias=bias, vectors=self.num_G_SVs, eps=self.SN_eps)


class Norm(nn.Module):
    """Channels brought to mean 0 and variance 1, by the statistics that a recipe stores."""

    def __init__(self, channels: int, recipe: Recipe, *, eps: float, norm_style: str) -> None:
        """Makes the buffers: in `bn` if cross_replica or mybn, else here, or none ("nonorm")."""
        super().__init__()
        self.eps, self.recipe = eps, recipe
        self.prefix = "bn.stored" if recipe.mybn else "stored"
        if recipe.cross_replica:
            self.prefix = "bn.running"
            self.bn = _Buffers(channels, "running", "num_batches_tracked", torch.tensor(0))
        elif recipe.mybn:
            self.bn = _Buffers(channels, "stored", "accumulation_counter", torch.zeros(1))
        elif norm_style == "nonorm":
            self.prefix = ""
        else:
            _add_statistics(self, channels, "stored")

    def rescaled(self, images: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """Normalised [N, C, H, W] with a gain and a bias, each [N, C] or [1, C]."""
        gain, bias = gain[:, :, None, None], bias[:, :, None, None]
        images = self._normalised(images)
        if self.recipe.cross_replica and self.recipe.sync_gain == "added":
            return images + gain + bias
        return images * gain + bias

    def _normalised(self, images: Tensor) -> Tensor:
        if not self.prefix:
            return images
        mean = self.get_buffer(f"{self.prefix}_mean")
        variance = self.get_buffer(f"{self.prefix}_var")
        if self.prefix == "bn.stored" and self.recipe.accumulate_standing:
            counter = self.get_buffer("bn.accumulation_counter")
            mean, variance = mean / counter, variance / counter
        return functional.batch_norm(images, mean, variance, eps=self.eps)


class ClassNorm(Norm):
    """Normalisation whose gain and bias come from the class, and from a part of the latent."""

    gain: nn.Module
    bias: nn.Module

    def __init__(self, channels: int, condition: int, recipe: Recipe, *, embedded: bool) -> None:
        """Makes the layer, randomly initialised.

        Args:
          channels: C.
          condition: K, length of a condition; of class numbers: how many there are.
          recipe: how its parts are made.
          embedded: conditions are vectors float32 [N, K], not class numbers int64 [N].
        """
        super().__init__(channels, recipe, eps=recipe.BN_eps, norm_style=recipe.norm_style)
        for name in ("gain", "bias"):
            layer = (
                recipe.linear(condition, channels, bias=False)
                if embedded
                else nn.Embedding(condition, channels)
            )
            self.add_module(name, layer)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Normalised [N, C, H, W], scaled by 1 + gain and shifted by bias."""
        return self.rescaled(images, 1 + self.gain(condition), self.bias(condition))


class PlainNorm(Norm):
    """Normalisation with one gain and bias for every image; it always has statistics."""

    def __init__(self, channels: int, recipe: Recipe) -> None:
        """Makes the layer, as the identity."""
        super().__init__(channels, recipe, eps=OUTPUT_EPS, norm_style="bn")
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised [N, C, H, W], scaled by gain and shifted by bias."""
        return self.rescaled(images, self.gain[None], self.bias[None])


class Attention(nn.Module):
    """Every place of an image looks at all others: Zhang et al. (2019), as BigGAN has it."""

    def __init__(self, channels: int, recipe: Recipe) -> None:
        """Makes the layer, randomly initialised, without effect until gamma is learned.

        Raises:
          ValueError: fewer than 8 channels.
        """
        super().__init__()
        check_attended(channels)
        self.theta = recipe.conv(channels, channels // 8, 1, bias=False)
        self.phi = recipe.conv(channels, channels // 8, 1, bias=False)
        self.g = recipe.conv(channels, channels // 2, 1, bias=False)
        self.o = recipe.conv(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] float32, H and W even, plus gamma times what they attend to."""
        seen = attend(self.theta(images), self.phi(images), self.g(images))
        images = images + self.gamma * self.o(seen)
        return images


class Stage(nn.ModuleList):
    """A block and, where there is one, the attention after it."""

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """[N, inputs, H, W] to what the block makes of them, attended to."""
        block, *attention = self
        images = block(images, condition)
        for layer in attention:
            images = layer(images)
        return images


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """For each place, a mean of the values, weighted by how well keys match its query.

    Weights are a softmax of the inner products (not divided by a root of K). Keys and values are
    first halved in size, by the maximum of 2 x 2 places.

    Args:
      queries: [N, K, H, W] float32, H and W even.
      keys: [N, K, H, W].
      values: [N, V, H, W].

    Returns:
      [N, V, H, W] float32.
    """
    keys = functional.max_pool2d(keys, 2).flatten(2)  # [N, K, HW/4]
    coarse = functional.max_pool2d(values, 2).flatten(2)  # [N, V, HW/4]
    weights = (queries.flatten(2).transpose(1, 2) @ keys).softmax(dim=-1)  # [N, HW, HW/4]
    return (coarse @ weights.transpose(1, 2)).view(values.shape)


def check_attended(channels: int) -> None:
    """Refuses attention over too few channels: an eighth of them is compared.

    Raises:
      ValueError: fewer than 8.
    """
    if channels < 8:
        raise ValueError(f"attention must have at least 8 channels, got {channels}")


def check_quartered(channels: int) -> None:
    """Refuses a block of BigGAN-deep with too few channels: a quarter of them is convolved.

    Raises:
      ValueError: fewer than 4.
    """
    if channels < 4:
        raise ValueError(f"a block must have at least 4 channels, got {channels}")


def check_bool(name: str, value: object) -> None:
    """Refuses what is not true or false.

    Raises:
      ValueError: it is not; the message names `name`.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r:.80}")


def check_eps(name: str, value: object) -> None:
    """Refuses what cannot be added to a variance: it must lie in (0, 1].

    Raises:
      ValueError: it does not; the message names `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{name} must be a number in (0, 1], got {value!r:.80}")


def attended_resolutions(name: str, text: object) -> set[int]:
    """The resolutions in an argument such as "32_64" or 64; "0" says none.

    Raises:
      ValueError: no such text.
    """
    text = str(text) if type(text) is int and 0 <= text < 2**16 else text
    parts = text.split("_") if isinstance(text, str) and len(text) <= 64 else [""]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ValueError(f'{name} must be resolutions such as "64" or "32_64", got {text!r:.80}')
    return {int(part) for part in parts}


def class_numbers(labels: Tensor | None, latents: Tensor, n_classes: int) -> Tensor:
    """Class numbers int64 [N] as given, or zeros where there is one class only.

    Raises:
      ValueError: no labels though there are several classes.
    """
    if labels is not None:
        return labels
    if n_classes > 1:
        raise ValueError(f"labels must be given: the network has {n_classes} classes")
    return torch.zeros(latents.shape[0], dtype=torch.int64, device=latents.device)


class _Buffers(nn.Module):
    """Statistics under a name of their own, with a counter."""

    def __init__(self, channels: int, prefix: str, counter: str, start: Tensor) -> None:
        super().__init__()
        _add_statistics(self, channels, prefix)
        self.register_buffer(counter, start)


def _add_statistics(module: nn.Module, channels: int, prefix: str) -> None:
    module.register_buffer(f"{prefix}_mean", torch.zeros(channels))
    module.register_buffer(f"{prefix}_var", torch.ones(channels))
