"""What surrounds a long command: progress on stderr, Ctrl-C, and the command that resumes."""

import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ganaudit.config import CalibrateConfig, CheckConfig, DiagnoseConfig, Format, TrainConfig
from ganaudit.errors import INTERRUPTED, ConfigError, GanauditError, complaint
from ganaudit.settings import resolve, step_summary

_LINE_EVERY_S = 10.0


def run_diagnose(flags: Mapping[str, Any], *, quiet: bool, verbose: bool) -> int:
    """Resolve the request, run it, print its result; the exit code."""
    config = resolve(DiagnoseConfig, flags)
    _say_origins(config, verbose=verbose)
    from ganaudit.parts import Part
    from ganaudit.pipeline import diagnose, make_part
    from ganaudit.planning import plan
    from ganaudit.report.terminal import show, show_part, show_plan
    from ganaudit.starting import own_folder

    if config.dry_run:
        with redirect_stdout(sys.stderr):  # what the generator's code prints is no result
            outlook = plan(config)
        print(json.dumps(outlook, indent=2)) if config.format == "json" else show_plan(outlook)
        return 0
    config = replace(config, out=config.out or own_folder(resume=config.resume))
    with _to_its_end(config, verbose=verbose), Progress(quiet=quiet) as progress:
        make = diagnose if config.part is None else make_part
        made = make(config, progress=progress.update, notice=progress.notice)
    if isinstance(made, Part):
        found, where = made.summary(), made.folder / "part.json"
        shown = partial(show_part, found)
    else:
        found, where = made.report, made.folder / "report.json"
        shown = partial(show, found, folder=made.folder)
    print_result(found, shown, as_json=config.format == "json", where=where)
    return 0


def run_check(
    flags: Mapping[str, Any], request_flags: Mapping[str, Any], *, quiet: bool, verbose: bool
) -> int:
    """Resolve both requests, check, print the verdict; the exit code."""
    from ganaudit.cli.request_options import resolve_check

    annotate, summary = partial(print, file=sys.stderr, flush=True), step_summary()
    try:
        config, request = resolve_check(flags, request_flags)
    except ConfigError as error:
        config = resolve(CheckConfig, flags)  # says it again, if it is this that is wrong
        from ganaudit.release import break_off

        break_off(config, error, annotate=annotate, summary=summary)
        raise
    _say_origins(config, verbose=verbose)
    from ganaudit.release import check, outlook
    from ganaudit.report.check_terminal import show
    from ganaudit.report.terminal import show_plan
    from ganaudit.starting import own_folder

    if request is not None:
        _say_origins(request, verbose=verbose)
        if request.dry_run:
            with redirect_stdout(sys.stderr):
                plan = outlook(config, request)
            print(json.dumps(plan, indent=2)) if config.format == "json" else show_plan(plan)
            return 0
        request = replace(request, out=request.out or own_folder(resume=request.resume))
    with _to_its_end(request, verbose=verbose), Progress(quiet=quiet) as progress:
        found = check(
            config,
            request,
            progress=progress.update,
            notice=progress.notice,
            annotate=annotate,
            summary=summary,
        )
    print_result(
        found.document,
        partial(show, found.document, folder=found.folder),
        as_json=config.format == "json",
        where=found.folder / "check.json",
    )
    return found.exit_code


def run_calibrate(flags: Mapping[str, Any], *, quiet: bool, verbose: bool) -> int:
    """Resolve both requests, build and prove a calibrator, print the result; the exit code."""
    from ganaudit.cli.request_options import resolve_calibrate

    config, request = resolve_calibrate(flags)
    _say_origins(config, verbose=verbose)
    _say_origins(request, verbose=verbose)
    from ganaudit.calibrating import NAME, calibrate, outlook
    from ganaudit.files import free_folder
    from ganaudit.report.calibrated import show
    from ganaudit.report.terminal import show_plan

    if request.dry_run:
        with redirect_stdout(sys.stderr):
            found = outlook(config, request)
        print(json.dumps(found, indent=2)) if config.format == "json" else show_plan(found)
        return 0
    request = replace(request, out=request.out or free_folder("calibration"))
    with _to_its_end(request, verbose=verbose), Progress(quiet=quiet) as progress:
        made = calibrate(config, request, progress=progress.update, notice=progress.notice)
    print_result(
        made.document,
        partial(show, made.document, made.folder),
        as_json=config.format == "json",
        where=made.folder / NAME,
    )
    return made.exit_code


