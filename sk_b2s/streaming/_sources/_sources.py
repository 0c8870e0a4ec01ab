"""Sources of streamed samples: files, iterators and LSL streams."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

import mne
import numpy as np

from sk_b2s._utils._units import format_unknown_unit, get_unit_factor
from sk_b2s._utils._validation import validate_positive
from sk_b2s.streaming._sources._base import StreamSource, pick_source_channels
from sk_b2s.streaming._sources._lsl import make_lsl_source

FAST_CHUNK = 0.08  # s of samples in each read of a recording that is not paced


class RawSource(StreamSource):
    """Recording, read in real time or as fast as possible."""

    def __init__(self, raw, ch_names, pace, chunk):
        picks = pick_source_channels(raw.ch_names, ch_names)
        super().__init__([raw.ch_names[pick] for pick in picks], raw.info["sfreq"])
        self._raw, self._picks, self._pace = raw, picks, pace
        self._n_chunk = max(1, round(chunk * self.sfreq))
        self._n_read, self._begun = 0, None

    def read(self):
        """Return the samples since the last call, None after the last one."""
        n_times = len(self._raw.times)
        if self._n_read == n_times:
            return None
        stop = self._n_read + self._n_chunk
        if self._pace is not None:
            stop = int(self.now() * self.sfreq)
        first, self._n_read = self._n_read, max(self._n_read, min(stop, n_times))
        if first == self._n_read:
            return self._make_empty()
        samples = self._raw[self._picks, first : self._n_read][0]
        return samples, np.arange(first, self._n_read) / self.sfreq

    def now(self):
        """Return the time in the recording, None if it is not paced."""
        if self._pace is None:
            return None
        self._begun = perf_counter() if self._begun is None else self._begun
        return (perf_counter() - self._begun) * self._pace

    def arrival(self):
        """Return the time in the recording, None if it is not in real time."""
        return None if self._pace is None or self._pace > 1 else self.now()


class IteratorSource(StreamSource):
    """Chunks of any iterator."""

    def __init__(self, chunks, ch_names, sfreq, factor):
        super().__init__(ch_names, sfreq)
        self._chunks, self._factor = iter(chunks), factor

    def read(self):
        """Return the next chunk, None after the last one."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return None
        try:
            samples, timestamps = (np.asarray(part, float) for part in chunk)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The iterator must yield (samples, timestamps). Got {type(chunk).__name__}."
            ) from error
        if samples.ndim != 2 or samples.shape != (len(self.ch_names), *timestamps.shape):
            raise ValueError(
                f"The iterator must yield samples of the shape (n_channels={len(self.ch_names)}, n_times) and timestamps "
                f"of the shape (n_times,). Got {samples.shape} and {timestamps.shape}."
            )
        return samples * self._factor, timestamps


def make_stream_source(stream, ch_names=None, *, sfreq=None, unit=None, pace=None, chunk=FAST_CHUNK):
    """Make a source of samples from a stream or a recording.

    Parameters
    ----------
    stream : StreamLSL, StreamInlet, str, Raw or iterable
        A connected ``mne_lsl.stream.StreamLSL``, a ``pylsl.StreamInlet`` or
        ``mne_lsl.lsl.StreamInlet``, the name of an LSL stream, an
        ``mne.io.Raw``, or an iterable of ``(samples, timestamps)`` with shapes
        (n_channels, n_times) and (n_times,).
    ch_names : sequence of str, default=None
        Channels to pick, in this order, usually ``epocher.ch_names_``. If
        None, all channels. Names the channels of an iterable.
    sfreq : float, default=None
        Nominal sampling rate in Hz. Required for an iterable. Other streams
        state it.
    unit : str, default=None
        Unit of the samples, such as "V", "uV", "T" or "fT". If None, the unit
        that an LSL stream states, and V or T for an iterable. Not used for a
        Raw.
    pace : float, default=None
        Speed of reading a Raw, 1 for real time. If None, as fast as
        possible. Up to 1, reads have a time of arrival, so that samples are
        discarded if a decoder is too slow, as those of LSL streams.
    chunk : float, default=0.08
        Seconds of each read of a Raw with ``pace=None``.

    Returns
    -------
    source : StreamSource

    Raises
    ------
    TypeError
        If ``stream`` has another type.
    ValueError
        If a channel is missing, or the sampling rate or unit is not known.
    ImportError
        If ``stream`` is a name and mne-lsl is not installed.

    See Also
    --------
    StreamingDecoder.push : Decode the samples.

    Notes
    -----
    Connect a ``StreamLSL`` with ``processing_flags="clocksync"``, or without
    flags on one machine. The flag "dejitter" changes the time stamps after
    lost samples.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from sk_b2s import make_stream_source
    >>> info = mne.create_info(["C3", "Cz"], 50, "eeg")
    >>> raw = mne.io.RawArray(np.ones((2, 100)), info, verbose="ERROR")
    >>> source = make_stream_source(raw, ["Cz"], chunk=1)
    >>> [samples.shape for samples, timestamps in source]
    [(1, 50), (1, 50)]
    """
    for name, value in (("sfreq", sfreq), ("pace", pace), ("chunk", chunk)):
        if value is not None:
            validate_positive(name, value)
    if unit is not None and get_unit_factor(unit) is None:
        raise ValueError(format_unknown_unit(unit))
    ch_names = None if ch_names is None else list(ch_names)
    if isinstance(stream, StreamSource):
        return stream
    if isinstance(stream, mne.io.BaseRaw):
        return RawSource(stream, ch_names, pace, chunk)
    package = type(stream).__module__.partition(".")[0]
    if isinstance(stream, str) or package in ("pylsl", "mne_lsl"):
        return make_lsl_source(stream, ch_names, unit)
    if not isinstance(stream, Iterable):
        raise TypeError(
            f"stream must be a StreamLSL, a StreamInlet, the name of an LSL stream, a Raw, or an iterable of (samples, "
            f"timestamps). Got {type(stream).__name__}."
        )
    if sfreq is None or ch_names is None:
        raise ValueError(
            "An iterable has no channel names and sampling rate. Pass ch_names=... and sfreq=... Hz."
        )
    return IteratorSource(stream, ch_names, sfreq, 1.0 if unit is None else get_unit_factor(unit))
