"""What is added to a training against collapse, one idea per file; the loop is given them.

Each is a frozen value with `from_options`, tested without a loop. None knows a network: they are
given functions, and the modules whose buffers a look must leave alone.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ganaudit.errors import ConfigError
from ganaudit.regularizers.adaptivemix import AdaptiveMix
from ganaudit.regularizers.advlatgan_div import AdvLatGANDiv
from ganaudit.regularizers.advlatgan_qua import AdvLatGANQua
from ganaudit.regularizers.diffaugment import DiffAugment
from ganaudit.regularizers.mode_seeking import ModeSeeking

REGULARIZERS: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "adaptivemix": AdaptiveMix.from_options,
    "advlatgan-qua": AdvLatGANQua.from_options,
    "advlatgan-div": AdvLatGANDiv.from_options,
    "mode-seeking": ModeSeeking.from_options,
    "diffaugment": DiffAugment.from_options,
}
_PAIRS = ("advlatgan-div", "mode-seeking")


@dataclass(frozen=True, kw_only=True)
class Regularizers:
    """Those of one training; None: not asked for.

    Attributes:
      adaptivemix: mixed images, in the discriminator's and the generator's step.
      qua: moved latents, in the discriminator's step.
      pair: a second latent for each, in the generator's step.
      augment: changes of all images that are judged.
    """

    adaptivemix: AdaptiveMix | None = None
    qua: AdvLatGANQua | None = None
    pair: AdvLatGANDiv | ModeSeeking | None = None
    augment: DiffAugment | None = None

    def by_name(self) -> dict[str, Any]:
        """Those that were asked for, by their keys in `REGULARIZERS`."""
        pair = "mode-seeking" if isinstance(self.pair, ModeSeeking) else "advlatgan-div"
        named = {
            "adaptivemix": self.adaptivemix,
            "advlatgan-qua": self.qua,
            pair: self.pair,
            "diffaugment": self.augment,
        }
        return {name: one for name, one in named.items() if one is not None}


def parse(names: tuple[str, ...], options: Mapping[str, Mapping[str, str]]) -> Regularizers:
    """The regularisers that were asked for by name.

    Args:
      names: keys of `REGULARIZERS`.
      options: `--set` texts by regulariser; what is not asked for is not looked at.

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
    if all(name in names for name in _PAIRS):
        raise ConfigError(
            f"--reg {' and --reg '.join(_PAIRS)} exclude each other: both say which pairs of "
            "latents are held apart"
        )
    made = {name: REGULARIZERS[name](options.get(name, {})) for name in names}
    return Regularizers(
        adaptivemix=made.get("adaptivemix"),
        qua=made.get("advlatgan-qua"),
        pair=made.get("advlatgan-div") or made.get("mode-seeking"),
        augment=made.get("diffaugment"),
    )
