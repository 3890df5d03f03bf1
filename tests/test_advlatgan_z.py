"""Latents moved along a discriminator's gradient: bounds, invariances, and a plain loop."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TESTS
from scipy.stats import norm
from torch import Tensor, nn

from ganaudit import networks
from ganaudit.calibration.advlatgan_z import PRESETS, fit, furthest, measure, refine, refiner_of
from ganaudit.calibration.latents import Space
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.checkpoints.native import save_native
from ganaudit.discriminators import Discriminator, open_discriminator
from ganaudit.errors import ConfigError
from ganaudit.slots import Draws, Stream, draw

NAMED = {"spec": "d.pt", "options": {}, "identity": {"sha256": "ab"}}
SPACE = Space((6,), "normal")
CPU = torch.device("cpu")
NETWORKS = TESTS / "artefacts" / "networks.py"


def refiner(**changes: Any) -> LatentRefiner:
    usual: dict[str, Any] = {
        "space": SPACE,
        "attack": "i-fgsm",
        "step": 0.05,
        "steps": 7,
        "ball": None,
        "momentum": 0.0,
        "discriminator": NAMED,
    }
    return LatentRefiner(**{**usual, **changes})


class Generator(nn.Module):
    """Latents [N, 6] to "images" [N, 1, 2, 3], through a batch norm and a bend."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
        return torch.tanh(self.norm(self.linear(latents))).reshape(-1, 1, 2, 3)


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def pair() -> tuple[Generator, Discriminator]:
    return Generator().eval(), Discriminator(Judge().eval(), {})


