"""`onnx:FILE` as a descriptor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import ONNX_OPTIONS, save_onnx
from onnx import TensorProto, helper, numpy_helper

from ganaudit import registry
from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, DescriptorError, UnsafeCheckpoint
from ganaudit.pipeline import diagnose

Make = Callable[..., DiagnoseConfig]


def descriptor(spec: str, **options: str) -> Any:
    return registry.open_plugin("descriptors", spec, options, device=torch.device("cpu"))[0]


DECLARED = {"size": "4", "mean": "0.5", "std": "0.5"}
IMAGES = torch.randint(256, (5, 3, 4, 4), generator=torch.Generator().manual_seed(1)).to(
    torch.uint8
)


def test_an_onnx_network_gives_its_own_product(onnx_file: Path) -> None:
    opened = descriptor(str(onnx_file), **DECLARED)  # told apart by content and suffix
    rows, valid = opened.embed(IMAGES)
    matrix = numpy_helper.to_array(onnx.load(onnx_file).graph.initializer[0]).astype(np.float64)
    raw = (IMAGES.numpy().reshape(5, -1) / 127.5 - 1) @ matrix
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(rows.numpy(), expected, atol=1e-6)
    assert valid.all()
    assert (opened.card.theta, opened.card.licence) == (None, None)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_fixed_in_the_file_changes_nothing(onnx_file: Path, batch: int) -> None:
    fixed = save_onnx(onnx_file.with_name("fixed.onnx"), batch=batch)
    rows = [descriptor(f"onnx:{path}", **DECLARED).embed(IMAGES)[0] for path in (onnx_file, fixed)]
    assert torch.allclose(rows[0], rows[1], atol=1e-6)


def test_colour_mean_and_std_reach_the_network(onnx_file: Path) -> None:
    red_last = descriptor(f"onnx:{onnx_file}", **DECLARED, colour="bgr").embed(IMAGES)[0]
    swapped = descriptor(f"onnx:{onnx_file}", **DECLARED).embed(IMAGES.flip(1))[0]
    assert torch.equal(red_last, swapped)
    grey_file = save_onnx(onnx_file.with_name("grey.onnx"), channels=1)
    rows, _ = descriptor(f"onnx:{grey_file}", **DECLARED, colour="grey").embed(IMAGES)
    assert tuple(rows.shape) == (5, 8)


@pytest.mark.parametrize("name", ["size", "mean", "std"])
def test_a_normalisation_is_not_guessed(onnx_file: Path, name: str) -> None:
    declared = {key: value for key, value in DECLARED.items() if key != name}
    with pytest.raises(ConfigError, match=f"needs its {name}: .*--set descriptor.size"):
        descriptor(f"onnx:{onnx_file}", **declared)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "5"}, r"takes input \['N', 3, 4, 4\], the preprocessing makes \[N, 3, 5, 5\]"),
        ({"size": "4,5"}, r"makes \[N, 3, 4, 5\]"),
        ({"size": "4,4,4"}, "descriptor.size wants one or two numbers, got 3"),
        ({"size": "0"}, "descriptor.size must be 1 to 8192"),
        ({"size": "big"}, "size must be a whole number, got 'big'"),
        ({"mean": "0.1,0.2"}, "descriptor.mean wants 1 or 3 values, got 2"),
        ({"std": "0"}, "descriptor.std must be positive"),
        ({"colour": "grey"}, r"makes \[N, 1, 4, 4\]"),
        ({"resize": "lanczos"}, "resize must be one of nearest, bilinear, bicubic"),
        ({"sdt": "1"}, "the descriptor 'onnx' has no option 'sdt'; did you mean 'std'"),
    ],
)
def test_a_preprocessing_that_does_not_fit_is_refused(
    onnx_file: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        descriptor(f"onnx:{onnx_file}", **(DECLARED | options))


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("I am a text")
    for spec in (f"onnx:{tmp_path}/text.onnx", f"{tmp_path}/text.onnx"):
        with pytest.raises(ConfigError, match="text.onnx cannot be read as an ONNX network"):
            descriptor(spec, **DECLARED)
    with pytest.raises(ConfigError, match="onnx: no such file: absent.onnx"):
        descriptor("onnx:absent.onnx", **DECLARED)


def changed_onnx(path: Path, change: Callable[[Any], None]) -> Path:
    """The tiny network with its protocol buffer changed."""
    model = onnx.load(save_onnx(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    def second(model: Any) -> None:
        more = helper.make_tensor_value_info("more", TensorProto.FLOAT, ["N", 8])
        model.graph.input.append(more)
        model.graph.node[-1].output[0] = "product"
        model.graph.node.append(helper.make_node("Add", ["product", "more"], ["rows"]))

    path = changed_onnx(tmp_path / "two.onnx", second)
    with pytest.raises(ConfigError, match="one floating-point input, got images: .*, more: "):
        descriptor(f"onnx:{path}", **DECLARED)


def test_a_network_of_integers_is_refused(tmp_path: Path) -> None:
    def integers(model: Any) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        cast = helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT)
        model.graph.node[0].input[0] = "cast"
        model.graph.node.insert(0, cast)

    path = changed_onnx(tmp_path / "bytes.onnx", integers)
    with pytest.raises(ConfigError, match=r"got images: uint8 \[N, 3, 4, 4\]"):
        descriptor(f"onnx:{path}", **DECLARED)


def test_a_custom_operator_is_refused(tmp_path: Path) -> None:
    def custom(model: Any) -> None:
        model.graph.node[-1].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    path = changed_onnx(tmp_path / "custom.onnx", custom)
    with pytest.raises(ConfigError, match="needs custom operators .com.example.MatMul"):
        descriptor(f"onnx:{path}", **DECLARED)


def beside(path: Path, location: str) -> Path:
    """The tiny network with its matrix in a file beside it, or wherever `location` leads."""

    def external(model: Any) -> None:
        matrix = model.graph.initializer[0]
        matrix.ClearField("raw_data")
        matrix.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(48 * 8 * 4))):
            matrix.external_data.add(key=key, value=value)

    return changed_onnx(path, external)


def test_data_beside_the_file_are_read_from_there_alone(
    tmp_path: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the working directory is; and nothing is read from anywhere else."""
    matrix = numpy_helper.to_array(onnx.load(onnx_file).graph.initializer[0])
    (tmp_path / "models").mkdir()
    inside = beside(tmp_path / "models" / "inside.onnx", "matrix.bin")
    (tmp_path / "models" / "matrix.bin").write_bytes(matrix.tobytes())
    outside = beside(tmp_path / "models" / "outside.onnx", "../secret.bin")
    (tmp_path / "secret.bin").write_bytes(matrix.tobytes())
    (wanted, _) = descriptor(f"onnx:{onnx_file}", **DECLARED).embed(IMAGES)
    for here in (tmp_path, tmp_path / "models"):
        monkeypatch.chdir(here)
        opened = descriptor(f"onnx:{inside}", **DECLARED)
        assert torch.equal(opened.embed(IMAGES)[0], wanted)
        with pytest.raises(UnsafeCheckpoint, match="inside of its own folder, got '../secret.bin'"):
            descriptor(f"onnx:{outside}", **DECLARED)


