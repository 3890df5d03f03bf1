"""A generator's own discriminator, from a checkpoint or a Python file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ganaudit_plugins.generators.checkpoint import open_checkpoint
from pickled import NvidiaNetwork, write_nvidia_pickle
from torch import Tensor, nn
from typer.testing import CliRunner

from ganaudit import networks
from ganaudit.calibration.advlatgan_z import refiner_of
from ganaudit.calibration.latents import Space
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.checkpoints.native import save_native
from ganaudit.cli import app
from ganaudit.discriminators import open_discriminator
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.slots import Draws

CODE = """
import torch
from torch import nn

class Linear(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(12))
        self.norm = nn.BatchNorm1d(12)
        self.scale = scale

    def forward(self, images):
        return self.scale * (self.norm(images.flatten(1)) @ self.weight)[:, None]

def linear(*, scale: float = 1.0):
    return Linear(scale)

class Wrong(nn.Module):
    def forward(self, images):
        return images

def wrong():
    return Wrong()

class Bad(nn.Module):
    def forward(self, images):
        return images.flatten(1).sum(1) / 0

def bad():
    return Bad()

class Batched(nn.Module):
    def forward(self, images):
        flat = images.flatten(1)
        return (flat - flat.mean(0)).square().sum(1)

def batched():
    return Batched()

class Lost(nn.Module):
    def forward(self, images):
        return self.layers(images)

def lost():
    return Lost()

class Full(nn.Module):
    def forward(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory")

def full():
    return Full()

def none():
    return 3

def raises():
    raise RuntimeError("no")
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "judges.py"
    path.write_text(CODE)
    return f"python:{path}"


def opened(spec: str, code: bool = True, **options: str) -> Any:
    return open_discriminator(spec, options, device="cpu", code=code)


def test_a_factory_gives_logits_of_images(code: str) -> None:
    judge = opened(f"{code}:linear", scale="2")
    images = torch.arange(36.0).reshape(3, 3, 2, 2)
    # Batch norm at its first state, in eval mode: x / sqrt(1 + 1e-5); weights are 1.
    assert torch.allclose(judge(images), 2 * images.flatten(1).sum(1) / (1 + 1e-5) ** 0.5)
    assert judge.identity["factory"] == "linear" and len(judge.identity["sha256"]) == 64
    assert not any(parameter.requires_grad for parameter in judge._module.parameters())


def test_a_factory_is_filled_from_a_state_dict(code: str, tmp_path: Path) -> None:
    state = opened(f"{code}:linear")._module.state_dict()
    state["weight"] = torch.full((12,), 3.0)
    torch.save(state, tmp_path / "weights.pt")
    judge = opened(f"{code}:linear", weights=str(tmp_path / "weights.pt"))
    images = torch.ones(2, 3, 2, 2)
    assert torch.allclose(judge(images), torch.tensor([36.0, 36.0]) / (1 + 1e-5) ** 0.5)
    assert len(judge.identity["weights_sha256"]) == 64
    with pytest.raises(ConfigError, match="discriminator.weights=.*no such file"):
        opened(f"{code}:linear", weights=str(tmp_path / "nothing.pt"))


def test_a_python_file_runs_on_the_users_word_alone(tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): ...\n")
    with pytest.raises(ConfigError, match="say --set calibrator.discriminator=python:.*evil.py"):
        opened(f"python:{path}:make", code=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("nothing", "has no function 'nothing'"),
        ("none", "must return a module of torch, got int"),
        ("raises", "raised RuntimeError: no"),
    ],
)
def test_what_is_no_discriminator_is_refused(code: str, factory: str, said: str) -> None:
    with pytest.raises(GanauditError, match=said):
        opened(f"{code}:{factory}")


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("wrong", r"must return one logit an image, \[2\], got \[2, 3, 2, 2\]"),
        ("bad", "a logit that is not finite"),
        ("linear", "takes no images .2, 3, 4, 4. of this generator"),
        ("lost", "takes no images .*has no attribute 'layers'"),
        ("full", "the gradient through 2 images does not fit .* take --device cpu"),
    ],
)
def test_what_it_answers_is_looked_at(code: str, factory: str, said: str) -> None:
    side = 4 if factory == "linear" else 2
    with pytest.raises(ConfigError, match=said):
        opened(f"{code}:{factory}")(torch.ones(2, 3, side, side))


def test_what_it_says_of_an_image_must_not_depend_on_the_others(code: str) -> None:
    judge = opened(f"{code}:batched")
    images = torch.rand(4, 3, 2, 2)
    with pytest.raises(ConfigError, match="must judge every image by itself"):
        judge(images)
    alone = opened(f"{code}:linear")
    assert alone(images).shape == (4,)


