"""What the pages show runs as it stands, on small files of the kinds that they name."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doc_blocks import free_ports, run_page
from onnx import TensorProto, helper, numpy_helper, save
from pickled import NvidiaNetwork, write_nvidia_pickle
from PIL import Image
from torch import nn

from ganaudit.networks.stylegan2 import StyleGAN2Generator
from ganaudit.networks.stylegan2_discriminator import StyleGAN2Discriminator

DOCS = Path(__file__).parents[1] / "docs"


def small_net() -> nn.Module:
    """Latents [N, 100] to images [N, 3, 20, 20] in [-1, 1]."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (100, 1, 1)),
        nn.ConvTranspose2d(100, 8, 5),
        nn.Upsample(scale_factor=4),
        nn.Conv2d(8, 3, 3, padding=1),
        nn.Tanh(),
    ).eval()


def write_onnx(path: Path, *, conditional: bool) -> None:
    """Images tanh(z W), or tanh(psi z W + a shade of the label)."""
    rng = np.random.default_rng(1)
    matrix = (rng.normal(size=(100, 3 * 12 * 12)) / 10).astype(np.float32)
    shades = rng.normal(size=(4, 3 * 12 * 12)).astype(np.float32)
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 100])]
    nodes = [helper.make_node("MatMul", ["z", "matrix"], ["flat"])]
    if conditional:
        given += [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("psi", TensorProto.FLOAT, []),
        ]
        nodes += [
            helper.make_node("Mul", ["flat", "psi"], ["scaled"]),
            helper.make_node("Gather", ["shades", "label"], ["shade"]),
            helper.make_node("Add", ["scaled", "shade"], ["sum"]),
        ]
    nodes += [
        helper.make_node("Tanh", ["sum" if conditional else "flat"], ["values"]),
        helper.make_node("Reshape", ["values", "shape"], ["images"]),
    ]
    constants = [("matrix", matrix), ("shape", np.array([-1, 3, 12, 12], dtype=np.int64))]
    constants += [("shades", shades)] if conditional else []
    graph = helper.make_graph(
        nodes,
        "small",
        given,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 12, 12])],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_programs() -> None:
    """generator.pt and generator.pt2."""
    net, example = small_net(), torch.zeros(2, 100)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
        torch.jit.save(torch.jit.trace(net, example), "generator.pt")
    free = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=free), "generator.pt2")


def test_bring_your_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(Path("generator.onnx"), conditional=False)
    write_onnx(Path("conditional.onnx"), conditional=True)
    write_programs()
    Path("labels.txt").write_text("0\n0\n3\n1\n")
    folder = tmp_path / "apart"
    folder.mkdir()
    assert run_page(DOCS / "generators.md", folder, monkeypatch) == 7
    reports = [json.loads(path.read_text()) for path in sorted(Path().glob("audit*/report.json"))]
    assert len(reports) == 6
    assert len(list(Path("samples/images").glob("*.png"))) == 64
    assert all("as --set says" in " ".join(report["assumptions"]) for report in reports)
    labels = [report["labels"] for report in reports if report["labels"] is not None]
    assert [len(found["by_label"]) for found in labels] == [1, 3]


def test_choosing_a_descriptor_and_theta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for person in range(12):
        own = rng.uniform(30, 220, (4, 4, 3))
        for number in range(5):
            path = Path("people") / f"person {person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (own + rng.normal(0, 12, own.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(path)
    matrix = rng.normal(size=(3 * 16 * 16, 12)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["rows"]),
        ],
        "face",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 12])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, "face.onnx")
    folder = tmp_path / "apart"
    folder.mkdir()
    assert run_page(DOCS / "descriptors.md", folder, monkeypatch) == 3
    card = json.loads(Path("threshold/card.json").read_text())
    report = json.loads(Path("audit/report.json").read_text())
    assert report["scale"]["theta"] == card["theta"]["estimate"]
    assert report["scale"]["radius"] == card["radius"]["estimate"]
    assert "60 images of 12 identities" in report["scale"]["radius_origin"]
    assert report["descriptor"]["weights_sha256"] == card["weights_sha256"]


def test_auditing_an_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    ports = dict(zip(("8000", "8001", "8002"), map(str, free_ports(3)), strict=True))
    first = "ganaudit serve --generator demo:collapsed"
    smaller = {
        "--samples 2000 --anchors 500": "--samples 600 --anchors 150",
        "--samples 500 --anchors 200": "--samples 250 --anchors 100",
    }
    text = (DOCS / "api.md").read_text("utf-8")
    assert all(size in text for size in smaller)
    instead = {first: f"{first} --port {ports['8000']}", **ports, **smaller}
    assert run_page(DOCS / "api.md", folder, monkeypatch, instead=instead) == 8
    reports = [json.loads(path.read_text()) for path in sorted(Path().glob("audit*/report.json"))]
    kinds = [report["generator"]["plugin"] for report in reports]
    assert kinds == ["oip", "image_api", "predictions"]
    assert all(report["counts"]["samples"]["failed"] == 0 for report in reports)
    token = Path("token.txt").read_text().strip()
    assert not any(token in path.read_text() for path in folder.iterdir())
    assert Path("grid.png").is_file()


