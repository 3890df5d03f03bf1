"""The network that was trained to tell a generator's images from real ones, as a function.

For those who own the model: `advlatgan-z` follows its gradient. A discriminator is named by a
checkpoint, which is read without executing it, or by `python:FILE.py:FACTORY`, which runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganaudit.checkpoints.holdings import read
from ganaudit.checkpoints.opened import open_network
from ganaudit.checkpoints.state_dicts import fill, read_state_dict
from ganaudit.errors import ConfigError, PluginError, one_line
from ganaudit.files import is_file, sha256_of
from ganaudit.networks.dcgan import DCGANDiscriminator
from ganaudit.networks.stylegan2_discriminator import DiscriminatorEpilogue
from ganaudit.registry import bind
from ganaudit.userfile import import_file

_PYTHON, _CHECKPOINT = "python:", "checkpoint:"
_ROLE = "D"
_SAME = 1e-2  # of the largest logit: kernels of another batch size, and TF32, change less


class Discriminator:
    """Images to logits: the higher, the more real.

    Attributes:
      identity: which network it is, JSON values.
      num_labels: classes; 0: it takes no labels.
    """

    def __init__(self, module: nn.Module, identity: Mapping[str, Any]) -> None:
        """`module`: images [N, C, H, W] (and labels [N] int64) to [N] or [N, 1] logits."""
        self.identity = dict(identity)
        self.num_labels = int(getattr(module, "num_labels", 0))
        self._module = module
        self._looked = False

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Raw logits [N] of native images float [N, C, H, W], differentiable.

        Raises:
          ConfigError: it takes no such images, returns something else, or what it says of an
            image depends on the others of the batch.
        """
        if self.num_labels and labels is None:
            raise ConfigError(
                "the discriminator takes labels, and the generator has none: is it its own?"
            )
        logits = self._logits(images, labels)
        if not self._looked and len(images) > 1:
            self._looked = True
            self._check_alone(images, labels, logits)
        return logits

    def _logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        conditions = (labels,) if self.num_labels else ()
        try:
            logits = self._module(images, *conditions)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the gradient through {len(images)} images does not fit the device's memory: "
                "take --device cpu, or another --method"
            ) from error
        except Exception as error:  # the border to foreign code
            raise ConfigError(
                f"the discriminator takes no images {list(images.shape)} of this generator "
                f"({one_line(error)}): is it its own?"
            ) from error
        if not isinstance(logits, Tensor) or logits.numel() != len(images):
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(
                f"the discriminator must return one logit an image, [{len(images)}], got {got}"
            )
        if not bool(torch.isfinite(logits.detach()).all()):
            raise ConfigError("the discriminator returned a logit that is not finite")
        return logits.reshape(len(images))

    @torch.no_grad()
    def _check_alone(self, images: Tensor, labels: Tensor | None, logits: Tensor) -> None:
        """Refuse logits that depend on the batch: a slot's image would depend on it too."""
        alone = self._logits(images[:1], None if labels is None else labels[:1])
        apart = float((logits[0].detach() - alone[0]).abs())
        if apart > _SAME * float(logits.detach().abs().max()):
            raise ConfigError(
                f"the discriminator's logit of an image is {float(alone[0]):.4g} alone and "
                f"{float(logits[0]):.4g} among {len(images)}: it must judge every image by itself "
                "(give it running statistics of its batch norm, minibatch groups of one)"
            )


def open_discriminator(
    spec: str, options: Mapping[str, str], *, device: str, code: bool
) -> Discriminator:
    """The discriminator that `spec` names, in eval mode, its weights without gradients.

    StyleGAN2's looks at the spread of a group of images, and so may `dcgan_discriminator`; here
    every image is a group of its own, so that what is said of one does not depend on the others.

    Args:
      spec: a checkpoint's path, or python:FILE.py:FACTORY. A factory returns a module of torch;
        `weights=FILE` among the options fills it from a state dict.
      options: role=NAME of a checkpoint [D, or the only one], or what it takes; of a factory, its
        parameters.
      device: "cpu" or "cuda:N".
      code: the user named it himself, so a Python file may run.

    Raises:
      ConfigError: there is none, an option is wrong, or it would run code on a file's word.
      UnsafeCheckpoint: reading the file would mean running it.
    """
    if spec.startswith(_PYTHON):
        if not code:
            raise ConfigError(
                f"the discriminator {spec} is a Python file, which runs on your own word alone: "
                f"say --set calibrator.discriminator={spec}"
            )
        module, identity = _from_python(spec.removeprefix(_PYTHON), dict(options), device)
    else:
        path = Path(spec.removeprefix(_CHECKPOINT))
        module, identity = _from_checkpoint(path, dict(options))
    for part in module.modules():
        if isinstance(part, DiscriminatorEpilogue):
            part.group_size = 1
        if isinstance(part, DCGANDiscriminator):
            part.alone = True
    return Discriminator(module.to(device).eval().requires_grad_(False), identity)


def _from_checkpoint(path: Path, options: dict[str, str]) -> tuple[nn.Module, dict[str, Any]]:
    if not path.exists():
        raise ConfigError(
            f"--discriminator {path}: no such file; name a checkpoint or python:FILE.py:FACTORY"
        )
    usual = _ROLE if _ROLE in read(path).networks else None  # else the only one that there is
    opened = open_network(path, role=options.pop("role", usual), said=options)
    if getattr(opened.module, "latent_shape", None) is not None:
        raise ConfigError(
            f"--discriminator {path} holds a {opened.network}, which makes images and judges none"
        )
    return opened.module, {
        "network": opened.network,
        "role": opened.role,
        "sha256": opened.sha256,
    }


def _from_python(
    target: str, options: dict[str, str], device: str
) -> tuple[nn.Module, dict[str, Any]]:
    name, colon, factory_name = target.rpartition(":")
    path = Path(name)
    if not colon or not factory_name.isidentifier():
        raise ConfigError(f"--discriminator wants python:FILE.py:FACTORY, got {target!r:.200}")
    factory = getattr(import_file(path), factory_name, None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}")
    identity: dict[str, Any] = {"factory": factory_name, "sha256": sha256_of(path)}
    weights, role = options.pop("weights", None), options.pop("role", None)
    what = f"the factory {factory_name!r}"
    arguments = bind(factory, options, what=what, device=torch.device(device))
    try:
        made = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} raised {one_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{what} must return a module of torch, got {type(made).__name__}")
    if weights is not None:
        if not is_file(Path(weights)):
            raise ConfigError(f"--set discriminator.weights={weights}: no such file")
        fill(made, read_state_dict(Path(weights), role), network=repr(factory_name))
        identity["weights_sha256"] = sha256_of(Path(weights))
    return made, identity
