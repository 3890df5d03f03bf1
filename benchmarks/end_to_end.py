"""Images per second of a whole run over those of a hand-written loop of the same work.

    python benchmarks/end_to_end.py [--images 3000] [--rounds 5]

The loop renders, quantises, embeds and keeps the rows in memory, as somebody would write it for one
evening; the run also draws by slot, guards, hashes and stores. Aim: at least 0.95. With
--generator and --descriptor (and --set, --batch) any pair can be measured.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from ganaudit.config import DiagnoseConfig
from ganaudit.generators import LatentGenerator
from ganaudit.maker import Recipe
from ganaudit.opening import Request, first_images, open_request
from ganaudit.runner import fill
from ganaudit.slots import Draws, Stream
from ganaudit.store import Store


def by_hand(request: Request, recipe: Recipe, images: int) -> None:
    """Render and embed, nothing else."""
    source, descriptor = request.source, request.descriptor
    assert isinstance(source, LatentGenerator) and descriptor is not None
    generator = torch.Generator().manual_seed(0)
    rows = []
    with torch.inference_mode():
        for start in range(0, images, recipe.batch):
            count = min(recipe.batch, images - start)
            latents = torch.randn(count, *source.latent_shape, generator=generator)
            numbers = torch.arange(count)
            draws = Draws(index=numbers, seeds=numbers, latents=latents.to(recipe.device))
            rows.append(descriptor.embed(source.render(draws))[0].cpu())
    torch.cat(rows)


def by_run(request: Request, recipe: Recipe, images: int) -> None:
    """The same work as a run does it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "run")
        store.open(request.manifest(), resume=False)
        maker = request.maker(recipe, reopen=False)
        fill(
            store,
            Stream.SAMPLES,
            images,
            maker,
            versions={},
            progress=lambda what, done, total: None,
        )
        maker.close()


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="demo")
    parser.add_argument("--descriptor")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    config = DiagnoseConfig(
        generator=given.generator,
        descriptor=given.descriptor,
        set=tuple(given.set),
        theta=0.25,
        radius=0.25,
    )
    request = open_request(config)
    recipe = first_images(request, batch=given.batch).recipe
    ratios, speeds = [], []
    for _ in range(given.rounds):
        begin = time.perf_counter()
        loop = threading.Thread(target=by_hand, args=(request, recipe, given.images))
        loop.start()  # a thread of its own, as the run has: its pool of threads ends with it
        loop.join()
        middle = time.perf_counter()
        by_run(request, recipe, given.images)
        end = time.perf_counter()
        ratios.append((middle - begin) / (end - middle))
        speeds.append(given.images / (end - middle))
    print(
        f"{given.generator}: {np.median(speeds):,.0f} images/s, {np.median(ratios):.2f} of a "
        f"hand-written loop ({min(ratios):.2f} to {max(ratios):.2f}; aim 0.95)"
    )


if __name__ == "__main__":
    main()
