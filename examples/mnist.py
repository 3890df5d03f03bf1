"""Digits with and without AdaptiveMix: two trainings, then what `ganaudit diagnose` finds in each.

    python examples/mnist.py [--data t10k-images-idx3-ubyte.gz] [--steps 2000] [--out mnist]

--data is an idx file of MNIST, as it is distributed; without it scikit-learn's own small digits
are learned, which needs no download. Both trainings start from the same weights and see the same
images. OUT/plain and OUT/adaptivemix hold them, with samples, audits and training.html; the table
printed compares the generators with each other and with the images that they were trained on. One
seed is an illustration; benchmarks/training_effect.py measures over seeds.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganaudit.config import Fit, TrainConfig
from ganaudit.training.runs import train

METHODS: Mapping[str, tuple[str, ...]] = {"plain": (), "adaptivemix": ("adaptivemix",)}
ANCHORS = 500


def small_digits(folder: Path) -> Path:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, as a file that `--data` takes."""
    from sklearn.datasets import load_digits

    pixels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.npz"
    np.savez(path, images=pixels)
    return path


def learned(
    data: Path, method: str, *, size: int, fit: Fit, steps: int, samples: int, seed: int, out: Path
) -> dict[str, Any]:
    """The last audit of one training: figures by name."""
    found = train(
        TrainConfig(
            data=str(data),
            arch="dcgan",
            reg=METHODS[method],
            size=size,
            fit=fit,
            channels=1,
            batch=64,
            latent_size=64,
            steps=steps,
            seed=seed,
            descriptor="digits",
            audit_anchors=ANCHORS,
            audit_samples=samples,
            out=out / method,
            set=("generator.width=8", "discriminator.width=8", "optim.ema=0.99"),
        )
    )
    figures: dict[str, Any] = found.document["audits"][-1]["figures"]
    return figures


def estimate(figure: float | Mapping[str, float]) -> float:
    """Of a figure with or without an interval; very few samples have none."""
    return figure if isinstance(figure, float) else figure["estimate"]


def table(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Markdown: a row a figure, a column a method."""
    yield f"| figure | {' | '.join(found)} |"
    yield "|---|" + "---|" * len(found)
    rows: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
        "worst mode's rate": lambda audit: f"{audit['worst_rate']['estimate']:.2%}",
        "median rate": lambda audit: f"{audit['median_rate']:.2%}",
        "effective modes": lambda audit: f"{audit['effective_modes']['estimate']:.0f}",
        "Fréchet distance": lambda audit: f"{estimate(audit['frechet_distance']):.4f}",
        "density": lambda audit: f"{estimate(audit['density']):.2f}",
        "coverage": lambda audit: f"{estimate(audit['coverage']):.2f}",
    }
    for name, shown in rows.items():
        yield f"| {name} | {' | '.join(shown(audit) for audit in found.values())} |"


def main(arguments: list[str] | None = None) -> None:
    """Train twice, print the table."""
    parser = argparse.ArgumentParser(description="Digits with and without AdaptiveMix.")
    parser.add_argument("--data", type=Path, help="idx file of images [scikit-learn's digits]")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--samples", type=int, default=4_000, help="of an audit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mnist"))
    options = parser.parse_args(arguments)
    data = options.data or small_digits(options.out)
    size = 16 if options.data is None else 32
    fit: Fit = "resize" if options.data is None else "pad"
    found = {
        method: learned(
            data,
            method,
            size=size,
            fit=fit,
            steps=options.steps,
            samples=options.samples,
            seed=options.seed,
            out=options.out,
        )
        for method in METHODS
    }
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
