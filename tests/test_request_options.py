"""The options that two verbs share, and what `ganaudit check` and `config show` make of them."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
import typer
import typer.main
from conftest import Ended
from typer.testing import CliRunner

from ganaudit.cli import app, running
from ganaudit.cli.request_options import (
    RequestOptions,
    SampleOptions,
    ServeOptions,
    flags_of,
    resolve_check,
    resolve_train,
    takes,
)
from ganaudit.cli.train import TrainOptions
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

Run = Callable[..., Ended]
OF_CHECK = {field.name for field in fields(CheckConfig)} - {"origins"}
OF_DIAGNOSE = {field.name for field in fields(DiagnoseConfig)} - {"origins"}
# A text for every option of `check`, and the flag that it becomes.
GIVEN: dict[str, tuple[tuple[str, ...], Any]] = {
    "max": (("--max", "worst-rate=2%", "--max", "mu=0.1"), ("worst-rate=2%", "mu=0.1")),
    "min": (("--min", "vendi=9"), ("vendi=9",)),
    "baseline": (("--baseline", "b.json"), Path("b.json")),
    "max_increase": (("--max-increase", "worst-rate"), ("worst-rate",)),
    "max_decrease": (("--max-decrease", "vendi=20%"), ("vendi=20%",)),
    "rarefy": (("--rarefy",), True),
    "inconclusive": (("--inconclusive", "fail"), "fail"),
    "until_decided": (("--until-decided",), True),
    "max_samples": (("--max-samples", "600"), 600),
    "output": (("--output", "github", "--output", "junit:x"), ("github", "junit:x")),
    "format": (("--format", "json"), "json"),
    "generator": (("--generator", "demo"), "demo"),
    "descriptor": (("--descriptor", "digits"), "digits"),
    "descriptor_card": (("--descriptor-card", "card.json"), Path("card.json")),
    "labels": (("--labels", "3"), "3"),
    "anchors": (("--anchors", "11"), 11),
    "samples": (("--samples", "12"), 12),
    "theta": (("--theta", "0.5"), 0.5),
    "radius": (("--radius", "0.25"), 0.25),
    "seed": (("--seed", "0"), 0),
    "batch": (("--batch", "4"), 4),
    "device": (("--device", "cpu"), "cpu"),
    "workers": (("--workers", "2"), 2),
    "out": (("--out", "run"), Path("run")),
    "resume": (("--resume",), True),
    "shard": (("--shard", "0/3"), "0/3"),
    "reference": (("--reference", "real"), "real"),
    "keep": (("--keep", "none"), "none"),
    "set": (("--set", "a=1", "--set", "descriptor.b=2"), ("a=1", "descriptor.b=2")),
    "plugin": (("--plugin", "mine.py"), ("mine.py",)),
    "trust": (("--trust",), True),
    "strict_source": (("--strict-source",), True),
    "max_faceless": (("--max-faceless", "0.25"), 0.25),
    "max_failure_rate": (("--max-failure-rate", "0.5"), 0.5),
    "max_requests": (("--max-requests", "7"), 7),
    "calibrator": (("--calibrator", "c.json"), Path("c.json")),
    "backend": (("--backend", "torch"), "torch"),
    "timeout_s": (("--timeout-s", "1.5"), 1.5),
    "dry_run": (("--dry-run",), True),
}


class Called:
    """Stands for what a command calls once it has parsed its line."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.flags: list[dict[str, Any]] = []
        self.how: dict[str, bool] = {}

    def __call__(self, *flags: dict[str, Any], **how: bool) -> int:
        self.flags, self.how = list(flags), how
        return self.code


def called(
    monkeypatch: pytest.MonkeyPatch, verb: str, *arguments: str, code: int = 0
) -> tuple[list[dict[str, Any]], dict[str, bool]]:
    """The flags and the manner that a command line leads to."""
    stand_in = Called(code)
    monkeypatch.setattr(running, f"run_{verb}", stand_in, raising=False)
    ended = CliRunner().invoke(app, [verb, *arguments])
    assert (ended.exit_code, ended.output) == (code, "")
    return stand_in.flags, stand_in.how


def given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value not in (None, ())}


# Declared once


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (RequestOptions, DiagnoseConfig),
        (SampleOptions, SampleConfig),
        (ServeOptions, ServeConfig),
        (TrainOptions, TrainConfig),
    ],
)
def test_every_setting_of_a_request_is_declared(options: type, kind: Any) -> None:
    settings = {field.name for field in fields(kind)} - {"origins"}
    assert {name.rstrip("_") for name in get_type_hints(options)} == settings


