"""`onnx:FILE` as a generator: small networks against NumPy, and the real faces against torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TESTS, Ended
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

from ganaudit import registry
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.slots import Draws, Stream, draw
from ganaudit.userfile import import_file

KINDS = {
    "float": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "double": TensorProto.DOUBLE,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}
HEIGHT, WIDTH, CLASSES = 5, 6, 4
SAID = {"prior": "normal", "range": "-1,1"}


def generator(path: Path, **options: str) -> Any:
    return registry.open_plugin(
        "generators", f"onnx:{path}", SAID | options, device=torch.device("cpu")
    )[0]


def undeclared(path: Path, **options: str) -> Any:
    return registry.open_plugin("generators", f"onnx:{path}", options, device=torch.device("cpu"))[
        0
    ]


def drawn(source: Any, count: int = 5, seed: int = 0) -> Draws:
    return draw(
        np.arange(count),
        seed=seed,
        stream=Stream.SAMPLES,
        latent_shape=source.latent_shape,
        prior=source.prior,
        labels=np.arange(source.num_labels) if source.num_labels else None,
    )


@dataclass(kw_only=True)
class Net:
    """A small network as an ONNX file, and the same in NumPy.

    The latents (times psi, plus a row of a table for the label) times a matrix, through tanh.

    Attributes:
      batch: of latents and labels; text: any.
      latent: shape of one.
      kind: of latents, weights and images.
      channels: of the images.
      layout: of the images.
      quantised: whether the images are uint8.
      label: shape and type of the labels' input; () none.
      label_kind: of the labels.
      psi: shape of a factor of the latents; None: there is none.
      default_psi: the factor has this value unless another is given.
      unused: name, type and shape of inputs that change nothing.
      rows: whether a second output has the product before the tanh.
      said: metadata.
    """

    batch: int | str = "N"
    latent: tuple[int | str, ...] = (7,)
    kind: str = "float"
    channels: int = 3
    layout: str = "NCHW"
    quantised: bool = False
    label: tuple[int | str, ...] = ()
    label_kind: str = "int64"
    psi: tuple[int | str, ...] | None = None
    default_psi: float | None = None
    unused: tuple[tuple[str, str, tuple[int | str, ...]], ...] = ()
    rows: bool = False
    said: dict[str, Any] | None = None

    @property
    def width(self) -> int:
        return int(np.prod([side if isinstance(side, int) else 7 for side in self.latent]))

    @property
    def shape(self) -> list[int]:
        chw, hwc = [self.channels, HEIGHT, WIDTH], [HEIGHT, WIDTH, self.channels]
        return chw if self.layout == "NCHW" else hwc

    @property
    def weights(self) -> dict[str, NDArray[np.float64]]:
        rng, pixels = np.random.default_rng(3), self.channels * HEIGHT * WIDTH
        return {
            "matrix": rng.normal(size=(self.width, pixels)) / 4,
            "table": rng.normal(size=(CLASSES, pixels)),
        }

    def model(self) -> Any:
        kind, numpy_kind = KINDS[self.kind], {"float16": "f2", "double": "f8"}.get(self.kind, "f4")
        nodes = [helper.make_node("Flatten", ["z"], ["flat"])]
        inputs = [helper.make_tensor_value_info("z", kind, [self.batch, *self.latent])]
        constants = {"shape": np.array([-1, *self.shape])}
        constants |= {name: value.astype(numpy_kind) for name, value in self.weights.items()}
        last = "flat"
        if self.psi is not None:
            inputs.append(helper.make_tensor_value_info("psi", kind, self.psi))
            nodes.append(helper.make_node("Mul", [last, "psi"], ["psied"]))
            last = "psied"
        if self.default_psi is not None:
            constants["psi"] = np.full(self.psi, self.default_psi, numpy_kind)
        nodes.append(helper.make_node("MatMul", [last, "matrix"], ["product"]))
        last = "product"
        if self.label:
            label_kind = KINDS[self.label_kind]
            inputs.append(helper.make_tensor_value_info("y", label_kind, self.label))
            if len(self.label) == 2 and self.label[1] != 1:
                nodes += [
                    helper.make_node("Cast", ["y"], ["one"], to=kind),
                    helper.make_node("MatMul", ["one", "table"], ["row"]),
                ]
            else:
                nodes += [
                    helper.make_node("Gather", ["table", "y"], ["rows_of"]),
                    helper.make_node("Flatten", ["rows_of"], ["row"]),
                ]
            nodes.append(helper.make_node("Add", [last, "row"], ["conditioned"]))
            last = "conditioned"
        ends = [last, "native" if self.quantised else "images"]
        nodes += [
            helper.make_node("Tanh", [ends[0]], ["values"]),
            helper.make_node("Reshape", ["values", "shape"], [ends[1]]),
        ]
        if self.quantised:
            constants |= {"half": np.array(127.5, numpy_kind)}
            constants |= {"black": np.array(0, numpy_kind), "white": np.array(255, numpy_kind)}
            nodes += [
                helper.make_node("Mul", ["native", "half"], ["scaled"]),
                helper.make_node("Add", ["scaled", "half"], ["shifted"]),
                helper.make_node("Round", ["shifted"], ["rounded"]),
                helper.make_node("Clip", ["rounded", "black", "white"], ["clipped"]),
                helper.make_node("Cast", ["clipped"], ["images"], to=TensorProto.UINT8),
            ]
        inputs += [
            helper.make_tensor_value_info(name, KINDS[type_], shape)
            for name, type_, shape in self.unused
        ]
        made = TensorProto.UINT8 if self.quantised else kind
        batch = self.batch
        outputs = [helper.make_tensor_value_info("images", made, [batch, *self.shape])]
        if self.rows:
            outputs.insert(0, helper.make_tensor_value_info(last, kind, [batch, None]))
        graph = helper.make_graph(
            nodes,
            "net",
            inputs,
            outputs,
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if self.said is not None:
            model.metadata_props.add(key="ganaudit", value=json.dumps(self.said))
        return model

    def save(self, path: Path) -> Path:
        save(self.model(), path)
        return path

    def images(self, draws: Draws, psi: float | list[float] = 1.0) -> NDArray[np.uint8]:
        """uint8 [N, 3, HEIGHT, WIDTH], in float64."""
        assert draws.latents is not None
        z = draws.latents.numpy().astype(np.float64).reshape(len(draws), -1)
        product = (z * np.array(psi)) @ self.weights["matrix"]
        if self.label:
            assert draws.labels is not None
            product += self.weights["table"][draws.labels.numpy()]
        values = np.tanh(product).reshape(-1, *self.shape)
        if self.layout == "NHWC":
            values = values.transpose(0, 3, 1, 2)
        grey = np.round((values + 1) * 127.5).astype(np.uint8)
        return np.repeat(grey, 3, axis=1) if self.channels == 1 else grey


def apart(found: torch.Tensor, wanted: NDArray[np.uint8] | torch.Tensor) -> int:
    """The largest difference in grey levels between images that differ among each other."""
    there = np.asarray(wanted).astype(int)
    assert found.dtype == torch.uint8 and tuple(found.shape) == there.shape
    assert there.std() > 20
    return int(np.abs(found.numpy().astype(int) - there).max())


# -- against NumPy ----------------------------------------------------------------------------

CASES: dict[str, tuple[Net, dict[str, str]]] = {
    "any batch": (Net(), {}),
    "batch of 1": (Net(batch=1), {}),
    "batch of 3": (Net(batch=3), {}),
    "NHWC": (Net(layout="NHWC"), {}),
    "NHWC of a batch of 3": (Net(layout="NHWC", batch=3, channels=1), {}),
    "grey": (Net(channels=1), {}),
    "a latent of rank 3": (Net(latent=(7, 1, 2)), {}),
    "an open latent": (Net(latent=("Z",)), {"latent_shape": "7"}),
    "a half open latent": (Net(latent=("Z", 2)), {"latent_shape": "7,2"}),
    "float16": (Net(kind="float16"), {}),
    "double": (Net(kind="double"), {}),
    "labels": (Net(label=("N",)), {"num_labels": "4"}),
    "labels of int32 in a column": (Net(label=("N", 1), label_kind="int32"), {"num_labels": "4"}),
    "labels for a batch of 3": (Net(label=(3,), batch=3), {"num_labels": "4"}),
    "labels for a batch of 1": (Net(label=(1, 1), batch=1), {"num_labels": "4"}),
    "labels fix the batch": (Net(label=(3,)), {"num_labels": "4", "label_input": "y"}),
    "one-hot labels": (
        Net(label=("N", 4), label_kind="float"),
        {"label_input": "y"},
    ),
    "one-hot labels of integers": (Net(label=("N", 4)), {"label_input": "y"}),
    "one-hot labels of open width": (
        Net(label=("N", "K"), label_kind="float"),
        {"label_input": "y", "num_labels": "4"},
    ),
    "one-hot labels that are left over": (
        Net(label=("N", 4), label_kind="float"),
        {"latent_input": "z", "num_labels": "4"},
    ),
    "two outputs": (Net(rows=True), {}),
    "a named output": (Net(rows=True), {"output": "images"}),
    "a named latent": (Net(), {"latent_input": "z"}),
}
QUANTISED = [Net(quantised=True, layout="NHWC"), Net(quantised=True, batch=3, kind="float16")]


@pytest.mark.parametrize("name", CASES)
def test_images_are_those_of_numpy_within_a_grey_level(tmp_path: Path, name: str) -> None:
    net, options = CASES[name]
    opened = generator(net.save(tmp_path / "net.onnx"), **options)
    assert opened.num_labels == (CLASSES if net.label else 0)
    for count in (1, 4, 9):
        draws = drawn(opened, count)
        assert apart(opened.render(draws), net.images(draws)) <= 1


@pytest.mark.parametrize("net", QUANTISED, ids=["NHWC", "NCHW"])
def test_bytes_are_taken_as_they_are(tmp_path: Path, net: Net) -> None:
    net.said = {"range": [0, 255]}  # of no meaning here
    opened = undeclared(net.save(tmp_path / "net.onnx"), prior="normal")
    draws = drawn(opened, 4)
    assert apart(opened.render(draws), net.images(draws)) <= 1
    assert opened.identity["range"] is None
    assert not any("black" in sentence for sentence in opened.assumptions)


@pytest.mark.parametrize("name", CASES)
def test_an_image_does_not_depend_on_its_batch(tmp_path: Path, name: str) -> None:
    net, options = CASES[name]
    opened = generator(net.save(tmp_path / "net.onnx"), **options)
    draws = drawn(opened, 7)
    together = opened.render(draws)
    alone = torch.cat([opened.render(draws[i : i + 1]) for i in range(7)])
    assert apart(alone, together) <= 1
    assert apart(opened.render(draws[2:6]), together[2:6]) <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_images_lie_where_their_latents_do(tmp_path: Path) -> None:
    net = Net(label=("N",))
    opened = generator(net.save(tmp_path / "net.onnx"), num_labels="4")
    draws = drawn(opened)
    found = opened.render(draws.to(torch.device("cuda")))
    assert found.device.type == "cuda"
    assert apart(found.cpu(), net.images(draws)) <= 1


@pytest.mark.parametrize(
    ("shape", "said", "psi"),
    [
        ((), "0.5", 0.5),
        ((1,), "0.5", 0.5),
        ((1, 1), "-2", -2.0),
        (("N", 1), "0.75", 0.75),
        ((7,), "0.5", 0.5),
        ((7,), "0,1,0,-1,2, 1,0.5", [0, 1, 0, -1, 2, 1, 0.5]),
        (("N", 7), "0,1,0,-1,2,1,0.5", [0, 1, 0, -1, 2, 1, 0.5]),
    ],
)
@pytest.mark.parametrize("batch", ["N", 3])
def test_another_input_gets_what_was_said(
    tmp_path: Path, batch: int | str, shape: tuple[int | str, ...], said: str, psi: Any
) -> None:
    net = Net(psi=shape, batch=batch)
    options = {"psi": said} | ({"latent_input": "z"} if len(shape) == 2 else {})
    opened = generator(net.save(tmp_path / "net.onnx"), **options)
    draws = drawn(opened, 5)
    assert apart(opened.render(draws), net.images(draws, psi)) <= 1
    sides = shape[1:] if "N" in shape else shape
    assert opened.identity["inputs"] == {"psi": np.broadcast_to(psi, sides).tolist()}
    assert f"The input psi is {said}, as --set says." in opened.assumptions


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        ("bool", "True", True),
        ("bool", "0", False),
        ("int32", "-3", -3),
        ("uint8", "255", 255),
        ("double", "1e300", 1e300),
        ("float", " .5 ", 0.5),
    ],
)
def test_a_value_has_the_type_of_its_input(
    tmp_path: Path, kind: str, said: str, value: object
) -> None:
    net = Net(unused=(("other", kind, ()),))
    opened = generator(net.save(tmp_path / "net.onnx"), other=said)
    assert opened.identity["inputs"] == {"other": value}
    draws = drawn(opened)
    assert apart(opened.render(draws), net.images(draws)) <= 1


def test_what_an_input_gets_belongs_to_the_identity(tmp_path: Path) -> None:
    path = Net(psi=(1,)).save(tmp_path / "net.onnx")
    first, second = (generator(path, psi=psi).identity for psi in ("0.5", "0.7"))
    assert first["inputs"] == {"psi": [0.5]}
    assert {key for key in first if first[key] != second[key]} == {"inputs"}


def test_an_input_with_a_value_in_the_file_may_be_given_another(tmp_path: Path) -> None:
    net = Net(psi=(1,), default_psi=0.5)
    path = net.save(tmp_path / "net.onnx")
    for opened, psi in ((generator(path), 0.5), (generator(path, psi="-1"), -1.0)):
        draws = drawn(opened)
        assert apart(opened.render(draws), net.images(draws, psi)) <= 1


def test_a_class_may_be_held_instead_of_drawn(tmp_path: Path) -> None:
    net = Net(label=("N",))
    opened = generator(net.save(tmp_path / "net.onnx"), y="2")
    assert opened.num_labels == 0
    draws = drawn(opened)
    assert draws.labels is None
    labelled = Draws(
        index=draws.index, seeds=draws.seeds, latents=draws.latents, labels=torch.full((5,), 2)
    )
    assert apart(opened.render(draws), net.images(labelled)) <= 1


def test_the_files_metadata_declares_what_nobody_says(tmp_path: Path) -> None:
    said = {"prior": "uniform", "range": [-1, 1], "layout": "NCHW", "num_labels": CLASSES}
    said |= {"latent_shape": None, "latent_scale": None}
    net = Net(label=("N",), said=said)
    opened = undeclared(net.save(tmp_path / "net.onnx"))
    assert (opened.prior, opened.num_labels, opened.latent_shape) == ("uniform", CLASSES, (7,))
    draws = drawn(opened)
    assert apart(opened.render(draws), net.images(draws)) <= 1
    assert "Latents are drawn from the uniform prior, as the file says." in opened.assumptions
    overruled = undeclared(tmp_path / "net.onnx", prior="normal")
    assert overruled.prior == "normal"
    assert "Latents are drawn from the normal prior, as --set says." in overruled.assumptions


def test_the_identity_is_json_and_names_what_was_chosen(tmp_path: Path) -> None:
    net = Net(label=("N",), rows=True)
    opened = generator(net.save(tmp_path / "net.onnx"), num_labels="4")
    identity = json.loads(json.dumps(opened.identity))
    chosen = {key: identity[key] for key in ("latent_input", "label_input", "output", "inputs")}
    assert chosen == {"latent_input": "z", "label_input": "y", "output": "images", "inputs": {}}
    assert (identity["prior"], identity["num_labels"]) == ("normal", CLASSES)


# -- what is refused --------------------------------------------------------------------------


def refused(path: Path, message: str, **options: str) -> str:
    with pytest.raises(ConfigError, match=message) as caught:
        generator(path, **options)
    return readable(caught.value, path)


def readable(error: GanauditError, path: Path) -> str:
    said = str(error).replace(str(path), "FILE")
    assert said.isprintable() and len(said) < 400, said
    return said


REFUSED: dict[str, tuple[Net, dict[str, str], str]] = {
    "open latent": (Net(latent=("Z",)), {}, "declares no latent_shape; say --set latent_shape"),
    "other latent": (
        Net(),
        {"latent_shape": "8"},
        r"takes z: float \[N, 7\], which latent_shape 8 does not fit",
    ),
    "other rank": (Net(), {"latent_shape": "7,1"}, "which latent_shape 7,1 does not fit"),
    "other half": (Net(latent=("Z", 2)), {"latent_shape": "7,3"}, "latent_shape 7,3 does not fit"),
    "contradicting metadata": (
        Net(said={"latent_shape": [8]}),
        {},
        "which latent_shape 8 does not fit",
    ),
    "two latents": (
        Net(label=("N", 4), label_kind="float"),
        {},
        r"more than one input that may take the latents \(z: float \[N, 7\], y: float \[N, 4\]\); "
        "say --set latent_input=NAME",
    ),
    "no latents": (
        Net(kind="float", latent=(), batch=7),
        {},
        r"no input that may take the latents \(z: float \[7\]\)",
    ),
    "unknown latents": (Net(), {"latent_input": "w"}, "has no input 'w'; it has z: float"),
    "latents of integers": (
        Net(label=("N",)),
        {"latent_input": "y"},
        r"latents must be floating point \[N, ...\], got y: int64 \[N\]",
    ),
    "how many classes": (
        Net(label=("N",)),
        {},
        r"takes labels \(y: int64 \[N\]\) and does not say of how many classes; say --set "
        "num_labels=10, or --set y=0 for one class alone",
    ),
    "classes that contradict": (
        Net(label=("N", 4), label_kind="float"),
        {"label_input": "y", "num_labels": "5"},
        r"takes y: float \[N, 4\], which num_labels 5 does not fit",
    ),
    "open classes": (
        Net(label=("N", "K"), label_kind="float"),
        {"label_input": "y"},
        "does not say of how many classes",
    ),
    "classes without an input": (
        Net(),
        {"num_labels": "4"},
        "num_labels is 4, and no input is known to take labels .*--set label_input=NAME",
    ),
    "labels of a scalar": (
        Net(psi=()),
        {"label_input": "psi"},
        r"labels are class numbers \[N\] or .* got psi: float \[\]",
    ),
    "labels of an open width of integers": (
        Net(unused=(("y", "int64", ("N", "K")),)),
        {"label_input": "y", "num_labels": "4"},
        r"labels are class numbers .* got y: int64 \[N, K\]",
    ),
    "labels of one floating point": (
        Net(unused=(("y", "float", ("N", 1)),)),
        {"label_input": "y", "latent_input": "z", "num_labels": "1"},
        r"labels are class numbers .* got y: float \[N, 1\]",
    ),
    "labels of the latents": (
        Net(),
        {"label_input": "z", "latent_input": "z"},
        "labels are class numbers",
    ),
    "labels too many for their type": (
        Net(unused=(("y", "uint8", ("N",)),)),
        {"num_labels": "257"},
        r"takes y: uint8 \[N\], too small for 257 classes",
    ),
    "batches that differ": (
        Net(batch=3, unused=(("y", "int64", (2,)),)),
        {"label_input": "y", "num_labels": "4"},
        r"takes z: float \[3, 7\] and y: int64 \[2\]: batches that differ",
    ),
    "left out": (
        Net(unused=(("psi", "float", (2,)),)),
        {},
        r"nobody says what psi: float \[2\] gets; say --set psi=VALUE, numbers .* by commas$",
    ),
    "left out row of another width": (
        Net(label=("N", 4), label_kind="float"),
        {"latent_input": "z", "num_labels": "5"},
        "nobody says what y: float .* --set y=VALUE, .* or --set label_input=NAME$",
    ),
    "left out integers that are not one an image": (
        Net(unused=(("y", "int64", (2,)),)),
        {"num_labels": "4"},
        r"nobody says what y: int64 \[2\] gets",
    ),
    "left out label": (
        Net(unused=(("y", "int64", ("N",)), ("x", "int64", ("N", 1)))),
        {"num_labels": "4"},
        "nobody says what y: .*, x: .* --set y=VALUE --set x=VALUE, .* --set label_input=NAME$",
    ),
    "unknown key": (
        Net(psi=()),
        {"psy": "1"},
        "the generator 'onnx' has no option 'psy' and .* no such input; did you mean 'psi'",
    ),
    "unknown option": (Net(), {"priors": "normal"}, "no such input; did you mean 'prior'"),
    "unlike anything": (Net(), {"qqqq": "1"}, r"no such input; it takes z: float \[N, 7\]"),
    "held and drawn": (
        Net(),
        {"z": "1", "latent_input": "z"},
        "--set z would hold an input that gets latents or labels",
    ),
    "no number": (Net(psi=()), {"psi": "half"}, "--set psi must be float .*, got 'half'"),
    "no finite number": (Net(psi=()), {"psi": "inf"}, "--set psi must be float .*, got 'inf'"),
    "not a number": (Net(psi=()), {"psi": "nan"}, "--set psi must be float .*, got 'nan'"),
    "no float16": (
        Net(psi=(), kind="float16"),
        {"psi": "70000"},
        "--set psi must be float16 separated by commas, got '70000'",
    ),
    "no whole number": (Net(label=("N",)), {"y": "1.5"}, "--set y must be int64 .*, got '1.5'"),
    "no int32": (
        Net(label=("N",), label_kind="int32"),
        {"y": "3000000000"},
        "--set y must be int32",
    ),
    "too few numbers": (
        Net(psi=(7,)),
        {"psi": "1,2"},
        "--set psi wants 1 number for all or 7, got 2",
    ),
    "an input of open width": (
        Net(unused=(("w", "float", ("N", "K")),)),
        {"w": "1"},
        r"--set cannot say what the input w: float \[N, K\] gets: numbers of a fixed shape",
    ),
    "no truth": (Net(unused=(("on", "bool", ()),)), {"on": "yes"}, "must be bool .*, got 'yes'"),
    "no numbers": (Net(psi=()), {"psi": " "}, "--set psi wants 1 number for all or 1, got 0"),
    "text for an input": (
        Net(unused=(("y", "string", ("N",)),)),
        {"y": "cat"},
        r"--set cannot say what the input y: string \[N\] gets",
    ),
    "unknown output": (Net(), {"output": "pictures"}, "has no output 'pictures'; it has images: "),
    "no images": (
        Net(rows=True),
        {"output": "product"},
        "images must have 4 dimensions, got product: float",
    ),
    "no channels": (
        Net(channels=2),
        {},
        r"images must be NCHW or NHWC of 1, 3 or 4 channels, got images: float \[N, 2, 5, 6\]",
    ),
    "another layout": (
        Net(),
        {"layout": "NHWC"},
        r"images must be NHWC of 1, 3 or 4 channels, got images: float \[N, 3, 5, 6\]",
    ),
    "a range for bytes": (
        Net(quantised=True),
        {},
        r"--set range would change nothing: .* returns images: uint8 \[N, 3, 5, 6\]",
    ),
    "metadata of another kind": (Net(said={"speed": 7}), {}, "must be a JSON object with keys out"),
    "metadata that cannot be": (Net(said={"num_labels": -1}), {}, "num_labels must be in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    net, options, message = REFUSED[name]
    refused(net.save(tmp_path / "net.onnx"), message, **options)


@pytest.mark.parametrize("absent", ["prior", "range"])
def test_a_prior_or_a_range_is_not_guessed(tmp_path: Path, absent: str) -> None:
    said = {key: value for key, value in SAID.items() if key != absent}
    path = Net().save(tmp_path / "net.onnx")
    with pytest.raises(ConfigError, match=f"declares no {absent}.*--set {absent}="):
        opened = undeclared(path, **said)
        opened.render(drawn(opened))


def changed(path: Path, change: Callable[[Any], None], net: Net | None = None) -> Path:
    """A small network with its protocol buffer changed."""
    model = (net or Net()).model()
    change(model)
    save(model, path)
    return path


def test_images_of_a_wrong_type_are_refused(tmp_path: Path) -> None:
    def integers(model: Any) -> None:
        model.graph.node[-1].output[0] = "native"
        cast = helper.make_node("Cast", ["native"], ["images"], to=TensorProto.INT64)
        model.graph.node.append(cast)
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64

    path = changed(tmp_path / "net.onnx", integers)
    refused(path, "images must be float, float16, double, uint8, got images: int64")


def test_two_outputs_that_may_be_images_are_not_chosen_between(tmp_path: Path) -> None:
    net = Net()

    def twice(model: Any) -> None:
        model.graph.node.append(helper.make_node("Neg", ["images"], ["negative"]))
        more = helper.make_tensor_value_info("negative", TensorProto.FLOAT, ["N", *net.shape])
        model.graph.output.append(more)

    path = changed(tmp_path / "net.onnx", twice, net)
    said = refused(path, "more than one output that may be the images")
    assert "negative: float [N, 3, 5, 6]" in said and said.endswith("say --set output=NAME")
    opened = generator(path, output="negative")
    draws = drawn(opened)
    assert apart(opened.render(draws), 255 - net.images(draws)) <= 1


def test_dimensions_beyond_measure_are_refused_before_anything_runs(tmp_path: Path) -> None:
    def claims(*dims: int | str) -> Callable[[Any], None]:
        def change(model: Any) -> None:
            out = helper.make_tensor_value_info("huge", TensorProto.FLOAT, dims)
            model.graph.node.append(helper.make_node("Reshape", ["images", "sides"], ["huge"]))
            sides = np.array([side if isinstance(side, int) else -1 for side in dims])
            model.graph.initializer.append(numpy_helper.from_array(sides, "sides"))
            model.graph.output[0].CopyFrom(out)

        return change

    path = changed(tmp_path / "net.onnx", claims("N", 3, 8193, 8192))
    refused(path, "huge: float .N, 3, 8193, 8192.: images of more than 67108864 pixels")
    path = changed(tmp_path / "net.onnx", claims("N", 2**20, 2**20, 4))
    refused(path, "images of more than 67108864 pixels")
    path = changed(tmp_path / "net.onnx", claims("N", 3, 2**26, 1))  # as NCHW it would just do
    refused(path, "images of more than 67108864 pixels", layout="NHWC")
    big = Net().save(tmp_path / "net.onnx")
    for dims, message in (
        ([2**40, 7], "more than 268435456 values at once"),
        (["N", 2**27], "latent_shape must be .* of product at most 1048576"),
        (["N", 2**60, 2**60], "more than 268435456 values at once"),
    ):

        def claim(model: Any, dims: list[int | str] = dims) -> None:
            latents = helper.make_tensor_value_info("z", TensorProto.FLOAT, dims)
            model.graph.input[0].CopyFrom(latents)
            weight = model.graph.initializer[1]
            weight.CopyFrom(numpy_helper.from_array(np.zeros((1, 90), np.float32), weight.name))
            model.graph.node[0].op_type = "ReduceMax"
            model.graph.node[0].attribute.add(name="keepdims", type=2, i=1)

        refused(changed(big, claim), message)


def sized(path: Path) -> Path:
    """Images of the size that an input says, in the grey that the first latent says."""
    nodes = [
        helper.make_node("ReduceMean", ["z"], ["grey"], axes=[1]),
        helper.make_node("Cast", ["grey"], ["byte"], to=TensorProto.UINT8),
        helper.make_node("Expand", ["byte", "size"], ["images"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sized",
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("size", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "C", "H", "W"])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("1,1,8193,8192", r"images of shape \[1, 1, 8193, 8192\] exceed 67108864 pixels"),
        ("2,1,4,5", r"net.onnx returned shape \[2, 1, 4, 5\] for a batch of 1"),
        ("1,-7,4,5", "ONNX Runtime cannot run net.onnx: "),
        ("1,2,4,5", "with 1, 3 or 4 channels"),
    ],
)
def test_what_only_running_shows_is_the_generators_fault(
    tmp_path: Path, size: str, message: str
) -> None:
    opened = undeclared(sized(tmp_path / "net.onnx"), prior="uniform", size=size)
    with pytest.raises(SourceError, match=message) as caught:
        opened.render(drawn(opened, 1))
    readable(caught.value, tmp_path)
    fine = undeclared(tmp_path / "net.onnx", prior="uniform", size="1,1,4,5")
    assert tuple(fine.render(drawn(fine, 1)).shape) == (1, 3, 4, 5)


def test_names_out_of_a_file_cannot_paint_on_a_terminal(tmp_path: Path) -> None:
    def painted(model: Any) -> None:
        more = helper.make_tensor_value_info("\x1b[31m\nred", TensorProto.FLOAT, [2])
        model.graph.input.append(more)

    refused(changed(tmp_path / "net.onnx", painted), "nobody says what \\[31m red: float")


def test_many_inputs_are_shown_in_part(tmp_path: Path) -> None:
    def many(model: Any) -> None:
        for i in range(1000):
            more = helper.make_tensor_value_info(f"more{i}", TensorProto.FLOAT, [])
            model.graph.input.append(more)

    refused(changed(tmp_path / "net.onnx", many), r"more7: float \[\], ... gets")


# -- the command line -------------------------------------------------------------------------


def test_a_generator_in_onnx_is_audited(
    tmp_path: Path, ganaudit: Callable[..., Ended], onnx_file: Path
) -> None:
    Net(psi=(1,), said={"prior": "normal", "range": [-1, 1]}).save(tmp_path / "net.onnx")
    wanted = ["--descriptor", onnx_file, "--theta", "0.4", "--radius", "0.3", "--set", "psi=0.5"]
    for name in ("size=4", "mean=0.5", "std=0.5"):
        wanted += ["--set", f"descriptor.{name}"]
    size = ["--anchors", "32", "--samples", "64", "--device", "cpu"]
    ended = ganaudit("diagnose", "--generator", "net.onnx", *wanted, *size, "--out", "run")
    assert ended.code == 0, ended.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "The input psi is 0.5, as --set says." in report["assumptions"]
    assert report["counts"]["samples"]["ok"] == 64


@pytest.mark.parametrize(("location", "code"), [("../w.bin", 5), ("w.bin", 2)])
def test_data_elsewhere_end_with_the_exit_code_of_a_refusal(
    tmp_path: Path, ganaudit: Callable[..., Ended], location: str, code: int
) -> None:
    def external(model: Any) -> None:
        matrix = model.graph.initializer[1]
        matrix.ClearField("raw_data")
        matrix.data_location = TensorProto.EXTERNAL
        matrix.external_data.add(key="location", value=location)

    model = Net().model()
    external(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    ended = ganaudit("diagnose", "--generator", "net.onnx", "--descriptor", "digits")
    assert ended.code == code
    assert "net.onnx" in ended.complaint and location in ended.complaint


# -- the real faces ---------------------------------------------------------------------------


@pytest.mark.artefacts
@pytest.mark.parametrize("batch", [None, 1, 64])
def test_an_export_of_the_real_faces_gives_the_images_of_the_torch_module(
    tmp_path: Path, artefacts: Path, batch: int | None
) -> None:
    exports = import_file(TESTS / "artefacts" / "exports.py")
    path = exports.export_faces_onnx(tmp_path / "faces.onnx", artefacts, batch=batch)
    weights = str(artefacts / "faces" / "generator.pt")
    options = {"prior": "uniform"}
    module = registry.open_plugin(
        "generators",
        f"python:{TESTS / 'artefacts' / 'networks.py'}:faces",
        options | {"weights": weights},
        device=torch.device("cpu"),
    )[0]
    opened = generator(path, **options)
    assert opened.latent_shape == (100,)
    with torch.inference_mode():
        draws = drawn(opened, 256)
        assert apart(opened.render(draws), module.render(draws)) <= 1
