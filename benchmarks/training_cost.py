"""What a training step costs with a regulariser, against the same step without.

    python benchmarks/training_cost.py [--sizes 32 64] [--width 16] [--batch 64] [--rounds 15]
        [--timed 4] [--threads 1] [--device cpu]

A DCGAN of the given width on random pixels (what they show costs nothing), through the library's
own loop. All variants take turns, a few timed steps each a round, in an order that turns too;
figures are medians over rounds of a step's time, and of its ratio to that of its own round. On the
CPU time is processor time, of all threads: what else a machine does is left out. Aims:

- adaptivemix, pairs within real and fake: at most 1.75 times the plain step;
- advlatgan-qua, one move of the latents: at most 1.6 times;
- the released AdaptiveMix (mixed logits) looks at both images of a pair and at their mix; ours
  looks at no image twice and computes the same (that is checked): at least 1.2 times as fast.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.config import TrainConfig
from ganaudit.regularizers.adaptivemix import AdaptiveMix, Mix
from ganaudit.training import loop
from ganaudit.training.data import TrainingData
from ganaudit.training.judging import Judge, Judged, Penalty
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import State, make_state

IMAGES, LATENT_SIZE = 512, 100
AROUND = 2  # steps of a turn that are not timed: the first, and the last, after which a loop ends
PLAIN, RELEASE, PEER = "plain", "adaptivemix as released", "its three passes"
VARIANTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # regularisers, settings
    PLAIN: ((), ()),
    "adaptivemix within": (("adaptivemix",), ("adaptivemix.pairing=within",)),
    "adaptivemix union": (("adaptivemix",), ()),
    RELEASE: (("adaptivemix",), ("adaptivemix.preset=release",)),
    PEER: (("adaptivemix",), ("adaptivemix.preset=release",)),
    "advlatgan-qua": (("advlatgan-qua",), ()),
    "advlatgan-div": (("advlatgan-div",), ()),
    "mode-seeking": (("mode-seeking",), ()),
}
AIMS = {"adaptivemix within": 1.75, "advlatgan-qua": 1.6}  # times the plain step, at most
FASTER = 1.2  # times as fast as the three passes, at least


class ThreePasses(Judge):
    """A mix as the released code judges it: both images of each pair, and their mix."""

    def forward(
        self,
        images: Tensor | None,
        labels: Tensor | None = None,
        mix: Mix | None = None,
        parts: tuple[int, ...] = (),
        penalty: Penalty | None = None,
    ) -> Any:
        """As `Judge.forward`, of a mix with logits mixed-sum."""
        if mix is None or images is None:
            return super().forward(images, labels, mix, parts, penalty)
        network: Any = self.network
        first, partner, mixed = (
            network.features(rows)
            for rows in (images[mix.first], images[mix.partner], mix.of(images))
        )
        weight = mix.weight.reshape(-1, *[1] * (first.ndim - 1))
        target = weight * first + (1 - weight) * partner
        return Judged(network.head(target) + network.head(mixed), None, first, mixed)


@contextmanager
def judged_by(judge: type[Judge]) -> Iterator[None]:
    """The loop's discriminator is wrapped in this class."""
    usual: Any = vars(loop)["Judge"]
    vars(loop)["Judge"] = judge
    try:
        yield
    finally:
        vars(loop)["Judge"] = usual


@dataclass
class Runner:
    """One variant, which goes on where it stopped."""

    fabric: Any
    recipe: Recipe
    data: TrainingData
    state: State
    judge: type[Judge]
    timed: int
    step: int = 0

    def turn(self) -> float:
        """Seconds of a step, a mean over some."""
        times: list[float] = []
        stop = self.step + self.timed + AROUND
        with judged_by(self.judge):
            ending = loop.train(
                self.fabric,
                replace(self.recipe, steps=stop),
                self.data,
                self.state,
                start=self.step,
                after_step=lambda step, values: times.append(self._now()),
            )
        if ending.status != "finished":
            raise RuntimeError(ending.message)
        self.step = stop
        return (times[self.timed] - times[0]) / self.timed

    def _now(self) -> float:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()


