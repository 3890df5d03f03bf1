"""SARIF and the model card: a check for other tools, read back by what reads them."""

import copy
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml
from check_example import GATES, HOSTILE, VARIANTS, document, error, failed, gate, hostile, passed
from check_example import many as many_gates
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from ganaudit.report import model_card, sarif, verdicts, words

SCHEMA = Path(__file__).parent / "data" / "sarif-schema-2.1.0.json"


@pytest.fixture(scope="module")
def schema() -> Any:
    return jsonschema.Draft4Validator(json.loads(SCHEMA.read_text("utf-8")))


def finding(file: str = "model.pt", message: str = "It carries code.", **changes: str) -> Any:
    usual = {"rule": "unsafe-file", "level": "error", "file": file, "message": message}
    return usual | changes


def checked(*findings: Any) -> Any:
    return passed() | {"files": list(findings)}


def run_of(made: Any) -> Any:
    (run,) = json.loads(sarif.render(made))["runs"]
    return run


def place_of(file: str) -> str:
    (result,) = run_of(checked(finding(file)))["results"]
    (location,) = result["locations"]
    return str(location["physicalLocation"]["artifactLocation"]["uri"])


# -- SARIF -----------------------------------------------------------------------------------


def test_the_schema_is_the_published_one_and_refuses_what_is_no_sarif(schema: Any) -> None:
    assert schema.schema["id"].endswith("/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")
    schema.check_schema(schema.schema)
    log = json.loads(sarif.render(checked(finding())))
    schema.validate(log)
    broken = copy.deepcopy(log)
    broken["runs"][0]["results"][0]["level"] = "grave"
    assert not schema.is_valid(broken)
    broken = copy.deepcopy(log)
    del broken["runs"][0]["invocations"][0]["executionSuccessful"]
    assert not schema.is_valid(broken)
    assert log["$schema"] == schema.schema["id"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_check_is_sarif(name: str, schema: Any) -> None:
    made = VARIANTS[name]()
    text = sarif.render(made)
    assert text == sarif.render(copy.deepcopy(made))
    log = json.loads(text.encode("utf-8"))  # no surrogate, no NaN
    schema.validate(log)
    (run,) = log["runs"]
    (invocation,) = run["invocations"]
    assert invocation["exitCode"] == made["exit_code"]
    assert invocation["executionSuccessful"] == (verdicts.verdict(made) != "error")
    assert len(run["results"]) == len(made["files"])


@pytest.mark.parametrize("made", [passed(), failed(), many_gates()], ids=["pass", "fail", "many"])
def test_gates_are_no_findings_about_files(made: Any) -> None:
    assert run_of(made)["results"] == []
    text = sarif.render(made)
    for found in made["gates"]:
        assert found["title"] not in text and found["sentence"] not in text


def test_a_finding_says_which_file_and_why() -> None:
    run = run_of(checked(finding("nets/a b.pt")))
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("ganaudit", "0.1.0")
    assert "informationUri" not in driver
    (first,) = run["results"]
    assert first["message"]["text"] == "It carries code."
    rule = driver["rules"][first["ruleIndex"]]
    assert rule["id"] == first["ruleId"] == "unsafe-file"
    assert rule["defaultConfiguration"]["level"] == first["level"] == "error"
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nets/a%20b.pt"
    assert place["region"] == {"startLine": 1}


def test_an_audit_that_broke_says_why_and_is_no_success() -> None:
    (invocation,) = run_of(error())["invocations"]
    assert invocation["executionSuccessful"] is False and invocation["exitCode"] == 5
    (note,) = invocation["toolExecutionNotifications"]
    assert note["level"] == "error"
    assert note["message"]["text"] == ": ".join(
        (error()["error"]["kind"], error()["error"]["message"])
    )


def test_a_failed_gate_is_a_success_of_the_tool_with_its_exit_code() -> None:
    (invocation,) = run_of(failed())["invocations"]
    assert invocation["executionSuccessful"] is True and invocation["exitCode"] == 1
    assert invocation["toolExecutionNotifications"] == []


def test_a_rule_of_another_version_is_no_smaller_matter() -> None:
    (result,) = run_of(checked(finding(rule="new-rule", level="grave")))["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("new-rule", -1, "error")


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("model.pt", "model.pt"),
        ("./nets//model.pt", "nets/model.pt"),
        ("nets\\model.pt", "nets/model.pt"),
        ("/home/somebody/secret/model.pt", "model.pt"),
        ("C:\\Users\\somebody\\model.pt", "model.pt"),
        ("\\\\server\\share\\model.pt", "model.pt"),
        ("../elsewhere/model.pt", "model.pt"),
        ("nets/../../model.pt", "model.pt"),
        ("file:///home/somebody/model.pt", "model.pt"),
        ("~/secret/model.pt", "model.pt"),
        ("a:b.pt", "a%3Ab.pt"),
        ("100%.pt", "100%25.pt"),
        ("a?b#c.pt", "a%3Fb%23c.pt"),
        ("ü.pt", "%C3%BC.pt"),
        ("a\x00\n\ud800.pt", "a%00%0A%3F.pt"),
        ("/", "unnamed"),
        ("..", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_places_are_relative_and_tell_nothing_of_the_machine(file: str, uri: str) -> None:
    assert place_of(file) == uri


@pytest.mark.parametrize(
    "file", [*HOSTILE, "x" * 9000, "a/" * 9000, "javascript:alert(1)", "//h/x"]
)
def test_no_file_name_leads_anywhere_else(file: str) -> None:
    place = place_of(file)
    assert re.fullmatch(r"[\w.~%/-]+", place, re.ASCII) and len(place) < 5000
    assert urlsplit(place)[:2] == ("", "")
    assert not place.startswith("/") and ".." not in unquote(place).split("/")


def test_fingerprints_tell_files_and_rules_apart_and_outlive_messages() -> None:
    def fingerprint(*arguments: str, **changes: str) -> str:
        (result,) = run_of(checked(finding(*arguments, **changes)))["results"]
        (key, value), *rest = result["partialFingerprints"].items()
        assert key == "primaryLocationLineHash" and not rest
        return str(value)

    first = fingerprint("model.pt", "It carries code.")
    assert first == fingerprint("./model.pt", "It carries other code.")
    assert first != fingerprint("other.pt", "It carries code.")
    assert first != fingerprint("model.pt", "It carries code.", rule="another")
    assert re.fullmatch(r"[0-9a-f]{16}:1", first)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_message_sets_no_link_and_no_placeholder(text: str) -> None:
    made = error() | {"files": [finding(message=text)]}
    made["error"] = made["error"] | {"message": text, "kind": text}
    made["environment"] = {"ganaudit": text}
    run = run_of(made)
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    for said in (
        run["results"][0]["message"]["text"],
        note["message"]["text"],
        run["tool"]["driver"]["version"],
    ):
        assert said.isprintable() and len(said) <= 2000
        assert "](" not in said
        assert "{" not in said.replace("{{", "") and "}" not in said.replace("}}", "")


def test_findings_beyond_the_bound_are_counted() -> None:
    run = run_of(checked(*[finding(f"{i}.pt", "x" * 9000) for i in range(1500)]))
    assert len(run["results"]) == 1000
    assert all(len(result["message"]["text"]) == 1000 for result in run["results"])
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["level"] == "warning" and "500 more" in note["message"]["text"]


# -- the model card --------------------------------------------------------------------------


def read(text: str) -> tuple[Any, list[EvalResult]]:
    """The card as huggingface_hub reads it, and its results."""
    card = ModelCard(text)
    return card, card.data.eval_results or []


def name_of(text: str) -> str:
    return verdicts.line(words.named(text))


WITH_FIGURES = [name for name in VARIANTS if VARIANTS[name]()["gates"]]


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_the_hub_reads_the_figures_of_every_gate(name: str) -> None:
    made = VARIANTS[name]()
    card, results = read(model_card.render(made))
    known = {g["gate"]: g for g in reversed(made["gates"]) if g["found"]["estimate"] is not None}
    by_name = {name_of(key): value for key, value in known.items()}
    assert set(by_name) == {result.metric_type for result in results}
    assert len(results) == len(known)
    for result in results:
        found = by_name[result.metric_type]
        assert result.metric_name == name_of(found["title"])
        assert type(result.metric_value) is float
        assert result.metric_value == found["found"]["estimate"]
        for end in ("low", "high"):
            assert result.metric_args[end] == found["found"][end]
        assert result.metric_args["theta"] == made["run"]["theta"]
        assert result.metric_args["radius"] == made["run"]["radius"]
        assert result.dataset_args == {"anchors": 10_000, "samples": 10_000, "seed": 0}
        assert result.source_url is None and result.verified is None
    again = ModelCard(card.content)  # ModelCardData has emitted it
    assert again.data.eval_results == results
    assert again.data.model_name == card.data.model_name


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_the_front_matter_is_yaml_with_a_model_index_alone(name: str) -> None:
    text = model_card.render(VARIANTS[name]())
    assert text.startswith("---\nmodel-index:\n")
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    loaded = yaml.safe_load(front)
    assert list(loaded) == ["model-index"]
    (entry,) = loaded["model-index"]
    (result,) = entry["results"]
    assert result["dataset"]["type"] == "generated-images"
    assert body.startswith("## Intra-mode collapse\n")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_section_says_the_verdict_first(name: str) -> None:
    made = VARIANTS[name]()
    text = model_card.render(made)
    assert text == model_card.render(copy.deepcopy(made))
    section = text[text.index("## Intra-mode collapse") :]
    said = section.splitlines()[2]
    assert said.startswith(f"**{verdicts.verdict(made).capitalize()}.**")
    if verdicts.verdict(made) != "pass":
        assert "**Pass" not in section


def test_the_section_says_what_the_figures_are_under() -> None:
    section = model_card.render(failed()).split("\n---\n")[1]
    for fact in (
        failed()["sentence"],
        failed()["run"]["headline"],
        "under descriptor mobilefacenet, theta 0.25 and radius 0.2 of pi",
        "m = 10,000 anchors against n = 10,000 samples, seed 0",
        "No dataset was used",
        "| worst-rate | at most 2 % | 7.96 % | 7.4 % to 8.5 % | – | fail |",
    ):
        assert fact in section


@pytest.mark.parametrize("name", ["error", "hostile error", "empty"])
def test_without_a_figure_there_is_no_metadata(name: str) -> None:
    made = VARIANTS[name]()
    text = model_card.render(made)
    assert text.startswith("## Intra-mode collapse\n\n**Error.**")
    assert "model-index" not in text


def test_a_figure_that_is_not_known_is_no_metric() -> None:
    nothing = {"estimate": None, "low": None, "high": None}
    half = {"estimate": 1e-9, "low": None, "high": 3e-4}
    made = document(gate(found=half), gate("mu", found=nothing))
    ((_, results),) = [read(model_card.render(made))]
    (only,) = results
    assert only.metric_type == "worst-rate" and only.metric_value == 1e-9
    assert "low" not in only.metric_args and only.metric_args["high"] == 3e-4
    assert model_card.render(document(gate(found=nothing))).startswith("## Intra")


@pytest.mark.parametrize("value", [1e-9, 1e16, 5e-324, 1.5e300, 0.1, -1e-7, 0.0, 3.0, 12])
def test_numbers_stay_numbers(value: float) -> None:
    made = document(gate(found={"estimate": value, "low": value, "high": value}))
    front = model_card.render(made).removeprefix("---\n").split("\n---\n")[0]
    (metric,) = yaml.safe_load(front)["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == value and type(metric["value"]) is type(value)
    assert metric["args"]["low"] == value


def test_two_gates_on_one_figure_give_one_metric() -> None:
    made = document(gate(), gate(kind="max-increase"), gate("mu"))
    _, results = read(model_card.render(made))
    assert [result.metric_type for result in results] == ["worst-rate", "mu"]


@pytest.mark.parametrize(
    ("generator", "name"),
    [
        ("demo", "demo"),
        ("checkpoint:/home/somebody/nets/faces.safetensors", "faces.safetensors"),
        ("C:\\nets\\faces.onnx", "faces.onnx"),
        ("images:/data/made/", "made"),
        (" / ", "generator"),
    ],
)
def test_the_name_has_no_folders(generator: str, name: str) -> None:
    made = passed()
    made["run"]["generator"] = generator
    text = model_card.render(made)
    card, _ = read(text)
    assert card.data.model_name == name
    assert "somebody" not in text


@pytest.mark.parametrize(
    "text", [*HOSTILE, "\n---\n", "a\n---\nb: c", "\u2028---\x85", "\U0001f600"]
)
def test_no_string_ends_the_front_matter_or_sets_markup(text: str) -> None:
    made = failed()
    made["run"] |= {"generator": text, "descriptor": text, "headline": text}
    made["sentence"] = made["environment"]["ganaudit"] = text
    for found in made["gates"]:
        found |= {"title": text, "wanted": text}
    rendered = model_card.render(made)
    rendered.encode("utf-8")
    card, results = read(rendered)
    assert list(yaml.safe_load(rendered.split("\n---\n")[0])) == ["model-index"]
    assert len(results) == len(made["gates"])
    assert {result.metric_name for result in results} == {name_of(text)}
    parsed = MarkdownIt("commonmark").enable("table").parse(card.text)
    found = {inner.type for token in parsed for inner in (token, *(token.children or []))}
    assert not found & {"link_open", "image", "html_inline", "html_block", "code_inline", "fence"}
    headings = [token for token in parsed if token.type == "heading_open"]
    assert len(headings) == 1


def test_a_card_is_bounded() -> None:
    made = many_gates(5000)
    made["gates"] = [
        g | {"gate": f"gate-{i}", "title": "t" * 9000} for i, g in enumerate(made["gates"])
    ]
    text = model_card.render(made)
    _, results = read(text)
    assert len(results) == verdicts.MANY
    assert len(text.encode()) < 80_000
    assert "Shortened" in text


def test_tampered_words_never_show_as_a_pass() -> None:
    assert "**Pass" not in model_card.render(hostile(tampered=True))
    assert len(GATES) == 9
