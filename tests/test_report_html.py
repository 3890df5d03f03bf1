import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import report_example
from report_example import HOSTILE, VARIANTS, example, hostile, paint, strict, tiny, visible, walls

from ganaudit.report import captions, comparison, figures, html, meanings, words

VERDICTS = re.compile(r"\b(healthy|no collapse|pass(es|ed)?|fails?)\b", re.IGNORECASE)
VOID = {"meta", "link", "img", "br", "use"}


class Page(HTMLParser):
    """Every element of a page with its attributes; complains about what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module", params=VARIANTS)
def rendered(request: Any, tmp_path_factory: Any) -> Iterator[tuple[Any, str]]:
    report = strict(VARIANTS[request.param]())
    gallery = paint(report, tmp_path_factory.mktemp("run") / "gallery")
    yield report, html.render(report, gallery=gallery)


# Numbers and sentences


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0042123, "0.00421"),
        (0.0096999, "0.00970"),
        (9.996, "10.0"),
        (26.34, "26.3"),
        (1238.6, "1,240"),
        (48_349.0, "48,300"),
        (3.214e-9, "3.21 × 10⁻⁹"),
        (-0.5, "-0.500"),
        (None, "not known"),
        (float("nan"), "not known"),
    ],
)
def test_a_number_has_three_significant_digits(value: float | None, shown: str) -> None:
    assert words.number(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.99999, "more than 99.9 %"),
        (0.9991, "99.9 %"),
        (0.123456, "12.3 %"),
        (0.0796, "7.96 %"),
        (0.015, "1.50 %"),
        (0.0996, "9.96 %"),
        (0.09999, "10.0 %"),
        (0.0004, "0.04 %"),
        (0.000123, "0.012 %"),
        (2e-8, "0.00000200 %"),
        (None, "not known"),
    ],
)
def test_a_share_is_a_sensible_percentage(share: float | None, shown: str) -> None:
    assert words.percent(share) == shown


@pytest.mark.parametrize(
    ("low", "high", "share", "shown"),
    [
        (0.0743, 0.0851, True, "7.4 % to 8.5 %"),
        (0.00323, 0.00357, False, "0.00323 to 0.00357"),
        (0.1466, 0.1526, False, "0.147 to 0.153"),
        (1141.2, 1339.4, False, "1,141 to 1,339"),
        (0.0, 0.0004, True, "0 % to 0.040 %"),
        (0.0000004, 0.5, False, "4.00 × 10⁻⁷ to 0.5"),
        (0.25, 0.25, False, "0.250 to 0.250"),
        (3330.4, None, False, "at least 3,330"),
        (None, 0.3, True, "at most 30.0 %"),
        (None, None, True, "no interval: too few groups of samples"),
    ],
)
def test_the_ends_of_an_interval_are_as_fine_as_its_width(
    low: float | None, high: float | None, share: bool, shown: str
) -> None:
    assert words.interval({"estimate": 0.1, "low": low, "high": high}, share=share) == shown


def test_the_headline_names_rate_interval_ratio_and_effective_number() -> None:
    assert words.headline(example()) == (
        "One identity makes up 7.96 % of what this generator shows (7.4 % to 8.5 %): 199 times the "
        "median anchor’s share. Two random samples are as alike as if there were only 1,240 "
        "equally likely identities."
    )


def test_the_headline_is_without_drama_where_little_was_counted() -> None:
    report = example()
    figures_ = report["figures"]
    figures_["worst_mode"]["times_median_rate"] = None
    assert words.claim(report).endswith(": the median anchor has no sample within the radius.")
    figures_["worst_mode"] |= {"count": 3, "rate": {"estimate": 3e-4, "low": 0.0, "high": 9e-4}}
    few = "The densest of 1,000 anchors has 3 of 10,000 samples within the radius: 0.03 % "
    assert words.claim(report) == f"{few}(0 % to 0.09 %)."
    figures_["worst_mode"] |= {"count": 0, "rate": {"estimate": 0.0, "low": 0.0, "high": None}}
    assert words.claim(report) == "No sample lies within the radius of any of 1,000 anchors."
    figures_["effective_modes"] = {"estimate": None, "low": 3330.0, "high": None, "radius": 0.2}
    alike = "Two random samples are as alike as if there were"
    assert words.likeness(report) == f"{alike} at least 3,330 equally likely identities."
    figures_["effective_modes"] |= {"estimate": 1.0}
    assert words.likeness(report) == f"{alike} only one identity."
    figures_["effective_modes"] |= {"estimate": 20_000.0}  # more than samples: not "only"
    assert words.likeness(report) == f"{alike} 20,000 equally likely identities."


def test_a_foreign_name_in_a_sentence_is_one_short_line() -> None:
    assert words.named("a\n\n b") == "a b"
    assert words.named("x" * 80) == "x" * 80
    assert words.named("x" * 81) == "x" * 79 + "…"


def test_every_figure_has_a_value_and_one_sentence() -> None:
    report = strict(report_example.with_reference())
    groups = [rows for _, rows in meanings.companions(report)]
    for row in sum(
        [*groups, comparison.fidelity(report["reference"])], meanings.key_figures(report)
    ):
        assert row.value and row.value != words.UNKNOWN
        assert re.fullmatch(r"\S[^.]*(\.\d[^.]*)*\.", row.meaning.replace("...", "")), row.meaning


def test_what_cannot_be_concluded_names_the_smallest_mode_and_n() -> None:
    said = " ".join(captions.cautions(example(anchors=1000, samples=10_000)))
    assert "rarer than 0.3 % (3/m)" in said
    assert "at n = 10,000" in said
    assert "the descriptor mobilefacenet" in said


# The page


def test_every_report_is_a_sound_page(rendered: tuple[Any, str]) -> None:
    page = Page(rendered[1])
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in page.elements:
        assert found.get("aria-labelledby") in (None, *ids)
        for value in found.values():
            targets = re.findall(r"url\(#([^)]*)\)", value or "")
            assert set(targets) <= set(ids)
    for link in page.all("a", "use"):
        assert (link.get("href") or link["xlink:href"] or "")[1:] in ids
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in zip(levels, levels[1:], strict=False))
    assert page.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert all(found.get("scope") in ("row", "col", "rowgroup") for found in page.all("th"))
    assert all(found["role"] == "img" and found["aria-label"] for found in page.all("svg"))
    assert len(rendered[1].encode()) < 8e6


def test_the_page_asks_for_nothing_and_runs_nothing(rendered: tuple[Any, str]) -> None:
    page = Page(rendered[1])
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in page.all("meta")
    assert not page.all("script", "iframe", "object", "embed", "form", "base", "foreignobject")
    for tag, found in page.elements:
        assert not [name for name in found if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            allowed = {"img": "data:image/", "link": "data:,"}.get(tag, "#")
            assert name not in found or (found[name] or "").startswith(allowed)
    styles = re.findall(r"(?s)<style>.*?</style>", rendered[1])
    assert len(styles) == 1 and not re.search(r"@import|url\(", styles[0])


def test_every_picture_is_described(rendered: tuple[Any, str]) -> None:
    report, text = rendered
    rows = [row for wall in walls(report)[:2] for row in wall["neighbors"]]
    rows += [row for wall in walls(report)[2:] for row in wall["neighbors"][:6]]
    wanted = Counter(f"anchor {wall['anchor']['slot']}" for wall in walls(report))
    wanted += Counter(
        f"sample {row['slot']}, distance {row['distance']:.3f}, "
        f"{'within' if row['within'] else 'beyond'} the radius"
        for row in rows
    )
    shown = report["gallery"] or {"faceless": []}
    wanted += Counter(f"sample {row['slot']}" for row in shown["faceless"])
    assert Counter(found["alt"] for found in Page(text).all("img")) == wanted


def test_labels_stand_densest_first_with_their_own_numbers(rendered: tuple[Any, str]) -> None:
    report, text = rendered
    said = visible(text)
    if report["labels"] is None:
        assert "Label by label" not in said
        return
    part = said[said.index("Label by label") : said.index("Remarks")]
    assert report["labels"]["law"] in part and "Left out: 2 labels" in part
    ordered = sorted(report["labels"]["by_label"], key=lambda r: -r["worst_rate"]["estimate"])
    places = [
        part.index(f"{row['label']} {row['samples']:,} against {row['anchors']} anchors")
        for row in ordered
    ]
    assert places == sorted(places)
    for row in ordered:
        assert words.estimate(row["worst_rate"], share=True) in part
    assert "no interval" in part
    without = report["counts"]["samples"]["no_face"]
    assert f"The first of {without} samples" in said and "found no face" in said


def test_nothing_is_called_good_or_bad(rendered: tuple[Any, str]) -> None:
    if rendered[0]["request"]["generator"] not in HOSTILE:
        assert not VERDICTS.search(visible(rendered[1]))
    assert VERDICTS.search("The generator is healthy.")


def test_what_the_page_shows_is_what_the_report_says(rendered: tuple[Any, str]) -> None:
    report, text = rendered
    said = visible(text.replace("&#39;", "'"))
    assert words.likeness(report) in said
    for mode in report["figures"]["dense_modes"]:
        assert f"{mode['rank']} {words.estimate(mode['rate'], share=True)} " in said
    for row in meanings.key_figures(report):
        assert f"{row.name} {row.value} {row.interval} {row.meaning}" in said


def test_the_same_report_gives_the_same_page(tmp_path: Path) -> None:
    report = strict(tiny())
    gallery = paint(report, tmp_path / "gallery")
    assert html.render(report, gallery=gallery) == html.render(report, gallery=gallery)


def test_hostile_strings_add_nothing_but_text(tmp_path: Path) -> None:
    report = strict(hostile())
    gallery = paint(report, tmp_path)
    tame = {key: value for key, value in strict(report_example.with_reference()).items()}
    tame["generator"]["key"] = {"somebody": [None, True, 1.5, {}]}
    attacked = html.render(report, gallery=gallery)
    kinds = [
        Counter((tag, *attributes) for tag, attributes in Page(page).elements)
        for page in (attacked, html.render(tame, gallery=gallery))
    ]
    assert kinds[0] == kinds[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in attacked
    assert not re.search("[\0-\x08\x0b-\x1f\u202e\ud800]", attacked)
    assert attacked.encode()  # no lone surrogates
    assert "{{ 7 * 7 }}" in attacked


# Pictures from disk


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    monkeypatch.setattr(figures, "inline", lambda report: {})


@pytest.mark.usefixtures("no_charts")
def test_one_scale_serves_every_bar() -> None:
    report = strict(example())
    text = html.render(report, gallery=None)
    bars = [found["style"] for found in Page(text).all("div") if found.get("class") == "bar"]
    highest = max(mode["rate"]["high"] for mode in report["figures"]["dense_modes"])
    assert highest <= 0.1  # so the scale is 0 to 10 %, and a share of x is 1000 x % wide
    assert "one scale, 0 to 10 %" in visible(text)
    for mode, bar in zip(report["figures"]["dense_modes"], bars, strict=True):
        found = [float(end) for end in re.findall(r"([\d.]+)%", bar or "")]
        rate = mode["rate"]
        ends = (rate["estimate"], rate["low"], rate["high"])
        assert found == pytest.approx([1000 * end for end in ends], abs=0.006)


def one_picture(name: Any, folder: Path | None) -> list[dict[str, str | None]]:
    """What the page shows for the anchor of the worst mode."""
    report = strict(example())
    gallery = report["gallery"]
    gallery["modes"], gallery["worst"]["neighbors"], gallery["random"]["neighbors"] = [], [], []
    gallery["random"]["anchor"]["file"] = None
    gallery["worst"]["anchor"] |= {"file": name, "slot": 7}
    return Page(html.render(report, gallery=folder)).all("img")


@pytest.mark.usefixtures("no_charts")
def test_a_picture_is_embedded_as_it_is(tmp_path: Path) -> None:
    paint(strict(example()), tmp_path / "gallery")
    source = next((tmp_path / "gallery").glob("*.png"))
    (tmp_path / "anchors-0000000007.png").write_bytes(source.read_bytes())
    (tmp_path / "anchors-0000000007.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    (png,) = one_picture("anchors-0000000007.png", tmp_path)
    assert png["src"].startswith("data:image/png;base64,iVBOR") and png["alt"] == "anchor 7"
    assert png["class"] == "tiny"  # 32 pixels
    (jpeg,) = one_picture("anchors-0000000007.jpg", tmp_path)
    assert jpeg["src"].startswith("data:image/jpeg;base64,/9j/")


@pytest.mark.parametrize(
    "name",
    [
        "../anchors-0000000007.png",
        "/etc/passwd",
        "sub/anchors-0000000007.png",
        "anchors-0000000007.png\n",
        "anchors-0000000007.svg",
        "anchors-٧.png",
        "anchors-.png",
        "x" * 500,
        7,
        None,
        "samples-0000000001.png",  # is not there
        "samples-0000000002.png",  # is a link out of the folder
        "samples-0000000003.png",  # is too large
        "samples-0000000004.png",  # is no picture
        "samples-0000000005.png",  # is a folder
    ],
)
@pytest.mark.usefixtures("no_charts")
def test_what_is_no_picture_of_the_gallery_is_a_placeholder(name: Any, tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + b"x" * 100
    gallery = tmp_path / "gallery"
    (gallery / "sub").mkdir(parents=True)
    for path in (tmp_path, gallery, gallery / "sub"):
        for kind in ("png", "svg"):
            (path / f"anchors-0000000007.{kind}").write_bytes(picture)
    for odd in ("anchors-0000000007.png\n", "anchors-٧.png", "anchors-.png"):
        (gallery / odd).write_bytes(picture)
    (gallery / "samples-0000000002.png").symlink_to(tmp_path / "anchors-0000000007.png")
    (gallery / "samples-0000000003.png").write_bytes(picture + b"x" * 2**16)
    (gallery / "samples-0000000004.png").write_bytes(b"<svg onload='alert(1)'>")
    (gallery / "samples-0000000005.png").mkdir()
    assert one_picture("anchors-0000000007.png", gallery)
    assert one_picture(name, gallery) == []
    assert one_picture("anchors-0000000007.png", None) == []


@pytest.mark.usefixtures("no_charts")
def test_too_many_bytes_of_pictures_leave_placeholders(tmp_path: Path) -> None:
    report = strict(example())
    for wall in walls(report):
        for row in (wall["anchor"], *wall["neighbors"]):
            path = tmp_path / row["file"]
            path.write_bytes(b"\xff\xd8\xff" + b"x" * 60_000)
            row["file"] = path.with_suffix(".jpg").name
            path.rename(path.with_suffix(".jpg"))
    text = html.render(report, gallery=tmp_path)
    assert len(text.encode()) < 8e6
    page = Page(text)
    blank = [found for found in page.all("span") if found.get("class") == "blank"]
    assert len(page.all("img")) == 5 * 2**20 // 60_003
    assert len(page.all("img")) + len(blank) == 2 * 81 + 24 * 7
    first = f"anchor {report['gallery']['worst']['anchor']['slot']}"
    assert first in [found["alt"] for found in page.all("img")]
    assert all((found["aria-label"] or "").endswith("; no picture") for found in blank)


# Colours


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def schemes() -> list[dict[str, str]]:
    """The page's colours by name: light, dark, print."""
    css = (files("ganaudit.report") / "report.css").read_text("utf-8")
    blocks = re.findall(r":root \{[^}]*\}", css)
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks]


