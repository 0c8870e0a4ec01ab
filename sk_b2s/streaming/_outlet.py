"""LSL outlet that replays a recording on this machine."""

from __future__ import annotations

import threading
import time
import uuid

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
    """

    def __init__(self, raw, ch_names, speed=1.0, chunk=0.04):
        try:
            from mne_lsl.lsl import StreamInfo, StreamOutlet, local_clock
        except ImportError as error:
            raise ImportError(
                "A replay through LSL requires mne-lsl. Install it by pip install 'sk_b2s[live]', or use --no-lsl."
            ) from error
        self.name = f"sk-b2s-replay-{uuid.uuid4().hex[:8]}"
        sfreq = float(raw.info["sfreq"])
        info = StreamInfo(self.name, "eeg", len(ch_names), sfreq, "float64", self.name)
        info.set_channel_names(list(ch_names))
        info.set_channel_units(["0"] * len(ch_names))  # exponent of ten: volts and tesla as in MNE
        self._outlet = StreamOutlet(info)
        self.is_done, self._stop = False, threading.Event()
        self._thread = threading.Thread(
            target=self._send, args=(raw, list(ch_names), sfreq, speed, chunk, local_clock), daemon=True
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
        self.is_done = True

    def close(self):
        """Stop the replay, and close the outlet."""
        self._stop.set()
        self._thread.join(5)
        self._outlet = None
