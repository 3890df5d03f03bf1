"""A generator of ours as ONNX: one file that other programs run, and that says what it is.

The network is traced, what comes out is run by ONNX Runtime beside torch, and only a file of the
same images is given back. Inputs are "latents" [N, ...] float32 and, of a conditional generator,
"labels" [N] int64, class numbers; the output is "images" [N, C, H, W] float32, cut to [-1, 1].
What the images do not show stands in the metadata: under "ganaudit" the facts that the generator
`onnx` needs (prior, range, ...), under "ganaudit.from" where the tensors are from and what was
assumed of them.
"""

import inspect
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.opened import Opened
from ganaudit.errors import ConfigError, one_line
from ganaudit.slots import check_prior

TOLERANCE = 1e-4  # of a value in [-1, 1]

_OPSET = 17
_TRACED = 2  # images while it is traced, so that none of the compared numbers can be built in
_COMPARED = (1, 3)
_PRIORLESS = "The file does not say its prior, which nobody told: say --set prior=... to open it."
_CHANNELS = (1, 3, 4)  # of what can be shown
_MOST_BYTES = 2**31 - 2**24  # of tensors: the format has no room for 2 GiB


def onnx_file(opened: Opened, *, where: str) -> tuple[bytes, Opened]:
    """An ONNX file of a generator; the same bytes for the same tensors.

    Args:
      opened: a generator of images.
      where: the file that it is from, for messages.

    Returns:
      The file, and `opened` with what its user should know among the notes.

    Raises:
      ConfigError: it makes no images, or ONNX Runtime would not make the same.
    """
    _check_images(opened, where)
    opened = replace(opened, notes=(*opened.notes, *_held(opened)))
    facts = _facts(opened, where)
    called = _Called(opened.module).eval()
    data = _labelled(_traced(called, where), opened, facts)
    _compare(called, data, where)
    if "prior" not in facts:
        opened = replace(opened, notes=(*opened.notes, _PRIORLESS))
    return data, opened


class _Called(nn.Module):
    """A generator with its labels by place and everything else as it is by default."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.shape: tuple[int, ...] = module.latent_shape  # type: ignore[assignment]
        self.num_labels: int = getattr(module, "num_labels", 0)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.module(latents, *(() if labels is None else (labels,)))
        return images.clamp(-1, 1)

    def drawn(self, count: int) -> dict[str, Tensor]:
        """`count` latents, always the same, and labels."""
        rng = torch.Generator().manual_seed(count)
        given = {"latents": torch.randn(count, *self.shape, generator=rng)}
        if self.num_labels:
            given["labels"] = torch.randint(self.num_labels, (count,), generator=rng)
        return given


def _check_images(opened: Opened, where: str) -> None:
    module = opened.module
    what = f"{where}: its {opened.role} is a {opened.network}"
    if not hasattr(module, "latent_shape"):
        raise ConfigError(f"{what}, which takes no latents; a generator alone is written as ONNX")
    shape: tuple[int, ...] = module.image_shape  # type: ignore[assignment]
    if len(shape) != 3 or shape[0] not in _CHANNELS:
        made = "points" if len(shape) == 1 else f"images of {shape[0]} channels"
        raise ConfigError(
            f"{what}, which makes {made}; ONNX is written of images with 1, 3 or 4 channels"
        )
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _MOST_BYTES:
        raise ConfigError(f"{what} of {size >> 20} MiB; an ONNX file has room for less than 2 GiB")


def _held(opened: Opened) -> tuple[str, ...]:
    """What could be chosen of the checkpoint and is fixed in the file, a sentence each."""
    takes = inspect.signature(opened.module.forward).parameters
    held = []
    if "noise" in takes and getattr(opened.module, "noise_shapes", None):
        held.append("The noise of each layer is the same in every image, as the checkpoint has it.")
    psi = opened.facts.get("psi")
    if isinstance(psi, float | int) and psi != 1:
        held.append(
            f"The checkpoint truncates with psi {psi:g} unless told otherwise; this file does not."
        )
    return tuple(held)


def _facts(opened: Opened, where: str) -> dict[str, Any]:
    """What the generator `onnx` must know and cannot see; without a prior that nobody says."""
    module = opened.module
    facts: dict[str, Any] = {
        "latent_shape": list(module.latent_shape),  # type: ignore[arg-type]
        "range": [-1, 1],
        "layout": "NCHW",
    }
    if prior := opened.facts.get("prior"):
        facts["prior"] = check_prior(prior, where=f"{where}: ")
    if labels := getattr(module, "num_labels", 0):
        facts["num_labels"] = labels
    return facts


def _traced(called: _Called, where: str) -> bytes:
    given = called.drawn(_TRACED)
    inputs = tuple(given.values())
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Of tracing and of its age; what it leaves out shows when images are compared.
            warnings.simplefilter("ignore")
            # Frozen first, so that weights that are computed from others are constants.
            traced = torch.jit.trace(called, inputs, check_trace=False)
            torch.onnx.export(
                torch.jit.freeze(traced, optimize_numerics=False),
                inputs,
                file,  # type: ignore[arg-type]  # need not be on the disk
                input_names=list(given),
                output_names=["images"],
                dynamic_axes={name: {0: "N"} for name in (*given, "images")},
                opset_version=_OPSET,
                dynamo=False,  # the other one needs a further package
            )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{where} cannot be written as ONNX: {one_line(error)}") from error
    return file.getvalue()


def _labelled(data: bytes, opened: Opened, facts: Mapping[str, Any]) -> bytes:
    import onnx

    model = onnx.load_model_from_string(data)
    origin = {
        "sha256": opened.sha256,
        "role": opened.role,
        "network": opened.network,
        "notes": list(opened.notes),
    }
    for key, value in (("ganaudit", facts), ("ganaudit.from", origin)):
        model.metadata_props.add(key=key, value=json.dumps(value, sort_keys=True))
    whole: bytes = model.SerializeToString(deterministic=True)
    return whole


def _compare(called: _Called, data: bytes, where: str) -> None:
    """Refuse a file that does not make the network's images, in batches of several sizes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = torch.get_num_threads()
    refused = f"{where} cannot be written as ONNX"
    for count in _COMPARED:
        given = called.drawn(count)
        with torch.no_grad():
            wanted = called(**given)
        try:
            session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
            feeds = {name: tensor.numpy() for name, tensor in given.items()}
            found = torch.from_numpy(session.run(["images"], feeds)[0])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this
            raise ConfigError(f"{refused}: {one_line(error)}") from error
        if found.shape != wanted.shape:
            raise ConfigError(
                f"{refused}: its images would have another shape in a batch of {count}"
            )
        apart = (found - wanted).abs().max()
        if not apart <= TOLERANCE:  # NaN is not
            raise ConfigError(
                f"{refused}: ONNX Runtime's images differ from torch's by {float(apart):.2g}, more "
                f"than {TOLERANCE:g}"
            )
