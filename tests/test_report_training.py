"""A training as people and programs read it: page, terminal, charts, document and schema."""

import ast
import base64
import copy
import inspect
import io
import json
import re
import shlex
import textwrap
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from report_example import visible
from test_report_html import VERDICTS, Page
from training_example import VARIANTS, audit, document, few, figures, hostile, paint, toy

from ganaudit.config import TrainConfig
from ganaudit.errors import GanauditError
from ganaudit.files import json_text
from ganaudit.grids import encode_png
from ganaudit.regularizers.strength import Strength
from ganaudit.report import training, words
from ganaudit.report import training_charts as charts
from ganaudit.report import training_tables as tables
from ganaudit.report import training_words as said
from ganaudit.training import documents
from ganaudit.training.journal import Journal
from ganaudit.training.loop import Ending
from ganaudit.training.phases import Phases
from ganaudit.training.resolving import resolve_recipe
from ganaudit.training.scribe import Scribe
from ganaudit.training.states import make_state

Json = Any
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
TAME = sorted(set(VARIANTS) - {"hostile"})


def strict(made: Json) -> Json:
    """As it comes back from training.json."""
    return json.loads(json_text(made))


@pytest.fixture(scope="module", params=VARIANTS)
def rendered(request: Any, tmp_path_factory: Any) -> Iterator[tuple[str, Json, str]]:
    made = strict(VARIANTS[request.param]())
    folder = paint(made, tmp_path_factory.mktemp("training"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield request.param, made, training.render(made, folder)


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    for name in ("of_curves", "of_audits"):
        monkeypatch.setattr(charts, name, lambda document: [])


def page_of(made: Json, folder: Path) -> str:
    return training.render(strict(made), folder)


# -- sentences -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("six", "Trained for 10,000 steps."),
        ("bare", "Interrupted after 1 step; the last checkpoint is kept."),
        (
            "diverged",
            "Diverged after 730 steps: at step 730 loss_discriminator was no longer finite. The "
            "last checkpoint before it is kept.",
        ),
    ],
)
def test_the_headline_says_how_it_ended(name: str, sentence: str) -> None:
    assert said.headline(VARIANTS[name]()) == sentence


REAL = (
    "The real images of these audits are the training images themselves: a model that knows them "
    "by heart looks best."
)


def test_the_lead_has_the_last_audit_and_says_what_it_is_compared_with() -> None:
    assert list(said.lead(document())) == [
        "One identity makes up 4.00 % (3.5 % to 4.5 %) of what the averaged generator shows at "
        "step 10,000; the median anchor has 0.40 %.",
        "That mode is at least 2.33 times as dense as the densest one of the training images.",
        "How alike its samples are is not told apart from how alike the training images are: 0.94 "
        "to 1.06 times.",
        REAL,
    ]


def test_few_neighbours_are_no_identity() -> None:
    assert list(said.lead(few())) == [
        "The densest of 64 anchors has 3 of 96 samples within the radius at step 0: 3.12 % (1 % to "
        "9 %).",
        REAL,
    ]


@pytest.mark.parametrize(
    ("worst", "alike", "phrases"),
    [
        ((1.41, 3.0), (1.01, 1.2), ("at least 1.41 times as dense", "more alike than")),
        ((1.4, 3.0), (0.9, 1.0), ("not told apart",)),
        ((0.2, 0.4), (0.5, 0.99), ("less alike than",)),
        ((None, None), (None, None), ()),
    ],
)
def test_the_training_images_are_a_baseline_as_far_as_intervals_tell(
    worst: tuple[Any, Any], alike: tuple[Any, Any], phrases: tuple[str, ...]
) -> None:
    made = document()
    for name, (low, high) in {"worst_ratio": worst, "similarity_ratio": alike}.items():
        made["audits"][-1]["figures"][name] = {"estimate": 1.0, "low": low, "high": high}
    _, *between, real = said.lead(made)
    assert len(between) == len(phrases) and real == REAL
    assert all(phrase in sentence for phrase, sentence in zip(phrases, between, strict=True))


