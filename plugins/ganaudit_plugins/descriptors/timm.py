"""`timm:NAME`: a network of timm with its pooled features, for images that are no faces."""

import difflib
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.state_dicts import fill, read_state_dict
from ganaudit.descriptors import Colour, DescriptorCard, Preprocessing, Resize, unit_rows
from ganaudit.errors import ConfigError, one_line

_FILES = ("model.safetensors", "pytorch_model.bin")  # in a repository of the Hugging Face hub
_IMAGES = 256  # described in one piece


class TimmDescriptor:
    """Images to unit rows of the features before the classifier, every one valid."""

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        device: torch.device,
        name: str,
        sha256: str,
        licence: str | None,
    ) -> None:
        """Try the network on one black image.

        Raises:
          ConfigError: it cannot take images of this size, or its features are not one row each.
        """
        self._network = network.to(device)
        self._device = device
        self._preprocessing = preprocessing
        self.card = DescriptorCard(
            name=name,
            weights_sha256=sha256,
            licence=licence,
            preprocessing=preprocessing,
            settings={
                "features": "pooled, before the classifier",
                "resizing": "the whole image is stretched; timm's crop_pct is not used",
            },
        )
        black = torch.zeros(1, 3, *preprocessing.size, dtype=torch.uint8, device=device)
        try:
            features = self._network(preprocessing.apply(black))
        except Exception as error:  # of whatever a network of timm trips over
            height, width = preprocessing.size
            raise ConfigError(
                f"{name} cannot take images of {height} x {width} pixels ({one_line(error)}); "
                "leave descriptor.size out"
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 2 or not features.shape[1]:
            raise ConfigError(f"{name} makes no pooled features; choose another network of timm")

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows, all of them valid."""
        parts = [
            self._network(self._preprocessing.apply(part))
            for part in images.to(self._device).split(_IMAGES)
        ]
        rows = unit_rows(torch.cat(parts))
        return rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device)


def open_timm(
    target: str,
    *,
    device: torch.device,
    weights: Path | None = None,
    size: tuple[int, ...] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    resize: Resize | None = None,
    colour: Colour = "rgb",
) -> TimmDescriptor:
    """Open a network of timm with weights that are on this machine.

    What an option leaves open comes from the network's own configuration. The whole image is
    stretched to its size; nothing is cropped. Theta and radius were not measured.

    Args:
      target: name of a network, with or without its training: resnet50 or resnet50.a1_in1k.
      device: of the network.
      weights: a state dict or safetensors; else the cache of the Hugging Face hub is looked into.
      size: height,width in pixels, or one number for a square.
      mean: of RGB on [0, 1]; one value for all channels, or three.
      std: likewise.
      resize: filter.
      colour: rgb, bgr or grey.

    Raises:
      ConfigError: timm is not installed, knows no such network, or there are no weights that fit.
      UnsafeCheckpoint: reading the weights would mean running them.
    """
    timm = _timm()
    facts = _facts(timm, target)
    preprocessing = _preprocessing(facts, size, mean, std, resize, colour)
    path = weights or _cached(target, facts)
    network, sha256 = _load(timm, target, path, channels=1 if colour == "grey" else 3)
    ours = weights is None
    return TimmDescriptor(
        network,
        preprocessing,
        device=device,
        name=f"timm:{_full_name(facts) if ours else target}",
        sha256=sha256,
        licence=facts.get("license") if ours else None,
    )


def fetch(target: str) -> Path:
    """Download the weights from the Hugging Face hub into its cache.

    Raises:
      ConfigError: timm is not installed, knows no such weights, they do not fit the network, or
        the download failed.
    """
    timm = _timm()
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    facts = _facts(timm, target)
    repository, revision = _repository(target, facts)
    for name in _files(facts):
        try:
            path = Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
        except Exception as error:  # of the network, the server or the disk
            if isinstance(error, EntryNotFoundError) and not isinstance(error, FileNotFoundError):
                continue  # the hub has no such file; offline it would be a FileNotFoundError
            raise ConfigError(
                f"{name} of {repository} could not be fetched ({one_line(error)}); download it "
                f"from https://huggingface.co/{repository} and say --set descriptor.weights=FILE"
            ) from error
        _load(timm, target, path, channels=3)
        return path
    raise ConfigError(f"{repository} holds none of {', '.join(_files(facts))}")


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            "the descriptor timm needs the package timm: pip install 'ganaudit[timm]'"
        ) from error
    return timm


def _facts(timm: Any, target: str) -> dict[str, Any]:
    """What timm knows of a network and its weights. Nothing is built or asked for."""
    try:
        found = timm.models.get_pretrained_cfg(target, allow_unregistered=False)
        return {"architecture": target.partition(".")[0], **found.to_dict()}
    except RuntimeError:  # no such network, or not with this training
        pass
    names = [*timm.list_models(), *timm.list_models(pretrained=True)]
    near = difflib.get_close_matches(target, names, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"timm knows no network {target!r:.80}{hint}")


def _full_name(facts: dict[str, Any]) -> str:
    tag = facts.get("tag")
    return f"{facts['architecture']}.{tag}" if tag else str(facts["architecture"])


def _preprocessing(
    facts: dict[str, Any],
    size: tuple[int, ...] | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    resize: Resize | None,
    colour: Colour,
) -> Preprocessing:
    size = size or tuple(facts["input_size"][1:])
    if len(size) > 2:
        raise ConfigError(f"descriptor.size wants one or two numbers, got {len(size)}")
    kind = resize or facts["interpolation"]
    if kind not in get_args(Resize):
        raise ConfigError(
            f"the network was trained with the filter {kind!r}; choose one with "
            f"--set descriptor.resize={'|'.join(get_args(Resize))}"
        )
    return Preprocessing(
        size=(size[0], size[-1]),
        mean=mean or tuple(facts["mean"]),
        std=std or tuple(facts["std"]),
        resize=kind,
        colour=colour,
    )


def _load(timm: Any, target: str, path: Path, *, channels: int) -> tuple[nn.Module, str]:
    """The network without its classifier, and the hash of its weights.

    A classifier in the file is dropped: whatever only the network with its classifier has.
    """
    state = read_state_dict(path)
    try:
        with torch.device("meta"):
            whole = timm.create_model(target, pretrained=False)
        network: nn.Module = timm.create_model(
            target, pretrained=False, num_classes=0, in_chans=channels
        )
    except Exception as error:  # some networks of timm take no such arguments
        raise ConfigError(f"timm cannot build {target} ({one_line(error)})") from error
    classifier = set(whole.state_dict())
    fill(network, state, network=f"timm:{target}", unused=lambda name: name in classifier)
    return network, state.sha256


def _files(facts: dict[str, Any]) -> tuple[str, ...]:
    own = facts.get("hf_hub_filename")
    return (own,) if own else _FILES


def _repository(target: str, facts: dict[str, Any]) -> tuple[str, str | None]:
    """Where on the hub the weights are, and in which revision."""
    repository, _, revision = str(facts.get("hf_hub_id") or "").partition("@")
    if not repository:
        raise ConfigError(
            f"timm knows no weights for {target} on the Hugging Face hub; name them with "
            "--set descriptor.weights=FILE"
        )
    return repository, revision or None


def _cached(target: str, facts: dict[str, Any]) -> Path:
    """The weights in the cache of the hub; nothing is downloaded."""
    from huggingface_hub import constants, try_to_load_from_cache

    repository, revision = _repository(target, facts)
    for name in _files(facts):
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    raise ConfigError(
        f"timm:{target} needs its weights: name them with --set descriptor.weights=FILE, put those "
        f"of {repository} into the cache {constants.HF_HUB_CACHE}, or run: "
        f"ganaudit fetch timm:{target}"
    )
