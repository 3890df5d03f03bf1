import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    ONNX_OPTIONS,
    Pixels,
    Toy,
    fork_server,
    images_of,
    read_report,
    without_timings,
)
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError
from ganaudit.fidelity import fidelity
from ganaudit.generators import Failure
from ganaudit.intervals import mean_similarity, mu_at_n, worst_mode
from ganaudit.opening import open_request
from ganaudit.pipeline import diagnose
from ganaudit.planning import plan
from ganaudit.reference import Reference
from ganaudit.slots import Draws, permutation
from ganaudit.tally import tally

Make = Callable[..., DiagnoseConfig]
SCALE = {"theta": 0.3, "radius": 0.15}

pytestmark = pytest.mark.usefixtures("undrawn")


def population(count: int, seed: int, *, collapsed: float = 0.0) -> NDArray[np.float32]:
    """Unit rows around 60 directions; a share of them is one and the same, with little noise."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(11).standard_normal((60, 12))
    rows = centres[rng.integers(0, 60, count)] + 0.3 * rng.standard_normal((count, 12))
    dense = rng.random(count) < collapsed
    rows[dense] = (centres[7] + 0.05 * rng.standard_normal((count, 12)))[dense]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def compared(
    make: Make, generated: NDArray[np.float32], real: NDArray[np.float32], **changes: Any
) -> dict[str, Any]:
    """The reference section of an audit of embeddings."""
    np.save("generated.npy", generated)
    np.save("real.npy", real)
    usual = {"generator": "embeddings:generated.npy", "reference": "embeddings:real.npy"}
    section = diagnose(make(**(SCALE | usual | changes))).report["reference"]
    assert isinstance(section, dict)
    return json.loads(json.dumps(section, allow_nan=False))  # type: ignore[no-any-return]


def side(anchors: NDArray[np.float32], samples: NDArray[np.float32]) -> dict[str, Any]:
    """The figures of one side, from its rows."""
    sums = tally(anchors, samples, **SCALE)
    worst = worst_mode(sums)
    return {
        "mean_similarity": mean_similarity(sums).interval().figures(),
        "mu": mu_at_n(sums).interval().figures(),
        "worst_rate": None if worst is None else worst.rate.figures(),
    }


def assert_close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Intervals, within the tally's tolerance; groups may be cut elsewhere, so loosely at ends."""
    assert set(found) == {"mean_similarity", "mu", "worst_rate"}
    for name in ("mean_similarity", "mu"):
        assert found[name]["estimate"] == pytest.approx(wanted[name]["estimate"], rel=1e-5)
        assert found[name]["low"] < found[name]["estimate"] < found[name]["high"]


# -- what is compared with what ---------------------------------------------------------------


def test_enough_images_are_compared_at_the_runs_anchors_and_samples(config: Make) -> None:
    generated, real = population(1200, 0), population(1500, 1)
    section = compared(config, generated, real, anchors=150, samples=800, seed=4)
    assert set(section) == {
        "folder", "images", "anchors", "samples", "rarefied", "generated", "real", "ratios",
        "fidelity", "sentences",
    }  # fmt: skip
    assert (section["folder"], section["images"]) == ("embeddings:real.npy", 1500)
    assert (section["anchors"], section["samples"], section["rarefied"]) == (150, 800, False)
    theirs = real[permutation(1500, seed=4)]
    ours = generated[permutation(1200, seed=4)]
    assert_close(section["real"], side(theirs[:150], theirs[150:950]))
    assert_close(section["generated"], side(ours[:150], ours[150:950]))
    report = read_report(config().out)
    for name in ("mean_similarity", "mu"):
        figures = report["figures"] if name != "mu" else report["figures"]["mccs"]
        assert section["generated"][name] == figures[name]
        ratio = section["generated"][name]["estimate"] / section["real"][name]["estimate"]
        assert section["ratios"][name]["estimate"] == pytest.approx(ratio, rel=1e-12)
    apart = report["figures"]["worst_mode"]["chosen_and_scored_apart"]
    assert section["generated"]["worst_rate"] == apart["rate"]
    wanted = fidelity(theirs[150:950], ours[150:950]).figures()
    assert set(section["fidelity"]) == set(wanted)
    for name in ("rows", "frechet_distance", "nearest_k", "density", "coverage"):
        assert section["fidelity"][name] == pytest.approx(wanted[name], rel=1e-9)
    assert section["fidelity"]["kernel_distance"] == pytest.approx(wanted["kernel_distance"])
    boxes = report["figures"]["boxes"]
    assert [box["label"] for box in boxes[3:]] == ["the reference images"]
    assert boxes[3]["at_samples"] == 800


