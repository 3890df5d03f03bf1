"""The options of commands that ask a generator for images, each declared once."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ganaudit.config import CalibrateConfig, CheckConfig, DiagnoseConfig, TrainConfig
from ganaudit.errors import ConfigError
from ganaudit.settings import resolve, survey


class GeneratorOptions:
    """A declaration a setting of `GeneratorConfig`, in the order of the help; None: not given."""

    generator: Annotated[str | None, typer.Option(help="Path, address, NAME:TARGET or demo.")]
    labels: Annotated[
        str | None,
        typer.Option(help="uniform, a class number or a file of them, one a line [uniform]."),
    ]
    seed: Annotated[int | None, typer.Option(help="Decides every draw [0].")]
    batch: Annotated[int | None, typer.Option(help="Images rendered at once [from memory].")]
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Option of the generator, or descriptor.KEY=VALUE; may be repeated.",
        ),
    ]
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py", help="Your own code: brings more plugins; may be repeated."
        ),
    ]
    trust: Annotated[
        bool | None,
        typer.Option("--trust", help="Run programs in files: TorchScript, torch.export."),
    ]
    strict_source: Annotated[
        bool | None,
        typer.Option(
            "--strict-source", help="Refuse a checkpoint with source of no known release."
        ),
    ]
    max_requests: Annotated[
        int | None, typer.Option(help="Requests a service is sent at most, repeats included.")
    ]
    timeout_s: Annotated[
        float | None, typer.Option(help="Seconds one call of the generator may take [300].")
    ]
    calibrator: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="calibrator.json of ganaudit calibrate, put in front."),
    ]


class RequestOptions(GeneratorOptions):
    """Those of `DiagnoseConfig`: both `diagnose` and `check` take them."""

    descriptor: Annotated[
        str | None, typer.Option(help="Path, NAME or NAME:TARGET: what tells identities apart.")
    ]
    descriptor_card: Annotated[
        Path | None,
        typer.Option(help="card.json of ganaudit threshold: theta, radius, preprocessing."),
    ]
    anchors: Annotated[int | None, typer.Option(help="Images scored against [10000].")]
    samples: Annotated[int | None, typer.Option(help="Images scored [10000].")]
    theta: Annotated[
        float | None,
        typer.Option(help="Reach of the similarity, fraction of pi [the descriptor's]."),
    ]
    radius: Annotated[
        float | None,
        typer.Option(help="Radius of a neighbourhood, fraction of pi [the descriptor's]."),
    ]
    workers: Annotated[int | None, typer.Option(help="Processes [one per GPU, one on the CPU].")]
    out: Annotated[Path | None, typer.Option(help="Folder of the run [audit, audit-2, ...].")]
    resume: Annotated[
        bool | None, typer.Option("--resume", help="Continue or extend the run in --out.")
    ]
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="i/N", help="Part i of N of the slots, i from 0; ganaudit merge joins them."
        ),
    ]
    reference: Annotated[
        str | None, typer.Option(help="Folder of real images: a baseline for the same figures.")
    ]
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:PATH",
            help="html, md, json, csv, parquet, svg or png, beside --out; may be repeated.",
        ),
    ]
    keep: Annotated[
        str | None,
        typer.Option(help="auto, thumbnails or none: pictures stored with every row [auto]."),
    ]
    max_faceless: Annotated[
        float | None,
        typer.Option(help="Share of images without a face that stops a run at once [0.5]."),
    ]
    max_failure_rate: Annotated[
        float | None,
        typer.Option(help="Share of slots without an image that stops a run [0.1]."),
    ]
    backend: Annotated[
        str | None, typer.Option(help="auto, torch or faiss: how pairs are found [auto].")
    ]
    format_: Annotated[str | None, typer.Option("--format", help="rich or json, on stdout [rich].")]
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run", help="Render a few images, print request and estimate, stop."),
    ]


class SampleOptions(GeneratorOptions):
    """Those of `SampleConfig`."""

    samples: Annotated[
        int | None, typer.Option("--samples", "-n", help="Images, from slot 0 on [64].")
    ]
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.png",
            help="A new folder, or a .png for the grid alone [samples, samples-2, ...].",
        ),
    ]
    batch: Annotated[int | None, typer.Option(help="Images rendered at once [from their size].")]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Option of the generator; may be repeated."
        ),
    ]
    format_: Annotated[str | None, typer.Option("--format", help="rich or json, on stdout [rich].")]


class ServeOptions(GeneratorOptions):
    """Those of `ServeConfig`."""

    labels: Annotated[
        str | None,
        typer.Option(help="Of seeds: uniform, a class number or a file of them [uniform]."),
    ]
    seed: Annotated[int | None, typer.Option(help="Decides what a client's seed stands for [0].")]
    batch: Annotated[
        int | None, typer.Option(help="Images rendered at once [32, fewer if memory is short].")
    ]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Option of the generator; may be repeated."
        ),
    ]
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")]
    port: Annotated[int | None, typer.Option(help="0: a free one [8000].")]
    name: Annotated[str | None, typer.Option(help="Of the model, in addresses [generator].")]
    delay_ms: Annotated[
        float | None, typer.Option(help="Milliseconds a batch waits for further images [2].")
    ]
    queue: Annotated[
        int | None, typer.Option(help="Images that may wait; more are told to come again [256].")
    ]
    max_images: Annotated[int | None, typer.Option(help="Images of one request [64].")]
    max_body_mb: Annotated[int | None, typer.Option(help="MiB of one request [8].")]
    token_env: Annotated[
        str | None, typer.Option(help="Variable with the token that clients have to send [none].")
    ]
    token_file: Annotated[Path | None, typer.Option(help="File with that token [none].")]


class CalibrateOptions(RequestOptions):
    """Those of `CalibrateConfig`, and of the audits before and after; None: there is none."""

    shard: None
    output: None
    calibrator: None

    method: Annotated[
        str | None,
        typer.Option(help="gmm, importance, rejection or advlatgan-z; see docs/calibrate.md."),
    ]
    run: Annotated[
        Path | None, typer.Option(help="Folder of a finished run to fit on [one is made].")
    ]
    modes: Annotated[
        str | None,
        typer.Option(help="How many are thinned; auto: until the worst meets the target [auto]."),
    ]
    target: Annotated[
        float | None, typer.Option(help="Rate to come down to [the median anchor's].")
    ]
    min_acceptance: Annotated[
        float | None,
        typer.Option(help="Share of proposals taken at least; others grow by 1 / this [0.8]."),
    ]
    attempts: Annotated[int | None, typer.Option(help="Proposals of a slot at most [100].")]
    draw: Annotated[str | None, typer.Option(help="gmm: cell (exact) or mixture [cell].")]
    clusters: Annotated[int | None, typer.Option(help="gmm: of K-means [50].")]
    paper_exact: Annotated[
        bool | None, typer.Option("--paper-exact", help="gmm: Algorithm 1 to the letter.")
    ]
    region: Annotated[
        str | None, typer.Option(help="importance: linear, subspace-hull or hull [linear].")
    ]
    discriminator: Annotated[
        str | None,
        typer.Option(help="advlatgan-z: a checkpoint or python:FILE.py:FACTORY; images to logits."),
    ]
    preset: Annotated[
        str | None, typer.Option(help="advlatgan-z: step and steps of the paper [cifar10].")
    ]
    attack: Annotated[
        str | None, typer.Option(help="advlatgan-z: i-fgsm, pgd or mi-fgsm [i-fgsm].")
    ]
    step: Annotated[
        float | None, typer.Option(help="advlatgan-z: of every coordinate [the preset's].")
    ]
    steps: Annotated[int | None, typer.Option(help="advlatgan-z: how many [the preset's].")]
    ball: Annotated[
        float | None, typer.Option(help="advlatgan-z: most a coordinate moves [no bound].")
    ]
    momentum: Annotated[float | None, typer.Option(help="mi-fgsm: of the gradient [1].")]
    inception: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="torch-fidelity's weights: distances in Inception too [torch's cache, if there].",
        ),
    ]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Option of the generator, or descriptor.KEY, discriminator.KEY; may be repeated.",
        ),
    ]
    out: Annotated[
        Path | None, typer.Option(help="Folder of the calibration [calibration, ...-2, ...].")
    ]


def takes(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of `kind` in place of its parameter `request`.

    `request` is the mapping of settings to values, as `flags_of` makes it. An option that the
    command declares itself stays its own and is no part of `request`.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        declared = get_type_hints(kind, include_extras=True)
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in declared.items()
            if name not in own and hint is not type(None)
        ]
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            stands = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            parameters += options if name == "request" else stands

        @wraps(command)
        def run(**values: Any) -> None:
            request = flags_of({option.name: values.pop(option.name) for option in options})
            command(request=request, **values)

        # What typer reads the options from.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return with_options


def flags_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What typer parsed, by the names of settings: `set_` is set, a list is a tuple."""
    return {
        name.rstrip("_"): tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
    }


