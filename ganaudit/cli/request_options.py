"""The options of a diagnosis, declared once: both `diagnose` and `check` take them."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ganaudit.config import CheckConfig, DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.settings import resolve, survey


class RequestOptions:
    """A declaration a setting of `DiagnoseConfig`, in the order of the help; None: not given."""

    generator: Annotated[
        str | None, typer.Option(help="Path, address, NAME:TARGET or demo: what is audited.")
    ]
    descriptor: Annotated[
        str | None, typer.Option(help="Path, NAME or NAME:TARGET: what tells identities apart.")
    ]
    descriptor_card: Annotated[
        Path | None,
        typer.Option(help="card.json of ganaudit threshold: theta, radius, preprocessing."),
    ]
    labels: Annotated[
        str | None,
        typer.Option(help="uniform, a class number or a file of them, one a line [uniform]."),
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
    seed: Annotated[int | None, typer.Option(help="Decides every draw [0].")]
    batch: Annotated[int | None, typer.Option(help="Images rendered at once [from memory].")]
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")]
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
    max_faceless: Annotated[
        float | None,
        typer.Option(help="Share of images without a face that stops a run at once [0.5]."),
    ]
    max_failure_rate: Annotated[
        float | None,
        typer.Option(help="Share of slots without an image that stops a run [0.1]."),
    ]
    max_requests: Annotated[
        int | None, typer.Option(help="Requests a service is sent at most, repeats included.")
    ]
    backend: Annotated[
        str | None, typer.Option(help="auto, torch or faiss: how pairs are found [auto].")
    ]
    timeout_s: Annotated[
        float | None, typer.Option(help="Seconds one call of the generator may take [300].")
    ]
    format_: Annotated[str | None, typer.Option("--format", help="rich or json, on stdout [rich].")]
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run", help="Render a few images, print request and estimate, stop."),
    ]


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of a diagnosis in place of its parameter `request`.

    `request` is the mapping of settings to values, as `flags_of` makes it. An option that `command`
    declares itself stays its own and is no part of `request`.
    """
    own = inspect.signature(command).parameters
    declared = get_type_hints(RequestOptions, include_extras=True)
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
