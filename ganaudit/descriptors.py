"""What turns an image into an identity: a descriptor, its card and its preprocessing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch

from ganaudit import registry
from ganaudit.errors import ConfigError, DescriptorError, PluginError

Resize = Literal["nearest", "bilinear", "bicubic"]
Colour = Literal["rgb", "bgr", "grey"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
ROW_DISTANCE = 1e-3  # fraction of pi between an image's rows alone and among others: kernels differ
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How uint8 images become the input of a network.

    Attributes:
      size: (height, width) in pixels; the whole image is stretched to it.
      mean: of RGB (or of grey: one value) on [0, 1], subtracted.
      std: likewise, divided by.
      resize: the filter; bilinear and bicubic are antialiased as Pillow's are.
      colour: order of the channels the network wants; "grey": one channel (BT.601 luma).
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "bicubic"
    colour: Colour = "rgb"

    def __post_init__(self) -> None:
        channels = (1,) if self.colour == "grey" else (1, 3)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in channels:
                wanted = " or ".join(map(str, channels))
                raise ConfigError(f"descriptor.{name} wants {wanted} values, got {len(values)}")
        if not all(value > 0 for value in self.std):
            raise ConfigError(f"descriptor.std must be positive, got {self.std}")
        if len(self.size) != 2 or not all(0 < side <= 8192 for side in self.size):
            raise ConfigError(f"descriptor.size must be 1 to 8192 pixels, got {self.size}")
        for option, value, known in (
            ("resize", self.resize, get_args(Resize)),
            ("colour", self.colour, get_args(Colour)),
        ):
            if value not in known:
                raise ConfigError(f"descriptor.{option} must be {', '.join(known)}, got {value!r}")

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W] to float32 [N, C, *size], C = 1 for grey and 3 otherwise."""
        pixels = images.to(torch.float32)
        if self.colour == "grey":
            luma = pixels.new_tensor(_LUMA).view(1, 3, 1, 1)
            pixels = (pixels * luma).sum(1, keepdim=True)
        if pixels.shape[2:] != self.size:
            smooth = self.resize != "nearest"
            pixels = torch.nn.functional.interpolate(
                pixels,
                size=self.size,
                mode=self.resize if smooth else "nearest-exact",
                antialias=smooth,
            ).clamp_(0, 255)
        mean = pixels.new_tensor(self.mean).view(1, -1, 1, 1)
        std = pixels.new_tensor(self.std).view(1, -1, 1, 1)
        pixels = pixels.div(255).sub_(mean).div_(std)
        return pixels.flip(1) if self.colour == "bgr" else pixels


@dataclass(frozen=True, kw_only=True)
class DescriptorCard:
    """What is known of a descriptor, and from where. A hash is recorded when seen, never invented.

    Attributes:
      name: how to name it on the command line.
      weights_sha256: of the weights file as it was read.
      licence: of the weights; None: not known.
      preprocessing: None: the descriptor has its own.
      settings: JSON values; whatever else decides a row (a detector's thresholds).
      theta: recommended reach of the similarity, fraction of pi; None: not measured.
      radius: recommended radius of a neighbourhood, fraction of pi; None: not measured.
      origin: how theta and radius were measured; None: they were not.
    """

    name: str
    weights_sha256: str
    licence: str | None = None
    preprocessing: Preprocessing | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    theta: float | None = None
    radius: float | None = None
    origin: str | None = None

    def identity(self) -> dict[str, Any]:
        """What decides the bytes of a row: pinned in a run's manifest."""
        from dataclasses import asdict

        steps = None if self.preprocessing is None else asdict(self.preprocessing)
        pinned = {"name": self.name, "sha256": self.weights_sha256, "preprocessing": steps}
        return pinned | ({"settings": dict(self.settings)} if self.settings else {})


@runtime_checkable
class Descriptor(Protocol):
    """Images to unit vectors, of which the angle says how alike two identities are."""

    card: DescriptorCard

    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [N, 3, H, W] to rows [N, D] float32 of length 1 and valid [N] bool.

        Row i depends on image i alone. A row that is not valid (no face) may hold anything.
        """
        ...


def unit_rows(raw: torch.Tensor) -> torch.Tensor:
    """[N, D] embeddings of any length to float32 rows of length 1.

    Raises:
      DescriptorError: a row is zero, NaN or infinite; it has no direction.
    """
    rows = raw.to(torch.float32)
    norms = torch.linalg.vector_norm(rows.to(torch.float64), dim=1, keepdim=True)  # [N, 1]
    bad = ~(torch.isfinite(norms) & (norms > 0)).squeeze(1)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        what = "zero" if float(norms[first]) == 0 else "not finite"
        raise DescriptorError(
            f"the descriptor returned a row that is {what} ({int(bad.sum())} of {len(rows)}): "
            "it does not describe these images; check its weights and preprocessing"
        )
    return torch.div(rows, norms).to(torch.float32)


def check_rows(rows: torch.Tensor, valid: torch.Tensor, count: int) -> None:
    """Refuse what a descriptor returned if it breaks its contract.

    Raises:
      DescriptorError: wrong shapes or dtypes, or a valid row that is not finite and of length 1.
    """
    if rows.ndim != 2 or len(rows) != count or rows.dtype != torch.float32:
        raise DescriptorError(
            f"the descriptor must return float32 [{count}, D], got {rows.dtype} {list(rows.shape)}"
        )
    if valid.shape != (count,) or valid.dtype != torch.bool:
        raise DescriptorError(
            f"the descriptor must return valid as bool [{count}], "
            f"got {valid.dtype} {list(valid.shape)}"
        )
    norms = torch.linalg.vector_norm(rows[valid], dim=1)
    if bool(((norms - 1).abs() <= _NORM_TOLERANCE).logical_not().any()):
        raise DescriptorError(
            "the descriptor returned a row that is zero, NaN or not of length 1; "
            "rows must be divided by their norm"
        )


def open_descriptor(
    spec: str, options: Mapping[str, str], *, device: str, trust: bool, files: Sequence[str]
) -> tuple[Descriptor, str]:
    """The descriptor that `spec` names, and its plugin's name.

    Raises:
      ConfigError: it cannot be opened, or an option is wrong.
    """
    descriptor, name, _ = registry.open_plugin(
        "descriptors", spec, options, device=torch.device(device), trust=trust, files=files
    )
    if not isinstance(descriptor, Descriptor):
        raise PluginError(f"the descriptor {name!r} returned {type(descriptor).__name__}")
    return descriptor, name
