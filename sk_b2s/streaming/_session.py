"""Loop that decodes a stream and distributes its predictions."""

from __future__ import annotations

import time
import warnings

import numpy as np

from sk_b2s.streaming._records import COLUMNS, PredictionWriter

JITTER = 0.1  # s, largest deviation of a time stamp from the number of samples
DRIFT = 5e-4  # largest deviation of the sampling rate, as a share


def decode_live(decoder, chunks, onset=0.0, path=None, header=None, callbacks=(), on_status=None):
    """Decode a stream until it ends, and write the predictions to a file.

    Parameters
    ----------
    decoder : StreamingDecoder
        It is reset first.
    chunks : iterable of (samples, timestamps)
        For example a :class:`StreamSource`. ``samples`` has the shape
        (n_channels, n_times), and ``timestamps`` (n_times,) or None.
    onset : float or sequence of float, default=0.0
        Onset of the sounds in seconds since the first sample. If several, the
        evidence begins again at each, which is a new trial.
    path : str or Path, default=None
        File to which header and predictions are appended as JSON lines, see
        :func:`read_live_predictions`. If None, nothing is written.
    header : dict, default=None
        Further facts for the header of the file.
    callbacks : sequence of callable, default=()
        Called with the dict of each prediction, which has the values of
        :meth:`StreamingDecoder.push`, "trial", "n_lost" and "probabilities"
        by name.
    on_status : callable, default=None
        Called after each chunk with the seconds of the stream so far and the
        number of lost samples.

    Returns
    -------
    counts : dict
        "n_predictions", "n_samples", "n_lost", "seconds" of computation, and
        "reason", why the run ended.

    Warns
    -----
    UserWarning
        If time stamps differ by more than 0.1 s from the number of samples,
        because samples were lost or a clock was changed. The decoder begins
        again at the next onset, and makes no predictions before it.

    Raises
    ------
    ValueError
        If the onsets are not increasing numbers, a candidate has the name of a
        column, or time stamps are not finite.
    """
    onsets = np.atleast_1d(np.asarray(onset, float))
    if onsets.ndim != 1 or not len(onsets) or not np.isfinite(onsets).all() or (np.diff(onsets) <= 0).any():
        raise ValueError(f"onset must be a number or increasing numbers of seconds. Got {onset!r}.")
    names = list(decoder.candidates)
    if taken := sorted(set(names) & {*COLUMNS, "run", "trial", "n_lost", "delay"}):
        raise ValueError(f"candidates: {taken} are names of columns of the predictions. Use other names.")
    facts = {
        "candidates": names, "sounds": [str(sound) for sound in decoder.candidates.values()],
        "onsets": onsets.tolist(), "sfreq": decoder.sfreq, "duration": decoder.duration, "step": decoder.step,
        "evidence": decoder.evidence, "time_constant": decoder.time_constant, "temperature": decoder.temperature,
        "subject": decoder.subject, "bads": list(decoder.bads), "latency": decoder.latency_.dropna().to_dict(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip
    writer = None if path is None else PredictionWriter(path, {**facts, **(header or {})})
    counts = {"n_predictions": 0, "n_samples": 0, "n_lost": 0, "seconds": 0.0, "reason": "error"}
    try:
        for line in _iter_predictions(decoder, chunks, onsets, counts, on_status):
            if writer is not None:
                writer.write({"type": "prediction", **line})
            for callback in callbacks:
                callback(line)
        counts["reason"] = "end of stream"
    except BaseException as error:
        counts["reason"] = "interrupted" if not isinstance(error, Exception) else type(error).__name__
        raise
    finally:
        if writer is not None:
            writer.close(**counts)
    return counts


def _iter_predictions(decoder, chunks, onsets, counts, on_status):
    """Yield the predictions of all chunks as dicts."""
    decoder.reset()
    clock = SampleClock(decoder.sfreq)
    trial, origin = -1, 0.0  # seconds of the stream when the decoder began
    for samples, timestamps in chunks:
        samples = np.asarray(samples)
        if not samples.shape[1]:
            continue
        for part, n_lost in clock.split(samples.shape[1], timestamps):
            if n_lost is not None:
                counts["n_lost"] += n_lost
                origin = clock.begin - clock.first
                decoder.reset()
                while trial >= 0 and onsets[trial] >= origin:  # still to come
                    trial -= 1
                warnings.warn(
                    f"The time stamps jump by {clock.jump:+.3f} s at {origin:.3f} s of the stream ({n_lost} lost samples). "
                    f"Sounds that began before have no further predictions, because they no longer match the samples.",
                    stacklevel=4,
                )
            while trial + 1 < len(onsets) and (trial < 0 or clock.now - clock.first >= onsets[trial + 1]):
                trial += 1
                if origin == 0 or onsets[trial] >= origin:  # others began before a jump
                    decoder.start(onsets[trial] - origin)
            begun = time.perf_counter()
            table = decoder.push(samples[:, part])
            counts["seconds"] += time.perf_counter() - begun
            counts["n_samples"] += part.stop - part.start
            for row in table.to_dict("records"):
                counts["n_predictions"] += 1
                row["time"] += origin
                yield {
                    **{name: row[name] for name in COLUMNS}, "trial": trial, "n_lost": counts["n_lost"],
                    "probabilities": {name: float(row[name]) for name in decoder.candidates},
                }  # fmt: skip
        if on_status is not None:
            on_status(clock.now - clock.first, counts["n_lost"])


class SampleClock:
    """Compare the time stamps of a stream with the number of its samples.

    Parameters
    ----------
    sfreq : float
        Nominal sampling rate in Hz.
    """

    def __init__(self, sfreq):
        self.sfreq = sfreq
        self.first = self.begin = None  # time stamps of the first sample, and of the first one after a jump
        self.now, self.jump, self._n = 0.0, 0.0, 0

    def split(self, n_times, timestamps):
        """Yield the parts of a chunk, and the lost samples before each.

        Parameters
        ----------
        n_times : int
            Samples of the chunk.
        timestamps : array-like of shape (n_times,) or None
            Without them, no sample is taken for lost.

        Yields
        ------
        part : slice
        n_lost : int or None
            None if no time stamp jumps before the part.
        """
        if timestamps is None:
            start = self.now + 1 / self.sfreq if self.first is not None else 0.0
            timestamps = start + np.arange(n_times) / self.sfreq
        timestamps = np.asarray(timestamps, float)
        if timestamps.shape != (n_times,) or not np.isfinite(timestamps).all():
            raise ValueError(
                f"Chunks must have one finite time stamp per sample ({n_times}). Got the shape {timestamps.shape}."
            )
        if self.first is None:
            self.first = self.begin = timestamps[0]
        start, n_lost = 0, None
        while start < n_times:
            elapsed = (self._n + np.arange(n_times - start)) / self.sfreq
            deviation = timestamps[start:] - self.begin - elapsed
            wrong = np.flatnonzero(abs(deviation) > JITTER + DRIFT * elapsed)
            stop = start + wrong[0] if len(wrong) else n_times
            if stop > start:
                self.now, self._n = timestamps[stop - 1], self._n + stop - start
                yield slice(start, stop), n_lost
            if stop < n_times:
                self.jump = float(deviation[wrong[0]])
                n_lost = max(0, round(self.jump * self.sfreq))
                self.begin, self._n = timestamps[stop], 0
            start = stop
