"""Gaussians around the centres of clusters that, in their shares, make up the prior again."""

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import MixtureSampler, products
from ganaudit.calibration.latents import Latents

_LEAST_SCALE = 1e-3
_BLOCK = 4096

_Array = NDArray[np.float64]


def within_clusters(
    shares: _Array, centres: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], _Array]:
    """Means and the common covariance W of a mixture whose mean is 0 and covariance I.

    Total covariance is that within plus that between: W = I - B, B = sum of shares[k] m_k m_k^T
    over the centred centres m_k. Where chance has B exceed 1 in a direction, W is 0 there.

    Args:
      shares: [K], sum 1.
      centres: [K, size].

    Returns:
      The means [K, size]; r < K orthonormal directions [r, size] in which W is not 1, and the
      standard deviations [r] in them, in [0, 1].
    """
    wide = centres.astype(np.float64)
    means = wide - shares @ wide
    _, lengths, directions = np.linalg.svd(np.sqrt(shares)[:, None] * means, full_matrices=False)
    found = lengths > 1e-6
    scales = np.sqrt(np.clip(1 - lengths[found] ** 2, 0.0, 1.0))
    return means.astype(np.float32), directions[found].astype(np.float32), scales


def component_ratios(sampler: MixtureSampler, latents: Latents) -> _Array:
    """The density of each component over the prior's, at each latent: [N, K] >= 0.

    Its product with the weights is q / p of importance sampling, whose mean under the prior is 1.
    A standard deviation below .001 counts as .001. A spherical prior is taken for the normal one.

    Args:
      sampler: its weights are not looked at.
      latents: [N, size].
    """
    directions = sampler.directions.astype(np.float64)
    means = sampler.means.astype(np.float64)
    scales = np.maximum(sampler.scales, _LEAST_SCALE)
    along_means = means @ directions.T  # [K, r]
    rest = means - along_means @ directions  # where W is 1: exp(x . m - |m|^2 / 2)
    level = (rest * rest).sum(axis=1) / 2 + ((along_means / scales) ** 2).sum(axis=1) / 2
    slopes = rest + (along_means / scales**2) @ directions  # [K, size]
    found = np.empty((len(latents), len(means)))
    for first in range(0, len(latents), _BLOCK):
        normal = sampler.space.to_normal(latents[first : first + _BLOCK])
        along = products(normal, directions)  # [B, r]
        common = (along**2 * (1 - scales**-2)).sum(axis=1, keepdims=True) / 2
        logs = products(normal, slopes) - level + common - np.log(scales).sum()
        found[first : first + _BLOCK] = np.exp(np.minimum(logs, 700.0))
    return found
