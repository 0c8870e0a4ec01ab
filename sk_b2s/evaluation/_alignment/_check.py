"""Check of the alignment between recordings and stimulus onsets."""

from __future__ import annotations

from numbers import Real

import joblib
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import CachedFromFile
from sk_b2s._utils._logging import run_in_parallel_with_logging
from sk_b2s.decoding._stimulus_artifacts import (
    find_stimulus_artifact_channels,
    score_stimulus_artifact,
)
from sk_b2s.evaluation._alignment._notes import MIN_SECONDS, compare_alignment_notes, make_alignment_notes
from sk_b2s.events._audio._checks import check_audio_is_silent
from sk_b2s.events._check_events import check_events
from sk_b2s.events._stimuli import StimulusArray, stimulus_name
from sk_b2s.events._table_times import get_table_times_clock_rate
from sk_b2s.features._acoustic_spectra import Envelope
from sk_b2s.io._raw._identity import digest_recording_identity
from sk_b2s.io._raw._recordings import RecordingProcessing, open_recording, read_recording_signal
from sk_b2s.io._sensors import pick_sensor_channels
from sk_b2s.metrics._lag_curve import (
    REACH,
    compute_lag_curve,
    find_lag_curve_offset,
    get_least_lag_curve_seconds,
    whiten_for_lag_curve,
)
from sk_b2s.preprocessing._continuity import add_continuity_notes


def check_alignment(
    events, *, minutes=5.0, max_offset=1.5, tolerance=0.1, level=0.01, stream=None, picks=None, l_freq=1.0,
    h_freq=12.0, sfreq=64, raw_hook=None, memory=None, n_jobs=None,
):  # fmt: skip
    r"""Check the alignment between recordings and stimulus onsets.

    The temporal response function of the envelope is computed for all channels
    and all circular shifts of the stimulus against the recording
    (:func:`compute_lag_curve`). Its power at a lag :math:`\tau`, summed over
    whitened channels, is high where there is a response. Shifts of many
    seconds, where no response is possible, give the null. A response begins
    with the stimulus and is largest near 0.12 s. The distance from there is
    the offset (:func:`find_lag_curve_offset`). It reveals triggers at the
    wrong end of a delay, the audio file of another subject, a drifting clock,
    or a recording that is late by tens of milliseconds. It does not measure
    latency.

    Parameters
    ----------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`.
    minutes : float or None, default=5.0
        Duration of the parts of a recording. Shorter parts detect a drift
        better and a response worse. If None, each stimulus of at least half a
        minute is a part.
    max_offset : float, default=1.5
        Largest offset searched, in seconds on both sides. A wider search is
        more likely to find noise. If nothing is found or the largest value is
        at an edge, all lags of the recording are searched, and ``note``
        reports it.
    tolerance : float, default=0.1
        Offsets up to this are "aligned".
    level : float, default=0.01
        Proportion of parts without a response whose verdict is not
        ``"cannot_tell"``.
    stream : None or str, default=None
        Stream to check if several are presented at once, for example
        "attended". If None, all stimuli of the table.
    picks : None, str or sequence of str, default=None
        Channels, as for :class:`~sk_b2s.Epocher`.
    l_freq, h_freq : float, default=1.0, 12.0
        Zero-phase band-pass filter in Hz.
    sfreq : int, default=64
        Sampling rate in Hz of the analysis, a divisor of 16,000.
    raw_hook : callable or None, default=None
        As for :class:`~sk_b2s.Epocher`.
    memory : None, str or joblib.Memory, default=None
        Cache folder for recordings and envelopes. It contains pickle files,
        which run code when they are read. Use a folder that only you can write
        to.
    n_jobs : int or None, default=None
        Number of recordings processed in parallel.

    Returns
    -------
    found : DataFrame
        One row for each recording (``part`` 0) and each of its parts (1, 2,
        ...):

        - ``study, subject, session, recording, part``.
        - ``sound``: name of the stimulus, if the part is one.
        - ``start, stop`` (s) and ``heard`` (s of stimulus).
        - ``offset_error``: standard error of the offset in noise (s).
        - ``verdict``: ``"aligned"``, ``"off"`` or ``"cannot_tell"``.
        - ``verdict_text``: the verdict in words, such as "off by +0.30 s".
        - ``offset`` (s), positive if the response is later than in the table.
          NaN without a response.
        - ``p``, ``note`` and ``curve``, the power by lag in standard
          deviations of the null. ``found.attrs["lags"]`` has the lags in
          seconds.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or no recording can be read and has
        a stimulus.

    Notes
    -----
    A short or noisy recording gives ``"cannot_tell"``, and so does a wrong
    stimulus. ``note`` reports it if most other recordings of the study are
    aligned. Because one correct stimulus makes a recording "aligned", each
    stimulus of half a minute is also checked alone. ``note`` of the recording
    names stimuli with another offset, and those without a response if more
    than half of the others have a clear one. A recording that cannot be read
    gets ``"cannot_tell"`` with the reason in ``note``.

    All problems found are noted:

    - A component at 0 s alone, see
      :func:`~sk_b2s.decoding._stimulus_artifacts.score_stimulus_artifact`.
      Earphones, triggers and cables have no delay, responses do.
    - A channel whose own correlation with the envelope is largest at 0 s and
      far above that of most others.
    - Parts whose offsets lie on a line, as a drift in ppm. Other differences
      between parts are noted as well, and the offset of the recording is
      within the range of its parts.
    - With five subjects or more, those whose offset differs from the others by
      at least 2.5 standard deviations, assuming 16 ms (s.d.) between subjects.
      With three recordings of a subject or more, those that differ from its
      others, assuming 4 ms.
    - Power before 0 s, due to zero-phase filters of the files or, below 0.1 s,
      of this function.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import check_alignment
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(
    ...         1, 2, n_channels=32, snr_db=0, artifacts=False, root=root
    ...     )
    ...     found = check_alignment(events.assign(onset=events["onset"] - 0.3))
    >>> found["verdict"].tolist()[0], found["verdict_text"].tolist()[0][:9]
    ('off', 'off by +0')
    """
    _check_alignment_parameters(
        minutes=5.0 if minutes is None else minutes,
        max_offset=max_offset,
        tolerance=tolerance,
        level=level,
        l_freq=l_freq,
        h_freq=h_freq,
    )
    events = check_events(events)
    sounds = events[events["type"] == "sound"]
    sounds = sounds if stream is None else sounds[sounds["stream"] == stream]
    if sounds.empty:
        raise ValueError(
            f"events has no row of type 'sound'{f' in stream {stream!r}' if stream else ''}. Check the events table."
        )
    picks = picks if picks is None or isinstance(picks, str) else tuple(picks)
    processing = RecordingProcessing(float(sfreq), picks, l_freq=l_freq, h_freq=h_freq, raw_hook=raw_hook)
    work = joblib.delayed(_check_recording_alignment)
    options = {"minutes": minutes, "max_offset": max_offset, "memory": memory}
    parts = run_in_parallel_with_logging(
        (work(path, rows, processing, **options) for path, rows in sounds.groupby("recording", sort=False)),
        "recordings",
        n_jobs,
    )
    broken = [recording[0]["error"] for recording in parts if "error" in recording[0]]
    if len(broken) == len(parts):
        raise broken[0]
    lags = parts[0][0]["lags"]
    rows = [
        row for recording in parts for row in make_alignment_notes(recording, max_offset, tolerance, level)
    ]
    found = pd.DataFrame(rows)
    found.attrs["lags"] = lags.round(6).tolist()
    return add_continuity_notes(compare_alignment_notes(found), sounds)


