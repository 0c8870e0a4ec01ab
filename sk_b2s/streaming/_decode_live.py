"""Loop that decodes a stream and distributes its predictions."""

from __future__ import annotations

import time
import warnings

import numpy as np

from sk_b2s.streaming._live_predictions import COLUMNS, LivePredictionWriter
from sk_b2s.streaming._onsets import LostOnsetError, OnsetDetector


def decode_live(decoder, chunks, onset=0.0, path=None, header=None, callbacks=(), on_status=None):
    """Decode a stream until it ends, and write the predictions to a file.

    Parameters
    ----------
    decoder : StreamingDecoder
        It is reset first.
    chunks : iterable of (samples, timestamps)
        For example a :class:`StreamSource`. ``samples`` has the shape
        (n_channels, n_times), and ``timestamps`` (n_times,) or None. An
        attribute ``arrival`` is called for the time of arrival of each.
    onset : float, sequence of float, TriggerOnset or AudioOnset, default=0.0
        Onset of the sounds in seconds since the first sample, by the clock of
        the time stamps. If several, the evidence begins again at each, which
        is a new trial. A trial continues after gaps and jumps of the clock. If
        it is not known how many samples were lost, it has no further
        predictions. A :class:`TriggerOnset` or :class:`AudioOnset` finds
        onsets in a further channel, which must be the last one of
        ``samples``.
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
        "n_predictions"; "n_samples", received; "n_lost", those that were not
        received; "samples", what became of each, see
        :meth:`StreamingDecoder.push`; "faults", their number by kind;
        "seconds" of computation; and "reason", why the run ended.

    Warns
    -----
    UserWarning
        As of :meth:`StreamingDecoder.push`, and if the begin of a trial was
        lost.

    Raises
    ------
    ValueError
        If the onsets are not increasing numbers, a candidate has the name of a
        column, or time stamps are not finite.
    """
    is_found = hasattr(onset, "push")
    onsets = np.empty(0) if is_found else np.atleast_1d(np.asarray(onset, float))
    if is_found:
        onset.reset()
    elif onsets.ndim != 1 or not len(onsets) or not np.isfinite(onsets).all() or (np.diff(onsets) <= 0).any():
        raise ValueError(f"onset must be a number or increasing numbers of seconds. Got {onset!r}.")
    names = list(decoder.candidates)
    if taken := sorted(set(names) & {*COLUMNS, "run", "trial", "n_lost", "delay"}):
        raise ValueError(f"candidates: {taken} are names of columns of the predictions. Use other names.")
    facts = {
        "candidates": names, "sounds": [str(sound) for sound in decoder.candidates.values()],
        "onsets": repr(onset) if is_found else onsets.tolist(), "sfreq": decoder.sfreq, "duration": decoder.duration, "step": decoder.step,
        "evidence": decoder.evidence, "time_constant": decoder.time_constant, "temperature": decoder.temperature,
        "subject": decoder.subject, "bads": list(decoder.bads), "latency": decoder.latency_.dropna().to_dict(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }  # fmt: skip
    writer = None if path is None else LivePredictionWriter(path, {**facts, **(header or {})})
    counts = {"n_predictions": 0, "n_samples": 0, "n_lost": 0, "seconds": 0.0, "reason": "error"}
    counts |= {"samples": {}, "faults": {}}
    try:
        for line in _iter_live_predictions(decoder, chunks, onset if is_found else onsets, counts, on_status):
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


def _iter_live_predictions(decoder, chunks, onsets, counts, on_status):
    """Yield the predictions of all chunks as dicts."""
    decoder.reset()
    trial, arrival = -1, getattr(chunks, "arrival", None)
    detector = OnsetDetector(onsets, decoder) if hasattr(onsets, "push") else None

    def iter_lines(table, stop=np.inf):
        for row in table.to_dict("records"):
            if row["time"] < stop:
                counts["n_predictions"] += 1
                yield {
                    **{name: row[name] for name in COLUMNS}, "trial": trial, "n_lost": counts["n_lost"],
                    "probabilities": {name: float(row[name]) for name in decoder.candidates},
                }  # fmt: skip

    for samples, timestamps in chunks:
        samples, arrived = np.asarray(samples), None if arrival is None else arrival()
        if detector is not None:
            samples, channel = samples[:-1], samples[-1]
        n_part = max(1, round(decoder.step * decoder.sfreq)) if arrived is None else max(1, samples.shape[1])
        first = 0
        while first < samples.shape[1]:
            part = slice(first, min(first + n_part, samples.shape[1]))
            if detector is None:
                part = _end_before_second_onset(part, onsets[trial + 2 :], decoder)
                last = (decoder.n_samples_ + part.stop - first - 1) / decoder.sfreq
                while trial < max(1, np.searchsorted(onsets, last, side="right")) - 1:
                    trial += 1
                    _start_live_trial(decoder, onsets[trial])
            begun = time.perf_counter()
            stamps = None if timestamps is None else timestamps[part]
            table = decoder.push(samples[:, part], stamps, arrived)
            counts["seconds"] += time.perf_counter() - begun
            counts["n_samples"] += part.stop - part.start
            counts["samples"] = decoder.sample_counts_
            counts["n_lost"] = counts["samples"]["lost"] + counts["samples"]["interpolated"]
            yield from iter_lines(table)
            found = [] if detector is None else detector.find(channel[part], stamps)
            for number, onset in enumerate(found, 1):
                trial += 1
                if _start_live_trial(decoder, onset) and number < len(found):
                    yield from iter_lines(decoder._push_stored(), found[number])
            first = part.stop
        if on_status is not None and samples.shape[1]:
            on_status(decoder.n_samples_ / decoder.sfreq, counts["n_lost"])
    counts["faults"] = decoder.faults_["kind"].value_counts().to_dict()


def _end_before_second_onset(part, onsets, decoder):
    """Shorten a part of a chunk so that at most one trial begins in it."""
    if not len(onsets):
        return part
    times = (decoder.n_samples_ + np.arange(part.stop - part.start)) / decoder.sfreq
    n_before = int(np.searchsorted(times, onsets[0]))
    return slice(part.start, part.start + n_before) if n_before else part


def _start_live_trial(decoder, onset):
    """Begin a trial. Warn and return False if its begin was lost."""
    try:
        decoder.start(onset)
    except LostOnsetError:
        warnings.warn(
            f"The trial of onset={onset:g} s has no predictions, because its begin is in a gap of the stream, or longer ago "
            f"than the history of the decoder.",
            stacklevel=5,
        )
        return False
    return True