class Changed(nn.Module):
    """A judge whose logit goes through an increasing function."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.judge, self.change = Judge().eval(), change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.judge(images))


def latents(count: int = 11, space: Space = SPACE) -> Tensor:
    return torch.from_numpy(space.draw(np.arange(count), seed=2, stream=Stream.SAMPLES))


def moved(made: LatentRefiner, start: Tensor, **given: Any) -> Tensor:
    source, judge = pair()
    return refine(made, start, source=source, judge=judge, **given)


def test_every_row_takes_the_steps_of_a_plain_loop() -> None:
    source, judge = (part.double() if isinstance(part, nn.Module) else part for part in pair())
    judge._module.double()
    start = latents().double()
    found = refine(refiner(), start, source=source, judge=judge)
    for row, end in zip(start, found, strict=True):
        here = row.clone()
        for _ in range(7):
            here.requires_grad_(True)
            (slope,) = torch.autograd.grad(judge(source(here[None]))[0], here)
            here = (here + 0.05 * slope.sign()).detach()
        assert torch.allclose(here, end, atol=1e-12)


def test_momentum_adds_up_unit_gradients() -> None:
    source, judge = (part.double() if isinstance(part, nn.Module) else part for part in pair())
    judge._module.double()
    start = latents(20).double()

    def ends(momentum: float) -> Tensor:
        made = refiner(attack="mi-fgsm", momentum=momentum, step=0.5)  # long: slopes turn round
        return refine(made, start, source=source, judge=judge)

    found = ends(0.7)
    assert not torch.equal(found, ends(0.0)) and not torch.equal(found, ends(1.0))
    for row, end in zip(start, found, strict=True):
        here, velocity = row.clone(), torch.zeros(6, dtype=torch.float64)
        for _ in range(7):
            here.requires_grad_(True)
            (slope,) = torch.autograd.grad(judge(source(here[None]))[0], here)
            velocity = 0.7 * velocity + slope / slope.abs().sum()
            here = (here + 0.5 * velocity.sign()).detach()
        assert torch.allclose(here, end, atol=1e-12)


def test_no_coordinate_moves_further_than_the_steps_and_each_by_whole_ones() -> None:
    start = latents(200)
    move = moved(refiner(), start) - start
    assert float(move.abs().max()) <= 7 * 0.05 + 1e-6
    steps = move / 0.05
    assert torch.allclose(steps, steps.round(), atol=1e-4)  # float32: 1e-7 of a value, over .05


@pytest.mark.parametrize("attack", ["i-fgsm", "pgd", "mi-fgsm"])
@pytest.mark.parametrize("prior", ["normal", "uniform", "truncated", "spherical"])
def test_the_ball_and_the_priors_support_are_kept(attack: Any, prior: Any) -> None:
    space = Space((6,), prior)
    start = latents(300, space)
    made = refiner(attack=attack, ball=0.12, space=space, momentum=0.5)
    seeds = torch.arange(300)
    found = moved(made, start, seeds=seeds)
    low, high = start - 0.12, start + 0.12
    assert bool(((found >= low) & (found <= high)).all())  # to the bit
    limit = {"uniform": 1.0, "truncated": 2.0}.get(prior, np.inf)
    assert float(found.abs().max()) <= limit
    assert not torch.equal(found, start)


def test_pgd_starts_where_the_slot_says() -> None:
    made = refiner(attack="pgd", ball=0.3, steps=1, step=1e-9)
    start, seeds = latents(40), torch.arange(40) + 5
    whole = moved(made, start, seeds=seeds)
    alone = moved(made, start[17:18], seeds=seeds[17:18])
    assert torch.allclose(whole[17:18], alone, atol=1e-6)
    # Uniform in [-.3, .3]: 240 values of variance .03; 4 standard errors of their mean.
    assert abs(float((whole - start).mean())) < 4 * (0.03 / 240) ** 0.5
    assert 0.25 < float((whole - start).abs().max()) <= 0.3
    again = moved(made, start, seeds=seeds + 1)
    assert not torch.allclose(whole, again, atol=1e-3)
    # Nor does it start at the lots of another calibrator that is in front.
    assert not torch.allclose(whole, moved(made, start, seeds=seeds, salt=3), atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: -nn.functional.softplus(-x),
        lambda x: nn.functional.logsigmoid(x),
        lambda x: 3 * x - 8,
    ],
)
def test_increasing_functions_of_the_logit_change_nothing(
    change: Callable[[Tensor], Tensor],
) -> None:
    source = Generator().eval().double()
    start = latents().double()
    ends = [
        refine(refiner(), start, source=source, judge=Discriminator(one.double().eval(), {}))
        for one in (Judge(), Changed(change))
    ]
    assert torch.equal(*ends)


def test_a_linear_pair_gains_what_the_weights_say() -> None:
    class Same(nn.Module):
        def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
            return latents.reshape(-1, 1, 2, 3)

    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, -1.0], dtype=torch.float64)

    class Along(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) @ weights

    start = latents().double()
    judge = Discriminator(Along(), {})
    found = refine(refiner(), start, source=Same(), judge=judge)
    gain = judge(Same()(found)) - judge(Same()(start))
    assert torch.allclose(gain, torch.full((11,), 7 * 0.05 * 7.5, dtype=torch.float64))
    assert torch.equal(found[:, 3], start[:, 3])  # no gradient, no move


@pytest.mark.parametrize("nothing", [{"step": 0.0}, {"steps": 0}, {"ball": 0.0}])
def test_no_step_moves_nothing(nothing: dict[str, Any]) -> None:
    assert torch.equal(moved(refiner(**nothing), latents()), latents())


def test_networks_are_left_as_they_are() -> None:
    source, judge = pair()
    before = {k: v.clone() for k, v in [*source.state_dict().items()]}
    theirs = {k: v.clone() for k, v in judge._module.state_dict().items()}
    refine(refiner(), latents(), source=source, judge=judge)
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert all(torch.equal(v, theirs[k]) for k, v in judge._module.state_dict().items())
    assert all(p.grad is None for p in [*source.parameters(), *judge._module.parameters()])


def test_it_works_where_the_pipeline_calls_it() -> None:
    with torch.no_grad():  # as generators are opened
        source, judge = pair()
    with torch.inference_mode():  # as they are rendered
        found = refine(refiner(), latents(), source=source, judge=judge)
    assert torch.equal(found, moved(refiner(), latents()))
    assert not found.requires_grad


class Classed(nn.Module):
    """Latents [N, 6] and labels to "images", by an embedding whose weights want a gradient."""

    num_labels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.mixed, self.table = nn.Linear(6, 6), nn.Embedding(3, 6)

    def forward(self, latents: Tensor, labels: Tensor, seeds: Any = None) -> Tensor:
        return torch.sin(self.mixed(latents) * self.table(labels)).reshape(-1, 1, 2, 3)


class ClassedJudge(Judge):
    num_labels = 3

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images)[:, 0] * (1.0 - labels)  # class 2 the other way, 1 not at all


def test_each_slot_is_refined_under_its_own_label() -> None:
    judge = Discriminator(ClassedJudge().eval(), {})
    source = Classed().eval()
    with torch.inference_mode():
        start, labels = latents(3), torch.arange(3)
        found = refine(refiner(), start, source=source, judge=judge, labels=labels)
    alone = Discriminator(Judge().eval(), {})
    assert torch.equal(found[1], start[1])  # no slope, no move
    for row, way in ((0, 1), (2, -1)):
        here = start[row].clone()
        for _ in range(7):
            here.requires_grad_(True)
            logit = alone(source(here[None], torch.tensor([row])))[0]
            here = (here + 0.05 * way * torch.autograd.grad(logit, here)[0].sign()).detach()
        assert torch.allclose(here, found[row], atol=1e-6)


def test_a_judge_of_other_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="knows 3 classes, the generator 0"):
        refiner_of(refiner(), Generator(), Discriminator(ClassedJudge(), {}))


def test_a_pair_of_checkpoints_is_refined_and_left_as_it_was(tmp_path: Path) -> None:
    from ganaudit_plugins.generators.checkpoint import open_checkpoint

    sizes = {"c_dim": 0, "img_resolution": 16, "img_channels": 3, "channel_base": 64,
             "channel_max": 8}  # fmt: skip
    torch.manual_seed(6)
    for name, more in (("stylegan2", {"z_dim": 6, "w_dim": 8}), ("stylegan2_discriminator", {})):
        module = networks.build(name, sizes | more)
        path = tmp_path / f"{name}.safetensors"
        save_native(path, module, network=name, arguments=sizes | more, facts={"prior": "normal"})
    with torch.no_grad():
        source = open_checkpoint(str(tmp_path / "stylegan2.safetensors"), device=CPU)
        judge = open_discriminator(
            str(tmp_path / "stylegan2_discriminator.safetensors"), {}, device="cpu", code=False
        )
    before = [
        {key: value.clone() for key, value in module.state_dict().items()}
        for module in (source.module, judge._module)
    ]
    change = refiner_of(refiner(), source, judge)
    draws = draw(np.arange(12), seed=1, stream=Stream.SAMPLES, latent_shape=(6,))
    with torch.inference_mode():
        found = change(draws).latents
        parts = [change(draws[i : i + 5]).latents for i in range(0, 12, 5)]
        old, new = (judge(source.forward(z, None, draws.seeds)) for z in (draws.latents, found))
    assert found is not None and torch.allclose(found, torch.cat(parts), atol=1e-6)
    assert float((new > old).float().mean()) > 0.9
    for module, state in zip((source.module, judge._module), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_the_noise_of_a_slot_is_held() -> None:
    class Noisy(Generator):
        def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
            return super().forward(latents) * (seeds * 2.0 - 1)[:, None, None, None]

    start, (source, judge) = latents(2), pair()
    ends = [
        refine(refiner(), start, source=Noisy().eval(), judge=judge, seeds=torch.tensor(seeds))
        for seeds in ([0, 1], [1, 1])
    ]
    plain = refine(refiner(), start, source=source, judge=judge)
    assert torch.equal(ends[0][1], plain[1]) and torch.equal(ends[1], plain)
    assert not torch.equal(ends[0][0], plain[0])


class Wild(nn.Module):
    """Latents [N, 37] to images [N, 3, 2, 2], whose slopes turn round at the least change."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = nn.Linear(37, 515), nn.Linear(515, 12)

    def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
        hidden = torch.sin(16 * self.first(latents))
        return torch.sin(16 * self.second(hidden)).reshape(-1, 3, 2, 2)


