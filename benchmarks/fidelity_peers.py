"""Fréchet distance, kernel distance, density and coverage against the packages that define them.

    pip install --target PEERS --no-deps torch-fidelity prdc tqdm
    PYTHONPATH=PEERS python benchmarks/fidelity_peers.py [--k 5] [--rounds 3]

torch-fidelity and prdc get the same rows in float64. Sets: healthy, and every way of being
collapsed that leaves a covariance without full rank. A line a set: the figure, its difference from
the peer's, and the time over the peer's. Aim: no difference above 1e-6.
"""

import argparse
import importlib
import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tally_speed import population

from ganaudit.fidelity import density_and_coverage, frechet_distance, kernel_distance

AIM = 1e-6
Rows = NDArray[np.float32]


def peer(module: str) -> Any:
    """A module of a package that is no dependency of ganaudit."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        how = "\n".join(line for line in __doc__.splitlines() if line.startswith("    "))
        raise SystemExit(f"{error}; this benchmark needs its peers:\n{how}") from None


def their_frechet(real: Rows, generated: Rows) -> list[float]:
    """By torch-fidelity."""
    fid = peer("torch_fidelity.metric_fid")
    moments = (
        fid.fid_features_to_statistics(torch.from_numpy(rows.astype(np.float64)))
        for rows in (real, generated)
    )
    found = fid.fid_statistics_to_metric(*moments, verbose=False)
    return [found["frechet_inception_distance"]]


def their_kernel(real: Rows, generated: Rows) -> list[float]:
    """By torch-fidelity, all rows as one block."""
    options = {"poly_degree": 3, "poly_gamma": None, "poly_coef0": 1}
    return [
        peer("torch_fidelity.metric_kid").kernel_mmd(
            real.astype(np.float64),
            generated.astype(np.float64),
            kid_kernel="poly",
            **{f"kid_kernel_{name}": value for name, value in options.items()},
        )
    ]


def their_density(real: Rows, generated: Rows, k: int) -> list[float]:
    """By prdc, which finds precision and recall with it."""
    compute = peer("prdc").compute_prdc
    with redirect_stdout(io.StringIO()):
        found = compute(real.astype(np.float64), generated.astype(np.float64), k)
    return [found["density"], found["coverage"]]


def sets(count: int, width: int) -> dict[str, tuple[Rows, Rows]]:
    """Pairs of real and generated rows [count, width]."""
    rng = np.random.default_rng(3)
    real, healthy, collapsed = (
        population(count, dim=width, identities=50, collapsed=share, spread=0.5, seed=seed)
        for seed, share in ((1, 0.0), (2, 0.0), (2, 0.5))
    )

    def flat(seed: int) -> Rows:
        """Rows in the same eight dimensions."""
        plane = np.random.default_rng(0).standard_normal((8, width))
        rows: NDArray[np.float64] = np.random.default_rng(seed).standard_normal((count, 8)) @ plane
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32)

    return {
        "healthy": (real, healthy),
        "half of it collapsed": (real, collapsed),
        "one image": (real, np.repeat(healthy[:1], count, axis=0)),
        "one real image": (real, np.repeat(real[:1], count, axis=0)),
        "8 dimensions": (real, flat(4)),
        "8 dimensions, both": (flat(5), flat(4)),
        "fewer rows than columns": (real[:100], healthy[:77]),
        "copies among the real": (real[rng.integers(count // 3, size=count)], healthy),
        "equal": (real, real),
    }


def timed(
    ours: Callable[[], list[float]], theirs: Callable[[], list[float]], rounds: int
) -> tuple[list[float], float, float]:
    """Our figures, their largest difference from the peer's, the median ratio of times."""
    ratios = []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = ours()
        middle = time.perf_counter()
        wanted = theirs()
        ratios.append((middle - begin) / (time.perf_counter() - middle))
    apart = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return found, apart, float(np.median(ratios))


def main() -> None:
    """Print a line a set and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name in ("torch_fidelity", "prdc"):
        peer(name)
    worst = 0.0
    for count, width in ((5000, 128), (3000, 512)):
        for name, (real, generated) in sets(count, width).items():
            print(f"{name}, {len(real)} and {len(generated)} x {width}")
            for figure, (found, apart, ratio) in compared(real, generated, given).items():
                worst = max(worst, apart)
                said = ", ".join(f"{value:.6g}" for value in found)
                print(f"  {figure:21s} {said:22s} apart by {apart:7.1e}  time x {ratio:.2f}")
    print(f"largest difference {worst:.1e} (aim {AIM:.0e}): {'met' if worst <= AIM else 'MISSED'}")


def compared(
    real: Rows, generated: Rows, given: argparse.Namespace
) -> dict[str, tuple[list[float], float, float]]:
    """What `timed` says of each figure."""
    few = min(len(real), len(generated))
    first, second = real[:few], generated[:few]
    return {
        "Fréchet distance": timed(
            lambda: [frechet_distance(real, generated)],
            lambda: their_frechet(real, generated),
            given.rounds,
        ),
        "kernel distance": timed(
            lambda: [kernel_distance(first, second, block=few).estimate or 0.0],
            lambda: their_kernel(first, second),
            given.rounds,
        ),
        "density and coverage": timed(
            lambda: list(density_and_coverage(real, generated, k=given.k)),
            lambda: their_density(real, generated, given.k),
            given.rounds,
        ),
    }


if __name__ == "__main__":
    main()