def test_text_stands_out_in_both_schemes() -> None:
    light, dark = schemes()[:2]
    assert set(light) == set(dark) and light["paper"] != dark["paper"]
    for scheme in (light, dark):
        for name in ("ink", "muted", "accent"):
            pair = sorted((luminance(scheme[name]), luminance(scheme["paper"])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


def test_charts_have_the_colours_of_the_light_page() -> None:
    page = html.render(strict(tiny()), gallery=None)
    drawn = "".join(re.findall(r"(?s)<svg.*?</svg>", page))
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) == {"ink", "muted", "rule", "soft", "accent"}
    assert not re.search(r"#[0-9a-f]{6}", drawn)  # nothing that would not follow the scheme
    written = "".join(chart.read_text() for chart in figures.write(tiny(), Path("f"), ("svg",)))
    for name in ("ink", "muted", "rule", "soft", "accent"):
        assert schemes()[0][name] in written


# Charts


def test_charts_are_written_by_name_and_format(tmp_path: Path) -> None:
    report = strict(hostile())
    written = figures.write(report, tmp_path / "figures")
    wanted = {f"{name}.{kind}" for name in figures.names() for kind in ("svg", "png")}
    assert {path.name for path in written} == wanted
    again = figures.write(report, tmp_path / "again")
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    svg = (tmp_path / "figures" / "mccs_histogram.svg").read_text()
    assert "<text" in svg and ">anchors</text>" in svg  # text stays text
    assert "<dc:date>" not in svg


def test_a_users_settings_change_no_chart_and_survive(tmp_path: Path) -> None:
    import matplotlib

    (plain,) = [p for p in figures.write(tiny(), tmp_path / "a", ("svg",)) if "boxes" in p.name]
    changes = {"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}
    with matplotlib.rc_context(changes):
        before = dict(matplotlib.rcParams)
        figures.write(tiny(), tmp_path / "b", ("svg",))
        assert dict(matplotlib.rcParams) == before
    assert plain.read_bytes() == (tmp_path / "b" / plain.name).read_bytes()


def test_charts_hold_the_figures_of_the_report() -> None:
    report = strict(example())
    charts = figures.draw(report)
    assert list(charts) == figures.names() == list(captions.charts(report))
    bars = charts["mccs_histogram"].axes[0].patches
    counts = report["figures"]["mccs"]["histogram"]["counts"]
    assert [bar.get_height() for bar in bars] == counts
    for key in ("mean_similarity", "mu", "worst_rate"):
        (line,) = charts[f"convergence_{key}"].axes[0].lines
        points = report["figures"]["convergence"]
        assert list(line.get_xdata()) == [point["samples"] for point in points]
        assert list(line.get_ydata()) == [point[key]["estimate"] for point in points]
    for box, patch in zip(
        report["figures"]["boxes"], charts["mccs_boxes"].axes[0].patches, strict=True
    ):
        ends = [patch.get_x(), patch.get_x() + patch.get_width()]
        assert ends == pytest.approx([box["quarter"], box["three_quarters"]])


@pytest.mark.parametrize(
    "samples",
    [
        (496, 1008, 1504, 1994, 2500, 3002, 3500, 4000),
        (31_250, 62_500, 125_000, 250_000, 500_000, 1_000_000),
        (16, 1_000_000),
        (100, 3000, 3050, 3100),
        (6,),
    ],
)
def test_numbers_of_samples_do_not_overlap(samples: tuple[int, ...]) -> None:
    report = strict(example())
    last = report["figures"]["convergence"][-1]
    report["figures"]["convergence"] = [last | {"samples": n} for n in samples]
    chart = figures.draw(report)["convergence_mu"]
    chart.draw_without_rendering()
    labels = chart.axes[0].get_xticklabels()
    assert labels[0].get_text() == f"{samples[-1]:,}"
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    gaps = [right.x0 - left.x1 for left, right in zip(boxes, boxes[1:], strict=False)]
    assert all(gap > 2 for gap in gaps), gaps
    assert len(labels) > 1 or len(samples) == 1


def test_every_chart_is_told_in_words() -> None:
    report = strict(example())
    told = captions.charts(report)
    last = report["figures"]["convergence"][-1]["mu"]["estimate"]
    assert f"{words.number(last)} (" in told["convergence_mu"].alternative
    assert "at n = 10,000" in told["convergence_mu"].alternative
    middle = report["figures"]["mccs"]["quantiles"][2]["estimate"]
    assert f"50 % of anchors at most {words.number(middle)}" in told["mccs_histogram"].alternative
    page = html.render(report, gallery=None).replace("\u00a0", " ")
    for caption in told.values():
        assert caption.reading in visible(page)
        assert caption.alternative in [found["aria-label"] for found in Page(page).all("svg")]


def test_matplotlib_is_loaded_when_something_is_drawn_and_pyplot_never() -> None:
    program = (
        "import sys\n"
        "from ganaudit.report import html, markdown\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import report_example\n"
        "html.render(report_example.tiny(), gallery=None)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'matplotlib' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
