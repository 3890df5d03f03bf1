"""`demo`: a small GAN of handwritten digits that ships with ganaudit, healthy or collapsed."""

from importlib.resources import as_file, files

import torch

from ganaudit.errors import ConfigError
from ganaudit_plugins.generators.checkpoint import CheckpointGenerator, open_checkpoint

_KINDS = ("healthy", "collapsed")


def open_demo(target: str, *, device: torch.device) -> CheckpointGenerator:
    """`demo:healthy` (the default), or `demo:collapsed` with a planted collapse of known share."""
    kind = target or _KINDS[0]
    if kind not in _KINDS:
        raise ConfigError(f"there is demo:{' and demo:'.join(_KINDS)}, got demo:{target}")
    with as_file(files("ganaudit_plugins.assets") / f"{kind}.safetensors") as path:
        return open_checkpoint(str(path), device=device)
