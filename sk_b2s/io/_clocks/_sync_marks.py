"""Stimulus onset and clock drift from triggers during a stimulus."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np

from sk_b2s._utils._units import guess_unit
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.io._clocks._clock_fit import WORST, check_fit, fit_clock, follow_marks
from sk_b2s.io._textgrid import textgrid_events

LOST = 0.1  # share of sync triggers not found above which they are reported


def fit_sync(played, triggers, path, sync, sfreq, textgrids=None, tiers=None):
    """Correct the onsets of sounds, in place, by the triggers that come while they play.

    Parameters
    ----------
    played : DataFrame of shape (n_sounds, ...)
        ``sound, sound_onset, onset, duration``; gets ``drift_ppm`` and ``residual_ms``.
    triggers : dict of int or str to ndarray
        Times of each key of ``sync`` in the recording, in seconds.
    path : str
        The recording, for messages.
    sync : dict
        As for :func:`~sk_b2s.events_from_raw`.
    sfreq : float
        Rate of the recording in Hz.
    textgrids : dict of str to Path, default=None
        The TextGrid of each sound that has one.
    tiers : dict, default=None
        As for :func:`~sk_b2s.io._textgrid.textgrid_events`.

    Raises
    ------
    ValueError
        If next to no trigger comes where it is expected, or the marks are on no line.

    Warns
    -----
    UserWarning
        If triggers are lost, or a sound's first trigger is more than 20 ms from where the others put it.
    """
    marks, n_expected = [], np.zeros(len(played), int)
    for k, row in enumerate(played.itertuples()):
        marks.append((np.array([k]), np.array([row.sound_onset]), np.array([row.onset])))
        for key, when in sync.items():
            expected = _expected(key, when, row, textgrids or {}, tiers)
            s, r = follow_marks(expected - row.sound_onset, triggers[key], row.onset)
            marks.append((np.full(len(s), k), s + row.sound_onset, r))
            n_expected[k] += len(expected)
    which, s, r = (np.concatenate(parts) for parts in zip(*marks, strict=True))
    if len(which) < 1.5 * len(played):
        raise ValueError(
            f"sync={sync!r}: within 100 ms of where they are expected, only {len(which) - len(played)} such triggers "
            f"come in {len(played)} sounds of {path!r}.{_unit_of_sync(sync, played, n_expected)}"
        )
    fit = fit_clock(which, s, r, resolution=1 / sfreq)
    check_fit(fit, f"recording {path!r}")
    _say_lost(played["sound"], n_expected, np.bincount(which) - 1, f"recording {path!r}: sync={sync!r}")
    onsets = fit.onsets + (1 + fit.drift) * played["sound_onset"].to_numpy(float)
    _say_moved(
        played["sound"], onsets - played["onset"].to_numpy(float), f"recording {path!r}: sync={sync!r}"
    )
    played["onset"] = onsets
    played["drift_ppm"], played["residual_ms"] = fit.drift * 1e6, fit.residual * 1e3


def _unit_of_sync(sync, played, n_expected):
    """Say where no time of ``sync`` lies in a sound, and guess its unit: a text that begins with a space, or ""."""
    if n_expected.any():
        return ""
    longest = float((played["sound_onset"] + played["duration"]).max())
    lists = [when for when in sync.values() if not isinstance(when, str)]
    times = np.concatenate([np.ravel(np.asarray(when, float)) for when in lists]) if lists else np.empty(0)
    hint = guess_unit(float(times.max()), longest) if len(times) else ""
    return f" None of its times lies within a sound, of which the longest ends at {longest:.3f} s.{hint}"


def _say_moved(sounds, moved, name):
    """Warn of sounds whose own trigger is not where the triggers while they play put it."""
    far = np.abs(moved) > WORST
    if far.any():
        first = int(np.argmax(far))
        warnings.warn(
            f"{name}: the first trigger of {far.sum()} of {len(moved)} sounds is not where the others put it, that of "
            f"{stimulus_name(sounds.iloc[first])!r} by {moved[first]:+.3f} s. Onsets follow the others. Check which of "
            f"them comes with the sound.",
            stacklevel=4,
        )


def _say_lost(sounds, n_expected, n_found, name):
    """Warn of sync triggers that are not where they are expected."""
    empty = [stimulus_name(sound) for sound in sounds[(n_expected > 0) & (n_found == 0)]]
    n_lost = (n_expected - n_found).sum()
    if empty or n_lost > max(1, LOST * n_expected.sum()):
        names = f", none in {', '.join(map(repr, empty[:5]))}{', ...' * (len(empty) > 5)}" if empty else ""
        warnings.warn(
            f"{name}: {n_lost} of {n_expected.sum()} such triggers are not where they are expected{names}. Check the "
            f"times and their unit (seconds). Sounds without triggers take the drift of the others.",
            stacklevel=4,
        )


def _expected(key, when, row, textgrids, tiers):
    """Times of a sound at which a trigger comes, rising, in seconds of the sound."""
    begin, end = row.sound_onset, row.sound_onset + row.duration
    if isinstance(when, str) and when == "end":
        return np.array([end])
    if isinstance(when, str) and when == "word":
        if row.sound not in textgrids:
            raise ValueError(
                f"sync={{{key!r}: 'word'}}: {stimulus_name(row.sound)!r} has no TextGrid to tell its words."
            )
        words = textgrid_events(textgrids[row.sound], tiers)
        times = words.loc[words["type"] == "word", "sound_onset"].to_numpy()
    elif isinstance(when, Real) and when > 2 * WORST:
        times = np.arange(0.0, end, when)
        times = times[times > begin]
    elif isinstance(when, str) or isinstance(when, Real):
        raise ValueError(
            f"sync={{{key!r}: {when!r}}}: expected seconds above 0.04, a list of times, 'end' or 'word'."
        )
    else:
        times = np.sort(np.asarray(when, float))
    return times[(times >= begin - 1e-6) & (times <= end + 1e-6)]