def test_without_an_audit_nothing_is_known() -> None:
    sentence = "Nothing was audited: whether it repeats an identity too often is not known."
    assert list(said.lead(VARIANTS["bare"]())) == [sentence]
    assert list(said.cautions(VARIANTS["bare"]())) == []
    assert said.notes(VARIANTS["diverged"]())[-1] == (
        "Step 0 was not audited: 4 of 4 images have no face"
    )


def test_a_toy_is_counted() -> None:
    assert list(said.lead(toy())) == [
        "8 of 8 modes are covered at step 10,000; 93.0 % of the points lie on the support."
    ]
    assert "10,000 points" in said.about_audits(toy())


def test_an_untrained_generator_is_no_baseline_of_a_regulariser() -> None:
    start = "At step 0 nothing was learned yet"
    made = document()
    assert [one for one in said.cautions(made) if one.startswith(start)]
    made["audits"] = made["audits"][1:]
    assert not [one for one in said.cautions(made) if one.startswith(start)]


class Step(NamedTuple):
    text: str
    command: str


def test_what_comes_next_is_what_can_be_done() -> None:
    steps = {
        name: [Step(text, " ".join(command)) for text, command in said.next_steps(make())]
        for name, make in VARIANTS.items()
    }
    train = "ganaudit train --out FOLDER --resume"
    first = {name: steps[name][0] for name in ("six", "bare", "diverged")}
    assert (first["six"].command, first["bare"].command) == (f"{train} --steps N", train)
    assert first["diverged"].text.startswith("Begin again") and not first["diverged"].command
    assert ["--descriptor facenet" in step.command for step in steps["six"][1:]] == [True] * 3
    assert ["--descriptor NAME" in step.command for step in steps["bare"][1:]] == [True] * 3
    assert ["--descriptor points" in step.command for step in steps["toy"]] == [False, True]


# -- figures -------------------------------------------------------------------------------------


def shown(made: Json) -> Iterator[str]:
    """Every figure of the first and the last audit, as words have it."""
    share = {"worst_rate", "median_rate", "coverage", "good", "largest_mode"}
    for one in tables.first_and_last(made):
        for name, value in one["figures"].items():
            if name in ("n", "rows", "modes_of") or value is None:
                continue
            if isinstance(value, dict):
                yield words.estimate(value, share=name in share)
                if (value["low"], value["high"]) != (None, None):
                    yield words.interval(value, share=name in share)
            elif name in ("near_copies", "modes"):
                yield words.count(value)
            else:
                yield words.percent(value) if name in share else words.number(value)


def missing(wanted: Iterator[str], text: str) -> list[str]:
    bare = " ".join(text.split())
    return [one for one in wanted if " ".join(one.split()) not in bare]


def test_the_page_has_every_figure_and_sentence(rendered: tuple[str, Json, str]) -> None:
    name, made, text = rendered
    if name == "hostile":
        return
    seen = unescape(visible(text))
    sentences = [said.headline(made), *said.lead(made), *said.cautions(made), *said.notes(made)]
    sentences += [text for step in said.next_steps(made) for text in (step.text, *step.command)]
    sentences += [*(f"{a} {b}" for a, b in said.facts(made))]
    assert missing(iter(sentences), seen) == []
    assert missing(shown(made), seen) == []
    for row in tables.rows(tables.over_time(made)):
        assert missing(iter([f"{a} {b}".strip() for a, b in row.cells]), seen) == []


def test_the_terminal_has_the_outcome_and_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for file in ("training.html", "generator.safetensors"):
        (tmp_path / file).touch()
    for name in TAME:
        made = strict(VARIANTS[name]())
        training.show(made, tmp_path)
        seen = capsys.readouterr().out
        wanted = [said.headline(made), *said.lead(made), *said.notes(made)]
        last = made["audits"][-1:]
        wanted += [text for row in tables.rows(last) for text in row.cells[0]]
        assert missing(iter(wanted), seen) == []
        assert str(tmp_path / "training.html") in seen and "training.json" not in seen
        assert ("at step 0" in seen) is (len(made["audits"]) > 1 or name == "few")


def test_a_figure_that_is_no_number_but_may_be_infinite_has_its_end() -> None:
    (row,) = (row for row in tables.rows(few()["audits"]) if row.name == "Effective modes")
    assert row.cells == [("not known", "at least 21.0")]


