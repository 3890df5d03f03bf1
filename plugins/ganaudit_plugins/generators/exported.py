"""`exported:FILE`: a generator as torch.export saved it. It runs with your rights: --trust."""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ganaudit.errors import ConfigError, SourceError, one_line
from ganaudit.files import sha256_of
from ganaudit.images import Layout
from ganaudit.slots import Prior
from ganaudit_plugins.generators.declared import Declared, DeclaredGenerator, declare
from ganaudit_plugins.programs import (
    LabelEncoding,
    check_inputs,
    claims_of,
    encoded,
    trusted_program,
)

_MOST_BATCH = 2**12  # latents that a program may want at once


def open_exported(
    target: str,
    *,
    device: torch.device,
    trust: bool,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    num_labels: int | None = None,
    label_encoding: LabelEncoding = "index",
) -> DeclaredGenerator:
    """Open a generator that was saved by torch.export.save.

    It takes latents [N, *latent_shape] and, if it has labels, these second. The file knows the
    shape; what its extra file "ganaudit.json" declares need not be said either, see
    `ganaudit_plugins.generators.declared`.

    Args:
      target: path of the file.
      device: where it runs.
      trust: whether it may be run.
      prior: of every latent coordinate.
      latent_shape: of one latent, if the export left it open.
      latent_scale: what latents are multiplied by.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
      num_labels: classes of a conditional generator.
      label_encoding: labels are given as class numbers, [N], or one-hot, [N, num_labels].

    Raises:
      ConfigError: no such program, it takes something else, or something is not declared.
      UnsafeCheckpoint: without --trust.
    """
    path = trusted_program(target, "exported", trust=trust)
    claims = claims_of(path)
    program = _Program(path, _load(path, device))
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "range": range,
        "layout": layout,
        "num_labels": num_labels,
    }
    theirs = {"latent_shape": program.latent_shape} | claims
    declared = declare(str(path), said, theirs, by="the file")
    program.check(declared, label_encoding)
    classes = declared.num_labels

    def call(latents: Tensor, labels: Tensor | None) -> object:
        if labels is None:
            return program.run(latents)
        return program.run(latents, encoded(labels, num_labels=classes, encoding=label_encoding))

    identity = {"kind": "exported", "sha256": sha256_of(path)}
    if classes:
        identity["label_encoding"] = label_encoding
    return DeclaredGenerator(call, declared, identity=identity)


class _Program:
    """An exported program that takes batches of any size.

    Attributes:
      latent_shape: of one latent; None: the export left it open.
    """

    def __init__(self, path: Path, program: ExportedProgram) -> None:
        """Read what the program takes: tensors, and values that the export fixed."""
        self._path = path
        self._leaves, self._inputs = _inputs(path, program)
        latents = next(iter(self._inputs.values()))
        self._least, self._most = _batch(path, program, latents)
        sides = tuple(latents.shape[1:])
        self.latent_shape = sides if all(isinstance(side, int) for side in sides) else None
        self._spec = program.call_spec.in_spec
        self._module = program.module()

    def check(self, declared: Declared, encoding: LabelEncoding) -> None:
        """Hold what was declared against what the program takes."""
        names, classes = list(self._inputs), declared.num_labels
        check_inputs(self._path, names, names, labels=classes > 0)
        if self.latent_shape is not None and self.latent_shape != declared.latent_shape:
            raise ConfigError(
                f"{self._path} takes latents of shape {_show(self.latent_shape)}, and "
                f"latent_shape says {_show(declared.latent_shape)}"
            )
        for name, wanted in list(self._inputs.items())[1:]:
            given = encoded(
                torch.zeros(2, dtype=torch.int64), num_labels=classes, encoding=encoding
            )
            same_kind = wanted.is_floating_point() == given.is_floating_point()
            if not same_kind or _differ(wanted.shape[1:], given.shape[1:]):
                raise ConfigError(
                    f"{self._path} takes its labels {name} as {wanted.dtype} "
                    f"{_show(wanted.shape)}, which {classes} classes are not as {encoding}; say "
                    "--set label_encoding=index or one-hot, and --set num_labels=..."
                )

    def run(self, *tensors: Tensor) -> object:
        """Its images of all rows; too small a batch is filled up by repeating the last row."""
        parts = []
        for start in range(0, len(tensors[0]), self._most):
            ready = [rows[start : start + self._most] for rows in tensors]
            count = len(ready[0])
            found = self._call([_filled(rows, self._least) for rows in ready])
            if not isinstance(found, Tensor):
                return found
            size = max(count, self._least)
            if found.ndim == 0 or len(found) != size:
                raise SourceError(f"it returned shape {list(found.shape)} for {size} latents")
            parts.append(found[:count])
        return torch.cat(parts)

    def _call(self, ready: list[Tensor]) -> object:
        rows = {
            name: tensor.to(wanted.dtype)
            for (name, wanted), tensor in zip(self._inputs.items(), ready, strict=True)
        }
        leaves = [value if name is None else rows[name] for name, value in self._leaves]
        positional, named = self._spec.unflatten(leaves)
        return self._module(*positional, **named)


