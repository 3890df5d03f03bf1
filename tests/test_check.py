"""`ganaudit check` through the real command line: every exit code, and that nothing looks green."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command, Ended

from ganaudit import baselines
from ganaudit.cli import main

Run = Callable[..., Ended]
SIZE = ("--anchors", "128", "--samples", "1024", "--device", "cpu")
DEMO = ("check", "--generator", "demo", *SIZE)
COLLAPSED = ("check", "--generator", "demo:collapsed", *SIZE)
OUTPUTS = {
    "junit": "out/junit.xml",
    "md": "out/check.md",
    "json": "out/check.json",
    "gitlab": "out/quality.json",
    "sarif": "out/files.sarif",
    "model-card": "out/card.md",
    "badge": "out/badge.svg",
    "github": "out/summary.md",
}
TOLD = tuple(word for name, path in OUTPUTS.items() for word in ("--output", f"{name}:{path}"))

USER_CODE = """
import torch


def made(function):
    function.latent_shape, function.prior, function.range = (3, 28, 28), "normal", (-3.0, 3.0)
    return function


def raising():
    raise RuntimeError("no weights")


def dying():
    alive = [True]

    def render(z):
        if not alive[0]:
            raise RuntimeError("gone")
        alive[0] = len(z) < 64  # the first images are few, then comes a batch, and the end
        return z

    return made(render)


def buggy():
    import ganaudit.release

    def broken(*arguments, **named):
        raise ZeroDivisionError("a bug of ours")

    ganaudit.release.diagnose.__globals__["measure"] = broken
    return made(lambda z: z)
"""


@pytest.fixture(autouse=True)
def _user_code(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER_CODE)


def user(factory: str) -> tuple[str, ...]:
    return ("check", "--generator", f"python:user.py:{factory}", "--descriptor", "digits", *SIZE)


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the demo, `run`, and of its baseline."""
    folder = tmp_path_factory.mktemp("made")
    run, file = str(folder / "run"), str(folder / "baseline.json")
    for arguments in (
        ("diagnose", *DEMO[1:], "--out", run),
        ("baseline", "save", run, "--out", file),
    ):
        ended = Command(folder, arguments).wait()
        assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def audited(_made: Path) -> Path:
    """A finished run of the demo."""
    return Path(shutil.copytree(_made / "run", "run"))


@pytest.fixture
def baseline(_made: Path, audited: Path) -> Path:
    """Of that run."""
    return Path(shutil.copyfile(_made / "baseline.json", "baseline.json"))


def document(path: str = "out/check.json") -> dict:
    return json.loads(Path(path).read_text("utf-8"))


def assert_nothing_looks_green(verdict: str, code: int) -> None:
    """Every output was written, and none of them shows a pass."""
    found = document()
    assert (found["verdict"], found["exit_code"]) == (verdict, code)
    suite = ET.parse(OUTPUTS["junit"]).getroot()
    cases = list(suite.iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None]
    bad += [case for case in cases if case.find("error") is not None]
    assert bad and int(suite.get("failures")) + int(suite.get("errors")) == len(bad)
    for name in ("md", "github", "badge", "model-card"):
        text = Path(OUTPUTS[name]).read_text("utf-8").lower()
        green = ("gate passed", "gates passed", ": pass", "**pass")
        assert verdict in text and not [word for word in green if word in text], name
    assert json.loads(Path(OUTPUTS["gitlab"]).read_text())
    assert json.loads(Path(OUTPUTS["sarif"]).read_text())["version"] == "2.1.0"


# -- exit codes ------------------------------------------------------------------------------


def test_a_kept_limit_is_exit_0(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "--max", "worst-rate=20%", *TOLD, "--out", "run", "--format", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)  # the result alone is on stdout
    assert found == document() == document("run/check.json")
    assert found["verdict"] == "pass"
    (gate,) = found["gates"]
    assert gate["found"]["high"] <= 0.2
    assert "worst-rate" in ended.err  # before the start: the samples that the gate needs
    assert ET.parse(OUTPUTS["junit"]).getroot().get("failures") == "0"
    assert json.loads(Path(OUTPUTS["gitlab"]).read_text()) == []


def test_a_broken_limit_is_exit_1(ganaudit: Run) -> None:
    ended = ganaudit(*COLLAPSED, "--max", "worst-rate=1%", *TOLD)
    assert ended.code == 1, ended.err
    assert_nothing_looks_green("fail", 1)
    assert document()["gates"][0]["found"]["low"] > 0.01
    assert ended.out.lstrip().startswith("Fail:")
    assert "::error title=" in ended.err and "::error" not in ended.out


