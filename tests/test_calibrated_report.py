"""A calibration as people read it: page, Markdown, terminal and charts."""

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from calibrated_example import VARIANTS, document, few, hostile, many, moved, paint, refined
from jsonschema import Draft202012Validator
from matplotlib.colors import to_hex
from report_example import visible
from test_report_html import VERDICTS, Page
from test_report_markdown import LIVE, shown, tokens

from ganaudit.errors import GanauditError
from ganaudit.report import calibrated, calibrated_charts, calibrated_page, drawing, words
from ganaudit.report import calibrated_tables as tables
from ganaudit.report import calibrated_words as said

Json = Any
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
TRIUMPH = re.compile(r"\b(fixed|solved|cured|removed)\b", re.IGNORECASE)


def strict(made: Json) -> Json:
    """As it comes back from calibration.json."""
    return json.loads(json.dumps(made, allow_nan=False))


@pytest.fixture(scope="module", params=VARIANTS)
def rendered(request: Any, tmp_path_factory: Any) -> Iterator[tuple[str, Json, str]]:
    made = strict(VARIANTS[request.param]())
    gallery = paint(made, tmp_path_factory.mktemp("calibration") / "gallery")
    yield request.param, made, calibrated_page.render(made, gallery)


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    monkeypatch.setattr(calibrated_charts, "inline", lambda document: {})


# -- sentences ---------------------------------------------------------------------------------


def effect(before: float | None, after: float | None, low: float, high: float) -> Json:
    sides = {
        side: {"estimate": value, "low": None, "high": None}
        for side, value in (("before", before), ("after", after))
    }
    return sides | {"ratio": {"estimate": None, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        (
            "thinned",
            "The densest chosen mode fell from 9.78 % to 0.46 % of what this generator shows; ",
            "the worst of 2,000 anchors fell from 9.71 % to 3.68 %.",
        ),
        (
            "nothing",
            "This calibrator did not thin what it was to thin: the chosen mode went from 9.78 % "
            "to 9.66 % of what this generator shows; ",
            "the worst of 2,000 anchors went from 9.71 % to 9.62 %.",
        ),
        (
            "moved",
            "This calibrator moved the collapse elsewhere: the densest chosen mode fell from "
            "9.78 % to 0.46 % of what this generator shows, but 2 other modes grew by more than "
            "is allowed for; ",
            "the worst of 2,000 anchors fell from 9.71 % to 3.68 %.",
        ),
        (
            "worse",
            "This calibrator moved the collapse elsewhere: the densest chosen mode fell from "
            "9.78 % to 0.46 % of what this generator shows, but ",
            "the worst of 2,000 anchors rose from 9.71 % to 13.1 %.",
        ),
        (
            "few",
            "The chosen mode went from 9.78 % to 0.46 % of what this generator shows; ",
            "the worst of 2,000 anchors is not known.",
        ),
    ],
)
def test_the_headline_says_what_became_of_modes(name: str, start: str, end: str) -> None:
    assert said.headline(strict(VARIANTS[name]())) == start + end


def test_an_unknown_outcome_is_said_and_is_no_success() -> None:
    made = document()
    made["verdict"] = {"outcome": "banished", "sentences": ["So."], "next": "Try another way."}
    assert said.headline(made).startswith("This calibration ended as banished: the densest")
    assert said.lead(made)[0] == "Try another way."


@pytest.mark.parametrize("name", VARIANTS)
def test_where_nothing_was_thinned_the_next_method_stands_at_the_top(name: str) -> None:
    made = VARIANTS[name]()
    thinned = made["verdict"]["outcome"] == "thinned"
    assert (made["verdict"]["next"] in said.lead(made)) is not thinned
    assert said.lead(made)[-1] == said.price(made)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.2, 0.99, "fell"), (0.2, 1.0, "went"), (0.9, 1.2, "went"), (1.0, 2.0, "went")],
)
def test_a_rate_fell_or_rose_only_beyond_noise(low: float, high: float, word: str) -> None:
    assert said.went(effect(0.02, 0.01, low, high)) == f"{word} from 2.00 % to 1.00 %"
    assert said.went(effect(0.01, 0.02, 1.01, high)) == "rose from 1.00 % to 2.00 %"
    assert said.went(effect(None, 0.02, low, high)) == "is not known"


