import dataclasses
import json
import math
from pathlib import Path
from typing import get_args

import pytest

from ganaudit.config import (
    CheckConfig,
    CheckFormat,
    DiagnoseConfig,
    TrainConfig,
    check_seed,
    split_options,
    split_outputs,
    split_owned,
)
from ganaudit.errors import ConfigError

FIELDS = [field.name for field in dataclasses.fields(DiagnoseConfig) if field.name != "origins"]


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"generator": ""}, "--generator is needed: a path, an address, NAME:TARGET or demo"),
        ({"anchors": 0}, "--anchors must be at least 1, got 0"),
        ({"samples": -3}, "--samples must be at least 1, got -3"),
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"workers": 0}, "--workers must be at least 1, got 0"),
        ({"theta": 0.0}, r"--theta must be in \[1e-06, 1\], a fraction of pi, got 0.0"),
        ({"theta": 1.01}, r"--theta must be in \[1e-06, 1\], a fraction of pi, got 1.01"),
        ({"theta": math.nan}, r"--theta must be in \[1e-06, 1\], a fraction of pi, got nan"),
        ({"radius": -0.1}, r"--radius must be in \[1e-06, 1\], a fraction of pi, got -0.1"),
        ({"timeout_s": 0.0}, "--timeout-s must be"),
        ({"timeout_s": math.nan}, "--timeout-s must be"),
        ({"timeout_s": math.inf}, "--timeout-s must be"),
        ({"seed": -1}, r"seed must be in \[0, 2\*\*63\), got -1"),
        ({"seed": 2**63}, r"seed must be in \[0, 2\*\*63\)"),
        ({"backend": "cuda"}, "--backend must be one of auto, torch, faiss, got 'cuda'"),
        ({"format": "xml"}, "--format must be one of rich, json, got 'xml'"),
        ({"set": ("psi",)}, "--set wants KEY=VALUE, got 'psi'"),
        ({"output": ("pdf:x",)}, "--output wants FORMAT:PATH.*got 'pdf:x'"),
        ({"reference": ""}, "--reference wants a folder of images, got an empty name"),
        (
            {"generator": "images:\udcff"},
            r"--generator must be UTF-8, got 'images:\\udcff'; rename",
        ),
        ({"descriptor": "\ud800"}, "--descriptor must be UTF-8"),
        ({"reference": "a\udc80"}, "--reference must be UTF-8"),
        ({"set": ("a=b", "c=\udcff")}, r"--set must be UTF-8, got 'c=\\udcff'"),
        ({"keep": "all"}, "--keep must be one of auto, thumbnails, none, got 'all'"),
    ],
)
def test_a_request_that_is_malformed_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        DiagnoseConfig(**({"generator": "demo"} | wrong))
    assert caught.value.exit_code == 2


def test_the_edges_of_every_range_pass() -> None:
    found = DiagnoseConfig(
        generator="x", anchors=1, samples=1, batch=1, workers=1, theta=1.0, radius=1e-6,
        seed=2**63 - 1, timeout_s=1e-3,
    )  # fmt: skip
    assert found.theta == 1
    assert check_seed(0) == 0 and check_seed(2**63 - 1) == 2**63 - 1


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DiagnoseConfig(generator="x").seed = 3  # type: ignore[misc]


def test_a_request_is_shown_as_json() -> None:
    shown = DiagnoseConfig(generator="demo", out=Path("a/b"), set=("k=v",)).shown()
    assert set(shown) == set(FIELDS)
    assert json.loads(json.dumps(shown))["out"] == "a/b"
    assert DiagnoseConfig(generator="demo").shown()["out"] is None


# Options


def test_options_go_to_the_generator_or_the_descriptor() -> None:
    options = split_options(
        (
            *("psi=0.7", "descriptor.mean=0.1,0.2,0.3", "url=http://x?a=b", "descriptor.psi="),
            *(" k =v ", "discriminator.psi=2", "calibrator.descriptor=a.onnx", "other.psi=1"),
        )
    )
    assert options.generator == {"psi": "0.7", "url": "http://x?a=b", "k": "v ", "other.psi": "1"}
    assert options.descriptor == {"mean": "0.1,0.2,0.3", "psi": ""}
    assert options.discriminator == {"psi": "2"}
    assert options.calibrator == {"descriptor": "a.onnx"}
    assert split_options(()) == ({}, {}, {}, {})


@pytest.mark.parametrize("pair", ["psi", "=3", "descriptor.=3", "descriptor.x", "", " =1"])
def test_an_option_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match=f"--set wants KEY=VALUE, got '{pair}'"):
        split_options((pair,))


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="--set psi is given twice"):
        split_options(("psi=1", "a=2", "psi=1"))
    with pytest.raises(ConfigError, match="--set descriptor.size is given twice"):
        split_options(("descriptor.size=1", "size=3", "descriptor.size=2"))


