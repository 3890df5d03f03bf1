"""`ganaudit serve`."""

from typing import Any

from ganaudit.cli.request_options import ServeOptions, takes


@takes(ServeOptions)
def serve(request: dict[str, Any]) -> None:
    """Put a generator behind an API: the Open Inference Protocol v2, and PNG files.

    Ends with code 0 after SIGTERM or Ctrl-C, once what is in flight is answered.
    """
    import sys
    from contextlib import redirect_stdout

    from ganaudit.cli.running import leave
    from ganaudit.config import ServeConfig
    from ganaudit.errors import GanauditError
    from ganaudit.serving import check_installed
    from ganaudit.settings import resolve

    config = resolve(ServeConfig, request)
    check_installed()
    from ganaudit.serving.running import serve as run
    from ganaudit.serving.running import to_stderr

    out = sys.stdout
    try:
        with redirect_stdout(sys.stderr):  # what the generator's code prints is no result
            code = run(
                config,
                announce=lambda address: print(address, file=out, flush=True),
                say=to_stderr,
            )
    except GanauditError as error:
        to_stderr(str(error))
        code = error.exit_code
    leave(code)
