"""Slow and plain: each kernel as its formula reads. What the fast ones are measured against."""

import math

import numpy as np
from numpy.typing import NDArray


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Angle between two rows as a fraction of pi, by the form that is stable everywhere."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return 2 / math.pi * math.atan2(np.linalg.norm(x - y), np.linalg.norm(x + y))


def similarity(d: float, theta: float) -> float:
    """Eq. 3 of the paper."""
    return (math.exp(max(0.0, theta - d)) - 1) / (math.exp(theta) - 1)


def tally(
    anchors: NDArray[np.float32],
    samples: NDArray[np.float32],
    theta: float,
    radius: float,
    valid: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every sum of the tally, pair by pair."""
    m = len(anchors)
    out = {
        "n": np.zeros(32),
        "similarity": np.zeros((m, 32)),
        "within": np.zeros((m, 32)),
        "squares": np.zeros(m),
        "within_half": np.zeros(m),
        "coherence": np.zeros(32),
    }
    for i, sample in enumerate(samples):
        if valid is not None and not valid[i]:
            continue
        group = i // 16 % 32
        out["n"][group] += 1
        total = 0.0
        for a, anchor in enumerate(anchors):
            s = similarity(distance(anchor, sample), theta)
            dot = float(anchor.astype(np.float64) @ sample.astype(np.float64))
            angle = math.acos(min(1.0, max(-1.0, dot))) / math.pi
            out["similarity"][a, group] += s
            out["squares"][a] += s * s
            out["within"][a, group] += angle <= radius
            out["within_half"][a] += angle <= radius / 2
            total += s
        out["coherence"][group] += (total / m) ** 2
    return out


def mccs(mean_similarity: float) -> float:
    """Eq. 7 of the paper, with its limit at 0."""
    return 1 / (1 - math.log(mean_similarity)) if mean_similarity > 0 else 0.0