# Outputs


def test_an_output_is_a_format_and_a_path() -> None:
    found = split_outputs(("html:a/b.html", "md:C:/x: y.md", "svg:.", "csv:~", "json: a"))
    assert found == [
        ("html", Path("a/b.html")),
        ("md", Path("C:/x: y.md")),
        ("svg", Path()),
        ("csv", Path("~")),
        ("json", Path(" a")),
    ]
    assert split_outputs(()) == []
    # A format may be written twice.
    assert len(split_outputs(("html:a", "html:b"))) == 2


@pytest.mark.parametrize(
    "pair", ["html", "html:", ":a", "a.html", "pdf:a", "HTML:a", " html:a", ""]
)
def test_an_output_without_a_known_format_or_a_path_is_refused(pair: str) -> None:
    formats = "html, md, json, csv, parquet, svg, png"
    with pytest.raises(ConfigError, match=f"FORMAT:PATH, FORMAT one of {formats}; got '{pair}'"):
        split_outputs(("md:ok", pair))


def test_other_formats_and_one_that_stands_alone() -> None:
    formats = ("md", "github")
    assert split_outputs(("md:a:b", "github", "github:x"), formats, alone="github") == [
        ("md", Path("a:b")),
        ("github", None),
        ("github", Path("x")),
    ]
    for pair in ("github:", "md", "md:", "html:x", ""):
        message = rf"FORMAT one of md, github \(github may stand alone\); got '{pair}'"
        with pytest.raises(ConfigError, match=message):
            split_outputs((pair,), formats, alone="github")
    with pytest.raises(ConfigError, match="FORMAT one of md, github; got 'github'"):
        split_outputs(("github",), formats)


# A part of a run


@pytest.mark.parametrize(
    ("text", "part"), [("0/1", (0, 1)), ("2/3", (2, 3)), ("4095/4096", (4095, 4096))]
)
def test_a_shard_is_a_part_of_all(text: str, part: tuple[int, int]) -> None:
    assert DiagnoseConfig(generator="demo", shard=text).part == part
    assert DiagnoseConfig(generator="demo").part is None


@pytest.mark.parametrize(
    "text",
    ["", "3", "3/3", "1/0", "0/0", "-1/3", "0/4097", "0/-1", "1.0/2", "0/3/4", " 0/3", "0/3\n",
     "a/b", "٠/٣", "9" * 5000 + "/3"],
)  # fmt: skip
def test_a_shard_that_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--shard must be i/N, part i of N, with 0 <= i < N <= 4096, got "
    ) as caught:
        DiagnoseConfig(generator="demo", shard=text)
    assert len(str(caught.value)) < 200


def test_a_shard_has_no_reference() -> None:
    with pytest.raises(ConfigError, match="^--shard and --reference exclude each other: "):
        DiagnoseConfig(generator="demo", shard="0/3", reference="real")
    assert DiagnoseConfig(generator="demo", reference="real").part is None


# A check


def test_the_outputs_of_a_check_are_its_own() -> None:
    found = CheckConfig(output=("junit:a.xml", "github", "model-card:card.md")).outputs
    assert found == [
        ("junit", Path("a.xml")),
        ("github", None),
        ("model-card", Path("card.md")),
    ]
    assert CheckConfig().outputs == []
    every = tuple(f"{name}:x" for name in get_args(CheckFormat))
    assert len(CheckConfig(output=every).outputs) == len(every)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_samples": 511}, "--max-samples must be at least 512, .* got 511"),
        ({"inconclusive": "skip"}, "--inconclusive must be one of report, pass, fail, got 'skip'"),
        ({"format": "xml"}, "--format must be one of rich, json, got 'xml'"),
        ({"output": ("junit",)}, "--output wants FORMAT:PATH, FORMAT one of junit, .*got 'junit'"),
        ({"output": ("html:x",)}, r"badge \(github may stand alone\); got 'html:x'"),
        ({"output": ("md:\x1b[2J",)}, "--output must be printable UTF-8 text"),
        ({"max": ("mu=1\n",)}, "--max must be printable UTF-8 text"),
        ({"min": ("vendi=\udcff",)}, "--min must be printable UTF-8 text"),
        ({"max_increase": ("x" * 4097,)}, "--max-increase must be printable UTF-8 text"),
        ({"max_decrease": ("\x07",)}, "--max-decrease must be printable UTF-8 text"),
        ({"run": Path("\udcff")}, "RUN must be printable UTF-8 text"),
        ({"baseline": Path("a\x1bb")}, "--baseline must be printable UTF-8 text"),
    ],
)
def test_a_check_that_is_malformed_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CheckConfig(**wrong)
    assert caught.value.exit_code == 2 and len(str(caught.value)) < 300


