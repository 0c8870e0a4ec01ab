"""Twin of a live decoder with permuted channels, as its null."""

from __future__ import annotations

import warnings

import numpy as np


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
        self._decoder = decoder._copy().start(onset)
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