class WildJudge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        layers = [nn.Flatten(), nn.Linear(12, 61), nn.Tanh(), nn.Linear(61, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.parametrize("many", [1, 7, 33])
def test_a_slot_is_the_same_in_whatever_batch_after_many_steps(many: int) -> None:
    space = Space((37,), "normal")
    source, judge = Wild().eval(), Discriminator(WildJudge().eval(), {})
    made = refiner(space=space, step=0.02, steps=100)
    start = latents(40, space)
    whole = refine(made, start, source=source, judge=judge)
    parts = [refine(made, part, source=source, judge=judge) for part in start.split(many)]
    assert torch.equal(torch.cat(parts), whole)  # to the bit
    turned = refine(made, start.flip(0), source=source, judge=judge)
    assert torch.equal(turned.flip(0), whole)


@pytest.mark.parametrize(("values", "rows"), [(10**6, 32), (6 * 5 + 1, 5), (1, 1)])
def test_so_many_rows_are_refined_at_once_as_the_size_of_an_image_says(
    values: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Watched(Generator):
        def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
            seen.append(len(latents))
            return super().forward(latents)

    monkeypatch.setattr("ganaudit.calibration.advlatgan_z._VALUES", values)
    found = refine(refiner(steps=2), latents(11), source=Watched().eval(), judge=pair()[1])
    assert len(found) == 11
    assert seen == [1] + [rows] * 2 * -(-11 // rows)  # the first alone, for its size


def test_the_settings_of_torch_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bool, bool, bool, str]] = set()
    cudnn = torch.backends.cudnn

    def settings() -> tuple[bool, bool, bool, str]:
        precision = torch.get_float32_matmul_precision()
        return cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, precision

    class Watched(Generator):
        def forward(self, latents: Tensor, labels: Any = None, seeds: Any = None) -> Tensor:
            seen.add(settings())
            return super().forward(latents)

    with cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        before = settings()
        refine(refiner(), latents(), source=Watched().eval(), judge=pair()[1])
        with pytest.raises(ConfigError, match="detaches them"):
            refine(refiner(), latents(), source=detached(), judge=pair()[1])
        assert settings() == before
    assert seen == {(False, False, True, "highest")}


def detached() -> Any:
    class Detached(Generator):
        def forward(self, latents: Tensor, *rest: Any) -> Tensor:
            return super().forward(latents).detach()

    return Detached().eval()


def test_a_judge_that_looks_at_the_batch_is_refused_for_a_single_slot_too() -> None:
    class Spread(Judge):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + images.std(dim=0, correction=0).mean()

    judge = Discriminator(Spread().eval(), {})
    with pytest.raises(ConfigError, match="it must judge every image by itself"):
        refine(refiner(), latents(1), source=pair()[0], judge=judge)


class Full(torch.autograd.Function):
    """What fits the memory forwards and does not backwards."""

    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("backwards", [False, True])
def test_a_gradient_that_does_not_fit_the_memory_is_one_sentence(backwards: bool) -> None:
    class Large(Generator):
        def forward(self, latents: Tensor, *rest: Any) -> Tensor:
            if not backwards and len(latents) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return Full.apply(super().forward(latents))

    said = "the gradient through 32 images, as many as are refined at once, does not fit the device"
    with pytest.raises(ConfigError, match=said):
        refine(refiner(), latents(), source=Large().eval(), judge=pair()[1])


def test_presets_are_those_of_the_papers() -> None:
    found = fit(SPACE, discriminator=NAMED).calibrator
    assert (found.step, found.steps, found.attack, found.ball) == (0.05, 20, "i-fgsm", None)
    assert PRESETS["sngan-celeba"] == (0.01, 100)
    assert PRESETS["wgangp-lsun"] == (0.002, 100)
    mine = fit(SPACE, discriminator=NAMED, preset="mnist", steps=3).calibrator
    assert (mine.step, mine.steps, furthest(mine)) == (0.03, 3, pytest.approx(0.09))


@pytest.mark.parametrize(
    ("prior", "given", "said"),
    [
        # U(-1, 1) has the standard deviation 1 / sqrt(3): 1 is 1.7 of it.
        ("uniform", {}, r"by up to 1, 1.7 times its standard deviation \(20 steps of 0.05\)"),
        ("normal", {"preset": "ring"}, "by up to 24, 24 times"),
        ("normal", {"ball": 0.2}, "by up to 0.2, 0.2 times"),
        ("truncated", {"ball": 3.0}, "by up to 1, 1.1 times"),
    ],
)
def test_what_a_latent_may_move_is_announced(prior: Any, given: dict[str, Any], said: str) -> None:
    sentences = fit(Space((6,), prior), discriminator=NAMED, **given).sentences
    assert re.search(said, sentences[0])


def test_the_truncated_priors_standard_deviation() -> None:
    # Of N(0, 1) given |z| <= 2: 1 - 2 * 2 * density(2) / mass.
    inside = 1 - 4 * norm.pdf(2) / (norm.cdf(2) - norm.cdf(-2))
    fitted = fit(Space((6,), "truncated"), discriminator=NAMED, step=1.0, steps=8)
    assert f"{8 * inside**-0.5:.2g} times" in fitted.sentences[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "x"}, "--preset must be one of cifar10"),
        ({"momentum": 0.5}, "--momentum belongs to --attack mi-fgsm"),
        ({"attack": "pgd"}, "say --ball"),
        ({"attack": "x"}, "attack must be one of i-fgsm, pgd, mi-fgsm"),
        ({"steps": 0}, "steps must be in"),
        ({"step": -1.0}, "step must be a number >= 0"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(SPACE, discriminator=NAMED, **given)


def test_a_generator_that_cannot_be_derived_is_refused() -> None:
    with pytest.raises(ConfigError, match="follows gradients through the generator"):
        refiner_of(refiner(), object(), pair()[1])

    class Cut(Generator):
        def forward(self, *given: Any) -> Tensor:
            return super().forward(*given).detach()

    with pytest.raises(ConfigError, match="no gradient reaches the latents"):
        refine(refiner(), latents(), source=Cut().eval(), judge=pair()[1])

    class Own(nn.Module):  # with a render of its own, whose forward is its own affair
        def forward(self, latents: Tensor) -> Tensor:
            return latents

    with pytest.raises(ConfigError, match=r"forward\(latents, labels, seeds\)"):
        refiner_of(refiner(), Own(), pair()[1])


def test_a_gradient_that_is_no_number_is_refused() -> None:
    class Rooted(Generator):
        def forward(self, latents: Tensor, *rest: Any) -> Tensor:
            return super().forward(torch.where(latents > 0, latents.sqrt(), 0.0))

    with pytest.raises(ConfigError, match="the gradient of the logit by the latents is not finite"):
        refine(refiner(), latents(), source=Rooted().eval(), judge=pair()[1])


def test_the_measure_is_of_the_logits_before_and_after() -> None:
    source, judge = pair()
    draws = draw(np.arange(50), seed=1, stream=Stream.SAMPLES, latent_shape=(6,))
    found = measure(refiner(), source=source, judge=judge, draws=draws, batch=16)
    change = refiner_of(refiner(), source, judge)
    with torch.no_grad():
        old = judge(source(draws.latents))
        new = judge(source(change(draws).latents))
    assert found["before"]["estimate"] == pytest.approx(float(old.mean()), rel=1e-5)
    assert found["after"]["estimate"] == pytest.approx(float(new.mean()), rel=1e-5)
    gain = (new - old).double().numpy()
    half = 1.96 * gain.std(ddof=1) / 50**0.5
    assert found["gain"]["estimate"] == pytest.approx(gain.mean(), rel=1e-5)
    assert found["gain"]["high"] - found["gain"]["low"] == pytest.approx(2 * half, rel=1e-4)
    assert found["raised"] == pytest.approx(float((new > old).float().mean()))
    assert found["slots"] == 50 and 0 < found["furthest"] <= 0.35 + 1e-6
    assert found["after"]["low"] > found["before"]["high"]


@pytest.mark.artefacts
@pytest.mark.parametrize(
    ("factory", "judge", "weights", "prior", "shape"),
    [
        ("Faces", "FacesDiscriminator", "faces/{}.pt", "uniform", (100,)),
        ("Wgan", "WganCritic", "digits/wgangp-{}.pth", "normal", (64,)),
    ],
)
def test_real_discriminators_take_the_moved_images_for_more_real(
    artefacts: Path, factory: str, judge: str, weights: str, prior: Any, shape: tuple[int, ...]
) -> None:
    from ganaudit_plugins.generators.python import open_python

    names = ("generator", "discriminator" if factory == "Faces" else "critic")
    files = [artefacts / weights.format(name) for name in names]
    files = [path if path.exists() else path.with_suffix(".pt") for path in files]
    source: Any = open_python(
        f"{NETWORKS}:{factory}", device=torch.device("cpu"), weights=str(files[0]), prior=prior
    )
    own = open_discriminator(
        f"python:{NETWORKS}:{judge}", {"weights": str(files[1])}, device="cpu", code=True
    )
    made = refiner(space=Space(shape, prior), steps=5)
    draws: Draws = draw(
        np.arange(64), seed=1, stream=Stream.SAMPLES, latent_shape=shape, prior=prior
    )
    found = measure(made, source=source, judge=own, draws=draws, batch=32)
    assert found["after"]["estimate"] > found["before"]["high"] and found["raised"] > 0.95
    assert found["furthest"] <= 5 * 0.05 + 1e-6