def test_of_a_snapshot_the_discriminator_is_taken(tmp_path: Path) -> None:
    common: dict[str, Any] = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    sizes = {"channel_base": 64, "channel_max": 8}
    torch.manual_seed(1)
    ours = networks.build("stylegan2", {**common, **sizes, "z_dim": 4, "w_dim": 4})
    judge = networks.build("stylegan2_discriminator", {**common, **sizes})
    path = write_nvidia_pickle(
        tmp_path / "snapshot.pkl",
        {
            "G_ema": NvidiaNetwork(
                module=ours, kwargs={**common, "z_dim": 4, "w_dim": 4, "synthesis_kwargs": sizes}
            ),
            "D": NvidiaNetwork(module=judge, kwargs={**common, **sizes, "conv_clamp": None}),
        },
    )
    found = opened(f"checkpoint:{path}", code=False)
    images = torch.rand(5, 3, 8, 8)
    single = torch.cat([judge.eval()(image[None]) for image in images])[:, 0]
    assert torch.allclose(found(images), single, atol=1e-5)
    assert found.identity["role"] == "D"
    with pytest.raises(ConfigError, match="holds a stylegan2, which makes images and judges none"):
        opened(str(path), role="G_ema")


def test_a_checkpoint_is_read_and_each_image_judged_alone(tmp_path: Path) -> None:
    arguments = {"c_dim": 0, "img_resolution": 16, "img_channels": 3, "channel_base": 256,
                 "channel_max": 16}  # fmt: skip
    torch.manual_seed(0)
    module = networks.build("stylegan2_discriminator", arguments)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    path = tmp_path / "d.safetensors"
    save_native(path, module, network="stylegan2_discriminator", arguments=arguments, facts={})
    judge = opened(str(path))
    images = torch.rand(6, 3, 16, 16) * 2 - 1
    whole = judge(images)
    single = torch.cat([judge(image[None]) for image in images])
    assert whole.shape == (6,) and torch.allclose(whole, single, atol=1e-4)
    assert judge.identity["network"] == "stylegan2_discriminator"


NATIVE: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "points": ("mlp_discriminator", {"widths": [5, 4]}, (2,)),
    "images": ("dcgan_discriminator", {"width": 2, "normalisation": "spectral"}, (1, 16, 16)),
    "batch norm": ("dcgan_discriminator", {"width": 2, "normalisation": "batch"}, (1, 16, 16)),
    "spread": ("dcgan_discriminator", {"width": 2, "spread": True}, (1, 16, 16)),
    "residual": ("sngan_discriminator", {"width": 2}, (3, 32, 32)),
    "told classes": ("cdcgan_discriminator", {"width": 2, "num_labels": 3}, (1, 32, 32)),
    "guessing classes": ("acgan_discriminator", {"width": 2, "num_classes": 3}, (1, 32, 32)),
}


@pytest.mark.parametrize("kind", NATIVE)
def test_a_discriminator_of_a_training_judges_each_image_alone(kind: str, tmp_path: Path) -> None:
    """As the network itself does in eval mode, an image and its label at a time."""
    name, arguments, shape = NATIVE[kind]
    torch.manual_seed(2)
    module: Any = networks.build(name, arguments)
    images, labels = torch.rand(5, *shape) * 2 - 1, torch.tensor([0, 2, 1, 1, 0])
    told = bool(module.num_labels)
    assert told == (kind == "told classes")
    module.train()(images, *((labels,) if told else ()))  # statistics and singular vectors move
    path = tmp_path / "discriminator.safetensors"
    save_native(path, module, network=name, arguments=arguments, facts={})
    judge = opened(str(path), code=False)
    logits = judge(images.requires_grad_(True), labels)
    assert judge.num_labels == module.num_labels and judge.identity["network"] == name
    assert len(judge.identity["sha256"]) == 64
    module.eval()
    for i in range(5):
        one = slice(i, i + 1)
        alone = module(images[one], *((labels[one],) if told else ()))
        assert torch.allclose(logits[one], alone, atol=1e-5)
    (slope,) = torch.autograd.grad(logits[0], images)
    assert bool(slope[0].any()) and not bool(slope[1:].any())


PAIRS: dict[str, tuple[str, dict[str, Any]]] = {  # the generator beside the discriminator
    "points": ("mlp", {"widths": [5, 4]}),
    "images": ("dcgan", {"width": 2}),
    "batch norm": ("dcgan", {"width": 2}),
    "spread": ("dcgan", {"width": 2}),
    "residual": ("sngan", {"width": 2}),
    "told classes": ("cdcgan", {"width": 2, "num_labels": 3}),
    "guessing classes": ("cdcgan", {"width": 2, "num_labels": 3}),
}


