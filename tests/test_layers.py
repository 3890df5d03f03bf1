import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    "errors config settings files archives userfile registry slots noise labels generators "
    "images oip descriptors cards networks checkpoints reasons grids sheets shards store screen "
    "tally neighbors scores intervals discriminators calibration rarefaction diversity fidelity "
    "diagnosis extremes ratios comparable sequential power gates same_place pairs verification "
    "arrays pictures regularizers report maker runner scoring bylabel measuring gallery finished "
    "baselines difference paired effects outcomes proof watching batchnorm probe attaching opening "
    "reference starting parts "
    "merging planning pipeline release fitting inception calibrated_gallery calibrating "
    "training identities variants threshold sampling serving testing health cli"
).split()  # a module imports only what stands before it
HEAVY = {"faiss", "onnxruntime", "facenet_pytorch", "onnx", "timm"}
EXECUTE_WHAT_THEY_READ = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
}
PATHS = sorted([*(ROOT / "ganaudit").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST, package: str, *, inside_functions: bool = True) -> Iterator[str]:
    """Full names of what a module imports, but for what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join(base) if node.level else ""
            module = ".".join(part for part in (start, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if inside_functions:
                yield from imports(node, package)
        elif not is_type_checking(node):
            yield from imports(node, package, inside_functions=inside_functions)


def imports_of(path: Path, *, inside_functions: bool = True) -> set[str]:
    folder = path.relative_to(ROOT / "plugins" if "plugins" in path.parts else ROOT).parent
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return set(imports(tree, ".".join(folder.parts), inside_functions=inside_functions))


def layer(module: str) -> str | None:
    """ganaudit.report.canonical.build -> report."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ganaudit" and len(parts) > 1 else None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_import_reader_sees_every_form() -> None:
    source = """
import a.b as c, d
from e import f, g as h
from . import i
from .j import k
from ..l import m
if TYPE_CHECKING:
    import unseen
try:
    import n
except ImportError:
    from o import p
class Q:
    import r
def s():
    import t
    def u():
        from v import w
"""
    every = {"a.b", "d", "e.f", "e.g", "x.y.i", "x.y.j.k", "x.l.m", "n", "o.p", "r"}
    assert set(imports(ast.parse(source), "x.y")) == every | {"t", "v.w"}
    assert set(imports(ast.parse(source), "x.y", inside_functions=False)) == every


def test_every_module_has_its_place_in_the_order() -> None:
    folder = ROOT / "ganaudit"
    found = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/*.py")}
    assert found - {"__init__"} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)
    assert not list(folder.glob("*/*/*.py"))  # one folder level


def outside(path: Path, found: set[str]) -> list[str]:
    """Imports of a file in ganaudit/ that stand after it, or nowhere, in the order."""
    place = path.relative_to(ROOT / "ganaudit").parts[0].removesuffix(".py")
    allowed = ORDER[: ORDER.index(place) + 1]
    # `from ganaudit import tally` names a module, `import ganaudit` the door to all of them
    return [m for m in found if m.split(".")[0] == "ganaudit" and layer(m) not in allowed]


@pytest.mark.parametrize(
    "path",
    [p for p in PATHS if p.is_relative_to(ROOT / "ganaudit") and p.name != "__init__.py"
     or p.parent.parent == ROOT / "ganaudit"],
    ids=name_of,
)  # fmt: skip
def test_a_module_imports_only_what_stands_before_it(path: Path) -> None:
    assert outside(path, imports_of(path)) == []


def test_an_import_against_the_order_would_be_found() -> None:
    store = ROOT / "ganaudit" / "store.py"
    assert outside(store, {"ganaudit.slots.SHARD", "ganaudit.store", "json"}) == []
    for wrong in ("ganaudit.tally.Tally", "ganaudit.cli", "ganaudit.nowhere", "ganaudit"):
        assert outside(store, {wrong}) == [wrong]


@pytest.mark.parametrize(
    "path", [p for p in PATHS if p.is_relative_to(ROOT / "ganaudit")], ids=name_of
)
def test_ganaudit_knows_no_plugin(path: Path) -> None:
    assert not [m for m in imports_of(path) if m.split(".")[0] == "ganaudit_plugins"]
    assert "ganaudit_plugins" not in path.read_text(encoding="utf-8")  # nor by import_module


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_optional_libraries_are_imported_where_they_are_used(path: Path) -> None:
    found = {m.split(".")[0] for m in imports_of(path, inside_functions=False)}
    assert not found & HEAVY


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_nothing_reads_formats_that_execute(path: Path) -> None:
    assert not {m.split(".")[0] for m in imports_of(path)} & EXECUTE_WHAT_THEY_READ
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert not {"eval", "exec", "__import__"} & {ast.unparse(call.func) for call in calls}
    assert "torch.load" not in {ast.unparse(call.func) for call in calls}


def test_faiss_stays_in_neighbors() -> None:
    users = {name_of(p) for p in PATHS if any(m.split(".")[0] == "faiss" for m in imports_of(p))}
    assert users == {"ganaudit/neighbors.py"}


def test_the_door_and_the_command_line_import_nothing_heavy() -> None:
    program = (
        "import sys, ganaudit, ganaudit.cli, ganaudit.config, ganaudit.errors\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'faiss', 'PIL', 'onnxruntime', 'pandas',"
        " 'pyarrow', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_every_name_of_the_door_leads_somewhere() -> None:
    import ganaudit

    for name in ganaudit.__all__:
        assert getattr(ganaudit, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'ganaudit' has no attribute 'nothing'"):
        _ = ganaudit.nothing


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_numpy_is_given_no_enum(path: Path) -> None:
    """It would ask the enum's class in Python code, and lose a Ctrl-C that arrives there."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    given: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            given += [] if ast.unparse(node.left) == "answer.status" else node.comparators
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np."):
            given += node.args
    assert not [x for x in map(ast.unparse, given) if re.fullmatch(r"Status\.[A-Z_]+", x)]
