"""Stimulus onset and clock drift from a recorded audio channel.

A sound card and an amplifier have separate clocks that drift by 10 to 100
parts per million. 50 ppm are 180 ms after an hour. If several moments of a
stimulus are found in the recording, the line ``t_recording = onset + (1 +
drift) * t_stimulus`` is fitted to them.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.signal import correlate, firwin, oaconvolve

from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._check_events import check_events
from sk_b2s.events._stimuli import StimulusArray, get_stimulus_state, stimulus_duration, stimulus_name
from sk_b2s.events._table_times import find_stimulus_at_table_times
from sk_b2s.io._clocks._clock_fit import MAX_RESIDUAL, check_clock_fit, fit_clock
from sk_b2s.io._raw._processing import resample_in_processing
from sk_b2s.io._raw._recordings import open_recording

CHUNK = 10.0  # s, duration of the segments that are located
HOP = 5.0  # s between the starts of segments
MAX_RATE = 1000.0  # Hz, maximum sampling rate of envelopes
LOW, HIGH = 1.0, 40.0  # Hz, pass band of the envelopes
MIN_FOUND = 3  # stimuli that must be found, so that others may be shifted with them
TIE = 0.05  # difference in correlation between repetitions of a stimulus
MIN_CORRELATION = 0.4  # of the envelopes of a long segment
CHANCE_DURATION = 1.3  # s, shorter segments correlate by chance, see compute_min_audio_correlation


def _smooth_audio_envelope(signal, rate):
    """Band-pass an envelope with a symmetric filter, without delay."""
    taps = firwin(2 * int(rate / LOW / 2) + 1, [LOW, min(HIGH, 0.45 * rate)], fs=rate, pass_zero=False)
    return oaconvolve(signal - signal.mean(), taps, mode="same")


def compute_audio_stimulus_envelopes(sound, sfreq, rate):
    """Return envelopes of a stimulus: below the channel's rate, and whole."""
    if isinstance(sound, StimulusArray):
        raise ValueError(
            f"{stimulus_name(sound)!r} is an array of features, but alignment to an audio channel needs an "
            "audio file."
        )
    samples, file_rate = read_track_samples(sound, get_stimulus_state(sound))
    samples = samples.astype(float)
    whole = resample_in_processing(np.abs(samples), file_rate, rate)
    if sfreq >= file_rate:
        return [_smooth_audio_envelope(whole, rate)]
    passed = resample_in_processing(np.abs(resample_in_processing(samples, file_rate, sfreq)), sfreq, rate)
    return [_smooth_audio_envelope(passed, rate), _smooth_audio_envelope(whole, rate)]


def compute_channel_envelopes(channel, sfreq, rate):
    """Return the envelope of a channel, and the channel as an envelope."""
    centered = channel - np.median(channel)
    return [
        _smooth_audio_envelope(resample_in_processing(np.abs(centered), sfreq, rate), rate),
        _smooth_audio_envelope(resample_in_processing(centered, sfreq, rate), rate),
    ]


def correlate_audio_envelopes(reference, signal):
    """Correlate a reference with each segment of a signal."""
    reference = reference - reference.mean()
    length = len(reference)
    product = correlate(signal, reference, mode="valid", method="fft")
    sums = np.cumsum(np.r_[0.0, signal]), np.cumsum(np.r_[0.0, signal**2])
    total, energy = (c[length:] - c[:-length] for c in sums)
    power = np.maximum(energy - total**2 / length, 1e-12 * max(float(energy.max()), 1e-300))
    return product / np.sqrt(power * max(float(reference @ reference), 1e-300))