def _load(path: Path, device: torch.device) -> ExportedProgram:
    """The program in a file, moved to a device."""
    from torch.export.passes import move_to_device_pass

    kept = _Kept()
    logger = logging.getLogger("torch.export")
    logger.addFilter(kept)
    try:
        with path.open("rb") as file:
            program = torch.export.load(file)
        return move_to_device_pass(program, str(device))
    except Exception as error:  # the border to foreign code
        raise ConfigError(
            f"{path} cannot be loaded by torch.export {torch.__version__}: "
            f"{one_line(kept.error or error)}"
        ) from error
    finally:
        logger.removeFilter(kept)


class _Kept(logging.Filter):
    """Keeps from stderr what torch logs while it loads, and the error that it logs and drops."""

    error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            self.error = record.exc_info[1]
        return False


def _inputs(
    path: Path, program: ExportedProgram
) -> tuple[list[tuple[str | None, object]], dict[str, Tensor]]:
    """A program's inputs: (name of a tensor or None, value) in order, and the tensors by name."""
    from torch.export.graph_signature import ConstantArgument, InputKind

    known = {node.name: node.meta.get("val") for node in program.graph.nodes}
    leaves: list[tuple[str | None, object]] = []
    tensors: dict[str, Tensor] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            continue
        if isinstance(spec.arg, ConstantArgument):
            leaves.append((None, spec.arg.value))
            continue
        value = known.get(spec.arg.name)
        if not isinstance(value, Tensor) or value.ndim == 0:
            raise ConfigError(f"{path} must take tensors with a row for each image, got {spec.arg}")
        leaves.append((spec.arg.name, None))
        tensors[spec.arg.name] = value
    latents = next(iter(tensors.values()), None)
    if latents is None or not latents.is_floating_point():
        raise ConfigError(
            f"{path} must take latents first, in floating point; it takes "
            f"{', '.join(f'{name}: {value.dtype}' for name, value in tensors.items()) or 'nothing'}"
        )
    return leaves, tensors


def _batch(path: Path, program: ExportedProgram, latents: Tensor) -> tuple[int, int]:
    """How many latents a program takes at once: (fewest, most)."""
    size = latents.shape[0]
    least, most = 1, _MOST_BATCH
    if isinstance(size, int):  # fixed
        least = most = size
    else:
        ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}
        if str(size) in ranges:
            bounds = ranges[str(size)]
            least, most = int(max(1, bounds.lower)), int(min(most, bounds.upper))
    if not 1 <= least <= most <= _MOST_BATCH:
        raise ConfigError(
            f"{path} takes batches of {least} to {most}; at most {_MOST_BATCH} can be"
        )
    return least, most


def _filled(rows: Tensor, size: int) -> Tensor:
    """[N, ...] as [max(N, size), ...], by repeating the last row."""
    missing = size - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing > 0 else rows


def _differ(shape: torch.Size, other: torch.Size) -> bool:
    """Whether two shapes cannot be one; a side that the export left open may be any."""
    return len(shape) != len(other) or any(
        isinstance(a, int) and a != b for a, b in zip(shape, other, strict=True)
    )


def _show(shape: Iterable[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
