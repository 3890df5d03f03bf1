import inspect
import pickle
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import pytest
import safetensors.numpy
import torch

from ganaudit import registry
from ganaudit.errors import ConfigError, PluginError, SourceError, UnsafeCheckpoint
from ganaudit.registry import bind, catalogue, installed, load, open_plugin, options_of, resolve


def typed(
    target: str,
    *,
    text: str = "x",
    count: int = 3,
    scale: float = 1.0,
    flag: bool = False,
    mode: Literal["fast", "exact"] = "fast",
    file: Path | None = None,
    size: tuple[int, int] = (1, 1),
    mean: tuple[float, ...] = (0.0,),
    seed: Optional[int] = None,  # noqa: UP045  (a stranger may write it so)
    bare="d",  # noqa: ANN001
) -> dict[str, Any]:
    """Open nothing."""
    return {}


def demanding(target: str, *, shape: tuple[int, ...], prior: str, psi: float = 1.0) -> None:
    """Needs two options."""


def greedy(target: str, *, psi: float = 1.0, device: object = None, **options: str) -> Any:
    return {"psi": psi, "device": device, **options}


def provide(monkeypatch: pytest.MonkeyPatch, **factories: Any) -> None:
    """Install generators that live in a module of ours."""
    module = types.ModuleType("plugins_of_a_stranger")
    vars(module).update(factories)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = [
        EntryPoint(name, f"{module.__name__}:{name}", "ganaudit.generators") for name in factories
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: entries if group == "ganaudit.generators" else []
    )


