"""LSL outlets of a replayed recording and of the posterior."""

from __future__ import annotations

import threading
import time
import uuid

import numpy as np

from sk_b2s._utils._extras import import_extra

LOOPBACK = """[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {127.0.0.1}
[log]
level = -3
"""  # configuration of liblsl: a replay stays on this machine


class ReplayOutlet:
    """Send a recording through a real LSL outlet, in a thread.

    It waits for the first reader, so that no sample is lost at the start.

    Parameters
    ----------
    raw : Raw
    ch_names : list of str
        Channels to send.
    speed : float, default=1.0
        Multiple of real time. The stream states the sampling rate of the
        recording, and time stamps are those of the recording.
    chunk : float, default=0.04
        Seconds of the recording in a chunk.

    Attributes
    ----------
    is_done : bool
        Whether all samples were sent.
    n_sent : int
        Number of samples sent.
    """

    def __init__(self, raw, ch_names, speed=1.0, chunk=0.04):
        lsl = import_extra("mne_lsl.lsl", "A replay without --no-lsl")
        self.name = f"sk-b2s-replay-{uuid.uuid4().hex[:8]}"
        sfreq = float(raw.info["sfreq"])
        info = lsl.StreamInfo(self.name, "eeg", len(ch_names), sfreq, "float64", self.name)
        info.set_channel_names(list(ch_names))
        info.set_channel_units(["0"] * len(ch_names))  # exponent of ten: volts and tesla as in MNE
        self._outlet = lsl.StreamOutlet(info)
        self.is_done, self.n_sent, self._stop = False, 0, threading.Event()
        self._thread = threading.Thread(
            target=self._send, args=(raw, list(ch_names), sfreq, speed, chunk, lsl.local_clock), daemon=True
        )
        self._thread.start()

    def _send(self, raw, ch_names, sfreq, speed, chunk, clock):
        while not self._stop.is_set() and not self._outlet.wait_for_consumers(0.2):
            pass
        picks = [raw.ch_names.index(name) for name in ch_names]
        size, begun, started = max(1, round(chunk * sfreq)), time.monotonic(), clock()
        for first in range(0, len(raw.times), size):
            last = min(first + size, len(raw.times))
            if self._stop.wait(max(0.0, begun + last / sfreq / speed - time.monotonic())):
                return
            self._outlet.push_chunk(
                raw[picks, first:last][0].T.copy("C"), timestamp=started + (last - 1) / sfreq
            )
            self.n_sent = last
        self.is_done = True

    def close(self):
        """Stop the replay, and close the outlet."""
        self._stop.set()
        self._thread.join(5)
        self._outlet = None


class PosteriorOutlet:
    """Send the posterior of a live decoder through an LSL outlet.

    The stream has an irregular rate and one sample per prediction: the
    probability of each candidate, then "stimulus_time" and "age" in seconds.
    Other programs can read it, for example to give feedback.

    Parameters
    ----------
    candidates : StreamingDecoder, dict or sequence of str
        The decoder, or the names of its candidates.
    name : str, default="sk-b2s-posterior"
        Name of the stream.
    source_id : str, default=None
        Identifier that readers use to reconnect. If None, ``name``.

    Raises
    ------
    ImportError
        If mne-lsl is not installed.

    See Also
    --------
    StreamingDecoder : Parameter ``callback``.
    decode_live : Parameter ``callbacks``.

    Notes
    -----
    Time stamps are those of the LSL clock when the prediction is sent.
    """

    def __init__(self, candidates, name="sk-b2s-posterior", source_id=None):
        lsl = import_extra("mne_lsl.lsl", "PosteriorOutlet")
        self.names = list(getattr(candidates, "candidates", candidates))
        self.name, self._clock = name, lsl.local_clock
        channels = [*self.names, "stimulus_time", "age"]
        info = lsl.StreamInfo(name, "posterior", len(channels), 0.0, "float64", source_id or name)
        info.set_channel_names(channels)
        info.set_channel_types(["misc"] * len(channels))
        self._outlet = lsl.StreamOutlet(info)

    def __call__(self, predictions):
        """Send predictions.

        Parameters
        ----------
        predictions : DataFrame or dict
            As of :meth:`StreamingDecoder.push`, or one prediction of
            :func:`decode_live`.
        """
        if self._outlet is None:
            raise RuntimeError(f"The outlet {self.name!r} is closed.")
        rows = [predictions] if isinstance(predictions, dict) else predictions.to_dict("records")
        for row in rows:
            values = row.get("probabilities", row)
            sample = [*(values[name] for name in self.names), row["stimulus_time"], row["age"]]
            self._outlet.push_sample(np.asarray(sample, float), timestamp=self._clock())

    def close(self):
        """Close the outlet. Inlets must be closed before."""
        self._outlet = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
