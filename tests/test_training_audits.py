"""Audits of a model as it learns: they are those of `diagnose`, and they change no training."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_report_training import complaints

from ganaudit import fidelity, networks
from ganaudit.checkpoints.native import save_native
from ganaudit.config import TrainConfig
from ganaudit.errors import ConfigError, GanauditError, SourceError
from ganaudit.labels import law_of
from ganaudit.scoring import valid_rows
from ganaudit.store import Store
from ganaudit.training import audits, scribe
from ganaudit.training.audits import Found, audit, check, figures_of, toy_figures
from ganaudit.training.data import TrainingData, read_training_data
from ganaudit.training.journal import read_log
from ganaudit.training.recipe import Recipe
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.runs import train
from ganaudit.training.scribe import Scribe
from ganaudit.training.states import State, last_state, make_state
from ganaudit.training.toys import ring

CPU = torch.device("cpu")
NETWORKS = ("generator.width=4", "discriminator.width=4")
SIZE = {"width": 4, "latent_size": 3, "channels": 1, "size": 8}

pytestmark = pytest.mark.usefixtures("undrawn")


@cache
def generator() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return networks.build("dcgan", SIZE).eval()


def images(count: int, seed: int = 5) -> TrainingData:
    """Images of the same kind as the generator's, by other latents."""
    with torch.no_grad():
        latents = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        made = generator()(latents) * 127.5 + 127.5
    return TrainingData(
        images=made.round().to(torch.uint8),
        identity={"name": "x", "count": count, "sha256": f"{seed:064x}"},
    )


def request(**said: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "data": "given", "descriptor": "digits", "audit_anchors": 64, "audit_samples": 160,
        "set": NETWORKS, "latent_size": 3, "batch": 8, "device": "cpu",
    }  # fmt: skip
    return TrainConfig(**(usual | said))


def saved(path: Path) -> Path:
    facts = {"prior": "normal", "range": [-1, 1], "latent_shape": [3]}
    save_native(path, generator(), network="dcgan", arguments=SIZE, facts=facts)
    return path


def audited(out: str, real: TrainingData, *, config: TrainConfig | None = None) -> Found:
    return audit(
        config or request(),
        saved(Path("generator.safetensors")),
        real.source(),
        Path("audits", out),
        device="cpu",
        progress=lambda what, done, total: None,
        notice=lambda text: None,
    )


def report_of(out: str) -> Any:
    return json.loads(Path("audits", out, "report.json").read_text("utf-8"))


# -- figures -------------------------------------------------------------------------------------

WITH_INTERVALS = ("frechet_distance", "density", "coverage")


@pytest.mark.parametrize("count", [400, 150])
def test_an_audit_has_the_figures_of_its_own_report(count: int) -> None:
    """Some of these images cannot be scored; of 150, both sides are compared at fewer rows."""
    found, report = audited("a", images(count)), report_of("a")
    section = report["reference"]
    assert report["counts"]["samples"]["ok"] < 160 and section["images"] == count
    taken = {n: v for n, v in found.figures.items() if n not in WITH_INTERVALS}
    whole = figures_of(report)
    assert taken == {name: whole[name] for name in taken}
    for name in WITH_INTERVALS:
        one = found.figures[name]
        assert one["estimate"] == section["fidelity"][name] == whole[name]
        assert one["low"] <= one["estimate"] <= one["high"] and one["low"] < one["high"]
    assert found.figures["rows"] == section["fidelity"]["rows"]
    assert found.under == {
        "descriptor": "digits",
        "theta": report["scale"]["theta"],
        "radius": report["scale"]["radius"],
        "anchors": 64,
        "samples": report["counts"]["samples"]["ok"],
    }
    assert section["folder"] == "training data"
    json.dumps(found.figures, allow_nan=False)


