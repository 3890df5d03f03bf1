import json
import re
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from check_example import (
    COMMANDS,
    GATES,
    VARIANTS,
    crowded,
    document,
    empty,
    error,
    failed,
    gate,
    hostile,
    inconclusive,
    many,
    passed,
    relative,
    sequential,
)
from junitparser import JUnitXml
from report_example import HOSTILE
from test_report_markdown import LIVE, shown, tokens
from xmlschema import XMLSchema10

from ganaudit.report import (
    badge,
    check_terminal,
    github,
    gitlab,
    junit,
    pull_request,
    verdicts,
)

JUNIT_10 = XMLSchema10(Path(__file__).parent / "data" / "junit-10.xsd")
GREEN = {"pass", "inconclusive, pass", "sequential"}  # variants that end with exit code 0
UNSEEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\ud800-\udfff\ufffe\uffff]")
RUNNER = re.compile(r"^\s*::|##\w*\[")  # where a line is a command to a runner of CI jobs


@pytest.fixture(params=VARIANTS)
def variant(request: Any) -> Any:
    return request.param


def suite_of(report: Any) -> Any:
    (suite,) = JUnitXml.fromstring(junit.render(report).encode())
    return suite


def results(report: Any) -> dict[str, list[tuple[str, str | None, str | None]]]:
    """Of every case: tag, type and message of what it is but passed."""
    return {
        case.name: [(type(r).__name__, r.type, r.message) for r in case.result]
        for case in suite_of(report)
    }


def commands(report: Any) -> list[tuple[str, str, str]]:
    """Level, title and message of every annotation, read as GitHub's runner reads a line."""
    found = []
    for text in github.annotations(report):
        assert len(re.split(r"[\r\n]", text)) == 1
        assert text.startswith("::")
        head, data = text[2:].split("::", 1)
        level, properties = head.split(" ", 1)
        (pair,) = properties.split(",")
        name, title = pair.split("=", 1)
        assert name == "title"
        for code, character in (
            ("%0D", "\r"),
            ("%0A", "\n"),
            ("%3A", ":"),
            ("%2C", ","),
            ("%25", "%"),
        ):
            title = title.replace(code, character)
        for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            data = data.replace(code, character)
        found.append((level, title, data))
    return found


def issues(report: Any) -> list[Any]:
    return json.loads(gitlab.render(report))


def halves(report: Any) -> tuple[str, str]:
    root = ElementTree.fromstring(badge.render(report))
    left, right = root.iter("{http://www.w3.org/2000/svg}text")
    return str(left.text), str(right.text)


def printed(report: Any, capsys: Any, folder: Path = Path("nowhere")) -> str:
    check_terminal.show(report, folder=folder)
    out, err = capsys.readouterr()
    assert err == ""
    return out


# Every output


def test_only_what_ends_with_0_shows_as_no_failure(variant: str, capsys: Any) -> None:
    report = VARIANTS[variant]()
    green = variant in GREEN
    suite = suite_of(report)
    assert (suite.failures + suite.errors == 0) == green
    assert ("error" not in [level for level, _, _ in commands(report)]) == green
    word = verdicts.verdict(report)
    assert (word == "pass") == (variant in {"pass", "sequential"})
    assert (issues(report) == []) == (word == "pass")
    assert f"\n## ganaudit check: {word}\n" in pull_request.render(report)
    assert halves(report)[1].endswith(word)
    assert printed(report, capsys).startswith(f"\n{word.capitalize()}: ")


def test_the_same_check_gives_the_same_text(variant: str) -> None:
    for render in (junit.render, gitlab.render, pull_request.render, badge.render, github.summary):
        assert render(VARIANTS[variant]()) == render(VARIANTS[variant]())


def test_no_output_changes_the_document(variant: str, capsys: Any) -> None:
    report = VARIANTS[variant]()
    for render in (junit.render, gitlab.render, badge.render, github.summary, github.annotations):
        render(report)
    check_terminal.show(report, folder=Path("nowhere"))
    assert report == VARIANTS[variant]()


@pytest.mark.parametrize("text", [*HOSTILE, *COMMANDS])
def test_a_line_is_one_line_that_can_be_seen(text: str) -> None:
    found = verdicts.line(text)
    assert found.isprintable() and len(found) <= 400
    assert "  " not in found and found == found.strip()
    seen = [c for c in text if c.isprintable() and c != " "]
    assert [c for c in found if c != " "] == seen