def test_every_figure_of_an_audit_has_a_row_and_one_sentence() -> None:
    both = [document()["audits"][-1], toy()["audits"][-1]]
    rows = tables.rows(both)
    names = {name for one in both for name in one["figures"]} - {"n", "rows", "modes_of"}
    assert len(rows) == len(names) == len({row.name for row in rows})
    assert all(row.meaning for row in rows)


@pytest.mark.parametrize(("count", "most"), [(1, 6), (6, 6), (7, 6), (100, 6), (3, 2), (11, 9)])
def test_some_of_many_are_spread_evenly_with_both_ends(count: int, most: int) -> None:
    found = tables.spread(range(count), most)
    assert len(found) == min(count, most) == len(set(found))
    assert (found[0], found[-1]) == (0, count - 1) and found == sorted(found)
    gaps = {b - a for a, b in zip(found, found[1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 1


# -- the page ------------------------------------------------------------------------------------


def test_every_training_is_a_sound_page(rendered: tuple[str, Json, str]) -> None:
    page = Page(rendered[2])
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in page.elements:
        assert found.get("aria-labelledby") in (None, *ids)
        for value in found.values():
            assert set(re.findall(r"url\(#([^)]*)\)", value or "")) <= set(ids)
    for link in page.all("use"):
        assert (link["xlink:href"] or "")[1:] in ids
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in zip(levels, levels[1:], strict=False))
    assert all(found.get("scope") in ("row", "col") for found in page.all("th"))
    assert all(found["role"] == "img" and found["aria-label"] for found in page.all("svg"))
    assert len(rendered[2].encode()) < 8e6


def test_the_page_asks_for_nothing_and_runs_nothing(rendered: tuple[str, Json, str]) -> None:
    page = Page(rendered[2])
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in page.all("meta")
    assert not page.all("script", "iframe", "object", "embed", "form", "base", "foreignobject")
    for tag, found in page.elements:
        assert not [name for name in found if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            start = {"img": "data:image/", "link": "data:,", "a": ("#report", "audits/step-")}
            assert name not in found or (found[name] or "").startswith(start.get(tag, "#"))
    styles = re.findall(r"(?s)<style>.*?</style>", rendered[2])
    assert len(styles) == 1 and not re.search(r"@import|url\(", styles[0])


def test_nothing_is_called_good_or_bad(rendered: tuple[str, Json, str]) -> None:
    if rendered[0] != "hostile":
        assert not VERDICTS.search(visible(rendered[2]))


@pytest.mark.usefixtures("no_charts")
def test_every_audit_is_linked_to_its_own_page(tmp_path: Path) -> None:
    made = document()
    made["audits"][1]["folder"] = None
    made["audits"][2]["folder"] = "audits/step-00000000/../../../etc"
    links = [link["href"] for link in Page(page_of(made, tmp_path)).all("a")]
    assert links == ["#report"] + [
        f"audits/step-{step:08d}/report.html" for step in (0, 6000, 8000, 10_000)
    ]


def test_the_same_training_gives_the_same_page(tmp_path: Path) -> None:
    folder = paint(document(), tmp_path)
    pages = {page_of(copy.deepcopy(document()), folder) for _ in range(2)}
    assert len(pages) == 1


@pytest.mark.usefixtures("no_charts")
def test_a_page_is_written_or_it_is_said_why_not(tmp_path: Path) -> None:
    training.write(strict(document()), tmp_path)
    assert (tmp_path / "training.html").read_text("utf-8").startswith("<!doctype html>")
    (tmp_path / "file").touch()
    with pytest.raises(GanauditError, match=r"training\.html cannot be written"):
        training.write(strict(document()), tmp_path / "file")


# -- pictures ------------------------------------------------------------------------------------


def pictures(text: str) -> list[tuple[str, str, bytes]]:
    found = []
    for image in Page(text).all("img"):
        kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", image["src"] or "").groups()  # type: ignore[union-attr]
        found.append((image["alt"] or "", kind, base64.b64decode(data)))
    return found


@pytest.mark.usefixtures("no_charts")
def test_pictures_over_time_are_spread_evenly(tmp_path: Path) -> None:
    for made, steps in (
        (document(), (0, 1, 2, 4, 5, 6, 8, 9, 10)),
        (toy(), (0, 1, 3, 4, 6, 7, 9, 10)),
    ):
        folder = paint(made, tmp_path / made["data"]["name"].replace(":", "-"))
        found = pictures(page_of(made, folder))
        assert [alt for alt, _, _ in found] == [f"Samples, Step {step * 1000:,}" for step in steps]


@pytest.mark.usefixtures("no_charts")
def test_a_small_picture_is_shown_as_it_is_and_a_large_one_smaller(tmp_path: Path) -> None:
    made = document()
    made["samples"] = made["samples"][:3]
    (tmp_path / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), dtype=np.uint8)
    files = [encode_png(noise[:side, : side + 100]) for side in (100, 600, 1200)]
    for shown_, data in zip(made["samples"], files, strict=True):
        (tmp_path / shown_["file"]).write_bytes(data)
    text = page_of(made, tmp_path)
    found = pictures(text)
    assert [kind for _, kind, _ in found] == ["png", "jpeg", "jpeg"] and found[0][2] == files[0]
    sizes = [Image.open(io.BytesIO(data)).size for _, _, data in found]
    assert sizes == [(200, 100), (700, 600), (1100, 1015)]
    mean = [np.asarray(Image.open(io.BytesIO(data))).mean() for _, _, data in found]
    assert mean == pytest.approx([127.5] * 3, abs=3)
    assert [image.get("class") for image in Page(text).all("img")] == ["few", "wide", "wide"]


def large(width: int, height: int) -> bytes:
    """A PNG file that claims a size in a sound header, and has far too few bytes for it."""
    data = bytearray(encode_png(np.zeros((8, 8, 3), np.uint8)))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.usefixtures("no_charts")
@pytest.mark.parametrize(
    "what", ["absent", "a folder", "no PNG", "cut off", "a link", "huge", "torn", "another name"]
)
def test_what_is_no_picture_of_the_training_is_left_out(tmp_path: Path, what: str) -> None:
    made, good = document(), encode_png(np.zeros((8, 8, 3), np.uint8))
    made["samples"] = made["samples"][:1]
    (tmp_path / "samples").mkdir()
    path = tmp_path / made["samples"][0]["file"]
    contents = {"no PNG": b"GIF89a" + good, "cut off": good[:20], "huge": large(100_000, 100_000)}
    contents |= {"torn": large(2000, 2000), "another name": good, "a link": good}
    if what == "a folder":
        path.mkdir()
    elif what == "a link":
        (tmp_path / "secret.png").write_bytes(good)
        path.symlink_to(tmp_path / "secret.png")
    elif what != "absent":
        path.write_bytes(contents[what])
    if what == "another name":
        (tmp_path / "samples" / "x.png").write_bytes(good)
        made["samples"][0]["file"] = "samples/x.png"
    assert pictures(page_of(made, tmp_path)) == []


# -- somebody else's words -----------------------------------------------------------------------


def test_hostile_strings_add_nothing_but_text(tmp_path: Path) -> None:
    attacked = page_of(hostile(), tmp_path)
    tame = document()
    tame["samples"] = []
    like = hostile()
    for name in ("notes", "not_audited", "environment"):
        tame[name] = copy.deepcopy(like[name])
    tame["notes"], tame["not_audited"] = ["x"] * 8, [{"step": 5, "message": "x"}] * 8
    tame["environment"] = {f"key {i}": "x" for i in range(8)}
    tame["preset"] = like["preset"] and "x"
    for one in tame["audits"]:
        one["folder"] = None
    kinds = [
        Counter((tag, *attributes) for tag, attributes in Page(page).elements)
        for page in (attacked, page_of(tame, tmp_path))
    ]
    assert kinds[0] == kinds[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in attacked
    assert not re.search("[\0-\x08\x0b-\x1f\u202e\ud800]", attacked)
    assert "{{ 7 * 7 }}" in attacked and attacked.encode()


def test_a_command_is_one_whatever_a_descriptor_is_called() -> None:
    made = document()
    made["audits"][-1]["under"]["descriptor"] = "x; rm -rf $HOME `id` 'y'"
    for step in list(said.next_steps(made))[1:]:
        found = shlex.split(" ".join(step.command))
        assert found[found.index("--descriptor") + 1] == "x; rm -rf $HOME `id` 'y'"


def test_hostile_strings_do_not_steer_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = strict(hostile())
    made["notes"].append("##vso[task.complete]::error::x \x1b[2J [bold]b[/bold]")
    training.show(made, tmp_path)
    seen = capsys.readouterr().out
    assert not re.search("[\0-\x09\x0b-\x1f\u202e\ud800]", seen)
    assert "##vso" not in seen and "::error" not in seen and "[bold]b[/bold]" in seen


# -- charts --------------------------------------------------------------------------------------


def test_every_number_that_the_loop_tells_is_drawn() -> None:
    told = set(re.findall(r'"(lipschitz_\w+)"', inspect.getsource(Scribe._ratios)))
    for teller in (
        Phases.discriminator, Phases.r1, Phases.generator, Phases.path_length, Strength.adapt,
    ):  # fmt: skip
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(teller)))):
            keys: list[Any] = node.keys if isinstance(node, ast.Dict) else []
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                keys = [node.slice]
            told |= {key.value for key in keys if isinstance(key, ast.Constant)}
    assert {"loss_generator", "real_logit", "pair", "r1", "augment_p", "path_penalty"} <= told
    assert told == {name for drawn in charts.CURVES.values() for name in drawn.names}


