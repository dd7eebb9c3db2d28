"""The page in headless Chromium: on a phone, on a wide screen, in the dark, and by keyboard."""

import base64
import io
from pathlib import Path

import browser
import made_results
import numpy as np
import pytest
from PIL import Image

from privedge_lab.report import page, reader

pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="needs chromium: apt-get install chromium"
)


def pixels(shot: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"), np.float64)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    found = reader.read([made_results.everything(folder / "results")])
    (folder / "page.html").write_bytes(page.render(found, "A report").html)
    return folder / "page.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


# What lies to the right of the window outside any region that scrolls by itself.
BEYOND = """[...document.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, .hidden, .skip')
    && getComputedStyle(e).display != 'none').map(e => e.tagName + ' ' + e.className)"""


def test_a_phone_shows_everything_without_scrolling_sideways(chromium, file):
    chromium.requested.clear()
    chromium.complaints.clear()
    chromium.show(file, width=360)
    assert chromium.value("innerWidth") == 360
    assert chromium.value("document.documentElement.scrollWidth") == 360
    assert chromium.value(BEYOND) == []
    headings = chromium.value("[...document.querySelectorAll('h2')].map(e => e.innerText)")
    assert "Utility, privacy and cost side by side" in headings
    assert len(headings) == 15
    pictures = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert chromium.value(pictures) is True
    assert {url.partition(":")[0] for url in chromium.requested} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in chromium.requested) == 1
    assert chromium.complaints == []
    assert pixels(chromium.screenshot()).std() > 5


def test_wide_tables_scroll_in_regions_that_the_keyboard_reaches(chromium, file):
    chromium.show(file, width=360)
    regions = """[...document.querySelectorAll('.scroll')]
        .filter(e => e.scrollWidth > e.clientWidth)
        .map(e => [e.tabIndex, e.getAttribute('role'), getComputedStyle(e).overflowX])"""
    found = chromium.value(regions)
    assert found != [] and all(each == [0, "region", "auto"] for each in found)


def brightness(chromium) -> tuple[float, float]:
    """Of the page and of the text in a chart, 0 to 255."""
    mean = "(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3)"
    body = chromium.value(f"{mean}(getComputedStyle(document.body).backgroundColor)")
    text = chromium.value(f"{mean}(getComputedStyle(document.querySelector('.axis')).fill)")
    return body, text


def test_dark_mode_turns_page_and_charts(chromium, file):
    chromium.show(file, width=1200)
    light, ink = brightness(chromium)
    shown = pixels(chromium.screenshot()).mean()
    chromium.show(file, width=1200, dark=True)
    dark, chalk = brightness(chromium)
    assert light - ink > 150 and chalk - dark > 150
    assert shown > 200 and pixels(chromium.screenshot()).mean() < 90


def test_the_keyboard_skips_to_the_summary_and_sees_where_it_is(chromium, file):
    chromium.show(file, width=1200)
    chromium.press("Tab")
    focus = "document.activeElement"
    assert chromium.value(f"{focus}.innerText") == "Skip to the summary"
    assert chromium.value(f"{focus}.getBoundingClientRect().left") >= 0
    assert chromium.value(f"getComputedStyle({focus}).outlineStyle") != "none"
    chromium.press("Enter")
    assert chromium.value("location.hash") == "#summary"
    chromium.press("Tab")
    assert chromium.value(f"{focus}.closest('section').id") == "summary"


def test_a_figures_json_opens_without_a_script(chromium, file):
    chromium.show(file, width=1200)
    chromium.value("document.querySelector('figcaption details:not(.origin) > summary').focus()")
    chromium.press("Enter")
    opened = "document.querySelector('figcaption details:not(.origin)')"
    assert chromium.value(f"{opened}.open") is True
    assert chromium.value(f"{opened}.querySelector('pre').innerText").strip().startswith(("{", "["))
