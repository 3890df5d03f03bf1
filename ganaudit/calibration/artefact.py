"""calibrator.json and, beside it, calibrator.safetensors: a calibrator as a file.

Reading one executes nothing: numbers and names alone are in it, each is checked, and every size is
bounded. What it needs beside them (a descriptor, a discriminator) it names, with hashes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ganaudit.calibration.cells import CellSampler, MixtureSampler
from ganaudit.calibration.filters import OutputFilter
from ganaudit.calibration.latents import LatentSampler, Space, sample
from ganaudit.calibration.refining import LatentRefiner
from ganaudit.calibration.regions import RegionSampler
from ganaudit.config import Method
from ganaudit.errors import ConfigError
from ganaudit.files import json_text, read_json, sha256_of, write_output
from ganaudit.slots import check_prior

NAME = "calibrator.json"
_SCHEMA, _KIND = 1, "calibrator"
_MOST_BYTES, _MOST_ARRAYS = 2**22, 2**30
_MOST_LATENTS = 2**20  # values of one latent
MOST_ATTEMPTS = 10_000

Calibrator = LatentSampler | OutputFilter | LatentRefiner


_TYPES: dict[str, type[Any]] = {
    "cells": CellSampler,
    "mixture": MixtureSampler,
    "regions": RegionSampler,
    "filter": OutputFilter,
    "refiner": LatentRefiner,
}


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A calibrator and where it comes from.

    Attributes:
      calibrator: of one of the types.
      method: gmm, importance, rejection or advlatgan-z.
      generator: identity of the generator that it was built for, JSON values.
      descriptor: {"spec", "options", "identity"} of the descriptor, of which spec is None where it
        was an object; None: embeddings were given.
      run: of the run it was fitted on: its manifest's hash, theta, radius, seed, sizes.
      about: target, modes, forecast, facts: JSON values for readers.
      sha256: of calibrator.json, where it was read; None: not written yet.
    """

    calibrator: Calibrator
    method: str
    generator: Mapping[str, Any]
    descriptor: Mapping[str, Any] | None
    run: Mapping[str, Any]
    about: Mapping[str, Any]
    sha256: str | None = None

    @property
    def salt(self) -> int:
        """What makes its draws its own, in [0, 2**63); 0 where nothing is written yet."""
        return 0 if self.sha256 is None else int(self.sha256[:16], 16) >> 1

    def sample(self, count: int, *, seed: int = 0, start: int = 0) -> NDArray[np.float32]:
        """Latents of slots start, start + 1, ...: [count, *latent_shape] float32.

        Of a calibrator that is written they are those of images start, start + 1, ... of
        `ganaudit sample --calibrator` with the same seed.

        Raises:
          ConfigError: it is no calibrator of latents.
        """
        if not isinstance(self.calibrator, LatentSampler):
            raise ConfigError(
                f"a calibrator by {self.method} has no latents of its own: it needs the generator"
            )
        return sample(self.calibrator, count, seed=seed, start=start, salt=self.salt)


def type_of(calibrator: Calibrator) -> str:
    """The name of a calibrator's type in its file."""
    return next(name for name, kind in _TYPES.items() if type(calibrator) is kind)


