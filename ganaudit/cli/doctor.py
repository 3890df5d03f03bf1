"""`ganaudit doctor`."""

from typing import Annotated

import typer


def doctor(
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Show versions, devices and caches, what is missing and how to get it."""
    import json

    from ganaudit.cli.running import check_format
    from ganaudit.health import examine
    from ganaudit.report.terminal import show_findings

    check_format(format_)
    findings = examine()
    if format_ == "json":
        print(json.dumps(findings, indent=2))
    else:
        show_findings(findings)
