"""How often images are changed or replaced: a probability that follows how sure D is of real ones.

r = E[sign(D(x))] over real images, mixed or not, as the adversarial loss sees them. Above the
target the discriminator knows its data by heart: the probability rises; below it falls.

References:
  Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, section
  3.1 (r_t); Jiang et al., "Deceive D: Adaptive Pseudo Augmentation", NeurIPS 2021. Deviation: the
  released codes bound p below alone; here it is a probability, in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ganaudit.regularizers.bounds import check_number

Numbers = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """What `--set augment.KEY=VALUE` says, of ADA and APA alike.

    Attributes:
      p: a fixed probability; None: it starts at 0 and is adapted.
      target: of r.
      interval: steps between two changes of p.
      kimg: thousands of images in which p could go from 0 to 1.
    """

    p: float | None = None
    target: float = 0.6
    interval: int = 4
    kimg: float = 500.0

    def __post_init__(self) -> None:
        if self.p is not None:
            check_number("augment.p", self.p, 0, 1)
        check_number("augment.target", self.target, -1, 1)
        check_number("augment.interval", self.interval, 1, 1000)
        check_number("augment.kimg", self.kimg, 1e-3, 1e6)

    def numbers(self) -> Numbers:
        """What a training keeps of it: p; adapted, also the signs since p was changed."""
        found = {"strength": torch.tensor(self.p or 0.0, dtype=torch.float64)}
        if self.p is None:
            found |= {"signs": torch.zeros(()), "judged": torch.zeros(())}
        return found

    def adapt(
        self,
        numbers: Numbers,
        taken: int,
        *,
        shown: int,
        summed: Callable[[Tensor], Tensor],
    ) -> Numbers:
        """Change p where it is due, in place; what a log shows.

        Args:
          numbers: those of `numbers()`.
          taken: steps that were taken.
          shown: real images of a step, on all devices.
          summed: a number of this device to the sum over all.
        """
        if self.p is not None or taken % self.interval:
            return {"augment_p": numbers["strength"].float()}
        sure = float(summed(numbers["signs"])) / max(1.0, float(summed(numbers["judged"])))
        numbers["signs"].zero_()
        numbers["judged"].zero_()
        sign = (sure > self.target) - (sure < self.target)
        change = shown * self.interval / (self.kimg * 1000)
        numbers["strength"].add_(sign * change).clamp_(0, 1)
        return {"augment_p": numbers["strength"].float(), "real_sign": torch.tensor(sure)}