def test_curves_are_those_of_the_document() -> None:
    from matplotlib.figure import Figure

    made = document()
    made["curves"]["real_logit"][3][1] = None
    for drawn in charts.CURVES.values():
        axes = Figure().subplots()
        charts._draw(axes, made, drawn=drawn, series=lambda name: charts._curves(made, name))
        lines = [line.get_xydata().tolist() for line in axes.get_lines()]
        wanted = [made["curves"][name] for name in drawn.names if name in made["curves"]]
        assert lines == [[list(p) for p in curve if p[1] is not None] for curve in wanted]


def test_audits_are_drawn_with_their_intervals() -> None:
    from matplotlib.figure import Figure

    made = document()
    axes, drawn = Figure().subplots(), charts.AUDITS["rates"]
    points = {name: charts._points(made["audits"], name) for name in drawn.names}
    charts._draw(axes, made, drawn=drawn, series=points.__getitem__)
    worst, median = axes.get_lines()
    rates = [one["figures"]["worst_rate"] for one in made["audits"]]
    assert worst.get_ydata().tolist() == [rate["estimate"] for rate in rates]
    assert median.get_ydata().tolist() == [one["figures"]["median_rate"] for one in made["audits"]]
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    for one, rate in zip(made["audits"], rates, strict=True):
        assert {(one["step"], rate["low"]), (one["step"], rate["high"])} <= corners
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize(("name", "audited", "curved"), [
    ("six", 4, 3), ("two", 0, 3), ("toy", 2, 3), ("bare", 0, 0), ("diverged", 0, 1),
])  # fmt: skip
def test_there_is_a_chart_of_whatever_there_is(name: str, audited: int, curved: int) -> None:
    made = strict(VARIANTS[name]())
    both = charts.of_audits(made), charts.of_curves(made)
    assert tuple(map(len, both)) == (audited, curved)
    for caption, svg in (*both[0], *both[1]):
        assert caption.title and svg.startswith("<svg ") and caption.alternative in unescape(svg)


