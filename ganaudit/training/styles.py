"""What only StyleGAN2 has in training: `--set styles.KEY=VALUE`."""

from dataclasses import dataclass

from ganaudit.regularizers.bounds import check_number


@dataclass(frozen=True, kw_only=True)
class Styles:
    """Style mixing, path lengths, and the average of styles.

    Attributes:
      mixing: share of batches whose later styles are those of other latents.
      path_length: weight of the penalty on path lengths; 0: there is none.
      path_every: it has an update of its own after every so many steps of the generator, and is so
        many times as strong.
      path_shrink: it looks at a batch divided by this.
      path_decay: share by which the mean length follows that of a batch.
      average_decay: of the running average of styles.

    References:
      Karras et al., 2019, section 3.1 (mixing); Karras et al., CVPR 2020, sections 3.2 and 4.1 and
      appendix B.
    """

    mixing: float = 0.9
    path_length: float = 2.0
    path_every: int = 4
    path_shrink: int = 2
    path_decay: float = 0.01
    average_decay: float = 0.995

    def __post_init__(self) -> None:
        for name, low, high in (
            ("mixing", 0, 1),
            ("path_length", 0, 1e6),
            ("path_every", 1, 1000),
            ("path_shrink", 1, 1000),
            ("path_decay", 1e-6, 1),
            ("average_decay", 0, 0.999999),
        ):
            check_number(f"styles.{name}", getattr(self, name), low, high)
