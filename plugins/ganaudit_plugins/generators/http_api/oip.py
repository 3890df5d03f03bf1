"""`oip:URL`: a model behind the Open Inference Protocol v2.

KServe, MLServer, Triton and `ganaudit serve` speak it. The model's metadata say its inputs and
outputs. A floating-point input called latent or z, or the only one of two dimensions or more, takes
latents; else one of whole numbers called seed takes seeds; what has neither draws for itself. Any
other input gets the same value for every image: `--set NAME=VALUE` by the input's name. An input
that nobody spoke for is refused by name.

Images are uint8, floating point in a declared range, or BYTES: files of PNG, JPEG or WEBP.
"""

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import numpy as np

from ganaudit.errors import ConfigError, SourceError
from ganaudit.images import MAX_PIXELS, Layout
from ganaudit.registry import by_user_alone
from ganaudit.slots import Prior, Stream, draw
from ganaudit_plugins.generators.declared import (
    Conversion,
    Declared,
    DeclaredImages,
    declare,
    declare_images,
    metadata,
)
from ganaudit_plugins.generators.http_api.addresses import Base, read_base
from ganaudit_plugins.generators.http_api.answers import Answer, Refusal, Transient, Unusable
from ganaudit_plugins.generators.http_api.client import Client
from ganaudit_plugins.generators.http_api.oip_inference import Inference
from ganaudit_plugins.generators.http_api.oip_model import (
    Inputs,
    Model,
    ServedPort,
    find_inputs,
    read_metadata,
)
from ganaudit_plugins.generators.http_api.options import INCIDENTAL, ServiceOptions, with_options
from ganaudit_plugins.generators.http_api.requests import check_seed_bits
from ganaudit_plugins.generators.http_api.service import BlindService, LatentService, Service
from ganaudit_plugins.generators.ports import (
    check_images,
    check_labels,
    check_latents,
    find_output,
    is_fixed,
    measured,
)
from ganaudit_plugins.onnx_checks import plain

_ADDRESS = re.compile(r"(.*/v2/models/[^/]+(?:/versions/[^/]+)?)(?:/infer)?/?")
_USUAL_IMAGES, _MOST_IMAGES = 8, 4096  # a request
_NO_SLOT = 2**62
_TRIALS = 3  # of the binary form: a service that does not understand it may say 500


@by_user_alone
@with_options
def open_oip(
    target: str,
    *,
    prior: Prior | None = None,
    latent_shape: tuple[int, ...] | None = None,
    latent_scale: float | None = None,
    range: tuple[float, float] | None = None,  # noqa: A002 - the word a user types
    layout: Layout | None = None,
    num_labels: int | None = None,
    latent_input: str | None = None,
    seed_input: str | None = None,
    label_input: str | None = None,
    output: str | None = None,
    binary: bool | None = None,
    images_per_request: int | None = None,
    seed_bits: int = 32,
    max_requests: int | None = None,
    service: ServiceOptions,
    **inputs: str,
) -> LatentService | BlindService:
    """Open a model behind the Open Inference Protocol v2 as a generator.

    Args:
      target: http(s)://HOST/v2/models/NAME, with /versions/VERSION if it is to be one.
      prior: of every latent coordinate, where the metadata do not say it.
      latent_shape: of one latent, where the input leaves it open.
      latent_scale: what latents are multiplied by.
      range: the values of black and white of floating-point images.
      layout: where the channels stand, if the shape leaves it open.
      num_labels: classes, where the input leaves it open.
      latent_input: name of the input that takes the latents, if several could.
      seed_input: name of the input that takes a seed, if it is not called seed.
      label_input: name of the input that takes labels, if it is not called label, labels or class.
      output: name of the output that is the images, if several could be.
      binary: whether tensors are sent as bytes; None: tried once, and if the service does not
        understand it they are sent as JSON.
      images_per_request: where the model takes any number at once [8].
      seed_bits: seeds are whole numbers below 2 ** seed_bits.
      max_requests: that may be sent; None: any number.
      service: how it is asked.
      inputs: values of other inputs, by name.

    Raises:
      ConfigError: the address, the metadata and the options do not fit.
      SourceError: no metadata came.
      SourceGone: the service cannot be asked.
    """
    base = _model_at(read_base(target))
    check_seed_bits(seed_bits)
    said = {
        "prior": prior,
        "latent_shape": latent_shape,
        "latent_scale": latent_scale,
        "range": range,
        "layout": layout,
        "num_labels": num_labels,
    }
    asked = Service(Client(base, service, max_requests=max_requests))
    try:
        model = _described(asked)
        found = find_inputs(
            model,
            latent_input=latent_input,
            seed_input=seed_input,
            label_input=label_input,
            held=inputs,
            options=list(inspect.signature(open_oip).parameters),
        )
        images = _output(model, output)
        declared = _declared(model, found, images, said)
        asked.per_request = _per_request(model, found, images_per_request)
        inference = Inference(
            client=asked.client,
            url=str(_with_path(base.url, "/infer")),
            inputs=found,
            output=images,
            declared=declared if isinstance(declared, Declared) else None,
            converted=Conversion(declared),
            seed_bits=seed_bits,
            most_values=_most_values(model),
            binary=binary is not False,
        )
        if binary is None and not asked.run(_is_understood(inference)):
            inference = replace(inference, binary=False)
    except BaseException:
        asked.close()
        raise
    asked.ask = inference.ask
    facts = {
        "identity": _identity(model, found, images, inputs, seed_bits) | declared.identity(),
        "assumptions": _assumptions(found, inputs, seed_bits) + declared.assumptions(),
        "warnings": inference.converted.warnings,
    }
    source: LatentService | BlindService
    if isinstance(declared, Declared):
        source = LatentService(
            asked,
            latent_shape=declared.latent_shape,
            prior=declared.prior,
            num_labels=declared.num_labels,
            **facts,
        )
    else:
        source = BlindService(asked, seedable=found.seed is not None, **facts)
    source.incidental = (*INCIDENTAL, "binary", "images_per_request")
    return source


