"""A check as a person reads it in a terminal, or in the log of a CI job."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganaudit.report import verdicts
from ganaudit.report.terminal import plain

_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_ERROR = "bold red"


def show(document: Mapping[str, Any], *, folder: Path) -> None:
    """Print the check on stdout; it is put together before any of it is printed.

    Args:
      document: the check.
      folder: which has its check.json.
    """
    verdict, broken = verdicts.verdict(document), verdicts.broken(document)
    headline = f"{verdict.capitalize()}: {verdicts.line(document['sentence'])}"
    sentences = [] if broken is None else [(verdicts.line(broken[0]), verdicts.line(broken[1]))]
    if document["run"] is not None:
        sentences.append(("Run", verdicts.line(document["run"]["headline"])))
    for gate in document["gates"]:
        sentences.append((verdicts.named(gate), " ".join(verdicts.reasons(gate))))
    same_place = verdicts.same_place(document)
    if same_place is not None:
        sentences.append(("Same place", same_place))
    sentences += verdicts.notes(document)
    lines = [plain(f"{kind}: {sentence}") for kind, sentence in sentences]
    about = verdicts.about(document)
    tables = [_gates(document)] if document["gates"] else []
    grown = verdicts.grown(document)
    tables += [_table(verdicts.GROWN, grown)] if grown else []
    console = Console(highlight=False)
    console.print()
    console.print(Text(plain(headline), style=_STYLES.get(verdict, _ERROR)))
    if about is not None:
        console.print(Text(plain(about), style="dim"))
    for table in tables:
        console.print()
        console.print(table)
    for line in lines:
        console.print(f"\n{line}", markup=False, soft_wrap=True)
    console.print()
    if (folder / verdicts.NAME).exists():
        console.print(str(folder / verdicts.NAME), markup=False, soft_wrap=True)


def _gates(document: Mapping[str, Any]) -> Table:
    """Every gate; without a column for the baseline where none is compared with one."""
    columns = list(zip(verdicts.HEAD, *verdicts.rows(document), strict=True))
    kept = [column for column in columns if set(column[1:]) != {verdicts.NOT_RELATIVE}]
    head, *rows = zip(*kept, strict=True)
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
