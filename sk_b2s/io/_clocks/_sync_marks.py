"""Stimulus onset and clock drift from triggers during a stimulus."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np

from sk_b2s._utils._units import guess_unit
from sk_b2s.events._stimuli import stimulus_name
from sk_b2s.io._clocks._clock_fit import MAX_RESIDUAL, check_clock_fit, fit_clock, match_clock_fit_marks
from sk_b2s.io._textgrid import textgrid_events

MAX_MISSING = 0.1  # share of missing triggers that is not reported


def fit_sync(played, triggers, path, sync, sfreq, textgrids=None, tiers=None):
    """Correct stimulus onsets in place by triggers during the stimuli.

    Parameters
    ----------
    played : DataFrame of shape (n_sounds, ...)
        With ``sound``, ``sound_onset``, ``onset`` and ``duration``. The
        columns ``drift_ppm`` and ``residual_ms`` are added.
    triggers : dict of int or str to ndarray
        Times of each key of ``sync`` in the recording, in seconds.
    path : str
        Recording, for messages.
    sync : dict
        As for :func:`~sk_b2s.events_from_raw`.
    sfreq : float
        Sampling rate of the recording in Hz.
    textgrids : dict of str to Path, default=None
        TextGrid of each audio file that has one.
    tiers : dict, default=None
        As for :func:`~sk_b2s.io._textgrid.textgrid_events`.

    Raises
    ------
    ValueError
        If almost no trigger is at its expected time, or the marks are not on a
        line.

    Warns
    -----
    UserWarning
        If triggers are missing, or the first trigger of a stimulus is more
        than 20 ms from its time by the others.
    """
    marks, n_expected = [], np.zeros(len(played), int)
    for k, row in enumerate(played.itertuples()):
        marks.append((np.array([k]), np.array([row.sound_onset]), np.array([row.onset])))
        for key, when in sync.items():
            expected = _compute_expected_sync_times(key, when, row, textgrids or {}, tiers)
            s, r = match_clock_fit_marks(expected - row.sound_onset, triggers[key], row.onset)
            marks.append((np.full(len(s), k), s + row.sound_onset, r))
            n_expected[k] += len(expected)
    which, s, r = (np.concatenate(parts) for parts in zip(*marks, strict=True))
    if len(which) < 1.5 * len(played):
        raise ValueError(
            f"sync={sync!r}: only {len(which) - len(played)} of these triggers are within 100 ms of their "
            f"expected times in the {len(played)} stimuli of "
            f"{path!r}.{_guess_sync_unit(sync, played, n_expected)}"
        )
    fit = fit_clock(which, s, r, resolution=1 / sfreq)
    check_clock_fit(fit, f"recording {path!r}")
    _warn_missing_sync_marks(
        played["sound"], n_expected, np.bincount(which) - 1, f"recording {path!r}: sync={sync!r}"
    )
    onsets = fit.onsets + (1 + fit.drift) * played["sound_onset"].to_numpy(float)
    _warn_shifted_sync_marks(
        played["sound"], onsets - played["onset"].to_numpy(float), f"recording {path!r}: sync={sync!r}"
    )
    played["onset"] = onsets
    played["drift_ppm"], played["residual_ms"] = fit.drift * 1e6, fit.residual * 1e3


def _guess_sync_unit(sync, played, n_expected):
    """Return a hint at the unit if no time lies in a stimulus, else ""."""
    if n_expected.any():
        return ""
    longest = float((played["sound_onset"] + played["duration"]).max())
    lists = [when for when in sync.values() if not isinstance(when, str)]
    times = np.concatenate([np.ravel(np.asarray(when, float)) for when in lists]) if lists else np.empty(0)
    hint = guess_unit(float(times.max()), longest) if len(times) else ""
    return f" None of the times lies in a stimulus. The longest one ends at {longest:.3f} s.{hint}"


def _warn_shifted_sync_marks(sounds, moved, name):
    """Warn if the first trigger of a stimulus contradicts the others."""
    far = np.abs(moved) > MAX_RESIDUAL
    if far.any():
        first = int(np.argmax(far))
        warnings.warn(
            f"{name}: the first trigger of {far.sum()} of {len(moved)} stimuli contradicts the others, that of "
            f"{stimulus_name(sounds.iloc[first])!r} by {moved[first]:+.3f} s. Onsets follow the others. Check "
            "which triggers are sent with the stimulus.",
            stacklevel=4,
        )


def _warn_missing_sync_marks(sounds, n_expected, n_found, name):
    """Warn if sync triggers are missing at their expected times."""
    empty = [stimulus_name(sound) for sound in sounds[(n_expected > 0) & (n_found == 0)]]
    n_missing = (n_expected - n_found).sum()
    if empty or n_missing > max(1, MAX_MISSING * n_expected.sum()):
        names = (
            f", all of them in {', '.join(map(repr, empty[:5]))}{', ...' * (len(empty) > 5)}" if empty else ""
        )
        warnings.warn(
            f"{name}: {n_missing} of {n_expected.sum()} triggers are missing at their expected times{names}. "
            "Check the times and their unit (seconds). Stimuli without triggers get the drift of the others.",
            stacklevel=4,
        )


def _compute_expected_sync_times(key, when, row, textgrids, tiers):
    """Return the sorted times of a trigger in a stimulus, in seconds."""
    begin, end = row.sound_onset, row.sound_onset + row.duration
    if isinstance(when, str) and when == "end":
        return np.array([end])
    if isinstance(when, str) and when == "word":
        if row.sound not in textgrids:
            raise ValueError(
                f"sync={{{key!r}: 'word'}}: {stimulus_name(row.sound)!r} has no TextGrid with the times of words. "
                "Pass it with textgrid=."
            )
        words = textgrid_events(textgrids[row.sound], tiers)
        times = words.loc[words["type"] == "word", "sound_onset"].to_numpy()
    elif isinstance(when, Real) and when > 2 * MAX_RESIDUAL:
        times = np.arange(0.0, end, when)
        times = times[times > begin]
    elif isinstance(when, str) or isinstance(when, Real):
        raise ValueError(
            f"sync={{{key!r}: {when!r}}}: expected seconds above 0.04, a list of times, 'end' or 'word'."
        )
    else:
        times = np.sort(np.asarray(when, float))
    return times[(times >= begin - 1e-6) & (times <= end + 1e-6)]