def runner(
    fabric: Any, data: TrainingData, name: str, *, width: int, batch: int, timed: int
) -> Runner:
    """The runner of a variant, before its first step."""
    reg, settings = VARIANTS[name]
    config = TrainConfig(
        data="random",
        arch="dcgan",
        reg=reg,
        batch=batch,
        latent_size=LATENT_SIZE,
        steps=1,
        set=(f"generator.width={width}", f"discriminator.width={width}", *settings),
    )
    recipe = resolve_recipe(config, image_shape=data.image_shape, num_labels=0)
    judge = ThreePasses if name == PEER else Judge
    return Runner(fabric, recipe, data, make_state(recipe), judge, timed)


def pixels(size: int) -> TrainingData:
    """Random images."""
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (IMAGES, 3, size, size), generator=rng, dtype=torch.uint8)
    return TrainingData(images=drawn, identity={"random": size})


def check_peer(made: Runner) -> None:
    """Both designs give the same logits and the same loss.

    Raises:
      RuntimeError: they do not.
    """
    network, rows = made.state.discriminator, made.data.batch(torch.arange(16))
    mixing = AdaptiveMix.preset("release")
    mix = mixing.draw(8, 8, torch.Generator().manual_seed(1))
    found = []
    with torch.no_grad():
        for judge in (Judge(network), ThreePasses(network)):
            judged = judge(rows, None, mix, (8, 8))
            assert judged.mixed_features is not None
            rng = torch.Generator().manual_seed(2)
            loss = mixing.loss(judged.features, judged.mixed_features, mix, rng)
            found.append(torch.cat([judged.logits, loss[None]]))
    if not torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-5):
        raise RuntimeError("the three passes are not what they are compared with")


def measure(make: Callable[[str], Runner], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Seconds of a step by variant, [rounds]."""
    runners = {name: make(name) for name in VARIANTS}
    check_peer(runners[PEER])
    for one in runners.values():
        one.turn()  # memory is allocated, kernels are chosen
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(runners[name].turn())
    return {name: np.array(found) for name, found in times.items()}


def table(times: Mapping[str, NDArray[np.float64]]) -> Iterator[str]:
    """Markdown: a row a variant, and what became of the aims."""
    yield "| step | ms, median | times the plain step: median (quartiles) | aim |"
    yield "|---|---|---|---|"
    for name, found in times.items():
        ratio, shown = _ratio(found, times[PLAIN])
        aim = f"at most {AIMS[name]:g}: {_verdict(ratio <= AIMS[name])}" if name in AIMS else ""
        yield f"| {name} | {1e3 * np.median(found):.1f} | {shown} | {aim} |"
    faster, shown = _ratio(times[PEER], times[RELEASE])
    yield f"\nThe three passes take {shown} times our two: aim at least {FASTER:g}, " + _verdict(
        faster >= FASTER
    )


def _ratio(some: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, str]:
    low, middle, high = np.quantile(some / others, (0.25, 0.5, 0.75))
    return float(middle), f"{middle:.2f} ({low:.2f} - {high:.2f})"


def _verdict(met: bool) -> str:
    return "met" if met else "SHORT"


def run(
    sizes: Sequence[int], *, width: int, batch: int, rounds: int, timed: int, device: str
) -> None:
    """Measure and print every size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        fabric: Any = Fabric(accelerator=device, devices=1)
        for size in sizes:
            data = pixels(size)

            def make(name: str, data: TrainingData = data) -> Runner:
                return runner(fabric, data, name, width=width, batch=batch, timed=timed)

            print(f"\nDCGAN, {size} pixels, width {width}, batch {batch}, {rounds} rounds\n")
            print("\n".join(table(measure(make, rounds))), flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="What a regularised training step costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--timed", type=int, default=4, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run(
        options.sizes,
        width=options.width,
        batch=options.batch,
        rounds=options.rounds,
        timed=options.timed,
        device=options.device,
    )


if __name__ == "__main__":
    main()
