"""Twin of a live decoder with permuted channels, as its null."""

from __future__ import annotations

import warnings

import numpy as np

from sk_b2s.streaming._onsets import LostOnsetError


class PermutedTwin:
    """The same decoder of the same stream with permuted channels.

    Parameters
    ----------
    decoder : StreamingDecoder
    onset : float, default=None
        Onset of the sounds in seconds of the stream. If None, those of the
        decoder are used, which must get each chunk first.
    callback : callable, default=None
        Called with the probabilities of each prediction.
    """

    def __init__(self, decoder, onset=None, callback=None):
        self._decoder, self._leader, self._n_started = decoder._copy(), decoder, 0
        if onset is not None:
            self._decoder.start(onset)
            self._leader = None
        order = np.random.default_rng(0).permutation(np.flatnonzero(~decoder.is_bad))
        self._order = np.arange(len(decoder.is_bad))
        self._order[~decoder.is_bad] = order
        self._callback, self.best = callback, []

    def push(self, samples, timestamps=None, arrived=None):
        """Decode samples of the stream."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the decoder warns of the same stream
            self._take(self._decoder.push(samples[self._order], timestamps, arrived))
        if self._leader is None:
            return
        for onset in self._leader._onsets[self._n_started :]:
            self._n_started += 1
            try:
                self._decoder.start(onset)
            except LostOnsetError:
                continue
            self._take(self._decoder._push_stored())

    def _take(self, predictions):
        """Keep the best candidates, and pass the probabilities on."""
        for row in predictions.to_dict("records"):
            self.best.append(row["best"])
            if self._callback is not None:
                self._callback([row[name] for name in self._decoder.candidates])
