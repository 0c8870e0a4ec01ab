"""Base class of the sources of streamed samples."""

from __future__ import annotations

from time import sleep

import numpy as np

WAIT = 0.01  # s between two reads without samples, when a source is iterated


def pick_source_channels(available, ch_names):
    """Return the indices of channels by name, or raise if one is missing."""
    if ch_names is None:
        return np.arange(len(available))
    if missing := [name for name in ch_names if name not in available]:
        raise ValueError(
            f"ch_names: the stream does not have {len(missing)} of {len(ch_names)} channels: {missing[:8]}. It has "
            f"{list(available)[:8]}{', ...' if len(available) > 8 else ''}. Rename its channels, or fit the Pipeline on "
            f"recordings with these names."
        )
    return np.array([list(available).index(name) for name in ch_names], int)


class StreamSource:
    """Samples and time stamps of a running recording.

    Made by :func:`make_stream_source`. Iteration yields ``(samples,
    timestamps)`` of all new samples, and waits for the first of them. A source
    has no thread of its own.

    Parameters
    ----------
    ch_names : sequence of str
        Channels, in the order of the samples.
    sfreq : float
        Nominal sampling rate in Hz.
    """

    def __init__(self, ch_names, sfreq):
        self.ch_names, self.sfreq = list(ch_names), float(sfreq)

    def read(self):
        """Return all new samples, without waiting.

        Returns
        -------
        chunk : (samples, timestamps) or None
            Samples (n_channels, n_times) in V or T, and their time stamps
            (n_times,) in seconds of the clock of the stream. ``n_times`` can
            be 0. None if the stream has ended.
        """
        raise NotImplementedError(f"{type(self).__name__} must define read.")

    def now(self):
        """Return the present time in the clock of the stream.

        Returns
        -------
        now : float or None
            Seconds. None if the source has no clock.
        """
        return None

    def arrival(self):
        """Return the time of arrival of samples that were read just now.

        Returns
        -------
        arrived : float or None
            Seconds of a steady clock of this machine. None if samples are not
            read as they are recorded.
        """
        return None

    def close(self):
        """Release the stream."""

    def _make_empty(self):
        return np.empty((len(self.ch_names), 0)), np.empty(0)

    def __iter__(self):
        while (chunk := self.read()) is not None:
            if len(chunk[1]):
                yield chunk
            else:
                sleep(WAIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"{type(self).__name__}({len(self.ch_names)} channels, {self.sfreq:g} Hz)"