# Options


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("text", "3", "3"),
        ("bare", "3", "3"),
        ("count", "12", 12),
        ("count", "-1", -1),
        ("scale", "0.7", 0.7),
        ("scale", "1e-3", 0.001),
        ("scale", "2", 2.0),
        ("flag", "true", True),
        ("flag", "False", False),
        ("mode", "exact", "exact"),
        ("file", "a/b.txt", Path("a/b.txt")),
        ("size", "4, 5", (4, 5)),
        ("mean", "0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("mean", "0.5", (0.5,)),
        ("seed", "9", 9),
    ],
)
def test_an_option_is_converted_by_the_type_of_its_parameter(
    key: str, text: str, value: object
) -> None:
    found = bind(typed, {key: text}, what="it")
    assert found == {key: value}
    assert type(found[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("count", "1.5", "count must be a whole number, got '1.5'"),
        ("count", "", "count must be a whole number, got ''"),
        ("scale", "wide", "scale must be a finite number, got 'wide'"),
        ("flag", "yes", "flag must be true or false, got 'yes'"),
        ("mode", "slow", "mode must be one of fast, exact, got 'slow'"),
        ("size", "4", "size wants 2 values, got '4'"),
        ("size", "4,5,6", "size wants 2 values, got '4,5,6'"),
        ("size", "4,x", "size must be a whole number, got 'x'"),
        ("mean", "0.1,,0.2", "mean must be a finite number, got ''"),
        ("seed", "x", "seed must be a whole number, got 'x'"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(key: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bind(typed, {key: text}, what="it")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="it has no option 'scael'; did you mean 'scale'?"):
        bind(typed, {"scael": "1"}, what="it")
    with pytest.raises(ConfigError, match="it has no option 'qqq'; there are prior, psi, shape"):
        bind(demanding, {"qqq": "1"}, what="it")
    with pytest.raises(ConfigError, match="it has no option 'psi'$"):
        bind(lambda target: None, {"psi": "1"}, what="it")


def test_the_target_is_no_option() -> None:
    with pytest.raises(ConfigError, match="it has no option 'target'"):
        bind(typed, {"target": "x"}, what="it")


def test_required_options_that_are_absent_are_all_named() -> None:
    with pytest.raises(ConfigError, match="it needs --set shape=... --set prior=...$"):
        bind(demanding, {"psi": "1"}, what="it")
    with pytest.raises(ConfigError, match="it needs --set prior=...$"):
        bind(demanding, {"shape": "1"}, what="it")
    found = bind(demanding, {"shape": "1,2", "prior": "normal"}, what="it")
    assert found == {"shape": (1, 2), "prior": "normal"}


def test_options_that_nobody_knows_go_to_a_factory_that_takes_them() -> None:
    found = bind(greedy, {"psi": "0.5", "channels": "64"}, what="it", device="cuda:1")
    assert found == {"psi": 0.5, "channels": "64", "device": "cuda:1"}


def test_the_device_is_the_pipeline_s_to_give() -> None:
    for factory in (greedy, typed):
        with pytest.raises(ConfigError, match="it has no option 'device'"):
            bind(factory, {"device": "cpu"}, what="it", device="cuda:1")
    assert bind(typed, {}, what="it", device="cuda:1") == {}
    with pytest.raises(ConfigError, match="there are psi$"):  # it is not even offered
        bind(lambda target, *, psi=1, device=None: None, {"zzzz": "1"}, what="it")


def test_annotations_that_do_not_resolve_leave_text() -> None:
    namespace: dict[str, Any] = {}
    source = "def factory(target: str, *, scale: 'Unknown' = 1): pass"
    exec(compile(source, "stranger.py", "exec"), namespace)
    assert bind(namespace["factory"], {"scale": "2"}, what="it") == {"scale": "2"}


def test_options_are_listed_as_they_are_written() -> None:
    found = options_of(greedy)
    assert found == ["psi: float = 1.0", "**options: str"]
    assert options_of(demanding) == ["shape: tuple[int, ...]", "prior: str", "psi: float = 1.0"]


# What is installed


def test_our_own_plugins_are_installed_and_load_as_factories() -> None:
    assert {"demo", "python", "checkpoint", "images", "embeddings"} <= set(installed("generators"))
    assert {"digits", "onnx"} <= set(installed("descriptors"))
    for kind in ("generators", "descriptors"):
        for name, entry in installed(kind).items():
            assert entry.name == name
            parameters = list(inspect.signature(load(kind, name)).parameters.values())
            assert parameters[0].kind in (
                inspect.Parameter.POSITIONAL_ONLY,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
            )
            assert all(
                p.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
                for p in parameters[1:]
            )


def test_listing_imports_neither_plugins_nor_torch() -> None:
    program = (
        "import sys\n"
        "from ganaudit import registry\n"
        "assert registry.installed('generators') and registry.installed('descriptors')\n"
        "assert registry.catalogue()\n"
        "print([m for m in sys.modules if m.startswith(('torch', 'ganaudit_plugins', 'numpy'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_loading_one_plugin_imports_no_other() -> None:
    program = (
        "import sys\n"
        "from ganaudit import registry\n"
        "registry.load('generators', 'embeddings')\n"
        "print(sorted(m for m in sys.modules if m.startswith('ganaudit_plugins.')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == (
        "['ganaudit_plugins.generators', 'ganaudit_plugins.generators.embeddings']"
    )


def test_a_name_that_two_packages_claim_is_listed_and_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group = "ganaudit.generators"
    entries = [EntryPoint("mine", "a:open", group), EntryPoint("mine", "b:open", group)]
    entries.append(EntryPoint("good", f"{__name__}:typed", group))
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    assert [entry["factory"] for entry in catalogue()][:2] == [
        f"{__name__}:typed",
        "a:open and b:open",
    ]
    assert load("generators", "good") is typed
    with pytest.raises(PluginError, match="two packages provide the generator 'mine': a:open and"):
        load("generators", "mine")
    (tmp_path / "own.py").write_text("GENERATORS = {'good': print}")
    with pytest.raises(PluginError, match="two packages provide the generator 'good': .*own.py"):
        load("generators", "good", ("own.py",))


def test_a_package_with_broken_metadata_breaks_only_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in (
        ("bad", "[ganaudit.generators]\nno equals sign\n"),
        ("fine", "[ganaudit.generators]\nfine = math:pi\n"),
    ):
        facts = tmp_path / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"fine", "demo"} <= set(installed("generators"))


def test_one_package_that_is_seen_twice_does_not_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "a:open", "ganaudit.generators")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry, entry])
    (found,) = installed("generators").values()
    assert (found.name, found.value) == ("mine", "a:open")


