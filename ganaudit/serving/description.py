"""What a server says of itself: its model's metadata and the OpenAPI document."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ganaudit import oip
from ganaudit.serving.messages import MOST_ID
from ganaudit.serving.model import MOST_LATENT, Model

ABOUT = (
    "Images of one generator by the Open Inference Protocol v2, or as PNG files. A seed s stands "
    "for image s of `ganaudit sample` under the server's own seed."
)
LIVE, READY = "/v2/health/live", "/v2/health/ready"  # asked without a token
_TOP = 2**63 - 1
_REFUSALS = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    408: "The request takes too long.",
    413: "The body is too large.",
    415: "The body is of another type, or compressed.",
    422: "The request is well formed and asks for what there is not.",
    429: "Too many images wait; the header Retry-After says when to come again.",
    500: "The generator failed on this request.",
    503: "The server is shutting down, or has too much to do.",
}
_OF_IMAGES = (400, 408, 413, 415, 422, 429, 500, 503)


def metadata(model: Model) -> dict[str, Any]:
    """The model's metadata; `parameters.ganaudit` is what an ONNX file says of itself."""
    assert model.size is not None
    facts: dict[str, Any] = {
        "prior": model.prior,
        "latent_shape": list(model.latent_shape),
        "layout": "NCHW",
    }
    inputs = [
        {"name": "latent", "datatype": "FP32", "shape": [-1, *model.latent_shape]},
        {"name": "seed", "datatype": "INT64", "shape": [-1]},
        {"name": "noise_seed", "datatype": "INT64", "shape": [-1]},
    ]
    if model.num_labels:
        facts["num_labels"] = model.num_labels
        inputs.append({"name": "label", "datatype": "INT64", "shape": [-1]})
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": "ganaudit",
        "inputs": inputs,
        "outputs": [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 3, *model.size]},
            {"name": "png", "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {"ganaudit": json.dumps(facts)},
    }


