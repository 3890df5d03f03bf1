"""The options of commands that ask a generator for images, each declared once."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ganaudit.config import CheckConfig, DiagnoseConfig
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


def takes(kind: type[GeneratorOptions]) -> Callable[[Callable[..., None]], Callable[..., None]]:
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
            if name not in own
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
