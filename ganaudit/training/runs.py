"""A training from request to result: read, resolve, begin, train, watch, tell.

OUT/config.json                 the request and what it was resolved to
OUT/log.jsonl, tensorboard/     means of every stretch of steps, figures of every audit
OUT/states/step-.../            checkpoints, the last two
OUT/samples/step-....png        images of fixed latents
OUT/audits/step-.../            runs of `ganaudit diagnose` on the averaged generator
OUT/generator.safetensors       the averaged generator of the last checkpoint
OUT/discriminator.safetensors   of the last checkpoint
OUT/training.json, .html        the result
"""

import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganaudit.config import TrainConfig
from ganaudit.errors import INTERRUPTED, ConfigError, PluginError, SourceError
from ganaudit.files import free_folder, json_text, write_output
from ganaudit.report import canonical
from ganaudit.report import training as page
from ganaudit.runner import Progress, silent
from ganaudit.training import audits, documents, loop
from ganaudit.training.batches import Batches
from ganaudit.training.data import TrainingData, read_training_data
from ganaudit.training.recipe import Recipe, resolve_recipe
from ganaudit.training.scribe import Scribe
from ganaudit.training.states import last_state, make_state
from ganaudit.training.stored import CONFIG, check_same, lines_of, read_config

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NAME = "training.json"
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """The result of `train`.

    Attributes:
      document: as written to training.json.
      folder: which holds the networks, the log and the page.
    """

    document: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 trained; 3 it diverged; 130 it was interrupted."""
        return _CODES[self.document["status"]]


_CODES = {"finished": 0, "diverged": SourceError.exit_code, "interrupted": INTERRUPTED}


def train(
    config: TrainConfig,
    *,
    data: TrainingData | None = None,
    progress: Progress = silent,
    notice: Notice = lambda text: None,
) -> Training:
    """Train a model, audit it as it learns, and write what came of it.

    Args:
      config: the request.
      data: images or points instead of those that `config.data` then names.
      progress: told (what, done, total); with several devices it must be picklable.
      notice: told a sentence now and then; likewise.

    Returns:
      What was trained; one that diverged or was interrupted keeps its last checkpoint.

    Raises:
      ConfigError: the request cannot be carried out; nothing of an earlier training is touched.
      GanauditError: the disk is full; the last checkpoint is kept.
    """
    out = config.out or free_folder("training")
    data = read(config, progress=progress) if data is None else data
    recipe = recipe_of(config, data)
    fabric = _fabric(config)
    if config.descriptor is not None and not data.are_points:
        audits.check(config, data.source())
    saved = _begin(out, config, recipe, data)
    for line in lines_of(_configuration(config, recipe, data)):
        notice(line)
    begun = time.monotonic()
    with _ignoring_interrupts(config.devices > 1):
        launch: Any = fabric.launch
        ending = launch(_work, config, data, out, saved, progress, notice)
    document = documents.build(
        out,
        ending,
        configuration=read_config(out),
        networks=make_state(recipe),
        seconds=time.monotonic() - begun,
        start=0 if saved is None else saved[0],
    )
    document = json.loads(json_text(document))  # as whoever reads the file has it
    write_output(out / NAME, json_text(document).encode())
    page.write(document, out)
    return Training(document, out)


def read(config: TrainConfig, *, progress: Progress = silent) -> TrainingData:
    """The data of a request, all of them in memory."""
    return read_training_data(
        config.data,
        size=config.size,
        channels=config.channels,
        labels=config.labels,
        fit=config.fit,
        progress=progress,
    )


def recipe_of(config: TrainConfig, data: TrainingData) -> Recipe:
    """What a request says for its data."""
    if len(data) < 2:
        raise ConfigError(f"{config.data} holds {len(data)} images; at least 2 are needed")
    if config.audit_every and config.descriptor is None and not data.are_points:
        raise ConfigError("--audit-every needs the --descriptor that the audits use")
    recipe = resolve_recipe(config, image_shape=data.image_shape, num_labels=data.num_labels)
    Batches(len(data), recipe.batch, recipe.seed)  # refuses a batch that there are no images for
    return recipe


def outlook(config: TrainConfig) -> dict[str, Any]:
    """What `--dry-run` prints: the resolved configuration, the data, the size of the networks.

    Raises:
      GanauditError: whatever would stop the training at its start.
    """
    data = read(config)
    recipe = recipe_of(config, data)
    _fabric(config)
    if config.descriptor is not None and not data.are_points:
        audits.check(config, data.source())
    state = make_state(recipe)
    return _configuration(config, recipe, data) | {"parameters": documents.parameters(state)}


# --- Beginning ----------------------------------------------------------------------------


def _fabric(config: TrainConfig) -> "Fabric":
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise PluginError(
            "training needs lightning-fabric: pip install 'ganaudit[train]'"
        ) from error
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = config.device if config.device != "auto" else "cuda" if cuda else "cpu"
    if wanted not in ("cpu", "cuda") or (wanted == "cuda" and config.devices > cuda):
        raise ConfigError(
            f"--device {config.device} with --devices {config.devices} cannot be had: this machine "
            f"has {cuda} CUDA devices (--device auto, cpu or cuda)"
        )
    if config.precision == "16" and wanted == "cpu":
        raise ConfigError("--precision 16 needs a GPU; on the CPU say --precision bf16 or 32")
    strategy: Any = "auto"
    if config.devices > 1:
        from lightning_fabric.strategies.ddp import DDPStrategy

        # The others wait while the first one audits.
        strategy = DDPStrategy(start_method="spawn", timeout=timedelta(days=1))
    precision: Any = _PRECISIONS[config.precision]
    with warnings.catch_warnings():  # advice about accelerators, no news to the user
        warnings.simplefilter("ignore")
        return Fabric(
            accelerator=wanted, devices=config.devices, strategy=strategy, precision=precision
        )


def _configuration(config: TrainConfig, recipe: Recipe, data: TrainingData) -> dict[str, Any]:
    return {
        "request": config.shown(),
        "origins": dict(config.origins),
        "recipe": recipe.shown(),
        "data": data.identity,
        "notes": list(data.notes),
        "environment": canonical.versions(),
    }


def _begin(
    out: Path, config: TrainConfig, recipe: Recipe, data: TrainingData
) -> tuple[int, dict[str, Tensor]] | None:
    """Check the folder and write the configuration; the checkpoint to go on from, if any.

    Raises:
      ConfigError: the folder is taken, or holds another training.
    """
    new = _configuration(config, recipe, data)
    found: tuple[int, dict[str, Tensor]] | None = None
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be read: {error.strerror}") from error
    if taken:
        if not (out / CONFIG).is_file():
            raise ConfigError(
                f"--out {out} is not empty and holds no training; name another folder"
            )
        if not config.resume:
            raise ConfigError(
                f"{out} already holds a training; continue it with --resume or name another folder "
                "with --out"
            )
        check_same(out, read_config(out), json.loads(json_text(new)))
        last = last_state(out)
        if last is not None:
            about, tensors = last
            if type(about.get("step")) is not int or not 0 <= about["step"] <= recipe.steps:
                raise ConfigError(
                    f"{out} is at step {about.get('step')!r:.20}, beyond the {recipe.steps:,} "
                    "steps asked for: raise --steps"
                )
            found = about["step"], tensors
    elif config.resume:
        raise ConfigError(f"{out} holds no training to resume; leave --resume out")
    write_output(out / CONFIG, json_text(new).encode())
    return found


# --- At work, in a process for each device ---------------------------------------------------


def _work(
    fabric: "Fabric",
    config: TrainConfig,
    data: TrainingData,
    out: Path,
    saved: tuple[int, dict[str, Tensor]] | None,
    progress: Progress,
    notice: Notice,
) -> loop.Ending:
    """Train on this process's device; the first process also writes and tells."""
    recipe = recipe_of(config, data)
    state = make_state(recipe)
    start, tensors = saved or (0, None)
    every = config.snapshot_every or max(1, recipe.steps // 10)
    with ExitStack() as stack:
        scribe = None
        if fabric.is_global_zero:
            made = Scribe(
                out,
                config,
                recipe,
                data,
                state,
                device=fabric.device,
                start=start,
                progress=progress,
                notice=notice,
            )
            scribe = stack.enter_context(made)

        def is_snapshot(step: int) -> bool:
            return step % every == 0 or bool(config.audit_every and step % config.audit_every == 0)

        def snapshot(step: int) -> None:
            if scribe is not None:
                scribe.snapshot(step)
            fabric.barrier()

        told = stack.enter_context(_until_told())
        return loop.train(
            fabric,
            recipe,
            data,
            state,
            start=start,
            saved=tensors,
            after_step=(lambda step, values: None) if scribe is None else scribe.after_step,
            is_snapshot=is_snapshot,
            snapshot=snapshot,
            stopped=told.is_set,
        )


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the training to stop after its step; a second Ctrl-C stops it now."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def tell(number: int, frame: FrameType | None) -> None:
        if told.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.set()

    usual = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextmanager
def _ignoring_interrupts(several: bool) -> Iterator[None]:
    """With several processes it is they who hear Ctrl-C: this one waits for them."""
    if not several or threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
