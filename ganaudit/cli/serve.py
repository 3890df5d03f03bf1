"""`ganaudit serve`."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    generator: Annotated[
        str | None, typer.Option(help="Path, NAME:TARGET or demo: what is served.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Of seeds: uniform, a class number or a file of them [uniform]."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides what a client's seed stands for [0].")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="0: a free one [8000].")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model, in addresses [generator].")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images rendered at once [32, fewer if memory is short].")
    ] = None,
    delay_ms: Annotated[
        float | None, typer.Option(help="Milliseconds a batch waits for further images [2].")
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Images that may wait; more are told to come again [256].")
    ] = None,
    max_images: Annotated[int | None, typer.Option(help="Images of one request [64].")] = None,
    max_body_mb: Annotated[int | None, typer.Option(help="MiB of one request [8].")] = None,
    token_env: Annotated[
        str | None, typer.Option(help="Variable with the token that clients have to send [none].")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with that token [none].")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [auto].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Option of the generator; may be repeated."
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py", help="Your own code: brings more generators; may be repeated."
        ),
    ] = None,
    trust: Annotated[
        bool | None,
        typer.Option("--trust", help="Run programs in files: TorchScript, torch.export."),
    ] = None,
    strict_source: Annotated[
        bool | None,
        typer.Option(
            "--strict-source", help="Refuse a checkpoint with source of no known release."
        ),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Sent to the service that is behind the generator, at most.")
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option(help="Seconds that opening or one batch may take [300].")
    ] = None,
) -> None:
    """Put a generator behind an API: the Open Inference Protocol v2, and PNG files.

    Ends with code 0 after SIGTERM or Ctrl-C, once what is in flight is answered.
    """
    import sys
    from contextlib import redirect_stdout

    from ganaudit.cli.request_options import flags_of
    from ganaudit.cli.running import leave
    from ganaudit.config import ServeConfig
    from ganaudit.errors import GanauditError
    from ganaudit.serving import check_installed
    from ganaudit.settings import resolve

    flags = flags_of(
        {
            "generator": generator,
            "labels": labels,
            "seed": seed,
            "host": host,
            "port": port,
            "name": name,
            "batch": batch,
            "delay_ms": delay_ms,
            "queue": queue,
            "max_images": max_images,
            "max_body_mb": max_body_mb,
            "token_env": token_env,
            "token_file": token_file,
            "device": device,
            "set_": set_,
            "plugin": plugin,
            "trust": trust,
            "strict_source": strict_source,
            "max_requests": max_requests,
            "timeout_s": timeout_s,
        }
    )
    config = resolve(ServeConfig, flags)
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
