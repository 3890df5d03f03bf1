import copy
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from conftest import Pixels, Toy
from report_example import with_reference

from ganaudit.config import DiagnoseConfig, OutputFormat
from ganaudit.diagnosis import Diagnosis
from ganaudit.errors import ConfigError, GanauditError
from ganaudit.pipeline import Audit, diagnose
from ganaudit.report import canonical, figures, outputs, table, terminal

FORMATS = get_args(OutputFormat)
FILES = tuple(name for name in FORMATS if name not in ("svg", "png"))
COLUMNS = ["slot", "count", "rate", "mean_similarity", "mccs", "count_half", "near_copy_p"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A finished run that wrote every format as it ended; nobody changes it."""
    folder = tmp_path_factory.mktemp("outputs")
    wanted = tuple(f"{name}:{folder}/new/{name}" for name in FORMATS)
    asked = DiagnoseConfig(
        generator="toy", anchors=64, samples=256, device="cpu", out=folder / "run", output=wanted
    )
    return diagnose(asked, source=Toy(), descriptor=Pixels())


@pytest.fixture
def run(whole: Audit, tmp_path: Path) -> Path:
    """A copy of that run's folder."""
    return Path(shutil.copytree(whole.folder, tmp_path / "run"))


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of each in a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {"" if file == path else file.name: file.read_bytes() for file in files}


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`ganaudit report ...` in this process: (exit code, stdout, stderr)."""
    from ganaudit.cli import main

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ganaudit", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def sentence(err: str) -> str:
    """What stderr says, if it is one line for a person."""
    assert err.startswith("ganaudit: ") and err.count("\n") == 1, err
    assert len(err) < 500
    return err.removeprefix("ganaudit: ").strip()


# -- every format -----------------------------------------------------------------------------


def test_a_run_keeps_its_page_its_charts_and_its_table(whole: Audit) -> None:
    kept = {path.name for path in whole.folder.iterdir()}
    assert kept == {
        "manifest.json", "anchors", "samples", "report.json", "report.html", "figures", "gallery",
        "per_anchor.parquet",
    }  # fmt: skip
    names = {f"{name}.{kind}" for name in figures.names() for kind in ("svg", "png")}
    assert {path.name for path in (whole.folder / "figures").iterdir()} == names


@pytest.mark.parametrize("name", FORMATS)
def test_a_report_made_again_has_the_bytes_that_the_run_wrote(
    name: OutputFormat, whole: Audit, report: Command, tmp_path: Path
) -> None:
    written = content(whole.folder.parent / "new" / name)
    assert all(written.values())
    for path in (Path("again"), Path("a/b/c")):
        code, out, err = report(whole.folder, "--output", f"{name}:{path}")
        assert (code, out, err) == (0, "", "")
        assert content(path) == written


def test_several_formats_are_written_at_once(whole: Audit, report: Command) -> None:
    wanted = [word for name in FORMATS for word in ("--output", f"{name}:out/{name}")]
    assert report(whole.folder, *wanted) == (0, "", "")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(FORMATS)


def test_what_is_written_beside_the_run_is_what_is_in_it(whole: Audit) -> None:
    new, own = whole.folder.parent / "new", whole.folder
    assert content(new / "json") == content(own / "report.json")
    assert content(new / "html") == content(own / "report.html")
    both = content(own / "figures")
    assert content(new / "svg") | content(new / "png") == both
    assert set(content(new / "svg")) == {f"{name}.svg" for name in figures.names()}
    assert b"# " in (new / "md").read_bytes()


def test_a_run_may_have_moved(run: Path, whole: Audit, report: Command) -> None:
    assert report(run, "--output", "html:page.html")[0] == 0
    assert content(Path("page.html")) == content(whole.folder / "report.html")
    shutil.rmtree(run / "gallery")
    assert report(run, "--output", "html:bare.html")[0] == 0
    assert b"data:image" not in Path("bare.html").read_bytes()
    assert b"data:image" in Path("page.html").read_bytes()


# -- the table --------------------------------------------------------------------------------


def assert_rows(found: pd.DataFrame, diagnosis: Diagnosis) -> None:
    assert list(found.columns) == COLUMNS
    wanted = {
        "slot": diagnosis.slot_by_anchor,
        "count": diagnosis.count_by_anchor,
        "rate": diagnosis.count_by_anchor / diagnosis.samples,
        "mean_similarity": diagnosis.similarity_by_anchor,
        "mccs": diagnosis.mccs_by_anchor,
        "count_half": diagnosis.tally.within_half,
        "near_copy_p": diagnosis.near_copies.adjusted,
    }
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].to_numpy(), values, err_msg=name)


def test_csv_and_parquet_have_a_row_an_anchor_with_the_diagnosis_numbers(whole: Audit) -> None:
    new = whole.folder.parent / "new"
    for found in (pd.read_csv(new / "csv"), pd.read_parquet(new / "parquet")):
        assert len(found) == whole.diagnosis.anchors == 64
        assert_rows(found, whole.diagnosis)
    assert_rows(table.read(whole.folder), whole.diagnosis)
    assert (new / "csv").read_text("utf-8").splitlines()[0] == ",".join(COLUMNS)


def test_a_table_that_is_missing_or_damaged_is_said(run: Path, report: Command) -> None:
    for text in (b"no parquet", b"PAR1" + bytes(100) + b"PAR1", b""):
        (run / table.NAME).write_bytes(text)
        code, out, err = report(run, "--output", "csv:rows.csv")
        assert (code, out) == (2, "")
        assert f"{table.NAME} cannot be read" in sentence(err)
    (run / table.NAME).unlink()
    code, _, err = report(run, "--output", "parquet:rows.parquet")
    assert code == 2 and f"{table.NAME} cannot be read" in sentence(err)
    assert not Path("rows.csv").exists() and not Path("rows.parquet").exists()


def test_a_table_that_cannot_be_written_is_said(whole: Audit, tmp_path: Path) -> None:
    (tmp_path / table.NAME).mkdir()
    with pytest.raises(GanauditError, match="per_anchor.parquet cannot be written: ") as caught:
        table.write_parquet(whole.diagnosis, tmp_path)
    assert caught.value.exit_code == 6


# -- what cannot be written -------------------------------------------------------------------


def test_a_path_that_cannot_be_written_ends_with_6_and_the_run_stays(
    config: Callable[..., DiagnoseConfig],
) -> None:
    Path("taken").write_text("a file")
    Path("folder").mkdir()
    wanted = ("json:first.json", "md:taken/report.md", "json:never.json")
    with pytest.raises(GanauditError, match=r"taken/report\.md cannot be written: ") as caught:
        diagnose(config(output=wanted), source=Toy(), descriptor=Pixels())
    assert caught.value.exit_code == 6
    assert content(Path("first.json")) == content(config().out / "report.json")
    assert (config().out / "report.html").exists()
    assert not Path("never.json").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_place_that_is_taken_is_said(name: str, whole: Audit, report: Command) -> None:
    Path("file").write_text("a file")
    Path("folder").mkdir()
    wrong = "file" if name in ("svg", "png") else "folder"
    for path in ("file/x", wrong):
        code, out, err = report(whole.folder, "--output", f"{name}:{path}")
        assert (code, out) == (6, "")
        assert f"{path} cannot be written: " in sentence(err)
    assert Path("file").read_text() == "a file" and not list(Path("folder").iterdir())


@pytest.mark.parametrize("pair", ["report.html", "html", "html:", ":x", "pdf:x", "HTML:x", ""])
def test_a_wrong_output_is_refused_before_anything_is_read(pair: str, report: Command) -> None:
    code, out, err = report("absent", "--output", pair)
    assert (code, out) == (2, "")
    assert f"--output wants FORMAT:PATH, FORMAT one of {', '.join(FORMATS)}" in sentence(err)


# -- what is no report ------------------------------------------------------------------------


def test_the_document_is_read_as_it_was_written(whole: Audit) -> None:
    assert canonical.read(whole.folder) == json.loads(json.dumps(whole.report))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "cannot be read as JSON: Expecting value"),
        (b"{", "cannot be read as JSON: "),
        (b"\xff\xfe", "cannot be read as JSON: 'utf-8' codec"),
        (b"[" * 200_000, "cannot be read as JSON: "),
        (b'{"a":' * 200_000, "cannot be read as JSON: "),
        (b"null", "has schema version None, wanted 3; run diagnose with --resume"),
        (b"[2]", "has schema version None, wanted 3"),
        (b'"schema_version"', "has schema version None"),
        (b"{}", "has schema version None"),
        (b'{"schema_version": 1}', "has schema version 1, wanted 3"),
        (b'{"schema_version": "2"}', "has schema version '2', wanted 3"),
        (
            b'{"schema_version": [[[[[[[[[[[[[[[[[[[[[[2]]]]]]]]]]]]]]]]]]]]]]}',
            "[[[[[[[[[, wanted 3",
        ),
        (b'{"schema_version": "' + b"\\u001b" * 99 + b'"}', r"'\x1b\x1b\x1b\x1b\x1, wanted 3"),
        (b'{"schema_version": 3, "x": NaN}', "cannot be read as JSON: "),
        (b'{"schema_version": 3, "x": [-Infinity]}', "cannot be read as JSON: "),
        (b'{"schema_version": 3, "x": 1e999}', "cannot be read as JSON: "),
        (b'{"schema_version": 3, "x": "\\ud800"}', "cannot be read as JSON: "),
        (b'{"schema_version": 3, "x": 1' + b"0" * 5000 + b"}", "cannot be read as JSON: "),
        (b'{"schema_version": 3}', "the report of run is not complete (KeyError: "),
    ],
    ids=range(19),
)
@pytest.mark.parametrize("more", [(), ("--output", "html:page.html")])
def test_a_document_that_is_none_is_one_sentence(
    text: bytes, said: str, more: tuple[str, ...], report: Command
) -> None:
    Path("run").mkdir()
    Path("run/report.json").write_bytes(text)
    code, out, err = report("run", *more)
    assert (code, out) == (2, "")
    assert said in sentence(err)
    assert sorted(path.name for path in Path().iterdir()) == ["run"]


def test_a_folder_without_a_report_is_one_sentence(report: Command) -> None:
    Path("empty").mkdir()
    Path("dir/report.json").mkdir(parents=True)
    Path("file").touch()
    for name in ("absent", "empty", "dir", "file", "x" * 5000):
        code, out, err = report(name)
        assert (code, out) == (2, "")
        if len(name) < 99:
            assert f"{name} holds no report.json: it is no finished run" in sentence(err)


def test_a_huge_document_is_not_read(report: Command) -> None:
    Path("run").mkdir()
    with Path("run/report.json").open("wb") as file:
        file.truncate(2**25 + 1)  # a hole: nothing is on the disk
    code, out, err = report("run", "--format", "json")
    assert (code, out) == (2, "")
    assert "is larger than 32 MiB" in sentence(err)


def keys(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document; of a list, its first item."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from keys(value[0], (*path, 0))


WRONG: tuple[Any, ...] = (None, "text \x1b[31m", -1, 1e300, True, [], {}, [[]], {"a": {}}, 10**400)


def spoilt(document: dict[str, Any], path: tuple[Any, ...], wrong: Any) -> dict[str, Any]:
    """The document with something else, or nothing at all (...), in one place."""
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if wrong is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = wrong
    return changed


def test_whatever_a_document_lacks_is_told_or_not_needed(
    whole: Audit, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the terminal and as Markdown, which are quick; everywhere in the document."""
    document = canonical.read(whole.folder)
    places = list(keys(document))
    assert len(places) > 150
    rng = np.random.default_rng(0)
    refused = 0
    for path in places:
        for wrong in (..., WRONG[rng.integers(len(WRONG))], WRONG[rng.integers(len(WRONG))]):
            changed = spoilt(document, path, wrong)
            for show in (
                lambda d: terminal.show(d, folder=whole.folder),
                lambda d: outputs.render("md", d, whole.folder),
            ):
                try:
                    with outputs.complete(whole.folder):
                        show(changed)
                except ConfigError as error:
                    assert "is not complete (" in str(error) and "\n" not in str(error)
                    refused += 1
    assert refused > 100
    assert "\x1b" not in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore")  # a chart of nonsense may warn
@pytest.mark.parametrize("seed", range(2))
def test_the_page_and_the_charts_of_a_spoilt_document_are_refused_or_made(
    seed: int, whole: Audit
) -> None:
    document = canonical.read(whole.folder)
    rng = np.random.default_rng(seed)
    places = [path for path in keys(document) if path[0] in ("figures", "gallery", "screen")]
    for place in rng.permutation(len(places))[:3]:
        changed = spoilt(document, places[place], (..., *WRONG)[rng.integers(len(WRONG) + 1)])
        for wanted in (("html", Path("page.html")), ("svg", Path("charts"))):
            try:
                with outputs.complete(whole.folder):
                    outputs.write(changed, whole.folder, [wanted])  # type: ignore[list-item]
            except ConfigError as error:
                assert "is not complete (" in str(error)


def test_an_error_of_ours_is_not_taken_for_a_damaged_document() -> None:
    for error in (GanauditError("full"), KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)) as caught, outputs.complete(Path("run")):
            raise error
        assert caught.value is error