def resolve_check(
    flags: Mapping[str, Any], request: Mapping[str, Any]
) -> tuple[CheckConfig, DiagnoseConfig | None]:
    """The request of a check and of the diagnosis that it runs; None: its run is finished.

    Args:
      flags: of `ganaudit check` itself, setting to value.
      request: flags of the diagnosis. Beside a run its settings from elsewhere are ignored: they
        are there for the diagnosis that made the run.

    Raises:
      ConfigError: besides what `resolve` refuses, a flag of the diagnosis beside a run.
    """
    config = resolve(CheckConfig, flags)
    if config.run is None:
        generators = [request.get("generator"), _generator_without_flags()]
        if not any(generators):
            raise ConfigError(
                "what is to be checked? Name the folder of a finished RUN, or a generator with "
                "--generator"
            )
        return config, resolve(DiagnoseConfig, request)
    given = [f"--{name.replace('_', '-')}" for name in request if request[name] not in (None, ())]
    if given:
        origin = config.origins["run"]
        by = "" if origin == "flag" else f" (it is named by {origin})"
        raise ConfigError(f"RUN is scored already{by}: leave {', '.join(given)} out")
    return config, None


def _generator_without_flags() -> Any:
    settings, _ = survey(DiagnoseConfig)
    return next(setting.value for setting in settings if setting.name == "generator")


