"""Makes the demo that ships with ganaudit: two digit generators and the descriptor to audit them.

    python examples/make_demo.py --out plugins/ganaudit_plugins/assets

writes

    digits.safetensors     the descriptor: tells one handwritten sample from another
    healthy.safetensors    a GAN of handwritten digits
    collapsed.safetensors  the same GAN with a planted collapse: 8 % of all latents
                           render nearly the same digit

and prints what was measured on them. The GAN is trained by `ganaudit train`, the descriptor here,
on the 1,797 digits that come with scikit-learn; about fifteen minutes on one core. `--steps 20`
makes useless ones in seconds.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, its usual name
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from ganaudit.checkpoints.native import save_native
from ganaudit.checkpoints.opened import open_network
from ganaudit.networks.collapsed import CollapsedGenerator
from ganaudit.networks.dcgan import DCGANGenerator
from ganaudit.networks.digit_embedder import DigitEmbedder

SIZE = 16  # pixels
LATENT_SIZE = 32
GENERATOR = {"latent_size": LATENT_SIZE, "width": 16, "channels": 1, "size": SIZE}
EMBEDDER = {"width": 16, "embedding_size": 64}
HELD_OUT = 500  # digits the descriptor never trains on: its radius is measured on them
SHARE = 0.08  # of all latents: the planted collapse
ANCHORS, SAMPLES = 1_000, 10_000


def main() -> None:
    """Trains, measures, plants, writes, prints."""
    options = _parse()
    torch.manual_seed(options.seed)  # the networks' initial weights
    rng = torch.Generator().manual_seed(options.seed)
    images, classes = load_real()
    order = torch.randperm(len(images), generator=rng)
    held_out, trained_on = images[order[:HELD_OUT]], images[order[HELD_OUT:]]

    embedder = train_embedder(trained_on, steps=max(1, options.steps // 5), rng=rng)
    measured = measure(embedder, held_out, rng=rng)
    print(measured)
    with tempfile.TemporaryDirectory() as folder:
        healthy = train_generator(
            images, steps=options.steps, seed=options.seed, folder=Path(folder)
        )
    judge = fit_judge(images, classes)
    samples = min(SAMPLES, 100 * options.steps)  # a short trial also measures less
    collapsed = plant_collapse(
        healthy, embedder, judge, radius=measured.radius, samples=samples, rng=rng
    )
    for name, generator in (("healthy", healthy), ("collapsed", collapsed)):
        print(name, census(generator, embedder, judge, measured, samples=samples, rng=rng))

    options.out.mkdir(parents=True, exist_ok=True)
    training = (
        f"scikit-learn's 1,797 handwritten digits at {SIZE}x{SIZE}; ganaudit train, by "
        f"examples/make_demo.py --steps {options.steps} --seed {options.seed}"
    )
    save_native(
        options.out / "digits.safetensors",
        embedder,
        network="digit_embedder",
        arguments=EMBEDDER,
        facts=descriptor_facts(measured, training),
    )
    save_native(
        options.out / "healthy.safetensors",
        healthy,
        network="dcgan",
        arguments=GENERATOR,
        facts=generator_facts(training, planted_share=0.0),
    )
    save_native(
        options.out / "collapsed.safetensors",
        collapsed,
        network="collapsed",
        arguments=GENERATOR,
        facts=generator_facts(training, planted_share=SHARE),
    )


def load_real() -> tuple[Tensor, Tensor]:
    """The digits: [1797, 1, 16, 16] float32 in [-1, 1] in 256 levels, and classes [1797]."""
    digits = load_digits()
    ink = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
    large = F.interpolate(ink, (SIZE, SIZE), mode="bicubic", align_corners=False)
    return quantise(large.clamp(0, 1) * 2 - 1), torch.tensor(digits.target)


def quantise(images: Tensor) -> Tensor:
    """What is left of images in [-1, 1] after they were stored as uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


# --- The descriptor -----------------------------------------------------------------------


def augment(images: Tensor, *, rng: torch.Generator) -> Tensor:
    """The same handwritten samples, photographed again: [N, 1, 16, 16] in [-1, 1].

    Each is shifted (up to 1 pixel), turned (10 degrees), scaled (10 %), sheared (0.1), its
    stroke made fainter or stronger, and noise is added.
    """
    count = len(images)

    def uniform(reach: float) -> Tensor:
        return (torch.rand(count, generator=rng) * 2 - 1) * reach

    angle, shear = uniform(math.pi / 18), uniform(0.1)
    wide, high = 1 + uniform(0.1), 1 + uniform(0.1)
    pixel = 2 / SIZE
    first_row = torch.stack(
        [angle.cos() * wide, (shear - angle.sin()) * high, uniform(pixel)], dim=1
    )
    second_row = torch.stack([angle.sin() * wide, angle.cos() * high, uniform(pixel)], dim=1)
    grid = F.affine_grid(
        torch.stack([first_row, second_row], dim=1), list(images.shape), align_corners=False
    )
    ink = F.grid_sample((images + 1) / 2, grid, align_corners=False)  # 0 outside: background
    power, strength = uniform(0.3).exp(), 1 + uniform(0.2)
    ink = ink.clamp(0, 1) ** power[:, None, None, None] * strength[:, None, None, None]
    noise = torch.randn(ink.shape, generator=rng) * uniform(0.05).abs()[:, None, None, None]
    return quantise((ink + noise).clamp(0, 1) * 2 - 1)


