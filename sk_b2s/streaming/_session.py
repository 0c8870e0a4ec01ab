"""Loop that decodes a stream and distributes its predictions."""

from __future__ import annotations

import inspect
import time

import numpy as np

from sk_b2s.streaming._records import COLUMNS, PredictionWriter


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

    Raises
    ------
    ValueError
        If the onsets are not increasing numbers, or a candidate has the name
        of a column.
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
    has_times = "timestamps" in inspect.signature(decoder.push).parameters
    decoder.reset()
    trial, first = -1, None
    for samples, timestamps in chunks:
        samples = np.asarray(samples)
        if not samples.shape[1]:
            continue
        with_times = has_times and timestamps is not None
        if first is None:
            first = float(timestamps[0]) if with_times else 0.0
        if trial < 0:
            trial = _start(decoder, first + onsets[0], 0)
        begun = time.perf_counter()
        table = decoder.push(samples, timestamps) if with_times else decoder.push(samples)
        counts["seconds"] += time.perf_counter() - begun
        counts["n_samples"] += samples.shape[1]
        rows = table.to_dict("records")
        if rows and "n_lost" in rows[-1]:
            counts["n_lost"] = int(rows[-1]["n_lost"])
        for row in rows:
            counts["n_predictions"] += 1
            lost = int(row["n_lost"]) if "n_lost" in table else 0
            yield {
                **{name: row[name] for name in COLUMNS}, "trial": trial, "n_lost": lost,
                "probabilities": {name: float(row[name]) for name in decoder.candidates},
            }  # fmt: skip
        now = float(timestamps[-1]) - first if with_times else counts["n_samples"] / decoder.sfreq
        if trial + 1 < len(onsets) and now >= onsets[trial + 1]:
            trial = _start(decoder, first + onsets[trial + 1], trial + 1)
        if on_status is not None:
            on_status(now, counts["n_lost"])


def _start(decoder, onset, trial):
    decoder.start(onset)
    return trial