def test_a_line_is_cut() -> None:
    assert verdicts.line("x" * 400) == "x" * 400
    assert verdicts.line("x" * 401) == "x" * 399 + "…"


# What is said


def test_the_baseline_is_said_with_the_change_from_it() -> None:
    gates = relative()["gates"]
    # figures of check_example.relative(): 8.05, 7.2 and 9.0 more than a baseline of 0.0088
    assert verdicts.against(gates[0]) == "9.05 times (8.20 times to 10.0 times), was 0.88 %"
    assert verdicts.against(gates[1]) == "39.0 % more (at least 31.0 % more), was 0.0940"
    # -0.041, of which interval() makes ends 3.5 times and -1.5 times as large
    assert verdicts.against(gates[2]) == "4.10 % less (14.4 % less to 6.15 % more), was 63.9"
    assert verdicts.against(gates[3]) == "not known"
    gates[1]["change"] = {"estimate": None, "low": None, "high": 12.0}
    assert verdicts.against(gates[1]) == "not known (at most 13.0 times), was 0.0940"
    assert verdicts.against(gate()) == verdicts.NOT_RELATIVE


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 % more"), (0.4, "40.0 % more"), (2.99, "3.99 times"), (3, "4.00 times"),
     (-1, "100 % less"), (None, "not known")],
)  # fmt: skip
def test_a_change_is_in_words(share: Any, said: str) -> None:
    assert verdicts.change(share) == said


def test_without_a_descriptor_embeddings_were_given() -> None:
    report = passed()
    report["run"]["descriptor"] = None
    assert "under the given embeddings, theta" in pull_request.render(report)
    properties = {p.name: p.value for p in suite_of(report).properties()}
    assert properties["descriptor"] == "the given embeddings"
    assert "under the descriptor mobilefacenet, theta" in pull_request.render(passed())


def test_figures_that_are_not_known_are_said_to_be_so() -> None:
    nothing = {"estimate": None, "low": None, "high": None}
    assert verdicts.figures(gate(found=nothing)) == "Found not known (no interval)."
    assert verdicts.figures(gate(found=nothing | {"high": 0.003})) == (
        "Found not known (at most 0.300 %)."
    )
    assert verdicts.figures(gate(found={"estimate": 0.02, "low": 0.01, "high": 0.03})) == (
        "Found 2.00 % (1.0 % to 3.0 %)."
    )


@pytest.mark.parametrize("how", ["report", "pass", "fail"])
def test_it_is_said_what_an_inconclusive_gate_counts_as(how: str, capsys: Any) -> None:
    report = inconclusive(how)
    sentence = verdicts.policy(report)
    counts_as = {"report": "neither passed nor failed", "pass": "as passed", "fail": "as failed"}
    assert sentence is not None and counts_as[how] in sentence
    for text in (junit.render(report), pull_request.render(report), printed(report, capsys)):
        assert sentence in text
    assert verdicts.policy(passed()) is None
    assert sentence not in pull_request.render(passed())


def test_many_warnings_are_cut_to_a_bounded_list() -> None:
    report = passed() | {"warnings": [f"w {i}" for i in range(20)]}
    assert verdicts.notes(report) == [("Warning", f"w {i}") for i in range(20)]
    report["warnings"].append("w 20")
    notes = verdicts.notes(report)
    assert notes == [
        *(("Warning", f"w {i}") for i in range(19)),
        ("Warning", "and 2 more in check.json"),
    ]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"verdict": "healthy"}, "NoVerdict"),
        ({"verdict": "error"}, "NoVerdict"),
        ({"gates": []}, "NoGate"),
        ({"error": {"kind": "SourceError", "message": "m", "exit_code": 3}}, "SourceError"),
    ],
)
def test_what_is_no_verdict_is_an_error_everywhere(change: Any, kind: str, capsys: Any) -> None:
    report = passed() | change
    assert verdicts.verdict(report) == "error"
    assert results(report)["audit"][0][:2] == ("Error", kind)
    assert commands(report)[0][:2] == ("error", f"ganaudit: {kind}")
    assert issues(report)[0]["severity"] == "blocker"
    assert f"{kind}: " in pull_request.render(report)
    assert f"\n{kind}: " in printed(report, capsys)


