"""Points of the plane: what a GAN learns of them with and without regularisers, side by side.

    python examples/toys_2d.py [--toys ring grid ...] [--steps 2000] [--points 2000] [--seed 0]
        [--out toys_2d]

The experiments that the papers draw: a ring of eight Gaussians and a grid of twenty-five
(AdvLatGAN), nine Gaussians (RealnessGAN, AdaptiveMix) and three circles (AdaptiveMix). Every toy is
learned plainly, with AdaptiveMix and with AdvLatGAN-qua; the last generator is shown once more with
its latents refined (AdvLatGAN-z). OUT holds the trainings and toys_2d.png: a row a toy, for every
method the points (grey: real ones) and the discriminator's confidence (yellow: real). The table
printed counts modes and good points. One seed is an illustration; benchmarks/training_effect.py
measures over seeds.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from ganaudit.calibration.advlatgan_z import refine
from ganaudit.calibration.latents import Space
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.checkpoints.opened import open_network
from ganaudit.config import TrainConfig
from ganaudit.discriminators import Discriminator, open_discriminator
from ganaudit.slots import Stream
from ganaudit.training.pictured import confidence, scatter
from ganaudit.training.runs import train
from ganaudit.training.toys import TOYS, Toy, covered

SPACE = Space((2,), "normal")
METHODS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "AdaptiveMix": ("adaptivemix",),
    "AdvLatGAN-qua": ("advlatgan-qua",),
}
REFINED = "AdvLatGAN-qua and -z"
REFINER = LatentRefiner(
    space=SPACE,
    attack="i-fgsm",
    step=0.003,
    steps=100,
    ball=None,
    momentum=0.0,
    discriminator={},
)


@dataclass(frozen=True)
class Panel:
    """One method on one toy: its points [N, 2], and the discriminator that it learned against."""

    method: str
    points: NDArray[np.float32]
    judge: nn.Module


@dataclass(frozen=True)
class Generator:
    """A generator of points as -z takes it."""

    module: nn.Module

    def forward(self, latents: Tensor, labels: Tensor | None, seeds: Tensor | None) -> Tensor:
        """Points [N, 2] of latents [N, 2]."""
        points: Tensor = self.module(latents)
        return points


def learned(
    toy: Toy, method: str, *, steps: int, points: int, seed: int, out: Path
) -> Iterator[Panel]:
    """Train one method on a toy and draw from it; -qua's generator is refined as well."""
    folder = out / toy.name / method
    train(
        TrainConfig(
            data=f"toy:{toy.name}",
            preset="toy-ring",
            reg=METHODS[method],
            steps=steps,
            seed=seed,
            out=folder,
            audit_every=0,
            snapshot_every=steps,
            device="cpu",
        )
    )
    generator = Generator(open_network(folder / "generator.safetensors").module)
    file = str(folder / "discriminator.safetensors")
    judge = open_discriminator(file, {}, device="cpu", code=False)
    network = open_network(folder / "discriminator.safetensors").module
    drawn = SPACE.draw(np.arange(points), seed=seed, stream=Stream.SAMPLES)
    latents = torch.from_numpy(drawn)
    yield Panel(method, _points(generator, latents), network)
    if METHODS[method] == ("advlatgan-qua",):
        yield Panel(REFINED, _points(generator, _refined(generator, judge, latents)), network)


def _refined(generator: Generator, judge: Discriminator, latents: Tensor) -> Tensor:
    return refine(REFINER, latents, source=generator, judge=judge)


@torch.no_grad()
def _points(generator: Generator, latents: Tensor) -> NDArray[np.float32]:
    points: NDArray[np.float32] = generator.forward(latents, None, None).numpy()
    return points


def drawing(toys: Mapping[str, list[Panel]]) -> Figure:
    """A row of panels a toy: the points of every method, and its discriminator's confidence."""
    across = 2 * max(len(panels) for panels in toys.values())
    figure = Figure(figsize=(2 * across, 2.2 * len(toys)), layout="constrained")
    rows: Any = figure.subplots(len(toys), across, squeeze=False)
    for row, (name, panels) in zip(rows, toys.items(), strict=True):
        toy = TOYS[name]()
        for number, panel in enumerate(panels):
            left, right = row[2 * number : 2 * number + 2]
            scatter(left, panel.points, toy.points, toy.extent)
            confidence(right, panel.judge, toy.extent, device=torch.device("cpu"))
            left.set_title(panel.method, fontsize=8)
        row[0].set_ylabel(name)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Train everything, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="Points of the plane, method beside method.")
    parser.add_argument("--toys", nargs="+", choices=TOYS, default=list(TOYS))
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--points", type=int, default=2_000, help="that are drawn and counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("toys_2d"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # such small networks only wait for each other
    toys: dict[str, list[Panel]] = {}
    print("| toy | method | modes covered | good points |\n|---|---|---|---|")
    for name in options.toys:
        toy, toys[name] = TOYS[name](), []
        for method in METHODS:
            for panel in learned(
                toy,
                method,
                steps=options.steps,
                points=options.points,
                seed=options.seed,
                out=options.out,
            ):
                toys[name].append(panel)
                found = covered(panel.points, toy)
                shown = f"{found.modes} of {found.of} | {found.good:.0%} |"
                print(f"| {name} | {panel.method} | {shown}", flush=True)
    drawing(toys).savefig(options.out / "toys_2d.png", dpi=100)


if __name__ == "__main__":
    main()
