"""A function from latents to images, with what nobody can see in it: prior, range, layout.

None of it is guessed: a wrong prior halves a collapse, without an error. It is said by the user
(`--set prior=uniform`), by the object itself, or by the file's metadata: a JSON object

    {"prior": "uniform", "latent_shape": [100], "range": [-1, 1], "layout": "NCHW", "num_labels": 9}

under the key "ganaudit" (ONNX, and a service's parameters), or in the extra file "ganaudit.json"
(TorchScript, torch.export).
The user's word goes before the others'. An ONNX file that `ganaudit convert` wrote also says where
it is from, under the key "ganaudit.from": what was assumed there is assumed here.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, get_args

from torch import Tensor, nn

from ganaudit.errors import ConfigError, SourceError
from ganaudit.images import Layout, check_range, to_rgb
from ganaudit.labels import MAX_LABELS
from ganaudit.slots import Draws, Prior, check_prior
from ganaudit_plugins.onnx_checks import plain

MOST_LATENTS = 2**20  # values of one latent; a file may claim anything
_KEYS = ("prior", "latent_shape", "latent_scale", "range", "layout", "num_labels")
_OF_IMAGES = ("range", "layout")
_MOST_TEXT = 2**16

Function = Callable[[Tensor, Tensor | None], object]  # (latents, labels) to images


@dataclass(frozen=True, kw_only=True)
class DeclaredImages:
    """What was declared about images, and by whom.

    Attributes:
      value_range: the values of black and white; None: the images are uint8.
      layout: where the channels stand; None: where the shape leaves one place only.
      origins: key to who said so; keys that nobody named are absent.
    """

    value_range: tuple[float, float] | None
    layout: Layout | None
    origins: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """What decides an image, as JSON values."""
        return {
            "range": None if self.value_range is None else list(self.value_range),
            "layout": self.layout,
        }

    def assumptions(self) -> tuple[str, ...]:
        """A sentence for everything that was taken on somebody's word."""
        return tuple(
            f"{sentence}, as {self.origins[key]} says."
            for key, sentence in self._sentences().items()
            if key in self.origins
        )

    def _sentences(self) -> dict[str, str]:
        said = {"layout": f"Images are laid out {self.layout}"}
        if self.value_range is not None:
            black, white = self.value_range
            said["range"] = f"The value {black:g} is black, {white:g} is white"
        return said


@dataclass(frozen=True, kw_only=True)
class Declared(DeclaredImages):
    """What was declared about a network from latents to images, and by whom.

    Attributes:
      latent_shape: of one latent.
      prior: of its coordinates.
      latent_scale: what a draw from the prior is multiplied by.
      num_labels: classes; 0: unconditional.
    """

    latent_shape: tuple[int, ...]
    prior: Prior
    latent_scale: float
    num_labels: int

    def scaled(self, latents: Tensor) -> Tensor:
        """Draws from the prior as the network takes them; the same shape."""
        return latents if self.latent_scale == 1 else latents * self.latent_scale

    def identity(self) -> dict[str, Any]:
        """What decides an image, as JSON values."""
        identity = {"prior": self.prior, **super().identity()}
        if self.latent_scale != 1:
            identity["latent_scale"] = self.latent_scale
        return identity | ({"num_labels": self.num_labels} if self.num_labels else {})

    def _sentences(self) -> dict[str, str]:
        said = {
            "prior": f"Latents are drawn from the {self.prior} prior",
            "latent_scale": f"Latents are multiplied by {self.latent_scale:g}",
            **super()._sentences(),
        }
        if self.num_labels:
            said["num_labels"] = f"There are {self.num_labels} classes"
        return said


