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


def tally_by_anchor(
    anchors: NDArray[np.float32], samples: NDArray[np.float32], theta: float, radius: float
) -> dict[str, NDArray[np.float64]]:
    """`tally` for many pairs: the same formulas, all samples of one anchor at a time."""
    m, n = len(anchors), len(samples)
    group = np.eye(32)[np.arange(n) // 16 % 32]  # [n, 32] one 1 a row
    closeness = np.empty((m, n))
    within = np.empty((m, n))
    within_half = np.empty((m, n))
    y = samples.astype(np.float64)
    for a, x in enumerate(anchors.astype(np.float64)):
        apart, joined = np.linalg.norm(y - x, axis=1), np.linalg.norm(y + x, axis=1)
        d = 2 / np.pi * np.arctan2(apart, joined)
        closeness[a] = (np.exp(np.maximum(0, theta - d)) - 1) / (np.exp(theta) - 1)
        angle = np.arccos(np.clip((y * x).sum(axis=1), -1, 1)) / np.pi
        within[a], within_half[a] = angle <= radius, angle <= radius / 2
    return {
        "n": group.sum(axis=0),
        "similarity": closeness @ group,
        "within": within @ group,
        "squares": (closeness**2).sum(axis=1),
        "within_half": within_half.sum(axis=1),
        "coherence": closeness.mean(axis=0) ** 2 @ group,
    }
