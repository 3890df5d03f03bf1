"""Constructors' arguments out of NVIDIA's pickles, by our names for them; unknown ones are refused.

A table says what we call an argument; None: it is of training or of half precision, and has no
effect on images that are drawn in single precision.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ganaudit.checkpoints.records import Network, kind_of, shown
from ganaudit.errors import ConfigError

Table = Mapping[str, str | None]


def by_name(network: Network, order: Sequence[str]) -> dict[str, Any]:
    """All arguments of a network by name, given the `order` in which they may be positional.

    Raises:
      ConfigError: too many by position, or one twice.
    """
    if len(network.args) > len(order):
        raise ConfigError(
            f"{network.role}: {network.name} was made with {len(network.args)} arguments by "
            f"position; the published one takes {len(order)}"
        )
    given = dict(zip(order, network.args, strict=False))
    twice = sorted(given.keys() & network.kwargs.keys())
    if twice:
        raise ConfigError(f"{network.role}: {network.name} was made with {twice[0]} twice")
    return given | dict(network.kwargs)


def inner(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the arguments that are nested under a name; none of them if the name is absent.

    Raises:
      ConfigError: they are no dict.
    """
    found = given.pop(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{name} must be a dict, got {kind_of(found)}")
    return dict(found)


def translated(
    architecture: str, *parts: tuple[Mapping[str, Any], Table, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments by our names, and a note on those without effect.

    Args:
      architecture: whose they are, for messages.
      parts: what was given, what we know, and how to call it to a person: "mapping_kwargs.".

    Raises:
      ConfigError: an argument that we do not know.
    """
    arguments: dict[str, Any] = {}
    unused = []
    for given, known, prefix in parts:
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"{architecture}'s constructor argument {prefix}{shown(name)} is not "
                    "implemented: the published programs have none of this name"
                )
            ours = known[name]
            if ours is None:
                unused.append(name)
            else:
                arguments[ours] = value
    note = (
        f"{', '.join(unused)}: not taken over. It says how fast a network runs or how it was "
        "trained, not what it computes."
    )
    return arguments, (note,) if unused else ()
