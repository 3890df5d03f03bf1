"""The command line: a verb a file; parse, one call, print. Heavy imports stay inside commands."""

import sys
import traceback

import typer

from ganaudit.cli.diagnose import diagnose
from ganaudit.cli.doctor import doctor
from ganaudit.cli.fetch import fetch
from ganaudit.cli.plugins import plugins
from ganaudit.cli.report import report
from ganaudit.cli.threshold import threshold
from ganaudit.errors import GanauditError, complaint

app = typer.Typer(
    name="ganaudit",
    help="Audit image generators as black boxes for intra-mode collapse.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(diagnose)
app.command()(report)
app.command()(plugins)
app.command()(threshold)
app.command()(doctor)
app.command()(fetch)


def main() -> None:
    """Run the command line; what goes wrong is one sentence on stderr and an exit code.

    Exit codes: 0 done, 2 the request is wrong, 3 the generator misbehaved, 5 refused as unsafe, 6
    our own fault, 130 interrupted.
    """
    try:
        app()
    except GanauditError as error:
        print(f"ganaudit: {complaint(error)}", file=sys.stderr)
        code = error.exit_code
    except Exception:
        traceback.print_exc()
        print("ganaudit: this is a bug in ganaudit; please report it", file=sys.stderr)
        code = GanauditError.exit_code
    sys.stderr.flush()
    sys.exit(code)