@pytest.mark.parametrize(
    ("name", "price"),
    [
        (
            "thinned",
            "Its acceptance is 80.9 % (80.3 % to 81.6 %): other latents are drawn again before "
            "anything is made of them.",
        ),
        (
            "filtered",
            "Its acceptance is 80.9 % (80.3 % to 81.6 %): 1.24 (1.225 to 1.246) images are made "
            "for each that is delivered.",
        ),
        (
            "refined",
            "Every latent is moved by a few steps that raise the discriminator’s score. Every "
            "image costs 20 more runs of both networks, forwards and backwards.",
        ),
        (
            "few",
            "Its acceptance is 80.9 % (no interval: too few groups of samples); what a delivered "
            "image costs is not known.",
        ),
    ],
)
def test_the_price_is_acceptance_and_images(name: str, price: str) -> None:
    assert said.price(VARIANTS[name]()) == price


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        (0.0, "Every slot has one within 100 proposals."),
        (9e-7, "Fewer than one slot in a million has none within 100 proposals."),
        (
            0.0123,
            "1.23 % of the slots have none within 100 proposals: there the last one stands.",
        ),
    ],
)
def test_slots_that_get_nothing_are_counted(share: float, sentence: str) -> None:
    assert said.unaccepted(document(unaccepted=share)) == sentence


def test_what_may_grow_and_what_grew_is_said() -> None:
    share = "What some modes lose, all others share: each may get to 1.25 times its rate, "
    start = f"{share}1 / acceptance. Of 21 other dense modes "
    assert said.allowed(document()) == (
        f"{start}none is shown to have grown beyond that. The one that grew most for sure, anchor "
        "1584, rose from 2.33 % to 2.88 %: 1.24 (1.09 to 1.38) times what it was."
    )
    assert said.allowed(moved()).startswith(f"{start}2 grew beyond that by more than chance allows")
    alone = document()["others"] | {"looked_at": 0, "largest": None}
    assert said.allowed(document(others=alone, type="mixture")) == (
        "Modes that were not to be thinned may get to 1.25 times their rate. There is no other "
        "dense mode."
    )


def test_what_may_not_grow_at_all_is_not_said_to_grow_once() -> None:
    alone = refined()["others"] | {"allowed": 1.0, "grown": [], "looked_at": 2, "largest": None}
    assert said.allowed(document(others=alone, type="refiner")) == (
        "Modes that were not to be thinned may keep their rate. Of 2 other dense modes none is "
        "shown to have grown beyond that."
    )


def test_an_announcement_says_on_what_it_rests() -> None:
    made = document()
    assert "that took no part in fitting;" in said.forecast(made)
    made["announced"]["forecast"]["held_out"] = False
    assert "was fitted on, which flatters it;" in said.forecast(made)
    assert said.forecast(refined()).startswith("No rates were announced")
    values = [cells[0][0] for _, cells in tables.announced(refined())]
    assert values == ["not announced"] * 3
    assert {row[2][1][0] for row in tables.modes(refined())} == {"not announced"}


def test_modes_that_are_still_above_the_target_are_counted() -> None:
    assert said.met(document()).endswith("1 is still above it.")
    assert said.met(many()).endswith("11 are still above it.")
    made = document(modes=document()["modes"][1:])
    assert said.met(made).endswith("None is still above it.")
    for asked, why in (
        (3, "3 modes, as many as were asked for."),
        (9, "3 modes, of 9 that were asked for."),
        ("auto", "3 modes, added until the worst anchor met the target or the acceptance its"),
    ):
        assert said.met(document(modes_asked=asked)).startswith(why)
    assert said.met(document(modes=document()["modes"][:1], type="refiner")).startswith(
        "1 mode, the densest, at which refinement does not aim."
    )
    assert [against for *_, against in tables.modes(document())] == [
        "still above",
        "not told apart",
        "below it",
    ]


