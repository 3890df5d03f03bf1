"""`embeddings:FILE.npy`: rows that somebody already embedded; no images, no descriptor."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError, SourceError
from ganaudit.files import sha256_of

_MOST_COLUMNS = 2**16


class EmbeddingFile:
    """The rows of a .npy matrix, scaled to length 1 as they are read."""

    assumptions = (
        "The embeddings are taken as those of independent draws of one generator, of which nothing "
        "was left out.",
    )

    def __init__(self, path: Path) -> None:
        """Read and check the header; pickled objects inside are refused, not loaded."""
        try:
            with path.open("rb") as file:
                major, _ = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if major == 1
                    else np.lib.format.read_array_header_2_0
                )
                shape, fortran, self._dtype = read(file, max_header_size=10_000)
                self._offset = file.tell()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as a .npy file: {error}") from error
        if (
            self._dtype.kind != "f"
            or len(shape) != 2
            or fortran
            or not 1 <= shape[1] <= _MOST_COLUMNS
        ):
            raise ConfigError(
                f"{path} must hold a C-ordered floating-point matrix [N, D], got "
                f"{self._dtype} {list(shape)}{' in Fortran order' if fortran else ''}"
            )
        self._path = path
        self.size, self._width = int(shape[0]), int(shape[1])
        if path.stat().st_size < self._offset + self.size * self._width * self._dtype.itemsize:
            raise ConfigError(f"{path} is cut short: its header promises {self.size} rows")
        self.identity = {"sha256": sha256_of(path), "rows": self.size, "columns": self._width}

    def rows(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Unit rows [N, D] float32 by number, and valid [N]: not zero, NaN or infinite."""
        stride = self._width * self._dtype.itemsize
        raw = np.empty((len(slots), self._width), dtype=self._dtype)
        try:
            with self._path.open("rb", buffering=0) as file:
                for row, slot in zip(raw, slots, strict=True):
                    file.seek(self._offset + int(slot) * stride)
                    if file.readinto(memoryview(row).cast("B")) != stride:
                        raise SourceError(f"{self._path} ended before row {slot}")
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error}") from error
        wide = raw.astype(np.float64)
        largest = np.abs(wide).max(axis=1)
        valid = np.isfinite(largest) & (largest > 0)
        wide[~valid], largest[~valid] = 0, 1
        wide /= largest[:, None]  # so that squares neither overflow nor vanish
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        lengths[~valid] = 1
        return (wide / lengths[:, None]).astype(np.float32), valid


def open_embeddings(target: str) -> EmbeddingFile:
    """Open a .npy file of [N, D] float16, float32 or float64 rows.

    Raises:
      ConfigError: no such file, or not such a matrix.
    """
    path = Path(target)
    if not path.is_file():
        raise ConfigError(f"embeddings: no such file: {target or '(none given)'}")
    return EmbeddingFile(path)
