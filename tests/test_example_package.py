"""The tutorial, the package beside it, and what a stranger's plugin can and cannot break."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Ended
from doc_blocks import Block, blocks, run_page, shows
from PIL import Image
from test_layers import imports

from ganaudit.registry import catalogue
from ganaudit.testing import check_plugin

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "plugins.md"
SHAPES = ROOT / "examples" / "ganaudit-shapes"
SMALL = ("--anchors", "200", "--samples", "1000", "--device", "cpu", "--quiet")
Run = Callable[..., Ended]


# -- documents that run ----------------------------------------------------------------------

PAGE = """
# A page

```python
# pkg/one.py
import two
```

```python
print("from python")
```

```console
$ cat pkg/one.py
import two
$ echo a   b; \\
  echo c
a b ... c
```

<!-- not run: it would take hours -->
```console
$ false
```

```text
$ false
```

```console
$ true
```
"""


def test_the_blocks_of_a_page_are_its_files_programs_and_commands() -> None:
    found = blocks(PAGE)
    assert [block.language for block in found] == ["python", "python", "console", "text", "console"]
    assert [block.file for block in found] == ["pkg/one.py", None, None, None, None]
    assert found[0].content == "import two\n"
    assert found[0].line == 4
    commands = [("cat pkg/one.py", "import two\n"), ("echo a   b;    echo c", "a b ... c\n")]
    assert list(found[2].commands()) == commands
    assert list(found[4].commands()) == [("true", "")]


def test_a_page_is_carried_out_from_top_to_bottom(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, folder = Path("page.md"), tmp_path_factory.mktemp("page")
    page.write_text(PAGE)
    assert run_page(page, folder, monkeypatch) == 3
    assert Path("pkg/one.py").read_text() == "import two\n"
    for old, new, message in (
        ("$ true", "$ false", "false ended with 1"),
        ("a b ... c", "a b ... d", "echo a   b;    echo c printed: a b\nc\n"),
        ('print("from python")', "raise SystemExit(4)", "ended with 4"),
    ):
        fence = PAGE[: PAGE.index(old)].rindex("```")
        message = rf"^page.md:{PAGE.count(chr(10), 0, fence) + 1}:? {message}"
        page.write_text(PAGE.replace(old, new))
        with pytest.raises(AssertionError, match=message):
            run_page(page, folder, monkeypatch)


@pytest.mark.parametrize(
    ("shown", "held"),
    [
        ("", True),
        ("one two\nthree four", True),
        ("one ... three ...", True),
        ("... four", True),
        ("one three", False),
        ("three ... two", False),
        ("one ... two ... two", False),
    ],
)
def test_what_is_shown_of_an_output_stands_in_it_in_order(shown: str, held: bool) -> None:
    assert shows("one   two three\n four\n", shown) is held


# -- the tutorial ----------------------------------------------------------------------------


def files_of_the_tutorial() -> list[Block]:
    return [block for block in blocks(TUTORIAL.read_text("utf-8")) if block.file]


def test_everything_on_the_page_about_plugins_runs(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_page(TUTORIAL, tmp_path_factory.mktemp("page"), monkeypatch) == 10


def test_the_tutorial_begins_with_the_eleven_lines_of_the_example() -> None:
    first = files_of_the_tutorial()[0]
    assert first.content == (ROOT / "examples" / "clouds.py").read_text()
    assert len([line for line in first.content.splitlines() if line]) == 11


def test_a_batch_norm_in_training_mode_is_told_in_the_words_of_the_tutorial() -> None:
    Path("trained.py").write_text(
        (ROOT / "examples" / "clouds.py")
        .read_text()
        .replace("(draws.latents, (32", "(torch.nn.BatchNorm2d(3)(draws.latents), (32")
    )
    check_plugin("generators", "clouds", files=[str(ROOT / "examples" / "clouds.py")])
    with pytest.raises(AssertionError) as caught:
        check_plugin("generators", "clouds", files=["trained.py"])
    (quoted,) = (text for text in TUTORIAL.read_text().split('"') if "image 0 must" in text)
    assert shows(str(caught.value), quoted)


# -- files named by --plugin -----------------------------------------------------------------


@pytest.fixture
def clouds() -> Path:
    """The plugins of the tutorial, in the working directory."""
    second = files_of_the_tutorial()[1]
    path = Path("clouds.py")
    path.write_text(second.content)
    return path


AUDIT = (
    *("diagnose", "--generator", "clouds", "--descriptor", "digits"),
    *SMALL,
)


def test_plugins_of_a_file_are_listed_beside_those_installed(ganaudit: Run, clouds: Path) -> None:
    listed = ganaudit("plugins", "--plugin", clouds, "--format", "json")
    named = {(entry["kind"], entry["name"]) for entry in json.loads(listed.out)}
    installed = {(entry["kind"], entry["name"]) for entry in catalogue()}
    assert named == installed | {("generator", "clouds"), ("descriptor", "tones")}
    (found,) = json.loads(ganaudit("plugins", "clouds", "--plugin", clouds, "--format", "json").out)
    assert found["options"] == ["cells: int = 2", "repeat: float = 0.0"]
    assert found["factory"] == "clouds.py:open_clouds"
    unknown = ganaudit("plugins", "clouds")
    assert (unknown.code, unknown.complaint[:32]) == (2, "no plugin is called 'clouds'; th")


def test_a_run_of_a_file_is_pinned_to_its_content(ganaudit: Run, clouds: Path) -> None:
    audit = (*AUDIT, "--plugin", clouds, "--out", "run")
    assert ganaudit(*audit).code == 0
    assert ganaudit(*audit, "--resume").code == 0
    clouds.write_text(clouds.read_text().replace("128 + 50", "128 + 60"))
    changed = ganaudit(*audit, "--resume")
    assert changed.code == 2
    assert "plugin_sha256" in changed.complaint


BROKEN_FILES = {
    "absent.py": (None, "no such file: absent.py"),
    "empty.py": (
        "",
        r"empty.py brings no plugin: it must have GENERATORS = {NAME: FACTORY} or DES",
    ),
    "list.py": ("GENERATORS = ['a']", "list.py: GENERATORS must map names to factories"),
    "raising.py": ("raise RuntimeError('no\\ncuda')", "raising.py raised RuntimeError: no cuda"),
    "leaving.py": ("raise SystemExit(0)", "leaving.py raised SystemExit: 0"),
    "text.py": ("this is no Python", "text.py raised SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_brings_no_plugins_is_refused(ganaudit: Run, name: str) -> None:
    content, message = BROKEN_FILES[name]
    if content is not None:
        Path(name).write_text(content)
    ended = ganaudit("plugins", "--plugin", name)
    assert ended.code == 2
    assert ended.complaint.startswith(message)


def test_a_run_with_a_file_that_raises_does_not_begin(ganaudit: Run) -> None:
    Path("raising.py").write_text("raise RuntimeError('no cuda')")
    ended = ganaudit("diagnose", "--generator", "demo", "--plugin", "raising.py")
    assert (ended.code, ended.complaint) == (2, "raising.py raised RuntimeError: no cuda")
    assert not Path("audit").exists()


def test_theta_of_a_descriptor_in_a_file_is_measured(ganaudit: Run, clouds: Path) -> None:
    rng = np.random.default_rng(0)
    for person in range(12):
        folder = Path("identities", str(person))
        folder.mkdir(parents=True)
        one = rng.uniform(60, 190, (4, 4, 3))
        for picture in range(3):
            pixels = (one + rng.normal(0, 12, one.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((16, 16)).save(folder / f"{picture}.png")
    measuring = ("threshold", "--plugin", clouds, "--descriptor", "tones", "--out", "measured")
    ended = ganaudit(*measuring, "--identities", "identities", "--fmr", "0.01", "--device", "cpu")
    assert ended.code == 0, ended.err
    audit = ("--generator", "clouds", "--descriptor-card", "measured/card.json")
    run = ganaudit("diagnose", *audit, "--plugin", clouds, "--out", "run", *SMALL)
    assert run.code == 0, run.err
    measured = json.loads(Path("measured/card.json").read_text())
    scale = json.loads(Path("run/report.json").read_text())["scale"]
    assert [scale["theta"], scale["radius"]] == [
        measured["theta"]["estimate"],
        measured["radius"]["estimate"],
    ]


# -- the package -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package installed into it; its sources in `source` beside it."""
    folder = tmp_path_factory.mktemp("shapes")
    ignored = shutil.ignore_patterns("__pycache__", ".*", "build", "dist")
    shutil.copytree(SHAPES, folder / "source", ignore=ignored)
    line = "-m pip install --no-deps --no-build-isolation --no-index --quiet --target"
    subprocess.run(
        [sys.executable, *line.split(), str(folder / "site"), str(folder / "source")], check=True
    )
    return folder