def test_what_nothing_is_known_of_is_not_given_an_interval() -> None:
    cards = {card.name: card for card in tables.key_figures(few())}
    assert cards["The worst of all anchors"][1:3] == ("not known", [])
    assert cards["Images made per image"][1:3] == ("not known", [])
    assert cards["Acceptance"][1:3] == ("80.9 %", [words.NO_INTERVAL])
    assert cards["The chosen mode"][1:3] == ("9.78 % → 0.46 %", [words.NO_INTERVAL])
    assert tables.modes(few())[0][2][3] == ("not known", "")


def test_what_is_exact_has_no_interval() -> None:
    cards = {card.name: card for card in tables.key_figures(refined())}
    assert cards["Acceptance"][1:3] == ("100 %", [])
    assert cards["Images made per image"][1:3] == ("1", [])


def test_cautions_are_those_of_the_type() -> None:
    assert said.cautions(document())[0].startswith("No identity is added")
    assert said.cautions(document(type="mixture"))[0].startswith("Latents are no longer those")
    assert "rarer than 0.15 % (3/m)" in " ".join(said.cautions(document()))
    assert "the given embeddings" in said.cautions(document(descriptor=None))[1]


# -- every figure ------------------------------------------------------------------------------


def figures(made: Json) -> Iterator[str]:
    """Every figure of a document as `words` writes it, by a walk of its own."""
    effects = [*made["modes"], made["worst"], *made["others"]["grown"]]
    for one in effects:
        for side, share in (("before", True), ("after", True), ("ratio", False)):
            if one is not made["worst"] or side != "ratio":  # the verdict's sentence has it
                yield words.estimate(one[side], share=share)
            if one[side]["low"] is not None and (one is not made["worst"] or side != "ratio"):
                yield words.interval(one[side], share=share)
        if "anchor" in one:
            yield str(one["anchor"])
        if "p" in one:
            yield words.probability(one["p"])
    if made["others"]["largest"] is not None:
        yield f"{words.with_interval(made['others']['largest']['ratio'])} times what it was"
        yield f"anchor {made['others']['largest']['anchor']}"
    yield f"{words.number(made['others']['allowed'])} times"
    yield words.estimate(made["acceptance"], share=True)
    yield words.percent(made["target"])
    yield words.level(made["min_acceptance"])
    yield from (words.count(size) for size in made["sizes"].values())
    forecast = made["announced"]["forecast"]
    if forecast is not None:
        yield words.percent(forecast["acceptance"])
        for before, after in (*forecast["chosen"][: len(made["modes"])], forecast["worst"]):
            yield f"{words.percent(before)} → {words.percent(after)}"
    for side in ("to_uncalibrated", "noise"):
        found = made["companions"][side]
        yield words.number(found["frechet_distance"])
        yield words.estimate(found["kernel_distance"])
        if found["kernel_distance"]["low"] is not None:
            yield words.interval(found["kernel_distance"])
    inception = made["companions"]["inception"] or {}
    for found in (inception[side] for side in ("to_uncalibrated", "noise") if inception):
        yield words.number(found["frechet_distance"])
        yield words.estimate(found["kernel_distance"])
    for found in (made["companions"]["to_reference"] or {}).values():
        yield words.number(found["frechet_distance"])
        yield words.estimate(found["kernel_distance"])
        yield words.number(found["density"])
        yield words.percent(found["coverage"])
    for line in made["difference"]:
        yield words.estimate(line["a"], share=line["share"])
        yield words.estimate(line["b"], share=line["share"])
    if made["discriminator"] is not None:
        yield words.estimate(made["discriminator"]["before"])
        yield words.interval(made["discriminator"]["after"])
        yield words.estimate(made["discriminator"]["gain"])
        yield words.interval(made["discriminator"]["gain"])
        yield words.percent(made["discriminator"]["raised"])
        yield words.number(made["discriminator"]["furthest"])
    yield from (made["calibrator"]["sha256"], str(made["attempts"]))


