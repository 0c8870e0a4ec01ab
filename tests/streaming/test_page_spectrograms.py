"""Spectrograms of candidates, and the limit of their size."""

import base64
import json
from types import SimpleNamespace

import numpy as np
from helpers.sounds import RATE, write

from sk_b2s.streaming import _page_spectrograms
from sk_b2s.streaming._candidates import StreamingCandidateSounds


def test_make_page_spectrograms_begin_with_all_sounds(tmp_path, monkeypatch):
    times = np.arange(4 * RATE) / RATE
    low = np.sin(2 * np.pi * np.where(times < 2, 300, 3000) * times)  # rises after 2 s
    high = np.sin(2 * np.pi * 3000 * times)
    paths = [tmp_path / "low.wav", tmp_path / "high.wav"]
    for path, audio in zip(paths, (low, high), strict=True):
        write(path, 0.5 * audio)
    sounds = StreamingCandidateSounds({"low": paths[0], "high": (paths[1], 1.0)}, 2.0)
    decoder = SimpleNamespace(_sounds=sounds)
    found = json.loads(_page_spectrograms.make_page_spectrograms(decoder))
    spectra = [np.frombuffer(base64.b64decode(text), np.uint8) for text in found["spectra"]]
    spectra = [values.reshape(found["n_bands"], -1) for values in spectra]
    assert (found["start"], len(spectra)) == (1.0, 2)
    assert abs(spectra[0].shape[1] - 3 * found["sfreq"]) <= 1
    bands = [values.argmax(0)[[5, 60]] for values in spectra]
    assert bands[0][0] < bands[0][1] == bands[1][0] == bands[1][1]
    monkeypatch.setattr(_page_spectrograms, "MAX_SECONDS", 5)
    assert _page_spectrograms.make_page_spectrograms(decoder) is None
