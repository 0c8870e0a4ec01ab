"""Page of live predictions in a headless browser."""

import base64
import json

import pytest
from helpers.browser import Browser, find_browser
from helpers.pages import EVIL

from sk_b2s.streaming._page import LivePage

CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('main *')].filter((e) => e.getClientRects().length
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
  return Math.min(...texts.map((e) => {
    const style = getComputedStyle(e), own = light(parse(e.closest('svg') ? style.fill : style.color));
    const [a, b] = [own, light(behind(e))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }));
})()"""


RED = "document.getElementById('mixture').getContext('2d').getImageData(90, 1, 1, 1).data[0]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(find_browser(), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def make_spectra(n_candidates):
    """Return spectrograms of which only the last is not zero."""
    spectra = [bytes(4 * 1500)] * (n_candidates - 1) + [b"\xff" * 4 * 1500]
    texts = [base64.b64encode(values).decode() for values in spectra]
    return json.dumps({"sfreq": 25, "start": 0.0, "n_bands": 4, "spectra": texts}).encode()


def show_predictions(page, names, seconds=40):
    for number in range(seconds):
        last = 0.5 + 0.45 * number / seconds
        rest = (1 - last) / (len(names) - 1)
        page.show({
            "time": number + 0.4, "stimulus_time": number, "trial": 0, "age": 0.4, "n_lost": 7,
            "probabilities": dict.fromkeys(names, rest) | {names[-1]: last},
        })  # fmt: skip
    page.show_twin([1 - 0.1 * (len(names) - 1), *[0.1] * (len(names) - 1)])
    page.show_status(seconds + 1.4, 7)


@pytest.mark.parametrize("names", [("story", EVIL), ("first", "second", EVIL)], ids=["two", "three"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_readable_and_loads_nothing(browser, width, scheme, names):
    page = LivePage(names, spectrograms=make_spectra(len(names)))
    try:
        show_predictions(page, names)
        browser.open(page.url, width, scheme)
        browser.wait_for("document.querySelectorAll('#chart polyline').length > 0")
        browser.wait_for("clock && document.getElementById('twin').getClientRects().length > 0")
        browser.wait_for(f"{RED} === 255")  # the most probable candidate has the largest values
        assert browser.evaluate(RED.replace("mixture", "twin-mixture")) < 255
        assert {url.removeprefix(page.url) for url in browser.requests if not url.startswith("data:")} == {
            "", "live.css", "live.js", "events", "spectrograms",
        }  # fmt: skip
        assert not browser.messages
        assert browser.evaluate("innerWidth") == width
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.evaluate(CONTRAST) > 4.5
        assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0
        texts = browser.evaluate(
            "['age', 'lost', 'evidence'].map((id) => document.getElementById(id).textContent)"
        )
        assert texts == ["2.40 s", "7", "39.0 s"]
        assert browser.evaluate("document.querySelector('tr.best bdi').textContent") == EVIL
        is_bar = browser.evaluate("document.getElementById('duel').getClientRects().length > 0")
        assert is_bar == (len(names) == 2)
        if is_bar:
            share = browser.evaluate(
                "share.getBoundingClientRect().width / balance.getBoundingClientRect().width"
            )
            assert share == pytest.approx(0.061, abs=0.01)
    finally:
        page.close(wait=0.5)
    browser.wait_for("document.getElementById('status').textContent.startsWith('Ended')")


def test_page_blocks_requests_to_elsewhere(browser):
    page = LivePage(["a", "b"])
    try:
        browser.open(page.url, 390, "light")
        browser.wait_for("document.readyState === 'complete'")
        other = "fetch('http://127.0.0.2:9/').then(() => 'loaded', () => 'blocked')"
        assert browser.evaluate(other) == "blocked"
        assert any("Content Security Policy" in message for message in browser.messages)
    finally:
        page.close(wait=0.5)


def test_page_shows_many_images(browser):
    names = [f"image {number}" for number in range(200)]
    page = LivePage(names, images=json.dumps({"images": [""] * 200}).encode())
    try:
        show_predictions(page, names, seconds=3)
        page.show_twin([0.005] * 200)
        browser.open(page.url, 390, "light")
        browser.wait_for("document.querySelector('#rows .best') !== null")
        browser.wait_for("document.getElementById('twin-mosaic').width !== 300")  # 300 before it is painted
        rows = browser.evaluate("[...document.querySelectorAll('#rows tr')].map((row) => row.textContent)")
        assert len(rows) == 12
        assert rows[0].startswith("image 199")  # the most probable first
        canvas = "document.getElementById('mosaic')"
        assert 0 <= browser.evaluate(f"{canvas}.clientWidth - {canvas}.width") < 20  # sharp
        found = browser.evaluate(
            f"[...{canvas}.getContext('2d').getImageData({canvas}.width - 9, {canvas}.height - 9, 1, 1).data]"
        )
        assert found[3] > 250  # the last square is opaque
        assert not browser.messages
    finally:
        page.close(wait=0.1)
