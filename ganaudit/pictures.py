"""Collections of pictures that somebody made: a folder, a zip, arrays in an .npz or idx file.

Nothing in them is trusted: what would unpack to more than a picture may be is refused unread.
"""

from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.archives import opened_archive
from ganaudit.arrays import Member, Rows, idx_rows, npz_members, spare_bytes, whole
from ganaudit.errors import ConfigError, SourceError, one_line
from ganaudit.files import sha256_of
from ganaudit.images import MAX_PIXELS, PICTURE_SUFFIXES, read_image, to_rgb

Kind = Literal["folder", "zip", "npz", "idx"]
IMAGES, LABELS = "images", "labels"  # names of the arrays of an .npz file
_KNOWN = ", ".join(sorted(PICTURE_SUFFIXES))
_MOST_FILE = 4 * MAX_PIXELS + 2**20  # bytes of a picture's file: four a pixel, and a header
_MOST_BESIDE = 2**26  # bytes of a file that says something of the pictures
_PIECE = 2**20  # bytes unpacked at once
_IDX = tuple(b"\0\0" + bytes([kind]) for kind in (8, 9, 11, 12, 13, 14))  # its six types
_SHOWN = 5  # names of arrays in a message


class PictureFolder:
    """The pictures below a folder, in the order of their relative paths.

    Attributes:
      names: relative paths.
      identity: JSON values that say which pictures these are: names and sizes of the files.
    """

    def __init__(self, folder: Path) -> None:
        """List the pictures; none is opened.

        Raises:
          ConfigError: there are none.
        """
        self.names = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
        )
        if not self.names:
            raise ConfigError(f"{folder} holds no pictures ({_KNOWN})")
        self._folder = folder
        listing = "\n".join(f"{name} {(folder / name).stat().st_size}" for name in self.names)
        self.identity = _listed(self.names, listing)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, number: int) -> torch.Tensor:
        """uint8 [3, H, W]; a SourceError that names the file, if it cannot be read."""
        return read_image(self._folder / self.names[number])

    def beside(self, name: str) -> bytes | None:
        """The content of another file in the folder; None: there is none.

        Raises:
          ConfigError: it cannot be read, or exceeds 64 MiB.
        """
        path = self._folder / name
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BESIDE + 1)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
        return _bounded(data, len(data), path)


class PictureZip:
    """The pictures in a zip archive, in the order of their names; hidden files are none.

    Attributes:
      names: of the entries.
      identity: JSON values that say which pictures these are: names, sizes and checksums.
    """

    def __init__(self, path: Path) -> None:
        """Read the table of contents; no picture is opened.

        Raises:
          ConfigError: it is no such archive, holds no pictures, or one that is larger than may be.
        """
        self._path, self._archive = path, opened_archive(path)
        finalize(self, self._archive.close)
        self.names = sorted(filter(_is_picture, self._archive.namelist()))
        if not self.names:
            raise ConfigError(f"{path} holds no pictures ({_KNOWN})")
        entries = [self._archive.getinfo(name) for name in self.names]
        large = next((entry for entry in entries if entry.file_size > _MOST_FILE), None)
        if large is not None:
            raise ConfigError(
                f"{path}: {large.filename} would unpack to {large.file_size:,} bytes, which no "
                "picture has; leave it out"
            )
        listing = "\n".join(f"{e.filename} {e.file_size} {e.CRC:08x}" for e in entries)
        self.identity = _listed(self.names, listing)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, number: int) -> torch.Tensor:
        """uint8 [3, H, W]; a SourceError that names the file, if it cannot be read."""
        name = self.names[number]
        return read_image(BytesIO(self._content(name)), what=f"{self._path}: {name}")

    def beside(self, name: str) -> bytes | None:
        """The content of another file, in the root or in the folder that all stands in.

        Raises:
          ConfigError: it cannot be unpacked, or exceeds 64 MiB.
        """
        entries = [e for e in self._archive.infolist() if PurePosixPath(e.filename).name == name]
        entry = min(entries, key=lambda e: e.filename.count("/"), default=None)
        if entry is None:
            return None
        _bounded(b"", entry.file_size, name)
        try:
            return self._content(entry.filename)
        except SourceError as error:
            raise ConfigError(str(error)) from error

    def _content(self, name: str) -> bytes:
        pieces = []
        try:
            with self._archive.open(name) as file:
                while piece := file.read(_PIECE):
                    pieces.append(piece)
        except Exception as error:  # zipfile raises half a dozen kinds over a damaged entry
            raise SourceError(
                f"{self._path}: {name} cannot be unpacked: {one_line(error)}"
            ) from error
        return b"".join(pieces)


