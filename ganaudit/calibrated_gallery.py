"""The pictures of a calibration: what is nearest to the chosen modes without it and behind it.

Audits store embeddings, not images; so the few that are shown are asked for again by their slots,
and kept in OUT/gallery.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import GanauditError, SourceTimeout
from ganaudit.files import write_whole
from ganaudit.images import encode_picture, picture_suffix
from ganaudit.maker import Maker
from ganaudit.neighbors import nearest_samples
from ganaudit.report.outputs import GALLERY
from ganaudit.scoring import Anchors
from ganaudit.slots import Stream
from ganaudit.store import Store

MODES = 3  # chosen modes that are shown
NEAREST = 24  # samples beside each, before and after
_SIDES = ("before", "after")


def pictures(
    out: Path,
    *,
    anchors: Anchors,
    modes: Sequence[int],
    stores: tuple[Store, Store],
    samples: int,
    makers: tuple[Maker | None, Maker | None, Maker | None],
    radius: float,
    fit: Store | None = None,
    device: str = "cpu",
) -> list[dict[str, Any]] | None:
    """Write the pictures around the chosen modes, of those that can be had; what is said of them.

    A picture comes from the store if it was kept there, else from the generator. Of images that
    fail now, or that no one can give again, there is none.

    Args:
      out: folder of the calibration; the pictures go to its gallery/.
      anchors: all of the fitted run.
      modes: which of them were to be thinned, the densest first; the first three are shown.
      stores: of the audits before and after.
      samples: sample slots [0, samples) of both.
      makers: of the fitted run, which has the anchors, and of the audits; None: none is at hand.
      radius: fraction of pi.
      fit: store of the fitted run, which may have kept pictures of anchors; None: it did not.
      device: "cpu" or "cuda:N".

    Returns:
      JSON values, for each mode {"anchor": {"slot", "file"}, "before": [{"slot", "file",
      "distance", "within"}], "after": [...]}, nearest first, file null where there is no picture;
      None: there is no picture at all.

    Raises:
      GanauditError: a picture cannot be written, or a shard is damaged.
    """
    shown = list(modes)[:MODES]
    folder = out / GALLERY
    slots = anchors.slots[shown]
    files = _write(folder, "anchor", Stream.ANCHORS, slots, fit, makers[0])
    walls: list[dict[str, Any]] = [
        {"anchor": {"slot": slot, "file": files.get(slot)}} for slot in slots.tolist()
    ]
    found = len(files)
    for side, store, maker in zip(_SIDES, stores, makers[1:], strict=True):
        near, distances = nearest_samples(
            anchors.rows[shown], store.read(Stream.SAMPLES, samples), k=NEAREST, device=device
        )
        files = _write(folder, side, Stream.SAMPLES, np.unique(near), store, maker)
        found += len(files)
        for wall, row, far in zip(walls, near.tolist(), distances.tolist(), strict=True):
            wall[side] = [
                {"slot": slot, "file": files.get(slot), "distance": d, "within": d <= radius}
                for slot, d in zip(row, far, strict=True)
            ]
    return walls if found else None


def _write(
    folder: Path,
    name: str,
    stream: Stream,
    slots: NDArray[np.int64],
    store: Store | None,
    maker: Maker | None,
) -> dict[int, str]:
    """Write pictures as NAME-SLOT.png or .jpg; the file of each slot that has one."""
    files: dict[int, str] = {}
    kept = {} if store is None else store.pictures(stream, slots)
    rest = np.array([slot for slot in slots.tolist() if slot not in kept], dtype=np.int64)
    images = () if maker is None else maker.images(stream, rest)
    again = ((slot, encode_picture(image)) for slot, image in images)
    try:
        for slot, data in chain(kept.items(), again):
            file = f"{name}-{slot:010d}{picture_suffix(data)}"
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / file, data)
            files[int(slot)] = file
    except SourceTimeout:  # the generator is gone: the figures are there without it
        return files
    except OSError as error:
        raise GanauditError(f"{folder} cannot be written: {error.strerror}") from error
    return files
