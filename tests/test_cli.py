import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ONNX_OPTIONS, Command, Ended, read_report, save_onnx, without_timings
from PIL import Image

from ganaudit.report.words import headline

Run = Callable[..., Ended]
DEMO = ("diagnose", "--generator", "demo", "--anchors", "32", "--samples", "64", "--device", "cpu")

USER_CODE = """
import time
import torch


def made(function):
    function.latent_shape, function.prior, function.range = (3, 6, 6), "normal", (-3.0, 3.0)
    return function


def raising():
    raise RuntimeError("no weights\\nanywhere")


def leaving():
    raise SystemExit(0)


def misshapen():
    return made(lambda z: z.flatten(1))


def nan():
    return made(lambda z: z * float("nan"))


def flat():
    return made(lambda z: z * 0)


def sleeping():
    return made(lambda z: time.sleep(600))


def slow_to_open():
    time.sleep(600)


def talking():
    print("loading weights")

    def render(z):
        print("rendering")
        return z

    return made(render)
"""


@pytest.fixture(autouse=True)
def _user_code(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER_CODE)


def user(factory: str, *more: str) -> tuple[str, ...]:
    replaced = ("diagnose", "--generator", f"python:user.py:{factory}", "--descriptor", "digits")
    return (*replaced, *DEMO[3:], *more)


