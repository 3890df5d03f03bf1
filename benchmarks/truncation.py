"""Why the score is no nearest-neighbour search: 5 % collapse, n = 300,000, k = 2,048.

    python benchmarks/truncation.py [--anchors 256] [--samples 300000] [--dim 512]

For a healthy and a collapsed set: the mean similarity of the densest anchors by the exact sum, by
FAISS range search, by FAISS nearest neighbours with the certificate, and by the nearest alone;
whether the counts are equal; and the time of each over that of the exact product.
"""

import argparse
import time

import numpy as np
import torch
from tally_speed import THETA, population

from ganaudit.neighbors import NearestTallier, RangeTallier, nearest
from ganaudit.tally import Tallier, Tally, similarity


def truncated(anchors: np.ndarray, samples: np.ndarray, k: int) -> np.ndarray:
    """[m] float64 mean similarity from the k nearest samples only."""
    cosine, _ = nearest(torch.from_numpy(anchors), torch.from_numpy(samples), k)
    distance = np.arccos(np.clip(cosine.numpy().astype(np.float64), -1, 1)) / np.pi
    return np.asarray(similarity(distance, theta=THETA).sum(axis=1) / len(samples))


def run(tallier: Tallier, samples: np.ndarray) -> Tally:
    """The tally of all samples."""
    parts = (samples[i : i + tallier.step] for i in range(0, len(samples), tallier.step))
    return tallier.run((part, np.ones(len(part), dtype=np.bool_)) for part in parts)


def main() -> None:
    """Print a line a method, for a healthy and a collapsed set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, default=256)
    parser.add_argument("--samples", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=512)
    given = parser.parse_args()
    for share in (0.0, 0.05):
        make = {"dim": given.dim, "identities": 400, "collapsed": share, "spread": 0.5}
        print(f"{share:.0%} collapsed")
        compare(
            population(given.anchors, seed=1, **make), population(given.samples, seed=2, **make)
        )


def compare(anchors: np.ndarray, samples: np.ndarray) -> None:
    """Print a line a method."""
    talliers: dict[str, Tallier] = {
        "exact product": Tallier(anchors, theta=THETA, radius=THETA),
        "FAISS range search": RangeTallier(anchors, theta=THETA, radius=THETA),
        "FAISS nearest, certified": (
            certified := NearestTallier(anchors, theta=THETA, radius=THETA)
        ),
    }
    truth, floor = None, 0.0
    for name, tallier in talliers.items():
        begin = time.perf_counter()
        found = run(tallier, samples)
        seconds = time.perf_counter() - begin
        truth, floor = (found, seconds) if truth is None else (truth, floor)
        worst = found.within.sum(axis=1) >= 0.9 * truth.within.sum(axis=1).max()
        mean, equal = (
            mean_of(found, worst, len(samples)),
            np.array_equal(found.within, truth.within),
        )
        print(
            f"  {name:26s} mean similarity {mean:.5f}  counts equal: {equal}  "
            f"time x {seconds / floor:.2f}"
        )
    assert truth is not None
    worst = truth.within.sum(axis=1) >= 0.9 * truth.within.sum(axis=1).max()
    mean = truncated(anchors, samples, 2048)[worst].mean()
    low = mean_of(truth, worst, len(samples)) / mean
    print(f"  {'2,048 nearest alone':26s} mean similarity {mean:.5f}  {low:.1f} times too low")
    print(f"  {worst.sum()} densest anchors shown, {certified.uncertified} without a certificate")


def mean_of(found: Tally, anchors: np.ndarray, samples: int) -> float:
    """Mean similarity of some anchors."""
    return float(found.similarity.sum(axis=1)[anchors].mean() / samples)


if __name__ == "__main__":
    main()
