"""`ganaudit config`."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer

config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@config.callback()
def _about() -> None:
    """Show what the environment and the file of this folder set."""


@config.command()
def show(
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Show every setting as it is without flags, and where it comes from."""
    import sys

    from ganaudit.cli.running import check_format, print_result
    from ganaudit.config import (
        CalibrateConfig,
        CheckConfig,
        DiagnoseConfig,
        SampleConfig,
        ServeConfig,
        ThresholdConfig,
        TrainConfig,
    )
    from ganaudit.errors import ConfigError, complaint
    from ganaudit.settings import survey

    check_format(format_)
    kinds = {
        "diagnose": DiagnoseConfig,
        "sample": SampleConfig,
        "check": CheckConfig,
        "threshold": ThresholdConfig,
        "serve": ServeConfig,
        "calibrate": CalibrateConfig,
        "train": TrainConfig,
    }
    surveys = {verb: survey(kind) for verb, kind in kinds.items()}
    found = {
        verb: {s.name: {"value": _json(s.value), "origin": s.origin} for s in settings}
        for verb, (settings, _) in surveys.items()
    }
    print_result(found, lambda: _print(found), as_json=format_ == "json", where=None)
    problems = [problem for _, problems in surveys.values() for problem in problems]
    if not surveys["check"][1]:
        problems += _of_limits({setting.name: setting.value for setting in surveys["check"][0]})
    for problem in problems:
        print(f"ganaudit: {complaint(ConfigError(problem))}", file=sys.stderr)
    if problems:
        raise typer.Exit(ConfigError.exit_code)


def _of_limits(check: Mapping[str, Any]) -> list[str]:
    """What is wrong with the texts of the limits, which only `gates` can read."""
    texts = {name: check[name] for name in ("max", "min", "max_increase", "max_decrease")}
    if not any(texts.values()):
        return []  # they may be flags
    from ganaudit.errors import ConfigError
    from ganaudit.gates import parse

    try:
        parse(**texts, baseline=True)  # which may be a flag
    except ConfigError as error:
        return [str(error)]
    return []


def _json(value: Any) -> Any:
    """A setting as a JSON value; one of no use, say a date, as its text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    # A variable of the environment need not be Unicode.
    return str(value).encode(errors="backslashreplace").decode()


def _print(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    for verb, settings in found.items():
        print(verb)
        for name, setting in settings.items():
            print(f"  {name} = {setting['value']!r}  ({setting['origin']})")
