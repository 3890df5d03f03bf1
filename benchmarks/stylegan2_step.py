"""A step of StyleGAN2's training beside that of stylegan2-ada-pytorch, in one run.

    python benchmarks/stylegan2_step.py PEER [--size 64] [--batch 16] [--channels 64] [--ada P]
        [--rounds 5] [--threads 1] [--device cpu]

PEER is a folder with that project's files (NVIDIA's licence allows research only; nothing of it is
part of ganaudit). Both have the settings `auto`, the same sizes and 16 steps a turn, one of them
with R1 and four with path lengths, and take turns; figures are medians over turns of images a
second, and of their ratio in the same turn. On the CPU time is processor time. On a GPU there are
also the peaks of memory, and with --half the four largest sizes in 16 bits, of both.

Aims: at least as many images a second, and at most as much memory.
"""

import argparse
import copy
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ganaudit.config import TrainConfig
from ganaudit.training import loop
from ganaudit.training.data import TrainingData
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import make_state

STEPS = 16  # of a turn: both penalties fall into it as often as in a long training


def recipe_of(options: argparse.Namespace, data: TrainingData) -> Recipe:
    """Settings of both."""
    widths = [f"{role}.channel_max={options.channels}" for role in ("generator", "discriminator")]
    ada = ("ada",) if options.ada else ()
    config = TrainConfig(
        data="noise",
        arch="stylegan2",
        batch=options.batch,
        steps=STEPS * (options.rounds + 1),
        augment=ada,
        precision="16" if options.half else "32",
        set=(*widths, *((f"augment.p={options.ada}",) if ada else ())),
    )
    return resolve_recipe(config, image_shape=data.image_shape, num_labels=0)


def ours(options: argparse.Namespace, data: TrainingData, recipe: Recipe) -> Iterator[None]:
    """A training that stops after every turn."""
    import threading
    from queue import Queue

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        accelerator = options.device.partition(":")[0]
        precision: Any = "16-mixed" if options.half else "32-true"
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    go: Queue[None] = Queue()
    done: Queue[None] = Queue()

    def after_step(step: int, values: Any) -> None:
        if step % STEPS == 0:
            done.put(None)
            go.get()

    def work() -> None:
        go.get()
        loop.train(fabric, recipe, data, make_state(recipe), after_step=after_step)

    threading.Thread(target=work, daemon=True).start()
    while True:
        go.put(None)
        done.get()
        yield


def theirs(options: argparse.Namespace, data: TrainingData, recipe: Recipe) -> Iterator[None]:
    """Turns of the peer's own networks, loss, augmentation and optimizers."""
    sys.path.insert(0, options.peer)
    peer: Iterator[Any] = (
        importlib.import_module(name)
        for name in (
            "training.augment", "training.loss", "training.networks", "torch_utils.training_stats",
        )
    )  # fmt: skip
    augment, loss, networks, training_stats = peer

    def report(name: str, value: Any) -> Any:
        return value

    training_stats.report = report
    device = torch.device(options.device)
    size, batch = options.size, options.batch
    made = recipe.generator.arguments
    half: dict[str, Any] = {"num_fp16_res": 4 if options.half else 0, "conv_clamp": 256}
    widths = {"channel_base": made["channel_base"], "channel_max": made["channel_max"]}
    common = {"c_dim": 0, "img_resolution": size, "img_channels": 3}
    generator = networks.Generator(
        z_dim=made["z_dim"],
        w_dim=made["w_dim"],
        mapping_kwargs={"num_layers": made["mapping_num_layers"]},
        synthesis_kwargs={**widths, **half},
        **common,
    )
    group = recipe.discriminator.arguments["mbstd_group_size"]
    judge = networks.Discriminator(epilogue_kwargs={"mbstd_group_size": group}, **widths, **half,
                                   **common)  # fmt: skip
    pipe = None
    if options.ada:
        names = ("xflip rotate90 xint scale rotate aniso xfrac brightness contrast lumaflip hue "
                 "saturation")  # fmt: skip
        pipe = augment.AugmentPipe(**dict.fromkeys(names.split(), 1)).to(device)
        pipe.p.copy_(torch.tensor(options.ada))
    average = copy.deepcopy(generator).eval().requires_grad_(False).to(device)
    generator, judge = (net.train().requires_grad_(False).to(device) for net in (generator, judge))
    work = loss.StyleGAN2Loss(
        device, generator.mapping, generator.synthesis, judge, augment_pipe=pipe,
        r1_gamma=recipe.settings.r1,
    )  # fmt: skip
    rates, betas = recipe.rates(0), recipe.betas()
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=rate, betas=pair)
        for net, rate, pair in zip((generator, judge), rates, betas, strict=True)
    ]
    phases = [("Gmain", 0, 1), ("Greg", 0, 4), ("Dmain", 1, 1), ("Dreg", 1, 16)]
    none = torch.zeros([batch, 0], device=device)
    step = 0
    while True:
        for _ in range(STEPS):
            rows = torch.randint(len(data), (batch,))
            real = data.images[rows].to(device).float() / 127.5 - 1
            for name, which, every in phases:
                if step % every:
                    continue
                network, optimizer = (generator, judge)[which], optimizers[which]
                optimizer.zero_grad(set_to_none=True)
                network.requires_grad_(True)
                latents = torch.randn([batch, generator.z_dim], device=device)
                work.accumulate_gradients(name, real, none, latents, none, sync=True, gain=every)
                network.requires_grad_(False)
                optimizer.step()
            with torch.no_grad():
                for mean, value in zip(average.parameters(), generator.parameters(), strict=True):
                    mean.copy_(value.lerp(mean, 0.999))
            step += 1
        yield


def measured(turn: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Seconds of a turn, and MiB at its peak (0 on the CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begun = clock()
    turn()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return clock() - begun, torch.cuda.max_memory_allocated(device) / 2**20
    return clock() - begun, 0.0


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description="A StyleGAN2 step beside its authors' own.")
    parser.add_argument("peer", help="folder of stylegan2-ada-pytorch")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=64, help="at most, of a layer")
    parser.add_argument("--ada", type=float, default=0.0, help="probability of its changes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    rng = torch.Generator().manual_seed(0)
    shape = (512, 3, options.size, options.size)
    pixels = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    data = TrainingData(images=pixels, identity={"name": "noise"})
    recipe = recipe_of(options, data)
    turns = {
        name: make(options, data, recipe) for name, make in (("ours", ours), ("theirs", theirs))
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for number in range(options.rounds + 1):
        order = list(turns) if number % 2 else list(turns)[::-1]
        for name in order:
            figures = measured(lambda name=name: next(turns[name]), device)  # type: ignore[misc]
            if number:
                found[name].append(figures)
    seconds = {name: np.array(rows)[:, 0] for name, rows in found.items()}
    for name, rows in found.items():
        rate = STEPS * options.batch / np.median(seconds[name])
        memory = f", {max(row[1] for row in rows):,.0f} MiB" if device.type == "cuda" else ""
        print(f"{name}: {rate:.1f} images a second{memory}")
    ratio = seconds["theirs"] / seconds["ours"]
    low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
    met = "met" if middle >= 1 else "SHORT"
    print(f"ours is {middle:.2f} ({low:.2f} - {high:.2f}) times as fast: aim at least 1, {met}")


if __name__ == "__main__":
    main()
