"""Sources of samples from streams of the Lab Streaming Layer (LSL)."""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter

import numpy as np

from sk_b2s._utils._extras import import_extra
from sk_b2s._utils._text import shorten_list
from sk_b2s._utils._units import format_unknown_unit, get_unit_factor
from sk_b2s.streaming._sources._base import StreamSource, pick_source_channels

TIMEOUT = 5.0  # s, to find a stream and to measure its clock
CORRECTED_EVERY = 5.0  # s between two readings of the clock offset
N_PULLED = 4096  # samples of one pull
MAX_WAITING = 300.0  # s of samples that wait for a read


def make_lsl_source(stream, ch_names, unit):
    """Make the source of an LSL stream, an inlet, or a stream by its name."""
    if isinstance(stream, str):
        stream = _open_inlet(stream)
    if hasattr(stream, "add_callback"):
        return StreamLSLSource(stream, ch_names, unit)
    if not hasattr(stream, "pull_chunk"):
        raise TypeError(f"stream must be a StreamLSL or a StreamInlet. Got {type(stream).__name__}.")
    return InletSource(stream, ch_names, unit)


def _open_inlet(name):
    """Find an LSL stream by its name, and open an inlet."""
    lsl = import_extra("mne_lsl.lsl", f"The LSL stream {name!r}")
    found = lsl.resolve_streams(TIMEOUT, name=name)
    if len(found) != 1:
        others = sorted({info.name for info in lsl.resolve_streams(1.0)} - {name})
        raise ValueError(
            f"stream={name!r}: {len(found)} LSL streams have this name. Other streams: {shorten_list(others) or 'none'}. "
            f"Start the stream before, check that firewalls let LSL pass, or pass an inlet."
        )
    inlet = lsl.StreamInlet(found[0])
    inlet.open_stream(timeout=TIMEOUT)
    return inlet


class _LSLSource(StreamSource):
    """Samples of an LSL stream that states its channels."""

    def __init__(self, names, sfreq, units, ch_names, unit):
        if not sfreq > 0:
            raise ValueError(
                "The LSL stream has no regular sampling rate, as streams of markers. Choose another."
            )
        if names is None or any(name is None for name in names):
            raise ValueError(
                "The LSL stream does not state the names of its channels. Add them to its description."
            )
        self._picks = pick_source_channels(names, ch_names)
        super().__init__([names[pick] for pick in self._picks], sfreq)
        stated = [unit if unit or units is None else units[pick] for pick in self._picks]
        factors = [None if name is None else get_unit_factor(name) for name in stated]
        if None in factors:
            at = factors.index(None)
            raise ValueError(
                f"The LSL stream states the unit {stated[at]!r} for channel {self.ch_names[at]!r}: "
                f"{format_unknown_unit(stated[at])} Pass unit='uV', or the unit of the amplifier."
            )
        self._factors = np.array(factors)[:, None]

    def arrival(self):
        """Return the time of a steady clock of this machine."""
        return perf_counter()

    def _convert(self, parts, times):
        """Return picked channels in V or T, and time stamps."""
        if not parts:
            return self._make_empty()
        samples = np.concatenate(parts).astype(float)
        return samples[:, self._picks].T * self._factors, np.concatenate(times)


class InletSource(_LSLSource):
    """Samples of a StreamInlet of pylsl or mne-lsl."""

    def __init__(self, inlet, ch_names, unit):
        self._inlet, self._offset, self._measured = inlet, 0.0, -np.inf
        self._is_pylsl = type(inlet).__module__.startswith("pylsl")
        inlet.open_stream(timeout=TIMEOUT)
        info = inlet.info(timeout=TIMEOUT) if self._is_pylsl else inlet.get_sinfo(timeout=TIMEOUT)
        sfreq = info.nominal_srate() if self._is_pylsl else info.sfreq
        super().__init__(info.get_channel_labels() if self._is_pylsl else info.get_channel_names(), sfreq,
                         info.get_channel_units(), ch_names, unit)  # fmt: skip

    def read(self):
        """Return all samples that wait in the inlet, None if it is lost."""
        parts, times = [], []
        options = {"as_numpy": True} if self._is_pylsl else {}
        while self._inlet is not None:
            try:
                samples, timestamps = self._inlet.pull_chunk(timeout=0.0, max_samples=N_PULLED, **options)
            except RuntimeError:  # LostError of both packages
                self._inlet = None
                break
            if len(timestamps):
                parts.append(np.array(samples))
                times.append(np.array(timestamps))
            if len(timestamps) < N_PULLED:
                break
        return None if self._inlet is None and not parts else self._convert(parts, times)

    def now(self):
        """Return the present time in the clock of the sender."""
        if self._is_pylsl:
            from pylsl import local_clock
        else:
            from mne_lsl.lsl import local_clock
        if self._inlet is not None and perf_counter() - self._measured > CORRECTED_EVERY:
            self._measured = perf_counter()
            try:
                self._offset = self._inlet.time_correction(timeout=TIMEOUT)
            except (RuntimeError, TimeoutError):  # the last offset is used while the sender is away
                pass
        return local_clock() - self._offset

    def close(self):
        """Close the inlet."""
        inlet, self._inlet = self._inlet, None
        if inlet is not None:
            inlet.close_stream()


class StreamLSLSource(_LSLSource):
    """Samples of a connected ``mne_lsl.stream.StreamLSL``.

    A callback of the stream receives each new sample once. ``get_data`` could
    miss samples that come between two calls.
    """

    def __init__(self, stream, ch_names, unit):
        if not stream.connected:
            raise ValueError("The StreamLSL must be connected. Call stream.connect() before.")
        self._stream, self._is_closed, self._is_manual = stream, False, False
        units = [int(channel["unit_mul"]) for channel in stream.info["chs"]]
        if not any(units) and stream.sinfo.get_channel_units() is None:
            units = None  # neither stated nor set by the user
        super().__init__(list(stream.ch_names), stream.info["sfreq"], units, ch_names, unit)
        self._waiting: deque = deque()
        self._n_waiting, self._n_most = 0, round(MAX_WAITING * self.sfreq)
        self._lock = threading.Lock()
        stream.add_callback(self._collect)
        try:
            stream.acquire()
            self._is_manual = True
        except RuntimeError:  # a thread of the stream acquires
            pass

    def _collect(self, samples, timestamps, info):
        """Store new samples, called by the stream."""
        if not self._is_closed:
            with self._lock:
                self._waiting.append((np.array(samples), np.array(timestamps)))
                self._n_waiting += len(timestamps)
                while self._n_waiting > self._n_most:  # the gap is found from the time stamps
                    self._n_waiting -= len(self._waiting.popleft()[1])
        return samples, timestamps

    def read(self):
        """Return all samples since the last call, None if disconnected."""
        is_connected = self._stream.connected and not self._is_closed
        if is_connected and self._is_manual:
            self._stream.acquire()
        with self._lock:
            waiting, self._n_waiting = list(self._waiting), 0
            self._waiting.clear()
        if not waiting and not is_connected:
            return None
        return self._convert([part for part, _ in waiting], [times for _, times in waiting])

    def now(self):
        """Return the present time of the LSL clock of this machine."""
        from mne_lsl.lsl import local_clock

        return local_clock()

    def close(self):
        """Stop collecting samples. The stream remains connected."""
        self._is_closed = True
