"""A model behind the Open Inference Protocol: what its metadata say, and who gets which input."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.errors import ConfigError
from ganaudit.oip import DTYPES, Tensor
from ganaudit.slots import Draws
from ganaudit_plugins.generators.declared import Declared
from ganaudit_plugins.generators.http_api.requests import MOST_SEED_BITS, seeds_of
from ganaudit_plugins.generators.ports import (
    batch_of,
    check_complete,
    check_keys,
    find_latent,
    held_value,
    is_fixed,
    label_form,
    label_rows,
    port_of,
)
from ganaudit_plugins.onnx_checks import plain
from ganaudit_plugins.onnx_files import FLOATS, Port

_MOST_BYTES = 2**20  # of metadata
_MOST_PORTS = 64
_MOST_SIDES = 16
_MOST_VALUES = 2**24  # of an input, at once or for an image
_FLOATS = {"FP16": "float16", "FP32": "float", "FP64": "double"}
_LATENTS, _LABELS = ("latent", "z"), ("label", "labels", "class")


@dataclass(frozen=True)
class ServedPort(Port):
    """An input or output of a model.

    Attributes:
      datatype: as the protocol calls it; `kind` is what `Port` calls it.
    """

    datatype: str

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return plain(f"{self.name}: {self.datatype} [{sides}]")


@dataclass(frozen=True)
class Model:
    """What a service says of a model.

    Attributes:
      path: its address, for messages.
      inputs: all of them.
      outputs: all of them.
      versions: that it has.
      said: its own `ganaudit` metadata, JSON text; None: it says nothing.
      defaults: none: the protocol does not say which inputs are optional.
    """

    path: str
    inputs: tuple[ServedPort, ...]
    outputs: tuple[ServedPort, ...]
    versions: tuple[str, ...]
    said: str | None
    defaults: tuple[ServedPort, ...] = ()


def read_metadata(body: bytes, path: str) -> Model:
    """The model's metadata, as the protocol has them.

    Raises:
      ValueError: they are none: a sentence for the user.
    """
    if len(body) > _MOST_BYTES:
        raise ValueError(f"the metadata have {len(body)} bytes")
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise ValueError("the metadata are not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("the metadata are no JSON object")
    parameters, versions = found.get("parameters"), found.get("versions")
    said = parameters.get("ganaudit") if isinstance(parameters, dict) else None
    return Model(
        path,
        _ports(found.get("inputs"), "inputs"),
        _ports(found.get("outputs"), "outputs"),
        tuple(plain(each)[:80] for each in versions[:16]) if isinstance(versions, list) else (),
        said if isinstance(said, str) else None,
    )


def _ports(entries: object, key: str) -> tuple[ServedPort, ...]:
    if not isinstance(entries, list) or len(entries) > _MOST_PORTS:
        raise ValueError(f"the metadata have no list of at most {_MOST_PORTS} {key}")
    ports = tuple(map(_port, entries))
    if len({port.name for port in ports}) < len(ports):
        raise ValueError(f"the metadata name one of the {key} twice")
    return ports


def _port(entry: Any) -> ServedPort:
    if isinstance(entry, dict):
        name, datatype, shape = (entry.get(key) for key in ("name", "datatype", "shape"))
        if isinstance(name, str) and isinstance(datatype, str) and isinstance(shape, list):
            fits = all(type(side) is int and (side == -1 or side > 0) for side in shape)
            if fits and len(shape) <= _MOST_SIDES and 0 < len(name) <= 256:
                known = _FLOATS.get(datatype, datatype.lower())
                kind = known if datatype in DTYPES else "other"
                sides = tuple(side if side > 0 else None for side in shape)
                return ServedPort(name, kind, sides, datatype[:16])
    raise ValueError(
        f"the metadata must say name, datatype and shape of each tensor, got {plain(entry)!r:.80}"
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Which input gets what.

    Attributes:
      latent: draws from the prior; None: the service draws its own.
      seed: a seed for everything that the service draws itself; None: there is no such input.
      noise_seed: a seed for what a network draws beside its latents.
      label: class numbers, or one-hot rows.
      held: what other inputs get, every time or for every image.
    """

    latent: ServedPort | None
    seed: ServedPort | None
    noise_seed: ServedPort | None
    label: ServedPort | None
    held: tuple[Tensor, ...]
    per_image: frozenset[str]

    @property
    def batch(self) -> int | None:
        """Images that the model wants at once; None: any number."""
        return batch_of(self.latent, self.seed, self.noise_seed, self.label)

    @property
    def follow_the_slot(self) -> bool:
        """Whether a row an image is sent, so that one request can be for several."""
        return any((self.latent, self.seed, self.noise_seed, self.label, self.per_image))

    def bits(self, wanted: int) -> int:
        """Bits of a seed, of which so many are wanted."""
        return wanted if self.seed is None else _bits(self.seed, wanted)

    def tensors(self, draws: Draws, declared: Declared | None, *, seed_bits: int) -> list[Tensor]:
        """What is sent for some slots; the last is repeated where the model's batch is fixed."""
        size = self.batch or len(draws)
        rows: list[tuple[ServedPort, NDArray[Any]]] = []
        if self.latent is not None:
            assert declared is not None and draws.latents is not None
            rows.append((self.latent, declared.scaled(draws.latents).cpu().numpy()))
        for port, bits in ((self.seed, seed_bits), (self.noise_seed, MOST_SEED_BITS)):
            if port is not None:
                seeds = seeds_of(draws, _bits(port, bits))
                rows.append((port, seeds.reshape(-1, *port.shape[1:])))
        if self.label is not None:
            assert declared is not None and draws.labels is not None
            labels = draws.labels.cpu().numpy()
            rows.append((self.label, label_rows(self.label, labels, declared.num_labels)))
        sent = [_tensor(port, values, size) for port, values in rows]
        return sent + [self._held(tensor, size) for tensor in self.held]

    def _held(self, tensor: Tensor, size: int) -> Tensor:
        if tensor.name not in self.per_image:
            return tensor
        shape = (size, *tensor.shape)
        values = tensor.values
        many = values * size if isinstance(values, list) else np.repeat(values[None], size, axis=0)
        return Tensor(tensor.name, tensor.datatype, shape, many)


