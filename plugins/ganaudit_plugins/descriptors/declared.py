"""The preprocessing of a descriptor that does not bring its own: the user declares it."""

from pathlib import Path

from ganaudit.descriptors import Colour, Preprocessing, Resize
from ganaudit.errors import ConfigError

_WANTED = "--set descriptor.size=112 --set descriptor.mean=... --set descriptor.std=..."


def preprocessing_of(
    path: Path,
    *,
    size: tuple[int, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    resize: Resize,
    colour: Colour,
) -> Preprocessing:
    """What the user declared for the descriptor at `path`.

    Args:
      path: of the descriptor, for messages.
      size: (height, width) in pixels, or one number for a square.
      mean: of RGB on [0, 1]; one value for all channels, or three.
      std: likewise.
      resize: filter.
      colour: rgb, bgr or grey.

    Raises:
      ConfigError: no size, mean or std, or one that cannot be.
    """
    if size is None or mean is None or std is None:
        absent = [k for k, v in (("size", size), ("mean", mean), ("std", std)) if v is None]
        raise ConfigError(
            f"{path} needs its {', '.join(absent)}: a wrong normalisation moves the score "
            f"without an error; say {_WANTED}"
        )
    if len(size) > 2:
        raise ConfigError(f"descriptor.size wants one or two numbers, got {len(size)}")
    return Preprocessing(size=(size[0], size[-1]), mean=mean, std=std, resize=resize, colour=colour)
