"""Which labels the slots of a conditional generator get: `--labels uniform|K|FILE`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.files import sha256_of

MAX_LABELS = 2**20  # classes a generator may declare
_MOST_BYTES = 2**27
_LABEL = re.compile(r"[+-]?[0-9]{1,18}")
_SHOWN = 40  # characters of a line that is no label


@dataclass(frozen=True)
class Law:
    """How labels are drawn.

    Attributes:
      choices: [L] int64 in [0, num_labels); a slot gets each entry with equal probability.
      identity: JSON values that say which law this is.
      sentence: the same for a reader.
    """

    choices: NDArray[np.int64]
    identity: Mapping[str, Any]
    sentence: str


def law_of(wanted: str | None, num_labels: int) -> Law | None:
    """The law that `--labels` asks for; None: the generator has no labels.

    Args:
      wanted: "uniform", a class number, or a file with a class number a line (or a .npy vector of
        whole numbers): labels are drawn from its entries, so that it gives their frequencies.
        None: uniform.
      num_labels: of the generator; 0: it is unconditional.

    Raises:
      ConfigError: labels for a generator without, a label out of range, or no such file.
    """
    if num_labels == 0:
        if wanted is not None:
            raise ConfigError(
                f"--labels {wanted}: this generator takes no labels; a conditional one declares "
                "num_labels (--set num_labels=10)"
            )
        return None
    if not 0 < num_labels <= MAX_LABELS:
        raise ConfigError(f"num_labels must be in [0, {MAX_LABELS}], got {num_labels}")
    if wanted is None or wanted == "uniform":
        said = f"Labels are drawn uniformly from {num_labels} classes"
        sentence = said + (", which nobody asked for." if wanted is None else ", as requested.")
        return Law(np.arange(num_labels), {"labels": "uniform"}, sentence)
    if _LABEL.fullmatch(wanted):
        label = _check(np.array([int(wanted)]), num_labels, "--labels")
        return Law(label, {"labels": int(wanted)}, f"Every image has label {wanted}, as requested.")
    path = Path(wanted)
    choices = _check(read_labels(path), num_labels, f"--labels {wanted}")
    return Law(
        choices,
        {"labels": {"entries": len(choices), "sha256": sha256_of(path)}},
        f"Labels are drawn from the {len(choices):,} entries of {path.name}, as requested.",
    )


def read_labels(path: Path) -> NDArray[np.int64]:
    """The numbers of a file, of any sign: text with one a line, or a .npy vector.

    Raises:
      ConfigError: there is no such file, or it holds something else.
    """
    try:
        if not path.is_file():
            raise ConfigError(
                f"--labels wants uniform, a class number or a file; got {str(path)[:_SHOWN]}"
            )
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"--labels {path} is larger than {_MOST_BYTES >> 20} MiB")
        if path.suffix == ".npy":
            with path.open("rb") as file:
                values = np.lib.format.read_array(file, allow_pickle=False, max_header_size=10_000)
            if values.ndim != 1 or values.dtype.kind not in "iu":
                raise ConfigError(
                    f"--labels {path} must hold a vector of whole numbers, got {values.dtype} "
                    f"{list(values.shape)}"
                )
            return np.asarray(values, dtype=np.int64)
        lines = path.read_text(encoding="utf-8").split()
        return np.array([_number(path, word) for word in lines], dtype=np.int64)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise ConfigError(
            f"--labels {str(path)[:_SHOWN]} cannot be read: {str(error)[:_SHOWN]}"
        ) from error


def _number(path: Path, word: str) -> int:
    if _LABEL.fullmatch(word):
        return int(word)
    raise ConfigError(f"--labels {path} must hold a class number a line, got {word[:_SHOWN]!r}")


def _check(labels: NDArray[np.int64], num_labels: int, where: str) -> NDArray[np.int64]:
    if not len(labels):
        raise ConfigError(f"{where} holds no labels")
    wrong = labels[(labels < 0) | (labels >= num_labels)]
    if len(wrong):
        raise ConfigError(
            f"{where}: labels of this generator are 0 to {num_labels - 1}, got {wrong[0]}"
        )
    return labels
