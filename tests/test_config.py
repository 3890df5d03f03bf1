import dataclasses
import json
import math
from pathlib import Path

import pytest

from ganaudit.config import (
    DiagnoseConfig,
    check_seed,
    resolve,
    split_options,
    split_outputs,
)
from ganaudit.errors import ConfigError

FIELDS = [field.name for field in dataclasses.fields(DiagnoseConfig) if field.name != "origins"]
SETTABLE = set(FIELDS) - {"trust"}  # without a flag


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in FIELDS:
        monkeypatch.delenv(f"GANAUDIT_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def write_table(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[tool.ganaudit]\n{text}\n", encoding="utf-8")
    return folder


# Where a value comes from


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path, "theta = 0.1\nradius = 0.1\nseed = 1\ngenerator = 'file'")
    monkeypatch.setenv("GANAUDIT_THETA", "0.2")
    monkeypatch.setenv("GANAUDIT_RADIUS", "0.2")
    found = resolve(DiagnoseConfig, {"theta": 0.3, "generator": None, "set": ()}, folder=tmp_path)
    assert (found.theta, found.radius, found.seed, found.generator) == (0.3, 0.2, 1, "file")
    assert found.anchors == 10_000
    assert found.origins == {name: "default" for name in FIELDS} | {
        "theta": "flag",
        "radius": "GANAUDIT_RADIUS",
        "seed": "[tool.ganaudit]",
        "generator": "[tool.ganaudit]",
    }


def test_the_file_is_that_of_the_working_directory_unless_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path, "seed = 5")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert resolve(DiagnoseConfig, {"generator": "demo"}).seed == 5
    assert resolve(DiagnoseConfig, {"generator": "demo"}, folder=elsewhere).seed == 0
    monkeypatch.chdir(elsewhere)
    assert resolve(DiagnoseConfig, {"generator": "demo"}).seed == 0


def test_a_false_or_zero_flag_is_a_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_RESUME", "true")
    monkeypatch.setenv("GANAUDIT_SEED", "7")
    found = resolve(DiagnoseConfig, {"generator": "demo", "resume": False, "seed": 0})
    assert found.resume is False and found.seed == 0
    assert found.origins["resume"] == found.origins["seed"] == "flag"


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_SEED", "")
    assert resolve(DiagnoseConfig, {"generator": "demo"}).origins["seed"] == "default"


def test_every_setting_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "generator": ("demo:collapsed", "demo:collapsed"),
        "descriptor": ("digits", "digits"),
        "descriptor_card": ("threshold/card.json", Path("threshold/card.json")),
        "labels": ("3", "3"),
        "anchors": ("11", 11),
        "samples": ("12", 12),
        "theta": ("0.4", 0.4),
        "radius": ("0.25", 0.25),
        "seed": ("3", 3),
        "batch": ("4", 4),
        "device": ("cpu", "cpu"),
        "workers": ("2", 2),
        "out": ("runs/one", Path("runs/one")),
        "resume": ("TRUE", True),
        "reference": ("real faces", "real faces"),
        "output": ("html:a.html csv:b", ("html:a.html", "csv:b")),
        "keep": ("none", "none"),
        "set": ("a=1 descriptor.b=2", ("a=1", "descriptor.b=2")),
        "plugin": ("mine.py", ("mine.py",)),
        "max_faceless": ("0.25", 0.25),
        "backend": ("faiss", "faiss"),
        "timeout_s": ("1.5", 1.5),
        "format": ("json", "json"),
        "dry_run": ("1", True),
    }
    assert set(texts) == SETTABLE
    for name, (text, _) in texts.items():
        monkeypatch.setenv(f"GANAUDIT_{name.upper()}", text)
    found = resolve(DiagnoseConfig, {})
    assert found.origins == {
        name: f"GANAUDIT_{name.upper()}" if name in SETTABLE else "default" for name in FIELDS
    }
    for name, (_, value) in texts.items():
        assert getattr(found, name) == value
        assert type(getattr(found, name)) is type(value) or isinstance(value, Path)