def test_fewer_images_than_the_run_has_are_compared_in_proportion(config: Make) -> None:
    generated, real = population(1200, 0), population(400, 1)
    section = compared(config, generated, real, anchors=200, samples=1000)
    # 400 * 200 / 1200 anchors
    assert (section["anchors"], section["samples"], section["rarefied"]) == (66, 334, True)
    theirs, ours = real[permutation(400, seed=0)], generated[permutation(1200, seed=0)]
    assert_close(section["real"], side(theirs[:66], theirs[66:]))
    assert_close(section["generated"], side(ours[:66], ours[200:534]))
    assert section["fidelity"]["rows"] == 334
    assert "400 reference images" in section["sentences"][0]
    assert "66 anchors and 334 samples" in section["sentences"][0]
    boxes = read_report(config().out)["figures"]["boxes"]
    assert [(box["label"], box["at_samples"]) for box in boxes[2:]] == [
        ("all", 1000), ("the reference images", 334), ("as many generated", 334)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("anchors", "samples", "size", "rarefied"),
    [
        (64, 256, 320, False),
        (64, 256, 319, True),
        (64, 256, 64, True),
        (1, 256, 100, True),
        (2, 900, 64, True),
        (300, 10, 200, True),
        (900, 20, 500, True),
        (900, 900, 65, True),
    ],
)
def test_both_sides_have_what_they_are_compared_at(
    anchors: int, samples: int, size: int, rarefied: bool, config: Make
) -> None:
    section = compared(
        config, population(anchors + samples, 0), population(size, 1),
        anchors=anchors, samples=samples,
    )  # fmt: skip
    m, n = section["anchors"], section["samples"]
    assert section["rarefied"] == rarefied
    assert m + n == (size if rarefied else anchors + samples)
    assert min(anchors, 32) <= m <= anchors
    assert min(samples, 32) <= n <= samples


# -- what is said -----------------------------------------------------------------------------


def test_two_halves_of_one_population_are_not_told_apart(config: Make) -> None:
    rows = population(2400, 2)
    section = compared(config, rows[:1200], rows[1200:], anchors=200, samples=1000)
    for ratio in section["ratios"].values():
        assert 0.5 < ratio["estimate"] < 2
        assert ratio["low"] < 1 < ratio["high"]
    (said,) = section["sentences"]
    assert said.startswith("Under this descriptor the generator's density is not told apart")
    for word in ("healthy", "no collapse", "pass", "fail"):
        assert word not in said
    assert 0.8 < section["fidelity"]["density"] < 1.2
    assert section["fidelity"]["coverage"] > 0.9
    assert section["fidelity"]["frechet_distance"] < 0.05


def test_a_planted_collapse_is_denser_than_its_reference(config: Make) -> None:
    generated, real = population(1200, 3, collapsed=0.2), population(1200, 4)
    section = compared(config, generated, real, anchors=200, samples=1000)
    ratios = section["ratios"]
    assert all(ratio["low"] > 1 for ratio in ratios.values())
    assert ratios["worst_rate"]["low"] > 1.4
    assert section["sentences"][0].startswith("The generator is denser than these images under")
    assert section["sentences"][1].startswith("The generator's worst mode is denser")