def test_deep_nesting_inside_a_report_is_refused(run: Path, report: Command) -> None:
    document = json.loads((run / "report.json").read_text("utf-8"))
    deep: Any = "the bottom"
    for _ in range(900):
        deep = {"a": deep}
    document["generator"] = deep
    (run / "report.json").write_text(json.dumps(document), "utf-8")
    for more in ((), ("--output", "html:page.html"), ("--output", "md:page.md")):
        code, _, err = report(run, *more)
        assert code == 2 and "is nested more than 100 deep" in sentence(err)


# -- on the terminal --------------------------------------------------------------------------


def test_the_document_is_printed_as_json(whole: Audit, report: Command) -> None:
    code, out, err = report(whole.folder, "--format", "json")
    assert (code, err) == (0, "")
    assert out.encode() == (whole.folder / "report.json").read_bytes()


def test_the_summary_is_that_of_the_run(
    whole: Audit, report: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = report(whole.folder)
    assert (code, err) == (0, "")
    terminal.show(whole.report, folder=whole.folder)
    assert capfd.readouterr().out == out
    assert out.splitlines()[-2:] == [
        str(whole.folder / "report.html"), str(whole.folder / "report.json")
    ]  # fmt: skip
    for word in ("healthy", "no collapse", "pass", "fail"):
        assert word not in out.lower()


def test_nothing_in_a_report_steers_the_terminal(whole: Audit, run: Path, report: Command) -> None:
    document = json.loads((run / "report.json").read_text("utf-8"))
    evil = "\x1b]0;mine\x07\x1b[2J\x9b31m[bold]\u202eno\r\ntwo lines[/bold]"
    document["descriptor"]["name"] = evil
    document["scale"]["theta_origin"] = evil
    document["counts"][evil] = document["counts"]["samples"]
    document["screen"]["findings"] = document["warnings"] = document["assumptions"] = [evil]
    document["reference"] = with_reference()["reference"] | {"folder": evil, "sentences": [evil]}
    (run / "report.json").write_text(json.dumps(document), "utf-8")
    code, out, err = report(run)
    assert (code, err) == (0, "")
    assert all(c.isprintable() or c == "\n" for c in out)
    assert out.count("[/bold]") >= 6  # no markup either


def test_an_unknown_format_is_refused(whole: Audit, report: Command) -> None:
    code, out, err = report(whole.folder, "--format", "xml")
    assert (code, out) == (2, "")
    assert "--format must be one of rich, json, got 'xml'" in sentence(err)