def find_stimulus_by_audio_alignment(channel, sfreq, sound, start=0.0, stop=np.inf):
    """Find the onset of a stimulus in a recorded audio channel.

    Of several repetitions, the first one is returned.

    Parameters
    ----------
    channel : ndarray of shape (n_times,)
    sfreq : float
        Sampling rate of the channel in Hz.
    sound : path-like
        Audio file.
    start, stop : float, default=0.0, inf
        Range of the onset in seconds.

    Returns
    -------
    onset, correlation : float
        Seconds in the recording, to 10 ms, and the correlation of the
        envelopes there.
    """
    rate = min(100.0, float(sfreq))
    best = (np.nan, -1.0)
    for reference in compute_audio_stimulus_envelopes(sound, sfreq, rate):
        reference = reference[: round(60 * rate)]
        for signal in compute_channel_envelopes(np.asarray(channel, float), sfreq, rate):
            part = signal[round(start * rate) :]
            part = part[: len(part) if np.isinf(stop) else round((stop - start) * rate) + len(reference)]
            if len(part) >= len(reference):
                correlation = correlate_audio_envelopes(reference, part)
                first = int(np.argmax(correlation >= correlation.max() - TIE))
                at = first + int(np.argmax(correlation[first : first + round(rate)]))
                best = max(best, (start + at / rate, float(correlation[at])), key=lambda found: found[1])
    return best


def locate_stimulus_by_audio_alignment(channel, sfreq, sound, onset, begun=0.0, duration=np.inf, search=1.0):
    """Locate segments of a stimulus in a recorded audio channel.

    Parameters
    ----------
    channel : ndarray of shape (n_times,)
    sfreq : float
        Sampling rate of the channel in Hz.
    sound : path-like
        Audio file.
    onset : float
        Approximate onset in seconds in the recording.
    begun, duration : float, default=0.0, inf
        Start and duration of the presented part of the audio file, in seconds.
    search : float, default=1.0
        Maximum shift from the expected time, in seconds.

    Returns
    -------
    in_sound, in_recording, correlation : ndarray of shape (n_segments,)
        Center of each segment of 10 s, or of the whole stimulus if it is
        shorter, its time in the recording, and the correlation of the
        envelopes.
    """
    rate = min(MAX_RATE, float(sfreq))
    left = max(onset - search - 2, 0.0) // 1  # whole seconds to skip
    lasts = min(duration, stimulus_duration(sound) - begun)
    part = np.asarray(channel, float)[round(left * sfreq) : round((onset + lasts + search + 2) * sfreq)]
    if len(part) < sfreq:
        return np.empty(0), np.empty(0), np.empty(0)
    channels = compute_channel_envelopes(part, sfreq, rate)
    onset = onset - round(left * sfreq) / sfreq
    estimates = []
    for reference in compute_audio_stimulus_envelopes(sound, sfreq, rate):
        stop = min(len(reference) / rate, begun + duration)
        length = min(CHUNK, stop - begun)
        starts = np.arange(begun, stop - length + 1e-9, HOP)
        for signal in channels:
            found = _locate_audio_segments(reference, signal, rate, starts, length, onset - begun, search)
            estimates.append((starts + length / 2, np.array(found).reshape(-1, 2)))
    middle, found = max(estimates, key=lambda estimate: np.median(estimate[1][:, 1]))
    place = middle + onset - begun + found[:, 0] + round(left * sfreq) / sfreq
    return middle, place, found[:, 1]


def compute_min_audio_correlation(seconds):
    r"""Return the correlation that unrelated segments rarely exceed.

    Speech envelopes have about 16 independent values per second, so that the
    correlation of unrelated ones over T seconds has a variance of 1 / (16 T).
    The largest of 30 independent lags exceeds :math:`\sqrt{2 \ln(30 / 10^{-3})
    / (16 T)} = \sqrt{1.3 / T}` once in a thousand times.
    """
    return np.maximum(MIN_CORRELATION, np.sqrt(CHANCE_DURATION / seconds))


def _locate_audio_segments(reference, signal, rate, starts, length, shift, search):
    """Return the delay of each segment. The search follows the drift."""
    found, moved = [], [0.0]
    for start in starts:
        ahead = float(np.median(moved[-3:]))
        later, alike = _locate_audio_segment(
            reference, signal, rate, start, length, shift + ahead + start, search
        )
        found.append((later + ahead, alike))
        if alike >= compute_min_audio_correlation(length):
            moved.append(later + ahead)
    return found