def declare(what: str, said: Mapping[str, Any], theirs: Mapping[str, Any], *, by: str) -> Declared:
    """Put together what the user said and what the object or file says of itself.

    Args:
      what: the network, for messages.
      said: key to value by --set; None: not said.
      theirs: the same keys, unchecked; None: not said.
      by: who "theirs" is, for the report: "the file's metadata".

    Raises:
      ConfigError: no prior, no latent_shape, or a value that cannot be.
    """
    values, origins = _chosen(said, theirs, by)
    if "prior" not in values:
        raise ConfigError(
            f"{what} declares no prior ({', '.join(get_args(Prior))}); a wrong one changes the "
            "score without an error, so say --set prior=..."
        )
    return Declared(
        prior=check_prior(values["prior"], where=f"{what}: "),
        latent_shape=_latent_shape(what, values.get("latent_shape")),
        latent_scale=_scale(what, values.get("latent_scale", 1.0)),
        value_range=_range(what, values.get("range")),
        layout=_layout(what, values.get("layout")),
        num_labels=_labels(what, values.get("num_labels", 0)),
        origins=origins,
    )


def declare_images(
    what: str, said: Mapping[str, Any], theirs: Mapping[str, Any], *, by: str
) -> DeclaredImages:
    """As `declare`, for what takes no latents: nothing but the images' range and layout.

    Raises:
      ConfigError: a value that cannot be, or the user said something of latents.
    """
    for key in _KEYS:
        if key not in _OF_IMAGES and said.get(key) is not None:
            raise ConfigError(f"--set {key} would change nothing: {what} takes no latents")
    values, origins = _chosen(said, theirs, by)
    return DeclaredImages(
        value_range=_range(what, values.get("range")),
        layout=_layout(what, values.get("layout")),
        origins=origins,
    )


def _chosen(
    said: Mapping[str, Any], theirs: Mapping[str, Any], by: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that hold, and who said each."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in _KEYS:
        for value, origin in ((said.get(key), "--set"), (theirs.get(key), by)):
            if value is not None and key not in values:
                values[key], origins[key] = value, origin
    return values, origins


def metadata(what: str, text: str | bytes | None) -> dict[str, Any]:
    """What a file says of itself, as `declare` takes it; empty when it says nothing.

    Raises:
      ConfigError: the text is not a JSON object, or has keys that we do not know.
    """
    if not text:
        return {}
    found = _parsed(what, text)
    if not isinstance(found, dict) or not found.keys() <= set(_KEYS):
        raise ConfigError(
            f"{what}: its ganaudit metadata must be a JSON object with keys out of "
            f"{', '.join(_KEYS)}; got {found!r:.80}"
        )
    return found


def notes(what: str, text: str | bytes | None) -> tuple[str, ...]:
    """What was assumed of the checkpoint that a file was converted from, a sentence each.

    Raises:
      ConfigError: the text is not a JSON object with a list of texts called "notes".
    """
    if not text:
        return ()
    found = _parsed(what, text)
    listed = found.get("notes") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not all(isinstance(note, str) for note in listed):
        raise ConfigError(f"{what}: its ganaudit.from metadata must hold a list of texts, notes")
    return tuple(map(plain, listed))


def _parsed(what: str, text: str | bytes) -> Any:
    try:
        if len(text) > _MOST_TEXT:
            raise ValueError("it is too long")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what}: its ganaudit metadata cannot be read: {error}") from error


class Conversion:
    """A network's own images to uint8 RGB; the first ones are held against the declared range.

    Attributes:
      warnings: what the first images made doubtful, a sentence each.
    """

    def __init__(self, declared: DeclaredImages) -> None:
        """`declared`: the images' range and layout."""
        self.warnings: list[str] = []
        self._declared = declared
        self._looked = False

    def __call__(self, images: object) -> Tensor:
        """Native images to uint8 [N, 3, H, W].

        Raises:
          ConfigError: floating point without a range, or the first images contradict it.
          SourceError: not images; see `ganaudit.images.to_rgb`.
        """
        declared = self._declared
        if not isinstance(images, Tensor):
            raise SourceError(f"the generator must return a tensor, got {type(images).__name__}")
        if images.is_floating_point() and declared.value_range is None:
            raise ConfigError(
                "the generator returns floating point and declares no range; say which values are "
                "black and white, for instance --set range=-1,1"
            )
        first, self._looked = not self._looked, True
        if first and images.is_floating_point() and declared.value_range is not None:
            doubt = check_range(images, declared.value_range)
            self.warnings += [doubt] if doubt else []
        return to_rgb(images, value_range=declared.value_range, layout=declared.layout)


