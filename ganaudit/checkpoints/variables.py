"""Arguments and variables of networks that TensorFlow made, on their way to ours.

Both are taken by name, and what nobody takes is refused: the authors' functions ignore arguments
that they do not know, so one of them may mean that the function was another.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit.checkpoints.records import Array, Network, kind_of, shown
from ganaudit.errors import ConfigError

FloatArray = NDArray[np.float32]
# Makes our name and our layout of a variable, given the groups of the pattern that its name fits.
Rule = Callable[..., tuple[str, FloatArray]]

_MOST = 2**31


class Given:
    """Arguments that a network was made with, taken one by one."""

    def __init__(self, network: Network) -> None:
        """Those of the network and of its components, which must not contradict each other.

        Raises:
          ConfigError: two values for one name, or arguments by position.
        """
        self.role = network.role
        self._left: dict[str, Any] = dict(network.kwargs)
        self.unused: list[str] = []
        for name, child in network.children.items():
            for key, value in child.kwargs.items():
                if self._left.setdefault(key, value) != value:
                    raise self.refusal(f"{shown(key)} is another in its component {name}")
        if network.args:
            raise self.refusal("arguments by position are not known of such networks")

    def take(self, name: str, default: Any) -> Any:
        """The value of an argument; the one that the authors' function assumes without it."""
        return self._left.pop(name, default)

    def integer(self, name: str, default: int) -> int:
        """The value of an argument that must be an integer, at least 0."""
        value = self.take(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise self.refusal(f"{name} must be an integer of at least 0, got {kind_of(value)}")
        return value

    def number(self, name: str, default: Any) -> Any:
        """The value of an argument that must be a number, or None."""
        value = self.take(name, default)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.refusal(f"{name} must be a number or None, got {kind_of(value)}")
        return value

    def choice(self, name: str, default: Any, *known: Any) -> Any:
        """The value of an argument that must be one of `known`."""
        value = self.take(name, default)
        if not any(value == one and type(value) is type(one) for one in known):
            raise self.refusal(f"{name} = {shown(value)} is not implemented")
        return value

    def ignore(self, *names: str) -> None:
        """Take arguments that change no image."""
        self.unused += [name for name in names if name in self._left]
        for name in names:
            self._left.pop(name, None)

    def finish(self, what: str) -> None:
        """Refuse what is left.

        Raises:
          ConfigError: something is.
        """
        if self._left:
            raise self.refusal(f"{what} has no argument {shown(min(self._left))} that we implement")

    def refusal(self, why: str) -> ConfigError:
        """An error that says which network is meant."""
        return ConfigError(f"{self.role}: {why}")

    def notes(self) -> Iterator[str]:
        """What to say of arguments without effect."""
        if self.unused:
            yield f"{', '.join(self.unused)}: without effect on images drawn in single precision"


def renamed(
    tensors: Mapping[str, Array], rules: Mapping[str, Rule], *, where: str
) -> dict[str, FloatArray]:
    """Variables by our names and in our layout.

    Args:
      tensors: by the file's names.
      rules: by a pattern that the whole name must fit; no name fits two.
      where: what to call the network in an error.

    Raises:
      ConfigError: a name that fits none, a shape that its rule does not take, or two of one name.
    """
    made: dict[str, FloatArray] = {}
    for name, array in tensors.items():
        fits = ((re.fullmatch(pattern, name), rule) for pattern, rule in rules.items())
        match, rule = next(((match, rule) for match, rule in fits if match), (None, None))
        if match is None or rule is None:
            raise ConfigError(f"{where} has a variable {shown(name)}, which such a network has not")
        try:
            ours, value = rule(single(array), *match.groups())
        except ValueError as error:
            raise ConfigError(f"{where}: the variable {shown(name)} {error}") from error
        if ours in made:
            raise ConfigError(f"{where} has the variable {shown(name)} under two names")
        made[ours] = value
    return made


def single(array: Array) -> FloatArray:
    """An array as it is; one without dimensions, which a file may hold as a number, as float32."""
    if array.shape:
        return array.numpy()
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        return array.numpy().astype(np.float32)


def number(tensors: Mapping[str, Array], name: str, *, where: str) -> float:
    """The value of a variable without dimensions.

    Raises:
      ConfigError: there is none of this name, or it has dimensions.
    """
    array = tensors.get(name)
    if array is None or array.shape:
        raise ConfigError(f"{where} has no number {name} among its variables")
    return float(array.numpy())


def dense(weight: FloatArray) -> FloatArray:
    """[outputs, inputs] of TensorFlow's [inputs, outputs]."""
    return _rank(weight, 2).transpose()


def conv(weight: FloatArray) -> FloatArray:
    """[outputs, inputs, rows, columns] of TensorFlow's [rows, columns, inputs, outputs]."""
    return _rank(weight, 4).transpose(3, 2, 0, 1)


def turned(weight: FloatArray) -> FloatArray:
    """The same kernels [..., rows, columns], turned around."""
    return weight[..., ::-1, ::-1]


def inner(array: FloatArray, dimensions: int) -> FloatArray:
    """The last `dimensions` of an array; those before must have size 1."""
    outer = array.ndim - dimensions
    if outer < 0 or array.shape[:outer] != (1,) * outer:
        raise ValueError(f"has an unexpected shape {list(array.shape)}")
    return array.reshape(array.shape[outer:])


def _rank(array: FloatArray, dimensions: int) -> FloatArray:
    if array.ndim != dimensions:
        raise ValueError(f"must have {dimensions} dimensions, got shape {list(array.shape)}")
    return array
