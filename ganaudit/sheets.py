"""What is known of samples as they are made: a table, latents, and thumbnails for a grid."""

import csv
import io
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.config import MOST_SHOWN
from ganaudit.generators import Failure, Status
from ganaudit.grids import columns_of, thumbnail
from ganaudit.images import content_hashes
from ganaudit.reasons import bounded
from ganaudit.slots import Draws

IMAGES = "images"  # folder of them
COLUMNS = ("slot", "seed", "label", "file", "status", "reason")
_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would compute

Answer = torch.Tensor | Failure


def file_of(slot: int) -> str:
    """The image of a slot, relative to the folder."""
    return f"{IMAGES}/{slot:010d}.png"


class Sheet:
    """What is kept of the slots that are through.

    Attributes:
      rows: a tuple of `COLUMNS` a slot.
      thumbnails: of the first slots; None where there is no image.
      columns: of the grid.
      counts: slots by status.
      reasons: why slots have no image, and how many.
    """

    def __init__(self, samples: int) -> None:
        """`samples`: slots that there will be."""
        self.rows: list[tuple[object, ...]] = []
        self.thumbnails: list[NDArray[np.uint8] | None] = []
        self.columns, self._side = columns_of(min(samples, MOST_SHOWN))
        self.counts: Counter[Status] = Counter()
        self.reasons: Counter[str] = Counter()
        self._latents: list[NDArray[np.float32]] = []
        self._hashes: set[bytes] = set()

    def add(self, draws: Draws, answers: list[Answer]) -> None:
        """Take note of some more slots: of each its image, uint8 [3, H, W], or why it has none."""
        if draws.latents is not None:
            self._latents.append(draws.latents.cpu().numpy())
        labels = [""] * len(draws) if draws.labels is None else draws.labels.tolist()
        about = zip(draws.index.tolist(), draws.seeds.tolist(), labels, strict=True)
        for (slot, seed, label), answer in zip(about, answers, strict=True):
            if isinstance(answer, Failure):
                (reason,) = bounded({answer.reason: 1})
                self.reasons[reason] += 1
                status, file, small = answer.status, "", None
            else:
                self._hashes.add(content_hashes(answer[None]).tobytes())
                status, file, reason = Status.OK, file_of(slot), ""
                small = self._shown(answer)
            self.counts[status] += 1
            self.rows.append((slot, seed, label, file, status.name.lower(), reason))
            if len(self.thumbnails) < MOST_SHOWN:
                self.thumbnails.append(small)

    def _shown(self, image: torch.Tensor) -> NDArray[np.uint8] | None:
        full = len(self.thumbnails) >= MOST_SHOWN
        return None if full else thumbnail(image, side=self._side)

    @property
    def repeats(self) -> int:
        """Images that repeat an earlier one to the last byte."""
        return self.counts[Status.OK] - len(self._hashes)

    def table(self) -> bytes:
        """CSV in UTF-8. Reasons are a stranger's words: a spreadsheet must not compute them."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for *values, reason in self.rows:
            writer.writerow([*values, f"'{reason}" if str(reason).startswith(_FORMULA) else reason])
        return text.getvalue().encode()

    def latents(self) -> bytes | None:
        """A .npy file of little-endian float32 [N, *latent_shape]; None: there are none."""
        if not self._latents:
            return None
        header = io.BytesIO()
        shape = (sum(len(part) for part in self._latents), *self._latents[0].shape[1:])
        described = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, described)
        parts = (part.astype("<f4", copy=False).tobytes() for part in self._latents)
        return b"".join([header.getvalue(), *parts])