def _locate_audio_segment(reference, signal, rate, start, length, expected, search):
    """Return the delay of one segment from its expected time.

    Also return the correlation, which is 0 if the maximum is at an edge of
    the search range, unless the signal ends there.
    """
    chunk = reference[round(start * rate) : round((start + length) * rate)]
    first = max(round((expected - search) * rate), 0)
    part = signal[first : round((expected + search) * rate) + len(chunk)]
    if len(part) <= len(chunk):
        return np.nan, 0.0
    correlation = correlate_audio_envelopes(chunk, part)
    at = int(np.argmax(correlation))
    peak = float(at)
    beyond = (at == 0 and first > 0) or (at == len(correlation) - 1 and first + len(part) < len(signal))
    if beyond:
        return np.nan, 0.0
    if 0 < at < len(correlation) - 1:  # maximum of a parabola through three samples
        left, top, right = correlation[at - 1 : at + 2]
        peak += 0.5 * (left - right) / (left - 2 * top + right) if left - 2 * top + right < 0 else 0.0
    return (first + peak) / rate - (expected + (round(start * rate) / rate - start)), float(correlation[at])


def align_to_audio(events, channel, *, search=1.0, audio_delay=0.0):
    """Shift events to the onsets of their stimuli in a recorded audio channel.

    Segments of 10 s of each stimulus are located in the channel by the
    correlation of envelopes. One clock drift per recording and the onset of
    each stimulus are then fitted robustly
    (:func:`~sk_b2s.io._clocks._clock_fit.fit_clock`). Words and phonemes keep
    their time in the stimulus. A stimulus that is too short or soft to be
    located is shifted with the others of its recording, if these agree. Many
    short stimuli are accepted if their shifts agree.

    Parameters
    ----------
    events : DataFrame
        Events table, see :func:`check_events`. Its stimuli must be audio
        files.
    channel : str or list of str
        Name of the channel that recorded the audio ("MISC 001", "AUD",
        "Erg1"), as a waveform or as an envelope. Of several names, the first
        one in a recording is used.
    search : float, default=1.0
        Maximum error of the onsets in ``events``, in seconds.
    audio_delay : float, default=0.0
        Delay in seconds from the channel to the ear (10 ms for tubes of 3.4
        m).

    Returns
    -------
    events : DataFrame
        Checked copy with new onsets. Stimuli have the columns ``drift_ppm``
        (duration in the recording divided by that in the audio file, minus 1,
        in 1e-6) and ``residual_ms`` (r.m.s. distance of the segments from the
        line). :func:`make_segments` reads them.

    Raises
    ------
    ValueError
        If a recording lacks the channel, the channel does not hold the
        stimuli, or the segments are more than 20 ms off a line.

    Warns
    -----
    UserWarning
        If stimuli are shifted with the others.

    See Also
    --------
    events_from_raw : Fit onsets and drift to triggers.
    """
    events = check_events(events)
    names = [channel] if isinstance(channel, str) else list(channel)
    for column in ("drift_ppm", "residual_ms"):
        if column not in events:
            events[column] = np.nan
    playing = np.full(len(events), -1)
    words = np.flatnonzero(events["type"].isin(("word", "phoneme")))
    playing[words] = find_stimulus_at_table_times(events, events.iloc[words])
    for recording, rows in events.groupby("recording", sort=False).indices.items():
        sounds = rows[(events["type"] == "sound").to_numpy()[rows]]
        if len(sounds) == 0:
            continue
        fit = _fit_recording_to_audio(events.iloc[sounds], recording, names, search)
        begun = events["sound_onset"].to_numpy(float)[sounds]
        onsets = fit.onsets + (1 + fit.drift) * begun + audio_delay
        moved = dict(zip(sounds, onsets, strict=True))
        events.loc[sounds, ["drift_ppm", "residual_ms"]] = fit.drift * 1e6, fit.residual * 1e3
        events.loc[sounds, "onset"] = onsets
        follow = rows[np.isin(playing[rows], sounds)]
        since = events["sound_onset"].to_numpy(float)[follow]
        since = since - events["sound_onset"].to_numpy(float)[playing[follow]]
        events.loc[follow, "onset"] = [moved[p] for p in playing[follow]] + (1 + fit.drift) * since
    return check_events(events)