def test_too_few_samples_is_exit_4_or_what_was_asked_for(ganaudit: Run, audited: Path) -> None:
    straddling = ("check", audited, "--max", "worst-rate=0.9%")
    ended = ganaudit(*straddling, *TOLD)
    assert ended.code == 4, ended.err
    assert_nothing_looks_green("inconclusive", 4)
    assert ganaudit(*straddling, "--inconclusive", "fail", *TOLD).code == 1
    assert_nothing_looks_green("inconclusive", 1)
    assert ganaudit(*straddling, "--inconclusive", "pass", *TOLD).code == 0
    suite = ET.parse(OUTPUTS["junit"]).getroot()
    assert suite.find(".//skipped") is not None and document()["verdict"] == "inconclusive"


def test_one_that_fails_fails_all(ganaudit: Run, audited: Path) -> None:
    limits = ("--max", "worst-rate=0.9%", "--max", "failures=0", "--min", "vendi=1000")
    ended = ganaudit("check", audited, *limits, "--format", "json")
    found = json.loads(ended.out)
    verdicts = {gate["gate"]: gate["verdict"] for gate in found["gates"]}
    assert verdicts == {"worst-rate": "inconclusive", "vendi": "fail", "failures": "pass"}
    assert ended.code == found["exit_code"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*DEMO,), "there is no limit to check"),
        ((*DEMO, "--max", "worst-rate"), "--max wants NAME=LIMIT"),
        ((*DEMO, "--max", "fid=3"), "there is no gate 'fid'"),
        ((*DEMO, "--max-increase", "mu"), "--max-increase needs a --baseline"),
        ((*DEMO, "--baseline", "absent.json"), "absent.json"),
        ((*DEMO, "--max", "mu=.2", "--rarefy"), "--rarefy needs a --baseline"),
        ((*DEMO, "--max", "mu=.2", "--max-samples", "9000"), "--until-decided"),
        ((*DEMO, "--max", "worst-rate=.2", "--until-decided"), "draws as many as it takes"),
        ((*DEMO[:3], "--max", "mu=.2", "--until-decided"), "--until-decided cannot decide mu"),
        ((*DEMO, "--max", "mu=.2", "--shard", "0/2"), "a part of a run has no verdict"),
        (("check", "--max", "mu=.2"), "what is to be checked?"),
        (("check", "absent", "--max", "mu=.2"), "absent holds no report.json"),
        (("check", "absent", "--max", "mu=.2", "--seed", "3"), "leave --seed out"),
    ],
)
def test_a_wrong_request_is_exit_2_and_one_sentence(
    ganaudit: Run, arguments: tuple[str, ...], said: str
) -> None:
    ended = ganaudit(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.complaint
    assert not Path("audit").exists()


def test_a_generator_that_cannot_be_audited_is_exit_3(ganaudit: Run) -> None:
    ended = ganaudit(*user("raising"), "--max", "worst-rate=2%", *TOLD)
    assert (ended.code, ended.out) == (3, "")
    assert "no weights" in ended.complaint
    assert_nothing_looks_green("error", 3)


def test_zero_scored_samples_never_pass(ganaudit: Run) -> None:
    limits = ("--max", "worst-rate=50%", "--max", "failures=99%", "--inconclusive", "pass")
    ended = ganaudit(*user("dying"), *limits, "--batch", "128", *TOLD)
    assert (ended.code, ended.out) == (3, "")
    assert_nothing_looks_green("error", 3)


def test_a_file_that_would_be_run_is_exit_5_and_a_finding(ganaudit: Run) -> None:
    with pytest.warns(match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.Identity()), "model.pt")
    options = ("--descriptor", "digits", "--set", "prior=normal", "--set", "latent_shape=3")
    command = ("check", "--generator", "torchscript:model.pt", *options, *SIZE)
    ended = ganaudit(*command, "--max", "worst-rate=2%", *TOLD)
    assert (ended.code, ended.out) == (5, "")
    assert_nothing_looks_green("error", 5)
    (result,) = json.loads(Path(OUTPUTS["sarif"]).read_text())["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (result["ruleId"], location) == ("unsafe-file", "model.pt")


def test_a_bug_of_ours_is_exit_6(ganaudit: Run) -> None:
    ended = ganaudit(*user("buggy"), "--max", "worst-rate=2%", *TOLD)
    assert (ended.code, ended.out) == (6, "")
    assert "this is a bug in ganaudit" in ended.err
    assert_nothing_looks_green("error", 6)


def test_an_output_that_cannot_be_written_is_exit_6_and_keeps_the_others(
    ganaudit: Run, audited: Path
) -> None:
    Path("taken").mkdir()
    outputs = ("--output", "junit:taken", "--output", "md:check.md")
    ended = ganaudit("check", audited, "--max", "worst-rate=20%", *outputs)
    assert ended.code == 6
    assert "taken cannot be written" in ended.complaint
    assert "pass" in Path("check.md").read_text("utf-8")
    assert document("run/check.json")["verdict"] == "pass"


def test_ctrl_c_is_exit_130_and_says_how_it_goes_on(
    start: Callable[..., Command], ganaudit: Run, slow_toy: tuple[str, ...]
) -> None:
    Path("slow").touch()
    command = ("check", *slow_toy[1:], "--max", "failures=50%", "--output", "json:c.json")
    running = start(*command, "--out", "run")
    while not list(Path("run/samples").glob("*.safetensors")):
        assert running.process.exitcode is None
    running.interrupt()
    ended = running.wait()
    assert (ended.code, ended.out) == (130, "")
    assert not Path("c.json").exists()
    Path("slow").unlink()
    assert ended.resuming == [*command, "--out", "run", "--resume"]
    again = ganaudit(*ended.resuming)
    assert again.code == 0, again.err
    assert document("c.json")["run"]["samples"] == 6000


def test_ctrl_c_before_anything_began_is_no_failed_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ganaudit.cli.running.run_check", interrupted)
    monkeypatch.setattr("sys.argv", ["ganaudit", "check", "run", "--max", "worst-rate=2%"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


# -- what must not pass ----------------------------------------------------------------------


def test_a_truncated_run_never_passes(ganaudit: Run, audited: Path) -> None:
    limit = ("--max", "worst-rate=50%", *TOLD)
    assert ganaudit("check", audited, *limit).code == 0
    shard = max((audited / "samples").iterdir())
    shard.rename("shard")
    ended = ganaudit("check", audited, *limit)
    assert ended.code == 2 and "truncated" in ended.complaint
    assert_nothing_looks_green("error", 2)
    shutil.move("shard", shard)
    report = json.loads((audited / "report.json").read_text())
    report["counts"]["samples"] = {"ok": 1023, "no_face": 0, "failed": 1, "refused": 0}
    (audited / "report.json").write_text(json.dumps(report))
    ended = ganaudit("check", audited, *limit)
    assert ended.code == 2 and "does not fit the stored samples" in ended.complaint
    (audited / "report.json").write_text((audited / "report.json").read_text()[:5000])
    assert ganaudit("check", audited, *limit).code == 2
    (audited / "report.json").unlink()
    ended = ganaudit("check", audited, *limit)
    assert ended.code == 2 and "no finished run" in ended.complaint
    assert_nothing_looks_green("error", 2)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("theta", 0.2, "the theta is"),
        ("radius", 0.1, "the radius is"),
        ("descriptor", None, "the descriptor is"),
    ],
)
def test_a_baseline_under_something_else_never_passes(
    ganaudit: Run, audited: Path, baseline: Path, key: str, value: object, said: str
) -> None:
    found = json.loads(baseline.read_text()) | {key: value}
    baseline.write_text(json.dumps(found))
    tolerant = ("--max-increase", "worst-rate=900%", "--inconclusive", "pass")
    for what in ((audited,), DEMO[1:]):  # a finished run; and before any sample is drawn
        ended = ganaudit("check", *what, "--baseline", baseline, *tolerant, *TOLD)
        assert ended.code == 2 and said in ended.complaint
        assert_nothing_looks_green("error", 2)
    assert not Path("audit").exists()


def test_a_descriptor_of_other_weights_is_named(
    ganaudit: Run, audited: Path, baseline: Path
) -> None:
    found = json.loads(baseline.read_text())
    found["descriptor"]["sha256"] = "0" * 64
    baseline.write_text(json.dumps(found))
    ended = ganaudit("check", audited, "--baseline", baseline)
    assert ended.code == 2 and "the descriptor sha256 is" in ended.complaint


def test_another_size_is_refused_and_rarefied_on_demand(ganaudit: Run, baseline: Path) -> None:
    more = ("--anchors", "192", "--samples", "2048", "--device", "cpu")
    against = ("--baseline", baseline, "--max-increase", "worst-rate=900%", "--format", "json")
    ended = ganaudit("check", "--generator", "demo", *more, *against, "--out", "large")
    assert ended.code == 2 and "--rarefy" in ended.complaint
    ended = ganaudit("check", "large", *against, "--rarefy")
    found = json.loads(ended.out)
    assert found["gates"][0]["change"]["estimate"] == pytest.approx(0)  # the same first slots
    few = ("--anchors", "64", "--samples", "512", "--device", "cpu")
    ended = ganaudit("check", "--generator", "demo", *few, *against, "--rarefy", "--out", "small")
    assert ended.code == 2 and "--anchors 128 --samples 1024" in ended.complaint


# -- a release against a baseline --------------------------------------------------------------


def test_a_release_takes_the_sizes_of_its_baseline(ganaudit: Run, baseline: Path) -> None:
    command = ("check", "--generator", "demo:collapsed", "--device", "cpu", "--baseline", baseline)
    ended = ganaudit(*command, "--format", "json")
    found = json.loads(ended.out)
    assert ended.code == 1
    assert (found["run"]["anchors"], found["run"]["samples"]) == (128, 1024)
    (gate,) = found["gates"]
    assert (gate["gate"], gate["kind"], gate["limit"]) == ("worst-rate", "max-increase", 0.4)
    assert gate["change"]["low"] > 0.4


def test_the_same_place_is_found_where_it_grew(ganaudit: Run, baseline: Path) -> None:
    """A baseline of the collapse itself, most of whose neighbours are taken away again."""
    assert ganaudit("diagnose", *COLLAPSED[1:], "--out", "bad").code == 0
    made = baselines.save(Path("bad"), Path("bad.json"))
    assert made.modes is not None
    found = json.loads(Path("bad.json").read_text())
    before = found["modes"][0]["count"]
    found["modes"][0]["count"] = before // 4
    Path("bad.json").write_text(json.dumps(found))
    ended = ganaudit("check", "bad", "--baseline", "bad.json", "--format", "json")
    (grown,) = json.loads(ended.out)["same_place"]["grown"]
    assert (grown["rank"], grown["anchor"]) == (1, made.modes.anchors[0])
    assert grown["before"]["count"] == before // 4 and grown["p"] < 0.05
    assert grown["now"]["count"] >= before


# -- sequential ------------------------------------------------------------------------------


def test_a_run_grows_until_it_is_decided_and_decides_the_same_again(ganaudit: Run) -> None:
    limit = ("--max", "worst-rate=4%", "--until-decided", "--format", "json")
    command = ("check", "--generator", "demo", "--anchors", "100", "--device", "cpu", *limit)
    found = json.loads(ganaudit(*command, "--out", "run").out)
    assert found["verdict"] == "pass"
    looked = found["sequential"]["samples"]
    assert looked % 512 == 0 and found["run"]["samples"] == looked
    report = json.loads(Path("run/report.json").read_text())
    assert report["request"]["samples"] == looked == report["counts"]["samples"]["ok"]
    shards = sorted(Path("run/samples").iterdir())
    assert len(shards) == looked // 512
    before = {path: path.stat().st_mtime_ns for path in shards}
    again = json.loads(ganaudit(*command, "--out", "run", "--resume").out)
    assert again["gates"] == found["gates"] and again["sequential"] == found["sequential"]
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is drawn twice
    assert sorted(Path("run/samples").iterdir()) == shards


def test_a_run_interrupted_and_one_with_more_samples_decide_the_same(ganaudit: Run) -> None:
    limit = ("--max", "worst-rate=2%", "--until-decided", "--format", "json")
    command = ("check", "--generator", "demo", "--anchors", "100", "--device", "cpu", *limit)
    whole = json.loads(ganaudit(*command, "--out", "run").out)
    looked = whole["sequential"]["samples"]
    assert looked > 512
    for path in sorted(Path("run/samples").iterdir())[1:]:  # as if it had been killed
        path.unlink()
    resumed = json.loads(ganaudit(*command, "--out", "run", "--resume").out)
    assert resumed["gates"] == whole["gates"]
    size = ("--anchors", "100", "--samples", str(looked + 1500), "--device", "cpu")
    assert ganaudit("diagnose", "--generator", "demo", *size, "--out", "more").code == 0
    larger = json.loads(ganaudit("check", "more", *limit).out)
    for name in ("verdict", "found", "sentence"):
        assert larger["gates"][0][name] == whole["gates"][0][name]
    assert larger["sequential"]["samples"] == looked


def test_what_is_not_decided_by_the_most_samples_is_inconclusive(ganaudit: Run) -> None:
    limit = ("--max", "worst-rate=1%", "--until-decided", "--max-samples", "600")
    ended = ganaudit(*DEMO[:3], "--anchors", "100", "--device", "cpu", *limit, "--format", "json")
    found = json.loads(ended.out)
    assert (ended.code, found["verdict"]) == (4, "inconclusive")
    assert found["sequential"]["samples"] == found["run"]["samples"] == 600
    assert "Not decided" in found["gates"][0]["sentence"]


# -- where limits come from --------------------------------------------------------------------


def test_limits_come_from_a_file_which_the_outputs_name(ganaudit: Run, audited: Path) -> None:
    Path("ganaudit.toml").write_text('[check]\nmin = ["vendi=1000"]\n')
    ended = ganaudit("check", audited, *TOLD)
    assert ended.code == 1
    assert document()["limits_file"] == "ganaudit.toml"
    (issue,) = json.loads(Path(OUTPUTS["gitlab"]).read_text())
    assert issue["location"]["path"] == "ganaudit.toml"


def test_a_dry_run_says_what_gates_need_and_makes_nothing(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "--max", "worst-rate=2%", "--dry-run", "--format", "json")
    assert ended.code == 0
    (need,) = json.loads(ended.out)["gates"]
    assert "worst-rate at most 2 %" in need and "1,616 samples" in need
    assert not Path("audit").exists()


# -- diff and baselines ------------------------------------------------------------------------


def test_diff_shows_every_figure_with_its_interval(ganaudit: Run, audited: Path) -> None:
    assert ganaudit("diagnose", *COLLAPSED[1:], "--out", "bad").code == 0
    ended = ganaudit("diff", audited, "bad", "--output", "md:diff.md", "--format", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    lines = {line["title"]: line for line in found["figures"]}
    worst = lines["Worst mode, rate"]
    gap = worst["b"]["estimate"] - worst["a"]["estimate"]
    assert worst["difference"]["estimate"] == pytest.approx(gap)
    assert worst["told_apart"] and worst["difference"]["low"] > 0
    assert "Worst mode, rate" in Path("diff.md").read_text("utf-8")
    same = json.loads(ganaudit("diff", audited, audited, "--format", "json").out)
    assert not any(line["told_apart"] for line in same["figures"])
    assert all(line["difference"]["estimate"] in (0, None) for line in same["figures"])


def test_diff_refuses_other_sizes_and_rarefies(ganaudit: Run, audited: Path) -> None:
    more = ("--anchors", "150", "--samples", "2000", "--device", "cpu")
    assert ganaudit("diagnose", "--generator", "demo", *more, "--out", "large").code == 0
    ended = ganaudit("diff", audited, "large")
    assert ended.code == 2 and "--rarefy" in ended.complaint
    found = json.loads(ganaudit("diff", audited, "large", "--rarefy", "--format", "json").out)
    assert found["b"]["samples"] == 1024 and found["b"]["anchors"] == 128
    assert all(line["difference"]["estimate"] in (0, None) for line in found["figures"])


def test_diff_refuses_another_theta(ganaudit: Run, audited: Path) -> None:
    assert ganaudit("diagnose", *DEMO[1:], "--theta", ".2", "--out", "other").code == 0
    ended = ganaudit("diff", audited, "other")
    assert ended.code == 2 and "the theta is" in ended.complaint


def test_a_baseline_replaces_a_baseline_and_nothing_else(
    ganaudit: Run, audited: Path, baseline: Path
) -> None:
    before = baseline.read_bytes()
    assert ganaudit("baseline", "save", audited, "--out", baseline).code == 0
    assert baseline.read_bytes() == before
    Path("mine.json").write_text("{}")
    ended = ganaudit("baseline", "save", audited, "--out", "mine.json")
    assert ended.code == 2 and "is no baseline" in ended.complaint
    assert Path("mine.json").read_text() == "{}"
    shown = ganaudit("baseline", "show", baseline)
    assert shown.code == 0 and "demo" in shown.out and "Mode 1" in shown.out