def test_the_edges_of_a_check_pass() -> None:
    found = CheckConfig(max_samples=512, inconclusive="fail", max=("x" * 4096,))
    assert found.max_samples == 512


# A training


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": ""}, "--data is needed: a folder, a zip, an npz or idx file of pictures, or toy"),
        ({"data": "a\x1bb"}, "--data must be printable UTF-8 text"),
        ({"arch": "\udcff"}, "--arch must be printable UTF-8 text"),
        ({"reg": ("x" * 4097,)}, "--reg must be printable UTF-8 text"),
        ({"set": ("optim.lr=\n",)}, "--set must be printable UTF-8 text"),
        ({"labels": "\x07"}, "--labels must be printable UTF-8 text"),
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"latent_size": 0}, "--latent-size must be at least 1, got 0"),
        ({"size": 0}, "--size must be at least 1, got 0"),
        ({"devices": 0}, "--devices must be at least 1, got 0"),
        ({"snapshot_every": 0}, "--snapshot-every must be at least 1, got 0"),
        ({"audit_anchors": 0}, "--audit-anchors must be at least 1, got 0"),
        ({"audit_samples": 0}, "--audit-samples must be at least 1, got 0"),
        ({"audit_every": -1}, "--audit-every must be at least 0, got -1"),
        ({"steps": 5, "kimg": 5.0}, "--steps and --kimg exclude each other: say one of them"),
        ({"kimg": 0.0}, "--kimg must be positive and below 1e9, got 0"),
        ({"kimg": math.nan}, "--kimg must be positive and below 1e9, got nan"),
        ({"kimg": 1e9}, r"--kimg must be positive and below 1e9, got 1e\+09"),
        ({"channels": 2}, r"--channels must be 1 \(grey\) or 3 \(RGB\), got 2"),
        ({"precision": "8"}, "--precision must be one of 32, bf16, 16, got '8'"),
        ({"fit": "stretch"}, "--fit must be one of refuse, crop, pad, resize, got 'stretch'"),
        ({"format": "xml"}, "--format must be one of rich, json, got 'xml'"),
        ({"theta": 0.0}, r"--theta must be in \[1e-06, 1\], a fraction of pi, got 0.0"),
        ({"radius": 1.01}, r"--radius must be in \[1e-06, 1\], a fraction of pi, got 1.01"),
        ({"seed": -1}, r"seed must be in \[0, 2\*\*63\), got -1"),
    ],
)
def test_a_training_that_is_malformed_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TrainConfig(**({"data": "toy:ring"} | wrong))
    assert caught.value.exit_code == 2 and len(str(caught.value)) < 300


def test_the_edges_of_a_training_pass() -> None:
    found = TrainConfig(
        data="x", steps=1, batch=1, size=1, channels=3, devices=1, audit_every=0, theta=1.0
    )
    assert found.audit_every == 0
    assert TrainConfig(data="x", audit_every=5, descriptor="digits").audit_every == 5


def test_regularisers_are_named_by_commas_or_one_by_one() -> None:
    assert TrainConfig(data="x", reg=("a, b", "c", "")).regularizers == ("a", "b", "c")
    assert TrainConfig(data="x").regularizers == ()


def test_a_training_is_shown_as_json() -> None:
    shown = json.loads(json.dumps(TrainConfig(data="x", out=Path("y"), reg=("a",)).shown()))
    assert (shown["data"], shown["out"], shown["reg"], shown["steps"]) == ("x", "y", ["a"], None)
    assert "origins" not in shown


def test_every_owner_gets_its_own_options() -> None:
    pairs = ("optim.lr=1e-3", "loss.r1=2", "optim.ema=0", "loss.x.y=a=b")
    assert split_owned(pairs, ("optim", "loss", "generator")) == {
        "optim": {"lr": "1e-3", "ema": "0"},
        "loss": {"r1": "2", "x.y": "a=b"},
        "generator": {},
    }


@pytest.mark.parametrize("pair", ["lr=1", "optim.lr", "optim.=1", "=1", "", "other.lr=1", ".=1"])
def test_an_option_without_an_owner_a_key_or_a_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set wants OWNER.KEY=VALUE, OWNER one of optim, loss"):
        split_owned((pair,), ("optim", "loss"))


def test_an_owners_option_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="--set optim.lr is given twice"):
        split_owned(("optim.lr=1", "loss.lr=1", "optim.lr=2"), ("optim", "loss"))
