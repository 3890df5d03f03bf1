"""Reports by format, all from what a finished run keeps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from ganaudit.config import OutputFormat
from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError, GanauditError, one_line
from ganaudit.files import json_text, write_output
from ganaudit.report import canonical, figures, html, markdown, table
from ganaudit.store import write_json

GALLERY = "gallery"  # folder of the pictures, in that of the run
_OF_EVERY_RUN: tuple[tuple[OutputFormat, str], ...] = (
    ("html", "report.html"),
    ("svg", "figures"),
    ("png", "figures"),
)
_INCOMPLETE = (
    LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError,
    TemplateError,
)  # fmt: skip


def write_run(
    report: Mapping[str, Any],
    diagnosis: Diagnosis,
    folder: Path,
    wanted: Sequence[tuple[OutputFormat, Path]] = (),
) -> None:
    """Write the report of a run into its folder, and `wanted` beside it.

    Args:
      report: the canonical document.
      diagnosis: which has the figures by anchor.
      folder: of the run.
      wanted: format and path.

    Raises:
      GanauditError: a file cannot be written.
    """
    write_json(folder / canonical.NAME, report)
    table.write_parquet(diagnosis, folder)
    write_own(report, folder)
    write(report, folder, wanted)


def write_own(report: Mapping[str, Any], folder: Path) -> None:
    """What a run keeps beside its report.json: report.html, and figures as SVG and PNG."""
    write(report, folder, [(name, folder / path) for name, path in _OF_EVERY_RUN])


def write(
    report: Mapping[str, Any], folder: Path, outputs: Sequence[tuple[OutputFormat, Path]]
) -> None:
    """Write each output; of svg and png the path is a folder.

    Args:
      report: the canonical document of the run in `folder`.
      folder: which has the pictures and the table by anchor.
      outputs: format and path.

    Raises:
      ConfigError: the run's folder lacks something.
      GanauditError: a file cannot be written.
    """
    for name, path in outputs:
        if name not in ("svg", "png"):
            write_output(path, render(name, report, folder))
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.write(report, path, formats=(name,))
        except OSError as error:
            raise GanauditError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def complete(folder: Path) -> Iterator[None]:
    """What somebody else's document lacks, or has of another kind, is a ConfigError here."""
    try:
        yield
    except _INCOMPLETE as error:
        raise ConfigError(
            f"the report of {folder} is not complete ({one_line(error)}); score the run again with "
            "diagnose --resume"
        ) from error


def render(name: OutputFormat, report: Mapping[str, Any], folder: Path) -> bytes:
    """One output that is a single file."""
    if name == "html":
        return html.render(report, gallery=folder / GALLERY).encode()
    if name == "md":
        return markdown.render(report).encode()
    if name == "json":
        return json_text(report).encode()
    rows = table.read(folder)
    if name == "csv":
        return rows.to_csv(index=False).encode()
    return bytes(rows.to_parquet(index=False))
