"""Services for tests: FastAPI on loopback, in a thread, and pictures to answer with."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import uvicorn.server
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 6, 5
PATIENCE_S = 20.0


class Prompt:
    """asyncio for uvicorn's server, which looks ten times a second whether it is to end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


@contextmanager
def prompt() -> Iterator[None]:
    """Uvicorn's servers end at once when they are told to."""
    with mock.patch.object(uvicorn.server, "asyncio", Prompt()):
        yield


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """`app` at http://127.0.0.1:PORT, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with prompt():
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            listener.close()
            assert not thread.is_alive()


def until(condition: Any) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def picture_of(seed: int) -> NDArray[np.uint8]:
    """Blocks of 8 x 8 pixels, [48, 40, 3], each seed its own."""
    blocks = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def file_of(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """A picture file of [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """[H, W, 3] of a picture file, as Pillow reads it."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """uint8 [3, H, W] as [H, W, 3]."""
    return np.asarray(image.permute(1, 2, 0).numpy())
