"""Every hostile file, through the command line: refused in one sentence, at once, and not run."""

import ctypes
import gc
import io
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import hostile
import pytest
from conftest import Ended, fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")

MOST_SECONDS = 5
MOST_BYTES = 2**29  # above what the process has before
_DIAGNOSE = ("--descriptor", "digits", "--anchors", "64", "--samples", "64", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def files(folder: Path) -> list[hostile.Hostile]:
    return hostile.write_all(folder)


@pytest.fixture(autouse=True)
def _no_canary(folder: Path) -> Iterator[None]:
    yield
    assert not (folder / "canary").exists()


def _inspect(path: Path) -> list[str]:
    return ["inspect", str(path)]


def _open(path: Path) -> list[str]:
    """Through the plugin, whatever the file looks like; its folder is made when it was opened."""
    return ["diagnose", "--generator", f"checkpoint:{path}", *_DIAGNOSE, "--out", f"{path}-out"]


def _tell_apart(path: Path) -> list[str]:
    return ["diagnose", "--generator", str(path), *_DIAGNOSE, "--out", f"{path}-out"]


def test_there_are_many_and_of_every_kind(files: list[hostile.Hostile]) -> None:
    kinds = {each.name.partition("-")[0] for each in files}
    assert len(files) > 500
    assert len(kinds) == 20, kinds


@pytest.mark.parametrize("half", [0, 1])
def test_none_harms_who_inspects_it(
    half: int, files: list[hostile.Hostile], tmp_path: Path
) -> None:
    _check(_all(_inspect, files[half::2], tmp_path))


def test_none_harms_who_audits_it(files: list[hostile.Hostile], tmp_path: Path) -> None:
    some = [each for each in files if each.name.startswith(("own", "tensor", "source", "tree"))]
    _check(_all(_open, some + files[::20], tmp_path))


def test_none_harms_who_does_not_say_what_it_is(
    files: list[hostile.Hostile], tmp_path: Path
) -> None:
    some = [each for each in files if each.name.startswith(("zip", "place", "cut", "hidden"))]
    there = [each for each in some if each.name not in ("place-folder", "place-piped")]  # images
    _check(_all(_tell_apart, there, tmp_path, codes=(2, 5)))


@pytest.mark.parametrize("name", ["call-000-os.system.pkl", "hidden-in-zip.pt", "tree-self.pkl"])
def test_the_command_itself_says_so_and_writes_nothing(
    name: str,
    files: list[hostile.Hostile],
    ganaudit: Callable[..., Ended],
    folder: Path,
    tmp_path: Path,
) -> None:
    (each,) = (each for each in files if each.name == name)
    for command in (_inspect(each.path), ["convert", str(each.path), "out.safetensors"]):
        ended = ganaudit(*command)
        assert ended.code in each.codes
        assert ended.err.splitlines() == [f"ganaudit: {ended.complaint}"]
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_what_the_file_asks_for(
    files: list[hostile.Hostile], ganaudit: Callable[..., Ended]
) -> None:
    (each,) = (each for each in files if each.name == "call-013-builtins.eval.pkl")
    ended = ganaudit(*_inspect(each.path))
    assert ended.code == 5
    assert "asks for builtins.eval, which would mean running it" in ended.complaint
    assert "nothing of it was run" in ended.complaint


def test_good_files_are_read(ganaudit: Callable[..., Ended], tmp_path: Path) -> None:
    """What is cut off and spoilt elsewhere is well-formed: only its network is unknown."""
    for name, data in hostile.good_files().items():
        (tmp_path / name).write_bytes(data)
        ended = ganaudit(*_inspect(tmp_path / name))
        assert ended.code == 2
        assert "cannot be read" not in ended.complaint
        assert name in ended.out.replace("\n", "")


# -- one process, which opens one file after the other ---------------------------------------------


def _check(ends: list[dict[str, Any]]) -> None:
    wrong = []
    for end in ends:
        lines = end["err"].splitlines()
        said = len(lines) == 1 and lines[0].startswith("ganaudit: ") and len(lines[0]) < 2048
        harmless = all(c.isprintable() or c == "\n" for c in end["err"] + end["out"])
        quick = end["seconds"] <= MOST_SECONDS and end["bytes"] <= MOST_BYTES
        answered = end["code"] in end["codes"] and (said or end["code"] == 0)
        if not (answered and harmless and quick) or end["canary"]:
            wrong.append(end)
    assert not wrong, json.dumps(wrong[:9], indent=1)[:9000]


def _all(
    command: Callable[[Path], list[str]],
    files: list[hostile.Hostile],
    work: Path,
    codes: tuple[int, ...] | None = None,
) -> list[dict[str, Any]]:
    """How a command ended with each file; what ends the process with it is told by its absence."""
    jobs = [(each.name, command(each.path), codes or each.codes) for each in files]
    process = fork_server().Process(target=_run_all, args=(jobs, files[0].path.parent, work))
    process.start()
    process.join(20 + len(files))
    code = process.exitcode
    if code is None:
        process.kill()
    process.join()
    process.close()
    ends = [json.loads(line) for line in (work / "ends").read_text("utf-8").splitlines()]
    assert len(ends) == len(jobs), f"exit code {code} at {jobs[len(ends)]}"
    return ends


def _run_all(jobs: list[tuple[str, list[str], tuple[int, ...]]], folder: Path, work: Path) -> None:
    import ganaudit_plugins.generators.checkpoint  # noqa: F401

    from ganaudit.cli import main, running

    running.leave = sys.exit  # type: ignore[assignment]
    sys.path.insert(0, str(folder / "modules"))
    with redirect_stderr(io.StringIO()), suppress(SystemExit):  # imports what is imported on use
        sys.argv = ["ganaudit", *_inspect(folder / "absent")]
        main()
    gc.freeze()  # what a collection then looks at is the file's
    with (work / "ends").open("w", encoding="utf-8") as ends:
        for name, arguments, codes in jobs:
            end = _run_one(main, arguments)
            canary = (folder / "canary").exists()
            print(json.dumps({"name": name, "codes": codes, "canary": canary} | end), file=ends)
            ends.flush()


def _run_one(main: Callable[[], None], arguments: list[str]) -> dict[str, Any]:
    code, out, err = 99, io.StringIO(), io.StringIO()
    gc.collect()
    before = _memory(reset=True)
    begun = time.monotonic()
    signal.alarm(4 * MOST_SECONDS)  # ends the process
    sys.argv = ["ganaudit", *arguments]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    signal.alarm(0)
    return {
        "code": code,
        "seconds": time.monotonic() - begun,
        "bytes": _memory() - before,
        "out": out.getvalue()[:4000],
        "err": err.getvalue()[:4000],
    }


def _memory(*, reset: bool = False) -> int:
    """The most bytes that were resident since the last reset."""
    if reset:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) * 1024