def _bits(port: ServedPort, wanted: int) -> int:
    """Bits of the seeds that an input gets: as many as wanted, or as it can take."""
    return min(wanted, int(np.iinfo(DTYPES[port.datatype]).max).bit_length())


def _tensor(port: ServedPort, values: NDArray[Any], size: int) -> Tensor:
    filled = np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
    filled = filled.astype(DTYPES[port.datatype])
    return Tensor(port.name, port.datatype, filled.shape, filled)


def find_inputs(
    model: Model,
    *,
    latent_input: str | None,
    seed_input: str | None,
    label_input: str | None,
    held: Mapping[str, str],
    options: list[str],
) -> Inputs:
    """Which input gets what: as the user says, else by its name, else the only one that can.

    Raises:
      ConfigError: an input that nobody spoke for, or one that cannot take what it should.
    """
    for port in model.inputs:
        if math.prod(side for side in port.shape if isinstance(side, int)) > _MOST_VALUES:
            raise ConfigError(f"{model.path} takes {port}: more than {_MOST_VALUES} values at once")
    drawn = (latent_input, seed_input, label_input)
    check_keys(model, held, plugin="oip", options=options, drawn=drawn)
    free = [port for port in model.inputs if port.name not in held]
    seed = _whole_number(model, seed_input, ("seed",), free)
    noise_seed = _whole_number(model, None, ("noise_seed",), free)
    latent = _latent(model, latent_input, [*held, seed_input, label_input])
    label = None
    if latent is not None:
        label = _label(model, label_input, free)
    elif label_input is not None:
        raise ConfigError(
            f"{model.path} takes no latents: labels are drawn with latents; say --set "
            f"{plain(label_input)}=NUMBER for one class alone"
        )
    roles = [port for port in (latent, seed, noise_seed, label) if port is not None]
    if len({port.name for port in roles}) < len(roles):
        raise ConfigError(
            f"{model.path}: one input cannot take both of {', '.join(map(str, roles))}"
        )
    check_complete(model, {*held, *(port.name for port in roles)})
    tensors = tuple(_held(_served(model, name), held[name]) for name in sorted(held))
    found = Inputs(
        latent=latent,
        seed=seed,
        noise_seed=noise_seed,
        label=label,
        held=tensors,
        per_image=frozenset(name for name in held if _served(model, name).per_image),
    )
    sizes = {port.shape[0] for port in roles if port.shape}
    if len(sizes) > 1:
        raise ConfigError(f"{model.path} takes {', '.join(map(str, roles))}: batches that differ")
    return found


def _served(model: Model, name: str) -> ServedPort:
    port = port_of(model, name)
    assert isinstance(port, ServedPort)
    return port


def _latent(model: Model, named: str | None, spoken_for: list[str | None]) -> ServedPort | None:
    """The input of latents; None: no input can be it."""
    left = [
        port.name
        for port in model.inputs
        if port.kind in FLOATS and len(port.shape) >= 2 and port.name not in spoken_for
    ]
    if named is None:
        if not left:
            return None
        usual = [name for name in left if name in _LATENTS]
        named = usual[0] if len(usual) == 1 else None
    return _served(model, find_latent(model, named, spoken_for=spoken_for).name)


def _whole_number(
    model: Model, named: str | None, usual: tuple[str, ...], free: list[ServedPort]
) -> ServedPort | None:
    """An input of one whole number an image: named, or of a usual name."""
    if named is not None:
        port = _served(model, named)
        if label_form(port) != "number":
            raise ConfigError(f"{model.path}: seeds are whole numbers [N] or [N, 1], got {port}")
        return port
    found = [port for port in free if port.name in usual and label_form(port) == "number"]
    return found[0] if len(found) == 1 else None


def _label(model: Model, named: str | None, free: list[ServedPort]) -> ServedPort | None:
    if named is None:
        return _whole_number(model, None, _LABELS, free)
    port = _served(model, named)
    if label_form(port) is None:
        raise ConfigError(
            f"{model.path}: labels are class numbers [N] or [N, 1], or one-hot rows "
            f"[N, num_labels]; got {port}"
        )
    return port


def _held(port: ServedPort, text: str) -> Tensor:
    """What `--set NAME=TEXT` says; without the images' dimension, where the input has one."""
    if port.datatype != "BYTES":
        values = held_value(port, text)
        return Tensor(port.name, port.datatype, values.shape, values)
    shape = port.shape[1:] if port.per_image else port.shape
    sides = [side for side in shape if isinstance(side, int)]
    if not is_fixed(shape):
        raise ConfigError(f"--set cannot say what {port} gets: text of a fixed shape")
    return Tensor(port.name, "BYTES", tuple(sides), [text.encode()] * math.prod(sides))
