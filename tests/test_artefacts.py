"""Networks that nobody on this project made, as `python:` code, against what was measured once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artefacts.exports import export_faces_onnx
from conftest import TESTS

from ganaudit import baselines
from ganaudit.config import CheckConfig, DiagnoseConfig
from ganaudit.pipeline import diagnose
from ganaudit.release import check

pytestmark = [pytest.mark.artefacts, pytest.mark.usefixtures("undrawn")]

Make = Callable[..., DiagnoseConfig]
NETWORKS = TESTS / "artefacts" / "networks.py"
FACE_OPTIONS = (
    "descriptor.size=112",
    "descriptor.mean=0.485,0.456,0.406",
    "descriptor.std=0.229,0.224,0.225",
)


def figures_of(config: DiagnoseConfig, *, warned: str | None = None) -> dict[str, Any]:
    report = diagnose(config).report
    assert len(report["warnings"]) == (warned is not None)
    assert all(warned in text for text in report["warnings"])
    assert report["counts"]["anchors"]["ok"] == config.anchors
    assert report["counts"]["samples"]["ok"] == config.samples
    print(config.generator, config.set, report["figures"], file=sys.stderr)  # pytest -s shows it
    return report["figures"]


# -- faces ------------------------------------------------------------------------------------


def faces(
    config: Make, artefacts: Path, prior: str, *, warned: str | None = None
) -> dict[str, Any]:
    return figures_of(
        config(
            generator=f"python:{NETWORKS}:faces",
            descriptor=str(artefacts / "faces" / "mobilefacenet.onnx"),
            anchors=500,
            samples=2000,
            theta=0.25,
            radius=0.25,
            set=(
                f"weights={artefacts / 'faces' / 'generator.pt'}",
                f"prior={prior}",
                *FACE_OPTIONS,
            ),
        ),
        warned=warned,
    )


def test_faces_score_what_was_measured_under_their_own_prior(config: Make, artefacts: Path) -> None:
    """.088 with 500 anchors of 2,500 images, by other draws: its range here, over seeds and n."""
    figures = faces(config, artefacts, "uniform")
    assert 0.086 <= figures["mccs"]["mu"]["estimate"] <= 0.093
    # 159 neighbours were measured; 20 random splits of these 2,500 images gave 162 to 233.
    assert 120 <= figures["worst_mode"]["count"] <= 300


def test_a_wrong_prior_hides_much_of_the_collapse_of_the_faces(
    config: Make, artefacts: Path
) -> None:
    """... and is not missed: the inputs of its batch norms are not those of its training."""
    figures = faces(config, artefacts, "normal", warned="the prior normal may be wrong")
    assert 0.050 <= figures["mccs"]["mu"]["estimate"] <= 0.057


def test_the_faces_in_onnx_give_the_report_of_the_module(
    config: Make, artefacts: Path, tmp_path: Path
) -> None:
    """Exported for any batch, and for batches of 8."""
    weights = f"weights={artefacts / 'faces' / 'generator.pt'}"
    ways = {"module": (f"python:{NETWORKS}:faces", weights)}
    for name, batch in (("any", None), ("eight", 8)):
        path = export_faces_onnx(tmp_path / f"{name}.onnx", artefacts, batch=batch)
        ways[name] = (str(path), "range=-1,1")
    found = {
        name: figures_of(
            config(
                generator=generator,
                descriptor=str(artefacts / "faces" / "mobilefacenet.onnx"),
                anchors=150,
                samples=350,
                theta=0.25,
                radius=0.25,
                set=(option, "prior=uniform", *FACE_OPTIONS),
                out=tmp_path / name,
            )
        )
        for name, (generator, option) in ways.items()
    }
    # A pixel may round the other way: one grey level in a few of 3,072 values moves an embedding by
    # some 1e-4 of pi, and with it pairs that lie so near to the radius.
    module = found["module"]
    for onnx in (found["any"], found["eight"]):
        for name in ("mean_similarity", "effective_modes"):
            for end in ("estimate", "low", "high"):
                assert onnx[name][end] == pytest.approx(module[name][end], rel=2e-3)
        mu = module["mccs"]["mu"]["estimate"]
        assert onnx["mccs"]["mu"]["estimate"] == pytest.approx(mu, rel=1e-3)
        assert onnx["worst_mode"]["anchor"] == module["worst_mode"]["anchor"]
        assert onnx["worst_mode"]["count"] == pytest.approx(module["worst_mode"]["count"], abs=1)


# -- digits -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenet(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 up to the layer before its classifier, as ONNX made node by node."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = artefacts / "digits" / "lenet5.pth"
    state = torch.load(weights, weights_only=True, map_location="cpu")
    state = {name: value.numpy() for name, value in state.items() if not name.startswith("fc.f7")}
    nodes, before = [], "images"
    for layer in ("c1", "c3", "c5"):
        names = [f"convnet.{layer}.weight", f"convnet.{layer}.bias"]
        nodes += [
            helper.make_node("Conv", [before, *names], [layer]),
            helper.make_node("Relu", [layer], [f"{layer}.relu"]),
        ]
        before = f"{layer}.relu"
        if layer != "c5":
            pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
            nodes.append(helper.make_node("MaxPool", [before], [f"{layer}.pool"], **pool))
            before = f"{layer}.pool"
    nodes += [
        helper.make_node("Flatten", [before], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.f6.weight", "fc.f6.bias"], ["f6"], transB=1),
        helper.make_node("Relu", ["f6"], ["rows"]),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet5",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 84])],
        [numpy_helper.from_array(value, name) for name, value in state.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("onnx") / "lenet5.onnx"
    onnx.save(model, path)
    return path


DIGIT_OPTIONS = (
    "descriptor.size=32",
    "descriptor.mean=0",
    "descriptor.std=1",
    "descriptor.colour=grey",
)


def digits(
    config: Make, artefacts: Path, lenet: Path, name: str, factory: str, samples: int
) -> dict[str, Any]:
    return figures_of(
        config(
            generator=f"python:{NETWORKS}:{factory}",
            descriptor=str(lenet),
            anchors=1000,
            samples=samples,
            theta=0.1,
            radius=0.1,
            set=(f"weights={artefacts / 'digits' / name}", *DIGIT_OPTIONS),
        )
    )


def test_the_onnx_lenet_is_the_torch_lenet(artefacts: Path, lenet: Path) -> None:
    import importlib.util

    import onnxruntime

    spec = importlib.util.spec_from_file_location("networks_of_artefacts", NETWORKS)
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    images = torch.rand(7, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = networks.lenet(weights=artefacts / "digits" / "lenet5.pth")(images).numpy()
    session = onnxruntime.InferenceSession(str(lenet), providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"images": images.numpy()})
    assert expected.max() > 1
    assert np.allclose(rows, expected, atol=1e-4)


def test_wgan_digits_score_what_was_measured(config: Make, artefacts: Path, lenet: Path) -> None:
    """.105 / .038 / .179 / 380: with other draws, and the digits padded, not resized, to 32."""
    figures = digits(config, artefacts, lenet, "wgangp-generator.pt", "wgan", 8000)
    assert figures["mccs"]["mu"]["estimate"] == pytest.approx(0.105, abs=0.010)
    assert figures["mccs"]["sigma"]["estimate"] == pytest.approx(0.038, abs=0.005)
    assert figures["mccs"]["largest"] == pytest.approx(0.179, abs=0.015)
    # The largest of 1,000 counts, each with a standard deviation of about 19.
    assert figures["worst_mode"]["count"] == pytest.approx(380, rel=0.25)


def test_dcgan_digits_lie_in_between(config: Make, artefacts: Path, lenet: Path) -> None:
    """Nobody measured it before: digits of its kind, so within the span of real ones and less."""
    figures = digits(config, artefacts, lenet, "dcgan-generator.pt", "dcgan", 2000)
    assert 0.05 < figures["mccs"]["mu"]["estimate"] < 0.20
    assert 0.005 < figures["worst_mode"]["rate"]["estimate"] < 0.25
    assert figures["mccs"]["largest"] > figures["mccs"]["mu"]["estimate"]


# -- releases ---------------------------------------------------------------------------------


def test_a_release_is_held_against_another(config: Make, artefacts: Path, lenet: Path) -> None:
    """The DCGAN is the release before, the WGAN-GP, which crowds more, the one after."""

    def request(name: str, factory: str) -> DiagnoseConfig:
        return config(
            generator=f"python:{NETWORKS}:{factory}",
            descriptor=str(lenet),
            anchors=1000,
            samples=4000,
            theta=0.1,
            radius=0.1,
            set=(f"weights={artefacts / 'digits' / name}", *DIGIT_OPTIONS),
            out=Path(factory),
        )

    before, after = request("dcgan-generator.pt", "dcgan"), request("wgangp-generator.pt", "wgan")
    diagnose(before)
    baselines.save(Path("dcgan"), Path("baseline.json"))
    limits: dict[str, Any] = {
        "baseline": Path("baseline.json"),
        "max_increase": ("worst-rate", "mean-similarity"),
        "max_decrease": ("vendi=20%",),
        "max": ("duplicates=1%",),
    }
    found = check(CheckConfig(output=("md:comment.md",), **limits), after).document
    print(found["sentence"], found["same_place"]["sentence"], file=sys.stderr)
    verdicts = {gate["gate"]: gate["verdict"] for gate in found["gates"]}
    assert (verdicts["worst-rate"], verdicts["mean-similarity"]) == ("fail", "fail")
    assert verdicts["duplicates"] == "pass" and found["exit_code"] == 1
    comment = Path("comment.md").read_text("utf-8")
    assert comment.startswith("<!-- ganaudit check -->") and "| worst-rate |" in comment
    same = check(CheckConfig(run=Path("dcgan"), **limits)).document
    assert same["verdict"] != "fail" and not same["same_place"]["grown"]
