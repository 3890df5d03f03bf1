"""`python:FILE.py:factory`: your own code as a generator. It runs with your rights.

The factory is called with the options that its parameters name (`--set psi=0.7`), and `device` if
it has such a parameter. It returns

- a LatentGenerator or BlindGenerator of `ganaudit.generators`, or
- a callable (an nn.Module, say) from latents [N, *latent_shape] to images [N, C, H, W] or
  [N, H, W, C]: uint8, or floating point in a declared range. One that declares `num_labels` is
  called with labels [N] int64 as well.

A module of torch can be given weights that a file holds: `--set weights=FILE` reads a state dict
without executing the file, and every tensor must fit.

A callable declares `latent_shape`, `prior` and, for floating point, `range` as attributes, or
the user does by --set; see `ganaudit_plugins.generators.declared`.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from ganaudit.checkpoints.state_dicts import fill, read_state_dict
from ganaudit.errors import ConfigError, PluginError, SourceError, one_line
from ganaudit.files import sha256_of
from ganaudit.generators import BlindGenerator, LatentGenerator, identity_of
from ganaudit.images import Layout
from ganaudit.registry import bind, by_user_alone
from ganaudit.slots import Prior
from ganaudit.userfile import import_file
from ganaudit_plugins.generators.declared import (
    DeclaredGenerator,
    DerivableGenerator,
    declare,
)


@by_user_alone
def open_python(
    target: str,
    *,
    device: torch.device,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    num_labels: int | None = None,
    weights: str | None = None,
    role: str | None = None,
    **options: str,
) -> LatentGenerator | BlindGenerator:
    """Call a factory in a Python file.

    Args:
      target: FILE.py:factory.
      device: of the latents; given to the factory if it has a parameter of that name, and a
        module that it returns is moved there.
      prior: of every latent coordinate, where the object does not declare it or to override.
      latent_shape: of one latent, where the object does not declare it.
      latent_scale: what latents are multiplied by.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
      num_labels: classes of a conditional generator, which is called with labels too.
      weights: file with the state dict of the module that the factory returns; if the factory has
        a parameter of this name, it is left to the factory.
      role: key of that state dict, where the file holds several; likewise.
      options: of the factory.

    Raises:
      ConfigError: no such file or factory, an unknown option, or something is not declared.
      SourceError: the file or the factory raised.
    """
    name, colon, factory_name = target.rpartition(":")
    path = Path(name)
    if not colon or not factory_name.isidentifier():
        raise ConfigError(f"python: wants FILE.py:FACTORY, got {target!r}")
    if not path.is_file():
        raise ConfigError(f"python: no such file: {path}")
    try:
        module = import_file(path)
    except PluginError as error:  # the audited code's fault, not that of the request
        raise SourceError(str(error)) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}")
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "range": range,
        "layout": layout,
        "num_labels": num_labels,
    }
    theirs_too = inspect.signature(factory).parameters if weights or role else {}
    for key, text in (("weights", weights), ("role", role)):
        if text is not None and key in theirs_too:
            options[key] = text
    arguments = bind(
        factory, options, what=f"the factory {factory_name!r}", device=device, given=said
    )
    try:
        made = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise SourceError(f"the factory {factory_name!r} raised {one_line(error)}") from error
    identity = {"factory": factory_name, "sha256": sha256_of(path), **identity_of(made)}
    what = f"what {factory_name!r} returns"
    if weights is not None and "weights" not in options:
        _fill(made, Path(weights), None if "role" in options else role, factory_name)
    elif role is not None and "role" not in options:
        raise ConfigError(
            "--set role says which weights of a file are meant; add --set weights=FILE"
        )
    if callable(getattr(made, "stream", None)):
        _refuse_unused(said, "a blind generator draws its own input")
        size, seedable = getattr(made, "size", None), getattr(made, "seedable", False)
        return _delivered(made, identity=identity, size=size, seedable=seedable)
    theirs = {key: getattr(made, key, None) for key in said}
    if callable(getattr(made, "render", None)) and hasattr(made, "latent_shape"):
        _refuse_unused(said | {"prior": None}, "it renders its own images")
        theirs = {key: theirs[key] for key in ("prior", "latent_shape", "num_labels")}
        declared = declare(what, {"prior": prior}, theirs, by=f"the factory {factory_name!r}")
        return _delivered(
            made,
            identity=identity | {"prior": declared.prior},
            prior=declared.prior,
            latent_shape=declared.latent_shape,
            num_labels=declared.num_labels,
            assumptions=(*declared.assumptions(), *getattr(made, "assumptions", ())),
        )
    if not callable(made):
        raise ConfigError(
            f"the factory {factory_name!r} must return a generator or a callable from latents to "
            f"images, got {type(made).__name__}"
        )
    held = made.to(device).eval() if isinstance(made, torch.nn.Module) else None
    function: Callable[..., object] = made

    def call(latents: Tensor, labels: Tensor | None) -> object:
        return function(latents) if labels is None else function(latents, labels)

    declared = declare(what, said, theirs, by=f"the factory {factory_name!r}")
    kind = DeclaredGenerator if held is None else DerivableGenerator
    return kind(call, declared, identity=identity, module=held)


def _fill(made: object, path: Path, role: str | None, factory_name: str) -> None:
    """Weights from a file into what the factory made."""
    if not isinstance(made, torch.nn.Module):
        raise ConfigError(
            f"--set weights={path} needs a factory that returns a module of torch; "
            f"{factory_name!r} returns {type(made).__name__}"
        )
    fill(made, read_state_dict(path, role), network=repr(factory_name))


def _refuse_unused(declared: Mapping[str, object], why: str) -> None:
    """An option that would change nothing is refused."""
    unused = [name for name, value in declared.items() if value is not None]
    if unused:
        raise ConfigError(f"--set {unused[0]} would change nothing here: {why}")


def _delivered(made: object, **declared: Any) -> LatentGenerator | BlindGenerator:
    """What the factory made, with some attributes declared for it."""
    names = ("latent_shape", "render", "forward", "stream", "assumptions", "warnings", "module")
    found = {name: getattr(made, name) for name in names if hasattr(made, name)}
    if isinstance(made, torch.nn.Module):
        found.setdefault("module", made)
    delivered: Any = SimpleNamespace(**(found | declared))
    return cast("LatentGenerator | BlindGenerator", delivered)