def test_the_options_stand_where_the_request_does_but_for_those_of_the_commands_own() -> None:
    @takes(RequestOptions)
    def command(
        run: Annotated[str, typer.Argument()],
        seed: Annotated[str, typer.Option(help="Mine.")] = "x",
        *,
        request: dict[str, Any],
        quiet: Annotated[bool, typer.Option()] = False,
    ) -> None:
        """Do it."""
        seen.append((run, seed, request, quiet))

    seen: list[Any] = []
    names = list(inspect.signature(command).parameters)
    declared = [name for name in get_type_hints(RequestOptions) if name != "seed"]
    assert names == ["run", "seed", *declared, "quiet"]
    assert command.__doc__ == "Do it."
    made = typer.Typer()
    made.command()(command)
    ended = CliRunner().invoke(made, ["a", "--seed", "y", "--theta", "0.5", "--set", "k=v"])
    assert ended.exit_code == 0, ended.output
    ((run, seed, request, quiet),) = seen
    assert (run, seed, quiet) == ("a", "y", False)
    assert given(request) == {"theta": 0.5, "set": ("k=v",)}
    assert set(request) == OF_DIAGNOSE - {"seed"}


def test_flags_carry_the_names_of_settings() -> None:
    assert flags_of({"set_": ["a"], "max_": [], "theta": 0.0, "format_": None}) == {
        "set": ("a",),
        "max": (),
        "theta": 0.0,
        "format": None,
    }


def test_diagnose_passes_on_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    of_both = {name: GIVEN[name] for name in OF_DIAGNOSE}
    words = [word for texts, _ in of_both.values() for word in texts]
    (flags,), how = called(monkeypatch, "diagnose", *words, "-q", code=3)
    assert flags == {name: value for name, (_, value) in of_both.items()}
    assert how == {"quiet": True, "verbose": False}
    (flags,), how = called(monkeypatch, "diagnose", "--verbose")
    assert given(flags) == {} and how == {"quiet": False, "verbose": True}


# The line of a training

OF_TRAIN: dict[str, tuple[tuple[str, ...], Any]] = {
    "data": (("--data", "toy:ring"), "toy:ring"),
    "start": (("--from", "trained"), Path("trained")),
    "arch": (("--arch", "mlp"), "mlp"),
    "loss": (("--loss", "hinge"), "hinge"),
    "reg": (("--reg", "adaptivemix,diffaugment", "--reg", "x"), ("adaptivemix,diffaugment", "x")),
    "augment": (("--augment", "ada,apa", "--augment", "x"), ("ada,apa", "x")),
    "preset": (("--preset", "toy-ring"), "toy-ring"),
    "out": (("--out", "run"), Path("run")),
    "resume": (("--resume",), True),
    "steps": (("--steps", "9"), 9),
    "kimg": (("--kimg", "0.5"), 0.5),
    "batch": (("--batch", "4"), 4),
    "parts": (("--parts", "2"), 2),
    "latent_size": (("--latent-size", "3"), 3),
    "prior": (("--prior", "uniform"), "uniform"),
    "size": (("--size", "32"), 32),
    "channels": (("--channels", "1"), 1),
    "fit": (("--fit", "crop"), "crop"),
    "labels": (("--labels", "folders"), "folders"),
    "mirror": (("--mirror",), True),
    "precision": (("--precision", "bf16"), "bf16"),
    "device": (("--device", "cpu"), "cpu"),
    "devices": (("--devices", "2"), 2),
    "seed": (("--seed", "0"), 0),
    "snapshot_every": (("--snapshot-every", "5"), 5),
    "audit_every": (("--audit-every", "0"), 0),
    "audit_anchors": (("--audit-anchors", "70"), 70),
    "audit_samples": (("--audit-samples", "80"), 80),
    "descriptor": (("--descriptor", "digits"), "digits"),
    "theta": (("--theta", "0.5"), 0.5),
    "radius": (("--radius", "0.25"), 0.25),
    "plugin": (("--plugin", "mine.py"), ("mine.py",)),
    "trust": (("--trust",), True),
    "set": (("--set", "optim.lr=1", "--set", "loss.r1=2"), ("optim.lr=1", "loss.r1=2")),
    "dry_run": (("--dry-run",), True),
    "format": (("--format", "json"), "json"),
}


