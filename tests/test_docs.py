"""The documents say what the program does: every option is there, and what they show runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from ganaudit.cli import app
from ganaudit.config import DiagnoseConfig, OutputFormat

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()


def commands() -> dict[str, list[str]]:
    """Every command and the options it takes."""
    group = typer.main.get_command(app)
    return {
        name: [option for parameter in command.params for option in parameter.opts]
        for name, command in group.commands.items()
    }


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_documented(name: str) -> None:
    assert f"ganaudit {name}" in README or f"ganaudit {name}" in OPTIONS
    written = set(re.findall(r"--?[a-z][a-z-]*", README + OPTIONS))
    options = {option for option in commands()[name] if option.startswith("-")}
    assert options <= written


def test_every_option_in_the_table_exists() -> None:
    tables = OPTIONS.split("\n# ")
    for table, name in zip(tables, ("diagnose", "threshold"), strict=False):
        rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `-")]
        listed = set(re.findall(r"--[a-z-]+", " ".join(rows)))
        assert listed == {option for option in commands()[name] if option.startswith("--")}


@pytest.mark.parametrize(
    "name",
    [
        "anchors",
        "samples",
        "seed",
        "timeout_s",
        "device",
        "backend",
        "keep",
        "format",
        "max_faceless",
    ],
)
def test_defaults_in_table_and_help_are_the_defaults(name: str) -> None:
    value = getattr(DiagnoseConfig(generator="demo"), name)
    default = value if isinstance(value, str) else f"{value:g}"
    option = f"--{name.replace('_', '-')}"
    row = next(row for row in OPTIONS.splitlines() if row.startswith(f"| `{option}"))
    assert row.split("|")[3].strip().split(":")[0] == default
    parameters = typer.main.get_command(app).commands["diagnose"].params
    help_text = next(p.help for p in parameters if option in p.opts)
    assert help_text.endswith(f"[{default}].")


def test_every_format_of_a_report_is_named() -> None:
    (row,) = (row for row in OPTIONS.splitlines() if row.startswith("| `--output"))
    for text in (row, README):
        assert set(get_args(OutputFormat)) <= set(re.findall(r"\w+", text))


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    block = re.findall(r"```python\n(from ganaudit.*?)```", README, re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rate, largest = (float(word) for word in done.stdout.split())
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
