"""`onnx:FILE`: a generator in ONNX, with ONNX Runtime.

One input takes the latents, [N, ...] of floating point. Another may take labels: class numbers [N]
or [N, 1], or one-hot rows [N, num_labels]. Any other gets the same value for every image (a
truncation psi, say): `--set NAME=VALUE` by the input's name, numbers separated by commas. An input
that nobody spoke for is refused by name.
"""

import math
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
from ganaudit_plugins.generators.declared import DeclaredGenerator, declare, metadata
from ganaudit_plugins.generators.onnx_ports import (
    check_complete,
    check_keys,
    find_label,
    find_latent,
    find_output,
    held_value,
    is_fixed,
    label_form,
    listed,
    port_of,
)
from ganaudit_plugins.onnx_checks import plain
from ganaudit_plugins.onnx_files import (
    FLOATS,
    NUMPY_OF,
    OnnxFile,
    Port,
    existing_file,
    open_session,
)

_IMAGES = (*FLOATS, "uint8")
_CHANNELS = (1, 3, 4)


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
            rows[self.label.name] = self._labels(self.label, labels.cpu().numpy())
        constants: dict[str, NDArray[Any]] = {}
        for name, value in self.held.items():
            if port_of(self.file, name).per_image:
                rows[name] = np.broadcast_to(value, (len(latents), *value.shape))
            else:
                constants[name] = value
        found = self.file.run(
            self.output.name, rows, constants=constants, batch=self._batch(), blame=SourceError
        )
        if found.ndim == 4 and _pixels(found.shape, self.layout) > MAX_PIXELS:
            raise SourceError(f"images of shape {list(found.shape)} exceed {MAX_PIXELS} pixels")
        return torch.from_numpy(found).to(latents.device)

    def _labels(self, port: Port, labels: NDArray[np.int64]) -> NDArray[Any]:
        """Class numbers [n] as the input wants them."""
        dtype = NUMPY_OF[port.kind]
        if label_form(port) == "number":
            return labels.astype(dtype).reshape(-1, *port.shape[1:])  # [n] or [n, 1]
        rows: NDArray[Any] = np.zeros((len(labels), self.num_labels), dtype=dtype)
        rows[np.arange(len(labels)), labels] = 1
        return rows

    def _batch(self) -> int | None:
        """Images that the file wants at once; None: any number."""
        ports = [self.latent] if self.label is None else [self.latent, self.label]
        return next((side for port in ports if isinstance(side := port.shape[0], int)), None)


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
    check_keys(file, inputs, options=options, drawn=(latent_input, label_input))
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
    declared = declare(str(file.path), said, _measured(latent, label) | theirs, by="the file")
    _check_latents(file, latent, declared.latent_shape)
    _check_labels(file, latent, label, declared.num_labels)
    _check_images(file, images, declared.layout)

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
    made.assumptions += tuple(
        f"The input {plain(name)} is {plain(inputs[name])}, as --set says." for name in values
    )
    return made


def _measured(latent: Port, label: Port | None) -> dict[str, Any]:
    """What the inputs' shapes say, which the file's metadata may overrule and is held against."""
    measured: dict[str, Any] = {}
    if is_fixed(latent.shape[1:]):
        measured["latent_shape"] = list(latent.shape[1:])
    if label is not None and label_form(label) == "one-hot" and is_fixed(label.shape[1:]):
        measured["num_labels"] = label.shape[1]
    return measured


def _check_latents(file: OnnxFile, latent: Port, declared: tuple[int, ...]) -> None:
    wanted = latent.shape[1:]
    if len(wanted) != len(declared) or any(
        isinstance(want, int) and want != side for want, side in zip(wanted, declared, strict=True)
    ):
        said = ",".join(map(str, declared))
        raise ConfigError(f"{file.path} takes {latent}, which latent_shape {said} does not fit")


def _check_labels(file: OnnxFile, latent: Port, label: Port | None, classes: int) -> None:
    if label is None:
        if classes:
            raise ConfigError(
                f"{file.path}: num_labels is {classes}, and no input is known to take labels "
                f"({listed(file.inputs)}); say --set label_input=NAME, or --set num_labels=0"
            )
        return
    name = plain(label.name)
    if not classes:
        raise ConfigError(
            f"{file.path} takes labels ({label}) and does not say of how many classes; say --set "
            f"num_labels=10, or --set {name}=0 for one class alone"
        )
    if label_form(label) == "one-hot" and isinstance(label.shape[1], int):
        if label.shape[1] != classes:
            raise ConfigError(f"{file.path} takes {label}, which num_labels {classes} does not fit")
    elif "int" in label.kind and classes - 1 > np.iinfo(NUMPY_OF[label.kind]).max:
        raise ConfigError(f"{file.path} takes {label}, too small for {classes} classes")
    sizes = {port.shape[0] for port in (latent, label) if isinstance(port.shape[0], int)}
    if len(sizes) > 1:
        raise ConfigError(f"{file.path} takes {latent} and {label}: batches that differ")


def _check_images(file: OnnxFile, port: Port, layout: Layout | None) -> None:
    """Refuse what cannot be images, as far as the file says it."""
    if port.kind not in _IMAGES:
        raise ConfigError(f"{file.path}: images must be {', '.join(_IMAGES)}, got {port}")
    if not port.shape:
        return
    if len(port.shape) != 4:
        raise ConfigError(f"{file.path}: images must have 4 dimensions, got {port}")
    places = {"NCHW": (1,), "NHWC": (3,), None: (1, 3)}[layout]
    if all(isinstance(n := port.shape[i], int) and n not in _CHANNELS for i in places):
        wanted = layout or "NCHW or NHWC"
        raise ConfigError(f"{file.path}: images must be {wanted} of 1, 3 or 4 channels, got {port}")
    if _pixels(port.shape, layout) > MAX_PIXELS:
        raise ConfigError(f"{file.path} returns {port}: images of more than {MAX_PIXELS} pixels")


def _pixels(shape: tuple[int | str | None, ...], layout: Layout | None) -> int:
    """Of one image, as far as the shape says; open sides count 1."""
    last = (
        shape[1] not in _CHANNELS and shape[3] in _CHANNELS if layout is None else layout[1] != "C"
    )
    sides = shape[1:3] if last else shape[2:]
    return math.prod(side for side in sides if isinstance(side, int))
