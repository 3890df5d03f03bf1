"""`torchscript:FILE`: a TorchScript program that turns images into embeddings. It needs --trust."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ganaudit.descriptors import Colour, DescriptorCard, Preprocessing, Resize, unit_rows
from ganaudit.errors import ConfigError, DescriptorError
from ganaudit.files import sha256_of
from ganaudit_plugins.descriptors.declared import preprocessing_of
from ganaudit_plugins.programs import load_script, run_script, script_inputs, trusted_program


class ScriptDescriptor:
    """A program from float32 images [N, C, H, W] to embeddings [N, ...]."""

    def __init__(self, path: Path, module: nn.Module, preprocessing: Preprocessing) -> None:
        """Check that the program takes images and nothing else."""
        tensors, needed = script_inputs(module)
        if not tensors or not set(needed) <= {tensors[0]}:
            raise ConfigError(
                f"{path} must take images alone, and needs {', '.join(needed) or 'nothing'}"
            )
        self._module = module
        self._preprocessing = preprocessing
        self.card = DescriptorCard(
            name=f"torchscript:{path.name}",
            weights_sha256=sha256_of(path),
            preprocessing=preprocessing,
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows of uint8 images [N, 3, H, W], all of them valid."""
        found = run_script(self._module, self._preprocessing.apply(images))
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(images):
            came = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise DescriptorError(
                f"the TorchScript descriptor must return a tensor [{len(images)}, ...] for "
                f"{len(images)} images, got {came}; a trace may have fixed its batch"
            )
        rows = unit_rows(found.flatten(1))
        return rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device)


def open_torchscript(
    target: str,
    *,
    device: torch.device,
    trust: bool,
    size: tuple[int, ...] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    resize: Resize = "bicubic",
    colour: Colour = "rgb",
) -> ScriptDescriptor:
    """Open a descriptor that was scripted or traced, and saved by torch.jit.save.

    Args:
      target: path of the file.
      device: where it runs.
      trust: whether it may be run.
      size: height,width in pixels, or one number for a square.
      mean: of RGB on [0, 1]; one value for all channels, or three.
      std: likewise.
      resize: filter.
      colour: rgb, bgr or grey.

    Raises:
      ConfigError: no such program, one that takes something else, or no size, mean or std.
      UnsafeCheckpoint: without --trust.
    """
    path = trusted_program(target, "torchscript", trust=trust)
    preprocessing = preprocessing_of(
        path, size=size, mean=mean, std=std, resize=resize, colour=colour
    )
    return ScriptDescriptor(path, load_script(path, device), preprocessing)