def sentences(made: Json) -> Iterator[str]:
    verdict = made["verdict"]
    yield from (*verdict["sentences"], *made["announced"]["sentences"])
    yield from [] if verdict["next"] is None else [verdict["next"]]
    yield from (said.headline(made), *said.lead(made), said.mode(made), said.forecast(made))
    yield from (said.met(made), said.allowed(made), said.vendi(made), *said.cautions(made))


def missing(wanted: Iterator[str], text: str) -> list[str]:
    bare = " ".join(text.split())
    return [one for one in wanted if " ".join(one.split()) not in bare]


def test_the_page_has_every_figure_and_sentence(rendered: tuple[str, Json, str]) -> None:
    name, made, text = rendered
    if name == "hostile":
        return
    seen = unescape(visible(text))
    assert missing(figures(made), seen) == []
    assert missing(sentences(made), seen) == []
    for line in tables.difference(made):
        assert missing(iter(line), seen) == []


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"hostile"}))
def test_the_markdown_has_every_figure_and_sentence(name: str) -> None:
    made = strict(VARIANTS[name]())
    text = calibrated.render_markdown(made)
    seen = " ".join(t.content for t in tokens(text) if t.type in ("text", "fence", "text_special"))
    assert missing(figures(made), seen) == []
    assert missing(sentences(made), shown(text)) == []


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"hostile"}))
def test_the_terminal_has_the_verdict_and_its_figures(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    made = strict(VARIANTS[name]())
    for file in ("calibration.html", "calibrator.json"):
        (tmp_path / file).touch()
    calibrated.show(made, tmp_path)
    seen = capsys.readouterr().out
    wanted = [said.headline(made), said.mode(made), *made["verdict"]["sentences"]]
    wanted += [made["verdict"]["next"]] if made["verdict"]["next"] else []
    wanted += [card.value for card in tables.key_figures(made)]
    wanted += [end for card in tables.key_figures(made) for end in card.ends]
    wanted += [cells[0][0] for _, cells in tables.announced(made)]
    wanted += [f"anchor {mode['anchor']}" for mode in made["modes"][1:]]
    assert missing(iter(wanted), seen) == []
    assert str(tmp_path / "calibration.html") in seen and str(tmp_path / "calibrator.json") in seen
    assert "calibration.json" not in seen  # it is not there


def test_nothing_is_called_good_or_done(rendered: tuple[str, Json, str]) -> None:
    name, made, text = rendered
    if name != "hostile":
        for shown_text in (visible(text), calibrated.render_markdown(made)):
            assert not VERDICTS.search(shown_text) and not TRIUMPH.search(shown_text)


# -- the page ----------------------------------------------------------------------------------


def test_every_calibration_is_a_sound_page(rendered: tuple[str, Json, str]) -> None:
    page = Page(rendered[2])
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in page.elements:
        assert found.get("aria-labelledby") in (None, *ids)
        for value in found.values():
            assert set(re.findall(r"url\(#([^)]*)\)", value or "")) <= set(ids)
    for link in page.all("a", "use"):
        assert (link.get("href") or link["xlink:href"] or "")[1:] in ids
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in zip(levels, levels[1:], strict=False))
    assert all(found.get("scope") in ("row", "col", "rowgroup") for found in page.all("th"))
    charts = page.all("svg")
    assert len(charts) == 2
    assert all(found["role"] == "img" and found["aria-label"] for found in charts)
    assert len(rendered[2].encode()) < 8e6