def train_embedder(images: Tensor, *, steps: int, rng: torch.Generator) -> DigitEmbedder:
    """Instance discrimination: two augmentations of one image attract, all else repels.

    The loss is NT-Xent (Chen et al., 2020, Eq. 1).
    """
    batch, temperature = 256, 0.1
    embedder = DigitEmbedder(**EMBEDDER)
    optimizer = torch.optim.AdamW(embedder.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    partner = torch.arange(2 * batch).roll(batch)  # row i and row i + batch are one sample
    for _ in range(steps):
        chosen = images[torch.randperm(len(images), generator=rng)[:batch]]
        rows = F.normalize(embedder(augment(torch.cat([chosen, chosen]), rng=rng)))
        logits = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)  # [2 batch, 2 batch]
        loss = F.cross_entropy(logits, partner)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return embedder.eval().requires_grad_(False)


@torch.no_grad()
def in_parts(network: nn.Module, inputs: Tensor) -> Tensor:
    """What `network`, in eval mode, makes of `inputs`, a few hundred at a time."""
    return torch.cat([network(part) for part in torch.split(inputs, 500)])


def embed(embedder: nn.Module, images: Tensor) -> Tensor:
    """Unit rows [N, D] of images that went through uint8."""
    return F.normalize(in_parts(embedder, quantise(images)))


def distance(rows: Tensor, others: Tensor) -> Tensor:
    """Angles [N, M] as fractions of pi."""
    return (rows.double() @ others.double().T).clamp(-1, 1).arccos() / math.pi


@dataclass(frozen=True)
class Measured:
    """What the descriptor does on digits it has not seen. Distances are fractions of pi."""

    auc: float
    eer: float
    theta: float  # distance at the equal error rate
    radius: float  # distance at which 1 in 1,000 pairs of different samples match
    origin: str


