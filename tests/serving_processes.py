"""A server of a toy in a process of its own."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import Toy, fork_server
from numpy.typing import NDArray
from torch import Tensor

from ganaudit.config import ServeConfig
from ganaudit.slots import Draws, Stream, draw

SIDE, LATENT = 48, 32


class Patches(Toy):
    """Larger images than the toy's: a grid of patches, one a latent value, in three colours."""

    latent_shape = (LATENT,)

    def render(self, draws: Draws) -> Tensor:
        assert draws.latents is not None
        shades = (128 + 40 * draws.latents).round().clamp(0, 255).to(torch.uint8)
        rows = shades.reshape(-1, 1, 4, 8).repeat_interleave(SIDE // 4, 2)
        red = rows.repeat_interleave(SIDE // 8, 3)  # [N, 1, 48, 48]
        return torch.cat([red, 255 - red, red // 2], 1)


def patches(seed: int) -> NDArray[np.uint8]:
    """uint8 [3, 48, 48]: what the server must answer for a seed."""
    slots = np.array([seed])
    draws = draw(slots, seed=0, stream=Stream.SAMPLES, latent_shape=(LATENT,))
    return Patches().render(draws)[0].numpy()


@contextmanager
def server_of_patches(config: ServeConfig, **limits: Any) -> Iterator[tuple[str, int]]:
    """(address, process number) of a server with some limits changed; it is stopped at the end."""
    context = fork_server()
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(config, limits, there))
    process.start()
    try:
        assert here.poll(60), "the server does not start"
        yield here.recv(), process.pid
    finally:
        process.terminate()
        process.join(30)
        code = process.exitcode
        if code is None:
            process.kill()
        process.close()
    assert code == 0, f"the server ended with {code}"


def _serve(config: ServeConfig, limits: dict[str, Any], pipe: Any) -> None:
    from ganaudit.serving.limits import Limits
    from ganaudit.serving.running import Serving, bound, to_stderr

    usual = Limits(
        body_bytes=config.max_body_mb << 20, answer_bytes=config.max_images * 3 * SIDE * SIDE
    )
    with bound(config.host, config.port) as listener:
        serving = Serving(
            config,
            Patches(),
            device="cpu",
            listener=listener,
            say=to_stderr,
            limits=replace(usual, **limits),
        )
        whole = serving.run(lambda: pipe.send(serving.address))
    sys.exit(0 if whole else 1)


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    text = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def settled(process: int, most: int, patience_s: float = 20) -> int:
    """Memory of a process once it is below `most`, or when patience ends: it is given back late."""
    until = time.monotonic() + patience_s
    while (found := resident(process)) > most and time.monotonic() < until:
        time.sleep(0.1)
    return found