def _check_alignment_parameters(**numbers):
    for name, value in numbers.items():
        top = 1 if name == "level" else np.inf
        if not isinstance(value, Real) or not 0 < value < top:
            raise ValueError(f"{name} must be a number above 0{' and below 1' * (top == 1)}. Got {value!r}.")
    if numbers["l_freq"] >= numbers["h_freq"]:
        raise ValueError(f"l_freq={numbers['l_freq']} must be below h_freq={numbers['h_freq']}.")


# --- one recording ---------------------------------------------------------------------------------


def _check_recording_alignment(path, sounds, processing, minutes, max_offset, memory):
    """Compute curves and offsets of a recording and its parts."""
    about = {name: sounds[name].iloc[0] for name in ("study", "subject", "session")}
    about |= {"recording": path}
    try:
        signal = np.asarray(
            CachedFromFile(
                read_recording_signal, path, digest_recording_identity, memory, processing=processing
            )()
        )
        brain = whiten_for_lag_curve(signal)
        sound, heard, silent = _align_envelope(sounds, len(brain), processing, memory)
    except (ValueError, OSError) as error:
        row = {**about, "part": 0, "sound": "", "start": 0.0, "stop": np.nan, "heard": np.nan, "error": error}
        return [{**row, "singles": [], **_make_empty_alignment_part(max_offset, processing.sfreq)}]

    def look(part, start, stop, name=""):
        seconds = heard[start:stop].sum() / processing.sfreq
        row = {**about, "part": part, "sound": name, "start": start / processing.sfreq,
               "stop": stop / processing.sfreq, "heard": seconds}  # fmt: skip
        if seconds < MIN_SECONDS:
            return {**row, **_make_empty_alignment_part(max_offset, processing.sfreq)}
        lags, power = compute_lag_curve(brain[start:stop], sound[start:stop], processing.sfreq)
        found = find_lag_curve_offset(lags, power, max_offset)
        part = slice(start, stop)
        return {
            **row,
            **found,
            "leak": score_stimulus_artifact(brain[part], sound[part], processing.sfreq, heard[part]),
        }

    whole = {
        **look(0, 0, len(brain)),
        "silent": silent,
        "holders": _find_audio_channels_in_recording(path, signal, sound, processing),
    }
    min_seconds = max(MIN_SECONDS, get_least_lag_curve_seconds(max_offset) + 1)
    edges = _iter_alignment_stimuli(sounds, len(brain), processing.sfreq, min_seconds)
    singles = [look(part, *edge) for part, edge in enumerate(edges, 1)]
    whole["singles"] = [[one[key] for key in ("sound", "offset", "p", "heard", "leak")] for one in singles]
    if minutes is None:
        return [whole, *singles]
    length = round(60 * minutes * processing.sfreq)
    n_parts = round(len(brain) / length) if len(brain) > 1.5 * length else 0
    cuts = np.linspace(0, len(brain), n_parts + 1).astype(int)
    return [whole, *(look(part, cuts[part - 1], cuts[part]) for part in range(1, n_parts + 1))]