def test_the_catalogue_tells_options_of_one_plugin_and_names_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provide(monkeypatch, typed=typed, demanding=demanding)
    named = [(entry["kind"], entry["name"]) for entry in catalogue()]
    assert named == [("generator", "demanding"), ("generator", "typed")]
    assert all(set(entry) == {"kind", "name", "factory"} for entry in catalogue())
    (found,) = catalogue("demanding")
    assert found["options"] == options_of(demanding)
    assert found["about"] == "Needs two options."
    assert found["factory"] == "plugins_of_a_stranger:demanding"
    with pytest.raises(PluginError, match="no plugin is called 'tpyed'; did you mean 'typed'?"):
        catalogue("tpyed")


def test_a_name_that_is_a_generator_and_a_descriptor_is_listed_twice() -> None:
    assert "onnx" in installed("descriptors")
    kinds = {entry["kind"] for entry in catalogue("onnx")}
    assert kinds == {
        kind[:-1] for kind in ("generators", "descriptors") if "onnx" in installed(kind)
    }


# Loading and opening


def test_an_unknown_plugin_names_the_nearest() -> None:
    with pytest.raises(PluginError, match="no generator is called 'dmeo'; did you mean 'demo'?"):
        load("generators", "dmeo")
    with pytest.raises(PluginError, match="no descriptor is called 'zzz'; there are .*digits"):
        load("descriptors", "zzz")


def test_a_plugin_that_cannot_be_imported_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = "ganaudit.generators"
    entries = [
        EntryPoint("absent", "no_such_module_at_all:open", group),
        EntryPoint("hollow", "types:no_such_factory", group),
        EntryPoint("number", "math:pi", group),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    message = r"generator 'absent' cannot be imported \(ModuleNotFoundError: .*ganaudit doctor"
    with pytest.raises(PluginError, match=message) as caught:
        load("generators", "absent")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(PluginError, match=r"'hollow' cannot be imported \(AttributeError"):
        load("generators", "hollow")
    with pytest.raises(PluginError, match="the generator 'number' is no factory but float"):
        load("generators", "number")


def test_a_plugin_is_opened_with_target_options_and_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def factory(target: str, *, psi: float = 1.0, device: object = None) -> object:
        return (target, psi, device)

    provide(monkeypatch, mine=factory)
    opened, name, target = open_plugin("generators", "mine:a:b", {"psi": "0.5"}, device="cpu")
    assert opened == ("a:b", 0.5, "cpu")
    assert (name, target) == ("mine", "a:b")
    assert open_plugin("generators", "mine", {})[0] == ("", 1.0, None)


@pytest.mark.parametrize("error", [ConfigError("no"), SourceError("no"), UnsafeCheckpoint("no")])
def test_what_a_plugin_says_in_our_words_is_passed_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(target: str) -> None:
        raise error

    provide(monkeypatch, mine=factory)
    with pytest.raises(type(error)) as caught:
        open_plugin("generators", "mine", {})
    assert caught.value is error


def test_a_foreign_error_while_opening_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(target: str) -> None:
        raise ZeroDivisionError("oops")

    provide(monkeypatch, mine=factory)
    message = r"the generator 'mine' could not be opened \(ZeroDivisionError: oops\)"
    with pytest.raises(PluginError, match=message) as caught:
        open_plugin("generators", "mine", {})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_ctrl_c_while_opening_is_no_plugin_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(target: str) -> None:
        raise KeyboardInterrupt

    provide(monkeypatch, mine=factory)
    with pytest.raises(KeyboardInterrupt):
        open_plugin("generators", "mine", {})


def test_options_are_refused_in_the_name_of_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    provide(monkeypatch, typed=typed)
    with pytest.raises(ConfigError, match="the generator 'typed' has no option 'sclae'; did you"):
        open_plugin("generators", "typed", {"sclae": "1"})


# Names and paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_with_or_without_a_target_is_a_plugin(folder: Path) -> None:
    assert resolve("generators", "demo") == ("demo", "")
    assert resolve("generators", "demo:collapsed") == ("demo", "collapsed")
    assert resolve("generators", "python:a.py:make") == ("python", "a.py:make")
    assert resolve("descriptors", "digits") == ("digits", "")


def test_a_file_of_that_name_wins_over_the_bare_name_but_not_over_a_target(folder: Path) -> None:
    (folder / "demo").mkdir()
    assert resolve("generators", "demo") == ("images", "demo")
    (folder / "demo:x").mkdir()
    assert resolve("generators", "demo:x") == ("demo", "x")


def write_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3), dtype=np.float32))