def test_the_page_asks_for_nothing_and_runs_nothing(rendered: tuple[str, Json, str]) -> None:
    page = Page(rendered[2])
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in page.all("meta")
    assert not page.all("script", "iframe", "object", "embed", "form", "base", "foreignobject")
    for tag, found in page.elements:
        assert not [name for name in found if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            allowed = {"img": "data:image/", "link": "data:,"}.get(tag, "#")
            assert name not in found or (found[name] or "").startswith(allowed)
    styles = re.findall(r"(?s)<style>.*?</style>", rendered[2])
    assert len(styles) == 1 and not re.search(r"@import|url\(", styles[0])


def test_every_picture_is_described(rendered: tuple[str, Json, str]) -> None:
    _, made, text = rendered
    wanted: Counter[str] = Counter()
    blank: Counter[str] = Counter()
    for one in made["gallery"] or ():
        wanted[f"anchor {one['anchor']['slot']}"] += 1
        pairs = [(side, pair[side]) for pair in one["same_slots"] for side in pair]
        for side, row in [*(("before", r) for r in one["before"]), *pairs] + [
            ("after", r) for r in one["after"]
        ]:
            where = "within" if row["within"] else "beyond"
            alt = (
                f"{side}: sample {row['slot']}, distance {row['distance']:.3f}, {where} the radius"
            )
            (wanted if row["file"] else blank)[alt if row["file"] else f"{alt}; no picture"] += 1
    page = Page(text)
    assert Counter(found["alt"] for found in page.all("img")) == wanted
    placeholders = [found for found in page.all("span") if found.get("class") == "blank"]
    assert Counter(found["aria-label"] for found in placeholders) == blank


def test_what_is_still_in_the_mode_has_a_frame_and_what_is_far_is_faded() -> None:
    made = strict(document())
    one = made["gallery"][0]
    made["gallery"] = [one]
    nowhere = {"slot": 5, "file": None, "distance": None, "within": None}
    one["same_slots"][0]["after"] = nowhere
    styles = [found.get("class") for found in Page(calibrated_page.render(made, None)).all("li")]
    within = [pair["after"]["within"] for pair in one["same_slots"]]
    assert styles.count("still") == within.count(True) == 3
    far = [row for side in ("before", "after") for row in one[side] if not row["within"]]
    assert styles.count("far") == len(far) > 0
    said_of_them = visible(calibrated_page.render(made, None))
    assert "The first 24 slots whose sample lies within the radius." in said_of_them
    assert "3 of them are still within the radius." in said_of_them
    assert [said.still(n, 24).split(" still")[0] for n in (0, 1, 24)] == [
        "None of them is",
        "1 of them is",
        "All of them are",
    ]


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize(
    "name", ["../before-0000000007.png", "samples-0000000007.png", "before-0000000007.svg", 7, None]
)
def test_what_is_no_picture_of_the_gallery_is_a_placeholder(name: Any, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    for path in (tmp_path / "before", gallery / "samples", gallery / "before"):
        for kind in ("png", "svg"):
            path.with_name(f"{path.name}-0000000007.{kind}").write_bytes(b"\x89PNG\r\n\x1a\n" * 9)
    made = strict(document())
    made["gallery"] = made["gallery"][:1]
    made["gallery"][0] |= {"after": [], "same_slots": []}
    made["gallery"][0]["before"][1:] = []
    shown_row = made["gallery"][0]["before"][0]
    for file, pictures in (("before-0000000007.png", 1), (name, 0)):
        shown_row["file"] = file
        assert len(Page(calibrated_page.render(made, gallery)).all("img")) == pictures
    assert "the nearest samples" in visible(calibrated_page.render(made, gallery))


def test_the_same_calibration_gives_the_same_page(tmp_path: Path) -> None:
    made = strict(document())
    gallery = paint(made, tmp_path / "gallery")
    pages = {calibrated_page.render(copy.deepcopy(made), gallery) for _ in range(2)}
    assert len(pages) == 1
    assert len({calibrated.render_markdown(copy.deepcopy(made)) for _ in range(2)}) == 1


# -- somebody else's words ---------------------------------------------------------------------


def tame() -> Json:
    made = refined() | {"gallery": document()["gallery"]}
    made["generator"]["key"] = {"somebody": [None, True, 1.5, {}]}
    made["announced"]["facts"]["x"] = "z"
    return made


def test_hostile_strings_add_nothing_but_text(tmp_path: Path) -> None:
    made = strict(hostile())
    gallery = paint(made, tmp_path)
    attacked = calibrated_page.render(made, gallery)
    kinds = [
        Counter((tag, *attributes) for tag, attributes in Page(page).elements)
        for page in (attacked, calibrated_page.render(strict(tame()), gallery))
    ]
    assert kinds[0] == kinds[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in attacked
    assert not re.search("[\0-\x08\x0b-\x1f\u202e\ud800]", attacked)
    assert attacked.encode()  # no lone surrogates
    assert "{{ 7 * 7 }}" in attacked


def test_hostile_strings_change_no_markup() -> None:
    attacked = calibrated.render_markdown(strict(hostile()))
    wanted, found = (
        Counter(token.type for token in tokens(text))
        for text in (calibrated.render_markdown(strict(tame())), attacked)
    )
    for kind in ("text", "text_special"):
        wanted.pop(kind, None), found.pop(kind, None)
    assert found == wanted
    for token in tokens(attacked):
        if token.type == "html_block":
            block = token.content.strip()
            assert re.fullmatch(r"<details><summary>[\w ]+</summary>|</details>", block)
    prose = re.sub(r"(?s)^(`{3,})json\n.*?^\1$", "", attacked, flags=re.MULTILINE)
    assert not LIVE.search(prose)
    assert not re.search("[\0-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", attacked)


def test_hostile_strings_do_not_steer_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = strict(hostile())
    made["verdict"]["sentences"].append("##vso[task.complete]::error::x \x1b[2J [bold]b[/bold]")
    calibrated.show(made, tmp_path)
    seen = capsys.readouterr().out
    assert not re.search("[\0-\x09\x0b-\x1f\u202e\ud800]", seen)
    assert "##vso" not in seen and "::error" not in seen and "[bold]b[/bold]" in seen


@pytest.mark.parametrize("name", VARIANTS)
def test_every_document_is_markdown_of_bounded_size(name: str) -> None:
    text = calibrated.render_markdown(strict(VARIANTS[name]()))
    assert len(text.encode()) <= 60_000
    assert text.count("\n# ") == 0 and text.startswith("# ")
    found = Counter(token.type for token in tokens(text))
    assert found["image"] == found["link_open"] == found["html_inline"] == 0
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert said.NAME not in text


def test_endless_strings_are_shortened_and_it_says_so() -> None:
    made = document()
    made["announced"]["sentences"] = [f"{i} " + "w|" * 10_000 for i in range(1000)]
    made["generator"] |= {f"key {i}": "g" * 100_000 for i in range(50)}
    text = calibrated.render_markdown(strict(made))
    assert len(text.encode()) <= 60_000
    assert "- and 980 more in calibration.json" in text


# -- charts and files --------------------------------------------------------------------------


def dots(axes: Any, colour: str, *, full: bool) -> list[tuple[float, float]]:
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() == "o"
        and to_hex(line.get_color()) == colour
        and (line.get_markerfacecolor() != "none") == full
    ]


def test_the_chart_of_rates_has_both_rates_of_each_mode_and_the_target() -> None:
    made = strict(document())
    axes = calibrated_charts.draw(made)["mode_rates"].axes[0]
    for side, found in (
        ("before", dots(axes, drawing.INK, full=False)),
        ("after", dots(axes, drawing.ACCENT, full=True)),
    ):
        assert [rate for _, rate in found] == [mode[side]["estimate"] for mode in made["modes"]]
        assert [round(x) for x, _ in found] == [1, 2, 3]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [made["target"]]
    assert list(axes.get_xticks()) == [1, 2, 3]


def test_a_chart_of_many_modes_says_that_it_has_the_first_ones() -> None:
    made = strict(many())
    axes = calibrated_charts.draw(made)["mode_rates"].axes[0]
    assert len(dots(axes, drawing.ACCENT, full=True)) == 16
    assert "The first 16 of 32 are drawn." in calibrated_charts.said(made)["mode_rates"].reading
    assert "are drawn" not in calibrated_charts.said(document())["mode_rates"].reading


def test_box_plots_are_those_of_the_document_and_none_is_cut_off() -> None:
    made = strict(document())
    for box in made["boxes"][2:]:  # one chosen mode: its box is a line
        ends = ("low", "quarter", "three_quarters", "high", "largest")
        box |= dict.fromkeys(ends, box["median"])
    figure = calibrated_charts.draw(made)["mccs_boxes"]
    axes = figure.axes[0]
    for box, patch in zip(made["boxes"], axes.patches, strict=True):
        assert patch.get_x() == box["quarter"]
        assert patch.get_x() + patch.get_width() == pytest.approx(box["three_quarters"])
    labels = [text.get_text() for text in axes.texts]
    assert labels == [f"{box['label']}, n = 11,987" for box in made["boxes"]]
    low, high = axes.get_xlim()
    values = [box[name] for box in made["boxes"] for name in ("low", "high", "largest")]
    assert low < min(values) and max(values) < high


def test_a_calibration_is_written_whole_and_the_same_again(tmp_path: Path) -> None:
    made = strict(document())
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        paint(made, folder / "gallery")
        calibrated.write(made, folder)
        contents.append({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]
    charts = {f"{name}.{kind}" for name in ("mccs_boxes", "mode_rates") for kind in ("svg", "png")}
    names = {p.relative_to(tmp_path / "a").as_posix() for p in (tmp_path / "a").rglob("*.*")}
    assert {"calibration.html", "calibration.md", *(f"figures/{one}" for one in charts)} <= names
    assert b"data:image/png" in contents[0]["calibration.html"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(GanauditError, match="figures cannot be written"):
        calibrated.write(strict(document()), tmp_path)


# -- docs/schemas/calibration-1.schema.json ----------------------------------------------------


def schema() -> Json:
    return json.loads((SCHEMAS / "calibration-1.schema.json").read_text("utf-8"))


def closed(value: Json) -> Json:
    """A copy of a schema that refuses every member that it does not describe."""
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: closed(inner) for name, inner in value.items()}
    if "object" in str(value.get("type")) and "properties" in value:
        made["additionalProperties"] = False
    return made


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"hostile"}))
def test_the_example_calibrations_are_such_as_are_written(name: str) -> None:
    found = Draft202012Validator(closed(schema())).iter_errors(strict(VARIANTS[name]()))
    assert [f"{error.json_path}: {error.message:.200}" for error in found] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("verdict", "outcome"), "fixed"),
        (("verdict", "sentences"), []),
        (("modes",), []),
        (("modes", 0, "meets_target"), True),  # it is above
        (("modes", 0, "before", "estimate"), 1.2),
        (("modes", 0, "ratio", "low"), -0.1),
        (("others", "allowed"), 0.9),
        (("companions", "noise"), None),
        (("acceptance", "high"), 1.01),
        (("announced", "forecast", "worst"), [0.1]),
        (("announced", "forecast", "worst"), [0.1, 0.1, 0.1]),
        (("modes_asked",), 0),
        (("modes_asked",), "all"),
        (("unaccepted",), None),
        (("gallery", 0, "anchor", "file"), "../../secret.png"),
        (("gallery", 0, "before", 0, "file"), "samples-0000000001.png"),
        (("difference", 0, "a", "estimate"), 2),
        (("type",), "lens"),
    ],
)
def test_what_cannot_be_is_refused(path: tuple[Any, ...], value: Json) -> None:
    valid, made = Draft202012Validator(schema()), strict(document())
    assert valid.is_valid(made)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not valid.is_valid(made)


def test_no_member_may_be_missing() -> None:
    valid, made = Draft202012Validator(schema()), strict(refined())
    for name in made:
        assert not valid.is_valid({key: value for key, value in made.items() if key != name}), name
        assert valid.is_valid(made | {"added later": 1})


def test_what_the_schemas_share_is_said_alike() -> None:
    own = schema()["$defs"]
    for other in SCHEMAS.glob("*.schema.json"):
        for name, one in json.loads(other.read_text("utf-8"))["$defs"].items():
            assert own.get(name, one) == one, (other.name, name)
    assert {"share_interval", "figure"} <= set(own)