class PictureArray:
    """Pictures that stand in an array of bytes: [N, H, W], [N, H, W, C] or [N, C, H, W].

    Attributes:
      identity: JSON values that say which pictures these are: the SHA-256 of the file.
    """

    def __init__(self, path: Path, rows: Rows, labels: Member | None = None) -> None:
        """Check the shape; no picture is read.

        Args:
          path: of the file.
          rows: its array.
          labels: those of the same file, unread; None: it has none.

        Raises:
          ConfigError: these can be no pictures.
        """
        self._path, self._rows, self._labels = path, rows, labels
        self._layout = _layout(path, rows.shape)
        height, width = _sides(rows.shape, self._layout)
        if not rows.shape[0] or not 0 < height * width <= MAX_PIXELS:
            raise ConfigError(
                f"{path} must hold pictures of 1 to {MAX_PIXELS:,} pixels, got an array of shape "
                f"{list(rows.shape)}"
            )
        self.identity = {"images": rows.shape[0], "sha256": sha256_of(path)}

    def __len__(self) -> int:
        return self._rows.shape[0]

    def image(self, number: int) -> torch.Tensor:
        """uint8 [3, H, W]; a SourceError, if the file can no longer be read."""
        values = torch.from_numpy(np.ascontiguousarray(self._rows[number]))
        if self._layout is None:
            return values.repeat(3, 1, 1)
        return to_rgb(values[None], layout=self._layout)[0]

    def labels(self) -> NDArray[np.int64] | None:
        """[N] class numbers that stand beside the pictures; None: there are none.

        Raises:
          ConfigError: they are no such numbers.
        """
        member = self._labels
        if member is None:
            return None
        column = member.shape[1:] == (1,)  # as CIFAR's are often kept
        if member.dtype.kind not in "iu" or len(member.shape) != 1 and not column:
            raise ConfigError(
                f"{self._path}: the array {LABELS!r} must be a vector of whole numbers, got "
                f"{member.dtype} {list(member.shape)}"
            )
        values = whole(member.rows(most_bytes=spare_bytes()))
        return values.reshape(-1).astype(np.int64)


Pictures = PictureFolder | PictureZip | PictureArray


def open_pictures(path: Path) -> Pictures:
    """Open a folder of pictures, a zip of pictures, an .npz with `images`, or an idx file.

    Raises:
      ConfigError: it is none of these, or holds no pictures.
    """
    kind = kind_of(path)
    if kind == "folder":
        return PictureFolder(path)
    if kind == "zip":
        return PictureZip(path)
    if kind == "idx":
        return PictureArray(path, idx_rows(path, dimensions=3, most_bytes=spare_bytes()))
    members = npz_members(path)
    if IMAGES not in members:
        raise ConfigError(
            f"{path} has no array {IMAGES!r}; it has {', '.join(list(members)[:_SHOWN]) or 'none'}"
        )
    images = members[IMAGES]
    if images.dtype != np.uint8:
        raise ConfigError(
            f"{path}: the array {IMAGES!r} must be uint8, 0 to 255, got {images.dtype}"
        )
    _layout(path, images.shape)  # before it is unpacked
    rows = images.rows(most_bytes=spare_bytes())
    return PictureArray(path, rows, members.get(LABELS))


def kind_of(path: Path) -> Kind:
    """What holds the pictures, told by its content.

    Raises:
      ConfigError: it is nothing of these, or cannot be read.
    """
    try:
        if path.is_dir():
            return "folder"
        if not path.is_file():  # opening a pipe would wait for its other end
            raise ConfigError(f"{path}: no such file or folder")
        with path.open("rb") as file:
            head = file.read(4)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)[:200]!r} cannot be read: {one_line(error)}") from error
    if head.startswith(b"PK"):
        with opened_archive(path) as archive:
            names = archive.namelist()
        arrays = any(name.endswith(".npy") for name in names)
        return "npz" if arrays and not any(map(_is_picture, names)) else "zip"
    if head.startswith((b"\x1f\x8b", *_IDX)):
        return "idx"
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise ConfigError(f"{path} is one picture; name the folder of all of them")
    raise ConfigError(
        f"{path} holds no pictures that are known: wanted is a folder, a .zip of pictures, an .npz "
        f"with an array {IMAGES!r}, or an idx file"
    )


def _bounded(data: bytes, size: int, what: object) -> bytes:
    if size > _MOST_BESIDE:
        raise ConfigError(f"{what} is larger than {_MOST_BESIDE >> 20} MiB")
    return data


def _is_picture(name: str) -> bool:
    """Whether an entry of an archive is one; `__MACOSX` holds what macOS adds to each file."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in PICTURE_SUFFIXES and not hidden and not name.endswith("/")


def _listed(names: list[str], listing: str) -> dict[str, Any]:
    digest = sha256(listing.encode(errors="surrogateescape")).hexdigest()
    return {"files": len(names), "listing_sha256": digest}


def _layout(path: Path, shape: tuple[int, ...]) -> Literal["NCHW", "NHWC"] | None:
    """Where the channels of an array stand; None: it has no axis of them."""
    if len(shape) == 3:
        return None
    first, last = (len(shape) == 4 and shape[axis] in (1, 3, 4) for axis in (1, 3))
    if first == last:
        which = "may be either of these" if first else "is neither"
        raise ConfigError(
            f"{path} must hold pictures [N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 "
            f"channels C; shape {list(shape)} {which}"
        )
    return "NCHW" if first else "NHWC"


def _sides(shape: tuple[int, ...], layout: str | None) -> tuple[int, int]:
    at = 2 if layout == "NCHW" else 1
    return shape[at], shape[at + 1]
