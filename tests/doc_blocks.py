"""Does what a document shows: writes its files, runs its commands, looks for what they print.

Fenced blocks are taken from top to bottom, all in the working directory of the test:

- a block whose first line is `# NAME.py` (or `.toml`, `.json`, ...) is that file, without the line;
- other blocks of ```python are run;
- in ```console, a line that begins with `$ ` is a command (where `\\` ends a line, the next one
  continues it). It must end with code 0, or with that of a last line `exit code N`. The lines below
  it are what it prints, stdout and stderr together, either first: `...` stands for anything, line
  breaks and blanks do not matter;
- a command of `ganaudit` or `python` that ends with `&` goes on in the background, once it has
  printed what is shown. `$ kill %1` ends the first one, the end of the page those that are left: by
  SIGTERM, after which `ganaudit` must end with code 0;
- blocks of other languages, and those below a line `<!-- not run: REASON -->`, are left alone.

`ganaudit`, `python` and `pytest` run in processes forked from one that has imported torch, so that
a command costs no start. What `pip install` installs, every later command finds.
"""

import re
import runpy
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Command, Ended, fork_server

_FENCE = re.compile(
    r"(?P<skip><!-- not run: .+ -->\n+)?"
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_CODE = re.compile(r"^exit code (\d+)\s*\Z", re.MULTILINE)
_KILL = re.compile(r"kill %(\d+)")
_PIP = "--no-deps --no-build-isolation --no-index --quiet --disable-pip-version-check".split()
_SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced block that is not left alone."""

    language: str
    text: str
    line: int  # of the page, for messages

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        named = _FILE.match(self.text) if self.language != "console" else None
        return named[1] if named else None

    @property
    def content(self) -> str:
        """Of the file, without the line that names it."""
        return _FILE.sub("", self.text, count=1).lstrip("\n")

    def commands(self) -> Iterator[tuple[str, str]]:
        """(command, what is shown of its output)."""
        joined = self.text.replace("\\\n", " ")
        for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def blocks(page: str) -> list[Block]:
    """The blocks of a page in Markdown, in their order."""
    return [
        Block(found["language"], found["text"], page.count("\n", 0, found.start("language")) + 1)
        for found in _FENCE.finditer(page)
        if not found["skip"]
    ]


class Background:
    """Commands that go on while the page does, in the order they were started."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for what they print."""
        self._folder = folder
        self._commands: list[tuple[Command, Path]] = []
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(self, command: str, shown: str, where: str) -> None:
        """Begin one, and wait until it has printed what is shown."""
        program, *arguments = shlex.split(command)
        if program == "python":
            self._programs.append(subprocess.Popen([sys.executable, *arguments]))
            return
        assert program == "ganaudit", f"{where}: only these two go on in the background"
        out = self._folder / f"background-{len(self._commands)}"
        begun = Command(self._folder, tuple(arguments), out=out)
        self._commands.append((begun, out))
        until = time.monotonic() + _SECONDS
        while not (out.is_file() and shows(out.read_text("utf-8"), shown)):
            assert begun.process.exitcode is None, f"{where} ended: {begun.wait().err}"
            assert time.monotonic() < until, f"{where} printed: {out.read_text('utf-8')}"
            time.sleep(0.02)

    def end(self, number: int) -> None:
        """End the command of that number, counted from 1, as `kill %1` does."""
        command, _ = self._commands[number - 1]
        if command.process.exitcode is None:
            command.process.terminate()
            ended = command.wait()
            assert ended.code == 0, f"a command in the background ended with {ended}"

    def close(self) -> None:
        """End all that are left."""
        for program in self._programs:
            program.terminate()
            program.wait(_SECONDS)
        for number in range(1, len(self._commands) + 1):
            self.end(number)


def run_page(
    page: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    instead: Mapping[str, str] | None = None,
) -> int:
    """Do all that a page shows; how many commands that were.

    Args:
      page: in Markdown.
      folder: an empty one, for what commands print and pip installs.
      monkeypatch: makes what is installed importable, for the length of the test.
      instead: words of the page and what stands for them in the test: a port that is free.
    """
    text = page.read_text("utf-8")
    if instead:
        words = "|".join(map(re.escape, instead))
        text = re.sub(words, lambda found: instead[found[0]], text)
    count = 0
    with closing(Background(folder)) as background:
        for block in blocks(text):
            where = f"{page.name}:{block.line}"
            if block.file is not None:
                path = Path(block.file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.content, "utf-8")
            elif block.language == "python":
                script = folder / f"block-{block.line}.py"
                script.write_text(block.text, "utf-8")
                _check(run(f"python {script}", folder, monkeypatch), "", where)
            elif block.language == "console":
                for command, shown in block.commands():
                    if command.endswith(" &"):
                        background.start(command[:-2], shown, f"{where}: {command}")
                    elif stopped := _KILL.fullmatch(command):
                        background.end(int(stopped[1]))
                    else:
                        ended = run(command, folder, monkeypatch)
                        _check(ended, shown, f"{where}: {command}")
                    count += 1
    return count


def free_ports(count: int) -> list[int]:
    """So many ports of this machine on which nobody listens, until somebody takes them."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def run(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """One command, to its end."""
    program, *arguments = shlex.split(command)
    if program == "ganaudit":
        return Command(folder, tuple(arguments)).wait(_SECONDS)
    if program in ("pytest", "python"):
        return forked(program, arguments, folder)
    if program == "pip" and arguments[:1] == ["install"]:
        site = folder / "site-packages"
        line = [sys.executable, "-m", "pip", "install", *_PIP, "--target", str(site)]
        ended = _called([*line, *arguments[1:]])
        monkeypatch.syspath_prepend(str(site))
        return ended
    return _called(["bash", "-c", command])


def shows(output: str, shown: str) -> bool:
    """Whether the output has what is shown of it, in that order."""
    place, text = 0, " ".join(output.split())
    for part in shown.split("..."):
        wanted = " ".join(part.split())
        found = text.find(wanted, place)
        if found < 0:
            return False
        place = found + len(wanted)
    return True


def _check(ended: Ended, shown: str, where: str) -> None:
    code = _CODE.search(shown)
    wanted = int(code[1]) if code else 0
    assert ended.code == wanted, f"{where} ended with {ended.code}: {ended.err}{ended.out}"
    shown = _CODE.sub("", shown)
    printed = (ended.out + ended.err, ended.err + ended.out)
    assert any(shows(text, shown) for text in printed), f"{where} printed: {printed[1]}"


def _called(line: list[str]) -> Ended:
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_SECONDS)
    return Ended(done.returncode, done.stdout, done.stderr)


def forked(program: str, arguments: list[str], folder: Path) -> Ended:
    """`pytest` or `python FILE` in a process that need not import everything again."""
    streams = folder / "out", folder / "err"
    process = fork_server().Process(target=_child, args=(program, arguments, *streams))
    process.start()
    process.join(_SECONDS)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"{program} {shlex.join(arguments)} still runs after {_SECONDS} s")
    return Ended(process.exitcode, *(path.read_text("utf-8") for path in streams))


def _child(program: str, arguments: list[str], out: Path, err: Path) -> None:
    sys.stdout, sys.stderr = out.open("w"), err.open("w")
    if program == "pytest":
        loaded = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        sys.exit(int(pytest.main(["-p", "no:cacheprovider", "-W", loaded, *arguments])))
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
