"""Layers whose weight is divided by an estimate of its largest singular value.

Miyato, Kataoka, Koyama, Yoshida (2018), algorithm 1: u and v approach the singular vectors by
power iteration, and sigma = u^T W v. Here nothing is learned, so u stays as the file has it. The
two public BigGANs differ in what they do then, and so do the images where u has not converged:

- BigGAN-PyTorch stores u alone and walks one step from it: `SpectralConv2d`, `SpectralLinear`.
- torch's spectral_norm, of pytorch-pretrained-biggan, stores u and v and walks no step: `Stored`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def walked_sigma(weight: Tensor, u: Tensor, *, eps: float) -> Tensor:
    """Largest singular value of a weight, as estimated one step of power iteration from u.

    Args:
      weight: [R, ...] float32, taken as a matrix of R rows.
      u: [1, R] float32, any length but zero.
      eps: lower bound of the lengths that vectors are divided by.

    Returns:
      [] float32. Gradients reach `weight` as if the singular vectors were constants.
    """
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = functional.normalize(u @ matrix, eps=eps)  # [1, the other sizes multiplied]
        u = functional.normalize(v @ matrix.t(), eps=eps)  # [1, R]
    return (v @ matrix.t() @ u.t()).squeeze()


class SpectralConv2d(nn.Conv2d):
    """A convolution that keeps the size of its images, the weight divided by `walked_sigma`.

    Its buffers are u0, sv0, u1, sv1, ... as BigGAN-PyTorch names them; u0 alone has an effect.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, *, bias: bool, vectors: int, eps: float
    ) -> None:
        """Makes the layer, randomly initialised.

        Args:
          inputs: channels in.
          outputs: channels out.
          size: height and width of the kernel, odd.
          bias: whether it has one.
          vectors: how many pairs of buffers it has, at least 1.
          eps: of `walked_sigma`.
        """
        super().__init__(inputs, outputs, size, padding=size // 2, bias=bias)
        self.eps = eps
        _add_vectors(self, outputs, vectors)

    def forward(self, images: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H, W] float32."""
        sigma = walked_sigma(self.weight, self.get_buffer("u0"), eps=self.eps)
        return functional.conv2d(images, self.weight / sigma, self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """A linear map, the weight divided by `walked_sigma`. Buffers as in `SpectralConv2d`."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, vectors: int, eps: float) -> None:
        """Makes the layer, randomly initialised; the arguments are `SpectralConv2d`'s."""
        super().__init__(inputs, outputs, bias=bias)
        self.eps = eps
        _add_vectors(self, outputs, vectors)

    def forward(self, values: Tensor) -> Tensor:
        """[N, inputs] to [N, outputs] float32."""
        sigma = walked_sigma(self.weight, self.get_buffer("u0"), eps=self.eps)
        return functional.linear(values, self.weight / sigma, self.bias)


class Stored(nn.Module):
    """A linear map or a convolution that keeps the size; the weight is divided by u^T W v.

    Tensors: weight_orig of the shape given, weight_u and weight_v as they were stored, and bias.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, *shape: int, bias: bool = True) -> None:
        """Makes the layer, randomly initialised; its sigma is the length of the weight's first row.

        Args:
          shape: of the weight: (outputs, inputs) of a linear map, (outputs, inputs, K, K) of a
            convolution, K odd.
          bias: whether it has one.
        """
        super().__init__()
        inputs = math.prod(shape[1:])
        self.weight_orig = nn.Parameter(torch.randn(shape) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        row = self.weight_orig.detach()[0].flatten()
        self.register_buffer("weight_u", torch.cat([torch.ones(1), torch.zeros(shape[0] - 1)]))
        self.register_buffer("weight_v", row / row.square().sum().sqrt())

    def forward(self, values: Tensor) -> Tensor:
        """[N, inputs] to [N, outputs], or [N, inputs, H, W] to [N, outputs, H, W], float32."""
        sigma = self.weight_u @ self.weight_orig.flatten(1) @ self.weight_v  # []
        weight = self.weight_orig / sigma
        if weight.ndim == 2:
            return functional.linear(values, weight, self.bias)
        return functional.conv2d(values, weight, self.bias, padding=weight.shape[-1] // 2)


def _add_vectors(layer: nn.Module, outputs: int, vectors: int) -> None:
    for index in range(vectors):
        layer.register_buffer(f"u{index}", torch.randn(1, outputs))
        layer.register_buffer(f"sv{index}", torch.ones(1))  # the reference's log; no effect
