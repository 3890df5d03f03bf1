"""`--try-preprocessing`: the usual ways to prepare images for a network, compared on some pictures.

A wrong mean, channel order or filter moves every distance without an error. Which one a network was
trained with stands nowhere in its file, but it tells identities apart best under the right one.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganaudit import registry
from ganaudit.descriptors import Descriptor
from ganaudit.errors import ConfigError
from ganaudit.identities import IdentityFolder, embed
from ganaudit.slots import permutation
from ganaudit.verification import verify

_PICTURES, _EACH = 200, 10  # pictures in all, and of one identity, where there are more
_NORMALISATIONS = (  # mean and std of RGB on [0, 1]
    ("0.485,0.456,0.406", "0.229,0.224,0.225"),  # ImageNet
    ("0.5", "0.5"),  # to [-1, 1]
    ("0", "1"),  # to [0, 1]
    ("0.5", "0.50196078"),  # (x - 127.5) / 128: facenet
)
_COLOURS = ("rgb", "bgr")
_FILTERS = ("bilinear", "bicubic")

Options = dict[str, str]


@dataclass(frozen=True)
class Variant:
    """One way to prepare images.

    Attributes:
      options: of the descriptor, as text.
      own: what the request says.
      auc: None: it could not be tried.
      eer: likewise.
      problem: why it could not be tried.
    """

    options: Options
    own: bool
    auc: float | None = None
    eer: float | None = None
    problem: str | None = None

    def figures(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "set": [f"descriptor.{name}={value}" for name, value in self.options.items()],
            "own": self.own,
            "auc": self.auc,
            "eer": self.eer,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Trial:
    """Variants by AUC, the best first, on the same pictures.

    Attributes:
      variants: those that could not be tried stand last.
      images: how many were compared.
      identities: of how many.
    """

    variants: list[Variant]
    images: int
    identities: int

    @property
    def asked(self) -> bool:
        """Whether the request itself, which may leave things open, is one that can be opened."""
        return any(variant.own and variant.problem is None for variant in self.variants)

    def figures(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "images": self.images,
            "identities": self.identities,
            "variants": [variant.figures() for variant in self.variants],
        }


def try_variants(
    folder: IdentityFolder,
    spec: str,
    options: Mapping[str, str],
    *,
    reopen: Callable[[Options], Descriptor],
    files: Sequence[str],
    device: str,
    batch: int | None,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Trial:
    """Open a descriptor in the usual ways and say how well each tells identities apart.

    Args:
      folder: pictures by identity; some of them, drawn by identity, where there are many.
      spec: of the descriptor.
      options: as given; what they say is tried too, and what is never tried stays.
      reopen: opens it with other options.
      files: Python files that bring plugins.
      device: where it works.
      batch: pictures at once; None: chosen from memory.
      seed: of the choice of pictures.
      progress: told (what, done, total).

    Raises:
      ConfigError: the descriptor has no options to vary, or no variant can be tried.
    """
    name, _ = registry.resolve("descriptors", spec, files)
    ways = variations(registry.load("descriptors", name, files), options)
    if not ways:
        raise ConfigError(
            f"the descriptor {name!r} has no options mean and std, colour or resize: there is no "
            "preprocessing to try; leave --try-preprocessing out"
        )
    items = _chosen(folder.labels, seed)

    def tried(changed: Options, own: bool) -> Variant:
        try:
            seen = embed(folder, reopen(changed), device=device, batch=batch, items=items)
        except ConfigError as error:
            return Variant(changed, own, problem=str(error))
        figures = verify(seen.rows, seen.labels, fmr=0.5, replicates=0)
        return Variant(changed, own, figures.auc.estimate, figures.eer.estimate)

    found: list[Variant] = []
    for changed, own in ways:
        found.append(tried(changed, own))
        progress("trying", len(found) * len(items), len(ways) * len(items))
    if all(variant.problem for variant in found):
        raise ConfigError(str(found[-1].problem))
    if found[0].own and found[0].problem:  # it needs what the variants say
        del found[0]
    found.sort(key=lambda variant: (variant.auc is None, -(variant.auc or 0), not variant.own))
    return Trial(found, len(items), len(np.unique(folder.labels[items])))


def variations(
    factory: Callable[..., Any], options: Mapping[str, str]
) -> list[tuple[Options, bool]]:
    """Options of a descriptor's factory to try, and whether they say what `options` do.

    Only options that the factory names are varied. `options` that it names stay in every variant
    where they are not varied; a network for grey images stays one.
    """
    known = {
        name: options.get(name, _text(parameter.default))
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    grey = known.get("colour") == "grey"
    ways: list[list[Options]] = []
    if {"mean", "std"} <= known.keys():
        pairs = [pair for pair in _NORMALISATIONS if not (grey and "," in pair[0])]
        ways.append([{"mean": mean, "std": std} for mean, std in pairs])
    if "colour" in known and not grey:
        ways.append([{"colour": colour} for colour in _COLOURS])
    if "resize" in known:
        ways.append([{"resize": resize} for resize in _FILTERS])
    asked: Options = {}  # what is varied, as the request has it
    for way in ways:
        own = {name: value for name in way[0] if (value := known[name]) is not None}
        if len(own) == len(way[0]) and not any(_alike(own, other) for other in way):
            way.append(own)
        asked |= own
    found = []
    for parts in product(*ways):
        changed = {name: value for part in parts for name, value in part.items()}
        if changed:
            found.append(({**options, **changed}, _alike(changed, asked)))
    return found


def _text(default: object) -> str | None:
    """The default of an option as a user would write it; None: it has none."""
    if isinstance(default, tuple | list):
        return ",".join(map(str, default))
    return default if isinstance(default, str) else None


def _alike(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """The same values, however the numbers are written."""
    return one.keys() == other.keys() and all(
        _value(one[name]) == _value(other[name]) for name in other
    )


def _value(text: str) -> tuple[float, ...] | str:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
    return values[:1] if len(set(values)) == 1 else values  # one for all channels


def _chosen(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Numbers of the pictures to compare: all, or some of identities drawn at random."""
    if len(labels) <= _PICTURES:
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    people = permutation(len(sizes), seed=seed)
    people = people[np.argsort(sizes[people] < 2, kind="stable")]  # those without a pair last
    order = permutation(len(labels), seed=seed)
    found: list[int] = []
    for person in people:
        found += order[labels[order] == person][:_EACH].tolist()
        if len(found) >= _PICTURES:
            break
    return np.sort(np.array(found, dtype=np.int64))