def measure(
    embedder: nn.Module, images: Tensor, *, rng: torch.Generator, views: int = 20
) -> Measured:
    """Positives: two augmentations of one image. Negatives: all pairs of different images."""
    rows = embed(embedder, images)
    different = distance(rows, rows)[torch.ones(len(rows), len(rows)).triu(1) > 0].numpy()
    same = np.concatenate(
        [
            distance(
                embed(embedder, augment(images, rng=rng)),
                embed(embedder, augment(images, rng=rng)),
            ).diagonal()
            for _ in range(views)
        ]
    )
    different.sort()
    same.sort()
    thresholds = np.sort(np.concatenate([different, same]))
    false_match = np.searchsorted(different, thresholds, side="right") / len(different)
    false_miss = 1 - np.searchsorted(same, thresholds, side="right") / len(same)
    equal = int(np.argmin(np.abs(false_match - false_miss)))
    return Measured(
        auc=1 - float(np.searchsorted(different, same).mean()) / len(different),
        eer=float(false_match[equal] + false_miss[equal]) / 2,
        theta=float(thresholds[equal]),
        radius=float(different[len(different) // 1000 - 1]),
        origin=(
            f"measured on {len(images)} handwritten digits not trained on: theta at the equal "
            f"error rate, radius at a false-match rate of 1e-3; {len(same):,} pairs of "
            f"augmentations of one image, {len(different):,} pairs of different images"
        ),
    )


# --- The generator ------------------------------------------------------------------------


COMMAND = (
    "--data digits.npz --arch dcgan --loss non-saturating --set loss.r1=1 --set loss.r1_every=4 "
    f"--reg diffaugment --set diffaugment.policy=translation --latent-size {LATENT_SIZE} "
    "--set generator.width=16 --set discriminator.width=16 --set discriminator.spread=true "
    "--set optim.lr=1e-3 --set optim.beta1=0 --set optim.beta2=0.99 --set optim.decay=linear "
    "--batch 64"
)


def train_generator(images: Tensor, *, steps: int, seed: int, folder: Path) -> DCGANGenerator:
    """The averaged generator of `ganaudit train`, as anybody would train one.

    The loss is non-saturating with R1; real and generated images are shifted in front of the
    discriminator, which sees how much a batch varies. 1,797 images are few.
    """
    np.savez(folder / "digits.npz", images=((images + 1) * 127.5).round().to(torch.uint8).numpy())
    words = ["train", *COMMAND.split(), "--steps", str(steps), "--seed", str(seed)]
    print("ganaudit", *words)
    program = [sys.executable, "-c", "from ganaudit.cli import main; main()"]
    subprocess.run([*program, *words, "--out", "training"], cwd=folder, check=True)
    trained = open_network(folder / "training" / "generator.safetensors").module
    assert isinstance(trained, DCGANGenerator)
    return trained


# --- The planted collapse -----------------------------------------------------------------


def fit_judge(images: Tensor, classes: Tensor) -> LogisticRegression:
    """Says which digit an image shows, and how clearly."""
    return LogisticRegression(C=0.01, max_iter=1000).fit(images.flatten(1).numpy(), classes.numpy())


def draw(generator: nn.Module, count: int, *, rng: torch.Generator) -> Tensor:
    """Images [count, 1, 16, 16] of fresh latents."""
    return in_parts(generator, torch.randn(count, LATENT_SIZE, generator=rng))


def plant_collapse(
    generator: DCGANGenerator,
    embedder: nn.Module,
    judge: LogisticRegression,
    *,
    radius: float,
    samples: int,
    rng: torch.Generator,
) -> CollapsedGenerator:
    """Plants the collapse where few natural samples are, as wide as fits in the radius.

    The centre is the clearest digit among the candidates with fewer than 1 natural neighbour in
    2,000 (a naturally dense place would blur the planted share). The spread is the largest at
    which every two of 1,000 planted samples lie within 3/4 of the radius of each other.
    """
    candidates = torch.randn(2_000, LATENT_SIZE, generator=rng)
    pictures = in_parts(generator, candidates)
    natural = embed(embedder, draw(generator, samples, rng=rng))
    crowding = (distance(embed(embedder, pictures), natural) <= radius).double().mean(dim=1)
    clearness = torch.tensor(judge.predict_proba(quantise(pictures).flatten(1).numpy()).max(axis=1))
    rare = crowding <= max(5e-4, float(crowding.min()))
    centre = candidates[torch.where(rare, clearness, -1.0).argmax()]
    noise = torch.randn(1_000, LATENT_SIZE, generator=rng)
    spread, too_wide = 0.0, 1.0
    for _ in range(10):  # bisection
        middle = (spread + too_wide) / 2
        rows = embed(embedder, in_parts(generator, centre + middle * noise))
        if float(distance(rows, rows).max()) <= 0.75 * radius:
            spread = middle
        else:
            too_wide = middle
    return CollapsedGenerator.plant(
        generator,
        direction=torch.randn(LATENT_SIZE, generator=rng),
        share=SHARE,
        centre=centre,
        spread=spread,
    )


def census(
    generator: nn.Module,
    embedder: nn.Module,
    judge: LogisticRegression,
    measured: Measured,
    *,
    samples: int,
    rng: torch.Generator,
) -> str:
    """The worst anchor's neighbour rate and its company, in one line."""
    anchors = embed(embedder, draw(generator, ANCHORS, rng=rng))
    images = quantise(draw(generator, samples, rng=rng))
    distances = distance(anchors, embed(embedder, images))
    rates = (distances <= measured.radius).double().mean(dim=1)
    similarity = torch.expm1((measured.theta - distances).clamp(min=0)) / math.expm1(measured.theta)
    classes = np.bincount(judge.predict(images.flatten(1).numpy()), minlength=10) / samples
    return (
        f"worst anchor {rates.max():.4f}, median anchor {rates.median():.4f} within "
        f"{measured.radius:.4f}; mean similarity {similarity.mean():.5f}; "
        f"digits 0-9 {np.round(classes, 3).tolist()}"
    )


# --- What the files say -------------------------------------------------------------------


def generator_facts(training: str, *, planted_share: float) -> dict[str, object]:
    """How to feed a generator and read its images."""
    return {
        "prior": "normal",
        "range": [-1, 1],
        "latent_shape": [LATENT_SIZE],
        "num_labels": 0,
        "training": training,
        "planted_share": planted_share,
    }


def descriptor_facts(measured: Measured, training: str) -> dict[str, object]:
    """How to feed the descriptor, and what it was measured to do."""
    return {
        "size": [SIZE, SIZE],
        "colour": "grey",
        "mean": [0.5],
        "std": [0.5],
        "theta": measured.theta,
        "radius": measured.radius,
        "origin": measured.origin,
        "auc": measured.auc,
        "eer": measured.eer,
        "training": training,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the demo's generators and descriptor.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps of the GAN")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    return options


if __name__ == "__main__":
    main()
