"""ONNX files, opened with ONNX Runtime: generators and descriptors alike come through here.

A file is read once: its hash, what is checked and the session are of the same bytes.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganaudit.errors import ConfigError, GanauditError
from ganaudit_plugins.onnx_checks import look_through, plain

_MOST_BYTES = 2**31 - 1  # of a protocol buffer
_MOST_VALUES = 2**28  # of one input
_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
_OPSET = re.compile(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)")
_IR_VERSION = re.compile(r"model IR version: (\d+), max supported IR version: (\d+)")
_ITS_SOURCE = re.compile(  # where in its own code it was raised
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S+\.(cc|h):\d+ ((\S+ )?\S+\([^)]*\) (const )?)?"
)
_TENSOR = re.compile(r"tensor\((\w+)\)")

NUMPY_OF = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
}
FLOATS = ("float", "float16", "double")


@dataclass(frozen=True)
class Port:
    """An input or output of a network.

    Attributes:
      name: as the file says it.
      kind: a key of NUMPY_OF, or another type that ONNX has.
      shape: sizes; text or None where any size will do. () also when the rank is not known.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]

    @classmethod
    def of(cls, entry: Any) -> "Port":
        """What ONNX Runtime says of an input or output."""
        found = _TENSOR.fullmatch(entry.type)
        return cls(entry.name, found.group(1) if found else entry.type, tuple(entry.shape))

    @property
    def per_image(self) -> bool:
        """Whether it takes a row an image: any number of them."""
        return bool(self.shape) and not isinstance(self.shape[0], int)

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return plain(f"{self.name}: {self.kind} [{sides}]")


@dataclass(frozen=True)
class OnnxFile:
    """A network that was looked through, ready to run.

    Attributes:
      path: of the file.
      sha256: of its bytes, and of the data beside it; see `Looked`.
      metadata: what the file says of itself.
      inputs: all that must be given.
      defaults: inputs that have a value in the file and may be given another.
      outputs: in the file's order.
      session: of ONNX Runtime.
    """

    path: Path
    sha256: str
    metadata: Mapping[str, str]
    inputs: tuple[Port, ...]
    defaults: tuple[Port, ...]
    outputs: tuple[Port, ...]
    session: Any

    def run(
        self,
        output: str,
        rows: Mapping[str, NDArray[Any]],
        *,
        constants: Mapping[str, NDArray[Any]],
        batch: int | None,
        blame: type[GanauditError],
    ) -> NDArray[Any]:
        """One output for some rows, of which the network takes `batch` at once.

        Args:
          output: its name.
          rows: input to [N, ...], N >= 1, the same for all.
          constants: input to what it gets every time.
          batch: fixed in the file: the last row is repeated to fill it up; None: any.
          blame: whose fault it is when the network fails.

        Returns:
          [N, ...].

        Raises:
          GanauditError: of the type `blame`: ONNX Runtime raised, or returned another count.
        """
        count = len(next(iter(rows.values())))
        size = batch or count
        parts = []
        for start in range(0, count, size):
            feeds = {
                name: _filled(values[start : start + size], size) for name, values in rows.items()
            }
            try:
                (found,) = self.session.run([output], {**feeds, **constants})
            except Exception as error:  # ONNX Runtime's exceptions have no common base but this
                raise blame(f"ONNX Runtime cannot run {self.path.name}: {reason(error)}") from error
            if found.ndim == 0 or len(found) != size:
                raise blame(
                    f"{self.path.name} returned shape {list(found.shape)} for a batch of {size}"
                )
            parts.append(found[: count - start])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _filled(values: NDArray[Any], size: int) -> NDArray[Any]:
    """`values` [n, ...] with the last repeated up to [size, ...]."""
    return np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])


def existing_file(target: str) -> Path:
    """The file that a user named.

    Raises:
      ConfigError: there is none.
    """
    path = Path(target)
    if not path.is_file():
        raise ConfigError(f"onnx: no such file: {target or '(none given)'}")
    return path


def open_session(path: Path, device: torch.device) -> OnnxFile:
    """Look through an ONNX file and open it. Operators come from ONNX Runtime alone.

    Args:
      path: of the file.
      device: "cuda" needs onnxruntime-gpu; without it the network runs on the CPU.

    Raises:
      ConfigError: it is not a whole ONNX file, not one for this runtime, too large, needs custom
        operators, or data that are not there.
      UnsafeCheckpoint: it names data outside of its folder, or holds a compiled program.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                f"{path} is larger than {_MOST_BYTES >> 20} MiB, the most that the format allows; "
                "keep its weights in a file beside it"
            )
        data = path.read_bytes()
        looked = look_through(path, data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    session = _session(path, data, looked.folder, device)
    if not session.get_outputs():
        raise ConfigError(f"{path} has no output")
    inputs = tuple(map(Port.of, session.get_inputs()))
    defaults = tuple(map(Port.of, session.get_overridable_initializers()))
    for port in (*inputs, *defaults):
        if math.prod(side for side in port.shape if isinstance(side, int)) > _MOST_VALUES:
            raise ConfigError(f"{path} takes {port}: more than {_MOST_VALUES} values at once")
    return OnnxFile(
        path=path,
        sha256=looked.sha256,
        metadata=looked.metadata,
        inputs=inputs,
        defaults=defaults,
        outputs=tuple(map(Port.of, session.get_outputs())),
        session=session,
    )


def reason(error: BaseException) -> str:
    """What ONNX Runtime says, shortly."""
    text = _ITS_SOURCE.sub("", plain(error))
    return text[:200] or type(error).__name__


def _session(path: Path, data: bytes, folder: str, device: torch.device) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    options.intra_op_num_threads = torch.get_num_threads()
    options.use_deterministic_compute = True
    options.add_session_config_entry(_DATA_FOLDER, folder)
    providers: list[Any] = ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    if device.type == "cuda" and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        return onnxruntime.InferenceSession(data, sess_options=options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise _refused(path, error, onnxruntime.__version__) from error


def _refused(path: Path, error: Exception, version: str) -> ConfigError:
    runtime = f"this ONNX Runtime ({version})"
    if found := _OPSET.search(plain(error)):
        got, domain, most = found.groups()
        return ConfigError(
            f"{path} uses opset {got} of {domain}, {runtime} knows {most} at most; export it with "
            "an older opset or update onnxruntime"
        )
    if found := _IR_VERSION.search(plain(error)):
        got, most = found.groups()
        return ConfigError(
            f"{path} has IR version {got}, {runtime} knows {most} at most; save it with an older "
            "onnx or update onnxruntime"
        )
    return ConfigError(f"{path} cannot be read as an ONNX network: {reason(error)}")