def test_a_training_passes_on_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for texts, _ in OF_TRAIN.values() for word in texts]
    (flags,), how = called(monkeypatch, "train", *words, "-q", code=3)
    assert flags == {name: value for name, (_, value) in OF_TRAIN.items()}
    assert set(flags) == {field.name for field in fields(TrainConfig)} - {"origins"}
    assert how == {"quiet": True, "verbose": False}
    (flags,), how = called(monkeypatch, "train", "--verbose")
    assert given(flags) == {} and how == {"quiet": False, "verbose": True}


def test_settings_of_a_training_come_from_its_table_and_its_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("pyproject.toml").write_text(
        "[tool.ganaudit]\ntheta = 0.1\nseed = 3\n"
        "[tool.ganaudit.train]\ndata = 'toy:grid'\nsteps = 5\nreg = ['adaptivemix']\nbatch = 7\n"
    )
    monkeypatch.setenv("GANAUDIT_TRAIN_STEPS", "6")
    monkeypatch.setenv("GANAUDIT_TRAIN_MIRROR", "true")
    monkeypatch.setenv("GANAUDIT_BATCH", "8")
    found = resolve_train({"arch": "mlp", "steps": None})
    assert found == TrainConfig(
        data="toy:grid", arch="mlp", steps=6, reg=("adaptivemix",), mirror=True, batch=7
    )
    assert found.origins["steps"] == "GANAUDIT_TRAIN_STEPS"
    assert found.origins["batch"] == "[tool.ganaudit.train]"
    assert found.origins["arch"] == "flag" and found.origins["seed"] == "default"


def stored(request: TrainConfig) -> Path:
    """A folder with the configuration of a training."""
    out = Path("trained")
    out.mkdir()
    parts: dict[str, Any] = {"request": request.shown(), "recipe": {}, "data": {}}
    (out / "config.json").write_text(json.dumps(parts))
    return out


def test_a_resumed_training_is_asked_for_as_it_was() -> None:
    first = TrainConfig(
        data="toy:grid",
        arch="mlp",
        reg=("adaptivemix",),
        steps=50,
        batch=9,
        mirror=True,
        theta=0.25,
        set=("optim.lr=0.5",),
        seed=3,
    )
    out = stored(first)
    found = resolve_train({"resume": True, "out": out})
    assert found == replace(first, resume=True, out=out)
    longer = resolve_train({"resume": True, "out": out, "steps": 70, "batch": None, "reg": ()})
    assert longer == replace(first, resume=True, out=out, steps=70)
    images = resolve_train({"resume": True, "out": out, "kimg": 1.5})
    assert (images.steps, images.kimg) == (None, 1.5)


def test_what_runs_code_is_not_taken_from_the_folder_of_a_training() -> None:
    out = stored(
        TrainConfig(
            data="toy:grid",
            plugin=("mine.py",),
            trust=True,
            out=Path("elsewhere"),
            device="cuda",
            devices=2,
            dry_run=True,
            format="json",
        )
    )
    found = resolve_train({"resume": True, "out": out})
    assert found == TrainConfig(data="toy:grid", resume=True, out=out)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("steps", "many", "config.json: steps cannot be 'many'"),
        ("steps", True, "config.json: steps cannot be True"),
        ("mirror", 1, "config.json: mirror cannot be 1"),
        ("reg", ["adaptivemix", 3], "config.json: reg cannot be"),
        ("data", {"a": 1}, "config.json: data cannot be {'a': 1}"),
        ("step", 3, "config.json has a setting 'step' that there is not"),
    ],
)
def test_a_stored_request_of_other_types_is_refused(setting: str, value: object, said: str) -> None:
    out = stored(TrainConfig(data="toy:ring"))
    parts = json.loads((out / "config.json").read_text())
    parts["request"][setting] = value
    (out / "config.json").write_text(json.dumps(parts))
    with pytest.raises(ConfigError) as caught:
        resolve_train({"resume": True, "out": out})
    assert said in str(caught.value)


def test_there_must_be_a_training_to_resume() -> None:
    with pytest.raises(ConfigError, match="^--out absent holds no training to resume$"):
        resolve_train({"resume": True, "out": Path("absent")})
    with pytest.raises(ConfigError, match="^--resume needs --out: "):
        resolve_train({"resume": True})


# The line of a check


def test_a_check_takes_its_own_options_and_those_of_a_diagnosis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(GIVEN) == OF_CHECK - {"run"} | OF_DIAGNOSE
    words = [word for texts, _ in GIVEN.values() for word in texts]
    (own, request), how = called(monkeypatch, "check", *words, "-v", code=4)
    assert own == {"run": None} | {name: GIVEN[name][1] for name in OF_CHECK - {"run"}}
    assert request == {name: GIVEN[name][1] for name in OF_DIAGNOSE - {"output", "format"}}
    assert how == {"quiet": False, "verbose": True}
    assert CheckConfig(**own).max_samples == 600


