"""Reading of recordings by a table of segments, for the Epocher."""

from __future__ import annotations

from functools import lru_cache, partial

import joblib
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import CachedFromFile, is_importable_for_cache
from sk_b2s._utils._validation import (
    get_validated_sample_counts,
    get_validated_window_length,
)
from sk_b2s.io._raw._identity import (
    digest_recording_identity,
    digest_recording_identity_at_path,
    get_recording_identity_state,
)
from sk_b2s.io._raw._processing import (
    compute_processed_length,
)
from sk_b2s.io._raw._recordings import RecordingProcessing, read_recording_header, read_recording_signal
from sk_b2s.io._sensors import load_sensor_montage
from sk_b2s.preprocessing._channel_layouts import (
    find_channel_layout_columns,
    make_channel_layouts,
    place_in_channel_layout,
)
from sk_b2s.preprocessing._fingerprint import make_fingerprint
from sk_b2s.preprocessing._windows._signals import Signal
from sk_b2s.preprocessing._windows._windows import Windows


class EpocherTableBaseline:
    """Step that subtracts the mean of the baseline, then crops."""

    def __init__(self, first, last, begin, length):
        self.first, self.last, self.begin, self.length = first, last, begin, length

    def n_times(self, _):
        return self.length

    def extended(self, before, after, n_read):
        """Return the step of windows with further samples, and their reach.

        The baseline is that of the window. ``before`` and ``after`` are the
        samples that are added to the cropped window. Those added to the
        ``n_read`` samples that are read for it are returned.
        """
        more = max(before - self.begin, 0)
        step = EpocherTableBaseline(
            self.first + more, self.last + more, self.begin + more - before, self.length + before + after
        )
        return step, more, max(after - (n_read - self.begin - self.length), 0)

    def __call__(self, batch, which):
        batch -= batch[..., self.first : self.last].mean(-1, keepdim=True)
        return batch[..., self.begin : self.begin + self.length]


@lru_cache(maxsize=4096)
def _read_header_of_recording(path, state, processing):
    return read_recording_header(path, None, processing)


def _pad_end_of_recording(read, n_padding):
    """Append samples, which no window uses."""
    data = read()
    return np.concatenate([data, np.zeros((n_padding, data.shape[1]), data.dtype)])


