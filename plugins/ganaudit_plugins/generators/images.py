"""`images:PATH`: pictures that somebody delivered, in place of their generator."""

import os
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ganaudit.errors import ConfigError, SourceError
from ganaudit.generators import Failure
from ganaudit.pictures import Pictures, open_pictures
from ganaudit.slots import Draws


class Delivery:
    """Pictures by number."""

    seedable = True
    assumptions = (
        "The pictures are taken as independent draws of one generator, of which nothing was left "
        "out; transparency is composited on white.",
    )

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self.size: int | None = len(pictures)
        self.identity = dict(pictures.identity)

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        """The pictures by number; one that cannot be read is a failure of its own."""
        for index in draws.index.tolist():
            try:
                yield index, self._pictures.image(index)
            except SourceError as error:
                yield index, Failure(str(error))


def open_images(target: str) -> Delivery:
    """Open pictures: a folder and all below it, a zip, an .npz with `images`, or an idx file.

    Raises:
      ConfigError: no such folder or file, or no pictures in it.
    """
    path = Path(target)
    if not target or not os.path.exists(path):  # Path.exists raises over an impossible name
        kind = "file" if path.suffix else "folder"
        raise ConfigError(f"images: no such {kind}: {target or '(none given)'}")
    return Delivery(open_pictures(path))
