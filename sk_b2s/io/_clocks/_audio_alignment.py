"""Stimulus onset and clock drift from a recorded audio channel.

A sound card and an amplifier each count seconds by a crystal of their own, 10 to 100 parts per million apart:
50 ppm are 180 ms after an hour. Where more than one moment of a sound can be found in the recording, the line
``t_recording = onset + (1 + drift) · t_sound`` is fitted to them.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.signal import correlate, firwin, oaconvolve

from sk_b2s.events._audio._files import read_samples
from sk_b2s.events._stimuli import StimulusArray, stimulus_duration, stimulus_name, stimulus_state
from sk_b2s.events._table import check_events
from sk_b2s.events._table_times import find_playing_stimulus
from sk_b2s.io._clocks._clock_fit import WORST, check_fit, fit_clock
from sk_b2s.io._raw._processing import resample
from sk_b2s.io._raw._recordings import open_raw

CHUNK = 10.0  # s of sound whose place is looked for at once
HOP = 5.0  # s from one such place to the next
RATE = 1000.0  # Hz at which envelopes are compared, at most
LOW, HIGH = 1.0, 40.0  # Hz, the part of the envelopes that is compared
FEW = 3  # sounds that must be found for others to be moved as they are
AS_GOOD = 0.05  # of correlation by which a sound played again is better for no reason
ALIKE = 0.4  # correlation from which a chunk counts as found, if it is long
CHANCE = 1.3  # s; chunks of so many seconds and less are found anywhere: see _enough


# --- a recorded audio channel ------------------------------------------------------------------------


def _smooth(signal, rate):
    """The band of an envelope that is compared, by one symmetric filter, so that nothing is moved."""
    taps = firwin(2 * int(rate / LOW / 2) + 1, [LOW, min(HIGH, 0.45 * rate)], fs=rate, pass_zero=False)
    return oaconvolve(signal - signal.mean(), taps, mode="same")


def _references(sound, sfreq, rate):
    """Envelopes of a sound as a channel may hold them: of what passes its rate, and of all."""
    if isinstance(sound, StimulusArray):
        raise ValueError(
            f"{stimulus_name(sound)!r} is an array of features; an audio channel needs the sound's file."
        )
    samples, file_rate = read_samples(sound, stimulus_state(sound))
    samples = samples.astype(float)
    whole = resample(np.abs(samples), file_rate, rate)
    if sfreq >= file_rate:
        return [_smooth(whole, rate)]
    passed = resample(np.abs(resample(samples, file_rate, sfreq)), sfreq, rate)
    return [_smooth(passed, rate), _smooth(whole, rate)]


def _channels(channel, sfreq, rate):
    """Envelopes of a channel: of the sound in it, and itself, if what it holds is an envelope."""
    middle = channel - np.median(channel)
    return [
        _smooth(resample(np.abs(middle), sfreq, rate), rate),
        _smooth(resample(middle, sfreq, rate), rate),
    ]


def _likeness(reference, signal):
    """Correlation of a reference with each stretch of a signal of its length."""
    reference = reference - reference.mean()
    length = len(reference)
    product = correlate(signal, reference, mode="valid", method="fft")
    sums = np.cumsum(np.r_[0.0, signal]), np.cumsum(np.r_[0.0, signal**2])
    total, energy = (c[length:] - c[:-length] for c in sums)
    power = np.maximum(energy - total**2 / length, 1e-12 * max(float(energy.max()), 1e-300))
    return product / np.sqrt(power * max(float(reference @ reference), 1e-300))


def find_stimulus(channel, sfreq, sound, start=0.0, stop=np.inf):
    """Find where a sound begins in a recorded audio channel; where it was played twice, the first time.

    Parameters
    ----------
    channel : ndarray of shape (n_times,)
    sfreq : float
        Its rate in Hz.
    sound : path-like
        An audio file.
    start, stop : float, default=0.0, inf
        Stretch of the channel, in seconds, in which the sound begins.

    Returns
    -------
    onset, likeness : float
        Seconds in the recording, to 10 ms, and the correlation of the envelopes there.
    """
    rate = min(100.0, float(sfreq))
    best = (np.nan, -1.0)
    for reference in _references(sound, sfreq, rate):
        reference = reference[: round(60 * rate)]
        for signal in _channels(np.asarray(channel, float), sfreq, rate):
            part = signal[round(start * rate) :]
            part = part[: len(part) if np.isinf(stop) else round((stop - start) * rate) + len(reference)]
            if len(part) >= len(reference):
                likeness = _likeness(reference, part)
                first = int(np.argmax(likeness >= likeness.max() - AS_GOOD))
                at = first + int(np.argmax(likeness[first : first + round(rate)]))
                best = max(best, (start + at / rate, float(likeness[at])), key=lambda found: found[1])
    return best


def measure_onset(channel, sfreq, sound, onset, begun=0.0, duration=np.inf, search=1.0):
    """Find stretches of a sound in a recorded audio channel.

    Parameters
    ----------
    channel : ndarray of shape (n_times,)
    sfreq : float
        Its rate in Hz.
    sound : path-like
        An audio file.
    onset : float
        Where about it begins, in seconds in the recording.
    begun, duration : float, default=0.0, inf
        The part of the sound that was played, in seconds.
    search : float, default=1.0
        Seconds before and after the expected place that are looked at.

    Returns
    -------
    in_sound, in_recording, likeness : ndarray of shape (n_stretches,)
        The middle of each stretch of 10 s, or of the whole sound if it is shorter; where it is most alike; and the
        correlation of the envelopes there, which tells whether it was found.
    """
    rate = min(RATE, float(sfreq))
    left = max(onset - search - 2, 0.0) // 1  # whole seconds before the part of the channel that is needed
    lasts = min(duration, stimulus_duration(sound) - begun)
    part = np.asarray(channel, float)[round(left * sfreq) : round((onset + lasts + search + 2) * sfreq)]
    if len(part) < sfreq:
        return np.empty(0), np.empty(0), np.empty(0)
    channels = _channels(part, sfreq, rate)
    onset = onset - round(left * sfreq) / sfreq
    ways = []
    for reference in _references(sound, sfreq, rate):
        stop = min(len(reference) / rate, begun + duration)
        length = min(CHUNK, stop - begun)
        starts = np.arange(begun, stop - length + 1e-9, HOP)
        for signal in channels:
            found = _places(reference, signal, rate, starts, length, onset - begun, search)
            ways.append((starts + length / 2, np.array(found).reshape(-1, 2)))
    middle, found = max(ways, key=lambda way: np.median(way[1][:, 1]))
    place = middle + onset - begun + found[:, 0] + round(left * sfreq) / sfreq
    return middle, place, found[:, 1]


def _enough(seconds):
    r"""Correlation that chance does not reach within the lags searched.

    Envelopes of speech have about 16 independent values a second, so the correlation of unrelated ones over T
    seconds has a variance of 1 / (16 T), and the largest of some 30 independent lags exceeds
    :math:`\sqrt{2 \ln(30 / 10^{-3}) / (16 T)} = \sqrt{1.3 / T}` once in a thousand times.
    """
    return np.maximum(ALIKE, np.sqrt(CHANCE / seconds))


def _places(reference, signal, rate, starts, length, shift, search):
    """How much later each stretch is than the sound's onset says. The search follows those that were found."""
    found, moved = [], [0.0]
    for start in starts:
        ahead = float(np.median(moved[-3:]))
        later, alike = _place(reference, signal, rate, start, length, shift + ahead + start, search)
        found.append((later + ahead, alike))
        if alike >= _enough(length):
            moved.append(later + ahead)
    return found


