import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import literal
import numpy as np
import pytest
import torch
from conftest import Blind, Pixels, Spoilt, Toy, fork_server, read_report, without_timings
from torch import Tensor

from ganaudit.config import DiagnoseConfig
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.generators import Failure
from ganaudit.pipeline import Audit, diagnose
from ganaudit.planning import plan
from ganaudit.report import canonical
from ganaudit.slots import Draws, Stream, draw
from ganaudit.starting import own_folder
from ganaudit.store import Store

Make = Callable[..., DiagnoseConfig]

pytestmark = pytest.mark.usefixtures("undrawn")


def audit(config: DiagnoseConfig, source: object = None, descriptor: object = None) -> Audit:
    return diagnose(config, source=source or Toy(), descriptor=descriptor or Pixels())


def stored(folder: Path, stream: Stream, stop: int) -> np.ndarray:
    return np.concatenate([piece.rows.copy() for piece in Store(folder).read(stream, stop)])


# -- what is measured -------------------------------------------------------------------------


def test_figures_are_those_of_the_literal_formulas(config: Make) -> None:
    asked = config(anchors=12, samples=90, theta=0.45, radius=0.35)
    found = audit(asked).report["figures"]
    anchors, samples = (
        stored(asked.out, s, stop) for s, stop in zip(Stream, (12, 90), strict=True)
    )
    sums = literal.tally(anchors, samples, theta=0.45, radius=0.35)
    mean = sums["similarity"].sum(axis=1) / 90
    counts = sums["within"].sum(axis=1)
    scores = [literal.mccs(x) for x in mean]
    assert found["mean_similarity"]["estimate"] == pytest.approx(mean.mean(), rel=1e-5)
    assert found["mccs"]["mu"]["estimate"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert found["mccs"]["sigma"]["estimate"] == pytest.approx(np.std(scores, ddof=1), rel=1e-5)
    assert found["mccs"]["largest"] == pytest.approx(max(scores), rel=1e-5)
    assert found["worst_mode"]["count"] == counts.max() > 0
    assert found["worst_mode"]["rate"]["estimate"] == counts.max() / 90
    assert counts[found["worst_mode"]["anchor"]] == counts.max()
    assert found["median_rate"] == np.median(counts) / 90
    assert found["effective_modes"]["estimate"] == pytest.approx(1 / (counts.mean() / 90))
    copies = 1 / (sums["within_half"].mean() / 90) if sums["within_half"].any() else None
    assert found["birthday_support"]["estimate"] == (copies and pytest.approx(copies))
    kernel = literal.log_vendi(samples)
    vendi = [found["vendi"][f"order_{order}"]["estimate"] for order in (1, 2, "inf")]
    assert vendi == pytest.approx(np.exp(kernel), rel=1e-5)
    assert found["effective_modes"]["radius"] == found["near_copies"]["radius"] == 0.35
    assert found["birthday_support"]["radius"] == 0.175


def test_identical_images_with_content_are_scored_and_warned_about(config: Make) -> None:
    class Stuck(Toy):
        def render(self, draws: Draws) -> Tensor:
            image = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)
            return image.repeat(len(draws), 1, 1, 1)

    report = audit(config(), Stuck()).report
    figures = report["figures"]
    # The tally's tolerance.
    assert figures["mean_similarity"]["estimate"] == pytest.approx(1, abs=1e-5)
    assert figures["mccs"]["mu"]["estimate"] == pytest.approx(1, abs=1e-5)
    assert figures["worst_mode"]["rate"]["estimate"] == figures["median_rate"] == 1
    assert report["counts"]["samples"] == {"ok": 256, "no_face": 0, "failed": 0, "refused": 0}
    seen = report["screen"]
    assert (seen["images"], seen["distinct"], seen["repeated"]) == (320, 1, 319)
    (finding,) = seen["findings"]
    assert finding.startswith("every image is the same to the last byte")
    assert report["warnings"] == []


