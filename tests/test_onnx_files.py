"""What is refused before ONNX Runtime sees it, and what runs."""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ganaudit_plugins.onnx_files import OnnxFile, open_session
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import SparseTensorProto

from ganaudit.errors import ConfigError, GanauditError, SourceError, UnsafeCheckpoint

COLUMNS = 2
MATRIX = np.arange(6, dtype=np.float32).reshape(3, COLUMNS)
ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
OURS = [helper.make_opsetid("ours", 1)]


def opened(path: Path) -> OnnxFile:
    return open_session(path, torch.device("cpu"))


def product(file: OnnxFile, rows: np.ndarray = ROWS, batch: int | None = None) -> np.ndarray:
    return file.run("y", {"x": rows}, constants={}, batch=batch, blame=SourceError)


def matmul(matrix: str = "w", rows: str = "x", out: str = "y") -> Any:
    return helper.make_node("MatMul", [rows, matrix], [out])


def network(
    nodes: Iterable[Any],
    *weights: Any,
    functions: Iterable[Any] = (),
    opset: int = 17,
    ir_version: int = 10,
    batch: int | str = "N",
) -> Any:
    """[batch, 3] to [batch, 2] by `nodes`."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, COLUMNS])],
        [weight for weight in weights if isinstance(weight, TensorProto)],
        sparse_initializer=[w for w in weights if isinstance(w, SparseTensorProto)],
    )
    opsets = [helper.make_opsetid("", opset), *OURS]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, functions=list(functions)
    )


def saved(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def inline(name: str = "w") -> Any:
    return numpy_helper.from_array(MATRIX, name)


def external(name: str = "w", **facts: object) -> Any:
    """The matrix, kept where `facts` say."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=MATRIX.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "w.bin"} | facts).items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def branched(inside: Iterable[Any], *weights: Any) -> Any:
    """A network of an If with `inside` in both branches, which leads to out."""
    made = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    branch = helper.make_graph(list(inside), "branch", [], [made], list(weights))
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return network([node], helper.make_tensor("yes", TensorProto.BOOL, [], [True]))


def function(name: str, nodes: Iterable[Any]) -> Any:
    """A function of the file's own, from a to b."""
    opsets = [helper.make_opsetid("", 17), *OURS, helper.make_opsetid("com.example", 1)]
    return helper.make_function("ours", name, ["a"], ["b"], list(nodes), opsets)


def own(name: str, rows: str = "x", out: str = "y") -> Any:
    return helper.make_node(name, [rows], [out], domain="ours")


def foreign(rows: str = "x", out: str = "y") -> Any:
    return helper.make_node("Launch", [rows], [out], domain="com.example")


def refused(path: Path, kind: type[GanauditError], message: str) -> str:
    """What `opened(path)` complains of: one line of a readable length."""
    with pytest.raises(kind, match=message) as caught:
        opened(path)
    said = str(caught.value).replace(str(path), "FILE")
    assert said.isprintable() and len(said) < 400, said
    assert caught.value.exit_code == (5 if kind is UnsafeCheckpoint else 2)
    return said


# -- what runs --------------------------------------------------------------------------------


def test_a_file_is_known_by_its_bytes_and_by_what_it_says_of_itself(tmp_path: Path) -> None:
    model = network([matmul()], inline())
    model.metadata_props.add(key="colour", value="blue")
    file = opened(saved(tmp_path / "net.onnx", model))
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert file.metadata == {"colour": "blue"}
    assert [str(port) for port in (*file.inputs, *file.outputs)] == [
        "x: float [N, 3]",
        f"y: float [N, {COLUMNS}]",
    ]
    assert np.allclose(product(file), ROWS @ MATRIX, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled_up(tmp_path: Path, batch: int, count: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    file = opened(saved(tmp_path / "net.onnx", network([matmul()], inline(), batch=batch)))
    assert file.inputs[0].shape == (batch, 3)
    found = product(file, rows, batch)
    assert found.shape == (count, COLUMNS)
    assert np.allclose(found, rows @ MATRIX, atol=1e-6)


def test_what_onnx_runtime_raises_is_blamed_in_one_line(tmp_path: Path) -> None:
    file = opened(saved(tmp_path / "net.onnx", network([matmul()], inline())))
    message = "ONNX Runtime cannot run net.onnx: Got invalid dimensions for input: x"
    with pytest.raises(SourceError, match=message) as caught:
        product(file, ROWS[:, :2])
    assert "\n" not in str(caught.value)


def test_another_count_than_asked_for_is_blamed(tmp_path: Path) -> None:
    halves = [
        matmul(out="whole"),
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 2 * COLUMNS]),
        helper.make_node("Reshape", ["whole", "shape"], ["y"]),
    ]
    model = network(halves, inline())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    file = opened(saved(tmp_path / "net.onnx", model))
    with pytest.raises(SourceError, match=r"net.onnx returned shape \[2, 4\] for a batch of 4"):
        product(file, ROWS[:4])


