"""Spectrograms of candidates, and a twin of a live decoder as its null."""

from __future__ import annotations

import base64
import json
import warnings

import numpy as np

from sk_b2s.features._spectral import MelSpectrogram
from sk_b2s.streaming._decoder import StreamingDecoder

SFREQ, N_MELS = 25, 24
MAX_SECONDS = 4 * 3600  # of all candidates, 9 MB


def make_spectrograms(decoder):
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


class PermutedTwin:
    """The same decoder of the same stream with permuted channels.

    Parameters
    ----------
    decoder : StreamingDecoder
    onset : float
        Onset of the sounds in seconds of the stream.
    callback : callable, default=None
        Called with the probabilities of each prediction.
    """

    def __init__(self, decoder, onset, callback=None):
        self._decoder = StreamingDecoder(
            decoder.pipeline, decoder.candidates, decoder.sfreq, decoder.duration, decoder.step, decoder.evidence,
            decoder.time_constant, decoder.temperature, decoder.subject, decoder.positions[0], decoder.bads,
        ).start(onset)  # fmt: skip
        order = np.random.default_rng(0).permutation(np.flatnonzero(~decoder.is_bad))
        self._order = np.arange(len(decoder.is_bad))
        self._order[~decoder.is_bad] = order
        self._callback, self.best = callback, []

    def push(self, samples, timestamps=None, arrived=None):
        """Decode samples of the stream."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the decoder warns of the same stream
            predictions = self._decoder.push(samples[self._order], timestamps, arrived)
        for row in predictions.to_dict("records"):
            self.best.append(row["best"])
            if self._callback is not None:
                self._callback([row[name] for name in self._decoder.candidates])