_BESIDE_A_RUN = ("generator", "set", "descriptor", "descriptor_card", "labels", "plugin", "trust",
    "strict_source", "device", "batch", "workers", "timeout_s", "max_requests", "max_faceless",
    "max_failure_rate", "keep", "backend", "reference", "out", "resume", "dry_run")  # fmt: skip


def _beside_a_run(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside a run, by a flag or elsewhere; settings that the run decides are its own.

    Raises:
      ConfigError: one of them is wrong.
    """
    said: dict[str, Any] = {}
    for setting in survey(DiagnoseConfig)[0]:
        value = flags.get(setting.name)
        if value not in (None, ()):
            said[setting.name] = value
        elif setting.name in _BESIDE_A_RUN and setting.origin != "default":
            if setting.problem:
                raise ConfigError(setting.problem)
            said[setting.name] = setting.value
    return said


def resolve_calibrate(flags: Mapping[str, Any]) -> tuple[CalibrateConfig, DiagnoseConfig]:
    """The request of a calibration and of the audits that it makes.

    Args:
      flags: of `ganaudit calibrate`, setting to value.

    Raises:
      ConfigError: besides what `resolve` refuses, a flag that a calibration has not, or one that
        the run it is fitted on has decided.
    """
    own = {field.name for field in fields(CalibrateConfig)}
    pairs = tuple(flags.get("set") or ())
    of_judge = tuple(pair for pair in pairs if pair.startswith("discriminator."))
    mine = {name: value for name, value in flags.items() if name in own} | {"set": of_judge}
    config = resolve(CalibrateConfig, mine)
    theirs = {name: value for name, value in flags.items() if name not in own}
    theirs["set"] = tuple(pair for pair in pairs if pair not in of_judge)
    given = {name for name, value in theirs.items() if value not in (None, ())}
    if config.run is None:
        request = resolve(DiagnoseConfig, theirs)
    else:
        decided = sorted(given - set(_BESIDE_A_RUN))
        if decided:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in decided)
            raise ConfigError(f"--run has decided {names} already: leave it out")
        from ganaudit.fitting import request_of_run

        request = request_of_run(config.run, _beside_a_run(theirs))
    if request.shard is not None or request.output or request.calibrator is not None:
        raise ConfigError("a calibration has neither shard, output nor calibrator settings")
    return config, request


# What a stored request may not say: it would run code, or is of another machine.
_NEVER_STORED = {"plugin", "trust", "device", "devices", "out", "resume", "dry_run", "format"}


def resolve_train(flags: Mapping[str, Any]) -> TrainConfig:
    """The request of a training; one that is resumed is its first request, and the flags over it.

    Args:
      flags: of `ganaudit train`, setting to value.

    Raises:
      ConfigError: besides what `resolve` refuses, a folder whose stored request cannot be read.
    """
    if not flags.get("resume") or flags.get("out") is None:
        return resolve(TrainConfig, flags)
    from ganaudit.training.stored import stored_request

    given = {name: value for name, value in flags.items() if value not in (None, ())}
    stored = stored_request(Path(flags["out"]))
    stored = {name: value for name, value in stored.items() if name not in _NEVER_STORED}
    if "steps" in given or "kimg" in given:
        stored = {name: value for name, value in stored.items() if name not in ("steps", "kimg")}
    return resolve(TrainConfig, stored | given)