def test_the_data_beside_a_file_belong_to_its_identity(tmp_path: Path) -> None:
    path = beside(tmp_path / "model.onnx", "matrix.bin")
    hashes = []
    for first in (0, 1):
        values = np.arange(first, first + 48 * 8, dtype=np.float32)
        (tmp_path / "matrix.bin").write_bytes(values.tobytes())
        hashes.append(descriptor(f"onnx:{path}", **DECLARED).card.weights_sha256)
    assert hashes[0] != hashes[1]


def test_a_network_that_returns_no_numbers_is_refused(tmp_path: Path) -> None:
    def text(model: Any) -> None:
        model.graph.node[-1].output[0] = "product"
        words = helper.make_node("Cast", ["product"], ["rows"], to=TensorProto.STRING)
        model.graph.node.append(words)
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING

    path = changed_onnx(tmp_path / "text.onnx", text)
    with pytest.raises(ConfigError, match=r"must return numbers, got rows: string \[N, 8\]"):
        descriptor(f"onnx:{path}", **DECLARED)


def test_what_onnx_runtime_raises_is_the_descriptors_fault_in_one_line(tmp_path: Path) -> None:
    """A reshape to rows of 7 out of 8 columns, which only an image can show."""

    def reshaped(model: Any) -> None:
        model.graph.node[-1].output[0] = "product"
        shape = numpy_helper.from_array(np.array([-1, 7]), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.append(helper.make_node("Reshape", ["product", "shape"], ["rows"]))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7

    path = changed_onnx(tmp_path / "reshaped.onnx", reshaped)
    opened = descriptor(f"onnx:{path}", **DECLARED)
    with pytest.raises(DescriptorError, match="ONNX Runtime cannot run reshaped.onnx") as caught:
        opened.embed(IMAGES)
    assert "\n" not in str(caught.value)


def test_a_network_that_returns_nothing_to_compare_is_the_descriptors_fault(
    tmp_path: Path, config: Make
) -> None:
    def zeros(model: Any) -> None:
        model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.zeros((48, 8), np.float32), "matrix")
        )

    path = changed_onnx(tmp_path / "zero.onnx", zeros)
    asked = config(generator="demo", descriptor=str(path), theta=0.3, radius=0.2, set=ONNX_OPTIONS)
    with pytest.raises(DescriptorError, match="a row that is zero"):
        diagnose(asked)