def _model_at(base: Base) -> Base:
    """The address of the model's metadata."""
    path = base.url.raw_path.decode().partition("?")[0]
    found = _ADDRESS.fullmatch(path)
    if not found:
        raise ConfigError(
            f"oip: wants http://HOST/v2/models/NAME, got the path {plain(path)!r:.80}"
        )
    query = base.url.query
    raw = found[1].encode() + (b"?" + query if query else b"")
    return replace(base, url=base.url.copy_with(raw_path=raw))


def _with_path(url: httpx.URL, more: str) -> httpx.URL:
    path, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=path + more.encode() + mark + query)


def _described(asked: Service) -> Model:
    """What the service says of the model."""
    path = str(asked.client.base.url)

    def accept(answer: Answer) -> Model:
        try:
            model = read_metadata(answer.body, path)
        except ValueError as error:
            raise Unusable(str(error)) from error
        if asked.client.redacted(repr(model)) != repr(model):  # names go into messages and reports
            raise Refusal("the metadata repeat the token")
        return model

    try:
        return asked.run(asked.client.ask("GET", path, accept=accept, counted=False))
    except (Transient, Refusal) as error:
        raise SourceError(f"{path} gives no metadata of a model: {error.reason}") from error


async def _is_understood(inference: Inference) -> bool:
    """Whether the service answers a request in the binary form, for a slot that no run has."""
    declared = inference.declared
    classes = 0 if declared is None else declared.num_labels
    first = draw(
        np.array([_NO_SLOT]),
        seed=0,
        stream=Stream.SAMPLES,
        latent_shape=None if declared is None else declared.latent_shape,
        prior="normal" if declared is None else declared.prior,
        labels=np.arange(classes) if classes else None,
    )
    try:
        await inference.ask(first, attempts=_TRIALS)
    except (Transient, Refusal):
        return False
    return True


def _output(model: Model, named: str | None) -> ServedPort:
    if not model.outputs:
        raise ConfigError(f"{model.path}: the service's metadata name no outputs")
    port = find_output(model, named)
    assert isinstance(port, ServedPort)
    return port


def _declared(
    model: Model, inputs: Inputs, output: ServedPort, said: Mapping[str, Any]
) -> Declared | DeclaredImages:
    """What the user and the metadata say, held against each other."""
    theirs = {
        key: value for key, value in metadata(model.path, model.said).items() if value is not None
    }
    useless = {"UINT8": ("range",), "BYTES": ("range", "layout")}
    for key in useless.get(output.datatype, ()):
        if said[key] is not None:
            raise ConfigError(f"--set {key} would change nothing: {model.path} returns {output}")
        theirs.pop(key, None)
    by = "the service's metadata"
    declared: Declared | DeclaredImages
    if inputs.latent is None:
        declared = declare_images(model.path, said, theirs, by=by)
    else:
        shapes = measured(inputs.latent, inputs.label)
        latent = declare(model.path, said, shapes | theirs, by=by)
        check_latents(model, inputs.latent, latent.latent_shape)
        check_labels(model, inputs.latent, inputs.label, latent.num_labels)
        declared = latent
    if output.datatype != "BYTES":
        check_images(model, output, declared.layout)
        if output.kind != "uint8" and declared.value_range is None:
            raise ConfigError(
                f"{model.path} returns {output}, and nobody says which values are black and white; "
                "say for instance --set range=-1,1"
            )
    return declared


def _per_request(model: Model, inputs: Inputs, wanted: int | None) -> int:
    """Slots that are asked for at once."""
    fixed = inputs.batch if inputs.follow_the_slot else 1
    if fixed is not None and wanted not in (None, fixed):
        raise ConfigError(
            f"--set images_per_request cannot be {wanted}: {model.path} takes {fixed} at once"
        )
    images = fixed or (_USUAL_IMAGES if wanted is None else wanted)
    if not 1 <= images <= _MOST_IMAGES:
        raise ConfigError(f"images_per_request must be in [1, {_MOST_IMAGES}], got {images}")
    return images


def _most_values(model: Model) -> int:
    """Of all outputs, for one image."""
    return sum(
        math.prod(side for side in port.shape[1:] if isinstance(side, int))
        if is_fixed(port.shape[1:])
        else 4 * MAX_PIXELS
        for port in model.outputs
    )


def _identity(
    model: Model, found: Inputs, output: ServedPort, held: Mapping[str, str], seed_bits: int
) -> dict[str, Any]:
    """Which generator it is, as JSON values."""
    roles = ("latent", "seed", "noise_seed", "label")
    ports: dict[str, ServedPort | None] = {role: getattr(found, role) for role in roles}
    identity: dict[str, Any] = {
        "versions": list(model.versions),
        **{f"{role}_input": port and port.name for role, port in ports.items()},
        "output": output.name,
        "inputs": dict(sorted(held.items())),
    }
    return identity | ({"seed_bits": seed_bits} if found.seed is not None else {})


def _assumptions(found: Inputs, held: Mapping[str, str], seed_bits: int) -> tuple[str, ...]:
    said = [
        f"The input {plain(name)} is {plain(held[name])}, as --set says." for name in sorted(held)
    ]
    if found.latent is None and found.seed is not None:
        said.append(
            f"The service draws its own latents, by seeds below 2**{found.bits(seed_bits)}."
        )
    return tuple(said)
