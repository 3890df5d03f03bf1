"""baseline.json: a small file to commit, that later releases are compared with.

It keeps the figures with what their intervals need, and up to 24 modes with their embeddings, whose
neighbours are counted again in every release. It holds no image and no path to one.
"""

import base64
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.comparable import Comparable
from ganaudit.diagnosis import DENSE_MODES
from ganaudit.errors import ConfigError
from ganaudit.files import read_json
from ganaudit.finished import Basis, Finished, reach, size
from ganaudit.ratios import Share
from ganaudit.report import outputs, words
from ganaudit.runner import silent
from ganaudit.scoring import Anchors, Scale, score_against
from ganaudit.slots import Stream
from ganaudit.store import Store, write_json
from ganaudit.tally import Tally, check_unit_rows

SCHEMA_VERSION = 1
KIND = "baseline"
_MOST_BYTES = 2**24
_MOST_COLUMNS = 2**16


@dataclass(frozen=True)
class Modes:
    """The densest anchors of a baseline, no two within the radius of each other.

    Attributes:
      rows: [k, D] float32 unit rows.
      anchors: slots, densest first.
      counts: of each, the samples within the radius, out of those that did not choose it.
    """

    rows: NDArray[np.float32]
    anchors: list[int]
    counts: list[Share]


@dataclass(frozen=True)
class Baseline:
    """What later releases are compared with.

    Attributes:
      generator: as it was named.
      identity: of the generator, JSON values.
      seed: of the run.
      basis: what a release must have in common with it.
      headline: what the audit found, in a sentence.
      figures: with what their intervals need.
      modes: None: the run had too few samples, or none lies within the radius of an anchor.
    """

    generator: str
    identity: Any
    seed: int
    basis: Basis
    headline: str
    figures: Comparable
    modes: Modes | None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        modes = self.modes
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "generator": self.generator,
            "generator_identity": self.identity,
            "seed": self.seed,
            "headline": self.headline,
            **asdict(self.basis),
            "comparable": self.figures.document(),
            "modes": []
            if modes is None
            else [
                {
                    "anchor": anchor,
                    "count": share.count,
                    "of": share.of,
                    "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode(),
                }
                for anchor, share, row in zip(modes.anchors, modes.counts, modes.rows, strict=True)
            ],
            "environment": {"ganaudit": version("ganaudit")},
        }


def of_run(run: Finished) -> Baseline:
    """A baseline of a finished run."""
    return Baseline(
        generator=run.name,
        identity=run.manifest.get("generator"),
        seed=int(run.report["request"]["seed"]),
        basis=run.basis,
        headline=words.headline(run.report),
        figures=run.figures,
        modes=_modes(run),
    )


def save(run: Path, out: Path) -> Baseline:
    """Make a baseline of a finished run and write it to `out`.

    Raises:
      ConfigError: there is no such run, or `out` is something else than an older baseline.
      GanauditError: it cannot be written.
    """
    if os.path.lexists(out):  # an older or damaged one will do
        try:
            _read(out)
        except ConfigError as error:
            raise ConfigError(
                f"{out} exists and is no baseline; name another file with --out"
            ) from error
    made = of_run(Finished.read(run))
    write_json(out, made.document())
    return made


