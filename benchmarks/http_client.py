"""Images a second of a run behind an endpoint over those of a bare client, 8 requests in flight.

    python benchmarks/http_client.py [--images 512] [--rounds 7] [--latencies 0,20,100]

The endpoint (FastAPI and uvicorn, in a process of its own, on this machine) answers each POST with
the same PNG file after so many milliseconds. Ours is `image_api:` behind the maker of a run, with a
descriptor that does nothing; it decodes, checks, hashes and orders what comes. The bare client is
an httpx.AsyncClient and a semaphore, once for the bytes alone and once with the files decoded.
The three alternate in one process; the figure is the median of the ratios. Aim: at least 0.9. How
much CPU time ours takes over theirs is said too: where something else computes on the machine, it
can be trusted sooner.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import httpx
import numpy as np
import torch

from ganaudit import registry
from ganaudit.descriptors import DescriptorCard
from ganaudit.generators import Status
from ganaudit.images import decode_image
from ganaudit.maker import Maker, Recipe
from ganaudit.slots import Stream

AT_ONCE = 8
BATCH = 32
WINDOW = 512  # slots that a run asks a service for at once
AIM = 0.9
PATIENCE_S = 60.0  # the longest that anything here is waited for


class NoDescriptor:
    """A row that says nothing for every image."""

    card = DescriptorCard(name="none", weights_sha256="")

    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 [N, 3, H, W] to ones, float32 [N, 1], all valid."""
        return torch.ones(len(images), 1), torch.ones(len(images), dtype=torch.bool)


def picture(side: int) -> bytes:
    """A PNG file of some blobs, about as large as that of a photograph."""
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def answer_requests(side: int) -> None:
    """The endpoint: prints its address and answers until it is ended."""
    import socket

    import uvicorn
    from fastapi import FastAPI, Request, Response

    app, file = FastAPI(), picture(side)

    @app.post("/{latency_ms}")
    async def generate(latency_ms: int, request: Request) -> Response:
        await request.json()
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        return Response(file, media_type="image/png")

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)  # who connects before the server is ready waits
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])


@contextmanager
def process(*line: str) -> Iterator[str]:
    """A process of this interpreter; the first line that it prints. It is ended on leaving."""
    run = subprocess.Popen([sys.executable, *line], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout is not None
        said = run.stdout.readline().strip()
        if not said:
            raise SystemExit(f"{' '.join(line)} ended before it said anything")
        yield said
    finally:
        run.terminate()
        try:
            run.wait(10)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()


def ours(url: str) -> tuple[Callable[[int], None], Callable[[], None]]:
    """What asks for so many images as a run does, and what ends it."""
    source, _, _ = registry.open_plugin(
        "generators",
        f"image_api:{url}",
        {"template": '{"seed": "$SEED"}', "concurrency": str(AT_ONCE)},
        device=torch.device("cpu"),
        trust=False,
        strict_source=False,
        max_requests=None,
    )
    recipe = Recipe(seed=0, device="cpu", batch=BATCH, width=1, timeout_s=PATIENCE_S, window=WINDOW)
    maker = Maker(source, NoDescriptor(), recipe)

    def ask(images: int) -> None:
        made = 0
        for piece in maker.pieces(Stream.SAMPLES, 0, images):
            made += int((piece.status == Status.OK.value).sum())
        assert made == images, f"{images - made} failed: {maker.reasons}"

    def end() -> None:
        maker.close()
        source.close()

    return ask, end


async def bare(client: httpx.AsyncClient, url: str, images: int, *, decode: bool) -> None:
    """The same requests by hand."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with turn:
            answer = await client.post(url, json={"seed": seed})
            answer.raise_for_status()
            if decode:
                decode_image(answer.content, what="the answer")

    await asyncio.gather(*map(one, range(images)))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time of a call, and what all threads of this process computed meanwhile."""
    begin, computed = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - computed


def compare(url: str, images: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each way to ask, a round each."""
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "bytes": [], "decoded": []}
    ask, end = ours(url)
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(timeout=PATIENCE_S)

        def by_hand(count: int, *, decode: bool) -> None:
            runner.run(bare(client, url, count, decode=decode))

        ways: dict[str, Callable[[int], None]] = {
            "ours": ask,
            "bytes": lambda count: by_hand(count, decode=False),
            "decoded": lambda count: by_hand(count, decode=True),
        }
        try:
            for number in range(rounds + 1):
                for way in np.random.default_rng(number).permutation(list(ways)):
                    count = images if number else 2 * AT_ONCE  # connections and imports
                    took = seconds(partial(ways[way], count))
                    if number:
                        taken[way].append(took)
        finally:
            end()
            runner.run(client.aclose())
    return taken


def main() -> None:
    """Print two lines for each latency."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=64, help="of the picture, in pixels")
    parser.add_argument("--latencies", default="0,20,100", help="of the endpoint, in ms")
    parser.add_argument("--endpoint", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.endpoint:
        answer_requests(given.side)
        return
    print(
        f"PNG files of {given.side} px, {len(picture(given.side)) / 1e3:.1f} kB; endpoint and "
        f"clients share this machine's {os.cpu_count()} cores, so without a latency each ratio is "
        "of the work of both"
    )
    found = {}
    with process(__file__, "--endpoint", "--side", str(given.side)) as address:
        for latency in map(int, given.latencies.split(",")):
            taken = compare(f"{address}/{latency}", given.images, given.rounds)
            walls, computed = (
                {way: np.array(took)[:, i] for way, took in taken.items()} for i in range(2)
            )
            speeds = {way: given.images / float(np.median(wall)) for way, wall in walls.items()}
            for way in ("bytes", "decoded"):
                ratios = walls[way] / walls["ours"]
                work = float(np.median(computed["ours"] / computed[way]))
                ratio = float(np.median(ratios))
                found[f"{latency} ms, {way}"] = ratio
                print(
                    f"{latency:3d} ms, bare client {way:>7}: {speeds['ours']:6.1f} images/s over "
                    f"{speeds[way]:6.1f}, {ratio:.2f} ({ratios.min():.2f} to {ratios.max():.2f}; "
                    f"aim {AIM}: {'PASS' if ratio >= AIM else 'SHORT'}); {work:.2f} times its CPU",
                    flush=True,
                )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
