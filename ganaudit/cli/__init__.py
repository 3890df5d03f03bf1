"""The command line: a verb a file; parse, one call, print. Heavy imports stay inside commands."""

import sys
import traceback

import typer

from ganaudit.cli.baseline import baseline
from ganaudit.cli.calibrate import calibrate
from ganaudit.cli.check import check
from ganaudit.cli.config import config
from ganaudit.cli.convert import convert
from ganaudit.cli.diagnose import diagnose
from ganaudit.cli.diff import diff
from ganaudit.cli.doctor import doctor
from ganaudit.cli.fetch import fetch
from ganaudit.cli.inspect import inspect
from ganaudit.cli.merge import merge
from ganaudit.cli.plugins import plugins
from ganaudit.cli.report import report
from ganaudit.cli.sample import sample
from ganaudit.cli.serve import serve
from ganaudit.cli.threshold import threshold
from ganaudit.cli.train import train
from ganaudit.errors import INTERRUPTED, GanauditError, complaint

app = typer.Typer(
    name="ganaudit",
    help="Audit image generators as black boxes for intra-mode collapse.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(diagnose)
app.command()(calibrate)
app.command()(train)
app.command()(sample)
app.command()(serve)
app.command()(merge)
app.command()(check)
app.command()(diff)
app.command()(report)
app.command()(plugins)
app.command()(threshold)
app.command()(inspect)
app.command()(convert)
app.command()(doctor)
app.command()(fetch)
app.add_typer(baseline, name="baseline")
app.add_typer(config, name="config")


def main() -> None:
    """Run the command line; what goes wrong is one sentence on stderr and an exit code.

    Exit codes: 0 done, or every gate passed; 1 a gate failed; 2 the request is wrong; 3 the
    generator misbehaved; 4 a gate is inconclusive; 5 refused as unsafe; 6 our own fault; 130
    interrupted.
    """
    try:
        code = app(standalone_mode=False) or 0
    except GanauditError as error:
        print(f"ganaudit: {complaint(error)}", file=sys.stderr)
        code = error.exit_code
    except typer.Abort:
        # Ctrl-C, which older releases of typer would end with code 1: a failed gate.
        print("ganaudit: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own: usage
            error.show()
            code = error.exit_code
        else:
            traceback.print_exc()
            print("ganaudit: this is a bug in ganaudit; please report it", file=sys.stderr)
            code = GanauditError.exit_code
    sys.stderr.flush()
    sys.exit(code)
