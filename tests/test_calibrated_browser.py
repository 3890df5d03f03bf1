"""The page of a calibration in a real browser: what only layout and colour show."""

from collections.abc import Iterator
from typing import Any

import pytest
from calibrated_example import VARIANTS, paint
from test_browser import CHROMIUM, CONTRASTS, DRIVER, FLAGS, SCHEMES, WIDTHS, Browser, webdriver
from test_calibrated_report import strict

from ganaudit.report import calibrated_page

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
SHOWN = ("moved", "refined", "filtered", "few", "hostile")
FITS = "return [document.documentElement.scrollWidth, innerWidth]"
OUTSIDE = """
return [...document.querySelectorAll('main *, header *')].filter(e => {
  const box = e.getBoundingClientRect(), outside = box.left < 0 || box.right > innerWidth;
  return outside && box.width && !e.closest('.scroll, svg');
}).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("calibrations")
    for name in SHOWN:
        made = strict(VARIANTS[name]())
        page = calibrated_page.render(made, paint(made, folder / name))
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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_no_calibration_scrolls_sideways(browser: Any, name: str, width: int) -> None:
    browser.open(name, width=width)
    browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.ask(FITS) == [width, width]
    assert browser.ask(OUTSIDE) == []
    asked = browser.ask("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [one for one in asked if not one.startswith("data:")] == []
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ("moved", "refined"))
def test_all_text_stands_out(browser: Any, name: str, scheme: str) -> None:
    browser.open(name, width=400, scheme=scheme)
    browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    found = browser.ask(CONTRASTS)
    assert len(found) > 200
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


def test_before_and_after_stand_beside_each_other_or_below(browser: Any) -> None:
    tops = "return [...document.querySelectorAll('.wall')].map(e => e.getBoundingClientRect().top)"
    for width, beside in zip(WIDTHS, (True, False), strict=True):
        browser.open("moved", width=width)
        found = browser.ask(tops)
        assert len(found) == 3 * 4
        pairs = zip(found[::2], found[1::2], strict=True)
        assert all((before == after) is beside for before, after in pairs)


def test_what_is_still_in_the_mode_is_framed(browser: Any) -> None:
    browser.open("moved")
    outlines = browser.ask(
        "return ['.still', '.near li:not(.still)'].map(s =>"
        "  getComputedStyle(document.querySelector(s)).outlineStyle)"
    )
    assert outlines == ["solid", "none"]


def test_hostile_strings_do_nothing(browser: Any) -> None:
    browser.open("hostile")
    with pytest.raises(pytest.importorskip("selenium.common").NoAlertPresentException):
        browser.driver.switch_to.alert.accept()
    injected = "return document.querySelectorAll('script, #injected, [onerror]').length"
    assert browser.ask(injected) == 0