def test_a_gpu_is_used_where_it_is_asked_for_and_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime is asked for, on a machine without a GPU."""
    path = saved(tmp_path / "net.onnx", network([matmul()], inline()))
    asked: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(data: bytes, *, sess_options: Any, providers: list[Any]) -> Any:
        assert sess_options.use_deterministic_compute
        asked.append(providers)
        return real(data, sess_options=sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    for names in (known, known[1:]):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda names=names: names)
        for device in ("cuda:1", "cpu"):
            open_session(path, torch.device(device))
    cpu = ["CPUExecutionProvider"]
    assert asked == [[("CUDAExecutionProvider", {"device_id": 1}), *cpu], cpu, cpu, cpu]


def test_a_function_of_the_files_own_is_no_custom_operator(tmp_path: Path) -> None:
    twice = function("Twice", [helper.make_node("Add", ["a", "a"], ["b"])])
    model = network([own("Twice", out="doubled"), matmul(rows="doubled")], inline())
    model.functions.append(twice)
    assert np.allclose(product(opened(saved(tmp_path / "net.onnx", model))), 2 * ROWS @ MATRIX)


PLACES: dict[str, Callable[..., Any]] = {
    "initialiser": lambda **facts: network([matmul()], external(**facts)),
    "constant": lambda **facts: network(
        [helper.make_node("Constant", [], ["w"], value=external("", **facts)), matmul()]
    ),
    "subgraph": lambda **facts: branched([matmul(out="out")], external(**facts)),
    "function": lambda **facts: network(
        [own("Times")],
        functions=[
            function(
                "Times",
                [
                    helper.make_node("Constant", [], ["w"], value=external("", **facts)),
                    matmul(rows="a", out="b"),
                ],
            )
        ],
    ),
    "sparse": lambda **facts: network([matmul()], sparse(**facts)),
}


def sparse(**facts: object) -> Any:
    """All six values of the matrix, with their places."""
    values = external(**facts)
    del values.dims[:]
    values.dims.append(MATRIX.size)
    places = numpy_helper.from_array(np.arange(MATRIX.size, dtype=np.int64), "places")
    return SparseTensorProto(values=values, indices=places, dims=MATRIX.shape)


@pytest.mark.parametrize("place", PLACES)
def test_data_beside_the_file_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "models"
    (folder / "weights").mkdir(parents=True)
    path = saved(folder / "net.onnx", PLACES[place](location="weights/w.bin", offset=4, length=24))
    (folder / "weights" / "w.bin").write_bytes(b"\0" * 4 + MATRIX.tobytes())
    monkeypatch.chdir("/")
    assert np.allclose(product(opened(path)), ROWS @ MATRIX, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_data_outside_of_the_folder_are_refused_wherever_they_are_named(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    path = saved(tmp_path / "models" / "net.onnx", PLACES[place](location="../w.bin"))
    refused(path, UnsafeCheckpoint, "inside of its own folder, got '../w.bin'; they were not read")


@pytest.mark.parametrize("names", [("a.bin", "b.bin"), ("b.bin", "a.bin")])
def test_the_hash_of_a_file_with_data_is_that_of_all_digests(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """The file's, then the data files' in the order of their locations, not of their use."""
    model = network(
        [matmul("v", out="first"), matmul("w", out="second"), sum_of("first", "second")],
        external("v", location=names[0], length=24),
        external("w", location=names[1], length=24),
    )
    path = saved(tmp_path / "net.onnx", model)
    files = [path, tmp_path / "a.bin", tmp_path / "b.bin"]
    for factor, file in enumerate(files[1:], start=1):
        file.write_bytes((factor * MATRIX).tobytes())
    file = opened(path)
    digests = [hashlib.sha256(part.read_bytes()).digest() for part in files]
    assert file.sha256 == hashlib.sha256(b"".join(digests)).hexdigest()
    assert np.allclose(product(file), 3 * ROWS @ MATRIX, atol=1e-5)


def sum_of(first: str, second: str) -> Any:
    return helper.make_node("Add", [first, second], ["y"])


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(MATRIX.tobytes())
    (tmp_path / "w.bin").symlink_to("blob")
    (tmp_path / "linked").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "linked"):
        path = saved(folder / "net.onnx", PLACES["initialiser"]())
        assert np.allclose(product(opened(path)), ROWS @ MATRIX, atol=1e-6)


# -- data that are not read -------------------------------------------------------------------


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    (tmp_path / "models" / "w.bin").symlink_to("../w.bin")
    (tmp_path / "models" / "all").symlink_to(tmp_path)
    for location in ("w.bin", "all/w.bin", "all/models/../w.bin"):
        path = saved(tmp_path / "models" / "net.onnx", PLACES["initialiser"](location=location))
        refused(path, UnsafeCheckpoint, "inside of its own folder")


@pytest.mark.parametrize(
    "location",
    ["/{folder}/w.bin", "C:\\w.bin", "\\\\server\\w.bin", "w.bin\0", "\x1b[2Jw.bin", ".", ".."],
)
def test_a_location_is_a_relative_path_of_a_file(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    location = location.format(folder=tmp_path)
    path = saved(tmp_path / "net.onnx", PLACES["initialiser"](location=location))
    refused(path, UnsafeCheckpoint, "inside of its own folder")


def test_an_address_in_memory_is_no_location(tmp_path: Path) -> None:
    """ONNX Runtime's own mark of one, under which there could be a file, too."""
    mark = "*/_ORT_MEM_ADDR_/*"
    (tmp_path / mark).parent.mkdir(parents=True)
    (tmp_path / mark).write_bytes(MATRIX.tobytes())
    path = saved(tmp_path / "net.onnx", PLACES["initialiser"](location=mark))
    refused(path, UnsafeCheckpoint, r"got '\*/_ORT_MEM_ADDR_/\*'")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"location": "v.bin"}, "needs 'v.bin' beside it, which is missing; copy both"),
        ({"location": "v" * 300}, "needs 'vvv.*' beside it, which is missing"),
        ({"location": "circle"}, "needs 'circle' beside it, which is missing"),
        ({"location": "folder"}, "needs 'folder' beside it, which is missing"),
        ({"location": ""}, "does not say, or says twice, where the data beside it are"),
        ({"length": 28}, "needs 28 bytes of w.bin, which has 24"),
        ({"offset": 1, "length": 24}, "needs 25 bytes of w.bin, which has 24"),
        ({"offset": 25}, "needs 25 bytes of w.bin, which has 24"),
        ({"offset": -4}, "an offset and a length in bytes, got '-4' and '0'"),
        ({"length": "9" * 30}, "an offset and a length in bytes, got '0' and '999"),
        ({"length": "all"}, "an offset and a length in bytes, got '0' and 'all'"),
        ({"offset": 4}, "cannot be read as an ONNX network"),  # by ONNX Runtime itself
        ({"length": 20}, "cannot be read as an ONNX network"),
    ],
)
def test_data_that_are_not_all_there_are_missed(
    tmp_path: Path, facts: dict[str, object], message: str
) -> None:
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    path = saved(tmp_path / "net.onnx", PLACES["initialiser"](**facts))
    refused(path, ConfigError, message)