def test_a_gate_with_an_unknown_verdict_has_failed() -> None:
    report = passed()
    report["gates"][0]["verdict"] = "fine"
    assert verdicts.outcome(report["gates"][0]) == "fail"
    assert suite_of(report).failures == 1


# JUnit


def test_junit_is_valid(variant: str) -> None:
    text = junit.render(VARIANTS[variant]())
    JUNIT_10.validate(BytesIO(text.encode()))
    assert not UNSEEN.search(text)


def test_the_schema_refuses_what_is_not_junit() -> None:
    wrong = junit.render(failed()).replace(
        '<testcase classname="ganaudit.check" name=', "<testcase x="
    )
    assert not JUNIT_10.is_valid(BytesIO(wrong.encode()))


def test_each_gate_is_a_case() -> None:
    report = failed()
    suite = suite_of(report)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == (
        "ganaudit check",
        *(3, 1, 0, 0),
    )
    assert {case.classname for case in suite} == {"ganaudit.check"}
    assert results(report) == {
        "worst-rate at most 2 %": [("Failure", "gate", report["gates"][0]["sentence"])],
        "mean-similarity at most 2 %": [],
        "vendi at least 2 %": [],
    }
    for case, found in zip(suite, report["gates"], strict=True):
        for sentence in ("sentence", "detectable_sentence"):
            assert found[sentence] in case.system_out
    assert report["sentence"] in suite._elem.findtext("system-out")
    assert {p.name: p.value for p in suite.properties()} == {
        "run": "audit",
        "generator": "checkpoint:celebs.safetensors",
        "descriptor": "mobilefacenet",
        "m": "10000",
        "n": "10000",
    }


@pytest.mark.parametrize(
    ("how", "tag", "kind"),
    [
        ("report", "Failure", "inconclusive"),
        ("fail", "Failure", "inconclusive"),
        ("pass", "Skipped", None),
    ],
)
def test_an_inconclusive_gate_is_a_case_as_was_asked_for(how: str, tag: str, kind: Any) -> None:
    report = inconclusive(how)
    sentence = report["gates"][0]["sentence"]
    assert results(report)["worst-rate at most 2 %"] == [(tag, kind, sentence)]
    suite = suite_of(report)
    assert (suite.failures, suite.skipped) == ((0, 1) if how == "pass" else (1, 0))


def test_a_broken_audit_is_one_case_in_error() -> None:
    assert results(error()) == {
        "audit": [
            ("Error", "UnsafeCheckpoint", "model.pkl carries code; nothing of it was executed")
        ]
    }
    assert suite_of(error()).errors == suite_of(error()).tests == 1
    assert list(results(empty())) == ["audit"]


def test_the_counts_of_the_suite_are_those_of_the_whole(variant: str) -> None:
    root = ElementTree.fromstring(junit.render(VARIANTS[variant]()))
    (suite,) = root
    tags = Counter(inner.tag for inner in suite.iter())
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        assert root.get(name) == suite.get(name) == str(tags[tag])
    assert suite.get("skipped") == str(tags["skipped"])


def test_hostile_strings_set_no_element_and_no_endless_attribute() -> None:
    tame, attacked = (ElementTree.fromstring(junit.render(r)) for r in (crowded(), hostile()))
    assert [e.tag for e in tame.iter()] == [e.tag for e in attacked.iter()]
    assert [e.attrib.keys() for e in tame.iter()] == [e.attrib.keys() for e in attacked.iter()]
    for element in attacked.iter():
        assert all(len(value) <= 400 for value in element.attrib.values())
        assert len((element.text or "").splitlines()) <= 22
        assert all(len(part) <= 420 for part in (element.text or "").splitlines())


# GitHub


def test_failures_are_errors_and_tolerated_doubts_are_warnings() -> None:
    assert commands(passed()) == []
    report = failed()
    ((level, title, message),) = commands(report)
    assert (level, title) == ("error", "ganaudit: fail: worst-rate at most 2 %")
    failing = report["gates"][0]
    assert message.split("\n") == [
        "Found 7.96 % (7.4 % to 8.5 %).",
        failing["sentence"],
        failing["detectable_sentence"],
    ]
    for how, wanted in (("report", "error"), ("fail", "error"), ("pass", "warning")):
        ((level, title, _),) = commands(inconclusive(how))
        assert (level, title) == (wanted, "ganaudit: inconclusive: worst-rate at most 2 %")