def document(model: Model, *, version: str, most_images: int, token: bool) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
      model: what is served.
      version: of ganaudit.
      most_images: of one request.
      token: whether one is asked for.
    """
    flag, error = _object(name=_text(), ready={"type": "boolean"}), _object(error=_text())
    metadata_schema = _object(
        name=_text(), versions=_list(_text()), platform=_text(), inputs=_list(_tensor()),
        outputs=_list(_tensor()), parameters=_object(ganaudit=_text()),
    )  # fmt: skip
    server = _object(name=_text(), version=_text(), extensions=_list(_text()))
    paths: dict[str, Any] = {
        "/v2": _get("Name and version of the server", server),
        LIVE: _get("Whether the server lives", _object(live={"type": "boolean"})),
        READY: _get("Whether images can be asked for", flag, 503),
        "/metrics": _get("Counts and times for Prometheus", _text(), kind="text/plain"),
        "/openapi.json": _get("This document", {"type": "object"}),
        "/generate": {
            "post": {
                "summary": "One image as a PNG file; of a random seed, if none is named",
                "requestBody": _json_body(_generate(model), required=False),
                "responses": {"200": _png(), **_errors(_OF_IMAGES)},
            }
        },
    }
    for end in ("", "/versions/1"):
        base = f"/v2/models/{model.name}{end}"
        paths[base] = _get("Metadata of the model", metadata_schema)
        paths[f"{base}/ready"] = _get("Whether images can be asked for", flag, 503)
        paths[f"{base}/infer"] = {
            "post": {
                "summary": "Images of seeds or latents",
                "requestBody": _json_body(_inference(model, most_images), required=True)
                | {"description": _FORMS},
                "responses": {"200": _inferred(), **_errors(_OF_IMAGES)},
            }
        }
    components: dict[str, Any] = {"schemas": {"Error": error}}
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, item in paths.items():
            for operation in item.values() if path not in (LIVE, READY) else ():
                operation["security"] = [{"token": []}]
                operation["responses"] |= _errors([401])
    for path, item in paths.items():
        for method, operation in item.items():
            operation["operationId"] = f"{method} {path}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"ganaudit serve: {model.name}",
            "version": version,
            "description": ABOUT,
        },
        "paths": paths,
        "components": components,
    }


_FORMS = (
    "Inputs as JSON, nested or flat, or as bytes behind the JSON part, whose length the header "
    f"{oip.HEADER} then says (the protocol's binary tensor data extension). At least one of seed "
    "and latent is needed; the first side of every input is the number of images N. The schema "
    "spells out some N, and any up to the largest will do."
)


def _text() -> dict[str, Any]:
    return {"type": "string"}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _tensor() -> dict[str, Any]:
    return _object(name=_text(), datatype=_text(), shape=_list({"type": "integer"}))


def _seed() -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": _TOP}


def _label(model: Model) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": model.num_labels - 1}


def _value() -> dict[str, Any]:
    return {"type": "number", "minimum": -MOST_LATENT, "maximum": MOST_LATENT}


def _exactly(count: int, items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": count, "maxItems": count}


def _nested(shape: tuple[int, ...]) -> dict[str, Any]:
    found = _value()
    for side in reversed(shape):
        found = _exactly(side, found)
    return found


def _generate(model: Model) -> dict[str, Any]:
    flat = _exactly(math.prod(model.latent_shape), _value())
    nested = [_nested(model.latent_shape)] if len(model.latent_shape) > 1 else []
    properties = {"seed": _seed(), "latent": {"anyOf": [flat, *nested]}, "noise_seed": _seed()}
    if model.num_labels:
        properties["label"] = _label(model)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _inference(model: Model, most_images: int) -> dict[str, Any]:
    """That shapes and values agree, a schema can say for one number of images at a time."""
    counts = sorted({1, min(2, most_images), most_images})
    named = {"type": "string", "enum": ["image", "png"]}
    own = {"type": "object", "properties": {"binary_data": {"type": "boolean"}}}
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": named, "parameters": own},
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": MOST_ID},
            "inputs": {"anyOf": [form for n in counts for form in _forms(model, n)]},
            "outputs": {"type": "array", "items": output, "maxItems": 1},
            "parameters": {
                "type": "object",
                "properties": {"binary_data_output": {"type": "boolean"}},
            },
        },
    }


def _forms(model: Model, count: int) -> list[dict[str, Any]]:
    """What may be sent for so many images."""
    whole: dict[str, Any] = {"datatype": {"const": "INT64"}, "shape": {"const": [count]}}
    size = count * math.prod(model.latent_shape)
    seed = _object(name={"const": "seed"}, **whole, data=_exactly(count, _seed()))
    noise = _object(name={"const": "noise_seed"}, **whole, data=_exactly(count, _seed()))
    latent = _object(
        name={"const": "latent"},
        datatype={"const": "FP32"},
        shape={"const": [count, *model.latent_shape]},
        data=_exactly(size, _value()),
    )
    if not model.num_labels:
        return [_together(seed), _together(latent), _together(latent, noise)]
    label = _object(name={"const": "label"}, **whole, data=_exactly(count, _label(model)))
    return [
        _together(seed),
        _together(seed, label),
        _together(latent, label),
        _together(latent, label, noise),
    ]


def _together(*items: Mapping[str, Any]) -> dict[str, Any]:
    count = len(items)
    return {"type": "array", "prefixItems": list(items), "minItems": count, "maxItems": count}


def _json_body(schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}, "required": required}


def _png() -> dict[str, Any]:
    header = {"description": "The seed of the image, if it has one.", "schema": _text()}
    return {
        "description": "The image",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"X-Seed": header},
    }


def _inferred() -> dict[str, Any]:
    outputs = _list(_object(name=_text(), datatype=_text(), shape=_list({"type": "integer"})))
    answer = _object(model_name=_text(), model_version=_text(), outputs=outputs)
    return {
        "description": "The images, in the form that was asked for",
        "content": {
            "application/json": {"schema": answer},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }


def _get(
    summary: str, schema: Mapping[str, Any], *errors: int, kind: str = "application/json"
) -> dict[str, Any]:
    answer = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"get": {"summary": summary, "responses": {"200": answer, **_errors(errors)}}}


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(n): {"description": _REFUSALS[n], "content": content} for n in statuses}