class EpocherTableMixin:
    """Signals, samples and baseline of the windows of a table."""

    def _make_processing(self):
        """Return all parameters that a signal depends on, hashable."""
        picks = self.picks if self.picks is None or isinstance(self.picks, str) else tuple(self.picks)
        reference = self.reference
        reference = reference if reference is None or isinstance(reference, str) else tuple(reference)
        notch = None if self.notch is None else tuple(np.atleast_1d(self.notch).astype(float).tolist())
        if self.memory is not None and not is_importable_for_cache(self.raw_hook):
            raise ValueError(
                f"raw_hook must be an importable function if memory={self.memory!r} is given. Got {self.raw_hook!r}. "
                f"Define it with def at the top level of a module."
            )
        return RecordingProcessing(
            float(self.sfreq), picks, reference, self.l_freq, self.h_freq, notch, self.phase,
            None if isinstance(self.montage, dict) else load_sensor_montage(self.montage), self.bads, self.raw_hook,
            None if self.raw_hook is None else make_fingerprint(self.raw_hook), self.causal,
        )  # fmt: skip

    def _make_processings(self, X):
        """Return the parameters of each recording, in order of appearance."""
        first, processing = X.drop_duplicates("recording"), self._make_processing()
        if not isinstance(self.montage, dict):
            return {str(path): processing for path in first["recording"]}
        if "study" not in X:
            raise ValueError(
                "montage is a dict of studies, but the table of segments has no column 'study'. Add it or give one "
                "montage."
            )
        return {
            str(path): processing._replace(montage=load_sensor_montage(self.montage.get(study)))
            for path, study in zip(first["recording"], first["study"], strict=True)
        }

    def _read_headers(self, processings):
        """Read the header of each recording."""
        hashable = all(isinstance(how.montage, (str, type(None))) for how in processings.values())
        if self.memory is None and hashable:
            return {
                path: _read_header_of_recording(path, get_recording_identity_state(path), how)
                for path, how in processings.items()
            }
        return {
            path: self._from_file(read_recording_header, path, how)() for path, how in processings.items()
        }

    def _from_file(self, function, path, processing):
        stamp_of = (
            digest_recording_identity if processing.raw_hook is None else digest_recording_identity_at_path
        )
        return CachedFromFile(function, path, stamp_of, self.memory, processing=processing)

    def _from_table(self, X):
        processings = self._make_processings(X)
        headers = self._read_headers(processings)
        n_valid = get_validated_sample_counts(X, self.sfreq)
        n_padding = 0 if n_valid is None else int(get_validated_window_length(X, self.sfreq) - n_valid.min())
        signals = [
            self._make_signal(path, header, processings[path], n_padding) for path, header in headers.items()
        ]
        positions, layout = make_channel_layouts(headers, self.ch_names_, self.bads == "mask")
        which = pd.Categorical(X["recording"].map(str), categories=list(headers)).codes
        start, n_read, steps = self._find_samples(X, which, signals, n_valid, n_padding)
        windows = Windows(
            signals, which, start, n_read, float(self.sfreq), rows=X, positions=positions, layout=layout,
            ch_names=self.ch_names_, extent=self._find_extent(X, which, signals, n_padding), steps=steps,
            n_valid=n_valid,
        )  # fmt: skip
        if self.n_jobs is not None:
            joblib.Parallel(self.n_jobs, prefer="threads")(joblib.delayed(s.load)() for s in signals)
        return windows

    def _make_signal(self, path, header, processing, n_padding=0):
        read = self._from_file(read_recording_signal, path, processing)
        n_times = compute_processed_length(header.n_times, header.sfreq, self.sfreq)
        if header.ch_names != self.ch_names_:
            read = partial(
                place_in_channel_layout,
                read,
                find_channel_layout_columns(header, path, self.ch_names_),
                len(self.ch_names_),
            )
        if n_padding:
            read = partial(_pad_end_of_recording, read, n_padding)
        return Signal(read, (n_times + n_padding, len(self.ch_names_)))

    def _find_samples(self, X, which, signals, n_valid=None, n_padding=0):
        """Return first samples, number of samples and steps of windows."""
        n_times = get_validated_window_length(X, self.sfreq)
        first, last, steps = self.find_window_reach(n_times)
        start = np.round(X["onset"].to_numpy(float) * self.sfreq).astype(np.int64) + first
        length = np.array([signal.shape[0] for signal in signals])[which] - n_padding
        n_invalid = 0 if n_valid is None else n_times - n_valid
        beyond = (start < 0) | (start + last - first - n_invalid > length)
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"With lag={self.lag} and baseline={self.baseline}, {beyond.sum()} windows read beyond their "
                f"recording. The first is row {X.index.tolist()[row]!r} of {X['recording'].iloc[row]!r} "
                f"(onset {X['onset'].iloc[row]:.3f} s of {length[row] / self.sfreq:.3f} s). "
                f"Make the table with make_segments(margin=...) and a margin of at least the lag."
            )
        return start, last - first, steps

    def find_window_reach(self, n_times):
        """Find the samples that a window reads.

        Parameters
        ----------
        n_times : int
            Number of samples of a window.

        Returns
        -------
        first, last : int
            First sample, and the one after the last, from the start of the
            window before the lag is added.
        steps : tuple of callables
            Steps of :class:`~sk_b2s.Windows` that are applied to them.
        """
        lag = round(self.lag * self.sfreq)
        if self.baseline is None:
            return lag, lag + n_times, ()
        begin, end = self._find_baseline()
        first, last = min(lag, begin), max(lag + n_times, end)
        return first, last, (EpocherTableBaseline(begin - first, end - first, lag - first, n_times),)

    def _find_baseline(self):
        try:
            begin, end = (round(float(t) * self.sfreq) for t in self.baseline)
        except (TypeError, ValueError):
            begin, end = 0, -1
        if end < begin:
            raise ValueError(
                f"baseline must be (start, stop) in seconds from the start of the window or None. Got {self.baseline!r}."
            )
        return begin, end + 1

    def _find_extent(self, X, which, signals, n_padding=0):
        """Return the samples between which stimuli play, None if unknown."""
        extent = np.array([(0, signal.shape[0] - n_padding) for signal in signals])
        if not {"heard_start", "heard_stop"} <= set(X.columns):
            return extent if n_padding else None
        played = X[["heard_start", "heard_stop"]].groupby(which).first().dropna()
        extent[played.index] = np.round(played.to_numpy() * self.sfreq)
        return extent