def _place(reference, signal, rate, start, length, expected, search):
    """How much later than expected one stretch of a sound is in a channel, and how alike they are.

    The likeness is 0 where it is largest at an edge of the search, unless the signal ends there.
    """
    chunk = reference[round(start * rate) : round((start + length) * rate)]
    first = max(round((expected - search) * rate), 0)
    part = signal[first : round((expected + search) * rate) + len(chunk)]
    if len(part) <= len(chunk):
        return np.nan, 0.0
    likeness = _likeness(chunk, part)
    at = int(np.argmax(likeness))
    peak = float(at)
    beyond = (at == 0 and first > 0) or (at == len(likeness) - 1 and first + len(part) < len(signal))
    if beyond:
        return np.nan, 0.0
    if 0 < at < len(likeness) - 1:  # the top of a parabola through three samples
        left, top, right = likeness[at - 1 : at + 2]
        peak += 0.5 * (left - right) / (left - 2 * top + right) if left - 2 * top + right < 0 else 0.0
    return (first + peak) / rate - (expected + (round(start * rate) / rate - start)), float(likeness[at])


def align_to_audio(events, channel, *, search=1.0, audio_delay=0.0):
    """Move events to when their sounds are heard in a recorded audio channel.

    Stretches of 10 s of each sound are looked for in the channel by the correlation of envelopes; to their
    places one clock drift per recording and the onset of each sound are fitted robustly
    (:func:`~sk_b2s.io._clocks._audio_alignment.fit_clock`). Words and phonemes follow by their time in the sound. Sounds that are too
    short or soft to be found by themselves are moved as the others of their recording are, if those agree; many short
    ones are found by agreeing with each other.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`check_events`, whose sounds are files.
    channel : str or list of str
        Name of the channel that recorded the sound ("MISC 001", "AUD", "Erg1"), as a waveform or as an
        envelope; of several names the first that a recording has.
    search : float, default=1.0
        Seconds by which the onsets in ``events`` may be wrong, before or after.
    audio_delay : float, default=0.0
        Seconds from the channel to the ear (10 ms for tubes of 3.4 m).

    Returns
    -------
    events : DataFrame
        A checked copy with other onsets. Of sounds it tells ``drift_ppm`` (seconds of the recording in a
        second of sound, minus 1, in 1e-6) and ``residual_ms`` (r.m.s. of the stretches around the line),
        which :func:`make_segments` reads and reports keep.

    Raises
    ------
    ValueError
        If a recording lacks the channel, the channel does not hold the sounds, or what was found is more
        than 20 ms off a line.

    Warns
    -----
    UserWarning
        If sounds were moved as the others are.

    See Also
    --------
    events_from_raw : Fits both from triggers as well.
    """
    events = check_events(events)
    names = [channel] if isinstance(channel, str) else list(channel)
    for column in ("drift_ppm", "residual_ms"):
        if column not in events:
            events[column] = np.nan
    playing = np.full(len(events), -1)
    spoken = np.flatnonzero(events["type"].isin(("word", "phoneme")))
    playing[spoken] = find_playing_stimulus(events, events.iloc[spoken])
    for recording, rows in events.groupby("recording", sort=False).indices.items():
        sounds = rows[(events["type"] == "sound").to_numpy()[rows]]
        if len(sounds) == 0:
            continue
        fit = _fit_recording(events.iloc[sounds], recording, names, search)
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


