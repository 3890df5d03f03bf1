"""The real artefacts in other formats, made anew by each test: never committed."""

import warnings
from pathlib import Path

import torch

from ganaudit.userfile import import_file

NETWORKS = Path(__file__).parent / "networks.py"


def export_faces_onnx(path: Path, artefacts: Path, *, batch: int | None = None) -> Path:
    """The faces generator as torch exports it, z [N, 100] to images [N, 3, 32, 32].

    Args:
      path: of the file to write.
      artefacts: folder of the real weights.
      batch: fixed in the file; None: any.
    """
    module = import_file(NETWORKS).faces(weights=artefacts / "faces" / "generator.pt")
    free = {"z": {0: "N"}, "images": {0: "N"}} if batch is None else None
    with warnings.catch_warnings():
        # This exporter needs no further package; it will go one day, and says so.
        for message in ("You are using the legacy TorchScript", "The feature will be removed"):
            warnings.filterwarnings("ignore", message, DeprecationWarning)
        torch.onnx.export(
            module,
            (torch.zeros(batch or 1, 100),),
            path,
            input_names=["z"],
            output_names=["images"],
            dynamic_axes=free,
            opset_version=17,
            dynamo=False,
        )
    return path