def test_every_setting_can_come_from_the_file(tmp_path: Path) -> None:
    write_table(
        tmp_path,
        "generator = 'demo'\ndescriptor = 'digits'\nanchors = 11\nsamples = 12\ntheta = 1\n"
        "radius = 0.25\nseed = 3\nbatch = 4\ndevice = 'cpu'\nworkers = 2\nout = 'runs'\n"
        "resume = true\nreference = 'real'\noutput = ['md:a b.md']\nkeep = 'thumbnails'\n"
        "set = ['a=1 2', 'descriptor.b=2']\ndescriptor-card = 'card.json'\n"
        "labels = 'uniform'\nmax-faceless = 1\nbackend = 'torch'\ntimeout-s = 2\n"
        "format = 'json'\ndry_run = false",
    )
    found = resolve(DiagnoseConfig, {})
    assert {name for name, origin in found.origins.items() if origin == "default"} == {
        "trust",
        "plugin",
    }
    assert set(found.origins.values()) == {"[tool.ganaudit]", "default"}
    assert found == DiagnoseConfig(
        generator="demo",
        descriptor="digits",
        anchors=11,
        samples=12,
        theta=1.0,
        radius=0.25,
        seed=3,
        batch=4,
        device="cpu",
        workers=2,
        out=Path("runs"),
        resume=True,
        reference="real",
        output=("md:a b.md",),
        keep="thumbnails",
        set=("a=1 2", "descriptor.b=2"),
        descriptor_card=Path("card.json"),
        labels="uniform",
        max_faceless=1.0,
        backend="torch",
        timeout_s=2.0,
        format="json",
        dry_run=False,
    )


@pytest.mark.parametrize("key", ["timeout-s", "timeout_s"])
def test_a_key_of_the_file_takes_dashes_or_underscores(key: str, tmp_path: Path) -> None:
    assert (
        resolve(
            DiagnoseConfig, {"generator": "demo"}, folder=write_table(tmp_path, f"{key} = 9")
        ).timeout_s
        == 9
    )


@pytest.mark.parametrize("text", ["", "[tool]\n", "[project]\nname = 'x'\n"])
def test_a_file_that_says_nothing_of_ganaudit_changes_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert resolve(DiagnoseConfig, {"generator": "demo"}) == DiagnoseConfig(generator="demo")