def test_charts_are_told_in_words() -> None:
    told = {caption.title: caption for caption, _ in charts.of_audits(document())}
    rates = told["Worst mode and median anchor"]
    assert rates.reading == (
        "Worst mode, the warm line; median anchor, the dark line. The band is the 95 % interval."
    )
    assert rates.alternative == (
        "Worst mode and median anchor: worst mode from 94.0 % at step 0 to 4.00 % at step 10,000; "
        "median anchor from 50.4 % at step 0 to 0.40 % at step 10,000"
    )
    (losses, *_) = [caption for caption, _ in charts.of_curves(document())]
    assert losses.reading.endswith("Discriminator, the warm line; generator, the dark line.")
    (made,) = [one for one, _ in charts.of_audits(toy()) if one.title == "Modes covered"]
    assert made.reading == ""


# -- the document --------------------------------------------------------------------------------


def test_curves_are_means_of_neighbours_and_at_most_500() -> None:
    lines = [{"kind": "step", "step": i, "time_s": i, "kimg": i, "a": i} for i in range(1, 1003)]
    lines[1]["a"] = None
    lines[4]["a"] = lines[3]["a"] = lines[5]["a"] = None
    lines[9] |= {"a": "hello", "not_finite": ["b"]}
    found = documents.curves(lines)
    assert list(found) == ["a"] and len(found["a"]) <= 500  # 1,001 points: three and three
    assert found["a"][:4] == [[3, 2.0], [6, None], [9, 8.0], [13, 12.0]]
    assert documents.curves(lines[:2]) == {"a": [[1, 1.0], [2, None]]}
    assert documents.curves([]) == {}


