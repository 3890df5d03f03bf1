"""Tally over the bare matrix product of the same blocks: what thresholds, sums and counts cost.

    python benchmarks/tally_speed.py [--anchors 1000] [--samples 200000] [--dim 512] [--rounds 9]

Three sets: healthy (400 identities), 5 % collapsed, and dense (7 to 20 % of all pairs within
theta). Product and tally alternate in one process; the median of their ratios is the figure.
Aims: 1.15, 1.15, 1.5.
"""

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.tally import Tallier, Tally

THETA = 0.25


def population(
    count: int, *, dim: int, identities: int, collapsed: float, spread: float, seed: int
) -> NDArray[np.float32]:
    """Unit rows around `identities` centres; a share `collapsed` of them around the first."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(identities, dim)).astype(np.float32)
    which = np.where(rng.random(count) < collapsed, 0, rng.integers(0, identities, count))
    rows = centres[which]
    for start in range(0, count, 8192):
        part = rows[start : start + 8192]
        part += spread * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def tally_of(anchors: NDArray[np.float32], samples: NDArray[np.float32], device: str) -> Tally:
    """The whole tally, as a run makes it."""
    tallier = Tallier(anchors, theta=THETA, radius=THETA, device=device)
    valid = np.ones(tallier.step, dtype=np.bool_)
    parts = (samples[i : i + tallier.step] for i in range(0, len(samples), tallier.step))
    return tallier.run(((part, valid[: len(part)]) for part in parts), reused=False)


def product_of(anchors: NDArray[np.float32], samples: NDArray[np.float32], device: str) -> None:
    """The bare product of the same blocks, shared out in the same way, its result thrown away."""
    tallier = Tallier(anchors, theta=THETA, radius=THETA, device=device)
    height, width = tallier.block
    held = torch.from_numpy(anchors).to(device)
    local = threading.local()

    def one(start: int) -> None:
        tile = torch.from_numpy(samples[start : start + tallier.step]).to(device)
        if not hasattr(local, "out"):
            local.out = torch.empty(height * width, device=device)
        for part in held.split(width):
            for rows in tile.split(height):
                out = local.out[: len(rows) * len(part)].view(len(rows), len(part))
                torch.mm(rows, part.T, out=out)

    cuda = device.startswith("cuda")
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(
        2 if cuda else threads, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        list(pool.map(one, range(0, len(samples), tallier.step)))
    if cuda:
        torch.cuda.synchronize()
    torch.set_num_threads(threads)


def main() -> None:
    """Print one line a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    sets = {
        "healthy": {"identities": 400, "collapsed": 0.0, "aim": 1.15},
        "5 % collapsed": {"identities": 400, "collapsed": 0.05, "aim": 1.15},
        "dense": {"identities": 8, "collapsed": 0.0, "aim": 1.5},
    }
    for name, kind in sets.items():
        make = {
            "dim": given.dim,
            "identities": int(kind["identities"]),
            "collapsed": float(kind["collapsed"]),
            "spread": 0.5,
        }
        anchors = population(given.anchors, seed=1, **make)
        samples = population(given.samples, seed=2, **make)
        ratios, seconds = [], []
        for _ in range(given.rounds):
            begin = time.perf_counter()
            product_of(anchors, samples, given.device)
            middle = time.perf_counter()
            result = tally_of(anchors, samples, given.device)
            end = time.perf_counter()
            ratios.append((end - middle) / (middle - begin))
            seconds.append(end - middle)
        share = result.within.sum() / given.anchors / given.samples
        print(
            f"{name:14s} pairs within theta {share:7.3%}  tally {np.median(seconds):6.2f} s  "
            f"ratio {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f} "
            f"(aim {kind['aim']})"
        )


if __name__ == "__main__":
    main()
