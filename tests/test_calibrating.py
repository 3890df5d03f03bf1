"""`ganaudit calibrate`: from a run to a proof, and the calibrator in front of other verbs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from conftest import Ended

from ganaudit.calibrating import AFTER, BEFORE, FIT, NAME, Taken, calibrate, expected_share
from ganaudit.calibration import Artefact, load
from ganaudit.calibration.filters import OutputFilter
from ganaudit.cli.request_options import resolve_calibrate
from ganaudit.config import CalibrateConfig, DiagnoseConfig, SampleConfig
from ganaudit.descriptors import DescriptorCard
from ganaudit.errors import ConfigError
from ganaudit.generators import Failure, Status
from ganaudit.maker import Maker
from ganaudit.opening import open_request, open_source
from ganaudit.pipeline import diagnose
from ganaudit.sampling import sample
from ganaudit.slots import Draws, Stream, draw
from ganaudit.store import Rows, Store

Run = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("undrawn")
SIZES = {"anchors": 128, "samples": 1024, "device": "cpu"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the demo with a collapse, to fit on."""
    folder = tmp_path_factory.mktemp("fitted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganaudit.report.outputs.write_own", lambda report, folder: None)
        diagnose(DiagnoseConfig(generator="demo:collapsed", out=folder, **SIZES))
    return folder


def request(out: Path | None = None, **changes: Any) -> DiagnoseConfig:
    return DiagnoseConfig(**{"generator": "demo:collapsed", "out": out, **SIZES, **changes})