def run_train(flags: Mapping[str, Any], *, quiet: bool, verbose: bool) -> int:
    """Resolve the request, train, print the result; the exit code."""
    from ganaudit.cli.request_options import resolve_train

    config = resolve_train(flags)
    _say_origins(config, verbose=verbose)
    from ganaudit.files import free_folder
    from ganaudit.report.training import show
    from ganaudit.training.runs import NAME, outlook, train
    from ganaudit.training.stored import lines_of

    if config.dry_run:
        with redirect_stdout(sys.stderr):
            found = outlook(config)
        lines = [json.dumps(found, indent=2)] if config.format == "json" else lines_of(found)
        print("\n".join(lines))
        for note in () if quiet else found["notes"]:
            print(f"note: {note}", file=sys.stderr)
        return 0
    config = replace(config, out=config.out or free_folder("training"))
    bar = config.devices == 1  # another process could not draw it
    with _to_its_end(config, verbose=verbose), Progress(quiet=quiet, bar=bar) as progress:
        made = train(config, progress=progress.update, notice=progress.notice)
    print_result(
        made.document,
        partial(show, made.document, made.folder),
        as_json=config.format == "json",
        where=made.folder / NAME,
    )
    if made.document["message"]:
        print(f"ganaudit: {made.document['message']}", file=sys.stderr)
    if made.exit_code == INTERRUPTED:
        _say_how_to_resume(config, "interrupted; the last checkpoint is kept")
    return made.exit_code


def _say_origins(
    config: DiagnoseConfig | CheckConfig | CalibrateConfig | TrainConfig, *, verbose: bool
) -> None:
    if verbose:
        for name, origin in config.origins.items():
            print(f"{name} = {getattr(config, name)!r}  ({origin})", file=sys.stderr)


@contextmanager
def _to_its_end(config: DiagnoseConfig | TrainConfig | None, *, verbose: bool) -> Iterator[None]:
    """Whatever ends a long command before its end is a sentence, an exit code, and a way on.

    What is printed inside goes to stderr: what a generator's code says is no result.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        _say_how_to_resume(config, "interrupted; what was made is kept")
        leave(INTERRUPTED)
    except GanauditError as error:
        if verbose:
            traceback.print_exc()
        print(f"ganaudit: {complaint(error)}", file=sys.stderr)
        if error.exit_code in (3, 6):
            _say_how_to_resume(config, "what was made is kept")
        leave(error.exit_code)


def print_result(
    report: Mapping[str, Any], show: Callable[[], None], *, as_json: bool, where: Path | None
) -> None:
    """Print a result on stdout; where that fails, say where else it is and leave with code 6."""
    try:
        if as_json:
            text = json.dumps(report, indent=2, ensure_ascii=False)
            print(text.replace("##", "#\\u0023"))  # a command to a CI job, wherever in a line
        else:
            show()
        sys.stdout.flush()
    except (OSError, UnicodeError) as error:
        there = "" if where is None else f"; it is {where}"
        print(f"ganaudit: the result cannot be printed ({error}){there}", file=sys.stderr)
        os._exit(GanauditError.exit_code)  # what is left in stdout's buffer cannot be flushed


def check_format(wanted: str) -> None:
    """Refuse a --format that there is not."""
    if wanted not in get_args(Format):
        raise ConfigError(f"--format must be one of {', '.join(get_args(Format))}, got {wanted!r}")


def _say_how_to_resume(config: DiagnoseConfig | TrainConfig | None, what: str) -> None:
    if config is None or config.out is None:
        return
    begun = ("manifest.json", "fit/manifest.json", "before/manifest.json", "states")
    if not any((config.out / place).exists() for place in begun):
        return
    words = ["ganaudit", *sys.argv[1:]]
    if config.origins.get("out") == "default":
        words += ["--out", str(config.out)]
    if not config.resume:
        words.append("--resume")
    print(f"ganaudit: {what}; continue with\n  {shlex.join(words)}", file=sys.stderr)


def leave(code: int) -> None:
    """Exit now: a generator that hangs in a thread of its own must not hold us."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _pace(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class Progress:
    """How far a run is: a bar where stderr is a terminal, now and then a line where it is not."""

    def __init__(self, *, quiet: bool, bar: bool = True) -> None:
        """`quiet`: say nothing at all; `bar`: draw one where that is possible."""
        self._quiet, self._drawn = quiet, bar
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}  # by stage
        self._what = ""
        self._begin = (0.0, 0)  # of the stage: time, and slots that were there already
        self._spoke = 0.0

    def __enter__(self) -> "Progress":
        """Take over stderr."""
        possible = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        if self._drawn and possible and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description:>9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Give stderr back."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, what: str, done: int, total: int) -> None:
        """`done` of `total` slots are through the stage `what`."""
        if self._quiet:
            return
        now = time.monotonic()
        if what != self._what:
            self._what, self._begin, self._spoke = what, (now, done), now
            if self._bar is not None and what not in self._tasks:
                self._tasks[what] = self._bar.add_task(what, total=total, completed=done, rate="")
        since, before = self._begin
        rate = (done - before) / (now - since) if done > before else 0.0
        if self._bar is not None:
            shown = f"{_pace(rate)}/s" if rate else ""
            self._bar.update(self._tasks[what], completed=done, total=total, rate=shown)
        elif done == total or now - self._spoke >= _LINE_EVERY_S:
            self._spoke = now
            left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
            speed = f" ({_pace(rate)}/s{left})" if rate else ""
            print(f"{what}: {done:,} of {total:,}{speed}", file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Say a sentence beside the bar."""
        if self._quiet:
            return
        line = "note: " + "".join(c if c.isprintable() else "\ufffd" for c in text)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)
