"""`torchscript:FILE`: a generator as a TorchScript program. It runs with your rights: --trust."""

import torch
from torch import Tensor

from ganaudit.files import sha256_of
from ganaudit.images import Layout
from ganaudit.slots import Prior
from ganaudit_plugins.generators.declared import DeclaredGenerator, declare
from ganaudit_plugins.programs import (
    LabelEncoding,
    check_inputs,
    claims_of,
    encoded,
    load_script,
    run_script,
    script_inputs,
    trusted_program,
)


def open_torchscript(
    target: str,
    *,
    device: torch.device,
    trust: bool,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    num_labels: int | None = None,
    label_encoding: LabelEncoding = "index",
) -> DeclaredGenerator:
    """Open a generator that was scripted or traced, and saved by torch.jit.save.

    It takes latents [N, *latent_shape] float32 and, if it has labels, these second. What its extra
    file "ganaudit.json" declares need not be said; see `ganaudit_plugins.generators.declared`.

    Args:
      target: path of the file.
      device: where it runs.
      trust: whether it may be run.
      prior: of every latent coordinate.
      latent_shape: of one latent.
      latent_scale: what latents are multiplied by.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
      num_labels: classes of a conditional generator.
      label_encoding: labels are given as class numbers, int64 [N], or one-hot, float32
        [N, num_labels].

    Raises:
      ConfigError: no such program, it takes something else, or something is not declared.
      UnsafeCheckpoint: without --trust.
    """
    path = trusted_program(target, "torchscript", trust=trust)
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "range": range,
        "layout": layout,
        "num_labels": num_labels,
    }
    declared = declare(str(path), said, claims_of(path), by="the file's metadata")
    classes = declared.num_labels
    module = load_script(path, device)
    tensors, needed = script_inputs(module)
    check_inputs(path, tensors, needed, labels=classes > 0)

    def call(latents: Tensor, labels: Tensor | None) -> object:
        if labels is None:
            return run_script(module, latents)
        given = encoded(labels, num_labels=classes, encoding=label_encoding)
        return run_script(module, latents, given)

    identity = {"kind": "torchscript", "sha256": sha256_of(path)}
    if classes:
        identity["label_encoding"] = label_encoding
    return DeclaredGenerator(call, declared, identity=identity)
