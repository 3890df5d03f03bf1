"""Images a second of `ganaudit serve` at 16 connections over those of the generator by itself.

    python benchmarks/serve_speed.py [--seconds 4] [--rounds 5] [--connections 16] [--resolution 64]

Server and generator each have a process of their own and take turns; both have torch's own number
of threads. The generator renders the same latents again and again, once as many together as the
server would at most, once as many as the server gathered; the faster one counts. A client (asyncio,
the requests written beforehand) asks for one image a request, as bytes of pixels and as PNG files;
it shares the cores with the server, and the generator by itself has them all. The same client asks
an endpoint of FastAPI and uvicorn that renders nothing: what a server of this kind could do at
most. Two generators: the demo, whose images take less time than a request, and a narrow StyleGAN2
with random weights, which takes tens of milliseconds an image. Figures are medians of the ratios.
Aim: 0.8.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import numpy as np

SERVE = str(Path(sys.executable).with_name("ganaudit"))
BATCH = 32  # the server's default
AIM = 0.8
PATIENCE_S = 60.0
WARM_S = 0.5  # that a client asks before it counts
_COUNTED = re.compile(rb"^ganaudit_batch_images_(sum|count) (\S+)$", re.MULTILINE)


def write_style(path: Path, resolution: int) -> None:
    """A StyleGAN2 with random weights, as our own checkpoint."""
    import torch

    from ganaudit import networks
    from ganaudit.checkpoints.native import save_native

    torch.manual_seed(0)
    arguments = {
        "z_dim": 512,
        "w_dim": 512,
        "c_dim": 0,
        "img_resolution": resolution,
        "img_channels": 3,
        "channel_base": 8192,  # a quarter of config F
        "channel_max": 128,
    }
    module = networks.build("stylegan2", arguments).eval()
    facts = {"prior": "normal"}
    save_native(path, module, network="stylegan2", arguments=arguments, facts=facts)


def render_alone(generator: str) -> None:
    """The generator by itself: for each line `BATCH SECONDS` on stdin, its images a second."""
    import torch

    from ganaudit.config import GeneratorConfig
    from ganaudit.generators import LatentGenerator
    from ganaudit.opening import open_source
    from ganaudit.slots import Stream, draw

    source, _ = open_source(GeneratorConfig(generator=generator), "cpu")
    assert isinstance(source, LatentGenerator)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, duration = int(line.split()[0]), float(line.split()[1])
        draws = draw(
            np.arange(batch),
            seed=0,
            stream=Stream.SAMPLES,
            latent_shape=source.latent_shape,
            prior=source.prior,
        )
        with torch.inference_mode():
            source.render(draws)
            made, begin = 0, time.perf_counter()
            while (took := time.perf_counter() - begin) < duration:
                made += len(source.render(draws))
        print(made / took, flush=True)


@contextmanager
def process(*line: str) -> Iterator[subprocess.Popen[str]]:
    """A process, which is ended on leaving."""
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True) as run:
        try:
            yield run
        finally:
            run.terminate()
            try:
                run.wait(10)
            except subprocess.TimeoutExpired:
                run.kill()


def said(run: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert run.stdout is not None
    line = run.stdout.readline().strip()
    if not line:
        raise SystemExit(f"{run.args!r:.200} ended before it said anything")
    return line


def alone(run: subprocess.Popen[str], batch: int, duration: float) -> float:
    """Images a second of the generator by itself."""
    assert run.stdin is not None
    run.stdin.write(f"{batch} {duration}\n")
    run.stdin.flush()
    return float(said(run))


def request(path: str, output: str, seed: int) -> bytes:
    """That for one image, in binary form."""
    body = json.dumps(
        {
            "inputs": [{"name": "seed", "datatype": "INT64", "shape": [1], "data": [seed]}],
            "outputs": [{"name": output, "parameters": {"binary_data": True}}],
        }
    ).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def served(url: str, output: str, connections: int, duration: float) -> float:
    """Images a second that the server gives so many connections."""
    at = urlsplit(url)
    sent = done = 0
    begin = until = float("inf")

    async def one(number: int) -> None:
        nonlocal sent, done
        ready = [request(at.path, output, 64 * number + i) for i in range(64)]
        reader, writer = await asyncio.open_connection(at.hostname, at.port, limit=2**20)
        opened.release()
        await go.wait()
        while time.perf_counter() < until:
            writer.write(ready[sent % 64])
            sent += 1
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            done += begin < time.perf_counter() < until
        writer.close()

    opened, go = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(duration + PATIENCE_S), asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(one(number))
        for _ in range(connections):
            await opened.acquire()
        begin = time.perf_counter() + WARM_S
        until = begin + duration
        go.set()
    return done / duration


def batches(url: str) -> tuple[float, float]:
    """Images and batches that the server rendered so far."""
    with urlopen(urljoin(url, "/metrics"), timeout=PATIENCE_S) as answer:
        counted = {found[1]: float(found[2]) for found in _COUNTED.finditer(answer.read())}
    return counted[b"sum"], counted[b"count"]


def compare(name: str, generator: str, given: argparse.Namespace) -> None:
    """Print a line for the generator and one for each output."""
    names = "full", "gathered", "answering", "image", "png"
    speeds: dict[str, list[float]] = {way: [] for way in names}
    sizes: dict[str, list[float]] = {"image": [], "png": []}
    endpoint = Path(__file__).with_name("http_client.py")
    with (
        process(SERVE, "serve", "--generator", generator, "--port", "0") as server,
        process(sys.executable, __file__, "--alone", generator) as own,
        process(sys.executable, str(endpoint), "--endpoint", "--side", "16") as bare,
    ):
        address, answering = f"{said(server)}/v2/models/generator/infer", f"{said(bare)}/0"
        said(own)

        def ask(url: str, output: str, seconds: float = given.seconds) -> float:
            return asyncio.run(served(url, output, given.connections, seconds))

        gathered = given.connections
        for number in range(given.rounds + 1):
            seconds = given.seconds if number else 0.5  # libraries and pages that come late
            for way in np.random.default_rng(number).permutation(names):
                if way == "full" or way == "gathered":
                    speed = alone(own, BATCH if way == "full" else gathered, seconds)
                elif way == "answering":
                    speed = ask(answering, "image", seconds)
                else:
                    before = batches(address)
                    speed = ask(address, way, seconds)
                    images, count = np.subtract(batches(address), before)
                    gathered = max(1, round(images / count))
                    if number:
                        sizes[way].append(images / count)
                if number:
                    speeds[way].append(speed)
    full, few, bare_speeds = (np.array(speeds[way]) for way in names[:3])
    print(
        f"{name} by itself: {np.median(full):,.1f} images/s in batches of {BATCH}, "
        f"{np.median(few):,.1f} in those that the server gathered; an endpoint that renders "
        f"nothing: {np.median(bare_speeds):,.0f} answers/s"
    )
    for output, found in sizes.items():
        own_speeds = np.array(speeds[output])
        ratios = own_speeds / np.maximum(full, few)
        ratio = float(np.median(ratios))
        print(
            f"    {output:>5}: {np.median(own_speeds):,.1f} images/s in batches of "
            f"{np.median(found):.1f}: {ratio:.2f} of the generator ({ratios.min():.2f} to "
            f"{ratios.max():.2f}; aim {AIM}: {'PASS' if ratio >= AIM else 'SHORT'}), "
            f"{np.median(own_speeds / bare_speeds):.2f} of the endpoint",
            flush=True,
        )


def main() -> None:
    """Print a few lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=64, help="of the StyleGAN2")
    parser.add_argument("--only", choices=("demo", "style"), help="one of the generators")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        render_alone(given.alone)
        return
    print(f"client and server share this machine's {os.cpu_count()} cores")
    if given.only != "style":
        compare("demo", "demo", given)
    if given.only != "demo":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "style.safetensors"
            write_style(path, given.resolution)
            compare(f"StyleGAN2 {given.resolution} px", str(path), given)


if __name__ == "__main__":
    main()
