"""The pictures of a report: what repeats, beside what a random anchor has around it.

The run stores embeddings, not images; so the few hundred that a report shows are asked for again by
their slots, and kept in RUN/gallery.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import GanauditError, SourceTimeout
from ganaudit.files import write_whole
from ganaudit.generators import Status
from ganaudit.images import encode_picture, picture_suffix
from ganaudit.maker import Maker
from ganaudit.measuring import Measured
from ganaudit.neighbors import nearest_samples
from ganaudit.report.outputs import GALLERY
from ganaudit.scoring import Scale
from ganaudit.slots import Stream, permutation
from ganaudit.store import Rows, Store

NEAREST = 80  # samples beside the worst mode's anchor and a random one: the paper's Fig. 4
NEAREST_OF_MODE = 6  # beside each dense mode: Fig. 7
FACELESS = 12  # of those images in which the descriptor found no face


@dataclass(frozen=True)
class Neighborhood:
    """An anchor with its nearest samples.

    Attributes:
      anchor: its slot.
      samples: [k] int64 slots, nearest first.
      distances: [k] float64, fractions of pi.
    """

    anchor: int
    samples: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class Gallery:
    """What a report shows.

    Attributes:
      worst: the worst mode.
      random: a random anchor.
      modes: the dense modes.
      faceless: slots of samples without a face, the first ones.
    """

    worst: Neighborhood
    random: Neighborhood
    modes: list[Neighborhood]
    faceless: Sequence[int] = ()

    def figures(self, files: dict[tuple[Stream, int], str], *, radius: float) -> dict[str, Any]:
        """As JSON values; `files` has the name of each picture that there is."""

        def picture(stream: Stream, slot: int, distance: float | None = None) -> dict[str, Any]:
            return {
                "slot": slot,
                "file": files.get((stream, slot)),
                "distance": distance,
                "within": None if distance is None else distance <= radius,
            }

        def crowd(one: Neighborhood) -> dict[str, Any]:
            near = zip(one.samples.tolist(), one.distances.tolist(), strict=True)
            return {
                "anchor": picture(Stream.ANCHORS, one.anchor),
                "neighbors": [picture(Stream.SAMPLES, slot, d) for slot, d in near],
            }

        return {
            "worst": crowd(self.worst),
            "random": crowd(self.random),
            "modes": [crowd(mode) for mode in self.modes],
            "faceless": [picture(Stream.SAMPLES, slot) for slot in self.faceless],
        }

    def slots(self) -> list[tuple[Stream, int]]:
        """Every picture once: anchors, then samples, in the order of their slots."""
        crowds = [self.worst, self.random, *self.modes]
        anchors = {crowd.anchor for crowd in crowds}
        samples = {slot for crowd in crowds for slot in crowd.samples.tolist()}
        samples |= set(self.faceless)
        return [(Stream.ANCHORS, slot) for slot in sorted(anchors)] + [
            (Stream.SAMPLES, slot) for slot in sorted(samples)
        ]


def pictures_of(
    found: Measured, store: Store, scale: Scale, *, seed: int, maker: Maker | None = None
) -> dict[str, Any] | None:
    """Write the pictures of a report, of those that can be had; what the report says of them.

    Args:
      found: the figures of the run.
      store: of the run.
      scale: at which it was measured.
      seed: of the run.
      maker: asks the generator for what the run did not keep; None: there is none at hand.

    Returns:
      JSON values; None: there is no picture at all.

    Raises:
      GanauditError: a picture cannot be written.
    """
    crowds = choose(
        found.scored.anchors.rows,
        found.scored.anchors.slots,
        store.read(Stream.SAMPLES, found.samples),
        worst=found.diagnosis.worst_mode.anchor,
        modes=[mode.anchor for mode in found.diagnosis.dense_modes],
        faceless=np.flatnonzero(found.status["samples"] == Status.NO_FACE.value).tolist(),
        seed=seed,
        device=scale.device,
    )
    files = write_pictures(crowds, store.folder / GALLERY, store, maker)
    return crowds.figures(files, radius=scale.radius) if files else None


def choose(
    rows: NDArray[np.float32],
    slots: NDArray[np.int64],
    pieces: Iterable[Rows],
    *,
    worst: int,
    modes: Sequence[int],
    faceless: Sequence[int] = (),
    seed: int,
    device: str,
) -> Gallery:
    """Find the samples around the anchors that a report shows.

    Args:
      rows: [m, D] float32 unit rows of the anchors.
      slots: [m] int64.
      pieces: the stored samples.
      worst: slot of the worst mode.
      modes: slots of the dense modes.
      faceless: slots of the samples without a face, of which the first are shown.
      seed: draws the random anchor, which is not the worst one unless there is no other.
      device: "cpu" or "cuda:N".
    """
    order = slots[permutation(len(slots), seed=seed)]
    random = int(next((slot for slot in order if slot != worst), worst))
    shown = [worst, random, *modes]
    queries = rows[np.searchsorted(slots, shown)]
    samples, distances = nearest_samples(queries, pieces, k=NEAREST, device=device)
    crowds = [
        Neighborhood(slot, samples[i, :most], distances[i, :most])
        for i, slot in enumerate(shown)
        for most in (NEAREST if i < 2 else NEAREST_OF_MODE,)
    ]
    return Gallery(crowds[0], crowds[1], crowds[2:], faceless[:FACELESS])


def write_pictures(
    gallery: Gallery, folder: Path, store: Store, maker: Maker | None
) -> dict[tuple[Stream, int], str]:
    """Write what `folder` lacks of a gallery; the name of each picture that there is.

    A picture comes from the store if it was kept there, else from the generator. Images that fail
    now, or that no one can give again, are left out.

    Args:
      gallery: what is shown.
      folder: of the pictures.
      store: of the run.
      maker: asks the generator again; None: there is none at hand.

    Raises:
      GanauditError: a picture cannot be written.
    """
    files, lacking = _present(gallery, folder)
    try:
        for stream, slots in lacking.items():
            kept = store.pictures(stream, np.array(slots, dtype=np.int64))
            rest = np.array([slot for slot in slots if slot not in kept], dtype=np.int64)
            images = () if maker is None else maker.images(stream, rest)
            again = ((slot, encode_picture(image)) for slot, image in images)
            for slot, data in chain(kept.items(), again):
                suffix = picture_suffix(data)
                name = next(name for name in _names(stream, slot) if name.endswith(suffix))
                folder.mkdir(exist_ok=True)
                write_whole(folder / name, data)
                files[stream, slot] = name
    except SourceTimeout:  # the generator is gone: the figures are there without it
        return files
    except OSError as error:
        raise GanauditError(f"{folder} cannot be written: {error.strerror}") from error
    return files


def _present(
    gallery: Gallery, folder: Path
) -> tuple[dict[tuple[Stream, int], str], dict[Stream, list[int]]]:
    """The pictures that `folder` has, and the slots of those that it lacks."""
    files: dict[tuple[Stream, int], str] = {}
    lacking: dict[Stream, list[int]] = {Stream.ANCHORS: [], Stream.SAMPLES: []}
    for stream, slot in gallery.slots():
        known = [name for name in _names(stream, slot) if (folder / name).is_file()]
        if known:
            files[stream, slot] = known[0]
        else:
            lacking[stream].append(slot)
    return files, lacking


def _names(stream: Stream, slot: int) -> list[str]:
    return [f"{stream.name.lower()}-{slot:010d}{suffix}" for suffix in (".png", ".jpg")]