def _fit_recording_to_audio(sounds, recording, names, search):
    """Fit the onsets and drift of one recording to its audio channel."""
    raw = open_recording(recording)
    name = next((name for name in names if name in raw.ch_names), None)
    if name is None:
        kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
        others = [n for n, kind in kinds.items() if kind not in ("eeg", "mag", "grad")]
        raise ValueError(
            f"channel={names}: recording {recording!r} has no such channel. Its channels besides the sensors "
            f"are {others or 'none'}."
        )
    data, sfreq = raw.get_data(picks=[name])[0], float(raw.info["sfreq"])
    marks = []
    for k, row in enumerate(sounds.itertuples()):
        s, r, alike = locate_stimulus_by_audio_alignment(
            data, sfreq, row.sound, row.onset, row.sound_onset, row.duration, search
        )
        marks.append((np.full(len(s), k), s, r, alike))
    which, s, r, alike = (np.concatenate(parts) for parts in zip(*marks, strict=True))
    onset, begun = (sounds[name].to_numpy(float) for name in ("onset", "sound_onset"))
    lasts = np.minimum(CHUNK, sounds["duration"].to_numpy(float))
    sure = alike >= compute_min_audio_correlation(lasts)[which]
    if len(np.unique(which[sure])) < MIN_FOUND:  # stimuli found by chance have no neighbors
        moved = r - onset[which] - (s - begun[which])
        alike_enough = alike >= MIN_CORRELATION
        common = np.median(moved[alike_enough]) if alike_enough.any() else 0.0
        together = alike_enough & (abs(moved - common) <= MAX_RESIDUAL)
        if len(np.unique(which[together])) > max(MIN_FOUND, len(sounds) / 2):
            sure = together
    found = np.unique(which[sure])
    missing = np.setdiff1d(np.arange(len(sounds)), found)
    name = f"recording {recording!r}, channel {name!r}"
    if len(found) == 0:
        _raise_audio_not_found(sounds.iloc[missing], name, search)
    fit = fit_clock(
        np.searchsorted(found, which[sure]), s[sure], r[sure],
        resolution=1 / min(MAX_RATE, sfreq), overlap=round(CHUNK / HOP),
    )  # fmt: skip
    if len(missing):
        moved = fit.onsets + (1 + fit.drift) * begun[found] - onset[found]
        typical = np.median([np.median(alike[which == k]) for k in found])
        unlike = [k for k in missing if lasts[k] >= HOP and alike[which == k].max(initial=0) < typical / 2]
        if len(found) < MIN_FOUND or np.median(abs(moved - np.median(moved))) > MAX_RESIDUAL or unlike:
            _raise_audio_not_found(sounds.iloc[unlike or missing], name, search)
        names = ", ".join(dict.fromkeys(map(stimulus_name, sounds["sound"].iloc[missing[:8]])))
        warnings.warn(
            f"{name}: {len(missing)} of {len(sounds)} stimuli were not found. They are too short or soft, or "
            f"not the presented ones: {names}. They were shifted by {np.median(moved) * 1e3:+.0f} ms, like the "
            f"{len(found)} that were found.",
            stacklevel=4,
        )
        onsets = onset + np.median(moved) - (1 + fit.drift) * begun
        onsets[found] = fit.onsets
        fit = fit._replace(onsets=onsets)
    check_clock_fit(fit, name)
    return fit


def _raise_audio_not_found(missing, name, search):
    """Raise with the first stimulus that was not found."""
    first = missing.iloc[0]
    raise ValueError(
        f"{name}: the stimulus {stimulus_name(first['sound'])!r} was not found within {search:g} s of "
        f"{first['onset']:.2f} s ({len(missing)} stimuli were not found). Check that it is the presented "
        "stimulus, not too short or soft, and that the channel recorded it. If the onset is less exact, "
        "increase search=."
    )