def test_a_reference_that_is_denser_is_said_so(config: Make) -> None:
    generated, real = population(1200, 5), population(1200, 6, collapsed=0.3)
    section = compared(config, generated, real, anchors=200, samples=1000)
    assert section["ratios"]["mean_similarity"]["high"] < 1
    (said,) = section["sentences"]
    assert said.startswith("These images are denser than the generator's")


def test_few_samples_have_no_intervals_and_no_verdict(config: Make) -> None:
    section = compared(config, population(90, 7), population(90, 8), anchors=20, samples=60)
    assert section["ratios"]["mean_similarity"]["low"] is None
    assert section["ratios"]["worst_rate"]["estimate"] is None
    assert section["sentences"] == []


def test_a_side_without_any_hit_has_no_ratio(config: Make) -> None:
    rows = np.eye(320, dtype=np.float32)
    section = compared(config, rows[:160], rows[160:], anchors=30, samples=130)
    assert section["ratios"]["mean_similarity"]["estimate"] is None
    assert section["real"]["mu"]["estimate"] == 0


# -- what is refused, and when ----------------------------------------------------------------


def pictures(folder: str, count: int, *, seed: int = 0) -> None:
    Path(folder).mkdir()
    for i, image in enumerate(images_of(_numbers(count, seed))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"{folder}/{i:04d}.png")


def _numbers(count: int, seed: int) -> Tensor:
    import torch

    return torch.arange(count) + 100_000 * (seed + 1)


class Untouched(Toy):
    """Must not be asked for an image."""

    def render(self, draws: Draws) -> Tensor:
        raise AssertionError("an image was rendered")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("absent", "--reference absent: no such file"),
        ("images:absent", "--reference images: no such folder: absent"),
        ("empty", "--reference empty holds no pictures"),
        ("few", "--reference few holds 63 images; at least 64 are needed"),
        ("one", "--reference one holds 1 images; at least 64 are needed"),
        ("demo", "--reference demo is a generator; name a folder of images"),
        ("embeddings:rows.npy", "rows.npy: embeddings are compared with embeddings"),
        ("text.txt", "--reference text.txt is nothing that can be told apart"),
        ("broken", "--reference broken cannot be used: none of the first 8 images can be used"),
    ],
)
def test_what_is_no_reference_is_refused_before_any_image_is_made(
    reference: str, said: str, config: Make
) -> None:
    Path("empty").mkdir()
    pictures("few", 63)
    pictures("one", 1)
    np.save("rows.npy", population(200, 0))
    Path("text.txt").write_text("no pictures")
    Path("broken").mkdir()
    for i in range(70):
        Path(f"broken/{i}.png").write_text("no picture")
    asked = config(reference=reference)
    with pytest.raises(ConfigError) as caught:
        diagnose(asked, source=Untouched(), descriptor=Pixels())
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert said in message and message.startswith("--reference")
    assert "\n" not in message and len(message) < 300
    assert not asked.out.exists()


def test_embeddings_have_embeddings_of_as_many_columns_for_a_reference(config: Make) -> None:
    pictures("photos", 70)
    np.save("rows.npy", population(400, 0))
    np.save("narrow.npy", population(400, 1)[:, :5].copy())
    usual = {"generator": "embeddings:rows.npy"} | SCALE
    for reference, said in (
        ("photos", "--reference photos: embeddings are compared with embeddings"),
        ("narrow.npy", "--reference narrow.npy has 5 columns, the audited 12"),
    ):
        with pytest.raises(ConfigError, match=said):
            diagnose(config(reference=reference, **usual))
    assert not config().out.exists()


def test_too_few_samples_cannot_be_compared(config: Make) -> None:
    pictures("photos", 70)
    with pytest.raises(ConfigError, match="photos needs more than 5 --samples, got 5"):
        diagnose(config(samples=5, reference="photos"), source=Toy(), descriptor=Pixels())
    done = diagnose(config(samples=6, reference="photos"), source=Toy(), descriptor=Pixels())
    assert done.report["reference"]["samples"] == 6


