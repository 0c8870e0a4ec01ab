"""Tests of the report of a reconstruction with audio."""

import base64
import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers.continuous import FOLD, join_subjects
from helpers.pages import EVIL, Reader
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from sk_b2s import RidgeDecoder, SpeechReconstructor
from sk_b2s.reporting import _reconstruction as report
from sk_b2s.reporting import write_reconstruction_report
from sk_b2s.synthesis import read_wav_metadata, reconstruct_with_controls


@pytest.fixture(scope="module")
def controls():
    model = SpeechReconstructor(RidgeDecoder(), vocoder=SilentVoice())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the controls
        return reconstruct_with_controls(model, *join_subjects(), FOLD, n_shifts=40)


class SilentVoice:
    """Vocoder with the consent of a speaker."""

    metadata = {"synthetic": True, "consent": "A. agreed to tests"}

    def __call__(self, mel, sfreq):
        return np.full(round(len(mel) / sfreq * 16000), 0.1)


@pytest.fixture(scope="module")
def page(controls, tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "new" / "page.html"
    return write_reconstruction_report(controls, path, f"Sound {EVIL}", start=2, duration=3)


@pytest.fixture(scope="module")
def parsed(page):
    return Reader(page.read_text(encoding="utf-8"))


def test_page_plays_all_controls(controls, parsed):
    players = parsed.all("audio")
    assert len(players) == len(controls.results) + 1  # and that of certain seconds
    kind, _, data = players[0]["src"].partition(";base64,")
    assert kind == "data:audio/wav"
    metadata = read_wav_metadata(io.BytesIO(base64.b64decode(data)))
    assert metadata["synthetic"]
    assert metadata["consent"] == "A. agreed to tests"
    assert all(player["aria-label"] for player in players)
    assert "A. agreed to tests" in parsed.text


def test_page_begins_with_the_verdict(controls, parsed):
    assert " ".join(controls.verdict_text.split()[:6]) in parsed.text
    assert "Word error rates" in parsed.text
    assert "training mean" in parsed.text
    assert parsed.text.index("above its null") < parsed.text.index("at chance")


def test_page_loads_nothing(parsed):
    policy = parsed.all("meta")[2]["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    links = [a.get("src") or a.get("href") for _, a in parsed.elements if a.get("src") or a.get("href")]
    assert all(link.startswith("data:") for link in links)
    assert not parsed.all("script")


def test_report_raises_for_other_input(controls, tmp_path):
    with pytest.raises(TypeError, match="reconstruct_with_controls"):
        write_reconstruction_report(controls.scores, tmp_path / "page.html")
    with pytest.raises(ValueError, match="'index'"):
        write_reconstruction_report(controls, tmp_path / "page.html", recordings=[5])
    with pytest.raises(ValueError, match="within the"):
        write_reconstruction_report(controls, tmp_path / "page.html", start=500)


def test_report_without_a_whole_second(controls, tmp_path):
    results = {name: shorten_result(result, 594) for name, result in controls.results.items()}
    path = write_reconstruction_report(replace(controls, results=results), tmp_path / "page.html", start=29)
    parsed = Reader(path.read_text(encoding="utf-8"))
    assert len(parsed.all("audio")) == len(controls.results)  # without that of certain seconds
    results = {name: shorten_result(result, 80) for name, result in controls.results.items()}
    path = write_reconstruction_report(replace(controls, results=results), path)
    assert len(Reader(path.read_text(encoding="utf-8")).all("audio")) == len(controls.results)


def shorten_result(result, n_frames):
    """Keep the first frames of all recordings."""
    cut = {name: [part[:, :n_frames] for part in getattr(result, name)] for name in ("estimate", "target")}
    return replace(result, rows=result.rows.assign(n_frames=n_frames), **cut)


def test_report_spectrograms_have_one_scale(controls, tmp_path, monkeypatch):
    drawn = {}

    def draw(mel, sfreq, start, limits, *_):
        drawn.setdefault("limits", []).append(limits)
        drawn.setdefault("mel", []).append(mel)
        return Figure()

    monkeypatch.setattr(report, "_draw_spectrogram", draw)
    write_reconstruction_report(controls.average_subjects(), tmp_path / "page.html")
    low, high = drawn["limits"][0]
    for mel in drawn["mel"][:2]:  # the decoder and the true features, at the level of the audio
        assert ((mel > low) & (mel < high)).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page_plays_offline_in_browser(browser, page, width):
    browser.open(page.as_uri(), width, "light")
    browser.wait_for("document.readyState === 'complete'")
    durations = browser.evaluate("""Promise.all([...document.querySelectorAll('audio')].map(a => new Promise(done => {
      if (a.readyState) done(a.duration); a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(0) })))""")
    assert durations == [3.0] * 6
    assert not browser.messages
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
