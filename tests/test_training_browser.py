"""The page of a training in a real browser: what only layout and colour show."""

from collections.abc import Iterator
from typing import Any

import pytest
from test_browser import CHROMIUM, CONTRASTS, DRIVER, FLAGS, SCHEMES, WIDTHS, Browser, webdriver
from test_calibrated_browser import FITS, OUTSIDE
from test_report_training import strict
from training_example import VARIANTS, paint

from ganaudit.report import training

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
OPENED = "document.querySelectorAll('details').forEach(e => e.open = true)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("trainings")
    for name, make in VARIANTS.items():
        made = strict(make())
        page = training.render(made, paint(made, folder / name))
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
@pytest.mark.parametrize("name", VARIANTS)
def test_no_training_scrolls_sideways(browser: Any, name: str, width: int) -> None:
    browser.open(name, width=width)
    browser.ask(OPENED)
    assert browser.ask(FITS) == [width, width]
    assert browser.ask(OUTSIDE) == []
    pictures = "return [...document.images].map(e => e.complete && e.naturalWidth > 0)"
    assert all(browser.ask(pictures))
    asked = browser.ask("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [one for one in asked if not one.startswith("data:")] == []
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ("six", "toy"))
def test_all_text_stands_out(browser: Any, name: str, scheme: str) -> None:
    browser.open(name, width=400, scheme=scheme)
    browser.ask(OPENED)
    found = browser.ask(CONTRASTS)
    assert len(found) > 100
    assert [(ratio, text) for ratio, text in found if ratio < 4.5] == []


def test_pictures_stand_beside_each_other_or_below(browser: Any) -> None:
    tops = "return [...document.images].slice(0, 2).map(e => e.getBoundingClientRect().top)"
    for name in ("six", "toy"):
        for width, beside in zip(WIDTHS, (True, False), strict=True):
            browser.open(name, width=width)
            first, second = browser.ask(tops)
            assert (first == second) is beside


def test_a_picture_keeps_its_shape(browser: Any) -> None:
    shapes = (
        "return [...document.images].map(e => { const box = e.getBoundingClientRect();"
        "  return [box.width / box.height, e.naturalWidth / e.naturalHeight] })"
    )
    for name, ratio in (("six", 1.0), ("toy", 2.0)):
        browser.open(name)
        found = browser.ask(shapes)
        assert len(found) >= 8
        assert all((drawn, own) == pytest.approx((ratio, ratio), rel=0.02) for drawn, own in found)


def test_hostile_strings_do_nothing(browser: Any) -> None:
    browser.open("hostile")
    with pytest.raises(pytest.importorskip("selenium.common").NoAlertPresentException):
        browser.driver.switch_to.alert.accept()
    injected = "return document.querySelectorAll('script, #injected, [onerror]').length"
    assert browser.ask(injected) == 0