def read(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
      ConfigError: it is absent, damaged, or of another version.
    """
    found = _read(path)
    if found.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} has schema version {found.get('schema_version')!r:.20}, wanted "
            f"{SCHEMA_VERSION}; save the baseline again"
        )
    try:
        return _parsed(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error!s:.200}); save the baseline again") from error


def _read(path: Path) -> dict[str, Any]:
    """What says of itself that it is a baseline."""
    found = read_json(path, most_bytes=_MOST_BYTES)
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ConfigError(f"{path} is no baseline; ganaudit baseline save RUN --out FILE makes one")
    return found


def count_again(modes: Modes, store: Store, scale: Scale, *, samples: int) -> list[Share]:
    """How many samples of a release lie within the radius of each mode.

    Args:
      modes: of a baseline.
      store: of the release.
      scale: the radius, and who computes.
      samples: sample slots [0, samples).

    Raises:
      ConfigError: the release's embeddings have another number of columns.
    """
    width = next(iter(store.read(Stream.SAMPLES, samples))).rows.shape[1]
    if width != modes.rows.shape[1]:
        raise ConfigError(
            f"the baseline's embeddings have {modes.rows.shape[1]} columns, the release's {width}: "
            "they are of different descriptors"
        )
    tally = _tally_of(modes.rows, modes.anchors, store, scale, samples)
    n = int(tally.n.sum())
    return [Share(int(count), n) for count in tally.within.sum(axis=1)]


def _modes(run: Finished) -> Modes | None:
    with outputs.complete(run.folder):
        found = run.report["figures"]["dense_modes"][:DENSE_MODES]
        anchors = [int(mode["anchor"]) for mode in found]
        if not anchors:
            return None
        rows = _rows_of(run.store, anchors, run.basis.anchors)
    tally = _tally_of(rows, anchors, run.store, run.scale, run.basis.samples)
    full = np.flatnonzero(tally.n)
    scoring = full[len(full) // 2 :]  # the other half chose and ordered the modes
    n = int(tally.n[scoring].sum())
    counts = [Share(int(count), n) for count in tally.within[:, scoring].sum(axis=1)]
    return Modes(rows, anchors, counts)


def _tally_of(
    rows: NDArray[np.float32], slots: Sequence[int], store: Store, scale: Scale, samples: int
) -> Tally:
    return score_against(
        Anchors(rows, np.array(slots, dtype=np.int64)),
        store,
        scale,
        first=0,
        stop=samples,
        progress=silent,
    ).tally


def _rows_of(store: Store, slots: Sequence[int], stop: int) -> NDArray[np.float32]:
    """[k, D] anchors by their slots; KeyError: one is none that can be scored."""
    wanted = np.array(slots, dtype=np.int64)
    rows: dict[int, NDArray[np.float32]] = {}
    for piece in store.read(Stream.ANCHORS, stop):
        for slot in wanted[(wanted >= piece.start) & (wanted < piece.stop)].tolist():
            if piece.valid[slot - piece.start]:
                rows[slot] = piece.rows[slot - piece.start].copy()
    return np.stack([rows[slot] for slot in slots])


def _parsed(found: dict[str, Any]) -> Baseline:
    card, seed = found["descriptor"], found["seed"]
    if card is not None and not isinstance(card["name"], str):
        raise ValueError("descriptor must be a table with a name, or null")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in [0, 2**63), got {seed!r:.40}")
    for name in ("generator", "headline"):
        if not isinstance(found[name], str):
            raise ValueError(f"{name} must be a text, got {found[name]!r:.40}")
    basis = Basis(
        descriptor=card,
        theta=reach(found["theta"]),
        radius=reach(found["radius"]),
        anchors=size(found["anchors"]),
        samples=size(found["samples"]),
    )
    return Baseline(
        generator=found["generator"],
        identity=found.get("generator_identity"),
        seed=seed,
        basis=basis,
        headline=found["headline"],
        figures=Comparable.read(found["comparable"]),
        modes=_parsed_modes(found["modes"], basis),
    )


def _parsed_modes(found: Any, basis: Basis) -> Modes | None:
    if not isinstance(found, list) or len(found) > DENSE_MODES:
        raise ValueError(f"modes must be a list of at most {DENSE_MODES}")
    if not found:
        return None
    rows, anchors, counts = [], [], []
    for mode in found:
        count, of, anchor = mode["count"], size(mode["of"]), mode["anchor"]
        if not type(count) is type(anchor) is int or not 0 <= count <= of <= basis.samples:
            raise ValueError("a mode must count samples, out of those of the run")
        if not 0 <= anchor < basis.anchors:
            raise ValueError("a mode must be an anchor of the run")
        data = base64.b64decode(mode["embedding"], validate=True)
        rows.append(np.frombuffer(data, dtype="<f4").astype(np.float32))
        anchors.append(anchor)
        counts.append(Share(count, of))
    if not len({len(row) for row in rows}) == 1 or not 0 < len(rows[0]) <= _MOST_COLUMNS:
        raise ValueError("the embeddings of the modes must have one length")
    stacked = np.stack(rows)
    if not np.isfinite(stacked).all():
        raise ValueError("the embeddings of the modes must be finite")
    check_unit_rows("the embeddings of the modes", stacked)
    return Modes(stacked, anchors, counts)
