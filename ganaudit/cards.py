"""card.json: what was measured of a descriptor, and which one it was."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganaudit.config import MIN_REACH
from ganaudit.descriptors import DescriptorCard, Preprocessing
from ganaudit.errors import ConfigError
from ganaudit.files import write_output

NAME = "card.json"
_FORMAT, _KIND = 1, "descriptor card"
_MOST_BYTES = 2**20

_ON_THE_CARD = {"weights", "size", "mean", "std", "resize", "colour"}  # of the descriptor itself

Figure = Mapping[str, float | None]  # estimate, low and high; None: not known


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """What `ganaudit threshold` found out about a descriptor.

    Attributes:
      descriptor: how it was named on the command line.
      options: of it, as they were given.
      name: by its own card.
      weights_sha256: likewise.
      licence: of the weights; None: not known.
      preprocessing: None: the descriptor has its own.
      settings: JSON values; whatever else decides a row.
      figures: "theta", "radius", "auc" and "eer" with the ends of their 95 % intervals.
      fmr: false-match rate at the radius.
      identities: how many there were.
      images: how many of them were embedded.
      listing_sha256: of the names and sizes of all pictures.
      versions: of what computed it.
    """

    descriptor: str
    options: Mapping[str, str]
    name: str
    weights_sha256: str
    licence: str | None
    preprocessing: Preprocessing | None
    settings: Mapping[str, Any]
    figures: Mapping[str, Figure]
    fmr: float
    identities: int
    images: int
    listing_sha256: str
    versions: Mapping[str, str]

    @property
    def theta(self) -> float | None:
        """Distance at the equal error rate, fraction of pi; None: not measured."""
        return self.figures["theta"]["estimate"]

    @property
    def radius(self) -> float | None:
        """Distance at the false-match rate, fraction of pi; None: not measured."""
        return self.figures["radius"]["estimate"]

    def origin(self) -> str:
        """How theta and radius were measured."""
        return (
            f"measured on {self.images:,} images of {self.identities:,} identities: theta at the "
            f"equal error rate, radius at a false-match rate of {self.fmr:g}"
        )

    def check(self, card: DescriptorCard) -> None:
        """Refuse another descriptor than the one that was measured.

        Raises:
          ConfigError: its weights, preprocessing or settings differ; the first difference is named.
        """
        found, wanted = _decisive(self), _decisive(card)
        for name in sorted(
            found.keys() | wanted.keys(), key=lambda name: (name != "weights", name)
        ):
            if found.get(name) != wanted.get(name):
                raise ConfigError(
                    f"the card was measured with {name} {_short(found.get(name))}, the descriptor "
                    f"{card.name} has {_short(wanted.get(name))}: theta and radius do not hold for "
                    "it; measure them with ganaudit threshold"
                )

    def check_options(self, options: Mapping[str, str]) -> None:
        """Refuse options of the descriptor that are not those of the measurement.

        What its own card says (weights, preprocessing) is held against that by `check`.

        Raises:
          ConfigError: an option differs.
        """
        for name in sorted(options.keys() - _ON_THE_CARD):
            if options[name] != self.options.get(name):
                measured = self.options.get(name, "its default")
                raise ConfigError(
                    f"--set descriptor.{name}={options[name]}: the card was measured with "
                    f"{measured}; measure again with ganaudit threshold"
                )

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self)
        figures = {name: dict(figure) for name, figure in values.pop("figures").items()}
        return {"format": _FORMAT, "kind": _KIND} | values | figures


def _decisive(card: CardFile | DescriptorCard) -> dict[str, Any]:
    """What decides a row, by a name for sentences, as JSON values."""
    steps = {} if card.preprocessing is None else asdict(card.preprocessing)
    found = {f"descriptor.{name}": value for name, value in steps.items()}
    settings = {f"setting {name}": value for name, value in card.settings.items()}
    decisive: dict[str, Any] = json.loads(
        json.dumps({"weights": card.weights_sha256} | found | settings)
    )
    return decisive


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def write_card(path: Path, card: CardFile) -> None:
    """Write a card that `read_card` reads, whole or not at all.

    Raises:
      ConfigError: the descriptor says things of itself that no card can hold.
      GanauditError: the file cannot be written.
    """
    text = json.dumps(card.document(), indent=2, ensure_ascii=False) + "\n"
    data = text.encode(errors="replace")
    _parsed(data, path)
    write_output(path, data)


def read_card(path: Path) -> CardFile:
    """Read a card that anybody may have written.

    Raises:
      ConfigError: no such file, no card, a card of another format, or values that cannot be.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"--descriptor-card {path}: no such file")
        with path.open("rb") as file:
            return _parsed(file.read(_MOST_BYTES + 1), path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _parsed(data: bytes, path: Path) -> CardFile:
    """The card in `data`; `path` is for the sentences."""
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: it is no card")
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise ConfigError(f"{path} is no descriptor card; ganaudit threshold writes one")
    if found.get("format") != _FORMAT:
        raise ConfigError(
            f"{path} has format {found.get('format')!r:.20}, wanted {_FORMAT}; measure the "
            "descriptor again with ganaudit threshold"
        )
    values = {}
    for name, (what, accepts) in _FIELDS.items():
        if name not in found or not accepts(found[name]):
            raise ConfigError(f"{path}: {name} must be {what}")
        values[name] = found[name]
    figures = {name: values.pop(name) for name in _FIGURES}
    try:
        steps = _steps(values.pop("preprocessing"))
    except (ConfigError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: preprocessing cannot be that of a descriptor") from error
    return CardFile(**values, figures=figures, preprocessing=steps)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _steps(value: Mapping[str, Any] | None) -> Preprocessing | None:
    if value is None:
        return None
    lists = {name: tuple(value[name]) for name in ("size", "mean", "std")}
    if not all(type(side) is int for side in lists["size"]):
        raise TypeError("size")
    if not all(_is_number(x, -1e6, 1e6) for x in (*lists["mean"], *lists["std"])):
        raise TypeError("mean or std")
    return Preprocessing(**{**value, **lists})


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= 4096


def _is_count(value: Any) -> bool:
    return type(value) is int and 2 <= value <= 10**12


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(text) for pair in value.items() for text in pair
    )


def _is_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(key) and len(key) <= 80 for key in value)