def test_gate_a_release_in_five_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    assert run_page(DOCS / "gate.md", folder, monkeypatch) == 8
    verdicts = {
        path.parent.name: json.loads(path.read_text())["verdict"]
        for path in Path().glob("*/check.json")
    }
    assert verdicts == {
        "release-1": "pass",
        "audit": "fail",
        "release-2": "fail",
        "release-3": "pass",
        "sequential": "fail",
    }
    assert Path("junit.xml").is_file() and Path("comment.md").is_file()


def test_thin_a_collapsed_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    assert run_page(DOCS / "calibrate.md", folder, monkeypatch) == 4
    found = json.loads(Path("calibration/calibration.json").read_text())
    assert found["verdict"]["outcome"] == "thinned"
    rates = [
        json.loads(Path(name, "report.json").read_text())["figures"]["worst_mode"]["rate"]
        for name in ("run", "after")
    ]
    assert rates[1]["high"] < rates[0]["low"] / 2


def test_train_a_model_that_does_not_collapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    small = "--set generator.width=4 --set discriminator.width=4"
    smaller = {
        "-n 5000": "-n 200",
        "--steps 5000": f"--steps 4 {small} --audit-anchors 64 --audit-samples 96",
        "--steps 10000": "--steps 6",
        "step-00010000": "step-00000006",
        "--steps 2000": "--steps 8 --snapshot-every 8",
        "steps=2000": "steps=2",
    }
    text = (DOCS / "train.md").read_text("utf-8")
    assert all(size in text for size in smaller)
    assert run_page(DOCS / "train.md", folder, monkeypatch, instead=smaller) == 7
    found = json.loads(Path("model/training.json").read_text())
    assert (found["status"], found["steps"]) == ("finished", 6)
    assert [audit["step"] for audit in found["audits"]] == [0, 4, 6]
    assert len(list(Path("samples/images").glob("*.png"))) == 64
    assert json.loads(Path("ring/training.json").read_text())["steps"] == 8


def write_stylegan2(path: Path) -> None:
    """G, D and G_ema of a StyleGAN2 for 16 pixels, as stylegan2-ada-pytorch keeps them."""
    data: dict[str, Any] = {"c_dim": 0, "img_resolution": 16, "img_channels": 3}
    narrow: dict[str, Any] = {"channel_base": 128, "channel_max": 8, "conv_clamp": 256}
    latents: dict[str, Any] = {"z_dim": 8, "w_dim": 8}
    parts = {"mapping_kwargs": {"num_layers": 2}, "synthesis_kwargs": narrow}
    torch.manual_seed(0)
    network = StyleGAN2Generator(**data, **latents, **narrow, mapping_num_layers=2)
    made = NvidiaNetwork(module=network, kwargs={**data, **latents, **parts})
    judge = StyleGAN2Discriminator(**data, **narrow)
    judged = NvidiaNetwork(module=judge, kwargs={**data, **narrow})
    write_nvidia_pickle(path, {"G": made, "D": judged, "G_ema": made})


def test_fine_tune_a_stylegan2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stylegan2(Path("faces.pkl"))
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for number in range(80):
        pixels = rng.integers(30, 220, (4, 4, 3)).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)
        picture.save(f"pictures/{number}.png")
    folder = tmp_path / "apart"
    folder.mkdir()
    size = "--anchors 64 --samples 96"
    smaller = {
        "facenet": "digits",
        "--kimg 200": "--steps 2",
        "--out tuned": "--audit-anchors 64 --audit-samples 96 --out tuned",
        **{f"--out {name}": f"{size} --out {name}" for name in ("before", "after")},
    }
    text = (DOCS / "stylegan2.md").read_text("utf-8")
    assert all(words in text for words in smaller)
    assert run_page(DOCS / "stylegan2.md", folder, monkeypatch, instead=smaller) == 6
    found = json.loads(Path("tuned/training.json").read_text())
    assert (found["status"], found["steps"]) == ("finished", 2)
    assert list(found["recipe"]["regularizers"]) == ["adaptivemix", "ada"]
    assert found["recipe"]["augment"]["kimg"] == 100 and "origin" in found["recipe"]
    assert Path("tuned/generator.onnx").is_file()