def test_modes_that_grew_at_their_place_are_one_notice() -> None:
    report = relative()
    notices = [command for command in commands(report) if command[0] == "notice"]
    assert notices == [("notice", "ganaudit: same place", report["same_place"]["sentence"])]
    report["same_place"]["grown"] = []
    assert "notice" not in [level for level, _, _ in commands(report)]


def test_there_are_no_more_annotations_than_github_shows() -> None:
    assert len(commands(many(10))) == 10
    found = commands(many(11))
    assert len(found) == 10
    assert [title for _, title, _ in found[:9]] == [
        f"ganaudit: fail: {verdicts.named(g)}" for g in many(11)["gates"][:9]
    ]
    last = many(11)["gates"][9:]
    assert found[9][1] == "ganaudit: 2 more"
    assert found[9][2] == "\n".join(f"ganaudit: fail: {verdicts.named(g)}" for g in last)
    doubts = many(30, "inconclusive") | {"inconclusive_as": "pass"}
    assert [level for level, _, _ in commands(doubts)] == ["warning"] * 10
    both = document(*many(15)["gates"], *doubts["gates"], verdict="fail", inconclusive_as="pass")
    assert Counter(level for level, _, _ in commands(both)) == {"error": 10, "warning": 10}


def test_annotations_are_bounded() -> None:
    long = gate(verdict="fail") | {"wanted": "%:," * 900, "sentence": "%" * 9000}
    long["detectable_sentence"] = "%" * 9000
    ((_, title, message),) = commands(document(long, verdict="fail"))
    assert len(title) <= 200 and len(message) <= 1000
    endless = document(*[long] * 300, verdict="fail")
    assert all(len(message) <= 1000 for _, _, message in commands(endless))
    assert message.split("\n")[1] == "%" * 399 + "…"


def test_hostile_strings_are_no_command_of_their_own() -> None:
    report = hostile()
    tame = commands(crowded())
    found = commands(report)
    assert [level for level, _, _ in found] == [level for level, _, _ in tame]
    concerned = [g for g in report["gates"] if g["verdict"] != "pass"]
    for (_, title, message), of in zip(found, concerned, strict=False):
        assert title == f"ganaudit: {of['verdict']}: {verdicts.named(of)}"[:200] or "…" in title
        # what the runner reads is what was said, to the letter
        said = [verdicts.line(of[name]) for name in ("sentence", "detectable_sentence")]
        assert message.split("\n")[1:] == said
        assert not UNSEEN.search(message)


def test_the_summary_says_where_the_pictures_are(variant: str) -> None:
    report = VARIANTS[variant]()
    text = github.summary(report)
    assert text.startswith(pull_request.render(report)) and len(text.encode()) < 2**20
    assert ("report.html of the run’s folder" in text) == (report["run"] is not None)
    assert not {"image", "html_inline"} & {token.type for token in tokens(text)}
    assert text.endswith("\n") and text.count("\n\n\n") == 0


def test_the_summary_names_the_folder() -> None:
    report = passed()
    report["run"]["folder"] = "runs/of *today*"
    assert "folder, runs/of *today*, or" in shown(github.summary(report))


# Markdown


def test_a_comment_is_marked_bounded_and_whole(variant: str) -> None:
    text = pull_request.render(VARIANTS[variant]())
    assert text.splitlines()[0] == "<!-- ganaudit check -->"
    assert len(text.encode()) <= 60_000 and not UNSEEN.search(text)
    assert text.count("<details>") == text.count("</details>") == 1
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_a_comment_says_what_the_check_says() -> None:
    report = crowded()
    text = shown(pull_request.render(report))
    sentences = [report["sentence"], report["run"]["headline"], report["warnings"][0]]
    sentences += [report[name]["sentence"] for name in ("same_place", "sequential")]
    for found in report["gates"]:
        sentences += [found["sentence"], found["detectable_sentence"], found["wanted"]]
    for sentence in sentences:
        assert sentence in text
    for cell in (cell for row in verdicts.rows(report) for cell in row):
        assert cell in text
    assert "40 of 5,000 (0.80 %)" in text and "796 of 10,000 (7.96 %)" in text
    assert "m = 10,000 anchors against n = 10,000 samples, seed 0" in text
    assert "baselines/faces.json" in pull_request.render(report)