@pytest.mark.parametrize("kind", NATIVE)
def test_both_files_of_a_training_refine_latents(kind: str, tmp_path: Path) -> None:
    """A short step along the gradient's signs raises the logit; no latent sees another."""
    paths = {"generator": PAIRS[kind], "discriminator": NATIVE[kind][:2]}
    torch.manual_seed(3)
    for role, (name, sizes) in paths.items():
        arguments = sizes if role == "discriminator" else {"latent_size": 6, **sizes}
        module = networks.build(name, arguments)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
        facts = {"prior": "normal", "range": [-1, 1], "latent_shape": [6]}
        save_native(
            tmp_path / f"{role}.safetensors", module, network=name, arguments=arguments, facts=facts
        )
    source = open_checkpoint(str(tmp_path / "generator.safetensors"), device=torch.device("cpu"))
    judge = opened(str(tmp_path / "discriminator.safetensors"), code=False)
    made = LatentRefiner(
        space=Space((6,), "normal"), attack="i-fgsm", step=1e-3, steps=2, ball=None, momentum=0.0,
        discriminator={"spec": "d", "options": {}, "identity": {}},
    )  # fmt: skip
    labels = torch.tensor([0, 2, 1, 1]) if source.num_labels else None
    slots = torch.arange(4)
    draws = Draws(index=slots, seeds=slots, latents=torch.randn(4, 6), labels=labels)
    change = refiner_of(made, source, judge)
    refined = change(draws).latents
    assert refined is not None and draws.latents is not None
    assert float((refined - draws.latents).abs().max()) <= 2e-3 + 1e-6
    before = judge(source.forward(draws.latents, labels), labels)
    after = judge(source.forward(refined, labels), labels)
    assert bool((after > before).all())
    for i in range(4):
        one = slice(i, i + 1)
        own = None if labels is None else labels[one]
        latent = draws.latents[one]
        single = change(Draws(index=slots[one], seeds=slots[one], latents=latent, labels=own))
        assert single.latents is not None and torch.equal(single.latents[0], refined[i])


def test_calibrate_takes_the_files_of_a_training_of_points(tmp_path: Path) -> None:
    torch.manual_seed(3)
    arguments = {"latent_size": 2, "widths": [8]}
    for role, name in (("generator", "mlp"), ("discriminator", "mlp_discriminator")):
        sizes = arguments if role == "generator" else {"widths": [8]}
        facts = {"prior": "normal", "range": [-1, 1], "latent_shape": [2], "extent": 2.0}
        save_native(
            tmp_path / f"{role}.safetensors", networks.build(name, sizes), network=name,
            arguments=sizes, facts=facts,
        )  # fmt: skip
    found = CliRunner().invoke(
        app,
        ["calibrate", "--generator", str(tmp_path / "generator.safetensors"), "--method",
         "advlatgan-z", "--discriminator", str(tmp_path / "discriminator.safetensors"), "--steps",
         "3", "--descriptor", "points", "--theta", "0.05", "--radius", "0.02", "--anchors", "32",
         "--samples", "64", "--keep", "none", "--out", str(tmp_path / "c")],
    )  # fmt: skip
    assert found.exit_code in (0, 1), found.output  # 1: no mode was thinned, nor was it meant to be
    document = json.loads((tmp_path / "c" / "calibration.json").read_text())
    assert document["settings"]["discriminator"]["identity"]["network"] == "mlp_discriminator"
    assert document["discriminator"]["gain"]["estimate"] > 0
    assert document["discriminator"]["furthest"] == pytest.approx(0.15, abs=1e-6)  # 3 of .05


def test_a_discriminator_of_a_training_that_is_told_classes_asks_for_them(tmp_path: Path) -> None:
    name, arguments, shape = NATIVE["told classes"]
    path = tmp_path / "discriminator.safetensors"
    save_native(path, networks.build(name, arguments), network=name, arguments=arguments, facts={})
    with pytest.raises(ConfigError, match="takes labels, and the generator has none"):
        opened(str(path))(torch.zeros(2, *shape))


@pytest.mark.parametrize(("name", "arguments"), [("mlp", {}), ("cdcgan", {"num_labels": 3})])
def test_a_generator_of_a_training_is_no_discriminator(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    sizes = {"latent_size": 2, **({"width": 2} if arguments else {"widths": [3]}), **arguments}
    path = tmp_path / "generator.safetensors"
    save_native(path, networks.build(name, sizes), network=name, arguments=sizes, facts={})
    with pytest.raises(ConfigError, match=f"holds a {name}, which makes images and judges none"):
        opened(str(path))


def test_what_a_file_does_not_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; name a checkpoint or python:"):
        opened(str(tmp_path / "nothing.pkl"))
    with pytest.raises(ConfigError, match="wants python:FILE.py:FACTORY, got 'a'"):
        opened("python:a")


def test_labels_reach_a_conditional_one() -> None:
    class Conditional(nn.Module):
        num_labels = 2

        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            return images.flatten(1).sum(1) + 10 * labels

    from ganaudit.discriminators import Discriminator

    judge = Discriminator(Conditional(), {})
    images = torch.ones(2, 1, 1, 1)
    assert judge(images, torch.tensor([0, 1])).tolist() == [1.0, 11.0]
    with pytest.raises(ConfigError, match="takes labels, and the generator has none"):
        judge(images)
