"""`images:DIR`: pictures that somebody delivered, in place of their generator."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from ganaudit.errors import ConfigError, SourceError
from ganaudit.generators import Failure
from ganaudit.images import PICTURE_SUFFIXES, read_image
from ganaudit.slots import Draws


class ImageFolder:
    """The pictures below a folder, numbered in the order of their relative paths."""

    seedable = True
    assumptions = (
        "The pictures are taken as independent draws of one generator, of which nothing was left "
        "out; transparency is composited on white.",
    )

    def __init__(self, folder: Path) -> None:
        """List the pictures; none is opened."""
        names = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
        )
        if not names:
            raise ConfigError(f"{folder} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")
        self._folder = folder
        self._names = names
        self.size: int | None = len(names)
        listing = "\n".join(f"{name} {(folder / name).stat().st_size}" for name in names)
        self.identity = {
            "files": len(names),
            "listing_sha256": sha256(listing.encode(errors="surrogateescape")).hexdigest(),
        }

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        """The pictures by number; one that cannot be read is a failure of its own."""
        for index in draws.index.tolist():
            try:
                yield index, read_image(self._folder / self._names[index])
            except SourceError as error:
                yield index, Failure(str(error))


def open_images(target: str) -> ImageFolder:
    """Open a folder of pictures, looked for in all folders below it too.

    Raises:
      ConfigError: no such folder, or no pictures in it.
    """
    folder = Path(target)
    if not target or not folder.is_dir():
        raise ConfigError(f"images: no such folder: {target or '(none given)'}")
    return ImageFolder(folder)
