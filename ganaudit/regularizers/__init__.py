"""What is added to a training against collapse, one idea per file; the loop is given them.

Each is a frozen value with `from_options`, tested without a loop. None knows a network: they are
given functions, and the modules whose buffers a look must leave alone.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ganaudit.errors import ConfigError
from ganaudit.registry import bind
from ganaudit.regularizers.ada import Ada
from ganaudit.regularizers.adaptivemix import AdaptiveMix
from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv
from ganaudit.regularizers.advlatgan_qua import AdvLatGANQua
from ganaudit.regularizers.apa import PseudoAugment
from ganaudit.regularizers.diffaugment import DiffAugment
from ganaudit.regularizers.mode_seeking import ModeSeeking
from ganaudit.regularizers.strength import Strength

REGULARIZERS: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "adaptivemix": AdaptiveMix.from_options,
    "advlatgan-qua": AdvLatGANQua.from_options,
    "advlatgan-div": AdvLatGANDiv.from_options,
    "mode-seeking": ModeSeeking.from_options,
    "diffaugment": DiffAugment.from_options,
    "ada": Ada.from_options,
    "apa": PseudoAugment.from_options,
}
STRENGTH = "augment"  # owner of its settings
AUGMENTS = ("ada", "apa", "diffaugment")  # what `--augment` takes
ADAPTED = ("ada", "apa")  # those that `Strength` says the probability of
_EXCLUSIVE = {
    ("advlatgan-div", "mode-seeking"): "both say which pairs of latents are held apart",
    ("ada", "diffaugment"): "both say how images are changed",
}


@dataclass(frozen=True, kw_only=True)
class Regularizers:
    """Those of one training; None: not asked for.

    Attributes:
      adaptivemix: mixed images, in the discriminator's and the generator's step.
      qua: moved latents, in the discriminator's step.
      pair: a second latent for each, in the generator's step.
      augment: changes of all images that are judged.
      deceit: which real images are replaced by fakes.
      strength: the probability of the changes of ADA and of APA's replacements; None: of neither.
    """

    adaptivemix: AdaptiveMix | None = None
    qua: AdvLatGANQua | None = None
    pair: AdvLatGANDiv | ModeSeeking | None = None
    augment: DiffAugment | Ada | None = None
    deceit: PseudoAugment | None = None
    strength: Strength | None = None

    def by_name(self) -> dict[str, Any]:
        """Those that were asked for, by their keys in `REGULARIZERS`."""
        pair = "mode-seeking" if isinstance(self.pair, ModeSeeking) else "advlatgan-div"
        changes = "ada" if isinstance(self.augment, Ada) else "diffaugment"
        named = {
            "adaptivemix": self.adaptivemix,
            "advlatgan-qua": self.qua,
            pair: self.pair,
            changes: self.augment,
            "apa": self.deceit,
        }
        return {name: one for name, one in named.items() if one is not None}


def parse(names: tuple[str, ...], options: Mapping[str, Mapping[str, str]]) -> Regularizers:
    """The regularisers that were asked for by name.

    Args:
      names: keys of `REGULARIZERS`.
      options: `--set` texts by regulariser, and those of `STRENGTH`; what is not asked for is not
        looked at.

    Raises:
      ConfigError: an unknown name, one twice, two that say what a pair is, or an option that
        cannot be.
    """
    for name in names:
        if name not in REGULARIZERS:
            close = difflib.get_close_matches(name, REGULARIZERS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"--reg must be one of {', '.join(REGULARIZERS)}; got {name!r:.80}{hint}"
            )
        if names.count(name) > 1:
            raise ConfigError(f"--reg {name} is given twice")
    for both, why in _EXCLUSIVE.items():
        if all(name in names for name in both):
            option = "--augment" if set(both) <= set(AUGMENTS) else "--reg"
            raise ConfigError(
                f"{' and '.join(f'{option} {name}' for name in both)} exclude each other: {why}"
            )
    made = {name: REGULARIZERS[name](options.get(name, {})) for name in names}
    return Regularizers(
        adaptivemix=made.get("adaptivemix"),
        qua=made.get("advlatgan-qua"),
        pair=made.get("advlatgan-div") or made.get("mode-seeking"),
        augment=made.get("ada") or made.get("diffaugment"),
        deceit=made.get("apa"),
        strength=_strength(options.get(STRENGTH, {})) if set(names) & set(ADAPTED) else None,
    )


def _strength(options: Mapping[str, str]) -> Strength:
    return Strength(**bind(Strength, options, what="--augment ada or apa"))
