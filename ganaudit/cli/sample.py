"""`ganaudit sample`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ganaudit.cli.request_options import SampleOptions, takes
from ganaudit.errors import INTERRUPTED, GanauditError, complaint


@takes(SampleOptions)
def sample(
    request: dict[str, Any],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
) -> None:
    """Write images of a generator, their latents and seeds, and a grid to look at."""
    import sys
    from contextlib import redirect_stdout
    from dataclasses import replace

    from ganaudit.cli.running import Progress, leave, print_result
    from ganaudit.config import SampleConfig
    from ganaudit.files import free_folder
    from ganaudit.settings import resolve

    config = resolve(SampleConfig, request)
    place = config.out or free_folder("samples")
    from ganaudit.sampling import NAME
    from ganaudit.sampling import sample as make
    from ganaudit.sheets import IMAGES

    try:
        # What the generator's code prints is no result.
        with redirect_stdout(sys.stderr), Progress(quiet=quiet) as progress:
            found = make(
                replace(config, out=place), progress=progress.update, notice=progress.notice
            )
    except KeyboardInterrupt:
        _say("interrupted", kept=place / IMAGES)
        leave(INTERRUPTED)
    except GanauditError as error:
        _say(complaint(error), kept=None if error.exit_code == 2 else place / IMAGES)
        leave(error.exit_code)
    print_result(
        found.document,
        lambda: _show(found.document, place),
        as_json=config.format == "json",
        where=None if config.grid_alone else place / NAME,
    )


def _say(sentence: str, *, kept: Path | None) -> None:
    import sys

    print(f"ganaudit: {sentence}", file=sys.stderr)
    if kept is not None and kept.is_dir():
        print(f"ganaudit: what was made is kept in {kept.parent}", file=sys.stderr)


def _show(document: Mapping[str, Any], place: Path) -> None:
    from ganaudit.report.terminal import plain
    from ganaudit.report.words import counted

    counts = document["counts"]
    lines = [f"{counted(counts['ok'], 'image')} of {document['request']['generator']}: {place}"]
    lines += [
        f"{counted(slots, 'slot')} without an image: {reason}"
        for reason, slots in document["reasons"].items()
    ]
    lines += [f"Assumption: {text}" for text in document["assumptions"]]
    lines += [f"Warning: {text}" for text in document["warnings"]]
    for line in lines:
        print(plain(line))