def write_safetensors(path: Path) -> None:
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}))


def write_text(path: Path) -> None:
    path.write_text("hello, this is some text")


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "write", "name", "plugin"),
    [
        ("generators", Path.mkdir, "pictures", "images"),
        ("generators", write_npy, "rows.dat", "embeddings"),
        ("generators", write_safetensors, "model.pt", "checkpoint"),
        ("generators", write_text, "model.pth", "checkpoint"),
        ("descriptors", write_safetensors, "model.bin", "digits"),
        ("descriptors", write_text, "model.ONNX", "onnx"),
    ],
)
def test_a_path_is_told_apart_by_its_content(
    kind: registry.Kind, write: Callable[[Path], None], name: str, plugin: str, folder: Path
) -> None:
    path = folder / name
    write(path)
    assert resolve(kind, str(path)) == (plugin, str(path))
    assert resolve(kind, name) == (plugin, name)


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))


@pytest.mark.parametrize("write", [write_pickle, write_zip])
@pytest.mark.parametrize(
    "name", ["model.pt", "model.pkl", "model.safetensors", "model.npy", "m.py"]
)
def test_a_pickle_under_any_name_is_refused_and_not_executed(
    write: Callable[[Path], None], name: str, folder: Path
) -> None:
    write(folder / name)
    with pytest.raises(UnsafeCheckpoint, match="is a pickle or a zip of pickles.*NAME:") as e:
        resolve("descriptors", name)
    assert e.value.exit_code == 5
    assert resolve("generators", name) == ("checkpoint", name)
    with pytest.raises(UnsafeCheckpoint, match="Path.touch.*nothing of it was run") as e:
        registry.open_plugin("generators", name, {}, device=torch.device("cpu"))
    assert e.value.exit_code == 5
    assert not (folder / "exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))  # the bomb is live
    assert (folder / "exploded").exists()


@pytest.mark.parametrize(
    ("kind", "write", "name", "message"),
    [
        ("descriptors", Path.mkdir, "pictures", "pictures is a folder; a descriptor is a file"),
        ("descriptors", write_npy, "rows.npy", "is nothing that can be told apart by its content"),
        ("generators", write_text, "m.dat", "is nothing that can be told apart .* demo, embedd"),
        ("generators", write_nothing, "model", "is nothing that can be told apart"),
        ("descriptors", write_text, "m.bin", "is nothing that can be told apart"),
        ("generators", write_text, "m.py", "m.py is Python; name the factory in it: python:.*m.py"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_the_remedy(
    kind: registry.Kind, write: Callable[[Path], None], name: str, message: str, folder: Path
) -> None:
    write(folder / name)
    with pytest.raises(ConfigError, match=message):
        resolve(kind, name)


def test_what_is_neither_a_name_nor_a_path_is_refused(folder: Path) -> None:
    with pytest.raises(PluginError, match="no generator is called 'dmeo'; did you mean 'demo'?"):
        resolve("generators", "dmeo:collapsed")
    with pytest.raises(ConfigError, match="--generator dmeo: no such file, and no generator of"):
        resolve("generators", "dmeo")
    with pytest.raises(ConfigError, match="--descriptor a/b.onnx: no such file"):
        resolve("descriptors", "a/b.onnx")
    with pytest.raises(ConfigError, match="--descriptor ./x:y: no such file"):
        resolve("descriptors", "./x:y")
