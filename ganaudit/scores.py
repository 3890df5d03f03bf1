"""Monte-Carlo based collapse score: the paper's form, its published code's, and their inverses."""

import numpy as np
from numpy.typing import NDArray

FORM = "1 / (1 - ln x), x the mean similarity"
REFERENCE_CODE_FORM = "1 / -log10 x, as the published tables were made"


def mccs(mean_similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Monte-Carlo based collapse score, 1 / (1 - ln x) of the mean similarity x.

    Args:
      mean_similarity: any shape, in [0, 1].

    Returns:
      Same shape, in [0, 1]: 1 where every sample coincides with the anchor, 0 (the limit) where
      none is within theta. Increasing in x, and concave below x = 1/e.

    References:
      Black-Box Diagnosis and Calibration on GAN Intra-Mode Collapse, Eq. 7, natural logarithm.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (1 - np.log(mean_similarity)))


def mean_similarity_of_mccs(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `mccs`: exp(1 - 1 / score); 0 for 0. Exact for one anchor, not for mu."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(1 - 1 / np.asarray(score, dtype=np.float64)))


def mccs_reference_code(mean_similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / -log10 x: what the paper's code computes, for comparison with its published tables.

    Unbounded: above 1 from x = 0.1 on, infinite at x = 1; 0 (the limit) at x = 0.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.abs(np.log10(mean_similarity)))


def mean_similarity_of_reference_code(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `mccs_reference_code`: 10 ** (-1 / score); 0 for 0. Exact for one anchor only."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 ** (-1 / np.asarray(score, dtype=np.float64)))
