"""`onnx:FILE`: any network in ONNX that turns images into embeddings, with ONNX Runtime."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganaudit.descriptors import Colour, DescriptorCard, Preprocessing, Resize, unit_rows
from ganaudit.errors import ConfigError, DescriptorError
from ganaudit.files import sha256_of

_WANTED = "--set descriptor.size=112 --set descriptor.mean=... --set descriptor.std=..."
_EXTERNAL_DATA = "session.model_external_initializers_file_folder_path"


class OnnxDescriptor:
    """One float image input [N, C, H, W], one embedding output [N, ...]."""

    def __init__(self, path: Path, session: Any, preprocessing: Preprocessing) -> None:
        """Check the session's input and output against the preprocessing."""
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(float16)"):
            kinds = ", ".join(f"{entry.name}: {entry.type}" for entry in inputs)
            raise ConfigError(f"{path} must have one floating-point input, got {kinds or 'none'}")
        shape = list(inputs[0].shape)
        channels = 1 if preprocessing.colour == "grey" else 3
        wanted = [None, channels, *preprocessing.size]
        if len(shape) != 4 or any(
            isinstance(side, int) and want is not None and side != want
            for side, want in zip(shape, wanted, strict=True)
        ):
            raise ConfigError(
                f"{path} takes input {shape}, the preprocessing makes [N, {channels}, "
                f"{preprocessing.size[0]}, {preprocessing.size[1]}]; check descriptor.size and "
                "descriptor.colour"
            )
        self._session = session
        self._input = inputs[0].name
        self._output = outputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        self._batch = shape[0] if isinstance(shape[0], int) else None  # fixed in the file
        self._preprocessing = preprocessing
        self.card = DescriptorCard(
            name=f"onnx:{path.name}", weights_sha256=sha256_of(path), preprocessing=preprocessing
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, all of them valid. A fixed batch is filled up by repeating the last image."""
        ready = self._preprocessing.apply(images)
        pixels = ready.cpu().numpy().astype(self._dtype)  # [N, C, H, W]
        size = self._batch or len(pixels)
        parts = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            (found,) = self._session.run([self._output], {self._input: full})
            if found.shape[0] != size:
                raise DescriptorError(
                    f"the ONNX descriptor returned shape {list(found.shape)} for {size} images"
                )
            parts.append(found.reshape(size, -1)[: len(part)])
        rows = unit_rows(torch.from_numpy(np.concatenate(parts)).to(images.device))
        return rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device)


def open_onnx(
    target: str,
    *,
    device: torch.device,
    size: tuple[int, ...] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    resize: Resize = "bicubic",
    colour: Colour = "rgb",
) -> OnnxDescriptor:
    """Open an ONNX file as a descriptor.

    Args:
      target: path of the file; data outside of it and custom operators are refused.
      device: "cuda" needs onnxruntime-gpu; without it the network runs on the CPU.
      size: height,width in pixels, or one number for a square.
      mean: of RGB on [0, 1]; one value for all channels, or three.
      std: likewise.
      resize: filter.
      colour: rgb, bgr or grey.

    Raises:
      ConfigError: not an ONNX file, one that takes no such images, or no size, mean or std.
    """
    import onnxruntime

    path = Path(target)
    if not path.is_file():
        raise ConfigError(f"onnx: no such file: {target or '(none given)'}")
    if size is None or mean is None or std is None:
        absent = [k for k, v in (("size", size), ("mean", mean), ("std", std)) if v is None]
        raise ConfigError(
            f"{path} needs its {', '.join(absent)}: a wrong normalisation moves the score "
            f"without an error; say {_WANTED}"
        )
    if len(size) > 2:
        raise ConfigError(f"descriptor.size wants one or two numbers, got {len(size)}")
    preprocessing = Preprocessing(
        size=(size[0], size[-1]), mean=mean, std=std, resize=resize, colour=colour
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    options.intra_op_num_threads = torch.get_num_threads()
    # Weights outside the file would be looked for in the working directory: nothing lies here.
    options.add_session_config_entry(_EXTERNAL_DATA, os.devnull)
    available = onnxruntime.get_available_providers()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), sess_options=options, providers=providers
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} cannot be read as an ONNX network: {reason}") from error
    return OnnxDescriptor(path, session, preprocessing)
