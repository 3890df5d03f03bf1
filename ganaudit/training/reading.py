"""Pictures of a collection, read into one array before a training begins."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.arrays import in_bytes
from ganaudit.config import Fit
from ganaudit.errors import ConfigError, SourceError
from ganaudit.pictures import Pictures
from ganaudit.runner import Progress
from ganaudit.training.squares import grey, is_grey, square

_TOLD_EVERY = 64  # pictures
_LONGEST_SIDE = 2**13


class Reader:
    """Reads pictures one by one into an array, which gets colours when the first one has some."""

    def __init__(
        self,
        pictures: Pictures,
        name: str,
        size: int | None,
        channels: int | None,
        fit: Fit,
        most_bytes: int,
    ) -> None:
        """Keep what is asked for; without a size, look at the first picture.

        Args:
          pictures: of a collection.
          name: of the collection, for messages.
          size: pixels a side; None: that of the pictures.
          channels: 1 or 3; None: 1 if every picture is grey, else 3.
          fit: as `square` takes it.
          most_bytes: that the array may take.

        Raises:
          ConfigError: no size is known.
        """
        if size is not None and not 1 <= size <= _LONGEST_SIDE:
            raise ConfigError(f"--size must be in [1, {_LONGEST_SIDE}], got {size}")
        self._pictures, self._name, self._fit, self._most = pictures, name, fit, most_bytes
        self._channels = channels
        self._size = self._side() if size is None else size
        self._enlarged = self._turned_grey = 0

    def read(self, progress: Progress) -> Tensor:
        """uint8 [N, C, size, size].

        Raises:
          ConfigError: a picture cannot be read or is refused, or they would take too much memory.
        """
        count = len(self._pictures)
        images = self._empty(self._channels or 1)
        for number in range(count):
            picture = self._picture(number)
            coloured = images.shape[1] == 1 and not is_grey(picture)
            if coloured and self._channels is None:
                images = self._with_colours(images, number)
            elif coloured:
                self._turned_grey += 1
                picture = grey(picture)
            images[number] = picture[: images.shape[1]]
            if (number + 1) % _TOLD_EVERY == 0 or number + 1 == count:
                progress("pictures", number + 1, count)
        return torch.from_numpy(images)

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened to the pictures."""
        said = []
        if self._enlarged:
            said.append(
                f"{self._enlarged:,} of {len(self._pictures):,} pictures are smaller than "
                f"{self._size} pixels and were enlarged."
            )
        if self._turned_grey:
            said.append(f"{self._turned_grey:,} coloured pictures were made grey (--channels 1).")
        return tuple(said)

    def _side(self) -> int:
        """Of the first picture; the others must be as it is."""
        if self._fit != "refuse":
            raise ConfigError(f"--fit {self._fit} needs the --size, in pixels, of the result")
        height, width = self._decoded(0).shape[1:]
        if height != width:
            raise ConfigError(
                f"{self._called(0)} has {width} x {height} pixels, which is no square; say --size "
                f"{min(height, width)} --fit crop, resize or pad"
            )
        return int(height)

    def _picture(self, number: int) -> NDArray[np.uint8]:
        """[3, size, size]."""
        what = self._called(number)
        picture, enlarged = square(self._decoded(number), size=self._size, fit=self._fit, what=what)
        self._enlarged += enlarged
        return picture

    def _decoded(self, number: int) -> NDArray[np.uint8]:
        try:
            return self._pictures.image(number).numpy()
        except SourceError as error:
            raise ConfigError(f"{error}; mend this picture or take it away") from error

    def _called(self, number: int) -> str:
        names = getattr(self._pictures, "names", None)
        return f"picture {number} of {self._name}" if names is None else str(names[number])

    def _empty(self, channels: int) -> NDArray[np.uint8]:
        shape = (len(self._pictures), channels, self._size, self._size)
        size = int(np.prod(shape, dtype=object))
        if size > self._most:
            raise ConfigError(
                f"{self._name} would take {in_bytes(size)} of memory ({shape[0]:,} pictures "
                f"of {channels} x {self._size} x {self._size}), and {in_bytes(self._most)} "
                "may be used; say a smaller --size, --channels 1, or take fewer pictures"
            )
        return np.empty(shape, np.uint8)

    def _with_colours(self, images: NDArray[np.uint8], done: int) -> NDArray[np.uint8]:
        coloured = self._empty(3)
        coloured[:done] = images[:done]
        return coloured
