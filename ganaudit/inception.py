"""Fréchet and kernel distance in torch-fidelity's Inception, where its weights are at hand.

The features that published FIDs are in. Nothing is downloaded: the weights are a file that somebody
names, or lie where torch-fidelity itself once put them. The distances say how far images as a
whole moved, not whether a mode is too dense.
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganaudit.checkpoints.state_dicts import check, fill, read_state_dict
from ganaudit.errors import ConfigError, PluginError
from ganaudit.fidelity import block_of, frechet_distance, kernel_distance
from ganaudit.files import is_file
from ganaudit.maker import Maker
from ganaudit.runner import Progress, silent
from ganaudit.slots import Stream

FILE = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity's cache has it
WIDTH = 2048  # of its last pooled features
_NAME = "torch-fidelity's Inception"


def available(weights: Path | None) -> Path | None:
    """The file of the weights, held against the network; None: nobody named one, and there is none.

    Args:
      weights: a file of torch-fidelity's weights; None: its cache is looked into, if it is
        installed.

    Raises:
      PluginError: a file is named, and torch-fidelity is not installed.
      ConfigError: there is no such file, or it is of another network.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    if weights is not None and not is_file(weights):
        raise ConfigError(
            f"no such file: {weights}; --inception names the weights of {_NAME}, {FILE}"
        )
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not is_file(path):
        return None
    try:
        network = _network()
    except PluginError:
        if weights is None:
            return None
        raise
    check(network, read_state_dict(path), network=_NAME)
    return path


class Inception:
    """Images to the 2,048 pooled features before the classifier, as torch-fidelity computes them.

    Attributes:
      sha256: of the weights, hexadecimal.
    """

    def __init__(self, weights: Path, *, device: torch.device | str) -> None:
        """Read the weights, executing nothing of their file.

        Args:
          weights: a state dict of torch-fidelity's network.
          device: where images are embedded.

        Raises:
          PluginError: torch-fidelity is not installed.
          ConfigError: no such file, or it is of another network.
          UnsafeCheckpoint: reading the file would mean running it.
        """
        state, network = read_state_dict(weights), _network()
        fill(network, state, network=_NAME)
        self.sha256 = state.sha256
        self._network = network.to(device)
        self._device = torch.device(device)

    def features(self, images: Tensor) -> NDArray[np.float32]:
        """Raw features [N, 2048] float32 >= 0, not unit, of uint8 [N, 3, H, W] on any device.

        Images of any size are stretched to 299 x 299 as the network's authors did it. All N go
        through at once; a row does not depend on its batch mates but for rounding.
        """
        with torch.inference_mode():
            (found,) = self._network(images.to(self._device))
        rows: NDArray[np.float32] = found.cpu().numpy()
        return rows


def _network() -> nn.Module:
    """torch-fidelity's network on the meta device, still without weights.

    Its constructor would unpickle its weights, whatever they ask for, or download them; so it is
    given an empty state dict of ours, and none is missed.

    Raises:
      PluginError: torch-fidelity is not installed.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise PluginError(
            f"{_NAME} needs the package torch-fidelity: pip install torch-fidelity"
        ) from error

    class Unfilled(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(
            self, state_dict: dict[str, Tensor], strict: bool = True, assign: bool = False
        ) -> Any:
            return super().load_state_dict(
                state_dict, strict=strict and bool(state_dict), assign=assign
            )

    empty = BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):
        network: nn.Module = Unfilled("inception", ["2048"], feature_extractor_weights_path=empty)
    return network


def distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, Any]:
    """Fréchet and kernel distance of raw features, as many of each.

    Those of `ganaudit.fidelity`, here of rows that are not unit: the squared 2-Wasserstein distance
    of the Gaussians with the moments of both (FID), and the unbiased squared maximum mean
    discrepancy under (x.y / D + 1)^3 on raw features (KID), over disjoint blocks of 1,000 rows or,
    of fewer than 16,000, of a sixteenth of them but at least 50.

    Args:
      one: [N, D] float32 in random order.
      other: [M, D] likewise; min(N, M) >= 2, and what one has more than the other is left out.

    Returns:
      JSON values: "frechet_distance" >= 0, biased upwards at finite "rows", the rows of either
      side: compare at equal numbers only; and "kernel_distance" with its interval over blocks.

    Raises:
      ValueError: wrong rank or type, differing D, a value that is not finite, fewer than 2 rows.
    """
    count = min(len(one), len(other))
    pair = one[:count], other[:count]
    kernel = kernel_distance(*pair, block=block_of(count), unit=False)
    return {
        "frechet_distance": frechet_distance(*pair, unit=False),
        "kernel_distance": kernel.figures(),
        "rows": count,
    }


def compare(
    *,
    weights: Path | None,
    makers: tuple[Maker, Maker, Maker],
    slots: int,
    device: torch.device | str,
    batch: int = 50,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """How far a generator's images are from uncalibrated ones, behind a calibrator and without.

    Without it two independent samples of one generator are compared: what there is by chance.
    All images count, also those that the audit's descriptor finds nothing in.

    Args:
      weights: as `available` has them.
      makers: of the run that the calibrator was fitted on, and of the audits before and after.
      slots: sample slots [0, slots) of each are rendered again; 10,000 take 82 MB a side.
      device: where they are embedded.
      batch: images embedded at once.
      progress: told ("inception fit" and so on, images embedded, slots).

    Returns:
      JSON values: "weights_sha256", "slots", and the `distances` "to_uncalibrated" (fit, after)
      and "noise" (fit, before), of equal numbers of rows. None: there are no weights, or images
      cannot be had again, as from a service.

    Raises:
      PluginError: torch-fidelity is not installed.
      ConfigError: the weights are gone, or of another network.
      SourceTimeout: the generator hung several times in a row.
    """
    if weights is None or any(maker.asks_a_service for maker in makers):
        return None
    network = Inception(weights, device=device)
    sides = []
    for name, maker in zip(("fit", "before", "after"), makers, strict=True):
        rows = _features(network, maker, slots, batch, partial(progress, f"inception {name}"))
        if len(rows) < 2:
            return None
        sides.append(rows)
    least = min(map(len, sides))
    fit, before, after = (side[:least] for side in sides)
    return {
        "weights_sha256": network.sha256,
        "slots": slots,
        "to_uncalibrated": distances(fit, after),
        "noise": distances(fit, before),
    }


def _features(
    network: Inception, maker: Maker, slots: int, batch: int, told: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Features [<= slots, 2048] of the sample slots that have an image, in their order."""
    parts, done = [np.empty((0, WIDTH), dtype=np.float32)], 0
    images = (image for _, image in maker.images(Stream.SAMPLES, np.arange(slots)))
    for _, alike in groupby(images, key=lambda image: image.shape):
        while some := list(islice(alike, batch)):
            parts.append(network.features(torch.stack(some)))
            done += len(some)
            told(done, slots)
    told(slots, slots)
    return np.concatenate(parts)
