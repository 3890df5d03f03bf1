"""How often the intervals of `ganaudit threshold` hold the truth; nominal 95 %.

    python benchmarks/threshold_coverage.py [--sets 200] [--replicates 300]

A population of identities in 24 dimensions: each has a centre, N(0, 1), and pictures around it
whose spread differs from identity to identity (lognormal). A set has some identities with as many
pictures each; the truth is the mean over three sets of 1,500 identities. Beside the intervals are
those that a bootstrap over pairs would give for the radius and the equal error rate: pairs of one
identity are not independent, and it does not know.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from ganaudit.verification import Verification, verify

DIMENSIONS = 24
SPREAD = 0.25  # standard deviation of the logarithm of an identity's spread
SIZES = ((40, 10), (20, 8), (12, 6))  # identities, pictures of each
FMR = 1e-3
FIGURES = ("auc", "eer", "theta", "radius")


def population(
    identities: int, pictures: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """[N, 24] unit rows, and the identity of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, DIMENSIONS))
    spreads = np.exp(rng.normal(-0.3, SPREAD, size=identities))
    labels = np.repeat(np.arange(identities), pictures)
    noise = rng.normal(size=(len(labels), DIMENSIONS))
    rows = centres[labels] + spreads[labels, None] * noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), labels


def measured(identities: int, pictures: int, seed: int, replicates: int) -> Verification:
    """One set, measured as the command does."""
    rows, labels = population(identities, pictures, seed)
    return verify(rows, labels, fmr=FMR, seed=seed, replicates=replicates)


def over_pairs(
    identities: int, pictures: int, seed: int, replicates: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of the radius and of the EER by a bootstrap over pairs."""
    rows, labels = population(identities, pictures, seed)
    one, other = np.triu_indices(len(rows), 1)
    cosine = (rows[one].astype(np.float64) * rows[other]).sum(axis=1).clip(-1, 1)
    distance, same = np.arccos(cosine) / np.pi, labels[one] == labels[other]
    mine, others = distance[same], distance[~same]
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, 1, 4001)
    found = []
    for _ in range(replicates):
        a = np.sort(rng.choice(mine, len(mine)))
        b = np.sort(rng.choice(others, len(others)))
        fmr = np.searchsorted(b, grid, side="right") / len(b)
        fnmr = 1 - np.searchsorted(a, grid, side="right") / len(a)
        crossing = int(np.argmax(fmr >= fnmr))
        found.append((b[int(FMR * len(b)) - 1], (fmr[crossing] + fnmr[crossing]) / 2))
    low, high = np.quantile(found, (0.025, 0.975), axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=300)
    given = parser.parse_args()
    large = [measured(1500, 4, 10**6 + i, 0) for i in range(3)]
    truth = {
        name: float(np.mean([getattr(found, name).estimate for found in large])) for name in FIGURES
    }
    said = ", ".join(f"{name} {value:.4f}" for name, value in truth.items())
    print(f"truth: {said}; {given.sets} sets a line")
    names = "  ".join(f"{name:>6}" for name in FIGURES)
    print(f"identities x pictures  {names}  over pairs: radius, eer")
    for identities, pictures in SIZES:
        hits = dict.fromkeys(FIGURES, 0)
        naive = [0, 0]
        for seed in range(given.sets):
            found = measured(identities, pictures, seed, given.replicates)
            for name in FIGURES:
                interval = getattr(found, name)
                hits[name] += interval.low <= truth[name] <= interval.high
            ends = over_pairs(identities, pictures, seed, given.replicates // 3)
            for i, name in enumerate(("radius", "eer")):
                naive[i] += ends[i][0] <= truth[name] <= ends[i][1]
        shown = "  ".join(f"{hits[name] / given.sets:6.3f}" for name in FIGURES)
        apart = ", ".join(f"{count / given.sets:.3f}" for count in naive)
        print(f"{identities:10} x {pictures:<8}  {shown}  {apart}", flush=True)


if __name__ == "__main__":
    main()