def test_a_location_that_is_said_twice_is_refused(tmp_path: Path) -> None:
    """Two readers might not take the same."""
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    model = PLACES["initialiser"]()
    model.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")
    refused(saved(tmp_path / "net.onnx", model), ConfigError, "says twice, where")


def test_data_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganaudit_plugins.onnx_checks._MOST_DATA_BYTES", 23)
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes())
    refused(saved(tmp_path / "net.onnx", PLACES["initialiser"]()), ConfigError, "beside it exceed")


# -- operators --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        lambda: network([foreign()]),
        lambda: branched([foreign(out="out")]),
        lambda: network([own("Hidden")], functions=[function("Hidden", [foreign("a", "b")])]),
        lambda: network([matmul()], inline(), functions=[function("Unused", [foreign("a", "b")])]),
    ],
    ids=["graph", "branch", "function", "unused function"],
)
def test_a_custom_operator_is_refused_wherever_it_hides(
    tmp_path: Path, model: Callable[[], Any]
) -> None:
    path = saved(tmp_path / "net.onnx", model())
    refused(
        path, ConfigError, r"needs custom operators \(com.example.Launch\), which are a library"
    )


def test_a_function_of_another_name_does_not_excuse_an_operator(tmp_path: Path) -> None:
    twice = function("Twice", [helper.make_node("Add", ["a", "a"], ["b"])])
    model = network([own("Thrice")], functions=[twice])
    refused(saved(tmp_path / "net.onnx", model), ConfigError, r"operators \(ours.Thrice\)")


