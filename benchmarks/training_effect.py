"""What the regularisers do to small trainings, over seeds: mean, spread, and paired differences.

    python benchmarks/training_effect.py [--only ring grid ...] [--digits FOLDER]
        [--portraits FOLDER] [--jobs 2] [--seeds N] [--out results.jsonl]

ring and grid are toys of known modes: modes covered (a quarter of an equal share of good points),
share of good points (within three spreads of a centre). The MNIST cases need a folder with
t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz and lenet5.pth (84 features, non-negative):
networks of width 8 on the 10,000 images padded to 32 pixels, batches of 32, learning rate .001 (so
narrow a pair collapses at the usual .0002), 2,000 steps; then 1,000 anchors and 3,000 samples of an
averaged generator under LeNet, theta = radius = 0.1, beside the training images: Fréchet distance,
density and coverage (k = 5), worst mode's rate, mu at n = 3,000.
orl-stylegan2 needs a folder with mobilefacenet.onnx and the 400 ORL portraits, these in its folder
pictures: StyleGAN2 of at most 64 channels on middle squares of 32 pixels, latents of 64, batches of
16, the preset auto; the same figures under MobileFaceNet, theta = radius = 0.25. Real images are
400 there, so that distances are those of 300 to 300.
-z moves latents 30 steps of 0.03 up the discriminator's logit before they are rendered (on toys 100
of 0.003, of two coordinates).

Every seed is a training of its own, the same for every method; a difference is taken seed by seed,
its interval is Student's over seeds. Finished trainings are read from --out, so that a benchmark
that was interrupted goes on.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from ganaudit.checkpoints.state_dicts import fill, read_state_dict
from ganaudit.config import DiagnoseConfig, TrainConfig
from ganaudit.descriptors import DescriptorCard, unit_rows
from ganaudit.files import sha256_of
from ganaudit.images import to_rgb
from ganaudit.pipeline import diagnose
from ganaudit.regularizers.searching import ascended
from ganaudit.slots import Draws, Prior
from ganaudit.training import loop
from ganaudit.training.audits import figures_of
from ganaudit.training.averaging import settled
from ganaudit.training.data import TrainingData, read_training_data
from ganaudit.training.pictured import points_of
from ganaudit.training.randomness import draw_latents, stream
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import State, make_state
from ganaudit.training.toys import TOYS, covered

ANCHORS, SAMPLES, REACH = 1_000, 3_000, 0.1
REFINED = (0.03, 30)  # step and steps of -z
QUA = ("advlatgan-qua",)
REFINED_QUA = "advlatgan-qua and -z"


@dataclass(frozen=True)
class Method:
    """Regularisers of a training, and whether its latents are refined afterwards."""

    reg: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    refined: bool = False


METHODS = {
    "baseline": Method(),
    "adaptivemix": Method(("adaptivemix",)),
    "adaptivemix, detached": Method(("adaptivemix",), ("adaptivemix.detach=true",)),
    "adaptivemix, cosine": Method(
        ("adaptivemix",), ("adaptivemix.distance=cosine", "adaptivemix.detach=true")
    ),
    "advlatgan-qua": Method(QUA),
    REFINED_QUA: Method(QUA, refined=True),
    "mode-seeking": Method(("mode-seeking",)),
    "advlatgan-div": Method(("advlatgan-div",)),
}
TOY_METHODS = (
    "baseline",
    "adaptivemix",
    "adaptivemix, detached",
    "adaptivemix, cosine",
    "advlatgan-qua",
    REFINED_QUA,
)  # fmt: skip
IMAGE_METHODS = ("baseline", "adaptivemix", "advlatgan-qua", REFINED_QUA)


@dataclass(frozen=True)
class Case:
    """One training, which the methods change."""

    data: str
    methods: tuple[str, ...]
    steps: int
    seeds: int
    arch: str
    loss: str = "non-saturating"
    settings: tuple[str, ...] = ()
    latent_size: int = 64


SMALL = ("generator.width=8", "discriminator.width=8", "optim.lr=1e-3")
CRITIC = (*SMALL, "optim.beta1=0", "optim.beta2=0.9", "loss.clip=0.1")
TOY = ("optim.lr=1e-3", "optim.ema=0", "advlatgan-qua.step=.01")
FACES = (
    "descriptor.size=112", "descriptor.mean=0.485,0.456,0.406", "descriptor.std=0.229,0.224,0.225",
)  # fmt: skip
BATCHES = {"mnist": 32, "portraits": 16}  # of points 128
STYLED = ("generator.channel_max=64", "discriminator.channel_max=64")
CASES = {
    "ring": Case("toy:ring", TOY_METHODS, 3_000, 5, "mlp", settings=TOY, latent_size=2),
    "grid": Case("toy:grid", TOY_METHODS, 8_000, 5, "mlp", settings=TOY, latent_size=2),
    "mnist-dcgan": Case("mnist", IMAGE_METHODS, 2_000, 5, "dcgan", settings=SMALL),
    "mnist-wgan": Case("mnist", IMAGE_METHODS, 2_000, 3, "dcgan", "wgan", CRITIC),
    "mnist-cdcgan": Case("mnist", ("baseline", "mode-seeking", "advlatgan-div"), 2_000, 3,
                         "cdcgan", settings=SMALL),
    "orl-stylegan2": Case("portraits", ("baseline", "adaptivemix"), 2_500, 3, "stylegan2",
                          settings=STYLED),
}  # fmt: skip


class LeNet(nn.Module):
    """84 features of LeNet-5 on a picture of a digit, 32 x 32 in [0, 1]: a descriptor."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.card = DescriptorCard(
            name="lenet5", weights_sha256=sha256_of(weights), theta=REACH, radius=REACH
        )
        self.convnet = nn.ModuleDict(
            {"c1": nn.Conv2d(1, 6, 5), "c3": nn.Conv2d(6, 16, 5), "c5": nn.Conv2d(16, 120, 5)}
        )
        self.fc = nn.ModuleDict({"f6": nn.Linear(120, 84), "f7": nn.Linear(84, 10)})
        fill(self, read_state_dict(weights), network="lenet5")

    @torch.no_grad()
    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows [N, 84]; not valid where no feature is active."""
        found = torch.max_pool2d(torch.relu(self.convnet["c1"](images[:, :1].float() / 255)), 2)
        found = torch.max_pool2d(torch.relu(self.convnet["c3"](found)), 2)
        found = torch.relu(self.fc["f6"](torch.relu(self.convnet["c5"](found)).flatten(1)))
        valid = found.norm(dim=1) > 0
        return unit_rows(torch.where(valid[:, None], found, torch.ones_like(found))), valid


class Trained:
    """A trained generator as a source of an audit; its latents are refined if asked for."""

    prior: Prior = "normal"

    def __init__(self, state: State, recipe: Recipe, labels: int, *, refined: bool) -> None:
        latents = draw_latents(stream(0, "settled"), 2_000, recipe.latent_shape)
        classes = torch.arange(2_000) % labels if labels else None
        self._generator = settled(state.average, latents, classes, batch=64)
        self._judge = state.discriminator.eval().requires_grad_(False)
        self.latent_shape, self.num_labels, self._refined = recipe.latent_shape, labels, refined

    def render(self, draws: Draws) -> Tensor:
        """uint8 [N, 3, 32, 32]."""
        latents, labels = draws.latents, draws.labels
        assert latents is not None
        given: tuple[Tensor, ...] = () if labels is None else (labels,)
        if self._refined:
            step, steps = REFINED
            with torch.inference_mode(False):  # audits render in inference mode
                given = tuple(value.clone() for value in given)
                latents = ascended(
                    latents.clone(),
                    lambda here: self._judge(self._generator(here, *given)).sum(),
                    step=step,
                    steps=steps,
                )
        with torch.no_grad():
            images = self._generator(latents, *given)
        return to_rgb(images, value_range=(-1, 1), layout="NCHW")


def train(case: Case, method: Method, seed: int, data: TrainingData) -> tuple[State, Recipe]:
    """A training from its first to its last step."""
    config = TrainConfig(
        data=case.data,
        arch=case.arch,
        loss=case.loss,
        reg=method.reg,
        steps=case.steps,
        batch=BATCHES.get(case.data, 128),
        latent_size=case.latent_size,
        seed=seed,
        set=_asked(case.settings, method),
    )
    labels = data.num_labels if case.arch == "cdcgan" else 0
    recipe = resolve_recipe(config, image_shape=data.image_shape, num_labels=labels)
    state = make_state(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        ending = loop.train(Fabric(accelerator="cpu", devices=1), recipe, data, state)
    if ending.status != "finished":
        raise RuntimeError(f"{case.data} {method.reg} seed {seed}: {ending.message}")
    return state, recipe


def _asked(settings: tuple[str, ...], method: Method) -> tuple[str, ...]:
    """Settings of a regulariser that is not asked for are left out."""
    plain = ("generator", "discriminator", "loss", "optim", "styles", "augment")
    kept = [pair for pair in settings if pair.split(".")[0] in (*plain, *method.reg)]
    return (*kept, *method.settings)


def measure(name: str, which: Sequence[str], seed: int, folder: Path | None) -> dict[str, Any]:
    """Figures by method of those methods that share one training."""
    torch.set_num_threads(1)
    case, first = CASES[name], METHODS[which[0]]
    data = _data(case, folder)
    state, recipe = train(case, first, seed, data)
    found = {}
    for method in which:
        refined = METHODS[method].refined
        if data.are_points:
            found[method] = _toy(case, state, recipe, refined=refined)
        else:
            assert folder is not None
            labels = data.num_labels if case.arch == "cdcgan" else 0
            source = Trained(state, recipe, labels, refined=refined)
            found[method] = _audited(source, data, case, folder, seed)
    return found


def _data(case: Case, folder: Path | None) -> TrainingData:
    if folder is None:
        return read_training_data(case.data)
    if case.data == "portraits":
        return read_training_data(str(folder / "pictures"), size=32, fit="crop")
    return read_training_data(
        str(folder / "t10k-images-idx3-ubyte.gz"),
        size=32,
        fit="pad",
        labels=str(folder / "t10k-labels-idx1-ubyte.gz"),
    )


def _toy(case: Case, state: State, recipe: Recipe, *, refined: bool) -> dict[str, float]:
    toy = TOYS[case.data.removeprefix("toy:")]()
    generator, judge = state.average.eval(), state.discriminator.eval().requires_grad_(False)
    if refined:
        latents = draw_latents(stream(1, "toy"), 10_000, recipe.latent_shape)
        latents = ascended(latents, lambda z: judge(generator(z)).sum(), step=0.003, steps=100)
        with torch.no_grad():
            points = generator(latents).numpy()
    else:
        points = points_of(
            generator,
            10_000,
            latent_shape=recipe.latent_shape,
            prior=recipe.prior,
            seed=1,
            device=torch.device("cpu"),
        )
    found = covered(points, toy)
    return {"modes": found.modes, "good": found.good, "largest mode": found.largest}


def _audited(
    source: Trained, data: TrainingData, case: Case, folder: Path, seed: int
) -> dict[str, float]:
    faces = case.data == "portraits"
    reach = 0.25 if faces else REACH
    with tempfile.TemporaryDirectory() as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = diagnose(
            DiagnoseConfig(
                generator="trained",
                anchors=ANCHORS,
                samples=SAMPLES,
                descriptor=f"onnx:{folder / 'mobilefacenet.onnx'}" if faces else None,
                set=FACES if faces else (),
                theta=reach,
                radius=reach,
                seed=1_000 + seed,
                batch=64,
                reference="training data",
                out=Path(out) / "run",
            ),
            source=source,
            descriptor=None if faces else LeNet(folder / "lenet5.pth"),
            reference=data.source(),
        ).report
    found = figures_of(report)
    return {
        "Fréchet": found["frechet_distance"],
        "density": found["density"],
        "coverage": found["coverage"],
        "worst mode %": 100 * found["worst_rate"]["estimate"],
        "mu": found["mu"]["estimate"],
        "Vendi": found["vendi"]["estimate"],
    }


def jobs_of(names: Sequence[str], seeds: int | None) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """(case, methods of one training, seed), seed by seed."""
    for name in names:
        case = CASES[name]
        for seed in range(seeds or case.seeds):
            trainings: dict[tuple[Any, ...], list[str]] = {}
            for method in case.methods:
                made = METHODS[method]
                trainings.setdefault((made.reg, made.settings), []).append(method)
            for methods in trainings.values():
                yield name, tuple(methods), seed


def what(name: str, method: str) -> str:
    """All that decides a training but its seed: results of other settings are no results."""
    return repr((replace(CASES[name], methods=(), seeds=0), METHODS[method]))


def table(name: str, lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A case as Markdown: mean (spread over seeds), and the difference with its interval."""
    mine = {
        (line["method"], line["seed"]): line["figures"] for line in lines if line["case"] == name
    }
    if not mine:
        return
    methods = [m for m in CASES[name].methods if any(key[0] == m for key in mine)]
    figures = list(next(iter(mine.values())))
    yield f"\n**{name}**, {CASES[name].steps:,} steps\n"
    yield f"| method | seeds | {' | '.join(figures)} |"
    yield "|---|---|" + "---|" * len(figures)
    for method in methods:
        seeds = sorted(seed for m, seed in mine if m == method)
        cells = []
        for figure in figures:
            values = np.array([mine[method, seed][figure] for seed in seeds])
            spread = f" (sd {values.std(ddof=1):.3g})" if len(values) > 1 else ""
            apart = _against(mine, method, figure, seeds)
            cells.append(f"{values.mean():.4g}{spread}{apart and f'; {apart}'}")
        yield f"| {method} | {len(seeds)} | {' | '.join(cells)} |"
    if REFINED_QUA in methods:  # the same generators, so that nothing but -z differs
        seeds = sorted(seed for m, seed in mine if m == REFINED_QUA)
        found = [_against(mine, REFINED_QUA, figure, seeds, to=QUA[0]) for figure in figures]
        yield f"| -z against the same without | {len(seeds)} | {' | '.join(found)} |"


