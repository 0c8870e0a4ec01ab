"""Check of the alignment between recordings and stimulus onsets."""

from __future__ import annotations

from numbers import Real

import joblib
import numpy as np
import pandas as pd

from sk_b2s._utils._caching import FromFile
from sk_b2s.decoding._stimulus_artifacts import compute_leak_score, find_audio_channels
from sk_b2s.evaluation._alignment_notes import LEAST_HEARD, compare, judge
from sk_b2s.events._audio._checks import is_silent
from sk_b2s.events._stimuli import StimulusArray, stimulus_name
from sk_b2s.events._table import check_events
from sk_b2s.events._table_times import clock_rate
from sk_b2s.features._spectral import Envelope
from sk_b2s.io._raw._identity import recording_stamp
from sk_b2s.io._raw._recordings import Processing, open_raw, read_signal
from sk_b2s.io._sensors import pick_channels
from sk_b2s.metrics._lag_curve import REACH, compute_lag_curve, find_response_offset, least_seconds, whiten
from sk_b2s.preprocessing._continuity import add_gap_notes


def check_alignment(
    events, *, minutes=5.0, max_offset=1.5, tolerance=0.1, level=0.01, stream=None, picks=None, l_freq=1.0,
    h_freq=12.0, sfreq=64, raw_hook=None, memory=None, n_jobs=None,
):  # fmt: skip
    r"""Look in every recording, and in every few minutes of it, when the brain answers the sound.

    The temporal response function of the envelope is computed for all channels at all circular shifts of the sound
    against the brain at once (:func:`compute_lag_curve`). Its power at a lag :math:`\tau`, summed over whitened channels,
    stands out where the brain answers; shifts of many seconds, at which nothing can answer, are the null. A response
    begins with the sound and is largest near 0.12 s; how far the one found lies from there is the offset
    (:func:`find_response_offset`). It shows triggers at the wrong end of a delay, a wav of another person, a clock that
    drifts, or a recording that is late by tens of milliseconds. It is no measure of latency.

    Parameters
    ----------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`.
    minutes : float or None, default=5.0
        Length of the parts. Shorter ones see a drift better and a response worse. With None each sound of half a
        minute or more is a part.
    max_offset : float, default=1.5
        Largest offset searched, in seconds to both sides. A wider search finds chance more easily. Where nothing
        is found or the largest value is at an edge, all lags of the recording are searched, and ``note`` says so.
    tolerance : float, default=0.1
        Offsets up to this are "aligned".
    level : float, default=0.01
        Share of parts without a response of which something else than "cannot tell" is said.
    stream : None or str, default=None
        Which sounds are looked at where several play at once: those "attended". None takes all of the table.
    picks : None, str or sequence of str, default=None
        Channels, as for :class:`~sk_b2s.Epocher`.
    l_freq, h_freq : float, default=1.0, 12.0
        Band in Hz, of zero phase.
    sfreq : int, default=64
        Rate in Hz at which it is done; a divisor of 16,000.
    raw_hook : callable or None, default=None
        As for :class:`~sk_b2s.Epocher`.
    memory : None, str or joblib.Memory, default=None
        Folder where recordings and envelopes are kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.
    n_jobs : int or None, default=None
        Recordings worked on at once.

    Returns
    -------
    found : DataFrame
        A row for each whole recording (``part`` 0) and for each part of it (1, 2, ...): ``study, subject, session,
        recording, part, sound`` (its name where the part is one), ``start, stop`` (s), ``heard`` (s of sound),
        ``offset_error`` (s, standard error of the offset in noise), ``verdict`` ("aligned", "off by +0.30 s",
        "cannot tell"), ``offset`` (s, positive where the brain answers later than the table says; NaN where nothing
        is seen), ``p``, ``note`` and ``curve``, the power by lag in s.d. of the null. The lags in seconds, equal for
        all, are ``found.attrs["lags"]``.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or no recording can be read and is heard a sound in.

    Notes
    -----
    "Cannot tell" is what a short or noisy recording gives, as does the wrong sound: it is a reason to worry where other
    recordings of the study are aligned, which ``note`` says. One right sound makes a recording "aligned", so each
    sound of half a minute is also looked at by itself, whatever ``minutes`` is: ``note`` of the whole recording names
    those that are elsewhere than the recording, and those in which nothing is seen where more than half of the others
    show a clear response. Of a recording that cannot be read one "cannot tell", and ``note`` says why.

    All problems seen are noted, whatever else is. A component at 0 s alone is named (:func:`~sk_b2s.decoding._stimulus_artifacts.compute_leak_score`):
    earphones, triggers or cables answer at once, brains do not. So is a channel whose own correlation with the envelope
    is largest at 0 s and far above those of most others. Parts whose offsets lie on a line are a drift, given in ppm.
    Others that differ are named, and the whole recording is never at an offset outside of those of its parts.
    Of five subjects or more, those whose offset is 2.5 s.d. or more from the others are named, where latencies
    of different people are taken to differ by 16 ms (s.d.), and of three recordings of one subject or more those
    that differ from its others, at 4 ms. Power before 0 s beside a response is named as well. Zero-phase filters put it
    there, those of the files and, below 0.1 s, the one here.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import check_alignment
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(1, 2, n_channels=32, snr_db=0, artifacts=False, root=root)
    ...     found = check_alignment(events.assign(onset=events["onset"] - 0.3))
    >>> found["verdict"].tolist()[0][:9]
    'off by +0'
    """
    _check(
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
        raise ValueError(f"events has no row of type 'sound'{f' in stream {stream!r}' if stream else ''}.")
    picks = picks if picks is None or isinstance(picks, str) else tuple(picks)
    processing = Processing(float(sfreq), picks, l_freq=l_freq, h_freq=h_freq, raw_hook=raw_hook)
    work = joblib.delayed(_check_recording)
    options = {"minutes": minutes, "max_offset": max_offset, "memory": memory}
    parts = joblib.Parallel(n_jobs)(
        work(path, rows, processing, **options) for path, rows in sounds.groupby("recording", sort=False)
    )
    broken = [recording[0]["error"] for recording in parts if "error" in recording[0]]
    if len(broken) == len(parts):
        raise broken[0]
    lags = parts[0][0]["lags"]
    rows = [row for recording in parts for row in judge(recording, max_offset, tolerance, level)]
    found = pd.DataFrame(rows)
    found.attrs["lags"] = lags.round(6).tolist()
    return add_gap_notes(compare(found), sounds)


def _check(**numbers):
    for name, value in numbers.items():
        top = 1 if name == "level" else np.inf
        if not isinstance(value, Real) or not 0 < value < top:
            raise ValueError(f"{name} must be a number above 0{' and below 1' * (top == 1)}, got {value!r}.")
    if numbers["l_freq"] >= numbers["h_freq"]:
        raise ValueError(f"l_freq={numbers['l_freq']} must be below h_freq={numbers['h_freq']}.")


# --- one recording ---------------------------------------------------------------------------------


def _check_recording(path, sounds, processing, minutes, max_offset, memory):
    """Curves and offsets of a recording and its parts: list of dict."""
    about = {name: sounds[name].iloc[0] for name in ("study", "subject", "session")}
    about |= {"recording": path}
    try:
        signal = np.asarray(FromFile(read_signal, path, recording_stamp, memory, processing=processing)())
        brain = whiten(signal)
        sound, heard, silent = _laid_out(sounds, len(brain), processing, memory)
    except (ValueError, OSError) as error:
        row = {**about, "part": 0, "sound": "", "start": 0.0, "stop": np.nan, "heard": np.nan, "error": error}
        return [{**row, "singles": [], **_nothing(max_offset, processing.sfreq)}]

    def look(part, start, stop, name=""):
        seconds = heard[start:stop].sum() / processing.sfreq
        row = {**about, "part": part, "sound": name, "start": start / processing.sfreq,
               "stop": stop / processing.sfreq, "heard": seconds}  # fmt: skip
        if seconds < LEAST_HEARD:
            return {**row, **_nothing(max_offset, processing.sfreq)}
        lags, power = compute_lag_curve(brain[start:stop], sound[start:stop], processing.sfreq)
        found = find_response_offset(lags, power, max_offset)
        part = slice(start, stop)
        return {
            **row,
            **found,
            "leak": compute_leak_score(brain[part], sound[part], processing.sfreq, heard[part]),
        }

    whole = {**look(0, 0, len(brain)), "silent": silent, "holders": _holders(path, signal, sound, processing)}
    least = max(LEAST_HEARD, least_seconds(max_offset) + 1)
    edges = _edges_of(sounds, len(brain), processing.sfreq, least)
    singles = [look(part, *edge) for part, edge in enumerate(edges, 1)]
    whole["singles"] = [[one[key] for key in ("sound", "offset", "p", "heard", "leak")] for one in singles]
    if minutes is None:
        return [whole, *singles]
    length = round(60 * minutes * processing.sfreq)
    n_parts = round(len(brain) / length) if len(brain) > 1.5 * length else 0
    cuts = np.linspace(0, len(brain), n_parts + 1).astype(int)
    return [whole, *(look(part, cuts[part - 1], cuts[part]) for part in range(1, n_parts + 1))]


def _holders(path, signal, sound, processing):
    """Names of the channels that hold the sound, with their correlation."""
    found = find_audio_channels(signal, sound, processing.sfreq)
    if not found:
        return []
    names = pick_channels(open_raw(path, processing), processing.picks)
    return [(names[channel], likeness) for channel, likeness in found]


def _edges_of(sounds, n_times, sfreq, least):
    """Samples and names of the sounds that are long enough to be looked at by themselves."""
    sounds = sounds.sort_values("onset")
    for sound, rate in zip(sounds.itertuples(), clock_rate(sounds), strict=True):
        start = max(0, round(sound.onset * sfreq))
        stop = min(n_times, round((sound.onset + sound.duration * rate) * sfreq))
        if stop - start >= least * sfreq:
            yield start, stop, stimulus_name(sound.sound)


def _nothing(max_offset, sfreq):
    """What is found where next to no sound is heard."""
    reach = int((max_offset + REACH) * sfreq + 1e-9)
    lags = np.arange(-reach, reach + 1) / sfreq
    unknown = dict.fromkeys(
        ("offset", "offset_error", "p", "rest", "rest_p", "wide", "wide_p", "leak"), np.nan
    )
    return {**unknown, "edge": False, "lags": lags, "curve": np.zeros(len(lags))}


def _laid_out(sounds, n_times, processing, memory):
    """The envelope as it was played, in the band of the brain, where sound was, and the sounds that are silent.

    Two ndarrays of (n_times,), and a list.
    """
    sfreq = processing.sfreq
    course, heard, silent = np.zeros(n_times), np.zeros(n_times, bool), []
    names = ["onset", "sound_onset", "duration", "sound"]
    for (onset, begun, seconds, sound), rate in zip(
        sounds[names].itertuples(index=False), clock_rate(sounds), strict=True
    ):
        if is_silent(sound, memory):
            silent.append(sound)
            continue
        whole = _envelope(sound, sfreq, memory)
        first = max(0, round(onset * sfreq))  # a recording may begin within a sound
        last = min(n_times, round((onset + seconds * rate) * sfreq))
        place = ((np.arange(first, last) / sfreq - onset) / rate + begun) * sfreq
        course[first:last] += np.interp(place, np.arange(len(whole)), whole, left=0.0, right=0.0)
        heard[first:last] = True
    if not heard.any() and silent:
        return course, heard, silent
    if not heard.any():
        raise ValueError(
            f"recording {sounds['recording'].iloc[0]!r}: none of its sounds is heard while it lasts."
        )
    return _filtered(course - course[heard].mean() * heard, processing), heard, silent


def _envelope(sound, sfreq, memory):
    """Envelope of a sound, features that it brings along as their mean: (n_frames,)."""
    if isinstance(sound, StimulusArray):
        times = np.arange(0, sound.duration, 1 / sfreq)
        return np.interp(times, np.arange(len(sound.data)) / sound.sfreq, sound.data.mean(1))
    row = pd.DataFrame({"sound": [sound], "sound_onset": [0.0], "duration": [1 / sfreq]})
    windows = Envelope(sfreq=int(sfreq), memory=memory).fit(row).transform(row)
    first, last = windows.extent[0]
    return np.asarray(windows.signals[0].load()[first:last, 0], float)


def _filtered(course, processing):
    import mne

    return mne.filter.filter_data(
        course, processing.sfreq, processing.l_freq, processing.h_freq, phase="zero", verbose="ERROR"
    )