def test_slots_without_an_image_are_counted_named_and_not_scored(config: Make) -> None:
    spoilt = Spoilt({70, 71, 200}, lambda images, bad: [][0])  # anchors are 0 .. 63
    said: list[str] = []
    report = diagnose(config(), source=spoilt, descriptor=Pixels(), notice=said.append).report
    assert report["counts"]["anchors"]["ok"] == 64
    assert report["counts"]["samples"] == {"ok": 253, "no_face": 0, "failed": 3, "refused": 0}
    assert report["figures"]["samples"] == 253
    assert said == ["3 of the samples have no image: IndexError: list index out of range"]
    (failure,) = report["screen"]["failures"]
    assert failure == {"reason": "IndexError: list index out of range", "slots": 3}
    assert report["screen"]["images"] == 317


def test_images_without_a_face_are_counted_and_not_scored(config: Make) -> None:
    class Choosy(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, _ = super().embed(images)
            return rows, rows[:, 0] > 0

    report = audit(config(max_faceless=0.75), descriptor=Choosy()).report
    plain = audit(config(out=Path("plain")))
    faces = [
        (stored(plain.folder, s, n)[:, 0] > 0).sum() for s, n in zip(Stream, (64, 256), strict=True)
    ]
    for name, count, total in zip(("anchors", "samples"), faces, (64, 256), strict=True):
        assert report["counts"][name]["ok"] == report["figures"][name] == count
        assert report["counts"][name]["no_face"] == total - count
    (failure,) = report["screen"]["failures"]
    assert failure["slots"] == 320 - sum(faces)


def test_zero_scored_samples_never_pass(config: Make) -> None:
    class Dying(Toy):
        alive = True

        def render(self, draws: Draws) -> Tensor:
            return super().render(draws) if self.alive else None

    source = Dying()

    def watch(what: str, done: int, total: int) -> None:
        source.alive = what == "anchors"

    with pytest.raises(SourceError, match="none of the 256 samples can be scored"):
        asked = config(max_failure_rate=1.0)
        diagnose(asked, source=source, descriptor=Pixels(), progress=watch)
    assert not (config().out / "report.json").exists()


def test_zero_anchors_never_pass(config: Make) -> None:
    class Blank(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, valid = super().embed(images)
            return rows, ~valid

    with pytest.raises(SourceError, match="no face in 64 of the first 64 images .* --max-faceless"):
        audit(config(), descriptor=Blank())
    with pytest.raises(SourceError, match="none of the 64 anchors can be scored"):
        audit(config(max_faceless=1.0), descriptor=Blank())
    assert not (config().out / "report.json").exists()


def test_a_bad_generator_leaves_no_folder_behind(config: Make) -> None:
    with pytest.raises(SourceError, match="none of the first 8 images"):
        audit(config(), Spoilt(set(range(999)), lambda images, bad: images * 0))
    assert not config().out.exists()


def test_a_conditional_generator_is_audited_over_all_its_labels(config: Make) -> None:
    class OneAPicture(Toy):
        """Label 0: one image; the others: as always."""

        num_labels = 4

        seen: set[int] = set()

        def render(self, draws: Draws) -> Tensor:
            self.seen |= set(draws.labels.tolist())
            images = super().render(draws)
            images[draws.labels == 0] = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
            return images

    source = OneAPicture()
    report = audit(config(), source).report
    repeated = sum(
        int((draw(np.arange(count), seed=0, stream=stream, labels=np.arange(4)).labels == 0).sum())
        for stream, count in zip(Stream, (64, 256), strict=True)
    )
    # 320 labels of 4: within five standard deviations, sqrt(320 * 3) / 4 = 7.7, of 80.
    assert abs(repeated - 80) < 39
    assert report["screen"]["most_copies"] == report["screen"]["repeated"] + 1 == repeated
    assert report["figures"]["worst_mode"]["count"] > repeated / 2
    assert source.seen == {0, 1, 2, 3}


# -- the document -----------------------------------------------------------------------------


def test_the_report_is_strict_json_and_what_the_call_returns(config: Make) -> None:
    done = audit(config())
    assert read_report(done.folder) == without_timings(done.report)
    assert set(done.report) == {
        "schema_version",
        "kind",
        "request",
        "generator",
        "descriptor",
        "scale",
        "counts",
        "screen",
        "figures",
        "comparable",
        "labels",
        "reference",
        "gallery",
        "warnings",
        "assumptions",
        "environment",
        "timings",
    }
    assert done.report["schema_version"] == 3
    assert done.report["request"] == {
        "generator": "toy",
        "descriptor": None,
        "anchors": 64,
        "samples": 256,
        "labels": None,
        "seed": 0,
        "set": [],
        "reference": None,
    }
    assert done.report["reference"] is None
    assert done.report["scale"] == {
        "theta": 0.4,
        "radius": 0.3,
        "theta_origin": "by decree",
        "radius_origin": "by decree",
    }
    assert {"torch", "numpy", "device", "batch", "backend"} <= set(done.report["environment"])


def test_a_report_without_neighbours_is_strict_json_too(config: Make) -> None:
    class Corners(Pixels):
        """Every image its own axis: no two samples are nearer than pi / 2."""

        seen = 0

        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows = torch.eye(1000)[self.seen : self.seen + len(images)]
            self.seen += len(images)
            return rows, torch.ones(len(images), dtype=torch.bool)

    done = audit(config(anchors=1, samples=20, batch=4), descriptor=Corners())
    figures = read_report(done.folder)["figures"]
    assert figures["mean_similarity"]["estimate"] == figures["mccs"]["mu"]["estimate"] == 0
    assert figures["mccs"]["sigma"] is None  # of one anchor
    assert figures["effective_modes"]["estimate"] is None
    assert figures["worst_mode"]["times_median_rate"] is None


# -- what must not matter ---------------------------------------------------------------------


def test_batch_size_does_not_matter_within_rounding(config: Make) -> None:
    reports = [
        diagnose(config(generator="demo", batch=batch, out=Path(f"run-{batch}"))).report
        for batch in (1, 7, 64)
    ]
    for report in reports[1:]:
        assert (
            report["figures"]["worst_mode"]["count"]
            == (reports[0]["figures"]["worst_mode"]["count"])
        )
        one, other = report["figures"], reports[0]["figures"]
        # One grey level more or less in a pixel turns a row by 1e-3 at most.
        assert one["mean_similarity"] == pytest.approx(other["mean_similarity"], rel=1e-3)
        assert one["median_rate"] == pytest.approx(other["median_rate"], rel=1e-3)


def test_two_processes_give_the_report_of_one(config: Make) -> None:
    asked = config(generator="demo", samples=1100)
    one = diagnose(asked).report
    two = diagnose(replace(asked, workers=2, out=Path("two"))).report
    assert without_timings(one) == without_timings(two)
    files = {sample["file"] for sample in one["gallery"]["worst"]["neighbors"]}
    assert len(files) == 80
    for name in files:
        pictures = [(folder / "gallery" / name).read_bytes() for folder in (asked.out, Path("two"))]
        assert pictures[0] == pictures[1]


def test_workers_that_die_end_the_run(config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fork_server()  # spawn is another test's
    monkeypatch.setattr("multiprocessing.get_context", lambda method: quick)
    Path("dying.py").write_text(
        "import multiprocessing, os, torch\n"
        "def make():\n"
        "    if multiprocessing.parent_process() is not None:\n"
        "        os._exit(9)\n"
        "    def render(latents):\n"
        "        return (128 + 40 * latents).clamp(0, 255).to(torch.uint8)\n"
        "    render.latent_shape, render.prior = (3, 16, 16), 'normal'\n"
        "    return render\n"
    )
    asked = config(generator="python:dying.py:make", descriptor="digits", samples=1100, workers=2)
    with pytest.raises(GanauditError, match=r"ended early, with codes \[9, 9\]"):
        diagnose(asked)
    assert Store(asked.out).missing(Stream.ANCHORS, 64) == []  # one shard: made here


def test_a_run_that_grows_is_the_run_that_was_long_from_the_start(config: Make) -> None:
    asked = config(generator="demo")
    for samples in (100, 700):
        diagnose(replace(asked, samples=samples, resume=samples > 100))
    grown = diagnose(replace(asked, samples=1300, anchors=90, resume=True)).report
    fresh = diagnose(replace(asked, samples=1300, anchors=90, out=Path("fresh"))).report
    assert without_timings(grown) == without_timings(fresh)
    shorter = diagnose(replace(asked, samples=300, resume=True)).report
    fresh = diagnose(replace(asked, samples=300, out=Path("short"))).report
    assert without_timings(shorter) == without_timings(fresh)


def test_a_run_is_scored_again_without_making_it_again(config: Make) -> None:
    drawn: list[int] = []

    class Watched(Toy):
        def render(self, draws: Draws) -> Tensor:
            drawn.extend(draws.index.tolist())
            return super().render(draws)

    before = audit(config(), Watched()).report
    pictures = {path.name for path in (config().out / "gallery").iterdir()}
    drawn.clear()
    same = audit(config(resume=True), Watched()).report
    assert set(drawn) == set(range(8))  # the look at the first images, nothing else
    assert without_timings(same) == without_timings(before)
    drawn.clear()
    again = audit(config(theta=0.2, radius=0.5, resume=True), Watched()).report
    # And pictures that were not shown before.
    more = {path.name for path in (config().out / "gallery").iterdir()} - pictures
    assert set(drawn) == set(range(8)) | {int(name[8:18]) for name in more}
    fresh = audit(config(theta=0.2, radius=0.5, out=Path("fresh")), Watched()).report
    assert without_timings(again) == without_timings(fresh)


def test_backends_agree(config: Make) -> None:
    pytest.importorskip("faiss")
    reports = [audit(config(backend=b, out=Path(b))).report["figures"] for b in ("torch", "faiss")]
    assert reports[0]["worst_mode"]["count"] == reports[1]["worst_mode"]["count"]
    assert reports[0]["median_rate"] == reports[1]["median_rate"]
    one, other = (found["mean_similarity"] for found in reports)
    assert one == pytest.approx(other, rel=1e-5)
    assert reports[0]["near_copies"] == reports[1]["near_copies"]


# -- whose run it is --------------------------------------------------------------------------


def test_another_run_is_not_continued_and_the_difference_is_named(config: Make) -> None:
    audit(config())
    other_toy = Toy()
    other_toy.identity = {"psi": 0.5}
    other_pixels = Pixels()
    other_pixels.card = replace(Pixels.card, weights_sha256="1" * 64)
    for asked, source, descriptor, field in (
        (config(seed=1, resume=True), None, None, "seed is 0 there and 1 in this request"),
        (config(resume=True), other_toy, None, "generator.psi is null there and 0.5 in"),
        (config(resume=True), None, other_pixels, "descriptor.sha256 is"),
    ):
        with pytest.raises(ConfigError, match="holds another run: " + field):
            audit(asked, source, descriptor)
    assert read_report(config().out)["request"]["seed"] == 0


def test_a_run_is_not_overwritten(config: Make) -> None:
    audit(config())
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        audit(config())


def test_a_folder_of_other_things_is_left_alone(config: Make) -> None:
    config().out.mkdir()
    (config().out / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="is not empty and holds no run"):
            audit(config(resume=resume))
    assert [path.name for path in config().out.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("stream", ["anchors", "samples"])
def test_a_damaged_shard_is_made_again(config: Make, stream: str) -> None:
    before = audit(config()).report
    (shard,) = (config().out / stream).iterdir()
    shard.write_bytes(shard.read_bytes()[:100])
    said: list[str] = []
    after = diagnose(
        config(resume=True), source=Toy(), descriptor=Pixels(), notice=said.append
    ).report
    assert said == [f"{shard.name} was damaged and is made again"]
    assert without_timings(after) == without_timings(before)


def test_a_hole_in_the_middle_is_filled(config: Make) -> None:
    """As a worker leaves it that was killed before the others."""
    before = audit(config(samples=1500)).report
    shards = sorted((config().out / "samples").iterdir())
    assert len(shards) == 3
    shards[1].unlink()
    after = audit(config(samples=1500, resume=True)).report
    assert without_timings(after) == without_timings(before)
    assert sorted((config().out / "samples").iterdir()) == shards


def test_rows_of_another_release_are_warned_about(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit(config())
    versions = canonical.versions()
    monkeypatch.setattr(canonical, "versions", lambda: versions | {"torch": "99"})
    (warning,) = audit(config(resume=True)).report["warnings"]
    assert f"torch {versions['torch']} -> 99" in warning
    assert "numpy" not in warning


def test_a_resumed_run_keeps_its_batch_unless_told_otherwise(config: Make) -> None:
    audit(config(batch=24))
    kept = audit(config(samples=300, resume=True)).report
    assert kept["environment"]["batch"] == "24"
    assert kept["warnings"] == []
    (warning,) = audit(config(samples=400, resume=True, batch=32)).report["warnings"]
    assert "batch 24 -> 32" in warning


def test_runs_without_a_folder_name_get_one_each(config: Make) -> None:
    assert own_folder(resume=False) == Path("audit")
    assert audit(config(out=None)).folder == Path("audit")
    assert audit(config(out=None)).folder == Path("audit-2")
    assert audit(config(out=None, resume=True)).folder == Path("audit")


# -- finite sources ---------------------------------------------------------------------------


def in_order(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
    yield from zip(draws.index.tolist(), images, strict=True)


def test_every_item_of_a_finite_source_is_an_anchor_or_a_sample(config: Make) -> None:
    def numbered(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        for i in draws.index.tolist():
            image = torch.zeros(3, 4, 4, dtype=torch.uint8)
            image[0, 0, :3] = torch.tensor([i // 256, i % 256, 7])
            yield i, image

    class Reading(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            number = images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1]
            return torch.eye(320)[number], torch.ones(len(images), dtype=torch.bool)

    source = Blind(numbered)
    source.size = 320
    audit(config(), source, Reading())
    anchors, samples = (
        stored(config().out, s, stop).argmax(axis=1)
        for s, stop in zip(Stream, (64, 256), strict=True)
    )
    assert sorted([*anchors, *samples]) == list(range(320))


def test_every_row_of_a_file_is_an_anchor_or_a_sample(config: Make) -> None:
    np.save("rows.npy", np.eye(320, dtype=np.float32))
    asked = config(generator="embeddings:rows.npy", theta=0.3, radius=0.2)
    report = diagnose(asked).report
    anchors, samples = (
        stored(asked.out, s, stop).argmax(axis=1) for s, stop in zip(Stream, (64, 256), strict=True)
    )
    assert sorted([*anchors, *samples]) == list(range(320))
    assert report["figures"]["mean_similarity"]["estimate"] == 0
    assert report["descriptor"] is None
    assert report["gallery"] is None
    assert report["screen"]["images"] == report["screen"]["distinct"] == 320
    assert len(report["assumptions"]) == 1


def test_a_file_of_embeddings_grows_and_shrinks_with_its_run(config: Make) -> None:
    rng = np.random.default_rng(3)
    np.save("rows.npy", rng.normal(size=(900, 3)))
    asked = config(generator="embeddings:rows.npy", theta=0.3, radius=0.2)
    diagnose(asked)
    grown = diagnose(replace(asked, samples=800, resume=True)).report
    fresh = diagnose(replace(asked, samples=800, out=Path("fresh"))).report
    assert without_timings(grown) == without_timings(fresh)
    with pytest.raises(ConfigError, match="anchors is 64 there and 65 in this request"):
        diagnose(replace(asked, anchors=65, resume=True))


def test_the_order_of_a_services_answers_does_not_matter(config: Make) -> None:
    def backwards(draws: Draws, images: Tensor) -> Iterator[tuple[int, Tensor | Failure]]:
        yield from reversed(list(in_order(draws, images)))

    one, other = (
        audit(config(out=Path(name)), Blind(answer)).report
        for name, answer in (("one", in_order), ("other", backwards))
    )
    assert without_timings(one) == without_timings(other)


# -- plans ------------------------------------------------------------------------------------


def test_a_plan_estimates_and_writes_nothing(config: Make, tmp_path: Path) -> None:
    outlook = plan(config(generator="demo", batch=16))
    assert list(tmp_path.iterdir()) == []
    json.dumps(outlook, allow_nan=False)
    estimate = outlook["estimate"]
    assert estimate["images"] == 320
    assert estimate["pairs"] == 64 * 256
    assert tuple(estimate["image_size"]) == (16, 16)
    assert (estimate["batch"], estimate["embedding_columns"]) == (16, 64)

    done = diagnose(config(generator="demo", batch=16))
    shards = [path for s in ("anchors", "samples") for path in (done.folder / s).iterdir()]
    # A row costs 4 bytes a column, a status and a hash; a shard's header less than 1,000 bytes.
    assert 0 <= sum(p.stat().st_size for p in shards) - estimate["disk_bytes"] < 2000