def _is_hash(value: Any) -> bool:
    return _is_text(value) and len(value) <= 128


def _is_share(value: Any) -> bool:
    """An estimate in [0, 1] between its ends, each of them or all not known."""
    if not isinstance(value, dict) or value.keys() != {"estimate", "low", "high"}:
        return False
    known = [end for end in value.values() if end is not None]
    low, high = value["low"], value["high"]
    ordered = [end for end in (low, value["estimate"], high) if end is not None]
    return all(_is_number(end, 0, 1) for end in known) and ordered == sorted(ordered)


def _is_reach(value: Any) -> bool:
    return _is_share(value) and (value["estimate"] is None or value["estimate"] >= MIN_REACH)


_FIGURES = ("theta", "radius", "auc", "eer")
_REACH = "an estimate in (0, 1], or null, with its ends low and high", _is_reach
_SHARE = "an estimate in [0, 1] with its ends low and high", _is_share
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "descriptor": ("a text", _is_text),
    "options": ("texts by name", _is_texts),
    "name": ("a text", _is_text),
    "weights_sha256": ("a hash", _is_hash),
    "licence": ("a text or null", lambda value: value is None or _is_text(value)),
    "preprocessing": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "settings": ("an object with short names", _is_settings),
    "theta": _REACH,
    "radius": _REACH,
    "fmr": ("a rate in [0, 1]", lambda value: _is_number(value, 0, 1)),
    "auc": _SHARE,
    "eer": _SHARE,
    "identities": ("a count of 2 or more", _is_count),
    "images": ("a count of 2 or more", _is_count),
    "listing_sha256": ("a hash", _is_hash),
    "versions": ("texts by name", _is_texts),
}