def test_intervals_are_of_the_first_rows_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audits, "_MOST_ROWS", 120)
    found = audited("a", images(400)).figures
    ours = valid_rows(Store(Path("audits/a")), first=0, stop=160, most=120)
    theirs = valid_rows(Store(Path("audits/a/reference")), first=64, stop=224, most=120)
    wanted = fidelity.jackknifed(theirs, ours)
    assert {name: found[name] for name in WITH_INTERVALS} == {
        name: one.figures() for name, one in wanted.items()
    }
    assert found["rows"] == 120


def test_few_rows_have_no_intervals() -> None:
    found = audited("a", images(90), config=request(audit_samples=96)).figures
    assert found["rows"] < 100
    assert all(isinstance(found[name], float) for name in WITH_INTERVALS)


def test_without_a_reference_or_moments_figures_are_unknown() -> None:
    audited("a", images(400))
    report = report_of("a")
    report["reference"] = report["figures"]["vendi"] = None
    found = figures_of(report)
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {*WITH_INTERVALS, "kernel_distance", "rows", "vendi"} | {
        "worst_ratio",
        "similarity_ratio",
    }


def test_figures_of_a_toy_are_counts() -> None:
    toy = ring()
    assert toy_figures("toy:ring", toy.points[:4000]) == {
        "modes": 8,
        "modes_of": 8,
        "good": pytest.approx(0.99, abs=0.01),
        "largest_mode": pytest.approx(1 / 8, abs=0.03),
        "n": 4000,
    }
    assert toy_figures("toy:ring", np.full((50, 2), 9.0, np.float32))["modes"] == 0
    assert toy_figures("points.npz", toy.points) == toy_figures("toy:other", toy.points) == {}


# -- again and again -----------------------------------------------------------------------------


def test_the_training_images_are_embedded_once() -> None:
    class Watched:
        seedable = True

        def __init__(self, data: TrainingData) -> None:
            self._whole = data.source()
            self.size, self.identity, self.asked = len(data), self._whole.identity, 0

        def stream(self, draws: Any) -> Any:
            self.asked += len(draws.index)
            return self._whole.stream(draws)

    class Given:
        def __init__(self, data: TrainingData) -> None:
            self.real = Watched(data)

        def source(self) -> Any:
            return self.real

    first, second = (Given(images(400)) for _ in range(2))
    one, other = audited("step-0", first), audited("step-5", second)  # type: ignore[arg-type]
    assert one == other and first.real.asked - second.real.asked == 64 + 160
    shards = [
        sorted(Path("audits", name, "reference/samples").iterdir()) for name in ("step-0", "step-5")
    ]
    assert [os.stat(path).st_ino for path in shards[0]] == [os.stat(p).st_ino for p in shards[1]]


def test_other_training_images_are_embedded_anew() -> None:
    found = audited("step-0", images(400))
    other = audited("step-5", images(400, seed=6))
    assert found.figures["frechet_distance"] != other.figures["frechet_distance"]
    assert found.figures["worst_rate"] == other.figures["worst_rate"]


def test_an_audit_takes_the_place_of_one_that_was_interrupted() -> None:
    whole = audited("a", images(400))
    Path("audits/a/report.json").unlink()
    Path("audits/a/of another").touch()
    assert audited("a", images(400)) == whole
    assert not Path("audits/a/of another").exists()


@pytest.mark.parametrize("what", ["a link", "a file"])
def test_what_cannot_be_replaced_is_one_sentence(what: str) -> None:
    Path("audits").mkdir()
    Path("elsewhere").mkdir()
    Path("elsewhere/mine").touch()
    if what == "a link":
        Path("audits/a").symlink_to(Path("elsewhere").absolute())
    else:
        Path("audits/a").touch()
    with pytest.raises(GanauditError, match="audits/a cannot be replaced: "):
        audited("a", images(64))
    assert os.listdir("elsewhere") == ["mine"]


