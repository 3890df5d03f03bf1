"""The client against servers that others wrote, and the server against clients that others wrote.

They live in environments of their own: `python tests/peers.py` makes them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from artefacts.exports import export_faces_onnx
from conftest import ONNX_OPTIONS, TESTS, Ended, save_onnx
from peers import python_of

from ganaudit.config import DiagnoseConfig, SampleConfig
from ganaudit.images import read_image
from ganaudit.pipeline import Audit, diagnose
from ganaudit.sampling import sample
from ganaudit.slots import Stream
from ganaudit.store import Store

Make = Callable[..., DiagnoseConfig]
Run = Callable[..., Ended]
SCRIPTS = TESTS / "peer_servers"
STARTING_S = 60
BATCH = 32


# -- processes -------------------------------------------------------------------------------


def environment(name: str) -> Path:
    """The interpreter of a peer's environment."""
    python = python_of(name)
    if not python.is_file():
        pytest.skip("python tests/peers.py makes the environments")
    return python


@contextmanager
def running(log: Path, *command: str | Path, says: str, ready: str = "") -> Iterator[str]:
    """A server's address, from the line that `says` matches, once `ready` is answered with 200."""
    # Not GANAUDIT_*: conftest.py has taken them out.
    told = os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, env=told, cwd=log.parent
        )
        try:
            address = until(process, log, lambda: re.search(says, log.read_text("utf-8")))[1]
            until(process, log, lambda: is_ready(address + ready))
            yield address
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(process: "subprocess.Popen[bytes]", log: Path, found: Callable[[], Any]) -> Any:
    """What `found` returns once that is something; the process must be alive all the time."""
    end = time.monotonic() + STARTING_S
    while not (result := found()):
        late = time.monotonic() > end
        assert process.poll() is None and not late, log.read_text("utf-8")[-2000:]
        time.sleep(0.05)
    return result


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def mlserver(folder: Path, file: Path) -> Iterator[str]:
    """Address of a model in ONNX behind MLServer."""
    python = environment("mlserver")
    folder.mkdir()
    settings = {
        "host": "127.0.0.1",
        "http_port": 0,
        "grpc_port": 0,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "faces",
        "implementation": "mlserver_model.Generator",
        "parameters": {"uri": str(file)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = (python, SCRIPTS / "mlserver_model.py", folder)
    with running(
        folder / "log",
        *command,
        says=r"Uvicorn running on (http://127.0.0.1:\d+)",
        ready="/v2/models/faces/ready",
    ) as address:
        yield f"{address}/v2/models/faces"


@contextmanager
def kserve(folder: Path, file: Path) -> Iterator[str]:
    """Address of a model in ONNX behind KServe."""
    python = environment("kserve")
    folder.mkdir()
    command = (python, SCRIPTS / "kserve_model.py", "faces", file)
    with running(
        folder / "log",
        *command,
        says=r"(?m)^(http://127.0.0.1:\d+)$",
        ready="/v2/models/faces/ready",
    ) as address:
        yield f"{address}/v2/models/faces"


# -- generators ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def small(files: Path) -> Path:
    """z [N, 8] to images [N, 3, 8, 8] in [-1, 1], by a matrix and tanh."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    matrix = np.random.default_rng(1).normal(size=(8, 192)).astype(np.float32) / 3
    shape = np.array([-1, 3, 8, 8])
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["z", "matrix"], ["rows"]),
            helper.make_node("Tanh", ["rows"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["images"]),
        ],
        "small",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(shape, "shape")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    save(made, files / "small.onnx")
    return files / "small.onnx"


@pytest.fixture(scope="module")
def faces(files: Path, artefacts: Path) -> Path:
    return export_faces_onnx(files / "faces.onnx", artefacts)


FACES = pytest.param("faces", marks=pytest.mark.artefacts)


@pytest.fixture(scope="module", params=["small", FACES])
def generator(request: pytest.FixtureRequest) -> Path:
    """An ONNX file."""
    return request.getfixturevalue(request.param)


# -- the client ------------------------------------------------------------------------------

PRIORS = {"small": "normal", "faces": "uniform"}


@pytest.fixture
def audit(config: Make, files: Path, tmp_path: Path) -> Callable[..., Audit]:
    """`audit(generator, prior)`: a small run, by a descriptor of 4 x 4 pixels."""
    descriptor = files / "descriptor.onnx"
    if not descriptor.is_file():
        save_onnx(descriptor)

    def run(generator: str, prior: str, *options: str, name: str) -> Audit:
        return diagnose(
            config(
                generator=generator,
                descriptor=str(descriptor),
                theta=0.4,
                radius=0.3,
                batch=BATCH,
                set=(f"prior={prior}", "range=-1,1", *options, *ONNX_OPTIONS),
                out=tmp_path / name,
            )
        )

    return run


def assert_same(served: Audit, local: Audit) -> None:
    for stream, count in ((Stream.ANCHORS, 64), (Stream.SAMPLES, 256)):
        status, hashes = Store(served.folder).marks(stream, count)
        expected_status, expected = Store(local.folder).marks(stream, count)
        assert len(np.unique(expected, axis=0)) == count
        assert (hashes == expected).all()
        assert (status == expected_status).all()
    assert served.report["figures"] == local.report["figures"]
    assert served.report["counts"] == local.report["counts"]
    for name in ("similarity", "mccs", "count", "slot"):
        ours, theirs = (getattr(each.diagnosis, f"{name}_by_anchor") for each in (served, local))
        assert (ours == theirs).all()


@pytest.mark.usefixtures("undrawn")
def test_a_generator_behind_mlserver_scores_as_the_same_file_here(
    generator: Path, audit: Callable[..., Audit], tmp_path: Path
) -> None:
    prior = PRIORS[generator.stem]
    way = () if generator.stem == "small" else ("binary=false",)  # MLServer has no other
    with mlserver(tmp_path / "mlserver", generator) as url:
        served = audit(url, prior, f"images_per_request={BATCH}", *way, name="served")
    assert_same(served, audit(f"onnx:{generator}", prior, name="local"))


@pytest.mark.usefixtures("undrawn")
def test_a_generator_behind_kserve_scores_as_the_same_file_here_in_json_and_in_bytes(
    generator: Path, audit: Callable[..., Audit], tmp_path: Path
) -> None:
    prior = PRIORS[generator.stem]
    local = audit(f"onnx:{generator}", prior, name="local")
    with kserve(tmp_path / "kserve", generator) as url:
        ways = [(), ("binary=false",), ("binary=true",)]
        for way in ways if generator.stem == "small" else ways[:2]:
            name = "-".join(("served", *way))
            options = (f"images_per_request={BATCH}", *way)
            assert_same(audit(url, prior, *options, name=name), local)


# -- the server ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the demo behind `ganaudit serve`."""
    folder = tmp_path_factory.mktemp("served")
    command = "from ganaudit.cli import main; main()"
    options = ("--generator", "demo", "--port", "0", "--device", "cpu")
    with running(
        folder / "log",
        *(sys.executable, "-c", command, "serve", *options),
        says=r"(?m)^(http://127.0.0.1:\d+)$",
        ready="/v2/health/ready",
    ) as address:
        yield address


def test_triton_s_client_gets_the_images_that_are_rendered_here(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python = environment("triton")
    address = request.getfixturevalue("served")
    config = SampleConfig(generator="demo", samples=5, device="cpu", out=tmp_path / "local")
    sample(config)
    images = [read_image(path) for path in sorted((tmp_path / "local" / "images").iterdir())]
    expected = torch.stack(images).numpy().astype(int)
    shutil.copy(tmp_path / "local" / "latents.npy", tmp_path)
    host = address.removeprefix("http://")
    subprocess.run([python, SCRIPTS / "triton_script.py", host, tmp_path], check=True, timeout=60)
    said = json.loads((tmp_path / "said.json").read_text("utf-8"))
    names = [f"{by}-{a}-{b}" for by, a, b in product(("latent", "seed"), *[(False, True)] * 2)]
    for name in names:
        found = np.load(tmp_path / f"{name}.npy")
        assert found.dtype == np.uint8
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1, name
    png = read_image(tmp_path / "0.png").numpy()
    assert (png == np.load(tmp_path / "seed-True-True.npy")[0]).all()
    states = ("live", "ready", "model_ready", "version_ready", "other_ready")
    assert [said[state] for state in states] == [True, True, True, True, False]
    assert said["server"]["name"] == "ganaudit"
    inputs = {port["name"]: (port["datatype"], port["shape"]) for port in said["model"]["inputs"]}
    assert inputs["latent"] == ("FP32", [-1, *np.load(tmp_path / "latents.npy").shape[1:]])
    assert inputs["seed"] == ("INT64", [-1])
    status, message = said["refused"]
    assert status in ("400", "422")
    assert "seed" in message


def test_schemathesis_finds_nothing_that_the_api_s_description_does_not_say(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    schemathesis = environment("schemathesis").parent / "schemathesis"
    address = request.getfixturevalue("served")
    paths = httpx.get(f"{address}/openapi.json", trust_env=False).json()["paths"]
    del paths["/openapi.json"]  # which it has read, and leaves out
    operations = sum(len({"get", "post"} & methods.keys()) for methods in paths.values())
    assert operations >= 9
    options = {
        "--checks": "all",
        "--max-examples": "15",
        "--seed": "7",
        "--generation-database": "none",
        "--request-timeout": "20",
    }
    command = [schemathesis, "run", f"{address}/openapi.json", "--no-color"]
    found = subprocess.run(
        [*command, *chain.from_iterable(options.items())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-1000:]
    assert re.search(rf"Tested: +{operations}\n", found.stdout)
    assert "No issues found" in found.stdout