def _against(
    mine: dict[Any, Any], method: str, figure: str, seeds: Sequence[int], *, to: str = "baseline"
) -> str:
    """The paired difference to the baseline, or another, with its 95 % interval."""
    both = [seed for seed in seeds if (to, seed) in mine]
    if method == to or len(both) < 2:
        return ""
    apart = np.array([mine[method, s][figure] - mine[to, s][figure] for s in both])
    half = stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / len(apart) ** 0.5
    return f"{apart.mean():+.3g} ± {half:.2g}"


def main() -> None:
    """Run what is missing, print every table."""
    parser = argparse.ArgumentParser(description="What regularisers do to small trainings.")
    parser.add_argument("--only", nargs="+", choices=CASES, help="cases [those there are data for]")
    parser.add_argument("--digits", type=Path, help="folder with MNIST's test set and lenet5.pth")
    parser.add_argument(
        "--portraits", type=Path, help="folder with pictures and mobilefacenet.onnx"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, a thread each")
    parser.add_argument("--seeds", type=int, help="of every case [5, and 3 of the slower ones]")
    parser.add_argument("--out", type=Path, default=Path("training_effect.jsonl"))
    options = parser.parse_args()
    folders = {"mnist": options.digits, "portraits": options.portraits}
    names = options.only or [
        name for name, case in CASES.items() if folders.get(case.data, options.out) is not None
    ]
    lines = []
    if options.out.exists():
        lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    lines = [line for line in lines if line["of"] == what(line["case"], line["method"])]
    done = {(line["case"], line["method"], line["seed"]) for line in lines}
    missing = [
        job for job in jobs_of(names, options.seeds)
        if any((job[0], method, job[2]) not in done for method in job[1])
    ]  # fmt: skip
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = {
            pool.submit(measure, *job, folders.get(CASES[job[0]].data)): job for job in missing
        }
        for future in as_completed(futures):
            name, _, seed = futures[future]
            for method, figures in future.result().items():
                line = {"case": name, "method": method, "seed": seed, "figures": figures}
                lines.append(line | {"of": what(name, method)})
                with options.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    for name in names:
        print("\n".join(table(name, lines)))


if __name__ == "__main__":
    main()
