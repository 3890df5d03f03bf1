import re
from collections import Counter
from typing import Any

import pytest
from markdown_it import MarkdownIt
from report_example import HOSTILE, VARIANTS, example, hostile, strict, with_reference

from ganaudit.report import captions, markdown, words
from ganaudit.report.markdown import escape

VERDICTS = re.compile(r"\b(healthy|no collapse|pass(es|ed)?|fails?)\b", re.IGNORECASE)
LIVE = re.compile(r"@\w|://|www\.|#\d|GH-\d")  # what GitHub makes a mention or a link of


def tokens(text: str) -> list[Any]:
    """Every token of the document, also those within a line."""
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    return [inner for token in parsed for inner in (token, *(token.children or []))]


def shown(text: str) -> str:
    """What a reader sees of text that is no code."""
    found = tokens(text)
    return " ".join(token.content for token in found if token.type in ("text", "code_inline"))


@pytest.fixture(params=VARIANTS)
def report(request: Any) -> Any:
    return strict(VARIANTS[request.param]())


def test_every_report_is_a_document_of_bounded_size(report: Any) -> None:
    text = markdown.render(report)
    assert len(text.encode()) <= 60_000
    assert text.count("\n# ") == 0 and text.startswith("# ")
    assert text == markdown.render(report)
    found = Counter(token.type for token in tokens(text))
    assert found["image"] == found["link_open"] == found["html_inline"] == 0
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_tables_have_as_many_cells_in_each_row(report: Any) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", markdown.render(report), re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_the_document_says_what_the_report_says() -> None:
    report = strict(with_reference())
    said = shown(markdown.render(report))
    assert words.claim(report) in said and words.likeness(report) in said
    assert words.identity(report) in said
    for mode in report["figures"]["dense_modes"]:
        assert words.interval(mode["rate"], share=True) in said
    for sentence in (*captions.cautions(report), *report["reference"]["sentences"]):
        assert sentence in said
    assert not VERDICTS.search(said)


def test_hostile_strings_change_no_markup() -> None:
    tame = with_reference()
    tame["generator"]["key"] = {"somebody": [None, True, 1.5, {}]}
    attacked = markdown.render(strict(hostile()))
    wanted, found = (
        Counter(token.type for token in tokens(text) if token.type != "text")
        for text in (markdown.render(strict(tame)), attacked)
    )
    # escapes are tokens of their own to the parser, and lines of code are no markup
    assert {k: n for k, n in found.items() if k != "text_special"} == {
        k: n for k, n in wanted.items() if k != "text_special"
    }
    for token in tokens(attacked):
        if token.type == "html_block":
            assert re.fullmatch(
                r"<details><summary>\w+</summary>|</details>", token.content.strip()
            )
    prose = re.sub(r"(?s)^(`{3,})json\n.*?^\1$", "", attacked, flags=re.MULTILINE)
    assert not LIVE.search(prose)
    assert not re.search("[\0-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", attacked)


@pytest.mark.parametrize("text", [*HOSTILE, "- a", "1. a", "12) a", "# a", "+ a", "> a", "= a"])
def test_escaped_text_is_read_as_that_text(text: str) -> None:
    for place in ("{}", "- {}", "| {} |\n| --- |", "# {}"):
        document = place.format(escape(text))
        assert "\n" not in escape(text)
        kinds = {token.type for token in tokens(document)}
        bare = {token.type for token in tokens(place.format("a"))}
        assert kinds - {"text_special"} == bare - {"text_special"}
        assert not LIVE.search(document)
    read = "".join(t.content for t in tokens(escape(text)) if t.type in ("text", "text_special"))
    printable = "".join(c if c.isprintable() else " " for c in text)
    assert read.replace("\u200b", "") == " ".join(printable.split())


def test_text_is_cut_to_a_length() -> None:
    assert escape("x" * 400) == "x" * 400
    assert escape("x" * 401) == "x" * 399 + "…"
    assert escape("x" * 11, most=10) == "x" * 9 + "…"


def test_a_number_at_the_start_stays_as_it_is() -> None:
    assert escape("7.96 %") == "7.96 %"
    assert escape("-0.5") == "-0.5"


def test_endless_strings_are_shortened_and_it_says_so() -> None:
    report = example()
    for sentences in (report["warnings"], report["assumptions"], report["screen"]["findings"]):
        sentences[:] = [f"{i} " + "w|" * 10_000 for i in range(1000)]
    report["generator"] = {f"key {i}": "g" * 100_000 for i in range(50)}
    report["descriptor"] |= {f"key {i}": "`" * 7000 for i in range(50)}
    text = markdown.render(strict(report))
    assert len(text.encode()) <= 60_000
    assert "- and 980 more in report.json" in text
    assert text.endswith("*Shortened; report.json has all of it.*\n")
    blocks = [token.content for token in tokens(text) if token.type == "fence"]
    assert text.count("<details>") == text.count("</details>") == len(blocks)