def built(out: Path, *, last: int = 20, start: int = 0) -> Json:
    config = TrainConfig(
        data="x", arch="mlp", steps=40, batch=8, set=("optim.discriminator_steps=3",)
    )
    recipe = resolve_recipe(config, image_shape=(2,), num_labels=0)
    configuration = {
        "request": config.shown(),
        "recipe": recipe.shown(),
        "data": {"name": "x", "count": 9, "sha256": "0" * 64},
        "notes": ["So."],
        "environment": {"torch": "2"},
    }
    return strict(
        documents.build(
            out,
            Ending("interrupted", last),
            configuration=json.loads(json_text(configuration)),
            networks=make_state(recipe),
            seconds=4.0,
            start=start,
        )
    )


def test_a_document_has_what_the_folder_has(tmp_path: Path) -> None:
    for folder in ("samples", "audits/step-00000000"):
        (tmp_path / folder).mkdir(parents=True)
    for step in (20, 0, 30):  # the last is of before the training was set back
        (tmp_path / f"samples/step-{step:08d}.png").touch()
    for other in ("samples/x.png", "samples/step-1.png", "audits/step-00000000/report.html"):
        (tmp_path / other).touch()
    (tmp_path / "generator.safetensors").write_bytes(b"")
    under = {"samples": 4}
    with Journal(tmp_path, start=0) as journal:
        journal.audit(0, {"n": 4, "modes": 1, "modes_of": 8, "good": 0.0}, under=under)
        journal.record(10, {"loss": 1.0}, kimg=1)
        journal.record(20, {"loss": float("nan")}, kimg=2)
        journal.no_audit(20, "no face")
    made = built(tmp_path)
    assert made["samples"] == [
        {"step": step, "file": f"samples/step-{step:08d}.png"} for step in (0, 20)
    ]
    assert made["audits"] == [
        {
            "step": 0,
            "folder": "audits/step-00000000",
            "under": under,
            "figures": {"n": 4, "modes": 1, "modes_of": 8, "good": 0.0},
        }
    ]
    assert made["not_audited"] == [{"step": 20, "message": "no face"}]
    assert made["curves"] == {"loss": [[10, 1.0], [20, None]]}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert made["files"] == {"generator.safetensors": {"sha256": empty}}
    assert complaints(made) == []


def test_images_shown_are_counted_since_it_went_on(tmp_path: Path) -> None:
    made = built(tmp_path, last=20, start=5)  # 24 images a step, in 4 s
    assert (made["kimg"], made["images_per_s"]) == (0.48, 90.0)
    assert built(tmp_path, last=20, start=20)["images_per_s"] is None
    generator = 2 * 100 + 100 + 100 * 200 + 200 + 200 * 100 + 100 + 100 * 2 + 2
    assert made["parameters"]["generator"] == generator


# -- docs/schemas/training-1.schema.json ---------------------------------------------------------


def schema() -> Json:
    return json.loads((SCHEMAS / "training-1.schema.json").read_text("utf-8"))


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


def complaints(made: Json) -> list[str]:
    found = Draft202012Validator(closed(schema())).iter_errors(made)
    return [f"{error.json_path}: {error.message:.200}" for error in found]