def _fit_recording(sounds, recording, names, search):
    """Fit onsets and drift of all sounds of one recording to its audio channel."""
    raw = open_raw(recording)
    name = next((name for name in names if name in raw.ch_names), None)
    if name is None:
        kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
        others = [n for n, kind in kinds.items() if kind not in ("eeg", "mag", "grad")]
        raise ValueError(
            f"channel={names}: recording {recording!r} has none of them; its channels besides the sensors are "
            f"{others or 'none'}."
        )
    data, sfreq = raw.get_data(picks=[name])[0], float(raw.info["sfreq"])
    marks = []
    for k, row in enumerate(sounds.itertuples()):
        s, r, alike = measure_onset(data, sfreq, row.sound, row.onset, row.sound_onset, row.duration, search)
        marks.append((np.full(len(s), k), s, r, alike))
    which, s, r, alike = (np.concatenate(parts) for parts in zip(*marks, strict=True))
    onset, begun = (sounds[name].to_numpy(float) for name in ("onset", "sound_onset"))
    lasts = np.minimum(CHUNK, sounds["duration"].to_numpy(float))
    sure = alike >= _enough(lasts)[which]
    if len(np.unique(which[sure])) < FEW:  # what is found by chance is not moved as its neighbors are
        moved = r - onset[which] - (s - begun[which])
        alike_enough = alike >= ALIKE
        common = np.median(moved[alike_enough]) if alike_enough.any() else 0.0
        together = alike_enough & (abs(moved - common) <= WORST)
        if len(np.unique(which[together])) > max(FEW, len(sounds) / 2):
            sure = together
    found = np.unique(which[sure])
    lost = np.setdiff1d(np.arange(len(sounds)), found)
    name = f"recording {recording!r}, channel {name!r}"
    if len(found) == 0:
        _refuse_lost(sounds.iloc[lost], name, search)
    fit = fit_clock(
        np.searchsorted(found, which[sure]), s[sure], r[sure],
        resolution=1 / min(RATE, sfreq), overlap=round(CHUNK / HOP),
    )  # fmt: skip
    if len(lost):
        moved = fit.onsets + (1 + fit.drift) * begun[found] - onset[found]
        typical = np.median([np.median(alike[which == k]) for k in found])
        unlike = [k for k in lost if lasts[k] >= HOP and alike[which == k].max(initial=0) < typical / 2]
        if len(found) < FEW or np.median(abs(moved - np.median(moved))) > WORST or unlike:
            _refuse_lost(sounds.iloc[unlike or lost], name, search)
        names = ", ".join(dict.fromkeys(map(stimulus_name, sounds["sound"].iloc[lost[:8]])))
        warnings.warn(
            f"{name}: {len(lost)} of {len(sounds)} sounds are too short or soft to be found, or are others than the "
            f"table says: {names}. They were moved by {np.median(moved) * 1e3:+.0f} ms, as the {len(found)} that were "
            f"found.",
            stacklevel=4,
        )
        onsets = onset + np.median(moved) - (1 + fit.drift) * begun
        onsets[found] = fit.onsets
        fit = fit._replace(onsets=onsets)
    check_fit(fit, name)
    return fit


def _refuse_lost(lost, name, search):
    first = lost.iloc[0]
    raise ValueError(
        f"{name}: the sound {stimulus_name(first['sound'])!r} is not heard within {search:g} s of {first['onset']:.2f} s "
        f"({len(lost)} such sounds). Is it another sound, too short or soft, a channel of something else, or an onset "
        f"that is off by more (search=...)?"
    )
