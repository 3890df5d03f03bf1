"""A release held to its gates, in this process: every end of it is told in every place."""

import base64
import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import Pixels, Spoilt, Toy, images_of
from PIL import Image
from test_baselines import FAILED, Crowded
from test_finished import failing, kept, mutations, rewritten
from torch import Tensor

from ganaudit import baselines, release
from ganaudit.cli import running
from ganaudit.config import CheckConfig, CheckFormat, DiagnoseConfig
from ganaudit.errors import (
    ConfigError,
    DescriptorError,
    GanauditError,
    PluginError,
    SourceError,
    SourceTimeout,
    UnsafeCheckpoint,
)
from ganaudit.finished import Finished
from ganaudit.pipeline import diagnose, make_part
from ganaudit.ratios import Share
from ganaudit.release import Checked, check, outlook
from ganaudit.report import check_outputs, checked, words
from ganaudit.same_place import Place, compare
from ganaudit.settings import resolve
from ganaudit.slots import Draws

pytestmark = pytest.mark.usefixtures("undrawn")
Make = Callable[..., DiagnoseConfig]
RUN, BASELINE = Path("run"), Path("baseline.json")
FORMATS = get_args(CheckFormat)
TOLD = tuple(f"{name}:out/{name}" for name in FORMATS)
LOOSE, TIGHT = "worst-rate=90%", "worst-rate=0.1%"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(finished: Path) -> Path:
    """A finished run of an even generator: 64 anchors, 700 samples."""
    shutil.copytree(finished, RUN)
    return RUN


@pytest.fixture
def baseline(run: Path) -> Path:
    """Of that run."""
    baselines.save(run, BASELINE)
    return BASELINE


def of_run(**settings: Any) -> Checked:
    """A check of the finished run."""
    return check(CheckConfig(**{"run": RUN, "max": (LOOSE,)} | settings))


def made(
    settings: dict[str, Any], request: DiagnoseConfig, source: object = None, **told: Any
) -> Checked:
    """A check that makes its run."""
    return check(
        CheckConfig(**{"max": (LOOSE,)} | settings),
        request,
        source=source or Toy(),
        descriptor=Pixels(),
        **told,
    )


def document(path: str = "out/json") -> dict[str, Any]:
    return json.loads(Path(path).read_text("utf-8"))


def assert_told(verdict: str, code: int) -> None:
    """Every format is there, and says so."""
    assert sorted(os.listdir("out")) == sorted(FORMATS)
    found = document()
    assert (found["verdict"], found["exit_code"]) == (verdict, code)
    if verdict != "pass":
        for name in ("md", "github", "badge", "model-card"):
            text = (Path("out") / name).read_text("utf-8").lower()
            assert verdict in text and "gate passed" not in text, name
        assert json.loads(Path("out/gitlab").read_text())


# -- verdicts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "verdict", "codes"),
    [
        ({"max": (LOOSE,)}, "pass", (0, 0, 0)),
        ({"max": (TIGHT,)}, "fail", (1, 1, 1)),
        ({"max": ("worst-rate=3%",)}, "inconclusive", (4, 0, 1)),
        ({"max": ("worst-rate=3%",), "min": ("vendi=1000",)}, "fail", (1, 1, 1)),
        ({"max": ("worst-rate=3%", "failures=0")}, "inconclusive", (4, 0, 1)),
    ],
)
def test_a_finished_run_passes_fails_or_is_neither(
    run: Path, limits: dict[str, Any], verdict: str, codes: tuple[int, int, int]
) -> None:
    for policy, code in zip(("report", "pass", "fail"), codes, strict=True):
        found = of_run(**limits, inconclusive=policy, output=TOLD)
        assert (found.document["verdict"], found.exit_code) == (verdict, code)
        assert found.document["inconclusive_as"] == policy
        assert found.folder == run
        assert found.document == document() == document("run/check.json")
        assert_told(verdict, code)


def test_all_gates_are_judged_in_their_order(run: Path, baseline: Path) -> None:
    every = ("failures", "faceless", "duplicates", "near-copies", "mu", "mean-similarity")
    both = ("worst-similarity", "worst-rate")
    found = of_run(
        max=tuple(f"{name}=50%" for name in (*every, *both)),
        min=("vendi=1.5",),
        baseline=baseline,
        max_increase=(*every, *both),
        max_decrease=("vendi",),
    ).document
    order = [(gate["kind"].startswith("max-"), gate["gate"]) for gate in found["gates"]]
    names = [name for relative, name in order if not relative]
    assert order == [*((False, name) for name in names), *((True, name) for name in names)]
    assert names[0] == "worst-rate" and names[-1] == "failures" and len(names) == 9
    for gate in found["gates"]:
        assert (
            (gate["baseline"] is None)
            == (gate["change"] is None)
            == (not gate["kind"].startswith("max-"))
        )
        if gate["kind"].startswith("max-"):  # it is its own baseline
            assert gate["found"] == gate["baseline"]
            if gate["change"]["estimate"] is not None and gate["gate"] != "worst-rate":
                assert gate["change"]["estimate"] == pytest.approx(0, abs=1e-9)