def test_many_custom_operators_are_counted_off_and_shown_without_control_characters(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node(f"Op\x1b[31m{i}\n", ["x"], [f"y{i}"], domain="com.example")
        for i in range(5)
    ]
    said = refused(saved(tmp_path / "net.onnx", network(nodes)), ConfigError, "custom operators")
    assert ".Op [31m2, ...)" in said and "31m3" not in said


def test_a_compiled_program_is_refused(tmp_path: Path) -> None:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="../e.so"
    )
    path = saved(tmp_path / "net.onnx", network([node]))
    refused(path, UnsafeCheckpoint, "a program compiled for an accelerator .* nothing was run")


def test_an_operator_of_onnx_runtimes_own_is_run(tmp_path: Path) -> None:
    node = helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", alpha=2.0)
    model = network([node], inline())
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = product(opened(saved(tmp_path / "net.onnx", model)))
    assert np.allclose(found, 2 * ROWS @ MATRIX, atol=1e-5)


# -- sizes ------------------------------------------------------------------------------------


def doubling(levels: int) -> Any:
    """2 ** levels additions out of `levels` short functions."""
    bodies = [[helper.make_node("Add", ["a", "a"], ["b"])]]
    bodies += [[own(f"F{i}", "a", "m"), own(f"F{i}", "m", "b")] for i in range(levels)]
    return network(
        [own(f"F{levels}", out="grown"), matmul(rows="grown")],
        inline(),
        functions=[function(f"F{i}", body) for i, body in enumerate(bodies)],
    )


def test_functions_that_multiply_are_refused_before_they_are_copied(tmp_path: Path) -> None:
    found = product(opened(saved(tmp_path / "net.onnx", doubling(4))))
    assert np.allclose(found, 2**16 * ROWS @ MATRIX, rtol=1e-5)
    for levels in (17, 300):
        path = saved(tmp_path / "net.onnx", doubling(levels))
        refused(path, ConfigError, "grows beyond 131072 nodes")


def test_functions_that_call_each_other_are_refused(tmp_path: Path) -> None:
    bodies = [function("A", [own("B", "a", "b")]), function("B", [own("A", "a", "b")])]
    path = saved(tmp_path / "net.onnx", network([own("A")], functions=bodies))
    refused(path, ConfigError, "has a function that calls itself, which ONNX forbids")


def test_a_file_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "net.onnx", network([matmul()], inline()))
    monkeypatch.setattr("ganaudit_plugins.onnx_files._MOST_BYTES", path.stat().st_size - 1)
    refused(path, ConfigError, "is larger than 0 MiB, the most that the format allows")