def test_a_check_of_a_run_says_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    (own, request), _ = called(monkeypatch, "check", "audit", "--max", "mu=0.1", code=1)
    assert given(own) == {"run": Path("audit"), "max": ("mu=0.1",)}
    assert given(request) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max",), "Option '--max' requires an argument."),
        (("--max-samples", "many"), "Invalid value for '--max-samples': "),
        (("--rarefi",), "No such option: --rarefi"),
        (("one", "two"), "Got unexpected extra argument"),
        (("--until-decided=yes",), "Option '--until-decided' does not take a value."),
    ],
)
def test_a_line_that_cannot_be_parsed_is_a_usage_error(
    ganaudit: Run, arguments: tuple[str, ...], said: str
) -> None:
    ended = ganaudit("check", *arguments)
    assert (ended.code, ended.out) == (2, "")
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"Error: {said}") and len(last) < 200
    assert sum("Error" in line for line in ended.err.splitlines()) == 1


# What a check is asked for


def test_without_a_run_the_diagnosis_is_resolved_as_for_diagnose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("ganaudit.toml").write_text(
        "theta = 0.25\noutput = ['html:page']\n[check]\nmax = ['mu=0.1']\nformat = 'json'\n"
    )
    monkeypatch.setenv("GANAUDIT_SEED", "7")
    config, request = resolve_check({"run": None, "min": ("vendi=9",)}, {"generator": "demo"})
    assert (config.max, config.min, config.format) == (("mu=0.1",), ("vendi=9",), "json")
    assert request == DiagnoseConfig(generator="demo", theta=0.25, seed=7, output=("html:page",))
    assert request.origins["theta"] == "ganaudit.toml"


def test_a_generator_may_be_named_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the folder of a finished RUN, or a generator with --g"):
        resolve_check({"max": ("mu=0.1",)}, {"generator": None, "samples": 3})
    monkeypatch.setenv("GANAUDIT_GENERATOR", "demo")
    _, request = resolve_check({}, {})
    assert request is not None and request.generator == "demo"


def test_beside_a_run_settings_of_the_diagnosis_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not even looked at: one is malformed.
    Path("ganaudit.toml").write_text("generator = 'demo'\ntheta = 7\nzzz = 1\n")
    monkeypatch.setenv("GANAUDIT_SAMPLES", "many")
    config, request = resolve_check({"run": Path("audit")}, {"samples": None, "set": ()})
    assert config.run == Path("audit") and request is None


@pytest.mark.parametrize("name", sorted(OF_DIAGNOSE - {"output", "format"}))
def test_beside_a_run_flags_of_the_diagnosis_are_refused(name: str) -> None:
    option = GIVEN[name][0][0]
    with pytest.raises(ConfigError, match=f"^RUN is scored already: leave {option} out$"):
        resolve_check({"run": Path("audit")}, {"generator": None, name: GIVEN[name][1]})


def test_a_refusal_names_every_flag_and_who_named_the_run() -> None:
    Path("pyproject.toml").write_text("[tool.ganaudit.check]\nrun = 'audit'\n")
    with pytest.raises(ConfigError) as caught:
        resolve_check({}, {"generator": "demo", "max_faceless": 0.0, "resume": False})
    assert str(caught.value) == (
        "RUN is scored already (it is named by [tool.ganaudit.check]): "
        "leave --generator, --max-faceless, --resume out"
    )


# config show