@pytest.mark.parametrize(
    ("count", "changes", "said"),
    [
        (63, {}, "the audits cannot be made: --reference training data holds 63 images"),
        (64, {"descriptor": "digit"}, "digit"),
        (64, {"set": (*NETWORKS, "descriptor.depth=3")}, "depth"),
        (64, {"audit_samples": 5}, "needs more than 5 --samples, got 5"),
    ],
)
def test_audits_that_cannot_be_are_refused_before_a_training(
    count: int, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check(request(**changes), images(count).source())
    assert said in str(caught.value)


def test_audits_that_can_be_are_not_refused() -> None:
    check(request(), images(64).source())
    assert os.listdir() == []


# -- while it is trained -------------------------------------------------------------------------


class Told:
    """A scribe of a small training, and what it said."""

    def __init__(self, out: Path, config: TrainConfig, data: TrainingData, *, start: int = 0):
        self.said: list[str] = []
        out.mkdir(exist_ok=True)
        shape = {"image_shape": data.image_shape, "num_labels": 0}
        self.recipe: Recipe = resolve_recipe(config, **shape)  # type: ignore[arg-type]
        self.state: State = make_state(self.recipe)
        self.scribe = Scribe(
            out, config, self.recipe, data, self.state, device=CPU, start=start,
            progress=lambda what, done, total: None, notice=self.said.append,
        )  # fmt: skip


def logged(out: Path) -> list[dict[str, Any]]:
    """The log but for what every checkpoint is found to be like."""
    return [line for line in read_log(out) if "lipschitz_real" not in line]


def kinds(out: Path) -> list[tuple[str, int]]:
    return [(line["kind"], line["step"]) for line in logged(out)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Audits that find nothing, at once: the generator's file of each."""
    asked: list[Path] = []

    def find(config: TrainConfig, file: Path, *given: Any, **more: Any) -> Found:
        asked.append(file)
        return Found({"worst_rate": 0.5}, {"descriptor": "digits"})

    monkeypatch.setattr(scribe, "audit", find)
    return asked


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, [0, 20]),
        ({"audit_every": 8}, [0, 8, 16, 20]),
        ({"audit_every": 0}, []),
        ({"descriptor": None}, []),
    ],
)
def test_audits_are_due_at_both_ends_and_in_between(
    tmp_path: Path, changes: dict[str, Any], due: list[int]
) -> None:
    made = Told(tmp_path, request(steps=20, **changes), images(64)).scribe
    assert [step for step in range(21) if made.audit_is_due(step)] == due


def test_an_audit_in_the_log_is_not_made_again(tmp_path: Path, counted: list[Path]) -> None:
    config, data = request(steps=20, audit_every=5), images(64)
    with Told(tmp_path, config, data).scribe as first:
        for step in (0, 5, 7):
            first.snapshot(step)
    assert counted == [tmp_path / "generator.safetensors"] * 2
    with Told(tmp_path, config, data, start=5).scribe as again:
        again.snapshot(5)
        assert len(counted) == 2
    with Told(tmp_path, config, data, start=0).scribe as anew:
        anew.snapshot(5)
    assert len(counted) == 3 and kinds(tmp_path) == [("audit", 0), ("audit", 5)]


def test_an_audit_that_an_interruption_prevented_is_made_up_for(
    tmp_path: Path, counted: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data = request(steps=20), images(64)

    def break_off(*given: Any, **more: Any) -> Found:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Told(tmp_path, config, data).scribe as first:
        patch.setattr(scribe, "audit", break_off)
        with pytest.raises(KeyboardInterrupt):
            first.snapshot(20)
    assert (last_state(tmp_path) or ({},))[0]["step"] == 20  # nothing of the training is lost
    with Told(tmp_path, config, data, start=20).scribe as again:
        again.snapshot(20)
    assert len(counted) == 1 and kinds(tmp_path) == [("audit", 20)]


@pytest.mark.parametrize("kind", [SourceError, ConfigError])
def test_a_generator_that_cannot_be_audited_yet_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[GanauditError]
) -> None:
    """A face descriptor finds no face in what an untrained generator shows, or too few."""

    def refuse(*given: Any, **more: Any) -> Found:
        raise kind("4 of 4 images\nhave no face")

    monkeypatch.setattr(scribe, "audit", refuse)
    made = Told(tmp_path, request(steps=20), images(64))
    with made.scribe as writer:
        writer.snapshot(0)
    (line,) = logged(tmp_path)
    assert (line["kind"], line["message"]) == ("no audit", "4 of 4 images have no face")
    assert made.said[-1] == "step 0 was not audited: 4 of 4 images have no face"


