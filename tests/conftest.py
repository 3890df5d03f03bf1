"""What several tests share: toys in place of a generator and a descriptor, files, the CLI."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

for name in [name for name in os.environ if name.startswith("GANAUDIT_")]:
    del os.environ[name]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; also for every process started here
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from ganaudit.config import DiagnoseConfig  # noqa: E402
from ganaudit.descriptors import DescriptorCard, unit_rows  # noqa: E402
from ganaudit.generators import Failure  # noqa: E402
from ganaudit.slots import Draws  # noqa: E402

TESTS = Path(__file__).parent
ARTEFACTS = TESTS.parent.parent / "shared" / "artefacts"


# -- toys ------------------------------------------------------------------------------------


def paint(latents: Tensor) -> Tensor:
    """uint8 [N, 3, 4, 4] images, pixel by pixel from latents [N, 3, 4, 4]."""
    return (128 + 40 * latents).round().clamp(0, 255).to(torch.uint8)


class Toy:
    """A generator that does as it should; the others change one thing."""

    latent_shape = (3, 4, 4)
    prior = "normal"
    num_labels = 0

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        return paint(draws.latents)


class Spoilt(Toy):
    """Gives some slots (by their number) something else: `spoil(images, [k] bool)`."""

    def __init__(self, slots: set[int], spoil: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.slots = slots
        self._spoil = spoil

    def render(self, draws: Draws) -> Tensor:
        bad = torch.tensor([i in self.slots for i in draws.index.tolist()])
        images = super().render(draws)
        return self._spoil(images, bad) if bool(bad.any()) else images


class Blind:
    """A service of the same images: `answer(draws, images)` yields what it answers."""

    seedable = True
    size: int | None = None

    def __init__(
        self, answer: Callable[[Draws, Tensor], Iterator[tuple[int, Tensor | Failure]]]
    ) -> None:
        self._answer = answer

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        return self._answer(draws, images_of(draws.seeds))


class Service(Toy):
    """A service of the toy's images that takes latents: `answer(draws, images)` yields its answers.

    Attributes:
      asked: the slots of every call.
    """

    per_request = 4

    def __init__(
        self,
        answer: Callable[[Draws, Tensor], Iterator[tuple[int, Tensor | Failure]]] | None = None,
    ) -> None:
        self.asked: list[list[int]] = []
        self._answer = answer or (
            lambda draws, images: zip(draws.index.tolist(), images, strict=True)
        )

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        self.asked.append(draws.index.tolist())
        yield from self._answer(draws, super().render(draws))

    def render(self, draws: Draws) -> Tensor:
        raise AssertionError("a service is asked by stream")


def images_of(seeds: Tensor) -> Tensor:
    """uint8 [N, 3, 4, 4], each from its own seed."""
    latents = [torch.randn(3, 4, 4, generator=_rng(int(seed))) for seed in seeds]
    return paint(torch.stack(latents))


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Pixels:
    """A descriptor: the 16 red pixels of a 4 x 4 image, around mid-grey."""

    card = DescriptorCard(
        name="pixels", weights_sha256="0" * 64, theta=0.4, radius=0.3, origin="by decree"
    )

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        rows = unit_rows(images[:, 0, :4, :4].flatten(1).float() - 127.5)
        return rows, torch.ones(len(rows), dtype=torch.bool)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DiagnoseConfig]:
    """A small request, on the CPU, into a folder that is not there yet; keywords change it."""

    def make(**changes: Any) -> DiagnoseConfig:
        usual = {"generator": "toy", "anchors": 64, "samples": 256, "device": "cpu"}
        return DiagnoseConfig(**(usual | {"out": tmp_path / "run"} | changes))

    return make


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without a page and charts: most of a small run."""
    monkeypatch.setattr("ganaudit.report.outputs.write_own", lambda report, folder: None)


