"""Contract checks for authors of plugins: what the Protocols say in words, asserted.

    from ganaudit.testing import check_plugin

    def test_the_plugin_keeps_its_contract() -> None:
        check_plugin("generators", "shapes", {"collapse": "0.1"})

A check asks a plugin for seven things in several ways and compares the answers. It returns nothing,
or raises an AssertionError of one sentence: what was wanted and what came. No test framework is
needed, and the plugin is called as an audit calls it: under inference mode.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch

from ganaudit import registry
from ganaudit.generators import BlindGenerator, EmbeddingSource, LatentGenerator
from ganaudit.testing.asking import demand, identity
from ganaudit.testing.descriptors import check_descriptor
from ganaudit.testing.generators import (
    check_blind_generator,
    check_embedding_source,
    check_latent_generator,
)

__all__ = [
    "check_blind_generator",
    "check_descriptor",
    "check_embedding_source",
    "check_latent_generator",
    "check_plugin",
    "check_source",
]


def check_source(source: object, *, device: str = "cpu") -> None:
    """A generator of whichever kind it is.

    Args:
      source: what a factory returned.
      device: where latents and labels are.

    Raises:
      AssertionError: it is of no kind or of several, or breaks a clause of its own.
    """
    kinds = (LatentGenerator, BlindGenerator, EmbeddingSource)
    found = [kind.__name__ for kind in kinds if isinstance(source, kind)]
    demand(
        len(found) == 1,
        "a generator must be one of LatentGenerator, BlindGenerator and EmbeddingSource, but "
        f"{type(source).__name__} is {' and '.join(found) or 'none of them'}",
    )
    if found == ["LatentGenerator"]:
        check_latent_generator(source, device=device)
    elif found == ["BlindGenerator"]:
        check_blind_generator(source)
    else:
        check_embedding_source(source)


def check_plugin(
    kind: Literal["generators", "descriptors"],
    spec: str,
    options: Mapping[str, str] | None = None,
    *,
    images: torch.Tensor | None = None,
    device: str = "cpu",
    trust: bool = False,
    files: Sequence[str] = (),
) -> None:
    """A plugin as the command line opens it: its factory, its identity, and what it returns.

    Args:
      kind: of plugin.
      spec: as after --generator or --descriptor: NAME, NAME:TARGET or a path.
      options: as after --set, as text.
      images: for `check_descriptor`.
      device: of the audit.
      trust: as if --trust were given.
      files: as after --plugin.

    Raises:
      ConfigError: it cannot be opened.
      AssertionError: --set cannot fill an option of the factory, opening twice gives two
        identities, or what it returns breaks its contract.
    """
    name, _ = registry.resolve(kind, spec, files)
    _check_factory(registry.load(kind, name, files), name)
    first, second = (
        registry.open_plugin(
            kind, spec, options or {}, device=torch.device(device), trust=trust, files=files
        )[0]
        for _ in range(2)
    )
    if kind == "generators":
        check_source(first, device=device)
    else:
        check_descriptor(first, images, device=device)
    one, other = identity(first), identity(second)
    demand(
        one == other,
        f"{name!r} must have one identity whenever it is opened, got {one} and {other}",
    )


def _check_factory(factory: Callable[..., Any], name: str) -> None:
    parameters = list(inspect.signature(factory).parameters.values())
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    settable = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
    demand(
        parameters != [] and parameters[0].kind in positional,
        f"the factory of {name!r} must take its target: def open_it(target, *, option=1)",
    )
    hidden = [parameter.name for parameter in parameters[1:] if parameter.kind not in settable]
    demand(
        not hidden,
        f"options of the factory of {name!r} must be keyword-only, or --set cannot fill them; got "
        f"{', '.join(hidden)} before the *",
    )
