"""What a generator is trained on: pictures of one size in memory, or points of the plane."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.arrays import npz_members, spare_bytes, whole
from ganaudit.config import Fit
from ganaudit.errors import ConfigError, SourceError, one_line
from ganaudit.files import shown_path
from ganaudit.generators import Failure
from ganaudit.images import content_hashes
from ganaudit.pictures import IMAGES, Pictures, kind_of, open_pictures
from ganaudit.runner import Progress, silent
from ganaudit.slots import Draws
from ganaudit.training.batches import Batches
from ganaudit.training.labelling import Classes, classes_of
from ganaudit.training.reading import Reader

__all__ = ["Batches", "RealImages", "TrainingData", "read_training_data"]

_TOY = "toy:"
_POINTS = "points"  # the array of an .npz file
_HASHED_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """Real images or points, all of them in memory.

    Attributes:
      images: uint8 [N, C, H, W] with C = 1 or 3 and H = W, or float32 points [N, 2].
      labels: [N] int64, 0 <= label < num_labels; None: no classes are known.
      num_labels: classes; 0: none are known.
      identity: JSON values that say which data these are: the SHA-256 of all values, their shape,
        and how they were made.
      notes: sentences about what somebody should know of them.
    """

    images: Tensor
    labels: Tensor | None = None
    num_labels: int = 0
    identity: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image, or (2,) of a point."""
        return tuple(self.images.shape[1:])

    @property
    def are_points(self) -> bool:
        """Whether these are points of the plane."""
        return self.images.ndim == 2

    def batch(
        self,
        indices: Tensor,
        *,
        mirror: torch.Generator | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Some of the images as networks take them.

        Args:
          indices: [n] int64, on the CPU.
          mirror: decides which half of the images is mirrored; None: none is. Points have no
            mirror image.
          device: of the batch, to which bytes are moved; None: the CPU.

        Returns:
          float32 [n, C, H, W]: black is -1, white 1; or the points [n, 2] as they are.
        """
        chosen = self.images[indices]
        if mirror is not None and not self.are_points:
            turned = torch.rand(len(chosen), generator=mirror) < 0.5
            chosen = torch.where(turned.view(-1, 1, 1, 1), chosen.flip(3), chosen)
        chosen = chosen if device is None else chosen.to(device)
        return chosen if self.are_points else chosen.to(torch.float32).div_(127.5).sub_(1)

    def source(self) -> "RealImages":
        """The images as a collection that can be audited, or serve as a reference.

        Raises:
          ConfigError: these are points.
        """
        if self.are_points:
            raise ConfigError("points are no images: no descriptor can look at them")
        return RealImages(self)


class RealImages:
    """Training images by number, exactly as the training sees them."""

    seedable = True

    def __init__(self, data: TrainingData) -> None:
        self._images = data.images
        self.size: int | None = len(data)
        self.identity = {"training_data": data.identity}

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        """uint8 [3, H, W] by number."""
        for index in draws.index.tolist():
            yield index, self._images[index].expand(3, -1, -1).contiguous()


def read_training_data(
    path: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    labels: str | None = None,
    fit: Fit = "refuse",
    progress: Progress = silent,
    most_bytes: int | None = None,
) -> TrainingData:
    """Read all of the data into memory.

    Args:
      path: a folder or zip of pictures, an .npz with `images` (or `points` [N, 2]), an idx file, or
        toy:NAME.
      size: pixels a side; None: that of the pictures.
      channels: 1 or 3; None: 1 if every picture is grey, else 3.
      labels: as `classes_of` takes them; None: those that the data have themselves, if they can be
        used.
      fit: what becomes of a picture of another size, as `square` takes it.
      progress: told as pictures are read.
      most_bytes: that the images may take in memory; None: half of what is free.

    Raises:
      ConfigError: the data cannot be used as asked; the sentence names the file and the remedy.
    """
    file, toy = Path(path), path.startswith(_TOY)
    most = spare_bytes() if most_bytes is None else most_bytes
    if toy or kind_of(file) == "npz" and _holds_points(file):
        if (size, channels, labels, fit) != (None, None, None, "refuse"):
            raise ConfigError(
                f"{path} holds points; --size, --channels, --fit and --labels are for pictures"
            )
        return _of_points(path, _toy(path) if toy else _points(file, most))
    pictures = open_pictures(file)
    classes, notes = _classes(pictures, labels)
    reader = Reader(pictures, shown_path(file), size, channels, fit, most)
    images = reader.read(progress)
    notes = (*notes, *reader.notes, *_repeats(images), *_unused(classes))
    made = {"size": images.shape[2], "fit": fit, "channels": images.shape[1]}
    return TrainingData(
        images=images,
        labels=None if classes is None else torch.from_numpy(classes.labels),
        num_labels=0 if classes is None else classes.count,
        identity=_identity(shown_path(file), images) | made | _labelled(classes),
        notes=tuple(map(_text, notes)),
    )


def _classes(pictures: Pictures, wanted: str | None) -> tuple[Classes | None, tuple[str, ...]]:
    """The classes, and a note if those that nobody asked for cannot be used."""
    try:
        return classes_of(pictures, wanted), ()
    except ConfigError as error:
        if wanted is not None:
            raise
        return None, (f"The labels in the data are not used: {error}.",)


def _labelled(classes: Classes | None) -> dict[str, Any]:
    if classes is None:
        return {}
    digest = sha256(classes.labels.tobytes()).hexdigest()
    said = {"classes": classes.count, "source": classes.source, "sha256": digest}
    return {"labels": said | ({"names": [*map(_text, classes.names)]} if classes.names else {})}


def _unused(classes: Classes | None) -> tuple[str, ...]:
    if classes is None:
        return ()
    absent = classes.count - len(np.unique(classes.labels))
    return (f"{absent:,} of {classes.count:,} classes have no picture.",) if absent else ()


def _repeats(images: Tensor) -> tuple[str, ...]:
    """A generator that repeats what the data repeat has learned them well."""
    pieces = [content_hashes(piece) for piece in images.split(_HASHED_AT_ONCE)]
    repeats = len(images) - len(np.unique(np.concatenate(pieces), axis=0))
    if not repeats:
        return ()
    return (f"{repeats:,} of {len(images):,} pictures repeat another to the last byte.",)


def _identity(name: str, values: Tensor) -> dict[str, Any]:
    digest = sha256(values.numpy().data)
    return {"name": _text(Path(name).name), "count": len(values), "sha256": digest.hexdigest()}


def _text(name: str) -> str:
    """A name of somebody else's file as documents and terminals can have it."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def _of_points(name: str, points: NDArray[np.float32]) -> TrainingData:
    values = torch.from_numpy(points)
    return TrainingData(images=values, identity=_identity(name, values))


def _toy(path: str) -> NDArray[np.float32]:
    from ganaudit.training.toys import TOYS

    name = path.removeprefix(_TOY)
    if name not in TOYS:
        close = difflib.get_close_matches(name, TOYS, n=1)
        hint = f"; did you mean {_TOY}{close[0]}?" if close else ""
        raise ConfigError(f"--data {_TOY}NAME: NAME is one of {', '.join(TOYS)}{hint}")
    return np.asarray(TOYS[name]().points, dtype=np.float32)


def _holds_points(path: Path) -> bool:
    members = npz_members(path)
    return _POINTS in members and IMAGES not in members


def _points(path: Path, most_bytes: int) -> NDArray[np.float32]:
    """[N, 2] of an .npz file."""
    member = npz_members(path)[_POINTS]
    if member.dtype.kind != "f" or len(member.shape) != 2 or member.shape[1] != 2:
        raise ConfigError(
            f"{path}: the array {_POINTS!r} must be floating point [N, 2], got {member.dtype} "
            f"{list(member.shape)}"
        )
    if not member.shape[0] or member.shape[0] * 2 * max(4, member.dtype.itemsize) > most_bytes:
        raise ConfigError(
            f"{path} must hold at least one point, and no more than fit in memory "
            f"({most_bytes:,} bytes may be used); got {member.shape[0]:,}"
        )
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            points = whole(member.rows(most_bytes=most_bytes)).astype(np.float32)
    except SourceError as error:
        raise ConfigError(one_line(error)) from error
    if not np.isfinite(points).all():
        raise ConfigError(f"{path}: the array {_POINTS!r} holds NaN or infinite values")
    return points
