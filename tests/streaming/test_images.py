"""Tests of live decoding of images, with its twin and page."""

import base64
import json
import shutil
import subprocess
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.live_page import PAGE, make_line, read_event, request
from PIL import Image
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Epocher,
    ImageStimulus,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    StreamingDecoder,
    make_segments,
    retrieve,
)
from sk_b2s._cli._live import parse_live_candidates
from sk_b2s.datasets import make_viewing
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.streaming import decode_live
from sk_b2s.streaming._candidates import StreamingCandidateSounds
from sk_b2s.streaming._page import LivePage
from sk_b2s.streaming._page_images import make_page_images
from sk_b2s.streaming._permuted_twin import PermutedTwin

SFREQ = 64
WINDOW = {"sfreq": SFREQ, "duration": 0.5, "tmin": -0.1, "subject": "01"}


@pytest.fixture(scope="module")
def viewing(tmp_path_factory):
    """Events, segments and vectors of one subject, with its samples."""
    events, vectors = make_viewing(
        1, 8, images_per_concept=2, repetitions=2, n_categories=4, n_channels=16, snr_db=20.0, sfreq=SFREQ,
        artifacts=False, root=tmp_path_factory.mktemp("viewing"),
    )  # fmt: skip
    X, y = make_segments(events, anchor="image", tmin=-0.1, tmax=0.4)
    return events, X, y, vectors, read_raw(events["recording"].iloc[0]).get_data()


def fit_pipeline(viewing, calibration):
    _, X, y, vectors, _ = viewing
    steps = [] if calibration is None else [RobustChannelScaler(calibration=calibration)]
    epocher = Epocher(sfreq=32, lag=0, l_freq=0.5, h_freq=12, causal=True, baseline=(0, 0.1))
    return make_pipeline(epocher, *steps, RidgeDecoder(speech=PrecomputedFeatures(vectors), k=2)).fit(X, y)


def decode(decoder, data, onsets, n_samples):
    lines, chunks = [], [(data[:, i : i + n_samples], None) for i in range(0, data.shape[1], n_samples)]
    decode_live(decoder, chunks, onsets, callbacks=[lines.append])
    return pd.DataFrame(lines)


@pytest.mark.parametrize("calibration", [None, 4.0])
def test_images_predict_once_after_each_onset(viewing, calibration):
    events, X, y, vectors, data = viewing
    pipeline = fit_pipeline(viewing, calibration)
    decoder = StreamingDecoder(pipeline, {name: ImageStimulus(name) for name in vectors.index}, **WINDOW)
    onsets = events["onset"].to_numpy()
    small, large = (decode(decoder, data, onsets, n_samples) for n_samples in (9, 500))
    pd.testing.assert_frame_equal(small, large)
    expected = decoder.replay(events["recording"].iloc[0], onsets)
    np.testing.assert_allclose(small["probability"], expected["probability"], atol=1e-6)
    n_before = (onsets + 0.4 < onsets[0] + (calibration or 0)).sum()  # whose windows calibrate the scaler
    assert len(onsets) - n_before == pytest.approx(len(small), abs=1)
    np.testing.assert_allclose(small["stimulus_time"], 0.4, atol=0.05)
    scores = retrieve(pipeline, X, y)
    best = events["image"].to_numpy()[small["trial"]]
    accuracy = np.mean(small["best"] == best)
    assert accuracy == pytest.approx(scores.top_k(1), abs=0.15)
    assert accuracy > 0.3  # chance level is 1/16


def test_images_twin_follows_all_onsets(viewing):
    events, _, _, vectors, data = viewing
    decoder = StreamingDecoder(
        fit_pipeline(viewing, None), {name: ImageStimulus(name) for name in vectors.index}, **WINDOW
    )
    twin = PermutedTwin(decoder)
    for first in range(0, data.shape[1], 100):
        times = events["onset"][
            events["onset"].between(first / SFREQ, (first + 100) / SFREQ, inclusive="left")
        ]
        decoder.push(data[:, first : first + 100])
        for onset in times:
            decoder.start(onset)
        twin.push(np.vstack([data, data[:1]])[:, first : first + 100])  # a channel of triggers follows
    assert len(twin.best) == pytest.approx(len(events), abs=1)


