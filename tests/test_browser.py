"""The report in a real browser: what only layout, colour and keyboard show."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TESTS
from report_example import VARIANTS, paint, strict

from ganaudit.config import DiagnoseConfig
from ganaudit.pipeline import diagnose
from ganaudit.report import html

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --hide-scrollbars"
).split()
WIDTHS, SCHEMES = (1280, 400), ("light", "dark")
SHOWN = ("reference", "hostile", "tiny", "zero hits", "no gallery")

# Every visible piece of text against what is painted behind it, by WCAG 2.
CONTRASTS = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const luminance = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = e => { for (; e; e = e.parentElement) {
  const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3]) return c; }
  return [255, 255, 255]; };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  if (!text || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), ink = parse(e.closest('svg') ? style.fill : style.color);
  const [dark, light] = [luminance(ink), luminance(behind(e))].sort((a, b) => a - b);
  found.push([(light + 0.05) / (dark + 0.05), text.slice(0, 40)]);
}
return found;
"""
FOCUSED = """
const e = document.activeElement;
return [e.tagName, e.className, e.textContent.trim().slice(0, 40),
        e.getBoundingClientRect().height, getComputedStyle(e).outlineStyle];
"""


class Browser:
    """One headless Chromium; `open` shows a variant of the report at a width and in a scheme."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver = driver
        self._folder = folder

    def add(self, name: str, page: Path) -> None:
        shutil.copyfile(page, self._folder / f"{name}.html")

    def open(self, variant: str, *, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get((self._folder / f"{variant}.html").as_uri())

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(script)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    for name in SHOWN:
        report = strict(VARIANTS[name]())
        page = html.render(report, gallery=paint(report, folder / name))
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()


@pytest.fixture
def press(browser: Browser) -> Callable[[], Any]:
    """Press Tab; what has the focus then."""
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

    def tab() -> Any:
        webdriver.ActionChains(browser.driver).send_keys(keys.TAB).perform()
        return browser.ask(FOCUSED)

    return tab


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("variant", SHOWN)
def test_no_report_scrolls_sideways(browser: Browser, variant: str, width: int) -> None:
    browser.open(variant, width=width)
    fits = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.ask(fits) == [width, width]
    browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.ask(fits) == [width, width]
    outside = browser.ask(
        "return [...document.querySelectorAll('main *, header *')].filter(e => {"
        "  const box = e.getBoundingClientRect();"
        "  const outside = box.left < 0 || box.right > innerWidth;"
        "  return outside && box.width && !e.closest('.scroll, svg');"
        "}).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("variant", ("reference", "tiny"))
def test_all_text_stands_out(browser: Browser, variant: str, scheme: str) -> None:
    browser.open(variant, width=400, scheme=scheme)
    browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    found = browser.ask(CONTRASTS)
    assert len(found) > 200
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


def test_dark_is_dark_and_light_is_light(browser: Browser) -> None:
    grounds = []
    for scheme in SCHEMES:
        browser.open("reference", scheme=scheme)
        ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", ground)[:3])))
    assert grounds[0] > 3 * 230 and grounds[1] < 3 * 40


@pytest.mark.parametrize("variant", ("reference", "hostile"))
def test_every_picture_is_there_and_nothing_was_asked_for(browser: Browser, variant: str) -> None:
    browser.open(variant)
    pictures = browser.ask(
        "return [...document.images].map(e => [e.complete && e.naturalWidth, e.alt])"
    )
    assert len(pictures) == 2 * 81 + 24 * 7
    assert all(width == 32 and alt for width, alt in pictures)
    asked = browser.ask("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.driver.get_log("browser") == []


def test_hostile_strings_do_nothing(browser: Browser) -> None:
    browser.open("hostile")
    with pytest.raises(pytest.importorskip("selenium.common").NoAlertPresentException):
        browser.driver.switch_to.alert.accept()
    assert (
        browser.ask("return document.querySelectorAll('script, #injected, [onerror]').length") == 0
    )
    assert browser.ask("return document.title") == "Audit of <script>alert(1)</script>"
    sections = browser.ask("return document.querySelectorAll('main > section').length")
    browser.open("reference")
    assert sections == browser.ask("return document.querySelectorAll('main > section').length")


def test_a_policy_forbids_what_an_injection_would_do(browser: Browser) -> None:
    browser.open("reference")
    browser.ask(
        "const e = document.createElement('script'); e.textContent = 'window.ran = 1';"
        "document.body.append(e);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/a.png'; document.body.append(i);"
    )
    assert browser.ask("return window.ran") is None
    complaints = " ".join(entry["message"] for entry in browser.driver.get_log("browser"))
    assert "script-src" in complaints or "default-src" in complaints
    assert "img-src" in complaints


def test_tab_reaches_the_skip_link_and_everything_that_opens_or_scrolls(
    browser: Browser, press: Callable[[], Any]
) -> None:
    browser.open("reference", width=400)
    browser.ask("document.querySelectorAll('details:has(.scroll)').forEach(e => e.open = true)")
    wanted = browser.ask(
        "return [...document.querySelectorAll('summary, .scroll')].map(e => e.tagName)"
    )
    tag, name, text, _, outline = press()
    assert (tag, name, text) == ("A", "skip", "Skip to the report") and outline == "solid"
    assert browser.ask("return document.activeElement.getBoundingClientRect().top") >= 0
    reached = [press() for _ in wanted]
    assert [tag for tag, *_ in reached] == wanted and "DIV" in wanted
    assert all(height > 0 and outline == "solid" for *_, height, outline in reached)


def test_two_walls_stand_beside_each_other_or_below(browser: Browser) -> None:
    tops = "return [...document.querySelectorAll('.wall')].map(e => e.getBoundingClientRect().top)"
    browser.open("reference", width=1280)
    first, second = browser.ask(tops)
    assert first == second
    browser.open("reference", width=400)
    first, second = browser.ask(tops)
    assert first < second


def test_pictures_beyond_the_radius_differ_in_more_than_colour(browser: Browser) -> None:
    browser.open("reference")
    near, far = browser.ask(
        "return ['.near li:not(.far) img', '.near .far img'].map(s => {"
        "  const e = document.querySelector(s);"
        "  return [e.getBoundingClientRect().width, Number(getComputedStyle(e).opacity)] })"
    )
    assert far[0] < 0.9 * near[0] and far[1] < near[1] == 1


def real_request(name: str, artefacts: Path) -> dict[str, Any]:
    """A small audit of a demo, or of the shared faces generator."""
    if name != "faces":
        return {"generator": name, "anchors": 200, "samples": 800}
    folder, networks = artefacts / "faces", TESTS / "artefacts" / "networks.py"
    normalisation = "mean=0.485,0.456,0.406", "std=0.229,0.224,0.225", "size=112"
    return {
        "generator": f"python:{networks}:faces",
        "descriptor": str(folder / "mobilefacenet.onnx"),
        "set": (
            f"weights={folder / 'generator.pt'}",
            "prior=uniform",
            *(f"descriptor.{option}" for option in normalisation),
        ),
        "anchors": 64,
        "samples": 400,
        "theta": 0.25,
        "radius": 0.25,
    }


@pytest.mark.parametrize(
    "name", ["demo", "demo:collapsed", pytest.param("faces", marks=pytest.mark.artefacts)]
)
def test_a_real_report_is_whole_at_both_widths_in_both_schemes(
    name: str,
    browser: Browser,
    config: Callable[..., DiagnoseConfig],
    request: pytest.FixtureRequest,
) -> None:
    artefacts = request.getfixturevalue("artefacts") if name == "faces" else Path()
    page = diagnose(config(**real_request(name, artefacts))).folder / "report.html"
    assert page.stat().st_size < 8e6
    browser.add("real", page)
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.open("real", width=width, scheme=scheme)
            assert browser.ask("return document.documentElement.scrollWidth") == width
            pictures = browser.ask(
                "return [...document.images].map(e => [e.complete && e.naturalWidth, e.alt])"
            )
            assert len(pictures) > 2 * 80 and all(width and alt for width, alt in pictures)
            assert browser.driver.get_log("browser") == []
    assert min(browser.ask(CONTRASTS))[0] >= 4.5
