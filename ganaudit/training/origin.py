"""Networks that a training begins with: `--from`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ganaudit.checkpoints.holdings import read
from ganaudit.checkpoints.opened import Opened, open_network
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.training.architectures import ARCHITECTURES, NetworkSpec

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
_ROLES = ("G", "D", "G_ema")


@dataclass(frozen=True)
class Origin:
    """A generator, its average and its discriminator, out of one file or folder.

    Attributes:
      name: what the user called them.
      arch: a key of `ARCHITECTURES`.
      generator, discriminator: how they are made.
      modules: generator, discriminator, averaged generator.
      digest: SHA-256 of what they were read from.
      num_labels: classes, 0: none.
      notes: what was assumed of them, a sentence each.
    """

    name: str
    arch: str
    generator: NetworkSpec
    discriminator: NetworkSpec
    modules: tuple[nn.Module, nn.Module, nn.Module]
    digest: str
    num_labels: int
    notes: tuple[str, ...] = ()

    def check(
        self,
        config: TrainConfig,
        options: Mapping[str, Mapping[str, str]],
        *,
        image_shape: tuple[int, ...],
        num_labels: int,
    ) -> None:
        """Refuse a request that wants other networks, or has data that these do not take.

        Raises:
          ConfigError: it does.
        """
        if config.arch is not None and config.arch != self.arch:
            raise ConfigError(
                f"--arch {config.arch} is not that of {self.name}, which is {self.arch}: leave "
                "--arch out"
            )
        if config.latent_size is not None:
            raise ConfigError(f"--latent-size follows from {self.name}; leave it out")
        for owner in ("generator", "discriminator"):
            for key in options[owner]:
                raise ConfigError(f"--set {owner}.{key} follows from {self.name}; leave it out")
        wanted = tuple(getattr(self.modules[1], "image_shape", image_shape))
        if wanted != image_shape:
            sizes = ["x".join(map(str, shape)) for shape in (wanted, image_shape)]
            remedy = f"--size {wanted[-1]} --channels {wanted[0]} --fit resize makes them fit"
            raise ConfigError(
                f"{self.name} makes images of {sizes[0]} and the data are {sizes[1]}"
                + (f": {remedy}" if len(wanted) == 3 == len(image_shape) else "")
            )
        if self.num_labels and self.num_labels != num_labels:
            raise ConfigError(
                f"{self.name} knows {self.num_labels} classes and the data have {num_labels}: say "
                "--labels folders or --labels FILE with as many"
            )

    def fill(self, *networks: nn.Module) -> None:
        """Give generator, discriminator and average, made for its recipe, its weights."""
        for mine, network in zip(self.modules, networks, strict=True):
            network.load_state_dict(mine.state_dict())


def open_origin(path: Path) -> Origin:
    """The networks of a file, without executing anything of it.

    Args:
      path: a pickle of stylegan2-ada-pytorch or stylegan3 with G, D and G_ema; or the folder of a
        training of ours, or its generator.safetensors.

    Raises:
      ConfigError: it holds no such networks, or some that we do not train.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == GENERATOR:
        for name in (GENERATOR, DISCRIMINATOR):
            if not (folder / name).is_file():
                raise ConfigError(
                    f"--from {path} needs {name} in {folder}: a training goes on with both networks"
                )
        average, judge = (open_network(folder / name) for name in (GENERATOR, DISCRIMINATOR))
        return _origin(str(path), average, judge, average)
    holding = read(path)
    missing = [role for role in _ROLES if role not in holding.networks]
    if missing:
        there = ", ".join(f"{name:.40}" for name in list(holding.networks)[:20]) or "none"
        raise ConfigError(
            f"--from {path} holds no network {missing[0]}, and a training needs G, D and G_ema; it "
            f"holds {there}"
        )
    generator, judge, average = (open_network(path, role=role) for role in _ROLES)
    return _origin(str(path), generator, judge, average)


def _origin(name: str, generator: Opened, judge: Opened, average: Opened) -> Origin:
    labels, told = (
        int(getattr(opened.module, "num_labels", 0)) for opened in (generator, judge)
    )  # a discriminator that guesses classes is told none
    if (average.network, average.arguments) != (generator.network, generator.arguments):
        raise ConfigError(f"--from {name} holds an averaged generator that is made otherwise")
    fitting = [
        arch
        for arch, pair in ARCHITECTURES.items()
        if (pair.generator, pair.discriminator) == (generator.network, judge.network)
        and pair.conditional == (labels > 0)
        and told in (0, labels)
    ]
    if not fitting:
        raise ConfigError(
            f"--from {name} holds {generator.network} and {judge.network}; what can be trained is "
            f"{', '.join(ARCHITECTURES)}"
        )
    digests = dict.fromkeys(opened.digest() for opened in (generator, judge, average))
    return Origin(
        name=name,
        arch=fitting[0],
        generator=NetworkSpec(generator.network, _json(generator.arguments)),
        discriminator=NetworkSpec(judge.network, _json(judge.arguments)),
        modules=(generator.module, judge.module, average.module),
        digest="+".join(digests),
        num_labels=labels,
        notes=tuple(dict.fromkeys((*generator.notes, *judge.notes, *average.notes))),
    )


def _json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()
    }