@pytest.mark.parametrize(
    ("candidates", "tmin", "message"),
    [
        ({"a": ImageStimulus("a"), "b": "b.wav"}, 0, "all be images without a delay, or all sounds. Got 'b'"),
        ({"a": ImageStimulus("a"), "b": (ImageStimulus("b"), 1.0)}, 0, "Got 'b'"),
        ({"a": "a.wav", "b": "b.wav"}, -0.1, "tmin requires images"),
        ({"a": ImageStimulus("a")}, 0, "at least two sounds or images"),
    ],
    ids=["mixed", "delay", "sounds", "one"],
)
def test_candidates_refuse_mixed_images(candidates, tmin, message):
    with pytest.raises(ValueError, match=message):
        StreamingCandidateSounds(candidates, 0.5, tmin)


def test_parse_live_candidates_reads_images(tmp_path):
    path = tmp_path / "dog_01.png"
    Image.new("RGB", (300, 200), (255, 0, 0)).save(path)
    found = parse_live_candidates([str(path), f"dog={path}", "cat=image:cat_02"])
    assert found["dog_01"] == found["dog"] == ImageStimulus("dog_01", str(path))
    assert found["cat"] == ImageStimulus("cat_02")
    decoder = SimpleNamespace(_sounds=SimpleNamespace(sounds=list(found.values())))
    images = json.loads(make_page_images(decoder))["images"]
    content = Image.open(BytesIO(base64.b64decode(images[0].partition(",")[2])))
    assert (content.size, content.getpixel((5, 5))) == ((96, 64), (255, 0, 0))
    assert images[2] == ""
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"dog_01\.png' cannot be read as an image"):
        make_page_images(decoder)


def test_make_page_images_keeps_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera that was turned
    Image.new("RGB", (300, 200)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(tmp_path / "transparent.png")
    images = [SimpleNamespace(path=tmp_path / name) for name in ("turned.jpg", "transparent.png")]
    urls = json.loads(make_page_images(SimpleNamespace(_sounds=SimpleNamespace(sounds=images))))["images"]
    turned, transparent = (Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls)
    assert (turned.size, transparent.getpixel((4, 4))) == ((64, 96), (255, 0, 0, 0))


def test_page_keeps_all_trials_of_images():
    page = LivePage(["a", "b"], images=b'{"images": ["", ""]}')
    try:
        assert json.loads(request(page, "/images").read()) == {"images": ["", ""]}
        assert request(page, "/spectrograms").status == 404
        for number in range(3):
            page.show(make_line(number, trial=number))
        _, state = read_event(request(page, "/events"))
        assert state["has_images"]
        assert [row[0] for row in state["history"]] == [0.1, 1.1, 2.1]  # by time, as one series
    finally:
        page.close(wait=0.1)


def test_script_shapes_mosaics():
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    code = (
        f"const s = require({json.dumps(str(PAGE / 'live.js'))});"
        "console.log(JSON.stringify([s.shapeMosaic(2), s.shapeMosaic(200), s.computeOpacity([0, .1, .2], .2), "
        "s.breakName('concept', 9), s.breakName('abcdefghi', 2), s.findLargest([.2, .1, .7], 2)]))"
    )
    printed = subprocess.run(
        [node, "-e", code], capture_output=True, text=True, check=True, timeout=1200
    ).stdout
    pairs, many, opacity, short, long, largest = json.loads(printed)
    assert (pairs, many) == ([2, 1], [20, 10])
    assert (short, long, largest) == (["concept"], ["ab", "cd", "e…"], [2, 0])
    assert opacity[0] == pytest.approx(0.07)
    assert opacity[2] == 1 > opacity[1] > 0.5