def test_each_verdict_has_its_list_of_reasons() -> None:
    assert "### Why\n" not in pull_request.render(passed())
    text = pull_request.render(failed())
    why, rest = text.split("### Why\n")[1].split("### What passed\n")
    assert re.findall(r"(?m)^- \*\*(\S+)", why) == ["worst-rate"]
    assert re.findall(r"(?m)^- \*\*(\S+)", rest) == ["mean-similarity", "vendi"]


@pytest.mark.parametrize("texts", [(), *((text,) for text in (*HOSTILE, *COMMANDS))])
def test_hostile_strings_change_no_markup(texts: tuple[str, ...]) -> None:
    report = hostile(*texts)
    wanted, found = (
        Counter(t.type for t in tokens(github.summary(r)) if t.type not in ("text", "text_special"))
        for r in (crowded(), report)
    )
    assert found == wanted
    assert found["image"] == found["link_open"] == found["html_inline"] == 0
    attacked = github.summary(report)
    allowed = r"<!-- ganaudit check -->|<details><summary>Provenance</summary>|</details>"
    for token in tokens(attacked):
        if token.type == "html_block":
            assert re.fullmatch(allowed, token.content.strip())
    prose = re.sub(r"(?s)^(`{3,})json\n.*?^\1$", "", attacked, flags=re.MULTILINE)
    assert not LIVE.search(prose)


def test_an_endless_check_is_shortened_and_its_verdicts_stay() -> None:
    report = many()
    for found in report["gates"]:
        found |= {"wanted": "𝕏|" * 9000, "sentence": "𝕏|" * 9000, "detectable_sentence": "𝕏" * 9000}
    report |= {"warnings": ["𝕏|" * 9000] * 1000, "environment": {"k": "v" * 10**6}}
    text = pull_request.render(report)
    assert len(text.encode()) <= 60_000
    assert text.endswith("*Shortened; check.json has all of it.*\n")
    assert len(re.findall(r"(?m)^\| .* \| fail \|$", text)) == 18


# GitLab


def test_issues_have_what_gitlab_asks_for(variant: str) -> None:
    for issue in issues(VARIANTS[variant]()):
        assert issue.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert re.fullmatch("[0-9a-f]{64}", issue["fingerprint"])
        assert issue["location"]["lines"] == {"begin": 1}
        assert len(issue["description"]) <= 1000 and len(issue["check_name"]) <= 100
        assert not UNSEEN.search(issue["description"] + issue["check_name"])
        path = issue["location"]["path"]
        assert path and not path.startswith(("/", "./")) and ".." not in path.split("/")


def test_issues_are_as_severe_as_the_verdict() -> None:
    report = relative()
    assert [(i["check_name"], i["severity"]) for i in issues(report)] == [
        ("ganaudit/worst-rate", "critical"),
        ("ganaudit/mu", "minor"),
        ("ganaudit/near-copies", "minor"),
    ]
    assert report["gates"][0]["sentence"] in issues(report)[0]["description"]
    assert [(i["check_name"], i["severity"]) for i in issues(error())] == [
        ("ganaudit/audit", "blocker")
    ]


def test_a_fingerprint_is_of_the_gate_and_not_of_its_figures() -> None:
    first, later = many(), many()
    for found in later["gates"]:
        found |= {"found": {"estimate": 0.5, "low": 0.4, "high": 0.6}, "limit": 0.1}
        found |= {"verdict": "inconclusive", "wanted": "at most 10 %", "sentence": "Another."}
    prints = [issue["fingerprint"] for issue in issues(first)]
    assert prints == [issue["fingerprint"] for issue in issues(later)]
    assert len(set(prints)) == 18 == 2 * len(GATES)


@pytest.mark.parametrize(
    ("limits", "baseline", "path"),
    [
        ("pyproject.toml", "b.json", "pyproject.toml"),
        (None, "baselines/b.json", "baselines/b.json"),
        (None, "./b.json", "b.json"),
        (None, "/home/somebody/b.json", "b.json"),
        (None, "../../b.json", "b.json"),
        (None, "a/..", "ganaudit.toml"),
        (None, "/", "ganaudit.toml"),
        (None, None, "ganaudit.toml"),
    ],
)
def test_an_issue_stands_in_a_file_of_the_repository(limits: Any, baseline: Any, path: str) -> None:
    report = failed() | {"limits_file": limits}
    if baseline is not None:
        report["baseline"] = {"file": baseline, "generator": "g", "anchors": 1, "samples": 1}
    assert issues(report)[0]["location"]["path"] == path