def test_a_plan_looks_at_the_reference_too(config: Make) -> None:
    with pytest.raises(ConfigError, match="--reference absent: no such file"):
        plan(config(generator="demo", reference="absent"))
    pictures("photos", 70)
    before = sorted(Path().rglob("*"))
    plan(config(generator="demo", reference="photos"))
    assert sorted(Path().rglob("*")) == before


# -- images that fail -------------------------------------------------------------------------


def test_a_picture_that_cannot_be_read_is_counted_and_the_run_goes_on(config: Make) -> None:
    pictures("photos", 330)
    Path("photos/0100.png").write_text("no picture")
    Path("photos/0101.png").write_text("no picture")
    said: list[str] = []
    done = diagnose(
        config(reference="photos"), source=Toy(), descriptor=Pixels(), notice=said.append
    )
    section = done.report["reference"]
    order = permutation(330, seed=0).tolist()
    failed = [order.index(i) for i in (100, 101)]
    assert section["anchors"] == 64 - sum(slot < 64 for slot in failed)
    assert section["samples"] == 256 - sum(64 <= slot < 320 for slot in failed)
    assert section["rarefied"] is False
    assert len(said) == 2 and all("of the reference have no image: " in text for text in said)
    assert "cannot be read as a picture" in said[0]


@pytest.mark.parametrize("who", ["reference", "generator"])
def test_many_that_fail_on_one_side_are_made_up_for_on_the_other(who: str, config: Make) -> None:
    rows, other = population(500, 9), population(600, 10)
    bad = np.random.default_rng(0).random(500) < 0.3
    rows[bad] = 0
    if who == "reference":
        section = compared(config, other, rows, anchors=100, samples=400)
    else:
        section = compared(config, rows, other, anchors=100, samples=400, max_failure_rate=1.0)
    kept = ~bad[permutation(500, seed=0)]
    assert (section["anchors"], section["samples"]) == (kept[:100].sum(), kept[100:].sum())
    assert section["rarefied"] is True
    m, n = section["anchors"], section["samples"]
    with_holes = rows[permutation(500, seed=0)]
    whole = other[permutation(600, seed=0)]
    holes = side(with_holes[:100][kept[:100]], with_holes[100:][kept[100:]])
    if who == "reference":  # the run's samples come after all of its anchors
        full = side(whole[:m], whole[100 : 100 + n])
        assert_close(section["real"], holes)
        assert_close(section["generated"], full)
    else:
        assert_close(section["generated"], holes)
        assert_close(section["real"], side(whole[:m], whole[m : m + n]))
    assert f"at {m} anchors and {n} samples: one of them has no more" in section["sentences"][0]


def test_a_reference_without_enough_that_can_be_scored_is_refused(config: Make) -> None:
    real = population(400, 11)
    real[permutation(400, seed=0)[64:320]] = 0  # every sample, as it falls
    with pytest.raises(ConfigError, match="real.npy leaves 64 anchors and 0 samples: too few"):
        compared(config, population(400, 12), real)


# -- again, and further -----------------------------------------------------------------------


def test_two_runs_give_one_report(config: Make) -> None:
    pictures("photos", 330)
    reports = [
        diagnose(
            config(reference="photos", out=Path(out)), source=Toy(), descriptor=Pixels()
        ).report
        for out in ("one", "other")
    ]
    assert without_timings(reports[0]) == without_timings(reports[1])
    assert reports[0]["request"]["reference"] == "photos"
    assert "reference_s" in reports[0]["timings"]


def test_a_run_that_grows_or_gets_its_reference_later_is_as_from_the_start(config: Make) -> None:
    np.save("generated.npy", population(1300, 13))
    np.save("real.npy", population(1300, 14))
    asked = config(generator="embeddings:generated.npy", anchors=100, samples=200, **SCALE)
    diagnose(asked)
    compare = replace(asked, reference="embeddings:real.npy", resume=True)
    small = diagnose(compare).report
    grown = diagnose(replace(compare, samples=1100)).report
    for report, samples in ((small, 200), (grown, 1100)):
        fresh = diagnose(
            replace(compare, samples=samples, resume=False, out=Path(f"fresh-{samples}"))
        ).report
        assert without_timings(report) == without_timings(fresh)
    without = diagnose(replace(asked, resume=True)).report
    assert without["reference"] is None