def test_the_schema_is_one_and_says_what_every_member_is() -> None:
    found = schema()
    Draft202012Validator.check_schema(found)
    assert found["properties"]["schema_version"]["const"] == documents.SCHEMA_VERSION
    assert found["properties"]["kind"]["const"] == documents.KIND
    text = json.dumps(found)
    assert set(re.findall(r'"\$ref": "([^"]*)"', text)) == {f"#/$defs/{n}" for n in found["$defs"]}

    def members(value: Json) -> Iterator[Json]:
        if isinstance(value, dict):
            if "object" in str(value.get("type")):
                yield from value.get("properties", {}).values()
            for one in value.values():
                yield from members(one)
        elif isinstance(value, list):
            for one in value:
                yield from members(one)

    described = list(members(found))
    assert len(described) > 80
    assert all(len(one["description"]) > 4 and one["description"][-1] == "." for one in described)


@pytest.mark.parametrize("name", TAME)
def test_the_example_trainings_are_such_as_are_written(name: str) -> None:
    made = strict(VARIANTS[name]())
    loss, optim = built(Path())["recipe"]["loss"], built(Path())["recipe"]["optim"]
    made["recipe"] |= {"loss": loss, "optim": optim}  # shortened in the examples
    assert complaints(made) == []


def test_the_schema_describes_styles_and_augmentations() -> None:
    made = strict(document())
    config = TrainConfig(
        data="x", preset="auto", augment=("ada,apa",), set=("augment.target=-0.1",)
    )
    recipe = resolve_recipe(config, image_shape=(3, 16, 16), num_labels=0)
    made["recipe"] = strict(replace(recipe, origin="ab" * 32 + "+" + "cd" * 32).shown())
    assert complaints(made) == []
    for owner, key in (("styles", "mixing"), ("augment", "p"), ("optim", "freeze")):
        broken = copy.deepcopy(made)
        broken["recipe"][owner][key] = "x"
        assert any(f"$.recipe.{owner}.{key}" in one for one in complaints(broken))
    made["recipe"]["origin"] = "ab"
    assert len(complaints(made)) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("status",), "done"),
        (("images_per_s",), -1),
        (("steps",), 1.5),
        (("curves", "real_logit", 0), [1]),
        (("curves", "real_logit", 0), [1, "x"]),
        (("curves", "real_logit"), [[1, 2.0]] * 501),
        (("samples", 0, "file"), "../../secret.png"),
        (("audits", 0, "folder"), "../../etc"),
        (("audits", 0, "figures", "coverage", "estimate"), 1.2),
        (("audits", 0, "figures", "worst_rate"), 0.5),
        (("audits", 0, "under", "theta"), 0),
        (("files", "generator.safetensors"), {}),
        (("data", "sha256"), "x"),
        (("data", "count"), 0),
        (("preset",), 3),
    ],
)
def test_what_cannot_be_is_refused(path: tuple[Any, ...], value: Json) -> None:
    made = strict(document())
    made["recipe"] = built(Path())["recipe"]
    valid = Draft202012Validator(schema())
    assert valid.is_valid(made)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not valid.is_valid(made)


def test_no_member_may_be_missing_and_some_may_come() -> None:
    valid, made = Draft202012Validator(schema()), built(Path())
    for name in made:
        assert not valid.is_valid({key: value for key, value in made.items() if key != name}), name
    assert valid.is_valid(made | {"added later": 1})


def test_what_the_schemas_share_is_said_alike() -> None:
    own = schema()["$defs"]
    for other in SCHEMAS.glob("*.schema.json"):
        for name, one in json.loads(other.read_text("utf-8"))["$defs"].items():
            assert own.get(name, one) == one, (other.name, name)
    assert {"share_interval", "reach"} <= set(own)


def test_examples_are_of_the_figures_that_audits_have() -> None:
    one = audit(0, figures(0.5), {"descriptor": "x"})
    described = schema()["properties"]["audits"]["items"]["properties"]["figures"]["properties"]
    toys = {"modes", "modes_of", "good", "largest_mode"}
    assert set(one["figures"]) == set(described) - toys
    assert set(toy()["audits"][0]["figures"]) == toys | {"n"}


def test_the_commands_that_come_next_have_options_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from typer.testing import CliRunner

    from ganaudit.cli import app

    for make in VARIANTS.values():
        for step in said.next_steps(make()):
            if step.command:
                _, verb, *rest = step.command
                text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"}).output
                assert [word for word in rest if word[:2] == "--" and word not in text] == []
