"""`facenet:vggface2` or `facenet:casia-webface`: faces to identities, with facenet-pytorch.

The largest face of an image is cut out, without turning it upright: so were the faces cut that
FaceNet was trained with.
"""

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.state_dicts import StateDict, fill, read_state_dict
from ganaudit.descriptors import DescriptorCard, Preprocessing, unit_rows
from ganaudit.errors import ConfigError, UnsafeCheckpoint, one_line
from ganaudit_plugins.descriptors.mtcnn import WINDOW, FaceDetector, detection_size

RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
MAX_DOWNLOAD = 2**29  # bytes
TIMEOUT_S = 60.0  # without a byte

SIDE = 160  # of the face that FaceNet takes

_FILES = {
    "vggface2": "20180402-114759-vggface2.pt",
    "casia-webface": "20180408-102900-casia-webface.pt",
}
_IDENTITIES = {8631: "vggface2", 10575: "casia-webface"}  # rows of the classifier beside a network
_DATASETS = {"vggface2": "VGGFace2", "casia-webface": "CASIA-WebFace"}
_CLASSIFIER = ("logits.weight", "logits.bias")

_PIXELS = 2**23  # looked at in one piece
_FACES = 512  # in one piece


class FacenetDescriptor:
    """The largest sure face of an image to a unit row of 512."""

    def __init__(
        self,
        network: nn.Module,
        detector: FaceDetector | None,
        *,
        device: torch.device,
        name: str,
        sha256: str,
        licence: str | None,
        margin: int,
    ) -> None:
        """`detector`: None takes the whole image as a face that was cut out already."""
        self._network = network.to(device)
        self._detector = detector
        self._device = device
        self._margin = margin
        self._preprocessing = Preprocessing(
            size=(SIDE, SIDE), mean=(0.5,), std=(128 / 255,), resize="bilinear"
        )
        found: dict[str, Any] = {"detect": False}
        if detector is not None:
            found = {"detect": True, "margin": margin, "cut": "box, not turned upright"}
            found |= detector.settings
        self.card = DescriptorCard(
            name=name,
            weights_sha256=sha256,
            licence=licence,
            preprocessing=self._preprocessing,
            settings=found,
        )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows; an image without a face has a row of zeros that is not valid."""
        images = images.to(self._device)
        rows = torch.zeros(len(images), 512, device=self._device)
        valid = torch.ones(len(images), dtype=torch.bool, device=self._device)
        if not len(images):
            return rows, valid
        if self._detector is None:
            faces = [self._preprocessing.apply(part) for part in images.split(_FACES)]
        else:
            pieces = images.split(_images_at_once(images))
            boxes = [self._detector.largest_faces(piece) for piece in pieces]
            valid = torch.cat([found for _, found in boxes])
            faces = [
                self._preprocessing.apply(cut_faces(piece[found], box[found], margin=self._margin))
                for piece, (box, found) in zip(pieces, boxes, strict=True)
            ]
        ready = torch.cat(faces)  # [F, 3, 160, 160]
        if len(ready):
            parts = [self._network(part) for part in ready.split(_FACES)]
            rows[valid] = unit_rows(torch.cat(parts))
        return rows, valid


def cut_faces(images: Tensor, boxes: Tensor, *, margin: int) -> Tensor:
    """Faces cut out of their images and stretched to the square that FaceNet takes.

    The box and its margin are clipped to the image and keep their fractions of pixels, so a
    hair's breadth of the box moves a face by no more. The filter is Pillow's bilinear one: a
    triangle that reaches as far as a pixel of image or face, whichever is larger.

    Args:
      images: uint8 [F, 3, H, W].
      boxes: [F, 4] float, pixels; of each a part lies in the image.
      margin: around the face, in pixels of the result, on both sides together.

    Returns:
      float32 [F, 3, 160, 160] in 0 .. 255.
    """
    height, width = images.shape[2:]
    sides = boxes[:, 2:] - boxes[:, :2]
    more = sides * margin / (SIDE - margin) / 2
    limits = boxes.new_tensor([width, height])
    low = torch.minimum((boxes[:, :2] - more).clamp(min=0), limits - 1)
    high = torch.maximum(torch.minimum(boxes[:, 2:] + more, limits), low + 1)
    across = _triangles(low[:, 0], high[:, 0], width)  # [F, 160, W]
    down = _triangles(low[:, 1], high[:, 1], height)  # [F, 160, H]
    rows = down[:, None] @ images.to(torch.float32)  # [F, 3, 160, W]
    return rows @ across[:, None].transpose(2, 3)


def _triangles(low: Tensor, high: Tensor, length: int) -> Tensor:
    """[F, 160, length] weights of pixels in the stretch from low to high, each row of sum 1."""
    step = ((high - low) / SIDE)[:, None, None]
    centre = low[:, None, None] + (torch.arange(SIDE, device=low.device)[:, None] + 0.5) * step
    pixel = torch.arange(length, device=low.device) + 0.5
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    return weight / weight.sum(2, keepdim=True)


def _images_at_once(images: Tensor) -> int:
    height, width = detection_size(*images.shape[2:])
    return max(1, _PIXELS // (height * width))


def open_facenet(
    target: str,
    *,
    device: torch.device,
    weights: Path | None = None,
    detect: bool = True,
    margin: int = 14,
    confidence: float = 0.9,
    min_face: int = 20,
) -> FacenetDescriptor:
    """Open FaceNet (InceptionResnetV1) with weights that are on this machine.

    Faces are found with MTCNN and cut out as FaceNet's training data were: the box and a margin,
    stretched to 160 x 160, not turned upright. Of several faces the largest is taken. Images
    whose shorter side is below 160 pixels are enlarged for the search. Theta and radius were not
    measured.

    Args:
      target: vggface2 (when empty) or casia-webface.
      device: of both networks.
      weights: a state dict of facenet-pytorch; else its cache folder is looked into.
      detect: false takes every image as a face that was cut out already.
      margin: around the face, in pixels of the 160, on both sides together; 14 is what
        facenet-pytorch's author advises for these weights.
      confidence: probability from which a box is a face.
      min_face: side of the smallest face that is sought, pixels; 12 or more.

    Raises:
      ConfigError: an unknown target, no weights, or those of another network.
      UnsafeCheckpoint: reading the weights would mean running them.
    """
    target = _known(target)
    if not 0 <= margin < SIDE:
        raise ConfigError(f"descriptor.margin must be 0 to {SIDE - 1} pixels, got {margin}")
    if not 0 < confidence <= 1:
        raise ConfigError(f"descriptor.confidence must be in (0, 1], got {confidence}")
    if min_face < WINDOW:
        raise ConfigError(f"descriptor.min_face must be {WINDOW} pixels or more, got {min_face}")
    path = weights or _cached(target)
    if weights is None and not path.is_file():
        raise ConfigError(
            f"facenet:{target} needs its weights: name them with --set descriptor.weights=FILE, "
            f"put {path.name} into {path.parent}, or run: ganaudit fetch facenet:{target}"
        )
    network, state = _load(path)
    trained_on = _trained_on(state)
    if trained_on not in (None, target):
        raise ConfigError(
            f"{path} was trained on {_DATASETS[trained_on or target]}, by the size of its "
            f"classifier; say facenet:{trained_on}"
        )
    stranger = weights is not None and trained_on is None
    return FacenetDescriptor(
        network,
        FaceDetector(device, confidence=confidence, min_face=min_face) if detect else None,
        device=device,
        name=f"facenet:{path.name if stranger else target}",
        sha256=state.sha256,
        licence=None
        if stranger
        else f"code: MIT; weights: trained on {_DATASETS[target]}, a research data set whose "
        "terms may bind them",
        margin=margin,
    )


def fetch(target: str) -> Path:
    """Download the weights into the folder where facenet-pytorch keeps them.

    They are checked before they get their name. Weights that are there already stay as they are.

    Raises:
      ConfigError: an unknown target, or the download failed; nothing is left of it.
    """
    target = _known(target)
    path = _cached(target)
    if path.is_file():
        return path
    url = f"{RELEASE}/{path.name}"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, temporary)
        if _trained_on(_load(temporary)[1]) not in (None, target):
            raise ConfigError("it was trained on another data set")
        os.replace(temporary, path)
    except (OSError, HTTPException, ValueError, ConfigError, UnsafeCheckpoint) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an answer, too
        raise ConfigError(
            f"{url} could not be fetched ({one_line(error)}); download it by hand into "
            f"{path.parent}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "ganaudit"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
        if answer.url.partition(":")[0] != url.partition(":")[0]:
            raise ConfigError(f"it was led to {answer.url:.200}")
        announced, size = answer.headers.get("Content-Length"), 0
        while piece := answer.read(2**20):
            size += len(piece)
            if size > MAX_DOWNLOAD:
                raise ConfigError(f"it has more than {MAX_DOWNLOAD} bytes")
            file.write(piece)
        if announced is not None and size != int(announced):
            raise ConfigError(f"{size} of {announced} bytes came")


def _known(target: str) -> str:
    target = target or "vggface2"
    if target not in _FILES:
        raise ConfigError(
            f"there is {' and '.join(f'facenet:{k}' for k in _FILES)}, got {target!r}"
        )
    return target


def _cached(target: str) -> Path:
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home

    return Path(get_torch_home()) / "checkpoints" / _FILES[target]


def _load(path: Path) -> tuple[nn.Module, StateDict]:
    """FaceNet without its classifier, and what the file holds."""
    from facenet_pytorch import InceptionResnetV1

    state = read_state_dict(path)
    with torch.device("meta"):
        network: nn.Module = InceptionResnetV1()
    fill(network, state, network="facenet", unused=lambda name: name in _CLASSIFIER)
    return network, state


def _trained_on(state: StateDict) -> str | None:
    """By the classifier beside the network, one row an identity; None: nobody can say."""
    classifier = state.tensors.get("logits.weight")
    return None if classifier is None else _IDENTITIES.get(classifier.shape[0])