# -- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("diagnose",), 2, "--generator is needed"),
        (("diagnose", "--generator", "absent.bin"), 2, "absent.bin: no such file"),
        ((*DEMO, "--descriptor", "absent.onnx"), 2, "absent.onnx: no such file"),
        ((*DEMO, "--descriptor", "onnx:absent.onnx"), 2, "onnx: no such file: absent.onnx"),
        ((*DEMO, "--theta", "0"), 2, "--theta must be in [1e-06, 1], a fraction of pi, got 0.0"),
        ((*DEMO, "--theta", "2"), 2, "--theta must be in [1e-06, 1], a fraction of pi, got 2.0"),
        ((*DEMO, "--theta", "nan"), 2, "--theta must be in [1e-06, 1], a fraction of pi, got nan"),
        (
            (*DEMO, "--radius", "-1"),
            2,
            "--radius must be in [1e-06, 1], a fraction of pi, got -1.0",
        ),
        ((*DEMO, "--anchors", "0"), 2, "--anchors must be at least 1, got 0"),
        ((*DEMO, "--samples", "-5"), 2, "--samples must be at least 1, got -5"),
        ((*DEMO, "--seed", "-1"), 2, "seed must be in [0, 2**63), got -1"),
        ((*DEMO, "--timeout-s", "0"), 2, "--timeout-s must be positive and below 1e7, got 0.0"),
        ((*DEMO, "--format", "xml"), 2, "--format must be one of rich, json, got 'xml'"),
        ((*DEMO, "--backend", "scann"), 2, "--backend must be one of auto, torch, faiss"),
        ((*DEMO, "--device", "tpu"), 2, "--device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        ((*DEMO, "--output", "page.html"), 2, "--output wants FORMAT:PATH, FORMAT one of html, md"),
        ((*DEMO, "--output", "pdf:page"), 2, "csv, parquet, svg, png; got 'pdf:page'"),
        ((*DEMO, "--keep", "all"), 2, "--keep must be one of auto, thumbnails, none, got 'all'"),
        ((*DEMO, "--reference", ""), 2, "--reference wants a folder of images, got an empty name"),
        ((*DEMO, "--reference", "absent"), 2, "--reference absent: no such file"),
        ((*DEMO, "--reference", "demo"), 2, "--reference demo is a generator; name a folder"),
        ((*DEMO, "--reference", "absent", "--dry-run"), 2, "--reference absent: no such file"),
        (("report", "absent"), 2, "absent holds no report.json: it is no finished run"),
        (("report", "absent", "--output", "page.html"), 2, "--output wants FORMAT:PATH"),
        ((*DEMO, "--set", "psi=1"), 2, "the generator 'demo' has no option 'psi'"),
        ((*DEMO, "--set", "psi"), 2, "--set wants KEY=VALUE, got 'psi'"),
        ((*DEMO, "--set", "descriptor.size=1"), 2, "the descriptor 'digits' has no option 'size'"),
        (("plugins", "onxn"), 2, "no plugin is called 'onxn'; did you mean 'onnx'?"),
        (user("absent"), 2, "user.py has no function 'absent'"),
        (user("raising"), 3, "the factory 'raising' raised RuntimeError: no weights anywhere"),
        (user("leaving"), 3, "the factory 'leaving' raised SystemExit: 0"),
        (user("misshapen"), 3, "none of the first 8 images can be used: images must have 4 dim"),
        (user("nan"), 3, "none of the first 8 images can be used: the image holds NaN or inf"),
        (user("flat"), 3, "none of the first 8 images can be used: the image is a single colour"),
        (user("sleeping", "--timeout-s", "0.5"), 3, "took longer than 0.5 s (--timeout-s)"),
        (user("slow_to_open", "--timeout-s", "0.5"), 3, "opening the generator took longer than"),
        (user("sleeping", "--timeout-s", "0.5", "--dry-run"), 3, "took longer than 0.5 s"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(
    ganaudit: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = ganaudit(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.complaint
    assert len(ended.complaint) < 400
    assert len(ended.err.splitlines()) == 1  # and it alone: there is nothing to resume
    assert not Path("audit").exists()


def test_an_unknown_option_is_a_usage_error(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "--tehta", "0.3")
    assert (ended.code, ended.out) == (2, "")
    assert "--tehta" in ended.err
    assert "--theta" in ended.err  # the nearest
    assert ganaudit(*DEMO[:-2], "--samples", "many").code == 2


def test_a_descriptor_that_is_no_onnx_is_one_sentence(ganaudit: Run) -> None:
    Path("text.onnx").write_text("I am a text")
    options = [word for option in ONNX_OPTIONS for word in ("--set", option)]
    scale = ("--theta", "0.3", "--radius", "0.2")
    ended = ganaudit(*DEMO, "--descriptor", "text.onnx", *options, *scale)
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaint.startswith("text.onnx cannot be read as an ONNX network: ")
    bare = ganaudit(*DEMO, "--descriptor", "text.onnx", *scale)
    assert "needs its size, mean, std" in bare.complaint


@pytest.mark.parametrize(("value", "said"), [(0.0, "is zero"), (np.nan, "is not finite")])
def test_rows_that_describe_nothing_are_the_descriptors_fault(
    ganaudit: Run, value: float, said: str
) -> None:
    import onnx

    path = save_onnx(Path("tiny.onnx"))
    model = onnx.load(path)
    matrix = np.full((48, 8), value, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(matrix, "matrix"))
    onnx.save(model, path)
    options = [word for option in ONNX_OPTIONS for word in ("--set", option)]
    scale = ("--theta", "0.3", "--radius", "0.2")
    ended = ganaudit(*DEMO, "--descriptor", path, *options, *scale)
    assert (ended.code, ended.out) == (2, "")
    assert f"the descriptor returned a row that {said}" in ended.complaint


def test_a_pickle_is_refused_as_unsafe(ganaudit: Run) -> None:
    Path("model.pkl").write_bytes(b"cos\nsystem\n(Vtouch ran\ntR.")
    ended = ganaudit("diagnose", "--generator", "model.pkl", "--descriptor", "digits")
    assert (ended.code, ended.out) == (5, "")
    assert "model.pkl asks for os.system" in ended.complaint
    assert not Path("ran").exists()


def test_a_folder_of_another_run_is_refused_and_left_alone(ganaudit: Run) -> None:
    assert ganaudit(*DEMO, "--out", "run", "-q").code == 0
    before = read_report(Path("run"))
    taken = ganaudit(*DEMO, "--out", "run")
    assert (taken.code, taken.out) == (2, "")
    assert "run already holds a run; continue it with --resume" in taken.complaint
    other = ganaudit(*DEMO, "--out", "run", "--resume", "--seed", "7")
    assert (other.code, other.out) == (2, "")
    assert "run holds another run: seed is 0 there and 7 in this request" in other.complaint
    assert read_report(Path("run")) == before


# -- what ends early and goes on --------------------------------------------------------------


def reference(ganaudit: Run, arguments: tuple[str, ...]) -> dict[str, object]:
    assert ganaudit(*arguments, "--out", "reference", "-q").code == 0
    return read_report(Path("reference"))


def test_a_full_disk_keeps_what_is_there_and_says_how_to_go_on(ganaudit: Run) -> None:
    arguments = (*DEMO[:3], "--anchors", "32", "--samples", "600", "--device", "cpu")
    # 32 rows of 64 float32 fit into 100,000 bytes, 512 do not.
    full = ganaudit(*arguments, "--out", "my run", fsize=100_000)
    assert (full.code, full.out) == (6, "")
    assert "cannot be written" in full.complaint
    assert not Path("my run/report.json").exists()
    assert [path.name for path in Path("my run/samples").iterdir()] == []
    again = ganaudit(*full.resuming)
    assert again.code == 0
    assert read_report(Path("my run")) == reference(ganaudit, arguments)


def test_a_disk_that_is_full_at_the_end_keeps_the_report(ganaudit: Run) -> None:
    # Rows, pictures and report.json fit into 60,000 bytes each; the page does not.
    full = ganaudit(*DEMO, "--out", "run", fsize=60_000, drawn=True)
    assert (full.code, full.out) == (6, "")
    assert "run/report.html cannot be written: " in full.complaint
    before = read_report(Path("run"))
    assert ganaudit("report", "run", "--output", "html:page.html").code == 0
    assert ganaudit(*full.resuming, "-q", drawn=True).code == 0
    assert read_report(Path("run")) == before
    timed = Path("run/report.html").read_text("utf-8"), Path("page.html").read_text("utf-8")
    assert len(timed[0]) == pytest.approx(len(timed[1]), rel=0.01)  # but for its timings


def test_a_result_that_cannot_be_printed_is_not_lost(ganaudit: Run) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    for form in ("json", "rich"):
        ended = ganaudit(*DEMO, "-q", "--format", form, "--out", form, out=Path("/dev/full"))
        assert ended.code == 6
        assert ended.complaint.startswith("the result cannot be printed")
        assert f"it is {form}/report.json" in ended.complaint
        assert read_report(Path(form))["counts"]["samples"]["ok"] == 64


def test_ctrl_c_keeps_what_is_there_and_says_how_to_go_on(
    ganaudit: Run, start: Callable[..., Command], slow_toy: tuple[str, ...]
) -> None:
    Path("slow").touch()
    running = start(*slow_toy)
    while not list(Path().glob("audit/samples/*.safetensors")):
        assert running.process.is_alive()
        time.sleep(0.02)
    running.interrupt()
    ended = running.wait()
    assert (ended.code, ended.out) == (130, "")
    assert ended.complaint == "interrupted; what was made is kept; continue with"
    assert ended.resuming == [*slow_toy, "--out", "audit", "--resume"]
    assert not Path("audit/report.json").exists()

    Path("slow").unlink()
    again = ganaudit(*ended.resuming, "--format", "json")
    assert again.code == 0
    assert read_report(Path("audit")) == reference(ganaudit, slow_toy)


def test_ctrl_c_before_anything_is_made_has_nothing_to_resume(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    Path("late.py").write_text(
        "import time\ndef make():\n    open('opening', 'w')\n    time.sleep(99)"
    )
    running = start("diagnose", "--generator", "python:late.py:make", "--descriptor", "digits")
    while not Path("opening").exists():
        assert running.process.is_alive()
        time.sleep(0.02)
    running.interrupt()
    ended = running.wait()
    assert (ended.code, ended.out, ended.err) == (130, "", "")


# -- the streams ------------------------------------------------------------------------------


def test_json_alone_is_on_stdout_and_progress_on_stderr(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "--format", "json")
    assert ended.code == 0
    assert without_timings(json.loads(ended.out)) == read_report(Path("audit"))
    for line in ("anchors: 32 of 32", "samples: 64 of 64", "scoring: 64 of 64"):
        assert line in ended.err


def test_the_summary_names_the_worst_mode_the_folder_and_no_verdict(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "--out", "run", drawn=True)
    assert ended.out.splitlines()[-2] == "run/report.html"
    said = " ".join(ended.out.split())
    assert headline(read_report(Path("run"))) in said
    assert ended.out.splitlines()[-1] == "run/report.json"
    for word in ("healthy", "no collapse", "pass", "fail"):
        assert word not in ended.out.lower()


def test_quiet_is_silent_on_stderr_and_says_the_result(ganaudit: Run) -> None:
    ended = ganaudit(*DEMO, "-q", "--format", "json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["schema_version"] == 3


def test_a_finished_run_is_reported_again(ganaudit: Run) -> None:
    wanted = ("--output", "html:page.html", "--output", "csv:rows.csv")
    run = ganaudit(*DEMO, "--out", "run", "-q", *wanted)
    assert run.code == 0
    before = [Path(name).read_bytes() for name in ("page.html", "rows.csv")]
    assert len(before[1].splitlines()) == 33
    again = ganaudit("report", "run", *wanted)
    assert (again.code, again.out, again.err) == (0, "", "")
    assert [Path(name).read_bytes() for name in ("page.html", "rows.csv")] == before
    shown = ganaudit("report", "run")
    assert (shown.code, shown.out, shown.err) == (0, run.out, "")
    whole = ganaudit("report", "run", "--format", "json")
    assert whole.out.encode() == Path("run/report.json").read_bytes()


def test_a_reference_is_compared_and_named(ganaudit: Run) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(70):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(f"photos/{i}.png")
    ended = ganaudit(*DEMO, "--reference", "photos", "--out", "run")
    assert ended.code == 0, ended.err
    assert "reference: 70 of 70" in ended.err
    section = read_report(Path("run"))["reference"]
    assert (section["images"], section["anchors"] + section["samples"]) == (70, 70)
    assert all(text in " ".join(ended.out.split()) for text in section["sentences"])


def test_what_user_code_prints_does_not_mix_with_the_result(ganaudit: Run) -> None:
    ended = ganaudit(*user("talking", "--format", "json", "-q"))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["request"]["generator"] == "python:user.py:talking"
    assert "loading weights" in ended.err
    dry = ganaudit(*user("talking", "--format", "json", "--dry-run"))
    assert json.loads(dry.out)["request"]["generator"] == "python:user.py:talking"


def test_verbose_says_where_settings_come_from(ganaudit: Run) -> None:
    Path("pyproject.toml").write_text("[tool.ganaudit]\ntheta = 0.25\n")
    ended = ganaudit(*DEMO, "--verbose")
    assert "theta = 0.25  ([tool.ganaudit])" in ended.err
    assert "anchors = 32  (flag)" in ended.err
    assert "seed = 0  (default)" in ended.err


@pytest.mark.parametrize("form", ["rich", "json"])
def test_a_dry_run_writes_nothing(ganaudit: Run, form: str) -> None:
    before = sorted(Path().rglob("*"))
    ended = ganaudit(*DEMO, "--dry-run", "--format", form)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(Path().rglob("*")) == before
    if form == "json":
        outlook = json.loads(ended.out)
        assert outlook["estimate"]["images"] == 96
        assert outlook["origins"]["anchors"] == "flag"
    else:
        assert "96 slots, the first image 16 x 16" in ended.out


@pytest.mark.parametrize("form", ["rich", "json"])
def test_a_dry_run_of_a_training_writes_nothing(ganaudit: Run, form: str) -> None:
    before = sorted(Path().rglob("*"))
    words = ("train", "--data", "toy:ring", "--steps", "7", "--reg", "adaptivemix")
    ended = ganaudit(*words, "--dry-run", "--format", form)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(Path().rglob("*")) == before
    if form == "json":
        outlook = json.loads(ended.out)
        assert outlook["recipe"]["steps"] == 7 and outlook["origins"]["steps"] == "flag"
        assert set(outlook["parameters"]) == {"generator", "discriminator"}
    else:
        assert "adaptivemix.sigma" in ended.out and "40802" in ended.out.replace(",", "")


def test_plugins_are_listed_and_explained(ganaudit: Run) -> None:
    names = {entry["name"] for entry in json.loads(ganaudit("plugins", "--format", "json").out)}
    assert {"demo", "python", "images", "embeddings", "checkpoint", "digits", "onnx"} <= names
    listing = ganaudit("plugins")
    assert (listing.code, listing.err) == (0, "")
    assert all(name in listing.out for name in names)
    both = json.loads(ganaudit("plugins", "onnx", "--format", "json").out)
    assert [entry["kind"] for entry in both] == ["generator", "descriptor"]
    found = both[1]
    assert "latent_input: str | None = None" in both[0]["options"]
    assert "mean: tuple[float, ...] | None = None" in found["options"]
    hidden = ("device", "trust")
    assert not any(option.startswith(hidden) for entry in both for option in entry["options"])
    shown = ganaudit("plugins", "onnx")
    assert "--set descriptor.mean: tuple[float, ...] | None = None" in shown.out
    assert "Open an ONNX file as a descriptor." in shown.out


def test_the_doctor_names_versions_and_remedies(ganaudit: Run) -> None:
    found = {
        entry["what"]: entry for entry in json.loads(ganaudit("doctor", "--format", "json").out)
    }
    assert {"ganaudit", "python", "torch", "numpy", "CPU", "generators", "descriptors"} <= set(
        found
    )
    assert "demo" in found["generators"]["detail"]
    assert all((entry["state"] == "missing") == bool(entry["remedy"]) for entry in found.values())
    shown = ganaudit("doctor")
    assert (shown.code, shown.err) == (0, "")
    assert found["torch"]["detail"] in shown.out


@pytest.mark.parametrize("arguments", [("plugins",), ("doctor",)])
def test_an_unknown_format_is_refused(ganaudit: Run, arguments: tuple[str, ...]) -> None:
    ended = ganaudit(*arguments, "--format", "xml")
    assert (ended.code, ended.out) == (2, "")


def test_help_is_there_without_the_heavy_imports() -> None:
    asking = (
        "import sys\n"
        "from ganaudit.cli import main\n"
        "for verb in ([], ['diagnose'], ['report'], ['plugins'], ['doctor']):\n"
        "    sys.argv = ['ganaudit', *verb, '--help']\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'faiss', 'onnxruntime', 'matplotlib', "
        "'jinja2'}\n"
        "print('heavy:', sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "heavy: []"
    for word in (
        "diagnose",
        "--generator",
        "--theta",
        "fraction of pi",
        "--resume",
        "--dry-run",
        "report",
        "--reference",
        "--output",
        "FORMAT:PATH",
    ):
        assert word in done.stdout


def test_the_installed_command_audits_the_demo(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("ganaudit")
    if not command.exists():
        pytest.skip(f"no command is installed at {command}")
    done = subprocess.run([command, *DEMO], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert headline(read_report(tmp_path / "audit")) in " ".join(done.stdout.split())
    assert read_report(tmp_path / "audit")["counts"]["samples"]["ok"] == 64
