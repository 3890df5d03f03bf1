"""The pictures of a calibration: what the chosen modes look like without it and behind it.

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
from ganaudit.tally import angular_distance, cosine_cut

MODES = 3  # chosen modes that are shown
NEAREST = 24  # samples nearest to each, before and after
FIRST = 24  # slots of each, the first whose sample was one of the mode, before and after

Json = dict[str, Any]


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
) -> list[Json] | None:
    """Write the pictures of the chosen modes, of those that can be had; what is said of them.

    A picture comes from the store if it was kept there, else from the generator. Of images that
    fail now, or that no one can give again, there is none.

    Args:
      out: folder of the calibration; the pictures go to its gallery/.
      anchors: all of the fitted run.
      modes: which of them were to be thinned, the densest first; the first three are shown.
      stores: of the audits before and after, of the same slots.
      samples: sample slots [0, samples) of both.
      makers: of the fitted run, which has the anchors, and of the audits; None: none is at hand.
      radius: fraction of pi.
      fit: store of the fitted run, which may have kept pictures of anchors; None: it did not.
      device: "cpu" or "cuda:N".

    Returns:
      JSON values of each mode: "anchor": {"slot", "file"}; "before" and "after": its nearest
      samples, nearest first, as {"slot", "file", "distance", "within"}; "same_slots": the first
      slots whose sample before is one of the mode, as {"before", "after"} of such pictures. "file"
      is null where there is no picture, "distance" and "within" are where a sample has no row.
      None: there is no picture at all.

    Raises:
      GanauditError: a picture cannot be written, or a shard is damaged.
    """
    shown = list(modes)[:MODES]
    rows, slots = anchors.rows[shown], anchors.slots[shown]
    firsts = [_first(one, stores[0], samples, radius=radius) for one in rows]
    sides = [_side(rows, store, samples, firsts, radius=radius, device=device) for store in stores]

    folder, ran = out / GALLERY, zip(("before", "after"), stores, makers[1:], strict=True)
    named = [_write(folder, "anchors", Stream.ANCHORS, slots, fit, makers[0])]
    for (near, first), (name, store, maker) in zip(sides, ran, strict=True):
        every = [one for mode in (*near, *first) for one in mode]
        wanted = np.unique(np.array([one["slot"] for one in every], dtype=np.int64))
        files = _write(folder, name, Stream.SAMPLES, wanted, store, maker)
        for one in every:
            one["file"] = files.get(one["slot"])
        named.append(files)
    if not any(named):
        return None
    (before, first_before), (after, first_after) = sides
    return [
        {
            "anchor": {"slot": slot, "file": named[0].get(slot)},
            "before": before[i],
            "after": after[i],
            "same_slots": [
                {"before": was, "after": now}
                for was, now in zip(first_before[i], first_after[i], strict=True)
            ],
        }
        for i, slot in enumerate(slots.tolist())
    ]


def _first(
    anchor: NDArray[np.float32], store: Store, samples: int, *, radius: float
) -> NDArray[np.int64]:
    """The first slots [k <= 24] whose samples lie within the radius of an anchor [D]."""
    found, wide, cut = np.empty(0, dtype=np.int64), anchor.astype(np.float64), cosine_cut(radius)
    for piece in store.read(Stream.SAMPLES, samples):
        near = (piece.rows.astype(np.float64) @ wide >= cut) & piece.valid
        found = np.concatenate([found, piece.start + np.flatnonzero(near)])[:FIRST]
        if len(found) == FIRST:
            break
    return found


def _side(
    rows: NDArray[np.float32],
    store: Store,
    samples: int,
    firsts: Sequence[NDArray[np.int64]],
    *,
    radius: float,
    device: str,
) -> tuple[list[list[Json]], list[list[Json]]]:
    """Of each anchor [k, D] the nearest samples of an audit, and those of some slots."""
    pieces = store.read(Stream.SAMPLES, samples)
    near = nearest_samples(rows, pieces, k=NEAREST, device=device)
    far = _distances(rows, store, samples, firsts)

    def shown(slots: NDArray[np.int64], distances: NDArray[np.float64]) -> list[Json]:
        return [
            {
                "slot": slot,
                "file": None,
                "distance": None if np.isnan(one) else one,
                "within": None if np.isnan(one) else one <= radius,
            }
            for slot, one in zip(slots.tolist(), distances.tolist(), strict=True)
        ]

    return (
        [shown(*one) for one in zip(*near, strict=True)],
        [shown(*one) for one in zip(firsts, far, strict=True)],
    )


def _distances(
    rows: NDArray[np.float32], store: Store, samples: int, firsts: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float64]]:
    """From each anchor [k, D] to the samples of its slots; NaN where a sample has no row."""
    found = [np.full(len(slots), np.nan) for slots in firsts]
    for piece in store.read(Stream.SAMPLES, samples):
        for row, slots, distances in zip(rows, firsts, found, strict=True):
            here = np.flatnonzero((slots >= piece.start) & (slots < piece.stop))
            here = here[piece.valid[slots[here] - piece.start]]
            distances[here] = angular_distance(row, piece.rows[slots[here] - piece.start])
    return found


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
            files[slot] = file
    except SourceTimeout:  # the generator is gone: the figures are there without it
        return files
    except OSError as error:
        raise GanauditError(f"{folder} cannot be written: {error.strerror}") from error
    return files
