import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ganaudit.config import (
    CalibrateConfig,
    CheckConfig,
    DiagnoseConfig,
    SampleConfig,
    ServeConfig,
    ThresholdConfig,
    TrainConfig,
)
from ganaudit.errors import ConfigError
from ganaudit.settings import Setting, resolve, source_file, survey

KINDS: dict[str, type[Any]] = {
    "diagnose": DiagnoseConfig,
    "sample": SampleConfig,
    "check": CheckConfig,
    "threshold": ThresholdConfig,
    "serve": ServeConfig,
    "calibrate": CalibrateConfig,
    "train": TrainConfig,
}


def names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "origins"]


FIELDS = names(DiagnoseConfig)
SETTABLE = set(FIELDS) - {"trust", "shard"}  # without a flag; shard: not with a reference


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
        "strict_source": ("true", True),
        "max_faceless": ("0.25", 0.25),
        "max_failure_rate": ("0.5", 0.5),
        "max_requests": ("900", 900),
        "calibrator": ("c/calibrator.json", Path("c/calibrator.json")),
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
        "calibrator = 'calibrator.json'\n"
        "labels = 'uniform'\nmax-faceless = 1\nmax-failure-rate = 0\nmax-requests = 7\n"
        "backend = 'torch'\ntimeout-s = 2\n"
        "format = 'json'\ndry_run = false\nstrict-source = true",
    )
    found = resolve(DiagnoseConfig, {})
    assert {name for name, origin in found.origins.items() if origin == "default"} == {
        "trust",
        "plugin",
        "shard",
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
        calibrator=Path("calibrator.json"),
        descriptor_card=Path("card.json"),
        labels="uniform",
        max_faceless=1.0,
        max_failure_rate=0.0,
        max_requests=7,
        strict_source=True,
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


def test_two_requests_are_equal_wherever_their_values_came_from() -> None:
    flagged = resolve(DiagnoseConfig, {"generator": "demo", "seed": 0})
    assert flagged.origins["seed"] == "flag"
    assert flagged == DiagnoseConfig(generator="demo")


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


def test_a_shard_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_SHARD", "1/3")
    found = resolve(DiagnoseConfig, {"generator": "demo"})
    assert (found.part, found.origins["shard"]) == ((1, 3), "GANAUDIT_SHARD")


@pytest.mark.parametrize("text", [f"seed = {'9' * 5000}", "set = " + "[" * 5000])
def test_a_file_that_is_more_than_can_be_read_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^pyproject.toml cannot be read: "):
        resolve(DiagnoseConfig, {"generator": "demo"}, folder=write_table(tmp_path, text))


# Tables and variables of the verbs


def test_no_variable_is_of_two_verbs_or_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for verb, kind in KINDS.items():
        for name in names(kind):
            prefix = "" if verb == "diagnose" else f"{verb.upper()}_"
            variable = f"GANAUDIT_{prefix}{name.upper()}"
            assert variable not in seen
            seen[variable] = (verb, name)
            monkeypatch.setenv(variable, "1")  # of whatever type: shown as it is, if refused
    for verb, kind in KINDS.items():
        origins = {setting.origin: (verb, setting.name) for setting in survey(kind)[0]}
        assert origins.items() <= seen.items()
        assert len(origins) == len(names(kind))


def test_a_verb_reads_its_own_table_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(
        tmp_path,
        "output = ['html:page']\nformat = 'json'\nseed = 3\n"
        "[tool.ganaudit.check]\nmax = ['worst-rate=2%']\nmax-increase = ['mu']\n"
        "[tool.ganaudit.threshold]\nseed = 4",
    )
    monkeypatch.setenv("GANAUDIT_CHECK_OUTPUT", "junit:a.xml github")
    monkeypatch.setenv("GANAUDIT_THRESHOLD_FMR", "0.5")
    monkeypatch.setenv("GANAUDIT_FMR", "0.25")
    monkeypatch.setenv("GANAUDIT_BATCH", "7")
    check = resolve(CheckConfig, {"rarefy": True})
    assert (check.max, check.max_increase, check.format) == (("worst-rate=2%",), ("mu",), "rich")
    assert check.outputs == [("junit", Path("a.xml")), ("github", None)]
    assert {name: origin for name, origin in check.origins.items() if origin != "default"} == {
        "max": "[tool.ganaudit.check]",
        "max_increase": "[tool.ganaudit.check]",
        "output": "GANAUDIT_CHECK_OUTPUT",
        "rarefy": "flag",
    }
    threshold = resolve(ThresholdConfig, {"descriptor": "x", "identities": "faces"})
    assert (threshold.fmr, threshold.seed, threshold.batch) == (0.5, 4, None)
    diagnose = resolve(DiagnoseConfig, {"generator": "demo"})
    assert (diagnose.output, diagnose.seed, diagnose.batch) == (("html:page",), 3, 7)


def test_a_table_of_a_verb_is_checked_as_diagnoses_is(tmp_path: Path) -> None:
    write_table(tmp_path, "[tool.ganaudit.check]\nmax-sample = 600")
    with pytest.raises(
        ConfigError,
        match=r"\[tool.ganaudit.check\] has no setting 'max-sample'; did you mean 'max_samples'",
    ):
        resolve(CheckConfig, {})
    write_table(tmp_path, "check = 3")
    with pytest.raises(ConfigError, match=r"\[tool.ganaudit.check\] in pyproject.toml must be a"):
        resolve(CheckConfig, {})
    assert resolve(DiagnoseConfig, {"generator": "demo"}).seed == 0


# ganaudit.toml


def test_our_own_file_has_the_same_tables_without_the_prefix(tmp_path: Path) -> None:
    (tmp_path / "ganaudit.toml").write_text(
        "generator = 'demo'\ntimeout-s = 5\n[check]\nmin = 'vendi=9'\n[threshold]\nfmr = 0.5\n"
    )
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.ruff]\n")
    diagnose = resolve(DiagnoseConfig, {})
    assert (diagnose.generator, diagnose.timeout_s) == ("demo", 5)
    assert diagnose.origins["generator"] == "ganaudit.toml"
    check = resolve(CheckConfig, {})
    assert check.min == ("vendi=9",)
    assert check.origins["min"] == "[check] in ganaudit.toml"
    threshold = resolve(ThresholdConfig, {"descriptor": "x", "identities": "faces"})
    assert threshold.fmr == 0.5
    assert threshold.origins["fmr"] == "[threshold] in ganaudit.toml"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("theat = 1", DiagnoseConfig, r"^ganaudit.toml has no setting 'theat'; did you mean"),
        ("theta = 'x'", DiagnoseConfig, "^ganaudit.toml theta must be of type float, got 'x'"),
        ("trust = true", DiagnoseConfig, "neither ganaudit.toml nor, of trust, the env"),
        ("[check]\nmx = 1", CheckConfig, r"^\[check\] in ganaudit.toml has no setting 'mx'"),
        ("[check]\nmax = 3", CheckConfig, r"^\[check\] in ganaudit.toml max must be a list"),
        ("check = 3", CheckConfig, r"^\[check\] in ganaudit.toml must be a table"),
        ("[check", CheckConfig, "^ganaudit.toml cannot be read: "),
        ("[tool.ganaudit]", DiagnoseConfig, "^ganaudit.toml has no setting 'tool'"),
    ],
)
def test_our_own_file_is_checked_and_named(
    text: str, kind: type[Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "ganaudit.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(kind, {"generator": "demo"})


@pytest.mark.parametrize("table", ["theta = 0.5", "[tool.ganaudit.threshold]\nfmr = 0.5"])
@pytest.mark.parametrize("kind", KINDS.values())
def test_settings_in_two_files_are_refused(kind: type[Any], table: str, tmp_path: Path) -> None:
    write_table(tmp_path, table)
    (tmp_path / "ganaudit.toml").write_text("[check]\nrarefy = true\n")
    with pytest.raises(
        ConfigError, match=r"^both pyproject.toml \(\[tool.ganaudit\]\) and ganaudit.toml have set"
    ):
        resolve(kind, {"generator": "demo", "descriptor": "x", "identities": "y"})


def test_a_file_without_settings_is_no_second_one(tmp_path: Path) -> None:
    write_table(tmp_path, "seed = 5")
    (tmp_path / "ganaudit.toml").write_text("# nothing yet\n")
    assert resolve(DiagnoseConfig, {"generator": "demo"}).seed == 5


def test_the_file_of_an_origin_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_SEED", "1")
    monkeypatch.setenv("GANAUDIT_CHECK_MIN", "vendi=9")
    flags = {"generator": "demo"}
    for file, top in (("pyproject.toml", "tool.ganaudit"), ("ganaudit.toml", "")):
        path = tmp_path / file
        table = "tool.ganaudit.check" if top else "check"
        path.write_text(f"{f'[{top}]' if top else ''}\ntheta = 1\n[{table}]\nrarefy = true\n")
        origins = resolve(DiagnoseConfig, flags).origins
        assert {name for name, origin in origins.items() if source_file(origin)} == {"theta"}
        assert source_file(origins["theta"]) == file
        origins = resolve(CheckConfig, {"max": ("mu=0.1",)}).origins
        assert {name for name, origin in origins.items() if source_file(origin)} == {"rarefy"}
        assert source_file(origins["rarefy"]) == file
        path.unlink()


# What all settings are


def test_a_survey_needs_nothing_named() -> None:
    for kind in KINDS.values():
        settings, problems = survey(kind)
        assert problems == []
        assert [setting.name for setting in settings] == names(kind)
        assert {setting.origin for setting in settings} == {"default"}
    assert next(s for s in survey(CheckConfig)[0] if s.name == "max_samples").value == 100_000


def test_a_survey_shows_what_is_wrong_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path, "anchors = 'many'\nzzz = 1\ntrust = true\nkeep = 'all'\nseed = 7")
    monkeypatch.setenv("GANAUDIT_WORKERS", "two")
    settings, problems = survey(DiagnoseConfig)
    by_name = {setting.name: setting for setting in settings}
    assert by_name["seed"] == Setting("seed", 7, "[tool.ganaudit]")
    assert by_name["keep"] == Setting("keep", "all", "[tool.ganaudit]")
    assert by_name["anchors"].value == "many"
    assert (by_name["workers"].value, by_name["workers"].origin) == ("two", "GANAUDIT_WORKERS")
    assert (by_name["trust"].value, by_name["trust"].origin) == (True, "[tool.ganaudit]")
    assert [problem.split(",")[0] for problem in problems] == [
        "[tool.ganaudit] has no setting 'zzz'",
        "trust would run code",
        "[tool.ganaudit] anchors must be of type int",
        "GANAUDIT_WORKERS must be of type int",
        "--keep must be one of auto",
    ]
    with pytest.raises(ConfigError, match="has no setting 'zzz'"):
        resolve(DiagnoseConfig, {"generator": "demo"})
