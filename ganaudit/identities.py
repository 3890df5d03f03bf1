"""Pictures of people whose identity is known, a folder each, and their embeddings."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.descriptors import Descriptor
from ganaudit.errors import ConfigError, SourceError
from ganaudit.generators import Failure, Status
from ganaudit.images import PICTURE_SUFFIXES, read_image, single_colour
from ganaudit.maker import Maker, Recipe
from ganaudit.probe import probe
from ganaudit.reasons import bounded
from ganaudit.slots import SHARD, Draws, Stream, ranges

_PROBED = 8  # pictures that the first look at a source takes
_TIMEOUT_S = 300.0  # for reading one batch


class IdentityFolder:
    """A folder of folders: every picture below one of them shows the same person or object.

    Attributes:
      size: pictures.
      labels: [size] int64, number of each picture's identity, ascending.
      loose: pictures that lie in no identity's folder; they are left out.
      listing_sha256: of the relative names and sizes of the pictures.
    """

    seedable = True

    def __init__(self, folder: Path) -> None:
        """List the pictures; none is opened.

        Raises:
          ConfigError: no such folder, or no pictures of two identities, one of them twice.
        """
        if not folder.is_dir():
            raise ConfigError(f"--identities {folder}: no such folder")
        found = sorted(
            path.relative_to(folder)
            for path in _files_below(folder)
            if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
        )
        names = [name.as_posix() for name in found if len(name.parts) > 1]
        if not found:
            known = ", ".join(sorted(PICTURE_SUFFIXES))
            raise ConfigError(f"--identities {folder} holds no pictures ({known})")
        if not names:
            raise ConfigError(
                f"--identities {folder} has no folder for each identity: all {len(found)} pictures "
                "lie in it directly; sort them into one folder a person"
            )
        self._folder = folder
        self._names = names
        owners = np.array([name.split("/")[0] for name in names])
        self.labels = np.unique(owners, return_inverse=True)[1].astype(np.int64)
        self.size: int | None = len(names)
        self.loose = len(found) - len(names)
        listing = "\n".join(f"{name} {(folder / name).stat().st_size}" for name in names)
        self.listing_sha256 = sha256(listing.encode(errors="surrogateescape")).hexdigest()
        check_pairs(self.labels, f"--identities {folder} holds")

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        """The pictures by number; one that cannot be read is a failure of its own."""
        for index in draws.index.tolist():
            try:
                yield index, read_image(self._folder / self._names[index])
            except SourceError as error:
                yield index, Failure(str(error))

    def problem(self, item: int) -> str | None:
        """Why a picture cannot be used; None: it can."""
        try:
            image = read_image(self._folder / self._names[item])
        except SourceError as error:
            return str(error)
        flat = bool(single_colour(image[None])[0])
        return f"{self._names[item]} is a single colour" if flat else None


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file, through links to folders too, each folder once.

    Raises:
      ConfigError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ConfigError(f"--identities: {error.filename} cannot be read: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        facts = os.stat(place)
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders.sort()
        yield from (Path(place) / name for name in names)


def check_pairs(labels: NDArray[np.int64], start: str) -> None:
    """Refuse pictures without a same or without a different pair; `start` begins the sentence."""
    _, sizes = np.unique(labels, return_counts=True)
    if len(sizes) < 2:
        raise ConfigError(
            f"{start} {len(labels)} pictures of {len(sizes)} identity; at least two are needed, a "
            "folder each"
        )
    if sizes.max() < 2:
        raise ConfigError(
            f"{start} one picture of each of {len(sizes)} identities; at least one needs a second, "
            "to be compared with itself"
        )


@dataclass(frozen=True)
class Embedded:
    """Pictures as a descriptor sees them.

    Attributes:
      rows: [N, D] float32 unit rows of the pictures that have one.
      labels: [N] int64 identity of each.
      faceless: pictures in which the descriptor found nothing to describe.
      failed: pictures that cannot be read, or are of a single colour.
      reasons: why they failed, and how many.
      warnings: sentences about the descriptor.
    """

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    faceless: int
    failed: int
    reasons: dict[str, int]
    warnings: list[str]


def embed(
    folder: IdentityFolder,
    descriptor: Descriptor,
    *,
    device: str,
    batch: int | None,
    items: NDArray[np.int64] | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Embedded:
    """Embed pictures as a run embeds generated ones: with the same checks, one size at a time.

    Args:
      folder: as listed.
      descriptor: as opened.
      device: where it works.
      batch: pictures at once; None: chosen from the memory that is free.
      items: [n] numbers of the pictures; None: all.
      progress: told (what, done, total).

    Raises:
      ConfigError: no picture can be used, or none of a pair is left.
      DescriptorError: the descriptor broke its contract.
    """
    items = np.arange(len(folder.labels)) if items is None else items
    order = _usable_first(folder, items)
    recipe = Recipe(
        seed=0,
        device=device,
        batch=1,
        width=1,
        timeout_s=_TIMEOUT_S,
        order=order,
        anchors=len(order),
    )
    with closing(Maker(folder, descriptor, recipe)) as maker:
        found = probe(folder, maker, recipe, batch=batch)
    rows = np.zeros((len(order), found.recipe.width), dtype=np.float32)
    status = np.zeros(len(order), dtype=np.uint8)
    with closing(Maker(folder, descriptor, found.recipe)) as maker:
        for start, stop in ranges(0, len(order), SHARD):
            made = maker.rows(Stream.ANCHORS, start, stop)
            rows[start:stop], status[start:stop] = made.rows, made.status
            progress("embedding", stop, len(order))
    kept = np.flatnonzero(status == Status.OK.value)
    counts = np.bincount(status, minlength=len(Status))
    embedded = Embedded(
        rows=rows[kept],
        labels=folder.labels[order[kept]],
        faceless=int(counts[Status.NO_FACE]),
        failed=int(counts[Status.FAILED]),
        reasons=dict(bounded(maker.reasons)),
        warnings=found.warnings,
    )
    if not len(kept):
        raise ConfigError(f"the descriptor finds no face in any of {len(order)} pictures")
    left_out = f"{embedded.faceless} pictures that show no face and {embedded.failed} that cannot"
    check_pairs(embedded.labels, f"without {left_out} be used there are")
    return embedded


def _usable_first(folder: IdentityFolder, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same numbers, with some that can be used in front."""
    first: list[int] = []
    problem = None
    for item in items.tolist():
        found = folder.problem(item)
        problem = problem or found
        if found is None:
            first.append(item)
        if len(first) == _PROBED:
            break
    if not first:
        raise ConfigError(f"none of the {len(items)} pictures can be used: {problem}")
    return np.concatenate([first, np.setdiff1d(items, first)]).astype(np.int64)
