"""`digits`: tells handwritten digits apart, one piece of handwriting from another. For the demo."""

from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from ganaudit.checkpoints.opened import open_network
from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows
from ganaudit.errors import ConfigError


class DigitsDescriptor:
    """A small network trained by instance discrimination on scikit-learn's digits."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load the network and the scale that was measured with it."""
        opened = open_network(path)
        facts = opened.facts
        theta, radius, origin = (facts.get(name) for name in ("theta", "radius", "origin"))
        if opened.network != "digit_embedder" or not isinstance(origin, str):
            raise ConfigError(f"checkpoint {path} must be a digit_embedder, with its origin")
        self._module = opened.module.to(device)
        self._preprocessing = Preprocessing(
            size=(16, 16), mean=(0.5,), std=(0.5,), resize="bicubic", colour="grey"
        )
        self.card = DescriptorCard(
            name="digits",
            weights_sha256=opened.sha256,
            licence="Apache-2.0",
            preprocessing=self._preprocessing,
            theta=_fraction(path, "theta", theta),
            radius=_fraction(path, "radius", radius),
            origin=origin,
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, all of them valid."""
        rows = unit_rows(self._module(self._preprocessing.apply(images)))
        return rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device)


def open_digits(target: str, *, device: torch.device) -> DigitsDescriptor:
    """Open the bundled descriptor, or a checkpoint FILE of the same network."""
    if target:
        return DigitsDescriptor(Path(target), device)
    with as_file(files("ganaudit_plugins.assets") / "digits.safetensors") as path:
        return DigitsDescriptor(path, device)


def _fraction(path: Path, name: str, value: object) -> float:
    if isinstance(value, float) and 0 < value <= 1:
        return value
    raise ConfigError(f"checkpoint {path} must state {name} in (0, 1], got {value!r:.80}")
