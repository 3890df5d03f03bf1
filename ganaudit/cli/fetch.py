"""`ganaudit fetch`."""

from typing import Annotated

import typer


def fetch(
    spec: Annotated[
        str, typer.Argument(metavar="NAME[:TARGET]", help="Whose weights: facenet:vggface2.")
    ],
    format_: Annotated[str, typer.Option("--format", help="rich or json, on stdout.")] = "rich",
) -> None:
    """Download the weights of a descriptor; nothing else downloads any."""
    import json
    from contextlib import redirect_stdout
    from sys import stderr

    from ganaudit.cli.running import check_format
    from ganaudit.files import sha256_of
    from ganaudit.registry import load

    check_format(format_)
    name, _, target = spec.partition(":")
    fetcher = load("fetchers", name)
    print(f"fetching {spec}", file=stderr, flush=True)
    with redirect_stdout(stderr):  # what a plugin prints is no result
        path = fetcher(target)
    found = {"path": str(path), "sha256": sha256_of(path)}
    print(json.dumps(found, indent=2) if format_ == "json" else "{path}\n{sha256}".format(**found))