def test_an_input_has_a_largest_size(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", network([matmul()], inline(), batch=2**40))
    refused(path, ConfigError, rf"takes x: float \[{2**40}, 3\]: more than 268435456 values")


def test_weights_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2**50], raw_data=b"\0" * 8)
    path = saved(tmp_path / "net.onnx", network([matmul()], weight))
    refused(path, ConfigError, "cannot be read as an ONNX network")


# -- what is no ONNX, or too new --------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"I am a text", b"\x00" * 64, b"\x89PNG\r\n", b"\x08\x08", b"\xff" * 99]
)
def test_what_is_no_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    refused(tmp_path / "net.onnx", ConfigError, "cannot be read as an ONNX network")


def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    model = network([matmul()], inline())
    del model.opset_import[1:]  # a file without it would be whole
    whole = model.SerializeToString()
    for length in range(len(whole)):
        (tmp_path / "net.onnx").write_bytes(whole[:length])
        refused(tmp_path / "net.onnx", ConfigError, "cannot be read as an ONNX network")


def test_subgraphs_nested_beyond_measure_are_refused(tmp_path: Path) -> None:
    """Before ONNX Runtime, which hears of a few levels, parses them with a stack of its own."""
    for levels, by in ((5, "(?!it is cut)"), (60, "it is cut short, or something else")):
        data = b""
        for _ in range(levels):
            attribute = b"\x0a\x01g" + field(6, data) + b"\xa0\x01\x05"  # of type GRAPH
            data = field(1, field(5, attribute) + field(4, b"If"))
        model = b"\x08\x0a" + field(7, data) + field(8, b"\x10\x11")
        (tmp_path / "net.onnx").write_bytes(model)
        refused(tmp_path / "net.onnx", ConfigError, f"read as an ONNX network: {by}")


def field(number: int, data: bytes) -> bytes:
    """A part of a protocol buffer, in its bytes."""
    length, head = len(data), bytes([number << 3 | 2])
    while length >= 128:
        head, length = head + bytes([length % 128 | 128]), length // 128
    return head + bytes([length]) + data


def test_a_newer_opset_is_refused_with_the_newest_that_is_known(tmp_path: Path) -> None:
    """The number is ONNX Runtime's own: a network of that opset runs."""
    said = refused(
        saved(tmp_path / "net.onnx", network([matmul()], inline(), opset=999)),
        ConfigError,
        "uses opset 999 of ai.onnx, .* export it with an older opset or update onnxruntime",
    )
    (most,) = re.findall(r"ONNX Runtime \(.*\) knows (\d+) at most", said)
    assert onnxruntime.__version__ in said
    model = network([matmul()], inline(), opset=int(most))
    assert np.allclose(product(opened(saved(tmp_path / "net.onnx", model))), ROWS @ MATRIX)


def test_a_newer_ir_version_is_refused_with_the_newest_that_is_known(tmp_path: Path) -> None:
    said = refused(
        saved(tmp_path / "net.onnx", network([matmul()], inline(), ir_version=999)),
        ConfigError,
        "has IR version 999, .* save it with an older onnx or update onnxruntime",
    )
    (most,) = re.findall(r"knows (\d+) at most", said)
    model = network([matmul()], inline(), ir_version=int(most))
    assert np.allclose(product(opened(saved(tmp_path / "net.onnx", model))), ROWS @ MATRIX)


def test_an_operator_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.onnx", network([helper.make_node("Dream", ["x"], ["y"])]))
    refused(path, ConfigError, "cannot be read as an ONNX network: .*Dream")


def test_a_network_without_an_output_is_refused(tmp_path: Path) -> None:
    model = network([matmul()], inline())
    del model.graph.output[:]
    refused(saved(tmp_path / "net.onnx", model), ConfigError, "net.onnx has no output")


def test_real_exporters_write_data_beside_as_we_read_them(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(network([matmul()], inline()), path, save_as_external_data=True, size_threshold=0)
    assert len(list(tmp_path.iterdir())) == 2
    assert np.allclose(product(opened(path)), ROWS @ MATRIX, atol=1e-6)
