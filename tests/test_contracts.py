"""Every installed plugin keeps its contract. A new one fails here until it has a case."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ONNX_OPTIONS, save_onnx
from endpoints import serving
from ganaudit_plugins.generators.dots import paint_dots
from PIL import Image
from test_facenet import file as facenet_file  # noqa: F401  (a fixture)
from test_facenet import patches
from test_http_oip import SAID as SERVED
from test_http_oip import Server, of_seed, picture
from test_http_oip import latents as latent_server
from test_image_api import Endpoint
from test_onnx_generator import CLASSES, HEIGHT, SAID, WIDTH
from test_onnx_generator import Net as OnnxNet
from test_plugins import USER_CODE, saved
from test_predictions import SEEDED, Predictor
from test_program_generators import Indexed, OneHot
from test_programs import Net, Rows, export, latents, made, script, trace
from torch.export import Dim

from ganaudit import registry
from ganaudit.testing import check_plugin

BOTH = {"latent_input": "z", "label_input": "y"}
PROGRAM = {"prior": "normal", "latent_shape": "5", "range": "-1,1"}
STEPS = dict(option.removeprefix("descriptor.").split("=") for option in ONNX_OPTIONS)

Case = dict[str, Any]  # arguments of check_plugin, after the kind
Cases = Callable[[pytest.FixtureRequest], list[Case]]


def case(spec: object, options: Mapping[str, str] | None = None, **more: Any) -> Case:
    return {"spec": str(spec), "options": options, **more}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# -- generators ------------------------------------------------------------------------------


def demo(request: pytest.FixtureRequest) -> list[Case]:
    return [case("demo"), case("demo:healthy"), case("demo:collapsed")]


def checkpoint(request: pytest.FixtureRequest) -> list[Case]:
    path = saved(Path("net.safetensors"))
    return [case(path), case(f"checkpoint:{path}")]


def python(request: pytest.FixtureRequest) -> list[Case]:
    """A function, a module, a generator with labels and a service."""
    Path("code.py").write_text(USER_CODE)
    return [
        case("python:code.py:complete"),
        case("python:code.py:no_prior", {"prior": "spherical", "latent_scale": "0.5"}),
        case("python:code.py:module", {"gain": "2"}),
        case("python:code.py:Latent"),
        case("python:code.py:Service"),
    ]


def images(request: pytest.FixtureRequest) -> list[Case]:
    """Pictures of three sizes, and one that is broken."""
    Path("pictures").mkdir()
    for number in range(9):
        picture = Image.fromarray(noise(6 + number % 3, 5, 3) // 2 + 9 * number)
        picture.save(f"pictures/{number}.png")
    Path("pictures/4.png").write_bytes(b"no picture")
    return [case("pictures"), case("images:pictures")]


def embeddings(request: pytest.FixtureRequest) -> list[Case]:
    """Rows of any length, some of which have no direction."""
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float16)
    rows[[8, 49]] = [[0], [np.nan]]
    np.save("rows.npy", rows)
    np.save("row.npy", rows[:1].astype(np.float64))
    return [case("rows.npy"), case("embeddings:row.npy")]


def onnx(request: pytest.FixtureRequest) -> list[Case]:
    """Batches of any size and of 4; NHWC bytes; both forms of labels; a file that says it all."""
    told = {"prior": "uniform", "range": [-1, 1], "num_labels": CLASSES}
    nets = {
        "any.onnx": (OnnxNet(), SAID),
        "four.onnx": (OnnxNet(batch=4), SAID),
        "one.onnx": (OnnxNet(batch=1, kind="float16"), SAID),
        "bytes.onnx": (OnnxNet(layout="NHWC", quantised=True), {"prior": "normal"}),
        "numbers.onnx": (OnnxNet(label=("N",), said=told), {}),
        "one-hot.onnx": (OnnxNet(batch=4, label=(4, CLASSES), label_kind="float"), SAID | BOTH),
        "psi.onnx": (OnnxNet(psi=(1,)), SAID | {"psi": "0.5"}),
    }
    assert HEIGHT != WIDTH
    return [case(net.save(Path(name)), options) for name, (net, options) in nets.items()]


def torchscript(request: pytest.FixtureRequest) -> list[Case]:
    """Scripted, traced, and both forms of labels."""
    labels = PROGRAM | {"num_labels": "7"}
    files = {
        script(Path("scripted.pt"), made(Net)): PROGRAM,
        trace(Path("traced.pt"), made(Net), latents(2)): PROGRAM,
        script(Path("index.pt"), made(Indexed)): labels,
        script(Path("one-hot.pt"), made(OneHot)): labels | {"label_encoding": "one-hot"},
    }
    return [case(path, options, trust=True) for path, options in files.items()]


def exported(request: pytest.FixtureRequest) -> list[Case]:
    """For batches of 3 to 4, and with labels for any."""
    options = {"prior": "truncated", "range": "-1,1"}
    given = (latents(2), torch.tensor([0, 6]))
    files = {
        export(Path("few.pt2"), made(Net), latents(4), batch=Dim("n", min=3, max=4)): options,
        export(Path("index.pt2"), made(Indexed), *given, batch=Dim("n")): options
        | {"num_labels": "7"},
    }
    return [case(path, options, trust=True) for path, options in files.items()]


def served(request: pytest.FixtureRequest, app: Any) -> str:
    """The address of an app, until the test ends."""
    context = serving(app)
    request.addfinalizer(lambda: context.__exit__(None, None, None))
    return context.__enter__()


def oip(request: pytest.FixtureRequest) -> list[Case]:
    """Latents in both forms, with labels, in batches of 4; seeds; a service that hides all."""
    output = {"outputs": {"image": ("UINT8", [-1, 3, 6, 5])}}
    with_labels = latent_server(
        inputs={"latent": ("FP32", [-1, 2, 3]), "label": ("INT64", [-1])},
        make=lambda given: picture(given["latent"], given["label"]),
        said=SERVED | {"num_labels": 4},
    )
    by_seed = Server(
        inputs={"seed": ("INT64", [-1])}, make=lambda given: of_seed(given["seed"]), **output
    )
    numbers = iter(range(10**6))
    blind = Server(inputs={}, make=lambda given: of_seed(np.array([next(numbers)])), **output)
    servers: list[tuple[Server, Mapping[str, str]]] = [
        (latent_server(said=SERVED), {}),
        (latent_server(binary=False), {"prior": "normal", "range": "-1,1"}),
        (with_labels, {}),
        (latent_server(inputs={"z": ("FP32", [4, 2, 3])}, said=SERVED), {}),
        (by_seed, {}),
        (blind, {}),
    ]
    return [
        case(f"{served(request, server.app())}/v2/models/net", options)
        for server, options in servers
    ]


def image_api(request: pytest.FixtureRequest) -> list[Case]:
    """By latent, by seed, and blind."""
    url = f"image_api:{served(request, Endpoint().app())}"
    latent = {"template": '{"z": "$LATENT"}', "prior": "normal", "latent_shape": "2,3"}
    return [
        case(f"{url}/png", latent),
        case(f"{url}/base64", {"template": '{"seed": "$SEED"}', "image_at": "data.0.b64_json"}),
        case(f"{url}/random"),
    ]


def predictions(request: pytest.FixtureRequest) -> list[Case]:
    url = f"predictions:{served(request, Predictor().app())}/v1/predictions"
    return [case(url, {"template": SEEDED, "poll_every": "0.05"})]


# -- descriptors -----------------------------------------------------------------------------


def digits(request: pytest.FixtureRequest) -> list[Case]:
    return [case("digits"), case("digits", images=torch.from_numpy(noise(5, 3, 16, 16)))]


def points(request: pytest.FixtureRequest) -> list[Case]:
    places = torch.from_numpy(np.random.default_rng(3).uniform(-3, 3, (5, 2)))
    return [case("points", images=paint_dots(places, extent=3.0))]


def onnx_descriptor(request: pytest.FixtureRequest) -> list[Case]:
    return [
        case(save_onnx(Path(f"{batch}.onnx"), batch=batch), STEPS | {"colour": "bgr"})
        for batch in ("N", 1, 4)
    ]


def torchscript_descriptor(request: pytest.FixtureRequest) -> list[Case]:
    return [case(script(Path("rows.pt"), made(Rows)), STEPS, trust=True)]


def timm(request: pytest.FixtureRequest) -> list[Case]:
    from test_timm import NAME, made  # skips where there is no timm

    safetensors.torch.save_file(made().state_dict(), "timm.safetensors")
    return [case(f"timm:{NAME}", {"weights": "timm.safetensors"})]


def facenet(request: pytest.FixtureRequest) -> list[Case]:
    """Two faces and a background."""
    weights = {"weights": str(request.getfixturevalue("facenet_file"))}
    return [case("facenet", weights, images=patches()[[0, 150, 1]])]


CASES: Mapping[tuple[str, str], Cases] = {
    ("generators", "checkpoint"): checkpoint,
    ("generators", "demo"): demo,
    ("generators", "embeddings"): embeddings,
    ("generators", "exported"): exported,
    ("generators", "image_api"): image_api,
    ("generators", "images"): images,
    ("generators", "oip"): oip,
    ("generators", "onnx"): onnx,
    ("generators", "predictions"): predictions,
    ("generators", "python"): python,
    ("generators", "torchscript"): torchscript,
    ("descriptors", "digits"): digits,
    ("descriptors", "facenet"): facenet,
    ("descriptors", "onnx"): onnx_descriptor,
    ("descriptors", "points"): points,
    ("descriptors", "timm"): timm,
    ("descriptors", "torchscript"): torchscript_descriptor,
}
KINDS: tuple[registry.Kind, ...] = ("generators", "descriptors")
INSTALLED = [
    (kind, name)
    for kind in KINDS
    for name, entry in registry.installed(kind).items()
    if entry.value.startswith("ganaudit_plugins.")
]


@pytest.mark.parametrize(("kind", "name"), INSTALLED)
def test_an_installed_plugin_keeps_its_contract(
    kind: Any, name: str, request: pytest.FixtureRequest
) -> None:
    assert (kind, name) in CASES, f"the {kind[:-1]} {name!r} needs a case in this file"
    for arguments in CASES[kind, name](request):
        assert registry.resolve(kind, arguments["spec"])[0] == name
        check_plugin(kind, **arguments)


def test_no_case_is_left_of_a_plugin_that_went() -> None:
    assert set(CASES) <= set(INSTALLED)
