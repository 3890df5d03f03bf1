"""The documents say what the program does: every option is there, and what they show runs."""

import inspect
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from doc_blocks import forked

from ganaudit.cli import app
from ganaudit.config import (
    CalibrateConfig,
    CheckConfig,
    CheckFormat,
    DiagnoseConfig,
    OutputFormat,
    SampleConfig,
    ServeConfig,
    ThresholdConfig,
    TrainConfig,
)
from ganaudit.gates import FIGURES
from ganaudit.networks import network_class
from ganaudit.regularizers import REGULARIZERS, STRENGTH
from ganaudit.regularizers.strength import Strength
from ganaudit.settings import source_file, survey
from ganaudit.training.architectures import ARCHITECTURES
from ganaudit.training.losses import LOSSES, LossSettings, settings_of
from ganaudit.training.presets import PRESETS
from ganaudit.training.recipe import Optim
from ganaudit.training.resolving import OWNERS
from ganaudit.training.styles import Styles
from ganaudit.training.toys import TOYS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()
TRAIN = "".join((ROOT / "docs" / name).read_text() for name in ("train.md", "stylegan2.md"))


def parameters(group: Any = None, before: str = "") -> dict[str, list[Any]]:
    """Every command, such as "config show", and its parameters."""
    found: dict[str, list[Any]] = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= parameters(command, f"{before}{name} ")
        else:
            found[before + name] = command.params
    return found


def options(name: str, dashes: str = "--") -> set[str]:
    """The options of a command, short ones too if they begin with one of `dashes`."""
    every = {option for parameter in parameters()[name] for option in parameter.opts}
    return {option for option in every if option.startswith(dashes)}


def section(name: str) -> str:
    """What the page of options says of a command."""
    return OPTIONS.split(f"# Options of `ganaudit {name}`\n")[1].split("\n# ")[0]


def rows(name: str) -> list[list[str]]:
    """The cells of each row of a command's table that is of options."""
    lines = [line for line in section(name).splitlines() if line.startswith("| `-")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


@pytest.mark.parametrize("name", parameters())
def test_every_command_and_option_is_documented(name: str) -> None:
    assert f"ganaudit {name}" in README or f"ganaudit {name}" in OPTIONS
    assert options(name, "-") <= set(re.findall(r"--?[a-z][a-z-]*", README + OPTIONS))


@pytest.mark.parametrize(
    "name", ["diagnose", "sample", "check", "merge", "threshold", "serve", "train"]
)
def test_every_option_in_the_table_exists(name: str) -> None:
    listed = re.findall(r"--[a-z-]+", " ".join(row[0] for row in rows(name)))
    assert len(set(listed)) == len(listed)
    own = options(name)
    if name == "check":  # the others are diagnose's, which one row stands for
        settings = {f"--{field.name.replace('_', '-')}" for field in fields(CheckConfig)}
        own &= settings | {"--quiet", "--verbose"}
        assert "\n| the other options of `ganaudit diagnose` |" in section(name)
        assert options(name) - own == options("diagnose") - own
    assert set(listed) == own


def test_every_option_of_calibrate_is_in_its_table() -> None:
    listed = re.findall(r"--[a-z-]+", " ".join(row[0] for row in rows("calibrate")))
    assert len(set(listed)) == len(listed)
    settings = {f"--{field.name.replace('_', '-')}" for field in fields(CalibrateConfig)}
    settings -= {"--origins", "--format"}
    assert set(listed) == settings | {"--out", "--resume", "--dry-run"}
    (others,) = re.findall(r"\| the other options of .*?\|", section("calibrate"))
    assert set(re.findall(r"--[a-z-]+", others)) == options("diagnose") - options("calibrate")
    assert options("calibrate") - options("diagnose") == settings - {"--set"}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("diagnose", "anchors"),
        ("diagnose", "samples"),
        ("diagnose", "seed"),
        ("diagnose", "timeout_s"),
        ("diagnose", "device"),
        ("diagnose", "backend"),
        ("diagnose", "keep"),
        ("diagnose", "format"),
        ("diagnose", "max_faceless"),
        ("diagnose", "max_failure_rate"),
        ("sample", "samples"),
        ("check", "inconclusive"),
        ("check", "max_samples"),
        ("check", "format"),
        ("serve", "host"),
        ("serve", "port"),
        ("serve", "delay_ms"),
        ("serve", "queue"),
        ("serve", "max_images"),
        ("serve", "max_body_mb"),
        ("threshold", "fmr"),
        ("threshold", "seed"),
        ("calibrate", "modes"),
        ("calibrate", "min_acceptance"),
        ("calibrate", "attempts"),
        ("train", "prior"),
        ("train", "fit"),
        ("train", "precision"),
        ("train", "device"),
        ("train", "devices"),
        ("train", "parts"),
        ("train", "seed"),
        ("train", "audit_anchors"),
        ("train", "audit_samples"),
        ("train", "format"),
    ],
)
def test_defaults_in_table_and_help_are_the_defaults(name: str, setting: str) -> None:
    kinds: dict[str, type[Any]] = {
        "diagnose": DiagnoseConfig,
        "sample": SampleConfig,
        "check": CheckConfig,
        "threshold": ThresholdConfig,
        "serve": ServeConfig,
        "calibrate": CalibrateConfig,
        "train": TrainConfig,
    }
    value = next(found.value for found in survey(kinds[name])[0] if found.name == setting)
    default = value if isinstance(value, str) else f"{value:g}"
    option = f"--{setting.replace('_', '-')}"
    row = next(row for row in rows(name) if row[0].startswith(f"`{option}"))
    assert row[2].split(":")[0] == default
    help_text = next(p.help for p in parameters()[name] if option in p.opts)
    assert help_text.endswith(f"[{default}].")


