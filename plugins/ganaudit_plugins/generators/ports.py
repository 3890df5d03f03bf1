"""Which input of a network takes what, and which output is the images.

The network is in a file or behind a service: it says what its inputs and outputs are. What is said
by name is checked, what is the only possibility is taken, the rest is asked for.
"""

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.images import MAX_PIXELS, Layout
from ganaudit_plugins.onnx_checks import plain
from ganaudit_plugins.onnx_files import FLOATS, NUMPY_OF, Port

_LISTED = 8  # inputs or outputs in a message
_IMAGES = (*FLOATS, "uint8")
_CHANNELS = (1, 3, 4)


class Network(Protocol):
    """What says its inputs and outputs.

    Attributes:
      path: of the file or service, for messages.
      inputs: all that must be given.
      defaults: inputs that have a value of their own and may be given another.
      outputs: in the network's order.
    """

    @property
    def path(self) -> object: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[Port, ...]: ...  # noqa: D102
    @property
    def defaults(self) -> tuple[Port, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[Port, ...]: ...  # noqa: D102


def check_keys(
    network: Network,
    keys: Iterable[str],
    *,
    plugin: str,
    options: Collection[str],
    drawn: Collection[str | None],
) -> None:
    """Refuse a key that is no input, naming the nearest input or option, or one in `drawn`."""
    known = [port.name for port in (*network.inputs, *network.defaults)]
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, [*known, *options], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {listed(network.inputs)}"
            raise ConfigError(
                f"the generator {plugin!r} has no option {key!r} and {network.path} no such input; "
                f"{hint}"
            )
        if key in drawn:
            raise ConfigError(f"--set {key} would hold an input that gets latents or labels")


def find_latent(network: Network, named: str | None, *, spoken_for: Collection[str | None]) -> Port:
    """The input that takes the latents: named, or the only one that can."""
    possible = [port for port in network.inputs if port.kind in FLOATS and len(port.shape) >= 2]
    if named is not None:
        port = port_of(network, named)
        if port not in possible:
            raise ConfigError(
                f"{network.path}: latents must be floating point [N, ...], got {port}"
            )
        return port
    left = [port for port in possible if port.name not in spoken_for]
    fixed = [port for port in left if is_fixed(port.shape[1:])]
    if len(fixed or left) != 1:
        many = "more than one input" if left else "no input"
        raise ConfigError(
            f"{network.path} has {many} that may take the latents ({listed(network.inputs)}); "
            "say --set latent_input=NAME"
        )
    return (fixed or left)[0]


def find_label(
    network: Network, named: str | None, latent: Port, *, held: Collection[str], classes: object
) -> Port | None:
    """The input that takes labels: named, the only one of integers, or the last that is left."""
    if named is not None:
        port = port_of(network, named)
        if port == latent or label_form(port) is None:
            raise ConfigError(
                f"{network.path}: labels are class numbers [N] or [N, 1], or one-hot rows "
                f"[N, num_labels]; got {port}"
            )
        return port
    left = [port for port in network.inputs if port != latent and port.name not in held]
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


def label_rows(port: Port, labels: NDArray[np.int64], classes: int) -> NDArray[Any]:
    """Class numbers [n] as an input wants them: [n], [n, 1] or one-hot [n, classes]."""
    dtype = NUMPY_OF[port.kind]
    if label_form(port) == "number":
        return labels.astype(dtype).reshape(-1, *port.shape[1:])
    rows: NDArray[Any] = np.zeros((len(labels), classes), dtype=dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def batch_of(*ports: Port | None) -> int | None:
    """Images that a network wants at once; None: any number."""
    sizes = (port.shape[0] for port in ports if port is not None and port.shape)
    return next((size for size in sizes if isinstance(size, int)), None)


def check_complete(network: Network, spoken_for: Collection[str]) -> None:
    """Refuse a network with inputs that nobody spoke for, by name."""
    missing = [port for port in network.inputs if port.name not in spoken_for]
    if missing:
        names = " ".join(f"--set {plain(port.name)}=VALUE" for port in missing[:_LISTED])
        labels = any(label_form(port) for port in missing)
        raise ConfigError(
            f"{network.path}: nobody says what {listed(missing)} gets; say {names}, numbers "
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


def find_output(network: Network, named: str | None) -> Port:
    """The output that is the images: named, or the only one that can be."""
    if named is not None:
        return port_of(network, named, among="outputs")
    images = [port for port in network.outputs if len(port.shape) == 4]
    if len(network.outputs) == 1 or len(images) == 1:
        return (images or network.outputs)[0]
    raise ConfigError(
        f"{network.path} has more than one output that may be the images "
        f"({listed(network.outputs)}); say --set output=NAME"
    )


def port_of(network: Network, name: str, *, among: Literal["inputs", "outputs"] = "inputs") -> Port:
    """The input or output of that name."""
    ports = network.outputs if among == "outputs" else (*network.inputs, *network.defaults)
    for port in ports:
        if port.name == name:
            return port
    raise ConfigError(f"{network.path} has no {among[:-1]} {name!r}; it has {listed(ports)}")


def listed(ports: Collection[Port]) -> str:
    """Inputs or outputs for a message."""
    shown = [str(port) for port in list(ports)[:_LISTED]]
    return ", ".join(shown + ["..."] * (len(ports) > _LISTED)) or "none"


def is_fixed(shape: tuple[int | str | None, ...]) -> bool:
    """Whether every size is known."""
    return all(isinstance(side, int) for side in shape)


def measured(latent: Port, label: Port | None) -> dict[str, Any]:
    """What the inputs' shapes say, which its metadata may overrule and is held against."""
    known: dict[str, Any] = {}
    if is_fixed(latent.shape[1:]):
        known["latent_shape"] = list(latent.shape[1:])
    if label is not None and label_form(label) == "one-hot" and is_fixed(label.shape[1:]):
        known["num_labels"] = label.shape[1]
    return known


def check_latents(network: Network, latent: Port, declared: tuple[int, ...]) -> None:
    """Refuse a shape that the input does not take."""
    wanted = latent.shape[1:]
    if len(wanted) != len(declared) or any(
        isinstance(want, int) and want != side for want, side in zip(wanted, declared, strict=True)
    ):
        said = ",".join(map(str, declared))
        raise ConfigError(f"{network.path} takes {latent}, which latent_shape {said} does not fit")


def check_labels(network: Network, latent: Port, label: Port | None, classes: int) -> None:
    """Refuse a number of classes that the input does not take, or that no input takes."""
    if label is None:
        if classes:
            raise ConfigError(
                f"{network.path}: num_labels is {classes}, and no input is known to take labels "
                f"({listed(network.inputs)}); say --set label_input=NAME, or --set num_labels=0"
            )
        return
    name = plain(label.name)
    if not classes:
        raise ConfigError(
            f"{network.path} takes labels ({label}) and does not say of how many classes; say "
            f"--set num_labels=10, or --set {name}=0 for one class alone"
        )
    if label_form(label) == "one-hot" and isinstance(label.shape[1], int):
        if label.shape[1] != classes:
            raise ConfigError(
                f"{network.path} takes {label}, which num_labels {classes} does not fit"
            )
    elif "int" in label.kind and classes - 1 > np.iinfo(NUMPY_OF[label.kind]).max:
        raise ConfigError(f"{network.path} takes {label}, too small for {classes} classes")
    sizes = {port.shape[0] for port in (latent, label) if isinstance(port.shape[0], int)}
    if len(sizes) > 1:
        raise ConfigError(f"{network.path} takes {latent} and {label}: batches that differ")


def check_images(network: Network, port: Port, layout: Layout | None) -> None:
    """Refuse what cannot be images, as far as the network says it."""
    if port.kind not in _IMAGES:
        raise ConfigError(f"{network.path}: images must be {', '.join(_IMAGES)}, got {port}")
    if not port.shape:
        return
    if len(port.shape) != 4:
        raise ConfigError(f"{network.path}: images must have 4 dimensions, got {port}")
    places = {"NCHW": (1,), "NHWC": (3,), None: (1, 3)}[layout]
    if all(isinstance(n := port.shape[i], int) and n not in _CHANNELS for i in places):
        wanted = layout or "NCHW or NHWC"
        raise ConfigError(
            f"{network.path}: images must be {wanted} of 1, 3 or 4 channels, got {port}"
        )
    if pixels(port.shape, layout) > MAX_PIXELS:
        raise ConfigError(f"{network.path} returns {port}: images of more than {MAX_PIXELS} pixels")


def pixels(shape: tuple[int | str | None, ...], layout: Layout | None) -> int:
    """Of one image, as far as the shape says; open sides count 1."""
    last = (
        shape[1] not in _CHANNELS and shape[3] in _CHANNELS if layout is None else layout[1] != "C"
    )
    sides = shape[1:3] if last else shape[2:]
    return math.prod(side for side in sides if isinstance(side, int))