def test_the_package_imports_nothing_but_what_is_public() -> None:
    paths = sorted(SHAPES.rglob("*.py"))
    assert len(paths) == 4
    for path in paths:
        found = set(imports(ast.parse(path.read_text()), "ganaudit_shapes"))
        roots = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)
        assert roots <= {"ganaudit", "torch", "numpy", "pytest"}
        assert not [name for name in found if "._" in name]


def test_an_installed_package_is_listed_and_not_imported(shapes: Path) -> None:
    program = (
        "import sys, json\n"
        "from ganaudit.cli import app\n"
        "app(['plugins', '--format', 'json'], standalone_mode=False)\n"
        "print([m for m in sys.modules if m.startswith(('ganaudit_', 'torch', 'numpy'))])"
    )
    environment = os.environ | {"PYTHONPATH": str(shapes / "site")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *listing, imported = done.stdout.splitlines()
    names = {(entry["kind"], entry["name"]) for entry in json.loads("\n".join(listing))}
    assert {("generator", "shapes"), ("descriptor", "shape"), ("generator", "demo")} <= names
    assert imported == "[]"


def test_the_collapse_planted_in_the_shapes_is_found_with_its_share(
    ganaudit: Run, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(shapes / "site"))
    audit = (
        "diagnose",
        "--generator",
        "shapes",
        "--descriptor",
        "shape",
        *SMALL,
        "--format",
        "json",
    )
    planted = json.loads(ganaudit(*audit, "--set", "collapse=0.1", "--out", "planted").out)
    rate = planted["figures"]["worst_mode"]["rate"]
    assert rate["low"] < 0.1 < rate["high"]
    assert abs(rate["estimate"] - 0.1) < 0.03
    assert planted["screen"]["repeated"] == 0  # no picture comes twice, only the identity
    even = json.loads(ganaudit(*audit, "--out", "even").out)
    assert even["figures"]["worst_mode"]["rate"]["high"] < 0.03


def test_the_package_s_page_runs_its_own_tests_too(
    shapes: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shapes / "source", "ganaudit-shapes")
    assert run_page(SHAPES / "README.md", tmp_path_factory.mktemp("page"), monkeypatch) == 3


# -- packages that are broken ----------------------------------------------------------------

BROKEN = {
    "raising": ("raise RuntimeError('no\\ncuda')", "RuntimeError: no cuda"),
    "needing": ("import no_such_library_at_all", "ModuleNotFoundError: No module named 'no_such"),
    "spoilt": ("def open(:", "SyntaxError: invalid syntax"),
    "hollow": ("", "AttributeError: module 'broken_hollow' has no attribute 'open_it'"),
    "leaving": ("raise SystemExit(0)", "SystemExit: 0"),
    "lost": (None, "ModuleNotFoundError: No module named 'broken_lost'"),
}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of a generator and a descriptor each, installed, of which none can be imported."""
    site = tmp_path / "site"
    for name, (source, _) in BROKEN.items():
        facts = site / f"broken_{name}-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: broken-{name}\nVersion: 1.0\n"
        )
        (facts / "entry_points.txt").write_text(
            f"[ganaudit.generators]\n{name} = broken_{name}:open_it\n"
            f"[ganaudit.descriptors]\n{name} = broken_{name}:open_it\n"
        )
        if source is not None:
            (site / f"broken_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("broken")
def test_broken_packages_are_listed_and_leave_the_others_working(ganaudit: Run) -> None:
    listed = ganaudit("plugins", "--format", "json")
    assert listed.code == 0
    assert set(BROKEN) | {"demo", "digits"} <= {entry["name"] for entry in json.loads(listed.out)}
    assert ganaudit("plugins", "demo").code == 0
    assert ganaudit("doctor").code == 0
    small = ("--anchors", "32", "--samples", "64", "--device", "cpu", "--quiet")
    assert ganaudit("diagnose", "--generator", "demo", *small).code == 0


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_is_one_sentence_when_it_is_opened(ganaudit: Run, name: str) -> None:
    ended = ganaudit("diagnose", "--generator", name, "--descriptor", "digits")
    assert ended.code == 2
    said = f"the generator {name!r} cannot be imported ({BROKEN[name][1]}"
    assert ended.complaint.startswith(said)
    assert not Path("audit").exists()


@pytest.mark.usefixtures("broken")
def test_a_broken_descriptor_and_broken_options_are_one_sentence_too(ganaudit: Run) -> None:
    opened = ganaudit("diagnose", "--generator", "demo", "--descriptor", "raising")
    explained = ganaudit("plugins", "raising")
    for ended, kind in ((opened, "descriptor"), (explained, "generator")):
        said = f"the {kind} 'raising' cannot be imported (RuntimeError: no cuda); "
        assert (ended.code, ended.complaint.startswith(said)) == (2, True)
    assert not Path("audit").exists()