def test_another_reference_in_the_same_run_is_refused_before_any_image_is_made(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("photos", 70)
    pictures("others", 71)
    diagnose(config(reference="photos"), source=Toy(), descriptor=Pixels())
    monkeypatch.setattr(Toy, "render", Untouched.render)
    with pytest.raises(
        ConfigError, match=r"--reference: .*reference holds another run: "
    ) as caught:
        diagnose(
            config(reference="others", resume=True, samples=300),
            source=Toy(),
            descriptor=Pixels(),
        )
    assert str(caught.value).endswith(f"or remove {config().out / 'reference'}")


def test_a_damaged_shard_of_the_reference_is_made_again(config: Make) -> None:
    pictures("photos", 330)
    before = diagnose(config(reference="photos"), source=Toy(), descriptor=Pixels()).report
    (shard,) = (config().out / "reference" / "samples").iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    said: list[str] = []
    after = diagnose(
        config(reference="photos", resume=True),
        source=Toy(), descriptor=Pixels(), notice=said.append,
    ).report  # fmt: skip
    assert said == [f"{shard.name} of the reference was damaged and is made again"]
    assert without_timings(after) == without_timings(before)


def test_a_reference_keeps_its_batch_when_the_run_goes_on(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures("photos", 400)
    asked = config(reference="photos", samples=100)
    monkeypatch.setattr("ganaudit.probe.fitting", lambda height, width, device: 16)
    diagnose(asked, source=Toy(), descriptor=Pixels())
    monkeypatch.setattr("ganaudit.probe.fitting", lambda height, width, device: 32)
    seen: list[int] = []

    class Watched(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(len(images))
            return super().embed(images)

    grown = replace(asked, samples=300, resume=True)
    diagnose(grown, source=Toy(), descriptor=Watched())
    assert max(seen) == 16


# -- whose options, and in whose process ------------------------------------------------------

USER = """
import torch


def make(*, psi: float):
    def render(latents):
        images = (128 + 40 * psi * latents).clamp(0, 255).to(torch.uint8)
        return images.view(-1, 3, 4, 8)
    render.latent_shape, render.prior = (3, 4, 8), "normal"
    return render
"""


def test_the_reference_has_the_descriptors_options_and_not_the_generators(
    config: Make, onnx_file: Path
) -> None:
    Path("user.py").write_text(USER)
    pictures("photos", 330)
    asked = config(
        generator="python:user.py:make", descriptor=f"onnx:{onnx_file}", reference="photos",
        set=("psi=0.5", *ONNX_OPTIONS), **SCALE,
    )  # fmt: skip
    section = diagnose(asked).report["reference"]
    assert (section["anchors"], section["samples"]) == (64, 256)
    assert section["real"]["mean_similarity"]["estimate"] > 0
    doubled = replace(asked, set=("psi=0.9", *ONNX_OPTIONS), out=Path("doubled"))
    again = diagnose(doubled).report["reference"]
    assert again["real"] == section["real"]
    assert again["generated"] != section["generated"]
    shifted = tuple(o.replace("mean=0.5", "mean=0.1") for o in asked.set)
    other = diagnose(replace(asked, set=shifted, out=Path("shifted"))).report["reference"]
    assert other["real"] != section["real"]


def test_workers_embed_a_reference_as_one_process_does(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = fork_server()
    monkeypatch.setattr("multiprocessing.get_context", lambda method: quick)
    pictures("photos", 700)
    asked = config(generator="demo", reference="photos", samples=600)
    one = diagnose(asked).report
    two = diagnose(replace(asked, workers=2, out=Path("two"))).report
    assert without_timings(one) == without_timings(two)
    assert one["reference"]["samples"] == 600


def test_a_descriptor_object_stays_in_its_process(config: Make) -> None:
    class Mirrored(Pixels):
        """Nobody can open this one by its name."""

        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return super().embed(images.flip(3))

    pictures("photos", 700)
    asked = config(generator="demo", reference="photos", samples=600, workers=2)
    report = diagnose(asked, descriptor=Mirrored()).report
    assert report["reference"]["samples"] == 600


def test_a_service_without_an_end_is_a_generator(config: Make) -> None:
    class Endless:
        seedable, size = True, None

        def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
            yield from zip(draws.index.tolist(), images_of(draws.seeds), strict=True)

    request = open_request(config(reference="demo"), source=Endless(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="--reference demo is a generator"):
        Reference(request)


class Collection:
    """Toy images of numbered seeds: a finite collection that nobody can open by a name."""

    seedable = True

    def __init__(self, count: int) -> None:
        self.size: int | None = count
        self.identity = {"count": count}
        self.asked = 0

    def stream(self, draws: Draws) -> Iterator[tuple[int, Tensor | Failure]]:
        self.asked += len(draws.index)
        yield from zip(draws.index.tolist(), images_of(10_000 + draws.index), strict=True)


def test_a_collection_object_stands_for_a_reference(config: Make) -> None:
    request = config(reference="what I have", **SCALE)
    found = diagnose(request, source=Toy(), descriptor=Pixels(), reference=Collection(400)).report
    section = found["reference"]
    assert section["folder"] == "what I have" and section["images"] == 400
    again = config(reference="what I have", resume=True, **SCALE)
    with pytest.raises(ConfigError, match="--reference"):
        diagnose(again, source=Toy(), descriptor=Pixels(), reference=Collection(401))


def test_an_object_without_an_end_is_no_reference(config: Make) -> None:
    endless = Collection(400)
    endless.size = None
    request = config(reference="endless", **SCALE)
    with pytest.raises(ConfigError, match="--reference endless is a generator"):
        diagnose(request, source=Toy(), descriptor=Pixels(), reference=endless)


def test_rows_of_an_earlier_reference_are_taken_over(config: Make) -> None:
    def audit(out: str, real: Collection, **given: Any) -> tuple[Any, int]:
        request = config(reference="what I have", out=Path(out), **SCALE)
        made = diagnose(request, source=Toy(), descriptor=Pixels(), reference=real, **given)
        return read_report(made.folder), real.asked

    first, asked = audit("first", Collection(400))
    again, fewer = audit("again", Collection(400), reference_rows=Path("first/reference"))
    assert again == first and asked - fewer == 64 + 256
    shards = [sorted(Path(run, "reference/samples").iterdir()) for run in ("first", "again")]
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]


@pytest.mark.parametrize(
    "what", ["another", "absent", "no manifest", "other versions", "damaged", "misnamed"]
)
def test_rows_that_others_made_are_not_taken_over(what: str, config: Make) -> None:
    def audit(out: str, real: Collection, **given: Any) -> tuple[Any, int]:
        request = config(reference="what I have", out=Path(out), **SCALE)
        made = diagnose(request, source=Toy(), descriptor=Pixels(), reference=real, **given)
        return read_report(made.folder), real.asked

    first, asked = audit("first", Collection(400))
    audit("another", Collection(401))
    earlier = Path("another" if what == "another" else "first") / "reference"
    if what == "absent":
        earlier = Path("nowhere")
    if what == "no manifest":
        (earlier / "manifest.json").write_text("[1")
    for shard in (earlier / "samples").glob("*"):
        data = shard.read_bytes()
        if what == "misnamed":  # it holds other slots than it says
            shard.rename(shard.with_name("0000000000-0000000310.safetensors"))
            continue
        if what == "damaged":
            shard.write_bytes(data[:-9])
        if what == "other versions":
            shard.write_bytes(data.replace(b'"device":"cpu"', b'"device":"gpu"'))
    again, all_of_them = audit("again", Collection(400), reference_rows=earlier)
    assert again == first and all_of_them == asked
