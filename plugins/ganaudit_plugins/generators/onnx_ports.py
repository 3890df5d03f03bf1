"""Which input of an ONNX generator takes what, and which output is the images.

What is said by name is checked, what is the only possibility is taken, the rest is asked for.
"""

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit_plugins.onnx_checks import plain
from ganaudit_plugins.onnx_files import FLOATS, NUMPY_OF, OnnxFile, Port

_LISTED = 8  # inputs or outputs in a message


def check_keys(
    file: OnnxFile,
    keys: Iterable[str],
    *,
    options: Collection[str],
    drawn: Collection[str | None],
) -> None:
    """Refuse a key that is no input, naming the nearest input or option, or one in `drawn`."""
    known = [port.name for port in (*file.inputs, *file.defaults)]
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *options], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {listed(file.inputs)}"
            raise ConfigError(
                f"the generator 'onnx' has no option {key!r} and {file.path} no such input; {hint}"
            )
        if key in drawn:
            raise ConfigError(f"--set {key} would hold an input that gets latents or labels")


def find_latent(file: OnnxFile, named: str | None, *, spoken_for: Collection[str | None]) -> Port:
    """The input that takes the latents: named, or the only one that can."""
    possible = [port for port in file.inputs if port.kind in FLOATS and len(port.shape) >= 2]
    if named is not None:
        port = port_of(file, named)
        if port not in possible:
            raise ConfigError(f"{file.path}: latents must be floating point [N, ...], got {port}")
        return port
    left = [port for port in possible if port.name not in spoken_for]
    fixed = [port for port in left if is_fixed(port.shape[1:])]
    if len(fixed or left) != 1:
        many = "more than one input" if left else "no input"
        raise ConfigError(
            f"{file.path} has {many} that may take the latents ({listed(file.inputs)}); "
            "say --set latent_input=NAME"
        )
    return (fixed or left)[0]


def find_label(
    file: OnnxFile, named: str | None, latent: Port, *, held: Collection[str], classes: object
) -> Port | None:
    """The input that takes labels: named, the only one of integers, or the last that is left."""
    if named is not None:
        port = port_of(file, named)
        if port == latent or label_form(port) is None:
            raise ConfigError(
                f"{file.path}: labels are class numbers [N] or [N, 1], or one-hot rows "
                f"[N, num_labels]; got {port}"
            )
        return port
    left = [port for port in file.inputs if port != latent and port.name not in held]
    numbers = [
        port
        for port in left
        if label_form(port) == "number" and (port.per_image or port.shape[0] == latent.shape[0])
    ]
    if len(numbers) == 1:
        return numbers[0]
    if len(left) == 1 and label_form(left[0]) == "one-hot" and left[0].shape[1] == classes:
        return left[0]
    return None


def label_form(port: Port) -> Literal["number", "one-hot"] | None:
    """How an input can take labels: as class numbers, as one-hot rows, or not at all."""
    integer = port.kind in NUMPY_OF and "int" in port.kind
    if integer and port.shape and port.shape[1:] in ((), (1,)):
        return "number"
    if len(port.shape) == 2 and port.shape[1] != 1:
        if port.kind in FLOATS or integer and isinstance(port.shape[1], int):
            return "one-hot"
    return None


def check_complete(file: OnnxFile, spoken_for: Collection[str]) -> None:
    """Refuse a file with inputs that nobody spoke for, by name."""
    missing = [port for port in file.inputs if port.name not in spoken_for]
    if missing:
        names = " ".join(f"--set {plain(port.name)}=VALUE" for port in missing[:_LISTED])
        labels = any(label_form(port) for port in missing)
        raise ConfigError(
            f"{file.path}: nobody says what {listed(missing)} gets; say {names}, numbers "
            f"separated by commas{', or --set label_input=NAME' if labels else ''}"
        )


def held_value(port: Port, text: str) -> NDArray[Any]:
    """What `--set NAME=TEXT` says; without the images' dimension, where the input has one."""
    shape = port.shape[1:] if port.per_image else port.shape
    if port.kind not in NUMPY_OF or not is_fixed(shape):
        raise ConfigError(f"--set cannot say what the input {port} gets: numbers of a fixed shape")
    sides = [side for side in shape if isinstance(side, int)]
    dtype = NUMPY_OF[port.kind]
    words = text.split(",") if text.strip() else []
    try:
        numbers: NDArray[Any] = np.array(
            [_number(word.strip(), dtype) for word in words], dtype=dtype
        )
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--set {plain(port.name)} must be {port.kind} separated by commas, got {text!r:.80}"
        ) from None
    if len(numbers) not in (1, math.prod(sides)):
        raise ConfigError(
            f"--set {plain(port.name)} wants 1 number for all or {math.prod(sides)}, got "
            f"{len(numbers)}"
        )
    return np.full(sides, numbers[0]) if len(numbers) == 1 else numbers.reshape(sides)


def _number(word: str, dtype: Any) -> float:
    if issubclass(dtype, np.bool_):
        return ("false", "true", "0", "1").index(word.lower()) % 2
    if issubclass(dtype, np.integer):
        return int(word)
    number = float(word)
    if not abs(number) <= float(np.finfo(dtype).max):  # NaN is not
        raise ValueError(word)
    return number


def find_output(file: OnnxFile, named: str | None) -> Port:
    """The output that is the images: named, or the only one that can be."""
    if named is not None:
        return port_of(file, named, among="outputs")
    images = [port for port in file.outputs if len(port.shape) == 4]
    if len(file.outputs) == 1 or len(images) == 1:
        return (images or file.outputs)[0]
    raise ConfigError(
        f"{file.path} has more than one output that may be the images ({listed(file.outputs)}); "
        "say --set output=NAME"
    )


def port_of(file: OnnxFile, name: str, *, among: Literal["inputs", "outputs"] = "inputs") -> Port:
    """The input or output of that name."""
    ports = file.outputs if among == "outputs" else (*file.inputs, *file.defaults)
    for port in ports:
        if port.name == name:
            return port
    raise ConfigError(f"{file.path} has no {among[:-1]} {name!r}; it has {listed(ports)}")


def listed(ports: Collection[Port]) -> str:
    """Inputs or outputs for a message."""
    shown = [str(port) for port in list(ports)[:_LISTED]]
    return ", ".join(shown + ["..."] * (len(ports) > _LISTED)) or "none"


def is_fixed(shape: tuple[int | str | None, ...]) -> bool:
    """Whether every size is known."""
    return all(isinstance(side, int) for side in shape)