def listed_in_train(owner: str) -> dict[str, str]:
    """Keys of an owner's options and the default that the page on training gives them."""
    found = {}
    for line in TRAIN.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for key in re.findall(rf"`{re.escape(owner)}\.(\w+)`", cells[0] if cells else ""):
            assert key not in found
            found[key] = cells[1]
    return found


def as_text(value: object) -> str:
    """A default as the tables have it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_option_of_a_regulariser_and_its_default_is_in_the_page_on_training(
    name: str,
) -> None:
    defaults = REGULARIZERS[name]({})
    wanted = {field.name: as_text(getattr(defaults, field.name)) for field in fields(defaults)}
    if hasattr(type(defaults), "preset"):
        wanted["preset"] = "paper"
        assert type(defaults).preset("paper") == defaults
    assert listed_in_train(name) == wanted


def test_every_option_of_the_optimizer_and_the_losses_is_in_the_page_on_training() -> None:
    wanted = {field.name: as_text(field.default) for field in fields(Optim)}
    assert listed_in_train("optim") == wanted | {"lr_discriminator": "that of `optim.lr`"}
    usual = {
        name: max(getattr(settings_of(loss, {}), name) for loss in LOSSES)
        for name in (field.name for field in fields(LossSettings))
    }
    assert listed_in_train("loss") == {name: as_text(value) for name, value in usual.items()}


@pytest.mark.parametrize(("owner", "kind"), [(STRENGTH, Strength), ("styles", Styles)])
def test_every_option_of_styles_and_strength_is_in_the_pages_on_training(
    owner: str, kind: type[Any]
) -> None:
    assert listed_in_train(owner) == {f.name: as_text(f.default) for f in fields(kind)}


@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_every_argument_of_a_network_that_can_be_said_is_in_the_page_on_training(
    role: str,
) -> None:
    by_data = {"channels", "size", "latent_size", "num_labels", "num_classes", "image_shape"}
    by_data |= {"img_channels", "img_resolution", "z_dim", "c_dim"}
    cannot_be_said = {"resample_filter"}  # rows of numbers
    usual = {"width": "64", "w_dim": "that of `--latent-size`"}
    wanted: dict[str, str] = {}
    for pair in ARCHITECTURES.values():
        arguments = inspect.signature(network_class(getattr(pair, role))).parameters
        for name in set(arguments) - by_data - cannot_be_said:
            default = as_text(arguments[name].default)
            wanted[name] = usual.get(name, default)
    assert listed_in_train(role) == wanted


def test_everything_that_a_training_can_be_asked_for_is_named() -> None:
    words = set(re.findall(r"`([\w:-]+)`", TRAIN))
    assert set(ARCHITECTURES) | set(LOSSES) | set(REGULARIZERS) | set(PRESETS) <= words
    assert {f"toy:{name}" for name in TOYS} <= words
    assert set(OWNERS) <= set(re.findall(r"[\w-]+", section("train")))
    (row,) = (row for row in rows("train") if row[0].startswith("`--loss"))
    assert set(LOSSES) == set(re.findall(r"`([\w-]+)`", row[1]))


def test_presets_have_the_figures_that_the_page_on_training_gives_them() -> None:
    lines = {
        cells[0].strip("`"): cells[1:]
        for line in TRAIN.split("## Presets")[1].split("\n## ")[0].splitlines()
        if (cells := [cell.strip() for cell in line.split("|")[1:-1]]) and cells[0][:1] == "`"
    }
    assert set(lines) == {*PRESETS, "--preset"}
    sizes = ""
    for name, preset in PRESETS.items():
        model, numbers, step = lines[name]
        sizes = sizes if numbers == "the same" else numbers
        at = "at 256 pixels " if preset.fitted else ""
        assert sizes == f"{at}{preset.batch}, {preset.steps:,}, {preset.latent_size}"
        assert step == preset.settings.get("advlatgan-qua.step", "")
        if model not in ("the same", "as on CIFAR-10"):
            assert model.startswith(preset.arch)
            betas = (preset.settings.get(f"optim.{beta}", "") for beta in ("beta1", "beta2"))
            first, second = (
                as_text(float(text or usual)).removeprefix("0") or "0"
                for text, usual in zip(betas, (Optim.beta1, Optim.beta2), strict=True)
            )
            rate = float(preset.settings["optim.lr"])
            said = f"{rate:.1e}".replace(".0e", "e").replace("e-0", "e-")
            assert f"Adam {said} ({first}, {second})" in model


def test_every_format_of_a_report_is_named() -> None:
    (row,) = (row for row in rows("diagnose") if row[0].startswith("`--output"))
    for text in (row[1], README):
        assert set(get_args(OutputFormat)) <= set(re.findall(r"\w+", text))


def test_every_format_and_gate_of_a_check_is_named() -> None:
    (row,) = (row for row in rows("check") if row[0].startswith("`--output"))
    (help_text,) = (p.help for p in parameters()["check"] if "--output" in p.opts)
    for text in (row[1], help_text):
        assert set(get_args(CheckFormat)) <= set(re.findall(r"[\w-]+", text))
    gates = section("check").split("The gates are ")[1]
    assert set(re.findall(r"`([\w-]+)`", gates)) == set(FIGURES)


@pytest.mark.parametrize("file", ["pyproject.toml", "ganaudit.toml"])
def test_the_file_of_settings_that_is_shown_is_taken(file: str, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", OPTIONS, re.DOTALL)
    if file == "ganaudit.toml":
        text = text.replace("[tool.ganaudit]\n", "").replace("[tool.ganaudit.", "[")
    (tmp_path / file).write_text(text)
    for kind, some in ((DiagnoseConfig, "theta"), (CheckConfig, "max_increase")):
        settings, problems = survey(kind, folder=tmp_path)
        assert problems == []
        assert {s.name: source_file(s.origin) for s in settings}[some] == file


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    block = re.findall(r"```python\n(from ganaudit.*?)```", README, re.DOTALL)[0]
    (tmp_path / "block.py").write_text(block)
    done = forked("python", ["block.py"], tmp_path)
    assert done.code == 0, done.err
    rate, largest = (float(word) for word in done.out.split())
    assert 0 < rate < 1 and 0 < largest <= 1


def test_every_file_that_the_documents_name_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {
        word
        for page in pages
        for word in re.findall(
            r"(?:ganaudit|docs|tests|examples|benchmarks)/[\w/]+\.(?:py|md)", page.read_text()
        )
    }
    assert named and not [name for name in named if not (ROOT / name).exists()]


def test_no_document_or_source_carries_a_path_of_the_machine_it_was_written_on() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert "README.md" in files or not files  # not a clone: nothing to look at
    homes = (str(ROOT.parent) + "/", str(Path.home()) + "/")
    texts = [ROOT / name for name in files if name.endswith((".py", ".md", ".toml", ".yml"))]
    assert not [path for path in texts if any(home in path.read_text() for home in homes)]
