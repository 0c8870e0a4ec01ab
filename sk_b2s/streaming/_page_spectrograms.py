"""Spectrograms of the candidates of a live decoder for its page."""

from __future__ import annotations

import base64
import json

import numpy as np

from sk_b2s.features._acoustic_spectra import MelSpectrogram

SFREQ, N_MELS = 25, 24
MAX_SECONDS = 4 * 3600  # of all candidates, 9 MB


def make_page_spectrograms(decoder):
    """Return the spectrograms of the candidates as JSON, or None if long.

    They have a row for each Mel band, from low to high, and begin when all
    sounds play.
    """
    sounds = decoder._sounds
    seconds = sounds.stop - sounds.start
    if seconds * len(sounds) > MAX_SECONDS:
        return None
    rows = sounds.make_rows([sounds.start]).assign(duration=seconds)
    spectra = MelSpectrogram(n_mels=N_MELS, sfreq=SFREQ).fit(rows).transform(rows)
    texts = []
    for spectrum in np.asarray(spectra):
        low, high = np.quantile(spectrum, [0.05, 0.99])
        scaled = np.clip((spectrum - low) / max(high - low, 1e-9), 0, 1)
        texts.append(base64.b64encode((255 * scaled).round().astype(np.uint8).tobytes()).decode())
    facts = {"sfreq": SFREQ, "start": sounds.start, "n_bands": N_MELS, "spectra": texts}
    return json.dumps(facts).encode()
