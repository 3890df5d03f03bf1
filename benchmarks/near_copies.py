"""How often the test for near copies finds a planted share of them, and how often it alarms.

    python benchmarks/near_copies.py [--sets 100] [--rows FACES.npy]

Each set has 4,000 anchors and 10,000 samples of a population of 24,000 embeddings, none of them
twice. In a planted set each is with probability `share` a copy instead: normalise(e + u / 5), u a
fresh uniform unit vector and e an embedding of the population whose rate (the share of the
population within the radius, .25) lies between the 30th and the 70th percentile. Aims: shares of
.1, .2 and .5 % are found in at least 15, 50 and 95 % of sets; at most 5 % alarms without copies.

The population is the real faces generator under the real descriptor, where ../shared/artefacts
stands beside the checkout; else a smooth cloud in 128 dimensions that stands in for it, and the
first line says so. --rows takes embeddings ([24000, D] float32 unit rows) that were made before.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.config import DiagnoseConfig
from ganaudit.diversity import LEVEL, near_copies
from ganaudit.generators import LatentGenerator
from ganaudit.opening import open_request
from ganaudit.slots import Stream, draw, ranges
from ganaudit.tally import tally

Rows = NDArray[np.float32]

ROOT = Path(__file__).parents[1]
FACES = ROOT.parent / "shared" / "artefacts" / "faces"
POPULATION, ANCHORS, SAMPLES = 24_000, 4_000, 10_000
RADIUS = 0.25
APART = 0.2  # of a copy from what it copies, before normalising
CANDIDATES = 4_000  # embeddings of which one is copied
AIMS = {0.0: 0.05, 0.001: 0.15, 0.002: 0.50, 0.005: 0.95}  # by share; the first at most


def faces() -> Rows:
    """[24000, 128] embeddings of the faces generator, slots 0 .. 23,999 of seed 0."""
    config = DiagnoseConfig(
        generator=f"python:{ROOT / 'tests' / 'artefacts' / 'networks.py'}:faces",
        descriptor=str(FACES / "mobilefacenet.onnx"),
        device="cpu",
        theta=RADIUS,
        radius=RADIUS,
        set=(
            f"weights={FACES / 'generator.pt'}",
            "prior=uniform",
            "descriptor.size=112",
            "descriptor.mean=0.485,0.456,0.406",
            "descriptor.std=0.229,0.224,0.225",
        ),
    )
    request = open_request(config)
    source, descriptor = request.source, request.descriptor
    assert isinstance(source, LatentGenerator) and descriptor is not None
    parts = []
    with torch.inference_mode():
        for start, stop in ranges(0, POPULATION, 96):
            slots = np.arange(start, stop)
            draws = draw(
                slots,
                seed=0,
                stream=Stream.SAMPLES,
                latent_shape=source.latent_shape,
                prior=source.prior,
            )
            parts.append(descriptor.embed(source.render(draws))[0].numpy())
    return np.concatenate(parts)


def stand_in() -> Rows:
    """[24000, 128] rows with a common direction as strong as the faces', and falling variances."""
    spread = np.arange(1, 128) ** -0.5
    spread *= 1.2 / np.linalg.norm(spread)
    rows = np.ones((POPULATION, 128))
    rows[:, 1:] = np.random.default_rng(0).standard_normal((POPULATION, 127)) * spread
    return unit(rows)


def unit(rows: NDArray[np.float64]) -> Rows:
    """Float32 rows of length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def copyable(rows: Rows) -> NDArray[np.int64]:
    """Numbers of rows that have neither few neighbours nor many."""
    within = tally(rows[:CANDIDATES], rows, theta=RADIUS, radius=RADIUS).within.sum(axis=1)
    low, high = np.percentile(within, (30, 70))
    return np.flatnonzero((within >= low) & (within <= high))


def smallest_p(rows: Rows, candidates: NDArray[np.int64], share: float, seed: int) -> float:
    """The test's p on one set."""
    rng = np.random.default_rng(seed)
    members = rows[rng.permutation(len(rows))[: ANCHORS + SAMPLES]]
    planted = np.flatnonzero(rng.random(len(members)) < share)
    away = rng.standard_normal((len(planted), rows.shape[1]))
    away *= APART / np.linalg.norm(away, axis=1, keepdims=True)
    members[planted] = unit(rows[rng.choice(candidates)] + away)
    found = tally(members[:ANCHORS], members[ANCHORS:], theta=RADIUS, radius=RADIUS)
    return near_copies(found, radius=RADIUS).p


def main() -> None:
    """Print a line a share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    if given.rows:
        name, rows = given.rows.name, np.load(given.rows)
    elif FACES.is_dir():
        name, rows = "faces", faces()
    else:
        name, rows = f"a stand-in, as there is no {FACES}", stand_in()
    candidates = copyable(rows)
    print(f"population: {name}; {given.sets} sets each")
    for share, aim in AIMS.items():
        p = np.array([smallest_p(rows, candidates, share, seed) for seed in range(given.sets)])
        found, bound = (p <= LEVEL).mean(), "at least" if share else "at most"
        print(f"{share:5.1%} copies  found in {found:4.0%} of sets (aim: {bound} {aim:.0%})")


if __name__ == "__main__":
    main()
