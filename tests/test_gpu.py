"""What a GPU does is what the CPU does: counts equal, sums within the tally's tolerance."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Blind, Ended, Pixels
from test_tally import assert_bit_equal, assert_same, cloud, identities
from torch import Tensor

from ganaudit.generators import Failure
from ganaudit.maker import Maker, Recipe
from ganaudit.neighbors import NearestTallier
from ganaudit.slots import Draws, Stream
from ganaudit.tally import Tally, tally

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

Run = Callable[..., Ended]
SETS = {
    "few hits": (cloud(300, 128, 1), cloud(20_000, 128, 2)),
    "many hits": (identities(257, 96, 3), identities(9_999, 96, 4)),
    "copies": (identities(70, 32, 5), np.repeat(identities(90, 32, 5), 60, axis=0)),
}


@pytest.mark.parametrize("name", SETS)
def test_a_tally_on_a_gpu_has_the_counts_of_the_cpu(name: str) -> None:
    anchors, samples = SETS[name]
    valid = np.random.default_rng(0).random(len(samples)) < 0.9
    one, other = (
        tally(anchors, samples, theta=0.3, radius=0.25, valid=valid, device=device)
        for device in ("cuda", "cpu")
    )
    assert_same(one, other)


def test_a_tally_on_a_gpu_is_repeatable_and_ignores_tf32() -> None:
    anchors, samples = SETS["many hits"]

    def once() -> Tally:
        return tally(anchors, samples, theta=0.3, radius=0.25, device="cuda")

    first = once()
    torch.set_float32_matmul_precision("high")  # asks for tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    assert_bit_equal(once(), first)


@pytest.mark.parametrize("name", SETS)
def test_certified_nearest_neighbours_on_a_gpu_are_exact(name: str) -> None:
    anchors, samples = SETS[name]
    tallier = NearestTallier(anchors, theta=0.3, radius=0.25, device="cuda", step=4096)
    tiles = (
        (samples[i : i + 4096], np.ones(len(samples[i : i + 4096]), dtype=np.bool_))
        for i in range(0, len(samples), 4096)
    )
    found = tallier.run(tiles, reused=False)
    assert_same(found, tally(anchors, samples, theta=0.3, radius=0.25))


def test_an_audit_on_a_gpu_says_what_the_cpu_says(ganaudit: Run) -> None:
    size = ("--generator", "demo:collapsed", "--anchors", "500", "--samples", "3000")
    reports = {}
    for device in ("cpu", "cuda"):
        assert ganaudit("diagnose", *size, "--device", device, "--out", device).code == 0
        reports[device] = json.loads(Path(device, "report.json").read_text())
    one, other = (reports[device]["figures"] for device in ("cpu", "cuda"))
    assert reports["cuda"]["environment"]["device"] == "cuda:0"
    for figure in ("mean_similarity", "effective_modes"):
        assert other[figure]["estimate"] == pytest.approx(one[figure]["estimate"], rel=2e-3)
    assert abs(one["worst_mode"]["count"] - other["worst_mode"]["count"]) <= 5


def test_a_release_is_decided_on_a_gpu_as_on_the_cpu(ganaudit: Run) -> None:
    command = ("check", "--generator", "demo:collapsed", "--max", "worst-rate=3%")
    found = [
        ganaudit(*command, "--until-decided", "--device", device, "--format", "json")
        for device in ("cpu", "cuda")
    ]
    verdicts = [json.loads(ended.out) for ended in found]
    assert [ended.code for ended in found] == [1, 1]
    assert verdicts[0]["sequential"]["samples"] == verdicts[1]["sequential"]["samples"]


def test_images_of_a_service_come_to_the_device_of_the_descriptor() -> None:
    class OnDevice(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            assert images.is_cuda
            return super().embed(images.cpu())

    def answer(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        yield from zip(draws.index.tolist(), images, strict=True)

    recipe = Recipe(seed=0, device="cuda:0", batch=4, width=16, timeout_s=60.0)
    maker = Maker(Blind(answer), OnDevice(), recipe)
    assert maker.rows(Stream.SAMPLES, 0, 8).valid.all()
    maker.close()
