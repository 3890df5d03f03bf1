"""`onnx:FILE`: any network in ONNX that turns images into embeddings, with ONNX Runtime."""

import torch
from torch import Tensor

from ganaudit.descriptors import Colour, DescriptorCard, Preprocessing, Resize, unit_rows
from ganaudit.errors import ConfigError, DescriptorError
from ganaudit_plugins.descriptors.declared import preprocessing_of
from ganaudit_plugins.onnx_files import NUMPY_OF, OnnxFile, existing_file, open_session


class OnnxDescriptor:
    """One float image input [N, C, H, W], one embedding output [N, ...]."""

    def __init__(self, file: OnnxFile, preprocessing: Preprocessing) -> None:
        """Check the file's input and output against the preprocessing."""
        if len(file.inputs) != 1 or file.inputs[0].kind not in ("float", "float16"):
            kinds = ", ".join(map(str, file.inputs))
            raise ConfigError(
                f"{file.path} must have one floating-point input, got {kinds or 'none'}"
            )
        if file.outputs[0].kind not in NUMPY_OF:
            raise ConfigError(f"{file.path} must return numbers, got {file.outputs[0]}")
        shape = file.inputs[0].shape
        channels = 1 if preprocessing.colour == "grey" else 3
        wanted = (None, channels, *preprocessing.size)
        if len(shape) != 4 or any(
            isinstance(side, int) and want is not None and side != want
            for side, want in zip(shape, wanted, strict=True)
        ):
            raise ConfigError(
                f"{file.path} takes input {list(shape)}, the preprocessing makes [N, {channels}, "
                f"{preprocessing.size[0]}, {preprocessing.size[1]}]; check descriptor.size and "
                "descriptor.colour"
            )
        self._file = file
        self._batch = shape[0] if isinstance(shape[0], int) else None  # fixed in the file
        self._preprocessing = preprocessing
        self.card = DescriptorCard(
            name=f"onnx:{file.path.name}", weights_sha256=file.sha256, preprocessing=preprocessing
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, all of them valid. A fixed batch is filled up by repeating the last image."""
        (images_in,), embedding = self._file.inputs, self._file.outputs[0]
        pixels = self._preprocessing.apply(images).cpu().numpy()  # [N, C, H, W]
        found = self._file.run(
            embedding.name,
            {images_in.name: pixels.astype(NUMPY_OF[images_in.kind], copy=False)},
            constants={},
            batch=self._batch,
            blame=DescriptorError,
        )
        rows = unit_rows(torch.from_numpy(found.reshape(len(found), -1)).to(images.device))
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
      target: path of the file; data outside of its folder and custom operators are refused.
      device: "cuda" needs onnxruntime-gpu; without it the network runs on the CPU.
      size: height,width in pixels, or one number for a square.
      mean: of RGB on [0, 1]; one value for all channels, or three.
      std: likewise.
      resize: filter.
      colour: rgb, bgr or grey.

    Raises:
      ConfigError: not an ONNX file, one that takes no such images, or no size, mean or std.
      UnsafeCheckpoint: the file names data outside of its folder.
    """
    path = existing_file(target)
    preprocessing = preprocessing_of(
        path, size=size, mean=mean, std=std, resize=resize, colour=colour
    )
    return OnnxDescriptor(open_session(path, device), preprocessing)