def show(*arguments: str) -> Ended:
    """Of `ganaudit config show`, in this process, which has the variables of the test."""
    ended = CliRunner().invoke(app, ["config", "show", *arguments])
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def test_every_setting_is_shown_with_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text(
        "[tool.ganaudit]\ntheta = 0.25\nout = 'runs'\n[tool.ganaudit.check]\nmax = 'mu=10%'\n"
    )
    monkeypatch.setenv("GANAUDIT_THRESHOLD_FMR", "0.01")
    ended = show("--format", "json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    kinds = {
        "diagnose": DiagnoseConfig,
        "sample": SampleConfig,
        "check": CheckConfig,
        "threshold": ThresholdConfig,
        "serve": ServeConfig,
        "calibrate": CalibrateConfig,
        "train": TrainConfig,
    }
    assert list(found) == list(kinds)
    for verb, kind in kinds.items():
        assert [*found[verb], "origins"] == [field.name for field in fields(kind)]
    elsewhere = {
        (verb, name): (setting["value"], setting["origin"])
        for verb, settings in found.items()
        for name, setting in settings.items()
        if setting["origin"] != "default"
    }
    assert elsewhere == {
        ("diagnose", "theta"): (0.25, "[tool.ganaudit]"),
        ("diagnose", "out"): ("runs", "[tool.ganaudit]"),
        ("check", "max"): (["mu=10%"], "[tool.ganaudit.check]"),
        ("threshold", "fmr"): (0.01, "GANAUDIT_THRESHOLD_FMR"),
    }
    assert found["check"]["max_samples"]["value"] == 100_000
    shown = show()
    assert (shown.code, shown.err) == (0, "")
    assert "\ncheck\n" in shown.out
    assert "  theta = 0.25  ([tool.ganaudit])\n" in shown.out
    assert "  fmr = 0.01  (GANAUDIT_THRESHOLD_FMR)\n" in shown.out


def test_a_setting_that_is_wrong_is_shown_and_complained_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("ganaudit.toml").write_text(
        'theta = nan\nseed = 1979-05-27\nzzz = 1\nlabels = "\\u001b[2J"\nsamples = [{ a = inf }]\n'
        "[check]\nmax = ['worst-rat=2%']\n[threshold]\nfmr = 2\n"
    )
    monkeypatch.setenv("GANAUDIT_GENERATOR", "\udcff")
    ended = show("--format", "json")
    assert ended.code == 2
    diagnose, _, check, threshold, *_ = json.loads(ended.out, parse_constant=pytest.fail).values()
    assert diagnose["theta"] == {"value": "nan", "origin": "ganaudit.toml"}
    assert diagnose["seed"] == {"value": "1979-05-27", "origin": "ganaudit.toml"}
    assert diagnose["generator"] == {"value": "\\udcff", "origin": "GANAUDIT_GENERATOR"}
    assert check["max"] == {"value": ["worst-rat=2%"], "origin": "[check] in ganaudit.toml"}
    assert threshold["fmr"] == {"value": 2.0, "origin": "[threshold] in ganaudit.toml"}
    sentences = ended.err.splitlines()
    for part, sentence in zip(
        (
            "ganaudit.toml has no setting 'zzz'",
            "ganaudit.toml seed must be of type int",
            "ganaudit.toml samples must be of type int",
            "--generator must be UTF-8",
            "--fmr must be in",
            "there is no gate 'worst-rat'",
        ),
        sentences,
        strict=True,
    ):
        assert sentence.startswith("ganaudit: ") and part in sentence
    shown = show()
    assert (shown.code, shown.err) == (2, ended.err)
    assert "\x1b" not in shown.out and r"labels = '\x1b[2J'" in shown.out


def test_limits_against_a_baseline_need_none_named_yet(ganaudit: Run) -> None:
    Path("ganaudit.toml").write_text("[check]\nmax-increase = ['worst-rate']\n")
    assert ganaudit("config", "show").code == 0
    Path("ganaudit.toml").write_text("[check]\nmax-increase = ['worst-rate=0']\n")
    ended = ganaudit("config", "show")
    assert ended.code == 2 and "--max-increase worst-rate=0 would fail" in ended.complaint


@pytest.mark.parametrize(
    ("text", "said"),
    [("[check", "ganaudit.toml cannot be read: "), ("check = 3", "[check] in ganaudit.toml must")],
)
def test_a_file_that_cannot_be_taken_is_one_sentence(ganaudit: Run, text: str, said: str) -> None:
    Path("ganaudit.toml").write_text(text)
    ended = ganaudit("config", "show")
    assert (ended.code, ended.out) == (2, "") and ended.complaint.startswith(said)
    assert len(ended.err.splitlines()) == 1


def test_an_unknown_format_is_refused(ganaudit: Run) -> None:
    ended = ganaudit("config", "show", "--format", "xml")
    assert (ended.code, ended.out) == (2, "")


def test_settings_are_shown_without_the_heavy_imports() -> None:
    asking = (
        "import sys\n"
        "from ganaudit.cli import main\n"
        "for words in (['check', '--help'], ['config', '--help'], ['config', 'show']):\n"
        "    sys.argv = ['ganaudit', *words]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'faiss', 'onnxruntime', 'matplotlib', "
        "'jinja2'}\n"
        "print('heavy:', sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "heavy: []")
