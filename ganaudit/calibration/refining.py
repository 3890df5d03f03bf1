"""Which way latents are moved towards what a discriminator takes for real: the settings of it.

The steps themselves, which need torch, are in `advlatgan_z`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from ganaudit.calibration.latents import Space

Attack = Literal["i-fgsm", "pgd", "mi-fgsm"]
MOST_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class LatentRefiner:
    """Every latent is moved before it is rendered.

    Attributes:
      space: where the latents live.
      attack: i-fgsm, sign steps from the draw itself (the paper's); pgd, the same from a random
        point of the ball; mi-fgsm, signs of a gradient with momentum.
      step: size of a step in every coordinate, > 0.
      steps: how many.
      ball: no coordinate moves further than this from its draw; None: steps * step, which no
        sequence of steps leaves.
      momentum: of mi-fgsm.
      discriminator: {"spec", "options", "identity"} of the network that judges.
      attempts: 1: every latent is taken.
    """

    space: Space
    attack: Attack
    step: float
    steps: int
    ball: float | None
    momentum: float
    discriminator: Mapping[str, Any]
    attempts: int = 1

    def settings(self) -> Mapping[str, Any]:
        """JSON values that, with `space`, make the same refiner."""
        return {
            "attack": self.attack,
            "step": self.step,
            "steps": self.steps,
            "ball": self.ball,
            "momentum": self.momentum,
            "discriminator": dict(self.discriminator),
        }

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """It has none."""
        return {}

    @classmethod
    def restore(
        cls,
        space: Space | None,
        attempts: int,
        settings: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
    ) -> "LatentRefiner":
        """The refiner that a file holds.

        Raises:
          ValueError: a value cannot be.
          KeyError: one is missing.
        """
        found = {key: settings[key] for key in ("attack", "step", "steps", "ball", "momentum")}
        judge = settings["discriminator"]
        if space is None:
            raise ValueError("a refiner moves latents, and the file names none")
        if found["attack"] not in get_args(Attack):
            raise ValueError(f"attack must be one of {', '.join(get_args(Attack))}")
        if type(found["steps"]) is not int or not 1 <= found["steps"] <= MOST_STEPS:
            raise ValueError(f"steps must be in [1, {MOST_STEPS}]")
        for key in ("step", "ball", "momentum"):
            value = found[key]
            if key == "ball" and value is None:
                continue
            if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{key} must be a number >= 0")
        if not isinstance(judge, dict) or not isinstance(judge.get("spec"), str):
            raise ValueError("the discriminator must be named")
        if not isinstance(judge.get("options"), dict) or not isinstance(
            judge.get("identity"), dict
        ):
            raise ValueError("the discriminator must have options and an identity")
        if not all(isinstance(value, str) for value in judge["options"].values()):
            raise ValueError("options of the discriminator must be texts")
        return cls(space=space, discriminator=judge, **found)
