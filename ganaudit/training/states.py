"""A training on disk: `states/step-00002000/` with state.safetensors and state.json.

The tensors are the networks, the average and both optimizers; the JSON says of which step and
which training. A folder appears whole or not at all, and the last two are kept.
"""

import copy
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganaudit import networks
from ganaudit.errors import ConfigError, GanauditError, one_line
from ganaudit.files import FULL, json_text, read_json, sha256_of
from ganaudit.training.origin import Origin
from ganaudit.training.randomness import stream
from ganaudit.training.recipe import Recipe

FOLDER = "states"
FORMAT = 1
_TENSORS, _ABOUT = "state.safetensors", "state.json"
_KEPT = 2
_MOST_BYTES = 2**22  # of state.json


@dataclass(frozen=True)
class State:
    """What a training is made of at a step.

    Attributes:
      generator, discriminator: the networks as they are trained.
      average: the averaged generator.
      optimizers: of both networks, in this order.
      numbers: by name, [] float: what a training keeps beside networks.
    """

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    optimizers: tuple[Optimizer, Optimizer]
    numbers: dict[str, Tensor] = field(default_factory=dict)

    @property
    def strength(self) -> float:
        """Probability of the changes of ADA and APA; 0: there are none."""
        return float(self.numbers.get("strength", 0.0))

    def to(self, device: torch.device) -> None:
        """Move what no fabric moves; the strength stays, since it is read at every step."""
        self.average.to(device)
        for name, number in self.numbers.items():
            if name != "strength":
                self.numbers[name] = number.to(device)

    def tensors(self) -> dict[str, Tensor]:
        """Every value by name, on the CPU."""
        found = {
            f"{name}.{key}": tensor
            for name, network in self._networks().items()
            for key, tensor in network.state_dict().items()
        }
        for name, optimizer in zip(_OPTIMIZERS, self.optimizers, strict=True):
            for number, values in optimizer.state_dict()["state"].items():
                found |= {f"{name}.{number}.{key}": value for key, value in values.items()}
        found |= {f"numbers.{name}": number for name, number in self.numbers.items()}
        return {key: tensor.detach().cpu().contiguous() for key, tensor in found.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take every value from `tensors`, as `tensors()` gives them.

        Raises:
          ConfigError: they are those of other networks.
        """
        for name, network in self._networks().items():
            mine = _below(tensors, name)
            try:
                network.load_state_dict(mine)
            except RuntimeError as error:
                raise ConfigError(
                    f"the checkpoint is of another architecture: its {name} does not fit "
                    f"({one_line(error)})"
                ) from error
        numbers = _below(tensors, "numbers")
        if numbers.keys() != self.numbers.keys():
            raise ConfigError("the checkpoint is of another training: its numbers do not fit")
        for name, number in numbers.items():
            self.numbers[name].copy_(number)
        for name, optimizer in zip(_OPTIMIZERS, self.optimizers, strict=True):
            states = _moments(optimizer, _below(tensors, name), name)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states, "param_groups": groups})

    def is_finite(self) -> bool:
        """Whether no parameter or buffer of the networks is NaN or infinite."""
        values = [
            tensor
            for network in self._networks().values()
            for tensor in network.state_dict().values()
            if tensor.is_floating_point()
        ]
        return all(bool(torch.isfinite(tensor).all()) for tensor in values)

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
        }


def make_state(recipe: Recipe, origin: Origin | None = None) -> State:
    """Networks with their first weights and fresh optimizers.

    Args:
      recipe: what is trained.
      origin: whose weights the networks begin with; None: they follow from the seed.

    Raises:
      ConfigError: more layers of the discriminator shall keep their weights than it has.
    """
    made = []
    for name, spec in (("generator", recipe.generator), ("discriminator", recipe.discriminator)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(recipe.seed, f"weights of the {name}").initial_seed())
            made.append(networks.build(spec.network, spec.arguments))
    generator, discriminator = made
    average = copy.deepcopy(generator)
    if origin is not None:
        origin.fill(generator, discriminator, average)
    _freeze(discriminator, recipe.optim.freeze)
    optimizers = [
        torch.optim.Adam(network.parameters(), betas=betas, weight_decay=recipe.optim.weight_decay)
        for network, betas in zip(made, recipe.betas(), strict=True)
    ]
    strength, styles = recipe.regularizers.strength, recipe.styles
    numbers = {} if strength is None else strength.numbers()
    if styles is not None and styles.path_length:
        numbers |= {"path_mean": torch.zeros(())}
    return State(
        generator,
        discriminator,
        average.requires_grad_(False),
        (optimizers[0], optimizers[1]),
        numbers,
    )


def _freeze(discriminator: Any, count: int) -> None:
    if count == 0:
        return
    layers = discriminator.freezable() if hasattr(discriminator, "freezable") else []
    if count > len(layers):
        raise ConfigError(
            f"--set optim.freeze={count}: this discriminator has {len(layers)} layers that can "
            "keep their weights" + ("" if layers else "; StyleGAN2's has some")
        )
    for layer in layers[:count]:
        layer.requires_grad_(False)


_OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _moments(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], name: str
) -> dict[int, dict[str, Tensor]]:
    """What Adam remembers of each of its parameters that it has met, by number.

    Raises:
      ConfigError: it is not what Adam remembers of these parameters.
    """
    states: dict[int, dict[str, Tensor]] = {}
    left = dict(tensors)
    for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
        mine = {what: left.pop(f"{number}.{what}", None) for what in _MOMENTS}
        shapes = [None if value is None else value.shape for value in mine.values()]
        if shapes == [torch.Size(), parameter.shape, parameter.shape]:
            states[number] = {what: value for what, value in mine.items() if value is not None}
        elif shapes != [None] * len(_MOMENTS):
            left[f"{number}"] = parameter
    if left:
        raise ConfigError(
            f"the checkpoint is of another architecture: its {name} does not fit "
            f"({next(iter(left)):.80})"
        )
    return states


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    head = f"{name}."
    return {key[len(head) :]: value for key, value in tensors.items() if key.startswith(head)}


def save_state(out: Path, state: State, *, step: int, about: Mapping[str, Any]) -> Path:
    """Write a checkpoint, then remove all but the last two; the folder of the new one.

    Args:
      out: folder of the training.
      state: what is kept.
      step: steps that were taken.
      about: JSON values that say which training it is.

    Raises:
      GanauditError: the disk is full or refuses; the earlier checkpoints are untouched.
    """
    folder = out / FOLDER / name_of(step)
    making = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        _write(making / _TENSORS, safetensors.torch.save(state.tensors()))
        text = {"format": FORMAT, "step": step, "sha256": sha256_of(making / _TENSORS), **about}
        _write(making / _ABOUT, json_text(text).encode())
        if folder.exists():  # of an interrupted training that is run again
            shutil.rmtree(folder)
        os.replace(making, folder)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        reason = "the disk is full" if error.errno in FULL else error.strerror or error
        raise GanauditError(f"{folder} cannot be written: {reason}") from error
    for old in _folders(out)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def name_of(step: int) -> str:
    """Of what belongs to a step."""
    return f"step-{step:08d}"


def last_state(out: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What the last whole checkpoint of a training says and holds; None: there is none.

    Raises:
      ConfigError: it is damaged.
    """
    folders = _folders(out)
    if not folders:
        return None
    folder = folders[-1]
    about = read_json(folder / _ABOUT, most_bytes=_MOST_BYTES)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ConfigError(f"{folder / _ABOUT} is none of ours, or of a newer ganaudit")
    if type(about.get("step")) is not int or name_of(about["step"]) != folder.name:
        raise ConfigError(f"{folder / _ABOUT} is of another step than its folder: it is damaged")
    try:
        data = (folder / _TENSORS).read_bytes()
        if sha256_of(folder / _TENSORS) != about.get("sha256"):
            raise ConfigError("its bytes are not those that were written")
        tensors = safetensors.torch.load(data)
    except (OSError, safetensors.SafetensorError, ConfigError) as error:
        raise ConfigError(
            f"{folder} is damaged ({one_line(error)}): remove it, and --resume goes on from the "
            "checkpoint before it"
        ) from error
    return about, tensors


def _folders(out: Path) -> list[Path]:
    return sorted(path for path in (out / FOLDER).glob("step-*") if (path / _ABOUT).is_file())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