class DeclaredGenerator:
    """A LatentGenerator out of a function and what was declared about it.

    Attributes:
      module: the network, where the function is one that we hold.
      warnings: what the first images made doubtful, a sentence each.
    """

    def __init__(
        self,
        function: Function,
        declared: Declared,
        *,
        identity: Mapping[str, Any],
        module: nn.Module | None = None,
    ) -> None:
        """`function`: (latents [N, *latent_shape], labels [N] int64 or None) to native images."""
        self.latent_shape = declared.latent_shape
        self.prior = declared.prior
        self.num_labels = declared.num_labels
        self.identity = {**identity, **declared.identity()}
        self.assumptions = declared.assumptions()
        self.module = module
        self._function = function
        self._declared = declared
        self._converted = Conversion(declared)
        self.warnings = self._converted.warnings

    def render(self, draws: Draws) -> Tensor:
        """Images of the latents and labels, uint8 [N, 3, H, W]."""
        assert draws.latents is not None
        latents = self._declared.scaled(draws.latents)
        return self._converted(self._function(latents, draws.labels))


class DerivableGenerator(DeclaredGenerator):
    """One whose function is a module of torch, through which gradients reach the latents."""

    def forward(
        self, latents: Tensor, labels: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """The module's own images for latents [N, *latent_shape], differentiable; `seeds` unused.

        Raises:
          SourceError: it returns no tensor.
        """
        images = self._function(self._declared.scaled(latents), labels)
        if not isinstance(images, Tensor):
            raise SourceError(f"the generator must return a tensor, got {type(images).__name__}")
        return images


def _latent_shape(what: str, shape: object) -> tuple[int, ...]:
    if shape is None:
        raise ConfigError(f"{what} declares no latent_shape; say --set latent_shape=100")
    sides = [shape] if isinstance(shape, Integral) else shape
    if isinstance(sides, tuple | list) and sides and all(_whole(n) and n > 0 for n in sides):
        if math.prod(map(int, sides)) <= MOST_LATENTS:
            return tuple(map(int, sides))
    raise ConfigError(
        f"{what}: latent_shape must be positive whole numbers of product at most {MOST_LATENTS}, "
        f"got {shape!r:.80}"
    )


def _scale(what: str, scale: object) -> float:
    if isinstance(scale, Real) and math.isfinite(scale) and float(scale) > 0:
        return float(scale)
    raise ConfigError(f"{what}: latent_scale must be a positive number, got {scale!r:.80}")


def _range(what: str, ends: object) -> tuple[float, float] | None:
    if ends is None:
        return None
    if isinstance(ends, tuple | list) and len(ends) == 2:
        black, white = ends
        if isinstance(black, Real) and isinstance(white, Real):
            low, high = float(black), float(white)
            if -math.inf < low < high < math.inf:
                return low, high
    raise ConfigError(f"{what}: range must go from black up to white, got {ends!r:.80}")


def _layout(what: str, layout: Any) -> Layout | None:
    if layout is None or layout in get_args(Layout):
        found: Layout | None = layout
        return found
    raise ConfigError(f"{what}: layout must be NCHW or NHWC, got {layout!r:.80}")


def _labels(what: str, count: Any) -> int:
    if _whole(count) and 0 <= int(count) <= MAX_LABELS:
        return int(count)
    raise ConfigError(f"{what}: num_labels must be in [0, {MAX_LABELS}], got {count!r:.80}")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