def test_two_equal_checks_are_equal_to_the_last_byte(
    config: Make, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for name in ("one", "other"):
        settings = {"baseline": baseline, "output": TOLD, "max": ("worst-similarity=.3",)}
        made(settings, config(samples=700, out=Path(name)), Crowded({17, 300}))
        text = (Path(name) / "check.json").read_bytes()
        documents.append(text.replace(f'"folder": "{name}"'.encode(), b""))
        shutil.move("out", f"out-{name}")
    assert documents[0] == documents[1]
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    again = of_run(run=Path("one"), max=("worst-similarity=.3",), baseline=baseline)
    assert again.document == document("one/check.json")  # read again, it says the same


def test_only_github_is_told_by_annotations(run: Path) -> None:
    lines: list[str] = []
    summary = Path("summary.md")
    summary.write_text("before\n")
    settings = {"run": RUN, "max": (TIGHT,)}
    check(CheckConfig(**settings, output=("md:a",)), annotate=lines.append, summary=summary)
    assert lines == [] and summary.read_text() == "before\n"
    check(CheckConfig(**settings, output=("github",)), annotate=lines.append, summary=summary)
    assert lines[0].startswith("::error title=")
    text = summary.read_text("utf-8")
    assert text.startswith("before\n") and "worst-rate" in text
    check(
        CheckConfig(**settings, output=("github:own.md",)), annotate=lines.append, summary=summary
    )
    assert summary.read_text("utf-8") == text
    assert Path("own.md").read_text("utf-8") == text.removeprefix("before\n")
    check(CheckConfig(**settings, output=("github",)))  # no such step: no summary
    summary.write_bytes(b"x" * (2**20 - 100))
    check(CheckConfig(**settings, output=("github",)), summary=summary)
    assert summary.stat().st_size == 2**20 - 100  # GitHub would show none of it


def test_warnings_of_the_run_are_passed_on(config: Make) -> None:
    class Warned(Toy):
        warnings = ("its latents were guessed",)

        def render(self, draws: Draws) -> Tensor:
            images = super().render(draws)
            images[draws.index % 2 == 0] = images_of(torch.tensor([1]))
            return images

    found = made({}, config(), Warned()).document
    report = document("run/report.json")
    assert found["warnings"] == [*report["warnings"], *report["screen"]["findings"]]
    assert any("its latents were guessed" in text for text in found["warnings"])
    assert any("repeat" in text for text in found["warnings"])


def test_the_run_is_described(config: Make, run: Path) -> None:
    found = of_run().document["run"]
    report = document("run/report.json")
    assert found == {
        "folder": "run",
        "generator": "toy",
        "descriptor": "pixels",
        "anchors": 64,
        "samples": 700,
        "seed": 0,
        "theta": 0.4,
        "radius": 0.3,
        "headline": found["headline"],
    }
    assert found["headline"] == words.headline(report)


def test_embeddings_and_labels_are_checked_as_well(config: Make) -> None:
    class Classes(Toy):
        num_labels = 3

    found = made({}, config(anchors=300, samples=700), Classes()).document
    assert found["verdict"] == "pass"
    assert document("run/report.json")["labels"]["by_label"]
    baselines.save(RUN, BASELINE)
    cut = of_run(baseline=BASELINE, max_increase=("worst-rate",), rarefy=True).document
    assert cut["gates"][1]["change"]["low"] < 0 < cut["gates"][1]["change"]["high"]
    np.save("rows.npy", np.random.default_rng(0).normal(size=(400, 6)))
    asked = config(generator="embeddings:rows.npy", theta=0.4, radius=0.3, out=Path("rows"))
    found = check(CheckConfig(max=(LOOSE, "duplicates=0")), asked).document
    assert found["run"]["descriptor"] is None
    assert [gate["verdict"] for gate in found["gates"]] == ["pass", "pass"]


# -- whatever breaks -------------------------------------------------------------------------

ERRORS: list[tuple[Exception, int]] = [
    (ConfigError("not like that"), 2),
    (PluginError("no such plugin"), 2),
    (DescriptorError("no unit rows"), 2),
    (SourceError("the generator raised"), 3),
    (SourceTimeout("no answer"), 3),
    (UnsafeCheckpoint("it would run", Path("model.pt")), 5),
    (UnsafeCheckpoint("it would run"), 5),
    (GanauditError("the disk is full"), 6),
    (ZeroDivisionError("a bug"), 6),
    (KeyError(), 6),
    (MemoryError(), 6),
    (RecursionError("deep \x1b[2J\n::error::"), 6),
]


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every diagnosis end in an error."""

    def broken(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(release, "diagnose", broken)


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda v: type(v).__name__)
def test_every_error_is_told_everywhere_and_raised(
    config: Make, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    breaking(monkeypatch, error)
    for policy in ("report", "pass"):
        with pytest.raises(type(error)) as raised:
            made({"output": TOLD, "inconclusive": policy}, config())
        assert raised.value is error
        assert_told("error", code)
        found = document()
        said = found["error"]
        assert (said["kind"], said["exit_code"]) == (type(error).__name__, code)
        assert said["message"].isprintable() and said["message"]
        assert found["gates"] == [] and found["run"] is None
        files = [one["file"] for one in found["files"]]
        assert files == (["model.pt"] if getattr(error, "file", None) else [])
    assert not RUN.exists()


def test_a_request_that_is_wrong_in_itself_is_told_too(run: Path) -> None:
    for settings in ({"max": ()}, {"max": ("fid=3",)}, {"rarefy": True}, {"baseline": Path("no")}):
        shutil.rmtree("out", ignore_errors=True)
        with pytest.raises(ConfigError):
            of_run(output=TOLD, **settings)
        assert_told("error", 2)
    with pytest.raises(ConfigError, match="name what is checked"):
        check(CheckConfig(max=(LOOSE,), output=TOLD))
    assert_told("error", 2)


def test_the_first_error_is_raised_even_if_it_cannot_be_told(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SourceError("the generator raised")
    breaking(monkeypatch, first)
    Path("taken").mkdir()
    notes: list[str] = []
    with pytest.raises(SourceError) as raised:
        made({"output": ("junit:taken", *TOLD)}, config(), notice=notes.append)
    assert raised.value is first
    assert notes[-1] == "taken cannot be written: it is no plain file"
    assert_told("error", 3)


def test_a_bug_in_what_renders_does_not_hide_the_first_error(
    config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(document: object) -> str:
        raise TypeError("a bug of a renderer")

    first = SourceError("the generator raised")
    breaking(monkeypatch, first)
    monkeypatch.setitem(check_outputs._RENDERED, "md", broken)
    notes: list[str] = []
    with pytest.raises(SourceError) as raised:
        made({"output": TOLD}, config(), notice=notes.append)
    assert raised.value is first and notes[-1] == "a bug of a renderer"


def test_an_output_that_cannot_be_written_is_an_error_and_keeps_no_other(run: Path) -> None:
    Path("taken").mkdir()
    with pytest.raises(GanauditError, match="^taken cannot be written: it is no plain file$"):
        of_run(output=("junit:taken", *TOLD))
    assert_told("pass", 0)  # what was found stands where it could be written
    with pytest.raises(GanauditError, match="taken cannot be written.*; taken cannot be written"):
        of_run(output=("junit:taken", "md:taken"))


@pytest.mark.parametrize("when", ["finished", "made"])
def test_a_check_json_that_cannot_be_written_is_told(
    config: Make, run: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A folder stands in its place; nothing may say pass beside an exit code of 6."""
    (run / "check.json").mkdir()
    with pytest.raises(GanauditError, match="check.json cannot be written") as raised:
        if when == "finished":
            of_run(output=TOLD)
        else:
            made({"output": TOLD}, config(samples=700, out=RUN, resume=True))
    assert raised.value.exit_code == 6
    assert_told("error", 6)


def test_a_full_disk_leaves_no_pass(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_run(output=TOLD)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ganaudit.files.write_whole", full)
    with pytest.raises(GanauditError, match="check.json cannot be written: the disk is full"):
        of_run(output=TOLD)
    assert os.listdir("out") == [] and not (run / "check.json").exists()


# -- what an earlier check said --------------------------------------------------------------


@pytest.mark.parametrize("how", ["run", "resumed"])
def test_ctrl_c_leaves_nothing_of_an_earlier_check(
    config: Make, run: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    of_run(output=TOLD)
    assert_told("pass", 0)
    assert (run / "check.json").exists()

    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(release, "diagnose", interrupted)
    monkeypatch.setattr(Finished, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        if how == "run":
            of_run(output=TOLD)
        else:
            made({"output": TOLD}, config(out=RUN, resume=True))
    assert os.listdir("out") == [] and not (run / "check.json").exists()
    assert (run / "report.json").exists()


def test_another_run_keeps_what_was_said_of_it(config: Make, run: Path) -> None:
    """A folder that is not to be continued is not touched."""
    of_run()
    before = (run / "check.json").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run"):
        made({"output": TOLD}, config(out=RUN))
    assert (run / "check.json").read_bytes() == before


def test_an_error_stands_in_the_place_of_an_earlier_pass(run: Path) -> None:
    of_run(output=TOLD)
    next((run / "samples").iterdir()).unlink()
    with pytest.raises(ConfigError, match="truncated"):
        of_run(output=TOLD)
    assert_told("error", 2)
    assert not (run / "check.json").exists()


def test_what_is_no_file_is_neither_removed_nor_replaced(run: Path) -> None:
    """A pipe, as /dev/stdout and /dev/null are no files either."""
    os.mkfifo("pipe")
    with pytest.raises(GanauditError, match="pipe cannot be written: it is no plain file"):
        of_run(output=("json:pipe",))
    assert Path("pipe").is_fifo()
    Path("elsewhere").write_text("kept")
    Path("link").symlink_to("elsewhere")
    of_run(output=("json:link",))
    assert document("link")["verdict"] == "pass" and not Path("link").is_symlink()
    assert Path("elsewhere").read_text() == "kept"


@pytest.mark.parametrize(
    "path", ["baseline.json", "./baseline.json", "run/../baseline.json", "run/report.json", "link"]
)
def test_an_output_in_the_place_of_what_is_read_is_refused(
    run: Path, baseline: Path, path: str
) -> None:
    Path("link").symlink_to("run/manifest.json")
    before = {one: one.read_bytes() for one in (baseline, *run.glob("*.json"))}
    with pytest.raises(ConfigError, match="--output .* is what is read; name another file"):
        of_run(baseline=baseline, output=(f"json:{path}", *TOLD))
    assert {one: one.read_bytes() for one in before} == before
    assert of_run(output=("json:run/check.json", "md:run/check.md")).exit_code == 0


# -- where limits stand ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ('[check]\nmax = ["worst-rate=90%"]\n', "ganaudit.toml"),
        ('[check]\nbaseline = "baseline.json"\n', "ganaudit.toml"),
        ('[check]\noutput = ["md:out/md"]\ninconclusive = "fail"\n', None),
        ('theta = 0.4\nsamples = 3\n[check]\nformat = "json"\n', None),
        ("", None),
    ],
)
def test_the_file_is_named_in_which_limits_stand(
    run: Path, baseline: Path, text: str, file: str | None
) -> None:
    Path("ganaudit.toml").write_text(text)
    flags = {"run": RUN} if file else {"run": RUN, "max": (LOOSE,)}
    found = check(resolve(CheckConfig, flags))
    assert found.document["limits_file"] == file


def test_it_is_named_too_where_the_check_breaks_off(run: Path) -> None:
    Path("pyproject.toml").write_text('[tool.ganaudit.check]\nmax = ["fid=3"]\noutput="json:o"\n')
    with pytest.raises(ConfigError, match="there is no gate 'fid'"):
        check(resolve(CheckConfig, {"run": RUN}))
    assert document("o")["limits_file"] == "pyproject.toml"


# -- before the start ------------------------------------------------------------------------


def test_each_gate_says_beforehand_what_it_needs(config: Make, baseline: Path) -> None:
    notes: list[str] = []
    settings = {"max": ("worst-rate=2%", "mu=.5"), "baseline": baseline}
    asked = config(samples=700, out=Path("new"))
    made(settings, asked, notice=notes.append)
    assert notes[0].startswith("worst-rate at most 2 %: about 1,616 samples ")
    assert notes[0].endswith("; 700 may leave it inconclusive")
    assert notes[1] == "mu at most 0.5: how many samples it needs is not known beforehand"
    assert notes[2].startswith("worst-rate at most 40 % more than the baseline: about ")


def test_a_dry_run_makes_nothing_and_forgets_nothing(config: Make) -> None:
    Path("out").mkdir()
    for name in FORMATS:
        Path(f"out/{name}").write_text("of an earlier check")
    settings = CheckConfig(max=("worst-rate=2%",), output=TOLD)
    plan = outlook(settings, config(generator="demo", out=RUN))
    (need,) = plan["gates"]
    assert "1,616 samples" in need and need.endswith("; 256 may leave it inconclusive")
    assert plan["estimate"]["images"] == 320
    assert not RUN.exists() and Path("out/md").read_text() == "of an earlier check"


def test_a_dry_run_tells_what_would_stop_the_check(config: Make, baseline: Path) -> None:
    with pytest.raises(ConfigError, match="demo and the baseline cannot be compared: the descript"):
        outlook(CheckConfig(baseline=baseline), config(generator="demo"))
    with pytest.raises(ConfigError, match="there is no limit"):
        outlook(CheckConfig(), config(generator="demo"))
    until = CheckConfig(max=(LOOSE,), until_decided=True, max_samples=5000)
    plan = outlook(until, config(generator="demo", origins={"anchors": "default"}))
    assert plan["request"]["samples"] == 5000 and plan["request"]["anchors"] == 1000
    assert "may leave it" not in plan["gates"][0]


@pytest.mark.parametrize(
    ("origins", "size"),
    [
        ({"anchors": "default", "samples": "default"}, (64, 700)),
        ({"anchors": "default", "samples": "flag"}, (64, 690)),
        ({"anchors": "[tool.ganaudit]", "samples": "default"}, (62, 700)),
        ({"anchors": "GANAUDIT_ANCHORS", "samples": "flag"}, (62, 690)),
        ({}, (62, 690)),
    ],
)
def test_a_release_takes_the_sizes_of_its_baseline_unless_somebody_named_others(
    config: Make, baseline: Path, origins: dict[str, str], size: tuple[int, int]
) -> None:
    asked = config(anchors=62, samples=690, out=Path("new"), origins=origins)
    found = made({"baseline": baseline, "max": ()}, asked).document
    assert (found["run"]["anchors"], found["run"]["samples"]) == size
    assert found["baseline"] == {
        "file": "baseline.json",
        "generator": "toy",
        "anchors": 64,
        "samples": 700,
    }


def test_a_part_has_no_verdict(config: Make) -> None:
    with pytest.raises(ConfigError, match="a part of a run has no verdict"):
        made({"output": TOLD}, config(shard="0/2"))
    assert_told("error", 2)
    make_part(config(shard="0/2"), source=Toy(), descriptor=Pixels())
    with pytest.raises(ConfigError, match="run is a part of a run and no finished one"):
        of_run()


# -- against a baseline ----------------------------------------------------------------------


def test_another_reach_is_refused_before_anything_is_drawn(config: Make, baseline: Path) -> None:
    class Untouched(Toy):
        def render(self, draws: Draws) -> Tensor:
            raise AssertionError("an image was drawn")

    asked = config(theta=0.35, out=Path("new"))
    with pytest.raises(ConfigError, match="toy and the baseline cannot be compared: the theta is"):
        made({"baseline": baseline, "output": TOLD}, asked, Untouched())
    assert_told("error", 2)
    assert not Path("new").exists()


def test_a_finished_run_under_something_else_is_refused(baseline: Path) -> None:
    for name, value in (("theta", 0.3), ("radius", 0.2), ("descriptor", None)):
        found = json.loads(baseline.read_text())
        Path("other.json").write_text(json.dumps(found | {name: value}))
        with pytest.raises(ConfigError, match=f"run and other.json cannot be compared: the {name}"):
            of_run(baseline=Path("other.json"))


@pytest.mark.parametrize("failed", [frozenset(), FAILED], ids=["whole", "failed"])
def test_rarefied_is_the_check_of_a_run_that_small(
    config: Make, baseline: Path, failed: set[int]
) -> None:
    """Figures, change, same place and size are those of the smaller run; it is said which."""
    source = Crowded(failed)
    large = config(anchors=90, samples=1300, seed=1, out=Path("large"))
    diagnose(large, source=source, descriptor=Pixels())
    limits = {"max": ("failures=50%",), "max_increase": ("worst-rate", "mu"), "baseline": baseline}
    with pytest.raises(ConfigError, match="90 were|86 were") as refused:
        of_run(run=Path("large"), **limits)
    assert "--rarefy cuts the release to the baseline's size" in str(refused.value)
    cut = of_run(run=Path("large"), rarefy=True, **limits).document
    anchors = 64 + len([slot for slot in failed if slot < 64])
    samples = 700 + len([slot for slot in failed if slot < 709])
    small = config(anchors=anchors, samples=samples, seed=1, out=Path("small"))
    diagnose(small, source=source, descriptor=Pixels())
    wanted = of_run(run=Path("small"), **limits).document
    for name in ("gates", "same_place", "baseline", "verdict", "sentence"):
        assert cut[name] == wanted[name], name
    assert cut["run"] == wanted["run"] | {"folder": "large"}
    assert (cut["run"]["anchors"], cut["run"]["samples"]) == (64, 700)
    assert cut["same_place"]["tested"] > 1


def test_a_smaller_run_cannot_be_cut_to_a_larger_one(config: Make, baseline: Path) -> None:
    diagnose(config(anchors=40, out=Path("few")), source=Toy(), descriptor=Pixels())
    for rarefy in (False, True):
        with pytest.raises(ConfigError, match="audit it with --anchors 64 --samples 700"):
            of_run(run=Path("few"), baseline=baseline, rarefy=rarefy)


@pytest.mark.parametrize(
    ("limits", "tolerance"),
    [
        ({}, 0.4),
        ({"max_increase": ("worst-rate=90%",)}, 0.9),
        ({"max_increase": ("mu=90%",)}, 0.4),
        ({"max": ("worst-rate=90%",)}, 0.4),
    ],
)
def test_the_same_places_are_counted_again_under_the_gates_tolerance(
    config: Make, baseline: Path, limits: dict[str, Any], tolerance: float
) -> None:
    diagnose(config(samples=700, seed=1, out=Path("new")), source=Crowded(), descriptor=Pixels())
    found = of_run(**{"run": Path("new"), "baseline": baseline, "max": ()} | limits).document
    new, modes = Finished.read(Path("new")), baselines.read(baseline).modes
    assert modes is not None
    now = baselines.count_again(modes, new.store, new.scale, samples=700)
    places = compare(modes.anchors, modes.counts, now, tolerance=tolerance)
    assert found["same_place"] == checked.grown(places, tolerance=tolerance)
    assert found["same_place"]["tested"] == len(modes.anchors)


def test_a_mode_that_grew_changes_no_verdict(config: Make, baseline: Path) -> None:
    found = json.loads(baseline.read_text())
    found["modes"][0].update(count=1, of=350)
    row = np.frombuffer(base64.b64decode(found["modes"][0]["embedding"]), "<f4")
    baseline.write_text(json.dumps(found))

    class Grown(Toy):
        """Every fifth image looks like that mode, which is red pixels around grey."""

        def render(self, draws: Draws) -> Tensor:
            images = super().render(draws)
            mode = (127.5 + 300 * torch.from_numpy(row.copy())).round().clamp(0, 255)
            images[draws.index % 5 == 0, 0] = mode.view(4, 4).to(torch.uint8)
            return images

    asked = config(samples=700, out=Path("grown"))
    settings = {"baseline": baseline, "max": (), "max_increase": ("failures",)}
    document = made(settings, asked, Grown()).document
    grown = document["same_place"]["grown"]
    assert (grown[0]["rank"], grown[0]["anchor"]) == (1, found["modes"][0]["anchor"])
    assert grown[0]["before"] == {"count": 1, "of": 350} and grown[0]["now"]["count"] >= 140
    assert document["verdict"] == "inconclusive"  # failures were never seen


def test_a_baseline_without_modes_has_no_places(config: Make) -> None:
    for name in ("old", "new"):
        asked = config(samples=700, radius=1e-6, out=Path(name))
        diagnose(asked, source=Toy(), descriptor=Pixels())
    baselines.save(Path("old"), BASELINE)
    found = of_run(run=Path("new"), baseline=BASELINE, max=("failures=50%",)).document
    assert found["same_place"] is None
    assert found["gates"][1]["verdict"] == "inconclusive"


# -- until it is decided ---------------------------------------------------------------------

DECIDED = {"until_decided": True, "max_samples": 3000}


def test_a_run_grows_until_it_is_decided_and_is_read_the_same(config: Make) -> None:
    settings = DECIDED | {"max": ("worst-rate=20%", "mean-similarity=20%"), "output": TOLD}
    asked = config(anchors=70, out=Path("new"), origins={"samples": "default"})
    found = made(settings, asked, Crowded()).document
    assert found["verdict"] == "pass" and found["exit_code"] == 0
    looked = found["sequential"]["samples"]
    assert looked % 512 == 0 and looked < 3000
    assert found["sequential"]["max_samples"] == 3000
    assert found["sequential"]["sentence"].startswith(f"Decided after {looked:,} samples. ")
    assert (found["run"]["anchors"], found["run"]["samples"]) == (70, looked)
    assert found["same_place"] is None and found["baseline"] is None
    again = of_run(run=Path("new"), **settings).document
    for name in ("gates", "verdict", "run"):
        expected = found[name]
        if name == "gates":  # what could be found depends on how many may be drawn
            again[name], expected = (
                [{k: v for k, v in gate.items() if "detectable" not in k} for gate in gates]
                for gates in (again[name], expected)
            )
        assert again[name] == expected, name
    assert again["sequential"]["samples"] == again["sequential"]["max_samples"] == looked
    before = document("new/check.json")["gates"]
    resumed = made(settings, replace(asked, resume=True), Crowded()).document
    assert resumed["gates"] == found["gates"] != before
    assert resumed["sequential"] == found["sequential"]


def test_a_thousand_anchors_unless_somebody_named_others(config: Make) -> None:
    asked = config(out=Path("new"), origins={"anchors": "default"})
    found = made(DECIDED | {"max": ("worst-rate=50%",)}, asked).document
    assert found["run"]["anchors"] == 1000
    with pytest.raises(ConfigError, match="--until-decided draws as many as it takes"):
        made(DECIDED, config(origins={"samples": "flag"}))


def test_the_first_failure_ends_it_and_the_rest_is_named(config: Make) -> None:
    settings = DECIDED | {"max": ("worst-rate=1%", "worst-similarity=5.5%")}
    found = made(settings, config(out=Path("new")), Crowded()).document
    verdicts = {gate["gate"]: gate["verdict"] for gate in found["gates"]}
    assert verdicts == {"worst-rate": "fail", "worst-similarity": "inconclusive"}
    assert found["verdict"] == "fail" and found["exit_code"] == 1
    said = found["sequential"]["sentence"]
    assert said.startswith("Ended after 512 samples, when a gate failed; not decided: worst-sim")


def test_what_stays_open_says_how_it_may_be_decided(config: Make) -> None:
    settings = {"until_decided": True, "max_samples": 600, "max": ("worst-rate=8%",)}
    found = made(settings, config(out=Path("new")), Crowded()).document
    assert (found["verdict"], found["exit_code"]) == ("inconclusive", 4)
    assert found["run"]["samples"] == found["sequential"]["samples"] == 600
    said = found["sequential"]["sentence"]
    assert said.startswith("Not decided after 600 samples: worst-rate; more may decide (--max-samp")
    again = of_run(run=Path("new"), **settings | {"max_samples": 9000}).document
    assert again["sequential"]["max_samples"] == 600
    assert "(--generator, --resume and --out)" in again["sequential"]["sentence"]


def test_max_samples_is_of_until_decided(run: Path) -> None:
    with pytest.raises(ConfigError, match="--max-samples is the most that --until-decided"):
        of_run(max_samples=900, origins={"max_samples": "flag"})
    assert of_run(max_samples=900, origins={"max_samples": "ganaudit.toml"}).exit_code == 0
    for settings in ({"baseline": BASELINE}, {"max": ("mu=.5",)}):
        baselines.save(run, BASELINE)
        with pytest.raises(ConfigError, match="--until-decided"):
            of_run(**{"until_decided": True} | settings)


# -- beside a reference ----------------------------------------------------------------------


@pytest.fixture
def photos() -> str:
    """Real images: 400 of them."""
    Path("photos").mkdir()
    for i, image in enumerate(images_of(torch.arange(10_000, 10_400))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"photos/{i:03d}.png")
    return "photos"


def test_a_reference_is_no_gate(config: Make, photos: str) -> None:
    found = made({"max": (LOOSE,)}, config(reference=photos)).document
    section = document("run/report.json")["reference"]
    assert (section["anchors"], section["samples"]) == (64, 256)
    plain = made({"max": (LOOSE,)}, config(out=Path("plain"))).document
    assert found["gates"] == plain["gates"]


def test_a_reference_is_compared_with_the_samples_at_which_it_was_decided(config: Make) -> None:
    """Not with the most that it might have taken: those are not there."""
    rng = np.random.default_rng(0)
    for name, count in (("generated", 3000), ("real", 2500), ("fewer", 300)):
        np.save(f"{name}.npy", rng.normal(size=(count, 6)))
    settings = CheckConfig(**DECIDED | {"max_samples": 2000, "max": ("worst-rate=50%",)})
    usual = {"generator": "embeddings:generated.npy", "theta": 0.4, "radius": 0.2}
    for name, size in (("real", (64, 512)), ("fewer", None)):
        asked = config(**usual, reference=f"embeddings:{name}.npy", out=Path(name))
        found = check(settings, asked).document
        assert found["sequential"]["samples"] == 512
        section = document(f"{name}/report.json")["reference"]
        assert section["rarefied"] == (size is None)
        if size is None:  # in proportion to the run, not to 64 and 2,000
            assert section["anchors"] == 300 * 64 // (64 + 512)
        else:
            assert (section["anchors"], section["samples"]) == size


# -- what cannot be scored, and what somebody else wrote -------------------------------------


@pytest.mark.parametrize("until_decided", [False, True])
def test_a_run_without_an_anchor_of_use_never_passes(config: Make, until_decided: bool) -> None:
    class Blank(Pixels):
        def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
            rows, valid = super().embed(images)
            return rows, ~valid

    settings = CheckConfig(
        max=("worst-rate=90%",), output=TOLD, inconclusive="pass", until_decided=until_decided
    )
    asked = config(max_faceless=1.0)
    with pytest.raises(SourceError, match="none of the 64 anchors can be scored"):
        check(settings, asked, source=Toy(), descriptor=Blank())
    assert_told("error", 3)


def test_failures_are_a_gate_like_others(config: Make) -> None:
    bad = set(range(100, 130))
    found = made({"max": ("failures=2%",)}, config(), Spoilt(bad, failing)).document
    (gate,) = found["gates"]
    assert gate["verdict"] == "fail"
    assert gate["found"]["estimate"] == pytest.approx(30 / 320)


def test_a_report_with_anything_in_any_place_gives_a_verdict_or_an_error(
    run: Path, baseline: Path
) -> None:
    path = run / "report.json"
    whole = json.loads(path.read_text("utf-8"))
    for part in ("timings", "gallery", "assumptions", "environment", "figures", "labels"):
        whole[part] = {} if part != "figures" else whole[part] | {"boxes": [], "convergence": []}
    limits = {"max": ("worst-rate=90%", "failures=50%"), "max_increase": ("mu",)}
    ends = set()
    for place, changed in mutations(whole, every=16):
        path.write_text(json.dumps(changed))
        shutil.rmtree("out", ignore_errors=True)
        try:
            ends.add(of_run(**limits, baseline=baseline, output=TOLD).document["verdict"])
        except ConfigError as error:
            assert len(str(error)) < 500 and "\n" not in str(error), place
            assert_told("error", 2)
            ends.add("error")
        assert sum(one.stat().st_size for one in Path("out").iterdir()) < 100_000, place
    assert ends >= {"error", "inconclusive"}


def test_a_baseline_with_anything_in_any_place_gives_a_verdict_or_an_error(
    run: Path, baseline: Path
) -> None:
    whole = json.loads(baseline.read_text("utf-8"))
    whole["modes"] = whole["modes"][:2]
    ends = set()
    for place, changed in mutations(whole, every=8):
        baseline.write_text(json.dumps(changed))
        try:
            found = of_run(
                max=("failures=50%",),
                baseline=baseline,
                rarefy=True,
                max_increase=("worst-rate", "worst-similarity", "mean-similarity", "mu"),
                max_decrease=("vendi",),
                output=TOLD,
            )
            ends.add(found.document["verdict"])
        except ConfigError as error:
            assert len(str(error)) < 500 and "\n" not in str(error), place
            assert_told("error", 2)
            ends.add("error")
    assert ends >= {"error", "inconclusive"}


def test_a_run_whose_report_changed_is_not_checked(run: Path) -> None:
    rewritten(run, lambda report: report["counts"]["samples"].update(ok=701))
    with pytest.raises(ConfigError, match="does not fit the stored samples"):
        of_run(output=TOLD)
    assert_told("error", 2)


# -- what is said of it ----------------------------------------------------------------------


def place(rank: int, p: float) -> Place:
    return Place(rank, anchor=10 * rank, before=Share(rank, 350), now=Share(40, 700), p=p)


def test_places_that_grew_are_named_by_their_rank() -> None:
    found = checked.grown([place(1, 0.05), place(2, 0.0501), place(3, 1e-9)], tolerance=0.4)
    assert (found["tested"], found["tolerance"], found["level"]) == (3, 0.4, 0.05)
    assert found["sentence"] == (
        "2 of the baseline’s 3 modes grew by more than 40 %: number 1, number 3. This names the "
        "place and changes no verdict."
    )
    assert found["grown"] == [
        {
            "rank": rank,
            "anchor": 10 * rank,
            "before": {"count": rank, "of": 350},
            "now": {"count": 40, "of": 700},
            "p": p,
        }
        for rank, p in ((1, 0.05), (3, 1e-9))
    ]


def test_places_that_did_not_grow_are_not_said_to_be_the_same() -> None:
    found = checked.grown([place(1, 0.2)], tolerance=0.125)
    assert found["sentence"] == (
        "None of the baseline’s 1 mode is shown to have grown by more than 12.5 %."
    )
    assert found["grown"] == []


def test_an_error_without_words_has_some() -> None:
    found = checked.broken(KeyError(), inconclusive="report", limits_file=None)
    assert found["error"] == {"kind": "KeyError", "message": "no reason given", "exit_code": 6}
    assert found["sentence"] == "The audit broke off: no reason given"
    long = checked.broken(ValueError("x" * 10**6), inconclusive="pass", limits_file="a.toml")
    assert len(long["error"]["message"]) < 2100 and long["exit_code"] == 6
    assert (long["inconclusive_as"], long["limits_file"]) == ("pass", "a.toml")


# -- the command -----------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`ganaudit check` after its words were parsed; the exit code, however it ends."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(running, "leave", leave)

    def run(
        flags: dict[str, Any],
        request: dict[str, Any] | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
    ) -> int:
        try:
            return running.run_check(flags, request or {}, quiet=quiet, verbose=verbose)
        except SystemExit as end:
            return int(str(end.code))

    return run


LOUD = """
import sys


class Loud:
    latent_shape, prior, num_labels = (3, 16, 16), "normal", 0

    def render(self, draws):
        print("on its stdout")
        print("on its stderr", file=sys.stderr)
        return (128 + 40 * draws.latents).round().clamp(0, 255).byte()
"""


def test_nothing_but_the_result_is_on_stdout(
    run: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"run": RUN, "max": (TIGHT,), "output": ("github", "md:check.md")}
    assert command(flags | {"format": "json"}) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == document("run/check.json")
    assert said.err.startswith("::error title=") and said.err.count("\n") == 1
    assert command(flags, verbose=True) == 1
    said = capsys.readouterr()
    assert said.out.lstrip().startswith("Fail:") and "::error" not in said.out
    assert "max = ('worst-rate=0.1%',)  (flag)" in said.err


def test_what_a_generator_prints_is_no_result(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("loud.py").write_text(LOUD)
    asked = {
        "generator": "python:loud.py:Loud",
        "descriptor": "digits",
        "anchors": 64,
        "samples": 128,
        "device": "cpu",
        "out": RUN,
    }
    flags = {"max": ("failures=50%",), "format": "json"}
    assert command(flags, asked) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "pass"
    assert "on its stdout" in said.err and "on its stderr" in said.err
    assert "note: failures at most 50 %: about " in said.err
    assert command(flags, asked | {"dry_run": True}) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)["gates"]) == 1 and "on its stdout" in said.err
    quiet = asked | {"resume": True}
    assert command(flags, quiet, quiet=True) == 0
    said = capsys.readouterr()
    assert "note:" not in said.err and "samples:" not in said.err


def test_an_error_is_a_sentence_an_exit_code_and_a_way_on(
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"generator": "demo", "anchors": 64, "samples": 128, "device": "cpu", "out": RUN}
    monkeypatch.setattr("sys.argv", ["ganaudit", "check", "--generator", "demo", "--out", "run"])
    assert command({"max": (LOOSE,)}, asked) == 0
    capsys.readouterr()
    for error, code, resumes in (
        (SourceError("it raised"), 3, True),
        (GanauditError("the disk is full"), 6, True),
        (ConfigError("not so"), 2, False),
        (UnsafeCheckpoint("it would run"), 5, False),
    ):
        breaking(monkeypatch, error)
        assert command({"max": (LOOSE,), "output": TOLD}, asked) == code
        said = capsys.readouterr()
        assert said.out == "" and f"ganaudit: {error}\n" in said.err
        assert ("continue with\n  ganaudit check --generator demo" in said.err) == resumes
        assert_told("error", code)
    breaking(monkeypatch, KeyboardInterrupt())
    assert command({"max": (LOOSE,), "output": TOLD}, asked) == 130
    said = capsys.readouterr()
    assert said.out == "" and "interrupted; what was made is kept; continue with" in said.err
    assert os.listdir("out") == []


@pytest.mark.parametrize(
    ("flags", "asked", "said"),
    [
        ({}, {"generator": "demo", "theta": 7.0}, "--theta must be in"),
        ({"run": RUN}, {"seed": 3}, "leave --seed out"),
        ({}, {}, "what is to be checked"),
    ],
)
def test_a_request_that_cannot_be_is_told_in_the_place_of_an_earlier_pass(
    run: Path,
    command: Callable[..., int],
    flags: dict[str, Any],
    asked: dict[str, Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = {"max": (LOOSE,), "output": (*TOLD, "github")} | flags
    assert command(flags | {"run": RUN}) == 0
    assert_told("pass", 0)
    capsys.readouterr()
    with pytest.raises(ConfigError, match=said):
        command(flags, asked)
    assert_told("error", 2)
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("::error title=ganaudit%3A ConfigError")
    assert (run / "check.json").exists() == ("run" not in flags)


def test_a_check_that_cannot_be_says_so_alone(run: Path, command: Callable[..., int]) -> None:
    with pytest.raises(ConfigError, match="--max-samples must be at least 512"):
        command({"run": RUN, "max": (LOOSE,), "max_samples": 3, "output": TOLD})
    assert not Path("out").exists()


def test_the_step_summary_is_that_of_the_environment(
    run: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert command({"run": RUN, "max": (LOOSE,), "output": ("github",)}, quiet=True) == 0
    assert "worst-rate" in Path("summary.md").read_text("utf-8")