# Badge


def test_a_badge_says_the_rate_and_the_verdict(variant: str) -> None:
    report = VARIANTS[variant]()
    root = ElementTree.fromstring(badge.render(report))
    label, said = halves(report)
    assert label == "intra-mode collapse"
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None and title.text == root.get("aria-label") == f"{label}: {said}"
    assert {e.tag.split("}")[1] for e in root.iter()} == {"svg", "title", "rect", "text"}
    assert not any(
        "href" in name or name.startswith("on") for e in root.iter() for name in e.attrib
    )


def test_a_badge_without_a_rate_says_the_verdict_alone() -> None:
    assert halves(passed())[1] == "worst 0.81 %: pass"
    assert halves(document(gate("mu")))[1] == "pass"
    nothing = {"estimate": None, "low": None, "high": 0.003}
    assert halves(document(gate(found=nothing)))[1] == "pass"
    assert halves(error())[1] == halves(empty())[1] == "error"


def test_the_text_of_a_badge_is_readable_on_its_ground(variant: str) -> None:
    def luminance(colour: str) -> float:  # WCAG 2.1
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    root = ElementTree.fromstring(badge.render(VARIANTS[variant]()))
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 1.05 / (luminance(box.attrib["fill"]) + 0.05) >= 4.5  # white on it


def test_each_verdict_has_a_colour_of_its_own() -> None:
    def right(report: Any) -> str:
        root = ElementTree.fromstring(badge.render(report))
        return next(root.iter("{http://www.w3.org/2000/svg}rect")).attrib["fill"]

    reports = (passed(), failed(), inconclusive("pass"), error())
    assert len({right(report) for report in reports}) == 4


def test_the_widths_of_a_badge_are_those_of_a_wide_font() -> None:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font, LoadFlags

    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    font.set_size(100, 72)  # so that an advance is in hundredths of an em
    printable = "".join(map(chr, range(32, 127)))
    for character in printable + "×⁻⁰¹²³⁴⁵⁶⁷⁸⁹…":
        glyph = font.load_char(ord(character), flags=LoadFlags.NO_HINTING)
        advance = glyph.linearHoriAdvance / 2**16
        assert advance - 0.5 <= badge._WIDTH[character] <= advance + 6, character


# Terminal


def test_the_terminal_says_what_the_check_says(capsys: Any, tmp_path: Path) -> None:
    report = crowded()
    out = printed(report, capsys, tmp_path)
    assert out.startswith("\nFail: 1 of 4 gates failed: worst-rate.\n")
    sentences = [report["run"]["headline"], report["same_place"]["sentence"]]
    sentences += [report["sequential"]["sentence"], "Warning: Warning 0."]
    for found in report["gates"]:
        sentences += [found["sentence"], found["detectable_sentence"]]
    for sentence in sentences:
        assert sentence in out
    assert "9.05" in out and "796 of 10,000 (7.96 %)" in out
    assert "check.json" not in out.splitlines()[-1]
    (tmp_path / "check.json").touch()
    assert printed(report, capsys, tmp_path).endswith(f"\n{tmp_path / 'check.json'}\n")


def test_a_check_without_a_baseline_has_no_column_for_it(capsys: Any) -> None:
    absolute, compared = printed(passed(), capsys), printed(relative(), capsys)
    assert "95 % interval" in absolute and "baseline" not in absolute
    assert "baseline" in compared


def test_hostile_strings_steer_neither_terminal_nor_runner(variant: str, capsys: Any) -> None:
    out = printed(VARIANTS[variant](), capsys)
    assert not UNSEEN.search(out)
    for text in re.split(r"[\r\n]", out):
        assert not RUNNER.search(text)


def test_what_a_runner_takes_for_a_command_is_seen_by_the_test(capsys: Any) -> None:
    for text in COMMANDS[:2]:
        assert RUNNER.search(text)
    report = passed() | {"sentence": COMMANDS[1]}
    out = printed(report, capsys)
    assert COMMANDS[1] in " ".join(out.replace("\u200b", "").split())


def test_a_sequential_check_says_how_it_decided() -> None:
    report = sequential()
    for text in (junit.render(report), shown(pull_request.render(report))):
        assert report["sequential"]["sentence"] in text