def _find_audio_channels_in_recording(path, signal, sound, processing):
    """Find channels that contain the audio, with their correlation."""
    found = find_stimulus_artifact_channels(signal, sound, processing.sfreq)
    if not found:
        return []
    names = pick_sensor_channels(open_recording(path, processing), processing.picks)
    return [(names[channel], likeness) for channel, likeness in found]


def _iter_alignment_stimuli(sounds, n_times, sfreq, min_seconds):
    """Yield samples and name of each stimulus of sufficient duration."""
    sounds = sounds.sort_values("onset")
    for sound, rate in zip(sounds.itertuples(), get_table_times_clock_rate(sounds), strict=True):
        start = max(0, round(sound.onset * sfreq))
        stop = min(n_times, round((sound.onset + sound.duration * rate) * sfreq))
        if stop - start >= min_seconds * sfreq:
            yield start, stop, stimulus_name(sound.sound)


def _make_empty_alignment_part(max_offset, sfreq):
    """Return the values of a part without enough stimulus."""
    reach = int((max_offset + REACH) * sfreq + 1e-9)
    lags = np.arange(-reach, reach + 1) / sfreq
    unknown = dict.fromkeys(
        ("offset", "offset_error", "p", "rest", "rest_p", "wide", "wide_p", "leak"), np.nan
    )
    return {**unknown, "edge": False, "lags": lags, "curve": np.zeros(len(lags))}


def _align_envelope(sounds, n_times, processing, memory):
    """Compute the filtered envelope on the time axis of a recording.

    Returns the envelope and the mask of stimulus times, arrays of (n_times,),
    and the list of silent stimuli.
    """
    sfreq = processing.sfreq
    course, heard, silent = np.zeros(n_times), np.zeros(n_times, bool), []
    names = ["onset", "sound_onset", "duration", "sound"]
    for (onset, begun, seconds, sound), rate in zip(
        sounds[names].itertuples(index=False), get_table_times_clock_rate(sounds), strict=True
    ):
        if check_audio_is_silent(sound, memory):
            silent.append(sound)
            continue
        whole = _compute_alignment_envelope(sound, sfreq, memory)
        first = max(0, round(onset * sfreq))  # a recording may begin during a stimulus
        last = min(n_times, round((onset + seconds * rate) * sfreq))
        place = ((np.arange(first, last) / sfreq - onset) / rate + begun) * sfreq
        course[first:last] += np.interp(place, np.arange(len(whole)), whole, left=0.0, right=0.0)
        heard[first:last] = True
    if not heard.any() and silent:
        return course, heard, silent
    if not heard.any():
        raise ValueError(
            f"Recording {sounds['recording'].iloc[0]!r} has no stimulus within its duration. Check the onsets of events."
        )
    return _filter_alignment_course(course - course[heard].mean() * heard, processing), heard, silent


def _compute_alignment_envelope(sound, sfreq, memory):
    """Return the envelope of a stimulus, or the mean of its features."""
    if isinstance(sound, StimulusArray):
        times = np.arange(0, sound.duration, 1 / sfreq)
        return np.interp(times, np.arange(len(sound.data)) / sound.sfreq, sound.data.mean(1))
    row = pd.DataFrame({"sound": [sound], "sound_onset": [0.0], "duration": [1 / sfreq]})
    windows = Envelope(sfreq=int(sfreq), memory=memory).fit(row).transform(row)
    first, last = windows.extent[0]
    return np.asarray(windows.signals[0].load()[first:last, 0], float)


def _filter_alignment_course(course, processing):
    import mne

    return mne.filter.filter_data(
        course, processing.sfreq, processing.l_freq, processing.h_freq, phase="zero", verbose="ERROR"
    )