def test_a_full_disk_in_an_audit_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **more: Any) -> Found:
        raise GanauditError("x cannot be written: the disk is full")

    monkeypatch.setattr(scribe, "audit", refuse)
    made = Told(tmp_path, request(steps=20), images(64)).scribe
    with made, pytest.raises(GanauditError, match="the disk is full"):
        made.snapshot(0)


def test_a_checkpoint_leaves_no_step_out_of_the_log(tmp_path: Path) -> None:
    """At 410 steps there is a line for every second one, and a checkpoint after the fifth."""
    config, data = request(steps=410, audit_every=0), images(64)

    def told(out: Path, first: int, last: int) -> None:
        with Told(out, config, data, start=first).scribe as made:
            for step in range(first + 1, last + 1):
                made.after_step(step, {"loss": torch.tensor(float(step))})
                if step == 5:
                    made.snapshot(step)

    for name, parts in {"whole": [(0, 8)], "resumed": [(0, 7), (5, 8)]}.items():
        for first, last in parts:
            told(tmp_path / name, first, last)
    logs = [
        [(line["step"], line["kimg"], line["loss"]) for line in logged(tmp_path / name)]
        for name in ("whole", "resumed")
    ]
    assert logs[0] == logs[1] == [
        (2, 0.016, 1.5), (4, 0.032, 3.5), (5, 0.04, 5.0), (6, 0.048, 6.0), (8, 0.064, 7.5)
    ]  # fmt: skip


def test_audits_change_nothing_of_a_training(tmp_path: Path) -> None:
    made = {}
    for name, changes in {"plain": {"descriptor": None}, "audited": {"audit_every": 1}}.items():
        config = request(steps=2, out=tmp_path / name, snapshot_every=1, **changes)
        made[name] = train(replace(config, data="x"), data=images(64))
    plain, audited = (one.document for one in made.values())
    assert complaints(plain) == complaints(audited) == []
    assert [one["step"] for one in audited["audits"]] == [0, 1, 2] and plain["audits"] == []
    assert audited["files"] == plain["files"] and audited["curves"] == plain["curves"]
    tensors = [(last_state(one.folder) or ({}, {}))[1] for one in made.values()]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_audits_of_a_toy_are_counted_without_a_descriptor(tmp_path: Path) -> None:
    config = TrainConfig(data="toy:ring", arch="mlp", steps=9)
    with Told(tmp_path, config, read_training_data("toy:ring")).scribe as made:
        made.snapshot(0)
    (line,) = logged(tmp_path)
    assert line["under"] == {"samples": 10_000} and line["figures"]["modes_of"] == 8
    assert not (tmp_path / "audits").exists()


def test_a_conditional_audit_draws_classes_as_often_as_the_data_have_them() -> None:
    count, classes = 240, torch.tensor([0] * 9 + [2])
    data = replace(images(count), labels=classes.repeat(count // 10), num_labels=3)
    config = request(arch="cdcgan", steps=1, audit_every=1, out=Path("a"))
    train(config, data=data)
    drawn = law_of("a/labels.txt", 3)
    assert drawn is not None and drawn.choices.tolist() == data.labels.tolist()
    report = json.loads(Path("a/audits/step-00000001/report.json").read_text("utf-8"))
    assert report["request"]["labels"] == "a/labels.txt"