def without_timings(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that a rerun repeats, as JSON gives it back."""
    return {k: v for k, v in json.loads(json.dumps(report)).items() if k != "timings"}


def read_report(folder: Path) -> dict[str, Any]:
    """report.json without its timings, read strictly: NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return without_timings(
        json.loads((folder / "report.json").read_text("utf-8"), parse_constant=refuse)
    )


# -- files -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Nobody waits for the disk: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The real weights and images beside the checkout."""
    if not (ARTEFACTS / "SHA256SUMS").is_file():
        pytest.skip(f"the real weights and images are not at {ARTEFACTS}")
    return ARTEFACTS


def save_onnx(
    path: Path,
    *,
    batch: int | str = "N",
    channels: int = 3,
    side: int = 4,
    columns: int = 8,
    **model: Any,
) -> Path:
    """A network in ONNX: [batch, channels, side, side] times a fixed matrix, [batch, columns]."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    size = channels * side * side
    matrix = np.random.default_rng(0).normal(size=(size, columns)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["rows"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, channels, side, side])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [batch, columns])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    save(made, path, **model)
    return path


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A descriptor in ONNX that takes RGB images of 4 x 4 in batches of any size."""
    return save_onnx(tmp_path / "tiny.onnx")


ONNX_OPTIONS = ("descriptor.size=4", "descriptor.mean=0.5", "descriptor.std=0.5")


# -- the command line ------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """A command that came to its end."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What stderr says beside progress and notes, without the way to resume."""
        lines = self.err.splitlines()
        said = [line for line in lines if line.startswith("ganaudit: ")]
        assert said, self.err
        assert "Traceback" not in self.err, self.err
        return said[0].removeprefix("ganaudit: ")

    @property
    def resuming(self) -> list[str]:
        """The arguments of the command that stderr says continues the run."""
        import shlex

        (line,) = (line for line in self.err.splitlines() if line.startswith("  ganaudit "))
        return shlex.split(line)[1:]


_IMPORTED_ONCE = [
    "pytest",
    "PIL.JpegImagePlugin",
    "pyarrow.parquet",
    "torch._dynamo",  # by torch, of the first network without values
    "typer._adapters",  # by typer, of the first argument
    "ganaudit.cli.running",
    "ganaudit.cli",
    "ganaudit.checkpoints.inspecting",
    "ganaudit.difference",
    "ganaudit.networks.dcgan",
    "ganaudit.networks.digit_embedder",
    "ganaudit.networks.stylegan2",
    "ganaudit.pipeline",
    "ganaudit.planning",
    "ganaudit.release",
    "ganaudit.report.check_outputs",
    "ganaudit.report.check_terminal",
    "ganaudit.report.compared",
    "ganaudit.report.inspected",
    "ganaudit.report.terminal",
    "ganaudit.sampling",
    "ganaudit.serving.running",
    "ganaudit.sheets",
    "matplotlib.figure",
    "matplotlib.style",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "ganaudit.health",
    "ganaudit_plugins.generators.checkpoint",
    "ganaudit_plugins.generators.demo",
    "ganaudit_plugins.generators.http_api.image_api",
    "ganaudit_plugins.generators.http_api.oip",
    "ganaudit_plugins.generators.http_api.predictions",
    "ganaudit_plugins.generators.python",
    "ganaudit_plugins.generators.onnx",
    "ganaudit_plugins.descriptors.digits",
    "ganaudit_plugins.descriptors.onnx",
]


def fork_server() -> Any:
    """A multiprocessing context whose processes need not import everything again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where many tests will start commands, what these import is imported beside the first ones."""
    if sum("start" in getattr(item, "fixturenames", ()) for item in session.items) > 100:
        fork_server()
        forkserver.ensure_running()


class Command:
    """`ganaudit ARGUMENTS` in a process of its own, forked from one that imported torch."""

    def __init__(
        self,
        folder: Path,
        arguments: tuple[str, ...],
        *,
        fsize: int | None = None,
        out: Path | None = None,
        drawn: bool = False,
    ) -> None:
        """Start it.

        Args:
          folder: of what it says.
          arguments: after `ganaudit`.
          fsize: bytes a file may have, as if the disk were full.
          out: its stdout.
          drawn: whether a run gets its page and charts, which take longer than a small run.
        """
        now = time.monotonic_ns()
        self._files = out or folder / f"out-{now}", folder / f"err-{now}"
        self.process = fork_server().Process(
            target=_main, args=(arguments, *self._files, fsize, drawn)
        )
        self.process.start()

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGINT)

    def wait(self, timeout_s: float = 60) -> Ended:
        """Its end, which must come."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail(f"still running after {timeout_s} s; stderr: {self._files[1].read_text()}")
        out, err = (path.read_text("utf-8") if path.is_file() else "" for path in self._files)
        return Ended(self.process.exitcode, out, err)


def _main(arguments: tuple[str, ...], out: Path, err: Path, fsize: int | None, drawn: bool) -> None:
    for stream, number, path in ((sys.stdout, 1, out), (sys.stderr, 2, err)):
        stream.flush()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    if fsize is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fsize, fsize))
    sys.argv = ["ganaudit", *arguments]
    from ganaudit.cli import main
    from ganaudit.report import outputs

    os.fsync = lambda handle: None
    if not drawn:
        outputs.write_own = lambda report, folder: None

    main()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Command]]:
    """`start("diagnose", ...)` begins a command; whatever still runs at the end is killed."""
    folder = tmp_path_factory.mktemp("streams")
    begun: list[Command] = []

    def begin(*arguments: str | Path, **how: Any) -> Command:
        begun.append(Command(folder, tuple(map(str, arguments)), **how))
        return begun[-1]

    yield begin
    for command in begun:
        if command.process.exitcode is None:
            command.process.kill()
        command.process.join()
        command.process.close()


@pytest.fixture
def ganaudit(start: Callable[..., Command]) -> Callable[..., Ended]:
    """`ganaudit("diagnose", ...)` runs a command to its end."""

    def run(*arguments: str | Path, **how: Any) -> Ended:
        return start(*arguments, **how).wait()

    return run


SLOW_TOY = """
# A generator that takes its time, and a byte a call, while there is a file called slow.
import os, time, torch


class Slow:
    latent_shape = (3, 16, 16)
    prior = "normal"
    num_labels = 0

    def render(self, draws):
        if os.path.exists("slow"):
            with open("slow", "ab") as file:
                file.write(b"+")
            time.sleep(0.01)
        return (128 + 40 * draws.latents).round().clamp(0, 255).to(torch.uint8)
"""


@pytest.fixture
def slow_toy(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of an audit in 110 batches, which takes seconds while `slow` exists."""
    (tmp_path / "toy.py").write_text(SLOW_TOY)
    size = ("--anchors", "1000", "--samples", "6000", "--batch", "64", "--device", "cpu")
    return ("diagnose", "--generator", "python:toy.py:Slow", "--descriptor", "digits", *size)
