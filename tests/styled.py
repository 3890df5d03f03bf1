"""StyleGAN2 as small as it gets, and what its trainings are made of."""

from typing import Any

import torch
from test_loop import fabric

from ganaudit.config import TrainConfig
from ganaudit.networks.stylegan2 import StyleGAN2Generator
from ganaudit.training.data import TrainingData
from ganaudit.training.drawing import Drawing
from ganaudit.training.judging import Judge
from ganaudit.training.phases import Phases
from ganaudit.training.recipe import Recipe
from ganaudit.training.rendering import Renderer
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.states import make_state

TINY = ("generator.channel_max=8", "discriminator.channel_max=8")


def pictures(count: int = 24, *, size: int = 16, labels: int = 0) -> TrainingData:
    rng = torch.Generator().manual_seed(5)
    made = torch.randint(0, 256, (count, 3, size, size), generator=rng, dtype=torch.uint8)
    classes = torch.arange(count) % labels if labels else None
    return TrainingData(
        images=made, labels=classes, num_labels=labels,
        identity={"name": "x", "count": count, "sha256": "0" * 64},
    )  # fmt: skip


def request(*pairs: str, **said: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "data": "given", "arch": "stylegan2", "batch": 8, "latent_size": 6, "steps": 3,
        "device": "cpu",
    }  # fmt: skip
    return TrainConfig(**(usual | said), set=(*TINY, *pairs))


def styled(data: TrainingData, *pairs: str, **said: Any) -> Recipe:
    return resolve_recipe(
        request(*pairs, **said), image_shape=data.image_shape, num_labels=data.num_labels
    )


def phases(made: Recipe, data: TrainingData) -> Phases:
    """Of a training that has not begun."""
    state, asked = make_state(made), fabric()
    renderer, _ = asked.setup(Renderer(state.generator), state.optimizers[0])
    judge, _ = asked.setup(Judge(state.discriminator), state.optimizers[1])
    return Phases(asked, made, Drawing(asked, made, data), state, renderer, judge)


def generator(**changed: Any) -> StyleGAN2Generator:
    """Of 8 pixels, in double precision; its noise counts."""
    torch.manual_seed(3)
    usual: dict[str, Any] = {
        "z_dim": 4, "c_dim": 0, "w_dim": 3, "img_resolution": 8, "img_channels": 1,
        "channel_max": 6, "mapping_num_layers": 2,
    }  # fmt: skip
    made = StyleGAN2Generator(**(usual | changed)).double()
    with torch.no_grad():
        for layer in made.synthesis.noisy_layers():
            layer.noise_strength.fill_(0.3)
    return made
