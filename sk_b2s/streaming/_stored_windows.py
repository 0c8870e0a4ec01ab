"""Windows of the stored samples of a stream, their scalers and masks."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s.preprocessing._windows._windows import Windows
from sk_b2s.streaming._regularizer import RegularizerMask

RECORDING = "stream"  # value of the column recording


class StoredWindowsMixin:
    """Samples, scalers and masks of the windows of a live decoder."""

    def _find_samples(self, first, last):
        """Return the places of the time line that output samples are from."""
        start = (first - 1) * self.chain.down // self.chain.up + 1
        return start, (last - 1) * self.chain.down // self.chain.up + 1

    def _is_answered(self, first):
        """Return whether a window has a prediction, despite faults."""
        if self._regularizer is None:
            return True
        start, stop = self._find_samples(first, first + self._n_read)
        return not (self._regularizer.is_marked(start, stop) or self._regularizer.is_old(stop - 1))

    def _mask(self, first):
        """Return the steps of a window, with its dead channels masked."""
        if self._regularizer is None:
            return None
        is_dead = self._regularizer.find_dead(*self._find_samples(first, first + self._n_read))
        return (*self._frozen, RegularizerMask(is_dead)) if is_dead.any() else None

    def _start_calibration(self, begin):
        """Calibrate the scalers with samples from here on."""
        self._calibrate_from = begin
        self._frozen, self._calibrated = (None if self.parts.scalers else self._steps), 0
        for _, scaler in self.parts.scalers:
            n_first = max(2, round(scaler.calibration * self.parts.epocher.sfreq))
            n_tiles = -(-n_first // self._n_read)
            self._calibrated = max(self._calibrated, begin + n_tiles * self._n_read)
        self._n_calibrated = self._calibrated - begin

    def _calibrate(self):
        """Freeze the scalers as soon as their samples are there."""
        while self._frozen is None and self._kept_from + len(self._kept) >= self._calibrated:
            signal = self._kept[self._calibrate_from - self._kept_from : self._calibrated - self._kept_from]
            if self._regularizer is not None:
                places = np.arange(self._calibrate_from, self._calibrated)
                lost = [
                    self._regularizer.is_marked(*self._find_samples(place, place + 1)) for place in places
                ]
                signal = signal[~np.array(lost, bool)]
            if len(signal) >= self._n_calibrated:
                self._freeze(signal)
            else:
                self._calibrated += self._n_calibrated - len(signal)

    def _freeze(self, signal):
        """Freeze the scalers, with their first samples."""
        windows = self._make_window([signal], self._steps)
        for _, scaler in self.parts.scalers:
            windows = scaler.transform(windows)
        self._frozen = windows.steps

    @cached_property
    def _row(self):
        """Table of one window."""
        return pd.DataFrame({"recording": [RECORDING], "subject": [self.subject]})

    def _make_window(self, signals, steps=None):
        """Return Windows of one window at the start of a signal."""
        return Windows(
            signals, [0], [0], self._n_read, float(self.parts.epocher.sfreq), positions=self._mask_positions(steps),
            rows=self._row, ch_names=self.parts.epocher.ch_names_, steps=self._frozen if steps is None else steps,
        )  # fmt: skip

    def _mask_positions(self, steps):
        """Return positions, NaN for channels that the last step masks."""
        if not steps or not isinstance(steps[-1], RegularizerMask):
            return self.positions
        return np.where(steps[-1].is_masked[None, :, None], np.nan, self.positions)

    def _drop_old_samples(self):
        """Keep what later windows, calibration or a start can need."""
        stop = self._kept_from + len(self._kept) - self._n_history
        if self.onset is not None and self._next < self._end:
            stop = min(stop, self._begin + self._first + self._hop * self._next)
        is_open = self._sounds.is_trial or (self.onset is not None and self._next < self._end)
        if is_open and self._calibrate_from is not None and self._frozen is None:
            stop = min(stop, self._calibrate_from)
        n_old = max(0, stop - self._kept_from)
        if n_old > len(self._kept) // 2:  # copied seldom
            self._kept, self._kept_from = self._kept[n_old:].copy(), self._kept_from + n_old
            if self._regularizer is not None:
                self._regularizer.forget(self._find_samples(self._kept_from, self._kept_from)[0])