def save(path: Path, artefact: Artefact) -> str:
    """Write a calibrator that `load` reads; the SHA-256 of its JSON file.

    Args:
      path: of the JSON file; the arrays go beside it, under the same stem.
      artefact: what is written.

    Raises:
      GanauditError: a file cannot be written.
    """
    calibrator = artefact.calibrator
    arrays = {key: np.ascontiguousarray(a) for key, a in calibrator.arrays().items()}
    data = safetensors.numpy.save(arrays)
    space = calibrator.space
    document = {
        "schema_version": _SCHEMA,
        "kind": _KIND,
        "method": artefact.method,
        "type": type_of(calibrator),
        "latents": None if space is None else {"shape": list(space.shape), "prior": space.prior},
        "attempts": calibrator.attempts,
        "settings": dict(calibrator.settings()),
        "arrays": {
            "file": path.with_suffix(".safetensors").name,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        if arrays
        else None,
        "generator": dict(artefact.generator),
        "descriptor": None if artefact.descriptor is None else dict(artefact.descriptor),
        "run": dict(artefact.run),
        "about": dict(artefact.about),
    }
    if arrays:
        write_output(path.with_suffix(".safetensors"), data)
    text = json_text(document).encode()
    write_output(path, text)
    return hashlib.sha256(text).hexdigest()


def load(path: str | Path) -> Artefact:
    """Read a calibrator that anybody may have written.

    Raises:
      ConfigError: no such file, no calibrator, one of another format, or values that cannot be.
    """
    path = Path(path)
    if path.is_dir():
        path = path / NAME
    if not path.is_file():
        raise ConfigError(f"--calibrator {path}: no such file; ganaudit calibrate writes one")
    found = read_json(path, most_bytes=_MOST_BYTES)
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise ConfigError(f"{path} is no calibrator; ganaudit calibrate writes one")
    if found.get("schema_version") != _SCHEMA:
        raise ConfigError(
            f"{path} has format {found.get('schema_version')!r:.20}, wanted {_SCHEMA}; build the "
            "calibrator again with ganaudit calibrate"
        )
    kind = _TYPES.get(_text(found, "type", path))
    if kind is None:
        raise ConfigError(f"{path}: type must be one of {', '.join(_TYPES)}")
    attempts = found.get("attempts")
    if type(attempts) is not int or not 1 <= attempts <= MOST_ATTEMPTS:
        raise ConfigError(f"{path}: attempts must be in [1, {MOST_ATTEMPTS}]")
    settings, generator, run, about = (
        _mapping(found, key, path) for key in ("settings", "generator", "run", "about")
    )
    descriptor = found.get("descriptor")
    if descriptor is not None:
        descriptor = _mapping(found, "descriptor", path)
        if descriptor.get("spec", "") is not None:
            _text(descriptor, "spec", path)
        _mapping(descriptor, "identity", path)
        options = _mapping(descriptor, "options", path)
        if not all(isinstance(value, str) for value in options.values()):
            raise ConfigError(f"{path}: options must be texts")
    space, arrays = _space(found, path), _arrays(found, path)
    try:
        calibrator = kind.restore(space, attempts, settings, arrays)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ConfigError(f"{path} holds no {found['type']} calibrator: {error}") from error
    return Artefact(
        calibrator=calibrator,
        method=_method(found, path),
        generator=generator,
        descriptor=descriptor,
        run=run,
        about=about,
        sha256=sha256_of(path),
    )


def _space(found: Mapping[str, Any], path: Path) -> Space | None:
    if found.get("latents") is None:
        return None
    latents = _mapping(found, "latents", path)
    shape = latents.get("shape")
    sides = shape if isinstance(shape, list) and 1 <= len(shape) <= 8 else []
    if not sides or not all(type(side) is int and 1 <= side <= _MOST_LATENTS for side in sides):
        raise ConfigError(f"{path}: the shape of a latent must be 1 to 8 positive whole numbers")
    space = Space(tuple(sides), check_prior(latents.get("prior"), where=f"{path}: "))
    if space.size > _MOST_LATENTS:
        raise ConfigError(f"{path}: a latent must have at most {_MOST_LATENTS:,} values")
    return space


def _arrays(found: Mapping[str, Any], path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that a calibrator names, of the bytes that it names."""
    if found.get("arrays") is None:
        return {}
    named = _mapping(found, "arrays", path)
    name, wanted = _text(named, "file", path), _text(named, "sha256", path)
    if Path(name).name != name or name == "..":
        raise ConfigError(f"{path}: its arrays must lie beside it, got {name!r:.80}")
    beside = path.with_name(name)
    try:
        if not beside.is_file():
            raise ConfigError(f"{beside} is missing: copy it beside {path.name}")
        if beside.stat().st_size > _MOST_ARRAYS:
            raise ConfigError(f"{beside} is larger than {_MOST_ARRAYS >> 20} MiB")
        data = beside.read_bytes()
        if hashlib.sha256(data).hexdigest() != wanted:
            raise ConfigError(f"{beside} is not the file that {path.name} was written with")
        arrays = safetensors.numpy.load(data)
    except OSError as error:
        raise ConfigError(f"{beside} cannot be read: {error.strerror or error}") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{beside} cannot be read as safetensors: {error}") from error
    for key, array in arrays.items():
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise ConfigError(f"{beside}: {key!r:.40} must be finite numbers")
    return arrays


def _mapping(found: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = found.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {key} must be an object")
    return value


def _method(found: Mapping[str, Any], path: Path) -> str:
    method = _text(found, "method", path)
    if method not in get_args(Method):
        raise ConfigError(f"{path}: method must be one of {', '.join(get_args(Method))}")
    return method


def _text(found: Mapping[str, Any], key: str, path: Path) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= 4096:
        raise ConfigError(f"{path}: {key} must be a text")
    return value
