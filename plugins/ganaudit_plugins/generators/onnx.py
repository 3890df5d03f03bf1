"""`onnx:FILE`: a generator in ONNX, with ONNX Runtime.

One input takes the latents, [N, ...] of floating point. Another may take labels: class numbers [N]
or [N, 1], or one-hot rows [N, num_labels]. Any other gets the same value for every image (a
truncation psi, say): `--set NAME=VALUE` by the input's name, numbers separated by commas. An input
that nobody spoke for is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.errors import ConfigError, SourceError
from ganaudit.images import MAX_PIXELS, Layout
from ganaudit.slots import Prior
from ganaudit_plugins.generators.declared import DeclaredGenerator, declare, metadata, notes
from ganaudit_plugins.generators.ports import (
    batch_of,
    check_complete,
    check_images,
    check_keys,
    check_labels,
    check_latents,
    find_label,
    find_latent,
    find_output,
    held_value,
    label_rows,
    measured,
    pixels,
    port_of,
)
from ganaudit_plugins.onnx_checks import plain
from ganaudit_plugins.onnx_files import (
    NUMPY_OF,
    OnnxFile,
    Port,
    existing_file,
    open_session,
)


@dataclass(frozen=True, kw_only=True)
class _Network:
    """An opened file of which every input is spoken for.

    Attributes:
      file: as opened.
      latent: takes [n, *latent_shape].
      label: takes labels; None: there are none.
      num_labels: classes.
      held: input to what it gets, every time or for every image.
      output: the images.
      layout: of the images.
    """

    file: OnnxFile
    latent: Port
    label: Port | None
    num_labels: int
    held: Mapping[str, NDArray[Any]]
    output: Port
    layout: Layout | None

    def images(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Native images of latents [N, *latent_shape] and labels [N], on the latents' device."""
        rows: dict[str, NDArray[Any]] = {}
        rows[self.latent.name] = latents.cpu().numpy().astype(NUMPY_OF[self.latent.kind])
        if self.label is not None:
            assert labels is not None
            rows[self.label.name] = label_rows(self.label, labels.cpu().numpy(), self.num_labels)
        constants: dict[str, NDArray[Any]] = {}
        for name, value in self.held.items():
            if port_of(self.file, name).per_image:
                rows[name] = np.broadcast_to(value, (len(latents), *value.shape))
            else:
                constants[name] = value
        found = self.file.run(
            self.output.name,
            rows,
            constants=constants,
            batch=batch_of(self.latent, self.label),
            blame=SourceError,
        )
        if found.ndim == 4 and pixels(found.shape, self.layout) > MAX_PIXELS:
            raise SourceError(f"images of shape {list(found.shape)} exceed {MAX_PIXELS} pixels")
        return torch.from_numpy(found).to(latents.device)


def open_onnx(
    target: str,
    *,
    device: torch.device,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    num_labels: int | None = None,
    latent_input: str | None = None,
    label_input: str | None = None,
    output: str | None = None,
    **inputs: str,
) -> DeclaredGenerator:
    """Open an ONNX file as a generator.

    Args:
      target: path of the file; data outside of its folder and custom operators are refused.
      device: "cuda" needs onnxruntime-gpu; without it the network runs on the CPU.
      prior: of every latent coordinate.
      latent_shape: of one latent, where the input leaves it open.
      latent_scale: what latents are multiplied by.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
      num_labels: classes, where the input leaves it open.
      latent_input: name of the input that takes the latents, if several could.
      label_input: name of the input that takes labels, if it is not the only one that could.
      output: name of the output that is the images, if several could be.
      inputs: values of other inputs, by name.

    Raises:
      ConfigError: not an ONNX file, something is not declared or contradicts the file, or it makes
        no images.
      UnsafeCheckpoint: the file names data outside of its folder.
    """
    file = open_session(existing_file(target), device)
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "range": range,
        "layout": layout,
        "num_labels": num_labels,
    }
    theirs = metadata(str(file.path), file.metadata.get("ganaudit"))
    theirs = {key: value for key, value in theirs.items() if value is not None}
    options = list(open_onnx.__kwdefaults__ or ())
    check_keys(file, inputs, plugin="onnx", options=options, drawn=(latent_input, label_input))
    latent = find_latent(file, latent_input, spoken_for=(*inputs, label_input))
    classes = theirs.get("num_labels") if num_labels is None else num_labels
    label = find_label(file, label_input, latent, held=inputs, classes=classes)
    check_complete(file, {*inputs, latent.name, *(() if label is None else (label.name,))})
    values = {name: held_value(port_of(file, name), inputs[name]) for name in sorted(inputs)}

    images = find_output(file, output)
    if images.kind == "uint8":
        if range is not None:
            raise ConfigError(f"--set range would change nothing: {file.path} returns {images}")
        theirs.pop("range", None)
    declared = declare(str(file.path), said, measured(latent, label) | theirs, by="the file")
    check_latents(file, latent, declared.latent_shape)
    check_labels(file, latent, label, declared.num_labels)
    check_images(file, images, declared.layout)

    network = _Network(
        file=file,
        latent=latent,
        label=label,
        num_labels=declared.num_labels,
        held=values,
        output=images,
        layout=declared.layout,
    )
    identity = {
        "sha256": file.sha256,
        "latent_input": latent.name,
        "label_input": None if label is None else label.name,
        "output": images.name,
        "inputs": {name: value.tolist() for name, value in values.items()},
    }
    made = DeclaredGenerator(network.images, declared, identity=identity)
    made.assumptions += notes(str(file.path), file.metadata.get("ganaudit.from")) + tuple(
        f"The input {plain(name)} is {plain(inputs[name])}, as --set says." for name in values
    )
    return made
