"""`python:FILE.py:factory`: your own code as a generator. It runs with your rights.

The factory is called with the options that its parameters name (`--set psi=0.7`), and `device` if
it has such a parameter. It returns

- a LatentGenerator or BlindGenerator of `ganaudit.generators`, or
- a callable (an nn.Module, say) from latents [N, *latent_shape] to images [N, C, H, W] or
  [N, H, W, C]: uint8, or floating point in a declared range.

A callable declares `latent_shape`, `prior` and, for floating point, `range` as attributes, or
the user does by --set. Nothing of it is guessed: a wrong prior halves a collapse, without an error.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from ganaudit.errors import ConfigError, SourceError, one_line
from ganaudit.files import sha256_of
from ganaudit.generators import BlindGenerator, LatentGenerator, identity_of
from ganaudit.images import Layout, to_rgb
from ganaudit.registry import bind
from ganaudit.slots import Draws, Prior, check_prior


class CallableGenerator:
    """A function from latents to images, with what was declared about it."""

    num_labels = 0

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        latent_shape: tuple[int, ...],
        prior: Prior,
        value_range: tuple[float, float] | None,
        layout: Layout | None,
        identity: Mapping[str, Any],
    ) -> None:
        """`value_range`: the values of black and white; None: the function returns uint8."""
        self.latent_shape = latent_shape
        self.prior = prior
        self.identity = identity
        self._function = function
        self._range = value_range
        self._layout = layout

    def render(self, draws: Draws) -> Tensor:
        """Images of the latents, uint8 [N, 3, H, W]."""
        assert draws.latents is not None
        images = self._function(draws.latents)
        if not isinstance(images, Tensor):
            raise SourceError(f"the generator must return a tensor, got {type(images).__name__}")
        if images.is_floating_point() and self._range is None:
            raise ConfigError(
                "the generator returns floating point and declares no range; say which values are "
                "black and white, for instance --set range=-1,1"
            )
        return to_rgb(images, value_range=self._range, layout=self._layout)


def open_python(
    target: str,
    *,
    device: torch.device,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    **options: str,
) -> LatentGenerator | BlindGenerator:
    """Call a factory in a Python file.

    Args:
      target: FILE.py:factory.
      device: of the latents; given to the factory if it has a parameter of that name, and a
        module that it returns is moved there.
      prior: of every latent coordinate, where the object does not declare it or to override.
      latent_shape: of one latent, where the object does not declare it.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
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
    factory = getattr(_import(path), factory_name, None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}")
    arguments = bind(factory, options, what=f"the factory {factory_name!r}", device=device)
    try:
        made = factory(**arguments)
    except Exception as error:
        raise SourceError(f"the factory {factory_name!r} raised {one_line(error)}") from error
    identity = {"factory": factory_name, "sha256": sha256_of(path), **identity_of(made)}
    declared = {"prior": prior, "latent_shape": latent_shape, "range": range, "layout": layout}
    if callable(getattr(made, "stream", None)):
        _refuse_unused(declared, "a blind generator draws its own input")
        size, seedable = getattr(made, "size", None), getattr(made, "seedable", False)
        return _delivered(made, identity=identity, size=size, seedable=seedable)
    found = prior if prior is not None else getattr(made, "prior", None)
    if found is None:
        raise ConfigError(
            f"what {factory_name!r} returns declares no prior ({', '.join(get_args(Prior))}); a "
            "wrong one changes the score without an error, so say --set prior=..."
        )
    found = check_prior(found)
    if callable(getattr(made, "render", None)) and hasattr(made, "latent_shape"):
        _refuse_unused(declared | {"prior": None}, "it renders its own images")
        labels = getattr(made, "num_labels", 0)
        return _delivered(
            made, identity=identity | {"prior": found}, prior=found, num_labels=labels
        )
    if not callable(made):
        raise ConfigError(
            f"the factory {factory_name!r} must return a generator or a callable from latents to "
            f"images, got {type(made).__name__}"
        )
    shape = latent_shape if latent_shape is not None else getattr(made, "latent_shape", None)
    if not isinstance(shape, tuple | list) or not all(type(n) is int and n > 0 for n in shape):
        raise ConfigError(
            f"what {factory_name!r} returns declares no latent_shape; say --set latent_shape=100"
        )
    black_white = range if range is not None else getattr(made, "range", None)
    if black_white is not None and not float(black_white[0]) < float(black_white[1]):
        raise ConfigError(f"range must go from black up to white, got {black_white}")
    layout = layout or getattr(made, "layout", None)
    identity |= {
        "prior": found,
        "range": None if black_white is None else list(black_white),
        "layout": layout,
    }
    return CallableGenerator(
        made.to(device).eval() if isinstance(made, torch.nn.Module) else made,
        latent_shape=tuple(shape),
        prior=found,
        value_range=black_white,
        layout=layout,
        identity=identity,
    )


def _refuse_unused(declared: Mapping[str, object], why: str) -> None:
    """An option that would change nothing is refused."""
    unused = [name for name, value in declared.items() if value is not None]
    if unused:
        raise ConfigError(f"--set {unused[0]} would change nothing here: {why}")


def _delivered(made: object, **declared: Any) -> LatentGenerator | BlindGenerator:
    """What the factory made, with some attributes declared for it."""
    names = ("latent_shape", "render", "forward", "stream", "assumptions")
    found = {name: getattr(made, name) for name in names if hasattr(made, name)}
    delivered: Any = SimpleNamespace(**found, **declared)
    return cast("LatentGenerator | BlindGenerator", delivered)


def _import(path: Path) -> Any:
    """The file as a module of its own, with its folder importable as for a script."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(f"ganaudit_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported; is it a .py file?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SourceError(f"{path} raised {one_line(error)}") from error
    return module