@pytest.fixture(scope="module")
def rejected(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The densest mode thinned by rejection."""
    out = tmp_path_factory.mktemp("rejected") / "cal"
    said: list[str] = []
    config = CalibrateConfig(method="rejection", modes="1", run=fitted, target=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganaudit.report.outputs.write_own", lambda report, folder: None)
        found = calibrate(config, request(out), notice=said.append)
    return found, said


def test_the_chosen_mode_comes_down_to_the_target(rejected: Any) -> None:
    document, folder = rejected[0].document, rejected[0].folder
    assert (document["verdict"]["outcome"], rejected[0].exit_code) == ("thinned", 0)
    (mode,) = document["modes"]
    assert mode["before"]["low"] < 0.08 < mode["before"]["high"]  # as planted
    assert mode["after"]["low"] <= 0.01  # the target
    # One mode of rate q is kept with probability p, so the acceptance is 1 - q (1 - p).
    chosen = load(folder).calibrator
    acceptance = 1 - mode["before"]["estimate"] * (1 - chosen.keep[0])
    assert document["acceptance"]["estimate"] == pytest.approx(acceptance)
    assert document["images_per_image"]["estimate"] == pytest.approx(1 / acceptance)
    assert document["seeds"] == {"fit": 0, "fresh": 1}
    assert document["worst"]["ratio"]["high"] < 1
    assert json.loads((folder / NAME).read_text("utf-8")) == document


def test_what_is_expected_is_said_before_fresh_slots_are_made(rejected: Any) -> None:
    found, said = rejected
    assert (
        said[: len(found.document["announced"]["sentences"])]
        == (found.document["announced"]["sentences"])
    )
    forecast = found.document["announced"]["forecast"]
    assert forecast["acceptance"] == pytest.approx(
        found.document["acceptance"]["estimate"], abs=0.03
    )


def test_both_audits_are_runs_that_can_be_looked_at_again(rejected: Any, ganaudit: Run) -> None:
    folder = rejected[0].folder
    assert not (folder / FIT).exists()  # a run was named
    ended = ganaudit("diff", folder / BEFORE, folder / AFTER, "--format", "json", "--rarefy")
    assert ended.code == 0
    assert json.loads(ended.out)["figures"] == rejected[0].document["difference"]
    after = json.loads((folder / AFTER / "report.json").read_text("utf-8"))
    assert after["generator"]["calibrator"]["method"] == "rejection"
    assert any("behind a calibrator" in text for text in after["assumptions"])


def test_slots_that_were_taken_at_once_are_the_same_without_it(rejected: Any) -> None:
    from ganaudit.store import Store

    folder = rejected[0].folder
    before, after = (Store(folder / name) for name in (BEFORE, AFTER))
    one, other = (next(iter(s.read(Stream.SAMPLES, 512))).rows.copy() for s in (before, after))
    same = (one == other).all(axis=1).mean()
    share = rejected[0].document["acceptance"]["estimate"]
    assert abs(same - share) < 4 * (share * (1 - share) / 512) ** 0.5


def test_any_verb_takes_the_calibrator(rejected: Any, tmp_path: Path) -> None:
    file = rejected[0].folder / "calibrator.json"
    config = SampleConfig(
        generator="demo:collapsed", samples=40, device="cpu", calibrator=file, seed=1,
        out=tmp_path / "samples",
    )  # fmt: skip
    found = sample(config).document
    assert found["calibrator"]["slots"] == 40
    assert found["calibrator"]["proposals"] > found["calibrator"]["slots"]
    source, identity = open_source(config, "cpu")
    assert identity["calibrator"] == {"method": "rejection", "sha256": load(file).sha256}
    draws = draw(np.arange(9), seed=1, stream=Stream.SAMPLES, latent_shape=source.latent_shape)
    assert source.render(draws).shape == (9, 3, 16, 16)


def test_a_calibration_is_continued(rejected: Any, fitted: Path) -> None:
    folder = rejected[0].folder
    config = CalibrateConfig(method="rejection", modes="1", run=fitted, target=0.01)
    with pytest.raises(ConfigError, match="already holds a calibration; continue it with --resume"):
        calibrate(config, request(folder))
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*-*.safetensors")}
    again = calibrate(config, request(folder, resume=True))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # nothing made anew
    old = {k: v for k, v in rejected[0].document.items() if k != "environment"}
    assert {k: v for k, v in again.document.items() if k != "environment"} == old


def test_another_request_leaves_a_finished_calibration_alone(rejected: Any, fitted: Path) -> None:
    folder = rejected[0].folder
    before = {path: path.read_bytes() for path in folder.glob("cal*.*")}
    config = CalibrateConfig(method="rejection", modes="1", run=fitted, target=0.02)
    with pytest.raises(ConfigError, match="holds another calibration: rejection, with other opt"):
        calibrate(config, request(folder, resume=True))
    assert {path: path.read_bytes() for path in folder.glob("cal*.*")} == before


def test_a_linear_region_thins_what_lies_on_one_side(fitted: Path, tmp_path: Path) -> None:
    config = CalibrateConfig(method="importance", modes="1", run=fitted, target=0.01)
    found = calibrate(config, request(tmp_path / "cal")).document
    (mode,) = found["modes"]
    # The demo collapses half a space, which a linear score finds.
    assert mode["ratio"]["high"] < 0.5 and found["verdict"]["outcome"] == "thinned"
    assert found["acceptance"]["estimate"] >= 0.8
    latents = load(tmp_path / "cal").sample(5, seed=1)
    assert latents.shape == (5, *load(tmp_path / "cal").calibrator.space.shape)


def test_a_calibrator_that_does_nothing_says_so(fitted: Path, tmp_path: Path) -> None:
    config = CalibrateConfig(method="importance", region="hull", modes="1", run=fitted, target=0.01)
    found = calibrate(config, request(tmp_path / "cal", samples=512))
    assert (found.document["verdict"]["outcome"], found.exit_code) == ("nothing", 1)
    assert "linear" in found.document["verdict"]["next"]


def test_without_a_run_one_is_made_first(tmp_path: Path) -> None:
    config = CalibrateConfig(method="rejection", modes="1", target=0.02)
    found = calibrate(config, request(tmp_path / "cal", samples=512))
    assert (tmp_path / "cal" / FIT / "report.json").is_file()
    assert found.document["verdict"]["outcome"] == "thinned"


@pytest.mark.parametrize("attempts", [2, 4, 100])
def test_what_slots_take_is_known_by_class(attempts: int) -> None:
    share, n = np.array([0.2, 0.9, 1.0]), 60_000
    classes = np.arange(n) % 3 * 5
    found = Taken.of(share[classes // 5], classes, attempts=attempts)
    rng = np.random.default_rng(0)
    left, asked = np.arange(n), np.zeros(n)
    for _ in range(attempts):
        asked[left] += 1
        left = left[rng.random(len(left)) >= share[classes[left] // 5]]
    assert found.acceptance.estimate == pytest.approx(0.7)
    error = asked.std() / n**0.5
    assert found.proposals.estimate == pytest.approx(asked.mean(), abs=4 * error)
    assert found.unaccepted == pytest.approx(0.8**attempts / 3 + 0.1**attempts / 3)
    assert len(left) / n == pytest.approx(found.unaccepted, abs=4 * (found.unaccepted / n) ** 0.5)
    low, high = found.proposals.low, found.proposals.high
    assert low is not None and high is not None
    assert 1 <= low < found.proposals.estimate < high <= attempts
    assert found.figures(by_image=False)["images_per_image"]["high"] == 1.0


def test_of_one_class_the_ends_are_those_of_the_acceptance() -> None:
    share = np.random.default_rng(0).random(400)
    found = Taken.of(share, np.zeros(400, dtype=np.int64), attempts=3)
    a = found.acceptance
    for end, other in ((a.estimate, found.proposals.estimate), (a.high, found.proposals.low),
                       (a.low, found.proposals.high)):  # fmt: skip
        assert end is not None
        assert other == pytest.approx(1 + (1 - end) + (1 - end) ** 2)


@pytest.mark.parametrize(("share", "proposals", "unaccepted"), [(0.0, 7.0, 1.0), (1.0, 1.0, 0.0)])
def test_where_all_or_nothing_is_taken(share: float, proposals: float, unaccepted: float) -> None:
    for n in (1, 50):
        found = Taken.of(np.full(n, share), np.zeros(n, dtype=np.int64), attempts=7)
        assert found.proposals.estimate == pytest.approx(proposals, abs=1e-6)
        assert found.unaccepted == unaccepted
        assert (found.proposals.low is None) == (n == 1)


def test_what_a_filter_cannot_describe_counts_as_taken(tmp_path: Path) -> None:
    rows = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]] * np.array([1, 0, 1, 1])[:, None]
    status = np.array([Status.OK, Status.NO_FACE, Status.OK, Status.OK], dtype=np.uint8)
    store = Store(tmp_path)
    hashes = np.zeros((4, 16), dtype=np.uint8)
    store.write(Stream.SAMPLES, Rows(0, rows.astype(np.float32), status, hashes), {})
    chosen = OutputFilter(
        modes=np.eye(1, 2, dtype=np.float32), keep=np.array([0.25]), radius=0.25, attempts=9
    )
    made = Artefact(
        calibrator=chosen, method="rejection", generator={}, descriptor=None, run={}, about={}
    )
    before: Any = SimpleNamespace(
        store=store, basis=SimpleNamespace(samples=4), manifest={"seed": 0}
    )
    assert expected_share(made, before).tolist() == [0.25, 1.0, 1.0, 1.0]


class Classes:
    """Two classes: of 1 nearly all images lie in a dense mode, of 0 none; half a fifth no face."""

    latent_shape, prior, num_labels, identity = (2,), "normal", 2, {"name": "classes"}

    def render(self, draws: Draws) -> torch.Tensor:
        assert draws.latents is not None and draws.labels is not None
        dense = (draws.labels == 1) & (draws.latents[:, 0] < 1.0)
        faceless = draws.latents[:, 1] < -1.0
        grey = torch.where(dense, 200, 60 + (draws.seeds % 50)).to(torch.uint8)
        images = grey[:, None, None, None].repeat(1, 3, 4, 4)
        images[:, 0, 0, 0] = torch.where(faceless, 255, 0).to(torch.uint8)  # no single colour
        return images


class Looking:
    """A descriptor that tells bright from dark, where it finds a face."""

    card = DescriptorCard(name="looking", weights_sha256="0" * 64, licence=None)

    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bright = images[:, 1, 1, 1] >= 128
        turn = (images[:, 1, 1, 1].float() - 60) / 50  # the dark ones lie apart from each other
        apart = torch.stack([0 * turn, torch.cos(9 * turn), torch.sin(9 * turn)], dim=1)
        rows = torch.where(bright[:, None], torch.eye(3)[0], apart)
        return rows, images[:, 0, 0, 0] == 0


def test_what_is_said_of_classes_and_faceless_images_is_what_slots_do(tmp_path: Path) -> None:
    config = CalibrateConfig(
        method="rejection", modes="1", target=0.1, attempts=3, min_acceptance=0.3
    )
    wanted = request(
        tmp_path / "cal", generator="classes", theta=0.25, radius=0.1, anchors=256, samples=2048
    )
    found = calibrate(config, wanted, source=Classes(), descriptor=Looking())
    document = found.document
    behind = replace(
        wanted, calibrator=tmp_path / "cal" / "calibrator.json", seed=1, out=tmp_path / "x"
    )
    opened = open_request(behind, source=Classes(), descriptor=Looking())
    with closing(Maker(opened.source, None, opened.recipe())) as maker:
        draws = maker.draws(Stream.SAMPLES, np.arange(20_000))
    source: Any = opened.source
    source.render(draws)
    counts = source.counts
    assert document["unaccepted"] > 0.1  # (1 - mean) ** 3 would be .05
    assert counts["unaccepted"] / 20_000 == pytest.approx(document["unaccepted"], abs=0.03)
    cost = document["images_per_image"]
    assert cost["low"] - 0.03 < counts["proposals"] / 20_000 < cost["high"] + 0.03
    announced = " ".join(document["announced"]["sentences"])
    assert "come to the last of 3 proposals, which is kept whatever it is" in announced


class Hidden:
    """The demo behind a service that takes a seed and nothing else."""

    seedable, size, identity = True, None, {"name": "hidden"}

    def __init__(self) -> None:
        self.source: Any = open_source(request(), "cpu")[0]
        self.asked = 0

    def stream(self, draws: Draws) -> Iterator[tuple[int, torch.Tensor | Failure]]:
        self.asked += len(draws)
        seeds = draws.seeds.numpy() % 2**40
        inner = draw(seeds, seed=5, stream=Stream.SAMPLES, latent_shape=self.source.latent_shape)
        yield from zip(draws.index.tolist(), self.source.render(inner), strict=True)


def test_a_blind_service_is_thinned_by_rejection_alone(tmp_path: Path) -> None:
    from ganaudit_plugins.descriptors.digits import open_digits

    config = CalibrateConfig(method="rejection", modes="1", target=0.02)
    digits = open_digits("", device=torch.device("cpu"))
    wanted = request(tmp_path / "cal", samples=512, keep="none", generator="hidden")
    found = calibrate(config, wanted, source=Hidden(), descriptor=digits)
    assert found.document["verdict"]["outcome"] == "thinned"
    service = Hidden()
    with pytest.raises(ConfigError, match="hides its own; --method rejection needs none"):
        calibrate(
            replace(config, method="importance"),
            replace(wanted, out=tmp_path / "other"),
            source=service,
            descriptor=digits,
        )
    assert not service.asked  # before anything is made


def test_a_descriptor_may_be_an_object(fitted: Path, tmp_path: Path) -> None:
    from ganaudit_plugins.descriptors.digits import open_digits

    digits = open_digits("", device=torch.device("cpu"))
    config = CalibrateConfig(method="rejection", modes="1", target=0.02)
    wanted = request(tmp_path / "cal", samples=512)
    found = calibrate(config, wanted, descriptor=digits)
    assert found.document["verdict"]["outcome"] == "thinned"
    assert load(tmp_path / "cal").descriptor["spec"] is None
    alone = request(tmp_path / "alone", calibrator=tmp_path / "cal" / "calibrator.json")
    with pytest.raises(ConfigError, match="name it by --set calibrator.descriptor"):
        diagnose(alone)
    diagnose(replace(alone, set=("calibrator.descriptor=digits",)))


def test_a_run_of_another_generator_is_refused(fitted: Path, tmp_path: Path) -> None:
    config = CalibrateConfig(method="rejection", run=fitted)
    with pytest.raises(ConfigError, match="holds another run: generator"):
        calibrate(config, request(tmp_path / "cal", generator="demo:healthy"))


def test_what_was_delivered_already_is_refused_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32).repeat(100, axis=0))
    wanted = request(
        tmp_path / "cal", generator=f"embeddings:{tmp_path / 'rows.npy'}", anchors=50, samples=50,
        theta=0.3, radius=0.2,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="holds what was delivered already"):
        calibrate(CalibrateConfig(method="rejection"), wanted)


def test_a_target_above_the_worst_is_nothing_to_do(fitted: Path, tmp_path: Path) -> None:
    config = CalibrateConfig(method="rejection", run=fitted, target=0.5)
    with pytest.raises(ConfigError, match="nothing to thin: the worst anchor's rate is"):
        calibrate(config, request(tmp_path / "cal"))


def test_other_folders_are_left_alone(fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    config = CalibrateConfig(method="rejection", run=fitted)
    for resume in (False, True):
        with pytest.raises(ConfigError, match="is not empty and holds no calibration"):
            calibrate(config, request(tmp_path / "full", resume=resume))


# -- requests ----------------------------------------------------------------------------------


def resolved(**flags: Any) -> tuple[CalibrateConfig, DiagnoseConfig]:
    return resolve_calibrate({"method": "rejection", **flags})


def test_a_run_decides_what_is_audited(fitted: Path) -> None:
    config, wanted = resolved(run=fitted, modes="2")
    assert (config.run, config.mode_count) == (fitted, 2)
    assert (wanted.generator, wanted.anchors, wanted.samples, wanted.seed) == (
        "demo:collapsed", 128, 1024, 0,
    )  # fmt: skip
    assert 0 < wanted.radius < 1
    for name, value in (("anchors", 5), ("radius", 0.1), ("seed", 3)):
        with pytest.raises(ConfigError, match=f"--run has decided --{name} already"):
            resolved(run=fitted, **{name: value})


def test_settings_from_elsewhere_hold_beside_a_run_where_it_has_not_decided(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ganaudit.toml").write_text(
        'keep = "none"\nbatch = 7\nanchors = 5\nradius = 0.1\nshard = "0/2"\n'
        '[calibrate]\nmodes = "2"\n'
    )
    monkeypatch.setenv("GANAUDIT_TIMEOUT_S", "12.5")
    monkeypatch.setenv("GANAUDIT_DEVICE", "cuda")
    config, wanted = resolved(run=fitted, device="cpu")
    assert (config.mode_count, wanted.keep, wanted.batch) == (2, "none", 7)
    assert (wanted.timeout_s, wanted.device) == (12.5, "cpu")  # a flag comes before the environment
    assert (wanted.anchors, wanted.shard) == (128, None) and wanted.radius != 0.1  # as the run has
    assert wanted.generator == "demo:collapsed"
    (tmp_path / "ganaudit.toml").write_text('generator = "demo:healthy"\nset = ["psi=1"]\n')
    wanted = resolved(run=fitted)[1]
    assert (wanted.generator, wanted.set) == ("demo:healthy", ("psi=1",))
    for wrong, said in (("batch = 'x'", "must be of type int"), ("trust = true", "would run code")):
        (tmp_path / "ganaudit.toml").write_text(wrong)
        with pytest.raises(ConfigError, match=said):
            resolved(run=fitted)
    (tmp_path / "ganaudit.toml").write_text("anchors = 'x'")  # the run has decided it
    assert resolved(run=fitted)[1].anchors == 128


def test_a_runs_word_is_not_enough_to_run_code_or_to_ask_a_service(
    fitted: Path, tmp_path: Path
) -> None:
    report = json.loads((fitted / "report.json").read_text("utf-8"))
    for generator in ("python:evil.py:make", "http://127.0.0.1:1/v2/models/a"):
        report["request"]["generator"] = generator
        (tmp_path / "report.json").write_text(json.dumps(report))
        with pytest.raises(ConfigError, match="say --generator .* yourself"):
            resolved(run=tmp_path)
        mine = resolved(run=tmp_path, generator="demo", set=("psi=1",))[1]
        assert (mine.generator, mine.set) == ("demo", ("psi=1",))


@pytest.mark.parametrize(
    ("key", "value"),
    [("set", [1]), ("set", {"a": 1}), ("anchors", "many"), ("seed", None), ("generator", 3),
     ("labels", [1]), ("descriptor", 7), ("request", None)],
)  # fmt: skip
def test_a_runs_report_that_cannot_be_is_refused_by_a_sentence(
    fitted: Path, tmp_path: Path, key: str, value: Any
) -> None:
    report = json.loads((fitted / "report.json").read_text("utf-8"))
    if key == "request":
        del report["request"]
    else:
        report["request"][key] = value
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ConfigError):
        resolved(run=tmp_path)


def test_options_go_to_whom_they_belong() -> None:
    config, wanted = resolve_calibrate(
        {
            "method": "advlatgan-z", "generator": "demo", "discriminator": "d.pt",
            "set": ("a=1", "discriminator.role=D", "descriptor.b=2"),
        }
    )  # fmt: skip
    assert config.set == ("discriminator.role=D",)
    assert wanted.set == ("a=1", "descriptor.b=2")


def test_settings_that_a_calibration_has_not_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAUDIT_CALIBRATOR", "c.json")
    with pytest.raises(ConfigError, match="neither shard, output nor calibrator"):
        resolved(generator="demo")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": ""}, "--method is needed: one of gmm, importance, rejection, advlatgan-z"),
        ({"method": "magic"}, "--method must be one of gmm"),
        ({"draw": "cell"}, "--draw belongs to --method gmm; --method rejection has no such"),
        ({"step": 0.1}, "--step belongs to --method advlatgan-z"),
        ({"method": "gmm", "draw": "x"}, "--draw must be one of cell, mixture, got 'x'"),
        ({"method": "gmm", "draw": "cell", "paper_exact": True}, "leave --draw cell out"),
        ({"modes": "0"}, "--modes must be auto or a number in .1, 64., got '0'"),
        ({"modes": "many"}, "--modes must be auto or a number"),
        ({"target": 1.0}, "--target must be a rate in .0, 1., got 1"),
        ({"min_acceptance": 0.0}, "--min-acceptance must be in"),
        ({"attempts": 1}, "--attempts must be in .2, 10000., got 1"),
        ({"method": "advlatgan-z"}, "needs the generator's --discriminator"),
        ({"set": ("a=1",)}, "--set a: say it to the audit"),
        ({"set": ("discriminator.a=1",)}, "needs a --discriminator"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CalibrateConfig(**{"method": "rejection", **given})


def test_the_command_prints_the_verdict_and_leaves_with_its_code(
    fitted: Path, tmp_path: Path, ganaudit: Run
) -> None:
    ended = ganaudit(
        "calibrate", "--run", fitted, "--method", "rejection", "--modes", "1", "--target", "0.01",
        "--out", "cal", "--format", "json", "-q",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["kind"] == "calibration" and found["verdict"]["outcome"] == "thinned"
    assert {path.name for path in (tmp_path / "cal").iterdir()} >= {
        "calibrator.json", "calibrator.safetensors", "calibration.json", "calibration.html",
        "calibration.md", BEFORE, AFTER,
    }  # fmt: skip
    wrong = ganaudit("calibrate", "--run", fitted, "--method", "gmm", "--region", "hull")
    assert wrong.code == 2 and "--region belongs to --method importance" in wrong.complaint


def test_behind_an_api_it_has_the_figures_of_the_local_one(rejected: Any, tmp_path: Path) -> None:
    from ganaudit.config import ServeConfig
    from ganaudit.serving.running import Serving, bound

    file = rejected[0].folder / "calibrator.json"
    config = ServeConfig(generator="demo:collapsed", calibrator=file, port=0, device="cpu")
    ready = threading.Event()
    with bound(config.host, config.port) as listener:
        serving = Serving(
            config, open_source(config, "cpu")[0], device="cpu", listener=listener, say=print
        )
        thread = threading.Thread(target=serving.run, args=(ready.set,))
        thread.start()
        try:
            assert ready.wait(30)
            url = f"{serving.address}/v2/models/generator"
            asked = request(
                tmp_path / "served", generator=url, seed=1, descriptor="digits", keep="none",
                samples=512,
            )  # fmt: skip
            served = diagnose(asked).report
            bare = {"inputs": [{"name": "latent", "datatype": "FP32"}]}
            shape = open_source(request(), "cpu")[0].latent_shape
            bare["inputs"][0] |= {"shape": [1, *shape], "data": [0.0] * int(np.prod(shape))}
            refused = httpx.post(f"{url}/infer", json=bare)
            single = httpx.post(
                f"{serving.address}/generate", json={"latent": bare["inputs"][0]["data"]}
            )
        finally:
            serving.stop()
            thread.join(30)
    local = diagnose(
        request(tmp_path / "local", calibrator=file, seed=1, samples=512, batch=32)
    ).report
    assert served["figures"] == local["figures"]
    # A latent alone names no slot: every one that is not taken would get the same image.
    assert refused.status_code == 422 and "send seed, or noise_seed beside" in refused.text
    assert single.status_code == 200  # it gets a seed of its own


def test_real_images_are_compared_with_before_and_after(fitted: Path, tmp_path: Path) -> None:
    real = SampleConfig(
        generator="demo:healthy", samples=700, device="cpu", out=tmp_path / "real", seed=9
    )
    sample(real)
    config = CalibrateConfig(method="rejection", modes="1", run=fitted, target=0.01)
    wanted = request(tmp_path / "cal", reference=str(tmp_path / "real" / "images"))
    document = calibrate(config, wanted).document
    sides = document["companions"]["to_reference"]
    for name in (BEFORE, AFTER):
        report = json.loads((tmp_path / "cal" / name / "report.json").read_text("utf-8"))
        assert sides[name] == report["reference"]["fidelity"]
    # Without its collapse the demo is the generator that the real images are of.
    assert sides[AFTER]["frechet_distance"] < sides[BEFORE]["frechet_distance"]