# What is refused in the file and the environment


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    for key, known in (("anchor", "anchors"), ("timout-s", "timeout_s"), ("theat", "theta")):
        write_table(tmp_path, f"{key} = 3")
        message = rf"\[tool.ganaudit\] has no setting '{key}'; did you mean '{known}'\?"
        with pytest.raises(ConfigError, match=message):
            resolve(DiagnoseConfig, {"generator": "demo"})
    for key in ("zzz", "origins"):
        write_table(tmp_path, f"{key} = 3")
        with pytest.raises(ConfigError, match=rf"has no setting '{key}'"):
            resolve(DiagnoseConfig, {"generator": "demo"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.ganaudit", "pyproject.toml cannot be read: "),
        ("[tool]\nganaudit = 3", r"\[tool.ganaudit\] in pyproject.toml must be a table"),
        ("tool = 3", r"\[tool.ganaudit\] in pyproject.toml must be a table"),
    ],
)
def test_a_file_that_is_malformed_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(DiagnoseConfig, {"generator": "demo"})


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="pyproject.toml cannot be read"):
        resolve(DiagnoseConfig, {"generator": "demo"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("anchors = 'many'", r"\[tool.ganaudit\] anchors must be of type int, got 'many'"),
        ("anchors = 1.5", r"\[tool.ganaudit\] anchors must be of type int, got 1.5"),
        ("anchors = true", r"\[tool.ganaudit\] anchors must be of type int, got True"),
        ("theta = 'wide'", r"\[tool.ganaudit\] theta must be of type float, got 'wide'"),
        ("theta = true", r"\[tool.ganaudit\] theta must be of type float, got True"),
        ("theta = [0.4]", r"\[tool.ganaudit\] theta must be of type float, got \[0.4\]"),
        ("generator = 3", r"\[tool.ganaudit\] generator must be of type str, got 3"),
        ("out = 3", r"\[tool.ganaudit\] out must be of type Path, got 3"),
        ("resume = 'maybe'", r"\[tool.ganaudit\] resume must be true or false, got 'maybe'"),
        ("dry-run = 2", r"\[tool.ganaudit\] dry-run must be true or false, got 2"),
        ("set = [1]", r"\[tool.ganaudit\] set must be a list of texts, got \[1\]"),
        ("output = 3", r"\[tool.ganaudit\] output must be a list of texts, got 3"),
        ("output = ['page.html']", "--output wants FORMAT:PATH.*got 'page.html'"),
        ("reference = ''", "--reference wants a folder of images, got an empty name"),
        ("keep = 'images'", "--keep must be one of auto, thumbnails, none, got 'images'"),
        ("backend = 'cuda'", "--backend must be one of auto, torch, faiss, got 'cuda'"),
        ("format = ['json']", r"--format must be one of rich, json, got \['json'\]"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_place(
    line: str, message: str, tmp_path: Path
) -> None:
    write_table(tmp_path, line)
    with pytest.raises(ConfigError, match=message):
        resolve(DiagnoseConfig, {"generator": None if line.startswith("generator") else "demo"})


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("ANCHORS", "1e4", "GANAUDIT_ANCHORS must be of type int, got '1e4'"),
        ("BATCH", "x", "GANAUDIT_BATCH must be of type int, got 'x'"),
        ("THETA", "0,4", "GANAUDIT_THETA must be of type float, got '0,4'"),
        ("RESUME", "yes", "GANAUDIT_RESUME must be true or false, got 'yes'"),
        ("SET", "psi", "--set wants KEY=VALUE, got 'psi'"),
    ],
)
def test_a_variable_of_the_wrong_type_is_refused_by_its_name(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GANAUDIT_{variable}", text)
    with pytest.raises(ConfigError, match=message):
        resolve(DiagnoseConfig, {"generator": "demo"})


# What is refused in a request


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"generator": ""}, "--generator is needed: a path, NAME:TARGET or demo"),
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


def test_two_requests_are_equal_wherever_their_values_came_from() -> None:
    flagged = resolve(DiagnoseConfig, {"generator": "demo", "seed": 0})
    assert flagged.origins["seed"] == "flag"
    assert flagged == DiagnoseConfig(generator="demo")


def test_a_request_is_shown_as_json() -> None:
    shown = DiagnoseConfig(generator="demo", out=Path("a/b"), set=("k=v",)).shown()
    assert set(shown) == set(FIELDS)
    assert json.loads(json.dumps(shown))["out"] == "a/b"
    assert DiagnoseConfig(generator="demo").shown()["out"] is None


# Options


def test_options_go_to_the_generator_or_the_descriptor() -> None:
    generator, descriptor = split_options(
        ("psi=0.7", "descriptor.mean=0.1,0.2,0.3", "url=http://x?a=b", "descriptor.psi=", " k =v ")
    )
    assert generator == {"psi": "0.7", "url": "http://x?a=b", "k": "v "}
    assert descriptor == {"mean": "0.1,0.2,0.3", "psi": ""}
    assert split_options(()) == ({}, {})


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


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("trust", "true", r"trust would run code, so neither \[tool.ganaudit\] nor"),
        ("plugin", "['evil.py']", r"plugin would run code, .*; say --plugin"),
    ],
)
def test_what_would_run_code_is_not_said_by_a_file(
    tmp_path: Path, setting: str, value: str, message: str
) -> None:
    write_table(tmp_path, f"generator = 'demo'\n{setting} = {value}")
    with pytest.raises(ConfigError, match=message):
        resolve(DiagnoseConfig, {})


def test_trust_is_not_said_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_TRUST", "1")
    with pytest.raises(ConfigError, match="trust would run code, .* say --trust"):
        resolve(DiagnoseConfig, {"generator": "demo"})
    assert resolve(DiagnoseConfig, {"generator": "demo", "trust": True}).trust
